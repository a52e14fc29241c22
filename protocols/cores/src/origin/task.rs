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
use crate::limits::{CLOSE_GRACE, DRAIN_MAX, DRAIN_MIN, FAILURE_GRACE};
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
            end = self.back.run(&counters, &to_session) => First::Back(end),
            end = self.control.run() => First::Control(end),
            _ = counters.standstill(false) => First::Stalled,
            code = running.to_end() => First::GivenUp(code),
            () = self.inner.stop.cancelled() => First::Stopped,
            () = self.place.gone.cancelled() => First::Stopped,
        };
        let reason = self.reason(first, &to_session).await;
        tracing::debug!(circuit = %self.id, %reason, "own circuit ends");
        let (clean, tampered) = (reason.is_clean(), matches!(reason, CloseReason::Tampered));
        let stopped = matches!(reason, CloseReason::Shutdown);
        self.close.send_replace(Some(Arc::new(reason)));
        drop(to_session);
        self.over.from_session.close();
        if !stopped {
            self.wind_up(tampered).await;
        }
        self.account.clean = clean;
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
            First::Back(BackEnd::Closed) => {
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
                let rest = self.back.run(&counters, to_session);
                match timeout(CLOSE_GRACE, rest).await {
                    Ok(BackEnd::Tampered) => CloseReason::Tampered,
                    _ => CloseReason::Remote,
                }
            }
            ControlEnd::Closed => CloseReason::Failed(self.control.own_edge(true)),
            ControlEnd::Violation => CloseReason::Protocol("first hop broke the reverse direction"),
            ControlEnd::Silent => CloseReason::Silent,
        }
    }

    /// Ends the circuit on the wire, from the over side, and lets the back leg run dry.
    async fn wind_up(&mut self, tampered: bool) {
        let stop = self.inner.stop.clone();
        let gone = self.place.gone.clone();
        let back_place = self.back.place.take();
        let wind_up = async {
            if tampered {
                // A relay cannot see that a cell was changed, and so would go on. The
                // meddler must not see where the circuit ends by when it does.
                let wait = self.inner.rng.make().random_range(DRAIN_MIN..DRAIN_MAX);
                self.drain_for(wait).await;
            }
            let closed = timeout(CLOSE_GRACE, self.over.writer.close()).await;
            if matches!(closed, Ok(Ok(()))) {
                let _ = timeout(CLOSE_GRACE, self.back.discard()).await;
            }
        };
        tokio::select! {
            () = wind_up => {}
            () = stop.cancelled() => {}
            () = gone.cancelled() => {}
            () = BackLeg::gone(back_place.as_ref()) => {}
        }
    }

    /// Reads and throws away what the back leg brings, for as long as that, even if it
    /// ends earlier.
    async fn drain_for(&mut self, wait: Duration) {
        tokio::join!(sleep(wait), async {
            let _ = timeout(wait, self.back.discard()).await;
        });
    }
}
