//! What this node itself has seen of nodes, edges and exits with hosts. Local,
//! never gossiped, so nobody can be defamed by it. Not here: what counts as a
//! failure (whoever runs circuits says so) and bans for proven lies (gossip).

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::graph::NodeKey;

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

/// Failures and trials that everybody starts with, so that nothing is judged
/// by one event: one failure in ten at first.
const PRIOR_BAD: f64 = 0.2;
const PRIOR_ALL: f64 = 2.0;
/// Failing more often than this is unfit: used only where nothing else is left.
const UNFIT: f64 = 0.5;
/// The part of an edge's failure that each of its ends is held to: one of the
/// two was at fault, and neither's word is worth more.
const END_BLAME: f64 = 0.5;
/// A host penalty above this makes the exit unfit for that host.
const HOST_UNFIT: f64 = 0.4;

/// What a failed set-up costs a user, in milliseconds of waiting. A guess.
const FAILURE_COST: f64 = 5_000.0;
/// Latency assumed of a hop that has not been seen yet, in milliseconds. A
/// guess between a city and an ocean.
const DEFAULT_LATENCY: f64 = 50.0;
/// Weight of a new latency sample. As in TCP's smoothed round trip time.
const LATENCY_GAIN: f64 = 0.125;
/// No sample above this counts, in milliseconds: slower is a failure.
const MAX_LATENCY: f64 = 10_000.0;

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

/// Two counters that halve every so often.
#[derive(Debug, Clone, Copy)]
struct Tally {
    good: f64,
    bad: f64,
    latency: Option<f64>,
    at: Instant,
}

impl Tally {
    fn new(now: Instant) -> Self {
        Self {
            good: 0.0,
            bad: 0.0,
            latency: None,
            at: now,
        }
    }

    fn decayed(mut self, now: Instant, half_life: Duration) -> Self {
        let passed = now.saturating_duration_since(self.at);
        let keep = (-passed.as_secs_f64() / half_life.as_secs_f64()).exp2();
        self.good *= keep;
        self.bad *= keep;
        self.at = self.at.max(now);
        self
    }

    fn judge(self, now: Instant) -> Judgement {
        let tally = self.decayed(now, HALF_LIFE);
        let failing = (tally.bad + PRIOR_BAD) / (tally.good + tally.bad + PRIOR_ALL);
        let above = (failing - PRIOR_BAD / PRIOR_ALL).max(0.0);
        Judgement {
            cost: above * FAILURE_COST,
            unfit: failing > UNFIT,
        }
    }
}

/// The store of local judgement. Bounded (about 2 MB when full): when a table
/// is full, the entries longest untouched make room.
pub struct Scores {
    salt: [u8; 16],
    nodes: HashMap<NodeKey, Tally>,
    edges: HashMap<(NodeKey, NodeKey), Tally>,
    hosts: HashMap<(NodeKey, HostId), Tally>,
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
                let old = tally.latency.unwrap_or(sample);
                tally.latency = Some(old + (sample - old) * LATENCY_GAIN);
            }
        }
        for pair in hops.windows(2) {
            let edge = edge(pair[0], pair[1]);
            touch(&mut self.edges, edge, MAX_EDGES, HALF_LIFE, now).good += 1.0;
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

    pub(super) fn node(&self, node: &NodeKey, now: Instant) -> Judgement {
        let tally = self.nodes.get(node);
        let mut judgement = tally.map_or(NOTHING_KNOWN, |tally| tally.judge(now));
        judgement.cost += tally.and_then(|t| t.latency).unwrap_or(DEFAULT_LATENCY);
        judgement
    }

    pub(super) fn edge(&self, a: NodeKey, b: NodeKey, now: Instant) -> Judgement {
        self.edges
            .get(&edge(a, b))
            .map_or(NOTHING_KNOWN, |tally| tally.judge(now))
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
        assert!((scores.node(&B, now).cost - 10.0).abs() < 0.01);
        assert_eq!(scores.edge(A, B, now).cost, 0.0);
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
