//! The origin's side of the reverse direction: it knows every hop's layer, and
//! so where each slot will be when.

use std::fmt;

use zeroize::Zeroizing;

use super::{
    Keys, REPORT_LEN, REPORT_PAYLOAD, REPORT_SLOT, SLOT_BLOCKS, check_len, check_payload,
    open_slot, seal_slot,
};
use crate::aead::{Counter, CtrKey, GcmKey, Purpose, TAG_LEN};
use crate::error::CellError;
use crate::keys::Prk;
use crate::setup::MAX_SLOTS;

/// The slot into which every hop puts its own.
const LAST: usize = MAX_SLOTS - 1;

struct Hop {
    keys: Keys,
    failures: Counter,
    relayed: Counter,
}

impl Hop {
    /// Lays this hop's key stream on one slot of a report frame.
    fn layer(&self, round: u64, position: usize, slot: &mut [u8]) {
        let block = u32::try_from(position * SLOT_BLOCKS).expect("a frame has few blocks");
        self.keys.layer.apply(Purpose::Undo, round, block, slot);
    }

    fn open_failure(&self, frame: &mut [u8]) -> Option<Vec<u8>> {
        let counter = self.failures.peek().ok()?;
        GcmKey::new(&self.keys.failure).open(counter, frame).ok()?;
        let text = &frame[TAG_LEN..];
        let len = usize::from(u16::from_be_bytes([text[0], text[1]]));
        text[2..].get(..len).map(<[u8]>::to_vec)
    }
}

/// The origin's keys and counters for report and failure frames.
pub struct ReverseOrigin {
    /// As hops are counted; frames come past them from the last to the first.
    hops: Vec<Hop>,
    pad: CtrKey,
    started: Counter,
    finished: Counter,
}

impl ReverseOrigin {
    pub(crate) fn new(hops: &[Prk], pad: &[u8; 32]) -> Self {
        Self {
            hops: hops
                .iter()
                .map(|prk| Hop {
                    keys: Keys::new(prk),
                    failures: Counter::default(),
                    relayed: Counter::default(),
                })
                .collect(),
            pad: CtrKey::new(pad),
            started: Counter::default(),
            finished: Counter::default(),
        }
    }

    /// Hops of the circuit without the origin: how many answers
    /// [`Self::finish`] returns. The over leg's come first, then the back leg's.
    #[must_use]
    pub fn hops(&self) -> usize {
        self.hops.len()
    }

    /// A report frame to send to the last back relay (or to the exit, where
    /// there is no back relay), with something to say to each hop; what is
    /// missing at the end of `to_hops` is empty. Several may be under way.
    ///
    /// # Errors
    /// [`CellError::NoSuchHop`] for more payloads than hops,
    /// [`CellError::BodyTooLong`] for one over [`REPORT_PAYLOAD`]: nothing was
    /// changed. [`CellError::Exhausted`].
    pub fn start(&mut self, to_hops: &[Vec<u8>]) -> Result<Box<[u8]>, CellError> {
        if to_hops.len() > self.hops.len() {
            return Err(CellError::NoSuchHop);
        }
        for payload in to_hops {
            check_payload(payload, REPORT_PAYLOAD)?;
        }
        let round = self.started.next()?;
        let mut frame = vec![0; REPORT_LEN].into_boxed_slice();
        // Slots that this circuit has no hop for must look like the others.
        self.pad.apply(Purpose::Encrypt, round, 0, &mut frame);
        let slots = frame.chunks_exact_mut(REPORT_SLOT);
        for (passed, (index, slot)) in (0..self.hops.len()).rev().zip(slots).enumerate() {
            let payload = to_hops.get(index).map_or(&[][..], Vec::as_slice);
            seal_slot(&self.hops[index].keys.to_hop, round, slot, payload);
            // Every hop before it moves the slot one place to the front, after
            // laying its key stream on it; the hop itself lays it on in front.
            for (step, hop) in self.hops[index..].iter().rev().enumerate() {
                hop.layer(round, passed - step, slot);
            }
        }
        Ok(frame)
    }

    /// Opens a report frame that came back: one answer for each hop, `None`
    /// where it was changed on the way. Frames must come in the order in which
    /// they were started.
    ///
    /// # Errors
    /// [`CellError::Length`], [`CellError::Unexpected`] when none is under way.
    pub fn finish(&mut self, frame: &mut [u8]) -> Result<Vec<Option<Vec<u8>>>, CellError> {
        check_len(frame)?;
        if self.finished.taken() >= self.started.taken() {
            return Err(CellError::Unexpected);
        }
        let round = self.finished.next()?;
        let answers = self.hops.iter().enumerate().map(|(index, hop)| {
            // `index` hops came after this one, each moving its slot by one.
            let slot = &mut frame[(LAST - index) * REPORT_SLOT..][..REPORT_SLOT];
            for (step, later) in self.hops[..index].iter().rev().enumerate() {
                later.layer(round, LAST - step, slot);
            }
            open_slot(&hop.keys.from_hop, round, slot)
        });
        Ok(answers.collect())
    }

    /// Opens a failure frame: the index of the hop that sent it, and what it says.
    ///
    /// # Errors
    /// [`CellError::Length`], [`CellError::Authentication`] when no hop of this
    /// circuit sealed it so.
    pub fn open_failure(&mut self, frame: &mut [u8]) -> Result<(usize, Vec<u8>), CellError> {
        check_len(frame)?;
        let mut opened = Zeroizing::new([0; REPORT_LEN]);
        for index in 0..self.hops.len() {
            opened.copy_from_slice(frame);
            if let Some(payload) = self.hops[index].open_failure(opened.as_mut()) {
                self.hops[index].failures.next()?;
                for later in &mut self.hops[..index] {
                    later.relayed.next()?;
                }
                return Ok((index, payload));
            }
            // Not this hop: then it added a layer.
            let hop = &self.hops[index];
            CtrKey::new(&hop.keys.failure_layer).apply(
                Purpose::Undo,
                hop.relayed.peek()?,
                0,
                frame,
            );
        }
        Err(CellError::Authentication)
    }
}

impl fmt::Debug for ReverseOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReverseOrigin(..)")
    }
}
