//! What the options of the simulator are written in: shares with a percent
//! sign, lengths of time with a unit, rates of change, ranges of latency. Each
//! is read from text and shown in the same form. What the options mean is in
//! [`super::args`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// A share of the nodes, 0 to 1; written `30%`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    /// The share as a number from 0 to 1.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }

    /// How many of `n` that is, rounded.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "numbers of nodes are small, and shares between 0 and 1"
    )]
    pub fn of(self, n: usize) -> usize {
        (self.0 * n as f64).round() as usize
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(number) = text.strip_suffix('%') else {
            return Err("a share is written with a percent sign, as in 30%".to_owned());
        };
        match number.trim().parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Self(percent / 100.0)),
            Ok(_) => Err("a share is between 0% and 100%".to_owned()),
            Err(_) => Err(format!(
                "{number:?} is not a number; write a share as in 30%"
            )),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded, so that 29% does not come back as 28.999999999999996%.
        write!(f, "{}%", (self.0 * 1e8).round() / 1e6)
    }
}

/// A length of virtual time; written `500ms`, `90s`, `10m` or `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

/// The longest length of time that makes sense. A guess: thirty days.
const MAX_SPAN: Duration = Duration::from_secs(30 * 86_400);

impl Span {
    /// The same as the standard library knows it.
    #[must_use]
    pub fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HOW: &str =
            "a length of time is a whole number and a unit, as in 500ms, 90s, 10m or 1h";
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| HOW.to_owned())?;
        let millis = match unit {
            "ms" => Some(number),
            "s" => number.checked_mul(1000),
            "m" => number.checked_mul(60_000),
            "h" => number.checked_mul(3_600_000),
            _ => return Err(HOW.to_owned()),
        };
        match millis.map(Duration::from_millis) {
            Some(span) if span <= MAX_SPAN => Ok(Self(span)),
            _ => Err("a length of time is at most 720h".to_owned()),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let units = [(3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
        let whole = units.iter().find(|(unit, _)| millis.is_multiple_of(*unit));
        match whole {
            Some((unit, name)) if millis > 0 => write!(f, "{}{name}", millis / unit),
            _ => f.write_str("0s"),
        }
    }
}

/// How many leave and join in a time; written `1%/m`, also per `s` or `h`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    share: Share,
    unit: char,
}

impl Rate {
    /// Share of the nodes per second.
    #[must_use]
    pub fn per_second(self) -> f64 {
        let seconds = match self.unit {
            's' => 1.0,
            'm' => 60.0,
            _ => 3600.0,
        };
        self.share.get() / seconds
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HOW: &str = "a rate is a share and a unit of time, as in 1%/m (or /s, /h)";
        let (share, unit) = text.split_once('/').ok_or_else(|| HOW.to_owned())?;
        let unit = match unit {
            "s" => 's',
            "m" => 'm',
            "h" => 'h',
            _ => return Err(HOW.to_owned()),
        };
        let share: Share = share.parse()?;
        if share.get() == 0.0 {
            return Err("a rate of 0% changes nothing; leave the option out".to_owned());
        }
        Ok(Self { share, unit })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.share, self.unit)
    }
}

/// The one-way latency of links, drawn evenly from here to there; written `5ms-80ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// The least.
    pub min: Span,
    /// The most.
    pub max: Span,
}

/// The longest latency of a link. A guess: satellites have 300 ms.
const MAX_LATENCY: Duration = Duration::from_secs(2);

impl FromStr for Latency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (min, max) = text
            .split_once('-')
            .ok_or_else(|| "latencies are written as a range, as in 5ms-80ms".to_owned())?;
        let (min, max): (Span, Span) = (min.parse()?, max.parse()?);
        if min > max {
            return Err(format!(
                "{min} is more than {max}; the smaller one comes first"
            ));
        }
        if max.get() > MAX_LATENCY {
            return Err("a latency is at most 2s".to_owned());
        }
        Ok(Self { min, max })
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.min, self.max)
    }
}

/// Written into reports as a person writes it.
macro_rules! as_text {
    ($($kind:ty),*) => {$(
        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
    )*};
}
as_text!(Share, Span, Rate, Latency);

#[cfg(test)]
mod tests {
    use super::*;

    fn same<T: FromStr<Err = String> + fmt::Display>(texts: &[&str]) {
        for text in texts {
            assert_eq!(
                text.parse::<T>().map(|v| v.to_string()).as_deref(),
                Ok(*text)
            );
        }
    }

    fn wrong<T: FromStr<Err = String> + fmt::Debug>(cases: &[(&str, &str)]) {
        for (text, part) in cases {
            let error = text.parse::<T>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_written_is_shown() {
        same::<Share>(&["0%", "0.1%", "29%", "33.3%", "100%"]);
        same::<Span>(&["0s", "1ms", "1500ms", "90s", "10m", "61m", "1h"]);
        same::<Rate>(&["1%/m", "0.5%/s", "100%/h"]);
        same::<Latency>(&["5ms-80ms", "0s-0s", "1s-2s"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        wrong::<Share>(&[
            ("30", "percent sign"),
            ("0.3", "percent sign"),
            ("101%", "between 0% and 100%"),
            ("-1%", "between"),
            ("NaN%", "between"),
            ("x%", "not a number"),
        ]);
        wrong::<Span>(&[
            ("10", "unit"),
            ("m", "unit"),
            ("-1s", "unit"),
            ("1d", "unit"),
        ]);
        wrong::<Span>(&[("999999999h", "at most"), ("99999999999999999999h", "unit")]);
        wrong::<Rate>(&[("1%", "1%/m"), ("1/m", "percent sign"), ("1%/d", "unit")]);
        wrong::<Rate>(&[("101%/m", "between"), ("0%/m", "changes nothing")]);
        wrong::<Latency>(&[
            ("5ms", "range"),
            ("80ms-5ms", "comes first"),
            ("1s-3s", "at most"),
        ]);
    }

    #[test]
    fn numbers_of_nodes() {
        let share: Share = "30%".parse().unwrap();
        assert_eq!((share.of(10), share.of(0), share.of(5)), (3, 0, 2));
        let rate: Rate = "3%/m".parse().unwrap();
        assert!((rate.per_second() - 0.0005).abs() < 1e-12);
    }
}
