//! Plain requests: to the server over a flow, and its answer back, both
//! streamed. The connection to the server is kept for the client's next
//! request to the same place.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::Full;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{EXPECT, HOST, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

use super::client::Watch;
use super::{Client, Far, MAX_BUFFER, PendingTunnel, Problem, headers};
use crate::entry::listener::Shared;
use crate::entry::stats::Counted;
use crate::entry::target::Target;
use crate::entry::{Isolation, Tunnel};

/// How long a kept connection may take to be ready for another request
/// (guess: it only has to notice that the last answer is complete).
const REUSE_WAIT: Duration = Duration::from_millis(50);

/// How long a client that expects `100 Continue` waits for a server that does
/// not send one, before its body is sent anyway (curl's own time).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

const NO_ANSWER: &str = "The server closed the connection without an answer.";
const NOT_HTTP: &str = "The server's answer is not HTTP.";

/// Whom a request is for, and which flows it may share.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) target: Target,
    pub(super) isolation: Isolation,
}

/// A connection to a server.
pub(super) struct Upstream {
    server: Server,
    sender: SendRequest<Upload>,
    counted: Arc<Counted>,
}

/// Carries `request` to `server` and returns its answer.
pub(super) async fn forward(
    client: &Client,
    kept: &mut Option<Upstream>,
    server: Server,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Problem> {
    let upgrading = headers::wants_upgrade(request.headers());
    let on_client = upgrading.then(|| hyper::upgrade::on(&mut request));
    let mut request = for_server(request, upgrading, &client.shared);
    if let Some(mut upstream) = reusable(kept.take(), &server).await {
        match upstream.sender.try_send_request(request).await {
            Ok(response) => return Ok(finish(client, kept, upstream, response, on_client)),
            Err(mut error) => match error.take_message() {
                // Closed between two requests, and this one was never sent.
                Some(unsent) => request = unsent,
                None => return Err(server_problem(error.error())),
            },
        }
    }
    let mut upstream = connect(&client.shared, server).await?;
    match upstream.sender.send_request(request).await {
        Ok(response) => Ok(finish(client, kept, upstream, response, on_client)),
        Err(error) => Err(server_problem(&error)),
    }
}

fn server_problem(error: &hyper::Error) -> Problem {
    Problem::Server(if error.is_parse() {
        NOT_HTTP
    } else {
        NO_ANSWER
    })
}

/// The kept connection, if it leads to `server` and can take a request.
async fn reusable(kept: Option<Upstream>, server: &Server) -> Option<Upstream> {
    let mut upstream = kept.filter(|upstream| upstream.server == *server)?;
    let ready = timeout(REUSE_WAIT, upstream.sender.ready()).await;
    matches!(ready, Ok(Ok(()))).then_some(upstream)
}

async fn connect(shared: &Arc<Shared>, server: Server) -> Result<Upstream, Problem> {
    let (tunnel, counted) = shared
        .open_plaintext(server.target.clone(), server.isolation)
        .await?;
    let counted = Arc::new(counted);
    let (sender, connection) = http1::Builder::new()
        .preserve_header_case(true)
        .max_buf_size(MAX_BUFFER)
        .handshake::<_, Upload>(TokioIo::new(tunnel.compat()))
        .await
        .map_err(|error| server_problem(&error))?;
    let held = Arc::clone(&counted);
    shared.spawn(async move {
        if connection.with_upgrades().await.is_err() {
            tracing::debug!("a plain HTTP connection to a server broke off");
        }
        drop(held);
    });
    Ok(Upstream {
        server,
        sender,
        counted,
    })
}

/// Rewrites a client's request into one for the server itself.
fn for_server(
    request: Request<Incoming>,
    upgrading: bool,
    shared: &Arc<Shared>,
) -> Request<Upload> {
    let (mut parts, body) = request.into_parts();
    headers::strip_hop_by_hop(&mut parts.headers, upgrading);
    if let Some(host) = host_header(&parts.uri) {
        // Whatever the client said: the address of the request rules
        // (RFC 9112 section 3.2.2).
        parts.headers.insert(HOST, host);
    }
    parts.uri = origin_form(&parts.uri, &parts.method);
    parts.version = Version::HTTP_11;
    let expects = expects_continue(&parts.headers);
    let upload = Upload {
        body,
        gate: None,
        shared: Arc::clone(shared),
    };
    let mut request = Request::from_parts(parts, upload);
    if expects {
        let go_on = Arc::new(Notify::new());
        let told = Arc::clone(&go_on);
        hyper::ext::on_informational(&mut request, move |informational| {
            if informational.status() == StatusCode::CONTINUE {
                told.notify_one();
            }
        });
        request.body_mut().gate = Some(
            async move {
                let _ = timeout(CONTINUE_WAIT, go_on.notified()).await;
            }
            .boxed(),
        );
    }
    request
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers
        .get(EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Host and port of an absolute address, without user and password.
fn host_header(uri: &Uri) -> Option<HeaderValue> {
    let authority = uri.authority()?.as_str();
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    HeaderValue::from_str(host).ok()
}

fn origin_form(uri: &Uri, method: &Method) -> Uri {
    let path = match uri.path_and_query() {
        // RFC 9112 section 3.2.4: an empty path is a question to the server
        // as a whole.
        Some(path) if path.as_str() == "/" && *method == Method::OPTIONS => {
            PathAndQuery::from_static("*")
        }
        Some(path) => path.clone(),
        None => PathAndQuery::from_static("/"),
    };
    Uri::from(path)
}

/// Turns a server's answer into one for the client, and keeps the connection.
fn finish(
    client: &Client,
    kept: &mut Option<Upstream>,
    upstream: Upstream,
    mut response: Response<Incoming>,
    on_client: Option<OnUpgrade>,
) -> Response<Body> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(on_client) = on_client else {
            return super::Page::for_request(&Request::new(())).write(&Problem::Server(NOT_HTTP));
        };
        let on_server = hyper::upgrade::on(&mut response);
        client.leave(PendingTunnel {
            client: on_client,
            far: Far::Upgraded(on_server),
            _counted: upstream.counted,
        });
        let (mut parts, _) = response.into_parts();
        headers::strip_hop_by_hop(&mut parts.headers, true);
        return Response::from_parts(parts, Body::empty());
    }
    *kept = Some(upstream);
    let (mut parts, body) = response.into_parts();
    headers::strip_hop_by_hop(&mut parts.headers, false);
    // The client is answered in its own version by hyper.
    parts.version = Version::HTTP_11;
    let body = Answer::new(body, Arc::clone(&client.watch), Arc::clone(&client.shared));
    Response::from_parts(parts, Body::Answer(body))
}

/// The flow under a server's connection that switched protocols, and what was
/// read from it already.
pub(super) async fn into_flow(upgrade: OnUpgrade) -> Option<(Tunnel, Bytes)> {
    let upgraded = upgrade.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<Compat<Tunnel>>>().ok()?;
    Some((parts.io.into_inner().into_inner(), parts.read_buf))
}

/// A request's body on its way to the server.
pub(super) struct Upload {
    body: Incoming,
    /// What to wait for before the first byte.
    gate: Option<BoxFuture<'static, ()>>,
    shared: Arc<Shared>,
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(gate) = &mut self.gate {
            ready!(gate.as_mut().poll(cx));
            self.gate = None;
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.shared.stats.traffic.count_to_flow(data.len());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What a client gets.
pub(super) enum Body {
    /// A page of this node.
    Page(Full<Bytes>),
    /// A server's answer.
    Answer(Answer),
}

impl Body {
    pub(super) fn empty() -> Self {
        Self::Page(Full::default())
    }

    pub(super) fn page(text: String) -> Self {
        Self::Page(Full::from(text))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Page(page) => {
                let frame = ready!(Pin::new(page).poll_frame(cx));
                Poll::Ready(frame.map(|result| result.map_err(|never| match never {})))
            }
            Self::Answer(answer) => answer.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Page(page) => page.is_end_stream(),
            Self::Answer(answer) => answer.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Page(page) => page.size_hint(),
            Self::Answer(answer) => answer.body.size_hint(),
        }
    }
}

/// A server's answer on its way to the client. Until it is complete, closing
/// the client's connection resets it.
pub(super) struct Answer {
    body: Incoming,
    watch: Arc<Watch>,
    shared: Arc<Shared>,
}

impl Answer {
    fn new(body: Incoming, watch: Arc<Watch>, shared: Arc<Shared>) -> Self {
        watch.answering(!body.is_end_stream());
        Self {
            body,
            watch,
            shared,
        }
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            None => self.watch.answering(false),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.shared.stats.traffic.count_to_socket(data.len());
                }
            }
            Some(Err(_)) => {}
        }
        Poll::Ready(frame)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // hyper does not always ask for the end that it knows is there.
        if self.body.is_end_stream() {
            self.watch.answering(false);
        }
    }
}
