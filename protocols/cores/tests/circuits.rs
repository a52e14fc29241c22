//! Circuits over a mesh in memory: loops of every length, ends and failures, reports, what
//! is counted, and no deadlock.
#![allow(clippy::unwrap_used)]

mod mesh;

use std::time::Duration;

use masq_cores::limits::{
    CIRCUITS_PER_LINK, EXIT_CIRCUITS_PER_LINK, NOT_NEIGHBOUR_MAX, NOT_NEIGHBOUR_MIN, SETUP_BURST,
};
use masq_cores::{CloseReason, FailureCode, LaunchError, Leg, LinkUse, Role};
use masq_onion::CellSize;
use mesh::{Mesh, cell, key, noise, pass};
use tokio::time::{Instant, sleep, timeout};

const THREE: (&[u8], &[u8]) = (&[1, 2, 3], &[5, 4]);

#[tokio::test(start_paused = true)]
async fn s10_one_two_three_and_six_hops() {
    let loops: [(&[u8], &[u8]); 6] = [
        (&[1], &[]),
        (&[1, 2], &[1]),
        THREE,
        (&[1, 2, 3], &[2, 1]),
        (&[1, 2, 3, 4], &[7, 6, 5]),
        (&[1, 2, 3, 4, 5, 6], &[11, 10, 9, 8, 7]),
    ];
    for (over, back) in loops {
        let mut mesh = Mesh::for_route(over, back);
        let (mut origin, handle, mut exit) = mesh.circuit(over, back).await;
        for (n, len) in [0, 1, 800, 903, 904, 4000, 16000, 16_263]
            .into_iter()
            .enumerate()
        {
            pass(&origin, &mut exit, &noise(len, n as u64)).await;
            pass(&exit, &mut origin, &noise(len, 99 - n as u64)).await;
        }
        let secret = |end: &masq_cores::CircuitEnd| end.resume.borrow().clone().unwrap();
        assert_eq!(*secret(&origin), *secret(&exit), "both ends share a secret");
        assert_eq!(
            handle.route().path(key(0)).len(),
            over.len() + back.len() + 2
        );
        drop(origin);
        assert!(exit.incoming.recv().await.is_none());
        mesh.quiet().await;
    }
}

#[tokio::test(start_paused = true)]
async fn early_cells_follow_the_set_up_at_once() {
    let mut mesh = Mesh::for_route(THREE.0, THREE.1);
    let route = mesh.route(THREE.0, THREE.1);
    let (end, mut handle) = mesh.cores(0).launch(route).await.unwrap();
    end.outgoing.try_send(cell(&end, b"early")).unwrap();
    let mut exit = mesh.nodes[3].ends.recv().await.unwrap();
    assert_eq!(exit.incoming.recv().await.unwrap().payload(), b"early");
    handle.established().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn s12_own_circuits_use_entry_links_and_those_of_others_never_do() {
    let mesh = Mesh::for_route(THREE.0, THREE.1);
    // A listed link is not good enough for one's own circuits, at either end.
    mesh.listed(0, 1);
    let launched = mesh.cores(0).launch(mesh.route(THREE.0, THREE.1)).await;
    assert!(matches!(launched, Err(LaunchError::NotEntry)));
    mesh.entry(0, 1);
    mesh.listed(0, 4);
    let launched = mesh.cores(0).launch(mesh.route(THREE.0, THREE.1)).await;
    assert!(matches!(launched, Err(LaunchError::NotEntry)));
    mesh.entry(0, 4);
}

/// Links between node 2 and another, as each of the two may have them.
fn set_link(mesh: &Mesh, other: u8, uses: Option<LinkUse>) {
    match uses {
        None => {
            mesh.cores(2).neighbour_down(&key(other));
            mesh.cores(other).neighbour_down(&key(2));
        }
        Some(uses) => {
            mesh.cores(2).neighbour_up(key(other), uses);
            let turned = LinkUse {
                theirs_entry: uses.ours_entry,
                ours_entry: uses.theirs_entry,
            };
            mesh.cores(other).neighbour_up(key(2), turned);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s12_an_entry_link_cannot_be_told_from_outside() {
    let both = LinkUse {
        theirs_entry: true,
        ours_entry: true,
    };
    // Node 2 as a relay, as the exit and as a back relay; node 3 behind it as all that it
    // can be.
    let routes: [(&[u8], &[u8], u8); 4] = [
        (&[1, 2, 3], &[4], 3),
        (&[1, 2, 3, 4], &[1], 3),
        (&[1, 2], &[3, 4], 3),
        (&[1, 4], &[2, 3, 1], 3),
    ];
    for (over, back, other) in routes {
        let mut seen = Vec::new();
        for uses in [None, Some(LinkUse::THEIRS), Some(LinkUse::OURS), Some(both)] {
            for n in 0..4 {
                let mesh = Mesh::for_route(over, back);
                set_link(&mesh, other, uses);
                if n == 1 {
                    // The node behind is not to be reached, which shows as little.
                    mesh.wires.dead.lock().unwrap().push(key(other));
                }
                let begun = Instant::now();
                let route = mesh.route(over, back);
                let (end, mut handle) = mesh.cores(0).launch(route).await.unwrap();
                if n > 1 {
                    end.outgoing.try_send(cell(&end, &noise(9000, n))).unwrap();
                }
                let reason = handle.established().await.unwrap_err();
                let CloseReason::Failed(failure) = &*reason else {
                    panic!("{uses:?}: {reason:?}")
                };
                let took = begun.elapsed();
                assert!(took >= NOT_NEIGHBOUR_MIN && took < NOT_NEIGHBOUR_MAX * 2);
                seen.push((failure.hop, failure.node, failure.code));
            }
        }
        assert_eq!(seen[0].1, key(2));
        assert_eq!(seen[0].2, FailureCode::NotNeighbour);
        assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn s12_a_stranger_does_not_begin_a_circuit_on_an_entry_link() {
    // Node 2 plays by its own rules: it sends node 3 a set-up over node 3's entry link as
    // if it came over a listed one.
    let mesh = Mesh::for_route(THREE.0, THREE.1);
    mesh.cores(3).neighbour_up(key(2), LinkUse::OURS);
    let (_end, mut handle) = mesh
        .cores(0)
        .launch(mesh.route(THREE.0, THREE.1))
        .await
        .unwrap();
    let reason = handle.established().await.unwrap_err();
    assert!(matches!(&*reason, CloseReason::Failed(f) if f.node == key(2)));
    assert_eq!(mesh.cores(3).load(), 0);
}

#[tokio::test(start_paused = true)]
async fn s18_the_origin_drops_and_everything_is_freed() {
    let mut mesh = Mesh::for_route(THREE.0, THREE.1);
    let (origin, mut handle, mut exit) = mesh.circuit(THREE.0, THREE.1).await;
    for n in 0..6 {
        origin
            .outgoing
            .send(cell(&origin, &noise(16_000, n)))
            .await
            .unwrap();
    }
    drop(origin);
    for n in 0..6 {
        assert_eq!(
            exit.incoming.recv().await.unwrap().payload(),
            noise(16_000, n)
        );
    }
    assert!(exit.incoming.recv().await.is_none());
    let reason = exit
        .closed
        .wait_for(Option::is_some)
        .await
        .unwrap()
        .clone()
        .unwrap();
    assert!(matches!(*reason, CloseReason::Remote), "{reason:?}");
    assert!(matches!(*handle.ended().await, CloseReason::Local));
    mesh.quiet().await;
    for node in &mesh.nodes {
        assert_eq!(
            node.cores.load(),
            0,
            "every place on every link is free again"
        );
        assert!(
            node.ledger.0.lock().unwrap().iter().all(|s| s.clean),
            "ended in good order"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn s18_the_exit_drops_and_the_origin_gets_everything_and_then_the_end() {
    let mut mesh = Mesh::for_route(THREE.0, THREE.1);
    let (mut origin, mut handle, exit) = mesh.circuit(THREE.0, THREE.1).await;
    for n in 0..8 {
        exit.outgoing
            .send(cell(&exit, &noise(16_000, n)))
            .await
            .unwrap();
    }
    drop(exit);
    for n in 0..8 {
        assert_eq!(
            origin.incoming.recv().await.unwrap().payload(),
            noise(16_000, n)
        );
    }
    assert!(origin.incoming.recv().await.is_none());
    assert!(matches!(*handle.ended().await, CloseReason::Remote));
    mesh.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn s18_a_dying_hop_ends_the_circuit_at_both_ends_and_the_origin_learns_the_edge() {
    for (victim, edges) in [
        (1u8, vec![(0u8, 1u8)]),
        (2, vec![(1, 2), (2, 3)]),
        (5, vec![(3, 5), (5, 4)]),
        (4, vec![(5, 4), (4, 0)]),
    ] {
        let mut mesh = Mesh::for_route(THREE.0, THREE.1);
        let (mut origin, mut handle, mut exit) = mesh.circuit(THREE.0, THREE.1).await;
        // It says nothing to anybody: its streams just end.
        let gone = mesh.nodes.remove(usize::from(victim));
        for other in 0..6 {
            gone.cores.neighbour_down(&key(other));
        }
        assert!(origin.incoming.recv().await.is_none());
        assert!(exit.incoming.recv().await.is_none());
        let reason = handle.ended().await;
        let CloseReason::Failed(failure) = &*reason else {
            panic!("{victim}: {reason:?}")
        };
        let named = (failure.edge.0.0[0], failure.edge.1.0[0]);
        assert!(edges.contains(&named), "{victim}: {failure:?}");
        drop((origin, exit));
        mesh.quiet().await;
    }
}

#[tokio::test(start_paused = true)]
async fn failures_name_the_hop_the_code_and_the_edge() {
    // Refused by the gate, as seen from each place in the loop.
    for (place, node) in [1u8, 2, 3, 5, 4].into_iter().enumerate() {
        let mesh = Mesh::for_route(THREE.0, THREE.1);
        *mesh.nodes[usize::from(node)].gate.0.lock().unwrap() = Some(FailureCode::BadAuthorisation);
        let (_end, mut handle) = mesh
            .cores(0)
            .launch(mesh.route(THREE.0, THREE.1))
            .await
            .unwrap();
        let reason = handle.established().await.unwrap_err();
        let CloseReason::Failed(failure) = &*reason else {
            panic!("{reason:?}")
        };
        assert_eq!(
            (failure.hop, failure.node, failure.code),
            (place, key(node), FailureCode::BadAuthorisation)
        );
        mesh.quiet().await;
    }
    // Gone before the set-up comes by: the hop before says so.
    let mesh = Mesh::for_route(THREE.0, THREE.1);
    mesh.wires.dead.lock().unwrap().push(key(5));
    let (_end, mut handle) = mesh
        .cores(0)
        .launch(mesh.route(THREE.0, THREE.1))
        .await
        .unwrap();
    let reason = handle.established().await.unwrap_err();
    let CloseReason::Failed(failure) = &*reason else {
        panic!("{reason:?}")
    };
    assert_eq!(
        (failure.node, failure.code),
        (key(3), FailureCode::NextUnreachable)
    );
    assert_eq!(failure.edge, (key(3), key(5)));
    // No neighbour of the hop before.
    let mesh = Mesh::for_route(THREE.0, THREE.1);
    mesh.cores(1).neighbour_down(&key(2));
    let (_end, mut handle) = mesh
        .cores(0)
        .launch(mesh.route(THREE.0, THREE.1))
        .await
        .unwrap();
    let reason = handle.established().await.unwrap_err();
    let CloseReason::Failed(failure) = &*reason else {
        panic!("{reason:?}")
    };
    assert_eq!(
        (failure.node, failure.code),
        (key(1), FailureCode::NotNeighbour)
    );
    // A hop whose onion key is another one by now cannot read its set-up; the hop before
    // reports that.
    let mut mesh = Mesh::for_route(THREE.0, THREE.1);
    let route = mesh.route(THREE.0, THREE.1);
    mesh.restart(2);
    mesh.listed(1, 2);
    mesh.listed(2, 3);
    let (_end, mut handle) = mesh.cores(0).launch(route).await.unwrap();
    let reason = handle.established().await.unwrap_err();
    let CloseReason::Failed(failure) = &*reason else {
        panic!("{reason:?}")
    };
    assert_eq!(
        (failure.node, failure.code),
        (key(1), FailureCode::NextRefusedPackage)
    );
    assert_eq!(failure.edge, (key(1), key(2)));
}

#[tokio::test(start_paused = true)]
async fn circuits_survive_a_change_of_onion_keys() {
    let mut mesh = Mesh::for_route(THREE.0, THREE.1);
    let old = mesh.route(THREE.0, THREE.1);
    let (mut origin, _handle, mut exit) = mesh.circuit(THREE.0, THREE.1).await;
    for node in &mesh.nodes {
        node.cores.rotate_onion_key();
    }
    pass(&origin, &mut exit, b"still there").await;
    pass(&exit, &mut origin, b"so am I").await;
    // And a route from records of before still works, until those would have died.
    let (_end, mut handle) = mesh.cores(0).launch(old.clone()).await.unwrap();
    handle.established().await.unwrap();
    sleep(Duration::from_secs(1801)).await;
    let (_end, mut handle) = mesh.cores(0).launch(old).await.unwrap();
    let reason = handle.established().await.unwrap_err();
    assert!(matches!(&*reason, CloseReason::Failed(f) if f.code == FailureCode::BadPackage));
}

#[tokio::test(start_paused = true)]
async fn rounds_of_reports_come_home_and_hops_count_what_the_origin_counts() {
    let mut mesh = Mesh::for_route(THREE.0, THREE.1);
    let (mut origin, handle, mut exit) = mesh.circuit(THREE.0, THREE.1).await;
    for n in 0..20 {
        pass(&origin, &mut exit, &noise(9000, n)).await;
        pass(&exit, &mut origin, &noise(700, n)).await;
    }
    sleep(Duration::from_secs(90)).await;
    let round = handle.last_round();
    assert!((2..=4).contains(&round.count), "{}", round.count);
    let hops: Vec<_> = round.hops.into_iter().map(Option::unwrap).collect();
    // 20 cells, the key share and the marker over; 20 cells and the key share back.
    let cells: Vec<_> = hops.iter().map(|h| h.cells).collect();
    assert_eq!(cells, [22, 22, 43, 21, 21]);

    drop(origin);
    mesh.quiet().await;
    let of = |i: usize, role| {
        let ledger = mesh.nodes[i].ledger.0.lock().unwrap();
        ledger.iter().find(|s| s.role == role).cloned().unwrap()
    };
    let mine = of(0, Role::Origin);
    for i in [1, 2] {
        assert_eq!(of(i, Role::OverRelay).over, mine.over);
        assert_eq!(of(i, Role::OverRelay).back.cells, 0);
    }
    assert_eq!(
        (of(3, Role::Exit).over, of(3, Role::Exit).back),
        (mine.over, mine.back)
    );
    for i in [4, 5] {
        assert_eq!(of(i, Role::BackRelay).back, mine.back);
    }
    assert_eq!(mine.over.cells, 22);
    let sizes = [
        (CellSize::Large, 20),
        (CellSize::Medium, 1),
        (CellSize::Small, 1),
    ];
    let bytes: usize = sizes
        .iter()
        .map(|(size, n)| n * Leg::Over.capacity(*size))
        .sum();
    assert_eq!(mine.over.bytes, bytes as u64);
}

#[tokio::test(start_paused = true)]
async fn both_directions_full_and_nobody_reading_is_no_deadlock() {
    const CELLS: u64 = 300;
    let mut mesh = Mesh::for_route(&[1, 2, 3], &[2, 1]);
    let (origin, handle, exit) = mesh.circuit(&[1, 2, 3], &[2, 1]).await;
    let pump =
        |out: tokio::sync::mpsc::Sender<masq_cores::CellBuf>, pool: masq_cores::CellPool, leg| {
            tokio::spawn(async move {
                for n in 0..CELLS {
                    let mut cell = pool.cell(leg, CellSize::Large);
                    cell.put(&noise(leg.capacity(CellSize::Large), n));
                    out.send(cell).await.unwrap();
                }
                out
            })
        };
    let over = pump(origin.outgoing, origin.pool.clone(), Leg::Over);
    let back = pump(exit.outgoing, exit.pool.clone(), Leg::Back);
    // Long enough for everything to be full, and for report rounds to come by.
    sleep(Duration::from_secs(60)).await;
    assert!(
        !over.is_finished() && !back.is_finished(),
        "both ways are full"
    );
    assert!(
        handle.last_round().count >= 1,
        "reports pass a loop that is full"
    );
    assert!(handle.close_reason().is_none());

    let (mut from_exit, mut from_origin) = (origin.incoming, exit.incoming);
    let take = async |rx: &mut tokio::sync::mpsc::Receiver<masq_cores::CellBuf>, leg: Leg| {
        for n in 0..CELLS {
            let cell = rx.recv().await.unwrap();
            assert_eq!(cell.payload(), noise(leg.capacity(CellSize::Large), n));
        }
    };
    // One way first, then the other: neither waits for the other.
    timeout(Duration::from_secs(5), take(&mut from_origin, Leg::Over))
        .await
        .unwrap();
    timeout(Duration::from_secs(5), take(&mut from_exit, Leg::Back))
        .await
        .unwrap();
    drop((over.await.unwrap(), back.await.unwrap()));
    mesh.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_stands_still_is_given_up() {
    let mut mesh = Mesh::for_route(THREE.0, THREE.1);
    let (origin, mut handle, exit) = mesh.circuit(THREE.0, THREE.1).await;
    let out = origin.outgoing.clone();
    let pool = origin.pool.clone();
    tokio::spawn(async move {
        while out
            .send(pool.cell(Leg::Over, CellSize::Large))
            .await
            .is_ok()
        {}
    });
    let start = Instant::now();
    let reason = handle.ended().await;
    assert!(!reason.is_clean(), "{reason:?}");
    assert!(start.elapsed() < Duration::from_secs(200));
    drop((origin, exit));
    mesh.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn set_ups_and_circuits_are_bounded_per_link() {
    let mut mesh = Mesh::for_route(&[1], &[]);
    let route = mesh.route(&[1], &[]);
    let mut kept = Vec::new();
    let mut refused = 0;
    for _ in 0..SETUP_BURST + 20 {
        // A stream that is dropped at once shows while the set-up is written, or after.
        let Ok((end, mut handle)) = mesh.cores(0).launch(route.clone()).await else {
            refused += 1;
            continue;
        };
        match handle.established().await {
            Ok(()) => kept.push((end, mesh.nodes[1].ends.recv().await.unwrap())),
            Err(_) => refused += 1,
        }
        assert!(kept.len() <= CIRCUITS_PER_LINK);
    }
    assert!(refused > 0, "there is an end to it");
    assert!(kept.len() <= EXIT_CIRCUITS_PER_LINK);
    kept.clear();
    mesh.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn an_exit_has_so_many_places_and_says_so() {
    let mut mesh = Mesh::for_route(&[1], &[]);
    let mut kept = Vec::new();
    for _ in 0..EXIT_CIRCUITS_PER_LINK {
        kept.push(mesh.circuit(&[1], &[]).await);
    }
    let route = mesh.route(&[1], &[]);
    let (_end, mut handle) = mesh.cores(0).launch(route).await.unwrap();
    let reason = handle.established().await.unwrap_err();
    assert!(
        matches!(&*reason, CloseReason::Failed(f) if f.code == FailureCode::Overloaded),
        "{reason:?}"
    );
    kept.clear();
    mesh.quiet().await;
    let _again = mesh.circuit(&[1], &[]).await;
}

#[tokio::test(start_paused = true)]
async fn stopping_tells_origins_and_ends_everything() {
    let mut mesh = Mesh::for_route(THREE.0, THREE.1);
    let (_origin, mut handle, _exit) = mesh.circuit(THREE.0, THREE.1).await;
    mesh.cores(2).shutdown().await;
    let reason = handle.ended().await;
    let CloseReason::Failed(failure) = &*reason else {
        panic!("{reason:?}")
    };
    assert_eq!(
        (failure.node, failure.code),
        (key(2), FailureCode::Shutdown)
    );
    assert!(matches!(
        mesh.cores(2).launch(mesh.route(&[3], &[])).await,
        Err(LaunchError::NotEntry | LaunchError::Shutdown)
    ));
    mesh.cores(0).shutdown().await;
    mesh.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_link_of_both_kinds_carries_both_own_circuits() {
    let mut mesh = Mesh::for_route(&[1], &[]);
    let both = LinkUse {
        theirs_entry: true,
        ours_entry: true,
    };
    mesh.cores(0).neighbour_up(key(1), both);
    mesh.cores(1).neighbour_up(key(0), both);
    let (mut origin, _handle, mut exit) = mesh.circuit(&[1], &[]).await;
    pass(&origin, &mut exit, b"there").await;
    pass(&exit, &mut origin, b"back").await;
    let route = mesh.route(&[0], &[]);
    let (_end, mut handle) = mesh.cores(1).launch(route).await.unwrap();
    handle.established().await.unwrap();
}
