//! Blocks, transactions, receipts and logs as JSON-RPC shows them; the types are alloy's, so the
//! names and forms of all fields are those of the standard.

use alloy::consensus::transaction::TransactionInfo;
use alloy::consensus::{BlockHeader, Transaction as _};
use alloy::primitives::U256;
use alloy::rpc::types::{
    Block as RpcBlock, BlockTransactions, Header as RpcHeader, Log, Transaction, TransactionReceipt,
};
use serde::Serialize;
use serde_json::Value;

use super::reader::{Found, price_paid};
use crate::devchain::blocks::{Block, MinedTx, SignedTx};
use crate::devchain::error::RpcError;

/// Any answer.
pub(super) fn json(value: impl Serialize) -> Result<Value, RpcError> {
    serde_json::to_value(value).map_err(RpcError::internal)
}

/// A number.
pub(super) fn number(value: u64) -> Value {
    Value::String(format!("{value:#x}"))
}

/// A great number.
pub(super) fn quantity(value: U256) -> Value {
    Value::String(format!("{value:#x}"))
}

fn mined(block: &Block, index: usize, tx: &SignedTx) -> Transaction {
    Transaction::from_transaction(
        tx.as_ref().clone(),
        TransactionInfo {
            hash: Some(*tx.tx_hash()),
            index: Some(index as u64),
            block_hash: Some(block.hash),
            block_number: Some(block.header.number),
            base_fee: Some(block.base_fee()),
            block_timestamp: Some(block.header.timestamp),
        },
    )
}

fn waiting(tx: &SignedTx) -> Transaction {
    Transaction::from_transaction(tx.as_ref().clone(), TransactionInfo::default())
}

/// A transaction.
pub(super) fn transaction(found: &Found) -> Result<Value, RpcError> {
    match found {
        Found::Mined(block, index) => match block.txs.get(*index) {
            Some(tx) => json(mined(block, *index, &tx.tx)),
            None => Ok(Value::Null),
        },
        Found::Waiting(tx) => json(waiting(tx)),
    }
}

/// A block, with whole transactions or their hashes.
pub(super) fn block(block: &Block, full: bool) -> Result<Value, RpcError> {
    json(rpc_block(block, full, |index, tx| mined(block, index, tx)))
}

/// The block that would be next. It has neither hash nor miner, as at geth.
pub(super) fn pending_block(block: &Block, full: bool) -> Result<Value, RpcError> {
    let mut value = json(rpc_block(block, full, |_, tx| waiting(tx)))?;
    for field in ["hash", "nonce", "miner"] {
        if let Some(place) = value.get_mut(field) {
            *place = Value::Null;
        }
    }
    Ok(value)
}

fn rpc_block(
    block: &Block,
    full: bool,
    show: impl Fn(usize, &SignedTx) -> Transaction,
) -> RpcBlock {
    let txs = block.txs.iter();
    RpcBlock {
        header: RpcHeader {
            hash: block.hash,
            inner: block.header.clone(),
            total_difficulty: Some(block.header.difficulty()),
            size: Some(U256::from(size(block))),
        },
        uncles: Vec::new(),
        transactions: if full {
            let show = |(index, tx): (usize, &MinedTx)| show(index, &tx.tx);
            BlockTransactions::Full(txs.enumerate().map(show).collect())
        } else {
            BlockTransactions::Hashes(txs.map(MinedTx::hash).collect())
        },
        withdrawals: Some(Vec::new().into()),
    }
}

/// Bytes of a block as other nodes would get it.
fn size(block: &Block) -> usize {
    use alloy::eips::eip2718::Encodable2718;
    let txs: usize = block
        .txs
        .iter()
        .map(|tx| tx.tx.inner().encode_2718_len())
        .sum();
    let header = alloy::rlp::Encodable::length(&block.header);
    header.saturating_add(txs)
}

/// The logs of one transaction.
pub(super) fn logs<'a>(
    block: &'a Block,
    index: usize,
    tx: &'a MinedTx,
) -> impl Iterator<Item = Log> + 'a {
    tx.receipt
        .logs()
        .iter()
        .zip(0_u64..)
        .map(move |(log, n)| Log {
            inner: log.clone(),
            block_hash: Some(block.hash),
            block_number: Some(block.header.number),
            block_timestamp: Some(block.header.timestamp),
            transaction_hash: Some(tx.hash()),
            transaction_index: Some(index as u64),
            log_index: Some(tx.first_log.saturating_add(n)),
            removed: false,
        })
}

/// A receipt.
pub(super) fn receipt(block: &Block, index: usize, tx: &MinedTx) -> TransactionReceipt {
    let mut shown = logs(block, index, tx);
    TransactionReceipt {
        inner: tx.receipt.clone().map_logs(|log| {
            // There is one for each, in the same order.
            shown.next().unwrap_or(Log {
                inner: log,
                ..Log::default()
            })
        }),
        transaction_hash: tx.hash(),
        transaction_index: Some(index as u64),
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        gas_used: tx.gas_used,
        effective_gas_price: price_paid(block, tx),
        blob_gas_used: None,
        blob_gas_price: None,
        from: tx.tx.signer(),
        to: tx.tx.to(),
        contract_address: tx.contract,
    }
}
