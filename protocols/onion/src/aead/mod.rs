//! The seam to AES: one GCM key, one CTR key, and the counter both draw their
//! nonces from. Everything else in this crate names only these; which
//! implementation is behind them is decided here and nowhere else.
//!
//! Both types keep their key schedule, work in place and allocate nothing once
//! built. Keys are wiped on drop by either backend (aws-lc cleanses what it
//! frees, the pure one through its `zeroize` features).

#[cfg(feature = "aws-lc")]
pub mod aws;
pub mod pure;
#[cfg(test)]
pub(crate) mod record;
#[cfg(test)]
mod tests;

use crate::error::CellError;

#[cfg(feature = "aws-lc")]
use aws as active;
#[cfg(not(feature = "aws-lc"))]
use pure as active;

/// Length of an AES-256 key.
pub(crate) const KEY_LEN: usize = 32;
/// Length of every authentication tag (GCM's own, and HMAC-SHA256 cut short).
pub(crate) const TAG_LEN: usize = 16;
const NONCE_LEN: usize = 12;
const BLOCK: usize = 16;
/// GCM uses block 1 for the tag; the text begins at block 2 (NIST SP 800-38D).
pub(crate) const GCM_FIRST_BLOCK: u32 = 2;

/// Cells (or frames) under one key at most. From the specification: with
/// 16 KiB cells this is 2^42 blocks, which leaves GCM a distinguishing
/// advantage of about 2^-44.
pub(crate) const MESSAGES_PER_KEY: u64 = 1 << 32;

/// AES-256-GCM as a backend offers it.
pub trait Gcm {
    /// Expands the key.
    fn new(key: &[u8; 32]) -> Self;
    /// Encrypts in place and returns the tag.
    fn seal(&self, nonce: &[u8; 12], text: &mut [u8]) -> [u8; 16];
    /// Checks and decrypts in place; `false`, with `text` unspecified, if it is not authentic.
    fn open(&self, nonce: &[u8; 12], tag: &[u8; 16], text: &mut [u8]) -> bool;
}

/// AES-256-CTR as a backend offers it.
pub trait Ctr {
    /// Expands the key.
    fn new(key: &[u8; 32]) -> Self;
    /// XORs the key stream that begins at counter block `iv` onto `text`.
    fn apply(&self, iv: &[u8; 16], text: &mut [u8]);
}

fn nonce(counter: u64) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

/// An AES-256-GCM key whose nonces are counters.
pub(crate) struct GcmKey {
    inner: active::AesGcm,
    #[cfg(test)]
    id: [u8; KEY_LEN],
}

impl GcmKey {
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        Self {
            inner: Gcm::new(key),
            #[cfg(test)]
            id: *key,
        }
    }

    /// Seals `sealed[16..]` in place and puts the tag in `sealed[..16]`.
    pub(crate) fn seal(&self, counter: u64, sealed: &mut [u8]) {
        let (tag, text) = sealed.split_at_mut(TAG_LEN);
        #[cfg(test)]
        record::gcm(&self.id, counter, text.len());
        tag.copy_from_slice(&self.inner.seal(&nonce(counter), text));
    }

    /// Opens what [`Self::seal`] made; the text is then in `sealed[16..]`.
    pub(crate) fn open(&self, counter: u64, sealed: &mut [u8]) -> Result<(), CellError> {
        let (tag, text) = sealed
            .split_first_chunk_mut::<TAG_LEN>()
            .ok_or(CellError::Authentication)?;
        if self.inner.open(&nonce(counter), tag, text) {
            Ok(())
        } else {
            Err(CellError::Authentication)
        }
    }
}

/// Why a key stream is applied. Only tests look at it: they hold that no two
/// encryptions ever share a key and a counter range.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// New text goes under this part of the key stream.
    Encrypt,
    /// The key stream is removed, or is laid on in advance so that a later
    /// encryption by somebody else cancels it.
    Undo,
}

/// An AES-256-CTR key: 96 bits of message counter, then 32 bits of block
/// counter, so key streams of neighbouring messages never overlap.
pub(crate) struct CtrKey {
    inner: active::AesCtr,
    #[cfg(test)]
    id: [u8; KEY_LEN],
}

impl CtrKey {
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        Self {
            inner: Ctr::new(key),
            #[cfg(test)]
            id: *key,
        }
    }

    /// XORs the key stream of message `counter`, from block `first_block` on, onto `text`.
    pub(crate) fn apply(&self, purpose: Purpose, counter: u64, first_block: u32, text: &mut [u8]) {
        #[cfg(test)]
        if purpose == Purpose::Encrypt {
            record::ctr(&self.id, counter, first_block, text.len());
        }
        #[cfg(not(test))]
        let _ = purpose;
        let mut iv = [0; BLOCK];
        iv[..NONCE_LEN].copy_from_slice(&nonce(counter));
        iv[NONCE_LEN..].copy_from_slice(&first_block.to_be_bytes());
        self.inner.apply(&iv, text);
    }
}

/// Counts messages under one key and refuses before a nonce could repeat.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counter(u64);

impl Counter {
    /// The number of the message that comes next.
    ///
    /// # Errors
    /// [`CellError::Exhausted`] when the key has carried all it may.
    pub(crate) fn peek(self) -> Result<u64, CellError> {
        if self.0 < MESSAGES_PER_KEY {
            Ok(self.0)
        } else {
            Err(CellError::Exhausted)
        }
    }

    /// As [`Self::peek`], and moves on.
    pub(crate) fn next(&mut self) -> Result<u64, CellError> {
        let now = self.peek()?;
        self.0 += 1;
        Ok(now)
    }

    /// How many were taken.
    pub(crate) fn taken(self) -> u64 {
        self.0
    }

    #[cfg(test)]
    pub(crate) fn at(count: u64) -> Self {
        Self(count)
    }
}
