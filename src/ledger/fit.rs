//! Whether limits, thresholds, rates and the chain's present fees fit together. Looked at when the
//! node starts: a combination that can never settle is refused, with the figures.

use masq_cores::Role;
use masq_gossip::RatePack;

use super::money::{Round, TOKEN, Tokens, mul_div};
use super::{Limits, PrepayBudget, Thresholds, Wei, price};

/// A payment's fee is at most one part in so many of its value: 5 %. From the settlement design.
pub const FEE_PARTS: u128 = 20;

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// When debts are paid.
    pub thresholds: &'a Thresholds,
    /// What is given on trust; `None` at a node that serves nobody.
    pub limits: Option<&'a Limits>,
    /// What is paid in advance; `None` at a node that originates nothing.
    pub prepay: Option<&'a PrepayBudget>,
    /// The most that is paid to one hop on one day.
    pub payee_day_cap: Wei,
    /// The node's prices.
    pub rates: &'a RatePack,
    /// The fee of one transfer at present, in wei of the chain's coin.
    pub fee: u128,
    /// What one token is worth, in wei of the chain's coin; 0 when fees are not to be looked at.
    pub token_price: u128,
}

/// Everything fits; the figures, for the log and the documentation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    /// The smallest payment that is worth its fee.
    pub least: Wei,
    /// Gigabytes through one relay that the smallest paid debt is; `None` when relaying is free.
    pub relay_gb: Option<f64>,
    /// The same through one exit.
    pub exit_gb: Option<f64>,
}

/// What does not fit, with the figures and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// The debts that the thresholds ask to be paid are too small for the fee.
    #[error(
        "debts are paid from {} on, but a payment costs {fee} wei at present, which is {}; as the \
         fee may be 5 % of a payment at most, debts below {} can never be settled. Raise the \
         permanent debt of the thresholds to {} or more, or use a cheaper chain",
        Tokens(*permanent), Tokens(*fee_in_tokens), Tokens(*least), Tokens(*least)
    )]
    CannotSettle {
        /// Where the line ends.
        permanent: Wei,
        /// The fee, in wei of the chain's coin.
        fee: u128,
        /// The fee in the token.
        fee_in_tokens: Wei,
        /// The least that can be settled.
        least: Wei,
    },
    /// The caps of a day leave no payment that is worth its fee.
    #[error(
        "one hop is paid {} a day at most, a quarter of day_cap; but debts are paid from {} on, and \
         a payment below {} is not worth its fee at present. Raise day_cap",
        Tokens(*cap), Tokens(*permanent), Tokens(*least)
    )]
    CapTooSmall {
        /// The most for one hop on one day.
        cap: Wei,
        /// From where on debts are paid.
        permanent: Wei,
        /// The least that can be settled.
        least: Wei,
    },
    /// Automatic prepayment was set up with a budget that pays for nothing.
    #[error(
        "the prepayment budget is {} a hop and {} a day, but a payment below {} is not worth its \
         fee at present. Raise the budget to that or more, or set it to 0 to prepay by hand",
        Tokens(*per_hop), Tokens(*per_day), Tokens(*least)
    )]
    PrepayTooSmall {
        /// The budget for one hop.
        per_hop: Wei,
        /// The budget for a day.
        per_day: Wei,
        /// The least that can be settled.
        least: Wei,
    },
    /// A single newcomer can't get what he is promised.
    #[error(
        "a newcomer's credit is {}, but all newcomers together get {} and those of one link {}. \
         The first must be the smallest of the three",
        Tokens(*first), Tokens(*pool), Tokens(*quota)
    )]
    NoRoomForOne {
        /// What a wallet gets on trust.
        first: Wei,
        /// What all get.
        pool: Wei,
        /// What one link gets.
        quota: Wei,
    },
    /// Nothing is given on trust, so nobody can ever find out that the hop works.
    #[error(
        "a newcomer's credit of {} is not one full cell at these rates, which costs {}. Raise the \
         credit or lower the rates",
        Tokens(*first), Tokens(*cell)
    )]
    FirstTooSmall {
        /// What a wallet gets on trust.
        first: Wei,
        /// What one full cell costs.
        cell: Wei,
    },
    /// A rate is so high that sums don't fit.
    #[error("the rates are too high to be reckoned with")]
    Rates,
}

/// A fee in the chain's coin as an amount of the token, rounded up. `None` when it does not fit.
pub fn in_tokens(fee: u128, token_price: u128) -> Option<Wei> {
    if token_price == 0 {
        return Some(0);
    }
    mul_div(fee, TOKEN, token_price, Round::Up)
}

/// The least payment of which `fee` is at most 5 %; `Wei::MAX` when there is none.
pub fn least_payment(fee: u128, token_price: u128) -> Wei {
    in_tokens(fee, token_price)
        .and_then(|fee| fee.checked_mul(FEE_PARTS))
        .unwrap_or(Wei::MAX)
}

/// Looks whether the terms fit together.
///
/// # Errors
/// [`Misfit`], the first found; its text has the figures.
pub fn check(terms: &Terms<'_>) -> Result<Fit, Misfit> {
    let least = least_payment(terms.fee, terms.token_price);
    let permanent = terms.thresholds.permanent();
    if permanent < least {
        return Err(Misfit::CannotSettle {
            permanent,
            fee: terms.fee,
            fee_in_tokens: in_tokens(terms.fee, terms.token_price).unwrap_or(Wei::MAX),
            least,
        });
    }
    let cap = terms.payee_day_cap;
    if cap < least.max(permanent) {
        return Err(Misfit::CapTooSmall {
            cap,
            permanent,
            least,
        });
    }
    if let Some(budget) = terms.prepay.filter(|budget| budget.is_set) {
        let PrepayBudget {
            per_hop, per_day, ..
        } = *budget;
        let most = per_hop.min(per_day);
        if most > 0 && most < least {
            return Err(Misfit::PrepayTooSmall {
                per_hop,
                per_day,
                least,
            });
        }
    }
    if let Some(limits) = terms.limits {
        check_limits(limits, terms)?;
    }
    let gigabytes = |role| {
        let one = price::hop(
            role,
            terms.rates,
            price::Direction::Download,
            price::GIGABYTE,
        )?;
        (one > 0).then(|| permanent as f64 / one as f64)
    };
    Ok(Fit {
        least,
        relay_gb: gigabytes(Role::BackRelay),
        exit_gb: gigabytes(Role::Exit),
    })
}

fn check_limits(limits: &Limits, terms: &Terms<'_>) -> Result<(), Misfit> {
    let Limits {
        first, pool, quota, ..
    } = *limits;
    if first > quota || quota > pool {
        return Err(Misfit::NoRoomForOne { first, pool, quota });
    }
    let cell = price::dearest(terms.rates, price::FULL_BODY_BACK).ok_or(Misfit::Rates)?;
    if first < cell {
        return Err(Misfit::FirstTooSmall { first, cell });
    }
    // How much is given on trust beside what debts are paid from on is the operator's choice: less
    // means that strangers have to prepay, more that they are served while they pay.
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::price::DEFAULT_RATES;
    use super::*;

    /// One token for 0.00002 of the coin.
    const PRICE: u128 = 20_000_000_000_000;

    fn terms<'a>(thresholds: &'a Thresholds, limits: &'a Limits, fee: u128) -> Terms<'a> {
        Terms {
            thresholds,
            limits: Some(limits),
            prepay: None,
            payee_day_cap: Wei::MAX,
            rates: &DEFAULT_RATES,
            fee,
            token_price: PRICE,
        }
    }

    #[test]
    fn the_defaults_fit_base_and_not_ethereum() {
        let limits = Limits::from_rates(&DEFAULT_RATES).unwrap();
        let thresholds = Thresholds::default();
        // 51,000 gas at 0.006 gwei.
        let fit = check(&terms(&thresholds, &limits, 306_000_000_000)).unwrap();
        assert_eq!(fit.least, 306_000_000_000_000_000);
        assert_eq!(fit.relay_gb.unwrap() as u64, 1_709);
        assert_eq!(fit.exit_gb.unwrap() as u64, 852);
        // The same at 1 gwei.
        let misfit = check(&terms(&thresholds, &limits, 51_000_000_000_000)).unwrap_err();
        let said = misfit.to_string();
        assert!(
            said.contains("0.5 MASQ") && said.contains("51 MASQ"),
            "{said}"
        );
    }

    #[test]
    fn whatever_does_not_fit_is_said_with_its_figures() {
        let good = Limits::from_rates(&DEFAULT_RATES).unwrap();
        let thresholds = Thresholds::default();
        let said = |limits: Limits| {
            let terms = terms(&thresholds, &limits, 0);
            check(&terms).unwrap_err().to_string()
        };
        let small = Limits { first: 1, ..good };
        assert!(said(small).contains("not one full cell"));
        let capped = Terms {
            payee_day_cap: thresholds.permanent() - 1,
            ..terms(&thresholds, &good, 0)
        };
        let said_of_cap = check(&capped).unwrap_err().to_string();
        assert!(said_of_cap.contains("Raise day_cap"), "{said_of_cap}");
        let narrow = Limits { quota: 1, ..good };
        assert!(said(narrow).contains("those of one link 1 wei"));
        let large = Limits {
            first: TOKEN,
            pool: TOKEN,
            quota: TOKEN,
            ..good
        };
        assert!(
            check(&terms(&thresholds, &large, 0)).is_ok(),
            "served while they pay"
        );
        let budget = PrepayBudget {
            per_hop: TOKEN / 100,
            per_day: TOKEN,
            is_set: true,
        };
        let terms = Terms {
            prepay: Some(&budget),
            ..terms(&thresholds, &good, 306_000_000_000)
        };
        let said = check(&terms).unwrap_err().to_string();
        assert!(
            said.contains("0.306 MASQ") && said.contains("0.01 MASQ"),
            "{said}"
        );
    }
}
