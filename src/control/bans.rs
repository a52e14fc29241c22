//! The routes below `/v1/bans`: who is banned, and changing it.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, RawQuery, State, rejection::PathRejection},
    http::StatusCode,
    routing::{delete, get},
};

use super::{
    guard::ApiError,
    routes::{Answer, Node, asked, body, flag},
    server::Shared,
    types::{BanRequest, BanView},
};

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/bans", get(list).post(add))
        .route("/v1/bans/{node}", delete(remove))
}

async fn list(State(shared): Node, RawQuery(query): RawQuery) -> Answer<Vec<BanView>> {
    let evidence = flag(query.as_deref(), "evidence")?;
    let Json(mut bans) = asked(shared.node.bans()).await?;
    if !evidence {
        for ban in &mut bans {
            ban.evidence = None;
        }
    }
    Ok(Json(bans))
}

async fn add(State(shared): Node, bytes: Bytes) -> Answer<BanView> {
    let request: BanRequest = body(&bytes)?;
    if request.node.is_empty() {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "The body names no node.",
            "Send for example {\"node\": \"KEY\", \"life_seconds\": 86400}.",
        ));
    }
    asked(shared.node.ban(request)).await
}

async fn remove(State(shared): Node, node: Result<Path<String>, PathRejection>) -> Answer<BanView> {
    let Path(node) = node.map_err(|_| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "The path names no node.",
            "A node key has 43 letters, digits, - and _.",
        )
    })?;
    asked(shared.node.unban(node)).await
}
