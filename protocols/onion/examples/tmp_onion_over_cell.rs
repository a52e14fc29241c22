//! Over cells: bytes of a peer, as they are and as changes to a good cell. A
//! hop never panics, opens nothing that was changed, and nothing after it.
#![allow(clippy::all, missing_docs)]


macro_rules! fuzz_target { (|$d:ident: &[u8]| $b:block) => { fn target($d: &[u8]) $b
fn main() { use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
    let mut r = rand_chacha::ChaCha20Rng::from_seed([9; 32]);
    for i in 0..3000u32 { let n = (r.next_u32() as usize) % [8, 40, 1300, 4000, 1537][i as usize % 5];
        let n = match i % 50 { 0 => 1536, 1 => 1217, 2 => 1121, 3 => 3506, _ => n };
        let mut d = vec![0; n]; if i % 3 == 0 { r.fill_bytes(&mut d) } else if n > 0 { d[0] = i as u8; let k = r.next_u32() as usize % n; d[k] ^= 1 << (i % 8); } target(&d); }
    println!("3000 inputs ok"); } } }
use masq_onion::{
    Authorisation, CellError, CellSize, Command, HopSpec, NodeKey, OnionSecret, Opened,
    build_setup, peel,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

fuzz_target!(|data: &[u8]| {
    let [choice, data @ ..] = data else { return };
    let mut rng = ChaCha20Rng::from_seed([2; 32]);
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
    let mut relay = peel(&[&keys[0]], &package)
        .expect("made for it")
        .keys
        .into_over_relay();

    // A length that is none: refused, and nothing has happened.
    assert!(
        relay
            .over
            .open(&mut data[..data.len().min(1022)].to_vec())
            .is_err()
    );
    let size = CellSize::ALL[usize::from(choice % 3)];
    let mut cell = vec![0; size.cell_len()];
    let len = data.len().min(cell.len());
    if choice & 0x80 == 0 {
        origin
            .over
            .seal(&mut cell, 1, Command::Deliver(1), 10)
            .expect("it fits");
        for (byte, change) in cell.iter_mut().zip(data) {
            *byte ^= change;
        }
        let unchanged = data[..len].iter().all(|byte| *byte == 0);
        match relay.over.open(&mut cell) {
            Ok(opened) => assert!(unchanged && opened == Opened::Forward),
            Err(error) => assert!(!unchanged && error == CellError::Authentication),
        }
    } else {
        cell[..len].copy_from_slice(&data[..len]);
        assert_eq!(relay.over.open(&mut cell), Err(CellError::Authentication));
        assert_eq!(relay.over.open(&mut cell), Err(CellError::Closed));
    }
});
