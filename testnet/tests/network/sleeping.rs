//! A machine that sleeps, as its neighbours see it: a daemon that is stopped
//! for longer than they wait for a sign of life, and goes on.

use std::time::{Duration, Instant};

use crate::support::{alone, down, eventually, get, options};
use masq::control::types::Stage;
use masq_testnet::Testnet;
use rustix::process::{Pid, Signal, kill_process};

/// Longest a sleeping node stays a neighbour, from the specification, and some for a busy machine.
const FORGOTTEN: Duration = Duration::from_secs(15 + 10);
/// Within this time of waking up the node has a route again and fetches.
const BACK: Duration = Duration::from_secs(20);

/// Nodes whose neighbour the client is, going by what they say themselves.
async fn neighbours_of_the_client(net: &Testnet) -> usize {
    let client = net.client();
    let key = client.key();
    let mut count = 0;
    for node in net.nodes().iter().filter(|n| n.name() != client.name()) {
        let status = node.control().status().await.unwrap();
        count += usize::from(status.neighbours.iter().any(|n| n.node == key));
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_slept_is_back_by_itself() {
    let _alone = alone();
    let net = Testnet::up(options(8)).await.unwrap();
    let client = net.client();
    let via = net.ways().remove(0);
    assert_eq!(get(&net, &via, "/").await.unwrap().status, 200);

    let pid = Pid::from_raw(client.process().pid.cast_signed()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let asleep = Instant::now();
    eventually("the others dropping it", FORGOTTEN, || async {
        (neighbours_of_the_client(&net).await == 0).then_some(())
    })
    .await;
    let slept = asleep.elapsed();

    kill_process(pid, Signal::CONT).unwrap();
    let awake = Instant::now();
    eventually("a route and a page", BACK, || async {
        let status = client.control().status().await.ok()?;
        if status.stage != Stage::RouteFound || neighbours_of_the_client(&net).await == 0 {
            return None;
        }
        let page = get(&net, &via, "/").await.ok()?;
        (page.status == 200).then_some(())
    })
    .await;
    let back = awake.elapsed();
    eprintln!("slept for {slept:?}, and fetched again after {back:?}");
    let log = std::fs::read_to_string(client.log()).unwrap();
    assert!(log.contains("did not run for a while"), "it noticed");
    down(net).await;
}
