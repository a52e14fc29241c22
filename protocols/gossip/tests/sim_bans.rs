//! Honest nodes are never banned: meshes in the simulator whose nodes crash, come back and change
//! their records. What happens to liars is in the unit tests of `state::judging`.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use masq_gossip::sim::Sim;
use masq_gossip::{Chain, Config, Event};

const SECOND: Duration = Duration::from_secs(1);

/// What nobody honest may cause. Nodes are told apart by their index.
fn judged(sim: &mut Sim) -> Vec<(usize, Event)> {
    let mut found = Vec::new();
    for index in 0..sim.len() {
        let events = sim.take_events(index).into_iter().map(|(_, event)| event);
        let judged = events.filter(|event| {
            matches!(
                event,
                Event::Banned(_) | Event::Bans(_) | Event::Unbanned(_) | Event::Accused
            )
        });
        found.extend(judged.map(|event| (index, event)));
        if let Some(machine) = sim.machine(index) {
            assert_eq!(machine.bans(), []);
        }
    }
    found
}

#[test]
fn nobody_honest_is_banned_in_a_mesh_that_lives() {
    for seed in 1..4 {
        let mut sim = Sim::mesh(seed, 30, &Config::new(Chain::Dev), 3, SECOND);
        sim.run(20 * SECOND);
        for round in 0..40usize {
            // Two crash, one of them noticed at once; they are back within the same second or some
            // seconds later, with what they had stored.
            for (at, noticed) in [(round * 7 % 30, true), (round * 11 % 30 + 1, false)] {
                let at = at % 30;
                sim.kill(at, noticed);
                sim.restart(at, vec![(at + 1) % 30], SECOND * (round % 4) as u32 / 2);
            }
            // And some change their records in a burst.
            for index in 0..5 {
                for change in 0..6u8 {
                    sim.command((round + index * 6) % 30, |machine, now| {
                        machine.set_onion_keys(now, [round as u8 ^ change; 32], None);
                    });
                }
            }
            sim.run(SECOND * 3 / 2);
            assert_eq!(judged(&mut sim), [], "seed {seed}, round {round}");
        }
        sim.run(30 * SECOND);
        assert_eq!(judged(&mut sim), [], "seed {seed}");
        assert_eq!(sim.components(), 1);
    }
}
