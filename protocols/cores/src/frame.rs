//! Frames on a substream: their kinds, and readers and writers for them that may be
//! dropped and taken up again at any await without losing a byte.
//!
//! Forward, a substream carries one set-up, then cells of one leg, and a mark where that was
//! all of them. Backward it carries, after the answer to a set-up that has come home, report
//! frames, at most one failure or refusal, and the last report. Anything else is a violation. What is inside of frames is the onion crate's business.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite};
use masq_onion::{CellSize, REPORT_LEN, SETUP_LEN, SetupPackage};

use crate::cell::{CellBuf, CellPool, KIND_LEN, Leg};
use crate::failure::FailureCode;
use crate::limits::CONTROL_QUEUE;

/// Kind byte of a set-up frame: `[0x01][set-up package]`.
pub const KIND_SETUP: u8 = 0x01;
/// Kind byte of a set-up frame over the next node's entry link: one of its own, come home.
/// Its length is that of the other.
pub const KIND_SETUP_HOME: u8 = 0x02;
/// The one byte that ends a leg in good order, forward, behind all its cells. A stream that
/// ends without it has lost some, or may have.
pub const KIND_END: u8 = 0x0f;
/// Kind byte of a small cell of the over leg; the two larger sizes follow.
pub const KIND_OVER: u8 = 0x10;
/// Kind byte of a small cell of the back leg; the two larger sizes follow.
pub const KIND_BACK: u8 = 0x20;
/// The one byte that answers a set-up that has come home, before all else on the reverse
/// direction.
pub const KIND_TAKEN: u8 = 0x2f;
/// Kind byte of a report frame.
pub const KIND_REPORT: u8 = 0x30;
/// Kind byte of a failure frame, sealed for the origin.
pub const KIND_FAILURE: u8 = 0x31;
/// Kind byte of a refusal: `[0x32][code]`, in plain, from a hop that shares no key with
/// the origin yet.
pub const KIND_REFUSED: u8 = 0x32;

/// Kind byte of the last report frame of a circuit that ended in good order.
pub const KIND_LAST: u8 = 0x33;

/// A peer sent something that is no frame of its direction, or stopped in the middle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A kind byte that has no business in this direction.
    #[error("frame kind {0:#04x} out of place")]
    Kind(u8),
    /// The stream ended within a frame.
    #[error("stream ended within a frame")]
    Truncated,
    /// The stream broke.
    #[error("stream broke: {0}")]
    Io(#[from] io::Error),
}

impl FrameError {
    /// Whether the peer broke the rules, as against the stream having ended.
    pub fn is_violation(&self) -> bool {
        matches!(self, Self::Kind(_))
    }
}

/// The kind byte of a cell.
pub fn cell_kind(leg: Leg, size: CellSize) -> u8 {
    let base = match leg {
        Leg::Over => KIND_OVER,
        Leg::Back => KIND_BACK,
    };
    base + match size {
        CellSize::Small => 0,
        CellSize::Medium => 1,
        CellSize::Large => 2,
    }
}

/// The size of a cell of `leg`, by its kind byte.
pub fn cell_size(leg: Leg, kind: u8) -> Option<CellSize> {
    CellSize::ALL
        .into_iter()
        .find(|size| cell_kind(leg, *size) == kind)
}

/// What the node before says of a set-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetupKind {
    /// A circuit on its way, or the beginning of one of the node before's own.
    Plain,
    /// It went over the entry link of the node that it is for: one of that node's own.
    Home,
}

/// A set-up package as one frame, to be written in one call.
pub(crate) fn setup_frame(kind: SetupKind, package: &SetupPackage) -> Vec<u8> {
    let mut frame = Vec::with_capacity(KIND_LEN + SETUP_LEN);
    frame.push(match kind {
        SetupKind::Plain => KIND_SETUP,
        SetupKind::Home => KIND_SETUP_HOME,
    });
    frame.extend_from_slice(package.as_bytes());
    frame
}

/// Reads the set-up frame that opens a substream. Not to be dropped half way.
pub(crate) async fn read_setup<R: AsyncRead + Unpin>(
    stream: &mut R,
) -> Result<(SetupKind, SetupPackage), FrameError> {
    let mut kind = [0u8; KIND_LEN];
    read_exact(stream, &mut kind).await?;
    let kind = match kind[0] {
        KIND_SETUP => SetupKind::Plain,
        KIND_SETUP_HOME => SetupKind::Home,
        other => return Err(FrameError::Kind(other)),
    };
    let mut package = vec![0u8; SETUP_LEN];
    read_exact(stream, &mut package).await?;
    let package = SetupPackage::from_bytes(&package).map_err(|_| FrameError::Truncated)?;
    Ok((kind, package))
}

async fn read_exact<R: AsyncRead + Unpin>(
    stream: &mut R,
    buf: &mut [u8],
) -> Result<(), FrameError> {
    stream.read_exact(buf).await.map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => FrameError::Truncated,
        _ => FrameError::Io(e),
    })
}

/// Reads cells of one leg into buffers of the node's store. Holds a buffer only while a
/// cell is half there, so idle circuits cost none.
pub struct CellReader<R> {
    stream: R,
    leg: Leg,
    pool: CellPool,
    cell: Option<CellBuf>,
    filled: usize,
    ended: bool,
}

impl<R: AsyncRead + Unpin> CellReader<R> {
    /// A reader of what comes after the set-up.
    pub fn new(stream: R, leg: Leg, pool: CellPool) -> Self {
        Self {
            stream,
            leg,
            pool,
            cell: None,
            filled: 0,
            ended: false,
        }
    }

    /// Whether the leg was ended in good order: what came is all that there is.
    pub fn in_good_order(&self) -> bool {
        self.ended
    }

    /// The next cell, whole, as it was on the wire; `None` where the leg was ended, or the
    /// stream between two cells.
    ///
    /// # Errors
    /// See [`FrameError`]; nothing can be read after one.
    pub fn poll_cell(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<CellBuf>, FrameError>> {
        loop {
            let Some(cell) = &mut self.cell else {
                let mut kind = [0u8; KIND_LEN];
                if self.ended || ready!(Pin::new(&mut self.stream).poll_read(cx, &mut kind))? == 0 {
                    return Poll::Ready(Ok(None));
                }
                if kind[0] == KIND_END {
                    self.ended = true;
                    continue;
                }
                let size = cell_size(self.leg, kind[0]).ok_or(FrameError::Kind(kind[0]))?;
                let mut cell = self.pool.cell(self.leg, size);
                cell.wire_mut()[0] = kind[0];
                self.filled = KIND_LEN;
                self.cell = Some(cell);
                continue;
            };
            let wire = cell.wire_mut();
            let n = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut wire[self.filled..]))?;
            if n == 0 {
                return Poll::Ready(Err(FrameError::Truncated));
            }
            self.filled += n;
            if self.filled == wire.len() {
                return Poll::Ready(Ok(self.cell.take()));
            }
        }
    }

    /// As [`poll_cell`](Self::poll_cell), as a future; dropping it loses nothing.
    ///
    /// # Errors
    /// As there.
    pub async fn cell(&mut self) -> Result<Option<CellBuf>, FrameError> {
        poll_fn(|cx| self.poll_cell(cx)).await
    }
}

/// Writes cells, each in one call.
pub(crate) struct CellWriter<W> {
    stream: W,
    current: Option<CellBuf>,
    at: usize,
    dirty: bool,
    /// The mark that ends the leg in good order is due, behind the current cell.
    mark: bool,
}

impl<W: AsyncWrite + Unpin> CellWriter<W> {
    /// A writer on a stream to which the set-up frame, if any, was just written.
    pub(crate) fn new(stream: W) -> Self {
        Self {
            stream,
            current: None,
            at: 0,
            dirty: true,
            mark: false,
        }
    }

    /// Writes a whole cell. When dropped half way, [`finish`](Self::finish) or the next
    /// call goes on where it stopped.
    pub(crate) async fn write(&mut self, cell: CellBuf) -> io::Result<()> {
        self.finish().await?;
        self.current = Some(cell);
        self.at = 0;
        self.finish().await
    }

    /// Writes what is left of a cell.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_finish(cx)).await
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(cell) = &self.current {
            let wire = cell.wire();
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, &wire[self.at..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.dirty = true;
            self.at += n;
            if self.at == wire.len() {
                self.current = None;
            }
        }
        if self.mark {
            if ready!(Pin::new(&mut self.stream).poll_write(cx, &[KIND_END]))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.dirty = true;
            self.mark = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Flushes what was written since the last time.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.dirty {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.dirty = false;
        }
        Poll::Ready(Ok(()))
    }

    /// As [`poll_flush`](Self::poll_flush), as a future.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Ends the leg in good order: everything that there was to write was given to this
    /// writer. When dropped half way, [`close`](Self::close) goes on. To be called once.
    pub(crate) async fn end(&mut self) -> io::Result<()> {
        self.mark = true;
        self.close().await
    }

    /// Writes and flushes what is left and ends the stream in this direction.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        self.finish().await?;
        self.flush().await?;
        poll_fn(|cx| Pin::new(&mut self.stream).poll_close(cx)).await
    }
}

/// What comes on the reverse direction.
#[derive(Debug)]
pub enum Reverse {
    /// A report frame, without its kind byte.
    Report(Vec<u8>),
    /// A failure frame, without its kind byte. Nothing but the last report comes after it.
    Failure(Vec<u8>),
    /// The last report frame, without its kind byte. The stream ends after it.
    Last(Vec<u8>),
    /// A refusal in plain. The stream ends after it.
    Refused(FailureCode),
}

/// Reads the reverse direction of a substream.
pub struct ReverseReader<R> {
    stream: R,
    frame: Vec<u8>,
    filled: usize,
}

impl<R: AsyncRead + Unpin> ReverseReader<R> {
    /// A reader from the beginning of the reverse direction.
    pub fn new(stream: R) -> Self {
        Self {
            stream,
            frame: Vec::new(),
            filled: 0,
        }
    }

    /// The next frame; `None` where the stream ended between frames.
    ///
    /// # Errors
    /// See [`FrameError`]; nothing can be read after one.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Reverse>, FrameError>> {
        loop {
            if self.frame.is_empty() {
                let mut kind = [0u8; KIND_LEN];
                if ready!(Pin::new(&mut self.stream).poll_read(cx, &mut kind))? == 0 {
                    return Poll::Ready(Ok(None));
                }
                let body = match kind[0] {
                    KIND_REPORT | KIND_FAILURE | KIND_LAST => REPORT_LEN,
                    KIND_REFUSED => 1,
                    other => return Poll::Ready(Err(FrameError::Kind(other))),
                };
                self.frame = vec![0; KIND_LEN + body];
                self.frame[0] = kind[0];
                self.filled = KIND_LEN;
            }
            let rest = &mut self.frame[self.filled..];
            let n = ready!(Pin::new(&mut self.stream).poll_read(cx, rest))?;
            if n == 0 {
                return Poll::Ready(Err(FrameError::Truncated));
            }
            self.filled += n;
            if self.filled == self.frame.len() {
                let mut body = std::mem::take(&mut self.frame);
                let kind = body.remove(0);
                return Poll::Ready(Ok(Some(match kind {
                    KIND_REPORT => Reverse::Report(body),
                    KIND_FAILURE => Reverse::Failure(body),
                    KIND_LAST => Reverse::Last(body),
                    _ => Reverse::Refused(FailureCode::from_byte(body[0])),
                })));
            }
        }
    }

    /// As [`poll_frame`](Self::poll_frame), as a future; dropping it loses nothing.
    ///
    /// # Errors
    /// As there.
    pub async fn frame(&mut self) -> Result<Option<Reverse>, FrameError> {
        poll_fn(|cx| self.poll_frame(cx)).await
    }
}

/// The node before does not read what is sent to it on the reverse direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// Writes the reverse direction of a substream from a queue of its own, so that nobody
/// ever waits for it.
pub(crate) struct ReverseWriter<W> {
    stream: W,
    queue: VecDeque<Vec<u8>>,
    at: usize,
    dirty: bool,
}

impl<W: AsyncWrite + Unpin> ReverseWriter<W> {
    pub(crate) fn new(stream: W) -> Self {
        Self {
            stream,
            queue: VecDeque::new(),
            at: 0,
            dirty: false,
        }
    }

    /// Puts a frame into the queue.
    pub(crate) fn push(&mut self, kind: u8, body: &[u8]) -> Result<(), Full> {
        if self.queue.len() >= CONTROL_QUEUE {
            return Err(Full);
        }
        let mut frame = Vec::with_capacity(KIND_LEN + body.len());
        frame.push(kind);
        frame.extend_from_slice(body);
        self.queue.push_back(frame);
        Ok(())
    }

    /// Puts a frame into the queue whatever happens: behind what waits there, or as
    /// [`push_last`](Self::push_last) does where there is no room.
    pub(crate) fn push_surely(&mut self, kind: u8, body: &[u8]) {
        if self.push(kind, body).is_err() {
            self.push_last(kind, body);
        }
    }

    /// Puts a last frame into the queue; of what waits there, only a frame that is half
    /// written is still sent before it.
    pub(crate) fn push_last(&mut self, kind: u8, body: &[u8]) {
        self.queue.truncate(usize::from(self.at > 0));
        // The queue was just made shorter than its bound.
        let _ = self.push(kind, body);
    }

    /// Writes as much of the queue as goes, and flushes once it is empty.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(frame) = self.queue.front() {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, &frame[self.at..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.dirty = true;
            self.at += n;
            if self.at == frame.len() {
                self.queue.pop_front();
                self.at = 0;
            }
        }
        if self.dirty {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.dirty = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Empties the queue and ends the stream in this direction.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_drain(cx)).await?;
        poll_fn(|cx| Pin::new(&mut self.stream).poll_close(cx)).await
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::io::Cursor;

    use super::*;

    #[test]
    fn golden_kinds() {
        let kinds: Vec<u8> = [Leg::Over, Leg::Back]
            .into_iter()
            .flat_map(|leg| {
                CellSize::ALL
                    .into_iter()
                    .map(move |size| cell_kind(leg, size))
            })
            .collect();
        assert_eq!(kinds, [0x10, 0x11, 0x12, 0x20, 0x21, 0x22]);
        assert_eq!((KIND_END, KIND_LAST), (0x0f, 0x33));
        assert_eq!(cell_size(Leg::Over, 0x12), Some(CellSize::Large));
        assert_eq!(cell_size(Leg::Over, 0x22), None);
    }

    #[test]
    fn cells_of_all_sizes_are_read_and_the_end_between_them_is_an_end() {
        let mut bytes = Vec::new();
        for size in CellSize::ALL {
            let mut cell = vec![0x5a; size.wire_len()];
            cell[0] = cell_kind(Leg::Over, size);
            bytes.extend(cell);
        }
        let mut reader = CellReader::new(Cursor::new(bytes), Leg::Over, CellPool::new());
        for size in CellSize::ALL {
            let cell = block_on(reader.cell()).unwrap().unwrap();
            assert_eq!(cell.size(), size);
            assert!(cell.wire()[1..].iter().all(|b| *b == 0x5a));
        }
        assert!(block_on(reader.cell()).unwrap().is_none());
    }

    #[test]
    fn a_leg_that_was_ended_is_told_from_one_that_just_stops() {
        for (mark, good) in [
            (&[][..], false),
            (&[KIND_END], true),
            (&[KIND_END, 9], true),
        ] {
            let mut bytes = vec![0x5a; CellSize::Small.wire_len()];
            bytes[0] = KIND_BACK;
            bytes.extend(mark);
            let mut reader = CellReader::new(Cursor::new(bytes), Leg::Back, CellPool::new());
            assert!(block_on(reader.cell()).unwrap().is_some());
            assert!(!reader.in_good_order());
            for _ in 0..2 {
                assert!(block_on(reader.cell()).unwrap().is_none());
                assert_eq!(reader.in_good_order(), good);
            }
        }
        // The mark comes behind a cell that was half written.
        let mut writer = CellWriter::new(Cursor::new(Vec::new()));
        let mut cell = CellPool::new().cell(Leg::Over, CellSize::Small);
        cell.wire_mut()[0] = KIND_OVER;
        writer.current = Some(cell);
        block_on(writer.end()).unwrap();
        block_on(writer.close()).unwrap();
        let written = writer.stream.get_ref();
        assert_eq!(written.len(), CellSize::Small.wire_len() + 1);
        assert_eq!(written.last(), Some(&KIND_END));
    }

    #[test]
    fn truncated_and_misplaced_frames_are_errors() {
        let mut cut = vec![0u8; 700];
        cut[0] = KIND_OVER;
        let mut reader = CellReader::new(Cursor::new(cut), Leg::Over, CellPool::new());
        assert!(matches!(
            block_on(reader.cell()),
            Err(FrameError::Truncated)
        ));

        for kind in [
            KIND_SETUP,
            KIND_SETUP_HOME,
            KIND_TAKEN,
            KIND_BACK,
            KIND_REPORT,
            KIND_OVER + 3,
            0,
            0xff,
        ] {
            let mut reader =
                CellReader::new(Cursor::new(vec![kind; 64]), Leg::Over, CellPool::new());
            assert!(matches!(block_on(reader.cell()), Err(FrameError::Kind(k)) if k == kind));
        }
        let mut reader = ReverseReader::new(Cursor::new(vec![KIND_OVER; 64]));
        assert!(matches!(
            block_on(reader.frame()),
            Err(FrameError::Kind(KIND_OVER))
        ));
        assert!(matches!(
            block_on(read_setup(&mut Cursor::new(vec![KIND_SETUP; 10]))),
            Err(FrameError::Truncated)
        ));
        assert!(matches!(
            block_on(read_setup(&mut Cursor::new(vec![KIND_OVER; 10]))),
            Err(FrameError::Kind(KIND_OVER))
        ));
    }

    #[test]
    fn golden_refusal() {
        let mut writer = ReverseWriter::new(Cursor::new(Vec::new()));
        writer
            .push(KIND_REFUSED, &[FailureCode::Replay.to_byte()])
            .unwrap();
        block_on(writer.close()).unwrap();
        assert_eq!(writer.stream.get_ref(), &[0x32, 18]);
        let mut reader = ReverseReader::new(Cursor::new(vec![0x32, 18]));
        assert!(matches!(
            block_on(reader.frame()),
            Ok(Some(Reverse::Refused(FailureCode::Replay)))
        ));
        assert!(matches!(block_on(reader.frame()), Ok(None)));
    }

    #[test]
    fn the_reverse_queue_is_bounded_and_the_last_word_always_fits() {
        let mut writer = ReverseWriter::new(Cursor::new(Vec::new()));
        for _ in 0..CONTROL_QUEUE {
            writer.push(KIND_REPORT, &[0; REPORT_LEN]).unwrap();
        }
        assert_eq!(writer.push(KIND_REPORT, &[0; REPORT_LEN]), Err(Full));
        writer.push_last(KIND_FAILURE, &[1; REPORT_LEN]);
        assert_eq!(writer.queue.len(), 1);
        assert_eq!(writer.queue[0][0], KIND_FAILURE);
    }
}
