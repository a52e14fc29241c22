//! What the simulator counts beside the machines: it adds up, and agrees with
//! what the machines say.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use masq_gossip::sim::{Network, NodeSpec, Sim};
use masq_gossip::{Chain, Config};

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
    for lean in [false, true] {
        let mut sim = mesh(1, 20);
        if lean {
            sim.lean();
        }
        sim.run(20 * SECOND);
        let kinds = sim.watch().kinds();
        let bytes: u64 = kinds.iter().map(|(_, t)| t.bytes).sum();
        let messages: u64 = kinds.iter().map(|(_, t)| t.messages).sum();
        assert_eq!((bytes, messages), sim.traffic());
        for kind in ["debuts", "answers", "records", "introductions", "pings"] {
            assert!(kinds.iter().any(|(name, _)| *name == kind), "{kind}");
        }
    }
}

#[test]
fn addresses_are_known_to_those_who_were_meant() {
    for seed in 1..4 {
        let mut sim = mesh(seed, 24);
        sim.run(60 * SECOND);
        assert_eq!(sim.watch().unmeant(), 0);
        for index in 0..sim.len() {
            let known_to = &sim.count(index).known_to;
            assert!(!known_to.contains(&(index as u32)));
            let neighbours = sim.watch().neighbours(index);
            assert!(neighbours.is_subset(known_to));
            for (other, _) in sim.links(index) {
                let other = sim.index(&other).unwrap() as u32;
                assert!(neighbours.contains(&other));
            }
        }
        // Everybody was a guest of the seed.
        assert_eq!(sim.count(0).known_to.len(), 23);
    }
}

/// A node at its stage has a route over all edges, and none when no edge is there; the machine
/// judges by the same search.
#[test]
fn routes_over_the_edges_that_hold() {
    let mut sim = mesh(3, 20);
    assert!(sim.run_until(60 * SECOND, Sim::all_routed).is_some());
    for index in 0..sim.len() {
        let machine = sim.machine(index).unwrap();
        assert!(machine.has_route_over(|_, _| true));
        assert!(!machine.has_route_over(|_, _| false));
        // Not without its own first step, nor without any other.
        let me = machine.me();
        assert!(!machine.has_route_over(|from, _| *from != me));
        assert!(!machine.has_route_over(|from, _| *from == me));
    }
}
