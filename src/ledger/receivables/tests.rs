//! Limits, leases, the pool, bans on the line, and money that comes in.

use alloy_primitives::B256;
use proptest::prelude::*;

use super::*;
use crate::ledger::money::GWEI;
use crate::ledger::price::DEFAULT_RATES;
use crate::ledger::{MemoryJournal, Tokens};

const DAY: u64 = 86_400;
const SOURCE: [u8; 32] = [9; 32];

fn limits() -> Limits {
    Limits {
        first: 100,
        pool: 1_000,
        refill_per_day: 1_000,
        quota: 250,
        share: 4,
    }
}

fn thresholds() -> Thresholds {
    "100|1000|500|50|1000|50".parse().unwrap()
}

fn books() -> Receivables {
    Receivables::new(limits(), thresholds())
}

fn wallet(n: u64) -> Address {
    Address::left_padding_from(&n.to_be_bytes())
}

fn source(n: u64) -> [u8; 32] {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&n.to_be_bytes());
    key
}

fn seen(payer: Address, amount: Wei) -> CreditChange {
    CreditChange::Seen {
        payer,
        amount,
        transaction: B256::ZERO,
    }
}

fn finally(payer: Address, amount: Wei) -> CreditChange {
    CreditChange::Final {
        payer,
        amount,
        transaction: B256::ZERO,
    }
}

/// Uses as much as the books let it, in one lease after the other. Returns how much that was.
fn use_up(books: &mut Receivables, unix: u64, payer: Address, source: [u8; 32]) -> Wei {
    let mut used = 0;
    while let Ok(lease) = books.lease(unix, payer, source, 30) {
        books.charge(unix, lease.id, lease.amount).unwrap();
        books.release(unix, lease.id);
        used += lease.amount;
    }
    used
}

#[test]
fn s27_a_thousand_fresh_wallets_get_no_more_than_the_free_credit() {
    let limits = Limits::from_rates(&DEFAULT_RATES).unwrap();
    let mut books = Receivables::new(limits, Thresholds::default());
    let want = price_of_cells(64);
    let mut used = 0;
    // Ten links, all wallets at once, leases held open: in flight counts.
    for round in 0..3 {
        for n in 0..1_000 {
            if let Ok(lease) = books.lease(round, wallet(n), source(n % 10), want) {
                used += lease.amount;
                if n % 2 == 0 {
                    books.charge(round, lease.id, lease.amount).unwrap();
                }
            }
        }
    }
    let refilled = limits.refill_per_day * 3 / Wei::from(DAY);
    assert!(
        used <= limits.pool + refilled,
        "{} of {}",
        Tokens(used),
        Tokens(limits.pool)
    );
    assert!(
        used >= limits.pool - want,
        "the pool is given out to the end"
    );
    assert!(books.free().out() <= limits.pool);

    // An honest newcomer is served by prepaying.
    let newcomer = wallet(5_000);
    let refused = books.lease(3, newcomer, source(11), want).map(|l| l.amount);
    assert!(refused.is_err() || refused.unwrap() < want);
    books.credit(4, &[seen(newcomer, want * 100)]);
    let lease = books.lease(5, newcomer, source(0), want * 100).unwrap();
    assert_eq!(lease.amount, want * 100);
}

#[test]
fn the_last_part_of_the_trust_is_for_new_circuits() {
    let mut books = books();
    let payer = wallet(1);
    let large = books.lease(0, payer, SOURCE, 30).unwrap();
    // Of 100, an eighth is kept.
    assert_eq!(books.extend(0, large.id, 500), Ok(58));
    let none = books.extend(0, large.id, 1);
    assert!(matches!(none, Err(Refusal::OverLimit { .. })), "{none:?}");
    let small = books.lease(0, payer, SOURCE, 30).unwrap();
    assert_eq!(small.amount, 12);
    assert!(books.lease(0, payer, SOURCE, 1).is_err());
    // What was prepaid is there for all of them, but for the same part.
    books.credit(1, &[seen(payer, 1_000)]);
    assert_eq!(books.extend(1, large.id, 5_000), Ok(988));
    assert_eq!(books.lease(1, payer, SOURCE, 30).unwrap().amount, 12);
}

fn price_of_cells(cells: u64) -> Wei {
    crate::ledger::price::dearest(&DEFAULT_RATES, cells * 16_263).unwrap()
}

#[test]
fn one_link_takes_its_quota_and_leaves_the_rest_to_others() {
    let mut books = books();
    let mut used = 0;
    for n in 0..100 {
        used += use_up(&mut books, 0, wallet(n), SOURCE);
    }
    assert_eq!(used, 250);
    assert_eq!(use_up(&mut books, 0, wallet(200), source(1)), 100);
}

#[test]
fn the_pool_comes_back_slowly() {
    let mut books = books();
    for n in 0..100 {
        use_up(&mut books, 0, wallet(n), source(n % 4));
    }
    assert_eq!(books.free().out(), 1_000);
    assert!(books.lease(1, wallet(999), source(5), 1).is_err());
    let later = DAY / 10;
    assert_eq!(use_up(&mut books, later, wallet(999), source(5)), 100);
    assert!(books.lease(later, wallet(998), source(6), 1).is_err());
}

#[test]
fn what_is_out_of_the_pool_stays_out_over_a_restart() {
    let mut journal = MemoryJournal::new();
    let mut books = books();
    for n in 0..100 {
        use_up(&mut books, 0, wallet(n), source(n % 4));
    }
    journal.commit(&books.flush()).unwrap();
    let mut books = Receivables::load(&journal, limits(), thresholds()).unwrap();
    assert_eq!(books.free().out(), 1_000);
    assert!(books.lease(0, wallet(999), source(5), 1).is_err());
}

#[test]
fn the_limit_is_first_and_prepaid_and_a_quarter_of_what_was_paid() {
    let mut books = books();
    assert_eq!(use_up(&mut books, 0, wallet(1), SOURCE), 100);
    assert!(matches!(
        books.lease(0, wallet(1), SOURCE, 1),
        Err(Refusal::OverLimit {
            limit: 100,
            pay: 50
        })
    ));
    // Provisional credit opens what it pays for; only final credit counts towards a higher limit.
    books.credit(1, &[seen(wallet(1), 400)]);
    assert_eq!(books.remaining(1, &wallet(1)), 400);
    assert_eq!(use_up(&mut books, 1, wallet(1), SOURCE), 400);
    books.credit(2, &[finally(wallet(1), 400)]);
    assert_eq!(books.limit(2, &wallet(1)), 200);
    assert_eq!(use_up(&mut books, 2, wallet(1), SOURCE), 100);
    // Thirty days later it does not count any more.
    assert_eq!(books.limit(31 * DAY, &wallet(1)), 100);
}

#[test]
fn what_a_payer_earned_needs_nothing_of_the_pool() {
    let mut books = books();
    books.credit(0, &[seen(wallet(1), 400), finally(wallet(1), 400)]);
    for n in 10..100 {
        use_up(&mut books, 0, wallet(n), source(n % 4));
    }
    assert_eq!(books.free().out(), 1_000);
    assert_eq!(use_up(&mut books, 0, wallet(1), SOURCE), 500);
}

#[test]
fn leases_in_flight_count_and_come_back() {
    let mut books = books();
    let lease = books.lease(0, wallet(1), SOURCE, 80).unwrap();
    assert_eq!(books.lease(0, wallet(1), SOURCE, 80).unwrap().amount, 20);
    assert!(books.lease(0, wallet(1), SOURCE, 1).is_err());
    assert_eq!(books.free().out(), 100);
    assert_eq!(books.charge(0, lease.id, 30), Ok(50));
    books.release(0, lease.id);
    books.release(0, lease.id);
    assert_eq!(books.free().out(), 50);
    assert_eq!(books.charge(0, lease.id, 1), Err(Refusal::UnknownLease));
    assert_eq!(books.lease(0, wallet(1), SOURCE, 80).unwrap().amount, 50);
}

#[test]
fn what_was_carried_beyond_a_lease_is_booked_too() {
    let mut books = books();
    let lease = books.lease(0, wallet(1), SOURCE, 10).unwrap();
    assert_eq!(books.charge(0, lease.id, 17), Ok(0));
    assert_eq!(books.get(&wallet(1)).unwrap().owed(), 17);
    assert_eq!(books.extend(0, lease.id, 10), Ok(10));
}

#[test]
fn s23_bans_and_unbans_are_exactly_on_the_line() {
    let t = thresholds();
    let mut books = Receivables::new(
        Limits {
            first: 1_000 * GWEI,
            pool: 1_000_000 * GWEI,
            quota: 1_000_000 * GWEI,
            ..limits()
        },
        t,
    );
    let lease = books.lease(0, wallet(1), SOURCE, 1_000 * GWEI).unwrap();
    books.charge(0, lease.id, 75 * GWEI).unwrap();
    // The line moved by grace stands at 75 gwei 500 s after maturity: 1000 + 500 + 500.
    assert_eq!(books.judge(2_000), vec![]);
    assert_eq!(books.judge(2_001), vec![Verdict::Banned(75 * GWEI)]);
    assert!(matches!(
        books.lease(2_001, wallet(1), SOURCE, 1),
        Err(Refusal::Delinquent { .. })
    ));
    let still = 25 * GWEI;
    books.credit(2_002, &[seen(wallet(1), still)]);
    assert!(
        books.get(&wallet(1)).unwrap().banned,
        "exactly at the last number"
    );
    books.credit(2_003, &[seen(wallet(1), 1)]);
    assert!(!books.get(&wallet(1)).unwrap().banned);
}

#[test]
fn a_tiny_payment_does_not_stop_a_ban() {
    let mut books = books();
    let lease = books.lease(0, wallet(1), SOURCE, 100).unwrap();
    books.charge(0, lease.id, 100 * GWEI).unwrap();
    for n in 0..100 {
        books.credit(n * 10, &[seen(wallet(1), 1)]);
    }
    let banned = |v: &Verdict| matches!(v, Verdict::Banned(_));
    assert!(books.judge(1_500).iter().all(|v| !banned(v)));
    assert!(books.judge(1_501).iter().any(banned));
}

#[test]
fn s27_unfunded_payers_are_refused_unless_they_have_prepaid() {
    let mut books = books();
    books.set_fee(7);
    let lease = books.lease(0, wallet(1), SOURCE, 10).unwrap();
    books.charge(0, lease.id, 10).unwrap();
    let mut with = |token, native| {
        books.set_funds(1, &wallet(1), Funds { token, native });
        books
            .lease(0, wallet(1), SOURCE, 1)
            .map(|lease| lease.amount)
    };
    assert_eq!(with(9, 100), Err(Refusal::NoTokens { need: 10 }));
    assert_eq!(with(10, 6), Err(Refusal::NoGas { need: 7 }));
    assert_eq!(with(10, 7), Ok(1));
    assert!(with(0, 0).is_err());
    books.credit(1, &[seen(wallet(1), 1_000)]);
    assert_eq!(books.lease(0, wallet(1), SOURCE, 1).unwrap().amount, 1);
}

#[test]
fn money_of_unknown_wallets_is_kept_and_is_theirs_later() {
    let mut journal = MemoryJournal::new();
    let mut books = books();
    let batch = books.credit(1, &[seen(wallet(1), 500), finally(wallet(1), 500)]);
    journal.commit(&batch).unwrap();
    let unclaimed = journal.rows(Table::Unclaimed).unwrap().len();
    assert_eq!(
        (unclaimed, journal.rows(Table::Receivables).unwrap().len()),
        (1, 0)
    );

    let mut books = Receivables::load(&journal, limits(), thresholds()).unwrap();
    let lease = books.lease(2, wallet(1), SOURCE, 600).unwrap();
    assert_eq!(lease.amount, 600);
    journal.commit(&books.flush()).unwrap();
    let unclaimed = journal.rows(Table::Unclaimed).unwrap().len();
    assert_eq!(
        (unclaimed, journal.rows(Table::Receivables).unwrap().len()),
        (0, 1)
    );
}

#[test]
fn a_reorg_takes_provisional_credit_back() {
    let mut books = books();
    use_up(&mut books, 0, wallet(1), SOURCE);
    books.credit(5, &[seen(wallet(1), 100)]);
    assert_eq!(books.get(&wallet(1)).unwrap().since, None);
    let gone = CreditChange::Gone {
        payer: wallet(1),
        amount: 100,
        transaction: B256::ZERO,
    };
    books.credit(9, &[gone]);
    let row = books.get(&wallet(1)).unwrap();
    assert_eq!((row.owed(), row.since), (100, Some(9)));
}

#[test]
fn who_never_paid_and_never_came_back_is_forgotten() {
    let mut journal = MemoryJournal::new();
    let mut books = books();
    use_up(&mut books, 0, wallet(1), SOURCE);
    use_up(&mut books, 0, wallet(2), SOURCE);
    books.credit(0, &[seen(wallet(2), 1)]);
    journal.commit(&books.flush()).unwrap();
    books.judge(31 * DAY);
    journal.commit(&books.flush()).unwrap();
    assert!(books.get(&wallet(1)).is_none() && books.get(&wallet(2)).is_some());
    assert_eq!(journal.rows(Table::Receivables).unwrap().len(), 1);
}

#[derive(Debug, Clone)]
enum Step {
    Lease(u8, u8, u8),
    Charge(u8, u8),
    Release(u8),
    Pay(u8, u8),
    Crash,
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(a, b, c)| Step::Lease(a, b, c)),
        4 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Step::Charge(a, b)),
        2 => any::<u8>().prop_map(Step::Release),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Step::Pay(a, b)),
        1 => Just(Step::Crash),
        1 => any::<u16>().prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever is done in whatever order: what was carried and neither paid for nor earned by
    /// payments is at most the pool and its refill.
    #[test]
    fn the_free_credit_bounds_what_is_lost(steps in proptest::collection::vec(step(), 1..200)) {
        let mut journal = MemoryJournal::new();
        let mut books = books();
        let (mut now, mut leases) = (0, Vec::new());
        let (mut carried, mut paid) = (0, 0);
        for step in steps {
            match step {
                Step::Lease(w, s, n) => {
                    let payer = wallet((w % 40).into());
                    if let Ok(lease) = books.lease(now, payer, source((s % 6).into()), n.into()) {
                        leases.push((lease.id, lease.amount));
                    }
                }
                Step::Charge(at, n) if !leases.is_empty() => {
                    let at = usize::from(at) % leases.len();
                    let (id, left) = leases[at];
                    let amount = Wei::from(n).min(left);
                    leases[at].1 = books.charge(now, id, amount).unwrap();
                    carried += amount;
                }
                Step::Release(at) if !leases.is_empty() => {
                    let (id, _) = leases.swap_remove(usize::from(at) % leases.len());
                    books.release(now, id);
                }
                Step::Pay(w, n) => {
                    let (payer, amount) = (wallet((w % 40).into()), n.into());
                    let batch = books.credit(now, &[seen(payer, amount), finally(payer, amount)]);
                    journal.commit(&batch).unwrap();
                    paid += amount;
                }
                Step::Crash => {
                    // At stop and each second everything is flushed.
                    journal.commit(&books.flush()).unwrap();
                    books = Receivables::load(&journal, limits(), thresholds()).unwrap();
                    leases.clear();
                }
                Step::Wait(seconds) => now += u64::from(seconds),
                _ => {}
            }
            let refill = 1_000 * Wei::from(now) / Wei::from(DAY) + 1;
            prop_assert!(carried <= 1_000 + refill + paid + paid / 4, "{carried} {paid} {refill}");
            let owed: Wei = books.iter().map(Account::owed).sum();
            let credited: Wei = books.iter().map(Account::credited).sum();
            prop_assert_eq!(credited, paid);
            prop_assert!(owed <= carried);
        }
    }
}

#[test]
fn what_was_written_off_can_be_booked_again() {
    let mut books = books();
    let used = use_up(&mut books, 0, wallet(1), SOURCE);
    assert_eq!(books.write_off(1, &wallet(1), used), used);
    let row = books.get(&wallet(1)).unwrap();
    assert_eq!((row.owed(), row.since), (0, None));
    books.recover(7, &wallet(1), 5);
    let row = books.get(&wallet(1)).unwrap();
    assert_eq!((row.owed(), row.since), (5, Some(7)));
    books.recover(7, &wallet(2), 5);
    assert!(books.get(&wallet(2)).is_none());
}

proptest! {
    #[test]
    fn s27_wallets_that_break_circuits_get_no_more_than_the_free_credit(
        steps in proptest::collection::vec((0_u64..60, 1_u8..90, any::<bool>(), 0_u16..2_000), 1..300),
    ) {
        let mut books = books();
        let (mut now, mut carried): (u64, Wei) = (0, 0);
        for (n, use_, written_off, wait) in steps {
            now += u64::from(wait);
            let payer = wallet(n);
            if let Ok(lease) = books.lease(now, payer, source(n % 7), use_.into()) {
                books.charge(now, lease.id, lease.amount).unwrap();
                carried += lease.amount;
                books.release(now, lease.id);
            }
            if written_off {
                books.write_off(now, &payer, Wei::MAX);
                prop_assert_eq!(books.get(&payer).map_or(0, Account::owed), 0);
            }
            let refill = 1_000 * Wei::from(now) / Wei::from(DAY) + 1;
            prop_assert!(carried <= 1_000 + refill, "{carried} {refill}");
        }
    }
}

#[test]
fn a_prepaid_payer_gets_back_what_did_not_arrive() {
    let mut books = books();
    books.credit(0, &[seen(wallet(1), 1_000)]);
    let lease = books.lease(0, wallet(1), SOURCE, 400).unwrap();
    books.charge(0, lease.id, 400).unwrap();
    books.release(0, lease.id);
    assert_eq!(books.write_off(1, &wallet(1), 150), 150);
    assert_eq!(books.get(&wallet(1)).unwrap().prepaid(), 750);
    books.recover(2, &wallet(1), 150);
    assert_eq!(books.get(&wallet(1)).unwrap().prepaid(), 600);
}

#[test]
fn who_had_nothing_once_is_looked_at_again() {
    let mut books = books();
    let lease = books.lease(0, wallet(1), SOURCE, 10).unwrap();
    books.charge(0, lease.id, 10).unwrap();
    let nothing = Funds {
        token: 0,
        native: 0,
    };
    books.set_funds(60, &wallet(1), nothing);
    // A day later it has not been served, and asks: it is among those whose balance is read.
    assert!(
        books.lease(DAY, wallet(1), SOURCE, 10).is_ok(),
        "an old reading says nothing"
    );
    books.set_funds(DAY, &wallet(1), nothing);
    let later = DAY + 1_800;
    assert!(matches!(
        books.lease(later, wallet(1), SOURCE, 10),
        Err(Refusal::NoTokens { .. })
    ));
    assert_eq!(books.payers(later), [wallet(1)]);
    // Those whose balances were read longest ago come first.
    for n in 2..5 {
        let _lease = books.lease(later, wallet(n), SOURCE, 1).unwrap();
        books.set_funds(later + 10 - n, &wallet(n), nothing);
    }
    let _lease = books.lease(later, wallet(5), SOURCE, 1).unwrap();
    let order: Vec<_> = [5, 1, 4, 3, 2].map(wallet).into();
    assert_eq!(books.payers(later), order);
}

#[test]
fn more_sources_than_are_remembered_do_no_harm() {
    let mut journal = MemoryJournal::new();
    let mut books = Receivables::new(
        Limits {
            pool: 1_000_000,
            ..limits()
        },
        thresholds(),
    );
    for n in 0..100 {
        // Prepaid, and then over its lease by what the pool has to bear.
        books.credit(0, &[seen(wallet(n), 10)]);
        let lease = books.lease(0, wallet(n), source(n), 10).unwrap();
        books.charge(0, lease.id, 30).unwrap();
    }
    assert_eq!(books.free().out(), 2_000);
    journal.commit(&books.flush()).unwrap();
    let books = Receivables::load(&journal, limits(), thresholds()).unwrap();
    assert_eq!(books.free().out(), 2_000);
}

#[test]
fn a_clock_that_was_ahead_stops_neither_the_refill_nor_the_age_of_debts() {
    let mut books = books();
    let ahead = 1_000 * DAY;
    use_up(&mut books, ahead, wallet(1), SOURCE);
    let out = books.free().out();
    assert!(out > 0);
    let lease = books.lease(DAY, wallet(2), source(2), 1).unwrap();
    books.release(DAY, lease.id);
    let lease = books.lease(2 * DAY, wallet(2), source(2), 1).unwrap();
    books.release(2 * DAY, lease.id);
    assert_eq!(books.free().out(), 0, "a day brought back {out}");
    books.judge(3 * DAY);
    assert_eq!(books.get(&wallet(1)).unwrap().since, Some(3 * DAY));
}
