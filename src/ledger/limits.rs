//! How much credit a hop gives.

use masq_gossip::RatePack;

use super::money::{Round, mul_div};
use super::{Wei, price};

/// What a payer may owe, paid or in flight, before a hop stops:
///
/// ```text
/// L(w) = first + prepaid(w) + S(w) ÷ 4
/// ```
///
/// where `S(w)` is what `w` paid to this hop, finally, in the last 30 days. What exceeds
/// `prepaid(w) + S(w) ÷ 4` comes out of one pool for all wallets. So the most that any number of
/// wallets takes without ever paying is `pool`, and `refill_per_day` each day after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What a wallet gets on trust.
    pub first: Wei,
    /// What all wallets together get on trust.
    pub pool: Wei,
    /// What comes back into the pool each day, when nobody pays.
    pub refill_per_day: Wei,
    /// Most of the pool for the wallets that come through one link.
    pub quota: Wei,
    /// Which part of the final payments of 30 days is credit: one in so many.
    pub share: u32,
}

/// Bytes that a wallet gets on trust. From the settlement design: 16 MB are 1.3 s at 100 Mbit/s,
/// enough to find out that a hop works.
pub const FIRST_BYTES: u64 = 16_000_000;
/// Bytes that all wallets together get on trust. From the settlement design.
pub const POOL_BYTES: u64 = 1_000_000_000;
/// Bytes of it that come back each day. Guess: the pool is new once a day.
pub const REFILL_BYTES: u64 = 1_000_000_000;
/// A link may have one part in so many of the pool. Guess: with five links, a bad one leaves
/// three quarters to the others, and it takes four to empty the pool.
pub const QUOTA_PARTS: Wei = 4;
/// From the settlement design: S ÷ 4.
pub const SHARE: u32 = 4;

impl Limits {
    /// The default limits, worth the same number of bytes whatever the rates. `None` when they
    /// don't fit 128 bits.
    pub fn from_rates(rates: &RatePack) -> Option<Self> {
        let pool = price::dearest(rates, POOL_BYTES)?;
        Some(Self {
            first: price::dearest(rates, FIRST_BYTES)?,
            pool,
            refill_per_day: price::dearest(rates, REFILL_BYTES)?,
            quota: pool / QUOTA_PARTS,
            share: SHARE,
        })
    }

    /// The part of the payments that is credit.
    pub(super) fn earned(&self, paid_lately: Wei) -> Wei {
        mul_div(paid_lately, 1, self.share.into(), Round::Down).unwrap_or(0)
    }
}

/// One hop gets one part in so many of what may be paid on one day. Guess: a route has some four
/// hops that are paid, and a bad one must not take what is there for the others.
const HOPS_OF_A_DAY: Wei = 4;

/// The most that is paid to one hop on one day, by what is paid to all.
pub fn payee_day_cap(day_cap: Option<Wei>) -> Wei {
    day_cap.map_or(Wei::MAX, |cap| cap / HOPS_OF_A_DAY)
}
