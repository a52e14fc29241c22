//! A relay, on either leg: cells one way, reports the other, in one task whose two halves
//! never wait for each other.

use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncReadExt, AsyncWriteExt};
use masq_onion::{BackLayer, CellError, Opened, OverOpener, ReverseHop};
use tokio::time::timeout;

use super::Hop;
use super::pump::{NextCell, ReverseEnd, ReversePump, next_cell};
use crate::account::Account;
use crate::cell::{KIND_LEN, Leg};
use crate::failure::FailureCode;
use crate::frame::{CellReader, CellWriter};
use crate::host::{Seen, Wire};
use crate::limits::{CLOSE_GRACE, SETUP_TIMEOUT};
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
}

impl Data {
    async fn run(&mut self, hop: &Hop) -> DataEnd {
        let leg = self.layer.leg();
        loop {
            let mut cell = match next_cell(&mut self.reader, &mut self.writer).await {
                NextCell::Cell(cell) => cell,
                NextCell::End => return DataEnd::Finished,
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
    };
    let clean = tokio::select! {
        end = data.run(hop) => match end {
            DataEnd::Finished => {
                let _ = timeout(CLOSE_GRACE, data.writer.close()).await;
                true
            }
            DataEnd::UpstreamBroken => false,
            DataEnd::NextBroken => {
                reverse.explain(hop, FailureCode::NextClosed).await;
                false
            }
            DataEnd::Fault(code) => {
                reverse.fail(code);
                false
            }
        },
        end = reverse.run(hop) => {
            if let ReverseEnd::Next(code) = end {
                reverse.fail(code);
            }
            false
        }
        still = hop.counters.standstill(true) => {
            reverse.fail(match still {
                Standstill::Idle => FailureCode::Idle,
                Standstill::Stalled => FailureCode::NextClosed,
            });
            false
        }
        code = hop.running.to_end() => {
            reverse.fail(code);
            false
        }
        () = hop.stopped() => {
            reverse.fail(FailureCode::Shutdown);
            false
        }
    };
    reverse.close().await;
    clean
}
