//! `up --detach`, `status`, `down`, and that nothing is left running, whatever
//! happens to the process that started the nodes.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use crate::support::{alone, eventually};
use masq_testnet::state::NetworkState;
use tokio::process::Command;

fn testnet(runtime: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_masq-testnet"));
    command
        .args(args)
        .env("XDG_RUNTIME_DIR", runtime)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn run(runtime: &Path, args: &[&str]) -> Output {
    let run = testnet(runtime, args).output();
    tokio::time::timeout(Duration::from_secs(90), run)
        .await
        .unwrap()
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Arguments for a small mesh that needs no route, on free ports.
const SMALL: [&str; 10] = [
    "up",
    "--nodes",
    "3",
    "--exits",
    "0",
    "--ready",
    "neighbours",
    "--socks",
    "127.0.0.1:0",
    "--http=127.0.0.1:0",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detached_mesh_is_found_again_and_ended() {
    let _alone = alone();
    let runtime = tempfile::tempdir().unwrap();
    let detached: Vec<_> = SMALL.iter().copied().chain(["--detach"]).collect();
    let up = run(runtime.path(), &detached).await;
    assert!(up.status.success(), "{}", text(&up));
    assert!(
        text(&up).contains("curl --socks5-hostname"),
        "{}",
        text(&up)
    );

    let again = run(runtime.path(), &detached).await;
    assert_eq!(again.status.code(), Some(69));
    assert!(text(&again).contains("already up"), "{}", text(&again));

    let status = run(runtime.path(), &["status", "--json"]).await;
    let seen: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(seen["nodes"].as_array().unwrap().len(), 3);
    assert!(
        seen["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .all(|n| n["running"] == true)
    );
    let dir = seen["dir"].as_str().unwrap().to_owned();
    let state = NetworkState::load(Path::new(&dir)).unwrap();
    assert!(state.is_alive());

    let table = text(&run(runtime.path(), &["status"]).await);
    assert!(
        table.contains("n01-client") && table.contains("n02-seed"),
        "{table}"
    );

    let down = run(runtime.path(), &["down"]).await;
    assert!(down.status.success(), "{}", text(&down));
    assert!(!state.is_alive(), "something is left running");
    assert!(!Path::new(&dir).exists(), "the temporary folder is left");
    let gone = run(runtime.path(), &["status"]).await;
    assert_eq!(gone.status.code(), Some(69), "{}", text(&gone));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_do_not_outlive_the_process_that_started_them() {
    let _alone = alone();
    let runtime = tempfile::tempdir().unwrap();
    let dir = runtime.path().join("net");
    let mut up = testnet(runtime.path(), &SMALL);
    let mut up = up
        .arg("--dir")
        .arg(&dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let state = eventually("the mesh", Duration::from_secs(60), || async {
        let state = NetworkState::load(&dir).ok()?;
        (state.socks.is_some() && state.nodes.len() == 3).then_some(state)
    })
    .await;
    // Not even a chance to clean up.
    up.kill().await.unwrap();
    eventually(
        "the nodes ending by themselves",
        Duration::from_secs(20),
        || async { (!state.is_alive()).then_some(()) },
    )
    .await;
}

#[tokio::test]
async fn wrong_usage_is_told_in_a_sentence() {
    let runtime = tempfile::tempdir().unwrap();
    let none = run(runtime.path(), &["down"]).await;
    assert_eq!(none.status.code(), Some(69));
    assert!(text(&none).contains("no testnet is up"), "{}", text(&none));
    let few = run(runtime.path(), &["demo", "--nodes", "4", "--exits", "3"]).await;
    assert_eq!(few.status.code(), Some(64));
    assert!(text(&few).contains("--nodes"), "{}", text(&few));
}
