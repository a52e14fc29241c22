//! The rows of the books. Each holds its own key; layouts are numbered.

use std::collections::VecDeque;

use alloy_primitives::Address;

use super::journal::Table;
use super::{DecodeError, Reader, Writer};
use super::{Payee, Wei, opaque_debug};

/// The layout that every row has at present. A row with another one was written by a later version.
const LAYOUT: u8 = 1;

/// Days for which payments count towards a credit limit. From the settlement design.
pub(super) const DAYS: u64 = 30;
const DAY: u64 = 86_400;

/// Something that a table holds.
pub trait Row: Sized {
    /// Where it belongs.
    fn table(&self) -> Table;
    /// Which row of the table it is.
    fn key(&self) -> Vec<u8>;
    /// Writes every field, the key's among them.
    fn write(&self, out: &mut Writer);
    /// Reads what [`Row::write`] wrote.
    ///
    /// # Errors
    /// When the bytes make no sense.
    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// The row as it is stored.
    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(LAYOUT);
        self.write(&mut out);
        out.into_bytes()
    }

    /// The row from what was stored.
    ///
    /// # Errors
    /// When the bytes are no such row.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        match from.u8()? {
            LAYOUT => {}
            other => return Err(DecodeError::Layout(other)),
        }
        let row = Self::read(&mut from)?;
        from.finish()?;
        Ok(row)
    }
}

/// What this node owes to a payee. Always: `paid + reserved ≤ accrued + advanced`.
#[derive(Clone, PartialEq, Eq)]
pub struct Payable {
    /// Whom.
    pub payee: Payee,
    /// Everything that was used, since the beginning.
    pub accrued: Wei,
    /// Everything that was to be paid before it was used, since the beginning.
    pub advanced: Wei,
    /// In payments that are under way.
    pub reserved: Wei,
    /// In payments that are final.
    pub paid: Wei,
    /// Since when something is due, in seconds since 1970.
    pub since: Option<u64>,
    /// Payments that failed in a row.
    pub failures: u8,
    /// Not paid before that time, because payments failed.
    pub hold_until: u64,
    /// The day (since 1970) of `spent`.
    pub day: u64,
    /// Reserved on that day, for the cap per payee and day.
    pub spent: Wei,
}

impl Payable {
    pub(super) fn new(payee: Payee) -> Self {
        Self {
            payee,
            accrued: 0,
            advanced: 0,
            reserved: 0,
            paid: 0,
            since: None,
            failures: 0,
            hold_until: 0,
            day: 0,
            spent: 0,
        }
    }

    /// Owed and not in a payment. Negative while an advance is being used up, which is 0 here.
    pub fn due(&self) -> Wei {
        let covered = self.paid.saturating_add(self.reserved);
        self.accrued.saturating_sub(covered)
    }

    /// What is left of advances (paid or on the way) after what was used.
    pub fn ahead(&self) -> Wei {
        let covered = self.paid.saturating_add(self.reserved);
        covered.saturating_sub(self.accrued)
    }

    /// Reserved today.
    pub fn spent_on(&self, unix: u64) -> Wei {
        if self.day == unix / DAY {
            self.spent
        } else {
            0
        }
    }
}

impl Row for Payable {
    fn table(&self) -> Table {
        Table::Payables
    }

    fn key(&self) -> Vec<u8> {
        [self.payee.wallet.as_slice(), &self.payee.hop].concat()
    }

    fn write(&self, out: &mut Writer) {
        out.raw(self.payee.wallet.as_slice()).raw(&self.payee.hop);
        out.u128(self.accrued).u128(self.advanced);
        out.u128(self.reserved).u128(self.paid);
        out.option_u64(self.since).u8(self.failures);
        out.u64(self.hold_until).u64(self.day).u128(self.spent);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let row = Self {
            payee: Payee {
                wallet: Address::new(from.array()?),
                hop: from.array()?,
            },
            accrued: from.u128()?,
            advanced: from.u128()?,
            reserved: from.u128()?,
            paid: from.u128()?,
            since: from.option_u64()?,
            failures: from.u8()?,
            hold_until: from.u64()?,
            day: from.u64()?,
            spent: from.u128()?,
        };
        let covered = row.paid.checked_add(row.reserved);
        let promised = row.accrued.checked_add(row.advanced);
        match (covered, promised) {
            (Some(covered), Some(promised)) if covered <= promised => Ok(row),
            _ => Err(DecodeError::Field("sum of what was paid")),
        }
    }
}

/// What a payer owes to this node, and what it paid.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// Who.
    pub payer: Address,
    /// Whether it ever used something. Otherwise it only paid: "unclaimed" money.
    pub known: bool,
    /// Everything that was used, since the beginning.
    pub accrued: Wei,
    /// Everything that was paid and is final.
    pub paid: Wei,
    /// Paid and not final yet: counts for the limit, can still be taken back by a reorg.
    pub provisional: Wei,
    /// Since when something is owed, in seconds since 1970.
    pub since: Option<u64>,
    /// Whether it is banned.
    pub banned: bool,
    /// Final payments by day (since 1970), oldest first; the last [`DAYS`] days.
    pub(super) recent: VecDeque<(u64, Wei)>,
    /// What of the free pool is out for it.
    pub(super) charged: Wei,
    /// When it last used or paid something, in seconds since 1970.
    pub seen: u64,
}

impl Account {
    pub(super) fn new(payer: Address, known: bool) -> Self {
        Self {
            payer,
            known,
            accrued: 0,
            paid: 0,
            provisional: 0,
            since: None,
            banned: false,
            recent: VecDeque::new(),
            charged: 0,
            seen: 0,
        }
    }

    /// Paid, final or not.
    pub fn credited(&self) -> Wei {
        self.paid.saturating_add(self.provisional)
    }

    /// Used and not paid.
    pub fn owed(&self) -> Wei {
        self.accrued.saturating_sub(self.credited())
    }

    /// Paid and not used.
    pub fn prepaid(&self) -> Wei {
        self.credited().saturating_sub(self.accrued)
    }

    /// Paid finally within the last 30 days.
    pub fn paid_lately(&self, unix: u64) -> Wei {
        let today = unix / DAY;
        let recent = self
            .recent
            .iter()
            .filter(|(day, _)| day.saturating_add(DAYS) > today);
        recent.fold(0, |sum: Wei, (_, amount)| sum.saturating_add(*amount))
    }

    /// Notes a final payment.
    pub(super) fn note_payment(&mut self, unix: u64, amount: Wei) {
        let day = unix / DAY;
        match self.recent.back_mut() {
            // A clock that went back counts for the day that is there.
            Some((last, sum)) if *last >= day => *sum = sum.saturating_add(amount),
            _ => self.recent.push_back((day, amount)),
        }
        let old = |first: &(u64, Wei)| first.0.saturating_add(DAYS) <= day;
        while self.recent.front().is_some_and(old) {
            self.recent.pop_front();
        }
    }
}

impl Row for Account {
    fn table(&self) -> Table {
        if self.known {
            Table::Receivables
        } else {
            Table::Unclaimed
        }
    }

    fn key(&self) -> Vec<u8> {
        self.payer.to_vec()
    }

    fn write(&self, out: &mut Writer) {
        out.raw(self.payer.as_slice()).bool(self.known);
        out.u128(self.accrued)
            .u128(self.paid)
            .u128(self.provisional);
        out.option_u64(self.since).bool(self.banned);
        out.u128(self.charged).u64(self.seen);
        out.u8(self.recent.len() as u8);
        for (day, amount) in &self.recent {
            out.u64(*day).u128(*amount);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut row = Self::new(Address::new(from.array()?), from.bool()?);
        row.accrued = from.u128()?;
        row.paid = from.u128()?;
        row.provisional = from.u128()?;
        row.since = from.option_u64()?;
        row.banned = from.bool()?;
        row.charged = from.u128()?;
        row.seen = from.u64()?;
        let days = from.u8()?;
        if u64::from(days) > DAYS {
            return Err(DecodeError::Field("number of days"));
        }
        for _ in 0..days {
            row.recent.push_back((from.u64()?, from.u128()?));
        }
        Ok(row)
    }
}

opaque_debug!(Payable, Account);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_and_their_bytes_are_fixed() {
        let payee = Payee {
            wallet: Address::repeat_byte(1),
            hop: [2; 32],
        };
        let mut row = Payable::new(payee);
        (row.accrued, row.paid, row.reserved, row.since) = (9, 3, 4, Some(5));
        assert_eq!(row.due(), 2);
        assert!(Payable::decode(&row.encode()).unwrap() == row);
        assert_eq!(row.encode().len(), 1 + 52 + 4 * 16 + 9 + 1 + 8 + 8 + 16);

        let mut account = Account::new(Address::repeat_byte(3), true);
        account.note_payment(40 * DAY, 7);
        account.note_payment(41 * DAY, 8);
        assert!(Account::decode(&account.encode()).unwrap() == account);
        assert_eq!(account.paid_lately(41 * DAY), 15);
        assert_eq!(account.paid_lately(70 * DAY), 8);
        assert_eq!(account.paid_lately(71 * DAY), 0);
    }

    #[test]
    fn a_row_that_was_paid_more_than_it_may_be_is_damaged() {
        let mut row = Payable::new(Payee {
            wallet: Address::ZERO,
            hop: [0; 32],
        });
        row.paid = 1;
        assert!(Payable::decode(&row.encode()).is_err());
        let mut bytes = row.encode();
        bytes[0] = 2;
        assert!(matches!(
            Payable::decode(&bytes),
            Err(DecodeError::Layout(2))
        ));
    }

    #[test]
    fn no_wallet_is_shown() {
        let account = Account::new(Address::repeat_byte(0xab), true);
        let payee = Payee {
            wallet: Address::repeat_byte(0xab),
            hop: [1; 32],
        };
        assert!(!format!("{account:?} {payee:?} {:?}", Payable::new(payee)).contains("abab"));
    }
}
