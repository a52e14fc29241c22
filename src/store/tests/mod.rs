//! The store as its users see it, and as somebody sees it who has the file.

mod crash;
mod damage;
mod migrations;

use std::{
    collections::BTreeMap, convert::Infallible, fs, ops::ControlFlow,
    os::unix::fs::PermissionsExt as _,
};

use alloy_primitives::{Address, address};
use tempfile::TempDir;

use super::*;

const SEQUENCE: Table<u64, u128> = Table::new("sequence");
const BALANCES: Table<Address, u128> = Table::new("balances");
const HOSTS: Table<[u8; 32], String> = Table::new("hosts");
const BY_BOTH: Table<(u64, u32), ()> = Table::new("by-both");

const ALICE: Address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
const BOB: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");

fn key(byte: u8) -> MasterKey {
    MasterKey::from_bytes(&[byte; 32]).unwrap()
}

struct Folder {
    dir: TempDir,
    path: PathBuf,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("money.redb");
        Self { dir, path }
    }

    fn open(&self) -> Result<Store, StoreError> {
        self.open_as(Purpose::Money, &key(1))
    }

    fn open_as(&self, purpose: Purpose, key: &MasterKey) -> Result<Store, StoreError> {
        Store::open(&self.path, purpose, key, Durability::TwoPhase)
    }

    /// A store with something in it, closed.
    fn filled(&self) {
        let store = self.open().unwrap();
        store
            .write(|tx| {
                for number in 0..20 {
                    tx.put(&SEQUENCE, &number, &(1000 + u128::from(number)))?;
                }
                tx.put(&BALANCES, &ALICE, &5)?;
                tx.put(&BALANCES, &BOB, &7)
            })
            .unwrap();
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }
}

fn get<K: Key, V: Value>(store: &Store, table: &Table<K, V>, key: &K) -> Option<V> {
    store.read(|tx| tx.get(table, key)).unwrap()
}

#[test]
fn what_was_written_is_there_after_opening_again() {
    let folder = Folder::new();
    folder.filled();
    assert_eq!(
        fs::metadata(&folder.path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(fs::read_dir(folder.dir.path()).unwrap().count(), 1);
    for durability in [Durability::OnePhase, Durability::TwoPhase] {
        let store = Store::open(&folder.path, Purpose::Money, &key(1), durability).unwrap();
        assert_eq!(get(&store, &SEQUENCE, &3), Some(1003));
        assert_eq!(get(&store, &SEQUENCE, &20), None);
        assert_eq!(get(&store, &BALANCES, &BOB), Some(7));
        store.write(|tx| tx.put(&BALANCES, &BOB, &7)).unwrap();
    }
}

#[test]
fn hidden_keys_come_back_from_their_values() {
    let folder = Folder::new();
    folder.filled();
    let store = folder.open().unwrap();
    let mut all = BTreeMap::new();
    store
        .read(|tx| {
            assert!(tx.contains(&BALANCES, &ALICE)?);
            assert_eq!(tx.len(&BALANCES)?, 2);
            tx.visit(&BALANCES, |wallet, balance| {
                all.insert(wallet, balance);
                ControlFlow::Continue(())
            })
        })
        .unwrap();
    assert_eq!(all, BTreeMap::from([(ALICE, 5), (BOB, 7)]));
    let mut seen = 0;
    store
        .read(|tx| {
            tx.visit(&BALANCES, |_, _| {
                seen += 1;
                ControlFlow::Break(())
            })
        })
        .unwrap();
    assert_eq!(seen, 1);
}

#[test]
fn ordered_keys_have_ranges() {
    let folder = Folder::new();
    folder.filled();
    let store = folder.open().unwrap();
    let keys = |found: Vec<(u64, u128)>| found.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    store
        .read(|tx| {
            assert_eq!(keys(tx.range(&SEQUENCE, 3..6, 100)?), [3, 4, 5]);
            assert_eq!(keys(tx.range(&SEQUENCE, 17.., 100)?), [17, 18, 19]);
            assert_eq!(keys(tx.range(&SEQUENCE, ..=2, 2)?), [0, 1]);
            assert_eq!(tx.range(&SEQUENCE, 5..5, 9)?.len(), 0);
            #[allow(clippy::reversed_empty_ranges)]
            let backwards = tx.range(&SEQUENCE, 9..=5, 9)?;
            assert_eq!(backwards.len(), 0);
            assert_eq!(tx.range(&SEQUENCE, .., 100)?.len(), 20);
            assert_eq!(tx.last(&SEQUENCE)?, Some((19, 1019)));
            assert_eq!(tx.last(&BY_BOTH)?, None);
            assert_eq!(tx.len(&BY_BOTH)?, 0);
            tx.visit(&BY_BOTH, |_, ()| panic!("nothing is there"))
        })
        .unwrap();
    store
        .write(|tx| {
            for key in [(2, 1), (1, 300), (1, 2), (u64::MAX, 0)] {
                tx.put(&BY_BOTH, &key, &())?;
            }
            let found = tx.range(&BY_BOTH, (1, 0)..(2, 1), 9)?;
            assert_eq!(found, [((1, 2), ()), ((1, 300), ())]);
            assert!(tx.remove(&BY_BOTH, &(1, 2))?);
            assert!(!tx.remove(&BY_BOTH, &(1, 2))?);
            assert_eq!(tx.len(&BY_BOTH)?, 3);
            Ok::<_, StoreError>(())
        })
        .unwrap();
}

#[test]
fn a_failed_change_leaves_nothing() {
    let folder = Folder::new();
    folder.filled();
    let store = folder.open().unwrap();
    let refused: Result<(), StoreError> = store.write(|tx| {
        tx.put(&BALANCES, &ALICE, &99)?;
        assert_eq!(tx.get(&BALANCES, &ALICE)?, Some(99));
        tx.put(&HOSTS, &[0; 32], &"x".repeat(codec::MAX_BLOB + 1))
    });
    assert!(matches!(
        refused,
        Err(StoreError::TooLong { table: "hosts", .. })
    ));
    assert_eq!(get(&store, &BALANCES, &ALICE), Some(5));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.write(|tx| {
            tx.put(&BALANCES, &ALICE, &99)?;
            panic!("on purpose");
            #[allow(unreachable_code)]
            Ok::<_, StoreError>(())
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(get(&store, &BALANCES, &ALICE), Some(5));
    store.write(|tx| tx.put(&BALANCES, &ALICE, &6)).unwrap();
    assert_eq!(get(&store, &BALANCES, &ALICE), Some(6));
}

#[test]
fn a_view_does_not_move() {
    let folder = Folder::new();
    folder.filled();
    let store = folder.open().unwrap();
    store
        .read(|tx| {
            store.write(|tx| tx.put(&BALANCES, &ALICE, &50))?;
            assert_eq!(tx.get(&BALANCES, &ALICE)?, Some(5));
            Ok::<_, StoreError>(())
        })
        .unwrap();
    assert_eq!(get(&store, &BALANCES, &ALICE), Some(50));
}

#[test]
fn threads_write_one_after_the_other() {
    let folder = Folder::new();
    let store = folder.open().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    store
                        .write(|tx| {
                            let balance = tx.get(&BALANCES, &ALICE)?.unwrap_or(0);
                            tx.put(&BALANCES, &ALICE, &(balance + 1))
                        })
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(get(&store, &BALANCES, &ALICE), Some(40));
}

/// S29: nothing that was stored can be found in the file.
#[test]
fn s29_a_search_of_the_file_finds_nothing() {
    const HOST: &str = "example-host.invalid";
    const AMOUNT: u128 = 123_456_789_012_345_678;
    let folder = Folder::new();
    let node: [u8; 32] = *b"a node key, which is 32 bytes lo";
    let store = folder.open().unwrap();
    for round in 0..5 {
        store
            .write(|tx| {
                tx.put(&BALANCES, &ALICE, &AMOUNT)?;
                tx.put(&SEQUENCE, &round, &AMOUNT)?;
                tx.put(&HOSTS, &node, &HOST.to_owned())
            })
            .unwrap();
    }
    drop(store);
    let file = folder.bytes();
    let amount = u64::try_from(AMOUNT).unwrap();
    for needle in [
        ALICE.as_slice(),
        format!("{ALICE:x}").trim_start_matches("0x").as_bytes(),
        ALICE.to_checksum(None).trim_start_matches("0x").as_bytes(),
        &node,
        hex::encode(node).as_bytes(),
        HOST.as_bytes(),
        &amount.to_be_bytes(),
        &amount.to_le_bytes(),
        AMOUNT.to_string().as_bytes(),
        key(1).as_bytes(),
    ] {
        assert!(!needle.is_empty());
        let found = file.windows(needle.len()).any(|window| window == needle);
        assert!(!found, "{}", String::from_utf8_lossy(needle));
    }
    // The search can find something: names of tables are in the clear.
    assert!(file.windows(8).any(|window| window == b"balances"));
}

#[test]
fn errors_and_debug_forms_hold_no_secret() {
    let folder = Folder::new();
    folder.filled();
    let store = folder.open().unwrap();
    let shown = format!("{store:?} {:?}", key(7));
    assert!(
        !shown.contains("[7, 7") && shown.contains("[scrubbed]"),
        "{shown}"
    );
    store
        .write(|tx| {
            assert!(!format!("{tx:?}").contains("1, 1"));
            Ok::<_, StoreError>(())
        })
        .unwrap();
}

#[test]
fn errors_of_the_caller_pass_through() {
    #[derive(Debug)]
    enum Mine {
        Store,
        Own,
    }
    impl From<StoreError> for Mine {
        fn from(_: StoreError) -> Self {
            Self::Store
        }
    }
    let folder = Folder::new();
    let store = folder.open().unwrap();
    assert!(matches!(
        store.write(|_| Err::<Infallible, _>(Mine::Own)),
        Err(Mine::Own)
    ));
    let too_long = "x".repeat(codec::MAX_BLOB + 1);
    let outcome: Result<(), Mine> = store.write(|tx| Ok(tx.put(&HOSTS, &[1; 32], &too_long)?));
    assert!(matches!(outcome, Err(Mine::Store)));
}
