//! Any text as a descriptor: no panic, and what was read is written and read alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use masq_gossip::Descriptor;

fuzz_target!(|data: &str| {
    if let Ok(descriptor) = data.parse::<Descriptor>() {
        let text = descriptor.to_string();
        assert_eq!(text.parse(), Ok(descriptor), "{text}");
    }
});
