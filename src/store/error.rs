//! What can go wrong with a store, each with what to do about it.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use super::{codec::MAX_BLOB, seal::SealError};

/// Why a store can't be opened, read or written.
///
/// After every error the file holds what it held before; only after
/// [`Self::Commit`] it may hold the new state as well, whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file can't be opened, read or written.
    #[error(
        "{} can't be {verb}: {source}. Check the disk and the permissions of the folder",
        path.display()
    )]
    File {
        /// The file.
        path: PathBuf,
        /// `opened`, `read`, `written`.
        verb: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Others can read the file.
    #[error(
        "{} can be read by others (mode {mode:03o}). If nobody has, type: chmod 600 {}",
        path.display(), path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another process, or this one, has it open.
    #[error(
        "{} is in use: a daemon, or another `masq` command, has it open. Stop it (`masq \
         shutdown`), or wait until it is done", path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is no store, or one for something else.
    #[error(
        "{} is {what}; it was left as it is. If it should not be there, move it away; if it took \
         the place of a store, restore that from a backup", path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: String,
    },
    /// It is sealed under the key of another vault.
    #[error(
        "{} is sealed under another key than the one in this folder's vault; it was left as it is. \
         The file and the vault come from different folders or backups: restore the two together",
        path.display()
    )]
    WrongKey {
        /// The file.
        path: PathBuf,
    },
    /// A newer program wrote it.
    #[error(
        "{} was written by a newer version of this program (schema {found}, and this one knows up \
         to {known}); it was left as it is. Use the newer version", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its schema.
        found: u32,
        /// The newest version that this program knows.
        known: u32,
    },
    /// It does not hold what was written to it.
    #[error(
        "{} is damaged: {what}. It was left as it is. Check the disk, and restore the file from a \
         backup", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A commit failed: it is not known whether the changes are on the disk.
    /// The store does nothing more until it is opened again.
    #[error(
        "{} could not be committed to: {source}. Whether the last changes are in it shows when it \
         is opened again. Check the disk, and start again", path.display()
    )]
    Commit {
        /// The file.
        path: PathBuf,
        /// What the database said.
        source: Box<redb::Error>,
    },
    /// A value is longer than can be read back. Nothing was written.
    #[error(
        "a value for the table {table} is too long ({length} bytes; at most {} can be stored)",
        MAX_VALUE
    )]
    TooLong {
        /// The table.
        table: &'static str,
        /// The length of the value, in bytes.
        length: usize,
    },
    /// Nothing can be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Longest value, in bytes: a few of the longest fields.
pub const MAX_VALUE: usize = 4 * MAX_BLOB;

impl StoreError {
    pub(super) fn file(path: &Path, verb: &'static str, source: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            verb,
            source,
        }
    }

    pub(super) fn damaged(path: &Path, what: impl fmt::Display) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            what: what.to_string(),
        }
    }

    /// What the database said while reading or writing.
    pub(super) fn database(path: &Path, error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Self::InUse {
                path: path.to_owned(),
            },
            redb::Error::Corrupted(what) => Self::damaged(path, what),
            redb::Error::Io(source) => match source.kind() {
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                    Self::damaged(path, source)
                }
                _ => Self::file(path, "used", source),
            },
            redb::Error::UpgradeRequired(version) => Self::Foreign {
                path: path.to_owned(),
                what: format!("a redb database of the old format {version}"),
            },
            redb::Error::TableTypeMismatch { table, .. } | redb::Error::TableIsMultimap(table) => {
                Self::damaged(path, format_args!("the table {table} holds something else"))
            }
            other => Self::file(path, "used", io::Error::other(other)),
        }
    }

    /// What the database said to a commit.
    pub(super) fn commit(path: &Path, error: redb::CommitError) -> Self {
        Self::Commit {
            path: path.to_owned(),
            source: Box::new(error.into()),
        }
    }
}
