//! What is counted: whoever ends a circuit, with whatever on the way, origin and hops come to
//! the same figures, or do not call it a good end.
#![allow(clippy::unwrap_used)]

mod mesh;

use std::sync::Arc;
use std::time::Duration;

use masq_cores::{Carried, CellPool, CircuitEnd, Leg, Role};
use masq_onion::CellSize;
use mesh::{Bill, Mesh, key};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Loops with one to six hops over; with no relay back, with shared ones, with others.
const LOOPS: [(&[u8], &[u8]); 7] = [
    (&[1], &[]),
    (&[1, 2], &[1]),
    (&[1, 2], &[3]),
    (&[1, 2, 3], &[5, 4]),
    (&[1, 2, 3, 4], &[7, 6, 5]),
    (&[1, 2, 3, 4, 5], &[4, 3, 2, 1]),
    (&[1, 2, 3, 4, 5, 6], &[11, 10, 9, 8, 7]),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closer {
    Origin,
    Exit,
    Both,
}

/// Sends cells of all sizes until told to stop or the circuit takes no more, and reads all
/// along, or does not: then it lets go of its incoming half at once.
fn busy(end: CircuitEnd, stop: watch::Receiver<bool>, reads: bool, seed: u64) -> JoinHandle<()> {
    let (pool, leg) = (end.pool.clone(), end.side.sends());
    let sending = send(end.outgoing, pool, leg, stop, seed);
    let mut incoming = reads.then_some(end.incoming);
    tokio::spawn(async move {
        let read = async {
            while let Some(incoming) = &mut incoming {
                if incoming.recv().await.is_none() {
                    break;
                }
            }
        };
        tokio::join!(sending, read);
    })
}

async fn send(
    out: mpsc::Sender<masq_cores::CellBuf>,
    pool: CellPool,
    leg: Leg,
    stop: watch::Receiver<bool>,
    seed: u64,
) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    while !*stop.borrow() {
        let size = CellSize::ALL[rng.random_range(0..3)];
        if out.send(pool.cell(leg, size)).await.is_err() {
            return;
        }
        if rng.random_bool(0.2) {
            sleep(Duration::from_millis(rng.random_range(0..20))).await;
        }
    }
}

fn only(bills: &std::sync::Mutex<Vec<Arc<Bill>>>, role: Role) -> Vec<Arc<Bill>> {
    let bills = bills.lock().unwrap();
    bills.iter().filter(|b| b.role == role).cloned().collect()
}

/// What a hop counted and whether it was a good end, and what it should have counted.
type Figure = ((Carried, Carried, bool), (Carried, Carried));

/// What each hop counted, in the order of the route, and what it should have counted if it
/// agrees with the origin.
fn figures(mesh: &Mesh, (over, back): (&[u8], &[u8])) -> Vec<Figure> {
    let mine = only(&mesh.nodes[0].till.paid, Role::Origin)[0].end();
    let none = Carried::default();
    let exit = over.len() - 1;
    let hops = over.iter().chain(back).enumerate();
    hops.filter_map(|(i, node)| {
        let (role, expected) = match i.cmp(&exit) {
            std::cmp::Ordering::Less => (Role::OverRelay, (mine.0, none)),
            std::cmp::Ordering::Equal => (Role::Exit, (mine.0, mine.1)),
            std::cmp::Ordering::Greater => (Role::BackRelay, (none, mine.1)),
        };
        let bills = only(&mesh.nodes[usize::from(*node)].till.served, role);
        let bill = bills.first()?;
        let over = !bill.ended.lock().unwrap().is_empty();
        over.then(|| (bill.end(), expected))
    })
    .collect()
}

async fn closed_under_load(way: (&[u8], &[u8]), closer: Closer, seed: u64) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut mesh = Mesh::for_route(way.0, way.1);
    *mesh.wires.jitter.lock().unwrap() = Some(seed);
    let (origin, mut handle, exit) = mesh.circuit(way.0, way.1).await;
    let (stop_origin, origin_stops) = watch::channel(false);
    let (stop_exit, exit_stops) = watch::channel(false);
    let tasks = [
        busy(origin, origin_stops, rng.random_bool(0.7), seed + 1),
        busy(exit, exit_stops, rng.random_bool(0.7), seed + 2),
    ];
    sleep(Duration::from_millis(rng.random_range(0..400))).await;
    if closer != Closer::Exit {
        stop_origin.send_replace(true);
    }
    if closer != Closer::Origin {
        stop_exit.send_replace(true);
    }
    let reason = handle.ended().await;
    assert!(reason.is_clean(), "{way:?} {closer:?} {seed}: {reason:?}");
    for task in tasks {
        task.await.unwrap();
    }
    mesh.quiet().await;
    let what = format!("{way:?} {closer:?} {seed}");
    let mine = only(&mesh.nodes[0].till.paid, Role::Origin)[0].end();
    assert!(mine.2, "{what}: the origin knows of a good end");
    assert!(mine.0.cells >= 2 && mine.1.cells >= 1, "{what}: {mine:?}");
    let figures = figures(&mesh, way);
    assert_eq!(figures.len(), way.0.len() + way.1.len());
    for (i, ((over, back, clean), expected)) in figures.into_iter().enumerate() {
        assert_eq!((over, back), expected, "{what}: hop {i}");
        assert!(clean, "{what}: hop {i} knows of a good end");
    }
}

#[tokio::test(start_paused = true)]
async fn everybody_counts_the_same_when_the_origin_closes() {
    for (n, way) in LOOPS.into_iter().enumerate() {
        for seed in 0..12 {
            closed_under_load(way, Closer::Origin, n as u64 * 100 + seed).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn everybody_counts_the_same_when_the_exit_closes() {
    for (n, way) in LOOPS.into_iter().enumerate() {
        for seed in 0..12 {
            closed_under_load(way, Closer::Exit, 1000 + n as u64 * 100 + seed).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn everybody_counts_the_same_when_both_close_at_once() {
    for (n, way) in LOOPS.into_iter().enumerate() {
        for seed in 0..6 {
            closed_under_load(way, Closer::Both, 2000 + n as u64 * 100 + seed).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn everybody_counts_the_same_when_it_is_closed_before_it_is_up() {
    for (n, way) in LOOPS.into_iter().enumerate() {
        for seed in 0..4 {
            let mesh = Mesh::for_route(way.0, way.1);
            *mesh.wires.jitter.lock().unwrap() = Some(3000 + n as u64 * 10 + seed);
            let route = mesh.route(way.0, way.1);
            let (end, mut handle) = mesh.cores(0).launch(route).await.unwrap();
            for _ in 0..seed {
                let early = end.cell(CellSize::Large);
                end.outgoing.send(early).await.unwrap();
            }
            drop(end);
            assert!(handle.established().await.unwrap_err().is_clean());
            mesh.quiet().await;
            let mine = only(&mesh.nodes[0].till.paid, Role::Origin)[0].end();
            assert!(mine.2);
            let figures = figures(&mesh, way);
            assert_eq!(figures.len(), way.0.len() + way.1.len());
            for ((over, back, clean), expected) in figures {
                assert_eq!((over, back), expected);
                assert!(clean);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_calls_it_a_good_end_counts_what_the_origin_counts() {
    // A link breaks, at any moment, also while the circuit is being closed.
    let way = LOOPS[3];
    let path = [0, 1, 2, 3, 5, 4, 0];
    let (mut good, mut bad) = (0, 0);
    for seed in 0..120 {
        let mut rng = ChaCha20Rng::seed_from_u64(5000 + seed);
        let mut mesh = Mesh::for_route(way.0, way.1);
        *mesh.wires.jitter.lock().unwrap() = Some(seed);
        let (origin, mut handle, exit) = mesh.circuit(way.0, way.1).await;
        let (stop_origin, origin_stops) = watch::channel(false);
        let (stop_exit, exit_stops) = watch::channel(false);
        let tasks = [
            busy(origin, origin_stops, true, seed + 1),
            busy(exit, exit_stops, true, seed + 2),
        ];
        sleep(Duration::from_millis(rng.random_range(0..200))).await;
        if rng.random_bool(0.8) {
            [&stop_origin, &stop_exit][rng.random_range(0..2)].send_replace(true);
            sleep(Duration::from_millis(rng.random_range(0..400))).await;
        }
        let at = rng.random_range(0..6);
        mesh.cores(path[at]).neighbour_down(&key(path[at + 1]));
        if rng.random_bool(0.5) {
            mesh.cores(path[at + 1]).neighbour_down(&key(path[at]));
        }
        handle.ended().await;
        stop_origin.send_replace(true);
        stop_exit.send_replace(true);
        for task in tasks {
            task.await.unwrap();
        }
        mesh.quiet().await;
        let mine = only(&mesh.nodes[0].till.paid, Role::Origin)[0].end();
        let figures = figures(&mesh, way);
        assert_eq!(figures.len(), 5);
        for (i, ((over, back, clean), expected)) in figures.into_iter().enumerate() {
            if clean || mine.2 {
                assert_eq!((over, back), expected, "{seed}: hop {i}");
            }
            *(if clean { &mut good } else { &mut bad }) += 1;
        }
    }
    assert!(good > 20 && bad > 100, "both were seen: {good} {bad}");
}
