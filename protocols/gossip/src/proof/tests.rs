//! Tests of proofs: what is one, and above all what is none.

use libp2p::identity::ed25519;
use proptest::prelude::*;

use super::*;
use crate::record::{MAX_LISTED, RatePack, Record, Roles, SIGNATURE_LEN};

fn pair(seed: u8) -> ed25519::Keypair {
    ed25519::SecretKey::try_from_bytes([seed; 32])
        .unwrap()
        .into()
}

fn sample(policy: &str) -> Record {
    Record {
        chain: Chain::Dev,
        node: NodeKey::from(&pair(1).public()),
        onion: [2; 32],
        previous_onion: None,
        version: 77,
        earning_wallet: [0; 20],
        rates: RatePack::default(),
        roles: Roles::default(),
        policy: policy.into(),
        country: None,
        neighbours: Vec::new(),
        issued: 1000,
        expires: 2800,
    }
}

fn signed(record: Record) -> SignedRecord {
    record.sign(&pair(1)).unwrap()
}

/// Signs what [`Record::sign`] refuses: the layout of a record without neighbours with `count` of
/// them put in.
fn over_cap(count: u8, life: u64) -> Vec<u8> {
    let record = sample("");
    let mut bytes = signed(record).bytes().to_vec();
    bytes.truncate(bytes.len() - SIGNATURE_LEN - 17);
    bytes.push(count);
    for n in 0..count {
        bytes.extend_from_slice(&[n; 32]);
    }
    bytes.extend_from_slice(&1000u64.to_be_bytes());
    bytes.extend_from_slice(&(1000 + life).to_be_bytes());
    let message = [b"masq-gossip/1 record\0".as_slice(), &bytes].concat();
    bytes.extend_from_slice(&pair(1).sign(&message));
    bytes
}

#[test]
fn two_records_with_one_version_are_a_proof() {
    let (one, other) = (signed(sample("a")), signed(sample("b")));
    let proof = Proof::parse(&[one.bytes(), other.bytes()]).unwrap();
    assert_eq!(proof.lie(), Lie::Equivocation);
    assert_eq!((proof.node(), proof.version()), (one.node, 77));
    // In whatever order they come, it is the same proof.
    let turned = Proof::parse(&[other.bytes(), one.bytes()]).unwrap();
    assert_eq!(turned, proof);
    assert_eq!(Proof::from_evidence(&proof.evidence()), Ok(proof));
}

#[test]
fn one_content_with_two_signatures_is_no_lie() {
    // Ed25519 signers may sign one message in any number of ways. Here R is chosen anew, which
    // needs the secret scalar; what is shown is that signatures are not compared at all.
    let one = signed(sample("a"));
    let proof = Proof::equivocation(&one, &signed(sample("a")));
    assert_eq!(proof, Err(ProofError::Same));
    let mut forged = one.bytes().to_vec();
    let at = forged.len() - 1;
    forged[at] ^= 1;
    let wrong = Proof::parse(&[one.bytes(), &forged]);
    assert_eq!(wrong, Err(ProofError::Record(RecordError::Signature)));
}

#[test]
fn what_an_honest_node_signs_is_never_a_proof() {
    let one = signed(sample("a"));
    let later = signed(Record {
        version: 78,
        ..sample("b")
    });
    let elsewhere = signed(Record {
        chain: Chain::BaseMainnet,
        ..sample("b")
    });
    let foreign = Record {
        node: NodeKey::from(&pair(2).public()),
        ..sample("b")
    };
    let foreign = foreign.sign(&pair(2)).unwrap();
    for other in [later, elsewhere, foreign] {
        let proof = Proof::parse(&[one.bytes(), other.bytes()]);
        assert_eq!(proof, Err(ProofError::Unrelated));
    }
    assert_eq!(Proof::parse(&[one.bytes()]), Err(ProofError::Lawful));
    let none: [&[u8]; 0] = [];
    assert_eq!(Proof::parse(&none), Err(ProofError::Shape));
    assert_eq!(Proof::parse(&[one.bytes(); 3]), Err(ProofError::Shape));
    assert_eq!(Proof::from_evidence(&[]), Err(ProofError::Shape));
}

#[test]
fn more_than_five_neighbours_are_a_proof_when_signed() {
    let bytes = over_cap(6, 1800);
    let proof = Proof::parse(&[&bytes]).unwrap();
    assert_eq!(
        (proof.lie(), proof.records()),
        (Lie::OverCap, &[bytes.clone()][..])
    );
    assert_eq!(Proof::from_evidence(&proof.evidence()), Ok(proof));
    assert_eq!(
        Proof::parse(&[over_cap(MAX_LISTED as u8, 1800)]),
        Err(ProofError::Lawful)
    );
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        assert!(Proof::parse(&[&bad]).is_err(), "byte {at}");
    }
    // A life without end would make a proof without end.
    assert_eq!(
        Proof::parse(&[over_cap(6, 1801)]),
        Err(ProofError::Record(RecordError::Life))
    );
    // Two of them with one version are not taken for the other lie.
    assert!(Proof::parse(&[over_cap(6, 1800), over_cap(7, 1800)]).is_err());
}

#[test]
fn proofs_count_while_both_records_are_valid() {
    let short = Record {
        expires: 1500,
        ..sample("a")
    };
    let late = Record {
        issued: 1200,
        ..sample("b")
    };
    let proof = Proof::equivocation(&signed(short), &signed(late)).unwrap();
    assert_eq!(proof.check_time(1079), Err(ProofError::Time));
    assert_eq!(proof.check_time(1080), Ok(()));
    assert_eq!(proof.check_time(1499), Ok(()));
    assert_eq!(proof.check_time(1500), Err(ProofError::Time));
    assert_eq!(proof.expires(), 1500);
}

#[test]
fn evidence_stays_within_its_bound() {
    let largest = |letter: &str| {
        signed(Record {
            chain: Chain::PolygonMainnet,
            previous_onion: Some([1; 32]),
            policy: letter.repeat(crate::record::MAX_POLICY_LEN),
            neighbours: (1..=5).map(|n| NodeKey([n; 32])).collect(),
            ..sample("")
        })
    };
    let proof = Proof::equivocation(&largest("x"), &largest("y")).unwrap();
    assert!(proof.evidence().len() <= MAX_EVIDENCE_LEN);
}

proptest! {
    #[test]
    fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Proof::from_evidence(&bytes);
        let _ = Proof::parse(&[&bytes]);
        let _ = Proof::parse(&[&bytes, &bytes]);
    }
}
