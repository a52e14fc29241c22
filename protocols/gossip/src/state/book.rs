//! The address book: seeds and past neighbours, and when each may be tried again.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::address::Address;
use crate::descriptor::Descriptor;
use crate::event::Remembered;
use crate::key::NodeKey;

/// Most past neighbours kept. Guess: six full sets.
pub(super) const MAX_REMEMBERED: usize = 32;
/// With fewer past neighbours any neighbour is noted at once. As many as a node looks for.
const POOR_BELOW: usize = 4;
/// Most seeds. Guess.
pub(super) const MAX_SEEDS: usize = 64;
/// Most addresses kept of one node; as many as a descriptor can have ports.
pub(super) const MAX_ADDRESSES: usize = crate::descriptor::MAX_PORTS;

/// Where the wish to dial came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A seed or past neighbour, because there is no or hardly any neighbour.
    Book,
    /// A past neighbour that is not in view, in case the mesh has parted.
    Probe,
    /// An introduction.
    Introduction,
}

#[derive(Debug, Default, Clone, Copy)]
struct Backoff {
    /// It was asked, and introduced us or said that it would.
    introduced: bool,
    fails: u32,
    next: Duration,
}

/// Seeds and past neighbours.
#[derive(Debug, Default)]
pub(super) struct Book {
    seeds: Vec<Descriptor>,
    remembered: BTreeMap<NodeKey, Remembered>,
    backoff: BTreeMap<NodeKey, Backoff>,
    /// The list of past neighbours changed and the host does not know yet.
    dirty: bool,
}

impl Book {
    pub(super) fn new(seeds: Vec<Descriptor>, remembered: Vec<Remembered>, me: NodeKey) -> Self {
        let mut book = Self::default();
        for seed in seeds {
            book.add_seed(seed, me);
        }
        for mut past in remembered
            .into_iter()
            .filter(|past| past.node != me)
            .take(MAX_REMEMBERED)
        {
            past.addresses.truncate(MAX_ADDRESSES);
            book.remembered.insert(past.node, past);
        }
        book
    }

    pub(super) fn add_seed(&mut self, seed: Descriptor, me: NodeKey) {
        if seed.node != me && self.seeds.len() < MAX_SEEDS && !self.seeds.contains(&seed) {
            self.seeds.push(seed);
        }
    }

    pub(super) fn seed(&self, node: &NodeKey) -> Option<&Descriptor> {
        self.seeds.iter().find(|seed| seed.node == *node)
    }

    /// Whether so few past neighbours are known that they may all be gone after a restart.
    pub(super) fn is_poor(&self) -> bool {
        self.remembered.len() < POOR_BELOW
    }

    /// Where the seeds are.
    pub(super) fn seed_addresses(&self) -> Vec<Address> {
        self.seeds.iter().flat_map(Descriptor::addresses).collect()
    }

    /// Notes a neighbour, or that a neighbour is still one. The one seen longest ago makes room,
    /// but none that is `present`.
    pub(super) fn remember(
        &mut self,
        node: NodeKey,
        addresses: Vec<Address>,
        unix: u64,
        present: impl Fn(&NodeKey) -> bool,
    ) {
        if addresses.is_empty() {
            return self.seen(&node, unix);
        }
        if self.remembered.len() >= MAX_REMEMBERED && !self.remembered.contains_key(&node) {
            let absent = self.remembered.values().filter(|past| !present(&past.node));
            let Some(oldest) = absent.min_by_key(|past| past.last_seen) else {
                return;
            };
            let oldest = oldest.node;
            self.remembered.remove(&oldest);
            self.backoff.remove(&oldest);
        }
        let past = Remembered {
            node,
            addresses,
            last_seen: unix,
        };
        self.remembered.insert(node, past);
        self.dirty = true;
    }

    /// Notes that somebody in the list is, or was just now, there.
    pub(super) fn seen(&mut self, node: &NodeKey, unix: u64) {
        if let Some(known) = self.remembered.get_mut(node) {
            known.last_seen = unix;
            self.dirty = true;
        }
    }

    /// The list, if the host does not have it yet.
    pub(super) fn take_changed(&mut self) -> Option<Vec<Remembered>> {
        std::mem::take(&mut self.dirty).then(|| self.remembered.values().cloned().collect())
    }

    /// Everyone who may be tried now: fewest failures first, past neighbours before seeds.
    pub(super) fn due(&self, now: Duration) -> Vec<(NodeKey, Vec<Address>)> {
        let mut due: Vec<_> = self
            .everyone()
            .filter(|(node, _, _)| self.backoff(node).next <= now)
            .map(|(node, addresses, seed)| (self.backoff(&node).fails, seed, node, addresses))
            .collect();
        due.sort_by_key(|(fails, seed, _, _)| (*fails, *seed));
        due.into_iter()
            .map(|(_, _, node, addresses)| (node, addresses))
            .collect()
    }

    /// Whether it is a seed or a past neighbour.
    pub(super) fn knows(&self, node: &NodeKey) -> bool {
        self.remembers(node) || self.seed(node).is_some()
    }

    pub(super) fn remembers(&self, node: &NodeKey) -> bool {
        self.remembered.contains_key(node)
    }

    /// Past neighbours that may be tried now.
    pub(super) fn past(&self, now: Duration) -> impl Iterator<Item = &Remembered> {
        self.remembered
            .values()
            .filter(move |past| self.backoff(&past.node).next <= now)
    }

    fn everyone(&self) -> impl Iterator<Item = (NodeKey, Vec<Address>, bool)> {
        let past = self
            .remembered
            .values()
            .map(|past| (past.node, past.addresses.clone(), false));
        let seeds = self
            .seeds
            .iter()
            .filter(|seed| !self.remembered.contains_key(&seed.node));
        past.chain(seeds.map(|seed| (seed.node, seed.addresses(), true)))
    }

    fn backoff(&self, node: &NodeKey) -> Backoff {
        self.backoff.get(node).copied().unwrap_or_default()
    }

    /// It did not work; `pause` is the first pause, which doubles up to `longest`. `spread` is a
    /// random factor around one.
    pub(super) fn failed(
        &mut self,
        node: &NodeKey,
        now: Duration,
        pause: Duration,
        longest: Duration,
        spread: f64,
    ) {
        let known = self.remembered.contains_key(node) || self.seed(node).is_some();
        if known {
            let mut backoff = self.backoff(node);
            let doubled = pause.saturating_mul(1 << backoff.fails.min(16));
            backoff.fails = backoff.fails.saturating_add(1);
            backoff.next = now + doubled.min(longest).mul_f64(spread);
            self.backoff.insert(*node, backoff);
        }
    }

    /// Those who may be tried now and have not looked for somebody for us yet (since they were our
    /// neighbours last).
    pub(super) fn fresh(&self, now: Duration) -> Vec<(NodeKey, Vec<Address>)> {
        let mut due = self.due(now);
        due.retain(|(node, _)| !self.backoff(node).introduced);
        due
    }

    /// It is looking for somebody for us.
    pub(super) fn introduces(&mut self, node: &NodeKey) {
        if self.knows(node) {
            self.backoff.entry(*node).or_default().introduced = true;
        }
    }

    /// It answered, but had no room: try again soon, without growing pauses.
    pub(super) fn busy(&mut self, node: &NodeKey, until: Duration) {
        if self.remembered.contains_key(node) || self.seed(node).is_some() {
            self.backoff.entry(*node).or_default().next = until;
        }
    }

    /// Everybody may be tried again at once.
    pub(super) fn forget_pauses(&mut self) {
        self.backoff.clear();
    }

    /// It worked.
    pub(super) fn succeeded(&mut self, node: &NodeKey) {
        self.backoff.remove(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> Vec<Address> {
        vec![
            "20.0.0.1:4000"
                .parse::<std::net::SocketAddr>()
                .unwrap()
                .into(),
        ]
    }

    #[test]
    fn the_one_gone_longest_makes_room_and_nobody_present() {
        let mut book = Book::default();
        let key = |n: u8| NodeKey([n; 32]);
        for n in 0..32 {
            book.remember(key(n), address(), 1000 + u64::from(n), |_| false);
        }
        book.seen(&key(1), 5000);
        // 0 is the oldest but present, 1 was seen again: 2 goes.
        book.remember(key(100), address(), 6000, |node| *node == key(0));
        assert!(book.remembers(&key(0)) && book.remembers(&key(1)));
        assert!(!book.remembers(&key(2)) && book.remembers(&key(100)));
        assert_eq!(book.remembered.len(), MAX_REMEMBERED);
        book.remember(key(101), address(), 6000, |_| true);
        assert!(!book.remembers(&key(101)));
    }

    #[test]
    fn who_is_not_in_the_list_changes_nothing() {
        let mut book = Book::default();
        book.seen(&NodeKey([1; 32]), 5);
        book.remember(NodeKey([1; 32]), Vec::new(), 5, |_| false);
        assert_eq!(book.take_changed(), None);
    }
}
