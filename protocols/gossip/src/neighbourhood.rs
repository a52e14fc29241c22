//! The neighbourhood as the host sees it: an immutable picture of the records
//! within the radius, the edges that both ends vouch for, and the node's own links.
//! How the picture is kept up to date is in `state::spread`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::key::NodeKey;
use crate::record::SignedRecord;

/// For whom a link is an entry link. A link that is one for anybody is in nobody's record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntryFor {
    /// A listed link: circuits of others may cross it, own circuits don't begin on it.
    #[default]
    None,
    /// Our circuits begin and end on it.
    Us,
    /// The neighbour's circuits begin and end on it.
    Them,
    /// Both.
    Both,
}

impl EntryFor {
    /// From the two ends' choices.
    pub const fn new(ours: bool, theirs: bool) -> Self {
        match (ours, theirs) {
            (false, false) => Self::None,
            (true, false) => Self::Us,
            (false, true) => Self::Them,
            (true, true) => Self::Both,
        }
    }

    /// Own circuits begin and end here.
    pub const fn ours(self) -> bool {
        matches!(self, Self::Us | Self::Both)
    }

    /// The neighbour's circuits begin and end here.
    pub const fn theirs(self) -> bool {
        matches!(self, Self::Them | Self::Both)
    }

    /// The link is in our record, once it has been published.
    pub const fn listed(self) -> bool {
        matches!(self, Self::None)
    }
}

/// One of the node's own links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The neighbour.
    pub node: NodeKey,
    /// For whom it is an entry link.
    pub entry: EntryFor,
}

/// A link with what only the operator of this node may see.
#[derive(Debug, Clone)]
pub struct LinkInfo {
    /// The neighbour.
    pub node: NodeKey,
    /// For whom it is an entry link.
    pub entry: EntryFor,
    /// How long it has been up.
    pub age: Duration,
    /// Last measured round trip on the gossip stream.
    pub rtt: Option<Duration>,
    /// The neighbour's address, for display on this machine only.
    pub remote: Option<IpAddr>,
    /// Whether this node dialled.
    pub dialled: bool,
}

/// Everything a node knows of the mesh around it at one moment.
#[derive(Debug, Clone)]
pub struct Neighbourhood {
    pub(crate) me: NodeKey,
    pub(crate) own: Arc<SignedRecord>,
    pub(crate) records: BTreeMap<NodeKey, Arc<SignedRecord>>,
    pub(crate) edges: BTreeMap<NodeKey, Vec<NodeKey>>,
    pub(crate) links: Vec<Link>,
}

impl Neighbourhood {
    /// This node.
    pub fn me(&self) -> NodeKey {
        self.me
    }

    /// This node's latest record. Links that came up a moment ago may be missing in it.
    pub fn own(&self) -> &SignedRecord {
        &self.own
    }

    /// The record of another node within the radius.
    pub fn record(&self, node: &NodeKey) -> Option<&SignedRecord> {
        self.records.get(node).map(AsRef::as_ref)
    }

    /// Records of all other nodes within the radius, in order of their keys.
    pub fn records(&self) -> impl Iterator<Item = &SignedRecord> {
        self.records.values().map(AsRef::as_ref)
    }

    /// Number of other nodes known.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether no other node is known.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Nodes that `node` lists and that list it; this node's own listed links included.
    pub fn edges(&self, node: &NodeKey) -> &[NodeKey] {
        self.edges.get(node).map_or(&[], Vec::as_slice)
    }

    /// Every listed edge once, the smaller key first.
    pub fn all_edges(&self) -> impl Iterator<Item = (NodeKey, NodeKey)> {
        self.edges.iter().flat_map(|(from, to)| {
            to.iter()
                .filter(move |to| from < *to)
                .map(move |to| (*from, *to))
        })
    }

    /// The node's own links, entry links included.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Neighbours on whose links own circuits begin and end.
    pub fn entries(&self) -> impl Iterator<Item = NodeKey> {
        self.links
            .iter()
            .filter(|link| link.entry.ours())
            .map(|link| link.node)
    }
}
