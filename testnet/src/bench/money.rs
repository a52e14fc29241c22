//! `masq-testnet bench money`: what billing costs in processor time, what a gigabyte costs in
//! tokens beside the published formula, and what checking signatures costs a hop.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use masq::ledger::price::{self, DEFAULT_RATES, Direction};
use masq::ledger::{TOKEN, Wei};
use serde::Serialize;

use super::setups::{self, SetupRates};
use super::statistics::Ratio;
use super::{LARGE_LIMIT, failed, wrong};
use crate::error::TestnetError;
use crate::fetch::{self, Via};
use crate::money::NodeBooks;
use crate::network::Testnet;
use crate::report::size;
use crate::usage::Usage;
use crate::web::content;

/// What billing may cost, as a ratio of processor time. From the project's targets.
pub const MOST_RATIO: f64 = 1.03;
/// How far gigabytes per token may be from the formula. From the project's targets.
pub const MOST_OFF: f64 = 0.05;
/// Hops of the circuits that are priced.
pub const HOPS: u8 = 3;
/// Usage is in the books after this time: it is flushed each second.
const BOOKED_AFTER: Duration = Duration::from_millis(2_500);

/// What is measured.
#[derive(Debug, Clone)]
pub struct MoneyBenchOptions {
    /// Pairs of measurements, with billing and without.
    pub pairs: usize,
    /// Bytes that go each way in a measurement.
    pub bytes: u64,
}

/// One pair: processor seconds per gigabyte of all nodes together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Pair {
    /// With billing.
    pub on: f64,
    /// Without.
    pub off: f64,
}

/// Gigabytes per token one way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Priced {
    /// As the origin's books say.
    pub measured: f64,
    /// By the published formula.
    pub published: f64,
}

impl Priced {
    fn new(direction: Direction, bytes: u64, cost: Wei) -> Option<Self> {
        let published = price::gigabytes_per_token(&DEFAULT_RATES, HOPS, direction)?;
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let (gigabytes, tokens) = (
            bytes as f64 / price::GIGABYTE as f64,
            cost as f64 / TOKEN as f64,
        );
        (cost > 0).then(|| Self {
            measured: gigabytes / tokens,
            published,
        })
    }

    /// How far the two are apart, as a part of the published figure.
    #[must_use]
    pub fn off(&self) -> f64 {
        (self.measured / self.published - 1.0).abs()
    }
}

/// Everything measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MoneyReport {
    /// Nodes of each mesh.
    pub nodes: usize,
    /// Bytes each way in a measurement.
    pub bytes: u64,
    /// The pairs.
    pub pairs: Vec<Pair>,
    /// Processor time with billing over that without.
    pub ratio: Option<Ratio>,
    /// Downloading.
    pub down: Option<Priced>,
    /// Uploading.
    pub up: Option<Priced>,
    /// Set-ups at a hop.
    pub setups: SetupRates,
}

/// Measures two meshes that are up: one that bills and one that does not.
///
/// # Errors
/// When a transfer fails or brings wrong bytes, or a node does not answer.
pub async fn run(
    on: &Testnet,
    off: &Testnet,
    options: &MoneyBenchOptions,
    out: &mut (dyn Write + Send),
) -> Result<MoneyReport, TestnetError> {
    let len = options.bytes;
    let body = tokio::task::spawn_blocking(move || object(len));
    let body = body.await.map_err(|error| wrong(error.to_string()))?;
    for net in [on, off] {
        both(net, &body).await?;
    }
    let before = spent(on).await?;
    download(on, len).await?;
    let between = spent(on).await?;
    upload(on, &body).await?;
    let after = spent(on).await?;
    let mut pairs = Vec::new();
    for number in 0..options.pairs {
        super::tell(
            out,
            format_args!("pair {} of {}", number + 1, options.pairs),
        );
        // Who is first changes, so that nothing that drifts counts for one side.
        let pair = if number % 2 == 0 {
            let on = cpu_per_gb(on, &body).await?;
            Pair {
                on,
                off: cpu_per_gb(off, &body).await?,
            }
        } else {
            let off = cpu_per_gb(off, &body).await?;
            Pair {
                on: cpu_per_gb(on, &body).await?,
                off,
            }
        };
        pairs.push(pair);
    }
    let rates = tokio::task::spawn_blocking(setups::measure);
    let setups = rates.await.map_err(|error| wrong(error.to_string()))??;
    let ratios: Vec<_> = pairs.iter().map(|pair| pair.on / pair.off).collect();
    Ok(MoneyReport {
        nodes: on.nodes().len(),
        bytes: len,
        ratio: Ratio::of(&ratios),
        pairs,
        down: Priced::new(Direction::Download, len, between.saturating_sub(before)),
        up: Priced::new(Direction::Upload, len, after.saturating_sub(between)),
        setups,
    })
}

fn object(len: u64) -> Bytes {
    let mut body = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
    while (body.len() as u64) < len {
        body.extend_from_slice(&content::piece(body.len() as u64, len));
    }
    // Known from here on.
    let _ = content::sha256(len);
    Bytes::from(body)
}

fn socks(net: &Testnet) -> Result<Via, TestnetError> {
    net.socks()
        .map(Via::socks5)
        .ok_or_else(|| TestnetError::Options("the client node has no SOCKS proxy".to_owned()))
}

async fn download(net: &Testnet, len: u64) -> Result<(), TestnetError> {
    let (via, url) = (
        socks(net)?,
        net.url_at("127.0.0.1", &format!("/bytes/{len}")),
    );
    let got = fetch::get(&via, &url, LARGE_LIMIT)
        .await
        .map_err(failed(&via, &url))?;
    if got.sha256 != content::sha256(len) {
        return Err(wrong(format!("{url}: the hash differs")));
    }
    Ok(())
}

async fn upload(net: &Testnet, body: &Bytes) -> Result<(), TestnetError> {
    let (via, url) = (socks(net)?, net.url_at("127.0.0.1", "/sha256"));
    let got = fetch::post(&via, &url, body.clone(), LARGE_LIMIT)
        .await
        .map_err(failed(&via, &url))?;
    let answer = String::from_utf8_lossy(&got.body).into_owned();
    if !answer.contains(&hex::encode(content::sha256(body.len() as u64))) {
        return Err(wrong(format!("{url}: the hash differs")));
    }
    Ok(())
}

async fn both(net: &Testnet, body: &Bytes) -> Result<(), TestnetError> {
    download(net, body.len() as u64).await?;
    upload(net, body).await
}

/// Processor time of all nodes so far.
fn cpu(net: &Testnet) -> Duration {
    let nodes = net.nodes().iter();
    nodes
        .filter_map(|node| Usage::of(node.process()))
        .map(|usage| usage.cpu)
        .sum()
}

async fn cpu_per_gb(net: &Testnet, body: &Bytes) -> Result<f64, TestnetError> {
    let before = cpu(net);
    both(net, body).await?;
    let used = cpu(net).saturating_sub(before).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let gigabytes = 2.0 * body.len() as f64 / price::GIGABYTE as f64;
    Ok(used / gigabytes)
}

/// What the client has used so far, once it is booked.
async fn spent(net: &Testnet) -> Result<Wei, TestnetError> {
    let client = net.client();
    let Some(wallets) = client.wallets() else {
        return Err(TestnetError::Options("the client has no wallet".to_owned()));
    };
    tokio::time::sleep(BOOKED_AFTER).await;
    let books = NodeBooks::ask(client.control(), client.key(), wallets).await?;
    Ok(books
        .debts
        .iter()
        .map(crate::money::books::Debt::accrued)
        .sum())
}

impl MoneyReport {
    /// Whether every figure is within what it may be.
    ///
    /// # Errors
    /// [`TestnetError::Checks`] with the first that is not.
    pub fn check(&self) -> Result<(), TestnetError> {
        let mut off = Vec::new();
        match self.ratio {
            Some(ratio) if ratio.mean <= MOST_RATIO => {}
            Some(ratio) => off.push(format!(
                "billing takes {:.3} of the time without, {MOST_RATIO} are allowed",
                ratio.mean
            )),
            None => off.push("fewer than two pairs say nothing".to_owned()),
        }
        for (what, priced) in [("down", self.down), ("up", self.up)] {
            match priced {
                Some(priced) if priced.off() <= MOST_OFF => {}
                Some(priced) => off.push(format!(
                    "{:.0} GB {what} per MASQ, the formula says {:.0}",
                    priced.measured, priced.published
                )),
                None => off.push(format!("nothing was billed {what}")),
            }
        }
        match off.first() {
            None => Ok(()),
            Some(first) => Err(TestnetError::Checks {
                failed: off.len(),
                checks: 3,
                first: first.clone(),
            }),
        }
    }

    /// Writes the figures.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{} nodes, {HOPS} hops, {} each way",
            self.nodes,
            size(self.bytes)
        )?;
        writeln!(
            out,
            "{:<8} {:>14} {:>14} {:>8}",
            "pair", "billed, s/GB", "free, s/GB", "ratio"
        )?;
        for (number, pair) in (1..).zip(&self.pairs) {
            writeln!(
                out,
                "{number:<8} {:>14.3} {:>14.3} {:>8.3}",
                pair.on,
                pair.off,
                pair.on / pair.off
            )?;
        }
        if let Some(Ratio { mean, low, high }) = self.ratio {
            writeln!(
                out,
                "processor time, billed over free: {mean:.3} (95 %: {low:.3} to {high:.3}), at most {MOST_RATIO}"
            )?;
        }
        for (what, priced) in [("down", self.down), ("up", self.up)] {
            if let Some(priced) = priced {
                writeln!(
                    out,
                    "GB {what} per MASQ: {:.1} measured, {:.1} by the formula ({:+.2} %)",
                    priced.measured,
                    priced.published,
                    (priced.measured / priced.published - 1.0) * 100.0
                )?;
            }
        }
        let setups = self.setups;
        writeln!(
            out,
            "set-ups at a hop, per second and core: {:.0} with the signature checked, {:.0} without \
             ({:.0} µs for the check)",
            setups.with_check, setups.without_check, setups.check_us
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> MoneyReport {
        let gb = 200_000_000;
        let cost = |direction| price::transfer(&DEFAULT_RATES, HOPS, direction, gb).unwrap();
        MoneyReport {
            nodes: 6,
            bytes: gb,
            pairs: vec![Pair { on: 2.02, off: 2.0 }, Pair { on: 2.0, off: 2.0 }],
            ratio: Ratio::of(&[1.01, 1.0]),
            down: Priced::new(Direction::Download, gb, cost(Direction::Download)),
            up: Priced::new(Direction::Upload, gb, cost(Direction::Upload)),
            setups: SetupRates {
                without_check: 9_000.0,
                with_check: 4_000.0,
                check_us: 139.0,
            },
        }
    }

    #[test]
    fn what_costs_what_the_formula_says_is_not_off() {
        let report = report();
        assert!(report.down.unwrap().off() < 1e-6);
        report.check().unwrap();
        let mut out = Vec::new();
        report.write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in ["852", "851", "1.010", "4000 with"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_told() {
        let mut bad = report();
        bad.ratio = Ratio::of(&[1.2, 1.2]);
        bad.down.as_mut().unwrap().measured *= 1.06;
        bad.up = None;
        let error = bad.check().unwrap_err().to_string();
        assert!(
            error.starts_with("3 of 3 checks failed: billing takes 1.2"),
            "{error}"
        );
        assert_eq!(Priced::new(Direction::Upload, 1, 0), None);
    }
}
