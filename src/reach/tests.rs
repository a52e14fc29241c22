//! Mappings at routers on loopback, in the real protocols; and which nodes ask
//! for one at all.

use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::fake::{Manners, Router};
use super::mapping::Lease;
use super::*;

/// Real time, for a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const INSIDE: u16 = 6277;

fn home(router: &Router) -> Home {
    Home {
        // Searches leave from here; it must be an address of this machine.
        local: router.ip,
        gateway: Some(router.ip),
        ssdp: router.ssdp,
    }
}

fn port() -> NonZeroU16 {
    NonZeroU16::new(INSIDE).unwrap()
}

/// The mapping, or why there is none; what was given is removed.
async fn attempt(protocol: Protocol, manners: Manners) -> Result<Mapped, MapError> {
    let router = Router::start(manners).await;
    let lease = Lease::obtain(protocol, &home(&router), port()).await?;
    let mapped = lease.mapped();
    lease.release().await;
    router.until(|held| held.is_empty()).await;
    Ok(mapped)
}

#[tokio::test]
async fn each_protocol_maps_renews_and_removes() {
    for protocol in [Protocol::Pcp, Protocol::NatPmp, Protocol::Upnp] {
        let router = Router::start(Manners::default()).await;
        let mut lease = Lease::obtain(protocol, &home(&router), port())
            .await
            .unwrap();
        let mapped = lease.mapped();
        assert_eq!(mapped.protocol, protocol);
        assert_eq!(mapped.external, "203.0.113.9:6277".parse().unwrap());
        assert_eq!(mapped.internal.port(), INSIDE);
        assert_eq!(mapped.lifetime, 3600);
        assert_eq!(router.held.borrow()[&INSIDE], (6277, 3600), "{protocol}");
        // The provider has given the router another address meanwhile.
        router.manners.lock().unwrap().outside = [203, 0, 113, 10].into();
        lease.renew().await.unwrap();
        assert_eq!(*router.granted.borrow(), 2);
        assert_eq!(
            lease.mapped().external,
            "203.0.113.10:6277".parse().unwrap()
        );
        lease.release().await;
        assert!(router.held.borrow().is_empty(), "{protocol}");
    }
}

#[tokio::test]
async fn another_port_than_wished_for_is_used() {
    for protocol in [Protocol::Pcp, Protocol::NatPmp] {
        let manners = Manners {
            port: Some(40_123),
            ..Manners::default()
        };
        let mapped = attempt(protocol, manners).await.unwrap();
        assert_eq!(mapped.external.port(), 40_123);
    }
    let manners = Manners {
        taken: Some(INSIDE),
        ..Manners::default()
    };
    let mapped = attempt(Protocol::Upnp, manners).await.unwrap();
    assert_ne!(mapped.external.port(), INSIDE);
}

#[tokio::test]
async fn a_router_that_knows_no_end_of_mappings_is_asked_for_an_endless_one() {
    let manners = Manners {
        permanent_only: true,
        ..Manners::default()
    };
    let router = Router::start(manners).await;
    let lease = Lease::obtain(Protocol::Upnp, &home(&router), port())
        .await
        .unwrap();
    assert_eq!(router.held.borrow()[&INSIDE], (INSIDE, 0));
    assert_eq!(lease.mapped().lifetime, 3600, "renewed all the same");
    lease.release().await;
    assert!(router.held.borrow().is_empty());
}

#[tokio::test]
async fn two_routers_in_a_row_are_recognised() {
    for protocol in [Protocol::Pcp, Protocol::NatPmp, Protocol::Upnp] {
        for outside in [[192, 168, 0, 2], [100, 70, 0, 1]] {
            let manners = Manners {
                outside: outside.into(),
                ..Manners::default()
            };
            let error = attempt(protocol, manners).await.unwrap_err();
            assert_eq!(error, MapError::BehindAnother(outside.into()));
        }
    }
}

#[tokio::test]
async fn nonsense_is_called_that() {
    let without_time = Manners {
        lifetime: 0,
        ..Manners::default()
    };
    let nowhere = Manners {
        outside: [0, 0, 0, 0].into(),
        ..Manners::default()
    };
    for protocol in [Protocol::Pcp, Protocol::NatPmp] {
        for garbage in [vec![], vec![0; 3], vec![2; 1100], vec![0xff; 60]] {
            let manners = Manners {
                garbage: Some(garbage),
                ..Manners::default()
            };
            let error = attempt(protocol, manners).await.unwrap_err();
            assert!(!matches!(error, MapError::BehindAnother(_)), "{error}");
        }
        let error = attempt(protocol, without_time.clone()).await.unwrap_err();
        assert!(matches!(error, MapError::Nonsense(_)), "{error}");
    }
    for protocol in [Protocol::Pcp, Protocol::NatPmp, Protocol::Upnp] {
        let error = attempt(protocol, nowhere.clone()).await.unwrap_err();
        assert!(matches!(error, MapError::Nonsense(_)), "{error}");
    }
}

#[tokio::test]
async fn a_refusal_comes_with_the_routers_reason() {
    for (protocol, code, sentence) in [
        (Protocol::Pcp, 2, "refused (not authorized)"),
        (Protocol::Pcp, 8, "refused (no resources)"),
        (Protocol::NatPmp, 2, "refused (not authorized)"),
        (Protocol::NatPmp, 4, "refused (out of resources)"),
        (Protocol::Upnp, 1, "refused (error 601: Go away)"),
    ] {
        let manners = Manners {
            code,
            ..Manners::default()
        };
        let error = attempt(protocol, manners).await.unwrap_err();
        assert_eq!(error.to_string(), sentence, "{protocol}");
    }
}

#[tokio::test]
async fn nobody_there_is_no_answer() {
    let router = Router::start(Manners::default()).await;
    let deaf = Home {
        gateway: Some([127, 90, 0, 1].into()),
        ..home(&router)
    };
    for protocol in [Protocol::Pcp, Protocol::NatPmp] {
        let attempt = Lease::obtain(protocol, &deaf, port()).await;
        assert_eq!(attempt.err(), Some(MapError::NoAnswer), "{protocol}");
    }
    let unknown = Home {
        gateway: None,
        ..deaf
    };
    let attempt = Lease::obtain(Protocol::Pcp, &unknown, port()).await;
    assert_eq!(attempt.err(), Some(MapError::NoRouter));
}

/// A keeper at a router, and its life.
struct Kept {
    home: Arc<Mutex<Option<Home>>>,
    state: watch::Receiver<MappingState>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Kept {
    fn new(router: &Router, protocols: &'static [Protocol]) -> Self {
        // In private: that is when mappings are made. PCP and NAT-PMP leave from any address.
        let local = [192, 168, 77, 2].into();
        let home = Arc::new(Mutex::new(Some(Home {
            local,
            ..home(router)
        })));
        let (state, watched) = watch::channel(MappingState::Asking);
        let stop = CancellationToken::new();
        let place = Arc::clone(&home);
        let keeper = Keeper {
            home: move || *place.lock().unwrap(),
            port: port(),
            protocols,
            state,
            pace: Pace {
                first: Duration::from_millis(20),
                longest: Duration::from_millis(80),
                look: Duration::from_millis(20),
                renew: (Duration::from_millis(40), Duration::from_millis(40)),
                removal: PATIENCE,
            },
        };
        Self {
            home,
            state: watched,
            task: tokio::spawn(keeper.run(stop.clone())),
            stop,
        }
    }

    async fn until(&mut self, done: impl FnMut(&MappingState) -> bool) -> MappingState {
        let wait = tokio::time::timeout(PATIENCE, self.state.wait_for(done));
        wait.await.expect("in time").unwrap().clone()
    }

    async fn end(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.task).await;
        ended.expect("in time").unwrap();
    }
}

#[tokio::test]
async fn a_mapping_is_renewed_and_removed_at_the_end() {
    let router = Router::start(Manners::default()).await;
    let mut kept = Kept::new(&router, &[Protocol::Pcp, Protocol::NatPmp]);
    let state = kept.until(|state| state.external().is_some()).await;
    assert_eq!(state.external(), Some("203.0.113.9:6277".parse().unwrap()));
    let mut granted = router.granted.subscribe();
    let renewals = granted.wait_for(|granted| *granted >= 3);
    tokio::time::timeout(PATIENCE, renewals)
        .await
        .unwrap()
        .unwrap();
    kept.end().await;
    assert!(router.held.borrow().is_empty());
}

#[tokio::test]
async fn protocols_are_tried_in_order() {
    let manners = Manners {
        pcp: false,
        ..Manners::default()
    };
    let router = Router::start(manners).await;
    let mut kept = Kept::new(&router, &[Protocol::Pcp, Protocol::NatPmp]);
    let state = kept.until(|state| state.external().is_some()).await;
    let MappingState::Mapped(mapped) = state else {
        panic!("{state:?}")
    };
    assert_eq!(mapped.protocol, Protocol::NatPmp);
    kept.end().await;
}

#[tokio::test]
async fn after_a_failure_it_is_tried_again() {
    let manners = Manners {
        code: 2,
        ..Manners::default()
    };
    let router = Router::start(manners).await;
    let mut kept = Kept::new(&router, &[Protocol::Pcp]);
    let state = kept
        .until(|state| matches!(state, MappingState::Failed(_)))
        .await;
    let MappingState::Failed(failures) = state else {
        panic!("{state:?}")
    };
    assert_eq!(failures.len(), 1);
    router.manners.lock().unwrap().code = 0;
    kept.until(|state| state.external().is_some()).await;
    kept.end().await;
}

#[tokio::test]
async fn a_router_that_forgot_is_asked_anew_when_the_mapping_is_dead() {
    let manners = Manners {
        lifetime: 1,
        ..Manners::default()
    };
    let router = Router::start(manners).await;
    let mut kept = Kept::new(&router, &[Protocol::NatPmp]);
    kept.until(|state| state.external().is_some()).await;
    router.manners.lock().unwrap().code = 3;
    kept.until(|state| matches!(state, MappingState::Failed(_)))
        .await;
    router.manners.lock().unwrap().code = 0;
    kept.until(|state| state.external().is_some()).await;
    kept.end().await;
}

#[tokio::test]
async fn a_machine_that_moves_asks_the_router_where_it_is() {
    let (here, there) = (
        Router::start(Manners::default()).await,
        Router::start(Manners {
            outside: [198, 51, 100, 3].into(),
            ..Manners::default()
        })
        .await,
    );
    let mut kept = Kept::new(&here, &[Protocol::Pcp]);
    kept.until(|state| state.external().is_some()).await;
    *kept.home.lock().unwrap() = None;
    kept.until(|state| *state == MappingState::Idle(Idle::NoNetwork))
        .await;
    *kept.home.lock().unwrap() = Some(Home {
        local: [192, 168, 5, 5].into(),
        ..home(&there)
    });
    let moved = Some("198.51.100.3:6277".parse().unwrap());
    kept.until(|state| state.external() == moved).await;
    *kept.home.lock().unwrap() = Some(Home {
        local: [198, 51, 100, 77].into(),
        ..home(&there)
    });
    kept.until(|state| *state == MappingState::Idle(Idle::Public))
        .await;
    kept.end().await;
}

#[test]
fn only_nodes_that_could_gain_by_it_ask_a_router() {
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    let mut config = Config::new("unused");
    let listens = |config: &mut Config, on: &str| config.listen = vec![at(on)];
    // What listens on all addresses says so interface by interface, this machine's own first.
    let interfaces = [at("127.0.0.1:6277")];
    listens(&mut config, "0.0.0.0:6277");
    assert_eq!(wanted(&config, &interfaces), Ok((None, 6277)));
    listens(&mut config, "0.0.0.0:0");
    assert_eq!(wanted(&config, &interfaces), Ok((None, 6277)));
    assert_eq!(wanted(&config, &[]), Err(Idle::NoIpv4));
    listens(&mut config, "192.168.1.5:7000");
    let one = Ok((Some([192, 168, 1, 5].into()), 7000));
    assert_eq!(wanted(&config, &[at("192.168.1.5:7000")]), one);
    listens(&mut config, "192.168.1.5:0");
    let found = [at("127.0.0.1:1"), at("192.168.1.5:7000")];
    assert_eq!(wanted(&config, &found), one);
    listens(&mut config, "127.0.0.1:7000");
    let loopback = wanted(&config, &[at("127.0.0.1:7000")]);
    assert_eq!(loopback, Err(Idle::Loopback));
    listens(&mut config, "[::]:7000");
    assert_eq!(wanted(&config, &[at("[::1]:7000")]), Err(Idle::NoIpv4));
    listens(&mut config, "0.0.0.0:6277");
    config.mapping_protocol = MappingProtocol::Off;
    assert_eq!(wanted(&config, &interfaces), Err(Idle::SwitchedOff));
    config.mapping_protocol = MappingProtocol::Auto;
    config.advertise = Some("203.0.113.7".parse().unwrap());
    assert_eq!(wanted(&config, &interfaces), Err(Idle::Advertised));
    config.advertise = None;
    config.chain = Chain::Dev;
    assert_eq!(wanted(&config, &interfaces), Err(Idle::Development));
    config.mode = crate::config::Mode::OriginateOnly;
    assert_eq!(wanted(&config, &[]), Err(Idle::AcceptsNone));
}
