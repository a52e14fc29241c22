//! What a pool holds, and which of it serves a request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{CircuitInfo, IsolationKey, PoolConfig, PoolError, SessionHandle, Want};
use crate::cell::CircuitId;
use crate::flow::{ClientSession, MAX_FLOWS};
use crate::origin::CircuitHandle;

/// A circuit that takes flows.
pub(super) struct Entry {
    pub(super) session: ClientSession,
    pub(super) circuit: CircuitHandle,
    /// Whose it is; `None` while nobody uses it.
    pub(super) isolation: Option<IsolationKey>,
    pub(super) born: Instant,
    /// Shared with every [`SessionHandle`] that was given out.
    pub(super) users: Arc<()>,
}

impl Entry {
    pub(super) fn handle(&self) -> SessionHandle {
        SessionHandle {
            session: self.session.clone(),
            circuit: self.circuit.clone(),
            _user: self.users.clone(),
        }
    }

    /// Flows that are open, or will be when everybody who holds a handle opens one.
    fn flows(&self) -> usize {
        self.session
            .open_flows()
            .max(Arc::strong_count(&self.users) - 1)
    }

    pub(super) fn is_alive(&self) -> bool {
        self.session.end().is_none() && self.circuit.close_reason().is_none()
    }

    fn serves(&self, want: &Want, now: Instant, config: &PoolConfig) -> bool {
        self.is_alive()
            && now.duration_since(self.born) < config.lifetime
            && self
                .circuit
                .route()
                .exit()
                .is_some_and(|exit| want.accepts(&exit))
    }
}

/// A circuit that is up, whether or not it takes new flows.
pub(super) struct Running {
    pub(super) session: ClientSession,
    pub(super) circuit: CircuitHandle,
    pub(super) born: Instant,
    /// Since when it takes none.
    pub(super) retired: Option<Instant>,
}

/// How long a circuit that was retired without flows stays, for those who were given its
/// session just before and have not opened their flow yet. Guess.
const RETIRE_GRACE: Duration = Duration::from_secs(10);

type Building = HashMap<(IsolationKey, Want), watch::Receiver<Option<Result<(), PoolError>>>>;

/// Everything that a pool's lock guards.
pub(super) struct State {
    pub(super) entries: Vec<Entry>,
    /// Circuits that are being built because somebody waits for them.
    pub(super) building: Building,
    /// Warm circuits that are being built.
    pub(super) warming: usize,
    /// Sessions of all circuits that still run, those that take no more flows included.
    pub(super) running: HashMap<CircuitId, Running>,
    /// When somebody last asked for a session.
    pub(super) asked: Instant,
    /// Warming failed: how often in a row, and not again before then.
    pub(super) patience: Option<(u32, Instant)>,
    /// Nothing more is built.
    pub(super) closed: bool,
}

impl State {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            entries: Vec::new(),
            building: HashMap::new(),
            warming: 0,
            running: HashMap::new(),
            asked: now,
            patience: None,
            closed: false,
        }
    }

    /// The circuit of this key with the fewest flows, and how many those are; none that is
    /// full to the last place.
    pub(super) fn best(
        &self,
        isolation: IsolationKey,
        want: &Want,
        now: Instant,
        config: &PoolConfig,
    ) -> Option<(usize, usize)> {
        self.entries
            .iter()
            .enumerate()
            .filter(|(_, e)| e.isolation == Some(isolation) && e.serves(want, now, config))
            .map(|(i, e)| (i, e.flows()))
            .filter(|(_, flows)| *flows < MAX_FLOWS)
            .min_by_key(|(_, flows)| *flows)
    }

    /// The oldest circuit that nobody uses yet.
    pub(super) fn warm(&self, want: &Want, now: Instant, config: &PoolConfig) -> Option<usize> {
        self.entries
            .iter()
            .position(|e| e.isolation.is_none() && e.serves(want, now, config))
    }

    /// Circuits there are and will be.
    fn total(&self) -> usize {
        self.running.len() + self.building.len() + self.warming
    }

    /// Whether one more circuit may be built.
    pub(super) fn has_room(&self, config: &PoolConfig) -> bool {
        !self.closed && self.total() < config.max_circuits
    }

    /// Makes room for one more, at the expense of one that carries nothing: a warm one
    /// first, else the oldest.
    pub(super) fn make_room(&mut self, config: &PoolConfig) -> bool {
        if self.closed {
            return false;
        }
        if self.total() < config.max_circuits {
            return true;
        }
        let idle = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, e)| e.flows() == 0)
            .min_by_key(|(_, e)| (e.isolation.is_some(), e.born))
            .map(|(i, _)| i);
        match idle {
            Some(i) => {
                let entry = self.entries.swap_remove(i);
                self.running.remove(&entry.circuit.id());
                entry.session.close();
                true
            }
            None => false,
        }
    }

    /// Drops circuits that have ended or are too old for new flows; those that carry
    /// nothing are closed.
    pub(super) fn prune(&mut self, now: Instant, config: &PoolConfig) {
        self.entries
            .retain(|e| e.is_alive() && now.duration_since(e.born) < config.lifetime);
        let open: Vec<_> = self.entries.iter().map(|e| e.circuit.id()).collect();
        for (id, circuit) in &mut self.running {
            if open.contains(id) {
                continue;
            }
            let since = *circuit.retired.get_or_insert(now);
            if circuit.session.open_flows() == 0 && now.duration_since(since) >= RETIRE_GRACE {
                circuit.session.close();
            }
        }
    }

    /// How many warm circuits to begin now.
    pub(super) fn missing(&self, now: Instant, config: &PoolConfig) -> usize {
        let sleepy = now.duration_since(self.asked) >= config.sleepy_after;
        if self.closed || sleepy || self.patience.is_some_and(|(_, until)| now < until) {
            return 0;
        }
        let warm = self
            .entries
            .iter()
            .filter(|e| e.isolation.is_none() && e.is_alive())
            .count();
        let room = config.max_circuits.saturating_sub(self.total());
        config.warm.saturating_sub(warm + self.warming).min(room)
    }

    /// Every circuit that still runs, the oldest first.
    pub(super) fn infos(&self) -> Vec<CircuitInfo> {
        let info = |running: &Running| {
            let id = running.circuit.id();
            let entry = self.entries.iter().find(|entry| entry.circuit.id() == id);
            CircuitInfo {
                circuit: running.circuit.clone(),
                age: running.born.elapsed(),
                flows: running.session.open_flows(),
                flows_opened: running.session.flows_opened(),
                warm: entry.is_some_and(|entry| entry.isolation.is_none()),
                retiring: entry.is_none(),
            }
        };
        let mut infos: Vec<_> = self.running.values().map(info).collect();
        infos.sort_by_key(|info| info.circuit.id().0);
        infos
    }

    /// Every session that still runs.
    pub(super) fn all_sessions(&self) -> impl Iterator<Item = &ClientSession> {
        self.running.values().map(|circuit| &circuit.session)
    }
}
