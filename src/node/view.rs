//! What the rest of the node sees of the mesh at one moment. Written by the
//! task that owns the Swarm, read by everyone else without asking it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use masq_gossip::{Neighbourhood, NodeKey, Reach, SeedFailure, Stage};

use crate::reach::{Idle, MappingState};
use crate::routing::{Graph, HopRange};

/// Problems that are remembered, the latest (from the control API's description).
const MAX_PROBLEMS: usize = 16;

/// One moment of the mesh, as this node sees it.
#[derive(Clone)]
pub(crate) struct View {
    /// Records, edges and own links.
    pub(crate) neighbourhood: Arc<Neighbourhood>,
    /// The same, ready for choosing routes.
    pub(crate) graph: Arc<Graph>,
    /// How far joining has got.
    pub(crate) stage: Stage,
    /// Since when.
    pub(crate) stage_since: Instant,
    /// Whether this node pays nobody, so that only hops that serve unpaid are of use to it.
    pub(crate) unpaid: bool,
    /// Fewest hops of its circuits.
    pub(crate) hops: u8,
    /// Addresses on which other nodes are accepted.
    pub(crate) listening: Vec<SocketAddr>,
    /// How often the machine was found to have slept, or to have moved.
    pub(crate) wakes: u64,
    /// What went wrong while joining, the newest first.
    pub(crate) problems: VecDeque<(Instant, String)>,
    /// Nodes that could not be joined, each with the latest reason, the newest first.
    pub(crate) attempts: VecDeque<(NodeKey, SeedFailure)>,
    /// How it stands with a port mapping.
    pub(crate) mapping: MappingState,
    /// What a neighbour last said of whether this node can be dialled, when, and for which ports.
    pub(crate) reach: Option<(Instant, Vec<u16>, Reach)>,
}

impl View {
    pub(crate) fn new(neighbourhood: Arc<Neighbourhood>, now: Instant) -> Self {
        Self {
            graph: Arc::new(super::graph::of(&neighbourhood)),
            neighbourhood,
            stage: Stage::NotConnected,
            stage_since: now,
            unpaid: false,
            hops: HopRange::default().min(),
            listening: Vec::new(),
            wakes: 0,
            problems: VecDeque::new(),
            attempts: VecDeque::new(),
            mapping: MappingState::Idle(Idle::AcceptsNone),
            reach: None,
        }
    }

    /// Takes a new neighbourhood over.
    pub(crate) fn set_neighbourhood(&mut self, neighbourhood: Arc<Neighbourhood>) {
        self.graph = Arc::new(super::graph::of(&neighbourhood));
        self.neighbourhood = neighbourhood;
    }

    /// Notes a problem. The same sentence is kept once.
    pub(crate) fn add_problem(&mut self, what: String, now: Instant) {
        self.problems.retain(|(_, known)| *known != what);
        self.problems.push_front((now, what));
        self.problems.truncate(MAX_PROBLEMS);
    }

    /// Whether this problem is among the latest.
    pub(crate) fn knows_problem(&self, what: &str) -> bool {
        self.problems.iter().any(|(_, known)| known == what)
    }

    /// Notes that a node could not be joined; of each the latest reason is kept.
    pub(crate) fn add_attempt(&mut self, node: NodeKey, why: SeedFailure) {
        self.attempts.retain(|(known, _)| *known != node);
        self.attempts.push_front((node, why));
        self.attempts.truncate(MAX_PROBLEMS);
    }

    /// One sentence that says why the stage is what it is, and what would help.
    pub(crate) fn stage_reason(&self, seeds: usize) -> String {
        match self.stage {
            Stage::RouteFound => "A loop of the configured length leads to an exit.".into(),
            Stage::ConnectedToNeighbour => self.no_route_reason(),
            Stage::NotConnected => match self.problems.front() {
                Some((_, what)) => format!("No neighbour yet. The latest problem: {what}"),
                None if seeds == 0 => "No neighbour, and nobody to ask: this node was given no \
                     descriptor (setting `neighbours`), and remembers nobody. It waits for others \
                     to come."
                    .into(),
                None => "Asking the configured neighbours.".into(),
            },
        }
    }

    fn no_route_reason(&self) -> String {
        let known = match self.exits_known() {
            0 => {
                return "There are neighbours, and none of the nodes known so far is an exit; more \
                        become known as gossip spreads."
                    .into();
            }
            1 => "There are neighbours and 1 known exit".to_owned(),
            exits => format!("There are neighbours and {exits} known exits"),
        };
        if self.exits_of_use() == 0 {
            return format!(
                "{known}, none of which serves unpaid, and payments are off here; switch \
                 `payments` on."
            );
        }
        if self.paid_nodes() {
            return format!(
                "{known}, and no loop of the configured length to one over nodes that serve \
                 unpaid; payments are off here: switch `payments` on."
            );
        }
        if self.hops <= 1 {
            return format!(
                "{known}, none of which is a neighbour with an entry link, as a circuit of 1 hop \
                 needs it; more hops would help (masq set hops 3)."
            );
        }
        format!(
            "{known}, and no loop of the configured length to one yet; fewer hops would help at \
             once."
        )
    }

    /// Exits that this node can use: those it can't pay left out.
    pub(crate) fn exits_of_use(&self) -> usize {
        let mut exits = 0;
        for signed in self.neighbourhood.records() {
            let record = signed.record();
            exits += usize::from(record.roles.exits && !(self.unpaid && record.asks_money()));
        }
        exits
    }

    /// Whether nodes are known that this one can't use because it pays nobody.
    pub(crate) fn paid_nodes(&self) -> bool {
        let mut records = self.neighbourhood.records();
        self.unpaid && records.any(|signed| signed.record().asks_money())
    }

    /// Known nodes that say they are exits, this one not counted.
    pub(crate) fn exits_known(&self) -> usize {
        let records = self.neighbourhood.records();
        records.filter(|signed| signed.record().roles.exits).count()
    }
}
