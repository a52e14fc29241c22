//! Whether this node can be dialled: a neighbour is asked, which dials the very
//! address that it sees this node at, from a fresh port, and says what came of
//! it. And the other way: what is dialled for neighbours who ask, and how often.
//!
//! The dial itself is the host's ([`Output::Probe`]): it makes no connection of
//! the Swarm, so the link between the two is not disturbed. At the node that
//! asked, the gate turns the fresh connection away once it has proved its key.
//!
//! Nothing becomes of the answer here: it is told to the host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use rand::seq::SliceRandom as _;

use super::{ConnId, Machine, Now, Output};
use crate::address::{Address, Host};
use crate::bucket::TokenBucket;
use crate::event::Event;
use crate::key::NodeKey;
use crate::proto::MAX_PORTS;
use crate::reach::{Reach as Outcome, ReachOutcome};
use crate::scope::{Scope, port_fine};
use crate::wire::Message;

/// How long the host may take for one [`Output::Probe`]. Guess: TCP and noise over a slow link.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// What the host's own timer may be late by before a probe counts as failed. Guess.
const PROBE_GRACE: Duration = Duration::from_secs(1);
/// How long a neighbour may take to answer: its dial, and some round trips. Guess.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// Neighbours asked before a check ends without an answer. Guess.
const MAX_ASKED: usize = 3;
/// Checks done for one neighbour: two at once, then one in five minutes. Guess: at start, when a
/// mapping changed, and when its operator wants to know.
const PROBES_OF_ONE: (u32, f64) = (2, 1.0 / 300.0);
/// Checks done for all neighbours: eight at once, then two a minute. Guess.
const PROBES: (u32, f64) = (8, 1.0 / 30.0);
/// Checks for others under way at a time. Guess: half of the outbound connections being set up.
const MAX_PROBES: usize = 4;
/// Neighbours whose checks are counted, past ones included, so that leaving and coming back does
/// not start the count anew. Guess: several times the neighbours there can be.
const MAX_COUNTED: usize = 64;

/// A dial for a neighbour.
#[derive(Debug)]
struct Probe {
    conn: ConnId,
    until: Duration,
}

/// A question to a neighbour.
#[derive(Debug)]
struct Asking {
    conn: ConnId,
    node: NodeKey,
    ports: Vec<u16>,
    until: Duration,
    asked: BTreeSet<NodeKey>,
    /// Whether the neighbour's fresh connection has come.
    arrived: bool,
}

/// Checks under way, both ways.
#[derive(Debug)]
pub(super) struct Reach {
    next_call: u64,
    probes: BTreeMap<u64, Probe>,
    all: TokenBucket,
    of_one: BTreeMap<NodeKey, TokenBucket>,
    asking: Option<Asking>,
}

impl Reach {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            next_call: 0,
            probes: BTreeMap::new(),
            all: TokenBucket::new(PROBES.0, PROBES.1, now),
            of_one: BTreeMap::new(),
            asking: None,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let probes = self.probes.values().map(|probe| probe.until);
        let asking = self.asking.as_ref().map(|asking| asking.until);
        probes.chain(asking).min()
    }

    /// Whether one more check may be done for that node.
    fn may_probe(&mut self, node: NodeKey, now: Duration) -> bool {
        if !self.of_one.contains_key(&node) && self.of_one.len() >= MAX_COUNTED {
            let oldest = (self.of_one.iter()).min_by_key(|(_, bucket)| bucket.last_used());
            if let Some(oldest) = oldest.map(|(node, _)| *node) {
                self.of_one.remove(&oldest);
            }
        }
        let bucket = || TokenBucket::new(PROBES_OF_ONE.0, PROBES_OF_ONE.1, now);
        let of_one = self.of_one.entry(node).or_insert_with(bucket);
        of_one.take(now) && self.all.take(now)
    }
}

impl Machine {
    /// Asks a neighbour whether this node can be dialled at these ports, at the address that the
    /// neighbour sees it at; the answer is an [`Event::Reach`]. Ports that no node may dial are
    /// left out, and so are those above eight. `false` when there is nobody to ask, no port to ask
    /// for, or a check is under way already.
    pub fn check_reachability(&mut self, now: Now, ports: &[u16]) -> bool {
        self.now = now;
        let fine = ports.iter().copied().filter(|port| port_fine(*port));
        let ports: Vec<u16> = fine.take(MAX_PORTS).collect();
        if self.stopping || ports.is_empty() || self.reach.asking.is_some() {
            return false;
        }
        self.ask_neighbour(ports, BTreeSet::new())
    }

    /// Asks the next neighbour: preferably one that is far away, and that this node dialled: who
    /// dialled this node has reached it already.
    fn ask_neighbour(&mut self, ports: Vec<u16>, mut asked: BTreeSet<NodeKey>) -> bool {
        let far = |ip: Option<IpAddr>| ip.and_then(Scope::of) == Some(Scope::Global);
        let mut candidates: Vec<_> = self
            .each_link()
            .filter(|(_, conn, _)| !asked.contains(&conn.peer))
            .map(|(id, conn, _)| ((!far(conn.remote), !conn.dialled), id, conn.peer))
            .collect();
        candidates.shuffle(&mut self.rng);
        candidates.sort_by_key(|(rank, ..)| *rank);
        let Some((_, conn, node)) = candidates.first().copied() else {
            return false;
        };
        asked.insert(node);
        let question = Message::ReachAsk {
            ports: ports.clone(),
        };
        self.send(conn, question);
        self.reach.asking = Some(Asking {
            conn,
            node,
            ports,
            until: self.now.mono + ANSWER_TIMEOUT,
            asked,
            arrived: false,
        });
        true
    }

    /// Whether a fresh connection of this neighbour is the one that was asked for: then it has
    /// served its purpose, and must be turned away. True once per question.
    pub(crate) fn probe_arrived(&mut self, node: &NodeKey) -> bool {
        let linked = self.links.contains_key(node);
        match &mut self.reach.asking {
            Some(asking) if asking.node == *node && linked && !asking.arrived => {
                asking.arrived = true;
                true
            }
            _ => false,
        }
    }

    pub(super) fn on_reach_ask(&mut self, id: ConnId, ports: &[u16]) {
        let now = self.now.mono;
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let (peer, remote) = (conn.peer, conn.remote);
        let address = |port: &u16| {
            remote.filter(|_| port_fine(*port)).map(|ip| Address {
                host: Host::Ip(ip),
                port: *port,
            })
        };
        let addresses: Vec<Address> = ports.iter().filter_map(address).collect();
        let willing = self.config.check_reachability_of_others && !self.stopping;
        if !willing || addresses.is_empty() {
            return self.reply_reach(id, ReachOutcome::Refused, Vec::new());
        }
        let busy = self.reach.probes.len() >= MAX_PROBES
            || self.reach.probes.values().any(|probe| probe.conn == id);
        if busy || !self.reach.may_probe(peer, now) {
            return self.reply_reach(id, ReachOutcome::TooOften, Vec::new());
        }
        let call = self.reach.next_call;
        self.reach.next_call += 1;
        let until = now + PROBE_TIMEOUT + PROBE_GRACE;
        self.reach.probes.insert(call, Probe { conn: id, until });
        self.outputs.push_back(Output::Probe {
            call,
            peer,
            addresses,
        });
    }

    /// The host dialled for a neighbour.
    pub(super) fn on_probed(&mut self, call: u64, port: Option<u16>) {
        let Some(probe) = self.reach.probes.remove(&call) else {
            return;
        };
        let outcome = match port {
            Some(_) => ReachOutcome::Reached,
            None => ReachOutcome::NotReached,
        };
        self.reply_reach(probe.conn, outcome, port.into_iter().collect());
    }

    fn reply_reach(&mut self, id: ConnId, outcome: ReachOutcome, ports: Vec<u16>) {
        let Some(conn) = self.conns.get(&id).filter(|conn| conn.link().is_some()) else {
            return;
        };
        let reply = Message::ReachReply {
            outcome,
            ports,
            seen: conn.remote,
        };
        self.send(id, reply);
    }

    pub(super) fn on_reach_reply(
        &mut self,
        id: ConnId,
        outcome: ReachOutcome,
        ports: Vec<u16>,
        seen: Option<IpAddr>,
    ) {
        let Some(asking) = self.reach.asking.take_if(|asking| asking.conn == id) else {
            return;
        };
        // Only ports that were asked for: nothing else can have been dialled.
        let ports: BTreeSet<u16> = ports.into_iter().collect();
        let ports: Vec<u16> = (asking.ports.iter().copied())
            .filter(|port| ports.contains(port))
            .collect();
        let outcome = match outcome {
            ReachOutcome::Reached if ports.is_empty() => ReachOutcome::NotReached,
            outcome => outcome,
        };
        let reach = Outcome {
            by: asking.node,
            ports: if outcome == ReachOutcome::Reached {
                ports
            } else {
                Vec::new()
            },
            outcome,
            seen,
        };
        self.conclude(asking, reach);
    }

    /// One neighbour has answered, or will not: asks another, or tells the host.
    fn conclude(&mut self, asking: Asking, reach: Outcome) {
        let another = !reach.outcome.is_answer() && asking.asked.len() < MAX_ASKED;
        if another && !self.stopping && self.ask_neighbour(asking.ports, asking.asked) {
            return;
        }
        self.event(Event::Reach(reach));
    }

    fn give_up_asking(&mut self) {
        let Some(asking) = self.reach.asking.take() else {
            return;
        };
        let reach = Outcome {
            by: asking.node,
            outcome: ReachOutcome::NoAnswer,
            ports: Vec::new(),
            seen: None,
        };
        self.conclude(asking, reach);
    }

    pub(super) fn expire_reach(&mut self) {
        let now = self.now.mono;
        let over = |(call, probe): (&u64, &Probe)| (probe.until <= now).then_some(*call);
        let over: Vec<u64> = self.reach.probes.iter().filter_map(over).collect();
        for call in over {
            self.on_probed(call, None);
        }
        if (self.reach.asking.as_ref()).is_some_and(|asking| asking.until <= now) {
            self.give_up_asking();
        }
    }

    /// A link ended: nothing is asked of it, or dialled for it, any more.
    pub(super) fn forget_reach(&mut self, id: ConnId) {
        self.reach.probes.retain(|_, probe| probe.conn != id);
        if (self.reach.asking.as_ref()).is_some_and(|asking| asking.conn == id) {
            self.give_up_asking();
        }
    }
}
