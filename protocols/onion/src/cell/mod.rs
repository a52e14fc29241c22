//! Cells: their sizes, and what both legs have in common. The over leg is in
//! `over`, the back leg in `back`.

mod back;
mod over;
#[cfg(test)]
mod tests;

pub use back::{BACK_OVERHEAD, BackLayer, BackOpener, BackSealer, Delivered};
pub use over::{Command, OVER_OVERHEAD, Opened, OverOpener, OverSealer};

use crate::error::CellError;

/// The fixed sizes of cells. The same in both directions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum CellSize {
    /// 1 KiB on the substream.
    Small,
    /// 4 KiB on the substream.
    Medium,
    /// 16 KiB on the substream: one yamux frame.
    Large,
}

impl CellSize {
    /// All sizes, smallest first.
    pub const ALL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    /// Bytes on the substream, with the one byte in front that says the size.
    #[must_use]
    pub const fn wire_len(self) -> usize {
        match self {
            Self::Small => 1024,
            Self::Medium => 4096,
            Self::Large => 16384,
        }
    }

    /// Bytes that the functions of this crate work on.
    #[must_use]
    pub const fn cell_len(self) -> usize {
        self.wire_len() - 1
    }

    /// Most body bytes of an over cell of this size.
    #[must_use]
    pub const fn over_body(self) -> usize {
        self.cell_len() - OVER_OVERHEAD
    }

    /// Most body bytes of a back cell of this size.
    #[must_use]
    pub const fn back_body(self) -> usize {
        self.cell_len() - BACK_OVERHEAD
    }

    /// The smallest size whose over cell holds `len` body bytes.
    #[must_use]
    pub const fn fitting_over(len: usize) -> Option<Self> {
        Self::fitting(len, OVER_OVERHEAD)
    }

    /// The smallest size whose back cell holds `len` body bytes.
    #[must_use]
    pub const fn fitting_back(len: usize) -> Option<Self> {
        Self::fitting(len, BACK_OVERHEAD)
    }

    /// The size whose cells have `len` bytes.
    #[must_use]
    pub const fn of_cell_len(len: usize) -> Option<Self> {
        match len {
            1023 => Some(Self::Small),
            4095 => Some(Self::Medium),
            16383 => Some(Self::Large),
            _ => None,
        }
    }

    const fn fitting(len: usize, overhead: usize) -> Option<Self> {
        let mut index = 0;
        while index < Self::ALL.len() {
            if len <= Self::ALL[index].cell_len() - overhead {
                return Some(Self::ALL[index]);
            }
            index += 1;
        }
        None
    }
}

fn check_len(cell: &[u8]) -> Result<(), CellError> {
    match CellSize::of_cell_len(cell.len()) {
        Some(_) => Ok(()),
        None => Err(CellError::Length(cell.len())),
    }
}

/// Where the flags and the length of a body lie: after the tag, and on the over
/// leg after the command.
fn write_len(at: &mut [u8], len: usize) {
    let len = u16::try_from(len).expect("no cell is as long as 64 KiB");
    at.copy_from_slice(&len.to_be_bytes());
}

fn read_len(at: &[u8], most: usize) -> Result<usize, CellError> {
    let len = usize::from(u16::from_be_bytes([at[0], at[1]]));
    if len <= most {
        Ok(len)
    } else {
        Err(CellError::Content)
    }
}

/// Remembers that a direction has ended, so that nothing is opened after what
/// could not be.
#[derive(Clone, Copy, Default)]
struct Fuse(bool);

impl Fuse {
    /// Runs `work` unless an earlier one failed.
    fn guard<T>(&mut self, work: impl FnOnce() -> Result<T, CellError>) -> Result<T, CellError> {
        if self.0 {
            return Err(CellError::Closed);
        }
        let result = work();
        self.0 = result.is_err();
        result
    }
}
