//! A data folder and its wallets, across restarts, crashes and mistakes.

use std::os::unix::fs::PermissionsExt as _;

use alloy_primitives::address;
use tempfile::TempDir;

use super::{keystore::Naming, *};
use crate::store::{Durability, Purpose};

const FIRST: Address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
const SECOND: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn keeper_with(&self, unlock: Unlock) -> Result<Keeper, WalletError> {
        let data = DataDir::open(self.path()).unwrap();
        Keeper::open_or_create(data, unlock).map(Keeper::cheap)
    }

    /// Under a key file, which is quick.
    fn keeper(&self) -> Keeper {
        self.keeper_with(self.key_file()).unwrap()
    }

    fn key_file(&self) -> Unlock {
        Unlock::KeyFile(self.file(vault::KEY_FILE))
    }

    /// As the daemon does it.
    fn load(&self, unlock: &Unlock) -> Result<Wallets, WalletError> {
        let data = DataDir::open(self.path())?;
        let key = vault::open(self.path(), unlock)?;
        let path = self.file(Purpose::Node.file_name());
        let store = Store::open(path, Purpose::Node, &key, Durability::OnePhase)?;
        Wallets::load(&data, unlock, &store)
    }
}

fn wallets() -> PhraseWallets {
    Phrase::parse("test test test test test test test test test test test junk")
        .unwrap()
        .wallets("")
        .unwrap()
}

fn keep(keeper: &Keeper) -> Kept {
    let wallets = wallets();
    let earning = Some(wallets.earning.address());
    keeper.keep(&wallets.consuming, earning, false).unwrap()
}

fn nameless(wallet: &ConsumingWallet, password: &Password) -> Vec<u8> {
    keystore::write_with(wallet, password, Naming::Nameless, keystore::Cost::CHEAP).unwrap()
}

fn password(text: &str) -> Unlock {
    Unlock::Password(Password::new(text))
}

#[test]
fn what_is_kept_is_there_for_the_daemon() {
    for unlock in [Folder::key_file as fn(&Folder) -> Unlock, |_| {
        password("correct horse")
    }] {
        let folder = Folder::new();
        let unlock = unlock(&folder);
        let kept = keep(&folder.keeper_with(unlock.clone()).unwrap());
        assert_eq!((kept.consuming, kept.earning), (FIRST, Some(SECOND)));
        assert!(kept.earning_is_new && kept.moved.is_none());
        let loaded = folder.load(&unlock).unwrap();
        assert_eq!(loaded.consuming().unwrap().address(), FIRST);
        assert_eq!(loaded.earning, Some(SECOND));
        for entry in fs::read_dir(folder.path()).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0);
        }
    }
}

/// S29, as far as it goes here.
#[test]
fn s29_a_search_of_the_folder_finds_no_wallet() {
    let folder = Folder::new();
    keep(&folder.keeper());
    let key = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let lower = bytes.to_ascii_lowercase();
        for wallet in [FIRST, SECOND] {
            let text = hex::encode(wallet);
            assert!(!bytes.windows(20).any(|window| window == wallet.as_slice()));
            assert!(!lower.windows(40).any(|window| window == text.as_bytes()));
        }
        assert!(
            !lower.windows(64).any(|window| window == key.as_bytes()),
            "{path:?}"
        );
    }
    let shown = format!(
        "{:?} {:?}",
        folder.load(&folder.key_file()).unwrap(),
        wallets()
    );
    // The earning wallet is public; the consuming one shows nowhere.
    assert!(!shown.to_lowercase().contains("f39fd6"), "{shown}");
}

#[test]
fn other_programs_can_open_the_keystore_by_the_key_file() {
    let folder = Folder::new();
    keep(&folder.keeper());
    let key = hex::encode(fs::read(folder.file(vault::KEY_FILE)).unwrap());
    let file = fs::read(folder.file(KEYSTORE)).unwrap();
    let wallet = keystore::read(&file, &Password::new(&key)).unwrap();
    assert_eq!(wallet.address(), FIRST);
}

#[test]
fn s30_a_node_without_a_consuming_wallet_is_told_what_to_do() {
    let folder = Folder::new();
    let keeper = folder.keeper();
    keeper.set_earning(SECOND).unwrap();
    drop(keeper);
    let loaded = folder.load(&folder.key_file()).unwrap();
    assert_eq!(loaded.earning, Some(SECOND));
    let error = loaded.consuming().unwrap_err();
    assert_eq!(error.exit_code(), code::NO_WALLET);
    let text = error.to_string();
    assert!(
        text.contains("masq wallet generate") && text.contains("serve-only"),
        "{text}"
    );
}

#[test]
fn nothing_is_replaced_silently() {
    let folder = Folder::new();
    let keeper = folder.keeper();
    keep(&keeper);
    let before = fs::read(folder.file(KEYSTORE)).unwrap();
    let other = Phrase::generate(12).unwrap().wallets("").unwrap();
    let refused = keeper.keep(&other.consuming, None, false).unwrap_err();
    assert!(matches!(refused, WalletError::Exists { .. }), "{refused}");
    assert!(refused.to_string().contains("--replace"));
    assert_eq!(fs::read(folder.file(KEYSTORE)).unwrap(), before);

    let earning = Some(other.earning.address());
    let kept = keeper.keep(&other.consuming, earning, true).unwrap();
    assert_eq!(kept.moved, Some(folder.file("consuming.old-1.json")));
    assert_eq!(
        fs::read(folder.file("consuming.old-1.json")).unwrap(),
        before
    );
    // An earning wallet that is set stays.
    assert_eq!((kept.earning, kept.earning_is_new), (Some(SECOND), false));
    let kept = keeper.keep(&wallets().consuming, None, true).unwrap();
    assert_eq!(kept.moved, Some(folder.file("consuming.old-2.json")));
    assert_eq!(keeper.load().unwrap().consuming().unwrap().address(), FIRST);
}

#[test]
fn one_wallet_is_not_both() {
    let folder = Folder::new();
    let keeper = folder.keeper();
    keep(&keeper);
    assert!(matches!(keeper.set_earning(FIRST), Err(WalletError::Same)));
    let earning = wallets().earning;
    assert!(matches!(
        keeper.keep(&earning, None, true),
        Err(WalletError::Same)
    ));
    assert_eq!(keeper.addresses().unwrap(), (Some(FIRST), Some(SECOND)));
    assert_eq!(keeper.load().unwrap().consuming().unwrap().address(), FIRST);
}

#[test]
fn a_keystore_that_is_gone_or_another_is_noticed() {
    let folder = Folder::new();
    keep(&folder.keeper());
    let path = folder.file(KEYSTORE);
    let file = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let error = folder.load(&folder.key_file()).unwrap_err();
    assert!(matches!(error, WalletError::Gone { .. }), "{error}");
    assert!(matches!(
        folder.keeper().check_free(false),
        Err(WalletError::Exists { .. })
    ));

    let password = keystore_password(&folder.key_file()).unwrap();
    let other = Phrase::generate(12).unwrap().wallets("").unwrap().consuming;
    let foreign = nameless(&other, &password);
    datadir::write(&path, &foreign).unwrap();
    let error = folder.load(&folder.key_file()).unwrap_err();
    assert!(matches!(error, WalletError::Other { .. }), "{error}");

    let foreign = nameless(&other, &Password::new("theirs"));
    datadir::write(&path, &foreign).unwrap();
    let error = folder.load(&folder.key_file()).unwrap_err();
    assert!(error.to_string().contains("consuming.json"), "{error}");
    assert_eq!(error.exit_code(), code::NO_PERMISSION);

    datadir::write(&path, &file).unwrap();
    assert!(folder.load(&folder.key_file()).is_ok());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let error = folder.load(&folder.key_file()).unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[test]
fn a_crash_before_the_address_was_noted_is_healed() {
    let folder = Folder::new();
    let keeper = folder.keeper();
    keep(&keeper);
    keeper
        .store_for_tests()
        .write(|tx| tx.remove(&WALLETS, &CONSUMING))
        .unwrap();
    drop(keeper);
    assert_eq!(
        folder
            .load(&folder.key_file())
            .unwrap()
            .consuming()
            .unwrap()
            .address(),
        FIRST
    );
    assert_eq!(folder.keeper().addresses().unwrap().0, Some(FIRST));
}

#[test]
fn the_lock_can_be_changed() {
    let folder = Folder::new();
    let mut keeper = folder.keeper();
    keep(&keeper);
    let new = password("correct horse");
    assert!(keeper.change_lock(password("short")).is_err());
    assert!(keeper.load().is_ok());
    keeper.change_lock(new.clone()).unwrap();
    assert_eq!(keeper.load().unwrap().consuming().unwrap().address(), FIRST);
    drop(keeper);
    assert!(!folder.file(NEXT).exists());
    assert_eq!(
        folder.load(&new).unwrap().consuming().unwrap().address(),
        FIRST
    );
    let error = folder.load(&folder.key_file()).unwrap_err();
    assert!(
        matches!(error, WalletError::Vault(VaultError::NeedsPassword { .. })),
        "{error}"
    );
    let error = folder.load(&password("battery staple")).unwrap_err();
    assert_eq!(error.exit_code(), code::NO_PERMISSION);
    // Without a wallet, too.
    let empty = Folder::new();
    let mut keeper = empty.keeper();
    keeper.change_lock(new.clone()).unwrap();
    drop(keeper);
    assert!(empty.load(&new).is_ok());
}

/// Stops the change of the lock at each point where a crash can.
#[test]
fn a_change_of_the_lock_that_a_crash_interrupts_ends_well() {
    let folder = Folder::new();
    keep(&folder.keeper());
    let (old, new) = (folder.key_file(), Unlock::KeyFile(folder.file("other.key")));
    vault::prepare(&new).unwrap();
    let next = || {
        let password = keystore_password(&new).unwrap();
        let wallet = wallets().consuming;
        let file = nameless(&wallet, &password);
        datadir::write(&folder.file(NEXT), &file).unwrap();
    };
    // After the keystore was written, before the vault was: the old lock counts.
    next();
    assert_eq!(
        folder.load(&old).unwrap().consuming().unwrap().address(),
        FIRST
    );
    assert!(!folder.file(NEXT).exists());
    assert!(folder.load(&new).is_err());
    // After the vault was: the new one does.
    next();
    vault::rewrap(folder.path(), &old, &new).unwrap();
    assert!(folder.load(&old).is_err());
    assert!(folder.file(NEXT).exists(), "the old lock must not touch it");
    assert_eq!(
        folder.load(&new).unwrap().consuming().unwrap().address(),
        FIRST
    );
    assert!(!folder.file(NEXT).exists());
    assert_eq!(
        folder.load(&new).unwrap().consuming().unwrap().address(),
        FIRST
    );
}

#[test]
fn exporting_makes_a_file_for_other_programs() {
    let folder = Folder::new();
    let keeper = folder.keeper();
    let to = folder.file("exported.json");
    let theirs = Password::new("for the other program");
    assert!(matches!(
        keeper.export(&to, &theirs),
        Err(WalletError::NoConsuming)
    ));
    keep(&keeper);
    assert!(keeper.export(&to, &Password::new("short")).is_err());
    assert_eq!(keeper.export(&to, &theirs).unwrap(), FIRST);
    let file = fs::read(&to).unwrap();
    assert_eq!(keystore::read(&file, &theirs).unwrap().address(), FIRST);
    let error = keeper.export(&to, &theirs).unwrap_err();
    assert!(error.to_string().contains("exported.json"), "{error}");
    assert_eq!(fs::read(&to).unwrap(), file);
}

#[test]
fn a_folder_in_use_is_not_touched() {
    let folder = Folder::new();
    let keeper = folder.keeper();
    let error = DataDir::open(folder.path())
        .map_err(WalletError::from)
        .unwrap_err();
    assert_eq!(error.exit_code(), code::TEMPORARY);
    drop(keeper);
}
