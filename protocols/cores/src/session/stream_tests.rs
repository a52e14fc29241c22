//! Sessions over circuits in memory.

use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, future::poll_fn};

use super::*;
use crate::session::{CREDIT_WINDOW, Header, Kind};

const SESSION: SessionId = SessionId([5; 16]);

fn pair() -> (SessionStream, SessionStream) {
    let (origin, exit, _) = CircuitEnd::pair();
    (
        SessionStream::origin(origin, SESSION),
        SessionStream::exit(exit),
    )
}

/// Moves whatever can move without anybody reading.
async fn nudge(stream: &mut SessionStream) {
    // A fresh budget: tokio's channels feign to be empty once it is spent.
    tokio::task::yield_now().await;
    poll_fn(|cx| {
        stream.core.pump(cx);
        let _ = stream.core.poll_flush(cx);
        Poll::Ready(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn bytes_cross_both_ways_and_end_with_the_close() {
    let (mut origin, mut exit) = pair();
    origin.write_all(b"there").await.unwrap();
    origin.flush().await.unwrap();
    let mut buf = [0; 5];
    exit.read_exact(&mut buf).await.unwrap();
    assert_eq!(&buf, b"there");
    assert_eq!(exit.session(), Some(SESSION));
    exit.write_all(b"back!").await.unwrap();
    exit.close().await.unwrap();
    origin.read_exact(&mut buf).await.unwrap();
    assert_eq!(&buf, b"back!");
    assert_eq!(origin.read(&mut buf).await.unwrap(), 0);
    assert!(matches!(origin.end(), Some(SessionEnd::Peer)));
    assert!(matches!(exit.end(), Some(SessionEnd::Local)));
    assert!(origin.write_all(b"x").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn small_writes_share_the_smallest_cell_and_bulk_fills_the_largest() {
    let (end, mut other, _close) = CircuitEnd::pair();
    let mut origin = SessionStream::origin(end, SESSION);
    origin.write_all(b"two ").await.unwrap();
    origin.write_all(b"words").await.unwrap();
    assert!(
        other.incoming.try_recv().is_err(),
        "nothing leaves before the flush"
    );
    origin.flush().await.unwrap();
    let hello = other.incoming.try_recv().unwrap();
    assert_eq!(Header::decode(hello.payload()).unwrap().0.kind, Kind::Open);
    let cell = other.incoming.try_recv().unwrap();
    assert_eq!(cell.size(), CellSize::Small);
    assert_eq!(&cell.payload()[HEADER_LEN..], b"two words");
    let bulk = vec![1; origin.core.largest() * 3];
    origin.write_all(&bulk).await.unwrap();
    for _ in 0..3 {
        let cell = other.incoming.try_recv().unwrap();
        assert_eq!((cell.size(), cell.remaining()), (CellSize::Large, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn the_exit_waits_for_credit_and_the_origin_takes_all_that_it_gave() {
    let (mut origin, mut exit) = pair();
    nudge(&mut origin).await;
    let cell = vec![7; exit.core.largest()];
    let mut sent = 0;
    for _ in 0..CREDIT_WINDOW * 2 {
        let write = poll_fn(|cx| Poll::Ready(exit.core.poll_write(cx, &cell))).await;
        sent += usize::from(write.is_ready());
        nudge(&mut origin).await;
    }
    // One more is full at the exit and waits.
    assert_eq!(sent, CREDIT_WINDOW as usize + 1);
    assert_eq!(origin.core.inbox.len(), CREDIT_WINDOW as usize);
    let mut buf = vec![0; cell.len() * CREDIT_WINDOW as usize / 4];
    origin.read_exact(&mut buf).await.unwrap();
    nudge(&mut exit).await;
    nudge(&mut origin).await;
    assert_eq!(origin.core.inbox.len(), CREDIT_WINDOW as usize * 3 / 4 + 1);
}

#[tokio::test(start_paused = true)]
async fn an_exit_that_ignores_credit_is_closed() {
    let (end, other, _close) = CircuitEnd::pair();
    let mut origin = SessionStream::origin(end, SESSION);
    nudge(&mut origin).await;
    for _ in 0..=CREDIT_WINDOW {
        let mut cell = other.cell(CellSize::Small);
        cell.put(&[0; HEADER_LEN]);
        if other.outgoing.send(cell).await.is_err() {
            break;
        }
        // Takes cells and sends none, so no more credit is given.
        poll_fn(|cx| {
            origin.core.pump(cx);
            Poll::Ready(())
        })
        .await;
    }
    let violation = SessionViolation::Credit;
    assert!(matches!(origin.end(), Some(SessionEnd::Violation(v)) if *v == violation));
    assert!(other.outgoing.is_closed(), "the circuit goes with it");
}

#[tokio::test(start_paused = true)]
async fn a_lost_circuit_is_an_error_after_what_arrived_and_not_an_end() {
    let (origin, exit, close) = CircuitEnd::pair();
    let mut origin = SessionStream::origin(origin, SESSION);
    let mut exit = SessionStream::exit(exit);
    origin.write_all(b"all of it").await.unwrap();
    origin.flush().await.unwrap();
    close.send_replace(Some(Arc::new(CloseReason::Silent)));
    drop(origin);
    let mut buf = [0; 9];
    exit.read_exact(&mut buf).await.unwrap();
    let error = exit.read(&mut buf).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    assert!(
        matches!(exit.end(), Some(SessionEnd::Circuit(reason)) if matches!(**reason, CloseReason::Silent))
    );
    assert!(exit.write_all(&[0; 40_000]).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn both_directions_full_move_on_when_somebody_reads() {
    async fn echo_bulk(mut stream: SessionStream, total: usize) -> SessionStream {
        let data: Vec<u8> = (0..total).map(|i| (i % 253) as u8).collect();
        let (mut written, mut read) = (0, Vec::new());
        let mut buf = vec![0; 10_000];
        while written < total || read.len() < total {
            poll_fn(|cx| {
                let mut moved = false;
                if written < total
                    && let Poll::Ready(n) = Pin::new(&mut stream).poll_write(cx, &data[written..])
                {
                    written += n.unwrap();
                    moved = true;
                }
                if written == total {
                    let _ = Pin::new(&mut stream).poll_flush(cx).map(Result::unwrap);
                }
                if read.len() < total
                    && let Poll::Ready(n) = Pin::new(&mut stream).poll_read(cx, &mut buf)
                {
                    read.extend_from_slice(&buf[..n.unwrap()]);
                    moved = true;
                }
                if moved {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
        }
        assert!(read == data);
        stream.flush().await.unwrap();
        stream
    }
    let (origin, exit) = pair();
    let total = 20_000_000;
    let both = futures::future::join(echo_bulk(origin, total), echo_bulk(exit, total));
    let both = tokio::time::timeout(Duration::from_secs(1), both).await;
    assert!(both.is_ok(), "stands still");
}

#[tokio::test(start_paused = true)]
async fn relief_is_bounded() {
    let (end, _other, _close) = CircuitEnd::pair();
    let mut origin = SessionStream::origin(end, SESSION);
    let cell = vec![7; origin.core.largest()];
    let fill = |core: &mut SessionCore| {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut n = 0;
        while core.poll_write(&mut cx, &cell).is_ready() {
            n += 1;
        }
        n
    };
    fill(&mut origin.core);
    assert!(origin.core.is_blocked());
    assert!(origin.core.relieve());
    assert_eq!(fill(&mut origin.core), RELIEF_CELLS);
    assert!(
        !origin.core.relieve(),
        "not again before the circuit has taken them"
    );
    assert_eq!(fill(&mut origin.core), 0);
}

#[tokio::test(start_paused = true)]
async fn closing_without_credit_does_not_wait() {
    let (_origin, exit, _) = CircuitEnd::pair();
    let mut exit = SessionStream::exit(exit);
    assert!(exit.close().now_or_never().is_some());
}
