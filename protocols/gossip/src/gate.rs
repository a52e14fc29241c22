//! Bounds on connections before they are guests: how many may be under way in
//! each direction, from one address, and with one peer. Who becomes a
//! neighbour is decided by the machine.

use std::collections::HashMap;
use std::net::IpAddr;

use libp2p::swarm::{ConnectionDenied, ConnectionId};
use libp2p::{Multiaddr, PeerId};

use crate::address::Address;

/// Inbound connections that have not finished their handshake. From the design.
const MAX_PENDING_IN: usize = 16;
/// Of these, from one address: so that one that stalls does not keep others out. Guess.
const MAX_PENDING_IN_PER_IP: usize = 4;
/// Outbound connections that are not established yet. From the design.
const MAX_PENDING_OUT: usize = 8;
/// Established connections with one peer. From the design.
const MAX_PER_PEER: usize = 2;
/// Established connections in all: guests, neighbours, and room for doubles. Guess.
const MAX_ESTABLISHED: usize = 320;

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
    established: HashMap<ConnectionId, PeerId>,
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
    ) -> Result<(), GateError> {
        if self.pending_in.len() >= MAX_PENDING_IN {
            return Err(GateError::Pending);
        }
        let ip = Address::from_multiaddr(remote).and_then(|address| address.ip());
        let same = self
            .pending_in
            .values()
            .filter(|other| ip.is_some() && **other == ip)
            .count();
        if self.per_ip && same >= MAX_PENDING_IN_PER_IP {
            return Err(GateError::PendingFromAddress);
        }
        self.pending_in.insert(id, ip);
        Ok(())
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
            .filter(|other| *other == peer)
            .count()
            >= MAX_PER_PEER
        {
            return Err(GateError::Peer);
        }
        Ok(())
    }

    pub(crate) fn established(&mut self, id: ConnectionId, peer: PeerId) {
        self.failed(id);
        self.established.insert(id, peer);
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
            gate.pending_in(ConnectionId::new_unchecked(i), &from(1))
                .unwrap();
        }
        let id = ConnectionId::new_unchecked(100);
        assert_eq!(
            gate.pending_in(id, &from(1)),
            Err(GateError::PendingFromAddress)
        );
        assert_eq!(gate.pending_in(id, &from(2)), Ok(()));
        gate.failed(ConnectionId::new_unchecked(0));
        assert_eq!(
            gate.pending_in(ConnectionId::new_unchecked(101), &from(1)),
            Ok(())
        );
    }

    #[test]
    fn two_connections_per_peer() {
        let mut gate = Gate::new(true);
        let peer = crate::key::NodeKey([1; 32]).peer_id();
        for i in 0..MAX_PER_PEER {
            let id = ConnectionId::new_unchecked(i);
            gate.may_establish(id, &peer).unwrap();
            gate.established(id, peer);
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
