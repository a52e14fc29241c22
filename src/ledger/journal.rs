//! The seam to the disk: tables, batches of changes, and what a journal must promise.
//! The journal on a file is `crate::books`; the one in memory here has the same crash semantics
//! and is for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{DecodeError, Row};

/// Where a row belongs. The numbers are part of the file's format: never use one again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Table {
    /// What this node owes, per payee. Key: wallet, hop.
    Payables = 1,
    /// What payers owe, per payer. Key: wallet.
    Receivables = 2,
    /// Money that came from wallets that are no payers yet. Key: wallet.
    Unclaimed = 3,
    /// The free credit that is out. One row.
    FreeCredit = 4,
    /// Payments under way, with their signed bytes. Key: nonce.
    Intents = 5,
    /// What the payment engine remembers besides. One row.
    Engine = 6,
    /// Payments that are final, whatever became of them. Key: nonce. Only ever added to.
    Payments = 7,
    /// Transfers seen that are not final. Key: block hash, transaction hash, log index.
    Provisional = 8,
    /// Transfers that are final and credited. Key as before. Only ever added to.
    Credits = 9,
    /// How far the scanner has come. One row.
    Cursor = 10,
    /// Accounts of the settlement protocol with payers. Key: wallet.
    PayerAccounts = 11,
    /// Accounts of the settlement protocol with hops. Key: the hop's node key.
    HopAccounts = 12,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 12] = [
        Self::Payables,
        Self::Receivables,
        Self::Unclaimed,
        Self::FreeCredit,
        Self::Intents,
        Self::Engine,
        Self::Payments,
        Self::Provisional,
        Self::Credits,
        Self::Cursor,
        Self::PayerAccounts,
        Self::HopAccounts,
    ];

    /// Whether the key shows nothing that must be hidden on disk (it is a nonce, or there is one
    /// row only).
    pub const fn key_is_plain(self) -> bool {
        matches!(
            self,
            Self::FreeCredit | Self::Intents | Self::Engine | Self::Payments | Self::Cursor
        )
    }
}

/// One row written or removed. A row's value holds its key as well, so a journal may replace keys
/// by something that can't be turned back.
#[derive(Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub table: Table,
    /// Which row.
    pub key: Vec<u8>,
    /// The row's new bytes, or `None` to remove it.
    pub value: Option<Vec<u8>>,
}

super::opaque_debug!(Change, MemoryJournal);

/// Changes that are written together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    changes: Vec<Change>,
}

impl Batch {
    /// Writes a row.
    pub fn put<R: Row>(&mut self, row: &R) {
        self.changes.push(Change {
            table: row.table(),
            key: row.key(),
            value: Some(row.encode()),
        });
    }

    /// Removes the row of that key.
    pub fn remove(&mut self, table: Table, key: Vec<u8>) {
        self.changes.push(Change {
            table,
            key,
            value: None,
        });
    }

    /// Adds the changes of another batch after those of this one.
    pub fn append(&mut self, other: Self) {
        self.changes.extend(other.changes);
    }

    /// The changes, in the order in which they are to be made.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// Why the books could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The medium failed. Whether a batch that was being written is there is not known: stop, and
    /// read everything again before going on.
    #[error("the books can't be read or written: {0}")]
    Medium(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A row does not follow its layout.
    #[error("the table of {table:?} is damaged: {source}")]
    Damaged {
        /// Which table.
        table: Table,
        /// What is wrong.
        source: DecodeError,
    },
}

/// Keeps the books on something that survives.
pub trait Journal: Send {
    /// Writes a batch whole, and returns when it is durable. Batches come in order.
    ///
    /// # Errors
    /// [`JournalError::Medium`]; the books in memory are then ahead of those on disk and must be
    /// thrown away.
    fn commit(&mut self, batch: &Batch) -> Result<(), JournalError>;

    /// The values of every row of a table, in any order.
    ///
    /// # Errors
    /// [`JournalError`] when they can't be read.
    fn rows(&self, table: Table) -> Result<Vec<Vec<u8>>, JournalError>;
}

/// Decodes every row of a table.
///
/// # Errors
/// [`JournalError`] when the table can't be read or a row is damaged.
pub(crate) fn load<R: Row>(journal: &dyn Journal, table: Table) -> Result<Vec<R>, JournalError> {
    let damaged = |source| JournalError::Damaged { table, source };
    let rows = journal.rows(table)?;
    rows.iter()
        .map(|bytes| R::decode(bytes).map_err(damaged))
        .collect()
}

type Rows = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// A journal in memory. Clones share their rows: one clone outlives the "process" whose books it
/// kept, and a batch is there from the moment in which `commit` returns.
#[derive(Clone, Default)]
pub struct MemoryJournal {
    rows: Arc<Mutex<Rows>>,
}

impl MemoryJournal {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy that later commits don't reach: a backup.
    #[must_use]
    pub fn backup(&self) -> Self {
        Self {
            rows: Arc::new(Mutex::new(self.lock().clone())),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for MemoryJournal {
    fn commit(&mut self, batch: &Batch) -> Result<(), JournalError> {
        let mut rows = self.lock();
        for change in batch.changes() {
            let key = (change.table, change.key.clone());
            match &change.value {
                Some(value) => rows.insert(key, value.clone()),
                None => rows.remove(&key),
            };
        }
        Ok(())
    }

    fn rows(&self, table: Table) -> Result<Vec<Vec<u8>>, JournalError> {
        let rows = self.lock();
        let of_table = rows.iter().filter(|((t, _), _)| *t == table);
        Ok(of_table.map(|(_, value)| value.clone()).collect())
    }
}
