//! Whether a route exists: the question behind the stage `RouteFound`. Which
//! route to take is not decided here, nor anywhere in this crate.

use super::store::{Slot, Store};
use crate::key::NodeKey;

/// Most steps of one search; a search that needs more counts as failed. Guess: radius 4 needs
/// some hundreds.
const MAX_STEPS: u32 = 20_000;

/// Whether a path of exactly `hops` different nodes leads from one of the `start` nodes over
/// listed edges, never through `me`, to an exit, with only nodes that route before it.
pub(super) fn route_exists(store: &Store, me: NodeKey, start: &[NodeKey], hops: u8) -> bool {
    let mut search = Search {
        store,
        path: Vec::with_capacity(usize::from(hops) + 1),
        steps: 0,
    };
    // Our own record is always held, once it has been made.
    search.path.extend(store.slot(&me));
    let mut slots = start.iter().filter_map(|node| store.slot(node));
    slots.any(|first| search.extend(first, hops))
}

struct Search<'a> {
    store: &'a Store,
    path: Vec<Slot>,
    steps: u32,
}

impl Search<'_> {
    fn extend(&mut self, next: Slot, left: u8) -> bool {
        self.steps += 1;
        if self.steps > MAX_STEPS || self.path.contains(&next) {
            return false;
        }
        let Some(record) = self.store.at(next).map(|stored| &stored.record) else {
            return false;
        };
        if left <= 1 {
            return record.roles.exits;
        }
        if !record.roles.routes {
            return false;
        }
        self.path.push(next);
        let store = self.store;
        let found = store
            .edges(next)
            .iter()
            .any(|node| self.extend(*node, left - 1));
        self.path.pop();
        found
    }
}
