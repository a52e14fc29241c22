//! Circuits of this node's own: routes, launching, and waiting for the back leg to come
//! home. What an origin does while a circuit runs is in `task`; which route to take is
//! decided elsewhere.

mod control;
mod legs;
mod task;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use masq_onion::{
    Authorisation, BuildError, CellError, CellSize, Command, HopSpec, NodeKey, OnionPublic,
    OriginCircuit, OriginKx, Role, SetupPackage,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::account::{Account, Party};
use crate::cell::{CellPool, CircuitEnd, CircuitId, END_QUEUE, KIND_LEN, Leg, ResumeSecret, Side};
use crate::close::CloseReason;
use crate::failure::FailureCode;
use crate::flags;
use crate::frame::{CellReader, CellWriter, ReverseReader, SetupKind, cell_kind, setup_frame};
use crate::host::{Carried, OpenError, Wire};
use crate::limits::{PENDING_ORIGINS, SETUP_TIMEOUT};
use crate::link::Place;
use crate::node::{Inner, now};
use crate::paid::{PaidHop, Paying, Running, Unpaid};
use crate::report::HopReport;
use control::{Control, Way};
use legs::{BackLeg, OverLeg};
use task::Origin;

/// One hop of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteHop {
    /// Its node key.
    pub node: NodeKey,
    /// The onion key that its record names.
    pub onion: OnionPublic,
}

/// A loop to build: over to the exit and back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// 1 to 6 hops; the first is an entry neighbour, the last is the exit.
    pub over: Vec<RouteHop>,
    /// 0 to 5 relays in travel order, from the exit's next to an entry neighbour; empty
    /// where the exit is one itself.
    pub back: Vec<RouteHop>,
}

impl Route {
    /// The exit's key; `None` for a route without hops.
    pub fn exit(&self) -> Option<NodeKey> {
        self.over.last().map(|hop| hop.node)
    }

    /// The whole loop as it is travelled: `origin`, hops, back relays, `origin`.
    pub fn path(&self, origin: NodeKey) -> Vec<NodeKey> {
        let hops = self.over.iter().chain(&self.back).map(|hop| hop.node);
        std::iter::once(origin)
            .chain(hops)
            .chain([origin])
            .collect()
    }
}

/// Why a circuit was not launched.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The route cannot be made into a set-up package.
    #[error("route cannot be built: {0}")]
    Route(#[from] BuildError),
    /// The route begins or ends at a node that is not at the other end of an entry link.
    #[error("route does not begin and end on an entry link")]
    NotEntry,
    /// The link to the first hop is not there or has no room.
    #[error("first hop: {0}")]
    Link(FailureCode),
    /// The link to the last hop has no room for the circuit to come home.
    #[error("last hop: {0}")]
    Home(FailureCode),
    /// Too many circuits are being built at once.
    #[error("too many circuits are being built")]
    TooMany,
    /// No stream to the first hop.
    #[error("first hop: {0}")]
    Open(#[from] OpenError),
    /// The node is stopping.
    #[error("node is stopping")]
    Shutdown,
    /// It cannot be paid for.
    #[error("cannot be paid for: {0}")]
    Unpaid(#[from] Unpaid),
    /// The first cell could not be sealed; this is a bug.
    #[error("first cell: {0}")]
    Seal(#[from] CellError),
}

/// What came of a report round.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// Rounds that came home so far.
    pub count: u64,
    /// How long the last one took, once around the loop.
    pub took: Duration,
    /// What each hop said, in the order of the route; `None` where nothing readable came.
    pub hops: Vec<Option<HopReport>>,
}

/// Watches a circuit of this node's own, beside the session that rides on it.
#[derive(Clone, Debug)]
pub struct CircuitHandle {
    id: CircuitId,
    route: Arc<Route>,
    up: watch::Receiver<bool>,
    closed: watch::Receiver<Option<Arc<CloseReason>>>,
    rounds: watch::Receiver<Round>,
    running: Running,
}

impl CircuitHandle {
    /// What this node sent on the over leg and received on the back leg so far.
    pub fn carried(&self, leg: Leg) -> Carried {
        self.running.carried(leg)
    }

    /// Name for logs.
    pub fn id(&self) -> CircuitId {
        self.id
    }

    /// The route that it was built on.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// Waits until the back leg has come home and keys are exchanged.
    ///
    /// # Errors
    /// Why the circuit ended before that.
    pub async fn established(&mut self) -> Result<(), Arc<CloseReason>> {
        tokio::select! {
            biased;
            up = self.up.wait_for(|up| *up) => if up.is_ok() { return Ok(()) },
            reason = self.closed.wait_for(Option::is_some) => {
                return Err(reason.ok().and_then(|r| r.clone()).unwrap_or_else(gone));
            }
        }
        Err(self.ended().await)
    }

    /// Waits for the end of the circuit.
    pub async fn ended(&mut self) -> Arc<CloseReason> {
        let reason = self.closed.wait_for(Option::is_some).await;
        reason.ok().and_then(|r| r.clone()).unwrap_or_else(gone)
    }

    /// Waits until it is over: wound up after its end, so that this node and, where it ended in
    /// good order, every hop has the places back that it took.
    pub async fn over(&mut self) {
        // The task drops its side last of all.
        while self.closed.changed().await.is_ok() {}
    }

    /// Why it ended, if it has.
    pub fn close_reason(&self) -> Option<Arc<CloseReason>> {
        self.closed.borrow().clone()
    }

    /// The last report round that came home.
    pub fn last_round(&self) -> Round {
        self.rounds.borrow().clone()
    }

    /// A watch on report rounds.
    pub fn rounds(&self) -> watch::Receiver<Round> {
        self.rounds.clone()
    }
}

/// Its task ended without a word, which only happens when the runtime goes.
fn gone() -> Arc<CloseReason> {
    Arc::new(CloseReason::Shutdown)
}

/// Somebody who waits for a back leg.
pub(crate) struct Home(oneshot::Sender<(Wire, Place)>);

impl Home {
    /// The back leg is here.
    pub(crate) fn arrive(self, wire: Wire, place: Place) {
        // Whoever waited may have given up in the meantime: then the stream is dropped.
        let _ = self.0.send((wire, place));
    }
}

/// Circuits of this node's own that have not come home, by the cookie in the block that
/// the origin sealed to itself.
#[derive(Default)]
pub(crate) struct Homes {
    waiting: HashMap<[u8; 32], (NodeKey, Home)>,
}

impl Homes {
    fn insert(&mut self, cookie: [u8; 32], from: NodeKey, home: Home) -> bool {
        self.waiting.retain(|_, (_, home)| !home.0.is_closed());
        let room = self.waiting.len() < PENDING_ORIGINS;
        if room {
            self.waiting.insert(cookie, (from, home));
        }
        room
    }

    /// Takes out who waits for `cookie` from this neighbour.
    pub(crate) fn take(&mut self, cookie: &[u8; 32], from: &NodeKey) -> Option<Home> {
        if self
            .waiting
            .get(cookie)
            .is_none_or(|(expected, _)| expected != from)
        {
            return None;
        }
        self.waiting.remove(cookie).map(|(_, home)| home)
    }
}

/// See [`Cores::launch`](crate::node::Cores::launch).
pub(crate) async fn launch(
    inner: &Arc<Inner>,
    route: Route,
) -> Result<(CircuitEnd, CircuitHandle), LaunchError> {
    let (Some(first), Some(last)) = (route.over.first(), route.back.last().or(route.over.last()))
    else {
        return Err(LaunchError::Route(BuildError::OverLength(0)));
    };
    let last = last.node;
    let wait = inner.links().pace(&first.node, now())?;
    tokio::select! {
        () = sleep(wait) => {}
        () = inner.stop.cancelled() => return Err(LaunchError::Shutdown),
    }
    let place = {
        let links = inner.links();
        if !links.is_entry(&last) {
            return Err(LaunchError::NotEntry);
        }
        let place = links.own(&first.node)?;
        // What is refused when it comes home looks to the last hop like a link that is not there.
        links.room_home(&last).map_err(LaunchError::Home)?;
        place
    };
    let paying = match &inner.payer {
        Some(payer) => Some(payer.open(&paid_hops(&route))?),
        None => None,
    };
    let (package, circuit) = build(inner, &route, paying.as_deref())?;
    let (home, arrival) = oneshot::channel();
    if !inner.homes().insert(circuit.cookie(), last, Home(home)) {
        return Err(LaunchError::TooMany);
    }
    let mut wire = tokio::select! {
        opened = timeout(SETUP_TIMEOUT, inner.opener.open(&first.node)) => {
            opened.unwrap_or(Err(OpenError::Failed))?
        }
        () = inner.stop.cancelled() => return Err(LaunchError::Shutdown),
    };
    let frame = setup_frame(SetupKind::Plain, &package);
    let sent = timeout(SETUP_TIMEOUT, wire.write_all(&frame)).await;
    if !matches!(sent, Ok(Ok(()))) {
        return Err(LaunchError::Open(OpenError::Failed));
    }
    start(
        inner,
        Arc::new(route),
        place,
        wire,
        arrival,
        circuit,
        paying,
    )
}

/// Who is to be paid, in the order in which hops are counted.
fn paid_hops(route: &Route) -> Vec<PaidHop> {
    let exit = route.over.len().saturating_sub(1);
    let hops = route.over.iter().chain(&route.back).enumerate();
    hops.map(|(i, hop)| PaidHop {
        node: hop.node,
        role: match i.cmp(&exit) {
            Ordering::Less => Role::OverRelay,
            Ordering::Equal => Role::Exit,
            Ordering::Greater => Role::BackRelay,
        },
    })
    .collect()
}

fn build(
    inner: &Inner,
    route: &Route,
    paying: Option<&dyn Paying>,
) -> Result<(SetupPackage, OriginCircuit), BuildError> {
    let spec = |hop: &RouteHop| HopSpec {
        node: hop.node,
        onion: hop.onion,
        auth: Authorisation::none(),
    };
    let over: Vec<_> = route.over.iter().map(spec).collect();
    let back: Vec<_> = route.back.iter().map(spec).collect();
    let own = HopSpec {
        node: inner.node,
        onion: inner.keys().publics().current,
        auth: Authorisation::none(),
    };
    let mut rng = inner.rng.make();
    match paying {
        None => masq_onion::build_setup(&over, &back, &own, &mut rng),
        Some(paying) => {
            masq_onion::build_setup_with(&over, &back, &own, &mut rng, |hop, ephemeral| {
                paying.authorise(hop, ephemeral)
            })
        }
    }
}

/// Puts the task together and starts it; its first act is to send the key share.
fn start(
    inner: &Arc<Inner>,
    route: Arc<Route>,
    place: Place,
    wire: Wire,
    arrival: oneshot::Receiver<(Wire, Place)>,
    circuit: OriginCircuit,
    paying: Option<Arc<dyn Paying>>,
) -> Result<(CircuitEnd, CircuitHandle), LaunchError> {
    let id = inner.next_id();
    let mut rng = inner.rng.make();
    let (to_session, incoming) = mpsc::channel(END_QUEUE);
    let (outgoing, from_session) = mpsc::channel(END_QUEUE);
    let (close, closed) = watch::channel(None);
    let (up_tx, up) = watch::channel(false);
    let (resume_tx, resume) = watch::channel(None::<ResumeSecret>);
    let (round_tx, rounds) = watch::channel(Round::default());
    let (marker_tx, marker) = mpsc::channel(1);
    let (starter_tx, starter) = oneshot::channel();
    let pool: CellPool = inner.cells.clone();

    let mut sealer = circuit.over;
    let (kx, share) = OriginKx::generate(&circuit.binding, &mut rng);
    let mut first = pool.cell(Leg::Over, CellSize::Medium);
    first.put(&share);
    let len = first.len();
    let exit = sealer.exit_index();
    let bytes = first.wire_mut();
    bytes[0] = cell_kind(Leg::Over, CellSize::Medium);
    sealer.seal(
        &mut bytes[KIND_LEN..],
        exit,
        Command::Deliver(flags::KEY_SHARE),
        len,
    )?;

    let (read, write) = wire.split();
    let path = route.path(inner.node);
    let over = OverLeg {
        writer: CellWriter::new(write),
        first: Some(first),
        sealer,
        from_session,
        marker,
        pool: pool.clone(),
    };
    let back = BackLeg {
        arrival: Some(arrival),
        home_timeout: inner.home_timeout,
        reader: None::<CellReader<_>>,
        place: None,
        opener: circuit.back,
        kx: Some(kx),
        marker: Some(marker_tx),
        starter: Some(starter_tx),
        up: up_tx,
        resume: resume_tx,
        pool: pool.clone(),
        tampered: None,
    };
    let control = Control::new(
        ReverseReader::new(read),
        circuit.reverse,
        starter,
        round_tx,
        Way { path, exit },
        rng,
        paying.clone(),
    );
    let party = paying.map_or(Party::Free, Party::Origin);
    let meter = inner.meter.clone();
    let mut account = Account::open(id, Role::Origin, Authorisation::none(), meter, party);
    account.begin();
    let handle = CircuitHandle {
        id,
        route,
        up,
        closed: closed.clone(),
        rounds,
        running: account.running.clone(),
    };
    let task = Origin {
        inner: inner.clone(),
        id,
        account,
        place,
        over,
        back,
        control,
        close,
    };
    inner.tasks.spawn(task.run(to_session));

    let end = CircuitEnd {
        id,
        side: Side::Origin,
        outgoing,
        incoming,
        closed,
        resume,
        pool,
    };
    Ok((end, handle))
}
