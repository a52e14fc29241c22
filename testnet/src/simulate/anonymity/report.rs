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
        let nodes = one.nodes;
        // Where no origin sets were computed there is nothing to compare.
        if let Some(p10) = exit.map(|set| set.effective.p10) {
            let least = nodes as f64 * EXIT_PART;
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
        }
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

#[cfg(test)]
mod tests {
    use super::super::measure::Percentiles;
    use super::*;

    fn measured(nodes: usize, exit: Option<f64>, differing: f64) -> Measured {
        let set = |p10| Set {
            knowledge: Some(Knowledge::Statistics),
            place: "exit".to_owned(),
            hops: 10,
            effective: Percentiles { p10, p50: p10 },
            best_guess: 0.1,
            in_first_ten: 0.2,
        };
        Measured {
            nodes,
            near_share: 0.5,
            meshes: 1,
            entered: 1.0,
            mutual: 0.8,
            listed: 3.5,
            circuits: 10,
            routed: 1.0,
            differing,
            reach: Vec::new(),
            linked_at: Vec::new(),
            linkable_at: Vec::new(),
            once_listed: 0.0,
            sets: exit.map(set).into_iter().collect(),
            without_entry_links: Vec::new(),
            unexplained: 0,
        }
    }

    #[test]
    fn targets_are_a_quarter_of_the_nodes_growing_and_two_fifths_of_the_circuits() {
        let all = [
            measured(100, Some(25.0), 0.4),
            measured(1000, Some(249.0), 0.39),
        ];
        let met: Vec<bool> = checks(&all, 0.5).iter().map(|check| check.met).collect();
        assert_eq!(met, [true, true, false, true, false]);
        assert!(checks(&all, 0.25).is_empty(), "only one share is compared");
        let shrinking = [
            measured(100, Some(90.0), 0.5),
            measured(1000, Some(80.0), 0.5),
        ];
        assert!(checks(&shrinking, 0.5).iter().any(|check| !check.met));
    }

    #[test]
    fn what_was_not_computed_is_not_compared() {
        assert_eq!(checks(&[measured(100, None, 0.5)], 0.5).len(), 1);
        let mut out = Vec::new();
        tables(&mut out, &[measured(100, Some(30.0), 0.5)], &[]).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("30.0 / 30.0"));
    }

    #[test]
    fn json_can_be_taken_in_again() {
        let text = serde_json::to_string(&measured(100, Some(30.0), 0.5)).unwrap();
        let again: Measured = serde_json::from_str(&text).unwrap();
        assert_eq!(again.sets[0].knowledge, Some(Knowledge::Statistics));
    }
}
