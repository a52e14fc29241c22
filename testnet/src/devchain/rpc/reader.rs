//! The chain as an endpoint sees it, which may be some blocks behind.

use std::sync::Arc;

use alloy::consensus::Transaction;
use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::B256;

use crate::devchain::blocks::{Block, MinedTx, SignedTx};
use crate::devchain::chain::{Candidate, Chain};
use crate::devchain::error::RpcError;
use crate::devchain::evm::Surroundings;
use crate::devchain::state::View;

/// Which block is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// A mined one, by number.
    Mined(u64),
    /// The one that would be next.
    Pending,
}

/// A transaction as an endpoint sees it.
pub(super) enum Found {
    /// In the block, at the place.
    Mined(Arc<Block>, usize),
    /// Waiting, or mined in a block that this endpoint has not seen yet.
    Waiting(SignedTx),
}

/// The chain up to the newest block that the endpoint has seen.
pub(super) struct Reader<'a> {
    pub(super) chain: &'a Chain,
    pub(super) head: u64,
    now: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(chain: &'a Chain, lag: u64, now: u64) -> Self {
        let head = chain
            .head()
            .header
            .number
            .saturating_sub(lag)
            .max(chain.blocks().first());
        Self { chain, head, now }
    }

    fn is_behind(&self) -> bool {
        self.head < self.chain.head().header.number
    }

    /// The number that a tag stands for.
    pub(super) fn at(&self, tag: BlockNumberOrTag) -> At {
        let finalized = self.chain.finalized(self.head);
        At::Mined(match tag {
            // Who is behind knows nothing of what comes after.
            BlockNumberOrTag::Pending if self.is_behind() => self.head,
            BlockNumberOrTag::Pending => return At::Pending,
            BlockNumberOrTag::Latest => self.head,
            BlockNumberOrTag::Finalized => finalized,
            BlockNumberOrTag::Safe => finalized.midpoint(self.head),
            BlockNumberOrTag::Earliest => 0,
            BlockNumberOrTag::Number(number) => number,
        })
    }

    /// The block that an id stands for; the newest when there is none.
    ///
    /// # Errors
    /// When it does not exist, or is unknown here.
    pub(super) fn resolve(&self, id: Option<BlockId>) -> Result<At, RpcError> {
        let at = match id.unwrap_or(BlockId::latest()) {
            BlockId::Number(tag) => self.at(tag),
            BlockId::Hash(hash) => At::Mined(
                self.by_hash(hash.block_hash)
                    .ok_or_else(RpcError::unknown_block)?
                    .header
                    .number,
            ),
        };
        match at {
            At::Mined(number) if number > self.head => Err(RpcError::unknown_block()),
            at => Ok(at),
        }
    }

    /// A mined block; `None` when it is not there, or not yet seen.
    ///
    /// # Errors
    /// When it is not kept any more.
    pub(super) fn block(&self, number: u64) -> Result<Option<&'a Arc<Block>>, RpcError> {
        if number > self.head {
            return Ok(None);
        }
        match self.chain.blocks().get(number) {
            Some(block) => Ok(Some(block)),
            None => Err(RpcError::history_gone()),
        }
    }

    pub(super) fn by_hash(&self, hash: B256) -> Option<&'a Arc<Block>> {
        self.chain
            .blocks()
            .by_hash(hash)
            .filter(|block| block.header.number <= self.head)
    }

    pub(super) fn tx(&self, hash: B256) -> Option<Found> {
        if let Some((block, index)) = self.chain.blocks().tx(hash) {
            return if block.header.number <= self.head {
                Some(Found::Mined(block.clone(), index))
            } else {
                Some(Found::Waiting(block.txs.get(index)?.tx.clone()))
            };
        }
        self.chain
            .pool()
            .get(hash)
            .map(|tx| Found::Waiting(tx.clone()))
    }

    /// The block that would be next.
    pub(super) fn pending(&self) -> Candidate {
        self.chain.candidate(self.now, false)
    }

    /// Calls `look` with the state after a block, and what a call there learns of its block.
    pub(super) fn with_state<T>(
        &self,
        at: At,
        look: impl FnOnce(View<'_>, Surroundings) -> T,
    ) -> Result<T, RpcError> {
        match at {
            At::Mined(number) => {
                let view = self.chain.view_at(number)?;
                let block = self.block(number)?.ok_or_else(RpcError::unknown_block)?;
                Ok(look(view, self.surroundings(block)))
            }
            At::Pending => {
                let candidate = self.pending();
                let view = self.chain.view_with(&candidate.diff);
                Ok(look(view, self.surroundings(&candidate.block)))
            }
        }
    }

    fn surroundings(&self, block: &Block) -> Surroundings {
        Surroundings {
            chain_id: self.chain.config.chain_id,
            number: block.header.number,
            timestamp: block.header.timestamp,
            gas_limit: block.header.gas_limit,
            base_fee: block.base_fee(),
            beneficiary: block.header.beneficiary,
            randao: block.header.mix_hash,
        }
    }

    /// What a sender's next transaction has to have as nonce, those that wait included.
    pub(super) fn pending_nonce(&self, sender: alloy::primitives::Address) -> u64 {
        let next = self.chain.view().nonce(sender);
        self.chain.pool().next_nonce(sender, next)
    }
}

/// Wei per unit of gas that a mined transaction paid.
pub(super) fn price_paid(block: &Block, tx: &MinedTx) -> u128 {
    tx.tx.effective_gas_price(Some(block.base_fee()))
}
