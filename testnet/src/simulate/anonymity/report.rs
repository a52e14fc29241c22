//! What is printed: tables, and which targets were met. Not here: the plot.

use std::io::{self, Write};

use super::measure::{Measured, Set};
use super::prior::Knowledge;

/// From the issue: the exit is left with this part of all nodes, at the tenth percentile.
const EXIT_PART: f64 = 0.25;
/// From the issue: so many circuits have a back leg with other relays.
const DIFFERING: f64 = 0.4;

/// One target.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(super) struct Check {
    pub(super) what: String,
    pub(super) met: bool,
}

/// Compares with the targets what was measured at the near share `near`.
pub(super) fn checks(all: &[Measured], near: f64) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut before: Option<(usize, f64)> = None;
    for one in all.iter().filter(|one| one.near_share == near) {
        let exit = one
            .sets
            .iter()
            .find(|set| set.place == "exit" && set.knowledge == Some(Knowledge::Statistics));
        let p10 = exit.map_or(0.0, |set| set.effective.p10);
        let least = one.nodes as f64 * EXIT_PART;
        let nodes = one.nodes;
        checks.push(Check {
            what: format!("exit, {nodes} nodes: {p10:.0} origins at p10, at least {least:.0}"),
            met: p10 >= least,
        });
        if let Some((fewer, smaller)) = before.filter(|(fewer, _)| *fewer < nodes) {
            checks.push(Check {
                what: format!("exit: more origins at {nodes} nodes than at {fewer}"),
                met: p10 > smaller,
            });
        }
        before = Some((nodes, p10));
        let (differing, wanted) = (one.differing * 100.0, DIFFERING * 100.0);
        checks.push(Check {
            what: format!(
                "{nodes} nodes: {differing:.0} % of the back legs differ, at least {wanted:.0} %"
            ),
            met: one.differing >= DIFFERING,
        });
    }
    checks
}

/// Writes all tables.
///
/// # Errors
/// When the writer fails.
pub(super) fn tables(out: &mut dyn Write, all: &[Measured], checks: &[Check]) -> io::Result<()> {
    writeln!(
        out,
        "Exits in reach (exactly so many hops; p10 / p50) and back legs"
    )?;
    writeln!(
        out,
        "{:>6} {:>5} {:>9} {:>9} {:>9} {:>9} {:>10} {:>7} {:>8} {:>8} {:>6}",
        "nodes",
        "near",
        "1/3: 3",
        "1/3: 4",
        "1/10: 3",
        "1/10: 4",
        "back other",
        "routed",
        "entered",
        "mutual",
        "listed"
    )?;
    for one in all {
        write!(out, "{:>6} {:>5}", one.nodes, one.near_share)?;
        for reach in &one.reach {
            for hops in [reach.three_hops, reach.four_hops] {
                write!(out, " {:>9}", format!("{:.0} / {:.0}", hops.p10, hops.p50))?;
            }
        }
        writeln!(
            out,
            " {:>8.1} % {:>5.1} % {:>6.1} % {:>6.1} % {:>6.2}",
            one.differing * 100.0,
            one.routed * 100.0,
            one.entered * 100.0,
            one.mutual * 100.0,
            one.listed
        )?;
    }
    writeln!(
        out,
        "\nListed links between the ends of an entry link, and of pairs that could have one"
    )?;
    writeln!(
        out,
        "{:>6} {:>5} {:>10} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>12}",
        "nodes", "near", "", "2", "3", "4", "5", "6", "7+", "listed once"
    )?;
    for one in all {
        for (name, shares) in [("entry", &one.linked_at), ("any pair", &one.linkable_at)] {
            write!(out, "{:>6} {:>5} {name:>10}", one.nodes, one.near_share)?;
            for share in shares {
                write!(out, " {:>5.1} %", share * 100.0)?;
            }
            if name == "entry" {
                write!(out, " {:>10.1} %", one.once_listed * 100.0)?;
            }
            writeln!(out)?;
        }
    }
    writeln!(
        out,
        "\nOrigins a hop could suspect: 2^entropy of its belief (p10 / p50)"
    )?;
    writeln!(
        out,
        "{:>6} {:>5} {:<12} {:<11} {:>6} {:>15} {:>11} {:>9}",
        "nodes", "near", "knows", "place", "hops", "origins", "best guess", "in top 10"
    )?;
    for one in all {
        for set in one.sets.iter().chain(&one.without_entry_links) {
            row(out, one, set)?;
        }
        if one.unexplained > 0 {
            writeln!(
                out,
                "{:>6} hops saw what the model holds for impossible",
                one.unexplained
            )?;
        }
    }
    if !checks.is_empty() {
        writeln!(out)?;
    }
    for check in checks {
        let word = if check.met { "met   " } else { "missed" };
        writeln!(out, "{word}  {}", check.what)?;
    }
    Ok(())
}

fn row(out: &mut dyn Write, one: &Measured, set: &Set) -> io::Result<()> {
    let knows = match set.knowledge {
        Some(Knowledge::Records) => "records",
        Some(Knowledge::Statistics) => "statistics",
        Some(Knowledge::History) => "history",
        None => "no entry",
    };
    writeln!(
        out,
        "{:>6} {:>5} {knows:<12} {:<11} {:>6} {:>15} {:>9.2} % {:>7.1} %",
        one.nodes,
        one.near_share,
        set.place,
        set.hops,
        format!("{:.1} / {:.1}", set.effective.p10, set.effective.p50),
        set.best_guess * 100.0,
        set.in_first_ten * 100.0
    )
}
