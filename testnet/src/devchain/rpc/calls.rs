//! `eth_call` and `eth_estimateGas`.

use alloy::primitives::{Bytes, U256};
use alloy::rpc::types::TransactionRequest;
use revm::context::result::{EVMError, ExecutionResult, HaltReason, OutOfGasError};

use super::reader::{At, Reader};
use crate::devchain::error::RpcError;
use crate::devchain::evm::{self, Surroundings};
use crate::devchain::state::{Overlay, View};

/// An estimate is this near to the least gas that is enough, as geth: 1.5 %, and exact where a
/// transaction needs the least there is.
const CLOSE_ENOUGH_PERMILLE: u64 = 15;
/// What a call that is given nothing else may use.
const GAS_OF_A_CALL: u64 = evm::MAX_GAS;

fn run(
    view: View<'_>,
    around: &Surroundings,
    call: &TransactionRequest,
    gas: u64,
) -> Result<ExecutionResult, RpcError> {
    let nonce = view.nonce(call.from.unwrap_or_default());
    // The nonce of a call means nothing.
    let call = TransactionRequest {
        nonce: None,
        ..call.clone()
    };
    let env = evm::env_of_call(&call, nonce, gas);
    match evm::call(&mut Overlay::new(view), around, env) {
        Ok(ran) => Ok(ran.result),
        Err(EVMError::Transaction(error)) => Err(RpcError::server(format!("err: {error}"))),
        Err(error) => Err(RpcError::internal(error)),
    }
}

/// What the contract answers.
pub(super) fn call(
    reader: &Reader<'_>,
    call: &TransactionRequest,
    at: At,
) -> Result<Bytes, RpcError> {
    let result = reader.with_state(at, |view, around| {
        let gas = call.gas.unwrap_or(GAS_OF_A_CALL).min(around.gas_limit);
        run(view, &around, call, gas)
    })??;
    match result {
        ExecutionResult::Success { output, .. } => Ok(output.into_data()),
        ExecutionResult::Revert { output, .. } => Err(RpcError::reverted(&output)),
        ExecutionResult::Halt { reason, .. } => Err(RpcError::server(words(&reason))),
    }
}

fn words(reason: &HaltReason) -> String {
    match reason {
        HaltReason::OutOfGas(OutOfGasError::Basic) => "out of gas".to_owned(),
        other => format!("{other:?}"),
    }
}

/// The gas with which a transaction will go through, about the least.
pub(super) fn estimate(
    reader: &Reader<'_>,
    call: &TransactionRequest,
    at: At,
) -> Result<u64, RpcError> {
    let attempt = |gas| reader.with_state(at, |view, around| run(view, &around, call, gas))?;
    let most = reader.with_state(at, |view, around| {
        let most = call.gas.unwrap_or(evm::MAX_GAS).min(around.gas_limit);
        affordable(&view, call, most)
    })?;
    let used = match attempt(most)? {
        ExecutionResult::Success { gas, .. } => gas.tx_gas_used(),
        ExecutionResult::Revert { output, .. } => return Err(RpcError::reverted(&output)),
        ExecutionResult::Halt {
            reason: HaltReason::OutOfGas(_),
            ..
        } => {
            return Err(RpcError::server(format!(
                "gas required exceeds allowance ({most})"
            )));
        }
        ExecutionResult::Halt { reason, .. } => return Err(RpcError::server(words(&reason))),
    };
    // What was used is not always enough: refunds come afterwards, and a call gets only 63/64 of
    // what is left.
    let (mut too_little, mut enough) = (used.saturating_sub(1), most);
    let mut next = used;
    while enough - too_little > 1 && (enough - too_little) * 1000 > enough * CLOSE_ENOUGH_PERMILLE {
        match attempt(next) {
            Ok(ExecutionResult::Success { .. }) => enough = next,
            // Less than a transaction needs before any code runs is an error.
            Ok(_) | Err(_) => too_little = next,
        }
        // Far above what is enough, halving the whole range would take long.
        next = too_little
            .midpoint(enough)
            .min(too_little.saturating_mul(2));
    }
    Ok(enough)
}

/// The gas that the sender can pay for, up to `most`.
fn affordable(view: &View<'_>, call: &TransactionRequest, most: u64) -> u64 {
    let price = call.max_fee_per_gas.or(call.gas_price).unwrap_or_default();
    let Some(from) = call.from.filter(|_| price > 0) else {
        return most;
    };
    let left = view
        .balance(from)
        .saturating_sub(call.value.unwrap_or_default());
    let gas = left.checked_div(U256::from(price)).unwrap_or_default();
    u64::try_from(gas).unwrap_or(u64::MAX).min(most)
}
