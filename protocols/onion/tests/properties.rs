//! What must hold for every circuit: round trips, constant sizes, nothing that
//! repeats from link to link, and every changed bit caught where it must be.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashSet;

use common::{Loop, circuit, rng};
use masq_onion::{
    BACK_OVERHEAD, BLOCK_LEN, CellError, CellSize, Command, OVER_OVERHEAD, Opened, PeelError, Role,
    SETUP_LEN, SetupPackage, peel,
};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// Whether two strings have any eight bytes in common, wherever they lie.
fn share_anything(a: &[u8], b: &[u8]) -> bool {
    let seen: HashSet<&[u8]> = a.windows(8).collect();
    b.windows(8).any(|window| seen.contains(window))
}

fn sizes() -> impl Strategy<Value = CellSize> {
    proptest::sample::select(CellSize::ALL.to_vec())
}

fn body(len: usize, of: usize, seed: u8) -> Vec<u8> {
    // No eight bytes of it repeat, so that it can be searched for.
    (0..len % (of + 1))
        .map(|i| (i * i + (i >> 8)) as u8 ^ seed)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_circuit_carries_any_cell(
        over in 1..=6_usize,
        back in 0..=5_usize,
        seed in any::<[u8; 32]>(),
        cells in prop::collection::vec((sizes(), any::<usize>(), any::<usize>(), any::<u8>()), 1..6),
    ) {
        let mut test = circuit(over, back, &mut ChaCha20Rng::from_seed(seed));
        let roles: Vec<Role> = (0..=over + back).map(|i| match i {
            i if i == over + back => Role::Origin,
            i if i + 1 < over => Role::OverRelay,
            i if i + 1 == over => Role::Exit,
            _ => Role::BackRelay,
        }).collect();
        prop_assert_eq!(&test.roles, &roles);
        let ids: HashSet<_> = test.ids.iter().collect();
        prop_assert_eq!(ids.len(), over + back + 1);
        for pair in test.packages.windows(2) {
            prop_assert_eq!(pair[0].as_bytes().len(), SETUP_LEN);
            prop_assert!(!share_anything(pair[0].as_bytes(), pair[1].as_bytes()));
        }
        for (size, to, len, flags) in cells {
            let to = to % over;
            let text = body(len, size.over_body(), flags);
            let (links, opened) = test.send_over(to, Command::Deliver(flags), size, &text);
            prop_assert_eq!(opened, Opened::Deliver { flags, len: text.len() });
            check_links(&links, size)?;
            let (links, opened) = test.send_over(to, Command::Drop, size, b"");
            prop_assert_eq!(opened, Opened::Drop);
            check_links(&links, size)?;
            let text = body(len, size.back_body(), flags);
            check_links(&test.send_back(flags, size, &text), size)?;
        }
    }

    #[test]
    fn any_change_to_a_package_is_caught(
        at in 0..SETUP_LEN,
        bit in 0..8_u32,
        hop in 0..6_usize,
    ) {
        let test = circuit(3, 2, &mut rng(1));
        let mut bytes = *test.packages[hop].as_bytes();
        bytes[at] ^= 1 << bit;
        let package = SetupPackage::from_bytes(&bytes).unwrap();
        prop_assert!(peel(&[&test.nodes.secrets[hop]], &package).is_err());
    }

    #[test]
    fn any_change_to_a_cell_is_caught(
        size in sizes(),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u32,
        link in 0..3_usize,
    ) {
        let at = at.index(size.cell_len());
        prop_assert_eq!(flip_over(size, at, 1 << bit, link), Err(CellError::Authentication));
        prop_assert_eq!(flip_back(size, at, 1 << bit, link), Err(CellError::Authentication));
    }

    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..20_000)) {
        let mut test = circuit(1, 1, &mut rng(2));
        prop_assert!(SetupPackage::from_bytes(&bytes).is_err());
        let mut cell = bytes.clone();
        cell.resize(CellSize::Large.cell_len(), 1);
        prop_assert!(test.exit.over.open(&mut cell).is_err());
        prop_assert!(test.origin.back.open(&mut cell).is_err());
    }
}

fn check_links(links: &[Vec<u8>], size: CellSize) -> Result<(), TestCaseError> {
    for pair in links.windows(2) {
        prop_assert!(pair.iter().all(|cell| cell.len() == size.cell_len()));
        prop_assert!(!share_anything(&pair[0], &pair[1]));
    }
    Ok(())
}

/// Changes an over cell on the way to hop `link` and says what that hop finds.
fn flip_over(size: CellSize, at: usize, mask: u8, link: usize) -> Result<Opened, CellError> {
    let mut test = circuit(3, 2, &mut rng(3));
    let mut cell = test.sealed_over(2, Command::Deliver(0), size, b"to the exit");
    for hop in 0..link {
        assert_eq!(test.open_over(hop, &mut cell), Opened::Forward);
    }
    cell[at] ^= mask;
    match test.relays.get_mut(link) {
        Some(relay) => relay.over.open(&mut cell),
        None => test.exit.over.open(&mut cell),
    }
}

/// Changes a back cell on the link after `link` relays and says what the origin finds.
fn flip_back(
    size: CellSize,
    at: usize,
    mask: u8,
    link: usize,
) -> Result<masq_onion::Delivered, CellError> {
    let mut test = circuit(3, 2, &mut rng(3));
    let mut cell = vec![1; size.cell_len()];
    test.exit.back.seal(&mut cell, 0, 100).unwrap();
    for (index, relay) in test.back.iter_mut().enumerate() {
        if index == link {
            cell[at] ^= mask;
        }
        relay.back.apply(&mut cell).unwrap();
    }
    if link == 2 {
        cell[at] ^= mask;
    }
    test.origin.back.open(&mut cell)
}

/// The share of bits that are set; random bytes have one half.
fn density(bytes: impl Iterator<Item = u8>) -> f64 {
    let (mut ones, mut all) = (0, 0);
    for byte in bytes {
        ones += u64::from(byte.count_ones());
        all += 8;
    }
    ones as f64 / all as f64
}

#[test]
fn s13_hop_cannot_tell_its_position() {
    const CIRCUITS: usize = 24;
    for (over, back) in [(1, 0), (3, 2), (6, 5)] {
        let tests: Vec<Loop> = (0..CIRCUITS)
            .map(|i| circuit(over, back, &mut rng(i as u8)))
            .collect();
        for hop in 0..=over + back {
            // The package has one length and one version, and every block of it
            // looks random, the tail and the unused ones too.
            for at in (50..SETUP_LEN).step_by(BLOCK_LEN) {
                let density = density(
                    tests
                        .iter()
                        .flat_map(|t| t.packages[hop].as_bytes()[at..at + BLOCK_LEN].iter())
                        .copied(),
                );
                assert!((density - 0.5).abs() < 0.015, "{density} at {at}");
            }
            assert!(tests.iter().all(|t| t.packages[hop].as_bytes()[0] == 1));
        }
        for mut test in tests {
            // The bytes a hop holds open only with its own key ...
            for (hop, package) in test.packages.iter().enumerate() {
                for (other, key) in test.nodes.secrets.iter().enumerate() {
                    assert_eq!(peel(&[key], package).is_ok(), hop == other);
                }
            }
            // ... and a relay for which a cell is meant sees a vector that looks
            // random throughout, however many hops were before it.
            for to in 0..over {
                let mut cell = test.sealed_over(to, Command::Drop, CellSize::Small, b"");
                for hop in 0..=to {
                    test.open_over(hop, &mut cell);
                }
                let vector = &cell[20..OVER_OVERHEAD];
                assert!(vector.chunks(4).all(|four| four != [0; 4]));
            }
        }
    }
}

#[test]
fn s13_what_one_hop_sees_is_the_same_in_circuits_of_all_lengths() {
    // The same hop as second over relay of long and short circuits.
    let mut shapes = HashSet::new();
    for (over, back) in [(3, 0), (3, 5), (6, 0), (6, 5)] {
        let test = circuit(over, back, &mut rng(40));
        let package = &test.packages[1];
        let peeled = peel(&[&test.nodes.secrets[1]], package).unwrap();
        let next = peeled.next_package.unwrap();
        shapes.insert((
            peeled.role,
            peeled.next.is_some(),
            package.as_bytes().len(),
            next.as_bytes().len(),
            peeled.auth.kind,
        ));
    }
    assert_eq!(shapes.len(), 1);
}

#[test]
fn s14_flipped_bit_is_caught() {
    let test = circuit(3, 2, &mut rng(5));
    for hop in 0..6 {
        let key = &test.nodes.secrets[hop];
        // Every byte of what lies before the header, and a walk through it.
        for at in (0..50)
            .chain((50..SETUP_LEN).step_by(41))
            .chain([SETUP_LEN - 1])
        {
            let mut bytes = *test.packages[hop].as_bytes();
            bytes[at] ^= 0x80 >> (at % 8);
            let package = SetupPackage::from_bytes(&bytes).unwrap();
            let refused = peel(&[key], &package).unwrap_err();
            let expected = match at {
                0 => PeelError::Version(bytes[0]),
                1 => PeelError::UnknownKey,
                _ => PeelError::Authentication,
            };
            assert_eq!(refused, expected, "byte {at} at hop {hop}");
        }
    }
    let size = CellSize::Small;
    let front = (0..OVER_OVERHEAD + 8).chain((128..size.cell_len()).step_by(97));
    for at in front.chain([size.cell_len() - 1]) {
        let link = at % 3;
        let mask = 1 << (at % 8);
        assert_eq!(
            flip_over(size, at, mask, link),
            Err(CellError::Authentication)
        );
        if !(BACK_OVERHEAD + 8..=OVER_OVERHEAD).contains(&at) {
            assert_eq!(
                flip_back(size, at, mask, link),
                Err(CellError::Authentication)
            );
        }
    }
}

#[test]
fn s14_a_cell_of_another_size_is_caught() {
    let mut test = circuit(2, 1, &mut rng(6));
    let mut cell = test.sealed_over(1, Command::Drop, CellSize::Medium, b"");
    cell.truncate(CellSize::Small.cell_len());
    assert_eq!(
        test.relays[0].over.open(&mut cell),
        Err(CellError::Authentication)
    );
}
