//! What is to be said of neighbours, entry links, exits and routes.

use std::time::Duration;

use masq_gossip::{RefuseReason, SeedFailure, Stage};

use super::{Check, Facts, Finding};

/// How long joining may take before it is worth a word (guess: a slow link, and a few refusals).
const PATIENCE: Duration = Duration::from_secs(20);
/// Refusals and failed attempts that are told one by one (guess: what a person reads).
const MAX_TOLD: usize = 3;

/// What helps a node that pays nobody among nodes that ask for money.
const PAYMENTS_ON: &str = "Set `payments = true`, which needs an endpoint of the chain (`rpc`) and a \
                           wallet (masq wallet generate); or join a mesh whose nodes ask for nothing.";

pub(super) fn judge(facts: &Facts, findings: &mut Vec<Finding>) {
    if !facts.mode.joins() {
        findings.push(Finding::ok(
            Check::Neighbours,
            "In mode zero-hop there are none: the proxies connect straight out, without privacy.",
        ));
        return;
    }
    findings.push(neighbours(facts));
    // Without neighbours there can be nothing of the rest.
    if facts.neighbours == 0 {
        return;
    }
    findings.extend(entry_link(facts));
    findings.push(exits(facts));
    // A route to no exit is no second fault.
    if facts.exits > 0 && facts.usable_exits > 0 && facts.mode.originates() {
        findings.push(route(facts));
    }
}

/// `1 node`, `2 nodes`.
pub(super) fn nodes(count: usize) -> String {
    match count {
        1 => "1 node".to_owned(),
        count => format!("{count} nodes"),
    }
}

/// `ABCDEFGH: no node answers at its address; …`
fn told(attempts: &[(String, SeedFailure)]) -> String {
    let mut told: Vec<String> = attempts
        .iter()
        .take(MAX_TOLD)
        .map(|(node, why)| format!("{node}: {why}"))
        .collect();
    if attempts.len() > MAX_TOLD {
        told.push(format!("{} more", attempts.len() - MAX_TOLD));
    }
    told.join("; ")
}

fn neighbours(facts: &Facts) -> Finding {
    let check = Check::Neighbours;
    match facts.neighbours {
        0 => none(facts),
        1 if facts.uptime > PATIENCE && facts.mode.routes() => Finding::warning(
            check,
            format!("There is one neighbour only{}.", refusals(facts)),
            "Wait: the node looks for more by itself. In a very small network there may be none; a \
             second descriptor in `neighbours` helps.",
        ),
        count => {
            let are = if count == 1 {
                "There is 1 neighbour".to_owned()
            } else {
                format!("There are {count} neighbours")
            };
            Finding::ok(check, format!("{are}{}.", refusals(facts)))
        }
    }
}

/// Who has refused, beside the neighbours that there are.
fn refusals(facts: &Facts) -> String {
    if facts.attempts.is_empty() {
        return String::new();
    }
    format!("; could not be joined: {}", told(&facts.attempts))
}

fn none(facts: &Facts) -> Finding {
    let check = Check::Neighbours;
    let descriptor = "Get a descriptor from somebody who runs a node (they type: masq descriptor), \
                      and put it into the setting `neighbours`.";
    if let Some((_, why)) = facts.attempts.first() {
        return Finding::fault(
            check,
            format!("There is no neighbour ({}).", told(&facts.attempts)),
            remedy(why),
        );
    }
    if facts.seeds == 0 && facts.remembered == 0 {
        let what = "There is no neighbour, and nobody to ask: no descriptor is configured, and no \
                    past neighbour is remembered.";
        return Finding::fault(check, what, descriptor);
    }
    if facts.uptime < PATIENCE {
        let what = "There is no neighbour yet; the node has just begun to ask.";
        return Finding::warning(check, what, "Ask again in some seconds.");
    }
    let what = format!(
        "There is no neighbour; {} that this node knows of did not answer.",
        nodes(facts.seeds + facts.remembered)
    );
    Finding::fault(
        check,
        what,
        format!("See whether this machine is online. {descriptor}"),
    )
}

/// What to do about an attempt that failed.
fn remedy(why: &SeedFailure) -> &'static str {
    match why {
        SeedFailure::Unreachable => {
            "See whether this machine is online, and whether that node runs; or get another \
             descriptor."
        }
        SeedFailure::NoSuchName => {
            "See whether the name in the descriptor is written right, and whether this machine can \
             resolve names; or get another descriptor."
        }
        SeedFailure::WrongKey => {
            "The node was set up anew, or the descriptor is wrong: get the present one (its \
             operator types: masq descriptor)."
        }
        SeedFailure::NotANode => {
            "Something else listens there: get the present descriptor (its operator types: masq \
             descriptor)."
        }
        SeedFailure::Refused(reason) => refusal_remedy(*reason),
        _ => "Get another descriptor.",
    }
}

fn refusal_remedy(reason: RefuseReason) -> &'static str {
    match reason {
        RefuseReason::Full | RefuseReason::NoEntryRoom => {
            "Wait: the node keeps asking. If it stays like this, get a second descriptor."
        }
        RefuseReason::WrongChain => {
            "Get a descriptor of this node's chain, or set `chain` to that node's."
        }
        RefuseReason::BadRecord => {
            "Compare this machine's clock with another one, and set it right."
        }
        RefuseReason::SameAddress | RefuseReason::SamePrefix => {
            "Get a descriptor of a node elsewhere: this one has a neighbour as near to you as it \
             allows, maybe another node of yours."
        }
        RefuseReason::TooOften => "Wait a minute; the node tries again by itself.",
        RefuseReason::ShuttingDown => "Wait until that node is back, or get another descriptor.",
        RefuseReason::Banned => {
            "Get another descriptor; or ask that node's operator, who can lift the ban (masq bans)."
        }
        RefuseReason::Duplicate => "Wait some seconds; the two were dialling each other.",
        _ => "Get another descriptor; that node may be of a newer version.",
    }
}

fn entry_link(facts: &Facts) -> Option<Finding> {
    if !facts.mode.originates() {
        return None;
    }
    let check = Check::EntryLink;
    Some(match facts.entries {
        0 => Finding::fault(
            check,
            "No neighbour serves as entry: circuits of this node have nowhere to begin.",
            "Wait half a minute, the node keeps asking; if it stays like this, add another \
             descriptor to `neighbours`.",
        ),
        1 => Finding::ok(
            check,
            "One neighbour serves as entry for this node's circuits.",
        ),
        count => Finding::ok(
            check,
            format!("{count} neighbours serve as entries for this node's circuits."),
        ),
    })
}

fn exits(facts: &Facts) -> Finding {
    let known = format!("among {} known", nodes(facts.nodes));
    match facts.exits {
        0 if facts.mode.originates() => Finding::fault(
            Check::Exits,
            format!("There is no exit {known}, so nothing can be reached."),
            "Wait: records spread within seconds. If the network has no exit, somebody must run \
             one (setting `exit`).",
        ),
        _ if facts.usable_exits == 0 && facts.mode.originates() => Finding::fault(
            Check::Exits,
            format!("No exit {known} serves unpaid, and payments are off here."),
            PAYMENTS_ON,
        ),
        1 => Finding::ok(Check::Exits, format!("There is 1 exit {known}.")),
        count => Finding::ok(Check::Exits, format!("There are {count} exits {known}.")),
    }
}

fn route(facts: &Facts) -> Finding {
    let (hops, least) = &facts.hops;
    let hops = match hops.as_str() {
        "1" => "1 hop".to_owned(),
        hops => format!("{hops} hops"),
    };
    if facts.stage == Stage::RouteFound {
        let what = format!("A circuit of {hops} leads to an exit.");
        return Finding::ok(Check::Route, what);
    }
    if facts.uptime < PATIENCE {
        let what = format!("There is no circuit of {hops} to an exit yet.");
        return Finding::warning(Check::Route, what, "Ask again in some seconds.");
    }
    if facts.paid_nodes {
        return Finding::fault(
            Check::Route,
            format!(
                "No circuit of {hops} over nodes that serve unpaid leads to an exit, and payments \
                 are off here."
            ),
            PAYMENTS_ON,
        );
    }
    if *least == 1 {
        return Finding::fault(
            Check::Route,
            "No neighbour that serves as entry is an exit, as a circuit of 1 hop needs it.",
            "Use more hops (masq set hops 3), which hides more as well.",
        );
    }
    if facts.nodes < *least {
        return Finding::fault(
            Check::Route,
            format!(
                "Only {} known beside this one, too few for a circuit of {hops}.",
                match facts.nodes {
                    1 => "1 node is".to_owned(),
                    count => format!("{count} nodes are"),
                }
            ),
            "Have more nodes join, or use fewer hops (for example: masq set hops 1), which hides \
             less.",
        );
    }
    Finding::fault(
        Check::Route,
        format!("No circuit of {hops} leads to an exit, as the nodes around are linked now."),
        "Wait a minute, the node looks for better neighbours; or use fewer hops (masq set hops 2), \
         which hides less.",
    )
}
