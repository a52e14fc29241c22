//! How meshes form, in the simulator: degrees, entry links, routes, the cap.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use masq_gossip::sim::Sim;
use masq_gossip::{Chain, Config, EntryFor, NodeKey, Stage};

const SECOND: Duration = Duration::from_secs(1);

fn config() -> Config {
    Config::new(Chain::Dev)
}

fn degrees(sim: &Sim) -> Vec<usize> {
    sim.alive().into_iter().map(|index| sim.links(index).len()).collect()
}

/// Whether both ends of every link agree on it and on whose entry link it is.
fn links_agree(sim: &Sim) -> bool {
    sim.alive().into_iter().all(|index| {
        sim.links(index).into_iter().all(|(other, entry)| {
            let back = sim.links(sim.index(&other).unwrap());
            let theirs = back.iter().find(|(node, _)| *node == sim.key(index)).map(|(_, theirs)| *theirs);
            theirs.is_some_and(|theirs| (entry.ours(), entry.theirs()) == (theirs.theirs(), theirs.ours()))
        })
    })
}

/// At any moment a link may be coming up at one end and not yet at the other.
fn assert_links_agree(sim: &mut Sim) {
    assert!(sim.run_until(Duration::from_secs(2), links_agree).is_some(), "{}", report(sim));
}

fn report(sim: &Sim) -> String {
    let mut text = String::new();
    for index in sim.alive() {
        let machine = sim.machine(index).unwrap();
        let view = machine.neighbourhood();
        text += &format!("{index} {:?} exit {} known {} edges {}:", machine.stage(), machine.config().roles.exits, view.len(), view.all_edges().count());
        for (other, entry) in sim.links(index) {
            text += &format!(" {}{}", sim.index(&other).unwrap(), match entry {
                EntryFor::None => "",
                EntryFor::Us => "u",
                EntryFor::Them => "t",
                EntryFor::Both => "b",
            });
        }
        text += "\n";
    }
    text
}

#[test]
fn explore() {
    for n in [6usize,10,30,40] {
        for seed in 1..=10u64 {
            let exit_every = if n <= 6 { 1 } else { 3 };
            let mut sim = Sim::mesh(seed, n, &config(), exit_every, SECOND);
            let t = sim.run_until(Duration::from_secs(60), Sim::all_routed);
            let at = sim.now();
            sim.run(Duration::from_secs(30));
            let d = degrees(&sim);
            let own = sim.alive().into_iter().filter(|i| sim.links(*i).iter().any(|l| l.1.ours())).count();
            println!("n={n} seed={seed} routed={t:?} at={at:?} comps={} deg min={} max={} mean={:.2} worst={} own={own} traffic={:?}",
                sim.components(), d.iter().min().unwrap(), d.iter().max().unwrap(), d.iter().sum::<usize>() as f64 / n as f64, sim.worst_degree(), sim.traffic());
            if t.is_none() { println!("{}", report(&sim)); }
            assert_links_agree(&mut sim);
        }
    }
}
