//! A mesh as plain data: who lists whom, who chose whom as entry neighbour,
//! who routes and who exits, by number. And the graph that a node of it would
//! route over. Not here: how a mesh comes about (`simulated`, `synthetic`).

use std::collections::HashSet;

use masq::routing::{Graph, MAX_LINKS, NodeInfo, NodeKey};

/// How far a node sees. Gossip's default radius.
pub(super) const RADIUS: u8 = 4;
/// No way over listed links.
pub(super) const UNREACHABLE: u8 = u8::MAX;

/// One node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// Nodes with which it has a link that both list.
    pub(super) listed: Vec<u32>,
    /// How many links its record lists, one-sided ones included.
    pub(super) lists: u8,
    pub(super) routes: bool,
    pub(super) exits: bool,
    /// Its own entry neighbours. In nobody's record.
    pub(super) entry: Vec<u32>,
}

impl Node {
    /// Places that its record leaves for entry links.
    pub(super) fn spare(&self) -> usize {
        MAX_LINKS.saturating_sub(usize::from(self.lists).max(self.listed.len()))
    }
}

/// A mesh at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Mesh {
    pub(super) nodes: Vec<Node>,
    /// Pairs, the smaller number first, that were listed at some time and are not now.
    pub(super) former: HashSet<(u32, u32)>,
    /// Every link is public and circuits begin on any: what would be without entry links.
    pub(super) all_public: bool,
}

impl Mesh {
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn ids(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.nodes.len()).expect("a mesh has fewer than 2^32 nodes")
    }

    pub(super) fn node(&self, id: u32) -> &Node {
        &self.nodes[id as usize]
    }

    pub(super) fn listed(&self, id: u32) -> &[u32] {
        &self.node(id).listed
    }

    pub(super) fn adjacent(&self, a: u32, b: u32) -> bool {
        self.listed(a).contains(&b)
    }

    /// Whether the records allow that `entry` is `origin`'s entry neighbour: both have a place
    /// free, and there is one link between two nodes, listed or not.
    pub(super) fn linkable(&self, origin: u32, entry: u32) -> bool {
        origin != entry
            && self.node(entry).routes
            && self.node(origin).spare() > 0
            && self.node(entry).spare() > 0
            && !self.adjacent(origin, entry)
    }

    pub(super) fn was_listed(&self, a: u32, b: u32) -> bool {
        self.former.contains(&(a.min(b), a.max(b)))
    }

    /// Steps over listed links from one node to all others.
    pub(super) fn distances(&self, from: u32) -> Vec<u8> {
        let mut steps = vec![UNREACHABLE; self.len()];
        steps[from as usize] = 0;
        let mut queue = vec![from];
        let mut at = 0;
        while let Some(id) = queue.get(at).copied() {
            at += 1;
            let next = steps[id as usize] + 1;
            if next == UNREACHABLE {
                break;
            }
            for other in self.listed(id) {
                let seen = &mut steps[*other as usize];
                if *seen == UNREACHABLE {
                    *seen = next;
                    queue.push(*other);
                }
            }
        }
        steps
    }

    /// Nodes at most `most` listed links away from `from`, itself included.
    pub(super) fn ball(&self, from: u32, most: u8) -> Vec<u32> {
        let mut found = vec![from];
        let mut begin = 0;
        for _ in 0..most {
            let end = found.len();
            for at in begin..end {
                for other in self.listed(found[at]) {
                    if !found.contains(other) {
                        found.push(*other);
                    }
                }
            }
            begin = end;
        }
        found
    }

    /// The graph over which `origin` would route if `entry` were its entry neighbours: records
    /// within the radius, over its own links first. Keys are [`key`]s.
    pub(super) fn graph(&self, origin: u32, entry: &[u32]) -> Graph {
        let own: HashSet<u32> = self
            .listed(origin)
            .iter()
            .chain(entry)
            .copied()
            .filter(|id| *id != origin)
            .collect();
        let mut seen: HashSet<u32> = own.iter().copied().chain([origin]).collect();
        let mut last: Vec<u32> = own.iter().copied().collect();
        for _ in 1..RADIUS {
            let mut next = Vec::new();
            for id in &last {
                for other in self.listed(*id) {
                    if seen.insert(*other) {
                        next.push(*other);
                    }
                }
            }
            last = next;
        }
        let mut builder = Graph::builder(key(origin));
        for id in &seen {
            let node = self.node(*id);
            let info = NodeInfo {
                routes: node.routes,
                exits: node.exits,
                listed_links: node.lists,
                ..NodeInfo::default()
            };
            builder = builder.node(key(*id), info);
            for other in node.listed.iter().filter(|other| *other > id) {
                builder = builder.edge(key(*id), key(*other));
            }
        }
        for id in entry {
            builder = builder.entry(key(*id));
        }
        for id in self.listed(origin).iter().filter(|id| !entry.contains(id)) {
            builder = builder.listed(key(*id));
        }
        builder.build()
    }

    /// The same mesh without entry links: each is a listed one, and circuits begin on any link.
    pub(super) fn without_entry_links(&self) -> Self {
        let mut open = self.clone();
        open.all_public = true;
        open.former.clear();
        for id in self.ids() {
            for entry in self.node(id).entry.clone() {
                for (a, b) in [(id, entry), (entry, id)] {
                    let listed = &mut open.nodes[a as usize].listed;
                    if !listed.contains(&b) {
                        listed.push(b);
                    }
                }
            }
        }
        for at in 0..open.nodes.len() {
            let listed = open.nodes[at].listed.clone();
            let routing = |id: &u32| self.node(*id).routes;
            let node = &mut open.nodes[at];
            node.lists = u8::try_from(listed.len()).unwrap_or(u8::MAX);
            node.entry = listed.into_iter().filter(routing).collect();
        }
        open
    }
}

/// The key under which node `id` stands in a [`Mesh::graph`].
pub(super) fn key(id: u32) -> NodeKey {
    let mut key = [0x55; 32];
    key[..4].copy_from_slice(&id.to_be_bytes());
    key
}

/// The node whose key it is.
pub(super) fn number(key: &NodeKey) -> u32 {
    u32::from_be_bytes([key[0], key[1], key[2], key[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of `n` nodes that all route; the last exits.
    fn line(n: u32) -> Mesh {
        let beside = |id: u32| [id.checked_sub(1), Some(id + 1).filter(|next| *next < n)];
        let node = |id: u32| {
            let listed: Vec<u32> = beside(id).into_iter().flatten().collect();
            Node {
                lists: u8::try_from(listed.len()).unwrap(),
                listed,
                routes: true,
                exits: id + 1 == n,
                entry: Vec::new(),
            }
        };
        Mesh {
            nodes: (0..n).map(node).collect(),
            ..Mesh::default()
        }
    }

    #[test]
    fn distances_end_somewhere() {
        let mesh = line(300);
        let steps = mesh.distances(0);
        assert_eq!((steps[0], steps[1], steps[254]), (0, 1, 254));
        // Further than can be counted is no way.
        assert_eq!((steps[255], steps[299]), (UNREACHABLE, UNREACHABLE));
        assert_eq!(mesh.ball(10, 2), [10, 9, 11, 8, 12]);
    }

    #[test]
    fn an_origin_sees_as_far_as_its_radius_behind_its_entry_link() {
        let mut mesh = line(12);
        mesh.nodes.push(Node {
            routes: true,
            ..Node::default()
        });
        let graph = mesh.graph(12, &[5]);
        // The entry neighbour, three to each side of it, and itself.
        assert_eq!(graph.len(), 8);
        assert!(graph.has_edge(&key(2), &key(3)) && graph.info(&key(1)).is_none());
        assert!(
            !graph.has_edge(&key(12), &key(5)),
            "an entry link is no edge"
        );
        assert_eq!(graph.entry_neighbours().collect::<Vec<_>>(), [&key(5)]);
        assert_eq!(number(&key(70_000)), 70_000);
    }

    #[test]
    fn who_can_be_whose_entry_neighbour() {
        let mut mesh = line(6);
        assert!(mesh.linkable(0, 3) && !mesh.linkable(0, 1) && !mesh.linkable(2, 2));
        mesh.nodes[3].lists = 5;
        assert!(!mesh.linkable(0, 3) && !mesh.linkable(3, 0));
        mesh.nodes[4].routes = false;
        assert!(!mesh.linkable(0, 4) && mesh.linkable(4, 0));
    }
}
