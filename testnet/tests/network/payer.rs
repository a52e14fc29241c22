//! Payers beside a testnet: nodes that only use the mesh, each with wallets, terms and an RPC endpoint
//! of the test's own choice; and somebody before the chain who looks who asks it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use alloy::primitives::Address;
use masq::control::types::Stage;
use masq::ledger::{Wei, price};
use masq_testnet::client::NodeClient;
use masq_testnet::devchain::FAUCET_KEY;
use masq_testnet::devchain::deploy::{Contracts, Faucet, Grant};
use masq_testnet::fetch::{self, Via};
use masq_testnet::money::books::pairs;
use masq_testnet::money::{NodeBooks, NodeWallets, Transfer, transfers, wallets};
use masq_testnet::process::{LEASH, NodeProcess};
use masq_testnet::{Options, Program, Role, Testnet};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use toml::{Table, Value};

use crate::support::{LIMIT, eventually, masq};

/// A payer has this long to open its wallet, for which it takes a core and 256 MB, and to answer.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// A payer has this long to find a route.
const ROUTE_WITHIN: Duration = Duration::from_secs(60);
/// Payments have this long to be made and counted.
pub(crate) const PAID_WITHIN: Duration = Duration::from_secs(60);

/// What a wallet begins with.
#[derive(Clone, Copy)]
pub(crate) enum Funded {
    /// Tokens, and coin for fees.
    Well,
    /// Tokens, and nothing to pay a fee with.
    WithoutCoin,
    /// Nothing.
    Not,
}

/// A node that only uses the mesh. It ends with this value.
pub(crate) struct Payer {
    name: String,
    pub(crate) wallets: NodeWallets,
    pub(crate) control: NodeClient,
    data: PathBuf,
    log: PathBuf,
    http: SocketAddr,
    began: Instant,
    /// It asks the chain through the mesh, now and then.
    via_mesh: bool,
    process: NodeProcess,
    _dir: TempDir,
}

impl Payer {
    /// Starts one at the `number`th address behind those of the testnet, with these settings over
    /// the daemon's own terms; it need not have a route yet.
    pub(crate) async fn start(net: &Testnet, number: u8, funded: Funded, more: Table) -> Self {
        let name = format!("payer-{number}");
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let made = {
            let (name, data) = (name.clone(), data.clone());
            tokio::task::spawn_blocking(move || wallets::make(&name, &data, Role::Consumer))
        };
        let wallets = made.await.unwrap().unwrap();
        fund(net, wallets.consuming, funded).await;
        let [a, b, c, _] = net.client().ip().octets();
        let terms = net.bank().unwrap().terms().as_usual();
        let mut settings = terms.settings(&data);
        settings.remove("credit");
        let mut set = |key: &str, value: Value| {
            settings.insert(key.to_owned(), value);
        };
        set("chain", "dev".into());
        set("data_dir", data.display().to_string().into());
        set("mode", "consume-only".into());
        set(
            "source",
            Ipv4Addr::new(a, b, c, 200 + number).to_string().into(),
        );
        // Somebody among them has room for it, however full the mesh is.
        let nodes = net.nodes().iter();
        let nodes = nodes.map(|node| node.descriptor().into()).collect();
        set("neighbours", Value::Array(nodes));
        set("hops", "2-3".into());
        set("warm_circuits", 1.into());
        set("per_24", 5.into());
        set("control", "127.0.0.1:0".into());
        set("socks", "off".into());
        set("http", "127.0.0.1:0".into());
        set("drain_seconds", 2.into());
        set("log", "info,masq_cores::origin=debug".into());
        let via_mesh = more.contains_key("rpc_via_mesh");
        settings.extend(more);
        let config = dir.path().join("masqd.toml");
        std::fs::write(&config, toml::to_string(&settings).unwrap()).unwrap();
        let log = dir.path().join("log");
        let args = [LEASH, "--config", config.to_str().unwrap()];
        let process = NodeProcess::spawn(&program(), &args, &log).unwrap();
        let control = NodeClient::new(&name, &data);
        let began = Instant::now();
        let http = eventually("an answer of the payer", STARTS_WITHIN * 2, || async {
            let log = || std::fs::read_to_string(&log).unwrap();
            assert!(began.elapsed() < STARTS_WITHIN, "{name}: {}", log());
            control.status().await.ok()?.http
        })
        .await;
        Self {
            name,
            wallets,
            control,
            data,
            log,
            http,
            began: Instant::now(),
            via_mesh,
            process,
            _dir: dir,
        }
    }

    /// One that pays well and has a route.
    pub(crate) async fn ready(net: &Testnet, number: u8, funded: Funded, more: Table) -> Self {
        let payer = Self::start(net, number, funded, more).await;
        payer.routed().await;
        payer
    }

    /// Waits for a route.
    pub(crate) async fn routed(&self) {
        let reason = Mutex::new(String::new());
        let found = eventually("an answer of the payer", ROUTE_WITHIN * 2, || async {
            let status = self.control.status().await.ok()?;
            reason.lock().unwrap().clone_from(&status.stage_reason);
            let late = self.began.elapsed() > ROUTE_WITHIN;
            let found = status.stage == Stage::RouteFound;
            (found || late).then_some(found)
        })
        .await;
        assert!(
            found,
            "{}: {}\n{}",
            self.name,
            reason.lock().unwrap(),
            self.log()
        );
    }

    /// Fetches a path through its HTTP proxy; what went wrong, in the words that its user sees.
    pub(crate) async fn get(&self, net: &Testnet, path: &str) -> Result<u64, String> {
        let via = Via::HttpPlain(self.http);
        match fetch::get(&via, &net.url(path), LIMIT).await {
            Ok(got) if got.status == 200 => Ok(got.len),
            Ok(got) => Err(String::from_utf8_lossy(&got.body).into_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Fetches a path again and again until the answer pleases; what pleased is returned.
    pub(crate) async fn get_until<T>(
        &self,
        net: &Testnet,
        path: &str,
        limit: Duration,
        pleases: impl Fn(&Result<u64, String>) -> Option<T>,
    ) -> T {
        let began = Instant::now();
        let mut said = Vec::new();
        loop {
            let answer = self.get(net, path).await;
            if let Some(pleased) = pleases(&answer) {
                return pleased;
            }
            if said.last().is_none_or(|(_, last)| *last != answer) {
                said.push((began.elapsed(), answer));
            }
            let name = &self.name;
            assert!(began.elapsed() < limit, "{name}: {said:#?}\n{}", self.log());
            // Another process has to do something first.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Runs the command line `masq` for it, and returns what it printed.
    pub(crate) async fn masq(&self, args: &[&str]) -> String {
        masq(&self.data, args).await
    }

    /// What its log says.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// Its books.
    pub(crate) async fn books(&self) -> NodeBooks {
        NodeBooks::ask(&self.control, self.name.clone(), self.wallets)
            .await
            .unwrap()
    }

    /// What it has paid on the chain.
    pub(crate) async fn paid(&self, net: &Testnet) -> Vec<Transfer> {
        let mut all = transfers(&net.bank().unwrap().state()).await.unwrap();
        all.retain(|transfer| transfer.from == self.wallets.consuming);
        all
    }

    /// By how much the books of its hops are ahead of its own, once nothing moves.
    async fn at_rest(&self, net: &Testnet) -> BTreeMap<String, Apart> {
        let before = Mutex::new(None);
        eventually("books at rest", PAID_WITHIN, || async {
            let now = apart(net, self.books().await).await;
            let last = before.lock().unwrap().replace(now.clone());
            (last.as_ref() == Some(&now)).then_some(now)
        })
        .await
    }

    /// Fetches something once more, then stops in order. What its last circuits cost is the same in
    /// its books and in those of its hops, to the wei; circuits that broke before may have left what
    /// they had on their way. What it paid is on the chain.
    pub(crate) async fn settled_well(self, net: &Testnet, path: &str) {
        self.control.pause_payments().await.unwrap();
        eventually("payments that are final", PAID_WITHIN, || async {
            self.books().await.is_settled().then_some(())
        })
        .await;
        let via_mesh = self.via_mesh;
        let before = if via_mesh {
            apart(net, self.books().await).await
        } else {
            self.at_rest(net).await
        };
        let broke = broken(&self.log());
        self.get_until(net, path, PAID_WITHIN, |got| got.clone().ok())
            .await;
        let paid = self.paid(net).await;
        let status = self.process.stop(Duration::from_secs(15)).await;
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
        let own = NodeBooks::of_folder(&self.name, self.name.clone(), self.wallets, &self.data);
        let own = own.await.unwrap();
        for debt in &own.debts {
            let to = |transfer: &&Transfer| transfer.to == debt.wallet;
            let on_chain: Wei = paid.iter().filter(to).map(|transfer| transfer.amount).sum();
            assert_eq!(debt.paid, on_chain, "to {}", debt.node);
        }

        let log = String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned();
        let most = on_the_way() * i128::from(broken(&log));
        let grew = |after: &BTreeMap<String, Apart>| {
            let grew = after
                .iter()
                .map(|(hop, apart)| (hop.clone(), apart - before.get(hop).unwrap_or(&0)));
            grew.filter(|(_, more)| *more != 0).collect::<Vec<_>>()
        };
        let began = Instant::now();
        let after = eventually("books of all hops", PAID_WITHIN, || async {
            let after = apart(net, own.clone()).await;
            let late = began.elapsed() > Duration::from_secs(15);
            (grew(&after).is_empty() || late).then_some(after)
        })
        .await;
        assert!(after.values().all(|apart| apart.abs() <= most), "{after:?}");
        if via_mesh {
            eprintln!("{}: it never is at rest", self.name);
        } else if broken(&log) == broke {
            let name = &self.name;
            assert!(grew(&after).is_empty(), "{name}: {before:?}, {after:?}");
        } else {
            eprintln!("{}: a circuit broke of itself at the end", self.name);
        }
    }
}

/// How much more a hop has in its books than a payer, in wei.
type Apart = i128;

/// What a circuit may have had on its way when it broke, at the dearest rates of the mesh: 512 cells
/// of 16 KiB (docs/spec/settlement.md).
fn on_the_way() -> Apart {
    let wei = price::dearest(&price::DEFAULT_RATES, 512 * 16 * 1024).unwrap();
    i128::try_from(wei).unwrap()
}

/// How many of a node's own circuits did not end in good order, by its log.
fn broken(log: &str) -> u32 {
    let broken = |line: &&str| line.contains("own circuit is over") && line.contains("=false");
    u32::try_from(log.lines().filter(broken).count()).unwrap()
}

/// By how much the books of all hops are ahead of a payer's.
async fn apart(net: &Testnet, payer: NodeBooks) -> BTreeMap<String, Apart> {
    let own = payer.key.clone();
    let mut books = vec![payer];
    for node in net.nodes() {
        books.push(hop_books(net, node.name()).await);
    }
    let pairs = pairs(&books);
    let of_payer = pairs.iter().filter(|pair| pair.payer.key == own);
    let apart = of_payer.map(|pair| {
        let wei = |wei: Wei| i128::try_from(wei).unwrap();
        let apart = wei(pair.receivable()) - wei(pair.payable());
        (pair.hop.name.clone(), apart)
    });
    apart.collect()
}

fn program() -> Program {
    Program::Multicall(env!("CARGO_BIN_EXE_masq-testnet").into())
}

/// The faucet numbers its transactions itself: one at a time.
static FAUCET: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn fund(net: &Testnet, to: Address, funded: Funded) {
    let _one_at_a_time = FAUCET.lock().await;
    let money = net.bank().unwrap().state();
    match funded {
        Funded::Not => {}
        Funded::Well => money.fund(to).await.unwrap(),
        Funded::WithoutCoin => {
            let contracts = Contracts {
                token: money.token,
                disperse: money.disperse,
                since: money.since,
            };
            let faucet = Faucet::at(&money.rpc, &FAUCET_KEY, contracts)
                .await
                .unwrap();
            let tokens = masq::ledger::TOKEN;
            faucet.give(&[Grant { to, wei: 0, tokens }]).await.unwrap();
        }
    }
}

/// Gives a wallet what the others began with.
pub(crate) async fn fund_well(net: &Testnet, to: Address) {
    fund(net, to, Funded::Well).await;
}

/// The books of a node of the testnet.
pub(crate) async fn hop_books(net: &Testnet, name: &str) -> NodeBooks {
    let node = net.node(name).unwrap();
    NodeBooks::ask(node.control(), node.key(), node.wallets().unwrap())
        .await
        .unwrap()
}

/// A mesh whose hops give newcomers the price of so many bytes on trust, and have debts paid as rarely
/// as in production.
pub(crate) fn trusting(credit: u64, nodes: usize) -> Options {
    let mut options = Options::new(program());
    options.nodes = nodes;
    options.exits = Some(2);
    options.chain = masq_testnet::money::Chain::Dev;
    options.credit = Some(credit);
    options.ready_within = Duration::from_secs(120);
    options
}

/// Somebody before the chain's endpoint, who notes which process each connection comes from.
pub(crate) struct Doorman {
    pub(crate) url: String,
    seen: Arc<Mutex<BTreeSet<Option<u32>>>>,
    task: JoinHandle<()>,
}

impl Doorman {
    /// Before `rpc`; connections may come from the processes `among`.
    pub(crate) async fn before(rpc: &str, among: Vec<u32>) -> Self {
        let target = rpc.trim_start_matches("http://").trim_end_matches('/');
        let target: SocketAddr = target.parse().unwrap();
        let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", door.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let noted = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((mut inside, from)) = door.accept().await {
                // The other end waits for an answer, so the socket is still there.
                let who = among.iter().copied().find(|pid| has_socket(*pid, from));
                noted.lock().unwrap().insert(who);
                tokio::spawn(async move {
                    if let Ok(mut chain) = TcpStream::connect(target).await {
                        let _ = tokio::io::copy_bidirectional(&mut inside, &mut chain).await;
                    }
                });
            }
        });
        Self { url, seen, task }
    }

    /// The processes that came; `None` for one that is not among those that might.
    pub(crate) fn seen(&self) -> BTreeSet<Option<u32>> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Doorman {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether a process has the TCP socket with this own address.
fn has_socket(pid: u32, local: SocketAddr) -> bool {
    let SocketAddr::V4(local) = local else {
        return false;
    };
    let ip = u32::from_ne_bytes(local.ip().octets());
    let wanted = format!("{ip:08X}:{:04X}", local.port());
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let inodes = table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        (fields.nth(1)? == wanted).then(|| fields.nth(7)).flatten()
    });
    let inodes: Vec<String> = inodes.map(|inode| format!("socket:[{inode}]")).collect();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten();
    open.filter_map(Result::ok)
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .any(|link| inodes.iter().any(|inode| link == Path::new(inode)))
}
