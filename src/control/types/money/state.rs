//! How it stands with payments at one moment, and by which terms.

use masq_cores::Role;
use masq_gossip::RatePack;
use serde::{Deserialize, Serialize};

use super::{Amount, PayableView, Private, Totals};
use crate::ledger::price::{self, Direction};
use crate::ledger::{Wei, fit};

/// Whether payments may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PayState {
    /// The chain has not been compared with the books yet.
    Reconciling,
    /// They may.
    Running,
    /// The operator has to look at something first.
    Halted,
}

/// Why nothing is paid until the operator has looked at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HaltView {
    /// The payment database is older than the note beside it.
    OldDatabase {
        /// The next nonce by the note.
        noted: u64,
    },
    /// The chain knows more transactions of the wallet than were made here.
    ChainAhead {
        /// The next nonce by the chain.
        chain: u64,
        /// The next nonce here.
        ours: u64,
    },
    /// A foreign transaction took the place of a payment.
    Foreign {
        /// The payment's nonce.
        nonce: u64,
    },
    /// A payment took tokens and did not bring them to the payees.
    Astray {
        /// The payment's nonce.
        nonce: u64,
    },
    /// The payment database is damaged.
    BooksDisagree,
}

/// What a wallet has, as last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceView {
    /// Of the token.
    pub tokens: Amount,
    /// Of the chain's coin, in wei.
    pub coins: Amount,
    /// When that was seen.
    pub ago_seconds: u64,
}

/// The paying side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayingView {
    /// The consuming wallet.
    pub wallet: Private,
    /// Whether payments may begin.
    pub state: PayState,
    /// Why not, when it is halted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halt: Option<HaltView>,
    /// The same in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halt_reason: Option<String>,
    /// The operator has paused them.
    #[serde(default)]
    pub paused: bool,
    /// They are only reported.
    #[serde(default)]
    pub dry_run: bool,
    /// Payments that are not final.
    #[serde(default)]
    pub under_way: u32,
    /// What the wallet has; absent until it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<BalanceView>,
    /// Debts over the line that the wallet, with what it had when it was last seen, can't pay.
    #[serde(default)]
    pub waiting: u64,
}

impl PayingView {
    /// Counts the debts that the wallet can't pay with its balance, at this fee of a transfer.
    #[must_use]
    pub fn with_waiting(mut self, debts: &[PayableView], fee: Option<Wei>) -> Self {
        let Some(balance) = self.balance else {
            return self;
        };
        let mut debts: Vec<_> = debts.iter().filter(|debt| debt.over_line).collect();
        // As they are paid: the oldest first.
        debts.sort_by_key(|debt| std::cmp::Reverse(debt.age_seconds));
        let no_fee = fee.is_some_and(|fee| balance.coins.0 < fee);
        let mut left = if no_fee { 0 } else { balance.tokens.0 };
        let waits = |debt: &&&PayableView| match left.checked_sub(debt.unpaid.0) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        };
        self.waiting = debts.iter().filter(waits).count() as u64;
        self
    }
}

/// `1 debt waits`, `2 debts wait`.
#[must_use]
pub(crate) fn debts_wait(count: u64) -> String {
    match count {
        1 => "1 debt waits".to_owned(),
        count => format!("{count} debts wait"),
    }
}

/// The earning side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarningView {
    /// The earning wallet.
    pub wallet: Private,
    /// The next block to be looked through for good.
    pub next_block: u64,
}

/// One endpoint of the chain. Its address is secret: it may hold a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointView {
    /// Its place in the configured list, from 1.
    pub number: u32,
    /// What is wrong with it, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// What a payment costs at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeesView {
    /// One transfer, in wei of the chain's coin.
    pub transfer: Amount,
    /// The same as an amount of the token; 0 when fees are not compared with payments.
    pub in_tokens: Amount,
    /// The least payment that is worth it: the fee may be 5 % of it.
    pub least: Amount,
}

/// Four prices, in wei of the token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RatesView {
    /// A byte carried as a relay.
    pub routing_byte: Amount,
    /// A cell carried as a relay.
    pub routing_package: Amount,
    /// A byte carried as the exit.
    pub exit_byte: Amount,
    /// A cell carried as the exit.
    pub exit_package: Amount,
}

impl From<&RatePack> for RatesView {
    fn from(rates: &RatePack) -> Self {
        Self {
            routing_byte: Amount(rates.routing_byte.into()),
            routing_package: Amount(rates.routing_package.into()),
            exit_byte: Amount(rates.exit_byte.into()),
            exit_package: Amount(rates.exit_package.into()),
        }
    }
}

/// What is given on trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreditView {
    /// To a wallet that has not paid yet.
    pub first: Amount,
    /// To all of them together.
    pub pool: Amount,
    /// What comes back into the pool each day.
    pub refill_per_day: Amount,
    /// Most of it for those that come through one link.
    pub quota: Amount,
}

/// The terms by which this node pays and is paid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermsView {
    /// What it asks for.
    pub rates: RatesView,
    /// What a gigabyte costs through it as a relay.
    pub relay_gigabyte: Amount,
    /// What a gigabyte costs through it as the exit.
    pub exit_gigabyte: Amount,
    /// The most that its own routes may cost; absent: any price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<RatesView>,
    /// `debt|maturity|grace|permanent|interval|unban`, in gwei of the token and in seconds.
    pub thresholds: String,
    /// What it gives on trust; absent where it serves nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit: Option<CreditView>,
    /// What it may prepay to one hop without asking.
    pub prepay_per_hop: Amount,
    /// What it may prepay on one day without asking.
    pub prepay_per_day: Amount,
    /// What one token is worth, in wei of the chain's coin; 0: fees are not compared.
    pub token_price: Amount,
    /// Most wei of the coin for a unit of gas.
    pub gas_cap: Amount,
    /// Most tokens on one day; absent: no cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day_cap: Option<Amount>,
    /// How often debts are held against the thresholds.
    pub pay_every_seconds: u64,
    /// Whether debts are paid when the daemon stops.
    #[serde(default)]
    pub settle_on_stop: bool,
    /// Whole gigabytes through one relay that the smallest paid debt is; absent when it is free or
    /// the terms don't fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay_gb: Option<u64>,
    /// The same through one exit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_gb: Option<u64>,
    /// Why the terms don't fit together or the present fees, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misfit: Option<String>,
}

impl TermsView {
    /// Of these terms, with everything that follows from them. The rest (ceiling, caps, intervals)
    /// is at its default, for the caller to fill in.
    #[must_use]
    pub fn of(terms: &fit::Terms<'_>) -> Self {
        let whole = |gigabytes: Option<f64>| gigabytes.map(|gigabytes| gigabytes as u64);
        let (relay_gb, exit_gb, misfit) = match fit::check(terms) {
            Ok(fit) => (whole(fit.relay_gb), whole(fit.exit_gb), None),
            Err(misfit) => (None, None, Some(misfit.to_string())),
        };
        let gigabyte = |role| {
            let wei = price::hop(role, terms.rates, Direction::Download, price::GIGABYTE);
            // What does not fit is a misfit, which is told.
            Amount(wei.unwrap_or(Wei::MAX))
        };
        let budget = terms.prepay.copied().unwrap_or_default();
        Self {
            rates: terms.rates.into(),
            relay_gigabyte: gigabyte(Role::BackRelay),
            exit_gigabyte: gigabyte(Role::Exit),
            thresholds: terms.thresholds.to_string(),
            credit: terms.limits.map(|limits| CreditView {
                first: Amount(limits.first),
                pool: Amount(limits.pool),
                refill_per_day: Amount(limits.refill_per_day),
                quota: Amount(limits.quota),
            }),
            prepay_per_hop: Amount(budget.per_hop),
            prepay_per_day: Amount(budget.per_day),
            token_price: Amount(terms.token_price),
            relay_gb,
            exit_gb,
            misfit,
            ..Self::default()
        }
    }
}

/// Something that happened to money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// How long ago.
    pub ago_seconds: u64,
    /// One sentence, without any wallet.
    pub what: String,
}

/// Answer to `GET /v1/money`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoneyStatus {
    /// The chain, such as `base-mainnet`.
    pub chain: String,
    /// Symbol of its coin, such as `ETH`.
    pub coin: String,
    /// The paying side; absent at a node that pays nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paying: Option<PayingView>,
    /// The earning side; absent at a node that serves nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earning: Option<EarningView>,
    /// Sums of what is owed either way.
    pub totals: Totals,
    /// The terms.
    pub terms: TermsView,
    /// What a payment costs; absent until it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fees: Option<FeesView>,
    /// The chain's endpoints, in the order of preference.
    pub endpoints: Vec<EndpointView>,
    /// What happened lately, the newest first; at most 16.
    #[serde(default)]
    pub notices: Vec<Notice>,
}

/// Money in `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoneySummary {
    /// One sentence: whether payments are made, and why not.
    pub state: String,
    /// Sums of what is owed either way.
    pub totals: Totals,
    /// What a gigabyte costs through this node as a relay, and as the exit.
    pub relay_gigabyte: Amount,
    /// See [`MoneySummary::relay_gigabyte`].
    pub exit_gigabyte: Amount,
    /// When this node pays: see [`TermsView::thresholds`].
    pub thresholds: String,
}

impl MoneyStatus {
    /// The short form.
    #[must_use]
    pub fn summary(&self) -> MoneySummary {
        MoneySummary {
            state: self.sentence(),
            totals: self.totals,
            relay_gigabyte: self.terms.relay_gigabyte,
            exit_gigabyte: self.terms.exit_gigabyte,
            thresholds: self.terms.thresholds.clone(),
        }
    }

    /// Whether payments are made, and why not, in one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Some(paying) = &self.paying else {
            return "This node pays nobody; it is paid.".to_owned();
        };
        match (paying.state, &paying.halt_reason) {
            (PayState::Halted, Some(why)) => format!("Payments are halted: {why}."),
            (PayState::Halted, None) => "Payments are halted.".to_owned(),
            _ if paying.paused => "Payments are paused by you.".to_owned(),
            _ if paying.dry_run => "Payments are only reported (dry run).".to_owned(),
            (PayState::Reconciling, _) => {
                "Payments wait until the chain was compared with the books.".to_owned()
            }
            (PayState::Running, _) if paying.waiting > 0 => format!(
                "{} because the wallet that pays has too little; send it some.",
                debts_wait(paying.waiting)
            ),
            (PayState::Running, _) if paying.balance.is_some_and(|b| b.tokens.0 == 0) => {
                "The wallet that pays has no MASQ, and nothing can be paid from it.".to_owned()
            }
            (PayState::Running, _) => "Payments are made when debts are over the line.".to_owned(),
        }
    }
}
