//! Announced payments that never come.

use std::collections::BTreeSet;

use super::super::limits::{LOOKUP_EVERY, LOOKUP_MOST, MAX_NOTICES, NOTICE_LIFE};
use super::super::*;
use super::world::*;
use crate::message::PaymentNotice;

fn notice(number: u8) -> Message {
    Message::Notice(PaymentNotice {
        transaction: B256::repeat_byte(number),
        amount: 1,
    })
}

/// The seconds after the notice in which the hop looks for it.
fn looks(world: &mut World) -> Vec<u64> {
    world.lookups.clear();
    let mut looks = Vec::new();
    for second in 1..=NOTICE_LIFE.as_secs() {
        world.pass(1);
        looks.extend(world.lookups.drain(..).map(|_| second));
    }
    looks
}

#[test]
fn a_payment_that_does_not_come_is_looked_for_less_and_less() {
    let mut world = World::new();
    world.open(1);
    world.hop_hears(notice(1));
    assert_eq!(world.lookups.len(), 1);
    let seconds = looks(&mut world);
    assert_eq!(seconds[..7], [5, 15, 35, 75, 155, 315, 615]);
    assert_eq!(LOOKUP_EVERY.as_secs(), seconds[0]);
    let apart = seconds.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(apart.max() <= Some(LOOKUP_MOST.as_secs()));
    assert!(seconds.len() < 40, "{}", seconds.len());
    // It comes all the same when the chain shows it, whoever looks.
    world.hop_hears(notice(2));
    world.pass(100);
    world.chain(2, Found::Provisional(1));
    assert_eq!(world.owed_at_hop().credited(), 1);
}

#[test]
fn who_has_paid_before_is_not_kept_waiting_by_strangers() {
    let mut world = World::new();
    world.open(1);
    world.chain(9, Found::Final(1));
    for number in 0..100 {
        let from = Party::Payer(super::room::wallet(number));
        let message = notice(1);
        world.hop_does(Input::Heard { from, message });
    }
    world.lookups.clear();
    world.hop_hears(notice(2));
    assert_eq!(world.lookups, [B256::repeat_byte(2)]);
}

#[test]
fn what_changes_nothing_is_not_written() {
    let mut world = World::new();
    world.open(1);
    world.carry(1, 10, 10);
    world.chain(7, Found::Provisional(5));
    world.paid(7, 5, Payment::Included);
    world.round(Some(1));
    assert_eq!(world.hop.take_changed(), BTreeSet::from([to_payer()]));
    assert_eq!(world.payer.take_changed(), BTreeSet::from([to_hop()]));
    world.hop_hears(notice(1));
    world.chain(1, Found::Unknown);
    world.chain(7, Found::Provisional(5));
    world.hop_does(Input::Limit {
        payer: payer(),
        limit: LIMIT,
    });
    world.payer_does(Input::Ask { hop: HOP });
    world.pass(1_000);
    assert_eq!(world.hop.take_changed(), BTreeSet::new());
    assert_eq!(world.payer.take_changed(), BTreeSet::new());
    world.chain(7, Found::Unknown);
    assert_eq!(world.hop.take_changed(), BTreeSet::from([to_payer()]));
}

#[test]
fn s27_false_notices_cost_few_look_ups_and_no_writing() {
    let mut world = World::new();
    let now = world.now;
    let payers: Vec<Address> = (0..100).map(super::room::wallet).collect();
    for payer in &payers {
        world.hop.admit(now, *payer, circuit(1), TERMS).unwrap();
        for number in 0..MAX_NOTICES {
            let message = Message::Notice(PaymentNotice {
                transaction: B256::repeat_byte(u8::try_from(number).unwrap()),
                amount: 1,
            });
            let from = Party::Payer(*payer);
            world.hop_does(Input::Heard { from, message });
        }
        world.hop_does(Input::Ended {
            who: Party::Payer(*payer),
            circuit: circuit(1),
            usage: Usage::default(),
            clean: false,
        });
    }
    world.hop.take_changed();
    assert!(world.lookups.len() <= 20, "{}", world.lookups.len());
    let (mut all, mut most) = (0, 0);
    for _ in 0..NOTICE_LIFE.as_secs() {
        world.lookups.clear();
        world.pass(1);
        all += world.lookups.len();
        most = most.max(world.lookups.len());
    }
    assert!(most <= 20, "{most} in a second");
    assert!(all <= 800 * 40, "{all}");
    for payer in payers {
        let transaction = B256::repeat_byte(1);
        let found = Found::Unknown;
        world.hop_does(Input::Chain {
            payer,
            transaction,
            found,
        });
    }
    assert_eq!(world.hop.take_changed(), BTreeSet::new());
    assert!(LOOKUP_EVERY < NOTICE_LIFE);
}
