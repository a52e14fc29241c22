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
    /// The keys have turned since it was peeled: what was seen under its key may be
    /// forgotten already.
    #[error("keys have turned since")]
    Stale,
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
    /// One more each time that the keys which are valid change.
    generation: u64,
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
            generation: 0,
        }
    }

    /// Makes a new key; the present one stays valid for [`ONION_KEY_OVERLAP`].
    pub fn rotate<R: CryptoRng + ?Sized>(&mut self, now: Instant, rng: &mut R) {
        let old = std::mem::replace(&mut self.current, Arc::new(OnionSecret::generate(rng)));
        self.previous = Some((old, now + ONION_KEY_OVERLAP));
        self.seen_before = std::mem::take(&mut self.seen);
        self.refused_before = std::mem::take(&mut self.refused);
        self.generation += 1;
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
            self.generation += 1;
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
            generation: self.generation,
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

    /// Takes note of a package id that was peeled with the keys of `generation`. Only to
    /// be called once its tag and its authorisation have passed, so that nobody fills the
    /// set from outside.
    ///
    /// # Errors
    /// The id was there already, the set is full, or the keys have turned since: refuse
    /// the set-up in each case, in plain.
    pub fn remember(&mut self, id: [u8; 16], generation: u64) -> Result<(), Unseen> {
        if generation != self.generation {
            return Err(Unseen::Stale);
        }
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
    /// the same keys sealing twice would give them away, and never where the keys have
    /// turned since those of `generation` peeled it. Where it may not, refuse in plain.
    pub fn may_seal_refusal(&mut self, id: [u8; 16], generation: u64) -> bool {
        generation == self.generation
            && !self.was_seen(&id)
            && self.refused.len() < REFUSED_IDS
            && self.refused.insert(id)
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
    generation: u64,
    current: Arc<OnionSecret>,
    previous: Option<Arc<OnionSecret>>,
}

impl ValidKeys {
    /// Which keys these are, for [`OnionKeys::remember`] and
    /// [`OnionKeys::may_seal_refusal`].
    pub const fn generation(&self) -> u64 {
        self.generation
    }

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

    fn remember(keys: &mut OnionKeys, id: [u8; 16]) -> Result<(), Unseen> {
        keys.remember(id, keys.generation)
    }

    fn may_seal(keys: &mut OnionKeys, id: [u8; 16]) -> bool {
        keys.may_seal_refusal(id, keys.generation)
    }

    #[test]
    fn s15_what_was_peeled_before_the_keys_turned_is_refused_after() {
        let mut rng = ChaCha20Rng::from_seed([4; 32]);
        let mut keys = OnionKeys::new(&mut rng);
        let t0 = start();
        remember(&mut keys, [1; 16]).unwrap();
        keys.rotate(t0, &mut rng);
        let peeled_with = keys.valid().generation();
        keys.expire(t0);
        assert_eq!(keys.valid().generation(), peeled_with, "nothing expired");
        // The key of id 1 goes between the peeling of its replay and the look at the set.
        keys.expire(t0 + ONION_KEY_OVERLAP);
        assert!(!keys.was_seen(&[1; 16]));
        assert_eq!(keys.remember([1; 16], peeled_with), Err(Unseen::Stale));
        assert!(!keys.may_seal_refusal([1; 16], peeled_with));

        let peeled_with = keys.valid().generation();
        keys.rotate(t0, &mut rng);
        assert_eq!(keys.remember([2; 16], peeled_with), Err(Unseen::Stale));
        assert!(!keys.may_seal_refusal([2; 16], peeled_with));
        remember(&mut keys, [2; 16]).unwrap();
    }

    #[test]
    fn ids_are_refused_for_as_long_as_their_key_lives() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let mut keys = OnionKeys::new(&mut rng);
        let t0 = start();
        let first = keys.publics();
        assert_eq!(first.previous, None);
        remember(&mut keys, [1; 16]).unwrap();
        assert_eq!(remember(&mut keys, [1; 16]), Err(Unseen::Replay));

        keys.rotate(t0, &mut rng);
        assert_eq!(keys.publics().previous, Some(first.current));
        assert_eq!(remember(&mut keys, [1; 16]), Err(Unseen::Replay));
        remember(&mut keys, [2; 16]).unwrap();

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
        assert!(may_seal(&mut keys, [1; 16]));
        assert!(!may_seal(&mut keys, [1; 16]));
        assert_eq!(
            remember(&mut keys, [1; 16]),
            Err(Unseen::Replay),
            "and its keys never serve"
        );
        keys.rotate(start(), &mut rng);
        assert!(!may_seal(&mut keys, [1; 16]));
        remember(&mut keys, [2; 16]).unwrap();
        assert!(!may_seal(&mut keys, [2; 16]));
    }

    #[test]
    fn the_set_is_bounded() {
        let mut keys = OnionKeys::new(&mut ChaCha20Rng::from_seed([2; 32]));
        for i in 0..REPLAY_IDS as u128 {
            remember(&mut keys, i.to_be_bytes()).unwrap();
        }
        assert_eq!(remember(&mut keys, [0xff; 16]), Err(Unseen::Full));
    }
}
