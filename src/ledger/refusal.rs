//! Why a hop does not serve a payer, in words that reach the payer's user.

use super::{Tokens, Wei};

/// A reason, with the figure that would satisfy the hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Banned for a debt.
    #[error("a debt of {} is overdue; serving goes on when it is below {}", Tokens(*owed), Tokens(*unban))]
    Delinquent {
        /// What is owed.
        owed: Wei,
        /// Below which the ban ends.
        unban: Wei,
    },
    /// The credit limit of this payer is reached.
    #[error("the credit of {} is used up; prepaying {} or more opens it again", Tokens(*limit), Tokens(*pay))]
    OverLimit {
        /// The limit.
        limit: Wei,
        /// What has to be paid for what was asked for.
        pay: Wei,
    },
    /// Nothing is left for wallets that have not paid yet.
    #[error("nothing is left for wallets that have not paid yet; prepaying {} or more opens the account at once", Tokens(*pay))]
    NoFreeCredit {
        /// What has to be paid for what was asked for.
        pay: Wei,
    },
    /// The payer's balance of the token does not cover what it owes.
    #[error("the wallet's balance is below what it owes, {}", Tokens(*need))]
    NoTokens {
        /// What is needed.
        need: Wei,
    },
    /// The payer could not pay the fee of a payment.
    #[error(
        "the wallet has too little of the chain's own coin to pay a fee, {need} wei are needed"
    )]
    NoGas {
        /// What is needed, in wei of the chain's coin.
        need: Wei,
    },
    /// There are too many accounts or circuits already.
    #[error("there is no room for another account or circuit at the hop")]
    NoRoom,
    /// The lease is not known (it was given back, or the node restarted).
    #[error("the circuit's lease of credit is not known")]
    UnknownLease,
}
