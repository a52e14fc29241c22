//! `masq-testnet attack`: floods one node of a mesh that it brought up itself, on
//! loopback, while an honest client goes on fetching pages through that very node,
//! and says what it cost the node and the client.
//!
//! [`waves`] are the attacks, `peer` is an attacker's connection and `wire` what is
//! said on it, `honest` is the client, [`report`] the figures. Attackers connect to
//! the node under attack and to nothing else: an address to attack can be made only
//! of a node that this program started.

mod honest;
mod peer;
pub mod report;
pub mod waves;
mod wire;

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use masq::control::types::Stage;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

pub use self::honest::FetchReport;
pub use self::report::{AttackReport, WaveReport};
pub use self::waves::{Tally, Wave};

use self::honest::Honest;
use self::peer::Target;
use self::waves::Force;
use crate::error::TestnetError;
use crate::network::{RunningNode, Testnet};
use crate::plan::Role;
use crate::process::ProcessId;
use crate::survey::CAP;
use crate::usage::Usage;

/// Pause between two looks at the victim.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Rest after a wave, before the victim is looked at again: guests live for 8 s.
const REST: Duration = Duration::from_secs(10);
/// How long the honest client fetches undisturbed, before and after.
const QUIET: Duration = Duration::from_secs(8);
/// How far into the wave of stalled connections a newcomer is sent.
const NEWCOMER_AFTER: Duration = Duration::from_secs(2);
/// How long it is waited for.
const NEWCOMER_LIMIT: Duration = Duration::from_secs(60);
/// Last byte of the newcomer's address: beyond those of the testnet's nodes.
const NEWCOMER_BYTE: u8 = 240;
/// Attempts of a wave that is bounded by time.
const UNCOUNTED: u64 = 1_000_000;

/// Arguments of `attack`.
#[derive(Debug, Clone, Args)]
pub struct AttackArgs {
    /// Number of nodes of the mesh
    #[arg(long, default_value_t = 12)]
    pub nodes: usize,
    /// Seconds of each wave
    #[arg(long, default_value_t = 15)]
    pub seconds: u64,
    /// Debuts of the last wave, however long they take up to five minutes
    #[arg(long, default_value_t = 10_000)]
    pub debuts: u64,
    /// Addresses that attackers come from, 1 to 200
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=200))]
    pub sources: u8,
    /// Attackers at a time
    #[arg(long, default_value_t = 64)]
    pub at_once: u64,
    /// Connections a second, at most
    #[arg(long, default_value_t = 500)]
    pub rate: u64,
    /// Only these waves
    #[arg(long, value_enum, value_delimiter = ',')]
    pub waves: Vec<Wave>,
    /// Fail when something exceeds its bound
    #[arg(long)]
    pub check: bool,
    /// Machine-readable output
    #[arg(long)]
    pub json: bool,
    /// Folder for keys, configurations and logs [default: a fresh one, removed at the end]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Log level of the nodes: error, warn, info, debug, trace
    #[arg(long, default_value = "warn")]
    pub log: String,
    /// Run this masqd instead of the one built in
    #[arg(long, value_name = "PATH")]
    pub masqd: Option<PathBuf>,
}

/// How hard, and how long.
#[derive(Debug, Clone)]
pub struct AttackOptions {
    /// The waves, in order.
    pub waves: Vec<Wave>,
    /// Length of each but the debuts.
    pub time: Duration,
    /// How many debuts.
    pub debuts: u64,
    /// Addresses that attackers come from.
    pub sources: u8,
    /// Attackers at a time.
    pub at_once: u64,
    /// Connections a second, at most.
    pub rate: u64,
    /// Rest after each wave.
    pub rest: Duration,
    /// How long the honest client fetches undisturbed, before and after.
    pub quiet: Duration,
}

impl From<&AttackArgs> for AttackOptions {
    fn from(args: &AttackArgs) -> Self {
        let waves = if args.waves.is_empty() {
            Wave::ALL.to_vec()
        } else {
            args.waves.clone()
        };
        Self {
            waves,
            time: Duration::from_secs(args.seconds),
            debuts: args.debuts,
            sources: args.sources,
            at_once: args.at_once,
            rate: args.rate,
            rest: REST,
            quiet: QUIET,
        }
    }
}

/// Attacks a node of a mesh that is up and has a route.
///
/// # Errors
/// When the mesh cannot be asked, or has no node to attack.
pub async fn run(
    net: &mut Testnet,
    options: &AttackOptions,
    out: &mut (dyn Write + Send),
) -> Result<AttackReport, TestnetError> {
    let victim = victim(net).await?;
    let honest = Honest::start(net)
        .ok_or_else(|| TestnetError::Options("the client node has no SOCKS proxy".to_owned()))?;
    tell(out, format_args!("{}, undisturbed", victim.name));
    tokio::time::sleep(options.quiet).await;
    let mut report = AttackReport {
        nodes: net.nodes().len(),
        victim: victim.name.clone(),
        is_entry: is_entry(net, &victim.key).await,
        is_entry_after: false,
        sources: options.sources.into(),
        before: honest.take(),
        waves: Vec::new(),
        after: honest.take(),
    };
    let camp = Camp::new()?;
    for (n, &wave) in (0..).zip(&options.waves) {
        if wave == Wave::Insider {
            make_room(net, &victim).await?;
            honest.take();
        }
        tell(out, format_args!("{wave}"));
        let force = Force {
            target: victim.target,
            sources: sources(options.sources, n),
            time: match wave {
                Wave::Debuts => options.time.max(Duration::from_secs(300)),
                _ => options.time,
            },
            attempts: match wave {
                Wave::Debuts => options.debuts,
                _ => UNCOUNTED,
            },
            at_once: options.at_once,
            rate: options.rate,
        };
        let one = one_wave(net, &victim, wave, camp.send(wave, force), &honest, options).await?;
        report.waves.push(one);
        // What rested is nobody's.
        honest.take();
    }
    tokio::time::sleep(options.quiet).await;
    report.after = honest.take();
    report.is_entry_after = is_entry(net, &victim.key).await;
    Ok(report)
}

/// Where the attackers live: a thread of their own, so that the honest client and the web
/// server, which are in this process too, do not wait for them.
struct Camp(Option<Runtime>);

impl Camp {
    fn new() -> Result<Self, TestnetError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("attackers")
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| {
            TestnetError::Options(format!("cannot start the attackers' runtime: {error}"))
        })?;
        Ok(Self(Some(runtime)))
    }

    fn send(&self, wave: Wave, force: Force) -> JoinHandle<Tally> {
        let runtime = self.0.as_ref().expect("taken out at the end only");
        runtime.spawn(waves::run(wave, force))
    }
}

impl Drop for Camp {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Waiting for threads is not allowed within a runtime.
            runtime.shutdown_background();
        }
    }
}

/// Takes one of the victim's neighbours away when it has as many as it may, so that somebody
/// else can become one.
async fn make_room(net: &mut Testnet, victim: &Victim) -> Result<(), TestnetError> {
    let Some(node) = net.node(&victim.name) else {
        return Ok(());
    };
    let status = node.control().status().await?;
    let client = net.client().key();
    let spare = net.nodes().iter().find(|n| {
        n.role() == Role::Relay
            && n.key() != client
            && status.neighbours.iter().any(|v| v.node == n.key())
    });
    let spare = spare.map(|n| n.name().to_owned());
    if status.neighbours.len() >= CAP
        && let Some(spare) = spare
    {
        net.stop(&spare).await;
    }
    Ok(())
}

/// The node under attack.
struct Victim {
    name: String,
    key: String,
    process: ProcessId,
    target: Target,
    descriptor: String,
}

impl Victim {
    fn new(node: &RunningNode) -> Self {
        Self {
            name: node.name().to_owned(),
            key: node.key(),
            process: node.process(),
            target: Target::node(node),
            descriptor: node.descriptor(),
        }
    }
}

/// The node at which the client's circuits begin, so that every honest fetch passes it.
async fn victim(net: &Testnet) -> Result<Victim, TestnetError> {
    let status = net.client().control().status().await?;
    let entry = status.neighbours.iter().find(|n| n.entry.is_ours());
    let node = entry.and_then(|entry| net.nodes().iter().find(|n| n.key() == entry.node));
    node.map(Victim::new)
        .ok_or_else(|| TestnetError::Options("the client node has no entry neighbour".to_owned()))
}

async fn is_entry(net: &Testnet, key: &str) -> bool {
    let status = net.client().control().status().await;
    status.is_ok_and(|s| {
        s.neighbours
            .iter()
            .any(|n| n.entry.is_ours() && n.node == key)
    })
}

/// Addresses for the attackers of the `wave`-th wave, each in a /24 of its own, none in one of a
/// testnet. Every wave has others: what a victim holds against those before does not help it.
fn sources(number: u8, wave: u8) -> Vec<Ipv4Addr> {
    let last = wave.saturating_add(1);
    (1..=number)
        .map(|n| Ipv4Addr::new(127, 1, n, last))
        .collect()
}

async fn one_wave(
    net: &mut Testnet,
    victim: &Victim,
    wave: Wave,
    mut attackers: JoinHandle<Tally>,
    honest: &Honest,
    options: &AttackOptions,
) -> Result<WaveReport, TestnetError> {
    let own = ProcessId::own().map_err(TestnetError::file("cannot read", "/proc"))?;
    let before = Usage::of(victim.process);
    let own_before = Usage::of(own);
    let start = Instant::now();
    honest.take();
    let newcomer = async {
        if wave != Wave::Stall {
            return Ok(None);
        }
        tokio::time::sleep(NEWCOMER_AFTER.min(options.time / 4)).await;
        newcomer(net, victim).await.map(Some)
    };
    tokio::pin!(newcomer);
    let (mut memory_peak, mut files_peak) = (0, 0);
    let (mut tally, mut newcomer_s) = (None, None);
    while tally.is_none() || newcomer_s.is_none() {
        tokio::select! {
            done = &mut attackers, if tally.is_none() => {
                tally = Some((done.unwrap_or_default(), start.elapsed(), honest.take()));
            }
            took = &mut newcomer, if newcomer_s.is_none() => newcomer_s = Some(took?),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if let Some(now) = Usage::of(victim.process) {
            memory_peak = memory_peak.max(now.memory);
            files_peak = files_peak.max(now.files);
        }
    }
    let cpu = |before: Option<Usage>, after: Option<Usage>| {
        let time = |usage: Option<Usage>| usage.map_or(Duration::ZERO, |usage| usage.cpu);
        time(after).saturating_sub(time(before)).as_secs_f64()
    };
    let victim_cpu_s = cpu(before, Usage::of(victim.process));
    let attackers_cpu_s = cpu(own_before, Usage::of(own));
    tokio::time::sleep(options.rest).await;
    let (attackers, lasted, honest) = tally.expect("the loop ends with it");
    Ok(WaveReport {
        wave,
        seconds: lasted.as_secs_f64(),
        attackers,
        before,
        memory_peak,
        files_peak,
        after: Usage::of(victim.process),
        victim_cpu_s,
        attackers_cpu_s,
        honest,
        newcomer_s: newcomer_s.flatten(),
    })
}

/// Starts a node that knows only the victim, and says how long it took to find a neighbour;
/// the limit when it did not.
async fn newcomer(net: &mut Testnet, victim: &Victim) -> Result<f64, TestnetError> {
    let name = "newcomer";
    let start = Instant::now();
    net.add(name, NEWCOMER_BYTE, &victim.descriptor)?;
    loop {
        let took = start.elapsed();
        let node = net.node(name).expect("just added");
        let joined = node.control().status().await;
        if joined.is_ok_and(|s| s.stage != Stage::NotConnected) || took > NEWCOMER_LIMIT {
            net.stop(name).await;
            return Ok(took.as_secs_f64());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn tell(out: &mut dyn Write, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{text}");
}
