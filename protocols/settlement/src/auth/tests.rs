//! Authorisations: golden bytes, a second implementation of EIP-712, every refusal.

use alloy_primitives::address;
use alloy_sol_types::{SolStruct, eip712_domain, sol};
use proptest::prelude::*;

use super::*;
use crate::testing::Wallet;

const SPECIFICATION: &str = include_str!("../../../../docs/spec/settlement.md");
const NOW: u64 = 1_700_000_100;

sol! {
    struct SolRouteAuth {
        address payer;
        bytes32 hop;
        bytes32 circuit;
        uint64 routingByte;
        uint64 routingPackage;
        uint64 exitByte;
        uint64 exitPackage;
        uint128 maxSpend;
        uint64 notBefore;
        uint64 expiry;
    }
}

fn domain() -> Domain {
    Domain::new(31337, address!("5fbdb2315678afecb367f032d93f642f64180aa3"))
}

fn auth() -> RouteAuth {
    RouteAuth {
        payer: Wallet::new(1).address(),
        rates: RatePack {
            routing_byte: 1,
            routing_package: 2,
            exit_byte: 3,
            exit_package: 4,
        },
        max_spend: 1_000_000_000_000_000_000,
        not_before: 1_700_000_000,
        expiry: 1_700_003_600,
    }
}

const HOP: NodeKey = NodeKey([0x22; 32]);
const EPHEMERAL: [u8; 32] = [0x33; 32];

fn signed() -> SignedAuth {
    sign(auth())
}

fn sign(auth: RouteAuth) -> SignedAuth {
    auth.sign(&domain(), &HOP, &EPHEMERAL, &Wallet::new(1))
        .unwrap()
}

fn view() -> HopView<'static> {
    HopView {
        domain: domain(),
        node: HOP,
        ephemeral: &EPHEMERAL,
        floors: &[],
    }
}

fn refused(signed: SignedAuth, view: &HopView<'_>, now: u64) -> Reason {
    signed.verify(view, now).unwrap_err().reason
}

#[test]
fn golden_authorisation() {
    let body = signed().encode();
    let digest = auth().digest(&domain(), &HOP, &CircuitId::of(&EPHEMERAL));
    for golden in [
        hex::encode(&body[..AUTH_USED]),
        hex::encode(digest),
        hex::encode(CircuitId::of(&EPHEMERAL).0),
        hex::encode(auth().payer),
        hex::encode(domain().separator()),
        ROUTE_AUTH_TYPE.to_owned(),
    ] {
        assert!(
            SPECIFICATION.contains(&golden),
            "not in the specification: {golden}"
        );
    }
    assert_eq!(SignedAuth::decode(&body), Some(signed()));
}

#[test]
fn another_implementation_has_the_same_digest() {
    let ours = auth().digest(&domain(), &HOP, &CircuitId::of(&EPHEMERAL));
    let a = auth();
    let theirs = SolRouteAuth {
        payer: a.payer,
        hop: HOP.0.into(),
        circuit: CircuitId::of(&EPHEMERAL).0.into(),
        routingByte: a.rates.routing_byte,
        routingPackage: a.rates.routing_package,
        exitByte: a.rates.exit_byte,
        exitPackage: a.rates.exit_package,
        maxSpend: a.max_spend,
        notBefore: a.not_before,
        expiry: a.expiry,
    };
    // The struct is called otherwise here, so that no name clashes: hash the parts.
    let type_hash = alloy_primitives::keccak256(ROUTE_AUTH_TYPE);
    let mut bytes = type_hash.to_vec();
    bytes.extend(theirs.eip712_encode_data());
    let separator = eip712_domain! {
        name: "MASQ settlement",
        version: "1",
        chain_id: 31337,
        verifying_contract: domain().token,
    }
    .hash_struct();
    assert_eq!(separator, domain().separator());
    assert_eq!(
        SolRouteAuth::eip712_root_type().replace("SolRouteAuth", "RouteAuth"),
        ROUTE_AUTH_TYPE
    );
    assert_eq!(ours, domain().digest(alloy_primitives::keccak256(bytes)));
}

#[test]
fn s26_holds_at_its_hop_only() {
    let verified = signed().verify(&view(), NOW).unwrap();
    assert_eq!(verified.auth, auth());
    assert_eq!(verified.circuit, CircuitId::of(&EPHEMERAL));

    let token = domain().token;
    let elsewhere = [
        HopView {
            domain: Domain::new(1, token),
            ..view()
        },
        HopView {
            domain: Domain::new(31337, Address::ZERO),
            ..view()
        },
        HopView {
            node: NodeKey([0x23; 32]),
            ..view()
        },
        HopView {
            ephemeral: &[0x34; 32],
            ..view()
        },
    ];
    for view in elsewhere {
        assert_eq!(refused(signed(), &view, NOW), Reason::BadSignature);
    }
}

#[test]
fn s26_times_are_kept_to_the_second() {
    let (begin, end) = (auth().not_before, auth().expiry);
    let ok = |now| signed().verify(&view(), now).is_ok();
    assert!(ok(begin - CLOCK_TOLERANCE));
    assert_eq!(
        refused(signed(), &view(), begin - CLOCK_TOLERANCE - 1),
        Reason::NotYetValid
    );
    assert!(ok(end + CLOCK_TOLERANCE - 1));
    assert_eq!(
        refused(signed(), &view(), end + CLOCK_TOLERANCE),
        Reason::Expired
    );

    let long = sign(RouteAuth {
        expiry: end + 1,
        ..auth()
    });
    assert_eq!(refused(long, &view(), NOW), Reason::TooLongLived);
    for expiry in [begin, begin - 1, 0] {
        let odd = sign(RouteAuth { expiry, ..auth() });
        assert_eq!(refused(odd, &view(), NOW), Reason::Malformed);
    }
    let last = sign(RouteAuth {
        not_before: u64::MAX - 1,
        expiry: u64::MAX,
        ..auth()
    });
    assert_eq!(refused(last, &view(), NOW), Reason::NotYetValid);
}

#[test]
fn s31_one_of_the_packs_must_be_covered() {
    let higher = RatePack {
        exit_byte: 9,
        ..auth().rates
    };
    let view_of = |floors| HopView { floors, ..view() };
    let both = [higher, auth().rates];
    assert!(signed().verify(&view_of(&both), NOW).is_ok());
    assert_eq!(
        refused(signed(), &view_of(&both[..1]), NOW),
        Reason::RateTooLow
    );
}

#[test]
fn kinds_are_told_apart() {
    let body = signed().encode();
    assert!(judge(KIND_ROUTE_AUTH, &body, &view(), NOW).is_ok());
    let reason = |kind, body| judge(kind, body, &view(), NOW).unwrap_err().reason;
    assert_eq!(reason(KIND_NONE, &body), Reason::NoAuthorisation);
    assert_eq!(reason(2, &body), Reason::UnknownKind);
    assert_eq!(reason(KIND_ROUTE_AUTH, &[0; AUTH_LEN]), Reason::Malformed);
    let mut longer = body;
    longer[AUTH_LEN - 1] = 1;
    assert_eq!(reason(KIND_ROUTE_AUTH, &longer), Reason::Malformed);
}

#[test]
fn debug_shows_no_wallet() {
    let shown = format!("{:?}", signed()).to_lowercase();
    let wallet = hex::encode(auth().payer);
    assert!(!shown.contains(&wallet[..8]));
}

proptest! {
    #[test]
    fn a_changed_bit_is_refused(at in 0..AUTH_USED * 8) {
        let mut body = signed().encode();
        body[at / 8] ^= 1 << (at % 8);
        prop_assert!(judge(KIND_ROUTE_AUTH, &body, &view(), NOW).is_err());
    }

    #[test]
    fn what_decodes_encodes_alike(bytes in prop::collection::vec(any::<u8>(), AUTH_USED)) {
        let mut body = [0; AUTH_LEN];
        body[..AUTH_USED].copy_from_slice(&bytes);
        body[AUTH_USED - 1] &= 1;
        body[AUTH_USED - 33] &= 0x7f;
        if let Some(signed) = SignedAuth::decode(&body) {
            prop_assert_eq!(signed.encode(), body);
        }
    }
}
