//! What a testnet will look like, worked out before anything is started:
//! which nodes, in which roles, on which addresses, with which configuration.
//! Pure apart from making folders and files in [`Plan::write`].

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use masq::routing::HopRange;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::error::TestnetError;
use crate::keys::{CHAIN, NodeIdentity};
use crate::money::{Chain, NodeWallets};

/// Most nodes of one testnet: they share the last byte of an address.
pub const MAX_NODES: usize = 200;
/// Port on which testnet nodes accept each other, each on an address of its
/// own.
pub const NODE_PORT: u16 = 4711;
/// Port on which they do so when there is somebody between them.
pub const INNER_PORT: u16 = 4712;
/// Port of the SOCKS5 proxies where every node has one, each on an address of its own.
pub const SOCKS_PORT: u16 = 1080;
/// How long a testnet node waits for open flows when it stops; short, because
/// nobody's work depends on them.
const DRAIN_SECONDS: i64 = 2;
/// Neighbours allowed from one /24. All nodes of a testnet share one, so the
/// rule that keeps neighbours apart must not bind here; 5 is the most
/// neighbours a node ever has.
const NEIGHBOURS_PER_24: i64 = 5;
/// Hops of a circuit when nothing else is said, from the specification.
const DEFAULT_HOPS: usize = 3;

/// Fewest nodes with which a circuit of so many hops comes about reliably. The
/// origin and the hops are different nodes, and one more has to be there
/// because links by which nodes enter the mesh are in nobody's record, so
/// routes cannot use them. One hop is the entry neighbour itself. Measured:
/// with 4 nodes, one start in four has no route of 2 or 3 hops, because the
/// only exit is the entry neighbour itself or hidden behind such links.
fn nodes_for(hops: usize) -> usize {
    match hops {
        0 | 1 => 2,
        2 | 3 => 5,
        more => more.saturating_add(2),
    }
}

/// What a node does in the testnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Role {
    /// The node whose proxies are given to the user. Routes for others too.
    Client,
    /// The node whose descriptor all others are given.
    Seed,
    /// Carries others' circuits.
    Relay,
    /// Carries others' circuits and talks to servers.
    Exit,
    /// Uses the mesh and carries nothing for others.
    Consumer,
}

impl Role {
    /// The word used in names and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Seed => "seed",
            Self::Relay => "relay",
            Self::Exit => "exit",
            Self::Consumer => "consumer",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which program a node runs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Program {
    /// `masq-testnet` itself, started under the name `masqd`.
    Multicall(PathBuf),
    /// A `masqd` of one's own.
    Masqd(PathBuf),
}

/// When a testnet counts as up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WaitFor {
    /// Every node has a neighbour and the client's node a route, for some
    /// rounds of questions in a row: a young mesh still rewires.
    #[default]
    Routes,
    /// Every node has a neighbour; for meshes without exits.
    Neighbours,
    /// The processes answer.
    Processes,
}

/// How a testnet is to be.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Number of nodes, 2 to [`MAX_NODES`]. Default 10.
    pub nodes: usize,
    /// How many of them are exits. Default: a third up to 3, then a quarter.
    pub exits: Option<usize>,
    /// Makes every node that carries for others an exit, the seed too. Circuits
    /// of one hop need it: their exit is the origin's entry neighbour, whoever
    /// that is. Default: only when [`Options::hops`] allows one hop.
    pub all_exits: Option<bool>,
    /// How many of them only consume. Default: a tenth, rounded down.
    pub consumers: Option<usize>,
    /// Hops of the nodes' circuits, `1` to `6` or a range such as `3-4`;
    /// the daemon's default when absent.
    pub hops: Option<String>,
    /// SOCKS5 address of the client node; port 0 takes a free one; nothing for no proxy.
    pub socks: Option<SocketAddr>,
    /// HTTP proxy address of the client node; port 0 takes a free one; nothing for no proxy.
    pub http: Option<SocketAddr>,
    /// Folder for keys, configurations and logs; a fresh one in the temporary
    /// folder when absent. A fresh one is removed when the testnet ends well.
    pub dir: Option<PathBuf>,
    /// The program of the nodes.
    pub program: Program,
    /// Rules of the exits' policy. Default: everything is allowed.
    pub exit_policy: Vec<String>,
    /// Puts somebody between the nodes who can part them ([`crate::between`]): they
    /// listen on [`INNER_PORT`] and advertise [`NODE_PORT`]. Default: no.
    pub between: bool,
    /// The chain that the nodes pay on. Default: none.
    pub chain: Chain,
    /// Pays debts as rarely as the daemon's defaults have it, and not within seconds. Default: no.
    pub pay_as_usual: bool,
    /// Gives newcomers the price of so many bytes on trust, and not plenty. Debts are paid as rarely
    /// as the daemon's defaults have it then: what opens an account again is prepaying, as in
    /// production. Default: plenty.
    pub credit: Option<u64>,
    /// What a node may prepay by itself on one day, in wei of the token. Default: the daemon's.
    pub prepay_budget: Option<masq::ledger::Wei>,
    /// Gives every node a SOCKS5 proxy on [`SOCKS_PORT`] of its own address, and none an HTTP
    /// proxy. Default: only the client has proxies.
    pub all_socks: bool,
    /// More settings for the client node, over those of the plan.
    pub client_settings: Table,
    /// Log level of the nodes. Default `info`.
    pub log_level: String,
    /// When the testnet counts as up.
    pub wait_for: WaitFor,
    /// How long coming up may take. Default 60 s.
    pub ready_within: Duration,
}

impl Options {
    /// The defaults, for nodes that run `program`, with free proxy ports.
    #[must_use]
    pub fn new(program: Program) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            nodes: 10,
            exits: None,
            all_exits: None,
            consumers: None,
            hops: None,
            socks: Some(any),
            http: Some(any),
            dir: None,
            program,
            exit_policy: vec!["accept *:*".to_owned()],
            between: false,
            chain: Chain::None,
            pay_as_usual: false,
            credit: None,
            prepay_budget: None,
            all_socks: false,
            client_settings: Table::new(),
            log_level: "info".to_owned(),
            wait_for: WaitFor::default(),
            ready_within: Duration::from_secs(60),
        }
    }

    fn all_exits(&self) -> bool {
        let one_hop = self
            .hops
            .as_deref()
            .is_some_and(|hops| hops.trim().starts_with('1'));
        self.all_exits.unwrap_or(one_hop)
    }

    /// Fewest hops that a circuit may have; the daemon judges the text itself.
    fn fewest_hops(&self) -> usize {
        let hops = self.hops.as_deref().unwrap_or_default();
        let low = hops.split('-').next().unwrap_or_default().trim();
        low.parse().unwrap_or(DEFAULT_HOPS)
    }

    /// Refuses what can never have the route that is to be waited for.
    fn check_routes(&self) -> Result<(), TestnetError> {
        if let Some(hops) = &self.hops
            && let Err(error) = hops.parse::<HopRange>()
        {
            return Err(TestnetError::Options(format!("--hops {hops}: {error}")));
        }
        if self.wait_for != WaitFor::Routes {
            return Ok(());
        }
        if self.exit_count() == 0 && !self.all_exits() {
            return Err(TestnetError::Options(
                "without an exit there is never a route; ask for one with --exits 1, or do not wait for routes with --ready neighbours".to_owned(),
            ));
        }
        let hops = self.fewest_hops();
        let least = nodes_for(hops);
        if (2..least).contains(&self.nodes) {
            let try_hops: Vec<_> = (1..hops)
                .filter(|fewer| nodes_for(*fewer) <= self.nodes)
                .map(|fewer| fewer.to_string())
                .collect();
            return Err(TestnetError::Options(format!(
                "{hops} hops need at least {least} nodes; try --nodes {least} or --hops {}",
                try_hops.join(" or ")
            )));
        }
        Ok(())
    }

    fn exit_count(&self) -> usize {
        if self.all_exits() {
            // All but the client, the seed (an exit beside its role) and those
            // that carry nothing.
            return self.nodes.saturating_sub(2 + self.consumer_count());
        }
        // A circuit of three hops reaches the exits within two links of its
        // entry neighbour, about half of a mesh of 36: with three exits there,
        // one node in seven has none in reach; with nine, one in 300.
        self.exits
            .unwrap_or((self.nodes / 3).clamp(1, 3).max(self.nodes / 4))
    }

    fn consumer_count(&self) -> usize {
        self.consumers.unwrap_or(self.nodes / 10)
    }
}

/// One node to be.
#[derive(Debug, Clone)]
pub struct NodePlan {
    /// Name such as `n03-relay`; also the name of its folder.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Its loopback address.
    pub ip: Ipv4Addr,
    /// Its key.
    pub identity: NodeIdentity,
    /// Its folder.
    pub home: PathBuf,
    /// Its configuration.
    pub settings: Table,
    /// Its wallets, where there is money.
    pub wallets: Option<NodeWallets>,
}

impl NodePlan {
    /// A relay beside those of a plan, that joins by the node of a descriptor.
    pub(crate) fn extra(
        options: &Options,
        name: &str,
        ip: Ipv4Addr,
        dir: &Path,
        join: &str,
    ) -> Self {
        let mut node = Self {
            name: name.to_owned(),
            role: Role::Relay,
            ip,
            identity: NodeIdentity::random(),
            home: dir.join(name),
            settings: Table::new(),
            wallets: None,
        };
        node.settings = settings(options, &node, join);
        node
    }

    /// Makes its folders, key and configuration file.
    ///
    /// # Errors
    /// When a folder or file cannot be made.
    pub fn write(&self) -> Result<(), TestnetError> {
        write_home(
            &self.data_dir(),
            &self.config(),
            &self.settings,
            &self.identity,
        )
    }

    /// The daemon's data folder.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.home.join("data")
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.home.join("masqd.toml")
    }

    /// The file that takes the daemon's output.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.home.join("masqd.log")
    }
}

/// A whole testnet to be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The nodes; the first is the client's, the second the seed.
    pub nodes: Vec<NodePlan>,
}

impl Plan {
    /// Works the testnet out: `prefix` are the first three bytes of the nodes'
    /// addresses, `dir` the folder below which everything lives.
    ///
    /// # Errors
    /// When the numbers do not fit together.
    pub fn new(options: &Options, prefix: [u8; 3], dir: &Path) -> Result<Self, TestnetError> {
        let roles = roles(options)?;
        let identities: Vec<_> = roles.iter().map(|_| NodeIdentity::random()).collect();
        let seed_at = roles
            .iter()
            .position(|r| *r == Role::Seed)
            .expect("every plan has a seed");
        let ip = |index: usize| {
            let last = u8::try_from(index + 1).expect("at most MAX_NODES");
            Ipv4Addr::new(prefix[0], prefix[1], prefix[2], last)
        };
        let seed = identities[seed_at].descriptor(ip(seed_at), NODE_PORT);
        let nodes = roles
            .iter()
            .zip(identities)
            .enumerate()
            .map(|(index, (&role, identity))| {
                let name = format!("n{:02}-{role}", index + 1);
                let home = dir.join(&name);
                let mut node = NodePlan {
                    name,
                    role,
                    ip: ip(index),
                    identity,
                    home,
                    settings: Table::new(),
                    wallets: None,
                };
                node.settings = settings(options, &node, &seed);
                node
            })
            .collect();
        Ok(Self { nodes })
    }

    /// Makes the nodes' folders, keys and configuration files.
    ///
    /// # Errors
    /// When a folder or file cannot be made.
    pub fn write(&self) -> Result<(), TestnetError> {
        self.nodes.iter().try_for_each(NodePlan::write)
    }
}

/// Makes one node's data folder, key file and configuration file.
///
/// # Errors
/// When a folder or file cannot be made.
pub(crate) fn write_home(
    data_dir: &Path,
    config: &Path,
    settings: &Table,
    identity: &NodeIdentity,
) -> Result<(), TestnetError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(TestnetError::file("cannot make the folder", data_dir))?;
    let key = data_dir.join("node.key");
    // A container that is started again finds its key already there.
    let _ = fs::remove_file(&key);
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&key)
        .and_then(|mut file| file.write_all(identity.seed()))
        .map_err(TestnetError::file("cannot write", &key))?;
    let text = toml::to_string(settings).expect("a table of plain values");
    fs::write(config, text).map_err(TestnetError::file("cannot write", config))
}

fn roles(options: &Options) -> Result<Vec<Role>, TestnetError> {
    let Options { nodes, .. } = *options;
    let (exits, consumers) = (options.exit_count(), options.consumer_count());
    if !(2..=MAX_NODES).contains(&nodes) {
        return Err(TestnetError::Options(format!(
            "a testnet has 2 to {MAX_NODES} nodes, not {nodes}"
        )));
    }
    options.check_routes()?;
    // The client's node and the seed are always there.
    let free = nodes - 2;
    if exits + consumers > free {
        return Err(TestnetError::Options(format!(
            "{nodes} nodes are one client, one seed and {free} others, too few for {exits} exits and {consumers} consumers; ask for more with --nodes or fewer with --exits"
        )));
    }
    let mut roles = vec![Role::Client, Role::Seed];
    roles.extend(std::iter::repeat_n(Role::Relay, free - exits - consumers));
    roles.extend(std::iter::repeat_n(Role::Exit, exits));
    roles.extend(std::iter::repeat_n(Role::Consumer, consumers));
    Ok(roles)
}

fn or_off(addr: Option<SocketAddr>) -> String {
    addr.map_or_else(|| "off".to_owned(), |addr| addr.to_string())
}

fn settings(options: &Options, node: &NodePlan, seed: &str) -> Table {
    let mut all = common_settings(&node.data_dir(), &options.log_level);
    let mut set = |key: &str, value: Value| {
        all.insert(key.to_owned(), value);
    };
    let port = if options.between {
        INNER_PORT
    } else {
        NODE_PORT
    };
    let listen = SocketAddr::from((node.ip, port));
    set("control", format!("{}:0", node.ip).into());
    if node.role != Role::Seed {
        set("neighbours", Value::Array(vec![seed.into()]));
    }
    if node.role == Role::Consumer {
        // It accepts nobody, so it has nowhere to listen; links leave from its address all the same.
        set("mode", "consume-only".into());
        set("source", node.ip.to_string().into());
    } else {
        set("mode", "standard".into());
        set("listen", Value::Array(vec![listen.to_string().into()]));
        set("advertise", format!("{}:{NODE_PORT}", node.ip).into());
    }
    if node.role == Role::Exit || (node.role == Role::Seed && options.all_exits()) {
        set("exit", true.into());
        set("allow_private", true.into());
        let rules = options
            .exit_policy
            .iter()
            .map(|r| r.as_str().into())
            .collect();
        set("exit_policy", Value::Array(rules));
    }
    if let Some(hops) = &options.hops {
        set("hops", hops.as_str().into());
    }
    let client = node.role == Role::Client;
    let (socks, http) = match (client, options.all_socks) {
        (true, false) => (or_off(options.socks), or_off(options.http)),
        (_, true) => (format!("{}:{SOCKS_PORT}", node.ip), "off".to_owned()),
        (false, false) => ("off".to_owned(), "off".to_owned()),
    };
    set("socks", socks.into());
    set("http", http.into());
    if client && options.chain != Chain::None {
        // What of its circuits broke, see `DownNode::broken_circuits`.
        let log = format!("{},masq_cores::origin=debug", options.log_level);
        all.insert("log".to_owned(), log.into());
    }
    if client {
        all.extend(options.client_settings.clone());
    }
    all
}

/// Settings that every node of a testnet has, in processes and in containers.
pub(crate) fn common_settings(data_dir: &Path, log_level: &str) -> Table {
    let mut all = Table::new();
    let mut set = |key: &str, value: Value| {
        all.insert(key.to_owned(), value);
    };
    set("chain", CHAIN.into());
    set("data_dir", data_dir.display().to_string().into());
    set("debug_trace", true.into());
    set("log", log_level.into());
    set("drain_seconds", DRAIN_SECONDS.into());
    set("per_24", NEIGHBOURS_PER_24.into());
    // Nobody pays in a testnet without a chain.
    set("payments", false.into());
    all
}

/// True when every planned address can be bound now.
pub(crate) fn addresses_free(prefix: [u8; 3], nodes: usize) -> std::io::Result<()> {
    for index in 0..nodes.min(MAX_NODES) {
        let last = u8::try_from(index + 1).expect("at most MAX_NODES");
        let ip = IpAddr::from([prefix[0], prefix[1], prefix[2], last]);
        std::net::TcpListener::bind((ip, NODE_PORT))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(nodes: usize) -> Options {
        Options {
            nodes,
            ..Options::new(Program::Masqd("masqd".into()))
        }
    }

    fn count(plan: &Plan, role: Role) -> usize {
        plan.nodes.iter().filter(|n| n.role == role).count()
    }

    #[test]
    fn the_default_ten_are_mixed() {
        let plan = Plan::new(&options(10), [127, 9, 9], Path::new("/x")).unwrap();
        assert_eq!(plan.nodes[0].role, Role::Client);
        assert_eq!(plan.nodes[1].role, Role::Seed);
        assert_eq!(count(&plan, Role::Exit), 3);
        assert_eq!(count(&plan, Role::Consumer), 1);
        assert_eq!(count(&plan, Role::Relay), 4);
        let ips: std::collections::BTreeSet<_> = plan.nodes.iter().map(|n| n.ip).collect();
        assert_eq!(ips.len(), 10);
        assert_eq!(plan.nodes[2].name, "n03-relay");
    }

    #[test]
    fn six_have_no_consumer_and_two_exits() {
        let plan = Plan::new(&options(6), [127, 9, 9], Path::new("/x")).unwrap();
        assert_eq!(count(&plan, Role::Exit), 2);
        assert_eq!(count(&plan, Role::Consumer), 0);
    }

    #[test]
    fn one_hop_makes_everybody_an_exit() {
        let mut options = options(10);
        options.hops = Some("1-3".into());
        let plan = Plan::new(&options, [127, 9, 9], Path::new("/x")).unwrap();
        let exits = plan
            .nodes
            .iter()
            .filter(|n| n.settings.contains_key("exit"))
            .count();
        assert_eq!(exits, 8, "all but the client and the consumer");
    }

    #[test]
    fn impossible_numbers_are_refused_in_a_sentence() {
        for (nodes, exits) in [(1, 1), (201, 3), (4, 3)] {
            let mut options = options(nodes);
            options.exits = Some(exits);
            let error = Plan::new(&options, [127, 9, 9], Path::new("/x")).unwrap_err();
            assert!(matches!(error, TestnetError::Options(_)), "{error}");
            assert_eq!(error.exit_code(), 64);
        }
    }

    #[test]
    fn only_the_client_has_proxies_and_only_the_seed_has_no_neighbour() {
        let mut options = options(10);
        options
            .client_settings
            .insert("plaintext".into(), "refuse".into());
        let plan = Plan::new(&options, [127, 9, 9], Path::new("/x")).unwrap();
        for node in &plan.nodes {
            let off = node.settings["socks"].as_str() == Some("off");
            assert_eq!(off, node.role != Role::Client);
            assert_eq!(
                node.settings.contains_key("neighbours"),
                node.role != Role::Seed
            );
            assert_eq!(
                node.settings.contains_key("plaintext"),
                node.role == Role::Client
            );
        }
    }

    #[test]
    fn keys_are_written_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan::new(&options(2).without_exits(), [127, 9, 9], dir.path()).unwrap();
        plan.write().unwrap();
        let key = plan.nodes[0].data_dir().join("node.key");
        assert_eq!(fs::read(&key).unwrap(), plan.nodes[0].identity.seed());
        assert_eq!(
            fs::metadata(&key).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let text = fs::read_to_string(plan.nodes[0].config()).unwrap();
        assert_eq!(text.parse::<Table>().unwrap(), plan.nodes[0].settings);
    }

    #[test]
    fn meshes_that_cannot_have_a_route_are_refused() {
        let refused = |nodes: usize, exits: Option<usize>, hops: Option<&str>| {
            let mut options = options(nodes);
            (options.exits, options.hops) = (exits, hops.map(str::to_owned));
            let error = Plan::new(&options, [127, 9, 9], Path::new("/x")).err();
            error.map(|e| e.to_string())
        };
        let few = refused(4, None, None).unwrap();
        assert_eq!(
            few,
            "3 hops need at least 5 nodes; try --nodes 5 or --hops 1"
        );
        assert!(refused(3, None, Some("2")).is_some());
        assert!(refused(5, None, Some("6")).is_some());
        let many = refused(50, None, Some("9")).unwrap();
        assert!(many.contains("from 1 to 6"), "{many}");
        assert!(
            refused(6, Some(0), None)
                .unwrap()
                .contains("--ready neighbours")
        );
        for (nodes, hops) in [(5, None), (5, Some("2")), (2, Some("1")), (8, Some("6"))] {
            assert_eq!(refused(nodes, None, hops), None);
        }
        assert_eq!(refused(4, None, Some("1-3")), None, "one is enough");
    }

    #[test]
    fn a_tenth_only_consumes_and_from_an_address_of_its_own() {
        let plan = Plan::new(&options(36), [127, 9, 9], Path::new("/x")).unwrap();
        assert_eq!(count(&plan, Role::Consumer), 3);
        for node in plan.nodes.iter().filter(|n| n.role == Role::Consumer) {
            assert_eq!(
                node.settings["source"].as_str(),
                Some(&*node.ip.to_string())
            );
            assert!(!node.settings.contains_key("listen"));
        }
    }

    impl Options {
        fn without_exits(mut self) -> Self {
            self.exits = Some(0);
            self.wait_for = WaitFor::Neighbours;
            self
        }
    }
}
