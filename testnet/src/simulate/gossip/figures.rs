//! Which charts a report gives: one function for each, which gives none when
//! the report lacks the figures for it.

use super::measure::{Group, Point};
use super::plot::{Axis, Chart, Dot, Line, Look, Mark, Scale, number};
use super::report::Report;
use crate::error::TestnetError;

/// All charts of a report, with the names of their files.
///
/// # Errors
/// When one cannot be drawn.
pub fn figures(report: &Report) -> Result<Vec<(&'static str, String)>, TestnetError> {
    let charts = [
        ("degrees.svg", degrees(report)),
        ("join-time.svg", join_time(report)),
        ("bytes.svg", bytes(report)),
        ("records.svg", records(report)),
        ("kill.svg", kill(report)),
        ("churn.svg", churn(report)),
        ("partition.svg", partition(report)),
        ("addresses.svg", addresses(report)),
    ];
    let charts = charts
        .into_iter()
        .filter_map(|(name, chart)| Some((name, chart?)));
    charts
        .map(|(name, chart)| Ok((name, chart.svg()?)))
        .collect()
}

fn of<'a>(report: &'a Report, scenario: &str) -> Vec<&'a Group> {
    let groups = report.groups.iter();
    groups.filter(|group| group.scenario == scenario).collect()
}

fn caption(report: &Report, extra: &str) -> Vec<String> {
    let shades = match report.seeds.len() {
        1 => "one run",
        _ => "mean and 95 % interval",
    };
    let first = format!("{shades}, {}{extra}", report.seeds_text());
    vec![report.command.clone(), first]
}

fn dot(point: &Point, x_unit: f64) -> Dot {
    Dot {
        x: point.x / x_unit,
        y: point.mean,
        low: point.low,
        high: point.high,
    }
}

/// A number that looks good at the end of an axis, above a value.
fn above(value: f64) -> f64 {
    let step = 10f64.powf(value.max(1e-9).log10().floor());
    let steps = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let fit = steps
        .iter()
        .map(|s| s * step)
        .find(|end| *end >= value * 1.05);
    fit.unwrap_or(step * 15.0)
}

fn nodes_name(group: &Group) -> String {
    #[expect(clippy::cast_precision_loss, reason = "numbers of nodes are small")]
    let nodes = number(group.nodes as f64);
    format!("{nodes} nodes")
}

fn degrees(report: &Report) -> Option<Chart> {
    let lines: Vec<Line> = of(report, "join")
        .into_iter()
        .map(|group| {
            let dots = (0u32..=5).filter_map(|degree| {
                let s = group.metric(&format!("degree_{degree}"))?.summary;
                let mean = s.mean?;
                Some(Dot {
                    x: f64::from(degree),
                    y: mean,
                    low: s.low.unwrap_or(mean),
                    high: s.high.unwrap_or(mean),
                })
            });
            Line {
                name: nodes_name(group),
                look: Look::Bars,
                dots: dots.collect(),
            }
        })
        .collect();
    (!lines.is_empty()).then(|| Chart {
        title: "How many neighbours nodes have, at rest".to_owned(),
        caption: caption(report, ""),
        x: Axis {
            label: "neighbours".to_owned(),
            from: 0.0,
            to: 6.0,
            scale: Scale::Names((0..=5).map(|k| k.to_string()).collect()),
        },
        y: Axis {
            label: "share of nodes".to_owned(),
            from: 0.0,
            to: 1.0,
            scale: Scale::Percent,
        },
        lines,
        marks: vec![],
    })
}

/// Series of one name as bands over time.
fn bands(groups: &[&Group], series: &str, x_unit: f64) -> Vec<Line> {
    let line = |group: &&Group| {
        let series = group.series(series)?;
        Some(Line {
            name: nodes_name(group),
            look: Look::Band,
            dots: series
                .points
                .iter()
                .map(|point| dot(point, x_unit))
                .collect(),
        })
    };
    groups.iter().filter_map(line).collect()
}

fn join_time(report: &Report) -> Option<Chart> {
    let lines = bands(&of(report, "join"), "joined", 1.0);
    let to = lines.first()?.dots.last()?.x;
    Some(Chart {
        title: "From start to a route".to_owned(),
        caption: caption(report, ""),
        x: Axis {
            label: "time since the node started (s)".to_owned(),
            from: 0.0,
            to,
            scale: Scale::Linear,
        },
        y: Axis {
            label: "share of nodes with a route".to_owned(),
            from: 0.0,
            to: 1.0,
            scale: Scale::Percent,
        },
        lines,
        marks: vec![
            Mark::Up(10.0, "target: 95 % within 10 s".to_owned()),
            Mark::Across(0.95, "95 %".to_owned()),
        ],
    })
}

/// Figures against the number of nodes; needs two numbers at least.
fn against_nodes(
    report: &Report,
    metrics: &[(&str, &str)],
    title: &str,
    label: &str,
) -> Option<Chart> {
    let groups = of(report, "join");
    let (first, last) = (groups.first()?.nodes, groups.last()?.nodes);
    if first == last {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "numbers of nodes are small")]
    let nodes = |group: &&Group| group.nodes as f64;
    let line = |(metric, name): &(&str, &str)| Line {
        name: (*name).to_owned(),
        look: Look::Dots,
        dots: groups
            .iter()
            .filter_map(|group| {
                let s = group.metric(metric)?.summary;
                let mean = s.mean?;
                Some(Dot {
                    x: nodes(group),
                    y: mean,
                    low: s.low.unwrap_or(mean),
                    high: s.high.unwrap_or(mean),
                })
            })
            .collect(),
    };
    let lines: Vec<Line> = metrics.iter().map(line).collect();
    let most = lines
        .iter()
        .flat_map(|line| &line.dots)
        .map(|dot| dot.high.max(dot.y));
    let most = most.fold(0.0, f64::max);
    Some(Chart {
        title: title.to_owned(),
        caption: caption(report, ""),
        x: Axis {
            label: "nodes".to_owned(),
            from: nodes(groups.first()?) * 0.8,
            to: nodes(groups.last()?) * 1.25,
            scale: Scale::Log(groups.iter().map(nodes).collect()),
        },
        y: Axis {
            label: label.to_owned(),
            from: 0.0,
            to: above(most),
            scale: Scale::Linear,
        },
        lines,
        marks: vec![],
    })
}

fn bytes(report: &Report) -> Option<Chart> {
    against_nodes(
        report,
        &[
            ("bytes_joining", "while joining"),
            ("bytes_rest", "at rest"),
        ],
        "What gossip costs a node",
        "bytes sent per node and second",
    )
}

fn records(report: &Report) -> Option<Chart> {
    against_nodes(
        report,
        &[("records_mean", "mean"), ("records_p99", "p99")],
        "How many records a node holds",
        "records",
    )
}

/// Shares of nodes over time, from just below the least of them up to all.
fn shares(
    report: &Report,
    title: String,
    label: &str,
    time: &str,
    lines: Vec<Line>,
) -> Option<Chart> {
    let dots = || lines.iter().flat_map(|line| &line.dots);
    let least = dots().map(|dot| dot.low.min(dot.y)).fold(1.0, f64::min);
    let from = [0.99, 0.95, 0.9, 0.8]
        .into_iter()
        .find(|from| least > *from);
    let to = dots().map(|dot| dot.x).fold(0.0, f64::max);
    (to > 0.0).then(|| Chart {
        title,
        caption: caption(report, ""),
        x: Axis {
            label: time.to_owned(),
            from: 0.0,
            to,
            scale: Scale::Linear,
        },
        y: Axis {
            label: label.to_owned(),
            from: from.unwrap_or(0.0),
            to: 1.0,
            scale: Scale::Percent,
        },
        lines,
        marks: vec![],
    })
}

fn title_of(groups: &[&Group]) -> Option<String> {
    groups.first().map(|group| group.title.clone())
}

fn kill(report: &Report) -> Option<Chart> {
    let groups = of(report, "kill");
    let mut chart = shares(
        report,
        format!("Routes after {}", title_of(&groups)?),
        "share of survivors with a route that works",
        "time since they died (s)",
        bands(&groups, "routed", 1.0),
    )?;
    chart.marks = vec![
        Mark::Up(60.0, "target: 99 % within 60 s".to_owned()),
        Mark::Across(0.99, String::new()),
    ];
    Some(chart)
}

fn churn(report: &Report) -> Option<Chart> {
    let groups = of(report, "churn");
    let mut chart = shares(
        report,
        format!("Routes while {}", title_of(&groups)?),
        "share of nodes with a route that works",
        "time (min)",
        bands(&groups, "routed", 60.0),
    )?;
    chart.marks = vec![Mark::Across(0.995, "target: 99.5 %".to_owned())];
    Some(chart)
}

fn partition(report: &Report) -> Option<Chart> {
    let groups = of(report, "partition");
    let lines = bands(&groups, "largest", 1.0);
    let last = lines.first()?.dots.last()?.x;
    let mut chart = shares(
        report,
        format!("The mesh when {}", title_of(&groups)?),
        "share of nodes in the largest component",
        "time since they were parted (s)",
        lines,
    )?;
    // The halves are watched for as long after they are joined as the target allows.
    chart.marks = vec![Mark::Up(last - 180.0, "joined again".to_owned())];
    Some(chart)
}

fn addresses(report: &Report) -> Option<Chart> {
    let groups = of(report, "attack");
    let lines = bands(&groups, "addresses_learned", 60.0);
    let dots = || lines.iter().flat_map(|line| &line.dots);
    let most = dots().map(|dot| dot.high.max(dot.y)).fold(0.0, f64::max);
    let to = dots().map(|dot| dot.x).fold(0.0, f64::max);
    (to > 0.0).then(|| Chart {
        title: format!("Addresses that attackers learn: {}", groups[0].title),
        caption: caption(report, ""),
        x: Axis {
            label: "time (min)".to_owned(),
            from: 0.0,
            to,
            scale: Scale::Linear,
        },
        y: Axis {
            label: "share of the addresses of honest nodes".to_owned(),
            from: 0.0,
            to: above(most.max(0.02)).min(1.0),
            scale: Scale::Percent,
        },
        lines,
        marks: vec![Mark::Across(0.02, "target: 2 %".to_owned())],
    })
}
