//! The knock: what a descriptor says besides the address, and an introduction
//! does not. Who has a node's descriptor may ask it for introductions; who merely
//! learned where it is, because it became a neighbour, may not. So the addresses
//! that somebody collects are no doors to more of them.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libp2p::identity::ed25519;
use sha2::{Digest as _, Sha256};

/// Length of a knock in bytes. Guess: nobody tries 2^64 debuts.
pub const KNOCK_LEN: usize = 8;

const DOMAIN: &[u8] = b"masq-gossip/1 knock\0";

/// A node's knock. It follows from the node's secret key, so it never changes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Knock(pub [u8; KNOCK_LEN]);

impl Knock {
    /// The knock of the node with this key pair.
    pub fn of(keys: &ed25519::Keypair) -> Self {
        let secret = keys.secret();
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(secret.as_ref());
        let hash: [u8; 32] = hash.finalize().into();
        Self(*hash.first_chunk().expect("a hash has 32 bytes"))
    }
}

impl fmt::Display for Knock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

// It is a secret among friends; logs are not among them.
impl fmt::Debug for Knock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[scrubbed knock]")
    }
}

impl FromStr for Knock {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ())?;
        bytes.try_into().map(Self).map_err(|_| ())
    }
}
