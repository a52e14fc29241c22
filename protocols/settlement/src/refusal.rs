//! Why a hop does not serve, or does not do what it was asked: codes, figures, sentences.

use std::fmt;

use crate::rates::Wei;

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The block carries no authorisation.
    NoAuthorisation,
    /// The kind of authorisation is not known here.
    UnknownKind,
    /// The body cannot be read, or contradicts itself.
    Malformed,
    /// It begins in the future.
    NotYetValid,
    /// It is over.
    Expired,
    /// It is made out for longer than an hour.
    TooLongLived,
    /// Not signed by the payer for this hop, circuit, chain and token.
    BadSignature,
    /// A rate in it is below what the hop asks for.
    RateTooLow,
    /// It was seen before.
    Replayed,
    /// The payer has not paid what is overdue. Figure: what is owed.
    Delinquent,
    /// The payer has too few tokens. Figure: what is needed.
    NoTokens,
    /// The payer has too little of the chain's own coin to pay with. Figure: what is needed.
    NoGas,
    /// The payer's credit at this hop is used up. Figure: what would have to be paid.
    OverLimit,
    /// The hop has no room for another account or circuit.
    NoRoom,
    /// The peer asks for somebody else's account.
    NotYours,
    /// Too many messages.
    TooOften,
    /// There is nothing to say.
    Nothing,
    /// A code that this version does not know.
    Other(u8),
}

impl Reason {
    /// The byte on the wire.
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::NoAuthorisation => 1,
            Self::UnknownKind => 2,
            Self::Malformed => 3,
            Self::NotYetValid => 4,
            Self::Expired => 5,
            Self::TooLongLived => 6,
            Self::BadSignature => 7,
            Self::RateTooLow => 8,
            Self::Replayed => 9,
            Self::Delinquent => 16,
            Self::NoTokens => 17,
            Self::NoGas => 18,
            Self::OverLimit => 19,
            Self::NoRoom => 32,
            Self::NotYours => 33,
            Self::TooOften => 34,
            Self::Nothing => 35,
            Self::Other(byte) => byte,
        }
    }

    /// The reason of a byte; every byte is some reason.
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::NoAuthorisation,
            2 => Self::UnknownKind,
            3 => Self::Malformed,
            4 => Self::NotYetValid,
            5 => Self::Expired,
            6 => Self::TooLongLived,
            7 => Self::BadSignature,
            8 => Self::RateTooLow,
            9 => Self::Replayed,
            16 => Self::Delinquent,
            17 => Self::NoTokens,
            18 => Self::NoGas,
            19 => Self::OverLimit,
            32 => Self::NoRoom,
            33 => Self::NotYours,
            34 => Self::TooOften,
            35 => Self::Nothing,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoAuthorisation => "no payment authorisation",
            Self::UnknownKind => "unknown kind of payment authorisation",
            Self::Malformed => "payment authorisation malformed",
            Self::NotYetValid => "payment authorisation not valid yet",
            Self::Expired => "payment authorisation expired",
            Self::TooLongLived => "payment authorisation valid for too long",
            Self::BadSignature => {
                "payment authorisation not signed by the payer for this hop, chain and token"
            }
            Self::RateTooLow => "authorised rate below the hop's",
            Self::Replayed => "payment authorisation seen before",
            Self::Delinquent => "a debt to the hop is overdue",
            Self::NoTokens => "the payer's token balance is too low",
            Self::NoGas => "the payer's balance for gas is too low",
            Self::OverLimit => "the payer's credit at the hop is used up",
            Self::NoRoom => "no room",
            Self::NotYours => "not this peer's account",
            Self::TooOften => "too many messages",
            Self::Nothing => "nothing to say",
            Self::Other(byte) => return write!(f, "unknown reason {byte}"),
        })
    }
}

/// A refusal, as it travels: a reason and the figure that would satisfy the hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// In wei, of the token or (no gas) of the chain's coin; 0 where there is none to give.
    pub figure: Wei,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { reason, figure: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_one_reason() {
        for byte in 0..=u8::MAX {
            assert_eq!(Reason::from_byte(byte).to_byte(), byte);
        }
    }
}
