//! `masq wallet` as a script meets it: real binary, real files, real exit codes.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use masq::datadir::DataDir;
use serde_json::Value;

const JUNK: &str = "test test test test test test test test test test test junk";
const FIRST: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const SECOND: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const PASSWORD: &str = "correct horse";

struct Home(tempfile::TempDir);

/// What a command came to.
struct Outcome {
    code: i32,
    out: String,
    err: String,
}

impl Outcome {
    fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.err);
        serde_json::from_str(&self.out).unwrap()
    }

    fn refused(&self, code: i32, says: &str) {
        assert_eq!(self.code, code, "{} {}", self.out, self.err);
        assert!(self.err.contains(says), "{}", self.err);
        assert!(self.out.is_empty(), "{}", self.out);
    }
}

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// Runs `masq wallet` with one line of input for each question.
    fn wallet(&self, arguments: &[&str], answers: &[&str]) -> Outcome {
        let mut child = Command::new(env!("CARGO_BIN_EXE_masq"))
            .arg("wallet")
            .args(arguments)
            .env_clear()
            .env("HOME", self.0.path())
            .env("MASQ_DATA_DIR", self.data())
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        for answer in answers {
            // A command that ends early does not read the rest.
            let _ = writeln!(input, "{answer}");
        }
        drop(input);
        let output = child.wait_with_output().unwrap();
        Outcome {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// A folder with the well-known wallets, under a key file.
    fn with_wallets() -> Self {
        let home = Self::new();
        let made = home.wallet(&["recover", "--no-password", "--json"], &[JUNK]);
        assert_eq!(made.json()["consuming"], FIRST);
        home
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn help_tells_a_stranger_what_wallets_are_for() {
    let help = Home::new().wallet(&["--help"], &[]);
    assert_eq!(help.code, 0);
    for word in [
        "CONSUMING",
        "EARNING",
        "Examples:",
        "change-password",
        "--password-file",
    ] {
        assert!(help.out.contains(word), "{word}");
    }
    let recover = Home::new().wallet(&["recover", "--help"], &[]);
    assert!(recover.out.contains("is lost, move the folder away"));
}

#[test]
fn words_that_were_made_bring_the_same_wallets_back() {
    let home = Home::new();
    let arguments = [
        "generate",
        "--words",
        "24",
        "--passphrase",
        "--written-down",
        "--json",
    ];
    let made = home.wallet(&arguments, &[PASSWORD, "a passphrase"]).json();
    let words = made["words"].as_str().unwrap();
    assert_eq!(words.split(' ').count(), 24);
    assert_eq!(mode(&home.data()), 0o700);
    for file in ["vault.json", "node.redb", "consuming.json"] {
        assert_eq!(mode(&home.data().join(file)), 0o600, "{file}");
    }
    let shown = home
        .wallet(&["show", "--verify", "--json"], &[PASSWORD])
        .json();
    assert_eq!(shown["consuming"], made["consuming"]);
    assert_eq!(
        (&shown["verified"], &shown["lock"]),
        (&true.into(), &"password".into())
    );

    let other = Home::new();
    let arguments = ["recover", "--passphrase", "--no-password", "--json"];
    let back = other.wallet(&arguments, &[words, "a passphrase"]).json();
    assert_eq!(back["consuming"], made["consuming"]);
    assert_eq!(back["earning"], made["earning"]);
    assert!(back.get("words").is_none());

    home.wallet(&["show"], &["a wrong password"])
        .refused(77, "the password is wrong");
    home.wallet(&["show"], &[]).refused(64, "the input ended");
    home.wallet(&["generate"], &[PASSWORD])
        .refused(64, "--written-down");
    home.wallet(&["generate", "--words", "13"], &[])
        .refused(64, "13");
}

#[test]
fn nothing_is_overwritten_without_being_told_to() {
    let home = Home::with_wallets();
    let before = fs::read(home.data().join("consuming.json")).unwrap();
    home.wallet(&["generate", "--written-down"], &[])
        .refused(1, "--replace");
    home.wallet(&["recover"], &[JUNK]).refused(1, "--replace");
    assert_eq!(
        fs::read(home.data().join("consuming.json")).unwrap(),
        before
    );
    let made = home
        .wallet(&["generate", "--written-down", "--replace", "--json"], &[])
        .json();
    assert_ne!(made["consuming"], FIRST);
    // The earning wallet is the operator's choice; a new consuming wallet does not change it.
    assert_eq!(
        (&made["earning"], &made["earning_is_new"]),
        (&SECOND.into(), &false.into())
    );
    assert_eq!(fs::read(made["moved"].as_str().unwrap()).unwrap(), before);
}

#[test]
fn keys_come_and_go_by_keystore() {
    let home = Home::with_wallets();
    home.wallet(&["export", "out.json"], &["short"])
        .refused(1, "too short");
    let exported = home
        .wallet(&["export", "out.json", "--json"], &["for another"])
        .json();
    assert_eq!(exported["consuming"], FIRST);
    let file = home.0.path().join("out.json");
    assert_eq!(mode(&file), 0o600);
    home.wallet(&["export", "out.json"], &["for another"])
        .refused(73, "out.json");

    let other = Home::new();
    let file = file.to_str().unwrap();
    let arguments = ["import", "--keystore", file, "--no-password", "--json"];
    other
        .wallet(&arguments, &["not that"])
        .refused(77, "the password is wrong");
    let brought = other.wallet(&arguments, &["for another"]).json();
    assert_eq!(
        (&brought["consuming"], &brought["earning"]),
        (&FIRST.into(), &Value::Null)
    );

    let third = Home::new();
    let key = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    third
        .wallet(&["import", "--no-password"], &["0xac09"])
        .refused(1, "64 digits");
    let brought = third
        .wallet(&["import", "--no-password", "--json"], &[key])
        .json();
    assert_eq!(brought["consuming"], FIRST);
    third
        .wallet(&["export", "out.json"], &[])
        .refused(64, "the input ended");
    Home::new()
        .wallet(&["export", "out.json"], &[])
        .refused(66, "masq wallet generate");
}

#[test]
fn the_earning_wallet_is_checked() {
    let home = Home::with_wallets();
    let right = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
    let set = home.wallet(&["set-earning", right, "--json"], &[]).json();
    assert_eq!(
        (&set["earning"], &set["checked"]),
        (&right.into(), &true.into())
    );
    let small = right.to_lowercase();
    let set = home.wallet(&["set-earning", &small], &[]);
    assert!(
        set.out.contains(right) && set.out.contains("compare every digit"),
        "{}",
        set.out
    );
    let wrong = right.replace("Aed", "Aee");
    home.wallet(&["set-earning", &wrong], &[])
        .refused(64, "checksum");
    home.wallet(&["set-earning", "0x12"], &[])
        .refused(64, "40 digits");
    home.wallet(&["set-earning", FIRST], &[])
        .refused(1, "must not be the same");
    assert_eq!(
        home.wallet(&["show", "--json"], &[]).json()["earning"],
        right
    );
}

#[test]
fn the_password_can_be_changed_both_ways() {
    let home = Home::with_wallets();
    let file = home.0.path().join("password");
    fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let file = file.to_str().unwrap();
    home.wallet(&["change-password", "--new-password-file", file], &[])
        .refused(77, "chmod 600");
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    let changed = home.wallet(
        &["change-password", "--new-password-file", file, "--json"],
        &[],
    );
    assert_eq!(changed.json()["lock"], "password");
    let shown = ["show", "--verify", "--json"];
    let by_file = home.wallet(&[&shown[..], &["--password-file", file]].concat(), &[]);
    assert_eq!(by_file.json()["consuming"], FIRST);
    assert_eq!(home.wallet(&shown, &[PASSWORD]).json()["consuming"], FIRST);
    home.wallet(&["show", "--no-password"], &[])
        .refused(77, "locked by a password");
    let back = home.wallet(&["change-password", "--to-key-file"], &[PASSWORD]);
    assert_eq!(back.code, 0, "{}", back.err);
    assert_eq!(home.wallet(&shown, &[]).json()["consuming"], FIRST);
    home.wallet(&["show", "--password-file", file], &[])
        .refused(77, "Leave the password out");
}

#[test]
fn a_folder_in_use_and_one_without_its_vault_are_told_apart() {
    let home = Home::with_wallets();
    let held = DataDir::open(home.data()).unwrap();
    for command in [
        &["show"][..],
        &["set-earning", SECOND],
        &["generate", "--written-down"],
    ] {
        home.wallet(command, &[]).refused(75, "masq shutdown");
    }
    drop(held);
    fs::rename(
        home.data().join("vault.json"),
        home.data().join("elsewhere"),
    )
    .unwrap();
    let lost = home.wallet(&["generate", "--written-down", "--no-password"], &[]);
    lost.refused(73, "vault.json, which holds the key to it, is missing");
    // Nothing was there and nothing is made by looking.
    let empty = Home::new();
    let shown = empty.wallet(&["show"], &[]);
    assert!(shown.out.contains("masq wallet generate"), "{}", shown.out);
    assert!(!empty.data().exists());
}
