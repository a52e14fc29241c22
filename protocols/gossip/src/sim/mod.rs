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
}

impl Default for Network {
    fn default() -> Self {
        Self {
            latency_min: Duration::from_millis(5),
            latency_max: Duration::from_millis(80),
            dial_failure: Duration::from_millis(200),
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

/// Checks each signature once for all nodes.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Verified>>);

impl Verifier for Shared {
    fn verify(&mut self, bytes: &[u8]) -> Result<Arc<SignedRecord>, RecordError> {
        let signature = *bytes.last_chunk().ok_or(RecordError::Layout)?;
        let known = &mut self.0.lock().expect("no holder panics").records;
        if let Some(record) = known.get(&signature)
            && record.bytes() == bytes
        {
            return Ok(Arc::clone(record));
        }
        let record = Arc::new(SignedRecord::parse(bytes)?);
        if known.len() >= VERIFIED_MAX {
            known.clear();
        }
        known.insert(signature, Arc::clone(&record));
        Ok(record)
    }

    fn is_signed(&mut self, node: &NodeKey, message: &[u8], signature: &[u8]) -> bool {
        let Some(name) = signature.first_chunk().copied() else {
            return false;
        };
        let known = &mut self.0.lock().expect("no holder panics").messages;
        if let Some((by, what)) = known.get(&name)
            && by == node
            && what == message
        {
            return signature.len() == SIGNATURE_LEN;
        }
        let fine = is_signed(node, message, signature);
        if fine {
            if known.len() >= VERIFIED_MAX {
                known.clear();
            }
            known.insert(name, (*node, message.to_vec()));
        }
        fine
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

    fn happen(&mut self, what: What) {
        match what {
            What::Birth(index) => self.birth(index),
            What::Wake(index) => {
                if self.nodes[index].wake <= self.now {
                    self.nodes[index].wake = Duration::MAX;
                    let now = self.clock();
                    if let Some(body) = self.nodes[index].body.as_mut() {
                        body.on_timeout(now);
                    }
                    self.drain(index);
                }
            }
            What::Connect {
                from,
                peer,
                addresses,
            } => self.connect(from, peer, &addresses),
            What::Probed { at, call, port } => self.input(at, Input::Probed { call, port }),
            What::DialFailed { at, peer, why } => self.input(at, Input::DialFailed { peer, why }),
            What::Deliver { conn, to, parcel } => self.deliver(conn, to, parcel),
            What::Ended { conn, at } => {
                self.conns[conn.0 as usize] = None;
                self.nodes[at].conns.remove(&conn);
                self.input(at, Input::Disconnected(conn));
            }
            What::Asked {
                host_call,
                to,
                payload,
            } => self.input(
                to,
                Input::Asked {
                    call: host_call,
                    payload,
                },
            ),
            What::Answered { at, call, payload } => {
                self.input(at, Input::Answered { call, payload });
            }
        }
    }

    fn deliver(&mut self, conn: ConnId, to: usize, parcel: Parcel) {
        let open = self.conns[conn.0 as usize]
            .as_ref()
            .is_some_and(|c| self.joined(c.ends[0], c.ends[1]));
        if !open {
            return;
        }
        let message = match parcel {
            Parcel::Message(message) => Ok(*message),
            Parcel::Bytes(bytes) => Message::decode(&bytes),
        };
        match message {
            Ok(message) => self.input(to, Input::Message(conn, message)),
            Err(_) => self.input(to, Input::Broken(conn, DownReason::Misbehaved)),
        }
    }

    fn birth(&mut self, index: usize) {
        let now = self.clock();
        let seeds = self.nodes[index].spec.seeds.clone();
        let seeds = seeds
            .into_iter()
            .map(|seed| self.descriptor(seed))
            .collect();
        let node = &mut self.nodes[index];
        node.births += 1;
        self.born += usize::from(node.births == 1);
        node.count.born.get_or_insert(now.mono);
        if let Some(actor) = node.actor.take() {
            node.body = Some(Body::Actor(actor));
            return self.drain(index);
        }
        let mut config = node.spec.config.clone();
        if node.spec.dialable {
            config.advertise = vec![std::net::SocketAddr::new(node.ip, PORT).into()];
        } else {
            config.roles.accepts_connections = false;
        }
        let mut onion = [0u8; 32];
        onion[..8].copy_from_slice(&(index as u64 + 1).to_be_bytes());
        let start = Start {
            seeds,
            remembered: node.remembered.clone(),
            last_version: node.version,
            bans: Vec::new(),
            onion_keys: (onion, None),
        };
        let rng =
            ChaCha20Rng::seed_from_u64(self.seed ^ ((index as u64) << 20) ^ (node.births << 50));
        let verifier = Box::new(self.verifier.clone());
        let keys = node.keys.clone();
        let machine = Machine::with_verifier(config, keys, start, rng, now, verifier);
        node.body = Some(Body::Machine(Box::new(machine)));
        self.drain(index);
    }

    /// How a person would tell of a node.
    pub fn descriptor(&self, index: usize) -> Descriptor {
        let node = &self.nodes[index];
        Descriptor {
            chain: node.spec.config.chain,
            node: node.key,
            host: crate::address::Host::Ip(node.ip),
            ports: vec![PORT],
            mask: None,
            knock: Some(Knock::of(&node.keys)),
        }
    }

    fn joined(&self, a: usize, b: usize) -> bool {
        self.part.get(a) == self.part.get(b)
    }

    fn latency(&self, a: usize, b: usize) -> Duration {
        let (low, high) = (a.min(b) as u64, a.max(b) as u64);
        let mut rng = ChaCha20Rng::seed_from_u64(self.seed ^ (low << 32 | high));
        rng.random_range(self.network.latency_min..=self.network.latency_max)
    }

    fn connect(&mut self, from: usize, peer: NodeKey, addresses: &[Address]) {
        let listening = addresses
            .iter()
            .filter(|a| a.port == PORT)
            .find_map(|address| {
                let index = *self.by_ip.get(&address.ip()?)?;
                let node = &self.nodes[index];
                (node.body.is_some() && node.spec.dialable && self.joined(from, index))
                    .then_some(index)
            });
        // Several nodes may share an address; the one that is meant answers, as by its own port.
        let meant = self.by_key.get(&peer).copied().filter(|index| {
            let node = &self.nodes[*index];
            node.body.is_some()
                && node.spec.dialable
                && self.joined(from, *index)
                && addresses
                    .iter()
                    .any(|address| address.ip() == Some(node.ip))
        });
        let Some(to) = meant.or(listening) else {
            let at = self.now + self.network.dial_failure;
            return self.clockwork.at(
                at,
                What::DialFailed {
                    at: from,
                    peer,
                    why: SeedFailure::Unreachable,
                },
            );
        };
        if self.nodes[to].key != peer {
            return self.input(
                from,
                Input::DialFailed {
                    peer,
                    why: SeedFailure::WrongKey,
                },
            );
        }
        let conn = ConnId(self.conns.len() as u64);
        self.conns.push(Some(Connection {
            ends: [from, to],
            latency: self.latency(from, to),
            last: [self.now; 2],
        }));
        for end in [from, to] {
            self.nodes[end].conns.insert(conn);
        }
        self.nodes[from].count.known_to.insert(to as u32);
        let address = |index: usize, port: u16| {
            Some(std::net::SocketAddr::new(self.nodes[index].ip, port).into())
        };
        let (near, far) = (address(to, PORT), address(from, 50_000));
        let key = self.nodes[from].key;
        self.input(
            to,
            Input::Connected {
                conn,
                peer: key,
                dialled: false,
                remote: far,
            },
        );
        self.input(
            from,
            Input::Connected {
                conn,
                peer,
                dialled: true,
                remote: near,
            },
        );
    }

    /// Whether a node answers at one of the addresses, as a connection would show.
    fn probe(&mut self, from: usize, call: u64, peer: &NodeKey, addresses: &[Address]) {
        let answers = self.by_key.get(peer).copied().filter(|index| {
            let node = &self.nodes[*index];
            let here = |a: &Address| a.ip() == Some(node.ip) && a.port == PORT;
            node.body.is_some()
                && node.spec.dialable
                && self.joined(from, *index)
                && addresses.iter().any(here)
        });
        let took = match answers {
            Some(to) => self.latency(from, to) * 3,
            None => self.network.dial_failure,
        };
        let port = answers.map(|_| PORT);
        let at = from;
        self.clockwork
            .at(self.now + took, What::Probed { at, call, port });
    }

    fn input(&mut self, index: usize, input: Input) {
        let now = self.clock();
        if let Some(body) = self.nodes[index].body.as_mut() {
            body.handle(now, input);
            self.drain(index);
        }
    }

    fn drain(&mut self, index: usize) {
        while let Some(output) = self.nodes[index].body.as_mut().and_then(Body::poll_output) {
            self.output(index, output);
        }
        let node = &mut self.nodes[index];
        if let Some(Body::Machine(machine)) = &node.body {
            let degree = machine.degree();
            self.worst_degree = self.worst_degree.max(degree);
            node.count.degree(self.now, degree, self.born >= 3);
        }
        let Some(wake) = node.body.as_ref().map(Body::poll_timeout) else {
            return;
        };
        let wake = wake.max(self.now);
        if wake < node.wake {
            node.wake = wake;
            self.clockwork.at(wake, What::Wake(index));
        }
    }

    fn output(&mut self, index: usize, output: Output) {
        match output {
            Output::Dial { peer, addresses } => self.dial(index, peer, addresses),
            Output::Send(conn, message) => self.send(index, conn, message),
            Output::Close(conn) => self.end(conn, index),
            Output::Probe {
                call,
                peer,
                addresses,
            } => self.probe(index, call, &peer, &addresses),
            Output::Event(event) => self.event(index, event),
            Output::Ask { call, to, payload } => self.ask(index, call, &to, payload),
            Output::Reply { call, payload } => self.reply(call, payload),
        }
    }

    fn dial(&mut self, index: usize, peer: NodeKey, addresses: Vec<Address>) {
        let other = self.by_key.get(&peer).copied();
        if let Some(told) = other
            && addresses
                .iter()
                .any(|address| address.ip() == Some(self.nodes[told].ip))
        {
            let new = self.nodes[told].count.known_to.insert(index as u32);
            let from = &self.nodes[index];
            if new && !from.attacker && !from.spec.seeds.contains(&told) {
                self.watch.dialled(index, told);
            }
        }
        // TCP and noise: three one-way trips before either side may speak.
        let at = self.now + self.latency(index, other.unwrap_or(index)) * 3;
        self.clockwork.at(
            at,
            What::Connect {
                from: index,
                peer,
                addresses,
            },
        );
    }

    fn event(&mut self, index: usize, event: Event) {
        let now = self.now;
        if let Event::NeighbourUp { node, .. } = &event
            && let Some(other) = self.index(node)
        {
            self.watch.neighbour(index, other);
        }
        let node = &mut self.nodes[index];
        match &event {
            Event::PersistVersion(version) => node.version = *version,
            Event::Remember(list) => node.remembered = list.clone(),
            Event::StageChanged(stage) => node.count.stage(now, *stage),
            _ => {}
        }
        if !self.lean {
            if node.events.len() >= MAX_EVENTS {
                node.events.pop_front();
            }
            node.events.push_back((now, event));
        }
    }

    fn send(&mut self, index: usize, conn: ConnId, message: Message) {
        let Some(connection) = self.conns[conn.0 as usize].as_mut() else {
            return;
        };
        let side = usize::from(connection.ends[0] != index);
        let to = connection.ends[1 - side];
        let at = (self.now + connection.latency).max(connection.last[side]);
        connection.last[side] = at;
        let len = message.encoded_len();
        let by_key = &self.by_key;
        let index_of = |key: &NodeKey| by_key.get(key).copied();
        self.watch.sent(self.now, &message, len + 2, index_of);
        let parcel = if self.lean && self.capture.is_none() {
            Parcel::Message(Box::new(message))
        } else {
            Parcel::Bytes(message.encode())
        };
        assert!(
            len <= crate::wire::MAX_MESSAGE_LEN,
            "a machine sent an oversize message"
        );
        self.bytes += len as u64 + 2;
        self.messages += 1;
        let count = &mut self.nodes[index].count;
        count.bytes_sent += len as u64 + 2;
        count.messages_sent += 1;
        if let (Some(captured), Parcel::Bytes(bytes)) = (&mut self.capture, &parcel) {
            captured.push(Captured {
                from: index,
                to,
                bytes: bytes.clone(),
            });
        }
        self.clockwork.at(at, What::Deliver { conn, to, parcel });
    }

    /// One end closes: the other learns of it behind what was sent.
    fn end(&mut self, conn: ConnId, index: usize) {
        self.nodes[index].conns.remove(&conn);
        let Some(connection) = &self.conns[conn.0 as usize] else {
            return;
        };
        let side = usize::from(connection.ends[0] != index);
        let other = connection.ends[1 - side];
        let at = (self.now + connection.latency).max(connection.last[side]);
        if self.joined(index, other) {
            self.clockwork.at(at, What::Ended { conn, at: other });
        }
    }

    /// A circuit to a node, and a question in it. It takes the latencies of its links, out for the
    /// question and back for the answer; dead nodes and attackers on the way swallow it.
    fn ask(&mut self, from: usize, call: u64, to: &NodeKey, payload: Vec<u8>) {
        let path = self.nodes[from].machine().and_then(|m| m.path_to(to));
        let path: Option<Vec<usize>> =
            path.map(|path| path.iter().filter_map(|key| self.index(key)).collect());
        let Some(path) = path else {
            let at = self.now;
            let payload = None;
            let what = What::Answered {
                at: from,
                call,
                payload,
            };
            return self.clockwork.at(at, what);
        };
        if let Some(to) = path.last() {
            self.watch.asked(from, *to);
        }
        let mut way = Duration::ZERO;
        let mut before = from;
        let mut whole = true;
        for (step, node) in path.iter().copied().enumerate() {
            way += self.latency(before, node);
            let relay = step + 1 < path.len();
            whole &= self.nodes[node].body.is_some()
                && self.joined(before, node)
                && !(relay && self.nodes[node].attacker);
            before = node;
        }
        if !whole {
            let at = self.now + ASK_TIMEOUT;
            let payload = None;
            let what = What::Answered {
                at: from,
                call,
                payload,
            };
            return self.clockwork.at(at, what);
        }
        self.asked += 1;
        let host_call = self.asked;
        self.asking.insert(host_call, Asking { from, call, way });
        self.clockwork.at(
            self.now + way,
            What::Asked {
                host_call,
                to: before,
                payload,
            },
        );
    }

    fn reply(&mut self, host_call: u64, payload: Option<Vec<u8>>) {
        if let Some(Asking { from, call, way }) = self.asking.remove(&host_call) {
            let what = What::Answered {
                at: from,
                call,
                payload,
            };
            self.clockwork.at(self.now + way, what);
        }
    }
}
