//! A session as a byte stream on the end of a circuit.
//!
//! Here bytes become cells and cells bytes; what a cell says is in `machine.rs`. There is no task and no
//! timer: whoever polls the stream moves it. **One task has to poll both directions**: what the one
//! direction waits for (credit, acknowledgements) comes in on the other.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};
use masq_onion::CellSize;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::PollSender;

use super::{HEADER_LEN, Machine, SessionEnd, SessionId, SessionViolation};
use crate::{CellBuf, CellPool, CircuitEnd, CloseReason, Leg, Side, cell::ResumeSecret};

/// Cells that are taken from the circuit ahead of the reader at the exit, so that credit and
/// acknowledgements behind them are seen. 64 cells are 1 MiB at most. Guess.
///
/// At the origin it is the credit that bounds them: [`super::CREDIT_WINDOW`].
pub const EXIT_QUEUE: usize = 64;

/// Full cells that may wait for the circuit before writing has to wait.
const OUTBOX: usize = 1;
/// As many more may wait while the writer is let past a full circuit ([`SessionCore::relieve`]): what is
/// left of one frame, and a short one behind it.
const RELIEF_CELLS: usize = 3;

/// The state of a session on a circuit, polled by one task.
pub(crate) struct SessionCore {
    machine: Machine,
    sends: Leg,
    pool: CellPool,
    outgoing: PollSender<CellBuf>,
    incoming: mpsc::Receiver<CellBuf>,
    closed: watch::Receiver<Option<Arc<CloseReason>>>,
    resume: Option<watch::Receiver<Option<ResumeSecret>>>,
    /// Cells with data to read; the first one partly read perhaps.
    inbox: VecDeque<CellBuf>,
    /// The cell that is being written to: header room, then data.
    current: Option<CellBuf>,
    /// Cells that are full and wait for the circuit.
    outbox: VecDeque<CellBuf>,
    /// The writer may fill more of the outbox than it should, until that is empty again.
    relief: bool,
    end: Option<SessionEnd>,
}

impl SessionCore {
    /// A session on `end`. At the origin, `session` names it; at the exit it is ignored.
    pub(crate) fn new(end: CircuitEnd, session: SessionId) -> Self {
        let machine = match end.side {
            Side::Origin => Machine::origin(session),
            Side::Exit => Machine::exit(),
        };
        Self {
            machine,
            sends: end.side.sends(),
            pool: end.pool,
            outgoing: PollSender::new(end.outgoing),
            incoming: end.incoming,
            closed: end.closed,
            resume: Some(end.resume),
            inbox: VecDeque::new(),
            current: None,
            outbox: VecDeque::new(),
            relief: false,
            end: None,
        }
    }

    pub(crate) fn side(&self) -> Side {
        self.machine.side()
    }

    pub(crate) fn session(&self) -> Option<SessionId> {
        self.machine.session()
    }

    /// How far the other side has acknowledged, and how many bytes beyond that are kept for it.
    pub(crate) fn kept(&self) -> (u64, usize) {
        self.machine.kept()
    }

    /// Bytes of data that the largest cell takes in this direction.
    pub(crate) fn largest(&self) -> usize {
        self.sends.capacity(CellSize::Large) - HEADER_LEN
    }

    /// Why it ended, once it has.
    pub(crate) fn end(&self) -> Option<&SessionEnd> {
        self.end.as_ref()
    }

    /// Ends it, if it has not ended before.
    pub(crate) fn finish(&mut self, end: SessionEnd) -> &SessionEnd {
        // A place reserved in the channel would keep it, and with it the circuit, open.
        self.outgoing.abort_send();
        self.outgoing.close();
        self.incoming.close();
        self.current = None;
        self.outbox.clear();
        self.end.get_or_insert(end)
    }

    /// Whether there are bytes to read.
    pub(crate) fn has_unread(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Whether the circuit does not take what was written.
    pub(crate) fn is_blocked(&self) -> bool {
        self.outbox.len() >= OUTBOX
    }

    /// Lets a few cells more be written although the circuit is full, and says whether that was
    /// granted. For a writer that will not read before it has written: the two ends could otherwise
    /// wait for each other for ever. Bounded by [`RELIEF_CELLS`], and not granted again before the
    /// circuit has taken them.
    pub(crate) fn relieve(&mut self) -> bool {
        let granted = !self.relief && self.is_blocked();
        self.relief |= granted;
        granted
    }

    // --- Receiving -------------------------------------------------------------------------------

    /// Takes cells from the circuit, for the figures in them if nothing else.
    fn pump(&mut self, cx: &mut Context<'_>) {
        let limit = match self.side() {
            // Bounded by credit: whoever sends more has broken the rules.
            Side::Origin => usize::MAX,
            Side::Exit => EXIT_QUEUE,
        };
        while self.inbox.len() < limit && self.end.is_none() {
            match self.incoming.poll_recv(cx) {
                Poll::Ready(Some(cell)) => self.on_cell(cell),
                Poll::Ready(None) => {
                    self.on_circuit_end();
                    return;
                }
                Poll::Pending => return,
            }
        }
    }

    fn on_cell(&mut self, mut cell: CellBuf) {
        match self.machine.on_cell(cell.payload()) {
            Ok(taken) if taken.data.is_empty() => {}
            Ok(taken) => {
                cell.advance(taken.data.start);
                self.inbox.push_back(cell);
            }
            Err(violation) => {
                self.finish(SessionEnd::Violation(violation));
            }
        }
        self.learn_secret();
    }

    /// Picks the secret up once the key exchange is done; a cell from the exit says that it is.
    fn learn_secret(&mut self) {
        let Some(resume) = &self.resume else { return };
        let secret = resume.borrow().clone();
        if let Some(secret) = secret {
            self.machine.set_secret(secret);
            self.resume = None;
        }
    }

    fn on_circuit_end(&mut self) {
        let end = if self.machine.is_closed_by_peer() {
            SessionEnd::Peer
        } else if self.machine.is_close_sent() {
            SessionEnd::Local
        } else {
            match self.closed.borrow().clone() {
                Some(reason) => SessionEnd::Circuit(reason),
                None => SessionEnd::CircuitLost,
            }
        };
        self.finish(end);
    }

    /// Reads what is there; end of stream only after a clean close by the other side.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.inbox.is_empty() {
            self.pump(cx);
        }
        let Some(cell) = self.inbox.front_mut() else {
            if self.machine.is_closed_by_peer() {
                self.finish(SessionEnd::Peer);
            }
            return match &self.end {
                Some(SessionEnd::Peer) => Poll::Ready(Ok(0)),
                Some(end) => Poll::Ready(Err(broken(end))),
                None => Poll::Pending,
            };
        };
        let n = buf.len().min(cell.len());
        buf[..n].copy_from_slice(&cell.payload()[..n]);
        cell.advance(n);
        if cell.is_empty() {
            self.inbox.pop_front();
            self.machine.release();
        }
        Poll::Ready(Ok(n))
    }

    // --- Sending ---------------------------------------------------------------------------------

    /// Takes bytes into the cell that is being filled; sends it when it is full.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let limit = OUTBOX + if self.relief { RELIEF_CELLS } else { 0 };
        if !self.outbox.is_empty() {
            if let Poll::Ready(result) = self.poll_outbox(cx) {
                result?;
            }
            if self.outbox.len() >= limit {
                return Poll::Pending;
            }
        }
        if let Some(end) = &self.end {
            return Poll::Ready(Err(broken(end)));
        }
        let pool = &self.pool;
        let current = self.current.get_or_insert_with(|| {
            let mut cell = pool.cell(self.sends, CellSize::Large);
            cell.set_len(HEADER_LEN);
            cell
        });
        let n = current.put(bytes);
        if current.remaining() == 0 {
            self.outbox.extend(self.current.take());
            if let Poll::Ready(result) = self.poll_outbox(cx) {
                result?;
            }
        }
        Poll::Ready(Ok(n))
    }

    /// Sends all that was written, and what the session itself has to say. Ready when the circuit has
    /// taken everything.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self
            .current
            .as_ref()
            .is_some_and(|cell| cell.len() > HEADER_LEN)
        {
            self.outbox.extend(self.current.take());
        }
        self.poll_outbox(cx)
    }

    /// Sends the cells that wait, in order.
    fn poll_outbox(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_control(cx))?;
        while let Some(cell) = self.outbox.front() {
            let data = cell.len() - HEADER_LEN;
            if self.machine.is_blocked() || self.machine.room() < data {
                self.pump(cx);
                // What came in may itself call for an answer.
                ready!(self.poll_control(cx))?;
                if self.machine.is_blocked() || self.machine.room() < data {
                    return Poll::Pending;
                }
            }
            ready!(self.poll_reserve(cx))?;
            let Some(mut cell) = self.outbox.pop_front() else {
                break;
            };
            let len = cell.len();
            if let Err(violation) = self.machine.cut_data(&mut cell.payload_mut()[..len]) {
                self.finish(SessionEnd::Violation(violation));
                return Poll::Ready(self.state());
            }
            self.send(cell)?;
        }
        self.relief = false;
        Poll::Ready(self.state())
    }

    /// Sends what the session itself has to say, ahead of data that has to wait.
    fn poll_control(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state()?;
        while (self.machine.control_due() || self.machine.resend_due()) && self.machine.may_send() {
            ready!(self.poll_reserve(cx))?;
            let control = self.machine.control_due();
            let size = if control {
                CellSize::Small
            } else {
                CellSize::Large
            };
            let mut cell = self.pool.cell(self.sends, size);
            let len = if control {
                self.machine.cut_control(cell.payload_mut())
            } else {
                self.machine.cut_resend(cell.payload_mut())
            };
            cell.set_len(len);
            self.send(cell)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_reserve(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.outgoing.poll_reserve(cx))
            .or_else(|_| self.on_outgoing_gone())
            .into()
    }

    fn send(&mut self, mut cell: CellBuf) -> io::Result<()> {
        cell.shrink();
        self.outgoing
            .send_item(cell)
            .or_else(|_| self.on_outgoing_gone())
    }

    /// The circuit takes no more. Cells that came in before are still there to be read: a circuit may
    /// well end after the other side's last word.
    fn on_outgoing_gone(&mut self) -> io::Result<()> {
        while let Ok(cell) = self.incoming.try_recv() {
            self.on_cell(cell);
        }
        self.on_circuit_end();
        self.state()
    }

    fn state(&self) -> io::Result<()> {
        self.end.as_ref().map_or(Ok(()), |end| Err(broken(end)))
    }

    /// Sends everything, then the close.
    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.end, Some(SessionEnd::Local | SessionEnd::Peer)) {
            return Poll::Ready(Ok(()));
        }
        // Nobody reads any more, and what flushing waits for may lie behind what was not read.
        while self.inbox.pop_front().is_some() {
            self.machine.release();
        }
        self.pump(cx);
        ready!(self.poll_flush(cx))?;
        self.machine.close();
        if !self.machine.may_send() {
            // Without credit the close cannot be said; the end of the circuit will say it.
            self.finish(SessionEnd::Local);
        }
        while !self.machine.is_close_sent() && self.end.is_none() {
            ready!(self.poll_control(cx))?;
        }
        self.finish(SessionEnd::Local);
        Poll::Ready(Ok(()))
    }
}

fn broken(end: &SessionEnd) -> io::Error {
    let kind = match end {
        SessionEnd::Violation(_) | SessionEnd::Mux(_) => io::ErrorKind::InvalidData,
        SessionEnd::Local => io::ErrorKind::BrokenPipe,
        _ => io::ErrorKind::ConnectionAborted,
    };
    io::Error::new(kind, end.clone())
}

impl From<SessionViolation> for SessionEnd {
    fn from(violation: SessionViolation) -> Self {
        Self::Violation(violation)
    }
}

/// A session as a duplex byte stream.
///
/// Both directions are to be polled by one task. Writing gathers bytes into cells and sends the full
/// ones; flushing sends the rest in the smallest cell that fits. Reading gives an error, not an end of
/// stream, when the circuit breaks. Closing sends what was written, then ends the session in both
/// directions. Dropping it ends the circuit.
///
/// Memory: at most [`super::SEND_BUFFER`] for what is not acknowledged, and [`super::CREDIT_WINDOW`]
/// cells at the origin or [`EXIT_QUEUE`] at the exit for what is not read.
pub struct SessionStream {
    core: SessionCore,
}

impl SessionStream {
    /// The origin's side of a new session, on the origin's end of a circuit. `session` is to be drawn at
    /// random.
    ///
    /// # Panics
    /// When `end` is the exit's.
    pub fn origin(end: CircuitEnd, session: SessionId) -> Self {
        assert_eq!(
            end.side,
            Side::Origin,
            "an origin's session on an exit's end"
        );
        Self {
            core: SessionCore::new(end, session),
        }
    }

    /// The exit's side, on the exit's end of a circuit.
    ///
    /// # Panics
    /// When `end` is the origin's.
    pub fn exit(end: CircuitEnd) -> Self {
        assert_eq!(end.side, Side::Exit, "an exit's session on an origin's end");
        Self {
            core: SessionCore::new(end, SessionId([0; 16])),
        }
    }

    /// The session's identifier; at the exit, once the first cell is there.
    pub fn session(&self) -> Option<SessionId> {
        self.core.session()
    }

    /// Why it ended, once it has.
    pub fn end(&self) -> Option<&SessionEnd> {
        self.core.end()
    }

    pub(crate) fn into_core(self) -> SessionCore {
        self.core
    }
}

impl AsyncRead for SessionStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let core = &mut self.core;
        let read = core.poll_read(cx, buf);
        // Credit and acknowledgements that reading made due. When the circuit is full, it wakes us.
        if core.end.is_none() {
            let _ = core.poll_control(cx);
        }
        read
    }
}

impl AsyncWrite for SessionStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.core.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.core.poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.core.poll_close(cx)
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
