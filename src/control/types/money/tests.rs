//! Amounts and views of money: forms, sums, selections.

use alloy_primitives::Address;

use super::*;
use crate::ledger::{Limits, Payables, Payee, Receivables, Thresholds, price::DEFAULT_RATES};

#[test]
fn amounts_are_read_as_people_write_them_and_nothing_is_rounded() {
    for (text, wei) in [
        ("1", TOKEN),
        ("0.5", TOKEN / 2),
        (".25 MASQ", TOKEN / 4),
        ("1.50MASQ", TOKEN * 3 / 2),
        ("0.000000000000000001", 1),
        ("1.0000000000000000000000", TOKEN),
        ("1000wei", 1_000),
        ("7 wei", 7),
        ("0", 0),
    ] {
        assert_eq!(Amount::of_tokens(text), Ok(Amount(wei)), "{text}");
    }
    for (text, error) in [
        ("", AmountError::Form),
        (".", AmountError::Form),
        ("1.", AmountError::Form),
        ("-1", AmountError::Form),
        ("1e3", AmountError::Form),
        ("1,5", AmountError::Form),
        ("1.2.3", AmountError::Form),
        ("0.5wei", AmountError::Form),
        ("MASQ", AmountError::Form),
        ("+1", AmountError::Form),
        ("0.0000000000000000001", AmountError::TooFine),
        ("340282366920938463464", AmountError::TooLarge),
        (&"9".repeat(400), AmountError::TooLarge),
    ] {
        assert_eq!(Amount::of_tokens(text), Err(error), "{text}");
    }
}

#[test]
fn amounts_travel_as_text_and_every_digit_arrives() {
    let most = Amount(u128::MAX);
    let json = serde_json::to_string(&most).unwrap();
    assert_eq!(json, "\"340282366920938463463374607431768211455\"");
    assert_eq!(serde_json::from_str::<Amount>(&json).unwrap(), most);
    for bad in ["1", "\"1.5\"", "\"-1\"", "\"+1\"", "\"\"", "null"] {
        assert!(serde_json::from_str::<Amount>(bad).is_err(), "{bad}");
    }
    assert_eq!(Amount(306_000_000_000).exact(), "0.000000306");
    assert_eq!(Amount(3 * TOKEN).exact(), "3");
    assert_eq!(Amount(TOKEN + 1).exact(), "1.000000000000000001");
}

#[test]
fn no_wallet_is_in_debug_output() {
    let wallet = Private("0xabcdef".into());
    assert!(!format!("{wallet:?}").contains("abcdef"));
    assert_eq!(wallet.to_string(), "0xabcdef");
}

#[test]
fn orders_are_told_apart_and_nonsense_is_none() {
    for (json, order) in [
        (r#"{"order":"pause"}"#, PaymentOrder::Pause {}),
        (
            r#"{"order":"dry-run","on":true}"#,
            PaymentOrder::DryRun { on: true },
        ),
        (
            r#"{"order":"cancel","nonce":7}"#,
            PaymentOrder::Cancel { nonce: 7 },
        ),
        (
            r#"{"order":"decide","nonce":7,"paid":false}"#,
            PaymentOrder::Decide {
                nonce: 7,
                paid: false,
            },
        ),
    ] {
        assert_eq!(serde_json::from_str::<PaymentOrder>(json).unwrap(), order);
        assert_eq!(serde_json::to_string(&order).unwrap(), json);
    }
    for bad in [
        r#"{"order":"pay"}"#,
        r#"{"order":"cancel"}"#,
        r#"{"order":"cancel","nonce":-1}"#,
        r#"{"order":"pause","now":true}"#,
        "{}",
        "[]",
    ] {
        assert!(serde_json::from_str::<PaymentOrder>(bad).is_err(), "{bad}");
    }
}

#[test]
fn rows_of_the_ledger_become_what_is_shown() {
    let thresholds = Thresholds::default();
    let payee = Payee {
        wallet: Address::repeat_byte(0xab),
        hop: [2; 32],
    };
    let mut payables = Payables::default();
    payables.accrue(1_000, payee, 2 * TOKEN).unwrap();
    let row = payables.get(&payee).unwrap();
    let view = |unix| PayableView::of(row, &thresholds, unix);
    let young = view(2_200);
    assert_eq!(young.node, masq_gossip::NodeKey([2; 32]).to_string());
    assert_eq!(
        (young.unpaid, young.age_seconds),
        (Amount(2 * TOKEN), Some(1_200))
    );
    assert!(!young.over_line && view(2_201).over_line);
    assert!(young.wallet.0.starts_with("0x") && young.wallet.0.len() == 42);
    assert_eq!(young.held_seconds, None);

    let limits = Limits::from_rates(&DEFAULT_RATES).unwrap();
    let mut books = Receivables::new(limits, thresholds);
    let payer = Address::repeat_byte(3);
    let lease = books.lease(1_000, payer, [0; 32], limits.first).unwrap();
    books.charge(1_000, lease.id, 500).unwrap();
    let view = ReceivableView::of(books.get(&payer).unwrap(), &books, 1_060);
    assert_eq!(
        (view.unpaid, view.age_seconds, view.seen_seconds),
        (Amount(500), Some(60), 60)
    );
    assert_eq!(view.limit, Amount(limits.first));
    assert!(!view.banned && !view.unclaimed);
}

#[test]
fn the_books_are_summed_filtered_and_put_in_order() {
    use crate::control::testing::books;

    let milli = |n: u128| Amount(TOKEN / 1_000 * n);
    let keys =
        |of: &Financials| -> String { of.payables.iter().map(|row| &row.node[..1]).collect() };
    let all = Selection::default().of(books());
    assert_eq!(keys(&all), "DCB");
    assert_eq!(all.receivables.len(), 3);
    let (owed, due) = (all.totals.payable, all.totals.receivable);
    assert_eq!(
        (owed.unpaid, owed.pending, owed.paid),
        (milli(1_500), milli(10), milli(1_500))
    );
    assert_eq!(
        (owed.payees, owed.over_line, owed.ahead),
        (3, 1, milli(400))
    );
    assert_eq!(
        (due.unpaid, due.paid, due.unclaimed),
        (milli(850), milli(200), milli(100))
    );
    assert_eq!((due.prepaid, due.banned, due.payers), (milli(0), 1, 3));

    let by_age = Selection {
        order: Order::Age,
        payables: true,
        top: Some(1),
        ..Selection::default()
    };
    let oldest = by_age.of(books());
    assert_eq!((keys(&oldest).as_str(), oldest.left_out.payables), ("C", 2));
    assert!(oldest.receivables.is_empty());
    assert_eq!(oldest.totals, all.totals);

    for (selection, expected) in [
        (
            Selection {
                min_age: Some(3_600),
                ..Selection::default()
            },
            "DC",
        ),
        (
            Selection {
                min_age: Some(3_601),
                ..Selection::default()
            },
            "C",
        ),
        (
            Selection {
                max_age: Some(3_600),
                ..Selection::default()
            },
            "DB",
        ),
        (
            Selection {
                min_balance: Some(milli(300)),
                ..Selection::default()
            },
            "DC",
        ),
        (
            Selection {
                max_balance: Some(milli(300)),
                ..Selection::default()
            },
            "CB",
        ),
        (
            Selection {
                top: Some(0),
                ..Selection::default()
            },
            "",
        ),
        (
            Selection {
                receivables: true,
                ..Selection::default()
            },
            "",
        ),
        (
            Selection {
                receivables: true,
                payables: true,
                ..Selection::default()
            },
            "DCB",
        ),
    ] {
        assert_eq!(keys(&selection.of(books())), expected, "{selection:?}");
    }
}

#[test]
fn terms_say_what_a_debt_is_in_gigabytes_or_why_they_do_not_fit() {
    let thresholds = Thresholds::default();
    let terms = crate::ledger::fit::Terms {
        payee_day_cap: crate::ledger::Wei::MAX,
        thresholds: &thresholds,
        limits: None,
        prepay: None,
        rates: &DEFAULT_RATES,
        fee: 306_000_000_000,
        token_price: 20_000_000_000_000,
    };
    let view = TermsView::of(&terms);
    assert_eq!((view.relay_gb, view.exit_gb), (Some(1_709), Some(852)));
    assert_eq!(view.thresholds, thresholds.to_string());
    assert_eq!(view.misfit, None);
    // Four relays' worth and an exit's share of the published price.
    let (relay, exit) = (view.relay_gigabyte.0, view.exit_gigabyte.0);
    assert!(relay > TOKEN / 3_500 && exit > 2 * relay - 10 && exit < 3 * relay);
    let dear = crate::ledger::fit::Terms {
        payee_day_cap: crate::ledger::Wei::MAX,
        fee: 51_000_000_000_000,
        ..terms
    };
    let view = TermsView::of(&dear);
    assert!(view.misfit.unwrap().contains("51 MASQ") && view.relay_gb.is_none());
}

#[test]
fn the_state_of_payments_is_one_sentence() {
    let mut money = crate::control::testing::FakeMoney::default();
    let said = |money: &crate::control::testing::FakeMoney| {
        use crate::control::MoneyApi as _;
        futures::executor::block_on(money.status())
            .unwrap()
            .sentence()
    };
    assert!(said(&money).contains("over the line"));
    money.waiting = 1;
    assert!(said(&money).starts_with("1 debt waits because the wallet that pays has too little"));
    money.waiting = 2;
    assert!(said(&money).starts_with("2 debts wait"));
    money.orders.get_mut().unwrap().push(PaymentOrder::Pause {});
    assert!(said(&money).contains("paused"));
    money.halted = true;
    assert!(said(&money).starts_with("Payments are halted: another transaction"));
}

#[test]
fn debts_that_the_wallet_cannot_pay_are_counted_the_oldest_being_paid_first() {
    let debt = |unpaid, age| PayableView {
        node: String::new(),
        wallet: Private(String::new()),
        unpaid: Amount(unpaid),
        pending: Amount(0),
        paid: Amount(0),
        ahead: Amount(0),
        age_seconds: Some(age),
        over_line: true,
        held_seconds: None,
    };
    let mut young = debt(1, 1);
    young.over_line = false;
    let debts = [debt(40, 10), debt(60, 30), debt(30, 20), young];
    let waiting = |tokens, coins, fee| {
        let paying = PayingView {
            wallet: Private(String::new()),
            state: PayState::Running,
            halt: None,
            halt_reason: None,
            paused: false,
            dry_run: false,
            under_way: 0,
            balance: Some(BalanceView {
                tokens: Amount(tokens),
                coins: Amount(coins),
                ago_seconds: 0,
            }),
            waiting: 0,
        };
        paying.with_waiting(&debts, fee).waiting
    };
    assert_eq!(waiting(130, 5, Some(5)), 0);
    assert_eq!(waiting(129, 5, None), 1);
    assert_eq!(waiting(0, 5, Some(5)), 3);
    // Tokens without a fee pay nothing.
    assert_eq!(waiting(130, 4, Some(5)), 3);
}

#[test]
fn payments_of_the_engine_become_what_is_shown() {
    use alloy_primitives::{B256, Bytes};

    use crate::chain::driver::{Books, History};
    use crate::chain::engine::{Intent, Kind, Leg, Outcome, Settled, Variant};

    let leg = Leg {
        payee: Payee {
            wallet: Address::repeat_byte(0xab),
            hop: [2; 32],
        },
        due: 5,
        advance: 3,
        since: None,
    };
    let variant = |byte, cancels| Variant {
        hash: B256::repeat_byte(byte),
        raw: Bytes::new(),
        max_fee: 10,
        tip: 1,
        cancels,
    };
    let intent = |nonce, variants| Intent {
        nonce,
        kind: Kind::Transfer,
        legs: vec![leg.clone()],
        gas: 80_000,
        made: 1_700_000_000,
        variants,
    };
    let settled = |hash, outcome| Settled {
        nonce: 3,
        hash,
        at: 1_700_000_001,
        outcome,
        legs: vec![leg.clone()],
    };
    let books = Books {
        asked: vec![],
        payables: vec![],
        under_way: vec![
            intent(7, vec![variant(1, false), variant(2, false)]),
            intent(8, vec![variant(3, false), variant(4, true)]),
            intent(9, vec![variant(5, false)]),
        ],
        included: vec![9],
        phase: None,
        paused: false,
        dry_run: false,
        purse: None,
        fee: None,
        scanned: None,
    };
    let history = History {
        newest: vec![
            settled(B256::repeat_byte(6), Outcome::Paid),
            settled(B256::ZERO, Outcome::Foreign),
        ],
        older: 4,
    };
    let view = PaymentsView::of(&books, &history);
    let states: Vec<PaymentState> = (view.under_way.iter().chain(&view.done))
        .map(|payment| payment.state)
        .collect();
    assert_eq!(
        states,
        [
            PaymentState::Waiting,
            PaymentState::Cancelling,
            PaymentState::Included,
            PaymentState::Paid,
            PaymentState::Foreign,
        ]
    );
    assert!(states.iter().skip(3).all(|state| state.is_final()));
    let first = &view.under_way[0];
    assert_eq!((first.amount, first.variants), (Amount(8), 2));
    assert_eq!(first.most_fee, Some(Amount(800_000)));
    assert_eq!(
        first.transaction.as_ref().unwrap().0,
        format!("0x{}", "02".repeat(32))
    );
    assert_eq!(first.at_unix_ms, 1_700_000_000_000);
    assert_eq!(
        (first.shares[0].due, first.shares[0].advance),
        (Amount(5), Amount(3))
    );
    assert_eq!(view.done[0].amount, Amount(8));
    assert!(view.done[0].transaction.is_some() && view.done[1].transaction.is_none());
    assert_eq!(view.left_out, 4);
}
