//! The safe on a real file system: kept over restarts, taken over from clear files, refused with
//! a sentence.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;
use crate::cli::code;
use crate::config::Mode;
use crate::datadir;
use crate::wallet::{ConsumingWallet, Keeper};

const SEED: [u8; 32] = *b"the seed of a node key, 32 bytes";

struct Folder {
    dir: TempDir,
    config: Config,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(dir.path());
        config.payments = false;
        Self { dir, config }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn open(&self) -> Result<Safe, WalletError> {
        let data = DataDir::open(self.path()).unwrap();
        Safe::open(&self.config, &data)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        datadir::write(&self.path().join(name), bytes).unwrap();
    }

    fn has(&self, name: &str) -> bool {
        self.path().join(name).exists()
    }

    fn password(&mut self, text: &str) {
        self.write("password", text.as_bytes());
        self.config.password_file = Some(self.path().join("password"));
    }
}

#[test]
fn wallets_are_looked_at_without_opening_keys() {
    let mut folder = Folder::new();
    folder.config.payments = true;
    let look = |folder: &Folder| super::look(&folder.config, folder.path());
    let kept = look(&folder).unwrap().unwrap();
    assert!(!kept.consuming && !kept.earning);
    let error = kept.check(&folder.config).unwrap_err();
    assert_eq!(error.exit_code(), code::NO_WALLET);
    let unlock = Unlock::KeyFile(folder.path().join(KEY_FILE));
    let keeper = Keeper::open_or_create(DataDir::open(folder.path()).unwrap(), unlock).unwrap();
    let wallet = ConsumingWallet::from_hex(&"1".repeat(64)).unwrap();
    keeper.keep(&wallet, None, false).unwrap();
    assert_eq!(look(&folder).unwrap(), None, "in use");
    drop(keeper);
    let kept = look(&folder).unwrap().unwrap();
    assert!(kept.consuming && !kept.earning);
    kept.check(&folder.config).unwrap();
    // A password file that others can read stops a daemon, whether there is a vault or not.
    let mut fresh = Folder::new();
    fresh.password("a long password");
    let file = fresh.config.password_file.clone().unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let error = super::look(&fresh.config, fresh.path()).unwrap_err();
    assert_eq!(error.exit_code(), code::NO_PERMISSION, "{error}");
}

fn neighbour(n: u64) -> RememberedNeighbour {
    RememberedNeighbour {
        node: format!("{n:043}"),
        addresses: vec![format!("192.0.2.1:{n}"), "host.example.org:1".into()],
        last_seen_unix: n,
    }
}

/// As large as one can be.
fn ban(n: u64) -> StoredBan {
    StoredBan {
        node: format!("{n:043}"),
        reason: Some("x".repeat(masq_gossip::MAX_BAN_REASON)),
        since_unix: n,
        until_unix: n.is_multiple_of(2).then_some(u64::MAX),
        evidence: "ab".repeat(masq_gossip::MAX_EVIDENCE_LEN),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_key_is_made_once_and_kept() {
    let folder = Folder::new();
    let safe = folder.open().unwrap();
    let seed = safe.memory.node_seed().unwrap();
    assert_ne!(*seed, [0; SEED_LENGTH]);
    assert_eq!(*seed, *safe.memory.node_seed().unwrap());
    assert!(safe.money_store.is_none(), "payments are off");
    drop(safe);
    assert_eq!(*folder.open().unwrap().memory.node_seed().unwrap(), *seed);
    for file in ["vault.json", "store.key", "node.redb"] {
        assert_eq!(mode(&folder.path().join(file)), 0o600, "{file}");
    }
    assert!(!folder.has("money.redb"));
}

#[test]
fn memory_survives_a_restart_and_versions_only_grow() {
    let folder = Folder::new();
    {
        let memory = folder.open().unwrap().memory;
        assert_eq!(memory.remembered(), Remembered::default());
        memory
            .remember(|r| {
                r.record_version = 7;
                r.neighbours = (0..100).map(neighbour).collect();
                r.bans = (0..200).map(ban).collect();
            })
            .unwrap();
        memory.remember(|r| r.record_version = 3).unwrap();
    }
    let memory = folder.open().unwrap().memory;
    let remembered = memory.remembered();
    assert_eq!(remembered.record_version, 7);
    let neighbours: Vec<_> = (0..MAX_REMEMBERED as u64).map(neighbour).collect();
    assert_eq!(remembered.neighbours, neighbours);
    let bans: Vec<_> = (0..masq_gossip::MAX_BANS as u64).map(ban).collect();
    assert_eq!(remembered.bans, bans);

    memory
        .remember(|r| {
            r.neighbours.remove(0);
            r.bans.clear();
        })
        .unwrap();
    let remembered = memory.remembered();
    drop(memory);
    assert_eq!(remembered.neighbours.len(), MAX_REMEMBERED - 1);
    assert_eq!(folder.open().unwrap().memory.remembered(), remembered);
}

#[test]
fn clear_files_are_taken_over_once_and_removed() {
    let folder = Folder::new();
    let state = Remembered {
        record_version: 41,
        neighbours: vec![neighbour(1)],
        bans: vec![ban(2)],
    };
    folder.write("node.key", &SEED);
    folder.write("state.json", &serde_json::to_vec(&state).unwrap());
    folder.write("state.new", b"half a fi");
    assert_eq!(
        peek(&folder.config, folder.path()).unwrap(),
        Some(state.clone())
    );
    let safe = folder.open().unwrap();
    assert_eq!(*safe.memory.node_seed().unwrap(), SEED);
    assert_eq!(safe.memory.remembered(), state);
    safe.memory.remember(|r| r.neighbours.clear()).unwrap();
    drop(safe);
    for name in CLEAR_FILES {
        assert!(!folder.has(name), "{name}");
    }

    // A crash between the commit and the removal, or an old backup of one file.
    let newer = Remembered {
        record_version: 50,
        ..state.clone()
    };
    folder.write("node.key", &SEED);
    folder.write("state.json", &serde_json::to_vec(&newer).unwrap());
    let remembered = folder.open().unwrap().memory.remembered();
    assert_eq!(remembered.record_version, 50);
    assert!(remembered.neighbours.is_empty(), "the store went on");
    assert!(!folder.has("node.key") && !folder.has("state.json"));
    assert_eq!(
        peek(&folder.config, folder.path()).unwrap(),
        Some(remembered)
    );
}

#[test]
fn clear_files_that_can_not_be_taken_over_stay_as_they_are() {
    let folder = Folder::new();
    let key = folder.path().join("node.key");
    let refused = |say: &str| {
        let before = fs::read(&key).unwrap();
        let error = folder.open().unwrap_err().to_string();
        assert!(error.contains(say), "{error}");
        assert_eq!(fs::read(&key).unwrap(), before);
    };
    folder.write("node.key", b"too short");
    refused("9 bytes and should have 32");
    folder.write("node.key", &SEED);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    refused("chmod 600");
    folder.write("node.key", &SEED);
    folder.write("state.json", b"{");
    refused("state.json is damaged");
    assert!(folder.has("state.json"));
    fs::remove_file(folder.path().join("state.json")).unwrap();
    drop(folder.open().unwrap());

    folder.write("node.key", &[1; 32]);
    refused("another node key than node.redb");
    fs::remove_file(&key).unwrap();
    let seed = folder.open().unwrap().memory.node_seed().unwrap();
    assert_eq!(*seed, SEED);
}

#[test]
fn a_password_or_a_named_key_file_opens_it_and_nothing_else_does() {
    let mut folder = Folder::new();
    folder.password("too shrt\n".trim_start_matches("too "));
    let error = folder.open().unwrap_err();
    assert!(error.to_string().contains("too short"), "{error}");
    folder.password("a good password\n");
    let seed = folder.open().unwrap().memory.node_seed().unwrap();
    assert!(!folder.has("store.key"));
    assert_eq!(*folder.open().unwrap().memory.node_seed().unwrap(), *seed);

    let vault = fs::read(folder.path().join("vault.json")).unwrap();
    let store = fs::read(folder.path().join("node.redb")).unwrap();
    folder.password("a bad password\n");
    let error = folder.open().unwrap_err();
    assert_eq!(error.exit_code(), code::NO_PERMISSION);
    assert!(error.to_string().contains("password is wrong"), "{error}");
    folder.config.password_file = None;
    let error = folder.open().unwrap_err();
    assert_eq!(error.exit_code(), code::NO_PERMISSION);
    assert!(error.to_string().contains("--password-file"), "{error}");
    assert!(fs::read(folder.path().join("vault.json")).unwrap() == vault);
    assert!(fs::read(folder.path().join("node.redb")).unwrap() == store);

    let mut folder = Folder::new();
    let elsewhere = tempfile::tempdir().unwrap();
    folder.config.key_file = Some(elsewhere.path().join("my.key"));
    drop(folder.open().unwrap());
    assert_eq!(mode(&elsewhere.path().join("my.key")), 0o600);
    assert!(!folder.has("store.key"));
    drop(folder.open().unwrap());
}

#[test]
fn s30_who_pays_needs_a_consuming_wallet_and_others_do_not() {
    let mut folder = Folder::new();
    folder.config.payments = true;
    let error = folder.open().unwrap_err();
    assert!(matches!(error, WalletError::NoConsuming));
    assert_eq!(error.exit_code(), code::NO_WALLET);
    for (mode, settles) in [(Mode::ServeOnly, true), (Mode::ZeroHop, false)] {
        folder.config.mode = mode;
        let safe = folder.open().unwrap();
        assert!(safe.wallets.consuming.is_none());
        assert_eq!(safe.money_store.is_some(), settles);
    }

    let wallet = ConsumingWallet::from_hex(&"11".repeat(32)).unwrap();
    let kept = Address::repeat_byte(0x22);
    let data = DataDir::open(folder.path()).unwrap();
    let unlock = Unlock::KeyFile(folder.path().join(KEY_FILE));
    let keeper = Keeper::open_or_create(data, unlock).unwrap();
    keeper.keep(&wallet, Some(kept), false).unwrap();
    drop(keeper);
    folder.config.mode = Mode::Standard;
    let safe = folder.open().unwrap();
    let consuming = safe.wallets.consuming().unwrap();
    assert_eq!(consuming.address(), wallet.address());
    assert_eq!(safe.advertised_wallet(&folder.config), Some(kept));
    drop(safe);

    // The key stays closed where nothing is paid, and a wallet that is kept is told to nobody.
    folder.config.payments = false;
    let safe = folder.open().unwrap();
    assert!(safe.wallets.consuming.is_none());
    assert_eq!(safe.wallets.earning, Some(kept));
    assert_eq!(safe.advertised_wallet(&folder.config), None);
    drop(safe);

    folder.config.earning_wallet = Some(wallet.address().to_string().parse().unwrap());
    folder.config.payments = true;
    let error = folder.open().unwrap_err();
    assert!(matches!(error, WalletError::Same), "{error}");
    let other = Address::repeat_byte(0x33);
    folder.config.earning_wallet = Some(other.to_string().parse().unwrap());
    let safe = folder.open().unwrap();
    assert_eq!(safe.wallets.earning, Some(other));
}
