//! The control API: HTTP and JSON on loopback, by which `masq` and other local
//! programs look at the daemon and steer it.
//!
//! [`types`] is what travels, [`NodeApi`] what the node must answer, [`Server`]
//! serves it and [`Client`] asks. This module knows nothing of circuits or
//! gossip.
//!
//! Who may: whoever has the token, which lies in the data folder, readable by
//! its owner only. Pages in a browser can't: they don't have the token, the
//! `Host` header must name an address (so a DNS name pointed at loopback gets
//! nowhere), and no CORS header is ever sent.

pub mod types;

mod api;
mod bans;
mod client;
mod connections;
mod guard;
mod money;
mod payments;
mod routes;
mod server;
mod wallets;

pub use api::{NodeApi, NodeApiError};
pub use client::{Client, ClientError, EventStream};
pub use money::MoneyApi;
pub use server::{Server, ServerError};
pub use wallets::WalletsView;

/// The description of the API in OpenAPI 3.1, as `GET /v1/openapi.json` serves
/// it.
pub const OPENAPI: &str = include_str!("openapi.json");

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
