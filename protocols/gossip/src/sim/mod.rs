//! A seeded simulator: many machines in one thread, virtual time, links with
//! latency, nodes that cannot be dialled, deaths, restarts and partitions, and
//! attackers ([`attack`]). The machines are those of production. Equal seeds give
//! equal runs.
//!
//! What is cheaper than in production: each record's signature is checked once
//! for all nodes; in a lean run ([`Sim::lean`]) messages are handed over without
//! being encoded and decoded, their sizes counted all the same. What is not
//! simulated: bandwidth, and TCP beneath the messages (they arrive in order,
//! after the latency, or the connection ends). Circuits, which carry some
//! introductions, are simulated as a path over listed links that works when all
//! nodes on it are honest and alive.

pub mod attack;
mod clockwork;
mod count;
mod happen;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libp2p::identity::ed25519;
use rand::RngExt as _;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use crate::address::Address;
use crate::config::Config;
use crate::descriptor::Descriptor;
use crate::event::{ASK_TIMEOUT, DownReason, Event, Remembered, SeedFailure, Stage, Start};
use crate::key::{NodeKey, is_signed};
use crate::knock::Knock;
use crate::neighbourhood::EntryFor;
use crate::record::{RecordError, SIGNATURE_LEN, SignedRecord};
use crate::state::{ConnId, Input, Machine, Now, Output, Verifier};
use crate::wire::Message;

use clockwork::Clockwork;
pub use count::{NodeCount, POOR_BELOW};
pub use watch::{Traffic, Watch};

/// Seconds since 1970 at the beginning of every run.
pub const EPOCH: u64 = 1_700_000_000;
/// The TCP port on which simulated nodes listen.
pub const PORT: u16 = 4000;
/// Records, and cards, whose verification is remembered; when there are more, all are forgotten. 1 KiB each.
const VERIFIED_MAX: usize = 400_000;
/// Events kept of each node in a run that is not lean.
const MAX_EVENTS: usize = 10_000;

/// How links behave.
#[derive(Debug, Clone, Copy)]
pub struct Network {
    /// One-way latency: each pair of nodes draws one, evenly, from here to `latency_max`.
    pub latency_min: Duration,
    /// See `latency_min`.
    pub latency_max: Duration,
    /// How long a dial to a dead address takes to fail.
    pub dial_failure: Duration,
    /// Whether circuits carry questions; where not, nobody ever answers one.
    pub circuits: bool,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            latency_min: Duration::from_millis(5),
            latency_max: Duration::from_millis(80),
            dial_failure: Duration::from_millis(200),
            circuits: true,
        }
    }
}

/// What to start a node with.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    /// Its settings. `advertise` is filled in by the simulator when `dialable`.
    pub config: Config,
    /// Whether others can dial it.
    pub dialable: bool,
    /// Nodes to join through, by their index.
    pub seeds: Vec<usize>,
    /// Its public address; `None` for one of its own.
    pub ip: Option<IpAddr>,
}

/// A message as it was seen on the wire.
#[derive(Debug, Clone)]
pub struct Captured {
    /// Index of the sender.
    pub from: usize,
    /// Index of the receiver.
    pub to: usize,
    /// The bytes, without their length.
    pub bytes: Vec<u8>,
}

/// Something at an address that speaks gossip as it likes: see [`attack`]. Driven as a
/// [`Machine`] is.
pub trait Actor: Send {
    /// Takes in what happened.
    fn handle(&mut self, now: Now, input: Input);
    /// What to do next.
    fn poll_output(&mut self) -> Option<Output>;
    /// When to call [`Actor::on_timeout`].
    fn poll_timeout(&self) -> Duration;
    /// Does what is due by itself.
    fn on_timeout(&mut self, now: Now);
}

/// What lives at a node's address.
enum Body {
    Machine(Box<Machine>),
    Actor(Box<dyn Actor>),
}

impl Body {
    fn handle(&mut self, now: Now, input: Input) {
        match self {
            Self::Machine(machine) => machine.handle(now, input),
            Self::Actor(actor) => actor.handle(now, input),
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        match self {
            Self::Machine(machine) => machine.poll_output(),
            Self::Actor(actor) => actor.poll_output(),
        }
    }

    fn poll_timeout(&self) -> Duration {
        match self {
            Self::Machine(machine) => machine.poll_timeout(),
            Self::Actor(actor) => actor.poll_timeout(),
        }
    }

    fn on_timeout(&mut self, now: Now) {
        match self {
            Self::Machine(machine) => machine.on_timeout(now),
            Self::Actor(actor) => actor.on_timeout(now),
        }
    }
}

/// What was verified, by the signatures.
#[derive(Default)]
struct Verified {
    records: HashMap<[u8; SIGNATURE_LEN], Arc<SignedRecord>>,
    messages: HashMap<[u8; SIGNATURE_LEN], (NodeKey, Vec<u8>)>,
}

/// Checks each signature once for all nodes, and none that a machine of the simulator made: machines
/// say what they have signed with their own keys, and exactly that counts as checked.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Verified>>);

impl Verifier for Shared {
    fn verify(&mut self, bytes: &[u8]) -> Result<Arc<SignedRecord>, RecordError> {
        let signature = *bytes.last_chunk().ok_or(RecordError::Layout)?;
        let known = self.0.lock().expect("no holder panics");
        if let Some(record) = known.records.get(&signature)
            && record.is_exactly(bytes)
        {
            return Ok(Arc::clone(record));
        }
        drop(known);
        let record = Arc::new(SignedRecord::parse(bytes)?);
        self.signed_record(&record);
        Ok(record)
    }

    fn is_signed(&mut self, node: &NodeKey, message: &[u8], signature: &[u8]) -> bool {
        let Some(name) = signature.first_chunk().copied() else {
            return false;
        };
        let known = self.0.lock().expect("no holder panics");
        if let Some((by, what)) = known.messages.get(&name)
            && by == node
            && what == message
        {
            return signature.len() == SIGNATURE_LEN;
        }
        drop(known);
        let fine = is_signed(node, message, signature);
        if fine {
            self.signed(node, message, signature);
        }
        fine
    }

    fn signed(&mut self, node: &NodeKey, message: &[u8], signature: &[u8]) {
        let Some(name) = signature.first_chunk().copied() else {
            return;
        };
        let known = &mut self.0.lock().expect("no holder panics").messages;
        if known.len() >= VERIFIED_MAX {
            known.clear();
        }
        known.insert(name, (*node, message.to_vec()));
    }

    fn signed_record(&mut self, record: &Arc<SignedRecord>) {
        let Some(signature) = record.bytes().last_chunk().copied() else {
            return;
        };
        let known = &mut self.0.lock().expect("no holder panics").records;
        if known.len() >= VERIFIED_MAX {
            known.clear();
        }
        known.insert(signature, Arc::clone(record));
    }
}

struct Node {
    spec: NodeSpec,
    keys: ed25519::Keypair,
    key: NodeKey,
    ip: IpAddr,
    body: Option<Body>,
    /// What to be instead of a machine, from the next birth on.
    actor: Option<Box<dyn Actor>>,
    attacker: bool,
    wake: Duration,
    version: u64,
    remembered: Vec<Remembered>,
    events: VecDeque<(Duration, Event)>,
    births: u64,
    conns: BTreeSet<ConnId>,
    count: NodeCount,
}

impl Node {
    fn machine(&self) -> Option<&Machine> {
        match &self.body {
            Some(Body::Machine(machine)) => Some(machine),
            _ => None,
        }
    }
}

struct Connection {
    ends: [usize; 2],
    latency: Duration,
    /// Messages arrive in order: when the last one in each direction arrives.
    last: [Duration; 2],
}

/// A message under way.
enum Parcel {
    Bytes(Vec<u8>),
    Message(Box<Message>),
}

enum What {
    Wake(usize),
    Birth(usize),
    Connect {
        from: usize,
        peer: NodeKey,
        addresses: Vec<Address>,
    },
    DialFailed {
        at: usize,
        peer: NodeKey,
        why: SeedFailure,
    },
    Deliver {
        conn: ConnId,
        to: usize,
        parcel: Parcel,
    },
    Ended {
        conn: ConnId,
        at: usize,
    },
    Probed {
        at: usize,
        call: u64,
        port: Option<u16>,
    },
    Asked {
        host_call: u64,
        to: usize,
        payload: Vec<u8>,
    },
    Answered {
        at: usize,
        call: u64,
        payload: Option<Vec<u8>>,
    },
}

/// A question in a circuit whose answer is still to come.
struct Asking {
    from: usize,
    call: u64,
    way: Duration,
}

/// A mesh in virtual time.
pub struct Sim {
    now: Duration,
    network: Network,
    rng: ChaCha20Rng,
    seed: u64,
    lean: bool,
    nodes: Vec<Node>,
    by_key: HashMap<NodeKey, usize>,
    by_ip: HashMap<IpAddr, usize>,
    conns: Vec<Option<Connection>>,
    clockwork: Clockwork<What>,
    verifier: Shared,
    asking: BTreeMap<u64, Asking>,
    asked: u64,
    /// The part of the network each node is in.
    part: Vec<u8>,
    capture: Option<Vec<Captured>>,
    bytes: u64,
    messages: u64,
    born: usize,
    /// Highest number of neighbours any node ever had.
    worst_degree: usize,
    watch: Watch,
}

impl Sim {
    /// An empty network.
    pub fn new(seed: u64, network: Network) -> Self {
        Self {
            now: Duration::ZERO,
            network,
            rng: ChaCha20Rng::seed_from_u64(seed),
            seed,
            lean: false,
            nodes: Vec::new(),
            by_key: HashMap::new(),
            by_ip: HashMap::new(),
            conns: Vec::new(),
            clockwork: Clockwork::new(),
            verifier: Shared::default(),
            asking: BTreeMap::new(),
            asked: 0,
            part: Vec::new(),
            capture: None,
            bytes: 0,
            messages: 0,
            born: 0,
            worst_degree: 0,
            watch: Watch::default(),
        }
    }

    /// From now on messages are not encoded and decoded, and events are not kept: several times as
    /// fast, with the same outcome.
    pub fn lean(&mut self) {
        self.lean = true;
    }

    /// Adds a node that is born after `delay`. Returns its index.
    pub fn add(&mut self, spec: NodeSpec, delay: Duration) -> usize {
        let index = self.nodes.len();
        let mut secret = [0u8; 32];
        secret[..8].copy_from_slice(&self.seed.to_be_bytes());
        secret[8..16].copy_from_slice(&(index as u64).to_be_bytes());
        let keys: ed25519::Keypair = ed25519::SecretKey::try_from_bytes(secret)
            .expect("32 bytes are a secret key")
            .into();
        let key = NodeKey::from(&keys.public());
        // Public addresses, each in a /24 of its own: 20.0.0.1, 20.0.1.1, …
        let own = Ipv4Addr::from(0x1400_0001u32 + ((index as u32) << 8));
        let ip = spec.ip.unwrap_or(own.into());
        self.nodes.push(Node {
            spec,
            keys,
            key,
            ip,
            body: None,
            actor: None,
            attacker: false,
            wake: Duration::MAX,
            version: 0,
            remembered: Vec::new(),
            events: VecDeque::new(),
            births: 0,
            conns: BTreeSet::new(),
            count: NodeCount::default(),
        });
        self.by_key.insert(key, index);
        self.by_ip.entry(ip).or_insert(index);
        self.clockwork.at(self.now + delay, What::Birth(index));
        index
    }

    /// Adds an attacker, who is made with the key of its node. Its index is one of a node; it
    /// counts as alive and has no machine.
    pub fn add_actor(
        &mut self,
        spec: NodeSpec,
        delay: Duration,
        make: impl FnOnce(usize, ed25519::Keypair, IpAddr) -> Box<dyn Actor>,
    ) -> usize {
        let index = self.add(spec, delay);
        let node = &mut self.nodes[index];
        node.attacker = true;
        node.actor = Some(make(index, node.keys.clone(), node.ip));
        index
    }

    /// `n` standard nodes joining through node 0 within `spread`; every `exit_every`-th is an exit.
    pub fn mesh(seed: u64, n: usize, config: &Config, exit_every: usize, spread: Duration) -> Self {
        let mut sim = Self::new(seed, Network::default());
        for index in 0..n {
            let mut config = config.clone();
            config.roles.exits = index % exit_every == 0;
            let seeds = if index == 0 { vec![] } else { vec![0] };
            let delay = if index == 0 {
                Duration::ZERO
            } else {
                spread.mul_f64(sim.rng.random())
            };
            sim.add(
                NodeSpec {
                    config,
                    dialable: true,
                    seeds,
                    ip: None,
                },
                delay,
            );
        }
        sim
    }

    /// Virtual time since the beginning.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Number of nodes, dead ones included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A node's machine, while it lives.
    pub fn machine(&self, index: usize) -> Option<&Machine> {
        self.nodes[index].machine()
    }

    /// Whether an attacker lives at the address of a node.
    pub fn is_attacker(&self, index: usize) -> bool {
        self.nodes[index].attacker
    }

    /// What was counted of a node.
    pub fn count(&self, index: usize) -> &NodeCount {
        &self.nodes[index].count
    }

    /// Happenings so far, those to come included.
    pub fn happenings(&self) -> u64 {
        self.clockwork.count()
    }

    /// A node's machine, to command it; its outputs are taken at the next step.
    pub fn command(&mut self, index: usize, command: impl FnOnce(&mut Machine, Now)) {
        let now = self.clock();
        if let Some(Body::Machine(machine)) = self.nodes[index].body.as_mut() {
            command(machine, now);
        }
        self.drain(index);
    }

    /// A node's key.
    pub fn key(&self, index: usize) -> NodeKey {
        self.nodes[index].key
    }

    /// A node's public address.
    pub fn ip(&self, index: usize) -> IpAddr {
        self.nodes[index].ip
    }

    /// The index of a key.
    pub fn index(&self, key: &NodeKey) -> Option<usize> {
        self.by_key.get(key).copied()
    }

    /// Indices of living nodes, attackers not among them.
    pub fn alive(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|i| self.nodes[*i].machine().is_some())
            .collect()
    }

    /// Events of a node since they were last taken. At most the latest 10,000 are kept.
    pub fn take_events(&mut self, index: usize) -> Vec<(Duration, Event)> {
        self.nodes[index].events.drain(..).collect()
    }

    /// Neighbours of a node, with the entry flags.
    pub fn links(&self, index: usize) -> Vec<(NodeKey, EntryFor)> {
        let machine = self.nodes[index].machine();
        machine
            .map(|m| m.links().into_iter().map(|l| (l.node, l.entry)).collect())
            .unwrap_or_default()
    }

    /// Bytes and messages sent so far, in all.
    pub fn traffic(&self) -> (u64, u64) {
        (self.bytes, self.messages)
    }

    /// The most neighbours that any node ever had at any moment.
    pub fn worst_degree(&self) -> usize {
        self.worst_degree
    }

    /// What was counted on the wire.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Keeps every message from now on. Costs memory.
    pub fn capture(&mut self) {
        self.capture = Some(Vec::new());
    }

    /// What was captured since it was last taken.
    pub fn take_captured(&mut self) -> Vec<Captured> {
        self.capture
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// The node dies without a word; its connections end at once at the other ends when `noticed`,
    /// else they fall silent.
    pub fn kill(&mut self, index: usize, noticed: bool) {
        let now = self.now;
        let node = &mut self.nodes[index];
        node.body = None;
        node.wake = Duration::MAX;
        node.count.stage(now, Stage::NotConnected);
        node.count.degree(now, POOR_BELOW, true);
        for conn in std::mem::take(&mut node.conns) {
            if noticed {
                self.end(conn, index);
            }
        }
    }

    /// A dead node comes back with what it stored, after `delay`; `seeds` replaces its seeds.
    pub fn restart(&mut self, index: usize, seeds: Vec<usize>, delay: Duration) {
        self.nodes[index].spec.seeds = seeds;
        self.clockwork.at(self.now + delay, What::Birth(index));
    }

    /// Cuts the network: nodes of different parts can't reach each other; links fall silent.
    pub fn partition(&mut self, part: impl Fn(usize) -> u8) {
        self.part = (0..self.nodes.len()).map(part).collect();
    }

    /// Joins all parts again.
    pub fn heal(&mut self) {
        self.part.clear();
    }

    /// Runs for some virtual time.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((time, what)) = self.clockwork.next(end) {
            self.now = self.now.max(time);
            self.happen(what);
        }
        self.now = end;
    }

    /// Runs until `done`, for at most `most`; says how long it took.
    pub fn run_until(
        &mut self,
        most: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Option<Duration> {
        let begin = self.now;
        while self.now < begin + most {
            if done(self) {
                return Some(self.now - begin);
            }
            self.run(Duration::from_millis(50));
        }
        done(self).then(|| self.now - begin)
    }

    /// Whether every living node is at `RouteFound`.
    pub fn all_routed(&self) -> bool {
        let births = self.nodes.iter().all(|node| node.births > 0);
        births
            && self
                .nodes
                .iter()
                .filter_map(Node::machine)
                .all(|m| m.stage() == Stage::RouteFound)
    }

    /// Connected components of living nodes over the links that both ends hold.
    pub fn components(&self) -> usize {
        self.component_sizes().len()
    }

    /// How many living nodes are in each component, in no order.
    pub fn component_sizes(&self) -> Vec<usize> {
        let mut left: Vec<bool> = self.nodes.iter().map(|n| n.machine().is_some()).collect();
        let mut sizes = Vec::new();
        for first in 0..left.len() {
            if !std::mem::take(&mut left[first]) {
                continue;
            }
            let mut size = 0;
            let mut queue = vec![first];
            while let Some(index) = queue.pop() {
                size += 1;
                for (other, _) in self.links(index) {
                    if let Some(other) = self.index(&other)
                        && std::mem::take(&mut left[other])
                    {
                        queue.push(other);
                    }
                }
            }
            sizes.push(size);
        }
        sizes
    }

    fn clock(&self) -> Now {
        Now {
            mono: self.now,
            unix: EPOCH + self.now.as_secs(),
        }
    }
}
