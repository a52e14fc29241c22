//! One node's share in circuits: its keys, its links, the circuits that it is waiting for,
//! and the entrance for streams that come in. The bytes are moved by tasks that start here.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use masq_onion::NodeKey;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cell::{CellPool, CircuitEnd, CircuitId};
use crate::failure::FailureCode;
use crate::hop;
use crate::host::{ExitAcceptor, Gate, Meter, Observer, Opener, Payer, RngSource, Wire};
use crate::keys::{OnionKeys, OnionPublics, ValidKeys};
use crate::limits::{EXIT_CIRCUITS, EXIT_CIRCUITS_PER_LINK, HOME_TIMEOUT};
use crate::link::{LinkUse, Links};
use crate::origin::{self, CircuitHandle, Homes, LaunchError, Route};

/// What a node's circuits are made of.
pub struct Config {
    /// This node's own key.
    pub node: NodeKey,
    /// Opens streams to neighbours.
    pub opener: Arc<dyn Opener>,
    /// Says whether this node serves in a circuit.
    pub gate: Arc<dyn Gate>,
    /// Takes the exit's end of circuits; a node without one refuses to be an exit.
    pub exit: Option<Arc<dyn ExitAcceptor>>,
    /// Pays for circuits of this node's own; without one they carry no authorisation (kind 0).
    pub payer: Option<Arc<dyn Payer>>,
    /// Is told what circuits carried.
    pub meter: Option<Arc<dyn Meter>>,
    /// Is shown what hops see. For the development chain only.
    pub observer: Option<Arc<dyn Observer>>,
    /// Randomness.
    pub rng: RngSource,
    /// Circuits that may end here, in all and per link (default
    /// [`EXIT_CIRCUITS`] and [`EXIT_CIRCUITS_PER_LINK`]; more is not possible).
    pub exit_circuits: (usize, usize),
    /// How long a set-up of this node's own may take to come home (default 8 s).
    pub home_timeout: Duration,
}

impl Config {
    /// A node that relays and builds circuits of its own, and is no exit.
    pub fn new(
        node: NodeKey,
        opener: Arc<dyn Opener>,
        gate: Arc<dyn Gate>,
        rng: RngSource,
    ) -> Self {
        Self {
            node,
            opener,
            gate,
            exit: None,
            payer: None,
            meter: None,
            observer: None,
            rng,
            exit_circuits: (EXIT_CIRCUITS, EXIT_CIRCUITS_PER_LINK),
            home_timeout: HOME_TIMEOUT,
        }
    }
}

/// What all circuit tasks of a node share. Every lock is held for map operations only.
pub(crate) struct Inner {
    pub(crate) node: NodeKey,
    pub(crate) opener: Arc<dyn Opener>,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) exit: Option<Arc<dyn ExitAcceptor>>,
    pub(crate) payer: Option<Arc<dyn Payer>>,
    pub(crate) meter: Option<Arc<dyn Meter>>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) rng: RngSource,
    pub(crate) home_timeout: Duration,
    pub(crate) cells: CellPool,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    keys: Mutex<OnionKeys>,
    links: Mutex<Links>,
    homes: Mutex<Homes>,
    ids: AtomicU64,
}

/// The present moment, on the clock that tests can stop.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that runs under these locks leaves its map half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    pub(crate) fn keys(&self) -> MutexGuard<'_, OnionKeys> {
        lock(&self.keys)
    }

    /// The keys that are valid now, to be used outside of the lock.
    pub(crate) fn valid_keys(&self) -> ValidKeys {
        let mut keys = self.keys();
        keys.expire(now());
        keys.valid()
    }

    pub(crate) fn links(&self) -> MutexGuard<'_, Links> {
        lock(&self.links)
    }

    pub(crate) fn homes(&self) -> MutexGuard<'_, Homes> {
        lock(&self.homes)
    }

    pub(crate) fn next_id(&self) -> CircuitId {
        CircuitId(self.ids.fetch_add(1, Relaxed))
    }
}

/// A node's circuits. Cloning gives another handle to the same node.
#[derive(Clone)]
pub struct Cores(Arc<Inner>);

impl Cores {
    /// A node with fresh onion keys, no links and no circuits.
    pub fn new(config: Config) -> Self {
        let keys = OnionKeys::new(&mut config.rng.make());
        let (exits, exits_per_link) = config.exit_circuits;
        Self(Arc::new(Inner {
            node: config.node,
            opener: config.opener,
            gate: config.gate,
            exit: config.exit,
            payer: config.payer,
            meter: config.meter,
            observer: config.observer,
            rng: config.rng,
            home_timeout: config.home_timeout,
            cells: CellPool::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            keys: Mutex::new(keys),
            links: Mutex::new(Links::new(exits, exits_per_link)),
            homes: Mutex::new(Homes::default()),
            ids: AtomicU64::new(1),
        }))
    }

    /// This node's own key.
    pub fn node(&self) -> NodeKey {
        self.0.node
    }

    /// `node` is a neighbour now, or the use of the link to it has changed; circuits that
    /// already run over it go on.
    pub fn neighbour_up(&self, node: NodeKey, link: LinkUse) {
        self.0.links().set(node, link, now());
    }

    /// `node` is a neighbour no more: every circuit over it ends.
    pub fn neighbour_down(&self, node: &NodeKey) {
        self.0.links().remove(node);
    }

    /// The onion keys to publish in this node's record.
    pub fn onion_keys(&self) -> OnionPublics {
        let mut keys = self.0.keys();
        keys.expire(now());
        keys.publics()
    }

    /// Makes a new onion key and says what to publish now. To be called every hour
    /// ([`ONION_KEY_LIFE`](crate::keys::ONION_KEY_LIFE)).
    pub fn rotate_onion_key(&self) -> OnionPublics {
        let mut rng = self.0.rng.make();
        let mut keys = self.0.keys();
        keys.rotate(now(), &mut rng);
        keys.publics()
    }

    /// Takes a stream that `from` opened. Streams of others than neighbours, and streams
    /// over the bounds of the link, are dropped at once. Never waits; has to be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// Why the stream was dropped; nothing is left behind.
    pub fn inbound(&self, from: NodeKey, wire: Wire) -> Result<(), FailureCode> {
        if self.0.stop.is_cancelled() {
            return Err(FailureCode::Shutdown);
        }
        let place = self.0.links().inbound(&from, now())?;
        self.0
            .tasks
            .spawn(hop::serve(self.0.clone(), from, place, wire));
        Ok(())
    }

    /// Builds a circuit: sends the set-up and the key share, and returns without waiting
    /// for anything to come home. Cells may be given to the end at once; they follow the
    /// set-up, protected by the hops' onion keys alone until the exit's key share is here.
    ///
    /// # Errors
    /// See [`LaunchError`]; when it fails, at most an empty stream was opened.
    pub async fn launch(&self, route: Route) -> Result<(CircuitEnd, CircuitHandle), LaunchError> {
        origin::launch(&self.0, route).await
    }

    /// Circuit tasks that run now, in any role.
    pub fn circuits(&self) -> usize {
        self.0.tasks.len()
    }

    /// How full the fullest link is: 0 is empty, 255 is full.
    pub fn load(&self) -> u8 {
        self.0.links().load()
    }

    /// Ends every circuit, telling origins, and returns when that is done (a few seconds
    /// at most). Nothing new is taken from now on.
    pub async fn shutdown(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    pub(crate) fn rng(&self) -> RngSource {
        self.0.rng.clone()
    }
}

impl std::fmt::Debug for Cores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cores")
            .field("circuits", &self.circuits())
            .finish_non_exhaustive()
    }
}
