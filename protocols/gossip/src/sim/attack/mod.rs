//! Attackers for the simulator: what somebody can learn, break or take over who
//! speaks the protocol as it suits them. Each is an [`Actor`](super::Actor); what
//! they share is behind one lock, because they are one person. Here is what an
//! attack reports; the attacks themselves:
//!
//! - [`harvest`]: to learn addresses, by debuts or by walks;
//! - [`insiders`]: to learn addresses by just being there;
//! - [`eclipse`]: to hold all links of honest nodes, of many or of a certain one;
//! - [`equivocate`]: to tell different nodes different things;
//! - [`flood`]: to use up what others have.
//!
//! Each attack is made beside a mesh that the caller built, and run in steps; after each
//! step the caller is asked what else happens (nodes that come and go, a progress bar).

mod band;
mod colluder;
pub mod eclipse;
pub mod equivocate;
pub mod flood;
pub mod harvest;
pub mod insiders;
mod speaker;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

pub use eclipse::{Eclipse, Links};
pub use equivocate::Equivocate;
pub use flood::Flood;
pub use harvest::{Harvest, Strength};
pub use insiders::Insiders;

use super::Sim;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A share, 0 to 1.
    Share,
    /// Things: nodes, links, records.
    Count,
    /// Seconds of virtual time.
    Seconds,
    /// Bytes per node and second.
    BytesPerSecond,
}

/// One thing that was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Its name in reports; lower case with underscores.
    pub name: &'static str,
    /// What it is, in words.
    pub text: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// The value.
    pub value: f64,
}

/// What came of an attack.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// What the attack is judged by, against the time since it began; which figure that is, says
    /// the attack.
    pub series: Vec<(Duration, f64)>,
    /// Everything else.
    pub figures: Vec<Figure>,
}

impl Report {
    /// The value of a figure.
    pub fn figure(&self, name: &str) -> Option<f64> {
        let found = self.figures.iter().find(|figure| figure.name == name);
        found.map(|figure| figure.value)
    }

    /// The last value of the series.
    pub fn last(&self) -> f64 {
        self.series.last().map_or(0.0, |(_, value)| *value)
    }

    fn add(&mut self, name: &'static str, unit: Unit, text: &'static str, value: f64) {
        self.figures.push(Figure {
            name,
            text,
            unit,
            value,
        });
    }
}

/// What is called after each step of an attack, with the length of the step.
pub type Between<'a> = &'a mut dyn FnMut(&mut Sim, Duration);

/// A public address for the `n`-th attacker, in a /24 of its own, far from those of nodes.
fn own_ip(n: usize) -> IpAddr {
    Ipv4Addr::from(0x3c00_0001u32 + ((n as u32) << 8)).into()
}

/// Runs in steps; `at` sees the time since the beginning after each.
fn run_steps(
    sim: &mut Sim,
    lasting: Duration,
    step: Duration,
    between: Between<'_>,
    mut at: impl FnMut(&mut Sim, Duration),
) {
    let begin = sim.now();
    while sim.now() < begin + lasting {
        let step = step.min(begin + lasting - sim.now());
        sim.run(step);
        between(sim, step);
        let since = sim.now() - begin;
        at(sim, since);
    }
}

/// `part` of `all`; 0 of none.
fn share(part: usize, all: usize) -> f64 {
    part as f64 / all.max(1) as f64
}

/// The value below which `share` of them are; 0 of none.
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    let at = (last as f64 * share).round() as usize;
    values.get(at).copied().unwrap_or(0.0)
}
