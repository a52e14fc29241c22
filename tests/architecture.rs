//! Holds the direction of dependencies between the packages of the workspace:
//! binaries → `masq` → protocols, and `cores` → `onion`. Asks cargo itself.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// What each package may depend on inside the workspace, dev-dependencies included.
const ALLOWED: &[(&str, &[&str])] = &[
    ("masq-onion", &[]),
    ("masq-gossip", &[]),
    ("masq-cores", &["masq-onion"]),
    ("masq-settlement", &[]),
    ("masq", &["masq-cores", "masq-gossip", "masq-settlement"]),
    (
        "masq-testnet",
        &[
            "masq",
            "masq-cores",
            "masq-gossip",
            "masq-onion",
            "masq-settlement",
        ],
    ),
];

/// Crates that would bring sockets, tasks or clocks into the pure cryptography.
const IMPURE: &[&str] = &["libp2p", "tokio", "futures", "async-std", "mio", "tracing"];

fn metadata() -> serde_json::Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    metadata()["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| {
            let name = package["name"].as_str().expect("a name").to_owned();
            let deps = package["dependencies"].as_array().expect("dependencies");
            let deps = deps
                .iter()
                .map(|d| d["name"].as_str().expect("a name").to_owned());
            (name, deps.collect())
        })
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let found = dependencies();
    let allowed: BTreeMap<_, BTreeSet<_>> = ALLOWED
        .iter()
        .map(|(name, deps)| (*name, deps.iter().copied().collect()))
        .collect();
    assert_eq!(
        found.keys().map(String::as_str).collect::<Vec<_>>(),
        allowed.keys().copied().collect::<Vec<_>>(),
        "a package came or went: say here what it may depend on"
    );
    for (package, deps) in &found {
        for dep in deps.iter().filter(|dep| found.contains_key(*dep)) {
            assert!(
                allowed[package.as_str()].contains(dep.as_str()),
                "{package} must not depend on {dep}"
            );
        }
    }
}

#[test]
fn the_cryptography_is_pure() {
    let found = dependencies();
    for dep in &found["masq-onion"] {
        assert!(
            !IMPURE.contains(&dep.as_str()),
            "masq-onion depends on {dep}"
        );
    }
}
