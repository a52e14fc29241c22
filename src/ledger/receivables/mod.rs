//! What payers owe to this node, and how much more each of them gets.
//!
//! A circuit takes a **lease** of credit and carries against it: what is leased counts as used
//! already, so nothing that is in flight escapes the limits. What was carried is booked from the
//! lease ([`Receivables::charge`]), the rest goes back ([`Receivables::release`]). Leases live in
//! memory only; after a crash they are gone, and with them at most what was not flushed.
//!
//! Every method is quick and does no I/O: it may be called from circuit tasks under a lock.

use std::collections::{BTreeSet, HashMap};

use alloy_primitives::Address;

use super::free::FreePool;
use super::journal::{Batch, Journal, JournalError, Table, load};
use super::rows::Account;
use super::{Limits, Refusal, Row, Thresholds, Wei, age, opaque_debug};

mod credit;
#[cfg(test)]
mod tests;

pub use credit::{CreditChange, Verdict};

/// Most payers that used something: each is some 200 bytes in memory. Guess.
pub const MAX_PAYERS: usize = 100_000;
/// Most leases at a time: each circuit has one. Guess, well over what the links' limits allow.
pub const MAX_LEASES: usize = 65_536;
/// For how long a balance that was read says something, in seconds: several rounds of reading.
/// Older ones are none, so that nobody is refused for ever for what he once did not have.
const FUNDS_HOLD: u64 = 3_600;
/// A payer with nothing paid that was not seen for so long is forgotten, in seconds: its debt is
/// below what a new wallet gets anyway.
const FORGET_AFTER: u64 = 30 * 86_400;

/// One part in so many of what is given on trust is for new circuits only, and not for those that
/// want more. Guess: at the defaults eight circuits of the first lease.
const KEPT_PARTS: Wei = 8;

/// A payer's balances, as read from the chain now and then.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Funds {
    /// Of the token, in wei.
    pub token: Wei,
    /// Of the chain's own coin, in wei.
    pub native: u128,
}

/// Names a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(u64);

/// Credit that a circuit may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a lease that is not released stays out"]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// What it is worth; at most what was asked for.
    pub amount: Wei,
}

struct Leased {
    payer: Address,
    source: [u8; 32],
    left: Wei,
}

/// What an account has besides its row.
#[derive(Default)]
struct Live {
    leased: Wei,
    /// The balances, and when they were read, in seconds since 1970.
    funds: Option<(Funds, u64)>,
    /// When the payer was last refused.
    refused: u64,
    /// The source to which what is charged goes back.
    source: [u8; 32],
}

struct Entry {
    row: Account,
    live: Live,
}

/// The table of receivables, in memory.
pub struct Receivables {
    accounts: HashMap<Address, Entry>,
    known: usize,
    leases: HashMap<LeaseId, Leased>,
    next_lease: u64,
    free: FreePool,
    free_dirty: bool,
    dirty: BTreeSet<Address>,
    limits: Limits,
    thresholds: Thresholds,
    /// What a payment costs at present, in wei of the chain's coin.
    fee: u128,
}

opaque_debug!(Receivables, Funds, CreditChange);

impl Receivables {
    /// Empty books.
    pub fn new(limits: Limits, thresholds: Thresholds) -> Self {
        Self {
            accounts: HashMap::new(),
            known: 0,
            leases: HashMap::new(),
            next_lease: 0,
            free: FreePool::default(),
            free_dirty: false,
            dirty: BTreeSet::new(),
            limits,
            thresholds,
            fee: 0,
        }
    }

    /// Reads the books.
    ///
    /// # Errors
    /// [`JournalError`] when they can't be read or are damaged.
    pub fn load(
        journal: &dyn Journal,
        limits: Limits,
        thresholds: Thresholds,
    ) -> Result<Self, JournalError> {
        let mut books = Self::new(limits, thresholds);
        for table in [Table::Receivables, Table::Unclaimed] {
            for row in load::<Account>(journal, table)? {
                books.known += usize::from(row.known);
                let live = Live::default();
                books.accounts.insert(row.payer, Entry { row, live });
            }
        }
        let free = load::<FreePool>(journal, Table::FreeCredit)?;
        books.free = free.into_iter().next().unwrap_or_default();
        Ok(books)
    }

    /// One account.
    pub fn get(&self, payer: &Address) -> Option<&Account> {
        self.accounts.get(payer).map(|entry| &entry.row)
    }

    /// All accounts, those that only paid among them.
    pub fn iter(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values().map(|entry| &entry.row)
    }

    /// The free credit that is out.
    pub fn free(&self) -> &FreePool {
        &self.free
    }

    /// Takes new limits and thresholds; what is out stays out.
    pub fn configure(&mut self, limits: Limits, thresholds: Thresholds) {
        (self.limits, self.thresholds) = (limits, thresholds);
    }

    /// Takes what a payment costs now, in wei of the chain's coin; payers must be able to pay it.
    pub fn set_fee(&mut self, fee: u128) {
        self.fee = fee;
    }

    /// Takes a payer's balances. Read them in batches for all of [`Receivables::payers`], now and
    /// then, and never because somebody set a circuit up: that would show the RPC provider who
    /// uses this node when.
    pub fn set_funds(&mut self, unix: u64, payer: &Address, funds: Funds) {
        if let Some(entry) = self.accounts.get_mut(payer) {
            entry.live.funds = Some((funds, unix));
        }
    }

    /// The payers that were served, or asked to be, since `since`, whose balances are worth
    /// knowing; first those whose balances were read longest ago.
    pub fn payers(&self, since: u64) -> Vec<Address> {
        let active =
            |entry: &&Entry| entry.row.known && entry.row.seen.max(entry.live.refused) >= since;
        let active = self.accounts.values().filter(active);
        let mut active: Vec<_> = active
            .map(|entry| (entry.live.funds.map(|(_, read)| read), entry.row.payer))
            .collect();
        active.sort_unstable();
        active.into_iter().map(|(_, payer)| payer).collect()
    }

    /// What a payer may still use before the hop stops, leases counted as used; the pool of free
    /// credit is not looked at. For the origin's eyes.
    pub fn remaining(&self, unix: u64, payer: &Address) -> Wei {
        self.accounts.get(payer).map_or(self.limits.first, |entry| {
            let (under, above) = exposure(entry);
            let limit = limit(&self.limits, unix, &entry.row);
            limit.saturating_sub(under).saturating_add(above)
        })
    }

    /// The unsettled amount at which a payer is stopped: `first + S ÷ 4`, without what is prepaid.
    pub fn limit(&self, unix: u64, payer: &Address) -> Wei {
        self.accounts
            .get(payer)
            .map_or(self.limits.first, |e| limit(&self.limits, unix, &e.row))
    }

    /// Leases credit to a payer whose circuit came over the link to `source`: as much of `want` as
    /// there is. Once per circuit, and again through [`Receivables::extend`].
    ///
    /// # Errors
    /// [`Refusal`] when there is none; nothing was changed.
    pub fn lease(
        &mut self,
        unix: u64,
        payer: Address,
        source: [u8; 32],
        want: Wei,
    ) -> Result<Lease, Refusal> {
        if self.leases.len() >= MAX_LEASES {
            return Err(Refusal::NoRoom);
        }
        let amount = self.grant(unix, payer, source, want, 0)?;
        let id = LeaseId(self.next_lease);
        self.next_lease += 1;
        let left = amount;
        self.leases.insert(
            id,
            Leased {
                payer,
                source,
                left,
            },
        );
        Ok(Lease { id, amount })
    }

    /// Adds to a lease, as [`Receivables::lease`]. Returns by how much. The last part of what is given
    /// on trust is left to new circuits: a payer whose download has used the rest up can still ask the
    /// chain through the mesh, and so pay.
    ///
    /// # Errors
    /// [`Refusal`] when there is nothing; the lease stays what it was.
    pub fn extend(&mut self, unix: u64, id: LeaseId, want: Wei) -> Result<Wei, Refusal> {
        let lease = self.leases.get(&id).ok_or(Refusal::UnknownLease)?;
        let (payer, source) = (lease.payer, lease.source);
        let kept = self.limits.first / KEPT_PARTS;
        let amount = self.grant(unix, payer, source, want, kept)?;
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.left = lease.left.saturating_add(amount);
        }
        Ok(amount)
    }

    fn grant(
        &mut self,
        unix: u64,
        payer: Address,
        source: [u8; 32],
        want: Wei,
        kept: Wei,
    ) -> Result<Wei, Refusal> {
        self.free.refill(unix, &self.limits);
        let is_known = self.accounts.get(&payer).is_some_and(|e| e.row.known);
        if !is_known && self.known >= MAX_PAYERS {
            return Err(Refusal::NoRoom);
        }
        let fresh = Entry {
            row: Account::new(payer, true),
            live: Live::default(),
        };
        let entry = self.accounts.get(&payer).unwrap_or(&fresh);
        let room = match self.room(unix, entry, &source, kept) {
            Ok(room) => room,
            Err(why) => {
                if let Some(entry) = self.accounts.get_mut(&payer) {
                    entry.live.refused = unix;
                }
                return Err(why);
            }
        };
        let amount = want.min(room);
        self.open(payer);
        if let Some(entry) = self.accounts.get_mut(&payer) {
            entry.live.leased = entry.live.leased.saturating_add(amount);
            entry.live.source = source;
            entry.row.seen = unix;
        }
        self.recharge(unix, &payer);
        Ok(amount)
    }

    /// How much `entry` may be leased, or why nothing; `kept` is not there.
    fn room(&self, unix: u64, entry: &Entry, source: &[u8; 32], kept: Wei) -> Result<Wei, Refusal> {
        let row = &entry.row;
        if row.banned {
            let (owed, unban) = (row.owed(), self.thresholds.unban());
            return Err(Refusal::Delinquent { owed, unban });
        }
        let fresh = |(_, read): &(Funds, u64)| unix.abs_diff(*read) <= FUNDS_HOLD;
        let funds = entry.live.funds.filter(fresh);
        if let Some((funds, _)) = funds.filter(|_| row.prepaid() == 0) {
            if funds.token < row.owed() || funds.token == 0 {
                let need = row.owed().max(1);
                return Err(Refusal::NoTokens { need });
            }
            if funds.native < self.fee {
                return Err(Refusal::NoGas { need: self.fee });
            }
        }
        let (under, above) = exposure(entry);
        let limit = limit(&self.limits, unix, row);
        let within = limit.saturating_sub(under).saturating_add(above);
        let within = within.saturating_sub(kept);
        if within == 0 {
            // What brings it back under half of the limit.
            let pay = under.saturating_sub(limit / 2).max(1);
            return Err(Refusal::OverLimit { limit, pay });
        }
        // What is prepaid and what payments cover needs nothing of the pool.
        let covered = self.limits.earned(row.paid_lately(unix));
        let covered = covered.saturating_sub(under).saturating_add(above);
        let free = self.free.room(source, &self.limits);
        let room = within.min(covered.saturating_add(free));
        if room == 0 {
            let pay = self.limits.first.max(1);
            return Err(Refusal::NoFreeCredit { pay });
        }
        Ok(room)
    }

    /// Books what was carried against a lease. Everything is booked, because it was carried; the
    /// answer is what is left of the lease, 0 when it is used up and the circuit has to stop or to
    /// extend it.
    ///
    /// # Errors
    /// [`Refusal::UnknownLease`]; nothing was booked.
    pub fn charge(&mut self, unix: u64, id: LeaseId, amount: Wei) -> Result<Wei, Refusal> {
        let lease = self.leases.get_mut(&id).ok_or(Refusal::UnknownLease)?;
        let from_lease = amount.min(lease.left);
        lease.left -= from_lease;
        let (payer, left) = (lease.payer, lease.left);
        if let Some(entry) = self.accounts.get_mut(&payer) {
            entry.live.leased = entry.live.leased.saturating_sub(from_lease);
            // Saturates: a sum at the ceiling stops the payer, which is right.
            entry.row.accrued = entry.row.accrued.saturating_add(amount);
            entry.row.seen = unix;
            if entry.row.owed() > 0 && entry.row.since.is_none() {
                entry.row.since = Some(unix);
            }
            self.dirty.insert(payer);
        }
        self.recharge(unix, &payer);
        Ok(left)
    }

    /// Gives back what is left of a lease, at the end of its circuit. Nothing happens when it is
    /// not known.
    pub fn release(&mut self, unix: u64, id: LeaseId) {
        if let Some(lease) = self.leases.remove(&id) {
            if let Some(entry) = self.accounts.get_mut(&lease.payer) {
                entry.live.leased = entry.live.leased.saturating_sub(lease.left);
            }
            self.recharge(unix, &lease.payer);
        }
    }

    /// Takes back what the two sides agreed was not carried, or what a broken circuit left
    /// unproven: at most what was booked. Returns how much it was.
    ///
    /// What is out of the pool of free credit for it stays out until the refill brings it back:
    /// else new wallets would get more from the pool by breaking circuits than there is in it.
    pub fn write_off(&mut self, unix: u64, payer: &Address, amount: Wei) -> Wei {
        let Some(entry) = self.accounts.get_mut(payer) else {
            return 0;
        };
        let amount = amount.min(entry.row.accrued);
        entry.row.accrued -= amount;
        if entry.row.owed() == 0 {
            entry.row.since = None;
        }
        let covered = self.limits.earned(entry.row.paid_lately(unix));
        let wanted = exposure(entry).0.saturating_sub(covered);
        entry.row.charged = entry.row.charged.min(wanted);
        self.dirty.insert(*payer);
        amount
    }

    /// Books again what was written off and is acknowledged after all.
    pub fn recover(&mut self, unix: u64, payer: &Address, amount: Wei) {
        let Some(entry) = self.accounts.get_mut(payer) else {
            return;
        };
        entry.row.accrued = entry.row.accrued.saturating_add(amount);
        if entry.row.owed() > 0 && entry.row.since.is_none() {
            entry.row.since = Some(unix);
        }
        self.dirty.insert(*payer);
        self.recharge(unix, payer);
    }

    /// An account for a payer that uses something for the first time; money that came before is
    /// its own.
    fn open(&mut self, payer: Address) {
        let entry = self.accounts.entry(payer).or_insert_with(|| Entry {
            row: Account::new(payer, false),
            live: Live::default(),
        });
        if !entry.row.known {
            entry.row.known = true;
            self.known += 1;
            self.dirty.insert(payer);
        }
    }

    /// Makes what is out of the free pool for an account what it has to be.
    fn recharge(&mut self, unix: u64, payer: &Address) {
        let Some(entry) = self.accounts.get_mut(payer) else {
            return;
        };
        let covered = self.limits.earned(entry.row.paid_lately(unix));
        let wanted = exposure(entry).0.saturating_sub(covered);
        let charged = entry.row.charged;
        if wanted > charged {
            self.free.take(&entry.live.source, wanted - charged);
        } else {
            self.free.give_back(&entry.live.source, charged - wanted);
        }
        if wanted != charged {
            entry.row.charged = wanted;
            self.free_dirty = true;
            self.dirty.insert(*payer);
        }
    }

    /// Bans and unbans, and forgets who was not seen for long and never paid. Call it every few
    /// minutes; credits unban at once without it.
    pub fn judge(&mut self, unix: u64) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (payer, entry) in &mut self.accounts {
            if let Some(verdict) = credit::judge(&self.thresholds, unix, &mut entry.row) {
                verdicts.push(verdict);
                self.dirty.insert(*payer);
            }
        }
        self.forget(unix);
        verdicts
    }

    fn forget(&mut self, unix: u64) {
        let old = |entry: &Entry| {
            let row = &entry.row;
            let idle = unix.saturating_sub(row.seen) > FORGET_AFTER;
            row.known && idle && row.credited() == 0 && entry.live.leased == 0 && !row.banned
        };
        let gone: Vec<Address> = self
            .accounts
            .values()
            .filter(|e| old(e))
            .map(|e| e.row.payer)
            .collect();
        for payer in gone {
            self.accounts.remove(&payer);
            self.known = self.known.saturating_sub(1);
            // The flush finds no account and removes the row.
            self.dirty.insert(payer);
        }
    }

    /// The rows that changed since the last flush, in their present state: batches must be
    /// committed in the order in which they were made. Call it each second and at stop.
    pub fn flush(&mut self) -> Batch {
        let mut batch = Batch::default();
        for payer in std::mem::take(&mut self.dirty) {
            // A row moves from one table to the other when the payer becomes known.
            let key = payer.to_vec();
            match self.accounts.get(&payer) {
                Some(entry) => {
                    if entry.row.known {
                        batch.remove(Table::Unclaimed, key);
                    }
                    batch.put(&entry.row);
                }
                None => batch.remove(Table::Receivables, key),
            }
        }
        if std::mem::take(&mut self.free_dirty) {
            batch.put(&self.free);
        }
        batch
    }
}

/// How far an account is under water, leases counted as used, and how far above it (prepaid). One
/// of the two is zero.
fn exposure(entry: &Entry) -> (Wei, Wei) {
    let used = entry.row.accrued.saturating_add(entry.live.leased);
    let credited = entry.row.credited();
    (used.saturating_sub(credited), credited.saturating_sub(used))
}

fn limit(limits: &Limits, unix: u64, row: &Account) -> Wei {
    limits
        .first
        .saturating_add(limits.earned(row.paid_lately(unix)))
}

/// Since when what an account owes is due, after a payment of `amount`.
fn since_after(row: &Account, unix: u64, amount: Wei) -> Option<u64> {
    age::after_payment(row.since, unix, row.owed(), amount.min(row.owed()))
}

impl Entry {
    fn unclaimed(payer: Address) -> Self {
        Self {
            row: Account::new(payer, false),
            live: Live::default(),
        }
    }
}

/// The row of an account as it is written.
fn written(batch: &mut Batch, row: &Account) {
    if row.known {
        batch.remove(Table::Unclaimed, row.key());
    }
    batch.put(row);
}
