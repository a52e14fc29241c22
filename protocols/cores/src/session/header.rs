//! The fixed header at the front of every cell's payload, and the hello that opens or resumes a session.
//!
//! Layout, big-endian (specification: "Session"):
//!
//! ```text
//! kind u8 | seq u64 | ack u64 | credit u32 | hello (kinds open and resume) or data
//! open:   version u8 | session 16
//! resume: version u8 | session 16 | attachment u32 | proof 32
//! ```
//!
//! Encoding only: what may follow what is in `machine.rs`.

use super::{ResumeProof, SessionId, SessionViolation};

/// Bytes of the header of every cell.
pub const HEADER_LEN: usize = 21;
/// Version of the session protocol.
const VERSION: u8 = 1;
const OPEN_LEN: usize = 17;
const RESUME_LEN: usize = OPEN_LEN + 4 + 32;

/// What a cell is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Data, or nothing but an acknowledgement and credit.
    Data,
    /// The first cell of a session.
    Open,
    /// The first cell of a session on another circuit.
    Resume,
    /// Nothing more will come.
    Close,
}

/// The header of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the cell is for.
    pub kind: Kind,
    /// Offset, in the sender's stream, of the first byte of data in this cell.
    pub seq: u64,
    /// How many bytes of the receiver's stream the sender has, in order.
    pub ack: u64,
    /// From the origin: how many cells in all the exit may have sent on this circuit. From the exit:
    /// zero, and ignored.
    pub credit: u32,
}

/// How a session presents itself on a circuit. Debug output shows a prefix of the identifier only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// A new session.
    Open {
        /// Its identifier, drawn by the origin.
        session: SessionId,
    },
    /// A session that the exit knows from another circuit.
    Resume {
        /// Its identifier.
        session: SessionId,
        /// Counts the circuits of the session; grows with each.
        attachment: u32,
        /// That the origin is the one that opened it.
        proof: ResumeProof,
    },
}

impl Header {
    /// Writes the header to the first [`HEADER_LEN`] bytes.
    ///
    /// # Panics
    /// When `out` is shorter; callers hold a cell.
    pub fn encode(&self, out: &mut [u8]) {
        out[0] = match self.kind {
            Kind::Data => 0,
            Kind::Open => 1,
            Kind::Resume => 2,
            Kind::Close => 3,
        };
        out[1..9].copy_from_slice(&self.seq.to_be_bytes());
        out[9..17].copy_from_slice(&self.ack.to_be_bytes());
        out[17..HEADER_LEN].copy_from_slice(&self.credit.to_be_bytes());
    }

    /// Reads the header, and gives what follows it.
    ///
    /// # Errors
    /// [`SessionViolation::Short`], [`SessionViolation::UnknownKind`].
    pub fn decode(payload: &[u8]) -> Result<(Self, &[u8]), SessionViolation> {
        let (head, rest) = payload
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(SessionViolation::Short)?;
        let (kind, head) = head.split_first().ok_or(SessionViolation::Short)?;
        let (seq, head) = take::<8>(head)?;
        let (ack, head) = take::<8>(head)?;
        let (credit, _) = take::<4>(head)?;
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::Open,
            2 => Kind::Resume,
            3 => Kind::Close,
            _ => return Err(SessionViolation::UnknownKind),
        };
        let header = Self {
            kind,
            seq: u64::from_be_bytes(*seq),
            ack: u64::from_be_bytes(*ack),
            credit: u32::from_be_bytes(*credit),
        };
        Ok((header, rest))
    }
}

impl Hello {
    /// The kind of cell that carries it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Open { .. } => Kind::Open,
            Self::Resume { .. } => Kind::Resume,
        }
    }

    /// The session that it names.
    pub fn session(&self) -> SessionId {
        match self {
            Self::Open { session } | Self::Resume { session, .. } => *session,
        }
    }

    /// Writes it, and says how many bytes that took.
    ///
    /// # Panics
    /// When `out` is too short; the smallest cell is not.
    pub fn encode(&self, out: &mut [u8]) -> usize {
        out[0] = VERSION;
        out[1..OPEN_LEN].copy_from_slice(&self.session().0);
        match self {
            Self::Open { .. } => OPEN_LEN,
            Self::Resume {
                attachment, proof, ..
            } => {
                out[OPEN_LEN..OPEN_LEN + 4].copy_from_slice(&attachment.to_be_bytes());
                out[OPEN_LEN + 4..RESUME_LEN].copy_from_slice(&proof.0);
                RESUME_LEN
            }
        }
    }

    /// Reads what follows the header of a cell that is not data.
    ///
    /// # Errors
    /// [`SessionViolation::Short`], [`SessionViolation::UnknownVersion`], or
    /// [`SessionViolation::Unexpected`] when cells of `kind` carry no hello.
    pub fn decode(kind: Kind, bytes: &[u8]) -> Result<Self, SessionViolation> {
        if matches!(kind, Kind::Data | Kind::Close) {
            return Err(SessionViolation::Unexpected);
        }
        let (version, bytes) = take::<1>(bytes)?;
        if *version != [VERSION] {
            return Err(SessionViolation::UnknownVersion);
        }
        let (session, bytes) = take::<16>(bytes)?;
        let session = SessionId(*session);
        if kind == Kind::Open {
            return Ok(Self::Open { session });
        }
        let (attachment, bytes) = take::<4>(bytes)?;
        let (proof, _) = take::<32>(bytes)?;
        Ok(Self::Resume {
            session,
            attachment: u32::from_be_bytes(*attachment),
            proof: ResumeProof(*proof),
        })
    }
}

fn take<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), SessionViolation> {
    bytes.split_first_chunk().ok_or(SessionViolation::Short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_bytes_of_every_kind() {
        let mut out = [0; 128];
        let header = Header {
            kind: Kind::Data,
            seq: 0x0102_0304_0506_0708,
            ack: 0x1112_1314_1516_1718,
            credit: 0x2122_2324,
        };
        header.encode(&mut out);
        assert_eq!(
            hex::encode(&out[..HEADER_LEN]),
            "000102030405060708111213141516171821222324"
        );
        let kinds = [(Kind::Open, 1), (Kind::Resume, 2), (Kind::Close, 3)];
        for (kind, byte) in kinds {
            Header { kind, ..header }.encode(&mut out);
            assert_eq!(out[0], byte);
            assert_eq!(Header::decode(&out).unwrap().0.kind, kind);
        }

        let session = SessionId(*b"0123456789abcdef");
        let n = Hello::Open { session }.encode(&mut out);
        assert_eq!(hex::encode(&out[..n]), "0130313233343536373839616263646566");
        let resume = Hello::Resume {
            session,
            attachment: 3,
            proof: ResumeProof([0xaa; 32]),
        };
        let n = resume.encode(&mut out);
        assert_eq!(
            hex::encode(&out[..n]),
            format!(
                "013031323334353637383961626364656600000003{}",
                "aa".repeat(32)
            )
        );
        assert_eq!(Hello::decode(Kind::Resume, &out[..n]), Ok(resume));
        assert_eq!(
            Hello::decode(Kind::Resume, &out[..n - 1]),
            Err(SessionViolation::Short)
        );
        assert_eq!(
            Hello::decode(Kind::Data, &out[..n]),
            Err(SessionViolation::Unexpected)
        );
        out[0] = 2;
        assert_eq!(
            Hello::decode(Kind::Open, &out),
            Err(SessionViolation::UnknownVersion)
        );
    }

    proptest! {
        #[test]
        fn decoding_never_panics_and_encodes_back(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok((header, rest)) = Header::decode(&bytes) {
                let mut out = bytes.clone();
                header.encode(&mut out);
                prop_assert_eq!(&out, &bytes);
                if let Ok(hello) = Hello::decode(header.kind, rest) {
                    let mut out = rest.to_vec();
                    hello.encode(&mut out);
                    prop_assert_eq!(&out[..], rest);
                }
            }
        }
    }
}
