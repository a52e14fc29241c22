//! The EVM side.

pub mod engine;
pub mod scanner;
