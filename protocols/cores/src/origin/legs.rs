//! The two data directions at the origin: sealing what the session gives, opening what
//! comes home.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::AsyncReadExt;
use futures::io::{ReadHalf, WriteHalf};
use masq_onion::{
    BackOpener, CellError, CellSize, Command, EXIT_SHARE_LEN, OriginKx, OverSealer, SessionSecret,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use crate::cell::{CellBuf, CellPool, KIND_LEN, Leg, ResumeSecret};
use crate::flags;
use crate::frame::{CellReader, CellWriter, FrameError, cell_kind};
use crate::host::Wire;
use crate::limits::{CLOSE_GRACE, CLOSE_LIMIT, TAMPERED_CELLS};
use crate::link::Place;
use crate::meter::Counters;

/// Why the over leg ended at the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OverEnd {
    /// The session is done, and everything it gave is written.
    Local,
    /// The first hop takes nothing more.
    Broken(io::ErrorKind),
    /// The cell counter is used up.
    Exhausted,
    /// The session gave a cell that cannot be sealed.
    Misused,
}

/// The over leg at the origin.
pub(super) struct OverLeg {
    pub(super) writer: CellWriter<WriteHalf<Wire>>,
    /// The cell with the key share, sealed already.
    pub(super) first: Option<CellBuf>,
    pub(super) sealer: OverSealer,
    pub(super) from_session: mpsc::Receiver<CellBuf>,
    /// Brings the session secret once the exit has answered.
    pub(super) marker: mpsc::Receiver<SessionSecret>,
    pub(super) pool: CellPool,
}

impl OverLeg {
    /// Sends until the session is done. May be dropped at any time and run again.
    pub(super) async fn run(&mut self, counters: &Counters) -> OverEnd {
        match self.pump(counters).await {
            Ok(()) => OverEnd::Local,
            Err(end) => end,
        }
    }

    async fn pump(&mut self, counters: &Counters) -> Result<(), OverEnd> {
        self.writer.finish().await.map_err(broken)?;
        if let Some(first) = self.first.take() {
            counters.count(Leg::Over, first.size());
            self.write(first, counters).await?;
        }
        loop {
            match self.step().await? {
                Step::Done => return Ok(()),
                Step::Cell(cell) => {
                    let sealed = self.seal(cell, flags::DATA, counters)?;
                    self.write(sealed, counters).await?;
                }
                Step::Marker(secret) => {
                    let marker = self.pool.cell(Leg::Over, CellSize::Small);
                    let sealed = self.seal(marker, flags::MARKER, counters)?;
                    // Before the await: dropped there, the marker still goes out, and what
                    // follows it has to be under the new key.
                    self.sealer.rekey(&secret);
                    self.write(sealed, counters).await?;
                }
            }
        }
    }

    /// What to send next; flushes before it waits.
    async fn step(&mut self) -> Result<Step, OverEnd> {
        tokio::task::coop::consume_budget().await;
        if let Ok(secret) = self.marker.try_recv() {
            return Ok(Step::Marker(secret));
        }
        if let Ok(cell) = self.from_session.try_recv() {
            return Ok(Step::Cell(cell));
        }
        self.writer.flush().await.map_err(broken)?;
        Ok(tokio::select! {
            biased;
            Some(secret) = self.marker.recv() => Step::Marker(secret),
            cell = self.from_session.recv() => cell.map_or(Step::Done, Step::Cell),
        })
    }

    fn seal(
        &mut self,
        mut cell: CellBuf,
        flags: u8,
        counters: &Counters,
    ) -> Result<CellBuf, OverEnd> {
        if cell.leg() != Leg::Over {
            return Err(OverEnd::Misused);
        }
        let (len, size) = (cell.len(), cell.size());
        let wire = cell.wire_mut();
        wire[0] = cell_kind(Leg::Over, size);
        let exit = self.sealer.exit_index();
        match self
            .sealer
            .seal(&mut wire[KIND_LEN..], exit, Command::Deliver(flags), len)
        {
            Ok(()) => {
                counters.count(Leg::Over, size);
                Ok(cell)
            }
            Err(CellError::Exhausted) => Err(OverEnd::Exhausted),
            Err(_) => Err(OverEnd::Misused),
        }
    }

    async fn write(&mut self, cell: CellBuf, counters: &Counters) -> Result<(), OverEnd> {
        counters.set_blocked(Leg::Over, true);
        self.writer.write(cell).await.map_err(broken)?;
        counters.set_blocked(Leg::Over, false);
        Ok(())
    }
}

fn broken(e: io::Error) -> OverEnd {
    OverEnd::Broken(e.kind())
}

/// What the over leg does next.
enum Step {
    Cell(CellBuf),
    Marker(SessionSecret),
    Done,
}

/// Why the back leg ended at the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BackEnd {
    /// The set-up did not come home in time.
    SetupTimeout,
    /// The exit ended the leg in good order, and everything is here.
    Ended,
    /// The stream ended otherwise.
    Closed,
    /// A cell was changed on its way.
    Tampered,
    /// The last hop or the exit broke the rules.
    Violation(&'static str),
    /// The cell counter is used up.
    Exhausted,
}

/// The back leg at the origin.
pub(super) struct BackLeg {
    pub(super) arrival: Option<oneshot::Receiver<(Wire, Place)>>,
    pub(super) home_timeout: Duration,
    pub(super) reader: Option<CellReader<ReadHalf<Wire>>>,
    pub(super) place: Option<Place>,
    pub(super) opener: BackOpener,
    /// Until the exit's share is here.
    pub(super) kx: Option<OriginKx>,
    pub(super) marker: Option<mpsc::Sender<SessionSecret>>,
    /// Takes the other half of the stream to where report rounds are started.
    pub(super) starter: Option<oneshot::Sender<WriteHalf<Wire>>>,
    pub(super) up: watch::Sender<bool>,
    pub(super) resume: watch::Sender<Option<ResumeSecret>>,
    pub(super) pool: CellPool,
    /// Cells that may still be booked, once one of them was changed on its way.
    pub(super) tampered: Option<u64>,
}

impl BackLeg {
    /// Waits for the leg to come home, then hands cells to the session, or only counts them
    /// where there is none any more. May be dropped at any time and run again.
    pub(super) async fn run(
        &mut self,
        counters: &Counters,
        to_session: Option<&mpsc::Sender<CellBuf>>,
    ) -> BackEnd {
        if let Some(arrival) = &mut self.arrival {
            match timeout(self.home_timeout, arrival).await {
                Ok(Ok((wire, place))) => self.arrived(wire, place),
                Ok(Err(_)) | Err(_) => return BackEnd::SetupTimeout,
            }
        }
        match self.pump(counters, to_session).await {
            Ok(()) if self.reader.as_ref().is_some_and(CellReader::in_good_order) => BackEnd::Ended,
            Ok(()) => BackEnd::Closed,
            Err(end) => end,
        }
    }

    fn arrived(&mut self, wire: Wire, place: Place) {
        self.arrival = None;
        let (read, write) = wire.split();
        self.reader = Some(CellReader::new(read, Leg::Back, self.pool.clone()));
        self.place = Some(place);
        if let Some(starter) = self.starter.take() {
            // The control half of this circuit may have ended already.
            let _ = starter.send(write);
        }
    }

    async fn pump(
        &mut self,
        counters: &Counters,
        to_session: Option<&mpsc::Sender<CellBuf>>,
    ) -> Result<(), BackEnd> {
        loop {
            // Room first, then a cell: so dropping this future never loses one. A session
            // that takes no more may still send, so its cells are read and dropped.
            let room = match to_session {
                Some(to) => {
                    counters.set_blocked(Leg::Back, to.capacity() == 0);
                    let room = to.reserve().await.ok();
                    counters.set_blocked(Leg::Back, false);
                    room
                }
                None => None,
            };
            let Some(mut cell) = self.read().await? else {
                return Ok(());
            };
            if let Some(left) = &mut self.tampered {
                if *left > 0 {
                    *left -= 1;
                    counters.count(Leg::Back, cell.size());
                }
                continue;
            }
            let delivered = match self.opener.open(&mut cell.wire_mut()[KIND_LEN..]) {
                Ok(delivered) => delivered,
                Err(CellError::Exhausted) => return Err(BackEnd::Exhausted),
                Err(_) => {
                    // The hops carried it, and those that follow.
                    counters.count(Leg::Back, cell.size());
                    self.tampered = Some(TAMPERED_CELLS);
                    return Err(BackEnd::Tampered);
                }
            };
            counters.count(Leg::Back, cell.size());
            cell.set_len(delivered.len);
            match (self.kx.take(), delivered.flags) {
                (Some(kx), flags::KEY_SHARE) => {
                    self.exchanged(kx, cell.payload(), to_session.is_some())?;
                }
                (None, flags::DATA) => {
                    if let Some(room) = room {
                        room.send(cell);
                    }
                }
                _ => return Err(BackEnd::Violation("flags out of place on the back leg")),
            }
        }
    }

    fn exchanged(&mut self, kx: OriginKx, share: &[u8], serving: bool) -> Result<(), BackEnd> {
        const BAD: BackEnd = BackEnd::Violation("the exit's key share is no key share");
        if share.len() != EXIT_SHARE_LEN {
            return Err(BAD);
        }
        let secret = kx.finish(share).map_err(|_| BAD)?;
        self.opener.rekey(&secret);
        self.resume
            .send_replace(Some(Arc::new(Zeroizing::new(secret.resume_secret()))));
        if let Some(marker) = self.marker.take() {
            // Room for one, used once; gone only when the over leg has ended.
            let _ = marker.try_send(secret);
        }
        // Nobody is told that a circuit is up which is being wound up.
        if serving {
            self.up.send_replace(true);
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<Option<CellBuf>, BackEnd> {
        tokio::task::coop::consume_budget().await;
        let Some(reader) = &mut self.reader else {
            return Ok(None);
        };
        match reader.cell().await {
            Ok(cell) => Ok(cell),
            Err(FrameError::Kind(_)) => Err(BackEnd::Violation("not a cell on the back leg")),
            Err(_) => Ok(None),
        }
    }

    /// As [`run`](Self::run), for as long as the leg goes on bringing cells, and
    /// [`CLOSE_LIMIT`] at most. `None` where it has stopped without an end.
    pub(super) async fn run_dry(
        &mut self,
        counters: &Counters,
        to_session: &mpsc::Sender<CellBuf>,
    ) -> Option<BackEnd> {
        let begun = Instant::now();
        let mut had = counters.carried(Leg::Back);
        loop {
            let end = timeout(CLOSE_GRACE, self.run(counters, Some(to_session))).await;
            let has = counters.carried(Leg::Back);
            match end {
                Ok(end) => return Some(end),
                Err(_) if has == had || begun.elapsed() >= CLOSE_LIMIT => return None,
                Err(_) => had = has,
            }
        }
    }

    /// Reads on and throws away, until the stream ends.
    pub(super) async fn discard(&mut self) {
        while let Ok(Some(_)) = self.read().await {}
    }

    /// Returns when the neighbour that the leg comes home over is one no more.
    pub(super) async fn gone(place: Option<&Place>) {
        match place {
            Some(place) => place.gone.cancelled().await,
            None => std::future::pending().await,
        }
    }
}
