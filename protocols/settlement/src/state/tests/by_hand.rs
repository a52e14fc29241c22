//! Each rule once.

use super::super::limits::{IN_FLIGHT, LOOKUP_EVERY, NOTICE_LIFE, NOTICE_RETRY};
use super::super::*;
use super::world::*;
use crate::eip712::CanonicalSignature;
use crate::message::{PaymentState, Question, Receipt, Statement, receipt_digest};
use crate::testing::Wallet;

fn in_flight() -> Wei {
    TERMS.price(Usage {
        over: IN_FLIGHT,
        ..Usage::default()
    })
}

fn disputes(world: &World) -> usize {
    let disputed = |event: &&Event| matches!(event, Event::Disputed { .. });
    world.payer_says.iter().filter(disputed).count()
}

fn receipt(
    statement: &Statement,
    total: Wei,
    settled: impl Into<Option<Wei>>,
    wallet: u8,
    sequence: u64,
) -> Message {
    let settled = settled.into();
    let at = (statement.epoch, sequence);
    let digest = receipt_digest(&domain(), &payer(), &HOP, at, (total, settled));
    Message::Receipt(Receipt {
        epoch: statement.epoch,
        sequence,
        total,
        settled,
        signature: CanonicalSignature::sign(&Wallet::new(wallet), &digest).unwrap(),
    })
}

#[test]
fn s21_clean_circuits_agree_to_the_wei() {
    let mut world = World::new();
    world.open(1);
    world.carry(1, 100, 90);
    let (statement, receipt) = world.round(Some(1));
    assert_eq!(statement.total, price(100));
    let receipt = receipt.unwrap();
    assert_eq!(receipt.total, price(90), "never more than its own books");
    assert_eq!(world.owed_at_hop().acknowledged(), price(90));

    world.end(1, 200, 200, true);
    let (_, receipt) = world.round(None);
    let receipt = receipt.unwrap();
    assert_eq!(
        (receipt.total, receipt.settled),
        (price(200), Some(price(200)))
    );
    assert_eq!(world.owed_at_hop().owed(), world.owed_at_payer().owed());
    assert_eq!(disputes(&world), 0);
}

#[test]
fn s28_after_a_clean_end_more_than_a_hundredth_is_too_much() {
    let mut world = World::new();
    world.open(1);
    world.end(1, 1011, 1000, true);
    let (_, receipt) = world.round(None);
    assert_eq!(receipt, None, "it is asked for a new epoch first");
    world.pass(100);
    let (_, receipt) = world.round(None);
    let receipt = receipt.unwrap();
    assert_eq!(receipt.total, price(1000));
    assert_eq!(disputes(&world), 1);
    assert!(world.owed_at_payer().disputing);
    let disowned = |event: &Event| matches!(event, Event::Disowned { .. });
    assert!(world.hop_says.iter().any(disowned));
    assert_eq!(world.owed_at_hop().booked, price(1011));

    // It repeats the claim; then it is honest again.
    world.round(None);
    assert_eq!(disputes(&world), 2);
    world.open(2);
    world.payer_does(Input::Carried {
        who: to_hop(),
        circuit: circuit(2),
        usage: cells(11),
    });
    world.round(Some(2));
    let reconciled = |event: &Event| matches!(event, Event::Reconciled { .. });
    assert!(world.payer_says.iter().any(reconciled));
    assert!(!world.owed_at_payer().disputing);
}

#[test]
fn what_is_in_flight_on_an_open_circuit_is_no_dispute() {
    let mut world = World::new();
    world.open(1);
    let cells = u64::try_from(in_flight() / price(1)).unwrap();
    world.carry(1, cells, 0);
    let (_, receipt) = world.round(Some(1));
    assert_eq!(receipt.unwrap().total, 0);
    assert_eq!(disputes(&world), 0);
    world.carry(1, cells + 10, 0);
    world.pass(100);
    world.round(Some(1));
    world.pass(100);
    world.round(Some(1));
    assert_eq!(disputes(&world), 1);
}

#[test]
fn a_broken_circuit_is_settled_over_the_next_one() {
    let mut world = World::new();
    world.open(1);
    world.carry(1, 500, 500);
    world.round(Some(1));
    world.end(1, 600, 550, false);
    world.open(2);
    world.carry(2, 30, 20);
    let (_, receipt) = world.round(Some(2));
    assert_eq!(receipt.unwrap().settled, Some(price(550)));
    assert_eq!(world.owed_at_hop().booked, price(550 + 30));
    assert_eq!(world.owed_at_hop().written_off, price(50));
    world.end(2, 40, 40, true);
    world.round(None);
    assert_eq!(world.owed_at_hop().owed(), price(590));
    assert_eq!(world.owed_at_payer().owed(), price(590));
    assert_eq!(disputes(&world), 0);
}

#[test]
fn what_the_hop_does_not_ask_for_is_taken_out() {
    let mut world = World::new();
    world.open(1);
    world.end_now(1, 500, 550, false);
    let (_, receipt) = world.round(None);
    let receipt = receipt.unwrap();
    assert_eq!((receipt.total, receipt.settled), (price(500), None));
    let books = world.owed_at_payer();
    assert_eq!(books.booked, price(550), "the statement may be from before");
    world.pass(61);
    world.round(None);
    assert_eq!(world.owed_at_payer().booked, price(500));
    assert_eq!(world.owed_at_hop().booked, price(500));
}

#[test]
fn a_receipt_under_way_brings_back_what_was_written_off() {
    let mut world = World::new();
    world.open(1);
    world.open(2);
    world.end(2, 10, 0, false);
    // The payer is ahead on the other circuit, so its total covers what it does not acknowledge.
    world.carry(1, 100, 500);
    let statement = world.hop_speaks(Some(1));
    world.payer_hears(statement);
    let Some(first) = world.payer_speaks() else {
        panic!("a receipt");
    };
    world.carry(1, 120, 500);
    let statement = world.hop_speaks(Some(1));
    world.payer_hears(statement);
    let Some(second) = world.payer_speaks() else {
        panic!("a receipt");
    };
    world.hop_hears(first);
    assert_eq!(world.owed_at_hop().written_off, price(10));
    world.hop_hears(second);
    let recovered = Event::Recovered {
        payer: payer(),
        amount: price(10),
    };
    assert!(world.hop_says.contains(&recovered));
    assert_eq!(world.owed_at_hop().acknowledged(), price(130));
    assert_eq!(world.owed_at_hop().booked, price(130));
}

#[test]
fn breaking_every_circuit_buys_no_free_service() {
    let mut world = World::new();
    let mut refused = None;
    for number in 1..200 {
        let admitted = world.hop.admit(world.now, payer(), circuit(number), TERMS);
        if let Err(refusal) = admitted {
            refused = Some(refusal);
            break;
        }
        world
            .payer
            .open(world.now, HOP, circuit(number), TERMS)
            .unwrap();
        let cells = u64::try_from(in_flight() / price(1)).unwrap();
        world.end(number, cells, 1, false);
        world.round(None);
        world.hop_does(Input::Limit {
            payer: payer(),
            limit: 10 * in_flight(),
        });
    }
    let refusal = refused.unwrap();
    assert_eq!(refusal.reason, Reason::OverLimit);
    let books = world.owed_at_hop();
    assert!(books.owed() < in_flight(), "it is no debt");
    assert!(books.written_off >= 10 * in_flight());
    world.chain(1, Found::Final(refusal.figure));
    let admitted = world.hop.admit(world.now, payer(), circuit(200), TERMS);
    assert_eq!(admitted, Ok(()), "the figure was right");
}

#[test]
fn receipts_that_do_not_hold_are_told_apart() {
    let mut world = World::new();
    world.open(1);
    world.carry(1, 100, 100);
    let (first, _) = world.round(Some(1));
    world.carry(1, 200, 200);
    let Message::Statement(second) = world.hop_speaks(Some(1)) else {
        panic!("a statement");
    };
    let next = second.sequence;
    let most = price(200) + in_flight() + price(200) / 100;
    for (message, fault) in [
        (
            receipt(&second, price(200), None, 2, next),
            ReceiptFault::Signature,
        ),
        (
            receipt(&second, price(99), None, 1, next),
            ReceiptFault::Falling,
        ),
        (
            receipt(&second, most + 1, None, 1, next),
            ReceiptFault::TooMuch,
        ),
        (
            receipt(&second, price(200), price(201), 1, next),
            ReceiptFault::TooMuch,
        ),
        (
            receipt(&second, price(200), None, 1, next + 1),
            ReceiptFault::Unasked,
        ),
    ] {
        world.hop_says.clear();
        world.hop_hears(message);
        let payer = payer();
        assert_eq!(world.hop_says, [Event::BadReceipt { payer, fault }]);
    }
    world.hop_says.clear();
    world.hop_hears(receipt(&first, price(200), None, 1, first.sequence));
    assert!(world.hop_says.is_empty(), "an old one may come late");
    world.hop_hears(receipt(&second, most, None, 1, next));
    assert_eq!(world.owed_at_hop().acknowledged(), most);
}

#[test]
fn a_payment_is_credited_once_whatever_is_said_of_it() {
    let mut world = World::new();
    world.open(1);
    world.carry(1, 100, 100);
    world.paid(7, price(100), Payment::Included);
    assert_eq!(world.spoken.last(), Some(&to_hop()));
    let notice = world.payer_speaks().unwrap();
    world.hop_hears(notice);
    assert_eq!(world.lookups.len(), 1);
    let answer = world.hop_answers();
    world.payer_hears(answer);
    assert!(world.seen().is_empty(), "unknown is no news");

    world.pass(LOOKUP_EVERY.as_secs());
    assert_eq!(world.lookups.len(), 2);
    world.chain(7, Found::Provisional(price(100)));
    world.chain(7, Found::Provisional(price(100)));
    assert_eq!(world.owed_at_hop().owed(), 0);
    let answer = world.hop_answers();
    world.payer_hears(answer);

    // A reorganisation takes it away and brings it again.
    world.chain(7, Found::Unknown);
    assert_eq!(world.owed_at_hop().owed(), price(100));
    let answer = world.hop_answers();
    world.payer_hears(answer);
    world.chain(7, Found::Provisional(price(100)));
    world.chain(7, Found::Final(price(100)));
    world.chain(7, Found::Final(price(100)));
    world.chain(7, Found::Provisional(price(100)));
    assert_eq!(world.owed_at_hop().credited(), price(100));
    let answer = world.hop_answers();
    world.payer_hears(answer);
    world.paid(7, price(100), Payment::Final);
    world.paid(7, price(100), Payment::Final);
    assert_eq!(world.owed_at_payer().paid, price(100));
    assert_eq!(
        world.seen(),
        [
            PaymentState::Provisional,
            PaymentState::Unknown,
            PaymentState::Final
        ]
    );
    assert_eq!(world.owed_at_payer().unconfirmed, []);
}

#[test]
fn a_notice_of_another_amount_gets_what_the_chain_shows() {
    let mut world = World::new();
    world.open(1);
    world.paid(7, 1000, Payment::Included);
    let notice = world.payer_speaks().unwrap();
    world.hop_hears(notice);
    world.hop_answers();
    world.chain(7, Found::Provisional(10));
    let answer = world.hop_answers();
    world.payer_hears(answer);
    assert_eq!(world.seen(), [PaymentState::Mismatch]);
    assert_eq!(world.owed_at_hop().credited(), 10);
}

#[test]
fn notices_are_said_again_and_come_to_an_end() {
    let mut world = World::new();
    world.open(1);
    world.paid(7, 1000, Payment::Included);
    let notice = world.payer_speaks();
    assert_eq!(world.payer_speaks(), None);
    world.pass(NOTICE_RETRY.as_secs());
    assert_eq!(world.payer_speaks(), notice);
    world.hop_hears(notice.unwrap());
    world.hop_answers();
    world.pass(NOTICE_LIFE.as_secs());
    world.lookups.clear();
    world.pass(NOTICE_LIFE.as_secs());
    assert!(world.lookups.is_empty());

    for number in 10..30 {
        let transaction = B256::repeat_byte(number);
        let amount = 1;
        world.hop_hears(Message::Notice(crate::message::PaymentNotice {
            transaction,
            amount,
        }));
    }
    let said: Vec<Message> = (0..limits::MAX_NOTICES + 1)
        .map(|_| world.hop_answers())
        .collect();
    assert!(said.contains(&Message::Refusal(Reason::TooOften.into())));
}

#[test]
fn s27_prepaying_lets_a_stranger_in() {
    let mut config = Config::new(domain(), HOP, 0, TERMS.rates);
    (config.max_payers, config.shelved_payers) = (1, 1);
    let mut world = World::with(config);
    let refusal = world.hop.admit(world.now, payer(), circuit(1), TERMS);
    assert_eq!(
        refusal,
        Err(Refusal {
            reason: Reason::OverLimit,
            figure: 1
        })
    );
    world.chain(1, Found::Provisional(1000));
    world.open(1);
    world.hop_says.clear();
    world.carry(1, 1, 1);
    assert!(world.hop_says.contains(&Event::OverLimit {
        payer: payer(),
        broke: 0
    }));

    // There is always room for money, until there is too much of it to be remembered. Then it is
    // not forgotten, nor is a debt.
    let money = |world: &mut World, payer: Address, found: Found| {
        world.hop_does(Input::Chain {
            payer,
            transaction: B256::repeat_byte(2),
            found,
        });
    };
    let (second, third) = (Address::repeat_byte(9), Address::repeat_byte(10));
    let found = Found::Final(5);
    money(&mut world, second, found);
    assert_eq!(world.hop.payer(&second).unwrap().final_credit, 5);
    world.hop_says.clear();
    money(&mut world, third, found);
    let unbooked = Event::Unbooked {
        payer: third,
        found,
    };
    assert_eq!(world.hop_says, [unbooked]);
    assert!(world.hop.payer(&payer()).is_some() && world.hop.payer(&second).is_some());
    let refused = world.hop.admit(world.now, third, circuit(2), TERMS);
    assert_eq!(refused, Err(Reason::NoRoom.into()));

    // Once it is settled it makes room.
    world.end(1, 1, 1, true);
    world.chain(1, Found::Final(price(1)));
    money(&mut world, third, found);
    assert_eq!(world.hop.payer(&third).unwrap().final_credit, 5);
    assert!(world.hop.payer(&payer()).is_none());
    assert!(world.hop.take_changed().contains(&to_payer()));
    assert_eq!(world.hop.payer(&second).unwrap().final_credit, 5);
}

#[test]
fn a_hop_that_is_asked_takes_out_what_is_paid() {
    let mut world = World::new();
    world.open(1);
    world.end(1, 100, 100, true);
    world.round(None);
    world.chain(1, Found::Final(price(100)));
    let own = Config::new(domain(), NodeKey([0x33; 32]), 0, TERMS.rates);
    world.payer = Machine::new(own, Some(Arc::new(Wallet::new(1))));
    world.open(2);
    world.carry(2, 50, 50);
    let statement = world.hop_speaks(Some(2));
    world.payer_hears(statement);
    let question = world.payer_speaks();
    assert_eq!(question, Some(Message::Question(Question::Reopen)));
    world.hop_hears(question.unwrap());
    let (statement, receipt) = world.round(Some(2));
    assert_eq!(statement.total, price(50));
    assert_eq!(receipt.unwrap().total, price(50));
    assert_eq!(disputes(&world), 0);
    assert_eq!(world.owed_at_hop().owed(), price(50));
}

#[test]
fn books_survive_a_restart() {
    let mut world = World::new();
    world.open(1);
    world.carry(1, 1000, 1000);
    world.round(Some(1));
    world.paid(7, 10, Payment::Included);
    world.chain(8, Found::Provisional(20));
    let (of_payer, of_hop) = (world.owed_at_hop(), world.owed_at_payer());
    let fresh = World::new();
    (world.hop, world.payer) = (fresh.hop, fresh.payer);
    world.hop.restore_payer(of_payer.clone()).unwrap();
    world.payer.restore_hop(world.now, of_hop.clone()).unwrap();
    assert_eq!(world.owed_at_hop(), of_payer);
    assert_eq!(world.owed_at_payer().booked, of_hop.booked);
    world.pass(1);
    let notice = world.payer_speaks().unwrap();
    assert!(matches!(notice, Message::Notice(_)));
    let (statement, receipt) = world.round(None);
    assert_eq!(statement.epoch, of_payer.epoch);
    assert_eq!(receipt.unwrap().total, price(1000));
}

#[test]
fn statements_that_overtake_each_other_do_no_harm() {
    let mut world = World::new();
    world.open(1);
    world.carry(1, 10, 10);
    let old = world.hop_speaks(Some(1));
    world.carry(1, 20, 20);
    let new = world.hop_speaks(Some(1));
    world.payer_hears(new);
    world.payer_hears(old);
    let Some(Message::Receipt(receipt)) = world.payer_speaks() else {
        panic!("a receipt");
    };
    assert_eq!(receipt.total, price(20));
    world.payer_hears(new);
    assert_eq!(world.payer_speaks(), None, "a statement is answered once");
}

#[test]
fn more_than_authorised_is_noticed_once() {
    let mut world = World::new();
    let terms = Terms {
        max_spend: price(10),
        ..TERMS
    };
    world
        .hop
        .admit(world.now, payer(), circuit(1), terms)
        .unwrap();
    let over = |world: &World| {
        let over = |event: &&Event| matches!(event, Event::OverSpend { .. });
        world.hop_says.iter().filter(over).count()
    };
    let carried = |number| Input::Carried {
        who: to_payer(),
        circuit: circuit(1),
        usage: cells(number),
    };
    world.hop_does(carried(10));
    assert_eq!(over(&world), 0);
    world.hop_does(carried(11));
    world.hop_does(carried(12));
    world.hop_does(carried(5));
    assert_eq!(over(&world), 1);
    assert_eq!(world.owed_at_hop().booked, price(12));
}
