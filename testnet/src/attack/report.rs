//! What an attack came to: figures, the table of them, and what they must not
//! exceed.

use std::io::Write;

use serde::Serialize;

use super::honest::FetchReport;
use super::waves::{Tally, Wave};
use crate::error::TestnetError;
use crate::report::size;
use crate::usage::Usage;

/// What the victim may grow by during a wave, in bytes. From the bounds of the specification:
/// 24 guests and 5 neighbours with their buffers, 2048 records, and room for the allocator.
pub const MAX_GROWTH: u64 = 40 << 20;
/// Open files that the victim may have beyond those before: connections being set up, guests,
/// and neighbours, as the specification bounds them, with room for the honest client's.
pub const MAX_FILES: usize = 200;
/// How much slower than before the middle honest fetch may be during a wave. Guess: attackers,
/// victim, and all other nodes share the machine's processors.
pub const MAX_SLOWER: f64 = 10.0;
/// A middle fetch that takes no longer than this is never too slow, in milliseconds.
pub const ALWAYS_FINE_MS: f64 = 100.0;
/// How long a newcomer may take to find a neighbour in the midst of stalled connections, in
/// seconds.
pub const MAX_NEWCOMER_S: f64 = 15.0;

/// One wave.
#[derive(Debug, Clone, Serialize)]
pub struct WaveReport {
    /// Which.
    pub wave: Wave,
    /// How long it lasted.
    pub seconds: f64,
    /// What the attackers saw.
    pub attackers: Tally,
    /// The victim before.
    pub before: Option<Usage>,
    /// Most memory that it had meanwhile, in bytes.
    pub memory_peak: u64,
    /// Most open files.
    pub files_peak: usize,
    /// The victim some time after.
    pub after: Option<Usage>,
    /// Processor time of the victim, in seconds.
    pub victim_cpu_s: f64,
    /// Processor time of the attackers and the honest client, in seconds.
    pub attackers_cpu_s: f64,
    /// The honest client meanwhile.
    pub honest: FetchReport,
    /// How long a newcomer took to find a neighbour, where one was sent.
    pub newcomer_s: Option<f64>,
}

impl WaveReport {
    /// By how much the victim's memory grew at most, in bytes.
    #[must_use]
    pub fn growth(&self) -> u64 {
        let before = self.before.map_or(0, |usage| usage.memory);
        self.memory_peak.saturating_sub(before)
    }
}

/// All waves.
#[derive(Debug, Clone, Serialize)]
pub struct AttackReport {
    /// Nodes of the mesh.
    pub nodes: usize,
    /// Name of the victim.
    pub victim: String,
    /// Whether the honest client's circuits begin at it.
    pub is_entry: bool,
    /// Whether they still did at the end.
    pub is_entry_after: bool,
    /// Addresses that attackers came from, others in each wave.
    pub sources: usize,
    /// The honest client before the first wave.
    pub before: FetchReport,
    /// The waves.
    pub waves: Vec<WaveReport>,
    /// The honest client after the last wave.
    pub after: FetchReport,
}

impl AttackReport {
    /// Whether everything stayed within its bounds.
    ///
    /// # Errors
    /// [`TestnetError::Checks`] with the first that did not.
    pub fn check(&self) -> Result<(), TestnetError> {
        let (mut checks, mut wrong) = (0, Vec::new());
        let mut check = |right: bool, what: String| {
            checks += 1;
            if !right {
                wrong.push(what);
            }
        };
        let fine = (self.before.p50_ms * MAX_SLOWER).max(ALWAYS_FINE_MS);
        for wave in &self.waves {
            let name = wave.wave;
            let honest = &wave.honest;
            let why = honest.first_failure.as_deref().unwrap_or("nothing");
            check(
                honest.done > 0 && honest.failed == 0,
                format!(
                    "{name}: {} honest fetches failed of {}: {why}",
                    honest.failed,
                    honest.done + honest.failed
                ),
            );
            check(
                honest.p50_ms <= fine,
                format!(
                    "{name}: a fetch took {:.0} ms, and {fine:.0} ms are allowed",
                    honest.p50_ms
                ),
            );
            check(
                wave.growth() <= MAX_GROWTH,
                format!(
                    "{name}: the victim grew by {}, and {} are allowed",
                    size(wave.growth()),
                    size(MAX_GROWTH)
                ),
            );
            let before = wave.before.map_or(0, |usage| usage.files);
            check(
                wave.files_peak <= before + MAX_FILES,
                format!("{name}: {} open files", wave.files_peak),
            );
            check(
                wave.after.is_some(),
                format!("{name}: the victim is not there any more"),
            );
            if let Some(took) = wave.newcomer_s {
                check(
                    took <= MAX_NEWCOMER_S,
                    format!("{name}: a newcomer took {took:.0} s to find a neighbour"),
                );
            }
        }
        match wrong.into_iter().next() {
            None => Ok(()),
            Some(first) => Err(TestnetError::Checks {
                failed: 1,
                checks,
                first,
            }),
        }
    }

    /// Writes the figures as tables.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let entry = match (self.is_entry, self.is_entry_after) {
            (true, true) => "the honest client's entry neighbour throughout",
            (true, false) => "the honest client's entry neighbour at first",
            (false, _) => "not the honest client's entry neighbour",
        };
        writeln!(
            out,
            "{} nodes; victim {}, {entry}; attackers at {} addresses, others in each wave\n",
            self.nodes, self.victim, self.sources
        )?;
        writeln!(
            out,
            "{:<9} {:>6} {:>7} {:>7} {:>6} {:>7} {:>8} {:>7} {:>9} {:>9}",
            "attackers",
            "s",
            "tried",
            "turned",
            "met",
            "neighb.",
            "messages",
            "cut",
            "p50 ms",
            "max ms"
        )?;
        for wave in &self.waves {
            let a = &wave.attackers;
            writeln!(
                out,
                "{:<9} {:>6.1} {:>7} {:>7} {:>6} {:>7} {:>8} {:>7} {:>9.1} {:>9.1}",
                wave.wave,
                wave.seconds,
                a.tried,
                a.turned_away,
                a.met,
                a.accepted,
                a.messages,
                a.cut_off,
                a.cut_off_p50_ms,
                a.cut_off_max_ms
            )?;
            if !a.refused.is_empty() {
                let refused: Vec<_> = a
                    .refused
                    .iter()
                    .map(|(why, n)| format!("{n} {why}"))
                    .collect();
                writeln!(out, "{:<9} refused: {}", "", refused.join(", "))?;
            }
        }
        writeln!(
            out,
            "\n{:<9} {:>9} {:>9} {:>9} {:>7} {:>7} {:>6} {:>10}",
            "victim", "before", "peak", "after", "cpu s", "theirs", "files", "newcomer s"
        )?;
        for wave in &self.waves {
            let memory =
                |usage: Option<Usage>| usage.map_or_else(|| "-".into(), |u| size(u.memory));
            let newcomer = wave.newcomer_s;
            writeln!(
                out,
                "{:<9} {:>9} {:>9} {:>9} {:>7.1} {:>7.1} {:>6} {:>10}",
                wave.wave,
                memory(wave.before),
                size(wave.memory_peak),
                memory(wave.after),
                wave.victim_cpu_s,
                wave.attackers_cpu_s,
                wave.files_peak,
                newcomer.map_or_else(|| "-".into(), |took| format!("{took:.1}"))
            )?;
        }
        writeln!(
            out,
            "\n{:<9} {:>7} {:>7} {:>9} {:>9} {:>9}",
            "honest", "fetched", "failed", "p50 ms", "p95 ms", "max ms"
        )?;
        let mut row = |name: &dyn std::fmt::Display, f: &FetchReport| {
            writeln!(
                out,
                "{name:<9} {:>7} {:>7} {:>9.1} {:>9.1} {:>9.1}",
                f.done, f.failed, f.p50_ms, f.p95_ms, f.max_ms
            )?;
            match &f.first_failure {
                Some(why) => writeln!(out, "{:<9} failed: {why}", ""),
                None => Ok(()),
            }
        };
        row(&"before", &self.before)?;
        for wave in &self.waves {
            row(&wave.wave, &wave.honest)?;
        }
        row(&"after", &self.after)
    }
}
