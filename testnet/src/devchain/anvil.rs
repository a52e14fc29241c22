//! Anvil as another chain that the same things run on: a process of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::config::{CHAIN_ID, DevChainConfig};
use super::error::DevChainError;

/// Anvil has this long to say where it listens.
const START_WITHIN: Duration = Duration::from_secs(30);

/// How anvil is started. What it has in common with [`DevChainConfig`] is set alike.
#[derive(Debug, Clone)]
pub struct AnvilConfig {
    /// The program.
    pub program: PathBuf,
    /// Port on 127.0.0.1; zero for a free one.
    pub port: u16,
    /// Time between blocks, in whole seconds; zero mines on demand only.
    pub block_time: Duration,
}

impl AnvilConfig {
    /// Anvil on a free port, with blocks on demand only.
    #[must_use]
    pub fn on_demand(program: PathBuf) -> Self {
        Self {
            program,
            port: 0,
            block_time: Duration::ZERO,
        }
    }
}

/// A running anvil. Dropping it ends it.
#[derive(Debug)]
pub struct Anvil {
    addr: SocketAddr,
    child: Child,
}

impl Anvil {
    /// Starts anvil and waits until it listens.
    ///
    /// # Errors
    /// When it cannot be started, ends, or says nothing in time.
    pub async fn start(config: &AnvilConfig) -> Result<Self, DevChainError> {
        let failed = |reason: String| DevChainError::Anvil {
            path: config.program.clone(),
            reason,
        };
        let chain = DevChainConfig::default();
        let mut command = Command::new(&config.program);
        command
            .args(["--host", "127.0.0.1", "--port", &config.port.to_string()])
            .args(["--chain-id", &CHAIN_ID.to_string()])
            .args(["--base-fee", &chain.base_fee.to_string()])
            .args(["--gas-limit", &chain.gas_limit.to_string()])
            // A block of anvil is final after two epochs.
            .args(["--slots-in-an-epoch", &(chain.finality / 2).to_string()]);
        if config.block_time.is_zero() {
            command.arg("--no-mining");
        } else {
            let seconds = config.block_time.as_secs().max(1);
            command.args(["--block-time", &seconds.to_string()]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let out = child
            .stdout
            .take()
            .ok_or_else(|| failed("its output cannot be read".to_owned()))?;
        let mut lines = BufReader::new(out).lines();
        let port = tokio::time::timeout(START_WITHIN, port(&mut lines))
            .await
            .map_err(|_| failed(format!("it did not listen within {START_WITHIN:?}")))?
            .ok_or_else(|| failed("it ended before it listened; is the port taken?".to_owned()))?;
        // What it goes on to say is read and forgotten, or it would stop when the pipe is full.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self {
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            child,
        })
    }

    /// Where the endpoint is, as `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Resolves when anvil ends by itself, with what its status says.
    pub async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Ends anvil and waits for it.
    pub async fn stop(mut self) {
        // It may have ended by itself.
        let _ = self.child.kill().await;
    }
}

/// The port that anvil says it listens on; `None` when it ends first.
async fn port(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<u16> {
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(addr) = line.strip_prefix("Listening on ") {
            return addr.trim().parse::<SocketAddr>().ok().map(|a| a.port());
        }
    }
    None
}
