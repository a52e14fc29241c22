//! Scenarios S3 and S4 with real processes: many nodes that join by one, and a
//! newcomer among peers who never say anything.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::support::{Loner, alone, down, eventually, options, surveyed};
use masq::control::types::Stage;
use masq_testnet::survey::Survey;
use masq_testnet::{Testnet, WaitFor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_thirty_nodes_settle_with_two_to_five_neighbours() {
    let _alone = alone();
    let mut wanted = options(30);
    wanted.ready_within = Duration::from_secs(120);
    let net = Testnet::up(wanted).await.unwrap();
    // All of them joined by one node, which has room for five.
    let whole = surveyed(
        &net,
        "a whole mesh",
        Duration::from_secs(60),
        Survey::is_whole,
    )
    .await;
    assert_eq!(whole.nodes, 30);
    down(net).await;
}

/// Connects to `to` from `from`, says nothing or the beginning of something, and comes again
/// when the other side has had enough.
async fn stall(from: Ipv4Addr, to: SocketAddr, beginning: &'static [u8]) {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        if let Ok(mut stream) = socket.connect(to).await {
            let _ = stream.write_all(beginning).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_peers_that_stall_do_not_keep_a_newcomer_out() {
    let _alone = alone();
    let mut wanted = options(5);
    wanted.exits = Some(1);
    wanted.wait_for = WaitFor::Neighbours;
    let net = Testnet::up(wanted).await.unwrap();
    let seed = &net.nodes()[1];
    let to = SocketAddr::from((seed.ip(), masq_testnet::plan::NODE_PORT));

    // Half say nothing, half stop within the first line.
    let mut peers = JoinSet::new();
    for address in 0..16 {
        let from = Ipv4Addr::new(127, 1, 4, address + 1);
        for n in 0..20 {
            let beginning: &[u8] = if n % 2 == 0 {
                b""
            } else {
                b"\x13/multistream/1."
            };
            peers.spawn(stall(from, to, beginning));
        }
    }
    eventually("the crowd", Duration::from_secs(20), || async {
        let files = masq_testnet::usage::Usage::of(seed.process())?.files;
        (files > 24).then_some(())
    })
    .await;

    let home = SocketAddr::from((Ipv4Addr::new(127, 1, 4, 99), 4711));
    let newcomer = Loner::start(home, &[net.seed().as_str()], "");
    eventually(
        "the newcomer has a neighbour",
        Duration::from_secs(15),
        || async {
            let status = newcomer.control.status().await.ok()?;
            (status.stage != Stage::NotConnected).then_some(())
        },
    )
    .await;
    // Nor do they cost the seed more than a few open files.
    let files = masq_testnet::usage::Usage::of(seed.process())
        .unwrap()
        .files;
    assert!(files < 100, "{files} open files");
    peers.shutdown().await;
    newcomer.down().await;
    down(net).await;
}
