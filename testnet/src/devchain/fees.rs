//! Fees: how the base fee moves, what tip is suggested, and `eth_feeHistory`.

use alloy::consensus::Header;
use alloy::eips::eip1559::BaseFeeParams;
use alloy::rpc::types::FeeHistory;

use super::blocks::{Block, Blocks};
use super::chain::Chain;
use super::config::MAX_FEE_HISTORY;
use super::error::RpcError;

/// Blocks whose tips a suggestion looks at, as geth.
const SUGGESTION_BLOCKS: u64 = 20;
/// The suggestion is the tip that this many per cent of the transactions gave less than, as geth.
const SUGGESTION_PERCENTILE: usize = 60;

/// Base fee of the block after `parent` by EIP-1559, and never below `least`, in wei per gas.
pub(super) fn next_base_fee(parent: &Header, least: u64) -> u64 {
    let base_fee = parent.base_fee_per_gas.unwrap_or(least);
    BaseFeeParams::ethereum()
        .next_block_base_fee(parent.gas_used, parent.gas_limit, base_fee)
        .max(least)
}

/// A tip that gets a transaction into a block soon, in wei per gas.
pub(super) fn suggested_tip(blocks: &Blocks, head: u64, least: u128) -> u128 {
    let mut tips: Vec<u128> = (head.saturating_sub(SUGGESTION_BLOCKS - 1)..=head)
        .filter_map(|number| blocks.get(number))
        .flat_map(|block| block.txs.iter().map(|tx| block.tip(tx)))
        .collect();
    tips.sort_unstable();
    let index = tips.len().saturating_sub(1) * SUGGESTION_PERCENTILE / 100;
    tips.get(index).copied().unwrap_or_default().max(least)
}

/// The tips below which the given percentages of a block's gas paid, in wei per gas.
fn rewards(block: &Block, percentiles: &[f64]) -> Vec<u128> {
    let mut tips: Vec<(u128, u64)> = block
        .txs
        .iter()
        .map(|tx| (block.tip(tx), tx.gas_used))
        .collect();
    tips.sort_unstable();
    percentiles
        .iter()
        .map(|percentile| {
            // Gas of a block is far below 2^53, so nothing is lost.
            let wanted = block.header.gas_used as f64 * percentile / 100.0;
            let mut gas = 0;
            tips.iter()
                .find(|(_, used)| {
                    gas += used;
                    gas as f64 >= wanted
                })
                .or_else(|| tips.last())
                .map_or(0, |(tip, _)| *tip)
        })
        .collect()
}

/// `eth_feeHistory` of up to `count` blocks, the last of them `newest`.
pub(super) fn history(
    chain: &Chain,
    count: u64,
    newest: u64,
    percentiles: &[f64],
) -> Result<FeeHistory, RpcError> {
    let ascending = percentiles.windows(2).all(|two| two[0] <= two[1]);
    let in_range = percentiles.iter().all(|p| (0.0..=100.0).contains(p));
    if !ascending || !in_range || percentiles.len() > 100 {
        return Err(RpcError::params(
            "invalid reward percentiles: up to 100 numbers between 0 and 100, ascending",
        ));
    }
    let count = count.min(MAX_FEE_HISTORY);
    if count == 0 {
        return Ok(FeeHistory::default());
    }
    let first = newest.saturating_sub(count - 1).max(chain.blocks().first());
    let blocks: Vec<_> = (first..=newest)
        .filter_map(|number| chain.blocks().get(number))
        .collect();
    let mut base_fees: Vec<u128> = blocks.iter().map(|b| u128::from(b.base_fee())).collect();
    let next = match chain.blocks().get(newest.saturating_add(1)) {
        Some(block) => block.base_fee(),
        None => chain.next_base_fee(),
    };
    base_fees.push(u128::from(next));
    Ok(FeeHistory {
        oldest_block: first,
        base_fee_per_gas: base_fees,
        gas_used_ratio: blocks
            .iter()
            .map(|b| b.header.gas_used as f64 / b.header.gas_limit.max(1) as f64)
            .collect(),
        base_fee_per_blob_gas: vec![1; blocks.len() + 1],
        blob_gas_used_ratio: vec![0.0; blocks.len()],
        reward: (!percentiles.is_empty())
            .then(|| blocks.iter().map(|b| rewards(b, percentiles)).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(gas_used: u64) -> Header {
        Header {
            gas_used,
            gas_limit: 30_000_000,
            base_fee_per_gas: Some(1_000_000_000),
            ..Header::default()
        }
    }

    #[test]
    fn the_base_fee_moves_by_an_eighth_and_has_a_floor() {
        assert_eq!(next_base_fee(&parent(30_000_000), 7), 1_125_000_000);
        assert_eq!(next_base_fee(&parent(15_000_000), 7), 1_000_000_000);
        assert_eq!(next_base_fee(&parent(0), 7), 875_000_000);
        assert_eq!(next_base_fee(&parent(0), 900_000_000), 900_000_000);
    }
}
