//! What each mode needs and what means nothing in it, and the same for payments:
//! the checks beyond those that rule a setting out (`check`). Whether a node knows anybody to join by
//! is seen at start only, since it may remember somebody (`crate::node`).

use std::net::{IpAddr, SocketAddr};

use super::check::Findings;
use super::{Chain, Config, Mode};

/// Settings of circuits and clients, which a node that originates nothing has not.
const OF_ORIGINS: &[&str] = &["hops", "warm_circuits", "plaintext", "max_clients"];
/// Settings of links and circuits, which a node outside of the mesh has not.
const OF_THE_MESH: &[&str] = &[
    "neighbours",
    "hops",
    "warm_circuits",
    "source",
    "country",
    "earning_wallet",
    "per_ip",
    "per_24",
    "per_48",
];

/// Settings of payments in either direction.
const OF_PAYMENTS: &[&str] = &[
    "rpc",
    "rpc_via_mesh",
    "token",
    "rates",
    "thresholds",
    "credit",
    "disperse",
    "price_ceiling",
    "prepay_budget",
    "gas_cap",
    "token_price",
    "day_cap",
    "pay_every",
    "settle_on_stop",
    "dry_run",
];
/// Those of them that only a node that pays has.
const OF_PAYING: &[&str] = &[
    "disperse",
    "price_ceiling",
    "prepay_budget",
    "gas_cap",
    "token_price",
    "day_cap",
    "pay_every",
    "settle_on_stop",
    "dry_run",
];
/// Those that only a node that is paid has.
const OF_EARNING: &[&str] = &["rates", "credit"];

/// Says what a mode is missing, and which settings have no effect in it.
pub(super) fn check(config: &Config, findings: &mut Findings<'_>) {
    let mode = config.mode;
    match mode {
        Mode::ServeOnly => {
            without_effect(
                findings,
                OF_ORIGINS,
                "A serve-only node builds no circuits.",
            );
        }
        Mode::ZeroHop => {
            without_effect(findings, OF_THE_MESH, "In mode zero-hop there is no mesh.");
        }
        Mode::ConsumeOnly => {
            let nothing = "A consume-only node carries nothing, so it earns nothing.";
            without_effect(findings, &["earning_wallet"], nothing);
        }
        Mode::Standard | Mode::OriginateOnly => {}
    }
    if !mode.accepts_connections() {
        let what = format!("Nobody can dial a node in mode {mode}.");
        without_effect(findings, &["advertise"], &what);
    }
    let of_no_use = matches!(mode, Mode::ConsumeOnly | Mode::ZeroHop);
    if of_no_use && config.socks.is_none() && config.http.is_none() {
        let what = format!("Both proxies are off, and a node in mode {mode} does nothing else.");
        findings.warning("socks", &what, "Set socks or http to an address.");
    }
    reachable(config, findings);
    payments(config, findings);
}

/// What payments need, and what has no effect without them.
fn payments(config: &Config, findings: &mut Findings<'_>) {
    if !config.mode.joins() {
        without_effect(findings, &["payments"], "In mode zero-hop nobody is paid.");
        without_effect(findings, OF_PAYMENTS, "In mode zero-hop nobody is paid.");
        return;
    }
    if !config.payments {
        without_effect(findings, OF_PAYMENTS, "Payments are off.");
        return;
    }
    if !config.pays() {
        let what = format!("A node in mode {} pays nobody.", config.mode);
        without_effect(findings, OF_PAYING, &what);
    }
    if !config.earns() {
        let what = format!("A node in mode {} earns nothing.", config.mode);
        without_effect(findings, OF_EARNING, &what);
    }
    if config.rpc.is_empty() {
        findings.problem(
            "rpc",
            "Payments are on, and there is no RPC endpoint to reach the chain by.",
            "Give the URL of one, of your own or of a provider; or set payments = false.",
        );
    }
    match (config.chain, config.token) {
        (Chain::Dev, None) => findings.problem(
            "token",
            "Payments are on, and chain dev has no token of its own.",
            "Give its address (`masq-testnet chain` prints it); or set payments = false.",
        ),
        (Chain::Dev, Some(_)) | (_, None) => {}
        (chain, Some(_)) => {
            let what = format!("The token of {chain} is built in.");
            findings.problem("token", &what, "Leave it out, or set chain to \"dev\".");
        }
    }
    if config.rpc_via_mesh && config.http.is_none() {
        let (what, remedy) = if config.mode.originates() {
            (
                "RPC calls are to go through the HTTP proxy, and that is off.",
                "Set http to an address, or leave rpc_via_mesh out.",
            )
        } else {
            (
                "A serve-only node builds no circuits, so RPC calls can't go through the mesh.",
                "Leave it out.",
            )
        };
        findings.problem("rpc_via_mesh", what, remedy);
    }
}

fn without_effect(findings: &mut Findings<'_>, keys: &[&str], why: &str) {
    for key in keys {
        if findings.is_set(key) {
            findings.warning(key, why, "It has no effect; leave it out.");
        }
    }
}

/// A hint for nodes that accept connections where hardly anybody can make one.
fn reachable(config: &Config, findings: &mut Findings<'_>) {
    if config.chain == Chain::Dev || config.advertise.is_some() || config.listen.is_empty() {
        return;
    }
    let private = |address: &SocketAddr| match address.ip() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    if config.listen.iter().all(private) {
        let remedy = if config.mode == Mode::ServeOnly {
            "Forward a port to it and set advertise to the public address."
        } else {
            "Forward a port to it and set advertise to the public address, or set mode to \
             \"originate-only\"."
        };
        findings.warning(
            "listen",
            "Only private addresses: nobody outside of your network can connect to them directly.",
            remedy,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ConfigError, Loaded, load};

    fn try_load(line: &str) -> Result<Loaded, ConfigError> {
        let arguments = format!("masqd {line}");
        let paid = line.contains("--payments") || line.contains("--rpc");
        let environment = [
            ("HOME", "/nonexistent"),
            ("MASQ_PAYMENTS", if paid { "" } else { "off" }),
        ];
        let environment = environment.into_iter().collect();
        load(arguments.split_whitespace().map(Into::into), &environment)
    }

    /// Warnings, one a line.
    fn warnings(line: &str) -> String {
        let loaded = try_load(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let lines = loaded.warnings.iter().map(|warning| format!("{warning}\n"));
        lines.collect()
    }

    #[test]
    fn what_follows_from_another_problem_is_no_second_one() {
        let count = |line: &str| match try_load(line) {
            Err(ConfigError::Invalid(problems)) => problems.iter().count(),
            _ => 0,
        };
        assert_eq!(count("--rpc nonsense"), 1);
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path.display().to_string()
        };
        for file in [
            "/nonexistent/masqd.toml".to_owned(),
            path("broken", b"hops = = 3\n"),
            path("binary", &[0xff, 0xfe, 0x00]),
        ] {
            let Err(ConfigError::Invalid(problems)) =
                try_load(&format!("--payments --config {file}"))
            else {
                panic!("{file} was read");
            };
            // Of the file as a whole, and nothing else.
            assert!(
                problems.iter().all(|problem| problem.setting.is_empty()),
                "{file}"
            );
        }
    }

    #[test]
    fn what_has_no_effect_in_a_mode_is_said_once() {
        for (line, setting, why) in [
            ("--mode serve-only --hops 4", "hops", "builds no circuits"),
            (
                "--mode serve-only --warm-circuits 3",
                "warm_circuits",
                "builds no circuits",
            ),
            (
                "--mode serve-only --plaintext refuse",
                "plaintext",
                "builds no circuits",
            ),
            ("--mode zero-hop --hops 2", "hops", "no mesh"),
            ("--mode zero-hop --country CZ", "country", "no mesh"),
            (
                "--mode consume-only --earning-wallet 0x1111111111111111111111111111111111111111",
                "earning_wallet",
                "earns nothing",
            ),
            (
                "--mode originate-only --advertise 192.0.2.1",
                "advertise",
                "Nobody can dial",
            ),
        ] {
            let said = warnings(line);
            assert!(
                said.contains(setting) && said.contains(why),
                "{line}: {said}"
            );
            assert!(said.contains("no effect"), "{line}: {said}");
        }
        assert_eq!(warnings("--mode originate-only --hops 4"), "");
        assert_eq!(warnings("--mode consume-only --hops 4"), "");
        assert_eq!(
            warnings("--mode serve-only --advertise 192.0.2.1 --exit"),
            ""
        );
    }

    #[test]
    fn neighbours_are_of_no_use_without_a_mesh() {
        let key = "WGZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY";
        let line = format!("--mode zero-hop --neighbours masq://base-mainnet:{key}@192.0.2.1:6277");
        let said = warnings(&line);
        assert!(
            said.contains("neighbours") && said.contains("no mesh"),
            "{said}"
        );
    }

    #[test]
    fn a_mode_for_clients_only_wants_a_proxy() {
        for mode in ["consume-only", "zero-hop"] {
            let said = warnings(&format!("--mode {mode} --socks off --http off"));
            assert!(said.contains("Both proxies are off"), "{said}");
            let said = warnings(&format!("--mode {mode} --socks off"));
            assert!(!said.contains("Both proxies are off"), "{said}");
        }
        let said = warnings("--mode originate-only --socks off --http off");
        assert!(
            !said.contains("Both proxies are off"),
            "it carries for others"
        );
    }

    #[test]
    fn a_node_that_serves_must_be_reachable() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, "listen = []").unwrap();
        let said_in = |mode: &str| {
            let error = try_load(&format!("--mode {mode} --config {}", file.display())).err();
            error.map(|error| error.to_string()).unwrap_or_default()
        };
        let said = said_in("serve-only");
        assert!(said.contains("come to a serve-only node by it"), "{said}");
        let said = said_in("standard");
        assert!(said.contains("\"originate-only\""), "{said}");
        assert_eq!(said_in("consume-only"), "");

        let said = warnings("--listen 192.168.1.7:6277");
        assert!(said.contains("Only private addresses") && said.contains("originate-only"));
        let said = warnings("--listen 192.168.1.7:6277 --mode serve-only");
        assert!(said.contains("Only private addresses") && !said.contains("originate-only"));
        let said = warnings("--listen 127.0.0.1:6277 --mode serve-only");
        assert!(
            said.contains("loopback") && !said.contains("originate-only"),
            "{said}"
        );
        for fine in [
            "--listen 192.168.1.7:6277 --advertise 192.0.2.1",
            "--listen 192.168.1.7:6277 --chain dev",
            "--listen 192.0.2.1:6277",
        ] {
            assert_eq!(warnings(fine), "", "{fine}");
        }
    }

    /// What is wrong, one after the other; empty when nothing is.
    fn problems(line: &str) -> String {
        let error = try_load(line).err();
        error.map(|error| error.to_string()).unwrap_or_default()
    }

    const RPC: &str = "--rpc http://127.0.0.1:8545";
    const TOKEN: &str = "--token 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

    #[test]
    fn payments_need_an_endpoint_and_on_chain_dev_a_token() {
        let said = problems("--payments");
        assert!(
            said.contains("rpc (default)") && said.contains("or set payments = false"),
            "{said}"
        );
        for mode in ["serve-only", "consume-only", "originate-only"] {
            let said = problems(&format!("--payments --mode {mode}"));
            assert!(said.contains("no RPC endpoint"), "{mode}: {said}");
        }
        let said = problems(&format!("--chain dev {RPC}"));
        assert!(said.contains("chain dev has no token"), "{said}");
        let said = problems(&format!("{RPC} {TOKEN}"));
        assert!(
            said.contains("The token of base-mainnet is built in"),
            "{said}"
        );
        for fine in [
            RPC.to_owned(),
            format!("--chain dev {RPC} {TOKEN}"),
            format!("{RPC} --rpc https://rpc.example.org/key"),
            "--payments=off --chain dev".to_owned(),
            "--mode zero-hop --payments=off".to_owned(),
        ] {
            assert_eq!(problems(&fine), "", "{fine}");
        }
    }

    #[test]
    fn calls_through_the_mesh_need_a_way_into_it() {
        let said = problems(&format!("{RPC} --rpc-via-mesh --http off"));
        assert!(said.contains("Set http to an address"), "{said}");
        let said = problems(&format!("{RPC} --rpc-via-mesh --mode serve-only"));
        assert!(said.contains("builds no circuits"), "{said}");
        assert_eq!(warnings(&format!("{RPC} --rpc-via-mesh")), "");
    }

    #[test]
    fn settings_of_payments_that_have_no_effect_are_said() {
        for (line, setting, why) in [
            (
                "--payments=off --day-cap 5".to_owned(),
                "day_cap",
                "Payments are off.",
            ),
            (format!("--payments=off {RPC}"), "rpc", "Payments are off."),
            (
                format!("{RPC} --mode serve-only --prepay-budget 1"),
                "prepay_budget",
                "pays nobody",
            ),
            (
                format!("{RPC} --mode consume-only --rates 1|2|3|4"),
                "rates",
                "earns nothing",
            ),
            (format!("{RPC} --mode zero-hop"), "rpc", "nobody is paid"),
        ] {
            let said = warnings(&line);
            assert!(
                said.contains(&format!("{setting} (")) && said.contains(why),
                "{line}: {said}"
            );
        }
        let all =
            "--disperse 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed --day-cap 5 --credit 1|4|3|2";
        assert_eq!(warnings(&format!("{RPC} {all} --dry-run")), "");
    }
}
