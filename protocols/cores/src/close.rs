//! Why a circuit ended, as its two ends see it.
//!
//! What a hop says on the wire about a failure is in [`failure`](crate::failure).

use std::io;

use crate::failure::{CircuitFailure, FailureCode};

/// Why a circuit ended.
///
/// Whatever the reason: cells that were given to the circuit may or may not have reached
/// the other end. Only the session above knows what was acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This end closed it.
    #[error("closed by this end")]
    Local,
    /// The other end closed it, or a hop went away without saying so: seen from an exit
    /// the two cannot be told apart.
    #[error("closed by the other end")]
    Remote,
    /// A hop reported a failure. At the origin only.
    #[error(transparent)]
    Failed(CircuitFailure),
    /// The circuit broke and no hop said why within the time that it had for it.
    #[error("broke at the origin's own link ({0})")]
    Broken(io::ErrorKind),
    /// A back-leg cell was changed on its way.
    #[error("a cell was changed on the back leg")]
    Tampered,
    /// The other end, or a neighbour, broke the rules of the protocol.
    #[error("protocol violated: {0}")]
    Protocol(&'static str),
    /// The set-up did not come home in time.
    #[error("set-up did not come home in time")]
    SetupTimeout,
    /// A report round did not come home in time: some hop has gone silent.
    #[error("no sign of life from the circuit")]
    Silent,
    /// Nothing moved on the circuit for so long that it was given up.
    #[error("idle")]
    Idle,
    /// The cell counter of the circuit is used up.
    #[error("cell counter used up")]
    Exhausted,
    /// This node gave it up by a decision of its own, in good order where it is the origin
    /// ([`Running::end`](crate::Running::end)).
    #[error("given up by this node: {0}")]
    GivenUp(FailureCode),
    /// This node is stopping, or the neighbour that the circuit ran over is one no more.
    #[error("link or node shut down")]
    Shutdown,
}

impl CloseReason {
    /// Whether the circuit ended because one of its two ends wanted it to.
    pub fn is_clean(&self) -> bool {
        matches!(self, Self::Local | Self::Remote)
    }
}
