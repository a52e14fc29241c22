//! Short runs of `masq-testnet stress` and `masq-testnet attack`, with their bounds:
//! a mesh that loses a third of its nodes at once, and a node that is flooded.

use std::time::Duration;

use crate::support::{alone, down, options};
use masq_testnet::Testnet;
use masq_testnet::attack::{self, AttackOptions, Wave};
use masq_testnet::stress::{self, StressOptions};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_of_the_nodes_dies_and_the_rest_goes_on() {
    let _alone = alone();
    let mut net = Testnet::up(options(14)).await.unwrap();
    let wanted = StressOptions {
        downloads: 2,
        pace: 100_000,
        kill_seed: false,
        draw: 7,
    };
    let report = stress::run(&mut net, &wanted, &mut std::io::sink())
        .await
        .unwrap();
    report.write(&mut std::io::stderr()).unwrap();
    assert_eq!(report.killed.len(), 4);
    report.check().unwrap();
    down(net).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooded_node_goes_on_serving() {
    let _alone = alone();
    let mut net = Testnet::up(options(10)).await.unwrap();
    let wanted = AttackOptions {
        waves: Wave::ALL.to_vec(),
        time: Duration::from_secs(2),
        debuts: 300,
        sources: 4,
        at_once: 32,
        rate: 200,
        rest: Duration::from_secs(1),
        quiet: Duration::from_secs(2),
    };
    let report = attack::run(&mut net, &wanted, &mut std::io::sink())
        .await
        .unwrap();
    report.write(&mut std::io::stderr()).unwrap();
    report.check().unwrap();
    // The attackers did get through to what they attack.
    let attackers = |wave| {
        let of = report.waves.iter().find(|w| w.wave == wave);
        &of.unwrap().attackers
    };
    assert!(attackers(Wave::Garbage).cut_off > 0);
    for wave in [Wave::Nonsense, Wave::Flood, Wave::Insider, Wave::Stuff] {
        assert!(attackers(wave).met > 0, "{wave}");
    }
    let debuts = attackers(Wave::Debuts);
    assert!(debuts.turned_away > debuts.met, "{debuts:?}");
    down(net).await;
}
