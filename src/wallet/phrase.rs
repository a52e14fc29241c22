//! Recovery phrases (BIP-39) and the wallets that come from one (BIP-32,
//! BIP-44).
//!
//! The words are those of the `bip39` crate. The derivation is written here, on
//! `k256` and `hmac`: it is one HMAC and one addition per step, and the crates
//! that do it bring a second curve implementation or leave secrets in memory.

use std::fmt;

use bip39::{Language, Mnemonic};
use hmac::{Hmac, KeyInit as _, Mac as _};
use k256::{
    NonZeroScalar, Scalar,
    ecdsa::SigningKey,
    elliptic_curve::{ff::PrimeField as _, sec1::ToEncodedPoint as _},
};
use sha2::Sha512;
use zeroize::Zeroizing;

use super::key::ConsumingWallet;
use crate::store::{SealError, seal};

/// Numbers of words that a phrase can have.
pub const WORD_COUNTS: [usize; 5] = [12, 15, 18, 21, 24];
/// Most bytes of randomness in a phrase.
const MAX_ENTROPY: usize = 32;
/// Bit that makes a step of a path hardened.
const HARDENED: u32 = 1 << 31;
/// `m/44'/60'/0'/0`: wallets of Ethereum and its relatives; the last step
/// follows.
const ACCOUNT: [u32; 4] = [44 | HARDENED, 60 | HARDENED, HARDENED, 0];
/// Last step of the consuming wallet: the first that any wallet program shows.
const CONSUMING: u32 = 0;
/// Last step of the earning wallet.
const EARNING: u32 = 1;

/// Why a phrase is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PhraseError {
    /// The number of words.
    #[error("a recovery phrase has 12, 15, 18, 21 or 24 words, this one has {0}")]
    Count(usize),
    /// A word that is not in the list; which one is not repeated.
    #[error(
        "word {0} is not one of the words that recovery phrases are made of. Look at its spelling; \
         only the English list is used"
    )]
    Word(usize),
    /// The last word does not fit the others.
    #[error(
        "every word exists, but together they are no recovery phrase: one is not the right one, or \
         two changed places"
    )]
    Checksum,
    /// The system has no randomness.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// There is no key at a place of the tree; one phrase in 2¹²⁷ has that.
    #[error("this phrase gives no key. Make another")]
    NoKey,
}

/// A recovery phrase. Wiped when dropped; `Debug` does not show it.
pub struct Phrase(Mnemonic);

impl Phrase {
    /// A new one, with as many words.
    ///
    /// # Errors
    ///
    /// When the number is not one of [`WORD_COUNTS`], or the system has no
    /// randomness.
    pub fn generate(words: usize) -> Result<Self, PhraseError> {
        if !WORD_COUNTS.contains(&words) {
            return Err(PhraseError::Count(words));
        }
        // Three words are 33 bits, one of which is checksum.
        let entropy = seal::random::<MAX_ENTROPY>()?;
        Mnemonic::from_entropy(&entropy[..words / 3 * 4])
            .map(Self)
            .map_err(|_| PhraseError::Count(words))
    }

    /// Reads one: English words, in any case, with any space between them.
    ///
    /// # Errors
    ///
    /// See [`PhraseError`].
    pub fn parse(text: &str) -> Result<Self, PhraseError> {
        let words: Vec<Zeroizing<String>> = text
            .split_whitespace()
            .map(|word| Zeroizing::new(word.to_lowercase()))
            .collect();
        if !WORD_COUNTS.contains(&words.len()) {
            return Err(PhraseError::Count(words.len()));
        }
        let mut joined = Zeroizing::new(String::with_capacity(text.len() * 2));
        for word in &words {
            joined.push_str(word);
            joined.push(' ');
        }
        Mnemonic::parse_in_normalized(Language::English, joined.trim_end())
            .map(Self)
            .map_err(|error| match error {
                bip39::Error::UnknownWord(at) => PhraseError::Word(at + 1),
                bip39::Error::BadWordCount(count) => PhraseError::Count(count),
                _ => PhraseError::Checksum,
            })
    }

    /// The words, parted by spaces: to be shown once, and written down.
    #[must_use]
    pub fn words(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.to_string())
    }

    /// The wallets of this phrase with this passphrase (empty for none). Every
    /// passphrase gives other wallets; there is no wrong one.
    ///
    /// # Errors
    ///
    /// When there is no key at one of the places, which does not happen.
    pub fn wallets(&self, passphrase: &str) -> Result<PhraseWallets, PhraseError> {
        let seed = Zeroizing::new(self.0.to_seed(passphrase));
        let account = Node::root(&*seed)?.descend(&ACCOUNT)?;
        Ok(PhraseWallets {
            consuming: account.child(CONSUMING)?.wallet()?,
            earning: account.child(EARNING)?.wallet()?,
        })
    }
}

impl fmt::Debug for Phrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phrase([scrubbed])")
    }
}

/// What a phrase gives.
#[derive(Debug)]
pub struct PhraseWallets {
    /// `m/44'/60'/0'/0/0`.
    pub consuming: ConsumingWallet,
    /// `m/44'/60'/0'/0/1`; a node keeps only its address.
    pub earning: ConsumingWallet,
}

/// A private node of the tree of keys.
struct Node {
    key: NonZeroScalar,
    chain: Zeroizing<[u8; 32]>,
}

impl Drop for Node {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key);
    }
}

impl Node {
    fn root(seed: &[u8]) -> Result<Self, PhraseError> {
        let (left, chain) = halves(b"Bitcoin seed", &[seed])?;
        let key = scalar(&left).ok_or(PhraseError::NoKey)?;
        let key = Option::from(NonZeroScalar::new(key)).ok_or(PhraseError::NoKey)?;
        Ok(Self { key, chain })
    }

    fn child(&self, index: u32) -> Result<Self, PhraseError> {
        let number = index.to_be_bytes();
        let (left, chain) = if index & HARDENED == 0 {
            let public = k256::PublicKey::from_secret_scalar(&self.key);
            let point = public.to_encoded_point(true);
            halves(self.chain.as_slice(), &[point.as_bytes(), &number])?
        } else {
            let secret = Zeroizing::new(<[u8; 32]>::from(self.key.to_repr()));
            halves(self.chain.as_slice(), &[&[0], secret.as_slice(), &number])?
        };
        let sum = scalar(&left).ok_or(PhraseError::NoKey)? + *self.key;
        let key = Option::from(NonZeroScalar::new(sum)).ok_or(PhraseError::NoKey)?;
        Ok(Self { key, chain })
    }

    fn descend(self, path: &[u32]) -> Result<Self, PhraseError> {
        path.iter().try_fold(self, |node, &index| node.child(index))
    }

    fn wallet(&self) -> Result<ConsumingWallet, PhraseError> {
        Ok(ConsumingWallet::of_key(SigningKey::from(self.key)))
    }
}

type Half = Zeroizing<[u8; 32]>;

/// HMAC-SHA512 in two halves.
fn halves(key: &[u8], parts: &[&[u8]]) -> Result<(Half, Half), SealError> {
    let mut mac = Hmac::<Sha512>::new_from_slice(key).map_err(|_| SealError::Length)?;
    for part in parts {
        mac.update(part);
    }
    let whole = Zeroizing::new(<[u8; 64]>::from(mac.finalize().into_bytes()));
    let (mut left, mut right) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
    left.copy_from_slice(&whole[..32]);
    right.copy_from_slice(&whole[32..]);
    Ok((left, right))
}

/// The number, if it is smaller than the order of the curve.
fn scalar(bytes: &Half) -> Option<Scalar> {
    Option::from(Scalar::from_repr((**bytes).into()))
}

#[cfg(test)]
mod tests;
