//! What is counted while a mesh runs: when each node got a route, how long it
//! was poor in neighbours, and who learned whose address.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::event::Stage;

/// Below this many neighbours a node is poor. From what the design promises newcomers.
pub const POOR_BELOW: usize = 2;

/// One node's counters, since its first birth.
#[derive(Debug, Clone, Default)]
pub struct NodeCount {
    /// When it was first born.
    pub born: Option<Duration>,
    /// When it first reached [`Stage::RouteFound`].
    pub routed: Option<Duration>,
    /// Since when it has a route, if it has one.
    pub routed_since: Option<Duration>,
    /// The longest time at a stretch with fewer than [`POOR_BELOW`] neighbours, once there were
    /// three nodes in the mesh.
    pub longest_poor: Duration,
    /// Since when it has been poor, if it is.
    pub poor_since: Option<Duration>,
    /// Bytes of messages it sent, lengths included.
    pub bytes_sent: u64,
    /// Messages it sent.
    pub messages_sent: u64,
    /// Nodes that ever learned its address, by their indices: by dialling, by being dialled, or by
    /// being told where to dial.
    pub known_to: BTreeSet<u32>,
}

impl NodeCount {
    pub(super) fn stage(&mut self, now: Duration, stage: Stage) {
        if stage == Stage::RouteFound {
            self.routed.get_or_insert(now);
            self.routed_since.get_or_insert(now);
        } else {
            self.routed_since = None;
        }
    }

    pub(super) fn degree(&mut self, now: Duration, degree: usize, counts: bool) {
        if degree >= POOR_BELOW || !counts {
            self.settle(now);
            self.poor_since = None;
        } else {
            self.poor_since.get_or_insert(now);
        }
    }

    /// Takes a time that is still running into account.
    pub(super) fn settle(&mut self, now: Duration) {
        if let Some(since) = self.poor_since {
            self.longest_poor = self.longest_poor.max(now.saturating_sub(since));
        }
    }
}
