//! The chain as a pure machine: transactions in, blocks out, time handed in. It knows nothing of
//! HTTP, JSON or faults.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use alloy::consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy::consensus::transaction::SignerRecoverable;
use alloy::consensus::{
    EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH, Eip658Value, Header, Receipt, ReceiptEnvelope,
    Transaction, TxEnvelope,
};
use alloy::eips::eip2718::{Decodable2718, Encodable2718};
use alloy::eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy::primitives::{Address, B256, Bloom, KECCAK256_EMPTY, U256, address, keccak256};
use revm::context::result::{EVMError, ExecutionResult, InvalidTransaction, Output};
use revm::database_interface::DatabaseCommit;

use super::blocks::{Block, Blocks, MinedTx, SignedTx};
use super::config::{Clock, DevChainConfig, MAX_SNAPSHOTS, MAX_TRANSACTION};
use super::error::RpcError;
use super::evm::{self, Surroundings};
use super::fees;
use super::pool::{Pool, greatest_cost};
use super::state::{Diff, Overlay, State, View};

/// Gets the tips. Nobody has its key.
const BENEFICIARY: Address = address!("000000000000000000000000000000006D617371");
/// Greatest code that makes a contract (EIP-3860), in bytes.
const MAX_INIT_CODE: usize = 49_152;
/// Least gas of any transaction: where less is left in a block, it is full.
const LEAST_GAS: u64 = 21_000;

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
            Clock::Stepped { step, .. } => parent
                .saturating_add(step)
                .saturating_add(self.world.ahead),
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

    /// Takes a signed transaction into the pool.
    ///
    /// # Errors
    /// In geth's words; nothing has changed then.
    pub(super) fn submit(&mut self, raw: &[u8]) -> Result<B256, RpcError> {
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
        let tx: SignedTx = Arc::new(alloy::consensus::transaction::Recovered::new_unchecked(
            tx, signer,
        ));
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
            logs_bloom: txs.iter().fold(Bloom::ZERO, |bloom, tx| {
                bloom | *tx.receipt.logs_bloom()
            }),
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

    /// Takes the newest `depth` blocks away and puts as many others in their places.
    ///
    /// # Errors
    /// When `depth` is zero, or would reach a finalized block or one whose state is gone; nothing
    /// has changed then.
    pub(super) fn reorg(&mut self, depth: u64, fate: Fate, now: u64) -> Result<Reorged, RpcError> {
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
    pub(super) fn snapshot(&mut self) -> u64 {
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
    pub(super) fn revert(&mut self, id: u64) -> bool {
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

#[cfg(test)]
mod tests;
