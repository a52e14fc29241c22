//! What tests do to the chain. Faults do not touch these methods.

use alloy::primitives::B256;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Node;
use super::params::Params;
use super::render::{self, number};
use crate::devchain::chain::Fate;
use crate::devchain::config::MAX_MINE;
use crate::devchain::error::RpcError;
use crate::devchain::faults::Faults;

/// Second parameter of `dev_reorg`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ReorgOptions {
    transactions: Fate,
}

/// First parameter of `evm_mine`: a number of blocks, or the same in an object, as anvil has it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Count {
    Options { blocks: Option<u64> },
    Number(alloy::primitives::U64),
}

/// True for methods that [`answer`] knows.
pub(crate) fn is_control(method: &str) -> bool {
    matches!(
        method,
        "evm_mine"
            | "evm_snapshot"
            | "evm_revert"
            | "evm_setNextBlockBaseFeePerGas"
            | "evm_increaseTime"
            | "dev_dropTransaction"
            | "dev_reorg"
            | "dev_setFaults"
            | "dev_getFaults"
            | "dev_fund"
    )
}

/// Answers a control method; `None` when it is none.
pub(super) fn answer(
    node: &mut Node,
    method: &str,
    params: Params<'_>,
    now: u64,
) -> Option<Result<Value, RpcError>> {
    Some(match method {
        "evm_mine" => mine(node, params, now),
        "evm_snapshot" => Ok(number(node.chain.snapshot())),
        "evm_revert" => params
            .number(0, "snapshot")
            .map(|id| json!(node.chain.revert(id))),
        "evm_setNextBlockBaseFeePerGas" => params.number(0, "base fee").map(|wei| {
            node.chain.set_next_base_fee(wei);
            Value::Null
        }),
        "evm_increaseTime" => params
            .number(0, "seconds")
            .map(|seconds| json!(node.chain.increase_time(seconds))),
        "dev_dropTransaction" => params
            .get::<B256>(0, "hash")
            .map(|hash| json!(node.chain.drop_transaction(hash))),
        "dev_reorg" => reorg(node, params, now),
        "dev_setFaults" => set_faults(node, params),
        "dev_getFaults" => render::json(&node.faults),
        "dev_fund" => fund(node, params),
        _ => return None,
    })
}

fn mine(node: &mut Node, params: Params<'_>, now: u64) -> Result<Value, RpcError> {
    let count = match params.opt::<Count>(0, "blocks")? {
        None | Some(Count::Options { blocks: None }) => 1,
        Some(Count::Options { blocks: Some(n) }) => n,
        Some(Count::Number(n)) => n.to(),
    };
    if count > MAX_MINE {
        return Err(RpcError::params(format!("more than {MAX_MINE} blocks")));
    }
    Ok(number(node.chain.mine(count, now)))
}

fn reorg(node: &mut Node, params: Params<'_>, now: u64) -> Result<Value, RpcError> {
    let depth = params.number(0, "depth")?;
    let options: ReorgOptions = params.opt(1, "options")?.unwrap_or_default();
    render::json(node.chain.reorg(depth, options.transactions, now)?)
}

fn set_faults(node: &mut Node, params: Params<'_>) -> Result<Value, RpcError> {
    let faults: Faults = params.opt(0, "faults")?.unwrap_or_default();
    faults.check()?;
    node.faults = faults;
    Ok(Value::Null)
}

fn fund(node: &mut Node, params: Params<'_>) -> Result<Value, RpcError> {
    let (address, wei) = (params.get(0, "address")?, params.wei(1, "wei")?);
    node.chain.fund(address, wei)?;
    Ok(render::quantity(node.chain.view().balance(address)))
}
