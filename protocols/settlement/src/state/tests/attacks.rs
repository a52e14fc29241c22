//! What somebody gains who never pays, and what it costs others.

use super::super::limits::IN_FLIGHT;
use super::super::*;
use super::world::*;
use crate::eip712::CanonicalSignature;
use crate::message::{Receipt, receipt_digest};
use crate::rates::RatePack;
use crate::testing::Wallet;

/// Rates that no price fits, signed by somebody who means to pay nothing.
const EXTREME: RatePack = RatePack {
    routing_byte: u64::MAX,
    routing_package: u64::MAX,
    exit_byte: u64::MAX,
    exit_package: u64::MAX,
};

fn in_flight() -> Wei {
    TERMS.price(Usage {
        over: IN_FLIGHT,
        ..Usage::default()
    })
}

fn limit(world: &mut World, limit: Wei) {
    world.hop_does(Input::Limit {
        payer: payer(),
        limit,
    });
}

fn ended(number: u8, usage: Usage, clean: bool) -> Input {
    Input::Ended {
        who: to_payer(),
        circuit: circuit(number),
        usage,
        clean,
    }
}

/// A report round in which the payer acknowledges nothing and says that nothing is settled.
fn disown(world: &mut World, on: u8) {
    let Message::Statement(statement) = world.hop_speaks(Some(on)) else {
        panic!("a statement");
    };
    let (epoch, sequence) = (statement.epoch, statement.sequence);
    let amounts = (0, Some(0));
    let digest = receipt_digest(&domain(), &payer(), &HOP, (epoch, sequence), amounts);
    world.hop_hears(Message::Receipt(Receipt {
        epoch,
        sequence,
        total: 0,
        settled: Some(0),
        signature: CanonicalSignature::sign(&Wallet::new(1), &digest).unwrap(),
    }));
}

#[test]
fn s27_rates_that_somebody_authorises_buy_no_free_service() {
    let mut world = World::new();
    let credit = 10 * in_flight();
    limit(&mut world, credit);
    let extreme = Terms {
        rates: EXTREME,
        max_spend: Wei::MAX,
        ..TERMS
    };
    let now = world.now;
    world
        .hop
        .admit(now, payer(), circuit(255), extreme)
        .unwrap();
    world.hop_does(ended(255, Usage::default(), true));

    // Nearly all of the credit, then the stream is dropped and nothing is acknowledged.
    let most = u64::try_from(credit / price(1)).unwrap() - 1;
    let mut got = 0;
    for number in (1..100).step_by(2) {
        let terms = TERMS;
        if world
            .hop
            .admit(now, payer(), circuit(number), terms)
            .is_err()
        {
            break;
        }
        world.hop_does(ended(number, cells(most), false));
        got += price(most);
        let next = number + 1;
        if world.hop.admit(now, payer(), circuit(next), terms).is_ok() {
            disown(&mut world, next);
            world.hop_does(ended(next, Usage::default(), true));
        }
    }
    assert!(got <= 2 * credit, "{got} of {credit}");
    assert!(world.owed_at_hop().owed() > 8 * in_flight(), "it is a debt");
}

#[test]
fn s27_circuits_that_carried_little_allow_little_to_be_disowned() {
    let mut world = World::new();
    limit(&mut world, 20 * in_flight());
    let flight = u64::try_from(in_flight() / price(1)).unwrap();
    world.open(1);
    world.hop_does(ended(1, cells(10 * flight), true));
    // Nine that break before anything was carried, and one that had carried a cell.
    for number in 2..11 {
        world.open(number);
        world.hop_does(ended(number, Usage::default(), false));
    }
    world.open(11);
    world.hop_does(ended(11, cells(1), false));
    world.open(12);
    disown(&mut world, 12);
    assert_eq!(world.owed_at_hop().written_off, 0);
    assert_eq!(world.owed_at_hop().owed(), price(10 * flight + 1));
}
