//! A share of the nodes dies at one instant, and nobody is told: how long until
//! the others have routes again.

use std::time::Duration;

use rand::seq::SliceRandom as _;

use super::{SECOND, number, share_of};
use crate::simulate::gossip::measure::{Measures, Series, Unit};
use crate::simulate::gossip::units::Share;
use crate::simulate::gossip::world::World;

/// How long the survivors are watched.
pub(super) const WATCHED: Duration = Duration::from_secs(120);
/// When so many of the survivors have a route again, the mesh counts as healed. From the issue.
const HEALED: f64 = 0.99;

pub(super) fn run(world: &mut World<'_>, share: Share) -> Measures {
    let mut living = world.living();
    living.shuffle(world.rng());
    let dead = share.of(living.len());
    for index in living.drain(..dead) {
        world.kill(index);
    }
    let mut works = Vec::new();
    let mut believes = Vec::new();
    let mut broken = Vec::new();
    let seconds = u32::try_from(WATCHED.as_secs()).unwrap_or(0);
    for second in 0..=seconds {
        let picture = world.picture();
        let x = f64::from(second);
        works.push((x, share_of(&living, |i| world.has_route(&picture, *i))));
        believes.push((x, share_of(&living, |i| world.at_route(*i))));
        broken.push(picture.components().len());
        if second < seconds {
            world.run(SECOND);
        }
    }
    let mut measures = Measures::default();
    measures.count("dead", "nodes that died", dead);
    let at = |second: usize| works.get(second).map_or(0.0, |(_, share)| *share);
    measures.metric(
        "healed_after",
        Unit::Seconds,
        "until 99 % of the survivors had a route that works",
        first_healed(&works),
    );
    measures.metric(
        "healed_for_good",
        Unit::Seconds,
        "… and from then on",
        healed_for_good(&works),
    );
    for (name, text, second) in [
        (
            "routed_at_0",
            "survivors with a route that works, at once",
            0,
        ),
        ("routed_at_15", "… after 15 s", 15),
        ("routed_at_60", "… after 60 s", 60),
        ("routed_at_120", "… after 120 s", 120),
    ] {
        measures.metric(name, Unit::Share, text, at(second));
    }
    let picture = world.picture();
    let sizes = picture.components();
    measures.metric(
        "largest_component",
        Unit::Share,
        "survivors in the largest component after 120 s",
        number(sizes.first().copied().unwrap_or(0)) / number(living.len().max(1)),
    );
    let most = broken.into_iter().max().unwrap_or(0);
    measures.count("components_most", "components, at the worst moment", most);
    measures.count("components", "… after 120 s", sizes.len());
    measures.series.push(Series {
        name: "routed",
        text: "share of survivors with a route that works",
        unit: Unit::Share,
        points: works,
    });
    measures.series.push(Series {
        name: "at_route",
        text: "share of survivors at RouteFound by their own account",
        unit: Unit::Share,
        points: believes,
    });
    measures
}

/// The first moment at which the share is not below the line; never is infinite.
fn first_healed(works: &[(f64, f64)]) -> f64 {
    let first = works.iter().find(|(_, share)| *share >= HEALED);
    first.map_or(f64::INFINITY, |(second, _)| *second)
}

/// The first moment from which on it never falls below the line.
fn healed_for_good(works: &[(f64, f64)]) -> f64 {
    let last_below = works.iter().rposition(|(_, share)| *share < HEALED);
    let first = last_below.map_or(0, |below| below + 1);
    works
        .get(first)
        .map_or(f64::INFINITY, |(second, _)| *second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn healed_once_and_for_good() {
        let of = |shares: &[f64]| {
            let points = shares.iter().enumerate().map(|(i, s)| (i as f64, *s));
            let points: Vec<(f64, f64)> = points.collect();
            (first_healed(&points), healed_for_good(&points))
        };
        assert_eq!(of(&[1.0, 1.0]), (0.0, 0.0));
        assert_eq!(of(&[0.5, 0.99, 0.98, 0.99, 1.0]), (1.0, 3.0));
        assert_eq!(of(&[0.5, 0.9]), (f64::INFINITY, f64::INFINITY));
    }
}
