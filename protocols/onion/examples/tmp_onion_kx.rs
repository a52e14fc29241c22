//! Key exchange: shares and replies of a peer, as they are and as changes to
//! good ones. Nothing panics, and no change leaves both ends with one secret.
#![allow(clippy::all, missing_docs)]


macro_rules! fuzz_target { (|$d:ident: &[u8]| $b:block) => { fn target($d: &[u8]) $b
fn main() { use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
    let mut r = rand_chacha::ChaCha20Rng::from_seed([9; 32]);
    for i in 0..3000u32 { let n = (r.next_u32() as usize) % [8, 40, 1300, 4000, 1537][i as usize % 5];
        let n = match i % 50 { 0 => 1536, 1 => 1217, 2 => 1121, 3 => 3506, _ => n };
        let mut d = vec![0; n]; if i % 3 == 0 { r.fill_bytes(&mut d) } else if n > 0 { d[0] = i as u8; let k = r.next_u32() as usize % n; d[k] ^= 1 << (i % 8); } target(&d); }
    println!("3000 inputs ok"); } } }
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
