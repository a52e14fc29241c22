//! The books of one node, as its control API tells them or as its data folder holds them. Spelled
//! out here apart from the daemon's own types, so that both cannot be wrong in the same way.

use alloy::primitives::{Address, B256};
use masq::ledger::Wei;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::wallets::NodeWallets;
use crate::client::NodeClient;
use crate::error::TestnetError;

/// Final payments that are asked for: the most that the control API tells at once.
const DONE: usize = 1_000;

/// An amount in JSON: decimal digits in quotes.
pub(crate) mod wei {
    use super::{Deserialize, Deserializer, Serializer, Wei};

    pub(crate) fn serialize<S: Serializer>(wei: &Wei, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(wei)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Wei, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a node owes to a hop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debt {
    /// The hop's node key.
    pub node: String,
    /// The hop's earning wallet.
    pub wallet: Address,
    /// Owed, and in no payment.
    #[serde(with = "wei")]
    pub unpaid: Wei,
    /// In payments that are not final.
    #[serde(with = "wei")]
    pub pending: Wei,
    /// Paid, finally.
    #[serde(with = "wei")]
    pub paid: Wei,
    /// Paid or on the way, and not used yet.
    #[serde(with = "wei")]
    pub ahead: Wei,
}

impl Debt {
    /// Everything that was used.
    #[must_use]
    pub fn accrued(&self) -> Wei {
        (self.unpaid + self.pending + self.paid).saturating_sub(self.ahead)
    }
}

/// What a payer owes to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The payer's consuming wallet.
    pub wallet: Address,
    /// Used and not paid.
    #[serde(with = "wei")]
    pub unpaid: Wei,
    /// Paid, finally.
    #[serde(with = "wei")]
    pub paid: Wei,
    /// Paid, and not final yet.
    #[serde(with = "wei")]
    pub provisional: Wei,
    /// Paid and not used.
    #[serde(with = "wei")]
    pub prepaid: Wei,
    /// Whether nothing more is served to it.
    #[serde(default)]
    pub banned: bool,
}

impl Account {
    /// Everything that was used.
    #[must_use]
    pub fn accrued(&self) -> Wei {
        (self.unpaid + self.paid + self.provisional).saturating_sub(self.prepaid)
    }
}

/// What one hop gets by a payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The hop's node key.
    pub node: String,
    /// Its earning wallet.
    pub wallet: Address,
    /// Of what was owed.
    #[serde(with = "wei")]
    pub due: Wei,
    /// In advance.
    #[serde(with = "wei")]
    pub advance: Wei,
}

impl Share {
    /// Both.
    #[must_use]
    pub fn amount(&self) -> Wei {
        self.due + self.advance
    }
}

/// One payment of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// Number of the transaction of the consuming wallet.
    pub nonce: u64,
    /// `waiting`, `included`, `cancelling`, `paid`, `failed`, `cancelled` or `foreign`.
    pub state: String,
    /// Who gets how much.
    pub shares: Vec<Share>,
    /// The transaction: the latest one, or the one that is final.
    #[serde(default)]
    pub transaction: Option<B256>,
}

impl Payment {
    /// Whether the payees have it for good.
    #[must_use]
    pub fn is_paid(&self) -> bool {
        self.state == "paid"
    }

    /// Whether it is not known yet what becomes of it.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        matches!(self.state.as_str(), "waiting" | "included" | "cancelling")
    }
}

#[derive(Deserialize)]
struct Financials {
    payables: Vec<Debt>,
    receivables: Vec<Account>,
}

#[derive(Deserialize)]
struct Payments {
    under_way: Vec<Payment>,
    done: Vec<Payment>,
}

/// The books of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeBooks {
    /// Name of the node.
    pub name: String,
    /// Node key.
    pub key: String,
    /// Its wallets.
    pub wallets: NodeWallets,
    /// What it owes, per hop.
    pub debts: Vec<Debt>,
    /// What it is owed, per payer.
    pub accounts: Vec<Account>,
    /// Its payments, by nonce.
    pub payments: Vec<Payment>,
}

impl NodeBooks {
    /// Asks a running node.
    ///
    /// # Errors
    /// When it does not answer, or not as expected.
    pub async fn ask(
        client: &NodeClient,
        key: String,
        wallets: NodeWallets,
    ) -> Result<Self, TestnetError> {
        let Financials {
            payables,
            receivables,
        } = client.get("/v1/financials").await?;
        let path = format!("/v1/payments?done={DONE}");
        let Payments {
            under_way,
            done: mut payments,
        } = client.get(&path).await?;
        payments.extend(under_way);
        payments.sort_by_key(|payment| payment.nonce);
        Ok(Self {
            name: client.node().to_owned(),
            key,
            wallets,
            debts: payables,
            accounts: receivables,
            payments,
        })
    }

    /// Whether no payment is under way and none that came in is provisional.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let paying = self.debts.iter().any(|debt| debt.pending > 0)
            || self.payments.iter().any(Payment::is_under_way);
        !paying && self.accounts.iter().all(|account| account.provisional == 0)
    }
}

/// What one node used of another, by both books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair<'a> {
    /// Who pays.
    pub payer: &'a NodeBooks,
    /// Who is paid.
    pub hop: &'a NodeBooks,
    /// What the payer's books say.
    pub debt: Option<&'a Debt>,
    /// What the hop's books say.
    pub account: Option<&'a Account>,
}

impl Pair<'_> {
    /// Used, by the payer's books.
    #[must_use]
    pub fn payable(&self) -> Wei {
        self.debt.map_or(0, Debt::accrued)
    }

    /// Used, by the hop's books.
    #[must_use]
    pub fn receivable(&self) -> Wei {
        self.account.map_or(0, Account::accrued)
    }

    /// By how much the two differ.
    #[must_use]
    pub fn difference(&self) -> Wei {
        self.payable().abs_diff(self.receivable())
    }
}

/// Every pair of which at least one side has something in its books, by payer and hop.
#[must_use]
pub fn pairs(nodes: &[NodeBooks]) -> Vec<Pair<'_>> {
    let mut pairs = Vec::new();
    for payer in nodes {
        for hop in nodes.iter().filter(|hop| hop.key != payer.key) {
            let debt = payer.debts.iter().find(|debt| debt.node == hop.key);
            let mut accounts = hop.accounts.iter();
            let account = accounts.find(|account| account.wallet == payer.wallets.consuming);
            if debt.is_some() || account.is_some() {
                pairs.push(Pair {
                    payer,
                    hop,
                    debt,
                    account,
                });
            }
        }
    }
    pairs
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A node whose wallets are made of its number.
    pub(crate) fn node(number: u8) -> NodeBooks {
        NodeBooks {
            name: format!("n{number:02}"),
            key: format!("key{number}"),
            wallets: NodeWallets {
                consuming: Address::repeat_byte(number),
                earning: Some(Address::repeat_byte(0x80 + number)),
            },
            debts: vec![],
            accounts: vec![],
            payments: vec![],
        }
    }

    pub(crate) fn debt(hop: u8, unpaid: Wei, paid: Wei) -> Debt {
        Debt {
            node: format!("key{hop}"),
            wallet: Address::repeat_byte(0x80 + hop),
            unpaid,
            pending: 0,
            paid,
            ahead: 0,
        }
    }

    pub(crate) fn account(payer: u8, unpaid: Wei, paid: Wei) -> Account {
        Account {
            wallet: Address::repeat_byte(payer),
            unpaid,
            paid,
            provisional: 0,
            prepaid: 0,
            banned: false,
        }
    }

    #[test]
    fn the_answers_of_the_control_api_are_understood() {
        let debts: Financials = serde_json::from_str(
            r#"{"totals":{},"payables":[{"node":"k","wallet":"0x8181818181818181818181818181818181818181",
            "unpaid":"5","pending":"3","paid":"340282366920938463463","ahead":"1","age_seconds":9,"over_line":true}],
            "receivables":[{"wallet":"0x0101010101010101010101010101010101010101","unpaid":"7","paid":"1",
            "provisional":"2","prepaid":"0","limit":"9","seen_seconds":3,"unclaimed":true}]}"#,
        )
        .unwrap();
        assert_eq!(debts.payables[0].accrued(), 340_282_366_920_938_463_470);
        assert_eq!(debts.receivables[0].accrued(), 10);
        let payments: Payments = serde_json::from_str(
            r#"{"under_way":[{"nonce":4,"kind":"transfer","state":"waiting","amount":"7","shares":[],"at_unix_ms":1}],
            "done":[{"nonce":3,"kind":"batch","state":"paid","amount":"7","at_unix_ms":1,"shares":[{"node":"k",
            "wallet":"0x8181818181818181818181818181818181818181","due":"5","advance":"2"}],
            "transaction":"0x1111111111111111111111111111111111111111111111111111111111111111"}],"left_out":0}"#,
        )
        .unwrap();
        assert!(payments.under_way[0].is_under_way() && payments.done[0].is_paid());
        assert_eq!(payments.done[0].shares[0].amount(), 7);
        let bad = r#"{"payables":[{"node":"k","wallet":"0x81","unpaid":5}],"receivables":[]}"#;
        assert!(serde_json::from_str::<Financials>(bad).is_err());
    }

    #[test]
    fn both_sides_of_a_debt_are_laid_beside_each_other() {
        let (mut client, mut hop) = (node(1), node(2));
        client.debts = vec![debt(2, 10, 90), debt(3, 1, 0)];
        hop.accounts = vec![account(1, 8, 90), account(9, 1, 1)];
        let nodes = [client, hop, node(3)];
        let pairs = pairs(&nodes);
        assert_eq!(pairs.len(), 2);
        assert_eq!((pairs[0].payable(), pairs[0].receivable()), (100, 98));
        assert_eq!(pairs[0].difference(), 2);
        assert_eq!((pairs[1].payable(), pairs[1].receivable()), (1, 0));
        assert!(pairs[1].account.is_none());
    }
}
