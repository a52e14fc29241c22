//! What came of killing a third of a mesh: figures, the table of them, and how long
//! each thing may take.

use std::io::Write;

use serde::Serialize;

use crate::download::DownloadReport;
use crate::error::TestnetError;
use crate::survey::Survey;

/// Every survivor has a route again within this, in seconds. From the design's figures.
pub const ROUTES_WITHIN_S: f64 = 60.0;
/// A download goes on, or is opened again and goes on, within this, in seconds.
pub const DOWNLOAD_WITHIN_S: f64 = 30.0;
/// The mesh is whole again within this, in seconds.
pub const WHOLE_WITHIN_S: f64 = 120.0;
/// A node without seeds has a route again within this, in seconds.
pub const RETURN_WITHIN_S: f64 = 60.0;

/// Everything measured.
#[derive(Debug, Clone, Serialize)]
pub struct StressReport {
    /// Nodes of the mesh.
    pub nodes: usize,
    /// From which the victims were drawn.
    pub draw: u64,
    /// The mesh before.
    pub before: Survey,
    /// Who was killed.
    pub killed: Vec<String>,
    /// How many of them were exits.
    pub killed_exits: usize,
    /// Circuits that carried a download and lost a node.
    pub circuits_hit: usize,
    /// Survivors who could know nobody that lives; they are left out of what follows.
    pub stranded: Vec<String>,
    /// From the kill until every survivor has a route and keeps it, in seconds.
    pub routes_s: Option<f64>,
    /// From the kill until the mesh is whole and stays it, in seconds.
    pub whole_s: Option<f64>,
    /// Fewest survivors with a route at any look, and when that was, in seconds.
    pub fewest_routed: (usize, f64),
    /// The mesh when it was whole again, or when the time was up.
    pub healed: Survey,
    /// The downloads.
    pub downloads: Vec<DownloadReport>,
    /// Nodes in which something panicked.
    pub panicked: Vec<String>,
    /// Who was killed afterwards and started again with no node to join by.
    pub returned: String,
    /// From its start until it has a neighbour, in seconds.
    pub neighbour_s: Option<f64>,
    /// From its start until it has a route, in seconds.
    pub return_s: Option<f64>,
}

impl StressReport {
    /// Whether everything happened in time.
    ///
    /// # Errors
    /// [`TestnetError::Checks`] with the first that did not.
    pub fn check(&self) -> Result<(), TestnetError> {
        let mut wrong = Vec::new();
        let mut checks = 0;
        let mut check = |right: bool, what: String| {
            checks += 1;
            if !right {
                wrong.push(what);
            }
        };
        let within = |took: Option<f64>, limit: f64| took.is_some_and(|s| s <= limit);
        check(
            within(self.routes_s, ROUTES_WITHIN_S),
            format!(
                "every survivor with a route within {ROUTES_WITHIN_S:.0} s: {}",
                self.healed
            ),
        );
        check(
            within(self.whole_s, WHOLE_WITHIN_S),
            format!("whole within {WHOLE_WITHIN_S:.0} s: {}", self.healed),
        );
        for (n, download) in self.downloads.iter().enumerate() {
            let fine = download.silence_s <= DOWNLOAD_WITHIN_S && download.runs;
            let why = download.first_failure.as_deref().unwrap_or("nothing broke");
            check(
                fine && !download.wrong,
                format!(
                    "download {}: silent for {:.1} s ({why})",
                    n + 1,
                    download.silence_s
                ),
            );
        }
        check(
            within(self.return_s, RETURN_WITHIN_S),
            format!(
                "{} has a route again within {RETURN_WITHIN_S:.0} s",
                self.returned
            ),
        );
        check(
            self.panicked.is_empty(),
            format!("something panicked in {}", self.panicked.join(", ")),
        );
        let failed = wrong.len();
        match wrong.into_iter().next() {
            None => Ok(()),
            Some(first) => Err(TestnetError::Checks {
                failed,
                checks,
                first,
            }),
        }
    }

    /// Writes the figures as a table.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let seconds = |s: Option<f64>| s.map_or_else(|| "never".to_owned(), |s| format!("{s:.1}"));
        writeln!(
            out,
            "{} nodes, {} killed at once, {} of them exits (draw {})",
            self.nodes,
            self.killed.len(),
            self.killed_exits,
            self.draw
        )?;
        writeln!(out, "before: {}", self.before)?;
        writeln!(out, "healed: {}\n", self.healed)?;
        if !self.stranded.is_empty() {
            writeln!(
                out,
                "left out, for all whom they knew were killed: {}\n",
                self.stranded.join(", ")
            )?;
        }
        writeln!(out, "{:<52} {:>8} {:>8}", "", "took", "limit")?;
        let mut row = |what: &str, took: Option<f64>, limit: f64| {
            writeln!(out, "{what:<52} {:>8} {limit:>8.0}", seconds(took))
        };
        row(
            "every survivor has a route again, s",
            self.routes_s,
            ROUTES_WITHIN_S,
        )?;
        row("the mesh is whole again, s", self.whole_s, WHOLE_WITHIN_S)?;
        row(
            "back with no node to join by: a neighbour, s",
            self.neighbour_s,
            RETURN_WITHIN_S,
        )?;
        row("the same: a route, s", self.return_s, RETURN_WITHIN_S)?;
        let (fewest, at) = self.fewest_routed;
        writeln!(
            out,
            "fewest survivors with a route: {fewest} of {}, after {at:.1} s; circuits with downloads that lost a node: {}\n",
            self.healed.nodes, self.circuits_hit
        )?;
        writeln!(
            out,
            "{:<10} {:>10} {:>12} {:>9} {:>7}  first break",
            "download", "MB", "silent, s", "reopened", "failed"
        )?;
        for (n, d) in self.downloads.iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "for reading")]
            let mb = d.bytes as f64 / 1e6;
            writeln!(
                out,
                "{:<10} {mb:>10.1} {:>12.1} {:>9} {:>7}  {}",
                n + 1,
                d.silence_s,
                d.reopened,
                d.failed,
                d.first_failure.as_deref().unwrap_or("-")
            )?;
        }
        Ok(())
    }
}
