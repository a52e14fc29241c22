//! What the two sides say to each other, byte for byte. All messages are flat, of a fixed length
//! per kind, and small enough for a slot of a report frame.

use alloy_primitives::{Address, B256};

use crate::codec::Reader;
use crate::eip712::{CanonicalSignature, Domain, SIGNATURE_LEN, hash_struct, word};
use crate::key::{CircuitRef, NodeKey};
use crate::rates::{Carried, Usage, Wei};
use crate::refusal::{Reason, Refusal};

/// Room in the slot that an origin fills for a hop.
pub const SLOT_TO_HOP: usize = 111;
/// Room that a hop has in its slot behind its load and counters.
pub const SLOT_FROM_HOP: usize = 93;

/// Length of a statement.
pub const STATEMENT_LEN: usize = 1 + 4 + 8 + 8 + 4 * 8 + 16 + 16 + 2;
/// Length of a receipt.
pub const RECEIPT_LEN: usize = 1 + 4 + 8 + 16 + 16 + SIGNATURE_LEN;
/// Length of a payment notice.
pub const NOTICE_LEN: usize = 1 + 32 + 16;
/// Length of the answer to one.
pub const ANSWER_LEN: usize = 1 + 32 + 1 + 16 + 16;
/// Length of a refusal.
pub const REFUSAL_LEN: usize = 1 + 1 + 16;
/// Length of a question.
pub const QUESTION_LEN: usize = 1 + 1;
/// Length of the longest message.
pub const MAX_MESSAGE_LEN: usize = RECEIPT_LEN;

const _: () = assert!(STATEMENT_LEN <= SLOT_FROM_HOP && ANSWER_LEN <= SLOT_FROM_HOP);
const _: () = assert!(REFUSAL_LEN <= SLOT_FROM_HOP && RECEIPT_LEN <= SLOT_TO_HOP);
const _: () = assert!(NOTICE_LEN <= SLOT_TO_HOP && QUESTION_LEN <= SLOT_TO_HOP);

const RECEIPT_TYPE: &str =
    "Receipt(address payer,bytes32 hop,uint32 epoch,uint64 sequence,uint128 total,uint128 settled)";

/// What stands for no word about ended circuits.
const NOT_SAID: Wei = Wei::MAX;

mod kind {
    pub(super) const STATEMENT: u8 = 1;
    pub(super) const RECEIPT: u8 = 2;
    pub(super) const NOTICE: u8 = 3;
    pub(super) const ANSWER: u8 = 4;
    pub(super) const REFUSAL: u8 = 5;
    pub(super) const QUESTION: u8 = 6;
}

/// A message of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// Hop to payer: what you owe by my books.
    Statement(Statement),
    /// Payer to hop: what I acknowledge.
    Receipt(Receipt),
    /// Payer to hop: I have paid.
    Notice(PaymentNotice),
    /// Hop to payer: what I see of that payment.
    Answer(NoticeAnswer),
    /// Either way: no, and why.
    Refusal(Refusal),
    /// Payer to hop: tell me.
    Question(Question),
}

/// One circuit in a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitUse {
    /// Which.
    pub circuit: CircuitRef,
    /// What was carried for it. Its price is that by the rates of its authorisation.
    pub usage: Usage,
}

/// What a payer owes a hop for its services, by the hop's books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// When the hop opened this account, in seconds since 1970. Totals count from there.
    pub epoch: u32,
    /// Grows with every statement of the epoch; a receipt repeats it.
    pub sequence: u64,
    /// The circuit that the statement travels on, if it does.
    pub circuit: Option<CircuitUse>,
    /// Price of everything carried since the epoch, that circuit included, in wei.
    pub total: Wei,
    /// How much more the hop will carry before it wants to be paid, in wei.
    pub credit: Wei,
    /// Circuits of this payer that are open at the hop, `circuit` not counted.
    pub others: u16,
}

/// What a payer acknowledges to have been carried for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// That of the statement.
    pub epoch: u32,
    /// That of the statement.
    pub sequence: u64,
    /// Price of everything since the epoch that the payer agrees to, in wei.
    pub total: Wei,
    /// Of that, what belongs to circuits that have ended; `None` (2^128 − 1 on the wire) when the
    /// payer cannot say, because other circuits are open or one has ended just now.
    pub settled: Option<Wei>,
    /// The payer's, over [`receipt_digest`].
    pub signature: CanonicalSignature,
}

/// Says that a transfer to the hop's earning wallet is on its way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PaymentNotice {
    /// Hash of the transaction.
    pub transaction: B256,
    /// How much of the token it brings to the hop, in wei.
    pub amount: Wei,
}

/// What a hop sees of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PaymentState {
    /// Not there, or there no more.
    Unknown,
    /// In a block, and credited for now.
    Provisional,
    /// Final.
    Final,
    /// There, and not what the notice says: the amount, the payer or the payee differs. What it
    /// does bring to the hop from the payer is credited.
    Mismatch,
}

/// Answers a notice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NoticeAnswer {
    /// Hash of the transaction.
    pub transaction: B256,
    /// What the hop sees of it.
    pub state: PaymentState,
    /// What it was credited with for this transaction, in wei.
    pub credited: Wei,
    /// How much more the hop will carry before it wants to be paid, in wei.
    pub credit: Wei,
}

/// What a payer wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Question {
    /// A statement, now.
    Statement,
    /// A new epoch: the payer has no memory of this one. What is paid for or acknowledged is
    /// taken out of the totals; it stays owed as far as it is not paid.
    Reopen,
}

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// A kind that this version does not know.
    #[error("unknown kind of message")]
    Kind(u8),
    /// Not the length or not the form of its kind.
    #[error("malformed message")]
    Malformed,
}

/// The EIP-712 digest of a receipt.
pub fn receipt_digest(
    domain: &Domain,
    payer: &Address,
    hop: &NodeKey,
    (epoch, sequence): (u32, u64),
    (total, settled): (Wei, Option<Wei>),
) -> B256 {
    domain.digest(hash_struct(
        RECEIPT_TYPE,
        &[
            payer.into_word(),
            hop.0.into(),
            word(epoch),
            word(sequence),
            word(total),
            word(settled.unwrap_or(NOT_SAID)),
        ],
    ))
}

impl std::fmt::Debug for PaymentNotice {
    /// Without the transaction: it names the wallet to whoever reads the chain.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PaymentNotice(..)")
    }
}

impl std::fmt::Debug for NoticeAnswer {
    /// Without the transaction, like the notice.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NoticeAnswer")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Receipt {
    /// Whether `payer` signed it for `hop`. About 160 µs.
    pub fn is_of(&self, domain: &Domain, payer: &Address, hop: &NodeKey) -> bool {
        let at = (self.epoch, self.sequence);
        let digest = receipt_digest(domain, payer, hop, at, (self.total, self.settled));
        self.signature.recover(&digest) == Some(*payer)
    }
}

impl PaymentState {
    const fn to_byte(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Provisional => 1,
            Self::Final => 2,
            Self::Mismatch => 3,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Unknown),
            1 => Some(Self::Provisional),
            2 => Some(Self::Final),
            3 => Some(Self::Mismatch),
            _ => None,
        }
    }
}

impl Message {
    /// Whether it is a payer who says such things (a refusal may come from either side).
    pub fn is_from_payer(&self) -> bool {
        matches!(self, Self::Receipt(_) | Self::Notice(_) | Self::Question(_))
    }

    /// Whether it is a hop who says such things (a refusal may come from either side).
    pub fn is_from_hop(&self) -> bool {
        matches!(self, Self::Statement(_) | Self::Answer(_))
    }

    /// At most [`MAX_MESSAGE_LEN`] bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(MAX_MESSAGE_LEN);
        match self {
            Self::Statement(statement) => statement.encode(&mut out),
            Self::Receipt(receipt) => receipt.encode(&mut out),
            Self::Notice(notice) => {
                out.push(kind::NOTICE);
                out.extend_from_slice(notice.transaction.as_slice());
                out.extend_from_slice(&notice.amount.to_be_bytes());
            }
            Self::Answer(answer) => {
                out.push(kind::ANSWER);
                out.extend_from_slice(answer.transaction.as_slice());
                out.push(answer.state.to_byte());
                out.extend_from_slice(&answer.credited.to_be_bytes());
                out.extend_from_slice(&answer.credit.to_be_bytes());
            }
            Self::Refusal(refusal) => {
                out.extend_from_slice(&[kind::REFUSAL, refusal.reason.to_byte()]);
                out.extend_from_slice(&refusal.figure.to_be_bytes());
            }
            Self::Question(question) => out.extend_from_slice(&[
                kind::QUESTION,
                match question {
                    Question::Statement => 1,
                    Question::Reopen => 2,
                },
            ]),
        }
        out
    }

    /// Reads a message; nothing may follow it.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let (kind, body) = bytes.split_first().ok_or(MessageError::Malformed)?;
        let mut reader = Reader::new(body);
        let message = match *kind {
            kind::STATEMENT => Statement::decode(&mut reader).map(Self::Statement),
            kind::RECEIPT => Receipt::decode(&mut reader).map(Self::Receipt),
            kind::NOTICE => PaymentNotice::decode(&mut reader).map(Self::Notice),
            kind::ANSWER => NoticeAnswer::decode(&mut reader).map(Self::Answer),
            kind::REFUSAL => decode_refusal(&mut reader).map(Self::Refusal),
            kind::QUESTION => match reader.u8() {
                Some(1) => Some(Self::Question(Question::Statement)),
                Some(2) => Some(Self::Question(Question::Reopen)),
                _ => None,
            },
            unknown => return Err(MessageError::Kind(unknown)),
        };
        message
            .filter(|_| reader.rest().is_empty())
            .ok_or(MessageError::Malformed)
    }
}

fn decode_refusal(reader: &mut Reader<'_>) -> Option<Refusal> {
    Some(Refusal {
        reason: Reason::from_byte(reader.u8()?),
        figure: reader.u128()?,
    })
}

impl Statement {
    fn encode(&self, out: &mut Vec<u8>) {
        let (circuit, usage) = match self.circuit {
            Some(in_use) => (in_use.circuit, in_use.usage),
            None => (CircuitRef([0; 8]), Usage::default()),
        };
        out.push(kind::STATEMENT);
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&circuit.0);
        for carried in [usage.over, usage.back] {
            out.extend_from_slice(&carried.cells.to_be_bytes());
            out.extend_from_slice(&carried.bytes.to_be_bytes());
        }
        out.extend_from_slice(&self.total.to_be_bytes());
        out.extend_from_slice(&self.credit.to_be_bytes());
        out.extend_from_slice(&self.others.to_be_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let epoch = reader.u32()?;
        let sequence = reader.u64()?;
        let circuit = CircuitRef(reader.array()?);
        let mut carried = || {
            Some(Carried {
                cells: reader.u64()?,
                bytes: reader.u64()?,
            })
        };
        let usage = Usage {
            over: carried()?,
            back: carried()?,
        };
        let circuit = if circuit == CircuitRef([0; 8]) {
            if usage != Usage::default() {
                return None;
            }
            None
        } else {
            Some(CircuitUse { circuit, usage })
        };
        Some(Self {
            epoch,
            sequence,
            circuit,
            total: reader.u128()?,
            credit: reader.u128()?,
            others: reader.u16()?,
        })
    }
}

impl Receipt {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(kind::RECEIPT);
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.total.to_be_bytes());
        out.extend_from_slice(&self.settled.unwrap_or(NOT_SAID).to_be_bytes());
        out.extend_from_slice(self.signature.as_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            epoch: reader.u32()?,
            sequence: reader.u64()?,
            total: reader.u128()?,
            settled: Some(reader.u128()?).filter(|settled| *settled != NOT_SAID),
            signature: CanonicalSignature::from_bytes(reader.array()?)?,
        })
    }
}

impl PaymentNotice {
    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            transaction: reader.array::<32>()?.into(),
            amount: reader.u128()?,
        })
    }
}

impl NoticeAnswer {
    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            transaction: reader.array::<32>()?.into(),
            state: PaymentState::from_byte(reader.u8()?)?,
            credited: reader.u128()?,
            credit: reader.u128()?,
        })
    }
}

/// Length of the longest [`Envelope`].
pub const MAX_ENVELOPE_LEN: usize = 20 + MAX_MESSAGE_LEN;

/// A message with the wallet whose account it is about: what travels where no circuit says which
/// account is meant, on a direct link and in a flow to the hop's service.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    /// The payer.
    pub payer: Address,
    /// What is said.
    pub message: Message,
}

impl Envelope {
    /// payer 20 ‖ message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.payer.to_vec();
        out.extend_from_slice(&self.message.encode());
        out
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let (payer, message) = bytes.split_at_checked(20).ok_or(MessageError::Malformed)?;
        Ok(Self {
            payer: Address::from_slice(payer),
            message: Message::decode(message)?,
        })
    }
}

impl std::fmt::Debug for Envelope {
    /// Without the wallet: logs show none.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Envelope")
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
