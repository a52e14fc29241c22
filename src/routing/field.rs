//! One request laid over the graph: who may be a relay or the exit, at what
//! cost, and which wish of the request left nobody. Not here: loops (`search`).

use std::collections::HashSet;
use std::time::Instant;

use super::graph::{Graph, Id};
use super::request::{NoRoute, Request};
use super::scores::{Judgement, Scores};

/// Cost of an exit outside the first group of countries, for each group that
/// comes before its own, in milliseconds. A guess: some 200 times less likely
/// than an equal one inside.
const COUNTRY_COST: f64 = 4_000.0;

/// Who may do what for this request, and at what cost.
pub(super) struct Field<'a> {
    pub(super) graph: &'a Graph,
    pub(super) request: &'a Request<'a>,
    scores: &'a Scores,
    now: Instant,
    relay: Vec<bool>,
    /// For each node, what its use as the exit costs, if it may be that.
    pub(super) exit: Vec<Option<Judgement>>,
    /// For each node, what its use as a relay costs.
    pub(super) nodes: Vec<Judgement>,
    cut: HashSet<(Id, Id)>,
}

impl<'a> Field<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        request: &'a Request<'a>,
        scores: &'a Scores,
        now: Instant,
    ) -> Result<Self, NoRoute> {
        if graph.entry().is_empty() {
            return Err(match (graph.links(), graph.entry_links()) {
                (0, _) => NoRoute::NoNeighbours,
                (_, 0) => NoRoute::NoEntryLink,
                _ => NoRoute::EntryUnknown,
            });
        }
        let exits = allowed_exits(graph, request)?;
        let nodes: Vec<_> = graph
            .ids()
            .map(|id| scores.node(graph.key(id), now))
            .collect();
        let mut exit = vec![None; graph.len()];
        for id in exits {
            exit[id as usize] = Some(judge_exit(graph, request, scores, now, id));
        }
        if request.hops.max() == 1 && graph.entry().iter().all(|e| exit[*e as usize].is_none()) {
            let exits = |id: &Id| graph.node(*id).exits;
            return Err(if request.unpaid && graph.entry().iter().any(exits) {
                request.no_loop(graph)
            } else {
                NoRoute::EntryIsNoExit
            });
        }
        let relay = |id: Id| {
            let node = graph.node(id);
            let affordable = request.ceiling.is_none_or(|c| node.rates.relay_within(&c))
                && !(request.unpaid && node.paid);
            id != graph.me()
                && node.routes
                && affordable
                && !request.exclude_nodes.contains(graph.key(id))
        };
        let ends = |(a, b): &(_, _)| Some((graph.id(a)?, graph.id(b)?));
        Ok(Self {
            relay: graph.ids().map(relay).collect(),
            cut: request.exclude_edges.iter().filter_map(ends).collect(),
            graph,
            request,
            scores,
            now,
            exit,
            nodes,
        })
    }

    pub(super) fn may_relay(&self, id: Id) -> bool {
        self.relay[id as usize]
    }

    pub(super) fn may_exit(&self, id: Id) -> bool {
        self.exit[id as usize].is_some()
    }

    pub(super) fn is_cut(&self, a: Id, b: Id) -> bool {
        self.cut.contains(&(a, b)) || self.cut.contains(&(b, a))
    }

    pub(super) fn edge(&self, a: Id, b: Id) -> Judgement {
        let (a, b) = (*self.graph.key(a), *self.graph.key(b));
        self.scores.edge(a, b, self.now)
    }
}

fn judge_exit(
    graph: &Graph,
    request: &Request<'_>,
    scores: &Scores,
    now: Instant,
    id: Id,
) -> Judgement {
    let mut judgement = scores.node(graph.key(id), now);
    if let Some(host) = request.host {
        let penalty = scores.exit_for_host(*graph.key(id), host, now);
        judgement.cost += penalty.cost;
        judgement.unfit |= penalty.unfit;
    }
    if let Some(countries) = request.countries {
        let behind = countries.rank(graph.node(id).country);
        judgement.cost += COUNTRY_COST * f64::from(u32::try_from(behind).unwrap_or(u32::MAX));
    }
    judgement
}

/// The node whose own service is asked for.
fn service_end(graph: &Graph, request: &Request<'_>) -> Result<Vec<Id>, NoRoute> {
    let end = request.exit.and_then(|key| graph.id(&key));
    let end = end.filter(|id| graph.node(*id).routes);
    let end = end.ok_or(NoRoute::ExitUnknown)?;
    if end == graph.me() || graph.is_neighbour(end) {
        return Err(NoRoute::EndIsNeighbour);
    }
    Ok(vec![end])
}

/// The exits left after each wish of the request, or which wish left none.
fn allowed_exits(graph: &Graph, request: &Request<'_>) -> Result<Vec<Id>, NoRoute> {
    if request.service {
        return service_end(graph, request);
    }
    let mut exits: Vec<Id> = graph
        .ids()
        .filter(|id| *id != graph.me() && graph.node(*id).exits)
        .collect();
    let known = exits.len();
    let mut narrow = |keep: &dyn Fn(Id) -> bool, error: NoRoute| {
        exits.retain(|id| keep(*id));
        if exits.is_empty() { Err(error) } else { Ok(()) }
    };
    let nodes = graph.len();
    narrow(&|_| true, NoRoute::NoExit { nodes })?;
    if let Some(only) = request.exit {
        narrow(&|id| *graph.key(id) == only, NoRoute::ExitUnknown)?;
    }
    let named = |id: Id| {
        let key = graph.key(id);
        request.exclude_exits.contains(key) || request.exclude_nodes.contains(key)
    };
    narrow(&|id| !named(id), NoRoute::ExitsExcluded { known })?;
    if let Some(countries) = request.countries.filter(|c| c.strict) {
        let inside = |id: Id| countries.rank(graph.node(id).country) < countries.groups.len();
        narrow(&inside, NoRoute::NoExitInCountry)?;
    }
    if let Some(port) = request.port {
        let serves = |id: Id| graph.node(id).ports.allows(port);
        narrow(&serves, NoRoute::NoExitForPort { port })?;
    }
    if request.unpaid {
        narrow(&|id| !graph.node(id).paid, NoRoute::ExitsPaid)?;
    }
    if let Some(ceiling) = request.ceiling {
        let within = |id: Id| graph.node(id).rates.exit_within(&ceiling);
        narrow(&within, NoRoute::ExitsTooDear)?;
    }
    Ok(exits)
}
