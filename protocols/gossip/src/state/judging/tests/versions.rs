//! An honest node signs each version once: across restarts, and when its memory is lost.

use std::collections::BTreeMap;

use super::*;

/// The record of its own that a machine would show now.
fn own(machine: &Machine) -> SignedRecord {
    SignedRecord::parse(&machine.spread.own_bytes()).unwrap()
}

/// Every record of its own that a machine gives out, by version; fails on a second one with a
/// version. Returns what was to be stored last.
fn note_own(machine: &mut Machine, all: &mut BTreeMap<u64, [u8; 32]>, stored: u64) -> u64 {
    let own = own(machine);
    let before = all.insert(own.version, *own.hash());
    assert!(
        before.is_none_or(|hash| hash == *own.hash()),
        "version {}",
        own.version
    );
    let outputs = std::iter::from_fn(|| machine.poll_output());
    let last = outputs.filter_map(|output| match output {
        Output::Event(Event::PersistVersion(version)) => Some(version),
        _ => None,
    });
    let stored = last.fold(stored, u64::max);
    assert!(own.version <= stored, "used before it was stored");
    stored
}

#[test]
fn a_restarted_node_never_uses_a_version_twice() {
    // It crashes every second, after up to 150 changes, and the clock may stand still or go back.
    let (mut all, mut stored) = (BTreeMap::new(), 0);
    for life in 0..40u64 {
        let unix = EPOCH + life % 7;
        let start = Start {
            last_version: stored,
            ..Start::default()
        };
        let now = Now { mono: SECOND, unix };
        let mut machine = machine(0, config(5), start, now);
        stored = note_own(&mut machine, &mut all, stored);
        for change in 0..(life * 37) % 150 {
            let mut onion = [0; 32];
            onion[..8].copy_from_slice(&life.to_be_bytes());
            onion[8..16].copy_from_slice(&change.to_be_bytes());
            machine.set_onion_keys(now, onion, None);
            stored = note_own(&mut machine, &mut all, stored);
        }
    }
    assert!(all.len() > 1000);
}

#[test]
fn a_node_that_lost_its_memory_goes_on_far_above_what_it_is_shown() {
    // Before the loss it had run ahead of its clock; one neighbour missed its last records.
    let mut net = Net::new(&[5]);
    let mine = |version, what: &str| record(0, version, &[], what);
    let shown = EPOCH + 500;
    let used = shown..shown + 2000;
    let first = net.debut(91, 0, record(91, EPOCH, &[0], ""));
    net.say(first, told(vec![mine(used.start, "before")]));
    let now = own(&net.machines[0]).version;
    assert!(now > used.end + 1000, "{now}");
    // Whatever others hold from before is older now, and nobody is accused.
    let second = net.debut(92, 0, record(92, EPOCH, &[0], ""));
    let others = [used.start + 1, used.end].map(|version| mine(version, "before"));
    net.say(second, told(others.to_vec()));
    net.pass(SECOND);
    assert!(own(&net.machines[0]).version < now + 100);
    assert!(!net.events[0].contains(&Event::Accused));
    assert_eq!(net.closed, []);
}

#[test]
fn who_shows_an_older_record_of_itself_is_shown_the_newer_one() {
    let mut net = Net::new(&[5, 5]);
    let newest = record(0, EPOCH + 300, &[], "before");
    let from = net.debut(91, 1, record(91, EPOCH, &[1], ""));
    net.say(from, told(vec![newest.clone()]));
    net.link(0, 1);
    net.pass(SECOND);
    let own = own(&net.machines[0]).version;
    assert!(own > EPOCH + 300, "{own}");
    let held = net.machines[1].spread.store.get(&key(0)).unwrap().version;
    assert!(held > EPOCH + 300 && held >= own - 2, "{held}");
    assert!((0..2).all(|at| net.banned(at).is_empty()));
}

#[test]
fn a_node_whose_key_another_uses_says_so_once_and_bans_nobody() {
    let (mut net, [from, to, _]) = among_strangers();
    net.say(from, Message::Proof(lie(0, &[91])));
    net.say(to, Message::Proof(lie(0, &[92])));
    let accused = net.events[0]
        .iter()
        .filter(|event| **event == Event::Accused);
    assert_eq!(accused.count(), 1);
    assert_eq!((net.banned(0), net.closed.len()), (vec![], 0));
    // The same by a record.
    let (mut net, [from, ..]) = among_strangers();
    let version = own(&net.machines[0]).version;
    net.say(from, told(vec![record(0, version, &[], "another")]));
    assert!(net.events[0].contains(&Event::Accused));
}
