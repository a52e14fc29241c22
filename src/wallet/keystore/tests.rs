//! Keystores: the vectors of the format, files of other programs, and damaged ones.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// The secret of the format's own two examples.
const SECRET: &str = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";

fn testpassword() -> Password {
    Password::new("testpassword")
}

/// The examples of the format's definition: geth's, by PBKDF2 and by scrypt.
fn examples() -> [Value; 2] {
    [
        json!({
            "crypto": {
                "cipher": "aes-128-ctr",
                "cipherparams": { "iv": "6087dab2f9fdbbfaddc31a909735c1e6" },
                "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
                "kdf": "pbkdf2",
                "kdfparams": {
                    "c": 262_144,
                    "dklen": 32,
                    "prf": "hmac-sha256",
                    "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"
                },
                "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"
            },
            "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
            "version": 3
        }),
        json!({
            "crypto": {
                "cipher": "aes-128-ctr",
                "cipherparams": { "iv": "83dbcc02d8ccb40e466191a123791e0e" },
                "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
                "kdf": "scrypt",
                "kdfparams": {
                    "dklen": 32,
                    "n": 262_144,
                    "r": 1,
                    "p": 8,
                    "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"
                },
                "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097"
            },
            "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
            "version": 3
        }),
    ]
}

fn cheap() -> (ConsumingWallet, Value) {
    let wallet = ConsumingWallet::from_hex(SECRET).unwrap();
    let file = write_with(&wallet, &testpassword(), Naming::Nameless, Cost::CHEAP).unwrap();
    (wallet, serde_json::from_slice(&file).unwrap())
}

fn open(file: &Value) -> Result<ConsumingWallet, KeystoreError> {
    read(file.to_string().as_bytes(), &testpassword())
}

#[test]
fn files_of_other_programs_are_read() {
    for file in examples() {
        let wallet = open(&file).unwrap();
        assert_eq!(hex::encode(wallet.secret().as_slice()), SECRET);
    }
}

#[test]
fn the_ways_in_which_programs_write_it_are_read() {
    let (wallet, mut file) = cheap();
    assert_eq!(
        read(file.to_string().as_bytes(), &Password::new("wrong")).unwrap_err(),
        KeystoreError::Password
    );
    // Old geth: a capital, and the address without 0x; others: with it.
    let crypto = file.as_object_mut().unwrap().remove("crypto").unwrap();
    file["Crypto"] = crypto;
    file["address"] = json!(hex::encode(wallet.address()));
    assert!(open(&file).is_ok());
    file["address"] = json!(wallet.address().to_checksum(None));
    file["x-ethers"] = json!({ "client": "ethers.js" });
    assert!(open(&file).is_ok());
    file["address"] = json!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
    assert_eq!(open(&file).unwrap_err(), KeystoreError::Address);
}

#[test]
fn what_is_written_can_be_read_and_says_nothing() {
    let wallet = ConsumingWallet::from_hex(SECRET).unwrap();
    let file = write(&wallet, &testpassword(), Naming::Nameless).unwrap();
    assert_eq!(
        read(&file, &testpassword()).unwrap().address(),
        wallet.address()
    );
    let text = String::from_utf8(file).unwrap();
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(shown["crypto"]["kdfparams"]["n"], 262_144);
    assert_eq!(shown["crypto"]["kdfparams"]["r"], 8);
    assert_eq!(shown["version"], 3);
    assert_eq!(shown["id"].as_str().unwrap().len(), 36);
    assert!(!text.to_lowercase().contains(&hex::encode(wallet.address())));
    assert!(!text.contains("address") && !text.contains(SECRET));
    let again = write_with(&wallet, &testpassword(), Naming::Nameless, Cost::CHEAP).unwrap();
    let again: Value = serde_json::from_slice(&again).unwrap();
    for field in ["/id", "/crypto/cipherparams/iv", "/crypto/kdfparams/salt"] {
        assert_ne!(again.pointer(field), shown.pointer(field), "{field}");
    }
}

#[test]
fn what_is_unusable_is_explained_without_work() {
    let (_, good) = cheap();
    assert!(open(&good).is_ok());
    for (field, value, says) in [
        ("/version", json!(1), "version is 1"),
        ("/crypto/cipher", json!("aes-128-cbc"), "aes-128-ctr"),
        ("/crypto/cipherparams/iv", json!("00"), "16 bytes"),
        ("/crypto/cipherparams/iv", json!("xy"), "not hexadecimal"),
        ("/crypto/ciphertext", json!("00"), "32 bytes"),
        ("/crypto/mac", json!("mac"), "not hexadecimal"),
        ("/crypto/mac", json!("00"), "the password is wrong"),
        ("/crypto/kdf", json!("argon2"), "no keystore"),
        ("/crypto/kdfparams/dklen", json!(16), "dklen is 16"),
        ("/crypto/kdfparams/n", json!(0), "make no sense"),
        ("/crypto/kdfparams/n", json!(1), "make no sense"),
        ("/crypto/kdfparams/n", json!(1000), "make no sense"),
        ("/crypto/kdfparams/n", json!(1_u64 << 40), "more memory"),
        ("/crypto/kdfparams/n", json!(u64::MAX), "more memory"),
        ("/crypto/kdfparams/r", json!(0), "make no sense"),
        ("/crypto/kdfparams/r", json!(u32::MAX), "more memory"),
        ("/crypto/kdfparams/p", json!(u32::MAX), "more memory"),
        ("/crypto/kdfparams/p", json!(0), "make no sense"),
        (
            "/crypto/kdfparams/salt",
            json!("00".repeat(257)),
            "salt is too long",
        ),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(field).unwrap() = value.clone();
        let error = open(&bad).unwrap_err().to_string();
        assert!(error.contains(says), "{field} {value}: {error}");
    }
    let [mut pbkdf2, _] = examples();
    for (field, value, says) in [
        ("/crypto/kdfparams/c", json!(0), "rounds is 0"),
        ("/crypto/kdfparams/c", json!(u32::MAX), "rounds is"),
        ("/crypto/kdfparams/prf", json!("hmac-md5"), "hmac-sha256"),
    ] {
        let before = std::mem::replace(pbkdf2.pointer_mut(field).unwrap(), value);
        assert!(
            open(&pbkdf2).unwrap_err().to_string().contains(says),
            "{field}"
        );
        *pbkdf2.pointer_mut(field).unwrap() = before;
    }
    for text in ["", "{}", "[]", "null", "not json", "{\"version\":3}"] {
        let error = read(text.as_bytes(), &testpassword()).unwrap_err();
        assert!(matches!(error, KeystoreError::Format(_)), "{text}: {error}");
    }
    let large = vec![b' '; MAX_KEYSTORE + 1];
    assert!(read(&large, &testpassword()).is_err());
}

#[test]
fn a_file_is_never_written_over() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("exported.json");
    write_new(&path, b"one").unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(write_new(&path, b"two").is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"one");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is changed in a file with an address: the same wallet, or none; and no panic.
    #[test]
    fn no_file_panics(
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let wallet = ConsumingWallet::from_hex(SECRET).unwrap();
        let file = write_with(&wallet, &testpassword(), Naming::Named, Cost::CHEAP).unwrap();
        let file: Value = serde_json::from_slice(&file).unwrap();
        let mut text = file.to_string().into_bytes();
        let place = place.index(text.len());
        text[place] = byte;
        if let Ok(read) = read(&text, &testpassword()) {
            prop_assert_eq!(read.address(), wallet.address());
        }
        text.truncate(cut.index(text.len()));
        prop_assert!(read(&text, &testpassword()).is_err());
    }
}
