//! The only place that knows the engine, [`masq_gossip::sim`]: a mesh made
//! after a [`Plan`], what can be done to it and what can be seen of it, by
//! node numbers. Which happens when, and what is made of it, is in
//! [`super::scenario`].
//!
//! Beyond driving, this needs of the engine the counters of
//! [`masq_gossip::sim::NodeCount`] and [`masq_gossip::sim::Watch`].

mod attacks;

use std::time::Duration;

use masq_gossip::sim::attack::Eclipse;
use masq_gossip::sim::{Network, NodeSpec, Sim};
use masq_gossip::state::Machine;
use masq_gossip::{Chain, Config, IpLimits, MAX_NEIGHBOURS, NodeKey, Stage};
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::args::Plan;
use super::progress::Meter;

/// Share of the nodes that others join through, and how many of those each newcomer knows.
const SEED_SHARE: f64 = 0.01;
const SEEDS_KNOWN: usize = 3;
/// Separates the randomness of this file from that of the engine, which has the same seed.
const STREAM: u64 = 0x776f_726c_6400;

/// A mesh in virtual time.
pub struct World<'a> {
    sim: Sim,
    rng: ChaCha20Rng,
    plan: Plan,
    meter: &'a Meter,
    seeds: Vec<usize>,
    nodes: Vec<Node>,
    parted: bool,
    band: Option<Eclipse>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    exits: bool,
    dialable: bool,
    /// Has left, or is leaving, or was killed.
    gone: bool,
    half: u8,
}

impl<'a> World<'a> {
    /// `n` nodes, the first of them seeds that are there at once; the others are born in order of
    /// their numbers.
    pub fn new(seed: u64, n: usize, plan: Plan, meter: &'a Meter) -> Self {
        let network = Network {
            latency_min: plan.latency.min.get(),
            latency_max: plan.latency.max.get(),
            ..Network::default()
        };
        let mut world = Self {
            sim: Sim::new(seed, network),
            rng: ChaCha20Rng::seed_from_u64(seed ^ STREAM),
            plan,
            meter,
            seeds: (0..seed_count(n)).collect(),
            nodes: Vec::with_capacity(n),
            parted: false,
            band: None,
        };
        world.sim.lean();
        let seeds = world.seeds.len();
        let mut exits: Vec<bool> = (0..n).map(|i| i < plan.exits.of(n).max(1)).collect();
        exits.shuffle(&mut world.rng);
        // Seeds can be dialled, or nobody could join.
        let undialable = plan.undialable.of(n).min(n - seeds);
        let mut dialable: Vec<bool> = (seeds..n).map(|i| i - seeds >= undialable).collect();
        dialable.shuffle(&mut world.rng);
        let mut births: Vec<Duration> = (seeds..n)
            .map(|_| plan.over.get().mul_f64(world.rng.random()))
            .collect();
        births.sort_unstable();
        for (i, exits) in exits.into_iter().enumerate() {
            let later = i.checked_sub(seeds);
            let dialable = later.is_none_or(|i| dialable[i]);
            let birth = later.map_or(Duration::ZERO, |i| births[i]);
            world.add(exits, dialable, birth);
        }
        world
    }

    fn add(&mut self, exits: bool, dialable: bool, delay: Duration) -> usize {
        let mut config = Config::new(Chain::Dev);
        config.roles.exits = exits;
        if self.plan.no_limits {
            config.ip_limits = IpLimits::NONE;
        }
        let number = self.nodes.len();
        let mut seeds = self.seeds.clone();
        seeds.retain(|seed| *seed != number);
        let seeds = seeds.sample(&mut self.rng, SEEDS_KNOWN).copied().collect();
        self.nodes.push(Node {
            exits,
            dialable,
            gone: false,
            half: 0,
        });
        let spec = NodeSpec {
            config,
            dialable,
            seeds,
            ip: None,
        };
        self.sim.add(spec, delay)
    }

    /// What the mesh is made of.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// Virtual time since the beginning.
    pub fn now(&self) -> Duration {
        self.sim.now()
    }

    /// Randomness for what is done to the mesh.
    pub fn rng(&mut self) -> &mut ChaCha20Rng {
        &mut self.rng
    }

    /// Lets virtual time go by.
    pub fn run(&mut self, time: Duration) {
        self.sim.run(time);
        self.meter.advance(time);
    }

    /// How many nodes there ever were.
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// Whether a node is one of those that others join through.
    pub fn is_seed(&self, index: usize) -> bool {
        index < self.seeds.len()
    }

    /// Nodes that are there and mean to stay.
    pub fn living(&self) -> Vec<usize> {
        let mut living = self.sim.alive();
        living.retain(|index| !self.nodes[*index].gone);
        living
    }

    /// A node dies without a word; nobody is told that its links ended.
    pub fn kill(&mut self, index: usize) {
        self.nodes[index].gone = true;
        self.sim.kill(index, false);
    }

    /// A node says goodbye. It is to be killed a little later.
    pub fn say_goodbye(&mut self, index: usize) {
        self.nodes[index].gone = true;
        self.sim
            .command(index, |machine, now| machine.shutdown(now));
    }

    /// A new node of the same kind as another joins now.
    pub fn join_like(&mut self, other: usize) -> usize {
        let Node {
            exits, dialable, ..
        } = self.nodes[other];
        self.add(exits, dialable, Duration::ZERO)
    }

    /// Parts the mesh into two halves, at random.
    pub fn part(&mut self) {
        let mut halves: Vec<u8> = (0..self.nodes.len()).map(|i| (i % 2) as u8).collect();
        halves.shuffle(&mut self.rng);
        for (node, half) in self.nodes.iter_mut().zip(&halves) {
            node.half = *half;
        }
        self.parted = true;
        self.sim.partition(|index| halves[index]);
    }

    /// Joins the halves again.
    pub fn heal(&mut self) {
        self.parted = false;
        self.sim.heal();
    }

    /// When a node was born.
    pub fn born(&self, index: usize) -> Option<Duration> {
        self.sim.count(index).born
    }

    /// When it first had a route by its own account.
    pub fn routed(&self, index: usize) -> Option<Duration> {
        self.sim.count(index).routed
    }

    /// The longest time a node had fewer than two neighbours, while there were three nodes.
    pub fn longest_few(&self, index: usize) -> Duration {
        let count = self.sim.count(index);
        let open = count
            .poor_since
            .map(|since| self.now().saturating_sub(since));
        count.longest_poor.max(open.unwrap_or_default())
    }

    /// How many other nodes ever learned a node's address, and how many of them never were its
    /// neighbours.
    pub fn learners(&self, index: usize) -> (usize, usize) {
        let known_to = &self.sim.count(index).known_to;
        let neighbours = self.sim.watch().neighbours(index);
        (known_to.len(), known_to.difference(neighbours).count())
    }

    /// How often a node dialled another whose address it was not meant to have.
    pub fn unmeant(&self) -> u64 {
        self.sim.watch().unmeant()
    }

    /// The most neighbours any node ever had.
    pub fn worst_degree(&self) -> usize {
        self.sim.worst_degree()
    }

    /// Bytes and messages so far.
    pub fn traffic(&self) -> (u64, u64) {
        self.sim.traffic()
    }

    /// Bytes so far by kind of message.
    pub fn kinds(&self) -> Vec<(&'static str, u64)> {
        let kinds = self.sim.watch().kinds().into_iter();
        kinds.map(|(kind, traffic)| (kind, traffic.bytes)).collect()
    }

    /// Records that a living node holds, its own among them.
    pub fn records(&self, index: usize) -> usize {
        let machine = self.sim.machine(index);
        machine.map_or(0, Machine::records_held)
    }

    /// The living nodes and the links that hold between them now.
    pub fn picture(&self) -> Picture {
        let living = self.living();
        let mut links = vec![Vec::new(); self.nodes.len()];
        for index in &living {
            let known = self.sim.links(*index).into_iter();
            let known = known.filter_map(|(key, _)| self.sim.index(&key));
            // Attackers are no part of the mesh.
            links[*index] = known.filter(|i| !self.sim.is_attacker(*i)).collect();
        }
        let both = |a: usize, b: usize| {
            let parted = self.parted && self.nodes[a].half != self.nodes[b].half;
            !parted && links[b].contains(&a)
        };
        let hold = links.iter().enumerate().map(|(a, list)| {
            let hold = list.iter().copied().filter(|b| both(a, *b));
            hold.collect()
        });
        let links = hold.collect();
        Picture { living, links }
    }

    /// Whether a node is at `RouteFound`.
    pub fn at_route(&self, index: usize) -> bool {
        let machine = self.sim.machine(index);
        machine.is_some_and(|machine| machine.stage() == Stage::RouteFound)
    }

    /// Whether a node is at `RouteFound` and knows a route that works: over edges that it knows,
    /// all of which are links that hold between living nodes.
    pub fn has_route(&self, picture: &Picture, index: usize) -> bool {
        if !self.at_route(index) {
            return false;
        }
        let holds = |a: &NodeKey, b: &NodeKey| {
            let ends = self.sim.index(a).zip(self.sim.index(b));
            ends.is_some_and(|(a, b)| picture.links[a].contains(&b))
        };
        let machine = self.sim.machine(index);
        machine.is_some_and(|machine| machine.has_route_over(holds))
    }
}

/// How many of `n` nodes are seeds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "numbers of nodes are small"
)]
fn seed_count(n: usize) -> usize {
    ((n as f64 * SEED_SHARE).ceil() as usize).max(1)
}

/// Living nodes and the links that hold between them at one moment.
#[derive(Debug)]
pub struct Picture {
    /// The nodes.
    pub living: Vec<usize>,
    links: Vec<Vec<usize>>,
}

impl Picture {
    /// How many links of a node hold.
    #[must_use]
    pub fn degree(&self, index: usize) -> usize {
        self.links[index].len()
    }

    /// How many nodes have each number of links.
    #[must_use]
    pub fn degrees(&self) -> [usize; MAX_NEIGHBOURS + 1] {
        let mut degrees = [0; MAX_NEIGHBOURS + 1];
        for index in &self.living {
            degrees[self.degree(*index).min(MAX_NEIGHBOURS)] += 1;
        }
        degrees
    }

    /// Sizes of the connected components, the largest first.
    #[must_use]
    pub fn components(&self) -> Vec<usize> {
        let mut seen = vec![false; self.links.len()];
        let mut sizes = Vec::new();
        for start in &self.living {
            if std::mem::replace(&mut seen[*start], true) {
                continue;
            }
            let mut size = 0;
            let mut queue = vec![*start];
            while let Some(node) = queue.pop() {
                size += 1;
                for other in &self.links[node] {
                    if !std::mem::replace(&mut seen[*other], true) {
                        queue.push(*other);
                    }
                }
            }
            sizes.push(size);
        }
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        sizes
    }
}
