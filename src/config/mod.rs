//! Configuration: arguments, environment and a TOML file become one checked
//! [`Config`].
//!
//! Later sources win: defaults, then the file, then `MASQ_*` variables, then
//! arguments. Every setting is one row of [`SETTINGS`]; every mistake is found
//! in one go and reported with the place where it was made.
//!
//! Nothing here opens a socket or writes a file: `crate::datadir` prepares the
//! folder, the node binds the addresses.

mod check;
mod command;
mod document;
mod error;
mod foreign;
mod load;
mod modes;
mod money;
mod show;
mod sources;
mod table;
mod values;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

pub use command::{Action, command};
pub use document::document;
pub use error::{ConfigError, Origin, Problem, Problems};
pub use foreign::{Chain, Descriptor};
pub use load::{Loaded, load};
pub use money::RpcUrl;
pub use sources::{Environment, default_data_dir};
pub use table::{Default, Heading, SETTINGS, Setting, Shape, setting};
pub use values::{
    Advertise, BadValue, Country, Hops, IpLimits, LogFormat, MappingProtocol, Mode, Plaintext,
    Wallet,
};

use alloy_primitives::Address;
use masq_gossip::RatePack;

use crate::{
    ledger::{Limits, PrepayBudget, Thresholds, Wei},
    telemetry::LogFilter,
};

/// Everything that can be configured, checked. The meaning, default and bounds
/// of each field are those of the setting of the same name in [`SETTINGS`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The chain whose network to join.
    pub chain: Chain,
    /// Where the node keeps its key and what it remembers; absolute.
    pub data_dir: PathBuf,
    /// What the node does for itself and for others.
    pub mode: Mode,
    /// Descriptors of nodes to join by, all of the same chain.
    pub neighbours: Vec<Descriptor>,
    /// Where to accept other nodes. Empty in the modes that accept none.
    pub listen: Vec<SocketAddr>,
    /// Which address links to other nodes leave from; `None` is the first particular one of
    /// `listen`, else the system's choice.
    pub source: Option<IpAddr>,
    /// Public host for the descriptor.
    pub advertise: Option<Advertise>,
    /// How a router is asked to let other nodes through.
    pub mapping_protocol: MappingProtocol,
    /// Whether neighbours who want to know whether they can be dialled are dialled.
    pub check_reachability_of_others: bool,
    /// Claimed country.
    pub country: Option<Country>,
    /// Wallet that is paid.
    pub earning_wallet: Option<Wallet>,
    /// Neighbours per address, /24 and /48.
    pub ip_limits: IpLimits,
    /// SOCKS5 listener; `None` is off. Always off in `serve-only`.
    pub socks: Option<SocketAddr>,
    /// HTTP proxy listener; `None` is off. Always off in `serve-only`.
    pub http: Option<SocketAddr>,
    /// Whether the proxies may listen beyond loopback.
    pub allow_remote_clients: bool,
    /// What to do about plaintext destinations.
    pub plaintext: Plaintext,
    /// Most client connections per proxy.
    pub max_clients: usize,
    /// Hops of own circuits.
    pub hops: Hops,
    /// Circuits kept ready.
    pub warm_circuits: u8,
    /// Whether this node is an exit.
    pub exit: bool,
    /// The operator's policy rules, each one checked; the built-in ones follow
    /// after them.
    pub exit_policy: Vec<String>,
    /// Whether the exit may reach private addresses.
    pub allow_private: bool,
    /// DNS servers of the exit; empty means the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// Most flows of an exit.
    pub max_exit_flows: usize,
    /// Control API listener.
    pub control: SocketAddr,
    /// Whether the control API may listen beyond loopback.
    pub allow_remote_control: bool,
    /// How long a stop waits for flows.
    pub drain: Duration,
    /// Worker threads of the runtime.
    pub threads: u8,
    /// What is logged.
    pub log: LogFilter,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Whether the node remembers what it sees as a hop. True on chain `dev`
    /// only.
    pub debug_trace: bool,
    /// File with the password of the data folder.
    pub password_file: Option<PathBuf>,
    /// Key file of the data folder; `None` is the one within it. Unused with
    /// `password_file`.
    pub key_file: Option<PathBuf>,
    /// Whether the node pays and wants to be paid; see [`Self::pays`] and
    /// [`Self::earns`].
    pub payments: bool,
    /// RPC endpoints of the chain, in order of preference.
    pub rpc: Vec<RpcUrl>,
    /// Whether they are asked through the node's own HTTP proxy.
    pub rpc_via_mesh: bool,
    /// The token on chain `dev`; `None` elsewhere.
    pub token: Option<Address>,
    /// Contract that pays many at once.
    pub disperse: Option<Address>,
    /// What this node asks for, in wei.
    pub rates: RatePack,
    /// When debts are paid and bans begin.
    pub thresholds: Thresholds,
    /// The most that hops may ask for, in wei.
    pub price_ceiling: Option<RatePack>,
    /// Credit for payers, in wei; see [`Self::limits`].
    pub credit: Option<Limits>,
    /// Most that is prepaid by itself a day, in wei of the token; see [`Self::prepay_budget`].
    pub prepay_budget: Option<Wei>,
    /// Most for a unit of gas, in wei; `None` is the chain's.
    pub gas_cap: Option<Wei>,
    /// What one token is worth, in wei of the coin; `None` is the chain's, 0
    /// turns the rule about fees off.
    pub token_price: Option<Wei>,
    /// Most that is paid a day, in wei of the token.
    pub day_cap: Option<Wei>,
    /// How often debts are held against the thresholds.
    pub pay_every: Duration,
    /// Whether a stop pays what is due.
    pub settle_on_stop: bool,
    /// Whether payments are only reported.
    pub dry_run: bool,
}

impl Config {
    /// The defaults, for a node with this data folder.
    ///
    /// For programs that embed a node, and for tests: change the fields that
    /// should differ. Payments are on, so either `rpc` is needed, or `payments`
    /// to be switched off.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let mut config = Self::blank();
        load::apply_defaults(&mut config);
        config.data_dir = data_dir.into();
        config
    }

    /// Whether this node takes part in payments at all: they are on, and there
    /// is a mesh.
    #[must_use]
    pub fn settles(&self) -> bool {
        self.payments && self.mode.joins()
    }

    /// Whether this node pays others for its own circuits, and so needs a
    /// consuming wallet.
    #[must_use]
    pub fn pays(&self) -> bool {
        self.settles() && self.mode.originates()
    }

    /// Whether this node asks others to pay for what it carries.
    #[must_use]
    pub fn earns(&self) -> bool {
        self.settles() && self.mode.routes()
    }

    /// The credit that payers get: the configured one, or what follows from
    /// the rates.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.credit.unwrap_or_else(|| {
            Limits::from_rates(&self.rates).expect("a GB at 2^64 wei a byte is below 2^128")
        })
    }

    /// What may be prepaid without asking: the configured budget of a day, or the default one.
    #[must_use]
    pub fn prepay_budget(&self) -> PrepayBudget {
        let of_user = self.prepay_budget.map(PrepayBudget::of_a_day);
        of_user.unwrap_or_else(PrepayBudget::usual)
    }

    /// What the table of settings then fills in: no field keeps these values.
    fn blank() -> Self {
        Self {
            chain: Chain::Dev,
            data_dir: PathBuf::new(),
            mode: Mode::ZeroHop,
            neighbours: Vec::new(),
            listen: Vec::new(),
            source: None,
            advertise: None,
            mapping_protocol: MappingProtocol::Off,
            check_reachability_of_others: false,
            country: None,
            earning_wallet: None,
            ip_limits: IpLimits {
                per_ip: 0,
                per_24: 0,
                per_48: 0,
            },
            socks: None,
            http: None,
            allow_remote_clients: false,
            plaintext: Plaintext::Refuse,
            max_clients: 0,
            hops: Hops::new(Hops::FEWEST, Hops::FEWEST).expect("one hop is within the bounds"),
            warm_circuits: 0,
            exit: false,
            exit_policy: Vec::new(),
            allow_private: false,
            dns_servers: Vec::new(),
            max_exit_flows: 0,
            control: SocketAddr::from(([127, 0, 0, 1], 0)),
            allow_remote_control: false,
            drain: Duration::ZERO,
            threads: 1,
            log: LogFilter::default(),
            log_format: LogFormat::Text,
            debug_trace: false,
            password_file: None,
            key_file: None,
            payments: false,
            rpc: Vec::new(),
            rpc_via_mesh: false,
            token: None,
            disperse: None,
            rates: RatePack::default(),
            thresholds: Thresholds::default(),
            price_ceiling: None,
            credit: None,
            prepay_budget: None,
            gas_cap: None,
            token_price: None,
            day_cap: None,
            pay_every: Duration::ZERO,
            settle_on_stop: false,
            dry_run: false,
        }
    }
}

#[cfg(test)]
mod tests;
