//! The seam between the control API and the node: what a node must be able to
//! answer. `src/node` implements it; tests have a small one of their own.
//!
//! Nothing here knows HTTP.

use futures::future::BoxFuture;
use tokio::sync::broadcast;

use super::MoneyApi;
use super::WalletsView;
use super::types::{
    BanRequest, BanView, CircuitView, ConnectionStatus, DescriptorView, Event, GraphView,
    RouteRequest, RoutesView, SettingsView, ShutdownView, Status, TraceView,
};
use crate::config::Hops;
use crate::doctor::Report;

/// Why a node could not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeApiError {
    /// The node is stopping or has stopped. Answered with 503.
    #[error("the node is stopping")]
    Stopping,
    /// The node is too busy to answer now; nothing was changed. Answered with
    /// 503.
    #[error("the node is too busy to answer")]
    Busy,
    /// What was asked for is switched off. Answered with 404.
    #[error("{what}")]
    SwitchedOff {
        /// One sentence that says what is off.
        what: String,
        /// Which setting switches it on.
        hint: String,
    },
    /// The request makes no sense for this node, for example hops for a
    /// `serve-only` node. Nothing was changed. Answered with 400.
    #[error("{what}")]
    Refused {
        /// One sentence that says why.
        what: String,
        /// What to do instead.
        hint: String,
    },
}

/// What a running node answers to the control API.
///
/// Every method may be called at any time, from any task, also while the node
/// stops; futures are cancel-safe, and dropping one changes nothing (a
/// shutdown or a change of settings may then have been done or not).
pub trait NodeApi: Send + Sync + 'static {
    /// How the node is. Addresses of neighbours may be filled in: the API
    /// leaves them out unless they are asked for.
    fn status(&self) -> BoxFuture<'_, Result<Status, NodeApiError>>;

    /// The string by which others are told of this node.
    fn descriptor(&self) -> BoxFuture<'_, Result<DescriptorView, NodeApiError>>;

    /// How joining goes.
    fn connection_status(&self) -> BoxFuture<'_, Result<ConnectionStatus, NodeApiError>>;

    /// The neighbourhood.
    fn neighborhood(&self) -> BoxFuture<'_, Result<GraphView, NodeApiError>>;

    /// The node's own circuits, hop by hop.
    fn circuits(&self) -> BoxFuture<'_, Result<Vec<CircuitView>, NodeApiError>>;

    /// What the node saw as a hop of circuits. [`NodeApiError::SwitchedOff`]
    /// unless the chain is `dev` and `debug_trace` is set.
    fn trace(&self) -> BoxFuture<'_, Result<TraceView, NodeApiError>>;

    /// The settings that may change while the node runs.
    fn settings(&self) -> BoxFuture<'_, Result<SettingsView, NodeApiError>>;

    /// Changes the number of hops for circuits built from now on.
    fn set_hops(&self, hops: Hops) -> BoxFuture<'_, Result<SettingsView, NodeApiError>>;

    /// Who is banned, the oldest ban first. Evidence may be filled in: the API leaves it out unless
    /// it is asked for.
    fn bans(&self) -> BoxFuture<'_, Result<Vec<BanView>, NodeApiError>>;

    /// Bans a node. [`NodeApiError::Refused`] for this node itself, one that is banned already, and
    /// one that is not known by what was given of its key.
    fn ban(&self, request: BanRequest) -> BoxFuture<'_, Result<BanView, NodeApiError>>;

    /// Lifts a ban, given the node's key or how it begins; answers with what was lifted.
    fn unban(&self, node: String) -> BoxFuture<'_, Result<BanView, NodeApiError>>;

    /// Routes that circuits to a destination could take now, with what they would cost. Nothing is
    /// built. [`NodeApiError::Refused`] for hops or a destination that make no sense, and at a
    /// node that has no circuits of its own.
    fn candidates(&self, request: RouteRequest) -> BoxFuture<'_, Result<RoutesView, NodeApiError>>;

    /// The money side; `None` when payments are off.
    fn money(&self) -> Option<&dyn MoneyApi>;
    /// Which wallets this node has.
    fn wallets(&self) -> BoxFuture<'_, Result<WalletsView, NodeApiError>>;

    /// Begins to stop: flows may finish within `drain_seconds`, or not at all
    /// when `now`. Returns before the node is down. Calling it twice is fine;
    /// a later `now` wins.
    fn shutdown(&self, now: bool) -> BoxFuture<'_, Result<ShutdownView, NodeApiError>>;

    /// What is wrong with the node, and what to do. May ask a neighbour and a name server, and
    /// take some seconds.
    fn doctor(&self) -> BoxFuture<'_, Result<Report, NodeApiError>>;

    /// A subscription to what happens from now on. The channel is bounded:
    /// a slow reader loses events and is told how many.
    fn events(&self) -> broadcast::Receiver<Event>;
}
