//! Every route that the choice could have drawn, and how likely each was: the
//! same loops, ranks and weights as `choose`, listed instead of drawn. For
//! measuring what a choice gives away. Not here: the rules themselves.

use std::collections::BTreeMap;
use std::time::Instant;

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::{Field, Graph, Id, Legs, Loops, NoRoute, Observer, PAIR_BUDGET, Rank, Request, Scores};
use crate::routing::NodeKey;

/// A route that could be chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Likely {
    /// As in [`Chosen`](crate::routing::Chosen).
    pub over: Vec<NodeKey>,
    /// As in [`Chosen`](crate::routing::Chosen).
    pub back: Vec<NodeKey>,
    /// How probable it is; all of them together make 1.
    pub probability: f64,
}

/// All routes that [`choose`](crate::routing::choose) could return for the
/// same arguments, each with its exact probability. The order is not defined.
/// Exact as long as the budgets of the search are not exceeded, which takes a
/// malformed graph. As costly as a few choices; memory grows with the number
/// of loops (some hundreds for three hops).
///
/// # Errors
///
/// As those of [`choose`](crate::routing::choose).
pub fn odds(
    graph: &Graph,
    request: &Request<'_>,
    scores: &Scores,
    now: Instant,
) -> Result<Vec<Likely>, NoRoute> {
    let field = Field::new(graph, request, scores, now)?;
    // Decides only in which order things are looked at.
    let mut order = ChaCha20Rng::seed_from_u64(0);
    let mut legs = Legs::new(&field, &mut order);
    legs.find_all();
    let legs = legs.found;
    let observer = Observer::new(graph);
    let mut loops = Loops {
        field: &field,
        floor: request.suspect_floor.min(observer.sure()),
        observer,
        rng: &mut order,
        legs,
        pairs: 0,
    };
    let hops = request.hops;
    let drawn = || hops.min()..=hops.max();
    let lengths: Vec<[u8; 2]> = drawn()
        .flat_map(|over| drawn().map(move |home| [over, home]))
        .collect();
    let mut all: BTreeMap<(usize, usize), f64> = BTreeMap::new();
    for pair in &lengths {
        for (route, probability) in loops.shares(*pair) {
            *all.entry(route).or_default() += probability / lengths.len() as f64;
        }
    }
    if all.is_empty() {
        return Err(request.no_loop(graph));
    }
    let keys = |ids: &[Id]| ids.iter().map(|id| *graph.key(*id)).collect::<Vec<_>>();
    let likely = |((over, home), probability): ((usize, usize), f64)| {
        let (over, home) = (loops.legs[over].path(), loops.legs[home].path());
        let mut back = keys(&home[..home.len() - 1]);
        back.reverse();
        Likely {
            over: keys(over),
            back,
            probability,
        }
    };
    Ok(all.into_iter().map(likely).collect())
}

impl Loops<'_> {
    /// The loops of the best rank, each with its part in the draw of `draw`:
    /// an exit is drawn by the mean weight of its loops, then one of them.
    fn shares(&mut self, lengths: [u8; 2]) -> Vec<((usize, usize), f64)> {
        self.pairs = 0;
        let mut by_exit: BTreeMap<Id, Vec<usize>> = BTreeMap::new();
        for (index, leg) in self.legs.iter().enumerate() {
            by_exit.entry(leg.exit()).or_default().push(index);
        }
        let longest_over = self.field.request.hops.max();
        let mut best: Option<Rank> = None;
        let mut exits: Vec<Vec<((usize, usize), f64)>> = Vec::new();
        for legs in by_exit.values() {
            let mut mine = Vec::new();
            for over in legs {
                if self.legs[*over].len > longest_over {
                    continue;
                }
                for home in legs {
                    if self.pairs >= PAIR_BUDGET {
                        break;
                    }
                    self.pairs += 1;
                    let Some((rank, weight)) = self.weigh(*over, *home, lengths, best) else {
                        continue;
                    };
                    if best != Some(rank) {
                        best = Some(rank);
                        exits.clear();
                        mine.clear();
                    }
                    mine.push(((*over, *home), weight));
                }
            }
            if !mine.is_empty() {
                exits.push(mine);
            }
        }
        let weight = |loops: &[((usize, usize), f64)]| loops.iter().map(|l| l.1).sum::<f64>();
        let mean = |loops: &[((usize, usize), f64)]| weight(loops) / loops.len() as f64;
        let total: f64 = exits.iter().map(|loops| mean(loops)).sum();
        let mut shares = Vec::new();
        for loops in &exits {
            let exit = mean(loops) / total / weight(loops);
            shares.extend(loops.iter().map(|(pair, own)| (*pair, own * exit)));
        }
        shares
    }
}
