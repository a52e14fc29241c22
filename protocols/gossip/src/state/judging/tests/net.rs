//! A few machines wired by hand, their links and their clock, and a stranger without a machine.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use libp2p::identity::ed25519;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::super::super::book::Origin;
use super::super::super::conn::Debut;
use super::super::super::{Input, Output};
use super::super::*;
use crate::address::Address;
use crate::chain::Chain;
use crate::config::{Config, IpLimits};
use crate::event::Start;
use crate::record::{MAX_LISTED, RatePack, Record, Roles, SIGNATURE_LEN};

pub(super) const EPOCH: u64 = 1_700_000_000;
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const LATENCY: Duration = Duration::from_millis(20);
/// The one without a machine.
pub(super) const STRANGER: usize = usize::MAX;

pub(super) fn keys(n: usize) -> ed25519::Keypair {
    let mut secret = [11u8; 32];
    secret[..8].copy_from_slice(&(n as u64).to_be_bytes());
    ed25519::SecretKey::try_from_bytes(secret).unwrap().into()
}

pub(super) fn key(n: usize) -> NodeKey {
    NodeKey::from(&keys(n).public())
}

pub(super) fn address(n: usize) -> Address {
    let n = n & 0xff;
    let address: SocketAddr = format!("20.0.{n}.1:4000").parse().unwrap();
    address.into()
}

/// No more links than are made by hand, and no entry links.
pub(super) fn config(cap: usize) -> Config {
    Config {
        originates: false,
        cap,
        target: 1,
        ip_limits: IpLimits::NONE,
        ..Config::new(Chain::Dev)
    }
}

pub(super) fn unsigned(n: usize, version: u64, neighbours: &[usize]) -> Record {
    let mut neighbours: Vec<NodeKey> = neighbours.iter().map(|n| key(*n)).collect();
    neighbours.sort();
    Record {
        chain: Chain::Dev,
        node: key(n),
        onion: [1; 32],
        previous_onion: None,
        version,
        earning_wallet: [0; 20],
        rates: RatePack::default(),
        roles: Roles {
            routes: true,
            exits: false,
            accepts_connections: true,
        },
        policy: String::new(),
        country: None,
        neighbours,
        issued: EPOCH,
        expires: EPOCH + 1800,
    }
}

/// Records of `n` that differ by `what`.
pub(super) fn record(n: usize, version: u64, neighbours: &[usize], what: &str) -> Vec<u8> {
    let mut record = unsigned(n, version, neighbours);
    record.policy = what.into();
    record.sign(&keys(n)).unwrap().bytes().to_vec()
}

/// Two records of `n` with one version.
pub(super) fn lie(n: usize, neighbours: &[usize]) -> Vec<Vec<u8>> {
    ["a", "b"]
        .map(|what| record(n, EPOCH, neighbours, what))
        .to_vec()
}

/// A record of `n` that lists six neighbours, correctly signed.
pub(super) fn over_cap(n: usize) -> Vec<u8> {
    let mut bytes = record(n, EPOCH, &[], "");
    bytes.truncate(bytes.len() - SIGNATURE_LEN - 17);
    let count = MAX_LISTED as u8 + 1;
    bytes.push(count);
    for other in 0..count {
        bytes.extend_from_slice(&[other; 32]);
    }
    bytes.extend_from_slice(&EPOCH.to_be_bytes());
    bytes.extend_from_slice(&(EPOCH + 1800).to_be_bytes());
    let message = [b"masq-gossip/1 record\0".as_slice(), &bytes].concat();
    bytes.extend_from_slice(&keys(n).sign(&message));
    bytes
}

/// A few machines, their links and their clock.
pub(super) struct Net {
    pub(super) machines: Vec<Machine>,
    pub(super) now: Now,
    pub(super) conns: BTreeMap<u64, [usize; 2]>,
    pub(super) queue: VecDeque<(Duration, usize, Input)>,
    pub(super) events: Vec<Vec<Event>>,
    /// What the stranger was sent, by connection.
    pub(super) received: Vec<(u64, Message)>,
    pub(super) closed: Vec<u64>,
    pub(super) dialled: Vec<(usize, NodeKey)>,
}

impl Net {
    pub(super) fn new(caps: &[usize]) -> Self {
        let now = Now {
            mono: SECOND,
            unix: EPOCH,
        };
        let mut net = Self {
            machines: Vec::new(),
            now,
            conns: BTreeMap::new(),
            queue: VecDeque::new(),
            events: Vec::new(),
            received: Vec::new(),
            closed: Vec::new(),
            dialled: Vec::new(),
        };
        for (n, cap) in caps.iter().enumerate() {
            let config = Config {
                advertise: vec![address(n)],
                ..config(*cap)
            };
            net.machines.push(machine(n, config, Start::default(), now));
            net.events.push(Vec::new());
        }
        net
    }

    pub(super) fn link(&mut self, from: usize, to: usize) {
        let debut = Debut {
            origin: Origin::Probe,
            addresses: vec![address(to)],
            wants_entry: false,
            invited: None,
            swap: None,
            chosen: true,
        };
        self.machines[from].dial(key(to), debut);
        self.drain(from);
    }

    pub(super) fn connect(&mut self, from: usize, peer: NodeKey, to: usize) -> u64 {
        let conn = self.conns.len() as u64 + 1;
        self.conns.insert(conn, [from, to]);
        for (end, dialled, peer, other) in [(to, false, peer, from), (from, true, key(to), to)] {
            let input = Input::Connected {
                conn: ConnId(conn),
                peer,
                dialled,
                remote: Some(address(other)),
            };
            self.input(end, input);
        }
        conn
    }

    /// The stranger, as node `n`, dials and debuts.
    pub(super) fn debut(&mut self, n: usize, to: usize, record: Vec<u8>) -> u64 {
        let conn = self.connect(STRANGER, key(n), to);
        let debut = Message::Debut {
            chain: "dev".into(),
            record,
            wants_entry: false,
            ports: vec![4000],
            invited: None,
            card: None,
            knock: None,
        };
        self.say(conn, debut);
        conn
    }

    /// The stranger says something on a connection of its own.
    pub(super) fn say(&mut self, conn: u64, message: Message) {
        let to = self.conns[&conn][1];
        self.input(to, Input::Message(ConnId(conn), message));
    }

    pub(super) fn input(&mut self, to: usize, input: Input) {
        if to != STRANGER {
            self.machines[to].handle(self.now, input);
            self.drain(to);
        }
    }

    pub(super) fn drain(&mut self, at: usize) {
        while let Some(output) = self.machines[at].poll_output() {
            self.output(at, output);
        }
    }

    pub(super) fn output(&mut self, at: usize, output: Output) {
        match output {
            Output::Dial { peer, .. } => {
                self.dialled.push((at, peer));
                if let Some(to) = (0..self.machines.len()).find(|n| key(*n) == peer) {
                    self.connect(at, key(at), to);
                }
            }
            Output::Send(ConnId(conn), message) => {
                let Some(to) = self.other(conn, at) else {
                    return;
                };
                if to == STRANGER {
                    self.received.push((conn, message));
                } else {
                    let message = Message::decode(&message.encode()).unwrap();
                    let input = Input::Message(ConnId(conn), message);
                    self.queue.push_back((self.now.mono + LATENCY, to, input));
                }
            }
            Output::Close(ConnId(conn)) => {
                self.closed.push(conn);
                if let Some(to) = self.other(conn, at) {
                    let input = Input::Disconnected(ConnId(conn));
                    self.queue.push_back((self.now.mono + LATENCY, to, input));
                }
            }
            Output::Event(event) => self.events[at].push(event),
            Output::Ask { .. } | Output::Reply { .. } | Output::Probe { .. } => {}
        }
    }

    pub(super) fn other(&self, conn: u64, end: usize) -> Option<usize> {
        let [a, b] = *self.conns.get(&conn)?;
        Some(if a == end { b } else { a })
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while self.now.mono < end {
            self.now.mono += LATENCY;
            self.now.unix = EPOCH + self.now.mono.as_secs();
            while self
                .queue
                .front()
                .is_some_and(|(at, ..)| *at <= self.now.mono)
            {
                let (_, to, input) = self.queue.pop_front().unwrap();
                self.input(to, input);
            }
            for at in 0..self.machines.len() {
                if self.machines[at].poll_timeout() <= self.now.mono {
                    self.machines[at].on_timeout(self.now);
                    self.drain(at);
                }
            }
        }
    }

    /// Whom a node has banned.
    pub(super) fn banned(&self, at: usize) -> Vec<NodeKey> {
        self.machines[at]
            .bans()
            .iter()
            .map(|ban| ban.node)
            .collect()
    }

    pub(super) fn down(&self, at: usize, node: usize) -> Vec<DownReason> {
        let reason = |event: &Event| match event {
            Event::NeighbourDown {
                node: who, reason, ..
            } if *who == key(node) => Some(*reason),
            _ => None,
        };
        self.events[at].iter().filter_map(reason).collect()
    }

    /// How often the stranger was sent what `wanted` says, on one connection.
    pub(super) fn got(&self, conn: u64, wanted: impl Fn(&Message) -> bool) -> usize {
        let on = self.received.iter().filter(|(on, _)| *on == conn);
        on.filter(|(_, message)| wanted(message)).count()
    }
}

pub(super) fn machine(n: usize, config: Config, start: Start, now: Now) -> Machine {
    let rng = ChaCha20Rng::seed_from_u64(n as u64);
    Machine::new(config, keys(n), start, rng, now)
}

/// What a neighbour sends that passes records on.
pub(super) fn told(records: Vec<Vec<u8>>) -> Message {
    Message::Records(records.into_iter().map(Arc::from).collect())
}
