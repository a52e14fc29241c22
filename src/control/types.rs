//! What travels over the control API: the JSON bodies that the daemon sends
//! and that `masq`, the dashboard and `masq-testnet` read.
//!
//! Plain data with serde, no behaviour beyond small conveniences for reading
//! and showing it, and nothing of how the node works inside. Fields may be
//! added in later versions: readers ignore what they don't know.
//!
//! Conventions: node keys are 43 characters of URL-safe base64 without
//! padding; durations are whole seconds with `_seconds` in the name; instants
//! are milliseconds of Unix time with `_unix_ms`; sizes are bytes.

use std::{fmt, net::SocketAddr};

use serde::{Deserialize, Serialize};

mod bans;
mod money;
mod routes;

pub use bans::{BanKind, BanRequest, BanView};
pub(crate) use money::debts_wait;
pub use money::{
    Amount, AmountError, BalanceView, CreditView, EarningView, EndpointView, FeesView, Financials,
    HaltView, LeftOut, MoneyBooks, MoneyStatus, MoneySummary, Notice, Order, OrderView, PayState,
    PayableTotals, PayableView, PayingView, PaymentKind, PaymentOrder, PaymentState, PaymentView,
    PaymentsView, PrepayQuote, PrepayRequest, Private, RatesView, ReceivableTotals, ReceivableView,
    ScanKind, ScanRequest, ScanView, Selection, ShareView, TermsView, Totals,
};
pub use routes::{MAX_ROUTES, RouteHopView, RouteRequest, RouteView, RoutesView};

/// How many characters of a node key are shown where a person reads them.
///
/// Eight characters are 48 bits: enough that two nodes of one neighbourhood
/// never look alike.
pub const SHORT_KEY: usize = 8;

/// The first [`SHORT_KEY`] characters of a node key.
#[must_use]
pub fn short(node: &str) -> &str {
    node.get(..SHORT_KEY).unwrap_or(node)
}

/// How far a node has got with joining the mesh. It goes back as well as
/// forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Stage {
    /// No neighbour at all.
    NotConnected,
    /// At least one neighbour, but no exit within reach of the configured hops.
    ConnectedToNeighbour,
    /// A circuit of the configured hops can be built.
    RouteFound,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NotConnected => "not connected",
            Self::ConnectedToNeighbour => "connected to a neighbour",
            Self::RouteFound => "route found",
        })
    }
}

/// Whose entry link a link is. Entry links are in nobody's record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EntryLink {
    /// An ordinary, listed link.
    #[default]
    No,
    /// This node's own circuits begin and end here.
    Ours,
    /// The neighbour's own circuits begin and end here.
    Theirs,
    /// Both of the above.
    Both,
}

impl EntryLink {
    /// Whether it is this node's entry link.
    #[must_use]
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Ours | Self::Both)
    }

    /// Whether records list the link.
    #[must_use]
    pub fn is_listed(self) -> bool {
        matches!(self, Self::No)
    }
}

impl fmt::Display for EntryLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::No => "listed",
            Self::Ours => "entry",
            Self::Theirs => "entry of theirs",
            Self::Both => "entry of both",
        })
    }
}

/// One neighbour, as `GET /v1/status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourView {
    /// The neighbour's node key.
    pub node: String,
    /// Whose entry link it is, if anybody's.
    #[serde(default)]
    pub entry: EntryLink,
    /// How long the link has stood.
    pub since_seconds: u64,
    /// The neighbour's address. Left out unless the request asked for it with
    /// `?addresses=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// Flows of this node's own clients and, on an exit, of others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FlowCounts {
    /// Flows of own clients that are open now.
    pub open: u64,
    /// Flows of own clients opened since start.
    pub opened: u64,
    /// Flows of own clients that could not be opened, since start.
    pub failed: u64,
    /// Flows of own clients to plaintext destinations, since start, whether
    /// let through or refused.
    pub plaintext: u64,
    /// As an exit: flows open now.
    pub exit_open: u64,
    /// As an exit: flows opened since start.
    pub exit_opened: u64,
}

/// Circuits that touch this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CircuitCounts {
    /// Circuits that begin here and are open.
    pub own: u64,
    /// Circuits of others that this node relays, one per leg.
    pub relayed: u64,
    /// Circuits of others that leave the mesh here.
    pub exits: u64,
}

/// Bytes of payload carried since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// From own clients into the mesh.
    pub sent_bytes: u64,
    /// From the mesh to own clients.
    pub received_bytes: u64,
    /// For others, as a relay, both legs.
    pub relayed_bytes: u64,
    /// For others, as an exit, both directions.
    pub exited_bytes: u64,
}

/// Answer to `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Chain the node belongs to, such as `base-mainnet`.
    pub chain: String,
    /// This node's key.
    pub node: String,
    /// `standard`, `originate-only`, `consume-only`, `serve-only` or `zero-hop`.
    pub mode: String,
    /// How far joining has got.
    pub stage: Stage,
    /// One sentence that says why the stage is what it is, and what would help.
    pub stage_reason: String,
    /// Hops of own circuits: `3`, or a range such as `3-4`.
    pub hops: String,
    /// Whether this node is an exit.
    pub exit: bool,
    /// True from the moment a stop was asked for.
    #[serde(default)]
    pub draining: bool,
    /// The neighbours, at most five.
    pub neighbours: Vec<NeighbourView>,
    /// Addresses where other nodes are accepted; empty where none are.
    pub listening: Vec<SocketAddr>,
    /// The SOCKS5 listener, unless off.
    pub socks: Option<SocketAddr>,
    /// The HTTP proxy listener, unless off.
    pub http: Option<SocketAddr>,
    /// Flows.
    #[serde(default)]
    pub flows: FlowCounts,
    /// Circuits.
    #[serde(default)]
    pub circuits: CircuitCounts,
    /// Bytes.
    #[serde(default)]
    pub traffic: Traffic,
    /// Since the daemon started.
    pub uptime_seconds: u64,
    /// Resident memory, where the system tells it.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Money; absent when payments are off. The node itself leaves it out: the control API asks
    /// [`MoneyApi`](super::MoneyApi) for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub money: Option<MoneySummary>,
}

/// Answer to `GET /v1/descriptor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescriptorView {
    /// This node's key.
    pub node: String,
    /// The string to give to others. Absent when the node can't be dialled.
    pub descriptor: Option<String>,
    /// Where there is no descriptor: one sentence that says why, and which
    /// setting would change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Something that went wrong while joining or keeping neighbours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinProblem {
    /// How long ago.
    pub ago_seconds: u64,
    /// One sentence, in the other node's or the operating system's terms.
    pub what: String,
}

/// Answer to `GET /v1/connection-status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// How far joining has got.
    pub stage: Stage,
    /// One sentence that says why, and what would help.
    pub stage_reason: String,
    /// How long the stage has been this one.
    pub since_seconds: u64,
    /// Neighbours, entry links included.
    pub neighbours: u32,
    /// How many of them are this node's entry links.
    pub entry_links: u32,
    /// Nodes in the neighbourhood, this one not counted.
    pub nodes_known: u32,
    /// How many of those are exits.
    pub exits_known: u32,
    /// The latest refusals and failed dials, newest first; at most 16.
    #[serde(default)]
    pub problems: Vec<JoinProblem>,
    /// Node keys of past neighbours, which this node would ask after a restart;
    /// best first.
    #[serde(default)]
    pub remembered: Vec<String>,
}

/// What this node itself has seen of another one, in its own circuits. It is
/// told to nobody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoreView {
    /// From 0 to 100, more is better; a node of which nothing is known would
    /// have 94.
    pub points: u8,
    /// It is used only where nothing else is left.
    #[serde(default)]
    pub avoided: bool,
    /// Its part of the time that circuits through it took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
    /// Bytes per second of the fastest circuits through it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput_bytes: Option<u64>,
    /// How many in a hundred attempts failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_percent: Option<u8>,
    /// Seconds for which it still counts as having no room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub congested_seconds: Option<u64>,
    /// Seconds for which it is still avoided because it claimed to have carried
    /// more than this node had counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disputed_seconds: Option<u64>,
}

/// One node of the neighbourhood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphNode {
    /// Its node key.
    pub node: String,
    /// It relays circuits of others.
    pub routes: bool,
    /// It is an exit.
    pub exits: bool,
    /// It accepts connections.
    pub accepts: bool,
    /// The country it claims, two letters; nobody checks the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Version of its record.
    pub version: u64,
    /// Age of its record.
    pub age_seconds: u64,
    /// What this node holds of it, if it has met it lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<ScoreView>,
}

/// One of this node's own links, entry links included. Only the node itself
/// knows the latter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnLink {
    /// The neighbour.
    pub node: String,
    /// Whose entry link it is.
    #[serde(default)]
    pub entry: EntryLink,
}

/// Answer to `GET /v1/neighborhood-graph`: every record this node holds and
/// the edges that both ends list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphView {
    /// This node's key.
    pub me: String,
    /// The nodes, this one included.
    pub nodes: Vec<GraphNode>,
    /// Listed edges, each once, as pairs of node keys.
    pub edges: Vec<(String, String)>,
    /// This node's own links.
    #[serde(default)]
    pub links: Vec<OwnLink>,
}

/// Which half of the loop a hop is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leg {
    /// From the origin to the exit.
    Over,
    /// From the exit to the origin.
    Back,
}

/// What a hop does on a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HopRole {
    /// It hands cells on.
    Relay,
    /// It talks to servers.
    Exit,
}

/// One hop of an own circuit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopView {
    /// The hop's node key.
    pub node: String,
    /// Relay or exit.
    pub role: HopRole,
    /// Over or back leg; the exit counts to the over leg.
    pub leg: Leg,
    /// Claimed country.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
}

/// Where an own circuit is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CircuitState {
    /// The set-up package has not come back yet.
    Building,
    /// It takes flows.
    Open,
    /// Too old for new flows; those it has go on.
    Retiring,
}

impl fmt::Display for CircuitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Building => "building",
            Self::Open => "open",
            Self::Retiring => "retiring",
        })
    }
}

/// One own circuit with its route, in `GET /v1/circuits`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitView {
    /// Number of the circuit, counted since start. Nobody else knows it.
    pub id: u64,
    /// Where it is in its life.
    pub state: CircuitState,
    /// The hops in the order of travel: over leg, exit, back leg.
    pub hops: Vec<HopView>,
    /// Relays that both legs share, the entry neighbour not counted.
    #[serde(default)]
    pub shared_relays: u32,
    /// Flows open on it.
    pub flows: u32,
    /// Flows it has carried since it was built.
    #[serde(default)]
    pub flows_carried: u64,
    /// Age.
    pub age_seconds: u64,
    /// Payload sent.
    pub sent_bytes: u64,
    /// Cells that carried it.
    #[serde(default)]
    pub sent_cells: u64,
    /// Payload received.
    pub received_bytes: u64,
    /// Cells that carried it.
    #[serde(default)]
    pub received_cells: u64,
    /// Time of the last round of the loop, in microseconds, where one was
    /// measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_us: Option<u64>,
}

/// As what this node saw a piece of a circuit, in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TraceRole {
    /// A relay on the over leg.
    OverRelay,
    /// The exit.
    Exit,
    /// A relay on the back leg.
    BackRelay,
    /// The origin.
    Origin,
}

impl fmt::Display for TraceRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::OverRelay => "over relay",
            Self::Exit => "exit",
            Self::BackRelay => "back relay",
            Self::Origin => "origin",
        })
    }
}

/// What a piece of trace is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TraceKind {
    /// A set-up package.
    Setup,
    /// A cell.
    Cell,
    /// A flow that the exit opened to a server.
    Flow,
}

/// One thing this node saw as a hop. Only on chain `dev` with `debug_trace`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceEntry {
    /// Position in the trace, growing from 0 since start.
    pub sequence: u64,
    /// When.
    pub at_unix_ms: u64,
    /// The node's own number for the circuit; it means nothing elsewhere.
    pub circuit: u64,
    /// What this node was on that circuit.
    pub role: TraceRole,
    /// What was seen.
    pub kind: TraceKind,
    /// True for bytes that arrived, false for bytes that this node sent on.
    pub inbound: bool,
    /// The node it came from, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The node it goes to, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Bytes on the wire.
    pub size: u32,
    /// SHA-256 of those bytes, hexadecimal, possibly cut short.
    #[serde(default)]
    pub digest: String,
    /// The server: only ever known to an exit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// Answer to `GET /v1/trace`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceView {
    /// This node's key.
    pub node: String,
    /// The entries, oldest first. The node keeps a bounded number.
    pub entries: Vec<TraceEntry>,
    /// Entries that were dropped because the bound was reached.
    #[serde(default)]
    pub dropped: u64,
}

/// Body of `PATCH /v1/settings`: what may change while the daemon runs. Not
/// written to the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingsChange {
    /// Hops of circuits built from now on: `"3"` or `"3-4"`, 1 to 6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hops: Option<String>,
}

/// Answer to `GET` and `PATCH /v1/settings`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsView {
    /// Hops of circuits built from now on.
    pub hops: String,
    /// Why no circuit of that length could be built now, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_route: Option<String>,
}

/// Body of `POST /v1/shutdown`; may be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShutdownRequest {
    /// Stop at once, without waiting for open flows.
    #[serde(default)]
    pub now: bool,
}

/// Answer to `POST /v1/shutdown`. It is sent before the daemon is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShutdownView {
    /// Flows still open, which the daemon waits for.
    pub open_flows: u64,
    /// How long it waits at most.
    pub drain_seconds: u64,
}

/// What `GET /v1/events` streams, one JSON object per server-sent event. The
/// event's name is the `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// Joining went forward or back.
    StageChanged {
        /// The stage now.
        stage: Stage,
        /// Why.
        reason: String,
    },
    /// A neighbour was accepted, or accepted this node.
    NeighbourUp {
        /// Its node key.
        node: String,
        /// Whose entry link it is.
        entry: EntryLink,
    },
    /// A neighbour is gone.
    NeighbourDown {
        /// Its node key.
        node: String,
        /// Why.
        reason: String,
    },
    /// Another node refused this one, or could not be reached.
    JoinProblem {
        /// One sentence.
        what: String,
    },
    /// A node was banned, by hand or for a proven lie.
    Banned {
        /// Its node key.
        node: String,
        /// Why.
        reason: String,
        /// For how long; absent when the ban has no end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left_seconds: Option<u64>,
    },
    /// A ban was lifted, or is over.
    Unbanned {
        /// The node's key.
        node: String,
    },
    /// An own circuit is ready.
    CircuitOpened {
        /// Its number, as in [`CircuitView::id`].
        id: u64,
        /// Number of hops on the over leg, the exit included.
        hops: u8,
    },
    /// An own circuit ended.
    CircuitClosed {
        /// Its number.
        id: u64,
        /// Why.
        reason: String,
    },
    /// A setting was changed while running.
    SettingsChanged {
        /// Hops of circuits built from now on.
        hops: String,
    },
    /// Something happened to money: a payment, a ban for a debt, a halt. At chain's pace, so some
    /// per hour.
    Money {
        /// One sentence, without any wallet.
        what: String,
    },
    /// The daemon is stopping.
    Draining {
        /// Flows it waits for.
        open_flows: u64,
    },
    /// The reader was too slow and lost this many events.
    Lost {
        /// How many.
        count: u64,
    },
}

impl Event {
    /// The value of `kind`, which is also the name of the server-sent event.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::StageChanged { .. } => "stage-changed",
            Self::NeighbourUp { .. } => "neighbour-up",
            Self::NeighbourDown { .. } => "neighbour-down",
            Self::JoinProblem { .. } => "join-problem",
            Self::Banned { .. } => "banned",
            Self::Unbanned { .. } => "unbanned",
            Self::CircuitOpened { .. } => "circuit-opened",
            Self::CircuitClosed { .. } => "circuit-closed",
            Self::SettingsChanged { .. } => "settings-changed",
            Self::Money { .. } => "money",
            Self::Draining { .. } => "draining",
            Self::Lost { .. } => "lost",
        }
    }
}

/// Body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What is wrong, in one sentence.
    pub error: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Answer to `GET /healthz`, the only route that needs no token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `true` as long as the daemon answers.
    pub ok: bool,
}

/// Contents of `control.json` in the data folder, by which `masq` finds the
/// daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlFile {
    /// Where the control API listens.
    pub address: SocketAddr,
    /// Process id of the daemon.
    pub pid: u32,
    /// Version of the daemon.
    pub version: String,
}
