//! What is remembered of walks: the way back of each, the cards this node sent
//! out, the slots it keeps for those it offered itself to. Bounded, and every
//! entry has an end. What is done with it is in `intro` and `splice`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ConnId;
use crate::address::Address;
use crate::bucket::TokenBucket;
use crate::card::{Card, SealSecret, WalkId};
use crate::key::NodeKey;

/// Most walks whose way back is remembered. Guess: 15 s of the walks that five links may bring.
const MAX_PATHS: usize = 512;
/// Most own cards under way. Guess.
const MAX_OWN: usize = 16;
/// A walk that has not been answered after this counts as lost. Guess: sixteen steps and back.
const ANSWER_TIME: Duration = Duration::from_secs(3);
/// Most offers to take a newcomer at a time: as many as there are slots.
const MAX_TAKES: usize = crate::config::MAX_NEIGHBOURS;
/// Most of them for walks that came over one connection, or for circuits: one neighbour cannot keep
/// all slots. Guess.
const MAX_TAKES_PER_CONN: usize = 2;
/// Times that this node seals its own address to newcomers: eight at once, twelve an hour, so
/// that who invents newcomers learns few addresses. Measured, as the bound per connection.
const REVEALS: (u32, f64) = (8, 12.0 / 3600.0);

/// Of them, for those who ask by circuits. Guess: as for one connection.
const CIRCUIT_REVEALS: (u32, f64) = (4, 6.0 / 3600.0);

/// The way a walk came and went.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) prev: ConnId,
    pub(super) next: ConnId,
    until: Duration,
}

/// A card of our own that is under way.
pub(super) struct OwnWalk {
    pub(super) secret: SealSecret,
    until: Duration,
    sent: Duration,
    answers: Answers,
}

/// Which answers to a walk are still to come. A walk has one end; a splice adds a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    /// The end's; whether one of a splice may follow.
    First { may_splice: bool },
    /// That of the neighbour whom the end gives up.
    Second,
}

/// Whence a card came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// By a walk, or as the wish to splice.
    Link(ConnId),
    /// By a circuit.
    Circuit,
}

/// An offer of ours to take somebody.
pub(super) struct Take {
    pub(super) node: NodeKey,
    from: Asker,
    pub(super) secret: SealSecret,
    pub(super) swap: Option<Swap>,
    /// Where the newcomer can be dialled, once it has told.
    pub(super) addresses: Vec<Address>,
    until: Duration,
}

/// The link that makes room, in a splice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Swap {
    /// This node is the end of the walk and gives up its link with this one.
    Gives(NodeKey),
    /// The end of the walk, this node, gives up its link with us.
    GivenBy(NodeKey),
}

/// A splice that the other end has not agreed to yet.
#[derive(Debug)]
pub(super) struct Splice {
    pub(super) victim: ConnId,
    /// Whom to ask when it does not agree.
    pub(super) others: Vec<ConnId>,
    pub(super) back: ConnId,
    pub(super) card: Card,
    /// The card as it came.
    pub(super) bytes: Vec<u8>,
    pub(super) until: Duration,
}

/// Everything that is under way.
pub(super) struct Introductions {
    pub(super) paths: BTreeMap<WalkId, Path>,
    pub(super) own: BTreeMap<WalkId, OwnWalk>,
    pub(super) takes: BTreeMap<WalkId, Take>,
    pub(super) splices: BTreeMap<WalkId, Splice>,
    /// Takers of ours that will dial, until when.
    expects: BTreeMap<NodeKey, Duration>,
    /// How often our own address may still be sealed to newcomers.
    pub(super) reveals: TokenBucket,
    /// The same for those who ask by circuits.
    pub(super) circuit_reveals: TokenBucket,
}

impl Introductions {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            paths: BTreeMap::new(),
            own: BTreeMap::new(),
            takes: BTreeMap::new(),
            splices: BTreeMap::new(),
            expects: BTreeMap::new(),
            reveals: TokenBucket::new(REVEALS.0, REVEALS.1, now),
            circuit_reveals: TokenBucket::new(CIRCUIT_REVEALS.0, CIRCUIT_REVEALS.1, now),
        }
    }

    /// Remembers a step of a walk. The first way back stays when a walk comes by again.
    /// `false` when there are too many.
    pub(super) fn remember_path(
        &mut self,
        id: WalkId,
        prev: ConnId,
        next: ConnId,
        until: Duration,
    ) -> bool {
        if let Some(path) = self.paths.get_mut(&id) {
            path.next = next;
            return true;
        }
        let room = self.paths.len() < MAX_PATHS;
        if room {
            self.paths.insert(id, Path { prev, next, until });
        }
        room
    }

    /// Remembers a card sent out; the oldest makes room.
    pub(super) fn remember_own(
        &mut self,
        id: WalkId,
        secret: SealSecret,
        may_splice: bool,
        now: Duration,
        until: Duration,
    ) {
        if self.own.len() >= MAX_OWN
            && let Some(oldest) = self
                .own
                .iter()
                .min_by_key(|(_, own)| own.until)
                .map(|(id, _)| *id)
        {
            self.own.remove(&oldest);
        }
        let answers = Answers::First { may_splice };
        self.own.insert(
            id,
            OwnWalk {
                secret,
                until,
                sent: now,
                answers,
            },
        );
    }

    /// How many walks of ours may still be answered by their ends.
    pub(super) fn under_way(&self, now: Duration) -> usize {
        let fresh = self.own.values().filter(|own| {
            matches!(own.answers, Answers::First { .. }) && now < own.sent + ANSWER_TIME
        });
        fresh.count()
    }

    /// Somebody answers a walk of ours: gives the walk's secret, once per answer that is due.
    /// The walk is used up with the last one, so that nobody on it can answer for more nodes.
    pub(super) fn answered(&mut self, id: &WalkId, second: bool) -> Option<SealSecret> {
        let own = self.own.get_mut(id)?;
        match own.answers {
            Answers::First { may_splice: true } if !second => {
                own.answers = Answers::Second;
                Some(own.secret.clone())
            }
            Answers::First { may_splice: false } if !second => Some(self.own.remove(id)?.secret),
            Answers::Second if second => Some(self.own.remove(id)?.secret),
            _ => None,
        }
    }

    pub(super) fn may_take(&self, node: &NodeKey, from: Asker) -> bool {
        let same_way = self.takes.values().filter(|take| take.from == from);
        self.takes.len() < MAX_TAKES
            && same_way.count() < MAX_TAKES_PER_CONN
            && !self.takes.values().any(|take| take.node == *node)
    }

    pub(super) fn take(
        &mut self,
        id: WalkId,
        (node, from): (NodeKey, Asker),
        secret: SealSecret,
        swap: Option<Swap>,
        until: Duration,
    ) {
        self.takes.insert(
            id,
            Take {
                node,
                from,
                secret,
                swap,
                addresses: Vec::new(),
                until,
            },
        );
    }

    /// Whether an offer of ours is out that was asked for in this way.
    pub(super) fn taken_for(&self, id: &WalkId, from: Asker) -> bool {
        self.takes.get(id).is_some_and(|take| take.from == from)
    }

    /// `false` when too many are under way.
    pub(super) fn ask_splice(&mut self, id: WalkId, splice: Splice) -> bool {
        let room = self.splices.len() < MAX_TAKES;
        if room {
            self.splices.insert(id, splice);
        }
        room
    }

    pub(super) fn expect(&mut self, node: NodeKey, until: Duration) {
        self.expects.insert(node, until);
    }

    pub(super) fn expects(&self, node: &NodeKey) -> bool {
        self.expects.contains_key(node)
    }

    pub(super) fn is_expecting(&self) -> bool {
        !self.expects.is_empty()
    }

    /// Nodes for whom a slot is kept.
    pub(super) fn reserved(&self) -> impl Iterator<Item = NodeKey> {
        let takes = self
            .takes
            .values()
            .filter(|take| take.swap.is_none())
            .map(|take| take.node);
        takes.chain(self.expects.keys().copied())
    }

    /// The node is becoming a neighbour: its slot need not be kept any more. Says whether we
    /// were the one who looked.
    pub(super) fn fulfilled(&mut self, node: &NodeKey) -> bool {
        self.takes.retain(|_, take| take.node != *node);
        self.expects.remove(node).is_some()
    }

    /// Nothing that is under way is for this node any more.
    pub(super) fn dismiss(&mut self, node: &NodeKey) {
        self.takes.retain(|_, take| take.node != *node);
        self.splices.retain(|_, splice| splice.card.node != *node);
        self.expects.remove(node);
    }

    pub(super) fn forget_connection(&mut self, conn: ConnId) {
        self.paths
            .retain(|_, path| path.prev != conn && path.next != conn);
        self.splices
            .retain(|_, splice| splice.victim != conn && splice.back != conn);
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let paths = self.paths.values().map(|path| path.until);
        let own = self.own.values().map(|own| own.until);
        let takes = self.takes.values().map(|take| take.until);
        let splices = self.splices.values().map(|splice| splice.until);
        paths
            .chain(own)
            .chain(takes)
            .chain(splices)
            .chain(self.expects.values().copied())
            .min()
    }

    /// Forgets what is over. Says whether a slot became free by it.
    pub(super) fn expire(&mut self, now: Duration) -> bool {
        let kept = self.reserved().count();
        self.paths.retain(|_, path| path.until > now);
        self.own.retain(|_, own| own.until > now);
        self.takes.retain(|_, take| take.until > now);
        self.splices.retain(|_, splice| splice.until > now);
        self.expects.retain(|_, until| *until > now);
        self.reserved().count() < kept
    }
}
