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
mod header;
mod master;
mod peek;
pub(crate) mod seal;
mod table;
mod tx;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase as _, StorageError, TableError,
    backends::FileBackend,
};

pub use codec::{DecodeError, Reader, Value, Writer};
pub use error::{MAX_VALUE, StoreError};
pub use master::MasterKey;
pub use seal::SealError;
pub use table::{Key, OrderedKey, Table};
pub use tx::{Read, ReadTx, WriteTx};
pub use vault::{Password, Unlock, VaultError};

use header::{Claimed, Header, HeaderError, Verdict};
use master::Sealer;
use peek::Peek;
use tx::Context;

/// Memory that a store may use as a cache, in bytes (guess; a ledger of ten
/// thousand counterparties has two megabytes).
const CACHE: usize = 8 << 20;
/// How every file of the database begins.
const REDB_MAGIC: &[u8; 9] = b"redb\x1a\x0a\xa9\x0d\x0a";

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
        if !look(&path)? {
            create(&path, purpose, key, newest)?;
        }
        let header = |database: &Database| read_header(&path, database, purpose, key, newest);
        // First without writing anything, for it may not be ours.
        header(&peek_into(&path)?)?;
        let database = builder()
            .open(&path)
            .map_err(|error| opening(&path, error))?;
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
            write_header(&self.path, &tx.tx, header, &self.sealer)
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

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .set_cache_size(CACHE)
        // Damage is found now, and not by a payment in three weeks.
        .set_check_integrity_on_open(true);
    builder
}

/// Whether there is a file that can be opened as a store; an error if there is
/// one that can't.
fn look(path: &Path) -> Result<bool, StoreError> {
    let failed = |source| StoreError::file(path, "opened", source);
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    let foreign = |what: &str| StoreError::Foreign {
        path: path.to_owned(),
        what: what.to_owned(),
    };
    if !metadata.is_file() {
        return Err(foreign("no file"));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(StoreError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let mut start = Vec::new();
    file.by_ref()
        .take(REDB_MAGIC.len() as u64)
        .read_to_end(&mut start)
        .map_err(failed)?;
    if start == REDB_MAGIC {
        Ok(true)
    } else if REDB_MAGIC.starts_with(&start) {
        Err(StoreError::damaged(path, "it was cut off at its beginning"))
    } else {
        Err(foreign("no store of this program"))
    }
}

/// The database in a file, checked and repaired in memory only.
fn peek_into(path: &Path) -> Result<Database, StoreError> {
    let failed = |source| StoreError::file(path, "opened", source);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(failed)?;
    let backend = FileBackend::new(file).map_err(|error| opening(path, error))?;
    let backend = Peek::new(backend).map_err(failed)?;
    builder()
        .create_with_backend(backend)
        .map_err(|error| opening(path, error))
}

/// Makes the file beside, and moves it into place when it is complete: a crash
/// leaves no half of a store.
fn create(path: &Path, purpose: Purpose, key: &MasterKey, schema: u32) -> Result<(), StoreError> {
    let failed = |source| StoreError::file(path, "created", source);
    let beside = path.with_extension("redb.new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let attempt = || {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)
            .map_err(failed)?;
        let backend = FileBackend::new(file).map_err(|error| opening(&beside, error))?;
        let database = builder()
            .create_with_backend(backend)
            .map_err(|error| opening(&beside, error))?;
        let header = Header {
            purpose,
            schema,
            id: *seal::random()?,
        };
        let sealer = key.sealer(purpose.name(), &header.id)?;
        let mut tx = database
            .begin_write()
            .map_err(|error| StoreError::database(&beside, error))?;
        tx.set_two_phase_commit(true);
        write_header(&beside, &tx, header, &sealer)?;
        tx.commit()
            .map_err(|error| StoreError::commit(&beside, error))?;
        database.close().map_err(|error| opening(&beside, error))?;
        fs::rename(&beside, path).map_err(failed)?;
        match path.parent() {
            Some(folder) if folder != Path::new("") => File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(failed),
            _ => Ok(()),
        }
    };
    attempt().inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}

fn write_header(
    path: &Path,
    tx: &redb::WriteTransaction,
    header: Header,
    sealer: &Sealer,
) -> Result<(), StoreError> {
    let bytes = header.to_bytes(sealer)?;
    let mut table = tx
        .open_table(header::TABLE)
        .map_err(|error| StoreError::database(path, error))?;
    table
        .insert(header::KEY, bytes.as_slice())
        .map_err(|error| StoreError::database(path, error))?;
    Ok(())
}

/// The header of an open file, if it is a store for that purpose, of a schema
/// that is known, under this key.
fn read_header(
    path: &Path,
    database: &Database,
    purpose: Purpose,
    key: &MasterKey,
    newest: u32,
) -> Result<(Header, Sealer), StoreError> {
    let foreign = |what: String| StoreError::Foreign {
        path: path.to_owned(),
        what,
    };
    let newer = |found| StoreError::Newer {
        path: path.to_owned(),
        found,
        known: newest,
    };
    let tx = database
        .begin_read()
        .map_err(|error| StoreError::database(path, error))?;
    let table = match tx.open_table(header::TABLE) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => {
            return Err(foreign("a database of another program".into()));
        }
        Err(error) => return Err(StoreError::database(path, error)),
    };
    let stored = table
        .get(header::KEY)
        .map_err(|error| StoreError::database(path, error))?;
    let Some(stored) = stored else {
        return Err(StoreError::damaged(path, "its header is missing"));
    };
    let claimed = Claimed::read(stored.value()).map_err(|error| match error {
        HeaderError::None => foreign("a database of another program".into()),
        HeaderError::Newer(format) => newer(format.into()),
        HeaderError::Damaged(error) => {
            StoreError::damaged(path, format_args!("its header: {error}"))
        }
    })?;
    let header = claimed.header;
    if header.purpose != purpose {
        return Err(foreign(format!(
            "a store for {}, where one for {} belongs",
            header.purpose.name(),
            purpose.name()
        )));
    }
    if header.schema > newest {
        return Err(newer(header.schema));
    }
    let sealer = key.sealer(purpose.name(), &header.id)?;
    match claimed.verdict(&sealer) {
        Verdict::Genuine => Ok((header, sealer)),
        Verdict::WrongKey => Err(StoreError::WrongKey {
            path: path.to_owned(),
        }),
        Verdict::Changed => Err(StoreError::damaged(path, "its header was changed")),
    }
}

/// What the database said while opening.
fn opening(path: &Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::Storage(StorageError::Io(source))
            if source.kind() != io::ErrorKind::InvalidData
                && source.kind() != io::ErrorKind::UnexpectedEof =>
        {
            StoreError::file(path, "opened", source)
        }
        other => StoreError::database(path, other),
    }
}

#[cfg(test)]
mod tests;
