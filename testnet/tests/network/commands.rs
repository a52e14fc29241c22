//! `up --detach`, `status`, `down`, and that nothing is left running, whatever
//! happens to the process that started the nodes.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use crate::support::{alone, eventually};
use masq_testnet::process::ProcessId;
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

/// The processes that `parent` started and that still run.
fn children(parent: u32) -> Vec<ProcessId> {
    let all = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            let stat = stat.unwrap_or_default();
            let after_name = stat.rsplit(')').next().unwrap_or_default();
            after_name.split_whitespace().nth(1) == Some(&parent.to_string())
        })
        .filter_map(|pid| ProcessId::of(pid).ok())
        .collect()
}

/// Arguments for a small mesh that needs no route, on free ports.
const SMALL: [&str; 11] = [
    "up",
    "--chain=none",
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

    let file = Path::new(&dir).join("testnet.json");
    let written = std::fs::read(&file).unwrap();
    let down = run(runtime.path(), &["down"]).await;
    assert!(down.status.success(), "{}", text(&down));
    assert!(!state.is_alive(), "something is left running");
    assert!(!Path::new(&dir).exists(), "the temporary folder is left");
    let gone = run(runtime.path(), &["status"]).await;
    assert_eq!(gone.status.code(), Some(69), "{}", text(&gone));

    // A folder that stayed is told apart from a mesh that is up.
    let kept = runtime.path().join("kept");
    std::fs::create_dir(&kept).unwrap();
    std::fs::write(kept.join("testnet.json"), written).unwrap();
    let ended = run(runtime.path(), &["status", "--dir", kept.to_str().unwrap()]).await;
    assert_eq!(ended.status.code(), Some(69), "{}", text(&ended));
    assert!(text(&ended).contains("is down"), "{}", text(&ended));
    assert!(!text(&ended).contains("Try:"), "{}", text(&ended));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_while_detaching_ends_the_background_process() {
    let _alone = alone();
    let runtime = tempfile::tempdir().unwrap();
    let dir = runtime.path().join("net");
    // A daemon that never answers keeps the mesh from forming.
    let daemon = runtime.path().join("masqd");
    std::fs::write(&daemon, "#!/bin/sh\ncat\n").unwrap();
    let mut mode = std::fs::metadata(&daemon).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
    std::fs::set_permissions(&daemon, mode).unwrap();
    let mut up = testnet(runtime.path(), &SMALL);
    let mut up = up
        .arg("--detach")
        .arg("--masqd")
        .arg(&daemon)
        .arg("--dir")
        .arg(&dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("a first node", Duration::from_secs(20), || async {
        dir.join("n02-seed/masqd.log").exists().then_some(())
    })
    .await;
    let background = children(up.id().unwrap());
    assert_eq!(background.len(), 1, "{background:?}");
    let own = ProcessId::of(up.id().unwrap()).unwrap();
    // SIGTERM: it ends by itself, and the background process before it.
    let asked = own.end(Duration::from_secs(20));
    let (by_itself, status) = tokio::join!(asked, up.wait());
    assert!(by_itself);
    assert_eq!(status.unwrap().code(), Some(130));
    assert!(!background[0].is_alive(), "the background process is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_told_by_its_option() {
    let runtime = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let up = run(
        runtime.path(),
        &["up", "--chain=none", "--detach", "--socks", &addr],
    )
    .await;
    let said = text(&up);
    assert_eq!(up.status.code(), Some(1), "{said}");
    assert!(
        said.contains("SOCKS5") && said.contains("--socks"),
        "{said}"
    );
    assert!(!said.contains("control API"), "{said}");
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
    let no_exit = run(runtime.path(), &["up", "--exits", "0"]).await;
    assert_eq!(no_exit.status.code(), Some(64));
    assert!(
        text(&no_exit).contains("--ready neighbours"),
        "{}",
        text(&no_exit)
    );
}
