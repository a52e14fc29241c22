//! Whether a route exists: the question behind the stage `RouteFound`. Which
//! route to take is not decided here, nor anywhere in this crate.

use std::collections::HashMap;

use super::store::{Slot, Store};
use crate::key::NodeKey;

/// Most steps of one search; a search that needs more counts as failed. Guess: radius 4 needs
/// some hundreds.
const MAX_STEPS: u32 = 20_000;

/// Whether a path of exactly `hops` different nodes leads from one of the `start` nodes over
/// listed edges, never through `me`, to an exit, with only nodes that route before it.
pub(super) fn route_exists(store: &Store, me: NodeKey, start: &[NodeKey], hops: u8) -> bool {
    route_over(store, me, start, hops, |_, _| true)
}

/// The same, over those edges only for which `holds` says so; the one to the first node included.
pub(super) fn route_over(
    store: &Store,
    me: NodeKey,
    start: &[NodeKey],
    hops: u8,
    holds: impl Fn(Slot, Slot) -> bool,
) -> bool {
    // Our own record is always held, once it has been made.
    let own = store.slot(&me);
    let first: Vec<Slot> = start
        .iter()
        .filter_map(|node| store.slot(node))
        .filter(|slot| own.is_none_or(|own| holds(own, *slot)))
        .collect();
    let mut search = Search {
        store,
        path: Vec::with_capacity(usize::from(hops) + 1),
        steps: 0,
        holds,
    };
    search.path.extend(own);
    first.into_iter().any(|first| search.extend(first, hops))
}

/// A shortest path over listed edges from one of the `start` nodes to `to`, never through `me`,
/// with only nodes that route before it: how a circuit could go there. At most `most` nodes.
pub(super) fn path_to(
    store: &Store,
    me: NodeKey,
    start: &[NodeKey],
    to: &NodeKey,
    most: usize,
) -> Option<Vec<NodeKey>> {
    let goal = store.slot(to)?;
    let own = store.slot(&me);
    let mut came: HashMap<Slot, Option<Slot>> = HashMap::new();
    let mut ring: Vec<Slot> = start.iter().filter_map(|node| store.slot(node)).collect();
    came.extend(ring.iter().map(|slot| (*slot, None)));
    for _ in 0..most {
        if came.contains_key(&goal) {
            let back = std::iter::successors(Some(goal), |slot| came.get(slot).copied().flatten());
            let mut path: Vec<NodeKey> = back
                .filter_map(|slot| Some(store.at(slot)?.record.node()))
                .collect();
            path.reverse();
            return Some(path);
        }
        let mut next = Vec::new();
        for slot in ring {
            let routes = store.vertex(slot).is_some_and(|vertex| vertex.routes);
            for other in store.edges(slot).iter().filter(|_| routes) {
                if Some(*other) != own && !came.contains_key(other) {
                    came.insert(*other, Some(slot));
                    next.push(*other);
                }
            }
        }
        ring = next;
    }
    None
}

struct Search<'a, F> {
    store: &'a Store,
    path: Vec<Slot>,
    steps: u32,
    holds: F,
}

impl<F: Fn(Slot, Slot) -> bool> Search<'_, F> {
    fn extend(&mut self, next: Slot, left: u8) -> bool {
        self.steps += 1;
        if self.steps > MAX_STEPS || self.path.contains(&next) {
            return false;
        }
        let Some(vertex) = self.store.vertex(next) else {
            return false;
        };
        if left <= 1 {
            return vertex.exits;
        }
        if !vertex.routes {
            return false;
        }
        self.path.push(next);
        let mut edges = vertex.edges.as_slice().iter().copied();
        let found = edges.any(|to| (self.holds)(next, to) && self.extend(to, left - 1));
        self.path.pop();
        found
    }
}
