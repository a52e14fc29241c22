//! How the accounts of the settlement protocol are laid out in the store.

use alloy_primitives::{Address, B256};
use masq_settlement::state::limits::{MAX_NOTICES, MAX_PROVISIONAL, RECENT};
use masq_settlement::state::{HopBooks, PayerBooks};
use masq_settlement::{CanonicalSignature, NodeKey, Receipt};

use crate::ledger::{DecodeError, Reader, Row, Table, Wei, Writer, opaque_debug};

/// A payer's account as a row.
#[derive(Clone, PartialEq, Eq)]
pub struct PayerRow(pub PayerBooks);

/// A hop's account as a row; its `credit` is not stored.
#[derive(Clone, PartialEq, Eq)]
pub struct HopRow(pub HopBooks);

opaque_debug!(PayerRow, HopRow);

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

impl Row for PayerRow {
    fn table(&self) -> Table {
        Table::PayerAccounts
    }

    fn key(&self) -> Vec<u8> {
        self.0.payer.to_vec()
    }

    fn write(&self, out: &mut Writer) {
        let Self(books) = self;
        out.raw(books.payer.as_slice()).u32(books.epoch);
        out.u128(books.base).u128(books.booked).u64(books.sequence);
        out.option(books.signed, write_receipt);
        out.u128(books.written_off).u128(books.final_credit);
        write_payments(out, &books.provisional);
        write_counted(out, &books.counted);
        out.u128(books.limit);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(PayerBooks {
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
        }))
    }
}

impl Row for HopRow {
    fn table(&self) -> Table {
        Table::HopAccounts
    }

    fn key(&self) -> Vec<u8> {
        self.0.hop.0.to_vec()
    }

    fn write(&self, out: &mut Writer) {
        let Self(books) = self;
        out.raw(&books.hop.0).u32(books.epoch);
        out.u128(books.base).u128(books.booked).u128(books.signed);
        out.u64(books.sequence).u128(books.paid);
        write_payments(out, &books.unconfirmed);
        write_counted(out, &books.counted);
        out.u32(books.disputes).bool(books.disputing);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(HopBooks {
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
        }))
    }
}
