//! The only file that runs the EVM: a transaction or a call on a view of the state.

use std::convert::Infallible;

use alloy::consensus::{Transaction, TxEnvelope, Typed2718};
use alloy::primitives::{Address, B256, U256};
use alloy::rpc::types::TransactionRequest;
use revm::context::result::{EVMError, ExecResultAndState, ExecutionResult};
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::context_interface::cfg::gas_params::GasParams;
use revm::primitives::hardfork::SpecId;
use revm::state::EvmState;
use revm::{Context, ExecuteEvm, MainBuilder, MainContext};

use super::blocks::SignedTx;
use super::state::Overlay;

/// The rules that contracts run by: what Ethereum and the chains above it had in 2026.
const RULES: SpecId = SpecId::OSAKA;

/// What a transaction learns of the block that it is in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings {
    pub(super) chain_id: u64,
    pub(super) number: u64,
    pub(super) timestamp: u64,
    pub(super) gas_limit: u64,
    pub(super) base_fee: u64,
    pub(super) beneficiary: Address,
    pub(super) randao: B256,
}

pub(super) type Ran = Result<ExecResultAndState<ExecutionResult, EvmState>, EVMError<Infallible>>;

/// Carries out one transaction as it would be in a block. What it changed is in the answer and not
/// yet in `overlay`. It is an error when the transaction cannot be in this block at all.
pub(super) fn transact(overlay: &mut Overlay<'_>, around: &Surroundings, tx: TxEnv) -> Ran {
    run(overlay, around, tx, CfgEnv::new_with_spec(RULES))
}

/// Carries out a call that will never be in a block: fees are optional, and a contract may be the
/// caller.
pub(super) fn call(overlay: &mut Overlay<'_>, around: &Surroundings, tx: TxEnv) -> Ran {
    let mut cfg = CfgEnv::new_with_spec(RULES);
    cfg.disable_eip3607 = true;
    cfg.tx_gas_limit_cap = Some(u64::MAX);
    let mut around = *around;
    if tx.gas_price == 0 {
        around.base_fee = 0;
    }
    run(overlay, &around, tx, cfg)
}

fn run(overlay: &mut Overlay<'_>, around: &Surroundings, tx: TxEnv, mut cfg: CfgEnv) -> Ran {
    cfg.chain_id = around.chain_id;
    let block = BlockEnv {
        number: U256::from(around.number),
        beneficiary: around.beneficiary,
        timestamp: U256::from(around.timestamp),
        gas_limit: around.gas_limit,
        basefee: around.base_fee,
        prevrandao: Some(around.randao),
        ..BlockEnv::default()
    };
    Context::mainnet()
        .with_db(overlay)
        .with_block(block)
        .with_cfg(cfg)
        .build_mainnet()
        .transact(tx)
}

/// A signed transaction as the EVM wants it.
pub(super) fn env_of(tx: &SignedTx) -> TxEnv {
    TxEnv {
        tx_type: tx.ty(),
        caller: tx.signer(),
        gas_limit: tx.gas_limit(),
        gas_price: tx.max_fee_per_gas(),
        kind: tx.kind(),
        value: tx.value(),
        data: tx.input().clone(),
        nonce: tx.nonce(),
        chain_id: tx.chain_id(),
        access_list: tx.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: tx.max_priority_fee_per_gas(),
        ..TxEnv::default()
    }
}

/// A call as the EVM wants it, with the caller's next nonce and a limit of gas filled in.
pub(super) fn env_of_call(call: &TransactionRequest, nonce: u64, gas: u64) -> TxEnv {
    TxEnv {
        tx_type: if call.max_fee_per_gas.is_some() { 2 } else { 0 },
        caller: call.from.unwrap_or_default(),
        gas_limit: gas,
        gas_price: call.max_fee_per_gas.or(call.gas_price).unwrap_or_default(),
        gas_priority_fee: call
            .max_fee_per_gas
            .map(|_| call.max_priority_fee_per_gas.unwrap_or_default()),
        kind: call.to.unwrap_or_default(),
        value: call.value.unwrap_or_default(),
        data: call.input.input().cloned().unwrap_or_default(),
        nonce: call.nonce.unwrap_or(nonce),
        chain_id: call.chain_id,
        access_list: call.access_list.clone().unwrap_or_default(),
        ..TxEnv::default()
    }
}

/// Gas that a transaction needs before any code runs, the least that its data costs included
/// (EIP-7623).
pub(super) fn intrinsic_gas(tx: &SignedTx) -> u64 {
    let gas = GasParams::new_spec(RULES).initial_tx_gas_for_tx(env_of(tx), None);
    gas.initial_regular_gas
        .saturating_add(gas.initial_state_gas)
        .max(gas.floor_gas)
}

/// Greatest gas limit of one transaction (EIP-7825).
pub(super) const MAX_GAS: u64 = revm::primitives::eip7825::TX_GAS_LIMIT_CAP;

/// True for the kinds of transaction that the chain takes: no blobs and no delegations, which
/// settlement has no use for.
pub(super) fn is_supported(tx: &TxEnvelope) -> bool {
    matches!(
        tx,
        TxEnvelope::Legacy(_) | TxEnvelope::Eip2930(_) | TxEnvelope::Eip1559(_)
    )
}
