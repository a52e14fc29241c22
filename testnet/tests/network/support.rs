//! What the network tests share: options that run this build's own binary as
//! the nodes, and waiting for something to become true in real processes.

use std::fs::File;
use std::time::{Duration, Instant};

use masq_testnet::fetch::{self, FetchError, Fetched, Via};
use masq_testnet::{Options, Program, Testnet};

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
