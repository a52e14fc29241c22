//! Whether a route exists: the question behind the stage `RouteFound`. Which
//! route to take is not decided here, nor anywhere in this crate.

use super::store::Store;
use crate::key::NodeKey;

/// Most steps of one search; a search that needs more counts as failed. Guess: radius 4 needs
/// some hundreds.
const MAX_STEPS: u32 = 20_000;

/// Whether a path of exactly `hops` different nodes leads from one of the `start` nodes over
/// listed edges, never through `me`, to an exit, with only nodes that route before it.
pub(super) fn route_exists(store: &Store, me: NodeKey, start: &[NodeKey], hops: u8) -> bool {
    let mut steps = 0;
    let mut path = vec![me];
    start
        .iter()
        .any(|first| extend(store, &mut path, *first, hops, &mut steps))
}

fn extend(
    store: &Store,
    path: &mut Vec<NodeKey>,
    next: NodeKey,
    left: u8,
    steps: &mut u32,
) -> bool {
    *steps += 1;
    if *steps > MAX_STEPS || path.contains(&next) {
        return false;
    }
    let Some(record) = store.get(&next) else {
        return false;
    };
    if left <= 1 {
        return record.roles.exits;
    }
    if !record.roles.routes {
        return false;
    }
    path.push(next);
    let onward: Vec<NodeKey> = store.mutual(&next).collect();
    let found = onward
        .into_iter()
        .any(|node| extend(store, path, node, left - 1, steps));
    path.pop();
    found
}
