//! The one protobuf message of the protocol, `Frame`, in the form that pb-rs
//! generates: flat, with nested things as bytes that are decoded on their own.
//! What the fields mean for which kind of message is in `wire`.
//!
//! ```proto
//! message Frame {
//!   uint32 kind = 1;            uint32 reason = 11;
//!   string chain = 2;           uint32 next = 12;
//!   repeated bytes record = 3;  uint32 retry_ms = 13;
//!   bool yes = 4;               string text = 14;
//!   repeated uint32 port = 5 [packed = false];
//!   bytes id = 6;               uint64 nonce = 15;
//!   bytes invited = 7;          uint32 left = 16;
//!   bytes card = 8;             uint32 min = 17;
//!   bytes sealed = 9;           uint32 mask = 18;
//!   bytes to = 10;              bytes data = 19;
//! }
//! ```

use std::borrow::Cow;

use quick_protobuf::sizeofs::{sizeof_len, sizeof_varint};
use quick_protobuf::{
    BytesReader, Error, MessageRead, MessageWrite, Result, Writer, WriterBackend,
};

/// Most records in one message. Guess: the largest 64 fit a message with room.
pub(crate) const MAX_RECORDS: usize = 64;
/// Most ports in one message; the same as in a descriptor.
pub(crate) const MAX_PORTS: usize = crate::descriptor::MAX_PORTS;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: u32,
    pub(crate) chain: Cow<'a, str>,
    pub(crate) record: Vec<Cow<'a, [u8]>>,
    pub(crate) yes: bool,
    pub(crate) port: Vec<u32>,
    pub(crate) id: Cow<'a, [u8]>,
    pub(crate) invited: Cow<'a, [u8]>,
    pub(crate) card: Cow<'a, [u8]>,
    pub(crate) sealed: Cow<'a, [u8]>,
    pub(crate) to: Cow<'a, [u8]>,
    pub(crate) reason: u32,
    pub(crate) next: u32,
    pub(crate) retry_ms: u32,
    pub(crate) text: Cow<'a, str>,
    pub(crate) nonce: u64,
    pub(crate) left: u32,
    pub(crate) min: u32,
    pub(crate) mask: u32,
    pub(crate) data: Cow<'a, [u8]>,
}

/// Tags: field number times eight, plus 2 for length-delimited fields.
mod tag {
    pub(super) const KIND: u32 = 1 << 3;
    pub(super) const CHAIN: u32 = 2 << 3 | 2;
    pub(super) const RECORD: u32 = 3 << 3 | 2;
    pub(super) const YES: u32 = 4 << 3;
    pub(super) const PORT: u32 = 5 << 3;
    pub(super) const ID: u32 = 6 << 3 | 2;
    pub(super) const INVITED: u32 = 7 << 3 | 2;
    pub(super) const CARD: u32 = 8 << 3 | 2;
    pub(super) const SEALED: u32 = 9 << 3 | 2;
    pub(super) const TO: u32 = 10 << 3 | 2;
    pub(super) const REASON: u32 = 11 << 3;
    pub(super) const NEXT: u32 = 12 << 3;
    pub(super) const RETRY: u32 = 13 << 3;
    pub(super) const TEXT: u32 = 14 << 3 | 2;
    pub(super) const NONCE: u32 = 15 << 3;
    pub(super) const LEFT: u32 = 16 << 3;
    pub(super) const MIN: u32 = 17 << 3;
    pub(super) const MASK: u32 = 18 << 3;
    pub(super) const DATA: u32 = 19 << 3 | 2;
}

impl<'a> MessageRead<'a> for Frame<'a> {
    fn from_reader(r: &mut BytesReader, bytes: &'a [u8]) -> Result<Self> {
        let mut msg = Self::default();
        while !r.is_eof() {
            match r.next_tag(bytes)? {
                tag::KIND => msg.kind = r.read_uint32(bytes)?,
                tag::CHAIN => msg.chain = Cow::Borrowed(r.read_string(bytes)?),
                // The one deviation from generated code: repeated fields are bounded.
                tag::RECORD if msg.record.len() < MAX_RECORDS => {
                    msg.record.push(Cow::Borrowed(r.read_bytes(bytes)?));
                }
                tag::YES => msg.yes = r.read_bool(bytes)?,
                tag::PORT if msg.port.len() < MAX_PORTS => msg.port.push(r.read_uint32(bytes)?),
                tag::RECORD | tag::PORT => return Err(Error::Message("too many".into())),
                tag::ID => msg.id = Cow::Borrowed(r.read_bytes(bytes)?),
                tag::INVITED => msg.invited = Cow::Borrowed(r.read_bytes(bytes)?),
                tag::CARD => msg.card = Cow::Borrowed(r.read_bytes(bytes)?),
                tag::SEALED => msg.sealed = Cow::Borrowed(r.read_bytes(bytes)?),
                tag::TO => msg.to = Cow::Borrowed(r.read_bytes(bytes)?),
                tag::REASON => msg.reason = r.read_uint32(bytes)?,
                tag::NEXT => msg.next = r.read_uint32(bytes)?,
                tag::RETRY => msg.retry_ms = r.read_uint32(bytes)?,
                tag::TEXT => msg.text = Cow::Borrowed(r.read_string(bytes)?),
                tag::NONCE => msg.nonce = r.read_uint64(bytes)?,
                tag::LEFT => msg.left = r.read_uint32(bytes)?,
                tag::MIN => msg.min = r.read_uint32(bytes)?,
                tag::MASK => msg.mask = r.read_uint32(bytes)?,
                tag::DATA => msg.data = Cow::Borrowed(r.read_bytes(bytes)?),
                unknown => r.read_unknown(bytes, unknown)?,
            }
        }
        Ok(msg)
    }
}

impl Frame<'_> {
    /// Numeric fields that are written only when they are not zero.
    fn numbers(&self) -> [(u32, u64); 9] {
        [
            (tag::KIND, self.kind.into()),
            (tag::YES, self.yes.into()),
            (tag::REASON, self.reason.into()),
            (tag::NEXT, self.next.into()),
            (tag::RETRY, self.retry_ms.into()),
            (tag::NONCE, self.nonce),
            (tag::LEFT, self.left.into()),
            (tag::MIN, self.min.into()),
            (tag::MASK, self.mask.into()),
        ]
    }

    /// Byte fields that are written only when they are not empty.
    fn blobs(&self) -> [(u32, &[u8]); 8] {
        [
            (tag::CHAIN, self.chain.as_bytes()),
            (tag::ID, &self.id),
            (tag::INVITED, &self.invited),
            (tag::CARD, &self.card),
            (tag::SEALED, &self.sealed),
            (tag::TO, &self.to),
            (tag::TEXT, self.text.as_bytes()),
            (tag::DATA, &self.data),
        ]
    }
}

impl MessageWrite for Frame<'_> {
    fn get_size(&self) -> usize {
        let tag_len = |tag: u32| sizeof_varint(tag.into());
        let numbers = self.numbers().into_iter().filter(|(_, value)| *value != 0);
        let blobs = self
            .blobs()
            .into_iter()
            .filter(|(_, bytes)| !bytes.is_empty());
        numbers
            .map(|(tag, value)| tag_len(tag) + sizeof_varint(value))
            .sum::<usize>()
            + blobs
                .map(|(tag, bytes)| tag_len(tag) + sizeof_len(bytes.len()))
                .sum::<usize>()
            + self
                .record
                .iter()
                .map(|bytes| 1 + sizeof_len(bytes.len()))
                .sum::<usize>()
            + self
                .port
                .iter()
                .map(|port| 1 + sizeof_varint((*port).into()))
                .sum::<usize>()
    }

    fn write_message<W: WriterBackend>(&self, w: &mut Writer<W>) -> Result<()> {
        for (tag, value) in self.numbers().into_iter().filter(|(_, value)| *value != 0) {
            w.write_with_tag(tag, |w| w.write_varint(value))?;
        }
        for (tag, bytes) in self
            .blobs()
            .into_iter()
            .filter(|(_, bytes)| !bytes.is_empty())
        {
            w.write_with_tag(tag, |w| w.write_bytes(bytes))?;
        }
        for bytes in &self.record {
            w.write_with_tag(tag::RECORD, |w| w.write_bytes(bytes))?;
        }
        for port in &self.port {
            w.write_with_tag(tag::PORT, |w| w.write_uint32(*port))?;
        }
        Ok(())
    }
}

impl<'a> Frame<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self> {
        // Not `BytesReader::read_message`: no length stands before the message.
        let mut reader = BytesReader::from_bytes(bytes);
        Self::from_reader(&mut reader, bytes)
    }

    pub(crate) fn encoded_len(&self) -> usize {
        self.get_size()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.get_size());
        let mut writer = Writer::new(&mut out);
        self.write_message(&mut writer)
            .expect("writing to a vector cannot fail");
        out
    }
}

/// Keeps the two ways of the library in agreement with ours; used by tests.
#[cfg(test)]
pub(crate) fn library_round_trip(frame: &Frame<'_>) -> bool {
    let with_length = quick_protobuf::serialize_into_vec(frame).expect("writes");
    quick_protobuf::deserialize_from_slice::<Frame<'_>>(&with_length)
        .is_ok_and(|back| back == *frame)
}
