//! `masq-testnet simulate`: questions about meshes of many nodes, answered in
//! this process and in virtual time. Each question has a folder of its own.
//! Not here: real processes (`network`).

pub mod anonymity;
pub mod gossip;

use std::io::Write;

use clap::Subcommand;

use crate::TestnetError;

/// The questions.
#[derive(Debug, Subcommand)]
pub enum Simulate {
    /// Nodes that join, die, come and go, are parted: does the mesh hold, and what does it cost
    Gossip(Box<gossip::args::GossipArgs>),
    /// How many origins a hop could suspect, and how many exits are in reach
    Anonymity(anonymity::Args),
}

/// Answers one.
///
/// # Errors
/// [`TestnetError::Options`] when the arguments make no sense,
/// [`TestnetError::Checks`] when targets are missed and were asked for.
pub fn run(what: &Simulate, out: &mut dyn Write) -> Result<(), TestnetError> {
    match what {
        Simulate::Gossip(args) => gossip::run(args, out),
        Simulate::Anonymity(args) => anonymity::run(args, out),
    }
}
