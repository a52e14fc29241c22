//! Healing: dead links are noticed and dropped, missing neighbours looked for,
//! by introductions while there is a neighbour, from the address book else.

use std::time::Duration;

use rand::RngExt as _;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

use super::book::Origin;
use super::conn::{Conn, Debut, Link, Phase};
use super::{ConnId, Machine};
use crate::address::Address;
use crate::event::{DownReason, Stage};
use crate::key::NodeKey;
use crate::wire::{Farewell, Message};

/// Seeds and past neighbours tried at a time. Guess.
const MAX_BOOK_DIALS: usize = 2;
/// How often a node without a neighbour looks into its book. Guess.
const BOOK_TICK: Duration = Duration::from_millis(200);
/// Listed neighbours below which a node that routes looks for more although it has its target;
/// it does so too while there is no route.
pub(super) const MIN_LISTED: usize = 2;
/// Listed neighbours of a node that lacks nothing: with the entry link they fill its five places.
const LISTED_TARGET: usize = 4;
/// Above this share of nodes with fewer listed neighbours, links are made up to the cap. Guess: a card
/// that walks 16 steps finds a place with 93 %.
const MUCH_ROOM: f64 = 0.28;
/// Below this share, links that neither end needs are given up. Guess: … 74 %.
const LITTLE_ROOM: f64 = 0.2;
/// Neighbours that a node which does not route looks for; all of them entry links. Guess.
const CONSUMER_TARGET: usize = 2;
/// A neighbour that came by itself is noted in the address book after this, and the note of any
/// that is present is renewed as often. So who wants to fill the book must stay. Guess.
pub(super) const NOTE_EVERY: Duration = Duration::from_secs(600);

/// A node with the links it looks for and no route gives one up after this; each time it waits half as
/// long again, up to `REWIRE_MAX`. Guess.
pub(super) const REWIRE_FIRST: Duration = Duration::from_secs(4);
const REWIRE_MAX: Duration = Duration::from_secs(600);

/// How long a neighbour's record may fail to list a listed link: records take a moment, and a link may
/// be becoming an entry link. Guess.
const LISTING_GRACE: Duration = Duration::from_secs(30);
/// For how long who was parted from for that is not taken again, and how many such are remembered. Guess.
const SHUNNED_FOR: Duration = Duration::from_secs(3600);
const MAX_SHUNNED: usize = 256;
/// So many links of its own choice a node gets by different seeds, if it has as many: whom the first
/// neighbour would introduce, that neighbour chooses. Guess: the places that must not all be one's.
const BY_SEEDS: usize = 3;

impl Machine {
    /// When something must be done about a connection.
    pub(super) fn conn_deadline(&self, conn: &Conn) -> Duration {
        let timing = &self.config.timing;
        conn.deadline().unwrap_or_else(|| {
            let digest = conn.link().map_or(Duration::MAX, |link| link.next_digest);
            let watch = if conn.awaits_pong() {
                timing.dead_after
            } else {
                timing.ping_idle
            };
            (conn.last_heard + watch).min(digest)
        })
    }

    /// Pings quiet links, drops dead ones, sends digests that are due.
    pub(super) fn watch_links(&mut self) {
        let now = self.now.mono;
        let timing = self.config.timing;
        let ids: Vec<ConnId> = self.links.values().copied().collect();
        for id in ids {
            let Some(conn) = self.conns.get(&id) else {
                continue;
            };
            let idle = now.saturating_sub(conn.last_heard);
            if idle >= timing.dead_after {
                self.close(id, DownReason::Silent);
                continue;
            }
            if idle >= timing.ping_idle && !conn.awaits_pong() {
                self.ping(id);
            }
            let spread = self.jitter(timing.digest);
            let link = self.conns.get_mut(&id).and_then(Conn::link_mut);
            if let Some(link) = link.filter(|link| link.next_digest <= now) {
                link.next_digest = now + spread;
                self.send_digest(id);
                self.ping(id);
            }
            self.note_neighbour(id);
            self.watch_listing(id);
        }
    }

    /// A listed link is in both records: a record has five places, and a node that keeps some of its
    /// links out of it could have any number, and surround whom it likes. Who keeps one out for long
    /// is parted from.
    fn watch_listing(&mut self, id: ConnId) {
        let now = self.now.mono;
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let peer = conn.peer;
        let missing = conn.link().is_some_and(Link::listed) && !self.spread.store.lists_me(&peer);
        let Some(link) = self.conns.get_mut(&id).and_then(Conn::link_mut) else {
            return;
        };
        if !missing {
            link.unlisted_since = None;
        } else if now >= *link.unlisted_since.get_or_insert(now) + LISTING_GRACE {
            self.shun(peer);
            self.give_up(id);
        }
    }

    /// Does not take this node again for some time; who was shunned first makes room.
    fn shun(&mut self, node: NodeKey) {
        let now = self.now.mono;
        self.shunned.retain(|_, until| *until > now);
        let first = self.shunned.iter().min_by_key(|(_, until)| **until);
        let first = first.map(|(node, _)| *node);
        if let Some(first) = first.filter(|_| self.shunned.len() >= MAX_SHUNNED) {
            self.shunned.remove(&first);
        }
        self.shunned.insert(node, now + SHUNNED_FOR);
    }

    /// Notes a neighbour in the address book if it is time.
    pub(super) fn note_neighbour(&mut self, id: ConnId) {
        let now = self.now.mono;
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let peer = conn.peer;
        if let Some(link) = conn.link_mut().filter(|link| link.next_note <= now) {
            link.next_note = now + NOTE_EVERY;
            let addresses = link.addresses.clone();
            let present = |node: &NodeKey| self.links.contains_key(node);
            self.book.remember(peer, addresses, self.now.unix, present);
        }
    }

    pub(super) fn ping(&mut self, id: ConnId) {
        let nonce = self.rng.random();
        let now = self.now.mono;
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.pinged = Some((nonce, now));
            self.send(id, Message::Ping(nonce));
        }
    }

    pub(super) fn on_pong(&mut self, id: ConnId, nonce: u64) {
        let now = self.now.mono;
        if let Some(conn) = self.conns.get_mut(&id)
            && let Some((_, sent)) = conn.pinged.take_if(|(expected, _)| *expected == nonce)
        {
            conn.rtt = Some(now.saturating_sub(sent));
        }
    }

    /// Whether more neighbours are wanted, counting those that are on their way.
    pub(super) fn needs_more(&self) -> bool {
        let occupied = self.occupied();
        if !self.config.roles.routes {
            // One more while those that are there have led to no exit for a while.
            let stuck = self.stage == Stage::ConnectedToNeighbour
                && self.timers.rewire_pause > REWIRE_FIRST;
            return occupied < (CONSUMER_TARGET + usize::from(stuck)).min(self.config.cap);
        }
        let listed = self
            .each_link()
            .filter(|(_, _, link)| link.listed())
            .count();
        let on_their_way = occupied.saturating_sub(self.links.len());
        let poor = listed + on_their_way < MIN_LISTED || self.stage != Stage::RouteFound;
        occupied < self.config.target
            || (occupied < self.config.cap
                && (poor || (listed < LISTED_TARGET && !self.little_room()) || self.much_room()))
    }

    /// The share of routing nodes in view that list fewer than [`LISTED_TARGET`]: so many may have room.
    fn roomy(&self) -> f64 {
        let (all, roomy) = self.spread.store.room(LISTED_TARGET);
        f64::from(roomy) / f64::from(all.max(1))
    }

    /// Whether so much room is around that the last place is better used by a link.
    pub(super) fn much_room(&self) -> bool {
        self.roomy() > MUCH_ROOM
    }

    /// Whether newcomers would hardly find a place around here.
    pub(super) fn little_room(&self) -> bool {
        self.roomy() < LITTLE_ROOM
    }

    /// When to look again; `None` while stopping.
    pub(super) fn next_seek(&self) -> Option<Duration> {
        (!self.stopping).then(|| self.timers.seek.min(self.timers.probe))
    }

    /// A slot became free, or one that was kept came to nothing.
    pub(super) fn seek_soon(&mut self) {
        self.timers.seek = self
            .timers
            .seek
            .min(self.now.mono + self.config.timing.seek_first);
    }

    /// Looks for neighbours when it is time and more are wanted.
    pub(super) fn seek(&mut self) {
        let now = self.now.mono;
        if self.timers.probe <= now {
            let pause = self.config.timing.probe;
            self.timers.probe = now + self.jitter(pause);
            self.probe();
        }
        if self.timers.seek > now {
            return;
        }
        let timing = self.config.timing;
        // Neighbours that carry nothing for others pass no card on: with them alone a node is alone.
        let ways = self.links.keys().filter(|node| self.routes(node)).count();
        if ways == 0 && (self.links.is_empty() || self.needs_more()) {
            self.timers.seek = now + self.jitter(BOOK_TICK);
            self.dial_from_book(MAX_BOOK_DIALS);
        } else if self.needs_more() {
            self.timers.seek = now + self.jitter(self.timers.seek_pause);
            let lonely = ways < 2 && self.timers.seek_pause > timing.seek_first * 8;
            let longest = if self.lacks_route() {
                timing.seek_max / 8
            } else {
                timing.seek_max
            };
            self.timers.seek_pause = (self.timers.seek_pause * 2).min(longest);
            // Those around have no room, or lead nowhere and only to each other.
            let astray = self.lacks_route() && self.timers.rewire_pause > REWIRE_FIRST;
            let poor = self.occupied() < self.config.target;
            let in_vain = astray || (poor && self.timers.seek_pause > timing.seek_first * 16);
            if in_vain {
                self.dial_from_book(1);
            }
            let by_seed = !in_vain && self.introducers_wanted() && self.dial_introducer();
            if !by_seed && !self.ask_somebody() {
                self.launch_walk();
            }
            if lonely {
                self.dial_from_book(1);
            }
        } else {
            // Whatever makes more neighbours wanted brings this forward.
            self.timers.seek = now + timing.seek_max;
        }
    }

    /// Whether the first links of our choice are still to be found.
    fn introducers_wanted(&self) -> bool {
        let chosen = self.each_link().filter(|(_, _, link)| link.chosen).count();
        chosen < BY_SEEDS && self.config.roles.routes
    }

    /// Debuts at a seed, or past neighbour, that has not introduced us yet.
    fn dial_introducer(&mut self) -> bool {
        let under_way = self.introducers_under_way();
        if under_way >= MAX_BOOK_DIALS {
            return true;
        }
        let mut due = self.book.fresh(self.now.mono);
        due.retain(|(node, addresses)| {
            !addresses.is_empty()
                && !self.engaged(node)
                && !self.banned(node)
                && !self.conns.values().any(|conn| conn.peer == *node)
        });
        let Some((node, addresses)) = due.choose(&mut self.rng).cloned() else {
            return under_way > 0;
        };
        self.dial_known(node, addresses, Origin::Book, None);
        true
    }

    /// Attempts to become somebody's neighbour, or to be introduced by it.
    fn introducers_under_way(&self) -> usize {
        let trying =
            |conn: &&Conn| matches!(conn.phase, Phase::Debuting { .. } | Phase::Waiting { .. });
        self.dials.len() + self.conns.values().filter(trying).count()
    }

    fn dial_from_book(&mut self, most: usize) {
        let under_way = self.introducers_under_way();
        let room = self.config.cap.saturating_sub(self.occupied());
        let most = most.saturating_sub(under_way).min(room);
        if most == 0 {
            return;
        }
        let mut due = self.book.due(self.now.mono);
        due.retain(|(node, addresses)| {
            !addresses.is_empty()
                && !self.engaged(node)
                && !self.banned(node)
                && !self.shuns(node)
                && !self.conns.values().any(|conn| conn.peer == *node)
        });
        // Forty nodes with the same list should not all begin with its first line.
        let equals = due.len().min(4);
        due[..equals].shuffle(&mut self.rng);
        for (node, addresses) in due.into_iter().take(most) {
            self.dial_known(node, addresses, Origin::Book, None);
        }
    }

    fn dial_known(
        &mut self,
        node: NodeKey,
        addresses: Vec<Address>,
        origin: Origin,
        swap: Option<NodeKey>,
    ) {
        let wants_entry = self.wants_entry();
        self.dial(
            node,
            Debut {
                origin,
                addresses,
                wants_entry,
                invited: None,
                swap,
                chosen: true,
            },
        );
    }

    /// There is no route: sees to it that `rewire` comes in time.
    pub(super) fn plan_rewire(&mut self) {
        if self.stage == Stage::ConnectedToNeighbour && self.timers.rewire.is_none() {
            self.timers.rewire = Some(self.now.mono + self.jitter(self.timers.rewire_pause));
        }
    }

    /// There is no route although there are exits, or may be beyond what is seen: so other links may
    /// bring one.
    fn lacks_route(&self) -> bool {
        self.config.originates
            && self.stage == Stage::ConnectedToNeighbour
            && (self.spread.store.reaches_the_radius() || self.spread.store.sees_exit())
    }

    /// A node that has the links it looks for, knows exits, and still has no route gives up
    /// its youngest listed link, to look for another.
    pub(super) fn rewire(&mut self) {
        self.timers.rewire = None;
        if !self.config.roles.routes {
            return self.rewire_entries();
        }
        // Below the cap more links are looked for, which costs nobody a link; but in vain where all
        // nodes are neighbours already, or have no place.
        let in_vain = self.timers.seek_pause > self.config.timing.seek_first * 8;
        let most = if in_vain {
            self.config.target
        } else {
            self.config.cap
        };
        if !self.lacks_route() || self.occupied() < most {
            return self.plan_rewire();
        }
        self.timers.rewire_pause = (self.timers.rewire_pause * 3 / 2).min(REWIRE_MAX);
        let listed = self.each_link().filter(|(_, _, link)| link.listed());
        let (rich, poor): (Vec<_>, Vec<_>) = listed
            .map(|(id, conn, _)| (id, self.can_do_without_us(&conn.peer)))
            .partition(|(_, rich)| *rich);
        let choice = if rich.is_empty() { poor } else { rich };
        if let Some((id, _)) = choice.choose(&mut self.rng).copied() {
            self.give_up(id);
        }
    }

    /// A node that does not route has entry links only, and few. When none of them leads to an
    /// exit it looks for one more, and when that does not either, gives one up for another.
    fn rewire_entries(&mut self) {
        if !self.config.originates || self.stage != Stage::ConnectedToNeighbour {
            return;
        }
        self.timers.rewire_pause = (self.timers.rewire_pause * 3 / 2).min(REWIRE_MAX);
        if self.links.len() > CONSUMER_TARGET {
            let links: Vec<ConnId> = self.links.values().copied().collect();
            if let Some(id) = links.choose(&mut self.rng).copied() {
                self.give_up(id);
            }
        }
        self.seek_soon();
    }

    /// Whether a node kept its link with us out of its record lately.
    pub(super) fn shuns(&self, node: &NodeKey) -> bool {
        self.shunned
            .get(node)
            .is_some_and(|until| *until > self.now.mono)
    }

    /// Ends a link from this side, politely.
    pub(super) fn give_up(&mut self, id: ConnId) {
        self.send(id, Message::Goodbye(Farewell::Leaving));
        self.close(id, DownReason::Closed);
    }

    /// Whether a neighbour lists enough others to part with us: a newcomer would be alone again.
    fn can_do_without_us(&self, node: &NodeKey) -> bool {
        let record = self.spread.store.get(node);
        record.is_some_and(|record| record.neighbours.len() > MIN_LISTED)
    }

    /// The youngest link that may be given away, and whose other end can do without it.
    pub(super) fn sparable(&self) -> Option<ConnId> {
        let spare = self
            .each_link()
            .filter(|(id, conn, _)| self.may_splice(*id) && self.can_do_without_us(&conn.peer));
        spare
            .max_by_key(|(_, _, link)| link.since)
            .map(|(id, _, _)| id)
    }

    /// Two nodes that were neighbours and do not see each other any more: perhaps the mesh has
    /// parted between them. Even a full node makes room then, as seldom as for a splice.
    pub(super) fn make_way_for_reunion(&mut self, node: &NodeKey) -> bool {
        let lost = self.book.remembers(node) && !self.spread.store.sees(node);
        let Some(spare) = self.sparable().filter(|_| lost) else {
            return false;
        };
        let allowed = self.spread.splices.take(self.now.mono);
        if allowed {
            self.give_up(spare);
        }
        allowed
    }

    /// Tries one past neighbour that is not in view: so parted halves find each other. A full
    /// node gives up a link for it once it is accepted.
    fn probe(&mut self) {
        if self.links.is_empty() {
            return;
        }
        let store = &self.spread.store;
        let past = self.book.past(self.now.mono);
        let unseen = past.filter(|past| !store.sees(&past.node));
        let unseen = unseen.map(|past| (past.node, past.addresses.clone()));
        let mut unseen: Vec<(NodeKey, Vec<Address>)> = unseen.collect();
        unseen.retain(|(node, addresses)| {
            !addresses.is_empty() && !self.engaged(node) && !self.banned(node)
        });
        let Some((node, addresses)) = unseen.choose(&mut self.rng).cloned() else {
            return;
        };
        let mut swap = None;
        if self.occupied() >= self.config.cap {
            let spare = self.sparable().and_then(|id| self.conns.get(&id));
            let Some(spare) = spare.map(|conn| conn.peer) else {
                return;
            };
            if !self.spread.splices.take(self.now.mono) {
                return;
            }
            swap = Some(spare);
        }
        self.dial_known(node, addresses, Origin::Probe, swap);
    }
}
