//! The reachability check between simulated nodes: those that can be dialled
//! learn it, those that cannot learn that, and links stay as they are.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use masq_gossip::sim::{Network, NodeSpec, PORT, Sim};
use masq_gossip::{Chain, Config, Event, ReachOutcome, Stage};

#[test]
fn nodes_learn_from_a_neighbour_whether_they_can_be_dialled() {
    let mut sim = Sim::new(7, Network::default());
    for index in 0..8 {
        let mut config = Config::new(Chain::Dev);
        config.roles.exits = true;
        let spec = NodeSpec {
            config,
            dialable: index % 2 == 0,
            seeds: if index == 0 { vec![] } else { vec![0] },
            ip: None,
        };
        sim.add(spec, Duration::from_millis(100 * index));
    }
    let routed = sim.run_until(Duration::from_secs(60), |sim| {
        sim.all_routed() && sim.components() == 1
    });
    assert!(routed.is_some());
    sim.run(Duration::from_secs(20));
    let links: Vec<_> = sim.alive().into_iter().map(|n| sim.links(n)).collect();
    for index in sim.alive() {
        sim.command(index, |machine, now| {
            assert!(machine.check_reachability(now, &[PORT]));
        });
    }
    sim.run(Duration::from_secs(30));
    for index in sim.alive() {
        let events = sim.take_events(index);
        let reach = events.iter().find_map(|(_, event)| match event {
            Event::Reach(reach) => Some(reach.clone()),
            _ => None,
        });
        let reach = reach.unwrap();
        let expected = if index % 2 == 0 {
            (ReachOutcome::Reached, vec![PORT])
        } else {
            (ReachOutcome::NotReached, vec![])
        };
        assert_eq!((reach.outcome, reach.ports), expected, "node {index}");
        assert_eq!(reach.seen, Some(sim.ip(index)));
        assert_eq!(sim.links(index), links[index], "links are as before");
        assert_eq!(sim.machine(index).unwrap().stage(), Stage::RouteFound);
        for clock in sim.machine(index).unwrap().clocks() {
            assert!((-120..=1).contains(&clock.ahead), "{clock:?}");
        }
    }
}
