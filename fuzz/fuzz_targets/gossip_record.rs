//! Any bytes as a signed record: no panic; what is accepted has exactly one encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use masq_gossip::SignedRecord;

fuzz_target!(|data: &[u8]| {
    if let Ok(record) = SignedRecord::parse(data) {
        assert_eq!(record.bytes(), data);
        assert!(record.neighbours.len() <= masq_gossip::MAX_LISTED);
    }
});
