//! The exit's side: accepting flows.

use std::{
    fmt,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::time::{Instant, MissedTickBehavior};

use super::{
    FlowReply, FlowRequest, FlowStatus, FlowStream, MessageError,
    frame::{self, KIND_LEN},
    mux::{Mux, Shared},
};
use crate::{
    CircuitEnd, CircuitId,
    session::{SessionEnd, SessionId, SessionStream},
};

/// How long the request may take once a flow is there: it comes in the flow's first frame. Guess.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Flows that may wait for their answer before the origin is told of each that it exists: it opens no
/// more than 256 without having heard of them. A quarter of that, so that it never has to wait.
const QUIET_FLOWS: usize = 64;

/// Bytes that a session may keep for an origin that does not acknowledge. An origin acknowledges each
/// 512 KiB, whether or not anybody reads its flows: twice that.
const KEPT_UNMOVED: usize = 1024 * 1024;
/// How long it may keep more than [`KEPT_UNMOVED`]. Guess: far above any round trip, and far below the
/// time after which a circuit counts as standing still.
const UNMOVED_LIMIT: Duration = Duration::from_secs(60);
/// How often that is looked at.
const UNMOVED_EVERY: Duration = Duration::from_secs(10);

/// What an exit does with the flows that come in.
pub trait FlowHandler: Send + Sync {
    /// Serves one flow; runs in a task of its own, at most [`MAX_FLOWS`](super::MAX_FLOWS) per session
    /// at a time. When the session ends, the flow breaks and the task is expected to end by itself.
    fn handle(&self, flow: InboundFlow) -> BoxFuture<'static, ()>;
}

impl<F> FlowHandler for F
where
    F: Fn(InboundFlow) -> BoxFuture<'static, ()> + Send + Sync,
{
    fn handle(&self, flow: InboundFlow) -> BoxFuture<'static, ()> {
        self(flow)
    }
}

/// Which session a flow belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionInfo {
    /// The session: all its flows come from one origin.
    pub session: SessionId,
    /// The circuit that it rides on, for logs.
    pub circuit: CircuitId,
}

/// A flow that an origin wants opened. Dropping it without an answer resets it.
pub struct InboundFlow {
    request: FlowRequest,
    info: SessionInfo,
    stream: FlowStream,
    waiting: Waiting,
}

impl InboundFlow {
    /// What the origin asks for.
    pub fn request(&self) -> &FlowRequest {
        &self.request
    }

    /// Which session it belongs to.
    pub fn session(&self) -> SessionInfo {
        self.info
    }

    /// Answers, and gives the flow's bytes; early data is the first to be read. `reply` is to be
    /// [`FlowReply::ok`] or the result of a lookup.
    pub fn accept(mut self, reply: FlowReply) -> FlowStream {
        self.stream.send_first(frame::message(&reply.encode()));
        self.stream
    }

    /// Answers that it will not be. `detail` is a sentence for the user: at most
    /// [`MAX_DETAIL`](super::MAX_DETAIL) bytes of it are sent.
    pub fn refuse(mut self, status: FlowStatus, detail: impl Into<String>) {
        refuse(&mut self.stream, status, detail);
    }

    /// Completes when the origin has given the flow up or the session has ended, so that connecting may
    /// be stopped. It never completes once more than 64 KiB of early data are waiting. Cancel-safe.
    pub async fn aborted(&mut self) {
        poll_fn(|cx| self.stream.poll_aborted(cx)).await;
    }
}

impl fmt::Debug for InboundFlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboundFlow")
            .field("request", &self.request)
            .field("session", &self.info)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

fn refuse(stream: &mut FlowStream, status: FlowStatus, detail: impl Into<String>) {
    let reply = FlowReply::refused(status, detail);
    stream.send_first(frame::message(&reply.encode()));
    stream.end_now();
}

/// Counts the flows of a session that wait for an answer.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count.clone())
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.count())
    }
}

/// Serves a session on the exit's end of a circuit until it ends, and says why it did.
///
/// Every flow goes to `handler` in a task of its own, once its request is there and sound. Flows beyond
/// [`MAX_FLOWS`](super::MAX_FLOWS) are answered [`FlowStatus::Overloaded`]. Dropping the future ends the
/// session.
///
/// # Panics
/// When `end` is the origin's.
pub async fn accept(end: CircuitEnd, handler: Arc<dyn FlowHandler>) -> SessionEnd {
    let circuit = end.id;
    let mux = Mux::new(SessionStream::exit(end).into_core());
    let mut driver = ExitDriver {
        mux,
        handler,
        circuit,
        waiting: Arc::default(),
    };
    let shared = driver.mux.shared().clone();
    tokio::select! {
        () = poll_fn(|cx| driver.poll(cx)) => shared.finish(SessionEnd::Local),
        () = unmoved(&shared) => shared.finish(SessionEnd::Unacknowledged),
    }
}

/// Returns when the origin has let this side keep too much for too long.
async fn unmoved(shared: &Shared) {
    let mut tick = tokio::time::interval(UNMOVED_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut since, mut last) = (Instant::now(), 0);
    loop {
        let now = tick.tick().await;
        let (acked, kept) = shared.lock().kept();
        if acked != last || kept <= KEPT_UNMOVED {
            (since, last) = (now, acked);
        } else if now.duration_since(since) >= UNMOVED_LIMIT {
            return;
        }
    }
}

struct ExitDriver {
    mux: Mux,
    handler: Arc<dyn FlowHandler>,
    circuit: CircuitId,
    waiting: Arc<AtomicUsize>,
}

impl ExitDriver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.mux.poll(cx) {
                Poll::Ready(Some(stream)) => self.on_flow(stream),
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn on_flow(&self, stream: yamux::Stream) {
        let shared: &Arc<Shared> = self.mux.shared();
        let mut stream = FlowStream::new(stream, shared.clone(), shared.permit());
        let Some(session) = shared.lock().session() else {
            // Flows come in cells, and the first cell names the session.
            return;
        };
        if !stream.is_admitted() {
            refuse(
                &mut stream,
                FlowStatus::Overloaded,
                "too many flows in this session",
            );
            return;
        }
        let info = SessionInfo {
            session,
            circuit: self.circuit,
        };
        let waiting = Waiting::new(&self.waiting);
        if waiting.count() > QUIET_FLOWS {
            stream.acknowledge();
        }
        let handler = self.handler.clone();
        tokio::spawn(async move {
            if let Some((request, stream)) = read_request(stream).await {
                let flow = InboundFlow {
                    request,
                    info,
                    stream,
                    waiting,
                };
                handler.handle(flow).await;
            }
        });
    }
}

impl Drop for ExitDriver {
    fn drop(&mut self) {
        // Without effect when it ran to its end.
        self.mux.shared().finish(SessionEnd::Dropped);
    }
}

/// The request of a new flow; `None` when it did not come or was answered already.
async fn read_request(mut stream: FlowStream) -> Option<(FlowRequest, FlowStream)> {
    let message = tokio::time::timeout(REQUEST_TIMEOUT, poll_fn(|cx| stream.poll_message(cx)));
    let packet = message.await.ok()?.ok()?;
    match FlowRequest::decode(&packet.as_ref()[KIND_LEN..]) {
        Ok(request) => Some((request, stream)),
        Err(error) => {
            let detail = match error {
                MessageError::UnknownKind => "the exit does not know this kind of request",
                _ => "the request is malformed",
            };
            refuse(&mut stream, FlowStatus::Unsupported, detail);
            None
        }
    }
}
