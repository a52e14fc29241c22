//! A relay, on either leg: cells one way, reports the other, in one task whose two halves
//! never wait for each other.

use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncReadExt, AsyncWriteExt};
use masq_onion::{BackLayer, CellError, Opened, OverOpener, ReverseHop};
use tokio::time::{Instant, timeout};

use super::Hop;
use super::pump::{self, NextCell, ReverseEnd, ReversePump, next_cell};
use crate::account::Account;
use crate::cell::{KIND_LEN, Leg};
use crate::failure::FailureCode;
use crate::frame::{CellReader, CellWriter};
use crate::host::{Seen, Wire};
use crate::limits::{LAST_REPORT_WAIT, SETUP_TIMEOUT};
use crate::meter::Standstill;

/// What a relay does to a cell.
pub(crate) enum Layer {
    /// Opens one layer of the over leg.
    Over(OverOpener),
    /// Adds one layer on the back leg.
    Back(BackLayer),
}

impl Layer {
    fn leg(&self) -> Leg {
        match self {
            Self::Over(_) => Leg::Over,
            Self::Back(_) => Leg::Back,
        }
    }

    /// Whether the cell, as it now is, goes on.
    fn apply(&mut self, cell: &mut [u8]) -> Result<bool, CellError> {
        match self {
            // Control for a relay has no meaning yet; it is taken off like padding.
            Self::Over(opener) => Ok(opener.open(cell)? == Opened::Forward),
            Self::Back(layer) => layer.apply(cell).map(|()| true),
        }
    }
}

/// Why cells stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DataEnd {
    Finished,
    UpstreamBroken,
    NextBroken,
    Fault(FailureCode),
}

struct Data {
    reader: CellReader<ReadHalf<Wire>>,
    writer: CellWriter<WriteHalf<Wire>>,
    layer: Layer,
    /// The leg was ended by the node before.
    ending: bool,
}

impl Data {
    /// Moves cells until the leg ends, and ends it towards the next node where that was in
    /// good order. May be dropped at any time and run again, until it has returned.
    async fn run(&mut self, hop: &Hop) -> DataEnd {
        let leg = self.layer.leg();
        if self.ending {
            return self.end().await;
        }
        if self.writer.finish().await.is_err() {
            return DataEnd::NextBroken;
        }
        hop.counters.set_blocked(leg, false);
        loop {
            let mut cell = match next_cell(&mut self.reader, &mut self.writer).await {
                NextCell::Cell(cell) => cell,
                NextCell::End => return self.end().await,
                NextCell::Broken => return DataEnd::UpstreamBroken,
                NextCell::Violation => return DataEnd::Fault(FailureCode::Protocol),
                NextCell::WriterBroken => return DataEnd::NextBroken,
            };
            hop.tap.show(Seen::CellIn(leg), cell.wire());
            let forward = match self.layer.apply(&mut cell.wire_mut()[KIND_LEN..]) {
                Ok(forward) => forward,
                Err(CellError::Exhausted) => return DataEnd::Fault(FailureCode::Exhausted),
                Err(_) => return DataEnd::Fault(FailureCode::Protocol),
            };
            hop.counters.count(leg, cell.size());
            hop.tap.show(Seen::CellOut(leg), cell.wire());
            if !forward {
                continue;
            }
            hop.counters.set_blocked(leg, true);
            if self.writer.write(cell).await.is_err() {
                return DataEnd::NextBroken;
            }
            hop.counters.set_blocked(leg, false);
        }
    }

    async fn end(&mut self) -> DataEnd {
        let ended = if std::mem::replace(&mut self.ending, true) {
            self.writer.close().await
        } else {
            self.writer.end().await
        };
        match ended {
            Ok(()) => DataEnd::Finished,
            Err(_) => DataEnd::NextBroken,
        }
    }
}

/// Relays until the circuit ends; says whether that was in good order.
pub(crate) async fn run(
    hop: &Hop,
    account: &mut Account,
    before: Wire,
    mut after: Wire,
    setup: &[u8],
    layer: Layer,
    keys: ReverseHop,
) -> bool {
    let passed_on = matches!(
        timeout(SETUP_TIMEOUT, after.write_all(setup)).await,
        Ok(Ok(()))
    );
    let (before_read, before_write) = before.split();
    let (after_read, after_write) = after.split();
    let mut reverse = ReversePump::new(after_read, before_write, keys);
    if !passed_on {
        reverse.explain(hop, FailureCode::NextUnreachable).await;
        reverse.close().await;
        return false;
    }
    account.begin();
    let mut data = Data {
        reader: CellReader::new(before_read, layer.leg(), hop.inner.cells.clone()),
        writer: CellWriter::new(after_write),
        layer,
        ending: false,
    };
    let clean = serve(hop, &mut data, &mut reverse).await;
    reverse.close().await;
    clean
}

/// Both directions side by side, until nothing more comes of either.
async fn serve(hop: &Hop, data: &mut Data, reverse: &mut ReversePump) -> bool {
    let standstill = hop.counters.standstill(true);
    tokio::pin!(standstill);
    // A failure is on its way to the origin; this hop has nothing to add to it. If it is the
    // exit's word that it ends the circuit, cells go on until the origin has heard of it.
    let mut reported = false;
    // The leg was ended, and the next node told so.
    let mut ended = false;
    let mut until = None;
    let code = loop {
        tokio::select! {
            end = data.run(hop), if !ended => match end {
                DataEnd::Finished => {
                    ended = true;
                    until = Some(Instant::now() + LAST_REPORT_WAIT);
                }
                DataEnd::UpstreamBroken => return false,
                DataEnd::NextBroken if reported => return false,
                DataEnd::NextBroken => {
                    reverse.explain(hop, FailureCode::NextClosed).await;
                    return false;
                }
                DataEnd::Fault(code) => break code,
            },
            end = reverse.run(hop) => match end {
                ReverseEnd::Reported if reported => return false,
                ReverseEnd::Reported => {
                    reported = true;
                    until = until.or(Some(Instant::now() + LAST_REPORT_WAIT));
                }
                ReverseEnd::Last(mut body) if ended => return reverse.pass_last(hop, &mut body),
                ReverseEnd::Last(_) => break FailureCode::NextMisbehaved,
                ReverseEnd::Next(code) => break code,
                ReverseEnd::Upstream => return false,
            },
            still = &mut standstill => break match still {
                Standstill::Idle => FailureCode::Idle,
                Standstill::Stalled => FailureCode::NextClosed,
            },
            code = hop.running.to_end() => break code,
            () = hop.stopped() => break FailureCode::Shutdown,
            () = pump::at(until) => return false,
        }
    };
    if !reported {
        reverse.fail_with(code, hop.running.detail());
    }
    false
}
