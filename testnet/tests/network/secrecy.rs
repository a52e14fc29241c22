//! Scenarios S9 and S33 with real processes: what nodes let be known of addresses,
//! and what a node is told that shares its public address with another.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::support::{Loner, alone, down, eventually, get, masq, options};
use masq::control::Client;
use masq::control::types::Stage;
use masq_testnet::{Testnet, WaitFor};

/// Addresses of the testnet's nodes in a text, except those in `own`.
fn addresses_in(text: &str, net: &Testnet, own: &[Ipv4Addr]) -> Vec<String> {
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let mut found = Vec::new();
    for node in net.nodes().iter().filter(|n| !own.contains(&n.ip())) {
        let ip = node.ip().to_string();
        let whole = text
            .match_indices(&ip)
            .any(|(at, _)| !digit(text[at + ip.len()..].chars().next()));
        if whole {
            found.push(ip);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s9_no_address_is_in_logs_answers_or_what_is_stored_of_others() {
    let _alone = alone();
    let mut wanted = options(8);
    wanted.log_level = "debug".into();
    let mut net = Testnet::up(wanted).await.unwrap();
    for via in net.ways() {
        assert_eq!(get(&net, &via, "/").await.unwrap().status, 200);
    }
    // Something for the logs: a death, and a return.
    let relay = net.nodes()[2].name().to_owned();
    let dead = net.kill(&[relay]).await.remove(0);
    eventually("the death", Duration::from_secs(20), || async {
        let statuses = net.statuses().await;
        let named =
            |s: &masq::control::types::Status| s.neighbours.iter().any(|n| n.node == dead.key());
        (!statuses.values().any(named)).then_some(())
    })
    .await;
    net.start_again(dead).unwrap();
    eventually("the return", Duration::from_secs(30), || async {
        let statuses = net.statuses().await;
        (statuses.len() == net.nodes().len()).then_some(())
    })
    .await;

    for node in net.nodes() {
        let client = Client::of_folder(&node.data_dir()).unwrap();
        let text = |value: serde_json::Result<String>| value.unwrap();
        let answers = [
            text(serde_json::to_string(&client.status(false).await.unwrap())),
            text(serde_json::to_string(
                &client.connection_status().await.unwrap(),
            )),
            text(serde_json::to_string(
                &client.neighborhood_graph().await.unwrap(),
            )),
            text(serde_json::to_string(&client.circuits().await.unwrap())),
            text(serde_json::to_string(&client.descriptor().await.unwrap())),
            masq(&node.data_dir(), &["status"]).await,
            masq(&node.data_dir(), &["connection-status"]).await,
            masq(&node.data_dir(), &["neighborhood-graph"]).await,
        ];
        for answer in answers {
            let found = addresses_in(&answer, &net, &[node.ip()]);
            assert!(found.is_empty(), "{} says {found:?}: {answer}", node.name());
        }
        // With the question put, neighbours' addresses are told, and nobody else's.
        let asked = client.status(true).await.unwrap();
        let told = text(serde_json::to_string(&asked));
        assert!(
            asked.neighbours.iter().all(|n| n.address.is_some()),
            "{told}"
        );
        let neighbours = net
            .nodes()
            .iter()
            .filter(|n| asked.neighbours.iter().any(|v| v.node == n.key()));
        let allowed: Vec<_> = neighbours.map(|n| n.ip()).chain([node.ip()]).collect();
        assert!(addresses_in(&told, &net, &allowed).is_empty(), "{told}");

        let log = std::fs::read_to_string(node.log()).unwrap();
        assert!(!log.is_empty());
        for line in log.lines() {
            let found = addresses_in(line, &net, &[node.ip()]);
            assert!(found.is_empty(), "{} logs {found:?}: {line}", node.name());
        }
    }
    down(net).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s33_the_second_node_on_one_address_is_told_why() {
    let _alone = alone();
    let mut wanted = options(2);
    wanted.exits = Some(0);
    wanted.wait_for = WaitFor::Neighbours;
    let net = Testnet::up(wanted).await.unwrap();
    // The client node is the seed's neighbour; this one has its address, and another port.
    let home = SocketAddr::from((net.client().ip(), 4799));
    let second = Loner::start(home, &[net.seed().as_str()], "");
    let problem = eventually("a reason", Duration::from_secs(20), || async {
        let status = second.control.connection_status().await.ok()?;
        assert_eq!(status.stage, Stage::NotConnected);
        status.problems.into_iter().next()
    })
    .await;
    assert!(problem.what.contains("public IP address"), "{problem:?}");
    for command in ["connection-status", "status"] {
        let said = second.masq(&[command]).await;
        assert!(said.contains("public IP address"), "{command}: {said}");
    }
    let log = std::fs::read_to_string(&second.log).unwrap();
    assert!(log.contains("public IP address"), "{log}");
    second.down().await;
    down(net).await;
}
