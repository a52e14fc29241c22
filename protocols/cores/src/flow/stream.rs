//! One flow as a byte stream, the same at both ends.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use futures::{AsyncRead, AsyncWrite, Stream};

use super::{
    frame::{FrameKind, KIND_LEN},
    mux::{FlowPermit, SessionOver, Shared},
};

/// Early data that is kept while a flow waits for its answer and is watched for a reset. Beyond it the
/// flow is no longer watched, and yamux's window holds the rest back. Guess.
const MAX_EARLY: usize = 64 * 1024;

/// The bytes of one flow, in both directions.
///
/// * Reading gives `Ok(0)` only after the other side has ended its direction by `poll_close`. A flow that
///   the other side reset, or dropped without that, gives `ConnectionReset`, after what arrived before;
///   one whose session ended gives `ConnectionAborted`. Both go for writing too.
/// * `poll_close` ends this side's direction; reading goes on.
/// * Dropping it resets the flow, unless both directions have ended: there is nothing left then to reset.
/// * A write leaves at once; flushing is not needed. It waits while the other side does not read
///   (256 KiB and more, with the speed of the flow).
/// * The two directions may be polled by different tasks.
pub struct FlowStream {
    // Dropped before the stream: dropping that wakes the driver, which then looks at the count.
    permit: Option<FlowPermit>,
    stream: yamux::Stream,
    shared: Arc<Shared>,
    /// The frame that is being read, and how much of it was.
    front: Option<(yamux::Packet, usize)>,
    /// Frames that were taken while the flow was watched for a reset.
    early: VecDeque<yamux::Packet>,
    early_len: usize,
    reading: Reading,
    writing: bool,
    /// A frame that has to go out before all others.
    pending: Vec<u8>,
    scratch: Vec<u8>,
    /// The end of the session, for whoever waits to read, and for whoever waits to write.
    over: [SessionOver; 2],
}

const READER: usize = 0;
const WRITER: usize = 1;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Open,
    /// The other side has ended its direction.
    Ended,
    /// The other side sent what does not belong here.
    Misused,
}

impl FlowStream {
    /// A flow on `stream`. Without a permit it is there to be refused.
    pub(super) fn new(
        stream: yamux::Stream,
        shared: Arc<Shared>,
        permit: Option<FlowPermit>,
    ) -> Self {
        shared.held.open(stream.id().val());
        let over = [shared.over(), shared.over()];
        Self {
            over,
            permit,
            stream,
            shared,
            front: None,
            early: VecDeque::new(),
            early_len: 0,
            reading: Reading::Open,
            writing: true,
            pending: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Resets the flow: the other side sees an error, not an end. The same as dropping it.
    pub fn reset(self) {
        drop(self);
    }

    /// Whether it has a place among the flows of its session.
    pub(super) fn is_admitted(&self) -> bool {
        self.permit.is_some()
    }

    /// Sends `frame` before anything else, now if possible and else with the next use of the flow. It is
    /// possible on a flow that has sent nothing yet.
    pub(super) fn send_first(&mut self, frame: Vec<u8>) {
        debug_assert!(self.pending.is_empty(), "one frame at a time");
        self.pending = frame;
        let mut cx = Context::from_waker(Waker::noop());
        let _ = self.poll_pending(&mut cx);
    }

    /// Tells the other side that the flow exists, without a word: it waits for that before it opens very
    /// many.
    pub(super) fn acknowledge(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut self.stream).poll_write(&mut cx, &[]);
    }

    /// Ends this side's direction if that is possible without waiting; it is on a new flow.
    pub(super) fn end_now(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(self).poll_close(&mut cx);
    }

    /// The request or the reply, as the first frame of this direction.
    pub(super) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Packet>> {
        let _ = self.poll_pending(cx);
        let packet = ready!(self.poll_frame(cx))?;
        if FrameKind::of(packet.as_ref()) == Some(FrameKind::Message) {
            return Poll::Ready(Ok(packet));
        }
        self.reading = Reading::Misused;
        Poll::Ready(Err(self.misused()))
    }

    /// Ready when the other side has reset the flow, or the session has ended; keeps what arrives before.
    pub(super) fn poll_aborted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.early_len < MAX_EARLY {
            match ready!(self.poll_next_packet(cx)) {
                Ok(packet) => {
                    self.early_len += packet.as_ref().len();
                    self.early.push_back(packet);
                }
                Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Packet>> {
        match self.early.pop_front() {
            Some(packet) => Poll::Ready(Ok(packet)),
            None => self.poll_next_packet(cx),
        }
    }

    fn poll_next_packet(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Packet>> {
        let next = match Pin::new(&mut self.stream).poll_next(cx) {
            Poll::Ready(next) => next,
            Poll::Pending => {
                ready!(self.over[READER].as_mut().poll(cx));
                None
            }
        };
        match next {
            Some(Ok(packet)) => {
                let flow = self.stream.id().val();
                self.shared.held.take(flow, packet.as_ref().len());
                Poll::Ready(Ok(packet))
            }
            Some(Err(_)) | None => Poll::Ready(Err(self.broken())),
        }
    }

    /// Takes frames until one holds data. `Ok(false)` at the end of the direction.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.front.is_none() {
            match self.reading {
                Reading::Open => {}
                Reading::Ended => return Poll::Ready(Ok(false)),
                Reading::Misused => return Poll::Ready(Err(self.misused())),
            }
            let packet = ready!(self.poll_frame(cx))?;
            match FrameKind::of(packet.as_ref()) {
                Some(FrameKind::Data) if packet.as_ref().len() > KIND_LEN => {
                    self.front = Some((packet, KIND_LEN));
                }
                Some(FrameKind::Data) => {}
                Some(FrameKind::End) => self.reading = Reading::Ended,
                Some(FrameKind::Message) | None => self.reading = Reading::Misused,
            }
        }
        Poll::Ready(Ok(true))
    }

    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.pending));
            // Never cut: a flow that has sent nothing has room for the longest message.
            debug_assert!(n.as_ref().is_ok_and(|n| *n == self.pending.len()) || n.is_err());
            if n.is_err() {
                return Poll::Ready(Err(self.broken()));
            }
            self.pending = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Sends one frame that is in `scratch`; gives how much of it went.
    fn poll_scratch(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, &self.scratch) {
            Poll::Ready(n) => Poll::Ready(n.map_err(|_| self.broken())),
            Poll::Pending => {
                ready!(self.over[WRITER].as_mut().poll(cx));
                Poll::Ready(Err(self.broken()))
            }
        }
    }

    fn broken(&self) -> io::Error {
        match self.shared.end() {
            Some(end) => io::Error::new(io::ErrorKind::ConnectionAborted, end),
            None => io::Error::new(
                io::ErrorKind::ConnectionReset,
                "the flow was reset by the other side",
            ),
        }
    }

    fn misused(&self) -> io::Error {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the other side broke the protocol of flows",
        )
    }
}

impl AsyncRead for FlowStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        // Nobody may ever write on this flow again.
        let _ = this.poll_pending(cx);
        let mut done = 0;
        while done < buf.len() {
            match this.poll_fill(cx) {
                Poll::Ready(Ok(true)) => {}
                // What ended or broke it is there to be seen by the next read.
                _ if done > 0 => break,
                Poll::Ready(Ok(false)) => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
            let Some((packet, at)) = &mut this.front else {
                break;
            };
            let rest = &packet.as_ref()[*at..];
            let n = rest.len().min(buf.len() - done);
            buf[done..done + n].copy_from_slice(&rest[..n]);
            done += n;
            *at += n;
            if n == rest.len() {
                this.front = None;
            }
        }
        Poll::Ready(Ok(done))
    }
}

impl AsyncWrite for FlowStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if !this.writing {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(this.poll_pending(cx))?;
        let n = buf.len().min(this.shared.max_data);
        this.scratch.clear();
        this.scratch.push(FrameKind::Data.to_byte());
        this.scratch.extend_from_slice(&buf[..n]);
        loop {
            let n = ready!(this.poll_scratch(cx))?;
            if n > KIND_LEN {
                return Poll::Ready(Ok(n - KIND_LEN));
            }
            // The window took the first byte of the frame and no more: a frame without data, and the
            // next attempt waits for the window.
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Frames are with the driver, which sends them without being told.
        self.poll_pending(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.writing {
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_pending(cx))?;
        this.scratch.clear();
        this.scratch.push(FrameKind::End.to_byte());
        ready!(this.poll_scratch(cx))?;
        this.writing = false;
        this.scratch = Vec::new();
        Poll::Ready(Ok(()))
    }
}

impl Drop for FlowStream {
    fn drop(&mut self) {
        self.shared.held.forget(self.stream.id().val());
    }
}

impl fmt::Debug for FlowStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowStream")
            .field("flow", &self.stream.id().val())
            .finish_non_exhaustive()
    }
}
