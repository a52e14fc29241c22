//! What talks to servers: the far end of circuits.
//!
//! [`Exit`] takes the flows that `masq-cores` hands it and carries them out
//! through `outbound` (name check, lookup, policy, connecting); then
//! [`crate::pipe`] carries the bytes. [`Direct`] does the same for this
//! machine's own clients in zero-hop mode.
//!
//! - [`policy`]: where an exit may connect to (pure).
//! - [`resolver`]: names to addresses and back.
//! - `dial`: happy eyeballs, and what the system's errors mean.
//! - [`services`]: what this node offers by name instead of connecting.
//!
//! Not here: circuits and sessions (`masq-cores`), and what is charged for
//! any of it.

mod dial;
pub(crate) mod direct;
mod outbound;
pub mod policy;
pub mod resolver;
pub mod services;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use masq_cores::flow::{
    FlowHandler, FlowReply, FlowRequest, FlowStatus, Host, InboundFlow, SessionInfo,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::outbound::{Outbound, Refused};
use self::services::Found;
use crate::pipe::{Early, PipeEnd, PipeLimits, Traffic, pipe};

pub use dial::SourceAddresses;
pub use direct::Direct;
pub use policy::{ExitPolicy, PolicyError};
pub use resolver::{HickoryResolver, NoResolver, NoServers, Resolve, ResolveError};
pub use services::{Service, ServiceError, Services};

/// Flows carried at once by default, all sessions together; each is a file
/// descriptor (guess: half of what systems give a service by default, so that
/// links and listeners never starve).
pub const DEFAULT_MAX_FLOWS: usize = 4_096;

/// Connections that one session may be opening at once by default (guess: a
/// browser opening a heavy page through one circuit, several times over).
pub const DEFAULT_MAX_DIALS_PER_SESSION: usize = 256;

/// Seconds for which a client may keep the answer to a lookup: short, since
/// the resolver here has the true time and keeps it (guess).
const LOOKUP_TTL: u32 = 60;

/// How long forced closing may take after draining (guess).
const ABORT_TIME: Duration = Duration::from_secs(2);

/// What an exit does, and how much of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExitConfig {
    /// Whether connections to servers and lookups are offered. Without it
    /// only [`Services`] are.
    pub enabled: bool,
    /// Where it may connect to.
    pub policy: ExitPolicy,
    /// What outgoing connections are bound to. An exit that listens on a
    /// public address may want another one here.
    pub source: SourceAddresses,
    /// Flows carried at once.
    pub max_flows: usize,
    /// Connections one session may be opening at once.
    pub max_dials_per_session: usize,
}

impl Default for ExitConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            policy: ExitPolicy::default(),
            source: SourceAddresses::default(),
            max_flows: DEFAULT_MAX_FLOWS,
            max_dials_per_session: DEFAULT_MAX_DIALS_PER_SESSION,
        }
    }
}

/// A moment's view of what the exit is doing. Holds no destination.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExitStatus {
    /// Flows open now, those still connecting included.
    pub flows: usize,
    /// Connections opened since start.
    pub opened: u64,
    /// Requests refused or failed since start.
    pub refused: u64,
    /// Bytes received from servers since start.
    pub bytes_received: u64,
    /// Bytes sent to servers since start.
    pub bytes_sent: u64,
}

/// The exit. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Exit {
    inner: Arc<Inner>,
}

struct Inner {
    outbound: Outbound,
    enabled: bool,
    services: Services,
    flows: Arc<Semaphore>,
    dials: SessionDials,
    counters: Counters,
    pipe_limits: PipeLimits,
    tasks: TaskTracker,
    draining: CancellationToken,
    abort: CancellationToken,
}

#[derive(Default)]
struct Counters {
    flows: AtomicUsize,
    opened: AtomicU64,
    refused: AtomicU64,
    traffic: Traffic,
}

impl Exit {
    /// An exit that resolves names with `resolver` and offers `services`.
    #[must_use]
    pub fn new(config: ExitConfig, resolver: Arc<dyn Resolve>, services: Services) -> Self {
        let inner = Inner {
            outbound: Outbound::new(config.policy, resolver, config.source),
            enabled: config.enabled,
            services,
            flows: Arc::new(Semaphore::new(config.max_flows.min(Semaphore::MAX_PERMITS))),
            dials: SessionDials::new(config.max_dials_per_session),
            counters: Counters::default(),
            pipe_limits: PipeLimits::default(),
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            abort: CancellationToken::new(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// A moment's view of what the exit is doing.
    #[must_use]
    pub fn status(&self) -> ExitStatus {
        let counters = &self.inner.counters;
        ExitStatus {
            flows: counters.flows.load(Ordering::Relaxed),
            opened: counters.opened.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
            bytes_received: counters.traffic.to_flow(),
            bytes_sent: counters.traffic.to_socket(),
        }
    }

    /// Refuses new flows, lets open ones go on for at most `drain`, resets
    /// what is left, and returns.
    ///
    /// Dropping the future leaves the exit refusing new flows.
    pub async fn shutdown(&self, drain: Duration) {
        let inner = &self.inner;
        inner.draining.cancel();
        inner.tasks.close();
        if timeout(drain, inner.tasks.wait()).await.is_err() {
            tracing::info!(
                left = inner.tasks.len(),
                "resetting flows that are still open"
            );
            inner.abort.cancel();
            let _ = timeout(ABORT_TIME, inner.tasks.wait()).await;
        }
    }
}

impl std::fmt::Debug for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exit")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl FlowHandler for Exit {
    fn handle(&self, flow: InboundFlow) -> BoxFuture<'static, ()> {
        let inner = Arc::clone(&self.inner);
        let abort = inner.abort.clone();
        let tasks = inner.tasks.clone();
        tasks
            .track_future(async move {
                // Dropping the work resets what it holds.
                let _ = abort.run_until_cancelled(inner.serve(flow)).await;
            })
            .boxed()
    }
}

impl Inner {
    async fn serve(&self, flow: InboundFlow) {
        let _open = Counted::new(&self.counters.flows);
        if self.draining.is_cancelled() {
            return self.refuse(
                flow,
                Refused::new(FlowStatus::Overloaded, "the exit is shutting down"),
            );
        }
        let Ok(_permit) = Arc::clone(&self.flows).try_acquire_owned() else {
            let refused = Refused::new(FlowStatus::Overloaded, "the exit is full");
            return self.refuse(flow, refused);
        };
        match flow.request().clone() {
            FlowRequest::Service { name } => self.call(flow, &name).await,
            _ if !self.enabled => {
                let refused = Refused::new(FlowStatus::PolicyRefused, "this node is not an exit");
                self.refuse(flow, refused);
            }
            FlowRequest::Tcp { host, port } => self.connect(flow, host, port).await,
            FlowRequest::Resolve { name, want } => {
                let found = self.outbound.resolve(&name, want);
                self.look_up(flow, found, |found| FlowReply::resolved(found, LOOKUP_TTL))
                    .await;
            }
            FlowRequest::ResolvePtr { address } => {
                let found = self.outbound.reverse(address);
                self.look_up(flow, found, |found| FlowReply::named(found, LOOKUP_TTL))
                    .await;
            }
            _ => self.refuse(flow, FlowStatus::Unsupported.into()),
        }
    }

    async fn connect(&self, mut flow: InboundFlow, host: Host, port: u16) {
        let Some(dialling) = self.dials.begin(flow.session()) else {
            let refused = Refused::new(
                FlowStatus::Overloaded,
                "this session is opening too many connections",
            );
            return self.refuse(flow, refused);
        };
        let connected = tokio::select! {
            connected = self.outbound.connect(host, port) => connected,
            // Nobody waits for the answer any more.
            () = flow.aborted() => return,
        };
        drop(dialling);
        let socket = match connected {
            Ok(socket) => socket,
            Err(refused) => return self.refuse(flow, refused),
        };
        self.counters.opened.fetch_add(1, Ordering::Relaxed);
        let stream = flow.accept(FlowReply::ok());
        let traffic = &self.counters.traffic;
        let end = pipe(socket, stream, Early::default(), self.pipe_limits, traffic).await;
        tracing::trace!(?end, clean = end == PipeEnd::Finished, "flow ended");
    }

    /// Answers a lookup. The flow ends with the answer.
    async fn look_up<T>(
        &self,
        mut flow: InboundFlow,
        found: impl Future<Output = Result<T, Refused>>,
        reply: impl FnOnce(T) -> FlowReply,
    ) {
        let Some(_looking_up) = self.dials.begin(flow.session()) else {
            let refused = Refused::new(
                FlowStatus::Overloaded,
                "this session is looking up too many names",
            );
            return self.refuse(flow, refused);
        };
        let found = tokio::select! {
            found = found => found,
            () = flow.aborted() => return,
        };
        match found {
            Ok(found) => {
                let mut stream = flow.accept(reply(found));
                // Fails when the origin has left, and then nobody minds.
                let _ = futures::AsyncWriteExt::close(&mut stream).await;
            }
            Err(refused) => self.refuse(flow, refused),
        }
    }

    async fn call(&self, flow: InboundFlow, name: &str) {
        match self.services.find(name) {
            Found::Free(service, permit) => {
                let session = flow.session();
                service.call(flow.accept(FlowReply::ok()), session).await;
                drop::<OwnedSemaphorePermit>(permit);
            }
            Found::Busy => {
                let refused = Refused::new(FlowStatus::Overloaded, "this service is busy");
                self.refuse(flow, refused);
            }
            Found::Unknown => {
                let refused =
                    Refused::new(FlowStatus::Unsupported, "there is no service of that name");
                self.refuse(flow, refused);
            }
        }
    }

    fn refuse(&self, flow: InboundFlow, refused: Refused) {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(status = ?refused.status, "flow refused");
        flow.refuse(refused.status, refused.detail);
    }
}

/// Counts one while it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts what each session is opening, so that none takes all there is. Holds
/// one entry for each session that is opening something now.
struct SessionDials {
    most: usize,
    opening: Mutex<HashMap<masq_cores::session::SessionId, usize>>,
}

impl SessionDials {
    fn new(most: usize) -> Self {
        Self {
            most,
            opening: Mutex::default(),
        }
    }

    /// `None` when the session has as many as it may.
    fn begin(&self, session: SessionInfo) -> Option<Opening<'_>> {
        let mut opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let count = opening.entry(session.session).or_insert(0);
        if *count >= self.most {
            if *count == 0 {
                opening.remove(&session.session);
            }
            return None;
        }
        *count += 1;
        Some(Opening {
            dials: self,
            session: session.session,
        })
    }
}

struct Opening<'a> {
    dials: &'a SessionDials,
    session: masq_cores::session::SessionId,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let mut opening = self
            .dials
            .opening
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = opening.get_mut(&self.session) {
            *count -= 1;
            if *count == 0 {
                opening.remove(&self.session);
            }
        }
    }
}
