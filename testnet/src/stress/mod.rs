//! `masq-testnet stress`: kills a third of a mesh at one instant and watches it heal:
//! whether downloads go on, how long until every survivor has a route and the mesh
//! is whole, and whether a node finds back with no node to join by.
//!
//! The downloads are in [`crate::download`], the figures in [`report`]; what a whole mesh is,
//! in [`crate::survey`].

pub mod report;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use masq::control::types::Stage;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

pub use self::report::StressReport;
pub use crate::download::DownloadReport;

use crate::download::{Download, Source};
use crate::error::TestnetError;
use crate::fetch::Via;
use crate::network::{DownNode, RunningNode, Testnet};
use crate::plan::Role;
use crate::survey::Survey;

/// Pause between two looks at the mesh.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long the mesh may take to have routes everywhere before anything is killed.
const CALM_WITHIN: Duration = Duration::from_secs(90);
/// How long things must stay well to count as well.
const HOLD: Duration = Duration::from_secs(5);
/// How long healing is watched.
const WATCH: Duration = Duration::from_secs(150);
/// How long the node without seeds is watched.
const RETURN_WATCH: Duration = Duration::from_secs(90);
/// Seconds of a download that have to be there before the kill.
const FLOWING: u64 = 3;
/// Length of a download, in seconds at its pace: longer than everything that is watched.
const LENGTH_S: u64 = 1_200;

/// Arguments of `stress`.
#[derive(Debug, Clone, Args)]
pub struct StressArgs {
    /// Number of nodes of the mesh
    #[arg(long, default_value_t = 40)]
    pub nodes: usize,
    /// Downloads at a time, each on circuits of its own
    #[arg(long, default_value_t = 4)]
    pub downloads: usize,
    /// Bytes a second of each
    #[arg(long, default_value_t = 200_000)]
    pub pace: u64,
    /// Kill the seed too, by which all others joined: who knew only nodes that die stays alone
    #[arg(long)]
    pub kill_seed: bool,
    /// From which the victims are drawn [default: another one each time]
    #[arg(long)]
    pub draw: Option<u64>,
    /// Fail when something takes longer than it may
    #[arg(long)]
    pub check: bool,
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
pub struct StressOptions {
    /// Downloads at a time.
    pub downloads: usize,
    /// Bytes a second of each.
    pub pace: u64,
    /// Whether the seed is among the victims. It is spared otherwise.
    pub kill_seed: bool,
    /// From which the victims are drawn.
    pub draw: u64,
}

impl From<&StressArgs> for StressOptions {
    fn from(args: &StressArgs) -> Self {
        Self {
            downloads: args.downloads,
            pace: args.pace,
            kill_seed: args.kill_seed,
            draw: args.draw.unwrap_or_else(|| rand::random::<u32>().into()),
        }
    }
}

/// Kills a third of a mesh that is up, and watches.
///
/// # Errors
/// When the mesh cannot be asked, or the downloads do not even begin.
pub async fn run(
    net: &mut Testnet,
    options: &StressOptions,
    out: &mut (dyn Write + Send),
) -> Result<StressReport, TestnetError> {
    let nodes = net.nodes().len();
    tell(out, format_args!("waiting for a route at every node"));
    let before = calm(net).await;
    let downloads = begin(net, options).await?;
    let mut rng = StdRng::seed_from_u64(options.draw);
    let circuits = circuits(net).await?;
    let victims = draw(net, &circuits, options.kill_seed, &mut rng);
    let exits = |names: &[String]| {
        let of = |name: &String| net.node(name).is_some_and(|n| n.role() == Role::Exit);
        names.iter().filter(|name| of(name)).count()
    };
    let killed_exits = exits(&victims);
    tell(out, format_args!("killing {} nodes", victims.len()));
    for download in &downloads {
        download.mark();
    }
    let dead = net.kill(&victims).await;
    let keys: BTreeSet<String> = dead.iter().map(DownNode::key).collect();
    let stranded = stranded(net).await;
    let healing = heal(net, &stranded).await;
    let circuits_hit = circuits.iter().filter(|c| !c.is_disjoint(&keys)).count();
    let downloads: Vec<_> = downloads.iter().map(Download::report).collect();

    let returned = chosen_to_return(net, &mut rng).await;
    tell(out, format_args!("{returned} crashes and comes back"));
    let (neighbour_s, return_s) = come_back(net, &returned).await?;
    Ok(StressReport {
        nodes,
        draw: options.draw,
        before,
        killed: victims,
        killed_exits,
        circuits_hit,
        stranded,
        routes_s: healing.routes_s,
        whole_s: healing.whole_s,
        fewest_routed: healing.fewest_routed,
        healed: healing.last,
        downloads,
        panicked: net.panicked(),
        returned,
        neighbour_s,
        return_s,
    })
}

/// Waits until every node has a route and the mesh is whole, or the time is up.
async fn calm(net: &Testnet) -> Survey {
    let start = Instant::now();
    loop {
        let survey = Survey::look(net).await;
        let well = survey.all_routed() && survey.is_whole();
        if well || start.elapsed() > CALM_WITHIN {
            return survey;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Begins the downloads and waits until all of them flow.
async fn begin(net: &Testnet, options: &StressOptions) -> Result<Vec<Download>, TestnetError> {
    let proxy = net
        .socks()
        .ok_or_else(|| TestnetError::Options("the client node has no SOCKS proxy".to_owned()))?;
    let source = |n: usize| Source {
        // A user of its own, so circuits of its own.
        via: Via::Socks5 {
            proxy,
            auth: Some((format!("download-{n}"), "x".to_owned())),
        },
        host: "127.0.0.1".to_owned(),
        port: net.web().port(),
        rate: options.pace,
        len: options.pace * LENGTH_S,
    };
    let downloads: Vec<_> = (0..options.downloads)
        .map(|n| Download::start(source(n)))
        .collect();
    let start = Instant::now();
    let flow = |d: &Download| d.got() >= FLOWING * options.pace;
    while !downloads.iter().all(flow) {
        if start.elapsed() > CALM_WITHIN {
            return Err(TestnetError::TooSlow {
                stage: "the downloads did not begin",
                limit_s: CALM_WITHIN.as_secs(),
                waiting_for: "bytes through the mesh".to_owned(),
                dir: net.dir().to_owned(),
            });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(downloads)
}

/// The nodes of the circuits that carry flows now. Which of them is which download's nobody
/// outside the node knows.
async fn circuits(net: &Testnet) -> Result<Vec<BTreeSet<String>>, TestnetError> {
    let circuits = net.client().control().circuits().await?;
    let used = circuits.into_iter().filter(|c| c.flows > 0);
    let hops = used.map(|c| c.hops.into_iter().map(|hop| hop.node).collect());
    Ok(hops.collect())
}

/// Survivors who can know nobody that lives: neither whom they were told to join by nor any
/// neighbour that they remember. Nobody can come back by itself from there.
async fn stranded(net: &Testnet) -> Vec<String> {
    let living: BTreeSet<String> = net.nodes().iter().map(RunningNode::key).collect();
    let mut alone = Vec::new();
    for node in net.nodes() {
        let known = node.acquaintances().await.unwrap_or_default();
        if !known.iter().any(|key| living.contains(key)) {
            alone.push(node.name().to_owned());
        }
    }
    alone
}

/// A third of the nodes: a node of a circuit that carries a download, perhaps the seed, and
/// others at random; never the client's, and never the last exit.
fn draw(
    net: &Testnet,
    circuits: &[BTreeSet<String>],
    kill_seed: bool,
    rng: &mut StdRng,
) -> Vec<String> {
    let spared = |node: &RunningNode| {
        node.role() == Role::Client || (node.role() == Role::Seed && !kill_seed)
    };
    let mut others: Vec<_> = net.nodes().iter().filter(|n| !spared(n)).collect();
    let exits = others.iter().filter(|n| n.role() == Role::Exit).count();
    others.shuffle(rng);
    let carries = |key: &String| circuits.iter().any(|hops| hops.contains(key));
    // Stable: the order among equals stays random.
    let first_of_circuit = others.iter().position(|n| carries(&n.key()));
    if let Some(at) = first_of_circuit {
        let node = others.remove(at);
        others.insert(0, node);
    }
    others.sort_by_key(|n| n.role() != Role::Seed);
    let (mut victims, mut exits_left) = (Vec::new(), exits);
    for node in others {
        if victims.len() == net.nodes().len() / 3 {
            break;
        }
        if node.role() == Role::Exit {
            if exits_left == 1 {
                continue;
            }
            exits_left -= 1;
        }
        victims.push(node.name().to_owned());
    }
    victims
}

/// How healing went.
struct Healing {
    routes_s: Option<f64>,
    whole_s: Option<f64>,
    fewest_routed: (usize, f64),
    last: Survey,
}

/// Watches until all is well and stays so, or the time is up. What counts is when the last
/// time began at which it was well.
async fn heal(net: &Testnet, stranded: &[String]) -> Healing {
    let start = Instant::now();
    let (mut routed, mut whole) = (None, None);
    let mut fewest_routed = (usize::MAX, 0.0);
    loop {
        let at = start.elapsed();
        let survey = Survey::look_without(net, stranded).await;
        if survey.routed < fewest_routed.0 {
            fewest_routed = (survey.routed, at.as_secs_f64());
        }
        routed = survey.all_routed().then_some(routed.unwrap_or(at));
        whole = survey.is_whole().then_some(whole.unwrap_or(at));
        let held = |since: Option<Duration>| since.is_some_and(|since| at - since >= HOLD);
        if (held(routed) && held(whole)) || at > WATCH {
            return Healing {
                routes_s: routed.map(|at| at.as_secs_f64()),
                whole_s: whole.map(|at| at.as_secs_f64()),
                fewest_routed,
                last: survey,
            };
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A relay that remembers somebody who lives; the client's node where there is none.
async fn chosen_to_return(net: &Testnet, rng: &mut StdRng) -> String {
    let living: BTreeSet<String> = net.nodes().iter().map(RunningNode::key).collect();
    let mut relays = Vec::new();
    for node in net.nodes().iter().filter(|n| n.role() == Role::Relay) {
        let past = node.past_neighbours().await.unwrap_or_default();
        if past.iter().any(|key| living.contains(key)) {
            relays.push(node);
        }
    }
    relays.shuffle(rng);
    let chosen = relays.first().copied().unwrap_or_else(|| net.client());
    chosen.name().to_owned()
}

/// Kills a node, starts it again with no node to join by, and says how long it took to have a
/// neighbour and a route.
async fn come_back(
    net: &mut Testnet,
    name: &str,
) -> Result<(Option<f64>, Option<f64>), TestnetError> {
    let Some(mut node) = net.kill(&[name.to_owned()]).await.pop() else {
        return Ok((None, None));
    };
    node.forget_seeds()?;
    let start = Instant::now();
    net.start_again(node)?;
    let mut neighbour_s = None;
    loop {
        let took = start.elapsed();
        let node = net.node(name).expect("just started");
        let stage = node.control().status().await.map(|s| s.stage);
        if matches!(stage, Ok(stage) if stage != Stage::NotConnected) {
            neighbour_s.get_or_insert(took.as_secs_f64());
        }
        if matches!(stage, Ok(Stage::RouteFound)) {
            return Ok((neighbour_s, Some(took.as_secs_f64())));
        }
        if took > RETURN_WATCH {
            return Ok((neighbour_s, None));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn tell(out: &mut dyn Write, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{text}");
}
