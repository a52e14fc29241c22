//! Why a flow could not be opened, or ended. What went wrong with a single read or write is an
//! `io::Error` of [`super::FlowStream`].

use thiserror::Error;

use super::{FlowReply, MAX_FLOWS, MessageError};
use crate::session::SessionEnd;

/// Why a flow could not be opened.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum FlowError {
    /// The caller's: the request cannot be written (a name too long, port 0).
    #[error("the request cannot be sent: {0}")]
    BadRequest(MessageError),
    /// Transient, and nothing was sent: this session carries [`MAX_FLOWS`] flows already. Try another
    /// circuit.
    #[error("the session carries {MAX_FLOWS} flows already, try another circuit")]
    TooManyFlows,
    /// The exit answered, and the answer is no. Nothing is known to have reached the server unless the
    /// status says so.
    #[error("{}", .0.status)]
    Refused(Box<FlowReply>),
    /// The exit reset the flow without an answer. It is not known whether it had reached the server.
    #[error("the exit reset the flow before it answered")]
    Reset,
    /// The exit did not answer in time. It is not known whether it had reached the server.
    #[error("the exit did not answer in time")]
    NoReply,
    /// The peer's: its answer is not one.
    #[error("the exit sent a bad reply: {0}")]
    BadReply(MessageError),
    /// The session ended. If that was after the request was sent, it is not known whether it had
    /// reached the server.
    #[error("the session ended: {0}")]
    SessionEnded(SessionEnd),
}

impl FlowError {
    /// Whether it is certain that nothing reached the server, so that the request may safely be made
    /// again through another exit.
    pub fn is_safe_to_retry(&self) -> bool {
        match self {
            Self::TooManyFlows => true,
            Self::Refused(reply) => reply.status.is_retryable_elsewhere(),
            _ => false,
        }
    }
}
