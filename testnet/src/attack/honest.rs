//! The honest client: small pages through the mesh, one after the other, and how
//! long each took. It never stops because one failed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinHandle;

use crate::fetch::{self, Via};
use crate::network::Testnet;
use crate::web::content;

/// Longest that a fetch may take.
const LIMIT: Duration = Duration::from_secs(20);
/// Pause between two fetches.
const PAUSE: Duration = Duration::from_millis(25);
/// Bytes of a page.
const PAGE: u64 = 2_000;
/// Fetches with one user name; another user's flows get circuits of their own, so circuits
/// are built all the time.
const FETCHES_PER_USER: u64 = 20;

#[derive(Debug, Default)]
struct Fetches {
    took: Vec<Duration>,
    failed: Vec<String>,
}

/// How fetches went for a while.
#[derive(Debug, Clone, Serialize)]
pub struct FetchReport {
    /// Those that brought the right bytes.
    pub done: usize,
    /// Those that did not.
    pub failed: usize,
    /// What the first of those saw.
    pub first_failure: Option<String>,
    /// Half were quicker, in milliseconds.
    pub p50_ms: f64,
    /// 95 in 100 were quicker.
    pub p95_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

/// Fetches that go on in the background. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Honest {
    fetches: Arc<Mutex<Fetches>>,
    task: JoinHandle<()>,
}

impl Drop for Honest {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Honest {
    /// Begins to fetch through the client node's SOCKS5 proxy; `None` when it has none.
    pub(super) fn start(net: &Testnet) -> Option<Self> {
        let proxy = net.socks()?;
        let url = net.url_at("127.0.0.1", &format!("/bytes/{PAGE}"));
        let fetches = Arc::new(Mutex::new(Fetches::default()));
        let noted = Arc::clone(&fetches);
        let task = tokio::spawn(async move {
            for n in 0_u64.. {
                let user = format!("honest-{}", n / FETCHES_PER_USER);
                let via = Via::Socks5 {
                    proxy,
                    auth: Some((user, "x".to_owned())),
                };
                let start = Instant::now();
                let got = fetch::get(&via, &url, LIMIT).await;
                match got {
                    Ok(page) if page.sha256 == content::sha256(PAGE) => {
                        lock(&noted).took.push(start.elapsed());
                    }
                    Ok(page) => lock(&noted).failed.push(format!("status {}", page.status)),
                    Err(error) => lock(&noted).failed.push(error.to_string()),
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Some(Self { fetches, task })
    }

    /// How it went since the last time this was asked.
    pub(super) fn take(&self) -> FetchReport {
        let Fetches { mut took, failed } = std::mem::take(&mut *lock(&self.fetches));
        took.sort_unstable();
        FetchReport {
            done: took.len(),
            failed: failed.len(),
            first_failure: failed.into_iter().next(),
            p50_ms: share(&took, 50),
            p95_ms: share(&took, 95),
            max_ms: share(&took, 100),
        }
    }
}

fn lock(fetches: &Mutex<Fetches>) -> MutexGuard<'_, Fetches> {
    // Held for pushing onto lists only.
    fetches.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time that `percent` in 100 of the sorted times are below, in milliseconds.
pub(super) fn share(sorted: &[Duration], percent: usize) -> f64 {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).map_or(0.0, |t| t.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_sorted_times() {
        let times: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(
            [50, 95, 100].map(|percent| share(&times, percent)),
            [51.0, 96.0, 100.0]
        );
        assert_eq!(share(&[], 50), 0.0);
    }
}
