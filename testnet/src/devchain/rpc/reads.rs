//! Everything that is asked of the chain and changes nothing.

use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::{Address, B256, U256};
use alloy::rpc::types::{Filter, TransactionRequest};
use alloy::sol_types::SolCall;
use serde_json::{Value, json};

use super::params::Params;
use super::reader::{At, Found, Reader};
use super::render::{self, number, quantity};
use super::{calls, logs};
use crate::devchain::chain::raw_bytes;
use crate::devchain::error::RpcError;
use crate::devchain::faults::Faults;
use crate::devchain::fees;

alloy::sol! {
    function balanceOf(address account) returns (uint256);
}

type Answer = Result<Value, RpcError>;

/// Answers a reading method; `None` when it is none.
pub(super) fn answer(
    reader: &Reader<'_>,
    faults: &Faults,
    method: &str,
    params: Params<'_>,
) -> Option<Answer> {
    let chain_id = faults.chain_id.unwrap_or(reader.chain.config.chain_id);
    Some(match method {
        "web3_clientVersion" => Ok(json!(concat!(
            "masq-devchain/v",
            env!("CARGO_PKG_VERSION"),
            "/revm"
        ))),
        "net_version" => Ok(json!(chain_id.to_string())),
        "net_listening" => Ok(json!(true)),
        "eth_chainId" => Ok(number(chain_id)),
        "eth_blockNumber" => Ok(number(reader.head)),
        "eth_syncing" => Ok(json!(false)),
        "eth_accounts" => Ok(json!([])),
        "eth_getBalance" => balance(reader, faults, params),
        "eth_getCode" => code(reader, params),
        "eth_getStorageAt" => storage(reader, params),
        "eth_getTransactionCount" => nonce(reader, params),
        "eth_call" => call(reader, faults, params),
        "eth_estimateGas" => estimate(reader, params),
        "eth_gasPrice" => Ok(gas_price(reader)),
        "eth_maxPriorityFeePerGas" => Ok(quantity(U256::from(tip(reader)))),
        "eth_feeHistory" => fee_history(reader, params),
        "eth_getTransactionByHash" => transaction(reader, params),
        "eth_getRawTransactionByHash" => raw_transaction(reader, params),
        "eth_getTransactionReceipt" => receipt(reader, params),
        "eth_getBlockByNumber" => block_by_number(reader, params),
        "eth_getBlockByHash" => block_by_hash(reader, params),
        "eth_getBlockReceipts" => block_receipts(reader, params),
        "eth_getLogs" => get_logs(reader, faults, params),
        "txpool_status" => Ok(pool_status(reader)),
        _ => return None,
    })
}

fn at(reader: &Reader<'_>, params: Params<'_>, index: usize) -> Result<At, RpcError> {
    reader.resolve(params.opt::<BlockId>(index, "block")?)
}

fn balance(reader: &Reader<'_>, faults: &Faults, params: Params<'_>) -> Answer {
    let address: Address = params.get(0, "address")?;
    if let Some(wei) = faults.balances.get(&address) {
        return Ok(quantity(*wei));
    }
    let at = at(reader, params, 1)?;
    reader.with_state(at, |view, _| quantity(view.balance(address)))
}

fn code(reader: &Reader<'_>, params: Params<'_>) -> Answer {
    let address: Address = params.get(0, "address")?;
    let at = at(reader, params, 1)?;
    reader.with_state(at, |view, _| {
        let code = view.info(address).map(|info| view.code(info.code_hash));
        json!(code.map(|code| code.original_bytes()).unwrap_or_default())
    })
}

fn storage(reader: &Reader<'_>, params: Params<'_>) -> Answer {
    let address: Address = params.get(0, "address")?;
    let slot: U256 = params.get(1, "slot")?;
    let at = at(reader, params, 2)?;
    reader.with_state(at, |view, _| json!(B256::from(view.slot(address, slot))))
}

fn nonce(reader: &Reader<'_>, params: Params<'_>) -> Answer {
    let address: Address = params.get(0, "address")?;
    let pending = BlockId::Number(BlockNumberOrTag::Pending);
    if params.opt::<BlockId>(1, "block")? == Some(pending) {
        return Ok(number(reader.pending_nonce(address)));
    }
    let at = at(reader, params, 1)?;
    reader.with_state(at, |view, _| number(view.nonce(address)))
}

fn call(reader: &Reader<'_>, faults: &Faults, params: Params<'_>) -> Answer {
    params.none_beyond(2, "overrides of state or block")?;
    let request: TransactionRequest = params.get(0, "transaction")?;
    let at = at(reader, params, 1)?;
    if !faults.token_balances.is_empty()
        && let Some(input) = request.input.input()
        && let Ok(asked) = balanceOfCall::abi_decode(input)
        && let Some(balance) = faults.token_balances.get(&asked.account)
    {
        return Ok(json!(B256::from(*balance)));
    }
    Ok(json!(calls::call(reader, &request, at)?))
}

fn estimate(reader: &Reader<'_>, params: Params<'_>) -> Answer {
    params.none_beyond(2, "overrides of state or block")?;
    let request: TransactionRequest = params.get(0, "transaction")?;
    let at = at(reader, params, 1)?;
    calls::estimate(reader, &request, at).map(number)
}

fn tip(reader: &Reader<'_>) -> u128 {
    let least = reader.chain.config.suggested_tip;
    fees::suggested_tip(reader.chain.blocks(), reader.head, least)
}

fn gas_price(reader: &Reader<'_>) -> Value {
    let base_fee = u128::from(reader.chain.next_base_fee());
    quantity(U256::from(tip(reader).saturating_add(base_fee)))
}

fn fee_history(reader: &Reader<'_>, params: Params<'_>) -> Answer {
    let count = params.number(0, "blockCount")?;
    let tag: BlockNumberOrTag = params.get(1, "newestBlock")?;
    let percentiles: Vec<f64> = params.opt(2, "rewardPercentiles")?.unwrap_or_default();
    let newest = match reader.at(tag) {
        At::Pending => reader.head,
        At::Mined(number) if number > reader.head => {
            return Err(RpcError::server(format!(
                "request beyond head block: requested {number}, head {}",
                reader.head
            )));
        }
        At::Mined(number) => number,
    };
    render::json(fees::history(reader.chain, count, newest, &percentiles)?)
}

fn transaction(reader: &Reader<'_>, params: Params<'_>) -> Answer {
    let hash: B256 = params.get(0, "hash")?;
    match reader.tx(hash) {
        Some(found) => render::transaction(&found),
        None => Ok(Value::Null),
    }
}

fn raw_transaction(reader: &Reader<'_>, params: Params<'_>) -> Answer {
    let hash: B256 = params.get(0, "hash")?;
    Ok(match reader.tx(hash) {
        Some(Found::Mined(block, index)) => {
            json!(block.txs.get(index).map(|tx| raw_bytes(&tx.tx)))
        }
        Some(Found::Waiting(tx)) => json!(raw_bytes(&tx)),
        None => Value::Null,
    })
}

fn receipt(reader: &Reader<'_>, params: Params<'_>) -> Answer {
    let hash: B256 = params.get(0, "hash")?;
    match reader.tx(hash) {
        Some(Found::Mined(block, index)) => render::json(
            block
                .txs
                .get(index)
                .map(|tx| render::receipt(&block, index, tx)),
        ),
        _ => Ok(Value::Null),
    }
}

fn block_by_number(reader: &Reader<'_>, params: Params<'_>) -> Answer {
    let tag: BlockNumberOrTag = params.get(0, "block")?;
    let full = params.opt(1, "full transactions")?.unwrap_or(false);
    match reader.at(tag) {
        At::Pending => render::pending_block(&reader.pending().block, full),
        At::Mined(number) => match reader.block(number)? {
            Some(block) => render::block(block, full),
            None => Ok(Value::Null),
        },
    }
}

fn block_by_hash(reader: &Reader<'_>, params: Params<'_>) -> Answer {
    let hash: B256 = params.get(0, "hash")?;
    let full = params.opt(1, "full transactions")?.unwrap_or(false);
    match reader.by_hash(hash) {
        Some(block) => render::block(block, full),
        None => Ok(Value::Null),
    }
}

fn block_receipts(reader: &Reader<'_>, params: Params<'_>) -> Answer {
    let at = match params.get::<BlockId>(0, "block")? {
        BlockId::Hash(hash) => match reader.by_hash(hash.block_hash) {
            Some(block) => At::Mined(block.header.number),
            None => return Ok(Value::Null),
        },
        BlockId::Number(tag) => reader.at(tag),
    };
    let At::Mined(number) = at else {
        return Ok(Value::Null);
    };
    render::json(reader.block(number)?.map(|block| {
        let txs = block.txs.iter().enumerate();
        txs.map(|(index, tx)| render::receipt(block, index, tx))
            .collect::<Vec<_>>()
    }))
}

fn get_logs(reader: &Reader<'_>, faults: &Faults, params: Params<'_>) -> Answer {
    let filter: Filter = params.get(0, "filter")?;
    render::json(logs::find(reader, &filter, faults.log_range, faults.logs)?)
}

fn pool_status(reader: &Reader<'_>) -> Value {
    let view = reader.chain.view();
    let (pending, queued) = reader.chain.pool().counts(|sender| view.nonce(sender));
    json!({ "pending": number(pending as u64), "queued": number(queued as u64) })
}
