//! The chain as a pure machine: transactions in, blocks out, time handed in. It knows nothing of
//! HTTP, JSON or faults.

mod admission;
mod history;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use alloy::consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy::consensus::{
    EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH, Eip658Value, Header, Receipt, ReceiptEnvelope,
    Transaction, TxEnvelope,
};
use alloy::eips::eip2718::Encodable2718;
use alloy::eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy::primitives::{Address, B256, Bloom, U256, address, keccak256};
use revm::context::result::{EVMError, ExecutionResult, InvalidTransaction, Output};
use revm::database_interface::DatabaseCommit;

pub use history::{Fate, Reorged};

use super::blocks::{Block, Blocks, MinedTx, SignedTx};
use super::config::{Clock, DevChainConfig};
use super::error::RpcError;
use super::evm::{self, Surroundings};
use super::fees;
use super::pool::Pool;
use super::state::{Diff, Overlay, State, View};

/// Gets the tips. Nobody has its key.
const BENEFICIARY: Address = address!("000000000000000000000000000000006D617371");
/// Least gas of any transaction: where less is left in a block, it is full.
const LEAST_GAS: u64 = 21_000;

/// Everything that a snapshot keeps.
#[derive(Debug, Clone, Default)]
struct World {
    state: State,
    /// What undoes the newest blocks, the newest last.
    history: VecDeque<Diff>,
    blocks: Blocks,
    pool: Pool,
    next_base_fee: Option<u64>,
    /// Seconds that the clock is ahead.
    ahead: u64,
    /// Reorganisations so far. It is in every header, so that no replacement is what it replaces.
    forks: u64,
}

/// A block that could be next.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) block: Block,
    pub(super) diff: Diff,
    /// Transactions that can never be in a block as things are.
    hopeless: Vec<B256>,
}

/// The chain.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) config: DevChainConfig,
    world: World,
    snapshots: BTreeMap<u64, World>,
    next_snapshot: u64,
}

impl Chain {
    /// A chain with its first block. `now` is in seconds since 1970 and counts only for
    /// [`Clock::System`].
    pub(super) fn new(config: DevChainConfig, now: u64) -> Self {
        let mut world = World::default();
        let mut diff = Diff::default();
        for (address, wei) in &config.genesis {
            diff.set_balance(*address, *wei);
        }
        let header = Header {
            number: 0,
            timestamp: match config.clock {
                Clock::System => now,
                Clock::Stepped { start, .. } => start,
            },
            gas_limit: config.gas_limit,
            base_fee_per_gas: Some(config.base_fee),
            state_root: diff.commitment(B256::ZERO),
            ..header_defaults()
        };
        world.state.apply(diff);
        let hash = header.hash_slow();
        let block = Block {
            header,
            hash,
            txs: Vec::new(),
        };
        world.blocks.push(block, config.blocks_kept);
        Self {
            config,
            world,
            snapshots: BTreeMap::new(),
            next_snapshot: 1,
        }
    }

    pub(super) fn blocks(&self) -> &Blocks {
        &self.world.blocks
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.world.pool
    }

    /// The newest block.
    pub(super) fn head(&self) -> &Block {
        // The first block is there from the start, and neither pruning nor a reorganisation takes
        // the last one; an empty one stands in so that nothing can panic.
        static NONE: std::sync::LazyLock<Block> = std::sync::LazyLock::new(|| Block {
            header: Header::default(),
            hash: B256::ZERO,
            txs: Vec::new(),
        });
        self.world.blocks.head().map_or(&*NONE, Arc::as_ref)
    }

    /// The state after the newest block.
    pub(super) fn view(&self) -> View<'_> {
        View::new(&self.world.state, Vec::new(), &self.world.blocks)
    }

    /// The state as it would be after `diff`.
    pub(super) fn view_with<'a>(&'a self, diff: &'a Diff) -> View<'a> {
        View::new(&self.world.state, vec![diff], &self.world.blocks)
    }

    /// The state after block `number`.
    ///
    /// # Errors
    /// When there is no such block, or its state is not kept any more.
    pub(super) fn view_at(&self, number: u64) -> Result<View<'_>, RpcError> {
        let back = self
            .head()
            .header
            .number
            .checked_sub(number)
            .ok_or_else(RpcError::unknown_block)?;
        let kept = self.world.history.len();
        let from = usize::try_from(back)
            .ok()
            .and_then(|back| kept.checked_sub(back))
            .ok_or_else(|| RpcError::state_gone(number))?;
        let layers = self.world.history.range(from..).collect();
        Ok(View::new(&self.world.state, layers, &self.world.blocks))
    }

    /// Number of the newest block that stays for ever.
    pub(super) fn finalized(&self, head: u64) -> u64 {
        head.saturating_sub(self.config.finality)
    }

    /// Base fee of the next block, in wei per gas.
    pub(super) fn next_base_fee(&self) -> u64 {
        self.world
            .next_base_fee
            .unwrap_or_else(|| fees::next_base_fee(&self.head().header, self.config.min_base_fee))
    }

    pub(super) fn set_next_base_fee(&mut self, wei: u64) {
        self.world.next_base_fee = Some(wei);
    }

    /// Moves the time of all blocks to come; returns by how much it is moved in all, in seconds.
    pub(super) fn increase_time(&mut self, seconds: u64) -> u64 {
        self.world.ahead = self.world.ahead.saturating_add(seconds);
        self.world.ahead
    }

    fn next_timestamp(&self, now: u64) -> u64 {
        let parent = self.head().header.timestamp;
        match self.config.clock {
            Clock::System => now
                .saturating_add(self.world.ahead)
                .max(parent.saturating_add(1)),
            // The jump is in the parent's time from the block after on; see `mine_one`.
            Clock::Stepped { step, .. } => {
                parent.saturating_add(step).saturating_add(self.world.ahead)
            }
        }
    }

    /// Gives an account wei, as if it had had them since the first block.
    ///
    /// # Errors
    /// When the balance would exceed what a balance can be.
    pub(super) fn fund(&mut self, address: Address, wei: U256) -> Result<(), RpcError> {
        let too_much = || RpcError::params("the balance would be too large");
        self.world.state.credit(address, wei).ok_or_else(too_much)?;
        for undo in &mut self.world.history {
            // It was no larger then than money that exists allows, so this fails only together
            // with the line above, or after what no test does: moving 2^256 wei to and fro.
            undo.credit(address, wei).ok_or_else(too_much)?;
        }
        Ok(())
    }

    /// Takes a waiting transaction out of the pool; `false` when none with this hash waits.
    pub(super) fn drop_transaction(&mut self, hash: B256) -> bool {
        self.world.pool.remove(hash)
    }

    /// The block that [`Self::mine`] would add now.
    pub(super) fn candidate(&self, now: u64, empty: bool) -> Candidate {
        let head = self.head();
        let base_fee = self.next_base_fee();
        let around = Surroundings {
            chain_id: self.config.chain_id,
            number: head.header.number.saturating_add(1),
            timestamp: self.next_timestamp(now),
            gas_limit: self.config.gas_limit,
            base_fee,
            beneficiary: BENEFICIARY,
            randao: keccak256(head.hash),
        };
        let mut overlay = Overlay::new(self.view());
        let mut filled = Filled::default();
        if !empty {
            self.fill(&mut overlay, &around, &mut filled);
        }
        let diff = overlay.into_diff();
        let txs = filled.txs;
        let header = Header {
            parent_hash: head.hash,
            beneficiary: BENEFICIARY,
            state_root: diff.commitment(head.header.state_root),
            transactions_root: calculate_transaction_root(
                &txs.iter().map(|tx| tx.tx.inner()).collect::<Vec<_>>(),
            ),
            receipts_root: calculate_receipt_root(
                &txs.iter().map(|tx| &tx.receipt).collect::<Vec<_>>(),
            ),
            logs_bloom: txs
                .iter()
                .fold(Bloom::ZERO, |bloom, tx| bloom | *tx.receipt.logs_bloom()),
            number: around.number,
            gas_limit: around.gas_limit,
            gas_used: filled.gas,
            timestamp: around.timestamp,
            extra_data: format!("masq {}", self.world.forks).into_bytes().into(),
            mix_hash: around.randao,
            base_fee_per_gas: Some(base_fee),
            ..header_defaults()
        };
        let hash = header.hash_slow();
        Candidate {
            block: Block { header, hash, txs },
            diff,
            hopeless: filled.hopeless,
        }
    }

    /// Carries out waiting transactions, the best paying first, until the block is full.
    fn fill(&self, overlay: &mut Overlay<'_>, around: &Surroundings, filled: &mut Filled) {
        let mut passed_over = BTreeSet::new();
        while filled.gas.saturating_add(LEAST_GAS) <= around.gas_limit {
            let turn = |sender| (!passed_over.contains(&sender)).then(|| overlay.nonce(sender));
            let Some(tx) = self.world.pool.best(around.base_fee, turn) else {
                break;
            };
            if tx.gas_limit() > around.gas_limit.saturating_sub(filled.gas) {
                passed_over.insert(tx.signer());
                continue;
            }
            match evm::transact(overlay, around, evm::env_of(&tx)) {
                Ok(ran) => {
                    overlay.commit(ran.state);
                    filled.add(tx, ran.result);
                }
                Err(error) => {
                    // The money was spent since; geth drops such transactions, too. Anything else
                    // was looked at when it was taken in.
                    if !matches!(
                        error,
                        EVMError::Transaction(InvalidTransaction::LackOfFundForMaxFee { .. })
                    ) {
                        tracing::warn!(%error, "a transaction of the pool cannot be carried out");
                    }
                    filled.hopeless.push(*tx.tx_hash());
                    passed_over.insert(tx.signer());
                }
            }
        }
    }

    /// Adds `count` blocks. `now` is in seconds since 1970 and counts only for [`Clock::System`].
    /// Returns the number of the newest block.
    pub(super) fn mine(&mut self, count: u64, now: u64) -> u64 {
        for _ in 0..count {
            self.mine_one(now, false);
        }
        self.head().header.number
    }

    fn mine_one(&mut self, now: u64, empty: bool) {
        let Candidate {
            block,
            diff,
            hopeless,
        } = self.candidate(now, empty);
        let world = &mut self.world;
        let senders: BTreeSet<_> = block.txs.iter().map(|tx| tx.tx.signer()).collect();
        let undo = world.state.apply(diff);
        world.history.push_back(undo);
        while world.history.len() as u64 > self.config.states_kept {
            world.history.pop_front();
        }
        world.blocks.push(block, self.config.blocks_kept);
        world.next_base_fee = None;
        if matches!(self.config.clock, Clock::Stepped { .. }) {
            // The jump is now in this block's time.
            world.ahead = 0;
        }
        for hash in hopeless {
            world.pool.remove(hash);
        }
        for sender in senders {
            let next = View::new(&world.state, Vec::new(), &world.blocks).nonce(sender);
            world.pool.forget_below(sender, next);
        }
    }
}

/// What a block was filled with.
#[derive(Debug, Default)]
struct Filled {
    txs: Vec<MinedTx>,
    gas: u64,
    logs: u64,
    hopeless: Vec<B256>,
}

impl Filled {
    fn add(&mut self, tx: SignedTx, result: ExecutionResult) {
        let gas_used = result.tx_gas_used();
        self.gas = self.gas.saturating_add(gas_used);
        let contract = match &result {
            ExecutionResult::Success {
                output: Output::Create(_, address),
                ..
            } => *address,
            _ => None,
        };
        let success = result.is_success();
        // What a failed transaction had logged before it failed never happened.
        let logs = if success {
            result.into_logs()
        } else {
            Vec::new()
        };
        let first_log = self.logs;
        self.logs = self.logs.saturating_add(logs.len() as u64);
        let receipt = Receipt {
            status: Eip658Value::Eip658(success),
            cumulative_gas_used: self.gas,
            logs,
        }
        .with_bloom();
        let receipt = match tx.inner() {
            TxEnvelope::Eip2930(_) => ReceiptEnvelope::Eip2930(receipt),
            TxEnvelope::Eip1559(_) => ReceiptEnvelope::Eip1559(receipt),
            // The pool takes no other kinds.
            _ => ReceiptEnvelope::Legacy(receipt),
        };
        self.txs.push(MinedTx {
            tx,
            receipt,
            gas_used,
            contract,
            first_log,
        });
    }
}

/// What is the same in every header.
fn header_defaults() -> Header {
    Header {
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        transactions_root: EMPTY_ROOT_HASH,
        receipts_root: EMPTY_ROOT_HASH,
        withdrawals_root: Some(EMPTY_ROOT_HASH),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}

/// A transaction's bytes as they are sent.
pub(super) fn raw_bytes(tx: &SignedTx) -> alloy::primitives::Bytes {
    tx.inner().encoded_2718().into()
}
