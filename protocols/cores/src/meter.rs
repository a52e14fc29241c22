//! Counting what a circuit carries, noticing that it stands still, and showing the first
//! of it to an observer. What is owed for it is counted elsewhere.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use masq_onion::{CellSize, NodeKey, Role};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::cell::{CircuitId, Leg};
use crate::host::{Carried, Observer, Seen, Sight};
use crate::limits::{IDLE_LIMIT, OBSERVED_CELLS, STALL_LIMIT, WATCH_EVERY};

#[derive(Debug, Default)]
struct Tally {
    cells: AtomicU64,
    bytes: AtomicU64,
}

/// Counters of one circuit at one node.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    over: Tally,
    back: Tally,
    control: AtomicU64,
    /// Set while a cell waits for the next stream to take it.
    blocked: [AtomicBool; 2],
    mark: Mark,
}

/// Body bytes of both legs at which somebody is called, once.
struct Mark {
    at: AtomicU64,
    call: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Default for Mark {
    fn default() -> Self {
        Self {
            at: AtomicU64::new(u64::MAX),
            call: OnceLock::new(),
        }
    }
}

impl std::fmt::Debug for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Mark").field(&self.at).finish()
    }
}

/// Why a circuit is to be given up without anything having happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standstill {
    Idle,
    Stalled,
}

impl Counters {
    fn tally(&self, leg: Leg) -> &Tally {
        match leg {
            Leg::Over => &self.over,
            Leg::Back => &self.back,
        }
    }

    /// A valid cell was carried.
    pub(crate) fn count(&self, leg: Leg, size: CellSize) {
        let tally = self.tally(leg);
        tally.cells.fetch_add(1, Relaxed);
        tally.bytes.fetch_add(leg.capacity(size) as u64, Relaxed);
        let at = self.mark.at.load(Relaxed);
        if at != u64::MAX && self.bytes() >= at {
            self.reached(at);
        }
    }

    fn bytes(&self) -> u64 {
        let of = |tally: &Tally| tally.bytes.load(Relaxed);
        of(&self.over).saturating_add(of(&self.back))
    }

    /// Calls whoever waits for the mark; the two legs may come to it at the same time.
    fn reached(&self, at: u64) {
        let mark = &self.mark.at;
        let first = mark.compare_exchange(at, u64::MAX, Relaxed, Relaxed);
        if let (Ok(_), Some(call)) = (first, self.mark.call.get()) {
            call();
        }
    }

    /// Whom to call at marks. The first one stays.
    pub(crate) fn call_at_marks(&self, call: impl Fn() + Send + Sync + 'static) {
        let _ = self.mark.call.set(Box::new(call));
    }

    /// Sets the mark to so many body bytes, both legs together; the next cell that is counted at
    /// or beyond it causes the call.
    pub(crate) fn set_mark(&self, bytes: u64) {
        self.mark.at.store(bytes, Relaxed);
    }

    /// A report frame was passed on.
    pub(crate) fn count_control(&self) {
        self.control.fetch_add(1, Relaxed);
    }

    /// Whether a cell of `leg` is waiting for the next stream.
    pub(crate) fn set_blocked(&self, leg: Leg, blocked: bool) {
        self.blocked[leg as usize].store(blocked, Relaxed);
    }

    /// What was carried on a leg so far.
    pub(crate) fn carried(&self, leg: Leg) -> Carried {
        let tally = self.tally(leg);
        Carried {
            cells: tally.cells.load(Relaxed),
            bytes: tally.bytes.load(Relaxed),
        }
    }

    fn moved(&self) -> [u64; 3] {
        [
            self.over.cells.load(Relaxed),
            self.back.cells.load(Relaxed),
            self.control.load(Relaxed),
        ]
    }

    /// Returns once the circuit has stood still for too long; idleness counts only where
    /// `idle` is set.
    pub(crate) async fn standstill(&self, idle: bool) -> Standstill {
        let mut tick = interval(WATCH_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = self.moved();
        let (mut any, mut cells) = (Instant::now(), Instant::now());
        loop {
            let now = tick.tick().await;
            let moved = self.moved();
            let blocked = self.blocked.iter().any(|b| b.load(Relaxed));
            if moved != last {
                any = now;
            }
            if moved[..2] != last[..2] || !blocked {
                cells = now;
            }
            last = moved;
            if now.duration_since(cells) >= STALL_LIMIT {
                return Standstill::Stalled;
            }
            if idle && now.duration_since(any) >= IDLE_LIMIT {
                return Standstill::Idle;
            }
        }
    }
}

/// What an observer, if there is one, is shown of a circuit.
pub(crate) struct Tap {
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) id: CircuitId,
    pub(crate) role: Role,
    pub(crate) previous: NodeKey,
    pub(crate) next: NodeKey,
    /// Cells shown so far as they came in, and as they went out.
    pub(crate) shown: [AtomicU32; 2],
}

impl Tap {
    /// Shows bytes that went by.
    pub(crate) fn show(&self, what: Seen, bytes: &[u8]) {
        let Some(observer) = &self.observer else {
            return;
        };
        let shown = match what {
            Seen::CellIn(_) => Some(&self.shown[0]),
            Seen::CellOut(_) => Some(&self.shown[1]),
            Seen::SetupIn | Seen::SetupOut => None,
        };
        if shown.is_some_and(|shown| shown.fetch_add(1, Relaxed) >= OBSERVED_CELLS) {
            return;
        }
        observer.seen(&Sight {
            id: self.id,
            role: self.role,
            previous: self.previous,
            next: self.next,
            what,
            bytes,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_called_once_each_time_it_is_set() {
        let counters = Counters::default();
        let calls = Arc::new(AtomicU32::new(0));
        let heard = Arc::clone(&calls);
        counters.call_at_marks(move || {
            heard.fetch_add(1, Relaxed);
        });
        let carry = |leg| {
            counters.count(leg, CellSize::Large);
            calls.load(Relaxed)
        };
        assert_eq!(carry(Leg::Over), 0, "no mark yet");
        let over = Leg::Over.capacity(CellSize::Large) as u64;
        counters.set_mark(over + 1);
        assert_eq!(carry(Leg::Back), 1, "both legs count");
        assert_eq!(carry(Leg::Back), 1);
        counters.set_mark(0);
        assert_eq!(carry(Leg::Over), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_circuits_and_blocked_ones_are_noticed() {
        let counters = Counters::default();
        let start = Instant::now();
        assert_eq!(counters.standstill(true).await, Standstill::Idle);
        assert!(start.elapsed() >= IDLE_LIMIT && start.elapsed() < IDLE_LIMIT + 2 * WATCH_EVERY);

        let start = Instant::now();
        counters.set_blocked(Leg::Back, true);
        assert_eq!(counters.standstill(false).await, Standstill::Stalled);
        assert!(start.elapsed() >= STALL_LIMIT && start.elapsed() < STALL_LIMIT + 2 * WATCH_EVERY);
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_moves_is_neither() {
        let counters = Counters::default();
        counters.set_blocked(Leg::Over, true);
        let busy = async {
            for _ in 0..100 {
                tokio::time::sleep(WATCH_EVERY).await;
                counters.count(Leg::Over, CellSize::Large);
            }
        };
        tokio::select! {
            biased;
            () = busy => {}
            end = counters.standstill(true) => panic!("{end:?}"),
        }
        let carried = counters.carried(Leg::Over);
        assert_eq!(
            (carried.cells, carried.bytes),
            (100, 100 * Leg::Over.capacity(CellSize::Large) as u64)
        );
    }
}
