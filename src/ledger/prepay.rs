//! When a payer pays a hop in advance by itself. Pure: the caller says what the hop reported and
//! what was advanced so far, and hands the answer to the payment engine.
//!
//! A hop gives little on trust, less than is worth a transaction. A stranger starts by prepaying;
//! what he risks is that amount, once, and the budget bounds it per hop and in all.

use super::Wei;
use super::money::{Round, mul_div};

/// What may be advanced without asking the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PrepayBudget {
    /// Most that a hop may hold of advances that are not used up.
    pub per_hop: Wei,
    /// Most that is advanced to all hops on one day.
    pub per_day: Wei,
}

/// The rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrepayPolicy {
    /// The bounds; zero turns automatic prepayment off.
    pub budget: PrepayBudget,
    /// The least that is worth a transaction at present ([`super::fit::least_payment`]).
    pub least: Wei,
}

/// An advance is made when less than one part in so many of what one advance buys is left. Guess:
/// with a quarter of it left there are minutes until it is used up, and a block takes seconds.
const LOW: u128 = 4;

impl PrepayPolicy {
    /// How much to advance to a hop now, if anything: it says that `remaining` credit is left, and
    /// holds `ahead` of earlier advances (those under way included); `today` was advanced to all
    /// hops since midnight. The answer is what fits the budget, and no less than is worth its fee.
    pub fn decide(&self, remaining: Wei, ahead: Wei, today: Wei) -> Option<Wei> {
        let wanted = self.least.max(self.budget.per_hop / 2);
        let low = mul_div(wanted, 1, LOW, Round::Up)?;
        if remaining >= low {
            return None;
        }
        let room = self.budget.per_hop.checked_sub(ahead)?;
        let room = room.min(self.budget.per_day.checked_sub(today)?);
        let amount = wanted.min(room);
        (amount > 0 && amount >= self.least).then_some(amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: PrepayPolicy = PrepayPolicy {
        budget: PrepayBudget {
            per_hop: 1_000,
            per_day: 1_200,
        },
        least: 300,
    };

    #[test]
    fn advances_are_made_when_credit_runs_out_and_stay_within_the_budget() {
        assert_eq!(POLICY.decide(125, 0, 0), None);
        assert_eq!(POLICY.decide(124, 0, 0), Some(500));
        assert_eq!(POLICY.decide(0, 600, 500), Some(400));
        assert_eq!(POLICY.decide(0, 800, 0), None, "less than is worth a fee");
        assert_eq!(POLICY.decide(0, 0, 900), Some(300));
        assert_eq!(POLICY.decide(0, 0, 901), None);
        assert_eq!(POLICY.decide(0, 1_001, 0), None);
        let off = PrepayPolicy {
            budget: PrepayBudget::default(),
            ..POLICY
        };
        assert_eq!(off.decide(0, 0, 0), None);
    }
}
