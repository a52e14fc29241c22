//! What the nodes of a band know together, and who of them does what.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use libp2p::identity::ed25519;
use rand::seq::IndexedRandom as _;

use super::speaker::Speaker;
use crate::card::{SealSecret, WalkId};
use crate::chain::Chain;
use crate::config::MAX_NEIGHBOURS;
use crate::descriptor::Descriptor;
use crate::key::NodeKey;

/// A node that parted from one of the band is not tried again by it for this long: as long as nodes
/// remember whom they do not take again.
const KNOWN_FOR: Duration = Duration::from_secs(3600);

/// One of the band, for the others.
pub(super) struct Member {
    pub(super) key: NodeKey,
    pub(super) keys: ed25519::Keypair,
    pub(super) ip: IpAddr,
    pub(super) record: Vec<u8>,
    /// How many neighbours it has.
    pub(super) links: usize,
    /// What others of the band tell it to do.
    pub(super) orders: VecDeque<Meet>,
}

/// The order to become somebody's neighbour.
pub(super) struct Meet {
    pub(super) node: NodeKey,
    pub(super) ip: IpAddr,
    pub(super) invited: Option<WalkId>,
}

/// A card that was taken: for whom of the band, and from whom it came.
pub(super) struct Take {
    pub(super) member: usize,
    pub(super) node: NodeKey,
    pub(super) secret: SealSecret,
}

/// What all know.
#[derive(Default)]
pub(super) struct Known {
    pub(super) members: Vec<Member>,
    pub(super) index: HashMap<NodeKey, usize>,
    /// Where honest nodes are.
    pub(super) homes: BTreeMap<NodeKey, IpAddr>,
    /// Who of the band is whose neighbour.
    pub(super) linked: BTreeMap<NodeKey, BTreeSet<usize>>,
    /// What honest nodes list.
    pub(super) lists: BTreeMap<NodeKey, Vec<NodeKey>>,
    /// Most neighbours each has.
    pub(super) most: usize,
    /// Which of the band has been parted from by whom, until when it is of no use there; kept while
    /// each may have any number of neighbours.
    parted: BTreeMap<(NodeKey, usize), Duration>,
    /// The time, as the last of the band to do something saw it.
    pub(super) now: Duration,
    pub(super) takes: BTreeMap<WalkId, Take>,
    pub(super) taken: VecDeque<WalkId>,
    pub(super) aim: Option<NodeKey>,
}

impl Known {
    /// Whether a member may have this neighbour besides those it has.
    pub(super) fn fits(&self, member: usize, node: &NodeKey) -> bool {
        let known = self.parted.get(&(*node, member));
        self.members[member].links < self.most
            && !self.is_linked(member, node)
            && known.is_none_or(|until| *until <= self.now)
    }

    /// A node has parted from a member: its key is burnt there for a while.
    pub(super) fn part(&mut self, member: usize, node: NodeKey) {
        if self.most > MAX_NEIGHBOURS {
            self.parted.insert((node, member), self.now + KNOWN_FOR);
        }
    }

    pub(super) fn is_linked(&self, member: usize, node: &NodeKey) -> bool {
        self.linked.get(node).is_some_and(|by| by.contains(&member))
    }

    /// Who of the band may become a neighbour of `node`: `first` if it can, else anybody.
    pub(super) fn somebody_for(
        &self,
        first: usize,
        node: &NodeKey,
        speaker: &mut Speaker,
    ) -> Option<usize> {
        if self.fits(first, node) {
            return Some(first);
        }
        let free: Vec<usize> = (0..self.members.len())
            .filter(|member| self.fits(*member, node))
            .collect();
        free.choose(&mut speaker.rng).copied()
    }

    /// Who is worth a debut: the victim and its neighbours, if there is a victim and where they
    /// are is known; anybody else.
    pub(super) fn target(&self, member: usize, speaker: &mut Speaker) -> Option<(NodeKey, IpAddr)> {
        let free = |node: &NodeKey| self.fits(member, node);
        if let Some(victim) = self.aim {
            let around = self.lists.get(&victim).cloned().unwrap_or_default();
            let aims: Vec<(NodeKey, IpAddr)> = std::iter::once(victim)
                .chain(around)
                .filter(|node| free(node))
                .filter_map(|node| Some((node, *self.homes.get(&node)?)))
                .collect();
            if let Some(aim) = aims.choose(&mut speaker.rng) {
                return Some(*aim);
            }
        }
        let homes: Vec<(NodeKey, IpAddr)> = self
            .homes
            .iter()
            .filter(|(node, _)| free(node))
            .map(|(node, ip)| (*node, *ip))
            .collect();
        homes.choose(&mut speaker.rng).copied()
    }
}

/// What the band shares.
pub(super) struct Band {
    pub(super) seeds: Vec<Descriptor>,
    known: Mutex<Known>,
}

impl Band {
    pub(super) fn new(seeds: Vec<Descriptor>, most: usize) -> Self {
        let known = Known {
            most,
            ..Known::default()
        };
        Self {
            seeds,
            known: Mutex::new(known),
        }
    }

    pub(super) fn chain(&self) -> Chain {
        self.seeds.first().map_or(Chain::Dev, |seed| seed.chain)
    }

    pub(super) fn join(&self, key: NodeKey, keys: ed25519::Keypair, ip: IpAddr) {
        let mut known = self.known();
        let index = known.members.len();
        known.index.insert(key, index);
        known.members.push(Member {
            key,
            keys,
            ip,
            record: vec![],
            links: 0,
            orders: VecDeque::new(),
        });
    }

    pub(super) fn aim_at(&self, victim: NodeKey) {
        self.known().aim = Some(victim);
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no holder panics")
    }
}
