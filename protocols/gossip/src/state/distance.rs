//! How far away slots are from some of them, kept up to date: after few edges came or went, only
//! what is further away or nearer for it is looked at, and else everything.

use super::graph::{Graph, Slot};

/// Not within the radius.
const NOWHERE: u8 = u8::MAX;

/// Distances over edges from the sources, up to a radius.
#[derive(Debug)]
pub(super) struct Distances {
    at: Vec<u8>,
    sources: Vec<Slot>,
    /// How far away the sources are.
    start: u8,
    radius: u8,
}

impl Distances {
    pub(super) fn new(start: u8, radius: u8) -> Self {
        Self {
            at: Vec::new(),
            sources: Vec::new(),
            start,
            radius,
        }
    }

    /// As of the last measuring or mending.
    pub(super) fn get(&self, slot: Slot) -> Option<u8> {
        let at = *self.at.get(usize::from(slot))?;
        (at != NOWHERE).then_some(at)
    }

    fn of(&self, slot: Slot) -> u8 {
        self.at[usize::from(slot)]
    }

    fn set(&mut self, slot: Slot, distance: u8) {
        self.at[usize::from(slot)] = distance;
    }

    /// Measures everything anew.
    pub(super) fn measure(&mut self, graph: &Graph, sources: Vec<Slot>) {
        self.at.clear();
        self.at.resize(graph.vertices().len(), NOWHERE);
        let mut queue: Vec<Slot> = Vec::with_capacity(self.at.len());
        for slot in &sources {
            if self.of(*slot) == NOWHERE {
                self.set(*slot, self.start);
                queue.push(*slot);
            }
        }
        self.sources = sources;
        let mut next = 0;
        while let Some(slot) = queue.get(next).copied() {
            next += 1;
            let further = self.of(slot) + 1;
            if further > self.radius {
                // Those that follow are no nearer.
                break;
            }
            for other in graph.vertex(slot).edges.as_slice() {
                if self.of(*other) == NOWHERE {
                    self.set(*other, further);
                    queue.push(*other);
                }
            }
        }
    }

    /// Brings distances up to date after edges came and went, at the `ends` of each of them. The
    /// sources are the same. Says which distances changed, some perhaps twice.
    pub(super) fn mend(&mut self, graph: &Graph, ends: &[Slot]) -> Vec<Slot> {
        self.at.resize(graph.vertices().len(), NOWHERE);
        let mut changed = self.cut_off(graph, ends);
        let mut nearer = Rings::default();
        for slot in changed.iter().chain(ends) {
            for other in graph.vertex(*slot).edges.as_slice() {
                self.offer(*other, *slot, &mut nearer);
                self.offer(*slot, *other, &mut nearer);
            }
        }
        while let Some((distance, slot)) = nearer.next() {
            if self.of(slot) <= distance {
                continue;
            }
            self.set(slot, distance);
            changed.push(slot);
            for other in graph.vertex(slot).edges.as_slice() {
                self.offer(slot, *other, &mut nearer);
            }
        }
        changed
    }

    /// Forgets the distances of those to which no way as short as before leads any more.
    fn cut_off(&mut self, graph: &Graph, ends: &[Slot]) -> Vec<Slot> {
        let mut doubtful = Rings::default();
        for slot in ends {
            self.doubt(*slot, &mut doubtful);
        }
        let mut lost = Vec::new();
        while let Some((distance, slot)) = doubtful.next() {
            let edges = graph.vertex(slot).edges.as_slice();
            // Who is nearer is beyond doubt by now: rings come nearest first.
            if self.of(slot) == NOWHERE || edges.iter().any(|other| self.of(*other) < distance) {
                continue;
            }
            self.set(slot, NOWHERE);
            lost.push(slot);
            for other in edges {
                if self.of(*other) == distance + 1 {
                    self.doubt(*other, &mut doubtful);
                }
            }
        }
        lost
    }

    fn doubt(&self, slot: Slot, doubtful: &mut Rings) {
        let distance = self.of(slot);
        if distance != NOWHERE && !self.sources.contains(&slot) {
            doubtful.add(distance, slot);
        }
    }

    /// There is a way to `to` over an edge from `from`.
    fn offer(&self, from: Slot, to: Slot, nearer: &mut Rings) {
        let distance = self.of(from).saturating_add(1);
        if distance <= self.radius && distance < self.of(to) {
            nearer.add(distance, to);
        }
    }
}

/// Slots by distance, nearest first, while those that are added are no nearer than the last.
#[derive(Default)]
struct Rings(std::collections::BTreeSet<(u8, Slot)>);

impl Rings {
    fn add(&mut self, distance: u8, slot: Slot) {
        self.0.insert((distance, slot));
    }

    fn next(&mut self) -> Option<(u8, Slot)> {
        self.0.pop_first()
    }
}
