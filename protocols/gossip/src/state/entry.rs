//! Entry links: the one link on which a node's own circuits begin and end, and
//! which is in nobody's record. Each node chooses its own, among links that it
//! looked for itself where it can; the other end agrees, and may use it likewise.

use std::time::Duration;

use rand::seq::IndexedRandom as _;

use super::conn::Conn;
use super::guard::SECOND_CHECK;
use super::stage::route_exists;
use super::{ConnId, Machine};
use crate::event::{Event, Stage};
use crate::key::NodeKey;
use crate::wire::Message;

/// Entry links a node has at most, own and others' together, so that listed links remain: two,
/// and a third for nodes that would have none otherwise.
const MAX_ENTRY_LINKS: usize = 2;
const MAX_ENTRY_LINKS_IN_NEED: usize = 3;
/// Listed links that a node which routes keeps free for itself.
const MIN_LISTED: usize = 2;
/// A neighbour that did not grant is not asked again for this long. Guess.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);
/// Neighbours that do not answer are given up after this. Guess.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an entry link may lead nowhere before another is looked for: records may still be coming. Guess.
const RECONSIDER_PAUSE: Duration = Duration::from_millis(1500);

impl Machine {
    /// How many links are our own entry links.
    pub(super) fn own_entries(&self) -> usize {
        self.each_link().filter(|(_, _, link)| link.ours).count()
    }

    /// Whether a new link should be an entry link of ours from the beginning. Who has settled chooses among
    /// those that it knows instead.
    pub(super) fn wants_entry(&self) -> bool {
        !self.config.roles.routes
            || (self.config.originates && self.own_entries() == 0 && !self.settled())
    }

    /// Whether our own entry link is to be made the other's as well, or to be moved to one that is:
    /// one unlisted link then does for two nodes, and both have more listed ones. Not once it has settled, so
    /// that nobody who comes along becomes our entry neighbour.
    fn unpaired(&self) -> bool {
        let mut own = self.each_link().filter(|(_, _, link)| link.ours);
        self.config.originates
            && self.config.roles.routes
            && !self.settled()
            && own.all(|(_, _, link)| !link.theirs)
    }

    /// Links that are the other's entry link and not ours.
    fn pairable(&self) -> impl Iterator<Item = (ConnId, &Conn)> {
        let theirs = self
            .each_link()
            .filter(|(_, conn, link)| link.theirs && !link.ours && self.routes(&conn.peer));
        theirs.map(|(id, conn, _)| (id, conn))
    }

    /// Whether a link with this node may be its entry link. `need`: others have refused, or will.
    /// Without it only if it can become ours as well.
    pub(super) fn can_host(&self, node: &NodeKey, need: bool) -> bool {
        if !self.config.roles.routes {
            return false;
        }
        if self.link(node).is_some_and(|link| link.ours || link.theirs) {
            return true;
        }
        let others = || self.each_link().filter(|(_, conn, _)| conn.peer != *node);
        let entries = others().filter(|(_, _, link)| !link.listed()).count();
        let listed = others().filter(|(_, _, link)| link.listed()).count();
        let spare = self.config.cap.saturating_sub(self.occupied());
        // Room is kept for the one that we have not chosen yet.
        let own = usize::from(self.config.originates && self.own_entries() == 0);
        let limit = if need {
            MAX_ENTRY_LINKS_IN_NEED
        } else {
            MAX_ENTRY_LINKS
        };
        let pairs =
            !self.config.originates || (self.unpaired() && self.pairable().next().is_none());
        (need || pairs)
            && entries + 1 + own <= limit
            && listed + spare >= MIN_LISTED
            && (!self.settled() || self.stage != Stage::RouteFound || self.serves_beside(node))
    }

    /// Whether a route of the configured length begins at this neighbour.
    pub(super) fn leads(&self, node: &NodeKey) -> bool {
        route_exists(&self.spread.store, self.me, &[*node], self.config.min_hops)
    }

    /// Sees to it that there is one entry link of our own, and that it leads somewhere.
    pub(super) fn choose_entry(&mut self) {
        self.timers.entry = None;
        let routes = self.config.roles.routes;
        if self.links.is_empty() || (routes && !self.config.originates) {
            return;
        }
        if routes {
            self.settle_entries();
        }
        let now = self.now.mono;
        let own = self.own_entries();
        let moving = routes && own > 0;
        if moving && self.has_route() {
            if own > 1 {
                self.timers.entry = Some(now + self.jitter(SECOND_CHECK));
                return;
            }
            self.guarding.astray = None;
            return self.pair();
        }
        let patient_until = if routes { self.patient_until() } else { None };
        let pause = self.config.timing.entry_pause;
        let waiting = self.each_link().any(|(_, _, link)| {
            link.entry_asked
                .is_some_and(|asked| now.saturating_sub(asked) < ANSWER_TIMEOUT)
        });
        let pick = if waiting {
            None
        } else {
            self.pick_entry(moving, patient_until.is_some())
        };
        if waiting || pick.is_some() || !moving {
            self.timers.entry = Some(now + self.jitter(pause));
        } else {
            self.timers.entry = patient_until;
        }
        let Some(conn) = pick else { return };
        // Whoever has settled asks the one it wants, not whoever is the first to agree.
        let insist = self.settled()
            || self
                .each_link()
                .any(|(_, _, link)| link.entry_refused_until > Duration::ZERO);
        if let Some(link) = self.conns.get_mut(&conn).and_then(|c| c.link_mut()) {
            link.entry_asked = Some(now);
            self.send(conn, Message::EntryAsk { insist });
        }
    }

    /// Moves our entry link to one that is the other's already, when that leads somewhere.
    fn pair(&mut self) {
        if !self.unpaired() {
            return;
        }
        let leading = self.pairable().find(|(_, conn)| self.leads(&conn.peer));
        let Some(id) = leading.map(|(id, _)| id) else {
            return;
        };
        let now = self.now.mono;
        if let Some(link) = self.conns.get_mut(&id).and_then(|conn| conn.link_mut())
            && link.entry_asked.is_none()
        {
            link.entry_asked = Some(now);
            self.send(id, Message::EntryAsk { insist: false });
        }
    }

    /// The neighbourhood changed while our entry link led nowhere, or may be moved to a better one.
    pub(super) fn reconsider_entry(&mut self) {
        let wanting = self.stage == Stage::ConnectedToNeighbour
            || (self.unpaired() && self.pairable().next().is_some());
        // A node that has settled may be waiting for its patience to end, while somebody better comes.
        if wanting && (self.timers.entry.is_none() || self.settled()) {
            let at = self.now.mono + self.jitter(RECONSIDER_PAUSE);
            self.timers.entry = Some(self.timers.entry.map_or(at, |before| before.min(at)));
        }
    }

    /// Links that lead to an exit come first (`must_lead`: no others will do). Among them, once this
    /// node has settled, those with nodes that have been known for longest (`patient`: nobody who
    /// has not been known for half as long as the entry neighbour); then those we looked for; then,
    /// while it has not, those that are the other's entry link already, because making it ours too
    /// costs no listed link.
    fn pick_entry(&mut self, must_lead: bool, patient: bool) -> Option<ConnId> {
        let now = self.now.mono;
        let settled = self.settled();
        let candidates: Vec<((bool, u64, u8), ConnId)> = self
            .each_link()
            .filter(|(_, conn, link)| {
                !link.ours
                    && link.entry_refused_until <= now
                    && self.routes(&conn.peer)
                    && (!patient || self.known_for_long(&conn.peer))
            })
            .map(|(id, conn, link)| {
                let known = if settled {
                    self.acquaintance(&conn.peer)
                } else {
                    0
                };
                let pairs = settled || link.theirs;
                let strange = 2 * u8::from(!link.chosen) + u8::from(!pairs);
                ((!self.leads(&conn.peer), known, strange), id)
            })
            .filter(|((astray, _, _), _)| !astray || !(must_lead || patient))
            .collect();
        let best = candidates.iter().map(|(rank, _)| *rank).min()?;
        let best: Vec<ConnId> = candidates
            .iter()
            .filter(|(rank, _)| *rank == best)
            .map(|(_, id)| *id)
            .collect();
        best.choose(&mut self.rng).copied()
    }

    /// Of several own entry links of which none is proven one that leads nowhere goes, else one that we
    /// did not look for, else, while we have not settled, one that is not the other's, else the youngest.
    pub(super) fn release_worst(&mut self) {
        let settled = self.settled();
        let own = self.each_link().filter(|(_, _, link)| link.ours);
        let worst = own.max_by_key(|(_, conn, link)| {
            let alone = !settled && !link.theirs;
            let strange = settled && !link.chosen;
            (!self.leads(&conn.peer), alone, strange, link.since)
        });
        if let Some((id, _, _)) = worst {
            self.release(id);
        }
    }

    /// Gives an own entry link back.
    pub(super) fn release(&mut self, id: ConnId) {
        if let Some(link) = self.conns.get_mut(&id).and_then(|conn| conn.link_mut()) {
            // Without this flag there is one less, so loops that release end.
            link.ours = false;
            self.send(id, Message::EntryRelease);
            self.entry_changed(id);
        }
    }

    pub(super) fn on_entry_ask(&mut self, id: ConnId, insist: bool) {
        let Some(peer) = self.conns.get(&id).map(|conn| conn.peer) else {
            return;
        };
        let need = insist || !self.routes(&peer);
        let granted = self.can_host(&peer, need);
        self.send(id, Message::EntryReply { granted });
        if granted && let Some(link) = self.conns.get_mut(&id).and_then(|conn| conn.link_mut()) {
            let changed = !link.theirs;
            link.theirs = true;
            if changed {
                self.entry_changed(id);
            }
        }
    }

    pub(super) fn on_entry_reply(&mut self, id: ConnId, granted: bool) {
        let now = self.now.mono;
        let Some(link) = self.conns.get_mut(&id).and_then(|conn| conn.link_mut()) else {
            return;
        };
        if link.entry_asked.take().is_none() {
            return;
        }
        if granted {
            link.ours = true;
            link.ours_since = now;
            self.entry_gained();
            self.entry_changed(id);
        } else {
            link.entry_refused_until = now + REFUSED_PAUSE;
        }
        self.timers.entry = Some(now);
    }

    pub(super) fn on_entry_release(&mut self, id: ConnId) {
        let Some(link) = self.conns.get_mut(&id).and_then(|conn| conn.link_mut()) else {
            return;
        };
        if std::mem::take(&mut link.theirs) {
            self.entry_changed(id);
        }
    }

    fn entry_changed(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let Some(link) = conn.link() else { return };
        let (node, entry) = (conn.peer, link.entry());
        self.event(Event::NeighbourChanged {
            node,
            peer: node.peer_id(),
            entry,
        });
        self.links_changed();
    }
}
