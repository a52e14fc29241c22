//! Proofs of lies: what a node signed and no honest node signs. Whoever holds
//! one can check it alone, so it is passed on without anybody being believed.
//! What follows from one is in `state::judging`.
//!
//! [`Proof`] is the domain type: the only ways to get one are to find it among
//! records that were verified here and to parse and verify it.
//! Layout and rules: `docs/spec/gossip.md`, "Proofs and bans".

use std::fmt;

use crate::chain::Chain;
use crate::key::NodeKey;
use crate::record::{self, MAX_RECORD_LEN, RecordError, SignedRecord};

/// Most records in a proof.
pub const MAX_PROOF_RECORDS: usize = 2;
/// Upper bound of a proof as evidence, in bytes: each record stands after its length in two bytes.
pub const MAX_EVIDENCE_LEN: usize = MAX_PROOF_RECORDS * (2 + MAX_RECORD_LEN);

/// What a proof shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Lie {
    /// Two different records of one node with one version.
    Equivocation,
    /// A record that lists more than five neighbours.
    OverCap,
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equivocation => "it signed two different records with one version",
            Self::OverCap => "it signed a record that lists more than five neighbours",
        })
    }
}

/// Why records prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// Neither one record nor two, or bytes that are no list of records.
    #[error("a proof is one or two records")]
    Shape,
    /// One of them is malformed, or its signature is wrong.
    #[error("a record of the proof is not acceptable: {0}")]
    Record(#[from] RecordError),
    /// Both say the same; one may carry two signatures.
    #[error("the two records say the same")]
    Same,
    /// Of different nodes or chains, or with different versions.
    #[error("the two records are not of one node, one chain and one version")]
    Unrelated,
    /// A single record that lists no more neighbours than it may.
    #[error("the record keeps the rules")]
    Lawful,
    /// One of the records has expired, or is issued too far in the future.
    #[error("the records of the proof are not valid now")]
    Time,
}

/// Records that prove a lie, verified here.
#[derive(Clone, PartialEq, Eq)]
pub struct Proof {
    lie: Lie,
    chain: Chain,
    node: NodeKey,
    version: u64,
    /// How many neighbours are listed, in the record that lists more.
    listed: usize,
    /// When the later one was issued, and when the first one expires.
    issued: u64,
    expires: u64,
    records: Vec<Vec<u8>>,
}

impl Proof {
    /// From records as they travel: two for an equivocation, one for a list over the cap. The
    /// clock is not looked at, see [`Proof::check_time`]; nor is it checked which chain they are for.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn parse<B: AsRef<[u8]>>(records: &[B]) -> Result<Self, ProofError> {
        match records {
            [one] => Self::over_cap(one.as_ref()),
            [one, other] => {
                let one = SignedRecord::parse(one.as_ref())?;
                let other = SignedRecord::parse(other.as_ref())?;
                Self::equivocation(&one, &other)
            }
            _ => Err(ProofError::Shape),
        }
    }

    /// From two verified records.
    ///
    /// # Errors
    /// [`ProofError::Unrelated`] or [`ProofError::Same`].
    pub fn equivocation(one: &SignedRecord, other: &SignedRecord) -> Result<Self, ProofError> {
        let key = |record: &SignedRecord| (record.node, record.chain, record.version);
        if key(one) != key(other) {
            return Err(ProofError::Unrelated);
        }
        // By content: a signer can make any number of signatures of one content.
        if one.hash() == other.hash() {
            return Err(ProofError::Same);
        }
        let mut pair = [one, other];
        pair.sort_unstable_by_key(|record| *record.hash());
        Ok(Self {
            lie: Lie::Equivocation,
            chain: one.chain,
            node: one.node,
            version: one.version,
            listed: one.neighbours.len().max(other.neighbours.len()),
            issued: one.issued.max(other.issued),
            expires: one.expires.min(other.expires),
            records: pair.map(|record| record.bytes().to_vec()).to_vec(),
        })
    }

    /// From one record that lists too many neighbours.
    ///
    /// # Errors
    /// [`ProofError::Record`] or [`ProofError::Lawful`].
    pub fn over_cap(bytes: &[u8]) -> Result<Self, ProofError> {
        let record = record::parse_over_cap(bytes)?.ok_or(ProofError::Lawful)?;
        Ok(Self {
            lie: Lie::OverCap,
            chain: record.chain,
            node: record.node,
            version: record.version,
            listed: record.neighbours.len(),
            issued: record.issued,
            expires: record.expires,
            records: vec![bytes.to_vec()],
        })
    }

    /// From [`Proof::evidence`].
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn from_evidence(evidence: &[u8]) -> Result<Self, ProofError> {
        let mut records = Vec::new();
        let mut rest = evidence;
        while !rest.is_empty() && records.len() < MAX_PROOF_RECORDS {
            let (len, body) = rest.split_first_chunk().ok_or(ProofError::Shape)?;
            let len = usize::from(u16::from_be_bytes(*len));
            let (record, after) = body.split_at_checked(len).ok_or(ProofError::Shape)?;
            records.push(record);
            rest = after;
        }
        if rest.is_empty() {
            Self::parse(&records)
        } else {
            Err(ProofError::Shape)
        }
    }

    /// Whether all its records are valid at `unix` seconds. An old proof counts no more: so a
    /// ban that has ended or was lifted is not imposed again for the same lie.
    ///
    /// # Errors
    /// [`ProofError::Time`].
    pub fn check_time(&self, unix: u64) -> Result<(), ProofError> {
        record::check_time(self.issued, self.expires, unix).map_err(|_| ProofError::Time)
    }

    /// What it shows.
    pub fn lie(&self) -> Lie {
        self.lie
    }

    /// Who lied.
    pub fn node(&self) -> NodeKey {
        self.node
    }

    /// On which chain.
    pub fn chain(&self) -> Chain {
        self.chain
    }

    /// The version of its records.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How many neighbours are listed, in the record that lists more.
    pub fn listed(&self) -> usize {
        self.listed
    }

    /// Until when it counts, in seconds since 1970.
    pub fn expires(&self) -> u64 {
        self.expires
    }

    /// The records as they travel; of two, the one with the smaller hash first.
    pub fn records(&self) -> &[Vec<u8>] {
        &self.records
    }

    /// The proof in one piece: each record after its length in two bytes, big-endian. At most
    /// [`MAX_EVIDENCE_LEN`] bytes.
    pub fn evidence(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(MAX_EVIDENCE_LEN);
        for record in &self.records {
            out.extend_from_slice(&(record.len() as u16).to_be_bytes());
            out.extend_from_slice(record);
        }
        out
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lie, node, version) = (self.lie, self.node, self.version);
        write!(f, "Proof({lie:?} of {node:?} v{version})")
    }
}

#[cfg(test)]
mod tests;
