//! The choice: every leg from an entry neighbour to an exit, every pair of
//! legs that makes a loop, and a draw from the best class of loops. The rules
//! and their order stand in the module's documentation above. Not here: how
//! many origins a hop could suspect (`suspects`), who may do what (`field`), what
//! is held against whom (`scores`).

use std::collections::BTreeMap;
use std::time::Instant;

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use super::field::Field;
use super::graph::{Graph, Id};
use super::request::{Chosen, MAX_HOPS, NoRoute, Request};
use super::scores::{Judgement, Scores};
use super::suspects::Observer;

mod odds;

pub use odds::{Likely, odds};

/// Longest leg: six nodes, the exit among them, over and back.
const LONGEST: usize = MAX_HOPS as usize;

/// Most nodes entered while legs are looked for. Five entry links in a mesh of
/// degree five need at most 5 × 1,365; the rest is room for a record that lies.
const STEP_BUDGET: usize = 16_384;

/// Most pairs of legs compared. Measured: the densest meshes of 8 to 20 nodes
/// with every node an exit, two entry links and hops from 1 to 6 ask for 37,200;
/// five entry links for some six times that. What is beyond is left out at
/// random.
const PAIR_BUDGET: usize = 262_144;

/// Cost, in milliseconds, at which a loop is a quarter as likely as one that
/// costs nothing. A guess: the difference between near and far.
const COST_SCALE: f64 = 100.0;

/// Chooses a route.
///
/// `now` must not run backwards between calls with the same scores; `rng`
/// decides among good routes, so it must be one that nobody can predict.
/// Three hops take some 20 µs to 0.4 ms, six hops 0.2 to 9 ms, the range from 1
/// to 6 in a small and dense mesh 20 ms (measured, optimised, one core).
///
/// # Errors
///
/// [`NoRoute`], when no loop exists that the request allows.
pub fn choose<R: Rng>(
    graph: &Graph,
    request: &Request<'_>,
    scores: &Scores,
    now: Instant,
    rng: &mut R,
) -> Result<Chosen, NoRoute> {
    choose_measured(graph, request, scores, now, rng).map(|(chosen, _)| chosen)
}

/// What a choice took, for tests of the budgets.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(test), expect(dead_code, reason = "read by tests only"))]
pub(super) struct Effort {
    pub(super) steps: usize,
    pub(super) pairs: usize,
}

pub(super) fn choose_measured(
    graph: &Graph,
    request: &Request<'_>,
    scores: &Scores,
    now: Instant,
    rng: &mut dyn Rng,
) -> Result<(Chosen, Effort), NoRoute> {
    let field = Field::new(graph, request, scores, now)?;
    let mut legs = Legs::new(&field, rng);
    legs.find_all();
    let (legs, steps) = (legs.found, legs.steps);
    let observer = Observer::new(graph);
    let mut loops = Loops {
        field: &field,
        floor: request.suspect_floor.min(observer.sure()),
        observer,
        rng,
        legs,
        pairs: 0,
    };
    let Some((over, home)) = loops.draw() else {
        return Err(why_no_loop(graph, request, scores, now, rng));
    };
    let (over, home) = (loops.legs[over], loops.legs[home]);
    let (over_path, home_path) = (over.path(), home.path());
    let keys = |ids: &[Id]| ids.iter().map(|id| *graph.key(*id)).collect::<Vec<_>>();
    let mut back = keys(&home_path[..home_path.len() - 1]);
    back.reverse();
    let chosen = Chosen {
        over: keys(over_path),
        back,
        shared: over.shared(&home),
        suspects: loops.observer.report(over_path, home_path),
    };
    let effort = Effort {
        steps,
        pairs: loops.pairs,
    };
    Ok((chosen, effort))
}

/// Why there is no loop: whether the user's ceiling is what rules all of them out.
fn why_no_loop(
    graph: &Graph,
    request: &Request<'_>,
    scores: &Scores,
    now: Instant,
    rng: &mut dyn Rng,
) -> NoRoute {
    let hops = request.hops;
    let at_any_price = Request {
        ceiling: None,
        ..*request
    };
    if request.ceiling.is_some() && choose_measured(graph, &at_any_price, scores, now, rng).is_ok()
    {
        return NoRoute::LoopsTooDear { hops };
    }
    request.no_loop(graph)
}

/// A simple path from an entry neighbour to an exit, used either way.
#[derive(Clone, Copy)]
struct Leg {
    nodes: [Id; LONGEST],
    len: u8,
    /// One bit for each relay behind the entry neighbour, by its index modulo
    /// 128: legs with no bit in common share no relay.
    mask: u128,
    /// Of relays and edges; the exit is the loop's.
    cost: f64,
    unfit: u8,
    /// Entry neighbours anywhere but at the start.
    exposed: u8,
    /// Lowest count of suspects among the relays, once computed.
    lowest: Option<u32>,
}

impl Leg {
    fn path(&self) -> &[Id] {
        &self.nodes[..usize::from(self.len)]
    }

    fn relays(&self) -> &[Id] {
        let last = usize::from(self.len) - 1;
        &self.nodes[1.min(last)..last]
    }

    fn exit(&self) -> Id {
        self.nodes[usize::from(self.len) - 1]
    }

    /// Relays that are on both, entry neighbours at the start not counted.
    fn shared(&self, other: &Self) -> u32 {
        if self.mask & other.mask == 0 {
            return 0;
        }
        let both = self.relays().iter().filter(|r| other.relays().contains(r));
        u32::try_from(both.count()).unwrap_or(u32::MAX)
    }

    fn add(&mut self, judgement: Judgement) {
        self.cost += judgement.cost;
        self.unfit += u8::from(judgement.unfit);
    }
}

/// The search for legs, depth first, neighbours in random order.
struct Legs<'a> {
    field: &'a Field<'a>,
    rng: &'a mut dyn Rng,
    /// Bit n: legs of n nodes are wanted.
    wanted: u16,
    deepest: u8,
    found: Vec<Leg>,
    steps: usize,
    limit: usize,
}

impl<'a> Legs<'a> {
    fn new(field: &'a Field<'a>, rng: &'a mut dyn Rng) -> Self {
        let hops = field.request.hops;
        let deepest = longest_home(field.request);
        Self {
            field,
            rng,
            wanted: (hops.min()..=deepest).map(|n| 1 << n).sum(),
            deepest,
            found: Vec::new(),
            steps: 0,
            limit: 0,
        }
    }

    fn find_all(&mut self) {
        let graph = self.field.graph;
        let entry = graph.entry();
        for first in entry {
            let usable = self.field.may_relay(*first) || self.field.may_exit(*first);
            if !usable || self.field.is_cut(graph.me(), *first) {
                continue;
            }
            // Each entry link has its own part, so that none starves another.
            self.limit = self.steps + STEP_BUDGET / entry.len();
            let mut leg = Leg {
                nodes: [*first; LONGEST],
                len: 1,
                mask: 0,
                cost: 0.0,
                unfit: 0,
                exposed: 0,
                lowest: None,
            };
            leg.add(self.field.edge(graph.me(), *first));
            self.grow(leg);
        }
    }

    /// Takes a path whose last node is not yet counted: as an exit, then as a
    /// relay with everything that lies behind it.
    fn grow(&mut self, mut leg: Leg) {
        if self.steps >= self.limit {
            return;
        }
        self.steps += 1;
        let (field, last) = (self.field, leg.exit());
        leg.exposed += u8::from(leg.len > 1 && field.graph.is_entry(last));
        if self.wanted & (1 << leg.len) != 0 && field.may_exit(last) {
            self.found.push(leg);
        }
        if leg.len >= self.deepest || !field.may_relay(last) {
            return;
        }
        leg.add(field.nodes[last as usize]);
        if leg.len > 1 {
            leg.mask |= 1 << (last % u128::BITS);
        }
        let mut beside = field.graph.edges(last).to_vec();
        beside.shuffle(self.rng);
        for next in beside {
            let usable = field.may_relay(next) || field.may_exit(next);
            if !usable || leg.path().contains(&next) || field.is_cut(last, next) {
                continue;
            }
            let mut longer = leg;
            longer.nodes[usize::from(leg.len)] = next;
            longer.len += 1;
            longer.add(field.edge(last, next));
            self.grow(longer);
        }
    }
}

/// Nodes of the longest back leg, the exit included: one more than asked for
/// where the set-up package has room and more than one hop is asked for.
fn longest_home(request: &Request<'_>) -> u8 {
    match request.hops.max() {
        1 => 1,
        max => (max + 1).min(MAX_HOPS),
    }
}

/// What a loop gives up, the gravest first; the order of fields is the order
/// of the rules in the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    unfit: u8,
    below_floor: bool,
    exposed: u8,
    shared: u32,
    neighbour_exit: bool,
    longer: bool,
    off_length: u8,
}

/// The loops of one exit that share its best rank, one of them drawn.
struct Pool {
    rank: Rank,
    weight: f64,
    count: f64,
    pair: (usize, usize),
}

/// The search for loops.
struct Loops<'a> {
    field: &'a Field<'a>,
    observer: Observer<'a>,
    floor: u32,
    rng: &'a mut dyn Rng,
    legs: Vec<Leg>,
    pairs: usize,
}

impl Loops<'_> {
    /// Indices of an over leg and of a leg home.
    fn draw(&mut self) -> Option<(usize, usize)> {
        let hops = self.field.request.hops;
        let range = hops.min()..=hops.max();
        let lengths = [
            self.rng.random_range(range.clone()),
            self.rng.random_range(range),
        ];
        let mut by_exit: BTreeMap<Id, Vec<usize>> = BTreeMap::new();
        for (index, leg) in self.legs.iter().enumerate() {
            by_exit.entry(leg.exit()).or_default().push(index);
        }
        let mut exits: Vec<Vec<usize>> = by_exit.into_values().collect();
        exits.shuffle(self.rng);

        let mut best: Option<Rank> = None;
        let mut pools: Vec<Pool> = Vec::new();
        for mut legs in exits {
            legs.shuffle(self.rng);
            if let Some(pool) = self.pool(&legs, lengths, best) {
                best = Some(pool.rank);
                pools.push(pool);
            }
        }
        pools.retain(|pool| Some(pool.rank) == best);
        // By the mean, so that an exit is not likelier for having more loops.
        let mean = |pool: &Pool| pool.weight / pool.count;
        let mut left = self.rng.random::<f64>() * pools.iter().map(mean).sum::<f64>();
        let drawn = pools.iter().position(|pool| {
            left -= mean(pool);
            left < 0.0
        });
        // Rounding may leave a hair after the last.
        pools.get(drawn.unwrap_or(0)).map(|pool| pool.pair)
    }

    /// Draws among the best loops of one exit; none if all are worse than `best`.
    fn pool(&mut self, legs: &[usize], lengths: [u8; 2], best: Option<Rank>) -> Option<Pool> {
        let longest_over = self.field.request.hops.max();
        let mut bar = best;
        let mut pool: Option<Pool> = None;
        for over in legs {
            if self.legs[*over].len > longest_over {
                continue;
            }
            for home in legs {
                if self.pairs >= PAIR_BUDGET {
                    return pool;
                }
                self.pairs += 1;
                let Some((rank, weight)) = self.weigh(*over, *home, lengths, bar) else {
                    continue;
                };
                match &mut pool {
                    Some(pool) if pool.rank == rank => {
                        pool.weight += weight;
                        pool.count += 1.0;
                        if self.rng.random::<f64>() * pool.weight < weight {
                            pool.pair = (*over, *home);
                        }
                    }
                    _ => {
                        bar = Some(rank);
                        pool = Some(Pool {
                            rank,
                            weight,
                            count: 1.0,
                            pair: (*over, *home),
                        });
                    }
                }
            }
        }
        pool
    }

    /// Rank and weight of a loop; none if it is no loop or worse than `bar`.
    fn weigh(
        &mut self,
        over_at: usize,
        home_at: usize,
        lengths: [u8; 2],
        bar: Option<Rank>,
    ) -> Option<(Rank, f64)> {
        let request = self.field.request;
        let (over, home) = (self.legs[over_at], self.legs[home_at]);
        let one_hop = over.len == 1 || home.len == 1;
        if one_hop && over_at != home_at {
            return None;
        }
        let exit_id = over.exit();
        let exit = self.field.exit[exit_id as usize].expect("every leg ends at an allowed exit");
        let mut rank = Rank {
            unfit: over.unfit + home.unfit + u8::from(exit.unfit),
            below_floor: false,
            exposed: over.exposed + home.exposed,
            shared: over.shared(&home),
            neighbour_exit: !one_hop && self.field.graph.is_neighbour(exit_id),
            longer: home.len > request.hops.max(),
            off_length: over.len.abs_diff(lengths[0]) + home.len.abs_diff(lengths[1]),
        };
        let worse = |rank: Rank| bar.is_some_and(|bar| rank > bar);
        if worse(rank) {
            return None;
        }
        let cost = over.cost + home.cost + exit.cost;
        let mut weight = (1.0 + cost / COST_SCALE).powi(-2);
        if request.suspect_floor > 0 && !one_hop {
            let lowest = self.lowest(over_at, home_at);
            rank.below_floor = lowest < self.floor;
            weight *= f64::from(lowest);
        }
        (!worse(rank)).then_some((rank, weight))
    }

    /// Fewest suspects of any hop of a loop but the entry neighbours.
    fn lowest(&mut self, over: usize, home: usize) -> u32 {
        let mut lowest = self
            .observer
            .joint(self.legs[over].path(), self.legs[home].path());
        for index in [over, home] {
            let leg = &mut self.legs[index];
            let relays = leg
                .lowest
                .unwrap_or_else(|| self.observer.relays(leg.path()));
            leg.lowest = Some(relays);
            lowest = lowest.min(relays);
        }
        lowest
    }
}
