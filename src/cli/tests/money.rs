//! The commands about money.

use super::*;
use crate::control::testing::{transaction, wallet};
use crate::control::types::{Amount, PaymentOrder};

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn financials_for_people() {
    let daemon = Daemon::with(FakeNode::new());
    let out = daemon.shows(&["financials", "--payables"]);
    let expected = "  this node owes   1.5 MASQ to 3 hops, 1 debt over the line
  in payments      0.01 MASQ
  has paid         1.5 MASQ
  paid ahead       0.4 MASQ

This node owes
  node      unpaid    age  in payments  paid      ahead     wallet
  DDDDDDDD  1.2 MASQ  1 h  0.01 MASQ    0.5 MASQ  0 MASQ    \
0x2222222222222222222222222222222222222222  over the line, payment failed, next in 1 min
";
    assert!(out.starts_with(expected), "{out}");
    let out = daemon.shows(&[
        "financials",
        "--receivables",
        "--top",
        "1",
        "--order",
        "age",
    ]);
    assert!(
        !out.contains("This node owes") && out.contains(&wallet('4').0),
        "{out}"
    );
    assert!(
        out.contains("banned\n") && out.ends_with("  2 more\n"),
        "{out}"
    );
    let out = daemon.shows(&["financials", "--min-balance", "0.3", "--min-age", "1h"]);
    assert!(out.contains("CCCCCCCC") && out.contains("DDDDDDDD") && !out.contains("BBBBBBBB"));
    assert!(out.contains(&wallet('4').0) && !out.contains(&wallet('3').0));
    let out = daemon.shows(&[
        "financials",
        "--max-balance",
        "0.25 MASQ",
        "--max-age",
        "1d",
    ]);
    assert!(out.contains("BBBBBBBB") && out.contains(&wallet('3').0) && !out.contains("CCCCCCCC"));
}

#[test]
fn financials_for_programs_have_every_wei() {
    let daemon = Daemon::with(FakeNode::new());
    let out = json(&daemon.shows(&["financials", "--json", "--top", "1"]));
    assert_eq!(out["payables"][0]["unpaid"], "1200000000000000000");
    assert_eq!(out["left_out"]["payables"], 2);
    assert_eq!(
        out["totals"]["receivable"]["unclaimed"],
        "100000000000000000"
    );

    let out = daemon.shows(&["financials", "--csv", "-", "--payables"]);
    assert_eq!(out.lines().count(), 4, "{out}");
    assert!(out.contains("1200000000000000000"));
    let file = daemon.path().join("books.csv");
    let path = file.to_str().unwrap();
    let out = daemon.shows(&["financials", "--csv", path]);
    assert_eq!(out, "6 rows written.\n");
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 7);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let nowhere = daemon.path().join("no/such/folder.csv");
    let (code, _, err) = daemon.masq(&["financials", "--csv", nowhere.to_str().unwrap()]);
    assert_eq!(code, code::CANT_CREATE);
    assert!(err.contains("can't be written"), "{err}");
}

#[test]
fn payments_are_shown_with_their_transactions() {
    let daemon = Daemon::with(FakeNode::new());
    for command in [&["financials", "--payments"][..], &["payments", "list"]] {
        let out = daemon.shows(command);
        assert!(
            out.starts_with("Under way\n") && out.contains("in a block"),
            "{out}"
        );
        assert!(out.contains("0.000000612 ETH"), "{out}");
        assert!(out.contains(&transaction('a').0) && out.contains(&transaction('b').0));
        assert!(out.ends_with("  5 older\n"), "{out}");
    }
    let out = daemon.shows(&["payments", "list", "--top", "0"]);
    assert!(!out.contains("Final"), "{out}");
    let out = json(&daemon.shows(&["payments", "list", "--json"]));
    assert_eq!(out["under_way"][0]["nonce"], 8);
    let (code, _, err) = daemon.masq(&["payments", "list", "--top", "1001"]);
    assert_eq!(code, code::REFUSED, "{err}");
}

#[test]
fn the_state_of_payments_for_people() {
    let daemon = Daemon::with(FakeNode::new());
    assert_eq!(
        daemon.shows(&["payments", "status"]),
        "\
Payments are made when debts are over the line.

  chain        base-mainnet
  pays from    0x7777777777777777777777777777777777777777
  which has    2.5 MASQ and 0.003 ETH, 30 s ago
  under way    1 payment
  is paid to   0x8888888888888888888888888888888888888888
  looked       up to block 19799999
  owes         1.5 MASQ to 3 hops, 1 debt over the line
  is owed      0.85 MASQ by 3 payers, 1 of them banned
  fees         0.000000306 ETH for a transfer, 0.0153 MASQ; payments of 0.306 MASQ or more are \
worth it
  endpoint     1: no fault is known
  endpoint     2: no answer [2J

Lately
  1 min 30 s ago  Payment 7 is final: paid.
"
    );
    let mut node = FakeNode::new();
    node.money.as_mut().unwrap().halted = true;
    let daemon = Daemon::with(node);
    let out = daemon.shows(&["pay", "status"]);
    assert!(
        out.starts_with("Payments are halted: another transaction"),
        "{out}"
    );
    assert!(
        out.contains("masq payments decide 7 paid, or unpaid"),
        "{out}"
    );
}

#[test]
fn every_order_reaches_the_node() {
    let daemon = Daemon::with(FakeNode::new());
    let orders = [
        (&["pause"][..], PaymentOrder::Pause {}),
        (&["resume"], PaymentOrder::Resume {}),
        (&["settle"], PaymentOrder::Settle {}),
        (&["now"], PaymentOrder::Settle {}),
        (&["dry-run"], PaymentOrder::DryRun { on: true }),
        (&["dry-run", "off"], PaymentOrder::DryRun { on: false }),
        (&["cancel", "8"], PaymentOrder::Cancel { nonce: 8 }),
        (&["adopt-nonce"], PaymentOrder::AdoptNonce {}),
        (
            &["decide", "8", "unpaid"],
            PaymentOrder::Decide {
                nonce: 8,
                paid: false,
            },
        ),
    ];
    for (arguments, _) in &orders {
        let arguments: Vec<&str> = ["payments"].iter().chain(*arguments).copied().collect();
        assert_eq!(daemon.shows(&arguments), "Done [2J.\n");
    }
    let ordered = daemon.node.money.as_ref().unwrap().orders.lock().unwrap();
    let expected: Vec<PaymentOrder> = orders.iter().map(|(_, order)| *order).collect();
    assert_eq!(*ordered, expected);
    drop(ordered);
    let (code, _, err) = daemon.masq(&["payments", "cancel", "99"]);
    assert_eq!(code, code::REFUSED);
    assert!(
        err.starts_with("masq: No payment 99 is under way."),
        "{err}"
    );
}

#[test]
fn scans_say_what_they_do() {
    let daemon = Daemon::with(FakeNode::new());
    for (word, said) in [
        ("payables", "Payables: begun."),
        ("receivables", "Receivables: begun."),
        ("pending", "Pending: begun."),
        ("pendingpayables", "Pending: begun."),
        ("all", "All: begun."),
    ] {
        let out = daemon.shows(&["scan", word]);
        assert!(out.starts_with(said) && out.contains("skipped"), "{out}");
    }
    assert!(daemon.shows(&["scan"]).starts_with("All: begun."));
}

#[test]
fn a_hop_is_prepaid_and_the_figures_are_shown_first() {
    let daemon = Daemon::with(FakeNode::new());
    let prepaid = || {
        let money = daemon.node.money.as_ref().unwrap();
        money.prepaid.lock().unwrap().clone()
    };
    let out = daemon.shows(&["prepay", "DDDDDDDD", "0.5", "--quote"]);
    assert_eq!(
        out,
        [
            "  to node          DDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDD\n",
            "  at               0x2222222222222222222222222222222222222222\n",
            "  in advance       0.5 MASQ\n",
            "  owed now         1.2 MASQ, paid by the same transaction\n",
            "  ahead so far     0 MASQ\n",
            "  fee              0.000000306 ETH, 0.0153 MASQ\n",
            "  the wallet has   2.5 MASQ\n",
            "  which buys       1709 GB through it as a relay, or 852 GB through it as the exit\n",
        ]
        .concat()
    );
    assert!(prepaid().is_empty());
    let out = daemon.shows(&["prepay", "DDDDDDDD", "0.5", "--yes"]);
    assert!(
        out.starts_with("0.5 MASQ will be paid to node DDDDDDDD in advance."),
        "{out}"
    );
    assert_eq!(prepaid(), [(key('D'), Amount(500_000_000_000_000_000))]);
    let out = daemon.shows(&["prepay", "DDDDDDDD", "2", "--quote"]);
    assert!(out.ends_with("more would be paid.\n"), "{out}");
    for (arguments, code) in [
        (&["prepay", "DDDDDDDD", "2", "--yes"][..], code::REFUSED),
        (&["prepay", "DDDDDDDD", "2"], code::REFUSED),
        (&["prepay", "XXXXXXXX", "0.5", "--yes"], code::REFUSED),
        (&["prepay", "DDDDDDDD", "0", "--yes"], code::USAGE),
        (&["prepay", "DDDDDDDD", "-1", "--yes"], code::USAGE),
        (&["prepay", "DDDDDDDD", "1e18", "--yes"], code::USAGE),
        (&["prepay", "DDDDDDDD", "--yes"], code::USAGE),
    ] {
        assert_eq!(daemon.masq(arguments).0, code, "{arguments:?}");
    }
    assert_eq!(prepaid().len(), 1);
}

#[test]
fn routes_are_a_line_each_and_whole_for_programs() {
    let daemon = Daemon::with(FakeNode::new());
    assert_eq!(
        daemon.shows(&["route", "example.org"]),
        "  likely  GB down        GB up          round  score  exit in  route, [exit]
  25.0 %  0.001173 MASQ  0.001174 MASQ  86 ms  97     CZ       BBBBBBBB CCCCCCCC [DDDDDDDD] \
EEEEEEEE BBBBBBBB
  0.0 %   0.009 MASQ     0.001174 MASQ  -      97     -        BBBBBBBB CCCCCCCC [DDDDDDDD] \
EEEEEEEE BBBBBBBB  above your price ceiling: never taken
  3 more
"
    );
    let out = json(&daemon.shows(&["route", "example.org", "--json", "--count", "1"]));
    assert_eq!(out["routes"].as_array().unwrap().len(), 1);
    assert_eq!(out["routes"][0]["hops"][2]["rates"]["exit_byte"], "550000");
    let (code, _, err) = daemon.masq(&["route", "example.org", "--hops", "9"]);
    assert_eq!(code, code::REFUSED);
    assert!(err.contains("Give for example 3."), "{err}");
}

#[test]
fn settings_say_what_the_terms_come_to() {
    let daemon = Daemon::with(FakeNode::new());
    let out = daemon.shows(&["settings"]);
    for line in [
        "hops            3\n",
        "asks            0.000292413 MASQ for a GB as relay, 0.000586823 MASQ as exit\n",
        "thresholds      1000000000|1200|1200|500000000|21600|500000000\n",
        "pays over 1 MASQ after 20 min, falling to 0.5 MASQ within 6 h; bans 20 min \
         later, until below 0.5 MASQ\n",
        "is 1709 GB through one relay, or 852 GB through one exit\n",
        "caps            0.1 gwei for a unit of gas, at most 5 MASQ a day\n",
        "1 MASQ is       0.00002 ETH\n",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
    let out = json(&daemon.shows(&["settings", "--json"]));
    assert_eq!(
        (&out["hops"], &out["terms"]["relay_gb"]),
        (&"3".into(), &1_709.into())
    );
}

#[test]
fn without_payments_each_command_says_so_and_settings_go_on() {
    let mut node = FakeNode::new();
    node.money = None;
    let daemon = Daemon::with(node);
    for arguments in [
        &["financials"][..],
        &["payments", "status"],
        &["payments", "pause"],
        &["scan"],
        &["prepay", "DDDDDDDD", "1", "--yes"],
    ] {
        let (code, out, err) = daemon.masq(arguments);
        assert_eq!((code, out.as_str()), (code::REFUSED, ""), "{arguments:?}");
        assert!(
            err.contains("Payments are off") && err.contains("`payments = true`"),
            "{err}"
        );
    }
    assert_eq!(
        daemon.shows(&["settings"]),
        "  hops       3\n  payments   off\n"
    );
    assert!(!daemon.shows(&["status"]).contains("money"));
}

#[test]
fn mistakes_about_money_are_usage_errors() {
    for arguments in [
        &["financials", "--order", "size"][..],
        &["financials", "--min-age", "1 hour"],
        &["financials", "--min-balance", "much"],
        &["financials", "--payments", "--payables"],
        &["financials", "--csv", "-", "--json"],
        &["payments"],
        &["payments", "decide", "7"],
        &["payments", "decide", "7", "maybe"],
        &["payments", "cancel", "x"],
        &["scan", "everything"],
        &["prepay", "DDDDDDDD", "1", "--yes", "--quote"],
        &["route"],
        &["route", "x", "--count", "many"],
    ] {
        let (code, out, _) = masq(arguments, &[]);
        assert_eq!((code, out.as_str()), (code::USAGE, ""), "{arguments:?}");
    }
}
