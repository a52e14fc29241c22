//! The reverse direction of a circuit's substreams: report frames, which go all
//! the way round from the origin to the origin, and failure frames, which one
//! hop starts. Both have [`REPORT_LEN`] bytes everywhere. The hop's side is in
//! `hop`, the origin's in `origin`; what is said in a report is the caller's.
//!
//! Frames travel from the last back relay to the first, over the exit, and from
//! the last over relay to the first: against the order in which hops are counted.

mod hop;
mod origin;
#[cfg(test)]
mod tests;

pub use hop::ReverseHop;
pub use origin::ReverseOrigin;

use zeroize::Zeroizing;

use crate::aead::{CtrKey, GcmKey, TAG_LEN};
use crate::error::CellError;
use crate::keys::{Prk, label};
use crate::setup::MAX_SLOTS;

/// Length of one slot of a report frame. A guess at what a signed receipt needs.
pub const REPORT_SLOT: usize = 128;
/// Most payload of a slot: what is left beside tag 16 and length 1.
pub const REPORT_PAYLOAD: usize = REPORT_SLOT - TAG_LEN - 1;
/// Length of every report and failure frame.
pub const REPORT_LEN: usize = MAX_SLOTS * REPORT_SLOT;
/// Most payload of a failure frame: what is left beside tag 16 and length 2.
pub const FAILURE_PAYLOAD: usize = REPORT_LEN - TAG_LEN - 2;

/// AES blocks in a slot.
const SLOT_BLOCKS: usize = REPORT_SLOT / 16;

/// The keys that the origin and one hop share for the reverse direction.
struct Keys {
    to_hop: GcmKey,
    from_hop: GcmKey,
    layer: CtrKey,
    // Used once in the life of a circuit at most: expanded only then.
    failure: Zeroizing<[u8; 32]>,
    failure_layer: Zeroizing<[u8; 32]>,
}

impl Keys {
    fn new(prk: &Prk) -> Self {
        Self {
            to_hop: GcmKey::new(&prk.expand(label::REPORT_TO_HOP)),
            from_hop: GcmKey::new(&prk.expand(label::REPORT_FROM_HOP)),
            layer: CtrKey::new(&prk.expand(label::REPORT_LAYER)),
            failure: prk.expand(label::FAILURE),
            failure_layer: prk.expand(label::FAILURE_LAYER),
        }
    }
}

fn check_len(frame: &[u8]) -> Result<(), CellError> {
    if frame.len() == REPORT_LEN {
        Ok(())
    } else {
        Err(CellError::Length(frame.len()))
    }
}

/// Seals `payload` (not longer than [`REPORT_PAYLOAD`]) into a slot.
fn seal_slot(key: &GcmKey, round: u64, slot: &mut [u8], payload: &[u8]) {
    let text = &mut slot[TAG_LEN..];
    text.fill(0);
    text[0] = u8::try_from(payload.len()).expect("the caller checked the length");
    text[1..=payload.len()].copy_from_slice(payload);
    key.seal(round, slot);
}

/// Opens a slot in place; `None` if it is not authentic or says nonsense.
fn open_slot(key: &GcmKey, round: u64, slot: &mut [u8]) -> Option<Vec<u8>> {
    key.open(round, slot).ok()?;
    let text = &slot[TAG_LEN..];
    text.get(1..=usize::from(text[0])).map(<[u8]>::to_vec)
}

fn check_payload(payload: &[u8], most: usize) -> Result<(), CellError> {
    if payload.len() <= most {
        Ok(())
    } else {
        Err(CellError::BodyTooLong)
    }
}
