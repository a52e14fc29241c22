//! What came of a soak: figures, the table of them, and whether everything is right.

use std::collections::BTreeMap;
use std::io::{self, Write};

use masq::ledger::Tokens;
use serde::Serialize;

use crate::download::DownloadReport;
use crate::error::TestnetError;
use crate::money::judge::Judgement;
use crate::money::show::{NANO_UNIT, nano};
use crate::report::size;

/// Everything measured.
#[derive(Debug, Clone, Serialize)]
pub struct SoakReport {
    /// Nodes of the mesh.
    pub nodes: usize,
    /// From which victims and moments were drawn.
    pub draw: u64,
    /// How long all of it took, in seconds.
    pub took_s: f64,
    /// How often each node was killed.
    pub kills: BTreeMap<String, u32>,
    /// How many of these hit a node that was starting.
    pub killed_while_starting: u32,
    /// Longest time from a start until the node answered, in seconds.
    pub slowest_start_s: f64,
    /// The downloads.
    pub downloads: Vec<DownloadReport>,
    /// How long it took until every payment was final, in seconds; nothing when it took too long.
    pub settled_s: Option<f64>,
    /// Nodes in which something panicked.
    pub panicked: Vec<String>,
    /// The books.
    pub judgement: Judgement,
}

impl SoakReport {
    /// Whether everything is right.
    ///
    /// # Errors
    /// [`TestnetError::Checks`] with the first thing that is not.
    pub fn check(&self) -> Result<(), TestnetError> {
        let mut wrong: Vec<_> = self
            .judgement
            .findings
            .iter()
            .map(ToString::to_string)
            .collect();
        if self.settled_s.is_none() {
            wrong.push("payments were still under way when the time was up".to_owned());
        }
        if self.judgement.payments == 0 {
            wrong.push("nothing was paid, so nothing was shown".to_owned());
        }
        if let Some(download) = self.downloads.iter().find(|d| d.wrong) {
            wrong.push(format!("a wrong byte after {}", download.bytes));
        }
        wrong.extend(
            self.panicked
                .iter()
                .map(|name| format!("something panicked in {name}")),
        );
        // Three for each node, one for each pair, and the four above.
        let checks = 3 * self.nodes + self.judgement.pairs.len() + 4;
        match wrong.into_iter().reduce(|first, _| first) {
            None => Ok(()),
            Some(first) => Err(TestnetError::Checks {
                failed: self.wrong(),
                checks,
                first,
            }),
        }
    }

    fn wrong(&self) -> usize {
        self.judgement.findings.len()
            + self.panicked.len()
            + usize::from(self.settled_s.is_none())
            + usize::from(self.judgement.payments == 0)
            + usize::from(self.downloads.iter().any(|d| d.wrong))
    }

    /// Writes the figures as a table.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let kills: u32 = self.kills.values().sum();
        let bytes: u64 = self.downloads.iter().map(|d| d.bytes).sum();
        let judged = &self.judgement;
        writeln!(
            out,
            "{} nodes, {kills} kills ({} while starting), {:.0} s, draw {}",
            self.nodes, self.killed_while_starting, self.took_s, self.draw
        )?;
        writeln!(
            out,
            "{} downloaded at {} origins; slowest start {:.1} s",
            size(bytes),
            self.downloads.len(),
            self.slowest_start_s
        )?;
        let settled = self.settled_s.map_or_else(
            || "not settled".to_owned(),
            |s| format!("settled in {s:.0} s"),
        );
        writeln!(
            out,
            "{} payments, {} transfers of {} on chain, {settled}",
            judged.payments,
            judged.transfers,
            Tokens(judged.moved)
        )?;
        writeln!(
            out,
            "\n{:<14} {:<14} {:>6} {:>16} {:>16} {:>14} {:>14}  in {NANO_UNIT}",
            "payer", "hop", "kills", "payable", "receivable", "difference", "allowed"
        )?;
        for pair in &judged.pairs {
            let kills = |name: &str| self.kills.get(name).copied().unwrap_or_default();
            writeln!(
                out,
                "{:<14} {:<14} {:>6} {:>16} {:>16} {:>14} {:>14}{}",
                pair.payer,
                pair.hop,
                kills(&pair.payer) + kills(&pair.hop),
                nano(pair.payable),
                nano(pair.receivable),
                nano(pair.payable.abs_diff(pair.receivable)),
                nano(pair.allowed),
                if pair.well { "" } else { "  TOO MUCH" }
            )?;
        }
        for finding in &judged.findings {
            writeln!(out, "FAIL {finding}")?;
        }
        if judged.findings.is_empty() {
            writeln!(
                out,
                "For every payer and hop owed + reserved + paid = accrued; nothing is on chain twice; \
                 credits are the final transfers."
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::judge::{Finding, PairReport};

    fn report() -> SoakReport {
        SoakReport {
            nodes: 2,
            draw: 7,
            took_s: 60.0,
            kills: [("n01".to_owned(), 2)].into(),
            killed_while_starting: 1,
            slowest_start_s: 1.5,
            downloads: vec![],
            settled_s: Some(20.0),
            panicked: vec![],
            judgement: Judgement {
                pairs: vec![PairReport {
                    payer: "n01".into(),
                    hop: "n02".into(),
                    payable: 5_000_000_000,
                    receivable: 4_000_000_000,
                    paid: 0,
                    allowed: 2_000_000_000,
                    well: true,
                }],
                findings: vec![],
                payments: 3,
                transfers: 3,
                moved: 9,
            },
        }
    }

    #[test]
    fn a_good_report_passes_and_shows_its_differences() {
        let report = report();
        report.check().unwrap();
        let mut out = Vec::new();
        report.write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in [
            "2 kills (1 while starting)",
            "1.000",
            "2.000",
            "owed + reserved",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn everything_that_is_wrong_counts() {
        let mut bad = report();
        bad.settled_s = None;
        bad.judgement.payments = 0;
        bad.judgement.findings.push(Finding {
            node: "n01".into(),
            what: "a debt is gone".into(),
        });
        let error = bad.check().unwrap_err().to_string();
        assert!(
            error.starts_with("3 of 11 checks failed: n01: a debt"),
            "{error}"
        );
    }
}
