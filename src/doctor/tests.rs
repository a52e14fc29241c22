//! Each fault with its sentences, from facts that show it and nothing else.

use std::io::{Error, ErrorKind};
use std::path::PathBuf;

use masq_gossip::{NodeKey, RefuseReason};

use super::look::{Busy, Files, Folder};
use super::offline::Silence;
use super::*;
use crate::reach::{Idle, MapError, Mapped, Protocol};

/// A node at home that lacks nothing.
fn well() -> Facts {
    Facts {
        mode: Mode::Standard,
        dev: false,
        uptime: Duration::from_secs(600),
        clocks: vec![clock(1, -1, true), clock(2, -3, true)],
        listening: vec!["0.0.0.0:6277".parse().unwrap()],
        local: Some([192, 168, 1, 5].into()),
        mapping: MappingState::Mapped(mapped(6277)),
        advertised: Some("203.0.113.9".into()),
        reach: Some(reach(ReachOutcome::Reached)),
        dialled_from_outside: 1,
        dialled: 1,
        neighbours: 4,
        entries: 1,
        seeds: 1,
        remembered: 3,
        attempts: Vec::new(),
        stage: Stage::RouteFound,
        hops: ("3".into(), 3),
        nodes: 30,
        exits: 5,
        usable_exits: 5,
        paid_nodes: false,
        resolver: None,
        folder: Folder::Private,
        files: Some(Files {
            open: Some(40),
            limit: 65_536,
        }),
    }
}

fn clock(node: u8, ahead: i64, settled: bool) -> ClockView {
    ClockView {
        node: NodeKey([node; 32]),
        ahead,
        settled,
    }
}

fn mapped(port: u16) -> Mapped {
    Mapped {
        protocol: Protocol::NatPmp,
        internal: "192.168.1.5:6277".parse().unwrap(),
        external: format!("203.0.113.9:{port}").parse().unwrap(),
        lifetime: 3600,
    }
}

fn reach(outcome: ReachOutcome) -> ReachFact {
    ReachFact {
        outcome,
        asked: vec![6277],
        reached: if outcome == ReachOutcome::Reached {
            vec![6277]
        } else {
            vec![]
        },
        seen: Some([203, 0, 113, 9].into()),
    }
}

fn failed(error: MapError) -> MappingState {
    MappingState::Failed(vec![
        (Protocol::Pcp, MapError::NoAnswer),
        (Protocol::Upnp, error),
    ])
}

fn attempt(why: SeedFailure) -> Vec<(String, SeedFailure)> {
    vec![("ABCDEFGH".into(), why)]
}

/// What is wrong, as `verdict check: what | remedy`.
fn wrong(facts: &Facts) -> Vec<String> {
    let report = Report::new(true, judge(facts));
    let wrong = report.findings.iter().filter(|f| f.verdict != Verdict::Ok);
    wrong.map(line).collect()
}

fn line(finding: &Finding) -> String {
    let Finding {
        check,
        verdict,
        what,
        remedy,
    } = finding;
    let remedy = remedy.as_deref().unwrap_or("");
    format!("{verdict:?} {check}: {what} | {remedy}")
}

#[test]
fn payments_that_are_off_where_hops_ask_for_money() {
    let no_exit = Facts {
        usable_exits: 0,
        paid_nodes: true,
        stage: Stage::ConnectedToNeighbour,
        ..well()
    };
    let faults: Vec<_> = (judge(&no_exit).into_iter())
        .filter(|finding| finding.verdict != Verdict::Ok)
        .collect();
    // One cause, one fault.
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!(faults[0].check, Check::Exits);
    assert!(
        faults[0].what.contains("serves unpaid") && faults[0].what.contains("payments are off")
    );
    let no_relay = Facts {
        usable_exits: 1,
        ..no_exit
    };
    let faults = judge(&no_relay);
    let route = faults.iter().find(|finding| finding.check == Check::Route);
    let route = route.unwrap();
    assert_eq!(route.verdict, Verdict::Fault);
    assert!(route.what.contains("payments are off here"), "{route:?}");
    // A node that serves only does not care.
    let serves = Facts {
        mode: Mode::ServeOnly,
        usable_exits: 0,
        ..well()
    };
    assert!(
        judge(&serves)
            .iter()
            .all(|finding| finding.verdict == Verdict::Ok)
    );
}

#[test]
fn one_hop_without_an_exit_beside_it() {
    let facts = Facts {
        hops: ("1".into(), 1),
        stage: Stage::ConnectedToNeighbour,
        ..well()
    };
    let findings = judge(&facts);
    let route = findings
        .iter()
        .find(|finding| finding.check == Check::Route);
    let route = route.unwrap();
    assert!(route.what.contains("1 hop"));
    assert!(
        route
            .remedy
            .as_ref()
            .is_some_and(|remedy| remedy.contains("more hops"))
    );
}

#[test]
fn a_healthy_node_gives_no_cause_for_complaint() {
    assert_eq!(wrong(&well()), [""; 0]);
    for mode in [Mode::ConsumeOnly, Mode::OriginateOnly, Mode::ServeOnly] {
        let accepts = mode.accepts_connections();
        let facts = Facts {
            mode,
            listening: if accepts { well().listening } else { vec![] },
            mapping: if accepts {
                well().mapping
            } else {
                MappingState::Idle(Idle::AcceptsNone)
            },
            reach: if accepts { well().reach } else { None },
            entries: usize::from(mode.originates()),
            ..well()
        };
        assert_eq!(wrong(&facts), [""; 0], "{mode}");
    }
    let zero = Facts {
        mode: Mode::ZeroHop,
        neighbours: 0,
        resolver: Some(Ok(Duration::from_millis(9))),
        ..well()
    };
    assert_eq!(wrong(&zero), [""; 0]);
}

/// One case: what is changed, and the words that must come, in order of the report.
type Case = (fn(&mut Facts), &'static [&'static str]);

const CASES: &[Case] = &[
    // Clock.
    (
        |f| {
            f.clocks = vec![
                clock(1, 700, false),
                clock(2, 650, false),
                clock(3, -900, true),
            ]
        },
        &[
            "Fault clock: This machine's clock is about 10 min behind those of 3 neighbours. | Set it right",
        ],
    ),
    (
        |f| f.clocks = vec![clock(1, -9000, true), clock(2, -8900, true)],
        &[
            "Fault clock: This machine's clock is about 2 hours ahead of those of 2 neighbours. | Set it right",
        ],
    ),
    // One liar among three, and records that are only old.
    (
        |f| {
            f.clocks = vec![
                clock(1, -1, true),
                clock(2, 0, true),
                clock(3, 90_000, true),
            ]
        },
        &[],
    ),
    (|f| f.clocks = vec![clock(1, -500, false)], &[]),
    (|f| f.clocks = vec![], &[]),
    // Ports.
    (
        |f| f.listening.clear(),
        &["Fault ports: The node does not listen anywhere any more. | Look at its log"],
    ),
    (
        |f| f.listening = vec!["0.0.0.0:80".parse().unwrap()],
        &["Warning ports: The node listens on port 80, which other nodes do not dial"],
    ),
    // Router.
    (
        |f| f.mapping = failed(MapError::Refused("error 606: not authorised".into())),
        &[
            "Warning router: The router does not let other nodes through when asked (PCP: no answer; \
           UPnP: refused (error 606: not authorised)). | Switch on UPnP or NAT-PMP in the router's \
           settings; or forward TCP port 6277 to 192.168.1.5",
        ],
    ),
    (
        |f| {
            f.mapping = failed(MapError::NoAnswer);
            f.advertised = None;
            f.dialled_from_outside = 0;
            f.reach = Some(reach(ReachOutcome::NotReached));
        },
        &[
            "Fault router: The router does not let other nodes through",
            "Fault reachability: A neighbour has dialled this node at 203.0.113.9:6277 and did not \
             reach it. | What is said of the router helps",
        ],
    ),
    (
        |f| f.mapping = failed(MapError::BehindAnother([100, 64, 0, 3].into())),
        &[
            "Fault router: The router is itself behind another one (its own address outside is \
           100.64.0.3), so nobody can be let through from here. | Put one of the two into bridge mode",
        ],
    ),
    (
        |f| f.mapping = MappingState::Idle(Idle::SwitchedOff),
        &["Warning router: This machine has a private address, and mapping_protocol is off"],
    ),
    (
        |f| {
            f.mapping = MappingState::Idle(Idle::SwitchedOff);
            f.local = Some([203, 0, 113, 9].into());
        },
        &[],
    ),
    (
        |f| f.mapping = MappingState::Idle(Idle::Loopback),
        &["Warning router: The node listens on a loopback address: no other machine can dial it."],
    ),
    (
        |f| f.mapping = MappingState::Idle(Idle::NoNetwork),
        &["Fault router: This machine has no route to the internet. | Connect it to a network."],
    ),
    (
        |f| f.mapping = MappingState::Asking,
        &["Warning router: The router is being asked"],
    ),
    // Reachability.
    (
        |f| {
            f.reach = Some(reach(ReachOutcome::NotReached));
            f.dialled_from_outside = 0;
        },
        &[
            "Fault reachability: A neighbour has dialled this node at 203.0.113.9:6277 and did not \
           reach it. | The router says that it lets port 6277 through: look for a firewall",
        ],
    ),
    (
        |f| {
            f.reach = Some(reach(ReachOutcome::NotReached));
            f.mapping = MappingState::Idle(Idle::Public);
            f.dialled_from_outside = 0;
        },
        &[
            "Fault reachability: A neighbour has dialled this node at 203.0.113.9:6277 and did not \
           reach it. | Let TCP port 6277 through the firewall",
        ],
    ),
    (
        |f| {
            f.reach = Some(ReachFact {
                asked: vec![7000],
                ..reach(ReachOutcome::NotReached)
            });
            f.mapping = MappingState::Idle(Idle::Advertised);
            f.dialled_from_outside = 0;
        },
        &[
            "Fault reachability: A neighbour has dialled this node at 203.0.113.9:7000 and did not \
             reach it. | The node listens on port 6277, and `advertise` names port 7000: correct it",
        ],
    ),
    (
        |f| f.reach = Some(reach(ReachOutcome::NotReached)),
        &[
            "Warning reachability: A neighbour has dialled this node at 203.0.113.9:6277 and did not \
           reach it. Yet 1 neighbour came by dialling it.",
        ],
    ),
    (
        |f| {
            f.reach = Some(ReachFact {
                seen: Some([192, 168, 1, 5].into()),
                ..reach(ReachOutcome::Reached)
            });
        },
        &[
            "Warning reachability: A neighbour within this network has reached this node at port 6277",
        ],
    ),
    (
        |f| {
            f.reach = Some(reach(ReachOutcome::TooOften));
            f.dialled_from_outside = 0;
        },
        &[
            "Warning reachability: No neighbour has told whether it can reach this node (the last one \
           asked said: it has checked often enough of late). | Ask again in five minutes.",
        ],
    ),
    (|f| f.reach = Some(reach(ReachOutcome::Refused)), &[]),
    // Address.
    (
        |f| f.advertised = Some("203.0.113.8".into()),
        &[
            "Fault address: The router says that its address outside is 203.0.113.8, and neighbours \
           see 203.0.113.9.",
        ],
    ),
    (
        |f| {
            f.advertised = Some("203.0.113.8".into());
            f.mapping = MappingState::Idle(Idle::Advertised);
        },
        &[
            "Fault address: The node tells others to dial 203.0.113.8, and neighbours see it at \
           203.0.113.9. | Correct `advertise`",
        ],
    ),
    (
        |f| {
            f.advertised = None;
            f.mapping = MappingState::Idle(Idle::Public);
        },
        &[
            "Warning address: The node can be reached at 203.0.113.9:6277, and has no descriptor to \
           say so. | Set `advertise` to \"203.0.113.9:6277\"",
        ],
    ),
    (|f| f.advertised = Some("node.example.org".into()), &[]),
    (|f| f.advertised = Some("[2001:db8::1]".into()), &[]),
    // Neighbours; what follows from having none is left out.
    (
        |f| {
            (f.neighbours, f.seeds, f.remembered, f.stage) = (0, 0, 0, Stage::NotConnected);
            (f.reach, f.entries, f.clocks) = (None, 0, vec![]);
        },
        &[
            "Fault neighbours: There is no neighbour, and nobody to ask: no descriptor is configured, \
           and no past neighbour is remembered. | Get a descriptor from somebody who runs a node",
        ],
    ),
    (
        |f| {
            (f.neighbours, f.stage, f.entries, f.reach) = (0, Stage::NotConnected, 0, None);
            f.attempts = attempt(SeedFailure::WrongKey);
        },
        &[
            "Fault neighbours: There is no neighbour (ABCDEFGH: the node at its address has another \
           key than the descriptor says). | The node was set up anew, or the descriptor is wrong",
        ],
    ),
    (
        |f| {
            (f.neighbours, f.stage, f.entries, f.reach) = (0, Stage::NotConnected, 0, None);
            f.attempts = attempt(SeedFailure::Unreachable);
        },
        &[
            "Fault neighbours: There is no neighbour (ABCDEFGH: no node answers at its address). | \
           See whether this machine is online",
        ],
    ),
    (
        |f| {
            (f.neighbours, f.stage, f.entries, f.reach) = (0, Stage::NotConnected, 0, None);
            f.attempts = attempt(SeedFailure::NoSuchName);
        },
        &[
            "Fault neighbours: There is no neighbour (ABCDEFGH: the name in its address can't be \
           resolved). | See whether the name in the descriptor is written right",
        ],
    ),
    (
        |f| {
            (f.neighbours, f.stage, f.entries, f.reach) = (0, Stage::NotConnected, 0, None);
            f.clocks = vec![];
            f.attempts = attempt(SeedFailure::Refused(RefuseReason::BadRecord));
        },
        &[
            "Fault clock: 1 node refused this node's record, which happens when this machine's \
             clock is wrong. | Compare the clock",
            "Fault neighbours: There is no neighbour (ABCDEFGH: it does not accept this node's \
             record (is the clock right?)). | Compare this machine's clock",
        ],
    ),
    (
        |f| {
            (f.neighbours, f.stage, f.entries, f.reach) = (0, Stage::NotConnected, 0, None);
            f.attempts = attempt(SeedFailure::Refused(RefuseReason::WrongChain));
        },
        &[
            "Fault neighbours: There is no neighbour (ABCDEFGH: it is on another chain). | Get a \
           descriptor of this node's chain",
        ],
    ),
    (
        |f| {
            (f.neighbours, f.stage, f.entries, f.reach) = (0, Stage::NotConnected, 0, None);
            f.uptime = Duration::from_secs(3);
        },
        &["Warning neighbours: There is no neighbour yet; the node has just begun to ask."],
    ),
    (
        |f| f.neighbours = 1,
        &["Warning neighbours: There is one neighbour only. | Wait"],
    ),
    // Entry link, exits, route.
    (
        |f| f.entries = 0,
        &["Fault entry link: No neighbour serves as entry"],
    ),
    (
        |f| (f.exits, f.stage) = (0, Stage::ConnectedToNeighbour),
        &["Fault exits: There is no exit among 30 nodes known, so nothing can be reached."],
    ),
    (
        |f| f.stage = Stage::ConnectedToNeighbour,
        &[
            "Fault route: No circuit of 3 hops leads to an exit, as the nodes around are linked now. \
           | Wait a minute",
        ],
    ),
    (
        |f| (f.stage, f.nodes) = (Stage::ConnectedToNeighbour, 2),
        &[
            "Fault route: Only 2 nodes are known beside this one, too few for a circuit of 3 hops. \
             | Have more nodes join",
        ],
    ),
    // The machine.
    (
        |f| f.resolver = Some(Err("the name servers did not answer in time".into())),
        &[
            "Fault resolver: Names can't be resolved: the name servers did not answer in time. | Set \
           `dns_servers`",
        ],
    ),
    (
        |f| f.folder = Folder::Exposed("/d/node.key".into(), 0o644),
        &[
            "Fault data folder: Others can read /d/node.key (mode 644), and it holds a secret. | If \
           nobody has, type: chmod 600 /d/node.key",
        ],
    ),
    (
        |f| f.folder = Folder::Open("/d".into(), 0o755),
        &["Warning data folder: Others can look into /d (mode 755). | Type: chmod 700 /d"],
    ),
    (
        |f| f.folder = Folder::Unusable("/d".into(), "no space".into()),
        &["Fault data folder: /d can't be used: no space. | Give yourself the right"],
    ),
    (
        |f| {
            f.files = Some(Files {
                open: Some(950),
                limit: 1024,
            })
        },
        &[
            "Fault open files: 950 files are open, of 1024 that may be; new flows will soon fail. | \
           Raise the limit",
        ],
    ),
    (
        |f| {
            f.files = Some(Files {
                open: None,
                limit: 256,
            })
        },
        &["Warning open files: Only 256 files may be open, and each flow needs one. | Raise"],
    ),
];

#[test]
fn each_fault_has_its_sentence_and_brings_no_other() {
    for (at, (change, expected)) in CASES.iter().enumerate() {
        let mut facts = well();
        change(&mut facts);
        let found = wrong(&facts);
        let fits = found.len() == expected.len()
            && found
                .iter()
                .zip(*expected)
                .all(|(found, expected)| found.starts_with(expected));
        assert!(fits, "case {at}: expected {expected:#?}, found {found:#?}");
    }
}

#[test]
fn who_refused_is_told_even_to_those_who_have_neighbours() {
    let facts = Facts {
        attempts: attempt(SeedFailure::Refused(RefuseReason::Full)),
        ..well()
    };
    let report = Report::new(true, judge(&facts));
    let lines: Vec<String> = report.findings.iter().map(line).collect();
    let expected = "Ok neighbours: There are 4 neighbours; could not be joined: ABCDEFGH: it has no \
                    room for another neighbour. | ";
    assert!(lines.iter().any(|line| line == expected), "{lines:#?}");
}

#[test]
fn a_port_of_the_routers_choice_is_mentioned() {
    let facts = Facts {
        mapping: MappingState::Mapped(mapped(40_123)),
        ..well()
    };
    let findings = judge(&facts);
    let router = findings.iter().find(|f| f.check == Check::Nat).unwrap();
    assert_eq!(
        router.what,
        "The router sends 203.0.113.9:40123 on to this node (NAT-PMP). It gave port 40123 instead \
         of 6277."
    );
}

#[test]
fn everything_is_in_sentences() {
    let all = CASES.iter().flat_map(|(change, _)| {
        let mut facts = well();
        change(&mut facts);
        judge(&facts)
    });
    for finding in all {
        assert!(finding.what.ends_with('.'), "{}", finding.what);
        assert_eq!(
            finding.remedy.is_some(),
            finding.verdict != Verdict::Ok,
            "{}",
            finding.what
        );
    }
}

#[test]
fn a_report_counts_and_keeps_an_order() {
    let mut facts = well();
    facts.exits = 0;
    facts.neighbours = 1;
    let report = Report::new(true, judge(&facts));
    assert_eq!((report.faults, report.warnings), (1, 1));
    assert!(report.findings.is_sorted_by_key(|finding| finding.check));
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
}

#[test]
fn addresses_that_can_not_be_listened_on_say_why() {
    let busy = |kind: ErrorKind| Busy {
        setting: "listen",
        address: "0.0.0.0:6277".parse().unwrap(),
        error: Error::from(kind),
    };
    for (kind, expected) in [
        (
            ErrorKind::AddrInUse,
            "Fault ports: Another program listens on 0.0.0.0:6277 (listen). | Stop it",
        ),
        (
            ErrorKind::AddrNotAvailable,
            "Fault ports: This machine does not have the address 0.0.0.0:6277 (listen). | Correct",
        ),
        (
            ErrorKind::PermissionDenied,
            "Fault ports: 0.0.0.0:6277 (listen) needs privileges",
        ),
    ] {
        let found: Vec<String> = offline::ports(&[busy(kind)]).iter().map(line).collect();
        assert!(found[0].starts_with(expected), "{found:?}");
    }
    let crashed = offline::daemon(&PathBuf::from("/d"), &Silence::Dead);
    assert!(line(&crashed).starts_with("Fault daemon: The daemon of /d does not answer"));
}

#[tokio::test]
async fn a_node_that_does_not_run_is_looked_at_from_outside() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = taken.local_addr().unwrap();
    let settings = format!(
        "chain = \"dev\"\npayments = false\nlisten = [\"{busy}\"]\nsocks = \"off\"\nhttp = \"off\"\n"
    );
    std::fs::write(path.join("config.toml"), settings).unwrap();
    let nowhere = crate::config::Environment::from_iter([("HOME", "/nonexistent")]);
    let report = offline::report(path, &nowhere, &Silence::NotRunning).await;
    assert!(!report.running);
    let lines: Vec<String> = report.findings.iter().map(line).collect();
    let has = |start: &str| lines.iter().any(|line| line.starts_with(start));
    assert!(has("Fault daemon: No daemon runs"), "{lines:#?}");
    assert!(
        has(&format!("Fault ports: Another program listens on {busy}")),
        "{lines:#?}"
    );
    assert!(
        has("Warning neighbours: No descriptor is configured"),
        "{lines:#?}"
    );
    assert!(has("Ok configuration"), "{lines:#?}");
    assert!(has("Ok data folder"), "{lines:#?}");

    std::fs::write(path.join("config.toml"), "hops = 9\n").unwrap();
    std::fs::write(path.join("node.key"), [0; 32]).unwrap();
    std::fs::set_permissions(
        path.join("node.key"),
        std::fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    let report = offline::report(path, &nowhere, &Silence::NotRunning).await;
    let lines: Vec<String> = report.findings.iter().map(line).collect();
    let has = |start: &str| lines.iter().any(|line| line.starts_with(start));
    assert!(has("Fault configuration: hops, "), "{lines:#?}");
    assert!(has("Fault data folder: Others can read "), "{lines:#?}");
}
