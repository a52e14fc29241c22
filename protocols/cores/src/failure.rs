//! What went wrong on a circuit and where: the codes that hops report, and the edge that
//! an origin draws from them.

use std::fmt;

use masq_onion::NodeKey;

use crate::paid::{MAX_DETAIL, bounded};

/// Version byte in front of a sealed failure.
const VERSION: u8 = 1;

/// Why a hop refused a set-up or gave a circuit up. One byte on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureCode {
    /// The exit ended the circuit in good order; not a failure.
    Ended,
    /// No stream to the next node could be opened.
    NextUnreachable,
    /// The next node of the block is no neighbour of this hop, or the link to it carries
    /// only circuits of its owner: from outside the two look the same.
    NotNeighbour,
    /// The next node ended the circuit without a reason of its own.
    NextClosed,
    /// The next node broke the rules of the protocol on the reverse direction.
    NextMisbehaved,
    /// The next node could not read its set-up, or said so of one it has seen before.
    NextRefusedPackage,
    /// The next node has no room or too many set-ups on the link.
    NextOverloaded,
    /// This hop has no room.
    Overloaded,
    /// The payment authorisation is missing or does not hold.
    BadAuthorisation,
    /// The set-up was seen before.
    Replay,
    /// The set-up cannot be read with any key that is still valid.
    BadPackage,
    /// The hop does not serve in this role.
    Refused,
    /// A cell did not authenticate, or the hop before broke the rules of the protocol.
    Protocol,
    /// The circuit was idle for too long.
    Idle,
    /// The cell counter is used up.
    Exhausted,
    /// The hop is stopping.
    Shutdown,
    /// A code that this version does not know.
    Unknown(u8),
}

impl FailureCode {
    /// The byte on the wire.
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Ended => 0,
            Self::NextUnreachable => 1,
            Self::NotNeighbour => 2,
            Self::NextClosed => 3,
            Self::NextMisbehaved => 4,
            Self::NextRefusedPackage => 5,
            Self::NextOverloaded => 6,
            Self::Overloaded => 16,
            Self::BadAuthorisation => 17,
            Self::Replay => 18,
            Self::BadPackage => 19,
            Self::Refused => 20,
            Self::Protocol => 22,
            Self::Idle => 23,
            Self::Exhausted => 24,
            Self::Shutdown => 25,
            Self::Unknown(byte) => byte,
        }
    }

    /// The code of a byte; every byte is some code.
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Ended,
            1 => Self::NextUnreachable,
            2 => Self::NotNeighbour,
            3 => Self::NextClosed,
            4 => Self::NextMisbehaved,
            5 => Self::NextRefusedPackage,
            6 => Self::NextOverloaded,
            16 => Self::Overloaded,
            17 => Self::BadAuthorisation,
            18 => Self::Replay,
            19 => Self::BadPackage,
            20 => Self::Refused,
            22 => Self::Protocol,
            23 => Self::Idle,
            24 => Self::Exhausted,
            25 => Self::Shutdown,
            other => Self::Unknown(other),
        }
    }

    /// Whether the hop that reports it accuses the edge to its next node; otherwise it
    /// speaks of itself or of the edge it was reached by.
    pub const fn is_about_next(self) -> bool {
        self.to_byte() >= 1 && self.to_byte() < 16
    }

    /// The same, where it may be a hop's own decision; otherwise that it does not serve.
    pub(crate) const fn of_hop(self) -> Self {
        match self {
            Self::Ended => Self::Refused,
            other => other,
        }
    }

    /// What a hop reports when its next node refused in plain with this code.
    pub(crate) const fn as_seen_before(self) -> Self {
        match self {
            Self::Overloaded | Self::Shutdown => Self::NextOverloaded,
            Self::Replay | Self::BadPackage => Self::NextRefusedPackage,
            _ => Self::NextClosed,
        }
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "circuit ended by the exit",
            Self::NextUnreachable => "next hop cannot be reached",
            Self::NotNeighbour => "next hop is no neighbour",
            Self::NextClosed => "next hop closed the circuit",
            Self::NextMisbehaved => "next hop broke the protocol",
            Self::NextRefusedPackage => "next hop refused the set-up package",
            Self::NextOverloaded => "next hop has no room",
            Self::Overloaded => "no room",
            Self::BadAuthorisation => {
                "asks to be paid, and the authorisation is missing or not valid"
            }
            Self::Replay => "set-up seen before",
            Self::BadPackage => "set-up cannot be read",
            Self::Refused => "refused",
            Self::Protocol => "a cell did not authenticate or the protocol was violated",
            Self::Idle => "idle for too long",
            Self::Exhausted => "cell counter used up",
            Self::Shutdown => "hop is stopping",
            Self::Unknown(byte) => return write!(f, "unknown code {byte}"),
        })
    }
}

/// A failure that some hop of a circuit reported to its origin.
///
/// Both ends of `edge` are to blame: either may lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitFailure {
    /// Which hop reported, counted from 0 over the over leg and on over the back leg.
    pub hop: usize,
    /// Its node key.
    pub node: NodeKey,
    /// What it reported.
    pub code: FailureCode,
    /// What it put behind the code, at most [`MAX_DETAIL`] bytes: with a refused
    /// authorisation, why. Empty where nothing was sealed.
    pub detail: Vec<u8>,
    /// The edge in question; the origin itself may be one of its ends.
    pub edge: (NodeKey, NodeKey),
}

impl CircuitFailure {
    /// Draws the edge from who reported what. `path` is the whole loop as the set-up
    /// travels it: origin, over hops, back relays, origin. `None` when `hop` is not on it.
    pub fn locate(path: &[NodeKey], hop: usize, code: FailureCode) -> Option<Self> {
        let at = hop.checked_add(1)?;
        if at + 1 >= path.len() {
            return None;
        }
        let edge = if code.is_about_next() {
            (path[at], path[at + 1])
        } else {
            (path[at - 1], path[at])
        };
        Some(Self {
            hop,
            node: path[at],
            code,
            detail: Vec::new(),
            edge,
        })
    }
}

impl CircuitFailure {
    /// Of a circuit that had not come home: how many hops, from the first, began to serve in it,
    /// as far as that can be told. `None` where all of them may have.
    pub(crate) fn reached(&self, origin: &NodeKey) -> Option<usize> {
        match self.code {
            // The first hop dropped the stream without a word: that was for want of a token.
            FailureCode::NextClosed if self.edge.0 == *origin => Some(0),
            // Said in place of serving. Of a link that is full it is the hop before that says it,
            // in nearly all cases before it serves.
            FailureCode::NextUnreachable
            | FailureCode::NotNeighbour
            | FailureCode::NextOverloaded
            | FailureCode::Overloaded
            | FailureCode::BadAuthorisation
            | FailureCode::Replay
            | FailureCode::BadPackage
            | FailureCode::Refused => Some(self.hop),
            // Said of a hop that did not take the set-up.
            FailureCode::NextRefusedPackage | FailureCode::NextClosed => Some(self.hop + 1),
            _ => None,
        }
    }
}

impl fmt::Display for CircuitFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hop {} reports: {}", self.hop + 1, self.code)
    }
}

impl std::error::Error for CircuitFailure {}

/// What a hop seals into a failure frame: `[1][code][detail]`.
pub(crate) fn encode(code: FailureCode, detail: Vec<u8>) -> Vec<u8> {
    let mut payload = vec![VERSION, code.to_byte()];
    payload.extend(bounded(detail, MAX_DETAIL, "detail of a failure"));
    payload
}

/// Reads what a hop sealed; of the detail, no more than may be there.
pub(crate) fn decode(payload: &[u8]) -> Option<(FailureCode, &[u8])> {
    match payload {
        [VERSION, code, detail @ ..] => Some((
            FailureCode::from_byte(*code),
            &detail[..detail.len().min(MAX_DETAIL)],
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_one_code() {
        for byte in 0..=u8::MAX {
            assert_eq!(FailureCode::from_byte(byte).to_byte(), byte);
        }
    }

    #[test]
    fn golden_failure_payload() {
        assert_eq!(encode(FailureCode::Overloaded, vec![]), [1, 16]);
        assert_eq!(
            encode(FailureCode::BadAuthorisation, vec![5, 19, 0, 7]),
            [1, 17, 5, 19, 0, 7]
        );
        assert_eq!(decode(&[1, 16]), Some((FailureCode::Overloaded, &[][..])));
        assert_eq!(
            decode(&[1, 17, 5, 9]),
            Some((FailureCode::BadAuthorisation, &[5, 9][..]))
        );
        assert_eq!(decode(&[2, 16]), None);
        assert_eq!(decode(&[]), None);
    }

    #[test]
    fn detail_is_bounded_on_both_sides() {
        let most = vec![7; MAX_DETAIL];
        assert_eq!(encode(FailureCode::Refused, most.clone()).len(), 34);
        assert_eq!(encode(FailureCode::Refused, vec![7; 33]), [1, 20]);
        let mut longer = vec![1, 20];
        longer.extend([7; 200]);
        assert_eq!(decode(&longer), Some((FailureCode::Refused, &most[..])));
    }

    #[test]
    fn a_failure_names_its_edge() {
        let key = |b| NodeKey([b; 32]);
        let path = [key(0), key(1), key(2), key(3), key(4), key(0)];
        let f = CircuitFailure::locate(&path, 1, FailureCode::NextUnreachable).unwrap();
        assert_eq!((f.node, f.edge), (key(2), (key(2), key(3))));
        let f = CircuitFailure::locate(&path, 0, FailureCode::Overloaded).unwrap();
        assert_eq!((f.node, f.edge), (key(1), (key(0), key(1))));
        let f = CircuitFailure::locate(&path, 3, FailureCode::NextClosed).unwrap();
        assert_eq!(f.edge, (key(4), key(0)));
        assert!(CircuitFailure::locate(&path, 4, FailureCode::NextClosed).is_none());
        assert!(CircuitFailure::locate(&path, usize::MAX, FailureCode::Ended).is_none());
    }
}
