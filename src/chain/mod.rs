//! The EVM side.

pub mod engine;
