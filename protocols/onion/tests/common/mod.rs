//! A whole circuit in memory, for the tests of this crate: every hop's keys, and
//! what passes on every link.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use masq_onion::{
    Authorisation, BACK_OVERHEAD, BackRelay, CellSize, Command, Delivered, ExitKeys, HopSpec,
    NodeKey, OVER_OVERHEAD, OnionSecret, Opened, OriginCircuit, OverRelay, Peeled, Role,
    SetupPackage, build_setup, peel,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

pub fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

pub fn hop(rng: &mut ChaCha20Rng) -> (OnionSecret, HopSpec) {
    let secret = OnionSecret::generate(rng);
    let mut spec = HopSpec {
        node: NodeKey([0; 32]),
        onion: secret.public(),
        auth: Authorisation::none(),
    };
    rng.fill_bytes(&mut spec.node.0);
    spec.auth.kind = 1;
    rng.fill_bytes(&mut spec.auth.body);
    (secret, spec)
}

/// The nodes of a circuit: over leg, back leg, origin.
pub struct Nodes {
    pub secrets: Vec<OnionSecret>,
    pub specs: Vec<HopSpec>,
    pub over: usize,
}

impl Nodes {
    pub fn new(over: usize, back: usize, rng: &mut ChaCha20Rng) -> Self {
        let (secrets, specs) = (0..=over + back).map(|_| hop(rng)).unzip();
        Self {
            secrets,
            specs,
            over,
        }
    }

    pub fn build(&self, rng: &mut ChaCha20Rng) -> (SetupPackage, OriginCircuit) {
        let (hops, origin) = self.specs.split_at(self.specs.len() - 1);
        let (over, back) = hops.split_at(self.over);
        build_setup(over, back, &origin[0], rng).unwrap()
    }
}

/// A circuit that has been set up.
pub struct Loop {
    pub nodes: Nodes,
    pub origin: OriginCircuit,
    /// What each hop, and at the end the origin, received.
    pub packages: Vec<SetupPackage>,
    pub ids: Vec<[u8; 16]>,
    pub roles: Vec<Role>,
    pub relays: Vec<OverRelay>,
    pub exit: ExitKeys,
    pub back: Vec<BackRelay>,
}

pub fn circuit(over: usize, back: usize, rng: &mut ChaCha20Rng) -> Loop {
    let nodes = Nodes::new(over, back, rng);
    circuit_over(nodes, rng)
}

pub fn circuit_over(nodes: Nodes, rng: &mut ChaCha20Rng) -> Loop {
    let (package, origin) = nodes.build(rng);
    let (mut packages, mut ids, mut roles) = (Vec::new(), Vec::new(), Vec::new());
    let (mut relays, mut exit, mut back) = (Vec::new(), None, Vec::new());
    let mut next = Some(package);
    for (index, secret) in nodes.secrets.iter().enumerate() {
        let package = next.take().unwrap();
        let Peeled {
            package_id,
            role,
            next: node,
            next_package,
            auth,
            keys,
            cookie,
            ..
        } = peel(&[secret], &package).unwrap();
        packages.push(package);
        ids.push(package_id);
        roles.push(role);
        next = next_package;
        match role {
            Role::OverRelay => relays.push(keys.into_over_relay()),
            Role::Exit => exit = Some(keys.into_exit()),
            Role::BackRelay => back.push(keys.into_back_relay()),
            Role::Origin => assert_eq!(cookie, origin.cookie()),
        }
        if role == Role::Origin {
            assert_eq!((node, &next, auth.kind), (None, &None, 0));
        } else {
            assert_eq!(cookie, [0; 32]);
            assert_eq!(node, Some(nodes.specs[index + 1].node));
            assert_eq!(auth, nodes.specs[index].auth);
        }
    }
    Loop {
        origin,
        packages,
        ids,
        roles,
        relays,
        exit: exit.unwrap(),
        back,
        nodes,
    }
}

impl Loop {
    pub fn hops(&self) -> usize {
        self.nodes.secrets.len() - 1
    }

    pub fn sealed_over(
        &mut self,
        to: usize,
        command: Command,
        size: CellSize,
        body: &[u8],
    ) -> Vec<u8> {
        // What was in the buffer before must not matter.
        let mut cell = vec![0xee; size.cell_len()];
        cell[OVER_OVERHEAD..][..body.len()].copy_from_slice(body);
        self.origin
            .over
            .seal(&mut cell, to, command, body.len())
            .unwrap();
        cell
    }

    pub fn open_over(&mut self, hop: usize, cell: &mut [u8]) -> Opened {
        let opener = match self.relays.get_mut(hop) {
            Some(relay) => &mut relay.over,
            None => &mut self.exit.over,
        };
        opener.open(cell).unwrap()
    }

    /// Sends a cell; returns it as it was on every link, and what was found at its end.
    pub fn send_over(
        &mut self,
        to: usize,
        command: Command,
        size: CellSize,
        body: &[u8],
    ) -> (Vec<Vec<u8>>, Opened) {
        let mut cell = self.sealed_over(to, command, size, body);
        let mut links = vec![cell.clone()];
        for hop in 0..to {
            assert_eq!(self.open_over(hop, &mut cell), Opened::Forward);
            links.push(cell.clone());
        }
        let opened = self.open_over(to, &mut cell);
        if let Opened::Deliver { len, .. } = opened {
            assert_eq!(cell[OVER_OVERHEAD..][..len], *body);
            assert!(cell[OVER_OVERHEAD + len..].iter().all(|byte| *byte == 0));
        }
        (links, opened)
    }

    pub fn send_back(&mut self, flags: u8, size: CellSize, body: &[u8]) -> Vec<Vec<u8>> {
        let mut cell = vec![0xee; size.cell_len()];
        cell[BACK_OVERHEAD..][..body.len()].copy_from_slice(body);
        self.exit.back.seal(&mut cell, flags, body.len()).unwrap();
        let mut links = vec![cell.clone()];
        for relay in &mut self.back {
            relay.back.apply(&mut cell).unwrap();
            links.push(cell.clone());
        }
        let delivered = self.origin.back.open(&mut cell).unwrap();
        assert_eq!(
            delivered,
            Delivered {
                flags,
                len: body.len()
            }
        );
        assert_eq!(cell[BACK_OVERHEAD..][..body.len()], *body);
        links
    }

    /// The hops as frames of the reverse direction come past them, with their indexes.
    pub fn reverse_hops(&mut self) -> Vec<(usize, &mut masq_onion::ReverseHop)> {
        let back = self.back.iter_mut().map(|hop| &mut hop.reverse).rev();
        let relays = self.relays.iter_mut().map(|hop| &mut hop.reverse).rev();
        let all = back.chain([&mut self.exit.reverse]).chain(relays);
        let last = self.packages.len() - 2;
        all.enumerate()
            .map(|(passed, hop)| (last - passed, hop))
            .collect()
    }
}
