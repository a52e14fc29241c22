//! Scenarios S5 to S8 with real processes: neighbours that die, nodes that come
//! back, and halves that were parted.

use std::time::{Duration, Instant};

use crate::support::{alone, down, eventually, get, options, surveyed};
use masq::control::Client;
use masq::control::types::{Event, Stage};
use masq_testnet::survey::Survey;
use masq_testnet::{Role, Testnet, WaitFor};

/// A silent neighbour is dropped within this, from the specification, and the news spread.
const KNOWN_WITHIN: Duration = Duration::from_secs(15 + 5);

/// Whoever still names the node: as a neighbour, or by an edge of the graph.
async fn who_names(net: &Testnet, key: &str) -> Vec<String> {
    let mut names = Vec::new();
    for node in net.nodes().iter().filter(|n| n.key() != key) {
        let Ok(graph) = node.control().graph().await else {
            continue;
        };
        let linked = graph.links.iter().any(|link| link.node == key);
        let edged = graph.edges.iter().any(|(a, b)| a == key || b == key);
        if linked || edged {
            names.push(node.name().to_owned());
        }
    }
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s5_a_death_is_known_within_the_radius() {
    let _alone = alone();
    let mut net = Testnet::up(options(10)).await.unwrap();
    let relays: Vec<_> = net
        .nodes()
        .iter()
        .filter(|n| n.role() == Role::Relay)
        .map(|n| n.name().to_owned())
        .collect();

    // One that crashes: its connections break.
    let crashed = net.kill(&relays[..1]).await.remove(0);
    eventually("nobody names the dead", KNOWN_WITHIN, || async {
        who_names(&net, &crashed.key())
            .await
            .is_empty()
            .then_some(())
    })
    .await;

    // One that falls silent: its connections stay open.
    let silent = net.node(&relays[1]).unwrap();
    let (process, key) = (silent.process(), silent.key());
    assert!(process.pause());
    eventually("nobody names the silent", KNOWN_WITHIN, || async {
        who_names(&net, &key).await.is_empty().then_some(())
    })
    .await;

    // Somebody who comes later hears of neither.
    let seed = net.seed();
    let home = std::net::SocketAddr::from(([127, 1, 5, 1], 4711));
    let newcomer = crate::support::Loner::start(home, &[seed.as_str()], "");
    let known = eventually("a neighbourhood", Duration::from_secs(20), || async {
        let graph = newcomer.control.graph().await.ok()?;
        (graph.nodes.len() > 2).then_some(graph)
    })
    .await;
    for dead in [crashed.key(), key.clone()] {
        assert!(known.nodes.iter().all(|n| n.node != dead));
    }
    newcomer.down().await;

    // It wakes, and is one of them again.
    assert!(process.resume());
    surveyed(
        &net,
        "whole again",
        Duration::from_secs(60),
        Survey::is_whole,
    )
    .await;
    down(net).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s6_a_restarted_node_comes_back_with_the_seed_gone() {
    let _alone = alone();
    let mut net = Testnet::up(options(8)).await.unwrap();
    let relay = net.nodes().iter().find(|n| n.role() == Role::Relay);
    let relay = relay.unwrap().name().to_owned();
    let client = net.client().name().to_owned();
    let seed = net.nodes()[1].name().to_owned();
    assert!(seed.contains("seed"));
    net.kill(&[seed]).await;
    // One in order, one by a crash; neither is told whom to join by.
    let in_order = net.stop(&client).await.unwrap();
    let crashed = net.kill(&[relay]).await.remove(0);
    for mut node in [in_order, crashed] {
        let name = node.name().to_owned();
        node.forget_seeds().unwrap();
        net.start_again(node).unwrap();
        eventually("a route again", Duration::from_secs(30), || async {
            let status = net.node(&name)?.control().status().await.ok()?;
            (status.stage == Stage::RouteFound).then_some(())
        })
        .await;
    }
    down(net).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s7_the_stage_falls_with_the_only_neighbour_and_rises_again() {
    let _alone = alone();
    // One hop: the seed is the exit, and the only other node there is.
    let mut wanted = options(2);
    wanted.hops = Some("1".into());
    wanted.exits = Some(0);
    let mut net = Testnet::up(wanted).await.unwrap();
    let client = Client::of_folder(&net.client().data_dir()).unwrap();
    let mut events = client.events().await.unwrap();
    let mut stage = async || {
        let changed = async {
            loop {
                let event = events.next().await.unwrap().expect("the node runs");
                if let Event::StageChanged { stage, reason } = event {
                    return (stage, reason);
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), changed)
            .await
            .expect("a change of stage in time")
    };
    let seed = net.nodes()[1].name().to_owned();
    let dead = net.kill(&[seed]).await.remove(0);
    let (fallen, reason) = stage().await;
    assert_eq!(fallen, Stage::NotConnected);
    assert!(!reason.is_empty());
    // Meanwhile clients are told at once.
    let start = Instant::now();
    for via in net.ways() {
        if let Ok(page) = get(&net, &via, "/").await {
            assert_eq!(page.status, 503, "{}", via.label());
        }
    }
    assert!(start.elapsed() < Duration::from_secs(10));

    net.start_again(dead).unwrap();
    while stage().await.0 != Stage::RouteFound {}
    for via in net.ways() {
        assert_eq!(get(&net, &via, "/").await.unwrap().status, 200);
    }
    down(net).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s8_parted_halves_become_one_mesh_again() {
    /// From being joined to being one, from the specification.
    const ONE_AGAIN: Duration = Duration::from_secs(180);
    let _alone = alone();
    let mut wanted = options(20);
    wanted.consumers = Some(0);
    wanted.between = true;
    wanted.wait_for = WaitFor::Neighbours;
    let net = Testnet::up(wanted).await.unwrap();
    surveyed(&net, "one mesh", Duration::from_secs(30), Survey::is_whole).await;

    // Every second node is on the other side of the cut.
    let half = || net.nodes().iter().step_by(2);
    let between = net.between().unwrap();
    between.part(half().map(|n| n.ip()));
    // Both sides notice. A side may come apart itself: who knew only nodes across is alone.
    surveyed(&net, "nothing across", Duration::from_secs(60), |survey| {
        survey.parts >= 2 && survey.loose == 0
    })
    .await;
    let ours: Vec<_> = half().map(|n| n.key()).collect();
    for (name, status) in net.statuses().await {
        let side = ours.contains(&status.node);
        let across = |other: &String| ours.contains(other) != side;
        assert!(
            status.neighbours.iter().all(|n| !across(&n.node)),
            "{name} has a neighbour on the other side"
        );
    }

    between.join();
    let start = Instant::now();
    surveyed(&net, "one mesh again", ONE_AGAIN, |s| s.parts == 1).await;
    eprintln!("one mesh again after {:?}", start.elapsed());
    down(net).await;
}
