//! Tests of messages: golden bytes (the same as in the specification), round
//! trips, and decoders that never panic.

use libp2p::identity::ed25519;
use proptest::prelude::*;

use super::*;
use crate::card::{Card, SEALED_LEN};
use crate::chain::Chain;
use crate::proto::library_round_trip;
use crate::record::{RatePack, Record, Roles, SignedRecord};

const SPECIFICATION: &str = include_str!("../../../../docs/spec/gossip.md");

fn pair() -> ed25519::Keypair {
    ed25519::SecretKey::try_from_bytes([1u8; 32])
        .unwrap()
        .into()
}

/// The record of the test vectors.
fn golden_record() -> SignedRecord {
    let record = Record {
        chain: Chain::Dev,
        node: NodeKey::from(&pair().public()),
        onion: [0x22; 32],
        previous_onion: None,
        version: 7,
        earning_wallet: [0x33; 20],
        rates: RatePack {
            routing_byte: 1,
            routing_package: 2,
            exit_byte: 3,
            exit_package: 4,
        },
        roles: Roles {
            routes: true,
            exits: true,
            accepts_connections: true,
        },
        policy: "accept *:443".into(),
        country: Some(*b"CZ"),
        neighbours: vec![NodeKey([0x44; 32])],
        issued: 1_700_000_000,
        expires: 1_700_001_800,
    };
    record.sign(&pair()).unwrap()
}

/// That record and another one that differs by its policy.
fn golden_proof() -> crate::proof::Proof {
    let record = Record {
        policy: "accept *:80".into(),
        ..golden_record().record().clone()
    };
    let other = record.sign(&pair()).unwrap();
    crate::proof::Proof::equivocation(&golden_record(), &other).unwrap()
}

/// The card of the test vectors.
fn golden_card() -> Vec<u8> {
    let card = Card {
        chain: Chain::Dev,
        node: NodeKey::from(&pair().public()),
        seal_key: [0x55; 32],
        dialable: true,
        entry_only: false,
        links: 1,
        expires: 1_700_000_090,
    };
    card.sign(&ID, &pair())
}

const ID: WalkId = [0x66; 16];

/// One of every kind.
fn samples() -> Vec<(&'static str, Message)> {
    let record = golden_record().bytes().to_vec();
    let card = golden_card();
    let sealed = vec![0x77; SEALED_LEN];
    let entry = DigestEntry {
        node: NodeKey([0x44; 32]),
        version: 7,
        hash: [0x88; 8],
    };
    vec![
        (
            "Debut",
            Message::Debut {
                chain: "dev".into(),
                record: record.clone(),
                wants_entry: true,
                ports: vec![4000],
                invited: None,
                card: Some((ID, card.clone())),
                knock: Some(Knock([0xaa; 8])),
            },
        ),
        (
            "Debut, invited",
            Message::Debut {
                chain: "dev".into(),
                record: record.clone(),
                wants_entry: false,
                ports: vec![],
                invited: Some(ID),
                card: None,
                knock: None,
            },
        ),
        (
            "Accept",
            Message::Accept {
                record: record.clone(),
                entry: true,
            },
        ),
        (
            "Refuse",
            Message::Refuse {
                reason: RefuseReason::Full,
                introducing: true,
                retry_ms: 2000,
                text: "no room".into(),
            },
        ),
        ("Goodbye", Message::Goodbye(Farewell::Spliced)),
        ("Spare", Message::Spare),
        ("Ping", Message::Ping(0x0102_0304_0506_0708)),
        ("Pong", Message::Pong(0x0102_0304_0506_0708)),
        ("EntryAsk", Message::EntryAsk { insist: true }),
        ("EntryReply", Message::EntryReply { granted: true }),
        ("EntryRelease", Message::EntryRelease),
        (
            "Walk",
            Message::Walk {
                id: ID,
                card: card.clone(),
                left: 8,
                min: 1,
                splice: true,
            },
        ),
        (
            "Taken",
            Message::Taken {
                id: ID,
                card: card.clone(),
                sealed: Some(sealed.clone()),
                second: true,
            },
        ),
        (
            "Sealed",
            Message::Sealed {
                id: ID,
                to: NodeKey([0x44; 32]),
                sealed: sealed.clone(),
            },
        ),
        ("WalkEnd", Message::WalkEnd { id: ID }),
        (
            "SpliceAsk",
            Message::SpliceAsk {
                id: ID,
                card: card.clone(),
            },
        ),
        (
            "SpliceReply",
            Message::SpliceReply {
                id: ID,
                agreed: true,
                card,
                sealed: None,
            },
        ),
        ("SpliceGo", Message::SpliceGo { id: ID }),
        (
            "Digest",
            Message::Digest([[0x99; BUCKET_LEN]; DIGEST_BUCKETS]),
        ),
        (
            "DigestList",
            Message::DigestList {
                mask: 0x8001,
                entries: vec![entry],
            },
        ),
        ("Want", Message::Want(vec![NodeKey([0x44; 32])])),
        ("Records", Message::Records(vec![record.into()])),
        ("Proof", Message::Proof(golden_proof().records().to_vec())),
        (
            "ReachAsk",
            Message::ReachAsk {
                ports: vec![4000, 443],
            },
        ),
        (
            "ReachReply",
            Message::ReachReply {
                outcome: ReachOutcome::Reached,
                ports: vec![4000],
                seen: Some([20, 0, 0, 1].into()),
            },
        ),
        (
            "ReachReply, refused",
            Message::ReachReply {
                outcome: ReachOutcome::Refused,
                ports: vec![],
                seen: None,
            },
        ),
    ]
}

#[test]
fn golden_bytes_are_in_the_specification() {
    let mut vectors = vec![
        ("Record", golden_record().bytes().to_vec()),
        ("Card", golden_card()),
        ("Evidence", golden_proof().evidence()),
    ];
    vectors.extend(
        samples()
            .into_iter()
            .map(|(name, message)| (name, message.encode())),
    );
    let lines: Vec<String> = vectors
        .iter()
        .map(|(name, bytes)| format!("{name}: {}", hex::encode(bytes)))
        .collect();
    let missing: Vec<&String> = lines
        .iter()
        .filter(|line| !SPECIFICATION.contains(line.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "not in docs/spec/gossip.md:\n{}",
        lines.join("\n")
    );
}

#[test]
fn the_golden_record_is_valid() {
    assert_eq!(
        SignedRecord::parse(golden_record().bytes()).unwrap(),
        golden_record()
    );
    assert!(Card::parse(&golden_card(), &ID, Chain::Dev, 1_700_000_000).is_some());
    assert_eq!(golden_proof().lie(), crate::proof::Lie::Equivocation);
}

#[test]
fn every_kind_round_trips() {
    for (name, message) in samples() {
        assert_eq!(
            Message::decode(&message.encode()).as_ref(),
            Ok(&message),
            "{name}"
        );
        assert!(library_round_trip(&message.to_frame()), "{name}");
        assert_eq!(
            message.encode().len(),
            quick_protobuf::MessageWrite::get_size(&message.to_frame()),
            "{name}"
        );
    }
}

#[test]
fn cut_messages_never_panic() {
    for (_, message) in samples() {
        let bytes = message.encode();
        for len in 0..bytes.len() {
            let _ = Message::decode(&bytes[..len]);
        }
    }
}

#[test]
fn wrong_fields_are_named() {
    let wrong = |frame: Frame<'_>| Message::decode(&frame.encode()).unwrap_err();
    let field = |kind, field| WireError::Field { kind, field };
    assert_eq!(
        wrong(Frame {
            kind: 99,
            ..Frame::default()
        }),
        WireError::Kind(99)
    );
    assert_eq!(
        wrong(Frame {
            kind: 0,
            ..Frame::default()
        }),
        WireError::Kind(0)
    );
    assert_eq!(
        wrong(Frame {
            kind: kind::ACCEPT,
            ..Frame::default()
        }),
        field(kind::ACCEPT, "record")
    );
    assert_eq!(
        wrong(Frame {
            kind: kind::WALK_END,
            ..Frame::default()
        }),
        field(kind::WALK_END, "id")
    );
    let id = Cow::Borrowed(ID.as_slice());
    let far = Frame {
        kind: kind::WALK,
        id,
        left: 25,
        ..Frame::default()
    };
    assert_eq!(wrong(far), field(kind::WALK, "left"));
    let odd = Frame {
        kind: kind::WANT,
        data: vec![0; 33].into(),
        ..Frame::default()
    };
    assert_eq!(wrong(odd), field(kind::WANT, "data"));
    let nothing_to_check = Frame {
        kind: kind::REACH_ASK,
        ..Frame::default()
    };
    assert_eq!(wrong(nothing_to_check), field(kind::REACH_ASK, "port"));
    let half_an_address = Frame {
        kind: kind::REACH_REPLY,
        data: vec![0; 8].into(),
        ..Frame::default()
    };
    assert_eq!(wrong(half_an_address), field(kind::REACH_REPLY, "data"));
    let many = Frame {
        kind: kind::RECORDS,
        record: vec![Cow::Borrowed(&[0u8][..]); 65],
        ..Frame::default()
    };
    assert_eq!(wrong(many), WireError::Protobuf);
    for (count, len) in [(0, 1), (3, 1), (1, 769)] {
        let proof = Frame {
            kind: kind::PROOF,
            record: vec![Cow::Owned(vec![0; len]); count],
            ..Frame::default()
        };
        assert_eq!(wrong(proof), field(kind::PROOF, "record"));
    }
}

#[test]
fn lengths_beyond_the_end_are_refused() {
    // The trap of nested readers: a length that runs past the message.
    for length in [0x7fu8, 0xff] {
        assert!(Message::decode(&[0x08, 1, 0x1a, length, 0xff, 0xff, 0xff, 0x7f]).is_err());
    }
}

#[test]
fn a_peers_sentence_is_bounded_and_clean() {
    let text = format!("{}\u{1b}[31m", "ř".repeat(300));
    let refuse = Message::Refuse {
        reason: RefuseReason::Other(77),
        introducing: false,
        retry_ms: 0,
        text,
    };
    let Ok(Message::Refuse { text, reason, .. }) = Message::decode(&refuse.encode()) else {
        panic!()
    };
    assert!(text.len() <= MAX_TEXT_LEN && !text.contains('\u{1b}'));
    assert_eq!(reason, RefuseReason::Other(77));
}

proptest! {
    #[test]
    fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::decode(&bytes);
    }

    #[test]
    fn decoding_damaged_messages_never_panics(
        which in 0usize..26, at in any::<prop::sample::Index>(), value in any::<u8>(),
    ) {
        let (_, message) = samples().swap_remove(which);
        let mut bytes = message.encode();
        let at = at.index(bytes.len());
        bytes[at] = value;
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }
}
