//! `masq doctor`: the daemon's own report, or, when none runs, what can be said
//! without one.

use std::fmt::Write;
use std::path::Path;

use super::text::{clean, count};
use super::{Answer, Failure, code};
use crate::config::Environment;
use crate::control::{Client, ClientError};
use crate::doctor::offline::{self, Silence};
use crate::doctor::{Finding, Report, Verdict};

/// Width of a line, where sentences are wrapped (as in the help).
const WIDTH: usize = 100;

pub(super) async fn perform(
    folder: &Path,
    environment: &Environment,
    answer: &mut Answer<'_>,
) -> Result<u8, Failure> {
    let asked = match Client::of_folder(folder) {
        Ok(client) => client.doctor().await,
        Err(error) => Err(error),
    };
    let silence = match asked {
        Ok(report) => return show(&report, answer),
        Err(ClientError::NotRunning { .. }) => Silence::NotRunning,
        Err(ClientError::Unreachable { .. }) => Silence::Dead,
        Err(error) => return Err(error.into()),
    };
    show(
        &offline::report(folder, environment, &silence).await,
        answer,
    )
}

fn show(report: &Report, answer: &mut Answer<'_>) -> Result<u8, Failure> {
    answer.show(report, text)?;
    Ok(if report.faults == 0 {
        code::OK
    } else {
        code::FAULT
    })
}

/// The worst first.
fn text(report: &Report) -> String {
    let mut out = match (report.faults, report.warnings) {
        (0, 0) => "Nothing is wrong.".to_owned(),
        (0, warnings) => format!("No fault, {}.", count(warnings.into(), "warning")),
        (faults, 0) => format!("{}.", count(faults.into(), "fault")),
        (faults, warnings) => format!(
            "{}, {}.",
            count(faults.into(), "fault"),
            count(warnings.into(), "warning")
        ),
    };
    out.push('\n');
    for verdict in [Verdict::Fault, Verdict::Warning, Verdict::Ok] {
        let of = report
            .findings
            .iter()
            .filter(|finding| finding.verdict == verdict);
        for finding in of {
            if verdict != Verdict::Ok {
                out.push('\n');
            }
            line(&mut out, finding);
        }
        if verdict == Verdict::Warning && report.findings.iter().any(is_fine) {
            out.push('\n');
        }
    }
    out
}

fn is_fine(finding: &Finding) -> bool {
    finding.verdict == Verdict::Ok
}

fn line(out: &mut String, finding: &Finding) {
    let mark = match finding.verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        Verdict::Fault => "FAULT",
    };
    let head = format!("  {mark:7}  {:13}  ", finding.check);
    let indent = head.len();
    wrapped(out, &head, &clean(&finding.what), indent);
    if let Some(remedy) = &finding.remedy {
        let head = format!("{:indent$}", "");
        wrapped(out, &head, &clean(remedy), indent);
    }
}

/// A text after its head, on as many lines as it takes.
fn wrapped(out: &mut String, head: &str, text: &str, indent: usize) {
    let mut line = head.to_owned();
    for word in text.split_whitespace() {
        let begun = line.len() > indent;
        if begun && line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(out, "{}", line.trim_end());
            line = " ".repeat(indent);
        } else if begun {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(out, "{}", line.trim_end());
}
