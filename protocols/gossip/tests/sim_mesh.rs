//! How meshes form and heal, in the simulator: degrees, entry links, routes,
//! the cap, splices, deaths, partitions, and what gossip gives away.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use masq_gossip::sim::{Network, NodeSpec, Sim};
use masq_gossip::{Chain, Config, DownReason, EntryFor, Event, IpLimits, RefuseReason, Stage};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);
/// Runs per question; each with its own seed.
const SEEDS: std::ops::Range<u64> = 1..4;

fn config() -> Config {
    Config::new(Chain::Dev)
}

/// A mesh of `n` through one seed; every third node is an exit (all, in small ones).
fn mesh(seed: u64, n: usize) -> Sim {
    Sim::mesh(seed, n, &config(), if n <= 6 { 1 } else { 3 }, SECOND)
}

fn degrees(sim: &Sim) -> Vec<usize> {
    sim.alive()
        .into_iter()
        .map(|index| sim.links(index).len())
        .collect()
}

/// Whether both ends of every link agree on it and on whose entry link it is.
fn links_agree(sim: &Sim) -> bool {
    sim.alive().into_iter().all(|index| {
        sim.links(index).into_iter().all(|(other, entry)| {
            let back = sim.links(sim.index(&other).unwrap());
            let theirs = back
                .iter()
                .find(|(node, _)| *node == sim.key(index))
                .map(|(_, theirs)| *theirs);
            theirs.is_some_and(|theirs| {
                (entry.ours(), entry.theirs()) == (theirs.theirs(), theirs.ours())
            })
        })
    })
}

/// At any moment a link may be coming up at one end and not yet at the other.
fn assert_links_agree(sim: &mut Sim) {
    assert!(
        sim.run_until(Duration::from_secs(2), links_agree).is_some(),
        "{}",
        picture(sim)
    );
}

fn picture(sim: &Sim) -> String {
    let mut text = String::new();
    for index in sim.alive() {
        let machine = sim.machine(index).unwrap();
        text += &format!(
            "{index} {}, exit {}:",
            machine.stage(),
            machine.config().roles.exits
        );
        for (other, entry) in sim.links(index) {
            let mark = match entry {
                EntryFor::None => "",
                EntryFor::Us => "u",
                EntryFor::Them => "t",
                EntryFor::Both => "b",
            };
            text += &format!(" {}{mark}", sim.index(&other).unwrap());
        }
        text += "\n";
    }
    text
}

fn own_entries(sim: &Sim, index: usize) -> usize {
    sim.links(index)
        .iter()
        .filter(|(_, entry)| entry.ours())
        .count()
}

#[test]
fn small_meshes_become_whole() {
    for n in [2, 3, 4] {
        for seed in SEEDS {
            let mut sim = mesh(seed, n);
            sim.run(20 * SECOND);
            assert_eq!(sim.components(), 1);
            assert!(
                degrees(&sim).iter().all(|degree| *degree == n - 1),
                "{}",
                picture(&sim)
            );
            assert!(
                (0..n).all(|index| own_entries(&sim, index) == 1),
                "{}",
                picture(&sim)
            );
            assert_links_agree(&mut sim);
        }
    }
}

/// A newcomer gets into a mesh that stands, through its only seed, although no circuit carries the
/// seed's question for it: its card walks instead.
#[test]
fn a_question_that_nobody_answers_keeps_no_newcomer_out() {
    let network = Network {
        circuits: false,
        ..Network::default()
    };
    let node = |index: usize, seeds| {
        let mut config = config();
        config.roles.exits = index.is_multiple_of(3);
        NodeSpec {
            config,
            dialable: true,
            seeds,
            ip: None,
        }
    };
    for seed in SEEDS {
        let mut sim = Sim::new(seed, network);
        sim.add(node(0, vec![]), Duration::ZERO);
        for index in 1..30 {
            sim.add(node(index, vec![0]), 100 * MILLI * index as u32);
        }
        sim.run(20 * SECOND);
        let newcomer = sim.add(node(30, vec![0]), Duration::ZERO);
        let took = sim.run_until(10 * SECOND, |sim| !sim.links(newcomer).is_empty());
        assert!(took.is_some(), "seed {seed}\n{}", picture(&sim));
    }
}

#[test]
fn s2_six_fresh_nodes_find_routes_in_time() {
    for seed in 1..21 {
        let mut sim = mesh(seed, 6);
        let took = sim.run_until(20 * SECOND, Sim::all_routed);
        assert!(
            took.is_some_and(|took| took <= 15 * SECOND),
            "seed {seed}: {took:?}\n{}",
            picture(&sim)
        );
        sim.run(20 * SECOND);
        assert!(
            sim.all_routed(),
            "seed {seed}: a route was lost\n{}",
            picture(&sim)
        );
        assert_links_agree(&mut sim);
    }
}

#[test]
fn ten_nodes_with_four_exits_find_routes_in_time() {
    for seed in 1..16 {
        let mut sim = mesh(seed, 10);
        let took = sim.run_until(30 * SECOND, Sim::all_routed);
        assert!(took.is_some(), "seed {seed}\n{}", picture(&sim));
    }
}

#[test]
fn s3_thirty_nodes_settle_between_two_and_five() {
    for seed in SEEDS {
        for n in [30, 40] {
            let mut sim = mesh(seed, n);
            let took = sim.run_until(30 * SECOND, Sim::all_routed);
            assert!(took.is_some(), "seed {seed}\n{}", picture(&sim));
            sim.run(10 * SECOND);
            assert!(
                degrees(&sim).iter().all(|degree| (2..=5).contains(degree)),
                "{}",
                picture(&sim)
            );
            assert!(sim.worst_degree() <= 5, "the cap was passed");
            assert_eq!(sim.components(), 1);
            // A node may just be moving to an entry link that leads somewhere.
            let settled = |sim: &Sim| (0..n).all(|index| own_entries(sim, index) == 1);
            assert!(
                sim.run_until(10 * SECOND, settled).is_some(),
                "{}",
                picture(&sim)
            );
            assert_links_agree(&mut sim);
        }
    }
}

#[test]
fn equal_seeds_give_equal_runs() {
    let run = || {
        let mut sim = mesh(7, 12);
        sim.run(20 * SECOND);
        (picture(&sim), sim.traffic())
    };
    assert_eq!(run(), run());
}

/// Six nodes, each with all its links taken.
fn full_six(seed: u64) -> Sim {
    let full = Config {
        target: 5,
        ..config()
    };
    let mut sim = Sim::mesh(seed, 6, &full, 1, SECOND);
    let all_full = |sim: &Sim| degrees(sim) == [5; 6];
    assert!(
        sim.run_until(120 * SECOND, all_full).is_some(),
        "{}",
        picture(&sim)
    );
    sim
}

fn spliced(sim: &mut Sim) -> usize {
    let splice = |event: &Event| {
        matches!(
            event,
            Event::NeighbourDown {
                reason: DownReason::Spliced,
                ..
            }
        )
    };
    sim.alive()
        .into_iter()
        .map(|i| sim.take_events(i).iter().filter(|(_, e)| splice(e)).count())
        .sum()
}

#[test]
fn s3_a_newcomer_is_spliced_in_when_nobody_has_room() {
    for seed in SEEDS {
        for dialable in [true, false] {
            let mut sim = full_six(seed);
            spliced(&mut sim);
            let newcomer = sim.add(
                NodeSpec {
                    config: config(),
                    dialable,
                    seeds: vec![0],
                    ip: None,
                },
                SECOND,
            );
            let joined = sim.run_until(60 * SECOND, |sim| sim.links(newcomer).len() >= 2);
            assert!(
                joined.is_some(),
                "seed {seed} dialable {dialable}\n{}",
                picture(&sim)
            );
            // One swap takes one link, which has two ends.
            assert!(spliced(&mut sim) >= 2);
            assert!(sim.worst_degree() <= 5);
            sim.run(5 * SECOND);
            assert!(
                degrees(&sim).iter().all(|degree| *degree >= 2),
                "{}",
                picture(&sim)
            );
            assert_eq!(sim.components(), 1);
        }
    }
}

#[test]
fn s5_a_dead_node_is_forgotten_within_its_radius() {
    for seed in SEEDS {
        let mut sim = mesh(seed, 12);
        sim.run(20 * SECOND);
        let dead = sim.key(5);
        let neighbours: Vec<usize> = sim
            .links(5)
            .iter()
            .map(|(node, _)| sim.index(node).unwrap())
            .collect();
        for index in sim.alive() {
            sim.take_events(index);
        }
        sim.kill(5, false);
        sim.run(15 * SECOND);
        for index in neighbours {
            let silent = |(_, event): &(Duration, Event)| matches!(event, Event::NeighbourDown { node, reason: DownReason::Silent, .. } if *node == dead);
            assert!(
                sim.take_events(index).iter().any(silent),
                "the death was not noticed in 15 s"
            );
        }
        sim.run(3 * SECOND);
        for index in sim.alive() {
            let view = sim.machine(index).unwrap().neighbourhood();
            assert!(
                view.record(&dead).is_none(),
                "node {index} still shows the dead one"
            );
        }
    }
}

#[test]
fn s6_a_node_comes_back_without_its_seed() {
    for seed in SEEDS {
        let mut sim = mesh(seed, 10);
        sim.run(20 * SECOND);
        sim.kill(0, true);
        sim.kill(7, true);
        sim.run(20 * SECOND);
        sim.restart(7, vec![], SECOND);
        let back = sim.run_until(20 * SECOND, |sim| sim.links(7).len() >= 2);
        assert!(back.is_some(), "{}", picture(&sim));
        assert_eq!(sim.components(), 1);
    }
}

#[test]
fn s7_when_the_only_neighbour_dies_the_stage_falls_and_rises() {
    let mut sim = Sim::new(3, Network::default());
    let mut one_hop = config();
    one_hop.min_hops = 1;
    one_hop.roles.exits = true;
    let node = |seeds: Vec<usize>| NodeSpec {
        config: one_hop.clone(),
        dialable: true,
        seeds,
        ip: None,
    };
    sim.add(node(vec![]), Duration::ZERO);
    sim.add(node(vec![0]), SECOND);
    assert!(sim.run_until(10 * SECOND, Sim::all_routed).is_some());
    sim.kill(0, false);
    let fallen = sim.run_until(16 * SECOND, |sim| {
        sim.machine(1).unwrap().stage() == Stage::NotConnected
    });
    assert!(fallen.is_some_and(|took| took <= 15 * SECOND), "{fallen:?}");
    sim.restart(0, vec![], SECOND);
    assert!(sim.run_until(120 * SECOND, Sim::all_routed).is_some());
    let stages = sim
        .take_events(1)
        .into_iter()
        .filter_map(|(_, event)| match event {
            Event::StageChanged(stage) => Some(stage),
            _ => None,
        });
    let stages: Vec<Stage> = stages.collect();
    assert!(
        stages.contains(&Stage::NotConnected) && stages.last() == Some(&Stage::RouteFound),
        "{stages:?}"
    );
}

#[test]
fn s8_two_halves_become_one_mesh_again() {
    let mut sim = mesh(5, 20);
    sim.run(30 * SECOND);
    sim.partition(|index| (index % 2) as u8);
    sim.run(120 * SECOND);
    // Whoever had all its neighbours on the other side is alone.
    assert!(sim.components() >= 2);
    sim.heal();
    assert!(
        sim.run_until(180 * SECOND, |sim| sim.components() == 1)
            .is_some(),
        "{}",
        picture(&sim)
    );
}

/// All simulated nodes of this test are at 198.51.64–90.167: whether some bytes contain one of
/// these addresses, in any of the forms in which one could travel.
fn names_an_address(bytes: &[u8]) -> bool {
    let binary = bytes.windows(4).any(|w| match *w {
        [198, 51, third, 167] | [167, third, 51, 198] => (64..90).contains(&third),
        _ => false,
    });
    binary || bytes.windows(7).any(|window| window == b"198.51.")
}

#[test]
fn s9_no_address_in_gossip() {
    for seed in SEEDS {
        let mut sim = Sim::new(seed, Network::default());
        for index in 0..24usize {
            let mut config = config();
            config.roles.exits = index % 3 == 0;
            // Some can't be dialled: then addresses travel the other way.
            let dialable = index % 4 != 3;
            // Addresses that don't come up by chance.
            let ip = Some(IpAddr::from([198, 51, 64 + index as u8, 167]));
            let seeds = if index == 0 { vec![] } else { vec![0] };
            sim.add(
                NodeSpec {
                    config,
                    dialable,
                    seeds,
                    ip,
                },
                Duration::from_millis(100 * index as u64),
            );
        }
        sim.capture();
        sim.run(30 * SECOND);
        let captured = sim.take_captured();
        assert!(captured.len() > 1000);
        for message in &captured {
            assert!(
                !names_an_address(&message.bytes),
                "{} told {} an address",
                message.from,
                message.to
            );
        }
    }
}

#[test]
fn s11_consume_only_nodes_have_entry_links_only() {
    for seed in SEEDS {
        let mut sim = Sim::mesh(seed, 9, &config(), 2, SECOND);
        let mut consumer = config();
        consumer.roles.routes = false;
        let consumers: Vec<usize> = (0..2)
            .map(|_| {
                sim.add(
                    NodeSpec {
                        config: consumer.clone(),
                        dialable: false,
                        seeds: vec![0],
                        ip: None,
                    },
                    SECOND,
                )
            })
            .collect();
        let took = sim.run_until(30 * SECOND, Sim::all_routed);
        assert!(took.is_some(), "{}", picture(&sim));
        for index in consumers {
            let links = sim.links(index);
            assert!(
                !links.is_empty() && links.iter().all(|(_, entry)| entry.ours()),
                "{}",
                picture(&sim)
            );
            let key = sim.key(index);
            for other in sim.alive() {
                let view = sim.machine(other).unwrap().neighbourhood();
                assert!(
                    view.edges(&key).is_empty(),
                    "a consume-only node is in the graph"
                );
            }
        }
    }
}

#[test]
fn s12_no_record_names_an_entry_link() {
    for seed in SEEDS {
        let mut sim = mesh(seed, 20);
        sim.run(40 * SECOND);
        let mut entries = BTreeSet::new();
        for index in sim.alive() {
            for (other, entry) in sim.links(index) {
                if !entry.listed() {
                    entries.insert((sim.key(index), other));
                }
            }
        }
        assert!(entries.len() >= 20);
        for index in sim.alive() {
            let view = sim.machine(index).unwrap().neighbourhood();
            for record in view.records().chain([view.own()]) {
                for neighbour in &record.neighbours {
                    assert!(
                        !entries.contains(&(record.node(), *neighbour)),
                        "an entry link is in a record"
                    );
                }
            }
        }
    }
}

#[test]
fn news_travels_over_listed_edges_only() {
    // At radius 2 a node tells of itself and of its listed neighbours. So news of a node is told
    // by itself, on all its links, and by its listed neighbours: never by an entry neighbour,
    // which would show the link.
    let near = Config {
        radius: 2,
        min_hops: 2,
        ..config()
    };
    for seed in SEEDS {
        let mut sim = Sim::mesh(seed, 30, &near, 3, SECOND);
        sim.run(60 * SECOND);
        for subject in 0..10 {
            let key = sim.key(subject);
            let links = sim.links(subject);
            sim.capture();
            sim.command(subject, |machine, now| {
                machine.set_onion_keys(now, [subject as u8; 32], None)
            });
            sim.run(SECOND);
            if sim.links(subject) != links {
                continue;
            }
            let tellers: BTreeSet<usize> = sim
                .take_captured()
                .iter()
                .filter(|message| {
                    // As a record it is followed by its onion key.
                    let needle = [key.as_bytes().as_slice(), &[subject as u8; 32]].concat();
                    message.bytes.windows(64).any(|window| window == needle)
                })
                .map(|message| message.from)
                .collect();
            let listed = links.iter().filter(|(_, entry)| entry.listed());
            let allowed: BTreeSet<usize> = listed
                .map(|(node, _)| sim.index(node).unwrap())
                .chain([subject])
                .collect();
            assert!(
                tellers.contains(&subject) && tellers.is_subset(&allowed),
                "{tellers:?} {allowed:?}"
            );
        }
    }
}

#[test]
fn s33_two_nodes_on_one_address() {
    let mut sim = Sim::new(1, Network::default());
    let shared: IpAddr = "203.0.113.9".parse().unwrap();
    let spec = |seeds, ip| NodeSpec {
        config: config(),
        dialable: true,
        seeds,
        ip,
    };
    sim.add(spec(vec![], None), Duration::ZERO);
    sim.add(spec(vec![0], Some(shared)), SECOND);
    sim.add(spec(vec![0], Some(shared)), 2 * SECOND);
    sim.run(10 * SECOND);
    let told = sim
        .take_events(2)
        .into_iter()
        .find_map(|(_, event)| match event {
            Event::Refused { reason, text, .. } => Some((reason, text)),
            _ => None,
        });
    let (reason, text) = told.expect("the second is refused");
    assert_eq!(reason, RefuseReason::SameAddress);
    assert!(text.contains("public IP address"), "{text}");
    assert!(sim.links(2).is_empty());

    // Where it is allowed, all three become neighbours.
    let mut sim = Sim::new(1, Network::default());
    let open = Config {
        ip_limits: IpLimits::NONE,
        ..config()
    };
    for (index, seeds) in [vec![], vec![0], vec![0]].into_iter().enumerate() {
        let ip = (index > 0).then_some(shared);
        sim.add(
            NodeSpec {
                config: open.clone(),
                dialable: true,
                seeds,
                ip,
            },
            index as u32 * SECOND,
        );
    }
    sim.run(20 * SECOND);
    assert_eq!(degrees(&sim), [2, 2, 2]);
}

#[test]
fn nodes_that_cannot_be_dialled_join_too() {
    // The bound on how often addresses are told to newcomers must leave room for them.
    for (seed, n) in [(1, 20), (2, 20), (3, 20), (4, 40)] {
        let mut sim = Sim::new(seed, Network::default());
        for index in 0..n {
            let mut config = config();
            config.roles.exits = index % 3 == 0;
            let seeds = if index == 0 { vec![] } else { vec![0] };
            let spec = NodeSpec {
                config,
                dialable: index % 10 < 7,
                seeds,
                ip: None,
            };
            sim.add(spec, Duration::from_millis(50 * index as u64));
        }
        assert!(
            sim.run_until(60 * SECOND, Sim::all_routed).is_some(),
            "{}",
            picture(&sim)
        );
        sim.run(20 * SECOND);
        assert!(sim.worst_degree() <= 5);
        assert!(
            degrees(&sim).iter().all(|degree| *degree >= 2),
            "{}",
            picture(&sim)
        );
    }
}

#[test]
fn versions_grow_across_a_restart() {
    let mut sim = mesh(2, 4);
    sim.run(10 * SECOND);
    let before = sim.machine(1).unwrap().neighbourhood().own().version;
    sim.kill(1, true);
    sim.restart(1, vec![0], SECOND);
    sim.run(5 * SECOND);
    assert!(sim.machine(1).unwrap().neighbourhood().own().version > before);
}

#[test]
fn goodbye_is_heard_at_once() {
    let mut sim = mesh(2, 6);
    sim.run(20 * SECOND);
    sim.command(3, |machine, now| machine.shutdown(now));
    sim.run(SECOND);
    let left = sim.key(3);
    for index in [0, 1, 2, 4, 5] {
        assert!(sim.links(index).iter().all(|(node, _)| *node != left));
    }
    assert!(sim.links(3).is_empty());
}
