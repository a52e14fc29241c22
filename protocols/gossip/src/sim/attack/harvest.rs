//! Harvesting: somebody with some addresses debuts again and again, each time as
//! another node, to learn where others are. A stronger one also stays as a
//! neighbour, takes whatever walk passes and sends walks of its own, which nobody
//! can tell from walks that it forwards.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::seq::SliceRandom as _;

use super::speaker::{Opening, Speaker, read_card};
use super::{Between, Report, Unit, own_ip, share};
use crate::address::Address;
use crate::card::{SealSecret, WalkId};
use crate::chain::Chain;
use crate::config::Config;
use crate::event::RefuseReason;
use crate::key::NodeKey;
use crate::knock::Knock;
use crate::sim::{Actor, NodeSpec, Sim};
use crate::state::{ConnId, Input, Now, Output};
use crate::wire::{Farewell, MAX_WALK_STEPS, Message};

/// How often each address debuts as a new node. Just below the rate that doors allow per address.
const EVERY: Duration = Duration::from_secs(4);
/// How long a node that is nobody's neighbour is kept: until an introduction must have come.
const LIFE: Duration = Duration::from_secs(12);
/// Learned addresses at which each new node debuts, besides those whose descriptor is known.
const DOORS: usize = 8;
/// Walks that one node sends over one link, per second: what a neighbour may send.
const WALKS_PER_SECOND: f64 = 5.0;
/// How often nodes look what is to be done.
const TICK: Duration = Duration::from_secs(1);
/// Between points of the series.
const STEP: Duration = Duration::from_secs(30);

/// What a harvester does beyond debuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    /// Debuts, takes the introductions, and leaves neighbours at once.
    Debuts,
    /// Stays for a minute where it is accepted, and takes every walk that passes.
    Stays,
    /// Besides sends walks of its own over each link it has.
    Walks,
}

/// A harvester.
#[derive(Debug, Clone)]
pub struct Harvest {
    /// Public addresses it has, each in a /24 of its own. The issue's: 10.
    pub addresses: usize,
    /// Nodes whose whole descriptors it was given.
    pub descriptors: Vec<usize>,
    /// What it does.
    pub strength: Strength,
    /// For how long.
    pub lasting: Duration,
}

/// What all nodes of the harvester know.
#[derive(Default)]
struct Ledger {
    /// Whose address is known, with the knock of those whose descriptor was given.
    doors: BTreeMap<NodeKey, (IpAddr, Option<Knock>)>,
    accepted: u64,
    introduced: u64,
}

impl Ledger {
    fn learn(&mut self, node: NodeKey, ip: IpAddr) {
        self.doors.entry(node).or_insert((ip, None));
    }
}

impl Harvest {
    /// Lets it loose. The series is the share of honest nodes whose address it has learned; those
    /// given to it do not count as learned.
    ///
    /// # Panics
    /// If a descriptor is of no node.
    pub fn run(&self, sim: &mut Sim, between: Between<'_>) -> Report {
        let mut ledger = Ledger::default();
        let mut chain = Chain::Dev;
        for door in &self.descriptors {
            let descriptor = sim.descriptor(*door);
            chain = descriptor.chain;
            let ip = sim.ip(*door);
            ledger.doors.insert(descriptor.node, (ip, descriptor.knock));
        }
        let ledger = Arc::new(Mutex::new(ledger));
        let mut report = Report::default();
        let mut nodes: std::collections::VecDeque<(Duration, usize)> = Default::default();
        let life = LIFE + self.stays();
        let begin = sim.now();
        let mut invented = 0;
        let mut next_point = STEP;
        while sim.now() < begin + self.lasting {
            while let Some((until, node)) = nodes.front().copied()
                && until <= sim.now()
            {
                nodes.pop_front();
                sim.kill(node, true);
            }
            for address in 0..self.addresses {
                let delay = EVERY.mul_f64(address as f64 / self.addresses as f64);
                let node = self.invent(sim, chain, address, invented, &ledger, delay);
                nodes.push_back((sim.now() + delay + life, node));
                invented += 1;
            }
            let step = EVERY.min(begin + self.lasting - sim.now());
            sim.run(step);
            between(sim, step);
            let since = sim.now() - begin;
            if since >= next_point || since >= self.lasting {
                next_point += STEP;
                report.series.push((since, self.learned(sim).0));
            }
        }
        for (_, node) in nodes {
            sim.kill(node, true);
        }
        let (part, learned) = self.learned(sim);
        let ledger = ledger.lock().expect("no holder panics");
        report.add(
            "addresses_learned",
            Unit::Count,
            "addresses that the harvester learned",
            learned as f64,
        );
        report.add(
            "addresses_share",
            Unit::Share,
            "… as a share of all addresses",
            part,
        );
        report.add(
            "invented",
            Unit::Count,
            "nodes that it invented",
            invented as f64,
        );
        report.add(
            "accepted",
            Unit::Count,
            "times it became a neighbour",
            ledger.accepted as f64,
        );
        report.add(
            "introduced",
            Unit::Count,
            "times somebody offered itself",
            ledger.introduced as f64,
        );
        report
    }

    fn stays(&self) -> Duration {
        match self.strength {
            Strength::Debuts => Duration::ZERO,
            Strength::Stays | Strength::Walks => Duration::from_secs(60),
        }
    }

    /// One more node, at one of the addresses; every other one can be dialled.
    fn invent(
        &self,
        sim: &mut Sim,
        chain: Chain,
        address: usize,
        invented: usize,
        ledger: &Arc<Mutex<Ledger>>,
        delay: Duration,
    ) -> usize {
        // Addresses and turns change places, so that each address does both.
        let dialable = (invented / self.addresses + address).is_multiple_of(2);
        let spec = NodeSpec {
            config: Config::new(chain),
            dialable,
            seeds: vec![],
            ip: Some(own_ip(address)),
        };
        let ledger = Arc::clone(ledger);
        let (strength, stays) = (self.strength, self.stays());
        sim.add_actor(spec, delay, |_, keys, ip| {
            Box::new(Invented {
                speaker: Speaker::new(chain, keys, ip),
                ledger,
                strength,
                stays,
                dialable,
                begun: false,
                walks: BTreeMap::new(),
                takes: BTreeMap::new(),
                dialled: BTreeMap::new(),
                links: BTreeMap::new(),
                wake: Duration::ZERO,
            })
        })
    }

    /// The share of addresses learned, and how many.
    fn learned(&self, sim: &Sim) -> (f64, usize) {
        let all = (0..sim.len()).filter(|i| !sim.is_attacker(*i));
        let known = |i: &&usize| {
            let mut by = sim.count(**i).known_to.iter();
            by.any(|who| sim.is_attacker(*who as usize))
        };
        let all: Vec<usize> = all.collect();
        let new = all.iter().filter(|i| !self.descriptors.contains(i));
        let learned = new.filter(known).count();
        (share(learned, all.len()), learned)
    }
}

/// One node of the harvester, thrown away after use.
struct Invented {
    speaker: Speaker,
    ledger: Arc<Mutex<Ledger>>,
    strength: Strength,
    stays: Duration,
    dialable: bool,
    begun: bool,
    /// Its own walks.
    walks: BTreeMap<WalkId, SealSecret>,
    /// Those that it took, and whose they are.
    takes: BTreeMap<WalkId, (NodeKey, SealSecret)>,
    /// Whom it dials by invitation of which walk.
    dialled: BTreeMap<NodeKey, Option<WalkId>>,
    /// Since when it is whose neighbour.
    links: BTreeMap<ConnId, Duration>,
    wake: Duration,
}

impl Invented {
    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no holder panics")
    }

    /// Debuts at all doors whose descriptor is known, and at some others.
    fn begin(&mut self) {
        self.begun = true;
        let doors = self.ledger().doors.clone();
        let (mut given, mut others): (Vec<_>, Vec<_>) = doors
            .into_iter()
            .partition(|(_, (_, knock))| knock.is_some());
        others.shuffle(&mut self.speaker.rng);
        others.truncate(DOORS);
        given.append(&mut others);
        for (node, (ip, _)) in given {
            self.dialled.insert(node, None);
            self.speaker.dial(node, ip);
        }
    }

    fn new_card(&mut self, now: Now) -> (WalkId, Vec<u8>) {
        let id = self.speaker.walk_id();
        let secret = SealSecret::new(&mut self.speaker.rng);
        let card = self.speaker.card(now, &id, &secret, self.dialable, 0);
        self.walks.insert(id, secret);
        (id, card)
    }

    fn say_debut(&mut self, now: Now, conn: ConnId, peer: NodeKey) {
        let invited = self.dialled.get(&peer).copied().flatten();
        let knock = self.ledger().doors.get(&peer).and_then(|door| door.1);
        let card = invited.is_none().then(|| self.new_card(now));
        let record = self.speaker.record(now, vec![]);
        let dialable = self.dialable;
        let opening = Opening {
            knock,
            invited,
            card,
            dialable,
            wants_entry: false,
        };
        self.speaker.debut(conn, record, opening);
    }

    fn become_link(&mut self, now: Now, conn: ConnId) {
        self.ledger().accepted += 1;
        if self.stays.is_zero() {
            self.speaker.send(conn, Message::Goodbye(Farewell::Leaving));
            return self.speaker.close(conn);
        }
        self.links.insert(conn, now.mono);
    }

    /// Somebody offers itself: its address comes with it, or it is told to come here.
    fn on_taken(&mut self, now: Now, from: ConnId, id: WalkId, card: &[u8], sealed: Option<&[u8]>) {
        let card = read_card(card, &id, self.speaker.chain, now);
        let Some((card, secret)) = card.zip(self.walks.get(&id).cloned()) else {
            return;
        };
        self.ledger().introduced += 1;
        if self.dialable {
            if let Some(sealed) = self.speaker.sealed(&card, &id) {
                let to = card.node;
                self.speaker.send(from, Message::Sealed { id, to, sealed });
            }
        } else if let Some(sealed) = sealed {
            let told = secret.open(&id, &self.speaker.key, sealed);
            self.meet(card.node, told, id);
        }
    }

    /// Somebody told where it is. That is one more door, and an invitation.
    fn meet(&mut self, node: NodeKey, told: Option<Vec<Address>>, id: WalkId) {
        let ip = told.and_then(|addresses| addresses.first().and_then(Address::ip));
        let Some(ip) = ip else { return };
        self.ledger().learn(node, ip);
        self.dialled.insert(node, Some(id));
        self.speaker.dial(node, ip);
    }

    /// Takes a walk: gives a card, so that the other tells where it is, or comes.
    fn take(&mut self, now: Now, id: WalkId, card: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        let card = read_card(card, &id, self.speaker.chain, now)?;
        let sealed = if card.dialable {
            None
        } else if self.dialable {
            self.speaker.sealed(&card, &id)
        } else {
            return None;
        };
        let secret = SealSecret::new(&mut self.speaker.rng);
        let own = self.speaker.card(now, &id, &secret, self.dialable, 2);
        self.takes.insert(id, (card.node, secret));
        Some((own, sealed))
    }

    fn on_message(&mut self, now: Now, conn: ConnId, message: Message) {
        match message {
            Message::Ping(nonce) => self.speaker.send(conn, Message::Pong(nonce)),
            Message::Accept { .. } => self.become_link(now, conn),
            Message::Refuse {
                introducing: false, ..
            } => self.speaker.close(conn),
            Message::Debut { .. } if self.stays.is_zero() => {
                let refuse = Message::Refuse {
                    reason: RefuseReason::Full,
                    introducing: false,
                    retry_ms: 60_000,
                    text: String::new(),
                };
                self.speaker.send(conn, refuse);
            }
            Message::Debut { .. } => {
                let record = self.speaker.record(now, vec![]);
                let entry = false;
                self.speaker.send(conn, Message::Accept { record, entry });
                self.become_link(now, conn);
            }
            Message::Taken {
                id, card, sealed, ..
            } => {
                self.on_taken(now, conn, id, &card, sealed.as_deref());
            }
            Message::Sealed { id, to, sealed } if to == self.speaker.key => {
                if let Some((node, secret)) = self.takes.remove(&id) {
                    self.meet(node, secret.open(&id, &to, &sealed), id);
                }
            }
            Message::Walk { id, card, .. } => {
                let reply = self.take(now, id, &card);
                let reply =
                    reply.map_or(Message::WalkEnd { id }, |(card, sealed)| Message::Taken {
                        id,
                        card,
                        sealed,
                        second: false,
                    });
                self.speaker.send(conn, reply);
            }
            Message::SpliceAsk { id, .. } => {
                let refusal = Message::SpliceReply {
                    id,
                    agreed: false,
                    card: vec![],
                    sealed: None,
                };
                self.speaker.send(conn, refusal);
            }
            Message::EntryAsk { .. } => {
                self.speaker
                    .send(conn, Message::EntryReply { granted: false });
            }
            Message::Goodbye(_) => {
                self.links.remove(&conn);
                self.speaker.close(conn);
            }
            _ => {}
        }
    }
}

impl Actor for Invented {
    fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Connected {
                conn,
                peer,
                dialled: true,
                ..
            } => self.say_debut(now, conn, peer),
            Input::Connected { peer, remote, .. } => {
                if let Some(ip) = remote.as_ref().and_then(Address::ip) {
                    self.ledger().learn(peer, ip);
                }
            }
            Input::Disconnected(conn) | Input::Broken(conn, _) => {
                self.links.remove(&conn);
            }
            Input::Message(conn, message) => self.on_message(now, conn, message),
            _ => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.speaker.out.pop_front()
    }

    fn poll_timeout(&self) -> Duration {
        self.wake
    }

    fn on_timeout(&mut self, now: Now) {
        self.wake = now.mono + TICK;
        if !self.begun {
            self.begin();
        }
        let over = |since: &Duration| now.mono >= *since + self.stays;
        let over: Vec<ConnId> = self
            .links
            .iter()
            .filter_map(|(conn, since)| over(since).then_some(*conn))
            .collect();
        for conn in over {
            self.links.remove(&conn);
            self.speaker.send(conn, Message::Goodbye(Farewell::Leaving));
            self.speaker.close(conn);
        }
        if self.strength != Strength::Walks {
            return;
        }
        let links: Vec<ConnId> = self.links.keys().copied().collect();
        for conn in links {
            for _ in 0..(WALKS_PER_SECOND * TICK.as_secs_f64()) as u32 {
                let (id, card) = self.new_card(now);
                let walk = Message::Walk {
                    id,
                    card,
                    left: MAX_WALK_STEPS,
                    min: 1,
                    splice: false,
                };
                self.speaker.send(conn, walk);
            }
        }
    }
}
