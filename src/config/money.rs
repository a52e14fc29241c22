//! The types of settings about money, and how each is read from text and shown again.

use std::{fmt, time::Duration};

use masq_gossip::RatePack;

use super::values::BadValue;
use crate::ledger::{Limits, Thresholds, Wei, limits::SHARE};

/// Digits of a token after the point, and of a gwei.
const TOKEN_DIGITS: usize = 18;
const GWEI_DIGITS: usize = 9;
/// Shortest and longest `pay_every`: looking costs nothing, and a debt should not wait for more
/// than a day (guess).
const PAY_EVERY: std::ops::RangeInclusive<u64> = 1..=86_400;

/// The URL of an RPC endpoint. Most contain a key of the operator's: `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct RpcUrl(String);

impl RpcUrl {
    pub(super) fn checked(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The URL. Secret.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RpcUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RpcUrl([scrubbed])")
    }
}

impl fmt::Display for RpcUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The numbers between `|`; `None` unless there are `N` that fit.
fn numbers<const N: usize, T: std::str::FromStr>(text: &str) -> Option<[T; N]> {
    let numbers = text.split('|').map(|part| part.trim().parse::<T>().ok());
    let numbers: Vec<T> = numbers.collect::<Option<_>>()?;
    numbers.try_into().ok()
}

/// What `read` makes of it, or nothing for the word `none`.
pub(super) fn unless_none<T>(
    text: &str,
    read: impl Fn(&str) -> Result<T, BadValue>,
) -> Result<Option<T>, BadValue> {
    match text.trim() {
        "none" => Ok(None),
        text => read(text).map(Some),
    }
}

/// Four rates.
pub(super) fn rates(text: &str) -> Result<RatePack, BadValue> {
    let [routing_byte, routing_package, exit_byte, exit_package] =
        numbers(text).ok_or_else(|| {
            BadValue::new(
                format!("\"{}\" is not four rates.", text.trim()),
                "Write four whole numbers of wei: \
                 \"routing byte|routing package|exit byte|exit package\".",
            )
        })?;
    Ok(RatePack {
        routing_byte,
        routing_package,
        exit_byte,
        exit_package,
    })
}

pub(super) fn show_rates(rates: &RatePack) -> String {
    let RatePack {
        routing_byte,
        routing_package,
        exit_byte,
        exit_package,
    } = rates;
    format!("{routing_byte}|{routing_package}|{exit_byte}|{exit_package}")
}

/// Six thresholds.
pub(super) fn thresholds(text: &str) -> Result<Thresholds, BadValue> {
    text.trim().parse::<Thresholds>().map_err(|error| {
        let text = error.to_string();
        BadValue::new(
            format!("{}{}.", text[..1].to_uppercase(), &text[1..]),
            "Amounts are in gwei of the token, times in seconds, and debt ≥ permanent ≥ unban.",
        )
    })
}

/// Four limits of credit.
pub(super) fn credit(text: &str) -> Result<Limits, BadValue> {
    let remedy = "Write four whole numbers of wei: \"first|pool|refill per day|quota\".";
    let [first, pool, refill_per_day, quota] = numbers::<4, Wei>(text)
        .ok_or_else(|| BadValue::new(format!("\"{}\" is not four limits.", text.trim()), remedy))?;
    if quota > pool {
        return Err(BadValue::new(
            "The quota of one link is larger than the whole pool.",
            remedy,
        ));
    }
    if first > quota {
        return Err(BadValue::new(
            "What a wallet gets first is more than the quota of its link.",
            remedy,
        ));
    }
    Ok(Limits {
        first,
        pool,
        refill_per_day,
        quota,
        share: SHARE,
    })
}

pub(super) fn show_credit(limits: &Limits) -> String {
    let Limits {
        first,
        pool,
        refill_per_day,
        quota,
        ..
    } = limits;
    format!("{first}|{pool}|{refill_per_day}|{quota}")
}

/// An amount of tokens, in wei.
pub(super) fn tokens(text: &str) -> Result<Wei, BadValue> {
    decimal(text, TOKEN_DIGITS).ok_or_else(|| {
        BadValue::new(
            format!("\"{}\" is not an amount of MASQ.", text.trim()),
            "Write a number such as 2 or 0.5, with at most 18 digits after the point.",
        )
    })
}

pub(super) fn show_tokens(wei: Wei) -> String {
    show_decimal(wei, TOKEN_DIGITS)
}

/// Gwei, in wei.
pub(super) fn gwei(text: &str) -> Result<Wei, BadValue> {
    let wei = decimal(text, GWEI_DIGITS).filter(|wei| *wei > 0);
    wei.ok_or_else(|| {
        BadValue::new(
            format!("\"{}\" is not a price of gas in gwei.", text.trim()),
            "Write a number over 0 such as 50 or 0.1, with at most 9 digits after the point.",
        )
    })
}

pub(super) fn show_gwei(wei: Wei) -> String {
    show_decimal(wei, GWEI_DIGITS)
}

/// Whole wei.
pub(super) fn wei(text: &str) -> Result<Wei, BadValue> {
    text.trim().parse().map_err(|_| {
        BadValue::new(
            format!("\"{}\" is not a number of wei.", text.trim()),
            "Write a whole number.",
        )
    })
}

/// A time: seconds, or with a unit.
pub(super) fn pay_every(text: &str) -> Result<Duration, BadValue> {
    let text = text.trim();
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3_600),
        _ => (text, 1),
    };
    let seconds = digits.trim_end().parse::<u64>().ok();
    let seconds = seconds.and_then(|number| number.checked_mul(unit));
    seconds
        .filter(|seconds| PAY_EVERY.contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| {
            BadValue::new(
                format!("\"{text}\" is not a time from a second to a day."),
                "Write seconds, minutes or hours, such as \"90s\", \"10m\" or \"1h\".",
            )
        })
}

pub(super) fn show_time(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds > 0 && seconds % 3_600 == 0 => format!("{}h", seconds / 3_600),
        seconds if seconds > 0 && seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

/// A decimal number times 10^`digits`, exactly.
fn decimal(text: &str, digits: usize) -> Option<u128> {
    let text = text.trim();
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > digits || !all_digits(whole) || !all_digits(part) {
        return None;
    }
    format!("{whole}{part:0<digits$}").parse().ok()
}

fn show_decimal(value: u128, digits: usize) -> String {
    let text = format!("{value:0>width$}", width = digits + 1);
    let (whole, part) = text.split_at(text.len() - digits);
    match part.trim_end_matches('0') {
        "" => whole.to_owned(),
        part => format!("{whole}.{part}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_and_come_back() {
        for (text, wei) in [
            ("0", 0),
            ("2", 2_000_000_000_000_000_000),
            ("0.5", 500_000_000_000_000_000),
            ("12.000000000000000001", 12_000_000_000_000_000_001),
        ] {
            assert_eq!(tokens(text).unwrap(), wei);
            assert_eq!(show_tokens(wei), text);
        }
        assert_eq!(tokens("1.").unwrap(), tokens("01.0").unwrap());
        for text in [
            "",
            ".5",
            "-1",
            "1e3",
            "+1",
            "1,5",
            "0.0000000000000000001",
            "999999999999999999999999999999999999999",
        ] {
            let error = tokens(text).unwrap_err().to_string();
            assert!(error.contains("not an amount of MASQ"), "{text}: {error}");
        }
        assert_eq!(gwei("0.01").unwrap(), 10_000_000);
        assert_eq!(show_gwei(10_000_000), "0.01");
        assert!(gwei("0").is_err() && gwei("0.0000000001").is_err());
        assert!(wei("1.5").is_err());
    }

    #[test]
    fn groups_of_numbers_come_back() {
        for text in ["1|2|3|4", "0|0|0|0", "275000|275000000|550000|550000000"] {
            assert_eq!(show_rates(&rates(text).unwrap()), text);
        }
        assert_eq!(rates(" 1 | 2|3 |4 ").unwrap(), rates("1|2|3|4").unwrap());
        for text in ["", "1|2|3", "1|2|3|4|5", "1|2|3|-4", "1|2|3|1.5", "1|2||4"] {
            let error = rates(text).unwrap_err().to_string();
            assert!(error.contains("routing byte|routing package"), "{error}");
        }
        assert_eq!(show_credit(&credit("1|40|30|10").unwrap()), "1|40|30|10");
        for (text, say) in [
            ("1|2|3", "first|pool"),
            ("1|9|3|10", "larger than the whole pool"),
            ("9|20|3|8", "more than the quota"),
        ] {
            let error = credit(text).unwrap_err().to_string();
            assert!(error.contains(say), "{error}");
        }
        let error = thresholds("1|2|3|4|5|6").unwrap_err().to_string();
        assert!(error.starts_with("The permanent debt"), "{error}");
    }

    #[test]
    fn times_have_units() {
        for (text, seconds, shown) in [
            ("90", 90, "90s"),
            ("600s", 600, "10m"),
            ("10m", 600, "10m"),
            ("2 h", 7_200, "2h"),
            ("1", 1, "1s"),
        ] {
            let time = pay_every(text).unwrap();
            assert_eq!(time, Duration::from_secs(seconds));
            assert_eq!(show_time(time), shown);
        }
        for text in [
            "",
            "0",
            "m",
            "25h",
            "1d",
            "1.5h",
            "18446744073709551615h",
            "1ö",
        ] {
            assert!(pay_every(text).is_err(), "{text}");
        }
    }

    #[test]
    fn urls_of_endpoints_stay_out_of_logs() {
        assert!(!format!("{:?}", RpcUrl::checked("https://key@host")).contains("key"));
    }
}
