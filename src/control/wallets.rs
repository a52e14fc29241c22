//! The route `/v1/wallets`: which wallets the node has. The files are locked while it runs.

use std::sync::Arc;

use axum::{Router, extract::State, routing::get};
use serde::{Deserialize, Serialize};

use super::{
    routes::{Answer, Node, asked},
    server::Shared,
};

/// Answer to `GET /v1/wallets`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalletsView {
    /// What protects the data folder: `password` or `key-file`.
    pub lock: String,
    /// The address of the wallet that pays, with its checksum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consuming: Option<String>,
    /// The address of the wallet that is paid; one of the configuration wins over the one that is
    /// kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earning: Option<String>,
    /// Whether the consuming wallet's key was opened at start, and belongs to the address. It is
    /// left closed where nothing is paid.
    pub key_open: bool,
}

impl std::fmt::Debug for WalletsView {
    /// Wallets stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WalletsView([scrubbed])")
    }
}

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new().route("/v1/wallets", get(show))
}

async fn show(State(shared): Node) -> Answer<WalletsView> {
    asked(shared.node.wallets()).await
}
