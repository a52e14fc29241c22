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

/// A record and how it came.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) record: Arc<SignedRecord>,
    /// Connections on which this very version was heard: it is not told back to them.
    pub(super) heard: Vec<ConnId>,
    /// Since when no edge leads to it.
    pub(super) orphan_since: Option<Duration>,
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
}

impl Store {
    pub(super) fn new() -> Self {
        Self {
            records: BTreeMap::new(),
            orphans: 0,
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
        if self.records.len() >= MAX_RECORDS || self.orphans >= MAX_ORPHANS {
            return Insert::Dropped;
        }
        self.orphans += 1;
        self.records.insert(
            record.node(),
            Stored {
                record,
                heard,
                orphan_since: Some(now),
            },
        );
        Insert::Taken {
            edges_changed: true,
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
            stored.orphan_since = if reached.contains_key(node) {
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
