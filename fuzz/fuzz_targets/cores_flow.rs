//! Requests and replies at the head of a flow: whatever decodes must encode to something that decodes to
//! the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use masq_cores::flow::{FlowReply, FlowRequest, MAX_DETAIL, MAX_MESSAGE};

fuzz_target!(|input: &[u8]| {
    if let Ok(request) = FlowRequest::decode(input) {
        let bytes = request.encode().expect("what was decoded is sound");
        assert!(FlowRequest::decode(&bytes).expect("its own bytes") == request);
    }
    if let Ok(reply) = FlowReply::decode(input) {
        assert!(reply.detail.len() <= MAX_DETAIL);
        assert!(!reply.detail.chars().any(char::is_control));
        let bytes = reply.encode();
        assert!(bytes.len() <= MAX_MESSAGE);
        assert!(FlowReply::decode(&bytes).expect("its own bytes") == reply);
    }
});
