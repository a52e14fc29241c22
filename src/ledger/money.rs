//! Arithmetic on amounts, and how they are shown.

use std::fmt;

use alloy_primitives::U256;

use super::Wei;

/// One token, in wei.
pub const TOKEN: Wei = 1_000_000_000_000_000_000;
/// One gwei, in wei.
pub const GWEI: Wei = 1_000_000_000;

/// Which way a division that leaves a rest goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// Towards zero.
    Down,
    /// Away from zero.
    Up,
}

/// `a × b ÷ c` without overflow on the way; `None` when `c` is zero or the result is too large.
pub fn mul_div(a: u128, b: u128, c: u128, round: Round) -> Option<u128> {
    if c == 0 {
        return None;
    }
    // Two factors below 2^128 fit 256 bits.
    let product = U256::from(a) * U256::from(b);
    let (quotient, rest) = product.div_rem(U256::from(c));
    let quotient = u128::try_from(quotient).ok()?;
    match round {
        Round::Up if !rest.is_zero() => quotient.checked_add(1),
        _ => Some(quotient),
    }
}

/// Shows an amount in tokens, with as many decimals as it takes and no more than nine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens(pub Wei);

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / TOKEN, self.0 % TOKEN);
        if rest == 0 {
            return write!(f, "{whole} MASQ");
        }
        if whole == 0 && rest < GWEI {
            return write!(f, "{rest} wei");
        }
        let digits = format!("{:09}", rest / GWEI);
        let digits = digits.trim_end_matches('0');
        if digits.is_empty() {
            write!(f, "{whole} MASQ")
        } else {
            write!(f, "{whole}.{digits} MASQ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_beyond_128_bits_are_divided_right() {
        assert_eq!(
            mul_div(u128::MAX, u128::MAX, u128::MAX, Round::Down),
            Some(u128::MAX)
        );
        assert_eq!(mul_div(7, 3, 2, Round::Down), Some(10));
        assert_eq!(mul_div(7, 3, 2, Round::Up), Some(11));
        assert_eq!(mul_div(8, 3, 2, Round::Up), Some(12));
        assert_eq!(mul_div(u128::MAX, 2, 1, Round::Down), None);
        assert_eq!(mul_div(1, 1, 0, Round::Down), None);
    }

    #[test]
    fn amounts_are_shown_in_tokens() {
        let shown = |wei| Tokens(wei).to_string();
        assert_eq!(shown(0), "0 MASQ");
        assert_eq!(shown(5), "5 wei");
        assert_eq!(shown(TOKEN / 2), "0.5 MASQ");
        assert_eq!(shown(3 * TOKEN + GWEI), "3.000000001 MASQ");
        assert_eq!(shown(TOKEN + 1), "1 MASQ");
    }
}
