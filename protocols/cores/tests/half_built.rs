//! Circuits that fail before they have come home: origin and hops count the same all the same.
#![allow(clippy::unwrap_used)]

mod mesh;

use std::sync::Arc;

use masq_cores::host::key_share;
use masq_cores::{Carried, FailureCode};
use masq_onion::CellSize;
use mesh::{Bill, Mesh, cell, key};

const WAY: (&[u8], &[u8]) = (&[1, 2, 3], &[5, 4]);
/// Its nodes as hops are counted.
const HOPS: [u8; 5] = [1, 2, 3, 5, 4];
const EXIT: usize = 2;

/// Builds a circuit that fails, sending more than the key share meanwhile.
async fn fails(mesh: &Mesh) -> Option<Arc<Bill>> {
    let route = mesh.route(WAY.0, WAY.1);
    let (end, mut handle) = mesh.cores(0).launch(route).await.ok()?;
    for size in [CellSize::Large, CellSize::Small] {
        let mut early = cell(&end, b"early");
        if size == CellSize::Large {
            early = end.cell(size);
        }
        // The circuit may be over already.
        let _ = end.outgoing.send(early).await;
    }
    handle.established().await.unwrap_err();
    mesh.quiet().await;
    Some(mesh.nodes[0].till.paid.lock().unwrap()[0].clone())
}

/// What the hop itself has counted; nothing where it never served.
fn counted(mesh: &Mesh, hop: usize) -> (Carried, Carried) {
    let served = mesh.nodes[usize::from(HOPS[hop])]
        .till
        .served
        .lock()
        .unwrap();
    let begun = served
        .iter()
        .find(|bill| bill.running.lock().unwrap().is_some());
    begun.map_or_else(Default::default, |bill| {
        let (over, back, clean) = bill.end();
        assert!(!clean);
        (over, back)
    })
}

/// What the origin is to book for a hop, by what it was told.
fn booked(mine: &Bill, hop: usize) -> (Carried, Carried) {
    let reached = mine.reached.lock().unwrap().expect("told how far it came");
    let (over, back, clean) = mine.end();
    assert!(!clean && back == Carried::default());
    match hop.cmp(&EXIT) {
        _ if hop >= reached => Default::default(),
        std::cmp::Ordering::Less => (over, back),
        std::cmp::Ordering::Equal => (over, key_share()),
        std::cmp::Ordering::Greater => (Carried::default(), key_share()),
    }
}

fn agree(mesh: &Mesh, mine: &Bill, what: &str) {
    for hop in 0..HOPS.len() {
        assert_eq!(counted(mesh, hop), booked(mine, hop), "{what}: hop {hop}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hop_that_refuses_leaves_the_same_figures_everywhere() {
    let codes = [
        FailureCode::Overloaded,
        FailureCode::BadAuthorisation,
        FailureCode::Refused,
    ];
    for (place, node) in HOPS.into_iter().enumerate() {
        for seed in 0..20 {
            let mesh = Mesh::for_route(WAY.0, WAY.1);
            *mesh.wires.jitter.lock().unwrap() = (seed > 0).then_some(seed);
            let code = codes[seed as usize % codes.len()];
            *mesh.nodes[usize::from(node)].gate.0.lock().unwrap() = Some(code);
            let mine = fails(&mesh).await.unwrap();
            assert_eq!(*mine.reached.lock().unwrap(), Some(place));
            agree(&mesh, &mine, &format!("{place} {seed}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn so_does_one_that_cannot_go_on_and_one_that_drops_the_stream() {
    for (place, node) in HOPS.into_iter().enumerate() {
        for seed in 0..20 {
            let mesh = Mesh::for_route(WAY.0, WAY.1);
            *mesh.wires.jitter.lock().unwrap() = (seed > 0).then_some(seed);
            let before = place.checked_sub(1).map_or(0, |at| HOPS[at]);
            match seed % 3 {
                // It cannot be reached.
                0 if place > 0 => mesh.wires.dead.lock().unwrap().push(key(node)),
                // It is no neighbour any more, for the hop before it.
                1 if place > 0 => mesh.cores(before).neighbour_down(&key(node)),
                // It drops the stream, as for want of a token.
                _ => mesh.cores(node).neighbour_down(&key(before)),
            }
            match fails(&mesh).await {
                Some(mine) => agree(&mesh, &mine, &format!("{place} {seed}")),
                // Not even the set-up was sent.
                None => assert_eq!(place, 0),
            }
        }
    }
}
