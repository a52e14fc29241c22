//! What this node itself has seen of nodes, edges and exits with hosts. Local,
//! never gossiped, so nobody can be defamed by it. Not here: what counts as a
//! failure (whoever runs circuits says so) and bans for proven lies (gossip).

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::disputes::{Dispute, Disputes};
use super::graph::NodeKey;
use super::tally::{FAILURE_COST, MAX_LATENCY, Tally, waiting_for_unknown};

/// Most nodes remembered. A guess: ten times a neighbourhood of radius four.
const MAX_NODES: usize = 4_096;
/// Most edges remembered; two for each node.
const MAX_EDGES: usize = 8_192;
/// Most pairs of exit and host remembered. A guess: an evening of browsing.
const MAX_HOSTS: usize = 4_096;

/// Time after which half of what was seen of a node or edge is forgotten. A
/// guess: as long as a circuit takes new flows.
const HALF_LIFE: Duration = Duration::from_secs(600);
/// The same for an exit that failed for a host: names come back, servers are
/// restarted. A guess.
const HOST_HALF_LIFE: Duration = Duration::from_secs(900);

/// The part of an edge's failure that each of its ends is held to: one of the
/// two was at fault, and neither's word is worth more.
const END_BLAME: f64 = 0.5;
/// A host penalty above this makes the exit unfit for that host.
const HOST_UNFIT: f64 = 0.4;

/// A destination, by a salted hash, so that memory holds no list of names.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HostId(u64);

impl fmt::Debug for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostId(..)")
    }
}

/// How good something is held to be at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Judgement {
    /// Milliseconds of waiting that using it is worth avoiding, 0 or more.
    pub(super) cost: f64,
    /// It fails more often than not.
    pub(super) unfit: bool,
}

/// What is held of a node, for its operator to see.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NodeScore {
    /// Milliseconds of waiting that it is worth to avoid the node; less is better.
    pub cost: f64,
    /// It is used only where nothing else is left.
    pub avoided: bool,
    /// Its part of the time that circuits through it took, in milliseconds.
    pub latency: Option<f64>,
    /// Bytes per second of the fastest circuits through it.
    pub throughput: Option<f64>,
    /// Part of what was tried with it that failed, 0 to 1.
    pub failures: Option<f64>,
    /// How much longer it counts as having no room.
    pub congested: Option<Duration>,
    /// How much longer it is avoided because it claimed to have carried more than
    /// was counted here.
    pub disputed: Option<Duration>,
}

impl NodeScore {
    /// From 0 to 100, which would be a node that costs nothing at all. One of
    /// which nothing is known would have 94.
    #[must_use]
    pub fn points(&self) -> u8 {
        let points = 100.0 / (1.0 + self.cost / 1_000.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 100"
        )]
        let points = points.clamp(0.0, 100.0) as u8;
        points
    }
}

/// The store of local judgement. Bounded (about 2 MB when full): when a table
/// is full, the entries longest untouched make room.
#[derive(Clone)]
pub struct Scores {
    salt: [u8; 16],
    nodes: HashMap<NodeKey, Tally>,
    edges: HashMap<(NodeKey, NodeKey), Tally>,
    hosts: HashMap<(NodeKey, HostId), Tally>,
    disputes: Disputes,
}

impl fmt::Debug for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scores")
            .field("nodes", &self.nodes.len())
            .field("edges", &self.edges.len())
            .field("hosts", &self.hosts.len())
            .finish_non_exhaustive()
    }
}

impl Scores {
    /// An empty store. The salt, fresh random bytes, goes into each [`HostId`].
    #[must_use]
    pub fn new(salt: [u8; 16]) -> Self {
        Self {
            salt,
            nodes: HashMap::new(),
            edges: HashMap::new(),
            hosts: HashMap::new(),
            disputes: Disputes::default(),
        }
    }

    /// The id of a destination: a name (case and a final dot do not matter) or
    /// a literal address, without its port.
    #[must_use]
    pub fn host(&self, name: &str) -> HostId {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let digest = Sha256::new()
            .chain_update(self.salt)
            .chain_update(name.as_bytes())
            .finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        HostId(u64::from_le_bytes(first))
    }

    /// A circuit through `hops` (the whole loop in order of travel, the origin
    /// left out) worked, and one round took `round_trip` if that was measured.
    /// The time is split evenly, because the origin cannot see who took it.
    pub fn worked(&mut self, hops: &[NodeKey], round_trip: Option<Duration>, now: Instant) {
        let share = round_trip.map(|t| {
            let parts = f64::from(u32::try_from(hops.len().max(1)).unwrap_or(u32::MAX));
            (t.as_secs_f64() * 1_000.0 / parts).min(MAX_LATENCY)
        });
        for hop in hops {
            let tally = touch(&mut self.nodes, *hop, MAX_NODES, HALF_LIFE, now);
            tally.good += 1.0;
            if let Some(sample) = share {
                tally.took(sample);
            }
        }
        for pair in hops.windows(2) {
            let edge = edge(pair[0], pair[1]);
            touch(&mut self.edges, edge, MAX_EDGES, HALF_LIFE, now).good += 1.0;
        }
    }

    /// A circuit carried so much through `hops` at its busiest. Each of them is
    /// at least that fast: the origin cannot see whose pace it was.
    pub fn carried(&mut self, hops: &[NodeKey], bytes: u64, took: Duration, now: Instant) {
        let seconds = took.as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more")]
        let rate = bytes as f64 / seconds;
        for hop in hops {
            touch(&mut self.nodes, *hop, MAX_NODES, HALF_LIFE, now).carried(rate);
        }
    }

    /// The node itself says that it has no room for now.
    pub fn congested(&mut self, node: NodeKey, now: Instant) {
        touch(&mut self.nodes, node, MAX_NODES, HALF_LIFE, now).refused_for_load(1.0);
    }

    /// `from` says that `to` has no room for now: held against the edge in full
    /// and against each end in part, since either may lie.
    pub fn congested_at_edge(&mut self, from: NodeKey, to: NodeKey, now: Instant) {
        let key = edge(from, to);
        touch(&mut self.edges, key, MAX_EDGES, HALF_LIFE, now).refused_for_load(1.0);
        for end in [from, to] {
            touch(&mut self.nodes, end, MAX_NODES, HALF_LIFE, now).refused_for_load(END_BLAME);
        }
    }

    /// A circuit failed between `a` and `b`, one of which may be the origin.
    /// The edge is blamed in full and each end in part: either may lie.
    pub fn failed_at_edge(&mut self, a: NodeKey, b: NodeKey, now: Instant) {
        touch(&mut self.edges, edge(a, b), MAX_EDGES, HALF_LIFE, now).bad += 1.0;
        for end in [a, b] {
            touch(&mut self.nodes, end, MAX_NODES, HALF_LIFE, now).bad += END_BLAME;
        }
    }

    /// The node itself answered, under its own seal, that it could not or
    /// would not.
    pub fn failed_at_node(&mut self, node: NodeKey, now: Instant) {
        touch(&mut self.nodes, node, MAX_NODES, HALF_LIFE, now).bad += 1.0;
    }

    /// The node claims to be owed for more than was counted here. Says what is to
    /// become of it.
    pub fn disputed(&mut self, node: NodeKey, now: Instant) -> Dispute {
        self.disputes.claimed(node, now)
    }

    /// The host could not be resolved or reached through this exit. Says
    /// nothing about the exit for other hosts, nor the host through others.
    pub fn host_failed(&mut self, exit: NodeKey, host: HostId, now: Instant) {
        let key = (exit, host);
        touch(&mut self.hosts, key, MAX_HOSTS, HOST_HALF_LIFE, now).bad += 1.0;
    }

    /// The host answered through this exit: what was held against the pair is
    /// forgotten.
    pub fn host_worked(&mut self, exit: NodeKey, host: HostId) {
        self.hosts.remove(&(exit, host));
    }

    /// Exits through which the host failed so lately that another one should be asked first.
    #[must_use]
    pub fn exits_failing(&self, host: HostId, now: Instant) -> Vec<NodeKey> {
        let of_host = self.hosts.keys().filter(|(_, other)| *other == host);
        of_host
            .map(|(exit, _)| *exit)
            .filter(|exit| self.exit_for_host(*exit, host, now).unfit)
            .collect()
    }

    /// What is held of `node`; nothing, if it was never met or is forgotten.
    #[must_use]
    pub fn of(&self, node: &NodeKey, now: Instant) -> Option<NodeScore> {
        let disputed = self.disputes.avoided_for(node, now);
        let tally = match self.nodes.get(node) {
            Some(tally) => tally.decayed(now, HALF_LIFE),
            None => disputed.map(|_| Tally::new(now))?,
        };
        let judgement = self.node(node, now);
        let score = NodeScore {
            cost: judgement.cost,
            avoided: judgement.unfit,
            latency: tally.latency(),
            throughput: tally.rate(),
            failures: tally.failure_share(),
            congested: tally.congested_for(),
            disputed,
        };
        let known = score.latency.is_some()
            || score.throughput.is_some()
            || score.failures.is_some()
            || score.congested.is_some()
            || score.disputed.is_some();
        known.then_some(score)
    }

    pub(super) fn node(&self, node: &NodeKey, now: Instant) -> Judgement {
        let tally = self.nodes.get(node).map(|t| t.decayed(now, HALF_LIFE));
        let mut judgement = tally.map_or(NOTHING_KNOWN, |tally| tally.judge());
        judgement.cost += tally.map_or_else(waiting_for_unknown, |tally| tally.waiting());
        let claims = self.disputes.judge(node, now);
        judgement.cost += claims.cost;
        judgement.unfit |= claims.unfit;
        judgement
    }

    pub(super) fn edge(&self, a: NodeKey, b: NodeKey, now: Instant) -> Judgement {
        self.edges
            .get(&edge(a, b))
            .map_or(NOTHING_KNOWN, |tally| tally.decayed(now, HALF_LIFE).judge())
    }

    pub(super) fn exit_for_host(&self, exit: NodeKey, host: HostId, now: Instant) -> Judgement {
        self.hosts
            .get(&(exit, host))
            .map_or(NOTHING_KNOWN, |tally| {
                let bad = tally.decayed(now, HOST_HALF_LIFE).bad;
                Judgement {
                    cost: bad * FAILURE_COST,
                    unfit: bad > HOST_UNFIT,
                }
            })
    }
}

const NOTHING_KNOWN: Judgement = Judgement {
    cost: 0.0,
    unfit: false,
};

fn edge(a: NodeKey, b: NodeKey) -> (NodeKey, NodeKey) {
    (a.min(b), a.max(b))
}

/// The tally of `key`, decayed to `now`, made if there is none.
fn touch<K: Eq + Hash + Copy>(
    table: &mut HashMap<K, Tally>,
    key: K,
    bound: usize,
    half_life: Duration,
    now: Instant,
) -> &mut Tally {
    if table.len() >= bound && !table.contains_key(&key) {
        // An eighth at a time, so that a full table is not scanned at each call.
        let mut ages: Vec<Instant> = table.values().map(|tally| tally.at).collect();
        let (_, cut, _) = ages.select_nth_unstable(bound / 8);
        let cut = *cut;
        let mut quota = bound / 8 + 1;
        table.retain(|_, tally| {
            let goes = tally.at <= cut && quota > 0;
            quota -= usize::from(goes);
            !goes
        });
    }
    let tally = table.entry(key).or_insert_with(|| Tally::new(now));
    *tally = tally.decayed(now, half_life);
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeKey = [1; 32];
    const B: NodeKey = [2; 32];
    const C: NodeKey = [3; 32];

    #[test]
    fn both_ends_of_a_failing_edge_are_blamed_and_it_is_forgotten() {
        let (start, mut scores) = (Instant::now(), Scores::new([0; 16]));
        let fresh = scores.node(&A, start).cost;
        scores.failed_at_edge(A, B, start);
        scores.failed_at_edge(B, A, start);
        assert!(scores.edge(A, B, start).unfit);
        assert!(!scores.node(&A, start).unfit);
        assert!(scores.node(&A, start).cost > fresh);
        assert_eq!(scores.node(&A, start), scores.node(&B, start));
        assert_eq!(scores.node(&C, start).cost, fresh);
        let later = start + HALF_LIFE * 2;
        assert!(!scores.edge(A, B, later).unfit);
        assert!(scores.edge(A, B, later).cost < scores.edge(A, B, start).cost);
        assert!(scores.edge(A, B, start + HALF_LIFE * 40).cost < 0.01);
    }

    #[test]
    fn success_makes_up_for_failure_and_latency_is_learnt() {
        let (now, mut scores) = (Instant::now(), Scores::new([0; 16]));
        scores.failed_at_node(A, now);
        let bad = scores.node(&A, now).cost;
        for _ in 0..20 {
            scores.worked(&[A, B], Some(Duration::from_millis(20)), now);
        }
        assert!(scores.node(&A, now).cost < bad);
        let unmeasured_rate = waiting_for_unknown() - scores.node(&B, now).cost;
        assert!((unmeasured_rate - 40.0).abs() < 0.01, "10 ms each, not 50");
        assert_eq!(scores.edge(A, B, now).cost, 0.0);
    }

    #[test]
    fn a_node_that_has_no_room_is_used_less_for_a_while_and_not_called_faulty() {
        let (now, mut scores) = (Instant::now(), Scores::new([0; 16]));
        let fresh = scores.node(&A, now).cost;
        assert_eq!(scores.of(&A, now), None);
        scores.congested(A, now);
        let score = scores.of(&A, now).unwrap();
        assert!(score.cost > fresh && !score.avoided);
        assert_eq!(score.failures, None);
        assert!(score.congested > Some(Duration::from_secs(50)));
        scores.congested(A, now);
        assert!(scores.of(&A, now).unwrap().avoided);
        assert!(scores.of(&A, now).unwrap().points() < 25);
        assert!(!scores.node(&A, now + Duration::from_secs(30)).unfit);
        assert!(scores.node(&A, now + Duration::from_secs(900)).cost < fresh + 1.0);
        // Somebody else's word counts for the edge, and half for each end.
        scores.congested_at_edge(B, C, now);
        assert!(scores.edge(C, B, now).cost > scores.node(&C, now).cost - fresh);
        assert_eq!(scores.node(&B, now), scores.node(&C, now));
        assert!(!scores.node(&B, now).unfit);
    }

    #[test]
    fn throughput_is_learnt_of_every_hop_and_shown() {
        let (now, mut scores) = (Instant::now(), Scores::new([0; 16]));
        let fresh = scores.node(&A, now).cost;
        scores.carried(&[A, B], 8 << 20, Duration::from_secs(2), now);
        assert!(scores.node(&A, now).cost < fresh);
        let rate = scores.of(&B, now).unwrap().throughput.unwrap();
        assert!((rate - f64::from(4 << 20)).abs() < 1.0);
        scores.carried(&[C], 20_000, Duration::from_secs(2), now);
        assert!(scores.node(&C, now).cost > fresh);
        scores.carried(&[C], 1, Duration::ZERO, now);
    }

    #[test]
    fn s16_penalty_is_for_the_pair_of_exit_and_host() {
        let (now, mut scores) = (Instant::now(), Scores::new([7; 16]));
        let (one, two) = (scores.host("One.example."), scores.host("two.example"));
        assert_eq!(one, scores.host("one.example"));
        scores.host_failed(A, one, now);
        assert!(scores.exit_for_host(A, one, now).unfit);
        assert_eq!(scores.exit_for_host(A, two, now), NOTHING_KNOWN);
        assert_eq!(scores.exit_for_host(B, one, now), NOTHING_KNOWN);
        assert!(!scores.node(&A, now).unfit);
        assert!(!scores.exit_for_host(A, one, now + HOST_HALF_LIFE * 2).unfit);
        scores.host_worked(A, one);
        assert_eq!(scores.exit_for_host(A, one, now), NOTHING_KNOWN);
    }

    #[test]
    fn tables_stay_within_their_bounds_and_drop_the_oldest() {
        let (start, mut scores) = (Instant::now(), Scores::new([0; 16]));
        for n in 0..u64::try_from(MAX_HOSTS).unwrap() * 2 {
            scores.host_failed(A, HostId(n), start + Duration::from_millis(n));
            assert!(scores.hosts.len() <= MAX_HOSTS);
        }
        let newest = u64::try_from(MAX_HOSTS).unwrap() * 2 - 1;
        assert!(scores.hosts.contains_key(&(A, HostId(newest))));
        assert!(!scores.hosts.contains_key(&(A, HostId(0))));
        // The same instant for all: still bounded, and never emptied.
        for n in 0..u64::try_from(MAX_NODES).unwrap() + 10 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_le_bytes());
            scores.failed_at_node(key, start);
        }
        assert!(scores.nodes.len() <= MAX_NODES && scores.nodes.len() > MAX_NODES / 2);
    }
}
