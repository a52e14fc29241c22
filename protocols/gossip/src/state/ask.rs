//! Introductions inside circuits: a node that has a route chooses a node of its
//! neighbourhood and asks it, and nobody else, by a circuit that ends there. So
//! nobody on the way learns who looks for whom, and nobody on the way can offer
//! itself instead. What is said are the messages of walks, one to each question
//! and answer.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt as _;
use rand::seq::IndexedRandom as _;

use super::walk::Asker;
use super::{ConnId, Machine, Output};
use crate::bucket::TokenBucket;
use crate::card::{SealSecret, WalkId, seal};
use crate::event::{ASK_TIMEOUT, Stage};
use crate::key::NodeKey;
use crate::wire::Message;

/// Questions under way at a time. Guess: each takes a circuit.
const MAX_ASKS: usize = 2;
/// A node that was asked is not asked again for this long. Guess.
const ASK_AGAIN: Duration = Duration::from_secs(300);
/// Most nodes of which that is remembered. Guess: two in five of a neighbourhood.
const MAX_ASKED: usize = 64;
/// Questions that are answered: at once, per second. Guess: above what a neighbourhood asks.
const ANSWERS: (u32, f64) = (20, 0.2);
/// Distance of a near neighbour: the link closes a four-cycle. From the design.
const NEAR: u8 = 3;
/// With this many neighbours or more a node asks; with fewer it takes the next best, by a walk.
const ASK_FROM: usize = 2;
/// Who lists this many neighbours has hardly room for one more.
const LISTS_MANY: usize = 4;

/// Questions under way for guests. Guess: as many as a seed may be asked for in a second or two.
const MAX_GUEST_ASKS: usize = 16;
/// A question that has not been answered.
struct Ask {
    to: NodeKey,
    id: WalkId,
    about: About,
    until: Duration,
}

/// Whose card was shown.
enum About {
    /// Our own.
    Me(SealSecret),
    /// That of a guest who waits for it.
    Guest(Guest),
}

/// A guest who is to be introduced to somebody.
pub(super) struct Guest {
    pub(super) conn: ConnId,
    pub(super) peer: NodeKey,
    pub(super) card: Vec<u8>,
    pub(super) dialable: bool,
    /// Whether it may be spliced in, should its card walk in the end.
    pub(super) splice: bool,
    /// Whether its card may still be shown by a circuit: once, because a second question takes longer
    /// than a walk, and a consume-only node needs a place of which records say nothing.
    pub(super) by_circuit: bool,
}

/// Questions, and how many were asked of us.
pub(super) struct Asks {
    under_way: BTreeMap<u64, Ask>,
    next: u64,
    asked: BTreeMap<NodeKey, Duration>,
    answers: TokenBucket,
    /// To whom a guest's address goes on, while it may, by the guest's walk.
    offered: BTreeMap<WalkId, (NodeKey, Duration)>,
    /// Questions in a row that came to nothing.
    failed: u32,
}

impl Asks {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            under_way: BTreeMap::new(),
            next: 0,
            asked: BTreeMap::new(),
            answers: TokenBucket::new(ANSWERS.0, ANSWERS.1, now),
            offered: BTreeMap::new(),
            failed: 0,
        }
    }

    /// When the first question has waited for too long.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.under_way.values().map(|ask| ask.until).min()
    }

    fn forget_old(&mut self, now: Duration) {
        self.asked.retain(|_, until| *until > now);
        self.offered.retain(|_, (_, until)| *until > now);
    }

    /// How many are for guests, or not.
    fn count(&self, guests: bool) -> usize {
        let asks = self.under_way.values();
        asks.filter(|ask| matches!(ask.about, About::Guest(_)) == guests)
            .count()
    }

    fn new_call(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Machine {
    /// Asks a node of our choice to be our neighbour, if there is one that may have room and a
    /// route by which to ask. `false` when it is better to send a card on a walk.
    pub(super) fn ask_somebody(&mut self) -> bool {
        let now = self.now.mono;
        self.asks.forget_old(now);
        let fit = self.stage == Stage::RouteFound
            && self.config.originates
            && self.config.roles.routes
            && self.links.len() >= ASK_FROM
            && self.asks.asked.len() < MAX_ASKED;
        // Every third time a walk: it goes to where there is room, whatever records say.
        if !fit || self.asks.failed % 3 == 2 {
            self.asks.failed = 0;
            return false;
        }
        if self.asks.count(false) >= MAX_ASKS {
            return true;
        }
        let Some(to) = self.choose_whom_to_ask() else {
            return false;
        };
        let id = self.new_walk_id();
        let secret = SealSecret::new(&mut self.rng);
        let card = self.card_for(&id, &secret);
        self.asks.asked.insert(to, now + ASK_AGAIN);
        self.send_ask(to, id, card, false, About::Me(secret));
        true
    }

    /// Shows a card to somebody by a circuit.
    fn send_ask(&mut self, to: NodeKey, id: WalkId, card: Vec<u8>, splice: bool, about: About) {
        let message = Message::Walk {
            id,
            card,
            left: 0,
            min: 0,
            splice,
        };
        let call = self.asks.new_call();
        let patience = match about {
            About::Me(_) => ASK_TIMEOUT,
            // While it waits there must be time for a walk, should nobody answer.
            About::Guest(_) => self.config.timing.intro_wait / 2,
        };
        let ask = Ask {
            to,
            id,
            about,
            until: self.now.mono + patience,
        };
        self.asks.under_way.insert(call, ask);
        let payload = message.encode();
        self.outputs.push_back(Output::Ask { call, to, payload });
    }

    /// Introduces a guest to a node of the neighbourhood, drawn at random and asked by a circuit: a
    /// card that walked would be taken by whoever on the way takes all that come by. `Err` when
    /// nobody can be asked (any more).
    pub(super) fn ask_for_guest(&mut self, id: WalkId, guest: Guest) -> Result<(), Guest> {
        self.asks.forget_old(self.now.mono);
        let fit = self.stage == Stage::RouteFound
            && self.config.originates
            && guest.by_circuit
            && self.asks.count(true) < MAX_GUEST_ASKS;
        // Anybody, not only those whose records leave a place: such are rare, and who wants to be met
        // would say that it has one.
        let known = self.spread.store.in_view().filter(|(_, stored)| {
            let record = &stored.record;
            record.node() != self.me
                && record.roles.routes
                && (guest.dialable || record.roles.accepts_connections)
                && record.node() != guest.peer
                && !record.neighbours.contains(&guest.peer)
        });
        let known: Vec<NodeKey> = known.map(|(_, stored)| stored.record.node()).collect();
        let Some(to) = known.choose(&mut self.rng).copied().filter(|_| fit) else {
            return Err(guest);
        };
        let card = guest.card.clone();
        self.send_ask(to, id, card, guest.splice, About::Guest(guest));
        Ok(())
    }

    /// Questions that nobody answered in time have come to nothing.
    pub(super) fn expire_asks(&mut self) {
        let now = self.now.mono;
        let asks = self.asks.under_way.iter();
        let over = asks.filter(|(_, ask)| ask.until <= now);
        for call in over.map(|(call, _)| *call).collect::<Vec<_>>() {
            self.on_answered(call, None);
        }
    }

    /// What came of a question for a guest.
    fn on_guest_answered(
        &mut self,
        to: NodeKey,
        id: WalkId,
        guest: Guest,
        answer: Option<Message>,
    ) {
        if !self.conns.contains_key(&guest.conn) {
            return;
        }
        if let Some(Message::Taken {
            id: about,
            card,
            sealed,
            second: false,
        }) = answer
            && about == id
            && self
                .read_card(&card, &id)
                .is_some_and(|card| card.node == to)
        {
            let until = self.now.mono + self.config.timing.offer_timeout;
            self.asks.offered.insert(id, (to, until));
            self.count_introduced(guest.conn);
            let second = false;
            let taken = Message::Taken {
                id,
                card,
                sealed,
                second,
            };
            return self.send(guest.conn, taken);
        }
        let by_circuit = false;
        self.introduce(
            id,
            Guest {
                by_circuit,
                ..guest
            },
        );
    }

    /// A guest's address, sealed to somebody who was asked for it.
    pub(super) fn pass_on_sealed(&mut self, id: WalkId, to: NodeKey, sealed: Vec<u8>) {
        let offered = self.asks.offered.remove(&id);
        if !offered.is_some_and(|(node, until)| node == to && until > self.now.mono) {
            return;
        }
        let call = self.asks.new_call();
        let payload = Message::Sealed { id, to, sealed }.encode();
        self.outputs.push_back(Output::Ask { call, to, payload });
    }

    /// Somebody near or far, as often as is configured, who routes and may have room.
    fn choose_whom_to_ask(&mut self) -> Option<NodeKey> {
        let near = self.rng.random_bool(self.config.near_share);
        let at = if near { NEAR } else { self.config.radius };
        let store = &self.spread.store;
        // Near is counted over listed links, since only those close cycles for the way back: counted
        // over the entry link it would bring close to us whoever is close to its other end.
        let told_of = |node: &NodeKey| store.slot(node).and_then(|slot| store.told(slot));
        let fits = |node: &NodeKey| !self.engaged(node) && !self.asks.asked.contains_key(node);
        let dialable = self.introducible();
        let known = store.in_view().filter(|(slot, stored)| {
            let record = &stored.record;
            let there = if near {
                store.told(*slot) == Some(NEAR)
            } else {
                store.told(*slot).is_none()
                    && record.neighbours.iter().any(|n| told_of(n) == Some(at - 1))
            };
            there
                && record.roles.routes
                && record.neighbours.len() < LISTS_MANY
                && (dialable || record.roles.accepts_connections)
                && fits(&record.node())
        });
        let known: Vec<NodeKey> = known.map(|(_, stored)| stored.record.node()).collect();
        known.choose(&mut self.rng).copied()
    }

    /// Somebody asks us by a circuit.
    pub(super) fn on_asked(&mut self, call: u64, payload: &[u8]) {
        let now = self.now.mono;
        let allowed = self.asks.answers.take(now) && !self.stopping;
        let message = Message::decode(payload).ok().filter(|_| allowed);
        let reply = match message {
            Some(Message::Walk {
                id,
                card,
                left: 0,
                min: 0,
                splice,
            }) => Some(self.answer_card(id, &card, splice)),
            Some(Message::Sealed { id, to, sealed }) if to == self.me => {
                if self.intro.taken_for(&id, Asker::Circuit) {
                    self.on_sealed(id, to, sealed);
                }
                Some(Message::WalkEnd { id })
            }
            _ => None,
        };
        let payload = reply.map(|message| message.encode());
        self.outputs.push_back(Output::Reply { call, payload });
    }

    fn answer_card(&mut self, id: WalkId, bytes: &[u8], splice: bool) -> Message {
        let card = self.read_card(bytes, &id);
        let offer = card.and_then(|card| {
            let offer = self.take_card(Asker::Circuit, &id, true, &card);
            offer.or_else(|| {
                if splice {
                    self.make_place(&id, &card)
                } else {
                    None
                }
            })
        });
        match offer {
            Some((card, sealed)) => Message::Taken {
                id,
                card,
                sealed,
                second: false,
            },
            None => Message::WalkEnd { id },
        }
    }

    /// What came of a question of ours.
    pub(super) fn on_answered(&mut self, call: u64, payload: Option<&[u8]>) {
        let Some(ask) = self.asks.under_way.remove(&call) else {
            return;
        };
        let message = payload.and_then(|payload| Message::decode(payload).ok());
        let Ask {
            to,
            id: asked,
            about,
            ..
        } = ask;
        let secret = match about {
            About::Me(secret) => secret,
            About::Guest(guest) => return self.on_guest_answered(to, asked, guest, message),
        };
        let met = match message {
            Some(Message::Taken {
                id,
                card,
                sealed,
                second: false,
            }) if id == asked => self.on_offer(to, id, &secret, &card, sealed),
            _ => false,
        };
        if met {
            self.asks.failed = 0;
        } else {
            self.asks.failed += 1;
            self.seek_soon();
        }
    }

    /// The node we asked has room.
    fn on_offer(
        &mut self,
        to: NodeKey,
        id: WalkId,
        secret: &SealSecret,
        bytes: &[u8],
        sealed: Option<Vec<u8>>,
    ) -> bool {
        let card = self.read_card(bytes, &id);
        let Some(card) = card.filter(|card| card.node == to) else {
            return false;
        };
        let room = self.occupied() < self.config.cap && self.needs_more();
        // It may have been banned since it was asked.
        if self.stopping || !room || self.engaged(&to) || self.banned(&to) {
            return true;
        }
        if self.introducible() {
            let Some(sealed) = seal(&self.config.advertise, &card, &id, &mut self.rng) else {
                return false;
            };
            let timing = self.config.timing;
            let until = self.now.mono + timing.offer_timeout + timing.dial_timeout / 2;
            self.intro.expect(to, until);
            let call = self.asks.new_call();
            let payload = Message::Sealed { id, to, sealed }.encode();
            self.outputs.push_back(Output::Ask { call, to, payload });
            return true;
        }
        let me = self.me;
        let Some(addresses) = sealed.and_then(|sealed| secret.open(&id, &me, &sealed)) else {
            return false;
        };
        self.meet(to, addresses, id, None, true);
        true
    }
}
