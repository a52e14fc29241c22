//! Spreading: the own record, changes pushed on, digests that heal what was
//! lost, and the picture for the host.
//!
//! What a node tells on a link follows from *listed* edges alone: records
//! within `radius - 1` of itself. So what it tells one neighbour never shows
//! on which entry link it learned it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::store::{Insert, Store};
use super::{ConnId, Machine};
use crate::bucket::TokenBucket;
use crate::event::{DownReason, Event};
use crate::key::NodeKey;
use crate::neighbourhood::Neighbourhood;
use crate::proto::MAX_RECORDS;
use crate::record::{Record, RecordError, SignedRecord};
use crate::wire::{
    BUCKET_LEN, DIGEST_BUCKETS, DigestEntry, MAX_DIGEST_ENTRIES, MAX_WANTED, Message,
};

/// Records are looked through for expired ones this often. Guess.
const SWEEP: Duration = Duration::from_secs(15);
/// Versions reserved at a time, so that the host writes seldom. Guess.
const VERSION_BLOCK: u64 = 64;
/// Splices this node takes part in: at once, and per second (four an hour). Guess, from "a few".
const SPLICES: (u32, f64) = (6, 4.0 / 3600.0);

/// A digest: one hash for each sixteenth of the key space.
type Buckets = [[u8; BUCKET_LEN]; DIGEST_BUCKETS];

/// Records and what is to be told of them.
pub(super) struct Spread {
    pub(super) store: Store,
    /// Not of records, but it lives as long.
    pub(super) splices: TokenBucket,
    me: NodeKey,
    own: Option<Arc<SignedRecord>>,
    last_version: u64,
    stored_version: u64,
    /// What we tell neighbours: records within `radius - 1` over listed edges.
    told: BTreeMap<NodeKey, u8>,
    changed: BTreeSet<NodeKey>,
    topology: bool,
    flush_at: Option<Duration>,
    sweep_at: Duration,
    snapshot: Option<Arc<Neighbourhood>>,
}

impl Spread {
    pub(super) fn new(me: NodeKey, radius: u8, last_version: u64) -> Self {
        Self {
            store: Store::new(radius),
            splices: TokenBucket::new(SPLICES.0, SPLICES.1, Duration::ZERO),
            me,
            own: None,
            last_version,
            stored_version: last_version,
            told: BTreeMap::new(),
            changed: BTreeSet::new(),
            topology: false,
            flush_at: None,
            sweep_at: Duration::ZERO,
            snapshot: None,
        }
    }

    pub(super) fn due(&self) -> Option<Duration> {
        Some(
            self.flush_at
                .map_or(self.sweep_at, |at| at.min(self.sweep_at)),
        )
    }

    pub(super) fn snapshot(&self) -> Arc<Neighbourhood> {
        self.snapshot
            .clone()
            .expect("the first picture is made when the machine is")
    }

    /// The own record as it travels.
    pub(super) fn own_bytes(&self) -> Vec<u8> {
        self.own
            .as_ref()
            .expect("the own record is made when the machine is")
            .bytes()
            .to_vec()
    }

    /// Links or edges changed: the picture must be made anew, now.
    pub(super) fn topology_changed(&mut self, now: Duration) {
        self.topology = true;
        self.flush_at = Some(now);
    }

    fn flush_by(&mut self, at: Duration) {
        self.flush_at = Some(self.flush_at.map_or(at, |before| before.min(at)));
    }
}

impl Machine {
    /// The own record is renewed in a moment, so that several changes make one record.
    pub(super) fn publish_soon(&mut self) {
        let at = self.now.mono + self.config.timing.publish_delay;
        self.timers.publish = Some(self.timers.publish.map_or(at, |before| before.min(at)));
    }

    /// Makes, signs and spreads a new own record.
    pub(super) fn publish(&mut self) {
        self.timers.publish = None;
        let renew = self.config.timing.renew;
        self.timers.renew = self.now.mono + self.jitter(renew);
        let version = (self.spread.last_version + 1).max(self.now.unix);
        self.spread.last_version = version;
        if version > self.spread.stored_version {
            self.spread.stored_version = version.saturating_add(VERSION_BLOCK);
            self.event(Event::PersistVersion(self.spread.stored_version));
        }
        let neighbours = self.listed_neighbours();
        let config = &self.config;
        let record = Record {
            chain: config.chain,
            node: self.me,
            onion: self.onion.0,
            previous_onion: self.onion.1,
            version,
            earning_wallet: config.earning_wallet,
            rates: config.rates,
            roles: config.roles,
            policy: config.policy.clone(),
            country: config.country,
            neighbours,
            issued: self.now.unix,
            expires: self.now.unix + config.timing.record_life.as_secs().max(1),
        };
        let record = record
            .sign(&self.keys)
            .expect("an own record keeps the rules: sorted links, clamped settings");
        let record = Arc::new(record);
        self.spread.own = Some(Arc::clone(&record));
        self.take_record(record, None);
    }

    /// In order of their keys; nobody when this node doesn't route.
    fn listed_neighbours(&self) -> Vec<NodeKey> {
        let listed = self
            .each_link()
            .filter(|(_, conn, link)| link.listed() && self.routes(&conn.peer));
        let routes = self.config.roles.routes;
        listed
            .filter(|_| routes)
            .map(|(_, conn, _)| conn.peer)
            .collect()
    }

    /// Verifies a record that must be of a certain node.
    pub(super) fn verify_from(
        &mut self,
        bytes: &[u8],
        node: &NodeKey,
    ) -> Option<Arc<SignedRecord>> {
        let record = self.verify(bytes).ok()?;
        (record.node() == *node).then_some(record)
    }

    fn verify(&mut self, bytes: &[u8]) -> Result<Arc<SignedRecord>, RecordError> {
        let record = self.verifier.verify(bytes)?;
        if record.chain != self.config.chain {
            return Err(RecordError::Chain);
        }
        record.check_time(self.now.unix)?;
        Ok(record)
    }

    /// Keeps a verified record if it is news.
    pub(super) fn take_record(&mut self, record: Arc<SignedRecord>, from: Option<ConnId>) {
        let node = record.node();
        if node == self.me && from.is_some() {
            return self.on_own_record(&record);
        }
        if let Insert::Taken { edges_changed } =
            self.spread.store.insert(record, from, self.now.mono)
        {
            self.spread.changed.insert(node);
            self.spread.topology |= edges_changed;
            self.spread
                .flush_by(self.now.mono + self.config.timing.push_delay);
        }
    }

    /// Somebody holds a newer record of ours than we do: our memory of versions was lost.
    fn on_own_record(&mut self, record: &SignedRecord) {
        let newer = record.version > self.spread.last_version;
        if newer && record.version < u64::MAX - VERSION_BLOCK {
            self.spread.last_version = record.version;
            self.publish();
        }
    }

    pub(super) fn on_records(&mut self, id: ConnId, records: &[Vec<u8>]) {
        for bytes in records {
            // Most of what comes twice need not be verified twice.
            if let Some(node) = SignedRecord::peek_node(bytes)
                && self.spread.store.holds(&node, bytes)
            {
                self.spread.store.heard(&node, id);
                continue;
            }
            let now = self.now.mono;
            let conn = self.conns.get_mut(&id);
            if !conn.is_some_and(|conn| conn.buckets.records.take(now)) {
                return tracing::debug!("a neighbour passes on more records than allowed");
            }
            match self.verify(bytes) {
                Ok(record) => self.take_record(record, Some(id)),
                // Clocks differ; this is nobody's fault.
                Err(RecordError::Time) => {}
                Err(error) => {
                    tracing::debug!(%error, "a neighbour passed on a bad record");
                    return self.close(id, DownReason::Misbehaved);
                }
            }
        }
    }

    /// Looks at what changed: makes the picture, pushes news, drops what is out of reach.
    pub(super) fn flush(&mut self) {
        let now = self.now.mono;
        self.spread.flush_at = None;
        let mut topology = std::mem::take(&mut self.spread.topology);
        if self.spread.sweep_at <= now {
            self.spread.sweep_at = now + SWEEP;
            topology = true;
        }
        if topology {
            self.survey();
        }
        let changed = std::mem::take(&mut self.spread.changed);
        self.push(&changed);
        if topology || !changed.is_empty() {
            self.update_snapshot();
        }
        if let Some(past) = self.book.take_changed() {
            self.event(Event::Remember(past));
        }
    }

    /// Measures distances anew. What came into the part that we tell of counts as changed.
    fn survey(&mut self) {
        let spread = &mut self.spread;
        let radius = self.config.radius;
        let told = spread.store.reach([spread.me], 0, radius - 1);
        let new = told.keys().filter(|node| !spread.told.contains_key(*node));
        spread.changed.extend(new.copied());
        spread.told = told;
        let mut near = spread.store.reach(self.links.keys().copied(), 1, radius);
        near.insert(spread.me, 0);
        let grace = self.config.timing.orphan_grace;
        spread
            .store
            .sweep(&near, self.now.mono, self.now.unix, grace);
    }

    /// Sends changed records to every neighbour that has not told us of them.
    fn push(&mut self, changed: &BTreeSet<NodeKey>) {
        let links: Vec<ConnId> = self.links.values().copied().collect();
        for id in links {
            let news = changed
                .iter()
                .filter(|node| self.spread.told.contains_key(*node))
                .filter_map(|node| {
                    let stored = self.spread.store.stored(node)?;
                    let new = !stored.heard.contains(&id) && stored.record.expires > self.now.unix;
                    new.then(|| stored.record.bytes().to_vec())
                });
            let news: Vec<Vec<u8>> = news.collect();
            self.send_records(id, &news);
        }
    }

    fn send_records(&mut self, id: ConnId, records: &[Vec<u8>]) {
        for chunk in records.chunks(MAX_RECORDS) {
            self.send(id, Message::Records(chunk.to_vec()));
        }
    }

    fn update_snapshot(&mut self) {
        let store = &self.spread.store;
        let reach = store.reach(self.links.keys().copied(), 1, self.config.radius);
        let others = reach.keys().filter(|node| **node != self.me);
        let records = others
            .filter_map(|node| Some((*node, Arc::clone(store.get(node)?))))
            .collect();
        let within = |node: &NodeKey| *node == self.me || reach.contains_key(node);
        let edges = reach
            .keys()
            .chain([&self.me])
            .map(|node| (*node, store.mutual(node).filter(within).collect()));
        let picture = Neighbourhood {
            me: self.me,
            own: self
                .spread
                .own
                .clone()
                .expect("the own record is made when the machine is"),
            records,
            edges: edges.collect(),
            links: self.link_views(),
        };
        self.spread.snapshot = Some(Arc::new(picture));
        self.event(Event::NeighbourhoodChanged);
        self.update_stage();
        self.reconsider_entry();
        self.plan_rewire();
    }

    /// The records that both ends of a link should hold: what either tells the other.
    fn common(&self, peer: NodeKey) -> BTreeSet<NodeKey> {
        let radius = self.config.radius - 1;
        let store = &self.spread.store;
        let mut common: BTreeSet<NodeKey> = store.reach([self.me], 0, radius).into_keys().collect();
        common.extend(store.reach([peer], 0, radius).into_keys());
        common.retain(|node| {
            store
                .get(node)
                .is_some_and(|record| record.expires > self.now.unix)
        });
        common
    }

    fn entry(&self, node: &NodeKey) -> Option<DigestEntry> {
        let record = self.spread.store.get(node)?;
        let hash = *record.hash().first_chunk().expect("a hash has 32 bytes");
        Some(DigestEntry {
            node: *node,
            version: record.version,
            hash,
        })
    }

    /// How far away a node is that we tell of. What is nearer is sent first: so an edge leads to
    /// each record when it arrives.
    fn told_at(&self, node: &NodeKey) -> u8 {
        self.spread.told.get(node).copied().unwrap_or(u8::MAX)
    }

    fn digest(&self, common: &BTreeSet<NodeKey>) -> Buckets {
        let mut hashers: [Sha256; DIGEST_BUCKETS] = std::array::from_fn(|_| Sha256::new());
        for entry in common.iter().filter_map(|node| self.entry(node)) {
            let hasher = &mut hashers[bucket_of(&entry.node)];
            hasher.update(entry.node.0);
            hasher.update(entry.version.to_be_bytes());
            hasher.update(entry.hash);
        }
        hashers.map(|hasher| {
            *hasher
                .finalize()
                .first_chunk()
                .expect("a hash has 32 bytes")
        })
    }

    pub(super) fn send_digest(&mut self, id: ConnId) {
        let Some(peer) = self.conns.get(&id).map(|conn| conn.peer) else {
            return;
        };
        let digest = self.digest(&self.common(peer));
        self.send(id, Message::Digest(digest));
    }

    /// Takes from the bucket for digests; `false` when the peer asks too often.
    fn may_digest(&mut self, id: ConnId) -> Option<NodeKey> {
        let now = self.now.mono;
        let conn = self.conns.get_mut(&id)?;
        conn.buckets.digests.take(now).then_some(conn.peer)
    }

    pub(super) fn on_digest(&mut self, id: ConnId, theirs: &Buckets) {
        let Some(peer) = self.may_digest(id) else {
            return;
        };
        let common = self.common(peer);
        let ours = self.digest(&common);
        let differs = (0..DIGEST_BUCKETS).filter(|i| ours[*i] != theirs[*i]);
        let mask = differs.fold(0u16, |mask, i| mask | 1 << i);
        if mask == 0 {
            return;
        }
        let listed = common
            .iter()
            .filter(|node| mask & (1 << bucket_of(node)) != 0);
        let entries = listed
            .filter_map(|node| self.entry(node))
            .take(MAX_DIGEST_ENTRIES)
            .collect();
        self.send(id, Message::DigestList { mask, entries });
    }

    pub(super) fn on_digest_list(&mut self, id: ConnId, mask: u16, entries: &[DigestEntry]) {
        let Some(peer) = self.may_digest(id) else {
            return;
        };
        let theirs: BTreeMap<NodeKey, u64> = entries
            .iter()
            .map(|entry| (entry.node, entry.version))
            .collect();
        let older = |node: &NodeKey, version: u64| {
            self.spread
                .store
                .get(node)
                .is_none_or(|record| record.version < version)
        };
        let wanted: Vec<NodeKey> = theirs
            .iter()
            .filter(|(node, version)| **node != self.me && older(node, **version))
            .map(|(node, _)| *node)
            .take(MAX_WANTED)
            .collect();
        let common = self.common(peer);
        let ours = common
            .iter()
            .filter(|node| mask & (1 << bucket_of(node)) != 0 && **node != peer);
        let mut ours: Vec<&NodeKey> = ours.collect();
        ours.sort_by_key(|node| self.told_at(node));
        let news = ours.into_iter().filter_map(|node| {
            let record = self.spread.store.get(node)?;
            let newer = theirs
                .get(node)
                .is_none_or(|version| *version < record.version);
            newer.then(|| record.bytes().to_vec())
        });
        let news: Vec<Vec<u8>> = news.collect();
        if !wanted.is_empty() {
            self.send(id, Message::Want(wanted));
        }
        self.send_records(id, &news);
    }

    pub(super) fn on_want(&mut self, id: ConnId, keys: &[NodeKey]) {
        let Some(peer) = self.may_digest(id) else {
            return;
        };
        // Only what we would tell anyway: nobody may ask what else we hold.
        let common = self.common(peer);
        let asked: BTreeSet<&NodeKey> = keys.iter().filter(|key| common.contains(*key)).collect();
        let mut asked: Vec<&NodeKey> = asked.into_iter().collect();
        asked.sort_by_key(|node| self.told_at(node));
        let records = asked
            .into_iter()
            .filter_map(|key| Some(self.spread.store.get(key)?.bytes().to_vec()));
        let records: Vec<Vec<u8>> = records.collect();
        self.send_records(id, &records);
    }
}

fn bucket_of(node: &NodeKey) -> usize {
    usize::from(node.0[0] >> 4)
}
