//! Any bytes as a proof of a lie: no panic, and what was read is written and read alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use masq_gossip::{MAX_EVIDENCE_LEN, Proof};

fuzz_target!(|data: &[u8]| {
    if let Ok(proof) = Proof::from_evidence(data) {
        let evidence = proof.evidence();
        assert!(evidence.len() <= MAX_EVIDENCE_LEN && evidence.len() == data.len());
        assert_eq!(Proof::from_evidence(&evidence), Ok(proof));
    }
    // The same bytes as records: cut in the middle, and whole.
    let (one, other) = data.split_at(data.len() / 2);
    let _ = Proof::parse(&[one, other]);
    let _ = Proof::parse(&[data]);
});
