//! A whole mesh on one machine: library behind the binary `masq-testnet` and
//! its tests.
//!
//! [`plan`] works out what a testnet will look like, [`process`] starts and
//! ends `masqd` processes, [`network`] holds a running testnet together,
//! [`state`] remembers it for later commands, [`client`] asks its nodes,
//! [`web`] is a destination and [`fetch`] a client; [`between`] parts nodes from each
//! other. [`demo`], [`mod@bench`], [`stress`], [`attack`] and [`soak`] are built from these;
//! [`container`] is the counterpart for Docker. [`simulate`] needs no processes: it
//! runs the pure machines in virtual time. [`devchain`] is a chain to pay on, and [`money`] a mesh that pays. How the
//! mesh itself works is not here but in the crate `masq` and below.

pub mod args;
pub mod attack;
pub mod bench;
pub mod between;
pub mod client;
pub mod commands;
pub mod container;
pub mod demo;
pub mod devchain;
pub mod download;
pub mod error;
pub mod fetch;
pub mod keys;
pub mod money;
pub mod network;
pub mod plan;
pub mod process;
pub mod report;
pub mod simulate;
pub mod soak;
pub mod state;
pub mod stress;
pub mod survey;
pub mod typed;
pub mod usage;
pub mod web;

pub use error::TestnetError;
pub use network::Testnet;
pub use plan::{Options, Program, Role, WaitFor};
