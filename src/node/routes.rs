//! Which route the next circuit takes: joins the present graph, what was learnt
//! from circuits before, and what the operator and the flow ask for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use masq_cores::origin::LaunchError;
use masq_cores::pool::{NoRoute, Outcome, RouteSource, Want};
use masq_cores::{
    CircuitFailure, CloseReason, FailureCode, Leg, NodeKey, OnionPublic, OpenError, Route, RouteHop,
};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use tokio::sync::watch;

use super::view::View;
use crate::routing::{self, Dispute, Graph, HopRange, HostId, NodeScore, Request, Scores};

mod candidates;

pub(crate) use candidates::Asked;

/// The part that changes, behind one short lock.
struct Learnt {
    scores: Scores,
    hops: HopRange,
    rng: ChaCha20Rng,
}

/// What this node gives for circuits of its own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Means {
    /// Nothing at all: only nodes that serve unpaid come into question.
    pub(crate) unpaid: bool,
    /// The most that hops may ask for.
    pub(crate) ceiling: Option<crate::routing::Rates>,
}

/// Chooses routes for this node's circuits. Cloning gives another handle.
#[derive(Clone)]
pub(crate) struct Routes {
    me: NodeKey,
    view: watch::Receiver<View>,
    learnt: Arc<Mutex<Learnt>>,
    means: Means,
}

impl Routes {
    /// Routes of `hops` hops over whatever `view` shows at the time.
    pub(crate) fn new(
        me: NodeKey,
        view: watch::Receiver<View>,
        hops: HopRange,
        means: Means,
    ) -> Self {
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
            means,
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

    /// Why no circuit could be built now, if none could.
    pub(crate) fn why_none(&self) -> Option<String> {
        self.choose(&Want::default())
            .err()
            .map(|why| why.to_string())
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
            ceiling: self.means.ceiling,
            unpaid: self.means.unpaid,
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
            ceiling: self.means.ceiling,
            unpaid: self.means.unpaid,
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

    fn on_not_launched(&self, route: &Route, error: &LaunchError) {
        let Some(first) = route.over.first().map(|hop| hop.node.0) else {
            return;
        };
        let now = Instant::now();
        let mut learnt = self.learnt();
        match error {
            LaunchError::Link(FailureCode::Overloaded) | LaunchError::Open(OpenError::Busy) => {
                learnt.scores.congested(first, now);
            }
            LaunchError::Link(_) | LaunchError::Open(_) => {
                learnt.scores.failed_at_edge(self.me.0, first, now);
            }
            // The fault is this node's own.
            _ => {}
        }
    }

    /// This exit said that it has no room.
    pub(crate) fn exit_is_full(&self, exit: NodeKey) {
        self.learnt().scores.congested(exit.0, Instant::now());
    }

    /// This hop claims more than it carried.
    pub(crate) fn disputed(&self, hop: NodeKey) -> Dispute {
        self.learnt().scores.disputed(hop.0, Instant::now())
    }

    /// What is held of a node, for the operator.
    pub(crate) fn score(&self, node: &[u8; 32]) -> Option<NodeScore> {
        self.learnt().scores.of(node, Instant::now())
    }

    fn on_close(&self, route: &Route, reason: &CloseReason) {
        let now = Instant::now();
        let mut learnt = self.learnt();
        let scores = &mut learnt.scores;
        match reason {
            CloseReason::Failed(failure) => on_failure(scores, failure, now),
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

/// Those that a leg's bytes pass, the exit among them.
fn hops_of_leg(route: &Route, leg: Leg) -> impl Iterator<Item = NodeKey> {
    let (over, back) = match leg {
        Leg::Over => (&route.over[..], &[][..]),
        Leg::Back => (
            &route.over[route.over.len().saturating_sub(1)..],
            &route.back[..],
        ),
    };
    over.iter().chain(back).map(|hop| hop.node)
}

/// Holds a failure that a hop reported against the edge and both its ends; want of room is not a
/// fault, and the end of a circuit in good order is nothing at all.
fn on_failure(scores: &mut Scores, failure: &CircuitFailure, now: Instant) {
    let (a, b) = failure.edge;
    match failure.code {
        FailureCode::Ended | FailureCode::Idle | FailureCode::Exhausted => {}
        // Its own word about itself.
        // Want of credit as well: it is asked again once there may be some.
        FailureCode::Overloaded | FailureCode::Shutdown | FailureCode::BadAuthorisation => {
            scores.congested(failure.node.0, now);
        }
        FailureCode::NextOverloaded => scores.congested_at_edge(a.0, b.0, now),
        _ => scores.failed_at_edge(a.0, b.0, now),
    }
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
            Outcome::Carried { leg, bytes, took } => {
                let hops: Vec<_> = hops_of_leg(route, leg).map(|node| node.0).collect();
                let mut learnt = self.learnt();
                learnt.scores.carried(&hops, bytes, took, Instant::now());
            }
            Outcome::NotLaunched(error) => self.on_not_launched(route, &error),
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

#[cfg(test)]
pub(super) mod testing {
    use std::time::Duration;

    use libp2p::identity::ed25519;
    use masq_gossip::state::{Machine, Now};

    use super::*;

    /// A node that knows nobody.
    pub(in crate::node) fn routes() -> Routes {
        let start = masq_gossip::Start {
            seeds: Vec::new(),
            remembered: Vec::new(),
            last_version: 0,
            bans: Vec::new(),
            onion_keys: ([1; 32], None),
        };
        let now = Now {
            mono: Duration::ZERO,
            unix: 1_700_000_000,
        };
        let machine = Machine::new(
            masq_gossip::Config::new(masq_gossip::Chain::Dev),
            ed25519::Keypair::generate(),
            start,
            ChaCha20Rng::seed_from_u64(1),
            now,
        );
        let view = View::new(machine.neighbourhood(), Instant::now());
        let (_, view) = watch::channel(view);
        Routes::new(
            NodeKey([0; 32]),
            view,
            HopRange::default(),
            Means::default(),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::testing::routes;
    use super::*;

    const NO: (bool, bool) = (false, false);
    const FAILED: (bool, bool) = (true, false);
    const FULL: (bool, bool) = (false, true);

    fn hop(byte: u8) -> RouteHop {
        RouteHop {
            node: NodeKey([byte; 32]),
            onion: OnionPublic([0; 32]),
        }
    }

    /// 0 → 1 → 2 → 3 → 4 → 1 → 0.
    fn route() -> Route {
        Route {
            over: vec![hop(1), hop(2), hop(3)],
            back: vec![hop(4), hop(1)],
        }
    }

    /// Of hops 1 to 4 after `reason`: whether a failure is held against them, else whether they
    /// count as full.
    fn after(reason: CloseReason) -> [(bool, bool); 4] {
        let routes = routes();
        routes.report(&route(), Outcome::Ended(Arc::new(reason)));
        [1, 2, 3, 4].map(|byte| {
            let score = routes.score(&[byte; 32]);
            let failed = score.is_some_and(|s| s.failures.is_some_and(|part| part > 0.0));
            let full = score.is_some_and(|s| s.cost > 900.0);
            (failed, !failed && full)
        })
    }

    fn said(hop: usize, code: FailureCode) -> CloseReason {
        let path = route().path(NodeKey([0; 32]));
        CloseReason::Failed(CircuitFailure::locate(&path, hop, code).unwrap())
    }

    #[test]
    fn failures_are_held_against_both_ends_of_the_edge() {
        // Hop 2 says that its next node does not answer; hop 3 speaks of what it got from hop 2.
        let next = after(said(1, FailureCode::NextUnreachable));
        assert_eq!(next, [NO, FAILED, FAILED, NO]);
        let before = after(said(2, FailureCode::Protocol));
        assert_eq!(before, [NO, FAILED, FAILED, NO]);
        let first = after(said(0, FailureCode::Refused));
        assert_eq!(first, [FAILED, NO, NO, NO]);
        let broken = after(CloseReason::Broken(std::io::ErrorKind::ConnectionReset));
        assert_eq!(broken, [FAILED, NO, NO, NO]);
        // Nobody said where.
        assert_eq!(after(CloseReason::Silent), [NO, FAILED, FAILED, FAILED]);
        for fine in [
            FailureCode::Ended,
            FailureCode::Idle,
            FailureCode::Exhausted,
        ] {
            assert_eq!(after(said(1, fine)), [NO; 4]);
        }
        assert_eq!(after(CloseReason::Local), [NO; 4]);
        assert_eq!(after(CloseReason::Shutdown), [NO; 4]);
    }

    #[test]
    fn want_of_room_is_no_failure() {
        let own_word = after(said(2, FailureCode::Overloaded));
        assert_eq!(own_word, [NO, NO, FULL, NO]);
        let leaving = after(said(1, FailureCode::Shutdown));
        assert_eq!(leaving, [NO, FULL, NO, NO]);
        let of_next = after(said(1, FailureCode::NextOverloaded));
        assert_eq!(of_next, [NO, FULL, FULL, NO]);

        let routes = routes();
        let busy = LaunchError::Open(OpenError::Busy);
        routes.report(&route(), Outcome::NotLaunched(busy));
        assert_eq!(routes.score(&[1; 32]).unwrap().failures, None);
        routes.exit_is_full(NodeKey([3; 32]));
        assert!(routes.score(&[3; 32]).unwrap().congested.is_some());
    }

    #[test]
    fn throughput_is_that_of_the_hops_whose_bytes_were_counted() {
        let routes = routes();
        let carried = |leg, bytes| Outcome::Carried {
            leg,
            bytes,
            took: Duration::from_secs(2),
        };
        routes.report(&route(), carried(Leg::Back, 2_000_000));
        routes.report(&route(), carried(Leg::Over, 400_000));
        let rates = [1, 2, 3, 4].map(|byte| {
            let rate = routes.score(&[byte; 32]).unwrap().throughput.unwrap();
            rate.round() as u64 / 1_000
        });
        // The entry neighbour and the exit are on both legs, and the faster one counts.
        assert!(rates[0] > 900 && rates[2] > 900, "{rates:?}");
        assert_eq!((rates[1], rates[3]), (200, 1_000));
    }
}
