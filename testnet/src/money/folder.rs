//! The books of a node that does not run, out of its data folder: what is really on the disk.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use masq::books::StoreJournal;
use masq::chain::engine::{Intent, Leg, Outcome, Settled};
use masq::datadir::DataDir;
use masq::ledger::{Account as AccountRow, Journal, JournalError, Payable, Row, Table};
use masq::store::{Durability, Purpose, Store, Unlock, vault};

use super::books::{Account, Debt, NodeBooks, Payment, Share};
use super::wallets::{NodeWallets, key_file};
use crate::error::TestnetError;

impl NodeBooks {
    /// Reads the books of a node that does not run, all of them.
    ///
    /// # Errors
    /// When the folder is in use, or something in it cannot be read.
    pub async fn of_folder(
        name: &str,
        key: String,
        wallets: NodeWallets,
        data_dir: &Path,
    ) -> Result<Self, TestnetError> {
        let (name, data_dir) = (name.to_owned(), data_dir.to_owned());
        let work = move || {
            read(&data_dir, &name, key, wallets).map_err(|reason| TestnetError::Books {
                node: name.clone(),
                reason: reason.to_string(),
            })
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(books) => books,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn read(
    data_dir: &Path,
    name: &str,
    key: String,
    wallets: NodeWallets,
) -> Result<NodeBooks, Failure> {
    // Held to the end: no daemon may write meanwhile.
    let data = DataDir::open(data_dir)?;
    let master = vault::open(data.path(), &Unlock::KeyFile(key_file(data_dir)))?;
    let path = data.path().join(Purpose::Money.file_name());
    let store = Store::open(path, Purpose::Money, &master, Durability::TwoPhase)?;
    let journal = StoreJournal::new(Arc::new(store));
    let debts = rows::<Payable>(&journal, Table::Payables)?;
    let mut accounts = rows::<AccountRow>(&journal, Table::Receivables)?;
    accounts.extend(rows::<AccountRow>(&journal, Table::Unclaimed)?);
    let mut payments: Vec<_> = rows::<Settled>(&journal, Table::Payments)?
        .into_iter()
        .map(|settled| Payment {
            nonce: settled.nonce,
            state: match settled.outcome {
                Outcome::Paid => "paid",
                Outcome::Failed => "failed",
                Outcome::Cancelled => "cancelled",
                Outcome::Foreign => "foreign",
                Outcome::Astray => "astray",
            }
            .to_owned(),
            shares: shares(&settled.legs),
            transaction: (!settled.hash.is_zero()).then_some(settled.hash),
        })
        .collect();
    let under_way = rows::<Intent>(&journal, Table::Intents)?;
    payments.extend(under_way.into_iter().map(|intent| Payment {
        nonce: intent.nonce,
        state: "waiting".to_owned(),
        shares: shares(&intent.legs),
        transaction: None,
    }));
    payments.sort_by_key(|payment| payment.nonce);
    Ok(NodeBooks {
        name: name.to_owned(),
        key,
        wallets,
        debts: debts
            .into_iter()
            .map(|row| Debt {
                node: node_key(&row.payee.hop),
                wallet: row.payee.wallet,
                unpaid: row.due(),
                pending: row.reserved,
                paid: row.paid,
                ahead: row.ahead(),
            })
            .collect(),
        accounts: accounts
            .into_iter()
            .map(|row| Account {
                wallet: row.payer,
                unpaid: row.owed(),
                paid: row.paid,
                provisional: row.provisional,
                prepaid: row.prepaid(),
                banned: row.banned,
            })
            .collect(),
        payments,
    })
}

fn rows<R: Row>(journal: &StoreJournal, table: Table) -> Result<Vec<R>, JournalError> {
    let rows = journal.rows(table)?;
    let decoded: Result<Vec<_>, _> = rows.iter().map(|bytes| R::decode(bytes)).collect();
    decoded.map_err(|error| JournalError::Medium(Box::new(error)))
}

fn shares(legs: &[Leg]) -> Vec<Share> {
    let share = |leg: &Leg| Share {
        node: node_key(&leg.payee.hop),
        wallet: leg.payee.wallet,
        due: leg.due,
        advance: leg.advance,
    };
    legs.iter().map(share).collect()
}

fn node_key(key: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(key)
}
