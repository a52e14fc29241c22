//! More isolation keys than a hop has places: the pool's own circuits make way for each other.
#![allow(clippy::unwrap_used)]

mod mesh;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use masq_cores::flow::{self, FlowReply, FlowRequest, FlowStream, Host, InboundFlow};
use masq_cores::{
    IsolationKey, NoRoute, Outcome, Pool, PoolConfig, PoolError, Route, RouteSource, SessionHandle,
    Want,
};
use mesh::Mesh;
use tokio::time::{Instant, sleep};

/// Places that an exit of these tests has for what comes over one link.
const PLACES: usize = 4;

/// Always the first route, as a mesh has it in which only one leads to an exit; what failed is
/// counted.
struct OneRoute {
    route: Route,
    refused: Mutex<usize>,
}

impl RouteSource for OneRoute {
    fn route(&self, want: &Want) -> Result<Route, NoRoute> {
        if want.accepts(&self.route.exit().unwrap()) {
            return Ok(self.route.clone());
        }
        Err(NoRoute {
            reason: "no exit that would do is known".into(),
        })
    }

    fn report(&self, _: &Route, outcome: Outcome) {
        if matches!(outcome, Outcome::Failed(_) | Outcome::NotLaunched(_)) {
            *self.refused.lock().unwrap() += 1;
        }
    }
}

async fn echo(flow: InboundFlow) {
    let (mut read, mut write) = flow.accept(FlowReply::ok()).split();
    let _ = futures::io::copy(&mut read, &mut write).await;
    let _ = write.close().await;
}

struct Net {
    mesh: Mesh,
    routes: Arc<OneRoute>,
    pool: Pool,
}

/// 0 → 1 → 2 → 1 → 0, and an exit that takes [`PLACES`] circuits over a link.
fn net(config: PoolConfig) -> Net {
    let mut mesh = Mesh::with_exit_circuits(3, 2 * PLACES, PLACES);
    mesh.entry(0, 1);
    mesh.listed(1, 2);
    let (_, empty) = tokio::sync::mpsc::channel(1);
    let mut ends = std::mem::replace(&mut mesh.nodes[2].ends, empty);
    tokio::spawn(async move {
        while let Some(end) = ends.recv().await {
            let handler = Arc::new(|flow: InboundFlow| echo(flow).boxed());
            tokio::spawn(flow::accept(end, handler));
        }
    });
    let routes = Arc::new(OneRoute {
        route: mesh.route(&[1, 2], &[1]),
        refused: Mutex::default(),
    });
    let pool = Pool::new(config, mesh.cores(0).clone(), routes.clone());
    Net { mesh, routes, pool }
}

fn key(n: u32) -> IsolationKey {
    IsolationKey::of(&[&n.to_be_bytes()])
}

async fn open(session: &SessionHandle) -> FlowStream {
    let request = FlowRequest::Tcp {
        host: Host::Name("echo.test".into()),
        port: 7,
    };
    session.connect(request).await.unwrap().1
}

/// One request with a circuit of its own.
async fn fetch(pool: &Pool, isolation: IsolationKey) -> Result<(), PoolError> {
    let session = pool.session(isolation, &Want::default()).await?;
    let mut flow = open(&session).await;
    drop(session);
    flow.write_all(b"hello").await.unwrap();
    flow.close().await.unwrap();
    let mut got = Vec::new();
    flow.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"hello");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn one_key_after_the_other_is_served_by_an_exit_with_few_places() {
    let net = net(PoolConfig::default());
    for n in 0..20 * u32::try_from(PLACES).unwrap() {
        fetch(&net.pool, key(n)).await.unwrap();
    }
    let start = Instant::now();
    fetch(&net.pool, key(0)).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
    net.pool.close();
    net.mesh.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn keys_at_the_same_time_wait_for_each_other() {
    let net = net(PoolConfig::default());
    let tasks: Vec<_> = (0..6 * u32::try_from(PLACES).unwrap())
        .map(|n| {
            let pool = net.pool.clone();
            tokio::spawn(async move { fetch(&pool, key(n)).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    net.pool.close();
    net.mesh.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_smaller_than_its_keys_serves_them_all() {
    let net = net(PoolConfig {
        max_circuits: 3,
        ..PoolConfig::default()
    });
    for round in 0..4 {
        let tasks: Vec<_> = (0..20)
            .map(|n| {
                let pool = net.pool.clone();
                tokio::spawn(async move { fetch(&pool, key(round * 20 + n)).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    }
    assert_eq!(*net.routes.refused.lock().unwrap(), 0, "no more than three");
}

#[tokio::test(start_paused = true)]
async fn of_idle_circuits_with_a_key_those_used_last_are_kept() {
    let net = net(PoolConfig {
        idle_isolated: 2,
        ..PoolConfig::default()
    });
    let keep = key(1000);
    for n in 0..30 {
        fetch(&net.pool, key(n)).await.unwrap();
        fetch(&net.pool, keep).await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_secs(10)).await;
    let circuits = net.pool.circuits();
    assert_eq!(circuits.iter().filter(|c| !c.warm).count(), 2);
    assert_eq!(
        circuits.iter().filter(|c| c.warm).count(),
        2,
        "spares are none of them"
    );
    assert!(
        circuits.iter().any(|c| c.flows_opened == 30),
        "what is used stays"
    );
}

#[tokio::test(start_paused = true)]
async fn circuits_in_use_never_make_way_and_whoever_waits_for_one_is_told() {
    let net = net(PoolConfig {
        warm: 0,
        ..PoolConfig::default()
    });
    let mut flows = Vec::new();
    for n in 0..u32::try_from(PLACES).unwrap() {
        let any = Want::default();
        let session = net.pool.session(key(n), &any).await.unwrap();
        flows.push(open(&session).await);
    }
    let start = Instant::now();
    let error = fetch(&net.pool, key(99)).await.unwrap_err();
    assert!(matches!(&error, PoolError::Build { last, .. } if last.contains("no room")));
    assert!((15..40).contains(&start.elapsed().as_secs()));
    for flow in &mut flows {
        flow.write_all(b"x").await.unwrap();
        flow.read_exact(&mut [0]).await.unwrap();
    }
    // The first that is done with is waited for.
    let pool = net.pool.clone();
    let waiting = tokio::spawn(async move { fetch(&pool, key(99)).await });
    sleep(Duration::from_secs(5)).await;
    assert!(!waiting.is_finished());
    drop(flows.pop());
    waiting.await.unwrap().unwrap();
}
