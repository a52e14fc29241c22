//! The safe: what a data folder keeps sealed, opened for a daemon.
//!
//! | | |
//! |---|---|
//! | [`Safe::memory`] | the node key, the record's version, past neighbours, bans |
//! | [`Safe::wallets`] | the consuming wallet's key, and both addresses |
//! | [`Safe::node_store`] | the file of the two above |
//! | [`Safe::money_store`] | the file of what is owed, see `crate::books` |
//!
//! An older version kept the node key and what the node remembers in clear files; they are taken
//! over once (`legacy`).
//!
//! Not here: how things are sealed (`crate::store`), how wallets are made and changed
//! (`crate::wallet`).

mod legacy;
mod memory;

use std::path::Path;
use std::sync::Arc;

use alloy_primitives::Address;

pub use memory::{MAX_REMEMBERED, Memory, Remembered, RememberedNeighbour, SEED_LENGTH, StoredBan};

use crate::config::Config;
use crate::datadir::DataDir;
use crate::store::vault::{self, KEY_FILE, Lock, VAULT};
use crate::store::{Durability, Password, Purpose, Store, Unlock, VaultError};
use crate::wallet::{KEYSTORE, WalletError, Wallets, noted};

/// Names of the clear files of an older version.
pub(crate) use legacy::CLEAR_FILES;

/// Everything sealed that a daemon needs, open.
#[derive(Clone, Debug)]
pub struct Safe {
    /// What the node remembers.
    pub memory: Memory,
    /// The wallets. The consuming wallet's key is there only if the configuration says that this
    /// node pays ([`Config::pays`]), and then it always is. An earning wallet of the configuration
    /// wins over the one that is kept.
    pub wallets: Arc<Wallets>,
    /// How the folder is locked.
    pub lock: Lock,
    /// The store for the node.
    pub node_store: Arc<Store>,
    /// The store for money; there if this node takes part in payments ([`Config::settles`]).
    pub money_store: Option<Arc<Store>>,
}

impl Safe {
    /// Opens what the folder holds; a new one gets a vault and empty stores. Files of an older
    /// version are taken over.
    ///
    /// Blocks, for about a second with a consuming wallet, and for a fifth of one with a password.
    ///
    /// # Errors
    /// See [`WalletError`]: the password is wrong, a file is damaged, newer, another program's or
    /// another folder's (it stays as it is then), or a consuming wallet is needed and missing.
    pub fn open(config: &Config, data: &DataDir) -> Result<Self, WalletError> {
        let folder = data.path();
        let unlock = unlock(config, folder)?;
        let key = vault::open_or_create(folder, &unlock)?;
        let open = |purpose: Purpose, durability| {
            let path = folder.join(purpose.file_name());
            Store::open(path, purpose, &key, durability).map(Arc::new)
        };
        let node_store = open(Purpose::Node, Durability::OnePhase)?;
        legacy::take_over(folder, &node_store)?;
        let money_store = config
            .settles()
            .then(|| open(Purpose::Money, Durability::TwoPhase))
            .transpose()?;
        let wallets = wallets(config, data, &unlock, &node_store)?;
        Ok(Self {
            memory: Memory::open(Arc::clone(&node_store))?,
            wallets: Arc::new(wallets),
            lock: unlock.lock(),
            node_store,
            money_store,
        })
    }

    /// The wallet that others are told to pay to: one of the configuration in any case, one that
    /// is kept if this node wants to be paid.
    #[must_use]
    pub fn advertised_wallet(&self, config: &Config) -> Option<Address> {
        let wanted = config.earns() || config.earning_wallet.is_some();
        self.wallets.earning.filter(|_| wanted)
    }
}

/// What opens the vault, by the configuration.
fn unlock(config: &Config, folder: &Path) -> Result<Unlock, VaultError> {
    Ok(match (&config.password_file, &config.key_file) {
        (Some(file), _) => Unlock::Password(Password::from_file(file)?),
        (None, Some(file)) => Unlock::KeyFile(file.clone()),
        (None, None) => Unlock::KeyFile(folder.join(KEY_FILE)),
    })
}

fn wallets(
    config: &Config,
    data: &DataDir,
    unlock: &Unlock,
    store: &Store,
) -> Result<Wallets, WalletError> {
    // A key that nothing is paid with stays closed.
    let mut wallets = if config.pays() {
        let wallets = Wallets::load(data, unlock, store)?;
        wallets.consuming()?;
        wallets
    } else {
        Wallets::without_key(store)?
    };
    if let Some(earning) = config.earning_wallet {
        wallets.earning = Some(Address::new(earning.bytes()));
    }
    let consuming = wallets.consuming.as_ref().map(|wallet| wallet.address());
    if consuming.is_some() && consuming == wallets.earning {
        return Err(WalletError::Same);
    }
    Ok(wallets)
}

/// Which wallets a folder has, and what opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// There is a wallet to pay with.
    pub consuming: bool,
    /// There is a wallet to be paid at, in the folder or the configuration.
    pub earning: bool,
}

impl Kept {
    /// # Errors
    /// [`WalletError::NoConsuming`] where the configuration wants a wallet to pay with.
    pub fn check(self, config: &Config) -> Result<(), WalletError> {
        if config.pays() && !self.consuming {
            return Err(WalletError::NoConsuming);
        }
        Ok(())
    }
}

/// Which wallets a daemon with that folder would have, without starting one: nothing where a
/// daemon has it open. No key is opened.
///
/// # Errors
/// As [`Safe::open`], apart from what only a key could tell.
pub fn look(config: &Config, folder: &Path) -> Result<Option<Kept>, WalletError> {
    let mut kept = Kept {
        consuming: false,
        earning: config.earning_wallet.is_some(),
    };
    // Before the vault, which may not be there yet.
    let password = config.password_file.as_deref().map(Password::from_file);
    password.transpose()?;
    let path = folder.join(Purpose::Node.file_name());
    if !folder.join(VAULT).exists() || !path.exists() {
        return Ok(Some(kept));
    }
    let Ok(_locked) = DataDir::open(folder) else {
        return Ok(None);
    };
    let key = vault::open(folder, &unlock(config, folder)?)?;
    let store = Store::open(path, Purpose::Node, &key, Durability::OnePhase)?;
    let noted = noted(&store)?;
    let path = folder.join(KEYSTORE);
    match (noted.consuming, path.exists()) {
        (Some(_), false) if config.pays() => return Err(WalletError::Gone { path }),
        // Its address is noted at the next start, where it is not.
        (_, there) => kept.consuming = there,
    }
    kept.earning |= noted.earning.is_some();
    Ok(Some(kept))
}

/// What the node of that folder remembers, without starting one: nothing where there is no vault
/// yet or a daemon has it open.
///
/// # Errors
/// As [`Safe::open`].
pub fn peek(config: &Config, folder: &Path) -> Result<Option<Remembered>, WalletError> {
    if !folder.join(VAULT).exists() {
        return Ok(legacy::remembered(folder)?);
    }
    let Ok(_locked) = DataDir::open(folder) else {
        return Ok(None);
    };
    let key = vault::open(folder, &unlock(config, folder)?)?;
    let path = folder.join(Purpose::Node.file_name());
    if !path.exists() {
        return Ok(legacy::remembered(folder)?);
    }
    let store = Store::open(path, Purpose::Node, &key, Durability::OnePhase)?;
    let remembered = Memory::open(Arc::new(store))?.remembered();
    if remembered == Remembered::default() {
        return Ok(legacy::remembered(folder)?);
    }
    Ok(Some(remembered))
}

#[cfg(test)]
mod tests;
