//! The vault: where the master key of a data folder is kept, wrapped under the
//! operator's password or under a key file.
//!
//! `vault.json` holds the master key, sealed under a key made from the password
//! by Argon2id, or from the key file by HKDF. Changing the password wraps the
//! same master key anew; no store has to be written again.
//!
//! A folder that has stores and no vault is an error: a new vault could not open
//! them, and making one would hide that.

mod error;
mod password;

use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{
    MasterKey, Purpose,
    codec::Writer,
    seal::{self, KEY_LENGTH, SealError, SealKey, derive},
};
use crate::datadir;

pub use error::VaultError;
pub use password::{MIN_PASSWORD, Password, Unlock};

/// The vault's file in the data folder.
pub const VAULT: &str = "vault.json";
/// The key file in the data folder, where the operator wants no password and
/// names no other file.
pub const KEY_FILE: &str = "store.key";
/// How the file names itself.
const FORMAT: &str = "masq vault";
/// Version of the file's format.
const VERSION: u32 = 1;
const SALT_LENGTH: usize = 16;
/// How much of a hash tells a damaged vault from a wrong password.
const CHECKSUM_LENGTH: usize = 8;
/// Largest costs that are accepted from a file, so that a forged one can't take
/// the machine's memory: 2 GiB, 64 passes, 64 lanes.
const MAX_COST: Cost = Cost {
    memory_kib: 2 << 20,
    passes: 64,
    lanes: 64,
};

/// How a vault is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// By a password.
    Password,
    /// By a key file.
    KeyFile,
}

impl Lock {
    /// Its name: `password` or `key-file`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::KeyFile => "key-file",
        }
    }
}

/// What Argon2id costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Cost {
    /// What RFC 9106 recommends where memory is limited: 64 MiB, three passes,
    /// four lanes. About a fifth of a second.
    const USUAL: Self = Self {
        memory_kib: 64 << 10,
        passes: 3,
        lanes: 4,
    };
    /// For tests, which make many vaults.
    #[cfg(test)]
    const CHEAP: Self = Self {
        memory_kib: 64,
        passes: 1,
        lanes: 1,
    };

    fn is_bearable(self) -> bool {
        self.memory_kib <= MAX_COST.memory_kib
            && self.passes <= MAX_COST.passes
            && self.lanes <= MAX_COST.lanes
    }
}

/// How the wrapping key is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Method {
    /// From a password.
    Argon2id { salt: String, cost: Cost },
    /// From a key file.
    KeyFile { salt: String },
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VaultFile {
    format: String,
    version: u32,
    unlock: Method,
    /// The master key, sealed; hexadecimal.
    wrapped: String,
    /// The start of a hash over the rest; hexadecimal.
    checksum: String,
}

/// Only what says whether the rest can be understood.
#[derive(Deserialize)]
struct Preamble {
    format: String,
    version: u32,
}

impl VaultFile {
    fn new(master: &MasterKey, unlock: &Unlock, cost: Cost) -> Result<Self, VaultError> {
        let salt = hex::encode(seal::random::<SALT_LENGTH>()?.as_slice());
        let method = match unlock {
            Unlock::Password(_) => Method::Argon2id { salt, cost },
            Unlock::KeyFile(_) => Method::KeyFile { salt },
        };
        let key = method.key(unlock)?.ok_or(SealError::Length)?;
        let wrapped = SealKey::new(&key).seal(&method.bound(), master.as_bytes())?;
        let mut file = Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            unlock: method,
            wrapped: hex::encode(wrapped),
            checksum: String::new(),
        };
        file.checksum = file.sum();
        Ok(file)
    }

    fn sum(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.unlock.bound());
        hash.update(self.wrapped.as_bytes());
        hex::encode(&hash.finalize()[..CHECKSUM_LENGTH])
    }

    fn read(path: &Path) -> Result<Option<Self>, VaultError> {
        let damaged = |what: String| VaultError::Damaged {
            path: path.to_owned(),
            what,
        };
        let Some(bytes) = datadir::read_secret(path)? else {
            return Ok(None);
        };
        let preamble: Preamble =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if preamble.format != FORMAT {
            return Err(damaged("it is no vault".into()));
        }
        if preamble.version > VERSION {
            return Err(VaultError::Newer {
                path: path.to_owned(),
            });
        }
        let file: Self =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if file.checksum != file.sum() {
            return Err(damaged("its checksum is wrong".into()));
        }
        Ok(Some(file))
    }

    fn write(&self, path: &Path) -> Result<(), VaultError> {
        let text = serde_json::to_vec_pretty(self).map_err(|error| VaultError::Damaged {
            path: path.to_owned(),
            what: error.to_string(),
        })?;
        Ok(datadir::write(path, &text)?)
    }

    fn master(&self, path: &Path, unlock: &Unlock) -> Result<MasterKey, VaultError> {
        let path = path.to_owned();
        let damaged = |path, what: &str| VaultError::Damaged {
            path,
            what: what.to_owned(),
        };
        match (&self.unlock, unlock) {
            (Method::Argon2id { .. }, Unlock::KeyFile(_)) => {
                return Err(VaultError::NeedsPassword { path });
            }
            (Method::KeyFile { .. }, Unlock::Password(_)) => {
                return Err(VaultError::NeedsKeyFile { path });
            }
            _ => {}
        }
        let Some(key) = self.unlock.key(unlock)? else {
            return Err(damaged(path, "its parameters make no sense"));
        };
        let Ok(wrapped) = hex::decode(&self.wrapped) else {
            return Err(damaged(path, "its key is no hexadecimal number"));
        };
        match SealKey::new(&key).open(&self.unlock.bound(), &wrapped) {
            Some(master) => MasterKey::from_bytes(&master)
                .ok_or_else(|| damaged(path, "its key has the wrong length")),
            None => Err(match unlock {
                Unlock::Password(_) => VaultError::WrongPassword { path },
                Unlock::KeyFile(key) => VaultError::WrongKeyFile {
                    path,
                    key: key.clone(),
                },
            }),
        }
    }
}

impl Method {
    /// What the wrapped key is bound to.
    fn bound(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.text("masq/vault/1");
        match self {
            Self::Argon2id { salt, cost } => out
                .u8(1)
                .text(salt)
                .u32(cost.memory_kib)
                .u32(cost.passes)
                .u32(cost.lanes),
            Self::KeyFile { salt } => out.u8(2).text(salt),
        };
        out.as_bytes().to_vec()
    }

    /// The wrapping key; `None` when the parameters make no sense.
    fn key(&self, unlock: &Unlock) -> Result<Option<Zeroizing<[u8; KEY_LENGTH]>>, VaultError> {
        match (self, unlock) {
            (Self::Argon2id { salt, cost }, Unlock::Password(password)) => {
                Ok(argon2id(password, salt, *cost))
            }
            (Self::KeyFile { salt }, Unlock::KeyFile(path)) => {
                let Ok(salt) = hex::decode(salt) else {
                    return Ok(None);
                };
                let key = read_key_file(path)?.ok_or_else(|| VaultError::KeyFile {
                    path: path.clone(),
                    what: "is missing",
                })?;
                Ok(Some(derive(
                    key.as_slice(),
                    &salt,
                    "masq/vault/1/key-file",
                )?))
            }
            _ => Ok(None),
        }
    }
}

fn argon2id(password: &Password, salt: &str, cost: Cost) -> Option<Zeroizing<[u8; KEY_LENGTH]>> {
    if !cost.is_bearable() {
        return None;
    }
    let salt = hex::decode(salt).ok()?;
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(KEY_LENGTH)).ok()?;
    let mut key = Zeroizing::new([0; KEY_LENGTH]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.as_bytes(), &salt, key.as_mut_slice())
        .ok()?;
    Some(key)
}

/// The key in a key file; `None` when there is no such file.
pub(crate) fn read_key_file(
    path: &Path,
) -> Result<Option<Zeroizing<[u8; KEY_LENGTH]>>, VaultError> {
    let Some(bytes) = datadir::read_secret(path)? else {
        return Ok(None);
    };
    let key: [u8; KEY_LENGTH] = bytes
        .as_slice()
        .try_into()
        .map_err(|_| VaultError::KeyFile {
            path: path.to_owned(),
            what: "is no key file: it should have 32 bytes",
        })?;
    Ok(Some(Zeroizing::new(key)))
}

/// How the vault of that folder is locked; `None` when there is no vault.
///
/// # Errors
///
/// When the vault can't be read or makes no sense.
pub fn lock_of(folder: &Path) -> Result<Option<Lock>, VaultError> {
    let file = VaultFile::read(&folder.join(VAULT))?;
    Ok(file.map(|file| match file.unlock {
        Method::Argon2id { .. } => Lock::Password,
        Method::KeyFile { .. } => Lock::KeyFile,
    }))
}

/// Opens the vault of that folder. With a password this takes a fifth of a
/// second and 64 MiB.
///
/// # Errors
///
/// See [`VaultError`].
pub fn open(folder: &Path, unlock: &Unlock) -> Result<MasterKey, VaultError> {
    let path = folder.join(VAULT);
    if let Some(file) = VaultFile::read(&path)? {
        return file.master(&path, unlock);
    }
    for purpose in [Purpose::Node, Purpose::Money] {
        let store = folder.join(purpose.file_name());
        if store.exists() {
            return Err(VaultError::Missing { store });
        }
    }
    Err(VaultError::None {
        folder: folder.to_owned(),
    })
}

/// Makes a vault with a new master key. Hold the lock of the folder
/// ([`crate::datadir::DataDir`]).
///
/// # Errors
///
/// When there is a vault already, or a store that it could not open; when the
/// password is too short; or when a file can't be written.
pub fn create(folder: &Path, unlock: &Unlock) -> Result<MasterKey, VaultError> {
    create_with(folder, unlock, Cost::USUAL)
}

fn create_with(folder: &Path, unlock: &Unlock, cost: Cost) -> Result<MasterKey, VaultError> {
    let path = folder.join(VAULT);
    match open(folder, unlock) {
        Err(VaultError::None { .. }) => {}
        Err(error @ (VaultError::Missing { .. } | VaultError::Folder(_))) => return Err(error),
        _ => return Err(VaultError::Exists { path }),
    }
    prepare(unlock)?;
    let master = MasterKey::random()?;
    VaultFile::new(&master, unlock, cost)?.write(&path)?;
    Ok(master)
}

/// Opens the vault of that folder, or makes one where there is none.
///
/// # Errors
///
/// As [`open`] and [`create`].
pub fn open_or_create(folder: &Path, unlock: &Unlock) -> Result<MasterKey, VaultError> {
    match open(folder, unlock) {
        Err(VaultError::None { .. }) => create(folder, unlock),
        other => other,
    }
}

/// Locks the vault anew: from now on `new` opens it, and what opened it before
/// does not. The stores stay as they are. Hold the lock of the folder.
///
/// A copy of the old vault file still opens with the old password, and so opens
/// every store of the folder.
///
/// # Errors
///
/// When `old` does not open it, the new password is too short, or the file can't
/// be written; then the vault is as it was.
pub fn rewrap(folder: &Path, old: &Unlock, new: &Unlock) -> Result<(), VaultError> {
    rewrap_with(folder, old, new, Cost::USUAL)
}

fn rewrap_with(folder: &Path, old: &Unlock, new: &Unlock, cost: Cost) -> Result<(), VaultError> {
    let master = open(folder, old)?;
    prepare(new)?;
    VaultFile::new(&master, new, cost)?.write(&folder.join(VAULT))
}

/// Checks that something new can be locked with it; makes a missing key file.
pub(crate) fn prepare(unlock: &Unlock) -> Result<(), VaultError> {
    match unlock {
        Unlock::Password(password) => password.check(),
        Unlock::KeyFile(path) => {
            if read_key_file(path)?.is_none() {
                datadir::write(path, seal::random::<KEY_LENGTH>()?.as_slice())?;
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
