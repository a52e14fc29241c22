//! From an older schema to the newest, in one commit.

use super::*;

/// The table as schema 1 had it, and as schema 2 has it: an amount and a time.
const OLD: Table<Address, u128> = Table::new("debts");
const NEW: Table<Address, Debt> = Table::new("debts.2");

#[derive(Debug, PartialEq, Eq)]
struct Debt {
    amount: u128,
    since: u64,
}

impl Value for Debt {
    const LAYOUT: u8 = 1;

    fn write(&self, out: &mut Writer) {
        out.u128(self.amount).u64(self.since);
    }

    fn read(layout: u8, from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match layout {
            1 => Ok(Self {
                amount: from.u128()?,
                since: from.u64()?,
            }),
            other => Err(DecodeError::Layout(other)),
        }
    }
}

fn to_two(tx: &mut WriteTx<'_>) -> Result<(), StoreError> {
    let mut all = Vec::new();
    tx.visit(&OLD, |wallet, amount| {
        all.push((wallet, amount));
        ControlFlow::Continue(())
    })?;
    for (wallet, amount) in all {
        tx.put(&NEW, &wallet, &Debt { amount, since: 1 })?;
    }
    tx.drop_table(&OLD)
}

fn to_three(tx: &mut WriteTx<'_>) -> Result<(), StoreError> {
    let debt = tx.get(&NEW, &ALICE)?.expect("step two ran before");
    tx.put(&NEW, &ALICE, &Debt { since: 2, ..debt })
}

fn fails(tx: &mut WriteTx<'_>) -> Result<(), StoreError> {
    to_two(tx)?;
    Err(StoreError::damaged(Path::new("here"), "on purpose"))
}

fn open(folder: &Folder, migrations: &[Migration]) -> Result<Store, StoreError> {
    let path = folder.path.clone();
    Store::open_with(
        path,
        Purpose::Money,
        &key(1),
        Durability::TwoPhase,
        migrations,
    )
}

fn of_schema_one() -> Folder {
    let folder = Folder::new();
    let store = open(&folder, &[]).unwrap();
    store.write(|tx| tx.put(&OLD, &ALICE, &5)).unwrap();
    folder
}

fn since(amount: u128, since: u64) -> Option<Debt> {
    Some(Debt { amount, since })
}

#[test]
fn steps_run_once_and_in_order() {
    let folder = of_schema_one();
    let store = open(&folder, &[to_two]).unwrap();
    assert_eq!(get(&store, &NEW, &ALICE), since(5, 1));
    assert_eq!(get(&store, &OLD, &ALICE), None);
    drop(store);
    // Step two does not run again: it would find nothing, and step three something.
    let store = open(&folder, &[to_two, to_three]).unwrap();
    assert_eq!(get(&store, &NEW, &ALICE), since(5, 2));
    drop(store);
    assert!(open(&folder, &[to_two, to_three]).is_ok());
    assert!(matches!(
        open(&folder, &[]),
        Err(StoreError::Newer {
            found: 3,
            known: 1,
            ..
        })
    ));
}

#[test]
fn from_the_oldest_to_the_newest_at_once() {
    let folder = of_schema_one();
    let store = open(&folder, &[to_two, to_three]).unwrap();
    assert_eq!(get(&store, &NEW, &ALICE), since(5, 2));
}

#[test]
fn a_step_that_fails_leaves_the_old_schema() {
    let folder = of_schema_one();
    assert!(open(&folder, &[fails]).is_err());
    let store = open(&folder, &[]).unwrap();
    assert_eq!(get(&store, &OLD, &ALICE), Some(5));
}

#[test]
fn a_new_store_has_the_newest_schema() {
    let folder = Folder::new();
    // Step three would fail on an empty store.
    drop(open(&folder, &[to_two, to_three]).unwrap());
    assert!(open(&folder, &[to_two, to_three]).is_ok());
}

/// The stores that are released: schema 1 is still read.
#[test]
fn released_schemas() {
    for purpose in [Purpose::Node, Purpose::Money] {
        assert_eq!(newest_schema(purpose.migrations()), 1);
    }
}

#[test]
fn an_older_layout_is_read_and_an_unknown_one_refused() {
    struct Two(u64);
    impl Value for Two {
        const LAYOUT: u8 = 2;

        fn write(&self, out: &mut Writer) {
            out.u64(self.0).u8(0);
        }

        fn read(layout: u8, from: &mut Reader<'_>) -> Result<Self, DecodeError> {
            let number = from.u64()?;
            match layout {
                1 => {}
                2 => drop(from.u8()?),
                other => return Err(DecodeError::Layout(other)),
            }
            Ok(Self(number))
        }
    }
    const ONE: Table<u64, u64> = Table::new("numbers");
    const TWO: Table<u64, Two> = Table::new("numbers");
    let folder = Folder::new();
    let store = folder.open().unwrap();
    store.write(|tx| tx.put(&ONE, &1, &11)).unwrap();
    store.write(|tx| tx.put(&TWO, &2, &Two(22))).unwrap();
    assert_eq!(get(&store, &TWO, &1).unwrap().0, 11);
    assert_eq!(get(&store, &TWO, &2).unwrap().0, 22);
    let error = store.read(|tx| tx.get(&ONE, &2)).unwrap_err();
    assert!(error.to_string().contains("layout 2"), "{error}");
}
