//! What goes through the mesh meanwhile: downloads at a steady pace, and small things beside them
//! that work or fail.

use std::time::Duration;

use rand::seq::IndexedRandom;
use tokio::task::JoinHandle;

use crate::download::{Download, DownloadReport, Source};
use crate::error::TestnetError;
use crate::fetch::{self, Via};
use crate::network::Testnet;
use crate::plan::{Role, SOCKS_PORT};

/// Length of a download, in seconds at its pace: longer than any soak.
const LENGTH_S: u64 = 24 * 3_600;
/// Pause between two small fetches.
const SMALL_EVERY: Duration = Duration::from_millis(700);
/// How long a small fetch may take.
const SMALL_LIMIT: Duration = Duration::from_secs(10);

/// Traffic in the background; dropping it ends it.
pub(super) struct Traffic {
    downloads: Vec<Download>,
    small: Vec<JoinHandle<()>>,
}

impl Drop for Traffic {
    fn drop(&mut self) {
        for task in &self.small {
            task.abort();
        }
    }
}

impl Traffic {
    /// Begins a download and small fetches at each of `origins` nodes, the client first.
    pub(super) async fn start(
        net: &Testnet,
        origins: usize,
        pace: u64,
    ) -> Result<Self, TestnetError> {
        let mut nodes: Vec<_> = net.nodes().iter().collect();
        // Relays after the client: everybody else has another task as well.
        nodes.sort_by_key(|node| match node.role() {
            Role::Client => 0,
            Role::Relay => 1,
            _ => 2,
        });
        let port = net.web().port();
        let (mut downloads, mut small) = (Vec::new(), Vec::new());
        for node in nodes.into_iter().take(origins) {
            let via = Via::socks5((node.ip(), SOCKS_PORT).into());
            downloads.push(Download::start(Source {
                via: via.clone(),
                host: "127.0.0.1".to_owned(),
                port,
                rate: pace,
                len: pace.saturating_mul(LENGTH_S),
            }));
            small.push(tokio::spawn(small_things(via, port)));
        }
        if downloads.is_empty() {
            let what = "traffic needs at least one origin".to_owned();
            return Err(TestnetError::Options(what));
        }
        Ok(Self { downloads, small })
    }

    pub(super) fn origins(&self) -> usize {
        self.downloads.len()
    }

    /// Ends it and says how the downloads went.
    pub(super) fn end(self) -> Vec<DownloadReport> {
        self.downloads.iter().map(Download::report).collect()
    }
}

/// One small thing after the other, for ever. Whether they work is for other tests: what counts
/// here is that they are billed right.
async fn small_things(via: Via, web: u16) {
    let urls = [
        format!("http://localhost:{web}/bytes/100"),
        format!("http://127.0.0.1:{web}/bytes/50000"),
        format!("http://127.0.0.1:{web}/status/404"),
        // Nothing listens there.
        "http://127.0.0.1:1/".to_owned(),
        // There is no such name.
        "http://nothing.invalid/".to_owned(),
    ];
    loop {
        tokio::time::sleep(SMALL_EVERY).await;
        let Some(url) = urls.choose(&mut rand::rng()) else {
            return;
        };
        let _ = fetch::get(&via, url, SMALL_LIMIT).await;
    }
}
