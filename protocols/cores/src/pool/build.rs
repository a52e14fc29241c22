//! Building circuits for a pool, on demand and ahead of it, and keeping it tidy.

use std::sync::Arc;
use std::time::Duration;

use rand_core::Rng;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::busiest::{Busiest, LOOK_EVERY};
use super::room::{self, Full, WAYS};
use super::state::{Built, Entry, Running};
use super::{Back, Inner, IsolationKey, Outcome, PoolError, ROOM_WAIT, RouteSource, Want};
use crate::cell::Leg;
use crate::close::CloseReason;
use crate::flow::ClientSession;
use crate::origin::{CircuitHandle, Route};
use crate::session::SessionId;

/// How often a pool is tidied when nothing wakes its keeper.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// First and longest wait after warming failed; it doubles in between. Guess.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Runs for as long as the pool is there.
pub(super) async fn keep(pool: Back, wake: Arc<Notify>) {
    loop {
        let begin = {
            let Some(inner) = pool.upgrade() else { return };
            let (config, now) = (inner.config(), Instant::now());
            let mut state = inner.state();
            state.prune(now, &config);
            let begin = state.missing(now, &config);
            state.warming += begin;
            begin
        };
        for _ in 0..begin {
            if let Some(inner) = pool.upgrade() {
                tokio::spawn(warm(inner));
            }
        }
        // Either way it is time to look again.
        let _ = timeout(TIDY_EVERY, wake.notified()).await;
    }
}

/// Builds one circuit that nobody asked for yet.
async fn warm(inner: Arc<Inner>) {
    let built = build(&inner, &Want::default(), 1, None).await;
    let mut state = inner.state();
    state.warming -= 1;
    match built {
        Ok(entry) => {
            state.patience = None;
            if !state.closed {
                state.entries.push(entry);
            }
        }
        Err(error) => {
            tracing::debug!(%error, "no warm circuit");
            let failures = state.patience.map_or(0, |(n, _)| n) + 1;
            let wait = PATIENCE
                .0
                .saturating_mul(1 << failures.min(6))
                .min(PATIENCE.1);
            state.patience = Some((failures, Instant::now() + wait));
        }
    }
}

/// A circuit that somebody waits for.
pub(super) struct Order {
    pub(super) isolation: IsolationKey,
    pub(super) want: Want,
    /// Not before this one is over, which makes room for it.
    pub(super) after: Option<CircuitHandle>,
}

/// Builds a circuit that somebody waits for.
pub(super) async fn on_demand(inner: Arc<Inner>, order: Order, done: watch::Sender<Option<Built>>) {
    let Order {
        isolation,
        want,
        after,
    } = order;
    if let Some(circuit) = after {
        room::until_over(circuit).await;
    }
    let attempts = inner.config().attempts;
    let built = build(&inner, &want, attempts, Some(Instant::now() + ROOM_WAIT)).await;
    {
        let mut state = inner.state();
        state.building.remove(&(isolation, want));
        let result = match built {
            Ok(_) if state.closed => Err(PoolError::Shutdown),
            Ok(mut entry) => {
                entry.isolation = Some(isolation);
                let hold = entry.hold();
                state.entries.push(entry);
                state.bound_idle(&inner.config());
                Ok(hold)
            }
            Err(error) => Err(error),
        };
        done.send_replace(Some(result));
    }
    inner.wake.notify_one();
}

/// Tries routes until one comes up. Where a hop has no room, circuits of the pool make way, and
/// are waited for until `until`; without that, none does.
async fn build(
    inner: &Arc<Inner>,
    want: &Want,
    attempts: u32,
    until: Option<Instant>,
) -> Result<Entry, PoolError> {
    let mut last = String::new();
    let (mut attempt, mut ways) = (0, 0);
    loop {
        let route = match inner.routes.route(want) {
            Ok(route) => route,
            Err(none) if attempt == 0 && ways == 0 => return Err(PoolError::NoRoute(none)),
            Err(_) => break,
        };
        let (why, full) = match try_route(inner, route).await {
            Ok(entry) => return Ok(entry),
            Err(failed) => failed,
        };
        tracing::debug!(attempt, why, "circuit did not come up");
        last = why;
        if let (Some(full), Some(until)) = (&full, until)
            && ways < WAYS
        {
            // As long as others may do, none that is in use is waited for.
            let until = (attempt + 1 >= attempts).then_some(until);
            if room::make_way(inner, full, until).await {
                ways += 1;
                continue;
            }
        }
        attempt += 1;
        if attempt >= attempts.max(1) {
            break;
        }
    }
    Err(PoolError::Build {
        attempts: attempt + ways,
        last,
    })
}

/// Why a route did not come up, and where there was no room, if that is why.
type NotBuilt = (String, Option<Full>);

async fn try_route(inner: &Arc<Inner>, route: Route) -> Result<Entry, NotBuilt> {
    let begun = Instant::now();
    let (end, mut circuit) = match inner.cores.launch(route.clone()).await {
        Ok(launched) => launched,
        Err(error) => {
            let full = Full::of_launch(inner.cores.node(), &route, &error);
            let why = error.to_string();
            inner.routes.report(&route, Outcome::NotLaunched(error));
            return Err((why, full));
        }
    };
    // The session begins at once: its first cell follows the set-up round the loop.
    let mut id = [0; 16];
    inner.cores.rng().make().fill_bytes(&mut id);
    let (session, driver) = ClientSession::start(end, SessionId(id));
    tokio::spawn(driver);
    if let Err(reason) = circuit.established().await {
        session.close();
        let full = Full::of(&route, &reason);
        inner.routes.report(&route, Outcome::Failed(reason.clone()));
        return Err((reason.to_string(), full));
    }
    inner.routes.report(&route, Outcome::Built(begun.elapsed()));
    let born = Instant::now();
    let running = Running {
        session: session.clone(),
        circuit: circuit.clone(),
        born,
        retired: None,
        closing: false,
    };
    inner.state().running.insert(circuit.id(), running);
    tokio::spawn(watch_circuit(Arc::downgrade(inner), circuit.clone()));
    Ok(Entry {
        session,
        circuit,
        isolation: None,
        born,
        used: born,
        users: Arc::default(),
    })
}

/// What there is to be done about a circuit that is up.
enum Next {
    Look,
    Round,
    End(Arc<CloseReason>),
}

/// Reports rounds, the pace and the end of one circuit.
async fn watch_circuit(pool: Back, mut circuit: CircuitHandle) {
    let route = circuit.route().clone();
    let mut rounds = circuit.rounds();
    let mut pace = Pace::new(&circuit);
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next = tokio::select! {
            reason = circuit.ended() => Next::End(reason),
            changed = rounds.changed() => match changed {
                Ok(()) => Next::Round,
                Err(_) => Next::End(circuit.ended().await),
            },
            _ = look.tick() => Next::Look,
        };
        pace.look(&circuit);
        if matches!(next, Next::Look) {
            continue;
        }
        let Some(inner) = pool.upgrade() else { return };
        pace.report(&*inner.routes, &route);
        match next {
            Next::Look => {}
            Next::Round => {
                let took = rounds.borrow_and_update().took;
                inner.routes.report(&route, Outcome::Round(took));
            }
            Next::End(reason) => {
                inner.routes.report(&route, Outcome::Ended(reason));
                {
                    let mut state = inner.state();
                    state.entries.retain(|e| e.circuit.id() != circuit.id());
                    if let Some(running) = state.running.get_mut(&circuit.id()) {
                        running.closing = true;
                    }
                }
                inner.wake.notify_one();
                drop(inner);
                // Its places are taken until then.
                circuit.over().await;
                if let Some(inner) = pool.upgrade() {
                    inner.state().running.remove(&circuit.id());
                    inner.freed.notify_waiters();
                    inner.wake.notify_one();
                }
                return;
            }
        }
    }
}

/// How fast both legs of a circuit are.
struct Pace([(Leg, Busiest); 2]);

impl Pace {
    fn new(circuit: &CircuitHandle) -> Self {
        let now = Instant::now();
        let begin = |leg| (leg, Busiest::new(now, circuit.carried(leg).bytes));
        Self([begin(Leg::Over), begin(Leg::Back)])
    }

    fn look(&mut self, circuit: &CircuitHandle) {
        let now = Instant::now();
        for (leg, busiest) in &mut self.0 {
            busiest.look(now, circuit.carried(*leg).bytes);
        }
    }

    fn report(&mut self, routes: &dyn RouteSource, route: &Route) {
        for (leg, busiest) in &mut self.0 {
            if let Some((bytes, took)) = busiest.take() {
                let leg = *leg;
                routes.report(route, Outcome::Carried { leg, bytes, took });
            }
        }
    }
}
