//! Meshes from the gossip simulator: the machines of production, in virtual
//! time. Here they are formed, watched for what their records show over time,
//! and read out; circuits are drawn by production routing over what each
//! origin itself knows. Not here: what is concluded from them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use masq::routing::{Graph, NodeKey, Scores, choose};
use masq_gossip::sim::{Network, NodeSpec, Sim};
use masq_gossip::{Chain, Config};
use rand::RngExt as _;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::circuit::{Circuit, request};
use super::mesh::{Mesh, Node};

/// The nodes join over this time, whatever their number. From the issue: a thousand in ten minutes.
const JOINING: Duration = Duration::from_secs(600);
/// The mesh settles for this long after the last one joined.
const SETTLE: Duration = Duration::from_secs(120);
/// Records are looked at this often, for links that were listed once: changes are gathered for
/// 0.2 s before they are published.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Shares of the nodes that are exits, that cannot be dialled (from the issue), and through which
/// the others join, three of which each of them knows (guesses, as in `simulate gossip`).
const EXITS: f64 = 1.0 / 3.0;
const UNDIALABLE: f64 = 0.3;
const SEEDS: f64 = 0.01;
const SEEDS_KNOWN: usize = 3;

/// Separates this generator from the simulator's, which has the same seed.
const STREAM: u64 = 0x616e_6f6e_0000;

/// How a mesh is to be formed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forming {
    pub(super) nodes: usize,
    pub(super) near_share: f64,
    pub(super) seed: u64,
}

/// A formed mesh that can still be asked for the views of its nodes.
pub(super) struct Formed {
    sim: Sim,
    pub(super) mesh: Mesh,
}

/// Forms a mesh and lets it settle; `progress` is told the share that is done.
pub(super) fn form(forming: Forming, progress: &mut dyn FnMut(f64)) -> Formed {
    let Forming {
        nodes,
        near_share,
        seed,
    } = forming;
    let mut sim = Sim::new(seed, Network::default());
    sim.lean();
    let mut rng = ChaCha20Rng::seed_from_u64(seed ^ STREAM);
    let part = |share: f64| (nodes as f64 * share).ceil() as usize;
    let seeds: Vec<usize> = (0..part(SEEDS)).collect();
    let mut exits: Vec<bool> = (0..nodes).map(|index| index < part(EXITS)).collect();
    exits.shuffle(&mut rng);
    let others = nodes - seeds.len();
    let mut hidden: Vec<bool> = (0..others)
        .map(|index| index < part(UNDIALABLE).min(others))
        .collect();
    hidden.shuffle(&mut rng);
    for (index, exits) in exits.into_iter().enumerate() {
        let mut config = Config::new(Chain::Dev);
        config.near_share = near_share;
        config.roles.exits = exits;
        let later = index.checked_sub(seeds.len());
        let wait = later.map_or(0.0, |_| rng.random::<f64>());
        let mut known = seeds.clone();
        known.retain(|seed| *seed != index);
        let spec = NodeSpec {
            config,
            dialable: later.is_none_or(|at| !hidden[at]),
            seeds: known.sample(&mut rng, SEEDS_KNOWN).copied().collect(),
            ip: None,
        };
        sim.add(spec, JOINING.mul_f64(wait));
    }
    let mut ever = Ever::default();
    let whole = JOINING + SETTLE;
    while sim.now() < whole {
        sim.run(LOOK_EVERY);
        ever.look(&sim);
        progress(sim.now().as_secs_f64() / whole.as_secs_f64());
    }
    let mesh = read(&sim, ever.pairs);
    Formed { sim, mesh }
}

/// Pairs that were listed as neighbours at some time.
#[derive(Default)]
struct Ever {
    pairs: HashSet<(u32, u32)>,
    /// Listed links at the last look. A link that is one at two looks has been published between
    /// them.
    last: Vec<Vec<u32>>,
}

impl Ever {
    fn look(&mut self, sim: &Sim) {
        let now: Vec<Vec<u32>> = (0..sim.len())
            .map(|index| {
                let links = sim.links(index).into_iter();
                let listed = links.filter(|(_, entry)| entry.listed());
                listed
                    .filter_map(|(node, _)| sim.index(&node).map(id))
                    .collect()
            })
            .collect();
        for (at, links) in self.last.iter().enumerate() {
            for other in links.iter().filter(|other| at < **other as usize) {
                if now[at].contains(other) {
                    self.pairs.insert((id(at), *other));
                }
            }
        }
        self.last = now;
    }
}

fn id(index: usize) -> u32 {
    u32::try_from(index).expect("a simulation has fewer than 2^32 nodes")
}

/// Numbers of the nodes that a node's own record lists.
fn listed_by(sim: &Sim, index: usize) -> Vec<u32> {
    let Some(machine) = sim.machine(index) else {
        return Vec::new();
    };
    let view = machine.neighbourhood();
    let listed = view.own().record().neighbours.iter();
    listed.filter_map(|node| sim.index(node).map(id)).collect()
}

fn read(sim: &Sim, ever: HashSet<(u32, u32)>) -> Mesh {
    let lists: Vec<Vec<u32>> = (0..sim.len()).map(|index| listed_by(sim, index)).collect();
    let mut nodes = Vec::with_capacity(sim.len());
    for (index, list) in lists.iter().enumerate() {
        let mutual = |other: &&u32| lists[**other as usize].contains(&id(index));
        let roles = sim.machine(index).map(|machine| machine.config().roles);
        let links = sim.links(index).into_iter();
        let own = links.filter(|(_, entry)| entry.ours());
        nodes.push(Node {
            listed: list.iter().filter(mutual).copied().collect(),
            lists: u8::try_from(list.len()).unwrap_or(u8::MAX),
            routes: roles.is_some_and(|roles| roles.routes),
            exits: roles.is_some_and(|roles| roles.exits),
            entry: own
                .filter_map(|(node, _)| sim.index(&node).map(id))
                .collect(),
        });
    }
    let mut mesh = Mesh {
        nodes,
        former: ever,
        all_public: false,
    };
    let now_listed: HashSet<(u32, u32)> = mesh
        .ids()
        .flat_map(|a| mesh.listed(a).iter().map(move |b| (a.min(*b), a.max(*b))))
        .collect();
    mesh.former.retain(|pair| !now_listed.contains(pair));
    mesh
}

impl Formed {
    /// One circuit of each of the origins that has a route, over what it itself knows.
    pub(super) fn draw(&self, origins: &[u32], rng: &mut ChaCha20Rng) -> Vec<Circuit> {
        let one = |origin: &u32| {
            let view = self.sim.machine(*origin as usize)?.neighbourhood();
            let graph = Graph::from(&*view);
            let scores = Scores::new([0; 16]);
            let chosen = choose(&graph, &request(false), &scores, Instant::now(), rng).ok()?;
            Some(Circuit {
                origin: *origin,
                entry: self.numbers(graph.entry_neighbours()),
                over: self.numbers(&chosen.over),
                back: self.numbers(&chosen.back),
                shared: chosen.shared,
            })
        };
        origins.iter().filter_map(one).collect()
    }

    fn numbers<'a>(&self, keys: impl IntoIterator<Item = &'a NodeKey>) -> Vec<u32> {
        let index = |key: &NodeKey| self.sim.index(&masq_gossip::NodeKey(*key)).map(id);
        keys.into_iter().filter_map(index).collect()
    }
}
