//! Set-up packages: bytes of a peer, as they are and as changes to a good
//! package. Nothing panics, and nothing that was changed is opened.
#![no_main]

use libfuzzer_sys::fuzz_target;
use masq_onion::{
    Authorisation, HopSpec, NodeKey, OnionSecret, SETUP_LEN, SetupPackage, build_setup, peel,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::sync::LazyLock;

/// Two onion keys of a hop, and a package made for the first.
static GOOD: LazyLock<([OnionSecret; 2], SetupPackage)> = LazyLock::new(|| {
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let keys = [
        OnionSecret::generate(&mut rng),
        OnionSecret::generate(&mut rng),
    ];
    let hop = HopSpec {
        node: NodeKey([1; 32]),
        onion: keys[0].public(),
        auth: Authorisation::none(),
    };
    let hops = vec![hop.clone(); 3];
    let (package, _) = build_setup(&hops, &hops[..2], &hop, &mut rng).expect("legs are short");
    (keys, package)
});

fuzz_target!(|data: &[u8]| {
    let (keys, good) = &*GOOD;
    let keys = [&keys[0], &keys[1]];
    assert_eq!(
        SetupPackage::from_bytes(data).is_ok(),
        data.len() == SETUP_LEN
    );
    // As it is, filled up to the length.
    let mut bytes = [0; SETUP_LEN];
    let len = data.len().min(SETUP_LEN);
    bytes[..len].copy_from_slice(&data[..len]);
    let raw = SetupPackage::from_bytes(&bytes).expect("the length is right");
    assert_eq!(peel(&keys, &raw).is_ok(), bytes == *good.as_bytes());
    // As a change.
    for (byte, good) in bytes.iter_mut().zip(good.as_bytes()) {
        *byte ^= good;
    }
    let changed = SetupPackage::from_bytes(&bytes).expect("the length is right");
    assert_eq!(peel(&keys, &changed).is_ok(), bytes == *good.as_bytes());
});
