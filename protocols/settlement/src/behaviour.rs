//! The libp2p behaviour: settlement over direct links, for peers whose wallet is known anyway.
//! What is said, and when, is decided by the machine.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use alloy_primitives::Address;
use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use tokio::time::Sleep;

use crate::bucket::TokenBucket;
use crate::handler::{Command, Handler, Report};
use crate::key::NodeKey;
use crate::message::{Envelope, Message};
use crate::refusal::{Reason, Refusal};
use crate::shared::Settlement;
use crate::state::{Input, Output, Party};

/// Exchanges that a peer may begin at once. Guess: a statement, a notice, and their repetitions.
const BURST: u32 = 16;
/// In the long run it may begin one in this time; an honest one does in thirty seconds.
const EXCHANGE_EVERY: Duration = Duration::from_secs(2);
/// Peers with which accounts are spoken of. A node has five neighbours; guess for configured ones.
pub const MAX_ALLOWED: usize = 64;
/// Longest time between looks at the machine's timers.
const MAX_SLEEP: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Peer {
    connections: Vec<ConnectionId>,
    bucket: Option<TokenBucket>,
    /// Whose account a request of this node's own is about.
    asking: Option<Party>,
}

/// What may be spoken of with a peer.
#[derive(Clone, Copy, Default)]
struct Allowed {
    payer: Option<Address>,
    hop: bool,
}

/// `/masq/settlement/1` on a Swarm. Emits what the machine wants done; speaks to peers that were
/// allowed ([`Behaviour::allow_payer`], [`Behaviour::allow_hop`]) and refuses all others. Never
/// dials. Must be polled within a tokio runtime with a timer.
///
/// [`Output::Speak`] is emitted only for parties that have no link here: it is then for circuits.
pub struct Behaviour {
    settlement: Settlement,
    /// This node's consuming wallet.
    wallet: Option<Address>,
    peers: HashMap<PeerId, Peer>,
    allowed: HashMap<PeerId, Allowed>,
    /// Whom to speak to.
    wanted: VecDeque<(PeerId, Party)>,
    orders: VecDeque<ToSwarm<Output, Command>>,
    timer: Pin<Box<Sleep>>,
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behaviour")
            .field("peers", &self.peers.len())
            .finish_non_exhaustive()
    }
}

impl Behaviour {
    /// Over these books; `wallet` is that of the machine's signer.
    pub fn new(settlement: Settlement, wallet: Option<Address>) -> Self {
        Self {
            settlement,
            wallet,
            peers: HashMap::new(),
            allowed: HashMap::new(),
            wanted: VecDeque::new(),
            orders: VecDeque::new(),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
        }
    }

    /// The books.
    pub fn settlement(&self) -> &Settlement {
        &self.settlement
    }

    /// The peer pays with this wallet: its account may be spoken of with it. To be called when
    /// the peer has shown so, by an authorisation on a circuit that it began itself, or when the
    /// operator says so. `false` when there are too many.
    pub fn allow_payer(&mut self, peer: PeerId, payer: Address) -> bool {
        let old = self.allowed.get(&peer).and_then(|allowed| allowed.payer);
        if old != Some(payer) {
            self.set_link(old, false);
        }
        let allowed = self.allow(peer, |allowed| allowed.payer = Some(payer));
        let connected = self.peers.contains_key(&peer);
        self.set_link(Some(payer).filter(|_| allowed && connected), true);
        allowed
    }

    /// The peer is a hop that knows this node's wallet anyway. `false` when there are too many.
    pub fn allow_hop(&mut self, peer: PeerId) -> bool {
        self.allow(peer, |allowed| allowed.hop = true)
    }

    /// Nothing is spoken of with the peer any more.
    pub fn disallow(&mut self, peer: &PeerId) {
        if let Some(allowed) = self.allowed.remove(peer) {
            self.set_link(allowed.payer, false);
        }
    }

    fn allow(&mut self, peer: PeerId, change: impl FnOnce(&mut Allowed)) -> bool {
        if self.allowed.len() >= MAX_ALLOWED && !self.allowed.contains_key(&peer) {
            return false;
        }
        change(self.allowed.entry(peer).or_default());
        true
    }

    fn set_link(&self, payer: Option<Address>, up: bool) {
        if let Some(payer) = payer {
            let who = Party::Payer(payer);
            self.settlement.handle(Input::Linked { who, up });
        }
    }

    fn on_established(&mut self, peer: PeerId, id: ConnectionId) {
        let connections = &mut self.peers.entry(peer).or_default().connections;
        connections.push(id);
        let first = connections.len() == 1;
        let payer = self.allowed.get(&peer).and_then(|allowed| allowed.payer);
        self.set_link(payer.filter(|_| first), true);
    }

    fn on_closed(&mut self, peer: &PeerId, id: ConnectionId) {
        let Some(known) = self.peers.get_mut(peer) else {
            return;
        };
        known.connections.retain(|connection| *connection != id);
        // Whether it was answered is not known; what was not will be said again.
        known.asking = None;
        if known.connections.is_empty() {
            self.peers.remove(peer);
            let payer = self.allowed.get(peer).and_then(|allowed| allowed.payer);
            self.set_link(payer, false);
        }
    }

    /// The party that a message of this peer's is from; the wallet must be the right one.
    fn party(&self, peer: &PeerId, envelope: &Envelope) -> Result<Party, Reason> {
        let allowed = self.allowed.get(peer).copied().unwrap_or_default();
        if envelope.message.is_from_payer() {
            let known = allowed.payer == Some(envelope.payer);
            return known
                .then_some(Party::Payer(envelope.payer))
                .ok_or(Reason::NotYours);
        }
        let ours = allowed.hop && self.wallet == Some(envelope.payer);
        match NodeKey::from_peer_id(peer) {
            Some(node) if ours => Ok(Party::Hop(node)),
            _ => Err(Reason::NotYours),
        }
    }

    /// What to answer a peer; `None` ends the exchange.
    fn answer(&mut self, peer: &PeerId, frame: &[u8]) -> Option<Vec<u8>> {
        let envelope = match Envelope::decode(frame) {
            Ok(envelope) => envelope,
            Err(error) => {
                tracing::debug!(%error, "a peer asked what cannot be read");
                return None;
            }
        };
        let message = match self.hear_request(peer, &envelope) {
            Ok(message) => message,
            Err(reason) => Message::Refusal(Refusal::from(reason)),
        };
        let payer = envelope.payer;
        Some(Envelope { payer, message }.encode())
    }

    fn hear_request(&mut self, peer: &PeerId, envelope: &Envelope) -> Result<Message, Reason> {
        let now = self.settlement.now().mono;
        let known = self.peers.get_mut(peer).ok_or(Reason::Nothing)?;
        let bucket = known
            .bucket
            .get_or_insert_with(|| TokenBucket::new(BURST, EXCHANGE_EVERY, now));
        if !bucket.take(now) {
            return Err(Reason::TooOften);
        }
        if matches!(envelope.message, Message::Refusal(_)) {
            return Err(Reason::Nothing);
        }
        let from = self.party(peer, envelope)?;
        let message = envelope.message;
        self.settlement
            .with(|machine, now| {
                machine.handle(now, Input::Heard { from, message });
                // A statement would be answered by another receipt, and so on.
                let done = matches!(message, Message::Receipt(_));
                (!done).then(|| machine.say(now, &from, None)).flatten()
            })
            .ok_or(Reason::Nothing)
    }

    /// What came of a request of this node's own.
    fn on_answered(&mut self, peer: &PeerId, frame: Option<Vec<u8>>) {
        let asked = self.peers.get_mut(peer).and_then(|p| p.asking.take());
        let (Some(party), Some(frame)) = (asked, frame) else {
            return;
        };
        let Ok(envelope) = Envelope::decode(&frame) else {
            return;
        };
        // A refusal does not say which side it is from: it is from the one that was asked.
        let from = match envelope.message {
            Message::Refusal(_) => Ok(party),
            _ => self.party(peer, &envelope),
        };
        if from == Ok(party) {
            let message = envelope.message;
            let from = party;
            self.settlement.handle(Input::Heard { from, message });
        }
    }

    /// The connected peer by which a party can be spoken to.
    fn link_of(&self, party: &Party) -> Option<PeerId> {
        let fits = |(peer, allowed): (&PeerId, &Allowed)| {
            let this = match party {
                Party::Payer(payer) => allowed.payer == Some(*payer),
                Party::Hop(hop) => allowed.hop && NodeKey::from_peer_id(peer) == Some(*hop),
            };
            (this && self.peers.contains_key(peer)).then_some(*peer)
        };
        self.allowed.iter().find_map(fits)
    }

    fn take_output(&mut self, output: Output) {
        if let Output::Speak(party) = output
            && let Some(peer) = self.link_of(&party)
        {
            if !self.wanted.contains(&(peer, party)) {
                self.wanted.push_back((peer, party));
            }
            return;
        }
        self.orders.push_back(ToSwarm::GenerateEvent(output));
    }

    /// Makes a request where one is wanted and none is under way.
    fn speak(&mut self) {
        for _ in 0..self.wanted.len() {
            let Some((peer, party)) = self.wanted.pop_front() else {
                return;
            };
            let Some(known) = self.peers.get_mut(&peer) else {
                continue;
            };
            if known.asking.is_some() {
                self.wanted.push_back((peer, party));
                continue;
            }
            let Some(connection) = known.connections.first().copied() else {
                continue;
            };
            let payer = match party {
                Party::Payer(payer) => Some(payer),
                Party::Hop(_) => self.wallet,
            };
            let message = self
                .settlement
                .with(|machine, now| machine.say(now, &party, None));
            if let (Some(payer), Some(message)) = (payer, message) {
                known.asking = Some(party);
                self.orders.push_back(ToSwarm::NotifyHandler {
                    peer_id: peer,
                    handler: NotifyHandler::One(connection),
                    event: Command::Request(Envelope { payer, message }.encode()),
                });
            }
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Output;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                ..
            }) => self.on_established(peer_id, connection_id),
            FromSwarm::ConnectionClosed(ConnectionClosed {
                peer_id,
                connection_id,
                ..
            }) => self.on_closed(&peer_id, connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {
            Report::Asked(id, frame) => {
                let answer = self.answer(&peer, &frame);
                self.orders.push_back(ToSwarm::NotifyHandler {
                    peer_id: peer,
                    handler: NotifyHandler::One(connection),
                    event: Command::Respond(id, answer),
                });
            }
            Report::Answered(frame) => self.on_answered(&peer, frame),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Output, THandlerInEvent<Self>>> {
        // First, so that nothing is missed that happens while this looks.
        self.settlement.set_waker(cx.waker());
        loop {
            while let Some(output) = self.settlement.poll_output() {
                self.take_output(output);
            }
            if let Some(order) = self.orders.pop_front() {
                return Poll::Ready(order);
            }
            let due = self.settlement.tick();
            self.speak();
            if !self.orders.is_empty() {
                continue;
            }
            let now = self.settlement.now().mono;
            let wait = due.map_or(MAX_SLEEP, |due| due.saturating_sub(now).min(MAX_SLEEP));
            self.timer
                .as_mut()
                .reset(tokio::time::Instant::now() + wait);
            if self.timer.as_mut().poll(cx).is_pending() {
                break;
            }
        }
        // `speak` wakes: what it used up must not be taken for news.
        self.settlement.set_waker(cx.waker());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::eip712::Domain;
    use crate::message::Question;
    use crate::rates::RatePack;
    use crate::state::{Config, Machine, Now};

    const WALLET: Address = Address::repeat_byte(1);

    fn behaviour() -> (Behaviour, PeerId) {
        let domain = Domain::new(31337, WALLET);
        let machine = Machine::new(
            Config::new(domain, NodeKey([2; 32]), 10, RatePack::default()),
            None,
        );
        let clock = Arc::new(|| Now {
            mono: Duration::ZERO,
            unix: 1_700_000_000,
        });
        let mut behaviour = Behaviour::new(Settlement::new(machine, clock), None);
        let keys = libp2p::identity::Keypair::ed25519_from_bytes([7; 32]).unwrap();
        let peer = keys.public().to_peer_id();
        behaviour.on_established(peer, ConnectionId::new_unchecked(1));
        (behaviour, peer)
    }

    fn asked(behaviour: &mut Behaviour, peer: &PeerId, message: Message) -> Message {
        let payer = WALLET;
        let frame = Envelope { payer, message }.encode();
        let answer = behaviour.answer(peer, &frame).unwrap();
        Envelope::decode(&answer).unwrap().message
    }

    #[tokio::test]
    async fn accounts_are_spoken_of_with_their_owners_only_and_not_too_often() {
        let (mut behaviour, peer) = behaviour();
        let question = Message::Question(Question::Statement);
        let refused = |reason: Reason| Message::Refusal(reason.into());
        assert_eq!(
            asked(&mut behaviour, &peer, question),
            refused(Reason::NotYours)
        );
        assert!(behaviour.settlement.with(|m, _| m.payer(&WALLET)).is_none());
        assert!(behaviour.allow_payer(peer, Address::repeat_byte(9)));
        assert_eq!(
            asked(&mut behaviour, &peer, question),
            refused(Reason::NotYours)
        );
        assert!(behaviour.allow_payer(peer, WALLET));
        for _ in 2..BURST {
            let said = asked(&mut behaviour, &peer, question);
            assert!(matches!(said, Message::Statement(_)));
        }
        assert_eq!(
            asked(&mut behaviour, &peer, question),
            refused(Reason::TooOften)
        );
        behaviour.disallow(&peer);
        assert_eq!(behaviour.link_of(&Party::Payer(WALLET)), None);
        assert_eq!(behaviour.answer(&peer, b"garbage"), None);
    }

    #[tokio::test]
    async fn no_more_peers_are_allowed_than_the_bound_says() {
        let (mut behaviour, peer) = behaviour();
        for _ in 0..MAX_ALLOWED {
            assert!(behaviour.allow_hop(PeerId::random()));
        }
        assert!(!behaviour.allow_hop(peer));
        assert!(!behaviour.allow_payer(peer, WALLET));
    }
}
