//! A running testnet: starts the processes of a [`Plan`], waits until the mesh
//! has formed, and takes everything down again. How that looks to a person is
//! in [`crate::report`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use alloy::primitives::Address;
use futures::future::join_all;
use masq::control::types::{Stage, Status};
use serde::{Deserialize, Serialize};

use crate::between::Between;
use crate::client::NodeClient;
use crate::error::TestnetError;
use crate::fetch::Via;
use crate::money::{Bank, NodeWallets, Terms};
use crate::plan::{NODE_PORT, NodePlan, Options, Plan, Role, WaitFor, addresses_free};
use crate::process::{LEASH, NodeProcess, ProcessId};
use crate::state::{NetworkState, NodeState};
use crate::web::WebServer;

mod change;
mod folder;

use folder::MeshFolder;

pub use change::DownNode;

/// Loopback prefixes tried before giving up.
const PREFIX_TRIES: usize = 8;
/// Pause between two rounds of asking all nodes how they are.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// Rounds in a row in which all must be well before a mesh counts as up; guess.
const STEADY_ROUNDS: u32 = 3;
/// How long links may go on changing after everything else is well before the
/// mesh counts as up all the same: a large one never quite rests. Guess.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);
/// How long a node may take to stop before it is killed: its drain time and
/// room for a busy machine; guess.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// Nodes that may be starting at once. All at once would only make them wait
/// for each other on few cores; guess.
const STARTING_AT_ONCE: usize = 8;

/// How far a testnet has got with coming up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Nodes in all.
    pub nodes: usize,
    /// Processes that answer.
    pub started: usize,
    /// Nodes with a neighbour.
    pub connected: usize,
    /// Nodes with a route.
    pub routed: usize,
}

/// One node of a running testnet.
#[derive(Debug)]
pub struct RunningNode {
    plan: NodePlan,
    process: NodeProcess,
    client: NodeClient,
}

impl RunningNode {
    /// Name, such as `n03-relay`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// Its role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.plan.role
    }

    /// Its node key, as the control API writes it.
    #[must_use]
    pub fn key(&self) -> String {
        self.plan.identity.name()
    }

    /// Its descriptor.
    #[must_use]
    pub fn descriptor(&self) -> String {
        self.plan.identity.descriptor(self.plan.ip, NODE_PORT)
    }

    /// Node keys of those by whom it could join again: as it was told, and as it remembers.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn acquaintances(&self) -> Result<Vec<String>, TestnetError> {
        let told = self.plan.settings.get("neighbours");
        let told = told.and_then(toml::Value::as_array).into_iter().flatten();
        let key = |descriptor: &toml::Value| {
            let (_, rest) = descriptor.as_str()?.split_once("://")?;
            let (_, rest) = rest.split_once(':')?;
            Some(rest.split_once('@')?.0.to_owned())
        };
        let mut all: Vec<String> = told.filter_map(key).collect();
        all.extend(self.past_neighbours().await?);
        Ok(all)
    }

    /// Node keys of the neighbours that it remembers.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn past_neighbours(&self) -> Result<Vec<String>, TestnetError> {
        Ok(self.client.connection_status().await?.remembered)
    }

    /// Its loopback address.
    #[must_use]
    pub fn ip(&self) -> Ipv4Addr {
        self.plan.ip
    }

    /// Its control API.
    #[must_use]
    pub fn control(&self) -> &NodeClient {
        &self.client
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> ProcessId {
        self.process.id()
    }

    /// Its log file.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.plan.log()
    }

    /// Its data folder.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.plan.data_dir()
    }

    /// Whether something in it panicked, as its log says.
    #[must_use]
    pub fn has_panicked(&self) -> bool {
        let log = fs::read(self.log()).unwrap_or_default();
        String::from_utf8_lossy(&log).contains(" panicked at ")
    }

    /// Its wallets, where there is money.
    #[must_use]
    pub fn wallets(&self) -> Option<NodeWallets> {
        self.plan.wallets
    }
}

/// A running testnet. Dropping it kills the nodes; [`Testnet::down`] ends them
/// in order.
#[derive(Debug)]
pub struct Testnet {
    nodes: Vec<RunningNode>,
    web: WebServer,
    between: Option<Between>,
    bank: Option<Bank>,
    options: Options,
    dir: PathBuf,
    temporary: bool,
    socks: Option<SocketAddr>,
    http: Option<SocketAddr>,
}

impl Testnet {
    /// Starts a testnet and waits until it is up; on failure everything is
    /// taken down again, and the folder with the logs stays.
    ///
    /// # Errors
    /// What went wrong, with the name of the node and its log.
    pub async fn up(options: Options) -> Result<Self, TestnetError> {
        let mut net = Self::start(options).await?;
        match net.form(&mut |_| {}).await {
            Ok(()) => Ok(net),
            Err(error) => {
                net.keep_dir();
                net.down().await;
                Err(error)
            }
        }
    }

    /// Starts the processes; [`Testnet::form`] waits for the mesh. Cancel-safe:
    /// when dropped half-way, what was started is killed.
    ///
    /// # Errors
    /// When the options contradict each other, or something cannot be started.
    pub async fn start(options: Options) -> Result<Self, TestnetError> {
        let prefix = free_prefix(options.nodes)?;
        // The plan is checked before anything is opened or written.
        Plan::new(&options, prefix, Path::new(""))?;
        Terms::new(String::new(), Address::ZERO).wanted(&options)?;
        for (what, addr, option) in [
            ("the SOCKS5 proxy", options.socks, "--socks"),
            ("the HTTP proxy", options.http, "--http"),
        ] {
            addr.map_or(Ok(()), |addr| check_free(what, addr, option))?;
        }
        let web = WebServer::on_loopback()
            .await
            .map_err(|source| TestnetError::Listen {
                what: "the web server",
                addr: SocketAddr::from(([127, 0, 0, 1], 0)),
                option: "another machine",
                source,
            })?;
        let folder = MeshFolder::make(options.dir.as_deref(), prefix)?;
        let mut plan = Plan::new(&options, prefix, folder.path())?;
        let bank = Self::equip(&options, &mut plan).await?;
        let between = if options.between {
            let ips: Vec<_> = plan.nodes.iter().map(|n| n.ip).collect();
            Some(Between::start(&ips).map_err(TestnetError::NoAddresses)?)
        } else {
            None
        };
        let (dir, temporary) = folder.keep();
        let mut net = Self {
            nodes: Vec::new(),
            web,
            between,
            bank,
            options,
            dir,
            temporary,
            socks: None,
            http: None,
        };
        if let Err(error) = net.spawn_all(plan).await {
            // It names logs.
            net.keep_dir();
            return Err(error);
        }
        Ok(net)
    }

    /// Starts the chain, if there is to be one, and writes the files of the plan.
    async fn equip(options: &Options, plan: &mut Plan) -> Result<Option<Bank>, TestnetError> {
        let bank = Bank::open(&options.chain).await?;
        if let Some(bank) = &bank {
            bank.equip(plan, &bank.terms().wanted(options)?).await?;
        }
        plan.write()?;
        Ok(bank)
    }

    async fn spawn_all(&mut self, plan: Plan) -> Result<(), TestnetError> {
        // The seed first: the others are told to join by it.
        let mut plans = plan.nodes;
        plans.sort_by_key(|n| n.role != Role::Seed);
        let mut starting = plans.into_iter().peekable();
        let deadline = Instant::now() + self.options.ready_within;
        let mut wave = 1;
        while starting.peek().is_some() {
            let from = self.nodes.len();
            for node in starting.by_ref().take(wave) {
                let node = self.spawn(node)?;
                self.nodes.push(node);
            }
            self.answering(from, deadline).await?;
            wave = STARTING_AT_ONCE;
        }
        self.nodes.sort_by(|a, b| a.plan.name.cmp(&b.plan.name));
        Ok(())
    }

    fn spawn(&self, plan: NodePlan) -> Result<RunningNode, TestnetError> {
        let config = plan.config().display().to_string();
        let args = [LEASH, "--config", config.as_str()];
        let process = NodeProcess::spawn(&self.options.program, &args, &plan.log())?;
        let client = NodeClient::new(&plan.name, &plan.data_dir());
        Ok(RunningNode {
            plan,
            process,
            client,
        })
    }

    /// Waits until the nodes from index `from` on answer.
    async fn answering(&mut self, from: usize, deadline: Instant) -> Result<(), TestnetError> {
        const STAGE: &str = "the processes start";
        loop {
            self.all_running(STAGE)?;
            let answers = join_all(self.nodes[from..].iter().map(|n| n.client.status())).await;
            let late = answers.into_iter().find_map(Result::err);
            let Some(error) = late else { return Ok(()) };
            if Instant::now() > deadline {
                return Err(self.too_slow("the processes did not start", &error.to_string()));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Waits until the mesh has formed, as [`Options::wait_for`] says, telling
    /// `progress` after every round of questions.
    ///
    /// # Errors
    /// When a node ends or the time runs out, with who is late and why.
    pub async fn form(
        &mut self,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), TestnetError> {
        const STAGE: &str = "the mesh forms";
        let deadline = Instant::now() + self.options.ready_within;
        let mut steady = 0;
        let (mut links, mut reached) = (BTreeMap::new(), None);
        loop {
            self.all_running(STAGE)?;
            let statuses = self.statuses().await;
            progress(count(self.nodes.len(), &statuses));
            let links_now = neighbours(&statuses);
            let same = links_now == links;
            links = links_now;
            let late = self
                .nodes
                .iter()
                .find_map(|n| self.waiting_for(n, statuses.get(n.name())));
            if late.is_none() {
                let since = *reached.get_or_insert_with(Instant::now);
                // While links change, circuits over them break.
                let settled = same || since.elapsed() > SETTLE_LIMIT;
                steady = if settled { steady + 1 } else { 0 };
            } else {
                steady = 0;
            }
            if steady == STEADY_ROUNDS {
                return self.note_proxies(&statuses);
            }
            if let Some(late) = late
                && Instant::now() > deadline
            {
                return Err(self.too_slow("the mesh did not form", &late));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    fn waiting_for(&self, node: &RunningNode, status: Option<&Status>) -> Option<String> {
        let Some(status) = status else {
            return Some(format!("{} does not answer", node.name()));
        };
        let reached = match self.options.wait_for {
            WaitFor::Processes => true,
            WaitFor::Neighbours => status.stage != Stage::NotConnected,
            WaitFor::Routes if node.role() == Role::Client => status.stage == Stage::RouteFound,
            WaitFor::Routes => status.stage != Stage::NotConnected,
        };
        (!reached).then(|| {
            format!(
                "{} is {}: {}",
                node.name(),
                status.stage,
                status.stage_reason
            )
        })
    }

    fn note_proxies(&mut self, statuses: &BTreeMap<String, Status>) -> Result<(), TestnetError> {
        let client = self.client();
        let status = statuses
            .get(client.name())
            .ok_or_else(|| TestnetError::Control {
                node: client.name().to_owned(),
                reason: "no answer".to_owned(),
            })?;
        (self.socks, self.http) = (status.socks, status.http);
        Ok(())
    }

    /// Looks whether all nodes run.
    ///
    /// # Errors
    /// [`TestnetError::NodeEnded`] for the first that does not.
    pub fn check_running(&mut self) -> Result<(), TestnetError> {
        self.all_running("in use")
    }

    fn all_running(&mut self, stage: &'static str) -> Result<(), TestnetError> {
        for node in &mut self.nodes {
            if let Some(status) = node.process.ended() {
                return Err(TestnetError::NodeEnded {
                    node: node.plan.name.clone(),
                    status: status.to_string(),
                    stage,
                    log: node.plan.log(),
                    tail: node.process.log_tail(),
                });
            }
        }
        Ok(())
    }

    fn too_slow(&self, stage: &'static str, waiting_for: &str) -> TestnetError {
        TestnetError::TooSlow {
            stage,
            limit_s: self.options.ready_within.as_secs(),
            // A sentence of the node's; the error goes on after it.
            waiting_for: waiting_for.trim_end_matches('.').to_owned(),
            dir: self.dir.clone(),
        }
    }

    /// Asks all nodes how they are; those that do not answer are left out.
    pub async fn statuses(&self) -> BTreeMap<String, Status> {
        let answers = join_all(self.nodes.iter().map(|n| n.client.status())).await;
        let names = self.nodes.iter().map(|n| n.plan.name.clone());
        names
            .zip(answers)
            .filter_map(|(name, answer)| Some((name, answer.ok()?)))
            .collect()
    }

    /// Waits until a node or the chain ends by itself, and says which.
    pub async fn any_ended(&mut self) -> TestnetError {
        loop {
            if let Err(error) = self.all_running("in use") {
                return error;
            }
            let chain = async {
                match &mut self.bank {
                    Some(bank) => bank.ended().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = chain => return ended,
                () = tokio::time::sleep(ASK_EVERY) => {}
            }
        }
    }

    /// The nodes, in the order of their names.
    #[must_use]
    pub fn nodes(&self) -> &[RunningNode] {
        &self.nodes
    }

    /// The chain that it pays on, with what belongs to it.
    #[must_use]
    pub fn bank(&self) -> Option<&Bank> {
        self.bank.as_ref()
    }

    /// The node whose proxies are the user's.
    #[must_use]
    pub fn client(&self) -> &RunningNode {
        self.nodes
            .iter()
            .find(|n| n.role() == Role::Client)
            .expect("every plan has a client node")
    }

    /// The built-in web server.
    #[must_use]
    pub fn web(&self) -> &WebServer {
        &self.web
    }

    /// URL of a path on the built-in web server, by name.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        self.url_at("localhost", path)
    }

    /// URL of a path on the built-in web server, by a host of one's choice.
    #[must_use]
    pub fn url_at(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.web.port())
    }

    /// What all links pass through, when [`Options::between`] asked for it.
    #[must_use]
    pub fn between(&self) -> Option<&Between> {
        self.between.as_ref()
    }

    /// The client node's SOCKS5 proxy, once the mesh has formed.
    #[must_use]
    pub fn socks(&self) -> Option<SocketAddr> {
        self.socks
    }

    /// The client node's HTTP proxy, once the mesh has formed.
    #[must_use]
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Every way through the mesh that the client node offers.
    #[must_use]
    pub fn ways(&self) -> Vec<Via> {
        let socks = self.socks.map(Via::socks5);
        let http = self
            .http
            .map(|http| [Via::HttpPlain(http), Via::HttpConnect(http)]);
        socks
            .into_iter()
            .chain(http.into_iter().flatten())
            .collect()
    }

    /// The folder with keys, configurations and logs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Descriptor of the seed.
    #[must_use]
    pub fn seed(&self) -> String {
        let seed = self
            .nodes
            .iter()
            .find(|n| n.role() == Role::Seed)
            .expect("a seed");
        seed.descriptor()
    }

    /// Leaves the folder in place when the testnet ends.
    pub fn keep_dir(&mut self) {
        self.temporary = false;
    }

    /// The state to be written down for `status` and `down`.
    ///
    /// # Errors
    /// When `/proc` is not mounted.
    pub fn state(&self) -> Result<NetworkState, TestnetError> {
        let supervisor = ProcessId::own().map_err(TestnetError::file("cannot read", "/proc"))?;
        let nodes = self
            .nodes
            .iter()
            .map(|n| NodeState {
                name: n.plan.name.clone(),
                role: n.plan.role,
                addr: SocketAddr::from((n.plan.ip, NODE_PORT)),
                key: n.key(),
                process: n.process.id(),
                data_dir: n.plan.data_dir(),
                log: n.plan.log(),
                wallets: n.plan.wallets,
            })
            .collect();
        Ok(NetworkState {
            supervisor,
            dir: self.dir.clone(),
            temporary: self.temporary,
            socks: self.socks,
            http: self.http,
            web_port: self.web.port(),
            web_v6: self.web.has_v6(),
            seed: self.seed(),
            money: self.bank.as_ref().map(Bank::state),
            nodes,
        })
    }

    /// Takes the testnet down and says which nodes had to be killed because
    /// they did not stop by themselves. A temporary folder goes with it.
    pub async fn down(mut self) -> Vec<String> {
        let stops = std::mem::take(&mut self.nodes)
            .into_iter()
            .map(|node| async move {
                let RunningNode { plan, process, .. } = node;
                (plan.name, process.stop(STOP_GRACE).await)
            });
        let killed = join_all(stops)
            .await
            .into_iter()
            .filter_map(|(name, status)| status.is_none().then_some(name))
            .collect();
        // Last: nodes may want to pay while they stop.
        if let Some(bank) = self.bank.take() {
            bank.stop().await;
        }
        killed
    }
}

impl Drop for Testnet {
    /// Kills what still runs and removes a temporary folder, except when a test
    /// failed: then the logs are wanted.
    fn drop(&mut self) {
        self.nodes.clear();
        if self.temporary && !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Who is linked with whom.
fn neighbours(statuses: &BTreeMap<String, Status>) -> BTreeMap<String, BTreeSet<String>> {
    let linked = |status: &Status| status.neighbours.iter().map(|n| n.node.clone()).collect();
    statuses
        .iter()
        .map(|(name, status)| (name.clone(), linked(status)))
        .collect()
}

fn count(nodes: usize, statuses: &BTreeMap<String, Status>) -> Progress {
    let with = |wanted: fn(Stage) -> bool| statuses.values().filter(|s| wanted(s.stage)).count();
    Progress {
        nodes,
        started: statuses.len(),
        connected: with(|s| s != Stage::NotConnected),
        routed: with(|s| s == Stage::RouteFound),
    }
}

/// A range 127.x.y.0/24 in which every node's address is free. Random, so that
/// testnets side by side do not meet; 127.0 and 127.1 are left to others.
fn free_prefix(nodes: usize) -> Result<[u8; 3], TestnetError> {
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrInUse);
    for _ in 0..PREFIX_TRIES {
        let [a, b]: [u8; 2] = rand::random();
        let prefix = [127, a.clamp(2, 254), b];
        match addresses_free(prefix, nodes) {
            Ok(()) => return Ok(prefix),
            Err(error) => last = error,
        }
    }
    Err(TestnetError::NoAddresses(last))
}

/// Says at once, and in the testnet's own words, when a proxy address is
/// taken.
fn check_free(
    what: &'static str,
    addr: SocketAddr,
    option: &'static str,
) -> Result<(), TestnetError> {
    std::net::TcpListener::bind(addr)
        .map(drop)
        .map_err(|source| TestnetError::Listen {
            what,
            addr,
            option,
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Program;

    #[test]
    fn prefixes_are_loopback_and_out_of_the_way() {
        for _ in 0..20 {
            let [first, second, _] = free_prefix(3).unwrap();
            assert_eq!(first, 127);
            assert!(second >= 2);
        }
    }

    #[test]
    fn a_taken_proxy_address_names_its_option() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap();
        let error = check_free("the SOCKS5 proxy", addr, "--socks")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("--socks") && error.contains(&addr.to_string()),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_daemon_that_ends_at_once_is_reported_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("masqd");
        fs::write(&program, "#!/bin/sh\necho the reason; exit 78\n").unwrap();
        let mut mode = fs::metadata(&program).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
        fs::set_permissions(&program, mode).unwrap();
        let mut options = Options::new(Program::Masqd(program));
        options.nodes = 3;
        options.wait_for = WaitFor::Neighbours;
        options.dir = Some(dir.path().join("net"));
        let error = Testnet::up(options).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, TestnetError::NodeEnded { .. }), "{text}");
        for part in ["n02-seed", "exit status: 78", "the reason", "masqd.log"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
