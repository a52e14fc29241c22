//! Flooding: some nodes become neighbours of honest ones and send as much as they
//! are let: digests that never agree, walks of invented newcomers, records of invented
//! nodes, and debuts of invented nodes at everybody whose address they have.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use libp2p::identity::ed25519;
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;

use super::speaker::{Opening, Speaker};
use super::{Between, Report, Unit, own_ip, quantile, run_steps};
use crate::address::Host;
use crate::card::SealSecret;
use crate::config::Config;
use crate::descriptor::Descriptor;
use crate::event::Stage;
use crate::sim::{Actor, NodeSpec, Sim};
use crate::state::{ConnId, Input, Now, Output};
use crate::wire::{DIGEST_BUCKETS, MAX_WALK_STEPS, Message};

/// Addresses of attackers here begin above those of the other attacks.
const FIRST_IP: usize = 20_000;
/// How often each sends.
const TICK: Duration = Duration::from_millis(500);
/// What is sent over each link per tick: with the pongs, just below what ends the connection (50
/// messages a second).
const WALKS: u32 = 10;
const DIGESTS: u32 = 5;
const RECORDS: u32 = 4;
/// Invented records in one message.
const RECORDS_EACH: usize = 8;
/// Nodes younger than this are not asked whether they have a route.
const SETTLED: Duration = Duration::from_secs(30);
/// Between points of the series.
const STEP: Duration = Duration::from_secs(10);

/// Somebody who floods.
#[derive(Debug, Clone)]
pub struct Flood {
    /// How many nodes, each at an address of its own.
    pub attackers: usize,
    /// Nodes whose descriptors they have: there they debut, as neighbours and to disturb.
    pub descriptors: Vec<usize>,
    /// Debuts of invented nodes, in all, evenly over the time and the addresses of the attackers.
    pub debuts: usize,
    /// For how long.
    pub lasting: Duration,
}

impl Flood {
    /// Lets them loose. The series is the bytes that honest nodes send, per node and second.
    ///
    /// # Panics
    /// If a descriptor is of no node.
    pub fn run(&self, sim: &mut Sim, between: Between<'_>) -> Report {
        let mut report = Report::default();
        let before = self.quiet(sim);
        let seeds: Vec<Descriptor> = self
            .descriptors
            .iter()
            .map(|i| sim.descriptor(*i))
            .collect();
        for n in 0..self.attackers {
            self.add(sim, n, &seeds, true, Duration::ZERO);
        }
        let each = self.lasting.div_f64(self.debuts.max(1) as f64);
        for n in 0..self.debuts {
            let delay = each.mul_f64(n as f64);
            self.add(sim, n % self.attackers.max(1), &seeds, false, delay);
        }
        let mut sent = bytes(sim);
        let (mut most_records, mut least_routed) = (0, 1.0f64);
        let mut before_at = Duration::ZERO;
        run_steps(sim, self.lasting, STEP, between, |sim, since| {
            let now = bytes(sim);
            let nodes = sim.alive().len().max(1) as f64;
            let rate = now.saturating_sub(sent) as f64 / nodes / (since - before_at).as_secs_f64();
            report.series.push((since, rate));
            (sent, before_at) = (now, since);
            most_records = most_records.max(held(sim).into_iter().max().unwrap_or(0));
            least_routed = least_routed.min(routed(sim));
        });
        let rates = report
            .series
            .iter()
            .map(|(_, rate)| *rate)
            .collect::<Vec<_>>();
        let mean = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
        let records = held(sim).into_iter().map(|n| n as f64).collect();
        report.add(
            "bytes_before",
            Unit::BytesPerSecond,
            "bytes that honest nodes sent before",
            before,
        );
        report.add(
            "bytes_during",
            Unit::BytesPerSecond,
            "… while they were flooded",
            mean,
        );
        report.add(
            "records_p50",
            Unit::Count,
            "records that honest nodes hold at the end, p50",
            quantile(records, 0.5),
        );
        report.add(
            "records_most",
            Unit::Count,
            "most records that any honest node held",
            most_records as f64,
        );
        report.add(
            "routed_least",
            Unit::Share,
            "honest nodes with a route, at the worst moment",
            least_routed,
        );
        report
    }

    /// What honest nodes send while nobody floods, for one step.
    fn quiet(&self, sim: &mut Sim) -> f64 {
        let before = bytes(sim);
        sim.run(STEP);
        let sent = bytes(sim).saturating_sub(before);
        sent as f64 / sim.alive().len().max(1) as f64 / STEP.as_secs_f64()
    }

    /// A node that floods, or one that only debuts.
    fn add(&self, sim: &mut Sim, n: usize, seeds: &[Descriptor], floods: bool, delay: Duration) {
        let chain = seeds.first().map_or(crate::Chain::Dev, |seed| seed.chain);
        let spec = NodeSpec {
            config: Config::new(chain),
            dialable: false,
            seeds: vec![],
            ip: Some(own_ip(FIRST_IP + n)),
        };
        let seeds = seeds.to_vec();
        sim.add_actor(spec, delay, |_, keys, ip| {
            Box::new(Flooder {
                speaker: Speaker::new(chain, keys, ip),
                seeds,
                floods,
                begun: false,
                links: BTreeSet::new(),
                invented: VecDeque::new(),
                wake: Duration::ZERO,
            })
        });
    }
}

/// Bytes that honest nodes sent so far.
fn bytes(sim: &Sim) -> u64 {
    let all = (0..sim.len()).filter(|i| !sim.is_attacker(*i));
    all.map(|i| sim.count(i).bytes_sent).sum()
}

fn held(sim: &Sim) -> Vec<usize> {
    let alive = sim.alive().into_iter();
    alive
        .filter_map(|i| Some(sim.machine(i)?.records_held()))
        .collect()
}

/// The share of honest nodes with a route, of those that have had time to find one.
fn routed(sim: &Sim) -> f64 {
    let mut alive = sim.alive();
    let settled = |born: Duration| sim.now().saturating_sub(born) > SETTLED;
    alive.retain(|i| sim.count(*i).born.is_some_and(settled));
    let has = |i: &&usize| {
        sim.machine(**i)
            .is_some_and(|m| m.stage() == Stage::RouteFound)
    };
    super::share(alive.iter().filter(has).count(), alive.len())
}

struct Flooder {
    speaker: Speaker,
    seeds: Vec<Descriptor>,
    /// Whether it stays as a neighbour and floods; else it debuts everywhere once.
    floods: bool,
    begun: bool,
    links: BTreeSet<ConnId>,
    /// Records of invented nodes.
    invented: VecDeque<Vec<u8>>,
    wake: Duration,
}

impl Flooder {
    fn begin(&mut self) {
        self.begun = true;
        for seed in self.seeds.clone() {
            self.dial(&seed);
        }
    }

    fn dial(&mut self, seed: &Descriptor) {
        if let Host::Ip(ip) = seed.host {
            self.speaker.dial(seed.node, ip);
        }
    }

    /// One more record of a node that does not exist and says it is our neighbour.
    fn invent(&mut self, now: Now) {
        let secret: [u8; 32] = self.speaker.rng.random();
        let Ok(secret) = ed25519::SecretKey::try_from_bytes(secret) else {
            return;
        };
        let nowhere = IpAddr::from([0, 0, 0, 0]);
        let mut ghost = Speaker::new(self.speaker.chain, secret.into(), nowhere);
        let record = ghost.record(now, vec![self.speaker.key]);
        self.invented.push_back(record);
    }

    fn flood(&mut self, now: Now, conn: ConnId) {
        for _ in 0..WALKS {
            let id = self.speaker.walk_id();
            let secret = SealSecret::new(&mut self.speaker.rng);
            let card = self.speaker.card(now, &id, &secret, false, 0);
            let walk = Message::Walk {
                id,
                card,
                left: MAX_WALK_STEPS,
                min: MAX_WALK_STEPS,
                splice: true,
            };
            self.speaker.send(conn, walk);
        }
        for _ in 0..DIGESTS {
            let buckets: [[u8; 8]; DIGEST_BUCKETS] = self.speaker.rng.random();
            self.speaker.send(conn, Message::Digest(buckets));
        }
        for _ in 0..RECORDS {
            for _ in 0..RECORDS_EACH {
                self.invent(now);
            }
            let records = self.invented.drain(..).map(Arc::from).collect();
            self.speaker.send(conn, Message::Records(records));
        }
    }
}

impl Actor for Flooder {
    fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Connected {
                conn,
                peer,
                dialled: true,
                ..
            } => {
                let knock = self.seeds.iter().find(|seed| seed.node == peer);
                let knock = knock.and_then(|seed| seed.knock);
                let id = self.speaker.walk_id();
                let secret = SealSecret::new(&mut self.speaker.rng);
                let card = self.speaker.card(now, &id, &secret, false, 0);
                let record = self.speaker.record(now, vec![]);
                let opening = Opening {
                    knock,
                    card: Some((id, card)),
                    ..Opening::default()
                };
                self.links.remove(&conn);
                self.speaker.debut(conn, record, opening);
            }
            Input::Disconnected(conn) | Input::Broken(conn, _) => {
                self.links.remove(&conn);
            }
            Input::Message(conn, Message::Accept { .. }) if self.floods => {
                self.links.insert(conn);
            }
            Input::Message(conn, Message::Accept { .. } | Message::Refuse { .. })
                if !self.floods =>
            {
                self.speaker.close(conn);
            }
            Input::Message(conn, Message::Ping(nonce)) => {
                self.speaker.send(conn, Message::Pong(nonce));
            }
            Input::Message(conn, Message::Goodbye(_) | Message::Refuse { .. }) => {
                self.links.remove(&conn);
                self.speaker.close(conn);
            }
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
        if !self.begun {
            self.begin();
        }
        if !self.floods {
            self.wake = Duration::MAX;
            return;
        }
        self.wake = now.mono + TICK;
        let links: Vec<ConnId> = self.links.iter().copied().collect();
        for conn in links {
            self.flood(now, conn);
        }
        // Who is a neighbour of few tries again.
        if self.links.len() < self.seeds.len()
            && self.speaker.rng.random_bool(0.1)
            && let Some(seed) = self.seeds.choose(&mut self.speaker.rng).cloned()
        {
            self.dial(&seed);
        }
    }
}
