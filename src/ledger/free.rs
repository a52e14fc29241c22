//! Credit that is given for nothing, to wallets that have not paid yet: one pool for all of them,
//! refilled slowly, of which each source may have a part.
//!
//! New wallets cost nothing, so what each of them gets on trust counts for nothing: the *sum* over
//! all of them is what a hop risks. A source is the neighbour link that a set-up came from; quotas
//! by source keep one link from taking what is there for newcomers on all others.

use std::collections::BTreeMap;

use super::journal::Table;
use super::money::{Round, mul_div};
use super::{DecodeError, Reader, Writer};
use super::{Limits, Row, Wei};

/// Most sources remembered. A node has five neighbours; this is room for those it had lately.
pub const MAX_SOURCES: usize = 64;
const DAY: Wei = 86_400;

/// What is out of the pool, in all and by source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FreePool {
    out: Wei,
    sources: BTreeMap<[u8; 32], Wei>,
    /// When the figures were right, in seconds since 1970.
    at: u64,
}

impl FreePool {
    /// What is out now.
    pub fn out(&self) -> Wei {
        self.out
    }

    /// Lets time pass: what was given long ago is forgotten, at the rate of the refill.
    pub(super) fn refill(&mut self, now: u64, limits: &Limits) {
        // A clock that was ahead once must not stop the refill until that day.
        self.at = self.at.min(now);
        let passed = now - self.at;
        if passed == 0 {
            return;
        }
        let back =
            |per_day: Wei| mul_div(per_day, passed.into(), DAY, Round::Down).unwrap_or(Wei::MAX);
        let back_in_all = back(limits.refill_per_day);
        if back_in_all == 0 && self.out > 0 && limits.refill_per_day > 0 {
            // Less than a wei: let more time pass.
            return;
        }
        self.at = now;
        self.out = self.out.saturating_sub(back_in_all);
        // A source's part comes back in the proportion in which it is a part of the whole.
        let part = mul_div(limits.refill_per_day, limits.quota, limits.pool, Round::Up);
        let back_of_source = back(part.unwrap_or(0));
        self.sources.retain(|_, out| {
            *out = out.saturating_sub(back_of_source);
            *out > 0
        });
    }

    /// What `source` may still take.
    pub(super) fn room(&self, source: &[u8; 32], limits: &Limits) -> Wei {
        let of_source = match self.sources.get(source) {
            Some(out) => limits.quota.saturating_sub(*out),
            // Somebody who makes new links must not push out what is remembered of others.
            None if self.sources.len() >= MAX_SOURCES => 0,
            None => limits.quota,
        };
        limits.pool.saturating_sub(self.out).min(of_source)
    }

    /// Takes out what [`FreePool::room`] allowed, or what was used beyond it.
    pub(super) fn take(&mut self, source: &[u8; 32], amount: Wei) {
        if amount > 0 {
            self.out = self.out.saturating_add(amount);
            if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(source) {
                // Used over a lease that needed nothing of the pool, or by a link that is gone.
                return;
            }
            let of_source = self.sources.entry(*source).or_default();
            *of_source = of_source.saturating_add(amount);
        }
    }

    /// Puts back what was not used, or was paid for. Saturates: what the refill has forgotten
    /// already is not there to be put back.
    pub(super) fn give_back(&mut self, source: &[u8; 32], amount: Wei) {
        self.out = self.out.saturating_sub(amount);
        if let Some(of_source) = self.sources.get_mut(source) {
            *of_source = of_source.saturating_sub(amount);
            if *of_source == 0 {
                self.sources.remove(source);
            }
        }
    }
}

impl Row for FreePool {
    fn table(&self) -> Table {
        Table::FreeCredit
    }

    fn key(&self) -> Vec<u8> {
        Vec::new()
    }

    fn write(&self, out: &mut Writer) {
        out.u128(self.out).u64(self.at);
        out.u16(self.sources.len() as u16);
        for (source, amount) in &self.sources {
            out.raw(source).u128(*amount);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (out, at) = (from.u128()?, from.u64()?);
        let count = usize::from(from.u16()?);
        let sources = (0..count).map(|_| Ok((from.array()?, from.u128()?)));
        let mut sources = sources.collect::<Result<BTreeMap<_, _>, DecodeError>>()?;
        // Quotas are a matter of fairness: too many of them are no reason not to start.
        while sources.len() > MAX_SOURCES {
            sources.pop_last();
        }
        Ok(Self { out, at, sources })
    }
}
