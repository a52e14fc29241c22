//! Circuits between real libp2p nodes over TCP, noise and yamux on loopback.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, Swarm, SwarmBuilder, noise, tcp, yamux};
use masq_cores::control::{node_key, peer_id};
use masq_cores::{
    Behaviour, CellBuf, CircuitEnd, CircuitId, CircuitSummary, Config, Control, Cores, Leg,
    LinkUse, Meter, NodeKey, OpenGate, RngSource, Role, Route, RouteHop,
};
use masq_onion::CellSize;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tokio::sync::mpsc;
use tokio::time::Instant;

struct Node {
    key: NodeKey,
    cores: Cores,
    address: Multiaddr,
    ends: mpsc::Receiver<CircuitEnd>,
    dial: mpsc::Sender<Multiaddr>,
    ledger: Arc<Ledger>,
}

#[derive(Default)]
struct Ledger(Mutex<Vec<CircuitSummary>>);

impl Meter for Ledger {
    fn opened(&self, _: CircuitId, _: Role) {}

    fn closed(&self, summary: CircuitSummary) {
        self.0.lock().unwrap().push(summary);
    }
}

async fn node(seed: u8) -> Node {
    let keypair = Keypair::ed25519_from_bytes([seed; 32]).unwrap();
    let key = node_key(&keypair.public().to_peer_id()).unwrap();
    let control = Control::new();
    let (tx, ends) = mpsc::channel(16);
    let count = AtomicU64::new(u64::from(seed) << 32);
    let rng = RngSource::new(move || ChaCha20Rng::seed_from_u64(count.fetch_add(1, Relaxed)));
    let mut config = Config::new(key, Arc::new(control.clone()), Arc::new(OpenGate), rng);
    config.exit = Some(Arc::new(move |end| {
        let _ = tx.try_send(end);
    }));
    let ledger = Arc::<Ledger>::default();
    config.meter = Some(ledger.clone());
    let cores = Cores::new(config);
    let mut swarm: Swarm<Behaviour> = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )
        .unwrap()
        .with_behaviour(|_| Behaviour::new(control, cores.clone()))
        .unwrap()
        .with_swarm_config(|c| {
            c.with_substream_upgrade_protocol_override(Version::V1Lazy)
                .with_idle_connection_timeout(Duration::from_secs(60))
        })
        .build();
    swarm
        .listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap())
        .unwrap();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address.with(Protocol::P2p(*swarm.local_peer_id()));
        }
    };
    let (dial, mut dials) = mpsc::channel::<Multiaddr>(8);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(address) = dials.recv() => swarm.dial(address).unwrap(),
                _ = swarm.select_next_some() => {}
            }
        }
    });
    Node {
        key,
        cores,
        address,
        ends,
        dial,
        ledger,
    }
}

/// Waits until every circuit has ended.
async fn quiet(nodes: &[Node]) {
    let all = async {
        while nodes.iter().any(|node| node.cores.circuits() > 0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .unwrap();
}

fn link(a: &Node, b: &Node, entry: bool) {
    let (ours, theirs) = if entry {
        (LinkUse::OURS, LinkUse::THEIRS)
    } else {
        (LinkUse::LISTED, LinkUse::LISTED)
    };
    a.cores.neighbour_up(b.key, ours);
    b.cores.neighbour_up(a.key, theirs);
    a.dial.try_send(b.address.clone()).unwrap();
}

fn hop(node: &Node) -> RouteHop {
    RouteHop {
        node: node.key,
        onion: node.cores.onion_keys().current,
    }
}

async fn circuit(nodes: &mut [Node], route: &Route) -> (CircuitEnd, CircuitEnd) {
    for _ in 0..200 {
        // Connections are being made: until they are there, there is nothing to open.
        if let Ok((end, mut handle)) = nodes[0].cores.launch(route.clone()).await
            && handle.established().await.is_ok()
        {
            let exit = nodes
                .iter_mut()
                .find(|n| Some(n.key) == route.exit())
                .unwrap();
            return (end, exit.ends.recv().await.unwrap());
        }
        tokio::time::timeout(Duration::from_millis(20), std::future::pending::<()>())
            .await
            .ok();
    }
    panic!("no circuit came up");
}

async fn send(out: mpsc::Sender<CellBuf>, pool: masq_cores::CellPool, leg: Leg, cells: usize) {
    for n in 0..cells {
        let mut cell = pool.cell(leg, CellSize::Large);
        let len = leg.capacity(CellSize::Large);
        cell.payload_mut().fill(n as u8);
        cell.set_len(len);
        out.send(cell).await.unwrap();
    }
    std::mem::forget(out);
}

async fn take(mut from: mpsc::Receiver<CellBuf>, leg: Leg, cells: usize) {
    for n in 0..cells {
        let cell = from.recv().await.unwrap();
        assert_eq!(cell.len(), leg.capacity(CellSize::Large));
        assert!(cell.payload().iter().all(|b| *b == n as u8));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s10_three_hops_over_tcp_both_ways_at_once() {
    let mut nodes = Vec::new();
    for seed in 1..=6 {
        nodes.push(node(seed).await);
    }
    for (a, b, entry) in [
        (0, 1, true),
        (1, 2, false),
        (2, 3, false),
        (3, 5, false),
        (5, 4, false),
        (0, 4, true),
    ] {
        link(&nodes[a], &nodes[b], entry);
    }
    assert_eq!(
        peer_id(&nodes[1].key).and_then(|p| node_key(&p)),
        Some(nodes[1].key)
    );
    let route = Route {
        over: [1, 2, 3].map(|i| hop(&nodes[i])).into(),
        back: [5, 4].map(|i| hop(&nodes[i])).into(),
    };
    let (origin, exit) = circuit(&mut nodes, &route).await;

    // 32 MiB each way: far more than every window on the way together.
    const CELLS: usize = 2048;
    let start = Instant::now();
    let all = tokio::time::timeout(Duration::from_secs(120), async {
        tokio::join!(
            send(origin.outgoing, origin.pool.clone(), Leg::Over, CELLS),
            take(exit.incoming, Leg::Over, CELLS),
            send(exit.outgoing, exit.pool.clone(), Leg::Back, CELLS),
            take(origin.incoming, Leg::Back, CELLS),
        )
    });
    all.await.unwrap();
    let rate = 2.0 * CELLS as f64 * 16.384 / 1000.0 / start.elapsed().as_secs_f64();
    eprintln!("{rate:.0} MB/s, both ways together");
    nodes[0].cores.shutdown().await;
}

/// Sends until the circuit takes no more, or that many cells; and reads all along.
async fn busy(end: CircuitEnd, cells: usize) {
    let (pool, leg) = (end.pool.clone(), end.side.sends());
    let (out, mut incoming) = (end.outgoing, end.incoming);
    let sending = async move {
        for _ in 0..cells {
            if out.send(pool.cell(leg, CellSize::Medium)).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(sending, async { while incoming.recv().await.is_some() {} });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_counts_the_same_over_tcp_whoever_closes() {
    let mut nodes = Vec::new();
    for seed in 21..=26 {
        nodes.push(node(seed).await);
    }
    for (a, b, entry) in [
        (0, 1, true),
        (1, 2, false),
        (2, 3, false),
        (3, 5, false),
        (5, 4, false),
        (0, 4, true),
    ] {
        link(&nodes[a], &nodes[b], entry);
    }
    let route = Route {
        over: [1, 2, 3].map(|i| hop(&nodes[i])).into(),
        back: [5, 4].map(|i| hop(&nodes[i])).into(),
    };
    for (of_origin, of_exit) in [(200, usize::MAX), (usize::MAX, 200), (150, 150)] {
        let (origin, exit) = circuit(&mut nodes, &route).await;
        let ends = async { tokio::join!(busy(origin, of_origin), busy(exit, of_exit)) };
        tokio::time::timeout(Duration::from_secs(60), ends)
            .await
            .unwrap();
        quiet(&nodes).await;
        let last = |i: usize| nodes[i].ledger.0.lock().unwrap().last().cloned().unwrap();
        let mine = last(0);
        assert!(mine.clean && mine.over.cells + mine.back.cells > 150);
        for i in 1..6 {
            let theirs = last(i);
            assert!(theirs.clean, "{i}: {theirs:?}");
            let (over, back) = (theirs.over, theirs.back);
            match theirs.role {
                Role::OverRelay => assert_eq!(over, mine.over),
                Role::BackRelay => assert_eq!(back, mine.back),
                Role::Exit | Role::Origin => assert_eq!((over, back), (mine.over, mine.back)),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn circuits_to_a_node_that_is_no_neighbour_any_more_end() {
    let mut nodes = vec![node(11).await, node(12).await];
    link(&nodes[0], &nodes[1], true);
    let route = Route {
        over: vec![hop(&nodes[1])],
        back: vec![],
    };
    let (mut origin, mut exit) = circuit(&mut nodes, &route).await;
    nodes[1].cores.neighbour_down(&nodes[0].key);
    let end = async {
        assert!(origin.incoming.recv().await.is_none());
        assert!(exit.incoming.recv().await.is_none());
    };
    tokio::time::timeout(Duration::from_secs(30), end)
        .await
        .unwrap();
    // And nothing new is taken from it.
    let launched = nodes[0].cores.launch(route).await;
    if let Ok((_end, mut handle)) = launched {
        assert!(handle.established().await.is_err());
    }
}
