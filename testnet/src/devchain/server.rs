//! JSON-RPC over HTTP/1.1: batches, bounds, and the faults that are of the connection.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{MAX_BATCH, MAX_BODY, MAX_CONNECTIONS, MAX_DELAY};
use super::error::RpcError;
use super::faults::{Fault, Outage};
use super::rpc::{Node, Params, is_control};

/// A client has this long to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after a connection could not be accepted, for want of file descriptors usually.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The one owner of the chain. Everything that is done to it is done in one go under the lock,
/// and nothing waits with the lock held.
#[derive(Debug)]
pub(super) struct Shared(Mutex<Node>);

impl Shared {
    pub(super) fn new(node: Node) -> Self {
        Self(Mutex::new(node))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Node> {
        // A panic is a defect; that the other tests in the process go on helps to find it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds since 1970 by the machine's clock.
pub(super) fn system_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// What a client gets.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reply {
    /// HTTP 200 with this body.
    Json(Value),
    /// HTTP 200 with no body: all calls were notifications.
    Nothing,
    /// HTTP 200 with half an answer.
    Garbage,
    /// Another HTTP status.
    Http(u16),
    /// The connection is closed without an answer.
    Close,
}

/// Why there is no answer to put into a body.
enum Broken {
    Http(u16),
    Close,
    Garbage,
}

impl From<Broken> for Reply {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Http(status) => Self::Http(status),
            Broken::Close => Self::Close,
            Broken::Garbage => Self::Garbage,
        }
    }
}

/// Answers the body of one HTTP request: a call or a batch of them.
pub(super) async fn respond(shared: &Shared, body: &[u8]) -> Reply {
    let request: Value = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(_) => return failure(&Value::Null, RpcError::parse("parse error")),
    };
    let calls = match &request {
        Value::Array(calls) => calls.as_slice(),
        single => std::slice::from_ref(single),
    };
    if let Some(outage) = shared.lock().faults.outage
        && !calls.iter().all(|call| is_control(method_of(call)))
    {
        return match outage {
            Outage::Close => Reply::Close,
            Outage::Http(status) => Reply::Http(status),
        };
    }
    if calls.is_empty() {
        return failure(&Value::Null, RpcError::request("empty batch"));
    }
    if calls.len() > MAX_BATCH {
        return failure(&Value::Null, RpcError::request("batch too large"));
    }
    let mut answers = Vec::with_capacity(calls.len());
    for call in calls {
        match answer(shared, call).await {
            Ok(Some(answer)) => answers.push(answer),
            Ok(None) => {}
            Err(broken) => return broken.into(),
        }
    }
    match (request.is_array(), answers.pop()) {
        (_, None) => Reply::Nothing,
        (false, Some(answer)) => Reply::Json(answer),
        (true, Some(last)) => {
            answers.push(last);
            Reply::Json(Value::Array(answers))
        }
    }
}

fn method_of(call: &Value) -> &str {
    call.get("method")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn failure(id: &Value, error: RpcError) -> Reply {
    Reply::Json(envelope(id, Err(error)))
}

fn envelope(id: &Value, result: Result<Value, RpcError>) -> Value {
    match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => json!({ "jsonrpc": "2.0", "id": id, "error": error }),
    }
}

/// Answers one call; `None` when it was a notification.
async fn answer(shared: &Shared, call: &Value) -> Result<Option<Value>, Broken> {
    let id = match call.get("id") {
        Some(id @ (Value::String(_) | Value::Number(_) | Value::Null)) => Some(id),
        None => None,
        Some(_) => {
            let error = RpcError::request("the id is neither text nor number");
            return Ok(Some(envelope(&Value::Null, Err(error))));
        }
    };
    let method = method_of(call);
    if method.is_empty() || call.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        let error = RpcError::request("invalid request");
        return Ok(Some(envelope(id.unwrap_or(&Value::Null), Err(error))));
    }
    let result = carry_out(shared, method, call.get("params")).await?;
    Ok(id.map(|id| envelope(id, result)))
}

/// Does a call and what its fault does to it.
async fn carry_out(
    shared: &Shared,
    method: &str,
    params: Option<&Value>,
) -> Result<Result<Value, RpcError>, Broken> {
    let fault = if is_control(method) {
        None
    } else {
        shared.lock().faults.take(method, params)
    };
    let wait = |ms| tokio::time::sleep(Duration::from_millis(ms).min(MAX_DELAY));
    match &fault {
        Some(Fault::Fail(failure)) => return Ok(Err(failure.clone().into())),
        Some(Fault::Answer(result)) => return Ok(Ok(result.clone())),
        Some(Fault::Close) => return Err(Broken::Close),
        Some(Fault::Http(status)) => return Err(Broken::Http(*status)),
        Some(Fault::Delay { ms }) => wait(*ms).await,
        _ => {}
    }
    // The EVM runs here and now: a call is bounded by the gas of a transaction.
    let result =
        Params::of(params).and_then(|params| shared.lock().answer(method, params, system_time()));
    match fault {
        Some(Fault::FailAfter(failure)) => Ok(Err(failure.into())),
        Some(Fault::CloseAfter) => Err(Broken::Close),
        Some(Fault::HttpAfter(status)) => Err(Broken::Http(status)),
        Some(Fault::Garbage) => Err(Broken::Garbage),
        Some(Fault::DelayAfter { ms }) => {
            wait(ms).await;
            Ok(result)
        }
        _ => Ok(result),
    }
}

/// Takes connections until `stop`.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, _, place)) => {
                let (shared, stop) = (shared.clone(), stop.clone());
                tasks.spawn(async move {
                    let _place = place;
                    connection(stream, shared, stop).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the development chain cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

type Place = tokio::sync::OwnedSemaphorePermit;

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, Place)> {
    let place = places
        .clone()
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, addr) = listener.accept().await?;
    // Without it small answers wait for delayed acknowledgements.
    let _ = stream.set_nodelay(true);
    Ok((stream, addr, place))
}

/// The connection is to be closed; hyper does so when a service fails.
#[derive(Debug, thiserror::Error)]
#[error("closed on purpose")]
struct Closed;

async fn connection(stream: TcpStream, shared: Arc<Shared>, stop: CancellationToken) {
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { http(&shared, request).await }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    // An answer that is under way is not waited for: what it says was done is done.
    tokio::select! {
        _ = serving => {}
        () = stop.cancelled() => {}
    }
}

async fn http(
    shared: &Shared,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Closed> {
    if request.method() != Method::POST {
        return Ok(plain(
            StatusCode::METHOD_NOT_ALLOWED,
            "POST JSON-RPC here\n",
        ));
    }
    let body = match Limited::new(request.into_body(), MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE, "content too large\n")),
    };
    match respond(shared, &body).await {
        Reply::Json(answer) => Ok(json_response(answer.to_string())),
        Reply::Nothing => Ok(json_response(String::new())),
        Reply::Garbage => Ok(json_response("{\"jsonrpc\":\"2.0\",\"resu".to_owned())),
        Reply::Http(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            Ok(plain(status, status.canonical_reason().unwrap_or_default()))
        }
        Reply::Close => Err(Closed),
    }
}

fn json_response(body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}
