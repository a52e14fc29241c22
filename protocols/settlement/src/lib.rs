//! `/masq/settlement/1`: what a payer authorises, what a hop states, what both agree on.
//!
//! This crate knows promises, amounts and signatures. It does not know routes, packages or the
//! chain: what circuits carried and what the chain shows is told to it, and what it decides is
//! told to its host.
//!
//! | where | what |
//! |---|---|
//! | [`auth`], [`eip712`] | the authorisation in a set-up package; signatures |
//! | [`rates`], [`refusal`], [`key`] | prices, reasons, names |
//! | [`message`] | what is on the wire, in circuits and on direct links |
//! | [`state`] | the books of both sides as a pure machine |
//! | [`behaviour`], [`handler`], [`shared`] | the same over libp2p, and the handle that circuits use |
//!
//! The protocol is specified in `docs/spec/settlement.md`.

pub mod auth;
pub mod behaviour;
mod bucket;
mod codec;
pub mod eip712;
pub mod handler;
pub mod key;
pub mod message;
pub mod rates;
pub mod refusal;
pub mod shared;
pub mod state;
#[cfg(test)]
#[path = "../tests/wallet/mod.rs"]
#[expect(
    unreachable_pub,
    reason = "it is a module of the integration tests too"
)]
mod testing;

pub use auth::{AUTH_LEN, HopView, KIND_NONE, KIND_ROUTE_AUTH, RouteAuth, SignedAuth, Verified};
pub use behaviour::Behaviour;
pub use eip712::{CanonicalSignature, Domain, SIGNATURE_LEN, SignError, Signer};
pub use key::{CircuitId, CircuitRef, NodeKey};
pub use message::{
    Envelope, Message, NoticeAnswer, PaymentNotice, PaymentState, Question, Receipt, Statement,
};
pub use rates::{Carried, RatePack, Service, Usage, Wei};
pub use refusal::{Reason, Refusal};
pub use shared::Settlement;
pub use state::{Config, Event, Input, Machine, Now, Output, Party, Terms};
