//! `masq-testnet soak`: a mesh that pays, with traffic from several origins, in which processes are
//! killed at random (SIGKILL) and started again on the same data folder. At the end the books of
//! all nodes are read from their folders and held against each other and the chain.
//!
//! What is right is said by [`mod@crate::money::judge`]; the traffic is in `traffic`, the end in
//! `settle`, the figures in [`report`].

pub mod report;
mod settle;
mod traffic;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use masq::ledger::Wei;
use masq::ledger::price::{DEFAULT_RATES, dearest};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

pub use self::report::SoakReport;

use self::traffic::Traffic;
use crate::args::PaidArgs;
use crate::error::TestnetError;
use crate::money::judge::{Evidence, in_flight, judge};
use crate::money::{Bank, transfers};
use crate::network::{DownNode, RunningNode, Testnet};

/// Time between two kills, in milliseconds: from one that hits a node that has just come back to
/// one that lets payments go through.
const BETWEEN_MS: std::ops::Range<u64> = 200..3_000;
/// How long a killed node stays down, in milliseconds.
const DOWN_MS: std::ops::Range<u64> = 0..1_500;
/// One kill in so many hits the node again while it starts.
const AGAIN_WHILE_STARTING: u32 = 5;
/// When that happens after its start, in milliseconds: while it opens its books and compares them
/// with the chain.
const STARTING_MS: std::ops::Range<u64> = 0..3_000;
/// How long a node may take to answer after a start.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
/// Pause between two looks whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Traffic and payments go on for so long before the first kill.
const WARM: Duration = Duration::from_secs(10);
/// Bytes of set-ups, reports, acknowledgements and small fetches that a hop carries for one payer in
/// a second besides the downloads. Guess, from a few full cells.
const OVERHEAD: u64 = 65_536;

/// Arguments of `soak`.
#[derive(Debug, Clone, Args)]
pub struct SoakArgs {
    /// Number of nodes of the mesh, 5 to 200
    #[arg(long, default_value_t = 8)]
    pub nodes: usize,
    /// How often a process is killed
    #[arg(long, default_value_t = 100)]
    pub kills: u32,
    /// Nodes from which there is traffic
    #[arg(long, default_value_t = 3)]
    pub origins: usize,
    /// Bytes a second from each of them
    #[arg(long, default_value_t = 200_000)]
    pub pace: u64,
    /// Seconds that everything may take to be paid and final at the end
    #[arg(long, default_value_t = 120)]
    pub settle_within: u64,
    /// From which victims and moments are drawn [default: another one each time]
    #[arg(long)]
    pub draw: Option<u64>,
    /// The money.
    #[command(flatten)]
    pub money: PaidArgs,
    /// Machine-readable output
    #[arg(long)]
    pub json: bool,
    /// Folder for keys, configurations and logs [default: a fresh one, removed at the end]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Log level of the nodes: error, warn, info, debug, trace
    #[arg(long, default_value = "info")]
    pub log: String,
    /// Run this masqd instead of the one built in
    #[arg(long, value_name = "PATH")]
    pub masqd: Option<PathBuf>,
}

/// What is done to the mesh.
#[derive(Debug, Clone)]
pub struct SoakOptions {
    /// How often a process is killed.
    pub kills: u32,
    /// Nodes from which there is traffic.
    pub origins: usize,
    /// Bytes a second from each of them.
    pub pace: u64,
    /// How long everything may take to be paid and final at the end.
    pub settle_within: Duration,
    /// From which victims and moments are drawn.
    pub draw: u64,
}

impl From<&SoakArgs> for SoakOptions {
    fn from(args: &SoakArgs) -> Self {
        Self {
            kills: args.kills,
            origins: args.origins,
            pace: args.pace,
            settle_within: Duration::from_secs(args.settle_within),
            draw: args.draw.unwrap_or_else(|| rand::random::<u32>().into()),
        }
    }
}

impl SoakOptions {
    /// What a second of usage of one hop costs one payer at most.
    fn second(&self) -> Wei {
        dearest(&DEFAULT_RATES, self.pace + OVERHEAD).unwrap_or(Wei::MAX)
    }
}

/// Who was killed how often, and how starting again went.
#[derive(Debug, Default)]
struct Kills {
    by_node: BTreeMap<String, u32>,
    while_starting: u32,
    slowest_start: Duration,
    panicked: Vec<String>,
}

/// Lets a mesh that is up work and pay, kills its nodes, and judges their books. The mesh is down
/// when it returns; its chain is not.
///
/// # Errors
/// When a node does not come back, the mesh cannot be asked, or there is no money in it.
pub async fn run(
    net: &mut Testnet,
    options: &SoakOptions,
    out: &mut (dyn Write + Send),
) -> Result<SoakReport, TestnetError> {
    let Some(money) = net.bank().map(Bank::state) else {
        return Err(TestnetError::Options(
            "a mesh without a chain has no books to judge; use --chain dev or --chain anvil"
                .to_owned(),
        ));
    };
    let start = Instant::now();
    let nodes = net.nodes().len();
    let traffic = Traffic::start(net, options.origins, options.pace).await?;
    tell(
        out,
        format_args!("traffic from {} nodes", traffic.origins()),
    );
    tokio::time::sleep(WARM).await;
    let kills = kill_all(net, options, out).await?;
    let downloads = traffic.end();
    tell(
        out,
        format_args!("waiting until everything is paid and final"),
    );
    let settled = settle::settle(net, options.settle_within).await?;
    let panicked = net.panicked();
    let books = settle::close(net).await?;
    let transfers = transfers(&money).await?;
    let judgement = judge(&Evidence {
        books: &books,
        transfers: &transfers,
        kills: &kills.by_node,
        second: options.second(),
        in_flight: in_flight(),
    });
    let mut all_panicked = kills.panicked;
    all_panicked.extend(panicked);
    Ok(SoakReport {
        nodes,
        draw: options.draw,
        took_s: start.elapsed().as_secs_f64(),
        kills: kills.by_node,
        killed_while_starting: kills.while_starting,
        slowest_start_s: kills.slowest_start.as_secs_f64(),
        downloads,
        settled_s: settled.map(|took| took.as_secs_f64()),
        panicked: all_panicked,
        judgement,
    })
}

async fn kill_all(
    net: &mut Testnet,
    options: &SoakOptions,
    out: &mut (dyn Write + Send),
) -> Result<Kills, TestnetError> {
    let mut rng = StdRng::seed_from_u64(options.draw);
    let mut kills = Kills::default();
    let mut left = options.kills;
    while left > 0 {
        pause(&mut rng, BETWEEN_MS).await;
        net.check_running()?;
        let at = rng.random_range(0..net.nodes().len());
        let name = net.nodes()[at].name().to_owned();
        let mut down = kill(net, &name, &mut kills).await?;
        left -= 1;
        pause(&mut rng, DOWN_MS).await;
        net.start_again(down)?;
        if left > 0 && rng.random_range(0..AGAIN_WHILE_STARTING) == 0 {
            pause(&mut rng, STARTING_MS).await;
            down = kill(net, &name, &mut kills).await?;
            kills.while_starting += 1;
            left -= 1;
            net.start_again(down)?;
        }
        let took = answers(net, &name).await?;
        kills.slowest_start = kills.slowest_start.max(took);
        if left.is_multiple_of(10) {
            tell(out, format_args!("{left} kills to go"));
        }
    }
    Ok(kills)
}

async fn kill(net: &mut Testnet, name: &str, kills: &mut Kills) -> Result<DownNode, TestnetError> {
    if net.node(name).is_some_and(RunningNode::has_panicked) {
        kills.panicked.push(name.to_owned());
    }
    *kills.by_node.entry(name.to_owned()).or_default() += 1;
    let mut down = net.kill(&[name.to_owned()]).await;
    down.pop().ok_or_else(|| TestnetError::Control {
        node: name.to_owned(),
        reason: "is not there to be killed".to_owned(),
    })
}

/// Waits until a node answers; says how long that took.
async fn answers(net: &mut Testnet, name: &str) -> Result<Duration, TestnetError> {
    let start = Instant::now();
    loop {
        net.check_running()?;
        let Some(node) = net.node(name) else {
            return Ok(start.elapsed());
        };
        match node.control().status().await {
            Ok(_) => return Ok(start.elapsed()),
            Err(error) if start.elapsed() > ANSWERS_WITHIN => return Err(error),
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

async fn pause(rng: &mut StdRng, ms: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(rng.random_range(ms))).await;
}

fn tell(out: &mut dyn Write, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{text}");
}
