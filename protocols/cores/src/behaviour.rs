//! `/masq/cores/1` for a Swarm: knows which connections there are, and nothing else.
//!
//! For outbound streams to cost no round trip, give the Swarm
//! `with_substream_upgrade_protocol_override(upgrade::Version::V1Lazy)`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::task::{Context, Poll};

use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, DialFailure, FromSwarm, ListenFailure, NetworkBehaviour,
    THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use tokio::sync::mpsc;

use crate::control::{Control, OpenRequest, node_key};
use crate::handler::Handler;
use crate::limits::OPEN_QUEUE;
use crate::node::Cores;

/// Negotiates substreams for a node's circuits. Emits no events and never dials.
pub struct Behaviour {
    control: Control,
    cores: Cores,
    /// Connections whose handler was made and that a sibling may still deny.
    unsure: HashMap<ConnectionId, mpsc::Sender<OpenRequest>>,
}

impl Behaviour {
    /// Streams that come in go to `cores`; `control` is told of connections, and should be
    /// the [`Opener`](crate::host::Opener) that `cores` was made with.
    pub fn new(control: Control, cores: Cores) -> Self {
        Self {
            control,
            cores,
            unsure: HashMap::new(),
        }
    }

    /// The node whose circuits these are.
    pub fn cores(&self) -> &Cores {
        &self.cores
    }

    fn handler(&mut self, id: ConnectionId, peer: &PeerId) -> Handler {
        let (tx, rx) = mpsc::channel(OPEN_QUEUE);
        self.unsure.insert(id, tx);
        Handler::new(node_key(peer), self.cores.clone(), rx)
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(id, &peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(id, &peer))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                ..
            }) => {
                if let Some(requests) = self.unsure.remove(&connection_id) {
                    self.control.add(peer_id, connection_id, requests);
                }
            }
            FromSwarm::ConnectionClosed(ConnectionClosed {
                peer_id,
                connection_id,
                ..
            }) => {
                self.control.remove(&peer_id, connection_id);
            }
            FromSwarm::DialFailure(DialFailure { connection_id, .. })
            | FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => {
                self.unsure.remove(&connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}
