//! yamux over a session: its limits, and the adapter and poll order that it needs to be used well.
//!
//! * yamux flushes after every frame. Here a flush of yamux's is only noted, and what was written goes
//!   out when yamux has nothing more to write: so small writes share a cell, and the last one still
//!   leaves at once.
//! * yamux does not read while it owes a pong that it cannot write. Two ends that are both full and both
//!   owe one would wait for each other for ever; [`Mux::poll`] sees that and lets a few cells more be
//!   written ([`SessionCore::relieve`]).
//! * yamux closes the connection when there are too many streams. So flows are counted here, far below
//!   that limit, and opened only when nothing is in the way of yamux noticing those that are gone.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{
    frame::{KIND_LEN, YAMUX_HEADER},
    held::{FrameWatch, HeldBytes},
};
use crate::{
    Side,
    session::{SessionCore, SessionEnd},
};

/// Most flows of one session at a time.
///
/// 1,024: a browser with a thousand open connections fits, and the bookkeeping of a full session stays
/// near 2 MiB. Guess.
pub const MAX_FLOWS: usize = 1024;

/// Streams at which yamux ends the connection. Flows that are gone at one side are still known at the
/// other for a while, so it lies well above [`MAX_FLOWS`]; it bounds only the bookkeeping, what streams
/// hold is bounded by [`HELD_ORIGIN`] and [`HELD_EXIT`].
pub(super) const MAX_STREAMS: usize = 8 * MAX_FLOWS;

/// What the windows of all flows may grow, in all, beyond the 256 KiB that each begins with. 16 MiB: one
/// flow that has it to itself gets 80 MB/s at a round trip of 200 ms. Guess, from that.
const WINDOW_GROWTH: usize = 16 * 1024 * 1024;

/// Most bytes that the flows of a session may hold unread at the origin, where they are the user's own:
/// 256 flows that nobody reads leave the others unharmed. Guess.
const HELD_ORIGIN: usize = 64 * 1024 * 1024;
/// The same at the exit, where they are a stranger's.
const HELD_EXIT: usize = 32 * 1024 * 1024;

/// What everything that belongs to one session shares.
pub(super) struct Shared {
    core: Mutex<SessionCore>,
    pub(super) held: HeldBytes,
    flows: AtomicUsize,
    /// Flows opened since the beginning, those that were refused included.
    opened: AtomicU64,
    ended: watch::Sender<Option<SessionEnd>>,
    /// Cancelled with the end: yamux does not wake its streams when it is closed in good order.
    over: CancellationToken,
    /// Most bytes of data in one frame, so that the frame fills the largest cell exactly.
    pub(super) max_data: usize,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, SessionCore> {
        // A panic under the lock ends the driver's task; what others do here then is to see the end.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many flows are open.
    pub(super) fn flows(&self) -> usize {
        self.flows.load(Ordering::Acquire)
    }

    /// A place for one more flow, unless all are taken.
    pub(super) fn permit(self: &Arc<Self>) -> Option<FlowPermit> {
        self.flows
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < MAX_FLOWS).then_some(n + 1)
            })
            .ok()?;
        self.opened.fetch_add(1, Ordering::Relaxed);
        Some(FlowPermit(self.clone()))
    }

    /// How many flows were opened so far.
    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Why the session ended, once it has.
    pub(super) fn end(&self) -> Option<SessionEnd> {
        self.lock().end().cloned()
    }

    /// Ends the session, if it has not ended before, and says why it did.
    pub(super) fn finish(&self, end: SessionEnd) -> SessionEnd {
        let end = self.lock().finish(end).clone();
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert_with(|| end.clone());
            first
        });
        self.over.cancel();
        end
    }

    /// Wakes one task when the session ends.
    pub(super) fn over(&self) -> SessionOver {
        Box::pin(self.over.clone().cancelled_owned())
    }

    pub(super) fn watch_end(&self) -> watch::Receiver<Option<SessionEnd>> {
        self.ended.subscribe()
    }
}

/// Ready when the session has ended.
pub(super) type SessionOver = Pin<Box<WaitForCancellationFutureOwned>>;

/// One open flow, counted for as long as this lives.
pub(super) struct FlowPermit(Arc<Shared>);

impl Drop for FlowPermit {
    fn drop(&mut self) {
        self.0.flows.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The session as yamux sees it.
pub(super) struct SessionIo {
    shared: Arc<Shared>,
    watch: FrameWatch,
}

impl AsyncRead for SessionIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Self { shared, watch } = &mut *self;
        let full = shared.held.is_full(cx);
        let mut core = shared.lock();
        // After its end, a session is read out: no more can come than it holds.
        if full && core.end().is_none() {
            return Poll::Pending;
        }
        let read = core.poll_read(cx, buf);
        drop(core);
        if let Poll::Ready(Ok(n)) = read {
            watch.pass(&buf[..n], &shared.held);
        }
        read
    }
}

impl AsyncWrite for SessionIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.shared.lock().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // `Mux::poll` does it when yamux has nothing more to write.
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.lock().poll_close(cx)
    }
}

/// yamux on a session. To be polled by one task.
pub(super) struct Mux {
    connection: yamux::Connection<SessionIo>,
    shared: Arc<Shared>,
}

impl Mux {
    pub(super) fn new(core: SessionCore) -> Self {
        let (mode, limit) = match core.side() {
            Side::Origin => (yamux::Mode::Client, HELD_ORIGIN),
            Side::Exit => (yamux::Mode::Server, HELD_EXIT),
        };
        let frame = core.largest() - YAMUX_HEADER;
        let shared = Arc::new(Shared {
            core: Mutex::new(core),
            held: HeldBytes::new(limit),
            flows: AtomicUsize::new(0),
            opened: AtomicU64::new(0),
            over: CancellationToken::new(),
            ended: watch::Sender::new(None),
            max_data: frame - KIND_LEN,
        });
        let mut config = yamux::Config::default();
        let windows = MAX_STREAMS * yamux::DEFAULT_CREDIT as usize + WINDOW_GROWTH;
        // In this order: yamux checks the one against the other.
        config.set_max_connection_receive_window(Some(windows));
        config.set_max_num_streams(MAX_STREAMS);
        config.set_split_send_size(frame);
        let io = SessionIo {
            shared: shared.clone(),
            watch: FrameWatch::default(),
        };
        let connection = yamux::Connection::new(io, config, mode);
        Self { connection, shared }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whether what was written waits for the circuit: not the time to open more flows.
    pub(super) fn is_blocked(&self) -> bool {
        self.shared.lock().is_blocked()
    }

    /// A stream of this side's own. Waits while too many of them have had no sign of life from the exit.
    pub(super) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Option<yamux::Stream>> {
        self.connection
            .poll_new_outbound(cx)
            .map(|opened| match opened {
                Ok(stream) => Some(stream),
                Err(error) => {
                    self.fail(&error);
                    None
                }
            })
    }

    /// Moves everything that can move. Ready with a stream that the other side opened, or with `None`
    /// when the session has ended; [`Shared::end`] says why.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<yamux::Stream>> {
        loop {
            match self.connection.poll_next_inbound(cx) {
                Poll::Ready(Some(Ok(stream))) => return Poll::Ready(Some(stream)),
                Poll::Ready(Some(Err(error))) => {
                    self.fail(&error);
                    return Poll::Ready(None);
                }
                Poll::Ready(None) => {
                    self.shared.finish(SessionEnd::Peer);
                    return Poll::Ready(None);
                }
                Poll::Pending => {}
            }
            let paused = self.shared.held.is_full(cx);
            let mut core = self.shared.lock();
            // yamux reads all there is, unless it owes a pong and cannot write it.
            let stuck = core.has_unread() && !paused;
            let flushed = core.poll_flush(cx);
            let again = if core.end().is_some() {
                true
            } else if stuck {
                core.relieve() || flushed.is_ready()
            } else {
                core.has_unread() && !paused
            };
            if !again {
                return Poll::Pending;
            }
        }
    }

    /// Sends what was written and closes the session, also the flows that are still open.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let closed = self.connection.poll_close(cx).map(drop);
        if closed.is_ready() {
            self.shared.finish(SessionEnd::Local);
        }
        closed
    }

    fn fail(&self, error: &yamux::ConnectionError) {
        let end = match error {
            yamux::ConnectionError::Closed => SessionEnd::Peer,
            error => SessionEnd::Mux(error.to_string().into()),
        };
        self.shared.finish(end);
    }
}
