//! Introduction cards, and the sealed addresses that answer them. A card names
//! a node without saying where it is; an address travels only sealed to one
//! node's card. How cards walk is in `state::intro`.
//! Byte layouts: `docs/spec/gossip.md`, "Card" and "Sealed address".

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hkdf::Hkdf;
use libp2p::identity::ed25519;
use rand_core::CryptoRng;
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::address::{Address, Host};
use crate::chain::Chain;
use crate::codec::Reader;
use crate::config::MAX_ADVERTISED;
use crate::key::NodeKey;
use crate::record::SIGNATURE_LEN;
use crate::scope;

/// How far ahead a card may expire, in seconds. Guess: far above a walk, far below a day.
pub(crate) const MAX_CARD_LIFE: u64 = 180;
/// Length of a sealed address: ephemeral key, padded list, tag. Always the same.
pub(crate) const SEALED_LEN: usize = 32 + PLAIN_LEN + 16;

const CARD_DOMAIN: &[u8] = b"masq-gossip/1 card\0";
const SEAL_DOMAIN: &[u8] = b"masq-gossip/1 sealed address\0";
/// One count byte and three addresses of 19 bytes, padded.
const PLAIN_LEN: usize = 64;

/// Names one walk, and the introduction that comes of it. Drawn at random.
pub(crate) type WalkId = [u8; 16];

/// What a node shows of itself to strangers when it looks for a neighbour or offers to be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Card {
    pub(crate) chain: Chain,
    pub(crate) node: NodeKey,
    /// X25519 key, made for this walk, to which an address may be sealed.
    pub(crate) seal_key: [u8; 32],
    /// Whether the node can be dialled.
    pub(crate) dialable: bool,
    /// Whether it takes entry links only (it does not route).
    pub(crate) entry_only: bool,
    /// How many neighbours it says it has.
    pub(crate) links: u8,
    /// Seconds since 1970.
    pub(crate) expires: u64,
}

impl Card {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(192);
        let chain = self.chain.name().as_bytes();
        out.push(chain.len() as u8);
        out.extend_from_slice(chain);
        out.extend_from_slice(&self.node.0);
        out.extend_from_slice(&self.seal_key);
        out.push(u8::from(self.dialable) + 2 * u8::from(self.entry_only));
        out.push(self.links);
        out.extend_from_slice(&self.expires.to_be_bytes());
        out
    }

    /// Signs; the card then only counts for this walk.
    pub(crate) fn sign(&self, id: &WalkId, pair: &ed25519::Keypair) -> Vec<u8> {
        self.sign_noting(id, pair, |_, _| {})
    }

    /// The same, and shows what was signed and the signature.
    pub(crate) fn sign_noting(
        &self,
        id: &WalkId,
        pair: &ed25519::Keypair,
        note: impl FnOnce(&[u8], &[u8]),
    ) -> Vec<u8> {
        let mut out = self.encode();
        let message = [CARD_DOMAIN, id, out.as_slice()].concat();
        let signature = pair.sign(&message);
        note(&message, &signature);
        out.extend_from_slice(&signature);
        out
    }

    /// Parses and verifies a card for one walk, on one chain, at one time. `None` when anything is wrong.
    #[cfg(test)]
    pub(crate) fn parse(bytes: &[u8], id: &WalkId, chain: Chain, unix: u64) -> Option<Self> {
        Self::parse_with(bytes, id, chain, unix, crate::key::is_signed)
    }

    /// The same, with the given way to verify that a node signed something.
    pub(crate) fn parse_with(
        bytes: &[u8],
        id: &WalkId,
        chain: Chain,
        unix: u64,
        signed: impl FnOnce(&NodeKey, &[u8], &[u8]) -> bool,
    ) -> Option<Self> {
        let (encoded, signature) =
            bytes.split_at_checked(bytes.len().checked_sub(SIGNATURE_LEN)?)?;
        let mut r = Reader::new(encoded);
        let card = Self {
            chain: r.text8()?.parse().ok()?,
            node: NodeKey(r.array()?),
            seal_key: r.array()?,
            dialable: false,
            entry_only: false,
            links: 0,
            expires: 0,
        };
        let flags = r.u8()?;
        let card = Self {
            dialable: flags & 1 != 0,
            entry_only: flags & 2 != 0,
            links: r.u8()?,
            expires: r.u64()?,
            ..card
        };
        let timely = card.expires > unix && card.expires - unix <= MAX_CARD_LIFE;
        if !r.is_empty() || flags > 3 || card.chain != chain || !timely {
            return None;
        }
        let message = [CARD_DOMAIN, id, encoded].concat();
        signed(&card.node, &message, signature).then_some(card)
    }
}

/// The node that bytes claim to be a card of, unverified.
pub(crate) fn peek_node(bytes: &[u8]) -> Option<NodeKey> {
    let mut reader = Reader::new(bytes);
    reader.text8()?;
    reader.array().map(NodeKey)
}

/// The secret half of a card's seal key; wiped when dropped.
#[derive(Clone)]
pub(crate) struct SealSecret(StaticSecret);

impl SealSecret {
    pub(crate) fn new(rng: &mut impl CryptoRng) -> Self {
        Self(StaticSecret::random_from_rng(rng))
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        PublicKey::from(&self.0).to_bytes()
    }

    /// Opens what was sealed to this card in this walk.
    pub(crate) fn open(&self, id: &WalkId, to: &NodeKey, sealed: &[u8]) -> Option<Vec<Address>> {
        if sealed.len() != SEALED_LEN {
            return None;
        }
        let (theirs, body) = sealed.split_first_chunk::<32>()?;
        let shared = self.0.diffie_hellman(&PublicKey::from(*theirs));
        if !shared.was_contributory() {
            return None;
        }
        let cipher = cipher(shared.as_bytes(), theirs, &self.public(), id, to);
        let plain = cipher
            .decrypt(
                &Nonce::default(),
                Payload {
                    msg: body,
                    aad: SEAL_DOMAIN,
                },
            )
            .ok()?;
        read_addresses(&plain)
    }
}

/// Seals addresses to the card of `to`. Only the first [`MAX_ADVERTISED`] literal addresses travel.
pub(crate) fn seal(
    addresses: &[Address],
    card: &Card,
    id: &WalkId,
    rng: &mut impl CryptoRng,
) -> Option<Vec<u8>> {
    let secret = SealSecret::new(rng);
    let theirs = PublicKey::from(card.seal_key);
    let shared = secret.0.diffie_hellman(&theirs);
    if !shared.was_contributory() {
        return None;
    }
    let ours = secret.public();
    let cipher = cipher(shared.as_bytes(), &ours, &card.seal_key, id, &card.node);
    let plain = write_addresses(addresses);
    // The key is used once, so the nonce may be constant.
    let body = cipher
        .encrypt(
            &Nonce::default(),
            Payload {
                msg: &plain,
                aad: SEAL_DOMAIN,
            },
        )
        .ok()?;
    Some([ours.as_slice(), &body].concat())
}

fn cipher(
    shared: &[u8; 32],
    ephemeral: &[u8; 32],
    card: &[u8; 32],
    id: &WalkId,
    to: &NodeKey,
) -> Aes256Gcm {
    let info = [SEAL_DOMAIN, ephemeral, card, id, &to.0].concat();
    let mut key = Zeroizing::new([0u8; 32]);
    Hkdf::<Sha256>::new(None, shared)
        .expand(&info, key.as_mut())
        .expect("32 bytes can be derived");
    Aes256Gcm::new_from_slice(key.as_ref()).expect("the key has 32 bytes")
}

fn write_addresses(addresses: &[Address]) -> [u8; PLAIN_LEN] {
    let literal = addresses
        .iter()
        .filter_map(|address| Some((address.ip()?, address.port)));
    let mut body = Vec::with_capacity(PLAIN_LEN);
    let mut count = 0u8;
    for (ip, port) in literal.take(MAX_ADVERTISED) {
        count += 1;
        match ip {
            IpAddr::V4(ip) => {
                body.push(4);
                body.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                body.push(6);
                body.extend_from_slice(&ip.octets());
            }
        }
        body.extend_from_slice(&port.to_be_bytes());
    }
    let mut plain = [0u8; PLAIN_LEN];
    plain[0] = count;
    plain[1..=body.len()].copy_from_slice(&body);
    plain
}

/// What nobody may be made to dial is left out; `None` when nothing is left.
fn read_addresses(plain: &[u8]) -> Option<Vec<Address>> {
    let mut r = Reader::new(plain);
    let count = usize::from(r.u8()?);
    if count == 0 || count > MAX_ADVERTISED {
        return None;
    }
    let mut addresses = Vec::with_capacity(count);
    for _ in 0..count {
        let ip: IpAddr = match r.u8()? {
            4 => Ipv4Addr::from(r.array::<4>()?).into(),
            6 => Ipv6Addr::from(r.array::<16>()?).into(),
            _ => return None,
        };
        let port = r.u16().filter(|port| *port != 0)?;
        addresses.push(Address {
            host: Host::Ip(ip),
            port,
        });
    }
    addresses.retain(scope::ever_dialable);
    (!addresses.is_empty()).then_some(addresses)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn pair() -> ed25519::Keypair {
        ed25519::SecretKey::try_from_bytes([1u8; 32])
            .unwrap()
            .into()
    }

    fn card(secret: &SealSecret) -> Card {
        Card {
            chain: Chain::Dev,
            node: NodeKey::from(&pair().public()),
            seal_key: secret.public(),
            dialable: true,
            entry_only: false,
            links: 3,
            expires: 1060,
        }
    }

    #[test]
    fn cards_count_for_one_walk_chain_and_time() {
        let secret = SealSecret::new(&mut ChaCha20Rng::from_seed([1; 32]));
        let card = card(&secret);
        let bytes = card.sign(&[9; 16], &pair());
        assert_eq!(Card::parse(&bytes, &[9; 16], Chain::Dev, 1000), Some(card));
        assert_eq!(Card::parse(&bytes, &[8; 16], Chain::Dev, 1000), None);
        assert_eq!(
            Card::parse(&bytes, &[9; 16], Chain::BaseMainnet, 1000),
            None
        );
        assert_eq!(Card::parse(&bytes, &[9; 16], Chain::Dev, 1060), None);
        assert_eq!(Card::parse(&bytes, &[9; 16], Chain::Dev, 800), None);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(
                Card::parse(&bad, &[9; 16], Chain::Dev, 1000),
                None,
                "byte {at}"
            );
        }
    }

    #[test]
    fn sealed_addresses_open_for_one_node_in_one_walk() {
        let mut rng = ChaCha20Rng::from_seed([2; 32]);
        let secret = SealSecret::new(&mut rng);
        let card = card(&secret);
        let addresses: Vec<Address> = ["10.1.2.3:4000", "[2001:db8::5]:443"]
            .map(|a| a.parse::<std::net::SocketAddr>().unwrap().into())
            .to_vec();
        let sealed = seal(&addresses, &card, &[9; 16], &mut rng).unwrap();
        assert_eq!(sealed.len(), SEALED_LEN);
        assert_eq!(secret.open(&[9; 16], &card.node, &sealed), Some(addresses));
        assert_eq!(secret.open(&[8; 16], &card.node, &sealed), None);
        let other = SealSecret::new(&mut rng);
        assert_eq!(other.open(&[9; 16], &card.node, &sealed), None);
        let mut low = card.clone();
        low.seal_key = [0; 32];
        assert_eq!(seal(&[], &low, &[9; 16], &mut rng), None);
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Card::parse(&bytes, &[0; 16], Chain::Dev, 0);
            let _ = read_addresses(&bytes);
        }
    }
}
