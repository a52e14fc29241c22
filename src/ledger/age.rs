//! How old a debt is. The age of what is due runs from the first wei of it. A payment makes the
//! debt younger **in proportion to what was paid**, so a tiny payment does not reset anything: who
//! pays a hundredth of a debt that is 100 minutes old is left with one that is 99 minutes old.

use super::Wei;
use super::money::{Round, mul_div};

/// Seconds since `since`; 0 when there is no debt, or the clock went back.
pub(super) fn age(since: Option<u64>, now: u64) -> u64 {
    since.map_or(0, |since| now.saturating_sub(since))
}

/// Since when the rest is due after `paid` of `due` was paid. The age is rounded up: by rounding,
/// nobody's debt gets younger.
pub(super) fn after_payment(since: Option<u64>, now: u64, due: Wei, paid: Wei) -> Option<u64> {
    let since = since?;
    let left = due.checked_sub(paid).filter(|left| *left > 0)?;
    let age = now.saturating_sub(since);
    let age = mul_div(age.into(), left, due, Round::Up)
        .and_then(|age| u64::try_from(age).ok())
        .unwrap_or(age);
    // A clock that went back must not make the debt younger than it was.
    Some(since.max(now.saturating_sub(age)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tiny_payment_does_not_reset_the_age() {
        assert_eq!(after_payment(Some(1_000), 7_000, 1_000_000, 1), Some(1_000));
        assert_eq!(after_payment(Some(1_000), 7_000, 100, 1), Some(1_060));
        assert_eq!(after_payment(Some(1_000), 7_000, 100, 50), Some(4_000));
        assert_eq!(after_payment(Some(1_000), 7_000, 100, 100), None);
        assert_eq!(after_payment(Some(1_000), 7_000, 100, 101), None);
        assert_eq!(after_payment(Some(9_000), 7_000, 100, 1), Some(9_000));
    }

    proptest! {
        #[test]
        fn paying_in_parts_never_makes_a_debt_younger_than_paying_at_once(
            due in 2_u128..1 << 100, share in 0.0_f64..1.0, parts in 1_u128..9, age in 0_u64..1 << 32,
        ) {
            let paid = ((due as f64 * share) as u128).min(due - 1);
            let now = 1 << 33;
            let at_once = after_payment(Some(now - age), now, due, paid);
            let (mut since, mut left) = (Some(now - age), due);
            for part in 0..parts {
                let this = if part + 1 == parts { paid - paid / parts * part } else { paid / parts };
                since = after_payment(since, now, left, this);
                left -= this;
            }
            prop_assert!(since <= at_once);
            prop_assert!(at_once >= Some(now - age));
        }
    }
}
