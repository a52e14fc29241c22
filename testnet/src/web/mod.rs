//! The web server that a testnet brings along as a destination: pages, byte
//! streams with a known hash, uploads, echo, a server that trickles. Plain
//! HTTP/1.1. It knows nothing of the mesh.

pub mod content;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::{any, get, post};
use axum::serve::ListenerExt;
use bytes::Bytes;
use futures::{StreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Most lines `/slow/N` sends; at [`TRICKLE`] apart that is ten minutes.
const MAX_SLOW_LINES: u32 = 6_000;
/// Pause between two lines of `/slow/N`, and between two bursts of `/paced/RATE/N`; long enough to see that nothing waits
/// for a full buffer, short enough for tests.
const TRICKLE: Duration = Duration::from_millis(100);
/// Ports tried before giving up on one that is free on 127.0.0.1 and on ::1.
const PORT_TRIES: usize = 16;

/// A running web server. Dropping it stops it.
#[derive(Debug)]
pub struct WebServer {
    addrs: Vec<SocketAddr>,
    requests: Arc<AtomicU64>,
    stop: CancellationToken,
}

#[derive(Clone)]
struct Shared {
    requests: Arc<AtomicU64>,
}

impl WebServer {
    /// Starts a server on a free port of 127.0.0.1 and, where the machine has
    /// IPv6, on the same port of ::1.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn on_loopback() -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..PORT_TRIES {
            let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let port = v4.local_addr()?.port();
            match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
                Ok(v6) => return Self::serve(vec![v4, v6]),
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => last = e,
                Err(_) => return Self::serve(vec![v4]),
            }
        }
        Err(last)
    }

    /// Starts a server on exactly `addr`.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn on(addr: SocketAddr) -> io::Result<Self> {
        Self::serve(vec![TcpListener::bind(addr).await?])
    }

    fn serve(listeners: Vec<TcpListener>) -> io::Result<Self> {
        let requests = Arc::new(AtomicU64::new(0));
        let stop = CancellationToken::new();
        let mut addrs = Vec::new();
        for listener in listeners {
            addrs.push(listener.local_addr()?);
            let app = router(Shared {
                requests: requests.clone(),
            })
            .into_make_service_with_connect_info::<SocketAddr>();
            let listener = listener.tap_io(|tcp| {
                // Without it small answers wait for delayed acknowledgements.
                let _ = tcp.set_nodelay(true);
            });
            let stop = stop.clone();
            tokio::spawn(async move {
                tokio::select! {
                    _ = axum::serve(listener, app) => {}
                    () = stop.cancelled() => {}
                }
            });
        }
        Ok(Self {
            addrs,
            requests,
            stop,
        })
    }

    /// Addresses listened on, the IPv4 one first.
    #[must_use]
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Port of the server, the same on all its addresses.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.addrs.first().map_or(0, SocketAddr::port)
    }

    /// True when it listens on an IPv6 address too.
    #[must_use]
    pub fn has_v6(&self) -> bool {
        self.addrs.iter().any(SocketAddr::is_ipv6)
    }

    /// Requests answered so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/bytes/{len}", get(bytes_of))
        .route("/chunked/{len}", get(chunked))
        .route("/paced/{rate}/{len}", get(paced))
        .route("/slow/{lines}", get(slow))
        .route("/headers", any(headers))
        .route("/whoami", get(whoami))
        .route("/status/{code}", any(status))
        .route("/sha256", post(hash_upload).put(hash_upload))
        .route("/echo", any(echo))
        .layer(DefaultBodyLimit::disable())
        .layer(axum::middleware::from_fn_with_state(shared.clone(), count))
        .with_state(shared)
}

async fn count(
    State(shared): State<Shared>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    next.run(request).await
}

async fn index(ConnectInfo(peer): ConnectInfo<SocketAddr>) -> Html<String> {
    Html(format!(
        "<!doctype html><meta charset=utf-8><title>masq testnet</title>\n\
         <h1>It works</h1>\n\
         <p>This page was asked for by <code>{}</code>, which is not you if you came through the mesh: \
         it is the exit.</p>\n\
         <ul>\n\
         <li><a href=/bytes/1000000>/bytes/N</a>: N bytes, always the same; their hash is in <code>x-content-sha256</code>\n\
         <li><a href=/chunked/100000>/chunked/N</a>: the same in chunked encoding\n\
         <li><a href=/paced/50000/1000000>/paced/RATE/N</a>: the same, RATE bytes a second; understands <code>Range: bytes=FROM-</code>\n\
         <li><a href=/slow/20>/slow/N</a>: N lines, ten a second\n\
         <li><a href=/headers>/headers</a>: the request as it arrived\n\
         <li><a href=/whoami>/whoami</a>: address of the peer\n\
         <li><a href=/status/404>/status/CODE</a>\n\
         <li>/echo: the body comes back\n\
         <li>/sha256: length and hash of the body sent\n\
         </ul>\n",
        peer.ip()
    ))
}

fn pieces(len: u64) -> Body {
    Body::from_stream(stream::unfold(0_u64, move |offset| async move {
        let bytes = content::piece(offset, len);
        if bytes.is_empty() {
            return None;
        }
        let next = offset + bytes.len() as u64;
        Some((Ok::<Bytes, Infallible>(bytes), next))
    }))
}

async fn bytes_of(Path(len): Path<u64>) -> Response {
    if len > content::MAX_LEN {
        return (StatusCode::BAD_REQUEST, "too long\n").into_response();
    }
    let Ok(hash) = tokio::task::spawn_blocking(move || content::sha256(len)).await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let mut response = pieces(len).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    if let Ok(value) = HeaderValue::from_str(&hex::encode(hash)) {
        headers.insert("x-content-sha256", value);
    }
    response
}

async fn chunked(Path(len): Path<u64>) -> Response {
    if len > content::MAX_LEN {
        return (StatusCode::BAD_REQUEST, "too long\n").into_response();
    }
    pieces(len).into_response()
}

/// Where a request wants to begin: `Range: bytes=N-`, nothing else of `Range`.
fn from(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::RANGE)?.to_str().ok()?;
    range
        .strip_prefix("bytes=")?
        .strip_suffix('-')?
        .parse()
        .ok()
}

/// The same bytes at a steady pace, so that a client sees at once when they stop coming.
async fn paced(Path((rate, len)): Path<(u64, u64)>, headers: HeaderMap) -> Response {
    let begin = from(&headers);
    if len > content::MAX_LEN || rate == 0 || begin.is_some_and(|from| from >= len) {
        return (StatusCode::BAD_REQUEST, "no such bytes\n").into_response();
    }
    let start = begin.unwrap_or(0);
    let per_tick = usize::try_from((rate / 10).max(1)).unwrap_or(usize::MAX);
    let body = stream::unfold((start, per_tick), move |(offset, mut left)| async move {
        if left == 0 {
            tokio::time::sleep(TRICKLE).await;
            left = per_tick;
        }
        let bytes = content::range(offset, left, len);
        if bytes.is_empty() {
            return None;
        }
        let next = (offset + bytes.len() as u64, left - bytes.len());
        Some((Ok::<_, Infallible>(bytes), next))
    });
    let mut response = Body::from_stream(body).into_response();
    if begin.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let range = format!("bytes {start}-{}/{len}", len - 1);
        if let Ok(range) = HeaderValue::from_str(&range) {
            response.headers_mut().insert(header::CONTENT_RANGE, range);
        }
    }
    let left = HeaderValue::from(len - start);
    response.headers_mut().insert(header::CONTENT_LENGTH, left);
    response
}

async fn slow(Path(lines): Path<u32>) -> Response {
    let lines = lines.min(MAX_SLOW_LINES);
    let body = stream::unfold(0, move |n| async move {
        if n == lines {
            return None;
        }
        if n > 0 {
            tokio::time::sleep(TRICKLE).await;
        }
        Some((
            Ok::<_, Infallible>(Bytes::from(format!("line {} of {lines}\n", n + 1))),
            n + 1,
        ))
    });
    (
        [(header::CONTENT_TYPE, "text/plain")],
        Body::from_stream(body),
    )
        .into_response()
}

async fn headers(headers: HeaderMap) -> Json<BTreeMap<String, String>> {
    Json(
        headers
            .iter()
            .map(|(k, v)| {
                (
                    k.to_string(),
                    String::from_utf8_lossy(v.as_bytes()).into_owned(),
                )
            })
            .collect(),
    )
}

async fn whoami(ConnectInfo(peer): ConnectInfo<SocketAddr>) -> String {
    let ip: IpAddr = peer.ip();
    format!("{ip}\n")
}

async fn status(Path(code): Path<u16>) -> Response {
    match StatusCode::from_u16(code) {
        Ok(code) => (code, format!("{code}\n")).into_response(),
        Err(_) => (StatusCode::BAD_REQUEST, "no such status\n").into_response(),
    }
}

async fn hash_upload(body: Body) -> Response {
    let mut hasher = Sha256::new();
    let mut len = 0_u64;
    let mut data = body.into_data_stream();
    while let Some(part) = data.next().await {
        let Ok(part) = part else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        len += part.len() as u64;
        hasher.update(&part);
    }
    let sha256 = hex::encode(hasher.finalize());
    Json(serde_json::json!({ "bytes": len, "sha256": sha256 })).into_response()
}

async fn echo(headers: HeaderMap, body: Body) -> Response {
    let mut response = body.into_response();
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, kind.clone());
    }
    response
}
