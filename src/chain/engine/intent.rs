//! Payments as they are written down, before anything is sent.

use std::fmt;

use alloy_primitives::{Address, B256, Bytes};

use crate::ledger::{DecodeError, Payee, Reader, Row, Table, Wei, Writer, opaque_debug};

/// Most payees of one payment. Gas of a batch of 50: some 11,000 each, more gains little.
pub const MAX_LEGS: usize = 50;
/// Most signed variants of a payment. Each raises the fees by an eighth: twenty are ten times.
pub const MAX_VARIANTS: usize = 20;

/// What one payee gets in a payment.
#[derive(Clone, PartialEq, Eq)]
pub struct Leg {
    /// Who.
    pub payee: Payee,
    /// Of what is due.
    pub due: Wei,
    /// In advance.
    pub advance: Wei,
    /// Since when it was due.
    pub since: Option<u64>,
}

impl Leg {
    /// What the payee gets. The sum was checked when the leg was made; a leg read from disk is
    /// checked there.
    pub fn amount(&self) -> Wei {
        self.due.saturating_add(self.advance)
    }
}

/// What a transaction of the engine is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One transfer to one wallet.
    Transfer,
    /// Many transfers through the disperse contract.
    Batch,
    /// Allows the disperse contract to move so much.
    Approve(Wei),
}

/// One signed form of a payment. All have the same nonce, so at most one is ever in the chain.
#[derive(Clone, PartialEq, Eq)]
pub struct Variant {
    /// Its hash.
    pub hash: B256,
    /// Its bytes.
    pub raw: Bytes,
    /// Most wei for a unit of gas.
    pub max_fee: u128,
    /// Of which for the block's builder.
    pub tip: u128,
    /// Whether it does nothing but use up the nonce.
    pub cancels: bool,
}

/// A payment that is written down and not final.
#[derive(Clone, PartialEq, Eq)]
pub struct Intent {
    /// Its nonce, for ever.
    pub nonce: u64,
    /// What it is for.
    pub kind: Kind,
    /// Who gets what.
    pub legs: Vec<Leg>,
    /// Gas limit of its variants.
    pub gas: u64,
    /// When it was made, in seconds since 1970.
    pub made: u64,
    /// Its signed forms, oldest first. Never empty.
    pub variants: Vec<Variant>,
}

impl Intent {
    /// What it moves, or allows to move.
    pub fn value(&self) -> Wei {
        match self.kind {
            Kind::Approve(amount) => amount,
            Kind::Transfer | Kind::Batch => total(&self.legs),
        }
    }
}

/// What legs move together.
pub(super) fn total(legs: &[Leg]) -> Wei {
    // Below the sum of all debts, which fits.
    legs.iter()
        .fold(0, |sum: Wei, leg| sum.saturating_add(leg.amount()))
}

impl Row for Intent {
    fn table(&self) -> Table {
        Table::Intents
    }

    fn key(&self) -> Vec<u8> {
        self.nonce.to_be_bytes().to_vec()
    }

    fn write(&self, out: &mut Writer) {
        out.u64(self.nonce).u64(self.gas).u64(self.made);
        match self.kind {
            Kind::Transfer => out.u8(0),
            Kind::Batch => out.u8(1),
            Kind::Approve(amount) => out.u8(2).u128(amount),
        };
        write_legs(out, &self.legs);
        out.u8(self.variants.len() as u8);
        for variant in &self.variants {
            out.raw(variant.hash.as_slice()).blob(&variant.raw);
            out.u128(variant.max_fee).u128(variant.tip);
            out.bool(variant.cancels);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (nonce, gas, made) = (from.u64()?, from.u64()?, from.u64()?);
        let kind = match from.u8()? {
            0 => Kind::Transfer,
            1 => Kind::Batch,
            2 => Kind::Approve(from.u128()?),
            _ => return Err(DecodeError::Field("kind")),
        };
        let legs = read_legs(from)?;
        let count = usize::from(from.u8()?);
        if count == 0 || count > MAX_VARIANTS {
            return Err(DecodeError::Field("number of variants"));
        }
        let variants = (0..count).map(|_| {
            Ok(Variant {
                hash: from.array().map(B256::new)?,
                raw: Bytes::copy_from_slice(from.blob()?),
                max_fee: from.u128()?,
                tip: from.u128()?,
                cancels: from.bool()?,
            })
        });
        let variants = variants.collect::<Result<_, DecodeError>>()?;
        Ok(Self {
            nonce,
            kind,
            legs,
            gas,
            made,
            variants,
        })
    }
}

fn write_legs(out: &mut Writer, legs: &[Leg]) {
    out.u16(legs.len() as u16);
    for leg in legs {
        out.raw(leg.payee.wallet.as_slice()).raw(&leg.payee.hop);
        out.u128(leg.due).u128(leg.advance).option_u64(leg.since);
    }
}

fn read_legs(from: &mut Reader<'_>) -> Result<Vec<Leg>, DecodeError> {
    let count = usize::from(from.u16()?);
    if count > MAX_LEGS {
        return Err(DecodeError::Field("number of payees"));
    }
    let legs = (0..count).map(|_| {
        let leg = Leg {
            payee: Payee {
                wallet: Address::new(from.array()?),
                hop: from.array()?,
            },
            due: from.u128()?,
            advance: from.u128()?,
            since: from.option_u64()?,
        };
        let fits = leg.due.checked_add(leg.advance).is_some();
        fits.then_some(leg).ok_or(DecodeError::Field("amount"))
    });
    legs.collect()
}

/// What became of a payment, finally.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The payees have it.
    Paid,
    /// It is in the chain and did nothing.
    Failed,
    /// A cancellation took its place.
    Cancelled,
    /// A transaction that was not made here took its place.
    Foreign,
    /// It is in the chain and moved tokens of the wallet, but not to whom it should have.
    Astray,
}

/// A payment that is final, for the record.
#[derive(Clone, PartialEq, Eq)]
pub struct Settled {
    /// Its nonce.
    pub nonce: u64,
    /// The transaction that is in the chain; zero when it is not ours.
    pub hash: B256,
    /// When that was known, in seconds since 1970.
    pub at: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// Who got what, or should have.
    pub legs: Vec<Leg>,
}

impl Row for Settled {
    fn table(&self) -> Table {
        Table::Payments
    }

    fn key(&self) -> Vec<u8> {
        self.nonce.to_be_bytes().to_vec()
    }

    fn write(&self, out: &mut Writer) {
        out.u64(self.nonce).raw(self.hash.as_slice()).u64(self.at);
        out.u8(match self.outcome {
            Outcome::Paid => 0,
            Outcome::Failed => 1,
            Outcome::Cancelled => 2,
            Outcome::Foreign => 3,
            Outcome::Astray => 4,
        });
        write_legs(out, &self.legs);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            nonce: from.u64()?,
            hash: from.array().map(B256::new)?,
            at: from.u64()?,
            outcome: match from.u8()? {
                0 => Outcome::Paid,
                1 => Outcome::Failed,
                2 => Outcome::Cancelled,
                3 => Outcome::Foreign,
                4 => Outcome::Astray,
                _ => return Err(DecodeError::Field("outcome")),
            },
            legs: read_legs(from)?,
        })
    }
}

/// What the engine remembers besides its payments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Meta {
    /// The next nonce; `None` before the chain was asked for it.
    pub next: Option<u64>,
    /// Whether the user has paused payments.
    pub paused: bool,
    /// The day (since 1970) of `spent`.
    pub day: u64,
    /// Reserved on that day.
    pub spent: Wei,
}

impl Row for Meta {
    fn table(&self) -> Table {
        Table::Engine
    }

    fn key(&self) -> Vec<u8> {
        Vec::new()
    }

    fn write(&self, out: &mut Writer) {
        out.option_u64(self.next).bool(self.paused);
        out.u64(self.day).u128(self.spent);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            next: from.option_u64()?,
            paused: from.bool()?,
            day: from.u64()?,
            spent: from.u128()?,
        })
    }
}

/// Shows the nonce and how many variants there are.
impl fmt::Debug for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intent")
            .field("nonce", &self.nonce)
            .field("variants", &self.variants.len())
            .finish_non_exhaustive()
    }
}

opaque_debug!(Leg, Variant, Settled);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back() {
        let leg = Leg {
            payee: Payee {
                wallet: Address::repeat_byte(1),
                hop: [2; 32],
            },
            due: 3,
            advance: 4,
            since: Some(5),
        };
        let variant = Variant {
            hash: B256::repeat_byte(6),
            raw: Bytes::from_static(&[7; 100]),
            max_fee: 8,
            tip: 9,
            cancels: false,
        };
        for kind in [Kind::Transfer, Kind::Batch, Kind::Approve(11)] {
            let intent = Intent {
                nonce: 12,
                kind,
                legs: vec![leg.clone(); 3],
                gas: 13,
                made: 14,
                variants: vec![variant.clone(); 2],
            };
            assert!(Intent::decode(&intent.encode()).unwrap() == intent);
        }
        let settled = Settled {
            nonce: 1,
            hash: B256::repeat_byte(2),
            at: 3,
            outcome: Outcome::Cancelled,
            legs: vec![leg],
        };
        assert!(Settled::decode(&settled.encode()).unwrap() == settled);
        let meta = Meta {
            next: Some(4),
            paused: true,
            day: 5,
            spent: 6,
        };
        assert_eq!(Meta::decode(&meta.encode()), Ok(meta));
    }
}
