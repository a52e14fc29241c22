//! The bytes that were sent and are not acknowledged, kept so that they can be sent again on another
//! circuit.

use std::collections::VecDeque;

/// Most bytes that are kept, and so the most that a session has on its way, in each direction.
///
/// 8 MiB, as much as the credit for the back leg: the two directions are to be equally fast. A session
/// holds what is really on its way, and nothing when it is idle but the last [`ACK_EVERY`] at most.
///
/// [`ACK_EVERY`]: super::ACK_EVERY
pub const SEND_BUFFER: usize = 8 * 1024 * 1024;

/// Sent bytes, in the pieces in which they were sent.
#[derive(Default)]
pub(super) struct Unacked {
    pieces: VecDeque<Box<[u8]>>,
    /// Offset in the stream of the first byte of the first piece.
    start: u64,
    /// Offset of the first byte that is not acknowledged; in the first piece, or at its start.
    acked: u64,
    /// Offset after the last byte.
    end: u64,
}

impl Unacked {
    pub(super) fn acked(&self) -> u64 {
        self.acked
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Bytes that are not acknowledged.
    pub(super) fn len(&self) -> usize {
        // At most SEND_BUFFER and a cell or two.
        usize::try_from(self.end - self.acked).unwrap_or(usize::MAX)
    }

    /// Keeps a copy of what was just sent. `false` when the counter is used up.
    pub(super) fn push(&mut self, bytes: &[u8]) -> bool {
        let Some(end) = self.end.checked_add(bytes.len() as u64) else {
            return false;
        };
        if !bytes.is_empty() {
            self.pieces.push_back(bytes.into());
            self.end = end;
        }
        true
    }

    /// Lets go of what the other side has. `false` when that was never sent. Older figures than the
    /// last are without effect.
    pub(super) fn acknowledge(&mut self, ack: u64) -> bool {
        if ack > self.end {
            return false;
        }
        self.acked = self.acked.max(ack);
        while let Some(piece) = self.pieces.front() {
            let next = self.start + piece.len() as u64;
            if next > self.acked {
                break;
            }
            self.start = next;
            self.pieces.pop_front();
        }
        if self.pieces.is_empty() {
            // Give the memory of a burst back.
            self.pieces = VecDeque::new();
        }
        true
    }

    /// Copies bytes from `offset` on to `out`, as many as there are, and says how many.
    pub(super) fn copy_from(&self, offset: u64, out: &mut [u8]) -> usize {
        let mut at = self.start;
        let mut done = 0;
        for piece in &self.pieces {
            let next = at + piece.len() as u64;
            let want = offset + done as u64;
            if want < next && done < out.len() {
                let skip = usize::try_from(want - at).unwrap_or(piece.len());
                let rest = &piece[skip..];
                let n = rest.len().min(out.len() - done);
                out[done..done + n].copy_from_slice(&rest[..n]);
                done += n;
            }
            at = next;
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn holds_exactly_what_is_not_acknowledged(
            steps in prop::collection::vec((0usize..300, 0u64..400), 1..60),
            offset in 0u64..500,
        ) {
            let mut unacked = Unacked::default();
            let mut all = Vec::new();
            for (len, ack) in steps {
                let bytes: Vec<u8> = (0..len).map(|i| ((all.len() + i) % 251) as u8).collect();
                prop_assert!(unacked.push(&bytes));
                all.extend_from_slice(&bytes);
                let ack = unacked.acked() + ack;
                prop_assert_eq!(unacked.acknowledge(ack), ack <= all.len() as u64);
                prop_assert_eq!(unacked.len() as u64, unacked.end() - unacked.acked());
                let from = (unacked.acked() + offset).min(unacked.end());
                let mut out = vec![0; 700];
                let n = unacked.copy_from(from, &mut out);
                let expected = &all[from as usize..];
                prop_assert_eq!(&out[..n], &expected[..expected.len().min(700)]);
            }
        }
    }
}
