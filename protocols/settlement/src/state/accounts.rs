//! Accounts in use and accounts put by, both bounded, and the times to wake the former at.
//!
//! What nobody uses is put by when there is no room for somebody else: its figures are kept in a
//! small form, and it is taken up again, to the wei the same, when its other side comes back. So
//! whoever brings many parties that use one cell each keeps nobody out, and nobody gets rid of a
//! debt by being put by. Only where there are too many of those as well is one forgotten that
//! there is no money of.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Full, Party};

/// An account that can be put by.
pub(super) trait Shelve: Sized {
    /// What is kept of it.
    type Kept;

    /// Its small form. What was to be said is forgotten, and said again when there is occasion.
    fn put_by(self) -> Self::Kept;

    /// As it was.
    fn take_up(kept: Self::Kept) -> Self;

    /// Whether circuits or a link need it where it is.
    fn in_use(&self) -> bool;

    /// Whether there is money of its other side in it that must not be forgotten.
    fn holds_money(&self) -> bool;

    /// When it was last used.
    fn touched(&self) -> Duration;
}

/// Accounts by their other side.
#[derive(Debug)]
pub(super) struct Accounts<K, A: Shelve> {
    map: BTreeMap<K, A>,
    most: usize,
    shelf: BTreeMap<K, (A::Kept, (bool, Duration))>,
    /// Which of those to forget first.
    order: BTreeSet<((bool, Duration), K)>,
    most_shelved: usize,
    gone: Gone<K>,
}

/// Accounts that are where they were no longer.
#[derive(Debug)]
pub(super) struct Gone<K> {
    /// Put by: nothing wakes them.
    pub(super) put_by: Vec<K>,
    /// There is nothing of them any more.
    pub(super) forgotten: Vec<K>,
}

impl<K: Ord + Copy, A: Shelve> Accounts<K, A> {
    pub(super) fn new(most: usize, most_shelved: usize) -> Self {
        Self {
            map: BTreeMap::new(),
            most,
            shelf: BTreeMap::new(),
            order: BTreeSet::new(),
            most_shelved,
            gone: Gone::default(),
        }
    }

    /// How many there are in use, and put by.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.map.len(), self.shelf.len())
    }

    /// Whether there is one, in use or put by.
    pub(super) fn knows(&self, key: &K) -> bool {
        self.map.contains_key(key) || self.shelf.contains_key(key)
    }

    /// One in use.
    pub(super) fn get(&self, key: &K) -> Option<&A> {
        self.map.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &A)> {
        self.map.iter()
    }

    /// One in use.
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut A> {
        self.map.get_mut(key)
    }

    /// One put by.
    pub(super) fn kept(&self, key: &K) -> Option<&A::Kept> {
        self.shelf.get(key).map(|(kept, _)| kept)
    }

    /// One from the store: in use while there is room, or else put by.
    pub(super) fn restore(&mut self, key: K, account: A) -> Result<(), Full> {
        if self.map.len() < self.most {
            self.map.insert(key, account);
            return Ok(());
        }
        if !self.make_room_on_shelf() {
            return Err(Full);
        }
        self.keep(key, account);
        Ok(())
    }

    /// A new one; there is always room for one that brings money, as long as the shelf has some.
    pub(super) fn add(&mut self, key: K, account: A, brings_money: bool) -> Result<(), Full> {
        if !self.make_room(brings_money) {
            return Err(Full);
        }
        self.map.insert(key, account);
        Ok(())
    }

    /// One, taken up if it was put by; `None` where there is none, or no room for it.
    pub(super) fn recall(&mut self, key: &K, brings_money: bool) -> Option<&mut A> {
        if let Some((_, (holds_money, _))) = self.shelf.get(key) {
            let money = brings_money || *holds_money;
            // First off the shelf: then there is room on it for another.
            let (kept, rank) = self.shelf.remove(key)?;
            self.order.remove(&(rank, *key));
            if !self.make_room(money) {
                self.order.insert((rank, *key));
                self.shelf.insert(*key, (kept, rank));
                return None;
            }
            self.map.insert(*key, A::take_up(kept));
        }
        self.map.get_mut(key)
    }

    /// What has gone since this was last asked.
    pub(super) fn take_gone(&mut self) -> Gone<K> {
        std::mem::take(&mut self.gone)
    }

    /// Puts by what was used longest ago, first of all where no money is in it, until there is
    /// room for one more.
    fn make_room(&mut self, for_money: bool) -> bool {
        while self.map.len() >= self.most {
            let idle = self.map.iter().filter(|(_, account)| !account.in_use());
            let oldest = idle.min_by_key(|(_, a)| (a.holds_money(), a.touched()));
            let Some((&oldest, _)) = oldest else {
                // All have circuits, whose number is bounded. Money is not turned away for that.
                let all = self.map.len().saturating_add(self.shelf.len());
                return for_money && all < self.most.saturating_add(self.most_shelved);
            };
            let fits = self.make_room_on_shelf();
            if !fits && self.map.get(&oldest).is_some_and(A::holds_money) {
                return false;
            }
            let account = self.map.remove(&oldest);
            if let Some(account) = account.filter(|_| fits) {
                self.gone.put_by.push(oldest);
                self.keep(oldest, account);
            } else {
                self.gone.forgotten.push(oldest);
            }
        }
        true
    }

    /// Forgets the account that was put by longest ago, if it must and if no money is in it.
    fn make_room_on_shelf(&mut self) -> bool {
        if self.shelf.len() < self.most_shelved {
            return true;
        }
        let first = self.order.first().copied();
        let Some((rank, key)) = first.filter(|((holds_money, _), _)| !holds_money) else {
            return false;
        };
        self.order.remove(&(rank, key));
        self.shelf.remove(&key);
        self.gone.forgotten.push(key);
        true
    }

    fn keep(&mut self, key: K, account: A) {
        let rank = (account.holds_money(), account.touched());
        self.order.insert((rank, key));
        self.shelf.insert(key, (account.put_by(), rank));
    }
}

impl<K> Default for Gone<K> {
    fn default() -> Self {
        Self {
            put_by: Vec::new(),
            forgotten: Vec::new(),
        }
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
