//! Tests of the pipe: between two real sockets, since ends and resets are what
//! it is about. The far one is wrapped as zero-hop mode wraps it, so that it
//! ends and resets like a flow.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::exit::direct::straight;

/// Two ends of a connection.
async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

struct Running {
    client: TcpStream,
    server: TcpStream,
    pipe: JoinHandle<PipeEnd>,
    traffic: Arc<Traffic>,
}

async fn run(early: Early, limits: PipeLimits) -> Running {
    let (client, socket) = sockets().await;
    let (far, server) = sockets().await;
    let traffic = Arc::<Traffic>::default();
    let counted = Arc::clone(&traffic);
    let pipe =
        tokio::spawn(async move { pipe(socket, straight(far), early, limits, &counted).await });
    Running {
        client,
        server,
        pipe,
        traffic,
    }
}

async fn start() -> Running {
    run(Early::default(), PipeLimits::default()).await
}

async fn read_all(socket: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    socket.read_to_end(&mut all).await.unwrap();
    all
}

async fn expect_reset(socket: &mut TcpStream) {
    let error = socket.read(&mut [0; 16]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

fn reset(socket: TcpStream) {
    socket.set_zero_linger().unwrap();
    drop(socket);
}

#[tokio::test]
async fn s18_half_close_by_the_client_leaves_the_answer_running() {
    let mut r = start().await;
    r.client.write_all(b"question").await.unwrap();
    r.client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut r.server).await, b"question");
    r.server.write_all(b"answer").await.unwrap();
    r.server.shutdown().await.unwrap();
    assert_eq!(read_all(&mut r.client).await, b"answer");
    assert_eq!(r.pipe.await.unwrap(), PipeEnd::Finished);
    assert_eq!((r.traffic.to_flow(), r.traffic.to_socket()), (8, 6));
}

#[tokio::test]
async fn s18_half_close_by_the_server_leaves_the_upload_running() {
    let mut r = start().await;
    r.server.shutdown().await.unwrap();
    assert_eq!(read_all(&mut r.client).await, b"");
    r.client.write_all(b"upload").await.unwrap();
    r.client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut r.server).await, b"upload");
    assert_eq!(r.pipe.await.unwrap(), PipeEnd::Finished);
}

#[tokio::test]
async fn s18_a_reset_by_the_client_reaches_the_server_as_a_reset() {
    let mut r = start().await;
    reset(r.client);
    expect_reset(&mut r.server).await;
    assert_eq!(r.pipe.await.unwrap(), PipeEnd::SocketReset);
}

#[tokio::test]
async fn s18_a_reset_by_the_server_reaches_the_client_as_a_reset() {
    let mut r = start().await;
    reset(r.server);
    expect_reset(&mut r.client).await;
    assert_eq!(r.pipe.await.unwrap(), PipeEnd::FlowReset);
}

#[tokio::test]
async fn s18_a_reset_is_seen_though_the_client_had_half_closed() {
    let mut r = start().await;
    r.client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut r.server).await, b"");
    // Nothing is being read from the client, nor written to it.
    reset(r.client);
    assert_eq!(r.pipe.await.unwrap(), PipeEnd::SocketReset);
    // Its reading half had ended before; a reset now shows in writing.
    let error = r.server.write_all(b"answer").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn s18_what_came_before_a_reset_is_delivered() {
    let mut r = start().await;
    r.server.write_all(b"some of it").await.unwrap();
    let mut got = [0; 10];
    r.client.read_exact(&mut got).await.unwrap();
    r.client.write_all(b"last words").await.unwrap();
    r.server.read_exact(&mut got).await.unwrap();
    reset(r.client);
    assert_eq!(&got, b"last words");
    expect_reset(&mut r.server).await;
}

#[tokio::test]
async fn s18_dropping_the_pipe_resets_both_sides() {
    let mut r = start().await;
    r.client.write_all(b"x").await.unwrap();
    r.server.read_exact(&mut [0]).await.unwrap();
    r.pipe.abort();
    expect_reset(&mut r.client).await;
    expect_reset(&mut r.server).await;
}

#[tokio::test]
async fn early_bytes_go_first() {
    let early = Early {
        to_flow: Bytes::from_static(b"one "),
        to_socket: Bytes::from_static(b"1 "),
    };
    let mut r = run(early, PipeLimits::default()).await;
    r.client.write_all(b"two").await.unwrap();
    r.server.write_all(b"2").await.unwrap();
    r.client.shutdown().await.unwrap();
    r.server.shutdown().await.unwrap();
    assert_eq!(read_all(&mut r.server).await, b"one two");
    assert_eq!(read_all(&mut r.client).await, b"1 2");
    assert_eq!(r.pipe.await.unwrap(), PipeEnd::Finished);
}

/// Bytes whose every position can be checked.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed | 1;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x as u8
        })
        .collect()
}

#[tokio::test]
async fn bulk_in_both_directions_arrives_whole() {
    const LEN: usize = 8 << 20;
    let r = start().await;
    let (up, down) = (pattern(LEN, 3), pattern(LEN, 5));
    let side = |socket: TcpStream, send: Vec<u8>| {
        tokio::spawn(async move {
            let (mut read, mut write) = socket.into_split();
            let sending = async {
                write.write_all(&send).await.unwrap();
                write.shutdown().await.unwrap();
            };
            let mut got = Vec::new();
            let (_, read) = tokio::join!(sending, read.read_to_end(&mut got));
            read.unwrap();
            got
        })
    };
    let (client, server) = (side(r.client, up.clone()), side(r.server, down.clone()));
    assert!(client.await.unwrap() == down && server.await.unwrap() == up);
    assert_eq!(r.pipe.await.unwrap(), PipeEnd::Finished);
    assert_eq!(r.traffic.to_flow(), LEN as u64);
}

#[tokio::test]
async fn a_stalled_direction_does_not_hold_the_other() {
    let mut r = start().await;
    // The client sends more than all buffers hold, and the server reads none.
    let (mut read, mut write) = r.client.split();
    let block = vec![7; 1 << 20];
    let flood = async {
        for _ in 0..256 {
            if write.write_all(&block).await.is_err() {
                break;
            }
        }
    };
    let other = async {
        for n in 0..100u8 {
            r.server.write_all(&[n]).await.unwrap();
            let mut got = [0];
            read.read_exact(&mut got).await.unwrap();
            assert_eq!(got, [n]);
        }
    };
    tokio::select! {
        () = flood => panic!("the flood fits into no buffer"),
        () = other => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_pipe_is_given_up() {
    let limits = PipeLimits::default();
    let mut r = run(Early::default(), limits).await;
    let started = Instant::now();
    assert_eq!(r.pipe.await.unwrap(), PipeEnd::Idle);
    assert!(started.elapsed() >= limits.half_closed_idle);
    assert!(started.elapsed() <= limits.idle + Duration::from_secs(1));
    expect_reset(&mut r.client).await;
    expect_reset(&mut r.server).await;
}
