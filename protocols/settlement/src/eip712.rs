//! EIP-712: the domain, hashing of structs, and signatures in one canonical form.
//!
//! Only static types are hashed here, so a struct is its type's hash and one word per field.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Signature, U256, keccak256};

/// Bytes of a signature: r, s, recovery id.
pub const SIGNATURE_LEN: usize = 65;

/// Name in the EIP-712 domain.
pub const DOMAIN_NAME: &str = "MASQ settlement";
/// Version in the EIP-712 domain.
pub const DOMAIN_VERSION: &str = "1";

const DOMAIN_TYPE: &str =
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";

/// Half of the order of secp256k1, rounded down: `s` is never above it.
const HALF_ORDER: U256 = U256::from_be_bytes([
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0x5d, 0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
]);
/// The order of secp256k1.
const ORDER: U256 = U256::from_be_bytes([
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
    0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
]);

/// A signature could not be made. Nothing was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The wallet is locked or gone.
    #[error("the wallet does not sign at present")]
    Unavailable,
    /// The signer returned something that is no signature: a fault of the signer.
    #[error("the signer returned what is no signature")]
    Malformed,
}

/// Something that holds a wallet's key. About 60 µs a signature; called without blocking.
pub trait Signer: Send + Sync {
    /// The wallet.
    fn address(&self) -> Address;

    /// Signs a hash as it is: `r ‖ s ‖ v`, `v` being 0, 1, 27 or 28.
    ///
    /// # Errors
    /// [`SignError`]; then nothing was signed.
    fn sign_hash(&self, hash: &B256) -> Result<[u8; SIGNATURE_LEN], SignError>;
}

impl<S: Signer + ?Sized> Signer for Arc<S> {
    fn address(&self) -> Address {
        (**self).address()
    }

    fn sign_hash(&self, hash: &B256) -> Result<[u8; SIGNATURE_LEN], SignError> {
        (**self).sign_hash(hash)
    }
}

/// Where signatures of this protocol hold: one token on one chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domain {
    /// EIP-155 chain id.
    pub chain: u64,
    /// Address of the token.
    pub token: Address,
    separator: B256,
}

impl Domain {
    /// The domain of a token.
    pub fn new(chain: u64, token: Address) -> Self {
        let separator = hash_struct(
            DOMAIN_TYPE,
            &[
                keccak256(DOMAIN_NAME),
                keccak256(DOMAIN_VERSION),
                word(chain),
                token.into_word(),
            ],
        );
        Self {
            chain,
            token,
            separator,
        }
    }

    /// The domain separator.
    pub fn separator(&self) -> B256 {
        self.separator
    }

    /// The hash that is signed for a struct with this hash.
    pub(crate) fn digest(&self, struct_hash: B256) -> B256 {
        let mut bytes = [0; 66];
        bytes[..2].copy_from_slice(&[0x19, 0x01]);
        bytes[2..34].copy_from_slice(self.separator.as_slice());
        bytes[34..].copy_from_slice(struct_hash.as_slice());
        keccak256(bytes)
    }
}

/// A number as a word.
pub(crate) fn word(number: impl Into<u128>) -> B256 {
    U256::from(number.into()).into()
}

/// The hash of a struct, given its type and its fields as words.
pub(crate) fn hash_struct(type_string: &str, fields: &[B256]) -> B256 {
    let mut bytes = Vec::with_capacity(32 * (fields.len() + 1));
    bytes.extend_from_slice(keccak256(type_string).as_slice());
    for field in fields {
        bytes.extend_from_slice(field.as_slice());
    }
    keccak256(bytes)
}

/// A signature in canonical form: `s` in the lower half, recovery id 0 or 1.
///
/// So each signature has one encoding, and nobody can make another one out of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CanonicalSignature([u8; SIGNATURE_LEN]);

impl CanonicalSignature {
    /// Has `signer` sign, and normalises what it returns.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign(signer: &dyn Signer, digest: &B256) -> Result<Self, SignError> {
        let raw = signer.sign_hash(digest)?;
        let (r, s, parity) = split(&raw);
        let parity = match parity {
            0 | 27 => false,
            1 | 28 => true,
            _ => return Err(SignError::Malformed),
        };
        if !in_range(r) || !in_range(s) {
            return Err(SignError::Malformed);
        }
        let (s, parity) = if s > HALF_ORDER {
            (ORDER - s, !parity)
        } else {
            (s, parity)
        };
        let mut bytes = raw;
        bytes[32..64].copy_from_slice(&s.to_be_bytes::<32>());
        bytes[64] = parity.into();
        Ok(Self(bytes))
    }

    /// Takes bytes that arrived; `None` unless they are in canonical form.
    pub fn from_bytes(bytes: [u8; SIGNATURE_LEN]) -> Option<Self> {
        let (r, s, parity) = split(&bytes);
        (in_range(r) && in_range(s) && s <= HALF_ORDER && parity <= 1).then_some(Self(bytes))
    }

    /// `r ‖ s ‖ recovery id`.
    pub fn as_bytes(&self) -> &[u8; SIGNATURE_LEN] {
        &self.0
    }

    /// Whose signature over `digest` this is; `None` if it is nobody's. About 160 µs.
    pub fn recover(&self, digest: &B256) -> Option<Address> {
        let (r, s, parity) = split(&self.0);
        Signature::new(r, s, parity == 1)
            .recover_address_from_prehash(digest)
            .ok()
    }
}

impl std::fmt::Debug for CanonicalSignature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CanonicalSignature(..)")
    }
}

fn split(bytes: &[u8; SIGNATURE_LEN]) -> (U256, U256, u8) {
    let (r, rest) = bytes.split_at(32);
    let (s, parity) = rest.split_at(32);
    (
        U256::from_be_slice(r),
        U256::from_be_slice(s),
        parity.first().copied().unwrap_or(u8::MAX),
    )
}

fn in_range(scalar: U256) -> bool {
    scalar > U256::ZERO && scalar < ORDER
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Wallet;

    #[test]
    fn other_forms_of_a_signature_are_normalised_when_made_and_refused_when_read() {
        struct Odd(Wallet);
        impl Signer for Odd {
            fn address(&self) -> Address {
                self.0.address()
            }
            fn sign_hash(&self, hash: &B256) -> Result<[u8; SIGNATURE_LEN], SignError> {
                let mut raw = self.0.sign_hash(hash)?;
                let (_, s, parity) = split(&raw);
                raw[32..64].copy_from_slice(&(ORDER - s).to_be_bytes::<32>());
                raw[64] = 27 + (1 - parity % 27);
                Ok(raw)
            }
        }
        let digest = keccak256("something");
        let plain = CanonicalSignature::sign(&Wallet::new(1), &digest).unwrap();
        let odd = Odd(Wallet::new(1));
        assert_eq!(CanonicalSignature::sign(&odd, &digest), Ok(plain));
        assert_eq!(plain.recover(&digest), Some(odd.address()));
        let raw = odd.sign_hash(&digest).unwrap();
        assert_eq!(CanonicalSignature::from_bytes(raw), None);
        let mut v27 = *plain.as_bytes();
        v27[64] += 27;
        assert_eq!(CanonicalSignature::from_bytes(v27), None);
        assert_eq!(CanonicalSignature::from_bytes([0; SIGNATURE_LEN]), None);
        assert_eq!(CanonicalSignature::from_bytes([0xff; SIGNATURE_LEN]), None);
    }

    #[test]
    fn a_broken_signer_is_said_to_be_one() {
        struct Broken;
        impl Signer for Broken {
            fn address(&self) -> Address {
                Address::ZERO
            }
            fn sign_hash(&self, _: &B256) -> Result<[u8; SIGNATURE_LEN], SignError> {
                Ok([0xff; SIGNATURE_LEN])
            }
        }
        let made = CanonicalSignature::sign(&Broken, &B256::ZERO);
        assert_eq!(made, Err(SignError::Malformed));
    }
}
