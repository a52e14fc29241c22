//! Units of cells: sizes, refusals, exhaustion, rekeying.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::aead::MESSAGES_PER_KEY;
use crate::common::{circuit, rng};
use crate::kx::{OriginKx, SessionSecret, respond};

fn session(test: &crate::common::Loop) -> (SessionSecret, SessionSecret) {
    let mut rng = rng(200);
    let (kx, share) = OriginKx::generate(&test.origin.binding, &mut rng);
    let (there, reply) = respond(&test.exit.binding, &share, &mut rng).unwrap();
    (kx.finish(&reply).unwrap(), there)
}

#[test]
fn sizes() {
    assert_eq!((OVER_OVERHEAD, BACK_OVERHEAD), (120, 20));
    for size in CellSize::ALL {
        assert_eq!(CellSize::of_cell_len(size.cell_len()), Some(size));
        assert_eq!(CellSize::fitting_over(size.over_body()), Some(size));
        assert_eq!(CellSize::fitting_back(size.back_body()), Some(size));
        assert_ne!(CellSize::fitting_over(size.over_body() + 1), Some(size));
        assert_ne!(CellSize::fitting_back(size.back_body() + 1), Some(size));
    }
    assert_eq!(CellSize::fitting_over(0), Some(CellSize::Small));
    assert_eq!(CellSize::fitting_over(16264), None);
    assert_eq!(CellSize::of_cell_len(1024), None);
}

#[test]
fn misuse_changes_nothing() {
    let mut test = circuit(2, 1, &mut rng(1));
    let mut cell = vec![7; CellSize::Small.cell_len()];
    let before = cell.clone();
    let long = CellSize::Small.over_body() + 1;
    let over = &mut test.origin.over;
    assert_eq!(over.exit_index(), 1);
    assert_eq!(
        over.seal(&mut cell, 1, Command::Drop, long),
        Err(CellError::BodyTooLong)
    );
    assert_eq!(
        over.seal(&mut cell, 2, Command::Drop, 0),
        Err(CellError::NoSuchHop)
    );
    assert_eq!(
        over.seal(&mut [0; 1024], 1, Command::Drop, 0),
        Err(CellError::Length(1024))
    );
    assert_eq!(test.exit.over.open(&mut [0; 3]), Err(CellError::Length(3)));
    let long = CellSize::Small.back_body() + 1;
    assert_eq!(
        test.exit.back.seal(&mut cell, 0, long),
        Err(CellError::BodyTooLong)
    );
    assert_eq!(
        test.exit.back.seal(&mut [], 0, 0),
        Err(CellError::Length(0))
    );
    assert_eq!(
        test.back[0].back.apply(&mut [0; 3]),
        Err(CellError::Length(3))
    );
    assert_eq!(
        test.origin.back.open(&mut [0; 3]),
        Err(CellError::Length(3))
    );
    assert_eq!(cell, before);
    // And both legs still work.
    test.send_over(1, Command::Deliver(5), CellSize::Small, b"on");
    test.send_back(6, CellSize::Small, b"off");
}

#[test]
fn an_opener_is_closed_for_good_by_what_it_cannot_open() {
    let mut test = circuit(1, 1, &mut rng(2));
    let mut bad = test.sealed_over(0, Command::Drop, CellSize::Small, b"");
    let mut good = test.sealed_over(0, Command::Drop, CellSize::Small, b"");
    bad[500] ^= 1;
    assert_eq!(
        test.exit.over.open(&mut bad),
        Err(CellError::Authentication)
    );
    assert_eq!(test.exit.over.open(&mut good), Err(CellError::Closed));

    let mut cell = vec![0; CellSize::Small.cell_len()];
    assert_eq!(
        test.origin.back.open(&mut cell),
        Err(CellError::Authentication)
    );
    assert_eq!(test.origin.back.open(&mut cell), Err(CellError::Closed));
}

#[test]
fn cells_out_of_order_or_twice_are_refused() {
    for replay in [false, true] {
        let mut test = circuit(1, 0, &mut rng(3));
        let mut first = test.sealed_over(0, Command::Drop, CellSize::Small, b"");
        let mut second = test.sealed_over(0, Command::Drop, CellSize::Small, b"");
        if replay {
            test.exit.over.open(&mut first.clone()).unwrap();
            assert_eq!(
                test.exit.over.open(&mut first),
                Err(CellError::Authentication)
            );
        } else {
            assert_eq!(
                test.exit.over.open(&mut second),
                Err(CellError::Authentication)
            );
        }
    }
}

#[test]
fn forward_at_the_exit_and_unknown_commands_make_no_sense() {
    for command in [FORWARD_BYTE, 3, 255] {
        let mut test = circuit(1, 0, &mut rng(4));
        let mut cell = test.sealed_over(0, Command::Drop, CellSize::Small, b"");
        // The origin is the one who misbehaves: GCM is undone and redone with its keys.
        over::tests_support::set_command(&mut test.origin.over, &mut cell, command);
        assert_eq!(test.exit.over.open(&mut cell), Err(CellError::Content));
        assert_eq!(test.exit.over.open(&mut cell), Err(CellError::Closed));
    }
}

const FORWARD_BYTE: u8 = 0;

#[test]
fn keys_are_exhausted_before_a_counter_wraps() {
    let last = MESSAGES_PER_KEY - 1;
    let mut test = circuit(2, 1, &mut rng(5));
    test.origin.over.set_cells(1, last);
    test.exit.over.set_cells(last);
    test.send_over(1, Command::Drop, CellSize::Small, b"");
    let mut cell = vec![0; CellSize::Small.cell_len()];
    let over = &mut test.origin.over;
    assert_eq!(
        over.seal(&mut cell, 1, Command::Drop, 0),
        Err(CellError::Exhausted)
    );
    // The refused cell did not move the counter of the relay before.
    test.send_over(0, Command::Drop, CellSize::Small, b"");
    assert_eq!(test.exit.over.open(&mut cell), Err(CellError::Exhausted));

    test.exit.back.set_cells(last);
    test.back[0].back.set_cells(last);
    assert!(test.exit.back.seal(&mut cell, 0, 0).is_ok());
    assert_eq!(
        test.exit.back.seal(&mut cell, 0, 0),
        Err(CellError::Exhausted)
    );
    assert!(test.back[0].back.apply(&mut cell).is_ok());
    assert_eq!(
        test.back[0].back.apply(&mut cell),
        Err(CellError::Exhausted)
    );
}

#[test]
fn new_keys_take_over_from_the_next_cell() {
    let mut test = circuit(3, 2, &mut rng(6));
    test.send_over(2, Command::Deliver(0), CellSize::Medium, b"old");
    test.send_back(0, CellSize::Medium, b"old");
    let (here, there) = session(&test);
    test.origin.over.rekey(&here);
    test.exit.over.rekey(&there);
    test.send_over(2, Command::Deliver(0), CellSize::Medium, b"new");
    test.send_over(
        1,
        Command::Deliver(0),
        CellSize::Small,
        b"relays keep theirs",
    );
    test.send_back(0, CellSize::Medium, b"still old");
    test.exit.back.rekey(&there);
    test.origin.back.rekey(&here);
    test.send_back(0, CellSize::Large, b"new");
    test.send_over(2, Command::Deliver(0), CellSize::Large, b"new");
}

#[test]
fn old_keys_no_longer_open() {
    let mut test = circuit(1, 0, &mut rng(7));
    let (here, _) = session(&test);
    test.origin.over.rekey(&here);
    let mut cell = test.sealed_over(0, Command::Drop, CellSize::Small, b"");
    assert_eq!(
        test.exit.over.open(&mut cell),
        Err(CellError::Authentication)
    );
}
