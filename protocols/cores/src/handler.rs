//! Negotiates substreams on one connection and gives them away raw: inbound ones to the
//! node's circuits, outbound ones to whoever asked. No byte of a circuit passes here.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::task::{Context, Poll};

use libp2p::StreamProtocol;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, SubstreamProtocol};
use masq_onion::NodeKey;
use tokio::sync::mpsc;

use crate::control::{OpenRequest, PROTOCOL};
use crate::host::OpenError;
use crate::limits::{NEGOTIATING_OUT, SETUP_TIMEOUT};
use crate::node::Cores;

/// The part of `/masq/cores/1` that lives on one connection.
pub struct Handler {
    node: Option<NodeKey>,
    cores: Cores,
    requests: mpsc::Receiver<OpenRequest>,
    /// Whoever waits for a stream that is being negotiated. All such streams are alike,
    /// so whichever is ready goes to whoever waits longest.
    asked: VecDeque<OpenRequest>,
}

impl Handler {
    pub(crate) fn new(
        node: Option<NodeKey>,
        cores: Cores,
        requests: mpsc::Receiver<OpenRequest>,
    ) -> Self {
        Self {
            node,
            cores,
            requests,
            asked: VecDeque::new(),
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ()).with_timeout(SETUP_TIMEOUT)
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        // When as many are out as may be, the end of one of them has this polled again.
        while self.asked.len() < NEGOTIATING_OUT {
            match self.requests.poll_recv(cx) {
                Poll::Ready(Some(request)) if request.0.is_closed() => {}
                Poll::Ready(Some(request)) => {
                    self.asked.push_back(request);
                    return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                        protocol: SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
                            .with_timeout(SETUP_TIMEOUT),
                    });
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        match event {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: stream,
                ..
            }) => {
                let Some(node) = self.node else { return };
                if let Err(code) = self.cores.inbound(node, Box::new(stream)) {
                    tracing::debug!(%code, "inbound stream dropped");
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: stream,
                ..
            }) => {
                if let Some(request) = self.asked.pop_front() {
                    // Whoever asked may have given up: the stream is dropped, unused.
                    let _ = request.0.send(Ok(stream));
                }
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { .. }) => {
                if let Some(request) = self.asked.pop_front() {
                    let _ = request.0.send(Err(OpenError::Failed));
                }
            }
            _ => {}
        }
    }
}
