//! The EVM side: paying what is owed, finding what was paid, and whom to ask about the chain.
//!
//! * [`engine`]: the payment engine, a pure machine;
//! * [`scanner`]: incoming transfers, a pure machine;
//! * [`provider`]: JSON-RPC endpoints with failover, signing;
//! * [`driver`]: the task that runs all three over a journal;
//! * [`facts`]: what is known of each chain.
//!
//! Not here: what is owed and to whom credit is given (`ledger`), keys at rest (the wallet's
//! keystore), and the notices by which a payer tells a hop of a payment (`masq-settlement`).

mod chains;
pub mod driver;
pub mod engine;
pub mod provider;
pub mod scanner;

pub use chains::{ChainFacts, DECIMALS, facts};
