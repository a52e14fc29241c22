//! What this node owes. Usage is added in memory and flushed; the payment engine moves amounts
//! from due to reserved and from reserved to paid, and each such move is part of a batch of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::journal::{Batch, Journal, JournalError, Table, load};
use super::rows::Payable;
use super::{Payee, Wei, age};

/// Most payees remembered: each is a row of some 170 bytes. A guess, well beyond the hops that one
/// node meets in years.
pub const MAX_PAYEES: usize = 65_536;
/// Seconds for which a payee whose payment failed is not paid; doubled with each failure in a row.
const HOLD: u64 = 60;
/// Longest such time, in seconds.
const MAX_HOLD: u64 = 86_400;
const DAY: u64 = 86_400;

/// Why an amount could not be booked. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayableError {
    /// [`MAX_PAYEES`] are there already.
    #[error("there are {MAX_PAYEES} payees already")]
    TooMany,
    /// The sum does not fit.
    #[error("the amount is too large to be booked")]
    TooLarge,
    /// Less is due than was to be reserved, settled, released or written off.
    #[error("less is there than was to be moved")]
    TooLittle,
}

/// The table of payables, in memory.
#[derive(Default)]
pub struct Payables {
    rows: BTreeMap<Payee, Payable>,
    /// Changed since the last flush.
    dirty: BTreeSet<Payee>,
}

super::opaque_debug!(Payables);

impl Payables {
    /// Reads the books.
    ///
    /// # Errors
    /// [`JournalError`] when they can't be read or are damaged.
    pub fn load(journal: &dyn Journal) -> Result<Self, JournalError> {
        let rows = load::<Payable>(journal, Table::Payables)?;
        Ok(Self {
            rows: rows.into_iter().map(|row| (row.payee, row)).collect(),
            dirty: BTreeSet::new(),
        })
    }

    /// One payee.
    pub fn get(&self, payee: &Payee) -> Option<&Payable> {
        self.rows.get(payee)
    }

    /// All payees.
    pub fn iter(&self) -> impl Iterator<Item = &Payable> {
        self.rows.values()
    }

    /// Whether something waits for a flush.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Books usage. It is durable after the next flush.
    ///
    /// # Errors
    /// [`PayableError::TooMany`], [`PayableError::TooLarge`].
    pub fn accrue(&mut self, unix: u64, payee: Payee, amount: Wei) -> Result<(), PayableError> {
        if amount == 0 {
            return Ok(());
        }
        if !self.rows.contains_key(&payee) && self.rows.len() >= MAX_PAYEES {
            return Err(PayableError::TooMany);
        }
        let row = self
            .rows
            .entry(payee)
            .or_insert_with(|| Payable::new(payee));
        let accrued = row.accrued.checked_add(amount);
        row.accrued = accrued.ok_or(PayableError::TooLarge)?;
        if row.due() > 0 && row.since.is_none() {
            row.since = Some(unix);
        }
        self.dirty.insert(payee);
        Ok(())
    }

    /// Dates that lie ahead were written by a clock that was set right since: a debt of then would
    /// have no age until that day comes, and nobody could be paid. They become `unix`, and the end
    /// of a hold the longest hold from `unix` on.
    pub(crate) fn note_clock(&mut self, unix: u64) {
        for (payee, row) in &mut self.rows {
            let since = row.since.map(|since| since.min(unix));
            let hold_until = row.hold_until.min(unix.saturating_add(MAX_HOLD));
            if (since, hold_until) != (row.since, row.hold_until) {
                (row.since, row.hold_until) = (since, hold_until);
                self.dirty.insert(*payee);
            }
        }
    }

    /// Takes back usage that the two sides agreed was not carried, or that a broken circuit left
    /// unproven. Only what is due and in no payment can be written off.
    ///
    /// # Errors
    /// [`PayableError::TooLittle`].
    pub fn write_off(&mut self, payee: &Payee, amount: Wei) -> Result<(), PayableError> {
        let row = self.rows.get_mut(payee).ok_or(PayableError::TooLittle)?;
        if row.due() < amount {
            return Err(PayableError::TooLittle);
        }
        row.accrued -= amount;
        if row.due() == 0 {
            row.since = None;
        }
        self.dirty.insert(*payee);
        Ok(())
    }

    /// The rows that changed since the last flush. All of their present state is written, so
    /// batches must be committed in the order in which they were made.
    pub fn flush(&mut self) -> Batch {
        let mut batch = Batch::default();
        for payee in std::mem::take(&mut self.dirty) {
            self.put(&mut batch, &payee);
        }
        batch
    }

    fn put(&self, batch: &mut Batch, payee: &Payee) {
        if let Some(row) = self.rows.get(payee) {
            batch.put(row);
        }
    }

    /// Moves `due` from due, and `advance` from nothing, to reserved. Returns since when the debt
    /// was due before, for [`Payables::release`].
    ///
    /// # Errors
    /// [`PayableError`]; nothing was changed.
    pub(crate) fn reserve(
        &mut self,
        unix: u64,
        payee: Payee,
        due: Wei,
        advance: Wei,
        batch: &mut Batch,
    ) -> Result<Option<u64>, PayableError> {
        if !self.rows.contains_key(&payee) && self.rows.len() >= MAX_PAYEES {
            return Err(PayableError::TooMany);
        }
        let row = self
            .rows
            .entry(payee)
            .or_insert_with(|| Payable::new(payee));
        let before = row.due();
        if before < due {
            return Err(PayableError::TooLittle);
        }
        let amount = due.checked_add(advance).ok_or(PayableError::TooLarge)?;
        let reserved = row.reserved.checked_add(amount);
        let advanced = row.advanced.checked_add(advance);
        let (Some(reserved), Some(advanced)) = (reserved, advanced) else {
            return Err(PayableError::TooLarge);
        };
        // Saturates: a cap can only be reached the sooner by it.
        let spent = row.spent_on(unix).saturating_add(amount);
        (row.day, row.spent) = (unix / DAY, spent);
        let since = row.since;
        (row.reserved, row.advanced) = (reserved, advanced);
        row.since = match row.due() {
            0 => None,
            _ => age::after_payment(since, unix, before, before - row.due()),
        };
        self.put(batch, &payee);
        Ok(since)
    }

    /// A payment is final: moves from reserved to paid.
    ///
    /// # Errors
    /// [`PayableError::TooLittle`] when less is reserved; the books are wrong then.
    pub(crate) fn settle(
        &mut self,
        payee: &Payee,
        amount: Wei,
        batch: &mut Batch,
    ) -> Result<(), PayableError> {
        let row = self.rows.get_mut(payee).ok_or(PayableError::TooLittle)?;
        let reserved = row.reserved.checked_sub(amount);
        row.reserved = reserved.ok_or(PayableError::TooLittle)?;
        row.paid = row.paid.saturating_add(amount); // below accrued + advanced, which fits
        (row.failures, row.hold_until) = (0, 0);
        self.put(batch, payee);
        Ok(())
    }

    /// A payment failed, finally: what was reserved is due again and as old as it was, and the
    /// advance is no more. A failed (and not a cancelled) one is held back for a while.
    ///
    /// # Errors
    /// [`PayableError::TooLittle`] when less is reserved; the books are wrong then.
    pub(crate) fn release(
        &mut self,
        unix: u64,
        payee: &Payee,
        (due, advance, since): (Wei, Wei, Option<u64>),
        failed: bool,
        batch: &mut Batch,
    ) -> Result<(), PayableError> {
        let row = self.rows.get_mut(payee).ok_or(PayableError::TooLittle)?;
        let amount = due.checked_add(advance).ok_or(PayableError::TooLarge)?;
        let reserved = row.reserved.checked_sub(amount);
        let advanced = row.advanced.checked_sub(advance);
        let (Some(reserved), Some(advanced)) = (reserved, advanced) else {
            return Err(PayableError::TooLittle);
        };
        (row.reserved, row.advanced) = (reserved, advanced);
        row.since = match (row.due(), since, row.since) {
            (0, ..) => None,
            (_, None, None) => Some(unix),
            (_, a, b) => a.into_iter().chain(b).min(),
        };
        if failed {
            row.failures = row.failures.saturating_add(1);
            let hold = HOLD << u32::from(row.failures - 1).min(16);
            row.hold_until = unix.saturating_add(hold.min(MAX_HOLD));
        }
        self.put(batch, payee);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::Address;

    use super::super::MemoryJournal;
    use super::*;

    fn payee(n: u8) -> Payee {
        Payee {
            wallet: Address::repeat_byte(n),
            hop: [n; 32],
        }
    }

    #[test]
    fn usage_is_durable_after_a_flush_and_not_before() {
        let mut journal = MemoryJournal::new();
        let mut books = Payables::default();
        books.accrue(10, payee(1), 5).unwrap();
        journal.commit(&books.flush()).unwrap();
        books.accrue(20, payee(1), 6).unwrap();
        books.accrue(20, payee(2), 7).unwrap();

        let again = Payables::load(&journal).unwrap();
        assert_eq!(again.get(&payee(1)).unwrap().accrued, 5);
        assert_eq!(again.get(&payee(1)).unwrap().since, Some(10));
        assert!(again.get(&payee(2)).is_none());

        journal.commit(&books.flush()).unwrap();
        assert!(books.flush().is_empty());
        let again = Payables::load(&journal).unwrap();
        assert_eq!(again.get(&payee(1)).unwrap().due(), 11);
    }

    #[test]
    fn amounts_move_and_come_back_with_their_age() {
        let mut books = Payables::default();
        let mut batch = Batch::default();
        books.accrue(100, payee(1), 1_000).unwrap();
        let since = books.reserve(1_100, payee(1), 600, 0, &mut batch).unwrap();
        assert_eq!(since, Some(100));
        let row = books.get(&payee(1)).unwrap();
        assert_eq!((row.due(), row.reserved, row.since), (400, 600, Some(700)));
        assert_eq!(row.spent_on(1_100), 600);
        assert_eq!(row.spent_on(1_100 + DAY), 0);

        let leg = (600, 0, since);
        books
            .release(1_200, &payee(1), leg, true, &mut batch)
            .unwrap();
        let row = books.get(&payee(1)).unwrap();
        assert_eq!((row.due(), row.reserved, row.since), (1_000, 0, Some(100)));
        assert_eq!(row.hold_until, 1_260);

        books
            .reserve(1_300, payee(1), 1_000, 0, &mut batch)
            .unwrap();
        books.settle(&payee(1), 1_000, &mut batch).unwrap();
        let row = books.get(&payee(1)).unwrap();
        assert_eq!(
            (row.due(), row.paid, row.since, row.hold_until),
            (0, 1_000, None, 0)
        );
        assert_eq!(
            books.settle(&payee(1), 1, &mut batch),
            Err(PayableError::TooLittle)
        );
    }

    #[test]
    fn an_advance_is_used_up_before_anything_is_due() {
        let mut books = Payables::default();
        let mut batch = Batch::default();
        books.reserve(0, payee(1), 0, 500, &mut batch).unwrap();
        books.accrue(10, payee(1), 400).unwrap();
        let row = books.get(&payee(1)).unwrap();
        assert_eq!((row.due(), row.ahead(), row.since), (0, 100, None));
        books.settle(&payee(1), 500, &mut batch).unwrap();
        books.accrue(20, payee(1), 101).unwrap();
        let row = books.get(&payee(1)).unwrap();
        assert_eq!((row.due(), row.ahead(), row.since), (1, 0, Some(20)));
    }

    #[test]
    fn dates_of_a_clock_that_was_ahead_do_not_last() {
        let mut books = Payables::default();
        let mut batch = Batch::default();
        let ahead = 1_000_000_000;
        books.accrue(ahead, payee(1), 100).unwrap();
        books.accrue(5, payee(2), 100).unwrap();
        books.reserve(ahead, payee(1), 50, 0, &mut batch).unwrap();
        let leg = (50, 0, Some(ahead));
        books
            .release(ahead, &payee(1), leg, true, &mut batch)
            .unwrap();
        books.flush();
        books.note_clock(1_000);
        let row = books.get(&payee(1)).unwrap();
        assert_eq!((row.since, row.hold_until), (Some(1_000), 1_000 + MAX_HOLD));
        assert_eq!(books.get(&payee(2)).unwrap().since, Some(5));
        let mut journal = MemoryJournal::new();
        journal.commit(&books.flush()).unwrap();
        let again = Payables::load(&journal).unwrap();
        assert_eq!(again.get(&payee(1)).unwrap().since, Some(1_000));
        assert!(again.get(&payee(2)).is_none(), "nothing changed there");
    }

    #[test]
    fn more_than_is_due_is_neither_reserved_nor_written_off() {
        let mut books = Payables::default();
        let mut batch = Batch::default();
        books.accrue(0, payee(1), 10).unwrap();
        let asked = books.reserve(0, payee(1), 11, 0, &mut batch);
        assert_eq!(asked, Err(PayableError::TooLittle));
        assert_eq!(books.write_off(&payee(1), 11), Err(PayableError::TooLittle));
        books.write_off(&payee(1), 4).unwrap();
        assert_eq!(books.get(&payee(1)).unwrap().due(), 6);
        let all = books.accrue(0, payee(1), Wei::MAX);
        assert_eq!(all, Err(PayableError::TooLarge));
        assert!(batch.is_empty());
    }
}
