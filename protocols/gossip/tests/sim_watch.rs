//! What the simulator counts beside the machines: it adds up, and agrees with
//! what the machines say.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use masq_gossip::sim::{Network, NodeSpec, Sim};
use masq_gossip::{Chain, Config, Stage};

const SECOND: Duration = Duration::from_secs(1);

/// Every third node is an exit, every fourth cannot be dialled.
fn mesh(seed: u64, n: usize) -> Sim {
    let mut sim = Sim::new(seed, Network::default());
    for index in 0..n {
        let mut config = Config::new(Chain::Dev);
        config.roles.exits = index % 3 == 0;
        let spec = NodeSpec {
            config,
            dialable: index % 4 != 3,
            seeds: if index == 0 { vec![] } else { vec![0] },
            ip: None,
        };
        sim.add(spec, Duration::from_millis(200 * index as u64));
    }
    sim
}

#[test]
fn kinds_add_up_to_the_traffic() {
    let mut sim = mesh(1, 20);
    sim.run(20 * SECOND);
    let kinds = sim.watch().kinds();
    let bytes: u64 = kinds.iter().map(|(_, t)| t.bytes).sum();
    let messages: u64 = kinds.iter().map(|(_, t)| t.messages).sum();
    assert_eq!((bytes, messages), {
        let (bytes, messages) = sim.traffic();
        (bytes, messages)
    });
    for kind in ["debut", "accept", "records", "introductions", "ping"] {
        assert!(kinds.iter().any(|(name, _)| *name == kind), "{kind}");
    }
}

#[test]
fn routes_and_few_neighbours_are_timed_from_birth() {
    let mut sim = mesh(2, 20);
    let took = sim.run_until(30 * SECOND, Sim::all_routed).unwrap();
    let watch = sim.watch();
    for index in 0..sim.len() {
        let node = watch.node(index);
        let (born, routed) = (node.born().unwrap(), node.routed().unwrap());
        assert_eq!(born, Duration::from_millis(200 * index as u64));
        assert!(born < routed && routed <= took);
        // Whoever comes is alone for a moment, and the first two until there are three.
        let few = node.longest_few(sim.now());
        assert!(few > Duration::ZERO && few < 30 * SECOND, "{few:?}");
    }
    let few = sim.watch().node(5).longest_few(sim.now());
    sim.run(10 * SECOND);
    assert_eq!(sim.watch().node(5).longest_few(sim.now()), few);
    // With all others dead, there are no longer three.
    for index in (0..20).filter(|index| *index != 5) {
        sim.kill(index, true);
    }
    sim.run(60 * SECOND);
    assert_eq!(sim.machine(5).unwrap().stage(), Stage::NotConnected);
    assert_eq!(sim.watch().node(5).longest_few(sim.now()), few);
    assert!(sim.watch().node(5).route_losses() >= 1);
}

#[test]
fn addresses_are_known_to_those_who_were_meant() {
    for seed in 1..4 {
        let mut sim = mesh(seed, 24);
        sim.run(60 * SECOND);
        let watch = sim.watch();
        assert_eq!(watch.unmeant(), 0);
        for index in 0..sim.len() {
            let node = watch.node(index);
            assert!(node.learners().all(|other| other != index));
            let links = sim.links(index);
            for (other, _) in &links {
                let other = sim.index(other).unwrap();
                assert!(node.learners().any(|learner| learner == other));
            }
            assert!(node.learner_count() >= node.stranger_count() + links.len());
        }
        // Everybody was a guest of the seed.
        assert_eq!(watch.node(0).learner_count(), 23);
    }
}
