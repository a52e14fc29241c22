//! Blocks that were mined, and how they are found. Only the chain as it stands is here: a block
//! that a reorganisation took away is gone.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use alloy::consensus::transaction::Recovered;
use alloy::consensus::{Header, ReceiptEnvelope, Transaction, TxEnvelope};
use alloy::primitives::{Address, B256};

/// A transaction with the address that signed it.
pub(super) type SignedTx = Arc<Recovered<TxEnvelope>>;

/// A transaction in a block, and what became of it.
#[derive(Debug)]
pub(super) struct MinedTx {
    pub(super) tx: SignedTx,
    pub(super) receipt: ReceiptEnvelope,
    pub(super) gas_used: u64,
    /// The contract it made.
    pub(super) contract: Option<Address>,
    /// Logs of the block before its own.
    pub(super) first_log: u64,
}

impl MinedTx {
    pub(super) fn hash(&self) -> B256 {
        *self.tx.tx_hash()
    }
}

/// A block.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) header: Header,
    pub(super) hash: B256,
    pub(super) txs: Vec<MinedTx>,
}

impl Block {
    /// Wei per gas; the chain has had base fees since its first block.
    pub(super) fn base_fee(&self) -> u64 {
        self.header.base_fee_per_gas.unwrap_or_default()
    }

    /// What the sender of a transaction paid per unit of gas beyond the base fee, in wei.
    pub(super) fn tip(&self, tx: &MinedTx) -> u128 {
        tx.tx
            .effective_tip_per_gas(self.base_fee())
            .unwrap_or_default()
    }
}

/// The blocks that are kept, oldest first, without gaps.
#[derive(Debug, Clone, Default)]
pub(super) struct Blocks {
    list: VecDeque<Arc<Block>>,
    by_hash: HashMap<B256, u64>,
    /// Number of the block and place in it.
    by_tx: HashMap<B256, (u64, usize)>,
}

impl Blocks {
    /// Number of the oldest block kept.
    pub(super) fn first(&self) -> u64 {
        self.list.front().map_or(0, |block| block.header.number)
    }

    /// The newest block; `None` only before the first was added.
    pub(super) fn head(&self) -> Option<&Arc<Block>> {
        self.list.back()
    }

    pub(super) fn get(&self, number: u64) -> Option<&Arc<Block>> {
        let index = number.checked_sub(self.first())?;
        self.list.get(usize::try_from(index).ok()?)
    }

    pub(super) fn by_hash(&self, hash: B256) -> Option<&Arc<Block>> {
        self.get(*self.by_hash.get(&hash)?)
    }

    /// A transaction's block and its place there.
    pub(super) fn tx(&self, hash: B256) -> Option<(&Arc<Block>, usize)> {
        let (number, index) = *self.by_tx.get(&hash)?;
        Some((self.get(number)?, index))
    }

    /// Adds the next block and forgets the oldest ones beyond `keep`.
    pub(super) fn push(&mut self, block: Block, keep: u64) {
        let number = block.header.number;
        self.by_hash.insert(block.hash, number);
        for (index, tx) in block.txs.iter().enumerate() {
            self.by_tx.insert(tx.hash(), (number, index));
        }
        self.list.push_back(Arc::new(block));
        while self.list.len() as u64 > keep.max(1) {
            let oldest = self.list.pop_front();
            self.forget(oldest.as_deref());
        }
    }

    /// Takes the newest block away.
    pub(super) fn pop(&mut self) -> Option<Arc<Block>> {
        let block = self.list.pop_back();
        self.forget(block.as_deref());
        block
    }

    fn forget(&mut self, block: Option<&Block>) {
        let Some(block) = block else { return };
        self.by_hash.remove(&block.hash);
        for tx in &block.txs {
            self.by_tx.remove(&tx.hash());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(number: u64) -> Block {
        let header = Header {
            number,
            ..Header::default()
        };
        let hash = header.hash_slow();
        Block {
            header,
            hash,
            txs: Vec::new(),
        }
    }

    #[test]
    fn old_blocks_are_forgotten_wholly() {
        let mut blocks = Blocks::default();
        for number in 0..10 {
            blocks.push(block(number), 4);
        }
        assert_eq!(blocks.first(), 6);
        assert_eq!(blocks.head().unwrap().header.number, 9);
        assert!(blocks.get(5).is_none());
        assert!(blocks.by_hash(block(5).hash).is_none());
        assert_eq!(blocks.by_hash(block(6).hash).unwrap().header.number, 6);
        assert_eq!(blocks.by_hash.len(), 4);
        assert_eq!(blocks.pop().unwrap().header.number, 9);
        assert!(blocks.get(9).is_none());
        assert_eq!(blocks.by_hash.len(), 3);
    }
}
