//! A hop's side of the set-up package: agree, check, decrypt, shift, fill.

use std::fmt;

use super::{
    Authorisation, BLOCK_LEN, Block, HEADER_LEN, Role, SetupPackage, VERSION, header_key,
    header_tag, tags_equal,
};
use crate::aead::Purpose;
use crate::circuit::HopKeys;
use crate::error::PeelError;
use crate::keys::{NodeKey, OnionSecret, Prk, label};

/// What a hop finds in a package that was made for it.
pub struct Peeled {
    /// Names this package at this hop: comes out of the key derivation. Refuse
    /// it when it was seen before under the same onion key, and remember it
    /// only after the authorisation passed.
    pub package_id: [u8; 16],
    /// What the hop is to be.
    pub role: Role,
    /// Where the package goes next; `None` for the origin.
    pub next: Option<NodeKey>,
    /// What to send there; `None` for the origin.
    pub next_package: Option<SetupPackage>,
    /// What the hop may charge.
    pub auth: Authorisation,
    /// The keys of this hop on this circuit.
    pub keys: HopKeys,
    /// For [`Role::Origin`]: equals [`OriginCircuit::cookie`], by which the
    /// origin knows which of its circuits came home. Zeros for everyone else.
    ///
    /// [`OriginCircuit::cookie`]: crate::OriginCircuit::cookie
    pub cookie: [u8; 32],
}

impl fmt::Debug for Peeled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peeled")
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// Opens `package` with that of `keys` (the current onion key, then the one
/// before it) for which it was made. One X25519 operation, as a rule; nothing
/// is remembered, so replays are for the caller to refuse by
/// [`Peeled::package_id`].
///
/// # Errors
/// See [`PeelError`]. Up to and including [`PeelError::Authentication`] the
/// previous hop may be at fault; after that only the origin can be.
pub fn peel(keys: &[&OnionSecret], package: &SetupPackage) -> Result<Peeled, PeelError> {
    if package.version() != VERSION {
        return Err(PeelError::Version(package.version()));
    }
    let mut meant = keys
        .iter()
        .filter(|key| key.selector() == package.selector())
        .peekable();
    if meant.peek().is_none() {
        return Err(PeelError::UnknownKey);
    }
    let prk = meant
        .find_map(|key| authenticate(key, package))
        .ok_or(PeelError::Authentication)?;
    open(prk, package)
}

/// The shared secret, if the tag shows that the package was made with it.
fn authenticate(key: &OnionSecret, package: &SetupPackage) -> Option<Prk> {
    let prk = key.agree(package.ephemeral())?;
    let tag = header_tag(
        &prk,
        package.selector(),
        package.ephemeral(),
        package.header(),
    );
    tags_equal(&tag, package.tag()).then_some(prk)
}

fn open(prk: Prk, package: &SetupPackage) -> Result<Peeled, PeelError> {
    let mut stream = [0; HEADER_LEN + BLOCK_LEN];
    stream[..HEADER_LEN].copy_from_slice(package.header());
    header_key(&prk).apply(Purpose::Undo, 0, 0, &mut stream);
    let (block, next_header) = stream
        .split_first_chunk::<BLOCK_LEN>()
        .expect("the stream is longer than a block");
    let block = Block::decode(block).ok_or(PeelError::Block)?;
    let home = block.role == Role::Origin;
    let next_package = SetupPackage::assemble(
        block.next_selector,
        &block.next_ephemeral,
        &block.next_tag,
        next_header,
    );
    Ok(Peeled {
        package_id: *prk.expand(label::PACKAGE_ID),
        role: block.role,
        next: (!home).then_some(block.next),
        next_package: (!home).then_some(next_package),
        auth: block.auth,
        cookie: if home {
            *prk.expand(label::COOKIE)
        } else {
            [0; 32]
        },
        keys: HopKeys::new(prk),
    })
}
