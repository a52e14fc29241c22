//! The vault: passwords and key files, wrong ones, and files that are none of ours.

use std::{fs, os::unix::fs::PermissionsExt as _};

use tempfile::TempDir;

use super::{password::MAX_PASSWORD, *};

fn password(text: &str) -> Unlock {
    Unlock::Password(Password::new(text))
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn make(folder: &TempDir, unlock: &Unlock) -> MasterKey {
    create_with(folder.path(), unlock, Cost::CHEAP).unwrap()
}

fn same(one: &MasterKey, other: &MasterKey) -> bool {
    one.as_bytes() == other.as_bytes()
}

#[test]
fn a_password_opens_it_and_another_does_not() {
    let folder = folder();
    let right = password("correct horse");
    let master = make(&folder, &right);
    let path = folder.path().join(VAULT);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(same(&open(folder.path(), &right).unwrap(), &master));
    assert_eq!(lock_of(folder.path()).unwrap(), Some(Lock::Password));
    let error = open(folder.path(), &password("correct hörse")).unwrap_err();
    assert!(matches!(error, VaultError::WrongPassword { .. }), "{error}");
    assert!(error.to_string().contains("vault.json"), "{error}");
    let key = Unlock::KeyFile(folder.path().join(KEY_FILE));
    assert!(matches!(
        open(folder.path(), &key),
        Err(VaultError::NeedsPassword { .. })
    ));
    let text = fs::read_to_string(path).unwrap();
    assert!(!text.contains(&hex::encode(master.as_bytes())));
    assert!(!format!("{right:?} {master:?}").contains("horse"));
}

#[test]
fn a_key_file_is_made_and_opens_it() {
    let folder = folder();
    let path = folder.path().join(KEY_FILE);
    let unlock = Unlock::KeyFile(path.clone());
    let master = make(&folder, &unlock);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(fs::read(&path).unwrap().len(), 32);
    assert!(same(&open(folder.path(), &unlock).unwrap(), &master));
    assert_eq!(lock_of(folder.path()).unwrap(), Some(Lock::KeyFile));
    let error = open(folder.path(), &password("correct horse")).unwrap_err();
    assert!(matches!(error, VaultError::NeedsKeyFile { .. }), "{error}");

    let other = folder.path().join("other.key");
    fs::write(&other, [1; 32]).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
    let error = open(folder.path(), &Unlock::KeyFile(other.clone())).unwrap_err();
    assert!(matches!(error, VaultError::WrongKeyFile { .. }), "{error}");
    fs::write(&other, [1; 31]).unwrap();
    let error = open(folder.path(), &Unlock::KeyFile(other.clone())).unwrap_err();
    assert!(matches!(error, VaultError::KeyFile { .. }), "{error}");
    fs::set_permissions(&other, fs::Permissions::from_mode(0o644)).unwrap();
    let error = open(folder.path(), &Unlock::KeyFile(other)).unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
    fs::remove_file(&path).unwrap();
    let error = open(folder.path(), &unlock).unwrap_err();
    assert!(
        error.to_string().contains("store.key is missing"),
        "{error}"
    );
    assert!(!path.exists(), "opening makes no key file");
}

#[test]
fn a_new_password_opens_the_same_stores() {
    let folder = folder();
    let (old, new) = (password("the old one"), password("the new one"));
    let master = make(&folder, &old);
    let path = folder.path().join(VAULT);
    let before = fs::read(&path).unwrap();
    let wrong = rewrap_with(folder.path(), &new, &new, Cost::CHEAP);
    assert!(matches!(wrong, Err(VaultError::WrongPassword { .. })));
    let short = rewrap_with(folder.path(), &old, &password("short"), Cost::CHEAP);
    assert!(matches!(short, Err(VaultError::Short)));
    assert_eq!(fs::read(&path).unwrap(), before);
    rewrap_with(folder.path(), &old, &new, Cost::CHEAP).unwrap();
    assert!(same(&open(folder.path(), &new).unwrap(), &master));
    assert!(open(folder.path(), &old).is_err());
    let key = Unlock::KeyFile(folder.path().join(KEY_FILE));
    rewrap_with(folder.path(), &new, &key, Cost::CHEAP).unwrap();
    assert!(same(&open(folder.path(), &key).unwrap(), &master));
}

#[test]
fn nothing_is_made_over_what_is_there() {
    let folder = folder();
    let unlock = password("correct horse");
    assert!(matches!(
        open(folder.path(), &unlock),
        Err(VaultError::None { .. })
    ));
    assert_eq!(lock_of(folder.path()).unwrap(), None);
    assert!(matches!(
        create_with(folder.path(), &password("short"), Cost::CHEAP),
        Err(VaultError::Short)
    ));
    make(&folder, &unlock);
    let before = fs::read(folder.path().join(VAULT)).unwrap();
    for other in [&unlock, &password("another one")] {
        let error = create_with(folder.path(), other, Cost::CHEAP).unwrap_err();
        assert!(matches!(error, VaultError::Exists { .. }), "{error}");
    }
    assert_eq!(fs::read(folder.path().join(VAULT)).unwrap(), before);

    // A store without its vault is a loss to be told of, not a place for a new vault.
    fs::remove_file(folder.path().join(VAULT)).unwrap();
    fs::write(folder.path().join("money.redb"), "").unwrap();
    for outcome in [
        open_or_create(folder.path(), &unlock),
        create_with(folder.path(), &unlock, Cost::CHEAP),
    ] {
        let error = outcome.unwrap_err();
        assert!(matches!(error, VaultError::Missing { .. }), "{error}");
    }
}

#[test]
fn a_damaged_vault_is_not_a_wrong_password() {
    let folder = folder();
    let unlock = password("correct horse");
    make(&folder, &unlock);
    let path = folder.path().join(VAULT);
    let text = fs::read_to_string(&path).unwrap();
    let write = |text: &str| fs::write(&path, text).unwrap();
    for at in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        match open(folder.path(), &unlock) {
            Err(VaultError::Damaged { .. } | VaultError::Newer { .. }) => {}
            // Spaces, and the case of hexadecimal digits, mean nothing.
            Ok(_) => {}
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    for length in [0, 1, text.len() / 2, text.len() - 1] {
        write(&text[..length]);
        assert!(matches!(
            open(folder.path(), &unlock),
            Err(VaultError::Damaged { .. })
        ));
    }
    write(&text.replace("\"version\": 1", "\"version\": 2"));
    assert!(matches!(
        open(folder.path(), &unlock),
        Err(VaultError::Newer { .. })
    ));
    fs::remove_file(&path).unwrap();
}

#[test]
fn costs_of_a_forged_vault_are_bounded() {
    let folder = folder();
    let unlock = password("correct horse");
    make(&folder, &unlock);
    let path = folder.path().join(VAULT);
    let mut file = VaultFile::read(&path).unwrap().unwrap();
    for cost in [
        Cost {
            memory_kib: u32::MAX,
            ..Cost::CHEAP
        },
        Cost {
            passes: 65,
            ..Cost::CHEAP
        },
        Cost {
            lanes: 65,
            ..Cost::CHEAP
        },
        Cost {
            memory_kib: 1,
            ..Cost::CHEAP
        },
        Cost {
            passes: 0,
            ..Cost::CHEAP
        },
    ] {
        if let Method::Argon2id { cost: of_file, .. } = &mut file.unlock {
            *of_file = cost;
        }
        file.checksum = file.sum();
        file.write(&path).unwrap();
        let error = open(folder.path(), &unlock).unwrap_err();
        assert!(matches!(error, VaultError::Damaged { .. }), "{error}");
    }
}

#[test]
fn the_usual_cost_is_the_recommended_one() {
    let folder = folder();
    let unlock = password("correct horse");
    let master = open_or_create(folder.path(), &unlock).unwrap();
    assert!(same(
        &open_or_create(folder.path(), &unlock).unwrap(),
        &master
    ));
    let text = fs::read_to_string(folder.path().join(VAULT)).unwrap();
    assert!(text.contains("65536"), "{text}");
}

#[test]
fn password_files() {
    let folder = folder();
    let path = folder.path().join("password");
    let write = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    for bytes in [
        &b"correct horse"[..],
        b"correct horse\n",
        b"correct horse\r\nmore",
    ] {
        write(bytes);
        assert_eq!(
            Password::from_file(&path).unwrap(),
            Password::new("correct horse")
        );
    }
    for bytes in [
        &b""[..],
        b"\nsecond",
        b"\xff\xff",
        &[b'a'; MAX_PASSWORD + 1],
    ] {
        write(bytes);
        let error = Password::from_file(&path).unwrap_err();
        assert!(matches!(error, VaultError::PasswordFile { .. }), "{error}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(
        Password::from_file(&path)
            .unwrap_err()
            .to_string()
            .contains("chmod 600")
    );
    let missing = folder.path().join("none");
    assert!(
        Password::from_file(&missing)
            .unwrap_err()
            .to_string()
            .contains("does not exist")
    );
}
