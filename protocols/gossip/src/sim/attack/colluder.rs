//! A node of a band that tries to surround others. The band's nodes know all that
//! any of them knows, sign for each other, and list each other in a ring of
//! records, behind which there is nothing: so each looks like the beginning of
//! routes to many exits.
//!
//! Each takes every card that comes by, or hands it to one of the band that the
//! card's node does not know yet; grants every entry link and asks for each; never
//! parts from anybody and agrees to no splice; debuts at whoever's address the band
//! knows, and sends walks of its own for the last places.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::seq::IndexedRandom as _;

use super::band::{Band, Meet, Member, Take};
use super::speaker::{Opening, Speaker, read_card};
use crate::address::Address;
use crate::card::{Card, MAX_CARD_LIFE, SealSecret, WalkId, seal};
use crate::descriptor::Descriptor;
use crate::event::RefuseReason;
use crate::key::NodeKey;
use crate::record::SignedRecord;
use crate::sim::Actor;
use crate::state::{ConnId, Input, Now, Output};
use crate::wire::{Farewell, Message};

/// How often a node looks what is to be done.
const TICK: Duration = Duration::from_secs(2);
/// How often a node debuts at somebody whose address the band knows.
const DIAL_EVERY: Duration = Duration::from_secs(10);
/// How often a node sends a walk of its own.
const WALK_EVERY: Duration = Duration::from_secs(20);
/// How often a neighbour is asked to make the link its asker's entry link.
const ENTRY_EVERY: Duration = Duration::from_secs(60);
/// How often one that has no room for the victim parts from somebody else.
const ROOM_EVERY: Duration = Duration::from_secs(60);
/// How often its record is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(600);
/// Others of the ring whose records a new neighbour is given, to each side.
const RING: usize = 3;
/// Honest neighbours that its record lists. With the two of the ring that makes five.
const HONEST_LISTED: usize = 3;
/// Walks taken whose secrets are kept; the oldest make room.
const MAX_TAKES: usize = 4096;

/// A link with an honest node.
struct Link {
    node: NodeKey,
    since: Duration,
    asked: Option<Duration>,
    /// Made the other's, or ours: it is in nobody's record.
    entry: bool,
    /// When the records were last sent.
    told: Option<Duration>,
}

/// One node of the band.
pub(super) struct Colluder {
    me: usize,
    /// One more key of somebody else's: it only does what it is told, and what comes of that.
    spare: bool,
    speaker: Speaker,
    band: Arc<Band>,
    peers: BTreeMap<ConnId, NodeKey>,
    links: BTreeMap<ConnId, Link>,
    /// Whom it dials by which invitation.
    dialled: BTreeMap<NodeKey, Option<WalkId>>,
    walks: BTreeMap<WalkId, SealSecret>,
    begun: bool,
    record_at: Option<Duration>,
    /// Honest neighbours in its record.
    listed: Vec<NodeKey>,
    next_dial: Duration,
    next_walk: Duration,
    next_room: Duration,
    wake: Duration,
}

impl Colluder {
    pub(super) fn new(me: usize, spare: bool, speaker: Speaker, band: Arc<Band>) -> Self {
        Self {
            me,
            spare,
            speaker,
            band,
            peers: BTreeMap::new(),
            links: BTreeMap::new(),
            dialled: BTreeMap::new(),
            walks: BTreeMap::new(),
            begun: false,
            record_at: None,
            listed: vec![],
            next_dial: Duration::ZERO,
            next_walk: Duration::ZERO,
            next_room: Duration::ZERO,
            wake: Duration::ZERO,
        }
    }

    /// The record: two of the ring, and honest neighbours, while the record has room.
    fn renew_record(&mut self, now: Now) {
        let listed = self.links.values().filter(|link| !link.entry);
        let listed: Vec<NodeKey> = listed.map(|link| link.node).take(HONEST_LISTED).collect();
        let due = self.record_at.is_none_or(|at| now.mono >= at + RENEW_EVERY);
        if !due && listed == self.listed {
            return;
        }
        self.record_at = Some(now.mono);
        let mut neighbours: Vec<NodeKey> = {
            let known = self.band.known();
            let n = known.members.len();
            [(self.me + 1) % n, (self.me + n - 1) % n]
                .into_iter()
                .filter(|other| *other != self.me)
                .map(|other| known.members[other].key)
                .collect()
        };
        neighbours.extend(listed.iter().copied());
        self.listed = listed;
        let record = self.speaker.record(now, neighbours);
        self.band.known().members[self.me].record = record;
        for link in self.links.values_mut() {
            link.told = None;
        }
    }

    fn record(&mut self, now: Now) -> Vec<u8> {
        self.renew_record(now);
        self.band.known().members[self.me].record.clone()
    }

    /// The records of the ring around this node.
    fn ring(&self) -> Vec<Vec<u8>> {
        let known = self.band.known();
        let n = known.members.len();
        let around = (0..=RING).flat_map(|d| [(self.me + d) % n, (self.me + n - d % n) % n]);
        let around: Vec<usize> = around.collect();
        let records = around.into_iter().map(|i| known.members[i].record.clone());
        let mut records: Vec<Vec<u8>> = records.filter(|record| !record.is_empty()).collect();
        records.dedup();
        records
    }

    fn become_link(&mut self, now: Now, conn: ConnId, entry: bool) {
        let Some(node) = self.peers.get(&conn).copied() else {
            return;
        };
        {
            let mut known = self.band.known();
            known.linked.entry(node).or_default().insert(self.me);
            known.members[self.me].links += 1;
        }
        let link = Link {
            node,
            since: now.mono,
            asked: None,
            entry,
            told: None,
        };
        self.links.insert(conn, link);
        self.wake = now.mono;
    }

    fn forget(&mut self, conn: ConnId) {
        self.peers.remove(&conn);
        let Some(link) = self.links.remove(&conn) else {
            return;
        };
        let mut known = self.band.known();
        if let Some(by) = known.linked.get_mut(&link.node) {
            by.remove(&self.me);
        }
        known.members[self.me].links -= 1;
        known.part(self.me, link.node);
        // The place is free now: somebody else of the band takes it.
        let ip = known.homes.get(&link.node).copied();
        let ip = ip.filter(|_| known.aim.is_none_or(|aim| aim == link.node));
        if let Some((ip, other)) =
            ip.zip(known.somebody_for(self.me, &link.node, &mut self.speaker))
        {
            let (node, invited) = (link.node, None);
            known.members[other]
                .orders
                .push_back(Meet { node, ip, invited });
        }
    }

    fn new_card(&mut self, now: Now, links: u8) -> (WalkId, Vec<u8>) {
        let id = self.speaker.walk_id();
        let secret = SealSecret::new(&mut self.speaker.rng);
        let card = self.speaker.card(now, &id, &secret, true, links);
        if self.walks.len() >= 64 {
            self.walks.pop_first();
        }
        self.walks.insert(id, secret);
        (id, card)
    }

    /// Takes a card for one of the band: gives that one's card, and where it is if the other must dial.
    fn take(&mut self, now: Now, id: WalkId, bytes: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        let card = read_card(bytes, &id, self.speaker.chain, now)?;
        let mut known = self.band.known();
        if known.index.contains_key(&card.node) {
            return None;
        }
        let member = known.somebody_for(self.me, &card.node, &mut self.speaker)?;
        let secret = SealSecret::new(&mut self.speaker.rng);
        let Member { key, keys, ip, .. } = &known.members[member];
        let own = Card {
            chain: self.speaker.chain,
            node: *key,
            seal_key: secret.public(),
            dialable: true,
            entry_only: false,
            links: 2,
            expires: now.unix + MAX_CARD_LIFE / 2,
        };
        let own = own.sign(&id, keys);
        let sealed = if card.dialable {
            None
        } else {
            Some(seal(
                &[super::speaker::at(*ip)],
                &card,
                &id,
                &mut self.speaker.rng,
            )?)
        };
        let node = card.node;
        let take = Take {
            member,
            node,
            secret,
        };
        if known.taken.len() >= MAX_TAKES
            && let Some(oldest) = known.taken.pop_front()
        {
            known.takes.remove(&oldest);
        }
        known.taken.push_back(id);
        known.takes.insert(id, take);
        Some((own, sealed))
    }

    /// Somebody whose card was taken says where it is.
    fn on_sealed(&mut self, id: WalkId, to: &NodeKey, sealed: &[u8]) {
        let mut known = self.band.known();
        let Some(take) = known.takes.remove(&id) else {
            return;
        };
        let told = take.secret.open(&id, to, sealed);
        let ip = told.and_then(|addresses| addresses.first().and_then(Address::ip));
        let Some(ip) = ip else { return };
        known.homes.insert(take.node, ip);
        let meet = Meet {
            node: take.node,
            ip,
            invited: Some(id),
        };
        known.members[take.member].orders.push_back(meet);
        self.wake = Duration::ZERO;
    }

    fn on_taken(&mut self, now: Now, from: ConnId, id: WalkId, card: &[u8]) {
        let card = read_card(card, &id, self.speaker.chain, now);
        let Some(card) = card.filter(|_| self.walks.contains_key(&id)) else {
            return;
        };
        if self.band.known().index.contains_key(&card.node) {
            return;
        }
        if let Some(sealed) = self.speaker.sealed(&card, &id) {
            let to = card.node;
            self.speaker.send(from, Message::Sealed { id, to, sealed });
        }
    }

    fn on_connected(&mut self, now: Now, conn: ConnId, peer: NodeKey, dialled: bool) {
        self.peers.insert(conn, peer);
        if !dialled {
            return;
        }
        let invited = self.dialled.remove(&peer).flatten();
        let seed = self.band.seeds.iter().find(|seed| seed.node == peer);
        let knock = seed.and_then(|seed| seed.knock);
        let card = invited.is_none().then(|| self.new_card(now, 0));
        let record = self.record(now);
        let opening = Opening {
            knock,
            invited,
            card,
            dialable: true,
            wants_entry: true,
        };
        self.speaker.debut(conn, record, opening);
    }

    fn on_message(&mut self, now: Now, conn: ConnId, message: Message) {
        match message {
            Message::Ping(nonce) => self.speaker.send(conn, Message::Pong(nonce)),
            Message::Accept { .. } if !self.has_room(conn) => {
                self.speaker.send(conn, Message::Goodbye(Farewell::Leaving));
                self.speaker.close(conn);
            }
            Message::Accept { entry, .. } => self.become_link(now, conn, entry),
            Message::Refuse {
                introducing: false, ..
            } => self.speaker.close(conn),
            Message::Debut { .. } if !self.has_room(conn) => {
                let refuse = Message::Refuse {
                    reason: RefuseReason::Full,
                    introducing: false,
                    retry_ms: 60_000,
                    text: String::new(),
                };
                self.speaker.send(conn, refuse);
            }
            Message::Debut { wants_entry, .. } => {
                let record = self.record(now);
                let entry = wants_entry;
                self.speaker.send(conn, Message::Accept { record, entry });
                self.become_link(now, conn, entry);
            }
            Message::Taken { id, card, .. } => self.on_taken(now, conn, id, &card),
            Message::Sealed { id, to, sealed } => self.on_sealed(id, &to, &sealed),
            Message::Walk { id, card, .. } => {
                let reply = self.answer_walk(now, id, &card);
                self.speaker.send(conn, reply);
            }
            Message::SpliceAsk { id, .. } => {
                let refusal = Message::SpliceReply {
                    id,
                    agreed: false,
                    card: vec![],
                    sealed: None,
                };
                self.speaker.send(conn, refusal);
            }
            Message::EntryAsk { .. } => {
                self.speaker
                    .send(conn, Message::EntryReply { granted: true });
                self.set_entry(conn);
            }
            Message::EntryReply { granted: true } => self.set_entry(conn),
            Message::Records(records) => self.read_records(&records),
            Message::Goodbye(_) => {
                self.forget(conn);
                self.speaker.close(conn);
            }
            _ => {}
        }
    }

    fn has_room(&self, conn: ConnId) -> bool {
        let node = self.peers.get(&conn);
        node.is_some_and(|node| self.band.known().fits(self.me, node))
    }

    fn set_entry(&mut self, conn: ConnId) {
        if let Some(link) = self.links.get_mut(&conn) {
            link.entry = true;
        }
    }

    fn answer_walk(&mut self, now: Now, id: WalkId, card: &[u8]) -> Message {
        let taken = self.take(now, id, card);
        taken.map_or(Message::WalkEnd { id }, |(card, sealed)| Message::Taken {
            id,
            card,
            sealed,
            second: false,
        })
    }

    /// Notes who lists whom, of the victim only: more is of no use.
    fn read_records(&mut self, records: &[Arc<[u8]>]) {
        let mut known = self.band.known();
        let Some(aim) = known.aim else { return };
        for bytes in records {
            if SignedRecord::peek_node(bytes) == Some(aim)
                && let Ok(record) = SignedRecord::parse(bytes)
            {
                known.lists.insert(aim, record.neighbours.clone());
            }
        }
    }

    fn obey(&mut self) {
        loop {
            let order = self.band.known().members[self.me].orders.pop_front();
            let Some(Meet { node, ip, invited }) = order else {
                return;
            };
            if self.band.known().fits(self.me, &node) {
                self.dialled.insert(node, invited);
                self.speaker.dial(node, ip);
            }
        }
    }

    /// Who has no room for the victim makes some.
    fn make_room(&mut self, now: Now) {
        if now.mono < self.next_room {
            return;
        }
        self.next_room = now.mono + self.speaker.about(ROOM_EVERY);
        let spare = {
            let known = self.band.known();
            let Some(victim) = known.aim else { return };
            let around = known.lists.get(&victim).cloned().unwrap_or_default();
            let wanted = |node: &NodeKey| *node == victim || around.contains(node);
            let full = known.members[self.me].links >= known.most;
            let mut spare = self.links.iter().filter(|(_, link)| !wanted(&link.node));
            spare.next().map(|(conn, _)| *conn).filter(|_| full)
        };
        if let Some(conn) = spare {
            self.forget(conn);
            self.speaker.send(conn, Message::Goodbye(Farewell::Leaving));
            self.speaker.close(conn);
        }
    }

    fn seek(&mut self, now: Now) {
        self.make_room(now);
        if self.spare {
            return;
        }
        if now.mono >= self.next_dial {
            self.next_dial = now.mono + self.speaker.about(DIAL_EVERY);
            let target = self.band.known().target(self.me, &mut self.speaker);
            if let Some((node, ip)) = target {
                self.dialled.insert(node, None);
                self.speaker.dial(node, ip);
            }
        }
        let links: Vec<ConnId> = self.links.keys().copied().collect();
        let full = {
            let known = self.band.known();
            known.members[self.me].links >= known.most
        };
        if !full
            && now.mono >= self.next_walk
            && let Some(conn) = links.choose(&mut self.speaker.rng).copied()
        {
            self.next_walk = now.mono + self.speaker.about(WALK_EVERY);
            let (id, card) = self.new_card(now, 0);
            // Around a victim a short walk will do.
            let left = if self.band.known().aim.is_some() {
                3
            } else {
                16
            };
            let walk = Message::Walk {
                id,
                card,
                left,
                min: 0,
                splice: true,
            };
            self.speaker.send(conn, walk);
        }
    }

    /// What is due on each link: the ring's records, and the wish for the entry link.
    fn tend(&mut self, now: Now) {
        let ring = self.ring();
        for (conn, link) in &mut self.links {
            if link.told.is_none() {
                link.told = Some(now.mono);
                let records = ring.iter().map(|record| Arc::from(&**record));
                let records = Message::Records(records.collect());
                self.speaker.out.push_back(Output::Send(*conn, records));
            }
            let asked = link.asked.unwrap_or(link.since);
            if now.mono >= asked + ENTRY_EVERY || link.asked.is_none() {
                link.asked = Some(now.mono);
                let ask = Message::EntryAsk { insist: true };
                self.speaker.out.push_back(Output::Send(*conn, ask));
            }
        }
    }

    /// A question in a circuit, with the answer.
    fn on_asked(&mut self, now: Now, call: u64, payload: &[u8]) {
        let reply = match Message::decode(payload) {
            Ok(Message::Walk { id, card, .. }) => Some(self.answer_walk(now, id, &card)),
            Ok(Message::Sealed { id, to, sealed }) => {
                self.on_sealed(id, &to, &sealed);
                Some(Message::WalkEnd { id })
            }
            _ => None,
        };
        let payload = reply.map(|message| message.encode());
        self.speaker.out.push_back(Output::Reply { call, payload });
    }

    fn begin(&mut self) {
        self.begun = true;
        let seeds = self.band.seeds.clone();
        for seed in &seeds {
            let ip = match seed.host {
                crate::address::Host::Ip(ip) => ip,
                crate::address::Host::Name(_) => continue,
            };
            self.band.known().homes.insert(seed.node, ip);
        }
        let first: Vec<&Descriptor> = seeds.sample(&mut self.speaker.rng, 2).collect();
        for seed in first {
            if let crate::address::Host::Ip(ip) = seed.host {
                self.dialled.insert(seed.node, None);
                self.speaker.dial(seed.node, ip);
            }
        }
    }
}

impl Actor for Colluder {
    fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Connected {
                conn,
                peer,
                dialled,
                remote,
            } => {
                if let Some(ip) = remote.as_ref().and_then(Address::ip) {
                    self.band.known().homes.insert(peer, ip);
                }
                self.on_connected(now, conn, peer, dialled);
            }
            Input::Disconnected(conn) | Input::Broken(conn, _) => self.forget(conn),
            Input::Message(conn, message) => self.on_message(now, conn, message),
            Input::Asked { call, payload } => self.on_asked(now, call, &payload),
            Input::DialFailed { peer, .. } => {
                // Nobody is there, or it cannot be dialled.
                self.dialled.remove(&peer);
                self.band.known().homes.remove(&peer);
            }
            _ => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.speaker.out.pop_front()
    }

    fn poll_timeout(&self) -> Duration {
        self.wake
    }

    fn on_timeout(&mut self, now: Now) {
        self.wake = now.mono + self.speaker.about(TICK);
        self.band.known().now = now.mono;
        if !self.begun && !self.spare {
            self.begin();
        }
        self.renew_record(now);
        self.obey();
        self.seek(now);
        self.tend(now);
    }
}
