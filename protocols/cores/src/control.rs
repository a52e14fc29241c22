//! Asking connections for substreams, from any task, without going through the Swarm's loop.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use libp2p::identity::{PublicKey, ed25519};
use libp2p::swarm::{ConnectionId, Stream};
use libp2p::{PeerId, StreamProtocol};
use masq_onion::NodeKey;
use tokio::sync::{mpsc, oneshot};

use crate::fused::Fused;
use crate::host::{OpenError, Opener, Wire};

/// The name under which substreams are negotiated.
pub const PROTOCOL: StreamProtocol = StreamProtocol::new("/masq/cores/1");

/// The libp2p name of a node; `None` where the key is no point on the curve.
pub fn peer_id(node: &NodeKey) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(&node.0).ok()?;
    Some(PublicKey::from(key).to_peer_id())
}

/// The node key in a libp2p name; `None` where it is not an Ed25519 one.
pub fn node_key(peer: &PeerId) -> Option<NodeKey> {
    // A small key stands in the name itself: multihash code 0 (identity), length, key.
    let bytes = peer.to_bytes();
    let encoded = bytes.strip_prefix(&[0x00, 0x24])?;
    let key = PublicKey::try_decode_protobuf(encoded)
        .ok()?
        .try_into_ed25519()
        .ok()?;
    Some(NodeKey(key.to_bytes()))
}

/// Somebody who wants a substream.
#[derive(Debug)]
pub(crate) struct OpenRequest(pub(crate) oneshot::Sender<Result<Stream, OpenError>>);

type Door = (ConnectionId, mpsc::Sender<OpenRequest>);

/// Opens substreams on the connections that the [`Behaviour`](crate::behaviour::Behaviour)
/// knows of. Never dials. Cloning gives another handle to the same connections.
#[derive(Clone, Default)]
pub struct Control {
    doors: Arc<Mutex<HashMap<PeerId, Vec<Door>>>>,
}

impl Control {
    /// A handle without connections yet, to be given to a behaviour.
    pub fn new() -> Self {
        Self::default()
    }

    fn doors(&self) -> MutexGuard<'_, HashMap<PeerId, Vec<Door>>> {
        // Single map operations only, so nothing is ever left half done.
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, peer: PeerId, id: ConnectionId, requests: mpsc::Sender<OpenRequest>) {
        self.doors().entry(peer).or_default().push((id, requests));
    }

    pub(crate) fn remove(&self, peer: &PeerId, id: ConnectionId) {
        let mut doors = self.doors();
        if let Some(of_peer) = doors.get_mut(peer) {
            of_peer.retain(|(other, _)| *other != id);
            if of_peer.is_empty() {
                doors.remove(peer);
            }
        }
    }

    /// Asks the newest connection to that peer for a substream.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was sent.
    pub async fn open_stream(&self, peer: PeerId) -> Result<Stream, OpenError> {
        let (reply, answer) = oneshot::channel();
        self.ask(&peer, OpenRequest(reply))?;
        answer.await.unwrap_or(Err(OpenError::Failed))
    }

    fn ask(&self, peer: &PeerId, request: OpenRequest) -> Result<(), OpenError> {
        let doors = self.doors();
        let (_, door) = doors
            .get(peer)
            .and_then(|of_peer| of_peer.iter().rev().find(|(_, door)| !door.is_closed()))
            .ok_or(OpenError::NotConnected)?;
        door.try_send(request).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => OpenError::Busy,
            mpsc::error::TrySendError::Closed(_) => OpenError::NotConnected,
        })
    }
}

impl Opener for Control {
    fn open(&self, to: &NodeKey) -> BoxFuture<'static, Result<Wire, OpenError>> {
        let (control, peer) = (self.clone(), peer_id(to));
        async move {
            let peer = peer.ok_or(OpenError::NotConnected)?;
            let stream = control.open_stream(peer).await?;
            Ok(Box::new(Fused::new(stream)) as Wire)
        }
        .boxed()
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("peers", &self.doors().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use libp2p::identity::Keypair;

    use super::*;

    #[test]
    fn names_and_keys_are_one() {
        let keypair = Keypair::ed25519_from_bytes([7; 32]).unwrap();
        let peer = keypair.public().to_peer_id();
        let node = node_key(&peer).unwrap();
        assert_eq!(
            node.0,
            keypair.public().try_into_ed25519().unwrap().to_bytes()
        );
        assert_eq!(peer_id(&node), Some(peer));
        assert_eq!(node_key(&PeerId::random()), None);
    }

    #[tokio::test]
    async fn without_a_connection_there_is_no_stream() {
        let peer = Keypair::ed25519_from_bytes([7; 32])
            .unwrap()
            .public()
            .to_peer_id();
        let control = Control::new();
        assert_eq!(
            control.open_stream(peer).await.unwrap_err(),
            OpenError::NotConnected
        );

        let (tx, mut rx) = mpsc::channel(1);
        let id = ConnectionId::new_unchecked(1);
        control.add(peer, id, tx);
        let asked = control.open_stream(peer);
        tokio::pin!(asked);
        assert!(futures::poll!(asked.as_mut()).is_pending());
        assert_eq!(
            control.open_stream(peer).await.unwrap_err(),
            OpenError::Busy
        );
        drop(rx.recv().await.unwrap());
        assert_eq!(asked.await.unwrap_err(), OpenError::Failed);
        drop(rx);
        assert_eq!(
            control.open_stream(peer).await.unwrap_err(),
            OpenError::NotConnected
        );
        control.remove(&peer, id);
        assert!(control.doors().is_empty());
    }
}
