//! Lies, proofs and bans among a few machines that are wired by hand, so that it is known who is
//! linked with whom, and somebody without a machine who signs and sends whatever it likes. That
//! nobody honest is ever banned in a mesh that lives is in `tests/sim_bans.rs`.

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::super::book::Origin;
use super::super::conn::Debut;
use super::super::{Input, Output};
use super::*;
use crate::card::{Card, SealSecret};
use crate::chain::Chain;
use crate::event::{RefuseReason, Start};
use crate::proof::Lie;
use crate::wire::DigestEntry;

mod net;
mod versions;

use net::*;

fn is_proof(message: &Message) -> bool {
    matches!(message, Message::Proof(_))
}

#[test]
fn who_signs_two_versions_is_banned_by_everyone_within_the_radius() {
    // A ring of seven: the liar, 90, between both ends of the line. Each end is told another story.
    let mut net = Net::new(&[2; 6]);
    let stories = lie(90, &[0, 5]);
    for (end, story) in [(0, &stories[0]), (5, &stories[1])] {
        net.debut(90, end, story.clone());
    }
    for at in 1..6 {
        net.link(at - 1, at);
    }
    assert!((0..6).all(|at| net.banned(at).is_empty()));
    net.pass(3 * SECOND);
    for at in 0..6 {
        assert_eq!(net.banned(at), [key(90)], "node {at}");
        let ban = net.machines[at].bans().remove(0);
        assert_eq!(ban.reason, BanReason::Lied(Lie::Equivocation));
        assert!((EPOCH..EPOCH + 10).contains(&ban.since));
        assert_eq!(
            ban.until,
            Some(ban.since + super::super::BAN_LIFE.as_secs())
        );
        let proof = Proof::from_evidence(&ban.evidence).unwrap();
        assert_eq!((proof.node(), proof.version()), (key(90), EPOCH));
        // The host is told, of the ban and of the whole list.
        let told = |event: &&Event| **event == Event::Banned(ban.clone());
        assert_eq!(net.events[at].iter().filter(told).count(), 1);
        assert!(net.events[at].contains(&Event::Bans(vec![ban])));
        // Its record is not kept and not seen by routing.
        let picture = net.machines[at].neighbourhood();
        assert!(picture.record(&key(90)).is_none());
    }
    assert_eq!(net.down(0, 90), [DownReason::Banned]);
    assert_eq!(net.down(5, 90), [DownReason::Banned]);
    // It is told why when it comes again.
    let conn = net.debut(90, 0, record(90, EPOCH + 1, &[], ""));
    let refused = |message: &Message| {
        matches!(
            message,
            Message::Refuse {
                reason: RefuseReason::Banned,
                ..
            }
        )
    };
    assert_eq!(net.got(conn, refused), 1);
    // What others still say of it is not taken.
    assert!((1..6).all(|at| net.down(at, at - 1).is_empty()));
}

#[test]
fn different_stories_meet_in_a_digest() {
    // Two lines that each were told a story are joined later: nothing is pushed any more.
    let mut net = Net::new(&[2, 2]);
    let stories = lie(90, &[0, 1]);
    net.debut(90, 0, stories[0].clone());
    net.debut(90, 1, stories[1].clone());
    net.pass(SECOND);
    net.link(0, 1);
    net.pass(2 * SECOND);
    assert!((0..2).all(|at| net.banned(at) == [key(90)]));
}

/// Node 0 with three neighbours of the stranger's, 91 to 93, of whom 91 and 92 are listed at both ends.
fn among_strangers() -> (Net, [u64; 3]) {
    let mut net = Net::new(&[5]);
    let conns = [91, 92, 93].map(|n| net.debut(n, 0, record(n, EPOCH, &[0], "")));
    net.pass(SECOND);
    net.received.clear();
    (net, conns)
}

#[test]
fn a_proof_is_passed_on_once_to_all_the_others() {
    let (mut net, [from, to, liar]) = among_strangers();
    let proof = lie(93, &[0]);
    net.say(from, Message::Proof(proof.clone()));
    assert_eq!(net.banned(0), [key(93)]);
    let got = |net: &Net| [from, to, liar].map(|conn| net.got(conn, is_proof));
    assert_eq!(got(&net), [0, 1, 0]);
    assert_eq!(
        (net.down(0, 93), &net.closed[..]),
        (vec![DownReason::Banned], &[liar][..])
    );
    // Again, from either, or another one about the same node: nothing happens.
    net.say(from, Message::Proof(proof.clone()));
    net.say(to, Message::Proof(proof.clone()));
    net.say(to, Message::Proof(vec![over_cap(93)]));
    assert_eq!(got(&net), [0, 1, 0]);
    // A neighbour that comes later is told once it shows that it does not know, and once only.
    let late = net.debut(94, 0, record(94, EPOCH, &[0], ""));
    assert_eq!(net.got(late, is_proof), 0);
    net.say(late, told(vec![record(93, EPOCH + 1, &[0], "")]));
    assert_eq!(net.got(late, is_proof), 1);
    let entry = DigestEntry {
        node: key(93),
        version: EPOCH,
        hash: [1; 8],
    };
    for conn in [late, from] {
        let list = Message::DigestList {
            mask: u16::MAX,
            entries: vec![entry],
        };
        net.say(conn, list);
    }
    assert_eq!((net.got(late, is_proof), got(&net)), (1, [0, 1, 0]));
    // Lifted by hand, it stays lifted.
    net.machines[0].unban(net.now, &key(93)).unwrap();
    net.say(from, Message::Proof(proof));
    assert_eq!(net.banned(0), []);
    // Not for the same lie is it refused now.
    net.debut(93, 0, record(93, EPOCH + 5, &[0], ""));
    assert!(net.machines[0].link(&key(93)).is_some());
}

#[test]
fn lies_of_nodes_that_nobody_knows_are_not_written_down() {
    let (mut net, [from, to, _]) = among_strangers();
    let mut known = record(70, EPOCH, &[91], "");
    // A record without an edge is no acquaintance.
    net.say(from, told(vec![known]));
    for n in [70, 71] {
        net.say(from, Message::Proof(lie(n, &[91])));
    }
    net.say(from, told(lie(70, &[91])));
    assert_eq!(net.banned(0), []);
    assert_eq!(net.got(to, is_proof), 0);
    assert_eq!(net.closed, []);
    // With one it is.
    known = record(91, EPOCH + 1, &[0, 72], "");
    net.say(from, told(vec![known, record(72, EPOCH, &[91], "a")]));
    net.pass(SECOND);
    net.say(from, told(lie(72, &[91])));
    assert_eq!(net.banned(0), [key(72)]);
}

#[test]
fn forged_proofs_ban_nobody_and_end_the_link_of_who_sends_them() {
    let good = lie(92, &[0]);
    let bad_signature = |at: usize| {
        let mut records = good.clone();
        let last = records[at].len() - 1;
        records[at][last] ^= 1;
        records
    };
    let elsewhere = ["a", "b"].map(|what| {
        let mut record = unsigned(92, EPOCH, &[0]);
        record.chain = Chain::BaseMainnet;
        record.policy = what.into();
        record.sign(&keys(92)).unwrap().bytes().to_vec()
    });
    let mut unsigned_over_cap = over_cap(92);
    let last = unsigned_over_cap.len() - 1;
    unsigned_over_cap[last] ^= 1;
    let forgeries = [
        bad_signature(0),
        bad_signature(1),
        vec![good[0].clone(), good[0].clone()],
        vec![good[0].clone(), record(92, EPOCH + 1, &[0], "b")],
        vec![good[0].clone(), record(91, EPOCH, &[0], "b")],
        vec![good[0].clone()],
        elsewhere.to_vec(),
        vec![unsigned_over_cap],
        vec![vec![1, 2, 3]],
    ];
    for (at, forged) in forgeries.into_iter().enumerate() {
        let (mut net, [from, to, _]) = among_strangers();
        net.say(from, Message::Proof(forged));
        assert_eq!(net.banned(0), [], "forgery {at}");
        assert_eq!(net.down(0, 91), [DownReason::Misbehaved], "forgery {at}");
        assert_eq!(net.got(to, is_proof), 0);
    }
    // One that has grown old is nobody's fault, and counts no more.
    let (mut net, [from, ..]) = among_strangers();
    net.now.unix = EPOCH + 1800;
    net.say(from, Message::Proof(good));
    assert_eq!((net.banned(0), net.down(0, 91)), (vec![], vec![]));
}

#[test]
fn too_long_a_list_is_a_lie_if_it_is_signed() {
    // By the neighbour itself.
    let (mut net, [from, to, _]) = among_strangers();
    net.say(from, told(vec![over_cap(91), record(95, EPOCH, &[], "")]));
    assert_eq!(net.banned(0), [key(91)]);
    assert_eq!(net.down(0, 91), [DownReason::Banned]);
    assert_eq!(net.got(to, is_proof), 1);
    // Passed on by another: it should have looked.
    let (mut net, [from, to, _]) = among_strangers();
    net.say(from, told(vec![over_cap(92)]));
    assert_eq!(net.banned(0), [key(92)]);
    assert_eq!(net.down(0, 91), [DownReason::Misbehaved]);
    assert_eq!(net.down(0, 92), [DownReason::Banned]);
    assert_eq!(net.got(to, is_proof), 0);
    // Not signed, it is held against who sent it and not against whom it names.
    let (mut net, [from, ..]) = among_strangers();
    let mut forged = over_cap(92);
    forged[60] ^= 1;
    net.say(from, told(vec![forged]));
    assert_eq!(net.banned(0), []);
    assert_eq!(net.down(0, 91), [DownReason::Misbehaved]);
    // Shown by a stranger: nothing to write down, but no way in.
    let (mut net, _) = among_strangers();
    let conn = net.debut(96, 0, over_cap(96));
    let bad = |message: &Message| {
        matches!(
            message,
            Message::Refuse {
                reason: RefuseReason::BadRecord,
                ..
            }
        )
    };
    assert_eq!((net.got(conn, bad), net.banned(0)), (1, vec![]));
}

#[test]
fn who_shows_another_record_when_it_comes_back_is_refused() {
    let (mut net, [from, ..]) = among_strangers();
    net.input(0, Input::Disconnected(ConnId(from)));
    net.pass(6 * SECOND);
    let up = |net: &Net| {
        let ups = net.events[0].iter();
        ups.filter(|e| matches!(e, Event::NeighbourUp { node, .. } if *node == key(91)))
            .count()
    };
    assert_eq!(up(&net), 1);
    net.debut(91, 0, record(91, EPOCH, &[0], "another"));
    assert_eq!((net.banned(0), up(&net)), (vec![key(91)], 1));
}

#[test]
fn one_neighbour_brings_few_proofs() {
    let (mut net, [from, ..]) = among_strangers();
    let mut invented = Vec::new();
    for round in 0..10usize {
        // It lists four invented nodes, then others.
        let names: Vec<usize> = (0..4).map(|n| 1000 + round * 4 + n).collect();
        let listed = [&[0], &names[..]].concat();
        let version = EPOCH + 1 + round as u64;
        let mut records = vec![record(91, version, &listed, "")];
        records.extend(names.iter().map(|n| record(*n, EPOCH, &[91], "a")));
        net.say(from, told(records));
        net.pass(SECOND / 5);
        for n in &names {
            net.say(from, told(vec![record(*n, EPOCH, &[91], "b")]));
        }
        invented.extend(names);
    }
    assert_eq!(net.banned(0).len(), 16);
    assert!(net.machines[0].link(&key(91)).is_some());
}

#[test]
fn banned_by_hand_is_cut_off_and_may_come_back() {
    let (mut net, [gone, stays, _]) = among_strangers();
    let now = net.now;
    let ban = net.machines[0]
        .ban(now, key(91), "it is slow", Some(60 * SECOND))
        .unwrap();
    net.drain(0);
    assert_eq!(ban.reason.to_string(), "it is slow");
    assert_eq!(net.down(0, 91), [DownReason::Banned]);
    // Nobody else is told.
    assert_eq!(net.got(stays, is_proof), 0);
    assert!(net.closed.contains(&gone));
    // Neither its records nor its cards are taken or passed on, and it is not asked for.
    net.pass(SECOND);
    net.received.clear();
    net.say(stays, told(vec![record(91, EPOCH + 9, &[0, 92], "")]));
    assert!(net.machines[0].spread.store.get(&key(91)).is_none());
    let entry = DigestEntry {
        node: key(91),
        version: EPOCH + 9,
        hash: [1; 8],
    };
    let list = Message::DigestList {
        mask: u16::MAX,
        entries: vec![entry],
    };
    net.say(stays, list);
    assert_eq!(net.got(stays, |m| matches!(m, Message::Want(_))), 0);
    let secret = SealSecret::new(&mut ChaCha20Rng::seed_from_u64(1));
    let card = Card {
        chain: Chain::Dev,
        node: key(91),
        seal_key: secret.public(),
        dialable: true,
        entry_only: false,
        links: 0,
        expires: net.now.unix + 60,
    };
    for (n, left) in [(1, 0), (2, 5)] {
        let id = [n; 16];
        let walk = Message::Walk {
            id,
            card: card.sign(&id, &keys(91)),
            left,
            min: 0,
            splice: true,
        };
        net.say(stays, walk);
        assert_eq!(net.got(stays, |m| *m == Message::WalkEnd { id }), 1);
    }
    let passed = |m: &Message| matches!(m, Message::Walk { .. } | Message::Taken { .. });
    assert!(net.received.iter().all(|(_, m)| !passed(m)));
    // It is not dialled, whoever says so.
    net.dialled.clear();
    let debut = Debut {
        origin: Origin::Probe,
        addresses: vec![address(91)],
        wants_entry: false,
        invited: None,
        swap: None,
        chosen: true,
    };
    net.machines[0].dial(key(91), debut);
    net.drain(0);
    assert!(net.dialled.is_empty() && !net.machines[0].engaged(&key(91)));
    // When its time is over it may come again.
    net.debut(91, 0, record(91, EPOCH + 9, &[0], ""));
    assert!(net.machines[0].link(&key(91)).is_none());
    net.machines[0].on_timeout(Now {
        unix: ban.until.unwrap(),
        ..net.now
    });
    net.drain(0);
    assert!(net.events[0].contains(&Event::Unbanned(key(91))));
    assert_eq!(
        net.events[0].iter().rfind(|e| matches!(e, Event::Bans(_))),
        Some(&Event::Bans(vec![]))
    );
    net.debut(91, 0, record(91, EPOCH + 9, &[0], ""));
    assert!(net.machines[0].link(&key(91)).is_some());
}

#[test]
fn mistakes_with_bans_are_named() {
    let mut net = Net::new(&[5]);
    let now = net.now;
    let machine = &mut net.machines[0];
    assert_eq!(machine.ban(now, key(0), "", None), Err(BanError::Oneself));
    assert_eq!(machine.unban(now, &key(1)), Err(BanError::NotBanned));
    let ban = machine.ban(now, key(1), "", None).unwrap();
    assert_eq!(
        machine.ban(now, key(1), "x", None),
        Err(BanError::Already(Box::new(ban.clone())))
    );
    assert_eq!(machine.bans(), [ban]);
}

#[test]
fn bans_from_before_a_restart_hold_for_seeds_too() {
    let now = Now {
        mono: SECOND,
        unix: EPOCH,
    };
    let seed = crate::descriptor::Descriptor {
        chain: Chain::Dev,
        node: key(7),
        host: address(7).host,
        ports: vec![4000],
        mask: None,
        knock: None,
    };
    let ban = Ban {
        node: key(7),
        reason: BanReason::ByHand(String::new()),
        since: EPOCH - 5,
        until: None,
        evidence: Vec::new(),
    };
    let dials = |bans: Vec<Ban>| {
        let start = Start {
            seeds: vec![seed.clone()],
            bans,
            ..Start::default()
        };
        let mut machine = machine(0, config(5), start, now);
        for second in 1..20 {
            machine.on_timeout(Now {
                mono: second * SECOND,
                unix: EPOCH,
            });
        }
        let outputs = std::iter::from_fn(|| machine.poll_output());
        outputs
            .filter(|output| matches!(output, Output::Dial { .. }))
            .count()
    };
    assert!(dials(Vec::new()) > 0);
    assert_eq!(dials(vec![ban]), 0);
}
