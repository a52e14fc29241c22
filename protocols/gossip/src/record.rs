//! Records: what a node says of itself, signed, in one exact byte layout.
//! How records travel and how long they are kept is in `state::spread`.
//!
//! [`Record`] is the domain type, [`SignedRecord`] is proof that the node said
//! it: the only ways to get one are to sign it and to parse and verify it.
//! **No address is ever in a record**, nor an entry link.
//! Byte layout: `docs/spec/gossip.md`, "Record".

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use libp2p::identity::ed25519;
use sha2::{Digest as _, Sha256};

use crate::chain::Chain;
use crate::codec::Reader;
use crate::key::NodeKey;

/// Most neighbours a node may list. From the design: five neighbours in all.
pub const MAX_LISTED: usize = 5;
/// Longest exit policy summary, in bytes. From the design.
pub const MAX_POLICY_LEN: usize = 256;
/// Longest life of a record, issue to expiry. From the design.
pub const MAX_RECORD_LIFE: Duration = Duration::from_secs(30 * 60);
/// How far in the future a record may have been issued: clocks differ. Guess.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(120);
/// Length of an Ed25519 signature.
pub const SIGNATURE_LEN: usize = 64;
/// Upper bound of an encoded signed record, in bytes; the largest that the layout allows is 675.
pub const MAX_RECORD_LEN: usize = 768;

const DOMAIN: &[u8] = b"masq-gossip/1 record\0";

/// What a node earns per unit, in wei of the token. All zero means "for nothing".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct RatePack {
    /// Per byte relayed.
    pub routing_byte: u64,
    /// Per package relayed.
    pub routing_package: u64,
    /// Per byte carried to or from a server.
    pub exit_byte: u64,
    /// Per package carried to or from a server.
    pub exit_package: u64,
}

/// What a node does for others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Roles {
    /// Carries circuits of others.
    pub routes: bool,
    /// Talks to servers for others.
    pub exits: bool,
    /// Can be dialled.
    pub accepts_connections: bool,
}

impl Roles {
    const ROUTES: u8 = 1;
    const EXITS: u8 = 2;
    const ACCEPTS: u8 = 4;

    fn to_bits(self) -> u8 {
        u8::from(self.routes) * Self::ROUTES
            + u8::from(self.exits) * Self::EXITS
            + u8::from(self.accepts_connections) * Self::ACCEPTS
    }

    fn from_bits(bits: u8) -> Option<Self> {
        (bits & !(Self::ROUTES | Self::EXITS | Self::ACCEPTS) == 0).then_some(Self {
            routes: bits & Self::ROUTES != 0,
            exits: bits & Self::EXITS != 0,
            accepts_connections: bits & Self::ACCEPTS != 0,
        })
    }
}

/// A node's description of itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// The chain the node is on.
    pub chain: Chain,
    /// The node.
    pub node: NodeKey,
    /// Current X25519 onion key.
    pub onion: [u8; 32],
    /// The onion key before it, while it is still valid.
    pub previous_onion: Option<[u8; 32]>,
    /// Only ever grows; two different records with one version prove a lie.
    pub version: u64,
    /// Where the node is paid; all zero for nowhere.
    pub earning_wallet: [u8; 20],
    /// Its prices.
    pub rates: RatePack,
    /// What it does for others.
    pub roles: Roles,
    /// What its exit carries, in a form that `masq` understands; at most [`MAX_POLICY_LEN`]
    /// bytes of UTF-8, empty when it is no exit.
    pub policy: String,
    /// The country it claims to be in: two ASCII capitals.
    pub country: Option<[u8; 2]>,
    /// Its listed neighbours, strictly ascending, at most [`MAX_LISTED`]. Never an entry link.
    pub neighbours: Vec<NodeKey>,
    /// When it was made, in seconds since 1970.
    pub issued: u64,
    /// When it dies, in seconds since 1970.
    pub expires: u64,
}

impl Record {
    /// Whether the node serves only those who pay: it names a wallet.
    pub fn asks_money(&self) -> bool {
        self.earning_wallet != [0; 20]
    }
}

/// Why bytes are not a record, or a record is not acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The bytes don't follow the layout, or something follows them.
    #[error("the record does not follow the layout")]
    Layout,
    /// More than [`MAX_LISTED`] neighbours. Signed, this is proof of a lie.
    #[error("the record lists more than {MAX_LISTED} neighbours")]
    OverCap,
    /// Neighbours unsorted, repeated, or the node itself among them.
    #[error("the record's neighbours are not a set of other nodes")]
    Neighbours,
    /// The signature is not the node's.
    #[error("the record's signature is wrong")]
    Signature,
    /// Lives longer than [`MAX_RECORD_LIFE`], or ends before it begins.
    #[error("the record's life is not between 0 and 30 minutes")]
    Life,
    /// Expired, or issued too far in the future.
    #[error("the record is not valid now")]
    Time,
    /// For another chain.
    #[error("the record is for another chain")]
    Chain,
}

/// A record with a signature that was checked (or made) here.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedRecord {
    record: Record,
    bytes: Arc<[u8]>,
    hash: [u8; 32],
}

impl Record {
    /// The layout without the signature.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(MAX_RECORD_LEN);
        let chain = self.chain.name().as_bytes();
        out.push(chain.len() as u8);
        out.extend_from_slice(chain);
        out.extend_from_slice(&self.node.0);
        out.extend_from_slice(&self.onion);
        out.push(u8::from(self.previous_onion.is_some()));
        if let Some(previous) = &self.previous_onion {
            out.extend_from_slice(previous);
        }
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&self.earning_wallet);
        let rates = &self.rates;
        for rate in [
            rates.routing_byte,
            rates.routing_package,
            rates.exit_byte,
            rates.exit_package,
        ] {
            out.extend_from_slice(&rate.to_be_bytes());
        }
        out.push(self.roles.to_bits());
        out.extend_from_slice(&(self.policy.len() as u16).to_be_bytes());
        out.extend_from_slice(self.policy.as_bytes());
        out.extend_from_slice(&self.country.unwrap_or_default());
        out.push(self.neighbours.len() as u8);
        for neighbour in &self.neighbours {
            out.extend_from_slice(&neighbour.0);
        }
        out.extend_from_slice(&self.issued.to_be_bytes());
        out.extend_from_slice(&self.expires.to_be_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(bytes);
        let record = Self::read(&mut reader)?;
        if reader.is_empty() {
            Ok(record)
        } else {
            Err(RecordError::Layout)
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, RecordError> {
        const SHORT: RecordError = RecordError::Layout;
        let chain = r
            .text8()
            .ok_or(SHORT)?
            .parse()
            .map_err(|_| RecordError::Chain)?;
        let node = NodeKey(r.array().ok_or(SHORT)?);
        let onion = r.array().ok_or(SHORT)?;
        let previous_onion = match r.u8().ok_or(SHORT)? {
            0 => None,
            1 => Some(r.array().ok_or(SHORT)?),
            _ => return Err(SHORT),
        };
        let version = r.u64().ok_or(SHORT)?;
        let earning_wallet = r.array().ok_or(SHORT)?;
        let rates = RatePack {
            routing_byte: r.u64().ok_or(SHORT)?,
            routing_package: r.u64().ok_or(SHORT)?,
            exit_byte: r.u64().ok_or(SHORT)?,
            exit_package: r.u64().ok_or(SHORT)?,
        };
        let roles = r.u8().and_then(Roles::from_bits).ok_or(SHORT)?;
        let policy = r
            .text16()
            .filter(|p| p.len() <= MAX_POLICY_LEN)
            .ok_or(SHORT)?
            .to_owned();
        let country = match r.array().ok_or(SHORT)? {
            [0, 0] => None,
            code if code.iter().all(u8::is_ascii_uppercase) => Some(code),
            _ => return Err(SHORT),
        };
        let count = usize::from(r.u8().ok_or(SHORT)?);
        let neighbours = r.bytes(count * 32).ok_or(SHORT)?;
        let neighbours = neighbours
            .as_chunks::<32>()
            .0
            .iter()
            .map(|key| NodeKey(*key))
            .collect();
        let (issued, expires) = (r.u64().ok_or(SHORT)?, r.u64().ok_or(SHORT)?);
        Ok(Self {
            chain,
            node,
            onion,
            previous_onion,
            version,
            earning_wallet,
            rates,
            roles,
            policy,
            country,
            neighbours,
            issued,
            expires,
        })
    }

    /// The rules that any record must keep, whoever made it and whenever it is read.
    fn check(&self) -> Result<(), RecordError> {
        if self.neighbours.len() > MAX_LISTED {
            return Err(RecordError::OverCap);
        }
        let ascending = self.neighbours.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascending || self.neighbours.contains(&self.node) {
            return Err(RecordError::Neighbours);
        }
        if self.policy.len() > MAX_POLICY_LEN {
            return Err(RecordError::Layout);
        }
        self.check_life()
    }

    fn check_life(&self) -> Result<(), RecordError> {
        match self.expires.checked_sub(self.issued) {
            Some(life) if life > 0 && life <= MAX_RECORD_LIFE.as_secs() => Ok(()),
            _ => Err(RecordError::Life),
        }
    }

    /// Signs the record.
    ///
    /// # Errors
    /// [`RecordError`] when the record breaks its own rules, or [`RecordError::Signature`]
    /// when the pair is not the one of `node`.
    pub fn sign(self, pair: &ed25519::Keypair) -> Result<SignedRecord, RecordError> {
        self.check()?;
        if NodeKey::from(&pair.public()) != self.node {
            return Err(RecordError::Signature);
        }
        let mut bytes = self.encode();
        let hash = Sha256::digest(&bytes).into();
        let signature = pair.sign(&signed_part(&bytes));
        bytes.extend_from_slice(&signature);
        Ok(SignedRecord {
            record: self,
            bytes: bytes.into(),
            hash,
        })
    }
}

fn signed_part(encoded: &[u8]) -> Vec<u8> {
    [DOMAIN, encoded].concat()
}

/// Whether what was issued and expires then is valid at `unix` seconds: clocks differ.
pub(crate) fn check_time(issued: u64, expires: u64, unix: u64) -> Result<(), RecordError> {
    let early = issued > unix.saturating_add(MAX_CLOCK_SKEW.as_secs());
    if early || expires <= unix {
        Err(RecordError::Time)
    } else {
        Ok(())
    }
}

/// What is signed, and the signature.
fn halves(bytes: &[u8]) -> Result<(&[u8], &[u8]), RecordError> {
    let split = bytes.len().checked_sub(SIGNATURE_LEN);
    split
        .filter(|_| bytes.len() <= MAX_RECORD_LEN)
        .and_then(|split| bytes.split_at_checked(split))
        .ok_or(RecordError::Layout)
}

fn check_signature(record: &Record, encoded: &[u8], signature: &[u8]) -> Result<(), RecordError> {
    let public = record.node.public().ok_or(RecordError::Signature)?;
    if public.verify(&signed_part(encoded), signature) {
        Ok(())
    } else {
        Err(RecordError::Signature)
    }
}

/// Parses and verifies what is a record but for one thing: it lists more than [`MAX_LISTED`]
/// neighbours. `None` when it does not.
///
/// # Errors
/// As [`SignedRecord::parse`].
pub(crate) fn parse_over_cap(bytes: &[u8]) -> Result<Option<Record>, RecordError> {
    let (encoded, signature) = halves(bytes)?;
    let record = Record::decode(encoded)?;
    if record.neighbours.len() <= MAX_LISTED {
        return Ok(None);
    }
    record.check_life()?;
    check_signature(&record, encoded, signature)?;
    Ok(Some(record))
}

impl SignedRecord {
    /// Parses and verifies. The clock is not looked at: see [`SignedRecord::check_time`].
    ///
    /// # Errors
    /// [`RecordError`]; the layout is checked before the signature.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let (encoded, signature) = halves(bytes)?;
        let record = Record::decode(encoded)?;
        record.check()?;
        check_signature(&record, encoded, signature)?;
        let hash = Sha256::digest(encoded).into();
        Ok(Self {
            record,
            bytes: bytes.into(),
            hash,
        })
    }

    /// The node that bytes claim to be a record of, unverified: to find out whether they are known.
    pub(crate) fn peek_node(bytes: &[u8]) -> Option<NodeKey> {
        let mut reader = Reader::new(bytes);
        reader.text8()?;
        reader.array().map(NodeKey)
    }

    /// Whether the record is valid at `unix` seconds.
    ///
    /// # Errors
    /// [`RecordError::Time`].
    pub fn check_time(&self, unix: u64) -> Result<(), RecordError> {
        check_time(self.record.issued, self.record.expires, unix)
    }

    /// What the node says.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The node that says it.
    pub fn node(&self) -> NodeKey {
        self.record.node
    }

    /// As it travels: layout, then signature.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, to be passed on without being copied.
    pub fn shared_bytes(&self) -> Arc<[u8]> {
        Arc::clone(&self.bytes)
    }

    /// Whether these are its bytes; cheap when they are the very same.
    pub(crate) fn is_exactly(&self, bytes: &[u8]) -> bool {
        std::ptr::eq(self.bytes(), bytes) || self.bytes() == bytes
    }

    /// SHA-256 over the layout without the signature.
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }
}

impl std::ops::Deref for SignedRecord {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

impl fmt::Debug for SignedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SignedRecord({:?} v{})",
            self.record.node, self.record.version
        )
    }
}

#[cfg(test)]
mod tests;
