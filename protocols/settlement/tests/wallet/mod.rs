//! A wallet for tests: its key is in the open.

use alloy_primitives::{Address, B256};
use k256::ecdsa::SigningKey;

use super::{SIGNATURE_LEN, SignError, Signer};

/// A wallet whose key is one byte, 32 times.
#[derive(Clone)]
pub struct Wallet(SigningKey);

impl Wallet {
    /// From a byte that is neither 0 nor 255.
    #[allow(clippy::unwrap_used)]
    pub fn new(seed: u8) -> Self {
        Self(SigningKey::from_slice(&[seed; 32]).unwrap())
    }
}

impl Signer for Wallet {
    fn address(&self) -> Address {
        Address::from_private_key(&self.0)
    }

    fn sign_hash(&self, hash: &B256) -> Result<[u8; SIGNATURE_LEN], SignError> {
        let (signature, id) = self
            .0
            .sign_prehash_recoverable(hash.as_slice())
            .map_err(|_| SignError::Unavailable)?;
        let mut bytes = [0; SIGNATURE_LEN];
        bytes[..64].copy_from_slice(&signature.to_bytes());
        bytes[64] = id.to_byte();
        Ok(bytes)
    }
}
