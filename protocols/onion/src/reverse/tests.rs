//! Units of report and failure frames.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::common::{Loop, circuit, rng};

type Answers = Vec<Option<Vec<u8>>>;

/// One round; hop `i` says "from i" and is told "to i".
fn round(test: &mut Loop) -> (Vec<Box<[u8]>>, Answers) {
    let hops = test.hops();
    let to_hops: Vec<_> = (0..hops).map(|i| format!("to {i}").into_bytes()).collect();
    let mut frame = test.origin.reverse.start(&to_hops).unwrap();
    let mut links = vec![frame.clone()];
    for (index, hop) in test.reverse_hops() {
        let told = hop
            .report(&mut frame, format!("from {index}").as_bytes())
            .unwrap();
        assert_eq!(told, Some(format!("to {index}").into_bytes()));
        links.push(frame.clone());
    }
    let answers = test.origin.reverse.finish(&mut frame).unwrap();
    (links, answers)
}

#[test]
fn reports_go_round_on_every_circuit() {
    for over in 1..=6 {
        for back in 0..=5 {
            let mut test = circuit(over, back, &mut rng(1));
            assert_eq!(test.origin.reverse.hops(), over + back);
            for _ in 0..2 {
                let (links, answers) = round(&mut test);
                assert!(links.iter().all(|frame| frame.len() == REPORT_LEN));
                assert_eq!(answers.len(), over + back);
                for (index, answer) in answers.into_iter().enumerate() {
                    assert_eq!(answer.unwrap(), format!("from {index}").into_bytes());
                }
            }
        }
    }
}

#[test]
fn frames_share_nothing_from_link_to_link_but_what_moved_under_a_layer() {
    let mut test = circuit(3, 2, &mut rng(2));
    let (links, _) = round(&mut test);
    for pair in links.windows(2) {
        for a in pair[0].chunks(16) {
            assert!(pair[1].windows(16).all(|b| a != b));
        }
    }
}

#[test]
fn nothing_to_say_is_none_and_full_payloads_fit() {
    let mut test = circuit(2, 0, &mut rng(3));
    let full = vec![5; REPORT_PAYLOAD];
    let mut frame = test.origin.reverse.start(&[vec![], full.clone()]).unwrap();
    let mut told = Vec::new();
    for (_, hop) in test.reverse_hops() {
        told.push(hop.report(&mut frame, &full).unwrap());
    }
    assert_eq!(told, [Some(full.clone()), None]);
    let answers = test.origin.reverse.finish(&mut frame).unwrap();
    assert_eq!(answers, [Some(full.clone()), Some(full)]);

    let mut frame = test.origin.reverse.start(&[]).unwrap();
    for (_, hop) in test.reverse_hops() {
        assert_eq!(hop.report(&mut frame, b"").unwrap(), None);
    }
    let answers = test.origin.reverse.finish(&mut frame).unwrap();
    assert_eq!(answers, [Some(vec![]), Some(vec![])]);
}

#[test]
fn a_changed_slot_is_lost_and_the_others_are_not() {
    let mut test = circuit(3, 1, &mut rng(4));
    let mut frame = test.origin.reverse.start(&vec![b"x".to_vec(); 4]).unwrap();
    // The second slot is that of the second hop on the way: the exit, index 2.
    frame[REPORT_SLOT + 40] ^= 1;
    for (index, hop) in test.reverse_hops() {
        let told = hop.report(&mut frame, b"y").unwrap();
        assert_eq!(told.is_none(), index == 2);
    }
    // The last slot is that of the last hop on the way: index 0.
    frame[REPORT_LEN - 1] ^= 1;
    let answers = test.origin.reverse.finish(&mut frame).unwrap();
    assert_eq!(answers[0], None);
    assert!(answers[1..].iter().all(Option::is_some));
}

#[test]
fn rounds_may_overlap_but_not_be_made_up() {
    let mut test = circuit(1, 0, &mut rng(5));
    let mut none = vec![0; REPORT_LEN];
    assert_eq!(
        test.origin.reverse.finish(&mut none),
        Err(CellError::Unexpected)
    );
    let mut first = test.origin.reverse.start(&[b"1".to_vec()]).unwrap();
    let mut second = test.origin.reverse.start(&[b"2".to_vec()]).unwrap();
    assert_ne!(first, second);
    let hop = &mut test.exit.reverse;
    assert_eq!(hop.report(&mut first, b"a").unwrap(), Some(b"1".to_vec()));
    assert_eq!(hop.report(&mut second, b"b").unwrap(), Some(b"2".to_vec()));
    assert_eq!(
        test.origin.reverse.finish(&mut first).unwrap(),
        [Some(b"a".to_vec())]
    );
    assert_eq!(
        test.origin.reverse.finish(&mut second).unwrap(),
        [Some(b"b".to_vec())]
    );
    assert_eq!(
        test.origin.reverse.finish(&mut none),
        Err(CellError::Unexpected)
    );
}

#[test]
fn failures_name_the_hop_wherever_it_is() {
    for failing in 0..11 {
        let mut test = circuit(6, 5, &mut rng(6));
        // A round before, so that the counters are not all at the beginning.
        round(&mut test);
        let reason = vec![failing as u8; FAILURE_PAYLOAD];
        let mut frame = None;
        for (index, hop) in test.reverse_hops() {
            match &mut frame {
                None if index == failing => frame = Some(hop.fail(&reason).unwrap()),
                None => {}
                Some(frame) => hop.relay_failure(frame).unwrap(),
            }
        }
        let mut frame = frame.unwrap();
        assert_eq!(frame.len(), REPORT_LEN);
        let mut changed = frame.clone();
        changed[700] ^= 1;
        let refused = test.origin.reverse.open_failure(&mut changed);
        assert_eq!(refused, Err(CellError::Authentication));
        assert_eq!(
            test.origin.reverse.open_failure(&mut frame).unwrap(),
            (failing, reason)
        );
    }
}

#[test]
fn misuse_changes_nothing() {
    let mut test = circuit(2, 0, &mut rng(7));
    let long = vec![0; REPORT_PAYLOAD + 1];
    let origin = &mut test.origin.reverse;
    assert_eq!(origin.start(&vec![vec![]; 3]), Err(CellError::NoSuchHop));
    assert_eq!(
        origin.start(std::slice::from_ref(&long)),
        Err(CellError::BodyTooLong)
    );
    assert_eq!(origin.finish(&mut [0; 3]), Err(CellError::Length(3)));
    assert_eq!(origin.open_failure(&mut [0; 3]), Err(CellError::Length(3)));
    let hop = &mut test.exit.reverse;
    assert_eq!(hop.report(&mut [0; 3], b""), Err(CellError::Length(3)));
    assert_eq!(
        hop.report(&mut [0; REPORT_LEN], &long),
        Err(CellError::BodyTooLong)
    );
    assert_eq!(
        hop.fail(&vec![0; FAILURE_PAYLOAD + 1]),
        Err(CellError::BodyTooLong)
    );
    assert_eq!(hop.relay_failure(&mut [0; 3]), Err(CellError::Length(3)));
    round(&mut test);
}
