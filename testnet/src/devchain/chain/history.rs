//! Going back: reorganisations and snapshots.

use alloy::primitives::B256;

use super::Chain;
use crate::devchain::config::MAX_SNAPSHOTS;
use crate::devchain::error::RpcError;

/// What becomes of the transactions in blocks that a reorganisation takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// They wait again, and the blocks that replace theirs are empty: so they move out of the
    /// chain, and back with the next block.
    #[default]
    Keep,
    /// They are in the chain again at once, in other blocks.
    Remine,
    /// They are lost, as if the network had forgotten them.
    Drop,
}

/// What a reorganisation did.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reorged {
    /// Hashes of the blocks that are gone, oldest first.
    pub removed: Vec<B256>,
    /// Hashes of the blocks in their places.
    pub added: Vec<B256>,
    /// Transactions that were in the blocks that are gone.
    pub transactions: Vec<B256>,
}

impl Chain {
    /// Takes the newest `depth` blocks away and puts as many others in their places.
    ///
    /// # Errors
    /// When `depth` is zero, or would reach a finalized block or one whose state is gone; nothing
    /// has changed then.
    pub(in crate::devchain) fn reorg(
        &mut self,
        depth: u64,
        fate: Fate,
        now: u64,
    ) -> Result<Reorged, RpcError> {
        let head = self.head().header.number;
        let deepest = (head - self.finalized(head)).min(self.world.history.len() as u64);
        if depth == 0 || depth > deepest {
            return Err(RpcError::params(format!(
                "a reorganisation of {depth} blocks is not possible: 1 to {deepest} are not final"
            )));
        }
        let mut removed = Vec::new();
        for _ in 0..depth {
            if let (Some(block), Some(undo)) =
                (self.world.blocks.pop(), self.world.history.pop_back())
            {
                self.world.state.apply(undo);
                removed.push(block);
            }
        }
        removed.reverse();
        self.world.forks = self.world.forks.saturating_add(1);
        let mut transactions = Vec::new();
        for tx in removed.iter().flat_map(|block| &block.txs) {
            transactions.push(tx.hash());
            if fate != Fate::Drop {
                self.world.pool.put_back(tx.tx.clone());
            }
        }
        let mut added = Vec::new();
        for _ in 0..depth {
            self.mine_one(now, fate != Fate::Remine);
            added.push(self.head().hash);
        }
        Ok(Reorged {
            removed: removed.iter().map(|block| block.hash).collect(),
            added,
            transactions,
        })
    }

    /// Remembers everything as it is. Beyond [`MAX_SNAPSHOTS`] the oldest is forgotten.
    pub(in crate::devchain) fn snapshot(&mut self) -> u64 {
        let id = self.next_snapshot;
        self.next_snapshot = self.next_snapshot.saturating_add(1);
        self.snapshots.insert(id, self.world.clone());
        while self.snapshots.len() > MAX_SNAPSHOTS {
            self.snapshots.pop_first();
        }
        id
    }

    /// Makes everything as it was at a snapshot; that one and later ones are used up. `false` when
    /// it is not known.
    pub(in crate::devchain) fn revert(&mut self, id: u64) -> bool {
        let mut later = self.snapshots.split_off(&id);
        match later.remove(&id) {
            Some(world) => {
                self.world = world;
                true
            }
            None => {
                self.snapshots.append(&mut later);
                false
            }
        }
    }
}
