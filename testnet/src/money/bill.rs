//! The bill of one node: what each hop of a circuit carried and what that costs, what the node owes
//! beside what its hops are owed, and what was paid on chain. Pure but for writing.

use std::io::{self, Write};

use masq::control::types::{CircuitView, HopRole, Leg};
use masq::ledger::{Tokens, Wei, price};
use masq_cores::Role;
use masq_cores::host::Carried;
use masq_gossip::RatePack;
use serde::Serialize;

use super::books::{NodeBooks, pairs, wei};
use super::judge::in_flight;
use super::show::{self, NANO_UNIT, PaidRow, nano};
use super::transfers::Transfer;
use crate::demo::follow::{Check, short};

/// What one hop of a circuit carried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HopLine {
    /// Name of the node.
    pub hop: String,
    /// What it was: `over relay`, `exit` or `back relay`.
    pub role: &'static str,
    /// Packages, both ways.
    pub packages: u64,
    /// Bytes of them, both ways.
    pub bytes: u64,
    /// What that costs.
    #[serde(with = "wei")]
    pub price: Wei,
}

/// What the node owes to one hop, by both books.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PairLine {
    /// Name of the hop.
    pub hop: String,
    /// By the payer's books.
    #[serde(with = "wei")]
    pub payable: Wei,
    /// By the hop's books.
    #[serde(with = "wei")]
    pub receivable: Wei,
    /// Of it paid, finally.
    #[serde(with = "wei")]
    pub paid: Wei,
}

impl PairLine {
    /// Whether both say the same.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.payable == self.receivable
    }
}

/// The bill of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bill {
    /// Name of the node.
    pub payer: String,
    /// Hop by hop of the circuit that was looked at.
    pub hops: Vec<HopLine>,
    /// Everything that the node owes.
    pub pairs: Vec<PairLine>,
    /// Everything that it paid.
    pub paid: Vec<PaidRow>,
    /// How many of its circuits did not end in good order: what they had on their way one side may
    /// have counted and the other not.
    pub broken: u32,
}

/// What each hop of a circuit carried, by the origin's counters, and what that costs at these rates.
#[must_use]
pub fn hops(
    circuit: &CircuitView,
    rates: &RatePack,
    name: impl Fn(&str) -> String,
) -> Vec<HopLine> {
    let over = Carried {
        cells: circuit.sent_cells,
        bytes: circuit.sent_bytes,
    };
    let back = Carried {
        cells: circuit.received_cells,
        bytes: circuit.received_bytes,
    };
    let none = Carried::default();
    let line = |hop: &masq::control::types::HopView| {
        let (role, words, over, back) = match (hop.role, hop.leg) {
            (HopRole::Exit, _) => (Role::Exit, "exit", over, back),
            (_, Leg::Back) => (Role::BackRelay, "back relay", none, back),
            _ => (Role::OverRelay, "over relay", over, none),
        };
        HopLine {
            hop: name(&hop.node),
            role: words,
            packages: over.cells + back.cells,
            bytes: over.bytes + back.bytes,
            // What does not fit is beyond any circuit of a testnet.
            price: price::circuit(role, rates, over, back).unwrap_or(Wei::MAX),
        }
    };
    circuit.hops.iter().map(line).collect()
}

impl Bill {
    /// The bill of the node called `payer`.
    #[must_use]
    pub fn new(
        payer: &str,
        hops: Vec<HopLine>,
        books: &[NodeBooks],
        transfers: &[Transfer],
        broken: u32,
    ) -> Self {
        let pairs = pairs(books);
        let line = |pair: &super::books::Pair<'_>| PairLine {
            hop: pair.hop.name.clone(),
            payable: pair.payable(),
            receivable: pair.receivable(),
            paid: pair.debt.map_or(0, |debt| debt.paid),
        };
        let mut paid = show::paid(books, transfers);
        paid.retain(|row| row.payer == payer);
        Self {
            payer: payer.to_owned(),
            hops,
            pairs: pairs
                .iter()
                .filter(|pair| pair.payer.name == payer)
                .map(line)
                .collect(),
            paid,
            broken,
        }
    }

    /// Whether both books say the same of a hop, but for what broken circuits had on their way.
    fn agrees(&self, pair: &PairLine) -> bool {
        pair.payable.abs_diff(pair.receivable) <= in_flight() * Wei::from(self.broken)
    }

    /// Whether that is so of every hop.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.pairs.iter().all(|pair| self.agrees(pair))
    }

    /// Whether both books say the same of every hop.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.pairs.iter().all(PairLine::is_equal)
    }

    /// What ought to be so of a bill after traffic, payments, and an end in good order.
    #[must_use]
    pub fn checks(&self) -> Vec<Check> {
        let unequal = self.pairs.iter().find(|pair| !self.agrees(pair));
        let payable: Wei = self.pairs.iter().map(|pair| pair.payable).sum();
        // A node may be on both legs.
        let price = |name: &str| -> Wei {
            let lines = self.hops.iter().filter(|hop| hop.hop == name);
            lines.map(|hop| hop.price).sum()
        };
        let unpaid_hop = self.hops.iter().find(|hop| {
            let pair = self.pairs.iter().find(|pair| pair.hop == hop.hop);
            pair.is_none_or(|pair| pair.payable < price(&hop.hop))
        });
        vec![
            Check {
                what: match self.broken {
                    0 => "the origin's payables are the hops' receivables, to the wei".to_owned(),
                    n => format!(
                        "the origin's payables are the hops' receivables, but for what {n} broken circuits had on their way"
                    ),
                },
                failed: unequal.map(|pair| {
                    format!(
                        "{} has {} wei in its books, {} has {}",
                        self.payer, pair.payable, pair.hop, pair.receivable
                    )
                }),
            },
            Check {
                what: "every hop of the circuit has at least its price in the books".to_owned(),
                failed: match unpaid_hop {
                    Some(hop) => Some(format!("{} ({}) has less", hop.hop, hop.role)),
                    None if payable == 0 => Some("nothing was billed".to_owned()),
                    None => None,
                },
            },
            Check {
                what: "payments are on chain".to_owned(),
                failed: self
                    .paid
                    .is_empty()
                    .then(|| format!("{} paid nothing", self.payer)),
            },
        ]
    }

    /// Writes the bill.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "\nThe bill of {}. Amounts are in {NANO_UNIT}.",
            self.payer
        )?;
        writeln!(out, "That circuit, by the origin's counters:")?;
        writeln!(
            out,
            "  {:<14} {:<11} {:>9} {:>12} {:>16}",
            "hop", "as", "packages", "bytes", "price"
        )?;
        for hop in &self.hops {
            writeln!(
                out,
                "  {:<14} {:<11} {:>9} {:>12} {:>16}",
                hop.hop,
                hop.role,
                hop.packages,
                hop.bytes,
                nano(hop.price)
            )?;
        }
        let price: Wei = self.hops.iter().map(|hop| hop.price).sum();
        writeln!(out, "  {:<49} {:>16}", "together", nano(price))?;
        writeln!(out, "All circuits, by both books:")?;
        writeln!(
            out,
            "  {:<14} {:>20} {:>20} {:>16}  equal",
            "hop", "origin's payable", "hop's receivable", "paid"
        )?;
        for pair in &self.pairs {
            let equal = match (pair.is_equal(), self.agrees(pair)) {
                (true, _) => "yes".to_owned(),
                (false, well) => {
                    let by = nano(pair.payable.abs_diff(pair.receivable));
                    format!("{} by {by}", if well { "broken circuits:" } else { "NO" })
                }
            };
            writeln!(
                out,
                "  {:<14} {:>20} {:>20} {:>16}  {equal}",
                pair.hop,
                nano(pair.payable),
                nano(pair.receivable),
                nano(pair.paid)
            )?;
        }
        writeln!(out, "Payments on chain:")?;
        writeln!(
            out,
            "  {:<14} {:>16} {:>7}  transaction",
            "to", "amount", "block"
        )?;
        for row in &self.paid {
            writeln!(
                out,
                "  {:<14} {:>16} {:>7}  {}",
                row.payee,
                nano(row.amount),
                row.block,
                row.transaction
            )?;
        }
        let moved: Wei = self.paid.iter().map(|row| row.amount).sum();
        writeln!(out, "  {} in {} payments", Tokens(moved), self.paid.len())
    }
}

/// How a node is called that has no name here.
#[must_use]
pub fn nameless(key: &str) -> String {
    short(key).to_owned()
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;

    use super::super::books::tests::{account, debt, node};
    use super::*;
    use crate::demo::follow::tests::view;

    fn circuit() -> CircuitView {
        let mut circuit = view(
            1,
            &[
                ("a", HopRole::Relay, Leg::Over),
                ("b", HopRole::Exit, Leg::Over),
                ("c", HopRole::Relay, Leg::Back),
            ],
        );
        (circuit.sent_cells, circuit.sent_bytes) = (2, 2_000);
        (circuit.received_cells, circuit.received_bytes) = (10, 100_000);
        circuit
    }

    const RATES: RatePack = RatePack {
        routing_byte: 1,
        routing_package: 10,
        exit_byte: 2,
        exit_package: 20,
    };

    #[test]
    fn each_hop_is_paid_for_the_legs_that_it_carries() {
        let lines = hops(&circuit(), &RATES, str::to_owned);
        let figures: Vec<_> = lines
            .iter()
            .map(|line| (line.role, line.packages, line.bytes, line.price))
            .collect();
        assert_eq!(
            figures,
            [
                ("over relay", 2, 2_000, 2_020),
                ("exit", 12, 102_000, 204_240),
                ("back relay", 10, 100_000, 100_100),
            ]
        );
    }

    fn bill(receivable: Wei) -> Bill {
        let (mut payer, mut hop) = (node(1), node(2));
        payer.debts = vec![debt(2, 306_360, 0)];
        hop.accounts = vec![account(1, receivable, 0)];
        let books = [payer, hop];
        let transfer = Transfer {
            transaction: B256::repeat_byte(0xcd),
            block: 3,
            from: books[0].wallets.consuming,
            to: books[1].wallets.earning.unwrap(),
            amount: 5,
            is_final: false,
        };
        let lines = hops(&circuit(), &RATES, |_| "n02".to_owned());
        Bill::new("n01", lines, &books, &[transfer], 0)
    }

    #[test]
    fn an_equal_bill_is_well_and_an_unequal_one_is_not() {
        let good = bill(306_360);
        assert!(good.is_equal());
        assert!(good.checks().iter().all(|check| check.failed.is_none()));
        let bad = bill(306_359);
        assert!(!bad.is_equal());
        let failed: Vec<_> = bad.checks().into_iter().filter_map(|c| c.failed).collect();
        assert_eq!(failed, ["n01 has 306360 wei in its books, n02 has 306359"]);
        let broken = Bill {
            broken: 1,
            ..bad.clone()
        };
        assert!(broken.is_well() && !broken.is_equal() && !bad.is_well());
        assert!(broken.checks().iter().all(|check| check.failed.is_none()));
        let mut out = Vec::new();
        bad.write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in [
            "back relay",
            "102000",
            "NO",
            "cdcdcd",
            "5 wei in 1 payments",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_bill_without_payments_or_usage_is_not_well() {
        let mut empty = bill(306_360);
        empty.paid.clear();
        empty.hops[0].price += 1;
        let failed = empty.checks().iter().filter(|c| c.failed.is_some()).count();
        assert_eq!(failed, 2);
    }
}
