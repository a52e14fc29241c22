//! A seeded simulator: many machines in one thread, virtual time, links with
//! latency, nodes that cannot be dialled, deaths, restarts and partitions. The
//! machines are those of production; messages are encoded and decoded, so
//! bytes and bounds are real. Equal seeds give equal runs.
//!
//! What is cheaper than in production: each record's signature is checked
//! once for all nodes. What is not simulated: bandwidth, and TCP beneath the
//! messages (they arrive in order, after the latency, or the connection ends).

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
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
use crate::event::{DownReason, Event, Remembered, SeedFailure, Stage, Start};
use crate::key::NodeKey;
use crate::neighbourhood::EntryFor;
use crate::record::{RecordError, SignedRecord};
use crate::state::{ConnId, Input, Machine, Now, Output, Verifier};
use crate::wire::Message;

/// Seconds since 1970 at the beginning of every run.
pub const EPOCH: u64 = 1_700_000_000;
/// The TCP port on which simulated nodes listen.
pub const PORT: u16 = 4000;
/// Records whose verification is remembered; when there are more, all are forgotten. 1 KiB each.
const VERIFIED_MAX: usize = 200_000;

/// How links behave.
#[derive(Debug, Clone, Copy)]
pub struct Network {
    /// One-way latency: each pair of nodes draws one from here to `latency_max`.
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

/// Checks each record once for all nodes.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<BTreeMap<Vec<u8>, Arc<SignedRecord>>>>);

impl Verifier for Shared {
    fn verify(&mut self, bytes: &[u8]) -> Result<Arc<SignedRecord>, RecordError> {
        let mut known = self.0.lock().expect("no holder panics");
        if let Some(record) = known.get(bytes) {
            return Ok(Arc::clone(record));
        }
        let record = Arc::new(SignedRecord::parse(bytes)?);
        if known.len() >= VERIFIED_MAX {
            known.clear();
        }
        known.insert(bytes.to_vec(), Arc::clone(&record));
        Ok(record)
    }
}

struct Node {
    spec: NodeSpec,
    keys: ed25519::Keypair,
    key: NodeKey,
    ip: IpAddr,
    machine: Option<Machine>,
    wake: Duration,
    version: u64,
    remembered: Vec<Remembered>,
    events: VecDeque<(Duration, Event)>,
    births: u64,
}

struct Connection {
    ends: [usize; 2],
    latency: Duration,
    /// Messages arrive in order: when the last one in each direction arrives.
    last: [Duration; 2],
}

#[derive(Debug)]
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
        bytes: Vec<u8>,
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
}

/// A mesh in virtual time.
pub struct Sim {
    now: Duration,
    network: Network,
    rng: ChaCha20Rng,
    seed: u64,
    nodes: Vec<Node>,
    by_key: BTreeMap<NodeKey, usize>,
    by_ip: BTreeMap<IpAddr, usize>,
    conns: BTreeMap<ConnId, Connection>,
    next_conn: u64,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    happenings: BTreeMap<u64, What>,
    next_event: u64,
    verifier: Shared,
    /// Index of the part of the network each node is in.
    part: BTreeMap<usize, u8>,
    capture: Option<RefCell<Vec<Captured>>>,
    bytes: u64,
    messages: u64,
    /// Highest number of neighbours any node ever had.
    worst_degree: usize,
}

impl Sim {
    /// An empty network.
    pub fn new(seed: u64, network: Network) -> Self {
        Self {
            now: Duration::ZERO,
            network,
            rng: ChaCha20Rng::seed_from_u64(seed),
            seed,
            nodes: Vec::new(),
            by_key: BTreeMap::new(),
            by_ip: BTreeMap::new(),
            conns: BTreeMap::new(),
            next_conn: 0,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            next_event: 0,
            verifier: Shared::default(),
            part: BTreeMap::new(),
            capture: None,
            bytes: 0,
            messages: 0,
            worst_degree: 0,
        }
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
            machine: None,
            wake: Duration::MAX,
            version: 0,
            remembered: Vec::new(),
            events: VecDeque::new(),
            births: 0,
        });
        self.by_key.insert(key, index);
        self.by_ip.entry(ip).or_insert(index);
        self.at(self.now + delay, What::Birth(index));
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
        self.nodes[index].machine.as_ref()
    }

    /// A node's machine, to command it; its outputs are taken at the next step.
    pub fn command(&mut self, index: usize, command: impl FnOnce(&mut Machine, Now)) {
        let now = self.clock();
        if let Some(machine) = self.nodes[index].machine.as_mut() {
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

    /// Indices of living nodes.
    pub fn alive(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|i| self.nodes[*i].machine.is_some())
            .collect()
    }

    /// Events of a node since they were last taken. At most the latest 10,000 are kept.
    pub fn take_events(&mut self, index: usize) -> Vec<(Duration, Event)> {
        self.nodes[index].events.drain(..).collect()
    }

    /// Neighbours of a node, with the entry flags.
    pub fn links(&self, index: usize) -> Vec<(NodeKey, EntryFor)> {
        let machine = self.nodes[index].machine.as_ref();
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

    /// Keeps every message from now on. Costs memory.
    pub fn capture(&mut self) {
        self.capture = Some(RefCell::default());
    }

    /// What was captured since it was last taken.
    pub fn take_captured(&mut self) -> Vec<Captured> {
        self.capture.as_ref().map(RefCell::take).unwrap_or_default()
    }

    /// The node dies without a word; its connections end at once at the other ends when `noticed`,
    /// else they fall silent.
    pub fn kill(&mut self, index: usize, noticed: bool) {
        self.nodes[index].machine = None;
        self.nodes[index].wake = Duration::MAX;
        let mine: Vec<ConnId> = self.conns_of(index);
        for conn in mine {
            if noticed {
                self.end(conn, index);
            }
        }
    }

    /// A dead node comes back with what it stored, after `delay`; `seeds` replaces its seeds.
    pub fn restart(&mut self, index: usize, seeds: Vec<usize>, delay: Duration) {
        self.nodes[index].spec.seeds = seeds;
        self.at(self.now + delay, What::Birth(index));
    }

    /// Cuts the network: nodes of different parts can't reach each other; links fall silent.
    pub fn partition(&mut self, part: impl Fn(usize) -> u8) {
        self.part = (0..self.nodes.len())
            .map(|index| (index, part(index)))
            .collect();
    }

    /// Joins all parts again.
    pub fn heal(&mut self) {
        self.part.clear();
    }

    /// Runs for some virtual time.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
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
                .filter_map(|node| node.machine.as_ref())
                .all(|m| m.stage() == Stage::RouteFound)
    }

    /// Connected components of living nodes over the links that both ends hold.
    pub fn components(&self) -> usize {
        let mut left: BTreeSet<usize> = self.alive().into_iter().collect();
        let mut count = 0;
        while let Some(first) = left.pop_first() {
            count += 1;
            let mut queue = vec![first];
            while let Some(index) = queue.pop() {
                for (other, _) in self.links(index) {
                    if let Some(other) = self.index(&other)
                        && left.remove(&other)
                    {
                        queue.push(other);
                    }
                }
            }
        }
        count
    }

    fn conns_of(&self, index: usize) -> Vec<ConnId> {
        self.conns
            .iter()
            .filter(|(_, c)| c.ends.contains(&index))
            .map(|(id, _)| *id)
            .collect()
    }

    fn clock(&self) -> Now {
        Now {
            mono: self.now,
            unix: EPOCH + self.now.as_secs(),
        }
    }

    fn at(&mut self, time: Duration, what: What) {
        self.next_event += 1;
        self.queue.push(Reverse((time, self.next_event)));
        self.happenings.insert(self.next_event, what);
    }

    fn step(&mut self, end: Duration) -> bool {
        let Some(Reverse((time, id))) = self.queue.peek().copied() else {
            return false;
        };
        if time > end {
            return false;
        }
        self.queue.pop();
        self.now = self.now.max(time);
        if let Some(what) = self.happenings.remove(&id) {
            self.happen(what);
        }
        true
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Birth(index) => self.birth(index),
            What::Wake(index) => {
                if self.nodes[index].wake <= self.now {
                    self.nodes[index].wake = Duration::MAX;
                    let now = self.clock();
                    if let Some(machine) = self.nodes[index].machine.as_mut() {
                        machine.on_timeout(now);
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
            What::Deliver { conn, to, bytes } => {
                let open = self
                    .conns
                    .get(&conn)
                    .is_some_and(|c| self.joined(c.ends[0], c.ends[1]));
                if open {
                    match Message::decode(&bytes) {
                        Ok(message) => self.input(to, Input::Message(conn, message)),
                        Err(_) => self.input(to, Input::Broken(conn, DownReason::Misbehaved)),
                    }
                }
            }
            What::Ended { conn, at } => {
                self.conns.remove(&conn);
                self.input(at, Input::Disconnected(conn));
            }
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
            onion_keys: (onion, None),
        };
        let rng =
            ChaCha20Rng::seed_from_u64(self.seed ^ ((index as u64) << 20) ^ (node.births << 50));
        let verifier = Box::new(self.verifier.clone());
        node.machine = Some(Machine::with_verifier(
            config,
            node.keys.clone(),
            start,
            rng,
            now,
            verifier,
        ));
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
        }
    }

    fn joined(&self, a: usize, b: usize) -> bool {
        self.part.get(&a) == self.part.get(&b)
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
                (node.machine.is_some() && node.spec.dialable && self.joined(from, index))
                    .then_some(index)
            });
        // Several nodes may share an address; the one that is meant answers, as by its own port.
        let meant = self.by_key.get(&peer).copied().filter(|index| {
            let node = &self.nodes[*index];
            node.machine.is_some()
                && node.spec.dialable
                && self.joined(from, *index)
                && addresses
                    .iter()
                    .any(|address| address.ip() == Some(node.ip))
        });
        let Some(to) = meant.or(listening) else {
            let at = self.now + self.network.dial_failure;
            return self.at(
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
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        let latency = self.latency(from, to);
        self.conns.insert(
            conn,
            Connection {
                ends: [from, to],
                latency,
                last: [self.now; 2],
            },
        );
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
            node.machine.is_some()
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
        self.at(self.now + took, What::Probed { at, call, port });
    }

    fn input(&mut self, index: usize, input: Input) {
        let now = self.clock();
        if let Some(machine) = self.nodes[index].machine.as_mut() {
            machine.handle(now, input);
            self.drain(index);
        }
    }

    fn drain(&mut self, index: usize) {
        while let Some(output) = self.nodes[index]
            .machine
            .as_mut()
            .and_then(Machine::poll_output)
        {
            self.output(index, output);
        }
        let Some(machine) = self.nodes[index].machine.as_ref() else {
            return;
        };
        let degree = machine.links().len();
        let wake = machine.poll_timeout().max(self.now);
        self.worst_degree = self.worst_degree.max(degree);
        if wake < self.nodes[index].wake {
            self.nodes[index].wake = wake;
            self.at(wake, What::Wake(index));
        }
    }

    fn output(&mut self, index: usize, output: Output) {
        match output {
            Output::Dial { peer, addresses } => {
                let other = self.by_key.get(&peer).copied().unwrap_or(index);
                // TCP and noise: three one-way trips before either side may speak.
                let at = self.now + self.latency(index, other) * 3;
                self.at(
                    at,
                    What::Connect {
                        from: index,
                        peer,
                        addresses,
                    },
                );
            }
            Output::Send(conn, message) => self.send(index, conn, &message),
            Output::Close(conn) => self.end(conn, index),
            Output::Ask { call, .. } => self.input(
                index,
                Input::Answered {
                    call,
                    payload: None,
                },
            ),
            Output::Reply { .. } => {}
            Output::Probe {
                call,
                peer,
                addresses,
            } => self.probe(index, call, &peer, &addresses),
            Output::Event(event) => {
                match &event {
                    Event::PersistVersion(version) => self.nodes[index].version = *version,
                    Event::Remember(list) => self.nodes[index].remembered = list.clone(),
                    _ => {}
                }
                let now = self.now;
                let events = &mut self.nodes[index].events;
                if events.len() >= 10_000 {
                    events.pop_front();
                }
                events.push_back((now, event));
            }
        }
    }

    fn send(&mut self, index: usize, conn: ConnId, message: &Message) {
        let Some(connection) = self.conns.get_mut(&conn) else {
            return;
        };
        let side = usize::from(connection.ends[0] != index);
        let to = connection.ends[1 - side];
        let at = (self.now + connection.latency).max(connection.last[side]);
        connection.last[side] = at;
        let bytes = message.encode();
        assert!(
            bytes.len() <= crate::wire::MAX_MESSAGE_LEN,
            "a machine sent an oversize message"
        );
        self.bytes += bytes.len() as u64 + 2;
        self.messages += 1;
        if let Some(captured) = &self.capture {
            captured.borrow_mut().push(Captured {
                from: index,
                to,
                bytes: bytes.clone(),
            });
        }
        self.at(at, What::Deliver { conn, to, bytes });
    }

    /// One end closes: the other learns of it behind what was sent.
    fn end(&mut self, conn: ConnId, index: usize) {
        let Some(connection) = self.conns.get(&conn) else {
            return;
        };
        let side = usize::from(connection.ends[0] != index);
        let other = connection.ends[1 - side];
        let at = (self.now + connection.latency).max(connection.last[side]);
        if self.joined(index, other) {
            self.at(at, What::Ended { conn, at: other });
        }
    }
}
