//! The records a node holds, and the graph they make. Edges count only when
//! both ends list each other; they are kept up to date as records come and go,
//! so that walking the graph touches no keys. Who is told of what is in `spread`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::ConnId;
use crate::key::NodeKey;
use crate::record::{MAX_LISTED, SignedRecord};

/// Most records held. Within radius 4 at degree 5 there can be 5 + 4 (5 + 16 + 64 …) < 450;
/// the rest is room for records that arrive before their neighbours'.
pub(super) const MAX_RECORDS: usize = 2048;
/// Most records held to which no edge leads yet, so that a peer that invents nodes fills no more. Guess.
pub(super) const MAX_ORPHANS: usize = 512;
/// Most of them that one connection brought: every neighbour has its share.
pub(super) const MAX_ORPHANS_PER_CONN: usize = MAX_ORPHANS / crate::config::MAX_NEIGHBOURS;

/// A record's place in the store, for as long as it is held.
pub(super) type Slot = u32;

/// A record and how it came.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) record: Arc<SignedRecord>,
    /// Connections on which this very version was heard: it is not told back to them.
    pub(super) heard: Vec<ConnId>,
    /// Since when no edge leads to it.
    orphan_since: Option<Duration>,
    /// How far away it is over edges that begin with our links, unless it is an orphan.
    distance: Option<u8>,
    /// How far away it is over listed edges only, when it is within what we tell.
    told: Option<u8>,
    /// Whether an edge led to it at any time.
    seen: bool,
    /// Whether it waits to be pushed.
    changed: bool,
    /// The connection that brought it first, while that lives.
    by: Option<ConnId>,
    edges: Edges,
}

impl Stored {
    /// How far away it is over listed edges only, when it is within what we tell.
    pub(super) fn told(&self) -> Option<u8> {
        self.told
    }
}

/// Slots at the other ends of a record's edges, in order of their keys in the record.
#[derive(Debug, Clone, Copy, Default)]
struct Edges {
    slots: [Slot; MAX_LISTED],
    len: u8,
}

impl Edges {
    fn as_slice(&self) -> &[Slot] {
        &self.slots[..usize::from(self.len)]
    }

    fn add(&mut self, slot: Slot) {
        // Edges follow from lists of at most `MAX_LISTED` different nodes.
        if !self.as_slice().contains(&slot) && usize::from(self.len) < MAX_LISTED {
            self.slots[usize::from(self.len)] = slot;
            self.len += 1;
        }
    }

    fn remove(&mut self, slot: Slot) {
        if let Some(at) = self.as_slice().iter().position(|other| *other == slot) {
            self.len -= 1;
            self.slots.copy_within(at + 1.., at);
        }
    }
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

/// Which nodes the last walk through the graph reached, and how far away they are.
#[derive(Debug, Default)]
struct Reached {
    /// For each slot the number of the walk that reached it last, and its distance in that walk.
    marks: Vec<(u64, u8)>,
    walk: u64,
    /// Nearest first.
    order: Vec<Slot>,
}

impl Reached {
    fn begin(&mut self, slots: usize) {
        self.walk += 1;
        self.order.clear();
        self.marks.resize(slots, (0, 0));
    }

    fn add(&mut self, slot: Slot, distance: u8) {
        let mark = &mut self.marks[slot as usize];
        if mark.0 != self.walk {
            *mark = (self.walk, distance);
            self.order.push(slot);
        }
    }

    fn distance(&self, slot: Slot) -> Option<u8> {
        let (walk, distance) = *self.marks.get(slot as usize)?;
        (walk == self.walk).then_some(distance)
    }
}

/// All records, this node's own among them.
#[derive(Debug)]
pub(super) struct Store {
    index: HashMap<NodeKey, Slot>,
    slots: Vec<Option<Stored>>,
    free: Vec<Slot>,
    orphans: usize,
    /// How far away a record may be that an edge leads to.
    radius: u8,
    reached: Reached,
    /// Slots that wait to be pushed, once each; some may have been freed since.
    changed: Vec<Slot>,
}

impl Store {
    pub(super) fn new(radius: u8) -> Self {
        Self {
            index: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            orphans: 0,
            radius,
            reached: Reached::default(),
            changed: Vec::new(),
        }
    }

    /// How many records are held.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn slot(&self, node: &NodeKey) -> Option<Slot> {
        self.index.get(node).copied()
    }

    pub(super) fn at(&self, slot: Slot) -> Option<&Stored> {
        self.slots.get(slot as usize)?.as_ref()
    }

    fn at_mut(&mut self, slot: Slot) -> Option<&mut Stored> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    pub(super) fn get(&self, node: &NodeKey) -> Option<&Arc<SignedRecord>> {
        Some(&self.at(self.slot(node)?)?.record)
    }

    /// In the order of slots, which says nothing.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Stored> {
        self.slots.iter().flatten()
    }

    /// Whether a node is seen as far away as any can be: then there may be more beyond.
    pub(super) fn reaches_the_radius(&self) -> bool {
        self.iter()
            .any(|stored| stored.distance == Some(self.radius))
    }

    /// Nodes that edges lead to, from our links on.
    pub(super) fn in_view(&self) -> impl Iterator<Item = &Stored> {
        self.iter().filter(|stored| stored.distance.is_some())
    }

    /// Whether edges lead to the node, from our links on.
    pub(super) fn sees(&self, node: &NodeKey) -> bool {
        self.distance(node).is_some()
    }

    /// How far away a node is, as of the last [`Store::survey`].
    pub(super) fn distance(&self, node: &NodeKey) -> Option<u8> {
        self.at(self.slot(node)?)?.distance
    }

    /// Whether an edge led to the node at any time since its record is held.
    pub(super) fn saw(&self, node: &NodeKey) -> bool {
        let stored = self.slot(node).and_then(|slot| self.at(slot));
        stored.is_some_and(|stored| stored.seen)
    }

    /// Whether this very record is held: then it need not be verified again.
    pub(super) fn holds(&self, node: &NodeKey, bytes: &[u8]) -> bool {
        self.get(node).is_some_and(|record| record.bytes() == bytes)
    }

    /// Notes that a held record was heard on a connection.
    pub(super) fn heard(&mut self, node: &NodeKey, on: ConnId) {
        if let Some(stored) = self.slot(node).and_then(|slot| self.at_mut(slot))
            && !stored.heard.contains(&on)
        {
            stored.heard.push(on);
        }
    }

    /// Forgets a connection that is gone.
    pub(super) fn forget_connection(&mut self, conn: ConnId) {
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
        let distance = self.distance_of(&record);
        if !self.make_room(&record, distance.is_some(), from) {
            return Insert::Dropped;
        }
        self.orphans += usize::from(distance.is_none());
        let node = record.node();
        let stored = Stored {
            record,
            heard: from.into_iter().collect(),
            orphan_since: distance.is_none().then_some(now),
            distance,
            told: None,
            seen: distance.is_some(),
            changed: false,
            by: from,
            edges: Edges::default(),
        };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                (self.slots.len() - 1) as Slot
            }
        };
        self.slots[slot as usize] = Some(stored);
        self.index.insert(node, slot);
        self.join(slot);
        self.mark_changed(slot);
        Insert::Taken {
            edges_changed: true,
        }
    }

    fn update(&mut self, slot: Slot, record: Arc<SignedRecord>, from: Option<ConnId>) -> Insert {
        let Some(stored) = self.at_mut(slot) else {
            return Insert::Dropped;
        };
        if record.hash() == stored.record.hash() {
            stored
                .heard
                .extend(from.filter(|from| !stored.heard.contains(from)));
            return Insert::Known;
        }
        if record.version < stored.record.version {
            return Insert::Older(Arc::clone(&stored.record));
        }
        if record.version == stored.record.version {
            return Insert::Conflict(Arc::clone(&stored.record));
        }
        let edges_changed = record.neighbours != stored.record.neighbours;
        stored.record = record;
        stored.heard.clear();
        stored.heard.extend(from);
        if edges_changed {
            self.part(slot);
            self.join(slot);
        }
        self.mark_changed(slot);
        Insert::Taken { edges_changed }
    }

    /// Makes the edges of a record at both their ends.
    fn join(&mut self, slot: Slot) {
        let Some(record) = self.at(slot).map(|stored| Arc::clone(&stored.record)) else {
            return;
        };
        let node = record.node();
        for neighbour in &record.neighbours {
            let Some(other) = self.slot(neighbour) else {
                continue;
            };
            let mutual = self
                .at(other)
                .is_some_and(|stored| stored.record.neighbours.binary_search(&node).is_ok());
            if mutual {
                for (from, to) in [(slot, other), (other, slot)] {
                    if let Some(stored) = self.at_mut(from) {
                        stored.edges.add(to);
                    }
                }
            }
        }
    }

    /// Undoes the edges of a record at both their ends.
    fn part(&mut self, slot: Slot) {
        let Some(stored) = self.at_mut(slot) else {
            return;
        };
        let edges = std::mem::take(&mut stored.edges);
        for other in edges.as_slice() {
            if let Some(stored) = self.at_mut(*other) {
                stored.edges.remove(slot);
            }
        }
    }

    pub(super) fn remove(&mut self, node: &NodeKey) {
        let Some(slot) = self.index.remove(node) else {
            return;
        };
        self.part(slot);
        if let Some(stored) = self.slots[slot as usize].take() {
            self.orphans -= usize::from(stored.orphan_since.is_some());
        }
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
                && let Some(at) = stored.told
            {
                told.push((at, slot));
            }
        }
        told.sort_unstable();
        (any, told.into_iter().map(|(_, slot)| slot).collect())
    }

    /// How far away a new record is, by the edges to those that are reached already; so one need
    /// not wait for the next survey when records come nearest first.
    fn distance_of(&self, record: &SignedRecord) -> Option<u8> {
        let near = record.neighbours.iter().filter_map(|node| {
            let stored = self.at(self.slot(node)?)?;
            let mutual = stored.record.neighbours.binary_search(&record.node());
            stored.distance.filter(|_| mutual.is_ok())
        });
        near.min()
            .filter(|distance| *distance < self.radius)
            .map(|distance| distance + 1)
    }

    /// Whether a record that is reached lists the node.
    fn listed(&self, node: &NodeKey) -> bool {
        self.iter().any(|stored| {
            stored.distance.is_some_and(|at| at < self.radius)
                && stored.record.neighbours.binary_search(node).is_ok()
        })
    }

    /// Sees to it that a new record fits, at the cost of orphans. Reached records and those that
    /// a reached one lists always fit; what else one connection brings takes its own place.
    fn make_room(&mut self, record: &SignedRecord, reached: bool, from: Option<ConnId>) -> bool {
        let full = self.len() >= MAX_RECORDS;
        if full || self.orphans >= MAX_ORPHANS_PER_CONN {
            let wanted = reached || from.is_none() || self.listed(&record.node());
            let count = self.orphans_by();
            let share = count.get(&from).copied().unwrap_or(0);
            if !wanted && share >= MAX_ORPHANS_PER_CONN {
                self.evict_orphan(from);
            } else if full || (!reached && self.orphans >= MAX_ORPHANS) {
                let most = count.into_iter().max_by_key(|(_, count)| *count);
                if let Some((most, _)) = most {
                    self.evict_orphan(most);
                }
            }
        }
        self.len() < MAX_RECORDS
    }

    /// How many orphans each connection brought; those of connections that are gone together.
    fn orphans_by(&self) -> BTreeMap<Option<ConnId>, usize> {
        let mut count = BTreeMap::new();
        for stored in self.iter().filter(|s| s.orphan_since.is_some()) {
            *count.entry(stored.by).or_default() += 1;
        }
        count
    }

    /// Forgets the oldest orphan that a connection brought.
    fn evict_orphan(&mut self, by: Option<ConnId>) {
        let orphans = self.iter().filter(|stored| stored.by == by);
        let orphans =
            orphans.filter_map(|stored| Some((stored.orphan_since?, stored.record.node())));
        if let Some((_, oldest)) = orphans.min() {
            self.remove(&oldest);
        }
    }

    /// Slots that an edge joins to this one.
    pub(super) fn edges(&self, slot: Slot) -> &[Slot] {
        self.at(slot).map_or(&[], |stored| stored.edges.as_slice())
    }

    /// The nodes that `node` lists and that list it.
    pub(super) fn mutual<'a>(&'a self, node: &NodeKey) -> impl Iterator<Item = NodeKey> + 'a {
        let edges = self.slot(node).map_or(&[][..], |slot| self.edges(slot));
        edges
            .iter()
            .filter_map(|slot| Some(self.at(*slot)?.record.node()))
    }

    /// Walks over edges from the given nodes (distance `start`), up to `radius`.
    fn walk(&mut self, from: impl IntoIterator<Item = NodeKey>, start: u8, radius: u8) {
        let mut reached = std::mem::take(&mut self.reached);
        reached.begin(self.slots.len());
        for node in from {
            if let Some(slot) = self.slot(&node) {
                reached.add(slot, start);
            }
        }
        let mut next = 0;
        while let Some(slot) = reached.order.get(next).copied() {
            next += 1;
            let at = reached.marks[slot as usize].1;
            if at < radius {
                for other in self.edges(slot) {
                    reached.add(*other, at + 1);
                }
            }
        }
        self.reached = reached;
    }

    /// The slots within `radius` of a node, itself included, nearest first.
    pub(super) fn around(&mut self, node: NodeKey, radius: u8) -> &[Slot] {
        self.walk([node], 0, radius);
        &self.reached.order
    }

    /// Measures all distances anew: what we tell of, around `me`, and what we hold for a reason,
    /// from our `links` on. What came into the part that we tell of counts as changed. Everything
    /// else is an orphan from now on; what is expired, or orphaned for longer than `grace`, goes.
    pub(super) fn survey(
        &mut self,
        me: NodeKey,
        links: impl IntoIterator<Item = NodeKey>,
        now: Duration,
        unix: u64,
        grace: Duration,
    ) {
        let radius = self.radius;
        self.walk([me], 0, radius - 1);
        for slot in 0..self.slots.len() as Slot {
            let told = self.reached.distance(slot);
            if let Some(stored) = self.at_mut(slot) {
                let new = told.is_some() && stored.told.is_none();
                stored.told = told;
                if new {
                    self.mark_changed(slot);
                }
            }
        }
        self.walk(links, 1, radius);
        let mut gone = Vec::new();
        let mut orphans = 0;
        let own = self.slot(&me);
        for (slot, stored) in (0..).zip(&mut self.slots) {
            let Some(stored) = stored else { continue };
            stored.distance = if Some(slot) == own {
                Some(0)
            } else {
                self.reached.distance(slot)
            };
            stored.orphan_since = if stored.distance.is_some() {
                None
            } else {
                Some(stored.orphan_since.unwrap_or(now))
            };
            stored.seen |= stored.distance.is_some();
            orphans += usize::from(stored.orphan_since.is_some());
            let too_long = stored
                .orphan_since
                .is_some_and(|since| now.saturating_sub(since) >= grace);
            if too_long || stored.record.expires <= unix {
                gone.push(stored.record.node());
            }
        }
        self.orphans = orphans;
        for node in gone {
            self.remove(&node);
        }
    }

    /// How far away a node is that we tell of.
    pub(super) fn told(&self, slot: Slot) -> Option<u8> {
        self.at(slot)?.told
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use libp2p::identity::ed25519;

    use super::*;
    use crate::chain::Chain;
    use crate::record::{RatePack, Record, Roles};

    const ATTACKER: Option<ConnId> = Some(ConnId(1));
    const HONEST: Option<ConnId> = Some(ConnId(2));

    fn keys(n: u16) -> ed25519::Keypair {
        let mut secret = [7u8; 32];
        secret[..2].copy_from_slice(&n.to_be_bytes());
        ed25519::SecretKey::try_from_bytes(secret).unwrap().into()
    }

    /// Making keys takes most of the time of these tests.
    fn key(n: u16) -> NodeKey {
        static KEYS: Mutex<BTreeMap<u16, NodeKey>> = Mutex::new(BTreeMap::new());
        let mut known = KEYS.lock().unwrap();
        *known
            .entry(n)
            .or_insert_with(|| NodeKey::from(&keys(n).public()))
    }

    fn record(n: u16, neighbours: &[u16]) -> Arc<SignedRecord> {
        let mut neighbours: Vec<NodeKey> = neighbours.iter().map(|n| key(*n)).collect();
        neighbours.sort();
        let record = Record {
            chain: Chain::Dev,
            node: key(n),
            onion: [1; 32],
            previous_onion: None,
            version: 1,
            earning_wallet: [0; 20],
            rates: RatePack::default(),
            roles: Roles {
                routes: true,
                exits: false,
                accepts_connections: true,
            },
            policy: String::new(),
            country: None,
            neighbours,
            issued: 1000,
            expires: 2000,
        };
        Arc::new(record.sign(&keys(n)).unwrap())
    }

    fn sweep(store: &mut Store) {
        let grace = Duration::from_secs(60);
        store.survey(key(0), [], Duration::ZERO, 1000, grace);
    }

    fn fill(store: &mut Store, nodes: std::ops::Range<u16>, by: Option<ConnId>) {
        for n in nodes {
            let now = Duration::from_millis(n.into());
            let insert = store.insert(record(n, &[]), by, now);
            assert!(matches!(insert, Insert::Taken { .. }));
        }
    }

    #[test]
    fn one_connections_orphans_push_out_its_own_only() {
        let mut store = Store::new(4);
        store.insert(record(0, &[1, 2]), None, Duration::ZERO);
        sweep(&mut store);
        fill(&mut store, 10..20, HONEST);
        fill(
            &mut store,
            100..100 + 3 * MAX_ORPHANS_PER_CONN as u16,
            ATTACKER,
        );
        assert!((10..20).all(|n| store.get(&key(n)).is_some()));
        assert_eq!(store.orphans_by()[&ATTACKER], MAX_ORPHANS_PER_CONN);
        // The oldest went first.
        assert!(store.get(&key(100)).is_none());
        assert!(
            store
                .get(&key(99 + 3 * MAX_ORPHANS_PER_CONN as u16))
                .is_some()
        );
        // What a reached record lists is let in over any bound, here the attacker's own.
        store.insert(record(1, &[]), ATTACKER, Duration::ZERO);
        assert!(store.get(&key(1)).is_some());
        assert_eq!(store.orphans_by()[&ATTACKER], MAX_ORPHANS_PER_CONN + 1);
        // What an edge leads to is no orphan at all.
        store.insert(record(2, &[0]), ATTACKER, Duration::ZERO);
        assert_eq!(
            store.at(store.slot(&key(2)).unwrap()).unwrap().distance,
            Some(1)
        );
        assert_eq!(
            store.at(store.slot(&key(2)).unwrap()).unwrap().orphan_since,
            None
        );
    }

    #[test]
    fn when_all_places_are_taken_who_has_most_gives_way() {
        let mut store = Store::new(4);
        let share = MAX_ORPHANS_PER_CONN as u16;
        for conn in 0u16..5 {
            let begin = 100 + conn * share;
            fill(
                &mut store,
                begin..begin + share,
                Some(ConnId(10 + u64::from(conn))),
            );
        }
        // Those of connections that are gone count together, and go first.
        store.forget_connection(ConnId(10));
        store.forget_connection(ConnId(11));
        let places = MAX_ORPHANS as u16;
        fill(&mut store, 1000..1000 + share, HONEST);
        assert_eq!(store.orphans, MAX_ORPHANS);
        assert_eq!(store.orphans_by()[&HONEST], usize::from(share));
        assert_eq!(store.orphans_by()[&Some(ConnId(12))], usize::from(share));
        assert!(store.len() <= usize::from(places));
        assert!(store.get(&key(100)).is_none());
        // The counter agrees with what is there.
        assert_eq!(store.orphans, store.orphans_by().values().sum::<usize>());
    }
}
