//! Introductions: a card, which carries no address, walks at random until a
//! node with room takes it; then one address travels back or forth, sealed to
//! the other of the two. Nodes on the walk learn no address.

use rand::RngExt as _;
use rand::seq::IndexedRandom as _;

use super::ask::Guest;
use super::book::Origin;
use super::conn::{Conn, Debut, Phase};
use super::walk::{Asker, Swap};
use super::{ConnId, Dial, Machine, Output};
use crate::address::Address;
use crate::card::{Card, MAX_CARD_LIFE, SealSecret, WalkId, peek_node, seal};
use crate::key::NodeKey;
use crate::scope;
use crate::wire::Message;

pub(super) use super::walk::Introductions;

/// How far a card walks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reach {
    /// Steps in all.
    steps: u32,
    /// Steps before anybody may take it.
    min: u32,
}

/// A walk as it passes.
struct Walk {
    id: WalkId,
    bytes: Vec<u8>,
    left: u32,
    min: u32,
    splice: bool,
}

/// For a node with hardly any neighbour: the next best. Guess.
const ANYWHERE: Reach = Reach { steps: 16, min: 1 };
/// Closes a four-cycle: the taker is at distance three when the walk does not turn. From the design.
const NEAR: Reach = Reach { steps: 6, min: 2 };
/// Brings far nodes into reach. Guess.
const FAR: Reach = Reach { steps: 12, min: 4 };
/// Out of the surroundings of the entry neighbour: whoever is found there would give away whose
/// entry neighbour it is. Guess.
const BEHIND_ENTRY: Reach = Reach { steps: 18, min: 8 };
/// A node with fewer neighbours than this may be spliced in.
pub(super) const SPLICE_BELOW: usize = 2;
/// Links that others have looked for. Each link is somebody's choice, so two and a half are the mean; with
/// more than this, whoever asks everybody all the time would have all places. Measured: with three,
/// newcomers have a route two seconds later and attackers hold no less.
const MAX_STRANGERS: usize = 4;
/// With fewer neighbours a node that a seed introduces is given the place of another.
const NEWCOMER_BELOW: usize = 3;

impl Machine {
    /// A fresh card of our own for a new walk, which may end in a splice or not.
    pub(super) fn own_walk_card(&mut self, may_splice: bool) -> (WalkId, Vec<u8>) {
        let id = self.new_walk_id();
        let secret = SealSecret::new(&mut self.rng);
        let card = self.card_for(&id, &secret);
        let until = self.now.mono + self.config.timing.walk_life;
        let now = self.now.mono;
        self.intro.remember_own(id, secret, may_splice, now, until);
        (id, card)
    }

    pub(super) fn card_for(&mut self, id: &WalkId, secret: &SealSecret) -> Vec<u8> {
        let card = Card {
            chain: self.config.chain,
            node: self.me,
            seal_key: secret.public(),
            dialable: self.introducible(),
            entry_only: !self.config.roles.routes,
            links: self.occupied().min(usize::from(u8::MAX)) as u8,
            // Half of what is allowed, so that clocks may differ by the other half.
            expires: self.now.unix + MAX_CARD_LIFE / 2,
        };
        let (me, verifier) = (self.me, &mut self.verifier);
        card.sign_noting(id, &self.keys, |message, signature| {
            verifier.signed(&me, message, signature);
        })
    }

    /// Whether we have an address that can be sealed.
    pub(super) fn introducible(&self) -> bool {
        self.config.dialable() && self.config.advertise.iter().any(scope::ever_dialable)
    }

    /// Sends a card of our own along one of our links.
    pub(super) fn launch_walk(&mut self) {
        let reach = if self.links.len() < SPLICE_BELOW {
            ANYWHERE
        } else if self.rng.random_bool(self.config.near_share) {
            NEAR
        } else {
            FAR
        };
        // Who has looked in vain for some time may have any place, and a splice when it is poor.
        let splice = self.timers.seek_pause > self.config.timing.seek_first * 4;
        let wanted = self.config.cap.saturating_sub(self.occupied());
        if self.intro.under_way(self.now.mono) >= wanted {
            return;
        }
        let Some(next) = self.next_step(None, &self.me.clone()) else {
            return;
        };
        let over_entry = self.conns.get(&next).and_then(Conn::link);
        let over_entry = over_entry.is_some_and(|link| !link.listed());
        let reach = if over_entry && !splice {
            BEHIND_ENTRY
        } else {
            reach
        };
        let (id, card) = self.own_walk_card(splice);
        self.send(
            next,
            Message::Walk {
                id,
                card,
                left: reach.steps,
                min: reach.min,
                splice,
            },
        );
    }

    /// Introduces a guest whose card has come with its debut.
    pub(super) fn introduce_guest(
        &mut self,
        conn: ConnId,
        peer: NodeKey,
        id: WalkId,
        bytes: Vec<u8>,
        splice: bool,
    ) {
        let card = self.read_card(&bytes, &id);
        match card.filter(|card| card.node == peer) {
            Some(card) => {
                let guest = Guest {
                    conn,
                    peer,
                    card: bytes,
                    dialable: card.dialable,
                    splice,
                    by_circuit: !card.entry_only,
                };
                self.introduce(id, guest);
            }
            None => self.send(conn, Message::WalkEnd { id }),
        }
    }

    /// Shows a guest's card to somebody by a circuit, or sends it along one of our links.
    pub(super) fn introduce(&mut self, id: WalkId, guest: Guest) {
        let Err(guest) = self.ask_for_guest(id, guest) else {
            return;
        };
        let Some(card) = self.read_card(&guest.card, &id) else {
            return self.send(guest.conn, Message::WalkEnd { id });
        };
        let Reach { steps: left, min } = ANYWHERE;
        let walk = Walk {
            id,
            bytes: guest.card,
            left,
            min,
            splice: guest.splice,
        };
        self.walk_on(guest.conn, walk, card);
    }

    /// Somewhere to send a walk on to.
    fn next_step(&mut self, from: Option<ConnId>, about: &NodeKey) -> Option<ConnId> {
        let onward = self.each_link().filter(|(id, conn, _)| {
            Some(*id) != from && conn.peer != *about && self.routes(&conn.peer)
        });
        let (listed, entries): (Vec<_>, Vec<_>) = onward
            .map(|(id, _, link)| (id, link.listed()))
            .partition(|(_, listed)| *listed);
        // Entry links lead away from what is public.
        let onward = if listed.is_empty() { entries } else { listed };
        onward.choose(&mut self.rng).map(|(id, _)| *id)
    }

    pub(super) fn on_introduction(&mut self, id: ConnId, message: Message) {
        match message {
            Message::Walk {
                id: walk,
                card: bytes,
                left,
                min,
                splice,
            } => {
                let walk = Walk {
                    id: walk,
                    bytes,
                    left,
                    min,
                    splice,
                };
                self.on_walk(id, walk);
            }
            Message::Taken {
                id: walk,
                card,
                sealed,
                second,
            } => {
                self.on_taken(id, walk, card, sealed, second);
            }
            Message::Sealed {
                id: walk,
                to,
                sealed,
            } => self.on_sealed(walk, to, sealed),
            Message::WalkEnd { id: walk } => self.on_walk_end(id, walk),
            _ => {}
        }
    }

    fn on_walk(&mut self, from: ConnId, walk: Walk) {
        let now = self.now.mono;
        let neighbour = self
            .conns
            .get_mut(&from)
            .filter(|conn| conn.link().is_some());
        if !neighbour.is_some_and(|conn| conn.buckets.walks.take(now)) {
            return;
        }
        let Some(card) = self.read_card(&walk.bytes, &walk.id) else {
            return;
        };
        if self.banned(&card.node) {
            return self.send(from, Message::WalkEnd { id: walk.id });
        }
        if walk.min == 0
            && let Some((own, sealed)) =
                self.take_card(Asker::Link(from), &walk.id, walk.splice, &card)
        {
            let (id, card, second) = (walk.id, own, false);
            let taken = Message::Taken {
                id,
                card,
                sealed,
                second,
            };
            return self.send(from, taken);
        }
        self.walk_on(from, walk, card);
    }

    /// Passes a walk on, or ends it: by a splice, or by saying so.
    fn walk_on(&mut self, from: ConnId, walk: Walk, card: Card) {
        let Walk {
            id,
            bytes,
            left,
            min,
            splice,
        } = walk;
        let until = self.now.mono + self.config.timing.walk_life;
        if left > 0
            && let Some(next) = self.next_step(Some(from), &card.node)
            && (self.intro.own.contains_key(&id) || self.intro.remember_path(id, from, next, until))
        {
            let (left, min) = (left - 1, min.saturating_sub(1));
            self.send(
                next,
                Message::Walk {
                    id,
                    card: bytes,
                    left,
                    min,
                    splice,
                },
            );
        } else if !(splice && self.offer_splice(from, id, card, bytes)) {
            self.send(from, Message::WalkEnd { id });
        }
    }

    /// Whether one of the two can be dialled.
    pub(super) fn can_meet(&self, card: &Card) -> bool {
        card.dialable || (self.config.reveal_to_newcomers && self.introducible())
    }

    /// Counts that our address is told to a newcomer that nobody can dial. Such newcomers cost
    /// nothing to invent.
    fn may_reveal(&mut self, from: Asker) -> bool {
        let now = self.now.mono;
        let bucket = match from {
            Asker::Link(conn) => self.conns.get_mut(&conn).map(|c| &mut c.buckets.reveals),
            Asker::Circuit => Some(&mut self.intro.circuit_reveals),
        };
        bucket.is_some_and(|bucket| bucket.take(now)) && self.intro.reveals.take(now)
    }

    /// Whether there is a place for the node of a card. The last one is for those who have hardly
    /// any neighbour, or have looked in vain: so newcomers find one within a few steps however
    /// long the mesh has been at rest.
    fn has_place_for(&self, card: &Card, patient: bool) -> bool {
        let poor = usize::from(card.links) < SPLICE_BELOW;
        let most = if poor || card.entry_only || patient || self.much_room() {
            self.config.cap
        } else {
            self.config.target
        };
        self.occupied() < most
    }

    /// Whether there may be one more link that others have looked for.
    pub(super) fn takes_strangers(&self) -> bool {
        let links = self
            .each_link()
            .filter(|(_, conn, link)| !link.chosen && self.routes(&conn.peer));
        let promised = self.intro.takes.values().filter(|take| take.swap.is_none());
        links.count() + promised.count() < MAX_STRANGERS
    }

    /// Offers ourselves when we have room: gives our card, and our address sealed if the other one
    /// must dial.
    pub(super) fn take_card(
        &mut self,
        from: Asker,
        id: &WalkId,
        patient: bool,
        card: &Card,
    ) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        let fine = !self.stopping
            && self.config.roles.routes
            && self.can_meet(card)
            && !self.engaged(&card.node)
            && !self.banned(&card.node)
            && self.intro.may_take(&card.node, from)
            && self.has_place_for(card, patient)
            && !self.shuns(&card.node)
            && (card.entry_only || self.takes_strangers())
            && (!card.entry_only || self.can_host(&card.node, true));
        if !fine {
            return None;
        }
        self.offer(from, *id, card, None)
    }

    /// Offers a newcomer the place of a neighbour of ours that can be missed, as seldom as for a splice.
    pub(super) fn make_place(
        &mut self,
        id: &WalkId,
        card: &Card,
    ) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        let fine = !self.stopping
            && self.config.roles.routes
            && !card.entry_only
            && usize::from(card.links) < NEWCOMER_BELOW
            && self.can_meet(card)
            && !self.engaged(&card.node)
            && !self.banned(&card.node)
            && !self.shuns(&card.node)
            && self.intro.may_take(&card.node, Asker::Circuit);
        let spare = self.sparable().filter(|_| fine)?;
        let victim = self.conns.get(&spare)?.peer;
        if !self.spread.splices.take(self.now.mono) {
            return None;
        }
        self.offer(Asker::Circuit, *id, card, Some(Swap::Gives(victim)))
    }

    /// Keeps a slot for the card's node; gives our card, and our address sealed if it must dial.
    pub(super) fn offer(
        &mut self,
        from: Asker,
        id: WalkId,
        card: &Card,
        swap: Option<Swap>,
    ) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        if !card.dialable && !self.may_reveal(from) {
            return None;
        }
        let secret = SealSecret::new(&mut self.rng);
        let own = self.card_for(&id, &secret);
        let sealed = if card.dialable {
            None
        } else {
            Some(seal(&self.config.advertise, card, &id, &mut self.rng)?)
        };
        let until = self.now.mono + self.config.timing.offer_timeout;
        self.intro.take(id, (card.node, from), secret, swap, until);
        Some((own, sealed))
    }

    fn on_taken(
        &mut self,
        from: ConnId,
        id: WalkId,
        bytes: Vec<u8>,
        sealed: Option<Vec<u8>>,
        second: bool,
    ) {
        if peek_node(&bytes).is_some_and(|node| self.banned(&node)) {
            // Neither end waits for the other then.
            if let Some(path) = self.intro.paths.remove(&id) {
                self.send(path.prev, Message::WalkEnd { id });
            }
            return self.send(from, Message::WalkEnd { id });
        }
        if !self.intro.own.contains_key(&id) {
            if let Some(prev) = self.intro.paths.get(&id).map(|path| path.prev) {
                if !second {
                    self.count_introduced(prev);
                }
                self.send(
                    prev,
                    Message::Taken {
                        id,
                        card: bytes,
                        sealed,
                        second,
                    },
                );
            }
            return;
        }
        let Some(card) = self.read_card(&bytes, &id) else {
            return;
        };
        let Some(secret) = self.intro.answered(&id, second) else {
            return;
        };
        let taken = self.intro.takes.values().any(|take| take.node == card.node);
        if taken && self.me < card.node {
            // Each has taken the other's card; the one with the smaller key dials.
            return;
        }
        let room = self.occupied() < self.config.cap && (second || self.needs_more());
        if self.stopping || !room || self.engaged(&card.node) {
            // So that the slot is not kept for nothing.
            return self.send(from, Message::WalkEnd { id });
        }
        if self.introducible() {
            let sealed = seal(&self.config.advertise, &card, &id, &mut self.rng);
            if let Some(sealed) = sealed {
                let timing = self.config.timing;
                self.intro.expect(
                    card.node,
                    self.now.mono + timing.offer_timeout + timing.dial_timeout / 2,
                );
                self.send(
                    from,
                    Message::Sealed {
                        id,
                        to: card.node,
                        sealed,
                    },
                );
            }
        } else if let Some(sealed) = sealed
            && let Some(addresses) = secret.open(&id, &self.me, &sealed)
        {
            self.meet(card.node, addresses, id, None, true);
        }
    }

    pub(super) fn on_sealed(&mut self, id: WalkId, to: NodeKey, sealed: Vec<u8>) {
        if to != self.me {
            if let Some(next) = self.intro.paths.get(&id).map(|path| path.next) {
                self.send(next, Message::Sealed { id, to, sealed });
            } else {
                self.pass_on_sealed(id, to, sealed);
            }
            return;
        }
        let me = self.me;
        let Some(take) = self.intro.takes.get_mut(&id) else {
            return;
        };
        let Some(addresses) = take.secret.open(&id, &me, &sealed) else {
            return;
        };
        match take.swap {
            // The end of the walk dials first; we follow when it says so.
            Some(Swap::GivenBy(_)) => take.addresses = addresses,
            Some(Swap::Gives(victim)) => {
                let node = take.node;
                self.intro.takes.remove(&id);
                self.meet(node, addresses, id, Some(victim), false);
            }
            None => {
                let node = take.node;
                self.intro.takes.remove(&id);
                self.meet(node, addresses, id, None, false);
            }
        }
    }

    fn on_walk_end(&mut self, from: ConnId, id: WalkId) {
        if self.intro.own.remove(&id).is_none() {
            // On its way back nobody was found; on its way out the offer is not wanted.
            if self.intro.takes.remove(&id).is_some() {
                self.seek_soon();
            }
            if let Some(path) = self.intro.paths.remove(&id) {
                let onward = if from == path.prev {
                    path.next
                } else {
                    path.prev
                };
                self.send(onward, Message::WalkEnd { id });
            }
            return;
        }
        // A refused debutant tries again soon: the mesh around the seed may just be forming.
        let Some(conn) = self.conns.get(&from) else {
            return;
        };
        if matches!(conn.phase, Phase::Waiting { .. }) {
            let peer = conn.peer;
            let pause = self.config.timing.redial_first * 2;
            let pause = self.jitter(pause);
            self.book.busy(&peer, self.now.mono + pause);
            self.close(from, crate::event::DownReason::Closed);
        }
    }

    /// Whether a stranger may have us dial there. Where we are follows from the literal addresses we
    /// advertise or, if there is none, from the seeds that the operator named: a node in a test network or at
    /// home meets others there, all others stay out of such networks.
    pub(super) fn may_be_told(&self, address: &Address) -> bool {
        let own = &self.config.advertise;
        if own.iter().any(|own| own.ip().is_some()) {
            scope::may_dial(address, own.iter())
        } else {
            scope::may_dial(address, self.book.seed_addresses().iter())
        }
    }

    /// Dials the other end of an introduction.
    pub(super) fn meet(
        &mut self,
        node: NodeKey,
        mut addresses: Vec<Address>,
        id: WalkId,
        swap: Option<NodeKey>,
        chosen: bool,
    ) {
        addresses.retain(|address| {
            let fine = |ip| self.address_fine(ip, &node).is_ok();
            self.may_be_told(address) && address.ip().is_some_and(fine)
        });
        // That we expect it to dial is no reason not to: of two connections one stays.
        let under_way = self.links.contains_key(&node)
            || self.dials.contains_key(&node)
            || self.debuting(&node);
        if addresses.is_empty() || under_way || self.stopping {
            return;
        }
        let debut = Debut {
            origin: Origin::Introduction,
            addresses,
            wants_entry: self.wants_entry(),
            invited: Some(id),
            swap,
            chosen,
        };
        self.dial(node, debut);
    }

    pub(super) fn dial(&mut self, node: NodeKey, debut: Debut) {
        if self.banned(&node) {
            return;
        }
        let addresses = debut.addresses.clone();
        let until = self.now.mono + self.config.timing.dial_timeout;
        self.dials.insert(node, Dial { until, debut });
        self.outputs.push_back(Output::Dial {
            peer: node,
            addresses,
        });
    }

    pub(super) fn expire_introductions(&mut self) {
        if self.intro.expire(self.now.mono) {
            self.seek_soon();
        }
    }
}
