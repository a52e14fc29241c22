//! Report and failure frames: bytes of a peer to a hop and to the origin, as
//! they are and as changes to good frames. Nothing panics; what was changed is
//! taken for nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use masq_onion::{Authorisation, HopSpec, NodeKey, OnionSecret, REPORT_LEN, build_setup, peel};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

fuzz_target!(|data: &[u8]| {
    let mut rng = ChaCha20Rng::from_seed([4; 32]);
    let keys: Vec<_> = (0..3).map(|_| OnionSecret::generate(&mut rng)).collect();
    let hops: Vec<_> = keys
        .iter()
        .map(|key| HopSpec {
            node: NodeKey([1; 32]),
            onion: key.public(),
            auth: Authorisation::none(),
        })
        .collect();
    let (package, mut origin) =
        build_setup(&hops[..2], &[], &hops[2], &mut rng).expect("legs are short");
    let peeled = peel(&[&keys[0]], &package).expect("made for it");
    let package = peeled.next_package.expect("a relay is not the end");
    let mut relay = peeled.keys.into_over_relay().reverse;
    let mut exit = peel(&[&keys[1]], &package)
        .expect("made for it")
        .keys
        .into_exit()
        .reverse;
    let changed = data.iter().take(REPORT_LEN).any(|byte| *byte != 0);
    let change = |frame: &mut [u8]| {
        for (byte, change) in frame.iter_mut().zip(data) {
            *byte ^= change;
        }
    };

    // A changed frame loses what was changed and nothing else.
    let mut frame = origin
        .reverse
        .start(&[b"a".to_vec(), b"b".to_vec()])
        .expect("it fits");
    let mine = &data[..data.len().min(masq_onion::REPORT_PAYLOAD)];
    assert_eq!(exit.report(&mut frame, mine), Ok(Some(b"b".to_vec())));
    change(&mut frame);
    let told = relay.report(&mut frame, mine).expect("the size is right");
    assert!(told.is_none() || told == Some(b"a".to_vec()));
    let answers = origin.reverse.finish(&mut frame).expect("one is under way");
    assert_eq!(answers[0].as_deref(), Some(mine));
    assert!(answers[1].is_none() || answers[1].as_deref() == Some(mine));

    let mut frame = exit.fail(mine).expect("it fits");
    change(&mut frame);
    relay.relay_failure(&mut frame).expect("the size is right");
    match origin.reverse.open_failure(&mut frame) {
        Ok(told) => assert!(!changed && told == (1, mine.to_vec())),
        Err(_) => assert!(changed),
    }

    // Of any length.
    let mut raw = data.to_vec();
    assert_eq!(relay.report(&mut raw, b"").is_ok(), raw.len() == REPORT_LEN);
    assert!(origin.reverse.finish(&mut raw).is_err());
    assert!(origin.reverse.open_failure(&mut raw).is_err());
});
