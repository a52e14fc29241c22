//! Trimming: when both ends of a link have more neighbours than they look for,
//! the link is given up. So places stay free within a few steps of everywhere,
//! and newcomers need not be spliced in at the cost of links in use.

use std::time::Duration;

use rand::seq::IndexedRandom as _;

use super::heal::MIN_LISTED;
use super::{ConnId, Machine};
use crate::event::{DownReason, Stage};
use crate::wire::{Farewell, Message};

/// How long a node keeps more neighbours than it looks for before it offers to give one up, and
/// between offers. Guess: long enough for a newcomer to have found its own.
const TRIM_PAUSE: Duration = Duration::from_secs(10);
/// A link that carried data this recently is in use. Guess.
const IDLE_FOR: Duration = Duration::from_secs(60);
/// A younger link stays: whoever made it may still be joining. Guess.
const MIN_AGE: Duration = Duration::from_secs(10);

impl Machine {
    /// Has `trim` come in time when there are neighbours to spare.
    pub(super) fn plan_trim(&mut self) {
        if self.links.len() <= self.config.target {
            self.timers.trim = None;
        } else if self.timers.trim.is_none() {
            self.timers.trim = Some(self.now.mono + self.jitter(TRIM_PAUSE));
        }
    }

    /// Whether this link could be missed.
    fn can_spare(&self, id: ConnId) -> bool {
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
            && self.may_splice(id)
    }

    /// Offers a neighbour to part.
    pub(super) fn trim(&mut self) {
        self.timers.trim = None;
        self.plan_trim();
        let mut spare: Vec<ConnId> = self.links.values().copied().collect();
        spare.retain(|id| self.can_spare(*id));
        if let Some(id) = spare.choose(&mut self.rng).copied() {
            self.send(id, Message::Spare);
        }
    }

    /// A neighbour offers to part.
    pub(super) fn on_spare(&mut self, id: ConnId) {
        if self.can_spare(id) {
            self.send(id, Message::Goodbye(Farewell::Spared));
            self.close(id, DownReason::Spared);
        }
    }
}
