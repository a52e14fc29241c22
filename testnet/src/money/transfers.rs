//! What was really paid: the token's transfers, as the chain tells them.

use alloy::eips::BlockNumberOrTag;
use alloy::primitives::{Address, B256};
use alloy::providers::Provider;
use alloy::rpc::types::Filter;
use alloy::sol_types::SolEvent;
use masq::ledger::Wei;
use serde::Serialize;

use super::bank::MoneyState;
use super::books::wei;
use crate::devchain::DevChainError;
use crate::devchain::deploy::{TestToken, provider};

/// Blocks that are asked about at a time, as at most providers.
const RANGE: u64 = 10_000;

/// One transfer of the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Transfer {
    /// The transaction.
    pub transaction: B256,
    /// Block.
    pub block: u64,
    /// Who paid; zero for what the faucet made.
    pub from: Address,
    /// Who was paid.
    pub to: Address,
    /// How much.
    #[serde(with = "wei")]
    pub amount: Wei,
    /// Whether the block is final.
    pub is_final: bool,
}

/// All transfers so far, in the order of the chain; what the faucet made is left out.
///
/// # Errors
/// When the chain does not answer.
pub async fn transfers(money: &MoneyState) -> Result<Vec<Transfer>, DevChainError> {
    let failed = |reason: String| DevChainError::Chain {
        what: "cannot read the transfers",
        reason,
    };
    let chain = provider(&money.rpc)?;
    let finalized = chain
        .get_block_by_number(BlockNumberOrTag::Finalized)
        .await
        .map_err(|error| failed(error.to_string()))?
        .map_or(0, |block| block.header.number);
    let head = chain
        .get_block_number()
        .await
        .map_err(|error| failed(error.to_string()))?;
    let mut all = Vec::new();
    let mut from = money.since;
    while from <= head {
        let to = head.min(from + RANGE - 1);
        let filter = Filter::new()
            .address(money.token)
            .event_signature(TestToken::Transfer::SIGNATURE_HASH)
            .from_block(from)
            .to_block(to);
        let logs = chain
            .get_logs(&filter)
            .await
            .map_err(|error| failed(error.to_string()))?;
        for log in logs {
            let decoded = log
                .log_decode::<TestToken::Transfer>()
                .map_err(|error| failed(error.to_string()))?;
            let (Some(transaction), Some(block)) = (log.transaction_hash, log.block_number) else {
                return Err(failed("a transfer without a block".to_owned()));
            };
            let TestToken::Transfer { from, to, value } = decoded.inner.data;
            if from == Address::ZERO {
                continue;
            }
            all.push(Transfer {
                transaction,
                block,
                from,
                to,
                amount: value
                    .try_into()
                    .map_err(|_| failed("a transfer of more than there is".to_owned()))?,
                is_final: block <= finalized,
            });
        }
        from = to + 1;
    }
    Ok(all)
}
