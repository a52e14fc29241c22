//! What hops put into report frames: load and what they counted.
//!
//! The frames themselves are sealed and passed on by the onion crate; when rounds start is
//! the origin's business.

/// Version byte of a hop's report.
const VERSION: u8 = 1;
/// Length of the fixed part: version, load, cells, bytes.
pub(crate) const FIXED: usize = 2 + 8 + 8;

/// What one hop tells the origin in a report round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HopReport {
    /// How busy the hop is: 0 is idle, 255 is full. Its own word.
    pub load: u8,
    /// Cells of this circuit that it has carried, both legs where it is on both.
    pub cells: u64,
    /// Body bytes of those cells.
    pub bytes: u64,
    /// What later versions, and money, put behind.
    pub extra: Vec<u8>,
}

impl HopReport {
    /// `[1][load][cells u64][bytes u64][extra]`, integers big-endian.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED + self.extra.len());
        out.extend([VERSION, self.load]);
        out.extend(self.cells.to_be_bytes());
        out.extend(self.bytes.to_be_bytes());
        out.extend(&self.extra);
        out
    }

    /// Reads one; `None` for another version or too few bytes.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (fixed, extra) = payload.split_at_checked(FIXED)?;
        if fixed[0] != VERSION {
            return None;
        }
        let number = |at: usize| fixed[at..at + 8].try_into().ok().map(u64::from_be_bytes);
        Some(Self {
            load: fixed[1],
            cells: number(2)?,
            bytes: number(10)?,
            extra: extra.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_report() {
        let report = HopReport {
            load: 7,
            cells: 258,
            bytes: 65536,
            extra: vec![9],
        };
        let bytes = report.encode();
        assert_eq!(
            hex::encode(&bytes),
            "01070000000000000102000000000001000009"
        );
        assert_eq!(HopReport::decode(&bytes), Some(report));
        assert_eq!(HopReport::decode(&bytes[..17]), None);
        assert_eq!(HopReport::decode(&[2; 18]), None);
    }
}
