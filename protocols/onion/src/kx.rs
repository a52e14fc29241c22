//! The key exchange of origin and exit: X25519 and ML-KEM-768 together, tied to
//! the circuit, and what is derived from it. When the new keys begin to be used
//! is for the caller to agree by flags of its cells.

use std::fmt;

use ml_kem::{Decapsulate, DecapsulationKey, Encapsulate, EncapsulationKey, KeyExport, MlKem768};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::error::KxError;
use crate::keys::{Prk, label};

const X25519_LEN: usize = 32;
/// An ML-KEM-768 encapsulation key (FIPS 203, table 3).
const KEM_KEY_LEN: usize = 1184;
/// An ML-KEM-768 ciphertext (FIPS 203, table 3).
const KEM_TEXT_LEN: usize = 1088;
const KEM_SEED_LEN: usize = 64;

/// Length of the origin's share: X25519 key 32 ‖ ML-KEM-768 key 1184.
pub const ORIGIN_SHARE_LEN: usize = X25519_LEN + KEM_KEY_LEN;
/// Length of the exit's share: X25519 key 32 ‖ ML-KEM-768 ciphertext 1088.
pub const EXIT_SHARE_LEN: usize = X25519_LEN + KEM_TEXT_LEN;

/// What ties a key exchange to one circuit: a key that only the origin and the
/// holder of the exit's onion key can know. It authenticates the exit.
#[derive(Clone, ZeroizeOnDrop)]
pub struct KxBinding([u8; 32]);

impl KxBinding {
    pub(crate) fn new(exit: &Prk) -> Self {
        Self(*exit.expand(label::KX_BINDING))
    }
}

/// The origin's half, between sending its share and getting the reply.
pub struct OriginKx {
    binding: KxBinding,
    secret: StaticSecret,
    kem: DecapsulationKey<MlKem768>,
    share: Vec<u8>,
}

impl OriginKx {
    /// Draws an X25519 secret (32 bytes) and an ML-KEM seed (64 bytes, d ‖ z)
    /// from `rng`; returns the share to send, [`ORIGIN_SHARE_LEN`] bytes.
    pub fn generate<R: CryptoRng + ?Sized>(binding: &KxBinding, rng: &mut R) -> (Self, Vec<u8>) {
        let secret = StaticSecret::random_from_rng(rng);
        let mut seed = Zeroizing::new([0; KEM_SEED_LEN]);
        rng.fill_bytes(seed.as_mut());
        let kem = DecapsulationKey::<MlKem768>::from_seed((*seed).into());
        let mut share = Vec::with_capacity(ORIGIN_SHARE_LEN);
        share.extend_from_slice(PublicKey::from(&secret).as_bytes());
        share.extend_from_slice(&kem.encapsulation_key().to_bytes());
        (
            Self {
                binding: binding.clone(),
                secret,
                kem,
                share: share.clone(),
            },
            share,
        )
    }

    /// Combines with the exit's reply. A reply that was changed but has the
    /// right form gives a secret that the exit does not have: the first cell
    /// under it will not open.
    ///
    /// # Errors
    /// [`KxError`]: the exit is at fault.
    pub fn finish(self, reply: &[u8]) -> Result<SessionSecret, KxError> {
        let (public, text) = reply
            .split_first_chunk::<X25519_LEN>()
            .filter(|(_, text)| text.len() == KEM_TEXT_LEN)
            .ok_or(KxError::Length(reply.len()))?;
        let shared = self.secret.diffie_hellman(&PublicKey::from(*public));
        if !shared.was_contributory() {
            return Err(KxError::BadKey);
        }
        let kem = Zeroizing::new(<[u8; 32]>::from(
            self.kem
                .decapsulate_slice(text)
                .map_err(|_| KxError::Length(reply.len()))?,
        ));
        Ok(SessionSecret::new(
            &self.binding,
            shared.as_bytes(),
            &kem,
            &self.share,
            reply,
        ))
    }
}

/// The exit's half: combines with the origin's share and returns the reply,
/// [`EXIT_SHARE_LEN`] bytes. Draws an X25519 secret (32 bytes) and a message for
/// ML-KEM (32 bytes) from `rng`.
///
/// # Errors
/// [`KxError`]: the origin is at fault.
pub fn respond<R: CryptoRng + ?Sized>(
    binding: &KxBinding,
    share: &[u8],
    rng: &mut R,
) -> Result<(SessionSecret, Vec<u8>), KxError> {
    let (public, key) = share
        .split_first_chunk::<X25519_LEN>()
        .filter(|(_, key)| key.len() == KEM_KEY_LEN)
        .ok_or(KxError::Length(share.len()))?;
    let key = key.try_into().map_err(|_| KxError::Length(share.len()))?;
    let key = EncapsulationKey::<MlKem768>::new(&key).map_err(|_| KxError::BadKey)?;
    let secret = StaticSecret::random_from_rng(rng);
    let shared = secret.diffie_hellman(&PublicKey::from(*public));
    if !shared.was_contributory() {
        return Err(KxError::BadKey);
    }
    let (text, kem) = key.encapsulate_with_rng(rng);
    let kem = Zeroizing::new(<[u8; 32]>::from(kem));
    let mut reply = Vec::with_capacity(EXIT_SHARE_LEN);
    reply.extend_from_slice(PublicKey::from(&secret).as_bytes());
    reply.extend_from_slice(&text);
    let session = SessionSecret::new(binding, shared.as_bytes(), &kem, share, &reply);
    Ok((session, reply))
}

/// What origin and exit share after the exchange. Wiped on drop.
pub struct SessionSecret(Prk);

impl SessionSecret {
    /// The transcript goes in as a hash, so that both ends have seen the same shares.
    fn new(
        binding: &KxBinding,
        x25519: &[u8; 32],
        kem: &[u8; 32],
        share: &[u8],
        reply: &[u8],
    ) -> Self {
        let transcript = Sha256::new()
            .chain_update(share)
            .chain_update(reply)
            .finalize();
        Self(Prk::extract(
            "session",
            &[x25519, kem, &binding.0, &transcript],
        ))
    }

    /// The secret by which the two prove on a later circuit that they go on
    /// with the same session. Tells nothing about the keys of cells.
    #[must_use]
    pub fn resume_secret(&self) -> [u8; 32] {
        *self.0.expand(label::RESUME)
    }

    /// The key of cells in one direction, after `rekeyed` earlier ones.
    pub(crate) fn expand(&self, label: &str, rekeyed: u32) -> Zeroizing<[u8; 32]> {
        self.0.expand_with(label, &rekeyed.to_be_bytes())
    }
}

impl fmt::Debug for KxBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KxBinding(..)")
    }
}

impl fmt::Debug for OriginKx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OriginKx(..)")
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn binding(byte: u8) -> KxBinding {
        KxBinding([byte; 32])
    }

    #[test]
    fn both_ends_share_a_secret_and_only_on_one_circuit() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let (origin, share) = OriginKx::generate(&binding(1), &mut rng);
        assert_eq!(share.len(), ORIGIN_SHARE_LEN);
        let (there, reply) = respond(&binding(1), &share, &mut rng).unwrap();
        assert_eq!(reply.len(), EXIT_SHARE_LEN);
        let here = origin.finish(&reply).unwrap();
        assert_eq!(here.resume_secret(), there.resume_secret());

        let (origin, share) = OriginKx::generate(&binding(1), &mut rng);
        let (there, reply) = respond(&binding(2), &share, &mut rng).unwrap();
        assert_ne!(
            origin.finish(&reply).unwrap().resume_secret(),
            there.resume_secret()
        );
    }

    #[test]
    fn a_changed_share_or_reply_never_gives_the_same_secret() {
        for at in [0, 31, 32, 700, 1000] {
            let mut rng = ChaCha20Rng::from_seed([at as u8; 32]);
            let (origin, mut share) = OriginKx::generate(&binding(1), &mut rng);
            share[at] ^= 1;
            if let Ok((there, reply)) = respond(&binding(1), &share, &mut rng) {
                assert_ne!(
                    origin.finish(&reply).unwrap().resume_secret(),
                    there.resume_secret()
                );
            }
            let (origin, share) = OriginKx::generate(&binding(1), &mut rng);
            let (there, mut reply) = respond(&binding(1), &share, &mut rng).unwrap();
            reply[at] ^= 1;
            assert_ne!(
                origin.finish(&reply).unwrap().resume_secret(),
                there.resume_secret()
            );
        }
    }

    #[test]
    fn bad_shares_and_replies_are_refused() {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let (origin, share) = OriginKx::generate(&binding(1), &mut rng);
        for len in [0, 31, 32, ORIGIN_SHARE_LEN - 1] {
            let short = respond(&binding(1), &share[..len], &mut rng).unwrap_err();
            assert_eq!(short, KxError::Length(len));
        }
        let mut zero = share.clone();
        zero[..32].fill(0);
        assert_eq!(
            respond(&binding(1), &zero, &mut rng).unwrap_err(),
            KxError::BadKey
        );
        // Coefficients above the modulus.
        let mut wild = share.clone();
        wild[32..].fill(0xff);
        assert_eq!(
            respond(&binding(1), &wild, &mut rng).unwrap_err(),
            KxError::BadKey
        );

        let (_, reply) = respond(&binding(1), &share, &mut rng).unwrap();
        assert_eq!(
            origin.finish(&reply[1..]).unwrap_err(),
            KxError::Length(EXIT_SHARE_LEN - 1)
        );
        let (origin, _) = OriginKx::generate(&binding(1), &mut rng);
        let mut zero = reply;
        zero[..32].fill(0);
        assert_eq!(origin.finish(&zero).unwrap_err(), KxError::BadKey);
    }
}
