//! Bounds on connections before they are guests: how many may be under way in
//! each direction, from one address, and with one peer, and how often one address
//! may come. An address that comes too often, or whose peers broke the protocol, is
//! turned away for some seconds before the handshake, which is what costs. Who
//! becomes a neighbour is decided by the machine.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use libp2p::swarm::{ConnectionDenied, ConnectionId};
use libp2p::{Multiaddr, PeerId};

use crate::address::Address;
use crate::bucket::TokenBucket;

/// Inbound connections that have not finished their handshake. Where the transport bounds
/// handshakes itself and lets those that stall give way, as `masq`'s does at 64, this is out of
/// reach: a connection that gave way is still counted here for a moment. Guess.
const MAX_PENDING_IN: usize = 128;
/// Of these, from one address: so that one that stalls does not keep others out. Guess.
const MAX_PENDING_IN_PER_IP: usize = 4;
/// Outbound connections that are not established yet. From the design.
const MAX_PENDING_OUT: usize = 8;
/// Established connections with one peer. From the design.
const MAX_PER_PEER: usize = 2;
/// Established connections in all: guests, neighbours, and room for doubles. Guess.
const MAX_ESTABLISHED: usize = 320;

/// Connections that one IPv4 address or IPv6 /64 may make: at once, and per second. Above what
/// the machine allows in debuts, so that whoever comes too often is told so a few times. Guess.
const ARRIVALS: (u32, f64) = (24, 0.5);
/// What a peer that broke the protocol costs its address, in connections: after three of them the
/// address is turned away for 16 s. Others behind that address may come again as soon. Guess.
const MISBEHAVED: u32 = 8;
/// Most addresses whose arrivals are remembered; the one unused for longest is forgotten. Guess.
const MAX_SOURCES: usize = 1024;

/// Why a connection was not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// Too many connections are being set up.
    #[error("too many connections are being set up")]
    Pending,
    /// Too many of them come from one address.
    #[error("too many connections from one address are being set up")]
    PendingFromAddress,
    /// Too many connections came from one address in a short time.
    #[error("too many connections came from one address in a short time")]
    TooOften,
    /// Too many connections with this peer.
    #[error("too many connections with this peer")]
    Peer,
    /// Too many connections in all.
    #[error("too many connections")]
    Total,
    /// The peer dialled to see whether this node can be dialled, and now it knows.
    #[error("a check of reachability, which ends here")]
    Probe,
    /// The peer's key is not Ed25519.
    #[error("the peer's key is not Ed25519")]
    Key,
}

impl From<GateError> for ConnectionDenied {
    fn from(error: GateError) -> Self {
        Self::new(error)
    }
}

/// Connections that are counted.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// Whether nodes have addresses of their own, so that one address is one stranger.
    per_ip: bool,
    pending_in: HashMap<ConnectionId, Option<IpAddr>>,
    pending_out: HashMap<ConnectionId, ()>,
    established: HashMap<ConnectionId, (PeerId, Option<IpAddr>)>,
    arrivals: BTreeMap<IpAddr, TokenBucket>,
}

/// One customer: an IPv4 address, or an IPv6 /64.
fn source(remote: &Multiaddr) -> Option<IpAddr> {
    let ip = Address::from_multiaddr(remote)?.ip()?;
    Some(match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & !0 << 64).into(),
    })
}

impl Gate {
    pub(crate) fn new(per_ip: bool) -> Self {
        Self {
            per_ip,
            ..Self::default()
        }
    }

    pub(crate) fn pending_in(
        &mut self,
        id: ConnectionId,
        remote: &Multiaddr,
        now: Duration,
    ) -> Result<(), GateError> {
        if self.pending_in.len() >= MAX_PENDING_IN {
            return Err(GateError::Pending);
        }
        let ip = source(remote);
        let same = self
            .pending_in
            .values()
            .filter(|other| ip.is_some() && **other == ip)
            .count();
        if self.per_ip && same >= MAX_PENDING_IN_PER_IP {
            return Err(GateError::PendingFromAddress);
        }
        if let Some(arrivals) = self.arrivals(ip, now)
            && !arrivals.take(now)
        {
            return Err(GateError::TooOften);
        }
        self.pending_in.insert(id, ip);
        Ok(())
    }

    /// How often an address may come; `None` where addresses tell nobody apart.
    fn arrivals(&mut self, ip: Option<IpAddr>, now: Duration) -> Option<&mut TokenBucket> {
        let ip = ip.filter(|_| self.per_ip)?;
        if self.arrivals.len() >= MAX_SOURCES && !self.arrivals.contains_key(&ip) {
            let oldest = self.arrivals.iter().min_by_key(|(_, b)| b.last_used());
            if let Some(oldest) = oldest.map(|(ip, _)| *ip) {
                self.arrivals.remove(&oldest);
            }
        }
        let (size, rate) = ARRIVALS;
        let new = || TokenBucket::new(size, rate, now);
        Some(self.arrivals.entry(ip).or_insert_with(new))
    }

    /// A peer that came to us broke the protocol.
    pub(crate) fn misbehaved(&mut self, id: ConnectionId, now: Duration) {
        let ip = self.established.get(&id).and_then(|(_, ip)| *ip);
        if let Some(arrivals) = self.arrivals(ip, now) {
            arrivals.charge(MISBEHAVED, now);
        }
    }

    pub(crate) fn pending_out(&mut self, id: ConnectionId) -> Result<(), GateError> {
        if self.pending_out.len() >= MAX_PENDING_OUT {
            return Err(GateError::Pending);
        }
        self.pending_out.insert(id, ());
        Ok(())
    }

    /// Whether an authenticated connection may be established. It is counted by [`Gate::established`].
    pub(crate) fn may_establish(
        &mut self,
        id: ConnectionId,
        peer: &PeerId,
    ) -> Result<(), GateError> {
        self.failed(id);
        if self.established.len() >= MAX_ESTABLISHED {
            return Err(GateError::Total);
        }
        if self
            .established
            .values()
            .filter(|(other, _)| other == peer)
            .count()
            >= MAX_PER_PEER
        {
            return Err(GateError::Peer);
        }
        Ok(())
    }

    /// A connection is there; `from` is the address of a peer that came to us.
    pub(crate) fn established(&mut self, id: ConnectionId, peer: PeerId, from: Option<&Multiaddr>) {
        self.failed(id);
        self.established.insert(id, (peer, from.and_then(source)));
    }

    pub(crate) fn closed(&mut self, id: ConnectionId) {
        self.established.remove(&id);
    }

    /// A connection came to nothing.
    pub(crate) fn failed(&mut self, id: ConnectionId) {
        self.pending_in.remove(&id);
        self.pending_out.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s4_one_stalling_address_does_not_fill_the_gate() {
        let mut gate = Gate::new(true);
        let from = |ip: u8| {
            format!("/ip4/198.51.100.{ip}/tcp/9")
                .parse::<Multiaddr>()
                .unwrap()
        };
        for i in 0..MAX_PENDING_IN_PER_IP {
            gate.pending_in(ConnectionId::new_unchecked(i), &from(1), Duration::ZERO)
                .unwrap();
        }
        let id = ConnectionId::new_unchecked(100);
        assert_eq!(
            gate.pending_in(id, &from(1), Duration::ZERO),
            Err(GateError::PendingFromAddress)
        );
        assert_eq!(gate.pending_in(id, &from(2), Duration::ZERO), Ok(()));
        gate.failed(ConnectionId::new_unchecked(0));
        assert_eq!(
            gate.pending_in(ConnectionId::new_unchecked(101), &from(1), Duration::ZERO),
            Ok(())
        );
    }

    /// One connection comes and goes; whether it was let in.
    fn comes(gate: &mut Gate, n: usize, from: &str, now: Duration) -> bool {
        let id = ConnectionId::new_unchecked(n);
        let let_in = gate.pending_in(id, &from.parse().unwrap(), now).is_ok();
        gate.failed(id);
        let_in
    }

    #[test]
    fn an_address_that_comes_too_often_is_turned_away_and_others_are_not() {
        let mut gate = Gate::new(true);
        let start = Duration::from_secs(100);
        let (often, other) = ("/ip4/198.51.100.1/tcp/9", "/ip4/198.51.100.2/tcp/9");
        let let_in = (0..1000)
            .filter(|n| comes(&mut gate, *n, often, start))
            .count();
        assert_eq!(let_in, 24);
        assert!(comes(&mut gate, 0, other, start));
        // It may come again in a few seconds.
        assert!(comes(&mut gate, 0, often, start + Duration::from_secs(2)));
        // The memory is bounded.
        for n in 0..2 * MAX_SOURCES {
            let from = format!("/ip4/203.0.{}.{}/tcp/9", n / 256, n % 256);
            comes(&mut gate, n, &from, start);
        }
        assert_eq!(gate.arrivals.len(), MAX_SOURCES);
        // Where many nodes share an address it says nothing.
        let mut gate = Gate::new(false);
        assert!((0..1000).all(|n| comes(&mut gate, n, often, start)));
    }

    #[test]
    fn peers_that_break_the_protocol_cost_their_address() {
        let mut gate = Gate::new(true);
        let start = Duration::from_secs(100);
        let from: Multiaddr = "/ip4/198.51.100.1/tcp/9".parse().unwrap();
        let mut bad = 0;
        while comes(&mut gate, 0, "/ip4/198.51.100.1/tcp/9", start) {
            let id = ConnectionId::new_unchecked(1000 + bad);
            let peer = crate::key::NodeKey([bad as u8; 32]).peer_id();
            gate.established(id, peer, Some(&from));
            gate.misbehaved(id, start);
            gate.closed(id);
            bad += 1;
        }
        assert_eq!(bad, 3);
        let again = |after: u64, gate: &mut Gate| {
            comes(
                gate,
                0,
                "/ip4/198.51.100.1/tcp/9",
                start + Duration::from_secs(after),
            )
        };
        assert!(!again(2, &mut gate));
        assert!(again(20, &mut gate), "but not for long");
    }

    #[test]
    fn two_connections_per_peer() {
        let mut gate = Gate::new(true);
        let peer = crate::key::NodeKey([1; 32]).peer_id();
        for i in 0..MAX_PER_PEER {
            let id = ConnectionId::new_unchecked(i);
            gate.may_establish(id, &peer).unwrap();
            gate.established(id, peer, None);
        }
        assert_eq!(
            gate.may_establish(ConnectionId::new_unchecked(9), &peer),
            Err(GateError::Peer)
        );
        gate.closed(ConnectionId::new_unchecked(0));
        assert_eq!(
            gate.may_establish(ConnectionId::new_unchecked(9), &peer),
            Ok(())
        );
    }
}
