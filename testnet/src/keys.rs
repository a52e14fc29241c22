//! Node keys of the testnet: made before the nodes start, so that every node
//! can be told of the seed at once and every key seen in a trace has a name.
//! Production keys are made by `masqd` itself and never here.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libp2p::identity::ed25519::{Keypair, SecretKey};
use sha2::{Digest, Sha256};

/// Chain of every testnet.
pub const CHAIN: &str = "dev";

/// Label before the name when a key is derived from a name.
const DERIVE_LABEL: &[u8] = b"masq testnet node key, chain dev only\0";

/// The key of one testnet node.
#[derive(Clone)]
pub struct NodeIdentity {
    seed: [u8; 32],
    public: [u8; 32],
}

impl std::fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeIdentity")
            .field("public", &self.name())
            .finish_non_exhaustive()
    }
}

impl NodeIdentity {
    /// A fresh key.
    #[must_use]
    pub fn random() -> Self {
        Self::from_seed(rand::random())
    }

    /// The key that belongs to `name`, the same everywhere: containers know
    /// the seed's descriptor without having asked it. Anybody can compute it,
    /// so it is good for chain `dev` only.
    #[must_use]
    pub fn derived(name: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(DERIVE_LABEL);
        hasher.update(name.as_bytes());
        Self::from_seed(hasher.finalize().into())
    }

    fn from_seed(seed: [u8; 32]) -> Self {
        let mut copy = seed;
        let secret =
            SecretKey::try_from_bytes(&mut copy).expect("any 32 bytes are an Ed25519 seed");
        let public = Keypair::from(secret).public().to_bytes();
        Self { seed, public }
    }

    /// The 32 bytes that go into `node.key`.
    #[must_use]
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The node key as the control API writes it: 43 characters of URL-safe
    /// base64.
    #[must_use]
    pub fn name(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.public)
    }

    /// The descriptor of the node at `host:port`.
    #[must_use]
    pub fn descriptor(&self, host: impl std::fmt::Display, port: u16) -> String {
        format!("masq://{CHAIN}:{}@{host}:{port}", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_keys_are_stable_and_named() {
        let seed = NodeIdentity::derived("seed");
        assert_eq!(seed.name(), NodeIdentity::derived("seed").name());
        assert_ne!(seed.name(), NodeIdentity::derived("exit").name());
        assert_eq!(seed.name().len(), 43);
        let descriptor = seed.descriptor("127.0.0.1", 4711);
        assert!(descriptor.starts_with("masq://dev:"), "{descriptor}");
        assert!(descriptor.ends_with("@127.0.0.1:4711"), "{descriptor}");
        assert!(!format!("{seed:?}").contains(&hex::encode(seed.seed())));
    }

    #[test]
    fn the_public_key_is_that_of_rfc_8032() {
        // Test 1 of RFC 8032, section 7.1.
        let mut seed = [0; 32];
        hex::decode_to_slice(
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            &mut seed,
        )
        .unwrap();
        assert_eq!(
            hex::encode(NodeIdentity::from_seed(seed).public),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
    }
}
