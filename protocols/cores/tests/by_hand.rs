//! Nodes that are played by the test, byte by byte: an origin, a next hop, or a last relay
//! that does not keep to the protocol.
#![allow(clippy::unwrap_used)]

mod mesh;

use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use masq_cores::frame::{
    CellReader, KIND_BACK, KIND_END, KIND_FAILURE, KIND_LAST, KIND_OVER, KIND_REFUSED, KIND_REPORT,
    KIND_SETUP, KIND_SETUP_HOME, KIND_TAKEN, Reverse, ReverseReader,
};
use masq_cores::limits::{IDLE_LIMIT, LAST_REPORT_WAIT, SETUP_TIMEOUT};
use masq_cores::{
    Carried, CellPool, CloseReason, FailureCode, Leg, NodeKey, Role, RouteHop, Wire, flags,
};
use masq_onion::{
    Authorisation, CellSize, Command, HopSpec, OnionSecret, OriginCircuit, OriginKx, REPORT_LEN,
    SETUP_LEN, SetupPackage, build_setup, peel,
};
use mesh::{Mesh, key, noise, pipe};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

const MEDIUM: u8 = KIND_OVER + 1;

/// An origin that the test plays at the place of node 0, with the loop 0 → 1 → 2 → 1 → 0.
struct Played {
    mesh: Mesh,
    /// Its stream to node 1.
    wire: Wire,
    /// Streams that node 1 opens to it.
    homes: mpsc::Receiver<(NodeKey, Wire)>,
    circuit: OriginCircuit,
    set_up: Vec<u8>,
}

fn spec(mesh: &Mesh, i: u8) -> HopSpec {
    let onion = mesh.cores(i).onion_keys().current;
    HopSpec {
        node: key(i),
        onion,
        auth: Authorisation::none(),
    }
}

impl Played {
    fn new() -> Self {
        let mesh = Mesh::for_route(&[1, 2], &[1]);
        let homes = mesh.by_hand(0);
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let own = HopSpec {
            node: key(0),
            onion: OnionSecret::generate(&mut rng).public(),
            auth: Authorisation::none(),
        };
        let over = [spec(&mesh, 1), spec(&mesh, 2)];
        let (package, circuit) = build_setup(&over, &[spec(&mesh, 1)], &own, &mut rng).unwrap();
        let mut set_up = vec![KIND_SETUP];
        set_up.extend(package.as_bytes());
        let (wire, theirs) = pipe();
        mesh.cores(1).inbound(key(0), theirs).unwrap();
        Self {
            mesh,
            wire,
            homes,
            circuit,
            set_up,
        }
    }

    /// A cell for the exit, with those flags.
    fn cell(&mut self, size: CellSize, flags: u8, body: &[u8]) -> Vec<u8> {
        let mut cell = vec![0; size.wire_len()];
        cell[0] = KIND_OVER + size as u8;
        cell[1 + masq_onion::OVER_OVERHEAD..][..body.len()].copy_from_slice(body);
        let exit = self.circuit.over.exit_index();
        let deliver = Command::Deliver(flags);
        self.circuit
            .over
            .seal(&mut cell[1..], exit, deliver, body.len())
            .unwrap();
        cell
    }

    fn share(&mut self) -> Vec<u8> {
        let mut rng = ChaCha20Rng::seed_from_u64(8);
        OriginKx::generate(&self.circuit.binding, &mut rng).1
    }

    /// Set-up and key share.
    async fn begin(&mut self) {
        self.wire.write_all(&self.set_up).await.unwrap();
        let share = self.share();
        let first = self.cell(CellSize::Medium, flags::KEY_SHARE, &share);
        self.wire.write_all(&first).await.unwrap();
    }

    /// The failure that comes back, by hop and code; `None` where the stream just ends.
    async fn failure(&mut self) -> Option<(usize, FailureCode)> {
        let mut reader = ReverseReader::new(&mut self.wire);
        match timeout(Duration::from_secs(900), reader.frame())
            .await
            .unwrap()
            .unwrap()
        {
            Some(Reverse::Failure(mut body)) => {
                let (hop, said) = self.circuit.reverse.open_failure(&mut body).unwrap();
                assert_eq!(said[0], 1, "version");
                Some((hop, FailureCode::from_byte(said[1])))
            }
            Some(other) => panic!("{other:?}"),
            None => None,
        }
    }

    async fn ends_with(mut self, hop: usize, code: FailureCode) {
        assert_eq!(self.failure().await, Some((hop, code)));
        drop(self.wire);
        drop(self.homes);
        self.mesh.quiet().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_keeps_to_the_protocol_is_served() {
    let mut played = Played::new();
    played.begin().await;
    let mut exit = played.mesh.nodes[2].ends.recv().await.unwrap();
    let data = played.cell(CellSize::Small, flags::DATA, b"hello");
    played.wire.write_all(&data).await.unwrap();
    assert_eq!(exit.incoming.recv().await.unwrap().payload(), b"hello");
    let (from, mut home) = played.homes.recv().await.unwrap();
    assert_eq!(from, key(1));
    let mut set_up = vec![0; 1 + SETUP_LEN + 4096];
    home.read_exact(&mut set_up).await.unwrap();
    assert_eq!(
        (set_up[0], set_up[1 + SETUP_LEN]),
        (KIND_SETUP_HOME, KIND_BACK + 1)
    );
}

#[tokio::test(start_paused = true)]
async fn misplaced_frames_close_the_circuit_at_the_first_hop() {
    for kind in [
        KIND_SETUP,
        KIND_BACK,
        KIND_REPORT,
        KIND_FAILURE,
        KIND_OVER + 3,
        0,
        0xff,
    ] {
        let mut played = Played::new();
        played.begin().await;
        let _exit = played.mesh.nodes[2].ends.recv().await.unwrap();
        played.wire.write_all(&[kind; 1024]).await.unwrap();
        played.ends_with(0, FailureCode::Protocol).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_cell_without_a_key_share_closes_the_circuit_at_the_exit() {
    // No share; a share that is too short; one that comes as data; padding.
    for (flags, len) in [
        (flags::DATA, 10),
        (flags::KEY_SHARE, 100),
        (flags::DATA, 1216),
        (9, 1216),
    ] {
        let mut played = Played::new();
        played.wire.write_all(&played.set_up.clone()).await.unwrap();
        let share = played.share();
        let first = played.cell(CellSize::Medium, flags, &share[..len]);
        played.wire.write_all(&first).await.unwrap();
        assert_eq!(
            played.failure().await,
            Some((1, FailureCode::Protocol)),
            "{flags} {len}"
        );
        assert!(
            played.mesh.nodes[2].ends.try_recv().is_err(),
            "no session was begun"
        );
    }
    // A share that is no key.
    let mut played = Played::new();
    played.wire.write_all(&played.set_up.clone()).await.unwrap();
    let first = played.cell(CellSize::Medium, flags::KEY_SHARE, &[0; 1216]);
    played.wire.write_all(&first).await.unwrap();
    played.ends_with(1, FailureCode::Protocol).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_key_share_an_early_marker_and_unknown_flags_close_the_circuit() {
    for flags in [flags::KEY_SHARE, 3, 0x80] {
        let mut played = Played::new();
        played.begin().await;
        let _exit = played.mesh.nodes[2].ends.recv().await.unwrap();
        let share = played.share();
        let bad = played.cell(CellSize::Medium, flags, &share);
        played.wire.write_all(&bad).await.unwrap();
        played.ends_with(1, FailureCode::Protocol).await;
    }
    // A marker is good once; after it the old key opens nothing any more.
    let mut played = Played::new();
    played.begin().await;
    let mut exit = played.mesh.nodes[2].ends.recv().await.unwrap();
    for _ in 0..2 {
        let marker = played.cell(CellSize::Small, flags::MARKER, b"");
        played.wire.write_all(&marker).await.unwrap();
    }
    assert_eq!(played.failure().await, Some((1, FailureCode::Protocol)));
    assert!(exit.incoming.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_set_up_without_a_cell_is_not_waited_for() {
    let mut played = Played::new();
    played.wire.write_all(&played.set_up.clone()).await.unwrap();
    let start = Instant::now();
    played.ends_with(1, FailureCode::Protocol).await;
    assert!(start.elapsed() >= SETUP_TIMEOUT && start.elapsed() < SETUP_TIMEOUT * 2);
}

#[tokio::test(start_paused = true)]
async fn truncated_cells_and_cells_after_the_end_go_nowhere() {
    // The stream ends within a cell.
    let mut played = Played::new();
    played.begin().await;
    let mut exit = played.mesh.nodes[2].ends.recv().await.unwrap();
    let data = played.cell(CellSize::Large, flags::DATA, &noise(9000, 1));
    played.wire.write_all(&data[..9000]).await.unwrap();
    played.wire.close().await.unwrap();
    assert!(
        exit.incoming.recv().await.is_none(),
        "nothing of it is delivered"
    );
    drop((exit, played.homes));
    played.mesh.quiet().await;

    // Cells after a failure was reported are read by nobody.
    let mut played = Played::new();
    played.begin().await;
    let mut exit = played.mesh.nodes[2].ends.recv().await.unwrap();
    played.wire.write_all(&[0xee; 16]).await.unwrap();
    assert_eq!(played.failure().await, Some((0, FailureCode::Protocol)));
    let late = played.cell(CellSize::Small, flags::DATA, b"late");
    let _ = played.wire.write_all(&late).await;
    assert!(exit.incoming.recv().await.is_none());
    assert!(played.wire.read_to_end(&mut Vec::new()).await.is_ok());
    drop((exit, played.homes, played.wire));
    played.mesh.quiet().await;
}

/// How the hops of a played circuit ended: relay, exit, back relay.
fn ends(played: &Played) -> [(Carried, Carried, bool); 3] {
    let of = |node: usize, role| {
        let served = played.mesh.nodes[node].till.served.lock().unwrap();
        served.iter().find(|b| b.role == role).unwrap().end()
    };
    [
        of(1, Role::OverRelay),
        of(2, Role::Exit),
        of(1, Role::BackRelay),
    ]
}

/// Reads what comes home until the leg ends; whether it ended in good order.
async fn read_home(home: &mut Wire) -> bool {
    let mut set_up = vec![0; 1 + SETUP_LEN];
    home.read_exact(&mut set_up).await.unwrap();
    let mut reader = CellReader::new(home, Leg::Back, CellPool::new());
    while reader.cell().await.unwrap().is_some() {}
    reader.in_good_order()
}

#[tokio::test(start_paused = true)]
async fn padding_and_control_are_counted_by_every_hop_that_opens_them() {
    let mut played = Played::new();
    played.begin().await;
    let _exit = played.mesh.nodes[2].ends.recv().await.unwrap();
    let mut wire = Vec::new();
    for (hop, command) in [
        (1, Command::Drop),
        (0, Command::Drop),
        (0, Command::Deliver(flags::DATA)),
        (1, Command::Deliver(flags::DATA)),
    ] {
        let mut cell = vec![0; CellSize::Small.wire_len()];
        cell[0] = KIND_OVER;
        let over = &mut played.circuit.over;
        over.seal(&mut cell[1..], hop, command, 5).unwrap();
        wire.extend(cell);
    }
    wire.push(KIND_END);
    played.wire.write_all(&wire).await.unwrap();
    let (_, mut home) = played.homes.recv().await.unwrap();
    assert!(read_home(&mut home).await);
    let frame = played.circuit.reverse.start(&[]).unwrap();
    home.write_all(&[KIND_LAST]).await.unwrap();
    home.write_all(&frame).await.unwrap();
    let mut reader = ReverseReader::new(&mut played.wire);
    let Reverse::Last(mut frame) = reader.frame().await.unwrap().unwrap() else {
        panic!("not the last report")
    };
    assert!(reader.frame().await.unwrap().is_none());
    let slots = played.circuit.reverse.finish(&mut frame).unwrap();
    assert!(slots.iter().all(Option::is_some));
    played.mesh.quiet().await;
    let [relay, exit, back] = ends(&played);
    assert_eq!((relay.0.cells, relay.1.cells, relay.2), (5, 0, true));
    assert_eq!((exit.0.cells, exit.1.cells, exit.2), (3, 1, true));
    assert_eq!((back.0.cells, back.1.cells, back.2), (0, 1, true));
}

#[tokio::test(start_paused = true)]
async fn no_hop_calls_it_a_good_end_without_the_mark_and_the_origins_last_report() {
    // The stream ends between two cells.
    let mut played = Played::new();
    played.begin().await;
    let _exit = played.mesh.nodes[2].ends.recv().await.unwrap();
    let (_, mut home) = played.homes.recv().await.unwrap();
    played.wire.close().await.unwrap();
    assert!(!read_home(&mut home).await, "nor is a mark made up");
    drop(home);
    played.mesh.quiet().await;
    assert!(ends(&played).iter().all(|end| !end.2));

    // The mark came, and then no last report, or one that is not the origin's.
    for forged in [false, true] {
        let mut played = Played::new();
        played.begin().await;
        let _exit = played.mesh.nodes[2].ends.recv().await.unwrap();
        let (_, mut home) = played.homes.recv().await.unwrap();
        played.wire.write_all(&[KIND_END]).await.unwrap();
        assert!(read_home(&mut home).await);
        if forged {
            home.write_all(&[KIND_LAST; 1 + REPORT_LEN]).await.unwrap();
        }
        let start = Instant::now();
        played.mesh.quiet().await;
        assert!(start.elapsed() <= LAST_REPORT_WAIT + Duration::from_secs(5));
        assert!(ends(&played).iter().all(|end| !end.2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_last_report_before_the_end_is_a_fault() {
    let mut played = Played::new();
    played.begin().await;
    let _exit = played.mesh.nodes[2].ends.recv().await.unwrap();
    let (_, mut home) = played.homes.recv().await.unwrap();
    let frame = played.circuit.reverse.start(&[]).unwrap();
    home.write_all(&[KIND_LAST]).await.unwrap();
    home.write_all(&frame).await.unwrap();
    played.ends_with(2, FailureCode::NextMisbehaved).await;
}

#[tokio::test(start_paused = true)]
async fn cells_that_repeat_or_change_places_do_not_authenticate() {
    for order in [[0, 0], [1, 0]] {
        let mut played = Played::new();
        played.begin().await;
        let mut exit = played.mesh.nodes[2].ends.recv().await.unwrap();
        let cells = [b"a", b"b"].map(|body| played.cell(CellSize::Small, flags::DATA, body));
        for n in order {
            played.wire.write_all(&cells[n]).await.unwrap();
        }
        assert_eq!(played.failure().await, Some((0, FailureCode::Protocol)));
        let mut delivered = 0;
        while exit.incoming.recv().await.is_some() {
            delivered += 1;
        }
        assert!(delivered <= 1);
    }
}

#[tokio::test(start_paused = true)]
async fn idle_circuits_are_given_up_by_their_hops() {
    let mut played = Played::new();
    played.begin().await;
    let _exit = played.mesh.nodes[2].ends.recv().await.unwrap();
    let start = Instant::now();
    let (_, code) = played.failure().await.unwrap();
    assert_eq!(code, FailureCode::Idle);
    assert!(start.elapsed() >= IDLE_LIMIT && start.elapsed() < IDLE_LIMIT * 2);
    drop((played.wire, played.homes));
    played.mesh.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_reports_closes_the_circuit() {
    let mut played = Played::new();
    played.begin().await;
    let _exit = played.mesh.nodes[2].ends.recv().await.unwrap();
    let (_, home) = played.homes.recv().await.unwrap();
    let (mut read, mut write) = home.split();
    let drain = tokio::spawn(async move {
        let _ = read.read_to_end(&mut Vec::new()).await;
    });
    let mut sent = 0;
    loop {
        let frame = played.circuit.reverse.start(&[]).unwrap();
        let mut bytes = vec![KIND_REPORT];
        bytes.extend(&frame[..]);
        if write.write_all(&bytes).await.is_err() {
            break;
        }
        sent += 1;
        assert!(sent < 100);
        tokio::task::yield_now().await;
    }
    drop((played.wire, drain));
    played.mesh.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_hop_that_does_not_read_reports_is_dropped_and_nobody_waits_for_it() {
    // The test plays node 0 and never reads its over stream, where rounds come out.
    let mut played = Played::new();
    played.begin().await;
    let mut exit = played.mesh.nodes[2].ends.recv().await.unwrap();
    let (_, mut home) = played.homes.recv().await.unwrap();
    for _ in 0..60 {
        let frame = played.circuit.reverse.start(&[]).unwrap();
        let mut bytes = vec![KIND_REPORT];
        bytes.extend(&frame[..]);
        if home.write_all(&bytes).await.is_err() {
            break;
        }
        sleep(Duration::from_secs(6)).await;
        let data = played.cell(CellSize::Small, flags::DATA, b"on and on");
        if played.wire.write_all(&data).await.is_err() {
            break;
        }
        if exit.incoming.recv().await.is_none() {
            break;
        }
    }
    assert!(
        exit.incoming.recv().await.is_none(),
        "the circuit was closed"
    );
    drop((played.wire, home, exit));
    played.mesh.quiet().await;
}

/// A mesh where node 2 is played by the test, as the second hop of 0 → 1 → 2 → 3 → 1 → 0.
fn second_hop_by_hand() -> (Mesh, mpsc::Receiver<(NodeKey, Wire)>) {
    let mesh = Mesh::for_route(&[1, 2, 3], &[1]);
    let hand = mesh.by_hand(2);
    (mesh, hand)
}

#[tokio::test(start_paused = true)]
async fn what_a_next_hop_does_wrong_is_reported_by_the_one_before() {
    let garbage: [(&[u8], FailureCode); 8] = [
        (&[], FailureCode::NextClosed),
        (&[KIND_OVER; 2000], FailureCode::NextMisbehaved),
        (&[KIND_SETUP; 2000], FailureCode::NextMisbehaved),
        (&[0xff], FailureCode::NextMisbehaved),
        (&[KIND_REPORT; 50], FailureCode::NextClosed),
        (&[KIND_REFUSED, 18], FailureCode::NextRefusedPackage),
        (&[KIND_REFUSED, 16], FailureCode::NextOverloaded),
        (&[KIND_REFUSED, 0xff], FailureCode::NextClosed),
    ];
    for (bytes, code) in garbage {
        let (mesh, mut hand) = second_hop_by_hand();
        let route = mesh.route(&[1, 2, 3], &[1]);
        let (_end, mut handle) = mesh.cores(0).launch(route).await.unwrap();
        let (from, mut wire) = hand.recv().await.unwrap();
        assert_eq!(from, key(1));
        wire.write_all(bytes).await.unwrap();
        wire.close().await.unwrap();
        let reason = handle.established().await.unwrap_err();
        let CloseReason::Failed(failure) = &*reason else {
            panic!("{reason:?}")
        };
        assert_eq!((failure.node, failure.code), (key(1), code));
        assert_eq!(failure.edge, (key(1), key(2)));
        drop(wire);
        mesh.quiet().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_forged_failure_frame_blames_nobody_far_away() {
    let (mesh, mut hand) = second_hop_by_hand();
    let route = mesh.route(&[1, 2, 3], &[1]);
    let (_end, mut handle) = mesh.cores(0).launch(route).await.unwrap();
    let (_, mut wire) = hand.recv().await.unwrap();
    let mut forged = noise(1 + REPORT_LEN, 4);
    forged[0] = KIND_FAILURE;
    wire.write_all(&forged).await.unwrap();
    let reason = handle.established().await.unwrap_err();
    let CloseReason::Failed(failure) = &*reason else {
        panic!("{reason:?}")
    };
    assert_eq!(
        failure.edge,
        (key(0), key(1)),
        "it cannot be opened, so it says nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn a_next_hop_that_swallows_the_set_up_runs_into_the_time_limit() {
    let (mesh, mut hand) = second_hop_by_hand();
    let route = mesh.route(&[1, 2, 3], &[1]);
    let start = Instant::now();
    let (_end, mut handle) = mesh.cores(0).launch(route).await.unwrap();
    let (_, wire) = hand.recv().await.unwrap();
    let reason = handle.established().await.unwrap_err();
    assert!(matches!(*reason, CloseReason::SetupTimeout));
    assert!(start.elapsed() < Duration::from_secs(10));
    drop(wire);
    mesh.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn s12_a_back_leg_comes_home_from_its_own_last_relay_only_and_once() {
    // Node 2 is the last back relay, and the test's: 0 → 1 → 3 → 2 → 0.
    let mesh = Mesh::new(4);
    mesh.entry(0, 1);
    mesh.entry(0, 2);
    mesh.listed(1, 3);
    mesh.listed(3, 2);
    let mut hand = mesh.by_hand(2);
    let secret = OnionSecret::generate(&mut ChaCha20Rng::seed_from_u64(5));
    let mut route = mesh.route(&[1, 3], &[]);
    route.back = vec![RouteHop {
        node: key(2),
        onion: secret.public(),
    }];
    let (_end, mut handle) = mesh.cores(0).launch(route).await.unwrap();
    let (_, mut wire) = hand.recv().await.unwrap();
    let mut set_up = vec![0; 1 + SETUP_LEN];
    wire.read_exact(&mut set_up).await.unwrap();
    let package = SetupPackage::from_bytes(&set_up[1..]).unwrap();
    let peeled = peel(&[&secret], &package).unwrap();
    assert_eq!(peeled.next, Some(key(0)));
    let mut keys = peeled.keys.into_back_relay();
    let mut home = vec![KIND_SETUP_HOME];
    home.extend(peeled.next_package.unwrap().as_bytes());

    // Over the other entry link it is dropped, and the origin goes on waiting.
    let (mut wrong, theirs) = pipe();
    mesh.cores(0).inbound(key(1), theirs).unwrap();
    wrong.write_all(&home).await.unwrap();
    let mut answer = Vec::new();
    wrong.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty());

    // And over the right one too, if it comes as if it were a stranger's.
    let (mut plain, theirs) = pipe();
    mesh.cores(0).inbound(key(2), theirs).unwrap();
    plain.write_all(&[KIND_SETUP]).await.unwrap();
    plain.write_all(&home[1..]).await.unwrap();
    plain.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty());

    let (mut right, theirs) = pipe();
    mesh.cores(0).inbound(key(2), theirs).unwrap();
    right.write_all(&home).await.unwrap();
    let mut taken = [0];
    right.read_exact(&mut taken).await.unwrap();
    assert_eq!(taken, [KIND_TAKEN]);
    let mut cell = vec![0; 4096];
    wire.read_exact(&mut cell).await.unwrap();
    keys.back.apply(&mut cell[1..]).unwrap();
    right.write_all(&cell).await.unwrap();
    handle.established().await.unwrap();

    // A second time it is as if it had never been.
    let (mut again, theirs) = pipe();
    mesh.cores(0).inbound(key(2), theirs).unwrap();
    again.write_all(&home).await.unwrap();
    let mut answer = Vec::new();
    again.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty());
    assert_eq!(MEDIUM - KIND_OVER, cell[0] - KIND_BACK);
}

#[tokio::test(start_paused = true)]
async fn an_origin_gives_a_silent_loop_up() {
    // As above, but the last relay swallows report rounds that the origin starts.
    let mesh = Mesh::new(4);
    mesh.entry(0, 1);
    mesh.entry(0, 2);
    mesh.listed(1, 3);
    mesh.listed(3, 2);
    let mut hand = mesh.by_hand(2);
    let secret = OnionSecret::generate(&mut ChaCha20Rng::seed_from_u64(5));
    let mut route = mesh.route(&[1, 3], &[]);
    route.back = vec![RouteHop {
        node: key(2),
        onion: secret.public(),
    }];
    let (_end, mut handle) = mesh.cores(0).launch(route).await.unwrap();
    let (_, mut wire) = hand.recv().await.unwrap();
    let mut bytes = vec![0; 1 + SETUP_LEN + 4096];
    wire.read_exact(&mut bytes).await.unwrap();
    let package = SetupPackage::from_bytes(&bytes[1..=SETUP_LEN]).unwrap();
    let peeled = peel(&[&secret], &package).unwrap();
    let mut keys = peeled.keys.into_back_relay();
    keys.back.apply(&mut bytes[SETUP_LEN + 2..]).unwrap();
    let (mut home, theirs) = pipe();
    mesh.cores(0).inbound(key(2), theirs).unwrap();
    home.write_all(&[KIND_SETUP_HOME]).await.unwrap();
    home.write_all(peeled.next_package.unwrap().as_bytes())
        .await
        .unwrap();
    home.write_all(&bytes[1 + SETUP_LEN..]).await.unwrap();
    handle.established().await.unwrap();
    let start = Instant::now();
    assert!(matches!(*handle.ended().await, CloseReason::Silent));
    assert!(start.elapsed() < Duration::from_secs(75));
}
