//! Wallets: the consuming wallet, whose key pays, and the earning wallet, an
//! address that is paid.
//!
//! | where | what |
//! |---|---|
//! | `consuming.json` | the key of the consuming wallet: a version 3 keystore under the password of the data folder (with a key file: under its 32 bytes in hexadecimal), mode 0600 |
//! | `consuming.next.json` | the same under a new password, while the password is being changed |
//! | `consuming.old-1.json` … | what was replaced; never deleted |
//! | `node.redb`, table `wallets` | both addresses, sealed |
//!
//! No file but the store says which wallets these are, and none says so in the
//! clear. [`Wallets::load`] is for the daemon; [`Keeper`] changes what is kept.
//! Everything here blocks, for about a second wherever a key is opened or kept.

pub mod keystore;

mod address;
mod keeper;
mod key;
mod phrase;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use alloy_primitives::Address;
use zeroize::Zeroizing;

pub use address::{AddressError, Written, parse_address};
pub use keeper::{Keeper, Kept};
pub use key::{ConsumingWallet, KeyError};
pub use keystore::KeystoreError;
pub use phrase::{Phrase, PhraseError, PhraseWallets, WORD_COUNTS};

use crate::{
    cli::code,
    datadir::{self, DataDir, DataDirError},
    store::{Password, Read as _, Store, StoreError, Table, Unlock, VaultError, vault},
};

/// The file of the consuming wallet's key.
pub const KEYSTORE: &str = "consuming.json";
/// The same under a new password, until the vault has it too.
const NEXT: &str = "consuming.next.json";

/// The addresses, by [`CONSUMING`] and [`EARNING`].
const WALLETS: Table<u8, Address> = Table::new("wallets");
const CONSUMING: u8 = 0;
const EARNING: u8 = 1;

/// What went wrong with a wallet, each with what to do about it. Nothing was
/// changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalletError {
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] DataDirError),
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A keystore file.
    #[error("{} can't be used: {source}", path.display())]
    Keystore {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeystoreError,
    },
    /// A file can't be read, written or moved.
    #[error("{} can't be {verb}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// `read`, `written`, `moved`, `removed`.
        verb: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// There is a consuming wallet already.
    #[error(
        "there is a consuming wallet already, in {}. To put another in its place, add --replace: \
         the file is moved aside, not deleted", path.display()
    )]
    Exists {
        /// Its file.
        path: PathBuf,
    },
    /// There is none.
    #[error(
        "this node has no consuming wallet, and it needs one to pay the nodes that carry its \
         traffic. Make one with `masq wallet generate`, or bring your own with `masq wallet \
         recover` or `masq wallet import`; a node that only serves others (--mode serve-only) needs \
         none"
    )]
    NoConsuming,
    /// The file of the consuming wallet is gone.
    #[error(
        "this node has a consuming wallet, but its file {} is missing. Restore it from a backup, or \
         bring the key back with `masq wallet recover --replace` or `masq wallet import --replace`",
        path.display()
    )]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// The file holds the key of another wallet.
    #[error(
        "{} holds the key of another wallet than the one this node had. If you put it there, use \
         `masq wallet import --replace --keystore` with it instead; if not, restore the file from a \
         backup", path.display()
    )]
    Other {
        /// The file.
        path: PathBuf,
    },
    /// One wallet for both.
    #[error(
        "the consuming and the earning wallet must not be the same: every node sees the earning \
         wallet, and nobody should see the consuming one"
    )]
    Same,
    /// A phrase.
    #[error(transparent)]
    Phrase(#[from] PhraseError),
    /// A private key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// An address.
    #[error(transparent)]
    Address(#[from] AddressError),
}

impl WalletError {
    fn keystore(path: &Path) -> impl Fn(KeystoreError) -> Self {
        let path = path.to_owned();
        move |source| Self::Keystore {
            path: path.clone(),
            source,
        }
    }

    pub(crate) fn file(path: &Path, verb: &'static str) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            path: path.clone(),
            verb,
            source,
        }
    }

    /// The exit code of a program that ends for it; see [`code`].
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoConsuming => code::NO_WALLET,
            Self::Exists { .. }
            | Self::Same
            | Self::Phrase(_)
            | Self::Key(_)
            | Self::Address(_)
            | Self::Vault(VaultError::Short | VaultError::Exists { .. }) => code::REFUSED,
            Self::Folder(DataDirError::InUse { .. }) | Self::Store(StoreError::InUse { .. }) => {
                code::TEMPORARY
            }
            Self::Folder(DataDirError::Exposed { .. })
            | Self::Store(StoreError::Exposed { .. })
            | Self::Vault(
                VaultError::WrongPassword { .. }
                | VaultError::WrongKeyFile { .. }
                | VaultError::NeedsPassword { .. }
                | VaultError::NeedsKeyFile { .. }
                | VaultError::Folder(DataDirError::Exposed { .. }),
            )
            | Self::Keystore {
                source: KeystoreError::Password,
                ..
            } => code::NO_PERMISSION,
            _ => code::CANT_CREATE,
        }
    }
}

/// The wallets of a node.
#[derive(Clone, Debug)]
pub struct Wallets {
    /// The one that pays, if there is one.
    pub consuming: Option<ConsumingWallet>,
    /// The one that is paid, if there is one.
    pub earning: Option<Address>,
}

impl Wallets {
    /// The wallets that are kept in that folder: for the daemon, which has it
    /// locked and its node store open, both with `unlock`. Takes about a second
    /// when there is a consuming wallet.
    ///
    /// # Errors
    ///
    /// When the keystore can't be opened, is missing, or holds another key than
    /// the store says. That there is no consuming wallet is no error; see
    /// [`Self::consuming`].
    pub fn load(data: &DataDir, unlock: &Unlock, store: &Store) -> Result<Self, WalletError> {
        let folder = data.path();
        let addresses = Addresses::read(store)?;
        let path = folder.join(KEYSTORE);
        let consuming = open_keystore(folder, &keystore_password(unlock)?)?;
        match (&consuming, addresses.consuming) {
            (None, Some(_)) => return Err(WalletError::Gone { path }),
            (Some(wallet), Some(address)) if wallet.address() != address => {
                return Err(WalletError::Other { path });
            }
            // A crash between keeping the key and noting its address.
            (Some(wallet), None) => {
                if addresses.earning == Some(wallet.address()) {
                    return Err(WalletError::Same);
                }
                store.write(|tx| tx.put(&WALLETS, &CONSUMING, &wallet.address()))?;
            }
            _ => {}
        }
        Ok(Self {
            consuming,
            earning: addresses.earning,
        })
    }

    /// What a node has that pays nobody: the earning wallet alone. No key is
    /// opened.
    ///
    /// # Errors
    ///
    /// When the store can't be read.
    pub fn without_key(store: &Store) -> Result<Self, WalletError> {
        Ok(Self {
            consuming: None,
            earning: Addresses::read(store)?.earning,
        })
    }

    /// The consuming wallet of a node that can't do without.
    ///
    /// # Errors
    ///
    /// [`WalletError::NoConsuming`], whose sentence says what to do.
    pub fn consuming(&self) -> Result<&ConsumingWallet, WalletError> {
        self.consuming.as_ref().ok_or(WalletError::NoConsuming)
    }
}

/// What the store says.
#[derive(Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) consuming: Option<Address>,
    pub(crate) earning: Option<Address>,
}

/// The addresses that the store for the node has; no key is opened.
pub(crate) fn noted(store: &Store) -> Result<Addresses, StoreError> {
    Addresses::read(store)
}

impl Addresses {
    fn read(store: &Store) -> Result<Self, StoreError> {
        store.read(|tx| {
            Ok(Self {
                consuming: tx.get(&WALLETS, &CONSUMING)?,
                earning: tx.get(&WALLETS, &EARNING)?,
            })
        })
    }
}

/// The password of the keystore: that of the folder, or what is in the key
/// file, in hexadecimal, so that other programs can open it as well.
fn keystore_password(unlock: &Unlock) -> Result<Password, WalletError> {
    match unlock {
        Unlock::Password(password) => Ok(password.clone()),
        Unlock::KeyFile(path) => {
            let key = vault::read_key_file(path)?.ok_or_else(|| VaultError::KeyFile {
                path: path.clone(),
                what: "is missing",
            })?;
            Ok(Password::new(&Zeroizing::new(hex::encode(key.as_slice()))))
        }
    }
}

/// The key that is kept in that folder, if there is one. Ends a change of
/// password that a crash interrupted.
fn open_keystore(
    folder: &Path,
    password: &Password,
) -> Result<Option<ConsumingWallet>, WalletError> {
    let (path, next) = (folder.join(KEYSTORE), folder.join(NEXT));
    let Some(file) = datadir::read_secret(&path)? else {
        return Ok(None);
    };
    let pending = datadir::read_secret(&next)?;
    match (keystore::read(&file, password), pending) {
        (Ok(wallet), None) => Ok(Some(wallet)),
        // The vault did not get the new password.
        (Ok(wallet), Some(_)) => {
            fs::remove_file(&next).map_err(WalletError::file(&next, "removed"))?;
            Ok(Some(wallet))
        }
        // The vault did, and the keystore not yet.
        (Err(KeystoreError::Password), Some(pending)) => {
            let wallet =
                keystore::read(&pending, password).map_err(WalletError::keystore(&next))?;
            fs::rename(&next, &path).map_err(WalletError::file(&next, "moved"))?;
            Ok(Some(wallet))
        }
        (Err(error), _) => Err(WalletError::keystore(&path)(error)),
    }
}

#[cfg(test)]
mod tests;
