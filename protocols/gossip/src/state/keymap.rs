//! How maps by node key are hashed. Whoever invents nodes can choose their keys, so
//! the hash has a secret of its own in every map; keys are as good as random
//! already, so little more than that is needed, and it takes a fraction of the time
//! of what is built in.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Makes the hashers of one map.
#[derive(Debug, Clone)]
pub(super) struct KeyState {
    begin: u64,
    factor: u64,
}

impl Default for KeyState {
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            begin: random.hash_one(0u8),
            // Nothing is lost by multiplying with an odd number.
            factor: random.hash_one(1u8) | 1,
        }
    }
}

impl BuildHasher for KeyState {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        KeyHasher {
            state: self.begin,
            factor: self.factor,
        }
    }
}

/// Folds eight bytes at a time, by multiplication with the secret factor.
#[derive(Debug)]
pub(super) struct KeyHasher {
    state: u64,
    factor: u64,
}

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.state
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.factor);
        self.state = (product as u64) ^ ((product >> 64) as u64);
    }

    /// Lengths, which are the same for all keys.
    fn write_usize(&mut self, _: usize) {}
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::key::NodeKey;

    #[test]
    fn keys_that_differ_in_one_byte_are_told_apart_and_maps_differ() {
        let (one, other) = (KeyState::default(), KeyState::default());
        let keys: Vec<NodeKey> = (0..32)
            .flat_map(|at| {
                (1..=255).map(move |byte| {
                    let mut key = [0; 32];
                    key[at] = byte;
                    NodeKey(key)
                })
            })
            .collect();
        let hashes: HashSet<u64> = keys.iter().map(|key| one.hash_one(key)).collect();
        assert_eq!(hashes.len(), keys.len());
        assert!(
            keys.iter()
                .all(|key| one.hash_one(key) == one.hash_one(key))
        );
        assert!(
            keys.iter()
                .any(|key| one.hash_one(key) != other.hash_one(key))
        );
        // Both ends of the hash are used by maps: where to look, and what to compare first.
        let low: HashSet<u64> = hashes.iter().map(|hash| hash & 0xff).collect();
        let high: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
        assert_eq!((low.len(), high.len()), (256, 128));
    }
}
