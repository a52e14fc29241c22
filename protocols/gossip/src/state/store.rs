//! The records a node holds, and the graph they make. Edges count only when
//! both ends list each other. Who is told of what is in `spread`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::ConnId;
use crate::key::NodeKey;
use crate::record::SignedRecord;

/// Most records held. Within radius 4 at degree 5 there can be 5 + 4 (5 + 16 + 64 …) < 450;
/// the rest is room for records that arrive before their neighbours'.
pub(super) const MAX_RECORDS: usize = 2048;
/// Most records held to which no edge leads yet, so that a peer that invents nodes fills no more. Guess.
pub(super) const MAX_ORPHANS: usize = 512;
/// Most of them that one connection brought: every neighbour has its share.
pub(super) const MAX_ORPHANS_PER_CONN: usize = MAX_ORPHANS / crate::config::MAX_NEIGHBOURS;

/// A record and how it came.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) record: Arc<SignedRecord>,
    /// Connections on which this very version was heard: it is not told back to them.
    pub(super) heard: Vec<ConnId>,
    /// Since when no edge leads to it.
    pub(super) orphan_since: Option<Duration>,
    /// How far away it is, unless it is an orphan.
    distance: Option<u8>,
    /// The connection that brought it first, while that lives.
    by: Option<ConnId>,
}

/// What became of a record that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Insert {
    /// Not known before, or newer; and whether the edges differ from before.
    Taken { edges_changed: bool },
    /// Known already.
    Known,
    /// Older than what is known, or in conflict with it, or there is no room.
    Dropped,
}

/// All records, this node's own among them.
#[derive(Debug)]
pub(super) struct Store {
    records: BTreeMap<NodeKey, Stored>,
    orphans: usize,
    /// How far away a record may be that an edge leads to.
    radius: u8,
}

impl Store {
    pub(super) fn new(radius: u8) -> Self {
        Self {
            records: BTreeMap::new(),
            orphans: 0,
            radius,
        }
    }

    pub(super) fn get(&self, node: &NodeKey) -> Option<&Arc<SignedRecord>> {
        self.records.get(node).map(|stored| &stored.record)
    }

    pub(super) fn stored(&self, node: &NodeKey) -> Option<&Stored> {
        self.records.get(node)
    }

    /// Whether this very record is held: then it need not be verified again.
    pub(super) fn holds(&self, node: &NodeKey, bytes: &[u8]) -> bool {
        self.records
            .get(node)
            .is_some_and(|stored| stored.record.bytes() == bytes)
    }

    /// Notes that a held record was heard on a connection.
    pub(super) fn heard(&mut self, node: &NodeKey, on: ConnId) {
        if let Some(stored) = self.records.get_mut(node)
            && !stored.heard.contains(&on)
        {
            stored.heard.push(on);
        }
    }

    /// Forgets a connection that is gone.
    pub(super) fn forget_connection(&mut self, conn: ConnId) {
        for stored in self.records.values_mut() {
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
        let heard = from.into_iter().collect();
        if let Some(stored) = self.records.get_mut(&record.node()) {
            if record.hash() == stored.record.hash() {
                stored
                    .heard
                    .extend(from.filter(|from| !stored.heard.contains(from)));
                return Insert::Known;
            }
            if record.version <= stored.record.version {
                return Insert::Dropped;
            }
            let edges_changed = record.neighbours != stored.record.neighbours;
            stored.record = record;
            stored.heard = heard;
            return Insert::Taken { edges_changed };
        }
        let distance = self.distance_of(&record);
        if !self.make_room(&record, distance.is_some(), from) {
            return Insert::Dropped;
        }
        self.orphans += usize::from(distance.is_none());
        self.records.insert(
            record.node(),
            Stored {
                record,
                heard,
                orphan_since: distance.is_none().then_some(now),
                distance,
                by: from,
            },
        );
        Insert::Taken {
            edges_changed: true,
        }
    }

    /// How far away a new record is, by the edges to those that are reached already; so one need
    /// not wait for the next sweep when records come nearest first.
    fn distance_of(&self, record: &SignedRecord) -> Option<u8> {
        let near = record.neighbours.iter().filter_map(|node| {
            let stored = self.records.get(node)?;
            let mutual = stored.record.neighbours.binary_search(&record.node());
            stored.distance.filter(|_| mutual.is_ok())
        });
        near.min()
            .filter(|distance| *distance < self.radius)
            .map(|distance| distance + 1)
    }

    /// Whether a record that is reached lists the node.
    fn listed(&self, node: &NodeKey) -> bool {
        self.records.values().any(|stored| {
            stored.distance.is_some_and(|at| at < self.radius)
                && stored.record.neighbours.binary_search(node).is_ok()
        })
    }

    /// Sees to it that a new record fits, at the cost of orphans. Reached records and those that
    /// a reached one lists always fit; what else one connection brings takes its own place.
    fn make_room(&mut self, record: &SignedRecord, reached: bool, from: Option<ConnId>) -> bool {
        let full = self.records.len() >= MAX_RECORDS;
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
        self.records.len() < MAX_RECORDS
    }

    /// How many orphans each connection brought; those of connections that are gone together.
    fn orphans_by(&self) -> BTreeMap<Option<ConnId>, usize> {
        let mut count = BTreeMap::new();
        let orphans = self.records.values().filter(|s| s.orphan_since.is_some());
        for stored in orphans {
            *count.entry(stored.by).or_default() += 1;
        }
        count
    }

    /// Forgets the oldest orphan that a connection brought.
    fn evict_orphan(&mut self, by: Option<ConnId>) {
        let orphans = self.records.iter().filter(|(_, stored)| stored.by == by);
        let orphans = orphans.filter_map(|(node, stored)| Some((stored.orphan_since?, *node)));
        if let Some((_, oldest)) = orphans.min() {
            self.records.remove(&oldest);
            self.orphans -= 1;
        }
    }

    /// The nodes that `node` lists and that list it.
    pub(super) fn mutual<'a>(&'a self, node: &'a NodeKey) -> impl Iterator<Item = NodeKey> + 'a {
        self.get(node)
            .into_iter()
            .flat_map(|record| record.neighbours.iter())
            .copied()
            .filter(move |other| {
                self.get(other)
                    .is_some_and(|r| r.neighbours.binary_search(node).is_ok())
            })
    }

    /// Distances over mutual edges from the given nodes (distance `start`), up to `radius`.
    pub(super) fn reach(
        &self,
        from: impl IntoIterator<Item = NodeKey>,
        start: u8,
        radius: u8,
    ) -> BTreeMap<NodeKey, u8> {
        let mut distance = BTreeMap::new();
        let mut queue = VecDeque::new();
        for node in from {
            if self.records.contains_key(&node) && distance.insert(node, start).is_none() {
                queue.push_back((node, start));
            }
        }
        while let Some((node, at)) = queue.pop_front() {
            if at >= radius {
                continue;
            }
            for next in self.mutual(&node) {
                if let Entry::Vacant(vacant) = distance.entry(next) {
                    vacant.insert(at + 1);
                    queue.push_back((next, at + 1));
                }
            }
        }
        distance
    }

    /// Marks what is in `reached` as held for a reason, everything else as orphaned from now on;
    /// drops what is expired, or orphaned for longer than `grace`. Returns the dropped nodes.
    pub(super) fn sweep(
        &mut self,
        reached: &BTreeMap<NodeKey, u8>,
        now: Duration,
        unix: u64,
        grace: Duration,
    ) -> BTreeSet<NodeKey> {
        let mut dropped = BTreeSet::new();
        let mut orphans = 0;
        self.records.retain(|node, stored| {
            stored.distance = reached.get(node).copied();
            stored.orphan_since = if stored.distance.is_some() {
                None
            } else {
                Some(stored.orphan_since.unwrap_or(now))
            };
            let too_long = stored
                .orphan_since
                .is_some_and(|since| now.saturating_sub(since) >= grace);
            let keep = !too_long && stored.record.expires > unix;
            if keep {
                orphans += usize::from(stored.orphan_since.is_some());
            } else {
                dropped.insert(*node);
            }
            keep
        });
        self.orphans = orphans;
        dropped
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
        let reached = store.reach([key(0)], 0, 4);
        let grace = Duration::from_secs(60);
        store.sweep(&reached, Duration::ZERO, 1000, grace);
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
        assert_eq!(store.stored(&key(2)).unwrap().distance, Some(1));
        assert_eq!(store.stored(&key(2)).unwrap().orphan_since, None);
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
        assert!(store.records.len() <= usize::from(places));
        assert!(store.get(&key(100)).is_none());
        // The counter agrees with what is there.
        assert_eq!(store.orphans, store.orphans_by().values().sum::<usize>());
    }
}
