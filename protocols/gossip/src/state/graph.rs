//! The graph that the held records make, apart from the records: a few bytes for
//! each, side by side, so that walking it, counting in it and summing it up reads
//! little memory. Which record has which slot, and which edges there are, is
//! decided in `store`.

use crate::record::{MAX_LISTED, SignedRecord};
use crate::wire::BUCKET_LEN;

/// A record's place in the store, for as long as it is held.
pub(super) type Slot = u16;

const _: () = assert!(super::store::MAX_RECORDS <= Slot::MAX as usize);

/// Slots at the other ends of a record's edges, in order of their keys in the record.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Edges {
    slots: [Slot; MAX_LISTED],
    len: u8,
}

impl Edges {
    pub(super) fn as_slice(&self) -> &[Slot] {
        &self.slots[..usize::from(self.len)]
    }

    pub(super) fn add(&mut self, slot: Slot) {
        // Edges follow from lists of at most `MAX_LISTED` different nodes.
        if !self.as_slice().contains(&slot) && usize::from(self.len) < MAX_LISTED {
            self.slots[usize::from(self.len)] = slot;
            self.len += 1;
        }
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        if let Some(at) = self.as_slice().iter().position(|other| *other == slot) {
            self.len -= 1;
            self.slots.copy_within(at + 1.., at);
        }
    }

    /// Whether both lead to the same slots.
    #[cfg(test)]
    pub(super) fn same_as(&self, other: &Self) -> bool {
        let all = |of: &Self| of.as_slice().iter().all(|slot| self.has(*slot));
        self.len == other.len && all(other)
    }

    /// Those that do not lead to where any of the others does.
    pub(super) fn without(&self, other: &Self) -> Self {
        let mut left = Self::default();
        let slots = self.as_slice().iter().filter(|slot| !other.has(**slot));
        slots.for_each(|slot| left.add(*slot));
        left
    }

    fn has(&self, slot: Slot) -> bool {
        self.as_slice().contains(&slot)
    }
}

/// What is looked at of many records at a time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Vertex {
    pub(super) edges: Edges,
    /// How far away it is over edges that begin with our links, unless it is an orphan.
    pub(super) distance: Option<u8>,
    /// How far away it is over listed edges only, when it is within what we tell.
    pub(super) told: Option<u8>,
    /// What follows are copies of what the record says.
    pub(super) lists: u8,
    pub(super) routes: bool,
    pub(super) exits: bool,
}

/// What digests are made of, and when records end: copies of what the record says.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts {
    pub(super) expires: u64,
    /// The beginning of the record's hash.
    pub(super) hash: [u8; BUCKET_LEN],
    /// The first byte of the node's key.
    pub(super) first: u8,
}

/// Which slots the last walk reached, and how far away they are.
#[derive(Debug, Default)]
struct Reached {
    distance: Vec<Option<u8>>,
    /// Nearest first.
    order: Vec<Slot>,
}

impl Reached {
    fn begin(&mut self, slots: usize) {
        self.order.clear();
        self.distance.clear();
        self.distance.resize(slots, None);
    }

    fn add(&mut self, slot: Slot, distance: u8) {
        let at = &mut self.distance[usize::from(slot)];
        if at.is_none() {
            *at = Some(distance);
            self.order.push(slot);
        }
    }
}

/// Vertices by slot; free slots have no edges and are nowhere.
#[derive(Debug, Default)]
pub(super) struct Graph {
    vertices: Vec<Vertex>,
    facts: Vec<Facts>,
    reached: Reached,
}

impl Graph {
    pub(super) fn vertices(&self) -> &[Vertex] {
        &self.vertices
    }

    pub(super) fn vertex(&self, slot: Slot) -> &Vertex {
        &self.vertices[usize::from(slot)]
    }

    pub(super) fn vertex_mut(&mut self, slot: Slot) -> &mut Vertex {
        &mut self.vertices[usize::from(slot)]
    }

    pub(super) fn facts(&self, slot: Slot) -> &Facts {
        &self.facts[usize::from(slot)]
    }

    pub(super) fn all_facts(&self) -> &[Facts] {
        &self.facts
    }

    /// Notes what the record says that is held at a slot from now on. Its edges and distances stay.
    pub(super) fn note(&mut self, slot: Slot, record: &SignedRecord) {
        let at = usize::from(slot);
        if at >= self.vertices.len() {
            self.vertices.resize(at + 1, Vertex::default());
            self.facts.resize(at + 1, Facts::default());
        }
        let vertex = &mut self.vertices[at];
        vertex.lists = record.neighbours.len() as u8;
        vertex.routes = record.roles.routes;
        vertex.exits = record.roles.exits;
        self.facts[at] = Facts {
            expires: record.expires,
            hash: *record.hash().first_chunk().expect("a hash has 32 bytes"),
            first: record.node().0[0],
        };
    }

    /// A slot is free from now on.
    pub(super) fn clear(&mut self, slot: Slot) {
        self.vertices[usize::from(slot)] = Vertex::default();
        self.facts[usize::from(slot)] = Facts::default();
    }

    /// Walks over edges from the given slots (distance `start`), up to `radius`. What was reached,
    /// nearest first.
    pub(super) fn walk(
        &mut self,
        from: impl IntoIterator<Item = Slot>,
        start: u8,
        radius: u8,
    ) -> &[Slot] {
        let (vertices, reached) = (&self.vertices, &mut self.reached);
        reached.begin(vertices.len());
        for slot in from {
            reached.add(slot, start);
        }
        let mut next = 0;
        while let Some(slot) = reached.order.get(next).copied() {
            next += 1;
            let at = reached.distance[usize::from(slot)].unwrap_or(radius);
            if at >= radius {
                // Those that follow are no nearer.
                break;
            }
            for other in vertices[usize::from(slot)].edges.as_slice() {
                reached.add(*other, at + 1);
            }
        }
        &reached.order
    }

    /// How far away a slot was in the last walk, if it was reached.
    #[cfg(test)]
    pub(super) fn reached(&self, slot: Slot) -> Option<u8> {
        *self.reached.distance.get(usize::from(slot))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(slots: &[Slot]) -> Edges {
        let mut edges = Edges::default();
        slots.iter().for_each(|slot| edges.add(*slot));
        edges
    }

    #[test]
    fn edges_keep_their_order_and_are_compared_without_it() {
        let mut some = edges(&[3, 1, 2, 1]);
        assert_eq!(some.as_slice(), [3, 1, 2]);
        assert!(some.same_as(&edges(&[1, 2, 3])));
        assert!(!some.same_as(&edges(&[1, 2])));
        assert!(!some.same_as(&edges(&[1, 2, 4])));
        some.remove(1);
        assert_eq!(some.as_slice(), [3, 2]);
        assert!(!some.same_as(&edges(&[1, 2, 3])));
        assert_eq!(edges(&[1, 2, 3, 4, 5, 6]).as_slice(), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_walk_ends_at_the_radius_and_forgets_the_one_before() {
        // A line of six, and two apart.
        let mut graph = Graph::default();
        graph.vertices.resize(8, Vertex::default());
        for (a, b) in [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (6, 7)] {
            graph.vertices[a].edges.add(b as Slot);
            graph.vertices[b].edges.add(a as Slot);
        }
        assert_eq!(graph.walk([1], 0, 2), [1, 0, 2, 3]);
        assert_eq!(graph.reached(3), Some(2));
        assert_eq!((graph.reached(4), graph.reached(7)), (None, None));
        assert_eq!(graph.walk([6, 0], 1, 3), [6, 0, 7, 1, 2]);
        assert_eq!((graph.reached(7), graph.reached(3)), (Some(2), None));
    }
}
