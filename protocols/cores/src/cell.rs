//! Cells in memory, and the end of a circuit that a session rides on.
//!
//! This is the seam between circuits and sessions: a session fills [`CellBuf`]s and
//! takes them, a circuit seals, opens and moves them. Nothing here encrypts, and
//! nothing here knows what a payload means.

use std::fmt;
use std::sync::{Arc, Mutex};

use masq_onion::{BACK_OVERHEAD, CellSize, OVER_OVERHEAD};
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

use crate::close::CloseReason;

/// Bytes in front of every cell on a substream: the frame kind.
pub(crate) const KIND_LEN: usize = 1;

/// Cells that may wait between a session and its circuit, in each direction.
///
/// Guess: 8 × 16 KiB keeps both tasks busy without adding latency worth naming.
pub const END_QUEUE: usize = 8;

/// Spare buffers that a [`CellPool`] keeps for each cell size.
///
/// Guess: 32 large ones are 512 KiB for the whole node, and cover a few busy circuits.
const SPARE_CELLS: usize = 32;

/// Which way round the loop a cell travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leg {
    /// From the origin to the exit.
    Over,
    /// From the exit to the origin.
    Back,
}

impl Leg {
    /// Bytes of a cell (kind byte not counted) that stand before its payload.
    pub const fn overhead(self) -> usize {
        match self {
            Self::Over => OVER_OVERHEAD,
            Self::Back => BACK_OVERHEAD,
        }
    }

    /// The longest payload that a cell of `size` takes on this leg, in bytes.
    pub const fn capacity(self, size: CellSize) -> usize {
        size.wire_len() - KIND_LEN - self.overhead()
    }

    /// The smallest cell that takes a payload of `len` bytes, if any does.
    pub fn fitting(self, len: usize) -> Option<CellSize> {
        [CellSize::Small, CellSize::Medium, CellSize::Large]
            .into_iter()
            .find(|size| len <= self.capacity(*size))
    }
}

/// One cell in memory, laid out as it goes on the wire: `[kind][overhead][payload][rest]`.
///
/// The payload of every size begins at the same place, so a cell that was begun large
/// can be sent small ([`CellBuf::shrink`]) without moving a byte.
pub struct CellBuf {
    buf: Box<[u8]>,
    leg: Leg,
    size: CellSize,
    /// Where the payload begins in `buf`.
    start: usize,
    /// Bytes of payload in use.
    len: usize,
    home: Option<CellPool>,
}

impl CellBuf {
    /// An empty cell with a buffer of its own. [`CellPool::cell`] is cheaper.
    pub fn new(leg: Leg, size: CellSize) -> Self {
        Self::from_parts(vec![0; size.wire_len()].into_boxed_slice(), leg, size, None)
    }

    fn from_parts(buf: Box<[u8]>, leg: Leg, size: CellSize, home: Option<CellPool>) -> Self {
        debug_assert!(buf.len() >= size.wire_len());
        Self {
            buf,
            leg,
            size,
            start: KIND_LEN + leg.overhead(),
            len: 0,
            home,
        }
    }

    /// Which leg the cell is made for.
    pub fn leg(&self) -> Leg {
        self.leg
    }

    /// The size it has on the wire as it stands.
    pub fn size(&self) -> CellSize {
        self.size
    }

    /// Bytes of payload that fit in all.
    pub fn capacity(&self) -> usize {
        self.size.wire_len() - self.start
    }

    /// Bytes of payload in use.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no payload is in use.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of payload that still fit.
    pub fn remaining(&self) -> usize {
        self.capacity() - self.len
    }

    /// The payload in use.
    pub fn payload(&self) -> &[u8] {
        &self.buf[self.start..self.start + self.len]
    }

    /// All the room for payload, [`capacity`](Self::capacity) bytes; what of it is in
    /// use is said with [`set_len`](Self::set_len).
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buf[self.start..self.size.wire_len()]
    }

    /// Says how many bytes of the room are payload.
    ///
    /// # Panics
    /// When `len` is over the capacity: a mistake of the caller, never of a peer.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity(), "payload longer than its cell");
        self.len = len;
    }

    /// Copies as much of `bytes` as fits behind the payload, and says how much that was.
    pub fn put(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.remaining());
        let at = self.start + self.len;
        self.buf[at..at + n].copy_from_slice(&bytes[..n]);
        self.len += n;
        n
    }

    /// Takes `n` bytes off the front of the payload.
    ///
    /// # Panics
    /// When the payload is shorter than that.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.len, "advanced past the payload");
        self.start += n;
        self.len -= n;
    }

    /// Makes the cell the smallest size that its payload fits in. To be called before
    /// sending, never after [`advance`](Self::advance).
    pub fn shrink(&mut self) {
        debug_assert_eq!(self.start, KIND_LEN + self.leg.overhead());
        if let Some(size) = self.leg.fitting(self.len) {
            self.size = size;
        }
    }

    /// Kind byte and cell as they go on the substream.
    pub(crate) fn wire(&self) -> &[u8] {
        &self.buf[..self.size.wire_len()]
    }

    /// As [`wire`](Self::wire), to be written to.
    pub(crate) fn wire_mut(&mut self) -> &mut [u8] {
        &mut self.buf[..self.size.wire_len()]
    }
}

impl Drop for CellBuf {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.give(std::mem::take(&mut self.buf));
        }
    }
}

impl fmt::Debug for CellBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CellBuf")
            .field("leg", &self.leg)
            .field("size", &self.size.wire_len())
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// Spare buffers of each size, smallest first.
type Spare = [Vec<Box<[u8]>>; 3];

/// A bounded store of cell buffers for use again, shared by everything on one node.
///
/// Memory: at most 32 spare buffers of each size, 672 KiB in all.
#[derive(Clone, Default)]
pub struct CellPool {
    spare: Arc<Mutex<Spare>>,
}

impl CellPool {
    /// A store with nothing in it yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty cell, whose buffer comes back here when it is dropped.
    ///
    /// The buffer may hold bytes of an earlier cell; sealing overwrites whatever is not
    /// payload, so they never leave the node.
    pub fn cell(&self, leg: Leg, size: CellSize) -> CellBuf {
        let spare = self.lock()[class(size)].pop();
        let buf = spare.unwrap_or_else(|| vec![0; size.wire_len()].into_boxed_slice());
        CellBuf::from_parts(buf, leg, size, Some(self.clone()))
    }

    fn give(&self, buf: Box<[u8]>) {
        let Some(class) = [CellSize::Small, CellSize::Medium, CellSize::Large]
            .into_iter()
            .find(|size| size.wire_len() == buf.len())
            .map(class)
        else {
            return;
        };
        let mut spare = self.lock();
        if spare[class].len() < SPARE_CELLS {
            spare[class].push(buf);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Spare> {
        // Nothing that runs under this lock can leave the lists half changed.
        self.spare
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn class(size: CellSize) -> usize {
    match size {
        CellSize::Small => 0,
        CellSize::Medium => 1,
        CellSize::Large => 2,
    }
}

impl fmt::Debug for CellPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CellPool").finish_non_exhaustive()
    }
}

/// Names a circuit in this node's own logs; it means nothing to any other node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CircuitId(pub u64);

impl fmt::Display for CircuitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}

/// Which end of a circuit this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The node that built the circuit: sends on the over leg.
    Origin,
    /// The node where traffic leaves the mesh: sends on the back leg.
    Exit,
}

impl Side {
    /// The leg that this end sends on.
    pub const fn sends(self) -> Leg {
        match self {
            Self::Origin => Leg::Over,
            Self::Exit => Leg::Back,
        }
    }

    /// The leg that this end receives from.
    pub const fn receives(self) -> Leg {
        match self {
            Self::Origin => Leg::Back,
            Self::Exit => Leg::Over,
        }
    }
}

/// Secret that origin and exit of one circuit share and nobody else knows, for a session
/// to prove later, on another circuit, that it is the same session.
pub type ResumeSecret = Arc<Zeroizing<[u8; 32]>>;

/// The end of a circuit that a session rides on, at the origin or at the exit.
///
/// Cells given to `outgoing` leave in order, each in the size that it has; no room has to
/// be left in any of them, the circuit exchanges keys in cells of its own. Cells of the
/// other end come out of `incoming`, in order, nothing missing, until the circuit ends;
/// then `incoming` ends after the last cell that arrived, and `closed` says why.
///
/// Dropping `outgoing` ends the circuit everywhere, after the cells that were given to it.
#[derive(Debug)]
pub struct CircuitEnd {
    /// Name for logs.
    pub id: CircuitId,
    /// Which end this is.
    pub side: Side,
    /// Cells to send; waits when the circuit is slower than its session.
    pub outgoing: mpsc::Sender<CellBuf>,
    /// Cells received. They must be taken: the circuit's back pressure reaches to the
    /// other end of the loop.
    pub incoming: mpsc::Receiver<CellBuf>,
    /// Why the circuit ended, as soon as it has.
    pub closed: watch::Receiver<Option<Arc<CloseReason>>>,
    /// The shared secret, once the key exchange is done (at the exit: from the start).
    pub resume: watch::Receiver<Option<ResumeSecret>>,
    /// Where buffers for `outgoing` come from.
    pub pool: CellPool,
}

impl CircuitEnd {
    /// An empty cell for `outgoing`.
    pub fn cell(&self, size: CellSize) -> CellBuf {
        self.pool.cell(self.side.sends(), size)
    }

    /// Two ends joined in memory, as if a circuit lay between them, and what closes them:
    /// for tests, and wherever a session is wanted without a mesh.
    pub fn pair() -> (Self, Self, watch::Sender<Option<Arc<CloseReason>>>) {
        let (over_tx, over_rx) = mpsc::channel(END_QUEUE);
        let (back_tx, back_rx) = mpsc::channel(END_QUEUE);
        let (close, closed) = watch::channel(None);
        let secret: ResumeSecret = Arc::new(Zeroizing::new([7; 32]));
        let (_, resume) = watch::channel(Some(secret));
        let pool = CellPool::new();
        let origin = Self {
            id: CircuitId(0),
            side: Side::Origin,
            outgoing: over_tx,
            incoming: back_rx,
            closed: closed.clone(),
            resume: resume.clone(),
            pool: pool.clone(),
        };
        let exit = Self {
            id: CircuitId(1),
            side: Side::Exit,
            outgoing: back_tx,
            incoming: over_rx,
            closed,
            resume,
            pool,
        };
        (origin, exit, close)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_begins_behind_the_overhead_and_fills_the_cell() {
        for leg in [Leg::Over, Leg::Back] {
            for size in [CellSize::Small, CellSize::Medium, CellSize::Large] {
                let mut cell = CellBuf::new(leg, size);
                assert_eq!(cell.capacity(), leg.capacity(size));
                let body = vec![0xa5; cell.capacity() + 3];
                assert_eq!(cell.put(&body), leg.capacity(size));
                assert_eq!(cell.remaining(), 0);
                assert_eq!(cell.wire().len(), size.wire_len());
                assert!(cell.wire()[1 + leg.overhead()..].iter().all(|b| *b == 0xa5));
                assert!(cell.wire()[..1 + leg.overhead()].iter().all(|b| *b == 0));
            }
        }
    }

    #[test]
    fn shrinking_keeps_the_payload() {
        let mut cell = CellBuf::new(Leg::Over, CellSize::Large);
        cell.put(b"hello");
        cell.shrink();
        assert_eq!(cell.size(), CellSize::Small);
        assert_eq!(cell.payload(), b"hello");
        let mut cell = CellBuf::new(Leg::Back, CellSize::Large);
        cell.put(&vec![1; Leg::Back.capacity(CellSize::Small) + 1]);
        cell.shrink();
        assert_eq!(cell.size(), CellSize::Medium);
    }

    #[test]
    fn buffers_come_back_and_the_store_is_bounded() {
        let pool = CellPool::new();
        let cells: Vec<_> = (0..SPARE_CELLS * 2)
            .map(|_| pool.cell(Leg::Over, CellSize::Small))
            .collect();
        drop(cells);
        assert_eq!(pool.lock()[0].len(), SPARE_CELLS);
        let mut cell = pool.cell(Leg::Back, CellSize::Large);
        cell.put(b"x");
        cell.shrink();
        drop(cell);
        assert_eq!(
            pool.lock()[2].len(),
            1,
            "a shrunk cell gives its whole buffer back"
        );
    }

    #[test]
    fn advancing_uncovers_the_rest() {
        let mut cell = CellBuf::new(Leg::Back, CellSize::Small);
        cell.put(b"headbody");
        cell.advance(4);
        assert_eq!(cell.payload(), b"body");
        assert_eq!(cell.len(), 4);
    }
}
