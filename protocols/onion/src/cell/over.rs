//! Over cells. A cell begins with a vector of six entries, one for each hop
//! that could still come: tag 16 ‖ command 1 ‖ flags 1 ‖ length 2. A hop opens
//! everything after its tag with one AES-256-GCM pass, takes the four bytes
//! that are its own, moves the vector up by one entry and fills the free one
//! from its filler key. The origin works out in advance what becomes of the
//! fillers, so every hop's tag covers every byte that it receives.

use std::fmt;

use super::{CellSize, Fuse, check_len, read_len, write_len};
use crate::aead::{Counter, CtrKey, GCM_FIRST_BLOCK, GcmKey, Purpose, TAG_LEN};
use crate::error::CellError;
use crate::keys::{Prk, label};
use crate::kx::SessionSecret;
use crate::setup::MAX_OVER;

/// One entry of the vector.
const ENTRY: usize = TAG_LEN + 4;
/// What an over cell carries besides its body: the vector.
pub const OVER_OVERHEAD: usize = MAX_OVER * ENTRY;
/// The part of the vector under a hop's GCM pass.
const SEALED: usize = OVER_OVERHEAD - TAG_LEN;

const COMMAND_AT: usize = TAG_LEN;
const FLAGS_AT: usize = TAG_LEN + 1;
const LEN_AT: usize = TAG_LEN + 2;

const FORWARD: u8 = 0;
const DROP: u8 = 1;
const DELIVER: u8 = 2;

/// What the hop at which a cell ends is to do with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Take the body: data at the exit, control at a relay. The flags go with it.
    Deliver(u8),
    /// Throw it away: padding.
    Drop,
}

/// What a hop found in a cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opened {
    /// The buffer now holds the cell to send on, of the same length.
    Forward,
    /// For this hop.
    Deliver {
        /// What the origin gave to [`Command::Deliver`].
        flags: u8,
        /// The body is at `cell[OVER_OVERHEAD..][..len]`.
        len: usize,
    },
    /// Padding that ends here.
    Drop,
}

/// The origin's keys for one hop of the over leg.
struct Slot {
    gcm: GcmKey,
    /// The key stream of `gcm`, to see what becomes of fillers.
    stream: CtrKey,
    filler: CtrKey,
    cells: Counter,
}

impl Slot {
    fn new(prk: &Prk) -> Self {
        let mut slot = Self {
            gcm: GcmKey::new(&[0; 32]),
            stream: CtrKey::new(&[0; 32]),
            filler: CtrKey::new(&prk.expand(label::OVER_FILLER)),
            cells: Counter::default(),
        };
        slot.rekey(&prk.expand(label::OVER));
        slot
    }

    fn rekey(&mut self, key: &[u8; 32]) {
        self.gcm = GcmKey::new(key);
        self.stream = CtrKey::new(key);
        self.cells = Counter::default();
    }
}

/// The origin's end of the over leg.
pub struct OverSealer {
    slots: Vec<Slot>,
    /// Hides from the hop where a cell ends how many hops were before it.
    pad: CtrKey,
    /// Cells sealed for any hop; names the padding of each.
    sealed: u64,
    rekeyed: u32,
}

impl OverSealer {
    pub(crate) fn new(over: &[Prk], pad: &[u8; 32]) -> Self {
        Self {
            slots: over.iter().map(Slot::new).collect(),
            pad: CtrKey::new(pad),
            sealed: 0,
            rekeyed: 0,
        }
    }

    /// The index of the exit, which is the last hop.
    #[must_use]
    pub fn exit_index(&self) -> usize {
        self.slots.len() - 1
    }

    /// Seals the body at `cell[OVER_OVERHEAD..][..len]` for hop `to` (0 is the
    /// first relay, [`Self::exit_index`] the exit); everything else in `cell`
    /// is overwritten, and for [`Command::Drop`] the body too. One GCM pass for
    /// each hop up to `to`, no allocation. Cells must be sent in the order in
    /// which they were sealed.
    ///
    /// # Errors
    /// [`CellError::Length`], [`CellError::BodyTooLong`], [`CellError::NoSuchHop`]:
    /// nothing was changed. [`CellError::Exhausted`]: end the circuit.
    pub fn seal(
        &mut self,
        cell: &mut [u8],
        to: usize,
        command: Command,
        len: usize,
    ) -> Result<(), CellError> {
        check_len(cell)?;
        if len > cell.len() - OVER_OVERHEAD {
            return Err(CellError::BodyTooLong);
        }
        let slots = self.slots.get_mut(..=to).ok_or(CellError::NoSuchHop)?;
        // All counters must have room before any is moved.
        for slot in slots.iter() {
            slot.cells.peek()?;
        }
        let (command, flags, len) = match command {
            Command::Deliver(flags) => (DELIVER, flags, len),
            Command::Drop => (DROP, 0, 0),
        };
        cell[OVER_OVERHEAD + len..].fill(0);
        // The vector as the hop `to` sees it once opened: random-looking up to
        // the fillers of the hops before it, so that it cannot count them.
        let vector = &mut cell[..OVER_OVERHEAD];
        vector.fill(0);
        self.pad
            .apply(Purpose::Encrypt, self.sealed, 0, &mut vector[ENTRY..]);
        self.sealed += 1;
        fillers(slots, vector)?;
        for (index, slot) in slots.iter_mut().enumerate().rev() {
            if index == to {
                cell[COMMAND_AT] = command;
                cell[FLAGS_AT] = flags;
                write_len(&mut cell[LEN_AT..ENTRY], len);
            } else {
                cell.copy_within(..OVER_OVERHEAD - ENTRY, ENTRY);
                cell[COMMAND_AT] = FORWARD;
                cell[FLAGS_AT..ENTRY].fill(0);
            }
            slot.gcm.seal(slot.cells.next()?, cell);
        }
        Ok(())
    }

    /// From the next cell on the exit's entry is sealed with a key of the
    /// session. The relays keep theirs. Each call makes another key; the exit
    /// has to make as many.
    pub fn rekey(&mut self, session: &SessionSecret) {
        let key = session.expand(label::SESSION_OVER, self.rekeyed);
        self.rekeyed = self.rekeyed.wrapping_add(1);
        if let Some(exit) = self.slots.last_mut() {
            exit.rekey(&key);
        }
    }
}

/// Writes into the tail of `vector` what must stand there *in clear* at the
/// last of `slots`, so that sealing it gives what the hops before it filled in.
fn fillers(slots: &[Slot], vector: &mut [u8]) -> Result<(), CellError> {
    let mut tail = [0; OVER_OVERHEAD];
    for (index, slot) in slots.iter().enumerate() {
        let counter = slot.cells.peek()?;
        // The entries filled in so far are the last `index`; this hop's GCM
        // pass turns them over ...
        let from = OVER_OVERHEAD - index * ENTRY;
        if index > 0 {
            let mut stream = [0; SEALED];
            slot.stream
                .apply(Purpose::Undo, counter, GCM_FIRST_BLOCK, &mut stream);
            for (byte, key) in tail[from..].iter_mut().zip(&stream[from - TAG_LEN..]) {
                *byte ^= key;
            }
        }
        if index + 1 == slots.len() {
            vector[from..].copy_from_slice(&tail[from..]);
        } else {
            // ... then it moves them up and fills the last one.
            tail.copy_within(ENTRY.., 0);
            tail[OVER_OVERHEAD - ENTRY..].fill(0);
            slot.filler.apply(
                Purpose::Undo,
                counter,
                0,
                &mut tail[OVER_OVERHEAD - ENTRY..],
            );
        }
    }
    Ok(())
}

/// A hop's end of the over leg.
pub struct OverOpener {
    gcm: GcmKey,
    /// The exit has none: nothing goes on from there.
    filler: Option<CtrKey>,
    cells: Counter,
    rekeyed: u32,
    fuse: Fuse,
}

impl OverOpener {
    pub(crate) fn relay(prk: &Prk) -> Self {
        Self {
            filler: Some(CtrKey::new(&prk.expand(label::OVER_FILLER))),
            ..Self::exit(prk)
        }
    }

    pub(crate) fn exit(prk: &Prk) -> Self {
        Self {
            gcm: GcmKey::new(&prk.expand(label::OVER)),
            filler: None,
            cells: Counter::default(),
            rekeyed: 0,
            fuse: Fuse::default(),
        }
    }

    /// Opens the next cell in place: one GCM pass, no allocation. Cells must
    /// come in the order in which they were sent.
    ///
    /// # Errors
    /// [`CellError::Length`]: nothing was changed. Anything else: not a byte of
    /// the cell may be used or sent on, and the opener is closed for good.
    pub fn open(&mut self, cell: &mut [u8]) -> Result<Opened, CellError> {
        check_len(cell)?;
        let Self {
            gcm,
            filler,
            cells,
            fuse,
            ..
        } = self;
        fuse.guard(|| {
            let counter = cells.next()?;
            gcm.open(counter, cell)?;
            let flags = cell[FLAGS_AT];
            let len = read_len(&cell[LEN_AT..ENTRY], cell.len() - OVER_OVERHEAD)?;
            match (cell[COMMAND_AT], filler) {
                (FORWARD, Some(filler)) => {
                    cell.copy_within(ENTRY..OVER_OVERHEAD, 0);
                    let free = &mut cell[OVER_OVERHEAD - ENTRY..OVER_OVERHEAD];
                    free.fill(0);
                    filler.apply(Purpose::Encrypt, counter, 0, free);
                    Ok(Opened::Forward)
                }
                (DELIVER, _) => Ok(Opened::Deliver { flags, len }),
                (DROP, _) => Ok(Opened::Drop),
                _ => Err(CellError::Content),
            }
        })
    }

    /// The exit's half of [`OverSealer::rekey`]: from the next cell on.
    pub fn rekey(&mut self, session: &SessionSecret) {
        self.gcm = GcmKey::new(&session.expand(label::SESSION_OVER, self.rekeyed));
        self.rekeyed = self.rekeyed.wrapping_add(1);
        self.cells = Counter::default();
    }
}

impl fmt::Debug for OverSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OverSealer(..)")
    }
}

impl fmt::Debug for OverOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OverOpener(..)")
    }
}

// The body must fit the two bytes of its length.
const _: () = assert!(CellSize::Large.cell_len() <= u16::MAX as usize);

#[cfg(test)]
impl OverSealer {
    pub(crate) fn set_cells(&mut self, hop: usize, count: u64) {
        self.slots[hop].cells = Counter::at(count);
    }
}

#[cfg(test)]
impl OverOpener {
    pub(crate) fn set_cells(&mut self, count: u64) {
        self.cells = Counter::at(count);
    }
}

/// What an origin that misbehaves would do, for the tests of openers.
#[cfg(test)]
pub(super) mod tests_support {
    use super::{COMMAND_AT, OverSealer};

    /// Writes another command into a cell that was just sealed for the only hop.
    pub(crate) fn set_command(sealer: &mut OverSealer, cell: &mut [u8], command: u8) {
        let slot = &sealer.slots[0];
        let counter = slot.cells.taken() - 1;
        slot.gcm.open(counter, cell).expect("it was just sealed");
        cell[COMMAND_AT] = command;
        slot.gcm.seal(counter, cell);
    }
}
