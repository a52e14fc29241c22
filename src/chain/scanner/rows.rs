//! What the scanner keeps: transfers and how far it has come.

use alloy_primitives::{Address, B256};

use crate::ledger::{DecodeError, Reader, Row, Table, Wei, Writer, opaque_debug};

/// Names a log for ever: a transaction that comes into another block is another log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogKey {
    /// Hash of the block.
    pub block: B256,
    /// Hash of the transaction.
    pub tx: B256,
    /// Place of the log in the block.
    pub index: u64,
}

/// A transfer to the earning wallet that is not final.
#[derive(Clone, PartialEq, Eq)]
pub struct Credit {
    /// Which log it is.
    pub key: LogKey,
    /// Number of its block.
    pub number: u64,
    /// Who paid.
    pub payer: Address,
    /// How much.
    pub amount: Wei,
}

impl Credit {
    fn write_fields(&self, out: &mut Writer) {
        out.raw(self.key.block.as_slice())
            .raw(self.key.tx.as_slice());
        out.u64(self.key.index).u64(self.number);
        out.raw(self.payer.as_slice()).u128(self.amount);
    }
}

impl Row for Credit {
    fn table(&self) -> Table {
        Table::Provisional
    }

    fn key(&self) -> Vec<u8> {
        let LogKey { block, tx, index } = &self.key;
        [block.as_slice(), tx.as_slice(), &index.to_be_bytes()].concat()
    }

    fn write(&self, out: &mut Writer) {
        self.write_fields(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            key: LogKey {
                block: from.array().map(B256::new)?,
                tx: from.array().map(B256::new)?,
                index: from.u64()?,
            },
            number: from.u64()?,
            payer: Address::new(from.array()?),
            amount: from.u128()?,
        })
    }
}

/// A transfer that is final and credited.
#[derive(Clone, PartialEq, Eq)]
pub struct Booked(pub Credit);

impl Row for Booked {
    fn table(&self) -> Table {
        Table::Credits
    }

    fn key(&self) -> Vec<u8> {
        self.0.key()
    }

    fn write(&self, out: &mut Writer) {
        self.0.write_fields(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Credit::read(from).map(Self)
    }
}

/// How far everything is final and booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The first block that is not.
    pub next: u64,
    /// Hash of the block before it; `None` before there was one.
    pub hash: Option<B256>,
}

impl Row for Cursor {
    fn table(&self) -> Table {
        Table::Cursor
    }

    fn key(&self) -> Vec<u8> {
        Vec::new()
    }

    fn write(&self, out: &mut Writer) {
        out.u64(self.next).bool(self.hash.is_some());
        out.raw(self.hash.unwrap_or_default().as_slice());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (next, there) = (from.u64()?, from.bool()?);
        let hash = from.array().map(B256::new)?;
        Ok(Self {
            next,
            hash: there.then_some(hash),
        })
    }
}

opaque_debug!(Credit, Booked);
