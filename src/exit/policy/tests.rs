//! Tests of the exit policy: grammar, order, special addresses, summaries.

use super::*;
use proptest::prelude::*;

fn policy(lines: &[&str]) -> ExitPolicy {
    ExitPolicy::parse(lines, false).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn allows(policy: &ExitPolicy, address: &str, port: u16) -> bool {
    policy.check(ip(address), port).is_ok()
}

/// One of each special range, its edges where they matter.
const SPECIAL: [&str; 52] = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "168.63.129.16",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.0.192",
    "192.0.2.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.1.2.3",
    "64:ff9b:1::1",
    "100::1",
    "2001:2::1",
    "2001:db8::1",
    "3fff::1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "2600::5efe:10.0.0.1",
];

const ORDINARY: [&str; 14] = [
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.1.1",
    "172.15.0.1",
    "172.32.0.1",
    "192.167.1.1",
    "223.255.255.255",
    "2606:4700::1111",
    "64:ff9b::1.1.1.1",
];

#[test]
fn s34_special_addresses_are_refused_by_default() {
    let policies = [
        ExitPolicy::default(),
        policy(&["accept *:*"]),
        policy(&["accept *4:*, accept *6:*", "accept6 *:*"]),
        policy(&[
            "accept 0.0.0.0/0:*",
            "accept [::]/0:*",
            "accept 128.0.0.0/1:*",
        ]),
    ];
    for policy in &policies {
        for address in SPECIAL {
            assert!(!allows(policy, address, 80), "{address}");
        }
        for address in ORDINARY {
            assert!(allows(policy, address, 80), "{address}");
        }
    }
    // A Teredo address with an ordinary client inside.
    assert!(allows(
        &policies[0],
        "2001:0:4136:e378:8000:63bf:fefe:fefe",
        80
    ));
}

#[test]
fn s34_an_operator_opens_exactly_what_is_named() {
    let p = policy(&[
        "accept 127.0.0.1:8080",
        "accept 10.0.0.0/8:443",
        "accept [fd00::]/16:*",
    ]);
    assert!(allows(&p, "127.0.0.1", 8080));
    assert!(allows(&p, "::ffff:127.0.0.1", 8080));
    assert!(!allows(&p, "127.0.0.1", 8081));
    assert!(!allows(&p, "127.0.0.2", 8080));
    assert!(allows(&p, "10.9.8.7", 443) && !allows(&p, "10.9.8.7", 80));
    assert!(allows(&p, "fd00::1", 80));
    // Metadata inside a wider range is named by its own address only.
    assert!(!allows(&p, "fd00:ec2::254", 80));
    assert!(!allows(
        &policy(&["accept 169.254.0.0/16:*"]),
        "169.254.169.254",
        80
    ));
    assert!(allows(
        &policy(&["accept 169.254.169.254:80"]),
        "169.254.169.254",
        80
    ));
    // First match wins for what is named as for everything else.
    assert!(!allows(
        &policy(&["reject *:*", "accept 127.0.0.1:*"]),
        "127.0.0.1",
        80
    ));
}

#[test]
fn s34_private_means_all_private_ranges_and_never_metadata() {
    for p in [
        policy(&["accept private:*"]),
        ExitPolicy::parse::<&str>(&[], true).unwrap(),
    ] {
        for address in [
            "127.0.0.1",
            "10.1.1.1",
            "::1",
            "fe80::1",
            "fd01::1",
            "100.64.1.1",
        ] {
            assert!(allows(&p, address, 80), "{address}");
        }
        for address in [
            "169.254.169.254",
            "fd00:ec2::254",
            "0.0.0.0",
            "::",
            "224.0.0.1",
        ] {
            assert!(!allows(&p, address, 80), "{address}");
        }
    }
    // Rules go on holding for what was opened as a whole.
    let p = ExitPolicy::parse(&["reject 10.0.0.0/8:*"], true).unwrap();
    assert!(!allows(&p, "10.0.0.1", 80) && allows(&p, "192.168.0.1", 80));
    assert!(!allows(&p, "192.168.0.1", 25));
}

#[test]
fn s34_own_addresses_are_refused_unless_named() {
    let own = vec![ip("8.8.4.4")];
    let p = policy(&["accept *:*"]).with_own_addresses(own.clone());
    assert_eq!(p.check(ip("8.8.4.4"), 80), Err(Refusal::Own));
    assert_eq!(p.check(ip("::ffff:8.8.4.4"), 80), Err(Refusal::Own));
    assert!(allows(&p, "8.8.8.8", 80));
    let named = policy(&["accept 8.8.4.4:80"]).with_own_addresses(own);
    assert!(allows(&named, "8.8.4.4", 80) && !allows(&named, "8.8.4.4", 81));
}

#[test]
fn s34_names_of_this_machine_are_known_without_asking() {
    let loopback = NameCheck::Addresses(vec![ip("127.0.0.1"), ip("::1")]);
    for name in ["localhost", "LocalHost.", "a.b.localhost"] {
        assert_eq!(check_name(name), loopback, "{name}");
    }
    assert_eq!(
        check_name("127.0.0.1."),
        NameCheck::Addresses(vec![ip("127.0.0.1")])
    );
    assert_eq!(
        check_name("[::ffff:10.0.0.1]"),
        NameCheck::Addresses(vec![ip("10.0.0.1")])
    );
    for name in [
        "127.1",
        "0x7f.1",
        "2130706433",
        "0x7f000001",
        "x.onion",
        "printer.local",
        "lan",
    ] {
        assert_eq!(check_name(name), NameCheck::NotFound, "{name}");
    }
    for name in [
        "example.org",
        "notlocalhost",
        "localhost.example.org",
        "mylocal",
        "0x7g",
    ] {
        assert_eq!(
            check_name(name),
            NameCheck::Resolve(name.to_owned()),
            "{name}"
        );
    }
}

#[test]
fn first_match_wins_and_the_default_follows() {
    let p = policy(&[
        "reject 1.1.1.0/24:80-90",
        "accept 1.1.1.1:85",
        "accept *:25  # mail",
    ]);
    assert_eq!(p.check(ip("1.1.1.1"), 85), Err(Refusal::Rule));
    assert!(allows(&p, "1.1.1.1", 91) && allows(&p, "1.1.2.1", 85));
    assert!(allows(&p, "9.9.9.9", 25));
    assert!(!allows(&p, "9.9.9.9", 445));
    let p = policy(&["accept6 *:443, accept *4:80", "reject *:*"]);
    assert!(allows(&p, "2606::1", 443) && !allows(&p, "2606::1", 80));
    assert!(allows(&p, "1.1.1.1", 80) && !allows(&p, "1.1.1.1", 443));
    assert!(!p.refuses_port(443) && !p.refuses_port(80) && p.refuses_port(22));
}

#[test]
fn all_of_the_grammar_is_read() {
    let good = [
        "accept *",
        "reject *:*",
        "accept 1.2.3.4",
        "accept 1.2.3.4:80",
        "reject 1.2.0.0/16:1-2",
        "reject 1.2.0.0/255.255.0.0:*",
        "accept [2001:470::1]",
        "accept [2001:470::]/32:443",
        "ACCEPT private:*",
        "accept6 [2001:470::]/32",
        "reject6 *:25",
        "accept *6:1-65535",
        "accept 0.0.0.0/0.0.0.0:*",
        "accept 1.2.3.4/255.255.255.255",
        "",
        "# nothing",
        "accept *:80,reject *:81",
    ];
    for text in good {
        assert!(ExitPolicy::parse(&[text], false).is_ok(), "{text}");
    }
    let bad = [
        "accept",
        "allow *:80",
        "accept *:0",
        "accept *:80-70",
        "accept *:70000",
        "accept *:x",
        "accept 1.2.3:80",
        "accept 1.2.3.4/33:80",
        "accept 1.2.3.4/255.0.255.0",
        "accept ::1:80",
        "accept [::1:80",
        "accept [::1]/129",
        "accept6 1.2.3.4:80",
        "reject6 *4:80",
        "accept example.org:80",
        "accept *:80 *:81",
        "accept *:",
        "accept *:-80",
    ];
    for text in bad {
        assert!(ExitPolicy::parse(&[text], false).is_err(), "{text}");
    }
}

#[test]
fn errors_name_the_line_and_the_remedy() {
    let error = ExitPolicy::parse(&["accept *:80", "accept *:443, reject *:0"], false).unwrap_err();
    assert_eq!((error.line, error.text.as_str()), (2, "reject *:0"));
    let sentence = error.to_string();
    assert!(
        sentence.contains("line 2") && sentence.contains("1 to 65535"),
        "{sentence}"
    );
    let many = vec!["accept *:80"; MAX_RULES + 1];
    assert!(ExitPolicy::parse(&many, false).is_err());
}

#[test]
fn summaries_say_the_shorter_of_two_truths() {
    let cases: [(&[&str], &str); 5] = [
        (&["reject *:*"], "reject 1-65535"),
        (&["accept *:*"], "accept 1-65535"),
        (
            &["accept *:80, accept *:443", "reject *:*"],
            "accept 80,443",
        ),
        (
            &[
                "reject 1.2.3.4:80",
                "accept *:80-81,accept *:82",
                "reject *:*",
            ],
            "accept 80-82",
        ),
        (&["reject *:1-1023", "accept *:*"], "reject 1-1023"),
    ];
    for (lines, expected) in cases {
        assert_eq!(policy(lines).summary(), expected);
    }
    assert_eq!(
        ExitPolicy::default().summary(),
        "reject 25,119,135-139,445,563,1214,4661-4666,6346-6429,6699,6881-6999"
    );
    let sparse: Vec<String> = (1..500).map(|n| format!("accept *:{}", n * 2)).collect();
    let mut lines: Vec<&str> = sparse.iter().map(String::as_str).collect();
    lines.push("reject *:*");
    let summary = policy(&lines).summary();
    assert!(summary.starts_with("accept 2,4,6,") && summary.len() <= MAX_SUMMARY);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
        let _ = ExitPolicy::parse(&[text], false);
    }

    #[test]
    fn s34_no_wrapping_of_a_private_address_gets_through(a in any::<[u8; 3]>(), port in 1u16..) {
        let p = policy(&["accept *:*"]);
        let v4 = u32::from_be_bytes([10, a[0], a[1], a[2]]);
        let (high, low) = ((v4 >> 16) as u16, v4 as u16);
        let wrapped = [
            Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
            Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x2002, high, low, 1, 2, 3, 4, 5),
            Ipv6Addr::new(0x2001, 0, 1, 2, 3, 4, !high, !low),
            Ipv6Addr::new(0x2600, 0, 0, 1, 0, 0x5efe, high, low),
        ];
        for address in wrapped {
            prop_assert!(p.check(address.into(), port).is_err());
        }
    }

    #[test]
    fn the_summary_agrees_with_the_policy(
        rules in prop::collection::vec((any::<bool>(), 1u16..2000, 0u16..300), 0..12),
        port in 1u16..3000,
    ) {
        let mut lines: Vec<String> = rules
            .iter()
            .map(|(accept, first, more)| {
                let verb = if *accept { "accept" } else { "reject" };
                format!("{verb} *:{first}-{}", first + more)
            })
            .collect();
        lines.push("reject *:*".to_owned());
        let p = ExitPolicy::parse(&lines, false).unwrap();
        let summary = p.summary();
        let (verb, ports) = summary.split_once(' ').unwrap();
        let listed = ports.split(',').any(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            (first.parse::<u16>().unwrap()..=last.parse().unwrap()).contains(&port)
        });
        prop_assert_eq!(listed == (verb == "accept"), allows(&p, "1.1.1.1", port));
        prop_assert_eq!(p.refuses_port(port), !allows(&p, "1.1.1.1", port));
    }
}
