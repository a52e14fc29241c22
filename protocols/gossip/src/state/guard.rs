//! Keeping the entry neighbour. Who is at the other end of a node's own entry link
//! sees every circuit of its own, and who wants to be there need only wait until the
//! node chooses again. So a node that has settled keeps its choice while it lives. When it leads
//! nowhere the node takes a second one beside it, and gives that back as soon as
//! the first leads somewhere again. Both times whoever has been known for longest
//! comes first: that is what somebody who came for this node is not.

use std::time::Duration;

use super::stage::route_exists;
use super::{ConnId, Machine};
use crate::key::NodeKey;

/// So long after its first choice a node has settled. Guess: before then a mesh that grows has nobody whom one
/// has known for long.
const SETTLED: Duration = Duration::from_secs(600);
/// A choice that led somewhere for this long is kept when it leads nowhere. Guess.
const PROVEN: Duration = Duration::from_secs(60);
/// For how long at most nobody is taken beside an entry neighbour who has not been known for half as long;
/// a third of the time for which it led somewhere, if that is less. Measured: with 300 s, and only who has
/// been known as long, attackers get there as often, and after a kill too few nodes have a route within a minute.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same after an entry link is lost.
const PATIENCE_WITHOUT: Duration = Duration::from_secs(10);
/// A kept choice that has led nowhere for this long is given up. Guess.
const GIVEN_UP: Duration = Duration::from_secs(1800);
/// How often a node with two own entry links looks whether the first leads somewhere again. Guess.
pub(super) const SECOND_CHECK: Duration = Duration::from_secs(15);
/// Nodes whose first records came within so many seconds of each other count as known equally long:
/// those that were there when a node joined. Guess.
const SAME_AGE_S: u64 = 60;

/// What is remembered of own entry links.
#[derive(Debug, Default)]
pub(super) struct Guarding {
    /// When the first one was chosen.
    pub(super) first: Option<Duration>,
    /// Since when the oldest one leads nowhere.
    pub(super) astray: Option<Duration>,
    /// Since when there is none, after there was one.
    lost: Option<Duration>,
    /// Since when the oldest one's node has been known; of the last one, if there is none.
    known: Option<Duration>,
}

impl Machine {
    /// Whether what this node chooses is to last.
    pub(super) fn settled(&self) -> bool {
        let first = self.guarding.first;
        self.config.roles.routes && first.is_some_and(|first| self.now.mono >= first + SETTLED)
    }

    /// The oldest own entry link, since when it is one, and the node at its other end.
    fn guard(&self) -> Option<(ConnId, Duration, NodeKey)> {
        let own = self.each_link().filter(|(_, _, link)| link.ours);
        let own = own.map(|(id, conn, link)| (id, link.ours_since, conn.peer));
        own.min_by_key(|(_, since, _)| *since)
    }

    fn known_since(&self, node: &NodeKey) -> Duration {
        let since = self.spread.store.known_since(node);
        since.unwrap_or(self.now.mono)
    }

    /// For how long a node has been known: greater numbers for those known for a shorter time.
    pub(super) fn acquaintance(&self, node: &NodeKey) -> u64 {
        self.known_since(node).as_secs() / SAME_AGE_S
    }

    /// Whether a node may become the entry neighbour without waiting for a better one: it has been known
    /// at least half as long as the present one, or as the last one if there is none.
    pub(super) fn known_for_long(&self, node: &NodeKey) -> bool {
        let now = self.now.mono;
        self.guarding.known.is_none_or(|known| {
            let asked = now.saturating_sub(known) / 2;
            let here = now.saturating_sub(self.known_since(node));
            here + Duration::from_secs(SAME_AGE_S) >= asked
        })
    }

    /// The stage changed: there is a route, or there is none.
    pub(super) fn note_way(&mut self, found: bool) {
        match self.own_entries() {
            0 => {}
            1 if found => self.guarding.astray = None,
            _ if found => {}
            _ => {
                self.guarding.astray.get_or_insert(self.now.mono);
            }
        }
    }

    /// An own entry link was granted.
    pub(super) fn entry_gained(&mut self) {
        self.guarding.lost = None;
        self.guarding.first.get_or_insert(self.now.mono);
        self.guarding.known = self.guard().map(|(_, _, node)| self.known_since(&node));
    }

    /// An own entry link is no more.
    pub(super) fn entry_lost(&mut self) {
        self.guarding.astray = None;
        if self.own_entries() == 0 {
            self.guarding.lost = Some(self.now.mono);
        } else {
            self.guarding.known = self.guard().map(|(_, _, node)| self.known_since(&node));
        }
    }

    /// Until when only who has been known long enough is taken.
    pub(super) fn patient_until(&mut self) -> Option<Duration> {
        let now = self.now.mono;
        if !self.settled() {
            return None;
        }
        let until = match self.guard() {
            Some((_, since, _)) => {
                let astray = *self.guarding.astray.get_or_insert(now);
                astray + (astray.saturating_sub(since) / 3).min(PATIENCE)
            }
            None => self.guarding.lost? + PATIENCE_WITHOUT,
        };
        Some(until).filter(|until| now < *until)
    }

    /// Of several own entry links one is kept; the oldest, if it is proven. A second one stays while
    /// that leads nowhere, and it somewhere.
    pub(super) fn settle_entries(&mut self) {
        let now = self.now.mono;
        while self.own_entries() > 1 {
            let Some((guard, since, node)) = self.guard() else {
                return;
            };
            let astray = self.guarding.astray;
            let proven = astray.unwrap_or(now).saturating_sub(since) >= PROVEN;
            if !(self.settled() && proven) {
                self.release_worst();
            } else if self.leads(&node) {
                self.release_youngest();
            } else if astray.is_some_and(|astray| now >= astray + GIVEN_UP) {
                self.release(guard);
                self.entry_lost();
            } else if self.own_entries() > 2 || !self.has_route() {
                self.release_youngest();
            } else {
                return;
            }
        }
    }

    /// Whether circuits that come over an entry link find an exit behind one of our listed links, that
    /// with `node` left out. Whoever makes entry links of all our listed ones would leave those
    /// nowhere to go who have chosen us, and us them.
    pub(super) fn serves_beside(&self, node: &NodeKey) -> bool {
        let listed = self.each_link().filter(|(_, _, link)| link.listed());
        let listed: Vec<NodeKey> = listed
            .map(|(_, conn, _)| conn.peer)
            .filter(|peer| peer != node)
            .collect();
        let hops = self.config.min_hops.saturating_sub(1);
        hops == 0 || route_exists(&self.spread.store, self.me, &listed, hops)
    }

    /// A node that is full, and leads nowhere those who have chosen it, ends the entry link of the one that
    /// has been known for the shortest time, so that a listed one can take the place.
    pub(super) fn serve_again(&mut self) {
        let me = self.me;
        let full = self.links.len() >= self.config.cap;
        if !full || !self.settled() || self.serves_beside(&me) {
            return;
        }
        let hosted = self
            .each_link()
            .filter(|(_, conn, link)| link.theirs && !link.ours && self.routes(&conn.peer));
        let youngest =
            hosted.max_by_key(|(_, conn, link)| (self.known_since(&conn.peer), link.since));
        if let Some((id, _, _)) = youngest {
            self.give_up(id);
        }
    }

    fn release_youngest(&mut self) {
        let own = self.each_link().filter(|(_, _, link)| link.ours);
        let youngest = own.max_by_key(|(_, _, link)| link.ours_since);
        if let Some((id, _, _)) = youngest {
            self.release(id);
        }
    }
}
