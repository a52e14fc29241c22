//! Scenarios S10, S16, S17 and S18 with real processes: what crosses the mesh,
//! and how failures and ends of connections look to the client.

use std::time::{Duration, Instant};

use crate::support::{LIMIT, alone, down, eventually, get, options};
use masq::control::types::{HopRole, Leg};
use masq_testnet::fetch::{self, FetchError, Via};
use masq_testnet::web::content;
use masq_testnet::{Testnet, WaitFor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Longest a failure may take to reach the client: "within a few seconds".
const SOON: Duration = Duration::from_secs(5);

/// Sets the hops of the client node by the command line `masq`.
async fn set_hops(net: &Testnet, hops: &str) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_masq-testnet"))
        .args(["masq", "--data-dir"])
        .arg(net.client().data_dir())
        .args(["set", "hops", hops])
        .output()
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s10_pages_through_1_2_3_and_6_hops() {
    let _alone = alone();
    // Six hops there and six back without a shared relay need sixteen nodes.
    let mut wanted = options(20);
    wanted.consumers = Some(0);
    // One hop: the exit is the entry neighbour, whoever that is.
    wanted.all_exits = Some(true);
    let net = Testnet::up(wanted).await.unwrap();
    for hops in [3, 1, 2, 6, 3] {
        set_hops(&net, &hops.to_string()).await;
        // Circuits that were built before may still take flows; those that
        // follow have the new number.
        eventually(
            "a page by the new number of hops",
            Duration::from_secs(30),
            || async {
                for via in net.ways() {
                    // A mesh of seconds may have no loop of six hops yet, and says so.
                    let got = get(&net, &via, "/bytes/200000").await.ok()?;
                    assert_eq!(got.status, 200, "{hops} hops by {}", via.label());
                    assert_eq!(got.sha256, content::sha256(200_000));
                }
                let circuits = net.client().control().circuits().await.unwrap();
                let used = circuits
                    .iter()
                    .filter(|c| c.flows_carried > 0)
                    .max_by_key(|c| c.id)?;
                let over = used.hops.iter().filter(|h| h.leg == Leg::Over).count();
                let exit = used.hops.iter().filter(|h| h.role == HopRole::Exit).count();
                assert_eq!(exit, 1);
                (over == hops).then_some(())
            },
        )
        .await;
    }
    down(net).await;
}

/// What a failed fetch looked like: the SOCKS reply or the HTTP status.
async fn failure(via: &Via, url: &str) -> u16 {
    let start = Instant::now();
    let code = match fetch::get(via, url, LIMIT).await {
        Ok(page) => page.status,
        Err(FetchError::Socks { code }) => u16::from(code),
        Err(FetchError::Connect { status }) => status,
        Err(other) => panic!("{url} by {}: {other}", via.label()),
    };
    assert!(
        start.elapsed() < 2 * SOON,
        "{url} by {}: {:?}",
        via.label(),
        start.elapsed()
    );
    code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s16_failed_destinations_get_the_right_error_by_protocol() {
    let _alone = alone();
    let mut wanted = options(8);
    wanted.exit_policy = vec!["reject *:9".into(), "accept *:*".into()];
    let net = Testnet::up(wanted).await.unwrap();
    let closed = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let cases = [
        // Host unreachable is the nearest that SOCKS5 has for an unknown name.
        ("http://no-such-name.invalid/".to_owned(), 4, vec![502, 504]),
        (format!("http://127.0.0.1:{closed}/"), 5, vec![502, 503]),
        ("http://127.0.0.1:9/".to_owned(), 2, vec![403]),
    ];
    for (url, reply, statuses) in cases {
        for via in net.ways() {
            let code = failure(&via, &url).await;
            let right = match via {
                Via::Socks5 { .. } => code == reply,
                _ => statuses.contains(&code),
            };
            assert!(right, "{url} by {}: {code}", via.label());
        }
    }
    // Penalties are per host: the same exits go on serving others.
    for via in net.ways() {
        assert_eq!(get(&net, &via, "/").await.unwrap().status, 200);
    }
    down(net).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s17_no_route_is_an_immediate_error() {
    let _alone = alone();
    let mut wanted = options(4);
    wanted.exits = Some(0);
    wanted.wait_for = WaitFor::Neighbours;
    let net = Testnet::up(wanted).await.unwrap();
    let reason = net.client().control().status().await.unwrap().stage_reason;
    assert!(!reason.is_empty());
    for via in net.ways() {
        let start = Instant::now();
        match (&via, get(&net, &via, "/").await) {
            (Via::Socks5 { .. }, Err(FetchError::Socks { code })) => {
                assert!([1, 3].contains(&code), "{code}");
            }
            (Via::HttpConnect(_), Err(FetchError::Connect { status })) => assert_eq!(status, 503),
            (Via::HttpPlain(_), Ok(page)) => {
                assert_eq!(page.status, 503);
                assert!(!page.body.is_empty(), "the page says why");
            }
            (via, other) => panic!("{}: {other:?}", via.label()),
        }
        assert!(
            start.elapsed() < SOON,
            "{}: {:?}",
            via.label(),
            start.elapsed()
        );
    }
    down(net).await;
}

/// A flow through the mesh: the client's end and the server's end.
async fn flow(net: &Testnet, via: &Via) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accept = async {
        tokio::time::timeout(LIMIT, listener.accept())
            .await
            .unwrap()
            .unwrap()
            .0
    };
    let connect = async { fetch::tunnel(via, "127.0.0.1", port, LIMIT).await.unwrap() };
    let _ = net;
    tokio::join!(connect, accept)
}

async fn read_all(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut all))
        .await
        .expect("an end within the limit")?;
    Ok(all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s18_ends_and_half_ends_reach_the_other_side_as_they_are() {
    let _alone = alone();
    let net = Testnet::up(options(8)).await.unwrap();
    let ways: Vec<_> = net
        .ways()
        .into_iter()
        .filter(|v| !matches!(v, Via::HttpPlain(_)))
        .collect();
    for via in &ways {
        // The client ends its half; the server still answers, at length.
        let (mut client, mut server) = flow(&net, via).await;
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut server).await.unwrap(), b"question");
        let answer = vec![7; 1_000_000];
        let write = async {
            server.write_all(&answer).await.unwrap();
            server.shutdown().await.unwrap();
        };
        let ((), got) = tokio::join!(write, read_all(&mut client));
        assert_eq!(got.unwrap().len(), 1_000_000, "{}", via.label());

        // The server ends its half; what the client sends after still arrives.
        let (mut client, mut server) = flow(&net, via).await;
        server.write_all(b"hello").await.unwrap();
        server.shutdown().await.unwrap();
        assert_eq!(read_all(&mut client).await.unwrap(), b"hello");
        client.write_all(b"after your end").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(
            read_all(&mut server).await.unwrap(),
            b"after your end",
            "{}",
            via.label()
        );

        // The server resets: the client sees an error and no clean end.
        let (mut client, server) = flow(&net, via).await;
        server.set_zero_linger().unwrap();
        drop(server);
        assert!(
            read_all(&mut client).await.is_err(),
            "{}: a reset became an end",
            via.label()
        );

        // The client resets: the server sees that.
        let (client, mut server) = flow(&net, via).await;
        client.set_zero_linger().unwrap();
        drop(client);
        assert!(
            read_all(&mut server).await.is_err(),
            "{}: a reset became an end",
            via.label()
        );
    }
    eventually("all flows counted out", Duration::from_secs(10), || async {
        let statuses = net.statuses().await;
        statuses
            .values()
            .all(|s| s.flows.open == 0 && s.flows.exit_open == 0)
            .then_some(())
    })
    .await;
    down(net).await;
}
