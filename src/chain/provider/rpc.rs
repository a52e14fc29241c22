//! One endpoint: JSON-RPC over HTTP, each call with a time limit and a bound on the answer.
//!
//! Nothing is retried here, and no URL is ever shown: providers put keys into them.

use std::fmt;
use std::time::Duration;

use alloy::transports::http::reqwest::{Client, Proxy, Url, redirect::Policy};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// How long one call may take, connecting included. A guess: through the mesh it is a second or two.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// Most bytes of an answer. A page of 10,000 logs has some 8 MB.
const MAX_ANSWER: usize = 16 << 20;
/// Most characters of an endpoint's own words that are kept.
const MAX_WORDS: usize = 200;

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RpcError {
    /// No answer, or not all of it, in time. Whether the call had an effect is not known.
    #[error("the endpoint does not answer")]
    Silent,
    /// Nobody could be reached. The call had no effect.
    #[error("the endpoint can't be reached")]
    Unreachable,
    /// An HTTP error.
    #[error("the endpoint answers with HTTP status {0}")]
    Status(u16),
    /// The answer is larger than is read.
    #[error("the endpoint's answer is too large")]
    TooLarge,
    /// The answer is not what the protocol says.
    #[error("the endpoint's answer can't be read")]
    Garbled,
    /// The endpoint's own error.
    #[error("the endpoint says: {message} ({code})")]
    Refused {
        /// Its code.
        code: i64,
        /// Its words, cut.
        message: String,
    },
}

/// Why an address is no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It is no URL.
    #[error("the address of the blockchain service is no http or https URL")]
    Url,
    /// The proxy's address is no URL.
    #[error("the address of the proxy for blockchain services is no http URL")]
    Proxy,
    /// There are none, or too many.
    #[error(
        "give one to {} addresses of blockchain services",
        super::MAX_ENDPOINTS
    )]
    Number,
    /// One is given twice: it would be asked for a second opinion on itself.
    #[error("an address of a blockchain service is given twice")]
    Twice,
    /// The TLS library does not start.
    #[error("the TLS library for blockchain services does not start")]
    Tls,
}

/// A connection to an endpoint.
#[derive(Clone)]
pub(super) struct Rpc {
    client: Client,
    url: Url,
}

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rpc").finish_non_exhaustive()
    }
}

impl Rpc {
    /// A client for all endpoints. With `proxy` every call goes through it, names included; without
    /// one, what the environment says about proxies is not looked at.
    pub(super) fn client(proxy: Option<&str>) -> Result<Client, EndpointError> {
        let builder = Client::builder()
            .timeout(CALL_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(Policy::none())
            .no_proxy();
        let builder = match proxy {
            None => builder,
            Some(proxy) => {
                let url = Url::parse(proxy).map_err(|_| EndpointError::Proxy)?;
                if url.scheme() != "http" {
                    return Err(EndpointError::Proxy);
                }
                builder.proxy(Proxy::all(url).map_err(|_| EndpointError::Proxy)?)
            }
        };
        builder.build().map_err(|_| EndpointError::Tls)
    }

    pub(super) fn new(client: Client, url: &str) -> Result<Self, EndpointError> {
        let url = parse(url)?;
        Ok(Self { client, url })
    }

    /// Whether it is the same endpoint.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.url == other.url
    }

    /// One call.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Value,
    ) -> Result<T, RpcError> {
        self.call_within(method, params, MAX_ANSWER).await
    }

    /// One call whose answer may have `most` bytes.
    pub(super) async fn call_within<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Value,
        most: usize,
    ) -> Result<T, RpcError> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let request = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/json")
            .body(body.to_string());
        let mut response = request.send().await.map_err(|error| {
            if error.is_connect() {
                RpcError::Unreachable
            } else {
                RpcError::Silent
            }
        })?;
        let status = response.status();
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|_| RpcError::Silent)? {
            if answer.len() + chunk.len() > most {
                return Err(RpcError::TooLarge);
            }
            answer.extend_from_slice(&chunk);
        }
        // Some endpoints send their JSON-RPC errors with an HTTP error.
        match read(&answer) {
            Err(RpcError::Garbled) if !status.is_success() => {
                Err(RpcError::Status(status.as_u16()))
            }
            other => other,
        }
    }
}

/// Reads an answer.
fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, RpcError> {
    let mut answer: Value = serde_json::from_slice(answer).map_err(|_| RpcError::Garbled)?;
    if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
        let message = error.get("message").and_then(Value::as_str).unwrap_or("");
        let shown = |c: &char| !c.is_control();
        return Err(RpcError::Refused {
            code: error.get("code").and_then(Value::as_i64).unwrap_or(0),
            message: message.chars().filter(shown).take(MAX_WORDS).collect(),
        });
    }
    let result = answer.get_mut("result").map(Value::take);
    let result = result.ok_or(RpcError::Garbled)?;
    serde_json::from_value(result).map_err(|_| RpcError::Garbled)
}

fn parse(url: &str) -> Result<Url, EndpointError> {
    let url = Url::parse(url).map_err(|_| EndpointError::Url)?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(EndpointError::Url);
    }
    Ok(url)
}

/// Whether a text can be the URL of an endpoint. Nothing is asked of it.
///
/// # Errors
/// [`EndpointError::Url`].
pub fn check_url(url: &str) -> Result<(), EndpointError> {
    parse(url).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_or_named() {
        assert_eq!(read::<u64>(br#"{"result":5}"#), Ok(5));
        assert_eq!(read::<Option<u64>>(br#"{"result":null}"#), Ok(None));
        let refused = read::<u64>(br#"{"error":{"code":-32000,"message":"nonce\n too low"}}"#);
        let message = "nonce too low".to_owned();
        let code = -32_000;
        assert_eq!(refused, Err(RpcError::Refused { code, message }));
        assert_eq!(read::<u64>(b"<html>"), Err(RpcError::Garbled));
        assert_eq!(read::<u64>(br#"{"result":"x"}"#), Err(RpcError::Garbled));
        assert_eq!(read::<u64>(br#"{"id":1}"#), Err(RpcError::Garbled));
    }

    #[test]
    fn addresses_that_are_none_are_refused_and_never_shown() {
        let client = Rpc::client(None).unwrap();
        for url in ["", "ftp://x", "http://", "nonsense", "file:///etc/passwd"] {
            assert!(Rpc::new(client.clone(), url).is_err(), "{url}");
        }
        let rpc = Rpc::new(client, "https://host.example/v3/secret").unwrap();
        assert!(!format!("{rpc:?}").contains("secret"));
        assert!(Rpc::client(Some("http://127.0.0.1:1")).is_ok());
        assert!(Rpc::client(Some("127.0.0.1:1")).is_err());
    }
}
