//! Any bytes as a payment authorisation: no panic, what was read is written alike, and nothing but
//! a signature holds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use masq_settlement::auth::judge;
use masq_settlement::{AUTH_LEN, Domain, HopView, KIND_ROUTE_AUTH, NodeKey, SignedAuth};

fuzz_target!(|data: &[u8]| {
    let mut body = [0; AUTH_LEN];
    let len = data.len().min(AUTH_LEN);
    body[..len].copy_from_slice(&data[..len]);
    if let Some(signed) = SignedAuth::decode(&body) {
        assert_eq!(signed.encode(), body);
    }
    let view = HopView {
        domain: Domain::new(31337, [1; 20].into()),
        node: NodeKey([2; 32]),
        ephemeral: &[3; 32],
        floors: &[],
    };
    assert!(judge(KIND_ROUTE_AUTH, &body, &view, 1_700_000_000).is_err());
});
