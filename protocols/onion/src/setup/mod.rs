//! The set-up package: its layout, the block a hop finds in it, and the key
//! stream of its header. Building is in `build`, peeling in `peel`.

mod build;
mod peel;
#[cfg(test)]
mod tests;

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub use build::{build_setup, build_setup_with};
pub use peel::{Peeled, peel};

use crate::aead::{CtrKey, TAG_LEN};
use crate::error::PeelError;
use crate::keys::{NodeKey, OnionPublic, Prk, label};

/// Most hops on the over leg, the exit included. From the design: 1 to 6.
pub const MAX_OVER: usize = 6;
/// Most relays on the back leg. From the design: one less than the over leg,
/// whose exit serves both.
pub const MAX_BACK: usize = 5;
/// Blocks in every header: both legs at their longest, and the origin's own.
pub const MAX_SLOTS: usize = MAX_OVER + MAX_BACK + 1;
/// Room for the body of an authorisation: a signature (65), a payer (20), four
/// rates (64), spend and times (28), and some to spare. A guess that fixes the
/// size of the header.
pub const AUTH_LEN: usize = 192;
/// Length of one block: what a block needs (275) rounded up to whole AES blocks.
pub const BLOCK_LEN: usize = 288;
/// Length of every set-up package, whatever the circuit.
pub const SETUP_LEN: usize = HEADER_AT + HEADER_LEN;

/// The version of package and cells that this crate speaks.
pub(crate) const VERSION: u8 = 1;
pub(crate) const HEADER_LEN: usize = MAX_SLOTS * BLOCK_LEN;
const VERSION_AT: usize = 0;
const SELECTOR_AT: usize = 1;
const EPHEMERAL_AT: usize = 2;
const TAG_AT: usize = EPHEMERAL_AT + 32;
const HEADER_AT: usize = TAG_AT + TAG_LEN;

/// What a payer lets a hop charge, as the hop's block carries it. This crate
/// moves the bytes and gives them no meaning.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorisation {
    /// What the body is; 0 is none at all.
    pub kind: u8,
    /// The body, padded to its full length by whoever defined `kind`.
    pub body: [u8; AUTH_LEN],
}

impl Authorisation {
    /// No authorisation.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            kind: 0,
            body: [0; AUTH_LEN],
        }
    }
}

/// Shows the kind only: the body names a wallet.
impl fmt::Debug for Authorisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorisation")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// One hop of a circuit to be built.
#[derive(Clone, Debug)]
pub struct HopSpec {
    /// The name under which the hop before it reaches it.
    pub node: NodeKey,
    /// The onion key that its record publishes.
    pub onion: OnionPublic,
    /// What the hop is told about payment ([`build_setup`] only).
    pub auth: Authorisation,
}

/// What a hop is on a circuit. It can tell no more about its place than this.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Role {
    /// A relay on the over leg.
    OverRelay,
    /// Where the circuit leaves the mesh.
    Exit,
    /// A relay on the back leg.
    BackRelay,
    /// The end of the back leg, which is the node that built the circuit.
    Origin,
}

impl Role {
    fn to_byte(self) -> u8 {
        match self {
            Self::OverRelay => 1,
            Self::Exit => 2,
            Self::BackRelay => 3,
            Self::Origin => 4,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::OverRelay),
            2 => Some(Self::Exit),
            3 => Some(Self::BackRelay),
            4 => Some(Self::Origin),
            _ => None,
        }
    }
}

/// A set-up package: always [`SETUP_LEN`] bytes, on the heap.
#[derive(Clone, PartialEq, Eq)]
pub struct SetupPackage(Box<[u8; SETUP_LEN]>);

impl SetupPackage {
    /// The bytes to send.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; SETUP_LEN] {
        &self.0
    }

    /// Takes bytes that arrived. Only their number is checked; the rest is for
    /// [`peel()`].
    ///
    /// # Errors
    /// [`PeelError::Length`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PeelError> {
        let boxed: Box<[u8]> = bytes.into();
        boxed
            .try_into()
            .map(Self)
            .map_err(|_| PeelError::Length(bytes.len()))
    }

    /// Puts a package together; `header` has [`HEADER_LEN`] bytes.
    fn assemble(selector: u8, ephemeral: &[u8; 32], tag: &[u8; TAG_LEN], header: &[u8]) -> Self {
        let mut bytes = Box::new([0; SETUP_LEN]);
        bytes[VERSION_AT] = VERSION;
        bytes[SELECTOR_AT] = selector;
        bytes[EPHEMERAL_AT..TAG_AT].copy_from_slice(ephemeral);
        bytes[TAG_AT..HEADER_AT].copy_from_slice(tag);
        bytes[HEADER_AT..].copy_from_slice(header);
        Self(bytes)
    }

    fn version(&self) -> u8 {
        self.0[VERSION_AT]
    }

    fn selector(&self) -> u8 {
        self.0[SELECTOR_AT]
    }

    /// The ephemeral public key of the hop that the package is for, as it is transmitted.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn ephemeral(&self) -> &[u8; 32] {
        self.0[EPHEMERAL_AT..TAG_AT]
            .first_chunk()
            .expect("32 bytes lie between the two")
    }

    fn tag(&self) -> &[u8] {
        &self.0[TAG_AT..HEADER_AT]
    }

    fn header(&self) -> &[u8] {
        &self.0[HEADER_AT..]
    }
}

impl fmt::Debug for SetupPackage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SetupPackage(..)")
    }
}

/// HMAC-SHA256, cut to 128 bits, over everything in the package but the tag itself.
fn header_tag(prk: &Prk, selector: u8, ephemeral: &[u8; 32], header: &[u8]) -> [u8; TAG_LEN] {
    let key: Zeroizing<[u8; 32]> = prk.expand(label::HEADER_TAG);
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_ref()).expect("HMAC takes any key");
    mac.update(&[VERSION, selector]);
    mac.update(ephemeral);
    mac.update(header);
    let full = mac.finalize().into_bytes();
    let mut tag = [0; TAG_LEN];
    tag.copy_from_slice(&full[..TAG_LEN]);
    tag
}

fn tags_equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// The key whose stream (message 0) covers the header of one hop.
fn header_key(prk: &Prk) -> CtrKey {
    CtrKey::new(&prk.expand(label::HEADER))
}

/// What a hop finds at the front of its header.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) role: Role,
    /// Which of the next hop's onion keys is meant; see [`OnionPublic::selector`].
    pub(crate) next_selector: u8,
    pub(crate) next: NodeKey,
    pub(crate) next_ephemeral: [u8; 32],
    pub(crate) next_tag: [u8; TAG_LEN],
    pub(crate) auth: Authorisation,
}

impl Block {
    /// role 1 ‖ next selector 1 ‖ next node 32 ‖ next ephemeral 32 ‖ next tag 16
    /// ‖ authorisation kind 1 ‖ body 192 ‖ 13 zeros.
    pub(crate) fn encode(&self) -> [u8; BLOCK_LEN] {
        let mut out = [0; BLOCK_LEN];
        out[0] = self.role.to_byte();
        out[1] = self.next_selector;
        out[2..34].copy_from_slice(&self.next.0);
        out[34..66].copy_from_slice(&self.next_ephemeral);
        out[66..82].copy_from_slice(&self.next_tag);
        out[82] = self.auth.kind;
        out[83..83 + AUTH_LEN].copy_from_slice(&self.auth.body);
        out
    }

    /// `None` for a role that does not exist. The last 13 bytes are not looked
    /// at: a later version may use them.
    pub(crate) fn decode(bytes: &[u8; BLOCK_LEN]) -> Option<Self> {
        let mut block = Self {
            role: Role::from_byte(bytes[0])?,
            next_selector: bytes[1],
            next: NodeKey([0; 32]),
            next_ephemeral: [0; 32],
            next_tag: [0; TAG_LEN],
            auth: Authorisation {
                kind: bytes[82],
                body: [0; AUTH_LEN],
            },
        };
        block.next.0.copy_from_slice(&bytes[2..34]);
        block.next_ephemeral.copy_from_slice(&bytes[34..66]);
        block.next_tag.copy_from_slice(&bytes[66..82]);
        block.auth.body.copy_from_slice(&bytes[83..83 + AUTH_LEN]);
        Some(block)
    }
}
