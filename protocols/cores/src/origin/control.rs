//! The reverse direction at the origin: starting report rounds on the back leg's stream,
//! and reading reports and failures where they come out, on the over leg's.

use std::cmp::Ordering;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use futures::io::{ReadHalf, WriteHalf};
use masq_onion::{NodeKey, ReverseOrigin};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::Round;
use crate::cell::Leg;
use crate::failure::{self, CircuitFailure, FailureCode};
use crate::frame::{KIND_LAST, KIND_REPORT, Reverse, ReverseReader, ReverseWriter};
use crate::host::Wire;
use crate::limits::{REPORT_EVERY, REPORT_TIMEOUT};
use crate::meter::Counters;
use crate::paid::{MAX_SLOT, Paying, bounded};
use crate::report::HopReport;

/// Why the reverse direction ended at the origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ControlEnd {
    /// A hop reported a failure.
    Failed(CircuitFailure),
    /// The exit ended the circuit in good order.
    Ended,
    /// The first hop closed the stream without a word, or with one that is not authentic.
    Closed,
    /// The first hop broke the rules.
    Violation,
    /// A round did not come home in time.
    Silent,
}

/// Where the present round is.
enum Phase {
    /// The back leg is not here yet.
    Waiting,
    /// The next round starts then.
    Between(Instant),
    /// A round is out since then.
    Out(Instant),
}

/// Where a circuit goes.
pub(super) struct Way {
    /// The whole loop: origin, over hops, back relays, origin.
    pub(super) path: Vec<NodeKey>,
    /// Which of the hops is the exit.
    pub(super) exit: usize,
}

/// Rounds and failures of one circuit.
pub(super) struct Control {
    reader: ReverseReader<ReadHalf<Wire>>,
    keys: ReverseOrigin,
    starter: Option<oneshot::Receiver<WriteHalf<Wire>>>,
    writer: Option<ReverseWriter<WriteHalf<Wire>>>,
    phase: Phase,
    rounds: watch::Sender<Round>,
    way: Way,
    rng: ChaCha20Rng,
    paying: Option<Arc<dyn Paying>>,
}

impl Control {
    pub(super) fn new(
        reader: ReverseReader<ReadHalf<Wire>>,
        keys: ReverseOrigin,
        starter: oneshot::Receiver<WriteHalf<Wire>>,
        rounds: watch::Sender<Round>,
        way: Way,
        rng: ChaCha20Rng,
        paying: Option<Arc<dyn Paying>>,
    ) -> Self {
        Self {
            reader,
            keys,
            starter: Some(starter),
            writer: None,
            phase: Phase::Waiting,
            rounds,
            way,
            rng,
            paying,
        }
    }

    /// Runs until something ends. May be dropped at any time and run again.
    pub(super) async fn run(&mut self) -> ControlEnd {
        loop {
            let due = match self.phase {
                Phase::Waiting => None,
                Phase::Between(at) => Some(at),
                Phase::Out(since) => Some(since + REPORT_TIMEOUT),
            };
            tokio::select! {
                frame = self.reader.frame() => {
                    let end = match frame {
                        Ok(Some(frame)) => self.take(frame),
                        Ok(None) => Some(ControlEnd::Closed),
                        Err(e) if e.is_violation() => Some(ControlEnd::Violation),
                        Err(_) => Some(ControlEnd::Closed),
                    };
                    if let Some(end) = end {
                        return end;
                    }
                }
                writer = arrival(&mut self.starter) => {
                    self.starter = None;
                    self.writer = Some(ReverseWriter::new(writer));
                    self.phase = Phase::Between(Instant::now() + self.interval());
                }
                () = at(due) => {
                    if matches!(self.phase, Phase::Out(_)) {
                        return ControlEnd::Silent;
                    }
                    if !self.start_round() {
                        return ControlEnd::Closed;
                    }
                }
                () = drain(&mut self.writer) => {}
            }
        }
    }

    /// A quarter around the average, so that rounds of circuits that began together part.
    fn interval(&mut self) -> Duration {
        let quarter = REPORT_EVERY / 4;
        REPORT_EVERY - quarter + self.rng.random_range(Duration::ZERO..quarter * 2)
    }

    fn start_round(&mut self) -> bool {
        let Some(writer) = &mut self.writer else {
            return false;
        };
        let Ok(frame) = self
            .keys
            .start(&said(self.paying.as_deref(), self.keys.hops()))
        else {
            return false;
        };
        self.phase = Phase::Out(Instant::now());
        writer.push(KIND_REPORT, &frame).is_ok()
    }

    fn take(&mut self, frame: Reverse) -> Option<ControlEnd> {
        match frame {
            Reverse::Report(mut body) => {
                let Phase::Out(since) = self.phase else {
                    return Some(ControlEnd::Violation);
                };
                let Ok(slots) = self.keys.finish(&mut body) else {
                    return Some(ControlEnd::Violation);
                };
                let took = since.elapsed();
                self.phase = Phase::Between(Instant::now() + self.interval());
                self.heard(&slots, took);
                None
            }
            // Only ever the answer to one that this node called the last.
            Reverse::Last(_) => Some(ControlEnd::Violation),
            Reverse::Failure(mut body) => {
                let Ok((hop, payload)) = self.keys.open_failure(&mut body) else {
                    return Some(ControlEnd::Closed);
                };
                let (code, detail) =
                    failure::decode(&payload).unwrap_or((FailureCode::Unknown(u8::MAX), &[]));
                if code == FailureCode::Ended {
                    return Some(ControlEnd::Ended);
                }
                let Some(mut failure) = CircuitFailure::locate(&self.way.path, hop, code) else {
                    return Some(ControlEnd::Violation);
                };
                failure.detail = detail.to_vec();
                Some(self.failed(failure))
            }
            Reverse::Refused(code) => Some(match CircuitFailure::locate(&self.way.path, 0, code) {
                Some(mut failure) => {
                    // In plain, so it can only be the first hop's word about itself.
                    failure.edge = self.first_edge();
                    self.failed(failure)
                }
                None => ControlEnd::Violation,
            }),
        }
    }

    /// Once both legs have ended in good order: the last round, which tells the hops so.
    /// Waits until it is home, and says whether every hop counted what this node did.
    pub(super) async fn last_round(&mut self, counters: &Counters) -> bool {
        if let Some(Ok(writer)) = self.starter.take().map(|mut starter| starter.try_recv()) {
            self.writer = Some(ReverseWriter::new(writer));
        }
        let Some(mut writer) = self.writer.take() else {
            return false;
        };
        let slots = said(self.paying.as_deref(), self.keys.hops());
        let Ok(frame) = self.keys.start(&slots) else {
            return false;
        };
        let begun = Instant::now();
        if writer.push(KIND_LAST, &frame).is_err() {
            return false;
        }
        let home = timeout(REPORT_TIMEOUT, self.last_home());
        let (_, home) = tokio::join!(timeout(REPORT_TIMEOUT, writer.close()), home);
        let Some(mut frame) = home.ok().flatten() else {
            return false;
        };
        let Ok(slots) = self.keys.finish(&mut frame) else {
            return false;
        };
        self.heard(&slots, begun.elapsed());
        let (over, back) = (counters.carried(Leg::Over), counters.carried(Leg::Back));
        let round = self.rounds.borrow();
        round.hops.iter().enumerate().all(|(i, report)| {
            let mine = match i.cmp(&self.way.exit) {
                Ordering::Less => (over.cells, over.bytes),
                Ordering::Equal => (over.cells + back.cells, over.bytes + back.bytes),
                Ordering::Greater => (back.cells, back.bytes),
            };
            report
                .as_ref()
                .is_some_and(|report| (report.cells, report.bytes) == mine)
        })
    }

    /// Reads until the last round is home; a round that was out before it comes first.
    async fn last_home(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.reader.frame().await {
                Ok(Some(Reverse::Last(body))) => return Some(body),
                Ok(Some(frame)) => match self.take(frame) {
                    None | Some(ControlEnd::Ended) => {}
                    Some(_) => return None,
                },
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// The circuit has failed, after only so many hops served in it, if it has not come home.
    pub(super) fn half_built(&self, reached: usize) {
        if let (Phase::Waiting, Some(paying)) = (&self.phase, &self.paying) {
            paying.half_built(reached);
        }
    }

    fn failed(&self, failure: CircuitFailure) -> ControlEnd {
        if let Some(paying) = &self.paying {
            paying.refused(failure.hop, failure.code, &failure.detail);
        }
        ControlEnd::Failed(failure)
    }

    /// Takes what the hops said in a round.
    fn heard(&self, slots: &[Option<Vec<u8>>], took: Duration) {
        let hops: Vec<_> = slots
            .iter()
            .map(|slot| HopReport::decode(slot.as_deref()?))
            .collect();
        if let Some(paying) = &self.paying {
            for (i, report) in hops.iter().enumerate() {
                match report {
                    Some(report) if !report.extra.is_empty() => paying.heard(i, &report.extra),
                    _ => {}
                }
            }
        }
        self.rounds.send_modify(|round| {
            round.count += 1;
            round.took = took;
            round.hops = hops;
        });
    }

    /// The edge between the origin and its first hop.
    pub(super) fn first_edge(&self) -> (NodeKey, NodeKey) {
        (self.way.path[0], self.way.path[1])
    }

    /// What the origin itself saw: its stream to the first hop, or the one from the last,
    /// ended without a word.
    pub(super) fn own_edge(&self, over: bool) -> CircuitFailure {
        let n = self.way.path.len();
        // A path has its origin twice and at least one hop between.
        let (hop, edge) = if over {
            (0, self.first_edge())
        } else {
            (n - 3, (self.way.path[n - 2], self.way.path[n - 1]))
        };
        CircuitFailure {
            hop,
            node: self.way.path[hop + 1],
            code: FailureCode::NextClosed,
            detail: Vec::new(),
            edge,
        }
    }
}

/// What is said to each hop in a round that starts now.
fn said(paying: Option<&dyn Paying>, hops: usize) -> Vec<Vec<u8>> {
    let Some(paying) = paying else {
        return Vec::new();
    };
    let say = |hop| bounded(paying.say(hop), MAX_SLOT, "slot of a hop");
    (0..hops).map(say).collect()
}

async fn arrival(starter: &mut Option<oneshot::Receiver<WriteHalf<Wire>>>) -> WriteHalf<Wire> {
    if let Some(receiver) = starter
        && let Ok(writer) = receiver.await
    {
        return writer;
    }
    // It came already, or the back leg ended, which its own side reports.
    *starter = None;
    std::future::pending().await
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Writes what waits; returns never, as an end of that stream is seen by the back leg.
async fn drain(writer: &mut Option<ReverseWriter<WriteHalf<Wire>>>) {
    if let Some(writer) = writer {
        let _ = poll_fn(|cx| writer.poll_drain(cx)).await;
    }
    std::future::pending().await
}
