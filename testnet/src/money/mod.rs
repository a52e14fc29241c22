//! A mesh that pays: the chain, wallets, terms, and what came of it.
//!
//! [`Bank`] has the chain with its contracts and equips the nodes of a plan with wallets and
//! [`Terms`]. [`books`] are what nodes have written down, `transfers` what the chain
//! knows, [`show`] and [`bill`] show both, and [`mod@judge`] holds them against each other. How a node then bills and pays is not here but in `masqd`.

mod bank;
pub mod bill;
pub mod books;
mod chain;
mod folder;
pub mod judge;
pub mod show;
mod terms;
mod transfers;
pub mod wallets;

pub use bank::{Bank, MoneyState};
pub use books::NodeBooks;
pub use chain::{ANVIL, ANVIL_VARIABLE, Chain, ChainOptions, RunningChain};
pub use terms::{PAY_EVERY, Terms};
pub use transfers::{Transfer, transfers};
pub use wallets::NodeWallets;
