//! The store: sealed, versioned tables in one file, on `redb`.
//!
//! A data folder has two: `node.redb` for what the node remembers and
//! `money.redb` for the ledger. Values are sealed under keys that come from one
//! [`MasterKey`], which the [`vault`] keeps under the operator's password or a
//! key file. What a table holds is said by its [`Table`]; the bytes are laid out
//! by hand ([`codec`]).
//!
//! | on the disk | |
//! |---|---|
//! | names of tables, how many values they have and how long those are | in the clear |
//! | ordered keys: nonces, sequence numbers, times | in the clear |
//! | hidden keys: wallets, node keys, hashes | an HMAC-SHA256, under a key of that file |
//! | values | sealed, bound to table, key and layout |
//!
//! Everything here blocks: opening for as long as reading the whole file twice
//! takes (every page is checked, first without writing anything), a commit for two to four milliseconds and more on a
//! slow disk. From asynchronous code, call it through
//! `tokio::task::spawn_blocking`, never from the task that owns the Swarm.
//! A [`Store`] can be shared between threads; writers wait for each other.

pub mod codec;
pub mod vault;

mod error;
mod file;
mod header;
mod master;
mod peek;
pub(crate) mod seal;
mod table;
mod tx;

use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase as _};

pub use codec::{DecodeError, Reader, Value, Writer};
pub use error::{MAX_VALUE, StoreError};
pub use master::MasterKey;
pub use seal::SealError;
pub use table::{Key, OrderedKey, Table};
pub use tx::{Read, ReadTx, WriteTx};
pub use vault::{Password, Unlock, VaultError};

use header::Header;
use master::Sealer;
use tx::Context;

/// What a store is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// What the node remembers: neighbours, bans, wallet addresses.
    Node,
    /// The ledger: payables, receivables, payments.
    Money,
}

impl Purpose {
    /// The name of its file in the data folder.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Node => "node.redb",
            Self::Money => "money.redb",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Money => "money",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Node => 1,
            Self::Money => 2,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Node),
            2 => Some(Self::Money),
            _ => None,
        }
    }

    /// The steps from the first schema to the newest. Append only: a step that
    /// was released must never change.
    const fn migrations(self) -> &'static [Migration] {
        match self {
            Self::Node | Self::Money => &[],
        }
    }
}

/// How much a commit does before it returns. Both kinds survive a crash of the
/// program and of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// One sync (2.3 ms measured). After a crash in the middle of a commit, the
    /// checksums tell whether the file has the state before or after it.
    OnePhase,
    /// Two syncs (4.0 ms measured): the new state is on the disk before the
    /// file says so, and a damaged newest state is reported, never replaced by
    /// the one before it. For money.
    TwoPhase,
}

/// A step from one version of the schema to the next. It changes tables in the
/// transaction that it is given; all steps and the new version are one commit.
pub(crate) type Migration = fn(&mut WriteTx<'_>) -> Result<(), StoreError>;

/// An open store. While it lives, nobody else can open the file.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    database: Database,
    sealer: Sealer,
    durability: Durability,
    header: Header,
}

impl Store {
    /// Opens the store in that file, or creates it (mode 0600) where there is
    /// none, and brings an older schema up to date.
    ///
    /// Two programs that create one file at the same moment are kept apart by
    /// the lock of the data folder, which the caller should hold.
    ///
    /// # Errors
    ///
    /// See [`StoreError`]: the file can be in use, readable by others, no store
    /// or one for another purpose, sealed under another key, newer than this
    /// program, or damaged. In none of these cases is it overwritten.
    pub fn open(
        path: impl Into<PathBuf>,
        purpose: Purpose,
        key: &MasterKey,
        durability: Durability,
    ) -> Result<Self, StoreError> {
        Self::open_with(path.into(), purpose, key, durability, purpose.migrations())
    }

    fn open_with(
        path: PathBuf,
        purpose: Purpose,
        key: &MasterKey,
        durability: Durability,
        migrations: &[Migration],
    ) -> Result<Self, StoreError> {
        let newest = newest_schema(migrations);
        if !file::look(&path)? {
            file::create(&path, purpose, key, newest)?;
        }
        let header = |database: &Database| file::read_header(&path, database, purpose, key, newest);
        // First without writing anything, for it may not be ours.
        header(&file::peek_into(&path)?)?;
        let database = file::builder()
            .open(&path)
            .map_err(|error| file::opening(&path, error))?;
        let (header, sealer) = header(&database)?;
        let mut store = Self {
            path,
            database,
            sealer,
            durability,
            header,
        };
        if store.header.schema < newest {
            store.migrate(migrations, newest)?;
        }
        Ok(store)
    }

    fn migrate(&mut self, migrations: &[Migration], newest: u32) -> Result<(), StoreError> {
        let header = Header {
            schema: newest,
            ..self.header
        };
        // Schema 1 is where the steps begin.
        let done = usize::try_from(self.header.schema.saturating_sub(1)).unwrap_or(usize::MAX);
        self.write(|tx| {
            for migration in migrations.iter().skip(done) {
                migration(tx)?;
            }
            file::write_header(&self.path, &tx.tx, header, &self.sealer)
        })?;
        self.header = header;
        Ok(())
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Changes the store: what the closure does is on the disk, whole, when
    /// this returns `Ok`. When the closure returns an error, or panics, nothing
    /// is changed.
    ///
    /// Blocks, also for as long as another thread writes. Must not be called
    /// from within the closure: that would wait for itself.
    ///
    /// # Errors
    ///
    /// What the closure returned; or why the changes could not be committed.
    /// After [`StoreError::Commit`] it is not known whether they were.
    pub fn write<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(&mut WriteTx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut tx = self
            .database
            .begin_write()
            .map_err(|error| StoreError::database(&self.path, error))?;
        tx.set_two_phase_commit(self.durability == Durability::TwoPhase);
        let mut tx = WriteTx {
            tx,
            context: self.context(),
        };
        let done = change(&mut tx)?;
        tx.tx
            .commit()
            .map_err(|error| StoreError::commit(&self.path, error))?;
        Ok(done)
    }

    /// Reads the store as it is now; changes by others meanwhile don't show.
    ///
    /// # Errors
    ///
    /// What the closure returned; or that the file can't be read.
    pub fn read<T, E: From<StoreError>>(
        &self,
        look: impl FnOnce(&ReadTx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let tx = self
            .database
            .begin_read()
            .map_err(|error| StoreError::database(&self.path, error))?;
        look(&ReadTx {
            tx,
            context: self.context(),
        })
    }

    fn context(&self) -> Context<'_> {
        Context {
            path: &self.path,
            sealer: &self.sealer,
        }
    }
}

fn newest_schema(migrations: &[Migration]) -> u32 {
    u32::try_from(migrations.len())
        .unwrap_or(u32::MAX)
        .saturating_add(1)
}

#[cfg(test)]
mod tests;
