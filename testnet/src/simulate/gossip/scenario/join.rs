//! Nodes join one after the other and rest: how long it takes, what becomes of
//! the mesh, what it costs.

use std::time::Duration;

use super::{SECOND, number, share_of, whole_run};
use crate::simulate::gossip::measure::{Measures, Series, Unit};
use crate::simulate::gossip::stats::{percentile, sorted};
use crate::simulate::gossip::world::World;

/// A node should not have fewer than two neighbours for longer than this. From the target.
const FEW_AT_MOST: Duration = Duration::from_secs(30);
/// How far the picture of join times goes, and its steps.
const JOIN_SHOWN: Duration = Duration::from_secs(30);
const JOIN_STEP: Duration = Duration::from_millis(250);

/// Traffic up to some moment, and how long nodes lived until then, all together.
#[derive(Clone)]
struct Mark {
    bytes: u64,
    messages: u64,
    node_seconds: f64,
    kinds: Vec<(&'static str, u64)>,
}

impl Mark {
    fn of(world: &World<'_>, node_seconds: f64) -> Self {
        let (bytes, messages) = world.traffic();
        Self {
            bytes,
            messages,
            node_seconds,
            kinds: world.kinds(),
        }
    }
}

pub(super) fn run(world: &mut World<'_>) -> Measures {
    let plan = world.plan();
    let mut lived = 0.0;
    let begin = Mark::of(world, lived);
    go(world, plan.over.get(), &mut lived);
    let joined = Mark::of(world, lived);
    // What joining brought about has to come to rest first.
    go(world, plan.rest.get() / 2, &mut lived);
    let settled = Mark::of(world, lived);
    go(world, plan.rest.get() - plan.rest.get() / 2, &mut lived);
    let end = Mark::of(world, lived);

    let mut measures = Measures::default();
    times(world, &mut measures);
    shape(world, &mut measures);
    costs(&mut measures, "joining", "while joining", &begin, &joined);
    costs(&mut measures, "rest", "at rest", &settled, &end);
    kinds(&mut measures, &settled, &end);
    records(world, &mut measures);
    whole_run(world, &mut measures);
    measures
}

fn go(world: &mut World<'_>, time: Duration, lived: &mut f64) {
    let end = world.now() + time;
    while world.now() < end {
        let step = SECOND.min(end - world.now());
        world.run(step);
        *lived += number(world.living().len()) * step.as_secs_f64();
    }
}

/// From birth to the first route.
fn times(world: &World<'_>, measures: &mut Measures) {
    let living = world.living();
    let took = |index: &usize| {
        let born = world.born(*index).unwrap_or_default();
        // Who has no route yet has waited that long at least.
        let routed = world.routed(*index).unwrap_or(world.now());
        routed.saturating_sub(born).as_secs_f64()
    };
    let times = sorted(living.iter().map(took));
    for (name, text, share) in [
        ("join_p50", "from start to a route, p50", 0.5),
        ("join_p95", "… p95", 0.95),
        ("join_p99", "… p99", 0.99),
        ("join_max", "… the slowest", 1.0),
    ] {
        measures.metric(name, Unit::Seconds, text, percentile(&times, share));
    }
    let never = living
        .iter()
        .filter(|i| world.routed(**i).is_none())
        .count();
    measures.count("never_routed", "nodes that never had a route", never);
    let steps = JOIN_SHOWN.as_millis() / JOIN_STEP.as_millis();
    let curve = (0..=u32::try_from(steps).unwrap_or(0)).map(|i| {
        let x = (JOIN_STEP * i).as_secs_f64();
        (x, share_of(&times, |took| *took <= x))
    });
    measures.series.push(Series {
        name: "joined",
        text: "share of nodes with a route by this time after their start",
        unit: Unit::Share,
        points: curve.collect(),
    });
}

fn shape(world: &World<'_>, measures: &mut Measures) {
    let picture = world.picture();
    let living = &picture.living;
    let largest = picture.components().first().copied().unwrap_or(0);
    let all = number(living.len().max(1));
    measures.metric(
        "largest_component",
        Unit::Share,
        "nodes in the largest component, at rest",
        number(largest) / all,
    );
    measures.metric(
        "routed",
        Unit::Share,
        "nodes with a route that works, at rest",
        share_of(living, |index| world.has_route(&picture, *index)),
    );
    let degrees = picture.degrees();
    let links: usize = degrees.iter().enumerate().map(|(k, n)| k * n).sum();
    measures.metric(
        "mean_degree",
        Unit::Count,
        "neighbours of a node, mean, at rest",
        number(links) / all,
    );
    for (degree, nodes) in degrees.iter().enumerate() {
        let text = match degree {
            0 => "nodes with no neighbour".to_owned(),
            k => format!("… with {k}"),
        };
        measures.metric(
            format!("degree_{degree}"),
            Unit::Share,
            text,
            number(*nodes) / all,
        );
    }
    let few = living.iter().map(|index| world.longest_few(*index));
    let few: Vec<Duration> = few.collect();
    measures.metric(
        "few_longest",
        Unit::Seconds,
        "longest time any node had fewer than two neighbours",
        few.iter().max().map_or(0.0, Duration::as_secs_f64),
    );
    let too_long = few.iter().filter(|few| **few > FEW_AT_MOST).count();
    measures.count(
        "few_too_long",
        "nodes for which it was more than 30 s",
        too_long,
    );
}

fn costs(measures: &mut Measures, name: &str, when: &str, from: &Mark, to: &Mark) {
    let lived = (to.node_seconds - from.node_seconds).max(f64::MIN_POSITIVE);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let per = |from: u64, to: u64| (to - from) as f64 / lived;
    measures.metric(
        format!("bytes_{name}"),
        Unit::BytesPerSecond,
        format!("sent per node {when}"),
        per(from.bytes, to.bytes),
    );
    measures.metric(
        format!("messages_{name}"),
        Unit::PerSecond,
        format!("messages per node and second {when}"),
        per(from.messages, to.messages),
    );
}

fn kinds(measures: &mut Measures, from: &Mark, to: &Mark) {
    let lived = (to.node_seconds - from.node_seconds).max(f64::MIN_POSITIVE);
    for (kind, bytes) in &to.kinds {
        let before = from.kinds.iter().find(|(other, _)| other == kind);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let sent = (bytes - before.map_or(0, |(_, bytes)| *bytes)) as f64;
        measures.metric(
            format!("bytes_rest_{kind}"),
            Unit::BytesPerSecond,
            format!("… of them {kind}"),
            sent / lived,
        );
    }
}

fn records(world: &World<'_>, measures: &mut Measures) {
    let held = sorted(world.living().iter().map(|i| number(world.records(*i))));
    let mean = held.iter().sum::<f64>() / number(held.len().max(1));
    measures.metric(
        "records_mean",
        Unit::Count,
        "records held per node, mean",
        mean,
    );
    measures.metric("records_p99", Unit::Count, "… p99", percentile(&held, 0.99));
}
