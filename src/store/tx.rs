//! Transactions: reading and changing tables.

use std::{
    ops::{Bound, ControlFlow, RangeBounds},
    path::Path,
};

use redb::{ReadableTable, TableDefinition, TableError};

use super::{
    codec::{DecodeError, Reader, Value, Writer},
    error::{MAX_VALUE, StoreError},
    master::Sealer,
    table::{Key, OrderedKey, Table},
};

type Bytes = &'static [u8];

fn definition(name: &str) -> TableDefinition<'_, Bytes, Bytes> {
    TableDefinition::new(name)
}

/// What transactions need of their store.
#[derive(Clone, Copy, Debug)]
pub struct Context<'s> {
    pub(super) path: &'s Path,
    pub(super) sealer: &'s Sealer,
}

impl Context<'_> {
    fn database(&self, error: impl Into<redb::Error>) -> StoreError {
        StoreError::database(self.path, error)
    }

    /// The bytes under which a key stands in the file, and those that its
    /// value has to carry.
    fn key<K: Key, V>(&self, table: &Table<K, V>, key: &K) -> (Vec<u8>, Writer) {
        let mut plain = Writer::new();
        key.write(&mut plain);
        if K::HIDDEN {
            let hidden = self.sealer.hide.hide(table.name(), plain.as_bytes());
            (hidden.to_vec(), plain)
        } else {
            (plain.as_bytes().to_vec(), Writer::new())
        }
    }

    /// A value as it stands in the file: its layout, then the rest sealed and
    /// bound to table, layout and key.
    fn seal<K: Key, V: Value>(
        &self,
        table: &Table<K, V>,
        stored_key: &[u8],
        carried_key: &Writer,
        value: &V,
    ) -> Result<Vec<u8>, StoreError> {
        let mut text = Writer::new();
        if K::HIDDEN {
            text.blob(carried_key.as_bytes());
        }
        value.write(&mut text);
        let length = text.as_bytes().len();
        if text.is_too_long() || length > MAX_VALUE {
            return Err(StoreError::TooLong {
                table: table.name(),
                length,
            });
        }
        let bound = bound(table.name(), V::LAYOUT, stored_key);
        let sealed = self.sealer.seal.seal(&bound, text.as_bytes())?;
        Ok([&[V::LAYOUT], sealed.as_slice()].concat())
    }

    /// A key and its value, from the file.
    fn open<K: Key, V: Value>(
        &self,
        table: &Table<K, V>,
        stored_key: &[u8],
        stored: &[u8],
    ) -> Result<(K, V), StoreError> {
        let damaged = |what: &str| {
            let name = table.name();
            StoreError::damaged(
                self.path,
                format_args!("a value in the table {name} {what}"),
            )
        };
        let (&layout, sealed) = stored.split_first().ok_or_else(|| damaged("is empty"))?;
        let text = self
            .sealer
            .seal
            .open(&bound(table.name(), layout, stored_key), sealed)
            .ok_or_else(|| damaged("was changed, or belongs elsewhere"))?;
        let read = || -> Result<(K, V), DecodeError> {
            let mut from = Reader::new(&text);
            let key = if K::HIDDEN {
                whole(from.blob()?)?
            } else {
                whole(stored_key)?
            };
            let value = V::read(layout, &mut from)?;
            from.finish()?;
            Ok((key, value))
        };
        read().map_err(|error| damaged(&format!("can't be read: {error}")))
    }
}

fn whole<K: Key>(bytes: &[u8]) -> Result<K, DecodeError> {
    let mut from = Reader::new(bytes);
    let key = K::read(&mut from)?;
    from.finish()?;
    Ok(key)
}

fn bound(table: &str, layout: u8, stored_key: &[u8]) -> Vec<u8> {
    let mut bound = Writer::new();
    bound.text(table).u8(layout).raw(stored_key);
    bound.as_bytes().to_vec()
}

mod sealed {
    use super::{Bytes, Context, ReadableTable, StoreError};

    /// What both kinds of transactions can do for [`super::Read`].
    pub trait Opens {
        type Opened<'a>: ReadableTable<Bytes, Bytes>
        where
            Self: 'a;

        /// The table of that name; `None` when it has not come to be.
        fn opened(&self, name: &str) -> Result<Option<Self::Opened<'_>>, StoreError>;

        #[doc(hidden)]
        fn context(&self) -> Context<'_>;
    }
}

use sealed::Opens;

/// Reading, which transactions of both kinds can. A write transaction sees its
/// own changes.
///
/// Every method fails with [`StoreError::Damaged`] when what it meets was not
/// written by a store with this key, and with [`StoreError::File`] when the
/// disk can't be read.
#[allow(clippy::missing_errors_doc, reason = "said once, at the trait")]
pub trait Read: Opens {
    /// The value under that key.
    fn get<K: Key, V: Value>(&self, table: &Table<K, V>, key: &K) -> Result<Option<V>, StoreError> {
        let context = self.context();
        let Some(opened) = self.opened(table.name())? else {
            return Ok(None);
        };
        let (stored_key, _) = context.key(table, key);
        let found = opened
            .get(stored_key.as_slice())
            .map_err(|error| context.database(error))?;
        found
            .map(|stored| context.open(table, &stored_key, stored.value()))
            .transpose()
            .map(|found| found.map(|(_, value)| value))
    }

    /// Whether there is a value under that key. It is not opened.
    fn contains<K: Key, V>(&self, table: &Table<K, V>, key: &K) -> Result<bool, StoreError> {
        let context = self.context();
        let Some(opened) = self.opened(table.name())? else {
            return Ok(false);
        };
        let (stored_key, _) = context.key(table, key);
        let found = opened.get(stored_key.as_slice());
        Ok(found.map_err(|error| context.database(error))?.is_some())
    }

    /// How many values the table has.
    fn len<K, V>(&self, table: &Table<K, V>) -> Result<u64, StoreError> {
        use redb::ReadableTableMetadata as _;
        match self.opened(table.name())? {
            Some(opened) => opened.len().map_err(|error| self.context().database(error)),
            None => Ok(0),
        }
    }

    /// Shows every key and value, one after the other, in the order of the
    /// file (which for hidden keys is none), until `see` breaks.
    fn visit<K: Key, V: Value>(
        &self,
        table: &Table<K, V>,
        mut see: impl FnMut(K, V) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let context = self.context();
        let Some(opened) = self.opened(table.name())? else {
            return Ok(());
        };
        for entry in opened.iter().map_err(|error| context.database(error))? {
            let (key, stored) = entry.map_err(|error| context.database(error))?;
            let (key, value) = context.open(table, key.value(), stored.value())?;
            if see(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The first `limit` keys and values in that range, smallest key first.
    fn range<K: OrderedKey, V: Value>(
        &self,
        table: &Table<K, V>,
        keys: impl RangeBounds<K>,
        limit: usize,
    ) -> Result<Vec<(K, V)>, StoreError> {
        const { assert!(!K::HIDDEN, "a hidden key has no order") };
        let context = self.context();
        let Some(opened) = self.opened(table.name())? else {
            return Ok(Vec::new());
        };
        let (from, to) = (bytes_of(keys.start_bound()), bytes_of(keys.end_bound()));
        if is_backwards(&from, &to) {
            return Ok(Vec::new());
        }
        let slices = (
            from.as_ref().map(Vec::as_slice),
            to.as_ref().map(Vec::as_slice),
        );
        let found = opened
            .range::<&[u8]>(slices)
            .map_err(|error| context.database(error))?;
        found
            .take(limit)
            .map(|entry| {
                let (key, stored) = entry.map_err(|error| context.database(error))?;
                context.open(table, key.value(), stored.value())
            })
            .collect()
    }

    /// The largest key, with its value.
    fn last<K: OrderedKey, V: Value>(
        &self,
        table: &Table<K, V>,
    ) -> Result<Option<(K, V)>, StoreError> {
        const { assert!(!K::HIDDEN, "a hidden key has no order") };
        let context = self.context();
        let Some(opened) = self.opened(table.name())? else {
            return Ok(None);
        };
        opened
            .last()
            .map_err(|error| context.database(error))?
            .map(|(key, stored)| context.open(table, key.value(), stored.value()))
            .transpose()
    }
}

fn bytes_of<K: Key>(bound: Bound<&K>) -> Bound<Vec<u8>> {
    bound.map(|key| {
        let mut out = Writer::new();
        key.write(&mut out);
        out.as_bytes().to_vec()
    })
}

/// A range that can hold nothing; the database does not take such ranges.
fn is_backwards(from: &Bound<Vec<u8>>, to: &Bound<Vec<u8>>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (
            Bound::Included(from) | Bound::Excluded(from),
            Bound::Included(to) | Bound::Excluded(to),
        ) => from >= to,
        _ => false,
    }
}

/// A view of the store as it was at one moment.
#[derive(Debug)]
pub struct ReadTx<'s> {
    pub(super) tx: redb::ReadTransaction,
    pub(super) context: Context<'s>,
}

impl Opens for ReadTx<'_> {
    type Opened<'a>
        = redb::ReadOnlyTable<Bytes, Bytes>
    where
        Self: 'a;

    fn opened(&self, name: &str) -> Result<Option<Self::Opened<'_>>, StoreError> {
        match self.tx.open_table(definition(name)) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(self.context.database(error)),
        }
    }

    fn context(&self) -> Context<'_> {
        self.context
    }
}

impl Read for ReadTx<'_> {}

/// Changes that become visible, and lasting, all at once or not at all.
pub struct WriteTx<'s> {
    pub(super) tx: redb::WriteTransaction,
    pub(super) context: Context<'s>,
}

impl std::fmt::Debug for WriteTx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteTx")
            .field("path", &self.context.path)
            .finish_non_exhaustive()
    }
}

impl Opens for WriteTx<'_> {
    type Opened<'a>
        = redb::Table<'a, Bytes, Bytes>
    where
        Self: 'a;

    fn opened(&self, name: &str) -> Result<Option<Self::Opened<'_>>, StoreError> {
        self.table(name).map(Some)
    }

    fn context(&self) -> Context<'_> {
        self.context
    }
}

impl Read for WriteTx<'_> {}

impl WriteTx<'_> {
    fn table(&self, name: &str) -> Result<redb::Table<'_, Bytes, Bytes>, StoreError> {
        self.tx
            .open_table(definition(name))
            .map_err(|error| self.context.database(error))
    }

    /// Stores a value under a key, in place of the one that was there.
    ///
    /// # Errors
    ///
    /// When the value is too long ([`StoreError::TooLong`]), nothing can be
    /// sealed, or the file can't be used. Give the error back from the closure,
    /// so that the transaction ends without effect.
    pub fn put<K: Key, V: Value>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
        value: &V,
    ) -> Result<(), StoreError> {
        let (stored_key, carried) = self.context.key(table, key);
        let stored = self.context.seal(table, &stored_key, &carried, value)?;
        let mut opened = self.table(table.name())?;
        opened
            .insert(stored_key.as_slice(), stored.as_slice())
            .map_err(|error| self.context.database(error))?;
        Ok(())
    }

    /// Removes a key. Returns whether it was there.
    ///
    /// # Errors
    ///
    /// When the file can't be used.
    pub fn remove<K: Key, V>(&mut self, table: &Table<K, V>, key: &K) -> Result<bool, StoreError> {
        let (stored_key, _) = self.context.key(table, key);
        let mut opened = self.table(table.name())?;
        let removed = opened
            .remove(stored_key.as_slice())
            .map_err(|error| self.context.database(error))?;
        Ok(removed.is_some())
    }

    /// Removes the whole table: for migrations.
    ///
    /// # Errors
    ///
    /// When the file can't be used.
    pub fn drop_table<K, V>(&mut self, table: &Table<K, V>) -> Result<(), StoreError> {
        self.tx
            .delete_table(definition(table.name()))
            .map(|_| ())
            .map_err(|error| self.context.database(error))
    }
}
