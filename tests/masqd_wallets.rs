//! Scenario S30 with the real `masqd`: a node that should originate and has nothing to pay with stops at
//! its start with a sentence and an exit code; one that only serves needs no such wallet.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Exit code for an input that is missing (`sysexits.h`).
const NO_INPUT: i32 = 66;
/// Real time, for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const EARNING: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
const TOKEN: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

/// A daemon that pays on a chain which nobody answers for: silence is waited out, it is no mistake.
fn masqd(data: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_masqd"));
    command
        .env_clear()
        .args([
            "--chain",
            "dev",
            "--token",
            TOKEN,
            "--rpc",
            "http://127.0.0.1:9",
        ])
        .args(["--control", "127.0.0.1:0", "--listen", "127.0.0.1:0"])
        .args(["--earning-wallet", EARNING])
        .arg("--data-dir")
        .arg(data)
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Waits for an end that has to come; kills it otherwise.
fn ended(mut child: Child) -> Output {
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it did not end: {:?}", child.wait_with_output());
        }
        // The end of another process is no event here.
        std::thread::sleep(Duration::from_millis(50));
    }
    child.wait_with_output().unwrap()
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    (temp, data)
}

#[test]
fn s30_without_a_wallet_to_pay_with_it_stops_with_a_sentence_and_a_code() {
    for mode in ["standard", "consume-only", "originate-only"] {
        let (_temp, data) = folder();
        let more = ["--mode", mode, "--socks", "127.0.0.1:0", "--http", "off"];
        let output = ended(masqd(&data, &more).spawn().unwrap());
        let said =
            String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(NO_INPUT), "{mode}: {said}");
        assert!(said.contains("masq wallet generate"), "{mode}: {said}");
        assert!(!said.contains("panicked"), "{mode}: {said}");
    }
}

#[test]
fn s30_a_node_that_only_serves_needs_none() {
    let (_temp, data) = folder();
    let mut child = masqd(&data, &["--mode", "serve-only"]).spawn().unwrap();
    let began = Instant::now();
    let control = data.join("control.json");
    while !fs::exists(&control).unwrap() {
        if let Some(status) = child.try_wait().unwrap() {
            panic!("{status}: {:?}", child.wait_with_output());
        }
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("no control API: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let stopped = Command::new(env!("CARGO_BIN_EXE_masq"))
        .env_clear()
        .arg("--data-dir")
        .arg(&data)
        .args(["shutdown", "--now"])
        .output()
        .unwrap();
    assert!(stopped.status.success(), "{stopped:?}");
    let output = ended(child);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
