//! Talking to a node's control API: finds address and token in the node's data
//! folder and speaks the types of [`masq::control::types`]. One short
//! connection per question. Nothing here knows what a testnet is.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use masq::control::types::{
    CircuitView, ConnectionStatus, ControlFile, ErrorBody, GraphView, SettingsChange, SettingsView,
    ShutdownRequest, ShutdownView, Status, TraceView,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

use crate::error::TestnetError;

/// Files of the data folder that lead to the control API.
const ADDRESS_FILE: &str = "control.json";
const TOKEN_FILE: &str = "control.token";
/// How long one answer may take; a node that is slower is not well. Generous,
/// because many nodes share the machine.
const LIMIT: Duration = Duration::from_secs(10);
/// Longest answer read, in bytes. A full trace is the longest; guess.
const MAX_ANSWER: usize = 64 << 20;

/// The control API of one node.
#[derive(Debug, Clone)]
pub struct NodeClient {
    node: String,
    data_dir: PathBuf,
}

impl NodeClient {
    /// The API of the node called `node` with this data folder. Nothing is
    /// read before the first question, so the node may still be starting.
    #[must_use]
    pub fn new(node: impl Into<String>, data_dir: &Path) -> Self {
        Self {
            node: node.into(),
            data_dir: data_dir.to_owned(),
        }
    }

    /// `GET /v1/status`.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn status(&self) -> Result<Status, TestnetError> {
        self.get("/v1/status").await
    }

    /// `GET /v1/connection-status`.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn connection_status(&self) -> Result<ConnectionStatus, TestnetError> {
        self.get("/v1/connection-status").await
    }

    /// `GET /v1/neighborhood-graph`.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn graph(&self) -> Result<GraphView, TestnetError> {
        self.get("/v1/neighborhood-graph").await
    }

    /// `GET /v1/circuits`.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn circuits(&self) -> Result<Vec<CircuitView>, TestnetError> {
        self.get("/v1/circuits").await
    }

    /// `GET /v1/trace`.
    ///
    /// # Errors
    /// When the node does not answer or keeps no trace.
    pub async fn trace(&self) -> Result<TraceView, TestnetError> {
        self.get("/v1/trace").await
    }

    /// `PATCH /v1/settings`: hops of the circuits built from now on.
    ///
    /// # Errors
    /// When the node does not answer or refuses the number.
    pub async fn set_hops(&self, hops: &str) -> Result<SettingsView, TestnetError> {
        let change = SettingsChange {
            hops: Some(hops.to_owned()),
        };
        self.ask(Method::PATCH, "/v1/settings", Some(&change)).await
    }

    /// `POST /v1/payments`: no payment begins any more; those under way go on.
    ///
    /// # Errors
    /// When the node does not answer, or pays nobody.
    pub async fn pause_payments(&self) -> Result<(), TestnetError> {
        let order = serde_json::json!({ "order": "pause" });
        let done: serde_json::Value = self.ask(Method::POST, "/v1/payments", Some(&order)).await?;
        drop(done);
        Ok(())
    }

    /// `POST /v1/shutdown`.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn shutdown(&self, now: bool) -> Result<ShutdownView, TestnetError> {
        self.ask(Method::POST, "/v1/shutdown", Some(&ShutdownRequest { now }))
            .await
    }

    /// Name of the node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, TestnetError> {
        self.ask::<(), T>(Method::GET, path, None).await
    }

    async fn ask<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<T, TestnetError> {
        let body = body
            .map(serde_json::to_vec)
            .transpose()
            .map_err(|e| self.failed(&e))?;
        let work = self.exchange(method, path, body);
        let (status, answer) = tokio::time::timeout(LIMIT, work)
            .await
            .map_err(|_| self.failed(&format!("no answer within {} s", LIMIT.as_secs())))??;
        if (200..300).contains(&status) {
            return serde_json::from_slice(&answer)
                .map_err(|e| self.failed(&format!("{path}: unexpected answer: {e}")));
        }
        let reason = serde_json::from_slice::<ErrorBody>(&answer)
            .map_or_else(|_| String::from("no reason given"), |e| e.error);
        Err(self.failed(&format!("{path}: {status}: {reason}")))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(u16, Bytes), TestnetError> {
        let file: ControlFile = serde_json::from_slice(&self.file(ADDRESS_FILE)?)
            .map_err(|e| self.failed(&format!("{ADDRESS_FILE}: {e}")))?;
        let token = String::from_utf8_lossy(&self.file(TOKEN_FILE)?)
            .trim()
            .to_owned();
        let stream = TcpStream::connect(file.address)
            .await
            .map_err(|e| self.failed(&e))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| self.failed(&e))?;
        let driver = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, file.address.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONNECTION, "close");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|e| self.failed(&e))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|e| self.failed(&e))?;
        let status = response.status().as_u16();
        let answer = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|e| self.failed(&e))?
            .to_bytes();
        driver.abort();
        Ok((status, answer))
    }

    fn file(&self, name: &str) -> Result<Vec<u8>, TestnetError> {
        std::fs::read(self.data_dir.join(name)).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => self.failed(&"not up yet, or gone"),
            _ => self.failed(&format!("{name}: {e}")),
        })
    }

    fn failed(&self, reason: &dyn std::fmt::Display) -> TestnetError {
        TestnetError::Control {
            node: self.node.clone(),
            reason: reason.to_string(),
        }
    }
}
