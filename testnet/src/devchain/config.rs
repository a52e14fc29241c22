//! What a development chain is told when it starts, and the bounds it keeps. Every default
//! is in [`DevChainConfig::default`].

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use alloy::primitives::{Address, B256, U256, address, b256};

/// Chain id of the development chain and of anvil.
pub const CHAIN_ID: u64 = 31_337;

/// Private key of the account that deploys the contracts, mints tokens and gives out ether: the
/// first of the accounts that anvil and Hardhat begin with. Everybody knows it, so nothing that it
/// owns on a public chain is safe.
pub const FAUCET_KEY: B256 =
    b256!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
/// Address that belongs to [`FAUCET_KEY`].
pub const FAUCET: Address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
/// What the faucet has in the first block, in wei: a million ether.
pub const FAUCET_BALANCE: u128 = 1_000_000 * ETHER;

/// Wei in an ether.
pub const ETHER: u128 = 1_000_000_000_000_000_000;
/// Wei in a gwei.
pub const GWEI: u64 = 1_000_000_000;

/// Greatest HTTP body taken, in bytes: a batch of a hundred transactions that deploy a contract of
/// the greatest size allowed (48 KiB as hexadecimal digits each).
pub const MAX_BODY: usize = 10 * 1024 * 1024;
/// Most requests in one batch; what Infura and Alchemy allow is of this order.
pub const MAX_BATCH: usize = 100;
/// Most connections at once: a testnet of 200 nodes with two each, and room.
pub const MAX_CONNECTIONS: usize = 1_024;
/// Most snapshots kept; taking one more forgets the oldest.
pub const MAX_SNAPSHOTS: usize = 64;
/// Most blocks that one call mines. Guess; a finality depth of real chains (64) many times over.
pub const MAX_MINE: u64 = 10_000;
/// Most transactions waiting with one sender, as geth keeps for one (64), and more, because one
/// payer of a test may have a debt with each of two hundred nodes.
pub const MAX_POOL_PER_SENDER: usize = 256;
/// Longest delay that a fault may cause; longer than any client waits.
pub const MAX_DELAY: Duration = Duration::from_secs(600);
/// Most rules of faults at once.
pub const MAX_FAULT_RULES: usize = 256;
/// Most blocks in one answer of `eth_feeHistory`, as in geth.
pub const MAX_FEE_HISTORY: u64 = 1_024;
/// Most bytes that a transaction may have, as in geth (128 KiB).
pub const MAX_TRANSACTION: usize = 128 * 1024;

/// Where the time of blocks comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The machine's clock. Blocks that are mined faster than one a second run ahead of it,
    /// because each must be later than the one before.
    System,
    /// No clock: the first block is at `start`, each next one `step` later. With blocks on demand
    /// everything is then the same in every run, hashes included.
    Stepped {
        /// Time of the first block, in seconds since 1970.
        start: u64,
        /// Seconds between blocks, at least 1.
        step: u64,
    },
}

/// In whose words `eth_getLogs` refuses a range of too many blocks: clients have to understand
/// them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RangeRefusal {
    /// Code −32614, "eth_getLogs is limited to a 10,000 range" (QuickNode, Base's own endpoint).
    #[default]
    QuickNode,
    /// Code −32602, "range 20000 exceeds limit of 10000" (Infura, since 2026).
    Infura,
    /// Code −32000, "block range is bigger than maxBlockRange" (geth's relatives).
    Geth,
}

/// How a development chain is set up.
#[derive(Debug, Clone)]
pub struct DevChainConfig {
    /// Where to listen. Default: a free port of 127.0.0.1.
    pub listen: SocketAddr,
    /// Chain id. Default: [`CHAIN_ID`].
    pub chain_id: u64,
    /// Time between blocks; zero mines on demand only. Default: one second.
    pub block_time: Duration,
    /// Where the time of blocks comes from. Default: the machine's clock.
    pub clock: Clock,
    /// Blocks that are not `finalized` yet. A reorganisation goes no deeper. Default: 8, so that
    /// a testnet sees payments become final within ten seconds.
    pub finality: u64,
    /// Balances of the first block, in wei. Default: the faucet's.
    pub genesis: Vec<(Address, U256)>,
    /// Gas that fits into a block. Default: 30 million, half of it the target.
    pub gas_limit: u64,
    /// Base fee of the first block, in wei per gas. Default: 0.1 gwei.
    pub base_fee: u64,
    /// The base fee never falls below, in wei per gas. Default: 0.01 gwei, of the order of what
    /// Base has. Without a floor, empty blocks take it to 7 wei within two minutes.
    pub min_base_fee: u64,
    /// Least priority fee that the pool takes, in wei per gas. Default: 0.
    pub min_tip: u128,
    /// What `eth_maxPriorityFeePerGas` suggests at least, in wei per gas. Default: 0.001 gwei.
    pub suggested_tip: u128,
    /// Most transactions that wait. Default: 4,096, as geth's queue and pending together, about.
    pub pool: usize,
    /// Blocks whose contents are kept, receipts and logs included; older ones are gone, as at a
    /// pruned endpoint. An empty block takes about one kilobyte. Default: 50,000, about 14 hours
    /// at a block a second.
    pub blocks_kept: u64,
    /// Blocks whose state can still be asked for; also the deepest reorganisation. Default: 256,
    /// twice what a full node of geth keeps.
    pub states_kept: u64,
    /// Most blocks in one `eth_getLogs`. Default: 10,000, as at most providers.
    pub log_range: u64,
    /// How a wider range is refused.
    pub range_refusal: RangeRefusal,
    /// Most logs in one answer. Default: 10,000, as at Infura and Alchemy.
    pub log_results: usize,
}

impl Default for DevChainConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            chain_id: CHAIN_ID,
            block_time: Duration::from_secs(1),
            clock: Clock::System,
            finality: 8,
            genesis: vec![(FAUCET, U256::from(FAUCET_BALANCE))],
            gas_limit: 30_000_000,
            base_fee: GWEI / 10,
            min_base_fee: GWEI / 100,
            min_tip: 0,
            suggested_tip: u128::from(GWEI / 1_000),
            pool: 4_096,
            blocks_kept: 50_000,
            states_kept: 256,
            log_range: 10_000,
            range_refusal: RangeRefusal::default(),
            log_results: 10_000,
        }
    }
}

impl DevChainConfig {
    /// A chain for tests: blocks on demand only, and the same hashes in every run.
    #[must_use]
    pub fn on_demand() -> Self {
        Self {
            block_time: Duration::ZERO,
            // Any time does; this is when the project's first block could have been.
            clock: Clock::Stepped {
                start: 1_790_000_000,
                step: 1,
            },
            ..Self::default()
        }
    }

    /// The first value that makes no sense, in words.
    pub(super) fn problem(&self) -> Option<&'static str> {
        // Below it not even a transfer fits; above it sums of gas could overflow.
        const GAS: std::ops::RangeInclusive<u64> = 100_000..=1_000_000_000_000;
        if self.blocks_kept < self.states_kept || self.states_kept < self.finality {
            return Some("blocks_kept >= states_kept >= finality must hold");
        }
        if self.states_kept == 0 {
            return Some("states_kept must be at least 1");
        }
        if !GAS.contains(&self.gas_limit) {
            return Some("gas_limit must be between 100,000 and 1,000,000,000,000");
        }
        if self.base_fee < self.min_base_fee {
            return Some("base_fee must not be below min_base_fee");
        }
        if matches!(self.clock, Clock::Stepped { step: 0, .. }) {
            return Some("a block must be later than the one before: step must be at least 1");
        }
        if self.genesis.len() > MAX_POOL_PER_SENDER * MAX_POOL_PER_SENDER {
            return Some("more accounts in the first block than a testnet has nodes");
        }
        if self.log_range == 0 || self.log_results == 0 || self.pool == 0 {
            return Some("log_range, log_results and pool must be at least 1");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_faucet_is_the_owner_of_its_key() {
        let signer = alloy::signers::local::PrivateKeySigner::from_bytes(&FAUCET_KEY).unwrap();
        assert_eq!(signer.address(), FAUCET);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        assert_eq!(DevChainConfig::default().problem(), None);
        assert_eq!(DevChainConfig::on_demand().problem(), None);
        let bad = DevChainConfig {
            finality: 300,
            ..DevChainConfig::default()
        };
        assert!(bad.problem().unwrap().contains("finality"));
        let bad = DevChainConfig {
            clock: Clock::Stepped { start: 0, step: 0 },
            ..DevChainConfig::default()
        };
        assert!(bad.problem().unwrap().contains("step"));
    }
}
