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
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::circuit::{Circuit, request};
use super::mesh::{Mesh, Node};

/// Nodes join at this pace, for at most `JOIN_MOST`: a thousand within ten minutes.
const JOIN_EACH: Duration = Duration::from_millis(600);
const JOIN_MOST: Duration = Duration::from_secs(600);
/// The mesh settles for this long after the last one joined.
const SETTLE: Duration = Duration::from_secs(120);
/// Records are looked at this often, for links that were listed once: changes are gathered for
/// 0.2 s before they are published.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Every third node is an exit, as in the tests of gossip.
const EXIT_EVERY: usize = 3;
/// Of ten nodes so many cannot be dialled.
const UNDIALABLE_OF_TEN: usize = 3;

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
    let mut rng = ChaCha20Rng::seed_from_u64(seed ^ 0x006a_6f69_6e00);
    let joining = JOIN_EACH
        .mul_f64(nodes as f64)
        .min(JOIN_MOST);
    for index in 0..nodes {
        let mut config = Config::new(Chain::Dev);
        config.near_share = near_share;
        config.roles.exits = index % EXIT_EVERY == 0;
        let first = index == 0;
        let delay = if first { 0.0 } else { rng.random::<f64>() };
        let spec = NodeSpec {
            config,
            dialable: first || index % 10 >= UNDIALABLE_OF_TEN,
            seeds: if first { vec![] } else { vec![0] },
            ip: None,
        };
        sim.add(spec, joining.mul_f64(delay));
    }
    let mut ever = HashSet::new();
    let whole = joining + SETTLE;
    while sim.now() < whole {
        sim.run(LOOK_EVERY);
        note_listed(&sim, &mut ever);
        progress(sim.now().as_secs_f64() / whole.as_secs_f64());
    }
    let mesh = read(&sim, ever);
    Formed { sim, mesh }
}

/// Adds the pairs that list each other now.
fn note_listed(sim: &Sim, ever: &mut HashSet<(u32, u32)>) {
    for index in 0..sim.len() {
        for other in listed_by(sim, index) {
            if index < other as usize && listed_by(sim, other as usize).contains(&id(index)) {
                ever.insert((id(index), other));
            }
        }
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
    listed
        .filter_map(|node| sim.index(node).map(id))
        .collect()
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
