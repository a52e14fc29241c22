//! The block inside a header, which only an origin can write: any bytes decode
//! without panic, and what decodes encodes to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
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
