//! The data folder: its lock, the token and address of the control API, and how
//! small files in it are read and written. What is kept sealed there is
//! [`crate::safe`].
//!
//! | file | holds | mode |
//! |---|---|---|
//! | `lock` | nothing; locked while a daemon runs | 0600 |
//! | `control.token` | the bearer token of the control API | 0600 |
//! | `control.json` | where the control API listens; gone when no daemon runs | 0600 |
//! | `vault.json`, `store.key` | see [`crate::store::vault`] | 0600 |
//! | `node.redb`, `money.redb` | see [`crate::store`] | 0600 |
//! | `consuming.json` | see [`crate::wallet`] | 0600 |
//! | `node.key`, `state.json` | of an older version, until they are taken over | 0600 |
//!
//! Every file is replaced whole: written beside, synced, renamed, the folder
//! synced. So a crash leaves the old or the new content and nothing between.
//! Everything here blocks; call it before the runtime starts, or from a
//! blocking task.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{TryRng, rngs::SysRng};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::control::types::ControlFile;

/// Random bytes in a token: as many as a key, so that guessing is out.
const TOKEN_LENGTH: usize = 32;
/// Largest of the small files (the longest is of an older version, with as many bans as there can
/// be: 450 kilobytes).
const MAX_FILE: u64 = 1 << 20;

const LOCK: &str = "lock";
const TOKEN: &str = "control.token";
const CONTROL: &str = "control.json";

/// What is wrong with the data folder, each with what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// The folder can't be created or opened.
    #[error(
        "the data folder {} can't be used: {source}. {}", path.display(),
        advice(path, source, "Choose another with --data-dir, or give yourself the right to write \
                              there")
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another daemon has it.
    #[error(
        "another daemon uses the data folder {}. Stop it with `masq shutdown`, or give this one a \
         folder of its own with --data-dir", path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A file can't be read or written. The file is as it was before.
    #[error(
        "{} can't be {verb}: {source}. {}", path.display(),
        advice(path, source, "Check the disk and the permissions of the folder")
    )]
    File {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        verb: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file that should be secret can be read by others.
    #[error(
        "{0} can be read by others (mode {mode:03o}), and it holds a secret. If nobody has, type: \
         chmod 600 {0}", path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file does not hold what it should.
    #[error("{} is damaged: {what}. {remedy}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The system has no randomness to make a key from.
    #[error("the system gives no random numbers: {0}. No key was made")]
    NoRandomness(String),
}

/// What to do about a path that can't be used: `usual`, unless it belongs to somebody else.
fn advice(path: &Path, error: &io::Error, usual: &str) -> String {
    let me = rustix::process::geteuid().as_raw();
    // What can't be looked at lies in a folder that can.
    let seen = path.ancestors().find_map(|path| fs::metadata(path).ok());
    match seen.map(|seen| seen.uid()) {
        Some(owner) if error.kind() == io::ErrorKind::PermissionDenied => {
            not_ones_own(owner, me).unwrap_or_else(|| usual.to_owned())
        }
        _ => usual.to_owned(),
    }
}

fn not_ones_own(owner: u32, me: u32) -> Option<String> {
    if owner == me || me == 0 {
        return None;
    }
    let users = fs::read_to_string(USERS).unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut parts = line.split(':');
        let (name, number) = (parts.next()?, parts.nth(1)?);
        (number.parse() == Ok(owner)).then(|| name.to_owned())
    });
    let name = name.unwrap_or_else(|| format!("'#{owner}'"));
    Some(format!(
        "The folder belongs to another user; type the same with: sudo -u {name}"
    ))
}

/// Names of the users of this machine.
const USERS: &str = "/etc/passwd";

/// An open data folder. While it lives no other daemon can open it.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    // Held for its lock, which ends with it, whatever ends the process.
    _lock: File,
}

impl DataDir {
    /// Opens the folder, creating it (mode 0700) where it is missing, and locks
    /// it.
    ///
    /// # Errors
    ///
    /// See [`DataDirError`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DataDirError> {
        let path = path.into();
        let folder = |source| DataDirError::Folder {
            path: path.clone(),
            source,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(folder)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(folder)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DataDirError::InUse { path }),
            Err(TryLockError::Error(source)) => return Err(folder(source)),
        }
        Ok(Self { path, _lock: lock })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The token of the control API, made on first use and kept: programs may
    /// have it written down.
    ///
    /// # Errors
    ///
    /// When the file can't be read or written, is readable by others, or holds
    /// no token.
    pub fn control_token(&self) -> Result<Zeroizing<String>, DataDirError> {
        match read_token(&self.path)? {
            Some(token) => Ok(token),
            None => {
                let token =
                    Zeroizing::new(URL_SAFE_NO_PAD.encode(random::<TOKEN_LENGTH>()?.as_slice()));
                write(&self.path.join(TOKEN), token.as_bytes())?;
                Ok(token)
            }
        }
    }

    /// Tells `masq` where the control API listens.
    ///
    /// # Errors
    ///
    /// When the file can't be written.
    pub fn announce_control(&self, control: &ControlFile) -> Result<(), DataDirError> {
        write_json(&self.path.join(CONTROL), control)
    }

    /// Takes the announcement back, at a clean stop. Nothing happens if there
    /// is none.
    pub fn withdraw_control(&self) {
        let _ = fs::remove_file(self.path.join(CONTROL));
    }
}

/// Where the daemon of that folder listens, if it says. For programs that talk
/// to a daemon rather than being one.
///
/// # Errors
///
/// When the file is there and can't be read or makes no sense.
pub fn read_control(folder: &Path) -> Result<Option<ControlFile>, DataDirError> {
    read_json(&folder.join(CONTROL))
}

/// The token of the daemon of that folder, if there is one.
///
/// # Errors
///
/// When the file is there and can't be read, is readable by others or holds no
/// token.
pub fn read_token(folder: &Path) -> Result<Option<Zeroizing<String>>, DataDirError> {
    let path = folder.join(TOKEN);
    let Some(bytes) = read_secret(&path)? else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    match URL_SAFE_NO_PAD.decode(text).map(Zeroizing::new) {
        Ok(bytes) if bytes.len() == TOKEN_LENGTH => Ok(Some(Zeroizing::new(text.to_owned()))),
        _ => Err(DataDirError::Damaged {
            path,
            what: "it holds no token".into(),
            remedy: "Delete it and start the daemon again; it makes a new one",
        }),
    }
}

/// A daemon has announced itself in the folder, and the token by which it is asked is not there.
pub(crate) fn token_gone(folder: &Path) -> DataDirError {
    DataDirError::Damaged {
        path: folder.join(TOKEN),
        what: "a daemon has announced itself, and its token is gone".into(),
        remedy: "Start the daemon again; it makes a new one",
    }
}

pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, DataDirError> {
    let mut bytes = Zeroizing::new([0; N]);
    SysRng
        .try_fill_bytes(bytes.as_mut_slice())
        .map_err(|error| DataDirError::NoRandomness(error.to_string()))?;
    Ok(bytes)
}

fn reading(path: &Path) -> impl Fn(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::File {
        path: path.clone(),
        verb: "read",
        source,
    }
}

fn writing(path: &Path) -> impl Fn(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::File {
        path: path.clone(),
        verb: "written",
        source,
    }
}

/// A small file, read whole.
struct Content {
    bytes: Zeroizing<Vec<u8>>,
    /// Its permission bits.
    mode: u32,
}

/// The whole of a small file; `None` when it is missing.
fn read(path: &Path) -> Result<Option<Content>, DataDirError> {
    let failed = reading(path);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mode = file.metadata().map_err(&failed)?.permissions().mode() & 0o777;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_FILE)
        .read_to_end(&mut bytes)
        .map_err(&failed)?;
    Ok(Some(Content { bytes, mode }))
}

/// As [`read`], refusing files that others can read.
pub(crate) fn read_secret(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, DataDirError> {
    match read(path)? {
        Some(Content { mode, .. }) if mode & 0o077 != 0 => Err(DataDirError::Exposed {
            path: path.to_owned(),
            mode,
        }),
        content => Ok(content.map(|content| content.bytes)),
    }
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, DataDirError> {
    let Some(Content { bytes, .. }) = read(path)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| DataDirError::Damaged {
            path: path.to_owned(),
            what: error.to_string(),
            remedy: "Move it away; the node does without",
        })
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), DataDirError> {
    let bytes = serde_json::to_vec_pretty(value).expect("plain data becomes JSON");
    write(path, &bytes)
}

/// Replaces a file whole, mode 0600, and syncs it and its folder.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), DataDirError> {
    let failed = writing(path);
    let beside = path.with_extension("new");
    // What a crash left there may have other permissions.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let attempt = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    attempt().map_err(|error| {
        let _ = fs::remove_file(&beside);
        failed(error)
    })
}

#[cfg(test)]
mod tests;
