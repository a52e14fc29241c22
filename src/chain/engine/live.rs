//! A payment under way: what is written down, and what was seen of it since the start.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy_primitives::{Address, B256};

use super::intent::{Intent, Kind, Outcome, Variant};
use super::io::{Endpoint, Receipt, View};
use crate::ledger::Wei;

/// What one endpoint shows of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// Its nonce is free.
    Absent,
    /// Its nonce is used, by nothing that the endpoint shows.
    Taken,
    /// It is in that block, which is not final.
    Included { hash: B256, block: B256 },
    /// Its nonce is used for good, by that transaction (zero: a foreign one).
    Final { hash: B256, outcome: Outcome },
}

pub(super) struct Live {
    pub intent: Intent,
    /// Number of the commit that holds the newest variant.
    pub seq: u64,
    /// The newest variant is to be sent.
    pub unsent: bool,
    /// When something was last sent; `None` when it should be sent again.
    pub sent_at: Option<Duration>,
    /// When the newest variant was made, or first missed after a start.
    pub made_at: Option<Duration>,
    /// The block it was last seen in.
    pub included: Option<(B256, B256)>,
    /// Which end of it each endpoint says is final.
    pub votes: BTreeMap<Endpoint, (B256, Outcome)>,
    /// How often a foreign transaction was seen in its place.
    pub foreign_seen: u8,
    /// The user was told that it is stuck.
    pub stuck: bool,
}

impl Live {
    pub(super) fn new(intent: Intent, seq: u64) -> Self {
        Self {
            intent,
            seq,
            unsent: false,
            sent_at: None,
            made_at: None,
            included: None,
            votes: BTreeMap::new(),
            foreign_seen: 0,
            stuck: false,
        }
    }

    pub(super) fn has(&self, hash: &B256) -> bool {
        self.intent.variants.iter().any(|v| v.hash == *hash)
    }

    /// The newest variant.
    pub(super) fn newest(&self) -> Option<&Variant> {
        self.intent.variants.last()
    }

    /// What `view` shows; `None` when that can't be true. `complete` says whether all variants were
    /// asked for: only then does a missing receipt mean something.
    pub(super) fn sight(&self, view: &View, complete: bool) -> Option<Sight> {
        let mut ours = view.receipts.iter().filter(|r| self.has(&r.hash));
        let receipt = ours.next();
        if ours.next().is_some() {
            // Two transactions with one nonce are never in one chain.
            return None;
        }
        let nonce = self.intent.nonce;
        let used = view.nonces.latest > nonce;
        let used_for_good = view.nonces.finalized.map(|next| next > nonce);
        Some(match receipt {
            Some(receipt) if receipt.block > view.head => return None,
            Some(receipt) if used_for_good != Some(false) && receipt.block <= view.finalized => {
                Sight::Final {
                    hash: receipt.hash,
                    outcome: self.outcome(receipt),
                }
            }
            // A receipt above the final blocks of a nonce that is used up below them.
            Some(_) if used_for_good == Some(true) => return None,
            Some(receipt) => Sight::Included {
                hash: receipt.hash,
                block: receipt.block_hash,
            },
            None if used_for_good == Some(true) && complete => Sight::Final {
                hash: B256::ZERO,
                outcome: Outcome::Foreign,
            },
            None if used => Sight::Taken,
            None => Sight::Absent,
        })
    }

    /// What a final receipt means.
    fn outcome(&self, receipt: &Receipt) -> Outcome {
        let variant = self.intent.variants.iter().find(|v| v.hash == receipt.hash);
        if variant.is_some_and(|variant| variant.cancels) {
            return Outcome::Cancelled;
        }
        match self.intent.kind {
            _ if !receipt.success => Outcome::Failed,
            Kind::Approve(_) => Outcome::Paid,
            // The token's own word that the money moved: success alone is not enough.
            Kind::Transfer | Kind::Batch if self.moved(&receipt.transfers) => Outcome::Paid,
            Kind::Transfer | Kind::Batch if receipt.transfers.is_empty() => Outcome::Failed,
            // Paying again would lose the same once more.
            Kind::Transfer | Kind::Batch => Outcome::Astray,
        }
    }

    fn moved(&self, transfers: &[(Address, Wei)]) -> bool {
        let sum = |items: &mut dyn Iterator<Item = (Address, Wei)>| {
            let mut sums: BTreeMap<Address, Wei> = BTreeMap::new();
            for (wallet, amount) in items {
                let sum = sums.entry(wallet).or_default();
                *sum = sum.saturating_add(amount);
            }
            sums
        };
        let legs = self.intent.legs.iter();
        let wanted = sum(&mut legs.map(|leg| (leg.payee.wallet, leg.amount())));
        wanted == sum(&mut transfers.iter().copied())
    }
}
