//! One machine among hostile neighbours: what a stranger can make it tell, dial, keep. Meshes of
//! many machines are in `tests/sim_mesh.rs`.

mod guard;
mod reach;

use std::net::SocketAddr;

use rand_core::SeedableRng as _;

use super::*;
use crate::card::{Card, SealSecret, seal};
use crate::chain::Chain;
use crate::config::IpLimits;
use crate::event::Remembered;
use crate::record::{RatePack, Record, Roles};

const EPOCH: u64 = 1_700_000_000;
const SECOND: Duration = Duration::from_secs(1);

pub(super) fn keys(n: u16) -> ed25519::Keypair {
    let mut secret = [9u8; 32];
    secret[..2].copy_from_slice(&n.to_be_bytes());
    ed25519::SecretKey::try_from_bytes(secret).unwrap().into()
}

pub(super) fn address(text: &str) -> Address {
    text.parse::<SocketAddr>().unwrap().into()
}

pub(super) fn config() -> Config {
    Config {
        advertise: vec![address("20.0.0.1:4000")],
        ip_limits: IpLimits::NONE,
        ..Config::new(Chain::Dev)
    }
}

/// A machine, its clock, and what it gave out since last asked.
pub(super) struct Bench {
    pub(super) machine: Machine,
    pub(super) now: Now,
    rng: ChaCha20Rng,
}

impl Bench {
    pub(super) fn new(config: Config) -> Self {
        Self::remembering(config, Vec::new())
    }

    pub(super) fn remembering(config: Config, remembered: Vec<Remembered>) -> Self {
        let now = Now {
            mono: SECOND,
            unix: EPOCH,
        };
        let start = Start {
            seeds: Vec::new(),
            remembered,
            last_version: 0,
            bans: Vec::new(),
            onion_keys: ([1; 32], None),
        };
        let machine = Machine::new(config, keys(0), start, ChaCha20Rng::from_seed([5; 32]), now);
        Self {
            machine,
            now,
            rng: ChaCha20Rng::from_seed([6; 32]),
        }
    }

    pub(super) fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.machine.poll_output()).collect()
    }

    pub(super) fn message(&mut self, conn: u64, message: Message) -> Vec<Output> {
        let input = Input::Message(ConnId(conn), message);
        self.machine.handle(self.now, input);
        self.outputs()
    }

    /// Time passes; all neighbours stay audible.
    pub(super) fn pass(&mut self, time: Duration) -> Vec<Output> {
        let end = self.now.mono + time;
        let mut outputs = Vec::new();
        while self.now.mono < end {
            let step = (end - self.now.mono).min(4 * SECOND);
            self.now.mono += step;
            self.now.unix = EPOCH + self.now.mono.as_secs();
            let peers: Vec<NodeKey> = self.machine.links.keys().copied().collect();
            for peer in peers {
                self.machine.handle(
                    self.now,
                    Input::Activity {
                        node: peer,
                        in_use: false,
                    },
                );
            }
            self.machine.on_timeout(self.now);
            outputs.extend(self.outputs());
        }
        outputs
    }

    fn record(&self, n: u16) -> Vec<u8> {
        let record = Record {
            chain: Chain::Dev,
            node: NodeKey::from(&keys(n).public()),
            onion: [1; 32],
            previous_onion: None,
            version: self.now.unix,
            earning_wallet: [0; 20],
            rates: RatePack::default(),
            roles: Roles {
                routes: true,
                exits: false,
                accepts_connections: true,
            },
            policy: String::new(),
            country: None,
            // A listed link is in both records.
            neighbours: vec![self.machine.me],
            issued: self.now.unix,
            expires: self.now.unix + 1800,
        };
        record.sign(&keys(n)).unwrap().bytes().to_vec()
    }

    /// Neighbour `n` renews its record.
    fn renew(&mut self, n: u16) {
        let record = self.record(n);
        self.message(n.into(), Message::Records(vec![record.into()]));
    }

    /// Node `n`, for whom we looked, dials, debuts, and is a neighbour on connection `n`.
    fn chosen_neighbour(&mut self, n: u16) {
        let peer = NodeKey::from(&keys(n).public());
        self.machine.intro.expect(peer, self.now.mono + SECOND);
        self.neighbour(n);
    }

    /// Node `n` dials, debuts, and is a neighbour on connection `n`. From the fourth on it was looked for.
    pub(super) fn neighbour(&mut self, n: u16) {
        let conn = ConnId(n.into());
        let peer = NodeKey::from(&keys(n).public());
        if self.machine.links.len() >= 3 {
            self.machine.intro.expect(peer, self.now.mono + SECOND);
        }
        let input = Input::Connected {
            conn,
            peer,
            dialled: false,
            remote: Some(address(&format!("20.9.{n}.1:50000"))),
        };
        self.machine.handle(self.now, input);
        let record = self.record(n);
        self.message(
            n.into(),
            Message::Debut {
                chain: "dev".into(),
                record,
                wants_entry: false,
                ports: vec![4000],
                invited: None,
                card: None,
                knock: None,
            },
        );
        assert!(self.machine.links.contains_key(&peer));
    }

    fn card(&mut self, n: u16, id: &WalkId, dialable: bool) -> Vec<u8> {
        let secret = SealSecret::new(&mut self.rng);
        let card = Card {
            chain: Chain::Dev,
            node: NodeKey::from(&keys(n).public()),
            seal_key: secret.public(),
            dialable,
            entry_only: false,
            links: 0,
            expires: self.now.unix + 60,
        };
        card.sign(id, &keys(n))
    }

    /// An invented newcomer's card comes over a connection, ready to be taken.
    fn walk(&mut self, conn: u64, n: u16, dialable: bool) -> Vec<Output> {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        let card = self.card(n, &id, dialable);
        let walk = Message::Walk {
            id,
            card,
            left: 0,
            min: 0,
            splice: false,
        };
        self.message(conn, walk)
    }

    fn remembered(&mut self) -> Vec<Remembered> {
        let last = |output| match output {
            Output::Event(Event::Remember(list)) => Some(list),
            _ => None,
        };
        let outputs = self.pass(16 * SECOND);
        outputs
            .into_iter()
            .filter_map(last)
            .next_back()
            .unwrap_or_default()
    }
}

fn count(outputs: &[Output], wanted: impl Fn(&Message) -> bool) -> usize {
    let sent = outputs.iter().filter_map(|output| match output {
        Output::Send(_, message) => Some(message),
        _ => None,
    });
    sent.filter(|message| wanted(message)).count()
}

fn reveals(outputs: &[Output]) -> usize {
    count(outputs, |message| {
        matches!(
            message,
            Message::Taken {
                sealed: Some(_),
                ..
            }
        )
    })
}

#[test]
fn one_walk_gives_the_address_to_one_taker_and_one_of_a_splice() {
    for may_splice in [false, true] {
        let mut bench = Bench::new(config());
        bench.neighbour(1);
        let (id, _) = bench.machine.own_walk_card(may_splice);
        let mut sealed = 0;
        for n in 100..120 {
            for second in [n % 2 == 0, n % 2 == 1] {
                let card = bench.card(n, &id, true);
                let taken = Message::Taken {
                    id,
                    card,
                    sealed: None,
                    second,
                };
                let outputs = bench.message(1, taken);
                sealed += count(&outputs, |m| matches!(m, Message::Sealed { .. }));
            }
            bench.pass(SECOND / 2);
        }
        assert_eq!(sealed, 1 + usize::from(may_splice));
        assert!(!bench.machine.intro.own.contains_key(&id), "not used up");
    }
}

#[test]
fn a_harvester_of_addresses_learns_few() {
    let mut bench = Bench::new(config());
    bench.neighbour(1);
    // For an hour, as fast as the offers run out; each time an invented newcomer.
    let (mut told, mut at_once) = (0, 0);
    for n in 0..600 {
        told += reveals(&bench.walk(1, 1000 + n, false));
        if n == 9 {
            at_once = told;
        }
        if n % 100 == 99 {
            bench.renew(1);
        }
        bench.pass(6 * SECOND);
    }
    assert_eq!(at_once, 4);
    assert!((9..=10).contains(&told), "{told}");
    // Over four connections, which would give forty together, the node's own bound holds.
    let mut bench = Bench::new(config());
    for n in 1..=4 {
        bench.neighbour(n);
    }
    let mut told = 0;
    for n in 0..600 {
        told += reveals(&bench.walk(1 + u64::from(n % 4), 1000 + n, false));
        if n % 100 == 99 {
            (1..=4).for_each(|n| bench.renew(n));
        }
        bench.pass(6 * SECOND);
    }
    assert!((12..=20).contains(&told), "{told}");
}

#[test]
fn one_neighbour_does_not_keep_all_slots() {
    let mut bench = Bench::new(config());
    bench.chosen_neighbour(1);
    let taken = |outputs: &[Output]| count(outputs, |m| matches!(m, Message::Taken { .. }));
    let offers: usize = (0..6).map(|n| taken(&bench.walk(1, 100 + n, true))).sum();
    assert_eq!(offers, 2);
    bench.neighbour(2);
    assert_eq!(taken(&bench.walk(2, 200, true)), 1);
}

#[test]
fn who_does_not_reveal_takes_only_whom_it_can_dial() {
    let mut bench = Bench::new(Config {
        reveal_to_newcomers: false,
        ..config()
    });
    bench.neighbour(1);
    assert_eq!(reveals(&bench.walk(1, 100, false)), 0);
    let taken = bench.walk(1, 101, true);
    assert_eq!(count(&taken, |m| matches!(m, Message::Taken { .. })), 1);
}

#[test]
fn a_stranger_cannot_have_this_network_dialled() {
    let dialled = |advertise: &str, told: &[&str]| {
        let mut bench = Bench::new(Config {
            advertise: vec![address(advertise)],
            ..config()
        });
        bench.neighbour(1);
        let taken = bench.walk(1, 100, true);
        let taken = taken.into_iter().find_map(|output| match output {
            Output::Send(_, Message::Taken { id, card, .. }) => Some((id, card)),
            _ => None,
        });
        let (id, card) = taken.unwrap();
        let card = Card::parse(&card, &id, Chain::Dev, EPOCH).unwrap();
        let told: Vec<Address> = told.iter().map(|told| address(told)).collect();
        let sealed = seal(&told, &card, &id, &mut bench.rng).unwrap();
        let to = card.node;
        let outputs = bench.message(1, Message::Sealed { id, to, sealed });
        let dial = outputs.into_iter().find_map(|output| match output {
            Output::Dial { addresses, .. } => Some(addresses),
            _ => None,
        });
        dial.unwrap_or_default()
    };
    let global = "20.0.0.1:4000";
    for bad in [
        "127.0.0.1:4000",
        "10.0.0.1:4000",
        "169.254.169.254:4000",
        "0.0.0.0:4000",
        "255.255.255.255:4000",
        "[::ffff:127.0.0.1]:4000",
        "[64:ff9b::a00:1]:4000",
        "20.0.5.1:22",
    ] {
        assert_eq!(dialled(global, &[bad]), [], "{bad}");
        // The good one beside it is dialled.
        let good = [address("20.0.5.1:443")];
        assert_eq!(dialled(global, &[bad, "20.0.5.1:443"]), good, "{bad}");
    }
    // A test network or a home network is its own world.
    let local = dialled("127.0.0.1:4000", &["127.0.0.2:4000", "10.0.0.1:4000"]);
    assert_eq!(local, [address("127.0.0.2:4000")]);
}

/// A node that knows enough others to come back by.
fn acquainted() -> Bench {
    let mut bench = Bench::new(config());
    for n in 200..204 {
        let node = NodeKey::from(&keys(n).public());
        let addresses = vec![address("20.0.9.9:4000")];
        bench
            .machine
            .book
            .remember(node, addresses, EPOCH, |_| false);
    }
    bench
}

#[test]
fn neighbours_that_came_by_themselves_are_remembered_when_they_stay() {
    let mut bench = acquainted();
    bench.neighbour(1);
    let first = |bench: &Bench| {
        let node = NodeKey::from(&keys(1).public());
        bench.machine.book.remembers(&node)
    };
    assert!(!first(&bench));
    bench.pass(500 * SECOND);
    assert!(!first(&bench));
    bench.pass(100 * SECOND);
    assert!(first(&bench));
    // Whoever comes and goes is not.
    bench.neighbour(2);
    bench
        .machine
        .handle(bench.now, Input::Disconnected(ConnId(2)));
    let node = NodeKey::from(&keys(2).public());
    assert!(!bench.machine.book.remembers(&node));
    // While it is there, the note stays fresh.
    let before = bench.now.unix;
    bench.pass(700 * SECOND);
    let node = NodeKey::from(&keys(1).public());
    let mut past = bench.machine.book.past(bench.now.mono);
    let past = past.find(|past| past.node == node);
    assert!(past.is_some_and(|past| past.last_seen >= before));
}

#[test]
fn s6_who_knows_hardly_anybody_remembers_everybody() {
    let mut bench = Bench::new(config());
    bench.neighbour(1);
    let node = NodeKey::from(&keys(1).public());
    assert!(bench.machine.book.remembers(&node));
}

#[test]
fn s6_who_was_looked_for_is_remembered_at_once() {
    let mut bench = acquainted();
    bench.neighbour(1);
    let node = NodeKey::from(&keys(2).public());
    bench.machine.intro.expect(node, bench.now.mono + SECOND);
    bench.neighbour(2);
    let other = NodeKey::from(&keys(1).public());
    let list: Vec<NodeKey> = bench.remembered().iter().map(|past| past.node).collect();
    assert!(list.contains(&node) && !list.contains(&other));
}

#[test]
fn who_advertises_nothing_goes_by_its_seeds() {
    let mut bench = Bench::new(Config {
        advertise: Vec::new(),
        ..config()
    });
    let (home, global) = (address("192.168.1.2:4000"), address("20.0.0.2:4000"));
    assert!(!bench.machine.may_be_told(&home) && bench.machine.may_be_told(&global));
    let seed = Descriptor {
        chain: Chain::Dev,
        node: NodeKey::from(&keys(1).public()),
        host: home.host.clone(),
        ports: vec![4000],
        mask: None,
        knock: None,
    };
    bench.machine.add_seed(bench.now, seed).unwrap();
    assert!(bench.machine.may_be_told(&home));
    assert!(!bench.machine.may_be_told(&address("127.0.0.1:4000")));
}

#[test]
fn a_node_that_does_not_route_looks_for_links_that_lead_to_an_exit() {
    let mut consumer = config();
    consumer.roles.routes = false;
    consumer.advertise = Vec::new();
    let past = |n: u16| Remembered {
        node: NodeKey::from(&keys(n).public()),
        addresses: vec![address(&format!("20.9.{n}.1:4000"))],
        last_seen: EPOCH,
    };
    let mut bench = Bench::remembering(consumer, (1..=3).map(past).collect());
    // It dials who it remembers; two accept.
    let accept = |bench: &mut Bench, n: u16| {
        let remote = Some(address(&format!("20.9.{n}.1:4000")));
        let peer = NodeKey::from(&keys(n).public());
        let connected = Input::Connected {
            conn: ConnId(n.into()),
            peer,
            dialled: true,
            remote,
        };
        bench.machine.handle(bench.now, connected);
        let record = bench.record(n);
        let entry = true;
        bench.message(n.into(), Message::Accept { record, entry });
        bench.machine.links.contains_key(&peer)
    };
    let dialled: Vec<NodeKey> = bench
        .outputs()
        .iter()
        .filter_map(|output| match output {
            Output::Dial { peer, .. } => Some(*peer),
            _ => None,
        })
        .collect();
    let number = |key: &NodeKey| (1..=3).find(|n| NodeKey::from(&keys(*n).public()) == *key);
    assert_eq!(dialled.len(), 2);
    for key in &dialled {
        assert!(accept(&mut bench, number(key).unwrap()));
    }
    assert_eq!(bench.machine.stage(), Stage::ConnectedToNeighbour);
    // Neither leads to an exit: it looks for a third.
    let walks = |outputs: &[Output]| count(outputs, |m| matches!(m, Message::Walk { .. }));
    assert!(walks(&bench.pass(40 * SECOND)) > 0);
    assert_eq!(bench.machine.links.len(), 2);
}
