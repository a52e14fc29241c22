//! What each command shows to a person: answers of the daemon in, text out.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write,
};

use super::text::{Facts, bytes, clean, count, duration, table};
use crate::control::types::{
    CircuitView, ConnectionStatus, DescriptorView, EntryLink, Event, GraphNode, GraphView, HopRole,
    HopView, Leg, ScoreView, Status, TraceView, short,
};

/// A capital in front.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(letters)
        .collect()
}

pub(super) fn status(status: &Status) -> String {
    let mut out = format!(
        "masqd {} on {}, mode {}, up {}{}\n",
        clean(&status.version),
        clean(&status.chain),
        clean(&status.mode),
        duration(status.uptime_seconds),
        if status.draining { ", stopping" } else { "" },
    );
    let _ = writeln!(
        out,
        "{}: {}\n",
        capital(&status.stage.to_string()),
        clean(&status.stage_reason)
    );
    let addresses = |list: &[std::net::SocketAddr]| match list {
        [] => "nowhere".to_owned(),
        list => list
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    };
    let proxy = |address: Option<std::net::SocketAddr>| {
        address.map_or_else(|| "off".to_owned(), |address| address.to_string())
    };
    let mut facts = Facts::default();
    facts.add("node", &status.node);
    facts.add("listening", addresses(&status.listening));
    facts.add("socks", proxy(status.socks));
    facts.add("http", proxy(status.http));
    facts.add("hops", &status.hops);
    facts.add("exit", if status.exit { "yes" } else { "no" });
    let circuits = status.circuits;
    let mut carried = format!("{} own, {} relayed", circuits.own, circuits.relayed);
    if status.exit {
        let _ = write!(carried, ", {} leaving the mesh here", circuits.exits);
    }
    facts.add("circuits", carried);
    let flows = status.flows;
    facts.add(
        "flows",
        format!(
            "{} open; so far {} opened, {} failed, {} plaintext",
            flows.open, flows.opened, flows.failed, flows.plaintext
        ),
    );
    if status.exit {
        facts.add(
            "exit flows",
            format!(
                "{} open; so far {} opened",
                flows.exit_open, flows.exit_opened
            ),
        );
    }
    let traffic = status.traffic;
    let mut carried = format!(
        "{} sent, {} received, {} relayed",
        bytes(traffic.sent_bytes),
        bytes(traffic.received_bytes),
        bytes(traffic.relayed_bytes)
    );
    if status.exit {
        let _ = write!(carried, ", {} as exit", bytes(traffic.exited_bytes));
    }
    facts.add("traffic", carried);
    if let Some(money) = &status.money {
        super::money::status_facts(&mut facts, money);
    }
    if let Some(memory) = status.memory_bytes {
        facts.add("memory", bytes(memory));
    }
    facts.write(&mut out);
    if !status.neighbours.is_empty() {
        out.push_str("\nNeighbours\n");
        let rows: Vec<_> = status
            .neighbours
            .iter()
            .map(|neighbour| {
                vec![
                    short(&neighbour.node).to_owned(),
                    neighbour.entry.to_string(),
                    format!("for {}", duration(neighbour.since_seconds)),
                    neighbour.address.clone().unwrap_or_default(),
                ]
            })
            .collect();
        table(&mut out, &rows);
    }
    out
}

/// The descriptor alone on its line, for copying and for `$(masq descriptor)`.
/// `Err` is the reason why there is none.
pub(super) fn descriptor(view: &DescriptorView) -> Result<String, String> {
    view.descriptor
        .as_ref()
        .map(|descriptor| format!("{}\n", clean(descriptor)))
        .ok_or_else(|| {
            clean(
                view.reason
                    .as_deref()
                    .unwrap_or("This node can't be dialled by others."),
            )
        })
}

pub(super) fn connection(status: &ConnectionStatus) -> String {
    let mut out = format!(
        "{} for {}: {}\n\n",
        capital(&status.stage.to_string()),
        duration(status.since_seconds),
        clean(&status.stage_reason)
    );
    let mut facts = Facts::default();
    facts.add(
        "neighbours",
        format!(
            "{}, {} of them by entry links",
            status.neighbours, status.entry_links
        ),
    );
    facts.add(
        "known",
        format!(
            "{}, {}",
            count(status.nodes_known.into(), "node"),
            count(status.exits_known.into(), "exit")
        ),
    );
    facts.write(&mut out);
    if !status.problems.is_empty() {
        out.push_str("\nLately\n");
        let rows: Vec<_> = status
            .problems
            .iter()
            .map(|problem| {
                vec![
                    format!("{} ago", duration(problem.ago_seconds)),
                    problem.what.clone(),
                ]
            })
            .collect();
        table(&mut out, &rows);
    }
    out
}

/// Neighbours of each node, from the edges and this node's own links.
fn adjacency(graph: &GraphView) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut links: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let own = graph
        .links
        .iter()
        .map(|link| (graph.me.as_str(), link.node.as_str()));
    let edges = graph.edges.iter().map(|(a, b)| (a.as_str(), b.as_str()));
    for (a, b) in edges.chain(own) {
        links.entry(a).or_default().insert(b);
        links.entry(b).or_default().insert(a);
    }
    links
}

/// Links to cross from this node to each other one.
fn distances<'a>(
    graph: &'a GraphView,
    links: &BTreeMap<&'a str, BTreeSet<&'a str>>,
) -> BTreeMap<&'a str, u32> {
    let mut distances = BTreeMap::from([(graph.me.as_str(), 0)]);
    let mut queue = VecDeque::from([(graph.me.as_str(), 0)]);
    while let Some((node, away)) = queue.pop_front() {
        for &next in links.get(node).into_iter().flatten() {
            if !distances.contains_key(next) {
                distances.insert(next, away + 1);
                queue.push_back((next, away + 1));
            }
        }
    }
    distances
}

/// What a node does for others, in a word or two.
fn does(node: &GraphNode) -> String {
    match (node.routes, node.exits) {
        (true, true) => "relay, exit",
        (true, false) => "relay",
        (false, true) => "exit",
        (false, false) => "consumes",
    }
    .to_owned()
}

/// What this node holds of another one, and why.
fn score(score: Option<&ScoreView>) -> String {
    let Some(score) = score else {
        return "-".to_owned();
    };
    let mut why: Vec<_> = score
        .latency_ms
        .map(|ms| format!("{ms} ms"))
        .into_iter()
        .collect();
    why.extend(
        score
            .throughput_bytes
            .map(|rate| format!("{}/s", bytes(rate))),
    );
    why.extend(
        score
            .failed_percent
            .filter(|failed| *failed > 0)
            .map(|failed| format!("{failed} % failed")),
    );
    why.extend(
        score
            .congested_seconds
            .map(|left| format!("set aside for {}", duration(left))),
    );
    why.extend(
        score
            .disputed_seconds
            .map(|left| format!("disputed for {}", duration(left))),
    );
    why.extend(score.avoided.then(|| "avoided".to_owned()));
    if why.is_empty() {
        return score.points.to_string();
    }
    format!("{}: {}", score.points, why.join(", "))
}

pub(super) fn graph(graph: &GraphView) -> String {
    let links = adjacency(graph);
    let distances = distances(graph, &links);
    let exits = graph.nodes.iter().filter(|node| node.exits).count();
    let mut out = format!(
        "{}, {}, {}\n\n",
        count(graph.nodes.len() as u64, "node"),
        count(exits as u64, "exit"),
        count(graph.edges.len() as u64, "listed edge"),
    );
    let entry: BTreeMap<_, _> = graph
        .links
        .iter()
        .map(|link| (link.node.as_str(), link.entry))
        .collect();
    let mut nodes: Vec<_> = graph.nodes.iter().collect();
    nodes.sort_by_key(|node| {
        let away = distances
            .get(node.node.as_str())
            .copied()
            .unwrap_or(u32::MAX);
        (away, &node.node)
    });
    let mut rows = vec![
        [
            "node", "away", "does", "country", "record", "score", "links",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for node in nodes {
        let key = node.node.as_str();
        let away = match distances.get(key) {
            Some(0) => "this".to_owned(),
            Some(1) => match entry.get(key) {
                Some(link) if !link.is_listed() => format!("1, {link}"),
                _ => "1".to_owned(),
            },
            Some(away) => away.to_string(),
            None => "-".to_owned(),
        };
        let neighbours: Vec<_> = links
            .get(key)
            .into_iter()
            .flatten()
            .map(|neighbour| short(neighbour))
            .collect();
        rows.push(vec![
            short(key).to_owned(),
            away,
            does(node),
            node.country.clone().unwrap_or_else(|| "-".into()),
            format!("{} old", duration(node.age_seconds)),
            score(node.score.as_ref()),
            neighbours.join(" "),
        ]);
    }
    table(&mut out, &rows);
    out
}

/// The graph for Graphviz: `masq neighborhood-graph --dot | dot -Tsvg`.
pub(super) fn dot(graph: &GraphView) -> String {
    // Keys are base64 and need nothing but quotes; anything else is cut out.
    let name = |key: &str| -> String {
        short(key)
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
            .collect()
    };
    let mut out = String::from("graph neighbourhood {\n    node [shape=circle];\n");
    for node in &graph.nodes {
        let mut attributes = Vec::new();
        if node.node == graph.me {
            attributes.push("style=filled");
        }
        if node.exits {
            attributes.push("shape=doublecircle");
        }
        if !node.routes && !node.exits {
            attributes.push("shape=box");
        }
        let _ = writeln!(
            out,
            "    \"{}\" [{}];",
            name(&node.node),
            attributes.join(", ")
        );
    }
    for (a, b) in &graph.edges {
        let _ = writeln!(out, "    \"{}\" -- \"{}\";", name(a), name(b));
    }
    for link in graph
        .links
        .iter()
        .filter(|link| link.entry != EntryLink::No)
    {
        let _ = writeln!(
            out,
            "    \"{}\" -- \"{}\" [style=dashed, label=\"{}\"];",
            name(&graph.me),
            name(&link.node),
            link.entry
        );
    }
    out.push_str("}\n");
    out
}

/// Modes of nodes that build no circuits.
const BUILD_NONE: [&str; 2] = ["serve-only", "zero-hop"];

pub(super) fn circuits(circuits: &[CircuitView], mode: &str) -> String {
    if circuits.is_empty() && BUILD_NONE.contains(&mode) {
        return format!("A node in mode {mode} builds no circuits of its own.\n");
    }
    if circuits.is_empty() {
        return "No circuits. They are built when a program uses a proxy.\n".to_owned();
    }
    let mut out = String::new();
    for (index, circuit) in circuits.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let _ = write!(
            out,
            "circuit {}: {}, {} old, {}, {} sent, {} received",
            circuit.id,
            circuit.state,
            duration(circuit.age_seconds),
            count(circuit.flows.into(), "flow"),
            bytes(circuit.sent_bytes),
            bytes(circuit.received_bytes),
        );
        if let Some(micros) = circuit.round_trip_us {
            let _ = write!(out, ", round {}.{} ms", micros / 1000, micros % 1000 / 100);
        }
        out.push('\n');
        let (over, back) = legs(&circuit.hops);
        let _ = writeln!(out, "  over   {over}\n  back   {back}");
        if circuit.shared_relays > 0 {
            let shared = count(circuit.shared_relays.into(), "relay");
            let _ = writeln!(
                out,
                "         {shared} on both legs: the mesh allows no better"
            );
        }
    }
    out
}

/// Both legs, from `you` to `you`.
fn legs(hops: &[HopView]) -> (String, String) {
    let name = |hop: &HopView| {
        let mut name = short(&hop.node).to_owned();
        match (hop.role, hop.country.as_deref()) {
            (HopRole::Exit, Some(country)) => {
                let _ = write!(name, " (exit, {})", clean(country));
            }
            (HopRole::Exit, None) => name.push_str(" (exit)"),
            (HopRole::Relay, _) => {}
        }
        name
    };
    let mut over = vec!["you".to_owned()];
    over.extend(hops.iter().filter(|hop| hop.leg == Leg::Over).map(name));
    let mut back: Vec<_> = over.last().cloned().into_iter().collect();
    back.extend(hops.iter().filter(|hop| hop.leg == Leg::Back).map(name));
    back.push("you".to_owned());
    (over.join(" → "), back.join(" → "))
}

pub(super) fn trace(trace: &TraceView) -> String {
    let mut rows = vec![
        [
            "#", "circuit", "as", "saw", "from", "to", "size", "digest", "server",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let key = |key: &Option<String>| key.as_deref().map_or("-", short).to_owned();
    for entry in &trace.entries {
        let kind = format!("{:?}", entry.kind).to_lowercase();
        let way = if entry.inbound { "in" } else { "out" };
        rows.push(vec![
            entry.sequence.to_string(),
            entry.circuit.to_string(),
            entry.role.to_string(),
            format!("{kind} {way}"),
            key(&entry.previous),
            key(&entry.next),
            entry.size.to_string(),
            entry.digest.chars().take(16).collect(),
            entry.target.clone().unwrap_or_else(|| "-".into()),
        ]);
    }
    let mut out = String::new();
    table(&mut out, &rows);
    if trace.dropped > 0 {
        let _ = writeln!(
            out,
            "\n{} were dropped.",
            count(trace.dropped, "older piece")
        );
    }
    out
}

pub(super) fn event(event: &Event) -> String {
    let text = match event {
        Event::StageChanged { stage, reason } => format!("{stage}: {reason}"),
        Event::NeighbourUp { node, entry } => format!("{} ({entry})", short(node)),
        Event::NeighbourDown { node, reason } => format!("{}: {reason}", short(node)),
        Event::JoinProblem { what } => what.clone(),
        Event::Banned {
            node,
            reason,
            left_seconds,
        } => {
            let life = left_seconds.map_or_else(|| "forever".into(), duration);
            format!("{} ({life}): {reason}", short(node))
        }
        Event::Unbanned { node } => short(node).to_owned(),
        Event::CircuitOpened { id, hops } => format!("{id}, {}", count((*hops).into(), "hop")),
        Event::CircuitClosed { id, reason } => format!("{id}: {reason}"),
        Event::SettingsChanged { hops } => format!("hops {hops}"),
        Event::Money { what } => what.clone(),
        Event::Draining { open_flows } => format!("waiting for {}", count(*open_flows, "flow")),
        Event::Lost { count: lost } => format!("{} not shown", count(*lost, "event")),
    };
    format!("{:16} {}\n", event.kind(), clean(&text))
}
