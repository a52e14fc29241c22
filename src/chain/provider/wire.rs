//! What endpoints send, as JSON has it. Everything is optional that is missing somewhere.

use alloy_primitives::{Address, B256, Bytes, U64, U128, U256};
use serde::Deserialize;
use serde_json::{Value, json};

use super::rpc::{Rpc, RpcError};

/// A block's header, as far as it is needed. Asked for with hashes only: full blocks can hold
/// transactions of kinds that nobody here knows.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Header {
    pub number: U64,
    pub hash: B256,
    pub base_fee_per_gas: Option<U128>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawReceipt {
    pub transaction_hash: B256,
    pub block_number: U64,
    pub block_hash: B256,
    pub status: U64,
    pub logs: Vec<LogEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogEntry {
    pub address: Address,
    pub topics: Vec<B256>,
    pub data: Bytes,
    pub block_number: U64,
    pub block_hash: B256,
    pub transaction_hash: B256,
    pub log_index: U64,
    #[serde(default)]
    pub removed: bool,
}

pub(super) fn hex(number: u64) -> Value {
    json!(format!("{number:#x}"))
}

impl Rpc {
    pub(super) async fn chain_id(&self) -> Result<u64, RpcError> {
        let id: U64 = self.call("eth_chainId", json!([])).await?;
        Ok(id.to())
    }

    /// The header of a block by number or tag; nothing when there is no such block.
    pub(super) async fn header(&self, block: Value) -> Result<Option<Header>, RpcError> {
        self.call("eth_getBlockByNumber", json!([block, false]))
            .await
    }

    /// The header of a tag that always exists.
    pub(super) async fn tagged(&self, tag: &str) -> Result<Header, RpcError> {
        self.header(json!(tag)).await?.ok_or(RpcError::Garbled)
    }

    /// The hash of a block; nothing when there is no such block.
    pub(super) async fn hash_at(&self, number: u64) -> Result<Option<B256>, RpcError> {
        let header = self.header(hex(number)).await?;
        let right = header.filter(|header| header.number.to::<u64>() == number);
        Ok(right.map(|header| header.hash))
    }

    pub(super) async fn nonce(&self, wallet: Address, block: Value) -> Result<u64, RpcError> {
        let nonce: U64 = self
            .call("eth_getTransactionCount", json!([wallet, block]))
            .await?;
        Ok(nonce.to())
    }

    /// The wallet's coins. More than 128 bits are taken for that.
    pub(super) async fn coins(&self, wallet: Address) -> Result<u128, RpcError> {
        let coins: U256 = self
            .call("eth_getBalance", json!([wallet, "latest"]))
            .await?;
        Ok(coins.saturating_to())
    }

    /// What a contract answers to a call.
    pub(super) async fn view(&self, to: Address, data: Bytes) -> Result<Bytes, RpcError> {
        let call = json!({ "to": to, "data": data });
        self.call("eth_call", json!([call, "latest"])).await
    }

    /// The number that a contract answers with, or the most that 128 bits hold.
    pub(super) async fn view_number(&self, to: Address, data: Bytes) -> Result<u128, RpcError> {
        let answer = self.view(to, data).await?;
        if answer.len() < 32 {
            return Err(RpcError::Garbled);
        }
        Ok(U256::from_be_slice(&answer[..32]).saturating_to())
    }
}
