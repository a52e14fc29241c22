//! Golden bytes and properties of requests and replies.

use proptest::prelude::*;

use super::*;

fn tcp(host: Host, port: u16) -> FlowRequest {
    FlowRequest::Tcp { host, port }
}

#[test]
fn golden_bytes_of_every_request() {
    let name = || "example.com".to_owned();
    let cases = [
        (
            tcp(Host::Name(name()), 443),
            "0801120b6578616d706c652e636f6d20bb03",
        ),
        (
            tcp(Host::V4(Ipv4Addr::new(192, 0, 2, 7)), 80),
            "08011a04c00002072050",
        ),
        (
            tcp(Host::V6("2001:db8::1".parse().unwrap()), 22),
            "08011a1020010db80000000000000000000000012016",
        ),
        (FlowRequest::Udp, "0802"),
        (
            FlowRequest::Resolve {
                name: name(),
                want: Want::V6,
            },
            "0803120b6578616d706c652e636f6d2802",
        ),
        (
            FlowRequest::ResolvePtr {
                address: Ipv4Addr::new(192, 0, 2, 7).into(),
            },
            "08041a04c0000207",
        ),
        (
            FlowRequest::Service {
                name: "echo".into(),
            },
            "080512046563686f",
        ),
    ];
    for (request, golden) in cases {
        let bytes = request.encode().unwrap();
        assert_eq!(hex::encode(&bytes), golden, "{request:?}");
        assert!(FlowRequest::decode(&bytes).unwrap() == request);
    }
}

#[test]
fn golden_bytes_of_replies() {
    let address = Ipv4Addr::new(192, 0, 2, 7).into();
    let cases = [
        (FlowReply::ok(), "0801"),
        (
            FlowReply::refused(FlowStatus::ConnectionRefused, "no"),
            "080412026e6f",
        ),
        (
            FlowReply::resolved(vec![address], 60),
            "08011a04c0000207283c",
        ),
        (FlowReply::named(vec!["a.b".into()], 0), "08012203612e62"),
    ];
    for (reply, golden) in cases {
        let bytes = reply.encode();
        assert_eq!(hex::encode(&bytes), golden);
        assert!(FlowReply::decode(&bytes).unwrap() == reply);
    }
}

#[test]
fn every_status_survives_and_unknown_ones_are_failures() {
    for code in 1..=12 {
        let status = FlowStatus::from_wire(code).unwrap();
        assert_eq!(status.to_wire(), code);
    }
    assert_eq!(FlowStatus::from_wire(99), Ok(FlowStatus::Internal));
    assert_eq!(FlowReply::decode(&[]), Err(MessageError::Missing("status")));
}

#[test]
fn bad_requests_are_told_apart() {
    let long = "a".repeat(MAX_NAME + 1);
    for name in ["", "a b", "a\0", "a\nb", &long] {
        let request = tcp(Host::Name(name.into()), 80);
        assert_eq!(request.encode(), Err(MessageError::Bad("name")));
    }
    assert!(tcp(Host::Name("a".repeat(MAX_NAME)), 80).encode().is_ok());
    assert_eq!(
        tcp(Host::Name("a".into()), 0).encode(),
        Err(MessageError::Bad("port"))
    );

    let decode =
        |text: &str| FlowRequest::decode(&hex::decode(text).unwrap()).map(|r| format!("{r:?}"));
    assert_eq!(decode(""), Err(MessageError::Missing("kind")));
    assert_eq!(decode("0863"), Err(MessageError::UnknownKind));
    assert_eq!(decode("08012050"), Err(MessageError::Missing("host")));
    assert_eq!(decode("08011201612050"), Ok("Tcp".into()));
    assert_eq!(decode("080112016120808004"), Err(MessageError::Bad("port")));
    assert_eq!(
        decode("080112016120501a04c0000207"),
        Err(MessageError::Bad("host"))
    );
    assert_eq!(
        decode("08011a03c000022050"),
        Err(MessageError::Bad("address"))
    );
    assert_eq!(decode("08031201612803"), Err(MessageError::Bad("want")));
    assert_eq!(decode("080112ff"), Err(MessageError::Malformed));
    // A field that this version does not know is skipped, of whatever type.
    assert_eq!(
        decode("0801120161205030017a0101790000000000000000"),
        Ok("Tcp".into())
    );
    assert_eq!(
        FlowRequest::decode(&[0; MAX_MESSAGE + 1]).map(drop),
        Err(MessageError::TooLong)
    );
}

#[test]
fn a_reply_is_cut_and_made_safe_to_show() {
    let reply = FlowReply {
        detail: format!("\u{1b}[2J{}", "ä".repeat(MAX_DETAIL)),
        addresses: vec![Ipv6Addr::LOCALHOST.into(); MAX_ADDRESSES + 5],
        names: vec!["n".repeat(MAX_NAME); MAX_NAMES + 2],
        ttl: u32::MAX,
        ..FlowReply::refused(FlowStatus::Internal, "")
    };
    let bytes = reply.encode();
    assert!(bytes.len() <= MAX_MESSAGE, "{}", bytes.len());
    let decoded = FlowReply::decode(&bytes).unwrap();
    assert!(decoded.detail.len() <= MAX_DETAIL);
    assert!(!decoded.detail.chars().any(char::is_control));
    assert_eq!(decoded.addresses.len(), MAX_ADDRESSES);
    assert_eq!(decoded.names.len(), MAX_NAMES);
}

#[test]
fn debug_output_does_not_name_the_target() {
    let request = tcp(Host::Name("secret.example".into()), 443);
    assert_eq!(format!("{request:?}"), "Tcp");
    let reply = FlowReply::refused(FlowStatus::Ok, "secret.example");
    assert!(!format!("{reply:?}").contains("secret"));
}

proptest! {
    #[test]
    fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(request) = FlowRequest::decode(&bytes) {
            let again = FlowRequest::decode(&request.encode().unwrap()).unwrap();
            prop_assert!(again == request);
        }
        if let Ok(reply) = FlowReply::decode(&bytes) {
            prop_assert!(FlowReply::decode(&reply.encode()).unwrap() == reply);
        }
    }

    #[test]
    fn requests_round_trip(name in "[a-z0-9.-]{1,255}", port in 1u16.., v6: u128, which in 0u8..4) {
        let request = match which {
            0 => tcp(Host::Name(name), port),
            1 => tcp(Host::V6(v6.into()), port),
            2 => FlowRequest::Resolve { name, want: Want::V4 },
            _ => FlowRequest::ResolvePtr { address: Ipv6Addr::from(v6).into() },
        };
        prop_assert!(FlowRequest::decode(&request.encode().unwrap()).unwrap() == request);
    }
}
