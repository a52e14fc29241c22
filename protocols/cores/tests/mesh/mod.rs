//! A mesh of virtual nodes over bounded pipes in memory, for tests: who is a neighbour of
//! whom, what went over each link, and bits to flip on the way.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

mod slow;
mod till;

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt, FutureExt};
use masq_cores::frame::KIND_TAKEN;
use masq_cores::{
    Asked, CellBuf, CircuitEnd, CircuitHandle, CircuitId, CircuitSummary, Config, Cores,
    FailureCode, Gate, LinkUse, Meter, NodeKey, OpenError, Opener, Refused, RngSource, Role, Route,
    RouteHop, Served, Wire,
};
use masq_onion::CellSize;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
pub use till::{Bill, Till, TillPayer};
use tokio::sync::mpsc;
use tokio_util::compat::TokioAsyncReadCompatExt;

/// Bytes that a pipe holds before its writer has to wait.
pub const PIPE: usize = 64 * 1024;

pub fn key(n: u8) -> NodeKey {
    NodeKey([n; 32])
}

/// What was written on one substream in one direction.
#[derive(Default)]
pub struct Tape {
    pub bytes: Mutex<Vec<u8>>,
    /// Length of each write.
    pub writes: Mutex<Vec<usize>>,
}

/// One substream that was opened: both tapes.
pub struct Record {
    pub from: NodeKey,
    pub to: NodeKey,
    pub forward: Arc<Tape>,
    pub reverse: Arc<Tape>,
}

/// Flips one bit of what is written on a link.
#[derive(Clone, Copy)]
pub struct Flip {
    pub from: NodeKey,
    pub to: NodeKey,
    /// Offset in the forward direction of the substream.
    pub at: usize,
}

struct Tapped {
    inner: Wire,
    tape: Arc<Tape>,
    flip: Option<usize>,
}

impl AsyncRead for Tapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let tape = self.tape.clone();
        let at = tape.bytes.lock().unwrap().len();
        let mut copy = buf.to_vec();
        if let Some(flip) = self.flip
            && (at..at + copy.len()).contains(&flip)
        {
            copy[flip - at] ^= 0x10;
        }
        let written = Pin::new(&mut self.inner).poll_write(cx, &copy);
        if let Poll::Ready(Ok(n)) = written {
            tape.bytes.lock().unwrap().extend(&copy[..n]);
            tape.writes.lock().unwrap().push(n);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[derive(Default)]
pub struct Wires {
    nodes: Mutex<HashMap<NodeKey, Cores>>,
    pub records: Mutex<Vec<Record>>,
    pub flip: Mutex<Option<Flip>>,
    pub record: Mutex<bool>,
    /// Links take time, drawn from this seed.
    pub jitter: Mutex<Option<u64>>,
    opened: AtomicU64,
    /// Nodes that are played by the test: streams to them come out there.
    manual: Mutex<HashMap<NodeKey, mpsc::Sender<(NodeKey, Wire)>>>,
    /// Nodes that take no streams, as if they were gone.
    pub dead: Mutex<Vec<NodeKey>>,
    /// Circuits that a node is the exit of, in all and per link; as by default where there is none.
    exit_circuits: Option<(usize, usize)>,
}

/// Two ends of a bounded pipe.
pub fn pipe() -> (Wire, Wire) {
    let (a, b) = tokio::io::duplex(PIPE);
    (Box::new(a.compat()), Box::new(b.compat()))
}

struct MeshOpener {
    me: NodeKey,
    wires: Arc<Wires>,
}

impl Opener for MeshOpener {
    fn open(&self, to: &NodeKey) -> BoxFuture<'static, Result<Wire, OpenError>> {
        let (me, to, wires) = (self.me, *to, self.wires.clone());
        async move {
            if wires.dead.lock().unwrap().contains(&to) {
                return Err(OpenError::NotConnected);
            }
            let (mut a, mut b) = pipe();
            let jitter = *wires.jitter.lock().unwrap();
            if let Some(seed) = jitter {
                let nth = wires.opened.fetch_add(1, Relaxed);
                b = slow::splice(b, seed.wrapping_mul(1000).wrapping_add(nth));
            }
            if to == key(0) && wires.manual.lock().unwrap().contains_key(&to) {
                // An origin that is played by the test takes whatever comes home.
                b.write_all(&[KIND_TAKEN]).await.unwrap();
            }
            if let Some(hand) = wires.manual.lock().unwrap().get(&to) {
                hand.try_send((me, b)).unwrap();
                return Ok(a);
            }
            let target = wires.nodes.lock().unwrap().get(&to).cloned();
            let target = target.ok_or(OpenError::NotConnected)?;
            let flip = wires
                .flip
                .lock()
                .unwrap()
                .filter(|f| f.from == me && f.to == to)
                .map(|f| f.at);
            if *wires.record.lock().unwrap() || flip.is_some() {
                let record = Record {
                    from: me,
                    to,
                    forward: Arc::default(),
                    reverse: Arc::default(),
                };
                a = Box::new(Tapped {
                    inner: a,
                    tape: record.forward.clone(),
                    flip,
                });
                b = Box::new(Tapped {
                    inner: b,
                    tape: record.reverse.clone(),
                    flip: None,
                });
                wires.records.lock().unwrap().push(record);
            }
            // As with libp2p: a stream that the other side drops is seen on first use.
            let _ = target.inbound(me, b);
            Ok(a)
        }
        .boxed()
    }
}

/// A gate whose answer can be changed; what it admits goes to the till.
#[derive(Default)]
pub struct SwitchGate(pub Mutex<Option<FailureCode>>, pub Arc<Till>);

impl Gate for SwitchGate {
    fn admit(&self, asked: &Asked<'_>) -> Result<Arc<dyn Served>, Refused> {
        if let Some(code) = *self.0.lock().unwrap() {
            let detail = self.1.detail.lock().unwrap().clone();
            return Err(Refused { code, detail });
        }
        let bill = Arc::new(Bill::new(self.1.clone(), asked.role, asked.auth.kind));
        bill.authorised.lock().unwrap().push(*asked.ephemeral);
        self.1.served.lock().unwrap().push(bill.clone());
        Ok(bill)
    }
}

#[derive(Default)]
pub struct Ledger(pub Mutex<Vec<CircuitSummary>>);

impl Meter for Ledger {
    fn opened(&self, _: CircuitId, _: Role) {}

    fn closed(&self, summary: CircuitSummary) {
        self.0.lock().unwrap().push(summary);
    }
}

pub struct Node {
    pub key: NodeKey,
    pub till: Arc<Till>,
    pub cores: Cores,
    pub gate: Arc<SwitchGate>,
    pub ledger: Arc<Ledger>,
    /// Exit ends of circuits that end here.
    pub ends: mpsc::Receiver<CircuitEnd>,
}

/// Nodes 0, 1, 2, …, node 0 being the origin in most tests.
pub struct Mesh {
    pub nodes: Vec<Node>,
    pub wires: Arc<Wires>,
}

pub fn rng_source(seed: u64) -> RngSource {
    let count = AtomicU64::new(0);
    RngSource::new(move || {
        let n = count.fetch_add(1, Relaxed);
        ChaCha20Rng::seed_from_u64(seed.wrapping_mul(0x1_0000).wrapping_add(n))
    })
}

impl Mesh {
    /// That many nodes, without links.
    pub fn new(n: u8) -> Self {
        Self::over(n, Wires::default())
    }

    /// The same, with exits that take so many circuits in all and per link.
    pub fn with_exit_circuits(n: u8, in_all: usize, per_link: usize) -> Self {
        let wires = Wires {
            exit_circuits: Some((in_all, per_link)),
            ..Wires::default()
        };
        Self::over(n, wires)
    }

    fn over(n: u8, wires: Wires) -> Self {
        let wires = Arc::new(wires);
        let nodes = (0..n).map(|i| Self::node(i, 1, &wires)).collect();
        Self { nodes, wires }
    }

    fn node(i: u8, life: u64, wires: &Arc<Wires>) -> Node {
        let (tx, ends) = mpsc::channel(64);
        let till = Arc::<Till>::default();
        let gate = Arc::new(SwitchGate(Mutex::default(), till.clone()));
        let ledger = Arc::<Ledger>::default();
        let opener = Arc::new(MeshOpener {
            me: key(i),
            wires: wires.clone(),
        });
        // Meshes of one test differ, and are the same each time the test runs.
        static MADE: AtomicU64 = AtomicU64::new(0);
        let rng = rng_source(u64::from(i) + life * 1000 + MADE.fetch_add(1, Relaxed) * 10_000);
        let mut config = Config::new(key(i), opener, gate.clone(), rng);
        config.exit = Some(Arc::new(move |end| {
            let _ = tx.try_send(end);
        }));
        if let Some(circuits) = wires.exit_circuits {
            config.exit_circuits = circuits;
        }
        config.meter = Some(ledger.clone());
        config.payer = Some(Arc::new(TillPayer(till.clone())));
        let cores = Cores::new(config);
        wires.nodes.lock().unwrap().insert(key(i), cores.clone());
        Node {
            key: key(i),
            till,
            cores,
            gate,
            ledger,
            ends,
        }
    }

    /// Node `i` comes back as a new process: the same node key, new onion keys, no links.
    pub fn restart(&mut self, i: u8) {
        self.nodes[usize::from(i)] = Self::node(i, 2, &self.wires);
    }

    pub fn cores(&self, i: u8) -> &Cores {
        &self.nodes[usize::from(i)].cores
    }

    /// From now on node `i` is played by the test: the streams that others open to it.
    pub fn by_hand(&self, i: u8) -> mpsc::Receiver<(NodeKey, Wire)> {
        let (tx, rx) = mpsc::channel(16);
        self.wires.manual.lock().unwrap().insert(key(i), tx);
        rx
    }

    /// A link in both records.
    pub fn listed(&self, a: u8, b: u8) {
        self.cores(a).neighbour_up(key(b), LinkUse::LISTED);
        self.cores(b).neighbour_up(key(a), LinkUse::LISTED);
    }

    /// An entry link of `a`'s to `b`.
    pub fn entry(&self, a: u8, b: u8) {
        self.cores(a).neighbour_up(key(b), LinkUse::OURS);
        self.cores(b).neighbour_up(key(a), LinkUse::THEIRS);
    }

    /// The links that a loop of node 0 over `over` and `back` needs.
    pub fn for_route(over: &[u8], back: &[u8]) -> Self {
        let n = over.iter().chain(back).max().unwrap() + 1;
        let mesh = Self::new(n);
        let path: Vec<u8> = over.iter().chain(back).copied().collect();
        for pair in path.windows(2) {
            mesh.listed(pair[0], pair[1]);
        }
        mesh.entry(0, path[0]);
        mesh.entry(0, path[path.len() - 1]);
        mesh
    }

    pub fn route(&self, over: &[u8], back: &[u8]) -> Route {
        let hop = |i: &u8| RouteHop {
            node: key(*i),
            onion: self.cores(*i).onion_keys().current,
        };
        Route {
            over: over.iter().map(hop).collect(),
            back: back.iter().map(hop).collect(),
        }
    }

    /// Launches a circuit of node 0's and waits until it is up; also gives the exit's end.
    pub async fn circuit(
        &mut self,
        over: &[u8],
        back: &[u8],
    ) -> (CircuitEnd, CircuitHandle, CircuitEnd) {
        let route = self.route(over, back);
        let (end, mut handle) = self.cores(0).launch(route).await.unwrap();
        handle.established().await.unwrap();
        let exit = usize::from(*over.last().unwrap());
        let other = self.nodes[exit].ends.recv().await.unwrap();
        (end, handle, other)
    }

    /// Waits until no node has any circuit task left.
    pub async fn quiet(&self) {
        for _ in 0..1000 {
            if self.nodes.iter().all(|n| n.cores.circuits() == 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let left: Vec<_> = self.nodes.iter().map(|n| n.cores.circuits()).collect();
        panic!("circuit tasks left: {left:?}");
    }

    /// The tape of the `n`th substream that was opened from `a` to `b`.
    pub fn tape(&self, a: u8, b: u8, n: usize) -> (Arc<Tape>, Arc<Tape>) {
        let records = self.wires.records.lock().unwrap();
        let record = records
            .iter()
            .filter(|r| r.from == key(a) && r.to == key(b))
            .nth(n)
            .unwrap();
        (record.forward.clone(), record.reverse.clone())
    }
}

/// A cell with that payload, in the smallest size that it fits in.
pub fn cell(end: &CircuitEnd, payload: &[u8]) -> CellBuf {
    let mut cell = end.cell(CellSize::Large);
    assert_eq!(cell.put(payload), payload.len());
    cell.shrink();
    cell
}

/// Sends a payload over one end and expects it at the other.
pub async fn pass(from: &CircuitEnd, to: &mut CircuitEnd, payload: &[u8]) {
    from.outgoing.send(cell(from, payload)).await.unwrap();
    let got = to.incoming.recv().await.unwrap();
    assert_eq!(got.payload(), payload);
}

/// Bytes that look like nothing, the same for the same seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    use rand_core::Rng;
    let mut bytes = vec![0; len];
    ChaCha20Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}
