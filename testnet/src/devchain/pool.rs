//! Transactions that wait for a block: one for each sender and nonce, replaced by a better paying
//! one, held back while a nonce before them is missing.

use std::collections::{BTreeMap, HashMap};

use alloy::consensus::Transaction;
use alloy::primitives::{Address, B256, U256};

use super::blocks::SignedTx;
use super::config::MAX_POOL_PER_SENDER;
use super::error::RpcError;

/// A replacement must offer this many per cent more, in both fees (geth's default, and the rule of
/// nearly every chain).
const PRICE_BUMP: u128 = 10;

#[derive(Debug, Clone)]
struct Waiting {
    tx: SignedTx,
    /// Order of arrival, which decides between equal tips.
    arrival: u64,
}

/// The pool.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool {
    by_sender: BTreeMap<Address, BTreeMap<u64, Waiting>>,
    by_hash: HashMap<B256, (Address, u64)>,
    arrivals: u64,
}

/// The most that a transaction can take from its sender, in wei.
pub(super) fn greatest_cost(tx: &SignedTx) -> U256 {
    U256::from(tx.max_fee_per_gas())
        .saturating_mul(U256::from(tx.gas_limit()))
        .saturating_add(tx.value())
}

fn tip_cap(tx: &SignedTx) -> u128 {
    // A legacy transaction offers its whole price as tip.
    tx.max_priority_fee_per_gas()
        .unwrap_or_else(|| tx.max_fee_per_gas())
}

/// True when `new` offers enough to take the place of `old`: ten per cent more, rounded up, in
/// both fees.
fn replaces(old: &SignedTx, new: &SignedTx) -> bool {
    let enough = |old: u128, new: u128| {
        // Fees near the end of the range are refused long before for want of money.
        new > old && new.saturating_mul(100) >= old.saturating_mul(100 + PRICE_BUMP)
    };
    enough(old.max_fee_per_gas(), new.max_fee_per_gas()) && enough(tip_cap(old), tip_cap(new))
}

impl Pool {
    /// Number of transactions.
    pub(super) fn len(&self) -> usize {
        self.by_hash.len()
    }

    pub(super) fn contains(&self, hash: B256) -> bool {
        self.by_hash.contains_key(&hash)
    }

    pub(super) fn get(&self, hash: B256) -> Option<&SignedTx> {
        let (sender, nonce) = self.by_hash.get(&hash)?;
        Some(&self.by_sender.get(sender)?.get(nonce)?.tx)
    }

    /// What a sender's transactions with other nonces can cost together, in wei.
    pub(super) fn cost_beside(&self, sender: Address, nonce: u64) -> U256 {
        self.by_sender
            .get(&sender)
            .into_iter()
            .flatten()
            .filter(|(n, _)| **n != nonce)
            .fold(U256::ZERO, |sum, (_, waiting)| {
                sum.saturating_add(greatest_cost(&waiting.tx))
            })
    }

    /// The nonce after the last that waits without a gap from `next` on.
    pub(super) fn next_nonce(&self, sender: Address, next: u64) -> u64 {
        let mut expected = next;
        if let Some(own) = self.by_sender.get(&sender) {
            while own.contains_key(&expected) {
                expected = expected.saturating_add(1);
            }
        }
        expected
    }

    /// Adds a transaction that is valid by itself.
    ///
    /// # Errors
    /// When another with its nonce waits and pays too much to be replaced, or there is no room;
    /// nothing has changed then.
    pub(super) fn add(&mut self, tx: SignedTx, capacity: usize) -> Result<(), RpcError> {
        let (sender, nonce, hash) = (tx.signer(), tx.nonce(), *tx.tx_hash());
        if self.contains(hash) {
            return Err(RpcError::already_known());
        }
        let own = self.by_sender.get(&sender);
        match own.and_then(|own| own.get(&nonce)) {
            Some(old) if !replaces(&old.tx, &tx) => {
                return Err(RpcError::underpriced_replacement());
            }
            Some(_) => {}
            None => {
                if self.len() >= capacity {
                    return Err(RpcError::server("txpool is full"));
                }
                if own.is_some_and(|own| own.len() >= MAX_POOL_PER_SENDER) {
                    return Err(RpcError::server("account limit exceeded"));
                }
            }
        }
        self.put(tx);
        Ok(())
    }

    /// Puts a transaction back that a block had and has no more. One that waits already with the
    /// same nonce stays.
    pub(super) fn put_back(&mut self, tx: SignedTx) {
        let taken = self
            .by_sender
            .get(&tx.signer())
            .is_some_and(|own| own.contains_key(&tx.nonce()));
        if !taken {
            self.put(tx);
        }
    }

    fn put(&mut self, tx: SignedTx) {
        let (sender, nonce, hash) = (tx.signer(), tx.nonce(), *tx.tx_hash());
        let arrival = self.arrivals;
        self.arrivals = self.arrivals.saturating_add(1);
        let own = self.by_sender.entry(sender).or_default();
        if let Some(old) = own.insert(nonce, Waiting { tx, arrival }) {
            self.by_hash.remove(old.tx.tx_hash());
        }
        self.by_hash.insert(hash, (sender, nonce));
    }

    /// Takes a transaction out; `false` when it is not there.
    pub(super) fn remove(&mut self, hash: B256) -> bool {
        let Some((sender, nonce)) = self.by_hash.remove(&hash) else {
            return false;
        };
        if let Some(own) = self.by_sender.get_mut(&sender) {
            own.remove(&nonce);
            if own.is_empty() {
                self.by_sender.remove(&sender);
            }
        }
        true
    }

    /// Takes out what a sender can never send any more: nonces below `next`.
    pub(super) fn forget_below(&mut self, sender: Address, next: u64) {
        let Some(own) = self.by_sender.get_mut(&sender) else {
            return;
        };
        let kept = own.split_off(&next);
        for waiting in std::mem::replace(own, kept).into_values() {
            self.by_hash.remove(waiting.tx.tx_hash());
        }
        if own.is_empty() {
            self.by_sender.remove(&sender);
        }
    }

    /// Of the transactions whose turn it is, the one that pays the greatest tip: `turn` says the
    /// next nonce of a sender, or `None` when that sender is to be passed over. Those that do not
    /// pay the base fee wait.
    pub(super) fn best(
        &self,
        base_fee: u64,
        turn: impl Fn(Address) -> Option<u64>,
    ) -> Option<SignedTx> {
        self.by_sender
            .iter()
            .filter_map(|(sender, own)| own.get(&turn(*sender)?))
            .filter_map(|waiting| Some((waiting.tx.effective_tip_per_gas(base_fee)?, waiting)))
            .max_by_key(|(tip, waiting)| (*tip, std::cmp::Reverse(waiting.arrival)))
            .map(|(_, waiting)| waiting.tx.clone())
    }

    /// Numbers of transactions whose turn it is, and of those held back by a missing nonce.
    pub(super) fn counts(&self, next: impl Fn(Address) -> u64) -> (usize, usize) {
        let ready = self
            .by_sender
            .keys()
            .map(|sender| {
                let first = next(*sender);
                let after = self.next_nonce(*sender, first);
                usize::try_from(after.saturating_sub(first)).unwrap_or(usize::MAX)
            })
            .sum::<usize>();
        (ready, self.len().saturating_sub(ready))
    }
}
