//! Settings of the gossip protocol: what a node is, its limits and its timings.
//! Defaults are for production; they also form a mesh of forty nodes in seconds.

use std::time::Duration;

use crate::address::Address;
use crate::chain::Chain;
use crate::record::{MAX_LISTED, RatePack, Roles};

/// Most neighbours a node may have. From the design.
pub const MAX_NEIGHBOURS: usize = MAX_LISTED;
/// Most hops a route may have over. From the design.
pub const MAX_HOPS: u8 = 6;
/// Bounds of [`Config::radius`]: below 2 there are no routes, above 6 state grows without use.
pub const RADIUS_RANGE: std::ops::RangeInclusive<u8> = 2..=6;

/// How many neighbours may share a part of their public address. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpLimits {
    /// Per address. Default 1, from the design; also on loopback and private addresses. `None` also
    /// switches off the limits on how often one address may try.
    pub per_ip: Option<u8>,
    /// Per IPv4 /24. Default 2 (guess).
    pub per_24: Option<u8>,
    /// Per IPv6 /48. Default 2 (guess).
    pub per_48: Option<u8>,
    /// Whether the two prefix limits spare loopback, private, shared, link-local and unique local
    /// addresses: a home network or a container network is one /24. Default true.
    pub spare_local_prefixes: bool,
}

impl Default for IpLimits {
    fn default() -> Self {
        Self {
            per_ip: Some(1),
            per_24: Some(2),
            per_48: Some(2),
            spare_local_prefixes: true,
        }
    }
}

impl IpLimits {
    /// No limit at all: for several nodes behind one address.
    pub const NONE: Self = Self {
        per_ip: None,
        per_24: None,
        per_48: None,
        spare_local_prefixes: true,
    };
}

/// Intervals and deadlines. Each is jittered by a quarter where many nodes might fall into step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// A guest that has not debuted is closed after this. Guess.
    pub guest_life: Duration,
    /// A refused guest stays this long for an introduction to reach it. Guess.
    pub intro_wait: Duration,
    /// A dial, from order to connection. Guess.
    pub dial_timeout: Duration,
    /// An unanswered debut, offer or reservation of a slot. Guess.
    pub offer_timeout: Duration,
    /// How long a walk's way back is remembered. Guess; above `offer_timeout` and `dial_timeout`.
    pub walk_life: Duration,
    /// First pause between searches for more neighbours; doubles up to `seek_max`. Guess.
    pub seek_first: Duration,
    /// Longest pause between searches.
    pub seek_max: Duration,
    /// First pause before a seed or past neighbour is tried again; doubles up to `redial_max`.
    pub redial_first: Duration,
    /// Longest such pause.
    pub redial_max: Duration,
    /// A link silent for this long is pinged.
    pub ping_idle: Duration,
    /// A link silent for this long is dead. The design asks for detection within 15 s.
    pub dead_after: Duration,
    /// Changes wait this long so that several go out together. Guess.
    pub push_delay: Duration,
    /// A new or lost link waits this long before the record is renewed. Guess.
    pub publish_delay: Duration,
    /// Between digests on a link. From the design.
    pub digest: Duration,
    /// Between renewals of the own record. From the design.
    pub renew: Duration,
    /// Life of the own record. From the design; at most 30 minutes.
    pub record_life: Duration,
    /// A record that no edge leads to is dropped after this. Guess.
    pub orphan_grace: Duration,
    /// Between tries of one past neighbour that is not in view. From the design.
    pub probe: Duration,
    /// Pause between asking two neighbours to be the entry link. Guess.
    pub entry_pause: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        const fn ms(ms: u64) -> Duration {
            Duration::from_millis(ms)
        }
        const fn secs(s: u64) -> Duration {
            Duration::from_secs(s)
        }
        Self {
            guest_life: secs(8),
            intro_wait: secs(3),
            dial_timeout: secs(8),
            offer_timeout: secs(5),
            walk_life: secs(15),
            seek_first: ms(200),
            seek_max: secs(30),
            redial_first: ms(500),
            redial_max: secs(60),
            ping_idle: secs(4),
            dead_after: secs(12),
            push_delay: ms(100),
            publish_delay: ms(200),
            digest: secs(30),
            renew: secs(600),
            record_life: secs(1800),
            orphan_grace: secs(60),
            probe: secs(60),
            entry_pause: ms(500),
        }
    }
}

/// What a node is and how it takes part.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The chain. No default.
    pub chain: Chain,
    /// What the node does for others. A node that does not route (consume-only) has entry links only.
    pub roles: Roles,
    /// Whether the node makes circuits of its own; a serve-only node doesn't and chooses no entry link.
    pub originates: bool,
    /// Where others can dial this node. Must hold literal addresses for introductions to carry them,
    /// with port 443 or one from 1024 on: others do not dial strangers at the ports of well-known services;
    /// empty when it cannot be dialled. Only the first [`MAX_ADVERTISED`] are used.
    pub advertise: Vec<Address>,
    /// The node looks for more neighbours below this. Default 4, from the design.
    pub target: usize,
    /// The node accepts neighbours up to this. Default and maximum [`MAX_NEIGHBOURS`].
    pub cap: usize,
    /// Records are kept up to this many hops away. Default 4, from the design; see [`RADIUS_RANGE`].
    pub radius: u8,
    /// Most guests at a time. Default 24 (guess: forty nodes starting at one seed get by).
    pub max_guests: usize,
    /// Limits per address and prefix.
    pub ip_limits: IpLimits,
    /// Whether the node tells newcomers that cannot be dialled where it is, so that they can dial
    /// it; boundedly often. Default true. Without it such newcomers become neighbours only of
    /// nodes that they know already.
    pub reveal_to_newcomers: bool,
    /// Whether the node dials neighbours that want to know whether they can be dialled; boundedly
    /// often, and only at the address that their connection comes from. Default true.
    pub check_reachability_of_others: bool,
    /// Share of introductions that look for a near neighbour (distance three), 0 to 1. Default 0.5:
    /// near links make back legs that differ, far links bring more exits into reach.
    pub near_share: f64,
    /// Hops that a route must have for the stage to be `RouteFound`. Default 3; 1 to [`MAX_HOPS`].
    pub min_hops: u8,
    /// Whether this node's circuits may use nodes that ask to be paid (whose records name a
    /// wallet). Without it only the others count for the stage `RouteFound`. Default true.
    pub pays: bool,
    /// Where the node is paid.
    pub earning_wallet: [u8; 20],
    /// Its prices.
    pub rates: RatePack,
    /// Summary of its exit policy.
    pub policy: String,
    /// The country it claims, two ASCII capitals.
    pub country: Option<[u8; 2]>,
    /// Intervals.
    pub timing: Timing,
}

/// Most addresses that a node tells of itself in an introduction.
pub const MAX_ADVERTISED: usize = 3;

impl Config {
    /// A standard node (routes, no exit) that accepts connections nowhere yet.
    pub fn new(chain: Chain) -> Self {
        Self {
            chain,
            roles: Roles {
                routes: true,
                exits: false,
                accepts_connections: true,
            },
            originates: true,
            advertise: Vec::new(),
            target: 4,
            cap: MAX_NEIGHBOURS,
            radius: 4,
            max_guests: 24,
            ip_limits: IpLimits::default(),
            reveal_to_newcomers: true,
            check_reachability_of_others: true,
            near_share: 0.5,
            min_hops: 3,
            pays: true,
            earning_wallet: [0; 20],
            rates: RatePack::default(),
            policy: String::new(),
            country: None,
            timing: Timing::default(),
        }
    }

    /// Whether others can dial this node.
    pub fn dialable(&self) -> bool {
        self.roles.accepts_connections && !self.advertise.is_empty()
    }

    /// Brings every value into its bounds.
    pub(crate) fn clamped(mut self) -> Self {
        self.cap = self.cap.clamp(1, MAX_NEIGHBOURS);
        self.target = self.target.clamp(1, self.cap);
        self.radius = self
            .radius
            .clamp(*RADIUS_RANGE.start(), *RADIUS_RANGE.end());
        self.min_hops = self.min_hops.clamp(1, MAX_HOPS);
        self.max_guests = self.max_guests.clamp(1, 256);
        self.near_share = if self.near_share.is_finite() {
            self.near_share.clamp(0.0, 1.0)
        } else {
            0.5
        };
        self.advertise.truncate(MAX_ADVERTISED);
        self.policy.truncate(
            self.policy
                .floor_char_boundary(crate::record::MAX_POLICY_LEN),
        );
        self.country = self
            .country
            .filter(|code| code.iter().all(u8::is_ascii_uppercase));
        self.timing.record_life = self.timing.record_life.min(crate::record::MAX_RECORD_LIFE);
        self
    }
}
