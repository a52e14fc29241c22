//! The node itself: puts the parts together, starts them, and stops them in
//! order.
//!
//! | where | what |
//! |---|---|
//! | [`transport`] | how two nodes are linked |
//! | `swarm` | the one task that owns the Swarm |
//! | `view`, `graph` | what the others see of the mesh, without asking that task |
//! | `routes` | which route the next circuit takes |
//! | `reaching` | whether this node can be dialled, and whether neighbours can |
//! | `mesh` | flows for the proxies, through other exits where one fails |
//! | `money`, `prices` | the books that circuits are paid by, and what hops ask for |
//! | `ask` | questions of gossip to far nodes, in circuits of their own |
//! | `address` | where others can dial this node, as its descriptor says |
//! | `roam` | the machine sleeps, wakes, or moves to another network |
//! | `acquaintances` | whether a node that starts knows anybody to join by |
//! | `share` | what this node does in circuits of others |
//! | `disputes` | hops that claim more than they carried |
//! | `bans` | who is banned: between gossip, the disk and the control API |
//! | `api`, `doctor` | answers to the control API |
//! | `trace` | what a hop saw, on the development chain |
//!
//! Bytes never pass through here: the proxies, the circuits and the exit have
//! tasks of their own.

mod acquaintances;
mod address;
mod api;
mod ask;
mod bans;
mod disputes;
mod doctor;
mod graph;
mod mesh;
mod money;
mod prices;
mod reaching;
mod roam;
mod routes;
mod share;
mod swarm;
mod trace;
pub mod transport;
mod view;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::swarm::SwarmEvent;
use libp2p::{Swarm, ping};
use masq_cores::control::Control;
use masq_cores::flow::{self, FlowHandler};
use masq_cores::host::RngSource;
use masq_cores::pool::{Pool, PoolConfig};
use masq_cores::{CircuitEnd, Cores, NodeKey as CoresKey};
use masq_gossip::{ASK_SERVICE, NodeKey, Roles};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;

pub(crate) use self::bans::find;

use self::api::Api;
use self::ask::{Answering, Asked, Asker, Asks};
use self::disputes::Avoid;
use self::mesh::{NoMesh, PooledMesh};
use self::money::Writing;
use self::prices::RecordPrices;
use self::reaching::{Mapping, Reaching, RunningMapping};
use self::roam::Roaming;
use self::routes::{Means, Routes};
use self::share::{Service, Share};
use self::swarm::{Behaviour, BehaviourEvent, COMMAND_QUEUE, Command, Loop};
use self::trace::{Trace, TracedFlows};
use self::transport::Activity;
use self::view::View;
use crate::billing::Billing;
use crate::config::Config;
use crate::daemon::{RunningNode, Start, StartError};
use crate::datadir::DataDir;
use crate::entry::{Entry, EntryConfig, Mesh};
use crate::exit::{Direct, Exit, ExitConfig, ExitPolicy, HickoryResolver, Resolve, Services};
use crate::reach::Prober;
use crate::safe::Safe;
use crate::wallet::WalletError;

/// Events that a slow reader of the control API may lag behind (from its description).
const EVENT_QUEUE: usize = 256;

/// How long listeners may take to say where they listen (guess: they are bound already).
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);

/// Addresses of one node that are dialled at once (from libp2p).
const DIALS_PER_NODE: NonZeroU8 = NonZeroU8::new(8).expect("eight is not zero");

/// Substreams whose protocol is being agreed on, per connection (from the design).
const NEGOTIATING: usize = 32;

/// How long a connection without a use stays (from the design: guests are short-lived).
const IDLE_CONNECTION: Duration = Duration::from_secs(10);

/// Starts a node: binds what is to be bound, and begins to join.
///
/// # Errors
/// [`StartError`]: an address that can't be listened on, an unusable setting or data folder.
/// Nothing is left running then.
pub async fn start(start: Start) -> Result<RunningNode, StartError> {
    Builder::new(start)?.build().await
}

/// Fresh generators, seeded by the system.
fn rng_source() -> RngSource {
    RngSource::new(|| ChaCha20Rng::from_rng(&mut rand::rng()))
}

/// What is known before anything runs.
struct Builder {
    config: Arc<Config>,
    data: Arc<DataDir>,
    safe: Safe,
    stop: crate::daemon::Stop,
    keypair: Keypair,
    me: NodeKey,
    policy: ExitPolicy,
    resolver: Arc<dyn Resolve>,
    started: Instant,
}

impl Builder {
    fn new(start: Start) -> Result<Self, StartError> {
        let Start {
            config,
            data,
            safe,
            stop,
            ..
        } = start;
        let remembered = safe.memory.remembered().neighbours.len();
        if let Some(hint) = acquaintances::check(&config, remembered)? {
            tracing::info!("{hint}");
        }
        let mut seed = safe.memory.node_seed().map_err(WalletError::from)?;
        let keypair = Keypair::ed25519_from_bytes(seed.as_mut_slice())
            .map_err(|error| StartError::Internal(format!("the node key is no key: {error}")))?;
        let me = NodeKey::try_from(&keypair.public())
            .map_err(|error| StartError::Internal(error.to_string()))?;
        let policy = ExitPolicy::parse(&config.exit_policy, config.allow_private)
            .map_err(|error| setting("exit_policy", error.to_string(), "Correct the rule."))?
            .with_own_addresses(own_addresses(&config));
        let resolver = resolver(&config)?;
        Ok(Self {
            config,
            data,
            safe,
            stop,
            keypair,
            me,
            policy,
            resolver,
            started: Instant::now(),
        })
    }

    async fn build(self) -> Result<RunningNode, StartError> {
        let (answering, asked) = Answering::new();
        let (node, _) = self.assemble(answering, asked).await?;
        Ok(node)
    }

    /// The node, and what asks others for it. Questions of others come out at `asked`.
    async fn assemble(
        self,
        answering: Answering,
        asked: mpsc::Receiver<Asked>,
    ) -> Result<(RunningNode, Asker), StartError> {
        let trace = self.config.debug_trace.then(Trace::default);
        let services = Services::default();
        services
            .offer(ASK_SERVICE, Arc::new(answering), ask::MAX_CALLS)
            .map_err(|error| StartError::Internal(error.to_string()))?;
        let exit = Exit::new(self.exit_config(), Arc::clone(&self.resolver), services);
        let entry = self.bind_entry().await?;
        let (billing, writing) = self.money(&entry).await?.unzip();
        let service = Service {
            routes: self.config.mode.routes(),
            exits: self.config.exit,
        };
        let share = Share::new(service, billing.clone());
        let control = Control::new();
        let cores = self.cores(&control, &share, billing.as_ref(), &exit, trace.as_ref());
        let activity = Activity::default();
        let mut swarm = self.swarm(control, &cores, billing.as_ref(), activity.clone())?;
        let (listening, early) = self.listen(&mut swarm).await?;
        self.advertise(&mut swarm, &listening);

        let roaming = Roaming::new(Arc::clone(&self.config), &listening);
        let mut view = View::new(swarm.behaviour().gossip.neighbourhood(), self.started);
        let mapping = Mapping::prepare(&self.config, &listening);
        view.mapping = mapping.state();
        view.unpaid = self.config.mode.originates() && !self.config.pays();
        view.hops = self.config.hops.min();
        view.listening = listening;
        let (view_tx, view) = watch::channel(view);
        let (events, _) = broadcast::channel(EVENT_QUEUE);
        let (commands, queue) = mpsc::channel(COMMAND_QUEUE);
        let routes = Routes::new(
            CoresKey(self.me.0),
            view.clone(),
            api::hop_range(self.config.hops),
            Means {
                unpaid: !self.config.pays(),
                ceiling: (self.config.price_ceiling.as_ref()).map(crate::routing::Rates::from),
            },
        );
        if let Some(billing) = &billing {
            billing.set_prices(Arc::new(RecordPrices(view.clone())));
            billing.set_disputed(Arc::new(Avoid {
                routes: routes.clone(),
                commands: commands.downgrade(),
            }));
        }
        let asker = Asker {
            cores: cores.clone(),
            routes: routes.clone(),
        };
        let looping = Loop {
            roaming,
            asks: Asks::new(asker.clone(), asked),
            onion: cores.onion_keys(),
            activity,
            swarm,
            cores: cores.clone(),
            view: view_tx,
            events: events.clone(),
            memory: self.safe.memory.clone(),
            commands: queue,
            seeds: self.config.neighbours.len(),
            reaching: Reaching::new(Arc::clone(&self.config), self.prober()),
            billing: billing.clone(),
        };
        let looping = tokio::spawn(looping.run(early));
        let mapping = mapping.start(commands.clone());
        let pool = self.pool(&cores, &routes, &view);
        if let Some(pool) = &pool {
            tokio::spawn(bans::renew_circuits(pool.clone(), events.subscribe()));
        }
        let mesh = self.mesh(pool.as_ref(), &routes, &view, billing.as_ref());
        let asks_names = self.config.exit || !self.config.mode.joins();
        let ed25519 = self
            .keypair
            .clone()
            .try_into_ed25519()
            .map_err(|_| StartError::Internal("the node key is not Ed25519".into()))?;
        let api = Api {
            me: self.me,
            knock: masq_gossip::Knock::of(&ed25519),
            config: Arc::clone(&self.config),
            view,
            commands: commands.clone(),
            routes,
            pool: pool.clone(),
            share,
            entry: entry.handle(),
            exit: exit.clone(),
            trace,
            events,
            stop: self.stop.clone(),
            started: self.started,
            data: Arc::clone(&self.data),
            safe: self.safe.clone(),
            resolver: asks_names.then(|| Arc::clone(&self.resolver)),
            billing: billing.clone(),
        };
        let life = Life {
            stop: self.stop,
            drain: self.config.drain,
            entry,
            mesh,
            exit,
            pool,
            cores,
            commands,
            looping,
            mapping,
            money: Writing::new(billing, writing, self.config.settle_on_stop),
        };
        Ok((RunningNode::new(Arc::new(api), life.run()), asker))
    }

    fn exit_config(&self) -> ExitConfig {
        let exits = self.config.exit;
        ExitConfig {
            enabled: exits,
            policy: self.policy.clone(),
            max_flows: if exits {
                self.config.max_exit_flows
            } else {
                ask::NON_EXIT_FLOWS
            },
            ..ExitConfig::default()
        }
    }

    fn cores(
        &self,
        control: &Control,
        share: &Share,
        billing: Option<&Billing>,
        exit: &Exit,
        trace: Option<&Trace>,
    ) -> Cores {
        let mut config = masq_cores::Config::new(
            CoresKey(self.me.0),
            Arc::new(control.clone()),
            Arc::new(share.clone()),
            rng_source(),
        );
        let handler: Arc<dyn FlowHandler> = match trace {
            Some(trace) => Arc::new(TracedFlows {
                trace: trace.clone(),
                inner: Arc::new(exit.clone()),
            }),
            None => Arc::new(exit.clone()),
        };
        if self.config.exit {
            config.exit = Some(Arc::new(move |end: CircuitEnd| {
                tokio::spawn(flow::accept(end, Arc::clone(&handler)));
            }));
        } else if self.config.mode.routes() {
            config.exit_circuits = ask::NON_EXIT_CIRCUITS;
            config.exit = Some(Arc::new(move |end: CircuitEnd| {
                tokio::spawn(ask::serve_briefly(end, Arc::clone(&handler)));
            }));
        }
        config.meter = Some(Arc::new(share.clone()));
        if self.config.pays() {
            config.payer = billing.map(|billing| Arc::new(billing.clone()) as Arc<_>);
        }
        config.observer = trace.map(|trace| Arc::new(trace.clone()) as Arc<_>);
        Cores::new(config)
    }

    fn gossip(&self, cores: &Cores) -> Result<masq_gossip::Behaviour, StartError> {
        let config = &self.config;
        let mut gossip = masq_gossip::Config::new(config.chain);
        gossip.roles = Roles {
            routes: config.mode.routes(),
            exits: config.exit,
            accepts_connections: config.mode.accepts_connections(),
        };
        gossip.originates = config.mode.originates();
        let limit = |n: u8| (n > 0).then_some(n);
        gossip.ip_limits.per_ip = limit(config.ip_limits.per_ip);
        gossip.ip_limits.per_24 = limit(config.ip_limits.per_24);
        gossip.ip_limits.per_48 = limit(config.ip_limits.per_48);
        gossip.check_reachability_of_others = config.check_reachability_of_others;
        gossip.min_hops = config.hops.min();
        // Who only serves has no circuits of its own, and judges the mesh as others would.
        gossip.pays = config.pays() || !config.mode.originates();
        let wallet = self.safe.advertised_wallet(config);
        gossip.earning_wallet = wallet.unwrap_or_default().into_array();
        if config.earns() {
            gossip.rates = config.rates;
        }
        gossip.country = config.country.map(|country| country.letters());
        if config.exit {
            gossip.policy = self.policy.summary();
        }
        let remembered = self.safe.memory.remembered();
        let keys = cores.onion_keys();
        let start = masq_gossip::Start {
            seeds: config.neighbours.clone(),
            remembered: swarm::from_stored(&remembered.neighbours),
            last_version: remembered.record_version,
            bans: bans::from_stored(&remembered.bans),
            onion_keys: (keys.current.0, keys.previous.map(|key| key.0)),
        };
        masq_gossip::Behaviour::new(gossip, &self.keypair, start, rng_source().make())
            .map_err(|error| StartError::Internal(error.to_string()))
    }

    fn swarm(
        &self,
        control: Control,
        cores: &Cores,
        billing: Option<&Billing>,
        activity: Activity,
    ) -> Result<Swarm<Behaviour>, StartError> {
        let names = HickoryResolver::new(&self.config.dns_servers)
            .ok()
            .map(|resolver| resolver.names());
        let transport = transport::plain(&self.keypair, source(&self.config), names, activity)
            .map_err(|error| StartError::Internal(format!("noise does not start: {error}")))?;
        let behaviour = Behaviour {
            gossip: self.gossip(cores)?,
            cores: masq_cores::Behaviour::new(control, cores.clone()),
            settlement: billing.map(Billing::behaviour).into(),
            ping: ping::Behaviour::default(),
        };
        let config = libp2p::swarm::Config::with_tokio_executor()
            .with_substream_upgrade_protocol_override(Version::V1Lazy)
            .with_max_negotiating_inbound_streams(NEGOTIATING)
            .with_idle_connection_timeout(IDLE_CONNECTION)
            .with_dial_concurrency_factor(DIALS_PER_NODE);
        let peer = self.keypair.public().to_peer_id();
        Ok(Swarm::new(transport, behaviour, peer, config))
    }

    /// What dials for neighbours: by the same links and from the same address as the Swarm.
    fn prober(&self) -> Prober {
        Prober::new(self.keypair.clone(), source(&self.config))
    }

    async fn bind_entry(&self) -> Result<Entry, StartError> {
        let entry = EntryConfig {
            socks: self.config.socks,
            http: self.config.http,
            plaintext: self.config.plaintext,
            max_connections: self.config.max_clients,
            drain: self.config.drain,
        };
        Ok(Entry::bind(entry).await?)
    }

    /// Listens where the configuration says, and waits until the ports are known. Gives the ports,
    /// and what gossip had to say meanwhile.
    async fn listen(
        &self,
        swarm: &mut Swarm<Behaviour>,
    ) -> Result<(Vec<SocketAddr>, Vec<masq_gossip::Event>), StartError> {
        let mut waiting = Vec::new();
        if self.config.mode.joins() && self.config.mode.accepts_connections() {
            for address in &self.config.listen {
                not_taken(*address)?;
                let id = swarm
                    .listen_on(swarm::multiaddr(*address))
                    .map_err(|error| StartError::Listen {
                        setting: "listen",
                        address: *address,
                        source: into_io(error),
                    })?;
                waiting.push(id);
            }
        }
        let (mut found, mut early) = (Vec::new(), Vec::new());
        let all = async {
            while !waiting.is_empty() {
                match swarm.select_next_some().await {
                    SwarmEvent::NewListenAddr {
                        listener_id,
                        address,
                    } => {
                        waiting.retain(|id| *id != listener_id);
                        found.extend(swarm::socket_addr(&address));
                    }
                    SwarmEvent::Behaviour(BehaviourEvent::Gossip(event)) => {
                        // A record with that version may leave at the next turn.
                        if let masq_gossip::Event::PersistVersion(version) = event {
                            swarm::persist_version(&self.safe.memory, version);
                        }
                        early.push(event);
                    }
                    _ => {}
                }
            }
        };
        let timely = tokio::time::timeout(LISTEN_TIMEOUT, all).await;
        timely.map_err(|_| StartError::Internal("a listener does not say where it is".into()))?;
        Ok((found, early))
    }

    /// Tells gossip where others can dial this node.
    fn advertise(&self, swarm: &mut Swarm<Behaviour>, listening: &[SocketAddr]) {
        let gossip = &mut swarm.behaviour_mut().gossip;
        gossip.set_advertised(roam::advertised(&self.config, listening, None));
    }

    fn pool(&self, cores: &Cores, routes: &Routes, view: &watch::Receiver<View>) -> Option<Pool> {
        let mode = self.config.mode;
        if !mode.originates() || !mode.joins() {
            return None;
        }
        let config = PoolConfig {
            warm: self.config.warm_circuits.into(),
            ..PoolConfig::default()
        };
        let pool = Pool::new(config, cores.clone(), Arc::new(routes.clone()));
        tokio::spawn(refresh_on_change(pool.clone(), view.clone()));
        Some(pool)
    }

    fn mesh(
        &self,
        pool: Option<&Pool>,
        routes: &Routes,
        view: &watch::Receiver<View>,
        billing: Option<&Billing>,
    ) -> Arc<dyn Mesh> {
        if !self.config.mode.joins() {
            return Arc::new(Direct::new(self.policy.clone(), Arc::clone(&self.resolver)));
        }
        match pool {
            Some(pool) => Arc::new(PooledMesh {
                pool: pool.clone(),
                routes: routes.clone(),
                view: view.clone(),
                draining: self.stop.drain_token(),
                billing: billing.cloned(),
            }),
            None => Arc::new(NoMesh),
        }
    }
}

/// Has warm circuits tried again whenever the stage has changed, until the node ends. After the
/// machine slept, nothing new is given to a circuit from before.
async fn refresh_on_change(pool: Pool, mut view: watch::Receiver<View>) {
    let (mut stage, mut wakes) = (view.borrow().stage, 0);
    while view.changed().await.is_ok() {
        let (stage_now, wakes_now) = {
            let now = view.borrow_and_update();
            (now.stage, now.wakes)
        };
        if wakes_now != wakes {
            pool.renew();
        }
        if (stage_now, wakes_now) != (stage, wakes) {
            (stage, wakes) = (stage_now, wakes_now);
            pool.refresh();
        }
    }
}

/// Everything that runs, and the order in which it ends.
struct Life {
    stop: crate::daemon::Stop,
    drain: Duration,
    entry: Entry,
    mesh: Arc<dyn Mesh>,
    exit: Exit,
    pool: Option<Pool>,
    cores: Cores,
    commands: mpsc::Sender<Command>,
    looping: JoinHandle<()>,
    mapping: RunningMapping,
    money: Writing,
}

impl Life {
    async fn run(self) -> Result<(), StartError> {
        let Self {
            stop,
            drain,
            entry,
            mesh,
            exit,
            pool,
            cores,
            commands,
            mut looping,
            mapping,
            mut money,
        } = self;
        let serving = entry.serve(mesh, stop.drain_token());
        let draining = async {
            stop.draining().await;
            exit.shutdown(drain).await;
        };
        tokio::select! {
            // Own clients' flows and flows of others drain side by side.
            _ = async { tokio::join!(serving, draining) } => {}
            () = stop.at_once() => {}
            ended = &mut looping => {
                return Err(StartError::Internal(match ended {
                    Ok(()) => "the network task ended by itself".into(),
                    Err(error) => format!("the network task failed: {error}"),
                }));
            }
            // What is carried from here on would be in no book.
            error = money.failed() => return Err(error),
        }
        if let Some(pool) = pool {
            pool.close();
        }
        cores.shutdown().await;
        money.end().await?;
        let _ = commands.send(Command::Stop).await;
        let _ = tokio::join!(looping, mapping.end());
        Ok(())
    }
}

fn setting(setting: &'static str, what: String, remedy: &str) -> StartError {
    StartError::Setting {
        setting,
        what,
        remedy: remedy.into(),
    }
}

/// The resolver for servers' names. Only nodes that connect to servers need one.
fn resolver(config: &Config) -> Result<Arc<dyn Resolve>, StartError> {
    match HickoryResolver::new(&config.dns_servers) {
        Ok(resolver) => Ok(Arc::new(resolver)),
        Err(_) if !config.exit && config.mode.joins() => Ok(Arc::new(crate::exit::NoResolver)),
        Err(error) => Err(setting(
            "dns_servers",
            format!("{error}."),
            "Name at least one server.",
        )),
    }
}

/// Whether the address is free. libp2p shares a port that another libp2p program listens on, and
/// then the system hands each of the two half of the calls; a plain socket does not.
fn not_taken(address: SocketAddr) -> Result<(), StartError> {
    std::net::TcpListener::bind(address)
        .map(drop)
        .map_err(|source| StartError::Listen {
            setting: "listen",
            address,
            source,
        })
}

/// Addresses under which this machine is reached: what trusts the machine it runs on must not be
/// reached through the mesh. Those of the loopback are refused in any case.
fn own_addresses(config: &Config) -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "the addresses of this machine can't be read");
        Vec::new()
    });
    let public = config.advertise.iter();
    public
        .filter_map(|public| public.host.parse().ok())
        .chain(config.listen.iter().map(SocketAddr::ip))
        .chain(interfaces.iter().map(if_addrs::Interface::ip))
        .filter(|ip: &IpAddr| !ip.is_loopback() && !ip.is_unspecified())
        .collect()
}

/// Where outgoing links leave from: the address that was chosen for it, or to listen on.
fn source(config: &Config) -> Option<IpAddr> {
    let mut chosen = config.listen.iter().map(SocketAddr::ip);
    config
        .source
        .or_else(|| chosen.find(|ip| !ip.is_unspecified()))
}

fn into_io(error: libp2p::TransportError<std::io::Error>) -> std::io::Error {
    match error {
        libp2p::TransportError::Other(error) => error,
        error => std::io::Error::other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_refuses_the_addresses_of_its_own_machine() {
        let mut config = Config::new("unused");
        config.advertise = Some("203.0.113.7".parse().unwrap());
        config.listen = vec!["198.51.100.9:6277".parse().unwrap()];
        let own = own_addresses(&config);
        assert!(own.contains(&"203.0.113.7".parse().unwrap()));
        assert!(own.contains(&"198.51.100.9".parse().unwrap()));
        assert!(
            own.iter()
                .all(|ip| !ip.is_loopback() && !ip.is_unspecified())
        );
        for interface in if_addrs::get_if_addrs().unwrap() {
            assert!(interface.is_loopback() || own.contains(&interface.ip()));
        }
    }
}
