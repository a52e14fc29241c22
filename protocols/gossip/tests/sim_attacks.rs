//! Attackers in the simulator, against small meshes: what a harvester learns, what
//! a band holds, what a flood costs. The figures at 1,000 nodes are measured by the
//! tool; here the mechanisms that bound them are held.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use masq_gossip::sim::attack::{Eclipse, Flood, Harvest, Insiders, Links, Report, Strength};
use masq_gossip::sim::{Network, NodeSpec, Sim};
use masq_gossip::{Chain, Config, IpLimits};

const SECOND: Duration = Duration::from_secs(1);

/// A mesh of `n` through node 0; every third is an exit, three in ten can't be dialled.
fn mesh(seed: u64, n: usize, limits: IpLimits) -> Sim {
    let mut sim = Sim::new(seed, Network::default());
    sim.lean();
    for i in 0..n {
        let mut config = Config::new(Chain::Dev);
        config.roles.exits = i % 3 == 0;
        config.ip_limits = limits;
        let spec = NodeSpec {
            config,
            dialable: i == 0 || i % 10 > 2,
            seeds: if i == 0 { vec![] } else { vec![0] },
            ip: None,
        };
        sim.add(spec, SECOND.mul_f64(i as f64 * 0.3));
    }
    sim
}

fn at_rest(seed: u64, n: usize, limits: IpLimits) -> Sim {
    let mut sim = mesh(seed, n, limits);
    sim.run(SECOND * (n as u32 / 3 + 60));
    assert!(sim.all_routed());
    sim
}

fn harvest(sim: &mut Sim, strength: Strength, lasting: Duration) -> Report {
    let harvest = Harvest {
        addresses: 10,
        descriptors: vec![0],
        strength,
        lasting,
    };
    harvest.run(sim, &mut |_, _| {})
}

#[test]
fn a_harvester_meets_two_nodes_per_address_and_descriptor() {
    let mut sim = at_rest(1, 60, IpLimits::default());
    let report = harvest(&mut sim, Strength::Debuts, SECOND * 100);
    let learned = report.figure("addresses_learned").unwrap();
    // A node that has room besides may be met by itself.
    assert!((10.0..=22.0).contains(&learned), "{report:?}");
    assert!(report.figure("invented").unwrap() >= 250.0);
    assert!(sim.worst_degree() <= 5);
}

#[test]
fn without_the_limits_it_would_have_met_many_more() {
    let mut sim = at_rest(1, 60, IpLimits::NONE);
    let report = harvest(&mut sim, Strength::Debuts, SECOND * 60);
    assert!(
        report.figure("addresses_learned").unwrap() > 30.0,
        "{report:?}"
    );
}

#[test]
fn insiders_at_rest_learn_hardly_anything_new() {
    let mut sim = at_rest(2, 40, IpLimits::default());
    let insiders = Insiders {
        share: 0.2,
        seed: 1,
        lasting: SECOND * 200,
    };
    let report = insiders.run(&mut sim, &mut |_, _| {});
    assert_eq!(report.figure("insiders"), Some(8.0));
    assert!(report.figure("learned_share").unwrap() <= 0.1, "{report:?}");
    assert!(report.figure("known_before").unwrap() > 0.2);
}

#[test]
fn a_band_is_counted_by_what_it_holds() {
    let mut sim = mesh(3, 40, IpLimits::default());
    let band = Eclipse::enlist(&mut sim, 10, Links::Listed, &[0], SECOND * 12);
    sim.run(SECOND * 60);
    let report = band.run(&mut sim, SECOND * 120, &mut |_, _| {});
    let held = ["held_0", "held_1", "held_2", "held_3", "held_4", "held_5"];
    let shares: f64 = held.iter().map(|name| report.figure(name).unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{report:?}");
    // Ten with five links each, among forty.
    assert!(report.figure("held_mean").unwrap() <= 1.3, "{report:?}");
    assert!(report.figure("held_mean").unwrap() >= 0.5, "{report:?}");
    let victim = Eclipse::victim(&sim, 0).unwrap();
    let before = Eclipse::hold(&sim, victim).unwrap();
    assert!(before.held <= 2 && !before.entry && !before.all());
    let report = band.run_against(&mut sim, victim, SECOND * 120, &mut |_, _| {});
    assert!(report.figure("slots_held_most").unwrap() <= 5.0);
    assert!(sim.worst_degree() <= 5);
}

#[test]
fn a_band_that_lists_little_holds_more_and_breaks_no_cap() {
    let held = |links: Links| {
        let mut sim = mesh(3, 40, IpLimits::default());
        let band = Eclipse::enlist(&mut sim, 10, links, &[0], SECOND * 12);
        sim.run(SECOND * 60);
        let report = band.run(&mut sim, SECOND * 120, &mut |_, _| {});
        assert!(sim.worst_degree() <= 5);
        report.figure("held_mean").unwrap()
    };
    assert!(held(Links::Unlisted) > held(Links::Listed));
}

#[test]
fn a_flood_leaves_records_bounded_and_routes_standing() {
    let mut sim = at_rest(4, 40, IpLimits::default());
    let flood = Flood {
        attackers: 2,
        descriptors: vec![0, 3, 4],
        debuts: 100,
        lasting: SECOND * 30,
    };
    let report = flood.run(&mut sim, &mut |_, _| {});
    assert!(
        report.figure("bytes_during") > report.figure("bytes_before"),
        "{report:?}"
    );
    assert!(report.figure("records_most").unwrap() <= 2048.0);
    assert!(report.figure("routed_least").unwrap() >= 0.9, "{report:?}");
}
