//! Meshes by a rule of thumb, formed in a blink: nodes come one after the
//! other, each finds a first neighbour and then others by walks, as gossip
//! does, without time, messages or failures. For trying what another way to
//! choose entry links would change, and to check the adversary on meshes of
//! which everything is known. The figures that are reported come from
//! `simulated`.

use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

use masq::routing::MAX_LINKS;

use super::mesh::{Mesh, Node};

/// Links that a node looks for.
const TARGET: usize = 4;
/// Entry links that a node has at most, its own and others' together.
const MAX_ENTRY: usize = 2;
/// Walks that a node sends out for each link that it misses, before it is content.
const TRIES: usize = 20;
/// Rounds in which nodes that miss links look again.
const ROUNDS: usize = 3;
/// Every third node is an exit.
const EXIT_EVERY: usize = 3;

/// Steps of a walk, and after how many of them the first taker may be found.
type Reach = (usize, usize);
const ANYWHERE: Reach = (8, 1);
const NEAR: Reach = (6, 2);
const FAR: Reach = (12, 4);

/// How entry links come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum EntryRule {
    /// The first link of a node, found near its seed, is its entry link. The others are looked
    /// for by walks over any link.
    First,
    /// The same, but later walks set out over listed links only, once there is one.
    Apart,
    /// The entry link is looked for last, by a walk of 24 steps of which 12 pass before anybody
    /// takes, over any links; the first link is a listed one.
    Long,
    /// The entry neighbour is drawn from all nodes with room: the best that can be.
    Uniform,
}

/// A synthetic mesh.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recipe {
    pub(super) nodes: usize,
    pub(super) near_share: f64,
    pub(super) rule: EntryRule,
    pub(super) seed: u64,
}

struct Growing {
    recipe: Recipe,
    rng: ChaCha20Rng,
    /// All links of a node.
    links: Vec<Vec<u32>>,
    /// Those of them that are entry links of either end.
    hidden: Vec<Vec<u32>>,
    own: Vec<Option<u32>>,
}

/// Forms a mesh.
pub(super) fn grow(recipe: Recipe) -> Mesh {
    let n = recipe.nodes;
    let mut mesh = Growing {
        recipe,
        rng: ChaCha20Rng::seed_from_u64(recipe.seed),
        links: vec![Vec::new(); n],
        hidden: vec![Vec::new(); n],
        own: vec![None; n],
    };
    let ids = 0..u32::try_from(n).expect("a mesh has fewer than 2^32 nodes");
    for id in ids.clone() {
        mesh.join(id);
    }
    for _ in 0..ROUNDS {
        for id in ids.clone() {
            mesh.fill(id);
        }
    }
    for id in ids {
        mesh.find_entry(id);
    }
    mesh.finish()
}

impl Growing {
    fn room(&self, id: u32) -> bool {
        self.links[id as usize].len() < MAX_LINKS
    }

    fn linked(&self, a: u32, b: u32) -> bool {
        self.links[a as usize].contains(&b)
    }

    fn hides(&self, a: u32, b: u32) -> bool {
        self.hidden[a as usize].contains(&b)
    }

    /// Whether `host` would be an entry neighbour of one more.
    fn may_host(&self, host: u32) -> bool {
        let own = usize::from(self.own[host as usize].is_none());
        self.hidden[host as usize].len() + 1 + own <= MAX_ENTRY
    }

    fn link(&mut self, a: u32, b: u32) {
        self.links[a as usize].push(b);
        self.links[b as usize].push(a);
    }

    fn make_entry(&mut self, origin: u32, host: u32) {
        self.own[origin as usize] = Some(host);
        if !self.hides(origin, host) {
            self.hidden[origin as usize].push(host);
            self.hidden[host as usize].push(origin);
        }
    }

    /// The first link, through the first node of all; where nobody has room, by a splice.
    fn join(&mut self, id: u32) {
        if id == 0 {
            return;
        }
        let taker = (0..TRIES).find_map(|_| self.walk(id, 0, ANYWHERE));
        let taker = if self.room(0) { Some(0) } else { taker };
        match taker {
            Some(taker) => {
                self.link(id, taker);
                let first = matches!(self.recipe.rule, EntryRule::First | EntryRule::Apart);
                if first && self.may_host(taker) {
                    self.make_entry(id, taker);
                }
            }
            None => self.splice(id),
        }
        self.fill(id);
    }

    /// A listed link between two others is replaced by one of `id` to each.
    fn splice(&mut self, id: u32) {
        for _ in 0..TRIES * TRIES {
            let a = self.rng.random_range(0..id);
            let beside = self.links[a as usize].iter();
            let listed: Vec<u32> = beside.filter(|b| !self.hides(a, **b)).copied().collect();
            if let Some(b) = listed.choose(&mut self.rng).copied() {
                self.links[a as usize].retain(|other| *other != b);
                self.links[b as usize].retain(|other| *other != a);
                self.link(id, a);
                self.link(id, b);
                return;
            }
        }
    }

    /// Looks for links up to the target.
    fn fill(&mut self, id: u32) {
        // The place that the entry link will take.
        let late = self.recipe.rule == EntryRule::Long || self.recipe.rule == EntryRule::Uniform;
        let target = TARGET - usize::from(late);
        for _ in 0..TRIES {
            if self.links[id as usize].len() >= target {
                return;
            }
            let reach = if self.rng.random_bool(self.recipe.near_share) {
                NEAR
            } else {
                FAR
            };
            if let Some(first) = self.first_step(id)
                && let Some(taker) = self.walk(id, first, (reach.0 - 1, reach.1.saturating_sub(1)))
            {
                self.link(id, taker);
            }
        }
    }

    fn first_step(&mut self, id: u32) -> Option<u32> {
        let all = &self.links[id as usize];
        let listed = all.iter().filter(|other| !self.hides(id, **other));
        let listed: Vec<u32> = listed.copied().collect();
        let from = if self.recipe.rule == EntryRule::Apart && !listed.is_empty() {
            &listed
        } else {
            all
        };
        from.choose(&mut self.rng).copied()
    }

    /// A walk for `id` that has come to `at`: who takes it.
    fn walk(&mut self, id: u32, mut at: u32, (mut left, mut min): Reach) -> Option<u32> {
        let mut from = id;
        loop {
            if min == 0 && at != id && self.room(at) && !self.linked(id, at) {
                return Some(at);
            }
            if left == 0 {
                return None;
            }
            let onward: Vec<u32> = self.links[at as usize]
                .iter()
                .filter(|next| **next != from && **next != id)
                .copied()
                .collect();
            let next = *onward.choose(&mut self.rng)?;
            (from, at) = (at, next);
            (left, min) = (left - 1, min.saturating_sub(1));
        }
    }

    /// Sees to it that a node has an entry link of its own.
    fn find_entry(&mut self, id: u32) {
        if self.own[id as usize].is_some() {
            return;
        }
        // Somebody's entry link may be made one's own too, at no cost.
        if let Some(host) = self.hidden[id as usize].first().copied() {
            return self.make_entry(id, host);
        }
        match self.recipe.rule {
            EntryRule::Long if self.room(id) => {
                for _ in 0..TRIES {
                    let Some(first) = self.first_step(id) else {
                        break;
                    };
                    if let Some(taker) = self.walk(id, first, (23, 11))
                        && self.may_host(taker)
                    {
                        self.link(id, taker);
                        return self.make_entry(id, taker);
                    }
                }
            }
            EntryRule::First | EntryRule::Apart | EntryRule::Long => {}
            EntryRule::Uniform => {
                let n = u32::try_from(self.links.len()).expect("fewer than 2^32 nodes");
                for _ in 0..TRIES * TRIES {
                    let host = self.rng.random_range(0..n);
                    let fine = host != id && self.room(host) && self.room(id);
                    if fine && !self.linked(id, host) && self.may_host(host) {
                        self.link(id, host);
                        return self.make_entry(id, host);
                    }
                }
            }
        }
        // One of the links that are there.
        let all = self.links[id as usize].clone();
        let host = all
            .iter()
            .find(|host| self.may_host(**host))
            .or(all.first());
        if let Some(host) = host {
            self.make_entry(id, *host);
        }
    }

    fn finish(self) -> Mesh {
        let mut mesh = Mesh::default();
        for (at, links) in self.links.iter().enumerate() {
            let listed = links
                .iter()
                .filter(|other| !self.hidden[at].contains(other));
            let listed: Vec<u32> = listed.copied().collect();
            mesh.nodes.push(Node {
                lists: u8::try_from(listed.len()).unwrap_or(u8::MAX),
                listed,
                routes: true,
                exits: at % EXIT_EVERY == 0,
                entry: self.own[at].into_iter().collect(),
            });
        }
        mesh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meshes_keep_the_rules_of_gossip() {
        for rule in [
            EntryRule::First,
            EntryRule::Apart,
            EntryRule::Long,
            EntryRule::Uniform,
        ] {
            let mesh = grow(Recipe {
                nodes: 200,
                near_share: 0.5,
                rule,
                seed: 1,
            });
            for id in mesh.ids() {
                let node = mesh.node(id);
                assert_eq!(node.entry.len(), 1, "{rule:?}");
                assert!(
                    !mesh.adjacent(id, node.entry[0]),
                    "{rule:?}: an entry link is listed"
                );
                assert!(node.listed.len() < MAX_LINKS, "{rule:?}");
                for other in &node.listed {
                    assert!(mesh.adjacent(*other, id) && *other != id, "{rule:?}");
                }
            }
        }
    }
}
