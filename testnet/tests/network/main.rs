//! Tests with real processes: whole meshes of this build's own binary. One test
//! program, so that it is linked once; one mesh at a time, so that meshes do
//! not slow each other down.
#![allow(clippy::unwrap_used)]

mod commands;
mod joining;
mod sleeping;
mod support;
mod through_the_mesh;
