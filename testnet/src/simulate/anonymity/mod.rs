//! `masq-testnet simulate anonymity`: how many origins each hop of a circuit
//! could suspect, how many exits are in reach, and how often the way back
//! differs from the way out. Described in `docs/anonymity.md`.
//!
//! `simulated` forms meshes with the machines of production and draws circuits
//! with production's routing; `adversary` is a hop that knows everything
//! public, `prior` what it believes of entry links, `measure` joins these.

mod adversary;
mod circuit;
mod measure;
mod mesh;
mod plot;
mod prior;
mod reach;
mod report;
mod simulated;
mod synthetic;

use std::cmp::Ordering::Equal;
use std::io::Write;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

use crate::TestnetError;
use measure::{Measured, Order, Sample};
pub use synthetic::EntryRule;

/// Numbers of nodes when none are asked for.
const NODES: [usize; 2] = [100, 1000];
/// Progress within one step is shown in so many parts.
const PARTS: u64 = 1000;

/// Arguments of `simulate anonymity`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Numbers of nodes [default: 100,1000; none with --add]
    #[arg(long, value_delimiter = ',')]
    pub nodes: Vec<usize>,
    /// Shares of introductions that look for a near neighbour, 0 to 1
    #[arg(long, value_delimiter = ',', default_value = "0,0.25,0.5,0.75,1")]
    pub near: Vec<f64>,
    /// Circuits for each number of nodes and share
    #[arg(long, default_value_t = 500)]
    pub circuits: usize,
    /// Circuits for each of them without entry links
    #[arg(long, default_value_t = 100)]
    pub open_circuits: usize,
    /// Shares of near links for which origin sets are computed [default: gossip's default]
    #[arg(long, value_delimiter = ',')]
    pub weigh: Option<Vec<f64>>,
    /// Meshes for each of them, each from a seed of its own
    #[arg(long, default_value_t = 1)]
    pub seeds: u64,
    /// Take meshes by rule of thumb instead of the gossip simulator's, with entry links by this rule
    #[arg(long, value_enum)]
    pub synthetic: Option<EntryRule>,
    /// Take in what an earlier run measured, from its --json output; may be given several times
    #[arg(long, value_name = "FILE")]
    pub add: Vec<PathBuf>,
    /// Write near-far.svg into this folder
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Machine-readable output
    #[arg(long)]
    pub json: bool,
    /// End with exit code 1 when a target is missed at gossip's default share
    #[arg(long)]
    pub check: bool,
}

/// Measures and prints.
///
/// # Errors
/// [`TestnetError::Options`] when the arguments make no sense or the output cannot be written,
/// [`TestnetError::Checks`] when targets are missed and `check` was given.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), TestnetError> {
    let fine = |share: &f64| (0.0..=1.0).contains(share);
    if !args.near.iter().all(fine) || args.nodes.iter().any(|n| *n < 5) || args.seeds == 0 {
        let why = "shares of near links are from 0 to 1, circuits of three hops need 5 nodes, and there is at least one seed";
        return Err(TestnetError::Options(why.to_owned()));
    }
    let mut all = Vec::new();
    for path in &args.add {
        all.extend(earlier(path)?);
    }
    let default: &[usize] = if args.add.is_empty() { &NODES } else { &[] };
    let sizes = if args.nodes.is_empty() {
        default
    } else {
        &args.nodes
    };
    for nodes in sizes {
        for near in &args.near {
            all.push(one(args, *nodes, *near));
        }
    }
    all.sort_by(|a, b| {
        (a.nodes, a.near_share)
            .partial_cmp(&(b.nodes, b.near_share))
            .unwrap_or(Equal)
    });
    let checks = report::checks(&all, default_share());
    let written = |error| TestnetError::Options(format!("cannot write the report: {error}"));
    if args.json {
        let document = serde_json::json!({ "measured": all, "checks": checks });
        writeln!(out, "{document:#}").map_err(written)?;
    } else {
        report::tables(out, &all, &checks).map_err(written)?;
    }
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder)
            .map_err(TestnetError::file("cannot make the folder", folder))?;
        let path = folder.join("near-far.svg");
        plot::near_far(&path, &all).map_err(|error| {
            TestnetError::Options(format!("cannot write {}: {error}", path.display()))
        })?;
    }
    let missed: Vec<&report::Check> = checks.iter().filter(|check| !check.met).collect();
    match missed.first() {
        Some(first) if args.check => Err(TestnetError::Checks {
            failed: missed.len(),
            checks: checks.len(),
            first: first.what.clone(),
        }),
        _ => Ok(()),
    }
}

/// The share of near links that gossip takes when nothing is configured.
fn default_share() -> f64 {
    masq_gossip::Config::new(masq_gossip::Chain::Dev).near_share
}

/// What is in the JSON of an earlier run.
fn earlier(path: &Path) -> Result<Vec<Measured>, TestnetError> {
    let text = std::fs::read_to_string(path).map_err(TestnetError::file("cannot read", path))?;
    let document: Earlier = serde_json::from_str(&text).map_err(|error| {
        let path = path.display();
        TestnetError::Options(format!("{path} is not the JSON of this command: {error}"))
    })?;
    Ok(document.measured)
}

/// The part of the JSON that is taken in again.
#[derive(serde::Deserialize)]
struct Earlier {
    measured: Vec<Measured>,
}

/// One number of nodes and one share of near links.
fn one(args: &Args, nodes: usize, near: f64) -> Measured {
    let bar = progress_bar();
    let mut samples = Vec::new();
    let each = args
        .circuits
        .div_ceil(usize::try_from(args.seeds).unwrap_or(1));
    let mut asked = 0;
    for seed in 1..=args.seeds {
        bar.set_message(format!("{nodes} nodes, near {near}: forming mesh {seed}"));
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let sample = match args.synthetic {
            Some(rule) => {
                let mesh = synthetic::grow(synthetic::Recipe {
                    nodes,
                    near_share: near,
                    rule,
                    seed,
                });
                let origins = measure::origins(&mesh, each, &mut rng);
                asked += origins.len();
                let circuits = measure::draw(&mesh, &origins, &mut rng);
                Sample { mesh, circuits }
            }
            None => {
                let forming = simulated::Forming {
                    nodes,
                    near_share: near,
                    seed,
                };
                let formed = simulated::form(forming, &mut |done| {
                    bar.set_position((done * PARTS as f64) as u64);
                });
                let origins = measure::origins(&formed.mesh, each, &mut rng);
                asked += origins.len();
                let circuits = formed.draw(&origins, &mut rng);
                Sample {
                    mesh: formed.mesh,
                    circuits,
                }
            }
        };
        samples.push(sample);
    }
    bar.set_message(format!("{nodes} nodes, near {near}: weighing circuits"));
    let drawn: usize = samples.iter().map(|sample| sample.circuits.len()).sum();
    let whole = (drawn + args.open_circuits).max(1) as u64;
    let mut done = 0;
    let weighed = args.weigh.clone().unwrap_or_else(|| vec![default_share()]);
    let order = Order {
        nodes,
        near_share: near,
        asked,
        weigh: weighed.contains(&near),
        open: args.open_circuits,
    };
    let measured = measure::measure(order, &samples, &mut || {
        done += 1;
        bar.set_position((done * PARTS / whole).min(PARTS));
    });
    if bar.is_hidden() {
        eprintln!("{nodes} nodes, near {near}: done");
    }
    bar.finish_and_clear();
    measured
}

/// On standard error, and only where that is a terminal.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(PARTS);
    if let Ok(style) = ProgressStyle::with_template("{msg:45} [{bar:30}] {elapsed} (left {eta})") {
        bar.set_style(style);
    }
    bar
}
