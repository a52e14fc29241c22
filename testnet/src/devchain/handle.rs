//! The chain from inside the process: controls, and the truth whatever the endpoint says.

use std::sync::Arc;

use alloy::primitives::{Address, B256, U256};
use serde_json::Value;

use super::chain::{Fate, Reorged};
use super::config::MAX_MINE;
use super::error::RpcError;
use super::faults::Faults;
use super::rpc::Params;
use super::server::{Shared, system_time};

/// Controls a development chain. Cheap to clone; everything takes effect before it returns, and
/// nothing waits.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Number of the newest block.
    #[must_use]
    pub fn block_number(&self) -> u64 {
        self.shared.lock().chain.head().header.number
    }

    /// Hash of the newest block.
    #[must_use]
    pub fn head_hash(&self) -> B256 {
        self.shared.lock().chain.head().hash
    }

    /// Adds `blocks` blocks (up to [`MAX_MINE`]); waiting transactions go into the first that has
    /// room. Returns the number of the newest.
    pub fn mine(&self, blocks: u64) -> u64 {
        let mut node = self.shared.lock();
        node.chain.mine(blocks.min(MAX_MINE), system_time())
    }

    /// Replaces the newest `depth` blocks.
    ///
    /// # Errors
    /// When `depth` is zero or would reach a finalized block; nothing has changed then.
    pub fn reorg(&self, depth: u64, fate: Fate) -> Result<Reorged, RpcError> {
        let mut node = self.shared.lock();
        node.chain.reorg(depth, fate, system_time())
    }

    /// Takes a waiting transaction out of the pool; `false` when none with this hash waits.
    pub fn drop_transaction(&self, hash: B256) -> bool {
        self.shared.lock().chain.drop_transaction(hash)
    }

    /// Remembers everything but the faults. Of more than
    /// [`MAX_SNAPSHOTS`](super::MAX_SNAPSHOTS) the oldest is forgotten.
    #[must_use]
    pub fn snapshot(&self) -> u64 {
        self.shared.lock().chain.snapshot()
    }

    /// Goes back to a snapshot, which is used up with all later ones; `false` when it is not
    /// known.
    pub fn revert(&self, snapshot: u64) -> bool {
        self.shared.lock().chain.revert(snapshot)
    }

    /// Sets the base fee of the next block alone, in wei per gas.
    pub fn set_next_base_fee(&self, wei: u64) {
        self.shared.lock().chain.set_next_base_fee(wei);
    }

    /// Moves the time of all blocks to come by so many seconds; with a stepped clock that of the
    /// next one, from which the others go on.
    pub fn increase_time(&self, seconds: u64) {
        self.shared.lock().chain.increase_time(seconds);
    }

    /// Gives an account wei, as if it had had them since the first block: neither a block nor a
    /// transaction says so.
    ///
    /// # Errors
    /// When the balance would be too large.
    pub fn fund(&self, address: Address, wei: U256) -> Result<(), RpcError> {
        self.shared.lock().chain.fund(address, wei)
    }

    /// Makes the endpoint do these things wrong, and no others.
    ///
    /// # Errors
    /// When there are too many rules, or an HTTP status is not one of failure; nothing has changed
    /// then.
    pub fn set_faults(&self, faults: Faults) -> Result<(), RpcError> {
        faults.check()?;
        self.shared.lock().faults = faults;
        Ok(())
    }

    /// What the endpoint does wrong at present; rules that are used up have `times` zero.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.shared.lock().faults.clone()
    }

    /// Asks the chain something by a reading method of JSON-RPC, and gets the truth: no fault has
    /// a say. `params` is a list.
    ///
    /// # Errors
    /// As the method's.
    pub fn read(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        let node = self.shared.lock();
        let params = Params::of(Some(&params))?;
        node.read(&Faults::default(), method, params, system_time())
    }

    /// Sends a signed transaction past all faults. Returns its hash.
    ///
    /// # Errors
    /// When the pool refuses it.
    pub fn submit(&self, raw: &[u8]) -> Result<B256, RpcError> {
        self.shared.lock().chain.submit(raw)
    }

    /// A balance after the newest block, in wei.
    #[must_use]
    pub fn balance(&self, address: Address) -> U256 {
        self.shared.lock().chain.view().balance(address)
    }

    /// An account's next nonce after the newest block.
    #[must_use]
    pub fn nonce(&self, address: Address) -> u64 {
        self.shared.lock().chain.view().nonce(address)
    }
}
