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
/// Long enough that where it ends says little of where it began.
const ENTRY: Reach = (24, 12);

/// How entry links come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum EntryRule {
    /// The first link of a node, found near its seed, is its entry link; later walks go over any
    /// link. Four links are looked for and five accepted, whatever they are
    First,
    /// Listed links come first, at most three; near ones end at a node three listed links away.
    /// Two places are kept for entry links, the own of which is found last, by a long walk
    Walk,
    /// The same, with entry neighbours drawn from all nodes: the least that can be given away
    Drawn,
    /// Listed links come first, at most four; one place is kept for the entry link, which two
    /// nodes that have none make their own both, found by a long walk
    Pairs,
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
    /// Links that both ends list.
    listed: Vec<Vec<u32>>,
    /// Entry links of either end.
    hidden: Vec<Vec<u32>>,
    own: Vec<Option<u32>>,
}

/// Forms a mesh.
pub(super) fn grow(recipe: Recipe) -> Mesh {
    let n = recipe.nodes;
    let mut mesh = Growing {
        recipe,
        rng: ChaCha20Rng::seed_from_u64(recipe.seed),
        listed: vec![Vec::new(); n],
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
    /// Links that a node looks for by itself, and those that it accepts, before entry links.
    fn wanted(&self) -> (usize, usize) {
        match self.recipe.rule {
            EntryRule::First => (4, MAX_LINKS),
            EntryRule::Walk | EntryRule::Drawn => (3, 3),
            EntryRule::Pairs => (4, 4),
        }
    }

    fn links(&self, id: u32) -> usize {
        self.listed[id as usize].len() + self.hidden[id as usize].len()
    }

    fn room(&self, id: u32) -> bool {
        self.links(id) < self.wanted().1
    }

    fn linked(&self, a: u32, b: u32) -> bool {
        self.listed[a as usize].contains(&b) || self.hidden[a as usize].contains(&b)
    }

    /// Whether `host` would be an entry neighbour of one more.
    fn may_host(&self, host: u32) -> bool {
        let own = usize::from(self.own[host as usize].is_none());
        match self.recipe.rule {
            EntryRule::Pairs => self.hidden[host as usize].is_empty(),
            _ => self.hidden[host as usize].len() + 1 + own <= MAX_ENTRY,
        }
    }

    fn link(&mut self, a: u32, b: u32) {
        self.listed[a as usize].push(b);
        self.listed[b as usize].push(a);
    }

    fn unlink(&mut self, a: u32, b: u32) {
        self.listed[a as usize].retain(|other| *other != b);
        self.listed[b as usize].retain(|other| *other != a);
    }

    /// A link, new or listed until now, becomes an entry link.
    fn make_entry(&mut self, origin: u32, host: u32) {
        self.unlink(origin, host);
        self.own[origin as usize] = Some(host);
        if !self.hidden[origin as usize].contains(&host) {
            self.hidden[origin as usize].push(host);
            self.hidden[host as usize].push(origin);
        }
        if self.recipe.rule == EntryRule::Pairs {
            self.own[host as usize].get_or_insert(origin);
        }
    }

    /// The first link, through the first node of all; where nobody has room, by a splice.
    fn join(&mut self, id: u32) {
        if id == 0 {
            return;
        }
        let taker = (0..TRIES).find_map(|_| self.walk(id, 0, ANYWHERE, Self::room));
        let taker = if self.room(0) { Some(0) } else { taker };
        match taker {
            Some(taker) if self.recipe.rule == EntryRule::First && self.may_host(taker) => {
                self.make_entry(id, taker);
            }
            Some(taker) => self.link(id, taker),
            None => self.splice(id),
        }
        self.fill(id);
    }

    /// A listed link between two others is replaced by one of `id` to each.
    fn splice(&mut self, id: u32) {
        for _ in 0..TRIES * TRIES {
            let a = self.rng.random_range(0..id);
            if let Some(b) = self.listed[a as usize].choose(&mut self.rng).copied() {
                self.unlink(a, b);
                self.link(id, a);
                self.link(id, b);
                return;
            }
        }
    }

    /// Looks for links up to the target.
    fn fill(&mut self, id: u32) {
        for _ in 0..TRIES {
            if self.links(id) >= self.wanted().0 {
                return;
            }
            let near = self.rng.random_bool(self.recipe.near_share);
            let taker = match self.recipe.rule {
                EntryRule::First => self.seek(id, if near { NEAR } else { FAR }, Self::room),
                _ if near => self.three_away(id),
                _ => self.seek(id, FAR, Self::room),
            };
            if let Some(taker) = taker {
                self.link(id, taker);
            }
        }
    }

    /// Somebody with room who stands three listed links away.
    fn three_away(&mut self, id: u32) -> Option<u32> {
        let mut rings = vec![vec![id]];
        for _ in 0..3 {
            let last = rings.last().map_or(&[] as &[u32], Vec::as_slice);
            let mut next: Vec<u32> = last
                .iter()
                .flat_map(|at| &self.listed[*at as usize])
                .filter(|other| !rings.iter().any(|ring| ring.contains(other)))
                .copied()
                .collect();
            next.sort_unstable();
            next.dedup();
            rings.push(next);
        }
        let third = rings.pop().unwrap_or_default();
        let free: Vec<u32> = third
            .into_iter()
            .filter(|other| self.room(*other))
            .collect();
        free.choose(&mut self.rng).copied()
    }

    /// A walk of `id`'s own, over any link by the first rule and over listed ones by the others.
    fn seek(&mut self, id: u32, (left, min): Reach, takes: fn(&Self, u32) -> bool) -> Option<u32> {
        let first = self.onward(id, id, id)?;
        self.walk(id, first, (left - 1, min.saturating_sub(1)), takes)
    }

    fn onward(&mut self, at: u32, from: u32, about: u32) -> Option<u32> {
        let mut ways = self.listed[at as usize].clone();
        if self.recipe.rule == EntryRule::First {
            ways.extend(&self.hidden[at as usize]);
        }
        ways.retain(|next| *next != from && *next != about);
        ways.choose(&mut self.rng).copied()
    }

    /// A walk for `id` that has come to `at`: who takes it.
    fn walk(
        &mut self,
        id: u32,
        mut at: u32,
        (mut left, mut min): Reach,
        takes: fn(&Self, u32) -> bool,
    ) -> Option<u32> {
        let mut from = id;
        loop {
            if min == 0 && at != id && takes(self, at) && !self.linked(id, at) {
                return Some(at);
            }
            if left == 0 {
                return None;
            }
            let next = self.onward(at, from, id)?;
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
        let hosted = self.hidden[id as usize].first().copied();
        if let Some(host) = hosted.filter(|_| self.recipe.rule != EntryRule::Drawn) {
            return self.make_entry(id, host);
        }
        let found = match self.recipe.rule {
            EntryRule::First => None,
            EntryRule::Walk | EntryRule::Pairs => {
                (0..TRIES).find_map(|_| self.seek(id, ENTRY, Self::may_host))
            }
            EntryRule::Drawn => {
                let n = u32::try_from(self.own.len()).expect("fewer than 2^32 nodes");
                (0..TRIES * TRIES).find_map(|_| {
                    let host = self.rng.random_range(0..n);
                    let fine = host != id && !self.linked(id, host) && self.may_host(host);
                    fine.then_some(host)
                })
            }
        };
        // Else one of the links that are there.
        let listed = &self.listed[id as usize];
        let spare = listed.iter().find(|host| self.may_host(**host));
        if let Some(host) = found.or(spare.copied()).or(listed.first().copied()) {
            self.make_entry(id, host);
        }
    }

    fn finish(self) -> Mesh {
        let mut mesh = Mesh::default();
        let nodes = self.listed.into_iter().zip(self.own).enumerate();
        for (at, (listed, own)) in nodes {
            mesh.nodes.push(Node {
                lists: u8::try_from(listed.len()).unwrap_or(u8::MAX),
                listed,
                routes: true,
                exits: at % EXIT_EVERY == 0,
                entry: own.into_iter().collect(),
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
            EntryRule::Walk,
            EntryRule::Drawn,
            EntryRule::Pairs,
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
                let entry = node.entry[0];
                assert!(!mesh.adjacent(id, entry), "{rule:?}: it is listed");
                assert!(node.listed.len() < MAX_LINKS, "{rule:?}");
                for other in &node.listed {
                    assert!(mesh.adjacent(*other, id) && *other != id, "{rule:?}");
                }
                if rule == EntryRule::Pairs {
                    assert!(mesh.node(entry).entry.len() == 1);
                }
            }
        }
    }
}
