//! The attacks, one wave each: what every attacker does over and over, from a few
//! addresses, until the time or the number of attempts is used up.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use futures::AsyncWriteExt as _;
use libp2p::identity::Keypair;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::honest::share;
use super::peer::{self, Gossip, Peer, Target};
use super::wire::{self, Answer, Record};

/// Most that one garbage connection sends, in bytes.
const GARBAGE: usize = 64 * 1024;
/// Streams that are stalled within their negotiation: as many as a node negotiates at once.
const STALLED_STREAMS: usize = 32;
/// Streams behind them, whose windows are filled.
const STUFFED_STREAMS: usize = 64;
/// What fills a window, in bytes.
const WINDOW: usize = 256 * 1024;
/// Messages a second of a neighbour that stays just below what is allowed.
const STEADY: u64 = 40;
/// Invented nodes whose records a neighbour passes on.
const INVENTED: usize = 1024;
/// Most times that are kept of how long it took until somebody was cut off.
const MAX_TIMES: usize = 100_000;

/// A wave of attacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wave {
    /// Random bytes on raw TCP
    Garbage,
    /// Connections that stall before or inside the handshake
    Stall,
    /// Authenticated peers who send what is no message
    Nonsense,
    /// Authenticated peers who send messages as fast as they can: long pings, digests, lists, wants, walks, records
    Flood,
    /// Neighbours who send full records messages just below the allowed rate
    Insider,
    /// Authenticated peers who open streams and fill their windows
    Stuff,
    /// Debuts, each under a fresh key
    Debuts,
}

impl Wave {
    /// All of them, in the order in which they are run.
    pub const ALL: [Self; 7] = [
        Self::Garbage,
        Self::Stall,
        Self::Nonsense,
        Self::Flood,
        Self::Insider,
        Self::Stuff,
        Self::Debuts,
    ];
}

impl std::fmt::Display for Wave {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.to_possible_value();
        f.pad(name.as_ref().map_or("", |name| name.get_name()))
    }
}

/// What attackers saw.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Tally {
    /// Connections tried.
    pub tried: u64,
    /// Closed by the victim before the handshake was over.
    pub turned_away: u64,
    /// Authenticated.
    pub met: u64,
    /// Accepted as neighbours.
    pub accepted: u64,
    /// Debuts refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Messages sent after the debut, or instead of it.
    pub messages: u64,
    /// Bytes sent that are no handshake.
    pub bytes: u64,
    /// Closed by the victim after the handshake, or while an attacker stalled.
    pub cut_off: u64,
    /// Half of those were cut off more quickly, in milliseconds.
    pub cut_off_p50_ms: f64,
    /// The last of them.
    pub cut_off_max_ms: f64,
    #[serde(skip)]
    times: Vec<Duration>,
}

impl Tally {
    fn cut(&mut self, after: Duration) {
        self.cut_off += 1;
        if self.times.len() < MAX_TIMES {
            self.times.push(after);
        }
    }

    fn closed(mut self) -> Self {
        let mut times = std::mem::take(&mut self.times);
        times.sort_unstable();
        self.cut_off_p50_ms = share(&times, 50);
        self.cut_off_max_ms = share(&times, 100);
        self
    }
}

/// How hard a wave hits.
#[derive(Debug, Clone)]
pub(super) struct Force {
    pub(super) target: Target,
    /// The attackers' addresses.
    pub(super) sources: Vec<Ipv4Addr>,
    /// How long.
    pub(super) time: Duration,
    /// Attempts in all.
    pub(super) attempts: u64,
    /// Attackers at a time.
    pub(super) at_once: u64,
    /// Attempts a second, at most.
    pub(super) rate: u64,
}

/// What the attackers of a wave share.
struct Camp {
    wave: Wave,
    force: Force,
    until: Instant,
    next: AtomicU64,
    tally: Mutex<Tally>,
    /// Signed records of nodes that do not exist, made beforehand.
    invented: Vec<Keypair>,
}

impl Camp {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        // Held for counting only.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sent(&self, bytes: usize) {
        let mut tally = self.tally();
        tally.messages += 1;
        tally.bytes += bytes as u64;
    }
}

/// Runs one wave to its end.
pub(super) async fn run(wave: Wave, force: Force) -> Tally {
    let invented = match wave {
        Wave::Flood | Wave::Insider => {
            let make = || (0..INVENTED).map(|_| Keypair::generate_ed25519()).collect();
            tokio::task::spawn_blocking(make).await.unwrap_or_default()
        }
        _ => Vec::new(),
    };
    let at_once = force.at_once.max(1);
    let camp = Arc::new(Camp {
        wave,
        until: Instant::now() + force.time,
        force,
        next: AtomicU64::new(0),
        tally: Mutex::default(),
        invented,
    });
    let mut attackers = JoinSet::new();
    for _ in 0..at_once {
        attackers.spawn(attacker(Arc::clone(&camp)));
    }
    // Whoever still waits for the victim is called back.
    let end = tokio::time::Instant::from_std(camp.until);
    let all = async { while attackers.join_next().await.is_some() {} };
    let _ = tokio::time::timeout_at(end, all).await;
    attackers.shutdown().await;
    std::mem::take(&mut *camp.tally()).closed()
}

async fn attacker(camp: Arc<Camp>) {
    let pause = Duration::from_secs(camp.force.at_once.max(1)) / force_rate(&camp.force);
    loop {
        let n = camp.next.fetch_add(1, Relaxed);
        if n >= camp.force.attempts || Instant::now() >= camp.until {
            return;
        }
        let sources = &camp.force.sources;
        let index = usize::try_from(n).unwrap_or(0) % sources.len().max(1);
        let Some(from) = sources.get(index).copied() else {
            return;
        };
        let begun = tokio::time::Instant::now();
        camp.tally().tried += 1;
        attempt(&camp, n / sources.len().max(1) as u64, from).await;
        tokio::time::sleep_until(begun + pause).await;
    }
}

fn force_rate(force: &Force) -> u32 {
    u32::try_from(force.rate).unwrap_or(u32::MAX).max(1)
}

async fn attempt(camp: &Camp, n: u64, from: Ipv4Addr) {
    match camp.wave {
        Wave::Garbage => garbage(camp, from).await,
        Wave::Stall => stall(camp, n, from).await,
        wave => {
            let keys = Keypair::generate_ed25519();
            let streams = if wave == Wave::Stuff {
                STALLED_STREAMS + STUFFED_STREAMS
            } else {
                1
            };
            let Ok(mut peer) = Peer::meet(camp.force.target, from, &keys, streams).await else {
                camp.tally().turned_away += 1;
                return;
            };
            camp.tally().met += 1;
            if wave == Wave::Stuff {
                return stuff(camp, peer).await;
            }
            let begun = Instant::now();
            let Ok(gossip) = peer.gossip().await else {
                return camp.tally().cut(begun.elapsed());
            };
            match wave {
                Wave::Nonsense => nonsense(camp, n, &keys, gossip).await,
                Wave::Debuts => drop(debut(camp, &keys, gossip).await),
                _ => flood(camp, n, &keys, gossip).await,
            }
        }
    }
}

async fn garbage(camp: &Camp, from: Ipv4Addr) {
    let Ok(mut stream) = peer::connect(camp.force.target, from).await else {
        camp.tally().turned_away += 1;
        return;
    };
    let begun = Instant::now();
    let mut sent = 0;
    while sent < GARBAGE {
        let noise: [u8; 1024] = rand::random();
        if stream.write_all(&noise).await.is_err() {
            break;
        }
        sent += noise.len();
    }
    camp.tally().bytes += sent as u64;
    let mut waste = [0; 1024];
    while matches!(stream.read(&mut waste).await, Ok(n) if n > 0) {}
    camp.tally().cut(begun.elapsed());
}

async fn stall(camp: &Camp, n: u64, from: Ipv4Addr) {
    let Ok(tcp) = peer::connect(camp.force.target, from).await else {
        camp.tally().turned_away += 1;
        return;
    };
    let begun = Instant::now();
    let mut stream = tcp.compat();
    let said = match n % 3 {
        // Nothing at all.
        0 => Ok(()),
        // Half of the first line.
        1 => stream.write_all(&peer::line(peer::HELLO)[..9]).await,
        // As far as noise, whose first message is announced and does not come.
        _ => match peer::negotiate(&mut stream, peer::NOISE).await {
            Ok(()) => stream.write_all(&[0, 32, 7]).await,
            Err(error) => Err(error),
        },
    };
    if said.is_ok() {
        let mut waste = [0; 256];
        let mut tcp = stream.into_inner();
        while matches!(tcp.read(&mut waste).await, Ok(n) if n > 0) {}
    }
    camp.tally().cut(begun.elapsed());
}

async fn nonsense(camp: &Camp, n: u64, keys: &Keypair, mut gossip: Gossip) {
    let begun = Instant::now();
    let now = unix_time();
    let bytes = match n % 5 {
        // The longest there can be, of noise.
        0 => [vec![0xff; 2], noise(wire::MAX_MESSAGE)].concat(),
        1 => wire::framed(&wire::unknown_kind()),
        2 => wire::framed(&wire::endless_walk(keys, rand::random(), now)),
        // A field that says it is longer than the message.
        3 => wire::framed(&[0x08, 0x14, 0x1a, 0xff, 0x7f]),
        // A message of no bytes has no kind.
        _ => wire::framed(&[]),
    };
    if gossip.send_raw(&bytes).await.is_ok() {
        camp.sent(bytes.len());
    }
    gossip.until_cut_off().await;
    camp.tally().cut(begun.elapsed());
}

/// Says debut and hears the answer.
async fn debut(camp: &Camp, keys: &Keypair, mut gossip: Gossip) -> Option<(Answer, Gossip)> {
    let begun = Instant::now();
    let record = Record::of_newcomer(unix_time()).signed(keys);
    let answered = async {
        gossip.send(&wire::debut(&record)).await?;
        gossip.receive().await
    };
    let Ok(answer) = answered.await else {
        camp.tally().cut(begun.elapsed());
        return None;
    };
    let answer = Answer::read(&answer);
    let mut tally = camp.tally();
    match answer {
        Answer::Accept => tally.accepted += 1,
        Answer::Refuse(why) => *tally.refused.entry(wire::reason(why)).or_default() += 1,
        Answer::Other => {}
    }
    drop(tally);
    Some((answer, gossip))
}

/// Debuts, and sends messages whatever the answer. A neighbour may do more than a guest.
async fn flood(camp: &Camp, n: u64, keys: &Keypair, gossip: Gossip) {
    let Some((answer, gossip)) = debut(camp, keys, gossip).await else {
        return;
    };
    let steady = camp.wave == Wave::Insider;
    if steady && answer != Answer::Accept {
        return;
    }
    let begun = Instant::now();
    let (reading, mut writing) = gossip.split();
    let send = async {
        for k in 0_u64.. {
            let body = message(camp, if steady { 5 } else { n % 6 }, k, keys);
            if writing.send(&body).await.is_err() {
                return;
            }
            camp.sent(body.len());
            if steady {
                tokio::time::sleep(Duration::from_secs(1) / STEADY as u32).await;
            }
        }
    };
    tokio::select! {
        () = send => {}
        () = reading.until_cut_off() => {}
    }
    camp.tally().cut(begun.elapsed());
}

/// The `k`-th message of a flood of one kind.
fn message(camp: &Camp, kind: u64, k: u64, keys: &Keypair) -> Vec<u8> {
    let now = unix_time();
    match kind {
        0 => wire::long_ping(k),
        1 => wire::digest(rand::random()),
        2 => wire::empty_list(),
        3 => wire::want(rand::random()),
        4 => wire::walk(keys, rand::random(), now),
        _ => {
            // Every record is new: another node, or a later version.
            let per = wire::MAX_RECORDS;
            let first = usize::try_from(k).unwrap_or(0) * per;
            let version = now + k * per as u64 / INVENTED as u64;
            let record = Record {
                version,
                issued: now,
                neighbours: Vec::new(),
            };
            let invented = camp.invented.iter().cycle().skip(first % INVENTED);
            let signed: Vec<_> = invented.take(per).map(|keys| record.signed(keys)).collect();
            wire::records(&signed)
        }
    }
}

async fn stuff(camp: &Camp, mut peer: Peer) {
    let begun = Instant::now();
    let stuffed = peer.streams.split_off(STALLED_STREAMS);
    let mut sent = 0;
    for stream in &mut peer.streams {
        if stream.write_all(&[19]).await.is_err() || stream.flush().await.is_err() {
            return camp.tally().cut(begun.elapsed());
        }
    }
    let full = vec![0; WINDOW];
    let mut kept = Vec::new();
    for mut stream in stuffed {
        if stream.write_all(&full).await.is_err() || stream.flush().await.is_err() {
            break;
        }
        sent += WINDOW as u64;
        camp.tally().bytes += WINDOW as u64;
        kept.push(stream);
    }
    // Holds on until the victim ends it.
    if let Some(stream) = peer.streams.first_mut() {
        let mut waste = [0; 256];
        while matches!(futures::AsyncReadExt::read(stream, &mut waste).await, Ok(n) if n > 0) {}
    }
    if sent > 0 {
        camp.tally().messages += kept.len() as u64;
    }
    camp.tally().cut(begun.elapsed());
}

fn noise(len: usize) -> Vec<u8> {
    let seed: [u8; 64] = rand::random();
    seed.into_iter().cycle().take(len).collect()
}

fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_have_names() {
        let names: Vec<_> = Wave::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(names[0], "garbage");
        assert!(Wave::from_str("debuts", false).is_ok());
    }

    #[test]
    fn a_tally_sums_up_when_attackers_were_cut_off() {
        let mut tally = Tally::default();
        for ms in 1..=100 {
            tally.cut(Duration::from_millis(ms));
        }
        let tally = tally.closed();
        assert_eq!(tally.cut_off, 100);
        assert_eq!((tally.cut_off_p50_ms, tally.cut_off_max_ms), (51.0, 100.0));
    }
}
