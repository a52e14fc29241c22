//! The reverse direction at a hop, and the one step that every pump of cells takes.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncRead, AsyncWrite};
use masq_onion::ReverseHop;
use tokio::time::{Instant, sleep_until, timeout};

use super::Hop;
use crate::cell::{CellBuf, Leg};
use crate::failure::{self, FailureCode};
use crate::frame::{
    CellReader, CellWriter, FrameError, KIND_FAILURE, KIND_LAST, KIND_REPORT, Reverse,
    ReverseReader, ReverseWriter,
};
use crate::host::Wire;
use crate::limits::{FAILURE_GRACE, LAST_WORD, REPORTS_PER_MINUTE};
use crate::link::TokenBucket;
use crate::paid::{MAX_EXTRA, bounded};
use crate::report::HopReport;

/// What came of waiting for a cell.
pub(crate) enum NextCell {
    Cell(CellBuf),
    /// The leg was ended in good order.
    End,
    /// The stream broke, or ended otherwise.
    Broken,
    /// The node before sent something that is no cell.
    Violation,
    /// Flushing towards the next node failed.
    WriterBroken,
}

/// Waits for a cell, and flushes what was written before as soon as none is ready.
pub(crate) async fn next_cell<R, W>(
    reader: &mut CellReader<R>,
    writer: &mut CellWriter<W>,
) -> NextCell
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    // Streams know nothing of tokio's budget: without this, a busy circuit on a fast link
    // could keep its worker thread for itself.
    tokio::task::coop::consume_budget().await;
    poll_fn(|cx| match reader.poll_cell(cx) {
        Poll::Ready(Ok(Some(cell))) => Poll::Ready(NextCell::Cell(cell)),
        Poll::Ready(Ok(None)) if reader.in_good_order() => Poll::Ready(NextCell::End),
        Poll::Ready(Ok(None)) => Poll::Ready(NextCell::Broken),
        Poll::Ready(Err(FrameError::Kind(_))) => Poll::Ready(NextCell::Violation),
        Poll::Ready(Err(_)) => Poll::Ready(NextCell::Broken),
        Poll::Pending => match writer.poll_flush(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(NextCell::WriterBroken),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        },
    })
    .await
}

/// Why the reverse direction of a hop ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReverseEnd {
    /// A failure from further on is on its way to the origin.
    Reported,
    /// The next node ended or refused; this is to be told of it.
    Next(FailureCode),
    /// The node before does not read, or is gone.
    Upstream,
    /// The last report came. It is not passed on yet: see [`ReversePump::pass_last`].
    Last(Vec<u8>),
}

/// Passes report and failure frames from the next node to the one before.
pub(crate) struct ReversePump {
    reader: ReverseReader<ReadHalf<Wire>>,
    writer: ReverseWriter<WriteHalf<Wire>>,
    keys: ReverseHop,
    rounds: TokenBucket,
}

impl ReversePump {
    pub(crate) fn new(from: ReadHalf<Wire>, to: WriteHalf<Wire>, keys: ReverseHop) -> Self {
        Self {
            reader: ReverseReader::new(from),
            writer: ReverseWriter::new(to),
            keys,
            rounds: TokenBucket::new(
                REPORTS_PER_MINUTE,
                Duration::from_secs(60) / REPORTS_PER_MINUTE,
                Instant::now().into_std(),
            ),
        }
    }

    /// Runs until something ends. May be dropped at any time and run again.
    pub(crate) async fn run(&mut self, hop: &Hop) -> ReverseEnd {
        loop {
            let next = poll_fn(|cx| {
                if let Poll::Ready(Err(_)) = self.writer.poll_drain(cx) {
                    return Poll::Ready(None);
                }
                self.reader.poll_frame(cx).map(Some)
            })
            .await;
            let frame = match next {
                None => return ReverseEnd::Upstream,
                Some(Ok(Some(frame))) => frame,
                Some(Err(e)) if e.is_violation() => {
                    return ReverseEnd::Next(FailureCode::NextMisbehaved);
                }
                Some(Ok(None) | Err(_)) => return ReverseEnd::Next(FailureCode::NextClosed),
            };
            match frame {
                Reverse::Report(mut body) => {
                    if let Some(end) = self.pass_report(hop, &mut body) {
                        return end;
                    }
                }
                Reverse::Failure(mut body) => {
                    if self.keys.relay_failure(&mut body).is_err() {
                        return ReverseEnd::Next(FailureCode::NextClosed);
                    }
                    self.writer.push_surely(KIND_FAILURE, &body);
                    return ReverseEnd::Reported;
                }
                Reverse::Last(body) => return ReverseEnd::Last(body),
                Reverse::Refused(code) => return ReverseEnd::Next(code.as_seen_before()),
            }
        }
    }

    fn pass_report(&mut self, hop: &Hop, body: &mut [u8]) -> Option<ReverseEnd> {
        if !self.rounds.take(Instant::now().into_std()) {
            return Some(ReverseEnd::Next(FailureCode::NextMisbehaved));
        }
        if self.answer(hop, body).is_none() {
            return Some(ReverseEnd::Next(FailureCode::NextMisbehaved));
        }
        hop.counters.count_control();
        match self.writer.push(KIND_REPORT, body) {
            Ok(()) => None,
            Err(_) => Some(ReverseEnd::Upstream),
        }
    }

    /// Takes what the origin says to this hop and puts in what this hop says; whether it was
    /// the origin that said it. `None` where the frame cannot be used.
    fn answer(&mut self, hop: &Hop, body: &mut [u8]) -> Option<bool> {
        let mut authentic = false;
        let answer = |told: Option<&[u8]>| {
            authentic = told.is_some();
            if let Some(slot) = told.filter(|slot| !slot.is_empty()) {
                hop.served.heard(slot);
            }
            report_of(hop).encode()
        };
        self.keys.report_with(body, answer).ok()?;
        Some(authentic)
    }

    /// Passes the last report on; nothing may come after it. Whether it was the origin's:
    /// then everything that this hop has sent on has arrived.
    pub(crate) fn pass_last(&mut self, hop: &Hop, body: &mut [u8]) -> bool {
        let authentic = self.answer(hop, body);
        if authentic.is_some() {
            hop.counters.count_control();
            self.writer.push_surely(KIND_LAST, body);
        }
        authentic == Some(true)
    }

    /// Says to the origin that this exit ends the circuit in good order.
    pub(crate) fn say_ended(&mut self) {
        let payload = failure::encode(FailureCode::Ended, Vec::new());
        if let Ok(frame) = self.keys.fail(&payload) {
            self.writer.push_surely(KIND_FAILURE, &frame);
        }
    }

    /// Gives the next node a moment to say why it ended; if it does not, says `otherwise`.
    pub(crate) async fn explain(&mut self, hop: &Hop, otherwise: FailureCode) {
        match timeout(FAILURE_GRACE, self.run(hop)).await {
            Ok(ReverseEnd::Reported | ReverseEnd::Upstream | ReverseEnd::Last(_)) => {}
            Ok(ReverseEnd::Next(code)) => self.fail(code),
            Err(_) => self.fail(otherwise),
        }
    }

    /// Puts this hop's own failure on the way to the origin.
    pub(crate) fn fail(&mut self, code: FailureCode) {
        self.fail_with(code, Vec::new());
    }

    /// The same, with something that only the origin understands.
    pub(crate) fn fail_with(&mut self, code: FailureCode, detail: Vec<u8>) {
        if let Ok(frame) = self.keys.fail(&failure::encode(code, detail)) {
            self.writer.push_last(KIND_FAILURE, &frame);
        }
    }

    /// Sends what waits and ends the direction, within a bounded time.
    pub(crate) async fn close(&mut self) {
        let _ = timeout(LAST_WORD, self.writer.close()).await;
    }
}

/// What this hop says in a round that comes by now.
fn report_of(hop: &Hop) -> HopReport {
    let (over, back) = (
        hop.counters.carried(Leg::Over),
        hop.counters.carried(Leg::Back),
    );
    HopReport {
        load: hop.inner.links().load(),
        cells: over.cells + back.cells,
        bytes: over.bytes + back.bytes,
        extra: bounded(hop.served.say(), MAX_EXTRA, "report of a hop"),
    }
}

/// Returns at that moment; never where there is none.
pub(super) async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
