//! Any sequence of messages, in slots of report frames, at both sides of an account: no panic, no
//! overflow, and nothing is signed beyond the payer's own books.
#![no_main]

use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use masq_settlement::message::Message;
use masq_settlement::{
    Carried, CircuitRef, Config, Domain, Input, Machine, NodeKey, Now, Party, RatePack,
    SIGNATURE_LEN, Service, SignError, Signer, Terms, Usage,
};

/// Signs nothing that could be verified: what counts here are the amounts.
struct Stub;

impl Signer for Stub {
    fn address(&self) -> alloy_primitives::Address {
        [1; 20].into()
    }

    fn sign_hash(&self, _: &alloy_primitives::B256) -> Result<[u8; SIGNATURE_LEN], SignError> {
        let mut signature = [1; SIGNATURE_LEN];
        signature[64] = 0;
        Ok(signature)
    }
}

const HOP: NodeKey = NodeKey([2; 32]);
const CIRCUIT: CircuitRef = CircuitRef([3; 8]);
const TERMS: Terms = Terms {
    rates: RatePack {
        routing_byte: u64::MAX,
        routing_package: u64::MAX,
        exit_byte: 1,
        exit_package: 1,
    },
    service: Service::Routing,
    max_spend: 1,
};

fuzz_target!(|data: &[u8]| {
    let domain = Domain::new(31337, [1; 20].into());
    let payer = Party::Payer([1; 20].into());
    let hop = Party::Hop(HOP);
    let mut machine = Machine::new(
        Config::new(domain, HOP, u128::MAX, TERMS.rates),
        Some(Arc::new(Stub)),
    );
    let mut now = Now {
        mono: Duration::ZERO,
        unix: 1_700_000_000,
    };
    let _ = machine.admit(now, [1; 20].into(), CIRCUIT, TERMS);
    let _ = machine.open(now, HOP, CIRCUIT, TERMS);
    let mut rest = data;
    while let [len, tail @ ..] = rest {
        let (bytes, tail) = tail.split_at(usize::from(*len).min(tail.len()));
        rest = tail;
        let carried = Carried {
            cells: u64::from(*len) << (len % 64),
            bytes: u64::MAX >> (len % 64),
        };
        for who in [payer, hop] {
            let usage = Usage {
                over: carried,
                back: carried,
            };
            let circuit = CIRCUIT;
            machine.handle(
                now,
                Input::Carried {
                    who,
                    circuit,
                    usage,
                },
            );
            if let Ok(message) = Message::decode(bytes) {
                machine.handle(now, Input::Heard { from: who, message });
            }
            let _ = machine.say(now, &who, Some(&CIRCUIT));
        }
        while machine.poll_output().is_some() {}
        let books = machine.hop(&HOP).expect("the account is open");
        assert!(books.base + books.signed <= books.booked);
        now.mono += Duration::from_secs(u64::from(*len));
        now.unix += u64::from(*len);
        machine.on_timeout(now);
    }
});
