//! What an adversary may believe of who has an entry link with whom before it
//! sees a circuit: nothing but what the records rule out, or what meshes of
//! this kind were measured to be like. Not here: what it sees (`adversary`).

use std::collections::HashMap;

use super::mesh::{Mesh, UNREACHABLE};

/// Distances from here on are one class. Far more than across the largest mesh.
const FAR: usize = 15;
/// Classes of distance: 0 to `FAR`, and no way at all.
const DISTANCES: usize = FAR + 2;
/// Places that a record can leave free: 0 to 5.
const PLACES: usize = 6;
const CLASSES: usize = DISTANCES * PLACES * PLACES * 2;

/// How much the adversary knows of how entry links come about.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub(super) enum Knowledge {
    /// Who could have an entry link with whom by the records; each as likely as the other.
    Records,
    /// And how often pairs do that are so many listed links apart and have so many places free.
    Statistics,
    /// And which pairs were listed as neighbours once and are not now.
    History,
}

impl Knowledge {
    pub(super) const ALL: [Self; 3] = [Self::Records, Self::Statistics, Self::History];
}

/// The class of a pair: distance, free places of the origin, of the entry neighbour, listed once.
fn class(distance: u8, origin: usize, entry: usize, listed_once: bool) -> usize {
    let distance = match distance {
        UNREACHABLE => FAR + 1,
        steps => usize::from(steps).min(FAR),
    };
    let places = |spare: usize| spare.min(PLACES - 1);
    ((distance * PLACES + places(origin)) * PLACES + places(entry)) * 2 + usize::from(listed_once)
}

/// How often pairs of each class have an entry link.
#[derive(Debug, Clone)]
struct Rates {
    pairs: Vec<f64>,
    links: Vec<f64>,
}

impl Rates {
    fn of(&self, class: usize) -> f64 {
        if self.pairs[class] > 0.0 {
            self.links[class] / self.pairs[class]
        } else {
            0.0
        }
    }
}

/// Beliefs about the entry links of one mesh.
#[derive(Debug, Clone)]
pub(super) struct Prior {
    knowledge: Knowledge,
    rates: Rates,
    /// For each origin, what its weights sum up to.
    total: Vec<f64>,
}

/// For each origin of a mesh, how many pairs it makes of each class; and the links there are.
pub(super) struct Census {
    /// Sparse: only classes that occur.
    of_origin: Vec<Vec<(u16, u32)>>,
    rates: Rates,
    /// Distances between the ends of entry links, and of pairs that could have one.
    pub(super) linked_at: Vec<f64>,
    pub(super) linkable_at: Vec<f64>,
    /// Entry links in all, and those between nodes that once listed each other.
    pub(super) links: f64,
    pub(super) once_listed: f64,
}

impl Census {
    /// Looks at every pair of a mesh.
    pub(super) fn of(mesh: &Mesh) -> Self {
        let mut census = Self {
            of_origin: Vec::with_capacity(mesh.len()),
            rates: Rates {
                pairs: vec![0.0; CLASSES],
                links: vec![0.0; CLASSES],
            },
            linked_at: vec![0.0; DISTANCES],
            linkable_at: vec![0.0; DISTANCES],
            links: 0.0,
            once_listed: 0.0,
        };
        let mut former: HashMap<u32, Vec<u32>> = HashMap::new();
        for (a, b) in &mesh.former {
            former.entry(*a).or_default().push(*b);
            former.entry(*b).or_default().push(*a);
        }
        for origin in mesh.ids() {
            let steps = mesh.distances(origin);
            let once = former.get(&origin).map_or(&[] as &[u32], Vec::as_slice);
            let mut mine = vec![0u32; CLASSES];
            let class_of = |entry: u32| {
                class(
                    steps[entry as usize],
                    mesh.node(origin).spare(),
                    mesh.node(entry).spare(),
                    once.contains(&entry),
                )
            };
            for entry in mesh.ids().filter(|entry| mesh.linkable(origin, *entry)) {
                mine[class_of(entry)] += 1;
            }
            for entry in &mesh.node(origin).entry {
                // A link that is just changing may still stand in a record.
                if mesh.linkable(origin, *entry) {
                    census.rates.links[class_of(*entry)] += 1.0;
                    census.links += 1.0;
                    census.once_listed += f64::from(u8::from(once.contains(entry)));
                }
            }
            let mine: Vec<(u16, u32)> = (0..).zip(mine).filter(|(_, count)| *count > 0).collect();
            for (class, count) in &mine {
                census.rates.pairs[usize::from(*class)] += f64::from(*count);
            }
            census.of_origin.push(mine);
        }
        for class in 0..CLASSES {
            let distance = class / (PLACES * PLACES * 2);
            census.linked_at[distance] += census.rates.links[class];
            census.linkable_at[distance] += census.rates.pairs[class];
        }
        census
    }
}

impl Prior {
    /// What somebody believes who has seen the entry links of all of `seen`, by class, of `mesh`.
    pub(super) fn learned(knowledge: Knowledge, mesh: &Census, seen: &[&Census]) -> Self {
        let mut rates = Rates {
            pairs: vec![0.0; CLASSES],
            links: vec![0.0; CLASSES],
        };
        for census in seen {
            for class in 0..CLASSES {
                let as_known = known_class(knowledge, class);
                rates.pairs[as_known] += census.rates.pairs[class];
                rates.links[as_known] += census.rates.links[class];
            }
        }
        let total = |classes: &Vec<(u16, u32)>| {
            let weight = |(class, count): &(u16, u32)| {
                f64::from(*count) * rates.of(known_class(knowledge, usize::from(*class)))
            };
            classes.iter().map(weight).sum()
        };
        let total = mesh.of_origin.iter().map(total).collect();
        Self {
            knowledge,
            rates,
            total,
        }
    }

    /// How probable it is that the node `entry`, `distance` listed links away, is the entry
    /// neighbour of `origin`, if each node has one.
    pub(super) fn entry(&self, mesh: &Mesh, origin: u32, entry: u32, distance: u8) -> f64 {
        let total = self.total[origin as usize];
        if total <= 0.0 || !mesh.linkable(origin, entry) {
            return 0.0;
        }
        let class = class(
            distance,
            mesh.node(origin).spare(),
            mesh.node(entry).spare(),
            mesh.was_listed(origin, entry),
        );
        self.rates.of(known_class(self.knowledge, class)) / total
    }
}

/// The class as far as the adversary tells pairs apart.
fn known_class(knowledge: Knowledge, class: usize) -> usize {
    match knowledge {
        Knowledge::Records => 0,
        Knowledge::Statistics => class & !1,
        Knowledge::History => class,
    }
}
