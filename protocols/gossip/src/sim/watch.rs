//! What is counted while the simulator runs, beside the machines and without
//! any influence on them: when nodes got a route, how long they had fewer than
//! two neighbours, bytes by kind of message, and who ever learned whose address
//! and whether it was meant to. How the machines are driven is in [`super`].

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::card::WalkId;
use crate::event::Stage;
use crate::key::NodeKey;
use crate::wire::Message;

/// Below this many neighbours a node counts as poorly connected. From the design.
const FEW: usize = 2;
/// From this many living nodes on everybody can have [`FEW`] neighbours.
const ENOUGH: usize = FEW + 1;
/// How long the origin of a walk is kept at least. A card counts for less (guess: twice its 90 s).
const WALKS_KEPT: Duration = Duration::from_secs(180);

/// Messages and bytes of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many messages were sent.
    pub messages: u64,
    /// Their bytes, each with the two of its length.
    pub bytes: u64,
}

/// What was observed of one node; it stays when the node dies.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    born: Option<Duration>,
    routed: Option<Duration>,
    alive: bool,
    at_route: bool,
    route_losses: u32,
    few_since: Option<Duration>,
    longest_few: Duration,
    learners: HashSet<u32>,
    neighbours: HashSet<u32>,
}

impl Observed {
    /// When the node was first born.
    pub fn born(&self) -> Option<Duration> {
        self.born
    }

    /// When it was first at `RouteFound`.
    pub fn routed(&self) -> Option<Duration> {
        self.routed
    }

    /// How often its stage fell back from `RouteFound`.
    pub fn route_losses(&self) -> u32 {
        self.route_losses
    }

    /// The longest time it lived with fewer than two neighbours in a row, while there were three
    /// nodes or more; a time that has not ended counts up to `now`.
    pub fn longest_few(&self, now: Duration) -> Duration {
        let open = self.few_since.map(|since| now.saturating_sub(since));
        self.longest_few.max(open.unwrap_or_default())
    }

    /// Every node that ever knew this node's address: it dialled it, or one of the two was
    /// connected to the other.
    pub fn learners(&self) -> impl Iterator<Item = usize> {
        self.learners.iter().map(|index| *index as usize)
    }

    /// How many those are.
    pub fn learner_count(&self) -> usize {
        self.learners.len()
    }

    /// How many of them never became a neighbour.
    pub fn stranger_count(&self) -> usize {
        self.learners.difference(&self.neighbours).count()
    }

    fn end_of_few(&mut self, now: Duration) {
        if let Some(since) = self.few_since.take() {
            self.longest_few = self.longest_few.max(now.saturating_sub(since));
        }
    }
}

/// All counters of one run.
#[derive(Debug, Default)]
pub struct Watch {
    nodes: Vec<Observed>,
    living: usize,
    kinds: HashMap<&'static str, Traffic>,
    /// Whose card goes on each walk: this generation and the one before.
    walks: [HashMap<WalkId, u32>; 2],
    walks_since: Duration,
    /// Owner and learner: the owner sealed its address to the learner, or asked it.
    consents: HashSet<(u32, u32)>,
    unmeant: u64,
}

impl Watch {
    /// What was observed of a node, by its index.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn node(&self, index: usize) -> &Observed {
        &self.nodes[index]
    }

    /// Messages and bytes by kind, in order of the kinds' names.
    pub fn kinds(&self) -> Vec<(&'static str, Traffic)> {
        let mut kinds: Vec<_> = self.kinds.iter().map(|(kind, t)| (*kind, *t)).collect();
        kinds.sort_unstable_by_key(|(kind, _)| *kind);
        kinds
    }

    /// How often a node dialled another whose address it was not meant to have: no seed of its
    /// own, never connected before, and the other never sealed its address to it.
    pub fn unmeant(&self) -> u64 {
        self.unmeant
    }

    pub(super) fn added(&mut self) {
        self.nodes.push(Observed::default());
    }

    pub(super) fn born(&mut self, index: usize, now: Duration) {
        let node = &mut self.nodes[index];
        if !node.alive {
            self.living += 1;
        }
        node.alive = true;
        node.at_route = false;
        node.born.get_or_insert(now);
        if self.living == ENOUGH {
            for node in self.nodes.iter_mut().filter(|node| node.alive) {
                // Whoever has enough is noted as soon as its machine is next heard.
                node.few_since.get_or_insert(now);
            }
        } else if self.living > ENOUGH {
            self.nodes[index].few_since = Some(now);
        }
    }

    pub(super) fn died(&mut self, index: usize, now: Duration) {
        let node = &mut self.nodes[index];
        if !node.alive {
            return;
        }
        node.alive = false;
        node.end_of_few(now);
        self.living -= 1;
        if self.living < ENOUGH {
            self.nodes.iter_mut().for_each(|node| node.end_of_few(now));
        }
    }

    /// How a living node stands, after each thing that happened to it.
    pub(super) fn stands(&mut self, index: usize, now: Duration, degree: usize, stage: Stage) {
        let node = &mut self.nodes[index];
        if degree >= FEW {
            node.end_of_few(now);
        } else if self.living >= ENOUGH {
            node.few_since.get_or_insert(now);
        }
        let at_route = stage == Stage::RouteFound;
        if at_route {
            node.routed.get_or_insert(now);
        } else if node.at_route {
            node.route_losses += 1;
        }
        node.at_route = at_route;
    }

    pub(super) fn neighbours(&mut self, index: usize, other: usize) {
        self.nodes[index].neighbours.insert(other as u32);
    }

    /// A node dials: it knows the address.
    pub(super) fn dialled(&mut self, learner: usize, owner: usize, is_seed: bool) {
        if learner == owner {
            return;
        }
        let pair = (owner as u32, learner as u32);
        let new = self.nodes[owner].learners.insert(pair.1);
        if new && !is_seed && !self.consents.contains(&pair) {
            self.unmeant += 1;
        }
    }

    /// Two nodes are connected: each sees where the other is.
    pub(super) fn connected(&mut self, from: usize, to: usize) {
        self.nodes[from].learners.insert(to as u32);
        self.nodes[to].learners.insert(from as u32);
    }

    /// Two nodes tell each other their addresses in a circuit that one made to the other.
    pub(super) fn asked(&mut self, from: usize, to: usize) {
        self.consents.insert((from as u32, to as u32));
        self.consents.insert((to as u32, from as u32));
    }

    /// A message leaves a node. `index_of` finds a node by its key.
    pub(super) fn sent(
        &mut self,
        now: Duration,
        message: &Message,
        bytes: usize,
        index_of: impl Fn(&NodeKey) -> Option<usize>,
    ) {
        let traffic = self.kinds.entry(kind(message)).or_default();
        traffic.messages += 1;
        traffic.bytes += bytes as u64;
        let index_of = |key: &NodeKey| index_of(key).map(|index| index as u32);
        match message {
            Message::Walk { id, card, .. }
            | Message::Debut {
                card: Some((id, card)),
                ..
            } => {
                if let Some(origin) = named_in(card).as_ref().and_then(index_of) {
                    self.walk(now, *id, origin);
                }
            }
            Message::Taken {
                id,
                card,
                sealed: Some(_),
                ..
            }
            | Message::SpliceReply {
                id,
                card,
                sealed: Some(_),
                ..
            } => {
                let owner = named_in(card).as_ref().and_then(index_of);
                if let (Some(owner), Some(origin)) = (owner, self.origin(id)) {
                    self.consents.insert((owner, origin));
                }
            }
            Message::Sealed { id, to, .. } => {
                if let (Some(origin), Some(to)) = (self.origin(id), index_of(to)) {
                    self.consents.insert((origin, to));
                }
            }
            _ => {}
        }
    }

    fn walk(&mut self, now: Duration, id: WalkId, origin: u32) {
        if now.saturating_sub(self.walks_since) >= WALKS_KEPT {
            self.walks.swap(0, 1);
            self.walks[0].clear();
            self.walks_since = now;
        }
        self.walks[0].insert(id, origin);
    }

    fn origin(&self, id: &WalkId) -> Option<u32> {
        self.walks.iter().find_map(|walks| walks.get(id).copied())
    }
}

/// The node key in a card: behind the name of the chain.
fn named_in(card: &[u8]) -> Option<NodeKey> {
    let chain = usize::from(*card.first()?);
    let key = card.get(1 + chain..)?.first_chunk()?;
    Some(NodeKey(*key))
}

fn kind(message: &Message) -> &'static str {
    match message {
        Message::Debut { .. } => "debut",
        Message::Accept { .. } => "accept",
        Message::Refuse { .. } => "refuse",
        Message::Goodbye(_) => "goodbye",
        Message::Ping(_) => "ping",
        Message::Pong(_) => "pong",
        Message::EntryAsk { .. } | Message::EntryReply { .. } | Message::EntryRelease => "entry",
        Message::Walk { .. }
        | Message::Taken { .. }
        | Message::Sealed { .. }
        | Message::WalkEnd { .. } => "introductions",
        Message::SpliceAsk { .. } | Message::SpliceReply { .. } | Message::SpliceGo { .. } => {
            "splices"
        }
        Message::Digest(_) | Message::DigestList { .. } | Message::Want(_) => "digests",
        Message::Records(_) => "records",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_nobody_gave_is_counted() {
        let mut watch = Watch::default();
        (0..4).for_each(|_| watch.added());
        watch.dialled(1, 0, true);
        watch.asked(2, 0);
        watch.dialled(0, 2, false);
        watch.connected(1, 3);
        watch.dialled(3, 1, false);
        assert_eq!(watch.unmeant(), 0);
        watch.dialled(3, 0, false);
        watch.dialled(3, 0, false);
        assert_eq!(watch.unmeant(), 1, "once per pair");
        let learners = |index: usize| {
            let mut all: Vec<usize> = watch.node(index).learners().collect();
            all.sort_unstable();
            all
        };
        assert_eq!(learners(0), [1, 3]);
        assert_eq!(learners(1), [3]);
        assert_eq!(learners(2), [0]);
    }
}
