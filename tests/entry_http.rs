//! The HTTP proxy from a client's side, with a real exit behind it. Requests
//! and answers are written by hand, so that what is on the wire is what is
//! tested.

#![allow(clippy::unwrap_used)]

mod proxy_harness;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use masq::config::Plaintext;
use masq::entry::{Isolation, OpenError};
use proxy_harness::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const HEAD_END: &[u8] = b"\r\n\r\n";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn head(socket: &mut TcpStream) -> String {
    text(&read_until(socket, HEAD_END).await)
}

/// Answers each request on a connection with its own head as the body, and
/// counts connections.
async fn mirror() -> (SocketAddr, Arc<AtomicUsize>) {
    let connections = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&connections);
    let address = server(move |mut socket| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            let mut seen = Vec::new();
            while let Ok(byte) = socket.read_u8().await {
                seen.push(byte);
                if seen.ends_with(HEAD_END) {
                    let answer =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.len());
                    socket.write_all(answer.as_bytes()).await.unwrap();
                    socket.write_all(&seen).await.unwrap();
                    seen.clear();
                }
            }
        }
    })
    .await;
    (address, connections)
}

/// Reads an answer with a `Content-Length`: head and body.
async fn answer(socket: &mut TcpStream) -> (String, String) {
    let head = head(socket).await;
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length: ")?
                .parse()
                .ok()
        })
        .unwrap_or_else(|| panic!("no length in {head}"));
    let body = read_exact(socket, length).await;
    (head, text(&body))
}

/// Sends one request to the proxy and reads all until it closes.
async fn once(way: &Way, request: &str) -> String {
    let mut socket = way.proxy.http().await;
    socket.write_all(request.as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    text(&read_all(&mut socket).await)
}

#[tokio::test]
async fn requests_are_rewritten_for_the_server_and_connections_kept() {
    let way = Way::open().await;
    let (address, connections) = mirror().await;
    let mut socket = way.proxy.http().await;
    for n in 0..3 {
        let request = format!(
            "GET http://{address}/path?q={n} HTTP/1.1\r\nHost: wrong.example\r\nX-Case: Kept\r\n\
             Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic dTpw\r\n\
             Connection: X-Hop\r\nX-Hop: 1\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let (head, seen) = answer(&mut socket).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(
            seen.starts_with(&format!("GET /path?q={n} HTTP/1.1\r\n")),
            "{seen}"
        );
        assert!(seen.contains(&format!("Host: {address}\r\n")), "{seen}");
        assert!(seen.contains("X-Case: Kept\r\n"), "{seen}");
        for gone in ["wrong.example", "Proxy-", "X-Hop", "Via", "Forwarded"] {
            assert!(!seen.contains(gone), "{gone} in {seen}");
        }
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    let seen = way.mesh.isolations.lock().unwrap().clone();
    assert_eq!(seen, [Isolation::from_credentials("http", b"u", b"p")]);
    drop(socket);
    way.until_idle().await;
}

#[tokio::test]
async fn another_server_or_a_closed_connection_gets_a_new_flow() {
    let way = Way::open().await;
    let (first, _) = mirror().await;
    let (second, _) = mirror().await;
    let closes = server(|mut socket| async move {
        read_until(&mut socket, HEAD_END).await;
        socket
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await
            .unwrap();
    })
    .await;
    let mut socket = way.proxy.http().await;
    for address in [first, second, closes, closes, first] {
        let request = format!("GET http://{address}/ HTTP/1.1\r\nHost: {address}\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        assert!(answer(&mut socket).await.0.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(way.proxy.entry.status().flows_opened, 5);
}

#[tokio::test]
async fn chunked_bodies_go_both_ways() {
    let way = Way::open().await;
    let address = server(|mut socket| async move {
        let head = head(&mut socket).await.to_ascii_lowercase();
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        let body = read_until(&mut socket, b"0\r\n\r\n").await;
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        socket.write_all(answer).await.unwrap();
        socket.write_all(&body).await.unwrap();
    })
    .await;
    let mut socket = way.proxy.http().await;
    let request =
        format!("POST http://{address}/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    socket.write_all(b"5\r\nhello\r\n").await.unwrap();
    socket.write_all(b"6\r\n world\r\n0\r\n\r\n").await.unwrap();
    let head = head(&mut socket).await.to_ascii_lowercase();
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    let body = text(&read_until(&mut socket, b"0\r\n\r\n").await);
    assert!(body.contains("hello") && body.contains(" world"), "{body}");
}

#[tokio::test]
async fn large_bodies_stream_both_ways() {
    const LEN: usize = 8 << 20;
    let way = Way::open().await;
    let address = server(|mut socket| async move {
        head(&mut socket).await;
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {LEN}\r\n\r\n");
        socket.write_all(answer.as_bytes()).await.unwrap();
        // What comes in goes out: nobody on the way may hold it all.
        let (mut read, mut write) = socket.split();
        tokio::io::copy(&mut (&mut read).take(LEN as u64), &mut write)
            .await
            .unwrap();
    })
    .await;
    let socket = way.proxy.http().await;
    let (mut read, mut write) = socket.into_split();
    let body: Vec<u8> = (0..LEN).map(|n| (n / 7 % 251) as u8).collect();
    let sent = body.clone();
    let sending = tokio::spawn(async move {
        let request =
            format!("PUT http://{address}/ HTTP/1.1\r\nHost: x\r\nContent-Length: {LEN}\r\n\r\n");
        write.write_all(request.as_bytes()).await.unwrap();
        write.write_all(&sent).await.unwrap();
        write
    });
    let mut got = Vec::new();
    patient(async {
        while !got.ends_with(HEAD_END) {
            got.push(read.read_u8().await.unwrap());
        }
        got = vec![0; LEN];
        read.read_exact(&mut got).await.unwrap();
    })
    .await;
    assert!(got == body);
    let _write = sending.await.unwrap();
}

#[tokio::test]
async fn a_client_that_expects_continue_waits_for_the_server() {
    let way = Way::open().await;
    let address = server(|mut socket| async move {
        let head = head(&mut socket).await;
        if head.contains("/refuse") {
            socket
                .write_all(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .await
                .unwrap();
            return;
        }
        socket
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .await
            .unwrap();
        let body = read_exact(&mut socket, 4).await;
        socket
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
            .await
            .unwrap();
        socket.write_all(&body).await.unwrap();
    })
    .await;
    let request = |path: &str| {
        format!(
            "PUT http://{address}{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\
             Expect: 100-continue\r\n\r\n"
        )
    };
    let mut socket = way.proxy.http().await;
    socket.write_all(request("/take").as_bytes()).await.unwrap();
    assert!(head(&mut socket).await.starts_with("HTTP/1.1 100"));
    socket.write_all(b"body").await.unwrap();
    assert_eq!(answer(&mut socket).await.1, "body");
    // A refusal comes instead of the invitation, not after it.
    let mut socket = way.proxy.http().await;
    socket
        .write_all(request("/refuse").as_bytes())
        .await
        .unwrap();
    assert!(head(&mut socket).await.starts_with("HTTP/1.1 417"));
}

#[tokio::test]
async fn connect_makes_a_tunnel_and_keeps_early_bytes() {
    let way = Way::open().await;
    let echo = echo_server().await;
    let mut socket = way.proxy.http().await;
    let port = echo.port();
    let request = format!("CONNECT site.example:{port} HTTP/1.1\r\nHost: x\r\n\r\nearly");
    socket.write_all(request.as_bytes()).await.unwrap();
    let head = head(&mut socket).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(
        !head.to_ascii_lowercase().contains("transfer-encoding"),
        "{head}"
    );
    assert_eq!(read_exact(&mut socket, 5).await, b"early");
    socket.write_all(b" and late").await.unwrap();
    // S18: half-close through a tunnel.
    socket.shutdown().await.unwrap();
    assert_eq!(read_all(&mut socket).await, b" and late");
    way.until_idle().await;
}

#[tokio::test]
async fn s18_a_reset_goes_through_a_tunnel() {
    let way = Way::open().await;
    let address = server(|mut socket| async move {
        let _ = socket.read_u8().await;
        reset(socket);
    })
    .await;
    let mut socket = way.proxy.http().await;
    socket
        .write_all(format!("CONNECT {address} HTTP/1.1\r\n\r\n").as_bytes())
        .await
        .unwrap();
    assert!(head(&mut socket).await.starts_with("HTTP/1.1 200"));
    socket.write_all(b"!").await.unwrap();
    let error = patient(socket.read(&mut [0; 4])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    way.until_idle().await;
}

#[tokio::test]
async fn s18_an_answer_that_breaks_off_ends_in_a_reset() {
    let way = Way::open().await;
    for head_of_answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
        "HTTP/1.0 200 OK\r\n\r\nonly this",
    ] {
        let address = server(move |mut socket| async move {
            head(&mut socket).await;
            socket.write_all(head_of_answer.as_bytes()).await.unwrap();
            // Once the client has it, so that the reset does not overtake it.
            let _ = socket.read_u8().await;
            reset(socket);
        })
        .await;
        // In HTTP/1.0 an end of stream is the end of the answer.
        let mut socket = way.proxy.http().await;
        let request = format!("POST http://{address}/ HTTP/1.0\r\nContent-Length: 1\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let got = text(&read_until(&mut socket, b"only this").await);
        assert!(got.contains("200 OK"), "{got}");
        socket.write_all(b"!").await.unwrap();
        let error = patient(socket.read_to_end(&mut Vec::new()))
            .await
            .unwrap_err();
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::ConnectionReset,
            "{head_of_answer}"
        );
    }
    way.until_idle().await;
}

#[tokio::test]
async fn s18_a_half_closed_client_still_gets_its_answer() {
    let way = Way::open().await;
    let (address, _) = mirror().await;
    let answer = once(&way, &format!("GET http://{address}/ HTTP/1.0\r\n\r\n")).await;
    assert!(
        answer.contains("200 OK") && answer.contains("GET / HTTP/1.1"),
        "{answer}"
    );
    way.until_idle().await;
}

#[tokio::test]
async fn upgrades_become_tunnels() {
    let way = Way::open().await;
    let address = server(|mut socket| async move {
        let head = head(&mut socket).await.to_ascii_lowercase();
        assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"));
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                       Upgrade: websocket\r\nSec-WebSocket-Accept: yes\r\n\r\nserver first";
        socket.write_all(answer).await.unwrap();
        let (mut read, mut write) = socket.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    })
    .await;
    let mut socket = way.proxy.http().await;
    let request = format!(
        "GET http://{address}/chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let head = head(&mut socket).await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("sec-websocket-accept: yes"));
    assert_eq!(read_exact(&mut socket, 12).await, b"server first");
    socket.write_all(b"frame").await.unwrap();
    socket.shutdown().await.unwrap();
    assert_eq!(read_all(&mut socket).await, b"frame");
    way.until_idle().await;
}

#[tokio::test]
async fn s16_failures_get_a_page_with_status_and_reason() {
    let way = Way::open().await;
    let closed = closed_port().await;
    let cases = [
        (
            "GET",
            "none.example:8081",
            502,
            "dns_error",
            "does not exist",
        ),
        (
            "CONNECT",
            "none.example:443",
            502,
            "dns_error",
            "does not exist",
        ),
        (
            "GET",
            &closed.to_string(),
            502,
            "connection_refused",
            "refused",
        ),
        (
            "CONNECT",
            &closed.to_string(),
            502,
            "connection_refused",
            "refused",
        ),
        (
            "GET",
            "10.0.0.1",
            403,
            "destination_ip_prohibited",
            "private",
        ),
        (
            "GET",
            "rebind.example",
            403,
            "destination_ip_prohibited",
            "private",
        ),
        (
            "CONNECT",
            "169.254.169.254:80",
            403,
            "destination_ip_prohibited",
            "metadata",
        ),
    ];
    for (method, target, status, error, reason) in cases {
        let target_of_line = if method == "GET" {
            format!("http://{target}/")
        } else {
            target.to_owned()
        };
        let request = format!("{method} {target_of_line} HTTP/1.1\r\nHost: x\r\n\r\n");
        let page = once(&way, &request).await;
        assert!(
            page.starts_with(&format!("HTTP/1.1 {status} ")),
            "{target}: {page}"
        );
        let lower = page.to_ascii_lowercase();
        assert!(
            lower.contains(&format!("proxy-status: masq; error={error}")),
            "{page}"
        );
        assert!(page.contains(reason), "{page}");
    }
    let accept = "GET http://none.example/ HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n";
    assert!(once(&way, accept).await.contains("<!doctype html>"));
    way.until_idle().await;
}

#[tokio::test]
async fn s17_no_route_is_a_503_with_the_reason() {
    let reason = "not enough nodes for 3 hops";
    let mesh = Arc::new(NoMesh(OpenError::NoRoute {
        reason: reason.into(),
    }));
    let proxy = Proxy::start(mesh, Plaintext::Allow, Duration::ZERO).await;
    for request in [
        "GET http://a.example/ HTTP/1.1",
        "CONNECT a.example:443 HTTP/1.1",
    ] {
        let mut socket = proxy.http().await;
        socket
            .write_all(format!("{request}\r\nHost: x\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let (head, body) = answer(&mut socket).await;
        assert!(
            head.starts_with("HTTP/1.1 503 ") && head.contains(reason),
            "{head}"
        );
        assert!(body.contains(reason), "{body}");
    }
}

#[tokio::test]
async fn requests_that_are_not_for_a_proxy_are_explained() {
    let way = Way::open().await;
    for (line, reason) in [
        ("GET / HTTP/1.1", "not a web server"),
        ("GET https://a.example/ HTTP/1.1", "CONNECT"),
        ("GET ftp://a.example/ HTTP/1.1", "http and https"),
        ("CONNECT a.example HTTP/1.1", "host and a port"),
        ("CONNECT a.example:0 HTTP/1.1", "host and a port"),
    ] {
        let page = once(&way, &format!("{line}\r\nHost: x\r\n\r\n")).await;
        assert!(
            page.starts_with("HTTP/1.1 400 ") && page.contains(reason),
            "{line}: {page}"
        );
    }
    for garbage in [
        "\x05\x01\x00",
        "GARBAGE\r\n\r\n",
        "GET http://a.example/ HTTP/9\r\n\r\n",
    ] {
        let page = once(&way, garbage).await;
        assert!(page.is_empty() || page.starts_with("HTTP/1.1 4"), "{page}");
    }
    let long = format!(
        "GET http://a.example/ HTTP/1.1\r\nX: {}\r\n\r\n",
        "x".repeat(200_000)
    );
    let mut socket = way.proxy.http().await;
    // The proxy may close before it has all of it.
    let _ = socket.write_all(long.as_bytes()).await;
    let mut page = Vec::new();
    let _ = patient(socket.read_to_end(&mut page)).await;
    assert!(page.is_empty() || text(&page).starts_with("HTTP/1.1 4"));
    way.until_idle().await;
}

#[tokio::test]
async fn servers_that_speak_nonsense_or_nothing_get_a_502() {
    let way = Way::open().await;
    for (said, reason) in [
        ("", "without an answer"),
        ("220 mail ready\r\n\r\n", "not HTTP"),
    ] {
        let address = server(move |mut socket| async move {
            head(&mut socket).await;
            socket.write_all(said.as_bytes()).await.unwrap();
        })
        .await;
        let page = once(
            &way,
            &format!("GET http://{address}/ HTTP/1.1\r\nHost: x\r\n\r\n"),
        )
        .await;
        assert!(
            page.starts_with("HTTP/1.1 502 ") && page.contains(reason),
            "{page}"
        );
    }
    way.until_idle().await;
}

#[tokio::test]
async fn plain_requests_can_be_refused_on_any_port() {
    let way = Way::with(Plaintext::Refuse, Duration::ZERO).await;
    let echo = echo_server().await;
    let page = once(
        &way,
        &format!("GET http://{echo}/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    )
    .await;
    assert!(
        page.starts_with("HTTP/1.1 403 ") && page.contains("plaintext"),
        "{page}"
    );
    let page = once(&way, "CONNECT site.example:80 HTTP/1.1\r\n\r\n").await;
    assert!(page.starts_with("HTTP/1.1 403 "), "{page}");
    let mut socket = way.proxy.http().await;
    socket
        .write_all(format!("CONNECT {echo} HTTP/1.1\r\n\r\n").as_bytes())
        .await
        .unwrap();
    assert!(head(&mut socket).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn heads_only_and_empty_answers_keep_the_connection() {
    let way = Way::open().await;
    let address = server(|mut socket| async move {
        loop {
            let head = head(&mut socket).await;
            let answer = if head.starts_with("HEAD") {
                "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"
            } else {
                "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"
            };
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let mut socket = way.proxy.http().await;
    for _ in 0..2 {
        for (method, expected) in [("HEAD", "1234"), ("GET", "304 Not Modified")] {
            let request = format!("{method} http://{address}/ HTTP/1.1\r\nHost: x\r\n\r\n");
            socket.write_all(request.as_bytes()).await.unwrap();
            let head = head(&mut socket).await;
            assert!(head.contains(expected), "{head}");
        }
    }
    assert_eq!(way.proxy.entry.status().flows_opened, 1);
}

#[tokio::test]
async fn s18_a_client_that_leaves_frees_the_flow() {
    let way = Way::open().await;
    let (gone, mut is_gone) = mpsc::channel(1);
    let address = server(move |mut socket| {
        let gone = gone.clone();
        async move {
            head(&mut socket).await;
            socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let block = [0; 16 * 1024];
            while socket.write_all(&block).await.is_ok() {}
            gone.send(()).await.unwrap();
        }
    })
    .await;
    let mut socket = way.proxy.http().await;
    let request = format!("GET http://{address}/ HTTP/1.1\r\nHost: x\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    head(&mut socket).await;
    read_exact(&mut socket, 100_000).await;
    drop(socket);
    patient(is_gone.recv()).await.unwrap();
    way.until_idle().await;
}
