//! What a hop can conclude about the origin of a circuit. It knows the public
//! graph, itself and the nodes beside it on the circuit, its leg, the code,
//! and how entry links come about ([`Prior`]); it weighs every node by how
//! probably a circuit of its would look like that. Not here: what it believes
//! before it sees the circuit (`prior`).
//!
//! Nothing is sampled: for each pair of a possible origin and a possible entry
//! neighbour the probability of the view is the sum over all routes that
//! production could draw, by [`odds`]. Origins that can neither stand on a
//! loop of the entry neighbour's nor beside its exit share one figure, computed
//! for one of them.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::time::Instant;

use masq::routing::{HopRange, Scores, odds};

use super::circuit::{Circuit, Place, View, request, views};
use super::mesh::{Mesh, number};
use super::prior::Prior;

/// A leg of three hops, or of one more on the way home, has only nodes that are so many listed
/// links from the entry neighbour; its exit too.
const ON_LEGS: u8 = 2;

/// What a hop is left with.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(super) struct Verdict {
    /// Two to the entropy of its belief: 1 when it knows, the number of nodes when it knows nothing.
    pub(super) effective: f64,
    /// How probably its best guess is right, by its own belief.
    pub(super) best: f64,
    /// What it believes of the true origin.
    pub(super) truth: f64,
    /// How many nodes it holds for likelier than the true origin.
    pub(super) above: u32,
}

impl Verdict {
    /// A hop that is told: an entry neighbour.
    const KNOWS: Self = Self {
        effective: 1.0,
        best: 1.0,
        truth: 1.0,
        above: 0,
    };

    /// `belief`: for each node, a weight; in any unit.
    fn of(belief: &[f64], origin: u32) -> Option<Self> {
        let sum: f64 = belief.iter().sum();
        let truth = belief[origin as usize];
        // Something is wrong with the model when what happened is impossible in it.
        if sum <= 0.0 || truth <= 0.0 {
            return None;
        }
        let bits = |weight: &f64| {
            let p = weight / sum;
            if p > 0.0 { -p * p.log2() } else { 0.0 }
        };
        let entropy: f64 = belief.iter().map(bits).sum();
        let above = belief.iter().filter(|weight| **weight > truth).count();
        Some(Self {
            effective: entropy.exp2(),
            best: belief.iter().copied().fold(0.0, f64::max) / sum,
            truth: truth / sum,
            above: u32::try_from(above).unwrap_or(u32::MAX),
        })
    }
}

/// What all hops of one circuit conclude.
pub(super) struct Adversary<'m> {
    mesh: &'m Mesh,
    scores: Scores,
    now: Instant,
    /// Steps from possible entry neighbours, for all circuits.
    steps: HashMap<u32, Vec<u8>>,
}

/// Without entry links it is the origin alone; this stands in the place of the entry neighbour.
const IN_THE_OPEN: u32 = u32::MAX;

/// For each view of one circuit, by origin and its entry neighbour, how probable it is.
type Likelihoods = HashMap<(u32, u32), Vec<f64>>;

impl<'m> Adversary<'m> {
    pub(super) fn new(mesh: &'m Mesh) -> Self {
        Self {
            mesh,
            scores: Scores::new([0; 16]),
            now: Instant::now(),
            steps: HashMap::new(),
        }
    }

    /// What each hop but the entry neighbours at the ends concludes, under each prior. Hops that
    /// are entry neighbours of the origin know. Without entry links the priors are not used and
    /// there is one verdict. `None` where the view was not among those possible.
    pub(super) fn judge(
        &mut self,
        circuit: &Circuit,
        priors: &[Prior],
    ) -> Vec<(Place, Option<Vec<Verdict>>)> {
        let seen = views(&circuit.over, &circuit.back);
        let mut known = Likelihoods::new();
        let mut judged = Vec::with_capacity(seen.len());
        for at in 0..seen.len() {
            let view = &seen[at];
            let verdicts = if self.mesh.all_public {
                let belief = self.belief_in_the_open(&seen, at, &mut known);
                Verdict::of(&belief, circuit.origin).map(|one| vec![one])
            } else if circuit.entry.contains(&view.me) {
                Some(vec![Verdict::KNOWS; priors.len()])
            } else {
                let parts = self.parts(&seen, at, &mut known);
                let verdict = |prior: &Prior| {
                    let belief = self.belief(view, &parts, prior);
                    Verdict::of(&belief, circuit.origin)
                };
                priors.iter().map(verdict).collect()
            };
            judged.push((view.place, verdicts));
        }
        judged
    }

    /// How probable each of the views is for a circuit of `origin`.
    fn likelihood(&self, origin: u32, entry: &[u32], seen: &[View]) -> Vec<f64> {
        let graph = self.mesh.graph(origin, entry);
        let request = request(self.mesh.all_public);
        let mut sums = vec![0.0; seen.len()];
        let routes = odds(&graph, &request, &self.scores, self.now).unwrap_or_default();
        for route in routes {
            let over: Vec<u32> = route.over.iter().map(number).collect();
            let back: Vec<u32> = route.back.iter().map(number).collect();
            for view in views(&over, &back) {
                for (at, other) in seen.iter().enumerate() {
                    if view == *other {
                        sums[at] += route.probability;
                    }
                }
            }
        }
        sums
    }

    fn remembered(
        &self,
        origin: u32,
        entry: u32,
        seen: &[View],
        at: usize,
        known: &mut Likelihoods,
    ) -> f64 {
        known
            .entry((origin, entry))
            .or_insert_with(|| self.likelihood(origin, &[entry], seen))[at]
    }

    /// For each possible entry neighbour: how probable the view is for origins that are far from
    /// it, and for each that is near.
    fn parts(&mut self, seen: &[View], at: usize, known: &mut Likelihoods) -> Vec<Part> {
        let view = &seen[at];
        let mut parts = Vec::new();
        for entry in self.behind(view, 0) {
            let mesh = self.mesh;
            let steps = self
                .steps
                .entry(entry)
                .or_insert_with(|| mesh.distances(entry))
                .clone();
            let linkable = |id: &u32| mesh.linkable(*id, entry);
            let is_near = |id: &u32| matters(mesh, &steps, *id);
            let mut near = HashMap::new();
            let around = mesh.ball(entry, ON_LEGS + 1).into_iter();
            for id in around.filter(linkable).filter(is_near) {
                near.insert(id, self.remembered(id, entry, seen, at, known));
            }
            // Any will do: beyond the loop, what an origin sees adds the same to every count.
            let n = u32::try_from(mesh.len()).expect("numbers of nodes are u32");
            let others = (1..n).map(|step| (entry + step) % n);
            let any = others.filter(linkable).find(|id| !is_near(id));
            let far = any.map_or(0.0, |id| self.remembered(id, entry, seen, at, known));
            if far > 0.0 || near.values().any(|likely| *likely > 0.0) {
                parts.push(Part {
                    entry,
                    steps,
                    near,
                    far,
                });
            }
        }
        parts
    }

    fn belief(&self, view: &View, parts: &[Part], prior: &Prior) -> Vec<f64> {
        let mut belief = vec![0.0; self.mesh.len()];
        for part in parts {
            for origin in self.mesh.ids() {
                let distance = part.steps[origin as usize];
                let likely = part.near.get(&origin).copied().unwrap_or(part.far);
                if likely > 0.0 {
                    let linked = prior.entry(self.mesh, origin, part.entry, distance);
                    belief[origin as usize] += likely * linked;
                }
            }
        }
        belief[view.me as usize] = 0.0;
        belief
    }

    /// Without entry links every link is known: each node within reach is looked at by itself.
    fn belief_in_the_open(&self, seen: &[View], at: usize, known: &mut Likelihoods) -> Vec<f64> {
        let view = &seen[at];
        let mut belief = vec![0.0; self.mesh.len()];
        for origin in self.behind(view, 1) {
            let likely = known
                .entry((origin, IN_THE_OPEN))
                .or_insert_with(|| self.likelihood(origin, &self.mesh.node(origin).entry, seen))
                [at];
            belief[origin as usize] = likely;
        }
        belief
    }

    /// Every node that could be the entry neighbour: those to which a way leads back from what was
    /// seen on each leg, with `more` links behind it. More than can be is no harm; they get no
    /// weight.
    fn behind(&self, view: &View, more: usize) -> Vec<u32> {
        let [before, after] = view.beside;
        let (least, most) = (HopRange::default().min(), HopRange::default().max());
        let (least, most) = (usize::from(least), usize::from(most));
        // The exit's neighbour stands at the end of its leg, a relay's anywhere on it; a back leg
        // may be one longer. Counted in links from there to the entry neighbour.
        let whole = least.saturating_sub(2)..=most.saturating_sub(2);
        let whole_home = least.saturating_sub(2)..=most.saturating_sub(1);
        let over = 0..=most.saturating_sub(3);
        let home = 0..=most.saturating_sub(2);
        let mut sights = match view.place {
            Place::Exit => vec![(before, whole), (after, whole_home)],
            Place::Over | Place::Both => vec![(before, over)],
            Place::Back => vec![(after, home.clone())],
        };
        if let Some([_, after]) = view.also {
            sights.push((after, home));
        }
        let mut ends: Option<BTreeSet<u32>> = None;
        for (from, links) in sights {
            let range = links.start() + more..=links.end() + more;
            let mut found = BTreeSet::new();
            self.walk(from, &range, &mut vec![view.me], &mut found);
            ends = Some(match ends {
                Some(ends) => ends.intersection(&found).copied().collect(),
                None => found,
            });
        }
        ends.unwrap_or_default().into_iter().collect()
    }

    /// The ends of all ways from `at`, so many links long, that enter no node twice.
    fn walk(
        &self,
        at: u32,
        links: &RangeInclusive<usize>,
        path: &mut Vec<u32>,
        ends: &mut BTreeSet<u32>,
    ) {
        // The observer stands in front of the path.
        let gone = path.len() - 1;
        if links.contains(&gone) {
            ends.insert(at);
        }
        if gone >= *links.end() {
            return;
        }
        path.push(at);
        for next in self.mesh.listed(at) {
            if !path.contains(next) {
                self.walk(*next, links, path, ends);
            }
        }
        path.pop();
    }
}

/// Whether it makes a difference to a loop that `id` is the origin: because it stands where legs
/// go, or beside an exit there, which is then its neighbour. `steps`: from the entry neighbour.
fn matters(mesh: &Mesh, steps: &[u8], id: u32) -> bool {
    let exit = |other: &u32| mesh.node(*other).exits && steps[*other as usize] <= ON_LEGS;
    steps[id as usize] <= ON_LEGS || mesh.listed(id).iter().any(exit)
}

/// One possible entry neighbour.
struct Part {
    entry: u32,
    steps: Vec<u8>,
    /// How probable the view is for origins that are looked at by themselves.
    near: HashMap<u32, f64>,
    /// For any other.
    far: f64,
}

#[cfg(test)]
mod tests;
