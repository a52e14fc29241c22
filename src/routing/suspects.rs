//! How many origins a hop could suspect. The assumptions stand in the module's
//! documentation above; here is the counting. Not here: what is done with the
//! counts (`search`).

use std::collections::HashMap;

use super::graph::{Graph, Id, MAX_LINKS};

/// Longest walk counted back from a hop: from the exit's neighbour on a leg of
/// six nodes to the entry neighbour.
const MAX_STEPS: usize = 4;

/// Most nodes entered in one walk; a mesh of degree five has at most
/// 1 + 4 + 16 + 64 + 256 = 341. Beyond it candidates are left out, which makes
/// the count smaller.
const WALK_BUDGET: usize = 2_048;

/// For each hop of a route, how many nodes could have begun the circuit, as
/// far as that hop can tell from what it sees and the public graph.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Suspects {
    /// In the order of the over leg. An entry neighbour counts 1.
    pub over: Vec<u32>,
    /// In the order of the back leg. An entry neighbour counts 1.
    pub back: Vec<u32>,
    lowest: u32,
}

impl Suspects {
    /// The lowest count of all hops, the two entry neighbours at the ends of
    /// the loop left out. 1 for circuits of one hop.
    #[must_use]
    pub fn lowest(&self) -> u32 {
        self.lowest
    }
}

/// One passage of a circuit, seen by a hop and followed back to the entry: the
/// node next to the hop on the entry's side, how many edges that one is from
/// the entry neighbour, and nodes the walk cannot have come through.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Sight {
    from: Id,
    steps: usize,
    avoid: [Id; 2],
}

/// All that a hop sees of one circuit.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct View {
    first: Sight,
    second: Option<Sight>,
    /// The loop begins and ends at two different entry neighbours.
    two_entries: bool,
    /// Nodes that the hop knows not to be the origin: itself and those beside.
    seen: [Id; View::SEEN],
}

impl View {
    /// A hop on both legs has four beside it.
    const SEEN: usize = 5;
}

/// Counts, and remembers counts, over one graph.
pub(super) struct Observer<'g> {
    graph: &'g Graph,
    /// Nodes with at least one, and at least two, places for unlisted links.
    spare: [usize; 2],
    counted: HashMap<View, u32>,
}

impl<'g> Observer<'g> {
    pub(super) fn new(graph: &'g Graph) -> Self {
        let with = |places| graph.ids().filter(|id| graph.spare(*id) >= places).count();
        Self {
            graph,
            spare: [with(1), with(2)],
            counted: HashMap::new(),
        }
    }

    /// What every relay and exit of a loop with one entry neighbour is left with
    /// at the least: all nodes with a place free, without those beside the entry
    /// neighbour and those beside the hop.
    pub(super) fn sure(&self) -> u32 {
        let beside = 1 + MAX_LINKS + View::SEEN;
        u32::try_from(self.spare[0].saturating_sub(beside)).unwrap_or(u32::MAX)
    }

    /// The lowest count among the relays of one leg taken for itself, its
    /// entry neighbour left out. A leg runs from the entry neighbour to the
    /// exit, whichever way the cells go.
    pub(super) fn relays(&mut self, leg: &[Id]) -> u32 {
        (1..leg.len().saturating_sub(1))
            .map(|at| self.relay(leg, at))
            .min()
            .unwrap_or(u32::MAX)
    }

    /// The lowest count among the exit and the relays that are on both legs.
    pub(super) fn joint(&mut self, over: &[Id], home: &[Id]) -> u32 {
        let mut lowest = self.exit(over, home);
        for at in 1..over.len().saturating_sub(1) {
            if let Some(home_at) = relay_place(home, over[at]) {
                lowest = lowest.min(self.twice(over, at, home, home_at));
            }
        }
        lowest
    }

    /// The counts of a whole route. `home` is the back leg from the entry
    /// neighbour to the exit.
    pub(super) fn report(&mut self, over: &[Id], home: &[Id]) -> Suspects {
        let relay = |this: &mut Self, leg: &[Id], at: usize, other: &[Id]| match at {
            0 => 1,
            _ => match relay_place(other, leg[at]) {
                // Both orders give one figure: the two sights are intersected.
                Some(other_at) => this.twice(leg, at, other, other_at),
                None => this.relay(leg, at),
            },
        };
        let last = over.len() - 1;
        let mut counts: Vec<u32> = (0..last).map(|at| relay(self, over, at, home)).collect();
        counts.push(self.exit(over, home));
        let back: Vec<u32> = (0..home.len() - 1)
            .rev()
            .map(|at| relay(self, home, at, over))
            .collect();
        let inner = counts.iter().skip(1);
        let inner_back = back.iter().rev().skip(1);
        Suspects {
            lowest: inner.chain(inner_back).copied().min().unwrap_or(1),
            over: counts,
            back,
        }
    }

    fn exit(&mut self, over: &[Id], home: &[Id]) -> u32 {
        let exit = over[over.len() - 1];
        if over.len() < 2 || home.len() < 2 || self.graph.is_entry(exit) {
            return 1;
        }
        let before = over[over.len() - 2];
        let after = home[home.len() - 2];
        // One node on both legs is no news about where the other leg went; an observer who takes
        // it for news looks in the wrong place.
        let other = |leg: &[Id], other: Id| if leg.contains(&other) { exit } else { other };
        let sight = |leg: &[Id], from, avoid| Sight {
            from,
            steps: leg.len() - 2,
            avoid: [exit, avoid],
        };
        self.count(View {
            first: sight(over, before, other(over, after)),
            second: Some(sight(home, after, other(home, before))),
            two_entries: over[0] != home[0],
            seen: [exit, before, after, exit, exit],
        })
    }

    fn relay(&mut self, leg: &[Id], at: usize) -> u32 {
        let hop = leg[at];
        if self.graph.is_entry(hop) {
            return 1;
        }
        self.count(View {
            first: sight(leg, at),
            second: None,
            two_entries: false,
            seen: [hop, leg[at - 1], leg[at + 1], hop, hop],
        })
    }

    fn twice(&mut self, leg: &[Id], at: usize, other: &[Id], other_at: usize) -> u32 {
        let hop = leg[at];
        if self.graph.is_entry(hop) {
            return 1;
        }
        let seen = [
            hop,
            leg[at - 1],
            leg[at + 1],
            other[other_at - 1],
            other[other_at + 1],
        ];
        self.count(View {
            first: sight(leg, at),
            second: Some(sight(other, other_at)),
            two_entries: leg[0] != other[0],
            seen,
        })
    }

    fn count(&mut self, view: View) -> u32 {
        if let Some(count) = self.counted.get(&view) {
            return *count;
        }
        let first = self.walk(view.first);
        let second = view.second.map(|sight| self.walk(sight));
        let count = match second {
            Some(second) if view.two_entries => self.origins_of_two(&first, &second, &view.seen),
            Some(second) => {
                let both: Vec<Id> = first.into_iter().filter(|e| second.contains(e)).collect();
                self.origins_of_one(&both, &view.seen)
            }
            None => self.origins_of_one(&first, &view.seen),
        };
        // The origin itself is always one of them.
        let count = u32::try_from(count.max(1)).unwrap_or(u32::MAX);
        self.counted.insert(view, count);
        count
    }

    /// Nodes that could have an entry link to at least one of `entries`.
    fn origins_of_one(&self, entries: &[Id], seen: &[Id]) -> usize {
        let Some(first) = entries.first() else {
            return 0;
        };
        let linkable = |origin| entries.iter().any(|e| self.linkable(origin, *e));
        // Whoever can link to the first is in; only those beside it need a look.
        let beside = self.closed(&[*first]);
        self.tally(1, &beside, seen, linkable)
    }

    /// Nodes that could have entry links to one of each, two different ones.
    fn origins_of_two(&self, first: &[Id], second: &[Id], seen: &[Id]) -> usize {
        let linkable = |origin: Id| {
            let mut can = first.iter().filter(|e| self.linkable(origin, **e));
            let Some(one) = can.next() else { return false };
            let other = can.next().is_some();
            second
                .iter()
                .any(|e| self.linkable(origin, *e) && (other || e != one))
        };
        // Whoever can link to the first two of a set that has two, or to the
        // only one of a set that has one, and so for both sets, is in: two
        // single sets are of different nodes by definition.
        let two = |set: &[Id]| set.iter().take(2).copied().collect::<Vec<_>>();
        let near: Vec<Id> = two(first).into_iter().chain(two(second)).collect();
        if first.is_empty() || second.is_empty() || (near.len() == 2 && near[0] == near[1]) {
            return 0;
        }
        self.tally(2, &self.closed(&near), seen, linkable)
    }

    /// All nodes with `places` free, without those `seen` and those among
    /// `doubtful` that fail the test.
    fn tally(
        &self,
        places: usize,
        doubtful: &[Id],
        seen: &[Id],
        linkable: impl Fn(Id) -> bool,
    ) -> usize {
        let mut seen = seen.to_vec();
        seen.sort_unstable();
        seen.dedup();
        let has = |id: &&Id| self.graph.spare(**id) >= places;
        let out = seen.iter().filter(has).count();
        let failing = doubtful
            .iter()
            .filter(|id| !seen.contains(id))
            .filter(has)
            .filter(|id| !linkable(**id))
            .count();
        self.spare[places - 1].saturating_sub(out + failing)
    }

    /// One link between two nodes, listed or not: who is listed is not unlisted.
    fn linkable(&self, origin: Id, entry: Id) -> bool {
        origin != entry && !self.graph.adjacent(origin, entry)
    }

    /// The nodes and everyone beside them, each once.
    fn closed(&self, nodes: &[Id]) -> Vec<Id> {
        let beside = nodes.iter().flat_map(|id| self.graph.edges(*id));
        let mut all: Vec<Id> = beside.chain(nodes).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Every possible entry neighbour at the far end of what was seen.
    fn walk(&self, sight: Sight) -> Vec<Id> {
        let mut walk = Walk {
            graph: self.graph,
            avoid: sight.avoid,
            path: Vec::with_capacity(MAX_STEPS + 1),
            ends: Vec::new(),
            budget: WALK_BUDGET,
        };
        walk.step(sight.from, sight.steps.min(MAX_STEPS));
        walk.ends.sort_unstable();
        walk.ends.dedup();
        walk.ends
    }
}

/// What the relay at `at` sees of one leg, towards the entry.
fn sight(leg: &[Id], at: usize) -> Sight {
    Sight {
        from: leg[at - 1],
        steps: at - 1,
        avoid: [leg[at], leg[at + 1]],
    }
}

/// Where `node` is a relay, not the entry and not the exit, of a leg.
fn relay_place(leg: &[Id], node: Id) -> Option<usize> {
    (1..leg.len().saturating_sub(1)).find(|at| leg[*at] == node)
}

struct Walk<'g> {
    graph: &'g Graph,
    avoid: [Id; 2],
    path: Vec<Id>,
    ends: Vec<Id>,
    budget: usize,
}

impl Walk<'_> {
    fn step(&mut self, at: Id, left: usize) {
        if self.budget == 0 || !self.graph.node(at).routes {
            return;
        }
        self.budget -= 1;
        if left == 0 {
            if self.graph.spare(at) > 0 {
                self.ends.push(at);
            }
            return;
        }
        self.path.push(at);
        for next in self.graph.edges(at) {
            if !self.avoid.contains(next) && !self.path.contains(next) {
                self.step(*next, left - 1);
            }
        }
        self.path.pop();
    }
}
