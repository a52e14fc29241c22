//! The deterministic bytes that the built-in web server serves: any length,
//! the same on every run, and different at every offset, so that a lost,
//! repeated or swapped piece changes the hash. Serving them is not here.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Bytes handed to the HTTP stack at once. Large enough that serving costs
/// little, small enough that a slow reader holds little; guess.
pub const PIECE: usize = 64 * 1024;

/// Length of the pseudo-random block that repeats below the offsets; guess.
const BLOCK: usize = 1 << 20;

/// Hashes remembered, one per length asked for. Far more than the lengths any
/// test uses; a client that asks for others only costs time.
const MAX_REMEMBERED: usize = 256;

/// Longest content served, in bytes: 64 GiB, far above any test here.
pub const MAX_LEN: u64 = 64 << 30;

static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    // xorshift64*, seed arbitrary: nothing secret, only not compressible.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut out = Vec::with_capacity(BLOCK);
    while out.len() < BLOCK {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        out.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    out
});

static HASHES: Mutex<BTreeMap<u64, [u8; 32]>> = Mutex::new(BTreeMap::new());

/// The piece at `offset` of a content of `len` bytes: at most [`PIECE`] bytes,
/// empty at the end. `offset` must be a multiple of [`PIECE`].
#[must_use]
pub fn piece(offset: u64, len: u64) -> Bytes {
    let left = len.saturating_sub(offset);
    let size = usize::try_from(left.min(PIECE as u64)).expect("at most PIECE");
    if size == 0 {
        return Bytes::new();
    }
    debug_assert_eq!(offset % PIECE as u64, 0);
    let start = usize::try_from(offset % BLOCK as u64).expect("below BLOCK");
    let mut out = NOISE[start..start + size].to_vec();
    // The offset itself, so that pieces 1 MiB apart differ too.
    let mark = offset.to_be_bytes();
    let marked = size.min(mark.len());
    out[..marked].copy_from_slice(&mark[..marked]);
    Bytes::from(out)
}

/// At most `size` bytes of a content of `len` bytes from any offset on; never past the end of
/// a [`PIECE`], so ask again for the rest.
#[must_use]
pub fn range(offset: u64, size: usize, len: u64) -> Bytes {
    let within = offset % PIECE as u64;
    let whole = piece(offset - within, len);
    let start = usize::try_from(within)
        .expect("below PIECE")
        .min(whole.len());
    whole.slice(start..whole.len().min(start + size))
}

/// SHA-256 of the content of `len` bytes. Takes about half a second per GB the
/// first time, so call it off the runtime's threads; then it is remembered.
#[must_use]
pub fn sha256(len: u64) -> [u8; 32] {
    let known = HASHES
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&len)
        .copied();
    if let Some(hash) = known {
        return hash;
    }
    let mut hasher = Sha256::new();
    let mut offset = 0;
    while offset < len {
        let bytes = piece(offset, len);
        offset += bytes.len() as u64;
        hasher.update(&bytes);
    }
    let hash: [u8; 32] = hasher.finalize().into();
    let mut hashes = HASHES.lock().unwrap_or_else(PoisonError::into_inner);
    if hashes.len() < MAX_REMEMBERED {
        hashes.insert(len, hash);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_cut_at_the_end_and_differ_by_offset() {
        let len = 3 * BLOCK as u64 + 5;
        assert_eq!(piece(0, len).len(), PIECE);
        assert_ne!(piece(0, len), piece(BLOCK as u64, len));
        assert_eq!(piece(3 * BLOCK as u64, len).len(), 5);
        assert!(piece(3 * BLOCK as u64, 3 * BLOCK as u64).is_empty());
    }

    #[test]
    fn ranges_are_parts_of_pieces() {
        let len = 2 * PIECE as u64 + 10;
        let second = piece(PIECE as u64, len);
        assert_eq!(range(PIECE as u64 + 5, 7, len), second.slice(5..12));
        assert_eq!(range(PIECE as u64 + 5, 10 * PIECE, len), second.slice(5..));
        assert_eq!(range(len - 3, 100, len).len(), 3);
        assert!(range(len, 1, len).is_empty() && range(len + 9, 1, len).is_empty());
    }

    #[test]
    fn a_hash_is_the_hash_of_the_pieces() {
        let len = 2 * PIECE as u64 + 17;
        let mut all = Vec::new();
        while (all.len() as u64) < len {
            all.extend_from_slice(&piece(all.len() as u64, len));
        }
        assert_eq!(all.len() as u64, len);
        let expected: [u8; 32] = Sha256::digest(&all).into();
        assert_eq!(sha256(len), expected);
        assert_eq!(sha256(len), expected, "remembered");
        assert_eq!(sha256(0), <[u8; 32]>::from(Sha256::digest([])));
    }
}
