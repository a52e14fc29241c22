//! Files that are not what they should be: each is refused with a sentence of
//! its own, and left as it is.

use std::io::Write as _;

use redb::ReadableTable as _;

use super::*;

/// Opening fails, names the file, and changes nothing.
fn refused(folder: &Folder, purpose: Purpose, key: &MasterKey) -> StoreError {
    let before = folder.bytes();
    let error = folder.open_as(purpose, key).unwrap_err();
    assert!(folder.bytes() == before, "the file was changed: {error}");
    assert!(error.to_string().contains("money.redb"), "{error}");
    error
}

#[test]
fn another_key() {
    let folder = Folder::new();
    folder.filled();
    let error = refused(&folder, Purpose::Money, &key(2));
    assert!(matches!(error, StoreError::WrongKey { .. }), "{error}");
    assert!(folder.open().is_ok());
}

#[test]
fn another_purpose() {
    let folder = Folder::new();
    folder.filled();
    let error = refused(&folder, Purpose::Node, &key(1));
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("a store for money, where one for node belongs")
    );
}

#[test]
fn a_file_of_another_program() {
    let folder = Folder::new();
    for content in [&b"SQLite format 3\0 and so on"[..], b"{}", b"redc"] {
        fs::write(&folder.path, content).unwrap();
        fs::set_permissions(&folder.path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = refused(&folder, Purpose::Money, &key(1));
        assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    }
}

#[test]
fn a_database_of_another_program() {
    let folder = Folder::new();
    let database = Database::create(&folder.path).unwrap();
    drop(database);
    fs::set_permissions(&folder.path, fs::Permissions::from_mode(0o600)).unwrap();
    let error = refused(&folder, Purpose::Money, &key(1));
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
}

#[test]
fn a_folder_and_a_file_that_others_can_read() {
    let folder = Folder::new();
    fs::create_dir(&folder.path).unwrap();
    let error = folder.open().unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    fs::remove_dir(&folder.path).unwrap();
    folder.filled();
    fs::set_permissions(&folder.path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = refused(&folder, Purpose::Money, &key(1));
    assert!(
        matches!(error, StoreError::Exposed { mode: 0o640, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("chmod 600"));
}

#[test]
fn a_newer_schema() {
    let folder = Folder::new();
    let step: Migration = |_| Ok(());
    let newer = Store::open_with(
        folder.path.clone(),
        Purpose::Money,
        &key(1),
        Durability::TwoPhase,
        &[step, step],
    );
    drop(newer.unwrap());
    let error = refused(&folder, Purpose::Money, &key(1));
    assert!(
        matches!(
            error,
            StoreError::Newer {
                found: 3,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_file_cut_off_anywhere() {
    let folder = Folder::new();
    folder.filled();
    let whole = folder.bytes();
    for length in [
        0,
        1,
        8,
        9,
        100,
        4096,
        8192,
        whole.len() / 2,
        whole.len() - 1,
    ] {
        fs::write(&folder.path, &whole[..length]).unwrap();
        let error = refused(&folder, Purpose::Money, &key(1));
        assert!(
            matches!(error, StoreError::Damaged { .. }),
            "{length}: {error}"
        );
        assert!(error.to_string().contains("backup"));
    }
}

/// Whatever byte is changed: opening and reading gives what was written, or an
/// error; never something else, and never a panic.
#[test]
fn a_byte_changed_anywhere() {
    let folder = Folder::new();
    folder.filled();
    let whole = folder.bytes();
    let (mut refused, mut unharmed) = (0, 0);
    // Every byte of the head, and a sample of the rest; the pages of a file this small are mostly
    // empty.
    let places = (0..320).chain((320..whole.len()).step_by((whole.len() / 400) | 1));
    for place in places {
        let mut changed = whole.clone();
        changed[place] ^= 0x41;
        fs::write(&folder.path, &changed).unwrap();
        let outcome = folder.open().and_then(|store| {
            store.read(|tx| {
                assert_eq!(tx.range(&SEQUENCE, .., 100)?.len(), 20, "byte {place}");
                assert_eq!(tx.last(&SEQUENCE)?, Some((19, 1019)), "byte {place}");
                assert_eq!(tx.get(&BALANCES, &ALICE)?, Some(5), "byte {place}");
                Ok::<_, StoreError>(())
            })
        });
        match outcome {
            Ok(()) => unharmed += 1,
            Err(error) => {
                assert!(error.to_string().contains("money.redb"), "{error}");
                assert!(folder.bytes() == changed, "byte {place}: {error}");
                refused += 1;
            }
        }
    }
    assert!(
        refused > 0 && unharmed > 0,
        "{refused} refused, {unharmed} unharmed"
    );
}

/// Changes what a table holds as somebody could who has the file and no key.
fn tamper(folder: &Folder, table: &str, change: impl FnOnce(&mut Vec<(Vec<u8>, Vec<u8>)>)) {
    let definition = redb::TableDefinition::<&[u8], &[u8]>::new(table);
    let database = Database::open(&folder.path).unwrap();
    let tx = database.begin_write().unwrap();
    {
        let mut table = tx.open_table(definition).unwrap();
        let mut entries: Vec<_> = (table.iter().unwrap())
            .map(|entry| {
                let (key, value) = entry.unwrap();
                (key.value().to_vec(), value.value().to_vec())
            })
            .collect();
        change(&mut entries);
        for (key, value) in entries {
            table.insert(key.as_slice(), value.as_slice()).unwrap();
        }
    }
    tx.commit().unwrap();
}

fn sequence(folder: &Folder, number: u64) -> Result<Option<u128>, StoreError> {
    folder.open().unwrap().read(|tx| tx.get(&SEQUENCE, &number))
}

#[test]
fn a_byte_changed_in_a_value() {
    let length = 1 + seal::OVERHEAD + 16;
    for place in 0..length {
        let folder = Folder::new();
        folder.filled();
        tamper(&folder, "sequence", |entries| {
            assert_eq!(entries[4].1.len(), length);
            entries[4].1[place] ^= 1;
        });
        let error = sequence(&folder, 4).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("table sequence"), "{error}");
        assert_eq!(sequence(&folder, 5).unwrap(), Some(1005));
    }
}

#[test]
fn a_value_moved_to_another_key() {
    let folder = Folder::new();
    folder.filled();
    tamper(&folder, "sequence", |entries| {
        entries[4].1 = entries[5].1.clone()
    });
    assert!(matches!(
        sequence(&folder, 4),
        Err(StoreError::Damaged { .. })
    ));
    assert_eq!(sequence(&folder, 5).unwrap(), Some(1005));

    tamper(&folder, "balances", |entries| {
        entries[0].1 = entries[1].1.clone()
    });
    let store = folder.open().unwrap();
    let visited = store.read(|tx| tx.visit(&BALANCES, |_, _| ControlFlow::Continue(())));
    assert!(matches!(visited, Err(StoreError::Damaged { .. })));
}

#[test]
fn a_value_moved_to_another_table_or_file() {
    const OTHER: Table<u64, u128> = Table::new("other");
    let folder = Folder::new();
    folder.filled();
    let store = folder.open().unwrap();
    store.write(|tx| tx.put(&OTHER, &4, &1)).unwrap();
    drop(store);
    let mut taken = Vec::new();
    tamper(&folder, "sequence", |entries| taken = entries[4].1.clone());
    tamper(&folder, "other", |entries| entries[0].1 = taken.clone());
    let error = folder
        .open()
        .unwrap()
        .read(|tx| tx.get(&OTHER, &4))
        .unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");

    let other = Folder::new();
    other.filled();
    tamper(&other, "sequence", |entries| entries[4].1 = taken);
    assert!(matches!(
        sequence(&other, 4),
        Err(StoreError::Damaged { .. })
    ));
}

#[test]
fn a_header_that_was_changed() {
    let folder = Folder::new();
    folder.filled();
    let whole = folder.bytes();
    let at = (0..whole.len())
        .find(|&at| whole[at..].starts_with(b"masq store"))
        .unwrap();
    drop(whole);
    let change = |place: usize, to: u8| {
        let database = Database::open(&folder.path).unwrap();
        let tx = database.begin_write().unwrap();
        {
            let mut table = tx.open_table(header::TABLE).unwrap();
            let mut bytes = table.get(header::KEY).unwrap().unwrap().value().to_vec();
            bytes[place] = to;
            table.insert(header::KEY, bytes.as_slice()).unwrap();
        }
        tx.commit().unwrap();
    };
    assert!(at > 0);
    // The schema, set back to make an old migration run again.
    change(15, 0);
    let error = folder.open().unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    change(15, 1);
    assert!(folder.open().is_ok());
    // The purpose: node.redb put in the place of money.redb, made to look right.
    change(11, 1);
    assert!(matches!(folder.open(), Err(StoreError::Foreign { .. })));
    let error = folder.open_as(Purpose::Node, &key(1)).unwrap_err();
    assert!(matches!(error, StoreError::WrongKey { .. }), "{error}");
    change(11, 9);
    assert!(matches!(folder.open(), Err(StoreError::Damaged { .. })));
    change(10, 2);
    assert!(matches!(
        folder.open(),
        Err(StoreError::Newer { found: 2, .. })
    ));
    change(0, b'M');
    assert!(matches!(folder.open(), Err(StoreError::Foreign { .. })));
}

#[test]
fn a_store_that_is_open_elsewhere() {
    let folder = Folder::new();
    folder.filled();
    let store = folder.open().unwrap();
    let error = folder.open().unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("masq shutdown"), "{error}");
    drop(store);
    assert!(folder.open().is_ok());
}

#[test]
fn what_a_crash_while_creating_left_is_replaced() {
    let folder = Folder::new();
    let beside = folder.path.with_extension("redb.new");
    fs::File::create(&beside)
        .unwrap()
        .write_all(b"redb and half a page")
        .unwrap();
    folder.filled();
    assert!(!beside.exists());
    assert!(folder.open().is_ok());
}

#[test]
fn a_folder_that_can_not_be_written_is_named() {
    let error = Store::open(
        "/nonexistent/folder/money.redb",
        Purpose::Money,
        &key(1),
        Durability::TwoPhase,
    )
    .unwrap_err();
    assert!(matches!(error, StoreError::File { .. }), "{error}");
    assert!(
        error.to_string().contains("/nonexistent/folder/money.redb"),
        "{error}"
    );
}
