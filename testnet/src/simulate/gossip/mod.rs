//! `masq-testnet simulate gossip`: many nodes of the production protocol in virtual
//! time, what was measured of them, and whether it is what was promised.
//!
//! [`args`] and [`units`] read the command line, [`world`] is the only part
//! that knows the engine, [`scenario`] says what happens and what is measured,
//! [`stats`] and [`measure`] put runs together, [`targets`] judges, [`report`],
//! [`plot`] and [`figures`] show. The engine is in `masq_gossip::sim`.

pub mod args;
pub mod figures;
pub mod measure;
pub mod plot;
pub mod progress;
pub mod report;
pub mod scenario;
pub mod stats;
pub mod targets;
pub mod units;
pub mod world;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use args::{GossipArgs, Settings};
use measure::{Group, Measures};
use progress::Meter;
use report::Report;
use scenario::{RunResult, Scenario};

use crate::error::TestnetError;

/// Runs that are shorter than this say nothing about the speed of the machine.
const SPEED_FROM: Duration = Duration::from_secs(5);

/// `masq-testnet simulate gossip`.
///
/// # Errors
/// When options contradict each other, files cannot be written, or, with `--check`, a target is
/// missed.
pub fn run(args: &GossipArgs, out: &mut dyn Write) -> Result<(), TestnetError> {
    let settings = args.settings()?;
    if let Some(folder) = &args.out {
        // Better to know now than in an hour.
        fs::create_dir_all(folder).map_err(TestnetError::file("cannot make folder", folder))?;
    }
    let report = simulate(&settings);
    let json = || {
        let mut text = serde_json::to_string_pretty(&report).map_err(std::io::Error::from)?;
        text.push('\n');
        Ok(text)
    };
    let written = if args.json {
        json().and_then(|text| out.write_all(text.as_bytes()))
    } else {
        report.write(out)
    };
    written.map_err(TestnetError::file("cannot write", "standard output"))?;
    if let Some(folder) = &args.out {
        let mut text = Vec::new();
        let write = |name: &str, bytes: &[u8]| write(folder, name, bytes);
        let path = || TestnetError::file("cannot write", folder);
        report.write(&mut text).map_err(path())?;
        write("report.txt", &text)?;
        write("report.json", json().map_err(path())?.as_bytes())?;
        for (name, svg) in figures::figures(&report)? {
            write(name, svg.as_bytes())?;
        }
    }
    let failed = report.missed().count();
    match report.missed().next() {
        Some(first) if args.check => Err(TestnetError::Checks {
            failed,
            checks: report.targets.len(),
            first: format!("with {} nodes, {}", first.nodes, first.outcome()),
        }),
        _ => Ok(()),
    }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), TestnetError> {
    let path = folder.join(name);
    fs::write(&path, bytes).map_err(TestnetError::file("cannot write", path))
}

/// One run to be done.
struct Job {
    nodes: usize,
    scenario: Scenario,
    seed: u64,
}

/// Does all runs, several at a time, and puts them together. How long it took goes to standard
/// error.
pub fn simulate(settings: &Settings) -> Report {
    // Large meshes first: the last thread to end then has little left to do.
    let mut jobs = Vec::new();
    for nodes in settings.nodes.iter().rev() {
        for scenario in &settings.scenarios {
            jobs.extend(settings.seeds.iter().map(|seed| Job {
                nodes: *nodes,
                scenario: *scenario,
                seed: *seed,
            }));
        }
    }
    let time = |job: &Job| job.scenario.time(&settings.plan);
    let meter = Meter::new(jobs.len(), jobs.iter().map(time).sum());
    let results = all(&jobs, settings, &meter);
    meter.finish();
    say_speed(&jobs, &results, settings);
    let done: Vec<(&Job, &RunResult)> = jobs.iter().zip(results.iter().map(|(r, _)| r)).collect();
    let groups = settings
        .nodes
        .iter()
        .flat_map(|nodes| groups_of(*nodes, settings, &done));
    Report::new(settings, groups.collect())
}

/// The groups of one number of nodes: joining once, whatever happened then, and that.
fn groups_of(nodes: usize, settings: &Settings, done: &[(&Job, &RunResult)]) -> Vec<Group> {
    let of = |scenario: &Scenario| {
        let name = scenario.name();
        let mine = done.iter();
        mine.filter(move |(job, _)| job.nodes == nodes && job.scenario.name() == name)
    };
    let mut groups = Vec::new();
    for scenario in &settings.scenarios {
        if groups.is_empty() {
            let runs: Vec<&Measures> = of(scenario).map(|(_, run)| &run.join).collect();
            let plan = &settings.plan;
            let title = format!("joining over {}, then resting for {}", plan.over, plan.rest);
            // Beside attackers it is another joining, of which nothing is promised.
            let (name, title) = if scenario.besets_growth() {
                ("beset", format!("{title}, beside attackers"))
            } else {
                ("join", title)
            };
            groups.push(Group::of(nodes, name, title, &runs));
        }
        let runs: Vec<&Measures> = of(scenario)
            .filter_map(|(_, run)| run.then.as_ref())
            .collect();
        if !runs.is_empty() {
            groups.push(Group::of(nodes, scenario.name(), scenario.title(), &runs));
        }
    }
    groups
}

fn all(jobs: &[Job], settings: &Settings, meter: &Meter) -> Vec<(RunResult, Duration)> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, (RunResult, Duration))>> =
        Mutex::new(Vec::with_capacity(jobs.len()));
    let work = || {
        while let Some((index, job)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            jobs.get(index).map(|job| (index, job))
        } {
            let start = Instant::now();
            let result = scenario::run(job.seed, job.nodes, settings.plan, job.scenario, meter);
            let result = (result, start.elapsed());
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            results.push((index, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..settings.jobs.min(jobs.len()) {
            scope.spawn(work);
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// How fast the simulator is here, for the slowest run of each kind.
fn say_speed(jobs: &[Job], results: &[(RunResult, Duration)], settings: &Settings) {
    for nodes in &settings.nodes {
        let slowest = jobs
            .iter()
            .zip(results)
            .filter(|(job, _)| job.nodes == *nodes)
            .max_by_key(|(_, (_, took))| *took);
        if let Some((job, (_, took))) = slowest
            && *took >= SPEED_FROM
        {
            let time = job.scenario.time(&settings.plan).as_secs_f64();
            eprintln!(
                "{nodes} nodes: a virtual hour takes {:.1} minutes ({} run{} at a time)",
                took.as_secs_f64() / time * 60.0,
                settings.jobs,
                if settings.jobs == 1 { "" } else { "s" }
            );
        }
    }
}
