//! Whether the books of a mesh are right, by all books and the chain together. Pure.

use std::collections::BTreeMap;
use std::fmt;

use alloy::primitives::{Address, B256};
use masq::ledger::price::{DEFAULT_RATES, dearest};
use masq::ledger::{Tokens, Wei};
use serde::Serialize;

use super::books::{NodeBooks, Pair, pairs, wei};
use super::transfers::Transfer;

/// Bytes that a circuit may have on its way when it breaks: carried by one hop and not yet by
/// another. Four full cells; measured, with downloads at 200 kB/s: one or two.
pub const IN_FLIGHT: u64 = 65_536;

/// What [`IN_FLIGHT`] costs at the default rates.
#[must_use]
pub fn in_flight() -> Wei {
    dearest(&DEFAULT_RATES, IN_FLIGHT).unwrap_or(Wei::MAX)
}

/// Everything there is to be judged by.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// The books of all nodes, of one moment at which no payment was under way.
    pub books: &'a [NodeBooks],
    /// All transfers on chain by then.
    pub transfers: &'a [Transfer],
    /// How often each node was killed, by name.
    pub kills: &'a BTreeMap<String, u32>,
    /// What a second of usage of one hop costs at most: a kill of the payer or the hop may cost
    /// the books of one of them so much.
    pub second: Wei,
    /// What a circuit may have had on its way when it broke: a kill of any other node may leave the
    /// books of a pair so far apart.
    pub in_flight: Wei,
}

/// Something that is not right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The node whose books it is about.
    pub node: String,
    /// What is wrong, without a wallet.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.node, self.what)
    }
}

/// One payer and one hop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PairReport {
    /// Who pays.
    pub payer: String,
    /// Who is paid.
    pub hop: String,
    /// Used, by the payer's books.
    #[serde(with = "wei")]
    pub payable: Wei,
    /// Used, by the hop's books.
    #[serde(with = "wei")]
    pub receivable: Wei,
    /// Paid, by the payer's books.
    #[serde(with = "wei")]
    pub paid: Wei,
    /// By how much the two may differ.
    #[serde(with = "wei")]
    pub allowed: Wei,
    /// Whether they differ by no more.
    pub well: bool,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// Every pair that did business.
    pub pairs: Vec<PairReport>,
    /// What is not right; empty when everything is.
    pub findings: Vec<Finding>,
    /// Payments that are final.
    pub payments: usize,
    /// Transfers on chain.
    pub transfers: usize,
    /// What they moved.
    #[serde(with = "wei")]
    pub moved: Wei,
}

/// Judges.
#[must_use]
pub fn judge(evidence: &Evidence<'_>) -> Judgement {
    let mut findings = Vec::new();
    let mut payments = 0;
    for node in evidence.books {
        payments += node.payments.iter().filter(|p| p.is_paid()).count();
        owed(node, &mut findings);
        once(node, evidence.transfers, &mut findings);
        credited(node, evidence.transfers, &mut findings);
    }
    let pairs: Vec<_> = pairs(evidence.books)
        .iter()
        .map(|pair| agree(pair, evidence))
        .collect();
    for pair in pairs.iter().filter(|pair| !pair.well) {
        findings.push(Finding {
            node: pair.payer.clone(),
            what: format!(
                "owes {} {} by its own books and {} by the hop's, and {} of difference are allowed",
                pair.hop,
                Tokens(pair.payable),
                Tokens(pair.receivable),
                Tokens(pair.allowed)
            ),
        });
    }
    Judgement {
        pairs,
        findings,
        payments,
        transfers: evidence.transfers.len(),
        moved: evidence.transfers.iter().map(|t| t.amount).sum(),
    }
}

/// Owed + reserved + paid = accrued, for each hop: what is reserved is what payments under way
/// have, and what is paid is what final ones had.
fn owed(node: &NodeBooks, findings: &mut Vec<Finding>) {
    for debt in &node.debts {
        let shares = |under_way: bool| -> Wei {
            let wanted = node.payments.iter().filter(|payment| {
                if under_way {
                    payment.is_under_way()
                } else {
                    payment.is_paid()
                }
            });
            let to_it = wanted.flat_map(|payment| &payment.shares);
            to_it
                .filter(|share| share.node == debt.node && share.wallet == debt.wallet)
                .map(super::books::Share::amount)
                .sum()
        };
        for (name, booked, by_payments) in [
            ("paid", debt.paid, shares(false)),
            ("in payments", debt.pending, shares(true)),
        ] {
            if booked != by_payments {
                findings.push(Finding {
                    node: node.name.clone(),
                    what: format!(
                        "the books have {} as {name} to a hop, its payments come to {}",
                        Tokens(booked),
                        Tokens(by_payments)
                    ),
                });
            }
        }
        if debt.unpaid > 0 && debt.ahead > 0 {
            findings.push(Finding {
                node: node.name.clone(),
                what: "a hop is owed something and paid in advance at once".to_owned(),
            });
        }
    }
}

/// Nothing is on chain twice: every transfer of a payer belongs to a payment that is paid, and every
/// share of such a payment is on chain exactly once.
fn once(node: &NodeBooks, transfers: &[Transfer], findings: &mut Vec<Finding>) {
    let mut chain: BTreeMap<(B256, Address, Wei), i64> = BTreeMap::new();
    for transfer in transfers
        .iter()
        .filter(|t| t.from == node.wallets.consuming)
    {
        *chain
            .entry((transfer.transaction, transfer.to, transfer.amount))
            .or_default() += 1;
    }
    let mut tell = |what: String| {
        findings.push(Finding {
            node: node.name.clone(),
            what,
        });
    };
    let mut nonces = BTreeMap::new();
    for payment in node.payments.iter().filter(|p| !p.is_under_way()) {
        if nonces.insert(payment.nonce, ()).is_some() {
            tell(format!("two payments have the number {}", payment.nonce));
        }
        let (true, Some(hash)) = (payment.is_paid(), payment.transaction) else {
            continue;
        };
        for share in &payment.shares {
            *chain
                .entry((hash, share.wallet, share.amount()))
                .or_default() -= 1;
        }
    }
    for ((hash, _, amount), count) in chain {
        match count {
            0 => {}
            1.. => tell(format!(
                "{} were transferred by {hash} and belong to no payment in the books",
                Tokens(amount)
            )),
            _ => tell(format!(
                "{} are in the books as paid by {hash} and not on chain",
                Tokens(amount)
            )),
        }
    }
}

/// The sum of credits is the sum of the final transfers to the earning wallet.
fn credited(node: &NodeBooks, transfers: &[Transfer], findings: &mut Vec<Finding>) {
    let Some(earning) = node.wallets.earning else {
        return;
    };
    let sum = |is_final: bool| -> Wei {
        let wanted = transfers
            .iter()
            .filter(|t| t.to == earning && t.is_final == is_final);
        wanted.map(|t| t.amount).sum()
    };
    let paid: Wei = node.accounts.iter().map(|account| account.paid).sum();
    let provisional: Wei = node.accounts.iter().map(|a| a.provisional).sum();
    for (name, booked, on_chain) in [
        ("final", paid, sum(true)),
        ("provisional", provisional, sum(false)),
    ] {
        if booked != on_chain {
            findings.push(Finding {
                node: node.name.clone(),
                what: format!(
                    "{} are credited as {name}, {} were transferred",
                    Tokens(booked),
                    Tokens(on_chain)
                ),
            });
        }
    }
}

fn agree(pair: &Pair<'_>, evidence: &Evidence<'_>) -> PairReport {
    let kills = |name: &str| evidence.kills.get(name).copied().unwrap_or_default();
    let all: u32 = evidence.kills.values().sum();
    let own = kills(&pair.payer.name) + kills(&pair.hop.name);
    let others = all - own;
    let allowed = evidence.second * Wei::from(own) + evidence.in_flight * Wei::from(others);
    PairReport {
        payer: pair.payer.name.clone(),
        hop: pair.hop.name.clone(),
        payable: pair.payable(),
        receivable: pair.receivable(),
        paid: pair.debt.map_or(0, |debt| debt.paid),
        allowed,
        well: pair.difference() <= allowed,
    }
}

#[cfg(test)]
mod tests {
    use super::super::books::tests::{account, debt, node};
    use super::super::books::{Payment, Share};
    use super::*;

    fn payment(nonce: u64, hop: u8, amount: Wei) -> Payment {
        Payment {
            nonce,
            state: "paid".into(),
            shares: vec![Share {
                node: format!("key{hop}"),
                wallet: Address::repeat_byte(0x80 + hop),
                due: amount,
                advance: 0,
            }],
            transaction: Some(B256::with_last_byte(u8::try_from(nonce).unwrap())),
        }
    }

    fn transfer(nonce: u8, from: u8, to: u8, amount: Wei) -> Transfer {
        Transfer {
            transaction: B256::with_last_byte(nonce),
            block: 5,
            from: Address::repeat_byte(from),
            to: Address::repeat_byte(0x80 + to),
            amount,
            is_final: true,
        }
    }

    /// A payer and a hop that agree, with two payments.
    fn well() -> (Vec<NodeBooks>, Vec<Transfer>) {
        let (mut payer, mut hop) = (node(1), node(2));
        payer.debts = vec![debt(2, 10, 90)];
        payer.payments = vec![payment(0, 2, 40), payment(1, 2, 50)];
        hop.accounts = vec![account(1, 10, 90)];
        let transfers = vec![transfer(0, 1, 2, 40), transfer(1, 1, 2, 50)];
        (vec![payer, hop], transfers)
    }

    fn findings(books: &[NodeBooks], transfers: &[Transfer], kills: &[(&str, u32)]) -> Vec<String> {
        let kills = kills.iter().map(|(n, k)| ((*n).to_owned(), *k)).collect();
        let judgement = judge(&Evidence {
            books,
            transfers,
            kills: &kills,
            second: 100,
            in_flight: 10,
        });
        judgement.findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn good_books_have_no_findings() {
        let (books, transfers) = well();
        assert_eq!(findings(&books, &transfers, &[]), [""; 0]);
        let judgement = judge(&Evidence {
            books: &books,
            transfers: &transfers,
            kills: &BTreeMap::new(),
            second: 0,
            in_flight: 0,
        });
        let totals = (judgement.payments, judgement.transfers, judgement.moved);
        assert_eq!(totals, (2, 2, 90));
    }

    #[test]
    fn a_payment_that_is_on_chain_twice_is_found() {
        let (books, mut transfers) = well();
        // The same again at another number, as a payer does that forgot the first.
        transfers.push(transfer(7, 1, 2, 50));
        let found = findings(&books, &transfers, &[]);
        assert!(found[0].contains("belong to no payment"), "{found:?}");
        assert!(found[1].contains("are credited as final"), "{found:?}");
    }

    #[test]
    fn a_payment_that_is_not_on_chain_is_found() {
        let (books, mut transfers) = well();
        transfers.pop();
        let found = findings(&books, &transfers, &[]);
        assert!(found[0].contains("not on chain"), "{found:?}");
    }

    #[test]
    fn a_debt_that_was_lost_or_paid_twice_in_the_books_is_found() {
        let (mut books, transfers) = well();
        books[0].debts[0].paid = 50;
        let found = findings(&books, &transfers, &[]);
        assert!(found[0].contains("its payments come to"), "{found:?}");
        let (mut books, transfers) = well();
        books[0].payments[1].nonce = 0;
        let found = findings(&books, &transfers, &[]);
        assert!(found[0].contains("two payments"), "{found:?}");
        let (mut books, transfers) = well();
        books[0].debts[0].pending = 1;
        let found = findings(&books, &transfers, &[]);
        assert!(found[0].contains("in payments"), "{found:?}");
    }

    #[test]
    fn books_differ_by_what_kills_may_cost_and_no_more() {
        let (mut books, transfers) = well();
        books[1].accounts[0].unpaid = 0;
        assert_eq!(findings(&books, &transfers, &[]).len(), 1);
        assert_eq!(findings(&books, &transfers, &[("n03", 1)]), [""; 0]);
        books[0].debts[0].unpaid = 200;
        assert_eq!(
            findings(&books, &transfers, &[("n01", 1), ("n02", 1)]),
            [""; 0]
        );
        books[0].debts[0].unpaid = 201;
        assert_eq!(
            findings(&books, &transfers, &[("n01", 1), ("n02", 1)]).len(),
            1
        );
    }

    #[test]
    fn money_from_an_unknown_payer_is_credited_too() {
        let (mut books, mut transfers) = well();
        transfers.push(transfer(9, 9, 2, 5));
        assert_eq!(findings(&books, &transfers, &[]).len(), 1);
        books[1].accounts.push(account(9, 0, 5));
        books[1].accounts[1].prepaid = 5;
        assert_eq!(findings(&books, &transfers, &[]), [""; 0]);
    }
}
