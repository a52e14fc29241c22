//! The payment engine's questions.

use std::collections::HashMap;

use alloy_primitives::{Address, B256, U128, U256};
use serde_json::json;

use super::super::engine::{Endpoint, Fees, Nonces, Question, Receipt, View};
use super::super::scanner::TRANSFER;
use super::rpc::{Rpc, RpcError};
use super::wire::{RawReceipt, hex};
use super::{Provider, ProviderConfig, calls};
use crate::ledger::Wei;

impl Provider {
    /// What one endpoint sees of `wallet`; nothing when none of them answers. May be dropped at any
    /// time: it only reads.
    pub async fn look(&self, wallet: Address, question: &Question) -> Option<View> {
        for at in self.in_turn(question.avoid) {
            let Some(rpc) = self.ready(at).await else {
                continue;
            };
            match look(rpc, &self.config, at as Endpoint, wallet, &question.hashes).await {
                Ok(view) => {
                    self.worked(at);
                    return Some(view);
                }
                Err(error) => self.failed(at, Some(error.into())),
            }
        }
        None
    }

    /// What transactions cost at present, by one endpoint; nothing when none of them answers.
    pub async fn fees(&self) -> Option<Fees> {
        for at in self.in_turn(None) {
            let Some(rpc) = self.ready(at).await else {
                continue;
            };
            match fees(rpc, &self.config).await {
                Ok((fees, _)) => return Some(fees),
                Err(error) => self.failed(at, Some(error.into())),
            }
        }
        None
    }
}

/// Reads in the order of [`View`]'s fields; each has to be known when the next is read.
async fn look(
    rpc: &Rpc,
    config: &ProviderConfig,
    endpoint: Endpoint,
    wallet: Address,
    hashes: &[B256],
) -> Result<View, RpcError> {
    let chain_id = rpc.chain_id().await?;
    let finalized = rpc.tagged("finalized").await?.number.to();
    // Endpoints without the state of older blocks refuse this one; the engine can do without it.
    let at_final = match rpc.nonce(wallet, hex(finalized)).await {
        Ok(nonce) => Some(nonce),
        Err(RpcError::Refused { .. }) => None,
        Err(error) => return Err(error),
    };
    let nonces = Nonces {
        finalized: at_final,
        latest: rpc.nonce(wallet, json!("latest")).await?,
        pending: rpc.nonce(wallet, json!("pending")).await?,
    };
    let receipts = receipts(rpc, config.token, wallet, hashes).await?;
    let token = rpc
        .view_number(config.token, calls::balance_of(wallet))
        .await?;
    let native = rpc.coins(wallet).await?;
    let allowance = match config.disperse {
        Some(disperse) => {
            let call = calls::allowance(wallet, disperse);
            rpc.view_number(config.token, call).await?
        }
        None => 0,
    };
    let (fees, head) = fees(rpc, config).await?;
    Ok(View {
        endpoint,
        chain_id,
        finalized,
        nonces,
        receipts,
        token,
        native,
        allowance,
        fees,
        head,
    })
}

/// The receipts there are, of blocks that are still in the chain.
async fn receipts(
    rpc: &Rpc,
    token: Address,
    wallet: Address,
    hashes: &[B256],
) -> Result<Vec<Receipt>, RpcError> {
    let mut found = Vec::new();
    let mut blocks: HashMap<u64, Option<B256>> = HashMap::new();
    for hash in hashes {
        let receipt: Option<RawReceipt> =
            rpc.call("eth_getTransactionReceipt", json!([hash])).await?;
        let Some(receipt) = receipt.filter(|receipt| receipt.transaction_hash == *hash) else {
            continue;
        };
        let block = receipt.block_number.to();
        let canonical = match blocks.get(&block) {
            Some(known) => *known,
            None => {
                let known = rpc.hash_at(block).await?;
                blocks.insert(block, known);
                known
            }
        };
        if canonical == Some(receipt.block_hash) {
            found.push(Receipt {
                hash: *hash,
                block,
                block_hash: receipt.block_hash,
                success: receipt.status.to::<u64>() == 1,
                transfers: transfers(token, wallet, &receipt),
            });
        }
    }
    Ok(found)
}

/// Transfers of the token from the wallet.
fn transfers(token: Address, wallet: Address, receipt: &RawReceipt) -> Vec<(Address, Wei)> {
    let logs = receipt
        .logs
        .iter()
        .filter(|log| log.address == token && !log.removed);
    logs.filter_map(|log| {
        let [topic, from, to] = log.topics.as_slice() else {
            return None;
        };
        let ours = *topic == TRANSFER && *from == wallet.into_word() && log.data.len() == 32;
        let amount = ours.then(|| U256::from_be_slice(&log.data))?;
        Some((Address::from_word(*to), amount.saturating_to()))
    })
    .collect()
}

/// The fees, and the number of the newest block.
async fn fees(rpc: &Rpc, config: &ProviderConfig) -> Result<(Fees, u64), RpcError> {
    // Not every endpoint has an opinion; the chain's floor holds anyway.
    let tip = match rpc
        .call::<U128>("eth_maxPriorityFeePerGas", json!([]))
        .await
    {
        Ok(tip) => tip.to(),
        Err(RpcError::Refused { .. }) => 0,
        Err(error) => return Err(error),
    };
    let data = if config.facts.charges_for_data {
        let fee = rpc.view_number(calls::DATA_PRICES, calls::data_fee()).await;
        fee.unwrap_or(0)
    } else {
        0
    };
    let head = rpc.tagged("latest").await?;
    let base = head.base_fee_per_gas.ok_or(RpcError::Garbled)?.to();
    let fees = Fees { base, tip, data };
    Ok((fees, head.number.to()))
}
