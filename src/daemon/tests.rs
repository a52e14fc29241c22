//! Tests of the daemon with a node that does nothing.

use std::sync::Mutex;

use super::*;
use crate::control::testing::FakeNode;

fn arguments(list: &[&str]) -> Vec<OsString> {
    std::iter::once("masqd")
        .chain(list.iter().copied())
        .map(OsString::from)
        .collect()
}

/// Runs the daemon with a node that stops when asked, and asks at once.
fn daemon(list: &[&str]) -> (u8, String, String, bool) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let started = Mutex::new(false);
    let code = main_with(
        arguments(list),
        &Environment::default(),
        async |start: Start| {
            *started.lock().unwrap() = true;
            let stop = start.stop;
            stop.ask();
            let finished = async move {
                stop.draining().await;
                Ok(())
            };
            Ok(RunningNode::new(Arc::new(FakeNode::new()), finished))
        },
        &mut out,
        &mut err,
    );
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let started = *started.lock().unwrap();
    (code, text(out), text(err), started)
}

#[test]
fn runs_and_stops_cleanly() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().to_str().unwrap();
    let (code, out, err, started) = daemon(&[
        "--chain",
        "dev",
        "--payments=off",
        "--data-dir",
        folder,
        "--log",
        "off",
    ]);
    assert_eq!((code, out.as_str(), started), (code::OK, "", true), "{err}");
    assert!(temp.path().join("control.token").exists());
    assert!(!temp.path().join("control.json").exists(), "taken back");
}

#[test]
fn help_and_version_are_no_errors() {
    let (code, out, err, _) = daemon(&["--help"]);
    assert_eq!((code, err.as_str()), (code::OK, ""));
    assert!(out.contains("Exit codes") && out.contains("curl"), "{out}");
    let (code, out, _, _) = daemon(&["--version"]);
    assert_eq!(
        (code, out.as_str()),
        (code::OK, concat!("masqd ", env!("CARGO_PKG_VERSION"), "\n"))
    );
}

#[test]
fn mistakes_end_before_anything_is_touched() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("data");
    let folder = folder.to_str().unwrap();
    let (code, _, err, started) = daemon(&["--data-dir", folder, "--hop", "3"]);
    assert_eq!((code, started), (code::USAGE, false));
    assert!(err.contains("--hops"), "clap suggests: {err}");
    let (code, _, err, started) = daemon(&["--data-dir", folder, "--hops", "9"]);
    assert_eq!((code, started), (code::CONFIG, false));
    assert!(err.contains("hops (argument --hops)"), "{err}");
    assert!(!temp.path().join("data").exists());
}

#[test]
fn check_and_print_start_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("data");
    let folder = folder.to_str().unwrap();
    let base = ["--chain", "dev", "--payments=off", "--data-dir", folder];
    let (code, out, _, started) = daemon(&[&base[..], &["--check-config"]].concat());
    assert_eq!((code, started), (code::OK, false));
    assert_eq!(out, "The configuration can be used.\n");
    let (code, out, _, started) = daemon(&[&base[..], &["--print-config"]].concat());
    assert_eq!((code, started), (code::OK, false));
    assert!(out.contains("# argument --chain"), "{out}");
    // What would stop a daemon is said here as well: payments without a wallet.
    let paid = [
        "--chain",
        "dev",
        "--rpc",
        "http://127.0.0.1:9",
        "--token",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "--data-dir",
        folder,
        "--check-config",
    ];
    let (code, out, err, started) = daemon(&paid);
    assert_eq!((code, started), (code::NO_WALLET, false));
    assert!(
        out.is_empty() && err.contains("masq wallet generate"),
        "{err}"
    );
    assert!(!temp.path().join("data").exists());
}

#[test]
fn a_control_port_in_use_is_named_with_the_setting() {
    let temp = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, err, started) = daemon(&[
        "--chain",
        "dev",
        "--payments=off",
        "--log",
        "off",
        "--control",
        &address,
        "--data-dir",
        temp.path().to_str().unwrap(),
    ]);
    assert_eq!((code, started), (code::UNAVAILABLE, false));
    assert!(
        err.contains(&format!("control can't listen on {address}")),
        "{err}"
    );
    assert!(err.contains("set control to another port"), "{err}");
}

#[test]
fn a_folder_in_use_or_unusable_has_its_own_code() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().to_str().unwrap();
    let held = DataDir::open(temp.path()).unwrap();
    let (code, _, err, _) = daemon(&[
        "--chain",
        "dev",
        "--payments=off",
        "--log",
        "off",
        "--data-dir",
        folder,
    ]);
    assert_eq!(code, code::TEMPORARY);
    assert!(err.contains("another daemon uses the data folder"), "{err}");
    drop(held);
    std::fs::write(temp.path().join("file"), "").unwrap();
    let folder = format!("{folder}/file/below");
    let (code, _, err, _) = daemon(&[
        "--chain",
        "dev",
        "--payments=off",
        "--log",
        "off",
        "--data-dir",
        &folder,
    ]);
    assert_eq!(code, code::CANT_CREATE);
    assert!(err.contains("--data-dir"), "{err}");
}

#[test]
fn without_a_wallet_to_pay_with_it_does_not_start() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().to_str().unwrap();
    let base = [
        "--chain",
        "dev",
        "--log",
        "off",
        "--data-dir",
        folder,
        "--rpc",
        "http://127.0.0.1:8545",
        "--token",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    ];
    let (code, _, err, started) = daemon(&base);
    assert_eq!((code, started), (code::NO_WALLET, false));
    assert!(err.contains("`masq wallet generate`"), "{err}");
    let (code, _, err, started) = daemon(&[&base[..], &["--mode", "serve-only"]].concat());
    assert_eq!((code, started), (code::OK, true), "{err}");
}

#[test]
fn a_wrong_password_has_its_own_code_and_changes_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("data");
    let folder = folder.to_str().unwrap();
    let password = temp.path().join("password");
    let start = |text: &str| {
        std::fs::write(&password, text).unwrap();
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&password, mode).unwrap();
        daemon(&[
            "--chain",
            "dev",
            "--payments=off",
            "--log",
            "off",
            "--data-dir",
            folder,
            "--password-file",
            password.to_str().unwrap(),
        ])
    };
    let (code, _, err, started) = start("short\n");
    assert_eq!((code, started), (code::CONFIG, false));
    assert!(err.contains("too short"), "{err}");
    let (code, _, err, _) = start("a good password\n");
    assert_eq!(code, code::OK, "{err}");
    let files = ["vault.json", "node.redb"];
    let read = || files.map(|name| std::fs::read(temp.path().join("data").join(name)).unwrap());
    let before = read();
    let (code, _, err, started) = start("another password\n");
    assert_eq!((code, started), (code::NO_PERMISSION, false));
    assert!(err.contains("the password is wrong"), "{err}");
    assert!(read() == before);
    // A store of another folder, or a damaged one, is left as it is as well.
    std::fs::write(temp.path().join("data/node.redb"), b"something else").unwrap();
    let before = read();
    let (code, _, err, started) = start("a good password\n");
    assert_eq!((code, started), (code::CANT_CREATE, false));
    assert!(err.contains("node.redb is no store"), "{err}");
    assert!(read() == before);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_stop_is_left_behind() {
    let stop = Stop::new();
    let begun = tokio::time::Instant::now();
    let drain = Duration::from_secs(10);
    stop.ask();
    overdue(&stop, drain).await;
    assert_eq!(begun.elapsed(), drain + STOP_GRACE);
    stop.ask();
    let begun = tokio::time::Instant::now();
    overdue(&stop, drain).await;
    assert_eq!(begun.elapsed(), STOP_GRACE);
}

#[test]
fn sentences_for_listeners() {
    let say = |kind: std::io::ErrorKind| {
        StartError::Listen {
            setting: "socks",
            address: "127.0.0.1:1080".parse().unwrap(),
            source: kind.into(),
        }
        .to_string()
    };
    assert!(say(std::io::ErrorKind::AddrInUse).contains("set socks to another port"));
    assert!(say(std::io::ErrorKind::PermissionDenied).contains("below 1024"));
    assert!(say(std::io::ErrorKind::AddrNotAvailable).contains("does not have that address"));
}
