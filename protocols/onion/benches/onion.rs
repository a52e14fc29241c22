//! What the onion layer costs: building and peeling a set-up package, sealing
//! and opening cells of every size, and AES of both backends side by side. The
//! cells are measured with the backend that is compiled in: run once more with
//! `--no-default-features` for the other.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use masq_onion::seam::{Ctr, Gcm, pure};
use masq_onion::{
    Authorisation, BACKEND, CellSize, Command, HopSpec, NodeKey, OnionSecret, OriginCircuit,
    OriginKx, SetupPackage, build_setup, peel, respond,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

struct Route {
    keys: Vec<OnionSecret>,
    specs: Vec<HopSpec>,
}

/// Three hops over, two relays back, the origin.
fn route(rng: &mut ChaCha20Rng) -> Route {
    let keys: Vec<_> = (0..6).map(|_| OnionSecret::generate(rng)).collect();
    let spec = |(index, key): (usize, &OnionSecret)| HopSpec {
        node: NodeKey([index as u8; 32]),
        onion: key.public(),
        auth: Authorisation::none(),
    };
    let specs = keys.iter().enumerate().map(spec).collect();
    Route { keys, specs }
}

fn build(route: &Route, rng: &mut ChaCha20Rng) -> (SetupPackage, OriginCircuit) {
    build_setup(&route.specs[..3], &route.specs[3..5], &route.specs[5], rng).unwrap()
}

fn setup(c: &mut Criterion) {
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let route = route(&mut rng);
    let mut group = c.benchmark_group(format!("setup/{BACKEND}"));
    group.bench_function("build 3 over 2 back", |b| {
        b.iter(|| black_box(build(&route, &mut rng)));
    });
    let (package, circuit) = build(&route, &mut rng);
    group.bench_function("peel", |b| {
        b.iter(|| black_box(peel(&[&route.keys[0]], &package).unwrap()));
    });
    group.bench_function("peel refused", |b| {
        let mut bytes = *package.as_bytes();
        bytes[100] ^= 1;
        let bad = SetupPackage::from_bytes(&bytes).unwrap();
        b.iter(|| black_box(peel(&[&route.keys[0]], &bad).is_err()));
    });
    group.bench_function("relay keys", |b| {
        b.iter_batched(
            || peel(&[&route.keys[0]], &package).unwrap().keys,
            masq_onion::HopKeys::into_over_relay,
            BatchSize::SmallInput,
        );
    });
    group.bench_function("key exchange, both ends", |b| {
        b.iter(|| {
            let (kx, share) = OriginKx::generate(&circuit.binding, &mut rng);
            let (_, reply) = respond(&circuit.binding, &share, &mut rng).unwrap();
            black_box(kx.finish(&reply).unwrap())
        });
    });
    group.finish();
}

fn cells(c: &mut Criterion) {
    let mut rng = ChaCha20Rng::from_seed([2; 32]);
    let route = route(&mut rng);
    let mut group = c.benchmark_group(format!("cells/{BACKEND}"));
    for size in CellSize::ALL {
        let mut cell = vec![0; size.cell_len()];
        group.throughput(Throughput::Bytes(size.cell_len() as u64));
        let (_, mut origin) = build(&route, &mut rng);
        group.bench_function(format!("over seal, 3 hops, {size:?}"), |b| {
            b.iter(|| {
                origin
                    .over
                    .seal(&mut cell, 2, Command::Deliver(0), 900)
                    .unwrap()
            });
        });
        // An opener wants the cells of its own circuit in their order: they are
        // sealed outside of the measurement.
        let (package, mut origin) = build(&route, &mut rng);
        let mut relay = peel(&[&route.keys[0]], &package)
            .unwrap()
            .keys
            .into_over_relay();
        group.bench_function(format!("over peel, {size:?}"), |b| {
            b.iter_batched_ref(
                || {
                    let mut cell = vec![0; size.cell_len()];
                    origin
                        .over
                        .seal(&mut cell, 2, Command::Deliver(0), 900)
                        .unwrap();
                    cell
                },
                |cell| relay.over.open(cell).unwrap(),
                // One input at a time keeps cells in order and the buffer warm,
                // as it is when it has just been read.
                BatchSize::PerIteration,
            );
        });
        let mut next = Some(package);
        let mut hops = Vec::new();
        for key in &route.keys[..5] {
            let peeled = peel(&[key], &next.unwrap()).unwrap();
            next = peeled.next_package;
            hops.push(peeled.keys);
        }
        let mut layer = hops.remove(3).into_back_relay();
        let mut exit = hops.remove(2).into_exit();
        group.bench_function(format!("back seal, {size:?}"), |b| {
            b.iter(|| exit.back.seal(&mut cell, 0, 900).unwrap());
        });
        group.bench_function(format!("back layer, {size:?}"), |b| {
            b.iter(|| layer.back.apply(&mut cell).unwrap());
        });
    }
    group.finish();
}

fn backend<G: Gcm, C: Ctr>(c: &mut Criterion, name: &str) {
    let mut group = c.benchmark_group(format!("aes/{name}"));
    let (gcm, ctr) = (G::new(&[1; 32]), C::new(&[2; 32]));
    for size in CellSize::ALL {
        let mut text = vec![0; size.cell_len() - 16];
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("gcm seal {size:?}"), |b| {
            b.iter(|| gcm.seal(&[0; 12], &mut text));
        });
        let mut sealed = text.clone();
        let tag = gcm.seal(&[0; 12], &mut sealed);
        group.bench_function(format!("gcm open {size:?}, with a copy"), |b| {
            b.iter(|| {
                text.copy_from_slice(&sealed);
                assert!(gcm.open(&[0; 12], &tag, &mut text));
            });
        });
        group.bench_function(format!("ctr {size:?}"), |b| {
            b.iter(|| ctr.apply(&[0; 16], &mut text));
        });
    }
    group.finish();
}

fn backends(c: &mut Criterion) {
    #[cfg(feature = "aws-lc")]
    {
        use masq_onion::seam::aws;
        backend::<aws::AesGcm, aws::AesCtr>(c, "aws-lc");
    }
    backend::<pure::AesGcm, pure::AesCtr>(c, "rust-crypto");
}

criterion_group!(benches, setup, cells, backends);
criterion_main!(benches);
