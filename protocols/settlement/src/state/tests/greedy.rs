//! A wallet that never pays, and signs whatever serves it: rates, receipts, breaks, restarts.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::limits::IN_FLIGHT;
use super::super::*;
use super::world::*;
use crate::eip712::CanonicalSignature;
use crate::message::{Question, Receipt, receipt_digest};
use crate::rates::{RatePack, Service};
use crate::testing::Wallet;

/// Cells that one step carries at most: the host looks at credit at least that often.
const STEP: u64 = 64;

#[derive(Debug, Clone)]
enum Step {
    Open(RatePack, bool),
    Carry(u8, u64),
    End(u8, bool),
    /// On which circuit, and how much of the hop's total is acknowledged and called settled.
    Receipt(u8, Amount, Option<Amount>),
    Reopen,
    Restart,
    Pass(u8),
}

#[derive(Debug, Clone, Copy)]
enum Amount {
    Nothing,
    Percent(u8),
    Beyond(u64),
}

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![
        3 => Just(Amount::Nothing),
        2 => (0..=101_u8).prop_map(Amount::Percent),
        1 => any::<u64>().prop_map(Amount::Beyond),
    ]
}

/// Every rate is the hop's own or more, up to the highest that can be written.
fn rates() -> impl Strategy<Value = RatePack> {
    let above = |own: u64| {
        prop_oneof![
            4 => Just(own),
            2 => own..own * 1_000,
            1 => any::<u64>().prop_map(move |rate| rate.max(own)),
            1 => Just(u64::MAX),
        ]
    };
    let own = TERMS.rates;
    (
        above(own.routing_byte),
        above(own.routing_package),
        above(own.exit_byte),
        above(own.exit_package),
    )
        .prop_map(
            |(routing_byte, routing_package, exit_byte, exit_package)| RatePack {
                routing_byte,
                routing_package,
                exit_byte,
                exit_package,
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (rates(), any::<bool>()).prop_map(|(rates, exit)| Step::Open(rates, exit)),
        12 => (any::<u8>(), 1..=STEP).prop_map(|(c, n)| Step::Carry(c, n)),
        4 => (any::<u8>(), prop::bool::weighted(0.2)).prop_map(|(c, clean)| Step::End(c, clean)),
        5 => (any::<u8>(), amount(), prop::option::weighted(0.9, amount()))
            .prop_map(|(c, total, settled)| Step::Receipt(c, total, settled)),
        1 => Just(Step::Reopen),
        1 => Just(Step::Restart),
        1 => (1..100_u8).prop_map(Step::Pass),
    ]
}

struct Greedy {
    world: World,
    limit: Wei,
    opened: u8,
    /// Open ones: the service, and cells carried so far.
    open: BTreeMap<u8, (Service, u64)>,
    /// What it got, at the hop's own rates.
    got: Wei,
}

impl Greedy {
    fn new(limit: Wei) -> Self {
        let mut world = World::new();
        world.hop_does(Input::Limit {
            payer: payer(),
            limit,
        });
        Self {
            world,
            limit,
            opened: 0,
            open: BTreeMap::new(),
            got: 0,
        }
    }

    fn which(&self, index: u8) -> Option<u8> {
        let open: Vec<u8> = self.open.keys().copied().collect();
        (!open.is_empty()).then(|| open[usize::from(index) % open.len()])
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Open(rates, exit) if self.opened < u8::MAX => {
                let service = [Service::Routing, Service::Exit][usize::from(exit)];
                let terms = Terms {
                    rates,
                    service,
                    max_spend: Wei::MAX,
                };
                let number = self.opened + 1;
                let now = self.world.now;
                let admitted = self.world.hop.admit(now, payer(), circuit(number), terms);
                if admitted.is_ok() {
                    self.opened = number;
                    self.open.insert(number, (service, 0));
                }
            }
            Step::Open(..) => {}
            Step::Carry(index, more) => self.carry(index, more),
            Step::End(index, clean) => {
                if let Some(number) = self.which(index) {
                    self.end(number, clean);
                }
            }
            Step::Receipt(index, total, settled) => self.receipt(index, total, settled),
            Step::Reopen => self.world.hop_hears(Message::Question(Question::Reopen)),
            Step::Restart => {
                self.open.clear();
                let books = self.world.hop.payer(&payer()).unwrap();
                self.world.hop = World::new().hop;
                self.world.hop.restore_payer(books).unwrap();
            }
            Step::Pass(seconds) => self.world.pass(seconds.into()),
        }
    }

    fn carry(&mut self, index: u8, more: u64) {
        let Some(number) = self.which(index) else {
            return;
        };
        let (service, carried) = self.open.get_mut(&number).unwrap();
        *carried += more;
        self.got += TERMS.rates.price(*service, cells(more));
        let usage = cells(*carried);
        self.world.hop_says.clear();
        self.world.hop_does(Input::Carried {
            who: to_payer(),
            circuit: circuit(number),
            usage,
        });
        let over = |event: &Event| matches!(event, Event::OverLimit { .. });
        if self.world.hop_says.iter().any(over) {
            while let Some(number) = self.which(0) {
                self.end(number, false);
            }
        }
    }

    fn end(&mut self, number: u8, clean: bool) {
        let (_, carried) = self.open.remove(&number).unwrap();
        self.world.hop_does(Input::Ended {
            who: to_payer(),
            circuit: circuit(number),
            usage: cells(carried),
            clean,
        });
    }

    fn receipt(&mut self, index: u8, total: Amount, settled: Option<Amount>) {
        let on = self.which(index);
        let Message::Statement(statement) = self.world.hop_speaks(on) else {
            return;
        };
        let of = |amount: Amount, whole: Wei| match amount {
            Amount::Nothing => 0,
            Amount::Percent(percent) => whole / 100 * Wei::from(percent),
            Amount::Beyond(more) => whole.saturating_add(more.into()),
        };
        let total = of(total, statement.total);
        let settled = settled.map(|settled| of(settled, total).min(total));
        let (epoch, sequence) = (statement.epoch, statement.sequence);
        let amounts = (total, settled);
        let digest = receipt_digest(&domain(), &payer(), &HOP, (epoch, sequence), amounts);
        self.world.hop_hears(Message::Receipt(Receipt {
            epoch,
            sequence,
            total,
            settled,
            signature: CanonicalSignature::sign(&Wallet::new(1), &digest).unwrap(),
        }));
    }

    /// The limit, what one circuit may have in flight, a hundredth, and what was under way when the
    /// limit was met.
    fn most(&self) -> Wei {
        let flight = TERMS.rates.price_of(Service::Exit, IN_FLIGHT);
        let step = TERMS.rates.price(Service::Exit, cells(STEP));
        self.limit + self.limit / 100 + flight + step
    }
}

proptest! {
    #![proptest_config(super::random::cases(300))]

    #[test]
    fn s27_who_never_pays_gets_the_limit_and_what_was_in_flight(
        flights in 0..40_u64,
        steps in prop::collection::vec(step(), 1..300)
    ) {
        // Small, so that it is used up soon; what is in flight is then larger than the limit.
        let mut greedy = Greedy::new(Wei::from(flights) * price(STEP) + 1);
        for step in steps {
            greedy.step(step);
            prop_assert!(greedy.got <= greedy.most(), "{} of {}", greedy.got, greedy.most());
        }
    }
}

/// The same where it does nothing but carry, break, and disown.
#[test]
fn s27_breaking_and_disowning_comes_to_an_end() {
    for rates in [
        TERMS.rates,
        RatePack {
            exit_byte: u64::MAX,
            ..TERMS.rates
        },
    ] {
        let mut greedy = Greedy::new(100 * price(STEP));
        for round in 0..3_000_u32 {
            greedy.step(Step::Open(rates, round % 7 == 0));
            greedy.step(Step::Open(rates, false));
            greedy.step(Step::Carry(1, STEP));
            greedy.step(Step::Carry(0, STEP));
            greedy.step(Step::End(0, false));
            greedy.step(Step::Receipt(0, Amount::Nothing, Some(Amount::Nothing)));
            if round % 50 == 0 {
                greedy.step(Step::Restart);
            }
            if greedy.opened > 250 {
                greedy.step(Step::Restart);
                greedy.opened = 0;
            }
        }
        assert!(
            greedy.got <= greedy.most(),
            "{} of {}",
            greedy.got,
            greedy.most()
        );
        assert!(greedy.got >= greedy.limit.min(price(STEP)));
    }
}
