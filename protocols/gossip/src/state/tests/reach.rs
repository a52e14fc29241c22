//! The reachability check: what is asked, what is dialled for others, and how often.

use super::*;
use crate::reach::{Reach, ReachOutcome};

fn ask(ports: &[u16]) -> Message {
    Message::ReachAsk {
        ports: ports.to_vec(),
    }
}

fn reply(outcome: ReachOutcome, ports: &[u16]) -> Message {
    Message::ReachReply {
        outcome,
        ports: ports.to_vec(),
        seen: Some([20, 0, 0, 1].into()),
    }
}

/// The dials asked for: the call, and where.
fn probes(outputs: &[Output]) -> Vec<(u64, Vec<String>)> {
    let probe = |output: &Output| match output {
        Output::Probe {
            call, addresses, ..
        } => Some((*call, addresses.iter().map(ToString::to_string).collect())),
        _ => None,
    };
    outputs.iter().filter_map(probe).collect()
}

/// Answers given to neighbours.
fn replies(outputs: &[Output]) -> Vec<(u64, ReachOutcome, Vec<u16>)> {
    let sent = |output: &Output| match output {
        Output::Send(conn, Message::ReachReply { outcome, ports, .. }) => {
            Some((conn.0, *outcome, ports.clone()))
        }
        _ => None,
    };
    outputs.iter().filter_map(sent).collect()
}

/// Whom this node asked.
fn questions(outputs: &[Output]) -> Vec<u64> {
    let sent = |output: &Output| match output {
        Output::Send(conn, Message::ReachAsk { .. }) => Some(conn.0),
        _ => None,
    };
    outputs.iter().filter_map(sent).collect()
}

fn results(outputs: Vec<Output>) -> Vec<Reach> {
    let result = |output| match output {
        Output::Event(Event::Reach(reach)) => Some(reach),
        _ => None,
    };
    outputs.into_iter().filter_map(result).collect()
}

#[test]
fn only_the_address_that_is_seen_is_dialled_and_only_at_ports_of_nodes() {
    let mut bench = Bench::new(config());
    bench.neighbour(1);
    let outputs = bench.message(1, ask(&[4000, 22, 443]));
    let expected = ["20.9.1.1:4000".to_owned(), "20.9.1.1:443".to_owned()];
    let asked = probes(&outputs);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].1, expected);
    let input = Input::Probed {
        call: asked[0].0,
        port: Some(4000),
    };
    bench.machine.handle(bench.now, input);
    let outputs = bench.outputs();
    assert_eq!(replies(&outputs), [(1, ReachOutcome::Reached, vec![4000])]);
    // Ports of other services are refused outright.
    let outputs = bench.message(1, ask(&[22, 25]));
    assert!(probes(&outputs).is_empty());
    assert_eq!(replies(&outputs), [(1, ReachOutcome::Refused, vec![])]);
}

#[test]
fn strangers_are_not_checked() {
    let mut bench = Bench::new(config());
    let input = Input::Connected {
        conn: ConnId(7),
        peer: NodeKey::from(&keys(7).public()),
        dialled: false,
        remote: Some(address("20.9.7.1:50000")),
    };
    bench.machine.handle(bench.now, input);
    let outputs = bench.message(7, ask(&[4000]));
    assert!(probes(&outputs).is_empty() && replies(&outputs).is_empty());
}

#[test]
fn who_does_not_check_others_says_so() {
    let mut bench = Bench::new(Config {
        check_reachability_of_others: false,
        ..config()
    });
    bench.neighbour(1);
    let outputs = bench.message(1, ask(&[4000]));
    assert!(probes(&outputs).is_empty());
    assert_eq!(replies(&outputs), [(1, ReachOutcome::Refused, vec![])]);
}

#[test]
fn checks_for_one_neighbour_and_for_all_are_counted() {
    let mut bench = Bench::new(config());
    for n in 1..=5 {
        bench.neighbour(n);
    }
    let mut of_one = 0;
    let mut all = 0;
    for round in 0..60 {
        for n in 1..=5u64 {
            let outputs = bench.message(n, ask(&[4000]));
            for (call, _) in probes(&outputs) {
                all += 1;
                of_one += u32::from(n == 1);
                let input = Input::Probed { call, port: None };
                bench.machine.handle(bench.now, input);
                let outputs = bench.outputs();
                assert_eq!(
                    replies(&outputs),
                    [(n, ReachOutcome::NotReached, vec![])],
                    "round {round}"
                );
            }
        }
        bench.pass(10 * SECOND);
    }
    // Ten minutes: two at once and two more for each neighbour.
    assert_eq!(of_one, 3);
    assert!((10..=20).contains(&all), "{all}");
}

#[test]
fn a_host_that_never_answers_is_not_waited_for() {
    let mut bench = Bench::new(config());
    bench.neighbour(1);
    let outputs = bench.message(1, ask(&[4000]));
    assert_eq!(probes(&outputs).len(), 1);
    assert_eq!(
        replies(&bench.message(1, ask(&[4000]))),
        [(1, ReachOutcome::TooOften, vec![])],
        "one at a time"
    );
    let outputs = bench.pass(8 * SECOND);
    assert_eq!(replies(&outputs), [(1, ReachOutcome::NotReached, vec![])]);
    assert!(bench.machine.reach.next_deadline().is_none());
}

#[test]
fn an_answer_is_told_once_and_only_with_ports_that_were_asked_for() {
    let mut bench = Bench::new(config());
    bench.neighbour(1);
    let machine = &mut bench.machine;
    assert!(
        !machine.check_reachability(bench.now, &[22]),
        "no node's port"
    );
    assert!(machine.check_reachability(bench.now, &[4000, 4001]));
    assert!(
        !machine.check_reachability(bench.now, &[4000]),
        "one at a time"
    );
    assert_eq!(questions(&bench.outputs()), [1]);
    let outputs = bench.message(1, reply(ReachOutcome::Reached, &[9, 4001, 4001]));
    let results_ = results(outputs);
    assert_eq!(results_.len(), 1);
    assert_eq!(results_[0].outcome, ReachOutcome::Reached);
    assert_eq!(results_[0].ports, [4001]);
    assert_eq!(results_[0].seen, Some([20, 0, 0, 1].into()));
    let outputs = bench.message(1, reply(ReachOutcome::Reached, &[4000]));
    assert!(results(outputs).is_empty(), "nobody asked");

    assert!(bench.machine.check_reachability(bench.now, &[4000]));
    let outputs = bench.message(1, reply(ReachOutcome::Reached, &[9]));
    assert_eq!(results(outputs)[0].outcome, ReachOutcome::NotReached);
}

#[test]
fn who_refuses_is_silent_or_leaves_is_followed_by_another() {
    let mut bench = Bench::new(config());
    assert!(
        !bench.machine.check_reachability(bench.now, &[4000]),
        "nobody to ask"
    );
    for n in 1..=4 {
        bench.neighbour(n);
    }
    assert!(bench.machine.check_reachability(bench.now, &[4000]));
    let first = questions(&bench.outputs())[0];
    let outputs = bench.message(first, reply(ReachOutcome::TooOften, &[]));
    let second = questions(&outputs)[0];
    assert_ne!(first, second);
    assert!(results(outputs).is_empty());
    bench
        .machine
        .handle(bench.now, Input::Disconnected(ConnId(second)));
    let outputs = bench.outputs();
    let third = questions(&outputs)[0];
    assert!(third != first && third != second);
    let outputs = bench.pass(12 * SECOND);
    assert!(questions(&outputs).is_empty(), "three are enough");
    let results = results(outputs);
    assert_eq!(results.len(), 1);
    assert_eq!(results[0].outcome, ReachOutcome::NoAnswer);
}

#[test]
fn the_connection_that_was_asked_for_is_told_from_others() {
    let mut bench = Bench::new(config());
    bench.neighbour(1);
    let (asked, other) = (
        NodeKey::from(&keys(1).public()),
        NodeKey::from(&keys(2).public()),
    );
    assert!(!bench.machine.probe_arrived(&asked), "nobody asked");
    assert!(bench.machine.check_reachability(bench.now, &[4000]));
    assert!(!bench.machine.probe_arrived(&other));
    assert!(bench.machine.probe_arrived(&asked));
    assert!(!bench.machine.probe_arrived(&asked), "once per question");
}

#[test]
fn a_neighbours_record_from_the_future_shows_that_this_clock_is_behind() {
    let mut bench = Bench::new(config());
    bench.neighbour(1);
    assert_eq!(bench.machine.clocks()[0].ahead, 0);
    // The same node again, as a machine would hear it whose clock is ten minutes behind.
    bench.now.unix -= 600;
    let input = Input::Connected {
        conn: ConnId(2),
        peer: NodeKey::from(&keys(2).public()),
        dialled: false,
        remote: Some(address("20.9.2.1:50000")),
    };
    bench.machine.handle(bench.now, input);
    bench.now.unix += 600;
    let record = bench.record(2);
    bench.now.unix -= 600;
    let debut = Message::Debut {
        chain: "dev".into(),
        record,
        wants_entry: false,
        ports: vec![],
        invited: None,
        card: None,
        knock: None,
    };
    let outputs = bench.message(2, debut);
    assert_eq!(
        count(&outputs, |m| matches!(m, Message::Refuse { .. })),
        1,
        "not valid yet"
    );
    let clocks = bench.machine.clocks();
    assert!(clocks.iter().any(|clock| clock.ahead == 600), "{clocks:?}");
}
