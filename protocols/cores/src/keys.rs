//! The node's onion keys in memory: the current one, the one before for as long as it is
//! valid, and which set-ups were seen under them.
//!
//! Nothing here is ever written to disk: a new process has new keys, and so cannot be
//! replayed into.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use masq_onion::{OnionPublic, OnionSecret, PeelError, Peeled, SetupPackage};
use rand_core::CryptoRng;

use crate::limits::{REFUSED_IDS, REPLAY_IDS};

/// How often a host should call [`OnionKeys::rotate`].
pub const ONION_KEY_LIFE: Duration = Duration::from_secs(3600);

/// How long the key before stays valid: as long as a record that names it can live.
pub const ONION_KEY_OVERLAP: Duration = Duration::from_secs(1800);

/// The two public keys to put into a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnionPublics {
    /// The key that new circuits should use.
    pub current: OnionPublic,
    /// The one before, while it is still valid.
    pub previous: Option<OnionPublic>,
}

/// Why a package id was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unseen {
    /// It was seen before.
    #[error("set-up seen before")]
    Replay,
    /// The set is full; nothing more is taken until the keys turn.
    #[error("replay set is full")]
    Full,
}

/// Onion keys and replay sets of one node.
pub struct OnionKeys {
    current: Arc<OnionSecret>,
    previous: Option<(Arc<OnionSecret>, Instant)>,
    /// Ids seen since the current key began.
    seen: HashSet<[u8; 16]>,
    /// Ids seen while the one before was current; goes when that key goes.
    seen_before: HashSet<[u8; 16]>,
    /// Ids for which a refusal was sealed, and as before.
    refused: HashSet<[u8; 16]>,
    refused_before: HashSet<[u8; 16]>,
}

impl OnionKeys {
    /// One fresh key and nothing seen.
    pub fn new<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self {
            current: Arc::new(OnionSecret::generate(rng)),
            previous: None,
            seen: HashSet::new(),
            seen_before: HashSet::new(),
            refused: HashSet::new(),
            refused_before: HashSet::new(),
        }
    }

    /// Makes a new key; the present one stays valid for [`ONION_KEY_OVERLAP`].
    pub fn rotate<R: CryptoRng + ?Sized>(&mut self, now: Instant, rng: &mut R) {
        let old = std::mem::replace(&mut self.current, Arc::new(OnionSecret::generate(rng)));
        self.previous = Some((old, now + ONION_KEY_OVERLAP));
        self.seen_before = std::mem::take(&mut self.seen);
        self.refused_before = std::mem::take(&mut self.refused);
    }

    /// Forgets the key before once its time is over. To be called now and then, and
    /// before keys are used.
    pub fn expire(&mut self, now: Instant) {
        if self
            .previous
            .as_ref()
            .is_some_and(|(_, until)| *until <= now)
        {
            self.previous = None;
            self.seen_before = HashSet::new();
            self.refused_before = HashSet::new();
        }
    }

    /// What to publish.
    pub fn publics(&self) -> OnionPublics {
        OnionPublics {
            current: self.current.public(),
            previous: self.previous.as_ref().map(|(key, _)| key.public()),
        }
    }

    /// The keys that are valid, to peel with outside of any lock.
    pub fn valid(&self) -> ValidKeys {
        ValidKeys {
            current: self.current.clone(),
            previous: self.previous.as_ref().map(|(key, _)| key.clone()),
        }
    }

    /// Whether a package id was seen, or refused, under a key that is still valid.
    pub fn was_seen(&self, id: &[u8; 16]) -> bool {
        [
            &self.seen,
            &self.seen_before,
            &self.refused,
            &self.refused_before,
        ]
        .iter()
        .any(|set| set.contains(id))
    }

    /// Takes note of a package id. Only to be called once its tag and its authorisation
    /// have passed, so that nobody fills the set from outside.
    ///
    /// # Errors
    /// The id was there already, or the set is full: refuse the set-up in either case.
    pub fn remember(&mut self, id: [u8; 16]) -> Result<(), Unseen> {
        if self.was_seen(&id) {
            return Err(Unseen::Replay);
        }
        if self.seen.len() >= REPLAY_IDS {
            return Err(Unseen::Full);
        }
        self.seen.insert(id);
        Ok(())
    }

    /// Whether a refusal of this package may be sealed with its keys: once only, since
    /// the same keys sealing twice would give them away. Where it may not, refuse in plain.
    pub fn may_seal_refusal(&mut self, id: [u8; 16]) -> bool {
        !self.was_seen(&id) && self.refused.len() < REFUSED_IDS && self.refused.insert(id)
    }
}

impl std::fmt::Debug for OnionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnionKeys")
            .field("seen", &self.seen.len())
            .finish_non_exhaustive()
    }
}

/// The secret keys that are valid at some moment.
pub struct ValidKeys {
    current: Arc<OnionSecret>,
    previous: Option<Arc<OnionSecret>>,
}

impl ValidKeys {
    /// Peels a set-up package with whichever key it is meant for.
    ///
    /// # Errors
    /// As [`masq_onion::peel`].
    pub fn peel(&self, package: &SetupPackage) -> Result<Peeled, PeelError> {
        match &self.previous {
            Some(previous) => masq_onion::peel(&[&self.current, previous], package),
            None => masq_onion::peel(&[&self.current], package),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[test]
    fn ids_are_refused_for_as_long_as_their_key_lives() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let mut keys = OnionKeys::new(&mut rng);
        let t0 = start();
        let first = keys.publics();
        assert_eq!(first.previous, None);
        keys.remember([1; 16]).unwrap();
        assert_eq!(keys.remember([1; 16]), Err(Unseen::Replay));

        keys.rotate(t0, &mut rng);
        assert_eq!(keys.publics().previous, Some(first.current));
        assert_eq!(keys.remember([1; 16]), Err(Unseen::Replay));
        keys.remember([2; 16]).unwrap();

        keys.expire(t0 + ONION_KEY_OVERLAP - Duration::from_secs(1));
        assert!(keys.was_seen(&[1; 16]));
        keys.expire(t0 + ONION_KEY_OVERLAP);
        assert_eq!(keys.publics().previous, None);
        assert!(
            !keys.was_seen(&[1; 16]),
            "its key is gone, so it cannot be peeled any more"
        );
        assert!(keys.was_seen(&[2; 16]));
    }

    #[test]
    fn a_refusal_is_sealed_once() {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let mut keys = OnionKeys::new(&mut rng);
        assert!(keys.may_seal_refusal([1; 16]));
        assert!(!keys.may_seal_refusal([1; 16]));
        assert_eq!(
            keys.remember([1; 16]),
            Err(Unseen::Replay),
            "and its keys never serve"
        );
        keys.rotate(start(), &mut rng);
        assert!(!keys.may_seal_refusal([1; 16]));
        keys.remember([2; 16]).unwrap();
        assert!(!keys.may_seal_refusal([2; 16]));
    }

    #[test]
    fn the_set_is_bounded() {
        let mut keys = OnionKeys::new(&mut ChaCha20Rng::from_seed([2; 32]));
        for i in 0..REPLAY_IDS as u128 {
            keys.remember(i.to_be_bytes()).unwrap();
        }
        assert_eq!(keys.remember([0xff; 16]), Err(Unseen::Full));
    }
}
