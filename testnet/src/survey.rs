//! A look at a whole mesh from the outside, through what its nodes say of
//! themselves: whether it hangs together, how many neighbours each has, and who
//! has a route. It judges one moment; waiting for a better one is the caller's.

use std::collections::{BTreeMap, BTreeSet};

use masq::control::types::{Stage, Status};
use serde::Serialize;

use crate::network::Testnet;

/// Most neighbours of a node, from the specification.
pub const CAP: usize = 5;
/// Fewest neighbours of a node that carries for others, once the mesh is whole.
pub const LEAST: usize = 2;
/// How a node that carries nothing for others names its mode.
const CONSUME_ONLY: &str = "consume-only";

/// One moment of a mesh.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Survey {
    /// Nodes that run.
    pub nodes: usize,
    /// Those that answered.
    pub answered: usize,
    /// Those with a route.
    pub routed: usize,
    /// Those without a route, by name.
    pub unrouted: Vec<String>,
    /// Parts that no link connects; 1 when the mesh hangs together.
    pub parts: usize,
    /// Links that both ends name.
    pub links: usize,
    /// Links that one end names and the other does not, or whose other end does not run.
    pub loose: usize,
    /// Fewest neighbours of a node that carries for others.
    pub fewest: usize,
    /// Most neighbours of any node.
    pub most: usize,
}

impl Survey {
    /// Asks all nodes of a testnet.
    pub async fn look(net: &Testnet) -> Self {
        let statuses = net.statuses().await;
        Self::of(net.nodes().len(), &statuses)
    }

    /// Judges the answers of `nodes` nodes, by name.
    #[must_use]
    pub fn of(nodes: usize, statuses: &BTreeMap<String, Status>) -> Self {
        let named: BTreeMap<&str, BTreeSet<&str>> = statuses
            .values()
            .map(|s| {
                let neighbours = s.neighbours.iter().map(|n| n.node.as_str()).collect();
                (s.node.as_str(), neighbours)
            })
            .collect();
        let mutual = |a: &str, b: &str| named.get(b).is_some_and(|of_b| of_b.contains(a));
        let mut links: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut loose = 0;
        for (node, neighbours) in &named {
            let (firm, slack): (BTreeSet<&str>, BTreeSet<&str>) =
                neighbours.iter().partition(|other| mutual(node, other));
            loose += slack.len();
            links.insert(node, firm);
        }
        let carries = statuses.values().filter(|s| s.mode != CONSUME_ONLY);
        let degree = |node: &str| links.get(node).map_or(0, BTreeSet::len);
        let unrouted = statuses
            .iter()
            .filter(|(_, s)| s.stage != Stage::RouteFound)
            .map(|(name, _)| name.clone());
        let unrouted: Vec<_> = unrouted.collect();
        Self {
            nodes,
            answered: statuses.len(),
            routed: statuses.len() - unrouted.len(),
            unrouted,
            parts: parts(&links),
            links: links.values().map(BTreeSet::len).sum::<usize>() / 2,
            loose,
            fewest: carries.map(|s| degree(&s.node)).min().unwrap_or(0),
            most: links.values().map(BTreeSet::len).max().unwrap_or(0),
        }
    }

    /// Whether every node answers and has a route.
    #[must_use]
    pub fn all_routed(&self) -> bool {
        self.answered == self.nodes && self.routed == self.nodes
    }

    /// Whether the mesh hangs together, nobody has more than five neighbours, nobody who
    /// carries for others fewer than two, and no link is loose.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.answered == self.nodes
            && self.parts == 1
            && self.loose == 0
            && self.fewest >= LEAST
            && self.most <= CAP
    }
}

impl std::fmt::Display for Survey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of {} nodes answer, {} with a route, {} part{}, {} links and {} loose, {} to {} neighbours",
            self.answered,
            self.nodes,
            self.routed,
            self.parts,
            if self.parts == 1 { "" } else { "s" },
            self.links,
            self.loose,
            self.fewest,
            self.most
        )
    }
}

/// Connected parts of a graph.
fn parts(links: &BTreeMap<&str, BTreeSet<&str>>) -> usize {
    let mut left: BTreeSet<&str> = links.keys().copied().collect();
    let mut parts = 0;
    while let Some(start) = left.pop_first() {
        parts += 1;
        let mut queue = vec![start];
        while let Some(node) = queue.pop() {
            for next in links.get(node).into_iter().flatten() {
                if left.remove(next) {
                    queue.push(next);
                }
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use masq::control::types::NeighbourView;

    use super::*;

    fn status(node: &str, neighbours: &[&str]) -> (String, Status) {
        let neighbours: Vec<_> = neighbours
            .iter()
            .map(|n| NeighbourView {
                node: (*n).to_owned(),
                entry: masq::control::types::EntryLink::No,
                since_seconds: 1,
                address: None,
            })
            .collect();
        let value = serde_json::json!({
            "version": "0", "chain": "dev", "node": node, "mode": "standard",
            "stage": "route-found", "stage_reason": "", "hops": "3", "exit": false,
            "neighbours": neighbours, "listening": [], "socks": null, "http": null,
            "uptime_seconds": 1,
        });
        (node.to_owned(), serde_json::from_value(value).unwrap())
    }

    #[test]
    fn parts_degrees_and_loose_links_are_counted() {
        let ring = [
            status("a", &["b", "c"]),
            status("b", &["a", "c"]),
            status("c", &["a", "b"]),
        ];
        let whole = Survey::of(3, &ring.into());
        assert!(whole.is_whole() && whole.all_routed(), "{whole}");
        assert_eq!((whole.links, whole.fewest, whole.most), (3, 2, 2));

        let torn = [
            status("a", &["b", "gone"]),
            status("b", &["a"]),
            status("c", &["a"]),
        ];
        let torn = Survey::of(4, &torn.into());
        assert_eq!((torn.parts, torn.loose, torn.fewest), (2, 2, 0));
        assert!(!torn.is_whole() && !torn.all_routed());
    }
}
