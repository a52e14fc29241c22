//! The handle by which circuits, the chain and the behaviour share one node's books.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::key::CircuitRef;
use crate::message::Message;
use crate::state::{Input, Machine, Now, Output, Party};

/// Where the time comes from.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// The system's clocks.
pub fn system_clock() -> Clock {
    let start = Instant::now();
    Arc::new(move || Now {
        mono: start.elapsed(),
        unix: unix_time(),
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "here the clock comes in; the machine is told the time"
)]
fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

struct Inner {
    machine: Mutex<Machine>,
    clock: Clock,
    waker: Mutex<Option<Waker>>,
}

/// One node's books. Cloning gives another handle to the same ones.
///
/// The lock is held for one input at a time: a receipt that is signed or verified, 160 µs, is the
/// longest of them. So circuit tasks may call it.
#[derive(Clone)]
pub struct Settlement(Arc<Inner>);

impl Settlement {
    /// Shares a machine.
    pub fn new(machine: Machine, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            machine: Mutex::new(machine),
            clock,
            waker: Mutex::new(None),
        }))
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        // Nothing in the machine panics half way through an account.
        self.0
            .machine
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the books, and has the behaviour look at what came of it.
    pub fn with<R>(&self, act: impl FnOnce(&mut Machine, Now) -> R) -> R {
        let now = self.now();
        let result = act(&mut self.machine(), now);
        self.wake();
        result
    }

    /// Something happened.
    pub fn handle(&self, input: Input) {
        self.with(|machine, now| machine.handle(now, input));
    }

    /// Bytes that a party put into its slot of a report frame. Empty ones, and kinds that this
    /// version does not know, say nothing.
    pub fn hear_slot(&self, from: Party, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match Message::decode(bytes) {
            Ok(message) => self.handle(Input::Heard { from, message }),
            Err(error) => tracing::debug!(%error, "slot of a report frame not understood"),
        }
    }

    /// What to put into a party's slot of the next report frame of a circuit; may be empty.
    pub fn say_slot(&self, to: &Party, circuit: &CircuitRef) -> Vec<u8> {
        self.with(|machine, now| machine.say(now, to, Some(circuit)))
            .map_or_else(Vec::new, |message| message.encode())
    }

    /// The next thing to do, if any. The behaviour asks; a node that runs without one asks
    /// itself.
    pub fn poll_output(&self) -> Option<Output> {
        self.machine().poll_output()
    }

    /// Does what is due, and says when to come again.
    pub(crate) fn tick(&self) -> Option<Duration> {
        let now = self.now();
        let mut machine = self.machine();
        if machine.poll_timeout().is_some_and(|due| due <= now.mono) {
            machine.on_timeout(now);
        }
        machine.poll_timeout()
    }

    pub(crate) fn now(&self) -> Now {
        (self.0.clock)()
    }

    pub(crate) fn set_waker(&self, waker: &Waker) {
        let mut slot = self.0.waker.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(waker.clone());
    }

    fn wake(&self) {
        let mut slot = self.0.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waker) = slot.take() {
            waker.wake();
        }
    }
}

impl fmt::Debug for Settlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settlement").finish_non_exhaustive()
    }
}
