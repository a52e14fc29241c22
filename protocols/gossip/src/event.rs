//! What the gossip machine tells its host, and what the host gives it at the start.
//! Commands the other way are methods of [`crate::Behaviour`] and [`crate::state::Machine`].

use std::fmt;
use std::time::Duration;

use crate::address::Address;
use crate::descriptor::Descriptor;
use crate::key::NodeKey;
use crate::neighbourhood::EntryFor;
use crate::reach::Reach;
use crate::state::Ban;

/// Longest question or answer that travels in a circuit for an introduction, in bytes. A record
/// and a few addresses fit.
pub const MAX_ASK_LEN: usize = 1024;
/// How long such a question may take, from the wish to the answer. Guess: building a circuit of
/// three hops and one round trip on it, several times over.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(8);
/// Name of the service under which a node answers such questions, in circuits that end at it.
pub const ASK_SERVICE: &str = "masq/gossip/1";

/// How far the node has come into the mesh. Goes back as well as forward.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// No neighbour.
    #[default]
    NotConnected,
    /// A neighbour, but no way to an exit yet.
    ConnectedToNeighbour,
    /// A loop of the configured number of hops leads to an exit.
    RouteFound,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotConnected => "NotConnected",
            Self::ConnectedToNeighbour => "ConnectedToNeighbour",
            Self::RouteFound => "RouteFound",
        })
    }
}

/// Why a debut was refused. The numbers are those of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RefuseReason {
    /// The node has as many neighbours as it may.
    #[error("it has no room for another neighbour")]
    Full,
    /// The debutant is on another chain.
    #[error("it is on another chain")]
    WrongChain,
    /// The record is missing, malformed, expired or somebody else's.
    #[error("it does not accept this node's record (is the clock right?)")]
    BadRecord,
    /// A neighbour of it has the same public address.
    #[error("it already has a neighbour with this public IP address, and allows one")]
    SameAddress,
    /// Too many neighbours of it are in the same network.
    #[error("it already has as many neighbours in this network as it allows")]
    SamePrefix,
    /// Too many debuts from there in a short time.
    #[error("there were too many attempts from this address; it will be possible again later")]
    TooOften,
    /// The two are neighbours already, or are becoming so on another connection.
    #[error("the two are neighbours already")]
    Duplicate,
    /// A node that does not route needs an entry link, and there is no room for one.
    #[error("it cannot serve as entry for another node")]
    NoEntryRoom,
    /// The node is stopping.
    #[error("it is shutting down")]
    ShuttingDown,
    /// The node has banned this one.
    #[error("it has banned this node")]
    Banned,
    /// A reason from a later version of the protocol.
    #[error("it gave a reason this version does not know ({0})")]
    Other(u32),
}

/// Why a link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum DownReason {
    /// The connection was lost.
    #[error("connection lost")]
    Lost,
    /// Nothing was heard for too long.
    #[error("silent for too long")]
    Silent,
    /// The neighbour said goodbye.
    #[error("neighbour left")]
    Left,
    /// The link was given to a newcomer, by agreement of both ends.
    #[error("given to a newcomer")]
    Spliced,
    /// Both ends had more neighbours than they look for.
    #[error("both ends had neighbours to spare")]
    Spared,
    /// A newer connection of the same neighbour took its place.
    #[error("replaced by a newer connection")]
    Replaced,
    /// The neighbour broke the protocol.
    #[error("neighbour broke the protocol")]
    Misbehaved,
    /// The neighbour did not read what was sent.
    #[error("neighbour did not keep up")]
    Slow,
    /// This node shut down, or let go of the link.
    #[error("closed here")]
    Closed,
    /// The neighbour was banned here.
    #[error("neighbour is banned")]
    Banned,
}

/// Why a seed could not be joined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeedFailure {
    /// Nobody answered at the address.
    #[error("no node answers at its address")]
    Unreachable,
    /// Its address is a name that can't be resolved now.
    #[error("the name in its address can't be resolved")]
    NoSuchName,
    /// Somebody answered with another key.
    #[error("the node at its address has another key than the descriptor says")]
    WrongKey,
    /// The node answered and did not speak the protocol.
    #[error("what answers at its address does not speak this protocol")]
    NotANode,
    /// The node refused.
    #[error("{0}")]
    Refused(RefuseReason),
}

/// A past neighbour, to be kept encrypted by the host and handed back at the next start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The node.
    pub node: NodeKey,
    /// Where it could be dialled, best first; at most eight.
    pub addresses: Vec<Address>,
    /// When it was last a neighbour, in seconds since 1970.
    pub last_seen: u64,
}

/// What a node starts with.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// Nodes to join through.
    pub seeds: Vec<Descriptor>,
    /// What [`Event::Remember`] last said, from before the restart.
    pub remembered: Vec<Remembered>,
    /// What [`Event::PersistVersion`] last said; 0 for a new node.
    pub last_version: u64,
    /// What [`Event::Bans`] last said, from before the restart.
    pub bans: Vec<Ban>,
    /// Current and previous X25519 onion key.
    pub onion_keys: ([u8; 32], Option<[u8; 32]>),
}

/// What happened, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A link came up.
    NeighbourUp {
        /// The neighbour.
        node: NodeKey,
        /// The same as libp2p knows it.
        peer: libp2p::PeerId,
        /// For whom it is an entry link.
        entry: EntryFor,
    },
    /// A link became, or ceased to be, an entry link.
    NeighbourChanged {
        /// The neighbour.
        node: NodeKey,
        /// The same as libp2p knows it.
        peer: libp2p::PeerId,
        /// For whom it is an entry link now.
        entry: EntryFor,
    },
    /// A link ended.
    NeighbourDown {
        /// Who was the neighbour.
        node: NodeKey,
        /// The same as libp2p knows it.
        peer: libp2p::PeerId,
        /// Why.
        reason: DownReason,
    },
    /// The stage changed.
    StageChanged(Stage),
    /// Records, edges or links changed; several changes may have been gathered into one event.
    NeighbourhoodChanged,
    /// A node refused this one.
    Refused {
        /// Who refused.
        node: NodeKey,
        /// Why.
        reason: RefuseReason,
        /// A sentence for the operator.
        text: String,
    },
    /// A seed could not be joined; it will be tried again.
    SeedFailed {
        /// Which.
        descriptor: Descriptor,
        /// Why.
        why: SeedFailure,
    },
    /// Records up to this version may be signed from now on: store it. Emitted before any of them leaves.
    PersistVersion(u64),
    /// The list of past neighbours changed: store it.
    Remember(Vec<Remembered>),
    /// A node was banned, by hand or for a proven lie.
    Banned(Ban),
    /// A ban was lifted, or is over.
    Unbanned(NodeKey),
    /// The list of bans changed: store it.
    Bans(Vec<Ban>),
    /// Somebody shows two different records of this node with one version, both correctly signed:
    /// another node runs with this node's key. Others will ban the key. Told once per run.
    Accused,
    /// Ask a node by a circuit of its own that ends there, for an introduction; then call
    /// [`crate::Behaviour::on_answered`].
    Ask {
        /// To be handed back with the answer.
        call: u64,
        /// Who is asked.
        to: NodeKey,
        /// What is asked; at most [`MAX_ASK_LEN`] bytes.
        payload: Vec<u8>,
    },
    /// What came of [`crate::Behaviour::check_reachability`].
    Reach(Reach),
    /// Dial for a neighbour that wants to know whether it can be dialled: outside the Swarm, from a
    /// fresh port, within [`crate::PROBE_TIMEOUT`]; drop the connection as soon as the other end
    /// has proved its key; then call [`crate::Behaviour::on_probed`].
    Probe {
        /// To be handed back with what came of it.
        call: u64,
        /// Who must be at the other end.
        peer: libp2p::PeerId,
        /// Where: the neighbour's own address, with ports of its choice. At most eight.
        addresses: Vec<Address>,
    },
    /// The answer to [`crate::Behaviour::on_asked`].
    Reply {
        /// As it was handed in.
        call: u64,
        /// The answer; `None` to close without one.
        payload: Option<Vec<u8>>,
    },
}

impl RefuseReason {
    pub(crate) fn code(self) -> u32 {
        match self {
            Self::Full => 1,
            Self::WrongChain => 2,
            Self::BadRecord => 3,
            Self::SameAddress => 4,
            Self::SamePrefix => 5,
            Self::TooOften => 6,
            Self::Duplicate => 7,
            Self::NoEntryRoom => 8,
            Self::ShuttingDown => 9,
            Self::Banned => 10,
            Self::Other(code) => code,
        }
    }

    pub(crate) fn from_code(code: u32) -> Self {
        match code {
            1 => Self::Full,
            2 => Self::WrongChain,
            3 => Self::BadRecord,
            4 => Self::SameAddress,
            5 => Self::SamePrefix,
            6 => Self::TooOften,
            7 => Self::Duplicate,
            8 => Self::NoEntryRoom,
            9 => Self::ShuttingDown,
            10 => Self::Banned,
            other => Self::Other(other),
        }
    }
}
