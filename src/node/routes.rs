//! Which route the next circuit takes: joins the present graph, what was learnt
//! from circuits before, and what the operator and the flow ask for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use masq_cores::origin::LaunchError;
use masq_cores::pool::{NoRoute, Outcome, RouteSource, Want};
use masq_cores::{CloseReason, FailureCode, NodeKey, OnionPublic, Route, RouteHop};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use tokio::sync::watch;

use super::view::View;
use crate::routing::{self, Graph, HopRange, HostId, Request, Scores};

/// The part that changes, behind one short lock.
struct Learnt {
    scores: Scores,
    hops: HopRange,
    rng: ChaCha20Rng,
}

/// Chooses routes for this node's circuits. Cloning gives another handle.
#[derive(Clone)]
pub(crate) struct Routes {
    me: NodeKey,
    view: watch::Receiver<View>,
    learnt: Arc<Mutex<Learnt>>,
}

impl Routes {
    /// Routes of `hops` hops over whatever `view` shows at the time.
    pub(crate) fn new(me: NodeKey, view: watch::Receiver<View>, hops: HopRange) -> Self {
        let mut rng = ChaCha20Rng::from_rng(&mut rand::rng());
        let salt = rand::RngExt::random(&mut rng);
        let learnt = Learnt {
            scores: Scores::new(salt),
            hops,
            rng,
        };
        Self {
            me,
            view,
            learnt: Arc::new(Mutex::new(learnt)),
        }
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        // Scores stay meaningful whatever was being written when another task panicked.
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hops of circuits built from now on.
    pub(crate) fn hops(&self) -> HopRange {
        self.learnt().hops
    }

    /// Changes them.
    pub(crate) fn set_hops(&self, hops: HopRange) {
        self.learnt().hops = hops;
    }

    /// The id under which a destination is judged.
    pub(crate) fn host(&self, name: &str) -> HostId {
        self.learnt().scores.host(name)
    }

    /// The destination failed, or worked, through this exit.
    pub(crate) fn host_result(&self, exit: NodeKey, host: HostId, worked: bool) {
        let mut learnt = self.learnt();
        if worked {
            learnt.scores.host_worked(exit.0, host);
        } else {
            learnt.scores.host_failed(exit.0, host, Instant::now());
        }
    }

    /// Exits through which this destination failed lately.
    pub(crate) fn failing_for(&self, host: HostId) -> Vec<NodeKey> {
        let failing = self.learnt().scores.exits_failing(host, Instant::now());
        failing.into_iter().map(NodeKey).collect()
    }

    /// A route that ends at `node`, for a question to that node itself; without the relays
    /// `avoid` where it can be. Never to a neighbour.
    pub(crate) fn to_service(
        &self,
        node: NodeKey,
        avoid: &[NodeKey],
    ) -> Result<Route, routing::NoRoute> {
        let avoid: Vec<_> = avoid.iter().map(|key| key.0).collect();
        let request = Request {
            exit: Some(node.0),
            service: true,
            exclude_nodes: &avoid,
            ..Request::new(question_hops(self.hops()))
        };
        self.find(&request).or_else(|_| {
            self.find(&Request {
                exclude_nodes: &[],
                ..request
            })
        })
    }

    fn choose(&self, want: &Want) -> Result<Route, routing::NoRoute> {
        let exclude: Vec<_> = want.exclude_exits.iter().map(|key| key.0).collect();
        self.find(&Request {
            exclude_exits: &exclude,
            exit: want.exit.map(|key| key.0),
            ..Request::new(self.hops())
        })
    }

    fn find(&self, request: &Request<'_>) -> Result<Route, routing::NoRoute> {
        let graph = Arc::clone(&self.view.borrow().graph);
        let mut learnt = self.learnt();
        let Learnt { scores, rng, .. } = &mut *learnt;
        let chosen = routing::choose(&graph, request, scores, Instant::now(), rng)?;
        Ok(Route {
            over: hops_of(&graph, &chosen.over),
            back: hops_of(&graph, &chosen.back),
        })
    }

    fn on_close(&self, route: &Route, reason: &CloseReason) {
        let now = Instant::now();
        let mut learnt = self.learnt();
        let scores = &mut learnt.scores;
        match reason {
            CloseReason::Failed(failure) if failure.code != FailureCode::Ended => {
                let (a, b) = failure.edge;
                scores.failed_at_edge(a.0, b.0, now);
            }
            CloseReason::Broken(_) => {
                for end in ends(route) {
                    scores.failed_at_edge(self.me.0, end.0, now);
                }
            }
            // Nobody said where: every hop beyond the entry neighbours is a suspect.
            CloseReason::SetupTimeout | CloseReason::Silent => {
                let ends = ends(route);
                for node in nodes(route).filter(|node| !ends.contains(node)) {
                    scores.failed_at_node(node.0, now);
                }
            }
            CloseReason::Tampered => {
                for hop in &route.back {
                    scores.failed_at_node(hop.node.0, now);
                }
            }
            _ => {}
        }
    }
}

/// Fewest and most hops of a circuit that carries a question. The node at its end learns who asks;
/// with fewer than three a single relay would learn that the two are about to be neighbours. What
/// is asked is as far away as it is, so the length is not a matter of choice. Guess.
const QUESTION_HOPS: (u8, u8) = (3, 5);

/// … at least as many as the operator wants of any circuit.
fn question_hops(own: HopRange) -> HopRange {
    let (min, max) = QUESTION_HOPS;
    HopRange::new(min.max(own.min()), max.max(own.max())).unwrap_or(own)
}

/// All hops in the order of travel.
fn nodes(route: &Route) -> impl Iterator<Item = NodeKey> {
    route.over.iter().chain(&route.back).map(|hop| hop.node)
}

/// The hops at the other end of this node's own links: once or twice the same.
fn ends(route: &Route) -> Vec<NodeKey> {
    let last = route.back.last().or(route.over.last());
    let mut ends: Vec<_> = route
        .over
        .first()
        .into_iter()
        .chain(last)
        .map(|hop| hop.node)
        .collect();
    ends.dedup();
    ends
}

impl RouteSource for Routes {
    fn route(&self, want: &Want) -> Result<Route, NoRoute> {
        self.choose(want).map_err(|why| NoRoute {
            reason: why.to_string(),
        })
    }

    fn report(&self, route: &Route, outcome: Outcome) {
        match outcome {
            Outcome::Built(took) | Outcome::Round(took) => {
                let hops: Vec<_> = nodes(route).map(|node| node.0).collect();
                self.learnt()
                    .scores
                    .worked(&hops, Some(took), Instant::now());
            }
            Outcome::NotLaunched(LaunchError::Open(_) | LaunchError::Link(_)) => {
                if let Some(first) = route.over.first() {
                    let mut learnt = self.learnt();
                    learnt
                        .scores
                        .failed_at_edge(self.me.0, first.node.0, Instant::now());
                }
            }
            Outcome::Failed(reason) | Outcome::Ended(reason) => self.on_close(route, &reason),
            _ => {}
        }
    }
}

fn hops_of(graph: &Graph, keys: &[[u8; 32]]) -> Vec<RouteHop> {
    let hop = |key: &[u8; 32]| RouteHop {
        node: NodeKey(*key),
        // A chosen node is in the graph it was chosen from; the default cannot be reached.
        onion: OnionPublic(graph.info(key).map_or([0; 32], |info| info.onion)),
    };
    keys.iter().map(hop).collect()
}
