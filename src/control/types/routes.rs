//! What travels about routes that could be taken.

use serde::{Deserialize, Serialize};

use super::{Amount, HopRole, Leg, RatesView};

/// Most routes in one answer.
pub const MAX_ROUTES: usize = 100;

/// Body of `POST /v1/routes`. Not a query, so that no host gets into a URL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteRequest {
    /// The destination, as `host` or `host:port`.
    #[serde(default)]
    pub host: String,
    /// Hops, `3` or `3-4`. Absent: as for circuits built now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hops: Option<String>,
    /// At most so many routes, likely ones first. Absent: 10; at most 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
}

/// One hop of a route that could be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteHopView {
    /// The hop's node key.
    pub node: String,
    /// Relay or exit.
    pub role: HopRole,
    /// Over or back leg; the exit counts to the over leg.
    pub leg: Leg,
    /// Claimed country.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Its prices, by its record.
    pub rates: RatesView,
    /// What this node holds of it, 0 to 100; absent when it never met it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<u8>,
}

/// One route that could be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteView {
    /// The hops in the order of travel: over leg, exit, back leg.
    pub hops: Vec<RouteHopView>,
    /// How likely it is to be drawn, in ten-thousandths.
    pub per_ten_thousand: u32,
    /// What all hops together take for a gigabyte downloaded. Absent when it does not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download_gigabyte: Option<Amount>,
    /// The same for a gigabyte uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_gigabyte: Option<Amount>,
    /// One round of the loop, from what was measured with its hops; absent while one of them was
    /// never measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
    /// The lowest score of its hops, 0 to 100; a node that was never met counts as 94.
    pub score: u8,
    /// The exit's claimed country.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// No hop asks more than the price ceiling. Routes that are not are never taken.
    pub within_ceiling: bool,
}

/// Answer to `POST /v1/routes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutesView {
    /// The routes, the likeliest first; those above the price ceiling last, which are never taken.
    pub routes: Vec<RouteView>,
    /// How many more there are.
    #[serde(default)]
    pub left_out: u64,
    /// The price ceiling; absent: any price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<RatesView>,
    /// Why there is no route that may be taken, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
