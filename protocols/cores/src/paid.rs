//! What circuits ask of whoever bills and pays: leave to serve, what to put into reports,
//! and what was carried in the end. Nothing here knows what anything costs.
//!
//! Every trait here is called from circuit tasks and must not block.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use masq_onion::{Authorisation, CellSize, NodeKey, REPORT_PAYLOAD, Role};
use tokio_util::sync::CancellationToken;

use crate::cell::{CircuitId, Leg};
use crate::failure::FailureCode;
use crate::host::Carried;
use crate::meter::Counters;
use crate::report;

/// Most bytes that a hop may add to a failure code, for the origin only.
pub const MAX_DETAIL: usize = 32;

/// Most bytes of [`Served::say`]: what the counts leave free in a hop's slot of a report.
pub const MAX_EXTRA: usize = REPORT_PAYLOAD - report::FIXED;

/// Most bytes of [`Paying::say`]: the slot that an origin fills for a hop.
pub const MAX_SLOT: usize = REPORT_PAYLOAD;

/// Somebody asks this node to serve in a circuit.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The node before: a neighbour, and maybe the origin.
    pub from: &'a NodeKey,
    /// The node after.
    pub next: Option<&'a NodeKey>,
    /// What this node is to be.
    pub role: Role,
    /// The payment authorisation.
    pub auth: &'a Authorisation,
    /// The ephemeral key that the package has for this hop, exactly as it was transmitted:
    /// what an authorisation is bound to.
    pub ephemeral: &'a [u8; 32],
}

/// This node does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What the origin is told. [`FailureCode::Ended`] is said as [`FailureCode::Refused`].
    pub code: FailureCode,
    /// Told to the origin behind the code, sealed as that is; at most [`MAX_DETAIL`] bytes,
    /// or it is left out.
    pub detail: Vec<u8>,
}

impl From<FailureCode> for Refused {
    fn from(code: FailureCode) -> Self {
        Self {
            code,
            detail: Vec::new(),
        }
    }
}

/// Decides whether this node serves in a circuit. Asked once per circuit, never per cell.
pub trait Gate: Send + Sync {
    /// Whether to serve.
    ///
    /// # Errors
    /// What the origin is told.
    fn admit(&self, asked: &Asked<'_>) -> Result<Arc<dyn Served>, Refused>;
}

/// Serves whatever asks, in any role, with any authorisation: for tests and for chain `dev`.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenGate;

impl Gate for OpenGate {
    fn admit(&self, _: &Asked<'_>) -> Result<Arc<dyn Served>, Refused> {
        Ok(Arc::new(()))
    }
}

/// One circuit that this node serves in. Where it is dropped without [`begun`](Self::begun),
/// the circuit never came about.
pub trait Served: Send + Sync {
    /// The next node has the set-up. Called once.
    fn begun(&self, _running: Running) {}

    /// What the origin put into this hop's slot of a report frame; never empty, at most
    /// [`MAX_SLOT`] bytes.
    fn heard(&self, _slot: &[u8]) {}

    /// What this hop tells the origin in the same frame, asked for after
    /// [`heard`](Self::heard). More than [`MAX_EXTRA`] bytes are left out.
    fn say(&self) -> Vec<u8> {
        Vec::new()
    }

    /// The circuit has ended; called once, if it had begun. `clean`: the origin said that it
    /// has received everything, so its counts are these, unless a hop between changed them.
    fn ended(&self, _over: Carried, _back: Carried, _clean: bool) {}
}

impl Served for () {}

/// What the exit's key share, the first cell of the back leg, counts as.
pub fn key_share() -> Carried {
    Carried {
        cells: 1,
        bytes: Leg::Back.capacity(CellSize::Medium) as u64,
    }
}

/// A hop of one of this node's own circuits that is to be paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaidHop {
    /// Its node key.
    pub node: NodeKey,
    /// What it is in the circuit: the exit charges otherwise than relays.
    pub role: Role,
}

/// Why a circuit cannot be paid for: a sentence for the log and the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unpaid(pub String);

/// Pays for this node's own circuits.
pub trait Payer: Send + Sync {
    /// A circuit over these hops is about to be built: those of the over leg in the order of
    /// travel, the exit being the last of them, then the back relays.
    ///
    /// # Errors
    /// It cannot be paid for, and so is not built.
    fn open(&self, hops: &[PaidHop]) -> Result<Arc<dyn Paying>, Unpaid>;
}

/// One of this node's own circuits, paid for. Hops are counted as in [`Payer::open`]. Where
/// it is dropped without [`begun`](Self::begun), the set-up was not sent.
pub trait Paying: Send + Sync {
    /// The authorisation for a hop, bound to the ephemeral key that this circuit has for it.
    /// Called once for each hop, before everything else.
    fn authorise(&self, hop: usize, ephemeral: &[u8; 32]) -> Authorisation;

    /// The set-up was sent. Called once.
    fn begun(&self, running: Running);

    /// What the hop told in a report round ([`HopReport::extra`](crate::report::HopReport));
    /// never empty, at most [`MAX_EXTRA`] bytes.
    fn heard(&self, hop: usize, slot: &[u8]);

    /// What to tell the hop in the round that starts now. More than [`MAX_SLOT`] bytes are
    /// left out.
    fn say(&self, hop: usize) -> Vec<u8>;

    /// The hop refused the circuit or gave it up. `detail`, at most [`MAX_DETAIL`] bytes,
    /// was sealed by it; in front of the first hop's plain refusals there is none.
    fn refused(&self, hop: usize, code: FailureCode, detail: &[u8]);

    /// The circuit failed before it had come home: only the first `reached` hops have served in
    /// it. Where the exit is one of them it has sent its key share, [`key_share`] on the back
    /// leg, which did not come home. Called at most once, before [`ended`](Self::ended).
    fn half_built(&self, _reached: usize) {}

    /// The circuit has ended; called once, if it had begun. `clean`: every hop said in a last
    /// round that it counted the same.
    fn ended(&self, over: Carried, back: Carried, clean: bool);
}

struct Shared {
    id: CircuitId,
    counters: Arc<Counters>,
    given_up: OnceLock<Refused>,
    wake: CancellationToken,
    over: AtomicBool,
}

/// A circuit that runs, at a hop or at its origin. Cloning gives another handle; a handle
/// does not keep the circuit alive.
#[derive(Clone)]
pub struct Running(Arc<Shared>);

impl Running {
    pub(crate) fn new(id: CircuitId, counters: Arc<Counters>) -> Self {
        Self(Arc::new(Shared {
            id,
            counters,
            given_up: OnceLock::new(),
            wake: CancellationToken::new(),
            over: AtomicBool::new(false),
        }))
    }

    /// A handle of no circuit, that has carried nothing: for tests of what holds handles.
    pub fn detached(id: CircuitId) -> Self {
        Self::new(id, Arc::default())
    }

    /// Counts a cell as the task of a circuit would: for tests of what holds handles.
    pub fn count(&self, leg: Leg, size: CellSize) {
        self.0.counters.count(leg, size);
    }

    /// This node's name for the circuit.
    pub fn id(&self) -> CircuitId {
        self.0.id
    }

    /// What this node has carried on a leg so far.
    pub fn carried(&self, leg: Leg) -> Carried {
        self.0.counters.carried(leg)
    }

    /// Ends the circuit, by this node's decision, within moments. A hop seals the code for
    /// the origin; an origin ends it in good order, with
    /// [`CloseReason::GivenUp`](crate::CloseReason::GivenUp). [`FailureCode::Ended`] is for
    /// exits to say, and is said as [`FailureCode::Refused`]. The first call counts.
    pub fn end(&self, why: impl Into<Refused>) {
        let Refused { code, detail } = why.into();
        let code = code.of_hop();
        let _ = self.0.given_up.set(Refused { code, detail });
        self.0.wake.cancel();
    }

    /// Whom to call when a mark is reached ([`set_mark`](Self::set_mark)), from the task that
    /// carries the cells: it must be quick. The first one stays.
    pub fn call_at_marks(&self, call: impl Fn() + Send + Sync + 'static) {
        self.0.counters.call_at_marks(call);
    }

    /// Sets a mark at so many body bytes, both legs together. The cell that is counted at or
    /// beyond it causes one call; what is carried meanwhile is that cell.
    pub fn set_mark(&self, bytes: u64) {
        self.0.counters.set_mark(bytes);
    }

    /// The code that [`end`](Self::end) was called with.
    pub fn given_up(&self) -> Option<FailureCode> {
        self.0.given_up.get().map(|why| why.code)
    }

    /// Whether the circuit has ended, and its counts change no more.
    pub fn is_over(&self) -> bool {
        self.0.over.load(Relaxed)
    }

    /// Waits until somebody ends it.
    pub(crate) async fn to_end(&self) -> FailureCode {
        self.0.wake.cancelled().await;
        self.given_up().unwrap_or(FailureCode::Refused)
    }

    /// What [`end`](Self::end) had to say beside its code.
    pub(crate) fn detail(&self) -> Vec<u8> {
        let why = self.0.given_up.get();
        why.map_or_else(Vec::new, |why| why.detail.clone())
    }

    pub(crate) fn set_over(&self) {
        self.0.over.store(true, Relaxed);
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("id", &self.0.id)
            .field("over", &self.is_over())
            .finish_non_exhaustive()
    }
}

/// `what`, or nothing where it is too long for its place.
pub(crate) fn bounded(what: Vec<u8>, most: usize, place: &'static str) -> Vec<u8> {
    if what.len() <= most {
        return what;
    }
    tracing::debug!(len = what.len(), most, place, "left out, as it is too long");
    Vec::new()
}
