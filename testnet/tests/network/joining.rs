//! Scenarios S1, S2 and S3 with real processes: joining, being refused with a
//! reason, and staying within the cap.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{alone, down, eventually, get, options};
use masq::control::types::Stage;
use masq_testnet::client::NodeClient;
use masq_testnet::keys::NodeIdentity;
use masq_testnet::process::{LEASH, NodeProcess};
use masq_testnet::{Program, Testnet, WaitFor};

/// Most neighbours of a node, from the specification.
const CAP: usize = 5;

/// Runs a daemon that is expected to refuse its configuration, and returns its
/// exit code and what it said.
async fn refused(dir: &Path, neighbour: &str) -> (Option<i32>, String) {
    let config = dir.join("refused.toml");
    let text = format!(
        "chain = \"dev\"\npayments = false\ndata_dir = \"{}\"\nneighbours = [\"{neighbour}\"]\nlisten = [\"127.0.0.1:0\"]\nsocks = \"off\"\nhttp = \"off\"\n",
        dir.join("data").display()
    );
    std::fs::write(&config, text).unwrap();
    let run = tokio::process::Command::new(env!("CARGO_BIN_EXE_masq-testnet"))
        .args(["masqd", "--config"])
        .arg(&config)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(20), run)
        .await
        .unwrap()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_joining_with_a_bad_descriptor_is_refused_with_a_reason() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let key = NodeIdentity::random();
    let good = key.descriptor("127.0.0.1", 4711);

    // Another chain, and several ways to be malformed: refused at start, in a
    // sentence that names the setting.
    let other_chain = good.replacen("dev", "base-mainnet", 1);
    let short_key = good.replacen(&key.name(), &key.name()[..40], 1);
    let no_port = key.descriptor("127.0.0.1", 4711).replace(":4711", "");
    for (bad, word) in [
        (other_chain.as_str(), "base-mainnet"),
        (short_key.as_str(), "43"),
        (no_port.as_str(), "port"),
        ("http://127.0.0.1:4711", "masq://"),
        ("", "neighbours"),
    ] {
        let (code, said) = refused(dir.path(), bad).await;
        assert_eq!(code, Some(78), "{bad}: {said}");
        assert!(
            said.contains("neighbours") && said.contains(word),
            "{bad}: {said}"
        );
    }

    // The right address with another's key: the daemon runs, does not join,
    // and says why.
    let mut wanted = options(2);
    wanted.exits = Some(0);
    wanted.wait_for = WaitFor::Neighbours;
    let net = Testnet::up(wanted).await.unwrap();
    let seed_key = net.nodes()[1].key();
    let wrong_key = net
        .seed()
        .replacen(&seed_key, &NodeIdentity::random().name(), 1);
    let data = dir.path().join("wrong-key");
    let config = dir.path().join("wrong-key.toml");
    let text = format!(
        "chain = \"dev\"\npayments = false\ndata_dir = \"{}\"\nneighbours = [\"{wrong_key}\"]\nlisten = [\"127.0.0.1:0\"]\nsocks = \"off\"\nhttp = \"off\"\n",
        data.display()
    );
    std::fs::write(&config, text).unwrap();
    let program = Program::Multicall(env!("CARGO_BIN_EXE_masq-testnet").into());
    let args = [LEASH, "--config", config.to_str().unwrap()];
    let node = NodeProcess::spawn(&program, &args, &dir.path().join("log")).unwrap();
    let control = NodeClient::new("wrong-key", &data);
    let problem = eventually("a reason", Duration::from_secs(20), || async {
        let status = control.connection_status().await.ok()?;
        assert_eq!(status.stage, Stage::NotConnected);
        status.problems.into_iter().next()
    })
    .await;
    assert!(problem.what.contains("key"), "{problem:?}");
    let reason = control.status().await.unwrap().stage_reason;
    assert!(!reason.is_empty());
    assert!(node.stop(Duration::from_secs(10)).await.unwrap().success());
    down(net).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_six_fresh_nodes_reach_route_found() {
    let _alone = alone();
    let start = Instant::now();
    let net = Testnet::up(options(6)).await.unwrap();
    eventually("all six with a route", Duration::from_secs(20), || async {
        let statuses = net.statuses().await;
        let routed = statuses
            .values()
            .filter(|s| s.stage == Stage::RouteFound)
            .count();
        (routed == 6).then_some(())
    })
    .await;
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "took {:?}",
        start.elapsed()
    );
    for via in net.ways() {
        let page = get(&net, &via, "/").await.unwrap();
        assert_eq!(page.status, 200, "{}", via.label());
        assert!(String::from_utf8_lossy(&page.body).contains("It works"));
    }
    down(net).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_real_nodes_stay_within_the_cap() {
    let _alone = alone();
    let net = Testnet::up(options(16)).await.unwrap();
    // The mesh goes on settling after every node has a route; the cap holds at
    // every look, and in the end everybody that carries has two neighbours.
    let consumers: Vec<_> = net
        .nodes()
        .iter()
        .filter(|n| n.role() == masq_testnet::Role::Consumer)
        .map(|n| n.name().to_owned())
        .collect();
    eventually(
        "two neighbours everywhere",
        Duration::from_secs(30),
        || async {
            let statuses = net.statuses().await;
            for (name, status) in &statuses {
                assert!(
                    status.neighbours.len() <= CAP,
                    "{name} has {}",
                    status.neighbours.len()
                );
            }
            let settled = statuses
                .iter()
                .all(|(name, s)| s.neighbours.len() >= 2 || consumers.contains(name));
            (settled && statuses.len() == net.nodes().len()).then_some(())
        },
    )
    .await;
    down(net).await;
}
