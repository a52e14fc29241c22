//! What a node remembers across restarts, in the store for the node.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::store::seal;
use crate::store::{
    DecodeError, Read as _, Reader, Store, StoreError, Table, Value, WriteTx, Writer,
};

/// Length of the seed of an Ed25519 key.
pub const SEED_LENGTH: usize = 32;
/// Most neighbours remembered (guess: a few weeks' worth of neighbours).
pub const MAX_REMEMBERED: usize = 64;
/// Most addresses of one of them. Gossip gives eight.
const MAX_ADDRESSES: usize = 64;

/// The node key, under [`ONLY`].
pub(super) const SEED: Table<u8, Seed> = Table::new("node-key");
/// The record's version, under [`ONLY`].
pub(super) const VERSION: Table<u8, u64> = Table::new("record-version");
/// Past neighbours, by their place in the list.
const NEIGHBOURS: Table<u32, RememberedNeighbour> = Table::new("neighbours");
/// Bans, by their place in the list.
const BANS: Table<u32, StoredBan> = Table::new("bans");
/// The key of a table with one value.
pub(super) const ONLY: u8 = 0;

/// The seed of the node key.
pub(super) struct Seed(pub(super) Zeroizing<[u8; SEED_LENGTH]>);

impl Value for Seed {
    const LAYOUT: u8 = 1;

    fn write(&self, out: &mut Writer) {
        out.raw(self.0.as_slice());
    }

    fn read(layout: u8, from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        only_first(layout)?;
        Ok(Self(Zeroizing::new(from.array()?)))
    }
}

/// A past neighbour, to be tried again after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedNeighbour {
    /// Its node key, 43 characters of base64.
    pub node: String,
    /// Where it could be dialled, as `host:port`, best first; at most 64.
    pub addresses: Vec<String>,
    /// When it was last a neighbour, in seconds of Unix time.
    pub last_seen_unix: u64,
}

impl Value for RememberedNeighbour {
    const LAYOUT: u8 = 1;

    fn write(&self, out: &mut Writer) {
        out.text(&self.node).u64(self.last_seen_unix);
        // It fits: the list is cut before it is stored.
        out.u8(self.addresses.len() as u8);
        for address in &self.addresses {
            out.text(address);
        }
    }

    fn read(layout: u8, from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        only_first(layout)?;
        let node = from.text()?.to_owned();
        let last_seen_unix = from.u64()?;
        let count = usize::from(from.u8()?);
        if count > MAX_ADDRESSES {
            return Err(DecodeError::Field("number of addresses"));
        }
        let addresses = (0..count).map(|_| from.text().map(str::to_owned));
        Ok(Self {
            node,
            addresses: addresses.collect::<Result<_, _>>()?,
            last_seen_unix,
        })
    }
}

/// A ban, to hold after a restart too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBan {
    /// The node key, 43 characters of base64.
    pub node: String,
    /// The reason that was given for a ban by hand; absent when it is for what `evidence` proves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when, in seconds of Unix time.
    pub since_unix: u64,
    /// Until when, in seconds of Unix time; absent for a ban without an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_unix: Option<u64>,
    /// Hexadecimal; empty for a ban by hand.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub evidence: String,
}

impl Value for StoredBan {
    const LAYOUT: u8 = 1;

    fn write(&self, out: &mut Writer) {
        out.text(&self.node);
        out.option(self.reason.as_deref(), |out, reason| {
            out.text(reason);
        });
        out.u64(self.since_unix).option_u64(self.until_unix);
        out.text(&self.evidence);
    }

    fn read(layout: u8, from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        only_first(layout)?;
        Ok(Self {
            node: from.text()?.to_owned(),
            reason: from.option(|from| from.text().map(str::to_owned))?,
            since_unix: from.u64()?,
            until_unix: from.option_u64()?,
            evidence: from.text()?.to_owned(),
        })
    }
}

fn only_first(layout: u8) -> Result<(), DecodeError> {
    match layout {
        1 => Ok(()),
        other => Err(DecodeError::Layout(other)),
    }
}

/// What a node remembers across restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Remembered {
    /// The highest version that a record of this node may have had: stored
    /// before it is used.
    pub record_version: u64,
    /// Past neighbours, best first; at most [`MAX_REMEMBERED`].
    pub neighbours: Vec<RememberedNeighbour>,
    /// Banned nodes, oldest ban first; at most [`masq_gossip::MAX_BANS`].
    pub bans: Vec<StoredBan>,
}

impl Remembered {
    fn load(store: &Store) -> Result<Self, StoreError> {
        store.read(|tx| {
            let (mut neighbours, mut bans) = (Vec::new(), Vec::new());
            tx.visit(&NEIGHBOURS, |_, past| {
                neighbours.push(past);
                ControlFlow::Continue(())
            })?;
            tx.visit(&BANS, |_, ban| {
                bans.push(ban);
                ControlFlow::Continue(())
            })?;
            Ok(Self {
                record_version: tx.get(&VERSION, &ONLY)?.unwrap_or(0),
                neighbours,
                bans,
            })
        })
    }

    /// Writes what differs from `before`.
    pub(super) fn store(&self, tx: &mut WriteTx<'_>, before: &Self) -> Result<(), StoreError> {
        if self.record_version != before.record_version {
            tx.put(&VERSION, &ONLY, &self.record_version)?;
        }
        store_list(tx, &NEIGHBOURS, &self.neighbours, &before.neighbours)?;
        store_list(tx, &BANS, &self.bans, &before.bans)
    }

    /// Cuts lists to their bounds.
    pub(super) fn cut(&mut self) {
        self.neighbours.truncate(MAX_REMEMBERED);
        for past in &mut self.neighbours {
            past.addresses.truncate(MAX_ADDRESSES);
        }
        self.bans.truncate(masq_gossip::MAX_BANS);
    }
}

fn store_list<V: Value + PartialEq>(
    tx: &mut WriteTx<'_>,
    table: &Table<u32, V>,
    now: &[V],
    before: &[V],
) -> Result<(), StoreError> {
    for (place, value) in (0..).zip(now) {
        // The places fit: the lists are short.
        if before.get(place as usize) != Some(value) {
            tx.put(table, &place, value)?;
        }
    }
    for place in now.len()..before.len() {
        tx.remove(table, &(place as u32))?;
    }
    Ok(())
}

/// The node's memory. Clones share it.
#[derive(Clone, Debug)]
pub struct Memory {
    store: Arc<Store>,
    state: Arc<Mutex<Remembered>>,
}

impl Memory {
    /// What is in the store.
    pub(super) fn open(store: Arc<Store>) -> Result<Self, StoreError> {
        let state = Remembered::load(&store)?;
        Ok(Self {
            store,
            state: Arc::new(Mutex::new(state)),
        })
    }

    /// The seed of the node key, made on first use. Blocks.
    ///
    /// # Errors
    /// When the store can't be read or written, or the system has no randomness.
    pub fn node_seed(&self) -> Result<Zeroizing<[u8; SEED_LENGTH]>, StoreError> {
        self.store.write(|tx| {
            if let Some(Seed(seed)) = tx.get(&SEED, &ONLY)? {
                return Ok(seed);
            }
            let seed = Seed(seal::random()?);
            tx.put(&SEED, &ONLY, &seed)?;
            Ok(seed.0)
        })
    }

    /// What was remembered, as of the last successful [`Self::remember`].
    #[must_use]
    pub fn remembered(&self) -> Remembered {
        self.lock().clone()
    }

    /// Changes what is remembered; it is on disk when this returns. Lists are
    /// cut to their bounds. Blocks for some milliseconds.
    ///
    /// # Errors
    /// When the store can't be written: then nothing has changed in
    /// [`Self::remembered`].
    pub fn remember(&self, change: impl FnOnce(&mut Remembered)) -> Result<(), StoreError> {
        let mut state = self.lock();
        let mut next = state.clone();
        change(&mut next);
        // A version once used must never be used again for other content.
        next.record_version = next.record_version.max(state.record_version);
        next.cut();
        if next != *state {
            self.store.write(|tx| next.store(tx, &state))?;
            *state = next;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        // The state is replaced whole: a panic elsewhere can't have left half.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
