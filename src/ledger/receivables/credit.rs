//! Money coming in: what the scanner found on the chain becomes credit; and who is banned.

use alloy_primitives::{Address, B256};

use super::{Batch, Entry, Receivables, since_after, written};
use crate::ledger::rows::Account;
use crate::ledger::{Thresholds, Wei};

/// What the scanner says has changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum CreditChange {
    /// A transfer was seen in a block.
    Seen {
        /// Who paid.
        payer: Address,
        /// How much.
        amount: Wei,
        /// By which transaction.
        transaction: B256,
    },
    /// A transfer that was seen is no longer in the chain.
    Gone {
        /// Who had paid.
        payer: Address,
        /// How much.
        amount: Wei,
        /// By which transaction.
        transaction: B256,
    },
    /// A transfer that was seen is final.
    Final {
        /// Who paid.
        payer: Address,
        /// How much.
        amount: Wei,
        /// By which transaction.
        transaction: B256,
    },
}

/// A ban, or the end of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing more is served to a payer. What it owes.
    Banned(Wei),
    /// A payer is served again. What it owes.
    Unbanned(Wei),
}

/// Bans or unbans.
pub(super) fn judge(thresholds: &Thresholds, unix: u64, row: &mut Account) -> Option<Verdict> {
    let owed = row.owed();
    // A date ahead is that of a clock that was set right since; the debt would have no age until
    // then.
    row.since = row.since.map(|since| since.min(unix));
    if row.banned && thresholds.unbans(owed) {
        row.banned = false;
        return Some(Verdict::Unbanned(owed));
    }
    if !row.banned && thresholds.bans(owed, row.since, unix) {
        row.banned = true;
        return Some(Verdict::Banned(owed));
    }
    None
}

impl Receivables {
    /// Books what the scanner found. The batch goes to disk in one commit together with the
    /// scanner's own rows, its cursor among them, so that every transfer is booked exactly once.
    pub fn credit(&mut self, unix: u64, changes: &[CreditChange]) -> Batch {
        let mut batch = Batch::default();
        for change in changes {
            let (CreditChange::Seen { payer, .. }
            | CreditChange::Gone { payer, .. }
            | CreditChange::Final { payer, .. }) = change;
            let entry = self.accounts.entry(*payer);
            let entry = entry.or_insert_with(|| Entry::unclaimed(*payer));
            let row = &mut entry.row;
            match *change {
                CreditChange::Seen { amount, .. } => {
                    row.since = since_after(row, unix, amount);
                    // All sums of one token's transfers fit: its supply does.
                    row.provisional = row.provisional.saturating_add(amount);
                    row.seen = row.seen.max(unix);
                }
                CreditChange::Gone { amount, .. } => {
                    row.provisional = row.provisional.saturating_sub(amount);
                    if row.owed() > 0 && row.since.is_none() {
                        row.since = Some(unix);
                    }
                }
                CreditChange::Final { amount, .. } => {
                    row.provisional = row.provisional.saturating_sub(amount);
                    row.paid = row.paid.saturating_add(amount);
                    row.note_payment(unix, amount);
                }
            }
            // Paid below the last number: the ban ends with the credit, not with the next round.
            if row.banned && self.thresholds.unbans(row.owed()) {
                row.banned = false;
            }
            self.recharge(unix, payer);
        }
        for change in changes {
            let (CreditChange::Seen { payer, .. }
            | CreditChange::Gone { payer, .. }
            | CreditChange::Final { payer, .. }) = change;
            if let Some(entry) = self.accounts.get(payer) {
                written(&mut batch, &entry.row);
            }
        }
        if self.free_dirty {
            batch.put(&self.free);
        }
        batch
    }
}
