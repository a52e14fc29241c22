//! Spreading: the own record, changes pushed on, digests that heal what was
//! lost, and the picture for the host.
//!
//! What a node tells on a link follows from *listed* edges alone: records
//! within `radius - 1` of itself. So what it tells one neighbour never shows
//! on which entry link it learned it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::store::{Insert, Slot, Store};
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
/// A node that is shown a newer record of its own has lost its memory of versions, and what it is
/// shown need not be the last one that it signed: it goes on from this far above. More than a node
/// can use up, restarts included, in the half hour for which a record is valid. Guess.
const VERSION_SKIP: u64 = 1 << 20;
/// Splices this node takes part in: at once, and per second (four an hour). Guess, from "a few".
const SPLICES: (u32, f64) = (6, 4.0 / 3600.0);

/// A digest: one sum for each sixteenth of the key space.
type Buckets = [[u8; BUCKET_LEN]; DIGEST_BUCKETS];

/// Records and what is to be told of them.
pub(super) struct Spread {
    pub(super) store: Store,
    /// Not of records, but it lives as long.
    pub(super) splices: TokenBucket,
    own: Option<Arc<SignedRecord>>,
    last_version: u64,
    stored_version: u64,
    topology: bool,
    flush_at: Option<Duration>,
    sweep_at: Duration,
    /// The picture for the host, made when somebody wants to see it.
    snapshot: RefCell<Option<Arc<Neighbourhood>>>,
}

impl Spread {
    pub(super) fn new(me: NodeKey, radius: u8, last_version: u64) -> Self {
        Self {
            store: Store::new(me, radius),
            splices: TokenBucket::new(SPLICES.0, SPLICES.1, Duration::ZERO),
            own: None,
            last_version,
            stored_version: last_version,
            topology: false,
            flush_at: None,
            sweep_at: Duration::ZERO,
            snapshot: RefCell::new(None),
        }
    }

    pub(super) fn due(&self) -> Option<Duration> {
        Some(
            self.flush_at
                .map_or(self.sweep_at, |at| at.min(self.sweep_at)),
        )
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
        self.verifier.signed_record(&record);
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
        // Also when its time is found to be wrong: that is what clocks are compared for.
        if self.conns.values().any(|conn| conn.peer == record.node()) {
            self.clocks.note(record.node(), record.issued, self.now);
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
        if self.banned(&node) {
            return;
        }
        let now = self.now.mono;
        let insert = self.spread.store.insert(Arc::clone(&record), from, now);
        match insert {
            Insert::Taken { edges_changed } => {
                self.spread.topology |= edges_changed;
                self.spread.flush_by(now + self.config.timing.push_delay);
            }
            Insert::Conflict(held) => self.on_conflict(&held, &record, from),
            Insert::Older(held) => self.show_newer(&held, from),
            Insert::Known | Insert::Dropped => {}
        }
    }

    /// A neighbour that shows an older record of itself than we hold has lost its memory of
    /// versions; it must not use one twice.
    fn show_newer(&mut self, held: &SignedRecord, from: Option<ConnId>) {
        let Some(id) = from else { return };
        if self.links.get(&held.node()) == Some(&id) {
            self.send_records(id, &[held.shared_bytes()]);
        }
    }

    /// Somebody holds a newer record of ours than we do: our memory of versions was lost.
    fn on_own_record(&mut self, record: &SignedRecord) {
        let newer = record.version > self.spread.last_version;
        if newer && record.version < u64::MAX - 2 * VERSION_SKIP {
            self.spread.last_version = record.version + VERSION_SKIP;
            self.publish();
        } else if let Some(own) = &self.spread.own
            && own.version == record.version
            && own.hash() != record.hash()
        {
            self.accused();
        }
    }

    pub(super) fn on_records(&mut self, id: ConnId, records: &[Arc<[u8]>]) {
        for bytes in records {
            // It may just have been found to lie.
            if !self.conns.contains_key(&id) {
                return;
            }
            if let Some(node) = SignedRecord::peek_node(bytes) {
                // Most of what comes twice need not be verified twice.
                if self.spread.store.holds(&node, bytes) {
                    self.spread.store.heard(&node, id);
                    continue;
                }
                if self.banned(&node) {
                    self.tell_proof(&node, id);
                    continue;
                }
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
                    if error == RecordError::OverCap {
                        self.suspect(bytes);
                    }
                    return self.close(id, DownReason::Misbehaved);
                }
            }
        }
    }

    /// Looks at what changed: measures distances, pushes news, drops what is out of reach.
    pub(super) fn flush(&mut self) {
        let now = self.now.mono;
        self.spread.flush_at = None;
        let mut topology = std::mem::take(&mut self.spread.topology);
        if self.spread.sweep_at <= now {
            self.spread.sweep_at = now + SWEEP;
            topology = true;
        }
        if topology {
            let links: Vec<NodeKey> = self.links.keys().copied().collect();
            let grace = self.config.timing.orphan_grace;
            let store = &mut self.spread.store;
            store.survey(links, now, self.now.unix, grace);
        }
        let (any, news) = self.spread.store.take_changed();
        self.push(&news);
        if topology || any {
            self.spread.snapshot.take();
            self.event(Event::NeighbourhoodChanged);
            self.update_stage();
            self.reconsider_entry();
            self.plan_rewire();
        }
        if let Some(past) = self.book.take_changed() {
            self.event(Event::Remember(past));
        }
    }

    /// Sends changed records to every neighbour that has not told us of them.
    fn push(&mut self, changed: &[Slot]) {
        if changed.is_empty() {
            return;
        }
        let links: Vec<ConnId> = self.links.values().copied().collect();
        for id in links {
            let news = changed.iter().filter_map(|slot| {
                let store = &self.spread.store;
                let stored = store.at(*slot)?;
                let valid = store.facts(*slot).expires > self.now.unix;
                let new = valid && !stored.heard.contains(&id);
                new.then(|| stored.record.shared_bytes())
            });
            let news: Vec<Arc<[u8]>> = news.collect();
            self.send_records(id, &news);
        }
    }

    fn send_records(&mut self, id: ConnId, records: &[Arc<[u8]>]) {
        for chunk in records.chunks(MAX_RECORDS) {
            self.send(id, Message::Records(chunk.to_vec()));
        }
    }

    /// The picture as it is now.
    pub(super) fn picture(&self) -> Arc<Neighbourhood> {
        let mut snapshot = self.spread.snapshot.borrow_mut();
        Arc::clone(snapshot.get_or_insert_with(|| Arc::new(self.paint())))
    }

    fn paint(&self) -> Neighbourhood {
        let store = &self.spread.store;
        let own = self.spread.own.clone();
        let others = || {
            store
                .in_view()
                .map(|(_, stored)| stored)
                .filter(|stored| stored.record.node() != self.me)
        };
        let records = others().map(|stored| (stored.record.node(), Arc::clone(&stored.record)));
        let within = |node: &NodeKey| store.sees(node);
        let nodes = others().map(|stored| stored.record.node()).chain([self.me]);
        let edges = nodes.map(|node| {
            let mut edges: Vec<NodeKey> = store.mutual(&node).filter(within).collect();
            edges.sort_unstable();
            (node, edges)
        });
        Neighbourhood {
            me: self.me,
            own: own.expect("the own record is made when the machine is"),
            records: records.collect(),
            edges: edges.collect(),
            links: self.link_views(),
        }
    }

    /// The records that both ends of a link should hold: what either tells the other.
    fn common(&mut self, peer: NodeKey) -> Vec<Slot> {
        let radius = self.config.radius - 1;
        let (me, unix) = (self.me, self.now.unix);
        let store = &mut self.spread.store;
        let mut common = store.around(me, radius).to_vec();
        common.extend_from_slice(store.around(peer, radius));
        common.sort_unstable();
        common.dedup();
        common.retain(|slot| store.facts(*slot).expires > unix);
        common
    }

    fn record_at(&self, slot: Slot) -> Option<&Arc<SignedRecord>> {
        Some(&self.spread.store.at(slot)?.record)
    }

    /// In order of keys.
    fn entries(&self, common: &[Slot], mask: u16) -> Vec<DigestEntry> {
        let store = &self.spread.store;
        let listed = common.iter().copied();
        let listed = listed.filter(|slot| mask & (1 << bucket_of(store.facts(*slot).first)) != 0);
        let listed = listed.filter_map(|slot| self.record_at(slot));
        let mut entries: Vec<DigestEntry> = listed
            .map(|record| DigestEntry {
                node: record.node(),
                version: record.version,
                hash: short_hash(record),
            })
            .collect();
        entries.sort_unstable_by_key(|entry| entry.node);
        entries
    }

    /// The bytes of records, nearest first: so an edge leads to each when it arrives.
    fn nearest_first(&self, mut slots: Vec<Slot>) -> Vec<Arc<[u8]>> {
        let store = &self.spread.store;
        slots.sort_by_key(|slot| store.told(*slot).unwrap_or(u8::MAX));
        let records = slots.into_iter().filter_map(|slot| self.record_at(slot));
        records.map(|record| record.shared_bytes()).collect()
    }

    /// A record's hash says everything about it, so adding hashes up is enough, and cheap.
    fn digest(&self, common: &[Slot]) -> Buckets {
        let mut sums = [0u64; DIGEST_BUCKETS];
        for slot in common {
            let facts = self.spread.store.facts(*slot);
            let sum = &mut sums[bucket_of(facts.first)];
            *sum = sum.wrapping_add(u64::from_be_bytes(facts.hash));
        }
        sums.map(u64::to_be_bytes)
    }

    pub(super) fn send_digest(&mut self, id: ConnId) {
        let Some(peer) = self.conns.get(&id).map(|conn| conn.peer) else {
            return;
        };
        let common = self.common(peer);
        let digest = self.digest(&common);
        self.send(id, Message::Digest(digest));
    }

    /// Takes from the bucket for digests; `None` when the peer asks too often.
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
        let mut entries = self.entries(&common, mask);
        entries.truncate(MAX_DIGEST_ENTRIES);
        self.send(id, Message::DigestList { mask, entries });
    }

    pub(super) fn on_digest_list(&mut self, id: ConnId, mask: u16, entries: &[DigestEntry]) {
        let Some(peer) = self.may_digest(id) else {
            return;
        };
        let theirs: BTreeMap<NodeKey, (u64, [u8; BUCKET_LEN])> = entries
            .iter()
            .map(|entry| (entry.node, (entry.version, entry.hash)))
            .collect();
        // What has the same version and another hash proves a lie, once both are there.
        let wanted = |node: &NodeKey, version: u64, hash: &[u8; BUCKET_LEN]| {
            let held = self.spread.store.get(node);
            held.is_none_or(|record| {
                (record.version, short_hash(record)) != (version, *hash)
                    && record.version <= version
            })
        };
        let wanted: Vec<NodeKey> = theirs
            .iter()
            .filter(|(node, (version, hash))| {
                **node != self.me && !self.banned(node) && wanted(node, *version, hash)
            })
            .map(|(node, _)| *node)
            .take(MAX_WANTED)
            .collect();
        for node in theirs.keys() {
            self.tell_proof(node, id);
        }
        let mut common = self.common(peer);
        common.retain(|slot| {
            let first = self.spread.store.facts(*slot).first;
            let asked = mask & (1 << bucket_of(first)) != 0;
            let record = self.record_at(*slot).filter(|_| asked);
            record.is_some_and(|record| {
                let node = record.node();
                node != peer
                    && theirs
                        .get(&node)
                        .is_none_or(|(version, _)| *version < record.version)
            })
        });
        let news = self.nearest_first(common);
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
        let mut common = self.common(peer);
        let asked: BTreeSet<Slot> = keys
            .iter()
            .filter_map(|key| self.spread.store.slot(key))
            .collect();
        common.retain(|slot| asked.contains(slot));
        let records = self.nearest_first(common);
        self.send_records(id, &records);
    }
}

/// Where a node is in a digest, by the first byte of its key.
fn bucket_of(first: u8) -> usize {
    usize::from(first >> 4)
}

fn short_hash(record: &SignedRecord) -> [u8; BUCKET_LEN] {
    *record.hash().first_chunk().expect("a hash has 32 bytes")
}
