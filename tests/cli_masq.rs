//! `masq` and `masqd` as a person meets them: real binaries, real exit codes.

#![allow(clippy::unwrap_used)]

use masq::config::Config;
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStderr, Command, Output, Stdio},
};

fn run(binary: &str, home: &Path, arguments: &[&str]) -> Output {
    Command::new(binary)
        .args(arguments)
        .env_clear()
        .env("HOME", home)
        .output()
        .unwrap()
}

fn masq(home: &Path, arguments: &[&str]) -> Output {
    run(env!("CARGO_BIN_EXE_masq"), home, arguments)
}

fn masqd(home: &Path, arguments: &[&str]) -> Output {
    run(env!("CARGO_BIN_EXE_masqd"), home, arguments)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_stranger_gets_help() {
    let home = tempfile::tempdir().unwrap();
    for output in [
        masq(home.path(), &["--help"]),
        masqd(home.path(), &["--help"]),
    ] {
        assert_eq!(output.status.code(), Some(0));
        let help = text(&output.stdout);
        assert!(
            help.contains("Usage:") && help.contains("Examples:"),
            "{help}"
        );
        assert!(output.stderr.is_empty());
        let widest = help.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 100, "a line of {widest} characters");
    }
}

#[test]
fn without_a_daemon_masq_says_so() {
    let home = tempfile::tempdir().unwrap();
    for command in [
        "status",
        "descriptor",
        "connection-status",
        "neighborhood-graph",
        "circuits",
        "shutdown",
    ] {
        let output = masq(home.path(), &[command]);
        assert_eq!(output.status.code(), Some(69), "{command}");
        let error = text(&output.stderr);
        assert!(
            error.contains("no daemon runs") && error.contains("masqd"),
            "{error}"
        );
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_configuration_can_be_checked_and_printed() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("my.toml");
    std::fs::write(&file, "chain = \"dev\"\nhops = 2\npayments = false\n").unwrap();
    let file = file.to_str().unwrap();
    let output = masqd(home.path(), &["--config", file, "--check-config"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let output = masqd(home.path(), &["--config", file, "--print-config"]);
    assert!(
        text(&output.stdout).contains(&format!("# {file}:2")),
        "{}",
        text(&output.stdout)
    );

    std::fs::write(file, "chain = \"dev\"\nmin-hops = 2\n").unwrap();
    let output = masqd(home.path(), &["--config", file]);
    assert_eq!(output.status.code(), Some(78));
    let error = text(&output.stderr);
    assert!(
        error.contains(&format!("{file}:2")) && error.contains("Did you mean `hops`?"),
        "{error}"
    );
}

#[test]
fn an_unusable_data_folder_ends_the_daemon_with_a_sentence() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    std::fs::write(&file, "").unwrap();
    let folder = file.join("folder");
    let output = masqd(
        home.path(),
        &[
            "--chain",
            "dev",
            "--payments=off",
            "--data-dir",
            folder.to_str().unwrap(),
        ],
    );
    assert_eq!(output.status.code(), Some(73));
    assert!(text(&output.stderr).contains("Choose another with --data-dir"));
}

/// A daemon on free ports that has said that it runs. Ended with the test.
struct Daemon {
    child: Child,
    // Held: a daemon whose log has no reader would stop at its next line.
    log: BufReader<ChildStderr>,
}

impl Daemon {
    fn start(home: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_masqd"))
            .args([
                "--chain",
                "dev",
                "--payments=off",
                "--listen",
                "127.0.0.1:0",
                "--socks",
                "127.0.0.1:0",
            ])
            .args(["--http", "127.0.0.1:0", "--drain-seconds", "1"])
            .args(more)
            .env_clear()
            .env("HOME", home)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut daemon = Self { child, log };
        daemon.wait_for("running");
        daemon
    }

    /// Reads the log until a line has these words.
    fn wait_for(&mut self, words: &str) {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert_ne!(
                self.log.read_line(&mut line).unwrap(),
                0,
                "the log ended before: {words}"
            );
        }
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_daemon_is_found_answers_and_stops_when_asked() {
    let home = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(home.path(), &[]);
    let output = masq(home.path(), &["status"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let status = text(&output.stdout);
    assert!(status.contains("on dev, mode standard"), "{status}");
    assert!(status.contains("Not connected: "), "{status}");

    let output = masq(home.path(), &["wallet", "show"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("masq wallet generate"));

    let second = masqd(home.path(), &["--chain", "dev", "--payments=off"]);
    assert_eq!(second.status.code(), Some(75));
    assert!(text(&second.stderr).contains("another daemon uses the data folder"));

    let output = masq(home.path(), &["shutdown"]);
    assert_eq!(
        text(&output.stdout),
        "The daemon has stopped.\n",
        "{}",
        text(&output.stderr)
    );
    assert_eq!(daemon.exit_code(), Some(0));
    assert_eq!(masq(home.path(), &["status"]).status.code(), Some(69));
}

#[test]
fn sigterm_is_a_clean_stop_and_the_key_stays() {
    let home = tempfile::tempdir().unwrap();
    let node = |home: &Path| {
        let output = masq(home, &["status", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        status["node"].as_str().unwrap().to_owned()
    };
    let mut keys = Vec::new();
    for _ in 0..2 {
        let mut daemon = Daemon::start(home.path(), &[]);
        keys.push(node(home.path()));
        let id = daemon.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(daemon.exit_code(), Some(0));
    }
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn a_record_version_is_on_disk_before_it_is_used() {
    // Used twice, it would prove the node a liar: whoever restarts at once must know of it.
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".local/share/masq");
    let mut config = Config::new(&folder);
    config.payments = false;
    let mut before = 0;
    for _ in 0..3 {
        let mut daemon = Daemon::start(home.path(), &[]);
        daemon.child.kill().unwrap();
        daemon.child.wait().unwrap();
        let remembered = masq::safe::peek(&config, &folder).unwrap().unwrap();
        let version = remembered.record_version;
        assert!(version > before + 60, "{version} after {before}");
        before = version;
    }
}

#[test]
fn a_ban_outlives_the_daemon() {
    let home = tempfile::tempdir().unwrap();
    // The key of the secret key of 32 bytes 0x01.
    let node = "iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w";
    let mut daemon = Daemon::start(home.path(), &[]);
    let output = masq(home.path(), &["bans", "add", "iojj3XQJ"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("The key of no known node begins with iojj3XQJ"));
    let output = masq(home.path(), &["bans", "add", node, "--reason", "it spams"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();

    let _daemon = Daemon::start(home.path(), &[]);
    let output = masq(home.path(), &["bans", "list"]);
    assert!(text(&output.stdout).contains("iojj3XQJ") && text(&output.stdout).contains("it spams"));
    let output = masq(home.path(), &["bans", "add", node]);
    assert!(text(&output.stderr).contains("Node iojj3XQJ is banned already: it spams."));
    let output = masq(home.path(), &["bans", "remove", "iojj3XQJ"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let output = masq(home.path(), &["bans", "remove", node]);
    assert!(text(&output.stderr).contains("Node iojj3XQJ is not banned."));
    assert_eq!(
        text(&masq(home.path(), &["bans", "list"]).stdout),
        "No node is banned.\n"
    );
}

#[test]
fn a_daemon_goes_when_its_parent_closes_standard_input() {
    let home = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(home.path(), &["--exit-with-stdin"]);
    drop(daemon.child.stdin.take());
    assert_eq!(daemon.exit_code(), Some(0));
    assert!(!home.path().join(".local/share/masq/control.json").exists());
}

#[test]
fn a_port_for_nodes_in_use_is_named_with_its_setting() {
    let home = tempfile::tempdir().unwrap();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let output = masqd(
        home.path(),
        &[
            "--chain",
            "dev",
            "--payments=off",
            "--socks",
            "off",
            "--http",
            "off",
            "--listen",
            &address,
        ],
    );
    assert_eq!(output.status.code(), Some(69), "{}", text(&output.stderr));
    let error = text(&output.stderr);
    assert!(
        error.contains("listen") && error.contains(&address),
        "{error}"
    );
}

#[test]
fn a_proxy_port_in_use_is_named_with_its_setting() {
    let home = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = masqd(
        home.path(),
        &[
            "--chain",
            "dev",
            "--payments=off",
            "--listen",
            "127.0.0.1:0",
            "--http",
            "off",
            "--socks",
            &address,
        ],
    );
    assert_eq!(output.status.code(), Some(69), "{}", text(&output.stderr));
    let error = text(&output.stderr);
    assert!(
        error.contains("socks") && error.contains(&address),
        "{error}"
    );
}
