//! The adversary on graphs that can be computed by hand, and against a slow
//! one that looks at every origin by itself.

#![allow(clippy::unwrap_used)]

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::super::measure::{draw, origins};
use super::super::mesh::Node;
use super::super::prior::{Census, Knowledge};
use super::super::synthetic::{EntryRule, Recipe, grow};
use super::*;

/// Nodes by the numbers that each lists; those in `routing` route, those in `exits` exit.
fn mesh(lists: &[&[u32]], routing: &[u32], exits: &[u32]) -> Mesh {
    let node = |(id, listed): (u32, &&[u32])| Node {
        listed: listed.to_vec(),
        lists: u8::try_from(listed.len()).unwrap(),
        routes: routing.contains(&id),
        exits: exits.contains(&id),
        entry: Vec::new(),
    };
    Mesh {
        nodes: (0..).zip(lists).map(node).collect(),
        ..Mesh::default()
    }
}

/// The four-cycle 0, 1, 3, 2 with the exit 3, and six nodes that list nobody and do not route.
/// Node 4 enters at 0.
fn cycle() -> Mesh {
    let mut lists: Vec<&[u32]> = vec![&[1, 2], &[0, 3], &[0, 3], &[1, 2]];
    lists.extend([&[] as &[u32]; 6]);
    let mut mesh = mesh(&lists, &[0, 1, 2, 3], &[3]);
    mesh.nodes[4].entry = vec![0];
    mesh
}

fn circuit(over: &[u32], back: &[u32], origin: u32) -> Circuit {
    Circuit {
        origin,
        entry: vec![*over.first().unwrap()],
        over: over.to_vec(),
        back: back.to_vec(),
        shared: 0,
    }
}

fn judge(
    mesh: &Mesh,
    circuit: &Circuit,
    knowledge: Knowledge,
) -> Vec<(Place, Option<Vec<Verdict>>)> {
    let census = Census::of(mesh);
    let prior = Prior::learned(knowledge, &census, &[&census]);
    Adversary::new(mesh).judge(circuit, &[prior])
}

fn effective(judged: &[(Place, Option<Vec<Verdict>>)], place: Place) -> f64 {
    let (_, verdicts) = judged.iter().find(|(other, _)| *other == place).unwrap();
    verdicts.as_ref().unwrap()[0].effective
}

#[test]
fn whoever_could_have_the_entry_link_is_suspected() {
    // Seen by the exit, 1 and 2 have one common neighbour, 0; all of 4 to 9 could be behind it,
    // and nobody else: 1 and 2 are listed by 0, 3 is the exit. So for each relay.
    let judged = judge(
        &cycle(),
        &circuit(&[0, 1, 3], &[2, 0], 4),
        Knowledge::Records,
    );
    for place in [Place::Exit, Place::Over, Place::Back] {
        assert!((effective(&judged, place) - 6.0).abs() < 1e-9, "{judged:?}");
    }
}

#[test]
fn two_possible_entry_neighbours_are_weighed() {
    // Node 10 beside 1 and 2 as 0 is. A node of 4 to 9 could enter at 0, 1, 2, 3 or 10: a fifth
    // each, and either of two loops behind 0 or 10 looks like this with probability a half:
    // 2/5 · 1/2 = 0.2. Node 10 could enter at 0 or 3: 1/2 · 1/2 = 0.25; so could 0, at 10 or 3.
    let mut mesh = cycle();
    mesh.nodes.push(Node {
        listed: vec![1, 2],
        lists: 2,
        routes: true,
        ..Node::default()
    });
    for beside in [1, 2] {
        mesh.nodes[beside].listed.push(10);
        mesh.nodes[beside].lists += 1;
    }
    let judged = judge(&mesh, &circuit(&[0, 1, 3], &[2, 0], 4), Knowledge::Records);
    let effective_of = |weights: &[f64]| {
        let sum: f64 = weights.iter().sum();
        let bits = |weight: &f64| -(weight / sum) * (weight / sum).log2();
        weights.iter().map(bits).sum::<f64>().exp2()
    };
    let exit = effective_of(&[0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.25, 0.25]);
    assert!((effective(&judged, Place::Exit) - exit).abs() < 1e-9);
    // The relay before it sees the entry neighbour itself, 0.
    let over = effective_of(&[0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.25]);
    assert!(
        (effective(&judged, Place::Over) - over).abs() < 1e-9,
        "{judged:?}"
    );
}

#[test]
fn a_link_that_was_listed_once_gives_its_origin_away() {
    let mut mesh = cycle();
    mesh.former.insert((0, 4));
    let circuit = circuit(&[0, 1, 3], &[2, 0], 4);
    let judged = judge(&mesh, &circuit, Knowledge::Statistics);
    assert!((effective(&judged, Place::Exit) - 6.0).abs() < 1e-9);
    let judged = judge(&mesh, &circuit, Knowledge::History);
    assert!((effective(&judged, Place::Exit) - 1.0).abs() < 1e-9);
}

#[test]
fn an_entry_neighbour_that_stands_inside_knows() {
    let mut circuit = circuit(&[0, 1, 3], &[2, 0], 4);
    circuit.entry = vec![0, 3];
    let judged = judge(&cycle(), &circuit, Knowledge::Records);
    assert!((effective(&judged, Place::Exit) - 1.0).abs() < 1e-9);
    assert!((effective(&judged, Place::Over) - 6.0).abs() < 1e-9);
}

#[test]
fn a_view_that_no_origin_can_cause_is_said_to_be_unexplained() {
    // 1 and 3 are no common neighbours of anything that leads home.
    let judged = judge(
        &cycle(),
        &circuit(&[0, 2, 3], &[2, 1], 4),
        Knowledge::Records,
    );
    assert!(judged.iter().any(|(_, verdicts)| verdicts.is_none()));
}

#[test]
fn without_entry_links_the_origin_stands_there() {
    let public = cycle().without_entry_links();
    assert_eq!(public.listed(4), [0]);
    let circuit = circuit(&[0, 1, 3], &[2, 0], 4);
    let judged = judge(&public, &circuit, Knowledge::Records);
    for place in [Place::Exit, Place::Over, Place::Back] {
        assert!((effective(&judged, place) - 1.0).abs() < 1e-9, "{judged:?}");
    }
}

#[test]
fn a_verdict_is_the_entropy_of_the_belief() {
    let verdict = Verdict::of(&[0.0, 2.0, 1.0, 1.0], 2).unwrap();
    // Half, a quarter, a quarter: one and a half bits.
    assert!((verdict.effective - 2f64.powf(1.5)).abs() < 1e-12);
    assert!((verdict.best - 0.5).abs() < 1e-12);
    assert!((verdict.truth - 0.25).abs() < 1e-12);
    assert_eq!(verdict.above, 1);
    assert!(Verdict::of(&[1.0, 0.0], 1).is_none());
}

#[test]
fn far_origins_are_alike() {
    // What the adversary gains by looking at every origin by itself.
    let mesh = grow(Recipe {
        nodes: 120,
        near_share: 0.5,
        rule: EntryRule::Walk,
        seed: 7,
    });
    let census = Census::of(&mesh);
    let prior = Prior::learned(Knowledge::Records, &census, &[&census]);
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let origins = origins(&mesh, 4, &mut rng);
    let mut adversary = Adversary::new(&mesh);
    let mut compared = 0;
    for circuit in draw(&mesh, &origins, &mut rng) {
        let quick = adversary.judge(&circuit, std::slice::from_ref(&prior));
        let seen = views(&circuit.over, &circuit.back);
        let mut known = Likelihoods::new();
        for (at, (_, verdicts)) in quick.iter().enumerate() {
            if circuit.entry.contains(&seen[at].me) {
                continue;
            }
            let mut belief = vec![0.0; mesh.len()];
            for entry in adversary.behind(&seen[at], 0) {
                let steps = mesh.distances(entry);
                for origin in mesh.ids().filter(|id| mesh.linkable(*id, entry)) {
                    let likely = adversary.remembered(origin, entry, &seen, at, &mut known);
                    let linked = prior.entry(&mesh, origin, entry, steps[origin as usize]);
                    belief[origin as usize] += likely * linked;
                }
            }
            belief[seen[at].me as usize] = 0.0;
            let slow = Verdict::of(&belief, circuit.origin).unwrap();
            let quick = verdicts.as_ref().unwrap()[0];
            assert!(
                (quick.effective / slow.effective - 1.0).abs() < 0.02,
                "{quick:?} {slow:?}"
            );
            compared += 1;
        }
    }
    assert!(compared >= 8);
}
