//! What the network tests share: options that run this build's own binary as
//! the nodes, nodes beside them, and waiting for something to become true in real
//! processes.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use masq_testnet::client::NodeClient;
use masq_testnet::fetch::{self, FetchError, Fetched, Via};
use masq_testnet::process::{LEASH, NodeProcess};
use masq_testnet::survey::Survey;
use masq_testnet::{Options, Program, Testnet};
use tempfile::TempDir;

/// Longest a fetch in a test may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Waits until no other test of this kind runs, in this process or another one
/// of this build; hold what it returns.
pub(crate) fn alone() -> File {
    let lock = File::create(concat!(env!("CARGO_TARGET_TMPDIR"), "/one-mesh-at-a-time")).unwrap();
    lock.lock().unwrap();
    lock
}

/// Options for `nodes` nodes that run this build.
pub(crate) fn options(nodes: usize) -> Options {
    let program = Program::Multicall(env!("CARGO_BIN_EXE_masq-testnet").into());
    let mut options = Options::new(program);
    options.nodes = nodes;
    options
}

/// Fetches a path of the testnet's web server, by name.
pub(crate) async fn get(net: &Testnet, via: &Via, path: &str) -> Result<Fetched, FetchError> {
    fetch::get(via, &net.url(path), LIMIT).await
}

/// Asks again and again, up to `limit`, until `question` answers with
/// something. There is no event to wait for: the answer is in another process.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    limit: Duration,
    mut question: impl FnMut() -> F,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = question().await {
            return answer;
        }
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Takes a testnet down and insists that every node stopped by itself.
pub(crate) async fn down(net: Testnet) {
    let killed = net.down().await;
    assert!(killed.is_empty(), "had to be killed: {killed:?}");
}

/// A node beside a testnet, with an address and a configuration of the test's own. It ends
/// with this value.
pub(crate) struct Loner {
    pub(crate) control: NodeClient,
    pub(crate) data: PathBuf,
    pub(crate) log: PathBuf,
    process: NodeProcess,
    _dir: TempDir,
}

impl Loner {
    /// Starts one that listens at `listen`, or nowhere and leaves from `127.0.0.1`, joins by
    /// `neighbours`, and has these settings (lines of TOML) beside.
    pub(crate) fn start(listen: SocketAddr, neighbours: &[&str], settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let config = dir.path().join("masqd.toml");
        let text = format!(
            "chain = \"dev\"\npayments = false\ndata_dir = \"{}\"\nneighbours = {neighbours:?}\nlisten = [\"{listen}\"]\n\
             control = \"127.0.0.1:0\"\nsocks = \"off\"\nhttp = \"off\"\nper_24 = 5\n{settings}\n",
            data.display()
        );
        std::fs::write(&config, text).unwrap();
        let program = Program::Multicall(env!("CARGO_BIN_EXE_masq-testnet").into());
        let args = [LEASH, "--config", config.to_str().unwrap()];
        let log = dir.path().join("log");
        let process = NodeProcess::spawn(&program, &args, &log).unwrap();
        Self {
            control: NodeClient::new("loner", &data),
            data,
            log,
            process,
            _dir: dir,
        }
    }

    /// Runs the command line `masq` for it, and returns what it printed.
    pub(crate) async fn masq(&self, args: &[&str]) -> String {
        masq(&self.data, args).await
    }

    pub(crate) async fn down(self) {
        let status = self.process.stop(Duration::from_secs(10)).await;
        assert!(status.is_some_and(|s| s.success()), "{status:?}");
    }
}

/// Runs the command line `masq` for the node of a data folder, and returns what it printed.
pub(crate) async fn masq(data: &Path, args: &[&str]) -> String {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_masq-testnet"))
        .args(["masq", "--data-dir"])
        .arg(data)
        .args(args)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "masq {args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until a look at the mesh pleases.
pub(crate) async fn surveyed(
    net: &Testnet,
    what: &str,
    limit: Duration,
    pleases: impl Fn(&Survey) -> bool,
) -> Survey {
    let start = Instant::now();
    loop {
        let survey = Survey::look(net).await;
        if pleases(&survey) {
            return survey;
        }
        assert!(
            start.elapsed() < limit,
            "{what}: not within {limit:?}: {survey}, without a route: {:?}",
            survey.unrouted
        );
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
