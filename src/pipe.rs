//! Carrying bytes between a TCP socket and a flow, in both directions at
//! once, until both have ended.
//!
//! Both ends of the mesh use it: the entry joins a client's socket to a flow,
//! the exit joins a flow to a server's socket. What one side does, the other
//! sees, exactly: an end of stream becomes a half-close, a reset becomes a
//! reset, and one direction ending leaves the other running. Who opens
//! sockets and flows, and why, is not here (see [`crate::entry`] and
//! [`crate::exit`]).
//!
//! An idle pipe holds no buffer: each thread has one scratch buffer, and only
//! what the writing side did not take at once is kept, so memory follows the
//! number of *stalled* flows, at most [`SCRATCH_LEN`] bytes a direction.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::{AsyncRead, AsyncWrite};
use tokio::io::{AsyncWrite as _, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::WriteHalf;
use tokio::time::{Instant, Sleep, sleep};

/// Bytes moved at most by one read, and kept at most per direction while the
/// other side takes nothing. Four of the largest cells (guess: larger reads
/// made no difference to throughput on loopback).
pub const SCRATCH_LEN: usize = 64 * 1024;

/// Reads per direction before a pipe lets other tasks run (guess: 2 MiB of
/// data, well under a millisecond of work).
const READS_PER_TURN: u32 = 32;

/// How long the surviving direction may go on delivering what had already
/// arrived, once the other one is broken (guess).
const RESET_GRACE: Duration = Duration::from_secs(5);

/// When a silent pipe is given up.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct PipeLimits {
    /// Without a byte in either direction. Default 2 h 4 min (RFC 5382,
    /// REQ-5: what a NAT owes an established connection).
    pub idle: Duration,
    /// The same once one direction has ended. Default 30 min (guess: longer
    /// than any server thinks about an answer, short enough for clients that
    /// left without a word).
    pub half_closed_idle: Duration,
}

impl Default for PipeLimits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(7_440),
            half_closed_idle: Duration::from_secs(1_800),
        }
    }
}

/// Bytes carried, shared by all pipes of one side of the node.
#[derive(Debug, Default)]
pub struct Traffic {
    to_flow: AtomicU64,
    to_socket: AtomicU64,
}

impl Traffic {
    /// Bytes read from sockets and written to flows so far.
    #[must_use]
    pub fn to_flow(&self) -> u64 {
        self.to_flow.load(Ordering::Relaxed)
    }

    /// Bytes read from flows and written to sockets so far.
    #[must_use]
    pub fn to_socket(&self) -> u64 {
        self.to_socket.load(Ordering::Relaxed)
    }

    /// Counts bytes that went to a flow by other ways than a pipe.
    pub(crate) fn count_to_flow(&self, n: usize) {
        self.to_flow.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// Counts bytes that went to a socket by other ways than a pipe.
    pub(crate) fn count_to_socket(&self, n: usize) {
        self.to_socket.fetch_add(n as u64, Ordering::Relaxed);
    }
}

/// Bytes that were read before the pipe began and go ahead of all others.
#[derive(Debug, Default)]
pub struct Early {
    /// From the socket's side, for the flow.
    pub to_flow: Bytes,
    /// From the flow's side, for the socket.
    pub to_socket: Bytes,
}

/// How a pipe ended. In every case both sides are closed when it is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PipeEnd {
    /// Both directions reached their end of stream.
    Finished,
    /// The socket was reset or failed; the flow was reset.
    SocketReset,
    /// The flow was reset or failed; the socket was reset.
    FlowReset,
    /// Nothing moved for longer than [`PipeLimits`] allow; both were reset.
    Idle,
}

/// Carries bytes both ways between `socket` and `flow` until both directions
/// have ended, one side is reset, or nothing moves for too long.
///
/// `flow` must treat being dropped without a close as a reset and report a
/// reset by its peer as an error of any kind.
///
/// Dropping the future resets both sides.
pub async fn pipe<F>(
    mut socket: TcpStream,
    flow: F,
    early: Early,
    limits: PipeLimits,
    traffic: &Traffic,
) -> PipeEnd
where
    F: AsyncRead + AsyncWrite + Unpin,
{
    let (read, write) = socket.split();
    let socket: &TcpStream = read.as_ref();
    let guard = ResetOnDrop {
        socket,
        armed: Cell::new(true),
    };
    // Without this, a client that resets its connection while nothing is
    // being read from it (half-closed, or the flow is full) goes unnoticed.
    let mut broken = pin!(socket.ready(Interest::ERROR));
    let mut broken_seen = false;
    let mut timer = pin!(sleep(limits.idle));
    let mut pipe = Pipe {
        socket,
        write,
        flow,
        up: Lane::new(early.to_flow),
        down: Lane::new(early.to_socket),
        unflushed: false,
        grace: None,
        last_move: Instant::now(),
        limits,
        traffic,
    };
    let end = poll_fn(|cx| {
        if !broken_seen && broken.as_mut().poll(cx).is_ready() {
            broken_seen = true;
            if pipe.up.ended() {
                return Poll::Ready(PipeEnd::SocketReset);
            }
            // The reading direction meets the error by itself, after what
            // arrived before it.
            pipe.start_grace(PipeEnd::SocketReset);
        }
        pipe.poll(cx, timer.as_mut())
    })
    .await;
    guard.armed.set(end != PipeEnd::Finished);
    end
}

/// Makes closing the socket a reset, unless disarmed.
struct ResetOnDrop<'a> {
    socket: &'a TcpStream,
    armed: Cell<bool>,
}

impl Drop for ResetOnDrop<'_> {
    fn drop(&mut self) {
        if self.armed.get() {
            // Fails only on a socket that is gone already.
            let _ = self.socket.set_zero_linger();
        }
    }
}

/// One direction.
struct Lane {
    /// Read but not yet taken by the writing side.
    pending: Bytes,
    state: LaneState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LaneState {
    Open,
    /// End of stream was read; it is still to be passed on.
    Ending,
    Ended,
    /// The writing side failed; nothing more is read.
    Broken,
}

impl Lane {
    fn new(pending: Bytes) -> Self {
        Self {
            pending,
            state: LaneState::Open,
        }
    }

    fn ended(&self) -> bool {
        matches!(self.state, LaneState::Ended | LaneState::Broken)
    }
}

struct Pipe<'a, F> {
    socket: &'a TcpStream,
    write: WriteHalf<'a>,
    flow: F,
    /// Socket to flow.
    up: Lane,
    /// Flow to socket.
    down: Lane,
    /// Bytes were written to the flow since it was last flushed.
    unflushed: bool,
    /// One side is broken: until when the other may go on, and what it is
    /// called then.
    grace: Option<(Instant, PipeEnd)>,
    last_move: Instant,
    limits: PipeLimits,
    traffic: &'a Traffic,
}

impl<F: AsyncRead + AsyncWrite + Unpin> Pipe<'_, F> {
    fn poll(&mut self, cx: &mut Context<'_>, timer: Pin<&mut Sleep>) -> Poll<PipeEnd> {
        if let Poll::Ready(end) = self.poll_up(cx) {
            return Poll::Ready(end);
        }
        if let Poll::Ready(end) = self.poll_down(cx) {
            return Poll::Ready(end);
        }
        if self.up.ended() && self.down.ended() {
            return Poll::Ready(self.grace.map_or(PipeEnd::Finished, |(_, end)| end));
        }
        self.poll_deadline(cx, timer)
    }

    /// Socket to flow. Ready only with the end of the whole pipe.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<PipeEnd> {
        if self.up.ended() {
            return Poll::Pending;
        }
        for _ in 0..READS_PER_TURN {
            while self.up.pending.has_remaining() {
                match Pin::new(&mut self.flow).poll_write(cx, &self.up.pending) {
                    Poll::Ready(Ok(n)) if n > 0 => {
                        self.up.pending.advance(n);
                        self.moved_to_flow(n);
                    }
                    Poll::Ready(_) => return self.flow_takes_no_more(),
                    Poll::Pending => return Poll::Pending,
                }
            }
            self.up.pending = Bytes::new();
            if self.up.state == LaneState::Ending {
                return match ready!(Pin::new(&mut self.flow).poll_close(cx)) {
                    Ok(()) => {
                        self.up.state = LaneState::Ended;
                        self.last_move = Instant::now();
                        Poll::Pending
                    }
                    Err(_) => self.flow_takes_no_more(),
                };
            }
            let read = with_scratch(|scratch| match poll_read_socket(self.socket, cx, scratch) {
                Poll::Ready(Ok(n)) => Poll::Ready(Ok(self.write_flow(cx, &scratch[..n]))),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            });
            match read {
                Poll::Ready(Ok(Written::Nothing)) => {
                    if matches!(self.grace, Some((_, PipeEnd::SocketReset))) {
                        // A write met the reset first and took the error away
                        // with it: this is not an orderly end.
                        return Poll::Ready(PipeEnd::SocketReset);
                    }
                    self.up.state = LaneState::Ending;
                }
                Poll::Ready(Ok(Written::Some)) => {}
                Poll::Ready(Ok(Written::Failed)) => return self.flow_takes_no_more(),
                Poll::Ready(Err(_)) => return Poll::Ready(PipeEnd::SocketReset),
                Poll::Pending => {
                    if self.unflushed {
                        match ready!(Pin::new(&mut self.flow).poll_flush(cx)) {
                            Ok(()) => self.unflushed = false,
                            Err(_) => return self.flow_takes_no_more(),
                        }
                    }
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what the flow takes of `bytes` and keeps the rest.
    fn write_flow(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Written {
        if bytes.is_empty() {
            return Written::Nothing;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match Pin::new(&mut self.flow).poll_write(cx, rest) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    rest = &rest[n..];
                    self.moved_to_flow(n);
                }
                Poll::Ready(_) => return Written::Failed,
                Poll::Pending => {
                    self.up.pending = Bytes::copy_from_slice(rest);
                    break;
                }
            }
        }
        Written::Some
    }

    /// Flow to socket. Ready only with the end of the whole pipe.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<PipeEnd> {
        if self.down.ended() {
            return Poll::Pending;
        }
        for _ in 0..READS_PER_TURN {
            while self.down.pending.has_remaining() {
                match Pin::new(&mut self.write).poll_write(cx, &self.down.pending) {
                    Poll::Ready(Ok(n)) if n > 0 => {
                        self.down.pending.advance(n);
                        self.moved_to_socket(n);
                    }
                    Poll::Ready(_) => return self.socket_takes_no_more(),
                    Poll::Pending => return Poll::Pending,
                }
            }
            self.down.pending = Bytes::new();
            if self.down.state == LaneState::Ending {
                return match ready!(Pin::new(&mut self.write).poll_shutdown(cx)) {
                    Ok(()) => {
                        self.down.state = LaneState::Ended;
                        self.last_move = Instant::now();
                        Poll::Pending
                    }
                    Err(_) => self.socket_takes_no_more(),
                };
            }
            let read =
                with_scratch(
                    |scratch| match Pin::new(&mut self.flow).poll_read(cx, scratch) {
                        Poll::Ready(Ok(n)) => Poll::Ready(Ok(self.write_socket(cx, &scratch[..n]))),
                        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                        Poll::Pending => Poll::Pending,
                    },
                );
            match read {
                Poll::Ready(Ok(Written::Nothing)) => self.down.state = LaneState::Ending,
                Poll::Ready(Ok(Written::Some)) => {}
                Poll::Ready(Ok(Written::Failed)) => return self.socket_takes_no_more(),
                Poll::Ready(Err(_)) => return Poll::Ready(PipeEnd::FlowReset),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what the socket takes of `bytes` and keeps the rest.
    fn write_socket(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Written {
        if bytes.is_empty() {
            return Written::Nothing;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match Pin::new(&mut self.write).poll_write(cx, rest) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    rest = &rest[n..];
                    self.moved_to_socket(n);
                }
                Poll::Ready(_) => return Written::Failed,
                Poll::Pending => {
                    self.down.pending = Bytes::copy_from_slice(rest);
                    break;
                }
            }
        }
        Written::Some
    }

    fn moved_to_flow(&mut self, n: usize) {
        self.unflushed = true;
        self.last_move = Instant::now();
        self.traffic.count_to_flow(n);
    }

    fn moved_to_socket(&mut self, n: usize) {
        self.last_move = Instant::now();
        self.traffic.count_to_socket(n);
    }

    /// Writing to the flow failed: what it still has for the socket is
    /// delivered, then the socket is reset.
    fn flow_takes_no_more(&mut self) -> Poll<PipeEnd> {
        self.up.state = LaneState::Broken;
        self.up.pending = Bytes::new();
        self.start_grace(PipeEnd::FlowReset);
        Poll::Pending
    }

    /// Writing to the socket failed: what it still has for the flow is
    /// delivered, then the flow is reset.
    fn socket_takes_no_more(&mut self) -> Poll<PipeEnd> {
        self.down.state = LaneState::Broken;
        self.down.pending = Bytes::new();
        self.start_grace(PipeEnd::SocketReset);
        if self.up.ended() {
            Poll::Ready(PipeEnd::SocketReset)
        } else {
            Poll::Pending
        }
    }

    fn start_grace(&mut self, end: PipeEnd) {
        if self.grace.is_none() {
            self.grace = Some((Instant::now() + RESET_GRACE, end));
        }
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<PipeEnd> {
        let idle = if self.up.ended() || self.down.ended() {
            self.limits.half_closed_idle
        } else {
            self.limits.idle
        };
        let (deadline, end) = self.grace.unwrap_or((self.last_move + idle, PipeEnd::Idle));
        loop {
            // The timer is only moved earlier at once; a later deadline is
            // looked at when it fires, so moving bytes costs no timer work.
            if deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(end);
            }
            timer.as_mut().reset(deadline);
        }
    }
}

/// What became of bytes that were read.
enum Written {
    /// There were none: the reading side is at its end.
    Nothing,
    /// They were written or kept.
    Some,
    /// The writing side failed.
    Failed,
}

fn poll_read_socket(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_read_ready(cx))?;
        match socket.try_read(buf) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
    }
}

thread_local! {
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Lends this thread's scratch buffer to `work`.
fn with_scratch<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    // Taken out while in use, so that a nested call gets one of its own.
    let mut scratch = SCRATCH
        .take()
        .unwrap_or_else(|| vec![0; SCRATCH_LEN].into_boxed_slice());
    let result = work(&mut scratch);
    SCRATCH.set(Some(scratch));
    result
}

#[cfg(test)]
mod tests;
