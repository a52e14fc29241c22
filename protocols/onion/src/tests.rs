//! A circuit as a whole, seen from inside: no part of any key stream is used twice.

#![allow(clippy::unwrap_used)]

use crate::aead::record;
use crate::common::{circuit, rng};
use crate::{CellSize, Command, OriginKx, respond};

fn traffic(test: &mut crate::common::Loop) {
    let exit = test.origin.over.exit_index();
    for size in CellSize::ALL {
        for to in 0..=exit {
            test.send_over(to, Command::Deliver(1), size, b"some text");
            test.send_over(to, Command::Drop, size, b"");
        }
        test.send_back(0, size, b"an answer");
        test.send_back(0, size, b"another");
    }
}

#[test]
fn no_two_encryptions_share_key_and_counter() {
    for (over, back) in [(1, 0), (3, 2), (6, 5)] {
        let mut rng = rng(9);
        record::start();
        let mut test = circuit(over, back, &mut rng);
        traffic(&mut test);
        for _ in 0..3 {
            let to_hops = vec![b"for you".to_vec(); over + back];
            let mut frame = test.origin.reverse.start(&to_hops).unwrap();
            for (_, hop) in test.reverse_hops() {
                hop.report(&mut frame, b"mine").unwrap();
            }
            test.origin.reverse.finish(&mut frame).unwrap();
        }
        let (kx, share) = OriginKx::generate(&test.origin.binding, &mut rng);
        let (there, reply) = respond(&test.exit.binding, &share, &mut rng).unwrap();
        let here = kx.finish(&reply).unwrap();
        // Twice: even rekeying by the same secret must not begin anew.
        for _ in 0..2 {
            test.origin.over.rekey(&here);
            test.exit.over.rekey(&there);
            test.exit.back.rekey(&there);
            test.origin.back.rekey(&here);
            traffic(&mut test);
        }
        for failing in 0..over + back {
            let mut frame = None::<Box<[u8]>>;
            for (index, hop) in test.reverse_hops() {
                if let Some(frame) = &mut frame {
                    hop.relay_failure(frame).unwrap();
                } else if index == failing {
                    frame = Some(hop.fail(b"no").unwrap());
                }
            }
            let mut frame = frame.unwrap();
            let told = test.origin.reverse.open_failure(&mut frame).unwrap();
            assert_eq!(told, (failing, b"no".to_vec()));
        }
        let log = record::stop();
        assert!(log.len() > 50);
        assert_eq!(record::overlap(log), None);
    }
}
