//! What the neighbourhood has to hold, as figures, and whether it did. A target
//! counts for each run by itself, and the worst one is compared; except where it
//! says in how many of the runs something has to hold.

use serde::Serialize;

use super::measure::{Group, Unit};

/// On which side of the line a figure must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Not above it.
    AtMost,
    /// Not below it.
    AtLeast,
}

/// Which figure of several runs is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// The worst.
    Worst,
    /// The mean: of figures that are 1 where something held, and 0 where not.
    Mean,
}

struct Target {
    scenario: &'static str,
    metric: &'static str,
    side: Side,
    by: By,
    line: f64,
    what: &'static str,
}

const fn target(
    scenario: &'static str,
    metric: &'static str,
    side: Side,
    line: f64,
    what: &'static str,
) -> Target {
    Target {
        scenario,
        metric,
        side,
        by: By::Worst,
        line,
        what,
    }
}

/// For all scenarios.
const ANY: &str = "";

const TARGETS: [Target; 14] = [
    target(
        ANY,
        "worst_degree",
        Side::AtMost,
        5.0,
        "most neighbours of any node, ever",
    ),
    target(
        ANY,
        "unmeant_addresses",
        Side::AtMost,
        0.0,
        "addresses that reached others than they were meant for",
    ),
    target(
        "join",
        "largest_component",
        Side::AtLeast,
        0.999,
        "in one component at rest",
    ),
    target(
        "join",
        "mean_degree",
        Side::AtLeast,
        4.0,
        "mean degree at rest",
    ),
    target(
        "join",
        "few_too_long",
        Side::AtMost,
        0.0,
        "nodes under two neighbours for more than 30 s",
    ),
    target(
        "join",
        "join_p95",
        Side::AtMost,
        10.0,
        "start to route, p95",
    ),
    target(
        "kill",
        "healed_after",
        Side::AtMost,
        60.0,
        "99 % of the survivors have a route again",
    ),
    target(
        "churn",
        "routed_min",
        Side::AtLeast,
        0.995,
        "with a route at any sampled moment",
    ),
    target(
        "partition",
        "one_after",
        Side::AtMost,
        180.0,
        "one component again",
    ),
    target(
        "partition",
        "components",
        Side::AtMost,
        1.0,
        "components in the end",
    ),
    target(
        "attack",
        "harvested",
        Side::AtMost,
        0.02,
        "of the addresses learned by a harvester",
    ),
    target(
        "attack",
        "all_five",
        Side::AtMost,
        0.01,
        "of the honest nodes have attackers in all five slots",
    ),
    Target {
        by: By::Mean,
        ..target(
            "attack",
            "withstood",
            Side::AtLeast,
            0.9,
            "of the victims kept two slots and their entry link from attackers",
        )
    },
    target(
        "attack",
        "wrongly",
        Side::AtMost,
        0.0,
        "nodes that banned an honest one",
    ),
];

/// Costs at the larger number of nodes, in proportion to those at the smaller.
const GROWTH: (usize, usize, f64) = (1_000, 10_000, 1.3);
const GROWTH_OF: [(&str, &str); 2] = [
    ("bytes_rest", "bytes per node at rest"),
    ("records_mean", "records held per node"),
];

/// A target and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Number of nodes; the larger one where two are compared.
    pub nodes: usize,
    /// What happened to them.
    pub scenario: &'static str,
    /// The figure.
    pub metric: &'static str,
    /// What it is, in words.
    pub what: String,
    /// What it counts.
    pub unit: Unit,
    /// The worst of all runs, or their mean; `None` when it never came about in one of them.
    pub measured: Option<f64>,
    /// On which side of the line it must be.
    pub side: Side,
    /// The line.
    pub line: f64,
    /// Whether it is.
    pub ok: bool,
}

impl Verdict {
    fn new(target: &Target, group: &Group) -> Option<Self> {
        let metric = group.metric(target.metric)?;
        let worst = match (target.by, target.side) {
            (By::Mean, _) => metric.summary.mean,
            (By::Worst, Side::AtMost) => metric.summary.max,
            (By::Worst, Side::AtLeast) => metric.summary.min,
        };
        let measured = worst.filter(|_| metric.summary.never == 0);
        Some(Self {
            nodes: group.nodes,
            scenario: group.scenario,
            metric: target.metric,
            what: target.what.to_owned(),
            unit: metric.unit,
            measured,
            side: target.side,
            line: target.line,
            ok: holds(measured, target.side, target.line),
        })
    }

    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let word = if self.ok { "ok    " } else { "MISSED" };
        let (nodes, scenario) = (self.nodes, self.scenario);
        format!(
            "{word}  {nodes:>6} nodes, {scenario:<9}  {}",
            self.outcome()
        )
    }

    /// What was measured, and what should have been.
    #[must_use]
    pub fn outcome(&self) -> String {
        let measured = match self.measured {
            Some(value) => self.unit.show(value),
            None => "never".to_owned(),
        };
        let side = match self.side {
            Side::AtMost => "at most",
            Side::AtLeast => "at least",
        };
        format!(
            "{}: {measured} ({side} {})",
            self.what,
            self.unit.show(self.line)
        )
    }
}

fn holds(measured: Option<f64>, side: Side, line: f64) -> bool {
    measured.is_some_and(|value| match side {
        Side::AtMost => value <= line,
        Side::AtLeast => value >= line,
    })
}

/// Every target for which there is a figure.
#[must_use]
pub fn verdicts(groups: &[Group]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for group in groups {
        let mine = TARGETS
            .iter()
            .filter(|target| target.scenario == group.scenario || target.scenario == ANY);
        verdicts.extend(mine.filter_map(|target| Verdict::new(target, group)));
    }
    verdicts.extend(
        GROWTH_OF
            .iter()
            .filter_map(|(metric, what)| growth(groups, metric, what)),
    );
    verdicts
}

fn growth(groups: &[Group], metric: &'static str, what: &str) -> Option<Verdict> {
    let (small, large, line) = GROWTH;
    let mean = |nodes: usize| {
        let group = groups
            .iter()
            .find(|g| g.nodes == nodes && g.scenario == "join")?;
        group.metric(metric)?.summary.mean
    };
    let measured = Some(mean(large)? / mean(small)?);
    Some(Verdict {
        nodes: large,
        scenario: "join",
        metric,
        what: format!("{what}, times those of {small} nodes"),
        unit: Unit::Count,
        measured,
        side: Side::AtMost,
        line,
        ok: holds(measured, Side::AtMost, line),
    })
}

/// Targets for which these runs have no figure.
#[must_use]
pub fn not_measured(groups: &[Group]) -> Vec<String> {
    let missing = TARGETS.iter().filter(|target| {
        target.scenario != ANY && groups.iter().all(|group| group.scenario != target.scenario)
    });
    let mut missing: Vec<String> = missing
        .map(|target| format!("{} (--{})", target.what, target.scenario))
        .collect();
    let (small, large, _) = GROWTH;
    if growth(groups, "bytes_rest", "").is_none() {
        missing.push(format!("growth of costs (--nodes {small},{large})"));
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::gossip::measure::Measures;

    fn group(nodes: usize, scenario: &'static str, name: &'static str, values: &[f64]) -> Group {
        let runs: Vec<Measures> = values
            .iter()
            .map(|value| {
                let mut measures = Measures::default();
                measures.metric(name, Unit::Count, "", *value);
                measures
            })
            .collect();
        Group::of(
            nodes,
            scenario,
            String::new(),
            &runs.iter().collect::<Vec<_>>(),
        )
    }

    fn oks(groups: &[Group]) -> Vec<bool> {
        verdicts(groups).iter().map(|verdict| verdict.ok).collect()
    }

    #[test]
    fn the_worst_run_counts() {
        assert_eq!(oks(&[group(9, "join", "join_p95", &[3.0, 10.0])]), [true]);
        assert_eq!(oks(&[group(9, "join", "join_p95", &[3.0, 10.1])]), [false]);
        assert_eq!(
            oks(&[group(9, "churn", "routed_min", &[1.0, 0.994])]),
            [false]
        );
        assert_eq!(oks(&[group(9, "kill", "worst_degree", &[5.0])]), [true]);
        // Of another scenario.
        assert!(oks(&[group(9, "churn", "join_p95", &[99.0])]).is_empty());
    }

    #[test]
    fn what_has_to_hold_in_nine_of_ten_runs_may_fail_in_one() {
        let mut held = [1.0; 10];
        held[3] = 0.0;
        assert_eq!(oks(&[group(9, "attack", "withstood", &held)]), [true]);
        held[4] = 0.0;
        assert_eq!(oks(&[group(9, "attack", "withstood", &held)]), [false]);
    }

    #[test]
    fn what_never_came_about_is_missed() {
        let verdicts = verdicts(&[group(9, "kill", "healed_after", &[1.0, f64::INFINITY])]);
        assert!(!verdicts[0].ok && verdicts[0].line().contains("never"));
    }

    #[test]
    fn growth_needs_both_sizes() {
        let small = group(1_000, "join", "bytes_rest", &[100.0]);
        let large = group(10_000, "join", "bytes_rest", &[131.0]);
        assert!(oks(std::slice::from_ref(&small)).is_empty());
        assert!(
            not_measured(std::slice::from_ref(&small))
                .iter()
                .any(|m| m.contains("growth"))
        );
        assert_eq!(oks(&[small, large]), [false]);
    }
}
