//! Rule 8: whether an endpoint is what it should be.

use serde_json::json;

use super::super::chains::DECIMALS;
use super::rpc::{Rpc, RpcError};
use super::{ProviderConfig, calls};
use alloy_primitives::Bytes;

/// What the token says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its symbol, when it has a readable one. Shown, and not compared: test tokens have others.
    pub symbol: Option<String>,
}

/// What is wrong with an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It can't be asked.
    #[error("{0}")]
    Call(#[from] RpcError),
    /// It is on another chain.
    #[error(
        "the blockchain service is on chain {found}, the node is on chain {wanted}. Check the \
         service's address, or the chain in the configuration"
    )]
    WrongChain {
        /// The chain it is on.
        found: u64,
        /// The chain it should be on.
        wanted: u64,
    },
    /// There is no contract at the token's address.
    #[error(
        "there is no contract at the token's address on chain {chain}. Check the token's address, \
         or the chain in the configuration"
    )]
    NoToken {
        /// The chain.
        chain: u64,
    },
    /// The token counts in other units.
    #[error("the token has {found} decimals and not {DECIMALS}: it is another token")]
    Decimals {
        /// What it has.
        found: u128,
    },
}

impl Fault {
    /// Whether it goes away by waiting.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Call(_))
    }
}

pub(super) async fn check(rpc: &Rpc, config: &ProviderConfig) -> Result<TokenInfo, Fault> {
    let wanted = config.facts.id;
    let found = rpc.chain_id().await?;
    if found != wanted {
        return Err(Fault::WrongChain { found, wanted });
    }
    let code: Bytes = rpc
        .call("eth_getCode", json!([config.token, "latest"]))
        .await?;
    if code.is_empty() {
        return Err(Fault::NoToken { chain: found });
    }
    let found = rpc.view_number(config.token, calls::decimals()).await?;
    if found != u128::from(DECIMALS) {
        return Err(Fault::Decimals { found });
    }
    let symbol = rpc.view(config.token, calls::symbol()).await;
    Ok(TokenInfo {
        symbol: symbol.ok().and_then(|answer| calls::text(&answer)),
    })
}
