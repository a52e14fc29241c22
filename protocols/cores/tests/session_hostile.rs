//! Sessions whose other side does not keep the rules: played by hand, cell by cell.

#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, future::BoxFuture};
use masq_cores::{
    CircuitEnd,
    flow::{ClientSession, FlowError, FlowReply, FlowRequest, InboundFlow, accept},
    session::{HEADER_LEN, Header, Machine, SessionEnd, SessionId},
};
use masq_onion::CellSize;
use proptest::prelude::*;
use tokio::{sync::mpsc, time::timeout};

const SYN: u16 = 1;
const DATA: u8 = 0;
const PING: u8 = 2;

/// One frame of yamux.
fn frame(kind: u8, flags: u16, flow: u32, len: u32, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0, kind];
    out.extend_from_slice(&flags.to_be_bytes());
    out.extend_from_slice(&flow.to_be_bytes());
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(body);
    out
}

fn data(flags: u16, flow: u32, body: &[u8]) -> Vec<u8> {
    frame(DATA, flags, flow, body.len() as u32, body)
}

/// A flow to a service, as its first frame.
fn open(flow: u32, name: &str) -> Vec<u8> {
    let mut body = vec![2];
    body.extend(FlowRequest::Service { name: name.into() }.encode().unwrap());
    data(SYN, flow, &body)
}

/// One end of a circuit, played by hand.
struct Hand {
    end: CircuitEnd,
    machine: Machine,
}

impl Hand {
    fn origin(end: CircuitEnd) -> Self {
        Self {
            end,
            machine: Machine::origin(SessionId([1; 16])),
        }
    }

    async fn control(&mut self) {
        let mut cell = self.end.cell(CellSize::Small);
        let len = self.machine.cut_control(cell.payload_mut());
        cell.set_len(len);
        let _ = self.end.outgoing.send(cell).await;
    }

    /// Sends bytes; the machine must not be blocked. `false` when the circuit is gone.
    async fn send(&mut self, bytes: &[u8]) -> bool {
        for chunk in bytes.chunks(16_000) {
            let mut cell = self.end.cell(CellSize::Large);
            cell.set_len(HEADER_LEN);
            cell.put(chunk);
            let len = cell.len();
            self.machine
                .cut_data(&mut cell.payload_mut()[..len])
                .unwrap();
            if self.end.outgoing.send(cell).await.is_err() {
                return false;
            }
        }
        true
    }

    /// The bytes in the next cell.
    async fn receive(&mut self) -> Option<Vec<u8>> {
        let cell = self.end.incoming.recv().await?;
        let taken = self.machine.on_cell(cell.payload()).unwrap();
        if !taken.data.is_empty() {
            self.machine.release();
        }
        Some(cell.payload()[taken.data].to_vec())
    }
}

fn serve(
    handler: impl Fn(InboundFlow) -> BoxFuture<'static, ()> + Send + Sync + 'static,
) -> (Hand, tokio::task::JoinHandle<SessionEnd>) {
    let (origin, exit, _) = CircuitEnd::pair();
    let exit = tokio::spawn(accept(exit, Arc::new(handler)));
    (Hand::origin(origin), exit)
}

/// yamux does not read while it owes a pong that it cannot write. Here the way back is full and nobody
/// empties it; what comes after a ping must still arrive.
#[tokio::test(start_paused = true)]
async fn a_ping_on_a_full_circuit_does_not_stop_the_reader() {
    let (tx, mut rx) = mpsc::channel(1);
    let (mut hand, _exit) = serve(move |flow| {
        let tx = tx.clone();
        async move {
            let FlowRequest::Service { name } = flow.request().clone() else {
                return;
            };
            let mut stream = flow.accept(FlowReply::ok());
            if name == "flood" {
                let _ = stream.write_all(&[0; 10_000_000]).await;
            } else {
                let mut buf = [0; 4];
                stream.read_exact(&mut buf).await.unwrap();
                tx.send(buf).await.unwrap();
            }
        }
        .boxed()
    });
    hand.control().await;
    assert!(hand.send(&open(1, "flood")).await);
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    assert!(hand.send(&open(3, "listen")).await);
    assert!(hand.send(&frame(PING, SYN, 0, 77, &[])).await);
    assert!(hand.send(&data(0, 3, b"\0word")).await);
    let word = timeout(Duration::from_secs(1), rx.recv()).await;
    assert_eq!(word.unwrap().unwrap(), *b"word");
    // And the pong comes once the way is free.
    let mut all = Vec::new();
    let pong = frame(PING, 2, 0, 77, &[]);
    while !all.windows(pong.len()).any(|window| window == pong) {
        let cell = timeout(Duration::from_secs(1), hand.receive()).await;
        all.extend(cell.unwrap().unwrap());
        if hand.machine.control_due() {
            hand.control().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_none_are_refused_or_dropped_and_the_session_lives() {
    let (mut hand, exit) = serve(|flow| async move { drop(flow.accept(FlowReply::ok())) }.boxed());
    hand.control().await;
    let cases: [&[u8]; 6] = [
        &[2],                         // empty message
        &[2, 0x08, 0x63],             // a kind from the future
        &[2, 0x08, 0x01, 0x12, 0xff], // cut off
        &[0, b'x'],                   // data before the request
        &[1],                         // the end before the request
        &[9, 9],                      // no kind of frame
    ];
    for (flow, body) in (1u32..).step_by(2).zip(cases) {
        assert!(hand.send(&data(SYN, flow, body)).await);
    }
    // Longer than a request may be.
    assert!(hand.send(&data(SYN, 101, &[2; 2000])).await);
    for _ in 0..500 {
        tokio::task::yield_now().await;
    }
    assert!(!exit.is_finished());
    drop(hand);
    assert!(matches!(exit.await.unwrap(), SessionEnd::CircuitLost));
}

#[tokio::test(start_paused = true)]
async fn a_flow_that_sends_no_request_is_dropped_in_time() {
    let (mut hand, exit) = serve(|flow| async move { drop(flow) }.boxed());
    hand.control().await;
    assert!(hand.send(&data(SYN, 1, b"")).await);
    let reset = frame(DATA, 8, 1, 0, &[]);
    let seen = async {
        let mut all = Vec::new();
        while !all.windows(reset.len()).any(|window| window == reset) {
            all.extend(hand.receive().await.unwrap());
        }
    };
    timeout(Duration::from_secs(30), seen).await.unwrap();
    assert!(!exit.is_finished());
}

#[tokio::test(start_paused = true)]
async fn what_a_hostile_origin_can_make_an_exit_hold_is_bounded() {
    // The flows are never read; each may hold 256 KiB, and there are 1,000 of them.
    let (mut hand, _exit) = serve(|flow| {
        async move {
            let _stream = flow.accept(FlowReply::ok());
            std::future::pending::<()>().await;
        }
        .boxed()
    });
    hand.control().await;
    let body = vec![0; 15_000];
    let mut sent = 0;
    'out: for flow in (1u32..).step_by(2).take(1000) {
        let mut wire = open(flow, "sink");
        for _ in 0..16 {
            wire.extend(data(0, flow, &body));
        }
        // Acknowledgements come back as long as the exit reads.
        while let Some(Some(_)) = hand.receive().now_or_never() {}
        if hand.machine.control_due() {
            hand.control().await;
        }
        if timeout(Duration::from_secs(1), hand.send(&wire))
            .await
            .is_err()
        {
            break 'out;
        }
        sent += wire.len();
    }
    assert!(sent > 20 * 1024 * 1024, "{sent}");
    assert!(sent < 40 * 1024 * 1024, "{sent}");
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_never_acknowledges_is_given_up() {
    let (mut hand, exit) = serve(|flow| {
        async move {
            let mut stream = flow.accept(FlowReply::ok());
            let _ = stream.write_all(&vec![7; 1 << 20]).await;
            std::future::pending().await
        }
        .boxed()
    });
    hand.control().await;
    // The window of each is 256 KiB.
    for n in 0..8 {
        assert!(hand.send(&open(2 * n + 1, "much")).await);
    }
    let begun = tokio::time::Instant::now();
    // It takes what comes, and tells nothing.
    while hand.end.incoming.recv().await.is_some() {}
    assert!(matches!(exit.await.unwrap(), SessionEnd::Unacknowledged));
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(60) && took <= Duration::from_secs(90));
}

#[tokio::test(start_paused = true)]
async fn an_exit_that_opens_flows_ends_the_session() {
    let (origin, exit, _) = CircuitEnd::pair();
    let (session, driver) = ClientSession::start(origin, SessionId([1; 16]));
    let driver = tokio::spawn(driver);
    let mut hand = Hand {
        end: exit,
        machine: Machine::exit(),
    };
    hand.receive().await;
    assert!(hand.send(&data(SYN, 2, b"\x02hello")).await);
    assert!(matches!(session.ended().await, SessionEnd::Mux(_)));
    assert!(matches!(driver.await.unwrap(), SessionEnd::Mux(_)));
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_none_is_an_error_of_that_flow_only() {
    for body in [&b"\x02"[..], b"\x02\x08", b"\x00data", b"\x01", b"\x07"] {
        let (origin, exit, _) = CircuitEnd::pair();
        let (session, driver) = ClientSession::start(origin, SessionId([1; 16]));
        tokio::spawn(driver);
        let mut hand = Hand {
            end: exit,
            machine: Machine::exit(),
        };
        let flow = session.open(FlowRequest::Udp).await.unwrap();
        hand.receive().await;
        assert!(hand.send(&data(2, 1, body)).await);
        let reply = flow.reply().await;
        assert!(matches!(reply, Err(FlowError::BadReply(_))), "{body:?}");
        assert!(session.end().is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn no_bytes_in_cells_or_frames_make_either_side_panic(
        cells in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 1..12),
        raw in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (mut hand, exit) = serve(|flow| async move { drop(flow.accept(FlowReply::ok())) }.boxed());
            hand.control().await;
            for bytes in &cells {
                if raw {
                    let mut cell = hand.end.cell(CellSize::Small);
                    cell.put(bytes);
                    let _ = hand.end.outgoing.send(cell).await;
                } else {
                    // Frames that yamux takes for real: known version, type, flags and flow.
                    let mut wire = bytes.clone();
                    let heads = [(0, 1), (1, 3), (2, 1), (3, 16), (4, 1), (5, 1), (6, 1), (7, 8)];
                    for (byte, modulus) in heads {
                        if let Some(value) = wire.get_mut(byte) { *value %= modulus; }
                    }
                    hand.send(&wire).await;
                }
                tokio::task::yield_now().await;
            }
            drop(hand);
            let end = timeout(Duration::from_secs(60), exit).await;
            assert!(end.unwrap().is_ok(), "a panic");
        });
    }

    #[test]
    fn headers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = Header::decode(&bytes);
    }
}
