//! Holds `docs/scenarios.md` and the names of tests together: each scenario of the table has a test
//! that bears its number, and each number that a test bears is in the table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The scenario that a script of `.ci/run` holds alone: it needs limits on memory that only
/// containers have.
const SCRIPTED: &[(u32, &str)] = &[(19, "docker/ci.sh")];

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the workspace but what builds leave.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder that can be read") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        if path.is_dir() {
            if name != "target" && name != "node_modules" && !name.starts_with('.') {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The numbers at the beginning of a test's name: 21 and 22 of `s21_s22_debts_are_paid`.
fn numbers(name: &str) -> Vec<u32> {
    name.split('_')
        .map_while(|part| part.strip_prefix('s')?.parse().ok())
        .collect()
}

/// Names of tests by the numbers that they bear.
fn tests() -> BTreeMap<u32, BTreeSet<String>> {
    let mut files = Vec::new();
    sources(top(), &mut files);
    let mut found: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source file");
        let mut attributed = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[") && line.contains("test") {
                attributed = true;
            }
            // Names inside of macros (proptest!) carry their attribute as well.
            let Some(after) = line.split("fn ").nth(1).filter(|_| attributed) else {
                continue;
            };
            attributed = false;
            let name: String = after
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            for number in numbers(&name) {
                found.entry(number).or_default().insert(name.clone());
            }
        }
    }
    found
}

/// The numbers of the table's rows.
fn table() -> BTreeSet<u32> {
    std::fs::read_to_string(top().join("docs/scenarios.md"))
        .expect("docs/scenarios.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| S")?.split(' ').next()?.parse().ok())
        .collect()
}

#[test]
fn numbers_are_read_from_names() {
    assert_eq!(numbers("s21_s22_debts_are_paid"), [21, 22]);
    assert_eq!(numbers("s3_thirty_nodes"), [3]);
    assert!(numbers("sources_s3").is_empty());
}

#[test]
fn each_scenario_has_a_test_and_each_number_a_scenario() {
    let (table, tests) = (table(), tests());
    assert!(table.len() >= 34, "the table has {} rows", table.len());
    for number in &table {
        match SCRIPTED.iter().find(|(n, _)| n == number) {
            Some((_, script)) => {
                let script = std::fs::read_to_string(top().join(script)).expect("the script");
                assert!(
                    script.contains(&format!("(S{number})")),
                    "S{number} is not in its script"
                );
            }
            None => assert!(tests.contains_key(number), "no test bears s{number}_"),
        }
    }
    for (number, names) in &tests {
        assert!(
            table.contains(number),
            "S{number} is not in docs/scenarios.md: {names:?}"
        );
    }
}
