//! What comes of asking a neighbour whether this node can be dialled. How it is
//! asked, and what is done for neighbours who ask, is in `state::reach`.

use std::net::IpAddr;

use crate::key::NodeKey;

/// The word of a neighbour on whether a node can be dialled from where it is. The numbers are
/// those of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ReachOutcome {
    /// A fresh connection came up, and the node at its end proved the expected key.
    #[error("it reached this node")]
    Reached,
    /// No connection came up, or somebody else answered.
    #[error("it could not reach this node")]
    NotReached,
    /// The neighbour does not check others, or not these ports.
    #[error("it does not check others")]
    Refused,
    /// The neighbour has checked often enough of late.
    #[error("it has checked often enough of late")]
    TooOften,
    /// The neighbour did not answer, or left. Never on the wire.
    #[error("it did not answer")]
    NoAnswer,
}

impl ReachOutcome {
    pub(crate) fn code(self) -> u32 {
        match self {
            Self::Reached => 1,
            Self::NotReached => 2,
            Self::Refused => 3,
            Self::TooOften => 4,
            Self::NoAnswer => 0,
        }
    }

    /// Numbers of a later version count as a refusal: nothing is known then.
    pub(crate) fn from_code(code: u32) -> Self {
        match code {
            1 => Self::Reached,
            2 => Self::NotReached,
            4 => Self::TooOften,
            _ => Self::Refused,
        }
    }

    /// Whether something was learnt.
    #[must_use]
    pub const fn is_answer(self) -> bool {
        matches!(self, Self::Reached | Self::NotReached)
    }
}

/// What [`crate::Behaviour::check_reachability`] brought.
#[derive(Clone, PartialEq, Eq)]
pub struct Reach {
    /// Who was asked last: the one that gave an answer, when any did.
    pub by: NodeKey,
    /// What it said.
    pub outcome: ReachOutcome,
    /// The ports that answered, as it says; empty unless [`ReachOutcome::Reached`].
    pub ports: Vec<u16>,
    /// The address under which it sees this node, as it says.
    pub seen: Option<IpAddr>,
}

// Addresses do not belong in logs.
impl std::fmt::Debug for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reach")
            .field("by", &self.by)
            .field("outcome", &self.outcome)
            .field("ports", &self.ports)
            .finish_non_exhaustive()
    }
}
