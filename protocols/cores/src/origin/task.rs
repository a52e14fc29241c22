//! The task that runs a circuit of this node's own: both legs and the reverse direction
//! side by side, and winding up when one of them ends.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::control::{Control, ControlEnd};
use super::legs::{BackEnd, BackLeg, OverEnd, OverLeg};
use crate::account::Account;
use crate::cell::{CellBuf, CircuitId};
use crate::close::CloseReason;
use crate::failure::FailureCode;
use crate::limits::{CLOSE_GRACE, CLOSE_LIMIT, DRAIN_MAX, DRAIN_MIN, FAILURE_GRACE, LAST_WORD};
use crate::link::Place;
use crate::node::Inner;

/// Everything of one circuit at its origin.
pub(super) struct Origin {
    pub(super) inner: Arc<Inner>,
    pub(super) id: CircuitId,
    pub(super) account: Account,
    pub(super) place: Place,
    pub(super) over: OverLeg,
    pub(super) back: BackLeg,
    pub(super) control: Control,
    pub(super) close: watch::Sender<Option<Arc<CloseReason>>>,
}

/// Which part ended first.
enum First {
    Over(OverEnd),
    Back(BackEnd),
    Control(ControlEnd),
    Stalled,
    GivenUp(FailureCode),
    Stopped,
}

impl Origin {
    /// Runs the circuit to its end.
    pub(super) async fn run(mut self, to_session: mpsc::Sender<CellBuf>) {
        let counters = self.account.counters.clone();
        let running = self.account.running.clone();
        let first = tokio::select! {
            end = self.over.run(&counters) => First::Over(end),
            end = self.back.run(&counters, Some(&to_session)) => First::Back(end),
            end = self.control.run() => First::Control(end),
            _ = counters.standstill(false) => First::Stalled,
            code = running.to_end() => First::GivenUp(code),
            () = self.inner.stop.cancelled() => First::Stopped,
            () = self.place.gone.cancelled() => First::Stopped,
        };
        let reason = self.reason(first, &to_session).await;
        tracing::debug!(circuit = %self.id, %reason, "own circuit ends");
        let reached = match &reason {
            CloseReason::Failed(failure) => failure.reached(&self.inner.node),
            CloseReason::Broken(_) => Some(0),
            _ => None,
        };
        if let Some(reached) = reached {
            self.control.half_built(reached);
        }
        let orderly = is_orderly(&reason);
        let tampered = matches!(reason, CloseReason::Tampered);
        self.close.send_replace(Some(Arc::new(reason)));
        drop(to_session);
        self.over.from_session.close();
        self.account.clean = self.wind_up(orderly, tampered).await && !tampered;
        tracing::debug!(circuit = %self.id, clean = self.account.clean, "own circuit is over");
    }

    /// Finds out why the circuit ended, which may need a moment: where a stream broke, the
    /// hop that knows why may have put it on the way.
    async fn reason(&mut self, first: First, to_session: &mpsc::Sender<CellBuf>) -> CloseReason {
        match first {
            First::Over(OverEnd::Local) => CloseReason::Local,
            First::Over(OverEnd::Exhausted) | First::Back(BackEnd::Exhausted) => {
                CloseReason::Exhausted
            }
            First::Over(OverEnd::Misused) => CloseReason::Protocol("session misused a cell"),
            First::Over(OverEnd::Broken(kind)) => {
                self.explained(to_session, CloseReason::Broken(kind)).await
            }
            // In good order too: the exit's word that it did so goes another way.
            First::Back(BackEnd::Ended | BackEnd::Closed) => {
                let otherwise = CloseReason::Failed(self.control.own_edge(false));
                self.explained(to_session, otherwise).await
            }
            First::Back(BackEnd::SetupTimeout) => CloseReason::SetupTimeout,
            First::Back(BackEnd::Tampered) => CloseReason::Tampered,
            First::Back(BackEnd::Violation(what)) => CloseReason::Protocol(what),
            First::Control(end) => self.control_reason(end, to_session).await,
            First::Stalled => CloseReason::Silent,
            First::GivenUp(code) => CloseReason::GivenUp(code),
            First::Stopped => CloseReason::Shutdown,
        }
    }

    async fn explained(
        &mut self,
        to_session: &mpsc::Sender<CellBuf>,
        otherwise: CloseReason,
    ) -> CloseReason {
        match timeout(FAILURE_GRACE, self.control.run()).await {
            Ok(ControlEnd::Closed | ControlEnd::Silent) | Err(_) => otherwise,
            Ok(end) => self.control_reason(end, to_session).await,
        }
    }

    async fn control_reason(
        &mut self,
        end: ControlEnd,
        to_session: &mpsc::Sender<CellBuf>,
    ) -> CloseReason {
        match end {
            ControlEnd::Failed(failure) => CloseReason::Failed(failure),
            ControlEnd::Ended => {
                // The word may have overtaken the last cells, which come the other way.
                let counters = self.account.counters.clone();
                match self.back.run_dry(&counters, to_session).await {
                    Some(BackEnd::Tampered) => CloseReason::Tampered,
                    _ => CloseReason::Remote,
                }
            }
            ControlEnd::Closed => CloseReason::Failed(self.control.own_edge(true)),
            ControlEnd::Violation => CloseReason::Protocol("first hop broke the reverse direction"),
            ControlEnd::Silent => CloseReason::Silent,
        }
    }

    /// Ends the circuit on the wire, from the over side, and lets the back leg run dry. Says
    /// whether every hop counted the same.
    async fn wind_up(&mut self, orderly: bool, tampered: bool) -> bool {
        let stop = self.inner.stop.clone();
        let gone = self.place.gone.clone();
        let back_place = self.back.place.take();
        let wind_up = async {
            if tampered {
                // A relay cannot see that a cell was changed, and so would go on. The
                // meddler must not see where the circuit ends by when it does, or how.
                let wait = self.inner.rng.make().random_range(DRAIN_MIN..DRAIN_MAX);
                self.drain_for(wait).await;
            }
            if orderly {
                return self.end_legs().await
                    && self.control.last_round(&self.account.counters).await;
            }
            let closed = timeout(CLOSE_GRACE, self.over.writer.close()).await;
            if matches!(closed, Ok(Ok(()))) {
                let _ = timeout(CLOSE_GRACE, self.back.discard()).await;
            }
            false
        };
        let stopped = async {
            stop.cancelled().await;
            // Time for the ends to be told, and no more.
            sleep(LAST_WORD).await;
        };
        tokio::select! {
            clean = wind_up => clean,
            () = stopped => false,
            () = gone.cancelled() => false,
            () = BackLeg::gone(back_place.as_ref()) => false,
        }
    }

    /// Ends the over leg behind what was sealed for it, and counts what the back leg still
    /// brings. Says whether that ended in good order.
    async fn end_legs(&mut self) -> bool {
        let counters = &self.account.counters;
        let back = self.back.run(counters, None);
        tokio::pin!(back);
        let mut came = None;
        let end = timeout(CLOSE_LIMIT, self.over.writer.end());
        tokio::pin!(end);
        let told = loop {
            tokio::select! {
                told = &mut end => break matches!(told, Ok(Ok(()))),
                end = &mut back, if came.is_none() => came = Some(end),
            }
        };
        if told && came.is_none() {
            came = timeout(CLOSE_LIMIT, back).await.ok();
        }
        told && came == Some(BackEnd::Ended)
    }

    /// Counts and throws away what the back leg brings, for as long as that, even if it
    /// ends earlier.
    async fn drain_for(&mut self, wait: Duration) {
        let counters = &self.account.counters;
        tokio::join!(sleep(wait), async {
            let _ = timeout(wait, self.back.run(counters, None)).await;
        });
    }
}

/// Whether the end is this node's to bring about: then it is brought about in good order.
/// After a cell was changed too, as the meddler could tell from anything else that it is
/// next to an origin.
fn is_orderly(reason: &CloseReason) -> bool {
    match reason {
        CloseReason::Local
        | CloseReason::Remote
        | CloseReason::GivenUp(_)
        | CloseReason::Tampered
        | CloseReason::Shutdown => true,
        CloseReason::Failed(_)
        | CloseReason::Broken(_)
        | CloseReason::Protocol(_)
        | CloseReason::SetupTimeout
        | CloseReason::Silent
        | CloseReason::Idle
        | CloseReason::Exhausted => false,
    }
}
