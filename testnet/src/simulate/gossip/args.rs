//! Command line of `masq-testnet simulate gossip`, and the same with everything
//! checked: [`Settings`]. What the simulations do is in [`super::scenario`].

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::scenario::{Attack, BandLinks, Manner, Scenario, When};
use super::units::{Latency, Rate, Share, Span};
use crate::error::TestnetError;

/// Fewest nodes: an origin, three hops, and one more so that there is something to choose.
pub const MIN_NODES: usize = 5;
/// Most nodes. A guess: what fits into the memory of a large machine.
pub const MAX_NODES: usize = 100_000;
/// Most seeds. A guess: intervals hardly shrink any more.
pub const MAX_SEEDS: u64 = 1000;
/// Shortest rest, in seconds: figures at rest are taken from its second half.
pub const MIN_REST_S: u64 = 20;

/// Arguments of `simulate gossip`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Without --kill, --churn, --partition or --attack the nodes join and rest. Each of these starts\nfrom a mesh at rest of its own.\n\nExamples:\n  masq-testnet simulate gossip --nodes 1000 --check\n  masq-testnet simulate gossip --nodes 100,1000,10000 --seeds 3 --out figures\n  masq-testnet simulate gossip --nodes 1000 --kill 30% --churn 1%/m --partition 5m"
)]
pub struct GossipArgs {
    /// How many nodes; several numbers, as in 100,1000,10000, are simulated one by one and plotted together
    #[arg(long, value_delimiter = ',', default_value = "100", value_parser = parse_nodes)]
    pub nodes: Vec<usize>,
    /// Runs of each, which differ in their randomness
    #[arg(long, default_value_t = 10, value_parser = parse_seeds)]
    pub seeds: u64,
    /// Number of the first run; the others follow
    #[arg(long, default_value_t = 1, value_name = "SEED")]
    pub first_seed: u64,
    /// Runs at a time [default: as many as this machine has cores]
    #[arg(long)]
    pub jobs: Option<usize>,
    /// Time over which the nodes join, one after the other
    #[arg(long, default_value = "10m", value_name = "TIME")]
    pub over: Span,
    /// Time after which the mesh counts as at rest
    #[arg(long, default_value = "10m", value_name = "TIME")]
    pub rest: Span,
    /// How many are exits
    #[arg(long, default_value = "33.3%", value_name = "SHARE")]
    pub exits: Share,
    /// How many cannot be dialled
    #[arg(long, default_value = "30%", value_name = "SHARE")]
    pub undialable: Share,
    /// One-way latency of links, drawn evenly from this range for each pair of nodes
    #[arg(long, default_value = "5ms-80ms", value_name = "RANGE")]
    pub latency: Latency,
    /// How many die at one instant, unnoticed [default with the option: 30%]
    #[arg(long, num_args = 0..=1, default_missing_value = "30%", value_name = "SHARE")]
    pub kill: Option<Share>,
    /// How many leave, and join, in a time [default with the option: 1%/m]
    #[arg(long, num_args = 0..=1, default_missing_value = "1%/m", value_name = "RATE")]
    pub churn: Option<Rate>,
    /// How long nodes come and go, or an attack lasts
    #[arg(long = "for", default_value = "60m", value_name = "TIME")]
    pub lasting: Span,
    /// How long two halves of the mesh cannot reach each other [default with the option: 5m]
    #[arg(long, num_args = 0..=1, default_missing_value = "5m", value_name = "TIME")]
    pub partition: Option<Span>,
    /// An attack: harvest, harvest-seeds, insiders, eclipse, aim, equivocate or flood
    #[arg(long, value_name = "NAME")]
    pub attack: Option<Attack>,
    /// With eclipse and aim: when the attackers come [default: rest]
    #[arg(long, value_enum, value_name = "MOMENT", requires = "attack")]
    pub when: Option<When>,
    /// With eclipse and aim: how many links each attacker has [default: listed]
    #[arg(long, value_enum, value_name = "KIND", requires = "attack")]
    pub links: Option<BandLinks>,
    /// Switch the limits per address off, to see what they are for
    #[arg(long)]
    pub no_limits: bool,
    /// Machine-readable output
    #[arg(long)]
    pub json: bool,
    /// Folder for report.json, report.txt and the plots
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// End with exit code 1 when a target is missed
    #[arg(long)]
    pub check: bool,
}

fn parse_nodes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (MIN_NODES..=MAX_NODES).contains(&n) => Ok(n),
        Ok(n) if n < MIN_NODES => Err(format!(
            "at least {MIN_NODES} nodes are needed: a route has three hops, and its origin is none of them"
        )),
        Ok(_) => Err(format!("at most {MAX_NODES} nodes can be simulated")),
        Err(_) => Err("give whole numbers of nodes, as in 100 or 100,1000".to_owned()),
    }
}

fn parse_seeds(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(n) if (1..=MAX_SEEDS).contains(&n) => Ok(n),
        _ => Err(format!("give a number of runs from 1 to {MAX_SEEDS}")),
    }
}

/// What a mesh is made of. Equal plans and seeds give equal runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Plan {
    /// Time over which the nodes join.
    pub over: Span,
    /// Time after which the mesh counts as at rest.
    pub rest: Span,
    /// How many are exits.
    pub exits: Share,
    /// How many cannot be dialled.
    pub undialable: Share,
    /// One-way latency of links.
    pub latency: Latency,
    /// Whether the limits per address are off.
    pub no_limits: bool,
}

/// Arguments that were checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Numbers of nodes, ascending.
    pub nodes: Vec<usize>,
    /// Seeds, ascending.
    pub seeds: Vec<u64>,
    /// What meshes are made of.
    pub plan: Plan,
    /// What happens to them; never empty.
    pub scenarios: Vec<Scenario>,
    /// Runs at a time.
    pub jobs: usize,
    /// The command that gives the same again.
    pub command: String,
}

impl GossipArgs {
    /// Checks what the options say together.
    ///
    /// # Errors
    /// [`TestnetError::Options`].
    pub fn settings(&self) -> Result<Settings, TestnetError> {
        let refuse = |why: String| Err(TestnetError::Options(why));
        if self.rest.get().as_secs() < MIN_REST_S {
            return refuse(format!(
                "--rest must be at least {MIN_REST_S}s: the figures at rest are taken from its second half"
            ));
        }
        if self.jobs == Some(0) {
            return refuse("--jobs must be at least 1".to_owned());
        }
        if self.exits.get() == 0.0 {
            return refuse("--exits 0% leaves no exit, so no node could have a route".to_owned());
        }
        if self.undialable.get() > 0.9 {
            return refuse(
                "--undialable must be at most 90%: two nodes that cannot be dialled cannot connect"
                    .to_owned(),
            );
        }
        if self.kill.is_some_and(|share| share.get() >= 1.0) {
            return refuse("--kill 100% leaves nobody to measure".to_owned());
        }
        let bands = self.attack.is_some_and(Attack::is_bands);
        if !bands && (self.when.is_some() || self.links.is_some()) {
            return refuse("--when and --links go with --attack eclipse or aim only".to_owned());
        }
        let lasts = self.churn.is_some() || self.attack.is_some();
        if lasts && self.lasting.get().as_secs() < 60 {
            return refuse("--for must be at least 1m".to_owned());
        }
        let Some(last_seed) = self.first_seed.checked_add(self.seeds - 1) else {
            return refuse("--first-seed is too large for that many --seeds".to_owned());
        };
        let mut nodes = self.nodes.clone();
        nodes.sort_unstable();
        nodes.dedup();
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Settings {
            nodes,
            seeds: (self.first_seed..=last_seed).collect(),
            plan: Plan {
                over: self.over,
                rest: self.rest,
                exits: self.exits,
                undialable: self.undialable,
                latency: self.latency,
                no_limits: self.no_limits,
            },
            scenarios: self.scenarios(),
            jobs: self.jobs.unwrap_or_else(cores),
            command: self.command(),
        })
    }

    fn scenarios(&self) -> Vec<Scenario> {
        let lasting = self.lasting;
        let asked = [
            self.kill.map(|share| Scenario::Kill { share }),
            self.churn.map(|rate| Scenario::Churn { rate, lasting }),
            self.partition
                .map(|lasting| Scenario::Partition { lasting }),
            self.attack.map(|attack| Scenario::Attack {
                attack,
                manner: attack.is_bands().then(|| self.manner()),
                lasting,
            }),
        ];
        let asked: Vec<Scenario> = asked.into_iter().flatten().collect();
        if asked.is_empty() {
            vec![Scenario::Join]
        } else {
            asked
        }
    }

    fn manner(&self) -> Manner {
        Manner {
            when: self.when.unwrap_or_default(),
            links: self.links.unwrap_or_default(),
        }
    }

    /// The command with everything that changes the figures, and nothing else.
    fn command(&self) -> String {
        let nodes: Vec<String> = self.nodes.iter().map(ToString::to_string).collect();
        let mut words = vec![
            "masq-testnet simulate gossip".to_owned(),
            format!("--nodes {}", nodes.join(",")),
            format!("--seeds {}", self.seeds),
        ];
        let mut unless = |default: &str, option: &str, value: String| {
            if value != default {
                words.push(format!("--{option} {value}"));
            }
        };
        unless("1", "first-seed", self.first_seed.to_string());
        unless("10m", "over", self.over.to_string());
        unless("10m", "rest", self.rest.to_string());
        unless("33.3%", "exits", self.exits.to_string());
        unless("30%", "undialable", self.undialable.to_string());
        unless("5ms-80ms", "latency", self.latency.to_string());
        let shown = |value: Option<String>| value.unwrap_or_default();
        unless("", "kill", shown(self.kill.map(|v| v.to_string())));
        unless("", "churn", shown(self.churn.map(|v| v.to_string())));
        unless(
            "",
            "partition",
            shown(self.partition.map(|v| v.to_string())),
        );
        unless("", "attack", shown(self.attack.map(|v| v.to_string())));
        let Manner { when, links } = self.manner();
        if when == When::Growth {
            unless("", "when", "growth".to_owned());
        }
        if links == BandLinks::Unlisted {
            unless("", "links", "unlisted".to_owned());
        }
        unless("false", "no-limits", self.no_limits.to_string());
        unless("1h", "for", self.lasting.to_string());
        words.join(" ")
    }
}
