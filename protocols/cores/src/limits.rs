//! Every bound and time limit of circuits in one place, with where the number comes from.
//!
//! Bounds of sessions and flows live with those.

use std::time::Duration;

/// Streams of circuits on one link, both directions together.
///
/// Half of the 512 streams that yamux allows a connection by default: going over that
/// closes the whole connection, and gossip wants streams too.
pub const CIRCUITS_PER_LINK: usize = 256;

/// Places on an entry link that circuits which come home over it, and the neighbour's own
/// where both use it, leave to those that begin there. Guess: a pool and its spares.
pub const OWN_PLACES: usize = 32;

/// Circuits that a node is the exit of at a time. A session may hold 8 MiB that are not
/// acknowledged and 32 MiB that nobody reads: 256 of them at their worst are 10 GiB, and
/// 100 MiB at their usual. Guess.
pub const EXIT_CIRCUITS: usize = 256;

/// … and those of them that come over one link: no neighbour takes more than a quarter.
pub const EXIT_CIRCUITS_PER_LINK: usize = 64;

/// Set-ups that a link may bring per second, in the long run. Guess: a neighbour that
/// carries two hundred users, each with a new circuit every twenty seconds.
pub const SETUPS_PER_SECOND: u32 = 10;

/// Set-ups that a link may bring at once. Guess: all users of a neighbour starting again.
pub const SETUP_BURST: u32 = 100;

/// Set-ups of this node's own that leave over one entry link at once: what is behind at the
/// other end, which counts them as [`SETUP_BURST`], may have been held up together.
pub const OWN_SETUP_BURST: u32 = 80;
/// Time between those beyond: a little more than the other end wants
/// ([`SETUPS_PER_SECOND`]), as clocks differ.
pub const OWN_SETUP_EVERY: Duration = Duration::from_millis(105);
/// Longest time that one of them waits for its turn. Guess: half of what a client waits for the
/// circuit and its server together.
pub const OWN_SETUP_WAIT: Duration = Duration::from_secs(30);

/// Package ids kept per onion key. Five links × 10 a second × 90 minutes is 270,000; an
/// entry costs about 20 bytes, so 6 MB if somebody really fills it.
pub const REPLAY_IDS: usize = 300_000;

/// Refused packages kept per onion key, so that each gets one sealed refusal. Guess; when
/// it is full, refusals are said in plain to the node before, which still reports them.
pub const REFUSED_IDS: usize = 20_000;

/// Circuits of this node's own whose back leg has not come home yet. Guess: a pool builds
/// a few at a time.
pub const PENDING_ORIGINS: usize = 64;

/// How long a hop waits for a set-up package, for the first cell after it, and for the
/// stream to its next node. Guess: several times the slowest honest round trip.
pub const SETUP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an origin waits for its set-up to come home, by default. Guess: six hops of
/// half a second each, and as much again for slow ones.
pub const HOME_TIMEOUT: Duration = Duration::from_secs(8);

/// How long an end or a hop whose circuit broke waits for the reason to arrive.
/// Guess: a round trip over a long circuit.
pub const FAILURE_GRACE: Duration = Duration::from_secs(1);

/// A hop says that the next node is no neighbour after a time drawn between these two, from
/// when it admitted the set-up. The answer of a neighbour who dropped what came over its
/// entry link falls within, and so does not show. Guess: the round trip over one link.
pub const NOT_NEIGHBOUR_MIN: Duration = Duration::from_millis(200);
/// See [`NOT_NEIGHBOUR_MIN`].
pub const NOT_NEIGHBOUR_MAX: Duration = Duration::from_millis(600);

/// How long whoever winds a circuit up waits for a stream that brings or takes nothing.
pub const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// How long a circuit that was closed in good order may take to empty itself. Guess: the
/// windows of six links, 1.5 MiB, at 256 kbit/s.
pub const CLOSE_LIMIT: Duration = Duration::from_secs(60);

/// How long a hop that has ended its leg waits for the last report: until the origin has
/// given up waiting for the end of the leg and of a round.
pub const LAST_REPORT_WAIT: Duration = Duration::from_secs(90);

/// How long a hop whose next node is gone counts what the node before still sends. It ends when
/// the origin has heard of the failure. Guess: a round trip, and what is queued on its way.
pub const LAST_CELLS: Duration = Duration::from_secs(10);

/// Cells that an origin books after one that was changed on the back leg: the exit's cell
/// credit, so that a hop which makes cells up gets nothing for more.
pub const TAMPERED_CELLS: u64 = 512;

/// How long a last word (a failure frame) may take to be written. Guess.
pub const LAST_WORD: Duration = Duration::from_secs(2);

/// Reverse frames that may wait at a hop for the node before it. More means that it does
/// not read: the circuit is closed rather than anything made to wait.
pub const CONTROL_QUEUE: usize = 4;

/// Time between report rounds of one circuit, on average; a quarter more or less is drawn.
pub const REPORT_EVERY: Duration = Duration::from_secs(30);

/// A round that is not home by then means that a hop has gone silent. Guess: well over
/// any queueing that honest hops have, as reports never wait behind cells.
pub const REPORT_TIMEOUT: Duration = Duration::from_secs(30);

/// Report rounds per minute that a hop passes on; an honest origin makes two.
pub const REPORTS_PER_MINUTE: u32 = 12;

/// A hop gives up a circuit on which nothing came by for this long. Ten missed rounds.
pub const IDLE_LIMIT: Duration = Duration::from_secs(300);

/// A hop or end gives up a circuit whose next stream takes nothing for this long. Both
/// ends always take what they gave credit for, so a healthy loop never stands still.
pub const STALL_LIMIT: Duration = Duration::from_secs(120);

/// How often idleness and standstill are looked for: no timer is touched per cell.
pub const WATCH_EVERY: Duration = Duration::from_secs(15);

/// After a changed cell an origin goes on draining for a time drawn between these two
/// before it closes. Guess: long against the differences that a meddler could measure.
pub const DRAIN_MIN: Duration = Duration::from_secs(1);
/// See [`DRAIN_MIN`].
pub const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Cells of a circuit that an observer is shown, per direction (development chain only).
pub const OBSERVED_CELLS: u32 = 8;

/// Requests for streams that may wait at one connection's handler. Guess.
pub const OPEN_QUEUE: usize = 64;

/// Streams that one connection may be negotiating outbound. Guess; negotiation is lazy
/// and takes no round trip.
pub const NEGOTIATING_OUT: usize = 32;
