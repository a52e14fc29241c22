//! A bounded map of accounts that forgets only settled ones, and the times to wake them at.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Full, Party};

/// Accounts by their other side.
#[derive(Debug)]
pub(super) struct Accounts<K, A> {
    map: BTreeMap<K, A>,
    most: usize,
}

impl<K: Ord + Copy, A> Accounts<K, A> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            map: BTreeMap::new(),
            most,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn get(&self, key: &K) -> Option<&A> {
        self.map.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &A)> {
        self.map.iter()
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut A> {
        self.map.get_mut(key)
    }

    pub(super) fn insert(&mut self, key: K, account: A) -> Result<(), Full> {
        if self.map.len() >= self.most && !self.map.contains_key(&key) {
            return Err(Full);
        }
        self.map.insert(key, account);
        Ok(())
    }

    /// Makes room for one more: forgets the settled account that was used longest ago, if it
    /// must. Says which; `None` when there is no room to be had.
    pub(super) fn make_room(
        &mut self,
        settled: impl Fn(&A) -> bool,
        touched: impl Fn(&A) -> Duration,
    ) -> Option<Option<K>> {
        if self.map.len() < self.most {
            return Some(None);
        }
        let candidates = self.map.iter().filter(|(_, account)| settled(account));
        let (oldest, _) = candidates.min_by_key(|(_, account)| touched(account))?;
        let oldest = *oldest;
        self.map.remove(&oldest);
        Some(Some(oldest))
    }
}

/// One time per party, ordered by time.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Duration, Party)>,
    by_party: BTreeMap<Party, Duration>,
}

impl Timers {
    pub(super) fn set(&mut self, party: Party, at: Option<Duration>) {
        if let Some(old) = self.by_party.remove(&party) {
            self.by_time.remove(&(old, party));
        }
        if let Some(at) = at {
            self.by_party.insert(party, at);
            self.by_time.insert((at, party));
        }
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// A party whose time has come.
    pub(super) fn pop(&mut self, now: Duration) -> Option<Party> {
        let (at, party) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.set(party, None);
        Some(party)
    }
}
