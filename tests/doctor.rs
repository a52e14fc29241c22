//! Real nodes in one process ask each other whether they can be dialled, and
//! `masq doctor`'s report says what they found. The links stay as they were.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use libp2p::identity::Keypair;
use masq::config::{Chain, Config, Descriptor};
use masq::control::NodeApi;
use masq::control::types::Event;
use masq::daemon::{Start, Stop};
use masq::datadir::DataDir;
use masq::doctor::{Check, Finding, Report, Verdict};
use masq::reach::Prober;
use masq_gossip::NodeKey;
use tokio::sync::broadcast;

/// Real time, for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Loopback addresses that no other run of these tests uses.
fn address(test: u8, number: u8) -> IpAddr {
    let net = std::process::id().to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, net[2] | 128, net[3], test * 16 + number))
}

fn config(folder: &Path, at: IpAddr, seeds: &[Descriptor]) -> Config {
    let mut config = Config::new(folder.join(at.to_string()));
    config.chain = Chain::Dev;
    config.payments = false;
    config.listen = vec![SocketAddr::new(at, 0)];
    config.neighbours = seeds.to_vec();
    config.socks = None;
    config.http = None;
    config
}

struct Node {
    api: Arc<dyn NodeApi>,
    events: broadcast::Receiver<Event>,
}

impl Node {
    async fn start(config: Config, stop: &Stop) -> Self {
        let data = DataDir::open(&config.data_dir).unwrap();
        let node = masq::node::start(Start::open(config, data, stop.clone()).unwrap())
            .await
            .unwrap();
        tokio::spawn(node.finished);
        Self {
            events: node.api.events(),
            api: node.api,
        }
    }

    async fn descriptor(&self) -> Descriptor {
        let view = self.api.descriptor().await.unwrap();
        view.descriptor.unwrap().parse().unwrap()
    }

    async fn has_neighbour(&mut self) {
        let up = async {
            while !matches!(self.events.recv().await.unwrap(), Event::NeighbourUp { .. }) {}
        };
        tokio::time::timeout(PATIENCE, up).await.unwrap();
    }

    /// Whether a link ended since this was last asked.
    fn lost_a_link(&mut self) -> bool {
        std::iter::from_fn(|| self.events.try_recv().ok())
            .any(|event| matches!(event, Event::NeighbourDown { .. }))
    }

    async fn about(&self, check: Check) -> Finding {
        let report: Report = self.api.doctor().await.unwrap();
        let about = report.findings.into_iter().find(|f| f.check == check);
        about.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neighbours_tell_who_can_be_dialled_and_links_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let stop = Stop::new();
    let mut seed = Node::start(config(folder.path(), address(1, 1), &[]), &stop).await;
    let seeds = [seed.descriptor().await];

    let mut open = Node::start(config(folder.path(), address(1, 2), &seeds), &stop).await;
    open.has_neighbour().await;
    let found = open.about(Check::Reachability).await;
    assert_eq!(found.verdict, Verdict::Ok, "{found:?}");
    assert!(found.what.contains("has dialled this node"), "{found:?}");

    // It tells others of a port on which nobody listens.
    let mut shut = config(folder.path(), address(1, 3), &seeds);
    let free = TcpListener::bind((address(1, 3), 0))
        .and_then(|listener| listener.local_addr())
        .unwrap();
    shut.advertise = Some(free.to_string().parse().unwrap());
    let mut shut = Node::start(shut, &stop).await;
    shut.has_neighbour().await;
    let found = shut.about(Check::Reachability).await;
    assert_eq!(found.verdict, Verdict::Fault, "{found:?}");
    assert!(found.what.contains(&free.to_string()), "{found:?}");

    let clock = open.about(Check::Clock).await;
    assert_eq!(clock.verdict, Verdict::Ok, "{clock:?}");
    for node in [&mut seed, &mut open, &mut shut] {
        assert!(!node.lost_a_link());
    }
    stop.ask_at_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_counts_only_with_the_right_key() {
    let folder = tempfile::tempdir().unwrap();
    let stop = Stop::new();
    let node = Node::start(config(folder.path(), address(2, 1), &[]), &stop).await;
    let Descriptor {
        node: key, ports, ..
    } = node.descriptor().await;
    let at = |port| SocketAddr::new(address(2, 1), port).into();
    let nobody = TcpListener::bind((address(2, 1), 0)).unwrap();
    let silent = nobody.local_addr().unwrap().port();

    let source = Some(address(2, 2));
    let prober = Prober::new(Keypair::generate_ed25519(), source);
    let both = vec![at(silent), at(ports[0])];
    assert_eq!(prober.probe(key.peer_id(), both).await, Some(ports[0]));
    let other = NodeKey::try_from(&Keypair::generate_ed25519().public()).unwrap();
    let there = vec![at(ports[0])];
    assert_eq!(prober.probe(other.peer_id(), there).await, None);
    drop(nobody);
    assert_eq!(prober.probe(key.peer_id(), vec![at(silent)]).await, None);
    assert_eq!(prober.probe(key.peer_id(), vec![]).await, None);
    stop.ask_at_once();
}
