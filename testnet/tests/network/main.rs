//! Tests with real processes: whole meshes of this build's own binary. One test
//! program, so that it is linked once; one mesh at a time, so that meshes do
//! not slow each other down.
#![allow(clippy::unwrap_used)]

mod commands;
mod credit;
mod crowd;
mod healing;
mod joining;
mod money;
mod payer;
mod secrecy;
mod sleeping;
mod storms;
mod support;
mod through_the_mesh;
