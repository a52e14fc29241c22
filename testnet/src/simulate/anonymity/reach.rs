//! How many exits a node can choose from: the ends of all ways through its
//! entry link. Not here: which of them routing takes.

use std::collections::BTreeSet;

use super::mesh::Mesh;

/// How many distinct exits stand exactly `hops` hops away from `origin`, through any of its entry
/// neighbours, over listed links and through no node twice. `is_exit` says who is one.
pub(super) fn exits(mesh: &Mesh, origin: u32, hops: usize, is_exit: &dyn Fn(u32) -> bool) -> usize {
    let mut found = BTreeSet::new();
    for entry in &mesh.node(origin).entry {
        step(mesh, *entry, hops, is_exit, &mut vec![origin], &mut found);
    }
    found.len()
}

fn step(
    mesh: &Mesh,
    at: u32,
    left: usize,
    is_exit: &dyn Fn(u32) -> bool,
    path: &mut Vec<u32>,
    found: &mut BTreeSet<u32>,
) {
    if left <= 1 {
        if is_exit(at) {
            found.insert(at);
        }
        return;
    }
    if !mesh.node(at).routes {
        return;
    }
    path.push(at);
    for next in mesh.listed(at) {
        if !path.contains(next) {
            step(mesh, *next, left - 1, is_exit, path, found);
        }
    }
    path.pop();
}

#[cfg(test)]
mod tests {
    use super::super::mesh::Node;
    use super::*;

    #[test]
    fn ways_are_counted_by_hand() {
        // Origin 0 enters at 1; 1 lists 2 and 3, both list 4; 4 lists 5.
        let lists: [&[u32]; 6] = [&[], &[2, 3], &[1, 4], &[1, 4], &[2, 3, 5], &[4]];
        let node = |listed: &&[u32]| Node {
            listed: listed.to_vec(),
            lists: u8::try_from(listed.len()).unwrap(),
            routes: true,
            exits: true,
            entry: Vec::new(),
        };
        let mut mesh = Mesh {
            nodes: lists.iter().map(node).collect(),
            ..Mesh::default()
        };
        mesh.nodes[0].entry = vec![1];
        let all = |_| true;
        assert_eq!(exits(&mesh, 0, 1, &all), 1);
        assert_eq!(exits(&mesh, 0, 2, &all), 2);
        assert_eq!(exits(&mesh, 0, 3, &all), 1);
        // 5, and 2 and 3 the long way round.
        assert_eq!(exits(&mesh, 0, 4, &all), 3);
        assert_eq!(exits(&mesh, 0, 4, &|id| id == 5), 1);
        mesh.nodes[4].routes = false;
        assert_eq!(exits(&mesh, 0, 4, &all), 0);
    }
}
