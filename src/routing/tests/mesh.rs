//! Meshes to route over, numbered; node 0 is the origin.

use std::collections::{HashMap, HashSet};

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::{Graph, NodeInfo, NodeKey, Ports, Rates};

/// The origin.
pub(super) const ME: u16 = 0;

/// The key of node `n`.
pub(super) fn key(n: u16) -> NodeKey {
    let mut key = [0x55; 32];
    key[..2].copy_from_slice(&n.to_be_bytes());
    key
}

#[derive(Debug, Clone)]
pub(super) struct Mesh {
    pub(super) n: u16,
    beside: HashMap<u16, Vec<u16>>,
    pub(super) entry: Vec<u16>,
    pub(super) exits: HashSet<u16>,
    pub(super) no_relays: HashSet<u16>,
    pub(super) listed_links: u8,
    pub(super) exit_byte: u64,
    pub(super) routing_byte: u64,
    pub(super) paid: Vec<u16>,
    pub(super) ports: Ports,
}

impl Mesh {
    pub(super) fn empty(n: u16) -> Self {
        Self {
            n,
            beside: HashMap::new(),
            entry: Vec::new(),
            exits: HashSet::new(),
            no_relays: HashSet::new(),
            listed_links: 0,
            exit_byte: 0,
            routing_byte: 0,
            paid: Vec::new(),
            ports: Ports::default(),
        }
    }

    /// 1 – 2 – … – n-1, with 1 the entry neighbour.
    pub(super) fn line(n: u16) -> Self {
        let mut mesh = Self::empty(n);
        mesh.entry = vec![1];
        for at in 2..n {
            mesh.connect(at - 1, at);
        }
        mesh
    }

    /// The entry neighbour 1 (2 beside it), relays 3 to 6 beside both, and
    /// every other node an exit beside two relays.
    pub(super) fn ladder(n: u16) -> Self {
        let mut mesh = Self::empty(n);
        mesh.entry = vec![1];
        for relay in 3..=6 {
            mesh.connect(1, relay);
            mesh.connect(2, relay);
        }
        for exit in 7..n.min(13) {
            mesh.connect(exit, 3 + exit % 4);
            mesh.connect(exit, 3 + (exit + 1) % 4);
            mesh.exits.insert(exit);
        }
        mesh
    }

    /// A torus six wide, full of short cycles; all but the origin are exits.
    pub(super) fn lattice(n: u16) -> Self {
        let mut mesh = Self::empty(n);
        mesh.entry = vec![n / 2];
        for at in 1..n {
            let right = if at % 6 == 5 { at - 5 } else { at + 1 };
            for other in [right, (at + 6) % n, (at + 7) % n] {
                if other != ME && mesh.degree(at) < 4 && mesh.degree(other) < 4 {
                    mesh.connect(at, other);
                }
            }
        }
        mesh.exits = (1..n).collect();
        mesh
    }

    /// Connected, at most four listed links each, or five for those without an
    /// entry link (a quarter); half of the extra edges close four-cycles. A tenth do not route, a third exit.
    pub(super) fn random(seed: u64, n: u16, entries: usize) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut mesh = Self::empty(n);
        let mut others: Vec<u16> = (1..n).collect();
        others.shuffle(&mut rng);
        mesh.entry = others[..entries].to_vec();
        let cap = |mesh: &Self, at: u16| {
            let only_listed = at.is_multiple_of(4) && at != ME && !mesh.entry.contains(&at);
            mesh.degree(at) < if only_listed { 5 } else { 4 }
        };
        for at in 1..n {
            let open: Vec<u16> = (0..at).filter(|o| cap(&mesh, *o)).collect();
            let to = open[rng.random_range(0..open.len())];
            if !(to == ME && mesh.entry.contains(&at)) {
                mesh.connect(at, to);
            }
        }
        for _ in 0..n * 6 {
            let a = rng.random_range(0..n);
            let mut b = rng.random_range(0..n);
            if rng.random_bool(0.5) {
                b = (0..3).fold(a, |at, _| mesh.step(at, &mut rng));
            }
            let entry =
                (a == ME && mesh.entry.contains(&b)) || (b == ME && mesh.entry.contains(&a));
            if a != b && !entry && cap(&mesh, a) && cap(&mesh, b) {
                mesh.connect(a, b);
            }
        }
        for at in 1..n {
            if rng.random_bool(0.1) {
                mesh.no_relays.insert(at);
            }
            if rng.random_bool(0.35) {
                mesh.exits.insert(at);
            }
        }
        mesh
    }

    fn step(&self, at: u16, rng: &mut ChaCha20Rng) -> u16 {
        match self.beside(at) {
            [] => at,
            beside => beside[rng.random_range(0..beside.len())],
        }
    }

    pub(super) fn connect(&mut self, a: u16, b: u16) {
        self.n = self.n.max(a + 1).max(b + 1);
        if !self.has_edge(a, b) {
            self.beside.entry(a).or_default().push(b);
            self.beside.entry(b).or_default().push(a);
        }
    }

    pub(super) fn beside(&self, at: u16) -> &[u16] {
        self.beside.get(&at).map_or(&[], Vec::as_slice)
    }

    pub(super) fn has_edge(&self, a: u16, b: u16) -> bool {
        self.beside(a).contains(&b)
    }

    pub(super) fn degree(&self, at: u16) -> usize {
        self.beside(at).len()
    }

    pub(super) fn routes(&self, at: u16) -> bool {
        !self.no_relays.contains(&at)
    }

    pub(super) fn graph(&self) -> Graph {
        let mut builder = Graph::builder(key(ME));
        for at in 0..self.n {
            let info = NodeInfo {
                routes: self.routes(at),
                exits: self.exits.contains(&at),
                listed_links: if at == ME || self.entry.contains(&at) {
                    0
                } else {
                    self.listed_links
                },
                rates: Rates {
                    exit_byte: self.exit_byte,
                    routing_byte: self.routing_byte,
                    ..Rates::default()
                },
                paid: self.paid.contains(&at),
                ports: self.ports.clone(),
                ..NodeInfo::default()
            };
            builder = builder.node(key(at), info);
        }
        for (a, beside) in &self.beside {
            builder = beside
                .iter()
                .fold(builder, |it, b| it.edge(key(*a), key(*b)));
        }
        for entry in &self.entry {
            builder = builder.entry(key(*entry));
        }
        builder.build()
    }
}
