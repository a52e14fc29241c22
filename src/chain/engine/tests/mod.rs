//! The engine against a small model of a chain: single scenarios, and random interleavings.

use std::time::Duration;

use alloy_primitives::Address;

use super::*;
use crate::ledger::{Payee, TOKEN, Wei};

mod chain;
mod random;
mod scenarios;
mod world;

const CHAIN_ID: u64 = 31_337;
const BLOCK: Duration = Duration::from_secs(2);
const BASE_FEE: u128 = 100;
const GAS_CAP: u128 = 5_000;
const GWEI: Wei = 1_000_000_000;

fn token() -> Address {
    Address::repeat_byte(0x70)
}

fn wallet() -> Address {
    Address::repeat_byte(0xaa)
}

fn disperse() -> Address {
    Address::repeat_byte(0xdd)
}

/// Payees 0 and 1 share a wallet.
fn payee(n: u8) -> Payee {
    Payee {
        wallet: Address::repeat_byte(n.max(1)),
        hop: [n; 32],
    }
}

fn config(endpoints: u8) -> EngineConfig {
    EngineConfig {
        thresholds: "2|10|10|1|100|1".parse().unwrap(),
        endpoints,
        tip_floor: 5,
        gas_cap: GAS_CAP,
        token_price: TOKEN,
        scan_every: Duration::from_secs(20),
        ..EngineConfig::new(CHAIN_ID, token(), wallet(), BLOCK)
    }
}
