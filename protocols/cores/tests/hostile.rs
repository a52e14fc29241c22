//! Circuits against those who meddle: flipped bits, replays, garbage, cells after the end,
//! and what one hop can see.
#![allow(clippy::unwrap_used)]

mod mesh;

use std::collections::HashSet;
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use masq_cores::frame::{KIND_BACK, KIND_OVER, KIND_REFUSED, KIND_SETUP, KIND_TAKEN};
use masq_cores::limits::{DRAIN_MAX, DRAIN_MIN, SETUP_TIMEOUT};
use masq_cores::{CloseReason, FailureCode};
use masq_onion::{CellSize, REPORT_LEN, SETUP_LEN};
use mesh::{Flip, Mesh, PIPE, cell, key, noise, pass, pipe};
use tokio::time::{Instant, sleep};

const OVER: &[u8] = &[1, 2, 3];
const BACK: &[u8] = &[5, 4];
/// Where the first cell begins on a substream, and where the second does on the over leg.
const FIRST: usize = 1 + SETUP_LEN;
const SECOND: usize = FIRST + 4096;
/// … and the third, after the marker.
const THIRD: usize = SECOND + 1024;

#[tokio::test(start_paused = true)]
async fn s13_no_link_shows_what_another_shows_and_all_sizes_are_the_same() {
    let mut mesh = Mesh::for_route(OVER, BACK);
    *mesh.wires.record.lock().unwrap() = true;
    let (mut origin, _handle, mut exit) = mesh.circuit(OVER, BACK).await;
    for n in 0..5 {
        // The same payload each time, and one that repeats within itself.
        pass(&origin, &mut exit, &vec![0xaa; 3000 * n]).await;
        pass(&exit, &mut origin, &vec![0xaa; 3000 * n]).await;
    }
    sleep(Duration::from_secs(45)).await;
    let over: Vec<_> = [(0, 1), (1, 2), (2, 3)]
        .map(|(a, b)| mesh.tape(a, b, 0))
        .into();
    let back: Vec<_> = [(3, 5), (5, 4), (4, 0)]
        .map(|(a, b)| mesh.tape(a, b, 0))
        .into();
    for leg in [&over, &back] {
        let writes: Vec<_> = leg
            .iter()
            .map(|(f, _)| f.writes.lock().unwrap().clone())
            .collect();
        assert!(
            writes.windows(2).all(|w| w[0] == w[1]),
            "same sizes on every link of a leg"
        );
        assert!(writes[0].len() >= 7, "{:?}", writes[0]);
        // A cell leaves in one call, so that it is one frame of the multiplexer.
        assert!(
            writes[0][1..]
                .iter()
                .all(|n| CellSize::ALL.iter().any(|s| s.wire_len() == *n))
        );
    }
    let mut seen = HashSet::new();
    for (forward, reverse) in over.iter().chain(&back) {
        for tape in [forward, reverse] {
            let bytes = tape.bytes.lock().unwrap();
            for window in bytes
                .chunks(1)
                .collect::<Vec<_>>()
                .windows(16)
                .map(|w| w.concat())
            {
                assert!(seen.insert(window), "sixteen bytes that were seen before");
            }
        }
    }
    // Reports too are alike everywhere: the same number, the same length. On the last link
    // the origin's own answer to the set-up comes before.
    let rounds: HashSet<_> = over
        .iter()
        .chain(&back)
        .map(|(_, r)| r.bytes.lock().unwrap().len() / REPORT_LEN)
        .collect();
    assert_eq!(back[2].1.bytes.lock().unwrap()[0], KIND_TAKEN);
    assert_eq!(rounds.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn s14_flipped_bit_in_a_set_up_is_caught_by_the_next_hop() {
    // Version, ephemeral key, tag, the header's beginning, middle and end.
    for at in [1, 3, 34, 50, 60, 2000, SETUP_LEN] {
        for (from, to) in [(0, 1), (1, 2), (2, 3), (3, 5), (5, 4)] {
            let mut mesh = Mesh::for_route(OVER, BACK);
            *mesh.wires.flip.lock().unwrap() = Some(Flip {
                from: key(from),
                to: key(to),
                at,
            });
            let (_end, mut handle) = mesh.cores(0).launch(mesh.route(OVER, BACK)).await.unwrap();
            let reason = handle.established().await.unwrap_err();
            let CloseReason::Failed(failure) = &*reason else {
                panic!("{at} {from}: {reason:?}")
            };
            assert_eq!(failure.edge, (key(from), key(to)), "{at}: {failure:?}");
            if from < 3 {
                assert!(
                    mesh.nodes[3].ends.try_recv().is_err(),
                    "it never reached the exit"
                );
            }
            mesh.quiet().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s14_flipped_bit_in_an_over_cell_is_caught_by_the_next_honest_hop() {
    // In the tag vector, in the body, in the last byte; in front of each hop.
    for at in [1, 15, 16, 19, 100, 121, 600, 1023] {
        for (from, to) in [(0, 1), (1, 2), (2, 3)] {
            let mut mesh = Mesh::for_route(OVER, BACK);
            *mesh.wires.flip.lock().unwrap() = Some(Flip {
                from: key(from),
                to: key(to),
                at: THIRD + at,
            });
            let (origin, mut handle, mut exit) = mesh.circuit(OVER, BACK).await;
            sleep(Duration::from_millis(10)).await;
            let _ = origin
                .outgoing
                .send(cell(&origin, b"never to arrive"))
                .await;
            assert!(exit.incoming.recv().await.is_none(), "nothing is delivered");
            let reason = handle.ended().await;
            let CloseReason::Failed(failure) = &*reason else {
                panic!("{reason:?}")
            };
            assert_eq!(
                (failure.node, failure.code),
                (key(to), FailureCode::Protocol)
            );
            assert_eq!(failure.edge, (key(from), key(to)));
            drop((origin, exit));
            mesh.quiet().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s14_flipped_bit_in_a_back_cell_is_caught_at_the_origin_which_closes_later_from_the_over_side()
 {
    let mut waits = HashSet::new();
    for (from, to, at) in [(3, 5, 40), (3, 5, 1023), (5, 4, 3), (4, 0, 500)] {
        let mut mesh = Mesh::for_route(OVER, BACK);
        *mesh.wires.record.lock().unwrap() = true;
        *mesh.wires.flip.lock().unwrap() = Some(Flip {
            from: key(from),
            to: key(to),
            at: SECOND + at,
        });
        let (mut origin, mut handle, exit) = mesh.circuit(OVER, BACK).await;
        let start = Instant::now();
        exit.outgoing
            .send(cell(&exit, b"changed on the way"))
            .await
            .unwrap();
        assert!(
            origin.incoming.recv().await.is_none(),
            "nothing is delivered"
        );
        assert!(matches!(*handle.ended().await, CloseReason::Tampered));
        drop(origin);
        // The exit goes on sending, and the origin goes on taking, as a relay would.
        let mut sent = 0;
        while exit
            .outgoing
            .send(cell(&exit, &noise(16_000, 1)))
            .await
            .is_ok()
        {
            sent += 1;
            sleep(Duration::from_millis(50)).await;
        }
        let waited = start.elapsed();
        assert!(
            waited >= DRAIN_MIN && waited < DRAIN_MAX + Duration::from_secs(2),
            "{waited:?}"
        );
        assert!(
            sent * 16_000 > 3 * 2 * PIPE / 2,
            "more than the pipes hold: it was drained"
        );
        waits.insert(waited.as_millis());
        drop(exit);
        mesh.quiet().await;
    }
    assert!(waits.len() > 1, "the delay is drawn anew each time");
}

/// Plays a recorded set-up to node `to` as `from`, and says what comes back.
async fn replay(mesh: &Mesh, from: u8, to: u8, bytes: &[u8]) -> Vec<u8> {
    let (mut mine, theirs) = pipe();
    mesh.cores(to).inbound(key(from), theirs).unwrap();
    mine.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    mine.read_to_end(&mut answer).await.unwrap();
    answer
}

#[tokio::test(start_paused = true)]
async fn s15_replayed_package_is_refused() {
    let mut mesh = Mesh::for_route(OVER, BACK);
    *mesh.wires.record.lock().unwrap() = true;
    let (origin, _handle, exit) = mesh.circuit(OVER, BACK).await;
    let links = [(0, 1), (1, 2), (2, 3), (3, 5), (5, 4)];
    let set_up = |mesh: &Mesh, a, b| mesh.tape(a, b, 0).0.bytes.lock().unwrap()[..FIRST].to_vec();
    for (a, b) in links {
        let answer = replay(&mesh, a, b, &set_up(&mesh, a, b)).await;
        assert_eq!(
            answer,
            [KIND_REFUSED, FailureCode::Replay.to_byte()],
            "{a}–{b}"
        );
    }
    // To the origin it means nothing more once it has come home.
    let answer = replay(&mesh, 4, 0, &set_up(&mesh, 4, 0)).await;
    assert!(answer.is_empty());
    // Over another link it is no better, nor after a change of keys.
    mesh.cores(2).rotate_onion_key();
    let answer = replay(&mesh, 3, 2, &set_up(&mesh, 1, 2)).await;
    assert_eq!(answer, [KIND_REFUSED, FailureCode::Replay.to_byte()]);
    // And after a restart it cannot even be read.
    drop((origin, exit));
    let recorded = set_up(&mesh, 1, 2);
    mesh.restart(2);
    mesh.listed(1, 2);
    mesh.listed(2, 3);
    let answer = replay(&mesh, 1, 2, &recorded).await;
    assert_eq!(answer, [KIND_REFUSED, FailureCode::BadPackage.to_byte()]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_package_stays_refused_and_is_told_once() {
    let mesh = Mesh::for_route(OVER, BACK);
    *mesh.wires.record.lock().unwrap() = true;
    *mesh.nodes[2].gate.0.lock().unwrap() = Some(FailureCode::BadAuthorisation);
    let (_end, mut handle) = mesh.cores(0).launch(mesh.route(OVER, BACK)).await.unwrap();
    handle.established().await.unwrap_err();
    let recorded = mesh.tape(1, 2, 0).0.bytes.lock().unwrap()[..FIRST].to_vec();
    *mesh.nodes[2].gate.0.lock().unwrap() = None;
    let answer = replay(&mesh, 1, 2, &recorded).await;
    assert_eq!(answer, [KIND_REFUSED, FailureCode::Replay.to_byte()]);
}

#[tokio::test(start_paused = true)]
async fn garbage_truncation_and_strangers_end_cleanly() {
    let mesh = Mesh::for_route(OVER, BACK);
    // Strangers are dropped at once.
    let (mut mine, theirs) = pipe();
    assert_eq!(
        mesh.cores(2).inbound(key(99), theirs),
        Err(FailureCode::NotNeighbour)
    );
    assert_eq!(mine.read(&mut [0; 8]).await.unwrap(), 0);
    // Whatever does not begin with a whole set-up gets nothing at all.
    let garbage: [Vec<u8>; 6] = [
        vec![],
        vec![KIND_SETUP],
        vec![KIND_SETUP; 100],
        vec![KIND_OVER + 2; 16_384],
        vec![KIND_BACK; 1024],
        vec![0xff; 40_000],
    ];
    for bytes in garbage {
        let (mut mine, theirs) = pipe();
        mesh.cores(2).inbound(key(1), theirs).unwrap();
        mine.write_all(&bytes).await.unwrap();
        mine.close().await.unwrap();
        let mut answer = Vec::new();
        let _ = mine.read_to_end(&mut answer).await;
        assert!(answer.is_empty());
    }
    // A set-up of noise is refused, and one that never comes is not waited for.
    let mut set_up = noise(FIRST, 1);
    set_up[0] = KIND_SETUP;
    let answer = replay(&mesh, 1, 2, &set_up).await;
    assert_eq!(answer, [KIND_REFUSED, FailureCode::BadPackage.to_byte()]);
    let (mut mine, theirs) = pipe();
    mesh.cores(2).inbound(key(1), theirs).unwrap();
    let start = Instant::now();
    assert_eq!(mine.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(start.elapsed(), SETUP_TIMEOUT);
    mesh.quiet().await;
}
