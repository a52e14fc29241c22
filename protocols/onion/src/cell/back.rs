//! Back cells. The exit seals once, for the origin: tag 16 ‖ flags 1 ‖ zero 1 ‖
//! length 2 ‖ body, with everything after the tag under AES-256-GCM. Every relay
//! adds one AES-256-CTR layer over the whole cell. The origin takes the layers
//! off and opens.

use std::fmt;

use super::{Fuse, check_len, read_len, write_len};
use crate::aead::{Counter, CtrKey, GcmKey, Purpose, TAG_LEN};
use crate::error::CellError;
use crate::keys::{Prk, label};
use crate::kx::SessionSecret;

/// What a back cell carries besides its body.
pub const BACK_OVERHEAD: usize = TAG_LEN + 4;

const FLAGS_AT: usize = TAG_LEN;
const ZERO_AT: usize = TAG_LEN + 1;
const LEN_AT: usize = TAG_LEN + 2;

/// What came home in a back cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivered {
    /// What the exit gave to [`BackSealer::seal`].
    pub flags: u8,
    /// The body is at `cell[BACK_OVERHEAD..][..len]`.
    pub len: usize,
}

/// The key that the exit and the origin share for cells going home.
struct Sealing {
    gcm: GcmKey,
    cells: Counter,
    rekeyed: u32,
}

impl Sealing {
    fn new(exit: &Prk) -> Self {
        Self {
            gcm: GcmKey::new(&exit.expand(label::BACK)),
            cells: Counter::default(),
            rekeyed: 0,
        }
    }

    fn rekey(&mut self, session: &SessionSecret) {
        self.gcm = GcmKey::new(&session.expand(label::SESSION_BACK, self.rekeyed));
        self.rekeyed = self.rekeyed.wrapping_add(1);
        self.cells = Counter::default();
    }
}

/// The exit's end of the back leg.
pub struct BackSealer(Sealing);

impl BackSealer {
    pub(crate) fn new(exit: &Prk) -> Self {
        Self(Sealing::new(exit))
    }

    /// Seals the body at `cell[BACK_OVERHEAD..][..len]`; everything else in
    /// `cell` is overwritten. One GCM pass, no allocation. Cells must be sent in
    /// the order in which they were sealed.
    ///
    /// # Errors
    /// [`CellError::Length`], [`CellError::BodyTooLong`]: nothing was changed.
    /// [`CellError::Exhausted`]: end the circuit.
    pub fn seal(&mut self, cell: &mut [u8], flags: u8, len: usize) -> Result<(), CellError> {
        check_len(cell)?;
        if len > cell.len() - BACK_OVERHEAD {
            return Err(CellError::BodyTooLong);
        }
        let counter = self.0.cells.next()?;
        cell[FLAGS_AT] = flags;
        cell[ZERO_AT] = 0;
        write_len(&mut cell[LEN_AT..BACK_OVERHEAD], len);
        cell[BACK_OVERHEAD + len..].fill(0);
        self.0.gcm.seal(counter, cell);
        Ok(())
    }

    /// From the next cell on a key of the session seals. Each call makes
    /// another key; the origin has to make as many.
    pub fn rekey(&mut self, session: &SessionSecret) {
        self.0.rekey(session);
    }
}

/// A relay's part of the back leg.
pub struct BackLayer {
    key: CtrKey,
    cells: Counter,
}

impl BackLayer {
    pub(crate) fn new(prk: &Prk) -> Self {
        Self {
            key: CtrKey::new(&prk.expand(label::BACK_LAYER)),
            cells: Counter::default(),
        }
    }

    /// Adds this relay's layer to the next cell, in place.
    ///
    /// # Errors
    /// [`CellError::Length`]: nothing was changed. [`CellError::Exhausted`]: end
    /// the circuit.
    pub fn apply(&mut self, cell: &mut [u8]) -> Result<(), CellError> {
        check_len(cell)?;
        self.key
            .apply(Purpose::Encrypt, self.cells.next()?, 0, cell);
        Ok(())
    }
}

/// The origin's end of the back leg.
pub struct BackOpener {
    layers: Vec<CtrKey>,
    /// Cells that came home: the layers keep counting where the seal begins anew.
    layered: Counter,
    sealing: Sealing,
    fuse: Fuse,
}

impl BackOpener {
    pub(crate) fn new(exit: &Prk, back: &[Prk]) -> Self {
        Self {
            layers: back
                .iter()
                .map(|prk| CtrKey::new(&prk.expand(label::BACK_LAYER)))
                .collect(),
            layered: Counter::default(),
            sealing: Sealing::new(exit),
            fuse: Fuse::default(),
        }
    }

    /// Takes the layers off the next cell and opens it, in place: one CTR pass
    /// for each back relay, one GCM pass, no allocation.
    ///
    /// # Errors
    /// [`CellError::Length`]: nothing was changed. Anything else: some relay of
    /// the back leg (or the exit) changed the cell, and the opener is closed for
    /// good. Go on reading and throwing away for a while before closing, so that
    /// whoever did it sees no reaction.
    pub fn open(&mut self, cell: &mut [u8]) -> Result<Delivered, CellError> {
        check_len(cell)?;
        let Self {
            layers,
            layered,
            sealing,
            fuse,
        } = self;
        fuse.guard(|| {
            let counter = layered.next()?;
            for layer in layers.iter() {
                layer.apply(Purpose::Undo, counter, 0, cell);
            }
            sealing.gcm.open(sealing.cells.next()?, cell)?;
            let len = read_len(&cell[LEN_AT..BACK_OVERHEAD], cell.len() - BACK_OVERHEAD)?;
            Ok(Delivered {
                flags: cell[FLAGS_AT],
                len,
            })
        })
    }

    /// The origin's half of [`BackSealer::rekey`]: from the next cell on.
    pub fn rekey(&mut self, session: &SessionSecret) {
        self.sealing.rekey(session);
    }
}

impl fmt::Debug for BackSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BackSealer(..)")
    }
}

impl fmt::Debug for BackLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BackLayer(..)")
    }
}

impl fmt::Debug for BackOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BackOpener(..)")
    }
}

#[cfg(test)]
impl BackSealer {
    pub(crate) fn set_cells(&mut self, count: u64) {
        self.0.cells = Counter::at(count);
    }
}

#[cfg(test)]
impl BackLayer {
    pub(crate) fn set_cells(&mut self, count: u64) {
        self.cells = Counter::at(count);
    }
}
