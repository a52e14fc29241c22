//! What is asked of a route, what comes back, and why there may be none. Not
//! here: the choice itself (`search`).

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::graph::{Graph, NodeKey, Rates};
use super::scores::HostId;
use super::suspects::Suspects;

/// Most hops of an over leg, and most nodes of a back leg with its exit. From
/// the specification of cores: a set-up package has room for twelve blocks, of
/// which six go to the over leg, five to the back leg, one to the origin.
pub const MAX_HOPS: u8 = 6;

/// Hops of the over leg when nothing else is configured. From the design.
const DEFAULT_HOPS: u8 = 3;

/// Fewest possible origins that a route should leave every hop with. A guess:
/// small enough that a neighbourhood of some thirty nodes meets it.
pub const DEFAULT_SUSPECT_FLOOR: u32 = 16;

/// How many hops an over leg has, its exit included. Each leg of a circuit
/// draws its length from the range. Default: exactly three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HopRange {
    min: u8,
    max: u8,
}

/// A number of hops outside 1 to [`MAX_HOPS`], or a range that runs backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("hops are a number from 1 to 6, or a range such as 3-4")]
#[non_exhaustive]
pub struct HopRangeError;

impl HopRange {
    /// From `min` to `max` hops, both included.
    ///
    /// # Errors
    ///
    /// When `min` is zero, `max` is above [`MAX_HOPS`] or below `min`.
    pub const fn new(min: u8, max: u8) -> Result<Self, HopRangeError> {
        if min == 0 || max > MAX_HOPS || min > max {
            return Err(HopRangeError);
        }
        Ok(Self { min, max })
    }

    /// Always `hops` hops.
    ///
    /// # Errors
    ///
    /// When `hops` is zero or above [`MAX_HOPS`].
    pub const fn exactly(hops: u8) -> Result<Self, HopRangeError> {
        Self::new(hops, hops)
    }

    /// The fewest hops.
    #[must_use]
    pub const fn min(self) -> u8 {
        self.min
    }

    /// The most hops.
    #[must_use]
    pub const fn max(self) -> u8 {
        self.max
    }
}

impl Default for HopRange {
    fn default() -> Self {
        Self {
            min: DEFAULT_HOPS,
            max: DEFAULT_HOPS,
        }
    }
}

impl fmt::Display for HopRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{}-{}", self.min, self.max)
        }
    }
}

impl FromStr for HopRange {
    type Err = HopRangeError;

    fn from_str(text: &str) -> Result<Self, HopRangeError> {
        let (min, max) = text.split_once('-').unwrap_or((text, text));
        let parse = |s: &str| s.trim().parse::<u8>().map_err(|_| HopRangeError);
        Self::new(parse(min)?, parse(max)?)
    }
}

/// In which countries exits should stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Countries {
    /// Groups of two capital letters, the most wanted group first. Countries
    /// of one group are equal.
    pub groups: Vec<Vec<[u8; 2]>>,
    /// Whether an exit in no group is out of the question. Otherwise it is
    /// only unlikely.
    pub strict: bool,
}

impl Countries {
    /// Which group `country` is in; the number of groups if in none.
    pub(super) fn rank(&self, country: Option<[u8; 2]>) -> usize {
        country
            .and_then(|c| self.groups.iter().position(|group| group.contains(&c)))
            .unwrap_or(self.groups.len())
    }
}

/// What is asked of a route. [`Request::new`] asks for nothing but a length.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// How many hops.
    pub hops: HopRange,
    /// Only this exit will do (a session that goes on over another circuit).
    pub exit: Option<NodeKey>,
    /// The end is asked for a service of its own, which every node that routes
    /// offers: it need not be an exit. It must not be a neighbour, who would
    /// learn whose circuit it is. With [`exit`](Self::exit), which says who.
    pub service: bool,
    /// Not these exits (they were tried for the same destination). They may
    /// still be relays.
    pub exclude_exits: &'a [NodeKey],
    /// Not these nodes, in any role.
    pub exclude_nodes: &'a [NodeKey],
    /// Not these edges, in either direction. The origin's own entry links are
    /// named with the origin as one end.
    pub exclude_edges: &'a [(NodeKey, NodeKey)],
    /// The destination, so that an exit through which it failed is avoided.
    pub host: Option<HostId>,
    /// The destination's port, so that exits that say they do not serve it are
    /// left out.
    pub port: Option<u16>,
    /// In which countries the exit should stand.
    pub countries: Option<&'a Countries>,
    /// The most that a relay and an exit may ask. Never exceeded.
    pub ceiling: Option<Rates>,
    /// Only nodes that serve without being paid, because the origin pays nobody.
    pub unpaid: bool,
    /// Fewest possible origins that each hop but the entry neighbours is left
    /// with, wherever a route exists that does so; lowered where the mesh is
    /// too small for it; 0 turns the rule off. Does not apply to circuits of
    /// one hop.
    pub suspect_floor: u32,
}

impl Request<'_> {
    /// Any exit, `hops` hops, nothing excluded, [`DEFAULT_SUSPECT_FLOOR`].
    #[must_use]
    pub const fn new(hops: HopRange) -> Self {
        Self {
            hops,
            exit: None,
            service: false,
            exclude_exits: &[],
            exclude_nodes: &[],
            exclude_edges: &[],
            host: None,
            port: None,
            countries: None,
            ceiling: None,
            unpaid: false,
            suspect_floor: DEFAULT_SUSPECT_FLOOR,
        }
    }
}

/// A route.
#[derive(Clone, PartialEq, Eq)]
pub struct Chosen {
    /// From the origin's entry neighbour to the exit, both included; one to
    /// [`MAX_HOPS`] nodes.
    pub over: Vec<NodeKey>,
    /// The relays from the exit home, in the order of travel; the last is an
    /// entry neighbour. Empty for one hop, else at most five.
    pub back: Vec<NodeKey>,
    /// Relays on both legs, an entry neighbour that begins and ends the loop
    /// not counted.
    pub shared: u32,
    /// How many origins each hop could suspect.
    pub suspects: Suspects,
}

impl Chosen {
    /// The exit.
    ///
    /// # Panics
    ///
    /// Never for what [`choose`](super::choose) returned: its over leg is not
    /// empty.
    #[must_use]
    pub fn exit(&self) -> NodeKey {
        *self.over.last().expect("an over leg has at least one hop")
    }

    /// All hops in the order of travel: the over leg, then the back leg.
    pub fn hops(&self) -> impl Iterator<Item = &NodeKey> {
        self.over.iter().chain(&self.back)
    }
}

impl fmt::Debug for Chosen {
    /// Lengths only: a route tied to a time does not belong in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chosen")
            .field("over", &self.over.len())
            .field("back", &self.back.len())
            .field("shared", &self.shared)
            .field("suspects", &self.suspects.lowest())
            .finish()
    }
}

impl Request<'_> {
    /// Why no loop was found in `graph`.
    pub(super) fn no_loop(&self, graph: &Graph) -> NoRoute {
        let hops = self.hops;
        if self.unpaid && graph.ids().any(|id| graph.node(id).paid) {
            return NoRoute::HopsPaid { hops };
        }
        let nodes = graph.len();
        NoRoute::NoLoop { hops, nodes }
    }
}

/// Why there is no route. Each sentence can be shown to a user as it is. All
/// of them can pass by themselves when the mesh changes; the second half also
/// when less is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NoRoute {
    /// The node has no link at all.
    #[error("this node has no neighbours yet, so nothing can be sent")]
    NoNeighbours,
    /// It has links, and none of them is its own entry link.
    #[error("this node has neighbours but no entry link yet, on which its own circuits must begin")]
    NoEntryLink,
    /// Entry neighbours whose records are not known, so no key to seal to.
    #[error("the entry neighbour has not yet sent its record")]
    EntryUnknown,
    /// No known node serves as an exit.
    #[error("no exit is known among the {nodes} nodes of this neighbourhood")]
    NoExit {
        /// Nodes known, the origin included.
        nodes: usize,
    },
    /// The one exit that was asked for is unknown or no longer an exit.
    #[error("the exit in use is no longer known to this node")]
    ExitUnknown,
    /// The node whose service is asked for is a neighbour, or this node itself.
    #[error("the node to be asked is a neighbour, and a circuit to it would hide nothing")]
    EndIsNeighbour,
    /// Exits exist, and the request rules all of them out by name.
    #[error("all {known} known exits have been tried or are excluded")]
    ExitsExcluded {
        /// Exits known.
        known: usize,
    },
    /// Exits are left, none of them in the countries asked for.
    #[error("no known exit stands in one of the countries asked for")]
    NoExitInCountry,
    /// Exits are left, none of which says that it serves the port.
    #[error("no known exit serves port {port}")]
    NoExitForPort {
        /// The port asked for.
        port: u16,
    },
    /// Exits are left, all of them above the ceiling.
    #[error("every known exit asks more than the price ceiling allows")]
    ExitsTooDear,
    /// Exits are left, all of them paid, and the origin pays nobody.
    #[error("no known exit serves unpaid, and payments are off here")]
    ExitsPaid,
    /// An exit that serves unpaid is there, and no loop of such relays leads to it.
    #[error(
        "no loop of nodes that serve unpaid leads to an exit and back (hops: {hops}), and payments \
         are off here"
    )]
    HopsPaid {
        /// Hops asked for.
        hops: HopRange,
    },
    /// One hop was asked for, and no entry neighbour can be the exit.
    #[error("with one hop the entry neighbour must be the exit, and it does not serve as one")]
    EntryIsNoExit,
    /// Exits and an entry link are there, and no loop joins them.
    #[error("no loop of {hops} hops leads to an exit and back among the {nodes} known nodes")]
    NoLoop {
        /// Hops asked for.
        hops: HopRange,
        /// Nodes known, the origin included.
        nodes: usize,
    },
    /// There are loops, and each of them leads through a node above the ceiling.
    #[error(
        "every loop of {hops} hops to an exit and back leads through a node that asks more than the price ceiling allows"
    )]
    LoopsTooDear {
        /// Hops asked for.
        hops: HopRange,
    },
}
