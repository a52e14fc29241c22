//! The file of a store: whether it is one, making it, and its header.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase as _, StorageError, TableError,
    backends::FileBackend,
};

use super::{
    MasterKey, Purpose, StoreError,
    header::{self, Claimed, Header, HeaderError, Verdict},
    master::Sealer,
    peek::Peek,
    seal,
};

/// Memory that a store may use as a cache, in bytes (guess; a ledger of ten
/// thousand counterparties has two megabytes).
const CACHE: usize = 8 << 20;
/// How every file of the database begins.
const REDB_MAGIC: &[u8; 9] = b"redb\x1a\x0a\xa9\x0d\x0a";

pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .set_cache_size(CACHE)
        // Damage is found now, and not by a payment in three weeks.
        .set_check_integrity_on_open(true);
    builder
}

/// Whether there is a file that can be opened as a store; an error if there is
/// one that can't.
pub(super) fn look(path: &Path) -> Result<bool, StoreError> {
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
pub(super) fn peek_into(path: &Path) -> Result<Database, StoreError> {
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
pub(super) fn create(
    path: &Path,
    purpose: Purpose,
    key: &MasterKey,
    schema: u32,
) -> Result<(), StoreError> {
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

pub(super) fn write_header(
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
pub(super) fn read_header(
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
pub(super) fn opening(path: &Path, error: DatabaseError) -> StoreError {
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
