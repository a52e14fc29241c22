//! What goes into the payment engine and what comes out of it.

use std::fmt;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes};

use super::intent::{Leg, Outcome};
use crate::ledger::{Batch, Payee, Wei, opaque_debug};

/// The time, twice: a clock that never jumps for intervals, and the calendar for ages and days. A
/// wrong calendar makes a debt look older or younger; it never makes a payment happen twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since some moment in the past; never goes back.
    pub mono: Duration,
    /// Seconds since 1970.
    pub unix: u64,
}

/// Names a provider's endpoint: its place in the configured list.
pub type Endpoint = u8;

/// What is put in.
pub enum Input {
    /// Time has passed ([`super::Engine::poll_timeout`] says when it is worth it).
    Tick,
    /// Write usage down now and not when it is due.
    Flush,
    /// [`Output::Commit`] of that number is durable.
    Committed(u64),
    /// [`Output::NoteNonce`] of that number is durable.
    Noted(u64),
    /// The answer to [`Output::Sign`].
    Signed {
        /// Of the request.
        id: u64,
        /// Hash of the transaction.
        hash: B256,
        /// The signed transaction, ready to be sent.
        raw: Bytes,
    },
    /// There will be no answer to [`Output::Sign`].
    SignFailed {
        /// Of the request.
        id: u64,
    },
    /// What came of [`Output::Send`]. For diagnosis: it never changes what is owed.
    Sent {
        /// Of the transaction.
        hash: B256,
        /// What the endpoint said.
        result: Result<(), SendError>,
    },
    /// What came of [`Output::Ask`].
    Answer {
        /// Of the question.
        id: u64,
        /// What an endpoint sees, or nothing.
        view: Option<Box<View>>,
    },
    /// Usage that the two sides agreed to take back.
    WriteOff {
        /// Whom it was owed to.
        payee: Payee,
        /// How much; at most what is due.
        amount: Wei,
    },
    /// Pay in advance, once.
    Prepay {
        /// Whom.
        payee: Payee,
        /// How much beyond what is due.
        amount: Wei,
    },
    /// Pay in advance within a budget, once.
    PrepayWithin {
        /// Whom.
        payee: Payee,
        /// How much beyond what is due.
        amount: Wei,
        /// The most by that payment, what is due when it is made included.
        most: Wei,
    },
    /// Pay everything that is due and worth its fee, whatever the thresholds say.
    SettleNow,
    /// Hold debts against the thresholds now and not when it is time.
    ScanNow,
    /// Look now at what became of payments under way.
    LookNow,
    /// Only report payments from now on, or make them again. Forgotten at the end.
    DryRun(bool),
    /// Begin no payments until told otherwise; those under way go on. Outlives restarts.
    Pause,
    /// Begin payments again.
    Resume,
    /// Try to replace a payment under way by nothing.
    Cancel {
        /// Its nonce.
        nonce: u64,
    },
    /// The user has looked at a [`Halt`] and says that the chain's nonce is to be used.
    AdoptNonce,
    /// The user has looked at a payment whose nonce was used by a foreign transaction.
    Decide {
        /// Its nonce.
        nonce: u64,
        /// Whether the payees got their money by it.
        paid: bool,
    },
    /// The node stops: write what is there, and pay first what is due when `settle` is set.
    /// [`Output::Done`] answers.
    Shutdown {
        /// Whether to pay first.
        settle: bool,
    },
}

/// What comes out. Do it in this order.
pub enum Output {
    /// Write durably, then answer [`Input::Committed`]. Numbers count up from 1. When it can't be
    /// written, throw the engine away.
    Commit {
        /// For the answer.
        seq: u64,
        /// What to write.
        batch: Batch,
    },
    /// Write durably outside the database that this is the next nonce, so that a restored backup of
    /// the database is noticed, then answer [`Input::Noted`]. It replaces what was noted before.
    NoteNonce(u64),
    /// Sign, then answer [`Input::Signed`].
    Sign(TxRequest),
    /// Give these bytes to an endpoint.
    Send {
        /// Of the transaction.
        hash: B256,
        /// The transaction.
        raw: Bytes,
    },
    /// Ask an endpoint, then answer [`Input::Answer`].
    Ask(Question),
    /// Tell the user, or whoever else wants to know.
    Tell(Event),
    /// Everything is written; the engine may be dropped.
    Done,
}

/// Why an endpoint did not take a transaction, or says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The nonce is used already: by one of our own variants, or by a foreign transaction.
    #[error("the nonce is used already")]
    NonceTooLow,
    /// It replaces another one and pays too little more.
    #[error("the fee is too low to replace another transaction")]
    Underpriced,
    /// The wallet can't pay the fee.
    #[error("there is not enough of the chain's coin for the fee")]
    NoFunds,
    /// No answer, or another refusal. Whether the transaction was taken is not known.
    #[error("no endpoint took the transaction")]
    Unknown,
}

/// A transaction to sign: type 2, every field given. `value` is always 0.
#[derive(Clone, PartialEq, Eq)]
pub struct TxRequest {
    /// For the answer.
    pub id: u64,
    /// The chain.
    pub chain_id: u64,
    /// The nonce.
    pub nonce: u64,
    /// The contract, or the wallet itself for a cancellation.
    pub to: Address,
    /// The call.
    pub data: Bytes,
    /// Gas limit.
    pub gas: u64,
    /// Most wei for a unit of gas.
    pub max_fee: u128,
    /// Of which for the block's builder.
    pub tip: u128,
}

/// What the engine wants to know. **Everything in one answer comes from one endpoint, in the order
/// of [`View`]'s fields.**
#[derive(Clone, PartialEq, Eq)]
pub struct Question {
    /// For the answer.
    pub id: u64,
    /// Not this endpoint, when there is another one: a second opinion is wanted.
    pub avoid: Option<Endpoint>,
    /// Transactions whose receipts are wanted.
    pub hashes: Vec<B256>,
}

/// What an endpoint says, read in this order: a receipt that is missing from the end of it was not
/// there when the nonce at the beginning was final.
#[derive(Clone, PartialEq, Eq)]
pub struct View {
    /// Who says it.
    pub endpoint: Endpoint,
    /// `eth_chainId`.
    pub chain_id: u64,
    /// Number of the newest final block.
    pub finalized: u64,
    /// Nonces of the wallet.
    pub nonces: Nonces,
    /// The receipts there are, **each in a block that this endpoint has at that height now**.
    pub receipts: Vec<Receipt>,
    /// The wallet's tokens.
    pub token: Wei,
    /// The wallet's coins, in wei.
    pub native: u128,
    /// What the disperse contract may move; 0 when there is none.
    pub allowance: Wei,
    /// What transactions cost.
    pub fees: Fees,
    /// Number of the newest block.
    pub head: u64,
}

/// How many transactions of the wallet there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonces {
    /// In final blocks (in the block of [`View::finalized`], not a later one). Endpoints that keep
    /// no state of older blocks can't say it; they can't show a foreign transaction then.
    pub finalized: Option<u64>,
    /// In blocks.
    pub latest: u64,
    /// In blocks and waiting.
    pub pending: u64,
}

/// What transactions cost, in wei of the chain's coin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fees {
    /// Base fee of the next block, for a unit of gas.
    pub base: u128,
    /// Usual tip, for a unit of gas.
    pub tip: u128,
    /// What a transfer costs besides, for its bytes (rollups).
    pub data: u128,
}

impl Fees {
    /// What a transfer of the token costs at most, in wei of the coin.
    pub fn of_transfer(&self) -> u128 {
        let gas = u128::from(super::TRANSFER_GAS);
        let price = self.base.saturating_add(self.tip);
        gas.saturating_mul(price).saturating_add(self.data)
    }
}

/// A transaction in a block.
#[derive(Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Of the transaction.
    pub hash: B256,
    /// Number of its block.
    pub block: u64,
    /// Hash of its block.
    pub block_hash: B256,
    /// Whether it did what it should.
    pub success: bool,
    /// Transfers of the token from the wallet that it made.
    pub transfers: Vec<(Address, Wei)>,
}

/// Something to be known. No wallet is shown in `Debug`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A payment is written down and will be sent.
    Begun(Payment),
    /// A payment is in a block: a notice of it can be given to the payees.
    Included(Payment),
    /// A block with a payment is no longer in the chain; the payment is sent again.
    Reorged {
        /// Its nonce.
        nonce: u64,
    },
    /// A payment is final.
    Final {
        /// The payment.
        payment: Payment,
        /// What became of it. Failed and cancelled ones are owed again.
        outcome: Outcome,
    },
    /// A payment waits longer than it should, and its fee can't be raised within the caps.
    Stuck {
        /// Its nonce.
        nonce: u64,
    },
    /// With more money these payments would be made.
    Short {
        /// Tokens that all of them take.
        tokens_needed: Wei,
        /// Tokens there are for it.
        tokens: Wei,
        /// Coins for their fees, with what is kept back for raising them, in wei.
        coins_needed: u128,
        /// Coins there are for it.
        coins: u128,
        /// Debts that wait.
        waiting: usize,
    },
    /// Gas is dearer than the cap; payments wait.
    GasTooDear {
        /// For a unit of gas, base fee and tip.
        price: u128,
        /// The cap.
        cap: u128,
    },
    /// A debt is not worth its fee yet; it waits.
    NotWorthItsFee {
        /// The debt, in wei of the token.
        value: Wei,
        /// The fee, in wei of the coin.
        fee: u128,
    },
    /// The cap per day is reached.
    DayCap {
        /// Paid today.
        spent: Wei,
    },
    /// In dry run: this would have been paid.
    WouldPay {
        /// How many payees.
        payees: usize,
        /// How much.
        amount: Wei,
        /// For at most how many wei of the coin.
        fee: u128,
    },
    /// Nothing is paid until the user has looked at it.
    Halted(Halt),
    /// Payments are possible: the wallet's past on the chain is known.
    Reconciled {
        /// The next nonce.
        next: u64,
    },
    /// An endpoint is not believed at present.
    Distrusted {
        /// Which.
        endpoint: Endpoint,
        /// Why.
        why: Distrust,
    },
    /// Bytes were not taken.
    NotTaken {
        /// The payment's nonce.
        nonce: u64,
        /// What was said.
        why: SendError,
    },
    /// A request of the user can't be followed.
    Refused(&'static str),
}

/// A payment, as events show it.
#[derive(Clone, PartialEq)]
pub struct Payment {
    /// Its nonce.
    pub nonce: u64,
    /// The transaction that was sent, or found.
    pub hash: B256,
    /// Who gets how much; empty for an approval.
    pub shares: Vec<(Payee, Wei)>,
}

impl Payment {
    pub(super) fn new(nonce: u64, hash: B256, legs: &[Leg]) -> Self {
        let shares = legs.iter().map(|leg| (leg.payee, leg.amount()));
        Self {
            nonce,
            hash,
            shares: shares.collect(),
        }
    }
}

impl fmt::Debug for Payment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payment")
            .field("nonce", &self.nonce)
            .field("payees", &self.shares.len())
            .finish_non_exhaustive()
    }
}

/// Why nothing is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Halt {
    /// The note outside the database knows a nonce that the database does not.
    #[error(
        "the payment database is older than the last payment (the next nonce was to be {noted}): a backup was restored, or the file was removed. Debts in it may have been paid \
         since. Restore the newer file, or look at the wallet's transactions and adopt the chain's \
         nonce"
    )]
    OldDatabase {
        /// The next nonce by the note.
        noted: u64,
    },
    /// The chain has more transactions of the wallet than were made here.
    #[error(
        "the chain knows {chain} transactions of the consuming wallet, this node made {ours}: the \
         wallet is used by something else, or an old database was restored. Use a wallet of its \
         own for the node, or look at the transactions and adopt the chain's nonce"
    )]
    ChainAhead {
        /// What the chain says is the next nonce.
        chain: u64,
        /// What is the next nonce here.
        ours: u64,
    },
    /// A transaction that was not made here is final at a payment's nonce.
    #[error(
        "another transaction took the place of payment {nonce}: the wallet is used by something \
         else. Look at it, and say whether the payees were paid by it"
    )]
    Foreign {
        /// The nonce.
        nonce: u64,
    },
    /// A payment is final and moved tokens, but not as it should have.
    #[error(
        "payment {nonce} took tokens out of the wallet and did not bring them to the payees: the \
         contract of the setting `disperse` is of another kind than is needed, or the token is. \
         Take `disperse` out, look at the transaction, and say whether the payees were paid by it"
    )]
    Astray {
        /// The nonce.
        nonce: u64,
    },
    /// Reservations and payments under way don't agree: the database is damaged.
    #[error("what is reserved and what is under way disagree: the payment database is damaged")]
    BooksDisagree,
}

/// Why an endpoint is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Distrust {
    /// It is on another chain.
    #[error("it is on chain {0}")]
    WrongChain(u64),
    /// It does not know transactions that are final.
    #[error("it is behind: it does not know what is final")]
    Behind,
    /// What it says contradicts itself.
    #[error("what it says contradicts itself")]
    Contradiction,
}

opaque_debug!(Input, Output, TxRequest, Question, View, Receipt);
