//! The open circuits of one account, at either side: counters in, amounts out.

use std::collections::{BTreeMap, VecDeque};

use alloy_primitives::B256;

use super::limits::{IN_FLIGHT, MAX_CIRCUITS, RECENT};
use crate::key::CircuitRef;
use crate::rates::{RatePack, Service, Usage, Wei};

/// On what terms a circuit is served: what its authorisation says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The authorised rates.
    pub rates: RatePack,
    /// Which of them apply.
    pub service: Service,
    /// Most that the circuit may cost, in wei.
    pub max_spend: Wei,
}

impl Terms {
    /// The price of what was carried.
    pub fn price(&self, usage: Usage) -> Wei {
        self.rates.price(self.service, usage)
    }
}

#[derive(Debug, Clone)]
struct Open {
    terms: Terms,
    usage: Usage,
}

/// What counting made of new counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// How much more is owed.
    pub(super) more: Wei,
    /// Whether the circuit has just come to cost more than was authorised.
    pub(super) over_spend: bool,
}

/// The circuits of one account.
#[derive(Debug, Clone, Default)]
pub(super) struct Circuits {
    open: BTreeMap<CircuitRef, Open>,
    /// Circuits that broke since both sides last agreed: each may differ by what was in flight.
    pub(super) broken: u32,
    /// The price of what one circuit may have in flight, at the highest rates seen.
    in_flight: Wei,
}

impl Circuits {
    /// `false` when there are too many, or one of this name.
    pub(super) fn open(&mut self, circuit: CircuitRef, terms: Terms) -> bool {
        if self.open.len() >= MAX_CIRCUITS || self.open.contains_key(&circuit) {
            return false;
        }
        let usage = Usage {
            over: IN_FLIGHT,
            back: Default::default(),
        };
        self.in_flight = self.in_flight.max(terms.price(usage));
        let usage = Usage::default();
        self.open.insert(circuit, Open { terms, usage });
        true
    }

    /// Takes a circuit's counters as they are now. Nothing for one that is not open.
    pub(super) fn count(&mut self, circuit: &CircuitRef, usage: Usage) -> Counted {
        let Some(open) = self.open.get_mut(circuit) else {
            return Counted::default();
        };
        let before = open.terms.price(open.usage);
        open.usage = open.usage.max(usage);
        let after = open.terms.price(open.usage);
        let limit = open.terms.max_spend;
        Counted {
            // Prices grow with counters, so this never saturates.
            more: after.saturating_sub(before),
            over_spend: before <= limit && after > limit,
        }
    }

    /// The circuit has ended. `false` if it was not open.
    pub(super) fn end(&mut self, circuit: &CircuitRef, clean: bool) -> bool {
        let ended = self.open.remove(circuit).is_some();
        if ended && !clean {
            self.broken = self.broken.saturating_add(1);
        }
        ended
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Open ones but for `circuit`.
    pub(super) fn others(&self, circuit: Option<&CircuitRef>) -> usize {
        let named = circuit.is_some_and(|circuit| self.open.contains_key(circuit));
        self.open.len() - usize::from(named)
    }

    pub(super) fn usage(&self, circuit: &CircuitRef) -> Option<Usage> {
        self.open.get(circuit).map(|open| open.usage)
    }

    pub(super) fn terms(&self, circuit: &CircuitRef) -> Option<Terms> {
        self.open.get(circuit).map(|open| open.terms)
    }

    /// What an open circuit has cost so far; 0 for one that is not open.
    pub(super) fn cost(&self, circuit: &CircuitRef) -> Wei {
        self.open
            .get(circuit)
            .map_or(0, |open| open.terms.price(open.usage))
    }

    /// The price of what one circuit may have in flight.
    pub(super) fn in_flight(&self) -> Wei {
        self.in_flight
    }

    /// What broken circuits may differ by.
    pub(super) fn residue(&self) -> Wei {
        self.in_flight.saturating_mul(self.broken.into())
    }

    /// What open and broken circuits may differ by.
    pub(super) fn tolerance(&self) -> Wei {
        let open = u128::try_from(self.open.len()).unwrap_or(u128::MAX);
        self.in_flight
            .saturating_mul(open)
            .saturating_add(self.residue())
    }
}

/// The last few transactions that were counted for good, so that none is counted twice even
/// where the host says it twice.
#[derive(Debug, Clone, Default)]
pub(super) struct Recent(VecDeque<B256>);

impl Recent {
    pub(super) fn restore(transactions: Vec<B256>) -> Self {
        let skip = transactions.len().saturating_sub(RECENT);
        Self(transactions.into_iter().skip(skip).collect())
    }

    pub(super) fn list(&self) -> Vec<B256> {
        self.0.iter().copied().collect()
    }

    pub(super) fn contains(&self, transaction: &B256) -> bool {
        self.0.contains(transaction)
    }

    pub(super) fn push(&mut self, transaction: B256) {
        if self.0.len() >= RECENT {
            self.0.pop_front();
        }
        self.0.push_back(transaction);
    }
}
