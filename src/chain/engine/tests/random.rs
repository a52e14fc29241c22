//! Random interleavings. `MASQ_PROPTEST_CASES` says how many (500 when it does not).

use std::time::Duration;

use proptest::prelude::*;

use super::super::io::*;
use super::world::{Lie, Mode, World};
use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// The engine's next wish.
    Output,
    /// One of the jobs under way: which, and whether its answer is lost or it has no effect.
    Job(u8, bool, bool),
    /// Everything that can happen at once.
    SettleDown,
    Use(u8, u16),
    Wait(u8),
    Mine,
    Reorg(u8, bool),
    DropPool,
    BaseFee(u16),
    TokenStops(bool),
    Endpoint(u8, Mode),
    Crash,
    Storm(u64),
    Settle,
    Pause(bool),
    Cancel(u8),
    Prepay(u8, u16),
    WriteOff(u8, u16),
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        4 => Just(Mode::Honest),
        4 => (1..12_u8).prop_map(Mode::Lags),
        1 => Just(Mode::Down),
        1 => Just(Mode::WrongChain),
    ]
}

fn lie() -> impl Strategy<Value = Lie> {
    prop_oneof![
        Just(Lie::Failed),
        Just(Lie::Paid),
        Just(Lie::Foreign),
        Just(Lie::Ahead),
        Just(Lie::Forgets),
        Just(Lie::Rich),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        14 => Just(Step::Output),
        10 => (any::<u8>(), prop::bool::weighted(0.2), prop::bool::weighted(0.2))
            .prop_map(|(at, lost, dropped)| Step::Job(at, lost, dropped)),
        12 => Just(Step::SettleDown),
        8 => (0..4_u8, any::<u16>()).prop_map(|(p, n)| Step::Use(p, n)),
        10 => (0..60_u8).prop_map(Step::Wait),
        12 => Just(Step::Mine),
        2 => (1..9_u8, any::<bool>()).prop_map(|(n, lost)| Step::Reorg(n, lost)),
        1 => Just(Step::DropPool),
        2 => prop_oneof![Just(100), 0..1_000_u16, 0..9_000_u16].prop_map(Step::BaseFee),
        1 => prop::bool::weighted(0.3).prop_map(Step::TokenStops),
        3 => (any::<u8>(), mode()).prop_map(|(at, mode)| Step::Endpoint(at, mode)),
        4 => Just(Step::Crash),
        2 => (0..6_u64).prop_map(Step::Storm),
        2 => Just(Step::Settle),
        1 => prop::bool::weighted(0.3).prop_map(Step::Pause),
        1 => any::<u8>().prop_map(Step::Cancel),
        1 => (0..5_u8, any::<u16>()).prop_map(|(p, n)| Step::Prepay(p, n)),
        1 => (0..4_u8, any::<u16>()).prop_map(|(p, n)| Step::WriteOff(p, n)),
    ]
}

fn amount(n: u16) -> Wei {
    // Up to 6.5 gwei: the line is between one and two.
    Wei::from(n) * 100_000
}

fn take(world: &mut World, step: Step, liar: Option<u8>) {
    match step {
        Step::Output => {
            world.output();
        }
        Step::Job(at, lost, dropped) => {
            world.job(at.into(), lost, dropped);
        }
        Step::SettleDown => world.settle_down(),
        Step::Use(p, n) => world.use_up(payee(p), amount(n)),
        Step::Wait(seconds) => world.wait(seconds.into()),
        Step::Mine => world.chain.mine(),
        Step::Reorg(depth, lost) => world.chain.reorg(depth.into(), lost),
        Step::DropPool => world.chain.pool.clear(),
        Step::BaseFee(fee) => world.chain.base_fee = fee.into(),
        Step::TokenStops(stops) => world.chain.token_stops = stops,
        Step::Endpoint(at, mode) => {
            let at = usize::from(at) % world.modes.len();
            if liar != Some(at as u8) {
                world.modes[at] = mode;
            }
        }
        Step::Crash => world.crash(),
        Step::Storm(storm) => world.storm = storm,
        Step::Settle => world.input(Input::SettleNow),
        Step::Pause(true) => world.input(Input::Pause),
        Step::Pause(false) => world.input(Input::Resume),
        Step::Cancel(at) => {
            let under_way: Vec<u64> = world.engine.under_way().map(|i| i.nonce).collect();
            if let Some(nonce) = under_way.get(usize::from(at) % under_way.len().max(1)) {
                world.input(Input::Cancel { nonce: *nonce });
            }
        }
        Step::Prepay(p, n) => world.input(Input::Prepay {
            payee: payee(p),
            amount: amount(n) + GWEI,
        }),
        Step::WriteOff(p, n) => {
            let payee = payee(p);
            let due = world
                .engine
                .payables()
                .get(&payee)
                .map_or(0, |row| row.due());
            let amount = amount(n).min(due);
            if amount > 0 {
                *world.used.get_mut(&payee).unwrap() -= amount;
                world.input(Input::WriteOff { payee, amount });
            }
        }
    }
    world.check();
}

/// After the storm: everything that is worth its fee gets paid, exactly.
fn calm_down(world: &mut World, liar: Option<u8>) {
    for (at, mode) in world.modes.iter_mut().enumerate() {
        if liar != Some(at as u8) {
            *mode = Mode::Honest;
        }
    }
    world.storm = 0;
    world.chain.base_fee = BASE_FEE;
    world.chain.token_stops = false;
    world.input(Input::Resume);
    for round in 0..60 {
        world.input(Input::SettleNow);
        world.blocks(10);
        let all_paid = {
            let mut rows = world.engine.payables().iter();
            rows.all(|row| row.due() < GWEI && row.reserved == 0)
        };
        if all_paid && world.engine.under_way().count() == 0 {
            break;
        }
        // Past every hold after failures.
        world.wait(if round < 10 { 30 } else { 4_000 });
        if round == 20 {
            // What was signed when gas was nearly free, and is not worth more, comes in again.
            world.chain.base_fee = 0;
        }
    }
    let halts: Vec<&Event> = world
        .events
        .iter()
        .filter(|e| matches!(e, Event::Halted(_)))
        .collect();
    assert!(halts.is_empty(), "{halts:?}");
    assert_eq!(world.engine.under_way().count(), 0);
    let chain = world.chain.state(world.chain.final_height());
    let paid: Wei = world.engine.payables().iter().map(|row| row.paid).sum();
    assert_eq!(paid, chain.moved_in_all());
    for (payee, used) in &world.used.clone() {
        let row = world.row(payee);
        assert_eq!(row.accrued, *used);
        assert!(row.due() < GWEI, "left unpaid: {}", row.due());
        assert_eq!(row.reserved, 0);
    }
}

fn run(endpoints: u8, liar: Option<(u8, Lie)>, batches: bool, steps: Vec<Step>) -> World {
    let mut config = config(endpoints);
    config.disperse = batches.then(disperse);
    config.poll = Duration::from_secs(4);
    let mut world = World::new(config);
    world.chain.keeps_state = !steps.len().is_multiple_of(3);
    if let Some((at, lie)) = liar {
        world.modes[usize::from(at)] = Mode::Lies(lie);
    }
    let liar = liar.map(|(at, _)| at);
    for step in steps {
        take(&mut world, step, liar);
    }
    calm_down(&mut world, liar);
    world
}

fn cases() -> ProptestConfig {
    let cases = std::env::var("MASQ_PROPTEST_CASES").ok();
    let cases = cases.and_then(|cases| cases.parse().ok()).unwrap_or(500);
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn s22_s24_never_twice_and_never_lost(
        steps in prop::collection::vec(step(), 1..150), batches in any::<bool>(),
    ) {
        run(1, None, batches, steps);
    }

    #[test]
    fn s22_s24_never_twice_and_never_lost_whatever_one_of_three_endpoints_says(
        at in 0..3_u8, lie in lie(), batches in any::<bool>(),
        steps in prop::collection::vec(step(), 1..150),
    ) {
        run(3, Some((at, lie)), batches, steps);
    }
}

/// That the storms above are storms: each kind of trouble happens, and is got over.
#[test]
fn everything_happens_in_the_random_runs() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let strategy = prop::collection::vec(step(), 100..300);
    let mut seen = std::collections::BTreeMap::new();
    for round in 0..100 {
        let steps = strategy.new_tree(&mut runner).unwrap().current();
        let world = run(1, None, round % 2 == 0, steps);
        for event in &world.events {
            let name = match event {
                Event::Final { outcome, payment } => {
                    let many = if payment.shares.len() > 1 {
                        " many"
                    } else {
                        ""
                    };
                    format!("{outcome:?}{many}")
                }
                Event::NotTaken { why, .. } => format!("{why:?}"),
                Event::Distrusted { why, .. } => format!("{why:?}"),
                other => {
                    let text = format!("{other:?}");
                    text.split([' ', '(']).next().unwrap().to_owned()
                }
            };
            *seen.entry(name).or_insert(0) += 1;
        }
        let dearer = world.resigned;
        *seen.entry("dearer".to_owned()).or_insert(0) += dearer;
    }
    for name in [
        "Paid",
        "Paid many",
        "Failed",
        "Cancelled",
        "Reorged",
        "Included",
        "Stuck",
        "GasTooDear",
        "NotWorthItsFee",
        "NonceTooLow",
        "Unknown",
        "WrongChain(1)",
        "dearer",
    ] {
        assert!(
            seen.get(name).is_some_and(|n| *n > 0),
            "never {name}: {seen:?}"
        );
    }
}
