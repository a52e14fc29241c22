//! The records a node holds, and the graph they make. Edges count only when
//! both ends list each other; they are kept up to date as records come and go,
//! so that walking the graph (`graph`) touches no keys. Who is told of what is in `spread`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::ConnId;
use super::distance::Distances;
use super::graph::{Edges, Facts, Graph, Vertex};
use super::keymap::KeyState;
use crate::key::NodeKey;
use crate::record::SignedRecord;

pub(super) use super::graph::Slot;

/// Most records held. Within radius 4 at degree 5 there can be 5 + 4 (5 + 16 + 64 …) < 450;
/// the rest is room for records that arrive before their neighbours'.
pub(super) const MAX_RECORDS: usize = 2048;
/// Most records held to which no edge leads yet, so that a peer that invents nodes fills no more. Guess.
pub(super) const MAX_ORPHANS: usize = 512;
/// Most of them that one connection brought: every neighbour has its share.
pub(super) const MAX_ORPHANS_PER_CONN: usize = MAX_ORPHANS / crate::config::MAX_NEIGHBOURS;

/// With more ends of changed edges than this everything is measured anew. Guess.
const MAX_ENDS: usize = 96;

/// A record and how it came.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) record: Arc<SignedRecord>,
    /// Connections on which this very version was heard: it is not told back to them.
    pub(super) heard: Vec<ConnId>,
    /// Whether an edge led to it at any time.
    seen: bool,
    /// Whether it waits to be pushed.
    changed: bool,
    /// The connection that brought it first, while that lives.
    by: Option<ConnId>,
    /// Since when this node's records have been held without a break, in seconds.
    since: u32,
}

/// What became of a record that was offered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Insert {
    /// Not known before, or newer; and whether the edges differ from before.
    Taken { edges_changed: bool },
    /// Known already.
    Known,
    /// Older than what is known, which is this.
    Older(Arc<SignedRecord>),
    /// Different from what is known, which is this, with the same version.
    Conflict(Arc<SignedRecord>),
    /// There is no room.
    Dropped,
}

/// All records, this node's own among them.
#[derive(Debug)]
pub(super) struct Store {
    me: NodeKey,
    index: HashMap<NodeKey, Slot, KeyState>,
    slots: Vec<Option<Stored>>,
    free: Vec<Slot>,
    /// What is looked at of many records at a time, by the same slots.
    graph: Graph,
    /// Over listed edges, from this node: what is within is what we tell.
    told: Distances,
    /// Over edges that begin with our links.
    view: Distances,
    /// Whether distances must be measured anew.
    stale: bool,
    /// Else: the ends of edges that came or went since they were.
    ends: Vec<Slot>,
    /// Grows with every change that may make a route or end one.
    changes: u64,
    /// The links that distances were measured from.
    surveyed: Vec<NodeKey>,
    /// The records that no edge leads to, and since when.
    orphans: Vec<(Duration, Slot)>,
    /// Connections that any record was heard on.
    talkers: Vec<ConnId>,
    /// Nodes whose held records list this node.
    listing: BTreeSet<NodeKey>,
    /// How far away a record may be that an edge leads to.
    radius: u8,
    /// Slots that wait to be pushed, once each; some may have been freed since.
    changed: Vec<Slot>,
    /// No held record expires before this.
    lasting: u64,
}

impl Store {
    pub(super) fn new(me: NodeKey, radius: u8) -> Self {
        Self {
            me,
            index: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            graph: Graph::default(),
            told: Distances::new(0, radius - 1),
            view: Distances::new(1, radius),
            stale: true,
            ends: Vec::new(),
            changes: 0,
            surveyed: Vec::new(),
            orphans: Vec::new(),
            talkers: Vec::new(),
            listing: BTreeSet::new(),
            radius,
            changed: Vec::new(),
            lasting: u64::MAX,
        }
    }

    /// Since when a node's records have been held without a break, to the second.
    pub(super) fn known_since(&self, node: &NodeKey) -> Option<Duration> {
        let stored = self.at(self.slot(node)?)?;
        Some(Duration::from_secs(stored.since.into()))
    }

    /// Where this is the same as before, the same routes are there.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// How many records are held.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn slot(&self, node: &NodeKey) -> Option<Slot> {
        self.index.get(node).copied()
    }

    pub(super) fn at(&self, slot: Slot) -> Option<&Stored> {
        self.slots.get(usize::from(slot))?.as_ref()
    }

    fn at_mut(&mut self, slot: Slot) -> Option<&mut Stored> {
        self.slots.get_mut(usize::from(slot))?.as_mut()
    }

    pub(super) fn get(&self, node: &NodeKey) -> Option<&Arc<SignedRecord>> {
        Some(&self.at(self.slot(node)?)?.record)
    }

    /// Whether a node is seen as far away as any can be: then there may be more beyond.
    pub(super) fn reaches_the_radius(&self) -> bool {
        let vertices = self.graph.vertices().iter();
        let mut distances = vertices.map(|vertex| vertex.distance);
        distances.any(|distance| distance == Some(self.radius))
    }

    /// Nodes that edges lead to, from our links on, in the order of slots.
    pub(super) fn in_view(&self) -> impl Iterator<Item = (Slot, &Stored)> {
        let slots = (0..).zip(self.graph.vertices());
        let seen = slots.filter(|(_, vertex)| vertex.distance.is_some());
        seen.filter_map(|(slot, _)| Some((slot, self.at(slot)?)))
    }

    /// Whether an exit other than this node is in view.
    pub(super) fn sees_exit(&self) -> bool {
        let own = self.slot(&self.me);
        let mut slots = (0..).zip(self.graph.vertices());
        slots.any(|(slot, vertex)| vertex.exits && vertex.distance.is_some() && Some(slot) != own)
    }

    /// How many nodes in view route, and how many of those list fewer than `few` others.
    pub(super) fn room(&self, few: usize) -> (u32, u32) {
        let vertices = self.graph.vertices().iter();
        let routing = vertices.filter(|vertex| vertex.distance.is_some() && vertex.routes);
        routing.fold((0, 0), |(all, roomy), vertex| {
            (all + 1, roomy + u32::from(usize::from(vertex.lists) < few))
        })
    }

    /// Whether the record of a node lists this node.
    pub(super) fn lists_me(&self, node: &NodeKey) -> bool {
        self.listing.contains(node)
    }

    /// Whether edges lead to the node, from our links on.
    pub(super) fn sees(&self, node: &NodeKey) -> bool {
        self.distance(node).is_some()
    }

    /// How far away a node is, as of the last [`Store::survey`].
    pub(super) fn distance(&self, node: &NodeKey) -> Option<u8> {
        self.vertex(self.slot(node)?)?.distance
    }

    /// What the graph knows of a held record.
    pub(super) fn vertex(&self, slot: Slot) -> Option<&Vertex> {
        self.graph.vertices().get(usize::from(slot))
    }

    /// What digests need to know of a held record.
    pub(super) fn facts(&self, slot: Slot) -> &Facts {
        self.graph.facts(slot)
    }

    /// Whether an edge led to the node at any time since its record is held.
    pub(super) fn saw(&self, node: &NodeKey) -> bool {
        let stored = self.slot(node).and_then(|slot| self.at(slot));
        stored.is_some_and(|stored| stored.seen)
    }

    /// Whether this very record is held: then it need not be verified again.
    pub(super) fn holds(&self, node: &NodeKey, bytes: &[u8]) -> bool {
        self.get(node)
            .is_some_and(|record| record.is_exactly(bytes))
    }

    /// Notes that a held record was heard on a connection.
    pub(super) fn heard(&mut self, node: &NodeKey, on: ConnId) {
        if let Some(slot) = self.slot(node) {
            self.hear(slot, Some(on));
        }
    }

    /// The only place where what was heard is written down.
    fn hear(&mut self, slot: Slot, on: Option<ConnId>) {
        let Some(on) = on else { return };
        if !self.talkers.contains(&on) {
            self.talkers.push(on);
        }
        if let Some(stored) = self.at_mut(slot)
            && !stored.heard.contains(&on)
        {
            stored.heard.push(on);
        }
    }

    /// Forgets a connection that is gone.
    pub(super) fn forget_connection(&mut self, conn: ConnId) {
        let Some(at) = self.talkers.iter().position(|talker| *talker == conn) else {
            return;
        };
        self.talkers.swap_remove(at);
        for stored in self.slots.iter_mut().flatten() {
            stored.heard.retain(|heard| *heard != conn);
            stored.by = stored.by.filter(|by| *by != conn);
        }
    }

    /// Takes a record when it is newer than what is known. Of two records with one version the
    /// first stays.
    pub(super) fn insert(
        &mut self,
        record: Arc<SignedRecord>,
        from: Option<ConnId>,
        now: Duration,
    ) -> Insert {
        if let Some(slot) = self.slot(&record.node()) {
            return self.update(slot, record, from);
        }
        let edges = self.mutual_slots(&record);
        let distance = self.distance_by(&edges);
        if !self.make_room(&record, distance.is_some(), from) {
            return Insert::Dropped;
        }
        let stored = Stored {
            record: Arc::clone(&record),
            heard: Vec::new(),
            seen: distance.is_some(),
            changed: false,
            by: from,
            since: u32::try_from(now.as_secs()).unwrap_or(u32::MAX),
        };
        // One that was to be joined with it may just have made room.
        let mut kept = Edges::default();
        let there = edges.as_slice().iter();
        there
            .filter(|slot| self.at(**slot).is_some())
            .for_each(|slot| kept.add(*slot));
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                (self.slots.len() - 1) as Slot
            }
        };
        self.slots[usize::from(slot)] = Some(stored);
        self.index.insert(record.node(), slot);
        self.hear(slot, from);
        self.note(slot, &record);
        self.graph.vertex_mut(slot).distance = distance;
        if distance.is_none() {
            self.orphans.push((now, slot));
        }
        self.join(slot, kept);
        self.edges_changed(slot, kept.as_slice());
        self.stale |= self.measured_from(&record.node());
        self.changes += 1;
        self.mark_changed(slot);
        Insert::Taken {
            edges_changed: true,
        }
    }

    /// Keeps what is known of records by themselves in step with the record now held at a slot.
    fn note(&mut self, slot: Slot, record: &SignedRecord) {
        self.graph.note(slot, record);
        self.lasting = self.lasting.min(record.expires);
        if record.neighbours.contains(&self.me) {
            self.listing.insert(record.node());
        } else {
            self.listing.remove(&record.node());
        }
    }

    fn update(&mut self, slot: Slot, record: Arc<SignedRecord>, from: Option<ConnId>) -> Insert {
        let Some(stored) = self.at_mut(slot) else {
            return Insert::Dropped;
        };
        if record.hash() == stored.record.hash() {
            self.hear(slot, from);
            return Insert::Known;
        }
        if record.version < stored.record.version {
            return Insert::Older(Arc::clone(&stored.record));
        }
        if record.version == stored.record.version {
            return Insert::Conflict(Arc::clone(&stored.record));
        }
        let edges_changed = record.neighbours != stored.record.neighbours;
        let roles_changed = record.roles != stored.record.roles;
        stored.record = Arc::clone(&record);
        stored.heard.clear();
        self.hear(slot, from);
        self.note(slot, &record);
        self.changes += u64::from(edges_changed || roles_changed);
        if edges_changed {
            let before = self.part(slot);
            let after = self.mutual_slots(&record);
            self.join(slot, after);
            self.edges_changed(slot, before.without(&after).as_slice());
            self.edges_changed(slot, after.without(&before).as_slice());
        }
        self.mark_changed(slot);
        Insert::Taken { edges_changed }
    }

    /// Edges between a slot and others came or went.
    fn edges_changed(&mut self, slot: Slot, others: &[Slot]) {
        if others.is_empty() {
            return;
        }
        self.ends.push(slot);
        self.ends.extend_from_slice(others);
        if self.ends.len() > MAX_ENDS {
            self.stale = true;
            self.ends.clear();
        }
    }

    /// Whether distances are measured from this node.
    fn measured_from(&self, node: &NodeKey) -> bool {
        *node == self.me || self.surveyed.contains(node)
    }

    /// Slots of the records that a record lists and that list it.
    fn mutual_slots(&self, record: &SignedRecord) -> Edges {
        let node = record.node();
        let mut edges = Edges::default();
        for neighbour in &record.neighbours {
            if let Some(other) = self.slot(neighbour)
                && let Some(stored) = self.at(other)
                && stored.record.neighbours.contains(&node)
            {
                edges.add(other);
            }
        }
        edges
    }

    /// Makes the edges of a record at both their ends.
    fn join(&mut self, slot: Slot, edges: Edges) {
        for other in edges.as_slice() {
            self.graph.vertex_mut(slot).edges.add(*other);
            self.graph.vertex_mut(*other).edges.add(slot);
        }
    }

    /// Undoes the edges of a record at both their ends; says which they were.
    fn part(&mut self, slot: Slot) -> Edges {
        let edges = std::mem::take(&mut self.graph.vertex_mut(slot).edges);
        for other in edges.as_slice() {
            self.graph.vertex_mut(*other).edges.remove(slot);
        }
        edges
    }

    pub(super) fn remove(&mut self, node: &NodeKey) {
        let Some(slot) = self.index.remove(node) else {
            return;
        };
        let edges = self.part(slot);
        self.edges_changed(slot, edges.as_slice());
        self.slots[usize::from(slot)] = None;
        self.graph.clear(slot);
        self.orphans.retain(|(_, orphan)| *orphan != slot);
        self.listing.remove(node);
        self.stale |= self.measured_from(node);
        self.changes += 1;
        self.free.push(slot);
    }

    fn mark_changed(&mut self, slot: Slot) {
        if let Some(stored) = self.at_mut(slot)
            && !std::mem::replace(&mut stored.changed, true)
        {
            self.changed.push(slot);
        }
    }

    /// What changed since the last time and is within what we tell, nearest first.
    pub(super) fn take_changed(&mut self) -> (bool, Vec<Slot>) {
        let changed = std::mem::take(&mut self.changed);
        let any = !changed.is_empty();
        let mut told: Vec<(u8, Slot)> = Vec::with_capacity(changed.len());
        for slot in changed {
            // A slot may have been freed, and even been given to another record, since.
            let Some(stored) = self.at_mut(slot) else {
                continue;
            };
            if std::mem::take(&mut stored.changed)
                && let Some(at) = self.told(slot)
            {
                told.push((at, slot));
            }
        }
        told.sort_unstable();
        (any, told.into_iter().map(|(_, slot)| slot).collect())
    }

    /// How far away a new record is, by the edges to those that are reached already; so one need
    /// not wait for the next survey when records come nearest first.
    fn distance_by(&self, edges: &Edges) -> Option<u8> {
        let near = edges.as_slice().iter();
        let near = near.filter_map(|slot| self.graph.vertex(*slot).distance);
        near.min()
            .filter(|distance| *distance < self.radius)
            .map(|distance| distance + 1)
    }

    /// Whether a record that is reached lists the node.
    fn listed(&self, node: &NodeKey) -> bool {
        let slots = (0..).zip(self.graph.vertices());
        let mut inner =
            slots.filter(|(_, vertex)| vertex.distance.is_some_and(|at| at < self.radius));
        inner.any(|(slot, _)| {
            self.at(slot)
                .is_some_and(|stored| stored.record.neighbours.contains(node))
        })
    }

    /// Sees to it that a new record fits, at the cost of orphans. Reached records and those that
    /// a reached one lists always fit; what else one connection brings takes its own place.
    fn make_room(&mut self, record: &SignedRecord, reached: bool, from: Option<ConnId>) -> bool {
        let full = self.len() >= MAX_RECORDS;
        if full || self.orphans.len() >= MAX_ORPHANS_PER_CONN {
            let wanted = reached || from.is_none() || self.listed(&record.node());
            let count = self.orphans_by();
            let share = count.get(&from).copied().unwrap_or(0);
            if !wanted && share >= MAX_ORPHANS_PER_CONN {
                self.evict_orphan(from);
            } else if full || (!reached && self.orphans.len() >= MAX_ORPHANS) {
                let most = count.into_iter().max_by_key(|(_, count)| *count);
                if let Some((most, _)) = most {
                    self.evict_orphan(most);
                }
            }
        }
        self.len() < MAX_RECORDS
    }

    /// Records that no edge leads to, and since when.
    fn orphaned(&self) -> impl Iterator<Item = (Duration, &Stored)> {
        let orphans = self.orphans.iter();
        orphans.filter_map(|(since, slot)| Some((*since, self.at(*slot)?)))
    }

    /// How many orphans each connection brought; those of connections that are gone together.
    fn orphans_by(&self) -> BTreeMap<Option<ConnId>, usize> {
        let mut count = BTreeMap::new();
        for (_, stored) in self.orphaned() {
            *count.entry(stored.by).or_default() += 1;
        }
        count
    }

    /// Forgets the oldest orphan that a connection brought.
    fn evict_orphan(&mut self, by: Option<ConnId>) {
        let orphans = self.orphaned().filter(|(_, stored)| stored.by == by);
        let orphans = orphans.map(|(since, stored)| (since, stored.record.node()));
        if let Some((_, oldest)) = orphans.min() {
            self.remove(&oldest);
        }
    }

    /// Slots that an edge joins to this one.
    pub(super) fn edges(&self, slot: Slot) -> &[Slot] {
        self.vertex(slot)
            .map_or(&[], |vertex| vertex.edges.as_slice())
    }

    /// The nodes that `node` lists and that list it.
    pub(super) fn mutual<'a>(&'a self, node: &NodeKey) -> impl Iterator<Item = NodeKey> + 'a {
        let edges = self.slot(node).map_or(&[][..], |slot| self.edges(slot));
        edges
            .iter()
            .filter_map(|slot| Some(self.at(*slot)?.record.node()))
    }

    /// The slots within `radius` of a node, itself included, nearest first.
    pub(super) fn around(&mut self, node: NodeKey, radius: u8) -> &[Slot] {
        let slot = self.slot(&node);
        self.graph.walk(slot, 0, radius)
    }

    /// Measures all distances anew, if they may have changed: what we tell of, around this node, and
    /// what we hold for a reason, from our `links` on. What came into the part that we tell of counts
    /// as changed. Everything else is an orphan from now on; what is expired, or orphaned for longer
    /// than `grace`, goes.
    pub(super) fn survey(
        &mut self,
        links: Vec<NodeKey>,
        now: Duration,
        unix: u64,
        grace: Duration,
    ) {
        if std::mem::take(&mut self.stale) || links != self.surveyed {
            self.measure(&links, now);
            self.surveyed = links;
        } else if !self.ends.is_empty() {
            self.mend(now);
        }
        let too_long = self.orphans.iter();
        let too_long = too_long.filter(|(since, _)| now.saturating_sub(*since) >= grace);
        let mut gone: Vec<Slot> = too_long.map(|(_, slot)| *slot).collect();
        if self.lasting <= unix {
            let expires = self.graph.all_facts().iter().map(|facts| facts.expires);
            let expired = (0..).zip(expires.clone()).filter(|(_, at)| *at <= unix);
            gone.extend(expired.map(|(slot, _)| slot));
            self.lasting = expires.filter(|at| *at > unix).min().unwrap_or(u64::MAX);
        }
        // In the order of slots: that in which they become free decides who gets them next.
        gone.sort_unstable();
        for slot in gone {
            if let Some(node) = self.at(slot).map(|stored| stored.record.node()) {
                self.remove(&node);
            }
        }
    }

    /// Measures everything anew.
    fn measure(&mut self, links: &[NodeKey], now: Duration) {
        self.ends.clear();
        let own = self.slot(&self.me);
        self.told.measure(&self.graph, own.into_iter().collect());
        let links = links.iter().filter_map(|node| self.slot(node)).collect();
        self.view.measure(&self.graph, links);
        for slot in 0..self.slots.len() as Slot {
            self.take_distances(slot, own, now);
        }
    }

    /// The same, where only some edges changed.
    fn mend(&mut self, now: Duration) {
        let mut slots = std::mem::take(&mut self.ends);
        let told = self.told.mend(&self.graph, &slots);
        let view = self.view.mend(&self.graph, &slots);
        // The ends are among them: a record that came is as far away as it seemed until now.
        slots.extend(told.into_iter().chain(view));
        let own = self.slot(&self.me);
        for slot in slots {
            self.take_distances(slot, own, now);
        }
    }

    /// Puts the measured distances of a slot into effect.
    fn take_distances(&mut self, slot: Slot, own: Option<Slot>, now: Duration) {
        let (told, mut distance) = (self.told.get(slot), self.view.get(slot));
        if Some(slot) == own {
            distance = Some(0);
        }
        let vertex = self.graph.vertex_mut(slot);
        let told_before = std::mem::replace(&mut vertex.told, told);
        let before = std::mem::replace(&mut vertex.distance, distance);
        if told.is_some() && told_before.is_none() {
            self.mark_changed(slot);
        }
        if before.is_some() == distance.is_some() {
            return;
        }
        if distance.is_some() {
            if let Some(stored) = self.at_mut(slot) {
                stored.seen = true;
            }
            self.orphans.retain(|(_, orphan)| *orphan != slot);
        } else {
            self.orphans.push((now, slot));
        }
    }

    /// How far away a node is that we tell of.
    pub(super) fn told(&self, slot: Slot) -> Option<u8> {
        self.vertex(slot)?.told
    }
}

#[cfg(test)]
mod tests;
