//! Every command against a control API on loopback with a node of fixed
//! figures behind it.

use std::{path::Path, sync::Arc, thread::JoinHandle};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    control::{
        NodeApi, Server,
        testing::{FakeNode, key},
        types::ControlFile,
    },
    datadir::DataDir,
};

/// Runs `masq`; returns exit code, output, errors.
fn masq(arguments: &[&str], environment: &[(&str, &str)]) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let arguments = std::iter::once("masq")
        .chain(arguments.iter().copied())
        .map(OsString::from);
    let environment = environment.iter().copied().collect();
    let code = run(arguments, &environment, &mut out, &mut err);
    (
        code,
        String::from_utf8(out).unwrap(),
        String::from_utf8(err).unwrap(),
    )
}

/// A served control API in a thread of its own, with its data folder.
struct Daemon {
    folder: tempfile::TempDir,
    data: DataDir,
    node: Arc<FakeNode>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    fn with(node: FakeNode) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        let token = data.control_token().unwrap();
        let node = Arc::new(node);
        let api: Arc<dyn NodeApi> = node.clone();
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
                tell.send(server.address()).unwrap();
                server.serve(token, api, stopping).await;
            });
        });
        data.announce_control(&ControlFile {
            address: told.recv().unwrap(),
            pid: 1,
            version: "0".into(),
        })
        .unwrap();
        Self {
            folder,
            data,
            node,
            stop,
            thread: Some(thread),
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn masq(&self, arguments: &[&str]) -> (u8, String, String) {
        masq(
            arguments,
            &[("MASQ_DATA_DIR", self.path().to_str().unwrap())],
        )
    }

    /// The output of a command that must work.
    fn shows(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.masq(arguments);
        assert_eq!((code, err.as_str()), (code::OK, ""), "{arguments:?}");
        out
    }

    fn end(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[test]
fn the_command_line_is_well_formed() {
    Line::command().debug_assert();
}

#[test]
fn help_goes_to_standard_output_and_names_every_command() {
    let (code, out, err) = masq(&["--help"], &[]);
    assert_eq!((code, err.as_str()), (code::OK, ""));
    for command in [
        "status",
        "doctor",
        "descriptor",
        "connection-status",
        "neighborhood-graph",
        "circuits",
        "events",
        "set",
        "bans",
        "financials",
        "payments",
        "scan",
        "prepay",
        "route",
        "settings",
        "shutdown",
        "--json",
        "--data-dir",
    ] {
        assert!(out.contains(command), "{command}: {out}");
    }
    let (code, out, _) = masq(&["--version"], &[]);
    assert_eq!(
        (code, out.as_str()),
        (code::OK, concat!("masq ", env!("CARGO_PKG_VERSION"), "\n"))
    );
}

#[test]
fn mistakes_are_usage_errors() {
    for arguments in [&["stat"][..], &[], &["set", "hops"], &["status", "--loud"]] {
        let (code, out, err) = masq(arguments, &[]);
        assert_eq!((code, out.as_str()), (code::USAGE, ""), "{arguments:?}");
        assert!(!err.is_empty());
    }
}

#[test]
fn status_for_people() {
    let daemon = Daemon::with(FakeNode::new());
    let out = daemon.shows(&["status"]);
    let expected = format!(
        "\
masqd 0.1.0 on dev, mode standard, up 3 h 12 min
Route found: circuits of 3 hops reach 1 exit.

  node        {}
  listening   127.0.0.1:6277
  socks       127.0.0.1:1080
  http        off
  hops        3
  exit        no
  circuits    2 own, 5 relayed
  flows       3 open; so far 120 opened, 2 failed, 14 plaintext
  traffic     1.2 MB sent, 80 MB received, 2.1 GB relayed
  money       Payments are made when debts are over the line.
  owes        1.5 MASQ to 3 hops, 1 debt over the line
  is owed     0.85 MASQ by 3 payers, 1 of them banned
  asks        0.000292413 MASQ for a GB as relay, 0.000586823 MASQ as exit
  memory      23 MB

Neighbours
  BBBBBBBB  entry  for 12 min
",
        key('A')
    );
    assert_eq!(out, expected);
    assert!(
        daemon
            .shows(&["status", "--addresses"])
            .contains("192.0.2.9:6277")
    );
}

#[test]
fn json_is_what_the_daemon_said() {
    let daemon = Daemon::with(FakeNode::new());
    for command in [
        "status",
        "descriptor",
        "connection-status",
        "neighborhood-graph",
        "circuits",
        "trace",
    ] {
        for arguments in [[command, "--json"], ["--json", command]] {
            let out = daemon.shows(&arguments);
            let value: serde_json::Value = serde_json::from_str(&out).unwrap();
            assert!(value.is_object() || value.is_array(), "{command}");
        }
    }
    let out = daemon.shows(&["set", "hops", "4", "--json"]);
    assert_eq!(out, "{\n  \"hops\": \"4\"\n}\n");
}

#[test]
fn the_descriptor_stands_alone_on_its_line() {
    let daemon = Daemon::with(FakeNode::new());
    assert_eq!(
        daemon.shows(&["descriptor"]),
        format!("masq://dev:{}@192.0.2.1:6277\n", key('A'))
    );
    let mut node = FakeNode::new();
    node.tracing = false;
    let daemon = Daemon::with(node);
    let (code, out, err) = daemon.masq(&["descriptor"]);
    assert_eq!((code, out.as_str()), (code::REFUSED, ""));
    assert_eq!(
        err,
        "masq: this node has no descriptor\n      Set advertise.\n"
    );
}

#[test]
fn the_doctor_tells_the_worst_first_and_its_exit_code_whether_there_is_a_fault() {
    let mut node = FakeNode::new();
    node.money = None;
    let daemon = Daemon::with(node);
    let (code, out, err) = daemon.masq(&["doctor"]);
    assert_eq!((code, err.as_str()), (code::FAULT, ""));
    assert_eq!(
        out,
        "\
1 fault, 1 warning.

  FAULT    neighbours     There is no neighbour (ABCDEFGH: gone [2J).
                          Get another descriptor.

  warning  router         The router is being asked to let other nodes through.
                          Ask again in half a minute.

  ok       clock          The clock agrees with those of 2 neighbours.
"
    );
    let mut node = FakeNode::new();
    node.tracing = false;
    let daemon = Daemon::with(node);
    let (code, out, _) = daemon.masq(&["doctor"]);
    assert_eq!(code, code::OK);
    assert!(out.starts_with("No fault, 1 warning.\n"), "{out}");
    let (code, out, _) = daemon.masq(&["doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["running"]), (code::OK, &true.into()));
    assert_eq!(report["findings"][0]["check"], "clock");
}

#[test]
fn the_doctor_needs_no_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let arguments = ["--data-dir", path, "doctor", "--json"];
    // Ports of its own, so that other programs on this machine don't matter.
    let environment = [
        ("MASQ_LISTEN", "127.0.0.1:0"),
        ("MASQ_SOCKS", "off"),
        ("MASQ_HTTP", "off"),
        ("MASQ_PAYMENTS", "off"),
    ];
    let (code, out, err) = masq(&arguments, &environment);
    assert_eq!((code, err.as_str()), (code::FAULT, ""));
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&report["running"], &report["faults"]),
        (&false.into(), &1.into())
    );
    assert_eq!(report["findings"][0]["check"], "daemon");
    let (_, text, _) = masq(&["--data-dir", path, "doctor"], &environment);
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
}

#[test]
fn wallets_are_shown_by_the_daemon_that_has_them_open() {
    let daemon = Daemon::with(FakeNode::new());
    let wallet = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
    for command in [&["wallet", "show"][..], &["wallet", "show", "--verify"]] {
        let (code, out, err) = daemon.masq(command);
        assert_eq!(code, code::OK, "{err}");
        assert!(out.contains(wallet) && out.contains("a key file"), "{out}");
        assert!(out.contains("none: set one with `masq wallet set-earning`"));
    }
    let shown = daemon.shows(&["wallet", "show", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["consuming"], wallet);
    assert_eq!(
        (&shown["lock"], &shown["verified"]),
        (&"key-file".into(), &false.into())
    );
    // What changes something says that the daemon must be stopped.
    let (code, _, err) = daemon.masq(&["wallet", "set-earning", wallet, "--no-password"]);
    assert_eq!(code, code::TEMPORARY);
    assert!(err.contains("masq shutdown"), "{err}");
}

#[test]
fn connection_status_shows_what_went_wrong_without_control_characters() {
    let daemon = Daemon::with(FakeNode::new());
    assert_eq!(
        daemon.shows(&["connection-status"]),
        "\
Connected to a neighbour for 12 s: no exit is within 3 hops yet.

  neighbours   2, 1 of them by entry links
  known        4 nodes, 1 exit

Lately
  3 min ago  seed 1 refused: it is of another chain [2J
"
    );
}

#[test]
fn the_graph_in_text_and_for_graphviz() {
    let daemon = Daemon::with(FakeNode::new());
    let expected = "\
5 nodes, 1 exit, 3 listed edges

  node      away      does         country  record         score                                                       links
  AAAAAAAA  this      relay        -        1 min 2 s old  -                                                           BBBBBBBB CCCCCCCC
  BBBBBBBB  1, entry  relay        -        1 min 2 s old  97: 12 ms, 4.2 MB/s, 3 % failed                             AAAAAAAA CCCCCCCC
  CCCCCCCC  1         relay        -        1 min 2 s old  -                                                           AAAAAAAA BBBBBBBB DDDDDDDD
  DDDDDDDD  2         relay, exit  CZ       1 min 2 s old  19: set aside for 1 min 20 s, disputed for 25 min, avoided  CCCCCCCC
  EEEEEEEE  -         consumes     -        1 min 2 s old  -
";
    assert_eq!(daemon.shows(&["neighborhood-graph"]), expected);
    assert_eq!(
        daemon.shows(&["neighbourhood-graph"]),
        expected,
        "spelt either way"
    );
    let dot = daemon.shows(&["neighborhood-graph", "--dot"]);
    assert!(
        dot.starts_with("graph neighbourhood {\n") && dot.ends_with("}\n"),
        "{dot}"
    );
    assert!(dot.contains("\"BBBBBBBB\" -- \"CCCCCCCC\";"), "{dot}");
    assert!(
        dot.contains("\"AAAAAAAA\" -- \"BBBBBBBB\" [style=dashed, label=\"entry\"];"),
        "{dot}"
    );
    assert!(dot.contains("\"DDDDDDDD\" [shape=doublecircle];"), "{dot}");
}

#[test]
fn circuits_hop_by_hop() {
    let daemon = Daemon::with(FakeNode::new());
    assert_eq!(
        daemon.shows(&["circuits"]),
        "\
circuit 7: open, 4 min 5 s old, 3 flows, 1.2 MB sent, 80 MB received, round 1.2 ms
  over   you → BBBBBBBB → CCCCCCCC → DDDDDDDD (exit, CZ)
  back   DDDDDDDD (exit, CZ) → EEEEEEEE → BBBBBBBB → you
"
    );
}

#[test]
fn the_trace_is_a_table_or_says_how_to_get_one() {
    let daemon = Daemon::with(FakeNode::new());
    let out = daemon.shows(&["trace"]);
    assert!(
        out.contains("over relay") && out.contains("abababababababab"),
        "{out}"
    );
    assert!(out.ends_with("2 older pieces were dropped.\n"), "{out}");
    let mut node = FakeNode::new();
    node.tracing = false;
    let (code, _, err) = Daemon::with(node).masq(&["trace"]);
    assert_eq!(code, code::REFUSED);
    assert_eq!(
        err,
        "masq: This node keeps no trace.\n      Set debug_trace on chain dev.\n"
    );
}

#[test]
fn hops_are_set_and_mistakes_explained() {
    let daemon = Daemon::with(FakeNode::new());
    assert_eq!(
        daemon.shows(&["set", "hops", "2-4"]),
        "Circuits built from now on have 2-4 hops.\n"
    );
    let (code, _, err) = daemon.masq(&["set", "hops", "9"]);
    assert_eq!(code, code::REFUSED);
    assert_eq!(
        err,
        "masq: 9 hops are more than the 6 a circuit can have.\n      \
         Write a number from 1 to 6, or a range such as \"3-4\".\n"
    );
}

#[test]
fn bans_in_words() {
    let daemon = Daemon::with(FakeNode::new());
    let listed = "\
2 bans

  node      banned         still        why
  DDDDDDDD  3 min 2 s ago  23 h 56 min  it signed two different records with one version
  EEEEEEEE  0 s ago        forever      banned by hand
";
    assert_eq!(daemon.shows(&["bans", "list"]), listed);
    let evidence = daemon.shows(&["bans", "list", "--evidence"]);
    assert!(evidence.starts_with(listed), "{evidence}");
    let shown = format!("Evidence against {}\nabcd\n", key('D'));
    assert!(
        evidence.contains(&shown) && evidence.contains("masq bans check HEX"),
        "{evidence}"
    );

    let node = key('B');
    assert_eq!(
        daemon.shows(&["bans", "add", &node]),
        "Node BBBBBBBB is banned until you lift it: masq bans remove BBBBBBBB\n"
    );
    assert_eq!(
        daemon.shows(&["bans", "add", &node, "--for", "24h", "--reason", "spam"]),
        "Node BBBBBBBB is banned for 1 d.\n"
    );
    assert_eq!(
        daemon.shows(&["bans", "remove", &node]),
        "The ban of BBBBBBBB is lifted; it may come back.\n"
    );
    let json = daemon.shows(&["bans", "add", &node, "--json", "--reason", "spam"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["node"], &json["reason"]),
        (&node.into(), &"spam".into())
    );

    for (arguments, say) in [
        (["bans", "add", &key('A')], "AAAAAAAA is this node itself"),
        (["bans", "remove", &key('A')], "Node AAAAAAAA is not banned"),
    ] {
        let (code, out, err) = daemon.masq(&arguments);
        assert_eq!((code, out.as_str()), (code::REFUSED, ""));
        assert!(err.contains(say), "{err}");
    }
    let (code, _, err) = daemon.masq(&["bans", "add", &key('B'), "--for", "soon"]);
    assert_eq!(code, code::USAGE);
    assert!(err.contains("30m, 24h, 7d or forever"), "{err}");
}

#[test]
fn evidence_is_checked_without_a_daemon() {
    // The proof of the specification's test vectors, as evidence.
    let specification = include_str!("../../docs/spec/gossip.md");
    let line = specification
        .lines()
        .find_map(|line| line.strip_prefix("Evidence: "))
        .unwrap();
    let (code, out, err) = masq(&["bans", "check", line], &[]);
    assert_eq!((code, err.as_str()), (code::OK, ""));
    assert!(
        out.starts_with(
            "It is proof. Node iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w\non chain dev"
        ),
        "{out}"
    );
    assert!(
        out.contains("with version 7. They differ in: exit policy."),
        "{out}"
    );
    let json = masq(&["bans", "check", line, "--json"], &[]).1;
    assert!(json.contains("\"lie\": \"equivocation\""), "{json}");
    let changed = line.replacen("00000000000007", "00000000000008", 1);
    for bad in ["", "xyz", "00", &line[..line.len() - 2], &changed] {
        let (code, out, err) = masq(&["bans", "check", bad], &[]);
        assert_eq!((code, out.as_str()), (code::REFUSED, ""), "{bad}");
        assert!(err.contains("this proves nothing"), "{err}");
    }
}

#[test]
fn shutdown_waits_until_the_daemon_is_gone() {
    let mut daemon = Daemon::with(FakeNode::new());
    assert_eq!(
        daemon.shows(&["shutdown", "--no-wait"]),
        "The daemon is stopping.\n"
    );
    assert_eq!(*daemon.node.shutdowns.lock().unwrap(), [false]);
    let folder = daemon.path().to_str().unwrap().to_owned();
    let waiting =
        std::thread::spawn(move || masq(&["shutdown", "--now"], &[("MASQ_DATA_DIR", &folder)]));
    while daemon.node.shutdowns.lock().unwrap().len() < 2 {
        std::thread::yield_now();
    }
    daemon.end();
    let (code, out, err) = waiting.join().unwrap();
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (code::OK, "The daemon has stopped.\n", "")
    );
    assert_eq!(*daemon.node.shutdowns.lock().unwrap(), [false, true]);
}

#[test]
fn no_daemon_is_said_with_the_folder_and_a_remedy() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().to_str().unwrap();
    let (code, out, err) = masq(&["status"], &[("MASQ_DATA_DIR", folder)]);
    assert_eq!((code, out.as_str()), (code::UNAVAILABLE, ""));
    assert!(
        err.contains(folder) && err.contains("Start it with `masqd`"),
        "{err}"
    );

    let (code, _, err) = masq(&["status"], &[]);
    assert_eq!(code, code::USAGE);
    assert!(err.contains("--data-dir"), "{err}");
}

#[test]
fn a_crashed_daemon_a_wrong_token_and_a_stranger_are_told_apart() {
    let mut daemon = Daemon::with(FakeNode::new());
    let token = daemon.path().join("control.token");
    let right = std::fs::read(&token).unwrap();
    let mut wrong = right.clone();
    wrong[0] = if wrong[0] == b'A' { b'B' } else { b'A' };
    std::fs::write(&token, &wrong).unwrap();
    let (code, _, err) = daemon.masq(&["status"]);
    assert_eq!(code, code::NO_PERMISSION);
    assert!(err.contains("does not accept the token"), "{err}");
    std::fs::write(&token, &right).unwrap();

    daemon.end();
    let (code, _, err) = daemon.masq(&["status"]);
    assert_eq!(code, code::UNAVAILABLE);
    assert!(err.contains("may have crashed"), "{err}");

    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let control = ControlFile {
        address: stranger.local_addr().unwrap(),
        pid: 1,
        version: "0".into(),
    };
    daemon.data.announce_control(&control).unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = stranger.accept().unwrap();
        stream.write_all(b"220 mail.example ESMTP\r\n").unwrap();
    });
    let (code, _, err) = daemon.masq(&["status"]);
    answering.join().unwrap();
    assert_eq!(code, code::PROTOCOL);
    assert!(err.contains("not masqd's"), "{err}");
}

mod money;
