//! The demonstration: a mesh comes up, pages cross it by every proxy, the route
//! is shown hop by hop with what each hop saw and what that costs, everything is checked and taken
//! down. The judging itself is in [`mod@follow`] and [`crate::money::bill`].

mod bill;
pub mod follow;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use futures::future::join_all;
use masq::control::types::{CircuitView, TraceRole, TraceView};

use crate::error::TestnetError;
use crate::fetch::{self, Via};
use crate::network::Testnet;
use crate::plan::Options;
use crate::report::{ProgressLine, size};
use crate::web::content;
use follow::{Check, Followed, follow, judge, judge_all, short};

/// Bytes of the larger objects of the demonstration: many cells in both
/// directions, and a trace that still fits into what nodes remember.
const OBJECT: u64 = 300_000;
/// How long one fetch may take.
const FETCH_LIMIT: Duration = Duration::from_secs(20);
/// How often the used circuit is looked for; guess. A young mesh still rewires,
/// and a circuit may have ended between the fetch and the look.
const LOOKS: usize = 5;
/// Pause before the next look; guess.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// Runs the demonstration, telling the story to `out`.
///
/// # Errors
/// The first thing that was not right. Logs are kept then, and the error or
/// the last line names their folder.
pub async fn run(
    options: Options,
    out: &mut (dyn Write + Send),
    line: &mut ProgressLine,
) -> Result<(), TestnetError> {
    let nodes = options.nodes;
    let start = std::time::Instant::now();
    let mut net = Testnet::start(options).await?;
    let formed = net.form(&mut |progress| line.show(progress)).await;
    line.finish();
    let result = match formed {
        Ok(()) => {
            say(
                out,
                format_args!(
                    "{nodes} nodes formed a mesh in {:.1} s.\n",
                    start.elapsed().as_secs_f64()
                ),
            );
            show(&mut net, out).await
        }
        Err(error) => Err(error),
    };
    if result.is_err() {
        net.keep_dir();
    }
    // An error that names the folder itself follows; once is enough.
    let dir = net.dir().display().to_string();
    if let Err(error) = &result
        && !error.to_string().contains(&dir)
    {
        say(out, format_args!("Logs of the nodes are in {dir}."));
    }
    let killed = net.down().await;
    result?;
    if let Some(first) = killed.first() {
        return Err(TestnetError::Checks {
            failed: killed.len(),
            checks: nodes,
            first: format!("{first} did not stop when asked and was killed"),
        });
    }
    say(
        out,
        format_args!("All {nodes} nodes stopped. Nothing is left running."),
    );
    Ok(())
}

async fn show(net: &mut Testnet, out: &mut (dyn Write + Send)) -> Result<(), TestnetError> {
    let mut checks = Vec::new();
    fetch_all(net, out, &mut checks).await?;
    let names = names(net);
    let origin = net.client().key();
    let (used, followed, traces) = look(net, &origin).await?;
    show_route(out, &used, &names, net.client().name());
    match followed {
        Ok(followed) => {
            show_sights(out, &followed, &names);
            checks.extend(judge(&origin, &followed));
        }
        Err(lost) => checks.push(Check {
            what: "the circuit can be followed through the traces".to_owned(),
            failed: Some(lost),
        }),
    }
    checks.push(judge_all(&traces));
    checks.extend(bill::settle(net, &used, out).await?);
    verdict(out, &checks)
}

async fn fetch_all(
    net: &Testnet,
    out: &mut (dyn Write + Send),
    checks: &mut Vec<Check>,
) -> Result<(), TestnetError> {
    say(
        out,
        format_args!("Fetches through {}:", net.client().name()),
    );
    let mut plan: Vec<(Via, String, Option<u64>)> = Vec::new();
    for way in net.ways() {
        plan.push((way.clone(), net.url("/"), None));
        plan.push((
            way.clone(),
            net.url(&format!("/bytes/{OBJECT}")),
            Some(OBJECT),
        ));
        if matches!(way, Via::Socks5 { .. }) {
            plan.push((way, net.url_at("127.0.0.1", "/bytes/1000"), Some(1000)));
        }
    }
    if plan.is_empty() {
        return Err(TestnetError::Options(
            "the client node has no proxy".to_owned(),
        ));
    }
    for (via, url, len) in plan {
        let what = format!("{} {url}", via.label());
        let got = fetch::get(&via, &url, FETCH_LIMIT)
            .await
            .map_err(|source| TestnetError::Fetch {
                what: what.clone(),
                source,
            })?;
        let wrong = if got.status != 200 {
            let body = String::from_utf8_lossy(&got.body);
            let reason = body.lines().next().unwrap_or_default();
            Some(format!("status {} {reason}", got.status))
        } else if let Some(len) = len {
            let hash = tokio::task::spawn_blocking(move || content::sha256(len)).await;
            (hash.ok() != Some(got.sha256)).then(|| "the hash differs".to_owned())
        } else {
            let page = String::from_utf8_lossy(&got.body).contains("It works");
            (!page).then(|| "another page than expected".to_owned())
        };
        say(
            out,
            format_args!(
                "  {} {:<20} {url}  {} in {:.1} ms, first byte after {:.1} ms",
                if wrong.is_none() { "ok  " } else { "FAIL" },
                via.label(),
                size(got.len),
                got.total.as_secs_f64() * 1e3,
                got.first_byte.as_secs_f64() * 1e3
            ),
        );
        checks.push(Check {
            what,
            failed: wrong,
        });
    }
    Ok(())
}

async fn traces(net: &Testnet) -> Result<Vec<TraceView>, TestnetError> {
    join_all(net.nodes().iter().map(|n| n.control().trace()))
        .await
        .into_iter()
        .collect()
}

/// Finds the circuit that carried most and can be followed: it, what was
/// followed or why nothing could be, and the traces of all nodes.
async fn look(
    net: &Testnet,
    origin: &str,
) -> Result<(CircuitView, Result<Followed, String>, Vec<TraceView>), TestnetError> {
    let mut looks = 1;
    loop {
        // Circuits first: whatever they carried by then is in the traces.
        let circuits = net.client().control().circuits().await?;
        let traces = traces(net).await?;
        let used = by_use(&circuits);
        let found = used
            .iter()
            .find_map(|view| Some((view, follow(origin, view, &traces).ok()?)));
        if let Some((view, followed)) = found {
            return Ok(((*view).clone(), Ok(followed), traces));
        }
        if looks == LOOKS {
            let Some(&view) = used.first() else {
                return Err(TestnetError::Control {
                    node: net.client().name().to_owned(),
                    reason: "lists no circuit that carried a flow".to_owned(),
                });
            };
            let lost = follow(origin, view, &traces);
            return Ok((view.clone(), lost, traces));
        }
        looks += 1;
        tokio::time::sleep(LOOK_AGAIN).await;
        // A used circuit that ended is replaced by one that carried this.
        if let Some(via) = net.ways().first() {
            let _ = fetch::get(via, &net.url("/"), FETCH_LIMIT).await;
        }
    }
}

/// The circuits that carried flows, the most used first.
fn by_use(circuits: &[CircuitView]) -> Vec<&CircuitView> {
    let mut used: Vec<_> = circuits.iter().filter(|c| c.flows_carried > 0).collect();
    used.sort_by_key(|c| std::cmp::Reverse((c.received_bytes, c.flows_carried, c.id)));
    used
}

fn names(net: &Testnet) -> BTreeMap<String, String> {
    net.nodes()
        .iter()
        .map(|n| (n.key(), n.name().to_owned()))
        .collect()
}

fn show_route(
    out: &mut dyn Write,
    circuit: &CircuitView,
    names: &BTreeMap<String, String>,
    origin: &str,
) {
    use masq::control::types::{HopRole, Leg};
    let name = |key: &str| {
        names
            .get(key)
            .map_or_else(|| short(key).to_owned(), Clone::clone)
    };
    let exit = circuit.hops.iter().find(|h| h.role == HopRole::Exit);
    let leg = |leg: Leg| {
        circuit
            .hops
            .iter()
            .filter(move |h| h.leg == leg)
            .map(|h| name(&h.node))
    };
    let over: Vec<_> = std::iter::once(origin.to_owned())
        .chain(leg(Leg::Over))
        .collect();
    let back: Vec<_> = exit
        .map(|h| name(&h.node))
        .into_iter()
        .chain(leg(Leg::Back))
        .chain([origin.to_owned()])
        .collect();
    say(
        out,
        format_args!(
            "\nThe route of the circuit that carried most (number {}):",
            circuit.id
        ),
    );
    say(out, format_args!("  over  {} -> server", over.join(" -> ")));
    say(out, format_args!("  back  server -> {}", back.join(" -> ")));
}

fn show_sights(out: &mut dyn Write, followed: &Followed, names: &BTreeMap<String, String>) {
    let name = |key: &Option<String>| {
        key.as_ref().map_or_else(
            || "-".to_owned(),
            |k| {
                names
                    .get(k)
                    .map_or_else(|| short(k).to_owned(), Clone::clone)
            },
        )
    };
    say(out, format_args!("\nWhat each hop saw of it:"));
    say(
        out,
        format_args!(
            "  {:<13} {:<11} {:<13} {:<13} {:<17} {:>5} {:<10} {:>5} {:<10}",
            "hop", "as", "from", "to", "server", "in", "first", "out", "first"
        ),
    );
    for sight in &followed.sights {
        if sight.role == TraceRole::Origin {
            continue;
        }
        let first = |bytes: &[(String, u32)]| {
            bytes
                .first()
                .map_or("-", |(digest, _)| short(digest))
                .to_owned()
        };
        let server = sight
            .targets
            .iter()
            .next()
            .map_or("(unknown)", String::as_str);
        say(
            out,
            format_args!(
                "  {:<13} {:<11} {:<13} {:<13} {server:<17} {:>5} {:<10} {:>5} {:<10}",
                name(&Some(sight.node.clone())),
                sight.role.to_string(),
                name(&sight.previous),
                name(&sight.next),
                sight.received.len(),
                first(&sight.received),
                sight.sent.len(),
                first(&sight.sent),
            ),
        );
    }
    say(
        out,
        format_args!(
            "  (in, out: pieces that passed; first: beginning of the SHA-256 of the first one)"
        ),
    );
}

fn verdict(out: &mut dyn Write, checks: &[Check]) -> Result<(), TestnetError> {
    say(out, format_args!("\nChecks:"));
    for check in checks {
        match &check.failed {
            None => say(out, format_args!("  ok   {}", check.what)),
            Some(why) => say(out, format_args!("  FAIL {}: {why}", check.what)),
        }
    }
    let failed: Vec<_> = checks.iter().filter(|c| c.failed.is_some()).collect();
    match failed.first() {
        None => Ok(()),
        Some(first) => Err(TestnetError::Checks {
            failed: failed.len(),
            checks: checks.len(),
            first: format!(
                "{}: {}",
                first.what,
                first.failed.as_deref().unwrap_or_default()
            ),
        }),
    }
}

/// Tells; a reader who went away does not stop the checks.
fn say(out: &mut dyn Write, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_names_the_first_failure() {
        let mut out = Vec::new();
        let good = Check {
            what: "one".into(),
            failed: None,
        };
        assert!(verdict(&mut out, std::slice::from_ref(&good)).is_ok());
        let bad = Check {
            what: "two".into(),
            failed: Some("because".into()),
        };
        let error = verdict(&mut out, &[good, bad]).unwrap_err();
        assert_eq!(error.to_string(), "1 of 2 checks failed: two: because");
        assert!(
            String::from_utf8(out)
                .unwrap()
                .contains("FAIL two: because")
        );
    }
}
