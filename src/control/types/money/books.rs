//! What is owed either way, counterparty by counterparty.

use masq_gossip::NodeKey;
use serde::{Deserialize, Serialize};

use super::{Amount, Private};
use crate::ledger::{Account, Payable, Receivables, Thresholds, Wei};

/// What this node owes to one hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayableView {
    /// The hop's node key.
    pub node: String,
    /// The hop's earning wallet.
    pub wallet: Private,
    /// Owed, and in no payment yet.
    pub unpaid: Amount,
    /// In payments that are not final.
    pub pending: Amount,
    /// Paid, finally, since the beginning.
    pub paid: Amount,
    /// What is left of advances, those under way included.
    pub ahead: Amount,
    /// How old what is owed is; a payment makes it younger in proportion. Absent when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// It is over the line of the thresholds.
    #[serde(default)]
    pub over_line: bool,
    /// A payment failed, and for so long none is begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_seconds: Option<u64>,
}

/// What one payer owes to this node. Its node is not known, only its wallet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivableView {
    /// The payer's consuming wallet.
    pub wallet: Private,
    /// Used and not paid.
    pub unpaid: Amount,
    /// Paid, finally, since the beginning.
    pub paid: Amount,
    /// Paid, and not final yet.
    pub provisional: Amount,
    /// Paid and not used yet.
    pub prepaid: Amount,
    /// It never used anything: its money is kept for it.
    #[serde(default)]
    pub unclaimed: bool,
    /// Nothing more is served to it until it pays.
    #[serde(default)]
    pub banned: bool,
    /// What may stand unpaid before it is stopped, without what it has prepaid.
    pub limit: Amount,
    /// How old what is owed is. Absent when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// When it last used or paid something.
    pub seen_seconds: u64,
}

impl PayableView {
    /// Of a row of the ledger at `unix` seconds since 1970.
    #[must_use]
    pub fn of(row: &Payable, thresholds: &Thresholds, unix: u64) -> Self {
        let due = row.due();
        Self {
            node: NodeKey(row.payee.hop).to_string(),
            wallet: Private(row.payee.wallet.to_checksum(None)),
            unpaid: Amount(due),
            pending: Amount(row.reserved),
            paid: Amount(row.paid),
            ahead: Amount(row.ahead()),
            age_seconds: row.since.map(|since| unix.saturating_sub(since)),
            over_line: due > 0 && thresholds.pays(due, row.since, unix),
            held_seconds: row.hold_until.checked_sub(unix).filter(|left| *left > 0),
        }
    }
}

impl ReceivableView {
    /// Of an account at `unix` seconds since 1970; `all` are the books that it is part of.
    #[must_use]
    pub fn of(row: &Account, all: &Receivables, unix: u64) -> Self {
        Self {
            wallet: Private(row.payer.to_checksum(None)),
            unpaid: Amount(row.owed()),
            paid: Amount(row.paid),
            provisional: Amount(row.provisional),
            prepaid: Amount(row.prepaid()),
            unclaimed: !row.known,
            banned: row.banned,
            limit: Amount(all.limit(unix, &row.payer)),
            age_seconds: row.since.map(|since| unix.saturating_sub(since)),
            seen_seconds: unix.saturating_sub(row.seen),
        }
    }
}

/// Everything that is owed either way, in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MoneyBooks {
    /// What this node owes; empty where it pays nobody.
    pub payables: Vec<PayableView>,
    /// What payers owe; empty where it serves nobody.
    pub receivables: Vec<ReceivableView>,
}

/// Sums of what this node owes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PayableTotals {
    /// How many hops.
    pub payees: u64,
    /// Owed, and in no payment yet.
    pub unpaid: Amount,
    /// In payments that are not final.
    pub pending: Amount,
    /// Paid, finally, since the beginning.
    pub paid: Amount,
    /// What is left of advances.
    pub ahead: Amount,
    /// How many debts are over the line.
    pub over_line: u64,
}

/// Sums of what payers owe to this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReceivableTotals {
    /// How many payers, those that only paid among them.
    pub payers: u64,
    /// Used and not paid.
    pub unpaid: Amount,
    /// Paid, finally, since the beginning, what is unclaimed not counted.
    pub paid: Amount,
    /// Paid and not final yet.
    pub provisional: Amount,
    /// Paid and not used yet, what is unclaimed not counted.
    pub prepaid: Amount,
    /// Came from wallets that never used anything.
    pub unclaimed: Amount,
    /// How many payers are banned.
    pub banned: u64,
}

/// Both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// What this node owes.
    pub payable: PayableTotals,
    /// What it is owed.
    pub receivable: ReceivableTotals,
}

fn sum(amounts: impl Iterator<Item = Amount>) -> Amount {
    Amount(amounts.fold(0, |sum: Wei, amount| sum.saturating_add(amount.0)))
}

impl MoneyBooks {
    /// The sums.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let (payables, receivables) = (&self.payables, &self.receivables);
        let payable = |amount: fn(&PayableView) -> Amount| sum(payables.iter().map(amount));
        let receivable = |amount: fn(&ReceivableView) -> Amount| {
            sum(receivables.iter().filter(|row| !row.unclaimed).map(amount))
        };
        let unclaimed = receivables.iter().filter(|row| row.unclaimed);
        Totals {
            payable: PayableTotals {
                payees: payables.len() as u64,
                unpaid: payable(|row| row.unpaid),
                pending: payable(|row| row.pending),
                paid: payable(|row| row.paid),
                ahead: payable(|row| row.ahead),
                over_line: payables.iter().filter(|row| row.over_line).count() as u64,
            },
            receivable: ReceivableTotals {
                payers: receivables.len() as u64,
                unpaid: receivable(|row| row.unpaid),
                paid: receivable(|row| row.paid),
                provisional: sum(receivables.iter().map(|row| row.provisional)),
                prepaid: receivable(|row| row.prepaid),
                unclaimed: sum(unclaimed.map(|row| row.paid)),
                banned: receivables.iter().filter(|row| row.banned).count() as u64,
            },
        }
    }
}

/// By what the rows of [`Financials`] are put in order, the largest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// By what is unpaid.
    #[default]
    Balance,
    /// By how old it is.
    Age,
}

/// Which rows of the books are wanted. The default: all of both, by balance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only what this node owes, or only what it is owed; both or neither: both.
    pub payables: bool,
    /// See [`Selection::payables`].
    pub receivables: bool,
    /// The order of rows.
    pub order: Order,
    /// At most so many of each.
    pub top: Option<usize>,
    /// Least age in seconds; rows without a debt have no age and are left out when it is given.
    pub min_age: Option<u64>,
    /// Most age in seconds.
    pub max_age: Option<u64>,
    /// Least that is unpaid.
    pub min_balance: Option<Amount>,
    /// Most that is unpaid.
    pub max_balance: Option<Amount>,
}

/// Rows that the selection has, and the answer does not: see [`Selection::top`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LeftOut {
    /// Of what this node owes.
    pub payables: u64,
    /// Of what it is owed.
    pub receivables: u64,
}

/// Answer to `GET /v1/financials`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Financials {
    /// Sums over everything, whatever was selected.
    pub totals: Totals,
    /// What this node owes, hop by hop.
    pub payables: Vec<PayableView>,
    /// What it is owed, payer by payer.
    pub receivables: Vec<ReceivableView>,
    /// How many more rows were selected.
    #[serde(default)]
    pub left_out: LeftOut,
}

/// Most rows of each kind in one answer: some six megabytes.
const MAX_ROWS: usize = 10_000;

impl Selection {
    fn keeps(&self, unpaid: Amount, age: Option<u64>) -> bool {
        let young = age.unwrap_or(0);
        self.min_age
            .is_none_or(|least| age.is_some_and(|age| age >= least))
            && self.max_age.is_none_or(|most| young <= most)
            && self.min_balance.is_none_or(|least| unpaid >= least)
            && self.max_balance.is_none_or(|most| unpaid <= most)
    }

    fn cut<T>(&self, rows: &mut Vec<T>, figures: fn(&T) -> (Amount, Option<u64>)) -> u64 {
        rows.retain(|row| {
            let (unpaid, age) = figures(row);
            self.keeps(unpaid, age)
        });
        rows.sort_by(|a, b| {
            let ((a, a_age), (b, b_age)) = (figures(a), figures(b));
            match self.order {
                Order::Balance => b.cmp(&a).then(b_age.cmp(&a_age)),
                Order::Age => b_age.cmp(&a_age).then(b.cmp(&a)),
            }
        });
        let most = self.top.unwrap_or(MAX_ROWS).min(MAX_ROWS);
        let left = rows.len().saturating_sub(most);
        rows.truncate(most);
        left as u64
    }

    /// The rows of `books` that are wanted, with the sums over all. At most 10,000 of each kind.
    #[must_use]
    pub fn of(&self, books: MoneyBooks) -> Financials {
        let totals = books.totals();
        let MoneyBooks {
            mut payables,
            mut receivables,
        } = books;
        if self.receivables && !self.payables {
            payables.clear();
        }
        if self.payables && !self.receivables {
            receivables.clear();
        }
        let left_out = LeftOut {
            payables: self.cut(&mut payables, |row| (row.unpaid, row.age_seconds)),
            receivables: self.cut(&mut receivables, |row| (row.unpaid, row.age_seconds)),
        };
        Financials {
            totals,
            payables,
            receivables,
            left_out,
        }
    }
}
