//! What happens to a mesh, and what is measured of it. Every scenario begins
//! with `join`; the other files go on from a mesh at rest. None knows the
//! engine: they see a [`World`].

mod attack;
mod churn;
mod join;
mod kill;
mod partition;

use std::time::Duration;

use serde::Serialize;

pub use attack::{Attack, BandLinks, Manner, When};

use super::args::Plan;
use super::measure::{Measures, Unit};
use super::progress::Meter;
use super::stats::{percentile, sorted};
use super::units::{Rate, Share, Span};
use super::world::World;

/// One second of virtual time.
const SECOND: Duration = Duration::from_secs(1);

/// What happens to a mesh once it is at rest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "name")]
pub enum Scenario {
    /// Nothing.
    Join,
    /// A share dies at one instant.
    Kill {
        /// How many.
        share: Share,
    },
    /// Nodes leave, and as many join.
    Churn {
        /// How many.
        rate: Rate,
        /// For how long.
        lasting: Span,
    },
    /// Two halves are parted and joined again.
    Partition {
        /// For how long they are parted.
        lasting: Span,
    },
    /// Some nodes mean ill.
    Attack {
        /// How.
        attack: Attack,
        /// How a band goes about it.
        #[serde(skip_serializing_if = "Option::is_none")]
        manner: Option<Manner>,
        /// For how long.
        lasting: Span,
    },
}

impl Scenario {
    /// Its name in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Kill { .. } => "kill",
            Self::Churn { .. } => "churn",
            Self::Partition { .. } => "partition",
            Self::Attack { .. } => "attack",
        }
    }

    /// What happens, in words.
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::Join => "nothing happens".to_owned(),
            Self::Kill { share } => format!("{share} die at one instant, unnoticed"),
            Self::Churn { rate, lasting } => {
                format!("{rate} leave (half of them without a word) and join, for {lasting}")
            }
            Self::Partition { lasting } => format!("two halves are parted for {lasting}"),
            Self::Attack {
                attack,
                manner: Some(manner),
                lasting,
            } => format!("{attack}: attackers, {manner}; for {lasting}"),
            Self::Attack {
                attack, lasting, ..
            } => format!("{attack} for {lasting}"),
        }
    }

    /// Whether attackers are there while the nodes join.
    #[must_use]
    pub fn besets_growth(&self) -> bool {
        let grown = |manner: &Manner| manner.when == When::Growth;
        matches!(self, Self::Attack { manner: Some(manner), .. } if grown(manner))
    }

    /// Virtual time that a run takes, at most.
    #[must_use]
    pub fn time(&self, plan: &Plan) -> Duration {
        let then = match self {
            Self::Join => Duration::ZERO,
            Self::Kill { .. } => kill::WATCHED,
            Self::Churn { lasting, .. } => lasting.get(),
            Self::Attack { lasting, .. } => lasting.get() + self.band_joins(),
            Self::Partition { lasting } => lasting.get() + partition::WATCHED,
        };
        plan.over.get() + plan.rest.get() + then
    }

    /// How long a band takes to join a mesh at rest.
    fn band_joins(&self) -> Duration {
        match self {
            Self::Attack {
                manner: Some(manner),
                ..
            } if manner.when == When::Rest => attack::BAND_JOINS,
            _ => Duration::ZERO,
        }
    }
}

/// What one run measured.
#[derive(Debug, Clone, PartialEq)]
pub struct RunResult {
    /// Of joining and resting.
    pub join: Measures,
    /// Of what happened then; `None` when nothing did.
    pub then: Option<Measures>,
}

/// Does one run.
pub fn run(seed: u64, nodes: usize, plan: Plan, scenario: Scenario, meter: &Meter) -> RunResult {
    let mut world = World::new(seed, nodes, plan, meter);
    if let Scenario::Attack { attack, manner, .. } = scenario {
        attack::prepare(&mut world, attack, manner.unwrap_or_default());
    }
    let join = join::run(&mut world);
    let then = match scenario {
        Scenario::Join => None,
        Scenario::Kill { share } => Some(kill::run(&mut world, share)),
        Scenario::Churn { rate, lasting } => Some(churn::run(&mut world, rate, lasting.get())),
        Scenario::Partition { lasting } => Some(partition::run(&mut world, lasting.get())),
        Scenario::Attack {
            attack,
            manner,
            lasting,
        } => {
            let manner = manner.unwrap_or_default();
            Some(attack::run(&mut world, attack, manner, lasting.get()))
        }
    };
    let then = then.map(|mut measures| {
        whole_run(&world, &mut measures);
        measures
    });
    meter.run_done();
    RunResult { join, then }
}

/// Figures that hold for the run up to now, whatever happened.
fn whole_run(world: &World<'_>, measures: &mut Measures) {
    measures.count(
        "worst_degree",
        "most neighbours any node ever had",
        world.worst_degree(),
    );
    #[expect(clippy::cast_precision_loss, reason = "a count, hoped to be 0")]
    measures.metric(
        "unmeant_addresses",
        Unit::Count,
        "addresses that reached a node they were not meant for",
        world.unmeant() as f64,
    );
    let ordinary = (0..world.count()).filter(|index| !world.is_seed(*index));
    let (all, strangers): (Vec<_>, Vec<_>) = ordinary.map(|index| world.learners(index)).unzip();
    let of = |values: Vec<usize>| sorted(values.into_iter().map(number));
    let (all, strangers) = (of(all), of(strangers));
    for (name, text, values, share) in [
        (
            "learners_p50",
            "nodes that ever learned a node's address, p50",
            &all,
            0.5,
        ),
        ("learners_p99", "… p99", &all, 0.99),
        (
            "strangers_p50",
            "… of them never its neighbours, p50",
            &strangers,
            0.5,
        ),
        ("strangers_p99", "… p99", &strangers, 0.99),
    ] {
        measures.metric(name, Unit::Count, text, percentile(values, share));
    }
    let seeds = (0..world.count()).filter(|index| world.is_seed(*index));
    let of_seeds = of(seeds.map(|index| world.learners(index).0).collect());
    measures.metric(
        "seed_learners_p50",
        Unit::Count,
        "the same for a seed, whose address is public, p50",
        percentile(&of_seeds, 0.5),
    );
}

/// A number of things as a figure.
#[expect(clippy::cast_precision_loss, reason = "numbers of nodes are small")]
fn number(n: usize) -> f64 {
    n as f64
}

/// How many of `all` hold, 0 to 1; 1 when there are none.
fn share_of<T>(all: &[T], holds: impl Fn(&T) -> bool) -> f64 {
    if all.is_empty() {
        return 1.0;
    }
    number(all.iter().filter(|item| holds(item)).count()) / number(all.len())
}
