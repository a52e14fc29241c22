//! What gates and payers are asked and told, over circuits in memory.
#![allow(clippy::unwrap_used)]

mod mesh;

use std::time::Duration;

use masq_cores::frame::{KIND_END, KIND_LAST};
use masq_cores::{
    CloseReason, FailureCode, LaunchError, MAX_DETAIL, MAX_EXTRA, MAX_SLOT, PaidHop, Role,
};
use masq_onion::REPORT_LEN;
use mesh::{Mesh, key, pass};
use tokio::time::sleep;

const WAY: (&[u8], &[u8]) = (&[1, 2, 3], &[5, 4]);
/// Its nodes as hops are counted.
const HOPS: [u8; 5] = [1, 2, 3, 5, 4];

#[tokio::test(start_paused = true)]
async fn everybody_is_asked_and_told_in_order() {
    let mut mesh = Mesh::for_route(WAY.0, WAY.1);
    let (origin, _handle, _exit) = mesh.circuit(WAY.0, WAY.1).await;
    let till = &mesh.nodes[0].till;
    let roles = [
        Role::OverRelay,
        Role::OverRelay,
        Role::Exit,
        Role::BackRelay,
        Role::BackRelay,
    ];
    let expected: Vec<_> = HOPS
        .into_iter()
        .zip(roles)
        .map(|(node, role)| PaidHop {
            node: key(node),
            role,
        })
        .collect();
    assert_eq!(*till.opened.lock().unwrap(), [expected]);
    let paid = till.paid.lock().unwrap()[0].clone();
    // Each hop gets its authorisation, for the ephemeral key that it then sees.
    let authorised = paid.authorised.lock().unwrap().clone();
    for (i, node) in HOPS.into_iter().enumerate() {
        let served = mesh.nodes[usize::from(node)].till.served.lock().unwrap()[0].clone();
        assert_eq!((served.role, served.kind), (roles[i], 7));
        assert_eq!(*served.authorised.lock().unwrap(), [authorised[i]]);
        assert!(served.running.lock().unwrap().is_some());
    }
    drop(origin);
    mesh.quiet().await;
    assert!(paid.end().2);
}

#[tokio::test(start_paused = true)]
async fn slots_carry_what_either_side_says_and_the_last_round_too() {
    let mut mesh = Mesh::for_route(WAY.0, WAY.1);
    *mesh.nodes[0].till.says.lock().unwrap() = vec![0xa0; MAX_SLOT - 1];
    for node in HOPS {
        *mesh.nodes[usize::from(node)].till.says.lock().unwrap() = vec![node; MAX_EXTRA];
    }
    let (origin, handle, _exit) = mesh.circuit(WAY.0, WAY.1).await;
    sleep(Duration::from_secs(45)).await;
    assert_eq!(handle.last_round().count, 1);
    // From now on both say too much: it is left out, and the round goes on.
    *mesh.nodes[0].till.says.lock().unwrap() = vec![0xa0; MAX_SLOT];
    *mesh.nodes[2].till.says.lock().unwrap() = vec![2; MAX_EXTRA + 1];
    drop(origin);
    mesh.quiet().await;

    let paid = mesh.nodes[0].till.paid.lock().unwrap()[0].clone();
    let mut heard = paid.heard.lock().unwrap().clone();
    let rest = heard.split_off(5);
    for (i, node) in HOPS.into_iter().enumerate() {
        assert_eq!(heard[i], (i, vec![node; MAX_EXTRA]));
        let served = mesh.nodes[usize::from(node)].till.served.lock().unwrap()[0].clone();
        let mut slot = vec![0xa0; MAX_SLOT - 1];
        slot.push(u8::try_from(i).unwrap());
        assert_eq!(*served.heard.lock().unwrap(), [(0, slot)]);
        assert!(served.end().2);
    }
    let silent: Vec<_> = rest.iter().map(|(hop, _)| *hop).collect();
    assert_eq!(silent, [0, 2, 3, 4], "the second hop said too much");
    assert!(paid.end().2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_comes_with_its_detail_from_every_place_and_to_the_origin_only() {
    for (place, node) in HOPS.into_iter().enumerate() {
        let mesh = Mesh::for_route(WAY.0, WAY.1);
        *mesh.wires.record.lock().unwrap() = true;
        let detail: Vec<u8> = (0..32).map(|i| 0xd0 ^ i ^ node).collect();
        let gate = &mesh.nodes[usize::from(node)].gate;
        *gate.0.lock().unwrap() = Some(FailureCode::BadAuthorisation);
        *gate.1.detail.lock().unwrap() = detail.clone();
        let route = mesh.route(WAY.0, WAY.1);
        let (_end, mut handle) = mesh.cores(0).launch(route).await.unwrap();
        let reason = handle.established().await.unwrap_err();
        let CloseReason::Failed(failure) = &*reason else {
            panic!("{reason:?}")
        };
        assert_eq!((failure.hop, &failure.detail), (place, &detail));
        mesh.quiet().await;
        let paid = mesh.nodes[0].till.paid.lock().unwrap()[0].clone();
        let refused = (place, FailureCode::BadAuthorisation, detail.clone());
        assert_eq!(*paid.refused.lock().unwrap(), [refused]);
        assert!(!paid.end().2);
        for record in mesh.wires.records.lock().unwrap().iter() {
            for tape in [&record.forward, &record.reverse] {
                let bytes = tape.bytes.lock().unwrap();
                assert!(!bytes.windows(32).any(|window| window == detail));
            }
        }
        // The hops before it never had a circuit, or had one that did not end well.
        for before in &HOPS[..place] {
            let served = mesh.nodes[usize::from(*before)].till.served.lock().unwrap()[0].clone();
            assert!(!served.end().2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_are_bounded_and_no_gate_ends_a_circuit_in_good_order() {
    let mesh = Mesh::for_route(&[1], &[]);
    let gate = &mesh.nodes[1].gate;
    *gate.0.lock().unwrap() = Some(FailureCode::Ended);
    *gate.1.detail.lock().unwrap() = vec![1; MAX_DETAIL + 1];
    let route = mesh.route(&[1], &[]);
    let (_end, mut handle) = mesh.cores(0).launch(route).await.unwrap();
    let reason = handle.established().await.unwrap_err();
    let CloseReason::Failed(failure) = &*reason else {
        panic!("{reason:?}")
    };
    assert_eq!(failure.code, FailureCode::Refused);
    assert!(failure.detail.is_empty(), "too long, and so left out");
}

#[tokio::test(start_paused = true)]
async fn a_hop_that_ends_a_circuit_says_why_to_its_origin() {
    for (place, node) in HOPS.into_iter().enumerate() {
        let mut mesh = Mesh::for_route(WAY.0, WAY.1);
        let (origin, mut handle, mut exit) = mesh.circuit(WAY.0, WAY.1).await;
        pass(&origin, &mut exit, b"so far").await;
        let served = mesh.nodes[usize::from(node)].till.served.lock().unwrap()[0].clone();
        let running = served.running.lock().unwrap().clone().unwrap();
        running.end(FailureCode::BadAuthorisation);
        running.end(FailureCode::Idle);
        assert_eq!(running.given_up(), Some(FailureCode::BadAuthorisation));
        let reason = handle.ended().await;
        let CloseReason::Failed(failure) = &*reason else {
            panic!("{reason:?}")
        };
        assert_eq!(
            (failure.hop, failure.code),
            (place, FailureCode::BadAuthorisation)
        );
        assert!(exit.incoming.recv().await.is_none());
        let at_exit = exit.closed.borrow().clone().unwrap();
        match &*at_exit {
            CloseReason::GivenUp(FailureCode::BadAuthorisation) => assert_eq!(node, 3),
            other => assert!(matches!(other, CloseReason::Remote), "{other:?}"),
        }
        drop((origin, exit));
        mesh.quiet().await;
        for node in HOPS {
            let served = mesh.nodes[usize::from(node)].till.served.lock().unwrap()[0].clone();
            assert!(!served.end().2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_gives_a_circuit_up_ends_it_in_good_order() {
    let mut mesh = Mesh::for_route(WAY.0, WAY.1);
    let (origin, mut handle, mut exit) = mesh.circuit(WAY.0, WAY.1).await;
    pass(&origin, &mut exit, b"so far").await;
    let paid = mesh.nodes[0].till.paid.lock().unwrap()[0].clone();
    let running = paid.running.lock().unwrap().clone().unwrap();
    assert_eq!(running.id(), handle.id());
    running.end(FailureCode::BadAuthorisation);
    let reason = handle.ended().await;
    assert!(matches!(
        *reason,
        CloseReason::GivenUp(FailureCode::BadAuthorisation)
    ));
    assert!(exit.incoming.recv().await.is_none());
    mesh.quiet().await;
    let mine = paid.end();
    assert!(mine.2);
    for node in HOPS {
        let served = mesh.nodes[usize::from(node)].till.served.lock().unwrap()[0].clone();
        assert!(served.end().2);
    }
    drop((origin, exit));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_paid_is_not_begun_and_what_did_not_come_about_has_no_end() {
    let mesh = Mesh::for_route(&[1, 2], &[]);
    mesh.entry(0, 2);
    *mesh.wires.record.lock().unwrap() = true;
    let till = &mesh.nodes[0].till;
    *till.unpaid.lock().unwrap() = Some("no wallet".into());
    let launched = mesh.cores(0).launch(mesh.route(&[1, 2], &[])).await;
    let Err(LaunchError::Unpaid(why)) = launched else {
        panic!("launched")
    };
    assert_eq!(why.to_string(), "no wallet");
    assert!(mesh.wires.records.lock().unwrap().is_empty());
    // The first hop admits it, and cannot reach the next; and then cannot be reached.
    *till.unpaid.lock().unwrap() = None;
    mesh.wires.dead.lock().unwrap().push(key(2));
    let route = mesh.route(&[1, 2], &[]);
    let (_end, mut handle) = mesh.cores(0).launch(route).await.unwrap();
    handle.established().await.unwrap_err();
    mesh.quiet().await;
    let served = mesh.nodes[1].till.served.lock().unwrap()[0].clone();
    assert!(served.running.lock().unwrap().is_none() && served.ended.lock().unwrap().is_empty());
    mesh.wires.dead.lock().unwrap().push(key(1));
    let launched = mesh.cores(0).launch(mesh.route(&[1, 2], &[])).await;
    assert!(matches!(launched, Err(LaunchError::Open(_))));
    let paid = till.paid.lock().unwrap()[1].clone();
    assert!(paid.running.lock().unwrap().is_none() && paid.ended.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_end_looks_the_same_on_every_link() {
    let mut mesh = Mesh::for_route(WAY.0, WAY.1);
    *mesh.wires.record.lock().unwrap() = true;
    let (origin, _handle, mut exit) = mesh.circuit(WAY.0, WAY.1).await;
    pass(&origin, &mut exit, b"so far").await;
    drop(origin);
    mesh.quiet().await;
    for (from, to) in [(0, 1), (1, 2), (2, 3), (3, 5), (5, 4), (4, 0)] {
        let (forward, reverse) = mesh.tape(from, to, 0);
        assert_eq!(*forward.bytes.lock().unwrap().last().unwrap(), KIND_END);
        let reverse = reverse.bytes.lock().unwrap();
        assert_eq!(reverse[reverse.len() - 1 - REPORT_LEN], KIND_LAST);
    }
}
