//! What is known of each chain before anybody asks it. Checked again on connecting: the chain's
//! number, the token's code and its decimals.

use std::time::Duration;

use alloy_primitives::{Address, address};
use masq_gossip::Chain;

const GWEI: u128 = 1_000_000_000;

/// Facts of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainFacts {
    /// Its number.
    pub id: u64,
    /// The symbol of its own coin, in which fees are paid.
    pub coin: &'static str,
    /// The token; `None` where it is deployed anew each time (`dev`).
    pub token: Option<Address>,
    /// The block in which the token came to be: no transfer is older.
    pub from_block: u64,
    /// Usual time between blocks.
    pub block: Duration,
    /// Least tip for a unit of gas that blocks take, in wei.
    pub tip_floor: u128,
    /// Most for a unit of gas by default, base fee and tip together, in wei. Guess: some ten times
    /// what is usual, so that a spike is waited out.
    pub gas_cap: u128,
    /// What one token is worth by default, in wei of the coin. **Guesses**, from 0.05 dollars for a
    /// token: only the rule that a fee is at most 5 % of a payment rests on them, and they are
    /// settings. 0: the rule is off.
    pub token_price: u128,
    /// Whether transactions pay for their bytes besides (rollups of the OP stack).
    pub charges_for_data: bool,
}

/// The token has as many decimals on every chain.
pub const DECIMALS: u8 = 18;

/// The facts of `chain`. Numbers, addresses and blocks are those of the network that exists.
pub fn facts(chain: Chain) -> ChainFacts {
    let ethereum = ChainFacts {
        id: 1,
        coin: "ETH",
        token: Some(address!("06F3C323f0238c72BF35011071f2b5B7F43A054c")),
        from_block: 11_170_708,
        block: Duration::from_secs(12),
        tip_floor: 1,
        gas_cap: 50 * GWEI,
        token_price: 20_000 * GWEI,
        charges_for_data: false,
    };
    let base = ChainFacts {
        id: 8_453,
        token: Some(address!("45D9C101a3870Ca5024582fd788F4E1e8F7971c3")),
        from_block: 19_711_235,
        block: Duration::from_secs(2),
        tip_floor: GWEI / 1_000,
        gas_cap: GWEI / 10,
        charges_for_data: true,
        ..ethereum
    };
    let polygon = ChainFacts {
        id: 137,
        coin: "POL",
        token: Some(address!("Ee9A352F6aAc4aF1A5B9f467F6a93E0ffBe9Dd35")),
        from_block: 14_863_650,
        block: Duration::from_secs(2),
        // The chain's own rule.
        tip_floor: 25 * GWEI,
        gas_cap: 1_000 * GWEI,
        token_price: 200_000_000 * GWEI,
        ..ethereum
    };
    match chain {
        Chain::EthMainnet => ethereum,
        Chain::BaseMainnet => base,
        Chain::BaseSepolia => ChainFacts {
            id: 84_532,
            token: Some(address!("898E1cE720084A902Bc37dD822eD6D6a5F027E10")),
            from_block: 14_732_730,
            ..base
        },
        Chain::PolygonMainnet => polygon,
        Chain::PolygonAmoy => ChainFacts {
            id: 80_002,
            token: Some(address!("d98c3EBd6B7f9b7cDa2449eCac00d1E5F47a8193")),
            from_block: 5_323_366,
            ..polygon
        },
        // `dev`, and whatever comes to be known later and has no facts yet: nothing is paid
        // without a token's address.
        _ => ChainFacts {
            id: 31_337,
            coin: "ETH",
            token: None,
            from_block: 0,
            block: Duration::from_secs(1),
            tip_floor: 1,
            gas_cap: 1_000 * GWEI,
            token_price: 0,
            charges_for_data: false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chain_has_a_number_of_its_own() {
        let mut ids: Vec<u64> = Chain::ALL.map(|chain| facts(chain).id).to_vec();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Chain::ALL.len());
        let without = Chain::ALL.into_iter().filter(|c| facts(*c).token.is_none());
        assert_eq!(without.collect::<Vec<_>>(), [Chain::Dev]);
    }
}
