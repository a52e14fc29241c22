//! One measurement: a mesh, circuits over it, what their hops conclude, which
//! exits are in reach. Not here: which meshes are measured and how it is shown.

use std::collections::BTreeMap;
use std::time::Instant;

use masq::routing::{Scores, choose};
use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use serde::{Deserialize, Serialize};

use super::adversary::{Adversary, Verdict};
use super::circuit::{Circuit, Place, request};
use super::mesh::{Mesh, number};
use super::prior::{Census, Knowledge, Prior};
use super::reach::exits;

/// Hops at which exits are counted.
const REACH: [usize; 2] = [3, 4];
/// The smaller of the two shares of nodes that are exits; the larger is that of the mesh.
const FEW_EXITS: f64 = 0.1;

/// Seed of what is drawn while measuring; meshes and circuits have seeds of their own.
const MEASURING: u64 = 1;

/// A mesh to measure, with circuits drawn over it.
pub(super) struct Sample {
    pub(super) mesh: Mesh,
    pub(super) circuits: Vec<Circuit>,
}

/// The tenth and the half of a distribution.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Percentiles {
    pub(super) p10: f64,
    pub(super) p50: f64,
}

impl Percentiles {
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let at = |part: f64| {
            let rank = (part * values.len() as f64).ceil() as usize;
            values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
        };
        Self {
            p10: at(0.1),
            p50: at(0.5),
        }
    }
}

/// What hops at one place conclude.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Set {
    /// `null` without entry links.
    pub(super) knowledge: Option<Knowledge>,
    pub(super) place: String,
    /// Hops looked at.
    pub(super) hops: usize,
    /// Two to the entropy of the belief.
    pub(super) effective: Percentiles,
    /// Mean probability of the best guess.
    pub(super) best_guess: f64,
    /// Share of hops for which the true origin was among the ten likeliest.
    pub(super) in_first_ten: f64,
}

/// Exits in reach, for one share of exits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Reach {
    /// Share of nodes that are exits.
    pub(super) exits: f64,
    pub(super) three_hops: Percentiles,
    pub(super) four_hops: Percentiles,
}

/// All of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) nodes: usize,
    pub(super) near_share: f64,
    pub(super) meshes: usize,
    /// Share of nodes with an entry link of their own.
    pub(super) entered: f64,
    /// Share of those whose entry neighbour has made the link its own too.
    pub(super) mutual: f64,
    /// Mean number of listed links.
    pub(super) listed: f64,
    /// Circuits drawn.
    pub(super) circuits: usize,
    /// Share of those origins that had a route.
    pub(super) routed: f64,
    /// Share of circuits whose back leg has other relays, entry neighbours apart.
    pub(super) differing: f64,
    pub(super) reach: Vec<Reach>,
    /// Listed links between the ends of an entry link, and of a pair that could have one: shares
    /// at 2, 3, 4, 5, 6, and further or without a way.
    pub(super) linked_at: Vec<f64>,
    pub(super) linkable_at: Vec<f64>,
    /// Share of entry links whose ends were listed as neighbours once.
    pub(super) once_listed: f64,
    pub(super) sets: Vec<Set>,
    pub(super) without_entry_links: Vec<Set>,
    /// Hops of circuits that the adversary's model held for impossible: shows what it lacks.
    pub(super) unexplained: usize,
}

/// Draws circuits of `origins` over what the mesh itself shows each.
pub(super) fn draw(mesh: &Mesh, origins: &[u32], rng: &mut ChaCha20Rng) -> Vec<Circuit> {
    let one = |origin: &u32| {
        let entry = &mesh.node(*origin).entry;
        let graph = mesh.graph(*origin, entry);
        let scores = Scores::new([0; 16]);
        let request = request(mesh.all_public);
        let chosen = choose(&graph, &request, &scores, Instant::now(), rng).ok()?;
        Some(Circuit {
            origin: *origin,
            entry: entry.clone(),
            over: chosen.over.iter().map(number).collect(),
            back: chosen.back.iter().map(number).collect(),
            shared: chosen.shared,
        })
    };
    origins.iter().filter_map(one).collect()
}

/// Origins to draw circuits of: each node as often as another, in random order. Only nodes with
/// exactly one entry link of their own: the adversary takes every node for one of those.
pub(super) fn origins(mesh: &Mesh, count: usize, rng: &mut ChaCha20Rng) -> Vec<u32> {
    let mut all: Vec<u32> = mesh
        .ids()
        .filter(|id| mesh.node(*id).entry.len() == 1)
        .collect();
    all.shuffle(rng);
    let rounds = all
        .iter()
        .cycle()
        .take(if all.is_empty() { 0 } else { count });
    rounds.copied().collect()
}

/// What is measured of meshes of one kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    pub(super) nodes: usize,
    pub(super) near_share: f64,
    /// Circuits that were asked for; not every origin has a route.
    pub(super) asked: usize,
    /// Whether what their hops conclude is computed.
    pub(super) weigh: bool,
    /// Circuits for which it is computed without entry links too.
    pub(super) open: usize,
}

/// Measures meshes of one kind together; `step` is called after each circuit.
pub(super) fn measure(order: Order, samples: &[Sample], step: &mut dyn FnMut()) -> Measured {
    let Order {
        nodes,
        near_share,
        asked,
        weigh,
        open,
    } = order;
    let mut rng = ChaCha20Rng::seed_from_u64(MEASURING);
    let censuses: Vec<Census> = samples.iter().map(|it| Census::of(&it.mesh)).collect();
    let seen: Vec<&Census> = censuses.iter().collect();
    let mut verdicts = Verdicts::default();
    let mut in_the_open = Verdicts::default();
    for (sample, census) in samples.iter().zip(&censuses).filter(|_| weigh) {
        let priors = Knowledge::ALL.map(|knowledge| Prior::learned(knowledge, census, &seen));
        let mut adversary = Adversary::new(&sample.mesh);
        for circuit in &sample.circuits {
            verdicts.add(adversary.judge(circuit, &priors));
            step();
        }
        let public = sample.mesh.without_entry_links();
        let mut adversary = Adversary::new(&public);
        let mut all: Vec<u32> = public.ids().collect();
        all.shuffle(&mut rng);
        all.truncate(open / samples.len());
        for circuit in draw(&public, &all, &mut rng) {
            in_the_open.add(adversary.judge(&circuit, &[]));
            step();
        }
    }
    let circuits = || samples.iter().flat_map(|sample| &sample.circuits);
    let drawn = circuits().count();
    let links: f64 = censuses.iter().map(|census| census.links).sum();
    let once: f64 = censuses.iter().map(|census| census.once_listed).sum();
    let all = || samples.iter().flat_map(|sample| &sample.mesh.nodes);
    let entered = all().filter(|node| !node.entry.is_empty()).count();
    let listed: usize = all().map(|node| node.listed.len()).sum();
    let differing = circuits().filter(|circuit| circuit.shared == 0).count();
    let share = |part: usize, of: usize| part as f64 / (of.max(1)) as f64;
    Measured {
        nodes,
        near_share,
        meshes: samples.len(),
        entered: share(entered, all().count()),
        mutual: share(mutual(samples), entered),
        listed: share(listed, all().count()),
        circuits: drawn,
        routed: share(drawn, asked),
        differing: share(differing, drawn),
        reach: reach(samples, &mut rng),
        linked_at: by_distance(censuses.iter().map(|census| &census.linked_at)),
        linkable_at: by_distance(censuses.iter().map(|census| &census.linkable_at)),
        once_listed: once / links.max(1.0),
        sets: verdicts.sets(&Knowledge::ALL.map(Some)),
        without_entry_links: in_the_open.sets(&[None]),
        unexplained: verdicts.unexplained + in_the_open.unexplained,
    }
}

/// Nodes that are the entry neighbour of an entry neighbour of theirs.
fn mutual(samples: &[Sample]) -> usize {
    let of = |mesh: &Mesh| {
        let back = |id: u32, entry: &u32| mesh.node(*entry).entry.contains(&id);
        let ids = mesh.ids();
        ids.filter(|id| mesh.node(*id).entry.iter().any(|entry| back(*id, entry)))
            .count()
    };
    samples.iter().map(|sample| of(&sample.mesh)).sum()
}

/// Shares at two to six listed links, and beyond.
fn by_distance<'a>(counts: impl Iterator<Item = &'a Vec<f64>>) -> Vec<f64> {
    let mut shares = [0.0; 6];
    for one in counts {
        for (distance, count) in one.iter().enumerate() {
            shares[distance.clamp(2, 7) - 2] += count;
        }
    }
    let sum: f64 = shares.iter().sum();
    shares.iter().map(|count| count / sum.max(1.0)).collect()
}

fn reach(samples: &[Sample], rng: &mut ChaCha20Rng) -> Vec<Reach> {
    let mut counts: [[Vec<f64>; 2]; 2] = Default::default();
    let mut many = 0.0;
    let mut nodes = 0.0;
    for sample in samples {
        let mesh = &sample.mesh;
        let few: Vec<bool> = mesh.ids().map(|_| rng.random_bool(FEW_EXITS)).collect();
        let of_mesh = |id: u32| mesh.node(id).exits;
        let of_few = |id: u32| few[id as usize];
        many += mesh.ids().filter(|id| of_mesh(*id)).count() as f64;
        nodes += mesh.len() as f64;
        let origins = mesh.ids().filter(|id| !mesh.node(*id).entry.is_empty());
        for origin in origins {
            for (at, hops) in REACH.into_iter().enumerate() {
                counts[0][at].push(exits(mesh, origin, hops, &of_mesh) as f64);
                counts[1][at].push(exits(mesh, origin, hops, &of_few) as f64);
            }
        }
    }
    let shares = [many / f64::max(nodes, 1.0), FEW_EXITS];
    let row = |(share, [three, four]): (f64, [Vec<f64>; 2])| Reach {
        exits: share,
        three_hops: Percentiles::of(three),
        four_hops: Percentiles::of(four),
    };
    shares.into_iter().zip(counts).map(row).collect()
}

/// Verdicts by place and prior.
#[derive(Default)]
struct Verdicts {
    all: BTreeMap<(usize, &'static str), Vec<Verdict>>,
    unexplained: usize,
}

impl Verdicts {
    fn add(&mut self, judged: Vec<(Place, Option<Vec<Verdict>>)>) {
        for (place, verdicts) in judged {
            let Some(verdicts) = verdicts else {
                self.unexplained += 1;
                continue;
            };
            for (prior, verdict) in verdicts.into_iter().enumerate() {
                self.all
                    .entry((prior, name(place)))
                    .or_default()
                    .push(verdict);
            }
        }
    }

    fn sets(&self, knowledge: &[Option<Knowledge>]) -> Vec<Set> {
        let set = |((prior, place), verdicts): (&(usize, &'static str), &Vec<Verdict>)| {
            let n = verdicts.len() as f64;
            let ten = verdicts.iter().filter(|verdict| verdict.above < 10).count();
            Set {
                knowledge: knowledge[*prior],
                place: (*place).to_owned(),
                hops: verdicts.len(),
                effective: Percentiles::of(verdicts.iter().map(|it| it.effective).collect()),
                best_guess: verdicts.iter().map(|it| it.best).sum::<f64>() / n,
                in_first_ten: ten as f64 / n,
            }
        };
        self.all.iter().map(set).collect()
    }
}

/// Relays on both legs see most; they are told apart.
fn name(place: Place) -> &'static str {
    match place {
        Place::Exit => "exit",
        Place::Over => "relay over",
        Place::Back => "relay back",
        Place::Both => "relay both",
    }
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::{EntryRule, Recipe, grow};
    use super::*;

    #[test]
    fn percentiles_are_values_that_occur() {
        let values = (1..=20).map(f64::from).rev().collect();
        let got = Percentiles::of(values);
        assert_eq!((got.p10, got.p50), (2.0, 10.0));
        assert_eq!(Percentiles::of(vec![7.0]).p10, 7.0);
        assert_eq!(Percentiles::of(Vec::new()).p50, 0.0);
    }

    #[test]
    fn a_measurement_of_a_small_mesh_is_whole() {
        let mesh = grow(Recipe {
            nodes: 60,
            near_share: 1.0,
            rule: EntryRule::Drawn,
            seed: 3,
        });
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let origins = origins(&mesh, 6, &mut rng);
        let circuits = draw(&mesh, &origins, &mut rng);
        assert!(!circuits.is_empty());
        let drawn = circuits.len();
        let sample = Sample { mesh, circuits };
        let mut steps = 0;
        let order = Order {
            nodes: 60,
            near_share: 1.0,
            asked: 6,
            weigh: true,
            open: 2,
        };
        let got = measure(order, &[sample], &mut || steps += 1);
        assert_eq!(got.unexplained, 0);
        assert_eq!(got.circuits, drawn);
        assert!(steps >= drawn);
        for shares in [&got.linked_at, &got.linkable_at] {
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
        // Nobody can be left with more candidates than there are, or fewer than one.
        for set in got.sets.iter().chain(&got.without_entry_links) {
            assert!(
                set.effective.p10 >= 0.999 && set.effective.p50 <= 60.0,
                "{set:?}"
            );
        }
        assert!(got.sets.iter().any(|set| set.place == "exit"));
    }
}
