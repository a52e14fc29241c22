//! Names of the parties and of what they settle.

use std::fmt;

use alloy_primitives::keccak256;
use libp2p::PeerId;
use libp2p::identity::{PublicKey, ed25519};

/// Put in front of an ephemeral key before it is hashed into a [`CircuitId`].
const CIRCUIT_DOMAIN: &[u8] = b"masq/settlement/1/circuit";

/// An Ed25519 public key: the name of a node, as in its record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey(pub [u8; 32]);

impl NodeKey {
    /// The key that libp2p knows a peer by; `None` for another kind of key.
    pub fn from_peer_id(peer: &PeerId) -> Option<Self> {
        // An identity multihash: the key itself, in protobuf, behind code 0.
        let hash = libp2p::multihash::Multihash::<64>::from_bytes(&peer.to_bytes()).ok()?;
        if hash.code() != 0 {
            return None;
        }
        let key = PublicKey::try_decode_protobuf(hash.digest()).ok()?;
        let key: ed25519::PublicKey = key.try_into_ed25519().ok()?;
        Some(Self(key.to_bytes()))
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// What an authorisation calls its circuit: a hash of the ephemeral key that the circuit
/// has for this one hop. Hops of one circuit therefore share no identifier.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CircuitId(pub [u8; 32]);

impl CircuitId {
    /// Of the hop's ephemeral public key, exactly as the set-up package carries it.
    pub fn of(ephemeral: &[u8; 32]) -> Self {
        let mut bytes = CIRCUIT_DOMAIN.to_vec();
        bytes.extend_from_slice(ephemeral);
        Self(keccak256(bytes).0)
    }

    /// The short form that statements use.
    pub fn short(&self) -> CircuitRef {
        let mut short = [0; 8];
        short.copy_from_slice(&self.0[..8]);
        CircuitRef(short)
    }
}

impl fmt::Debug for CircuitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CircuitId({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// The first eight bytes of a [`CircuitId`]: tells the circuits of one account apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CircuitRef(pub [u8; 8]);

impl fmt::Debug for CircuitRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CircuitRef({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_its_key() {
        let pair = libp2p::identity::Keypair::ed25519_from_bytes([7; 32]).unwrap();
        let key = NodeKey::from_peer_id(&pair.public().to_peer_id()).unwrap();
        let expected = pair.public().try_into_ed25519().unwrap().to_bytes();
        assert_eq!(key.0, expected);
        assert_eq!(NodeKey::from_peer_id(&PeerId::random()), None);
    }

    #[test]
    fn debug_shows_little() {
        assert_eq!(format!("{:?}", NodeKey([0xab; 32])), "NodeKey(abab..)");
        assert!(format!("{:?}", CircuitId::of(&[1; 32])).len() < 24);
    }
}
