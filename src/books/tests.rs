//! The journal on a file against the one in memory: the same rows, also after a start.

use std::sync::Arc;

use alloy_primitives::{Address, B256};
use masq_settlement::state::{HopBooks, PayerBooks};
use masq_settlement::{CanonicalSignature, NodeKey, Receipt};
use proptest::prelude::*;
use tempfile::TempDir;

use super::{HopRow, PayerRow, StoreJournal};
use crate::ledger::{
    Batch, Journal, JournalError, MemoryJournal, Payables, Payee, Receivables, Row, Table, load,
};
use crate::store::{DecodeError, Durability, MAX_VALUE, MasterKey, Purpose, Reader, Store, Writer};

const WALLET: [u8; 20] = *b"a wallet, 20 bytes..";
const HASH: [u8; 32] = *b"the hash of some transaction....";
const HOP: [u8; 32] = *b"the key of a node that is a hop.";

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The books as a start finds them. One that is open must be dropped before.
    fn journal(&self) -> StoreJournal {
        let key = MasterKey::from_bytes(&[7; 32]).unwrap();
        let path = self.0.path().join(Purpose::Money.file_name());
        let store = Store::open(path, Purpose::Money, &key, Durability::TwoPhase).unwrap();
        StoreJournal::new(Arc::new(store))
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.0.path().join(Purpose::Money.file_name())).unwrap()
    }
}

/// A row of any table and key, with its key in it as every row has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AnyRow {
    table: Table,
    key: Vec<u8>,
    rest: Vec<u8>,
}

impl Row for AnyRow {
    fn table(&self) -> Table {
        self.table
    }

    fn key(&self) -> Vec<u8> {
        self.key.clone()
    }

    fn write(&self, out: &mut Writer) {
        out.raw(&self.key).raw(&self.rest);
    }

    fn read(_: &mut Reader<'_>) -> Result<Self, DecodeError> {
        unreachable!("compared as bytes")
    }
}

/// As long as keys of that table are.
fn key(table: Table, n: u8) -> Vec<u8> {
    match table {
        Table::FreeCredit | Table::Engine | Table::Cursor => Vec::new(),
        Table::Intents | Table::Payments => u64::from(n).to_be_bytes().to_vec(),
        Table::Receivables | Table::Unclaimed | Table::PayerAccounts => vec![n; 20],
        Table::HopAccounts => vec![n; 32],
        Table::Payables => vec![n; 52],
        Table::Provisional | Table::Credits => vec![n; 72],
    }
}

fn sorted(journal: &dyn Journal, table: Table) -> Vec<Vec<u8>> {
    let mut rows = journal.rows(table).unwrap();
    rows.sort();
    rows
}

/// One change: of which table, which key, and the new row or none.
type Step = (usize, u8, Option<Vec<u8>>);

fn batches() -> impl Strategy<Value = Vec<(Vec<Step>, bool)>> {
    let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
    let step = (0..Table::ALL.len(), 0..4_u8, value);
    let batch = prop::collection::vec(step, 0..12);
    prop::collection::vec((batch, prop::bool::weighted(0.3)), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// So whatever holds for the books over the journal in memory holds over the file.
    #[test]
    fn the_file_has_the_rows_that_memory_has(batches in batches()) {
        let folder = Folder::new();
        let mut memory = MemoryJournal::new();
        let mut journal = folder.journal();
        for (steps, starts_again) in batches {
            let mut batch = Batch::default();
            for (table, n, rest) in steps {
                let table = Table::ALL[table];
                let key = key(table, n);
                match rest {
                    Some(rest) => batch.put(&AnyRow { table, key, rest }),
                    None => batch.remove(table, key),
                }
            }
            memory.commit(&batch).unwrap();
            journal.commit(&batch).unwrap();
            if starts_again {
                drop(journal);
                journal = folder.journal();
            }
            for table in Table::ALL {
                prop_assert_eq!(sorted(&journal, table), sorted(&memory, table));
            }
        }
    }
}

fn receipt() -> Receipt {
    let mut signature = [1; 65];
    signature[64] = 0;
    Receipt {
        epoch: 3,
        sequence: 4,
        total: 5,
        settled: Some(6),
        signature: CanonicalSignature::from_bytes(signature).unwrap(),
    }
}

fn payer(booked: u128) -> PayerBooks {
    PayerBooks {
        payer: Address::new(WALLET),
        epoch: 1,
        base: 2,
        booked,
        sequence: 4,
        signed: Some(receipt()),
        written_off: 5,
        final_credit: 6,
        provisional: vec![(B256::new(HASH), 7), (B256::repeat_byte(2), 8)],
        counted: vec![B256::new(HASH); 64],
        limit: u128::MAX,
    }
}

fn hop() -> HopBooks {
    HopBooks {
        hop: NodeKey(HOP),
        epoch: 1,
        base: 2,
        booked: 3,
        signed: 4,
        sequence: 5,
        paid: 6,
        unconfirmed: vec![(B256::new(HASH), 7)],
        counted: vec![B256::new(HASH)],
        credit: None,
        disputes: 8,
        disputing: true,
    }
}

fn payable(accrued: u128) -> Batch {
    let payee = Payee {
        wallet: Address::new(WALLET),
        hop: HOP,
    };
    let mut books = Payables::default();
    books.accrue(1, payee, accrued).unwrap();
    books.flush()
}

fn accounts(journal: &dyn Journal) -> (Vec<PayerRow>, Vec<HopRow>) {
    let payers = load(journal, Table::PayerAccounts).unwrap();
    (payers, load(journal, Table::HopAccounts).unwrap())
}

#[test]
fn accounts_come_back_and_can_be_forgotten() {
    let folder = Folder::new();
    let mut journal = folder.journal();
    let mut fresh = payer(9);
    fresh.signed = None;
    fresh.counted.clear();
    let mut batch = payable(5);
    batch.put(&PayerRow(fresh));
    batch.put(&PayerRow(payer(10)));
    batch.put(&HopRow(HopBooks {
        credit: Some(1),
        ..hop()
    }));
    journal.commit(&batch).unwrap();
    drop(journal);

    let mut journal = folder.journal();
    assert!(accounts(&journal) == (vec![PayerRow(payer(10))], vec![HopRow(hop())]));
    assert_eq!(Payables::load(&journal).unwrap().iter().count(), 1);

    let mut batch = Batch::default();
    batch.remove(Table::PayerAccounts, WALLET.to_vec());
    batch.remove(Table::HopAccounts, HOP.to_vec());
    batch.remove(Table::HopAccounts, vec![0; 32]);
    journal.commit(&batch).unwrap();
    assert!(accounts(&journal) == (vec![], vec![]));
}

#[test]
fn what_can_not_be_written_whole_is_not_written_at_all() {
    let folder = Folder::new();
    let mut journal = folder.journal();
    let mut batch = payable(5);
    batch.put(&HopRow(hop()));
    batch.put(&AnyRow {
        table: Table::Intents,
        key: key(Table::Intents, 1),
        rest: vec![0; MAX_VALUE],
    });
    let error = journal.commit(&batch).unwrap_err();
    assert!(
        matches!(error, JournalError::Medium(_)) && error.to_string().contains("too long"),
        "{error}"
    );
    assert!(accounts(&journal) == (vec![], vec![]));
    assert_eq!(Payables::load(&journal).unwrap().iter().count(), 0);
}

#[test]
fn s29_the_file_shows_no_wallet_hash_or_node_key() {
    let folder = Folder::new();
    let mut journal = folder.journal();
    let mut batch = payable(5);
    batch.put(&PayerRow(payer(10)));
    batch.put(&HopRow(hop()));
    for table in [Table::Credits, Table::Provisional] {
        batch.put(&AnyRow {
            table,
            key: [&HASH[..], &HASH, &[0; 8]].concat(),
            rest: WALLET.to_vec(),
        });
    }
    journal.commit(&batch).unwrap();
    let bytes = folder.bytes();
    for secret in [&WALLET[..], &HASH, &HOP] {
        let part = &secret[..12];
        assert!(!bytes.windows(part.len()).any(|window| window == part));
    }
}

#[test]
fn money_of_unknown_wallets_moves_between_tables() {
    use crate::ledger::{CreditChange, Limits, Thresholds, price::DEFAULT_RATES};
    let folder = Folder::new();
    let mut journal = folder.journal();
    let read = |journal: &StoreJournal| {
        let limits = Limits::from_rates(&DEFAULT_RATES).unwrap();
        Receivables::load(journal, limits, Thresholds::default()).unwrap()
    };
    let payer = Address::new(WALLET);
    let mut books = read(&journal);
    let paid = CreditChange::Final {
        payer,
        amount: 500,
        transaction: B256::ZERO,
    };
    let seen = CreditChange::Seen {
        payer,
        amount: 500,
        transaction: B256::ZERO,
    };
    journal.commit(&books.credit(1, &[seen, paid])).unwrap();
    drop(journal);

    let mut journal = folder.journal();
    let mut books = read(&journal);
    assert_eq!(journal.rows(Table::Unclaimed).unwrap().len(), 1);
    assert_eq!(books.lease(2, payer, [0; 32], 400).unwrap().amount, 400);
    journal.commit(&books.flush()).unwrap();
    assert_eq!(journal.rows(Table::Unclaimed).unwrap().len(), 0);
    assert_eq!(journal.rows(Table::Receivables).unwrap().len(), 1);
}
