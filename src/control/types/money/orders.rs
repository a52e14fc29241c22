//! Payments, and what the user asks to be done with money.

use masq_gossip::NodeKey;
use serde::{Deserialize, Serialize};

use super::{Amount, Private};
use crate::chain::driver::{Books, History};
use crate::chain::engine::{Intent, Kind, Leg, Outcome, Settled};
use crate::ledger::Wei;

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PaymentKind {
    /// One transfer to one wallet.
    Transfer,
    /// Several transfers by one transaction.
    Batch,
    /// Allows the contract for batches to move tokens.
    Approval,
}

/// Where a payment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PaymentState {
    /// Sent, and in no block that was seen.
    Waiting,
    /// In a block that is not final.
    Included,
    /// The user cancels it; whichever of the two transactions comes first is final.
    Cancelling,
    /// Final: the payees have it.
    Paid,
    /// Final: it did nothing, and the debt is there again.
    Failed,
    /// Final: cancelled, and the debt is there again.
    Cancelled,
    /// Final: a transaction that was not made here took its place.
    Foreign,
    /// Final: it took tokens and did not bring them to the payees.
    Astray,
}

impl PaymentState {
    /// Whether nothing more happens to it.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Paid | Self::Failed | Self::Cancelled | Self::Foreign | Self::Astray
        )
    }
}

/// What one hop gets by a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareView {
    /// The hop's node key.
    pub node: String,
    /// Its earning wallet.
    pub wallet: Private,
    /// Of what was owed.
    pub due: Amount,
    /// In advance.
    pub advance: Amount,
}

/// One payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentView {
    /// Its nonce: the number of the transaction of the consuming wallet.
    pub nonce: u64,
    /// What it is for.
    pub kind: PaymentKind,
    /// Where it is.
    pub state: PaymentState,
    /// What it moves, or allows to be moved.
    pub amount: Amount,
    /// Who gets how much; empty for an approval.
    pub shares: Vec<ShareView>,
    /// The transaction: the latest variant, or the one that is final. Absent when a foreign one
    /// took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<Private>,
    /// Signed variants, each with higher fees than the one before. 0 for a final payment, of which
    /// it is not kept.
    #[serde(default)]
    pub variants: u32,
    /// The most that it may cost, in wei of the chain's coin. Absent for a final payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_fee: Option<Amount>,
    /// When it was made; for a final one, when it was known to be final.
    pub at_unix_ms: u64,
}

/// Milliseconds in a second.
const MILLIS: u64 = 1_000;

fn shares(legs: &[Leg]) -> Vec<ShareView> {
    let share = |leg: &Leg| ShareView {
        node: NodeKey(leg.payee.hop).to_string(),
        wallet: Private(leg.payee.wallet.to_checksum(None)),
        due: Amount(leg.due),
        advance: Amount(leg.advance),
    };
    legs.iter().map(share).collect()
}

impl PaymentView {
    /// Of a payment under way; `included` says whether it was seen in a block.
    #[must_use]
    pub fn of(payment: &Intent, included: bool) -> Self {
        let newest = payment.variants.last();
        let cancels = newest.is_some_and(|variant| variant.cancels);
        Self {
            nonce: payment.nonce,
            kind: match payment.kind {
                Kind::Transfer => PaymentKind::Transfer,
                Kind::Batch => PaymentKind::Batch,
                Kind::Approve(_) => PaymentKind::Approval,
            },
            state: match (included, cancels) {
                (true, _) => PaymentState::Included,
                (false, true) => PaymentState::Cancelling,
                (false, false) => PaymentState::Waiting,
            },
            amount: Amount(payment.value()),
            shares: shares(&payment.legs),
            transaction: newest.map(|variant| Private(variant.hash.to_string())),
            variants: u32::try_from(payment.variants.len()).unwrap_or(u32::MAX),
            most_fee: newest.map(|variant| {
                let gas = u128::from(payment.gas);
                Amount(gas.saturating_mul(variant.max_fee))
            }),
            at_unix_ms: payment.made.saturating_mul(MILLIS),
        }
    }

    /// Of a payment that is final.
    #[must_use]
    pub fn of_final(payment: &Settled) -> Self {
        let amounts = payment.legs.iter().map(Leg::amount);
        Self {
            nonce: payment.nonce,
            // Which form it had is not kept.
            kind: match payment.legs.len() {
                0 => PaymentKind::Approval,
                1 => PaymentKind::Transfer,
                _ => PaymentKind::Batch,
            },
            state: match payment.outcome {
                Outcome::Paid => PaymentState::Paid,
                Outcome::Failed => PaymentState::Failed,
                Outcome::Cancelled => PaymentState::Cancelled,
                Outcome::Foreign => PaymentState::Foreign,
                Outcome::Astray => PaymentState::Astray,
            },
            amount: Amount(amounts.fold(0, Wei::saturating_add)),
            shares: shares(&payment.legs),
            transaction: (!payment.hash.is_zero()).then(|| Private(payment.hash.to_string())),
            variants: 0,
            most_fee: None,
            at_unix_ms: payment.at.saturating_mul(MILLIS),
        }
    }
}

impl PaymentsView {
    /// Of the books and the newest final payments.
    #[must_use]
    pub fn of(books: &Books, history: &History) -> Self {
        let under_way = books.under_way.iter().map(|payment| {
            let included = books.included.contains(&payment.nonce);
            PaymentView::of(payment, included)
        });
        Self {
            under_way: under_way.collect(),
            done: history.newest.iter().map(PaymentView::of_final).collect(),
            left_out: history.older as u64,
        }
    }
}

/// Answer to `GET /v1/payments`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentsView {
    /// Those under way, by nonce.
    pub under_way: Vec<PaymentView>,
    /// Those that are final, the newest first.
    pub done: Vec<PaymentView>,
    /// How many older final ones there are.
    #[serde(default)]
    pub left_out: u64,
}

/// Body of `POST /v1/payments`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum PaymentOrder {
    /// Begin no payments until told otherwise; those under way go on. Outlives restarts.
    Pause {},
    /// Begin payments again.
    Resume {},
    /// Pay now everything that is owed and worth its fee, whatever the thresholds say.
    Settle {},
    /// From now on until the daemon stops, only report what would be paid; or pay again.
    DryRun {
        /// Which of the two.
        on: bool,
    },
    /// Try to replace a payment under way by nothing.
    Cancel {
        /// Its nonce.
        nonce: u64,
    },
    /// After a halt: the chain's nonce is right.
    AdoptNonce {},
    /// After a halt for a foreign transaction: whether the payees have their money.
    Decide {
        /// The payment's nonce.
        nonce: u64,
        /// Whether they have.
        paid: bool,
    },
}

/// Answer to `POST /v1/payments`: what is done, or begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderView {
    /// One sentence.
    pub done: String,
}

/// What to look at now and not when it is time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScanKind {
    /// Own debts: those over the line are paid.
    Payables,
    /// The chain, for payments that came in.
    Receivables,
    /// The chain, for what became of payments under way.
    Pending,
    /// All three.
    #[default]
    All,
}

/// Body of `POST /v1/scan`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScanRequest {
    /// What to look at.
    #[serde(default)]
    pub what: ScanKind,
}

/// Answer to `POST /v1/scan`. What is found shows in `GET /v1/financials` and in events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanView {
    /// What is being looked at, a sentence each.
    pub begun: Vec<String>,
    /// What can't be looked at, and why, a sentence each.
    #[serde(default)]
    pub skipped: Vec<String>,
}

/// Body of `POST /v1/prepay`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrepayRequest {
    /// The hop: its key, 8 or more characters with which the key of one known node begins, or its
    /// descriptor.
    #[serde(default)]
    pub node: String,
    /// How much beyond what is owed.
    #[serde(default)]
    pub amount: Amount,
    /// Only tell what it would come to.
    #[serde(default)]
    pub quote: bool,
}

/// Answer to `POST /v1/prepay`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepayQuote {
    /// The hop's node key.
    pub node: String,
    /// Its earning wallet, by its record.
    pub wallet: Private,
    /// What is paid in advance.
    pub advance: Amount,
    /// What is owed to it now, which the same transaction pays.
    pub due: Amount,
    /// What is left of earlier advances.
    pub ahead: Amount,
    /// The fee at present, in wei of the chain's coin. Absent while it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fee: Option<Amount>,
    /// The same as an amount of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fee_in_tokens: Option<Amount>,
    /// The least that is worth the fee, which may be 5 % of a payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<Amount>,
    /// The consuming wallet's tokens, as last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<Amount>,
    /// Whole gigabytes through the hop as a relay that the advance buys; absent when that is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay_gb: Option<u64>,
    /// The same through it as the exit; absent when that is free or it is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_gb: Option<u64>,
    /// What stands in the way, a sentence each; an order is refused while there is any.
    #[serde(default)]
    pub obstacles: Vec<String>,
    /// Symbol of the chain's coin.
    pub coin: String,
    /// Whether it was ordered; false for a mere quote.
    #[serde(default)]
    pub ordered: bool,
}
