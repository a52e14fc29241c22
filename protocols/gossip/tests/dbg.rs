#![allow(missing_docs, clippy::unwrap_used)]
use masq_gossip::sim::*;
use masq_gossip::*;
use std::time::Duration;
#[test]
fn dbg_three_exits() {
    for n in [10usize, 36] {
        for seed in 1..31 {
            let mut sim = Sim::new(
                seed,
                Network {
                    latency_min: Duration::from_micros(50),
                    latency_max: Duration::from_millis(1),
                    dial_failure: Duration::from_millis(1),
                },
            );
            for i in 0..n {
                let mut config = Config::new(Chain::Dev);
                config.roles.exits = (1..4).contains(&i) || i % 6 == 5;
                sim.add(
                    NodeSpec {
                        config,
                        dialable: true,
                        seeds: if i == 0 { vec![] } else { vec![0] },
                        ip: None,
                    },
                    Duration::from_millis(30 * i as u64),
                );
            }
            println!(
                "three exits n {n} seed {seed}: {:?}",
                sim.run_until(Duration::from_secs(120), Sim::all_routed)
            );
        }
    }
}
