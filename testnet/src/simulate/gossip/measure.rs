//! Figures: what one run measured, and the same over all runs. A scenario
//! hands in named metrics and series in a fixed order; here they are put
//! together by name. How they are shown is in [`super::report`].

use std::borrow::Cow;

use serde::Serialize;

use super::stats::Summary;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// A share, 0 to 1.
    Share,
    /// Seconds of virtual time.
    Seconds,
    /// Things: nodes, links, records.
    Count,
    /// Bytes per node and second.
    BytesPerSecond,
    /// Per node and second.
    PerSecond,
}

impl Unit {
    /// Clips an interval to what there can be: nothing is negative, no share above one.
    fn clip(self, mut summary: Summary) -> Summary {
        let most = match self {
            Self::Share => 1.0,
            _ => f64::INFINITY,
        };
        summary.low = summary.low.map(|low| low.max(0.0));
        summary.high = summary.high.map(|high| high.min(most));
        summary
    }

    /// A figure for people, without its unit where the text says it.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Share => format!("{:.2} %", value * 100.0),
            Self::Seconds => format!("{value:.2} s"),
            Self::Count if value.fract() == 0.0 => format!("{value:.0}"),
            Self::Count | Self::PerSecond => format!("{value:.2}"),
            Self::BytesPerSecond => format!("{value:.1} B/s"),
        }
    }
}

/// One figure of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its name in reports; lower case with underscores.
    pub name: Cow<'static, str>,
    /// What it is, in words.
    pub text: Cow<'static, str>,
    /// What it counts.
    pub unit: Unit,
    /// The value; infinite when it never came about.
    pub value: f64,
}

/// A figure over time, or over something else that every run has alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name in reports.
    pub name: &'static str,
    /// What it is, in words.
    pub text: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// Seconds, and the value.
    pub points: Vec<(f64, f64)>,
}

/// Everything that one run measured under one heading.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measures {
    /// Figures, in the order in which they are shown.
    pub metrics: Vec<Metric>,
    /// Figures over time.
    pub series: Vec<Series>,
}

impl Measures {
    /// One more figure.
    pub fn metric(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        unit: Unit,
        text: impl Into<Cow<'static, str>>,
        value: f64,
    ) {
        self.metrics.push(Metric {
            name: name.into(),
            text: text.into(),
            unit,
            value,
        });
    }

    /// The same for something counted.
    #[expect(clippy::cast_precision_loss, reason = "numbers of nodes are small")]
    pub fn count(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        text: impl Into<Cow<'static, str>>,
        value: usize,
    ) {
        self.metric(name, Unit::Count, text, value as f64);
    }
}

/// One figure over all runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricOfAll {
    /// Its name.
    pub name: String,
    /// What it is, in words.
    pub text: String,
    /// What it counts.
    pub unit: Unit,
    /// Mean, interval and extremes.
    #[serde(flatten)]
    pub summary: Summary,
    /// The value of each run, in order of the seeds; null where it never came about.
    pub values: Vec<Option<f64>>,
}

/// One point of a series over all runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// Seconds.
    pub x: f64,
    /// Mean.
    pub mean: f64,
    /// Lower end of the 95 % interval; the mean itself with a single run.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// One series over all runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeriesOfAll {
    /// Its name.
    pub name: &'static str,
    /// What it is, in words.
    pub text: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// Its points.
    pub points: Vec<Point>,
}

/// All runs with one number of nodes, under one heading.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// Number of nodes that joined.
    pub nodes: usize,
    /// What happened to them.
    pub scenario: &'static str,
    /// The same in words.
    pub title: String,
    /// Figures.
    pub metrics: Vec<MetricOfAll>,
    /// Figures over time.
    pub series: Vec<SeriesOfAll>,
}

impl Group {
    /// Puts the runs together, in order of their seeds.
    #[must_use]
    pub fn of(nodes: usize, scenario: &'static str, title: String, runs: &[&Measures]) -> Self {
        let mut group = Self {
            nodes,
            scenario,
            title,
            metrics: Vec::new(),
            series: Vec::new(),
        };
        for metric in runs.iter().flat_map(|run| &run.metrics) {
            if group.metric(&metric.name).is_none() {
                let of_run = |run: &&Measures| {
                    let same = run.metrics.iter().find(|m| m.name == metric.name);
                    same.map_or(0.0, |metric| metric.value)
                };
                let values: Vec<f64> = runs.iter().map(of_run).collect();
                group.metrics.push(MetricOfAll {
                    name: metric.name.to_string(),
                    text: metric.text.to_string(),
                    unit: metric.unit,
                    summary: metric.unit.clip(Summary::of(&values)),
                    values: values
                        .into_iter()
                        .map(|v| v.is_finite().then_some(v))
                        .collect(),
                });
            }
        }
        for series in runs.first().map_or(&[][..], |run| &run.series) {
            let same: Vec<&Series> = runs
                .iter()
                .filter_map(|run| run.series.iter().find(|s| s.name == series.name))
                .collect();
            group.series.push(SeriesOfAll {
                name: series.name,
                text: series.text,
                unit: series.unit,
                points: together(&same, series.unit),
            });
        }
        group
    }

    /// A figure by its name.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<&MetricOfAll> {
        self.metrics.iter().find(|metric| metric.name == name)
    }

    /// A series by its name.
    #[must_use]
    pub fn series(&self, name: &str) -> Option<&SeriesOfAll> {
        self.series.iter().find(|series| series.name == name)
    }
}

/// Point by point, as far as all go.
fn together(series: &[&Series], unit: Unit) -> Vec<Point> {
    let len = series.iter().map(|s| s.points.len()).min().unwrap_or(0);
    (0..len)
        .map(|i| {
            let values: Vec<f64> = series.iter().map(|s| s.points[i].1).collect();
            let summary = unit.clip(Summary::of(&values));
            let mean = summary.mean.unwrap_or(0.0);
            Point {
                x: series[0].points[i].0,
                mean,
                low: summary.low.unwrap_or(mean),
                high: summary.high.unwrap_or(mean),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(value: f64, late: Option<f64>) -> Measures {
        let mut measures = Measures::default();
        measures.metric("a", Unit::Seconds, "the first", value);
        if let Some(late) = late {
            measures.metric("b", Unit::BytesPerSecond, "of a rare kind", late);
        }
        measures.series.push(Series {
            name: "s",
            text: "a series",
            unit: Unit::Share,
            points: vec![(0.0, value), (1.0, 2.0 * value)],
        });
        measures
    }

    #[test]
    fn runs_are_put_together_by_name() {
        let runs = [
            run(1.0, None),
            run(f64::INFINITY, Some(4.0)),
            run(3.0, None),
        ];
        let group = Group::of(10, "join", "t".into(), &runs.iter().collect::<Vec<_>>());
        let a = group.metric("a").unwrap();
        assert_eq!((a.summary.mean, a.summary.never), (Some(2.0), 1));
        assert_eq!(a.values, [Some(1.0), None, Some(3.0)]);
        // What a run does not name did not happen in it.
        let b = group.metric("b").unwrap();
        assert_eq!(b.values, [Some(0.0), Some(4.0), Some(0.0)]);
        let points = &group.series("s").unwrap().points;
        assert_eq!((points[1].x, points[1].mean), (1.0, 4.0));
        assert!(group.metric("c").is_none());
    }

    #[test]
    fn intervals_stay_within_what_there_can_be() {
        let runs = [0.0, 1.0].map(|value| {
            let mut measures = Measures::default();
            measures.metric("share", Unit::Share, "", value);
            measures.metric("count", Unit::Count, "", value);
            measures
        });
        let group = Group::of(10, "join", "t".into(), &runs.iter().collect::<Vec<_>>());
        let of = |name| group.metric(name).map(|m| (m.summary.low, m.summary.high));
        assert_eq!(of("share"), Some((Some(0.0), Some(1.0))));
        assert!(of("count").is_some_and(|(low, high)| low == Some(0.0) && high > Some(1.0)));
    }

    #[test]
    fn figures_for_people() {
        let shown = [
            Unit::Share.show(0.999),
            Unit::Seconds.show(3.456),
            Unit::Count.show(5.0),
            Unit::Count.show(4.25),
            Unit::BytesPerSecond.show(812.34),
        ];
        assert_eq!(shown, ["99.90 %", "3.46 s", "5", "4.25", "812.3 B/s"]);
    }
}
