//! The node's links as circuits see them: who is a neighbour, what a link may carry, how
//! many circuits run over it and how fast it may bring set-ups.
//!
//! Which nodes become neighbours, and which links are entry links, is decided elsewhere
//! and told here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use masq_onion::NodeKey;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::failure::FailureCode;
use crate::limits::{
    CIRCUITS_PER_LINK, EXIT_CIRCUITS, EXIT_CIRCUITS_PER_LINK, OWN_PLACES, OWN_SETUP_BURST,
    OWN_SETUP_EVERY, OWN_SETUP_WAIT, SETUP_BURST, SETUPS_PER_SECOND,
};
use crate::origin::LaunchError;

/// Whose own circuits a link carries. A link that is nobody's entry link is a listed one
/// and carries circuits of others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkUse {
    /// The neighbour uses it as its entry link.
    pub theirs_entry: bool,
    /// This node uses it as its entry link.
    pub ours_entry: bool,
}

impl LinkUse {
    /// A link that is in the records of both ends.
    pub const LISTED: Self = Self {
        theirs_entry: false,
        ours_entry: false,
    };
    /// This node's own entry link.
    pub const OURS: Self = Self {
        theirs_entry: false,
        ours_entry: true,
    };
    /// The neighbour's entry link.
    pub const THEIRS: Self = Self {
        theirs_entry: true,
        ours_entry: false,
    };

    /// Whether set-ups on their way may come over it: an entry link of this node's alone
    /// brings nothing but this node's own circuits home, one of the neighbour's brings the
    /// neighbour's own, and a listed one brings everybody's.
    pub const fn takes_set_ups(self) -> bool {
        !self.ours_entry || self.theirs_entry
    }
}

/// A bucket of whole tokens that fills steadily.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    tokens: u32,
    burst: u32,
    every: Duration,
    filled: Instant,
}

impl TokenBucket {
    /// Full at `now`; one token more each `every`, up to `burst`.
    pub(crate) fn new(burst: u32, every: Duration, now: Instant) -> Self {
        Self {
            tokens: burst,
            burst,
            every,
            filled: now,
        }
    }

    /// Takes a token if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.filled);
        let new = u32::try_from(since.as_nanos() / self.every.as_nanos()).unwrap_or(u32::MAX);
        if new > 0 {
            self.tokens = self.tokens.saturating_add(new).min(self.burst);
            self.filled = if self.tokens == self.burst {
                now
            } else {
                self.filled + self.every * new
            };
        }
        let taken = self.tokens > 0;
        self.tokens -= u32::from(taken);
        taken
    }
}

/// The pace of this node's own set-ups over one link, so that the other end has a token for each.
#[derive(Debug)]
struct Pace {
    /// When the bucket would be full again.
    full: Instant,
}

impl Pace {
    /// When the next set-up may leave, from now. `None`, and nothing is taken, where that is too
    /// far away.
    fn take(&mut self, now: Instant) -> Option<Duration> {
        let full = self.full.max(now) + OWN_SETUP_EVERY;
        let empty = OWN_SETUP_EVERY * OWN_SETUP_BURST;
        let wait = full.saturating_duration_since(now).saturating_sub(empty);
        (wait <= OWN_SETUP_WAIT).then(|| {
            self.full = full;
            wait
        })
    }
}

/// A circuit's place on a link; the place is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    /// Where it is one of those that leave room for circuits which begin on the link.
    _of_others: Option<OwnedSemaphorePermit>,
    /// Ends when the neighbour is one no more.
    pub(crate) gone: CancellationToken,
    /// What the link carried when the place was taken.
    pub(crate) link: LinkUse,
}

/// A circuit's place among those that this node is the exit of.
#[derive(Debug)]
pub(crate) struct ExitPlace {
    _of_node: OwnedSemaphorePermit,
    _of_link: OwnedSemaphorePermit,
}

fn take(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, FailureCode> {
    let place = places.clone().try_acquire_owned();
    place.map_err(|_| FailureCode::Overloaded)
}

struct Link {
    link: LinkUse,
    places: Arc<Semaphore>,
    others: Arc<Semaphore>,
    exits: Arc<Semaphore>,
    setups: TokenBucket,
    pace: Pace,
    gone: CancellationToken,
}

impl Link {
    /// `leaves_room`: it is to leave [`OWN_PLACES`] free.
    fn place(&self, leaves_room: bool) -> Result<Place, FailureCode> {
        let of_others = leaves_room.then(|| take(&self.others)).transpose()?;
        Ok(Place {
            _permit: take(&self.places)?,
            _of_others: of_others,
            gone: self.gone.clone(),
            link: self.link,
        })
    }
}

/// All links of the node. At most as many as the host reports: five.
pub(crate) struct Links {
    links: HashMap<NodeKey, Link>,
    exits: Arc<Semaphore>,
    exits_per_link: usize,
}

impl Default for Links {
    fn default() -> Self {
        Self::new(EXIT_CIRCUITS, EXIT_CIRCUITS_PER_LINK)
    }
}

impl Links {
    /// No links; so many circuits may end here, in all and per link.
    pub(crate) fn new(exits: usize, exits_per_link: usize) -> Self {
        Self {
            links: HashMap::new(),
            exits: Arc::new(Semaphore::new(exits.min(EXIT_CIRCUITS))),
            exits_per_link: exits_per_link.min(EXIT_CIRCUITS_PER_LINK),
        }
    }

    /// A neighbour is there, or its link's use has changed; what runs over it goes on.
    pub(crate) fn set(&mut self, node: NodeKey, link: LinkUse, now: Instant) {
        let exits = self.exits_per_link;
        self.links
            .entry(node)
            .and_modify(|l| l.link = link)
            .or_insert_with(|| Link {
                link,
                places: Arc::new(Semaphore::new(CIRCUITS_PER_LINK)),
                others: Arc::new(Semaphore::new(CIRCUITS_PER_LINK - OWN_PLACES)),
                exits: Arc::new(Semaphore::new(exits)),
                setups: TokenBucket::new(
                    SETUP_BURST,
                    Duration::from_secs(1) / SETUPS_PER_SECOND,
                    now,
                ),
                pace: Pace { full: now },
                gone: CancellationToken::new(),
            });
    }

    /// The neighbour is gone, and every circuit over it ends.
    pub(crate) fn remove(&mut self, node: &NodeKey) {
        if let Some(link) = self.links.remove(node) {
            link.gone.cancel();
        }
    }

    /// A place for a stream that a peer opened.
    pub(crate) fn inbound(&mut self, from: &NodeKey, now: Instant) -> Result<Place, FailureCode> {
        let link = self.links.get_mut(from).ok_or(FailureCode::NotNeighbour)?;
        if !link.setups.take(now) {
            return Err(FailureCode::Overloaded);
        }
        link.place(link.link.ours_entry && link.link.theirs_entry)
    }

    /// A place for a circuit that comes over the link from `from` and ends here.
    pub(crate) fn exit(&self, from: &NodeKey) -> Result<ExitPlace, FailureCode> {
        let link = self.links.get(from).ok_or(FailureCode::Overloaded)?;
        Ok(ExitPlace {
            _of_link: take(&link.exits)?,
            _of_node: take(&self.exits)?,
        })
    }

    /// A place for a circuit of somebody else's that goes on to `next`. What is said of a
    /// link that is somebody's entry link is the same as of one that is not there.
    pub(crate) fn onward(&self, next: &NodeKey) -> Result<Place, FailureCode> {
        let link = self.links.get(next).ok_or(FailureCode::NotNeighbour)?;
        match (link.link.theirs_entry, link.link.ours_entry) {
            (false, false) => link.place(false),
            (true, _) => link.place(true).map_err(|_| FailureCode::NotNeighbour),
            (false, true) => Err(FailureCode::NotNeighbour),
        }
    }

    /// A place for a circuit of this node's own: on its entry links only.
    pub(crate) fn own(&self, first: &NodeKey) -> Result<Place, LaunchError> {
        let gone = LaunchError::Link(FailureCode::NotNeighbour);
        let link = self.links.get(first).ok_or(gone)?;
        if !link.link.ours_entry {
            return Err(LaunchError::NotEntry);
        }
        link.place(false).map_err(LaunchError::Link)
    }

    /// How long to wait before a set-up of this node's own is sent to `first`.
    pub(crate) fn pace(&mut self, first: &NodeKey, now: Instant) -> Result<Duration, LaunchError> {
        let gone = LaunchError::Link(FailureCode::NotNeighbour);
        let link = self.links.get_mut(first).ok_or(gone)?;
        link.pace.take(now).ok_or(LaunchError::TooMany)
    }

    /// Whether a circuit of this node's own would find a place on the link that it is to come home
    /// over. None is taken: it may be gone by then.
    pub(crate) fn room_home(&self, last: &NodeKey) -> Result<(), FailureCode> {
        let link = self.links.get(last).ok_or(FailureCode::NotNeighbour)?;
        let both = link.link.theirs_entry && link.link.ours_entry;
        link.place(both).map(drop)
    }

    /// Whether `node` is at the other end of an entry link of this node's.
    pub(crate) fn is_entry(&self, node: &NodeKey) -> bool {
        self.links.get(node).is_some_and(|l| l.link.ours_entry)
    }

    /// How full the fullest link is: 0 is empty, 255 is full.
    pub(crate) fn load(&self) -> u8 {
        let free = self
            .links
            .values()
            .map(|l| l.places.available_permits())
            .min();
        let used = CIRCUITS_PER_LINK - free.unwrap_or(CIRCUITS_PER_LINK).min(CIRCUITS_PER_LINK);
        u8::try_from(used * 255 / CIRCUITS_PER_LINK).unwrap_or(u8::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[test]
    fn the_bucket_lets_a_burst_through_and_then_its_rate() {
        let t0 = start();
        let mut bucket = TokenBucket::new(3, Duration::from_millis(100), t0);
        assert_eq!((0..5).filter(|_| bucket.take(t0)).count(), 3);
        assert!(!bucket.take(t0 + Duration::from_millis(99)));
        assert!(bucket.take(t0 + Duration::from_millis(100)));
        assert!(!bucket.take(t0 + Duration::from_millis(150)));
        assert!(bucket.take(t0 + Duration::from_millis(201)));
        let later = t0 + Duration::from_secs(1_000_000_000);
        assert_eq!((0..5).filter(|_| bucket.take(later)).count(), 3);
    }

    #[test]
    fn own_set_ups_find_a_token_at_the_other_end() {
        let t0 = start();
        let every = Duration::from_secs(1) / SETUPS_PER_SECOND;
        let mut bucket = TokenBucket::new(SETUP_BURST, every, t0);
        let mut pace = Pace { full: t0 };
        let mut waits = 0;
        for n in 0..2_000 {
            // As fast as it goes, then with pauses.
            let now = t0 + Duration::from_millis(if n < 1_000 { 0 } else { n * 150 });
            let Some(wait) = pace.take(now) else { continue };
            waits += u32::from(wait > Duration::ZERO);
            // Some take longer, and arrive with those that come after.
            let late = if n % 7 == 0 { 500 } else { 0 };
            assert!(bucket.take(now + wait + Duration::from_millis(late)), "{n}");
        }
        assert!(waits > 50, "{waits}");
        assert_eq!(
            pace.take(t0 + Duration::from_secs(10_000)),
            Some(Duration::ZERO)
        );
    }

    #[test]
    fn a_circuit_that_would_not_come_home_is_not_begun() {
        let mut links = Links::default();
        let node = NodeKey([1; 32]);
        links.set(node, LinkUse::OURS, start());
        let places: Vec<_> = (1..CIRCUITS_PER_LINK)
            .map(|_| links.own(&node).unwrap())
            .collect();
        assert_eq!(links.room_home(&node), Ok(()));
        assert_eq!(links.room_home(&node), Ok(()), "none is taken");
        let last = links.own(&node).unwrap();
        assert_eq!(links.room_home(&node), Err(FailureCode::Overloaded));
        drop((places, last));
        assert_eq!(links.room_home(&node), Ok(()));
        assert!(links.room_home(&NodeKey([2; 32])).is_err());
    }

    #[test]
    fn circuits_per_link_are_bounded_and_places_come_back() {
        let mut links = Links::default();
        let node = NodeKey([1; 32]);
        let t0 = start();
        links.set(node, LinkUse::LISTED, t0);
        let places: Vec<_> = (0..CIRCUITS_PER_LINK)
            .map(|_| links.onward(&node).unwrap())
            .collect();
        assert_eq!(links.load(), 255);
        assert_eq!(links.onward(&node).unwrap_err(), FailureCode::Overloaded);
        assert_eq!(
            links.inbound(&node, t0).unwrap_err(),
            FailureCode::Overloaded
        );
        drop(places);
        assert_eq!(links.load(), 0);
        let place = links.inbound(&node, t0).unwrap();
        links.remove(&node);
        assert!(place.gone.is_cancelled());
        assert_eq!(links.onward(&node).unwrap_err(), FailureCode::NotNeighbour);
    }

    #[test]
    fn what_comes_home_over_an_entry_link_leaves_room_for_what_begins_there() {
        let mut links = Links::default();
        let node = NodeKey([1; 32]);
        let t0 = start();
        links.set(node, LinkUse::THEIRS, t0);
        let mut places: Vec<_> = (0..CIRCUITS_PER_LINK - OWN_PLACES)
            .map(|_| links.onward(&node).unwrap())
            .collect();
        assert_eq!(links.onward(&node).unwrap_err(), FailureCode::NotNeighbour);
        places.extend((0..OWN_PLACES).map(|_| links.inbound(&node, t0).unwrap()));
        assert_eq!(
            links.inbound(&node, t0).unwrap_err(),
            FailureCode::Overloaded
        );
    }

    #[test]
    fn circuits_that_end_here_are_bounded_per_link_and_in_all() {
        let mut links = Links::default();
        let mut places = Vec::new();
        let full = u8::try_from(EXIT_CIRCUITS / EXIT_CIRCUITS_PER_LINK).unwrap();
        for n in 0..full {
            let node = NodeKey([n; 32]);
            links.set(node, LinkUse::LISTED, start());
            places.extend((0..EXIT_CIRCUITS_PER_LINK).map(|_| links.exit(&node).unwrap()));
            assert_eq!(links.exit(&node).unwrap_err(), FailureCode::Overloaded);
        }
        let one_more = NodeKey([full; 32]);
        links.set(one_more, LinkUse::LISTED, start());
        assert_eq!(links.exit(&one_more).unwrap_err(), FailureCode::Overloaded);
        places.pop();
        assert!(links.exit(&one_more).is_ok());
        assert!(links.exit(&NodeKey([99; 32])).is_err());

        let mut few = Links::new(3, 2);
        few.set(NodeKey([1; 32]), LinkUse::LISTED, start());
        let places = [(); 2].map(|()| few.exit(&NodeKey([1; 32])).unwrap());
        assert!(few.exit(&NodeKey([1; 32])).is_err());
        drop(places);
    }

    #[test]
    fn s12_entry_links_carry_their_owners_circuits_only() {
        let mut links = Links::default();
        let (listed, ours, theirs, both) = (
            NodeKey([1; 32]),
            NodeKey([2; 32]),
            NodeKey([3; 32]),
            NodeKey([4; 32]),
        );
        let t0 = start();
        links.set(listed, LinkUse::LISTED, t0);
        links.set(ours, LinkUse::OURS, t0);
        links.set(theirs, LinkUse::THEIRS, t0);
        links.set(
            both,
            LinkUse {
                theirs_entry: true,
                ours_entry: true,
            },
            t0,
        );

        assert!(links.onward(&listed).is_ok());
        assert_eq!(links.onward(&ours).unwrap_err(), FailureCode::NotNeighbour);
        assert!(links.onward(&theirs).is_ok());
        assert!(links.onward(&both).is_ok());

        assert!(matches!(links.own(&listed), Err(LaunchError::NotEntry)));
        assert!(links.own(&ours).is_ok());
        assert!(matches!(links.own(&theirs), Err(LaunchError::NotEntry)));
        assert!(links.own(&both).is_ok());
    }
}
