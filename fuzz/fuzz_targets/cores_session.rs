//! Cells of a session, as a peer may send them: header, hello, and the machine that takes them. The first
//! byte of each cell's length-prefixed slice is made a kind that exists, so that the fuzzer gets past it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use masq_cores::session::{Header, Hello, Kind, Machine, SessionId};

fuzz_target!(|input: &[u8]| {
    if let Ok((header, rest)) = Header::decode(input) {
        let mut again = input.to_vec();
        header.encode(&mut again);
        assert_eq!(again, input);
        let _ = Hello::decode(header.kind, rest);
        for kind in [Kind::Open, Kind::Resume] {
            let _ = Hello::decode(kind, rest);
        }
    }
    for mut machine in [Machine::origin(SessionId([1; 16])), Machine::exit()] {
        let mut out = [0; 1024];
        let mut rest = input;
        while let Some((len, tail)) = rest.split_first() {
            let (cell, tail) = tail.split_at(usize::from(*len).min(tail.len()));
            rest = tail;
            let mut cell = cell.to_vec();
            if let Some(kind) = cell.first_mut() {
                *kind %= 4;
            }
            if machine.control_due() && machine.may_send() {
                machine.cut_control(&mut out);
            }
            match machine.on_cell(&cell) {
                Ok(taken) => {
                    assert!(taken.data.end <= cell.len());
                    if !taken.data.is_empty() {
                        machine.release();
                    }
                }
                Err(_) => break,
            }
            let _ = machine.resume(&cell, &[0; 32]);
        }
    }
});
