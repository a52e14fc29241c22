//! The SOCKS proxy from a client's side, with a real exit behind it.

#![allow(clippy::unwrap_used)]

mod proxy_harness;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use masq::config::Plaintext;
use masq::entry::{Isolation, OpenError};
use proxy_harness::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CONNECT: u8 = 1;

async fn code(way: &Way, command: u8, address: &[u8]) -> u8 {
    let (mut socket, code) = socks5(&way.proxy, command, address).await;
    // Whatever was refused ends in an orderly close.
    assert_eq!(read_all(&mut socket).await, b"");
    code
}

#[tokio::test]
async fn names_and_addresses_are_connected_to() {
    let way = Way::open().await;
    let echo = echo_server().await;
    let mapped: SocketAddr = format!("[::ffff:127.0.0.1]:{}", echo.port())
        .parse()
        .unwrap();
    let spellings = [
        ip(echo),
        ip(mapped),
        name("site.example", echo.port()),
        name("SITE.example.", echo.port()),
        name("127.0.0.1", echo.port()),
        name("localhost", echo.port()),
    ];
    for address in spellings {
        let (mut socket, code) = socks5(&way.proxy, CONNECT, &address).await;
        assert_eq!(code, 0, "{address:?}");
        socket.write_all(b"hello").await.unwrap();
        socket.shutdown().await.unwrap();
        assert_eq!(read_all(&mut socket).await, b"hello");
    }
    way.until_idle().await;
    let status = way.proxy.entry.status();
    assert_eq!(
        (
            status.flows_opened,
            status.bytes_sent,
            status.bytes_received
        ),
        (6, 30, 30)
    );
}

#[tokio::test]
async fn s16_each_failure_has_the_right_reply_code() {
    let way = Way::open().await;
    let closed = closed_port().await;
    let private: SocketAddr = "10.0.0.1:443".parse().unwrap();
    let metadata: SocketAddr = "169.254.169.254:80".parse().unwrap();
    let cases = [
        (CONNECT, name("none.example", 443), 4),
        (CONNECT, name("broken.example", 443), 4),
        (CONNECT, ip(closed), 5),
        (CONNECT, name("site.example", closed.port()), 5),
        // S34: before resolution and after it.
        (CONNECT, ip(private), 2),
        (CONNECT, ip(metadata), 2),
        (CONNECT, name("rebind.example", 443), 2),
        // The default rules of the exit.
        (CONNECT, name("public.example", 25), 2),
        // UDP ASSOCIATE and BIND.
        (3, ip(closed), 7),
        (2, ip(closed), 7),
        (CONNECT, name("no such name", 443), 8),
        (0xF0, name("none.example", 0), 4),
        (0xF0, name("rebind.example", 0), 2),
        (0xF1, name("public.example", 0), 8),
    ];
    for (command, address, expected) in cases {
        assert_eq!(
            code(&way, command, &address).await,
            expected,
            "{command} {address:?}"
        );
    }
    way.until_idle().await;
}

#[tokio::test]
async fn s17_no_route_is_told_at_once() {
    let errors = [
        (
            OpenError::NoRoute {
                reason: "no exit in reach".into(),
            },
            1,
        ),
        (OpenError::CircuitLost, 1),
        (OpenError::ShuttingDown, 1),
        (OpenError::Timeout, 6),
    ];
    for (error, expected) in errors {
        let mesh = Arc::new(NoMesh(error));
        let proxy = Proxy::start(mesh, Plaintext::Allow, Duration::ZERO).await;
        let (mut socket, code) = socks5(&proxy, CONNECT, &name("a.example", 443)).await;
        assert_eq!(code, expected);
        assert_eq!(read_all(&mut socket).await, b"");
        let (_, code) = socks5(&proxy, 0xF0, &name("a.example", 0)).await;
        assert_eq!(code, expected);
        assert_eq!(proxy.entry.status().flows_failed, 1);
    }
}

#[tokio::test]
async fn lookups_are_answered() {
    let way = Way::open().await;
    for (command, address, expected) in [
        (
            0xF0,
            name("public.example", 0),
            vec![5, 0, 0, 1, 1, 1, 1, 7, 0, 0],
        ),
        (
            0xF0,
            name("192.0.2.9", 0),
            vec![5, 0, 0, 1, 192, 0, 2, 9, 0, 0],
        ),
        (0xF1, ip("1.1.1.7:0".parse().unwrap()), {
            let mut reply = vec![5, 0, 0];
            reply.extend(name("public.example", 0));
            reply
        }),
    ] {
        let mut socket = way.proxy.socks().await;
        socket.write_all(&[5, 1, 0]).await.unwrap();
        assert_eq!(read_exact(&mut socket, 2).await, [5, 0]);
        socket
            .write_all(&[&[5, command, 0], address.as_slice()].concat())
            .await
            .unwrap();
        assert_eq!(read_all(&mut socket).await, expected);
    }
}

#[tokio::test]
async fn user_and_password_isolate() {
    let way = Way::open().await;
    let echo = echo_server().await;
    for user in ["alice", "bob", "alice"] {
        let mut socket = way.proxy.socks().await;
        let mut hello = vec![5, 2, 0, 2, 1, user.len() as u8];
        hello.extend(user.as_bytes());
        hello.extend(b"\x02pw\x05\x01\x00");
        hello.extend(ip(echo));
        socket.write_all(&hello).await.unwrap();
        assert_eq!(read_exact(&mut socket, 14).await[..5], [5, 2, 1, 0, 5]);
    }
    socks5(&way.proxy, CONNECT, &ip(echo)).await;
    let seen = way.mesh.isolations.lock().unwrap().clone();
    assert_eq!(seen[0], seen[2]);
    assert_ne!(seen[0], seen[1]);
    assert_eq!(
        seen[0],
        Isolation::from_credentials("socks", b"alice", b"pw")
    );
    assert_eq!(seen[3], Isolation::SHARED);
}

#[tokio::test]
async fn socks4_and_4a_are_served_and_refused_in_their_own_words() {
    let way = Way::open().await;
    let echo = echo_server().await;
    let port = echo.port().to_be_bytes();
    let mut v4 = way.proxy.socks().await;
    v4.write_all(&[4, 1, port[0], port[1], 127, 0, 0, 1, 0])
        .await
        .unwrap();
    assert_eq!(read_exact(&mut v4, 8).await[..2], [0, 0x5A]);
    let mut v4a = way.proxy.socks().await;
    v4a.write_all(
        &[
            &[4, 1, port[0], port[1], 0, 0, 0, 1, 0][..],
            b"site.example\0early",
        ]
        .concat(),
    )
    .await
    .unwrap();
    v4a.shutdown().await.unwrap();
    let answer = read_all(&mut v4a).await;
    assert_eq!(
        (&answer[..2], &answer[8..]),
        (&[0, 0x5A][..], &b"early"[..])
    );
    let mut refused = way.proxy.socks().await;
    refused
        .write_all(&[4, 1, 0, 80, 10, 0, 0, 1, 0])
        .await
        .unwrap();
    assert_eq!(read_all(&mut refused).await, [0, 0x5B, 0, 0, 0, 0, 0, 0]);
}

#[tokio::test]
async fn bytes_sent_before_the_reply_arrive_first() {
    let way = Way::open().await;
    let echo = echo_server().await;
    let mut socket = way.proxy.socks().await;
    let mut all = vec![5, 1, 0, 5, 1, 0];
    all.extend(ip(echo));
    all.extend(b"no waiting");
    socket.write_all(&all).await.unwrap();
    socket.shutdown().await.unwrap();
    let answer = read_all(&mut socket).await;
    assert_eq!(answer[12..], *b"no waiting");
}

#[tokio::test]
async fn s18_the_client_resets_and_the_server_sees_it() {
    let way = Way::open().await;
    let (seen, mut was_seen) = tokio::sync::mpsc::channel(1);
    let address = server(move |mut socket| {
        let seen = seen.clone();
        async move {
            let mut buf = [0; 16];
            socket.read_exact(&mut buf[..2]).await.unwrap();
            let error = socket.read(&mut buf).await.unwrap_err();
            seen.send(error.kind()).await.unwrap();
        }
    })
    .await;
    let (mut socket, _) = socks5(&way.proxy, CONNECT, &ip(address)).await;
    socket.write_all(b"hi").await.unwrap();
    // The reset must not overtake the greeting.
    patient(async {
        while way.exit.status().bytes_sent < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    reset(socket);
    let kind = patient(was_seen.recv()).await.unwrap();
    assert_eq!(kind, std::io::ErrorKind::ConnectionReset);
    way.until_idle().await;
}

#[tokio::test]
async fn s18_the_server_resets_and_the_client_sees_it() {
    let way = Way::open().await;
    let address = server(|mut socket| async move {
        socket.write_all(b"hi").await.unwrap();
        let _ = socket.read_u8().await;
        reset(socket);
    })
    .await;
    let (mut socket, _) = socks5(&way.proxy, CONNECT, &ip(address)).await;
    assert_eq!(read_exact(&mut socket, 2).await, b"hi");
    socket.write_all(b"!").await.unwrap();
    let error = patient(socket.read(&mut [0; 4])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    way.until_idle().await;
}

#[tokio::test]
async fn s18_half_close_in_either_direction_and_counters_freed() {
    let way = Way::open().await;
    // Answers only once the client has ended its half.
    let after = server(|mut socket| async move {
        let mut all = Vec::new();
        socket.read_to_end(&mut all).await.unwrap();
        socket.write_all(&all).await.unwrap();
    })
    .await;
    let (mut socket, _) = socks5(&way.proxy, CONNECT, &ip(after)).await;
    socket.write_all(b"question").await.unwrap();
    socket.shutdown().await.unwrap();
    assert_eq!(read_all(&mut socket).await, b"question");
    // Ends its half first, and goes on listening.
    let (heard, mut was_heard) = tokio::sync::mpsc::channel(1);
    let before = server(move |mut socket| {
        let heard = heard.clone();
        async move {
            socket.shutdown().await.unwrap();
            let mut all = Vec::new();
            socket.read_to_end(&mut all).await.unwrap();
            heard.send(all).await.unwrap();
        }
    })
    .await;
    let (mut socket, _) = socks5(&way.proxy, CONNECT, &ip(before)).await;
    assert_eq!(read_all(&mut socket).await, b"");
    socket.write_all(b"still here").await.unwrap();
    socket.shutdown().await.unwrap();
    assert_eq!(patient(was_heard.recv()).await.unwrap(), b"still here");
    way.until_idle().await;
}

#[tokio::test]
async fn a_trickle_arrives_as_it_comes() {
    let way = Way::open().await;
    let address = server(|mut socket| async move {
        for n in 0..50u8 {
            socket.write_all(&[n]).await.unwrap();
            // Goes on only when the last byte has made the whole way.
            assert_eq!(socket.read_u8().await.unwrap(), n);
        }
    })
    .await;
    let (mut socket, _) = socks5(&way.proxy, CONNECT, &ip(address)).await;
    for n in 0..50u8 {
        assert_eq!(patient(socket.read_u8()).await.unwrap(), n);
        socket.write_all(&[n]).await.unwrap();
    }
    assert_eq!(read_all(&mut socket).await, b"");
}

/// Four sockets a flow in one process: as many as the usual limit of 1,024
/// file descriptors allows. A thousand at once are fetched on the testnet.
#[tokio::test]
async fn s20_many_flows_at_once_are_all_correct() {
    const FLOWS: usize = 150;
    let way = Arc::new(Way::open().await);
    let echo = echo_server().await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..FLOWS {
        let way = Arc::clone(&way);
        tasks.spawn(async move {
            let (mut socket, code) = socks5(&way.proxy, CONNECT, &ip(echo)).await;
            assert_eq!(code, 0);
            let body = format!("flow {n} ").repeat(2_000).into_bytes();
            let (mut read, mut write) = socket.split();
            let send = async {
                write.write_all(&body).await.unwrap();
                write.shutdown().await.unwrap();
            };
            let mut got = Vec::new();
            let (_, result) =
                patient(async { tokio::join!(send, read.read_to_end(&mut got)) }).await;
            result.unwrap();
            assert!(got == body, "flow {n}");
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    way.until_idle().await;
}

#[tokio::test]
async fn http_and_garbage_on_the_socks_port() {
    let way = Way::open().await;
    let mut socket = way.proxy.socks().await;
    socket
        .write_all(b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .await
        .unwrap();
    let answer = String::from_utf8(read_all(&mut socket).await).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 501 ") && answer.contains("SOCKS proxy"),
        "{answer}"
    );
    for garbage in [
        &b"\x16\x03\x01\x00\x05hello"[..],
        b"\x05",
        b"\x00\x00",
        b"\x05\x01\x00\x06",
    ] {
        let mut socket = way.proxy.socks().await;
        socket.write_all(garbage).await.unwrap();
        socket.shutdown().await.unwrap();
        // Closed in order, whatever little was answered.
        assert!(read_all(&mut socket).await.len() <= 12);
    }
    way.until_idle().await;
}

#[tokio::test]
async fn plaintext_ports_can_be_refused() {
    let way = Way::with(Plaintext::Refuse, Duration::ZERO).await;
    assert_eq!(code(&way, CONNECT, &name("site.example", 80)).await, 2);
    assert_eq!(code(&way, CONNECT, &name("site.example", 110)).await, 2);
    let echo = echo_server().await;
    assert_eq!(socks5(&way.proxy, CONNECT, &ip(echo)).await.1, 0);
    assert_eq!(way.proxy.entry.status().plaintext, 2);
    assert!(
        way.mesh.isolations.lock().unwrap().len() == 1,
        "refused before a flow is asked for"
    );
}

#[tokio::test]
async fn stopping_drains_for_a_bounded_time_and_then_resets() {
    let way = Way::with(Plaintext::Flag, Duration::from_millis(300)).await;
    let echo = echo_server().await;
    let (mut stays, _) = socks5(&way.proxy, CONNECT, &ip(echo)).await;
    let (mut ends, _) = socks5(&way.proxy, CONNECT, &ip(echo)).await;
    way.proxy.shutdown.cancel();
    // What is open goes on.
    ends.write_all(b"last").await.unwrap();
    ends.shutdown().await.unwrap();
    assert_eq!(read_all(&mut ends).await, b"last");
    let error = patient(stays.read(&mut [0; 4])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    patient(way.proxy.serving).await.unwrap();
    let address = way.proxy.entry.socks_addr().unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
