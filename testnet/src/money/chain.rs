//! The chain that a mesh pays on: the development chain in this process, or anvil beside it.

use std::path::PathBuf;
use std::time::Duration;

use crate::devchain::deploy::Faucet;
use crate::devchain::{
    Anvil, AnvilConfig, DevChain, DevChainConfig, DevChainError, FAUCET_KEY, Handle,
};
use crate::error::TestnetError;

/// Environment variable that names the anvil program.
pub const ANVIL_VARIABLE: &str = "MASQ_ANVIL";
/// The anvil program where nothing else is said: looked for in the path.
pub const ANVIL: &str = "anvil";

/// Which chain a mesh pays on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Chain {
    /// None: nobody pays and nobody asks to be paid.
    #[default]
    None,
    /// The development chain, in this process.
    Dev,
    /// Anvil, a process of its own.
    Anvil(PathBuf),
}

impl Chain {
    /// Anvil as the environment names it, or else from the path.
    #[must_use]
    pub fn anvil() -> Self {
        let named = std::env::var_os(ANVIL_VARIABLE).filter(|name| !name.is_empty());
        Self::Anvil(named.map_or_else(|| PathBuf::from(ANVIL), PathBuf::from))
    }

    /// `none`, `dev` or `anvil`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Dev => "dev",
            Self::Anvil(_) => "anvil",
        }
    }
}

/// How a chain is started.
#[derive(Debug, Clone)]
pub struct ChainOptions {
    /// Port on 127.0.0.1; 0 for a free one.
    pub port: u16,
    /// Time between blocks; zero mines only when told to.
    pub block_time: Duration,
    /// Blocks that are not final yet; of the development chain only.
    pub finality: u64,
}

impl Default for ChainOptions {
    /// A free port, a block each second, the development chain's finality.
    fn default() -> Self {
        let chain = DevChainConfig::default();
        Self {
            port: 0,
            block_time: chain.block_time,
            finality: chain.finality,
        }
    }
}

/// A chain that runs.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunningChain {
    /// The development chain.
    Dev(DevChain),
    /// Anvil.
    Anvil(Anvil),
}

impl RunningChain {
    /// Starts the development chain.
    ///
    /// # Errors
    /// When its port cannot be listened on.
    pub async fn dev(options: &ChainOptions) -> Result<Self, TestnetError> {
        let defaults = DevChainConfig::default();
        let mut listen = defaults.listen;
        listen.set_port(options.port);
        let config = DevChainConfig {
            listen,
            block_time: options.block_time,
            finality: options.finality,
            states_kept: defaults.states_kept.max(options.finality),
            blocks_kept: defaults.blocks_kept.max(options.finality),
            ..defaults
        };
        let started = DevChain::start(config).await.map_err(|error| match error {
            DevChainError::Listen { addr, source } => TestnetError::Listen {
                what: "the development chain",
                addr,
                option: "--port",
                source,
            },
            error => error.into(),
        });
        started.map(Self::Dev)
    }

    /// Starts anvil.
    ///
    /// # Errors
    /// When it is not there, or does not start.
    pub async fn anvil(program: PathBuf, options: &ChainOptions) -> Result<Self, TestnetError> {
        if options.block_time.subsec_nanos() != 0 {
            let reason = "anvil takes whole seconds only; give --block-time a whole number";
            return Err(TestnetError::Options(reason.to_owned()));
        }
        let config = AnvilConfig {
            program,
            port: options.port,
            block_time: options.block_time,
        };
        Ok(Self::Anvil(Anvil::start(&config).await?))
    }

    /// Where the endpoint is, as `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::Dev(chain) => chain.url(),
            Self::Anvil(anvil) => anvil.url(),
        }
    }

    /// The controls of the development chain; anvil has none here.
    #[must_use]
    pub fn handle(&self) -> Option<Handle> {
        match self {
            Self::Dev(chain) => Some(chain.handle()),
            Self::Anvil(_) => None,
        }
    }

    /// Makes the contracts.
    ///
    /// # Errors
    /// As [`Faucet::deploy`].
    pub async fn deploy(&self) -> Result<Faucet, TestnetError> {
        Ok(Faucet::deploy(&self.url(), &FAUCET_KEY).await?)
    }

    /// Resolves when the chain ends by itself.
    pub async fn ended(&mut self) -> TestnetError {
        match self {
            // It lives in this process.
            Self::Dev(_) => std::future::pending().await,
            Self::Anvil(anvil) => TestnetError::ChainEnded {
                status: anvil.ended().await,
            },
        }
    }

    /// Ends the chain and waits for it.
    pub async fn stop(self) {
        match self {
            Self::Dev(chain) => chain.stop().await,
            Self::Anvil(anvil) => anvil.stop().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn anvil_that_is_not_there_is_named() {
        let missing = PathBuf::from("/nowhere/anvil");
        let error = RunningChain::anvil(missing, &ChainOptions::default())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("/nowhere/anvil"), "{error}");
    }

    #[tokio::test]
    async fn anvil_takes_no_half_seconds() {
        let options = ChainOptions {
            block_time: Duration::from_millis(500),
            ..ChainOptions::default()
        };
        let error = RunningChain::anvil(ANVIL.into(), &options).await;
        assert_eq!(error.unwrap_err().exit_code(), 64);
    }
}
