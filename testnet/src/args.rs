//! Command line of `masq-testnet`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use alloy::primitives::Address;
use clap::{Args, Parser, Subcommand};

use crate::money::{ANVIL, ANVIL_VARIABLE, Chain};

/// A whole masq mesh on this machine.
#[derive(Debug, Parser)]
#[command(
    name = "masq-testnet",
    version,
    about = "A whole masq mesh on this machine: real masqd processes, each on a loopback address of its own",
    after_help = "Examples:\n  masq-testnet demo                  see a request cross the mesh, checked at every hop\n  masq-testnet up                    a mesh of ten nodes to play with; Ctrl-C ends it\n  masq-testnet up --detach           the same in the background; then: status, down\n  masq-testnet bench --json          first byte, throughput and memory"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring a mesh up and print lines to try
    Up(UpArgs),
    /// Show how the mesh that is up does
    Status(StatusArgs),
    /// End the mesh that is up
    Down(DownArgs),
    /// Give a wallet tokens and coin of the mesh that is up, for a node of one's own
    Fund(FundArgs),
    /// Bring a mesh up, fetch pages, show and check what every hop saw, end it
    Demo(DemoArgs),
    /// Measure a mesh beside the same server fetched directly
    Bench(BenchArgs),
    /// Simulate many nodes in this process, with the machines of production
    Simulate {
        /// What to find out.
        #[command(subcommand)]
        what: crate::simulate::Simulate,
    },
    /// Kill a third of a mesh at once and watch it heal
    Stress(crate::stress::StressArgs),
    /// Flood a node of a mesh and watch it go on
    Attack(crate::attack::AttackArgs),
    /// Let a mesh work and pay while its processes are killed, and judge the books
    Soak(crate::soak::SoakArgs),
    /// Run a chain for development and nothing else
    Chain(ChainArgs),
    /// Serve the built-in web server and nothing else
    ServeWeb(ServeWebArgs),
    /// Be one node of a mesh of containers
    #[command(hide = true)]
    Container(ContainerArgs),
    /// Exit 0 when the node in this container is well
    #[command(hide = true)]
    ContainerHealth,
    /// Be masqd
    #[command(hide = true, disable_help_flag = true)]
    Masqd {
        /// Arguments of masqd.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<std::ffi::OsString>,
    },
    /// Be masq, the command line of the daemon
    #[command(hide = true, disable_help_flag = true)]
    Masq {
        /// Arguments of masq.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<std::ffi::OsString>,
    },
}

/// The mesh itself.
#[derive(Debug, Clone, Args)]
pub struct MeshArgs {
    /// Number of nodes, 2 to 200; circuits of 3 hops need 5
    #[arg(long, default_value_t = 10)]
    pub nodes: usize,
    /// How many of them are exits [default: a third up to 3, then a quarter]
    #[arg(long)]
    pub exits: Option<usize>,
    /// How many of them only use the mesh and carry nothing [default: a tenth]
    #[arg(long)]
    pub consumers: Option<usize>,
    /// Hops of the circuits, 1 to 6, or a range such as 3-4 [default: 3]
    #[arg(long)]
    pub hops: Option<String>,
    /// Folder for keys, configurations and logs [default: a fresh one, removed at the end]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Log level of the nodes: error, warn, info, debug, trace
    #[arg(long, default_value = "info")]
    pub log: String,
    /// Run this masqd instead of the one built in
    #[arg(long, value_name = "PATH")]
    pub masqd: Option<PathBuf>,
    /// Seconds that the mesh may take to form
    #[arg(long, default_value_t = 60)]
    pub ready_within: u64,
    /// When the mesh counts as up
    #[arg(long, value_enum, default_value_t = Ready::Routes)]
    pub ready: Ready,
}

/// Where anvil is.
#[derive(Debug, Clone, Args)]
pub struct AnvilArgs {
    /// The anvil program, for --chain anvil
    #[arg(
        long,
        value_name = "PATH",
        env = ANVIL_VARIABLE,
        default_value = ANVIL,
        hide_env_values = true
    )]
    pub anvil_program: PathBuf,
}

/// What the mesh pays with.
#[derive(Debug, Clone, Args)]
pub struct MoneyArgs {
    /// The chain on which the nodes pay each other
    #[arg(long, value_enum, default_value_t = ChainKind::Dev)]
    pub chain: ChainKind,
    /// Where anvil is.
    #[command(flatten)]
    pub anvil: AnvilArgs,
}

impl From<MoneyArgs> for Chain {
    fn from(args: MoneyArgs) -> Self {
        match args.chain {
            ChainKind::Dev => Self::Dev,
            ChainKind::Anvil => Self::Anvil(args.anvil.anvil_program),
            ChainKind::None => Self::None,
        }
    }
}

/// Arguments on money of a mesh that has to have some.
#[derive(Debug, Clone, Args)]
pub struct PaidArgs {
    /// The chain on which the nodes pay each other
    #[arg(long, value_enum, default_value_t = PaidChain::Dev)]
    pub chain: PaidChain,
    /// Where anvil is.
    #[command(flatten)]
    pub anvil: AnvilArgs,
}

impl From<PaidArgs> for Chain {
    fn from(args: PaidArgs) -> Self {
        match args.chain {
            PaidChain::Dev => Self::Dev,
            PaidChain::Anvil => Self::Anvil(args.anvil.anvil_program),
        }
    }
}

/// Chains of a mesh that has to have money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PaidChain {
    /// The development chain, part of this program
    Dev,
    /// Anvil, a program of its own
    Anvil,
}

/// Chains that a mesh can pay on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ChainKind {
    /// The development chain, part of this program
    Dev,
    /// Anvil, a program of its own
    Anvil,
    /// None: nobody pays
    None,
}

/// How much its nodes trust each other.
#[derive(Debug, Clone, Args)]
pub struct CreditArgs {
    /// What a hop lets a newcomer use before it pays, such as 16MB (the daemon's own default). Debts
    /// are paid as rarely as the daemon's defaults have it then, so prepaying is what opens an
    /// account again [default: hundreds of GB, and debts are paid within seconds]
    #[arg(long, value_name = "AMOUNT", value_parser = bytes)]
    pub credit: Option<u64>,
    /// What a node may prepay by itself on one day, in MASQ; 0: nothing [default: the daemon's]
    #[arg(long, value_name = "MASQ", value_parser = masq::control::types::Amount::of_tokens)]
    pub prepay_budget: Option<masq::control::types::Amount>,
}

/// Reads an amount of data: `500kB`, `16MB`, `1.5GB`.
fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 3] = [("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000)];
    let wrong = || format!("\"{text}\" is not an amount of data such as 500kB, 16MB or 1.5GB");
    let parts = UNITS
        .iter()
        .find_map(|(unit, of)| Some((text.strip_suffix(unit)?, *of)));
    let (number, unit) = parts.ok_or_else(wrong)?;
    let (whole, part) = number
        .trim()
        .split_once('.')
        .unwrap_or((number.trim(), "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    // Nine digits behind the point are those of a byte in a GB.
    if !digits(whole) || !digits(part) || part.is_empty() || part.len() > 9 {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let behind: u64 = format!("{part:0<9}").parse().map_err(|_| wrong())?;
    let behind = u128::from(behind) * u128::from(unit) / 1_000_000_000;
    let all = u128::from(whole) * u128::from(unit) + behind;
    u64::try_from(all).map_err(|_| wrong())
}

/// When a mesh counts as up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Ready {
    /// Every node has a neighbour, and the first one a route
    Routes,
    /// Every node has a neighbour
    Neighbours,
    /// Every process answers
    Processes,
}

/// Where a proxy listens, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyAddr(pub Option<SocketAddr>);

impl FromStr for ProxyAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("off") {
            return Ok(Self(None));
        }
        let addr = text.parse().map(Some).map(Self);
        addr.map_err(|_| "give an address with a port, such as 127.0.0.1:1080, or off".to_owned())
    }
}

/// The address of a wallet, held against its checksum where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalletArg(Address);

impl From<WalletArg> for Address {
    fn from(arg: WalletArg) -> Self {
        arg.0
    }
}

impl FromStr for WalletArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let written = masq::wallet::parse_address(text).map_err(|error| error.to_string())?;
        Ok(Self(written.address))
    }
}

/// Arguments of `up`.
#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    /// The mesh.
    #[command(flatten)]
    pub mesh: MeshArgs,
    /// The money.
    #[command(flatten)]
    pub money: MoneyArgs,
    /// The trust.
    #[command(flatten)]
    pub credit: CreditArgs,
    /// SOCKS5 proxy of the first node; off for none
    #[arg(long, default_value = "127.0.0.1:1080", value_name = "ADDR:PORT")]
    pub socks: ProxyAddr,
    /// HTTP proxy of the first node; off for none
    #[arg(long, default_value = "127.0.0.1:8118", value_name = "ADDR:PORT")]
    pub http: ProxyAddr,
    /// Leave the mesh running in the background; end it with `down`
    #[arg(long)]
    pub detach: bool,
    /// Be the background process itself.
    #[arg(long, hide = true)]
    pub supervised: bool,
}

/// Arguments of `status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Folder of the mesh [default: the one that is up]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Machine-readable output
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `down`.
#[derive(Debug, Clone, Args)]
pub struct DownArgs {
    /// Folder of the mesh [default: the one that is up]
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

/// Arguments of `fund`.
#[derive(Debug, Clone, Args)]
pub struct FundArgs {
    /// The wallet, as `masq wallet show` has it: 0x and 40 digits
    pub wallet: WalletArg,
    /// Folder of the mesh [default: the one that is up]
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

/// Arguments of `demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// The mesh.
    #[command(flatten)]
    pub mesh: MeshArgs,
    /// The money.
    #[command(flatten)]
    pub money: MoneyArgs,
}

/// Arguments of `bench`.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    /// Something else than the mesh itself.
    #[command(subcommand)]
    pub what: Option<BenchWhat>,
    /// The mesh.
    #[command(flatten)]
    pub mesh: MeshArgs,
    /// Small fetches for the first byte
    #[arg(long, default_value_t = 200)]
    pub small: usize,
    /// Size of the large flow in MB
    #[arg(long, default_value_t = 500)]
    pub large_mb: u64,
    /// Flows between the looks at memory
    #[arg(long, default_value_t = 10_000)]
    pub flows: usize,
    /// URL of a small object on another server; needs --large-url
    #[arg(long, requires = "large_url")]
    pub small_url: Option<String>,
    /// URL of a large object on another server; needs --small-url
    #[arg(long, requires = "small_url")]
    pub large_url: Option<String>,
    /// Machine-readable output
    #[arg(long)]
    pub json: bool,
}

/// What else there is to be measured.
#[derive(Debug, Clone, Subcommand)]
pub enum BenchWhat {
    /// What billing costs, and what a gigabyte costs
    Money(BenchMoneyArgs),
}

/// Arguments of `bench money`.
#[derive(Debug, Clone, Args)]
pub struct BenchMoneyArgs {
    /// Number of nodes of each of the two meshes
    #[arg(long, default_value_t = 6)]
    pub nodes: usize,
    /// Pairs of measurements, with billing and without
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(2..=1_000))]
    pub pairs: u16,
    /// MB that go each way in a measurement
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub mb: u64,
    /// Fail when a figure is out of its bounds
    #[arg(long)]
    pub check: bool,
    /// Machine-readable output
    #[arg(long)]
    pub json: bool,
    /// Log level of the nodes: error, warn, info, debug, trace
    #[arg(long, default_value = "warn")]
    pub log: String,
    /// Run this masqd instead of the one built in
    #[arg(long, value_name = "PATH")]
    pub masqd: Option<PathBuf>,
}

/// Arguments of `chain`.
#[derive(Debug, Clone, Args)]
pub struct ChainArgs {
    /// Port on 127.0.0.1; 0 for a free one
    #[arg(long, default_value_t = 8545)]
    pub port: u16,
    /// Seconds between blocks; 0 mines only when told to
    #[arg(long, default_value = "1", value_name = "SECONDS", value_parser = block_time)]
    pub block_time: Duration,
    /// Blocks that are not final yet, up to 10,000
    #[arg(
        long,
        default_value_t = 8,
        value_name = "BLOCKS",
        value_parser = clap::value_parser!(u64).range(..=10_000)
    )]
    pub finality: u64,
    /// Run anvil instead, with the same contracts
    #[arg(long, conflicts_with = "finality")]
    pub anvil: bool,
    /// The anvil program
    #[arg(
        long,
        value_name = "PATH",
        env = ANVIL_VARIABLE,
        default_value = ANVIL,
        hide_env_values = true
    )]
    pub anvil_program: PathBuf,
    /// Machine-readable output: one line, once the chain is ready
    #[arg(long)]
    pub json: bool,
}

/// Longest time between blocks: an hour, more than any chain has.
const MAX_BLOCK_TIME: f64 = 3_600.0;

fn block_time(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=MAX_BLOCK_TIME).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err(format!(
            "not a number of seconds from 0 to {MAX_BLOCK_TIME}"
        )),
    }
}

/// Arguments of `serve-web`.
#[derive(Debug, Clone, Args)]
pub struct ServeWebArgs {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8000", value_name = "ADDR:PORT")]
    pub listen: SocketAddr,
}

/// Arguments of `container`.
#[derive(Debug, Clone, Args)]
pub struct ContainerArgs {
    /// The node's role.
    #[arg(value_enum)]
    pub role: ContainerRole,
    /// Host name of the seed.
    #[arg(long, default_value = "seed")]
    pub seed: String,
    /// Data folder.
    #[arg(long, default_value = "/data")]
    pub data_dir: PathBuf,
    /// Hops of the circuits.
    #[arg(long)]
    pub hops: Option<String>,
    /// Log level.
    #[arg(long, default_value = "info")]
    pub log: String,
}

/// Roles of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ContainerRole {
    /// The node all others join by.
    Seed,
    /// Carries others' circuits.
    Relay,
    /// Carries others' circuits and talks to servers.
    Exit,
    /// Has the proxies.
    Consumer,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_proxy_can_be_off_and_a_bad_wallet_gets_a_sentence() {
        assert_eq!("off".parse(), Ok(ProxyAddr(None)));
        assert!("127.0.0.1:1".parse::<ProxyAddr>().unwrap().0.is_some());
        assert!("1080".parse::<ProxyAddr>().unwrap_err().contains("or off"));
        let said = "0x12".parse::<WalletArg>().unwrap_err();
        assert!(said.contains("has 40 digits"), "{said}");
        for args in [
            &["masq-testnet", "soak", "--chain", "none"][..],
            &["masq-testnet", "up", "--http"][..],
        ] {
            assert!(Cli::try_parse_from(args).is_err());
        }
    }

    #[test]
    fn the_time_between_blocks_is_in_seconds() {
        assert_eq!(block_time("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(block_time("0"), Ok(Duration::ZERO));
        for bad in ["-1", "", "NaN", "inf", "3601", "1s"] {
            assert!(block_time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn credit_is_an_amount_of_data() {
        for (text, wanted) in [
            ("500kB", 500_000),
            ("16MB", 16_000_000),
            ("16 MB", 16_000_000),
            ("1.5GB", 1_500_000_000),
            ("0.000000001GB", 1),
        ] {
            assert_eq!(bytes(text), Ok(wanted), "{text}");
        }
        for bad in [
            "16",
            "",
            "MB",
            "-1MB",
            "1e3MB",
            "1.MB",
            "1.0000000001GB",
            "16mb",
            "99999999999999999999GB",
            "99999999999GB",
            "1.2.3MB",
        ] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        let cli = Cli::parse_from([
            "masq-testnet",
            "up",
            "--credit",
            "2MB",
            "--prepay-budget=0.5",
        ]);
        let Command::Up(up) = cli.command else {
            panic!("{cli:?}")
        };
        assert_eq!(up.credit.credit, Some(2_000_000));
        assert_eq!(up.credit.prepay_budget.unwrap().0, masq::ledger::TOKEN / 2);
    }

    #[test]
    fn masqd_gets_its_arguments_untouched() {
        let cli = Cli::parse_from(["masq-testnet", "masqd", "--config", "x", "--help"]);
        let Command::Masqd { args } = cli.command else {
            panic!("{cli:?}")
        };
        assert_eq!(args, ["--config", "x", "--help"]);
    }
}
