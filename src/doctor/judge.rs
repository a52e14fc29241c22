//! Facts in, findings out. One cause gives one fault: what only follows from a
//! fault that is reported is left out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use masq_gossip::{ReachOutcome, RefuseReason, SeedFailure};

use super::look::{Files, Folder};
use super::{Check, Facts, Finding, ReachFact, joining};
use crate::reach::{Idle, MapError, MappingState, Protocol, is_global, is_private};

/// By how many seconds clocks may differ (from gossip: records from further in the future are
/// refused).
const MAX_SKEW: i64 = 120;
/// Open files below which a busy node fails (guess: a thousand flows).
const FEW_FILES: u64 = 1024;
/// Ports that nodes dial at a stranger's word (from gossip).
const WEB_PORT: u16 = 443;
const FIRST_FREE_PORT: u16 = 1024;

/// What is to be said of a running node.
#[must_use]
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if facts.mode.joins() {
        findings.extend(clock(facts));
        findings.push(ports(facts));
        findings.extend(nat(facts));
        findings.extend(reachability(facts));
        findings.extend(address(facts));
    }
    joining::judge(facts, &mut findings);
    findings.extend(facts.resolver.as_ref().map(resolver));
    findings.push(folder(&facts.folder));
    findings.extend(facts.files.map(files));
    findings
}

fn clock(facts: &Facts) -> Option<Finding> {
    let refused = facts
        .attempts
        .iter()
        .filter(|(_, why)| matches!(why, SeedFailure::Refused(RefuseReason::BadRecord)));
    let refused = refused.count();
    let mut ahead: Vec<i64> = facts.clocks.iter().map(|clock| clock.ahead).collect();
    ahead.sort_unstable();
    // The one in the middle, so that one neighbour with a wrong clock, or a lie, does not count.
    let median = ahead.get(ahead.len() / 2).copied();
    let settled = facts.clocks.iter().any(|clock| clock.settled);
    let remedy =
        "Set it right, best by time synchronisation (for example: timedatectl set-ntp true).";
    let others = neighbours(ahead.len());
    match median {
        Some(ahead) if ahead > MAX_SKEW => Some(Finding::fault(
            Check::Clock,
            format!(
                "This machine's clock is about {} behind those of {others}.",
                span(ahead)
            ),
            remedy,
        )),
        Some(ahead) if settled && ahead < -MAX_SKEW => Some(Finding::fault(
            Check::Clock,
            format!(
                "This machine's clock is about {} ahead of those of {others}.",
                span(-ahead)
            ),
            remedy,
        )),
        _ if refused > 0 && facts.neighbours == 0 => Some(Finding::fault(
            Check::Clock,
            format!(
                "{} refused this node's record, which happens when this machine's clock is wrong.",
                joining::nodes(refused)
            ),
            "Compare the clock with another one, and set it right.",
        )),
        Some(ahead) if settled || ahead >= -MAX_SKEW => Some(Finding::ok(
            Check::Clock,
            format!("The clock agrees with those of {others}."),
        )),
        Some(_) => Some(Finding::ok(
            Check::Clock,
            format!(
                "The clock is not behind those of {others}; whether it is ahead will be known in \
                 a quarter of an hour."
            ),
        )),
        None => None,
    }
}

fn span(seconds: i64) -> String {
    match seconds {
        ..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn neighbours(count: usize) -> String {
    match count {
        1 => "1 neighbour".to_owned(),
        count => format!("{count} neighbours"),
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn port_fine(port: u16) -> bool {
    port == WEB_PORT || port >= FIRST_FREE_PORT
}

fn ports(facts: &Facts) -> Finding {
    if !facts.mode.accepts_connections() {
        return Finding::ok(
            Check::Ports,
            format!("In mode {} no port is needed.", facts.mode),
        );
    }
    if facts.listening.is_empty() {
        return Finding::fault(
            Check::Ports,
            "The node does not listen anywhere any more.",
            "Look at its log, and restart it.",
        );
    }
    let odd: Vec<u16> = (facts.listening.iter().map(SocketAddr::port))
        .filter(|port| !port_fine(*port))
        .collect();
    if !odd.is_empty() {
        return Finding::warning(
            Check::Ports,
            format!(
                "The node listens on port {}, which other nodes do not dial when they are \
                 introduced to it.",
                list(&odd)
            ),
            "Set `listen` to port 443, or to one from 1024 on.",
        );
    }
    Finding::ok(
        Check::Ports,
        format!("Other nodes are accepted on {}.", list(&facts.listening)),
    )
}

/// The port to forward at a router, as far as one can tell.
fn inside_port(facts: &Facts) -> String {
    let first = facts.listening.first();
    first.map_or_else(|| "6277".to_owned(), |address| address.port().to_string())
}

fn forward(facts: &Facts) -> String {
    let port = inside_port(facts);
    let here = facts
        .local
        .map_or_else(|| "this machine".to_owned(), |ip| ip.to_string());
    format!(
        "forward TCP port {port} to {here} in the router's settings and set `advertise` to its public address"
    )
}

fn nat(facts: &Facts) -> Option<Finding> {
    let ok = |what: &str| Some(Finding::ok(Check::Nat, what));
    match &facts.mapping {
        MappingState::Idle(idle) => nat_idle(facts, *idle),
        MappingState::Asking => Some(Finding::warning(
            Check::Nat,
            "The router is being asked to let other nodes through.",
            "Ask again in half a minute.",
        )),
        MappingState::Mapped(mapped) => {
            let (outside, inside) = (mapped.external, mapped.internal.port());
            let other = if outside.port() == inside {
                String::new()
            } else {
                format!(" It gave port {} instead of {inside}.", outside.port())
            };
            ok(&format!(
                "The router sends {outside} on to this node ({}).{other}",
                mapped.protocol
            ))
        }
        MappingState::Failed(failures) => {
            let outside = failures.iter().find_map(|(_, error)| match error {
                MapError::BehindAnother(ip) => Some(*ip),
                _ => None,
            });
            Some(match outside {
                Some(ip) => nat_double(facts, ip),
                None => nat_failed(facts, failures),
            })
        }
    }
}

fn nat_idle(facts: &Facts, idle: Idle) -> Option<Finding> {
    let ok = |what: &str| Some(Finding::ok(Check::Nat, what));
    let private = facts.local.is_some_and(is_private);
    match idle {
        Idle::AcceptsNone => None,
        Idle::SwitchedOff if private => Some(Finding::warning(
            Check::Nat,
            "This machine has a private address, and mapping_protocol is off: no router is asked \
             to let other nodes through.",
            format!("Set mapping_protocol to \"auto\"; or {}.", forward(facts)),
        )),
        Idle::SwitchedOff => ok("mapping_protocol is off: no router is asked."),
        Idle::Advertised => ok("`advertise` says where this node is: no router is asked."),
        Idle::Development => ok("On chain dev no router is asked."),
        Idle::Loopback => Some(Finding::warning(
            Check::Nat,
            "The node listens on a loopback address: no other machine can dial it.",
            "Set `listen` to 0.0.0.0:6277, or mode to \"originate-only\".",
        )),
        Idle::NoIpv4 => ok("The node listens on IPv6 only, where routers translate nothing."),
        Idle::Public => ok("This machine has a public address: no router is asked."),
        Idle::NoNetwork => Some(Finding::fault(
            Check::Nat,
            "This machine has no route to the internet.",
            "Connect it to a network.",
        )),
    }
}

fn nat_double(facts: &Facts, outside: Ipv4Addr) -> Finding {
    Finding::fault(
        Check::Nat,
        format!(
            "The router is itself behind another one (its own address outside is {outside}), so \
             nobody can be let through from here."
        ),
        format!(
            "Put one of the two into bridge mode, or forward TCP port {} on both and set \
             `advertise`; where the other one is your provider's, set mode to \"originate-only\".",
            inside_port(facts)
        ),
    )
}

fn nat_failed(facts: &Facts, failures: &[(Protocol, MapError)]) -> Finding {
    let said: Vec<String> = failures
        .iter()
        .map(|(protocol, error)| format!("{protocol}: {error}"))
        .collect();
    let what = format!(
        "The router does not let other nodes through when asked ({}).",
        said.join("; ")
    );
    let remedy = format!(
        "Switch on UPnP or NAT-PMP in the router's settings; or {}; or set mode to \
         \"originate-only\".",
        forward(facts)
    );
    let reached = facts
        .reach
        .as_ref()
        .is_some_and(|reach| reach.outcome == ReachOutcome::Reached);
    if reached || facts.dialled_from_outside > 0 {
        return Finding::warning(Check::Nat, what, remedy);
    }
    Finding::fault(Check::Nat, what, remedy)
}

fn reachability(facts: &Facts) -> Option<Finding> {
    if !facts.mode.accepts_connections() {
        return None;
    }
    match &facts.reach {
        Some(reach) => match reach.outcome {
            ReachOutcome::Reached => Some(reached(facts, reach)),
            ReachOutcome::NotReached => Some(not_reached(facts, reach)),
            outcome => Some(unknown(
                facts,
                &format!("the last one asked said: {outcome}"),
            )),
        },
        // Why there are no neighbours is said elsewhere.
        None if facts.neighbours == 0 => None,
        None => Some(unknown(facts, "none has been asked yet")),
    }
}

fn reached(facts: &Facts, reach: &ReachFact) -> Finding {
    let ports = list(&reach.reached);
    let from_outside = reach.seen.is_some_and(is_global);
    if from_outside || facts.dev {
        let what = format!("A neighbour has dialled this node at port {ports} and reached it.");
        return Finding::ok(Check::Reachability, what);
    }
    Finding::warning(
        Check::Reachability,
        format!(
            "A neighbour within this network has reached this node at port {ports}; whether it \
             can be reached from outside is not known."
        ),
        "Ask again when the node has a neighbour elsewhere.",
    )
}

fn not_reached(facts: &Facts, reach: &ReachFact) -> Finding {
    let at = match reach.seen {
        Some(ip) => SocketAddr::new(ip, reach.asked.first().copied().unwrap_or(0)).to_string(),
        None => format!("port {}", list(&reach.asked)),
    };
    let what = format!("A neighbour has dialled this node at {at} and did not reach it.");
    if facts.dialled_from_outside > 0 {
        return Finding::warning(
            Check::Reachability,
            format!(
                "{what} Yet {} came by dialling it.",
                neighbours(facts.dialled_from_outside)
            ),
            "Ask again later; it may have been that neighbour's connection.",
        );
    }
    let remedy = match &facts.mapping {
        MappingState::Mapped(mapped) => format!(
            "The router says that it lets port {} through: look for a firewall on this machine, \
             or for a second router before it.",
            mapped.external.port()
        ),
        _ if !(facts.listening.iter()).any(|at| reach.asked.contains(&at.port())) => format!(
            "The node listens on port {}, and `advertise` names port {}: correct it, or have that \
             port forwarded to this one.",
            inside_port(facts),
            list(&reach.asked)
        ),
        MappingState::Failed(_) => {
            "What is said of the router helps; or set mode to \"originate-only\".".to_owned()
        }
        _ => format!(
            "Let TCP port {} through the firewall of this machine and of its network; or set mode \
             to \"originate-only\".",
            list(&reach.asked)
        ),
    };
    Finding::fault(Check::Reachability, what, remedy)
}

fn unknown(facts: &Facts, why: &str) -> Finding {
    if facts.dialled_from_outside > 0 || (facts.dev && facts.dialled > 0) {
        return Finding::ok(
            Check::Reachability,
            format!("{} came by dialling this node.", neighbours(facts.dialled)),
        );
    }
    Finding::warning(
        Check::Reachability,
        format!("No neighbour has told whether it can reach this node ({why})."),
        "Ask again in five minutes.",
    )
}

fn address(facts: &Facts) -> Option<Finding> {
    let reach = facts.reach.as_ref()?;
    let seen = reach.seen.filter(|ip| is_global(*ip))?;
    if !facts.mode.accepts_connections() {
        return None;
    }
    let port = reach.reached.first();
    let Some(host) = &facts.advertised else {
        return port.map(|port| {
            let here = SocketAddr::new(seen, *port);
            Finding::warning(
                Check::Address,
                format!("The node can be reached at {here}, and has no descriptor to say so."),
                format!("Set `advertise` to \"{here}\", if that address stays the same."),
            )
        });
    };
    let told: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    match (told, facts.mapping.external()) {
        (Some(told), _) if told == seen => Some(Finding::ok(
            Check::Address,
            format!("Neighbours see this node where it says that it is ({seen})."),
        )),
        // Seen by the other kind of address.
        (Some(told), _) if told.is_ipv4() != seen.is_ipv4() => None,
        (Some(told), Some(_)) => Some(Finding::fault(
            Check::Address,
            format!(
                "The router says that its address outside is {told}, and neighbours see {seen}."
            ),
            "There is a second translation, by your provider or another router: ask for a public \
             address, or set mode to \"originate-only\".",
        )),
        (Some(told), None) => Some(Finding::fault(
            Check::Address,
            format!("The node tells others to dial {told}, and neighbours see it at {seen}."),
            "Correct `advertise` (or `source`, if this machine has both addresses).",
        )),
        (None, _) => None,
    }
}

pub(super) fn resolver(outcome: &Result<std::time::Duration, String>) -> Finding {
    match outcome {
        Ok(took) => Finding::ok(
            Check::Resolver,
            format!("The DNS servers answer (within {} ms).", took.as_millis()),
        ),
        Err(why) => Finding::fault(
            Check::Resolver,
            format!("Names can't be resolved: {why}."),
            "Set `dns_servers` to servers that this machine can reach; without it the system's \
             are asked.",
        ),
    }
}

pub(super) fn folder(folder: &Folder) -> Finding {
    match folder {
        Folder::Private => Finding::ok(Check::DataFolder, "Only you can read the data folder."),
        Folder::Missing(path) => Finding::ok(
            Check::DataFolder,
            format!(
                "{} does not exist; it is made at the first start.",
                path.display()
            ),
        ),
        Folder::Unusable(path, why) => Finding::fault(
            Check::DataFolder,
            format!("{} can't be used: {why}.", path.display()),
            "Give yourself the right to write there, or choose another with --data-dir.",
        ),
        Folder::Open(path, mode) => Finding::warning(
            Check::DataFolder,
            format!("Others can look into {} (mode {mode:03o}).", path.display()),
            format!("Type: chmod 700 {}", path.display()),
        ),
        Folder::Exposed(path, mode) => Finding::fault(
            Check::DataFolder,
            format!(
                "Others can read {} (mode {mode:03o}), and it holds a secret.",
                path.display()
            ),
            format!("If nobody has, type: chmod 600 {}", path.display()),
        ),
    }
}

pub(super) fn files(files: Files) -> Finding {
    let Files { open, limit } = files;
    let raise = "Raise the limit: `ulimit -n 65536` before the start, or LimitNOFILE=65536 in the \
                 service's unit.";
    match open {
        Some(open) if open > limit / 5 * 4 => Finding::fault(
            Check::OpenFiles,
            format!("{open} files are open, of {limit} that may be; new flows will soon fail."),
            raise,
        ),
        _ if limit < FEW_FILES => Finding::warning(
            Check::OpenFiles,
            format!("Only {limit} files may be open, and each flow needs one."),
            raise,
        ),
        _ => Finding::ok(Check::OpenFiles, format!("{limit} files may be open.")),
    }
}
