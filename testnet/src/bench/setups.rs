//! How many circuit set-ups a hop's core takes in a second, with the payer's signature checked and
//! without: the functions of production, on one thread of this process.

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use alloy::primitives::{Address, B256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use masq_onion::{
    Authorisation, HopSpec, NodeKey, OnionSecret, SetupPackage, build_setup_with, peel,
};
use masq_settlement::{
    Domain, HopView, KIND_ROUTE_AUTH, RatePack, RouteAuth, SIGNATURE_LEN, SignError, SignedAuth,
    Signer,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;

use crate::devchain::{CHAIN_ID, FAUCET_KEY};
use crate::error::TestnetError;

/// Set-ups of one round.
const ROUND: u32 = 200;
/// Rounds of each kind, in turn; the middle one counts.
const ROUNDS: usize = 15;
/// Seconds for which the authorisation holds.
const LIFE: u64 = 3_600;

/// Set-ups a second and core.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SetupRates {
    /// Opening the package and deriving the hop's keys.
    pub without_check: f64,
    /// The same, and reading and checking the authorisation.
    pub with_check: f64,
    /// What the check takes, in microseconds.
    pub check_us: f64,
}

/// A key that everybody knows.
struct Payer(PrivateKeySigner);

impl Signer for Payer {
    fn address(&self) -> Address {
        self.0.address()
    }

    fn sign_hash(&self, hash: &B256) -> Result<[u8; SIGNATURE_LEN], SignError> {
        let signed = self.0.sign_hash_sync(hash);
        Ok(signed.map_err(|_| SignError::Unavailable)?.as_bytes())
    }
}

/// A set-up package as the first of three hops gets it, and what that hop knows.
struct Hop {
    key: OnionSecret,
    node: masq_settlement::NodeKey,
    domain: Domain,
    ephemeral: [u8; 32],
    package: SetupPackage,
    now: u64,
}

impl Hop {
    fn new() -> Result<Self, TestnetError> {
        let failed = |what: &dyn std::fmt::Display| {
            TestnetError::Options(format!("a set-up cannot be made: {what}"))
        };
        let mut rng = ChaCha20Rng::from_seed([7; 32]);
        let keys: Vec<_> = (0..6).map(|_| OnionSecret::generate(&mut rng)).collect();
        let specs: Vec<_> = (0_u8..)
            .zip(&keys)
            .map(|(index, key)| HopSpec {
                node: NodeKey([index; 32]),
                onion: key.public(),
                auth: Authorisation::none(),
            })
            .collect();
        let payer = Payer(PrivateKeySigner::from_bytes(&FAUCET_KEY).map_err(|e| failed(&e))?);
        let domain = Domain::new(CHAIN_ID, Address::repeat_byte(1));
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let auth = RouteAuth {
            payer: payer.address(),
            rates: RatePack::default(),
            max_spend: 1,
            not_before: now,
            expiry: now + LIFE,
        };
        let mut first = None;
        let mut refused = None;
        let (package, _) = build_setup_with(
            &specs[..3],
            &specs[3..5],
            &specs[5],
            &mut rng,
            |index, ephemeral| {
                let node = masq_settlement::NodeKey([u8::try_from(index).unwrap_or(0); 32]);
                first.get_or_insert(*ephemeral);
                match auth.sign(&domain, &node, ephemeral, &payer) {
                    Ok(signed) => Authorisation {
                        kind: KIND_ROUTE_AUTH,
                        body: signed.encode(),
                    },
                    Err(error) => {
                        refused = Some(error);
                        Authorisation::none()
                    }
                }
            },
        )
        .map_err(|error| failed(&error))?;
        if let Some(error) = refused {
            return Err(failed(&error));
        }
        let mut keys = keys;
        Ok(Self {
            key: keys.swap_remove(0),
            node: masq_settlement::NodeKey([0; 32]),
            domain,
            ephemeral: first.unwrap_or_default(),
            package,
            now,
        })
    }

    /// What a hop does with a package; false when it would refuse it.
    fn take(&self, check: bool) -> bool {
        let Ok(peeled) = peel(&[&self.key], &self.package) else {
            return false;
        };
        let well = !check || self.holds(&peeled.auth);
        black_box(peeled.keys.into_over_relay());
        well
    }

    fn holds(&self, auth: &Authorisation) -> bool {
        let view = HopView {
            domain: self.domain,
            node: self.node,
            ephemeral: &self.ephemeral,
            floors: &[RatePack::default()],
        };
        SignedAuth::decode(&auth.body).is_some_and(|auth| auth.verify(&view, self.now).is_ok())
    }

    fn round(&self, check: bool) -> Result<Duration, TestnetError> {
        let start = Instant::now();
        let well = (0..ROUND).all(|_| self.take(check));
        if !well {
            let what = "a hop would refuse the set-up that was made for it".to_owned();
            return Err(TestnetError::Options(what));
        }
        Ok(start.elapsed())
    }
}

/// Measures. Blocks for some seconds.
///
/// # Errors
/// When no valid set-up can be made, which does not happen.
pub fn measure() -> Result<SetupRates, TestnetError> {
    let hop = Hop::new()?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(hop.round(false)?);
        with.push(hop.round(true)?);
    }
    let each = |mut rounds: Vec<Duration>| {
        rounds.sort_unstable();
        rounds[ROUNDS / 2].as_secs_f64() / f64::from(ROUND)
    };
    let (without, with) = (each(without), each(with));
    Ok(SetupRates {
        without_check: 1.0 / without,
        with_check: 1.0 / with,
        check_us: (with - without) * 1e6,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_up_that_is_measured_is_a_valid_one_and_the_check_is_made() {
        let hop = Hop::new().unwrap();
        assert!(hop.take(false) && hop.take(true));
        let other = Hop {
            ephemeral: [9; 32],
            ..hop
        };
        assert!(other.take(false) && !other.take(true));
    }
}
