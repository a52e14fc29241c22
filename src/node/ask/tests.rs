//! Questions between real nodes in one process: they reach the node that was
//! chosen, its answer comes home, and what can't be answered ends in time.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use masq_cores::NodeKey as CoresKey;
use masq_cores::flow::ClientSession;
use masq_cores::flow::{FlowError, FlowRequest, FlowStatus, Host, Want};
use masq_gossip::{ASK_TIMEOUT, NodeKey};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::config::Config;
use crate::control::types::{GraphView, Stage};
use crate::daemon::{RunningNode, Start, Stop};
use crate::datadir::DataDir;
use crate::node::Builder;

/// A question that nobody ever answers, and one that is turned away.
const SILENCE: &[u8] = b"silence";
const NO: &[u8] = b"no";

struct TestNode {
    running: RunningNode,
    asker: Asker,
    stop: Stop,
}

struct TestMesh {
    nodes: Vec<TestNode>,
    _folder: TempDir,
}

/// Answers with its own key and the question, unless the question says otherwise.
async fn answer(me: NodeKey, mut inbox: mpsc::Receiver<Asked>) {
    let mut kept = Vec::new();
    while let Some(Asked { question, reply }) = inbox.recv().await {
        match question.as_slice() {
            SILENCE => kept.push(reply),
            NO => drop(reply.send(None)),
            _ => drop(reply.send(Some([&me.0[..], &question].concat()))),
        }
    }
}

impl TestMesh {
    /// `count` nodes that route, of which the second alone is an exit.
    async fn start(count: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let net = std::process::id().to_be_bytes();
        let mut nodes: Vec<TestNode> = Vec::new();
        let mut seed = None;
        for number in 1..=count {
            let mut config = Config::new(folder.path().join(number.to_string()));
            let address = IpAddr::V4(Ipv4Addr::new(127, net[2] | 128, net[3], number));
            config.chain = crate::config::Chain::Dev;
            config.payments = false;
            config.listen = vec![SocketAddr::new(address, 0)];
            config.neighbours = seed.iter().cloned().collect();
            (config.socks, config.http) = (None, None);
            (config.exit, config.allow_private) = (number == 2, true);
            let data = DataDir::open(&config.data_dir).unwrap();
            let stop = Stop::new();
            let builder = Builder::new(Start::open(config, data, stop.clone()).unwrap()).unwrap();
            let (answering, inbox) = Answering::new();
            tokio::spawn(answer(builder.me, inbox));
            // Nothing is asked of the loop: gossip would not understand these questions.
            let nobody = mpsc::channel(1).1;
            let (mut running, asker) = builder.assemble(answering, nobody).await.unwrap();
            let finished = std::mem::replace(&mut running.finished, Box::pin(async { Ok(()) }));
            tokio::spawn(finished);
            if seed.is_none() {
                let descriptor = running.api.descriptor().await.unwrap().descriptor;
                seed = Some(descriptor.unwrap().parse().unwrap());
            }
            nodes.push(TestNode {
                running,
                asker,
                stop,
            });
        }
        Self {
            nodes,
            _folder: folder,
        }
    }

    /// Waits until the first node sees everybody and has a route.
    async fn settle(&self) {
        let api = &self.nodes[0].running.api;
        // There is no event for all of it together.
        let settled = async {
            loop {
                let status = api.connection_status().await.unwrap();
                let graph = api.neighborhood().await.unwrap();
                if status.stage == Stage::RouteFound && graph.nodes.len() == self.nodes.len() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), settled)
            .await
            .unwrap();
    }

    /// Nodes that the first one may ask, by their place in the list.
    async fn far(&self) -> Vec<(usize, NodeKey)> {
        let graph: GraphView = self.nodes[0].running.api.neighborhood().await.unwrap();
        let near: HashSet<_> = graph.links.iter().map(|link| link.node.clone()).collect();
        let mut far = Vec::new();
        for (at, node) in self.nodes.iter().enumerate().skip(1) {
            let key = node.running.api.descriptor().await.unwrap().node;
            if !near.contains(&key) {
                far.push((at, key.parse().unwrap()));
            }
        }
        far
    }

    /// Asks far nodes that are no exit until one answers: links may still be changing.
    async fn answered(&self, question: &[u8]) -> (usize, NodeKey, Vec<u8>) {
        let answered = async {
            loop {
                for (at, to) in self.far().await {
                    if at != 1
                        && let Some(answer) = self.asker().ask(to, question.to_vec()).await
                    {
                        return (at, to, answer);
                    }
                }
            }
        };
        let answered = tokio::time::timeout(Duration::from_secs(30), answered).await;
        answered.expect("somebody answers")
    }

    /// A circuit to one of them: links may still be changing.
    async fn circuit(&self) -> (usize, NodeKey, ClientSession) {
        let found = async {
            loop {
                let (at, key, _) = self.answered(&[1]).await;
                let (asker, to) = (self.asker(), CoresKey(key.0));
                if let Ok(route) = asker.routes.to_service(to, &[])
                    && let Some(session) = asker.build(route, to).await
                {
                    return (at, key, session);
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(60), found).await;
        found.expect("a circuit to somebody")
    }

    fn asker(&self) -> Asker {
        self.nodes[0].asker.clone()
    }
}

impl Drop for TestMesh {
    fn drop(&mut self) {
        for node in &self.nodes {
            node.stop.ask_at_once();
        }
    }
}

/// What a node that is no exit says to anything but a question.
async fn statuses_of_other_flows(session: ClientSession) -> Vec<FlowStatus> {
    let name = || "localhost".to_owned();
    let requests = [
        FlowRequest::Tcp {
            host: Host::Name(name()),
            port: 80,
        },
        FlowRequest::Udp,
        FlowRequest::Resolve {
            name: name(),
            want: Want::Any,
        },
        FlowRequest::ResolvePtr {
            address: Ipv4Addr::LOCALHOST.into(),
        },
        FlowRequest::Service { name: name() },
    ];
    let mut said = Vec::new();
    for request in requests {
        match session.connect(request).await {
            Err(FlowError::Refused(reply)) => said.push(reply.status),
            other => panic!("not refused: {other:?}"),
        }
    }
    session.close();
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_reach_the_chosen_node_and_always_end_in_time() {
    let mesh = TestMesh::start(8).await;
    mesh.settle().await;
    let question = vec![7; MAX_ASK_LEN - 32];
    let (_, to, answer) = mesh.answered(&question).await;
    assert_eq!(answer, [&to.0[..], &question].concat());

    let begun = Instant::now();
    assert_eq!(mesh.asker().ask(to, NO.into()).await, None);
    let stranger = NodeKey([0x42; 32]);
    assert_eq!(mesh.asker().ask(stranger, vec![1]).await, None);
    let graph = mesh.nodes[0].running.api.neighborhood().await.unwrap();
    for link in graph.links {
        let neighbour = link.node.parse().unwrap();
        assert_eq!(mesh.asker().ask(neighbour, vec![1]).await, None);
    }
    let too_long = vec![7; MAX_ASK_LEN + 1];
    assert_eq!(mesh.asker().ask(to, too_long).await, None);
    assert!(begun.elapsed() < ASK_TIMEOUT, "{:?}", begun.elapsed());

    // Users' circuits and these have nothing to do with each other.
    let circuits = mesh.nodes[0].running.api.circuits().await.unwrap();
    assert!(circuits.iter().all(|circuit| circuit.flows_carried == 0));

    // Links may still be changing, and then it is over sooner.
    let mut waited = Duration::ZERO;
    for (_, to) in mesh.far().await.into_iter().cycle().take(20) {
        let begun = Instant::now();
        assert_eq!(mesh.asker().ask(to, SILENCE.into()).await, None);
        waited = begun.elapsed();
        assert!(waited < ASK_TIMEOUT, "{waited:?}");
        if waited > ASK_TIMEOUT / 2 {
            break;
        }
    }
    assert!(waited > ASK_TIMEOUT / 2, "somebody was asked: {waited:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_no_exit_answers_questions_and_nothing_else() {
    let mesh = TestMesh::start(8).await;
    mesh.settle().await;
    let (at, to, session) = mesh.circuit().await;
    let said = statuses_of_other_flows(session).await;
    use FlowStatus::{PolicyRefused, Unsupported};
    assert_eq!(
        said,
        [
            PolicyRefused,
            PolicyRefused,
            PolicyRefused,
            PolicyRefused,
            Unsupported
        ]
    );

    // It goes away, and nobody has noticed yet.
    mesh.nodes[at].stop.ask_at_once();
    let begun = Instant::now();
    assert_eq!(mesh.asker().ask(to, vec![1]).await, None);
    assert!(begun.elapsed() < ASK_TIMEOUT, "{:?}", begun.elapsed());
    // As a relay it is gone too: others are reached without it, or nobody waits for long.
    for (_, other) in mesh.far().await {
        let begun = Instant::now();
        let answer = mesh.asker().ask(other, vec![1]).await;
        assert!(begun.elapsed() < ASK_TIMEOUT, "{:?}", begun.elapsed());
        assert!(answer.is_none_or(|answer| answer.starts_with(&other.0)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_at_once_are_bounded_and_each_is_answered() {
    let mesh = TestMesh::start(1).await;
    let (questions, inbox) = mpsc::channel(1);
    let mut asks = Asks::new(mesh.asker(), inbox);
    let stranger = NodeKey([0x42; 32]);
    for call in 0..MAX_ASKS as u64 {
        assert!(asks.ask(call, stranger, vec![1]));
    }
    assert!(!asks.ask(99, stranger, vec![1]));
    let mut ended = HashSet::new();
    while ended.len() < MAX_ASKS {
        match asks.next().await {
            Happened::Answered { call, answer: None } => ended.insert(call),
            other => panic!("{other:?}"),
        };
    }
    assert!(asks.ask(99, stranger, vec![1]), "there is room again");

    // The other way: each question finds its own way back, and those that nobody waits for go.
    let ask = |byte| {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let question = vec![byte];
        questions.try_send(Asked { question, reply }).unwrap();
        answer
    };
    let next = async |asks: &mut Asks| loop {
        if let Happened::Asked { call, question } = asks.next().await {
            return (call, question);
        }
    };
    let first = ask(1);
    let (one, question) = next(&mut asks).await;
    assert_eq!(question, [1]);
    drop(ask(2));
    next(&mut asks).await;
    let third = ask(3);
    let (three, _) = next(&mut asks).await;
    assert_eq!(asks.waiting.len(), 2, "nobody waits for the second");
    asks.reply(three, None);
    asks.reply(one, Some(vec![9]));
    asks.reply(77, None);
    assert_eq!(first.await.unwrap(), Some(vec![9]));
    assert_eq!(third.await.unwrap(), None);
}

#[tokio::test]
async fn frames_are_length_and_bytes_and_bounded() {
    let mut wire = futures::io::Cursor::new(Vec::new());
    write_frame(&mut wire, b"abc").await.unwrap();
    assert_eq!(wire.get_ref().as_slice(), b"\x00\x03abc");
    wire.set_position(0);
    assert_eq!(read_frame(&mut wire).await.unwrap(), b"abc");
    assert!(write_frame(&mut wire, &[0; MAX_ASK_LEN + 1]).await.is_err());
    for bad in [
        &b""[..],
        b"\x00",
        b"\x00\x02a",
        &[0xff; 70_000],
        b"\x04\x01",
    ] {
        let mut wire = futures::io::Cursor::new(bad.to_vec());
        assert!(read_frame(&mut wire).await.is_err());
    }
}
