//! The HTTP proxy: CONNECT, plain requests in absolute form, and upgrades of
//! those (WebSocket).
//!
//! `forward` carries plain requests to the server, `headers` knows what may
//! cross a proxy, `page` writes what a person sees when something fails, and
//! `client` holds the client's socket. Specification: RFC 9110, RFC 9112,
//! RFC 9209.
//!
//! Against RFC 9110, no `Via` is added to what is forwarded: it would tell
//! servers that a mesh is used, and by whom.

mod client;
mod forward;
mod headers;
mod page;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::http::uri::Scheme;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::sleep;

use self::client::{ClientIo, Watch};
use self::forward::{Body, Server, Upstream};
use self::page::Page;
use super::Tunnel;
use super::listener::Shared;
use super::stats::Counted;
use super::target::{Target, parse_host};
use crate::pipe::{Early, pipe};

/// How long a client may take to send the head of a request, and how long it
/// may keep an idle connection (guess: browsers close theirs after a minute or
/// two themselves).
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How long an answer may stay silent once the client has ended its half of
/// the connection (guess). Most clients that do so are gone; the rest wait for
/// an answer that is already on its way.
const HALF_CLOSED_TIME: Duration = Duration::from_secs(60);

/// Bytes buffered for a connection in one direction, and so the largest head
/// of a request or an answer (guess: cookies of large sites stay under 64 KiB).
const MAX_BUFFER: usize = 128 * 1024;

/// Port of an `http:` address that names none.
const HTTP_PORT: u16 = 80;

/// Speaks HTTP on a client's connection until it has ended, tunnels included.
pub(super) async fn serve(socket: TcpStream, shared: Arc<Shared>) {
    let (io, watch) = ClientIo::new(socket);
    let client = Arc::new(Client {
        shared: Arc::clone(&shared),
        watch: Arc::clone(&watch),
        upstream: tokio::sync::Mutex::new(None),
        tunnel: Mutex::new(None),
    });
    let service = {
        let client = Arc::clone(&client);
        service_fn(move |request| {
            let client = Arc::clone(&client);
            async move { Ok::<_, Infallible>(client.answer(request).await) }
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .half_close(true)
        .preserve_header_case(true)
        .auto_date_header(false)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut draining = pin!(shared.draining.cancelled());
    let mut asked_to_stop = false;
    let mut written = 0;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(kind = %kind_of(&error), "HTTP client's connection ended");
                }
                break;
            }
            () = draining.as_mut(), if !asked_to_stop => {
                asked_to_stop = true;
                connection.as_mut().graceful_shutdown();
            }
            () = sleep(HALF_CLOSED_TIME) => {
                let now = watch.written();
                if watch.half_closed() && now == written {
                    return;
                }
                written = now;
            }
        }
    }
    let pending = client
        .tunnel
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(tunnel) = pending {
        tunnel.run(&shared).await;
    }
}

/// What went wrong, in words that hold no address.
fn kind_of(error: &hyper::Error) -> &'static str {
    if error.is_parse() {
        "malformed request"
    } else if error.is_timeout() {
        "timeout"
    } else if error.is_incomplete_message() {
        "client left"
    } else if error.is_user() {
        "server's answer broke off"
    } else {
        "input or output"
    }
}

/// One client's connection.
struct Client {
    shared: Arc<Shared>,
    watch: Arc<Watch>,
    /// The connection to the server of the last plain request, for the next
    /// one: at most one a client, so that nothing grows.
    upstream: tokio::sync::Mutex<Option<Upstream>>,
    /// Set when the connection is to become a tunnel once the answer is out.
    tunnel: Mutex<Option<PendingTunnel>>,
}

impl Client {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let page = Page::for_request(&request);
        let answered = if request.method() == Method::CONNECT {
            self.connect(request).await
        } else {
            self.plain(request).await
        };
        answered.unwrap_or_else(|problem| page.write(&problem))
    }

    async fn connect(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Problem> {
        let target = connect_target(&request)?;
        let isolation = headers::isolation(request.headers());
        let (tunnel, counted) = self.shared.open(target, isolation).await?;
        let client = hyper::upgrade::on(&mut request);
        self.leave(PendingTunnel {
            client,
            far: Far::Flow(tunnel),
            _counted: Arc::new(counted),
        });
        Ok(Response::new(Body::empty()))
    }

    async fn plain(&self, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
        let target = plain_target(&request)?;
        let isolation = headers::isolation(request.headers());
        let server = Server { target, isolation };
        let mut upstream = self.upstream.lock().await;
        forward::forward(self, &mut upstream, server, request).await
    }

    /// Makes the connection a tunnel once the present answer is out.
    fn leave(&self, tunnel: PendingTunnel) {
        *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
    }
}

/// Why a request gets a page instead of an answer.
enum Problem {
    /// The request is not one for a proxy.
    Request(StatusCode, &'static str),
    /// The flow could not be opened.
    Flow(super::failure::Failure),
    /// The server broke its connection off, or does not speak HTTP.
    Server(&'static str),
}

impl From<super::failure::Failure> for Problem {
    fn from(failure: super::failure::Failure) -> Self {
        Self::Flow(failure)
    }
}

const ORIGIN_FORM: &str = "This is an HTTP proxy, not a web server. Set it as HTTP proxy in your \
    program, for http and https addresses (curl: --proxy http://HOST:PORT).";

const WANTS_CONNECT: &str = "A proxy carries https addresses by CONNECT only; it cannot make \
    encrypted requests on your behalf. Set this address as HTTPS proxy of your program as well.";

fn bad(sentence: &'static str) -> Problem {
    Problem::Request(StatusCode::BAD_REQUEST, sentence)
}

fn connect_target(request: &Request<Incoming>) -> Result<Target, Problem> {
    let no_port = "CONNECT needs a host and a port, as in CONNECT example.org:443.";
    let authority = request.uri().authority().ok_or_else(|| bad(no_port))?;
    let port = authority
        .port_u16()
        .filter(|port| *port != 0)
        .ok_or_else(|| bad(no_port))?;
    let host = parse_host(authority.host())
        .map_err(|_| bad("The destination is not a host name or address."))?;
    Ok(Target { host, port })
}

fn plain_target(request: &Request<Incoming>) -> Result<Target, Problem> {
    let uri = request.uri();
    let scheme = uri.scheme().ok_or_else(|| bad(ORIGIN_FORM))?;
    if *scheme == Scheme::HTTPS {
        return Err(bad(WANTS_CONNECT));
    }
    if *scheme != Scheme::HTTP {
        return Err(bad("This proxy carries http and https addresses only."));
    }
    let host = uri.host().and_then(|host| parse_host(host).ok());
    let host = host.ok_or_else(|| bad("The address names no host."))?;
    let port = uri.port_u16().unwrap_or(HTTP_PORT);
    if port == 0 {
        Err(bad("Port 0 cannot be connected to."))
    } else {
        Ok(Target { host, port })
    }
}

/// A connection that becomes a tunnel.
struct PendingTunnel {
    client: OnUpgrade,
    far: Far,
    _counted: Arc<Counted>,
}

/// The far side of a tunnel.
enum Far {
    /// A flow, for CONNECT.
    Flow(Tunnel),
    /// A server that switched protocols, for upgrades.
    Upgraded(OnUpgrade),
}

impl PendingTunnel {
    async fn run(self, shared: &Shared) {
        let Ok(client) = self.client.await else {
            return;
        };
        let Ok(client) = client.downcast::<TokioIo<ClientIo>>() else {
            return;
        };
        let (flow, to_socket) = match self.far {
            Far::Flow(flow) => (flow, Bytes::new()),
            Far::Upgraded(upgrade) => match forward::into_flow(upgrade).await {
                Some(parts) => parts,
                None => return,
            },
        };
        let socket = client.io.into_inner().into_socket();
        let early = Early {
            to_flow: client.read_buf,
            to_socket,
        };
        let end = pipe(
            socket,
            flow,
            early,
            shared.pipe_limits,
            &shared.stats.traffic,
        )
        .await;
        tracing::trace!(?end, "flow ended");
    }
}
