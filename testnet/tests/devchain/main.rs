//! The development chain through a real client, and the same tests on anvil.
#![allow(clippy::unwrap_used)]

mod bounds;
mod faults;
mod money;
mod reading;
mod reorgs;
mod sending;
mod support;
