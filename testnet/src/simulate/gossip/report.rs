//! The outcome of all runs, as JSON and as text. Neither says how long the
//! runs took: equal seeds give equal reports.

use std::io::{self, Write};

use serde::Serialize;

use super::args::{Plan, Settings};
use super::measure::{Group, MetricOfAll};
use super::targets::{Verdict, not_measured, verdicts};

/// Name and version of the JSON form. Fields may be added without a new version.
pub const SCHEMA: &str = "masq-simulate-gossip/1";

/// Everything that was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The command that gives the same again.
    pub command: String,
    /// What meshes were made of.
    pub plan: Plan,
    /// The seeds, one run each.
    pub seeds: Vec<u64>,
    /// Figures, by number of nodes and by what happened to them.
    pub groups: Vec<Group>,
    /// Targets.
    pub targets: Vec<Verdict>,
    /// Targets for which there is no figure.
    pub not_measured: Vec<String>,
}

impl Report {
    /// Puts figures and targets side by side.
    #[must_use]
    pub fn new(settings: &Settings, groups: Vec<Group>) -> Self {
        Self {
            schema: SCHEMA,
            command: settings.command.clone(),
            plan: settings.plan,
            seeds: settings.seeds.clone(),
            targets: verdicts(&groups),
            not_measured: not_measured(&groups),
            groups,
        }
    }

    /// The seeds, for people.
    #[must_use]
    pub fn seeds_text(&self) -> String {
        match self.seeds[..] {
            [] => "no seed".to_owned(),
            [seed] => format!("seed {seed}"),
            [first, .., last] => format!("seeds {first} to {last}"),
        }
    }

    /// Writes tables and targets.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.command)?;
        writeln!(
            out,
            "{}; {} of the nodes are exits, {} cannot be dialled; latency of links {}, one way",
            self.seeds_text(),
            self.plan.exits,
            self.plan.undialable,
            self.plan.latency
        )?;
        for group in &self.groups {
            writeln!(out, "\n{} nodes: {}", group.nodes, group.title)?;
            table(out, &group.metrics)?;
        }
        writeln!(out, "\ntargets, each for the worst run")?;
        for verdict in &self.targets {
            writeln!(out, "  {}", verdict.line())?;
        }
        for missing in &self.not_measured {
            writeln!(out, "  -       not measured here: {missing}")?;
        }
        Ok(())
    }

    /// Targets that were missed.
    pub fn missed(&self) -> impl Iterator<Item = &Verdict> {
        self.targets.iter().filter(|verdict| !verdict.ok)
    }
}

fn table(out: &mut dyn Write, metrics: &[MetricOfAll]) -> io::Result<()> {
    // Kinds of messages that hardly occur are in the JSON.
    let shown = |metric: &&MetricOfAll| {
        !metric.name.starts_with("bytes_rest_") || metric.summary.max >= Some(0.05)
    };
    let rows = metrics.iter().filter(shown).map(|metric| {
        let show =
            |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| metric.unit.show(v));
        let s = &metric.summary;
        let interval = match (s.low, s.high) {
            (Some(low), Some(high)) if low < high => {
                format!("{} to {}", metric.unit.show(low), metric.unit.show(high))
            }
            (Some(_), Some(_)) => "the same in all".to_owned(),
            _ => "-".to_owned(),
        };
        let never = match s.never {
            0 => String::new(),
            n => format!("  never in {n}"),
        };
        [
            metric.text.clone(),
            show(s.mean),
            interval,
            show(s.min),
            show(s.max) + &never,
        ]
    });
    let head = ["", "mean", "95 % interval", "least", "most"].map(str::to_owned);
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths = [0, 1, 2, 3, 4].map(width);
    for [what, mean, interval, least, most] in &rows {
        writeln!(
            out,
            "  {what:<0$}  {mean:>1$}  {interval:>2$}  {least:>3$}  {most:>4$}",
            widths[0], widths[1], widths[2], widths[3], widths[4]
        )?;
    }
    Ok(())
}
