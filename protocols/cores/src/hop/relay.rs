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
use crate::limits::{LAST_CELLS, LAST_REPORT_WAIT, SETUP_TIMEOUT};
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

    /// Counts what the node before still sends, and throws it away, until it ends the stream.
    async fn discard(&mut self, hop: &Hop) {
        let leg = self.layer.leg();
        while let Ok(Some(mut cell)) = self.reader.cell().await {
            tokio::task::coop::consume_budget().await;
            if self.layer.apply(&mut cell.wire_mut()[KIND_LEN..]).is_err() {
                return;
            }
            hop.counters.count(leg, cell.size());
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

/// How a relay's part ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// In good order.
    Clean,
    /// The next node is gone, and the origin is told so. The node before may not know it yet.
    NextGone,
    /// Otherwise.
    Broken,
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
    let end = serve(hop, &mut data, &mut reverse).await;
    if end == End::NextGone {
        // The origin counts everything that it has sealed, and so does every hop that is sent it.
        let discard = timeout(LAST_CELLS, data.discard(hop));
        let last = async {
            tokio::select! {
                _ = discard => {}
                () = hop.stopped() => {}
            }
        };
        tokio::join!(reverse.close(), last);
    } else {
        reverse.close().await;
    }
    end == End::Clean
}

/// The reverse direction: passing on what the next node says, or only what waits where that says
/// nothing more.
async fn backward(hop: &Hop, reverse: &mut ReversePump, quiet: bool) -> ReverseEnd {
    if quiet {
        reverse.close().await;
        std::future::pending::<()>().await;
    }
    reverse.run(hop).await
}

/// Both directions side by side, until nothing more comes of either.
async fn serve(hop: &Hop, data: &mut Data, reverse: &mut ReversePump) -> End {
    let standstill = hop.counters.standstill(true);
    tokio::pin!(standstill);
    // A failure is on its way to the origin; this hop has nothing to add to it. If it is the
    // exit's word that it ends the circuit, cells go on until the origin has heard of it.
    let mut reported = false;
    // The next node says nothing more. It may still take cells: the origin counts all that it has
    // sealed, and so does every hop that is sent them.
    let mut quiet = false;
    // The leg was ended, and the next node told so.
    let mut ended = false;
    let mut until = None;
    let code = loop {
        tokio::select! {
            end = data.run(hop), if !ended => match end {
                DataEnd::Finished if quiet => return End::Broken,
                DataEnd::Finished => {
                    ended = true;
                    until = Some(Instant::now() + LAST_REPORT_WAIT);
                }
                DataEnd::UpstreamBroken => return End::Broken,
                DataEnd::NextBroken if reported => return End::NextGone,
                DataEnd::NextBroken => {
                    reverse.explain(hop, FailureCode::NextClosed).await;
                    return End::NextGone;
                }
                DataEnd::Fault(code) => break code,
            },
            end = backward(hop, reverse, quiet) => match end {
                ReverseEnd::Reported if reported => return End::Broken,
                ReverseEnd::Reported => {
                    reported = true;
                    until = until.or(Some(Instant::now() + LAST_REPORT_WAIT));
                }
                ReverseEnd::Last(mut body) if ended => {
                    let clean = reverse.pass_last(hop, &mut body);
                    return if clean { End::Clean } else { End::Broken };
                }
                ReverseEnd::Last(_) => break FailureCode::NextMisbehaved,
                ReverseEnd::Next(code) => {
                    if !reported {
                        reverse.fail(code);
                    }
                    if ended {
                        return End::Broken;
                    }
                    (reported, quiet) = (true, true);
                    until = Some(Instant::now() + LAST_CELLS);
                }
                ReverseEnd::Upstream => return End::Broken,
            },
            still = &mut standstill => break match still {
                Standstill::Idle => FailureCode::Idle,
                Standstill::Stalled => FailureCode::NextClosed,
            },
            code = hop.running.to_end() => break code,
            () = hop.stopped() => break FailureCode::Shutdown,
            () = pump::at(until) => return End::Broken,
        }
    };
    if !reported {
        reverse.fail_with(code, hop.running.detail());
    }
    End::Broken
}
