//! Phrases: the vectors of BIP-39 and BIP-32, and addresses that everybody knows.

use alloy_primitives::address;
use proptest::prelude::*;

use super::*;

const JUNK: &str = "test test test test test test test test test test test junk";
const ABOUT: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon \
                     abandon abandon about";

/// Vectors of BIP-39 (passphrase TREZOR), one per length and more.
#[test]
fn known_phrases_have_their_known_seeds() {
    let zoo = format!("{}vote", "zoo ".repeat(23));
    let agent = format!("{}agent", "abandon ".repeat(17));
    for (entropy, words, seed) in [
        (
            "00000000000000000000000000000000",
            ABOUT,
            "c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531f09a6987599d18264c1e1\
             c92f2cf141630c7a3c4ab7c81b2f001698e7463b04",
        ),
        (
            "7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f",
            "legal winner thank year wave sausage worth useful legal winner thank yellow",
            "2e8905819b8723fe2c1d161860e5ee1830318dbf49a83bd451cfb8440c28bd6fa457fe1296106559a3c809\
             37a1c1069be3a3a5bd381ee6260e8d9739fce1f607",
        ),
        (
            "000000000000000000000000000000000000000000000000",
            &agent,
            "035895f2f481b1b0f01fcf8c289c794660b289981a78f8106447707fdd9666ca06da5a9a565181599b79f5\
             3b844d8a71dd9f439c52a3d7b3e8a79c906ac845fa",
        ),
        (
            "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            &zoo,
            "dd48c104698c30cfe2b6142103248622fb7bb0ff692eebb00089b32d22484e1613912f0a5b694407be899f\
             fd31ed3992c456cdf60f5d4564b8ba3f05a69890ad",
        ),
    ] {
        let phrase = Phrase::parse(words).unwrap();
        assert_eq!(hex::encode(phrase.0.to_entropy()), entropy);
        assert_eq!(phrase.words().as_str(), words);
        assert_eq!(hex::encode(phrase.0.to_seed("TREZOR")), seed);
    }
}

/// Vectors 1 and 3 of BIP-32; the third has keys that begin with zeros.
#[test]
fn known_seeds_have_their_known_keys() {
    let one = "000102030405060708090a0b0c0d0e0f";
    let three = "4b381541583be4423346c643850da4b320e46a87ae3d2a4e6da11eba819cd4acba45d239319ac14f86\
                 3b8d5ab5a0d0c64d2e8a1e7d1457df2e5a3c51c73235be";
    for (seed, path, key) in [
        (
            one,
            &[][..],
            "e8f32e723decf4051aefac8e2c93c9c5b214313817cdb01a1494b917c8436b35",
        ),
        (
            one,
            &[HARDENED],
            "edb2e14f9ee77d26dd93b4ecede8d16ed408ce149b6cd80b0715a2d911a0afea",
        ),
        (
            one,
            &[HARDENED, 1],
            "3c6cb8d0f6a264c91ea8b5030fadaa8e538b020f0a387421a12de9319dc93368",
        ),
        (
            one,
            &[HARDENED, 1, 2 | HARDENED, 2, 1_000_000_000],
            "471b76e389e528d6de6d816857e012c5455051cad6660850e58372a6c3e6e7c8",
        ),
        (
            three,
            &[],
            "00ddb80b067e0d4993197fe10f2657a844a384589847602d56f0c629c81aae32",
        ),
        (
            three,
            &[HARDENED],
            "491f7a2eebc7b57028e0d3faa0acda02e75c33b03c48fb288c41e2ea44e1daef",
        ),
    ] {
        let node = Node::root(&hex::decode(seed).unwrap()).unwrap();
        let wallet = node.descend(path).unwrap().wallet().unwrap();
        assert_eq!(hex::encode(wallet.secret().as_slice()), key);
    }
}

#[test]
fn known_phrases_have_their_known_wallets() {
    let wallets = Phrase::parse(JUNK).unwrap().wallets("").unwrap();
    let first = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
    assert_eq!(wallets.consuming.address(), first);
    assert_eq!(
        wallets.earning.address(),
        address!("70997970C51812dc3A010C7d01b50e0d17dc79C8")
    );
    let wallets = Phrase::parse(ABOUT).unwrap().wallets("").unwrap();
    assert_eq!(
        wallets.consuming.address(),
        address!("9858EfFD232B4033E47d90003D41EC34EcaEda94")
    );
    assert_eq!(
        wallets.earning.address(),
        address!("6Fac4D18c912343BF86fa7049364Dd4E424Ab9C0")
    );
    let other = Phrase::parse(JUNK)
        .unwrap()
        .wallets("a passphrase")
        .unwrap();
    assert_ne!(other.consuming.address(), first);
}

#[test]
fn a_passphrase_is_the_same_however_its_accents_are_typed() {
    let phrase = Phrase::parse(JUNK).unwrap();
    let composed = phrase.wallets("caf\u{e9}").unwrap();
    let decomposed = phrase.wallets("cafe\u{301}").unwrap();
    assert_eq!(composed.consuming.address(), decomposed.consuming.address());
}

#[test]
fn new_phrases_have_the_length_that_was_asked_for() {
    for words in WORD_COUNTS {
        let phrase = Phrase::generate(words).unwrap();
        let text = phrase.words();
        assert_eq!(text.split(' ').count(), words);
        assert_eq!(Phrase::parse(&text).unwrap().words(), text);
        assert_ne!(Phrase::generate(words).unwrap().words(), text);
        assert!(!format!("{phrase:?}").contains(text.split(' ').next().unwrap()));
    }
    for words in [0, 11, 13, 27, usize::MAX] {
        assert_eq!(
            Phrase::generate(words).unwrap_err(),
            PhraseError::Count(words)
        );
    }
}

#[test]
fn phrases_are_read_as_people_write_them() {
    let sloppy = format!("  {}\n", JUNK.to_uppercase().replace(' ', "  \t"));
    assert_eq!(Phrase::parse(&sloppy).unwrap().words().as_str(), JUNK);
    for (text, error) in [
        ("", PhraseError::Count(0)),
        ("test test junk", PhraseError::Count(3)),
        (&JUNK.replace("junk", "jumk"), PhraseError::Word(12)),
        (
            &format!("{} zebra", "test ".repeat(11)),
            PhraseError::Checksum,
        ),
        (&JUNK.replacen("test", "tést", 1), PhraseError::Word(1)),
    ] {
        assert_eq!(Phrase::parse(text).unwrap_err(), error, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_that_is_typed_panics(text in "\\PC{0,200}") {
        let _ = Phrase::parse(&text);
        let _ = ConsumingWallet::from_hex(&text);
        let _ = super::super::parse_address(&text);
    }
}
