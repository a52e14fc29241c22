//! Wallets of a testnet's nodes, made as `masq wallet generate --no-password` makes them: into the
//! node's data folder, under its key file. The words are thrown away at once; nothing on a
//! development chain has to be brought back.

use std::path::{Path, PathBuf};

use alloy::primitives::Address;
use masq::datadir::DataDir;
use masq::store::Unlock;
use masq::store::vault::KEY_FILE;
use masq::wallet::{Keeper, Phrase, WalletError};
use serde::{Deserialize, Serialize};

use crate::error::TestnetError;
use crate::plan::Role;

/// Words of a wallet that nobody will write down.
const WORDS: usize = 12;

/// The wallets of a node.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeWallets {
    /// Pays for what the node uses.
    pub consuming: Address,
    /// Is paid for what the node carries; a node that carries nothing has none.
    pub earning: Option<Address>,
}

impl std::fmt::Debug for NodeWallets {
    /// Wallets stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeWallets").finish_non_exhaustive()
    }
}

/// The key file of a data folder.
#[must_use]
pub fn key_file(data_dir: &Path) -> PathBuf {
    data_dir.join(KEY_FILE)
}

/// Makes the wallets of one node. Blocks, for a second or so: the key is kept under strong scrypt.
///
/// # Errors
/// When the folder is in use, has a consuming wallet already, or cannot be written.
pub fn make(node: &str, data_dir: &Path, role: Role) -> Result<NodeWallets, TestnetError> {
    let made = || -> Result<NodeWallets, WalletError> {
        let data = DataDir::open(data_dir)?;
        let keeper = Keeper::open_or_create(data, Unlock::KeyFile(key_file(data_dir)))?;
        let wallets = Phrase::generate(WORDS)?.wallets("")?;
        let earning = (role != Role::Consumer).then(|| wallets.earning.address());
        let kept = keeper.keep(&wallets.consuming, earning, false)?;
        Ok(NodeWallets {
            consuming: kept.consuming,
            earning: kept.earning,
        })
    };
    made().map_err(|source| TestnetError::Wallet {
        node: node.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn wallets_are_kept_for_their_owner_only_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let made = make("n01", &data, Role::Relay).unwrap();
        let earning = made.earning.unwrap();
        assert_ne!(earning, made.consuming);
        for entry in fs::read_dir(&data).unwrap().map(Result::unwrap) {
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", entry.path().display());
        }
        let keeper = Keeper::open(
            DataDir::open(&data).unwrap(),
            Unlock::KeyFile(key_file(&data)),
        );
        let addresses = keeper.unwrap().addresses().unwrap();
        assert_eq!(addresses, (Some(made.consuming), Some(earning)));
        assert!(!format!("{made:?}").contains("0x"));

        let again = make("n01", &data, Role::Relay).unwrap_err();
        assert!(again.to_string().starts_with("n01: "), "{again}");
    }

    #[test]
    fn who_carries_nothing_earns_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let made = make("n10", dir.path(), Role::Consumer);
        // The folder of a test is made by somebody else, for that owner all the same.
        assert_eq!(made.unwrap().earning, None);
    }
}
