//! What the node answers to the control API.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use alloy_primitives::Address;
use futures::FutureExt;
use futures::future::BoxFuture;
use masq_cores::pool::{CircuitInfo, Pool};
use masq_gossip::{Descriptor, LinkInfo, NodeKey};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::address::public_address;
use super::bans::{self, BanCommand};
use super::routes::{Asked, Routes};
use super::share::Share;
use super::swarm::{Command, entry_link, stage_view};
use super::trace::Trace;
use super::view::View;
use crate::billing::Billing;
use crate::config::{Config, Hops};
use crate::control::types::{
    BanRequest, BanView, CircuitState, CircuitView, ConnectionStatus, DescriptorView, Event,
    FlowCounts, GraphNode, GraphView, HopRole, HopView, JoinProblem, Leg, NeighbourView, OwnLink,
    RouteRequest, RoutesView, ScoreView, SettingsView, ShutdownView, Stage, Status, TraceView,
    Traffic,
};
use crate::control::{MoneyApi, NodeApi, NodeApiError, WalletsView};
use crate::daemon::Stop;
use crate::datadir::DataDir;
use crate::doctor::Report;
use crate::entry::EntryHandle;
use crate::exit::{Exit, Resolve};
use crate::reach::MappingState;
use crate::routing::{HopRange, NodeScore};
use crate::safe::Safe;
use crate::store::StoreError;
use crate::wallet;

/// Everything the answers are made of.
pub(crate) struct Api {
    pub(crate) me: NodeKey,
    pub(crate) knock: masq_gossip::Knock,
    pub(crate) config: Arc<Config>,
    pub(crate) view: watch::Receiver<View>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) routes: Routes,
    pub(crate) pool: Option<Pool>,
    pub(crate) share: Share,
    pub(crate) entry: EntryHandle,
    pub(crate) exit: Exit,
    pub(crate) trace: Option<Trace>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) stop: Stop,
    pub(crate) started: Instant,
    pub(crate) data: Arc<DataDir>,
    pub(crate) safe: Safe,
    /// Where this node asks for names, if it does.
    pub(crate) resolver: Option<Arc<dyn Resolve>>,
    /// What circuits are paid by, where they are.
    pub(crate) billing: Option<Billing>,
}

impl Api {
    pub(super) async fn links(&self) -> Vec<LinkInfo> {
        let (answer, links) = oneshot::channel();
        if self.commands.send(Command::Links(answer)).await.is_err() {
            return Vec::new();
        }
        links.await.unwrap_or_default()
    }

    fn circuits_now(&self) -> Vec<CircuitInfo> {
        self.pool.as_ref().map(Pool::circuits).unwrap_or_default()
    }

    fn stage(&self) -> (Stage, String) {
        if !self.config.mode.joins() {
            let reason = "Zero-hop mode: nothing goes through the mesh; the proxies connect \
                          straight out.";
            return (Stage::NotConnected, reason.into());
        }
        let view = self.view.borrow();
        let reason = view.stage_reason(self.config.neighbours.len());
        (stage_view(view.stage), reason)
    }

    fn country(&self, node: &[u8; 32]) -> Option<String> {
        let view = self.view.borrow();
        let country = view.graph.info(node)?.country?;
        Some(country.iter().map(|letter| char::from(*letter)).collect())
    }

    fn circuit_view(&self, info: &CircuitInfo) -> CircuitView {
        let route = info.circuit.route();
        let exit = route.over.len().saturating_sub(1);
        let over = route.over.iter().enumerate().map(|(at, hop)| {
            let role = if at == exit {
                HopRole::Exit
            } else {
                HopRole::Relay
            };
            (hop, role, Leg::Over)
        });
        let back = route
            .back
            .iter()
            .map(|hop| (hop, HopRole::Relay, Leg::Back));
        let hops = over.chain(back).map(|(hop, role, leg)| HopView {
            node: NodeKey(hop.node.0).to_string(),
            role,
            leg,
            country: self.country(&hop.node.0),
        });
        let entry = route.over.first().map(|hop| hop.node);
        let relays = route.over.iter().take(exit).map(|hop| hop.node);
        let shared = relays
            .filter(|node| Some(*node) != entry)
            .filter(|node| route.back.iter().any(|hop| hop.node == *node))
            .count();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let round = info.circuit.last_round();
        let sent = info.circuit.carried(masq_cores::Leg::Over);
        let received = info.circuit.carried(masq_cores::Leg::Back);
        CircuitView {
            id: info.circuit.id().0,
            state: if info.retiring {
                CircuitState::Retiring
            } else {
                CircuitState::Open
            },
            hops: hops.collect(),
            shared_relays: count(shared),
            flows: count(info.flows),
            flows_carried: info.flows_opened,
            age_seconds: info.age.as_secs(),
            sent_bytes: sent.bytes,
            sent_cells: sent.cells,
            received_bytes: received.bytes,
            received_cells: received.cells,
            round_trip_us: (round.count > 0)
                .then(|| u64::try_from(round.took.as_micros()).unwrap_or(u64::MAX)),
        }
    }

    async fn make_status(&self) -> Status {
        let links = self.links().await;
        let neighbours = links.iter().map(|link| NeighbourView {
            node: link.node.to_string(),
            entry: entry_link(link.entry),
            since_seconds: link.age.as_secs(),
            address: link.remote.map(|ip| ip.to_string()),
        });
        let (stage, stage_reason) = self.stage();
        let entry = self.entry.status();
        let exit = self.exit.status();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            chain: self.config.chain.to_string(),
            node: self.me.to_string(),
            mode: self.config.mode.to_string(),
            stage,
            stage_reason,
            hops: self.routes.hops().to_string(),
            exit: self.config.exit,
            draining: self.stop.is_draining(),
            neighbours: neighbours.collect(),
            listening: self.view.borrow().listening.clone(),
            socks: self.entry.socks_addr(),
            http: self.entry.http_addr(),
            flows: FlowCounts {
                open: entry.flows as u64,
                opened: entry.flows_opened,
                failed: entry.flows_failed,
                plaintext: entry.plaintext,
                exit_open: exit.flows as u64,
                exit_opened: exit.opened,
            },
            circuits: self.share.circuits(),
            traffic: Traffic {
                sent_bytes: entry.bytes_sent,
                received_bytes: entry.bytes_received,
                relayed_bytes: self.share.relayed_bytes(),
                exited_bytes: exit.bytes_received + exit.bytes_sent,
            },
            uptime_seconds: self.started.elapsed().as_secs(),
            memory_bytes: crate::telemetry::resident_memory(),
            money: None,
        }
    }

    fn make_descriptor(&self) -> DescriptorView {
        let descriptor = self.descriptor_text();
        DescriptorView {
            node: self.me.to_string(),
            reason: descriptor.as_ref().err().map(|why| (*why).to_owned()),
            descriptor: descriptor.ok(),
        }
    }

    fn descriptor_text(&self) -> Result<String, &'static str> {
        if !self.config.mode.accepts_connections() {
            return Err(
                "In this mode the node accepts no connections, so nobody can be told to \
                        dial it. The setting `mode` changes that.",
            );
        }
        let (host, ports) = {
            let view = self.view.borrow();
            let outside = view.mapping.external();
            public_address(&self.config, &view.listening, outside).ok_or(match view.mapping {
                MappingState::Asking => {
                    "The router is being asked for the address under which others reach this \
                     node. Ask again in half a minute."
                }
                _ => {
                    "The node does not know the address under which others reach it. Set \
                     `advertise` to your public address or host name; `masq doctor` says more."
                }
            })?
        };
        Ok(Descriptor {
            chain: self.config.chain,
            node: self.me,
            host,
            ports,
            mask: None,
            knock: Some(self.knock),
        }
        .to_string())
    }

    fn make_connection_status(&self) -> ConnectionStatus {
        let (stage, stage_reason) = self.stage();
        let view = self.view.borrow();
        let links = view.neighbourhood.links();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        ConnectionStatus {
            stage,
            stage_reason,
            since_seconds: view.stage_since.elapsed().as_secs(),
            neighbours: count(links.len()),
            entry_links: count(links.iter().filter(|link| link.entry.ours()).count()),
            nodes_known: count(view.neighbourhood.len()),
            exits_known: count(view.exits_known()),
            problems: view
                .problems
                .iter()
                .map(|(at, what)| JoinProblem {
                    ago_seconds: at.elapsed().as_secs(),
                    what: what.clone(),
                })
                .collect(),
            remembered: (self.safe.memory.remembered().neighbours.into_iter())
                .map(|past| past.node)
                .collect(),
        }
    }

    fn make_graph(&self) -> GraphView {
        let hood = Arc::clone(&self.view.borrow().neighbourhood);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let records = std::iter::once(hood.own()).chain(hood.records());
        let nodes = records.map(|signed| {
            let record = signed.record();
            GraphNode {
                node: record.node.to_string(),
                routes: record.roles.routes,
                exits: record.roles.exits,
                accepts: record.roles.accepts_connections,
                country: record
                    .country
                    .map(|country| country.iter().map(|letter| char::from(*letter)).collect()),
                version: record.version,
                age_seconds: now.saturating_sub(record.issued),
                score: self.routes.score(&record.node.0).map(score_view),
            }
        });
        GraphView {
            me: self.me.to_string(),
            nodes: nodes.collect(),
            edges: hood
                .all_edges()
                .map(|(a, b)| (a.to_string(), b.to_string()))
                .collect(),
            links: hood
                .links()
                .iter()
                .map(|link| OwnLink {
                    node: link.node.to_string(),
                    entry: entry_link(link.entry),
                })
                .collect(),
        }
    }

    fn must_originate(&self) -> Result<(), NodeApiError> {
        if self.pool.is_none() {
            return Err(NodeApiError::Refused {
                what: format!("A node in mode {} builds no circuits.", self.config.mode),
                hint: "Choose another `mode`, and start it again.".into(),
            });
        }
        Ok(())
    }

    async fn change_hops(&self, hops: Hops) -> Result<SettingsView, NodeApiError> {
        self.must_originate()?;
        self.routes.set_hops(hop_range(hops));
        // Circuits that are ready have the old length.
        if let Some(pool) = &self.pool {
            pool.renew();
        }
        let _ = self.commands.send(Command::MinHops(hops.min())).await;
        let settings = SettingsView {
            hops: hops.to_string(),
            no_route: self.routes.why_none(),
        };
        let _ = self.events.send(Event::SettingsChanged {
            hops: settings.hops.clone(),
        });
        Ok(settings)
    }
}

/// As the control API says it: whole numbers.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "none is negative, and a cast cuts at the bounds"
)]
fn score_view(score: NodeScore) -> ScoreView {
    ScoreView {
        points: score.points(),
        avoided: score.avoided,
        latency_ms: score.latency.map(|ms| ms.round() as u64),
        throughput_bytes: score.throughput.map(|rate| rate.round() as u64),
        failed_percent: score.failures.map(|part| (part * 100.0).round() as u8),
        congested_seconds: score.congested.map(|left| left.as_secs()),
        disputed_seconds: score.disputed.map(|left| left.as_secs()),
    }
}

/// As routing says it. Both are checked to lie within one and six.
pub(crate) fn hop_range(hops: Hops) -> HopRange {
    HopRange::new(hops.min(), hops.max()).unwrap_or_default()
}

impl NodeApi for Api {
    fn status(&self) -> BoxFuture<'_, Result<Status, NodeApiError>> {
        self.make_status().map(Ok).boxed()
    }

    fn descriptor(&self) -> BoxFuture<'_, Result<DescriptorView, NodeApiError>> {
        async { Ok(self.make_descriptor()) }.boxed()
    }

    fn connection_status(&self) -> BoxFuture<'_, Result<ConnectionStatus, NodeApiError>> {
        async { Ok(self.make_connection_status()) }.boxed()
    }

    fn neighborhood(&self) -> BoxFuture<'_, Result<GraphView, NodeApiError>> {
        async { Ok(self.make_graph()) }.boxed()
    }

    fn circuits(&self) -> BoxFuture<'_, Result<Vec<CircuitView>, NodeApiError>> {
        async {
            let circuits = self.circuits_now();
            Ok(circuits
                .iter()
                .map(|circuit| self.circuit_view(circuit))
                .collect())
        }
        .boxed()
    }

    fn wallets(&self) -> BoxFuture<'_, Result<WalletsView, NodeApiError>> {
        async {
            let safe = self.safe.clone();
            let read = tokio::task::spawn_blocking(move || {
                let noted = wallet::noted(&safe.node_store)?;
                let shown = |address: Address| address.to_checksum(None);
                Ok::<_, StoreError>(WalletsView {
                    lock: safe.lock.as_str().to_owned(),
                    consuming: noted.consuming.map(shown),
                    earning: safe.wallets.earning.map(shown),
                    key_open: safe.wallets.consuming.is_some(),
                })
            });
            // Only the end of the runtime cuts it short.
            let read = read.await.map_err(|_| NodeApiError::Stopping)?;
            read.map_err(|error| NodeApiError::Refused {
                what: format!("The wallets can't be read: {error}."),
                hint: "Look at the log, and start the daemon again.".into(),
            })
        }
        .boxed()
    }

    fn trace(&self) -> BoxFuture<'_, Result<TraceView, NodeApiError>> {
        async {
            match &self.trace {
                Some(trace) => Ok(trace.view(self.me)),
                None => Err(NodeApiError::SwitchedOff {
                    what: "This node keeps no trace.".into(),
                    hint: "On chain dev, `debug_trace = true` switches it on.".into(),
                }),
            }
        }
        .boxed()
    }

    fn settings(&self) -> BoxFuture<'_, Result<SettingsView, NodeApiError>> {
        async {
            Ok(SettingsView {
                hops: self.routes.hops().to_string(),
                no_route: self.routes.why_none(),
            })
        }
        .boxed()
    }

    fn set_hops(&self, hops: Hops) -> BoxFuture<'_, Result<SettingsView, NodeApiError>> {
        self.change_hops(hops).boxed()
    }

    fn bans(&self) -> BoxFuture<'_, Result<Vec<BanView>, NodeApiError>> {
        bans::ask(&self.commands, BanCommand::List).boxed()
    }

    fn ban(&self, request: BanRequest) -> BoxFuture<'_, Result<BanView, NodeApiError>> {
        async { bans::ask(&self.commands, |answer| BanCommand::Add(request, answer)).await? }
            .boxed()
    }

    fn unban(&self, node: String) -> BoxFuture<'_, Result<BanView, NodeApiError>> {
        async { bans::ask(&self.commands, |answer| BanCommand::Lift(node, answer)).await? }.boxed()
    }

    fn candidates(&self, request: RouteRequest) -> BoxFuture<'_, Result<RoutesView, NodeApiError>> {
        async move {
            self.must_originate()?;
            let asked = Asked::parse(&request)?;
            let routes = self.routes.clone();
            let look = tokio::task::spawn_blocking(move || routes.candidates(&asked));
            look.await.map_err(|_| NodeApiError::Stopping)
        }
        .boxed()
    }

    fn money(&self) -> Option<&dyn MoneyApi> {
        self.billing
            .as_ref()
            .map(|billing| billing as &dyn MoneyApi)
    }

    fn shutdown(&self, now: bool) -> BoxFuture<'_, Result<ShutdownView, NodeApiError>> {
        async move {
            if now {
                self.stop.ask_at_once();
            } else {
                self.stop.ask_to_drain();
            }
            Ok(ShutdownView {
                open_flows: self.entry.status().flows as u64,
                drain_seconds: if now { 0 } else { self.config.drain.as_secs() },
            })
        }
        .boxed()
    }

    fn doctor(&self) -> BoxFuture<'_, Result<Report, NodeApiError>> {
        self.make_report().map(Ok).boxed()
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
}
