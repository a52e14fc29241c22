//! The node: library `masq`, on which the daemon `masqd`, the command line
//! `masq` and programs of others stand.
//!
//! A request enters at [`entry`], gets a route from [`routing`], crosses the
//! mesh in a circuit (crate `masq-cores`) and leaves it at [`exit`] on another
//! node. [`ledger`] has the books of what is owed for it, [`chain`] pays it, and
//! [`wallet`] holds the keys; what has to outlive the daemon is in the [`store`]:
//! the ledger ([`books`]) and what the node remembers ([`safe`]).
//! [`node`] owns the libp2p Swarm and joins these parts; [`config`],
//! [`control`] and [`telemetry`] are what an operator sees of it.

mod billing;
pub mod books;
pub mod chain;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod datadir;
pub mod doctor;
pub mod entry;
pub mod exit;
pub mod ledger;
pub mod node;
pub mod pipe;
pub mod reach;
pub mod routing;
pub mod safe;
pub mod store;
pub mod telemetry;
pub mod wallet;
