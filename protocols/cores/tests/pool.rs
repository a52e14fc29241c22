//! The circuit pool over a mesh in memory: warm circuits, isolation, age, retries.
#![allow(clippy::unwrap_used)]

mod mesh;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use masq_cores::flow::{self, FlowReply, FlowRequest, Host, InboundFlow};
use masq_cores::{
    FailureCode, IsolationKey, NoRoute, NodeKey, Outcome, Pool, PoolConfig, PoolError, Route,
    RouteSource, SessionHandle, Want,
};
use mesh::{Mesh, key};
use tokio::time::{Instant, sleep};

/// 0 has the entry neighbour 1; 2 and 3 are exits behind it.
struct Routes {
    routes: Mutex<Vec<Route>>,
    told: Mutex<Vec<(NodeKey, String)>>,
    asked: Mutex<u32>,
}

impl RouteSource for Routes {
    fn route(&self, want: &Want) -> Result<Route, NoRoute> {
        *self.asked.lock().unwrap() += 1;
        let mut routes = self.routes.lock().unwrap();
        let found = routes.iter().position(|r| want.accepts(&r.exit().unwrap()));
        let Some(found) = found else {
            return Err(NoRoute {
                reason: "no exit that would do is known".into(),
            });
        };
        // Round robin.
        let route = routes.remove(found);
        routes.push(route.clone());
        Ok(route)
    }

    fn report(&self, route: &Route, outcome: Outcome) {
        let what = match outcome {
            Outcome::Built(_) => "built".into(),
            Outcome::NotLaunched(e) => format!("not launched: {e}"),
            Outcome::Failed(reason) => format!("failed: {reason}"),
            Outcome::Ended(reason) => format!("ended: {reason}"),
            Outcome::Round(_) => "round".into(),
            Outcome::Carried { leg, bytes, .. } => format!("carried {leg:?} {bytes}"),
            _ => "other".into(),
        };
        self.told
            .lock()
            .unwrap()
            .push((route.exit().unwrap(), what));
    }
}

impl Routes {
    fn count(&self, what: &str) -> usize {
        self.told
            .lock()
            .unwrap()
            .iter()
            .filter(|(_, w)| w.starts_with(what))
            .count()
    }
}

async fn echo(flow: InboundFlow) {
    let (mut read, mut write) = flow.accept(FlowReply::ok()).split();
    let _ = futures::io::copy(&mut read, &mut write).await;
    let _ = write.close().await;
}

struct Net {
    mesh: Mesh,
    routes: Arc<Routes>,
    pool: Pool,
}

fn net(config: PoolConfig) -> Net {
    let mut mesh = Mesh::new(4);
    mesh.entry(0, 1);
    mesh.listed(1, 2);
    mesh.listed(1, 3);
    for node in &mut mesh.nodes {
        let (_, empty) = tokio::sync::mpsc::channel(1);
        let mut ends = std::mem::replace(&mut node.ends, empty);
        tokio::spawn(async move {
            while let Some(end) = ends.recv().await {
                let handler = Arc::new(|flow: InboundFlow| echo(flow).boxed());
                tokio::spawn(flow::accept(end, handler));
            }
        });
    }
    let routes = Arc::new(Routes {
        routes: Mutex::new(vec![mesh.route(&[1, 2], &[1]), mesh.route(&[1, 3], &[1])]),
        told: Mutex::default(),
        asked: Mutex::default(),
    });
    let pool = Pool::new(config, mesh.cores(0).clone(), routes.clone());
    Net { mesh, routes, pool }
}

fn no_warm() -> PoolConfig {
    PoolConfig {
        warm: 0,
        ..PoolConfig::default()
    }
}

async fn fetch(session: &SessionHandle, bytes: &[u8]) {
    let request = FlowRequest::Tcp {
        host: Host::Name("echo.test".into()),
        port: 7,
    };
    let (_, stream) = session.connect(request).await.unwrap();
    let (mut read, mut write) = stream.split();
    let mut got = Vec::new();
    let (sent, read) = futures::join!(
        async {
            write.write_all(bytes).await?;
            write.close().await
        },
        read.read_to_end(&mut got)
    );
    sent.unwrap();
    read.unwrap();
    assert_eq!(got, bytes);
}

#[tokio::test(start_paused = true)]
async fn flows_go_through_circuits_that_were_warm_before_they_were_asked_for() {
    let net = net(PoolConfig::default());
    sleep(Duration::from_secs(1)).await;
    assert_eq!(net.pool.circuits().iter().filter(|c| c.warm).count(), 2);
    let start = Instant::now();
    let session = net
        .pool
        .session(IsolationKey::NONE, &Want::default())
        .await
        .unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO, "nothing had to be built");
    fetch(&session, &mesh::noise(100_000, 1)).await;
    sleep(Duration::from_secs(1)).await;
    let circuits = net.pool.circuits();
    assert_eq!(
        circuits.iter().filter(|c| c.warm).count(),
        2,
        "another is warm in its place"
    );
    assert_eq!(circuits.len(), 3);
    assert_eq!(session.route().over.len(), 2);
    assert_eq!(session.open_flows(), 0, "counters are free again");
}

#[tokio::test(start_paused = true)]
async fn what_a_circuit_carries_at_its_busiest_is_reported() {
    let net = net(no_warm());
    let any = Want::default();
    let session = net.pool.session(IsolationKey::NONE, &any).await.unwrap();
    fetch(&session, &[7; 1000]).await;
    sleep(Duration::from_secs(50)).await;
    assert!(net.routes.count("round") > 0);
    assert_eq!(net.routes.count("carried"), 0, "that was too little");
    fetch(&session, &vec![7; 2 << 20]).await;
    sleep(Duration::from_secs(50)).await;
    assert_eq!(
        net.routes.count("carried Over 2"),
        1,
        "with what is around it"
    );
    assert_eq!(net.routes.count("carried Back 2"), 1);
}

#[tokio::test(start_paused = true)]
async fn isolation_keys_never_share_a_circuit() {
    let net = net(PoolConfig::default());
    let keys: Vec<_> = (0..5u8).map(|n| IsolationKey::of(&[&[n]])).collect();
    let mut seen = Vec::new();
    for _ in 0..3 {
        for (n, isolation) in keys.iter().enumerate() {
            let session = net
                .pool
                .session(*isolation, &Want::default())
                .await
                .unwrap();
            seen.push((session.circuit().id(), n));
        }
    }
    for (circuit, who) in &seen {
        assert!(seen.iter().all(|(c, w)| c != circuit || w == who));
    }
    assert!(
        seen.iter()
            .filter(|(_, who)| *who == 0)
            .all(|(c, _)| *c == seen[0].0),
        "it is kept"
    );
}

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_at_a_cold_start_share_a_few_circuits() {
    let config = PoolConfig {
        flows_per_circuit: 300,
        ..no_warm()
    };
    let net = net(config);
    let tasks: Vec<_> = (0..1000)
        .map(|n| {
            let pool = net.pool.clone();
            tokio::spawn(async move {
                let want = Want::default();
                let session = pool.session(IsolationKey::NONE, &want).await.unwrap();
                fetch(&session, &mesh::noise(500, n)).await;
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(
        net.pool.circuits().len() <= 8,
        "{}",
        net.pool.circuits().len()
    );
    assert!(net.pool.circuits().iter().all(|c| c.flows == 0));
}

#[tokio::test(start_paused = true)]
async fn after_ten_minutes_a_circuit_takes_no_new_flows_and_ends_when_the_last_is_done() {
    let net = net(no_warm());
    let old = net
        .pool
        .session(IsolationKey::NONE, &Want::default())
        .await
        .unwrap();
    let request = FlowRequest::Tcp {
        host: Host::Name("echo.test".into()),
        port: 7,
    };
    let (_, mut flow) = old.connect(request).await.unwrap();
    sleep(Duration::from_secs(599)).await;
    let same = net
        .pool
        .session(IsolationKey::NONE, &Want::default())
        .await
        .unwrap();
    assert_eq!(same.circuit().id(), old.circuit().id());
    sleep(Duration::from_secs(2)).await;
    let new = net
        .pool
        .session(IsolationKey::NONE, &Want::default())
        .await
        .unwrap();
    assert_ne!(new.circuit().id(), old.circuit().id());

    // The flow that was open goes on.
    sleep(Duration::from_secs(300)).await;
    flow.write_all(b"still").await.unwrap();
    let mut got = [0; 5];
    flow.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"still");
    flow.close().await.unwrap();
    assert_eq!(flow.read(&mut got).await.unwrap(), 0);
    drop(flow);
    sleep(Duration::from_secs(60)).await;
    assert!(old.end().is_some_and(|end| end.is_clean()));
    assert!(old.circuit().close_reason().unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn s16_exits_that_are_excluded_are_not_used() {
    let net = net(PoolConfig::default());
    sleep(Duration::from_secs(1)).await;
    for exit in [2u8, 3] {
        let want = Want {
            exclude_exits: vec![key(exit)],
            exit: None,
        };
        let session = net.pool.session(IsolationKey::NONE, &want).await.unwrap();
        assert_eq!(session.exit(), key(5 - exit));
        let want = Want {
            exclude_exits: vec![],
            exit: Some(key(exit)),
        };
        let session = net.pool.session(IsolationKey::NONE, &want).await.unwrap();
        assert_eq!(session.exit(), key(exit));
    }
}

#[tokio::test(start_paused = true)]
async fn s17_no_route_is_told_at_once() {
    let net = net(PoolConfig::default());
    let start = Instant::now();
    let want = Want {
        exclude_exits: vec![key(2), key(3)],
        exit: None,
    };
    let error = net
        .pool
        .session(IsolationKey::NONE, &want)
        .await
        .unwrap_err();
    assert!(matches!(&error, PoolError::NoRoute(none) if none.reason.contains("no exit")));
    assert!(start.elapsed() < Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn a_route_that_fails_is_replaced_by_another_and_reported() {
    let net = net(no_warm());
    *net.mesh.nodes[2].gate.0.lock().unwrap() = Some(FailureCode::Overloaded);
    let session = net
        .pool
        .session(IsolationKey::NONE, &Want::default())
        .await
        .unwrap();
    assert_eq!(session.exit(), key(3));
    fetch(&session, b"through the other").await;
    assert_eq!(
        (
            net.routes.count("failed: hop 2 reports: no room"),
            net.routes.count("built")
        ),
        (1, 1)
    );

    // Where all fail, there are as many attempts as configured, and then an error.
    *net.mesh.nodes[3].gate.0.lock().unwrap() = Some(FailureCode::Overloaded);
    let asked = *net.routes.asked.lock().unwrap();
    let other = IsolationKey::of(&[b"other"]);
    let error = net.pool.session(other, &Want::default()).await.unwrap_err();
    assert!(matches!(&error, PoolError::Build { attempts: 3, last } if last.contains("no room")));
    assert_eq!(*net.routes.asked.lock().unwrap() - asked, 3);
}

#[tokio::test(start_paused = true)]
async fn warm_circuits_are_built_with_patience_and_not_for_sleepers() {
    let net = net(PoolConfig::default());
    for n in [2, 3] {
        *net.mesh.nodes[n].gate.0.lock().unwrap() = Some(FailureCode::Overloaded);
    }
    sleep(Duration::from_secs(540)).await;
    let tries = *net.routes.asked.lock().unwrap();
    assert!((4..60).contains(&tries), "{tries}");
    for n in [2, 3] {
        *net.mesh.nodes[n].gate.0.lock().unwrap() = None;
    }
    net.pool.refresh();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        net.pool.circuits().len(),
        2,
        "at once, when routes may have come up"
    );
    // Nobody asks for ten minutes: they grow old, and are not replaced.
    sleep(Duration::from_secs(1300)).await;
    assert_eq!(net.pool.circuits().len(), 0);
    assert_eq!(net.mesh.cores(0).circuits(), 0);
    net.pool
        .session(IsolationKey::NONE, &Want::default())
        .await
        .unwrap();
    sleep(Duration::from_secs(6)).await;
    assert_eq!(
        net.pool.circuits().iter().filter(|c| c.warm).count(),
        2,
        "awake again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_dies_is_replaced() {
    let net = net(no_warm());
    let first = net
        .pool
        .session(IsolationKey::NONE, &Want::default())
        .await
        .unwrap();
    let dead = first.exit();
    net.mesh.cores(1).neighbour_down(&dead);
    let mut circuit = first.circuit().clone();
    circuit.ended().await;
    let want = Want {
        exclude_exits: vec![dead],
        exit: None,
    };
    let second = net.pool.session(IsolationKey::NONE, &want).await.unwrap();
    assert_ne!(second.exit(), dead);
    fetch(&second, b"alive").await;
    assert_eq!(net.routes.count("ended"), 1);
}

#[tokio::test(start_paused = true)]
async fn circuits_are_bounded_and_idle_ones_make_room() {
    let config = PoolConfig {
        max_circuits: 3,
        ..no_warm()
    };
    let net = net(config);
    let sessions: Vec<_> = futures::future::join_all((0..3u8).map(|n| {
        let pool = net.pool.clone();
        async move {
            pool.session(IsolationKey::of(&[&[n]]), &Want::default())
                .await
                .unwrap()
        }
    }))
    .await;
    let request = || FlowRequest::Tcp {
        host: Host::Name("echo.test".into()),
        port: 7,
    };
    let _flows: Vec<_> =
        futures::future::join_all(sessions[1..].iter().map(|s| s.connect(request()))).await;
    let first = sessions[0].session().clone();
    drop(sessions);
    // The first carries nothing and goes; then there is no more room.
    let fourth = net
        .pool
        .session(IsolationKey::of(&[b"x"]), &Want::default())
        .await
        .unwrap();
    let _flow = fourth.connect(request()).await.unwrap();
    assert!(first.ended().await.is_clean());
    assert_eq!(net.pool.circuits().len(), 3);
    let fifth = net
        .pool
        .session(IsolationKey::of(&[b"y"]), &Want::default())
        .await;
    assert!(matches!(fifth, Err(PoolError::Full)));
}

#[tokio::test(start_paused = true)]
async fn renewing_and_closing() {
    let net = net(no_warm());
    let first = net
        .pool
        .session(IsolationKey::NONE, &Want::default())
        .await
        .unwrap();
    net.pool.renew();
    let second = net
        .pool
        .session(IsolationKey::NONE, &Want::default())
        .await
        .unwrap();
    assert_ne!(first.circuit().id(), second.circuit().id());
    net.pool.close();
    let late = net.pool.session(IsolationKey::NONE, &Want::default()).await;
    assert!(matches!(late, Err(PoolError::Full | PoolError::Shutdown)));
    net.mesh.quiet().await;
}
