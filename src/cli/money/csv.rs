//! The books as comma-separated values (RFC 4180), for spreadsheets and scripts. Amounts are in
//! wei, so that nothing is rounded.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use super::super::text::count;
use super::super::{Answer, Failure, code};
use crate::control::types::Financials;

const HEAD: &str = "side,node,wallet,unpaid_wei,pending_wei,paid_wei,prepaid_wei,age_seconds,\
                    over_line,banned,unclaimed\r\n";

/// Writes the rows to a file that only its owner can read, or to standard output for `-`.
pub(super) fn write(
    file: &Path,
    financials: &Financials,
    answer: &mut Answer<'_>,
) -> Result<(), Failure> {
    let text = text(financials);
    if file == Path::new("-") {
        return Ok(answer.out.write_all(text.as_bytes())?);
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(file);
    let written = written.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let what = format!("{} can't be written: {error}", file.display());
        Failure::new(code::CANT_CREATE, what, None)
    })?;
    let rows = (financials.payables.len() + financials.receivables.len()) as u64;
    Ok(writeln!(answer.out, "{} written.", count(rows, "row"))?)
}

fn text(financials: &Financials) -> String {
    let mut out = HEAD.to_owned();
    let age = |age: Option<u64>| age.map(|age| age.to_string()).unwrap_or_default();
    for row in &financials.payables {
        let _ = write!(
            out,
            "payable,{},{},{},{},{},{},{},{},,\r\n",
            field(&row.node),
            field(&row.wallet.0),
            row.unpaid.0,
            row.pending.0,
            row.paid.0,
            row.ahead.0,
            age(row.age_seconds),
            row.over_line
        );
    }
    for row in &financials.receivables {
        let _ = write!(
            out,
            "receivable,,{},{},{},{},{},{},,{},{}\r\n",
            field(&row.wallet.0),
            row.unpaid.0,
            row.provisional.0,
            row.paid.0,
            row.prepaid.0,
            age(row.age_seconds),
            row.banned,
            row.unclaimed
        );
    }
    out
}

/// A text as one field: quoted where it has to be.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::books;
    use crate::control::types::Selection;

    #[test]
    fn every_row_has_every_column() {
        let text = text(&Selection::default().of(books()));
        let columns = |line: &str| line.split(',').count();
        let expected = columns(HEAD);
        assert_eq!(text.matches("\r\n").count(), 7);
        for line in text.split_terminator("\r\n") {
            assert_eq!(columns(line), expected, "{line}");
        }
        assert!(
            text.contains(",1200000000000000000,10000000000000000,"),
            "{text}"
        );
    }

    #[test]
    fn what_would_break_a_row_is_quoted() {
        assert_eq!(field("a,\"b\"\n"), "\"a,\"\"b\"\"\n\"");
        assert_eq!(field("-abc_D"), "-abc_D");
    }
}
