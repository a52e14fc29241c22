//! [`Journal`] over a store: one batch, one transaction.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::ledger::{Batch, Change, Journal, JournalError, Table};
use crate::store::{
    self, DecodeError, Key, Read as _, Reader, Store, StoreError, Value, WriteTx, Writer,
};

/// The books in a store for money. Clones write to the same store, each batch in a transaction of
/// its own; open the store with [`crate::store::Durability::TwoPhase`].
///
/// Everything blocks, a commit for about four milliseconds: from asynchronous code, call it
/// through `spawn_blocking`.
#[derive(Clone)]
pub struct StoreJournal {
    store: Arc<Store>,
}

impl fmt::Debug for StoreJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreJournal").finish_non_exhaustive()
    }
}

/// The name of a table in the file. Part of the file's format.
const fn name(table: Table) -> &'static str {
    match table {
        Table::Payables => "ledger.payables",
        Table::Receivables => "ledger.receivables",
        Table::Unclaimed => "ledger.unclaimed",
        Table::FreeCredit => "ledger.free-credit",
        Table::Intents => "ledger.intents",
        Table::Engine => "ledger.engine",
        Table::Payments => "ledger.payments",
        Table::Provisional => "ledger.provisional",
        Table::Credits => "ledger.credits",
        Table::Cursor => "ledger.cursor",
        Table::PayerAccounts => "settlement.payers",
        Table::HopAccounts => "settlement.hops",
    }
}

/// A key that shows nothing: a nonce, or no bytes at all.
struct PlainKey(Vec<u8>);

/// A key with a wallet or a hash in it.
struct HiddenKey(Vec<u8>);

macro_rules! bytes_as_key {
    ($type:ident, $hidden:expr) => {
        impl Key for $type {
            const HIDDEN: bool = $hidden;

            fn write(&self, out: &mut Writer) {
                out.raw(&self.0);
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self(from.rest().to_vec()))
            }
        }
    };
}

bytes_as_key!(PlainKey, false);
bytes_as_key!(HiddenKey, true);

/// A row as the ledger encoded it; it has a layout of its own within.
struct RowBytes(Vec<u8>);

impl Value for RowBytes {
    const LAYOUT: u8 = 1;

    fn write(&self, out: &mut Writer) {
        out.raw(&self.0);
    }

    fn read(layout: u8, from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match layout {
            1 => Ok(Self(from.rest().to_vec())),
            other => Err(DecodeError::Layout(other)),
        }
    }
}

impl StoreJournal {
    /// The books in that store.
    pub fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    fn all<K: Key, V: Value>(&self, table: &store::Table<K, V>) -> Result<Vec<V>, JournalError> {
        let mut all = Vec::new();
        let collect = |_: K, value: V| {
            all.push(value);
            ControlFlow::Continue(())
        };
        self.store
            .read(|tx| tx.visit(table, collect))
            .map_err(medium)?;
        Ok(all)
    }
}

fn medium(error: StoreError) -> JournalError {
    JournalError::Medium(Box::new(error))
}

fn apply(tx: &mut WriteTx<'_>, change: &Change) -> Result<(), StoreError> {
    if change.table.key_is_plain() {
        apply_to(tx, change, &PlainKey(change.key.clone()))
    } else {
        apply_to(tx, change, &HiddenKey(change.key.clone()))
    }
}

fn apply_to<K: Key>(tx: &mut WriteTx<'_>, change: &Change, key: &K) -> Result<(), StoreError> {
    let table = store::Table::<K, RowBytes>::new(name(change.table));
    match &change.value {
        Some(value) => tx.put(&table, key, &RowBytes(value.clone())),
        None => tx.remove(&table, key).map(|_| ()),
    }
}

impl Journal for StoreJournal {
    fn commit(&mut self, batch: &Batch) -> Result<(), JournalError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.store
            .write(|tx| {
                for change in batch.changes() {
                    apply(tx, change)?;
                }
                Ok(())
            })
            .map_err(medium)
    }

    fn rows(&self, table: Table) -> Result<Vec<Vec<u8>>, JournalError> {
        let rows = if table.key_is_plain() {
            self.all(&store::Table::<PlainKey, RowBytes>::new(name(table)))?
        } else {
            self.all(&store::Table::<HiddenKey, RowBytes>::new(name(table)))?
        };
        Ok(rows.into_iter().map(|row| row.0).collect())
    }
}
