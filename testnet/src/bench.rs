//! The testnet's first benchmark: first byte of small warm fetches, one large
//! flow down and up, and memory per node before and after many flows; each
//! beside the same server fetched directly in the same run. What money costs is in [`money`].

pub mod money;
pub mod setups;
pub mod statistics;

use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, stream};
use serde::Serialize;

use crate::error::TestnetError;
use crate::fetch::{self, FetchError, Via};
use crate::network::Testnet;
use crate::process::Memory;
use crate::report::size;
use crate::web::content;

/// Longest a single small fetch may take.
const SMALL_LIMIT: Duration = Duration::from_secs(20);
/// Longest the large flow may take: 2 MB/s for the default size.
const LARGE_LIMIT: Duration = Duration::from_secs(250);
/// Fetches under way at once while many flows are made; guess.
const AT_ONCE: usize = 50;
/// Body of a small fetch, in bytes.
const SMALL: u64 = 100;

/// What is measured.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// Small fetches for the first byte. Default 200.
    pub small: usize,
    /// Bytes of the large flow. Default 500,000,000.
    pub large: u64,
    /// Flows between the two looks at memory. Default 10,000.
    pub flows: usize,
    /// Another server to measure against, such as nginx: a URL of a small
    /// object and one of a large object. Default: the built-in web server.
    pub server: Option<(String, String)>,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self {
            small: 200,
            large: 500_000_000,
            flows: 10_000,
            server: None,
        }
    }
}

/// Middle and slow end of some times, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Times {
    /// Half of them were quicker.
    pub median_ms: f64,
    /// 95 in 100 were quicker.
    pub p95_ms: f64,
    /// 99 in 100 were quicker.
    pub p99_ms: f64,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
            times.get(index).map_or(0.0, |t| t.as_secs_f64() * 1e3)
        };
        Self {
            median_ms: at(50),
            p95_ms: at(95),
            p99_ms: at(99),
        }
    }
}

/// Figures of one way to the server.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct WayReport {
    /// First byte of small fetches, connecting included.
    pub first_byte: Times,
    /// Large flow from the server, in 10⁶ bytes per second.
    pub down_mb_s: f64,
    /// Large flow to the server; only measured with the built-in server.
    pub up_mb_s: Option<f64>,
}

/// Memory of one node, in bytes.
#[derive(Debug, Clone, Serialize)]
pub struct NodeMemory {
    /// Name of the node.
    pub node: String,
    /// Before any traffic.
    pub idle: Option<Memory>,
    /// After the large flow.
    pub after_large: Option<Memory>,
    /// After a tenth of the many flows, when everything that stays is there.
    pub warm: Option<Memory>,
    /// After all of the many flows.
    pub after_flows: Option<Memory>,
}

/// Everything measured.
#[derive(Debug, Clone, Serialize)]
pub struct BenchReport {
    /// Nodes of the testnet.
    pub nodes: usize,
    /// Hops of the client's circuits.
    pub hops: String,
    /// Small fetches made.
    pub small: usize,
    /// Bytes of the large flow.
    pub large: u64,
    /// Through SOCKS5 and the mesh.
    pub mesh: WayReport,
    /// The same server directly.
    pub direct: WayReport,
    /// Many flows: how many, and how many a second.
    pub flows: usize,
    /// Flows a second.
    pub flows_per_s: f64,
    /// Memory per node.
    pub memory: Vec<NodeMemory>,
}

/// Measures a testnet that is up.
///
/// # Errors
/// When a fetch fails or brings wrong bytes: figures of a broken mesh mean
/// nothing.
pub async fn run(
    net: &Testnet,
    options: &BenchOptions,
    out: &mut (dyn Write + Send),
) -> Result<BenchReport, TestnetError> {
    let socks = net
        .socks()
        .map(Via::socks5)
        .ok_or_else(|| TestnetError::Options("the client node has no SOCKS proxy".to_owned()))?;
    let hops = net.client().control().status().await?.hops;
    let look = || {
        net.nodes()
            .iter()
            .map(|n| n.process().memory())
            .collect::<Vec<_>>()
    };

    let idle = look();
    tell(out, format_args!("measuring directly"));
    let direct = way(net, &Via::Direct, options).await?;
    tell(out, format_args!("measuring through the mesh"));
    let mesh = way(net, &socks, options).await?;
    let after_large = look();
    tell(out, format_args!("making {} flows", options.flows));
    let start = Instant::now();
    many(net, &socks, options.flows / 10).await?;
    let warm = look();
    many(net, &socks, options.flows - options.flows / 10).await?;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let flows_per_s = options.flows as f64 / start.elapsed().as_secs_f64();
    let after_flows = look();

    let memory = net
        .nodes()
        .iter()
        .enumerate()
        .map(|(i, node)| NodeMemory {
            node: node.name().to_owned(),
            idle: idle[i],
            after_large: after_large[i],
            warm: warm[i],
            after_flows: after_flows[i],
        })
        .collect();
    Ok(BenchReport {
        nodes: net.nodes().len(),
        hops,
        small: options.small,
        large: options.large,
        mesh,
        direct,
        flows: options.flows,
        flows_per_s,
        memory,
    })
}

fn failed(via: &Via, url: &str) -> impl FnOnce(FetchError) -> TestnetError {
    let what = format!("{} {url}", via.label());
    move |source| TestnetError::Fetch { what, source }
}

fn wrong(what: String) -> TestnetError {
    TestnetError::Checks {
        failed: 1,
        checks: 1,
        first: what,
    }
}

async fn way(net: &Testnet, via: &Via, options: &BenchOptions) -> Result<WayReport, TestnetError> {
    let (small_url, large_url) = options.server.clone().unwrap_or_else(|| {
        (
            net.url_at("127.0.0.1", &format!("/bytes/{SMALL}")),
            net.url_at("127.0.0.1", &format!("/bytes/{}", options.large)),
        )
    });
    // Warm: circuits are built, caches filled, hashes known.
    for _ in 0..3 {
        fetch::get(via, &small_url, SMALL_LIMIT)
            .await
            .map_err(failed(via, &small_url))?;
    }
    let mut times = Vec::with_capacity(options.small);
    for _ in 0..options.small {
        let got = fetch::get(via, &small_url, SMALL_LIMIT)
            .await
            .map_err(failed(via, &small_url))?;
        if got.status != 200 {
            return Err(wrong(format!("{small_url}: status {}", got.status)));
        }
        times.push(got.first_byte);
    }
    let len = options.large;
    let own = options.server.is_none();
    if own {
        let _ = tokio::task::spawn_blocking(move || content::sha256(len)).await;
    }
    let got = fetch::get(via, &large_url, LARGE_LIMIT)
        .await
        .map_err(failed(via, &large_url))?;
    if own && got.sha256 != content::sha256(len) {
        return Err(wrong(format!(
            "{large_url} by {}: the hash differs",
            via.label()
        )));
    }
    let up_mb_s = if own {
        Some(upload(net, via, len).await?)
    } else {
        None
    };
    Ok(WayReport {
        first_byte: Times::of(times),
        down_mb_s: mb_s(got.len, got.total - got.first_byte),
        up_mb_s,
    })
}

async fn upload(net: &Testnet, via: &Via, len: u64) -> Result<f64, TestnetError> {
    let url = net.url_at("127.0.0.1", "/sha256");
    let mut body = Vec::with_capacity(usize::try_from(len).unwrap_or(usize::MAX));
    while (body.len() as u64) < len {
        body.extend_from_slice(&content::piece(body.len() as u64, len));
    }
    let start = Instant::now();
    let got = fetch::post(via, &url, Bytes::from(body), LARGE_LIMIT)
        .await
        .map_err(failed(via, &url))?;
    let elapsed = start.elapsed();
    let answer = String::from_utf8_lossy(&got.body).into_owned();
    if !answer.contains(&hex::encode(content::sha256(len))) {
        return Err(wrong(format!("{url} by {}: the hash differs", via.label())));
    }
    Ok(mb_s(len, elapsed))
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn mb_s(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / 1e6 / time.as_secs_f64().max(1e-9)
}

async fn many(net: &Testnet, via: &Via, flows: usize) -> Result<(), TestnetError> {
    let url = net.url_at("127.0.0.1", &format!("/bytes/{SMALL}"));
    let expected = content::sha256(SMALL);
    let mut results = stream::iter(0..flows)
        .map(|_| fetch::get(via, &url, SMALL_LIMIT))
        .buffer_unordered(AT_ONCE);
    while let Some(result) = results.next().await {
        let got = result.map_err(failed(via, &url))?;
        if got.sha256 != expected {
            return Err(wrong(format!("{url}: the hash differs")));
        }
    }
    Ok(())
}

impl BenchReport {
    /// Writes the figures as a table.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(
            out,
            "{} nodes, {} hops, built-in or given server on loopback",
            self.nodes, self.hops
        )?;
        writeln!(out, "{:<34} {:>10} {:>10}", "", "mesh", "direct")?;
        let (m, d) = (&self.mesh, &self.direct);
        let mut row = |what: String, mesh: f64, direct: f64| {
            writeln!(out, "{what:<34} {mesh:>10.2} {direct:>10.2}")
        };
        row(
            format!("first byte, median of {}, ms", self.small),
            m.first_byte.median_ms,
            d.first_byte.median_ms,
        )?;
        row(
            "first byte, p95, ms".into(),
            m.first_byte.p95_ms,
            d.first_byte.p95_ms,
        )?;
        row(
            "first byte, p99, ms".into(),
            m.first_byte.p99_ms,
            d.first_byte.p99_ms,
        )?;
        row(
            format!("one flow of {} down, MB/s", size(self.large)),
            m.down_mb_s,
            d.down_mb_s,
        )?;
        if let (Some(mesh), Some(direct)) = (m.up_mb_s, d.up_mb_s) {
            row(
                format!("one flow of {} up, MB/s", size(self.large)),
                mesh,
                direct,
            )?;
        }
        writeln!(
            out,
            "{} flows, {:.0} a second",
            self.flows, self.flows_per_s
        )?;
        writeln!(
            out,
            "\n{:<14} {:>10} {:>12} {:>14} {:>12} {:>10}",
            "memory", "idle", "after large", "after 1/10", "after all", "peak"
        )?;
        for node in &self.memory {
            let now = |m: Option<Memory>| m.map_or_else(|| "-".to_owned(), |m| size(m.now));
            let peak = node
                .after_flows
                .map_or_else(|| "-".to_owned(), |m| size(m.peak));
            writeln!(
                out,
                "{:<14} {:>10} {:>12} {:>14} {:>12} {peak:>10}",
                node.node,
                now(node.idle),
                now(node.after_large),
                now(node.warm),
                now(node.after_flows)
            )?;
        }
        Ok(())
    }
}

fn tell(out: &mut dyn Write, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_ordered() {
        let times = Times::of((1..=200).rev().map(Duration::from_millis).collect());
        assert_eq!(
            times,
            Times {
                median_ms: 101.0,
                p95_ms: 191.0,
                p99_ms: 199.0
            }
        );
        assert_eq!(Times::of(vec![]).median_ms, 0.0);
    }
}
