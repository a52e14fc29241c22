//! What the payment engine is told about the chain and by the user.

use std::time::Duration;

use alloy_primitives::Address;

use crate::ledger::{Thresholds, Wei, opaque_debug};

/// Settings of the engine.
#[derive(Clone)]
pub struct EngineConfig {
    /// The chain.
    pub chain_id: u64,
    /// The token.
    pub token: Address,
    /// The consuming wallet, which pays.
    pub wallet: Address,
    /// The disperse contract, when several payees are to be paid by one transaction. Off by
    /// default: such a transaction shows everybody all hops of a payer together.
    pub disperse: Option<Address>,
    /// When debts are paid.
    pub thresholds: Thresholds,
    /// How many endpoints there are. With two or more, nothing is taken for final that only one of
    /// them says.
    pub endpoints: u8,
    /// Least tip for a unit of gas, in wei. The chain's, see [`crate::chain::ChainFacts`].
    pub tip_floor: u128,
    /// Most wei for a unit of gas, base fee and tip together.
    pub gas_cap: u128,
    /// What one token is worth, in wei of the coin, for the rule that a fee is at most 5 %. 0 turns
    /// the rule off.
    pub token_price: u128,
    /// Most tokens for one payee on one day.
    pub payee_day_cap: Wei,
    /// Most tokens on one day.
    pub day_cap: Wei,
    /// Most payments under way at a time.
    pub max_in_flight: usize,
    /// How often the chain is looked at while something is under way. About two blocks.
    pub poll: Duration,
    /// How often debts are held against the thresholds.
    pub scan_every: Duration,
    /// When a payment that is not in a block is sent again.
    pub resend_after: Duration,
    /// When a payment that is not in a block, and pays less than a block costs now, gets higher fees.
    pub bump_after: Duration,
    /// Whether payments are only reported and not made.
    pub dry_run: bool,
}

opaque_debug!(EngineConfig);

/// How long usage may stay in memory only. From the design: a second of usage is what a crash may
/// cost.
pub(super) const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// How long an endpoint has for an answer; then the question is asked again. A guess: some fifteen
/// calls of at most ten seconds, most of which take a tenth of one.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(120);
/// How soon a second endpoint is asked when one says that something is final.
pub(super) const SECOND_OPINION_AFTER: Duration = Duration::from_millis(200);
/// How often a foreign transaction has to be seen before payments halt for it: endpoints behind a
/// load balancer contradict each other for seconds.
pub const FOREIGN_SEEN: u8 = 3;
/// How long a node that stops waits for its payments to be sent.
pub(super) const SHUTDOWN_WAIT: Duration = Duration::from_secs(30);
/// Gas of one transfer. Measured 34,000 to 51,000; bridged tokens are proxies and take some more.
pub const TRANSFER_GAS: u64 = 80_000;
/// Gas of an approval. Measured at usual tokens: 46,000; the rest as before.
pub const APPROVE_GAS: u64 = 70_000;
/// Gas of a batch: so much and [`BATCH_GAS_EACH`] for each payee. Measured 11,000 to 15,000 each to
/// holders; a payee who never had the token costs 17,000 more.
pub const BATCH_GAS: u64 = 60_000;
/// See [`BATCH_GAS`].
pub const BATCH_GAS_EACH: u64 = 40_000;
/// Coins kept back for raising fees: so many times the first fee.
pub const KEEP_BACK: u128 = 2;

impl EngineConfig {
    /// A configuration with the defaults for everything that has one. `block` is the chain's usual
    /// time between blocks.
    pub fn new(chain_id: u64, token: Address, wallet: Address, block: Duration) -> Self {
        Self {
            chain_id,
            token,
            wallet,
            disperse: None,
            thresholds: Thresholds::default(),
            endpoints: 1,
            tip_floor: 0,
            gas_cap: u128::MAX,
            token_price: 0,
            payee_day_cap: Wei::MAX,
            day_cap: Wei::MAX,
            max_in_flight: 4,
            poll: 2 * block,
            scan_every: Duration::from_secs(600),
            resend_after: 5 * block,
            bump_after: 10 * block,
            dry_run: false,
        }
    }

    /// How many endpoints have to agree.
    pub(super) fn quorum(&self) -> usize {
        usize::from(self.endpoints.clamp(1, 2))
    }
}
