//! Key exchange: shares and replies of a peer, as they are and as changes to
//! good ones. Nothing panics, and no change leaves both ends with one secret.
#![no_main]

use libfuzzer_sys::fuzz_target;
use masq_onion::{
    Authorisation, EXIT_SHARE_LEN, HopSpec, NodeKey, ORIGIN_SHARE_LEN, OnionSecret, OriginKx,
    build_setup, peel, respond,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

fuzz_target!(|data: &[u8]| {
    let [choice, data @ ..] = data else { return };
    let mut rng = ChaCha20Rng::from_seed([5; 32]);
    let key = OnionSecret::generate(&mut rng);
    let hop = HopSpec {
        node: NodeKey([1; 32]),
        onion: key.public(),
        auth: Authorisation::none(),
    };
    let (package, circuit) =
        build_setup(std::slice::from_ref(&hop), &[], &hop, &mut rng).expect("one hop is enough");
    let exit = peel(&[&key], &package)
        .expect("made for it")
        .keys
        .into_exit();
    let (origin, mut share) = OriginKx::generate(&circuit.binding, &mut rng);
    match choice % 3 {
        0 => {
            let raw = respond(&exit.binding, data, &mut rng);
            assert!(raw.is_err() || data.len() == ORIGIN_SHARE_LEN);
            let raw = origin.finish(data);
            assert!(raw.is_err() || data.len() == EXIT_SHARE_LEN);
        }
        1 => {
            for (byte, change) in share.iter_mut().zip(data) {
                *byte ^= change;
            }
            let changed = data.iter().take(share.len()).any(|byte| *byte != 0);
            match respond(&exit.binding, &share, &mut rng) {
                Ok((there, reply)) => {
                    let here = origin.finish(&reply).expect("the exit is honest");
                    assert_eq!(here.resume_secret() == there.resume_secret(), !changed);
                }
                Err(_) => assert!(changed),
            }
        }
        _ => {
            let (there, mut reply) =
                respond(&exit.binding, &share, &mut rng).expect("the origin is honest");
            for (byte, change) in reply.iter_mut().zip(data) {
                *byte ^= change;
            }
            let changed = data.iter().take(reply.len()).any(|byte| *byte != 0);
            match origin.finish(&reply) {
                Ok(here) => assert_eq!(here.resume_secret() == there.resume_secret(), !changed),
                Err(_) => assert!(changed),
            }
        }
    }
});
