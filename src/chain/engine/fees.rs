//! What is paid for gas: enough to get into a block, within every cap.

use super::config::EngineConfig;
use super::io::{Event, Fees};
use crate::ledger::fit::FEE_PARTS;
use crate::ledger::{Round, TOKEN, Wei, mul_div};

/// Fee fields of a transaction, in wei for a unit of gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Price {
    pub max_fee: u128,
    pub tip: u128,
}

/// The most that may be spent on a payment of `value`, in wei of the coin.
fn fee_cap(config: &EngineConfig, value: Wei) -> u128 {
    if config.token_price == 0 {
        return u128::MAX;
    }
    let worth = mul_div(value, config.token_price, TOKEN, Round::Down).unwrap_or(u128::MAX);
    worth / FEE_PARTS
}

/// The highest price of a unit of gas for a payment of `value` that needs `gas`, whatever the
/// market says.
fn ceiling(config: &EngineConfig, fees: &Fees, gas: u64, value: Wei) -> u128 {
    let for_gas = fee_cap(config, value).saturating_sub(fees.data);
    config.gas_cap.min(for_gas / u128::from(gas.max(1)))
}

/// An eighth more, rounded up, and never nothing: a tip of zero is raised too.
fn eighth_more(fee: u128) -> u128 {
    fee.saturating_add(fee.div_ceil(8).max(1))
}

/// The price for a new payment: room for the base fee to double, where the caps allow it, and at
/// least for one step of an eighth.
pub(super) fn first(
    config: &EngineConfig,
    fees: &Fees,
    gas: u64,
    value: Wei,
) -> Result<Price, Event> {
    let tip = fees.tip.max(config.tip_floor);
    let least = eighth_more(fees.base).saturating_add(tip);
    if least > config.gas_cap {
        let price = fees.base.saturating_add(tip);
        let cap = config.gas_cap;
        return Err(Event::GasTooDear { price, cap });
    }
    let ceiling = ceiling(config, fees, gas, value);
    if least > ceiling {
        let fee = u128::from(gas).saturating_mul(least);
        let fee = fee.saturating_add(fees.data);
        return Err(Event::NotWorthItsFee { value, fee });
    }
    let roomy = fees.base.saturating_mul(2).saturating_add(tip);
    let max_fee = roomy.min(ceiling);
    Ok(Price { max_fee, tip })
}

/// The price for replacing what was sent with `old`: an eighth more on both fields at least, the
/// market's price where that is higher. `None` when the caps don't allow it.
pub(super) fn bumped(
    config: &EngineConfig,
    fees: &Fees,
    gas: u64,
    value: Wei,
    old: Price,
) -> Option<Price> {
    let ceiling = ceiling(config, fees, gas, value);
    let least = eighth_more(old.max_fee);
    let tip = eighth_more(old.tip).max(fees.tip).max(config.tip_floor);
    let roomy = fees.base.saturating_mul(2).saturating_add(tip);
    let max_fee = roomy.max(least).min(ceiling);
    let tip = tip.min(max_fee);
    let enough = max_fee >= least && tip >= eighth_more(old.tip);
    enough.then_some(Price { max_fee, tip })
}

/// Whether what was sent with `price` pays too little to get into a block now.
pub(super) fn too_low(fees: &Fees, price: Price) -> bool {
    price.max_fee < eighth_more(fees.base).saturating_add(price.tip)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use alloy_primitives::Address;
    use proptest::prelude::*;

    use super::*;

    fn config() -> EngineConfig {
        EngineConfig {
            gas_cap: 1_000,
            token_price: TOKEN,
            tip_floor: 25,
            ..EngineConfig::new(1, Address::ZERO, Address::ZERO, Duration::from_secs(2))
        }
    }

    fn fees(base: u128) -> Fees {
        Fees {
            base,
            tip: 1,
            data: 0,
        }
    }

    #[test]
    fn the_first_price_leaves_room_and_keeps_the_floor_and_the_caps() {
        let value = 80_000 * 20 * 500;
        let price = first(&config(), &fees(100), 80_000, value);
        assert_eq!(
            price,
            Ok(Price {
                max_fee: 225,
                tip: 25
            })
        );
        let price = first(&config(), &fees(400), 80_000, value);
        assert_eq!(
            price,
            Ok(Price {
                max_fee: 500,
                tip: 25
            })
        );
        let price = first(&config(), &fees(450), 80_000, value);
        assert!(matches!(price, Err(Event::NotWorthItsFee { .. })));
        let price = first(&config(), &fees(900), 80_000, Wei::MAX);
        assert!(matches!(price, Err(Event::GasTooDear { cap: 1_000, .. })));
    }

    #[test]
    fn no_price_is_looked_at_where_none_is_known() {
        let free = EngineConfig {
            token_price: 0,
            ..config()
        };
        assert!(first(&free, &fees(100), 80_000, 1).is_ok());
    }

    proptest! {
        #[test]
        fn a_bump_is_an_eighth_more_on_both_fields_and_within_the_caps(
            base in 0_u128..2_000, tip in 0_u128..100, max_fee in 1_u128..900, old in 0_u128..900,
            value in 0_u128..2_000_000_000,
        ) {
            let old = Price { max_fee, tip: old.min(max_fee) };
            let fees = Fees { base, tip, data: 5 };
            if let Some(new) = bumped(&config(), &fees, 80_000, value, old) {
                prop_assert!(new.max_fee * 8 >= old.max_fee * 9);
                prop_assert!(new.tip * 8 >= old.tip * 9);
                prop_assert!(new.tip <= new.max_fee && new.max_fee <= 1_000);
                prop_assert!((new.max_fee * 80_000 + 5) * 20 <= value);
            }
        }
    }
}
