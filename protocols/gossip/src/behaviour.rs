//! The libp2p behaviour: translates between the Swarm and the machine, and
//! brings the clock in. What is done, and when, is decided in `state`.

use std::collections::{BTreeMap, HashMap};
use std::future::Future as _;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libp2p::core::transport::PortUse;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, DialError, DialFailure, FromSwarm,
    NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, identity};
use rand_chacha::ChaCha20Rng;
use tokio::time::{Instant, Sleep};

use crate::address::{Address, Host};
use crate::config::Config;
use crate::descriptor::{Descriptor, DescriptorError};
use crate::event::{DownReason, Event, SeedFailure, Stage, Start};
use crate::gate::{Gate, GateError};
use crate::handler::{Command, Handler, Report};
use crate::key::{KeyError, NodeKey};
use crate::neighbourhood::{LinkInfo, Neighbourhood};
use crate::state::{Ban, BanError, ClockView, ConnId, Input, Machine, Now, Output};

/// Most turns of the machine in one poll.
const MAX_TURNS: u32 = 16;

/// `/masq/gossip/1` on a Swarm. Must be polled within a tokio runtime with a timer.
///
/// It should be the first field of a derived behaviour: it also bounds connections, for all.
/// It dials by itself, always with the peer's key and from a new port; which local address
/// outgoing connections are bound to is the transport's matter.
pub struct Behaviour {
    machine: Machine,
    gate: Gate,
    epoch: Instant,
    /// libp2p's names of connections, and ours.
    names: HashMap<ConnectionId, ConnId>,
    conns: BTreeMap<ConnId, (PeerId, ConnectionId)>,
    /// At which address of this machine a connection came in; `None` for one that was dialled.
    locals: BTreeMap<ConnId, Option<IpAddr>>,
    next_conn: u64,
    /// Whom we dialled, by the attempt.
    dials: HashMap<ConnectionId, NodeKey>,
    timer: Pin<Box<Sleep>>,
    waker: Option<Waker>,
}

impl Behaviour {
    /// A node that starts to look for neighbours as soon as it is polled.
    ///
    /// # Errors
    /// [`KeyError::NotEd25519`] for another kind of key pair.
    pub fn new(
        config: Config,
        keypair: &identity::Keypair,
        start: Start,
        rng: ChaCha20Rng,
    ) -> Result<Self, KeyError> {
        let keys = keypair
            .clone()
            .try_into_ed25519()
            .map_err(|_| KeyError::NotEd25519)?;
        let epoch = Instant::now();
        let now = Now {
            mono: Duration::ZERO,
            unix: unix_time(),
        };
        Ok(Self {
            gate: Gate::new(config.ip_limits.per_ip.is_some()),
            machine: Machine::new(config, keys, start, rng, now),
            epoch,
            names: HashMap::new(),
            conns: BTreeMap::new(),
            locals: BTreeMap::new(),
            next_conn: 0,
            dials: HashMap::new(),
            timer: Box::pin(tokio::time::sleep_until(epoch)),
            waker: None,
        })
    }

    /// This node.
    pub fn me(&self) -> NodeKey {
        self.machine.me()
    }

    /// The neighbourhood as of the last [`Event::NeighbourhoodChanged`]. Cheap.
    pub fn neighbourhood(&self) -> Arc<Neighbourhood> {
        self.machine.neighbourhood()
    }

    /// How far the node has come.
    pub fn stage(&self) -> Stage {
        self.machine.stage()
    }

    /// The node's links, for its operator only.
    pub fn links(&self) -> Vec<LinkInfo> {
        self.machine.links()
    }

    /// Publishes new onion keys at once.
    pub fn set_onion_keys(&mut self, current: [u8; 32], previous: Option<[u8; 32]>) {
        let now = self.now();
        self.machine.set_onion_keys(now, current, previous);
        self.wake();
    }

    /// Publishes another exit policy summary; cut to [`crate::MAX_POLICY_LEN`] bytes.
    pub fn set_policy_summary(&mut self, policy: String) {
        let now = self.now();
        self.machine.set_policy_summary(now, policy);
        self.wake();
    }

    /// Changes the number of hops by which [`Stage::RouteFound`] is judged; 1 to 6.
    pub fn set_min_hops(&mut self, hops: u8) {
        self.machine.set_min_hops(hops);
        self.wake();
    }

    /// Where others can dial this node from now on, instead of [`Config::advertise`].
    pub fn set_advertised(&mut self, addresses: Vec<Address>) {
        self.machine.set_advertised(addresses);
    }

    /// One more node to join through.
    ///
    /// # Errors
    /// [`DescriptorError::WrongChain`].
    pub fn add_seed(&mut self, seed: Descriptor) -> Result<(), DescriptorError> {
        let now = self.now();
        self.machine.add_seed(now, seed)?;
        self.wake();
        Ok(())
    }

    /// Bans a node by hand for `life`, or until it is lifted. Its link ends, it is neither dialled nor
    /// accepted, its records and cards are neither kept nor passed on; nobody else is told. At most
    /// [`crate::MAX_BANS_BY_HAND`]; `reason` is cut to [`crate::MAX_BAN_REASON`] bytes.
    ///
    /// # Errors
    /// [`BanError`]; nothing has changed then.
    pub fn ban(
        &mut self,
        node: NodeKey,
        reason: &str,
        life: Option<Duration>,
    ) -> Result<Ban, BanError> {
        let now = self.now();
        let ban = self.machine.ban(now, node, reason, life)?;
        self.wake();
        Ok(ban)
    }

    /// Lifts a ban, by hand or not.
    ///
    /// # Errors
    /// [`BanError::NotBanned`].
    pub fn unban(&mut self, node: &NodeKey) -> Result<Ban, BanError> {
        let now = self.now();
        let ban = self.machine.unban(now, node)?;
        self.wake();
        Ok(ban)
    }

    /// The bans, the oldest first; at most [`crate::MAX_BANS`].
    pub fn bans(&self) -> Vec<Ban> {
        self.machine.bans()
    }

    /// How to tell somebody of this node, given where it can be dialled.
    pub fn descriptor(&self, host: Host, ports: Vec<u16>) -> Descriptor {
        Descriptor {
            chain: self.machine.config().chain,
            node: self.me(),
            host,
            ports,
            mask: None,
            knock: Some(self.machine.knock()),
        }
    }

    /// Bytes of another protocol arrived from a peer: its link is alive.
    /// `in_use`: so many that somebody would miss the link.
    pub fn note_activity(&mut self, peer: &PeerId, in_use: bool) {
        if let Ok(node) = NodeKey::from_peer_id(peer) {
            self.input(Input::Activity { node, in_use });
        }
    }

    /// Somebody asks by a circuit that ends here; answered by [`Event::Reply`] with the same `call`.
    pub fn on_asked(&mut self, call: u64, payload: Vec<u8>) {
        self.input(Input::Asked { call, payload });
    }

    /// What came of an [`Event::Ask`]; `None` when nobody answered.
    pub fn on_answered(&mut self, call: u64, payload: Option<Vec<u8>>) {
        self.input(Input::Answered { call, payload });
    }

    /// Asks a neighbour to dial this node at these ports, at the address it sees this node at;
    /// answered by [`Event::Reach`]. `false` when there is nobody to ask, no port that nodes may
    /// dial (443, or 1024 and above), or a check is under way.
    pub fn check_reachability(&mut self, ports: &[u16]) -> bool {
        let now = self.now();
        let asked = self.machine.check_reachability(now, ports);
        self.wake();
        asked
    }

    /// What came of an [`Event::Probe`]: the port at which the node proved its key, if it did.
    pub fn on_probed(&mut self, call: u64, port: Option<u16>) {
        self.input(Input::Probed { call, port });
    }

    /// How this node's clock compares with those of its neighbours.
    pub fn clocks(&self) -> Vec<ClockView> {
        self.machine.clocks()
    }

    /// This machine was suspended, stood still, or is on another network now: see
    /// [`Machine::wake_up`].
    pub fn wake_up(&mut self) {
        let now = self.now();
        self.machine.wake_up(now);
        self.wake();
    }

    /// Addresses of this machine are gone: connections that came in at one of them are dropped at
    /// once, and with `outgoing` those that this node dialled too.
    pub fn on_addresses_lost(&mut self, lost: &[IpAddr], outgoing: bool) {
        let bound = self.locals.iter().filter(|(_, local)| match local {
            Some(ip) => lost.contains(ip),
            None => outgoing,
        });
        let bound: Vec<ConnId> = bound.map(|(conn, _)| *conn).collect();
        for conn in bound {
            self.input(Input::Broken(conn, DownReason::Lost));
        }
    }

    /// Says goodbye to everyone and closes all connections. Nobody is dialled or accepted any
    /// more. The Swarm must be polled a little longer for the goodbyes to leave.
    pub fn shutdown(&mut self) {
        let now = self.now();
        self.machine.shutdown(now);
        self.wake();
    }

    fn now(&self) -> Now {
        Now {
            mono: self.epoch.elapsed(),
            unix: unix_time(),
        }
    }

    fn input(&mut self, input: Input) {
        let now = self.now();
        self.machine.handle(now, input);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn on_established(&mut self, id: ConnectionId, peer: PeerId, endpoint: &ConnectedPoint) {
        let from = endpoint
            .is_listener()
            .then(|| endpoint.get_remote_address());
        self.gate.established(id, peer, from);
        let dialled_as = self.dials.remove(&id);
        let Ok(node) = NodeKey::from_peer_id(&peer) else {
            return;
        };
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        self.names.insert(id, conn);
        self.conns.insert(conn, (peer, id));
        let local = match endpoint {
            ConnectedPoint::Dialer { .. } => None,
            ConnectedPoint::Listener { local_addr, .. } => Address::from_multiaddr(local_addr),
        };
        self.locals.insert(conn, local.and_then(|a| a.ip()));
        let remote = Address::from_multiaddr(endpoint.get_remote_address());
        let dialled = dialled_as.is_some() || endpoint.is_dialer();
        self.input(Input::Connected {
            conn,
            peer: node,
            dialled,
            remote,
        });
    }

    fn on_dial_failure(&mut self, id: ConnectionId, error: &DialError) {
        self.gate.failed(id);
        let Some(peer) = self.dials.remove(&id) else {
            return;
        };
        let why = match error {
            DialError::WrongPeerId { .. } => SeedFailure::WrongKey,
            // The noise handshake has failed, or somebody speaks another protocol.
            DialError::Transport(errors) if errors.iter().any(|(_, e)| speaks_otherwise(e)) => {
                SeedFailure::NotANode
            }
            DialError::Transport(errors)
                if !errors.is_empty() && errors.iter().all(|(_, e)| is_unresolved(e)) =>
            {
                SeedFailure::NoSuchName
            }
            _ => SeedFailure::Unreachable,
        };
        self.input(Input::DialFailed { peer, why });
    }

    fn dial(&mut self, peer: NodeKey, addresses: &[Address]) -> ToSwarm<Event, Command> {
        let addresses = addresses.iter().map(Address::multiaddr).collect();
        let opts = DialOpts::peer_id(peer.peer_id()).addresses(addresses);
        // A connection may just be closing: the machine knows better whether to dial.
        let opts = opts.condition(PeerCondition::NotDialing);
        // Reusing the listening port would show it, and fails for good where another socket of
        // the machine has that port. Which local address to bind is the transport's matter.
        let opts = opts.allocate_new_port().build();
        self.dials.insert(opts.connection_id(), peer);
        ToSwarm::Dial { opts }
    }

    /// One output of the machine as an order to the Swarm.
    fn order(&mut self, output: Output) -> Option<ToSwarm<Event, Command>> {
        Some(match output {
            Output::Event(event) => ToSwarm::GenerateEvent(event),
            Output::Ask { call, to, payload } => {
                ToSwarm::GenerateEvent(Event::Ask { call, to, payload })
            }
            Output::Reply { call, payload } => {
                ToSwarm::GenerateEvent(Event::Reply { call, payload })
            }
            Output::Probe {
                call,
                peer,
                addresses,
            } => ToSwarm::GenerateEvent(Event::Probe {
                call,
                peer: peer.peer_id(),
                addresses,
            }),
            Output::Dial { peer, addresses } => self.dial(peer, &addresses),
            Output::Send(conn, message) => {
                let (peer_id, id) = *self.conns.get(&conn)?;
                let event = Command::Send(Box::new(message));
                ToSwarm::NotifyHandler {
                    peer_id,
                    handler: NotifyHandler::One(id),
                    event,
                }
            }
            Output::Close(conn) => {
                let (peer_id, id) = *self.conns.get(&conn)?;
                ToSwarm::CloseConnection {
                    peer_id,
                    connection: CloseConnection::One(id),
                }
            }
        })
    }
}

/// Whether the host's transport found no address for a name: an error of kind `NotFound`, which
/// connecting does not give.
fn is_unresolved(error: &libp2p::TransportError<std::io::Error>) -> bool {
    let libp2p::TransportError::Other(error) = error else {
        return false;
    };
    error.kind() == std::io::ErrorKind::NotFound || format!("{error:?}").contains("kind: NotFound")
}

/// Whether somebody answered a dial, and could not agree with us on a protocol. Whoever merely
/// closes the connection may be a node that is too busy.
fn speaks_otherwise(error: &libp2p::TransportError<std::io::Error>) -> bool {
    let libp2p::TransportError::Other(error) = error else {
        return false;
    };
    // libp2p wraps the reason several times, in types that can't be named here.
    let text = format!("{error:?}").to_ascii_lowercase();
    let strange = [
        "select(",
        "negotiation",
        "invaliddata",
        "decrypt",
        "handshake",
    ];
    strange.iter().any(|word| text.contains(word)) && !text.contains("os {")
}

#[expect(
    clippy::disallowed_methods,
    reason = "here the clock comes in; the machine is told the time"
)]
fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        Ok(self.gate.pending_in(id, remote, self.epoch.elapsed())?)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        _peer: Option<PeerId>,
        _addresses: &[Multiaddr],
        _role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.gate.pending_out(id)?;
        Ok(Vec::new())
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _local: &Multiaddr,
        _remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let node = NodeKey::from_peer_id(&peer).map_err(|_| GateError::Key)?;
        if self.machine.probe_arrived(&node) {
            self.gate.failed(id);
            return Err(GateError::Probe.into());
        }
        self.gate.may_establish(id, &peer)?;
        Ok(Handler::new(false))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _addr: &Multiaddr,
        _role: Endpoint,
        _port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.gate.may_establish(id, &peer)?;
        NodeKey::from_peer_id(&peer).map_err(|_| GateError::Key)?;
        Ok(Handler::new(true))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(e) => {
                self.on_established(e.connection_id, e.peer_id, e.endpoint)
            }
            FromSwarm::ConnectionClosed(e) => {
                self.gate.closed(e.connection_id);
                if let Some(conn) = self.names.remove(&e.connection_id) {
                    self.conns.remove(&conn);
                    self.locals.remove(&conn);
                    self.input(Input::Disconnected(conn));
                }
            }
            FromSwarm::DialFailure(DialFailure {
                connection_id,
                error,
                ..
            }) => {
                self.on_dial_failure(connection_id, error);
            }
            FromSwarm::ListenFailure(e) => self.gate.failed(e.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _peer: PeerId,
        id: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        let Some(conn) = self.names.get(&id).copied() else {
            return;
        };
        match event {
            Report::Message(message) => self.input(Input::Message(conn, *message)),
            Report::Broken(reason) => {
                if reason == DownReason::Misbehaved {
                    self.gate.misbehaved(id, self.epoch.elapsed());
                }
                self.input(Input::Broken(conn, reason));
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Event, THandlerInEvent<Self>>> {
        for _ in 0..MAX_TURNS {
            while let Some(output) = self.machine.poll_output() {
                if let Some(order) = self.order(output) {
                    return Poll::Ready(order);
                }
            }
            let due = self.epoch + self.machine.poll_timeout();
            if self.timer.deadline() != due {
                self.timer.as_mut().reset(due);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                self.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let now = self.now();
            self.machine.on_timeout(now);
        }
        // Others want to be polled too.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use libp2p::TransportError::Other;

    use super::*;

    #[test]
    fn a_name_that_is_not_found_is_told_from_a_node_that_does_not_answer() {
        let missing = Error::new(ErrorKind::NotFound, "no record");
        assert!(is_unresolved(&Other(Error::other(missing))));
        assert!(is_unresolved(&Other(ErrorKind::NotFound.into())));
        for kind in [ErrorKind::ConnectionRefused, ErrorKind::TimedOut] {
            assert!(!is_unresolved(&Other(Error::other(Error::from(kind)))));
        }
    }
}
