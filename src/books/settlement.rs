//! How the accounts of the settlement protocol are laid out in the store.

use std::fmt;

use alloy_primitives::{Address, B256};
use masq_settlement::state::limits::{MAX_NOTICES, MAX_PROVISIONAL, RECENT};
use masq_settlement::state::{HopBooks, PayerBooks};
use masq_settlement::{CanonicalSignature, NodeKey, Party, Receipt};

use crate::ledger::Wei;
use crate::store::{DecodeError, Reader, StoreError, Table, Value, WriteTx, Writer};

/// What payers have acknowledged. Key: wallet.
pub(super) const PAYERS: Table<Address, PayerBooks> = Table::new("settlement.payers");
/// What was acknowledged to hops. Key: the hop's node key.
pub(super) const HOPS: Table<[u8; 32], HopBooks> = Table::new("settlement.hops");

/// One settlement account written or forgotten.
#[derive(Clone, PartialEq, Eq)]
pub enum SettlementChange {
    /// A payer's account as it is now.
    Payer(PayerBooks),
    /// A hop's account as it is now; its `credit` is not stored.
    Hop(HopBooks),
    /// The account is no more.
    Forget(Party),
}

impl fmt::Debug for SettlementChange {
    /// Without wallets and amounts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Payer(_) => "Payer(..)",
            Self::Hop(_) => "Hop(..)",
            Self::Forget(_) => "Forget(..)",
        })
    }
}

/// Makes the changes in that transaction, in their order.
pub(super) fn apply(tx: &mut WriteTx<'_>, changes: &[SettlementChange]) -> Result<(), StoreError> {
    for change in changes {
        match change {
            SettlementChange::Payer(books) => tx.put(&PAYERS, &books.payer, books)?,
            SettlementChange::Hop(books) => tx.put(&HOPS, &books.hop.0, books)?,
            SettlementChange::Forget(Party::Payer(payer)) => {
                tx.remove(&PAYERS, payer)?;
            }
            SettlementChange::Forget(Party::Hop(hop)) => {
                tx.remove(&HOPS, &hop.0)?;
            }
        }
    }
    Ok(())
}

fn only_first(layout: u8) -> Result<(), DecodeError> {
    match layout {
        1 => Ok(()),
        other => Err(DecodeError::Layout(other)),
    }
}

/// A number of entries. What is kept is far below the limit of two bytes; more would be a row
/// that can't be read again, so it is cut.
fn write_list<T>(out: &mut Writer, items: &[T], mut write: impl FnMut(&mut Writer, &T)) {
    let count = u16::try_from(items.len()).unwrap_or(u16::MAX);
    out.u16(count);
    for item in items.iter().take(count.into()) {
        write(out, item);
    }
}

fn read_list<T>(
    from: &mut Reader<'_>,
    most: usize,
    field: &'static str,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = usize::from(from.u16()?);
    if count > most {
        return Err(DecodeError::Field(field));
    }
    (0..count).map(|_| read(from)).collect()
}

fn write_payments(out: &mut Writer, payments: &[(B256, Wei)]) {
    write_list(out, payments, |out, (transaction, amount)| {
        out.raw(transaction.as_slice()).u128(*amount);
    });
}

fn read_payment(from: &mut Reader<'_>) -> Result<(B256, Wei), DecodeError> {
    Ok((B256::new(from.array()?), from.u128()?))
}

fn write_counted(out: &mut Writer, counted: &[B256]) {
    write_list(out, counted, |out, transaction| {
        out.raw(transaction.as_slice());
    });
}

fn read_counted(from: &mut Reader<'_>) -> Result<Vec<B256>, DecodeError> {
    read_list(from, RECENT, "number of transactions", |from| {
        from.array().map(B256::new)
    })
}

fn write_receipt(out: &mut Writer, receipt: Receipt) {
    out.u32(receipt.epoch)
        .u64(receipt.sequence)
        .u128(receipt.total);
    out.option(receipt.settled, |out, settled| {
        out.u128(settled);
    });
    out.raw(receipt.signature.as_bytes());
}

fn read_receipt(from: &mut Reader<'_>) -> Result<Receipt, DecodeError> {
    Ok(Receipt {
        epoch: from.u32()?,
        sequence: from.u64()?,
        total: from.u128()?,
        settled: from.option(Reader::u128)?,
        signature: CanonicalSignature::from_bytes(from.array()?)
            .ok_or(DecodeError::Field("signature"))?,
    })
}

impl Value for PayerBooks {
    const LAYOUT: u8 = 1;

    fn write(&self, out: &mut Writer) {
        out.raw(self.payer.as_slice()).u32(self.epoch);
        out.u128(self.base).u128(self.booked).u64(self.sequence);
        out.option(self.signed, write_receipt);
        out.u128(self.written_off).u128(self.final_credit);
        write_payments(out, &self.provisional);
        write_counted(out, &self.counted);
        out.u128(self.limit);
    }

    fn read(layout: u8, from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        only_first(layout)?;
        Ok(Self {
            payer: Address::new(from.array()?),
            epoch: from.u32()?,
            base: from.u128()?,
            booked: from.u128()?,
            sequence: from.u64()?,
            signed: from.option(read_receipt)?,
            written_off: from.u128()?,
            final_credit: from.u128()?,
            provisional: read_list(from, MAX_PROVISIONAL, "number of payments", read_payment)?,
            counted: read_counted(from)?,
            limit: from.u128()?,
        })
    }
}

impl Value for HopBooks {
    const LAYOUT: u8 = 1;

    fn write(&self, out: &mut Writer) {
        out.raw(&self.hop.0).u32(self.epoch);
        out.u128(self.base).u128(self.booked).u128(self.signed);
        out.u64(self.sequence).u128(self.paid);
        write_payments(out, &self.unconfirmed);
        write_counted(out, &self.counted);
        out.u32(self.disputes).bool(self.disputing);
    }

    fn read(layout: u8, from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        only_first(layout)?;
        Ok(Self {
            hop: NodeKey(from.array()?),
            epoch: from.u32()?,
            base: from.u128()?,
            booked: from.u128()?,
            signed: from.u128()?,
            sequence: from.u64()?,
            paid: from.u128()?,
            unconfirmed: read_list(from, MAX_NOTICES, "number of payments", read_payment)?,
            counted: read_counted(from)?,
            credit: None,
            disputes: from.u32()?,
            disputing: from.bool()?,
        })
    }
}
