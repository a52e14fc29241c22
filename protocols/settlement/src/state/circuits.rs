//! The open circuits of one account, at either side: counters in, amounts out.

use std::collections::{BTreeMap, VecDeque};

use alloy_primitives::B256;

use super::limits::{IN_FLIGHT, MAX_CIRCUITS, RECENT, RESTART_SLACK};
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
    /// The price of what it may have in flight, in wei.
    flight: Wei,
}

/// What counting made of new counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// How much more is owed.
    pub(super) more: Wei,
    /// Whether the circuit has just come to cost more than was authorised.
    pub(super) over_spend: bool,
}

/// Circuits that broke since both sides last agreed: each may differ by what was in flight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Broken {
    /// The price of what they may have had in flight, summed.
    flight: Wei,
    /// The same, of each no more than it has cost here, summed.
    own: Wei,
    /// Circuits that were open when the node stopped: what they cost is not known.
    restarted: u32,
}

/// The circuits of one account.
#[derive(Debug, Clone, Default)]
pub(super) struct Circuits {
    open: BTreeMap<CircuitRef, Open>,
    broken: Broken,
    /// The most that one circuit is known to have had in flight, in wei.
    largest: Wei,
}

/// The price of what one circuit may have in flight.
pub(super) fn in_flight(rates: &RatePack, service: Service) -> Wei {
    rates.price_of(service, IN_FLIGHT)
}

impl Circuits {
    /// None yet; one of them may have so much in flight, whatever comes.
    pub(super) fn new(largest: Wei) -> Self {
        Self {
            largest,
            ..Self::default()
        }
    }

    /// What was open when the node stopped has broken.
    pub(super) fn restarted(&mut self) {
        self.broken.restarted = RESTART_SLACK;
    }

    /// A circuit that may have `flight` in flight, in wei. `false` when there are too many, or one
    /// of this name.
    pub(super) fn open(&mut self, circuit: CircuitRef, terms: Terms, flight: Wei) -> bool {
        if self.open.len() >= MAX_CIRCUITS || self.open.contains_key(&circuit) {
            return false;
        }
        let open = Open {
            terms,
            usage: Usage::default(),
            flight,
        };
        self.open.insert(circuit, open);
        true
    }

    /// One circuit may have so much in flight, whether it carried anything or not. Only where that
    /// is known from this node's own rates.
    pub(super) fn expect(&mut self, flight: Wei) {
        self.largest = self.largest.max(flight);
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
        self.largest = self.largest.max(open.flight.min(after));
        Counted {
            // Prices grow with counters, so this never saturates.
            more: after.saturating_sub(before),
            over_spend: before <= limit && after > limit,
        }
    }

    /// The circuit has ended. `false` if it was not open.
    pub(super) fn end(&mut self, circuit: &CircuitRef, clean: bool) -> bool {
        let Some(open) = self.open.remove(circuit) else {
            return false;
        };
        if !clean {
            let own = open.flight.min(open.terms.price(open.usage));
            self.broken.flight = self.broken.flight.saturating_add(open.flight);
            self.broken.own = self.broken.own.saturating_add(own);
        }
        true
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

    /// The most that one circuit is known to have had in flight, in wei.
    pub(super) fn largest(&self) -> Wei {
        self.largest
    }

    /// Circuits that broke since both sides last agreed.
    pub(super) fn broken(&self) -> Broken {
        self.broken
    }

    /// Both sides agree on circuits that broke; those that broke since are left.
    pub(super) fn agree(&mut self, on: Broken) {
        let broken = &mut self.broken;
        broken.flight = broken.flight.saturating_sub(on.flight);
        broken.own = broken.own.saturating_sub(on.own);
        broken.restarted = broken.restarted.saturating_sub(on.restarted);
    }

    fn restart_slack(&self, broken: Broken) -> Wei {
        self.largest.saturating_mul(broken.restarted.into())
    }

    /// What this side may take out of its books after these broke: of none of them more than it
    /// has cost here.
    pub(super) fn residue(&self, broken: Broken) -> Wei {
        broken.own.saturating_add(self.restart_slack(broken))
    }

    /// What the other side may have counted more for broken circuits.
    pub(super) fn missed(&self) -> Wei {
        let broken = self.broken;
        broken.flight.saturating_add(self.restart_slack(broken))
    }

    /// What the other side may have counted more for open and broken circuits.
    pub(super) fn tolerance(&self) -> Wei {
        self.open
            .values()
            .fold(self.missed(), |sum, open| sum.saturating_add(open.flight))
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
