//! The origin's side of the set-up package: keys for every hop, the filler that
//! the hops will put at the tail, and the header from the last block to the first.

use rand_core::CryptoRng;

use super::{
    Authorisation, BLOCK_LEN, Block, HEADER_LEN, HopSpec, MAX_BACK, MAX_OVER, Role, SetupPackage,
    header_key, header_tag,
};
use crate::aead::{CtrKey, Purpose, TAG_LEN};
use crate::circuit::OriginCircuit;
use crate::error::BuildError;
use crate::keys::{Ephemeral, NodeKey, Prk};

/// AES blocks in one header block.
const AES_BLOCKS: usize = BLOCK_LEN / 16;

/// Builds the package for a circuit over `over` (the last of them is the exit)
/// and home over `back` (in travel order from the exit) to `origin`, which is
/// the building node's own name and own onion key. Every hop gets the
/// authorisation in its [`HopSpec`].
///
/// Costs two X25519 operations a hop; draws 32 bytes a hop (the origin too),
/// 64 bytes and the padding of the header from `rng`, in this order.
///
/// # Errors
/// A leg of a length that is not possible, or an onion key of small order.
pub fn build_setup<R: CryptoRng + ?Sized>(
    over: &[HopSpec],
    back: &[HopSpec],
    origin: &HopSpec,
    rng: &mut R,
) -> Result<(SetupPackage, OriginCircuit), BuildError> {
    build_setup_with(over, back, origin, rng, |index, _| {
        let hop = over.get(index).or_else(|| back.get(index - over.len()));
        hop.map_or_else(Authorisation::none, |hop| hop.auth.clone())
    })
}

/// As [`build_setup`], but asks `authorise` for each hop's authorisation, so
/// that it can be bound to the hop's ephemeral public key. It is called once a
/// hop, first for the over leg (from 0), then for the back leg (from
/// `over.len()`), and never for the origin; what the specs hold is ignored.
///
/// # Errors
/// As [`build_setup`].
pub fn build_setup_with<R: CryptoRng + ?Sized>(
    over: &[HopSpec],
    back: &[HopSpec],
    origin: &HopSpec,
    rng: &mut R,
    mut authorise: impl FnMut(usize, &[u8; 32]) -> Authorisation,
) -> Result<(SetupPackage, OriginCircuit), BuildError> {
    if !(1..=MAX_OVER).contains(&over.len()) {
        return Err(BuildError::OverLength(over.len()));
    }
    if back.len() > MAX_BACK {
        return Err(BuildError::BackLength(back.len()));
    }
    let hops: Vec<&HopSpec> = over.iter().chain(back).chain([origin]).collect();
    let mut ephemerals = Vec::with_capacity(hops.len());
    let mut secrets = Vec::with_capacity(hops.len());
    for (index, hop) in hops.iter().enumerate() {
        let ephemeral = Ephemeral::generate(rng);
        let secret = ephemeral
            .agree(&hop.onion)
            .ok_or(BuildError::BadOnionKey(index))?;
        ephemerals.push(ephemeral.public);
        secrets.push(secret);
    }
    let circuit = OriginCircuit::new(&secrets, over.len(), rng);
    let last = hops.len() - 1;
    let blocks = (0..hops.len())
        .map(|index| Block {
            role: match index {
                i if i == last => Role::Origin,
                i if i + 1 < over.len() => Role::OverRelay,
                i if i + 1 == over.len() => Role::Exit,
                _ => Role::BackRelay,
            },
            next_selector: hops.get(index + 1).map_or(0, |next| next.onion.selector()),
            next: hops
                .get(index + 1)
                .map_or(NodeKey([0; 32]), |next| next.node),
            next_ephemeral: ephemerals.get(index + 1).copied().unwrap_or_default(),
            // Known only once the header after this one exists.
            next_tag: [0; TAG_LEN],
            auth: if index == last {
                Authorisation::none()
            } else {
                authorise(index, &ephemerals[index])
            },
        })
        .collect();
    let mut header = [0; HEADER_LEN];
    let tag = wrap(&mut header, blocks, &hops, &ephemerals, &secrets, rng);
    let package = SetupPackage::assemble(hops[0].onion.selector(), &ephemerals[0], &tag, &header);
    Ok((package, circuit))
}

/// Writes the first hop's header and returns its tag.
fn wrap<R: CryptoRng + ?Sized>(
    header: &mut [u8; HEADER_LEN],
    mut blocks: Vec<Block>,
    hops: &[&HopSpec],
    ephemerals: &[[u8; 32]],
    secrets: &[Prk],
    rng: &mut R,
) -> [u8; TAG_LEN] {
    let keys: Vec<CtrKey> = secrets.iter().map(header_key).collect();
    let last = hops.len() - 1;
    let filler = filler(&keys[..last]);
    let filler_at = HEADER_LEN - filler.len();
    // The last header: the origin's block, random bytes in the room that this
    // circuit leaves free, and what the hops before it will have shifted in.
    rng.fill_bytes(&mut header[BLOCK_LEN..filler_at]);
    let mut tag = [0; TAG_LEN];
    for index in (0..=last).rev() {
        if index < last {
            header.copy_within(..HEADER_LEN - BLOCK_LEN, BLOCK_LEN);
            blocks[index].next_tag = tag;
        }
        header[..BLOCK_LEN].copy_from_slice(&blocks[index].encode());
        keys[index].apply(Purpose::Encrypt, 0, 0, header);
        if index == last {
            header[filler_at..].copy_from_slice(&filler);
        }
        tag = header_tag(
            &secrets[index],
            hops[index].onion.selector(),
            &ephemerals[index],
            header,
        );
    }
    tag
}

/// The tail that a header has after the hops with these keys have each
/// decrypted, shifted by one block and filled up from their key stream.
fn filler(keys: &[CtrKey]) -> Vec<u8> {
    let mut filler = Vec::with_capacity(keys.len() * BLOCK_LEN);
    for (index, key) in keys.iter().enumerate() {
        // What is there now lies at the end of the header; one block of the key
        // stream beyond the header's end comes in after it.
        filler.resize((index + 1) * BLOCK_LEN, 0);
        let first_block = (HEADER_LEN - index * BLOCK_LEN) / 16;
        debug_assert_eq!(first_block % AES_BLOCKS, 0);
        let first_block = u32::try_from(first_block).expect("a header has few blocks");
        key.apply(Purpose::Undo, 0, first_block, &mut filler);
    }
    filler
}
