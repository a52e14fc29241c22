//! A small HTTP client that fetches directly, through a SOCKS5 proxy or
//! through an HTTP proxy, measures, and hashes what arrives. SOCKS5 is spelled
//! out byte by byte here, apart from the code under test, so that both cannot
//! be wrong in the same way.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, combinators::BoxBody};
use hyper::client::conn::http1;
use hyper::{HeaderMap, Method, Request, Uri, header};
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Body bytes kept for looking at; the rest is only hashed. Enough for any
/// page and error text here.
const MAX_KEPT: usize = 64 * 1024;
/// Longest head of an answer to CONNECT, in bytes; guess, real ones are short.
const MAX_CONNECT_HEAD: usize = 16 * 1024;

/// The way a request takes to its server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Via {
    /// Straight, for comparison.
    Direct,
    /// SOCKS5, the name resolved at the exit.
    Socks5 {
        /// The proxy.
        proxy: SocketAddr,
        /// User and password, which isolate.
        auth: Option<(String, String)>,
    },
    /// HTTP proxy with the whole URL in the request line.
    HttpPlain(SocketAddr),
    /// HTTP proxy with CONNECT.
    HttpConnect(SocketAddr),
}

impl Via {
    /// SOCKS5 without user and password.
    #[must_use]
    pub fn socks5(proxy: SocketAddr) -> Self {
        Self::Socks5 { proxy, auth: None }
    }

    /// Short name for reports.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Socks5 { auth: None, .. } => "SOCKS5",
            Self::Socks5 { auth: Some(_), .. } => "SOCKS5 with user",
            Self::HttpPlain(_) => "HTTP proxy",
            Self::HttpConnect(_) => "HTTP proxy, CONNECT",
        }
    }
}

/// Why a fetch failed, as far as the client can know.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The URL is not `http://host[:port]/…`.
    #[error("not a URL this client fetches: {0}")]
    Url(String),
    /// Nothing listens there, or the connection broke.
    #[error("{what}: {source}")]
    Io {
        /// What was under way.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The SOCKS proxy refused with this reply code (RFC 1928).
    #[error("SOCKS5 reply {code} ({})", socks_reply(*code))]
    Socks {
        /// The reply code.
        code: u8,
    },
    /// The SOCKS proxy broke the protocol.
    #[error("not a SOCKS5 proxy: {0}")]
    NotSocks(&'static str),
    /// The HTTP proxy answered CONNECT with this status.
    #[error("CONNECT answered with status {status}")]
    Connect {
        /// The HTTP status.
        status: u16,
    },
    /// HTTP itself failed.
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// The time allowed ran out.
    #[error("not done within {0:?}")]
    TooSlow(Duration),
}

/// Meaning of a SOCKS5 reply code (RFC 1928 section 6).
fn socks_reply(code: u8) -> &'static str {
    match code {
        1 => "general failure",
        2 => "not allowed by policy",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "timed out",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "unassigned",
    }
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> FetchError {
    move |source| FetchError::Io { what, source }
}

/// What came back.
#[derive(Debug)]
pub struct Fetched {
    /// HTTP status.
    pub status: u16,
    /// Headers of the response.
    pub headers: HeaderMap,
    /// Length of the body in bytes.
    pub len: u64,
    /// SHA-256 of the body.
    pub sha256: [u8; 32],
    /// The first 64 KiB of the body.
    pub body: Vec<u8>,
    /// From the start of connecting to the first byte of the response.
    pub first_byte: Duration,
    /// From the start of connecting to the last byte.
    pub total: Duration,
}

/// Fetches `url` by GET within `limit`.
///
/// # Errors
/// When no complete response arrived; a response with an error status is not
/// an error here.
pub async fn get(via: &Via, url: &str, limit: Duration) -> Result<Fetched, FetchError> {
    bounded(limit, request(via, url, Method::GET, None)).await
}

/// Sends `body` to `url` by POST within `limit`.
///
/// # Errors
/// As [`get`].
pub async fn post(
    via: &Via,
    url: &str,
    body: Bytes,
    limit: Duration,
) -> Result<Fetched, FetchError> {
    bounded(limit, request(via, url, Method::POST, Some(body))).await
}

/// Opens a raw TCP connection to `host:port` by the given way, within `limit`.
///
/// # Errors
/// When the proxy or the server refuses, or the time runs out.
/// [`Via::HttpPlain`] carries requests only and counts as CONNECT here.
pub async fn tunnel(
    via: &Via,
    host: &str,
    port: u16,
    limit: Duration,
) -> Result<TcpStream, FetchError> {
    bounded(limit, open(via, host, port)).await
}

async fn bounded<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, FetchError>>,
) -> Result<T, FetchError> {
    tokio::time::timeout(limit, work)
        .await
        .map_err(|_| FetchError::TooSlow(limit))?
}

async fn open(via: &Via, host: &str, port: u16) -> Result<TcpStream, FetchError> {
    match via {
        Via::Direct => {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            connect((bare, port), "connecting to the server").await
        }
        Via::Socks5 { proxy, auth } => {
            let mut stream = connect(proxy, "connecting to the SOCKS proxy").await?;
            let auth = auth
                .as_ref()
                .map(|(user, password)| (user.as_str(), password.as_str()));
            socks5_connect(&mut stream, auth, host, port).await?;
            Ok(stream)
        }
        Via::HttpPlain(proxy) | Via::HttpConnect(proxy) => {
            let mut stream = connect(proxy, "connecting to the HTTP proxy").await?;
            http_connect(&mut stream, host, port).await?;
            Ok(stream)
        }
    }
}

async fn connect<A: tokio::net::ToSocketAddrs>(
    to: A,
    what: &'static str,
) -> Result<TcpStream, FetchError> {
    let stream = TcpStream::connect(to).await.map_err(io_error(what))?;
    stream.set_nodelay(true).map_err(io_error(what))?;
    Ok(stream)
}

async fn socks5_connect(
    stream: &mut TcpStream,
    auth: Option<(&str, &str)>,
    host: &str,
    port: u16,
) -> Result<(), FetchError> {
    let method = if auth.is_some() { 2 } else { 0 };
    let write = |what| io_error(what);
    stream
        .write_all(&[5, 1, method])
        .await
        .map_err(write("SOCKS greeting"))?;
    let mut chosen = [0; 2];
    stream
        .read_exact(&mut chosen)
        .await
        .map_err(write("SOCKS greeting"))?;
    if chosen != [5, method] {
        return Err(FetchError::NotSocks("unexpected choice of method"));
    }
    if let Some((user, password)) = auth {
        let mut hello = vec![1];
        for part in [user, password] {
            let len = u8::try_from(part.len())
                .map_err(|_| FetchError::NotSocks("user or password over 255 bytes"))?;
            hello.push(len);
            hello.extend_from_slice(part.as_bytes());
        }
        stream
            .write_all(&hello)
            .await
            .map_err(write("SOCKS authentication"))?;
        let mut answer = [0; 2];
        stream
            .read_exact(&mut answer)
            .await
            .map_err(write("SOCKS authentication"))?;
        if answer != [1, 0] {
            return Err(FetchError::NotSocks("user and password refused"));
        }
    }
    stream
        .write_all(&socks5_request(host, port)?)
        .await
        .map_err(write("SOCKS request"))?;
    let mut head = [0; 4];
    stream
        .read_exact(&mut head)
        .await
        .map_err(write("SOCKS reply"))?;
    if head[0] != 5 {
        return Err(FetchError::NotSocks("reply of another version"));
    }
    if head[1] != 0 {
        return Err(FetchError::Socks { code: head[1] });
    }
    let rest = match head[3] {
        1 => 4 + 2,
        4 => 16 + 2,
        3 => usize::from(stream.read_u8().await.map_err(write("SOCKS reply"))?) + 2,
        _ => return Err(FetchError::NotSocks("unknown address type in the reply")),
    };
    let mut bound = vec![0; rest];
    stream
        .read_exact(&mut bound)
        .await
        .map_err(write("SOCKS reply"))?;
    Ok(())
}

/// A CONNECT request of SOCKS5: literals as addresses, everything else as a
/// name.
fn socks5_request(host: &str, port: u16) -> Result<Vec<u8>, FetchError> {
    let mut request = vec![5, 1, 0];
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => {
            request.push(1);
            request.extend_from_slice(&ip.octets());
        }
        Ok(IpAddr::V6(ip)) => {
            request.push(4);
            request.extend_from_slice(&ip.octets());
        }
        Err(_) => {
            let len = u8::try_from(host.len())
                .map_err(|_| FetchError::Url("host name over 255 bytes".to_owned()))?;
            request.extend_from_slice(&[3, len]);
            request.extend_from_slice(host.as_bytes());
        }
    }
    request.extend_from_slice(&port.to_be_bytes());
    Ok(request)
}

async fn http_connect(stream: &mut TcpStream, host: &str, port: u16) -> Result<(), FetchError> {
    let head = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
    stream
        .write_all(head.as_bytes())
        .await
        .map_err(io_error("CONNECT"))?;
    let mut answer = Vec::new();
    // Byte by byte: what follows the head belongs to the tunnel.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() == MAX_CONNECT_HEAD {
            return Err(FetchError::Url("answer to CONNECT too long".to_owned()));
        }
        answer.push(
            stream
                .read_u8()
                .await
                .map_err(io_error("answer to CONNECT"))?,
        );
    }
    let line = String::from_utf8_lossy(&answer);
    let status = line
        .split_whitespace()
        .nth(1)
        .and_then(|s| s.parse().ok())
        .unwrap_or(0);
    if (200..300).contains(&status) {
        Ok(())
    } else {
        Err(FetchError::Connect { status })
    }
}

async fn request(
    via: &Via,
    url: &str,
    method: Method,
    body: Option<Bytes>,
) -> Result<Fetched, FetchError> {
    let uri: Uri = url.parse().map_err(|_| FetchError::Url(url.to_owned()))?;
    let host = uri.host().ok_or_else(|| FetchError::Url(url.to_owned()))?;
    let port = uri.port_u16().unwrap_or(80);
    let start = Instant::now();
    let stream = match via {
        Via::HttpPlain(proxy) => connect(proxy, "connecting to the HTTP proxy").await?,
        _ => open(via, host, port).await?,
    };
    let target = match via {
        Via::HttpPlain(_) => uri.to_string(),
        _ => uri
            .path_and_query()
            .map_or_else(|| "/".to_owned(), ToString::to_string),
    };
    let body: BoxBody<Bytes, std::convert::Infallible> = match body {
        Some(bytes) => Full::new(bytes).boxed(),
        None => Empty::new().boxed(),
    };
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header(header::HOST, format!("{host}:{port}"))
        .header(header::CONNECTION, "close")
        .body(body)
        .map_err(|_| FetchError::Url(url.to_owned()))?;

    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let result = exchange(&mut sender, request, start).await;
    drop(sender);
    driver.abort();
    result
}

async fn exchange(
    sender: &mut http1::SendRequest<BoxBody<Bytes, std::convert::Infallible>>,
    request: Request<BoxBody<Bytes, std::convert::Infallible>>,
    start: Instant,
) -> Result<Fetched, FetchError> {
    let response = sender.send_request(request).await?;
    let first_byte = start.elapsed();
    let (head, mut body) = response.into_parts();
    let mut hasher = Sha256::new();
    let mut kept = Vec::new();
    let mut len = 0_u64;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        len += data.len() as u64;
        hasher.update(&data);
        let room = MAX_KEPT - kept.len();
        kept.extend_from_slice(&data[..data.len().min(room)]);
    }
    Ok(Fetched {
        status: head.status.as_u16(),
        headers: head.headers,
        len,
        sha256: hasher.finalize().into(),
        body: kept,
        first_byte,
        total: start.elapsed(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_travel_as_addresses_and_names_as_names() {
        assert_eq!(
            socks5_request("127.0.0.1", 80).unwrap(),
            [5, 1, 0, 1, 127, 0, 0, 1, 0, 80]
        );
        let v6 = socks5_request("[::1]", 443).unwrap();
        assert_eq!((v6[3], v6.len()), (4, 4 + 16 + 2));
        assert_eq!(
            socks5_request("a.b", 258).unwrap(),
            [5, 1, 0, 3, 3, b'a', b'.', b'b', 1, 2]
        );
        assert!(socks5_request(&"x".repeat(256), 1).is_err());
    }

    #[tokio::test]
    async fn fetches_directly_and_hashes() {
        let web = crate::web::WebServer::on_loopback().await.unwrap();
        let url = format!("http://127.0.0.1:{}/bytes/200000", web.port());
        let got = get(&Via::Direct, &url, Duration::from_secs(10))
            .await
            .unwrap();
        assert_eq!((got.status, got.len), (200, 200_000));
        assert_eq!(got.sha256, crate::web::content::sha256(200_000));
        assert_eq!(
            got.headers
                .get("x-content-sha256")
                .unwrap()
                .to_str()
                .unwrap(),
            hex::encode(got.sha256)
        );
        assert_eq!(got.body.len(), MAX_KEPT);
    }

    #[tokio::test]
    async fn a_socks_refusal_keeps_its_code() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut s, _) = listener.accept().await.unwrap();
            let mut greeting = [0; 3];
            s.read_exact(&mut greeting).await.unwrap();
            s.write_all(&[5, 0]).await.unwrap();
            let mut request = [0; 10];
            s.read_exact(&mut request).await.unwrap();
            s.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
        });
        let via = Via::socks5(proxy);
        let error = get(&via, "http://127.0.0.1:9/", Duration::from_secs(10))
            .await
            .unwrap_err();
        assert!(matches!(error, FetchError::Socks { code: 5 }), "{error}");
        assert_eq!(error.to_string(), "SOCKS5 reply 5 (connection refused)");
    }
}
