//! A hop's side of the reverse direction.

use std::fmt;

use super::{
    FAILURE_PAYLOAD, Keys, REPORT_LEN, REPORT_PAYLOAD, REPORT_SLOT, check_len, check_payload,
    open_slot, seal_slot,
};
use crate::aead::{Counter, CtrKey, GcmKey, Purpose, TAG_LEN};
use crate::error::CellError;
use crate::keys::Prk;

/// A hop's keys and counters for report and failure frames.
pub struct ReverseHop {
    keys: Keys,
    rounds: Counter,
    failures: Counter,
    relayed: Counter,
}

impl ReverseHop {
    pub(crate) fn new(prk: &Prk) -> Self {
        Self {
            keys: Keys::new(prk),
            rounds: Counter::default(),
            failures: Counter::default(),
            relayed: Counter::default(),
        }
    }

    /// Handles a report frame that passes: returns what the origin says to this
    /// hop (`None` if nothing, or if it was changed on the way), and leaves in
    /// `frame` what to send on, with `mine` sealed for the origin.
    ///
    /// # Errors
    /// [`CellError::Length`], [`CellError::BodyTooLong`] (more than
    /// [`REPORT_PAYLOAD`]): nothing was changed. [`CellError::Exhausted`].
    pub fn report(&mut self, frame: &mut [u8], mine: &[u8]) -> Result<Option<Vec<u8>>, CellError> {
        check_len(frame)?;
        check_payload(mine, REPORT_PAYLOAD)?;
        let mut told = None;
        self.report_with(frame, |slot| {
            told = slot.map(<[u8]>::to_vec);
            mine.to_vec()
        })?;
        Ok(told.filter(|payload| !payload.is_empty()))
    }

    /// As [`report`](Self::report), for a hop that answers what the origin says: `answer`
    /// is given that (`None` only if it was changed on the way), and gives what is sealed
    /// for the origin.
    ///
    /// # Errors
    /// As there; after [`CellError::BodyTooLong`] the frame cannot be used any more.
    pub fn report_with(
        &mut self,
        frame: &mut [u8],
        answer: impl FnOnce(Option<&[u8]>) -> Vec<u8>,
    ) -> Result<(), CellError> {
        check_len(frame)?;
        let round = self.rounds.next()?;
        self.keys.layer.apply(Purpose::Encrypt, round, 0, frame);
        let told = open_slot(&self.keys.to_hop, round, &mut frame[..REPORT_SLOT]);
        let mine = answer(told.as_deref());
        check_payload(&mine, REPORT_PAYLOAD)?;
        frame.copy_within(REPORT_SLOT.., 0);
        seal_slot(
            &self.keys.from_hop,
            round,
            &mut frame[REPORT_LEN - REPORT_SLOT..],
            &mine,
        );
        Ok(())
    }

    /// A failure frame in which this hop tells the origin why it gives up.
    ///
    /// # Errors
    /// [`CellError::BodyTooLong`] for more than [`FAILURE_PAYLOAD`] bytes,
    /// [`CellError::Exhausted`].
    pub fn fail(&mut self, payload: &[u8]) -> Result<Box<[u8]>, CellError> {
        check_payload(payload, FAILURE_PAYLOAD)?;
        let mut frame = vec![0; REPORT_LEN].into_boxed_slice();
        let len = u16::try_from(payload.len()).expect("a frame is shorter than 64 KiB");
        let text = &mut frame[TAG_LEN..];
        text[..2].copy_from_slice(&len.to_be_bytes());
        text[2..2 + payload.len()].copy_from_slice(payload);
        GcmKey::new(&self.keys.failure).seal(self.failures.next()?, &mut frame);
        Ok(frame)
    }

    /// Adds this hop's layer to a failure frame that passes.
    ///
    /// # Errors
    /// [`CellError::Length`]: nothing was changed. [`CellError::Exhausted`].
    pub fn relay_failure(&mut self, frame: &mut [u8]) -> Result<(), CellError> {
        check_len(frame)?;
        let counter = self.relayed.next()?;
        CtrKey::new(&self.keys.failure_layer).apply(Purpose::Encrypt, counter, 0, frame);
        Ok(())
    }
}

impl fmt::Debug for ReverseHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReverseHop(..)")
    }
}
