//! The accounts of the settlement protocol as a start finds them, and as they are written.
//!
//! What circuits cost is written to both books in one commit. What the chain brings is written
//! with the ledger, as soon as it is found, and not with the accounts: so a start takes what was
//! paid from the ledger, and never counts a payment twice or forgets one.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};
use masq_settlement::state::limits::RECENT;
use masq_settlement::state::{HopBooks, Machine, PayerBooks};
use masq_settlement::{NodeKey, Now, Party, Wei};

use crate::books::{HopRow, PayerRow};
use crate::chain::scanner::{Booked, Credit};
use crate::ledger::{Batch, Journal, JournalError, Payables, Receivables, Table, load};

/// The rows of accounts that have changed.
pub(super) fn changed(machine: &mut Machine) -> Batch {
    let mut batch = Batch::default();
    for party in machine.take_changed() {
        match party {
            Party::Payer(payer) => match machine.payer(&payer) {
                Some(books) => batch.put(&PayerRow(books)),
                None => batch.remove(Table::PayerAccounts, payer.to_vec()),
            },
            Party::Hop(hop) => match machine.hop(&hop) {
                Some(books) => batch.put(&HopRow(books)),
                None => batch.remove(Table::HopAccounts, hop.0.to_vec()),
            },
        }
    }
    batch
}

/// What was paid, so that what is owed is what the ledger says.
fn paid(booked: Wei, accrued: Wei, paid: Wei) -> Wei {
    booked.saturating_add(paid).saturating_sub(accrued)
}

/// Transfers that were found before.
pub(super) struct Transfers {
    /// Not final, with their amounts.
    pub(super) provisional: BTreeMap<(Address, B256), Wei>,
    /// Final, the latest last.
    counted: BTreeMap<Address, Vec<B256>>,
}

impl Transfers {
    pub(super) fn load(journal: &dyn Journal) -> Result<Self, JournalError> {
        let mut provisional = BTreeMap::<_, Wei>::new();
        for credit in load::<Credit>(journal, Table::Provisional)? {
            let sum = provisional
                .entry((credit.payer, credit.key.tx))
                .or_default();
            *sum = sum.saturating_add(credit.amount);
        }
        let mut booked = load::<Booked>(journal, Table::Credits)?;
        booked.sort_by_key(|Booked(credit)| credit.number);
        let mut counted = BTreeMap::<_, Vec<B256>>::new();
        for Booked(credit) in booked {
            let of_payer = counted.entry(credit.payer).or_default();
            of_payer.retain(|known| *known != credit.key.tx);
            of_payer.push(credit.key.tx);
            if of_payer.len() > RECENT {
                of_payer.remove(0);
            }
        }
        Ok(Self {
            provisional,
            counted,
        })
    }
}

/// Gives a machine the accounts back.
pub(super) fn accounts(
    machine: &mut Machine,
    now: Now,
    journal: &dyn Journal,
    receivables: &Receivables,
    transfers: &Transfers,
) -> Result<(), JournalError> {
    for PayerRow(mut books) in load::<PayerRow>(journal, Table::PayerAccounts)? {
        heal_payer(&mut books, receivables, transfers);
        if machine.restore_payer(books).is_err() {
            tracing::warn!(target: "masq::ledger", "there are more payers' accounts than there is room for");
        }
    }
    let payables = Payables::load(journal)?;
    let mut sums = BTreeMap::<NodeKey, (Wei, Wei)>::new();
    for row in payables.iter() {
        let (accrued, paid) = sums.entry(NodeKey(row.payee.hop)).or_default();
        *accrued = accrued.saturating_add(row.accrued);
        *paid = paid.saturating_add(row.paid);
    }
    for HopRow(mut books) in load::<HopRow>(journal, Table::HopAccounts)? {
        let sum = sums.get(&books.hop).copied();
        heal_hop(&mut books, sum);
        if machine.restore_hop(now, books).is_err() {
            tracing::warn!(target: "masq::ledger", "there are more hops' accounts than there is room for");
        }
    }
    Ok(())
}

fn heal_payer(books: &mut PayerBooks, receivables: &Receivables, transfers: &Transfers) {
    if let Some(row) = receivables.get(&books.payer) {
        books.final_credit = paid(books.booked, row.accrued, row.paid);
    }
    let of_payer = |((payer, transaction), amount): (&(Address, B256), &Wei)| {
        (*payer == books.payer).then_some((*transaction, *amount))
    };
    books.provisional = transfers.provisional.iter().filter_map(of_payer).collect();
    books
        .provisional
        .truncate(masq_settlement::state::limits::MAX_PROVISIONAL);
    if let Some(counted) = transfers.counted.get(&books.payer) {
        books.counted.clone_from(counted);
    }
}

fn heal_hop(books: &mut HopBooks, sums: Option<(Wei, Wei)>) {
    if let Some((accrued, sum)) = sums {
        books.paid = paid(books.booked, accrued, sum);
    }
}
