//! The neighbourhood as routing sees it: nodes, the edges that both ends list,
//! and the origin's own links. Not here: how it became known (gossip) and what
//! is chosen from it (`search`).

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A node's Ed25519 public key, 32 raw bytes.
pub type NodeKey = [u8; 32];

/// Most links a node may have, entry links among them. From the specification
/// of gossip; a sixth edge of a node is ignored.
pub const MAX_LINKS: usize = 5;

/// Most nodes kept. A guess: a radius of four in a mesh of degree five holds
/// at most 426 nodes, so this leaves room for a wider radius. More are ignored.
const MAX_NODES: usize = 16_384;

/// Most ranges in a port summary; from the 256 characters that a record gives
/// to it, which hold no more than 128 ports.
const MAX_PORT_RANGES: usize = 128;

/// A node's index in the graph.
pub(super) type Id = u32;

/// The prices of one node, each in wei of the token. Also a ceiling on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Per byte carried as a relay.
    pub routing_byte: u64,
    /// Per package carried as a relay.
    pub routing_package: u64,
    /// Per byte carried as the exit.
    pub exit_byte: u64,
    /// Per package carried as the exit.
    pub exit_package: u64,
}

impl Rates {
    /// Whether a relay with these rates stays under `ceiling`.
    #[must_use]
    pub fn relay_within(&self, ceiling: &Self) -> bool {
        self.routing_byte <= ceiling.routing_byte && self.routing_package <= ceiling.routing_package
    }

    /// Whether an exit with these rates stays under `ceiling`.
    #[must_use]
    pub fn exit_within(&self, ceiling: &Self) -> bool {
        self.exit_byte <= ceiling.exit_byte && self.exit_package <= ceiling.exit_package
    }
}

/// The ports that an exit says it serves, in the form that exits put in their
/// records: `accept 80,443,8000-8999` or `reject 25,119`. A summary only: the
/// exit's own policy decides. The default serves every port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ports {
    accept: bool,
    ranges: Vec<(u16, u16)>,
}

impl Ports {
    /// Whether the summary does not rule `port` out.
    #[must_use]
    pub fn allows(&self, port: u16) -> bool {
        let listed = self
            .ranges
            .iter()
            .any(|(low, high)| (*low..=*high).contains(&port));
        listed == self.accept
    }
}

/// A port summary that is not of the form `accept 80,443` or `reject 25`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a port summary is the word accept or reject and a list of ports such as 80,443,8000-8999")]
#[non_exhaustive]
pub struct PortsError;

impl FromStr for Ports {
    type Err = PortsError;

    fn from_str(text: &str) -> Result<Self, PortsError> {
        let (verb, list) = text.trim().split_once(' ').ok_or(PortsError)?;
        let accept = match verb {
            "accept" => true,
            "reject" => false,
            _ => return Err(PortsError),
        };
        let mut ranges = Vec::new();
        for part in list.split(',') {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            let parse = |s: &str| s.trim().parse::<u16>().map_err(|_| PortsError);
            let (low, high) = (parse(low)?, parse(high)?);
            if low > high || ranges.len() == MAX_PORT_RANGES {
                return Err(PortsError);
            }
            ranges.push((low, high));
        }
        Ok(Self { accept, ranges })
    }
}

/// What routing needs of a node's record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeInfo {
    /// The node's present X25519 onion key. Carried for the caller; routing
    /// does not read it.
    pub onion: [u8; 32],
    /// Carries circuits of others as a relay.
    pub routes: bool,
    /// Serves as an exit.
    pub exits: bool,
    /// How many neighbours its record lists (at most [`MAX_LINKS`]), those
    /// among them that do not list it in return or are unknown included.
    pub listed_links: u8,
    /// The country that it claims, as two capital letters.
    pub country: Option<[u8; 2]>,
    /// Its prices.
    pub rates: Rates,
    /// Whether it serves only those who pay: its record names a wallet.
    pub paid: bool,
    /// The ports that it serves as an exit.
    pub ports: Ports,
}

/// The neighbourhood of one node, ready for choosing routes. Immutable: build
/// a new one when gossip says that something changed. About 200 bytes for each
/// node.
#[derive(Clone)]
pub struct Graph {
    keys: Vec<NodeKey>,
    ids: HashMap<NodeKey, Id>,
    infos: Vec<NodeInfo>,
    edges: Vec<Vec<Id>>,
    me: Id,
    entry: Vec<Id>,
    neighbour: Vec<bool>,
    links: usize,
    entry_links: usize,
}

impl fmt::Debug for Graph {
    /// Sizes only: who knows whom does not belong in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graph")
            .field("nodes", &self.keys.len())
            .field("entry", &self.entry.len())
            .finish_non_exhaustive()
    }
}

impl Graph {
    /// Starts a graph around the node `me`.
    #[must_use]
    pub fn builder(me: NodeKey) -> Builder {
        Builder {
            me,
            nodes: HashMap::new(),
            edges: Vec::new(),
            entry: Vec::new(),
            listed: Vec::new(),
        }
    }

    /// How many nodes are known, the origin included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether nobody but the origin is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.len() <= 1
    }

    /// What is known of the node `key`.
    #[must_use]
    pub fn info(&self, key: &NodeKey) -> Option<&NodeInfo> {
        self.id(key).map(|id| self.node(id))
    }

    /// Whether both `a` and `b` list each other.
    #[must_use]
    pub fn has_edge(&self, a: &NodeKey, b: &NodeKey) -> bool {
        match (self.id(a), self.id(b)) {
            (Some(a), Some(b)) => self.adjacent(a, b),
            _ => false,
        }
    }

    /// The origin's entry neighbours whose records are known.
    pub fn entry_neighbours(&self) -> impl Iterator<Item = &NodeKey> {
        self.entry.iter().map(|id| self.key(*id))
    }

    pub(super) fn id(&self, key: &NodeKey) -> Option<Id> {
        self.ids.get(key).copied()
    }

    pub(super) fn key(&self, id: Id) -> &NodeKey {
        &self.keys[id as usize]
    }

    pub(super) fn node(&self, id: Id) -> &NodeInfo {
        &self.infos[id as usize]
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = Id> + use<> {
        0..Id::try_from(self.keys.len()).expect("at most MAX_NODES nodes")
    }

    pub(super) fn me(&self) -> Id {
        self.me
    }

    /// Own entry neighbours with a record, in ascending order of their keys.
    pub(super) fn entry(&self) -> &[Id] {
        &self.entry
    }

    pub(super) fn is_entry(&self, id: Id) -> bool {
        self.entry.contains(&id)
    }

    /// Whether the origin has a link to it, of either kind.
    pub(super) fn is_neighbour(&self, id: Id) -> bool {
        self.neighbour[id as usize]
    }

    /// Links of the origin, of either kind, with or without a record; one that
    /// is known both as a live link and as an edge counts twice.
    pub(super) fn links(&self) -> usize {
        self.links
    }

    /// Entry links of the origin, with or without a record.
    pub(super) fn entry_links(&self) -> usize {
        self.entry_links
    }

    pub(super) fn edges(&self, id: Id) -> &[Id] {
        &self.edges[id as usize]
    }

    pub(super) fn adjacent(&self, a: Id, b: Id) -> bool {
        self.edges(a).contains(&b)
    }

    /// Places that its record leaves for unlisted links.
    pub(super) fn spare(&self, id: Id) -> usize {
        let listed = usize::from(self.node(id).listed_links).max(self.edges(id).len());
        MAX_LINKS.saturating_sub(listed)
    }
}

/// Collects a [`Graph`]. The order of calls does not matter.
pub struct Builder {
    me: NodeKey,
    nodes: HashMap<NodeKey, NodeInfo>,
    edges: Vec<(NodeKey, NodeKey)>,
    entry: Vec<NodeKey>,
    listed: Vec<NodeKey>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("nodes", &self.nodes.len())
            .field("edges", &self.edges.len())
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// A node whose valid record is known. The origin's own record may be
    /// given too; it counts where suspects are counted. Nodes above the bound
    /// (16,384) are ignored.
    #[must_use]
    pub fn node(mut self, key: NodeKey, info: NodeInfo) -> Self {
        if self.nodes.len() < MAX_NODES || self.nodes.contains_key(&key) {
            self.nodes.insert(key, info);
        }
        self
    }

    /// An edge that both ends list. In either order, once or twice. An edge
    /// with an end that has no record, from a node to itself, or beyond
    /// [`MAX_LINKS`] of either end is ignored.
    #[must_use]
    pub fn edge(mut self, a: NodeKey, b: NodeKey) -> Self {
        if self.edges.len() < MAX_NODES * MAX_LINKS * 2 {
            self.edges.push((a, b));
        }
        self
    }

    /// A live entry link of the origin, usable for its own circuits.
    #[must_use]
    pub fn entry(mut self, key: NodeKey) -> Self {
        if self.entry.len() < MAX_LINKS && !self.entry.contains(&key) && key != self.me {
            self.entry.push(key);
        }
        self
    }

    /// A live link of the origin that is not its own entry link.
    #[must_use]
    pub fn listed(mut self, key: NodeKey) -> Self {
        if self.listed.len() < MAX_LINKS && !self.listed.contains(&key) && key != self.me {
            self.listed.push(key);
        }
        self
    }

    /// Puts it together.
    #[must_use]
    pub fn build(mut self) -> Graph {
        self.nodes.entry(self.me).or_default();
        // Sorted, so that one seed gives one route whatever order gossip came in.
        let mut nodes: Vec<(NodeKey, NodeInfo)> = self.nodes.into_iter().collect();
        nodes.sort_unstable_by_key(|(key, _)| *key);
        let (keys, infos): (Vec<_>, Vec<_>) = nodes.into_iter().unzip();
        let ids: HashMap<NodeKey, Id> = keys.iter().copied().zip(0..).collect();

        let mut pairs: Vec<(Id, Id)> = self
            .edges
            .iter()
            .filter_map(|(a, b)| Some((*ids.get(a)?, *ids.get(b)?)))
            .filter(|(a, b)| a != b)
            .map(|(a, b)| (a.min(b), a.max(b)))
            .collect();
        pairs.sort_unstable();
        pairs.dedup();
        let mut edges: Vec<Vec<Id>> = vec![Vec::new(); keys.len()];
        for (a, b) in pairs {
            if edges[a as usize].len() < MAX_LINKS && edges[b as usize].len() < MAX_LINKS {
                edges[a as usize].push(b);
                edges[b as usize].push(a);
            }
        }

        let me = ids[&self.me];
        let mut entry: Vec<Id> = self
            .entry
            .iter()
            .filter_map(|k| ids.get(k).copied())
            .collect();
        entry.sort_unstable();
        let mut neighbour = vec![false; keys.len()];
        let listed = self.listed.iter().filter_map(|k| ids.get(k));
        for id in listed.chain(&entry).chain(&edges[me as usize]) {
            neighbour[*id as usize] = true;
        }
        Graph {
            links: self.entry.len() + self.listed.len() + edges[me as usize].len(),
            entry_links: self.entry.len(),
            keys,
            ids,
            infos,
            edges,
            me,
            entry,
            neighbour,
        }
    }
}
