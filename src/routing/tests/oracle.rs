//! Slow answers to compare with, by trying everything.

use std::collections::HashMap;

use super::mesh::{ME, Mesh, key};
use super::{Chosen, MAX_LINKS, NodeKey};

pub(super) fn number(key: &NodeKey) -> u16 {
    u16::from_be_bytes([key[0], key[1]])
}

pub(super) fn numbers(keys: &[NodeKey]) -> Vec<u16> {
    keys.iter().map(number).collect()
}

/// What the best loop gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Best {
    pub(super) shared: u32,
    pub(super) neighbour_exit: bool,
    pub(super) longer: bool,
}

/// All paths of `len` nodes from an entry neighbour to an exit, by exit.
fn legs(mesh: &Mesh, len: usize) -> HashMap<u16, Vec<Vec<u16>>> {
    let mut paths: Vec<Vec<u16>> = mesh.entry.iter().map(|e| vec![*e]).collect();
    for _ in 1..len {
        let mut longer = Vec::new();
        for path in &paths {
            let last = path[path.len() - 1];
            for next in mesh.beside(last).iter().filter(|_| mesh.routes(last)) {
                if *next != ME && !path.contains(next) {
                    longer.push(path.iter().copied().chain([*next]).collect());
                }
            }
        }
        paths = longer;
    }
    let mut by_exit: HashMap<u16, Vec<Vec<u16>>> = HashMap::new();
    for path in paths {
        let exit = path[path.len() - 1];
        if mesh.exits.contains(&exit) {
            by_exit.entry(exit).or_default().push(path);
        }
    }
    by_exit
}

/// Whether there is any loop at all: a leg can always be gone home by.
pub(super) fn any_loop(mesh: &Mesh, hops: u8) -> bool {
    !legs(mesh, usize::from(hops)).is_empty()
}

/// The best of all loops without an entry neighbour inside or as the exit.
pub(super) fn best(mesh: &Mesh, hops: u8) -> Option<Best> {
    let hops = usize::from(hops);
    let outside = |legs: HashMap<u16, Vec<Vec<u16>>>| {
        let mut legs = legs;
        for paths in legs.values_mut() {
            paths.retain(|leg| !leg[1..].iter().any(|n| mesh.entry.contains(n)));
        }
        legs
    };
    let over_legs = outside(legs(mesh, hops));
    let long_legs = outside(legs(mesh, hops + 1));
    let mut best: Option<Best> = None;
    for (exit, overs) in &over_legs {
        let none = Vec::new();
        let long = long_legs.get(exit).unwrap_or(&none);
        for over in overs {
            for home in overs.iter().chain(long) {
                let inner = &home[1..home.len() - 1];
                let shared = over[1..over.len() - 1].iter().filter(|n| inner.contains(n));
                let found = Best {
                    shared: u32::try_from(shared.count()).unwrap(),
                    neighbour_exit: mesh.has_edge(ME, *exit),
                    longer: home.len() > hops,
                };
                best = Some(best.map_or(found, |best| best.min(found)));
            }
        }
    }
    best
}

/// Suspects of R2, the exit and R4 on a loop of three hops, one entry
/// neighbour and four different relays: by trying every pair of nodes.
pub(super) fn suspects(mesh: &Mesh, route: &Chosen) -> [u32; 3] {
    let entry = number(&route.over[0]);
    let (over, exit, back) = (
        number(&route.over[1]),
        number(&route.over[2]),
        number(&route.back[0]),
    );
    assert_eq!(route.back[1], key(entry));
    let room = |n: u16| mesh.degree(n) < MAX_LINKS;
    let count = |candidates: &[u16], seen: &[u16]| {
        let could = |origin: u16| {
            candidates
                .iter()
                .any(|e| *e != origin && room(*e) && mesh.routes(*e) && !mesh.has_edge(*e, origin))
        };
        let all = (0..mesh.n).filter(|o| room(*o) && !seen.contains(o) && could(*o));
        u32::try_from(all.count()).unwrap()
    };
    let between: Vec<u16> = (0..mesh.n)
        .filter(|e| mesh.has_edge(over, *e) && mesh.has_edge(back, *e))
        .filter(|e| ![exit, over, back].contains(e))
        .collect();
    [
        count(&[entry], &[over, entry, exit]),
        count(&between, &[exit, over, back]),
        count(&[entry], &[back, entry, exit]),
    ]
}
