//! Messages: golden bytes (the same as in the specification), round trips, and a decoder that
//! never panics.

use alloy_primitives::address;
use alloy_sol_types::{SolStruct, sol};
use proptest::prelude::*;

use super::*;
use crate::eip712::Signer as _;
use crate::testing::Wallet;

const SPECIFICATION: &str = include_str!("../../../../docs/spec/settlement.md");
const HOP: NodeKey = NodeKey([0x22; 32]);

mod solidity {
    use super::sol;
    sol! {
        struct Receipt {
            address payer;
            bytes32 hop;
            uint32 epoch;
            uint64 sequence;
            uint128 total;
            uint128 settled;
        }
    }
}

fn domain() -> Domain {
    Domain::new(31337, address!("5fbdb2315678afecb367f032d93f642f64180aa3"))
}

fn digest() -> B256 {
    digest_of(Some(900_000))
}

fn digest_of(settled: Option<Wei>) -> B256 {
    let payer = Wallet::new(1).address();
    receipt_digest(
        &domain(),
        &payer,
        &HOP,
        (1_700_000_000, 7),
        (1_000_000, settled),
    )
}

fn samples() -> Vec<(&'static str, Message)> {
    let carried = |cells, bytes| Carried { cells, bytes };
    let statement = Statement {
        epoch: 1_700_000_000,
        sequence: 7,
        circuit: Some(CircuitUse {
            circuit: CircuitRef([0x44; 8]),
            usage: Usage {
                over: carried(3, 3000),
                back: carried(258, 65536),
            },
        }),
        total: 1_000_000,
        credit: 5_000_000,
        others: 2,
    };
    let receipt = Receipt {
        epoch: 1_700_000_000,
        sequence: 7,
        total: 1_000_000,
        settled: Some(900_000),
        signature: CanonicalSignature::sign(&Wallet::new(1), &digest()).unwrap(),
    };
    let transaction = B256::repeat_byte(0x55);
    vec![
        ("statement", Message::Statement(statement)),
        (
            "statement of no circuit",
            Message::Statement(Statement {
                circuit: None,
                ..statement
            }),
        ),
        ("receipt", Message::Receipt(receipt)),
        (
            "receipt without a word about ended circuits",
            Message::Receipt(Receipt {
                settled: None,
                signature: CanonicalSignature::sign(&Wallet::new(1), &digest_of(None)).unwrap(),
                ..receipt
            }),
        ),
        (
            "notice",
            Message::Notice(PaymentNotice {
                transaction,
                amount: 1_000_000,
            }),
        ),
        (
            "answer",
            Message::Answer(NoticeAnswer {
                transaction,
                state: PaymentState::Provisional,
                credited: 1_000_000,
                credit: 6_000_000,
            }),
        ),
        (
            "refusal",
            Message::Refusal(Refusal {
                reason: Reason::OverLimit,
                figure: 300,
            }),
        ),
        ("question", Message::Question(Question::Statement)),
        (
            "question of a new epoch",
            Message::Question(Question::Reopen),
        ),
    ]
}

#[test]
fn golden_messages() {
    for (name, message) in samples() {
        let bytes = message.encode();
        assert!(bytes.len() <= MAX_MESSAGE_LEN);
        let row = format!("| {name} | `{}` |", hex::encode(&bytes));
        assert!(
            SPECIFICATION.contains(&row),
            "not in the specification: {row}"
        );
        assert_eq!(Message::decode(&bytes), Ok(message));
        let envelope = Envelope {
            payer: Address::repeat_byte(9),
            message,
        };
        assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
        for len in 0..bytes.len() {
            assert!(Message::decode(&bytes[..len]).is_err());
        }
        let longer = [bytes, vec![0]].concat();
        assert_eq!(Message::decode(&longer), Err(MessageError::Malformed));
    }
}

#[test]
fn golden_receipt_digest() {
    for digest in [digest(), digest_of(None)].map(hex::encode) {
        assert!(
            SPECIFICATION.contains(&digest),
            "not in the specification: {digest}"
        );
    }
    assert!(SPECIFICATION.contains(RECEIPT_TYPE));
    let Some((_, Message::Receipt(receipt))) = samples().into_iter().nth(2) else {
        panic!("the third sample is the receipt");
    };
    assert!(receipt.is_of(&domain(), &Wallet::new(1).address(), &HOP));
    assert!(!receipt.is_of(&domain(), &Wallet::new(2).address(), &HOP));
    assert!(!receipt.is_of(&domain(), &Wallet::new(1).address(), &NodeKey([1; 32])));
}

#[test]
fn another_implementation_has_the_same_digest() {
    let theirs = solidity::Receipt {
        payer: Wallet::new(1).address(),
        hop: HOP.0.into(),
        epoch: 1_700_000_000,
        sequence: 7,
        total: 1_000_000,
        settled: 900_000,
    };
    let domain = alloy_sol_types::eip712_domain! {
        name: "MASQ settlement",
        version: "1",
        chain_id: 31337,
        verifying_contract: domain().token,
    };
    assert_eq!(theirs.eip712_signing_hash(&domain), digest());
}

#[test]
fn what_has_two_readings_is_refused() {
    let (_, message) = samples().swap_remove(1);
    let mut bytes = message.encode();
    bytes[25] = 1; // a cell of no circuit
    assert_eq!(Message::decode(&bytes), Err(MessageError::Malformed));
    assert_eq!(Message::decode(&[9]), Err(MessageError::Kind(9)));
    assert_eq!(Message::decode(&[6, 3]), Err(MessageError::Malformed));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..140)) {
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes);
        }
    }
}
