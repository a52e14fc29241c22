//! What the doctor says of payments, fault by fault.

use super::*;
use crate::doctor::Verdict;
use crate::ledger::price::DEFAULT_RATES;
use crate::ledger::{TOKEN, Thresholds, fit};

/// What a node of which nothing is wrong has.
fn well() -> MoneyFacts {
    MoneyFacts {
        coin: "ETH".into(),
        endpoints: vec![Ok(()), Ok(())],
        pays: true,
        serves: true,
        funds: Some(Funds {
            token: 3 * TOKEN,
            native: 1_000_000,
        }),
        owed: TOKEN,
        fee: Some(1_000),
        phase: Some(Phase::Running),
        paused: false,
        dry_run: false,
        earning_wallet: true,
        fit: Ok(Fit {
            least: TOKEN / 4,
            relay_gb: Some(1_709.9),
            exit_gb: None,
        }),
    }
}

/// The one finding of a check, as its verdict and everything it says.
fn found(facts: &MoneyFacts, check: Check) -> (Verdict, String) {
    let findings = judge(facts);
    let mut of = findings.iter().filter(|finding| finding.check == check);
    let (finding, none) = (of.next().unwrap(), of.next());
    assert!(none.is_none());
    let needs_remedy = finding.verdict != Verdict::Ok;
    assert_eq!(finding.remedy.is_some(), needs_remedy, "{finding:?}");
    let remedy = finding.remedy.clone().unwrap_or_default();
    (finding.verdict, format!("{} {remedy}", finding.what))
}

#[test]
fn nothing_is_wrong_with_a_well_node_and_only_what_it_does_is_judged() {
    let findings = judge(&well());
    assert!(findings.iter().all(|found| found.verdict == Verdict::Ok));
    assert_eq!(findings.len(), 5);
    let (_, terms) = found(&well(), Check::Terms);
    assert!(
        terms.contains("0.25 MASQ or more") && terms.contains("1709 GB"),
        "{terms}"
    );
    assert!(
        terms.contains("any number of GB through one exit"),
        "{terms}"
    );
    let serves_only = MoneyFacts {
        pays: false,
        funds: None,
        phase: None,
        ..well()
    };
    let checks: Vec<Check> = judge(&serves_only).iter().map(|f| f.check).collect();
    assert_eq!(checks, [Check::Chain, Check::EarningWallet, Check::Terms]);
    let originates_only = MoneyFacts {
        serves: false,
        earning_wallet: false,
        ..well()
    };
    assert!(
        judge(&originates_only)
            .iter()
            .all(|f| f.verdict == Verdict::Ok)
    );
}

#[test]
fn endpoints_are_judged_together() {
    let with = |endpoints: Vec<Result<(), Fault>>| {
        let facts = MoneyFacts {
            endpoints,
            ..well()
        };
        found(&facts, Check::Chain)
    };
    let wrong = || {
        Err(Fault::WrongChain {
            found: 1,
            wanted: 8_453,
        })
    };
    let (verdict, said) = with(vec![Ok(())]);
    assert_eq!(verdict, Verdict::Warning);
    assert!(said.contains("second one"), "{said}");
    let (verdict, said) = with(vec![Ok(()), wrong()]);
    assert_eq!(verdict, Verdict::Warning);
    assert!(
        said.contains("Of 2 endpoints") && said.contains("2: "),
        "{said}"
    );
    let (verdict, said) = with(vec![wrong(), Err(Fault::NoToken { chain: 8_453 })]);
    assert_eq!(verdict, Verdict::Fault);
    assert!(
        said.contains("chain 1, ") && said.contains("Correct `rpc`"),
        "{said}"
    );
    let (verdict, said) = with(vec![Err(Fault::Decimals { found: 6 })]);
    assert_eq!(verdict, Verdict::Fault);
    assert!(said.contains("6 decimals"), "{said}");
    assert_eq!(with(vec![]).0, Verdict::Fault);
}

#[test]
fn a_wallet_needs_tokens_and_coins() {
    let with = |token, native, fee| {
        let facts = MoneyFacts {
            funds: Some(Funds { token, native }),
            fee,
            ..well()
        };
        found(&facts, Check::ConsumingWallet)
    };
    for (funds, verdict, says) in [
        ((0, 0, None), Verdict::Fault, "no MASQ"),
        ((TOKEN, 0, None), Verdict::Fault, "no ETH"),
        ((TOKEN, 999, Some(1_000)), Verdict::Fault, "too little ETH"),
        (
            (TOKEN - 1, 1_000_000, Some(1_000)),
            Verdict::Warning,
            "the oldest debts",
        ),
        (
            (TOKEN, 9_999, Some(1_000)),
            Verdict::Warning,
            "enough for 9 payments",
        ),
        ((TOKEN, 10_000, Some(1_000)), Verdict::Ok, "has 1 MASQ"),
        ((TOKEN, 1, None), Verdict::Ok, "has 1 MASQ"),
        ((TOKEN, 1, Some(0)), Verdict::Ok, "has 1 MASQ"),
    ] {
        let (found, said) = with(funds.0, funds.1, funds.2);
        assert_eq!(found, verdict, "{said}");
        assert!(said.contains(says), "{said}");
    }
    let unknown = MoneyFacts {
        funds: None,
        ..well()
    };
    assert_eq!(found(&unknown, Check::ConsumingWallet).0, Verdict::Warning);
    // One cause, one fault.
    let unreachable = MoneyFacts {
        endpoints: vec![Err(Fault::NoToken { chain: 1 })],
        ..unknown
    };
    let findings = judge(&unreachable);
    assert!(findings.iter().all(|f| f.check != Check::ConsumingWallet));
}

#[test]
fn a_halt_is_a_fault_and_says_what_to_type() {
    let with = |phase, paused, dry_run| {
        let facts = MoneyFacts {
            phase: Some(phase),
            paused,
            dry_run,
            ..well()
        };
        found(&facts, Check::Payments)
    };
    let halts = [
        (Halt::OldDatabase { noted: 7 }, "masq payments adopt-nonce"),
        (
            Halt::ChainAhead { chain: 9, ours: 7 },
            "masq payments adopt-nonce",
        ),
        (
            Halt::Foreign { nonce: 7 },
            "masq payments decide 7 paid, or unpaid",
        ),
        (Halt::BooksDisagree, "restore the last good copy"),
    ];
    for (halt, remedy) in halts {
        let (verdict, said) = with(Phase::Halted(halt), true, true);
        assert_eq!(verdict, Verdict::Fault);
        assert!(said.contains(remedy), "{said}");
    }
    let (verdict, said) = with(Phase::Running, true, true);
    assert_eq!(verdict, Verdict::Warning);
    assert!(said.contains("masq payments resume"), "{said}");
    let (verdict, said) = with(Phase::Running, false, true);
    assert_eq!(verdict, Verdict::Warning);
    assert!(said.contains("masq payments dry-run off"), "{said}");
    assert_eq!(with(Phase::Reconciling, false, false).0, Verdict::Warning);
}

#[test]
fn a_hop_needs_a_wallet_and_terms_that_fit() {
    let nowhere = MoneyFacts {
        earning_wallet: false,
        ..well()
    };
    let (verdict, said) = found(&nowhere, Check::EarningWallet);
    assert_eq!(verdict, Verdict::Fault);
    assert!(said.contains("`earning_wallet`"), "{said}");
    let misfit = MoneyFacts {
        fit: fit::check(&fit::Terms {
            payee_day_cap: crate::ledger::Wei::MAX,
            thresholds: &Thresholds::default(),
            limits: None,
            prepay: None,
            rates: &DEFAULT_RATES,
            fee: 51_000_000_000_000,
            token_price: 20_000_000_000_000,
        }),
        ..well()
    };
    let (verdict, said) = found(&misfit, Check::Terms);
    assert_eq!(verdict, Verdict::Fault);
    assert!(said.contains("51 MASQ"), "{said}");
}
