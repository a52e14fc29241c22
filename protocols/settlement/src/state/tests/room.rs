//! More parties than there is room for at a time.

use super::super::*;
use super::world::*;
use crate::message::Question;

/// A wallet of which there are many.
pub(super) fn wallet(number: u64) -> Address {
    let mut bytes = [0x77; 20];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes.into()
}

fn node(number: u8) -> NodeKey {
    NodeKey([number; 32])
}

fn small(payers: usize, shelved: usize) -> World {
    let mut config = Config::new(domain(), HOP, LIMIT, TERMS.rates);
    (config.max_payers, config.shelved_payers) = (payers, shelved);
    World::with(config)
}

/// A circuit of a wallet's, of so many cells, that ends in good order or not.
fn uses(world: &mut World, payer: Address, number: u64, clean: bool) {
    let on = circuit(1);
    world.pass(1);
    world.hop.admit(world.now, payer, on, TERMS).unwrap();
    world.hop_does(Input::Ended {
        who: Party::Payer(payer),
        circuit: on,
        usage: cells(number),
        clean,
    });
}

#[test]
fn s27_so_many_payers_that_there_is_no_room_keep_nobody_out() {
    let mut world = small(8, 1_000);
    for number in 0..64 {
        uses(&mut world, wallet(number), 1, true);
    }
    assert_eq!(
        world.hop.admit(world.now, payer(), circuit(1), TERMS),
        Ok(())
    );
    // Each of them owes what it owed.
    for number in 0..64 {
        let books = world.hop.payer(&wallet(number)).unwrap();
        assert_eq!(books.owed(), price(1));
    }
}

#[test]
fn s27_an_account_that_was_put_by_is_the_same_to_the_wei() {
    let mut world = small(1, 1_000);
    world.open(1);
    world.end(1, 500, 400, false);
    world.round(None);
    world.chain(7, Found::Provisional(20));
    world.open(2);
    world.end(2, 100, 90, false);
    let before = world.owed_at_hop();
    assert_eq!(before.written_off, price(100));
    for number in 0..10 {
        uses(&mut world, wallet(number), 1, true);
    }
    assert!(world.hop.payers.get(&payer()).is_none(), "it is put by");
    assert_eq!(world.owed_at_hop(), before);
    assert!(
        world.hop.take_changed().contains(&to_payer()),
        "its row is to be written still"
    );

    // It is back with the first word, and knows what broke and what it counted.
    let (statement, receipt) = {
        world.open(3);
        world.round(Some(3))
    };
    assert_eq!(statement.epoch, before.epoch);
    assert!(statement.sequence > before.sequence);
    assert_eq!(receipt.unwrap().settled, Some(price(490)));
    assert_eq!(world.owed_at_hop().written_off, price(110));
    world.chain(7, Found::Final(20));
    world.chain(7, Found::Final(20));
    assert_eq!(world.owed_at_hop().final_credit, 20);
}

#[test]
fn s27_who_used_up_its_credit_has_none_when_it_was_put_by() {
    let mut world = small(2, 1_000);
    let limit = price(10);
    world.hop_does(Input::Limit {
        payer: payer(),
        limit,
    });
    uses(&mut world, payer(), 10, false);
    for number in 0..10 {
        uses(&mut world, wallet(number), 1, true);
    }
    let refused = world.hop.admit(world.now, payer(), circuit(2), TERMS);
    assert_eq!(refused.unwrap_err().reason, Reason::OverLimit);
}

#[test]
fn what_comes_from_the_chain_while_an_account_is_put_by_is_booked() {
    let mut world = small(1, 1_000);
    uses(&mut world, payer(), 10, true);
    world.chain(7, Found::Provisional(50));
    uses(&mut world, wallet(1), 1, true);
    world.chain(7, Found::Unknown);
    assert_eq!(world.owed_at_hop().credited(), 0);
    uses(&mut world, wallet(2), 1, true);
    world.chain(8, Found::Final(60));
    assert_eq!(world.owed_at_hop().credited(), 60);
    let unbooked = |event: &Event| matches!(event, Event::Unbooked { .. });
    assert!(!world.hop_says.iter().any(unbooked));
}

#[test]
fn s27_money_finds_room_where_all_others_are_in_use() {
    let mut world = small(4, 1_000);
    for number in 0..4 {
        let admitted = world
            .hop
            .admit(world.now, wallet(number), circuit(1), TERMS);
        assert_eq!(admitted, Ok(()));
    }
    let now = world.now;
    let refused = world.hop.admit(now, payer(), circuit(1), TERMS);
    assert_eq!(refused, Err(Reason::NoRoom.into()));
    world.chain(1, Found::Provisional(1_000));
    let admitted = world.hop.admit(now, payer(), circuit(1), TERMS);
    assert_eq!(admitted, Ok(()));
    assert_eq!(world.owed_at_hop().credited(), 1_000);
}

#[test]
fn a_store_with_more_accounts_than_are_in_use_at_a_time_is_taken_up() {
    let mut world = small(100, 1_000);
    for number in 0..20 {
        uses(&mut world, wallet(number), 1 + number, true);
    }
    let mut next = small(4, 10);
    let mut left_out = 0;
    for number in 0..20 {
        let books = world.hop.payer(&wallet(number)).unwrap();
        left_out += u32::from(next.hop.restore_payer(books).is_err());
    }
    // Those of whom there is no money make room for others, also in the store.
    assert_eq!(left_out, 0);
    let known = (0..20).filter(|n| next.hop.payer(&wallet(*n)).is_some());
    assert_eq!(known.count(), 14);
    assert_eq!(next.hop.take_changed().len(), 6);
}

#[test]
fn any_number_of_hops_can_be_used_one_after_another() {
    let mut config = Config::new(domain(), node(200), 0, TERMS.rates);
    (config.max_hops, config.shelved_hops) = (4, 1_000);
    let mut world = World::new();
    world.payer = Machine::new(config, Some(Arc::new(crate::testing::Wallet::new(1))));
    for number in 1..100 {
        let (hop, circuit) = (node(number), circuit(1));
        world.pass(1);
        world.payer.open(world.now, hop, circuit, TERMS).unwrap();
        world.payer_does(Input::Ended {
            who: Party::Hop(hop),
            circuit,
            usage: cells(number.into()),
            clean: true,
        });
    }
    for number in 1..100 {
        let books = world.payer.hop(&node(number)).unwrap();
        assert_eq!(books.owed(), price(number.into()));
    }
    // A payment to one that was put by is booked and announced, and it may be asked.
    world.payer_does(Input::Paid {
        hop: node(1),
        transaction: B256::repeat_byte(1),
        amount: price(1),
        payment: Payment::Included,
    });
    assert_eq!(world.payer.hop(&node(1)).unwrap().unconfirmed.len(), 1);
    world.payer_does(Input::Ask { hop: node(2) });
    let asked = world.payer.say(world.now, &Party::Hop(node(2)), None);
    assert_eq!(asked, Some(Message::Question(Question::Statement)));
}
