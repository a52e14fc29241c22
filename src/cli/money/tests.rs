//! What `masq` says of money, from answers to what is printed.

use super::*;
use crate::control::types::Private;

fn quote(obstacles: &[&str]) -> PrepayQuote {
    PrepayQuote {
        node: "D".repeat(43),
        wallet: Private("0x2222".into()),
        advance: Amount(5),
        due: Amount(0),
        ahead: Amount(0),
        fee: None,
        fee_in_tokens: None,
        least: None,
        balance: None,
        relay_gb: None,
        exit_gb: None,
        obstacles: obstacles.iter().map(|what| (*what).to_owned()).collect(),
        coin: "ETH".into(),
        ordered: false,
    }
}

#[test]
fn only_a_yes_pays() {
    let said = |text: &str| {
        let mut question = Vec::new();
        let answered = confirm(&quote(&[]), true, &mut text.as_bytes(), &mut question);
        let question = String::from_utf8(question).unwrap();
        assert!(
            question.contains("0x2222") && question.contains("5 wei"),
            "{question}"
        );
        answered
    };
    assert!(said("yes\n").is_ok() && said(" YES \n").is_ok());
    for no in [
        "",
        "\n",
        "y\n",
        "no\n",
        "yes please\n",
        &"yes".repeat(1_000),
    ] {
        assert_eq!(said(no).unwrap_err().code, code::REFUSED, "{no}");
    }
}

#[test]
fn nobody_is_asked_where_nobody_is_or_something_is_in_the_way() {
    let asked = |quote: &PrepayQuote, terminal| {
        let mut question = Vec::new();
        let answered = confirm(quote, terminal, &mut "yes\n".as_bytes(), &mut question);
        assert!(question.is_empty());
        answered.unwrap_err()
    };
    let alone = asked(&quote(&[]), false);
    assert_eq!(alone.code, code::USAGE);
    assert!(alone.hint.unwrap().contains("--yes"));
    let short = asked(&quote(&["Too little."]), true);
    assert_eq!(
        (short.code, short.what.as_str()),
        (code::REFUSED, "Too little")
    );
}
