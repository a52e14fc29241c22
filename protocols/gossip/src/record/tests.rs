//! Tests of records: round trips, every flipped bit, every rule.

use proptest::prelude::*;

use super::*;

fn pair(seed: u8) -> ed25519::Keypair {
    ed25519::SecretKey::try_from_bytes([seed; 32])
        .unwrap()
        .into()
}

fn sample() -> Record {
    Record {
        chain: Chain::Dev,
        node: NodeKey::from(&pair(1).public()),
        onion: [2; 32],
        previous_onion: Some([3; 32]),
        version: 77,
        earning_wallet: [4; 20],
        rates: RatePack {
            routing_byte: 1,
            routing_package: 2,
            exit_byte: 3,
            exit_package: 4,
        },
        roles: Roles {
            routes: true,
            exits: true,
            accepts_connections: false,
        },
        policy: "accept *:443".into(),
        country: Some(*b"CZ"),
        neighbours: vec![NodeKey([5; 32]), NodeKey([6; 32])],
        issued: 1_000_000,
        expires: 1_001_800,
    }
}

#[test]
fn signed_and_parsed() {
    let signed = sample().sign(&pair(1)).unwrap();
    let parsed = SignedRecord::parse(signed.bytes()).unwrap();
    assert_eq!(parsed, signed);
    assert_eq!(parsed.record(), &sample());
}

#[test]
fn the_largest_record_is_within_the_bound() {
    let mut record = sample();
    record.chain = Chain::PolygonMainnet;
    record.policy = "x".repeat(MAX_POLICY_LEN);
    record.neighbours = (1..=5).map(|i| NodeKey([i; 32])).collect();
    assert_eq!(record.sign(&pair(1)).unwrap().bytes().len(), 675);
}

#[test]
fn every_flipped_bit_is_caught() {
    let signed = sample().sign(&pair(1)).unwrap();
    for at in 0..signed.bytes().len() {
        let mut bytes = signed.bytes().to_vec();
        bytes[at] ^= 1 << (at % 8);
        assert!(SignedRecord::parse(&bytes).is_err(), "byte {at}");
    }
}

#[test]
fn cut_or_lengthened_records_are_refused() {
    let signed = sample().sign(&pair(1)).unwrap();
    for len in 0..signed.bytes().len() {
        assert!(SignedRecord::parse(&signed.bytes()[..len]).is_err());
    }
    let longer = [signed.bytes(), &[0]].concat();
    assert!(SignedRecord::parse(&longer).is_err());
}

#[test]
fn another_key_cannot_sign_for_a_node() {
    assert_eq!(sample().sign(&pair(2)).unwrap_err(), RecordError::Signature);
}

#[test]
fn rules_hold_on_both_sides() {
    let over = Record {
        neighbours: (1..=6).map(|i| NodeKey([i; 32])).collect(),
        ..sample()
    };
    assert_eq!(over.sign(&pair(1)).unwrap_err(), RecordError::OverCap);
    let unsorted = Record {
        neighbours: vec![NodeKey([6; 32]), NodeKey([5; 32])],
        ..sample()
    };
    assert_eq!(
        unsorted.sign(&pair(1)).unwrap_err(),
        RecordError::Neighbours
    );
    let itself = Record {
        neighbours: vec![sample().node],
        ..sample()
    };
    assert_eq!(itself.sign(&pair(1)).unwrap_err(), RecordError::Neighbours);
    let long = Record {
        expires: sample().issued + 1801,
        ..sample()
    };
    assert_eq!(long.sign(&pair(1)).unwrap_err(), RecordError::Life);
}

#[test]
fn time_is_checked_apart() {
    let signed = sample().sign(&pair(1)).unwrap();
    assert_eq!(signed.check_time(1_000_000), Ok(()));
    assert_eq!(signed.check_time(1_001_799), Ok(()));
    assert_eq!(signed.check_time(1_001_800), Err(RecordError::Time));
    assert_eq!(signed.check_time(1_000_000 - 120), Ok(()));
    assert_eq!(signed.check_time(1_000_000 - 121), Err(RecordError::Time));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..800)) {
        let _ = SignedRecord::parse(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_record_round_trips(
        version in any::<u64>(), bits in 0u8..8, count in 0usize..=5, previous in any::<Option<[u8; 32]>>(),
        wallet in any::<[u8; 20]>(), policy in "[ -~]{0,256}", issued in 0u64..1 << 40, life in 1u64..=1800,
    ) {
        let record = Record {
            version,
            roles: Roles::from_bits(bits).unwrap(),
            neighbours: (0..count).map(|i| NodeKey([i as u8; 32])).collect(),
            previous_onion: previous,
            earning_wallet: wallet,
            policy,
            issued,
            expires: issued + life,
            ..sample()
        };
        let signed = record.clone().sign(&pair(1)).unwrap();
        let parsed = SignedRecord::parse(signed.bytes()).unwrap();
        prop_assert_eq!(parsed.record(), &record);
    }
}
