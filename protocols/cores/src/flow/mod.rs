//! Flows: many independent byte streams inside one session.
//!
//! A **flow** is one TCP connection, UDP association, lookup or service call. At the origin,
//! [`ClientSession`] opens them; at the exit, [`accept`] hands each to a [`FlowHandler`]. Both sides end
//! up with a [`FlowStream`]: bytes both ways, half-close, and a reset that is never taken for an end.
//!
//! Here is how flows share a session, begin and end. What a session is lies in [`crate::session`]; what
//! a target is, and who may reach it, is the caller's business.
//!
//! `yamux` does the multiplexing. Around it, this module adds what yamux alone does not give: an end of
//! stream that is told from a reset in every state (`frame.rs`), a bound on what unread flows hold
//! (`held.rs`), writes that are gathered into full cells, and no way to lock when both ends are full
//! (`mux.rs`).

mod client;
mod error;
mod exit;
mod frame;
mod held;
mod message;
mod mux;
mod stream;
mod wire;

pub use client::{ClientDriver, ClientSession, OpenedFlow};
pub use error::FlowError;
pub use exit::{FlowHandler, InboundFlow, SessionInfo, accept};
pub use message::{
    FlowReply, FlowRequest, FlowStatus, Host, MAX_ADDRESSES, MAX_DETAIL, MAX_MESSAGE, MAX_NAME,
    MAX_NAMES, MAX_SERVICE, MessageError, Want,
};
pub use mux::MAX_FLOWS;
pub use stream::FlowStream;
