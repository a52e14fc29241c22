//! Random interleavings of circuits, payments, lost and repeated messages, restarts and lies.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::*;
use super::world::*;
use crate::eip712::CanonicalSignature;
use crate::message::{PaymentNotice, Receipt, receipt_digest};
use crate::rates::{RatePack, Service};
use crate::testing::Wallet;

/// Cells by which the two counters of a circuit differ at most; what the limits allow is more.
const MOST_APART: u64 = 400;

#[derive(Debug, Clone)]
enum Step {
    Open(u8),
    HopCounts(u8, u64),
    PayerCounts(u8, u64),
    EndAtPayer(u8, bool),
    EndAtHop(u8),
    HopSpeaks(u8),
    PayerSpeaks,
    Deliver(u8),
    Repeat(u8),
    Drop(u8),
    Pay(u64),
    Reorganise(u8),
    Finalise(u8),
    Pass(u8),
    /// Somebody else needs the room that there is, at both sides.
    Others,
    // Lies, and forgetting.
    InflatedStatement(u64),
    ForgedReceipt(u64, bool),
    FalseNotice(u64),
    RestartHop,
    RestartPayer,
}

fn honest() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => any::<u8>().prop_map(Step::Open),
        4 => (any::<u8>(), 1..300u64).prop_map(|(c, n)| Step::HopCounts(c, n)),
        4 => (any::<u8>(), 1..300u64).prop_map(|(c, n)| Step::PayerCounts(c, n)),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(c, clean)| Step::EndAtPayer(c, clean)),
        2 => any::<u8>().prop_map(Step::EndAtHop),
        4 => any::<u8>().prop_map(Step::HopSpeaks),
        4 => Just(Step::PayerSpeaks),
        6 => any::<u8>().prop_map(Step::Deliver),
        1 => any::<u8>().prop_map(Step::Repeat),
        1 => any::<u8>().prop_map(Step::Drop),
        1 => (1..1_000_000u64).prop_map(Step::Pay),
        1 => any::<u8>().prop_map(Step::Reorganise),
        1 => any::<u8>().prop_map(Step::Finalise),
        1 => (1..100u8).prop_map(Step::Pass),
        1 => Just(Step::Others),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => honest(),
        1 => any::<u64>().prop_map(Step::InflatedStatement),
        1 => (any::<u64>(), any::<bool>()).prop_map(|(t, own)| Step::ForgedReceipt(t, own)),
        1 => any::<u64>().prop_map(Step::FalseNotice),
        1 => Just(Step::RestartHop),
        1 => Just(Step::RestartPayer),
    ]
}

/// Terms of different circuits: a relay's or an exit's, at the hop's own rates or above them, as
/// long as the counters are within what it allows at its own.
fn terms(kind: u8) -> Terms {
    let times = u64::from(kind / 2 % 4) * 3 + 1;
    let rates = TERMS.rates;
    let service = [Service::Routing, Service::Exit][usize::from(kind % 2)];
    Terms {
        rates: RatePack {
            routing_byte: rates.routing_byte * times,
            routing_package: rates.routing_package * times,
            exit_byte: rates.exit_byte * times,
            exit_package: rates.exit_package * times,
        },
        service,
        ..TERMS
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Circuit {
    kind: u8,
    at_hop: u64,
    at_payer: u64,
    open_at_hop: bool,
    open_at_payer: bool,
    clean: bool,
}

#[derive(Debug, Clone, Copy)]
struct Transfer {
    amount: Wei,
    included: bool,
    is_final: bool,
}

struct Model {
    world: World,
    circuits: BTreeMap<u8, Circuit>,
    transfers: Vec<Transfer>,
    /// On their way, since when, and whether to the payer.
    net: Vec<(bool, Message, Duration)>,
    /// The highest total that was ever signed, by epoch.
    signed: BTreeMap<u32, Wei>,
}

/// Which of `len` things is meant.
fn pick(index: u8, len: usize) -> Option<usize> {
    (len > 0).then(|| usize::from(index) % len)
}

impl Model {
    fn new() -> Self {
        Self {
            world: World::cramped(),
            circuits: BTreeMap::new(),
            transfers: Vec::new(),
            net: Vec::new(),
            signed: BTreeMap::new(),
        }
    }

    fn which(&self, index: u8, fits: impl Fn(&Circuit) -> bool) -> Option<u8> {
        let fitting: Vec<u8> = self
            .circuits
            .iter()
            .filter(|(_, c)| fits(c))
            .map(|(n, _)| *n)
            .collect();
        pick(index, fitting.len()).map(|at| fitting[at])
    }

    fn circuit(&mut self, number: u8) -> &mut Circuit {
        self.circuits.get_mut(&number).unwrap()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Open(kind) => {
                let number = u8::try_from(self.circuits.len() + 1).unwrap();
                self.world.open_on(number, terms(kind));
                let circuit = Circuit {
                    kind,
                    open_at_hop: true,
                    open_at_payer: true,
                    ..Circuit::default()
                };
                self.circuits.insert(number, circuit);
            }
            Step::HopCounts(index, more) => self.count(index, more, true),
            Step::PayerCounts(index, more) => self.count(index, more, false),
            Step::EndAtPayer(index, clean) => self.end_at_payer(index, clean),
            Step::EndAtHop(index) => self.end_at_hop(index),
            Step::HopSpeaks(index) => {
                let on = self.which(index, |c| c.open_at_hop);
                // Now and then over a direct link.
                let on = on.filter(|_| index % 4 != 0);
                if self.world.hop.payer(&payer()).is_some() {
                    let said = self.world.hop_speaks(on);
                    self.net.push((true, said, self.world.now.mono));
                }
            }
            Step::PayerSpeaks => {
                if let Some(said) = self.world.payer_speaks() {
                    if let Message::Receipt(receipt) = said {
                        let total = self.signed.entry(receipt.epoch).or_default();
                        *total = receipt.total.max(*total);
                    }
                    self.net.push((false, said, self.world.now.mono));
                }
            }
            Step::Deliver(index) => {
                if let Some(at) = pick(index, self.net.len()) {
                    let (to_payer, message, _) = self.net.remove(at);
                    self.deliver(to_payer, message);
                }
            }
            Step::Repeat(index) => {
                if let Some(at) = pick(index, self.net.len()) {
                    let (to_payer, message, _) = self.net[at];
                    self.deliver(to_payer, message);
                }
            }
            Step::Drop(index) => {
                if let Some(at) = pick(index, self.net.len()) {
                    self.net.remove(at);
                }
            }
            Step::Pay(_) | Step::Reorganise(_) | Step::Finalise(_) => self.on_chain(step),
            Step::Pass(seconds) => {
                self.world.pass(seconds.into());
                let now = self.world.now.mono;
                // What takes longer is lost with the circuit that carries it.
                self.net
                    .retain(|(.., since)| now - *since <= limits::MESSAGE_LIFE);
            }
            Step::Others => {
                let now = self.world.now;
                let other = super::room::wallet(1);
                let one = circuit(1);
                // There is none while the account is in use.
                if self.world.hop.admit(now, other, one, TERMS).is_ok() {
                    self.world.hop_does(Input::Ended {
                        who: Party::Payer(other),
                        circuit: one,
                        usage: Usage::default(),
                        clean: true,
                    });
                }
                let other = NodeKey([0x55; 32]);
                if self.world.payer.open(now, other, one, TERMS).is_ok() {
                    self.world.payer_does(Input::Ended {
                        who: Party::Hop(other),
                        circuit: one,
                        usage: Usage::default(),
                        clean: true,
                    });
                }
            }
            Step::InflatedStatement(_)
            | Step::ForgedReceipt(..)
            | Step::FalseNotice(_)
            | Step::RestartHop
            | Step::RestartPayer => self.mischief(step),
        }
    }

    fn deliver(&mut self, to_payer: bool, message: Message) {
        if to_payer {
            self.world.payer_hears(message);
        } else {
            self.world.hop_hears(message);
        }
    }

    fn count(&mut self, index: u8, more: u64, at_hop: bool) {
        let both = |c: &Circuit| c.open_at_hop && c.open_at_payer;
        let Some(number) = self.which(index, both) else {
            return;
        };
        let c = self.circuit(number);
        if at_hop {
            c.at_hop = (c.at_hop + more).min(c.at_payer + MOST_APART);
        } else {
            c.at_payer = (c.at_payer + more).min(c.at_hop + MOST_APART);
        }
        let c = *c;
        self.world.carry(number, c.at_hop, c.at_payer);
    }

    fn end_at_payer(&mut self, index: u8, clean: bool) {
        let Some(number) = self.which(index, |c| c.open_at_payer) else {
            return;
        };
        let c = self.circuit(number);
        if clean {
            // The payer has everything that comes home, the hop has everything that was sent.
            c.at_payer = c.at_payer.max(c.at_hop);
        }
        c.open_at_payer = false;
        c.clean = clean;
        let at_payer = c.at_payer;
        self.world.payer_does(Input::Ended {
            who: to_hop(),
            circuit: circuit(number),
            usage: cells(at_payer),
            clean,
        });
    }

    fn end_at_hop(&mut self, index: u8) {
        let fits = |c: &Circuit| c.open_at_hop && !c.open_at_payer;
        let Some(number) = self.which(index, fits) else {
            return;
        };
        let c = self.circuit(number);
        if c.clean {
            c.at_hop = c.at_payer;
        }
        c.open_at_hop = false;
        let (at_hop, clean) = (c.at_hop, c.clean);
        self.world.hop_does(Input::Ended {
            who: to_payer(),
            circuit: circuit(number),
            usage: cells(at_hop),
            clean,
        });
    }

    fn on_chain(&mut self, step: Step) {
        match step {
            Step::Pay(amount) => {
                let number = u8::try_from(self.transfers.len() + 1).unwrap();
                let amount = amount.into();
                self.transfers.push(Transfer {
                    amount,
                    included: true,
                    is_final: false,
                });
                self.world.paid(number, amount, Payment::Included);
                self.world.chain(number, Found::Provisional(amount));
            }
            Step::Reorganise(index) | Step::Finalise(index) => {
                let Some(at) = pick(index, self.transfers.len()) else {
                    return;
                };
                let transfer = &mut self.transfers[at];
                let number = u8::try_from(at + 1).unwrap();
                let amount = transfer.amount;
                if matches!(step, Step::Reorganise(_)) && !transfer.is_final {
                    // Away, or back again.
                    transfer.included = !transfer.included;
                    let found = if transfer.included {
                        Found::Provisional(amount)
                    } else {
                        Found::Unknown
                    };
                    self.world.chain(number, found);
                } else if transfer.included {
                    // Perhaps said twice.
                    transfer.is_final = true;
                    self.world.chain(number, Found::Final(amount));
                    self.world.paid(number, amount, Payment::Final);
                }
            }
            _ => {}
        }
    }

    fn mischief(&mut self, step: Step) {
        match step {
            Step::InflatedStatement(by) => {
                if let Some((_, Message::Statement(mut statement), _)) =
                    self.net.iter().find(|(to_payer, ..)| *to_payer).copied()
                {
                    statement.total = statement.total.saturating_add(by.into());
                    statement.sequence += by % 3;
                    statement.epoch += u32::try_from(by % 2).unwrap();
                    self.world.payer_hears(Message::Statement(statement));
                }
            }
            Step::ForgedReceipt(by, own) => {
                let Some(books) = self.world.hop.payer(&payer()) else {
                    return;
                };
                let at = (books.epoch, books.sequence);
                let total = books.booked.saturating_sub(books.base);
                let total = total.saturating_add(Wei::from(by)) / 2;
                let settled = (by % 4 > 0).then_some(total / 3);
                let digest = receipt_digest(&domain(), &payer(), &HOP, at, (total, settled));
                let wallet = Wallet::new(if own { 1 } else { 2 });
                self.world.hop_hears(Message::Receipt(Receipt {
                    epoch: at.0,
                    sequence: at.1,
                    total,
                    settled,
                    signature: CanonicalSignature::sign(&wallet, &digest).unwrap(),
                }));
            }
            Step::FalseNotice(amount) => {
                let transaction = B256::repeat_byte(u8::try_from(amount % 20).unwrap());
                let amount = amount.into();
                self.world.hop_hears(Message::Notice(PaymentNotice {
                    transaction,
                    amount,
                }));
            }
            Step::RestartHop => {
                if let Some(books) = self.world.hop.payer(&payer()) {
                    self.world.hop = World::cramped().hop;
                    self.world.hop.restore_payer(books).unwrap();
                    self.circuits.values_mut().for_each(|c| {
                        c.open_at_hop = false;
                        c.clean = false;
                    });
                }
            }
            Step::RestartPayer => {
                if let Some(books) = self.world.payer.hop(&HOP) {
                    self.world.payer = World::cramped().payer;
                    self.world.payer.restore_hop(self.world.now, books).unwrap();
                    self.circuits.values_mut().for_each(|c| {
                        c.open_at_payer = false;
                        c.clean = false;
                    });
                }
            }
            _ => {}
        }
    }

    /// What holds always, whoever lies.
    fn check(&self) {
        let paid = self.transfers.iter().filter(|t| t.included);
        let paid: Wei = paid.map(|t| t.amount).sum();
        let carried = |count: fn(&Circuit) -> u64| -> Wei {
            let cost = |c: &Circuit| terms(c.kind).price(cells(count(c)));
            self.circuits.values().map(cost).sum()
        };
        if let Some(books) = self.world.hop.payer(&payer()) {
            assert!(books.credited() <= paid, "credited more than was paid");
            let booked = books.booked + books.written_off;
            assert_eq!(booked, carried(|c| c.at_hop), "something carried is lost");
            assert!(books.base <= books.booked);
        }
        if let Some(books) = self.world.payer.hop(&HOP) {
            let signed: Wei = self.signed.values().sum();
            let own = carried(|c| c.at_payer);
            assert!(signed <= own, "signed more than its own books have");
            assert!(books.booked <= own);
            assert!(books.base + books.signed <= books.booked);
        }
    }

    /// Ends what is open, and lets both sides speak a few times.
    fn finish(&mut self) {
        while self.which(0, |c| c.open_at_payer).is_some() {
            self.end_at_payer(0, true);
        }
        while self.which(0, |c| c.open_at_hop).is_some() {
            self.end_at_hop(0);
        }
        self.net.clear();
        for _ in 0..10 {
            self.world.pass(100);
            self.step(Step::HopSpeaks(0));
            while !self.net.is_empty() {
                self.step(Step::Deliver(0));
                self.step(Step::PayerSpeaks);
            }
            self.check();
        }
    }
}

pub(super) fn cases(ordinary: u32) -> ProptestConfig {
    // More where the run is told so, by proptest's own variable.
    let cases = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: cases.and_then(|n| n.parse().ok()).unwrap_or(ordinary),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn honest_books_come_to_agree(
        steps in prop::collection::vec(honest(), 1..120)
    ) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
            model.check();
        }
        model.finish();
        for event in model.world.payer_says.iter().chain(&model.world.hop_says) {
            let fault = matches!(
                event,
                Event::Disputed { .. } | Event::BadReceipt { .. } | Event::Disowned { .. }
            );
            let Event::BadReceipt { fault: why, .. } = event else {
                prop_assert!(!fault, "nobody lied, and yet: {event:?}");
                continue;
            };
            prop_assert!(false, "nobody lied, and yet: {why:?}");
        }
        if model.circuits.is_empty() {
            return Ok(());
        }
        let (of_payer, of_hop) = (model.world.owed_at_hop(), model.world.owed_at_payer());
        prop_assert_eq!(of_payer.booked, of_hop.booked);
        prop_assert_eq!(of_payer.acknowledged(), of_hop.signed);
        prop_assert_eq!(of_payer.booked - of_payer.base, of_hop.signed);
    }

    #[test]
    fn nobody_gains_by_lies_or_restarts(
        steps in prop::collection::vec(any_step(), 1..120)
    ) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
            model.check();
        }
        model.finish();
    }
}
