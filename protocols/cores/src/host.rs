//! What circuits ask of the node that they run in: streams, leave, and somebody to hand
//! their ends and their counts to.
//!
//! Every trait here is called from circuit tasks and must not block. Leave and payment are
//! in `paid`.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{AsyncRead, AsyncWrite};
use masq_onion::{Authorisation, NodeKey, Role};
use rand_chacha::ChaCha20Rng;

use crate::cell::{CircuitEnd, CircuitId, Leg};

pub use crate::paid::{
    Asked, Gate, MAX_DETAIL, MAX_EXTRA, MAX_SLOT, OpenGate, PaidHop, Payer, Paying, Refused,
    Running, Served, Unpaid, key_share,
};

/// A byte stream to a neighbour, whatever it is made of.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// One substream between two neighbours.
pub type Wire = Box<dyn Duplex>;

/// Why no stream to a neighbour could be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no connection to that node.
    #[error("not connected")]
    NotConnected,
    /// Too many requests are waiting on the connection.
    #[error("too many streams being opened")]
    Busy,
    /// The connection went away, or the peer does not speak the protocol.
    #[error("stream could not be opened")]
    Failed,
}

/// Opens substreams to neighbours.
pub trait Opener: Send + Sync {
    /// A new substream on which nothing was written yet. Dropping the future gives the
    /// request up. Nothing was sent to the neighbour's circuits when it fails.
    fn open(&self, to: &NodeKey) -> BoxFuture<'static, Result<Wire, OpenError>>;
}

/// Takes over the exit's end of circuits. A node without one is no exit.
pub trait ExitAcceptor: Send + Sync {
    /// A circuit ends here; its keys are exchanged. To be taken over by a task.
    fn accept(&self, end: CircuitEnd);
}

impl<F: Fn(CircuitEnd) + Send + Sync> ExitAcceptor for F {
    fn accept(&self, end: CircuitEnd) {
        self(end);
    }
}

/// Cells of one leg that a node has carried, and their body bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// Cells, of any size.
    pub cells: u64,
    /// Body bytes of those cells: what fits in them, as nobody but the ends knows what
    /// was in them.
    pub bytes: u64,
}

/// What a node carried for one circuit, told once it has ended.
#[derive(Debug, Clone)]
pub struct CircuitSummary {
    /// This node's name for the circuit.
    pub id: CircuitId,
    /// What this node was in it.
    pub role: Role,
    /// The payment authorisation that came with it; kind 0 at the origin.
    pub auth: Authorisation,
    /// Carried on the over leg.
    pub over: Carried,
    /// Carried on the back leg.
    pub back: Carried,
    /// Whether it ended in good order.
    pub clean: bool,
}

/// Is told what circuits carried.
pub trait Meter: Send + Sync {
    /// A circuit has begun. Each is told once, and once of its end.
    fn opened(&self, id: CircuitId, role: Role);

    /// A circuit has ended.
    fn closed(&self, summary: CircuitSummary);
}

/// What kind of bytes an observer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The set-up package as it came in.
    SetupIn,
    /// The set-up package as it went on.
    SetupOut,
    /// A cell as it came in.
    CellIn(Leg),
    /// The same cell as it went on, or as it was opened.
    CellOut(Leg),
}

/// Something that a hop saw go by.
pub struct Sight<'a> {
    /// The hop's name for the circuit.
    pub id: CircuitId,
    /// What it is in it.
    pub role: Role,
    /// The node before it.
    pub previous: NodeKey,
    /// The node after it.
    pub next: NodeKey,
    /// What kind of bytes.
    pub what: Seen,
    /// The bytes, kind byte of the frame included.
    pub bytes: &'a [u8],
}

/// Is shown what a hop sees of circuits: each set-up and the first few cells each way.
/// Only for the development chain: never give one to a node that carries people's traffic.
pub trait Observer: Send + Sync {
    /// Something went by.
    fn seen(&self, sight: &Sight<'_>);
}

/// Where random generators come from: called once per circuit, and for keys.
#[derive(Clone)]
pub struct RngSource(Arc<dyn Fn() -> ChaCha20Rng + Send + Sync>);

impl RngSource {
    /// From a function that returns a freshly seeded generator each time.
    pub fn new(make: impl Fn() -> ChaCha20Rng + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    /// A fresh generator.
    pub fn make(&self) -> ChaCha20Rng {
        (self.0)()
    }
}

impl fmt::Debug for RngSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RngSource").finish_non_exhaustive()
    }
}
