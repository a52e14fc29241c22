//! Follows one circuit through the traces of all nodes by the bytes alone, and
//! judges what it finds: who knew what, and whether anything was the same on
//! two links. Pure: traces in, findings out.
//!
//! A node's numbers for its circuits mean nothing on other nodes, so the next
//! hop's piece is the one that received what this hop sent.

use std::collections::{BTreeMap, BTreeSet};

use masq::control::types::{
    CircuitView, HopRole, HopView, Leg, TraceEntry, TraceKind, TraceRole, TraceView,
};

/// Most hops a loop can have, from the specification: twelve, and the origin
/// at both ends.
const MAX_STEPS: usize = 14;

/// One hop's piece of a circuit: what this node saw of it in one role.
#[derive(Debug, Clone)]
pub struct Sight {
    /// Node key.
    pub node: String,
    /// What it was.
    pub role: TraceRole,
    /// The node that it got bytes from.
    pub previous: Option<String>,
    /// The node that it sent bytes to.
    pub next: Option<String>,
    /// Servers that it was told of.
    pub targets: BTreeSet<String>,
    /// Digest and size of what arrived, in order.
    pub received: Vec<(String, u32)>,
    /// Digest and size of what it sent on, in order.
    pub sent: Vec<(String, u32)>,
    /// Size of the set-up package that arrived or, at the origin, left.
    pub setup_size: Option<u32>,
}

/// A circuit as the traces show it, in order of travel: the origin, the hops,
/// and the origin again.
#[derive(Debug, Clone)]
pub struct Followed {
    /// What each stop saw.
    pub sights: Vec<Sight>,
}

impl Followed {
    /// True when its exit, in the very passage that was followed, was told of a
    /// server.
    fn exit_was_told(&self) -> bool {
        self.sights
            .iter()
            .any(|s| s.role == TraceRole::Exit && !s.targets.is_empty())
    }

    /// Flows that its hops were told of, and bytes that passed.
    fn carried(&self) -> (usize, u64) {
        let flows = self.sights.iter().map(|s| s.targets.len()).sum();
        let bytes = |s: &Sight| {
            s.received
                .iter()
                .map(|(_, size)| u64::from(*size))
                .sum::<u64>()
        };
        (flows, self.sights.iter().map(bytes).sum())
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What ought to be so.
    pub what: String,
    /// Why it is not so, or nothing.
    pub failed: Option<String>,
}

impl Check {
    fn new(what: &str, failed: Option<String>) -> Self {
        Self {
            what: what.to_owned(),
            failed,
        }
    }
}

type Pieces<'a> = BTreeMap<(&'a str, TraceRoleKey, u64), Vec<&'a TraceEntry>>;
/// `TraceRole` has no order; its name has.
type TraceRoleKey = String;

/// Finds the circuit `view` of node `origin` in the traces. Where the origin
/// itself keeps no trace, the trail begins and ends at its neighbours. Of a
/// circuit that carried flows, the exit must have been told of one: a circuit
/// over the same hops that only stood ready is not taken for it.
///
/// # Errors
/// A sentence that says where the trail was lost.
pub fn follow(origin: &str, view: &CircuitView, traces: &[TraceView]) -> Result<Followed, String> {
    let pieces = pieces(traces);
    let mut lost = "the circuit has no hops".to_owned();
    let mut found: Option<Followed> = None;
    for start in starts(origin, view, &pieces) {
        match walk(origin, view, &pieces, start) {
            Ok(followed) if view.flows_carried > 0 && !followed.exit_was_told() => {
                lost = "no passage of the circuit's exit was told of a server".to_owned();
            }
            // Circuits over the very same hops look alike from here. The one
            // meant has carried most, so it beats those that were only ready.
            Ok(followed)
                if found
                    .as_ref()
                    .is_none_or(|f| f.carried() < followed.carried()) =>
            {
                found = Some(followed);
            }
            Ok(_) => {}
            Err(error) => lost = error,
        }
    }
    found.ok_or(lost)
}

fn walk(
    origin: &str,
    view: &CircuitView,
    pieces: &Pieces<'_>,
    start: Sight,
) -> Result<Followed, String> {
    let mut sights = vec![start];
    let begun = usize::from(sights[0].role != TraceRole::Origin);
    for (index, hop) in view.hops.iter().enumerate().skip(begun) {
        let sent = digests(&sights.last().expect("begins with a start").sent);
        let role = role_of(hop);
        let sight = piece_that_received(pieces, &hop.node, role, &sent).ok_or_else(|| {
            let (number, node) = (index + 1, short(&hop.node));
            format!("hop {number} ({node}) received nothing that the stop before it sent")
        })?;
        sights.push(sight);
    }
    let sent = digests(&sights.last().expect("not empty").sent);
    match piece_that_received(pieces, origin, TraceRole::Origin, &sent) {
        Some(home) => sights.push(home),
        None if begun == 1 => {}
        None => return Err("the origin received nothing that the last hop sent".to_owned()),
    }
    if sights.len() > MAX_STEPS {
        return Err("the circuit is longer than the protocol allows".to_owned());
    }
    Ok(Followed { sights })
}

/// What the hop's trace calls it.
fn role_of(hop: &HopView) -> TraceRole {
    match (hop.role, hop.leg) {
        (HopRole::Exit, _) => TraceRole::Exit,
        (_, Leg::Back) => TraceRole::BackRelay,
        _ => TraceRole::OverRelay,
    }
}

fn pieces(traces: &[TraceView]) -> Pieces<'_> {
    let mut pieces = Pieces::new();
    for trace in traces {
        for entry in &trace.entries {
            let key = (trace.node.as_str(), entry.role.to_string(), entry.circuit);
            pieces.entry(key).or_default().push(entry);
        }
    }
    pieces
}

/// Where the trail may begin, the likeliest first: at the origin's own pieces,
/// or else at pieces of the first hop that came from the origin.
fn starts(origin: &str, view: &CircuitView, pieces: &Pieces<'_>) -> Vec<Sight> {
    let Some(first) = view.hops.first() else {
        return Vec::new();
    };
    let of = |node: &str| {
        let node = node.to_owned();
        pieces
            .iter()
            .filter(move |((at, _, _), _)| **at == node)
            .map(|((at, _, circuit), entries)| (*circuit, sight(at, entries)))
            .collect::<Vec<_>>()
    };
    let mut own: Vec<_> = of(origin)
        .into_iter()
        .filter(|(_, s)| s.role == TraceRole::Origin)
        .collect();
    // The own number, where the trace counts as the list of circuits does.
    own.sort_by_key(|(circuit, _)| *circuit != view.id);
    let role = role_of(first);
    let beside = of(&first.node)
        .into_iter()
        .filter(|(_, s)| s.role == role && s.previous.as_deref() == Some(origin));
    own.iter()
        .cloned()
        .chain(beside.filter(|_| own.is_empty()))
        .map(|(_, s)| s)
        .collect()
}

fn piece_that_received(
    pieces: &Pieces<'_>,
    node: &str,
    role: TraceRole,
    sent: &BTreeSet<&str>,
) -> Option<Sight> {
    pieces
        .iter()
        .filter(|((at, _, _), _)| *at == node)
        .map(|(_, entries)| sight(node, entries))
        .find(|s| {
            s.role == role
                && s.received
                    .iter()
                    .any(|(digest, _)| sent.contains(digest.as_str()))
        })
}

fn sight(node: &str, entries: &[&TraceEntry]) -> Sight {
    let bytes = |inbound: bool| {
        entries
            .iter()
            .filter(|e| e.inbound == inbound && e.kind != TraceKind::Flow && !e.digest.is_empty())
            .map(|e| (e.digest.clone(), e.size))
            .collect::<Vec<_>>()
    };
    Sight {
        node: node.to_owned(),
        role: entries.first().map_or(TraceRole::Origin, |e| e.role),
        previous: entries.iter().find_map(|e| e.previous.clone()),
        next: entries.iter().find_map(|e| e.next.clone()),
        targets: entries.iter().filter_map(|e| e.target.clone()).collect(),
        received: bytes(true),
        sent: bytes(false),
        setup_size: entries
            .iter()
            .find(|e| e.kind == TraceKind::Setup)
            .map(|e| e.size),
    }
}

fn digests(bytes: &[(String, u32)]) -> BTreeSet<&str> {
    bytes.iter().map(|(digest, _)| digest.as_str()).collect()
}

/// Judges a followed circuit.
#[must_use]
pub fn judge(origin: &str, followed: &Followed) -> Vec<Check> {
    let sights = &followed.sights;
    let hops: Vec<_> = sights
        .iter()
        .filter(|s| s.role != TraceRole::Origin)
        .cloned()
        .collect();
    let hops = &hops[..];
    vec![
        Check::new(
            "every hop hands on to the next, and the last one to the origin",
            chain(origin, sights),
        ),
        Check::new(
            "what one stop sends is what the next receives, unchanged",
            unchanged(sights),
        ),
        Check::new("nothing looks the same on two links", no_repeats(sights)),
        Check::new("only the exit is told of the server", only_exit(hops)),
        Check::new(
            "no hop knows both the origin and the server",
            both_ends(origin, hops),
        ),
        Check::new(
            "set-up packages have one size on every link",
            one_size(hops),
        ),
        Check::new(
            "cells have few sizes, the same on every link",
            cell_sizes(hops),
        ),
    ]
}

/// Judges all traces together: in no trace but an exit's is there a server.
#[must_use]
pub fn judge_all(traces: &[TraceView]) -> Check {
    let leak = traces.iter().find_map(|trace| {
        let entry = trace.entries.iter().find(|e| {
            e.target.is_some() && !matches!(e.role, TraceRole::Exit | TraceRole::Origin)
        })?;
        Some(format!(
            "{} knew a server as {}",
            short(&trace.node),
            entry.role
        ))
    });
    Check::new("no relay anywhere in the mesh was told of a server", leak)
}

fn chain(origin: &str, sights: &[Sight]) -> Option<String> {
    let home = sights.last().and_then(|last| {
        let elsewhere = last.role != TraceRole::Origin
            && last.next.as_deref().is_some_and(|next| next != origin);
        elsewhere.then(|| {
            format!(
                "{} says it sends to another than the origin",
                short(&last.node)
            )
        })
    });
    let between = sights.windows(2).find_map(|pair| {
        let (from, to) = (&pair[0], &pair[1]);
        if from.next.as_deref().is_some_and(|next| next != to.node) {
            return Some(format!(
                "{} says it sends to another than {}",
                short(&from.node),
                short(&to.node)
            ));
        }
        if to
            .previous
            .as_deref()
            .is_some_and(|previous| previous != from.node)
        {
            return Some(format!(
                "{} says it receives from another than {}",
                short(&to.node),
                short(&from.node)
            ));
        }
        None
    });
    between.or(home)
}

fn unchanged(sights: &[Sight]) -> Option<String> {
    sights.windows(2).find_map(|pair| {
        let sent = digests(&pair[0].sent);
        let foreign = pair[1]
            .received
            .iter()
            .filter(|(d, _)| !sent.contains(d.as_str()))
            .count();
        (foreign > 0).then(|| {
            format!(
                "{foreign} pieces reached {} that {} had not sent",
                short(&pair[1].node),
                short(&pair[0].node)
            )
        })
    })
}

fn no_repeats(sights: &[Sight]) -> Option<String> {
    // Every link once: what each stop received and, where the origin keeps no
    // trace, what the last one sent home.
    let mut links: Vec<_> = sights.iter().map(|s| digests(&s.received)).collect();
    match sights.first() {
        Some(first) if first.role == TraceRole::Origin => drop(links.remove(0)),
        _ => links.extend(sights.last().map(|s| digests(&s.sent))),
    }
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (link, bytes) in links.into_iter().enumerate() {
        for digest in bytes {
            if let Some(before) = seen.insert(digest, link) {
                return Some(format!(
                    "links {} and {} carried the same bytes",
                    before + 1,
                    link + 1
                ));
            }
        }
    }
    seen.is_empty()
        .then(|| "the traces show no bytes at all".to_owned())
}

fn only_exit(hops: &[Sight]) -> Option<String> {
    let told: Vec<_> = hops.iter().filter(|h| !h.targets.is_empty()).collect();
    match told.as_slice() {
        [] => Some("no hop was told of a server, so nobody can have fetched it".to_owned()),
        [one] if one.role == TraceRole::Exit => None,
        others => {
            let names: Vec<_> = others
                .iter()
                .map(|h| format!("{} ({})", short(&h.node), h.role))
                .collect();
            Some(format!("told were: {}", names.join(", ")))
        }
    }
}

fn both_ends(origin: &str, hops: &[Sight]) -> Option<String> {
    // With one hop the exit is the origin's neighbour; the user asked for that.
    if hops.len() == 1 {
        return None;
    }
    hops.iter().find_map(|h| {
        let beside_origin = [&h.previous, &h.next]
            .into_iter()
            .flatten()
            .any(|neighbour| neighbour == origin);
        (beside_origin && !h.targets.is_empty()).then(|| short(&h.node).to_owned())
    })
}

fn one_size(hops: &[Sight]) -> Option<String> {
    let sizes: BTreeSet<u32> = hops.iter().filter_map(|h| h.setup_size).collect();
    (sizes.len() != 1).then(|| format!("sizes seen: {sizes:?}"))
}

fn cell_sizes(hops: &[Sight]) -> Option<String> {
    /// Cells come in three sizes, from the specification; the set-up package
    /// is a fourth.
    const SIZES: usize = 4;
    let all: BTreeSet<u32> = hops
        .iter()
        .flat_map(|h| h.received.iter().map(|(_, size)| *size))
        .collect();
    (all.len() > SIZES).then(|| format!("{} sizes: {all:?}", all.len()))
}

/// The beginning of a node key or digest, for showing.
#[must_use]
pub fn short(text: &str) -> &str {
    masq::control::types::short(text)
}

#[cfg(test)]
pub(crate) mod tests {
    use masq::control::types::CircuitState;

    use super::*;

    const ORIGIN: &str = "origin";

    pub(crate) fn view(id: u64, hops: &[(&str, HopRole, Leg)]) -> CircuitView {
        CircuitView {
            id,
            state: CircuitState::Open,
            hops: hops
                .iter()
                .map(|(node, role, leg)| HopView {
                    node: (*node).to_owned(),
                    role: *role,
                    leg: *leg,
                    country: None,
                })
                .collect(),
            shared_relays: 0,
            flows: 0,
            flows_carried: 1,
            age_seconds: 0,
            sent_bytes: 0,
            sent_cells: 0,
            received_cells: 0,
            received_bytes: 0,
            round_trip_us: None,
        }
    }

    /// origin → a → b → exit → c → a → origin, each link with bytes of its
    /// own: `s` for the set-up and `c` for a cell, and the link's number.
    fn good() -> (CircuitView, Vec<TraceView>) {
        let route = [
            ("a", HopRole::Relay, Leg::Over),
            ("b", HopRole::Relay, Leg::Over),
            ("exit", HopRole::Exit, Leg::Over),
            ("c", HopRole::Relay, Leg::Back),
            ("a", HopRole::Relay, Leg::Back),
        ];
        let mut traces: BTreeMap<&str, TraceView> = BTreeMap::new();
        let stops: Vec<&str> = std::iter::once(ORIGIN)
            .chain(route.iter().map(|(node, _, _)| *node))
            .chain([ORIGIN])
            .collect();
        for (at, &node) in stops.iter().enumerate() {
            let role = match at {
                0 | 6 => TraceRole::Origin,
                3 => TraceRole::Exit,
                1 | 2 => TraceRole::OverRelay,
                _ => TraceRole::BackRelay,
            };
            let trace = traces.entry(node).or_default();
            trace.node = node.to_owned();
            let mut add = |kind, inbound: bool, link: usize, size| {
                trace.entries.push(TraceEntry {
                    sequence: 0,
                    at_unix_ms: 0,
                    circuit: if role == TraceRole::Origin {
                        7
                    } else {
                        100 + at as u64
                    },
                    role,
                    kind,
                    inbound,
                    previous: (at > 0).then(|| stops[at - 1].to_owned()),
                    next: stops.get(at + 1).map(|s| (*s).to_owned()),
                    size,
                    digest: format!("{kind:?}{link}"),
                    target: None,
                });
            };
            for (kind, size) in [(TraceKind::Setup, 3_000), (TraceKind::Cell, 4_096)] {
                if at > 0 {
                    add(kind, true, at, size);
                }
                if at < 6 {
                    add(kind, false, at + 1, size);
                }
            }
            if role == TraceRole::Exit {
                add(TraceKind::Flow, false, 0, 0);
                trace.entries.last_mut().unwrap().target = Some("localhost:80".into());
            }
        }
        // The origin's two ends are one piece and say different neighbours.
        let origin = traces.get_mut(ORIGIN).unwrap();
        for entry in &mut origin.entries {
            entry.previous = Some("a".into());
            entry.next = Some("a".into());
        }
        (view(7, &route), traces.into_values().collect())
    }

    fn failures(origin: &str, view: &CircuitView, traces: &[TraceView]) -> Vec<String> {
        let followed = follow(origin, view, traces).unwrap();
        judge(origin, &followed)
            .into_iter()
            .filter_map(|c| c.failed)
            .collect()
    }

    fn of<'a>(traces: &'a mut [TraceView], node: &str) -> &'a mut TraceView {
        traces.iter_mut().find(|t| t.node == node).unwrap()
    }

    #[test]
    fn a_good_circuit_passes_every_check() {
        let (view, traces) = good();
        let followed = follow(ORIGIN, &view, &traces).unwrap();
        let nodes: Vec<_> = followed.sights.iter().map(|s| s.node.as_str()).collect();
        assert_eq!(nodes, [ORIGIN, "a", "b", "exit", "c", "a", ORIGIN]);
        assert_eq!(failures(ORIGIN, &view, &traces), Vec::<String>::new());
        assert_eq!(judge_all(&traces).failed, None);
    }

    #[test]
    fn a_relay_that_knows_the_server_is_found() {
        let (view, mut traces) = good();
        of(&mut traces, "a").entries[0].target = Some("localhost:80".into());
        let found = failures(ORIGIN, &view, &traces);
        assert_eq!(found.len(), 2, "told, and knows both ends: {found:?}");
        assert!(judge_all(&traces).failed.is_some());
    }

    #[test]
    fn bytes_that_repeat_on_another_link_are_found() {
        let (view, mut traces) = good();
        // b sends on what it received, and the exit receives exactly that.
        for (node, inbound) in [("b", false), ("exit", true)] {
            for entry in &mut of(&mut traces, node).entries {
                if entry.inbound == inbound && entry.kind == TraceKind::Cell {
                    entry.digest = "Cell2".into();
                }
            }
        }
        let found = failures(ORIGIN, &view, &traces);
        assert!(
            found.iter().any(|f| f.contains("links 2 and 3")),
            "{found:?}"
        );
    }

    #[test]
    fn changed_bytes_and_odd_sizes_are_found() {
        let (view, mut traces) = good();
        let exit = of(&mut traces, "exit");
        exit.entries
            .iter_mut()
            .find(|e| e.kind == TraceKind::Cell && e.inbound)
            .unwrap()
            .digest = "other".into();
        exit.entries
            .iter_mut()
            .find(|e| e.kind == TraceKind::Setup)
            .unwrap()
            .size = 2_999;
        let found = failures(ORIGIN, &view, &traces);
        assert!(
            found.iter().any(|f| f.contains("had not sent")),
            "{found:?}"
        );
        assert!(found.iter().any(|f| f.contains("sizes seen")), "{found:?}");
    }

    #[test]
    fn an_origin_without_a_trace_is_no_obstacle() {
        let (view, mut traces) = good();
        of(&mut traces, ORIGIN).entries.clear();
        let followed = follow(ORIGIN, &view, &traces).unwrap();
        let nodes: Vec<_> = followed.sights.iter().map(|s| s.node.as_str()).collect();
        assert_eq!(nodes, ["a", "b", "exit", "c", "a"]);
        assert_eq!(failures(ORIGIN, &view, &traces), Vec::<String>::new());
    }

    #[test]
    fn of_two_circuits_over_the_same_hops_the_used_one_is_shown() {
        let (view, mut traces) = good();
        of(&mut traces, ORIGIN).entries.clear();
        // A second circuit that only was set up, found first everywhere.
        for trace in &mut traces {
            let mut ready = trace.entries.clone();
            ready.retain(|e| e.kind == TraceKind::Setup);
            for entry in &mut ready {
                entry.circuit -= 100;
                entry.digest.push_str("ready");
            }
            trace.entries.extend(ready);
        }
        assert_eq!(failures(ORIGIN, &view, &traces), Vec::<String>::new());
    }

    /// The same circuit once more with bytes and numbers of its own, found
    /// first everywhere, that carried many cells and no flow.
    fn add_decoy(traces: &mut [TraceView]) {
        for trace in traces {
            let mut decoy = trace.entries.clone();
            decoy.retain(|e| e.kind != TraceKind::Flow);
            for entry in &mut decoy {
                entry.circuit -= 100;
                entry.digest.push_str("decoy");
                entry.size *= 100;
            }
            trace.entries.extend(decoy);
        }
    }

    #[test]
    fn a_ready_circuit_is_never_taken_for_the_one_that_carried_flows() {
        let (mut view, mut traces) = good();
        of(&mut traces, ORIGIN).entries.clear();
        add_decoy(&mut traces);
        assert_eq!(failures(ORIGIN, &view, &traces), Vec::<String>::new());

        // With the used one's trail gone, nothing is shown rather than the other.
        of(&mut traces, "b")
            .entries
            .retain(|e| e.digest.ends_with("decoy"));
        let lost = follow(ORIGIN, &view, &traces).unwrap_err();
        assert!(!lost.is_empty());
        view.flows_carried = 0;
        assert!(follow(ORIGIN, &view, &traces).is_ok());
    }

    #[test]
    fn a_flow_under_another_number_is_not_this_passages() {
        let (view, mut traces) = good();
        let exit = of(&mut traces, "exit");
        let flow = exit.entries.last_mut().unwrap();
        assert_eq!(flow.kind, TraceKind::Flow);
        flow.circuit += 1;
        let lost = follow(ORIGIN, &view, &traces).unwrap_err();
        assert!(lost.contains("exit"), "{lost}");
    }

    #[test]
    fn a_last_hop_that_sends_elsewhere_is_found() {
        let (view, mut traces) = good();
        of(&mut traces, ORIGIN).entries.clear();
        for entry in &mut of(&mut traces, "a").entries {
            if entry.role == TraceRole::BackRelay {
                entry.next = Some("b".into());
            }
        }
        let found = failures(ORIGIN, &view, &traces);
        assert!(found.iter().any(|f| f.contains("origin")), "{found:?}");
    }

    #[test]
    fn one_hop_alone_has_two_links() {
        let (mut view, mut traces) = good();
        of(&mut traces, ORIGIN).entries.clear();
        view.hops.retain(|h| h.role == HopRole::Exit);
        for entry in &mut of(&mut traces, "exit").entries {
            entry.previous = Some(ORIGIN.into());
            entry.next = Some(ORIGIN.into());
        }
        assert_eq!(failures(ORIGIN, &view, &traces), Vec::<String>::new());
    }

    #[test]
    fn a_lost_trail_says_where() {
        let (view, mut traces) = good();
        of(&mut traces, "c").entries.clear();
        let lost = follow(ORIGIN, &view, &traces).unwrap_err();
        assert!(lost.contains("hop 4"), "{lost}");
    }
}
