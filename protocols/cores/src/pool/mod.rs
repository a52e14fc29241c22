//! The circuit pool at the origin: a few warm circuits ahead of demand, one circuit for
//! many flows, never one circuit for two isolation keys, and another route where building
//! fails.
//!
//! Circuits take places at hops, and hops have few. So of circuits that keep somebody apart
//! and carry nothing only those used last are kept, and where a hop has no room for another
//! one, one of the pool's own that it carries for nothing makes way (`room`).
//!
//! Which routes there are is asked of a [`RouteSource`]; what flows carry, and retrying a
//! destination through another exit, is the business of whoever opens them.

mod build;
mod busiest;
mod room;
mod state;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use masq_onion::NodeKey;
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::cell::Leg;
use crate::close::CloseReason;
use crate::flow::ClientSession;
use crate::node::Cores;
use crate::origin::{CircuitHandle, LaunchError, Route};
use room::Room;
use state::{Built, State};

/// Circuits that one request may wait for, each being filled by others before it comes to
/// its turn. Guess.
const ROUNDS: u32 = 8;

/// How long a request waits, in all, for one of the pool's circuits to be done with, where
/// there is no room for another. Guess: several small pages, and well within what a client
/// waits for a connection.
const ROOM_WAIT: Duration = Duration::from_secs(20);

/// What keeps flows apart: flows with different keys never share a circuit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct IsolationKey([u8; 32]);

impl IsolationKey {
    /// The key of everybody who asks for no isolation.
    pub const NONE: Self = Self([0; 32]);

    /// The key of these strings, in this order (user and password, say). The strings
    /// themselves are not kept.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

impl fmt::Debug for IsolationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::NONE {
            "IsolationKey(none)"
        } else {
            "IsolationKey(..)"
        })
    }
}

/// What a circuit must be like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Want {
    /// Exits that will not do, because they failed with this destination before.
    pub exclude_exits: Vec<NodeKey>,
    /// The one exit that will do, if there is only one.
    pub exit: Option<NodeKey>,
}

impl Want {
    /// Whether a circuit that ends at `exit` will do.
    pub fn accepts(&self, exit: &NodeKey) -> bool {
        self.exit.is_none_or(|only| only == *exit) && !self.exclude_exits.contains(exit)
    }
}

/// There is no route, and why, in one sentence for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NoRoute {
    /// The sentence.
    pub reason: String,
}

/// What became of a route.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The circuit is up; how long building took.
    Built(Duration),
    /// It was not even begun: the fault is on this side or at the first link.
    NotLaunched(LaunchError),
    /// It ended before it was up.
    Failed(Arc<CloseReason>),
    /// It ended, after it was up.
    Ended(Arc<CloseReason>),
    /// A report round came home; how long it took.
    Round(Duration),
    /// What a leg of it carried at its busiest lately: nothing is said of circuits that
    /// carry little.
    Carried {
        /// Which leg.
        leg: Leg,
        /// Body bytes of cells.
        bytes: u64,
        /// In this time.
        took: Duration,
    },
}

/// Chooses routes and learns from what becomes of them. Called from tasks; must not block.
pub trait RouteSource: Send + Sync {
    /// A route that `want` accepts.
    ///
    /// # Errors
    /// There is none, and why.
    fn route(&self, want: &Want) -> Result<Route, NoRoute>;

    /// What became of a route.
    fn report(&self, route: &Route, outcome: Outcome);
}

/// Why there is no session.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// No route, at once: nothing was tried.
    #[error(transparent)]
    NoRoute(#[from] NoRoute),
    /// Routes were tried, and none came up.
    #[error("no circuit came up in {attempts} attempts; the last one: {last}")]
    Build {
        /// How many.
        attempts: u32,
        /// What became of the last.
        last: String,
    },
    /// As many circuits as may be are there, and all were in use for as long as a request
    /// waits (20 s).
    #[error("too many circuits are open")]
    Full,
    /// The node is stopping.
    #[error("node is stopping")]
    Shutdown,
}

/// Sizes and times of a pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolConfig {
    /// Circuits kept ready that nobody uses yet (default 2).
    pub warm: usize,
    /// Age at which a circuit takes no new flows (default ten minutes).
    pub lifetime: Duration,
    /// Time without any request after which no circuits are kept ready (default ten minutes).
    pub sleepy_after: Duration,
    /// Circuits of this pool in all, those that only finish their flows included (default 64).
    pub max_circuits: usize,
    /// Circuits kept of those that have an isolation key and carry nothing; the ones longest
    /// unused are closed first (default 16).
    pub idle_isolated: usize,
    /// Flows on one circuit from which on another is preferred (default 256).
    pub flows_per_circuit: usize,
    /// Routes that are tried for one circuit (default 3). One that a hop had no room for is not
    /// counted where a circuit of the pool made way for the next.
    pub attempts: u32,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            warm: 2,
            lifetime: Duration::from_secs(600),
            sleepy_after: Duration::from_secs(600),
            // Guess: a user with many isolation keys, all in use at the same time. A quarter of
            // a link's circuits, and what an exit takes over one link.
            max_circuits: 64,
            // Guess: as many identities as somebody uses in turns; a quarter of what an exit
            // takes over one link, so that others fit beside them.
            idle_isolated: 16,
            // Guess: one yamux connection shares its bandwidth fairly among these.
            flows_per_circuit: 256,
            attempts: 3,
        }
    }
}

/// A session on a circuit of the pool. Keeps neither from being retired; flows that are
/// open go on to their end.
#[derive(Clone, Debug)]
pub struct SessionHandle {
    session: ClientSession,
    circuit: CircuitHandle,
    /// Held so that the pool knows of those who were given a session and have not opened
    /// their flow yet.
    _user: Arc<()>,
}

impl SessionHandle {
    /// The session, for opening flows.
    pub fn session(&self) -> &ClientSession {
        &self.session
    }

    /// The circuit that it rides on.
    pub fn circuit(&self) -> &CircuitHandle {
        &self.circuit
    }

    /// The route of that circuit, for display.
    pub fn route(&self) -> &Arc<Route> {
        self.circuit.route()
    }

    /// The exit at the end of it.
    pub fn exit(&self) -> NodeKey {
        // Circuits are launched on routes with hops only.
        self.route().exit().unwrap_or(NodeKey([0; 32]))
    }
}

impl std::ops::Deref for SessionHandle {
    type Target = ClientSession;

    fn deref(&self) -> &ClientSession {
        &self.session
    }
}

/// What is to be known of one circuit of the pool.
#[derive(Clone, Debug)]
pub struct CircuitInfo {
    /// The circuit.
    pub circuit: CircuitHandle,
    /// How long it has been up.
    pub age: Duration,
    /// Flows that are open on it.
    pub flows: usize,
    /// Flows that were opened on it since it came up, those that were refused included.
    pub flows_opened: u64,
    /// Whether nobody uses it yet.
    pub warm: bool,
    /// Whether it takes no more flows and only finishes those it has.
    pub retiring: bool,
}

/// The pool. Cloning gives another handle; with the last one, and the last session taken
/// from it, everything in it ends.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

pub(crate) struct Inner {
    config: Mutex<PoolConfig>,
    cores: Cores,
    routes: Arc<dyn RouteSource>,
    state: Mutex<State>,
    /// Wakes the keeper.
    wake: Arc<Notify>,
    /// Wakes those who wait for room: a circuit is over.
    freed: Notify,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // Held for list operations only; none leaves the lists half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn config(&self) -> PoolConfig {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a caller has to do next.
enum Next {
    Take(Box<SessionHandle>),
    Wait(watch::Receiver<Option<Built>>),
    /// Every circuit that may be is there and in use.
    Full,
    Refuse(PoolError),
}

impl Pool {
    /// A pool that begins at once to build its warm circuits. Has to be called within a
    /// tokio runtime.
    pub fn new(config: PoolConfig, cores: Cores, routes: Arc<dyn RouteSource>) -> Self {
        let wake = Arc::new(Notify::new());
        let inner = Arc::new(Inner {
            config: Mutex::new(config),
            cores,
            routes,
            state: Mutex::new(State::new(Instant::now())),
            wake: wake.clone(),
            freed: Notify::new(),
        });
        tokio::spawn(build::keep(Arc::downgrade(&inner), wake));
        Self(inner)
    }

    /// A session on a circuit of this isolation key that `want` accepts: one that is there,
    /// or a warm one, or a new one. Where there is no room for a new one it waits for a while.
    /// Cancel-safe: a circuit that is being built is finished and kept.
    ///
    /// # Errors
    /// See [`PoolError`]; [`PoolError::NoRoute`] comes at once.
    pub async fn session(
        &self,
        isolation: IsolationKey,
        want: &Want,
    ) -> Result<SessionHandle, PoolError> {
        let until = Instant::now() + ROOM_WAIT;
        let mut rounds = 0;
        // What was built stays this request's until it is taken: an idle one would make way.
        let mut _held = None;
        loop {
            match self.next(isolation, want) {
                Next::Take(session) => return Ok(*session),
                Next::Refuse(error) => return Err(error),
                Next::Full if Instant::now() >= until => return Err(PoolError::Full),
                Next::Full => self.0.room().await,
                // More than once, because a circuit that was just built may have been filled
                // by others meanwhile.
                Next::Wait(_) if rounds == ROUNDS => return Err(PoolError::Full),
                Next::Wait(mut built) => {
                    rounds += 1;
                    let result = match built.wait_for(Option::is_some).await {
                        Ok(result) => result.clone(),
                        Err(_) => None,
                    };
                    _held = Some(result.unwrap_or(Err(PoolError::Shutdown))?);
                }
            }
        }
    }

    fn next(&self, isolation: IsolationKey, want: &Want) -> Next {
        let config = self.0.config();
        let now = Instant::now();
        let mut state = self.0.state();
        state.asked = now;
        if state.closed {
            return Next::Refuse(PoolError::Shutdown);
        }
        let best = state.best(isolation, want, now, &config);
        if let Some((entry, flows)) = best
            && flows < config.flows_per_circuit
        {
            return Next::Take(Box::new(state.entries[entry].handle(now)));
        }
        if let Some(entry) = state.warm(want, now, &config) {
            state.entries[entry].isolation = Some(isolation);
            let handle = state.entries[entry].handle(now);
            state.bound_idle(&config);
            self.0.wake.notify_one();
            return Next::Take(Box::new(handle));
        }
        // One that is busy will do for now, while another is built beside it.
        let busy = best.map(|(entry, _)| Next::Take(Box::new(state.entries[entry].handle(now))));
        let key = (isolation, want.clone());
        if let Some(built) = state.building.get(&key) {
            let built = built.clone();
            return busy.unwrap_or(Next::Wait(built));
        }
        let room = if busy.is_none() {
            state.make_room(&config)
        } else if state.has_room(&config) {
            Room::There
        } else {
            Room::None
        };
        let after = match room {
            Room::There => None,
            Room::After(circuit) => Some(circuit),
            Room::None => return busy.unwrap_or(Next::Full),
        };
        let (done, built) = watch::channel(None);
        state.building.insert(key, built.clone());
        drop(state);
        tokio::spawn(build::on_demand(
            self.0.clone(),
            build::Order {
                isolation,
                want: want.clone(),
                after,
            },
            done,
        ));
        busy.unwrap_or(Next::Wait(built))
    }

    /// Takes no more flows on the circuits that are there, for instance because the number
    /// of hops was changed. Flows that are open go on.
    pub fn renew(&self) {
        self.0.state().entries.clear();
        self.0.wake.notify_one();
    }

    /// Tries to have the warm circuits ready, now that routes may have come up.
    pub fn refresh(&self) {
        let mut state = self.0.state();
        state.asked = Instant::now();
        state.patience = None;
        drop(state);
        self.0.wake.notify_one();
    }

    /// Changes sizes and times, from now on.
    pub fn configure(&self, config: PoolConfig) {
        *self.0.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
        self.0.wake.notify_one();
    }

    /// The circuits that run now, those that only finish their flows included.
    pub fn circuits(&self) -> Vec<CircuitInfo> {
        self.0.state().infos()
    }

    /// Closes every session, those that only finish their flows included.
    pub fn close(&self) {
        let mut state = self.0.state();
        for session in state.all_sessions() {
            session.close();
        }
        state.entries.clear();
        state.closed = true;
        drop(state);
        self.0.wake.notify_one();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("circuits", &self.0.state().entries.len())
            .finish_non_exhaustive()
    }
}

/// What background tasks hold: they never keep the pool alive.
type Back = Weak<Inner>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isolation_keys_differ_where_credentials_do() {
        let a = IsolationKey::of(&[b"user", b"secret"]);
        assert_eq!(a, IsolationKey::of(&[b"user", b"secret"]));
        assert_ne!(a, IsolationKey::of(&[b"users", b"ecret"]));
        assert_ne!(a, IsolationKey::of(&[b"user"]));
        assert_ne!(IsolationKey::of(&[]), IsolationKey::NONE);
    }

    #[test]
    fn wants_are_kept() {
        let (a, b) = (NodeKey([1; 32]), NodeKey([2; 32]));
        assert!(Want::default().accepts(&a));
        let want = Want {
            exclude_exits: vec![a],
            exit: None,
        };
        assert!(!want.accepts(&a) && want.accepts(&b));
        let want = Want {
            exclude_exits: vec![],
            exit: Some(a),
        };
        assert!(want.accepts(&a) && !want.accepts(&b));
    }
}
