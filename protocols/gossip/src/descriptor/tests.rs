//! Tests of descriptors: what is taken, and the sentence for each thing that is not.

use proptest::prelude::*;

use super::*;

const KEY: &str = "6kptC-lXp1hmMdXq8cKxXOy8D_mZRhmPVNaPs9EmSAY";

fn good_key() -> NodeKey {
    let pair = libp2p::identity::ed25519::Keypair::from(
        libp2p::identity::ed25519::SecretKey::try_from_bytes([3u8; 32]).unwrap(),
    );
    NodeKey::from(&pair.public())
}

fn wrong(text: &str) -> DescriptorError {
    text.parse::<Descriptor>().unwrap_err()
}

#[test]
fn round_trips() {
    let key = good_key();
    for text in [
        format!("masq://dev:{key}@127.0.0.1:4000"),
        format!("masq://base-mainnet:{key}@node.example.org:443,8443?mask=https"),
        format!("masq://polygon-amoy:{key}@[2001:db8::1]:9000"),
    ] {
        let descriptor: Descriptor = text.parse().unwrap();
        assert_eq!(descriptor.to_string(), text);
        assert_eq!(descriptor.node, key);
    }
}

#[test]
fn s1_malformed_descriptors_say_what_is_wrong() {
    let key = good_key();
    assert_eq!(wrong("http://x"), DescriptorError::Scheme);
    assert_eq!(wrong("masq://dev"), DescriptorError::NoKey);
    assert!(
        wrong(&format!("masq://moon:{key}@h:1"))
            .to_string()
            .contains("base-mainnet")
    );
    assert_eq!(wrong(&format!("masq://dev:{key}")), DescriptorError::NoHost);
    assert_eq!(
        wrong("masq://dev:abc@h:1"),
        DescriptorError::Key(KeyError::Length(3))
    );
    let bang = format!("masq://dev:{}!@h:1", &KEY[..42]);
    assert_eq!(wrong(&bang), DescriptorError::Key(KeyError::Alphabet));
    assert_eq!(
        wrong(&format!("masq://dev:{key}@h")),
        DescriptorError::NoPort
    );
    assert_eq!(
        wrong(&format!("masq://dev:{key}@h:")),
        DescriptorError::NoPort
    );
    for ports in ["0", "65536", "1,", "+5", "a", "1,2,3,4,5,6,7,8,9"] {
        let error = wrong(&format!("masq://dev:{key}@h:{ports}"));
        assert!(
            matches!(error, DescriptorError::Port(_)),
            "{ports}: {error}"
        );
    }
    for host in ["", "a b", "1.2.3", "[::1", "::1", "-x", "a..b"] {
        let error = wrong(&format!("masq://dev:{key}@{host}:1"));
        assert!(
            matches!(error, DescriptorError::Host(_) | DescriptorError::NoPort),
            "{host}: {error}"
        );
    }
    for options in ["", "x=1", "mask", "mask=", "mask=a&mask=b", "mask=a/b"] {
        let error = wrong(&format!("masq://dev:{key}@h:1?{options}"));
        assert!(
            matches!(error, DescriptorError::Option(_)),
            "{options}: {error}"
        );
    }
    assert!(matches!(
        wrong(&"m".repeat(600)),
        DescriptorError::TooLong(600)
    ));
}

#[test]
fn s1_wrong_chain_names_both() {
    let text = format!("masq://dev:{}@h:1", good_key());
    let error = Descriptor::parse_for(&text, Chain::BaseSepolia).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the descriptor is for chain `dev`, this node is on `base-sepolia`"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn parsing_never_panics(text in "\\PC{0,80}") {
        let _ = text.parse::<Descriptor>();
        let _ = format!("masq://dev:{KEY}@{text}").parse::<Descriptor>();
    }
}
