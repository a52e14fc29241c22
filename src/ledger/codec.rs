//! How rows become bytes: fixed layouts, written field by field, numbers big-endian.
//!
//! By hand and not by a derived format, because these bytes outlive programs: a layout changes
//! when somebody changes it, and not when a field of a struct is moved.

/// Longest byte string in a row, in bytes. A signed transaction to fifty payees has about 7,000.
const MAX_BLOB: usize = 1 << 16;

/// Why bytes are not a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// They end too early.
    #[error("the row ends too early")]
    Short,
    /// Some are left over.
    #[error("the row is too long")]
    Trailing,
    /// A field holds what it can't hold.
    #[error("the row's {0} has a value that it can't have")]
    Field(&'static str),
    /// A layout that this program does not know.
    #[error("the row has layout {0}, which this version of the program does not know")]
    Layout(u8),
}

/// Takes the fields of a row.
#[derive(Default)]
pub struct Writer(Vec<u8>);

#[allow(missing_docs, reason = "each is named after what it writes")]
impl Writer {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.raw(&[value])
    }

    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.u8(value.into())
    }

    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub fn u128(&mut self, value: u128) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// A number that may be missing.
    pub fn option_u64(&mut self, value: Option<u64>) -> &mut Self {
        self.bool(value.is_some()).u64(value.unwrap_or_default())
    }

    /// Bytes after their number; what is longer than `MAX_BLOB` can't be read again.
    pub fn blob(&mut self, bytes: &[u8]) -> &mut Self {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX))
            .raw(bytes)
    }
}

/// Gives the fields of a row back in the order in which they were written.
pub struct Reader<'a>(&'a [u8]);

#[allow(missing_docs, reason = "each is named after what it reads")]
#[allow(
    clippy::missing_errors_doc,
    reason = "Short when there are too few bytes left"
)]
impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Field("yes or no")),
        }
    }

    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    pub fn u128(&mut self) -> Result<u128, DecodeError> {
        self.array().map(u128::from_be_bytes)
    }

    /// A number that may be missing.
    pub fn option_u64(&mut self) -> Result<Option<u64>, DecodeError> {
        let there = self.bool()?;
        let value = self.u64()?;
        Ok(there.then_some(value))
    }

    /// Bytes after their number, at most `MAX_BLOB`.
    pub fn blob(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        if length > MAX_BLOB {
            return Err(DecodeError::Field("length"));
        }
        let (taken, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn finish(self) -> Result<(), DecodeError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing)
        }
    }
}

crate::ledger::opaque_debug!(Writer, Reader<'_>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_in_order() {
        let mut out = Writer::new();
        out.u8(1).bool(true).u16(2).u32(3).u64(4).u128(5);
        out.option_u64(None).option_u64(Some(6)).blob(&[7, 8]);
        let bytes = out.into_bytes();
        let mut from = Reader::new(&bytes);
        assert_eq!(from.u8(), Ok(1));
        assert_eq!(from.bool(), Ok(true));
        assert_eq!(from.u16(), Ok(2));
        assert_eq!(from.u32(), Ok(3));
        assert_eq!(from.u64(), Ok(4));
        assert_eq!(from.u128(), Ok(5));
        assert_eq!(from.option_u64(), Ok(None));
        assert_eq!(from.option_u64(), Ok(Some(6)));
        assert_eq!(from.blob(), Ok(&[7, 8][..]));
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
        assert!(Reader::new(&[0xff; 9]).blob().is_err());
    }
}
