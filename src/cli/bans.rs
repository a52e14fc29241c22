//! `masq bans`: who is banned and why, in words; changing it; and checking evidence,
//! which needs no daemon.

use std::fmt::Write;

use clap::Subcommand;
use masq_gossip::{Lie, Proof, Record, SignedRecord};
use serde::Serialize;

use super::text::{clean, count, duration, seconds, table};
use super::{Answer, Failure, code};
use crate::control::Client;
use crate::control::types::{BanRequest, BanView, short};

#[derive(Debug, Subcommand)]
pub(super) enum BansCommand {
    /// Who is banned, why, and for how long
    List {
        /// Show what proves the lies of those banned for one
        #[arg(long)]
        evidence: bool,
    },
    /// Ban a node: its link ends, and no circuit of yours crosses it
    Add {
        /// Its key, or the first 8 or more characters of it
        node: String,
        /// Why, for your own memory
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// For how long: 90s, 30m, 24h, 7d, or forever
        #[arg(long = "for", value_name = "TIME", default_value = "forever", value_parser = life)]
        life: Life,
    },
    /// Lift a ban
    Remove {
        /// The node's key, or the first 8 or more characters of it
        node: String,
    },
    /// Check evidence, from your node or from somebody else
    Check {
        /// What `masq bans list --evidence` shows
        #[arg(value_name = "HEX")]
        evidence: String,
    },
}

/// How long a ban lasts, in seconds; `None` until it is lifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life(Option<u64>);

fn life(text: &str) -> Result<Life, String> {
    if text == "forever" {
        return Ok(Life(None));
    }
    let life = seconds(text).map(|seconds| Life(Some(seconds)));
    life.map_err(|_| "write for example 30m, 24h, 7d or forever".to_owned())
}

/// Does what needs no daemon; `None` for the rest.
pub(super) fn offline(
    command: &BansCommand,
    answer: &mut Answer<'_>,
) -> Option<Result<(), Failure>> {
    match command {
        BansCommand::Check { evidence } => {
            Some(check(evidence).and_then(|checked| answer.show(&checked, Checked::text)))
        }
        _ => None,
    }
}

pub(super) async fn perform(
    command: &BansCommand,
    client: &Client,
    answer: &mut Answer<'_>,
) -> Result<(), Failure> {
    match command {
        BansCommand::List { evidence } => {
            let bans = client.bans(*evidence).await?;
            answer.show(&bans, |bans| list(bans))
        }
        BansCommand::Add { node, reason, life } => {
            let request = BanRequest {
                node: node.clone(),
                reason: reason.clone(),
                life_seconds: life.0,
            };
            answer.show(&client.ban(&request).await?, added)
        }
        BansCommand::Remove { node } => answer.show(&client.unban(node).await?, |ban| {
            format!(
                "The ban of {} is lifted; it may come back.\n",
                clean(short(&ban.node))
            )
        }),
        BansCommand::Check { .. } => Ok(()),
    }
}

fn added(ban: &BanView) -> String {
    let node = clean(short(&ban.node));
    match ban.left_seconds {
        Some(left) => format!("Node {node} is banned for {}.\n", duration(left)),
        None => format!("Node {node} is banned until you lift it: masq bans remove {node}\n"),
    }
}

fn list(bans: &[BanView]) -> String {
    if bans.is_empty() {
        return "No node is banned.\n".into();
    }
    let mut out = format!("{}\n\n", count(bans.len() as u64, "ban"));
    let mut rows = vec![
        ["node", "banned", "still", "why"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(bans.iter().map(|ban| {
        let left = ban.left_seconds.map_or_else(|| "forever".into(), duration);
        let since = format!("{} ago", duration(ban.since_seconds));
        vec![short(&ban.node).to_owned(), since, left, ban.reason.clone()]
    }));
    table(&mut out, &rows);
    let proven = bans
        .iter()
        .filter_map(|ban| Some((ban, ban.evidence.as_ref()?)));
    let mut any = false;
    for (ban, evidence) in proven {
        any = true;
        let _ = writeln!(
            out,
            "\nEvidence against {}\n{}",
            clean(&ban.node),
            clean(evidence)
        );
    }
    if any {
        out.push_str(
            "\nAnybody can check it, on any machine: masq bans check HEX\n\
             It is records as they were signed, each after its length in two bytes; the last 64 \
             bytes of each\nare the signature. docs/spec/gossip.md describes them (sections 3 and \
             14).\n",
        );
    }
    out
}

/// What evidence shows.
#[derive(Debug, Serialize)]
struct Checked {
    node: String,
    chain: String,
    lie: &'static str,
    version: u64,
    /// Fields in which the two records differ.
    differs: Vec<&'static str>,
    /// How many neighbours the first one lists.
    neighbours: usize,
}

fn check(evidence: &str) -> Result<Checked, Failure> {
    let worthless = |why: String| {
        let hint = "Copy the whole of it, from `masq bans list --evidence`.".to_owned();
        Failure::new(code::REFUSED, format!("this proves nothing: {why}"), hint)
    };
    let bytes = hex::decode(evidence.trim()).map_err(|error| worthless(error.to_string()))?;
    let proof = Proof::from_evidence(&bytes).map_err(|error| worthless(error.to_string()))?;
    let records: Vec<SignedRecord> = (proof.records().iter())
        .filter_map(|bytes| SignedRecord::parse(bytes).ok())
        .collect();
    let (lie, differs) = match (proof.lie(), &records[..]) {
        (Lie::Equivocation, [one, other]) => ("equivocation", differences(one, other)),
        _ => ("over-cap", Vec::new()),
    };
    Ok(Checked {
        node: proof.node().to_string(),
        chain: proof.chain().to_string(),
        lie,
        version: proof.version(),
        differs,
        neighbours: proof.listed(),
    })
}

fn differences(one: &Record, other: &Record) -> Vec<&'static str> {
    let fields = [
        (
            "onion key",
            (one.onion, one.previous_onion) != (other.onion, other.previous_onion),
        ),
        ("earning wallet", one.earning_wallet != other.earning_wallet),
        ("rates", one.rates != other.rates),
        ("roles", one.roles != other.roles),
        ("exit policy", one.policy != other.policy),
        ("country", one.country != other.country),
        ("neighbours", one.neighbours != other.neighbours),
        (
            "times",
            (one.issued, one.expires) != (other.issued, other.expires),
        ),
    ];
    let differing = fields.into_iter().filter(|(_, differs)| *differs);
    differing.map(|(name, _)| name).collect()
}

impl Checked {
    fn text(&self) -> String {
        let Self {
            node,
            chain,
            version,
            ..
        } = self;
        let what = if self.lie == "equivocation" {
            format!(
                "signed two different records with version {version}. They differ in: {}.\n\
                 Both signatures are its own.",
                self.differs.join(", ")
            )
        } else {
            format!(
                "signed a record (version {version}) that lists {} neighbours; five are allowed.\n\
                 The signature is its own.",
                self.neighbours
            )
        };
        format!("It is proof. Node {node}\non chain {chain} {what}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("24h", 86_400), ("7d", 604_800)] {
            assert_eq!(life(text), Ok(Life(Some(seconds))), "{text}");
        }
        assert_eq!(life("forever"), Ok(Life(None)));
        for bad in [
            "",
            "h",
            "24",
            "0h",
            "-1h",
            "1.5h",
            "24 h",
            "99999999999999999999d",
            "1ř",
        ] {
            assert!(life(bad).is_err(), "{bad}");
        }
        assert!(life(&format!("{}d", u64::MAX)).is_err());
    }
}
