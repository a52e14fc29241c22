//! Single scenarios, step by step.

use std::time::Duration;

use alloy_primitives::B256;

use super::super::io::*;
use super::chain::FINALITY;
use super::world::{Job, Lie, Mode, World};
use super::*;

/// A world whose engine has found out where the chain is.
fn ready(config: EngineConfig) -> World {
    let mut world = World::new(config);
    world.blocks(2);
    assert_eq!(world.engine.phase(), Phase::Running);
    world
}

/// Runs until the engine wants to send something, and returns that.
fn until_send(world: &mut World) -> (B256, Bytes) {
    for _ in 0..1_000 {
        if let Some(Job::Send(hash, raw)) = world.jobs.front() {
            return (*hash, raw.clone());
        }
        if !world.output() && !world.job(0, false, false) {
            world.wait(1);
        }
    }
    panic!("nothing is sent");
}

#[test]
fn s23_a_debt_over_the_line_is_paid_once_and_one_on_the_line_is_not() {
    let mut world = ready(config(1));
    world.use_up(payee(2), 2 * GWEI);
    world.wait(8);
    world.blocks(1);
    assert_eq!(world.engine.under_way().count(), 0, "not mature");
    // 100 seconds after maturity the line is at its end.
    world.use_up(payee(3), GWEI);
    world.blocks(70);
    let row = world.on_disk(&payee(2)).unwrap();
    assert_eq!((row.paid, row.due(), row.reserved), (2 * GWEI, 0, 0));
    let row = world.on_disk(&payee(3)).unwrap();
    assert_eq!((row.paid, row.due()), (0, GWEI), "on the line");
    world.use_up(payee(3), 1);
    world.blocks(30);
    assert_eq!(world.on_disk(&payee(3)).unwrap().paid, GWEI + 1);
    assert_eq!(world.chain.state(world.chain.height()).nonce, 2);
}

#[test]
fn s22_a_lost_reply_and_a_crash_pay_nothing_twice() {
    let mut world = ready(config(1));
    world.use_up(payee(2), 5 * GWEI);
    world.input(Input::SettleNow);
    let (_, raw) = until_send(&mut world);
    // The endpoint takes it, the answer is lost, the process dies.
    world.chain.take(&raw).unwrap();
    world.jobs.clear();
    world.crash();
    world.blocks(FINALITY + 20);
    assert_eq!(world.on_disk(&payee(2)).unwrap().paid, 5 * GWEI);
    assert_eq!(world.chain.state(world.chain.height()).nonce, 1);
}

#[test]
fn s22_what_was_signed_and_not_written_is_never_sent() {
    let mut world = ready(config(1));
    world.use_up(payee(2), 5 * GWEI);
    world.input(Input::SettleNow);
    let is_signed = |world: &World| {
        let signed = |job: &Job| matches!(job, Job::Deliver(Input::Signed { .. }));
        world.jobs.iter().any(signed)
    };
    while !is_signed(&world) {
        assert!(world.output() || world.job(0, false, false));
    }
    world.crash();
    assert_eq!((world.sends, world.noted), (0, None));
    world.input(Input::SettleNow);
    world.blocks(FINALITY + 20);
    assert_eq!(
        world.chain.state(world.chain.height()).nonce,
        0,
        "usage was not flushed"
    );
}

#[test]
fn s24_a_base_fee_that_rises_is_followed_and_one_over_the_cap_is_waited_out() {
    let mut world = ready(config(1));
    world.use_up(payee(2), 100 * GWEI);
    world.input(Input::SettleNow);
    until_send(&mut world);
    world.chain.base_fee = 1_000;
    world.blocks(40);
    assert!(world.resigned > 0);
    assert_eq!(world.chain.state(world.chain.height()).nonce, 1);

    world.chain.base_fee = 2 * GAS_CAP;
    world.use_up(payee(3), 100 * GWEI);
    world.input(Input::SettleNow);
    world.blocks(10);
    assert!(world.saw(|e| matches!(e, Event::GasTooDear { .. })));
    assert_eq!(world.engine.under_way().count(), 0);
    world.chain.base_fee = BASE_FEE;
    world.blocks(90);
    assert_eq!(world.on_disk(&payee(3)).unwrap().paid, 100 * GWEI);
}

#[test]
fn a_fee_over_five_per_cent_is_not_paid() {
    let mut world = ready(config(1));
    world.use_up(payee(2), 100_000_000);
    world.input(Input::SettleNow);
    world.blocks(5);
    assert!(world.saw(|e| matches!(e, Event::NotWorthItsFee { .. })));
    assert_eq!(world.sends, 0);
}

#[test]
fn s24_a_reorg_sends_the_same_payment_again() {
    let mut world = ready(config(1));
    world.use_up(payee(2), 5 * GWEI);
    world.input(Input::SettleNow);
    world.blocks(3);
    assert!(world.saw(|e| matches!(e, Event::Included(_))));
    world.chain.reorg(4, true);
    assert_eq!(world.chain.state(world.chain.height()).nonce, 0);
    world.blocks(FINALITY + 20);
    assert!(world.saw(|e| matches!(e, Event::Reorged { .. })));
    assert_eq!(world.on_disk(&payee(2)).unwrap().paid, 5 * GWEI);
    assert_eq!(world.chain.state(world.chain.height()).nonce, 1);
}

#[test]
fn s24_a_failed_payment_is_owed_again_as_old_as_before_and_retried_later() {
    let mut world = ready(config(1));
    world.use_up(payee(2), 5 * GWEI);
    let since = world.row(&payee(2)).since;
    world.chain.token_stops = true;
    world.input(Input::SettleNow);
    world.blocks(FINALITY + 5);
    let row = world.on_disk(&payee(2)).unwrap();
    assert_eq!((row.due(), row.reserved, row.failures), (5 * GWEI, 0, 1));
    assert_eq!(row.since, since);
    world.chain.token_stops = false;
    world.input(Input::SettleNow);
    world.blocks(5);
    assert_eq!(world.engine.under_way().count(), 0, "held back");
    world.wait(60);
    world.blocks(60);
    assert_eq!(world.on_disk(&payee(2)).unwrap().paid, 5 * GWEI);
}

#[test]
fn an_endpoint_without_old_state_can_show_what_is_paid() {
    let mut world = ready(config(1));
    world.chain.keeps_state = false;
    world.use_up(payee(2), 5 * GWEI);
    world.input(Input::SettleNow);
    world.blocks(FINALITY + 5);
    assert_eq!(world.on_disk(&payee(2)).unwrap().paid, 5 * GWEI);
}

#[test]
fn a_token_that_says_done_and_moves_nothing_has_not_paid() {
    let mut world = ready(config(1));
    world.use_up(payee(2), 5 * GWEI);
    world.chain.token_lies = true;
    world.input(Input::SettleNow);
    world.blocks(FINALITY + 5);
    let row = world.on_disk(&payee(2)).unwrap();
    assert_eq!((row.due(), row.paid, row.failures), (5 * GWEI, 0, 1));
}

#[test]
fn a_payment_that_goes_astray_halts_and_is_not_made_again() {
    for paid in [true, false] {
        let mut world = ready(config(1));
        world.use_up(payee(2), 5 * GWEI);
        // As when the contract of batches takes the tokens and pays from its own account.
        world.chain.astray = Some(disperse());
        world.input(Input::SettleNow);
        world.blocks(FINALITY + 5);
        let halted = Phase::Halted(Halt::Astray { nonce: 0 });
        assert_eq!(world.engine.phase(), halted);
        assert_eq!(world.on_disk(&payee(2)).unwrap().reserved, 5 * GWEI);
        let sends = world.sends;
        world.input(Input::SettleNow);
        world.blocks(FINALITY + 5);
        world.crash();
        world.blocks(FINALITY + 5);
        assert_eq!((world.engine.phase(), world.sends), (halted, sends));

        world.input(Input::Pause);
        world.input(Input::Decide { nonce: 0, paid });
        world.settle_down();
        let row = world.on_disk(&payee(2)).unwrap();
        assert_eq!((row.reserved, row.failures), (0, 0));
        assert_eq!(row.paid, if paid { 5 * GWEI } else { 0 });
    }
}

#[test]
fn after_a_restart_nothing_is_begun_before_enough_endpoints_agree_with_the_books() {
    let mut world = ready(config(2));
    world.use_up(payee(2), 5 * GWEI);
    world.blocks(1);
    world.modes[1] = Mode::Down;
    world.crash();
    world.input(Input::SettleNow);
    world.blocks(10);
    assert_eq!((world.engine.phase(), world.sends), (Phase::Reconciling, 0));
    world.modes[1] = Mode::Honest;
    world.blocks(FINALITY + 20);
    assert_eq!(world.on_disk(&payee(2)).unwrap().paid, 5 * GWEI);
}

#[test]
fn a_receipt_that_was_not_asked_for_is_not_missing() {
    let mut world = ready(config(1));
    world.use_up(payee(2), 5 * GWEI);
    world.input(Input::SettleNow);
    world.blocks(FINALITY + 3);
    let hashes: Vec<B256> = Vec::new();
    let view = world.chain.view(0, &hashes, 0);
    assert_eq!(view.nonces.finalized, Some(1));
    let intent = Intent {
        nonce: 0,
        kind: Kind::Transfer,
        legs: vec![],
        gas: 1,
        made: 0,
        variants: vec![],
    };
    let live = Live::new(intent, 0);
    assert_eq!(live.sight(&view, false), Some(live::Sight::Taken));
    let foreign = live::Sight::Final {
        hash: B256::ZERO,
        outcome: Outcome::Foreign,
    };
    assert_eq!(live.sight(&view, true), Some(foreign));
}

#[test]
fn s25_a_short_balance_pays_whole_debts_oldest_first_and_says_so() {
    let mut world = ready(config(1));
    for (n, amount) in [(2, 5 * GWEI), (3, 20 * GWEI), (4, 6 * GWEI)] {
        world.use_up(payee(n), amount);
        world.wait(1);
    }
    world.chain.tokens = 12 * GWEI;
    world.input(Input::SettleNow);
    world.blocks(FINALITY + 20);
    let paid = |n| world.on_disk(&payee(n)).unwrap().paid;
    assert_eq!((paid(2), paid(3), paid(4)), (5 * GWEI, 0, 6 * GWEI));
    assert_eq!(world.on_disk(&payee(3)).unwrap().due(), 20 * GWEI);
    let short = |e: &Event| matches!(e, Event::Short { waiting: 1, tokens_needed, .. } if *tokens_needed == 20 * GWEI);
    assert!(world.saw(short));
}

#[test]
fn s25_without_coins_for_gas_nothing_is_begun() {
    let mut world = ready(config(1));
    world.use_up(payee(2), 5 * GWEI);
    world.chain.coins = 1_000;
    world.input(Input::SettleNow);
    world.blocks(3);
    assert_eq!(world.sends, 0);
    assert!(world.saw(|e| matches!(e, Event::Short { coins: 1_000, .. })));
}

#[test]
fn a_wallet_that_something_else_uses_halts_payments() {
    let mut world = ready(config(1));
    let mut other = World::new(config(1));
    // The other program pays somebody from the same wallet.
    other.use_up(payee(7), 9 * GWEI);
    other.blocks(1);
    other.input(Input::SettleNow);
    let (_, raw) = until_send(&mut other);
    world.chain.take(&raw).unwrap();
    world.chain.mine();
    world.use_up(payee(2), 5 * GWEI);
    world.input(Input::SettleNow);
    world.unchecked_blocks(2);
    assert!(matches!(
        world.engine.phase(),
        Phase::Halted(Halt::ChainAhead { chain: 1, ours: 0 })
    ));
    world.unchecked_blocks(20);
    assert_eq!(world.sends, 0);

    // The user looks at it and takes it over.
    world.input(Input::AdoptNonce);
    world.input(Input::SettleNow);
    world.unchecked_blocks(1);
    world.input(Input::SettleNow);
    world.unchecked_blocks(FINALITY + 10);
    assert_eq!(world.on_disk(&payee(2)).unwrap().paid, 5 * GWEI);
    assert_eq!(world.chain.state(world.chain.height()).nonce, 2);
}

#[test]
fn a_foreign_transaction_in_a_payments_place_halts_until_the_user_decides() {
    for paid in [true, false] {
        let mut world = ready(config(1));
        let mut other = World::new(config(1));
        other.use_up(payee(7), 9 * GWEI);
        other.blocks(1);
        other.input(Input::SettleNow);
        let (_, foreign) = until_send(&mut other);

        world.use_up(payee(2), 5 * GWEI);
        world.input(Input::SettleNow);
        until_send(&mut world);
        world.jobs.clear();
        world.chain.take(&foreign).unwrap();
        world.unchecked_blocks(FINALITY + 12);
        let halted = Phase::Halted(Halt::Foreign { nonce: 0 });
        assert_eq!(world.engine.phase(), halted);
        assert_eq!(
            world.on_disk(&payee(2)).unwrap().reserved,
            5 * GWEI,
            "neither paid nor owed"
        );

        world.input(Input::Pause);
        world.input(Input::Decide { nonce: 0, paid });
        world.settle_down();
        let row = world.on_disk(&payee(2)).unwrap();
        assert_eq!(row.reserved, 0);
        assert_eq!(row.paid, if paid { 5 * GWEI } else { 0 });
        world.unchecked_blocks(3);
        assert_eq!(world.engine.phase(), Phase::Running);
    }
}

#[test]
fn a_restored_backup_pays_nothing() {
    let mut world = ready(config(1));
    world.use_up(payee(2), 5 * GWEI);
    world.blocks(2);
    let backup = world.journal.backup();
    world.input(Input::SettleNow);
    world.blocks(FINALITY + 10);
    assert_eq!(world.on_disk(&payee(2)).unwrap().paid, 5 * GWEI);
    world.journal = backup;
    world.crash();
    let halt = Phase::Halted(Halt::OldDatabase { noted: 1 });
    assert_eq!(world.engine.phase(), halt);
    let sends = world.sends;
    world.input(Input::SettleNow);
    world.settle_down();
    world.wait(1_000);
    world.settle_down();
    assert_eq!(world.sends, sends);
    // Without the note the chain says it.
    world.noted = None;
    world.crash();
    world.settle_down();
    assert!(matches!(
        world.engine.phase(),
        Phase::Halted(Halt::ChainAhead { .. })
    ));
}

#[test]
fn a_removed_database_is_noticed_by_the_note() {
    let mut world = ready(config(1));
    world.use_up(payee(2), 5 * GWEI);
    world.input(Input::SettleNow);
    world.blocks(5);
    world.journal = Default::default();
    world.crash();
    assert!(matches!(
        world.engine.phase(),
        Phase::Halted(Halt::OldDatabase { noted: 1 })
    ));
}

#[test]
fn damaged_books_pay_nothing() {
    let mut world = ready(config(1));
    world.use_up(payee(2), 5 * GWEI);
    world.input(Input::SettleNow);
    world.blocks(2);
    let mut batch = Batch::default();
    for intent in world.intents().values() {
        removed(&mut batch, intent);
    }
    world.journal.commit(&batch).unwrap();
    world.crash();
    assert_eq!(world.engine.phase(), Phase::Halted(Halt::BooksDisagree));
}

#[test]
fn an_endpoint_on_another_chain_is_named_and_not_believed() {
    let mut world = World::new(config(1));
    world.modes[0] = Mode::WrongChain;
    world.use_up(payee(2), 5 * GWEI);
    world.blocks(10);
    assert_eq!((world.engine.phase(), world.sends), (Phase::Reconciling, 0));
    let why = Distrust::WrongChain(1);
    let named = |e: &Event| matches!(e, Event::Distrusted { endpoint: 0, why: w } if *w == why);
    assert_eq!(
        world.events.iter().filter(|e| named(e)).count(),
        1,
        "said once"
    );
}

#[test]
fn an_endpoint_that_forgets_what_is_final_is_not_believed() {
    let mut world = ready(config(1));
    world.use_up(payee(2), 5 * GWEI);
    world.input(Input::SettleNow);
    world.blocks(FINALITY + 10);
    world.modes[0] = Mode::Lies(Lie::Forgets);
    world.use_up(payee(2), 5 * GWEI);
    world.input(Input::SettleNow);
    world.blocks(10);
    let behind = |e: &Event| {
        matches!(
            e,
            Event::Distrusted {
                why: Distrust::Behind,
                ..
            }
        )
    };
    assert!(world.saw(behind));
    assert_eq!(world.engine.under_way().count(), 0);
}

#[test]
fn an_hour_without_any_endpoint_is_waited_out() {
    let mut world = ready(config(2));
    world.use_up(payee(2), 5 * GWEI);
    world.modes = vec![Mode::Down; 2];
    for _ in 0..180 {
        world.wait(20);
        world.settle_down();
    }
    assert_eq!(world.sends, 0);
    world.modes = vec![Mode::Honest; 2];
    world.blocks(30);
    assert_eq!(world.on_disk(&payee(2)).unwrap().paid, 5 * GWEI);
}

#[test]
fn a_clock_that_jumps_makes_no_payment_twice() {
    let mut world = ready(config(1));
    world.use_up(payee(2), 5 * GWEI);
    world.now.unix += 3_600;
    world.blocks(15);
    world.now.unix -= 7_200;
    world.blocks(60);
    assert_eq!(world.on_disk(&payee(2)).unwrap().paid, 5 * GWEI);
    assert_eq!(world.chain.state(world.chain.height()).nonce, 1);
}

#[test]
fn caps_of_the_day_bound_what_is_paid() {
    let mut capped = config(1);
    capped.day_cap = 12 * GWEI;
    capped.payee_day_cap = 7 * GWEI;
    let mut world = ready(capped);
    world.use_up(payee(2), 10 * GWEI);
    world.use_up(payee(3), 10 * GWEI);
    for _ in 0..4 {
        world.input(Input::SettleNow);
        world.blocks(FINALITY + 5);
    }
    let paid = |world: &World, n| world.on_disk(&payee(n)).unwrap().paid;
    assert_eq!((paid(&world, 2), paid(&world, 3)), (7 * GWEI, 5 * GWEI));
    world.now.unix += 86_400;
    world.input(Input::SettleNow);
    world.blocks(FINALITY + 10);
    assert_eq!((paid(&world, 2), paid(&world, 3)), (10 * GWEI, 10 * GWEI));
}

#[test]
fn pausing_outlives_a_restart_and_what_is_under_way_goes_on() {
    let mut world = ready(config(1));
    world.use_up(payee(2), 5 * GWEI);
    world.input(Input::SettleNow);
    until_send(&mut world);
    world.input(Input::Pause);
    world.use_up(payee(3), 5 * GWEI);
    world.blocks(FINALITY + 5);
    world.crash();
    assert!(world.engine.is_paused());
    world.blocks(30);
    assert_eq!(world.on_disk(&payee(2)).unwrap().paid, 5 * GWEI);
    assert_eq!(world.on_disk(&payee(3)).unwrap().due(), 5 * GWEI);
    world.input(Input::Resume);
    world.blocks(30);
    assert_eq!(world.on_disk(&payee(3)).unwrap().paid, 5 * GWEI);
}

#[test]
fn a_dry_run_says_what_it_would_pay() {
    let mut dry = config(1);
    dry.dry_run = true;
    let mut world = ready(dry);
    world.use_up(payee(2), 5 * GWEI);
    world.blocks(30);
    assert!(world.saw(|e| matches!(e, Event::WouldPay { payees: 1, .. })));
    assert_eq!((world.sends, world.row(&payee(2)).due()), (0, 5 * GWEI));
}

#[test]
fn debts_are_looked_at_when_asked_and_thresholds_hold_all_the_same() {
    let mut slow = config(1);
    slow.scan_every = Duration::from_secs(100_000);
    let mut world = ready(slow);
    world.use_up(payee(2), 5 * GWEI);
    world.wait(8);
    world.input(Input::ScanNow);
    world.blocks(10);
    assert_eq!(world.engine.under_way().count(), 0, "not mature");
    world.wait(200);
    world.blocks(10);
    assert_eq!(world.sends, 0, "not the time");
    world.input(Input::ScanNow);
    world.blocks(FINALITY + 5);
    assert_eq!(world.on_disk(&payee(2)).unwrap().paid, 5 * GWEI);
}

#[test]
fn a_dry_run_is_switched_off_and_on_while_it_runs() {
    let mut world = ready(config(1));
    world.input(Input::DryRun(true));
    assert!(world.engine.is_dry());
    world.use_up(payee(2), 5 * GWEI);
    world.wait(200);
    world.blocks(30);
    assert!(world.saw(|e| matches!(e, Event::WouldPay { .. })));
    assert_eq!(world.sends, 0);
    world.input(Input::DryRun(false));
    world.blocks(FINALITY + 5);
    assert_eq!(world.on_disk(&payee(2)).unwrap().paid, 5 * GWEI);
}

#[test]
fn a_payment_in_a_block_is_told_apart_and_looked_up_when_asked() {
    let mut slow = config(1);
    slow.poll = Duration::from_secs(1_000);
    let mut world = World::new(slow);
    let look = |world: &mut World, blocks| {
        for _ in 0..blocks {
            world.input(Input::LookNow);
            world.blocks(1);
        }
    };
    look(&mut world, 4);
    world.use_up(payee(2), 5 * GWEI);
    world.input(Input::SettleNow);
    world.blocks(3);
    assert_eq!(world.engine.under_way().count(), 1);
    assert_eq!(world.engine.included().count(), 0, "nobody has looked");
    look(&mut world, 1);
    let first = world.engine.under_way().next().unwrap().nonce;
    assert_eq!(world.engine.included().collect::<Vec<_>>(), [first]);
    look(&mut world, FINALITY + 5);
    assert_eq!(world.engine.under_way().count(), 0);
    assert_eq!(world.on_disk(&payee(2)).unwrap().paid, 5 * GWEI);
}

#[test]
fn prepaying_reaches_a_stranger_and_is_used_up_first() {
    let mut world = ready(config(1));
    let stranger = payee(5);
    world.input(Input::Prepay {
        payee: stranger,
        amount: 8 * GWEI,
    });
    world.blocks(FINALITY + 5);
    let row = world.on_disk(&stranger).unwrap();
    assert_eq!(
        (row.paid, row.advanced, row.ahead()),
        (8 * GWEI, 8 * GWEI, 8 * GWEI)
    );
    world.use_up(stranger, 8 * GWEI);
    world.blocks(60);
    assert_eq!(world.on_disk(&stranger).unwrap().due(), 0);
    assert_eq!(world.chain.state(world.chain.height()).nonce, 1);
}

#[test]
fn prepaying_somebody_whom_a_payment_is_on_its_way_to_waits_for_its_end() {
    let mut world = ready(config(1));
    let hop = payee(5);
    let prepay = |amount| Input::Prepay { payee: hop, amount };
    world.input(prepay(8 * GWEI));
    world.blocks(2);
    assert!(world.on_disk(&hop).unwrap().reserved > 0, "not final yet");
    world.input(prepay(3 * GWEI));
    world.blocks(2 * FINALITY + 10);
    let row = world.on_disk(&hop).unwrap();
    assert_eq!((row.paid, row.advanced), (11 * GWEI, 11 * GWEI));
}

#[test]
fn an_advance_within_a_budget_pays_no_more_whatever_is_due_by_then() {
    let mut world = ready(config(1));
    let hop = payee(5);
    world.input(Input::PrepayWithin {
        payee: hop,
        amount: 2 * GWEI,
        most: 3 * GWEI,
    });
    world.use_up(hop, 4 * GWEI);
    world.blocks(FINALITY + 5);
    let row = world.on_disk(&hop).unwrap();
    assert!(row.paid <= 3 * GWEI, "{}", row.paid);
}

#[test]
fn batches_approve_first_and_pay_each_payee_from_the_payer() {
    let mut many = config(1);
    many.disperse = Some(disperse());
    let mut world = ready(many);
    for n in 0..5 {
        world.use_up(payee(n), 5 * GWEI);
    }
    world.input(Input::SettleNow);
    world.blocks(2 * FINALITY + 20);
    for n in 0..5 {
        assert_eq!(world.on_disk(&payee(n)).unwrap().paid, 5 * GWEI);
    }
    let state = world.chain.state(world.chain.height());
    assert_eq!((state.nonce, state.allowance), (2, 0));
}

#[test]
fn a_stop_writes_everything_and_pays_first_when_asked_to() {
    for settle in [false, true] {
        let mut world = ready(config(1));
        world.use_up(payee(2), 5 * GWEI);
        world.input(Input::Shutdown { settle });
        world.settle_down();
        assert!(world.done);
        let row = world.on_disk(&payee(2)).unwrap();
        assert_eq!(row.accrued, 5 * GWEI);
        assert_eq!(row.reserved > 0, settle);
        assert_eq!(world.chain.pool.len(), usize::from(settle));
    }
    // With no endpoint to be had it ends all the same.
    let mut world = ready(config(1));
    world.modes[0] = Mode::Down;
    world.use_up(payee(2), 5 * GWEI);
    world.input(Input::Shutdown { settle: true });
    world.settle_down();
    assert!(!world.done);
    world.wait(30);
    world.settle_down();
    assert!(world.done);
}

#[test]
fn usage_is_written_within_a_second() {
    let mut world = ready(config(1));
    world.use_up(payee(2), 5);
    let due = world.engine.poll_timeout();
    assert!(due <= world.now.mono + Duration::from_secs(1));
    world.now.mono = due;
    world.input(Input::Tick);
    world.settle_down();
    assert_eq!(world.on_disk(&payee(2)).unwrap().accrued, 5);
}

#[test]
fn the_machine_does_not_ask_to_be_woken_in_the_past_for_nothing() {
    let mut world = ready(config(1));
    world.use_up(payee(2), 5 * GWEI);
    world.input(Input::Pause);
    for _ in 0..200 {
        world.settle_down();
        let at = world.engine.poll_timeout();
        assert!(at > world.now.mono, "a loop that never sleeps");
        world.now.mono = at;
        world.input(Input::Tick);
    }
}
