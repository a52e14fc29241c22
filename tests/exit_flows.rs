//! The exit behind a session in memory: what it answers, what it refuses, and
//! how it stops. No entry takes part.

#![allow(clippy::unwrap_used)]

mod proxy_harness;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use masq::config::Plaintext;
use masq::exit::{Exit, ExitConfig, ExitPolicy, Service, Services, policy::DEFAULT_RULES};
use masq_cores::CircuitEnd;
use masq_cores::flow::{
    ClientSession, FlowError, FlowRequest, FlowStatus, FlowStream, Host, SessionInfo, Want, accept,
};
use masq_cores::session::SessionId;
use proxy_harness::*;
use tokio::sync::watch;

/// A session to an exit of this configuration.
async fn session_to(
    config: ExitConfig,
    services: Services,
) -> (
    ClientSession,
    Exit,
    watch::Sender<Option<Arc<masq_cores::CloseReason>>>,
) {
    let exit = Exit::new(config, Arc::new(Names), services);
    let (origin_end, exit_end, close) = CircuitEnd::pair();
    tokio::spawn(accept(exit_end, Arc::new(exit.clone())));
    let (session, driver) = ClientSession::start(origin_end, SessionId([3; 16]));
    tokio::spawn(async move {
        driver.await;
    });
    (session, exit, close)
}

fn loopback() -> ExitConfig {
    let mut config = ExitConfig::default();
    config.policy = ExitPolicy::parse(&["accept 127.0.0.0/8:*"], false).unwrap();
    config
}

fn tcp(port: u16) -> FlowRequest {
    FlowRequest::Tcp {
        host: Host::V4([127, 0, 0, 1].into()),
        port,
    }
}

async fn refusal(session: &ClientSession, request: FlowRequest) -> FlowStatus {
    match patient(session.connect(request)).await {
        Err(FlowError::Refused(reply)) => reply.status,
        Err(other) => panic!("{other}"),
        Ok(_) => FlowStatus::Ok,
    }
}

/// Says how long what it was sent is.
struct Measure;

impl Service for Measure {
    fn call(&self, mut flow: FlowStream, _: SessionInfo) -> BoxFuture<'static, ()> {
        async move {
            let mut all = Vec::new();
            if flow.read_to_end(&mut all).await.is_ok() {
                let _ = flow.write_all(&[all.len() as u8]).await;
                let _ = flow.close().await;
            }
        }
        .boxed()
    }
}

#[tokio::test]
async fn services_are_called_by_name() {
    let services = Services::default();
    services.offer("measure", Arc::new(Measure), 1).unwrap();
    let (session, _exit, _close) = session_to(loopback(), services.clone()).await;
    let call = |name: &str| FlowRequest::Service {
        name: name.to_owned(),
    };
    let (_, mut flow) = patient(session.connect(call("measure"))).await.unwrap();
    // One call at a time was asked for.
    assert_eq!(
        refusal(&session, call("measure")).await,
        FlowStatus::Overloaded
    );
    flow.write_all(b"four").await.unwrap();
    flow.close().await.unwrap();
    let mut answer = Vec::new();
    patient(flow.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, [4]);
    assert_eq!(
        refusal(&session, call("other")).await,
        FlowStatus::Unsupported
    );
    services.withdraw("measure");
    assert_eq!(
        refusal(&session, call("measure")).await,
        FlowStatus::Unsupported
    );
}

#[tokio::test]
async fn a_node_that_is_no_exit_says_so_and_still_offers_services() {
    let mut config = loopback();
    config.enabled = false;
    let services = Services::default();
    services.offer("measure", Arc::new(Measure), 1).unwrap();
    let (session, _exit, _close) = session_to(config, services).await;
    let echo = echo_server().await;
    assert_eq!(
        refusal(&session, tcp(echo.port())).await,
        FlowStatus::PolicyRefused
    );
    let lookup = FlowRequest::Resolve {
        name: "a.example".into(),
        want: Want::Any,
    };
    assert_eq!(refusal(&session, lookup).await, FlowStatus::PolicyRefused);
    let call = FlowRequest::Service {
        name: "measure".into(),
    };
    assert_eq!(refusal(&session, call).await, FlowStatus::Ok);
}

#[tokio::test]
async fn s16_what_cannot_be_done_is_told() {
    let (session, exit, _close) = session_to(loopback(), Services::default()).await;
    assert_eq!(
        refusal(&session, FlowRequest::Udp).await,
        FlowStatus::Unsupported
    );
    let closed = closed_port().await;
    assert_eq!(
        refusal(&session, tcp(closed.port())).await,
        FlowStatus::ConnectionRefused
    );
    let lookup = FlowRequest::Resolve {
        name: "broken.example".into(),
        want: Want::V4,
    };
    assert_eq!(
        refusal(&session, lookup).await,
        FlowStatus::NameServerFailed
    );
    assert_eq!(exit.status().refused, 3);
    assert_eq!(exit.status().opened, 0);
}

#[tokio::test]
async fn flows_and_dials_are_bounded() {
    let mut config = loopback();
    config.max_flows = 1;
    let (session, _exit, _close) = session_to(config, Services::default()).await;
    let echo = echo_server().await;
    let held = patient(session.connect(tcp(echo.port()))).await.unwrap();
    assert_eq!(
        refusal(&session, tcp(echo.port())).await,
        FlowStatus::Overloaded
    );
    drop(held);
    let mut config = loopback();
    config.max_dials_per_session = 0;
    let (session, _exit, _close) = session_to(config, Services::default()).await;
    assert_eq!(
        refusal(&session, tcp(echo.port())).await,
        FlowStatus::Overloaded
    );
}

#[tokio::test]
async fn stopping_refuses_new_flows_and_drains_old_ones() {
    let (session, exit, _close) = session_to(loopback(), Services::default()).await;
    let echo = echo_server().await;
    let (_, mut flow) = patient(session.connect(tcp(echo.port()))).await.unwrap();
    let stopping = tokio::spawn({
        let exit = exit.clone();
        async move { exit.shutdown(PATIENCE).await }
    });
    patient(async { while refusal(&session, tcp(echo.port())).await != FlowStatus::Overloaded {} })
        .await;
    flow.write_all(b"last words").await.unwrap();
    flow.close().await.unwrap();
    let mut got = Vec::new();
    patient(flow.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got, b"last words");
    drop(flow);
    patient(stopping).await.unwrap();
    assert_eq!(exit.status().flows, 0);
}

#[tokio::test]
async fn stopping_resets_what_does_not_end() {
    let (session, exit, _close) = session_to(loopback(), Services::default()).await;
    let echo = echo_server().await;
    let (_, mut flow) = patient(session.connect(tcp(echo.port()))).await.unwrap();
    patient(exit.shutdown(Duration::from_millis(50))).await;
    let error = patient(flow.read(&mut [0; 4])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_lost_circuit_frees_what_it_held() {
    let way = Way::with(Plaintext::Flag, Duration::ZERO).await;
    let echo = echo_server().await;
    let (mut socket, code) = socks5(&way.proxy, 1, &ip(echo)).await;
    assert_eq!((code, way.exit.status().flows), (0, 1));
    way.session_at_exit.abort();
    let mut buf = [0; 4];
    let read = patient(tokio::io::AsyncReadExt::read(&mut socket, &mut buf)).await;
    assert!(read.is_err(), "a flow that breaks is no end of stream");
    way.until_idle().await;
}

/// The operator's page shows the default rules; this holds the two together.
#[test]
fn the_operators_page_has_the_default_rules() {
    let page = include_str!("../docs/operator/exit-policy.md");
    assert!(page.contains(&DEFAULT_RULES.join("\n")));
}
