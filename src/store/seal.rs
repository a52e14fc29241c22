//! The cipher of the store: seals values, hides keys.
//!
//! Values are sealed with XAES-256-GCM: AES-256-GCM under a key derived afresh
//! from 96 bits of a random 192-bit nonce. Plain AES-256-GCM with random 96-bit
//! nonces is safe for 2³² values per key; money is flushed each second for each
//! counterparty, and with a hundred of them that many are written in 16 months.
//! With 192 bits the bound is 2⁸⁰, so a key never has to be replaced.
//!
//! What sealing does not do: it hides neither how many values a table has nor
//! how long they are, and it can't notice that a whole file, or one value under
//! its own key, was put back to an older state.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::{TryRng, rngs::SysRng};
use sha2::Sha256;
use xaes_256_gcm::{
    Nonce, Xaes256Gcm,
    aead::{Aead as _, Payload},
};
use zeroize::Zeroizing;

/// Length of every key here, in bytes.
pub(crate) const KEY_LENGTH: usize = 32;
/// Length of the random nonce that stands before a sealed text, in bytes.
pub(crate) const NONCE_LENGTH: usize = 24;
/// Length of the MAC that stands for a hidden key, in bytes.
pub(crate) const MAC_LENGTH: usize = 32;
/// How much longer a sealed text is than the text, in bytes.
#[cfg(test)]
pub(crate) const OVERHEAD: usize = NONCE_LENGTH + 16;

/// Why something can't be sealed or derived.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The system has no randomness to give. Nothing was written.
    #[error("the system gives no random numbers: {0}")]
    NoRandomness(String),
    /// Something has a length that the cipher does not take.
    #[error("the cipher does not take that length. This is a bug; please report it")]
    Length,
}

/// Random bytes from the system.
pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, SealError> {
    let mut bytes = Zeroizing::new([0; N]);
    SysRng
        .try_fill_bytes(bytes.as_mut_slice())
        .map_err(|error| SealError::NoRandomness(error.to_string()))?;
    Ok(bytes)
}

/// A key derived from another for one use.
pub(crate) fn derive(
    from: &[u8],
    salt: &[u8],
    label: &str,
) -> Result<Zeroizing<[u8; KEY_LENGTH]>, SealError> {
    let mut key = Zeroizing::new([0; KEY_LENGTH]);
    Hkdf::<Sha256>::new(Some(salt), from)
        .expand(label.as_bytes(), key.as_mut_slice())
        .map_err(|_| SealError::Length)?;
    Ok(key)
}

/// A key for sealing.
pub(crate) struct SealKey(Xaes256Gcm);

impl SealKey {
    pub(crate) fn new(key: &[u8; KEY_LENGTH]) -> Self {
        Self(Xaes256Gcm::new(key.into()))
    }

    /// A fresh nonce and the sealed text, which opens only with the same
    /// `bound` bytes.
    pub(crate) fn seal(&self, bound: &[u8], text: &[u8]) -> Result<Vec<u8>, SealError> {
        let nonce = random::<NONCE_LENGTH>()?;
        let payload = Payload {
            msg: text,
            aad: bound,
        };
        let sealed = self
            .0
            .encrypt(&Nonce::from(*nonce), payload)
            .map_err(|_| SealError::Length)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// What was sealed; `None` when it was not sealed so, with this key and
    /// these `bound` bytes.
    pub(crate) fn open(&self, bound: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LENGTH>()?;
        let payload = Payload {
            msg: text,
            aad: bound,
        };
        let text = self.0.decrypt(&Nonce::from(*nonce), payload).ok()?;
        Some(Zeroizing::new(text))
    }
}

/// A key for hiding keys of tables.
pub(crate) struct MacKey(Hmac<Sha256>);

impl MacKey {
    pub(crate) fn new(key: &[u8; KEY_LENGTH]) -> Result<Self, SealError> {
        let mac = Hmac::new_from_slice(key).map_err(|_| SealError::Length)?;
        Ok(Self(mac))
    }

    /// What stands for a key in that table. The same key in two tables has
    /// nothing in common.
    pub(crate) fn hide(&self, table: &str, key: &[u8]) -> [u8; MAC_LENGTH] {
        let mut mac = self.0.clone();
        mac.update(&(table.len() as u64).to_be_bytes());
        mac.update(table.as_bytes());
        mac.update(key);
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two vectors of the specification (C2SP, XAES-256-GCM).
    #[test]
    fn the_cipher_is_xaes() {
        let cases: [(u8, &[u8], &str); 2] = [
            (
                1,
                b"",
                "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271",
            ),
            (
                3,
                b"c2sp.org/XAES-256-GCM",
                "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
            ),
        ];
        for (byte, bound, sealed) in cases {
            let key = SealKey::new(&[byte; 32]);
            let mut whole = b"ABCDEFGHIJKLMNOPQRSTUVWX".to_vec();
            whole.extend(hex::decode(sealed).unwrap());
            assert_eq!(key.open(bound, &whole).unwrap().as_slice(), b"XAES-256-GCM");
        }
    }

    #[test]
    fn only_the_same_key_and_binding_open() {
        let key = SealKey::new(&[7; 32]);
        let sealed = key.seal(b"here", b"text").unwrap();
        assert_eq!(sealed.len(), 4 + OVERHEAD);
        assert_ne!(sealed, key.seal(b"here", b"text").unwrap());
        assert_eq!(key.open(b"here", &sealed).unwrap().as_slice(), b"text");
        assert!(key.open(b"there", &sealed).is_none());
        assert!(SealKey::new(&[8; 32]).open(b"here", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open(b"here", &changed).is_none(), "byte {at}");
            assert!(key.open(b"here", &sealed[..at]).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn a_hidden_key_tells_nothing_across_tables() {
        let mac = MacKey::new(&[1; 32]).unwrap();
        assert_eq!(mac.hide("a", b"bc"), mac.hide("a", b"bc"));
        assert_ne!(mac.hide("a", b"bc"), mac.hide("ab", b"c"));
        assert_ne!(
            mac.hide("a", b"bc"),
            MacKey::new(&[2; 32]).unwrap().hide("a", b"bc")
        );
    }

    #[test]
    fn labels_part_keys() {
        let one = derive(&[1; 32], b"salt", "one").unwrap();
        assert_eq!(*one, *derive(&[1; 32], b"salt", "one").unwrap());
        assert_ne!(*one, *derive(&[1; 32], b"salt", "two").unwrap());
        assert_ne!(*one, *derive(&[1; 32], b"tlas", "one").unwrap());
        assert_ne!(*one, *derive(&[2; 32], b"salt", "one").unwrap());
    }
}
