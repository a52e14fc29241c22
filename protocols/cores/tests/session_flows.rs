//! Flows over a session over a circuit in memory: opening, ending, sharing, limits. Time is virtual; a
//! test that stands still runs into a time limit at once.

#![allow(clippy::unwrap_used)]

use std::{io, sync::Arc, time::Duration};

use futures::{
    AsyncRead, AsyncReadExt, AsyncWriteExt, FutureExt,
    future::{BoxFuture, join, join_all},
};
use masq_cores::{
    CircuitEnd, CloseReason,
    flow::{
        ClientSession, FlowError, FlowReply, FlowRequest, FlowStatus, FlowStream, Host,
        InboundFlow, MAX_FLOWS, accept,
    },
    session::{SessionEnd, SessionId},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

struct Mesh {
    session: ClientSession,
    origin: JoinHandle<SessionEnd>,
    exit: JoinHandle<SessionEnd>,
    _close: watch::Sender<Option<Arc<CloseReason>>>,
}

fn mesh<F>(handler: F) -> Mesh
where
    F: Fn(InboundFlow) -> BoxFuture<'static, ()> + Send + Sync + 'static,
{
    let (origin, exit, close) = CircuitEnd::pair();
    let (session, driver) = ClientSession::start(origin, SessionId([3; 16]));
    Mesh {
        session,
        origin: tokio::spawn(driver),
        exit: tokio::spawn(accept(exit, Arc::new(handler))),
        _close: close,
    }
}

/// A mesh whose exit accepts everything and hands the streams to the test.
fn handing_over() -> (Mesh, mpsc::Receiver<FlowStream>) {
    let (tx, rx) = mpsc::channel(2 * MAX_FLOWS);
    let mesh = mesh(move |flow| {
        let tx = tx.clone();
        async move {
            let _ = tx.send(flow.accept(FlowReply::ok())).await;
        }
        .boxed()
    });
    (mesh, rx)
}

/// A mesh whose exit sends back what it gets, and ends when the origin does.
fn echoing() -> Mesh {
    mesh(|flow| echo(flow.accept(FlowReply::ok())).map(drop).boxed())
}

async fn echo(mut stream: FlowStream) -> io::Result<()> {
    let mut buf = vec![0; 20_000];
    loop {
        let n = stream.read(&mut buf).await?;
        if n == 0 {
            return stream.close().await;
        }
        stream.write_all(&buf[..n]).await?;
    }
}

fn tcp() -> FlowRequest {
    FlowRequest::Tcp {
        host: Host::Name("server.example".into()),
        port: 443,
    }
}

async fn connected(mesh: &Mesh, rx: &mut mpsc::Receiver<FlowStream>) -> (FlowStream, FlowStream) {
    let (_, origin) = mesh.session.connect(tcp()).await.unwrap();
    (origin, rx.recv().await.unwrap())
}

async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let (mut all, mut buf) = (Vec::new(), vec![0; 32 * 1024]);
    loop {
        let n = stream.read(&mut buf).await?;
        if n == 0 {
            return Ok(all);
        }
        all.extend_from_slice(&buf[..n]);
    }
}

fn pattern(seed: usize, len: usize) -> Vec<u8> {
    let period: Vec<u8> = (0..251).map(|i| (i * 7 + seed) as u8).collect();
    let mut all = period.repeat(len / period.len() + 1);
    all.truncate(len);
    all
}

/// Until the session has nothing open any more; fails by running into the limit.
async fn all_closed(session: &ClientSession) {
    let closed = async {
        while session.open_flows() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(1), closed).await.unwrap();
    assert_eq!(session.unread_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn s18_a_thousand_flows_at_once_are_all_correct() {
    let mesh = echoing();
    let one = |i: usize| {
        let session = mesh.session.clone();
        async move {
            let (_, stream) = session.connect(tcp()).await.unwrap();
            let data = pattern(i, 3_000 + i * 17);
            let (mut read, mut write) = stream.split();
            let send = async {
                write.write_all(&data).await.unwrap();
                write.close().await.unwrap();
            };
            let (got, ()) = join(read_all(&mut read), send).await;
            assert!(got.unwrap() == data, "flow {i}");
        }
    };
    join_all((0..1000).map(one)).await;
    all_closed(&mesh.session).await;
}

#[tokio::test(start_paused = true)]
async fn s18_one_large_flow_each_way_is_exact() {
    let mesh = echoing();
    let (_, stream) = mesh.session.connect(tcp()).await.unwrap();
    let data = pattern(1, 30_000_000);
    let (mut read, mut write) = stream.split();
    let send = async {
        write.write_all(&data).await.unwrap();
        write.close().await.unwrap();
    };
    let (got, ()) = join(read_all(&mut read), send).await;
    assert!(got.unwrap() == data);
}

#[tokio::test(start_paused = true)]
async fn s18_early_data_needs_no_answer_and_is_read_first() {
    let (hold, held) = watch::channel(true);
    let mesh = mesh(move |flow| {
        let mut held = held.clone();
        async move {
            held.wait_for(|held| !held).await.unwrap();
            let mut stream = flow.accept(FlowReply::ok());
            assert_eq!(read_all(&mut stream).await.unwrap(), b"GET /");
            stream.write_all(b"200").await.unwrap();
            stream.close().await.unwrap();
        }
        .boxed()
    });
    let mut flow = mesh.session.open(tcp()).await.unwrap();
    flow.send_early(b"GET").await.unwrap();
    flow.send_early(b" /").await.unwrap();
    flow.close().await.unwrap();
    hold.send_replace(false);
    let (reply, mut stream) = flow.reply().await.unwrap();
    assert_eq!(reply.status, FlowStatus::Ok);
    assert_eq!(read_all(&mut stream).await.unwrap(), b"200");
}

#[tokio::test(start_paused = true)]
async fn s18_half_close_in_either_direction_leaves_the_other_open() {
    let (mesh, mut rx) = handing_over();
    for origin_first in [true, false] {
        let (origin, exit) = connected(&mesh, &mut rx).await;
        let (mut first, mut second) = if origin_first {
            (origin, exit)
        } else {
            (exit, origin)
        };
        first.write_all(b"done").await.unwrap();
        first.close().await.unwrap();
        assert_eq!(read_all(&mut second).await.unwrap(), b"done");
        assert!(
            first.write_all(b"x").await.is_err(),
            "its own direction has ended"
        );
        // The other direction goes on, for more than any window.
        let data = pattern(9, 2_000_000);
        let send = async {
            second.write_all(&data).await.unwrap();
            second.close().await.unwrap();
        };
        let (got, ()) = join(read_all(&mut first), send).await;
        assert!(got.unwrap() == data);
        // What has ended stays ended, however often one asks.
        assert_eq!(read_all(&mut second).await.unwrap(), b"");
        drop((first, second));
        all_closed(&mesh.session).await;
    }
}

#[tokio::test(start_paused = true)]
async fn s18_a_clean_end_survives_that_the_other_side_is_gone() {
    let (mesh, mut rx) = handing_over();
    let (mut origin, mut exit) = connected(&mesh, &mut rx).await;
    origin.close().await.unwrap();
    assert_eq!(read_all(&mut exit).await.unwrap(), b"");
    exit.write_all(&pattern(2, 100_000)).await.unwrap();
    exit.close().await.unwrap();
    drop(exit);
    assert_eq!(read_all(&mut origin).await.unwrap(), pattern(2, 100_000));
}

/// In which state the reset finds the flow, as seen by the side that is reset.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    Open,
    ItHadClosed,
    OtherHadClosed,
    DataUnread,
}

#[tokio::test(start_paused = true)]
async fn s18_a_reset_is_an_error_in_every_state_and_never_an_end() {
    let (mesh, mut rx) = handing_over();
    for origin_resets in [true, false] {
        for before in [
            Before::Open,
            Before::ItHadClosed,
            Before::OtherHadClosed,
            Before::DataUnread,
        ] {
            let (origin, exit) = connected(&mesh, &mut rx).await;
            let (mut resets, mut sees) = if origin_resets {
                (origin, exit)
            } else {
                (exit, origin)
            };
            match before {
                Before::Open => {}
                Before::ItHadClosed => {
                    sees.close().await.unwrap();
                    assert_eq!(read_all(&mut resets).await.unwrap(), b"");
                }
                Before::OtherHadClosed => {
                    resets.close().await.unwrap();
                    assert_eq!(read_all(&mut sees).await.unwrap(), b"");
                }
                Before::DataUnread => resets.write_all(b"unread").await.unwrap(),
            }
            drop(resets);
            let kind = match before {
                Before::OtherHadClosed => {
                    // Reading has ended; the reset shows in writing.
                    loop {
                        if let Err(error) = sees.write_all(&[1; 1000]).await {
                            break error.kind();
                        }
                        tokio::task::yield_now().await;
                    }
                }
                Before::DataUnread => {
                    let mut buf = [0; 6];
                    sees.read_exact(&mut buf).await.unwrap();
                    assert_eq!(&buf, b"unread");
                    sees.read(&mut buf).await.unwrap_err().kind()
                }
                _ => sees.read(&mut [0; 9]).await.unwrap_err().kind(),
            };
            assert_eq!(
                kind,
                io::ErrorKind::ConnectionReset,
                "{origin_resets} {before:?}"
            );
            let again = sees.write_all(b"x").await;
            assert!(again.is_err(), "{origin_resets} {before:?}");
            drop(sees);
            all_closed(&mesh.session).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s18_a_reset_wakes_a_writer_that_waits_for_room() {
    let (mesh, mut rx) = handing_over();
    for origin_resets in [true, false] {
        let (origin, exit) = connected(&mesh, &mut rx).await;
        let (resets, mut sees) = if origin_resets {
            (origin, exit)
        } else {
            (exit, origin)
        };
        let data = vec![0; 5_000_000];
        let reset = async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            drop(resets);
        };
        let write = timeout(Duration::from_secs(1), sees.write_all(&data));
        let (written, ()) = join(write, reset).await;
        assert_eq!(
            written.unwrap().unwrap_err().kind(),
            io::ErrorKind::ConnectionReset
        );
    }
}

#[tokio::test(start_paused = true)]
async fn s18_every_refusal_reaches_the_origin_with_its_reason() {
    let statuses = [
        FlowStatus::NameNotFound,
        FlowStatus::NameServerFailed,
        FlowStatus::ConnectionRefused,
        FlowStatus::HostUnreachable,
        FlowStatus::NetworkUnreachable,
        FlowStatus::TimedOut,
        FlowStatus::PolicyRefused,
        FlowStatus::PlaintextRefused,
        FlowStatus::Unsupported,
        FlowStatus::Overloaded,
        FlowStatus::Internal,
    ];
    let mesh = mesh(move |flow| {
        async move {
            let FlowRequest::Tcp { port, .. } = flow.request() else {
                return;
            };
            let status = statuses[usize::from(*port) - 1];
            flow.refuse(status, "because\u{7}");
        }
        .boxed()
    });
    for (port, status) in (1..).zip(statuses) {
        let host = Host::V4([192, 0, 2, 1].into());
        let mut flow = mesh
            .session
            .open(FlowRequest::Tcp { host, port })
            .await
            .unwrap();
        // Whether this goes or breaks, the answer is there to be read.
        let _ = flow.send_early(&[0; 100_000]).await;
        let Err(FlowError::Refused(reply)) = flow.reply().await else {
            panic!("{status:?} was no refusal");
        };
        assert_eq!((reply.status, &*reply.detail), (status, "because "));
    }
    all_closed(&mesh.session).await;
}

#[tokio::test(start_paused = true)]
async fn an_exit_that_drops_or_panics_is_a_reset() {
    let mesh = mesh(|flow| {
        async move {
            assert!(
                !matches!(flow.request(), FlowRequest::Udp),
                "fails on purpose"
            );
        }
        .boxed()
    });
    for request in [FlowRequest::Udp, tcp()] {
        let refused = mesh.session.connect(request).await;
        assert!(matches!(refused, Err(FlowError::Reset)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_exit_that_never_answers_runs_into_the_limit() {
    let mesh = mesh(|flow| {
        async move {
            let _flow = flow;
            std::future::pending::<()>().await;
        }
        .boxed()
    });
    let refused = mesh.session.connect(tcp()).await;
    assert!(matches!(refused, Err(FlowError::NoReply)));
    all_closed(&mesh.session).await;
}

#[tokio::test(start_paused = true)]
async fn a_flow_given_up_by_the_origin_is_noticed_while_the_exit_connects() {
    let (tx, mut rx) = mpsc::channel(1);
    let mesh = mesh(move |mut flow| {
        let tx = tx.clone();
        async move {
            flow.aborted().await;
            tx.send(()).await.unwrap();
        }
        .boxed()
    });
    let mut flow = mesh.session.open(tcp()).await.unwrap();
    flow.send_early(b"early").await.unwrap();
    flow.close().await.unwrap();
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(rx.try_recv().is_err(), "an end is not an abort");
    drop(flow);
    timeout(Duration::from_secs(1), rx.recv()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn flows_beyond_the_limit_are_refused_and_the_session_lives() {
    let (mesh, mut rx) = handing_over();
    let opens = join_all((0..MAX_FLOWS).map(|_| mesh.session.connect(tcp()))).await;
    let mut flows: Vec<FlowStream> = opens.into_iter().map(|flow| flow.unwrap().1).collect();
    assert_eq!(mesh.session.open_flows(), MAX_FLOWS);
    let one_more = mesh.session.open(tcp()).await;
    let error = one_more.unwrap_err();
    assert!(matches!(error, FlowError::TooManyFlows));
    assert!(error.is_safe_to_retry());
    drop(flows.split_off(10));
    assert_eq!(mesh.session.open_flows(), 10);
    // The exit still holds its ends: what it has no room for, it says so.
    let refused = mesh.session.connect(tcp()).await.unwrap_err();
    assert!(matches!(refused, FlowError::Refused(reply) if reply.status == FlowStatus::Overloaded));
    for _ in 0..MAX_FLOWS {
        drop(rx.recv().await.unwrap());
    }
    let (_, mut flow) = mesh.session.connect(tcp()).await.unwrap();
    flow.write_all(b"x").await.unwrap();
    drop((flow, flows));
    all_closed(&mesh.session).await;
}

#[tokio::test(start_paused = true)]
async fn opening_and_dropping_in_haste_leaves_nothing_behind() {
    let mesh = echoing();
    for round in 0..20 {
        let opens = (0..500).map(|i| {
            let session = mesh.session.clone();
            async move {
                if i % 3 == 0 {
                    // Given up before it is there.
                    let _ = session.open(tcp()).now_or_never();
                } else {
                    let opened = session.open(tcp()).await;
                    assert!(opened.is_ok(), "{round} {i} {opened:?}");
                }
            }
        });
        join_all(opens).await;
    }
    all_closed(&mesh.session).await;
    let (_, mut flow) = mesh.session.connect(tcp()).await.unwrap();
    flow.write_all(b"still fine").await.unwrap();
    flow.close().await.unwrap();
    assert_eq!(read_all(&mut flow).await.unwrap(), b"still fine");
}

#[tokio::test(start_paused = true)]
async fn a_stalled_flow_blocks_neither_others_nor_the_session() {
    let (mesh, mut rx) = handing_over();
    // Stalled in both directions: each side writes until nothing goes any more, and nobody reads.
    let (stalled, at_exit) = connected(&mesh, &mut rx).await;
    let (stalled_read, mut up) = stalled.split();
    let (exit_read, mut down) = at_exit.split();
    let data = pattern(1, 5_000_000);
    let (up_data, down_data) = (data.clone(), data.clone());
    let up = tokio::spawn(async move { up.write_all(&up_data).await.map(|()| up) });
    let down = tokio::spawn(async move { down.write_all(&down_data).await.map(|()| down) });
    let (mut origin, mut exit) = connected(&mesh, &mut rx).await;
    let send = async {
        exit.write_all(&data).await.unwrap();
        exit.close().await.unwrap();
    };
    let through = timeout(Duration::from_secs(1), join(read_all(&mut origin), send));
    assert!(through.await.unwrap().0.unwrap() == data);
    assert!(!up.is_finished() && !down.is_finished());
    // And when somebody reads, it moves on.
    let read = |mut half: futures::io::ReadHalf<FlowStream>| async move {
        let mut all = vec![0; 5_000_000];
        half.read_exact(&mut all).await.unwrap();
        (all, half)
    };
    let both = timeout(
        Duration::from_secs(1),
        join(read(stalled_read), read(exit_read)),
    );
    let ((a, _a), (b, _b)) = both.await.unwrap();
    assert!(a == data && b == data);
    up.await.unwrap().unwrap();
    down.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn full_in_both_directions_with_stalled_readers_does_not_lock() {
    // 400 flows, more than may be held unread: the session itself stands still until they are read.
    const FLOWS: usize = 400;
    const EACH: usize = 600_000;
    let (go, gate) = watch::channel(false);
    let exit_gate = gate.clone();
    let mesh = mesh(move |flow| {
        let gate = exit_gate.clone();
        async move { both_ways(flow.accept(FlowReply::ok()), gate, EACH).await }.boxed()
    });
    let flows = (0..FLOWS).map(|_| {
        let (session, gate) = (mesh.session.clone(), gate.clone());
        async move {
            // Some are answered only when others are read.
            let (_, stream) = session.connect(tcp()).await.unwrap();
            both_ways(stream, gate, EACH).await;
        }
    });
    let flows = tokio::spawn(join_all(flows));
    let mut peak = 0;
    for _ in 0..20_000 {
        tokio::task::yield_now().await;
        peak = peak.max(mesh.session.unread_bytes());
    }
    assert!(!flows.is_finished());
    assert!(peak < 65 * 1024 * 1024, "{peak} held unread");
    go.send_replace(true);
    timeout(Duration::from_secs(5), flows)
        .await
        .unwrap()
        .unwrap();
    all_closed(&mesh.session).await;
}

/// Writes and reads `len` bytes; reads nothing before the gate opens.
async fn both_ways(stream: FlowStream, mut gate: watch::Receiver<bool>, len: usize) {
    let data = pattern(4, len);
    let (mut read, mut write) = stream.split();
    let send = async {
        write.write_all(&data).await.unwrap();
        write.close().await.unwrap();
    };
    let receive = async {
        gate.wait_for(|open| *open).await.unwrap();
        read_all(&mut read).await.unwrap()
    };
    let ((), got) = join(send, receive).await;
    assert!(got == data);
}

#[tokio::test(start_paused = true)]
async fn closing_ends_both_sides_cleanly_and_breaks_what_is_open() {
    let (mesh, mut rx) = handing_over();
    let (mut origin, mut exit) = connected(&mesh, &mut rx).await;
    origin.write_all(b"sent before").await.unwrap();
    mesh.session.close();
    assert!(matches!(mesh.session.ended().await, SessionEnd::Local));
    assert!(matches!(mesh.origin.await.unwrap(), SessionEnd::Local));
    assert!(matches!(mesh.exit.await.unwrap(), SessionEnd::Peer));
    let mut buf = [0; 11];
    exit.read_exact(&mut buf).await.unwrap();
    assert_eq!(&buf, b"sent before");
    let kind = |result: io::Result<usize>| result.unwrap_err().kind();
    assert_eq!(
        kind(exit.read(&mut buf).await),
        io::ErrorKind::ConnectionAborted
    );
    assert_eq!(
        kind(origin.read(&mut buf).await),
        io::ErrorKind::ConnectionAborted
    );
    let refused = mesh.session.open(tcp()).await;
    assert!(matches!(
        refused,
        Err(FlowError::SessionEnded(SessionEnd::Local))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_session_without_handles_ends_after_its_last_flow() {
    let mesh = echoing();
    let (_, mut flow) = mesh.session.connect(tcp()).await.unwrap();
    drop(mesh.session);
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    flow.write_all(b"alive").await.unwrap();
    flow.close().await.unwrap();
    assert_eq!(read_all(&mut flow).await.unwrap(), b"alive");
    assert!(!mesh.origin.is_finished());
    drop(flow);
    assert!(matches!(mesh.origin.await.unwrap(), SessionEnd::Local));
    assert!(matches!(mesh.exit.await.unwrap(), SessionEnd::Peer));
}

#[tokio::test(start_paused = true)]
async fn a_lost_circuit_breaks_flows_with_an_error_at_both_ends() {
    for lose_origin in [true, false] {
        let (mesh, mut rx) = handing_over();
        let (mut origin, mut exit) = connected(&mesh, &mut rx).await;
        let waiting = mesh.session.clone();
        if lose_origin {
            mesh.origin.abort();
        } else {
            mesh.exit.abort();
        }
        for stream in [&mut origin, &mut exit] {
            let read = timeout(Duration::from_secs(1), stream.read(&mut [0; 4])).await;
            let kind = read.unwrap().unwrap_err().kind();
            let lost = [
                io::ErrorKind::ConnectionAborted,
                io::ErrorKind::ConnectionReset,
            ];
            assert!(lost.contains(&kind), "{kind:?}");
        }
        assert!(!waiting.ended().await.is_clean());
        assert!(matches!(
            waiting.open(tcp()).await,
            Err(FlowError::SessionEnded(_))
        ));
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_cannot_be_sent_never_leave() {
    let mesh = echoing();
    let host = Host::Name("x".repeat(256));
    let refused = mesh.session.open(FlowRequest::Tcp { host, port: 1 }).await;
    assert!(matches!(refused, Err(FlowError::BadRequest(_))));
    assert_eq!(mesh.session.open_flows(), 0);
}
