//! A client of the control API: what `masq` stands on, and `masq-testnet`, and
//! any local program in Rust.
//!
//! One connection per request; nothing is kept between them.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::TcpStream, time::timeout};
use zeroize::Zeroizing;

use super::{
    WalletsView, payments,
    types::{
        BanRequest, BanView, CircuitView, ConnectionStatus, DescriptorView, ErrorBody, Event,
        Financials, GraphView, Health, MoneyStatus, OrderView, PaymentOrder, PaymentsView,
        PrepayQuote, PrepayRequest, RouteRequest, RoutesView, ScanKind, ScanRequest, ScanView,
        Selection, SettingsChange, SettingsView, ShutdownRequest, ShutdownView, Status, TraceView,
    },
};
use crate::{
    datadir::{self, DataDirError},
    doctor::Report,
};

/// How long one request may take: a little longer than the daemon gives its
/// node, so that the daemon's own words arrive.
const REQUEST_TIME: Duration = Duration::from_secs(15);
/// Largest answer: a trace of a busy node takes a few megabytes (guess).
const MAX_ANSWER: usize = 32 << 20;
/// Longest line of an event stream (guess: an event is a few hundred bytes).
const MAX_EVENT: usize = 64 << 10;

/// Why the daemon did not answer as hoped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No daemon has announced itself in the folder.
    #[error("no daemon runs with the data folder {}", folder.display())]
    NotRunning {
        /// The folder.
        folder: PathBuf,
    },
    /// A daemon announced itself, but nobody answers there: it crashed, or is
    /// just stopping.
    #[error("the daemon does not answer on {address}: {source}")]
    Unreachable {
        /// Where it should listen.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The token was not accepted.
    #[error("the daemon on {address} does not accept the token")]
    WrongToken {
        /// Where it listens.
        address: SocketAddr,
    },
    /// The data folder can't be read.
    #[error(transparent)]
    Folder(#[from] DataDirError),
    /// The daemon refused, in its own words. Nothing was changed.
    #[error("{}", body.error)]
    Refused {
        /// HTTP status.
        status: u16,
        /// What it said.
        body: ErrorBody,
    },
    /// No answer in time. It is not known whether a change was made.
    #[error("the daemon on {address} did not answer within {} s", REQUEST_TIME.as_secs())]
    Timeout {
        /// Where it listens.
        address: SocketAddr,
    },
    /// The answer is none of this API. It is not known whether a change was
    /// made.
    #[error("{address} gives answers that are not masqd's: {what}")]
    Garbled {
        /// Who answered.
        address: SocketAddr,
        /// What is wrong with it.
        what: String,
    },
}

/// Talks to one daemon.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    token: Zeroizing<String>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// For a daemon that listens there and has that token.
    #[must_use]
    pub fn new(address: SocketAddr, token: impl Into<String>) -> Self {
        Self {
            address,
            token: Zeroizing::new(token.into()),
        }
    }

    /// For the daemon of a data folder. Blocks on two small files; connects to
    /// nothing yet.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotRunning`] when no daemon has announced itself,
    /// [`ClientError::Folder`] when the files can't be read.
    pub fn of_folder(folder: &Path) -> Result<Self, ClientError> {
        let not_running = || ClientError::NotRunning {
            folder: folder.to_owned(),
        };
        let control = datadir::read_control(folder)?.ok_or_else(not_running)?;
        let token = datadir::read_token(folder)?.ok_or_else(|| datadir::token_gone(folder))?;
        Ok(Self {
            address: control.address,
            token,
        })
    }

    /// Where the daemon listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether the daemon answers at all; needs no token.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]; so for all methods that follow.
    pub async fn health(&self) -> Result<Health, ClientError> {
        self.get("/healthz").await
    }

    /// How the node is; with addresses of neighbours if so asked.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn status(&self, addresses: bool) -> Result<Status, ClientError> {
        self.get(if addresses {
            "/v1/status?addresses=true"
        } else {
            "/v1/status"
        })
        .await
    }

    /// The node's descriptor.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn descriptor(&self) -> Result<DescriptorView, ClientError> {
        self.get("/v1/descriptor").await
    }

    /// How joining goes.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn connection_status(&self) -> Result<ConnectionStatus, ClientError> {
        self.get("/v1/connection-status").await
    }

    /// The neighbourhood.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn neighborhood_graph(&self) -> Result<GraphView, ClientError> {
        self.get("/v1/neighborhood-graph").await
    }

    /// Own circuits.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn circuits(&self) -> Result<Vec<CircuitView>, ClientError> {
        self.get("/v1/circuits").await
    }

    /// What is wrong with the node, and what to do. Takes some seconds.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn doctor(&self) -> Result<Report, ClientError> {
        self.get("/v1/doctor").await
    }

    /// What the node saw as a hop.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]; refused with 404 unless switched on.
    pub async fn trace(&self) -> Result<TraceView, ClientError> {
        self.get("/v1/trace").await
    }

    /// Settings that may change while it runs.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn settings(&self) -> Result<SettingsView, ClientError> {
        self.get("/v1/settings").await
    }

    /// Changes the hops of circuits built from now on: `"3"`, `"3-4"`.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn set_hops(&self, hops: &str) -> Result<SettingsView, ClientError> {
        let change = SettingsChange {
            hops: Some(hops.to_owned()),
        };
        self.ask(Method::PATCH, "/v1/settings", Some(&change)).await
    }

    /// Who is banned, the oldest ban first; with evidence if so asked.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn bans(&self, evidence: bool) -> Result<Vec<BanView>, ClientError> {
        self.get(if evidence {
            "/v1/bans?evidence=true"
        } else {
            "/v1/bans"
        })
        .await
    }

    /// Bans a node.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]; refused for a node that is unknown, the node itself, or banned already.
    pub async fn ban(&self, request: &BanRequest) -> Result<BanView, ClientError> {
        self.ask(Method::POST, "/v1/bans", Some(request)).await
    }

    /// Lifts the ban of a node, given its key or how that begins.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]; refused for a node that is not banned.
    pub async fn unban(&self, node: &str) -> Result<BanView, ClientError> {
        let path = format!("/v1/bans/{}", as_segment(node));
        self.ask(Method::DELETE, &path, None::<&()>).await
    }

    /// How it stands with payments, and by which terms.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]; refused with 404 when payments are off. So for all about money.
    pub async fn money(&self) -> Result<MoneyStatus, ClientError> {
        self.get("/v1/money").await
    }

    /// What is owed either way.
    ///
    /// # Errors
    ///
    /// See [`Client::money`].
    pub async fn financials(&self, selection: &Selection) -> Result<Financials, ClientError> {
        let path = format!("/v1/financials{}", payments::query_of(selection));
        self.get(&path).await
    }

    /// Payments under way, and the newest `done` final ones, at most 1,000.
    ///
    /// # Errors
    ///
    /// See [`Client::money`].
    pub async fn payments(&self, done: usize) -> Result<PaymentsView, ClientError> {
        self.get(&format!("/v1/payments?done={done}")).await
    }

    /// Orders something about payments.
    ///
    /// # Errors
    ///
    /// See [`Client::money`]; refused where the order makes no sense.
    pub async fn order_payments(&self, order: &PaymentOrder) -> Result<OrderView, ClientError> {
        self.ask(Method::POST, "/v1/payments", Some(order)).await
    }

    /// Looks at debts or at the chain now.
    ///
    /// # Errors
    ///
    /// See [`Client::money`].
    pub async fn scan(&self, what: ScanKind) -> Result<ScanView, ClientError> {
        self.ask(Method::POST, "/v1/scan", Some(&ScanRequest { what }))
            .await
    }

    /// Pays a hop in advance, or tells what that would come to.
    ///
    /// # Errors
    ///
    /// See [`Client::money`]; refused for a hop that is not known, and for what stands in the way.
    pub async fn prepay(&self, request: &PrepayRequest) -> Result<PrepayQuote, ClientError> {
        self.ask(Method::POST, "/v1/prepay", Some(request)).await
    }

    /// Routes that circuits to a destination could take now.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]; refused at a node that has no circuits of its own.
    pub async fn routes(&self, request: &RouteRequest) -> Result<RoutesView, ClientError> {
        self.ask(Method::POST, "/v1/routes", Some(request)).await
    }

    /// Stops the daemon; returns before it is down.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn shutdown(&self, now: bool) -> Result<ShutdownView, ClientError> {
        self.ask(Method::POST, "/v1/shutdown", Some(&ShutdownRequest { now }))
            .await
    }

    /// What happens from now on.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn events(&self) -> Result<EventStream, ClientError> {
        let response = self
            .in_time(self.send(Method::GET, "/v1/events", None))
            .await?;
        if response.status() != StatusCode::OK {
            return Err(self
                .in_time(self.refusal(response))
                .await
                .unwrap_or_else(|error| error));
        }
        Ok(EventStream {
            address: self.address,
            body: response.into_body(),
            buffer: BytesMut::new(),
        })
    }

    /// Which wallets the node has.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn wallets(&self) -> Result<WalletsView, ClientError> {
        self.get("/v1/wallets").await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, None::<&()>).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let body = body.map(|body| serde_json::to_vec(body).expect("plain data becomes JSON"));
        self.in_time(async {
            let response = self.send(method, path, body).await?;
            if response.status() != StatusCode::OK {
                return Err(self.refusal(response).await?);
            }
            let bytes = self.collect(response).await?;
            serde_json::from_slice(&bytes).map_err(|error| self.garbled(error))
        })
        .await
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        timeout(REQUEST_TIME, work)
            .await
            .unwrap_or(Err(ClientError::Timeout {
                address: self.address,
            }))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream =
            TcpStream::connect(self.address)
                .await
                .map_err(|source| ClientError::Unreachable {
                    address: self.address,
                    source,
                })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.garbled(error))?;
        // Ends with the sender and the answer's body; its errors show there.
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(
                header::AUTHORIZATION,
                format!("Bearer {}", self.token.as_str()),
            );
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| self.garbled(error))?;
        sender
            .send_request(request)
            .await
            .map_err(|error| self.garbled(error))
    }

    async fn collect(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map(|collected| collected.to_bytes())
            .map_err(|error| self.garbled(error))
    }

    /// What an answer other than 200 says.
    async fn refusal(&self, response: Response<Incoming>) -> Result<ClientError, ClientError> {
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED {
            return Ok(ClientError::WrongToken {
                address: self.address,
            });
        }
        let bytes = self.collect(response).await?;
        let body = serde_json::from_slice(&bytes)
            .map_err(|_| self.garbled(format!("status {status} without a reason")))?;
        Ok(ClientError::Refused {
            status: status.as_u16(),
            body,
        })
    }

    fn garbled(&self, what: impl std::fmt::Display) -> ClientError {
        ClientError::Garbled {
            address: self.address,
            what: what.to_string(),
        }
    }
}

/// Text as one segment of a path.
fn as_segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Events as they come.
#[derive(Debug)]
pub struct EventStream {
    address: SocketAddr,
    body: Incoming,
    buffer: BytesMut,
}

impl EventStream {
    /// The next event; `None` when the daemon has stopped. Cancel-safe.
    /// Events of kinds that this version does not know are passed over.
    ///
    /// # Errors
    ///
    /// [`ClientError::Garbled`] when the stream breaks off or makes no sense.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            while let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line = self.buffer.split_to(end);
                self.buffer.advance(1);
                // Every event of ours is one `data:` line.
                if let Some(json) = line.strip_prefix(b"data:")
                    && let Ok(event) = serde_json::from_slice(json)
                {
                    return Ok(Some(event));
                }
            }
            if self.buffer.len() > MAX_EVENT {
                return Err(self.garbled("an event without an end"));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(self.garbled(error)),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
            }
        }
    }

    fn garbled(&self, what: impl std::fmt::Display) -> ClientError {
        ClientError::Garbled {
            address: self.address,
            what: what.to_string(),
        }
    }
}
