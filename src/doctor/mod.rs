//! `masq doctor`: what is wrong with a node, and what to do about it, one
//! sentence each.
//!
//! | where | what |
//! |---|---|
//! | this file | what a report is; it travels over the control API |
//! | `judge` | facts in, findings out (pure) |
//! | `joining` | the same, for neighbours, routes and exits |
//! | `money` | the same, for payments |
//! | `look` | facts about this machine: data folder, open files, ports |
//! | `offline` | what can be said of a node that does not run |
//!
//! The facts of a running node come from `crate::node`. Nothing is asked of anybody outside the
//! mesh, except a name of the DNS servers that an exit uses anyway.

mod joining;
mod judge;
pub mod look;
mod money;
pub mod offline;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use masq_gossip::{ClockView, ReachOutcome, SeedFailure, Stage};
use serde::{Deserialize, Serialize};

use crate::config::Mode;
use crate::reach::MappingState;

pub use judge::judge;
pub(crate) use money::after as after_halt;
pub use money::{MoneyFacts, judge as judge_money};

/// What a finding is about, in the order of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Check {
    /// Whether a daemon runs.
    Daemon,
    /// The configuration.
    Configuration,
    /// This machine's clock.
    Clock,
    /// Addresses to listen on.
    Ports,
    /// The router, and the mapping there.
    Nat,
    /// Whether others can dial this node.
    Reachability,
    /// Where this node says that it is, and where others see it.
    Address,
    /// The neighbours.
    Neighbours,
    /// The entry link.
    EntryLink,
    /// The exits that are known.
    Exits,
    /// Whether there is a route.
    Route,
    /// The endpoints of the chain.
    Chain,
    /// The wallet that pays.
    ConsumingWallet,
    /// The wallet that is paid.
    EarningWallet,
    /// Whether payments are made.
    Payments,
    /// Whether rates, thresholds, limits and fees fit together.
    Terms,
    /// The DNS servers of an exit.
    Resolver,
    /// The data folder.
    DataFolder,
    /// The limit of open files.
    OpenFiles,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Daemon => "daemon",
            Self::Configuration => "configuration",
            Self::Clock => "clock",
            Self::Ports => "ports",
            Self::Nat => "router",
            Self::Reachability => "reachability",
            Self::Address => "address",
            Self::Neighbours => "neighbours",
            Self::EntryLink => "entry link",
            Self::Exits => "exits",
            Self::Route => "route",
            Self::Chain => "chain",
            Self::ConsumingWallet => "paying wallet",
            Self::EarningWallet => "earnings",
            Self::Payments => "payments",
            Self::Terms => "terms",
            Self::Resolver => "resolver",
            Self::DataFolder => "data folder",
            Self::OpenFiles => "open files",
        })
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing is wrong.
    Ok,
    /// It works, and something could be better, or is not known.
    Warning,
    /// Something does not work.
    Fault,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is about.
    pub check: Check,
    /// How bad it is.
    pub verdict: Verdict,
    /// What is: a sentence.
    pub what: String,
    /// What to do: a sentence. Absent when nothing needs to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    pub(crate) fn ok(check: Check, what: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Ok,
            what: what.into(),
            remedy: None,
        }
    }

    pub(crate) fn warning(
        check: Check,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            check,
            verdict: Verdict::Warning,
            what: what.into(),
            remedy: Some(remedy.into()),
        }
    }

    pub(crate) fn fault(check: Check, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Fault,
            ..Self::warning(check, what, remedy)
        }
    }
}

/// Answer to `GET /v1/doctor`, and what `masq doctor` shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Whether a daemon runs; when not, only this machine was looked at.
    pub running: bool,
    /// Version of the daemon, or of `masq` when none runs.
    pub version: String,
    /// How many faults there are.
    pub faults: u32,
    /// How many warnings.
    pub warnings: u32,
    /// Every check that could be made, in a fixed order.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Of these findings.
    #[must_use]
    pub fn new(running: bool, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| finding.check);
        let count = |verdict| {
            let of = findings.iter().filter(|finding| finding.verdict == verdict);
            u32::try_from(of.count()).unwrap_or(u32::MAX)
        };
        Self {
            running,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            faults: count(Verdict::Fault),
            warnings: count(Verdict::Warning),
            findings,
        }
    }
}

/// What a neighbour said of whether this node can be dialled.
#[derive(Clone)]
pub struct ReachFact {
    /// What it said.
    pub outcome: ReachOutcome,
    /// The ports it was asked for.
    pub asked: Vec<u16>,
    /// Those that answered.
    pub reached: Vec<u16>,
    /// Where it sees this node.
    pub seen: Option<IpAddr>,
}

/// What is known of a running node.
#[derive(Clone)]
pub struct Facts {
    /// Its mode.
    pub mode: Mode,
    /// Whether it is on the development chain, where all nodes may be on one machine.
    pub dev: bool,
    /// How long it has been running.
    pub uptime: Duration,
    /// Its clock beside those of its neighbours.
    pub clocks: Vec<ClockView>,
    /// Where it accepts others.
    pub listening: Vec<SocketAddr>,
    /// The machine's address, where it has a way out.
    pub local: Option<Ipv4Addr>,
    /// How it stands with the router.
    pub mapping: MappingState,
    /// The host that it tells others to dial.
    pub advertised: Option<String>,
    /// What a neighbour says.
    pub reach: Option<ReachFact>,
    /// Neighbours that dialled this node from a global address.
    pub dialled_from_outside: usize,
    /// Neighbours that dialled this node, from wherever.
    pub dialled: usize,
    /// Neighbours.
    pub neighbours: usize,
    /// Entry links of its own.
    pub entries: usize,
    /// Configured neighbours.
    pub seeds: usize,
    /// Past neighbours that it remembers.
    pub remembered: usize,
    /// Nodes that could not be joined, by the first characters of their keys, the latest first.
    pub attempts: Vec<(String, SeedFailure)>,
    /// How far joining has got.
    pub stage: Stage,
    /// Hops of circuits: as configured, and the least of them.
    pub hops: (String, usize),
    /// Nodes known.
    pub nodes: usize,
    /// Exits known.
    pub exits: usize,
    /// Of these, the ones that this node can use: all of them, unless it pays nobody.
    pub usable_exits: usize,
    /// Whether nodes are known that it can't use because it pays nobody.
    pub paid_nodes: bool,
    /// How long a name took to resolve, or why it did not; `None` where none was tried.
    pub resolver: Option<Result<Duration, String>>,
    /// The data folder.
    pub folder: look::Folder,
    /// Open files, and how many there may be.
    pub files: Option<look::Files>,
}

#[cfg(test)]
mod tests;
