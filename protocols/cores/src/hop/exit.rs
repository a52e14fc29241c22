//! The exit of a circuit: opens the over leg, seals the back leg, exchanges keys in the
//! first cell each way, and hands its end to whoever serves sessions.

use std::sync::Arc;

use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncReadExt, AsyncWriteExt};
use masq_onion::{
    BackSealer, CellError, CellSize, ExitKeys, KxBinding, ORIGIN_SHARE_LEN, Opened, OverOpener,
    SessionSecret,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::Hop;
use super::pump::{self, ReverseEnd, ReversePump};
use crate::account::Account;
use crate::cell::{CellBuf, CircuitEnd, END_QUEUE, KIND_LEN, Leg, ResumeSecret, Side};
use crate::close::CloseReason;
use crate::failure::FailureCode;
use crate::flags;
use crate::frame::{CellReader, CellWriter, FrameError, cell_kind};
use crate::host::{Seen, Wire};
use crate::limits::{CLOSE_GRACE, LAST_CELLS, LAST_REPORT_WAIT, SETUP_TIMEOUT};
use crate::meter::Standstill;

/// The over leg at the exit.
struct Incoming {
    reader: CellReader<ReadHalf<Wire>>,
    opener: OverOpener,
    /// The key to change to when the marker comes.
    secret: Option<SessionSecret>,
}

/// The back leg at the exit.
struct Outgoing {
    writer: CellWriter<WriteHalf<Wire>>,
    sealer: BackSealer,
}

/// Why the exit's part ended.
enum End {
    /// The session is done.
    Local,
    /// The over leg was ended in good order.
    Over,
    /// The over leg broke.
    OverBroken,
    /// The back leg takes nothing more.
    BackBroken,
    Fault(FailureCode, &'static str),
    Reverse(ReverseEnd),
    Standstill(Standstill),
    GivenUp(FailureCode),
    Stopped,
}

/// Serves as the exit until the circuit ends; says whether that was in good order.
pub(crate) async fn run(
    hop: &Hop,
    account: &mut Account,
    before: Wire,
    mut after: Wire,
    setup: &[u8],
    keys: ExitKeys,
) -> bool {
    let passed_on = matches!(
        timeout(SETUP_TIMEOUT, after.write_all(setup)).await,
        Ok(Ok(()))
    );
    let (before_read, before_write) = before.split();
    let (after_read, after_write) = after.split();
    let mut reverse = ReversePump::new(after_read, before_write, keys.reverse);
    if !passed_on {
        reverse.explain(hop, FailureCode::NextUnreachable).await;
        reverse.close().await;
        return false;
    }
    account.begin();
    let mut incoming = Incoming {
        reader: CellReader::new(before_read, Leg::Over, hop.inner.cells.clone()),
        opener: keys.over,
        secret: None,
    };
    let mut outgoing = Outgoing {
        writer: CellWriter::new(after_write),
        sealer: keys.back,
    };
    let exchange = exchange(hop, &mut incoming, &mut outgoing, &keys.binding);
    let exchanged = tokio::select! {
        exchanged = timeout(SETUP_TIMEOUT, exchange) => exchanged,
        code = hop.running.to_end() => Ok(Err(End::GivenUp(code))),
        () = hop.stopped() => Ok(Err(End::Stopped)),
    };
    let end = match exchanged {
        Ok(Ok(resume)) => serve(hop, &mut incoming, &mut outgoing, &mut reverse, resume).await,
        Ok(Err(end)) => end,
        Err(_) => End::Fault(FailureCode::Protocol, "no key exchange"),
    };
    let clean = match end {
        End::Local => {
            reverse.say_ended();
            wind_up(hop, &mut incoming, &mut outgoing, &mut reverse, false).await
        }
        End::Over => wind_up(hop, &mut incoming, &mut outgoing, &mut reverse, true).await,
        end => {
            let next_gone = matches!(
                end,
                End::BackBroken | End::Reverse(ReverseEnd::Reported | ReverseEnd::Next(_))
            );
            give_up(hop, end, &mut reverse).await;
            let back = timeout(CLOSE_GRACE, outgoing.writer.close());
            // As at a relay: the origin counts everything that it has sealed.
            let over = async {
                if next_gone {
                    tokio::select! {
                        _ = timeout(LAST_CELLS, incoming.run(hop, None)) => {}
                        () = hop.stopped() => {}
                    }
                }
            };
            let _ = tokio::join!(back, reverse.close(), over);
            return false;
        }
    };
    reverse.close().await;
    clean
}

/// Takes the origin's share out of the first cell over and answers it in the first back.
async fn exchange(
    hop: &Hop,
    incoming: &mut Incoming,
    outgoing: &mut Outgoing,
    binding: &KxBinding,
) -> Result<ResumeSecret, End> {
    const MISPLACED: End = End::Fault(FailureCode::Protocol, "no key share in the first cell");
    let mut cell = match incoming.reader.cell().await {
        Ok(Some(cell)) => cell,
        Ok(None) => return Err(End::OverBroken),
        Err(FrameError::Kind(_)) => return Err(MISPLACED),
        Err(_) => return Err(End::OverBroken),
    };
    let (flags, len) = match open(hop, &mut incoming.opener, &mut cell)? {
        Opened::Deliver { flags, len } => (flags, len),
        Opened::Forward | Opened::Drop => return Err(MISPLACED),
    };
    if flags != flags::KEY_SHARE || len != ORIGIN_SHARE_LEN {
        return Err(MISPLACED);
    }
    cell.set_len(len);
    let (secret, reply) =
        masq_onion::respond(binding, cell.payload(), &mut hop.inner.rng.make())
            .map_err(|_| End::Fault(FailureCode::Protocol, "key share is no key share"))?;

    let mut answer = hop.inner.cells.cell(Leg::Back, CellSize::Medium);
    answer.put(&reply);
    outgoing.send(hop, answer, flags::KEY_SHARE).await?;
    outgoing.writer.flush().await.map_err(|_| End::BackBroken)?;
    outgoing.sealer.rekey(&secret);
    let resume = Arc::new(Zeroizing::new(secret.resume_secret()));
    incoming.secret = Some(secret);
    Ok(resume)
}

fn open(hop: &Hop, opener: &mut OverOpener, cell: &mut CellBuf) -> Result<Opened, End> {
    hop.tap.show(Seen::CellIn(Leg::Over), cell.wire());
    match opener.open(&mut cell.wire_mut()[KIND_LEN..]) {
        Ok(opened) => {
            hop.counters.count(Leg::Over, cell.size());
            Ok(opened)
        }
        Err(CellError::Exhausted) => Err(End::Fault(FailureCode::Exhausted, "counter used up")),
        Err(_) => Err(End::Fault(
            FailureCode::Protocol,
            "a cell did not authenticate",
        )),
    }
}

impl Incoming {
    /// Hands on cells until the leg ends, or counts them where nobody takes them any more;
    /// never returns by itself for any other reason. May be dropped and run again.
    async fn run(&mut self, hop: &Hop, to: Option<mpsc::Sender<CellBuf>>) -> End {
        loop {
            tokio::task::coop::consume_budget().await;
            let mut cell = match self.reader.cell().await {
                Ok(Some(cell)) => cell,
                Ok(None) if self.reader.in_good_order() => return End::Over,
                Ok(None) => return End::OverBroken,
                Err(FrameError::Kind(_)) => {
                    return End::Fault(FailureCode::Protocol, "not a cell");
                }
                Err(_) => return End::OverBroken,
            };
            let (flags, len) = match open(hop, &mut self.opener, &mut cell) {
                Ok(Opened::Deliver { flags, len }) => (flags, len),
                Ok(Opened::Drop) => continue,
                Ok(Opened::Forward) => {
                    return End::Fault(FailureCode::Protocol, "nothing to forward to");
                }
                Err(end) => return end,
            };
            match flags {
                flags::DATA => {
                    let Some(to) = &to else { continue };
                    cell.set_len(len);
                    // A session that takes no more still sends: the cell is dropped.
                    hop.counters.set_blocked(Leg::Over, true);
                    let _ = to.send(cell).await;
                    hop.counters.set_blocked(Leg::Over, false);
                }
                flags::MARKER => match self.secret.take() {
                    Some(secret) => self.opener.rekey(&secret),
                    None => return End::Fault(FailureCode::Protocol, "a second marker"),
                },
                _ => return End::Fault(FailureCode::Protocol, "unknown flags"),
            }
        }
    }
}

impl Outgoing {
    async fn send(&mut self, hop: &Hop, mut cell: CellBuf, flags: u8) -> Result<(), End> {
        let (len, size) = (cell.len(), cell.size());
        let wire = cell.wire_mut();
        wire[0] = cell_kind(Leg::Back, size);
        match self.sealer.seal(&mut wire[KIND_LEN..], flags, len) {
            Ok(()) => {}
            Err(CellError::Exhausted) => {
                return Err(End::Fault(FailureCode::Exhausted, "counter used up"));
            }
            Err(_) => return Err(End::Fault(FailureCode::Refused, "cell could not be sealed")),
        }
        hop.counters.count(Leg::Back, size);
        hop.tap.show(Seen::CellOut(Leg::Back), cell.wire());
        hop.counters.set_blocked(Leg::Back, true);
        self.writer.write(cell).await.map_err(|_| End::BackBroken)?;
        hop.counters.set_blocked(Leg::Back, false);
        Ok(())
    }

    /// Seals and sends what the session gives, until it gives no more.
    async fn run(&mut self, hop: &Hop, from: &mut mpsc::Receiver<CellBuf>) -> End {
        loop {
            let cell = match from.try_recv() {
                Ok(cell) => cell,
                Err(_) => {
                    if self.writer.flush().await.is_err() {
                        return End::BackBroken;
                    }
                    match from.recv().await {
                        Some(cell) => cell,
                        None => return End::Local,
                    }
                }
            };
            if cell.leg() != Leg::Back {
                return End::Fault(FailureCode::Refused, "cell made for the other leg");
            }
            if let Err(end) = self.send(hop, cell, flags::DATA).await {
                return end;
            }
        }
    }
}

/// Hands the end of the circuit over and moves cells until something ends.
async fn serve(
    hop: &Hop,
    incoming: &mut Incoming,
    outgoing: &mut Outgoing,
    reverse: &mut ReversePump,
    resume: ResumeSecret,
) -> End {
    let Some(acceptor) = &hop.inner.exit else {
        return End::Fault(FailureCode::Refused, "not an exit");
    };
    let (to_session, session_in) = mpsc::channel(END_QUEUE);
    // Whoever sees the end of the cells finds the reason there already.
    let held = to_session.clone();
    let (session_out, mut from_session) = mpsc::channel(END_QUEUE);
    let (close, closed) = watch::channel(None);
    let (_, resume) = watch::channel(Some(resume));
    acceptor.accept(CircuitEnd {
        id: hop.id,
        side: Side::Exit,
        outgoing: session_out,
        incoming: session_in,
        closed,
        resume,
        pool: hop.inner.cells.clone(),
    });
    let end = tokio::select! {
        end = incoming.run(hop, Some(to_session)) => end,
        end = outgoing.run(hop, &mut from_session) => end,
        end = reverse.run(hop) => End::Reverse(end),
        still = hop.counters.standstill(true) => End::Standstill(still),
        code = hop.running.to_end() => End::GivenUp(code),
        () = hop.stopped() => End::Stopped,
    };
    let reason = match &end {
        End::Local => CloseReason::Local,
        End::Over | End::OverBroken | End::BackBroken | End::Reverse(_) => CloseReason::Remote,
        End::Fault(FailureCode::Exhausted, _) => CloseReason::Exhausted,
        End::Fault(_, why) => CloseReason::Protocol(why),
        End::Standstill(Standstill::Idle) => CloseReason::Idle,
        End::Standstill(Standstill::Stalled) => CloseReason::Silent,
        End::GivenUp(code) => CloseReason::GivenUp(*code),
        End::Stopped => CloseReason::Shutdown,
    };
    close.send_replace(Some(Arc::new(reason)));
    drop(held);
    end
}

/// Ends the back leg in good order, takes what is still on the over leg, and waits until the
/// origin confirms that it has everything; says whether it did.
async fn wind_up(
    hop: &Hop,
    incoming: &mut Incoming,
    outgoing: &mut Outgoing,
    reverse: &mut ReversePump,
    over_ended: bool,
) -> bool {
    let legs = async {
        let over = async { over_ended || matches!(incoming.run(hop, None).await, End::Over) };
        let (back, over) = tokio::join!(outgoing.writer.end(), over);
        back.is_ok() && over
    };
    tokio::pin!(legs);
    let until = Instant::now() + LAST_REPORT_WAIT;
    let (mut ended, mut last) = (false, None);
    loop {
        tokio::select! {
            good = &mut legs, if !ended => {
                if !good {
                    return false;
                }
                ended = true;
            }
            end = reverse.run(hop), if last.is_none() => match end {
                ReverseEnd::Last(body) => last = Some(body),
                ReverseEnd::Reported | ReverseEnd::Next(_) | ReverseEnd::Upstream => return false,
            },
            _ = hop.running.to_end() => return false,
            () = hop.stopped() => return false,
            () = pump::at(Some(until)) => return false,
        }
        // The last report may overtake the end of the over leg, and is not to come to the
        // relays of that leg before it.
        if ended && let Some(body) = &mut last {
            return reverse.pass_last(hop, body);
        }
    }
}

/// Tells the origin why this exit does not go on.
async fn give_up(hop: &Hop, end: End, reverse: &mut ReversePump) {
    match end {
        End::Local | End::Over | End::OverBroken => {}
        End::Reverse(ReverseEnd::Reported | ReverseEnd::Upstream) => {}
        End::BackBroken => reverse.explain(hop, FailureCode::NextClosed).await,
        End::Fault(code, why) => {
            tracing::debug!(circuit = %hop.id, why, "exit gives the circuit up");
            reverse.fail(code);
        }
        // No last report can be due while neither end has ended the circuit.
        End::Reverse(ReverseEnd::Last(_)) => reverse.fail(FailureCode::NextMisbehaved),
        End::Reverse(ReverseEnd::Next(code)) => reverse.fail(code),
        End::Standstill(Standstill::Idle) => reverse.fail(FailureCode::Idle),
        End::Standstill(Standstill::Stalled) => reverse.fail(FailureCode::NextClosed),
        End::GivenUp(code) => reverse.fail_with(code, hop.running.detail()),
        End::Stopped => reverse.fail(FailureCode::Shutdown),
    }
}
