//! `/masq/cores/1`: circuits, cells, sessions and flows.
//!
//! A circuit is a loop of substreams: origin → relays → exit → relays → origin. This crate
//! knows circuits and bytes. It does not know which nodes exist, which route is a good
//! one, what anything costs, or what clients and servers say to each other.
//!
//! | where | what |
//! |---|---|
//! | [`behaviour`], [`control`] | negotiating substreams with neighbours over libp2p |
//! | [`node`], [`host`] | one node's share in circuits, and what it asks of its host |
//! | `paid` | what bills and pays for circuits has to be; exported by [`host`] |
//! | [`link`], [`keys`] | what a link may carry; onion keys and replay |
//! | [`frame`], [`flags`], [`report`], [`failure`] | what is on the wire |
//! | [`origin`] | building circuits and running them |
//! | `hop` | relaying and being the exit |
//! | [`cell`], [`close`] | the seam to sessions |
//! | [`session`], [`flow`] | the byte pipe on a circuit, and the flows in it |
//! | [`pool`] | warm circuits, isolation, another route where one fails |

mod account;
pub mod behaviour;
pub mod cell;
pub mod close;
pub mod control;
pub mod failure;
pub mod flags;
pub mod flow;
pub mod frame;
mod fused;
pub mod handler;
mod hop;
pub mod host;
pub mod keys;
pub mod limits;
pub mod link;
mod meter;
pub mod node;
pub mod origin;
mod paid;
pub mod pool;
pub mod report;
pub mod session;

pub use behaviour::Behaviour;
pub use cell::{CellBuf, CellPool, CircuitEnd, CircuitId, Leg, Side};
pub use close::CloseReason;
pub use control::{Control, PROTOCOL};
pub use failure::{CircuitFailure, FailureCode};
pub use host::{
    Asked, Carried, CircuitSummary, Duplex, ExitAcceptor, Gate, MAX_DETAIL, MAX_EXTRA, MAX_SLOT,
    Meter, Observer, OpenError, OpenGate, Opener, PaidHop, Payer, Paying, Refused, RngSource,
    Running, Seen, Served, Sight, Unpaid, Wire,
};
pub use keys::OnionPublics;
pub use link::LinkUse;
pub use masq_onion::{Authorisation, CellSize, NodeKey, OnionPublic, Role};
pub use node::{Config, Cores};
pub use origin::{CircuitHandle, LaunchError, Round, Route, RouteHop};
pub use pool::{
    IsolationKey, NoRoute, Outcome, Pool, PoolConfig, PoolError, RouteSource, SessionHandle, Want,
};
