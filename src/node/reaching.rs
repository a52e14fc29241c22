//! The node's part in reachability: starts and ends the port mapping, tells
//! gossip what came of it, asks a neighbour now and then, and dials for
//! neighbours who ask. The mapping itself is `crate::reach`'s.

use std::future::pending;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use libp2p::PeerId;
use masq_gossip::{Address, Reach};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::address::{ports_of, public_address};
use super::swarm::{Command, Loop};
use crate::config::Config;
use crate::reach::{Home, Keeper, MappingState, Pace, Prober, protocols, wanted};

/// When a neighbour is first asked whether this node can be dialled (from the design: a minute
/// after the start, when there are neighbours and a mapping), and how often it is tried while
/// there is nobody to ask.
const FIRST_CHECK: Duration = Duration::from_secs(60);
/// When it is tried again after no neighbour has answered (from gossip: a neighbour answers once in
/// five minutes).
const NEXT_TRY: Duration = Duration::from_secs(5 * 60);
/// When a neighbour is asked after a mapping changed (guess: routers say yes a little early).
const AFTER_MAPPING: Duration = Duration::from_secs(3);
/// How long the removal of a mapping may hold up the end (guess: one exchange with a router).
const REMOVAL: Duration = Duration::from_secs(3);

/// A port mapping that has not been asked for yet.
pub(super) struct Mapping {
    state: watch::Sender<MappingState>,
    keeper: Option<BoxedKeeper>,
}

type BoxedKeeper = Keeper<Box<dyn Fn() -> Option<Home> + Send + Sync>>;

impl Mapping {
    /// What the configuration and the listeners make of it.
    pub(super) fn prepare(config: &Config, listening: &[SocketAddr]) -> Self {
        let what = wanted(config, listening);
        let port = |(ip, port)| Some((ip, NonZeroU16::new(port)?));
        let Some((ip, port)) = what.ok().and_then(port) else {
            let idle = what.err().map_or(MappingState::Asking, MappingState::Idle);
            let (state, _) = watch::channel(idle);
            return Self {
                state,
                keeper: None,
            };
        };
        let (state, _) = watch::channel(MappingState::Asking);
        let keeper = Keeper {
            home: Box::new(move || Home::find(ip)) as Box<_>,
            port,
            protocols: protocols(config.mapping_protocol),
            state: state.clone(),
            pace: Pace::default(),
        };
        Self {
            state,
            keeper: Some(keeper),
        }
    }

    /// How it stands.
    pub(super) fn state(&self) -> MappingState {
        self.state.borrow().clone()
    }

    /// Begins, and has the loop told of every change.
    pub(super) fn start(self, commands: mpsc::Sender<Command>) -> RunningMapping {
        let stop = CancellationToken::new();
        let task = self.keeper.map(|keeper| {
            tokio::spawn(tell_changes(self.state.subscribe(), commands));
            tokio::spawn(keeper.run(stop.clone()))
        });
        RunningMapping { stop, task }
    }
}

/// Ends with the keeper.
async fn tell_changes(mut state: watch::Receiver<MappingState>, commands: mpsc::Sender<Command>) {
    while state.changed().await.is_ok() {
        let now = state.borrow_and_update().clone();
        if commands.send(Command::Mapping(now)).await.is_err() {
            return;
        }
    }
}

/// A port mapping that is being kept.
pub(super) struct RunningMapping {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl RunningMapping {
    /// Has the router forget the mapping, for a bounded time.
    pub(super) async fn end(self) {
        self.stop.cancel();
        let Some(mut task) = self.task else {
            return;
        };
        if tokio::time::timeout(REMOVAL, &mut task).await.is_err() {
            tracing::debug!("the router takes long to forget the mapping; it will run out");
            task.abort();
        }
    }
}

/// Something for the loop to do.
pub(crate) enum Turn {
    /// A dial for a neighbour ended: the call, and the port that answered.
    Probed(u64, Option<u16>),
    /// A neighbour is to be asked.
    Due,
}

/// What the loop keeps about reachability.
pub(crate) struct Reaching {
    config: Arc<Config>,
    prober: Prober,
    /// Dials for neighbours; gossip bounds how many.
    probes: JoinSet<(u64, Option<u16>)>,
    /// When a neighbour is asked next.
    due: Option<Instant>,
    /// What was last asked for.
    asked: Vec<u16>,
}

impl Reaching {
    pub(crate) fn new(config: Arc<Config>, prober: Prober) -> Self {
        let concerned = config.mode.joins() && config.mode.accepts_connections();
        Self {
            config,
            prober,
            probes: JoinSet::new(),
            due: concerned.then(|| Instant::now() + FIRST_CHECK),
            asked: Vec::new(),
        }
    }

    /// Begins to dial for a neighbour.
    pub(crate) fn probe(&mut self, call: u64, peer: PeerId, addresses: Vec<Address>) {
        let prober = self.prober.clone();
        self.probes
            .spawn(async move { (call, prober.probe(peer, addresses).await) });
    }

    /// What the loop has to do next. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Turn {
        let due = self.due;
        let due = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => pending().await,
            }
        };
        let probed = async {
            loop {
                match self.probes.join_next().await {
                    Some(Ok((call, port))) => return Turn::Probed(call, port),
                    // A dial that failed in a way of its own: gossip stops waiting by itself.
                    Some(Err(_)) => {}
                    None => return pending().await,
                }
            }
        };
        tokio::select! {
            turn = probed => turn,
            () = due => Turn::Due,
        }
    }
}

impl Loop {
    /// Gossip tells others of the address outside, as long as there is one.
    pub(super) fn on_mapping(&mut self, state: MappingState) {
        let outside = state.external();
        let before = self.view.borrow().mapping.external();
        self.view.send_modify(|view| view.mapping = state);
        if before == outside {
            return;
        }
        self.advertise_anew();
        // What a neighbour said was about another address.
        self.view.send_modify(|view| view.reach = None);
        self.reaching.due = Some(Instant::now() + AFTER_MAPPING);
    }

    /// Asks a neighbour, if there is one to ask.
    pub(super) fn check_reachability(&mut self) -> bool {
        if !self.reaching.config.mode.accepts_connections() {
            return false;
        }
        let ports = {
            let view = self.view.borrow();
            let outside = view.mapping.external();
            match public_address(&self.reaching.config, &view.listening, outside) {
                Some((_, ports)) => ports,
                None => ports_of(view.listening.iter()),
            }
        };
        let asked = self.swarm.behaviour_mut().gossip.check_reachability(&ports);
        if asked {
            self.reaching.asked = ports;
            self.reaching.due = None;
        }
        asked
    }

    pub(super) fn on_reaching(&mut self, turn: Turn) {
        match turn {
            Turn::Probed(call, port) => self.swarm.behaviour_mut().gossip.on_probed(call, port),
            Turn::Due => {
                self.reaching.due = None;
                if !self.check_reachability() {
                    self.reaching.due = Some(Instant::now() + FIRST_CHECK);
                }
            }
        }
    }

    pub(super) fn on_reach(&mut self, reach: Reach) {
        let outcome = reach.outcome;
        tracing::info!(node = %reach.by.short(), %outcome, "asked whether this node can be dialled");
        if !outcome.is_answer() {
            self.reaching.due = Some(Instant::now() + NEXT_TRY);
        }
        let ports = self.reaching.asked.clone();
        self.view
            .send_modify(|view| view.reach = Some((std::time::Instant::now(), ports, reach)));
    }
}
