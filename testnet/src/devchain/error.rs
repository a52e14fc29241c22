//! What a JSON-RPC answer says when it is not a result, in the words of the nodes that
//! settlement meets (geth's, where the standard is silent), and what starting a chain can fail at.

use std::fmt;
use std::net::SocketAddr;

use alloy::primitives::{Address, Bytes, U256};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Why a chain did not start, or a contract was not deployed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevChainError {
    /// The configuration contradicts itself.
    #[error("the development chain cannot be set up like that: {0}")]
    Config(&'static str),
    /// The address to listen on is taken, or not this machine's.
    #[error("cannot listen on {addr} for the development chain: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Anvil did not start.
    #[error(
        "cannot start anvil ({}): {reason}; name the program by MASQ_ANVIL, or use --chain dev",
        path.display()
    )]
    Anvil {
        /// The program.
        path: std::path::PathBuf,
        /// What happened.
        reason: String,
    },
    /// The chain answered with an error, or not at all.
    #[error("{what}: {reason}")]
    Chain {
        /// What was attempted, as a phrase: "cannot deploy the token".
        what: &'static str,
        /// What the chain or the connection said.
        reason: String,
    },
    /// A transaction was included and failed.
    #[error("{what}: the transaction failed on the chain")]
    Reverted {
        /// What was attempted, as a phrase.
        what: &'static str,
    },
    /// A compiled contract in this program cannot be read: a defect of the program.
    #[error("the compiled contract {name} cannot be read: {reason}")]
    Contract {
        /// Name of the contract.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// The error of a JSON-RPC answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RpcError {
    /// A number of the JSON-RPC standard or of EIP-1474.
    pub code: i64,
    /// A sentence.
    pub message: String,
    /// What a contract said when it reverted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.message, self.code)
    }
}

impl std::error::Error for RpcError {}

impl RpcError {
    /// An error with any code.
    #[must_use]
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// −32000: the request was understood and cannot be done.
    pub(super) fn server(message: impl Into<String>) -> Self {
        Self::new(-32_000, message)
    }

    /// −32602: parameters are missing or of the wrong kind.
    pub(super) fn params(message: impl Into<String>) -> Self {
        Self::new(-32_602, message)
    }

    /// −32600: not a JSON-RPC request.
    pub(super) fn request(message: impl Into<String>) -> Self {
        Self::new(-32_600, message)
    }

    /// −32700: not JSON.
    pub(super) fn parse(message: impl Into<String>) -> Self {
        Self::new(-32_700, message)
    }

    /// −32601.
    pub(super) fn no_method(method: &str) -> Self {
        // What a client sends is quoted only so far.
        let method: String = method.chars().take(64).collect();
        Self::new(
            -32_601,
            format!("the method {method} does not exist/is not available"),
        )
    }

    /// −32603: a defect of this program.
    pub(super) fn internal(message: impl fmt::Display) -> Self {
        Self::new(-32_603, message.to_string())
    }

    /// 3: a contract refused, with what it said.
    pub(super) fn reverted(output: &Bytes) -> Self {
        let reason = alloy::sol_types::decode_revert_reason(output);
        let message = match reason {
            Some(reason) if !reason.is_empty() => {
                format!(
                    "execution reverted: {}",
                    reason.trim_start_matches("revert: ")
                )
            }
            _ => "execution reverted".to_owned(),
        };
        Self {
            code: 3,
            message,
            data: Some(Value::String(output.to_string())),
        }
    }

    pub(super) fn already_known() -> Self {
        Self::server("already known")
    }

    pub(super) fn nonce_too_low(next: u64, nonce: u64) -> Self {
        Self::server(format!(
            "nonce too low: next nonce {next}, tx nonce {nonce}"
        ))
    }

    pub(super) fn underpriced_replacement() -> Self {
        Self::server("replacement transaction underpriced")
    }

    pub(super) fn underpriced(tip: u128, least: u128) -> Self {
        Self::server(format!(
            "transaction underpriced: gas tip cap {tip}, minimum needed {least}"
        ))
    }

    pub(super) fn insufficient_funds(balance: U256, queued: U256, cost: U256) -> Self {
        let queued_text = if queued.is_zero() {
            String::new()
        } else {
            format!(", queued cost {queued}")
        };
        let overshot = queued.saturating_add(cost).saturating_sub(balance);
        Self::server(format!(
            "insufficient funds for gas * price + value: balance {balance}{queued_text}, tx cost {cost}, overshot {overshot}"
        ))
    }

    pub(super) fn intrinsic_gas(gas: u64, needed: u64) -> Self {
        Self::server(format!(
            "intrinsic gas too low: gas {gas}, minimum needed {needed}"
        ))
    }

    pub(super) fn tip_above_fee(sender: Address, tip: u128, fee: u128) -> Self {
        Self::server(format!(
            "max priority fee per gas higher than max fee per gas: address {sender}, maxPriorityFeePerGas: {tip}, maxFeePerGas: {fee}"
        ))
    }

    pub(super) fn wrong_chain(have: u64, want: u64) -> Self {
        Self::server(format!(
            "invalid chain id for signer: have {have} want {want}"
        ))
    }

    pub(super) fn unknown_block() -> Self {
        Self::server("header not found")
    }

    /// geth's words for a state that it has pruned.
    pub(super) fn state_gone(number: u64) -> Self {
        Self::server(format!(
            "missing trie node: the state of block {number} is not available"
        ))
    }

    /// Code and words of geth for pruned history (EIP-4444).
    pub(super) fn history_gone() -> Self {
        Self::new(4_444, "pruned history unavailable")
    }
}
