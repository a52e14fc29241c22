//! A node that answers the control API with fixed figures: for tests of what
//! stands on the API.

use std::sync::Mutex;

use futures::future::{BoxFuture, FutureExt, ready};
use tokio::sync::broadcast;

use super::{
    MoneyApi, NodeApi, NodeApiError, WalletsView,
    types::{
        Amount, BanKind, BanRequest, BanView, CircuitCounts, CircuitState, CircuitView,
        ConnectionStatus, DescriptorView, EntryLink, Event, FlowCounts, GraphNode, GraphView,
        HopRole, HopView, JoinProblem, Leg, NeighbourView, OwnLink, RatesView, RouteHopView,
        RouteRequest, RouteView, RoutesView, ScoreView, SettingsView, ShutdownView, Stage, Status,
        TraceEntry, TraceKind, TraceRole, TraceView, Traffic,
    },
};
use crate::config::Hops;
use crate::doctor::{Check, Finding, Report};

mod money;

pub(crate) use money::{FakeMoney, books, payments, transaction, wallet};

/// Events that a subscriber may lag behind: small, so that tests see a loss.
const EVENTS: usize = 4;

/// A made-up node key of one repeated letter.
pub(crate) fn key(letter: char) -> String {
    letter.to_string().repeat(43)
}

/// The node.
#[derive(Debug)]
pub(crate) struct FakeNode {
    hops: Mutex<Hops>,
    /// What `shutdown` was asked, in order.
    pub(crate) shutdowns: Mutex<Vec<bool>>,
    /// Where tests send events.
    pub(crate) events: broadcast::Sender<Event>,
    /// Whether `trace` and `descriptor` have something to say.
    pub(crate) tracing: bool,
    /// The money side, unless payments are off.
    pub(crate) money: Option<FakeMoney>,
}

impl FakeNode {
    /// With three hops.
    pub(crate) fn new() -> Self {
        Self {
            hops: Mutex::new("3".parse().expect("a number of hops")),
            shutdowns: Mutex::default(),
            events: broadcast::channel(EVENTS).0,
            tracing: true,
            money: Some(FakeMoney::default()),
        }
    }

    fn hops(&self) -> Hops {
        *self.hops.lock().expect("no test panics with it")
    }
}

fn now<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, Result<T, NodeApiError>> {
    ready(Ok(value)).boxed()
}

/// An own circuit over three hops.
pub(crate) fn circuit() -> CircuitView {
    let hop = |letter, role, leg| HopView {
        node: key(letter),
        role,
        leg,
        country: (role == HopRole::Exit).then(|| "CZ".to_owned()),
    };
    CircuitView {
        id: 7,
        state: CircuitState::Open,
        hops: vec![
            hop('B', HopRole::Relay, Leg::Over),
            hop('C', HopRole::Relay, Leg::Over),
            hop('D', HopRole::Exit, Leg::Over),
            hop('E', HopRole::Relay, Leg::Back),
            hop('B', HopRole::Relay, Leg::Back),
        ],
        shared_relays: 0,
        flows: 3,
        flows_carried: 12,
        age_seconds: 245,
        sent_bytes: 1_200_000,
        sent_cells: 900,
        received_bytes: 80_000_000,
        received_cells: 4_900,
        round_trip_us: Some(1_240),
    }
}

fn by_hand(node: &str, request: &BanRequest) -> BanView {
    BanView {
        node: node.to_owned(),
        kind: BanKind::ByHand,
        reason: request
            .reason
            .clone()
            .unwrap_or_else(|| "banned by hand".into()),
        since_seconds: 0,
        left_seconds: request.life_seconds,
        evidence: None,
    }
}

/// A ban for a lie: its evidence is no proof of anything.
pub(crate) fn ban() -> BanView {
    BanView {
        node: key('D'),
        kind: BanKind::Equivocation,
        reason: "it signed two different records with one version".into(),
        since_seconds: 182,
        left_seconds: Some(86_400 - 182),
        evidence: Some("abcd".into()),
    }
}

/// A neighbourhood of five nodes: A is this one, B its entry neighbour.
pub(crate) fn graph() -> GraphView {
    let node = |letter, routes, exits| GraphNode {
        node: key(letter),
        routes,
        exits,
        accepts: routes,
        country: exits.then(|| "CZ".to_owned()),
        version: 3,
        age_seconds: 62,
        score: match letter {
            'B' => Some(ScoreView {
                points: 97,
                avoided: false,
                latency_ms: Some(12),
                throughput_bytes: Some(4_200_000),
                failed_percent: Some(3),
                congested_seconds: None,
                disputed_seconds: None,
            }),
            'D' => Some(ScoreView {
                points: 19,
                avoided: true,
                latency_ms: None,
                throughput_bytes: None,
                failed_percent: None,
                congested_seconds: Some(80),
                disputed_seconds: Some(1_500),
            }),
            _ => None,
        },
    };
    let edge = |a, b| (key(a), key(b));
    GraphView {
        me: key('A'),
        nodes: vec![
            node('A', true, false),
            node('B', true, false),
            node('C', true, false),
            node('D', true, true),
            node('E', false, false),
        ],
        edges: vec![edge('B', 'C'), edge('C', 'D'), edge('A', 'C')],
        links: vec![
            OwnLink {
                node: key('B'),
                entry: EntryLink::Ours,
            },
            OwnLink {
                node: key('C'),
                entry: EntryLink::No,
            },
        ],
    }
}

/// Two routes: one within the ceiling, and one above it.
pub(crate) fn candidates() -> RoutesView {
    let rates = RatesView::from(&crate::ledger::price::DEFAULT_RATES);
    let hops = circuit().hops.into_iter().map(|hop| RouteHopView {
        node: hop.node,
        role: hop.role,
        leg: hop.leg,
        country: hop.country,
        rates,
        score: Some(97),
    });
    let route = RouteView {
        hops: hops.collect(),
        per_ten_thousand: 2_500,
        download_gigabyte: Some(Amount(1_173_000_000_000_000)),
        upload_gigabyte: Some(Amount(1_174_000_000_000_000)),
        latency_ms: Some(86),
        score: 97,
        country: Some("CZ".into()),
        within_ceiling: true,
    };
    let dear = RouteView {
        per_ten_thousand: 0,
        download_gigabyte: Some(Amount(9_000_000_000_000_000)),
        latency_ms: None,
        country: None,
        within_ceiling: false,
        ..route.clone()
    };
    RoutesView {
        routes: vec![route, dear],
        left_out: 3,
        ceiling: Some(rates),
        reason: None,
    }
}

impl NodeApi for FakeNode {
    fn status(&self) -> BoxFuture<'_, Result<Status, NodeApiError>> {
        let address = |text: &str| text.parse().expect("an address");
        now(Status {
            version: "0.1.0".into(),
            chain: "dev".into(),
            node: key('A'),
            mode: "standard".into(),
            stage: Stage::RouteFound,
            stage_reason: "circuits of 3 hops reach 1 exit.".into(),
            hops: self.hops().to_string(),
            exit: false,
            draining: false,
            neighbours: vec![NeighbourView {
                node: key('B'),
                entry: EntryLink::Ours,
                since_seconds: 720,
                address: Some("192.0.2.9:6277".into()),
            }],
            listening: vec![address("127.0.0.1:6277")],
            socks: Some(address("127.0.0.1:1080")),
            http: None,
            flows: FlowCounts {
                open: 3,
                opened: 120,
                failed: 2,
                plaintext: 14,
                ..FlowCounts::default()
            },
            circuits: CircuitCounts {
                own: 2,
                relayed: 5,
                exits: 0,
            },
            traffic: Traffic {
                sent_bytes: 1_200_000,
                received_bytes: 80_000_000,
                relayed_bytes: 2_100_000_000,
                exited_bytes: 0,
            },
            uptime_seconds: 3 * 3600 + 12 * 60,
            memory_bytes: Some(23_000_000),
            money: None,
        })
    }

    fn descriptor(&self) -> BoxFuture<'_, Result<DescriptorView, NodeApiError>> {
        let text = format!("masq://dev:{}@192.0.2.1:6277", key('A'));
        now(DescriptorView {
            node: key('A'),
            descriptor: self.tracing.then_some(text),
            reason: (!self.tracing).then(|| "Set advertise.".to_owned()),
        })
    }

    fn connection_status(&self) -> BoxFuture<'_, Result<ConnectionStatus, NodeApiError>> {
        now(ConnectionStatus {
            stage: Stage::ConnectedToNeighbour,
            stage_reason: "no exit is within 3 hops yet.".into(),
            since_seconds: 12,
            neighbours: 2,
            entry_links: 1,
            nodes_known: 4,
            exits_known: 1,
            problems: vec![JoinProblem {
                ago_seconds: 180,
                what: "seed 1 refused: it is of another chain\u{1b}[2J".into(),
            }],
            remembered: vec![key('B')],
        })
    }

    fn neighborhood(&self) -> BoxFuture<'_, Result<GraphView, NodeApiError>> {
        now(graph())
    }

    fn circuits(&self) -> BoxFuture<'_, Result<Vec<CircuitView>, NodeApiError>> {
        now(vec![circuit()])
    }

    fn trace(&self) -> BoxFuture<'_, Result<TraceView, NodeApiError>> {
        if !self.tracing {
            let off = NodeApiError::SwitchedOff {
                what: "this node keeps no trace".into(),
                hint: "Set debug_trace on chain dev.".into(),
            };
            return ready(Err(off)).boxed();
        }
        now(TraceView {
            node: key('A'),
            entries: vec![TraceEntry {
                sequence: 0,
                at_unix_ms: 1,
                circuit: 4,
                role: TraceRole::OverRelay,
                kind: TraceKind::Setup,
                inbound: true,
                previous: Some(key('B')),
                next: Some(key('C')),
                size: 2048,
                digest: "ab".repeat(32),
                target: None,
            }],
            dropped: 2,
        })
    }

    fn settings(&self) -> BoxFuture<'_, Result<SettingsView, NodeApiError>> {
        now(SettingsView {
            no_route: None,
            hops: self.hops().to_string(),
        })
    }

    fn set_hops(&self, hops: Hops) -> BoxFuture<'_, Result<SettingsView, NodeApiError>> {
        if hops.max() == Hops::MOST {
            let refused = NodeApiError::Refused {
                what: "the neighbourhood is too small".into(),
                hint: "Use fewer.".into(),
            };
            return ready(Err(refused)).boxed();
        }
        *self.hops.lock().expect("no test panics with it") = hops;
        let _ = self.events.send(Event::SettingsChanged {
            hops: hops.to_string(),
        });
        self.settings()
    }

    fn bans(&self) -> BoxFuture<'_, Result<Vec<BanView>, NodeApiError>> {
        now(vec![ban(), by_hand(&key('E'), &BanRequest::default())])
    }

    fn ban(&self, request: BanRequest) -> BoxFuture<'_, Result<BanView, NodeApiError>> {
        if request.node == key('A') {
            let refused = NodeApiError::Refused {
                what: "AAAAAAAA is this node itself".into(),
                hint: "Name another.".into(),
            };
            return ready(Err(refused)).boxed();
        }
        now(by_hand(&request.node, &request))
    }

    fn unban(&self, node: String) -> BoxFuture<'_, Result<BanView, NodeApiError>> {
        if node == key('A') {
            let refused = NodeApiError::Refused {
                what: "node AAAAAAAA is not banned".into(),
                hint: "Look who is.".into(),
            };
            return ready(Err(refused)).boxed();
        }
        now(by_hand(&node, &BanRequest::default()))
    }

    fn candidates(&self, request: RouteRequest) -> BoxFuture<'_, Result<RoutesView, NodeApiError>> {
        if request.hops.as_deref() == Some("9") {
            let refused = NodeApiError::Refused {
                what: "the number of hops makes no sense".into(),
                hint: "Give for example 3.".into(),
            };
            return ready(Err(refused)).boxed();
        }
        let mut view = candidates();
        view.routes.truncate(request.count.unwrap_or(10));
        now(view)
    }

    fn money(&self) -> Option<&dyn MoneyApi> {
        self.money.as_ref().map(|money| money as &dyn MoneyApi)
    }

    fn wallets(&self) -> BoxFuture<'_, Result<WalletsView, NodeApiError>> {
        now(WalletsView {
            lock: "key-file".into(),
            consuming: Some("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed".into()),
            earning: None,
            key_open: true,
        })
    }

    fn shutdown(&self, at_once: bool) -> BoxFuture<'_, Result<ShutdownView, NodeApiError>> {
        self.shutdowns
            .lock()
            .expect("no test panics with it")
            .push(at_once);
        now(ShutdownView {
            open_flows: 3,
            drain_seconds: 10,
        })
    }

    fn doctor(&self) -> BoxFuture<'_, Result<Report, NodeApiError>> {
        let mut findings = vec![
            Finding::ok(Check::Clock, "The clock agrees with those of 2 neighbours."),
            Finding::warning(
                Check::Nat,
                "The router is being asked to let other nodes through.",
                "Ask again in half a minute.",
            ),
        ];
        if self.tracing {
            findings.push(Finding::fault(
                Check::Neighbours,
                "There is no neighbour (ABCDEFGH: gone\u{1b}[2J).",
                "Get another descriptor.",
            ));
        }
        now(Report::new(true, findings))
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
}
