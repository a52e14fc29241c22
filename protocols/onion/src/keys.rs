//! Names and keys of hops, the shared secret of an origin and a hop, and the
//! labels under which every other key is derived from it. Key schedules of AES
//! are in `aead`.

use std::fmt;

use hkdf::{Hkdf, HkdfExtract};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// In front of every label, so that no key of CORES is ever one of another protocol.
const PROTOCOL: &[u8] = b"masq/cores/1/";

/// Labels of HKDF-Expand: one per use and direction. See the specification,
/// "Set-up package", for the table.
pub(crate) mod label {
    pub(crate) const HEADER: &str = "header";
    pub(crate) const HEADER_TAG: &str = "header-tag";
    pub(crate) const PACKAGE_ID: &str = "package-id";
    pub(crate) const COOKIE: &str = "cookie";
    pub(crate) const OVER: &str = "over";
    pub(crate) const OVER_FILLER: &str = "over-filler";
    pub(crate) const BACK: &str = "back";
    pub(crate) const BACK_LAYER: &str = "back-layer";
    pub(crate) const REPORT_TO_HOP: &str = "report-to-hop";
    pub(crate) const REPORT_FROM_HOP: &str = "report-from-hop";
    pub(crate) const REPORT_LAYER: &str = "report-layer";
    pub(crate) const FAILURE: &str = "failure";
    pub(crate) const FAILURE_LAYER: &str = "failure-layer";
    pub(crate) const KX_BINDING: &str = "kx-binding";
    pub(crate) const SESSION_OVER: &str = "session-over";
    pub(crate) const SESSION_BACK: &str = "session-back";
    pub(crate) const RESUME: &str = "resume";
}

/// A node's name: the 32 bytes of its Ed25519 public key. Only bytes here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeKey(pub [u8; 32]);

/// The public half of an onion key (X25519), as a record publishes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OnionPublic(pub [u8; 32]);

fn short(f: &mut fmt::Formatter<'_>, name: &str, bytes: &[u8; 32]) -> fmt::Result {
    write!(
        f,
        "{name}({:02x}{:02x}{:02x}{:02x}…)",
        bytes[0], bytes[1], bytes[2], bytes[3]
    )
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        short(f, "NodeKey", &self.0)
    }
}

impl fmt::Debug for OnionPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        short(f, "OnionPublic", &self.0)
    }
}

impl OnionPublic {
    /// The byte by which a package says for which of a hop's onion keys it was
    /// made: the first of SHA-256("masq/cores/1/selector" ‖ key). A hint only;
    /// two keys of a hop share it once in 256 times and then both are tried.
    #[must_use]
    pub fn selector(&self) -> u8 {
        let mut hash = Sha256::new();
        hash.update(PROTOCOL);
        hash.update(b"selector");
        hash.update(self.0);
        hash.finalize()[0]
    }
}

/// The secret half of an onion key. Wiped on drop, never written anywhere.
#[derive(ZeroizeOnDrop)]
pub struct OnionSecret {
    secret: StaticSecret,
    #[zeroize(skip)]
    public: OnionPublic,
    #[zeroize(skip)]
    selector: u8,
}

impl OnionSecret {
    /// A new key from `rng` (32 bytes are drawn).
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let secret = StaticSecret::random_from_rng(rng);
        let public = OnionPublic(PublicKey::from(&secret).to_bytes());
        let selector = public.selector();
        Self {
            secret,
            public,
            selector,
        }
    }

    /// What to publish.
    #[must_use]
    pub fn public(&self) -> OnionPublic {
        self.public
    }

    pub(crate) fn selector(&self) -> u8 {
        self.selector
    }

    /// The secret shared with whoever holds the ephemeral secret of `ephemeral`;
    /// `None` when that key has small order.
    pub(crate) fn agree(&self, ephemeral: &[u8; 32]) -> Option<Prk> {
        let shared = self.secret.diffie_hellman(&PublicKey::from(*ephemeral));
        shared
            .was_contributory()
            .then(|| Prk::of_hop(shared.as_bytes(), ephemeral, &self.public))
    }
}

impl fmt::Debug for OnionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnionSecret(..)")
    }
}

/// The origin's ephemeral key for one hop of one circuit.
pub(crate) struct Ephemeral {
    secret: StaticSecret,
    pub(crate) public: [u8; 32],
}

impl Ephemeral {
    pub(crate) fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let secret = StaticSecret::random_from_rng(rng);
        let public = PublicKey::from(&secret).to_bytes();
        Self { secret, public }
    }

    /// The same secret as [`OnionSecret::agree`], from the other side.
    pub(crate) fn agree(&self, onion: &OnionPublic) -> Option<Prk> {
        let shared = self.secret.diffie_hellman(&PublicKey::from(onion.0));
        shared
            .was_contributory()
            .then(|| Prk::of_hop(shared.as_bytes(), &self.public, onion))
    }
}

/// The pseudo-random key of HKDF from which the keys of one pair are expanded.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Prk([u8; 32]);

impl Prk {
    /// HKDF-Extract with the protocol's prefix and `salt` as salt.
    pub(crate) fn extract(salt: &str, input: &[&[u8]]) -> Self {
        let salt = [PROTOCOL, salt.as_bytes()].concat();
        let mut extract = HkdfExtract::<Sha256>::new(Some(&salt));
        for part in input {
            extract.input_ikm(part);
        }
        let (mut output, _) = extract.finalize();
        let mut prk = [0; 32];
        prk.copy_from_slice(&output);
        output.as_mut_slice().zeroize();
        Self(prk)
    }

    /// Both public keys go in beside the shared secret, so that the many
    /// encodings of one X25519 point give different keys.
    fn of_hop(shared: &[u8; 32], ephemeral: &[u8; 32], onion: &OnionPublic) -> Self {
        Self::extract("setup", &[shared, ephemeral, &onion.0])
    }

    /// HKDF-Expand with the protocol's prefix and `label` as info.
    pub(crate) fn expand<const N: usize>(&self, label: &str) -> Zeroizing<[u8; N]> {
        self.expand_with(label, &[])
    }

    /// As [`Self::expand`], with `context` appended to the info.
    pub(crate) fn expand_with<const N: usize>(
        &self,
        label: &str,
        context: &[u8],
    ) -> Zeroizing<[u8; N]> {
        let hkdf = Hkdf::<Sha256>::from_prk(&self.0).expect("32 bytes are a key of SHA-256");
        let mut out = Zeroizing::new([0; N]);
        hkdf.expand_multi_info(&[PROTOCOL, label.as_bytes(), context], out.as_mut())
            .expect("never more than one block of SHA-256 is asked for");
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    /// Points of small order on Curve25519 and its twist, and two of their other encodings.
    const SMALL_ORDER: [[u8; 32]; 4] = {
        let zero = [0; 32];
        let mut one = [0; 32];
        one[0] = 1;
        let mut zero_high = [0; 32];
        zero_high[31] = 0x80;
        // p itself, which is zero again.
        let mut p = [0xff; 32];
        p[0] = 0xed;
        p[31] = 0x7f;
        [zero, one, zero_high, p]
    };

    #[test]
    fn both_sides_agree_and_labels_differ() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let onion = OnionSecret::generate(&mut rng);
        let ephemeral = Ephemeral::generate(&mut rng);
        let here = onion.agree(&ephemeral.public).unwrap();
        let there = ephemeral.agree(&onion.public()).unwrap();
        assert_eq!(here.0, there.0);
        assert_ne!(
            *here.expand::<32>(label::OVER),
            *here.expand::<32>(label::BACK)
        );
        assert_ne!(
            *here.expand_with::<32>(label::SESSION_OVER, &[0]),
            *here.expand_with::<32>(label::SESSION_OVER, &[1])
        );
    }

    #[test]
    fn small_order_is_refused() {
        let mut rng = ChaCha20Rng::from_seed([2; 32]);
        let onion = OnionSecret::generate(&mut rng);
        let ephemeral = Ephemeral::generate(&mut rng);
        for point in SMALL_ORDER {
            assert!(onion.agree(&point).is_none());
            assert!(ephemeral.agree(&OnionPublic(point)).is_none());
        }
    }

    #[test]
    fn another_encoding_of_a_point_gives_another_key() {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let onion = OnionSecret::generate(&mut rng);
        let ephemeral = Ephemeral::generate(&mut rng);
        // The top bit is ignored by X25519: the point is the same.
        let mut other = ephemeral.public;
        other[31] ^= 0x80;
        let (a, b) = (
            onion.agree(&ephemeral.public).unwrap(),
            onion.agree(&other).unwrap(),
        );
        assert_ne!(a.0, b.0);
    }

    #[test]
    fn debug_shows_no_secret_and_short_names() {
        let mut rng = ChaCha20Rng::from_seed([4; 32]);
        assert_eq!(
            format!("{:?}", OnionSecret::generate(&mut rng)),
            "OnionSecret(..)"
        );
        assert_eq!(format!("{:?}", NodeKey([0xab; 32])), "NodeKey(abababab…)");
    }

    /// The values of "kdf." in the golden vectors: secrets [1; 32] and [2; 32].
    #[test]
    fn golden_kdf() {
        let golden = include_str!("../tests/vectors/kdf.txt");
        let onion_secret = StaticSecret::from([1; 32]);
        let onion = OnionPublic(PublicKey::from(&onion_secret).to_bytes());
        let secret = StaticSecret::from([2; 32]);
        let public = PublicKey::from(&secret).to_bytes();
        let prk = Ephemeral { secret, public }.agree(&onion).unwrap();
        let shared = onion_secret.diffie_hellman(&PublicKey::from(public));
        let mut lines = vec![
            format!("kdf.onion-public = {}", hex::encode(onion.0)),
            format!("kdf.selector = {:02x}", onion.selector()),
            format!("kdf.ephemeral-public = {}", hex::encode(public)),
            format!("kdf.x25519 = {}", hex::encode(shared.as_bytes())),
            format!("kdf.prk = {}", hex::encode(prk.0)),
            format!(
                "kdf.package-id = {}",
                hex::encode(*prk.expand::<16>(label::PACKAGE_ID))
            ),
        ];
        for name in [
            label::HEADER,
            label::HEADER_TAG,
            label::COOKIE,
            label::OVER,
            label::OVER_FILLER,
            label::BACK,
            label::BACK_LAYER,
            label::REPORT_TO_HOP,
            label::REPORT_FROM_HOP,
            label::REPORT_LAYER,
            label::FAILURE,
            label::FAILURE_LAYER,
            label::KX_BINDING,
        ] {
            lines.push(format!(
                "kdf.{name} = {}",
                hex::encode(*prk.expand::<32>(name))
            ));
        }
        let expected: Vec<&str> = golden.lines().filter(|l| l.starts_with("kdf.")).collect();
        assert_eq!(expected, lines, "computed:\n{}", lines.join("\n"));
    }
}
