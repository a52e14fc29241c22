//! What is counted on the wire while the simulator runs, without any influence
//! on the machines: bytes by kind of message, who ever was whose neighbour, and
//! whether addresses reach those only for whom they were meant. What is counted
//! of a node by itself is in [`super::count`].

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use crate::card::WalkId;
use crate::key::NodeKey;
use crate::wire::Message;

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

/// All counters of one run.
#[derive(Debug, Default)]
pub struct Watch {
    kinds: HashMap<&'static str, Traffic>,
    /// By index: who ever was a neighbour.
    neighbours: Vec<BTreeSet<u32>>,
    /// Whose card goes on each walk: this generation and the one before.
    walks: [HashMap<WalkId, u32>; 2],
    walks_since: Duration,
    /// Owner and learner: the owner sealed its address to the learner, or one asked the other in a
    /// circuit.
    consents: HashSet<(u32, u32)>,
    unmeant: u64,
}

impl Watch {
    /// Messages and bytes by kind, in order of the kinds' names.
    pub fn kinds(&self) -> Vec<(&'static str, Traffic)> {
        let mut kinds: Vec<_> = self.kinds.iter().map(|(kind, t)| (*kind, *t)).collect();
        kinds.sort_unstable_by_key(|(kind, _)| *kind);
        kinds
    }

    /// Nodes that ever were neighbours of a node, by its own account.
    pub fn neighbours(&self, index: usize) -> &BTreeSet<u32> {
        const NONE: &BTreeSet<u32> = &BTreeSet::new();
        self.neighbours.get(index).unwrap_or(NONE)
    }

    /// How often an honest node dialled another whose address it was not meant to have: no seed of
    /// its own, never connected before, and the other never sealed its address to it.
    pub fn unmeant(&self) -> u64 {
        self.unmeant
    }

    pub(super) fn neighbour(&mut self, index: usize, other: usize) {
        if self.neighbours.len() <= index {
            self.neighbours.resize_with(index + 1, BTreeSet::new);
        }
        self.neighbours[index].insert(other as u32);
    }

    /// A node dials another for the first time that is none of its seeds, and that it was not
    /// connected with.
    pub(super) fn dialled(&mut self, learner: usize, owner: usize) {
        if learner != owner && !self.consents.contains(&(owner as u32, learner as u32)) {
            self.unmeant += 1;
        }
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
        Message::Debut { .. } => "debuts",
        Message::Accept { .. } | Message::Refuse { .. } => "answers",
        Message::Goodbye(_) | Message::Spare => "partings",
        Message::Ping(_) | Message::Pong(_) => "pings",
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
        // So that a new message need not be sorted here to be counted.
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_nobody_gave_is_counted() {
        let mut watch = Watch::default();
        watch.asked(2, 0);
        watch.dialled(0, 2);
        watch.dialled(2, 0);
        watch.dialled(3, 3);
        assert_eq!(watch.unmeant(), 0);
        watch.dialled(3, 0);
        assert_eq!(watch.unmeant(), 1);
    }
}
