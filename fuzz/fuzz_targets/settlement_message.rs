//! Any bytes as a settlement message and as an envelope: no panic, and what was read is written alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use masq_settlement::message::{Envelope, MAX_ENVELOPE_LEN, MAX_MESSAGE_LEN, Message};

fuzz_target!(|data: &[u8]| {
    if let Ok(message) = Message::decode(data) {
        assert!(data.len() <= MAX_MESSAGE_LEN);
        assert_eq!(message.encode(), data);
    }
    if let Ok(envelope) = Envelope::decode(data) {
        assert!(data.len() <= MAX_ENVELOPE_LEN);
        assert_eq!(envelope.encode(), data);
    }
});
