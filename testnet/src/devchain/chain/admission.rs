//! Which transactions the pool takes, and why not.

use std::sync::Arc;

use alloy::consensus::transaction::{Recovered, SignerRecoverable};
use alloy::consensus::{Transaction, TxEnvelope};
use alloy::eips::eip2718::Decodable2718;
use alloy::primitives::{B256, KECCAK256_EMPTY};

use super::Chain;
use crate::devchain::blocks::SignedTx;
use crate::devchain::config::MAX_TRANSACTION;
use crate::devchain::error::RpcError;
use crate::devchain::evm;
use crate::devchain::pool::greatest_cost;

/// Greatest code that makes a contract (EIP-3860), in bytes.
const MAX_INIT_CODE: usize = 49_152;

impl Chain {
    /// Takes a signed transaction into the pool.
    ///
    /// # Errors
    /// In geth's words; nothing has changed then.
    pub(in crate::devchain) fn submit(&mut self, raw: &[u8]) -> Result<B256, RpcError> {
        if raw.len() > MAX_TRANSACTION {
            return Err(RpcError::server(format!(
                "oversized data: transaction size {}, limit {MAX_TRANSACTION}",
                raw.len()
            )));
        }
        let tx = TxEnvelope::decode_2718_exact(raw)
            .map_err(|error| RpcError::server(format!("rlp: {error}")))?;
        if !evm::is_supported(&tx) {
            return Err(RpcError::server("transaction type not supported"));
        }
        if self.world.pool.contains(*tx.tx_hash()) {
            return Err(RpcError::already_known());
        }
        let signer = tx
            .recover_signer()
            .map_err(|_| RpcError::server("invalid sender"))?;
        let tx: SignedTx = Arc::new(Recovered::new_unchecked(tx, signer));
        self.check(&tx)?;
        let hash = *tx.tx_hash();
        self.world.pool.add(tx, self.config.pool)?;
        Ok(hash)
    }

    /// Everything that makes a transaction bad by itself, in the order in which geth looks.
    fn check(&self, tx: &SignedTx) -> Result<(), RpcError> {
        let sender = tx.signer();
        match tx.chain_id() {
            None => {
                return Err(RpcError::server(
                    "only replay-protected (EIP-155) transactions allowed over RPC",
                ));
            }
            Some(id) if id != self.config.chain_id => {
                return Err(RpcError::wrong_chain(id, self.config.chain_id));
            }
            Some(_) => {}
        }
        if tx.is_create() && tx.input().len() > MAX_INIT_CODE {
            return Err(RpcError::server(format!(
                "max initcode size exceeded: code size {}, limit {MAX_INIT_CODE}",
                tx.input().len()
            )));
        }
        if tx.gas_limit() > evm::MAX_GAS {
            return Err(RpcError::server(format!(
                "transaction gas limit too high (cap: {}, tx: {})",
                evm::MAX_GAS,
                tx.gas_limit()
            )));
        }
        if tx.gas_limit() > self.config.gas_limit {
            return Err(RpcError::server("exceeds block gas limit"));
        }
        let (fee, tip) = (
            tx.max_fee_per_gas(),
            tx.max_priority_fee_per_gas()
                .unwrap_or_else(|| tx.max_fee_per_gas()),
        );
        if tip > fee {
            return Err(RpcError::tip_above_fee(sender, tip, fee));
        }
        let needed = evm::intrinsic_gas(tx);
        if tx.gas_limit() < needed {
            return Err(RpcError::intrinsic_gas(tx.gas_limit(), needed));
        }
        if tip < self.config.min_tip {
            return Err(RpcError::underpriced(tip, self.config.min_tip));
        }
        let view = self.view();
        let next = view.nonce(sender);
        if tx.nonce() < next {
            return Err(RpcError::nonce_too_low(next, tx.nonce()));
        }
        if view
            .info(sender)
            .is_some_and(|info| info.code_hash != KECCAK256_EMPTY)
        {
            return Err(RpcError::server("sender not an eoa"));
        }
        let (balance, cost) = (view.balance(sender), greatest_cost(tx));
        let queued = self.world.pool.cost_beside(sender, tx.nonce());
        if balance < queued.saturating_add(cost) {
            return Err(RpcError::insufficient_funds(balance, queued, cost));
        }
        Ok(())
    }
}
