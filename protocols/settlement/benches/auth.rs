//! What a payment authorisation costs: signing at the origin, verifying at a hop.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use alloy_primitives::Address;
use criterion::{Criterion, criterion_group, criterion_main};
use masq_settlement::auth::judge;
use masq_settlement::{
    Domain, HopView, KIND_ROUTE_AUTH, NodeKey, RatePack, RouteAuth, SIGNATURE_LEN, SignError,
    Signer,
};

#[path = "../tests/wallet/mod.rs"]
#[expect(
    unreachable_pub,
    reason = "it is a module of the crate's own tests too"
)]
mod wallet;

const NOW: u64 = 1_700_000_000;

fn auth(c: &mut Criterion) {
    let signer = wallet::Wallet::new(1);
    let domain = Domain::new(31337, Address::repeat_byte(1));
    let (hop, ephemeral) = (NodeKey([2; 32]), [3; 32]);
    let auth = RouteAuth {
        payer: signer.address(),
        rates: RatePack::default(),
        max_spend: 1,
        not_before: NOW,
        expiry: NOW + 3600,
    };
    c.bench_function("sign", |b| {
        b.iter(|| {
            auth.sign(&domain, &hop, black_box(&ephemeral), &signer)
                .unwrap()
        });
    });
    let body = auth
        .sign(&domain, &hop, &ephemeral, &signer)
        .unwrap()
        .encode();
    let view = HopView {
        domain,
        node: hop,
        ephemeral: &ephemeral,
        floors: &[],
    };
    c.bench_function("verify", |b| {
        b.iter(|| judge(KIND_ROUTE_AUTH, black_box(&body), &view, NOW).unwrap());
    });
}

criterion_group!(benches, auth);
criterion_main!(benches);
