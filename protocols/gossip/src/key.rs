//! Node keys: the name of a node, 32 bytes of an Ed25519 public key, and the
//! way to and from libp2p's `PeerId`. Secret keys do not live here.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libp2p::identity::{PublicKey, ed25519};
use libp2p::{PeerId, multihash::Multihash};

/// Length of a node key in bytes.
pub const NODE_KEY_LEN: usize = 32;
/// Length of a node key written as URL-safe base64 without padding.
pub const NODE_KEY_TEXT_LEN: usize = 43;

/// What libp2p puts before an Ed25519 key to make a `PeerId`: protobuf field 1
/// (key type) = 1 and field 2 (data) of 32 bytes. From the libp2p peer id specification.
const ED25519_PREFIX: [u8; 4] = [0x08, 0x01, 0x12, 0x20];
/// Multihash code for "the bytes themselves".
const IDENTITY_CODE: u64 = 0;

/// The public name of a node: the 32 raw bytes of its Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey(pub [u8; NODE_KEY_LEN]);

/// Why some text or peer id is not a node key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text has another length than 43 characters.
    #[error("a node key is 43 characters of URL-safe base64, this has {0}")]
    Length(usize),
    /// The text holds characters outside the URL-safe alphabet, or ends in stray bits.
    #[error("the node key is not URL-safe base64 (letters, digits, - and _)")]
    Alphabet,
    /// The bytes are not a point on the curve.
    #[error("the node key is not a valid Ed25519 public key")]
    NotOnCurve,
    /// The peer is known by another kind of key.
    #[error("the peer's key is not Ed25519")]
    NotEd25519,
}

impl NodeKey {
    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; NODE_KEY_LEN] {
        &self.0
    }

    /// Takes raw bytes, checking that they are a point on the curve.
    ///
    /// # Errors
    /// [`KeyError::NotOnCurve`].
    pub fn try_from_bytes(bytes: [u8; NODE_KEY_LEN]) -> Result<Self, KeyError> {
        let key = Self(bytes);
        key.public().ok_or(KeyError::NotOnCurve)?;
        Ok(key)
    }

    /// The key as libp2p knows it, or `None` when the bytes are no point on the curve.
    pub fn public(&self) -> Option<ed25519::PublicKey> {
        ed25519::PublicKey::try_from_bytes(&self.0).ok()
    }

    /// The peer id of this node. Total: no check of the curve is made.
    pub fn peer_id(&self) -> PeerId {
        let mut bytes = [0u8; ED25519_PREFIX.len() + NODE_KEY_LEN];
        bytes[..ED25519_PREFIX.len()].copy_from_slice(&ED25519_PREFIX);
        bytes[ED25519_PREFIX.len()..].copy_from_slice(&self.0);
        let hash =
            Multihash::wrap(IDENTITY_CODE, &bytes).expect("36 bytes fit a 64-byte multihash");
        PeerId::from_multihash(hash).expect("identity hashes up to 42 bytes are peer ids")
    }

    /// The node key inside a peer id.
    ///
    /// # Errors
    /// [`KeyError::NotEd25519`] when the peer id is a hash or another kind of key.
    pub fn from_peer_id(peer: &PeerId) -> Result<Self, KeyError> {
        let hash: &Multihash<64> = peer.as_ref();
        let digest = hash.digest();
        if hash.code() != IDENTITY_CODE
            || digest.len() != ED25519_PREFIX.len() + NODE_KEY_LEN
            || digest[..ED25519_PREFIX.len()] != ED25519_PREFIX
        {
            return Err(KeyError::NotEd25519);
        }
        let mut key = [0u8; NODE_KEY_LEN];
        key.copy_from_slice(&digest[ED25519_PREFIX.len()..]);
        Ok(Self(key))
    }

    /// The first eight characters: enough for a person to tell nodes of one mesh apart.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(8);
        text
    }
}

/// Whether a node signed a message.
pub(crate) fn is_signed(node: &NodeKey, message: &[u8], signature: &[u8]) -> bool {
    node.public()
        .is_some_and(|public| public.verify(message, signature))
}

impl fmt::Display for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.short())
    }
}

impl FromStr for NodeKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.chars().count() != NODE_KEY_TEXT_LEN {
            return Err(KeyError::Length(text.chars().count()));
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| KeyError::Alphabet)?;
        let bytes: [u8; NODE_KEY_LEN] = bytes.try_into().map_err(|_| KeyError::Alphabet)?;
        Self::try_from_bytes(bytes)
    }
}

impl From<[u8; NODE_KEY_LEN]> for NodeKey {
    fn from(bytes: [u8; NODE_KEY_LEN]) -> Self {
        Self(bytes)
    }
}

impl From<NodeKey> for [u8; NODE_KEY_LEN] {
    fn from(key: NodeKey) -> Self {
        key.0
    }
}

impl From<&ed25519::PublicKey> for NodeKey {
    fn from(key: &ed25519::PublicKey) -> Self {
        Self(key.to_bytes())
    }
}

impl TryFrom<&PublicKey> for NodeKey {
    type Error = KeyError;

    fn try_from(key: &PublicKey) -> Result<Self, KeyError> {
        let key = key
            .clone()
            .try_into_ed25519()
            .map_err(|_| KeyError::NotEd25519)?;
        Ok(Self(key.to_bytes()))
    }
}

impl From<NodeKey> for PeerId {
    fn from(key: NodeKey) -> Self {
        key.peer_id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::identity::Keypair;

    #[test]
    fn peer_id_and_back() {
        let pair = Keypair::ed25519_from_bytes([7u8; 32]).unwrap();
        let key = NodeKey::try_from(&pair.public()).unwrap();
        assert_eq!(key.peer_id(), pair.public().to_peer_id());
        assert_eq!(NodeKey::from_peer_id(&pair.public().to_peer_id()), Ok(key));
    }

    #[test]
    fn text_and_back() {
        let pair = Keypair::ed25519_from_bytes([9u8; 32]).unwrap();
        let key = NodeKey::try_from(&pair.public()).unwrap();
        assert_eq!(key.to_string().len(), NODE_KEY_TEXT_LEN);
        assert_eq!(key.to_string().parse(), Ok(key));
    }

    #[test]
    fn hashed_peer_ids_are_refused() {
        let hash = Multihash::wrap(0x12, &[1u8; 32]).unwrap();
        let peer = PeerId::from_multihash(hash).unwrap();
        assert_eq!(NodeKey::from_peer_id(&peer), Err(KeyError::NotEd25519));
    }
}
