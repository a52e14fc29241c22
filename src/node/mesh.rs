//! The mesh as the proxies see it: opens flows over the pool's circuits and
//! goes to another exit where one could not reach the destination.
//!
//! Only opening is ever repeated. Once a flow is open its bytes may have
//! reached the server, and nothing that may have is sent twice.

use std::net::IpAddr;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use masq_cores::NodeKey;
use masq_cores::flow::{
    FlowError, FlowReply, FlowRequest, FlowStatus, FlowStream, Host, Want as Family,
};
use masq_cores::pool::{IsolationKey, Pool, PoolError, Want};
use masq_gossip::Stage;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::routes::Routes;
use super::view::View;
use crate::billing::Billing;
use crate::entry::{Isolation, Mesh, OpenError, Tunnel};
use crate::routing::HostId;

/// Exits that are tried for one destination (from the specification of flows).
const EXITS_TRIED: usize = 3;

/// Circuits that may break under one attempt to open a flow before it is given up (guess).
const CIRCUITS_TRIED: usize = 3;

/// Opening a flow, all attempts together: what a client such as a browser waits for a connection
/// (guess).
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a flow waits for hops that refuse to serve while one of them is being paid in advance: a
/// payment takes some blocks to be counted (guess).
const ADVANCE_WAIT: Duration = Duration::from_secs(15);
/// How often it is tried meanwhile (guess: a block of the quick chains).
const ADVANCE_PACE: Duration = Duration::from_secs(2);
/// How often a route that was found just now is tried (guess: some round trips).
const YOUNG_PACE: Duration = Duration::from_millis(100);

/// The mesh of a node that originates. Cloning gives another handle.
#[derive(Clone)]
pub(crate) struct PooledMesh {
    pub(crate) pool: Pool,
    pub(crate) routes: Routes,
    pub(crate) view: watch::Receiver<View>,
    /// Cancelled once the node takes no new flows.
    pub(crate) draining: CancellationToken,
    /// Who knows why hops refuse.
    pub(crate) billing: Option<Billing>,
}

/// How long after the last route was lost, or the first neighbour found, one is waited for (guess:
/// gossip spreads a change of links within a second).
const ROUTE_GAP: Duration = Duration::from_secs(2);

/// What was tried so far for one request.
struct Attempts {
    host: Option<HostId>,
    want: Want,
    exits: usize,
    circuits: usize,
    /// What the last exit answered.
    last: Option<OpenError>,
}

impl Attempts {
    fn new(routes: &Routes, request: &FlowRequest) -> Self {
        let host = host_of(request).map(|name| routes.host(&name));
        let exclude_exits = host
            .map(|host| routes.failing_for(host))
            .unwrap_or_default();
        Self {
            host,
            want: Want {
                exclude_exits,
                exit: None,
            },
            exits: 0,
            circuits: 0,
            last: None,
        }
    }

    /// No route: because of the exits excluded from the start, which then get another chance,
    /// or for good. `Some` is the end.
    fn on_no_route(&mut self, reason: String) -> Option<OpenError> {
        if self.exits == 0 && !self.want.exclude_exits.is_empty() {
            self.want.exclude_exits.clear();
            return None;
        }
        Some(self.last.take().unwrap_or(OpenError::NoRoute { reason }))
    }

    /// This exit could not do it. `Some` is the end.
    fn on_refused(
        &mut self,
        exit: NodeKey,
        reply: FlowReply,
        routes: &Routes,
    ) -> Option<OpenError> {
        let status = reply.status;
        if status == FlowStatus::Overloaded {
            routes.exit_is_full(exit);
        }
        if let Some(host) = self.host.filter(|_| is_about_host(status)) {
            routes.host_result(exit, host, false);
        }
        let error = OpenError::Status {
            status,
            detail: reply.detail,
        };
        self.exits += 1;
        if self.exits == EXITS_TRIED || !is_worth_another_exit(status) {
            return Some(error);
        }
        self.want.exclude_exits.push(exit);
        self.last = Some(error);
        None
    }

    /// The circuit broke. `Some` is the end.
    fn on_broken(&mut self, error: OpenError) -> Option<OpenError> {
        self.circuits += 1;
        (self.circuits == CIRCUITS_TRIED).then_some(error)
    }
}

/// A refused connection is tried elsewhere too: the server may refuse that exit's address only.
fn is_worth_another_exit(status: FlowStatus) -> bool {
    status == FlowStatus::ConnectionRefused || status.is_retryable_elsewhere()
}

/// Whether the exit spoke of the destination, not of itself.
fn is_about_host(status: FlowStatus) -> bool {
    !matches!(
        status,
        FlowStatus::Overloaded | FlowStatus::Internal | FlowStatus::Unsupported
    )
}

/// The destination that failures are remembered for.
fn host_of(request: &FlowRequest) -> Option<String> {
    match request {
        FlowRequest::Tcp { host, .. } => Some(match host {
            Host::Name(name) => name.clone(),
            Host::V4(ip) => ip.to_string(),
            Host::V6(ip) => ip.to_string(),
        }),
        FlowRequest::Resolve { name, .. } => Some(name.clone()),
        FlowRequest::ResolvePtr { address } => Some(address.to_string()),
        _ => None,
    }
}

impl PooledMesh {
    async fn connect(
        self,
        request: FlowRequest,
        isolation: Isolation,
    ) -> Result<(FlowReply, FlowStream), OpenError> {
        if self.draining.is_cancelled() {
            return Err(OpenError::ShuttingDown);
        }
        let attempts = self.attempt(&request, isolation);
        timeout(OPEN_TIMEOUT, attempts)
            .await
            .unwrap_or(Err(OpenError::Timeout))
    }

    /// While the mesh around this node is being rearranged a route may be missing for a moment:
    /// such a moment is waited for. Without one, the client is told at once.
    async fn route_is_coming(&self) -> bool {
        let mut view = self.view.clone();
        let in_motion = {
            let now = view.borrow_and_update();
            now.stage == Stage::ConnectedToNeighbour && now.stage_since.elapsed() < ROUTE_GAP
        };
        let found = view.wait_for(|now| now.stage == Stage::RouteFound);
        in_motion && matches!(timeout(ROUTE_GAP, found).await, Ok(Ok(_)))
    }

    /// Whether the route was found just now. Then it may fail at first: the other end has come back
    /// with new keys, and its links are only being opened.
    fn route_is_young(&self) -> bool {
        let view = self.view.borrow();
        view.stage == Stage::RouteFound && view.stage_since.elapsed() < ROUTE_GAP
    }

    /// Whether a hop that refused to serve is being paid in advance.
    fn is_being_paid(&self, isolation: Isolation) -> bool {
        let billing = self.billing.as_ref();
        billing.is_some_and(|billing| billing.is_worth_waiting(isolation))
    }

    /// Whether what credit is left is needed for the questions that come before such a payment.
    fn must_wait(&self, isolation: Isolation) -> bool {
        let billing = self.billing.as_ref();
        billing.is_some_and(|billing| billing.must_wait(isolation))
    }

    /// Why no circuit came up; with what a hop said that refused to serve meanwhile.
    fn in_words(&self, error: &PoolError) -> String {
        let refusals = self.billing.as_ref().map(Billing::refusals);
        let recent = refusals.into_iter().flatten();
        let recent = recent
            .filter(|refusal| refusal.at.elapsed() < OPEN_TIMEOUT)
            .max_by_key(|refusal| refusal.at);
        match recent {
            // First what somebody can do something about: what follows may be cut.
            Some(refusal) => {
                let hint = refusal
                    .hint
                    .map_or_else(String::new, |hint| format!("; {hint}"));
                format!(
                    "node {} refuses to serve: {}{hint} ({error})",
                    masq_gossip::NodeKey::from(refusal.node).short(),
                    refusal.why
                )
            }
            None => error.to_string(),
        }
    }

    async fn attempt(
        &self,
        request: &FlowRequest,
        isolation: Isolation,
    ) -> Result<(FlowReply, FlowStream), OpenError> {
        let mut tried = Attempts::new(&self.routes, request);
        let began = Instant::now();
        loop {
            let waits = || began.elapsed() < ADVANCE_WAIT;
            if waits() && self.must_wait(isolation) {
                sleep(ADVANCE_PACE).await;
                continue;
            }
            let key = isolation_key(isolation);
            let session = match self.pool.session(key, &tried.want).await {
                Ok(session) => session,
                Err(PoolError::NoRoute(why)) => {
                    if self.route_is_coming().await {
                        continue;
                    }
                    match tried.on_no_route(why.reason) {
                        Some(error) => return Err(error),
                        None => continue,
                    }
                }
                Err(PoolError::Shutdown) => return Err(OpenError::ShuttingDown),
                Err(_) if began.elapsed() < ROUTE_GAP && self.route_is_young() => {
                    sleep(YOUNG_PACE).await;
                    continue;
                }
                Err(_) if waits() && self.is_being_paid(isolation) => {
                    sleep(ADVANCE_PACE).await;
                    continue;
                }
                Err(error) => {
                    let reason = self.in_words(&error);
                    return Err(tried.last.take().unwrap_or(OpenError::NoRoute { reason }));
                }
            };
            let exit = session.exit();
            let end = match session.connect(request.clone()).await {
                Ok(opened) => {
                    if let Some(host) = tried.host {
                        self.routes.host_result(exit, host, true);
                    }
                    return Ok(opened);
                }
                Err(FlowError::Refused(reply)) => tried.on_refused(exit, *reply, &self.routes),
                Err(FlowError::BadRequest(error)) => Some(OpenError::Status {
                    status: FlowStatus::Unsupported,
                    detail: error.to_string(),
                }),
                Err(FlowError::NoReply) => tried.on_broken(OpenError::Timeout),
                Err(_) => tried.on_broken(OpenError::CircuitLost),
            };
            if let Some(error) = end {
                return Err(error);
            }
        }
    }
}

fn isolation_key(isolation: Isolation) -> IsolationKey {
    if isolation == Isolation::SHARED {
        IsolationKey::NONE
    } else {
        IsolationKey::of(&[isolation.as_bytes()])
    }
}

impl Mesh for PooledMesh {
    fn open(
        &self,
        request: FlowRequest,
        isolation: Isolation,
    ) -> BoxFuture<'static, Result<Tunnel, OpenError>> {
        let connect = self.clone().connect(request, isolation);
        connect
            .map(|opened| opened.map(|(_, stream)| Box::new(stream) as Tunnel))
            .boxed()
    }

    fn resolve(
        &self,
        name: String,
        isolation: Isolation,
    ) -> BoxFuture<'static, Result<Vec<IpAddr>, OpenError>> {
        let request = FlowRequest::Resolve {
            name,
            want: Family::Any,
        };
        let connect = self.clone().connect(request, isolation);
        connect
            .map(|answered| answered.map(|(reply, _)| reply.addresses))
            .boxed()
    }

    fn resolve_ptr(
        &self,
        address: IpAddr,
        isolation: Isolation,
    ) -> BoxFuture<'static, Result<Vec<String>, OpenError>> {
        let connect = self
            .clone()
            .connect(FlowRequest::ResolvePtr { address }, isolation);
        connect
            .map(|answered| answered.map(|(reply, _)| reply.names))
            .boxed()
    }
}

/// The mesh of a node that has no clients.
pub(crate) struct NoMesh;

impl NoMesh {
    fn refuse<T: Send + 'static>() -> BoxFuture<'static, Result<T, OpenError>> {
        let reason = "this node serves others only (mode serve-only)".to_owned();
        async { Err(OpenError::NoRoute { reason }) }.boxed()
    }
}

impl Mesh for NoMesh {
    fn open(&self, _: FlowRequest, _: Isolation) -> BoxFuture<'static, Result<Tunnel, OpenError>> {
        Self::refuse()
    }

    fn resolve(
        &self,
        _: String,
        _: Isolation,
    ) -> BoxFuture<'static, Result<Vec<IpAddr>, OpenError>> {
        Self::refuse()
    }

    fn resolve_ptr(
        &self,
        _: IpAddr,
        _: Isolation,
    ) -> BoxFuture<'static, Result<Vec<String>, OpenError>> {
        Self::refuse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s16_what_an_exit_could_not_resolve_is_remembered_for_that_name() {
        let resolve = FlowRequest::Resolve {
            name: "a.example".into(),
            want: Family::Any,
        };
        let connect = FlowRequest::Tcp {
            host: Host::Name("a.example".into()),
            port: 443,
        };
        assert_eq!(host_of(&resolve), Some("a.example".into()));
        assert_eq!(host_of(&resolve), host_of(&connect));
        let reverse = FlowRequest::ResolvePtr {
            address: IpAddr::from([192, 0, 2, 1]),
        };
        assert_eq!(host_of(&reverse), Some("192.0.2.1".into()));
        for of_host in [
            FlowStatus::NameNotFound,
            FlowStatus::NameServerFailed,
            FlowStatus::HostUnreachable,
            FlowStatus::TimedOut,
            FlowStatus::PolicyRefused,
        ] {
            assert!(is_about_host(of_host) && is_worth_another_exit(of_host));
        }
        // That an exit is full says nothing of the host.
        let full = FlowStatus::Overloaded;
        assert!(!is_about_host(full) && is_worth_another_exit(full));
    }
}
