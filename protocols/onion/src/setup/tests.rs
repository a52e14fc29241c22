//! Units of the set-up package: the block's bytes and the refusals.

#![allow(clippy::unwrap_used)]

use std::slice::from_ref;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::error::BuildError;
use crate::keys::OnionSecret;

fn hop(rng: &mut ChaCha20Rng) -> (OnionSecret, HopSpec) {
    let secret = OnionSecret::generate(rng);
    let mut node = NodeKey([0; 32]);
    rng.fill_bytes(&mut node.0);
    let spec = HopSpec {
        node,
        onion: secret.public(),
        auth: Authorisation::none(),
    };
    (secret, spec)
}

#[test]
fn block_survives_and_bad_roles_do_not() {
    let block = Block {
        role: Role::Exit,
        next_selector: 7,
        next: NodeKey([1; 32]),
        next_ephemeral: [2; 32],
        next_tag: [3; TAG_LEN],
        auth: Authorisation {
            kind: 9,
            body: [4; AUTH_LEN],
        },
    };
    let bytes = block.encode();
    let back = Block::decode(&bytes).unwrap();
    assert_eq!(bytes, back.encode());
    assert_eq!(
        (back.role, back.next_selector, back.next),
        (Role::Exit, 7, NodeKey([1; 32]))
    );
    assert_eq!(back.auth, block.auth);
    for role in [0, 5, 255] {
        let mut bad = bytes;
        bad[0] = role;
        assert!(Block::decode(&bad).is_none());
    }
}

#[test]
fn legs_have_bounds() {
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let (_, spec) = hop(&mut rng);
    let many = vec![spec.clone(); 7];
    let mut build = |over: usize, back: usize| {
        build_setup(&many[..over], &many[..back], &spec, &mut rng).map(|_| ())
    };
    assert_eq!(build(0, 0), Err(BuildError::OverLength(0)));
    assert_eq!(build(7, 0), Err(BuildError::OverLength(7)));
    assert_eq!(build(6, 6), Err(BuildError::BackLength(6)));
    assert_eq!(build(6, 5), Ok(()));
}

#[test]
fn onion_keys_of_small_order_are_refused_by_index() {
    let mut rng = ChaCha20Rng::from_seed([2; 32]);
    let (_, good) = hop(&mut rng);
    let bad = HopSpec {
        onion: OnionPublic([0; 32]),
        ..good.clone()
    };
    let build = build_setup(from_ref(&good), &[good.clone(), bad], &good, &mut rng);
    assert_eq!(build.map(|_| ()).unwrap_err(), BuildError::BadOnionKey(2));
}

#[test]
fn refusals_of_a_hop() {
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    let (secret, spec) = hop(&mut rng);
    let (_, origin) = hop(&mut rng);
    let (package, _) = build_setup(&[spec], &[], &origin, &mut rng).unwrap();
    assert!(peel(&[&secret], &package).is_ok());

    assert_eq!(peel(&[], &package).unwrap_err(), PeelError::UnknownKey);
    assert_eq!(
        SetupPackage::from_bytes(&[0; 5]).unwrap_err(),
        PeelError::Length(5)
    );
    let changed = |at: usize, to: u8| {
        let mut bytes = *package.as_bytes();
        bytes[at] = to;
        peel(&[&secret], &SetupPackage::from_bytes(&bytes).unwrap())
            .map(|_| ())
            .unwrap_err()
    };
    assert_eq!(changed(VERSION_AT, 2), PeelError::Version(2));
    let selector = package.as_bytes()[SELECTOR_AT];
    assert_eq!(changed(SELECTOR_AT, selector ^ 1), PeelError::UnknownKey);

    let mut bytes = *package.as_bytes();
    bytes[EPHEMERAL_AT..TAG_AT].fill(0);
    let zero = SetupPackage::from_bytes(&bytes).unwrap();
    assert_eq!(
        peel(&[&secret], &zero).unwrap_err(),
        PeelError::Authentication
    );
}

#[test]
fn a_block_without_sense_is_the_origins_fault() {
    let mut rng = ChaCha20Rng::from_seed([4; 32]);
    let (secret, spec) = hop(&mut rng);
    let ephemeral = crate::keys::Ephemeral::generate(&mut rng);
    let prk = ephemeral.agree(&spec.onion).unwrap();
    // Authentic, but the block decrypts to a role that does not exist.
    let mut header = [0; HEADER_LEN];
    header_key(&prk).apply(crate::aead::Purpose::Encrypt, 0, 0, &mut header);
    let selector = spec.onion.selector();
    let tag = header_tag(&prk, selector, &ephemeral.public, &header);
    let package = SetupPackage::assemble(selector, &ephemeral.public, &tag, &header);
    assert_eq!(peel(&[&secret], &package).unwrap_err(), PeelError::Block);
}

#[test]
fn current_and_previous_key_both_open_and_a_shared_selector_is_no_trap() {
    let mut rng = ChaCha20Rng::from_seed([5; 32]);
    let (previous, spec) = hop(&mut rng);
    let (_, origin) = hop(&mut rng);
    // A current key that happens to share the selector of the one before.
    let current = std::iter::repeat_with(|| OnionSecret::generate(&mut rng))
        .find(|key| key.selector() == previous.selector())
        .unwrap();
    let (package, _) = build_setup(&[spec], &[], &origin, &mut rng).unwrap();
    assert!(peel(&[&current, &previous], &package).is_ok());
    assert_eq!(
        peel(&[&current], &package).unwrap_err(),
        PeelError::Authentication
    );
}

#[test]
fn authorisations_can_be_bound_to_the_ephemeral_key() {
    let mut rng = ChaCha20Rng::from_seed([6; 32]);
    let (a, spec_a) = hop(&mut rng);
    let (b, spec_b) = hop(&mut rng);
    let (_, origin) = hop(&mut rng);
    let mut asked = Vec::new();
    let (package, _) = build_setup_with(
        &[spec_a],
        &[spec_b],
        &origin,
        &mut rng,
        |index, ephemeral| {
            asked.push(index);
            let mut body = [0; AUTH_LEN];
            body[..32].copy_from_slice(ephemeral);
            Authorisation { kind: 1, body }
        },
    )
    .unwrap();
    assert_eq!(asked, [0, 1]);
    let first = peel(&[&a], &package).unwrap();
    assert_eq!(first.auth.body[..32], *package.ephemeral());
    let next = first.next_package.unwrap();
    let second = peel(&[&b], &next).unwrap();
    assert_eq!(second.auth.body[..32], *next.ephemeral());
    assert_eq!(
        format!("{:?}", second.auth),
        "Authorisation { kind: 1, .. }"
    );
}
