//! Set-up packages and cells of CORES: the cryptography, and nothing else.
//!
//! An origin calls [`build_setup`] for a circuit and gets a package to send and
//! an [`OriginCircuit`] of keys. Every hop calls [`peel`] on what arrives and
//! gets its [`Role`], the package for the next hop, and its keys. From then on
//! cells of a few fixed [`CellSize`]s go round:
//!
//! | leg | origin | relays | exit |
//! |---|---|---|---|
//! | over | [`OverSealer`] | [`OverOpener`] | [`OverOpener`] |
//! | back | [`BackOpener`] | [`BackLayer`] | [`BackSealer`] |
//! | reports, against the data | [`ReverseOrigin`] | [`ReverseHop`] | [`ReverseHop`] |
//!
//! [`OriginKx`] and [`respond`] give origin and exit fresh keys ([`SessionSecret`]).
//!
//! Here are no sockets, tasks, clocks, routes or prices, and no global
//! randomness: generators are handed in, time does not occur. Everything works
//! on buffers of the caller. Replays of packages are the caller's to refuse.
//! Secrets are wiped when dropped, tags are compared in constant time.
//! Byte layouts, labels and golden values: `docs/spec/cores.md`.
//!
//! ```
//! use masq_onion::*;
//! # use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//! # let mut rng = ChaCha20Rng::from_seed([0; 32]);
//! let (exit_key, own_key) = (OnionSecret::generate(&mut rng), OnionSecret::generate(&mut rng));
//! let spec = |node, key: &OnionSecret| HopSpec {
//!     node: NodeKey([node; 32]),
//!     onion: key.public(),
//!     auth: Authorisation::none(),
//! };
//! let (package, mut circuit) =
//!     build_setup(&[spec(1, &exit_key)], &[], &spec(2, &own_key), &mut rng)?;
//! let mut cell = vec![0; CellSize::Small.cell_len()];
//! cell[OVER_OVERHEAD..][..5].copy_from_slice(b"hello");
//! circuit.over.seal(&mut cell, 0, Command::Deliver(0), 5)?;
//!
//! let peeled = peel(&[&exit_key], &package)?;
//! assert_eq!((peeled.role, peeled.next), (Role::Exit, Some(NodeKey([2; 32]))));
//! let mut exit = peeled.keys.into_exit();
//! assert_eq!(exit.over.open(&mut cell)?, Opened::Deliver { flags: 0, len: 5 });
//! assert_eq!(cell[OVER_OVERHEAD..][..5], *b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(test)]
extern crate self as masq_onion;

mod aead;
mod cell;
mod circuit;
mod error;
mod keys;
mod kx;
mod reverse;
mod setup;

#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
#[cfg(test)]
mod tests;

pub use cell::{
    BACK_OVERHEAD, BackLayer, BackOpener, BackSealer, CellSize, Command, Delivered, OVER_OVERHEAD,
    Opened, OverOpener, OverSealer,
};
pub use circuit::{BackRelay, ExitKeys, HopKeys, OriginCircuit, OverRelay};
pub use error::{BuildError, CellError, KxError, PeelError};
pub use keys::{NodeKey, OnionPublic, OnionSecret};
pub use kx::{EXIT_SHARE_LEN, KxBinding, ORIGIN_SHARE_LEN, OriginKx, SessionSecret, respond};
pub use reverse::{
    FAILURE_PAYLOAD, REPORT_LEN, REPORT_PAYLOAD, REPORT_SLOT, ReverseHop, ReverseOrigin,
};
pub use setup::{
    AUTH_LEN, Authorisation, BLOCK_LEN, HopSpec, MAX_BACK, MAX_OVER, MAX_SLOTS, Peeled, Role,
    SETUP_LEN, SetupPackage, build_setup, build_setup_with, peel,
};

/// The name of the AES implementation that is in use.
pub const BACKEND: &str = if cfg!(feature = "aws-lc") {
    "aws-lc"
} else {
    "rust-crypto"
};

/// The inside, for benchmarks and fuzzing. No part of the interface.
#[doc(hidden)]
pub mod seam {
    #[cfg(feature = "aws-lc")]
    pub use crate::aead::aws;
    pub use crate::aead::{Ctr, Gcm, pure};

    /// Decodes a header block and encodes it again; `None` if it makes no sense.
    #[must_use]
    pub fn recode_block(bytes: &[u8; crate::BLOCK_LEN]) -> Option<[u8; crate::BLOCK_LEN]> {
        crate::setup::Block::decode(bytes).map(|block| block.encode())
    }
}
