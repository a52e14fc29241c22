//! What a pool holds, and which of it serves a request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::room::Room;
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
    /// When it was last given to somebody, or last seen to carry something.
    pub(super) used: Instant,
    /// Shared with every [`SessionHandle`] that was given out.
    pub(super) users: Arc<()>,
}

/// Keeps a circuit from counting as idle, for those it was built for.
pub(super) struct Hold {
    _user: Arc<()>,
}

/// What came of building a circuit that somebody waits for.
pub(super) type Built = Result<Arc<Hold>, PoolError>;

impl Entry {
    pub(super) fn handle(&mut self, now: Instant) -> SessionHandle {
        self.used = now;
        SessionHandle {
            session: self.session.clone(),
            circuit: self.circuit.clone(),
            _user: self.users.clone(),
        }
    }

    /// Has it count as used until what this returns is gone.
    pub(super) fn hold(&self) -> Arc<Hold> {
        let _user = self.users.clone();
        Arc::new(Hold { _user })
    }

    /// Flows that are open, or will be when everybody who holds a handle opens one.
    pub(super) fn flows(&self) -> usize {
        self.session
            .open_flows()
            .max(Arc::strong_count(&self.users) - 1)
    }

    /// Whether it keeps somebody apart from all others.
    pub(super) fn is_isolated(&self) -> bool {
        self.isolation.is_some_and(|key| key != IsolationKey::NONE)
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

/// A circuit that was up and is not over, whether or not it takes new flows: it takes places.
pub(super) struct Running {
    pub(super) session: ClientSession,
    pub(super) circuit: CircuitHandle,
    pub(super) born: Instant,
    /// Since when it takes none.
    pub(super) retired: Option<Instant>,
    /// Whether it is on its way to its end.
    pub(super) closing: bool,
}

/// How long a circuit that was retired without flows stays, for those who were given its
/// session just before and have not opened their flow yet. Guess.
const RETIRE_GRACE: Duration = Duration::from_secs(10);

type Building = HashMap<(IsolationKey, Want), watch::Receiver<Option<Built>>>;

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

    /// Circuits there are and will be. One that ends counts until its places are free.
    fn total(&self) -> usize {
        self.running.len() + self.building.len() + self.warming
    }

    /// Whether one more circuit may be built.
    pub(super) fn has_room(&self, config: &PoolConfig) -> bool {
        !self.closed && self.total() < config.max_circuits
    }

    /// Makes room for one more, at the expense of one that carries nothing: a warm one
    /// first, else the one longest unused.
    pub(super) fn make_room(&mut self, config: &PoolConfig) -> Room {
        if self.closed {
            return Room::None;
        }
        if self.total() < config.max_circuits {
            return Room::There;
        }
        let idle = self.longest_unused(|e| e.flows() == 0, |e| e.isolation.is_some());
        idle.map_or(Room::None, |entry| Room::After(self.close(entry)))
    }

    /// Of the circuits that fit: one with the lowest `rank`, and of those the one longest
    /// unused.
    pub(super) fn longest_unused<R: Ord>(
        &self,
        fits: impl Fn(&Entry) -> bool,
        rank: impl Fn(&Entry) -> R,
    ) -> Option<usize> {
        let fitting = self.entries.iter().enumerate().filter(|(_, e)| fits(e));
        let first = fitting.min_by_key(|(_, e)| (rank(e), e.used, e.born));
        first.map(|(entry, _)| entry)
    }

    /// Closes a circuit that nobody uses; gives it, so that its end can be waited for.
    pub(super) fn close(&mut self, entry: usize) -> CircuitHandle {
        let entry = self.entries.swap_remove(entry);
        entry.session.close();
        if let Some(running) = self.running.get_mut(&entry.circuit.id()) {
            running.closing = true;
        }
        entry.circuit
    }

    /// Closes circuits that keep somebody apart and carry nothing, the longest unused first,
    /// beyond those that may be kept.
    pub(super) fn bound_idle(&mut self, config: &PoolConfig) {
        let idle = |e: &Entry| e.is_isolated() && e.flows() == 0;
        let count = self.entries.iter().filter(|e| idle(e)).count();
        for _ in config.idle_isolated..count {
            if let Some(entry) = self.longest_unused(idle, |_| ()) {
                self.close(entry);
            }
        }
    }

    /// Drops circuits that have ended or are too old for new flows; those that carry
    /// nothing are closed, and so are idle ones beyond those that are kept.
    pub(super) fn prune(&mut self, now: Instant, config: &PoolConfig) {
        self.entries
            .retain(|e| e.is_alive() && now.duration_since(e.born) < config.lifetime);
        for entry in &mut self.entries {
            if entry.flows() > 0 {
                entry.used = now;
            }
        }
        self.bound_idle(config);
        let open: Vec<_> = self.entries.iter().map(|e| e.circuit.id()).collect();
        for (id, circuit) in &mut self.running {
            if circuit.closing || open.contains(id) {
                continue;
            }
            let since = *circuit.retired.get_or_insert(now);
            if circuit.session.open_flows() == 0 && now.duration_since(since) >= RETIRE_GRACE {
                circuit.session.close();
                circuit.closing = true;
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
        let running = self.running.values().filter(|running| !running.closing);
        let mut infos: Vec<_> = running.map(info).collect();
        infos.sort_by_key(|info| info.circuit.id().0);
        infos
    }

    /// Every session that still runs.
    pub(super) fn all_sessions(&self) -> impl Iterator<Item = &ClientSession> {
        self.running.values().map(|circuit| &circuit.session)
    }
}
