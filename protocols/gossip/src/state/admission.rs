//! The lobby: connections begin as guests, say Debut, and are accepted or
//! refused with a reason. Here the cap is kept. Limits per address are in `sources`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::book::Origin;
use super::conn::{Conn, Debut, Link, Phase};
use super::heal::NOTE_EVERY;
use super::sources::{
    DEBUT_BUCKET, INTRODUCED_BUCKET, INTRODUCTION_BUCKET, SPLICE_BUCKET, canonical, ip_allowed,
    is_local, source, splice_source,
};
use super::{ConnId, Machine, Output};
use crate::address::{Address, Host};
use crate::card::WalkId;
use crate::event::{DownReason, Event, RefuseReason, SeedFailure};
use crate::key::NodeKey;
use crate::knock::Knock;
use crate::record::SignedRecord;
use crate::scope::port_fine;
use crate::wire::{Farewell, Message};

/// A younger link is kept when its neighbour debuts again (the two dialled each other); an older
/// one is replaced (the neighbour restarted and we have not noticed).
const REPLACE_AFTER: Duration = Duration::from_secs(5);
/// How long a guest that was refused for good may stay to read why.
const LINGER: Duration = Duration::from_secs(2);
/// Who comes by itself is taken while there are fewer neighbours than this, and introduced to somebody else
/// later: whoever knows an address would have the places there. Guess: one below what a node looks for.
const UNINVITED_BELOW: usize = 3;
/// A debutant without room is told to come back after this.
const RETRY_MS: u32 = 2_000;

/// A debut as it arrives.
pub(super) struct Arriving {
    pub(super) chain: String,
    pub(super) record: Vec<u8>,
    pub(super) wants_entry: bool,
    pub(super) ports: Vec<u16>,
    pub(super) invited: Option<WalkId>,
    pub(super) card: Option<(WalkId, Vec<u8>)>,
    pub(super) knock: Option<Knock>,
}

impl Machine {
    /// Whether a neighbour at this address is allowed beside the others.
    pub(super) fn address_fine(&self, ip: IpAddr, node: &NodeKey) -> Result<(), RefuseReason> {
        let counted = self.conns.values().filter(|conn| {
            conn.peer != *node && matches!(conn.phase, Phase::Link(_) | Phase::Debuting { .. })
        });
        ip_allowed(
            &self.config.ip_limits,
            ip,
            counted.filter_map(|conn| conn.remote),
        )
    }

    /// Counts an attempt from an address. Where the operator allows any number of neighbours with
    /// one address, addresses tell nobody apart and are not counted.
    fn source_allows(&mut self, ip: Option<IpAddr>, bucket: u8) -> bool {
        let limits = &self.config.ip_limits;
        let Some(ip) = ip.filter(|_| limits.per_ip.is_some()) else {
            return true;
        };
        let source = if bucket == SPLICE_BUCKET {
            splice_source(ip, limits)
        } else {
            source(ip)
        };
        self.sources.take(source, bucket, self.now.mono)
    }

    /// Whether [`Machine::source_allows`] would allow one more splice.
    fn source_has_splice(&mut self, ip: Option<IpAddr>) -> bool {
        let limits = &self.config.ip_limits;
        let Some(ip) = ip.filter(|_| limits.per_ip.is_some()) else {
            return true;
        };
        let source = splice_source(ip, limits);
        self.sources.has(source, SPLICE_BUCKET, self.now.mono)
    }

    /// Whether a guest may be introduced. On this machine and in home networks addresses are no
    /// secret, and many nodes may come from few of them.
    fn may_introduce(&mut self, ip: Option<IpAddr>, known: bool) -> bool {
        let now = self.now.mono;
        match self.counted_source(ip) {
            Some(source) => known && self.sources.has(source, INTRODUCED_BUCKET, now),
            None => true,
        }
    }

    /// A guest's walk has come to something.
    pub(super) fn count_introduced(&mut self, guest: ConnId) {
        let now = self.now.mono;
        let guest = self.conns.get(&guest);
        let guest = guest.filter(|conn| matches!(conn.phase, Phase::Guest { .. }));
        let ip = guest.and_then(|conn| conn.remote);
        if let Some(source) = self.counted_source(ip) {
            self.sources.take(source, INTRODUCED_BUCKET, now);
        }
        // It may have cost somebody a link.
        self.source_allows(ip, SPLICE_BUCKET);
    }

    /// The source whose introductions are counted, if those from this address are.
    fn counted_source(&self, ip: Option<IpAddr>) -> Option<IpAddr> {
        let limits = &self.config.ip_limits;
        let spared = |ip: &IpAddr| limits.spare_local_prefixes && is_local(*ip);
        ip.filter(|ip| limits.per_ip.is_some() && !spared(ip))
            .map(source)
    }

    pub(super) fn on_connected(
        &mut self,
        id: ConnId,
        peer: NodeKey,
        dialled: bool,
        remote: Option<Address>,
    ) {
        let ip = remote.as_ref().and_then(Address::ip).map(canonical);
        let now = self.now.mono;
        let debut = if dialled {
            self.dials.remove(&peer).map(|dial| dial.debut)
        } else {
            None
        };
        let refused = self.stopping || peer == self.me || (dialled && debut.is_none());
        if refused || (dialled && self.links.contains_key(&peer)) {
            self.outputs.push_back(Output::Close(id));
            return;
        }
        let Some(debut) = debut else {
            self.make_room_for_guest();
            let until = now + self.config.timing.guest_life;
            let phase = Phase::Guest {
                until,
                debuted: false,
            };
            self.conns
                .insert(id, Conn::new(peer, false, ip, phase, now));
            return;
        };
        if let Some(Err(reason)) = ip.map(|ip| self.address_fine(ip, &peer)) {
            self.outputs.push_back(Output::Close(id));
            self.attempt_failed(&peer, debut.origin, SeedFailure::Refused(reason));
            return;
        }
        self.say_debut(id, peer, ip, debut);
    }

    fn say_debut(&mut self, id: ConnId, peer: NodeKey, ip: Option<IpAddr>, debut: Debut) {
        // Whoever comes without an invitation brings a card, to be introduced elsewhere.
        let card = debut.invited.is_none().then(|| self.own_walk_card(true));
        let ports = self.config.advertise.iter().map(|address| address.port);
        let message = Message::Debut {
            chain: self.config.chain.name().to_owned(),
            record: self.spread.own_bytes(),
            wants_entry: debut.wants_entry,
            ports: if self.config.dialable() {
                ports.collect()
            } else {
                Vec::new()
            },
            invited: debut.invited,
            card,
            knock: self.book.seed(&peer).and_then(|seed| seed.knock),
        };
        let until = self.now.mono + self.config.timing.offer_timeout;
        let phase = Phase::Debuting { until, debut };
        self.conns
            .insert(id, Conn::new(peer, true, ip, phase, self.now.mono));
        self.send(id, message);
    }

    /// The guest that has waited longest without a word makes room for the next one.
    fn make_room_for_guest(&mut self) {
        let guests = || {
            self.conns.iter().filter_map(|(id, conn)| match conn.phase {
                Phase::Guest { debuted, .. } => Some((debuted, conn.since, *id)),
                _ => None,
            })
        };
        if guests().count() >= self.config.max_guests
            && let Some((_, _, id)) = guests().min()
        {
            self.close(id, DownReason::Closed);
        }
    }

    pub(super) fn on_debut(&mut self, id: ConnId, debut: Arriving) {
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        if !matches!(conn.phase, Phase::Guest { debuted: false, .. }) {
            return self.close(id, DownReason::Misbehaved);
        }
        let (peer, ip) = (conn.peer, conn.remote);
        match self.judge_debut(id, peer, ip, &debut) {
            Ok(record) if self.links.len() < self.config.cap => self.accept(id, record, &debut),
            Ok(_) => self.refuse(id, peer, ip, RefuseReason::Full, debut),
            Err(reason) => self.refuse(id, peer, ip, reason, debut),
        }
    }

    fn judge_debut(
        &mut self,
        id: ConnId,
        peer: NodeKey,
        ip: Option<IpAddr>,
        debut: &Arriving,
    ) -> Result<Arc<SignedRecord>, RefuseReason> {
        if self.stopping {
            return Err(RefuseReason::ShuttingDown);
        }
        if !self.source_allows(ip, DEBUT_BUCKET) {
            return Err(RefuseReason::TooOften);
        }
        if debut.chain != self.config.chain.name() {
            return Err(RefuseReason::WrongChain);
        }
        if self.banned(&peer) {
            return Err(RefuseReason::Banned);
        }
        let Some(record) = self.verify_from(&debut.record, &peer) else {
            self.suspect(&debut.record);
            return Err(if self.banned(&peer) {
                RefuseReason::Banned
            } else {
                RefuseReason::BadRecord
            });
        };
        if self.caught_by(&record) {
            return Err(RefuseReason::Banned);
        }
        self.settle_double(id, peer)?;
        if let Some(ip) = ip {
            self.address_fine(ip, &peer)?;
        }
        let entry_only = !record.roles.routes;
        if entry_only && !self.can_host(&peer, true) {
            return Err(RefuseReason::NoEntryRoom);
        }
        if !entry_only && !self.config.roles.routes {
            // Nodes that don't route have entry links only, and choose them themselves.
            return Err(RefuseReason::Full);
        }
        if self.intro.reserved().any(|node| node == peer) {
            return Ok(record);
        }
        let welcome = entry_only
            || self.book.remembers(&peer)
            || (self.links.len() < UNINVITED_BELOW && self.takes_strangers());
        let room = self.make_way(&peer, debut.invited)
            || (welcome && !self.shuns(&peer) && self.occupied() < self.config.cap)
            || (self.make_way_for_reunion(&peer) && self.occupied() < self.config.cap);
        if room {
            Ok(record)
        } else {
            Err(RefuseReason::Full)
        }
    }

    /// Two connections between the same two nodes: the one dialled by the smaller key stays.
    fn settle_double(&mut self, id: ConnId, peer: NodeKey) -> Result<(), RefuseReason> {
        if let Some(old) = self.links.get(&peer).copied() {
            let age = self
                .link(&peer)
                .map(|link| self.now.mono.saturating_sub(link.since));
            if age.is_some_and(|age| age < REPLACE_AFTER) {
                return Err(RefuseReason::Duplicate);
            }
            self.close(old, DownReason::Replaced);
        }
        let ours = self.conns.iter().find(|(other, conn)| {
            **other != id && conn.peer == peer && matches!(conn.phase, Phase::Debuting { .. })
        });
        let ours = ours.map(|(other, _)| *other);
        if (ours.is_some() || self.dials.contains_key(&peer)) && self.me < peer {
            return Err(RefuseReason::Duplicate);
        }
        self.dials.remove(&peer);
        if let Some(ours) = ours {
            if let Some(conn) = self.conns.get_mut(&ours) {
                // Not a failed attempt: it succeeds on the other connection.
                conn.phase = Phase::Waiting {
                    until: self.now.mono,
                };
            }
            self.send(ours, Message::Goodbye(Farewell::Duplicate));
            self.close(ours, DownReason::Closed);
        }
        Ok(())
    }

    fn accept(&mut self, id: ConnId, record: Arc<SignedRecord>, debut: &Arriving) {
        let peer = record.node();
        let entry_only = !record.roles.routes;
        let theirs = entry_only || (debut.wants_entry && self.can_host(&peer, false));
        let chosen = self.intro.fulfilled(&peer);
        self.send(
            id,
            Message::Accept {
                record: self.spread.own_bytes(),
                entry: theirs,
            },
        );
        let ip = self.conns.get(&id).and_then(|conn| conn.remote);
        let address = |port: &u16| {
            ip.filter(|_| port_fine(*port)).map(|ip| Address {
                host: Host::Ip(ip),
                port: *port,
            })
        };
        let addresses = debut.ports.iter().filter_map(address).collect();
        self.become_link(id, record, (false, theirs), chosen, addresses);
    }

    fn refuse(
        &mut self,
        id: ConnId,
        peer: NodeKey,
        ip: Option<IpAddr>,
        reason: RefuseReason,
        debut: Arriving,
    ) {
        let card = match reason {
            RefuseReason::Full | RefuseReason::NoEntryRoom => debut.card,
            _ => None,
        };
        let now = self.now.mono;
        let known = debut.knock == Some(self.knock) || self.book.remembers(&peer);
        let introduce = card.filter(|_| {
            !self.links.is_empty()
                && self.may_introduce(ip, known)
                && self.source_allows(ip, INTRODUCTION_BUCKET)
        });
        let wait = if introduce.is_some() {
            self.config.timing.intro_wait
        } else {
            LINGER
        };
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.phase = Phase::Guest {
                until: now + wait,
                debuted: true,
            };
        }
        let text = match (&introduce, reason) {
            (Some(_), _) => format!("{reason}, and is looking for one that has"),
            (None, RefuseReason::WrongChain) => {
                format!(
                    "{reason}: it is on {}, this node on {}",
                    self.config.chain, debut.chain
                )
            }
            (None, RefuseReason::Full) if !known => {
                format!("{reason}, and introduces only those who have its whole descriptor")
            }
            (None, RefuseReason::Banned) => match self.ban_text(&peer) {
                Some(why) => format!("{reason}: {why}"),
                None => reason.to_string(),
            },
            (None, _) => reason.to_string(),
        };
        let introducing = introduce.is_some();
        self.send(
            id,
            Message::Refuse {
                reason,
                introducing,
                retry_ms: RETRY_MS,
                text,
            },
        );
        if let Some((walk, card)) = introduce {
            let splice = self.source_has_splice(ip);
            self.introduce_guest(id, peer, walk, card, splice);
        }
    }

    pub(super) fn on_accept(&mut self, id: ConnId, record: &[u8], entry: bool) {
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let Phase::Debuting { debut, .. } = &conn.phase else {
            return self.close(id, DownReason::Misbehaved);
        };
        let peer = conn.peer;
        let (swap, invited) = (debut.swap, debut.invited);
        let (chosen, wanted) = (debut.chosen, debut.wants_entry);
        let addresses = debut.addresses.clone();
        let bytes = record;
        let Some(record) = self.verify_from(bytes, &peer) else {
            self.suspect(bytes);
            return self.close(id, DownReason::Misbehaved);
        };
        if self.caught_by(&record) {
            return self.close(id, DownReason::Banned);
        }
        let useless = !self.config.roles.routes && !entry;
        match (swap, invited) {
            (Some(victim), Some(walk)) => {
                self.complete_swap(&victim, walk);
            }
            (Some(victim), None) => {
                if let Some(victim) = self.links.get(&victim).copied() {
                    self.give_up(victim);
                }
            }
            (None, _) => {}
        }
        if useless || self.links.contains_key(&peer) || self.links.len() >= self.config.cap {
            self.send(id, Message::Goodbye(Farewell::Leaving));
            return self.close(id, DownReason::Closed);
        }
        self.book.succeeded(&peer);
        self.become_link(id, record, (entry && wanted, false), chosen, addresses);
    }

    pub(super) fn on_refuse(
        &mut self,
        id: ConnId,
        reason: RefuseReason,
        introducing: bool,
        retry_ms: u32,
        text: String,
    ) {
        let timing = self.config.timing;
        let now = self.now.mono;
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let Phase::Debuting { debut, .. } = &conn.phase else {
            return self.close(id, DownReason::Misbehaved);
        };
        let (node, origin) = (conn.peer, debut.origin);
        let wait = if introducing {
            timing.intro_wait
        } else {
            Duration::ZERO
        };
        conn.phase = Phase::Waiting { until: now + wait };
        let busy = reason == RefuseReason::Full || reason == RefuseReason::NoEntryRoom;
        if introducing {
            self.book.introduces(&node);
        }
        if busy || reason == RefuseReason::Duplicate {
            let retry = Duration::from_millis(retry_ms.into())
                .clamp(timing.redial_first, timing.redial_max);
            let retry = if introducing {
                timing.intro_wait
            } else {
                retry
            };
            let retry = self.jitter(retry);
            self.book.busy(&node, now + retry);
        } else {
            self.attempt_failed(&node, origin, SeedFailure::Refused(reason));
        }
        if reason != RefuseReason::Duplicate && !introducing {
            self.event(Event::Refused { node, reason, text });
        }
        if !introducing {
            self.close(id, DownReason::Closed);
        }
    }

    pub(super) fn on_goodbye(&mut self, id: ConnId, farewell: Farewell) {
        if farewell == Farewell::Duplicate
            && let Some(conn) = self.conns.get_mut(&id)
            && matches!(conn.phase, Phase::Debuting { .. })
        {
            conn.phase = Phase::Waiting {
                until: self.now.mono,
            };
        }
        let reason = match farewell {
            Farewell::Spliced => DownReason::Spliced,
            Farewell::Spared => DownReason::Spared,
            _ => DownReason::Left,
        };
        self.close(id, reason);
    }

    /// A connection becomes a neighbour's. The caller has made sure of the cap.
    fn become_link(
        &mut self,
        id: ConnId,
        record: Arc<SignedRecord>,
        (ours, theirs): (bool, bool),
        chosen: bool,
        addresses: Vec<Address>,
    ) {
        let now = self.now.mono;
        let digest = self.config.timing.digest;
        let next_digest = now + self.jitter(digest);
        let node = record.node();
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let link = Link {
            since: now,
            ours,
            ours_since: now,
            theirs,
            chosen,
            entry_asked: None,
            entry_refused_until: Duration::ZERO,
            unlisted_since: None,
            next_digest,
            addresses,
            // Whoever came by itself is noted once it has stayed; whom we looked for, at once, and
            // anybody while there is hardly anybody to come back by.
            next_note: if chosen || self.book.is_poor() {
                now
            } else {
                now + NOTE_EVERY
            },
        };
        let entry = link.entry();
        let dialled = conn.dialled;
        conn.phase = Phase::Link(link);
        self.links.insert(node, id);
        if ours {
            self.entry_gained();
        }
        self.note_neighbour(id);
        self.take_record(record, Some(id));
        self.event(Event::NeighbourUp {
            node,
            peer: node.peer_id(),
            entry,
        });
        self.part_from_lobby();
        let pause = if chosen {
            Duration::ZERO
        } else {
            self.config.timing.entry_pause
        };
        let soon = now + self.jitter(pause);
        self.timers.entry = Some(self.timers.entry.map_or(soon, |at| at.min(soon)));
        self.timers.seek_pause = self.config.timing.seek_first;
        let soon = now + self.jitter(self.config.timing.seek_first / 2);
        self.timers.seek = soon;
        self.links_changed();
        self.ping(id);
        if dialled {
            self.send_digest(id);
        }
    }

    /// Once there is a neighbour, those who were only asked for an introduction are left alone,
    /// except while one is still on its way.
    fn part_from_lobby(&mut self) {
        if !self.intro.is_expecting() && !self.needs_more() {
            let waiting = |(id, conn): (&ConnId, &Conn)| {
                matches!(conn.phase, Phase::Waiting { .. }).then_some(*id)
            };
            let waiting: Vec<ConnId> = self.conns.iter().filter_map(waiting).collect();
            for id in waiting {
                self.send(id, Message::Goodbye(Farewell::Leaving));
                self.close(id, DownReason::Closed);
            }
        }
    }

    pub(super) fn on_dial_failed(&mut self, peer: NodeKey, why: SeedFailure) {
        if let Some(dial) = self.dials.remove(&peer) {
            self.attempt_failed(&peer, dial.debut.origin, why);
        }
    }

    /// An attempt to become somebody's neighbour came to nothing.
    pub(super) fn attempt_failed(&mut self, peer: &NodeKey, origin: Origin, why: SeedFailure) {
        let timing = self.config.timing;
        let factor = self.spread_factor();
        self.book.failed(
            peer,
            self.now.mono,
            timing.redial_first,
            timing.redial_max,
            factor,
        );
        if origin == Origin::Book
            && !self.links.contains_key(peer)
            && let Some(descriptor) = self.book.seed(peer).cloned()
        {
            self.event(Event::SeedFailed { descriptor, why });
        }
    }

    /// Closes guests and debuts whose time is over.
    pub(super) fn expire_conns(&mut self) {
        let now = self.now.mono;
        let over = |(id, conn): (&ConnId, &Conn)| {
            conn.deadline().is_some_and(|at| at <= now).then_some(*id)
        };
        let over: Vec<ConnId> = self.conns.iter().filter_map(over).collect();
        for id in over {
            self.close(id, DownReason::Closed);
        }
    }

    pub(super) fn expire_dials(&mut self) {
        let now = self.now.mono;
        let over = |(node, dial): (&NodeKey, &super::Dial)| (dial.until <= now).then_some(*node);
        let over: Vec<NodeKey> = self.dials.iter().filter_map(over).collect();
        for node in over {
            self.on_dial_failed(node, SeedFailure::Unreachable);
        }
    }
}
