//! The header of a store: what it is for, the version of its schema, its id.
//!
//! It stands in a table of its own, readable without a key, so that a file of
//! another purpose, program or version is recognised as such; a MAC and a seal
//! over it say whether the key is right and nobody changed it.

use redb::TableDefinition;
use subtle::ConstantTimeEq as _;

use super::{
    Purpose,
    codec::{DecodeError, Reader, Writer},
    master::Sealer,
    seal::{MAC_LENGTH, SealError},
};

pub(super) const TABLE: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("masq.header");
pub(super) const KEY: &str = "header";
const MAGIC: &[u8; 10] = b"masq store";
/// Version of the header, and of how values are sealed.
const FORMAT: u8 = 1;
pub(super) const ID_LENGTH: usize = 16;

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) purpose: Purpose,
    pub(super) schema: u32,
    /// Random, one per file: every file has keys of its own, so no value of
    /// one opens in another.
    pub(super) id: [u8; ID_LENGTH],
}

/// A header whose seal has not been checked yet.
pub(super) struct Claimed {
    pub(super) header: Header,
    check: [u8; MAC_LENGTH],
    seal: Vec<u8>,
}

/// Why bytes are no header that can be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Not a header at all.
    None,
    /// A header of a later format.
    Newer(u8),
    /// It breaks off or holds nonsense.
    Damaged(DecodeError),
}

impl From<DecodeError> for HeaderError {
    fn from(error: DecodeError) -> Self {
        Self::Damaged(error)
    }
}

/// Whether the key is the right one and the header as it was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Genuine,
    WrongKey,
    Changed,
}

impl Header {
    fn clear(&self) -> Writer {
        let mut out = Writer::new();
        out.raw(MAGIC)
            .u8(FORMAT)
            .u8(self.purpose.number())
            .u32(self.schema)
            .raw(&self.id);
        out
    }

    fn check(&self, sealer: &Sealer) -> [u8; MAC_LENGTH] {
        sealer.hide.hide("masq.header", &self.id)
    }

    pub(super) fn to_bytes(self, sealer: &Sealer) -> Result<Vec<u8>, SealError> {
        let clear = self.clear();
        let seal = sealer.seal.seal(clear.as_bytes(), b"")?;
        Ok([clear.as_bytes(), &self.check(sealer), &seal].concat())
    }
}

impl Claimed {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut from = Reader::new(bytes);
        if from.raw(MAGIC.len()) != Ok(MAGIC) {
            return Err(HeaderError::None);
        }
        match from.u8()? {
            FORMAT => {}
            newer => return Err(HeaderError::Newer(newer)),
        }
        let purpose = Purpose::from_number(from.u8()?).ok_or(DecodeError::Field("purpose"))?;
        let (schema, id, check) = (from.u32()?, from.array()?, from.array()?);
        let rest = bytes
            .len()
            .saturating_sub(MAGIC.len() + 6 + ID_LENGTH + MAC_LENGTH);
        let seal = from.raw(rest)?.to_vec();
        Ok(Self {
            header: Header {
                purpose,
                schema,
                id,
            },
            check,
            seal,
        })
    }

    pub(super) fn verdict(&self, sealer: &Sealer) -> Verdict {
        if !bool::from(self.check.ct_eq(&self.header.check(sealer))) {
            return Verdict::WrongKey;
        }
        match sealer.seal.open(self.header.clear().as_bytes(), &self.seal) {
            Some(_) => Verdict::Genuine,
            None => Verdict::Changed,
        }
    }
}
