//! What an attacker says: messages of `/masq/gossip/1` and the signed things in
//! them, written byte by byte from the specification (`docs/spec/gossip.md`), apart
//! from the code under attack. Sending them is in [`super::peer`].

use libp2p::identity::Keypair;

use crate::keys::CHAIN;

/// Kinds of messages, from the specification.
mod kind {
    pub(super) const DEBUT: u8 = 1;
    pub(super) const ACCEPT: u8 = 2;
    pub(super) const REFUSE: u8 = 3;
    pub(super) const PING: u8 = 5;
    pub(super) const WALK: u8 = 10;
    pub(super) const DIGEST: u8 = 17;
    pub(super) const DIGEST_LIST: u8 = 18;
    pub(super) const WANT: u8 = 19;
    pub(super) const RECORDS: u8 = 20;
}

/// Longest message.
pub(super) const MAX_MESSAGE: usize = u16::MAX as usize;
/// Most records in a message.
pub(super) const MAX_RECORDS: usize = 64;
/// A role that a record may name: it carries circuits of others.
const ROUTES: u8 = 1;
/// How long records say that they live, in seconds.
const RECORD_LIFE: u64 = 1800;
/// How long cards say that they live, in seconds.
const CARD_LIFE: u64 = 90;

/// A message under construction.
struct Frame(Vec<u8>);

impl Frame {
    fn new(kind: u8) -> Self {
        Self(vec![1 << 3, kind])
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }
}

/// The node key in a key pair.
fn node(keys: &Keypair) -> [u8; 32] {
    let public = keys
        .public()
        .try_into_ed25519()
        .expect("attackers' keys are Ed25519");
    public.to_bytes()
}

fn sign(keys: &Keypair, parts: &[&[u8]]) -> Vec<u8> {
    keys.sign(&parts.concat())
        .expect("Ed25519 signs everything")
}

/// What a node says of itself.
pub(super) struct Record {
    pub(super) version: u64,
    pub(super) issued: u64,
    pub(super) neighbours: Vec<[u8; 32]>,
}

impl Record {
    /// Of a node that routes, has no neighbours, and was born now.
    pub(super) fn of_newcomer(now: u64) -> Self {
        Self {
            version: now,
            issued: now,
            neighbours: Vec::new(),
        }
    }

    pub(super) fn signed(&self, keys: &Keypair) -> Vec<u8> {
        let mut out = vec![CHAIN.len().to_le_bytes()[0]];
        out.extend_from_slice(CHAIN.as_bytes());
        out.extend_from_slice(&node(keys));
        out.extend_from_slice(&[0x22; 32]);
        out.push(0);
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&[0; 20 + 4 * 8]);
        out.push(ROUTES);
        out.extend_from_slice(&[0; 2 + 2]);
        out.push(self.neighbours.len().to_le_bytes()[0]);
        for neighbour in &self.neighbours {
            out.extend_from_slice(neighbour);
        }
        out.extend_from_slice(&self.issued.to_be_bytes());
        out.extend_from_slice(&(self.issued + RECORD_LIFE).to_be_bytes());
        let signature = sign(keys, &[b"masq-gossip/1 record\0", &out]);
        out.extend_from_slice(&signature);
        out
    }
}

/// A card for one walk.
fn card(keys: &Keypair, walk: &[u8; 16], now: u64) -> Vec<u8> {
    let mut out = vec![CHAIN.len().to_le_bytes()[0]];
    out.extend_from_slice(CHAIN.as_bytes());
    out.extend_from_slice(&node(keys));
    out.extend_from_slice(&[0x55; 32]);
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&(now + CARD_LIFE).to_be_bytes());
    let signature = sign(keys, &[b"masq-gossip/1 card\0", walk, &out]);
    out.extend_from_slice(&signature);
    out
}

/// Debut with a record, and without a card: the attacker wants no introductions, which
/// would lead it to other nodes.
pub(super) fn debut(record: &[u8]) -> Vec<u8> {
    Frame::new(kind::DEBUT)
        .bytes(2, CHAIN.as_bytes())
        .bytes(3, record)
        .0
}

/// Ping, as long as a message can be by a field that nobody knows.
pub(super) fn long_ping(nonce: u64) -> Vec<u8> {
    let ping = Frame::new(kind::PING).number(15, nonce);
    let padding = vec![0; MAX_MESSAGE - ping.0.len() - 5];
    ping.bytes(30, &padding).0
}

/// Digest of records that nobody has.
pub(super) fn digest(noise: [u8; 32]) -> Vec<u8> {
    Frame::new(kind::DIGEST).bytes(19, &noise.repeat(4)).0
}

/// An empty list: asks for every record there is.
pub(super) fn empty_list() -> Vec<u8> {
    Frame::new(kind::DIGEST_LIST).number(18, 0xffff).0
}

/// Wants as many records as can be asked for.
pub(super) fn want(noise: [u8; 32]) -> Vec<u8> {
    Frame::new(kind::WANT).bytes(19, &noise.repeat(512)).0
}

/// A walk that begins with the attacker and goes as far as it can.
pub(super) fn walk(keys: &Keypair, id: [u8; 16], now: u64) -> Vec<u8> {
    Frame::new(kind::WALK)
        .number(4, 1)
        .number(16, 24)
        .number(17, 24)
        .bytes(6, &id)
        .bytes(8, &card(keys, &id, now))
        .0
}

/// A walk with more steps than are allowed.
pub(super) fn endless_walk(keys: &Keypair, id: [u8; 16], now: u64) -> Vec<u8> {
    Frame::new(kind::WALK)
        .number(16, 1000)
        .bytes(6, &id)
        .bytes(8, &card(keys, &id, now))
        .0
}

/// Records, at most [`MAX_RECORDS`].
pub(super) fn records<'a>(records: impl IntoIterator<Item = &'a Vec<u8>>) -> Vec<u8> {
    let begun = Frame::new(kind::RECORDS);
    let frame = records
        .into_iter()
        .take(MAX_RECORDS)
        .fold(begun, |frame, record| frame.bytes(3, record));
    frame.0
}

/// A message of a kind that does not exist.
pub(super) fn unknown_kind() -> Vec<u8> {
    Frame::new(99).0
}

/// A message as it stands on a stream: after its length.
pub(super) fn framed(body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).expect("attackers' messages fit their length");
    [&len.to_be_bytes(), body].concat()
}

/// What the victim answered to a debut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Accept,
    /// With the number of the reason.
    Refuse(u8),
    Other,
}

impl Answer {
    /// Reads the beginning of a message: numbers come first.
    pub(super) fn read(body: &[u8]) -> Self {
        match body {
            [0x08, kind::ACCEPT, ..] => Self::Accept,
            [0x08, kind::REFUSE, 0x58, reason, ..] => Self::Refuse(*reason),
            _ => Self::Other,
        }
    }
}

/// The reasons of a refusal, from the specification.
pub(super) fn reason(number: u8) -> &'static str {
    match number {
        1 => "full",
        2 => "wrong chain",
        3 => "bad record",
        4 => "same address",
        5 => "same prefix",
        6 => "too often",
        7 => "duplicate",
        8 => "no room for an entry link",
        9 => "shutting down",
        _ => "another reason",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECIFICATION: &str = include_str!("../../../docs/spec/gossip.md");

    /// The bytes of a test vector of the specification.
    fn vector(name: &str) -> Vec<u8> {
        let line = SPECIFICATION
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")));
        hex::decode(line.unwrap()).unwrap()
    }

    #[test]
    fn messages_are_those_of_the_specification() {
        let keys = Keypair::ed25519_from_bytes([1; 32]).unwrap();
        // The card of the vectors says that it can be dialled and has one link; all else agrees.
        let id = [0x66; 16];
        let golden = vector("Card");
        let own = card(&keys, &id, 1_700_000_000);
        assert_eq!(own.len(), golden.len());
        let differs: Vec<_> = (0..68 + 10).filter(|at| own[*at] != golden[*at]).collect();
        assert_eq!(differs, [68, 69], "flags and links");

        let golden = vector("Walk");
        let own = walk(&keys, id, 1_700_000_000);
        assert_eq!(own.len(), golden.len());
        assert_eq!(own[..4], golden[..4], "kind and flag");
        assert_eq!(vector("Digest"), digest([0x99; 32]));
        assert_eq!(vector("Records")[..3], records([&vec![0; 400]])[..3]);
        assert_eq!(Answer::read(&vector("Accept")), Answer::Accept);
        assert_eq!(Answer::read(&vector("Refuse")), Answer::Refuse(1));
        assert_eq!(Answer::read(&vector("Ping")), Answer::Other);
        assert_eq!(framed(&vector("EntryRelease")), [0, 2, 8, 9]);
        assert_eq!(long_ping(7).len(), MAX_MESSAGE);
    }

    #[test]
    fn a_record_has_the_length_of_the_layout() {
        let keys = Keypair::generate_ed25519();
        let record = Record {
            version: 1,
            issued: 2,
            neighbours: vec![[3; 32]],
        };
        // The golden record has twelve bytes of policy more.
        assert_eq!(record.signed(&keys).len() + 12, vector("Record").len());
    }
}
