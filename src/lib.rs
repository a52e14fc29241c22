//! The node: library `masq`, on which the daemon `masqd`, the command line
//! `masq` and programs of others stand.
//!
//! A request enters at [`entry`], gets a route from [`routing`], crosses the
//! mesh in a circuit (crate `masq-cores`) and leaves it at [`exit`] on another
//! node. What has to outlive the daemon is in the [`store`], and who pays and is paid in [`wallet`]. [`node`] owns the libp2p Swarm and joins these parts; [`config`],
//! [`control`] and [`telemetry`] are what an operator sees of it.

pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod datadir;
pub mod doctor;
pub mod entry;
pub mod exit;
pub mod node;
pub mod pipe;
pub mod reach;
pub mod routing;
pub mod store;
pub mod telemetry;
pub mod wallet;
