//! Trimming: when both ends of a link have more neighbours than they look for,
//! the link is given up. So places stay free within a few steps of everywhere,
//! and newcomers need not be spliced in at the cost of links in use.

use std::time::Duration;

use rand::seq::IndexedRandom as _;

use super::heal::MIN_LISTED;
use super::{ConnId, Machine};
use crate::event::{DownReason, Stage};
use crate::key::NodeKey;
use crate::wire::{Farewell, Message};

/// How long a node keeps more neighbours than it looks for before it offers to give one up, and
/// between offers. Guess: long enough for a newcomer to have found its own.
const TRIM_PAUSE: Duration = Duration::from_secs(10);
/// A link that carried data this recently is in use. Guess.
const IDLE_FOR: Duration = Duration::from_secs(60);
/// A younger link stays: whoever made it may still be joining. Guess.
const MIN_AGE: Duration = Duration::from_secs(10);

/// Between offers to give up a link that closes no short cycle. Guess.
pub(super) const REWEAVE_PAUSE: Duration = Duration::from_secs(30);
/// Listed links that may close no short cycle: they hold the mesh together. Guess.
const LONG_LINKS: usize = 1;
/// Links of its own choice, its entry link first, that a node keeps through this. Fewer than splices spare,
/// because the other end agrees to part; with two, back legs that differ were 35 % instead of 54 %.
const KEPT: usize = 1;
/// Longest cycle that serves as a way back: a back leg may be one relay longer. From the design.
const SHORT_CYCLE: u8 = 5;

impl Machine {
    /// Whether a way of listed links, not this one, leads back from its other end within a short cycle.
    fn closes_cycle(&self, node: &NodeKey) -> bool {
        let store = &self.spread.store;
        let me = self.me;
        let mut ring = vec![*node];
        for _ in 1..SHORT_CYCLE {
            let mut next = vec![];
            for at in &ring {
                for other in store.mutual(at) {
                    if other == me {
                        if *at != *node {
                            return true;
                        }
                    } else if !next.contains(&other) {
                        next.push(other);
                    }
                }
            }
            ring = next;
        }
        false
    }

    /// Listed links that close no short cycle.
    fn long_links(&self) -> Vec<ConnId> {
        let listed = self.each_link().filter(|(_, _, link)| link.listed());
        let long = listed.filter(|(_, conn, _)| !self.closes_cycle(&conn.peer));
        long.map(|(id, _, _)| id).collect()
    }

    /// Offers one of several long links up, so that both ends may find one that closes a cycle.
    pub(super) fn reweave(&mut self) {
        self.timers.reweave = self.now.mono + self.jitter(REWEAVE_PAUSE);
        self.serve_again();
        if self.links.len() <= self.config.target {
            return;
        }
        let mut long = self.long_links();
        if long.len() <= LONG_LINKS {
            return;
        }
        long.retain(|id| self.can_part(*id));
        if let Some(id) = long.choose(&mut self.rng).copied() {
            self.send(id, Message::Spare);
        }
    }

    /// Has `trim` come in time when there are neighbours to spare.
    pub(super) fn plan_trim(&mut self) {
        if self.links.len() <= self.config.target {
            self.timers.trim = None;
        } else if self.timers.trim.is_none() {
            self.timers.trim = Some(self.now.mono + self.jitter(TRIM_PAUSE));
        }
    }

    /// Whether a neighbour's offer to part is taken.
    fn agrees_to_part(&self, id: ConnId) -> bool {
        if self.little_room() {
            return self.can_part(id);
        }
        let long = self.long_links();
        long.len() > LONG_LINKS && long.contains(&id) && self.can_part(id)
    }

    /// Whether this link could be missed.
    fn can_part(&self, id: ConnId) -> bool {
        let listed = self.each_link().filter(|(_, _, link)| link.listed());
        let Some(conn) = self.conns.get(&id) else {
            return false;
        };
        let now = self.now.mono;
        let idle = conn
            .in_use
            .is_none_or(|at| now.saturating_sub(at) >= IDLE_FOR);
        self.links.len() > self.config.target
            && self.stage == Stage::RouteFound
            && listed.count() > MIN_LISTED
            && conn.link().is_some_and(|link| now >= link.since + MIN_AGE)
            && idle
            && self.may_give_up(id, KEPT)
    }

    /// Offers a neighbour to part.
    pub(super) fn trim(&mut self) {
        self.timers.trim = None;
        self.plan_trim();
        if !self.little_room() {
            return;
        }
        let mut spare: Vec<ConnId> = self.links.values().copied().collect();
        spare.retain(|id| self.can_part(*id));
        if let Some(id) = spare.choose(&mut self.rng).copied() {
            self.send(id, Message::Spare);
        }
    }

    /// A neighbour offers to part.
    pub(super) fn on_spare(&mut self, id: ConnId) {
        if self.agrees_to_part(id) {
            self.send(id, Message::Goodbye(Farewell::Spared));
            self.close(id, DownReason::Spared);
        }
    }
}
