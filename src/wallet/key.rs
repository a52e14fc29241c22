//! The consuming wallet: a secret key that signs.

use std::fmt;

use alloy_primitives::{Address, B256, Signature};
use k256::ecdsa::SigningKey;
use zeroize::Zeroizing;

/// Length of a secret key, in bytes.
pub(super) const KEY_LENGTH: usize = 32;

/// Why something is no secret key, or can't sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It is not hexadecimal.
    #[error("a private key is 64 digits from 0 to 9 and a to f, with or without 0x before them")]
    Hexadecimal,
    /// It has the wrong length.
    #[error("a private key has 64 digits, this one has {0}: was it copied whole?")]
    Length(usize),
    /// No secp256k1 key has that number.
    #[error("this number is not a private key: it is zero, or too large")]
    Range,
    /// The signature could not be made.
    #[error("the signature can't be made. This is a bug; please report it")]
    Signing,
}

/// The wallet that pays: its secret key and its address. The key is wiped when
/// it is dropped; `Debug` shows neither.
#[derive(Clone)]
pub struct ConsumingWallet {
    key: SigningKey,
    address: Address,
}

impl ConsumingWallet {
    pub(super) fn of_key(key: SigningKey) -> Self {
        let address = Address::from_public_key(key.verifying_key());
        Self { key, address }
    }

    /// The wallet with these 32 bytes as its key.
    ///
    /// # Errors
    ///
    /// When there is no such key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() != KEY_LENGTH {
            return Err(KeyError::Length(bytes.len() * 2));
        }
        SigningKey::from_slice(bytes)
            .map(Self::of_key)
            .map_err(|_| KeyError::Range)
    }

    /// The wallet with this key in hexadecimal, with or without `0x`.
    ///
    /// # Errors
    ///
    /// When it is no key; what was written is not repeated.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let digits = text.strip_prefix("0x").unwrap_or(text);
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) || digits.is_empty() {
            return Err(KeyError::Hexadecimal);
        }
        let mut bytes = Zeroizing::new([0; KEY_LENGTH]);
        hex::decode_to_slice(digits, bytes.as_mut_slice())
            .map_err(|_| KeyError::Length(digits.len()))?;
        Self::from_bytes(bytes.as_slice())
    }

    /// The secret key, for a keystore.
    pub(super) fn secret(&self) -> Zeroizing<[u8; KEY_LENGTH]> {
        Zeroizing::new(self.key.to_bytes().into())
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address
    }

    /// Signs a hash (of a transaction, or of EIP-712 data): deterministic
    /// (RFC 6979), low `s`. Takes about 60 µs.
    ///
    /// # Errors
    ///
    /// Practically never: when the curve gives a zero, which no hash known does.
    pub fn sign_hash(&self, hash: B256) -> Result<Signature, KeyError> {
        self.key
            .sign_prehash_recoverable(hash.as_slice())
            .map(Signature::from)
            .map_err(|_| KeyError::Signing)
    }
}

impl fmt::Debug for ConsumingWallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConsumingWallet([scrubbed])")
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{address, b256, keccak256};

    use super::*;

    /// The first key of the phrase that every development chain uses.
    const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

    #[test]
    fn a_known_key_has_its_known_address() {
        let wallet = ConsumingWallet::from_hex(KEY).unwrap();
        let address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        assert_eq!(wallet.address(), address);
        assert_eq!(
            ConsumingWallet::from_hex(&KEY[2..]).unwrap().address(),
            address
        );
        assert_eq!(hex::encode(wallet.secret().as_slice()), KEY[2..]);
        let shown = format!("{wallet:?}").to_lowercase();
        assert!(
            !shown.contains("f39f") && !shown.contains("ac09"),
            "{shown}"
        );
    }

    #[test]
    fn its_signature_leads_back_to_its_address() {
        let wallet = ConsumingWallet::from_hex(KEY).unwrap();
        for hash in [
            keccak256("one"),
            keccak256("two"),
            B256::ZERO,
            B256::repeat_byte(0xff),
        ] {
            let signature = wallet.sign_hash(hash).unwrap();
            let signer = signature.recover_address_from_prehash(&hash).unwrap();
            assert_eq!(signer, wallet.address());
            assert_eq!(signature.normalized_s(), signature);
            assert_eq!(wallet.sign_hash(hash).unwrap(), signature);
        }
    }

    /// The transaction that EIP-155 gives as its example.
    #[test]
    fn a_known_signature() {
        let wallet = ConsumingWallet::from_bytes(&[0x46; 32]).unwrap();
        let hash = b256!("daf5a779ae972f972197303d7b574746c7ef83eadac0f2791ad23db92e4c8e53");
        let signature = wallet.sign_hash(hash).unwrap();
        assert_eq!(
            hex::encode(&signature.as_bytes()[..64]),
            "28ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276\
             67cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83"
        );
    }

    #[test]
    fn what_is_no_key_is_explained() {
        let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
        for (text, error) in [
            ("", KeyError::Hexadecimal),
            ("0x", KeyError::Hexadecimal),
            ("not a key", KeyError::Hexadecimal),
            ("0xac09", KeyError::Length(4)),
            ("ac0", KeyError::Length(3)),
            (&"0".repeat(64), KeyError::Range),
            (order, KeyError::Range),
        ] {
            assert_eq!(
                ConsumingWallet::from_hex(text).unwrap_err(),
                error,
                "{text}"
            );
        }
    }
}
