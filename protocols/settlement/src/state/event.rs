//! What the books tell the host, and the form in which accounts are stored.

use std::fmt;

use alloy_primitives::{Address, B256};

use super::Found;
use crate::eip712::SignError;
use crate::key::{CircuitRef, NodeKey};
use crate::message::{PaymentState, Receipt};
use crate::rates::Wei;
use crate::refusal::Refusal;

/// What is wrong with a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptFault {
    /// Older than one that is there. Never reported: it happens when messages overtake.
    #[error("receipt is out of date")]
    Stale,
    /// It answers a statement that was never made.
    #[error("receipt answers no statement")]
    Unasked,
    /// It acknowledges less than one before.
    #[error("receipt takes back what was acknowledged")]
    Falling,
    /// It acknowledges more than was carried, or contradicts itself.
    #[error("receipt acknowledges more than was carried")]
    TooMuch,
    /// It is not signed by the payer.
    #[error("receipt is not signed by the payer")]
    Signature,
}

/// Something the host should know.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A payer acknowledges so much since the epoch of its account.
    Acknowledged {
        /// Who.
        payer: Address,
        /// In wei.
        total: Wei,
    },
    /// A payer sent a receipt that does not hold.
    BadReceipt {
        /// Who.
        payer: Address,
        /// What is wrong with it.
        fault: ReceiptFault,
    },
    /// What circuits that broke are worth beyond what the payer acknowledges was taken out of
    /// the books.
    WrittenOff {
        /// Whose.
        payer: Address,
        /// In wei.
        amount: Wei,
    },
    /// A payer acknowledges what was written off after all: it is in the books again.
    Recovered {
        /// Whose.
        payer: Address,
        /// In wei.
        amount: Wei,
    },
    /// A payer does not acknowledge circuits that ended in good order. It stays booked.
    Disowned {
        /// Who.
        payer: Address,
        /// In wei.
        amount: Wei,
    },
    /// A circuit has come to cost more than its authorisation allows: end it.
    OverSpend {
        /// Whose.
        payer: Address,
        /// Which.
        circuit: CircuitRef,
    },
    /// A payer's credit is used up: end its circuits, or wait for its payment for a moment.
    OverLimit {
        /// Whose.
        payer: Address,
        /// How much of it, in wei, was written off after circuits broke, beyond what an honest
        /// payer loses. It is no debt, so a host that looks at debts alone does not see it: where
        /// it is not 0, the circuits are to be ended.
        broke: Wei,
    },
    /// What a payer is credited with has changed.
    Credited {
        /// Who.
        payer: Address,
        /// Not final, in wei.
        provisional: Wei,
        /// Final, in wei.
        final_credit: Wei,
    },
    /// A provisional credit is gone from the chain.
    TakenBack {
        /// Whose.
        payer: Address,
        /// In wei.
        amount: Wei,
    },
    /// Money came for which there is no room: the host must keep it, and say it again when the
    /// payer has an account.
    Unbooked {
        /// Who paid.
        payer: Address,
        /// What there was.
        found: Found,
    },
    /// A receipt was signed.
    Signed {
        /// For whom.
        hop: NodeKey,
        /// Acknowledged since the epoch, in wei.
        total: Wei,
    },
    /// A receipt could not be signed; it is tried again.
    Unsigned {
        /// Why.
        error: SignError,
    },
    /// A hop claims more than this node has booked: only the booked amount was acknowledged.
    /// Routes should avoid it, and the user should know.
    Disputed {
        /// Who.
        hop: NodeKey,
        /// What it states, in wei.
        stated: Wei,
        /// What is booked here, in wei.
        booked: Wei,
        /// How often it has done so, this time counted.
        times: u32,
    },
    /// A hop whose claim was disputed states the truth again.
    Reconciled {
        /// Who.
        hop: NodeKey,
    },
    /// A hop asks for less than was booked after circuits broke; the rest was taken out.
    Adjusted {
        /// Who.
        hop: NodeKey,
        /// In wei.
        amount: Wei,
    },
    /// A hop says what it sees of a payment.
    PaymentSeen {
        /// Who.
        hop: NodeKey,
        /// Which.
        transaction: B256,
        /// What it sees.
        state: PaymentState,
    },
    /// A hop refused something.
    Refused {
        /// Who.
        hop: NodeKey,
        /// Why.
        refusal: Refusal,
    },
    /// A payment was made to a hop that there is no room for an account of.
    NoRoom {
        /// Who.
        hop: NodeKey,
    },
}

impl Event {
    /// Its name, which may be shown in logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Acknowledged { .. } => "acknowledged",
            Self::BadReceipt { .. } => "bad receipt",
            Self::WrittenOff { .. } => "written off",
            Self::Recovered { .. } => "recovered",
            Self::Disowned { .. } => "disowned",
            Self::OverSpend { .. } => "over spend",
            Self::OverLimit { .. } => "over limit",
            Self::Credited { .. } => "credited",
            Self::TakenBack { .. } => "taken back",
            Self::Unbooked { .. } => "unbooked",
            Self::Signed { .. } => "signed",
            Self::Unsigned { .. } => "unsigned",
            Self::Disputed { .. } => "disputed",
            Self::Reconciled { .. } => "reconciled",
            Self::Adjusted { .. } => "adjusted",
            Self::PaymentSeen { .. } => "payment seen",
            Self::Refused { .. } => "refused",
            Self::NoRoom { .. } => "no room",
        }
    }
}

impl fmt::Debug for Event {
    /// Only its name: events hold wallets and amounts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Event({})", self.name())
    }
}

/// A payer's account, as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct PayerBooks {
    /// Who owes.
    pub payer: Address,
    /// When the account was opened, in seconds since 1970.
    pub epoch: u32,
    /// What was booked before the epoch, in wei.
    pub base: Wei,
    /// Price of everything carried, less what was written off, in wei.
    pub booked: Wei,
    /// Of the last statement.
    pub sequence: u64,
    /// The last receipt; it may be of an epoch before.
    pub signed: Option<Receipt>,
    /// Written off in all, in wei.
    pub written_off: Wei,
    /// Paid and final, in wei.
    pub final_credit: Wei,
    /// Paid and not final, in wei.
    pub provisional: Vec<(B256, Wei)>,
    /// The last transactions that went into `final_credit`, so that none is counted again.
    pub counted: Vec<B256>,
    /// For how much the payer is served before it has to pay, in wei.
    pub limit: Wei,
}

impl PayerBooks {
    /// What the payer owes, in wei; 0 when it has prepaid.
    pub fn owed(&self) -> Wei {
        self.booked.saturating_sub(self.credited())
    }

    /// Paid, final or not, in wei.
    pub fn credited(&self) -> Wei {
        let amounts = self.provisional.iter().map(|(_, amount)| *amount);
        amounts.fold(self.final_credit, Wei::saturating_add)
    }

    /// What the last receipt of this epoch acknowledges, in wei.
    pub fn acknowledged(&self) -> Wei {
        self.signed
            .filter(|receipt| receipt.epoch == self.epoch)
            .map_or(0, |receipt| receipt.total)
    }
}

impl fmt::Debug for PayerBooks {
    /// Without wallet and amounts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PayerBooks").finish_non_exhaustive()
    }
}

/// A hop's account, as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct HopBooks {
    /// Who is owed.
    pub hop: NodeKey,
    /// The hop's; 0 while it is not known.
    pub epoch: u32,
    /// What was booked before the epoch, in wei.
    pub base: Wei,
    /// Price of everything carried, less what the hop does not ask for, in wei.
    pub booked: Wei,
    /// Acknowledged in this epoch, in wei.
    pub signed: Wei,
    /// Of the last statement.
    pub sequence: u64,
    /// Paid and final, in wei.
    pub paid: Wei,
    /// Payments that the hop does not know as final.
    pub unconfirmed: Vec<(B256, Wei)>,
    /// The last transactions that went into `paid`, so that none is counted again.
    pub counted: Vec<B256>,
    /// For how much more the hop serves, by its own word; not stored.
    pub credit: Option<Wei>,
    /// How often it claimed too much.
    pub disputes: u32,
    /// Whether its last statement claimed too much.
    pub disputing: bool,
}

impl HopBooks {
    /// What the hop is owed, in wei; 0 when it was prepaid.
    pub fn owed(&self) -> Wei {
        self.booked.saturating_sub(self.paid)
    }
}

impl fmt::Debug for HopBooks {
    /// Without amounts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HopBooks")
            .field("hop", &self.hop)
            .finish_non_exhaustive()
    }
}
