//! The routes: each takes a request apart, asks the node and shapes the answer.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, RawQuery, State},
    http::{StatusCode, header},
    middleware,
    response::{
        IntoResponse, Response,
        sse::{self, KeepAlive, Sse},
    },
    routing::{get, post},
};
use futures::{Stream, StreamExt, stream};
use serde::de::DeserializeOwned;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use super::{
    OPENAPI,
    api::NodeApiError,
    bans,
    guard::{self, ApiError},
    payments,
    server::Shared,
    types::{Event, Health, SettingsChange, ShutdownRequest},
    wallets,
};
use crate::config::Hops;
use crate::doctor::{Report, judge_money};

/// Largest request body: every body is a few words (guess).
const MAX_BODY: usize = 16 * 1024;
/// How long the node may take to answer. It answers from memory; longer means
/// that it is stuck, and a clear error is better than a hang (guess).
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How often an idle event stream says that it is alive (guess: below the
/// minute after which proxies give up).
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) type Answer<T> = Result<Json<T>, ApiError>;
pub(super) type Node = State<Arc<Shared>>;

/// The paths below `/v1` and `/healthz` with their methods: what the router
/// has and the OpenAPI description must have.
#[cfg(test)]
pub(super) const ROUTES: &[(&str, &str)] = &[
    ("get", "/healthz"),
    ("get", "/v1/openapi.json"),
    ("get", "/v1/status"),
    ("get", "/v1/descriptor"),
    ("get", "/v1/connection-status"),
    ("get", "/v1/neighborhood-graph"),
    ("get", "/v1/circuits"),
    ("get", "/v1/doctor"),
    ("get", "/v1/trace"),
    ("get", "/v1/settings"),
    ("patch", "/v1/settings"),
    ("get", "/v1/bans"),
    ("post", "/v1/bans"),
    ("delete", "/v1/bans/{node}"),
    ("get", "/v1/money"),
    ("get", "/v1/financials"),
    ("get", "/v1/payments"),
    ("post", "/v1/payments"),
    ("post", "/v1/scan"),
    ("post", "/v1/prepay"),
    ("post", "/v1/routes"),
    ("get", "/v1/wallets"),
    ("post", "/v1/shutdown"),
    ("get", "/v1/events"),
];

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let behind_token = Router::new()
        .route("/v1/openapi.json", get(openapi))
        .route("/v1/status", get(status))
        .route("/v1/descriptor", get(descriptor))
        .route("/v1/connection-status", get(connection_status))
        .route("/v1/neighborhood-graph", get(neighborhood_graph))
        .route("/v1/circuits", get(circuits))
        .route("/v1/doctor", get(doctor))
        .route("/v1/trace", get(trace))
        .route("/v1/settings", get(settings).patch(change_settings))
        .route("/v1/shutdown", post(shutdown))
        .route("/v1/events", get(events))
        .merge(bans::router())
        .merge(payments::router())
        .merge(wallets::router())
        .method_not_allowed_fallback(wrong_method)
        .fallback(no_such_route)
        .layer(middleware::from_fn_with_state(
            Arc::clone(&shared),
            guard::token,
        ));
    Router::new()
        .route("/healthz", get(healthz))
        .method_not_allowed_fallback(wrong_method)
        .fallback_service(behind_token.with_state(Arc::clone(&shared)))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(guard::host))
        .with_state(shared)
}

/// The node's answer, within [`ANSWER_TIME`].
pub(super) async fn asked<T>(
    answer: impl Future<Output = Result<T, NodeApiError>>,
) -> Result<Json<T>, ApiError> {
    match tokio::time::timeout(ANSWER_TIME, answer).await {
        Ok(answer) => Ok(Json(answer?)),
        Err(_) => Err(ApiError::new(
            StatusCode::GATEWAY_TIMEOUT,
            "The node did not answer in time.",
            "Look at its log; if it stays like this, restart it.",
        )),
    }
}

/// A JSON body; an empty one is the default.
pub(super) fn body<T: DeserializeOwned + Default>(bytes: &Bytes) -> Result<T, ApiError> {
    if bytes.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(bytes).map_err(|error| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            format!("The body is not what this route takes: {error}."),
            "GET /v1/openapi.json describes the routes.",
        )
    })
}

/// Whether the query sets the only flag that the route has.
pub(super) fn flag(query: Option<&str>, name: &str) -> Result<bool, ApiError> {
    match query.map(|query| query.split_once('=').unwrap_or((query, ""))) {
        None | Some(("", "")) => Ok(false),
        Some((key, "true")) if key == name => Ok(true),
        Some((key, "false")) if key == name => Ok(false),
        Some(_) => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "The query is not understood.",
            &format!("The only one is ?{name}=true."),
        )),
    }
}

async fn healthz() -> Json<Health> {
    Json(Health { ok: true })
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn status(State(shared): Node, RawQuery(query): RawQuery) -> Answer<super::types::Status> {
    let addresses = flag(query.as_deref(), "addresses")?;
    let mut status = asked(shared.node.status()).await?;
    if !addresses {
        for neighbour in &mut status.neighbours {
            neighbour.address = None;
        }
    }
    if let Some(money) = shared.node.money() {
        // How the node is has to be told even while money is too busy to answer.
        status.money = asked(money.status())
            .await
            .ok()
            .map(|money| money.summary());
    }
    Ok(status)
}

async fn descriptor(State(shared): Node) -> Answer<super::types::DescriptorView> {
    asked(shared.node.descriptor()).await
}

async fn connection_status(State(shared): Node) -> Answer<super::types::ConnectionStatus> {
    asked(shared.node.connection_status()).await
}

async fn neighborhood_graph(State(shared): Node) -> Answer<super::types::GraphView> {
    asked(shared.node.neighborhood()).await
}

async fn circuits(State(shared): Node) -> Answer<Vec<super::types::CircuitView>> {
    asked(shared.node.circuits()).await
}

async fn doctor(State(shared): Node) -> Answer<Report> {
    let Some(money) = shared.node.money() else {
        return asked(shared.node.doctor()).await;
    };
    let (report, facts) = tokio::join!(asked(shared.node.doctor()), asked(money.facts()));
    let (Json(report), Json(facts)) = (report?, facts?);
    let mut findings = report.findings;
    findings.extend(judge_money(&facts));
    Ok(Json(Report::new(report.running, findings)))
}

async fn trace(State(shared): Node) -> Answer<super::types::TraceView> {
    asked(shared.node.trace()).await
}

async fn settings(State(shared): Node) -> Answer<super::types::SettingsView> {
    asked(shared.node.settings()).await
}

async fn change_settings(State(shared): Node, bytes: Bytes) -> Answer<super::types::SettingsView> {
    let change: SettingsChange = body(&bytes)?;
    let Some(hops) = change.hops else {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "The body changes nothing.",
            "Send for example {\"hops\": \"4\"}.",
        ));
    };
    let hops: Hops = hops.parse().map_err(|bad: crate::config::BadValue| {
        ApiError::new(StatusCode::BAD_REQUEST, bad.what, &bad.remedy)
    })?;
    asked(shared.node.set_hops(hops)).await
}

async fn shutdown(State(shared): Node, bytes: Bytes) -> Answer<super::types::ShutdownView> {
    let request: ShutdownRequest = body(&bytes)?;
    asked(shared.node.shutdown(request.now)).await
}

async fn events(State(shared): Node) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let stream =
        following(shared.node.events(), shared.closing.clone()).map(|event| Ok(as_sse(&event)));
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn as_sse(event: &Event) -> sse::Event {
    let json = serde_json::to_string(event).expect("plain data becomes JSON");
    sse::Event::default().event(event.kind()).data(json)
}

/// Events until the node or the server stops.
fn following(
    receiver: broadcast::Receiver<Event>,
    closing: CancellationToken,
) -> impl Stream<Item = Event> {
    stream::unfold((receiver, closing), |(mut receiver, closing)| async move {
        let event = tokio::select! {
            biased;
            received = receiver.recv() => match received {
                Ok(event) => event,
                Err(RecvError::Lagged(count)) => Event::Lost { count },
                Err(RecvError::Closed) => return None,
            },
            () = closing.cancelled() => return None,
        };
        Some((event, (receiver, closing)))
    })
}

async fn no_such_route() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "There is no such route.",
        "GET /v1/openapi.json describes the routes.",
    )
}

async fn wrong_method() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "The route does not take this method.",
        "GET /v1/openapi.json describes the routes.",
    )
}
