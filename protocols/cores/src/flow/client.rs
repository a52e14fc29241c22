//! The origin's side: opening flows.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::{AsyncWrite, AsyncWriteExt, task::AtomicWaker};
use tokio::sync::{mpsc, oneshot};

use super::{
    FlowError, FlowReply, FlowRequest, FlowStatus, FlowStream, MessageError,
    frame::{self, KIND_LEN},
    mux::{FlowPermit, Mux, Shared},
};
use crate::{
    CircuitEnd, CircuitId,
    session::{SessionEnd, SessionId, SessionStream},
};

/// Requests to open flows that wait for the driver. More wait in their callers. Guess.
const OPEN_QUEUE: usize = 64;
/// How long the exit may take to answer: longer than any time limit of its own. Guess.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long closing may take before the session is dropped. Guess.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A session at the origin: a handle, cheap to clone, that opens flows.
///
/// The session ends when [`close`](Self::close) is called, when its circuit ends, or when all handles and
/// all flows are gone.
#[derive(Clone)]
pub struct ClientSession {
    opens: mpsc::Sender<Open>,
    shared: Arc<Shared>,
    closing: Arc<Closing>,
    id: SessionId,
    circuit: CircuitId,
}

#[derive(Default)]
struct Closing {
    wanted: AtomicBool,
    waker: AtomicWaker,
}

/// One flow that is to be opened.
struct Open {
    frame: Vec<u8>,
    permit: FlowPermit,
    opened: oneshot::Sender<FlowStream>,
}

impl ClientSession {
    /// A session on the origin's end of a circuit, and the driver that moves its bytes: to be spawned
    /// as a task. `id` is to be drawn at random. The first cell leaves as soon as the driver runs.
    ///
    /// # Panics
    /// When `end` is the exit's.
    pub fn start(end: CircuitEnd, id: SessionId) -> (Self, ClientDriver) {
        let circuit = end.id;
        let mux = Mux::new(SessionStream::origin(end, id).into_core());
        let (opens, queue) = mpsc::channel(OPEN_QUEUE);
        let closing = Arc::<Closing>::default();
        let session = Self {
            opens,
            shared: mux.shared().clone(),
            closing: closing.clone(),
            id,
            circuit,
        };
        let driver = ClientDriver {
            mux,
            opens: Some(queue),
            waiting: None,
            closing,
            deadline: None,
        };
        (session, driver)
    }

    /// Opens a flow. Returns as soon as the request is on its way: early data may follow at once, and
    /// [`OpenedFlow::reply`] waits for the answer.
    ///
    /// Cancel-safe: dropping the future leaves no flow behind.
    ///
    /// # Errors
    /// [`FlowError::BadRequest`], [`FlowError::TooManyFlows`] (nothing was sent, try another circuit),
    /// [`FlowError::SessionEnded`].
    pub async fn open(&self, request: FlowRequest) -> Result<OpenedFlow, FlowError> {
        let encoded = request.encode().map_err(FlowError::BadRequest)?;
        if let Some(end) = self.shared.end() {
            return Err(FlowError::SessionEnded(end));
        }
        let permit = self.shared.permit().ok_or(FlowError::TooManyFlows)?;
        let (opened, stream) = oneshot::channel();
        let open = Open {
            frame: frame::message(&encoded),
            permit,
            opened,
        };
        if self.opens.send(open).await.is_ok()
            && let Ok(stream) = stream.await
        {
            return Ok(OpenedFlow { stream });
        }
        Err(FlowError::SessionEnded(
            self.shared.end().unwrap_or(SessionEnd::Dropped),
        ))
    }

    /// Opens a flow and waits for the answer, without early data.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`OpenedFlow::reply`].
    pub async fn connect(
        &self,
        request: FlowRequest,
    ) -> Result<(FlowReply, FlowStream), FlowError> {
        self.open(request).await?.reply().await
    }

    /// How many flows are open, those that wait for an answer included. At most
    /// [`MAX_FLOWS`](super::MAX_FLOWS).
    pub fn open_flows(&self) -> usize {
        self.shared.flows()
    }

    /// How many flows were opened since the session began, those that were refused included.
    pub fn flows_opened(&self) -> u64 {
        self.shared.opened()
    }

    /// Bytes that arrived for flows and were not read yet.
    pub fn unread_bytes(&self) -> usize {
        self.shared.held.total()
    }

    /// The session's identifier, for logs.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The circuit that it rides on, for logs.
    pub fn circuit(&self) -> CircuitId {
        self.circuit
    }

    /// Closes the session: what was written is sent, then flows that are still open break. Returns at
    /// once; [`ended`](Self::ended) waits for it.
    pub fn close(&self) {
        self.closing.wanted.store(true, Ordering::Release);
        self.closing.waker.wake();
    }

    /// Why the session ended, if it has.
    pub fn end(&self) -> Option<SessionEnd> {
        self.shared.end()
    }

    /// Waits for the end of the session, and says why it ended.
    pub async fn ended(&self) -> SessionEnd {
        let mut watch = self.shared.watch_end();
        match watch.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or(SessionEnd::Dropped),
            Err(_) => SessionEnd::Dropped,
        }
    }
}

impl fmt::Debug for ClientSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSession")
            .field("id", &self.id)
            .field("circuit", &self.circuit)
            .field("flows", &self.open_flows())
            .finish_non_exhaustive()
    }
}

/// A flow whose request is on its way.
///
/// Writing to it sends early data, which reaches the server if the exit accepts and is dropped if not.
/// Dropping it resets the flow.
#[derive(Debug)]
pub struct OpenedFlow {
    stream: FlowStream,
}

impl OpenedFlow {
    /// Sends early data. Waits when there is more of it than the window of a flow (256 KiB).
    ///
    /// # Errors
    /// When the exit has refused already; [`reply`](Self::reply) says why.
    pub async fn send_early(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Waits for the exit's answer, 60 s at most.
    ///
    /// # Errors
    /// [`FlowError::Refused`] with the answer when that is not [`FlowStatus::Ok`];
    /// [`FlowError::Reset`], [`FlowError::NoReply`], [`FlowError::BadReply`],
    /// [`FlowError::SessionEnded`].
    pub async fn reply(self) -> Result<(FlowReply, FlowStream), FlowError> {
        let Self { mut stream } = self;
        let message = tokio::time::timeout(REPLY_TIMEOUT, poll_fn(|cx| stream.poll_message(cx)));
        let packet = match message.await {
            Err(_) => return Err(FlowError::NoReply),
            Ok(Ok(packet)) => packet,
            Ok(Err(error)) => return Err(no_reply(&error)),
        };
        let reply = FlowReply::decode(&packet.as_ref()[KIND_LEN..]).map_err(FlowError::BadReply)?;
        match reply.status {
            FlowStatus::Ok => Ok((reply, stream)),
            _ => Err(FlowError::Refused(Box::new(reply))),
        }
    }
}

fn no_reply(error: &io::Error) -> FlowError {
    if error.kind() == io::ErrorKind::InvalidData {
        return FlowError::BadReply(MessageError::Malformed);
    }
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<SessionEnd>());
    match inner {
        Some(end) => FlowError::SessionEnded(end.clone()),
        None => FlowError::Reset,
    }
}

impl AsyncWrite for OpenedFlow {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// Moves the bytes of a session at the origin. A future to be spawned; it ends with the session, and the
/// session ends with it.
#[must_use = "a session stands still until its driver runs"]
pub struct ClientDriver {
    mux: Mux,
    /// `None` once all handles are gone.
    opens: Option<mpsc::Receiver<Open>>,
    /// One that yamux has no room for yet.
    waiting: Option<Open>,
    closing: Arc<Closing>,
    /// When closing, how long it may still take.
    deadline: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl ClientDriver {
    /// Opens what is asked for, while nothing is in the way.
    fn poll_opens(&mut self, cx: &mut Context<'_>) {
        while !self.mux.is_blocked() {
            let Some(open) = self.next_open(cx) else {
                return;
            };
            if open.opened.is_closed() {
                continue;
            }
            match self.mux.poll_open(cx) {
                Poll::Ready(Some(stream)) => {
                    let shared = self.mux.shared().clone();
                    let mut stream = FlowStream::new(stream, shared, Some(open.permit));
                    stream.send_first(open.frame);
                    // If nobody waits for it any more, it comes back and is dropped here.
                    let _ = open.opened.send(stream);
                }
                Poll::Ready(None) => return,
                Poll::Pending => {
                    self.waiting = Some(open);
                    return;
                }
            }
        }
    }

    fn next_open(&mut self, cx: &mut Context<'_>) -> Option<Open> {
        if let Some(open) = self.waiting.take() {
            return Some(open);
        }
        match self.opens.as_mut()?.poll_recv(cx) {
            Poll::Ready(Some(open)) => Some(open),
            Poll::Ready(None) => {
                self.opens = None;
                None
            }
            Poll::Pending => None,
        }
    }

    fn is_closing_wanted(&self, cx: &mut Context<'_>) -> bool {
        self.closing.waker.register(cx.waker());
        let abandoned =
            self.opens.is_none() && self.waiting.is_none() && self.mux.shared().flows() == 0;
        self.closing.wanted.load(Ordering::Acquire) || abandoned
    }

    fn poll_running(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.is_closing_wanted(cx) {
                self.deadline = Some(Box::pin(tokio::time::sleep(CLOSE_TIMEOUT)));
                return Poll::Ready(());
            }
            let blocked = self.mux.is_blocked();
            self.poll_opens(cx);
            match self.mux.poll(cx) {
                Poll::Ready(Some(_stream)) => {
                    // Exits open no flows.
                    self.mux
                        .shared()
                        .finish(SessionEnd::Mux("the exit opened a flow".into()));
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            if !blocked || self.mux.is_blocked() {
                return Poll::Pending;
            }
        }
    }

    fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let late = self
            .deadline
            .as_mut()
            .is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready());
        if late {
            return Poll::Ready(());
        }
        self.mux.poll_close(cx)
    }
}

impl Future for ClientDriver {
    type Output = SessionEnd;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SessionEnd> {
        let this = &mut *self;
        if this.deadline.is_none() && this.poll_running(cx).is_pending() {
            return Poll::Pending;
        }
        if this.deadline.is_some() && this.poll_closing(cx).is_pending() {
            return Poll::Pending;
        }
        this.opens = None;
        this.waiting = None;
        Poll::Ready(this.mux.shared().finish(SessionEnd::Local))
    }
}

impl Drop for ClientDriver {
    fn drop(&mut self) {
        // Without effect when it ran to its end.
        self.mux.shared().finish(SessionEnd::Dropped);
    }
}

impl fmt::Debug for ClientDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientDriver").finish_non_exhaustive()
    }
}
