//! Small things by which text for people looks right: durations, sizes,
//! plurals, columns.

use std::fmt::Write;

use crate::control::types::Amount;

/// A duration in its two largest units: `3 h 12 min`.
pub(super) fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let (whole, rest, unit) = match seconds {
        0..60 => return format!("{seconds} s"),
        60..3600 => (format!("{minutes} min"), seconds % 60, "s"),
        3600..86_400 => (format!("{hours} h"), minutes % 60, "min"),
        _ => (format!("{days} d"), hours % 24, "h"),
    };
    match rest {
        0 => whole,
        rest => format!("{whole} {rest} {unit}"),
    }
}

/// A number of bytes with three digits or so, in decimal units.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut unit = 0;
    // Tenths, in whole numbers: rounded down, as a counter of distance is.
    let mut tenths = count / 100;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    if tenths < 100 {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        format!("{} {}", tenths / 10, UNITS[unit])
    }
}

/// Seconds as a person writes them: `90s`, `30m`, `24h`, `7d`; at least one.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let mistake = || "write for example 90s, 30m, 24h or 7d".to_owned();
    let unit = match text.chars().next_back() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(mistake()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| mistake())?;
    let seconds = number.checked_mul(unit).filter(|seconds| *seconds > 0);
    seconds.ok_or_else(mistake)
}

/// An amount of a chain's coin with its symbol: six decimals, or as many as show three digits.
pub(super) fn coins(amount: Amount, symbol: &str) -> String {
    let exact = amount.exact();
    let Some((whole, part)) = exact.split_once('.') else {
        return format!("{exact} {}", clean(symbol));
    };
    let zeros = part.len() - part.trim_start_matches('0').len();
    let kept = if whole == "0" { (zeros + 3).max(6) } else { 6 };
    let part = part[..kept.min(part.len())].trim_end_matches('0');
    if part.is_empty() {
        format!("{whole} {}", clean(symbol))
    } else {
        format!("{whole}.{part} {}", clean(symbol))
    }
}

/// `1 node`, `2 nodes`.
pub(super) fn count(number: u64, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

/// What another program said, safe to show: without control characters, which
/// could play tricks on a terminal.
pub(super) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Lines of a name and a value, values aligned.
#[derive(Default)]
pub(super) struct Facts(Vec<(&'static str, String)>);

impl Facts {
    pub(super) fn add(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.push((name, value.into()));
    }

    pub(super) fn write(&self, out: &mut String) {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in &self.0 {
            let _ = writeln!(out, "  {name:width$}   {}", clean(value));
        }
    }
}

/// Rows of columns, each as wide as its widest cell.
pub(super) fn table(out: &mut String, rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = String::from(" ");
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, " {:width$} ", clean(cell), width = *width);
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (600, "10 min"),
            (3600 * 3 + 60 * 12, "3 h 12 min"),
            (86_400 * 2 + 3600 * 5, "2 d 5 h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        duration(u64::MAX);
    }

    #[test]
    fn sizes() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9_990, "9.9 kB"),
            (10_000, "10 kB"),
            (999_999, "999 kB"),
            (1_200_000, "1.2 MB"),
            (500_000_000, "500 MB"),
            (2_100_000_000, "2.1 GB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        bytes(u64::MAX);
    }

    #[test]
    fn coins_show_at_least_three_digits() {
        for (wei, text) in [
            (0, "0 ETH"),
            (306_000_000_000, "0.000000306 ETH"),
            (3_123_456_789_000_000, "0.003123 ETH"),
            (1, "0.000000000000000001 ETH"),
            (2_000_000_000_000_000_001, "2 ETH"),
            (2_500_000_000_000_000_000, "2.5 ETH"),
        ] {
            assert_eq!(coins(Amount(wei), "ETH"), text);
        }
        coins(Amount(u128::MAX), "\u{1b}");
    }

    #[test]
    fn control_characters_stay_out_of_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\n"), "a [31mb ");
    }

    #[test]
    fn tables_align() {
        let mut out = String::new();
        table(
            &mut out,
            &[
                vec!["a".into(), "bb".into()],
                vec!["ccc".into(), "d".into()],
            ],
        );
        assert_eq!(out, "  a    bb\n  ccc  d\n");
    }
}
