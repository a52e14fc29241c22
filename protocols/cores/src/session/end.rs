//! Why a session ended, and whose fault it was.

use std::sync::Arc;

use thiserror::Error;

use crate::CloseReason;

/// Why a session ended.
///
/// In every case but a clean close, it is not known how many of the bytes written last have reached the
/// other end.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum SessionEnd {
    /// This side closed it.
    #[error("closed here")]
    Local,
    /// The other side closed it.
    #[error("closed by the other side")]
    Peer,
    /// The circuit under it ended.
    #[error("the circuit ended: {0}")]
    Circuit(Arc<CloseReason>),
    /// The circuit under it ended, and did not say why.
    #[error("the circuit ended")]
    CircuitLost,
    /// The peer's fault: it broke the rules of the session.
    #[error("the other side broke the protocol: {0}")]
    Violation(SessionViolation),
    /// The peer's fault: it broke the rules of the multiplexer.
    #[error("the other side broke the protocol of flows: {0}")]
    Mux(Arc<str>),
    /// The peer's fault: it did not acknowledge for too long what this side keeps for it.
    #[error("the other side does not acknowledge")]
    Unacknowledged,
    /// The task that ran it is gone.
    #[error("the session was dropped")]
    Dropped,
}

impl SessionEnd {
    /// Whether one of the two sides meant it.
    pub fn is_clean(&self) -> bool {
        matches!(self, Self::Local | Self::Peer)
    }
}

/// How a peer broke the rules of the session. The session is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SessionViolation {
    /// A cell shorter than its header.
    #[error("a cell is too short")]
    Short,
    /// A kind of cell that does not exist.
    #[error("unknown kind of cell")]
    UnknownKind,
    /// A version of the protocol that this one does not know.
    #[error("unknown version")]
    UnknownVersion,
    /// A cell that has no place here: data before the opening, a second opening, one from the exit.
    #[error("a cell out of order")]
    Unexpected,
    /// Bytes are missing between this cell and the one before.
    #[error("bytes are missing")]
    Gap,
    /// It acknowledges bytes that were never sent.
    #[error("acknowledges what was not sent")]
    Ack,
    /// The exit sent more cells than the origin gave credit for.
    #[error("more cells than credit")]
    Credit,
    /// Data after the close.
    #[error("data after the close")]
    AfterClose,
    /// The proof that this is the same session does not hold, or was seen before.
    #[error("the proof of the session does not hold")]
    Proof,
    /// The bytes of one session ran past the counter.
    #[error("the byte counter is used up")]
    Overflow,
}
