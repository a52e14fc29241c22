//! When a debt is paid, when it is a reason for a ban, and when a ban ends.
//!
//! Six numbers, `debt|maturity|grace|permanent|interval|unban`, draw one line over age and amount:
//!
//! ```text
//! amount
//!   debt ┤        ╲             over the line: pay (payer)
//!        │         ╲            over the line moved right by `grace`: ban (hop)
//! permanent ┤ - - - ╲__________
//!   unban ┤
//!        └────┬─────┬────────── age
//!         maturity  maturity + interval
//! ```
//!
//! Up to `maturity` seconds nothing is over the line. Then the line stands at `debt` and falls
//! evenly to `permanent`, which it reaches `interval` seconds later and keeps for ever. A debt
//! *on* the line is not over it. The comparison is exact: nothing is rounded.

use std::fmt;
use std::str::FromStr;

use super::Wei;
use super::age::age;
use super::money::GWEI;

/// Most gwei that a threshold may have: a thousand million tokens. Keeps every product that the
/// line needs within 128 bits.
const MAX_GWEI: u64 = 1_000_000_000_000_000_000;
/// Most seconds that a threshold may have: some thirty years.
const MAX_SECONDS: u64 = 1_000_000_000;

/// The six numbers. The amounts are in gwei of the token, the times in seconds.
///
/// The default is `1000000000|1200|1200|500000000|21600|500000000`, the same numbers as in the
/// network that users know: 1 MASQ falling to 0.5 MASQ within six hours. What that is worth: one
/// hop's share of a three-hop circuit at the default rates is a quarter (relay) or a half (exit)
/// of 1 MASQ per 852 GB, so 0.5 MASQ is 1,700 GB through one relay or 850 GB through one exit. The
/// numbers are that high because of fees: a transfer on Base takes some 0.0000003 ETH, which at
/// 0.00002 ETH per MASQ is 0.015 MASQ; to be at most 5 % of the payment, that must be 0.3 MASQ or
/// more ([`fit`](super::fit) does this sum with the present fee). What a hop has at risk is bounded
/// by the credit limit and not by these numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    debt_gwei: u64,
    maturity: u64,
    grace: u64,
    permanent_gwei: u64,
    interval: u64,
    unban_gwei: u64,
}

/// Why six numbers are no thresholds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ThresholdsError {
    /// Not six whole numbers.
    #[error(
        "thresholds are six whole numbers, debt|maturity|grace|permanent|interval|unban \
         (gwei, seconds, seconds, gwei, seconds, gwei), for example {}",
        Thresholds::default()
    )]
    Form,
    /// Out of bounds.
    #[error("the {name} of the thresholds is {value}, it must be from {min} to {max}")]
    Bounds {
        /// Which.
        name: &'static str,
        /// What was given.
        value: u64,
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
}

impl Thresholds {
    /// From the six numbers.
    ///
    /// # Errors
    /// [`ThresholdsError::Bounds`] unless `debt ≥ permanent ≥ unban ≥ 1`, `interval ≥ 1`, and
    /// nothing is absurdly large. An `unban` over `permanent` would ban and unban in turn.
    pub fn new(six: [u64; 6]) -> Result<Self, ThresholdsError> {
        let [
            debt_gwei,
            maturity,
            grace,
            permanent_gwei,
            interval,
            unban_gwei,
        ] = six;
        let bounds = [
            ("debt", debt_gwei, 1, MAX_GWEI),
            ("maturity", maturity, 0, MAX_SECONDS),
            ("grace", grace, 0, MAX_SECONDS),
            ("permanent debt", permanent_gwei, 1, debt_gwei),
            ("interval", interval, 1, MAX_SECONDS),
            ("unban amount", unban_gwei, 1, permanent_gwei),
        ];
        for (name, value, min, max) in bounds {
            if value < min || value > max {
                return Err(ThresholdsError::Bounds {
                    name,
                    value,
                    min,
                    max,
                });
            }
        }
        Ok(Self {
            debt_gwei,
            maturity,
            grace,
            permanent_gwei,
            interval,
            unban_gwei,
        })
    }

    /// Where the line begins.
    pub fn debt(&self) -> Wei {
        Wei::from(self.debt_gwei) * GWEI
    }

    /// Where the line ends, and so the smallest debt that is ever paid by itself.
    pub fn permanent(&self) -> Wei {
        Wei::from(self.permanent_gwei) * GWEI
    }

    /// A ban ends below this.
    pub fn unban(&self) -> Wei {
        Wei::from(self.unban_gwei) * GWEI
    }

    /// Seconds up to which nothing is over the line.
    pub fn maturity(&self) -> u64 {
        self.maturity
    }

    /// Seconds by which the line is moved for a ban.
    pub fn grace(&self) -> u64 {
        self.grace
    }

    /// Seconds within which the line falls, after maturity.
    pub fn interval(&self) -> u64 {
        self.interval
    }

    /// Whether a debt of `due` that is `age` seconds old is over the line.
    pub fn over(&self, due: Wei, age: u64) -> bool {
        let Some(past) = age.checked_sub(self.maturity).filter(|past| *past > 0) else {
            return false;
        };
        let fall = self.debt() - self.permanent();
        let past = Wei::from(past.min(self.interval));
        // due > debt − fall × past ÷ interval, without the division. Neither side overflows:
        // 10^27 wei × 10^9 seconds is below 2^120.
        match self.debt().checked_sub(due) {
            Some(below) => below * Wei::from(self.interval) < fall * past,
            None => true,
        }
    }

    /// Whether the payer pays by itself now.
    pub fn pays(&self, due: Wei, since: Option<u64>, now: u64) -> bool {
        self.over(due, age(since, now))
    }

    /// Whether the hop stops serving: over the line moved by grace.
    pub fn bans(&self, due: Wei, since: Option<u64>, now: u64) -> bool {
        let age = age(since, now).saturating_sub(self.grace);
        self.over(due, age)
    }

    /// Whether a ban is over.
    pub fn unbans(&self, due: Wei) -> bool {
        due < self.unban()
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            debt_gwei: 1_000_000_000,
            maturity: 1_200,
            grace: 1_200,
            permanent_gwei: 500_000_000,
            interval: 21_600,
            unban_gwei: 500_000_000,
        }
    }
}

impl fmt::Display for Thresholds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}|{}|{}|{}|{}|{}",
            self.debt_gwei,
            self.maturity,
            self.grace,
            self.permanent_gwei,
            self.interval,
            self.unban_gwei
        )
    }
}

impl FromStr for Thresholds {
    type Err = ThresholdsError;

    fn from_str(text: &str) -> Result<Self, ThresholdsError> {
        let numbers: Result<Vec<u64>, _> = text.split('|').map(|n| n.trim().parse()).collect();
        let numbers = numbers.map_err(|_| ThresholdsError::Form)?;
        Self::new(numbers.try_into().map_err(|_| ThresholdsError::Form)?)
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::U256;
    use proptest::prelude::*;

    use super::*;

    fn any_thresholds() -> impl Strategy<Value = Thresholds> {
        let gwei = || prop_oneof![1..100_u64, 1..=MAX_GWEI];
        let seconds = || prop_oneof![0..100_u64, 0..=MAX_SECONDS];
        (gwei(), gwei(), gwei(), seconds(), seconds(), seconds()).prop_map(
            |(a, b, c, maturity, grace, interval)| {
                let mut amounts = [a, b, c];
                amounts.sort_unstable();
                let [unban, permanent, debt] = amounts;
                Thresholds::new([debt, maturity, grace, permanent, interval.max(1), unban]).unwrap()
            },
        )
    }

    /// The largest amount that is not over the line `past` seconds after maturity, in rationals.
    fn on_line(t: &Thresholds, past: u64) -> Wei {
        let past = U256::from(past.min(t.interval));
        let fall = U256::from(t.debt() - t.permanent());
        let fallen = (fall * past).div_ceil(U256::from(t.interval));
        // ⌊debt − x⌋ = debt − ⌈x⌉
        t.debt() - u128::try_from(fallen).unwrap()
    }

    proptest! {
        #[test]
        fn a_debt_on_the_line_is_not_over_it_and_one_wei_more_is(
            t in any_thresholds(), past in prop_oneof![1..50_u64, 1..=MAX_SECONDS],
        ) {
            let line = on_line(&t, past);
            let age = t.maturity + past;
            prop_assert!(!t.over(line, age));
            prop_assert!(t.over(line + 1, age));
            prop_assert!(line >= t.permanent() && line <= t.debt());
            // The ban is on the same line, later by grace.
            let now = 1 << 40;
            let since = Some(now - age - t.grace);
            prop_assert!(!t.bans(line, since, now));
            prop_assert!(t.bans(line + 1, since, now));
            prop_assert!(!t.unbans(t.unban()));
            prop_assert!(t.unbans(t.unban() - 1));
        }

        #[test]
        fn nothing_is_over_the_line_up_to_maturity(t in any_thresholds(), due in any::<u128>()) {
            prop_assert!(!t.over(due, t.maturity));
            prop_assert!(!t.over(due, t.maturity / 2));
        }

        #[test]
        fn more_or_older_never_gets_back_under_the_line(
            t in any_thresholds(), due in any::<u128>(), more in any::<u64>(), age in any::<u64>(),
        ) {
            if t.over(due, age) {
                prop_assert!(t.over(due.saturating_add(more.into()), age));
                prop_assert!(t.over(due, age.saturating_add(more)));
            }
        }

        #[test]
        fn what_is_shown_is_parsed_again(t in any_thresholds()) {
            prop_assert_eq!(t.to_string().parse::<Thresholds>(), Ok(t));
        }
    }

    #[test]
    fn a_line_without_slope_is_a_line() {
        let t: Thresholds = "10|5|3|10|1|1".parse().unwrap();
        assert!(!t.over(10 * GWEI, 6));
        assert!(t.over(10 * GWEI + 1, 6));
    }

    #[test]
    fn bad_numbers_are_refused_with_a_sentence() {
        let said = |text: &str| text.parse::<Thresholds>().unwrap_err().to_string();
        assert!(said("1|2|3").contains("six whole numbers"));
        assert!(said("a|2|3|1|1|1").contains("six whole numbers"));
        assert!(said("1|2|3|2|1|1").contains("permanent debt"));
        assert!(said("5|2|3|2|0|1").contains("interval"));
        assert!(said("5|2|3|2|1|3").contains("unban amount"));
        assert!(said("5|2|3|2|1|0").contains("unban amount"));
    }
}
