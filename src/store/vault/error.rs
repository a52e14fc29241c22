//! What can go wrong with a vault, each with what to do about it.

use std::path::PathBuf;

use super::{KEY_FILE, MIN_PASSWORD, VAULT};
use crate::{datadir::DataDirError, store::SealError};

/// Why a vault can't be made or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// A file can't be read or written, or others can read it.
    #[error(transparent)]
    Folder(#[from] DataDirError),
    /// There is none, and no store either.
    #[error(
        "there is no vault in {} yet. `masq wallet generate` makes one, and so does `masqd`",
        folder.display()
    )]
    None {
        /// The data folder.
        folder: PathBuf,
    },
    /// There are stores without the vault that opens them.
    #[error(
        "{} is there, but {VAULT}, which holds the key to it, is missing. Restore {VAULT} from a \
         backup of the same folder; without it, nothing can open that file",
        store.display()
    )]
    Missing {
        /// A store that is there.
        store: PathBuf,
    },
    /// There is one already.
    #[error("{} is there already; it was left as it is", path.display())]
    Exists {
        /// The vault's file.
        path: PathBuf,
    },
    /// It does not hold what was written to it.
    #[error(
        "{} is damaged: {what}. It was left as it is. Restore it from a backup; without it, the \
         stores of this folder can't be opened", path.display()
    )]
    Damaged {
        /// The vault's file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A newer program wrote it.
    #[error(
        "{} was written by a newer version of this program. Use that one", path.display()
    )]
    Newer {
        /// The vault's file.
        path: PathBuf,
    },
    /// The password is not the right one.
    #[error(
        "the password is wrong for {}. Nothing was changed. A forgotten password can't be \
         recovered: see `masq wallet recover --help`", path.display()
    )]
    WrongPassword {
        /// The vault's file.
        path: PathBuf,
    },
    /// The key file is not the right one.
    #[error(
        "the key in {} does not open {}. Restore the key file that belongs to it", key.display(),
        path.display()
    )]
    WrongKeyFile {
        /// The vault's file.
        path: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// It is locked by a password, and none was given.
    #[error("{} is locked by a password. Give it, with --password-file FILE", path.display())]
    NeedsPassword {
        /// The vault's file.
        path: PathBuf,
    },
    /// It is locked by a key file, and a password was given.
    #[error(
        "{} is locked by a key file ({KEY_FILE} in the same folder, unless you named another), not \
         by a password. Leave the password out", path.display()
    )]
    NeedsKeyFile {
        /// The vault's file.
        path: PathBuf,
    },
    /// The key file is missing or is none.
    #[error(
        "{} {what}. Restore it from a backup; without it, the stores of this folder can't be opened",
        path.display()
    )]
    KeyFile {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A password file can't be used.
    #[error("the password file {} can't be used: {what}", path.display())]
    PasswordFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A new password is too short.
    #[error("the password is too short: it needs {MIN_PASSWORD} characters or more")]
    Short,
    /// Nothing can be derived or sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}
