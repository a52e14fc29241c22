//! Two halves of the mesh cannot reach each other for some time: how long until
//! they are one again.

use std::time::Duration;

use super::{SECOND, number, share_of};
use crate::simulate::gossip::measure::{Measures, Series, Unit};
use crate::simulate::gossip::world::World;

/// How long the joined halves are watched. From the target.
pub(super) const WATCHED: Duration = Duration::from_secs(180);
/// When so many are in one component, only stragglers are missing.
const NEARLY_ALL: f64 = 0.999;

pub(super) fn run(world: &mut World<'_>, lasting: Duration) -> Measures {
    world.part();
    let begin = world.now();
    let mut largest = Vec::new();
    let look = |world: &World<'_>, largest: &mut Vec<(f64, f64)>| {
        let picture = world.picture();
        let sizes = picture.components();
        let share = number(sizes.first().copied().unwrap_or(0)) / number(picture.living.len());
        largest.push(((world.now() - begin).as_secs_f64(), share));
        sizes.len()
    };
    look(world, &mut largest);
    while world.now() < begin + lasting {
        world.run(SECOND.min(begin + lasting - world.now()));
        look(world, &mut largest);
    }
    let mut measures = Measures::default();
    let picture = world.picture();
    measures.metric(
        "routed_parted",
        Unit::Share,
        "nodes with a route that works, while parted, at the end",
        share_of(&picture.living, |i| world.has_route(&picture, *i)),
    );
    measures.count(
        "components_parted",
        "components just before the halves are joined",
        picture.components().len(),
    );
    world.heal();
    let healed = world.now();
    let mut one = f64::INFINITY;
    let mut nearly = f64::INFINITY;
    while world.now() < healed + WATCHED {
        world.run(SECOND);
        let components = look(world, &mut largest);
        let after = (world.now() - healed).as_secs_f64();
        if largest
            .last()
            .is_some_and(|(_, share)| *share >= NEARLY_ALL)
        {
            nearly = nearly.min(after);
        }
        if components == 1 {
            one = one.min(after);
        }
    }
    measures.metric(
        "nearly_one_after",
        Unit::Seconds,
        "until 99.9 % were in one component again",
        nearly,
    );
    measures.metric(
        "one_after",
        Unit::Seconds,
        "until all were in one component again",
        one,
    );
    let picture = world.picture();
    measures.metric(
        "routed_after",
        Unit::Share,
        "nodes with a route that works, 180 s after joining the halves",
        share_of(&picture.living, |i| world.has_route(&picture, *i)),
    );
    measures.count(
        "components",
        "components by then",
        picture.components().len(),
    );
    measures.series.push(Series {
        name: "largest",
        text: "share of nodes in the largest component",
        unit: Unit::Share,
        points: largest,
    });
    measures
}
