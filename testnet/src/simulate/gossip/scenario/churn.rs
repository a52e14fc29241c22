//! Nodes leave, half of them without a word, and as many of the same kind join:
//! how many of those that are there have a route at any moment.

use std::time::Duration;

use rand::RngExt as _;
use rand::seq::IndexedRandom as _;

use super::{SECOND, number, share_of};
use crate::simulate::gossip::measure::{Measures, Series, Unit};
use crate::simulate::gossip::stats::{percentile, sorted};
use crate::simulate::gossip::units::Rate;
use crate::simulate::gossip::world::World;

/// Between two looks at the mesh.
const LOOK: u64 = 10;
/// Who is younger than this is not expected to have a route, and does not leave.
const GROWN: Duration = Duration::from_secs(30);
/// After its goodbye a node is gone. Guess: long enough for what it said to leave.
const GOODBYE: Duration = SECOND;

pub(super) fn run(world: &mut World<'_>, rate: Rate, lasting: Duration) -> Measures {
    let begin = world.now();
    let first_new = world.count();
    let per_second = rate.per_second() * number(world.living().len());
    let mut due = 0.0;
    let mut left = 0usize;
    let mut leaving: Vec<(Duration, usize)> = Vec::new();
    let mut works = Vec::new();
    let mut believes = Vec::new();
    for second in 1..=lasting.as_secs() {
        due += per_second;
        while due >= 1.0 {
            due -= 1.0;
            left += usize::from(replace_one(world, &mut leaving));
        }
        world.run(SECOND);
        let now = world.now();
        leaving.retain(|(at, index)| {
            let gone = *at <= now;
            if gone {
                world.kill(*index);
            }
            !gone
        });
        if second % LOOK == 0 {
            let picture = world.picture();
            let grown = grown(world);
            let x = (world.now() - begin).as_secs_f64();
            works.push((x, share_of(&grown, |i| world.has_route(&picture, *i))));
            believes.push((x, share_of(&grown, |i| world.at_route(*i))));
        }
    }
    let mut measures = Measures::default();
    measures.count("replaced", "nodes that left, and as many that joined", left);
    let shares = works.iter().map(|(_, share)| *share);
    measures.metric(
        "routed_min",
        Unit::Share,
        "nodes older than 30 s with a route that works, at the worst moment",
        shares.clone().fold(1.0, f64::min),
    );
    let mean = |points: &[(f64, f64)]| {
        points.iter().map(|(_, share)| share).sum::<f64>() / number(points.len().max(1))
    };
    measures.metric("routed_mean", Unit::Share, "… mean", mean(&works));
    measures.metric(
        "at_route_mean",
        Unit::Share,
        "nodes at RouteFound by their own account, mean",
        mean(&believes),
    );
    newcomers(world, first_new, &mut measures);
    let picture = world.picture();
    let sizes = picture.components();
    measures.metric(
        "largest_component",
        Unit::Share,
        "nodes in the largest component, at the end",
        number(sizes.first().copied().unwrap_or(0)) / number(picture.living.len().max(1)),
    );
    measures.series.push(Series {
        name: "routed",
        text: "share of nodes older than 30 s with a route that works",
        unit: Unit::Share,
        points: works,
    });
    measures
}

fn grown(world: &World<'_>) -> Vec<usize> {
    let mut living = world.living();
    let old = |born: Duration| born + GROWN <= world.now();
    living.retain(|index| world.born(*index).is_some_and(old));
    living
}

/// One leaves, another joins. Seeds stay: they are there to be joined through.
fn replace_one(world: &mut World<'_>, leaving: &mut Vec<(Duration, usize)>) -> bool {
    let mut may_leave = grown(world);
    may_leave.retain(|index| !world.is_seed(*index));
    let Some(index) = may_leave.choose(world.rng()).copied() else {
        return false;
    };
    if world.rng().random() {
        world.say_goodbye(index);
        leaving.push((world.now() + GOODBYE, index));
    } else {
        world.kill(index);
    }
    world.join_like(index);
    true
}

fn newcomers(world: &World<'_>, first: usize, measures: &mut Measures) {
    let stayed = grown(world);
    let newcomers = stayed.iter().filter(|index| **index >= first);
    let times = sorted(newcomers.map(|index| {
        let born = world.born(*index).unwrap_or_default();
        let routed = world.routed(*index).unwrap_or(world.now());
        routed.saturating_sub(born).as_secs_f64()
    }));
    measures.metric(
        "join_p95",
        Unit::Seconds,
        "from start to a route, of newcomers that stayed, p95",
        percentile(&times, 0.95),
    );
}
