//! The books in the store of money: the ledger's journal on a file, and beside it the accounts
//! of the settlement protocol.
//!
//! Both are rows of the same batches: what a payer has acknowledged and
//! what it owes must not be of two different moments after a crash.
//!
//! Not here: what the amounts mean (`crate::ledger`, `masq_settlement`), how bytes are sealed
//! (`crate::store`).

mod journal;
mod settlement;

pub use journal::StoreJournal;
pub use settlement::{HopRow, PayerRow};

#[cfg(test)]
mod tests;
