//! Insiders: nodes that keep to the protocol in everything, and whose operators
//! pool what they learn.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::{Between, Report, Unit, run_steps, share};
use crate::sim::Sim;

/// Between points of the series.
const STEP: Duration = Duration::from_secs(30);

/// Nodes that behave as all do, and whose operators pool what they learn.
#[derive(Debug, Clone)]
pub struct Insiders {
    /// Which share of the nodes that live when it begins. The issue's: 0.2.
    pub share: f64,
    /// Chooses them.
    pub seed: u64,
    /// For how long they listen.
    pub lasting: Duration,
}

impl Insiders {
    /// Lets them listen. The series is the share of the others' addresses that they have learned
    /// since the beginning of the run.
    pub fn run(&self, sim: &mut Sim, between: Between<'_>) -> Report {
        let mut rng = ChaCha20Rng::seed_from_u64(self.seed);
        let alive = sim.alive();
        let count = (alive.len() as f64 * self.share) as usize;
        let insiders: BTreeSet<u32> = alive
            .sample(&mut rng, count)
            .map(|index| *index as u32)
            .collect();
        let known = |sim: &Sim| -> BTreeSet<usize> {
            let all = (0..sim.len()).filter(|i| !insiders.contains(&(*i as u32)));
            all.filter(|i| !sim.count(*i).known_to.is_disjoint(&insiders))
                .collect()
        };
        let before = known(sim);
        let mut report = Report::default();
        let others = |sim: &Sim| sim.len() - insiders.len();
        report
            .series
            .push((Duration::ZERO, share(before.len(), others(sim))));
        run_steps(sim, self.lasting, STEP, between, |sim, since| {
            report
                .series
                .push((since, share(known(sim).len(), others(sim))));
        });
        let after = known(sim);
        let new = after.difference(&before).count();
        report.add(
            "insiders",
            Unit::Count,
            "nodes that pool what they learn",
            count as f64,
        );
        report.add(
            "known_before",
            Unit::Share,
            "addresses they knew when it began",
            share(before.len(), others(sim)),
        );
        report.add(
            "known_after",
            Unit::Share,
            "addresses they know at the end, of all nodes there ever were",
            share(after.len(), others(sim)),
        );
        report.add(
            "learned",
            Unit::Count,
            "addresses they learned meanwhile",
            new as f64,
        );
        report.add(
            "learned_share",
            Unit::Share,
            "… as a share of the others",
            share(new, others(sim)),
        );
        report
    }
}
