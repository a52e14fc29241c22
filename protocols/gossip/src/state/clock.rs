//! How this node's clock compares with those of the nodes at the other ends of
//! its connections, by when they say that they made their records. No server is
//! asked. What follows from it is the host's to say.
//!
//! A record may be minutes old when it arrives, so a record from the past says
//! little; one that comes from the future says at once that this clock is
//! behind. Records are renewed every ten minutes: after a quarter of an hour
//! the latest one of a node was seen fresh.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::key::NodeKey;

/// Nodes compared with; the one unheard for longest is forgotten. Guess.
const MAX_COMPARED: usize = 32;
/// A fresh record of every node comes within this: records are renewed every ten minutes, a
/// quarter more or less.
const WINDOW: Duration = Duration::from_secs(15 * 60);

/// This clock beside another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockView {
    /// Whose.
    pub node: NodeKey,
    /// By how many seconds the other clock is ahead of this one, at least; negative when it is
    /// behind.
    pub ahead: i64,
    /// Whether the node was heard long enough for `ahead` to be exact to some seconds, and not a
    /// lower bound only.
    pub settled: bool,
}

#[derive(Debug)]
struct Sample {
    since: Duration,
    last: Duration,
    most: i64,
    /// The window before.
    before: Option<i64>,
}

/// Clocks of nodes on the other ends of connections.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    samples: BTreeMap<NodeKey, Sample>,
}

impl Clocks {
    /// A record of a node arrived.
    pub(super) fn note(&mut self, node: NodeKey, issued: u64, now: super::Now) {
        let ahead = i64::try_from(i128::from(issued) - i128::from(now.unix)).unwrap_or(i64::MAX);
        if !self.samples.contains_key(&node) && self.samples.len() >= MAX_COMPARED {
            let oldest = self.samples.iter().min_by_key(|(_, sample)| sample.last);
            if let Some(oldest) = oldest.map(|(node, _)| *node) {
                self.samples.remove(&oldest);
            }
        }
        let sample = self.samples.entry(node).or_insert(Sample {
            since: now.mono,
            last: now.mono,
            most: ahead,
            before: None,
        });
        sample.last = now.mono;
        if now.mono.saturating_sub(sample.since) >= WINDOW {
            sample.before = Some(sample.most);
            sample.since = now.mono;
            sample.most = ahead;
        }
        sample.most = sample.most.max(ahead);
    }

    pub(super) fn views(&self, now: Duration) -> Vec<ClockView> {
        let heard = |sample: &Sample| now.saturating_sub(sample.last) < 2 * WINDOW;
        let view = |(node, sample): (&NodeKey, &Sample)| ClockView {
            node: *node,
            ahead: sample.most.max(sample.before.unwrap_or(i64::MIN)),
            settled: sample.before.is_some(),
        };
        let live = self.samples.iter().filter(|(_, sample)| heard(sample));
        live.map(view).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Now;
    use super::*;

    const NODE: NodeKey = NodeKey([1; 32]);

    fn at(seconds: u64) -> Now {
        Now {
            mono: Duration::from_secs(seconds),
            unix: 1_700_000_000 + seconds,
        }
    }

    fn only(clocks: &Clocks, seconds: u64) -> (i64, bool) {
        let views = clocks.views(Duration::from_secs(seconds));
        assert_eq!(views.len(), 1);
        (views[0].ahead, views[0].settled)
    }

    #[test]
    fn the_freshest_record_counts_and_settles_after_a_window() {
        let mut clocks = Clocks::default();
        clocks.note(NODE, at(0).unix - 500, at(0));
        assert_eq!(only(&clocks, 1), (-500, false));
        clocks.note(NODE, at(100).unix - 1, at(100));
        clocks.note(NODE, at(500).unix - 300, at(500));
        assert_eq!(only(&clocks, 501), (-1, false));
        clocks.note(NODE, at(950).unix - 2, at(950));
        assert_eq!(only(&clocks, 951), (-1, true));
        clocks.note(NODE, at(1900).unix - 3, at(1900));
        assert_eq!(only(&clocks, 1901), (-2, true));
        assert!(clocks.views(Duration::from_secs(9000)).is_empty());
    }

    #[test]
    fn any_issue_time_is_taken_and_few_nodes_are_kept() {
        let mut clocks = Clocks::default();
        for n in 0..100u8 {
            clocks.note(NodeKey([n; 32]), u64::MAX, at(n.into()));
            clocks.note(NodeKey([n; 32]), 0, at(n.into()));
        }
        assert_eq!(clocks.samples.len(), MAX_COMPARED);
        assert!(clocks.samples.contains_key(&NodeKey([99; 32])));
    }
}
