//! Any bytes as a gossip message: no panic, and what was read is written and read alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use masq_gossip::Message;

fuzz_target!(|data: &[u8]| {
    if let Ok(message) = Message::decode(data) {
        assert_eq!(Message::decode(&message.encode()), Ok(message));
    }
});
