//! What the machine knows of one connection, from guest to neighbour.

use std::net::IpAddr;
use std::time::Duration;

use super::book::Origin;
use crate::address::Address;
use crate::bucket::TokenBucket;
use crate::card::WalkId;
use crate::key::NodeKey;
use crate::neighbourhood::EntryFor;

/// Messages a peer may send at once and per second; what is above is not answered. A joining
/// neighbour's first exchange takes about thirty. Guess.
const MESSAGES: (u32, f64) = (300, 50.0);
/// Walks a neighbour may send at once and per second. Guess: forty nodes starting at one seed.
const WALKS: (u32, f64) = (60, 5.0);
/// Digests, lists and requests for records. Guess.
const DIGESTS: (u32, f64) = (12, 0.5);
/// Records that are news: at once, per second. Each costs a signature to verify. All that can be
/// held, and forty times what a settled neighbourhood of 450 brings; what is above heals by the
/// next digest. Guess.
const RECORDS: (u32, f64) = (2048, 40.0);
/// Times that our own address is sealed to newcomers whose walks came over one connection: four
/// at once, six an hour. Measured: meshes with three in ten that cannot be dialled still form.
const REVEALS: (u32, f64) = (4, 6.0 / 3600.0);

/// Proofs that one connection may bring, and lies found in the records that it brings: at once, and
/// per second (30 an hour). What is above is not looked at. Guess.
const PROOFS: (u32, f64) = (16, 30.0 / 3600.0);

/// What a peer may do how often.
#[derive(Debug)]
pub(super) struct Buckets {
    pub(super) messages: TokenBucket,
    pub(super) walks: TokenBucket,
    pub(super) digests: TokenBucket,
    pub(super) records: TokenBucket,
    pub(super) reveals: TokenBucket,
    pub(super) proofs: TokenBucket,
}

impl Buckets {
    fn new(now: Duration) -> Self {
        let bucket = |(size, rate)| TokenBucket::new(size, rate, now);
        Self {
            messages: bucket(MESSAGES),
            walks: bucket(WALKS),
            digests: bucket(DIGESTS),
            records: bucket(RECORDS),
            reveals: bucket(REVEALS),
            proofs: bucket(PROOFS),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) peer: NodeKey,
    pub(super) dialled: bool,
    pub(super) remote: Option<IpAddr>,
    pub(super) since: Duration,
    pub(super) last_heard: Duration,
    /// When it last carried more than signs of life.
    pub(super) in_use: Option<Duration>,
    pub(super) pinged: Option<(u64, Duration)>,
    pub(super) rtt: Option<Duration>,
    pub(super) buckets: Buckets,
    pub(super) phase: Phase,
}

/// How far a connection has come.
#[derive(Debug)]
pub(super) enum Phase {
    /// They dialled. Few, short-lived; `debuted` when it waits for an introduction.
    Guest { until: Duration, debuted: bool },
    /// We dialled and said Debut.
    Debuting { until: Duration, debut: Debut },
    /// We were refused and wait for an introduction, or for the other side to close.
    Waiting { until: Duration },
    /// A neighbour.
    Link(Link),
}

/// What we said when we debuted, and why.
#[derive(Debug)]
pub(super) struct Debut {
    pub(super) origin: Origin,
    pub(super) addresses: Vec<Address>,
    pub(super) wants_entry: bool,
    /// The walk by which the two were introduced.
    pub(super) invited: Option<WalkId>,
    /// Whose link makes room for this one, when it comes of a splice.
    pub(super) swap: Option<NodeKey>,
    /// Whether we looked for this link (rather than being found).
    pub(super) chosen: bool,
}

/// A neighbour.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) since: Duration,
    pub(super) ours: bool,
    /// When it became so.
    pub(super) ours_since: Duration,
    pub(super) theirs: bool,
    /// We looked for it: such links are not spliced away.
    pub(super) chosen: bool,
    pub(super) entry_asked: Option<Duration>,
    pub(super) entry_refused_until: Duration,
    /// Since when the neighbour's record does not list this link although it is a listed one.
    pub(super) unlisted_since: Option<Duration>,
    pub(super) next_digest: Duration,
    /// Where it can be dialled, as far as we know.
    pub(super) addresses: Vec<Address>,
    /// When to note it in the address book (again).
    pub(super) next_note: Duration,
}

impl Link {
    pub(super) fn entry(&self) -> EntryFor {
        EntryFor::new(self.ours, self.theirs)
    }

    pub(super) fn listed(&self) -> bool {
        !self.ours && !self.theirs
    }
}

impl Conn {
    pub(super) fn new(
        peer: NodeKey,
        dialled: bool,
        remote: Option<IpAddr>,
        phase: Phase,
        now: Duration,
    ) -> Self {
        Self {
            peer,
            dialled,
            remote,
            since: now,
            last_heard: now,
            in_use: None,
            pinged: None,
            rtt: None,
            buckets: Buckets::new(now),
            phase,
        }
    }

    pub(super) fn link(&self) -> Option<&Link> {
        match &self.phase {
            Phase::Link(link) => Some(link),
            _ => None,
        }
    }

    pub(super) fn link_mut(&mut self) -> Option<&mut Link> {
        match &mut self.phase {
            Phase::Link(link) => Some(link),
            _ => None,
        }
    }

    /// Whether nothing was heard since the last ping.
    pub(super) fn awaits_pong(&self) -> bool {
        self.pinged.is_some_and(|(_, sent)| sent >= self.last_heard)
    }

    /// When something is to be done about it though nothing happens; `None` for links, which
    /// have timers of their own.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Guest { until, .. }
            | Phase::Debuting { until, .. }
            | Phase::Waiting { until } => Some(*until),
            Phase::Link(_) => None,
        }
    }
}
