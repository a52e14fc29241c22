//! Changing which wallets a node has: what `masq wallet` does.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use alloy_primitives::Address;

use super::{
    Addresses, CONSUMING, ConsumingWallet, EARNING, KEYSTORE, NEXT, WALLETS, WalletError, Wallets,
    keystore::{self, Naming},
    keystore_password, open_keystore,
};
use crate::{
    datadir::{self, DataDir},
    store::{Durability, MasterKey, Password, Purpose, Store, StoreError, Unlock, vault},
};

/// Most wallets that were replaced and whose files are kept (guess: nobody does
/// that often).
const MAX_OLD: u32 = 1000;

/// What was done with a new consuming wallet.
#[derive(Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its address.
    pub consuming: Address,
    /// The earning wallet, whether it was set now or before.
    pub earning: Option<Address>,
    /// Whether the earning wallet was set now.
    pub earning_is_new: bool,
    /// Where the file went that was there before.
    pub moved: Option<PathBuf>,
}

impl fmt::Debug for Kept {
    /// Wallets stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept([scrubbed])")
    }
}

/// A data folder whose wallets can be changed: locked, and opened with what
/// locks its vault.
#[derive(Debug)]
pub struct Keeper {
    data: DataDir,
    unlock: Unlock,
    store: Store,
    cost: keystore::Cost,
}

impl Keeper {
    /// Opens a folder whose vault is there.
    ///
    /// # Errors
    ///
    /// When it has no vault, is locked otherwise, or something in it is damaged.
    pub fn open(data: DataDir, unlock: Unlock) -> Result<Self, WalletError> {
        let key = vault::open(data.path(), &unlock)?;
        Self::with_key(data, unlock, &key)
    }

    /// As [`Self::open`], making the vault where there is none.
    ///
    /// # Errors
    ///
    /// As [`Self::open`], or when the password is too short for a new vault.
    pub fn open_or_create(data: DataDir, unlock: Unlock) -> Result<Self, WalletError> {
        let key = vault::open_or_create(data.path(), &unlock)?;
        Self::with_key(data, unlock, &key)
    }

    fn with_key(data: DataDir, unlock: Unlock, key: &MasterKey) -> Result<Self, WalletError> {
        let path = data.path().join(Purpose::Node.file_name());
        let store = Store::open(path, Purpose::Node, key, Durability::TwoPhase)?;
        Ok(Self {
            data,
            unlock,
            store,
            cost: keystore::Cost::USUAL,
        })
    }

    /// For tests, which keep many keys.
    #[cfg(test)]
    pub(super) fn cheap(mut self) -> Self {
        self.cost = keystore::Cost::CHEAP;
        self
    }

    #[cfg(test)]
    pub(super) fn store_for_tests(&self) -> &Store {
        &self.store
    }

    fn folder(&self) -> &Path {
        self.data.path()
    }

    /// The file of the consuming wallet, whether it is there or not.
    #[must_use]
    pub fn keystore_path(&self) -> PathBuf {
        self.folder().join(KEYSTORE)
    }

    /// The addresses of the consuming and the earning wallet, as noted; quick.
    ///
    /// # Errors
    ///
    /// When the store can't be read.
    pub fn addresses(&self) -> Result<(Option<Address>, Option<Address>), WalletError> {
        let addresses = Addresses::read(&self.store)?;
        Ok((addresses.consuming, addresses.earning))
    }

    /// Both wallets, the key opened and compared with what is noted.
    ///
    /// # Errors
    ///
    /// As [`Wallets::load`].
    pub fn load(&self) -> Result<Wallets, WalletError> {
        Wallets::load(&self.data, &self.unlock, &self.store)
    }

    /// Fails if there is a consuming wallet and it may not be replaced: to ask
    /// before a phrase is made or typed.
    ///
    /// # Errors
    ///
    /// [`WalletError::Exists`].
    pub fn check_free(&self, replace: bool) -> Result<(), WalletError> {
        let path = self.keystore_path();
        if !replace && (path.exists() || Addresses::read(&self.store)?.consuming.is_some()) {
            return Err(WalletError::Exists { path });
        }
        Ok(())
    }

    /// Keeps a consuming wallet, and that earning wallet if none is set yet.
    ///
    /// With `replace`, the file that was there is moved aside. A crash in
    /// between leaves the old file, or the new one, or none and the old one
    /// beside; never a file that is half written.
    ///
    /// # Errors
    ///
    /// When there is one and it may not be replaced, when it is the earning
    /// wallet, or when a file can't be written.
    pub fn keep(
        &self,
        wallet: &ConsumingWallet,
        earning: Option<Address>,
        replace: bool,
    ) -> Result<Kept, WalletError> {
        self.check_free(replace)?;
        let noted = Addresses::read(&self.store)?.earning;
        if noted == Some(wallet.address()) {
            return Err(WalletError::Same);
        }
        let password = keystore_password(&self.unlock)?;
        let path = self.keystore_path();
        let file = keystore::write_with(wallet, &password, Naming::Nameless, self.cost)
            .map_err(WalletError::keystore(&path))?;
        // First the note: without one, whatever file is there counts.
        self.store.write(|tx| tx.remove(&WALLETS, &CONSUMING))?;
        let moved = self.move_aside(&path)?;
        // What an interrupted change of password left belongs to the old one.
        let _ = fs::remove_file(self.folder().join(NEXT));
        // The name is free: the folder is locked. So this replaces nothing.
        datadir::write(&path, &file)?;
        self.store.write(|tx| {
            tx.put(&WALLETS, &CONSUMING, &wallet.address())?;
            match (noted, &earning) {
                (None, Some(earning)) => tx.put(&WALLETS, &EARNING, earning),
                _ => Ok(()),
            }
        })?;
        Ok(Kept {
            consuming: wallet.address(),
            earning: noted.or(earning),
            earning_is_new: noted.is_none() && earning.is_some(),
            moved,
        })
    }

    fn move_aside(&self, path: &Path) -> Result<Option<PathBuf>, WalletError> {
        if !path.exists() {
            return Ok(None);
        }
        let old = (1..=MAX_OLD)
            .map(|number| self.folder().join(format!("consuming.old-{number}.json")))
            .find(|old| !old.exists())
            .ok_or_else(|| WalletError::Exists {
                path: path.to_owned(),
            })?;
        fs::rename(path, &old).map_err(WalletError::file(path, "moved"))?;
        Ok(Some(old))
    }

    /// Sets the earning wallet.
    ///
    /// # Errors
    ///
    /// When it is the consuming wallet, or the store can't be written.
    pub fn set_earning(&self, address: Address) -> Result<(), WalletError> {
        if Addresses::read(&self.store)?.consuming == Some(address) {
            return Err(WalletError::Same);
        }
        self.store
            .write(|tx| tx.put(&WALLETS, &EARNING, &address))
            .map_err(|error: StoreError| error.into())
    }

    /// Writes the consuming wallet's key into a keystore file of its own, under
    /// that password. Returns the address.
    ///
    /// # Errors
    ///
    /// When there is none, the password is too short, or the file exists or
    /// can't be written.
    pub fn export(&self, to: &Path, password: &Password) -> Result<Address, WalletError> {
        password.check()?;
        let wallets = self.load()?;
        let wallet = wallets.consuming()?;
        let file = keystore::write_with(wallet, password, Naming::Named, self.cost)
            .map_err(WalletError::keystore(to))?;
        keystore::write_new(to, &file).map_err(WalletError::file(to, "written"))?;
        Ok(wallet.address())
    }

    /// Locks the folder with something else: the vault and the keystore. When
    /// a crash interrupts this, the vault says which of the two counts, and the
    /// keystore follows when it is next opened.
    ///
    /// # Errors
    ///
    /// When the new password is too short or a file can't be written; then the
    /// old one still counts.
    pub fn change_lock(&mut self, new: Unlock) -> Result<(), WalletError> {
        if let Unlock::Password(password) = &new {
            password.check()?;
        }
        let wallet = open_keystore(self.folder(), &keystore_password(&self.unlock)?)?;
        let (path, next) = (self.keystore_path(), self.folder().join(NEXT));
        vault::prepare(&new)?;
        if let Some(wallet) = &wallet {
            let password = keystore_password(&new)?;
            let file = keystore::write_with(wallet, &password, Naming::Nameless, self.cost)
                .map_err(WalletError::keystore(&next))?;
            datadir::write(&next, &file)?;
        }
        vault::rewrap(self.folder(), &self.unlock, &new)?;
        if wallet.is_some() {
            fs::rename(&next, &path).map_err(WalletError::file(&next, "moved"))?;
        }
        self.unlock = new;
        Ok(())
    }
}
