//! Lies, proofs and bans among a few machines that are wired by hand, so that it is known who is
//! linked with whom, and somebody without a machine who signs and sends whatever it likes. That
//! nobody honest is ever banned in a mesh that lives is in `tests/sim_bans.rs`.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use libp2p::identity::ed25519;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::super::book::Origin;
use super::super::conn::Debut;
use super::super::{BanReason, Input, Output};
use super::*;
use crate::address::Address;
use crate::card::{Card, SealSecret};
use crate::chain::Chain;
use crate::config::{Config, IpLimits};
use crate::event::{RefuseReason, Start};
use crate::proof::Lie;
use crate::record::{MAX_LISTED, RatePack, Record, Roles, SIGNATURE_LEN};
use crate::wire::DigestEntry;

const EPOCH: u64 = 1_700_000_000;
const SECOND: Duration = Duration::from_secs(1);
const LATENCY: Duration = Duration::from_millis(20);
/// The one without a machine.
const STRANGER: usize = usize::MAX;

fn keys(n: usize) -> ed25519::Keypair {
    let mut secret = [11u8; 32];
    secret[..8].copy_from_slice(&(n as u64).to_be_bytes());
    ed25519::SecretKey::try_from_bytes(secret).unwrap().into()
}

fn key(n: usize) -> NodeKey {
    NodeKey::from(&keys(n).public())
}

fn address(n: usize) -> Address {
    let n = n & 0xff;
    let address: SocketAddr = format!("20.0.{n}.1:4000").parse().unwrap();
    address.into()
}

/// No more links than are made by hand, and no entry links.
fn config(cap: usize) -> Config {
    Config {
        originates: false,
        cap,
        target: 1,
        ip_limits: IpLimits::NONE,
        ..Config::new(Chain::Dev)
    }
}

fn unsigned(n: usize, version: u64, neighbours: &[usize]) -> Record {
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
fn record(n: usize, version: u64, neighbours: &[usize], what: &str) -> Vec<u8> {
    let mut record = unsigned(n, version, neighbours);
    record.policy = what.into();
    record.sign(&keys(n)).unwrap().bytes().to_vec()
}

/// Two records of `n` with one version.
fn lie(n: usize, neighbours: &[usize]) -> Vec<Vec<u8>> {
    ["a", "b"]
        .map(|what| record(n, EPOCH, neighbours, what))
        .to_vec()
}

/// A record of `n` that lists six neighbours, correctly signed.
fn over_cap(n: usize) -> Vec<u8> {
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
struct Net {
    machines: Vec<Machine>,
    now: Now,
    conns: BTreeMap<u64, [usize; 2]>,
    queue: VecDeque<(Duration, usize, Input)>,
    events: Vec<Vec<Event>>,
    /// What the stranger was sent, by connection.
    received: Vec<(u64, Message)>,
    closed: Vec<u64>,
    dialled: Vec<(usize, NodeKey)>,
}

impl Net {
    fn new(caps: &[usize]) -> Self {
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

    fn link(&mut self, from: usize, to: usize) {
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

    fn connect(&mut self, from: usize, peer: NodeKey, to: usize) -> u64 {
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
    fn debut(&mut self, n: usize, to: usize, record: Vec<u8>) -> u64 {
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
    fn say(&mut self, conn: u64, message: Message) {
        let to = self.conns[&conn][1];
        self.input(to, Input::Message(ConnId(conn), message));
    }

    fn input(&mut self, to: usize, input: Input) {
        if to != STRANGER {
            self.machines[to].handle(self.now, input);
            self.drain(to);
        }
    }

    fn drain(&mut self, at: usize) {
        while let Some(output) = self.machines[at].poll_output() {
            self.output(at, output);
        }
    }

    fn output(&mut self, at: usize, output: Output) {
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

    fn other(&self, conn: u64, end: usize) -> Option<usize> {
        let [a, b] = *self.conns.get(&conn)?;
        Some(if a == end { b } else { a })
    }

    fn pass(&mut self, time: Duration) {
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
    fn banned(&self, at: usize) -> Vec<NodeKey> {
        self.machines[at]
            .bans()
            .iter()
            .map(|ban| ban.node)
            .collect()
    }

    fn down(&self, at: usize, node: usize) -> Vec<DownReason> {
        let reason = |event: &Event| match event {
            Event::NeighbourDown {
                node: who, reason, ..
            } if *who == key(node) => Some(*reason),
            _ => None,
        };
        self.events[at].iter().filter_map(reason).collect()
    }

    /// How often the stranger was sent what `wanted` says, on one connection.
    fn got(&self, conn: u64, wanted: impl Fn(&Message) -> bool) -> usize {
        let on = self.received.iter().filter(|(on, _)| *on == conn);
        on.filter(|(_, message)| wanted(message)).count()
    }
}

fn machine(n: usize, config: Config, start: Start, now: Now) -> Machine {
    let rng = ChaCha20Rng::seed_from_u64(n as u64);
    Machine::new(config, keys(n), start, rng, now)
}

fn is_proof(message: &Message) -> bool {
    matches!(message, Message::Proof(_))
}

#[test]
fn who_signs_two_versions_is_banned_by_everyone_within_the_radius() {
    // A ring of seven: the liar, 90, between both ends of the line. Each end is told another story.
    let mut net = Net::new(&[2; 6]);
    let stories = lie(90, &[0, 5]);
    for (end, story) in [(0, &stories[0]), (5, &stories[1])] {
        net.debut(90, end, story.clone());
    }
    for at in 1..6 {
        net.link(at - 1, at);
    }
    assert!((0..6).all(|at| net.banned(at).is_empty()));
    net.pass(3 * SECOND);
    for at in 0..6 {
        assert_eq!(net.banned(at), [key(90)], "node {at}");
        let ban = net.machines[at].bans().remove(0);
        assert_eq!(ban.reason, BanReason::Lied(Lie::Equivocation));
        assert!((EPOCH..EPOCH + 10).contains(&ban.since));
        assert_eq!(
            ban.until,
            Some(ban.since + super::super::BAN_LIFE.as_secs())
        );
        let proof = Proof::from_evidence(&ban.evidence).unwrap();
        assert_eq!((proof.node(), proof.version()), (key(90), EPOCH));
        // The host is told, of the ban and of the whole list.
        let told = |event: &&Event| **event == Event::Banned(ban.clone());
        assert_eq!(net.events[at].iter().filter(told).count(), 1);
        assert!(net.events[at].contains(&Event::Bans(vec![ban])));
        // Its record is not kept and not seen by routing.
        let picture = net.machines[at].neighbourhood();
        assert!(picture.record(&key(90)).is_none());
    }
    assert_eq!(net.down(0, 90), [DownReason::Banned]);
    assert_eq!(net.down(5, 90), [DownReason::Banned]);
    // It is told why when it comes again.
    let conn = net.debut(90, 0, record(90, EPOCH + 1, &[], ""));
    let refused = |message: &Message| {
        matches!(
            message,
            Message::Refuse {
                reason: RefuseReason::Banned,
                ..
            }
        )
    };
    assert_eq!(net.got(conn, refused), 1);
    // What others still say of it is not taken.
    assert!((1..6).all(|at| net.down(at, at - 1).is_empty()));
}

#[test]
fn different_stories_meet_in_a_digest() {
    // Two lines that each were told a story are joined later: nothing is pushed any more.
    let mut net = Net::new(&[2, 2]);
    let stories = lie(90, &[0, 1]);
    net.debut(90, 0, stories[0].clone());
    net.debut(90, 1, stories[1].clone());
    net.pass(SECOND);
    net.link(0, 1);
    net.pass(2 * SECOND);
    assert!((0..2).all(|at| net.banned(at) == [key(90)]));
}

/// Node 0 with three neighbours of the stranger's, 91 to 93, of whom 91 and 92 are listed at both ends.
fn among_strangers() -> (Net, [u64; 3]) {
    let mut net = Net::new(&[5]);
    let conns = [91, 92, 93].map(|n| net.debut(n, 0, record(n, EPOCH, &[0], "")));
    net.pass(SECOND);
    net.received.clear();
    (net, conns)
}

#[test]
fn a_proof_is_passed_on_once_to_all_the_others() {
    let (mut net, [from, to, liar]) = among_strangers();
    let proof = lie(93, &[0]);
    net.say(from, Message::Proof(proof.clone()));
    assert_eq!(net.banned(0), [key(93)]);
    let got = |net: &Net| [from, to, liar].map(|conn| net.got(conn, is_proof));
    assert_eq!(got(&net), [0, 1, 0]);
    assert_eq!(
        (net.down(0, 93), &net.closed[..]),
        (vec![DownReason::Banned], &[liar][..])
    );
    // Again, from either, or another one about the same node: nothing happens.
    net.say(from, Message::Proof(proof.clone()));
    net.say(to, Message::Proof(proof.clone()));
    net.say(to, Message::Proof(vec![over_cap(93)]));
    assert_eq!(got(&net), [0, 1, 0]);
    // A neighbour that comes later is told once it shows that it does not know, and once only.
    let late = net.debut(94, 0, record(94, EPOCH, &[0], ""));
    assert_eq!(net.got(late, is_proof), 0);
    net.say(
        late,
        Message::Records(vec![record(93, EPOCH + 1, &[0], "")]),
    );
    assert_eq!(net.got(late, is_proof), 1);
    let entry = DigestEntry {
        node: key(93),
        version: EPOCH,
        hash: [1; 8],
    };
    for conn in [late, from] {
        let list = Message::DigestList {
            mask: u16::MAX,
            entries: vec![entry],
        };
        net.say(conn, list);
    }
    assert_eq!((net.got(late, is_proof), got(&net)), (1, [0, 1, 0]));
    // Lifted by hand, it stays lifted.
    net.machines[0].unban(net.now, &key(93)).unwrap();
    net.say(from, Message::Proof(proof));
    assert_eq!(net.banned(0), []);
    // Not for the same lie is it refused now.
    net.debut(93, 0, record(93, EPOCH + 5, &[0], ""));
    assert!(net.machines[0].link(&key(93)).is_some());
}

#[test]
fn lies_of_nodes_that_nobody_knows_are_not_written_down() {
    let (mut net, [from, to, _]) = among_strangers();
    let mut known = record(70, EPOCH, &[91], "");
    // A record without an edge is no acquaintance.
    net.say(from, Message::Records(vec![known]));
    for n in [70, 71] {
        net.say(from, Message::Proof(lie(n, &[91])));
    }
    net.say(from, Message::Records(lie(70, &[91])));
    assert_eq!(net.banned(0), []);
    assert_eq!(net.got(to, is_proof), 0);
    assert_eq!(net.closed, []);
    // With one it is.
    known = record(91, EPOCH + 1, &[0, 72], "");
    net.say(
        from,
        Message::Records(vec![known, record(72, EPOCH, &[91], "a")]),
    );
    net.pass(SECOND);
    net.say(from, Message::Records(lie(72, &[91])));
    assert_eq!(net.banned(0), [key(72)]);
}

#[test]
fn forged_proofs_ban_nobody_and_end_the_link_of_who_sends_them() {
    let good = lie(92, &[0]);
    let bad_signature = |at: usize| {
        let mut records = good.clone();
        let last = records[at].len() - 1;
        records[at][last] ^= 1;
        records
    };
    let elsewhere = ["a", "b"].map(|what| {
        let mut record = unsigned(92, EPOCH, &[0]);
        record.chain = Chain::BaseMainnet;
        record.policy = what.into();
        record.sign(&keys(92)).unwrap().bytes().to_vec()
    });
    let mut unsigned_over_cap = over_cap(92);
    let last = unsigned_over_cap.len() - 1;
    unsigned_over_cap[last] ^= 1;
    let forgeries = [
        bad_signature(0),
        bad_signature(1),
        vec![good[0].clone(), good[0].clone()],
        vec![good[0].clone(), record(92, EPOCH + 1, &[0], "b")],
        vec![good[0].clone(), record(91, EPOCH, &[0], "b")],
        vec![good[0].clone()],
        elsewhere.to_vec(),
        vec![unsigned_over_cap],
        vec![vec![1, 2, 3]],
    ];
    for (at, forged) in forgeries.into_iter().enumerate() {
        let (mut net, [from, to, _]) = among_strangers();
        net.say(from, Message::Proof(forged));
        assert_eq!(net.banned(0), [], "forgery {at}");
        assert_eq!(net.down(0, 91), [DownReason::Misbehaved], "forgery {at}");
        assert_eq!(net.got(to, is_proof), 0);
    }
    // One that has grown old is nobody's fault, and counts no more.
    let (mut net, [from, ..]) = among_strangers();
    net.now.unix = EPOCH + 1800;
    net.say(from, Message::Proof(good));
    assert_eq!((net.banned(0), net.down(0, 91)), (vec![], vec![]));
}

#[test]
fn too_long_a_list_is_a_lie_if_it_is_signed() {
    // By the neighbour itself.
    let (mut net, [from, to, _]) = among_strangers();
    net.say(
        from,
        Message::Records(vec![over_cap(91), record(95, EPOCH, &[], "")]),
    );
    assert_eq!(net.banned(0), [key(91)]);
    assert_eq!(net.down(0, 91), [DownReason::Banned]);
    assert_eq!(net.got(to, is_proof), 1);
    // Passed on by another: it should have looked.
    let (mut net, [from, to, _]) = among_strangers();
    net.say(from, Message::Records(vec![over_cap(92)]));
    assert_eq!(net.banned(0), [key(92)]);
    assert_eq!(net.down(0, 91), [DownReason::Misbehaved]);
    assert_eq!(net.down(0, 92), [DownReason::Banned]);
    assert_eq!(net.got(to, is_proof), 0);
    // Not signed, it is held against who sent it and not against whom it names.
    let (mut net, [from, ..]) = among_strangers();
    let mut forged = over_cap(92);
    forged[60] ^= 1;
    net.say(from, Message::Records(vec![forged]));
    assert_eq!(net.banned(0), []);
    assert_eq!(net.down(0, 91), [DownReason::Misbehaved]);
    // Shown by a stranger: nothing to write down, but no way in.
    let (mut net, _) = among_strangers();
    let conn = net.debut(96, 0, over_cap(96));
    let bad = |message: &Message| {
        matches!(
            message,
            Message::Refuse {
                reason: RefuseReason::BadRecord,
                ..
            }
        )
    };
    assert_eq!((net.got(conn, bad), net.banned(0)), (1, vec![]));
}

#[test]
fn who_shows_another_record_when_it_comes_back_is_refused() {
    let (mut net, [from, ..]) = among_strangers();
    net.input(0, Input::Disconnected(ConnId(from)));
    net.pass(6 * SECOND);
    let up = |net: &Net| {
        let ups = net.events[0].iter();
        ups.filter(|e| matches!(e, Event::NeighbourUp { node, .. } if *node == key(91)))
            .count()
    };
    assert_eq!(up(&net), 1);
    net.debut(91, 0, record(91, EPOCH, &[0], "another"));
    assert_eq!((net.banned(0), up(&net)), (vec![key(91)], 1));
}

#[test]
fn one_neighbour_brings_few_proofs() {
    let (mut net, [from, ..]) = among_strangers();
    let mut invented = Vec::new();
    for round in 0..10usize {
        // It lists four invented nodes, then others.
        let names: Vec<usize> = (0..4).map(|n| 1000 + round * 4 + n).collect();
        let listed = [&[0], &names[..]].concat();
        let version = EPOCH + 1 + round as u64;
        let mut records = vec![record(91, version, &listed, "")];
        records.extend(names.iter().map(|n| record(*n, EPOCH, &[91], "a")));
        net.say(from, Message::Records(records));
        net.pass(SECOND / 5);
        for n in &names {
            net.say(from, Message::Records(vec![record(*n, EPOCH, &[91], "b")]));
        }
        invented.extend(names);
    }
    assert_eq!(net.banned(0).len(), 16);
    assert!(net.machines[0].link(&key(91)).is_some());
}

#[test]
fn banned_by_hand_is_cut_off_and_may_come_back() {
    let (mut net, [gone, stays, _]) = among_strangers();
    let now = net.now;
    let ban = net.machines[0]
        .ban(now, key(91), "it is slow", Some(60 * SECOND))
        .unwrap();
    net.drain(0);
    assert_eq!(ban.reason.to_string(), "it is slow");
    assert_eq!(net.down(0, 91), [DownReason::Banned]);
    // Nobody else is told.
    assert_eq!(net.got(stays, is_proof), 0);
    assert!(net.closed.contains(&gone));
    // Neither its records nor its cards are taken or passed on, and it is not asked for.
    net.pass(SECOND);
    net.received.clear();
    net.say(
        stays,
        Message::Records(vec![record(91, EPOCH + 9, &[0, 92], "")]),
    );
    assert!(net.machines[0].spread.store.get(&key(91)).is_none());
    let entry = DigestEntry {
        node: key(91),
        version: EPOCH + 9,
        hash: [1; 8],
    };
    let list = Message::DigestList {
        mask: u16::MAX,
        entries: vec![entry],
    };
    net.say(stays, list);
    assert_eq!(net.got(stays, |m| matches!(m, Message::Want(_))), 0);
    let secret = SealSecret::new(&mut ChaCha20Rng::seed_from_u64(1));
    let card = Card {
        chain: Chain::Dev,
        node: key(91),
        seal_key: secret.public(),
        dialable: true,
        entry_only: false,
        links: 0,
        expires: net.now.unix + 60,
    };
    for (n, left) in [(1, 0), (2, 5)] {
        let id = [n; 16];
        let walk = Message::Walk {
            id,
            card: card.sign(&id, &keys(91)),
            left,
            min: 0,
            splice: true,
        };
        net.say(stays, walk);
        assert_eq!(net.got(stays, |m| *m == Message::WalkEnd { id }), 1);
    }
    let passed = |m: &Message| matches!(m, Message::Walk { .. } | Message::Taken { .. });
    assert!(net.received.iter().all(|(_, m)| !passed(m)));
    // It is not dialled, whoever says so.
    net.dialled.clear();
    let debut = Debut {
        origin: Origin::Probe,
        addresses: vec![address(91)],
        wants_entry: false,
        invited: None,
        swap: None,
        chosen: true,
    };
    net.machines[0].dial(key(91), debut);
    net.drain(0);
    assert!(net.dialled.is_empty() && !net.machines[0].engaged(&key(91)));
    // When its time is over it may come again.
    net.debut(91, 0, record(91, EPOCH + 9, &[0], ""));
    assert!(net.machines[0].link(&key(91)).is_none());
    net.machines[0].on_timeout(Now {
        unix: ban.until.unwrap(),
        ..net.now
    });
    net.drain(0);
    assert!(net.events[0].contains(&Event::Unbanned(key(91))));
    assert_eq!(
        net.events[0].iter().rfind(|e| matches!(e, Event::Bans(_))),
        Some(&Event::Bans(vec![]))
    );
    net.debut(91, 0, record(91, EPOCH + 9, &[0], ""));
    assert!(net.machines[0].link(&key(91)).is_some());
}

#[test]
fn mistakes_with_bans_are_named() {
    let mut net = Net::new(&[5]);
    let now = net.now;
    let machine = &mut net.machines[0];
    assert_eq!(machine.ban(now, key(0), "", None), Err(BanError::Oneself));
    assert_eq!(machine.unban(now, &key(1)), Err(BanError::NotBanned));
    let ban = machine.ban(now, key(1), "", None).unwrap();
    assert_eq!(
        machine.ban(now, key(1), "x", None),
        Err(BanError::Already(Box::new(ban.clone())))
    );
    assert_eq!(machine.bans(), [ban]);
}

#[test]
fn bans_from_before_a_restart_hold_for_seeds_too() {
    let now = Now {
        mono: SECOND,
        unix: EPOCH,
    };
    let seed = crate::descriptor::Descriptor {
        chain: Chain::Dev,
        node: key(7),
        host: address(7).host,
        ports: vec![4000],
        mask: None,
        knock: None,
    };
    let ban = Ban {
        node: key(7),
        reason: BanReason::ByHand(String::new()),
        since: EPOCH - 5,
        until: None,
        evidence: Vec::new(),
    };
    let dials = |bans: Vec<Ban>| {
        let start = Start {
            seeds: vec![seed.clone()],
            bans,
            ..Start::default()
        };
        let mut machine = machine(0, config(5), start, now);
        for second in 1..20 {
            machine.on_timeout(Now {
                mono: second * SECOND,
                unix: EPOCH,
            });
        }
        let outputs = std::iter::from_fn(|| machine.poll_output());
        outputs
            .filter(|output| matches!(output, Output::Dial { .. }))
            .count()
    };
    assert!(dials(Vec::new()) > 0);
    assert_eq!(dials(vec![ban]), 0);
}

/// The record of its own that a machine would show now.
fn own(machine: &Machine) -> SignedRecord {
    SignedRecord::parse(&machine.spread.own_bytes()).unwrap()
}

/// Every record of its own that a machine gives out, by version; fails on a second one with a
/// version. Returns what was to be stored last.
fn note_own(machine: &mut Machine, all: &mut BTreeMap<u64, [u8; 32]>, stored: u64) -> u64 {
    let own = own(machine);
    let before = all.insert(own.version, *own.hash());
    assert!(
        before.is_none_or(|hash| hash == *own.hash()),
        "version {}",
        own.version
    );
    let outputs = std::iter::from_fn(|| machine.poll_output());
    let last = outputs.filter_map(|output| match output {
        Output::Event(Event::PersistVersion(version)) => Some(version),
        _ => None,
    });
    let stored = last.fold(stored, u64::max);
    assert!(own.version <= stored, "used before it was stored");
    stored
}

#[test]
fn a_restarted_node_never_uses_a_version_twice() {
    // It crashes every second, after up to 150 changes, and the clock may stand still or go back.
    let (mut all, mut stored) = (BTreeMap::new(), 0);
    for life in 0..40u64 {
        let unix = EPOCH + life % 7;
        let start = Start {
            last_version: stored,
            ..Start::default()
        };
        let now = Now { mono: SECOND, unix };
        let mut machine = machine(0, config(5), start, now);
        stored = note_own(&mut machine, &mut all, stored);
        for change in 0..(life * 37) % 150 {
            let mut onion = [0; 32];
            onion[..8].copy_from_slice(&life.to_be_bytes());
            onion[8..16].copy_from_slice(&change.to_be_bytes());
            machine.set_onion_keys(now, onion, None);
            stored = note_own(&mut machine, &mut all, stored);
        }
    }
    assert!(all.len() > 1000);
}

#[test]
fn a_node_that_lost_its_memory_goes_on_far_above_what_it_is_shown() {
    // Before the loss it had run ahead of its clock; one neighbour missed its last records.
    let mut net = Net::new(&[5]);
    let mine = |version, what: &str| record(0, version, &[], what);
    let shown = EPOCH + 500;
    let used = shown..shown + 2000;
    let first = net.debut(91, 0, record(91, EPOCH, &[0], ""));
    net.say(first, Message::Records(vec![mine(used.start, "before")]));
    let now = own(&net.machines[0]).version;
    assert!(now > used.end + 1000, "{now}");
    // Whatever others hold from before is older now, and nobody is accused.
    let second = net.debut(92, 0, record(92, EPOCH, &[0], ""));
    let others = [used.start + 1, used.end].map(|version| mine(version, "before"));
    net.say(second, Message::Records(others.to_vec()));
    net.pass(SECOND);
    assert!(own(&net.machines[0]).version < now + 100);
    assert!(!net.events[0].contains(&Event::Accused));
    assert_eq!(net.closed, []);
}

#[test]
fn who_shows_an_older_record_of_itself_is_shown_the_newer_one() {
    let mut net = Net::new(&[5, 5]);
    let newest = record(0, EPOCH + 300, &[], "before");
    let from = net.debut(91, 1, record(91, EPOCH, &[1], ""));
    net.say(from, Message::Records(vec![newest.clone()]));
    net.link(0, 1);
    net.pass(SECOND);
    let own = own(&net.machines[0]).version;
    assert!(own > EPOCH + 300, "{own}");
    let held = net.machines[1].spread.store.get(&key(0)).unwrap().version;
    assert!(held > EPOCH + 300 && held >= own - 2, "{held}");
    assert!((0..2).all(|at| net.banned(at).is_empty()));
}

#[test]
fn a_node_whose_key_another_uses_says_so_once_and_bans_nobody() {
    let (mut net, [from, to, _]) = among_strangers();
    net.say(from, Message::Proof(lie(0, &[91])));
    net.say(to, Message::Proof(lie(0, &[92])));
    let accused = net.events[0]
        .iter()
        .filter(|event| **event == Event::Accused);
    assert_eq!(accused.count(), 1);
    assert_eq!((net.banned(0), net.closed.len()), (vec![], 0));
    // The same by a record.
    let (mut net, [from, ..]) = among_strangers();
    let version = own(&net.machines[0]).version;
    net.say(
        from,
        Message::Records(vec![record(0, version, &[], "another")]),
    );
    assert!(net.events[0].contains(&Event::Accused));
}
