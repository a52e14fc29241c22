//! How keys and values become bytes: fixed layouts, written field by field.
//!
//! By hand and not by a derived format, because these bytes outlive programs: a
//! layout is what its `write` says and changes only when somebody changes it,
//! not when a field of a struct is moved. Numbers are big-endian, so the order
//! of the bytes is the order of the numbers; whatever varies in length stands
//! after its length; bytes left over are an error.

use alloy_primitives::Address;
use zeroize::Zeroizing;

/// Longest text or byte string in a value, in bytes (guess: the longest that is
/// kept, a signed transaction with fifty payees, has about seven thousand).
pub const MAX_BLOB: usize = 1 << 16;

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// They end too early.
    #[error("it ends too early")]
    Short,
    /// Some are left over.
    #[error("it is too long")]
    Trailing,
    /// A field holds what it can't hold.
    #[error("its {0} has a value that it can't have")]
    Field(&'static str),
    /// A layout that this program does not know.
    #[error("it has layout {0}, which this version of the program does not know")]
    Layout(u8),
}

/// A value that can be stored.
pub trait Value: Sized {
    /// The layout that [`Self::write`] writes. Raise it with every change, and
    /// let [`Self::read`] go on reading the ones before, or write a migration.
    const LAYOUT: u8;

    /// Writes every field.
    fn write(&self, out: &mut Writer);

    /// Reads what some version of the program wrote with that layout.
    ///
    /// # Errors
    ///
    /// When the bytes make no sense, or the layout is not known.
    fn read(layout: u8, from: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// Takes the fields of a key or value. Wiped when dropped.
#[derive(Default)]
pub struct Writer {
    bytes: Zeroizing<Vec<u8>>,
    too_long: bool,
}

impl Writer {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What was written.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What was written, to be kept elsewhere: it is not wiped any more.
    #[must_use]
    pub fn into_bytes(mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Whether something was written that [`Reader`] would refuse for its
    /// length. [`super::WriteTx::put`] does not store it then.
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        self.too_long
    }

    /// Bytes whose number the reader knows.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.raw(&[value])
    }

    /// `true` or `false`.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.u8(value.into())
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Sixteen bytes.
    pub fn u128(&mut self, value: u128) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Bytes after their number, at most [`MAX_BLOB`]; see [`Self::is_too_long`].
    pub fn blob(&mut self, bytes: &[u8]) -> &mut Self {
        self.too_long |= bytes.len() > MAX_BLOB;
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX))
            .raw(bytes)
    }

    /// A text after its length; bounded as [`Self::blob`].
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.blob(text.as_bytes())
    }

    /// A number that may be missing; as long as one that is there.
    pub fn option_u64(&mut self, value: Option<u64>) -> &mut Self {
        self.bool(value.is_some()).u64(value.unwrap_or_default())
    }

    /// Something that may be missing.
    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) -> &mut Self {
        self.bool(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
        self
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer({} bytes)", self.bytes.len())
    }
}

/// Gives the fields of a key or value back, in the order in which they were
/// written. Every method fails with [`DecodeError::Short`] when there are too
/// few bytes left.
pub struct Reader<'a>(&'a [u8]);

#[allow(clippy::missing_errors_doc, reason = "said once, at the type")]
impl<'a> Reader<'a> {
    /// Reads from these bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `count` bytes.
    pub fn raw(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next bytes, as many as the array has.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    /// `true` or `false`.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Field("yes or no")),
        }
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Sixteen bytes.
    pub fn u128(&mut self) -> Result<u128, DecodeError> {
        self.array().map(u128::from_be_bytes)
    }

    /// Bytes after their number, at most [`MAX_BLOB`].
    pub fn blob(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        if length > MAX_BLOB {
            return Err(DecodeError::Field("length"));
        }
        self.raw(length)
    }

    /// A text after its length, at most [`MAX_BLOB`] bytes.
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.blob()?).map_err(|_| DecodeError::Field("text"))
    }

    /// What [`Writer::option_u64`] wrote.
    pub fn option_u64(&mut self) -> Result<Option<u64>, DecodeError> {
        let there = self.bool()?;
        let value = self.u64()?;
        Ok(there.then_some(value))
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Something that may be missing.
    pub fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        self.bool()?.then(|| read(self)).transpose()
    }

    /// Ends reading: nothing may be left.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing)
        }
    }
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reader({} bytes left)", self.0.len())
    }
}

/// Refuses every layout but the first.
fn only_first(layout: u8) -> Result<(), DecodeError> {
    if layout == 1 {
        Ok(())
    } else {
        Err(DecodeError::Layout(layout))
    }
}

macro_rules! plain_value {
    ($type:ty, $self:ident, $out:ident => $write:expr, $from:ident => $read:expr) => {
        impl Value for $type {
            const LAYOUT: u8 = 1;

            fn write(&$self, $out: &mut Writer) {
                $write;
            }

            fn read(layout: u8, $from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                only_first(layout)?;
                $read
            }
        }
    };
}

plain_value!((), self, out => out.raw(&[]), _from => Ok(()));
plain_value!(u64, self, out => out.u64(*self), from => from.u64());
plain_value!(u128, self, out => out.u128(*self), from => from.u128());
plain_value!(String, self, out => out.text(self), from => from.text().map(str::to_owned));
plain_value!(Vec<u8>, self, out => out.blob(self), from => from.blob().map(<[u8]>::to_vec));
plain_value!(Address, self, out => out.raw(self.as_slice()), from => from.array().map(Self::new));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_in_order_and_the_bytes_are_fixed() {
        let mut out = Writer::new();
        out.u8(1).bool(true).u16(2).u32(3).u64(4).u128(5);
        out.blob(&[9, 9]).text("ab");
        out.option(Some(7_u8), |out, value| {
            out.u8(value);
        });
        out.option(None::<u8>, |_, _| ());
        out.option_u64(None).option_u64(Some(8));
        assert_eq!(
            hex::encode(out.as_bytes()),
            "0101000200000003000000000000000400000000000000000000000000000005\
             00000002090900000002616201\
             0700\
             000000000000000000010000000000000008"
        );
        let mut from = Reader::new(out.as_bytes());
        assert_eq!(from.u8(), Ok(1));
        assert_eq!(from.bool(), Ok(true));
        assert_eq!(from.u16(), Ok(2));
        assert_eq!(from.u32(), Ok(3));
        assert_eq!(from.u64(), Ok(4));
        assert_eq!(from.u128(), Ok(5));
        assert_eq!(from.blob(), Ok(&[9, 9][..]));
        assert_eq!(from.text(), Ok("ab"));
        assert_eq!(from.option(Reader::u8), Ok(Some(7)));
        assert_eq!(from.option(Reader::u8), Ok(None));
        assert_eq!(from.option_u64(), Ok(None));
        assert_eq!(from.rest(), [&[1], &8_u64.to_be_bytes()[..]].concat());
        assert_eq!(from.finish(), Ok(()));
    }

    #[test]
    fn bytes_that_make_no_sense_are_refused() {
        assert_eq!(Reader::new(&[0; 7]).u64(), Err(DecodeError::Short));
        assert_eq!(Reader::new(&[1]).finish(), Err(DecodeError::Trailing));
        assert!(Reader::new(&[2]).bool().is_err());
        assert_eq!(
            Reader::new(&[0, 0, 0, 2, 1]).blob(),
            Err(DecodeError::Short)
        );
        let long = [0xff, 0xff, 0xff, 0xff, 0];
        assert_eq!(Reader::new(&long).blob(), Err(DecodeError::Field("length")));
        assert!(Reader::new(&[0, 0, 0, 1, 0xff]).text().is_err());
        assert_eq!(
            u64::read(2, &mut Reader::new(&[0; 8])),
            Err(DecodeError::Layout(2))
        );
    }
}
