//! The block inside a header, which only an origin can write: any bytes decode
//! without panic, and what decodes encodes to the same.
#![allow(clippy::all, missing_docs)]


macro_rules! fuzz_target { (|$d:ident: &[u8]| $b:block) => { fn target($d: &[u8]) $b
fn main() { use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
    let mut r = rand_chacha::ChaCha20Rng::from_seed([9; 32]);
    for i in 0..3000u32 { let n = (r.next_u32() as usize) % [8, 40, 1300, 4000, 1537][i as usize % 5];
        let n = match i % 50 { 0 => 1536, 1 => 1217, 2 => 1121, 3 => 3506, _ => n };
        let mut d = vec![0; n]; if i % 3 == 0 { r.fill_bytes(&mut d) } else if n > 0 { d[0] = i as u8; let k = r.next_u32() as usize % n; d[k] ^= 1 << (i % 8); } target(&d); }
    println!("3000 inputs ok"); } } }
use masq_onion::{BLOCK_LEN, seam};

/// Bytes of a block that have a meaning; the rest is reserved.
const USED: usize = 275;

fuzz_target!(|data: &[u8]| {
    let mut block = [0; BLOCK_LEN];
    let len = data.len().min(BLOCK_LEN);
    block[..len].copy_from_slice(&data[..len]);
    match seam::recode_block(&block) {
        Some(again) => {
            assert_eq!(again[..USED], block[..USED]);
            assert!(again[USED..].iter().all(|byte| *byte == 0));
        }
        None => assert!(!(1..=4).contains(&block[0])),
    }
});
