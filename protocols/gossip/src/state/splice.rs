//! Splicing: when a walk ends and nobody had room, its end gives one of its
//! links to the newcomer: the edge `B–N` becomes `B–A` and `A–N`. The swap is
//! made when the newcomer is there, so nobody is ever above the cap and nobody
//! loses a link for a newcomer that does not come.

use std::time::Duration;

use rand::seq::SliceRandom as _;

use super::intro::SPLICE_BELOW;
use super::walk::{Asker, Splice, Swap};
use super::{ConnId, Machine};
use crate::card::{Card, WalkId};
use crate::event::DownReason;
use crate::key::NodeKey;
use crate::wire::{Farewell, Message};

/// Links that a node looked for itself and never gives away, the entry link among them. From the design.
const PROTECTED: usize = 2;
/// How long the connection of a spliced link stays for what is still on its way.
const LINGER: Duration = Duration::from_secs(2);

impl Machine {
    /// Whether a link may be given away.
    pub(super) fn may_splice(&self, id: ConnId) -> bool {
        self.may_give_up(id, PROTECTED)
    }

    /// Whether a link is listed and none of those that a node keeps: its entry links, and the oldest
    /// that it chose itself, together so many.
    pub(super) fn may_give_up(&self, id: ConnId, protected: usize) -> bool {
        let mut chosen: Vec<(Duration, ConnId)> = self
            .each_link()
            .filter(|(_, _, link)| link.chosen)
            .map(|(id, _, link)| (link.since, id))
            .collect();
        chosen.sort();
        let entries = self
            .each_link()
            .filter(|(_, _, link)| link.ours && link.chosen)
            .count();
        let others = chosen.iter().filter(|(_, id)| {
            self.conns
                .get(id)
                .and_then(|conn| conn.link())
                .is_some_and(|link| !link.ours)
        });
        let protected = others
            .take(protected.saturating_sub(entries))
            .any(|(_, kept)| *kept == id);
        let link = self.conns.get(&id).and_then(|conn| conn.link());
        !protected && link.is_some_and(|link| link.listed())
    }

    /// The end of a walk offers one of its links. `false` when it can't or won't.
    pub(super) fn offer_splice(
        &mut self,
        back: ConnId,
        id: WalkId,
        card: Card,
        bytes: Vec<u8>,
    ) -> bool {
        let fine = !self.stopping
            && self.config.roles.routes
            && !card.entry_only
            && usize::from(card.links) < SPLICE_BELOW
            && self.can_meet(&card)
            && !self.engaged(&card.node)
            && self.intro.may_take(&card.node, Asker::Link(back));
        if !fine {
            return false;
        }
        let mut victims: Vec<ConnId> = self
            .each_link()
            .filter(|(id, conn, _)| {
                conn.peer != card.node && self.routes(&conn.peer) && self.may_splice(*id)
            })
            .map(|(id, _, _)| id)
            .collect();
        victims.shuffle(&mut self.rng);
        let Some(victim) = victims.pop() else {
            return false;
        };
        let until = self.now.mono + self.config.timing.offer_timeout;
        let splice = Splice {
            victim,
            others: victims,
            back,
            card,
            bytes,
            until,
        };
        self.ask_splice(id, splice);
        true
    }

    fn ask_splice(&mut self, id: WalkId, splice: Splice) {
        let (victim, card) = (splice.victim, splice.bytes.clone());
        if self.intro.ask_splice(id, splice) {
            self.send(victim, Message::SpliceAsk { id, card });
        }
    }

    pub(super) fn on_splice_ask(&mut self, from: ConnId, id: WalkId, bytes: &[u8]) {
        let reply = self.agree_to_splice(from, id, bytes);
        let (card, sealed) = reply.clone().unwrap_or_default();
        self.send(
            from,
            Message::SpliceReply {
                id,
                agreed: reply.is_some(),
                card,
                sealed,
            },
        );
    }

    fn agree_to_splice(
        &mut self,
        from: ConnId,
        id: WalkId,
        bytes: &[u8],
    ) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        let card = self.read_card(bytes, &id)?;
        let end = self.conns.get(&from)?.peer;
        let fine = !self.stopping
            && !self.banned(&card.node)
            && !card.entry_only
            && self.may_splice(from)
            && self.can_meet(&card)
            && !self.engaged(&card.node)
            && self.intro.may_take(&card.node, Asker::Link(from))
            && self.spread.splices.take(self.now.mono);
        if !fine {
            return None;
        }
        self.offer(Asker::Link(from), id, &card, Some(Swap::GivenBy(end)))
    }

    pub(super) fn on_splice_reply(
        &mut self,
        from: ConnId,
        id: WalkId,
        agreed: bool,
        card: Vec<u8>,
        sealed: Option<Vec<u8>>,
    ) {
        if self
            .intro
            .splices
            .get(&id)
            .is_none_or(|splice| splice.victim != from)
        {
            return;
        }
        let Some(mut splice) = self.intro.splices.remove(&id) else {
            return;
        };
        if !agreed && let Some(next) = splice.others.pop() {
            splice.victim = next;
            return self.ask_splice(id, splice);
        }
        let Some(victim) = self.conns.get(&from).map(|conn| conn.peer) else {
            return;
        };
        let until = self.now.mono + self.config.timing.walk_life;
        let allowed = agreed && self.spread.splices.take(self.now.mono);
        let offered = if allowed && self.intro.remember_path(id, splice.back, from, until) {
            self.offer(
                Asker::Link(splice.back),
                id,
                &splice.card,
                Some(Swap::Gives(victim)),
            )
        } else {
            None
        };
        let Some((own, own_sealed)) = offered else {
            return self.send(splice.back, Message::WalkEnd { id });
        };
        self.send(
            splice.back,
            Message::Taken {
                id,
                card: own,
                sealed: own_sealed,
                second: false,
            },
        );
        self.send(
            splice.back,
            Message::Taken {
                id,
                card,
                sealed,
                second: true,
            },
        );
    }

    /// The newcomer is there: the link that was to make room does so. `true` when it did.
    pub(super) fn make_way(&mut self, newcomer: &NodeKey, invited: Option<WalkId>) -> bool {
        let Some(id) = invited else { return false };
        let swap = self
            .intro
            .takes
            .get(&id)
            .filter(|take| take.node == *newcomer)
            .and_then(|take| take.swap);
        match swap {
            Some(Swap::Gives(victim)) => self.complete_swap(&victim, id),
            Some(Swap::GivenBy(end)) => {
                let Some(conn) = self.links.get(&end).copied() else {
                    return false;
                };
                self.unlink(conn, DownReason::Spliced, LINGER);
                self.send(conn, Message::Goodbye(Farewell::Spliced));
                true
            }
            None => false,
        }
    }

    /// The end of the walk lets go of the link that it gives away.
    pub(super) fn complete_swap(&mut self, victim: &NodeKey, id: WalkId) -> bool {
        let Some(conn) = self.links.get(victim).copied() else {
            return false;
        };
        self.send(conn, Message::SpliceGo { id });
        self.unlink(conn, DownReason::Spliced, LINGER);
        true
    }

    pub(super) fn on_splice_go(&mut self, from: ConnId, id: WalkId) {
        let Some(end) = self.conns.get(&from).map(|conn| conn.peer) else {
            return;
        };
        let Some(take) = self.intro.takes.get_mut(&id) else {
            // Its place went to somebody who asked by a circuit, and whom we need not know.
            return self.unlink(from, DownReason::Spliced, LINGER);
        };
        if take.swap != Some(Swap::GivenBy(end)) {
            return;
        }
        // From here on it is an ordinary offer, with a slot of its own.
        take.swap = None;
        let (node, addresses) = (take.node, std::mem::take(&mut take.addresses));
        self.unlink(from, DownReason::Spliced, LINGER);
        if !addresses.is_empty() {
            self.intro.takes.remove(&id);
            self.meet(node, addresses, id, None, false);
        }
    }
}
