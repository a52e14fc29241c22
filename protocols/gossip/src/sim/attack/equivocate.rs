//! A liar that tells half of its neighbours one thing and the other half another:
//! a machine of production whose own record is exchanged on its way to every
//! second connection by one that differs, with the same version.

use std::time::Duration;

use libp2p::identity::ed25519;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::{Between, Report, Unit, run_steps, share};
use crate::chain::Chain;
use crate::config::Config;
use crate::descriptor::Descriptor;
use crate::event::Start;
use crate::key::NodeKey;
use crate::record::SignedRecord;
use crate::sim::{Actor, EPOCH, NodeSpec, PORT, Sim};
use crate::state::{Input, Machine, Now, Output};
use crate::wire::Message;

/// Between two looks at the mesh.
const STEP: Duration = Duration::from_secs(1);
/// What the other record says: no country claims this.
const OTHER_COUNTRY: [u8; 2] = *b"ZZ";

/// A node that signs two records of each version.
#[derive(Debug, Clone)]
pub struct Equivocate {
    /// Nodes through which it joins, by their indices.
    pub seeds: Vec<usize>,
    /// For how long it is watched.
    pub lasting: Duration,
}

impl Equivocate {
    /// Lets it join and lie. The series is the share of the nodes that ever held a record of it which
    /// have banned it.
    pub fn run(&self, sim: &mut Sim, between: Between<'_>) -> Report {
        let seeds: Vec<Descriptor> = self.seeds.iter().map(|i| sim.descriptor(*i)).collect();
        let chain = seeds.first().map_or(Chain::Dev, |seed| seed.chain);
        let spec = NodeSpec {
            config: Config::new(chain),
            dialable: true,
            seeds: Vec::new(),
            ip: None,
        };
        let now = sim.now();
        let index = sim.add_actor(spec, Duration::ZERO, |_, keys, ip| {
            let mut config = Config::new(chain);
            config.advertise = vec![std::net::SocketAddr::new(ip, PORT).into()];
            let start = Start {
                seeds,
                onion_keys: ([7; 32], None),
                ..Start::default()
            };
            let rng = ChaCha20Rng::seed_from_u64(now.as_secs());
            let at = Now {
                mono: now,
                unix: EPOCH + now.as_secs(),
            };
            Box::new(Liar {
                machine: Machine::new(config, keys.clone(), start, rng, at),
                keys,
            })
        });
        let liar = sim.key(index);
        let mut report = Report::default();
        let mut held = vec![false; sim.len()];
        let mut done = None;
        run_steps(sim, self.lasting, STEP, between, |sim, since| {
            held.resize(sim.len(), false);
            let mut banned = 0;
            for node in sim.alive() {
                let Some(machine) = sim.machine(node) else {
                    continue;
                };
                let bans = machine.bans().iter().any(|ban| ban.node == liar);
                held[node] |= bans || machine.holds(&liar);
                banned += usize::from(bans);
            }
            let knew = held.iter().filter(|held| **held).count();
            report.series.push((since, share(banned, knew)));
            if knew > 0 && banned == knew && done.is_none() {
                done = Some(since);
            }
        });
        let honest = |node: &NodeKey| *node != liar;
        let wrongly = sim.alive().into_iter().filter(|node| {
            let bans = sim.machine(*node).map(|machine| machine.bans());
            bans.is_some_and(|bans| bans.iter().any(|ban| honest(&ban.node)))
        });
        let wrongly = wrongly.count();
        let knew = held.iter().filter(|held| **held).count();
        let last = report.last();
        report.add(
            "knew",
            Unit::Count,
            "nodes that ever held a record of the liar",
            knew as f64,
        );
        report.add("banned_share", Unit::Share, "of them, banned it", last);
        report.add(
            "banned_by_all_after",
            Unit::Seconds,
            "after its birth, until all of them had banned it",
            done.map_or(f64::INFINITY, |done| done.as_secs_f64()),
        );
        report.add(
            "wrongly",
            Unit::Count,
            "nodes that banned an honest node",
            wrongly as f64,
        );
        report
    }
}

struct Liar {
    machine: Machine,
    keys: ed25519::Keypair,
}

impl Liar {
    /// The same record with another content; `None` for records of others.
    fn other(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let record = SignedRecord::parse(bytes).ok()?;
        if record.node() != self.machine.me() {
            return None;
        }
        let mut record = record.record().clone();
        record.country = Some(OTHER_COUNTRY);
        Some(record.sign(&self.keys).ok()?.bytes().to_vec())
    }

    fn twist(&self, message: &mut Message) {
        match message {
            Message::Records(records) => {
                for bytes in records {
                    if let Some(other) = self.other(bytes) {
                        *bytes = other.into();
                    }
                }
            }
            Message::Debut { record, .. } | Message::Accept { record, .. } => {
                if let Some(other) = self.other(record) {
                    *record = other;
                }
            }
            _ => {}
        }
    }
}

impl Actor for Liar {
    fn handle(&mut self, now: Now, input: Input) {
        self.machine.handle(now, input);
    }

    fn poll_output(&mut self) -> Option<Output> {
        let mut output = self.machine.poll_output()?;
        if let Output::Send(conn, message) = &mut output
            && conn.0 % 2 == 1
        {
            self.twist(message);
        }
        Some(output)
    }

    fn poll_timeout(&self) -> Duration {
        self.machine.poll_timeout()
    }

    fn on_timeout(&mut self, now: Now) {
        self.machine.on_timeout(now);
    }
}
