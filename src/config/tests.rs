//! Tests of the configuration as a whole: precedence, mistakes and what is
//! said about them, printing, documentation.

use std::ffi::OsString;

use super::*;

/// A well-formed key for descriptors: the base point of Ed25519.
const KEY: &str = "WGZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY";

fn arguments(list: &[&str]) -> Vec<OsString> {
    std::iter::once("masqd")
        .chain(list.iter().copied())
        .map(OsString::from)
        .collect()
}

fn load_with(list: &[&str], environment: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    // Payments need settings that have no default; what they need is tested in `modes`.
    let home = [("HOME", "/nonexistent"), ("MASQ_PAYMENTS", "off")];
    let environment = home.iter().chain(environment).copied().collect();
    load(arguments(list), &environment)
}

fn loaded(list: &[&str], environment: &[(&str, &str)]) -> Loaded {
    load_with(list, environment).unwrap_or_else(|error| panic!("{error}"))
}

fn problems(list: &[&str], environment: &[(&str, &str)]) -> String {
    match load_with(list, environment) {
        Err(ConfigError::Invalid(problems)) => problems.to_string(),
        other => panic!("{other:?}"),
    }
}

/// A file in a folder of its own.
fn file(text: &str) -> (tempfile::TempDir, String) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("config.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (temp, path)
}

#[test]
fn defaults_are_those_of_the_table() {
    let config = loaded(&[], &[]).config;
    assert_eq!(config.chain, Chain::BaseMainnet);
    assert_eq!(
        config.data_dir,
        PathBuf::from("/nonexistent/.local/share/masq")
    );
    assert_eq!(config.mode, Mode::Standard);
    assert_eq!(config.hops.to_string(), "3");
    assert_eq!(config.socks, Some("127.0.0.1:1080".parse().unwrap()));
    assert_eq!(config.http, Some("127.0.0.1:8118".parse().unwrap()));
    assert_eq!(config.listen, ["0.0.0.0:6277".parse().unwrap()]);
    assert_eq!(config.drain, Duration::from_secs(10));
    assert!(!config.exit && !config.allow_private && !config.debug_trace);
    let plain = Config::new("/d");
    assert_eq!(plain.data_dir, PathBuf::from("/d"));
    assert_eq!((plain.hops, plain.threads), (config.hops, config.threads));
}

#[test]
fn arguments_beat_environment_beats_file_beats_defaults() {
    let (_temp, path) = file("hops = 2\nthreads = 3\ndrain_seconds = 4\n");
    let all = loaded(
        &["--config", &path, "--hops", "5"],
        &[("MASQ_HOPS", "4"), ("MASQ_THREADS", "6")],
    );
    assert_eq!(all.config.hops.to_string(), "5");
    assert_eq!(all.config.threads, 6);
    assert_eq!(all.config.drain, Duration::from_secs(4));
    assert_eq!(all.config.warm_circuits, 2);
    assert_eq!(all.origin("hops").to_string(), "argument --hops");
    assert_eq!(
        all.origin("threads").to_string(),
        "environment MASQ_THREADS"
    );
    assert_eq!(all.origin("drain_seconds").to_string(), format!("{path}:3"));
    assert_eq!(all.origin("warm_circuits"), &Origin::Default);
}

#[test]
fn a_file_in_the_data_folder_is_found_and_another_can_be_named_in_the_environment() {
    let (temp, path) = file("hops = 2\n");
    let folder = temp.path().to_str().unwrap();
    assert_eq!(
        loaded(&["--data-dir", folder], &[]).config.hops.to_string(),
        "2"
    );
    assert_eq!(
        loaded(&[], &[("MASQ_DATA_DIR", folder)])
            .config
            .hops
            .to_string(),
        "2"
    );
    assert_eq!(
        loaded(&[], &[("MASQ_CONFIG", &path)])
            .config
            .hops
            .to_string(),
        "2"
    );
    assert_eq!(
        loaded(&[], &[("MASQ_HOPS", "")]).config.hops.to_string(),
        "3",
        "empty is unset"
    );
}

#[test]
fn a_found_file_does_not_move_the_data_folder() {
    let (temp, path) = file("data_dir = \"/elsewhere\"\n");
    let folder = temp.path().to_str().unwrap();
    let text = problems(&["--data-dir", folder], &[]);
    assert!(text.contains("can't move it elsewhere"), "{text}");
    let named = loaded(&["--config", &path], &[]);
    assert_eq!(named.config.data_dir, PathBuf::from("/elsewhere"));
}

#[test]
fn every_mistake_is_reported_at_once_with_its_place() {
    let (_temp, path) = file(
        "# a comment\nhop = 3\nplaintext = \"never\"\nthreads = 0\nsocks = 1080\n\
         favourite_colour = \"red\"\nexit = \"yes\"\n\n[limits]\nper_ip = 1\n",
    );
    let text = problems(
        &["--config", &path, "--http", "8118"],
        &[("MASQ_PLAINTXT", "refuse")],
    );
    let expected = [
        "the configuration has 9 problems:".to_owned(),
        "MASQ_PLAINTXT (environment MASQ_PLAINTXT)\n    There is no such setting.\n    Did you mean MASQ_PLAINTEXT?".to_owned(),
        format!("hop ({path}:2)\n    There is no such setting.\n    Did you mean `hops`?"),
        format!("plaintext ({path}:3)\n    There is no way to treat plaintext \"never\".\n    Write one of: allow, flag, refuse."),
        format!("threads ({path}:4)\n    0 is too small.\n    Write a number from 1 to 64."),
        format!("socks ({path}:5)\n    This is not a text in quotes.\n    Write it like this: socks = \"127.0.0.1:1080\"."),
        format!("favourite_colour ({path}:6)\n    There is no such setting.\n    `masqd --help` lists the settings."),
        format!("exit ({path}:7)\n    This is neither true nor false.\n    Write it like this: exit = true."),
        format!("limits ({path}:9)\n    There are no sections."),
        "http (argument --http)\n    \"8118\" is a port without an address.".to_owned(),
    ];
    for part in expected {
        assert!(text.contains(&part), "missing:\n{part}\nin:\n{text}");
    }
}

#[test]
fn broken_toml_is_shown_with_its_line() {
    let (_temp, path) = file("hops = 3\nthis is not toml\n");
    let text = problems(&["--config", &path], &[]);
    assert!(
        text.contains(&format!("{path}:2\n    This is not TOML:")),
        "{text}"
    );
}

#[test]
fn a_named_file_must_exist_and_be_a_file_of_sane_size() {
    let text = problems(&["--config", "/nonexistent/file"], &[]);
    assert!(
        text.contains("/nonexistent/file\n    The configuration file can't be read"),
        "{text}"
    );
    let (_temp, path) = file(&"#".repeat(2 << 20));
    let text = problems(&["--config", &path], &[]);
    assert!(text.contains("larger than"), "{text}");
}

#[test]
fn unknown_variables_that_resemble_nothing_are_warnings() {
    let all = loaded(
        &[],
        &[("MASQ_SOMEBODY_ELSES", "1"), ("MASQ_TESTNET_DIR", "/x")],
    );
    let named: Vec<_> = all.warnings.iter().map(|w| w.setting.as_str()).collect();
    assert!(named.contains(&"MASQ_SOMEBODY_ELSES"), "{named:?}");
    assert!(!named.contains(&"MASQ_TESTNET_DIR"), "{named:?}");
}

#[test]
fn lists_come_repeated_parted_or_as_arrays() {
    let one = format!("masq://dev:{KEY}@127.0.0.1:1,2");
    let two = format!("masq://dev:{KEY}@127.0.0.2:1");
    let both = format!("{one} {two}");
    let dev = ["--chain", "dev"];
    let by_argument = [&dev[..], &["--neighbours", &one, "--neighbours", &two]].concat();
    for (list, environment) in [
        (by_argument, vec![]),
        (dev.to_vec(), vec![("MASQ_NEIGHBOURS", both.as_str())]),
    ] {
        let shown: Vec<_> = loaded(&list, &environment)
            .config
            .neighbours
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(shown, [one.as_str(), two.as_str()]);
    }
    let config = loaded(
        &[
            "--exit",
            "--exit-policy",
            "accept *:443, reject *:*",
            "--dns-servers",
            "9.9.9.9,1.1.1.1:5353",
        ],
        &[],
    )
    .config;
    assert_eq!(config.exit_policy, ["accept *:443", "reject *:*"]);
    assert_eq!(config.dns_servers.len(), 2);
    let (_temp, path) = file(
        "exit = true\nexit_policy = [\"accept *:80\", \"reject *:*\"]\nlisten = \"127.0.0.1:1\"\n",
    );
    let config = loaded(&["--config", &path], &[]).config;
    assert_eq!(config.exit_policy, ["accept *:80", "reject *:*"]);
    assert_eq!(config.listen.len(), 1);
}

#[test]
fn lists_are_bounded() {
    let many = "9.9.9.9,".repeat(10_000);
    let text = problems(&[], &[("MASQ_DNS_SERVERS", &many)]);
    assert!(text.contains("Give at most 512"), "{text}");
}

#[test]
fn s1_descriptors_that_cannot_be_used_are_refused_with_a_reason() {
    let other = format!("masq://base-sepolia:{KEY}@192.0.2.1:1");
    let text = problems(&["--chain", "dev", "--neighbours", &other], &[]);
    assert!(
        text.contains("Descriptor 1 is of chain base-sepolia, and this node is on dev."),
        "{text}"
    );
    for bad in [
        "masq://dev:short@192.0.2.1:1",
        "http://x",
        "masq://moon:k@h:1",
    ] {
        let text = problems(&["--chain", "dev", "--neighbours", bad], &[]);
        assert!(text.contains("is not a descriptor: "), "{text}");
        assert!(text.contains("copy it whole"), "{text}");
    }
    // Addresses of others don't belong on a screen that somebody may share.
    let long = format!("masq://dev:{KEY}x@198.51.100.77:1");
    let text = problems(&["--chain", "dev", "--neighbours", &long], &[]);
    assert!(!text.contains("198.51.100.77"), "{text}");
}

#[test]
fn rules_of_the_policy_are_checked() {
    let text = problems(&["--exit", "--exit-policy", "allow *:443"], &[]);
    assert!(text.contains("\"allow *:443\" is not a rule."), "{text}");
    assert!(text.contains("accept"), "{text}");
}

#[test]
fn what_a_mode_rules_out() {
    for (list, say) in [
        (
            &["--mode", "consume-only", "--exit"][..],
            "carries nothing for others",
        ),
        (
            &["--mode", "zero-hop", "--exit=true"],
            "carries nothing for others",
        ),
        (
            &["--mode", "serve-only", "--socks", "127.0.0.1:1"],
            "no proxies of its own",
        ),
        (&["--debug-trace"], "works on chain dev only"),
        (&["--control", "0.0.0.0:7"], "reachable from outside"),
        (&["--socks", "192.0.2.1:7"], "use the mesh in your name"),
        (
            &["--http", "127.0.0.1:1080"],
            "127.0.0.1:1080 is used twice",
        ),
    ] {
        let text = problems(list, &[]);
        assert!(text.contains(say), "{list:?}: {text}");
    }
    let config = loaded(&["--mode", "serve-only"], &[]).config;
    assert_eq!((config.socks, config.http), (None, None));
    let config = loaded(&["--mode", "originate-only"], &[]).config;
    assert!(config.listen.is_empty());
    loaded(&["--chain", "dev", "--debug-trace"], &[]);
    loaded(&["--socks", "192.0.2.1:7", "--allow-remote-clients"], &[]);
    loaded(&["--control", "0.0.0.0:7", "--allow-remote-control"], &[]);
    loaded(&["--socks", "127.0.0.1:0", "--http", "127.0.0.1:0"], &[]);
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    for (list, say) in [
        (&["--allow-private"][..], "is not an exit"),
        (&["--mode", "zero-hop"], "nothing is private"),
        (&["--listen", "127.0.0.1:7"], "no other machine can connect"),
        (&["--mapping-protocol", "off"], "has no descriptor"),
        (
            &["--mode", "consume-only", "--listen", "0.0.0.0:7"],
            "accepts no connections",
        ),
    ] {
        let warnings: String = loaded(list, &[])
            .warnings
            .iter()
            .map(|w| format!("{w}\n"))
            .collect();
        assert!(warnings.contains(say), "{list:?}: {warnings}");
    }
    for fine in [&["--advertise", "node.example.org"][..], &[]] {
        assert!(loaded(fine, &[]).warnings.is_empty());
    }
}

#[test]
fn no_home_and_no_folder_is_a_problem_with_a_remedy() {
    let error = load(arguments(&[]), &Environment::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("Say --data-dir FOLDER"), "{error}");
    let named = arguments(&["--data-dir", "/x", "--payments=off"]);
    load(named, &Environment::default()).unwrap();
}

#[test]
fn the_printed_configuration_gives_the_same_configuration() {
    let descriptor = format!("masq://dev:{KEY}@127.0.0.1:1,2");
    let first = loaded(
        &[
            "--chain",
            "dev",
            "--hops",
            "3-4",
            "--exit",
            "--neighbours",
            &descriptor,
            "--http",
            "off",
            "--exit-policy",
            "accept *:443",
            "--country",
            "cz",
            "--debug-trace",
            "--advertise",
            "node.example.org:7",
            "--earning-wallet",
            "0x52908400098527886e0f7030069857d2e4169ee7",
            "--log",
            "info,masq::node=debug",
            "--listen",
            "127.0.0.1:1,[::1]:2",
        ],
        &[],
    );
    let printed = first.to_toml();
    let (_temp, path) = file(&printed);
    let second = loaded(&["--config", &path], &[]);
    assert_eq!(
        format!("{:?}", first.config),
        format!("{:?}", second.config)
    );
    assert!(printed.contains("http = \"off\""), "{printed}");
    assert!(printed.contains("# argument --http"), "{printed}");
    assert!(printed.contains("# default"), "{printed}");
}

#[test]
fn the_printed_configuration_of_payments_gives_the_same() {
    let first = loaded(
        &[
            "--payments",
            "--rpc",
            "https://one.example/KEY, http://127.0.0.1:8545",
            "--rpc-via-mesh",
            "--chain",
            "dev",
            "--token",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "--disperse",
            "0x52908400098527886E0F7030069857D2E4169EE7",
            "--key-file",
            "/somewhere/else.key",
            "--rates",
            "1|2|3|4",
            "--thresholds",
            "10|20|30|5|40|5",
            "--price-ceiling",
            "5|6|7|8",
            "--credit",
            "1|40|30|10",
            "--prepay-budget",
            "0.5",
            "--gas-cap",
            "0.05",
            "--token-price",
            "0",
            "--day-cap",
            "12.25",
            "--pay-every",
            "90s",
            "--settle-on-stop",
            "--dry-run",
        ],
        &[],
    );
    let (_temp, path) = file(&first.to_toml());
    let second = loaded(&["--config", &path], &[("MASQ_PAYMENTS", "on")]);
    assert_eq!(
        format!("{:?}", first.config),
        format!("{:?}", second.config)
    );
    let config = second.config;
    assert_eq!(config.rpc[0].as_str(), "https://one.example/KEY");
    assert_eq!(config.rpc.len(), 2);
    assert_eq!(config.prepay_budget, Some(500_000_000_000_000_000));
    assert_eq!(config.gas_cap, Some(50_000_000));
    assert_eq!(config.token_price, Some(0));
    assert_eq!(config.pay_every, Duration::from_secs(90));
    assert_eq!(config.limits().quota, 10);
    assert!(config.pays() && config.earns() && config.settle_on_stop && config.dry_run);
}

#[test]
fn defaults_of_payments_are_those_of_the_ledger() {
    let config = Config::new("/d");
    assert_eq!(config.rates, crate::ledger::price::DEFAULT_RATES);
    assert_eq!(config.thresholds, Thresholds::default());
    assert_eq!(Some(config.limits()), Limits::from_rates(&config.rates));
    let usual = &config.rates;
    let ceiling = config.price_ceiling.expect("a ceiling");
    assert_eq!(ceiling.routing_byte, usual.routing_byte * 10);
    assert_eq!(ceiling.routing_package, usual.routing_package * 10);
    assert_eq!(ceiling.exit_byte, usual.exit_byte * 10);
    assert_eq!(ceiling.exit_package, usual.exit_package * 10);
    assert_eq!(config.day_cap, Some(20 * crate::ledger::TOKEN));
    assert_eq!(config.prepay_budget, None);
    let free = loaded(&["--price-ceiling", "none", "--day-cap", "none"], &[]).config;
    assert_eq!((free.price_ceiling, free.day_cap), (None, None));
    assert_eq!(config.pay_every, Duration::from_secs(600));
    assert!(config.payments && !config.dry_run && !config.settle_on_stop);
}

#[test]
fn settings_of_payments_that_make_no_sense_are_refused() {
    for (list, say) in [
        (
            ["--rpc", "127.0.0.1:8545"],
            "not the URL of an RPC endpoint",
        ),
        (["--rpc", "http://a http://a"], "is there twice"),
        (["--token", "0x52"], "has 40 digits"),
        (
            ["--disperse", "0x5aaeb6053F3E94C9b9A09f33669435E7Ef1BeAed"],
            "The checksum of this address is wrong",
        ),
        (
            [
                "--earning-wallet",
                "0x5aaeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            ],
            "The checksum of this address is wrong",
        ),
        (["--rates", "1|2|3"], "is not four rates"),
        (["--thresholds", "1|2|3"], "Thresholds are six"),
        (["--price-ceiling", "cheap"], "is not four rates"),
        (["--credit", "1|2|3|4"], "larger than the whole pool"),
        (["--prepay-budget", "1,5"], "not an amount of MASQ"),
        (["--day-cap", "1e3"], "not an amount of MASQ"),
        (["--gas-cap", "0"], "not a price of gas"),
        (["--token-price", "0.1"], "not a number of wei"),
        (["--pay-every", "2d"], "not a time"),
        (["--password-file", ""], "An empty path"),
    ] {
        let text = problems(&list, &[]);
        assert!(text.contains(say), "{list:?}: {text}");
        assert!(!text.contains("5aaeb6"), "{text}");
    }
    let many = "http://h/1 ".repeat(9);
    let text = problems(&["--rpc", &many], &[]);
    assert!(text.contains("Give at most 8"), "{text}");
    let both = ["--password-file", "/p", "--key-file", "/k"];
    assert!(problems(&both, &[]).contains("not both"));
}

#[test]
fn wallets_and_keys_of_providers_do_not_show_in_the_debug_form() {
    let config = loaded(
        &[
            "--earning-wallet",
            "0x52908400098527886e0f7030069857d2e4169ee7",
            "--rpc",
            "https://host.example/SECRET",
        ],
        &[],
    )
    .config;
    let shown = format!("{config:?}");
    assert!(!shown.contains("5290") && !shown.contains("SECRET"));
}

/// `docs/operator/configuration.md` is this, between its markers. To renew it,
/// run this test with `MASQ_TESTNET_RENEW_DOCS=1`.
#[test]
fn the_documentation_is_in_step_with_the_table() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/operator/configuration.md"
    );
    let page = std::fs::read_to_string(path).unwrap();
    let (head, rest) = page.split_once("<!-- settings: begin -->\n").unwrap();
    let (_, tail) = rest.split_once("<!-- settings: end -->").unwrap();
    let renewed = format!(
        "{head}<!-- settings: begin -->\n{}<!-- settings: end -->{tail}",
        document()
    );
    if std::env::var_os("MASQ_TESTNET_RENEW_DOCS").is_some() {
        std::fs::write(path, &renewed).unwrap();
    } else {
        assert!(
            page == renewed,
            "run this test with MASQ_TESTNET_RENEW_DOCS=1 and look at the change"
        );
    }
}
