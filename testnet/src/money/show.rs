//! Money as people see it: who owes whom, who paid, by which transactions.

use std::collections::BTreeMap;
use std::io::{self, Write};

use alloy::primitives::{Address, B256};
use masq::ledger::{Tokens, Wei};
use serde::Serialize;

use super::bank::MoneyState;
use super::books::{NodeBooks, pairs, wei};
use super::transfers::Transfer;

/// Who owes whom, by both books.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OwedRow {
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
    /// Not paid yet, by the payer's books.
    #[serde(with = "wei")]
    pub unpaid: Wei,
    /// In payments that are not final.
    #[serde(with = "wei")]
    pub pending: Wei,
    /// Paid, finally.
    #[serde(with = "wei")]
    pub paid: Wei,
}

/// Who paid whom, on chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PaidRow {
    /// Who paid.
    pub payer: String,
    /// Who was paid.
    pub payee: String,
    /// How much.
    #[serde(with = "wei")]
    pub amount: Wei,
    /// Block.
    pub block: u64,
    /// Whether that is final.
    pub is_final: bool,
    /// The transaction.
    pub transaction: B256,
}

/// Whose wallet it is.
#[derive(Debug, Default)]
pub struct Names(BTreeMap<Address, String>);

impl Names {
    /// Of these nodes.
    #[must_use]
    pub fn of(nodes: &[NodeBooks]) -> Self {
        let mut names = BTreeMap::new();
        for node in nodes {
            names.insert(node.wallets.consuming, node.name.clone());
            if let Some(earning) = node.wallets.earning {
                names.insert(earning, node.name.clone());
            }
        }
        Self(names)
    }

    /// The node's name, or the wallet when it belongs to none.
    #[must_use]
    pub fn name(&self, wallet: &Address) -> String {
        let known = self.0.get(wallet).cloned();
        known.unwrap_or_else(|| wallet.to_checksum(None))
    }
}

/// Everything owed, the largest first.
#[must_use]
pub fn owed(nodes: &[NodeBooks]) -> Vec<OwedRow> {
    let row = |pair: &super::books::Pair<'_>| OwedRow {
        payer: pair.payer.name.clone(),
        hop: pair.hop.name.clone(),
        payable: pair.payable(),
        receivable: pair.receivable(),
        unpaid: pair.debt.map_or(0, |debt| debt.unpaid),
        pending: pair.debt.map_or(0, |debt| debt.pending),
        paid: pair.debt.map_or(0, |debt| debt.paid),
    };
    let mut rows: Vec<_> = pairs(nodes).iter().map(row).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.payable));
    rows
}

/// Everything paid, in the order of the chain.
#[must_use]
pub fn paid(nodes: &[NodeBooks], transfers: &[Transfer]) -> Vec<PaidRow> {
    let names = Names::of(nodes);
    let row = |transfer: &Transfer| PaidRow {
        payer: names.name(&transfer.from),
        payee: names.name(&transfer.to),
        amount: transfer.amount,
        block: transfer.block,
        is_final: transfer.is_final,
        transaction: transfer.transaction,
    };
    transfers.iter().map(row).collect()
}

/// An amount of this size in every row of a table: nano-tokens, with three decimals.
#[must_use]
pub fn nano(wei: Wei) -> String {
    let thousandths = wei / 1_000_000;
    format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000)
}

/// What [`nano`] shows is in this.
pub const NANO_UNIT: &str = "gwei of MASQ (10^-9)";

/// Writes who owes whom; at most `most` rows.
///
/// # Errors
/// When the writer fails.
pub fn owed_table(out: &mut dyn Write, rows: &[OwedRow], most: usize) -> io::Result<()> {
    writeln!(
        out,
        "{:<14} {:<14} {:>16} {:>16} {:>16} {:>16}  in {NANO_UNIT}",
        "who owes", "whom", "used", "unpaid", "being paid", "paid"
    )?;
    for row in rows.iter().take(most) {
        writeln!(
            out,
            "{:<14} {:<14} {:>16} {:>16} {:>16} {:>16}",
            row.payer,
            row.hop,
            nano(row.payable),
            nano(row.unpaid),
            nano(row.pending),
            nano(row.paid)
        )?;
    }
    more(out, rows.len(), most)
}

/// Writes the newest payments; at most `most`.
///
/// # Errors
/// When the writer fails.
pub fn paid_table(out: &mut dyn Write, rows: &[PaidRow], most: usize) -> io::Result<()> {
    writeln!(
        out,
        "{:<14} {:<14} {:>16} {:>8} {:<6} transaction",
        "who paid", "whom", "amount", "block", "final"
    )?;
    for row in rows.iter().rev().take(most) {
        writeln!(
            out,
            "{:<14} {:<14} {:>16} {:>8} {:<6} {}",
            row.payer,
            row.payee,
            nano(row.amount),
            row.block,
            if row.is_final { "yes" } else { "no" },
            row.transaction
        )?;
    }
    more(out, rows.len(), most)
}

fn more(out: &mut dyn Write, rows: usize, most: usize) -> io::Result<()> {
    match rows.checked_sub(most) {
        None | Some(0) => Ok(()),
        Some(more) => writeln!(out, "… and {more} more; --json has all"),
    }
}

/// Writes where the money is and how much of it moved.
///
/// # Errors
/// When the writer fails.
pub fn summary(
    out: &mut dyn Write,
    money: &MoneyState,
    owed: &[OwedRow],
    paid: &[PaidRow],
) -> io::Result<()> {
    let used: Wei = owed.iter().map(|row| row.payable).sum();
    let unpaid: Wei = owed.iter().map(|row| row.unpaid).sum();
    let moved: Wei = paid.iter().map(|row| row.amount).sum();
    writeln!(
        out,
        "Chain {} at {}, token {}",
        money.chain, money.rpc, money.token
    )?;
    writeln!(
        out,
        "{} were used, {} are unpaid; {} payments moved {}",
        Tokens(used),
        Tokens(unpaid),
        paid.len(),
        Tokens(moved)
    )
}

#[cfg(test)]
mod tests {
    use super::super::books::tests::{account, debt, node};
    use super::*;

    #[test]
    fn amounts_are_shown_in_nano_tokens() {
        assert_eq!(nano(0), "0.000");
        assert_eq!(nano(1_234_567_890), "1.234");
        assert_eq!(nano(42 * 1_000_000_000_000_000_000), "42000000000.000");
    }

    #[test]
    fn tables_name_nodes_and_transactions_and_say_what_they_leave_out() {
        let (mut payer, mut hop) = (node(1), node(2));
        payer.debts = vec![debt(2, 7_000_000_000, 5_000_000_000)];
        hop.accounts = vec![account(1, 7_000_000_000, 5_000_000_000)];
        let nodes = [payer, hop];
        let owed = owed(&nodes);
        let transfer = Transfer {
            transaction: B256::repeat_byte(0xab),
            block: 9,
            from: nodes[0].wallets.consuming,
            to: nodes[1].wallets.earning.unwrap(),
            amount: 5_000_000_000,
            is_final: true,
        };
        let stranger = Transfer {
            from: Address::repeat_byte(0x77),
            ..transfer.clone()
        };
        let paid = paid(&nodes, &[transfer, stranger]);
        let mut out = Vec::new();
        owed_table(&mut out, &owed, 9).unwrap();
        paid_table(&mut out, &paid, 1).unwrap();
        paid_table(&mut out, &paid, 9).unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in [
            "n01",
            "12.000",
            "7.000",
            "5.000",
            "abab",
            "… and 1 more",
            "0x7777",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
