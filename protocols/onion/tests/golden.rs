//! Golden vectors: every byte that a fixed circuit puts on its links, with
//! everything that was drawn at random on the way, so that the protocol can be
//! checked in another language. The values are in `tests/vectors/cores.txt` and
//! in `docs/spec/cores.md`.
//!
//! After a change that is meant to change bytes, `GOLDEN=write cargo test -p
//! masq-onion --test golden` writes the file anew.

#![allow(clippy::unwrap_used)]

mod common;

use std::convert::Infallible;
use std::fmt::Write as _;

use common::{Nodes, circuit_over};
use masq_onion::{
    AUTH_LEN, Authorisation, BACK_OVERHEAD, CellSize, Command, HopSpec, NodeKey, OVER_OVERHEAD,
    OnionSecret, OriginKx, respond,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng, TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};

const VECTORS: &str = include_str!("vectors/cores.txt");
const KDF: &str = include_str!("vectors/kdf.txt");
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/cores.txt");
const SPEC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/spec/cores.md");

/// Longer values appear in the specification by their SHA-256 only.
const LONGEST_IN_SPEC: usize = 64;

/// A generator that tells what was drawn from it.
struct Told {
    rng: ChaCha20Rng,
    draws: Vec<Vec<u8>>,
}

impl TryRng for Told {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        panic!("only whole strings are drawn")
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        panic!("only whole strings are drawn")
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.rng.fill_bytes(bytes);
        self.draws.push(bytes.to_vec());
        Ok(())
    }
}

impl TryCryptoRng for Told {}

impl Told {
    fn new(seed: u8) -> Self {
        Self {
            rng: ChaCha20Rng::from_seed([seed; 32]),
            draws: Vec::new(),
        }
    }
}

struct Lines(String);

impl Lines {
    fn put(&mut self, name: &str, value: &[u8]) {
        writeln!(self.0, "{name} = {}", hex::encode(value)).unwrap();
    }
    fn draws(&mut self, rng: &mut Told, names: &[&str]) {
        let draws: Vec<_> = rng.draws.drain(..).collect();
        assert_eq!(draws.len(), names.len());
        for (name, value) in names.iter().zip(draws) {
            self.put(name, &value);
        }
    }
}

/// Two hops over (relay 0, exit 1), one relay back (2), the origin (3).
fn nodes(lines: &mut Lines) -> Nodes {
    let mut rng = Told::new(1);
    let (mut secrets, mut specs) = (Vec::new(), Vec::new());
    for index in 0..4_u8 {
        let secret = OnionSecret::generate(&mut rng);
        lines.draws(&mut rng, &[&format!("hop{index}.onion-secret")]);
        lines.put(&format!("hop{index}.onion-public"), &secret.public().0);
        let node = NodeKey([0xa0 + index; 32]);
        lines.put(&format!("hop{index}.node"), &node.0);
        // The authorisation of hop i is of kind 1, its body 192 bytes 0xc0 + i.
        let auth = Authorisation {
            kind: 1,
            body: [0xc0 + index; AUTH_LEN],
        };
        specs.push(HopSpec {
            node,
            onion: secret.public(),
            auth,
        });
        secrets.push(secret);
    }
    Nodes {
        secrets,
        specs,
        over: 2,
    }
}

fn computed() -> String {
    let mut lines = Lines(String::new());
    let nodes = nodes(&mut lines);
    // Once with a generator that tells, once more for the circuit itself.
    let mut told = Told::new(2);
    let (package, _) = nodes.build_with(&mut told);
    lines.draws(
        &mut told,
        &[
            "hop0.ephemeral-secret",
            "hop1.ephemeral-secret",
            "hop2.ephemeral-secret",
            "hop3.ephemeral-secret",
            "setup.over-pad",
            "setup.report-pad",
            "setup.header-padding",
        ],
    );
    let mut test = circuit_over(nodes, &mut ChaCha20Rng::from_seed([2; 32]));
    assert_eq!(test.packages[0], package);
    for hop in 0..4 {
        lines.put(
            &format!("setup.hop{hop}.package"),
            test.packages[hop].as_bytes(),
        );
        lines.put(&format!("setup.hop{hop}.package-id"), &test.ids[hop]);
    }
    lines.put("setup.cookie", &test.origin.cookie());

    let small = CellSize::Small;
    let over = |lines: &mut Lines, name: &str, links: &[Vec<u8>]| {
        for (link, cell) in links.iter().enumerate() {
            lines.put(&format!("{name}.link{link}"), cell);
        }
    };
    let (links, _) = test.send_over(1, Command::Deliver(3), small, b"over the mesh");
    over(&mut lines, "over.data", &links);
    let (links, _) = test.send_over(0, Command::Deliver(1), small, b"for the relay");
    over(&mut lines, "over.control", &links);
    let (links, _) = test.send_over(1, Command::Drop, small, b"");
    over(&mut lines, "over.drop", &links);
    over(
        &mut lines,
        "back.data",
        &test.send_back(2, small, b"and back again"),
    );

    let told: Vec<_> = (0..3)
        .map(|hop| format!("to hop {hop}").into_bytes())
        .collect();
    let mut frame = test.origin.reverse.start(&told).unwrap();
    lines.put("report.link0", &frame);
    for (link, (hop, keys)) in test.reverse_hops().into_iter().enumerate() {
        keys.report(&mut frame, format!("from hop {hop}").as_bytes())
            .unwrap();
        lines.put(&format!("report.link{}", link + 1), &frame);
    }
    test.origin.reverse.finish(&mut frame).unwrap();
    let mut frame = test.exit.reverse.fail(b"no").unwrap();
    lines.put("failure.link0", &frame);
    test.relays[0].reverse.relay_failure(&mut frame).unwrap();
    lines.put("failure.link1", &frame);

    let mut told = Told::new(3);
    let (kx, share) = OriginKx::generate(&test.origin.binding, &mut told);
    lines.draws(
        &mut told,
        &["kx.origin-x25519-secret", "kx.origin-ml-kem-seed"],
    );
    lines.put("kx.origin-share", &share);
    let (there, reply) = respond(&test.exit.binding, &share, &mut told).unwrap();
    lines.draws(
        &mut told,
        &["kx.exit-x25519-secret", "kx.exit-ml-kem-message"],
    );
    lines.put("kx.exit-share", &reply);
    let here = kx.finish(&reply).unwrap();
    lines.put("kx.resume", &here.resume_secret());
    test.origin.over.rekey(&here);
    test.exit.over.rekey(&there);
    test.exit.back.rekey(&there);
    test.origin.back.rekey(&here);
    let (links, _) = test.send_over(1, Command::Deliver(0), small, b"new keys");
    over(&mut lines, "over.rekeyed", &links);
    over(
        &mut lines,
        "back.rekeyed",
        &test.send_back(0, small, b"new keys"),
    );
    lines.0
}

trait BuildWith {
    fn build_with(&self, rng: &mut Told) -> (masq_onion::SetupPackage, masq_onion::OriginCircuit);
}

impl BuildWith for Nodes {
    fn build_with(&self, rng: &mut Told) -> (masq_onion::SetupPackage, masq_onion::OriginCircuit) {
        masq_onion::build_setup(&self.specs[..2], &self.specs[2..3], &self.specs[3], rng).unwrap()
    }
}

#[test]
fn every_byte_is_as_it_was() {
    let computed = computed();
    if std::env::var("GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::write(PATH, &computed).unwrap();
        return;
    }
    for (was, is) in VECTORS.lines().zip(computed.lines()) {
        assert_eq!(was, is);
    }
    assert_eq!(VECTORS.lines().count(), computed.lines().count());
}

#[test]
fn the_specification_has_the_same_values() {
    let spec = std::fs::read_to_string(SPEC).unwrap();
    for line in VECTORS.lines().chain(KDF.lines()) {
        let (name, value) = line.split_once(" = ").unwrap();
        let bytes = hex::decode(value).unwrap();
        let shown = if bytes.len() <= LONGEST_IN_SPEC {
            format!("{name} = {value}")
        } else {
            format!("{name} = sha256:{}", hex::encode(Sha256::digest(&bytes)))
        };
        assert!(
            spec.lines().any(|line| line == shown),
            "not in the specification: {shown}"
        );
    }
}

#[test]
fn the_layout_that_the_specification_states() {
    assert_eq!(masq_onion::SETUP_LEN, 3506);
    assert_eq!(masq_onion::BLOCK_LEN, 288);
    assert_eq!((OVER_OVERHEAD, BACK_OVERHEAD), (120, 20));
    assert_eq!(
        (masq_onion::REPORT_SLOT, masq_onion::REPORT_LEN),
        (128, 1536)
    );
    assert_eq!(
        (masq_onion::REPORT_PAYLOAD, masq_onion::FAILURE_PAYLOAD),
        (111, 1518)
    );
    assert_eq!(
        (masq_onion::ORIGIN_SHARE_LEN, masq_onion::EXIT_SHARE_LEN),
        (1216, 1120)
    );
}
