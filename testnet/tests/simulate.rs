//! `masq-testnet simulate gossip`: small runs whose figures must fit together,
//! equal seeds, the form of the JSON, and what is said to wrong options.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use clap::Parser as _;
use masq_testnet::args::{Cli, Command as Asked};
use masq_testnet::simulate::Simulate;
use masq_testnet::simulate::gossip::args::Settings;
use masq_testnet::simulate::gossip::measure::Group;
use masq_testnet::simulate::gossip::report::Report;
use masq_testnet::simulate::gossip::simulate;
use masq_testnet::{TestnetError, simulate::gossip::figures::figures};
use serde_json::Value;

/// A mesh that is small and quick to simulate without optimisation.
const SMALL: [&str; 7] = [
    "--nodes", "30", "--over", "30s", "--rest", "30s", "--jobs=2",
];

fn settings(options: &[&str]) -> Result<Settings, TestnetError> {
    let words = ["masq-testnet", "simulate", "gossip"];
    let cli = Cli::parse_from(words.iter().chain(options));
    let Asked::Simulate { what } = cli.command else {
        panic!("{cli:?}")
    };
    match what {
        Simulate::Gossip(args) => args.settings(),
        #[allow(unreachable_patterns)]
        _ => panic!("asked for gossip"),
    }
}

fn report(options: &[&str]) -> Report {
    let options: Vec<&str> = SMALL.iter().chain(options).copied().collect();
    simulate(&settings(&options).unwrap())
}

fn group<'a>(report: &'a Report, scenario: &str) -> &'a Group {
    let found = report.groups.iter().find(|g| g.scenario == scenario);
    found.unwrap_or_else(|| panic!("no figures for {scenario}"))
}

fn mean(group: &Group, name: &str) -> f64 {
    let metric = group.metric(name).unwrap_or_else(|| panic!("{name}"));
    metric.summary.mean.unwrap_or_else(|| panic!("no {name}"))
}

fn masq_testnet(options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_masq-testnet"))
        .args(["simulate", "gossip"])
        .args(options)
        .output()
        .unwrap()
}

/// What holds for every report, whatever was simulated.
fn check_all(report: &Report) {
    for group in &report.groups {
        for metric in &group.metrics {
            let s = &metric.summary;
            let name = format!("{} of {}", metric.name, group.scenario);
            assert_eq!(s.runs + s.never, report.seeds.len(), "{name}");
            assert_eq!(metric.values.len(), report.seeds.len(), "{name}");
            if let (Some(min), Some(mean), Some(max)) = (s.min, s.mean, s.max) {
                assert!(min <= mean + 1e-9 && mean <= max + 1e-9, "{name}");
                assert!(min >= 0.0, "{name}");
                if metric.unit.show(1.0).ends_with('%') {
                    assert!(max <= 1.0, "{name}");
                }
            }
        }
        for series in &group.series {
            assert!(
                series.points.is_sorted_by(|a, b| a.x < b.x),
                "{}",
                series.name
            );
            for point in &series.points {
                assert!(point.low <= point.mean && point.mean <= point.high);
            }
        }
        assert!(mean(group, "worst_degree") <= 5.0);
        assert_eq!(mean(group, "unmeant_addresses"), 0.0);
        assert!(mean(group, "strangers_p99") <= mean(group, "learners_p99"));
    }
    for target in &report.targets {
        assert!(
            target
                .line()
                .starts_with(if target.ok { "ok" } else { "MISSED" })
        );
    }
    let mut text = Vec::new();
    report.write(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains(&report.command) && text.contains("targets"),
        "{text}"
    );
    for (name, svg) in figures(report).unwrap() {
        assert!(
            svg.starts_with("<svg") && svg.ends_with("</svg>\n"),
            "{name}"
        );
        assert!(
            svg.contains("<title>") && svg.contains("seeds 1 to 2"),
            "{name}: {svg}"
        );
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}");
    }
}

#[test]
fn joining_gives_figures_that_fit_together() {
    let report = report(&["--seeds", "2"]);
    check_all(&report);
    assert_eq!(report.groups.len(), 1);
    let join = group(&report, "join");
    let names = ["join_p50", "join_p95", "join_p99", "join_max"];
    assert!(names.map(|name| mean(join, name)).is_sorted());
    let degrees = (0..=5).map(|k| mean(join, &format!("degree_{k}")));
    let degrees: Vec<f64> = degrees.collect();
    assert!((degrees.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    let links: f64 = degrees.iter().zip(0..).map(|(d, k)| d * f64::from(k)).sum();
    assert!((links - mean(join, "mean_degree")).abs() < 1e-9);
    // Kinds are parts of the whole.
    let kinds = join.metrics.iter();
    let kinds = kinds.filter(|m| m.name.starts_with("bytes_rest_"));
    let sum: f64 = kinds.filter_map(|m| m.summary.mean).sum();
    assert!((sum - mean(join, "bytes_rest")).abs() < 1e-6);
    // Most of thirty nodes get somewhere.
    assert!(mean(join, "routed") > 0.8 && mean(join, "largest_component") > 0.8);
    assert!(mean(join, "records_mean") > 10.0 && mean(join, "records_p99") <= 30.0);
    assert_eq!(mean(join, "seed_learners_p50"), 29.0);
    // By when who had a route says the same as the percentiles.
    let joined = &join.series("joined").unwrap().points;
    assert!(joined.is_sorted_by(|a, b| a.mean <= b.mean));
    let half = joined.iter().find(|point| point.mean >= 0.5).unwrap();
    assert!((half.x - mean(join, "join_p50")).abs() < 2.0);
}

#[test]
fn a_kill_is_felt_and_healed() {
    let report = report(&["--seeds", "2", "--kill", "20%"]);
    check_all(&report);
    let kill = group(&report, "kill");
    assert_eq!(mean(kill, "dead"), 6.0);
    let routed = &kill.series("routed").unwrap().points;
    assert_eq!(routed.len(), 121);
    assert_eq!(routed[0].mean, mean(kill, "routed_at_0"));
    assert_eq!(routed[60].mean, mean(kill, "routed_at_60"));
    // The dead are not noticed at once: nodes still believe in routes that no longer work.
    let believed = &kill.series("at_route").unwrap().points;
    assert!(routed[1].mean < believed[1].mean, "{routed:?}");
    assert!(routed.iter().zip(believed).all(|(r, b)| r.mean <= b.mean));
    assert!(mean(kill, "routed_at_60") > mean(kill, "routed_at_0"));
    // The mesh it began with is the one that joined.
    assert_eq!(group(&report, "join").nodes, 30);
}

#[test]
fn nodes_come_and_go_and_halves_are_parted() {
    let report = report(&[
        "--seeds=2",
        "--churn=10%/m",
        "--for=1m",
        "--partition",
        "30s",
    ]);
    check_all(&report);
    let names: Vec<&str> = report.groups.iter().map(|g| g.scenario).collect();
    assert_eq!(names, ["join", "churn", "partition"]);
    let churn = group(&report, "churn");
    // 10 % of 30 in a minute; rounding may leave one for the next.
    assert!((2.0..=3.0).contains(&mean(churn, "replaced")));
    assert_eq!(churn.series("routed").unwrap().points.len(), 6);
    assert!(mean(churn, "routed_min") <= mean(churn, "routed_mean"));
    assert!(mean(churn, "routed_mean") <= mean(churn, "at_route_mean"));
    let partition = group(&report, "partition");
    assert!(mean(partition, "components_parted") >= 2.0);
    let largest = &partition.series("largest").unwrap().points;
    assert_eq!(largest.len(), 1 + 30 + 180);
    assert!(
        largest[30].mean <= 0.6 && largest[0].mean <= 0.6,
        "{largest:?}"
    );
    assert!(largest.last().unwrap().mean > 0.8);
}

#[test]
fn equal_seeds_give_equal_reports() {
    let json = |jobs: &str, first: &str| {
        let mut options = vec!["--seeds=2", "--kill=30%", "--json", jobs, first];
        options.extend(&SMALL[..6]);
        let output = masq_testnet(&options);
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let once = json("--jobs=1", "--first-seed=1");
    assert_eq!(once, json("--jobs=2", "--first-seed=1"), "equal seeds");
    let other = json("--jobs=2", "--first-seed=2");
    let values = |text: &str| {
        let json: Value = serde_json::from_str(text).unwrap();
        let metrics = json["groups"][0]["metrics"].as_array().unwrap().clone();
        let of = |name: &str| metrics.iter().find(|m| m["name"] == name).unwrap()["values"].clone();
        (of("join_p50"), of("bytes_rest"))
    };
    let (a, b) = (values(&once), values(&other));
    assert_eq!(a.0[1], b.0[0], "the same seed in both");
    assert_ne!(a.0[0], b.0[0]);
    assert_eq!(a.1[1], b.1[0]);
}

/// Names that others may rely on; more may come, none may go without a new number in the schema.
#[test]
fn the_form_of_the_json_is_stable() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/folder");
    let out_text = out.display().to_string();
    let mut options = SMALL.to_vec();
    options.extend(["--seeds=1", "--kill", "--json", "--out", &out_text]);
    let output = masq_testnet(&options);
    assert!(output.status.success());
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let file = std::fs::read(out.join("report.json")).unwrap();
    assert_eq!(file, output.stdout);
    assert_eq!(json["schema"], "masq-simulate-gossip/1");
    assert_eq!(
        json["command"],
        "masq-testnet simulate gossip --nodes 30 --seeds 1 --over 30s --rest 30s --kill 30%"
    );
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let has = |value: &Value, names: &[&str]| {
        let keys = keys(value);
        for name in names {
            assert!(
                keys.iter().any(|key| key == name),
                "{name} is missing in {keys:?}"
            );
        }
    };
    has(
        &json,
        &["plan", "seeds", "groups", "targets", "not_measured"],
    );
    has(
        &json["plan"],
        &["over", "rest", "exits", "undialable", "latency"],
    );
    assert_eq!(json["plan"]["latency"], "5ms-80ms");
    let group = &json["groups"][1];
    has(group, &["nodes", "scenario", "title", "metrics", "series"]);
    let metric = &group["metrics"][1];
    has(
        metric,
        &[
            "name", "text", "unit", "mean", "low", "high", "min", "max", "runs", "never", "values",
        ],
    );
    assert_eq!(metric["unit"], "seconds");
    assert!(metric["low"].is_null(), "one run has no interval");
    has(&group["series"][0], &["name", "text", "unit", "points"]);
    has(
        &group["series"][0]["points"][0],
        &["x", "mean", "low", "high"],
    );
    has(
        &json["targets"][0],
        &[
            "nodes", "scenario", "metric", "what", "unit", "measured", "side", "line", "ok",
        ],
    );
    let names = |i: usize| -> Vec<&str> {
        let metrics = json["groups"][i]["metrics"].as_array().unwrap().iter();
        metrics.map(|m| m["name"].as_str().unwrap()).collect()
    };
    for name in [
        "join_p95",
        "largest_component",
        "mean_degree",
        "few_too_long",
        "bytes_joining",
        "bytes_rest",
        "messages_rest",
        "records_mean",
        "records_p99",
        "learners_p50",
        "learners_p99",
        "worst_degree",
        "unmeant_addresses",
    ] {
        assert!(names(0).contains(&name), "{name}");
    }
    for name in ["dead", "healed_after", "routed_at_60", "largest_component"] {
        assert!(names(1).contains(&name), "{name}");
    }
    for name in ["report.txt", "degrees.svg", "join-time.svg", "kill.svg"] {
        assert!(out.join(name).exists(), "{name}");
    }
    // One number of nodes is no curve against numbers of nodes.
    assert!(!out.join("bytes.svg").exists());
}

#[test]
fn several_sizes_are_plotted_against_each_other() {
    let options = ["--nodes=20,10,20", "--seeds=2", "--over=20s", "--rest=20s"];
    let report = simulate(&settings(&options).unwrap());
    check_all(&report);
    let sizes: Vec<usize> = report.groups.iter().map(|g| g.nodes).collect();
    assert_eq!(sizes, [10, 20]);
    let figures = figures(&report).unwrap();
    let names: Vec<&str> = figures.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        ["degrees.svg", "join-time.svg", "bytes.svg", "records.svg"]
    );
    let (_, svg) = &figures[2];
    for part in [
        "bytes sent per node and second",
        "while joining",
        "at rest",
        "nodes",
    ] {
        assert!(svg.contains(part), "{part}");
    }
}

#[test]
fn check_ends_with_1_when_a_target_is_missed() {
    // Nobody has a route within ten seconds when links take two.
    let mut options = vec!["--seeds=1", "--latency=2s-2s"];
    options.extend(&SMALL[..6]);
    assert!(masq_testnet(&options).status.success());
    options.push("--check");
    let output = masq_testnet(&options);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("checks failed") && said.contains("at least"),
        "{said}"
    );
}

#[test]
fn wrong_options_are_answered_with_a_sentence() {
    let cases: [(&[&str], &str); 16] = [
        (&["--nodes", "0"], "at least 5 nodes are needed"),
        (&["--nodes", "ten"], "whole numbers of nodes"),
        (&["--nodes", "100,1000000"], "at most 100000 nodes"),
        (&["--seeds", "0"], "number of runs from 1"),
        (&["--kill", "30"], "percent sign"),
        (&["--kill", "130%"], "between 0% and 100%"),
        (&["--kill", "100%"], "nobody to measure"),
        (&["--churn", "101%/m"], "between 0% and 100%"),
        (&["--churn", "1%"], "as in 1%/m"),
        (&["--churn", "--for", "5s"], "--for must be at least 1m"),
        (&["--partition", "5"], "as in 500ms, 90s, 10m or 1h"),
        (
            &["--attack", "sybil"],
            "harvest, harvest-seeds, insiders, eclipse, aim, equivocate, flood",
        ),
        (&["--rest", "1s"], "--rest must be at least 20s"),
        (&["--jobs", "0"], "--jobs must be at least 1"),
        (&["--exits", "0%"], "no exit"),
        (&["--undialable", "95%"], "at most 90%"),
    ];
    for (options, part) in cases {
        let output = masq_testnet(options);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{options:?}: {said}");
        assert!(said.contains(part), "{options:?}: {said}");
        assert!(output.stdout.is_empty(), "{options:?}");
    }
}

#[test]
fn every_attack_is_measured() {
    for (attack, figure) in [
        ("harvest", "harvested"),
        ("insiders", "learned_share"),
        ("eclipse", "all_five"),
        ("aim", "slots_held_most"),
        ("equivocate", "banned_share"),
        ("flood", "routed_least"),
    ] {
        let options = [
            "--nodes", "30", "--seeds", "1", "--over", "20s", "--rest", "60s", "--for", "60s",
            "--attack", attack,
        ];
        let report = simulate(&settings(&options).unwrap());
        let json = serde_json::to_string(&report).unwrap();
        assert!(json.contains(figure), "{attack}: {json}");
    }
}

#[test]
fn a_band_comes_when_it_is_told_and_with_the_links_it_is_told() {
    let options = |more: &[&'static str]| {
        let mut options = vec![
            "--nodes", "30", "--seeds", "1", "--over", "20s", "--rest", "60s", "--for", "60s",
        ];
        options.extend(more);
        options
    };
    let band = options(&[
        "--attack", "eclipse", "--when", "growth", "--links", "unlisted",
    ]);
    let settings_of_band = settings(&band).unwrap();
    let command = &settings_of_band.command;
    assert!(
        command.contains("--when growth --links unlisted"),
        "{command}"
    );
    let report = simulate(&settings_of_band);
    let names: Vec<&str> = report.groups.iter().map(|group| group.scenario).collect();
    assert_eq!(names, ["beset", "attack"]);
    let attack = &report.groups[1];
    assert!(
        attack
            .title
            .contains("unlisted links, come while the mesh grows")
    );
    assert!(attack.metric("all_five").is_some() && attack.metric("held_p99").is_some());
    // Nothing is promised of joining beside attackers but the cap and where addresses go.
    let judged = report
        .targets
        .iter()
        .filter(|target| target.scenario == "beset");
    let judged: Vec<&str> = judged.map(|target| target.metric).collect();
    assert_eq!(judged, ["worst_degree", "unmeant_addresses"]);
    // Others than a band come when they come.
    let flood = options(&["--attack", "flood", "--links", "unlisted"]);
    assert!(settings(&flood).is_err());
}

#[test]
fn a_liar_is_banned_by_all_who_know_it_and_nobody_else_is() {
    let options = [
        "--nodes",
        "40",
        "--seeds",
        "2",
        "--over",
        "20s",
        "--rest",
        "60s",
        "--for",
        "120s",
        "--attack",
        "equivocate",
    ];
    let report = simulate(&settings(&options).unwrap());
    let json: serde_json::Value =
        serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    let text = json.to_string();
    assert!(text.contains("wrongly"), "{text}");
    let metric = |name: &str| {
        let groups = json["groups"].as_array().unwrap();
        let metrics = groups
            .iter()
            .flat_map(|group| group["metrics"].as_array().unwrap());
        let found = metrics.filter(|metric| metric["name"] == name);
        found.map(|metric| metric["values"].clone()).next().unwrap()
    };
    assert_eq!(metric("wrongly"), serde_json::json!([0.0, 0.0]));
    assert_eq!(metric("banned_share"), serde_json::json!([1.0, 1.0]));
}

#[test]
fn a_folder_that_cannot_be_made_is_said_first() {
    let output = masq_testnet(&["--nodes=5", "--out", "/proc/nowhere"]);
    assert_eq!(output.status.code(), Some(73));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("/proc/nowhere"), "{said}");
}
