//! The messages of `/masq/gossip/1`: domain types, and the only conversion
//! between them and the flat protobuf `Frame`. On a stream each message stands
//! after its length in two bytes, big-endian; see `handler`.

mod reach;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use crate::card::WalkId;
use crate::event::RefuseReason;
use crate::key::NodeKey;
use crate::knock::Knock;
use crate::proto::Frame;
use crate::reach::ReachOutcome;

/// Longest message, in bytes, from the two bytes of its length.
pub const MAX_MESSAGE_LEN: usize = u16::MAX as usize;
/// Longest sentence in a refusal, in bytes. Guess.
pub(crate) const MAX_TEXT_LEN: usize = 200;
/// Longest card, in bytes; the largest that the layout allows is 154.
pub(crate) const MAX_CARD_LEN: usize = 160;
/// Number of buckets in a digest. Guess: with 400 records about 25 are listed per bucket that differs.
pub(crate) const DIGEST_BUCKETS: usize = 16;
/// Length of one bucket's hash.
pub(crate) const BUCKET_LEN: usize = 8;
/// Most entries in one digest list. 48 bytes each; a bound for records in a message and in memory.
pub(crate) const MAX_DIGEST_ENTRIES: usize = 1024;
/// Most keys in one request for records.
pub(crate) const MAX_WANTED: usize = 512;
/// Most steps that a walk may have left. Guess: twice what this node asks for.
pub(crate) const MAX_WALK_STEPS: u32 = 24;

/// One line of a digest list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DigestEntry {
    pub(crate) node: NodeKey,
    pub(crate) version: u64,
    /// First eight bytes of the record's hash.
    pub(crate) hash: [u8; 8],
}

const ENTRY_LEN: usize = 48;

/// Why a side leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// Nothing more to say on a guest's connection, or the node is stopping.
    Leaving,
    /// The link was spliced.
    Spliced,
    /// Another connection between the two is kept.
    Duplicate,
    /// Both ends have more neighbours than they look for.
    Spared,
}

/// A message of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    private_interfaces,
    reason = "the variants' insides are for this crate; others see bytes"
)]
#[non_exhaustive]
pub enum Message {
    #[doc(hidden)]
    Debut {
        chain: String,
        record: Vec<u8>,
        wants_entry: bool,
        ports: Vec<u16>,
        /// The walk on which the two were introduced.
        invited: Option<WalkId>,
        /// A card under this walk id, to be introduced with when there is no room.
        card: Option<(WalkId, Vec<u8>)>,
        /// The knock from the other's descriptor.
        knock: Option<Knock>,
    },
    #[doc(hidden)]
    Accept { record: Vec<u8>, entry: bool },
    #[doc(hidden)]
    Refuse {
        reason: RefuseReason,
        introducing: bool,
        retry_ms: u32,
        text: String,
    },
    #[doc(hidden)]
    Goodbye(Farewell),
    #[doc(hidden)]
    Ping(u64),
    #[doc(hidden)]
    Pong(u64),
    #[doc(hidden)]
    EntryAsk { insist: bool },
    #[doc(hidden)]
    EntryReply { granted: bool },
    #[doc(hidden)]
    EntryRelease,
    #[doc(hidden)]
    Walk {
        id: WalkId,
        card: Vec<u8>,
        left: u32,
        min: u32,
        splice: bool,
    },
    #[doc(hidden)]
    Taken {
        id: WalkId,
        card: Vec<u8>,
        sealed: Option<Vec<u8>>,
        second: bool,
    },
    #[doc(hidden)]
    Sealed {
        id: WalkId,
        to: NodeKey,
        sealed: Vec<u8>,
    },
    #[doc(hidden)]
    WalkEnd { id: WalkId },
    #[doc(hidden)]
    SpliceAsk { id: WalkId, card: Vec<u8> },
    #[doc(hidden)]
    SpliceReply {
        id: WalkId,
        agreed: bool,
        card: Vec<u8>,
        sealed: Option<Vec<u8>>,
    },
    #[doc(hidden)]
    SpliceGo { id: WalkId },
    /// An offer to part: this end has more neighbours than it looks for.
    #[doc(hidden)]
    Spare,
    #[doc(hidden)]
    Digest([[u8; BUCKET_LEN]; DIGEST_BUCKETS]),
    #[doc(hidden)]
    DigestList {
        mask: u16,
        entries: Vec<DigestEntry>,
    },
    #[doc(hidden)]
    Want(Vec<NodeKey>),
    #[doc(hidden)]
    Records(Vec<Arc<[u8]>>),
    /// One or two records that prove a lie.
    #[doc(hidden)]
    Proof(Vec<Vec<u8>>),
    #[doc(hidden)]
    ReachAsk { ports: Vec<u16> },
    #[doc(hidden)]
    ReachReply {
        outcome: ReachOutcome,
        /// Those that answered.
        ports: Vec<u16>,
        /// Where the asker was seen, and dialled.
        seen: Option<IpAddr>,
    },
}

/// Why bytes are not a message. The peer who sent them broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Longer than [`MAX_MESSAGE_LEN`].
    #[error("the message is too long")]
    TooLong,
    /// Not protobuf.
    #[error("the message is not a protobuf frame")]
    Protobuf,
    /// A kind that does not exist.
    #[error("the message is of an unknown kind ({0})")]
    Kind(u32),
    /// A field has a wrong length or value, or is missing.
    #[error("a field of the message (kind {kind}) is wrong: {field}")]
    Field {
        /// Kind of the message.
        kind: u32,
        /// Name of the field.
        field: &'static str,
    },
}

mod kind {
    pub(super) const DEBUT: u32 = 1;
    pub(super) const ACCEPT: u32 = 2;
    pub(super) const REFUSE: u32 = 3;
    pub(super) const GOODBYE: u32 = 4;
    pub(super) const PING: u32 = 5;
    pub(super) const PONG: u32 = 6;
    pub(super) const ENTRY_ASK: u32 = 7;
    pub(super) const ENTRY_REPLY: u32 = 8;
    pub(super) const ENTRY_RELEASE: u32 = 9;
    pub(super) const WALK: u32 = 10;
    pub(super) const TAKEN: u32 = 11;
    pub(super) const SEALED: u32 = 12;
    pub(super) const WALK_END: u32 = 13;
    pub(super) const SPLICE_ASK: u32 = 14;
    pub(super) const SPLICE_REPLY: u32 = 15;
    pub(super) const SPLICE_GO: u32 = 16;
    pub(super) const DIGEST: u32 = 17;
    pub(super) const DIGEST_LIST: u32 = 18;
    pub(super) const WANT: u32 = 19;
    pub(super) const RECORDS: u32 = 20;
    pub(super) const PROOF: u32 = 21;
    pub(super) const REACH_ASK: u32 = 22;
    pub(super) const REACH_REPLY: u32 = 23;
    pub(super) const SPARE: u32 = 24;
}

impl Message {
    /// The bytes of the message, without their length. At most [`MAX_MESSAGE_LEN`] for
    /// every message that a machine emits.
    pub fn encode(&self) -> Vec<u8> {
        self.to_frame().encode()
    }

    /// The length of what [`Message::encode`] gives.
    pub fn encoded_len(&self) -> usize {
        self.to_frame().encoded_len()
    }

    fn to_frame(&self) -> Frame<'_> {
        match self {
            Self::Debut {
                chain,
                record,
                wants_entry,
                ports,
                invited,
                card,
                knock,
            } => Frame {
                kind: kind::DEBUT,
                chain: chain.as_str().into(),
                record: vec![record.into()],
                yes: *wants_entry,
                port: ports.iter().map(|port| u32::from(*port)).collect(),
                invited: invited
                    .as_ref()
                    .map_or(Cow::Borrowed(&[]), |id| id.as_slice().into()),
                id: card
                    .as_ref()
                    .map_or(Cow::Borrowed(&[]), |(id, _)| id.as_slice().into()),
                card: card
                    .as_ref()
                    .map_or(Cow::Borrowed(&[]), |(_, card)| card.into()),
                data: knock
                    .as_ref()
                    .map_or(Cow::Borrowed(&[]), |knock| knock.0.as_slice().into()),
                ..Frame::default()
            },
            Self::Accept { record, entry } => Frame {
                kind: kind::ACCEPT,
                record: vec![record.into()],
                yes: *entry,
                ..Frame::default()
            },
            Self::Refuse {
                reason,
                introducing,
                retry_ms,
                text,
            } => Frame {
                kind: kind::REFUSE,
                reason: reason.code(),
                next: u32::from(*introducing),
                retry_ms: *retry_ms,
                text: text.as_str().into(),
                ..Frame::default()
            },
            Self::Goodbye(farewell) => {
                let reason = match farewell {
                    Farewell::Leaving => 1,
                    Farewell::Spliced => 2,
                    Farewell::Duplicate => 3,
                    Farewell::Spared => 4,
                };
                Frame {
                    kind: kind::GOODBYE,
                    reason,
                    ..Frame::default()
                }
            }
            Self::Ping(nonce) => Frame {
                kind: kind::PING,
                nonce: *nonce,
                ..Frame::default()
            },
            Self::Pong(nonce) => Frame {
                kind: kind::PONG,
                nonce: *nonce,
                ..Frame::default()
            },
            Self::EntryAsk { insist } => Frame {
                kind: kind::ENTRY_ASK,
                yes: *insist,
                ..Frame::default()
            },
            Self::EntryReply { granted } => Frame {
                kind: kind::ENTRY_REPLY,
                yes: *granted,
                ..Frame::default()
            },
            Self::Spare => Frame {
                kind: kind::SPARE,
                ..Frame::default()
            },
            Self::EntryRelease => Frame {
                kind: kind::ENTRY_RELEASE,
                ..Frame::default()
            },
            Self::Digest(buckets) => Frame {
                kind: kind::DIGEST,
                data: buckets.as_flattened().into(),
                ..Frame::default()
            },
            Self::DigestList { mask, entries } => Frame {
                kind: kind::DIGEST_LIST,
                mask: (*mask).into(),
                data: encode_entries(entries).into(),
                ..Frame::default()
            },
            Self::Want(keys) => Frame {
                kind: kind::WANT,
                data: keys.iter().flat_map(|key| key.0).collect::<Vec<_>>().into(),
                ..Frame::default()
            },
            Self::Records(records) => Frame {
                kind: kind::RECORDS,
                record: records.iter().map(|record| Cow::from(&**record)).collect(),
                ..Frame::default()
            },
            Self::Proof(records) => Frame {
                kind: kind::PROOF,
                record: records.iter().map(Cow::from).collect(),
                ..Frame::default()
            },
            Self::ReachAsk { ports } => reach::ask_frame(ports),
            Self::ReachReply {
                outcome,
                ports,
                seen,
            } => reach::reply_frame(*outcome, ports, *seen),
            introduction => introduction.introduction_frame(),
        }
    }

    fn introduction_frame(&self) -> Frame<'_> {
        match self {
            Self::Walk {
                id,
                card,
                left,
                min,
                splice,
            } => Frame {
                kind: kind::WALK,
                id: id.as_slice().into(),
                card: card.into(),
                left: *left,
                min: *min,
                yes: *splice,
                ..Frame::default()
            },
            Self::Taken {
                id,
                card,
                sealed,
                second,
            } => Frame {
                kind: kind::TAKEN,
                id: id.as_slice().into(),
                card: card.into(),
                sealed: sealed.as_deref().unwrap_or_default().into(),
                yes: *second,
                ..Frame::default()
            },
            Self::Sealed { id, to, sealed } => Frame {
                kind: kind::SEALED,
                id: id.as_slice().into(),
                to: to.0.as_slice().into(),
                sealed: sealed.into(),
                ..Frame::default()
            },
            Self::WalkEnd { id } => Frame {
                kind: kind::WALK_END,
                id: id.as_slice().into(),
                ..Frame::default()
            },
            Self::SpliceAsk { id, card } => Frame {
                kind: kind::SPLICE_ASK,
                id: id.as_slice().into(),
                card: card.into(),
                ..Frame::default()
            },
            Self::SpliceReply {
                id,
                agreed,
                card,
                sealed,
            } => Frame {
                kind: kind::SPLICE_REPLY,
                id: id.as_slice().into(),
                yes: *agreed,
                card: card.into(),
                sealed: sealed.as_deref().unwrap_or_default().into(),
                ..Frame::default()
            },
            Self::SpliceGo { id } => Frame {
                kind: kind::SPLICE_GO,
                id: id.as_slice().into(),
                ..Frame::default()
            },
            _ => unreachable!("to_frame handles every other kind"),
        }
    }

    /// Reads one message from exactly its bytes. Fields that a kind does not use are ignored.
    ///
    /// # Errors
    /// [`WireError`]: the sender broke the protocol.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > MAX_MESSAGE_LEN {
            return Err(WireError::TooLong);
        }
        let frame = Frame::decode(bytes).map_err(|_| WireError::Protobuf)?;
        Self::from_frame(frame)
    }

    fn from_frame(f: Frame<'_>) -> Result<Self, WireError> {
        Ok(match f.kind {
            kind::DEBUT => Self::Debut {
                chain: f.chain.chars().take(32).collect(),
                record: single(&f)?,
                wants_entry: f.yes,
                ports: ports(&f)?,
                invited: if f.invited.is_empty() {
                    None
                } else {
                    Some(id(&f, &f.invited)?)
                },
                card: if f.card.is_empty() {
                    None
                } else {
                    Some((id(&f, &f.id)?, card(&f)?))
                },
                knock: if f.data.is_empty() {
                    None
                } else {
                    let knock = f.data.as_ref().try_into();
                    Some(Knock(knock.map_err(|_| field(&f, "data"))?))
                },
            },
            kind::ACCEPT => Self::Accept {
                record: single(&f)?,
                entry: f.yes,
            },
            kind::REFUSE => Self::Refuse {
                reason: RefuseReason::from_code(f.reason),
                introducing: f.next == 1,
                retry_ms: f.retry_ms,
                text: clean(&f.text),
            },
            kind::GOODBYE => Self::Goodbye(match f.reason {
                2 => Farewell::Spliced,
                3 => Farewell::Duplicate,
                4 => Farewell::Spared,
                _ => Farewell::Leaving,
            }),
            kind::PING => Self::Ping(f.nonce),
            kind::PONG => Self::Pong(f.nonce),
            kind::ENTRY_ASK => Self::EntryAsk { insist: f.yes },
            kind::ENTRY_REPLY => Self::EntryReply { granted: f.yes },
            kind::ENTRY_RELEASE => Self::EntryRelease,
            kind::SPARE => Self::Spare,
            kind::DIGEST => {
                let (buckets, rest) = f.data.as_chunks::<BUCKET_LEN>();
                let buckets = buckets.try_into().ok().filter(|_| rest.is_empty());
                Self::Digest(buckets.ok_or_else(|| field(&f, "data"))?)
            }
            kind::DIGEST_LIST => Self::DigestList {
                mask: u16::try_from(f.mask).map_err(|_| field(&f, "mask"))?,
                entries: decode_entries(&f)?,
            },
            kind::WANT => {
                let (keys, rest) = f.data.as_chunks::<32>();
                if !rest.is_empty() || keys.len() > MAX_WANTED {
                    return Err(field(&f, "data"));
                }
                Self::Want(keys.iter().map(|key| NodeKey(*key)).collect())
            }
            kind::RECORDS => Self::Records(f.record.iter().map(|r| Arc::from(&**r)).collect()),
            kind::PROOF => Self::Proof(proof(&f)?),
            kind::REACH_ASK => reach::ask(&f)?,
            kind::REACH_REPLY => reach::reply(&f)?,
            _ => return Self::introduction_from_frame(&f),
        })
    }

    fn introduction_from_frame(f: &Frame<'_>) -> Result<Self, WireError> {
        let known = kind::WALK..=kind::SPLICE_GO;
        if !known.contains(&f.kind) {
            return Err(WireError::Kind(f.kind));
        }
        let id = id(f, &f.id)?;
        Ok(match f.kind {
            kind::WALK => {
                if f.left > MAX_WALK_STEPS || f.min > MAX_WALK_STEPS {
                    return Err(field(f, "left"));
                }
                Self::Walk {
                    id,
                    card: card(f)?,
                    left: f.left,
                    min: f.min,
                    splice: f.yes,
                }
            }
            kind::TAKEN => Self::Taken {
                id,
                card: card(f)?,
                sealed: sealed(f)?,
                second: f.yes,
            },
            kind::SEALED => Self::Sealed {
                id,
                to: NodeKey(f.to.as_ref().try_into().map_err(|_| field(f, "to"))?),
                sealed: sealed(f)?.ok_or_else(|| field(f, "sealed"))?,
            },
            kind::WALK_END => Self::WalkEnd { id },
            kind::SPLICE_ASK => Self::SpliceAsk { id, card: card(f)? },
            kind::SPLICE_REPLY => Self::SpliceReply {
                id,
                agreed: f.yes,
                card: if f.yes { card(f)? } else { Vec::new() },
                sealed: sealed(f)?,
            },
            _ => Self::SpliceGo { id },
        })
    }
}

fn field(f: &Frame<'_>, name: &'static str) -> WireError {
    WireError::Field {
        kind: f.kind,
        field: name,
    }
}

fn single(f: &Frame<'_>) -> Result<Vec<u8>, WireError> {
    match f.record.as_slice() {
        [one] if one.len() <= crate::record::MAX_RECORD_LEN => Ok(one.to_vec()),
        _ => Err(field(f, "record")),
    }
}

/// One record or two, none above the bound.
fn proof(f: &Frame<'_>) -> Result<Vec<Vec<u8>>, WireError> {
    let fits = |record: &Cow<'_, [u8]>| record.len() <= crate::record::MAX_RECORD_LEN;
    let few = 1..=crate::proof::MAX_PROOF_RECORDS;
    if few.contains(&f.record.len()) && f.record.iter().all(fits) {
        Ok(f.record.iter().map(|record| record.to_vec()).collect())
    } else {
        Err(field(f, "record"))
    }
}

fn id(f: &Frame<'_>, bytes: &[u8]) -> Result<WalkId, WireError> {
    bytes.try_into().map_err(|_| field(f, "id"))
}

fn card(f: &Frame<'_>) -> Result<Vec<u8>, WireError> {
    if f.card.is_empty() || f.card.len() > MAX_CARD_LEN {
        return Err(field(f, "card"));
    }
    Ok(f.card.to_vec())
}

fn sealed(f: &Frame<'_>) -> Result<Option<Vec<u8>>, WireError> {
    match f.sealed.len() {
        0 => Ok(None),
        crate::card::SEALED_LEN => Ok(Some(f.sealed.to_vec())),
        _ => Err(field(f, "sealed")),
    }
}

fn ports(f: &Frame<'_>) -> Result<Vec<u16>, WireError> {
    let port = |port: &u32| u16::try_from(*port).ok().filter(|port| *port != 0);
    f.port
        .iter()
        .map(port)
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| field(f, "port"))
}

/// A peer's sentence goes to a person's terminal: no control characters, bounded.
fn clean(text: &str) -> String {
    let mut text: String = text.chars().filter(|c| !c.is_control()).collect();
    text.truncate(text.floor_char_boundary(MAX_TEXT_LEN));
    text
}

fn encode_entries(entries: &[DigestEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * ENTRY_LEN);
    for entry in entries {
        out.extend_from_slice(&entry.node.0);
        out.extend_from_slice(&entry.version.to_be_bytes());
        out.extend_from_slice(&entry.hash);
    }
    out
}

fn decode_entries(f: &Frame<'_>) -> Result<Vec<DigestEntry>, WireError> {
    let (entries, rest) = f.data.as_chunks::<ENTRY_LEN>();
    if !rest.is_empty() || entries.len() > MAX_DIGEST_ENTRIES {
        return Err(field(f, "data"));
    }
    let mut out = Vec::with_capacity(entries.len());
    for entry in entries {
        let mut r = crate::codec::Reader::new(entry);
        let mut read = || {
            Some(DigestEntry {
                node: NodeKey(r.array()?),
                version: r.u64()?,
                hash: r.array()?,
            })
        };
        out.push(read().ok_or_else(|| field(f, "data"))?);
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
