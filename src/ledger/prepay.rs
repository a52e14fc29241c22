//! When a payer pays a hop in advance by itself. Pure: the caller says what the hop reported and
//! what was advanced so far, and hands the answer to the payment engine.
//!
//! A hop gives little on trust, less than is worth a transaction. A stranger starts by prepaying;
//! what he risks is that amount, once, and the budget bounds it per hop and in all.

use super::Wei;
use super::money::TOKEN;

/// What is advanced on one day by default. Guess: eight advances of half a token, twice the hops of
/// one route; such an advance is worth a transaction on the cheap chains at usual fees.
const USUAL_BUDGET: Wei = 4 * TOKEN;
/// One hop may hold one part in so many of a day's budget. Guess: a route has some four hops that are
/// paid, and a bad one must not take what is there for the others.
const HOP_SHARE: Wei = 4;

/// What may be advanced without asking the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PrepayBudget {
    /// Most that a hop may hold of advances that are not used up.
    pub per_hop: Wei,
    /// Most that is paid to all hops on one day when something is advanced; debts that are paid on
    /// that day count as well.
    pub per_day: Wei,
    /// Whether the user has set it: one that is too small for the chain's fees is a mistake then,
    /// and said at start. The default is of no use meanwhile.
    pub is_set: bool,
}

impl PrepayBudget {
    /// The default.
    pub fn usual() -> Self {
        Self {
            is_set: false,
            ..Self::of_a_day(USUAL_BUDGET)
        }
    }

    /// What the user has set for a day; zero turns automatic prepayment off.
    pub fn of_a_day(per_day: Wei) -> Self {
        Self {
            per_hop: per_day / HOP_SHARE,
            per_day,
            is_set: true,
        }
    }

    /// Whether anything may be advanced at all.
    pub fn is_none(&self) -> bool {
        self.per_hop.min(self.per_day) == 0
    }
}

/// How it stands with a hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// What it will still carry before it wants to be paid, as it said last.
    pub remaining: Wei,
    /// What it is owed, by the payer's books.
    pub due: Wei,
    /// What it holds of advances by the payer's books, those under way and those asked for among
    /// them.
    pub ahead: Wei,
}

/// What to do about a hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Nothing: there is credit left, or an advance that the hop has not counted yet.
    Enough,
    /// Advance so much, beyond what is owed, which is paid with it.
    Advance(Wei),
    /// An advance is wanted, and what is left of the day's budget is too little for it.
    DaySpent,
    /// An advance is wanted, and one that is worth its fee is more than a hop may hold.
    NotWorthIt,
}

/// The rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrepayPolicy {
    /// The bounds; zero turns automatic prepayment off.
    pub budget: PrepayBudget,
    /// The least that is worth a transaction at present ([`super::fit::least_payment`]).
    pub least: Wei,
}

/// An advance is made when less than one part in so many is left of what the last one bought, or,
/// at a hop that was never paid, of what it gives on trust. Guess: with a quarter of an advance left
/// there are minutes until it is used up, and a block takes seconds.
const LOW: u128 = 4;

impl PrepayPolicy {
    /// How much to advance to a hop now, if anything, when `today` was paid to all hops since
    /// midnight, what is asked for and not paid yet included. The answer fits the budget, and is no
    /// less than is worth its fee.
    pub fn decide(&self, standing: Standing, today: Wei) -> Advice {
        let PrepayBudget {
            per_hop, per_day, ..
        } = self.budget;
        if self.budget.is_none() {
            return Advice::Enough;
        }
        let Standing {
            remaining,
            due,
            ahead,
        } = standing;
        let wanted = self.least.max(per_hop / 2);
        // By the payer's own books: a hop that has not counted an advance yet is not given another,
        // nor is one that says it has not.
        let low = wanted.div_ceil(LOW);
        let trust = remaining.saturating_add(due).div_ceil(LOW);
        let needed = match ahead {
            0 => remaining == 0 || remaining < low.min(trust),
            _ => ahead < low && remaining < low,
        };
        if !needed {
            return Advice::Enough;
        }
        let room = per_hop.saturating_sub(ahead);
        if room < self.least {
            return Advice::NotWorthIt;
        }
        let today = today.saturating_add(due);
        let amount = wanted.min(room).min(per_day.saturating_sub(today));
        if amount == 0 || amount < self.least {
            return Advice::DaySpent;
        }
        Advice::Advance(amount)
    }
}

#[cfg(test)]
mod tests {
    use super::super::price::{self, DEFAULT_RATES};
    use super::*;

    const POLICY: PrepayPolicy = PrepayPolicy {
        budget: PrepayBudget {
            per_hop: 1_000,
            per_day: 1_200,
            is_set: true,
        },
        least: 300,
    };

    fn standing(remaining: Wei, due: Wei, ahead: Wei) -> Standing {
        Standing {
            remaining,
            due,
            ahead,
        }
    }

    #[test]
    fn advances_are_made_when_credit_runs_out_and_stay_within_the_budget() {
        let decide = |ahead, today| POLICY.decide(standing(0, 0, ahead), today);
        assert_eq!(decide(0, 0), Advice::Advance(500));
        assert_eq!(decide(124, 500), Advice::Advance(500));
        assert_eq!(decide(0, 900), Advice::Advance(300));
        assert_eq!(decide(0, 901), Advice::DaySpent);
        // What is owed is paid with it, out of the same budget.
        let owing = |due| POLICY.decide(standing(0, due, 0), 700);
        assert_eq!(owing(100), Advice::Advance(400));
        assert_eq!(owing(201), Advice::DaySpent);
        for per_day in [0, 3] {
            let off = PrepayPolicy {
                budget: PrepayBudget::of_a_day(per_day),
                ..POLICY
            };
            assert_eq!(off.decide(standing(0, 0, 0), 0), Advice::Enough);
        }
    }

    #[test]
    fn a_hop_that_has_not_counted_an_advance_yet_gets_no_other() {
        assert_eq!(POLICY.decide(standing(0, 0, 500), 500), Advice::Enough);
        assert_eq!(POLICY.decide(standing(0, 0, 125), 500), Advice::Enough);
        assert_eq!(POLICY.decide(standing(125, 0, 124), 500), Advice::Enough);
    }

    #[test]
    fn a_new_hop_is_tried_on_trust_first() {
        // It gives much less than an advance: that alone is no reason for one.
        assert_eq!(POLICY.decide(standing(16, 0, 0), 0), Advice::Enough);
        assert_eq!(POLICY.decide(standing(4, 12, 0), 0), Advice::Enough);
        assert_eq!(
            POLICY.decide(standing(3, 13, 0), 0),
            Advice::Advance(500),
            "three quarters are used"
        );
    }

    #[test]
    fn fees_that_are_too_high_are_told() {
        let dear = PrepayPolicy {
            least: 1_001,
            ..POLICY
        };
        assert_eq!(dear.decide(standing(0, 0, 0), 0), Advice::NotWorthIt);
    }

    #[test]
    fn the_default_is_what_the_documentation_says() {
        let usual = PrepayBudget::usual();
        assert_eq!((usual.per_hop, usual.per_day), (TOKEN, 4 * TOKEN));
        let policy = PrepayPolicy {
            budget: usual,
            least: 0,
        };
        let Advice::Advance(amount) = policy.decide(Standing::default(), 0) else {
            panic!("nothing is advanced");
        };
        assert_eq!(amount, TOKEN / 2);
        let gigabytes = |role| {
            let one = price::hop(
                role,
                &DEFAULT_RATES,
                price::Direction::Download,
                price::GIGABYTE,
            );
            amount / one.unwrap()
        };
        use masq_cores::Role::{BackRelay, Exit};
        assert_eq!((gigabytes(BackRelay), gigabytes(Exit)), (1_709, 852));
    }
}
