//! The one task that owns the Swarm: it carries events between gossip, circuits
//! and the rest of the node, and never waits for anything slow. Bytes of
//! circuits do not pass through here.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, Swarm, ping};
use masq_cores::keys::ONION_KEY_LIFE;
use masq_cores::{Cores, LinkUse, NodeKey as CoresKey, OnionPublics};
use masq_gossip::{
    Address, ClockView, EntryFor, Host, LinkInfo, NodeKey, Remembered, SeedFailure, Stage,
};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::ask::{Asks, Happened};
use super::bans::BanCommand;
use super::reaching::Reaching;
use super::roam::Roaming;
use super::transport::Activity;
use super::view::View;
use crate::billing::Billing;
use crate::control::types::{EntryLink, Event, Stage as StageView};
use crate::reach::MappingState;
use crate::safe::{Memory, RememberedNeighbour};

/// Commands that wait for the loop; senders wait when there are more (guess: one control client
/// and a few tasks).
pub(crate) const COMMAND_QUEUE: usize = 32;

/// How often the loop looks whether an onion key has run out (much finer than the half hour that
/// the key before stays valid).
const KEY_CHECK: Duration = Duration::from_secs(30);

/// How often links that carry data are reported alive (from the gossip protocol: silence of four
/// seconds is looked into).
const ACTIVITY_CHECK: Duration = Duration::from_secs(1);

/// Bytes that came over a link between two checks from which on it is in use: more than pings,
/// gossip at rest and the report rounds of idle circuits bring (guess).
const IN_USE: u64 = 16 * 1024;

/// How long goodbyes may take to leave when the node stops (guess: one round trip and some).
const GOODBYE: Duration = Duration::from_secs(1);

/// The protocols on every link, whatever the node's role.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    // Gossip comes first: it is the gate that may deny a connection.
    pub(crate) gossip: masq_gossip::Behaviour,
    pub(crate) cores: masq_cores::Behaviour,
    /// Where circuits are paid for.
    pub(crate) settlement: Toggle<masq_settlement::Behaviour>,
    pub(crate) ping: ping::Behaviour,
}

/// What the rest of the node may ask of the loop.
pub(crate) enum Command {
    /// The links, with what only the operator may see.
    Links(oneshot::Sender<Vec<LinkInfo>>),
    /// How this clock compares with those of the neighbours.
    Clocks(oneshot::Sender<Vec<ClockView>>),
    /// It stands otherwise with the port mapping.
    Mapping(MappingState),
    /// Ask a neighbour whether this node can be dialled; says whether one could be asked. The
    /// answer is seen in the view.
    CheckReach(oneshot::Sender<bool>),
    /// Who is banned, and changing it.
    Bans(BanCommand),
    /// A route must have this many hops for the stage to be `RouteFound`.
    MinHops(u8),
    /// Say goodbye and end.
    Stop,
}

/// The loop and what it owns.
pub(crate) struct Loop {
    pub(crate) swarm: Swarm<Behaviour>,
    pub(crate) cores: Cores,
    pub(crate) view: watch::Sender<View>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) memory: Memory,
    pub(crate) commands: mpsc::Receiver<Command>,
    /// Configured seeds, for the sentence that explains the stage.
    pub(crate) seeds: usize,
    /// What was published last.
    pub(crate) onion: OnionPublics,
    /// Questions in circuits.
    pub(crate) asks: Asks,
    /// What happens to the machine.
    pub(crate) roaming: Roaming,
    /// Signs of life on links.
    pub(crate) activity: Activity,
    /// Whether this node can be dialled, and whether neighbours can.
    pub(crate) reaching: Reaching,
    /// Where circuits are paid for.
    pub(crate) billing: Option<Billing>,
}

impl Loop {
    /// Runs until it is told to stop, or until nobody is left to tell it. `early` is what gossip
    /// said before.
    pub(crate) async fn run(mut self, early: Vec<masq_gossip::Event>) {
        for event in early {
            self.on_gossip(event);
        }
        let mut check = interval(KEY_CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turn = interval(ONION_KEY_LIFE);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        turn.tick().await;
        let mut alive = interval(ACTIVITY_CHECK);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm(event),
                command = self.commands.recv() => match command {
                    Some(Command::Stop) | None => break,
                    Some(command) => self.on_command(command),
                },
                turn = self.roaming.next() => self.on_roaming(turn),
                happened = self.asks.next() => self.on_asks(happened),
                _ = turn.tick() => {
                    self.cores.rotate_onion_key();
                    self.publish_keys();
                }
                _ = check.tick() => self.publish_keys(),
                turn = self.reaching.next() => self.on_reaching(turn),
                _ = alive.tick() => {
                    for (peer, bytes) in self.activity.recent() {
                        let in_use = bytes >= IN_USE;
                        self.swarm.behaviour_mut().gossip.note_activity(&peer, in_use);
                    }
                    self.settle_with_neighbours();
                }
            }
        }
        self.say_goodbye().await;
    }

    /// Accounts are spoken of on direct links where nothing is learnt by it: with the entry
    /// neighbour, which carries this node's circuits as its own anyway, and with neighbours whose
    /// entry link leads here.
    fn settle_with_neighbours(&mut self) {
        let Some(billing) = &self.billing else { return };
        let links = self.view.borrow().neighbourhood.links().to_vec();
        let hosted = links.iter().filter(|link| link.entry.theirs());
        let hosted = billing.hosted(hosted.map(|link| CoresKey(link.node.0)));
        let Some(settlement) = self.swarm.behaviour_mut().settlement.as_mut() else {
            return;
        };
        for link in &links {
            let peer = link.node.peer_id();
            let payer = hosted.iter().find(|(node, _)| node.0 == link.node.0);
            if !link.entry.ours() && payer.is_none() {
                settlement.disallow(&peer);
                continue;
            }
            if link.entry.ours() {
                settlement.allow_hop(peer);
            }
            if let Some((_, payer)) = payer {
                settlement.allow_payer(peer, *payer);
            }
        }
    }

    async fn say_goodbye(&mut self) {
        self.swarm.behaviour_mut().gossip.shutdown();
        let goodbye = async {
            loop {
                let event = self.swarm.select_next_some().await;
                let last = matches!(
                    event,
                    SwarmEvent::ConnectionClosed {
                        num_established: 0,
                        ..
                    }
                );
                if last && self.swarm.network_info().num_peers() == 0 {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Links(answer) => {
                // Whoever asked may have gone.
                let _ = answer.send(self.swarm.behaviour().gossip.links());
            }
            Command::Clocks(answer) => {
                let _ = answer.send(self.swarm.behaviour().gossip.clocks());
            }
            Command::Mapping(state) => self.on_mapping(state),
            Command::CheckReach(answer) => {
                let _ = answer.send(self.check_reachability());
            }
            Command::Bans(command) => self.on_ban_command(command),
            Command::MinHops(hops) => {
                self.view.send_modify(|view| view.hops = hops);
                self.swarm.behaviour_mut().gossip.set_min_hops(hops);
            }
            Command::Stop => {}
        }
    }

    fn on_ask(&mut self, call: u64, to: NodeKey, question: Vec<u8>) {
        if !self.asks.ask(call, to, question) {
            self.swarm.behaviour_mut().gossip.on_answered(call, None);
        }
    }

    fn on_asks(&mut self, happened: Happened) {
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        match happened {
            Happened::Answered { call, answer } => gossip.on_answered(call, answer),
            Happened::Asked { call, question } => gossip.on_asked(call, question),
        }
    }

    /// Tells gossip which onion keys are valid, if that has changed.
    pub(super) fn publish_keys(&mut self) {
        let keys = self.cores.onion_keys();
        if keys != self.onion {
            self.onion = keys;
            let previous = keys.previous.map(|key| key.0);
            let gossip = &mut self.swarm.behaviour_mut().gossip;
            gossip.set_onion_keys(keys.current.0, previous);
        }
    }

    fn on_swarm(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(event)) => self.on_gossip(event),
            SwarmEvent::Behaviour(BehaviourEvent::Settlement(output)) => {
                if let Some(billing) = &self.billing {
                    billing.on_output(output);
                }
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                if let Some(address) = socket_addr(&address) {
                    self.view.send_modify(|view| view.listening.push(address));
                    self.advertise_anew();
                }
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                if let Some(address) = socket_addr(&address) {
                    self.view
                        .send_modify(|view| view.listening.retain(|known| *known != address));
                    self.advertise_anew();
                }
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "a listener has trouble");
            }
            SwarmEvent::ListenerClosed {
                reason: Err(error), ..
            } => {
                self.problem(format!("A listener for other nodes closed: {error}."));
            }
            _ => {}
        }
    }

    fn on_gossip(&mut self, event: masq_gossip::Event) {
        use masq_gossip::Event as Gossip;
        match event {
            Gossip::NeighbourUp { node, peer, entry } => {
                self.activity.set_neighbour(&peer, true);
                self.cores.neighbour_up(CoresKey(node.0), link_use(entry));
                tracing::info!(node = %node.short(), "neighbour up");
                self.view
                    .send_modify(|view| view.attempts.retain(|(other, _)| *other != node));
                self.tell(Event::NeighbourUp {
                    node: node.to_string(),
                    entry: entry_link(entry),
                });
            }
            Gossip::NeighbourChanged { node, entry, .. } => {
                self.cores.neighbour_up(CoresKey(node.0), link_use(entry));
            }
            Gossip::NeighbourDown { node, peer, reason } => {
                self.activity.set_neighbour(&peer, false);
                self.cores.neighbour_down(&CoresKey(node.0));
                tracing::info!(node = %node.short(), %reason, "neighbour down");
                self.tell(Event::NeighbourDown {
                    node: node.to_string(),
                    reason: reason.to_string(),
                });
            }
            Gossip::StageChanged(stage) => self.on_stage(stage),
            Gossip::NeighbourhoodChanged => {
                let now = self.swarm.behaviour().gossip.neighbourhood();
                self.view.send_modify(|view| view.set_neighbourhood(now));
            }
            Gossip::Refused { node, text, reason } => {
                let why = SeedFailure::Refused(reason);
                self.view.send_modify(|view| view.add_attempt(node, why));
                self.problem(format!("Node {} refused this one: {text}.", node.short()));
            }
            Gossip::SeedFailed { descriptor, why } => {
                let (key, reason) = (descriptor.node, why.clone());
                self.view.send_modify(|view| view.add_attempt(key, reason));
                let node = descriptor.node.short();
                self.problem(format!(
                    "The configured neighbour {node} can't be joined: {why}."
                ));
            }
            Gossip::Reach(reach) => self.on_reach(reach),
            Gossip::Probe {
                call,
                peer,
                addresses,
            } => self.reaching.probe(call, peer, addresses),
            Gossip::PersistVersion(version) => persist_version(&self.memory, version),
            Gossip::Remember(neighbours) => self.remember(&neighbours),
            Gossip::Ask { call, to, payload } => self.on_ask(call, to, payload),
            Gossip::Reply { call, payload } => self.asks.reply(call, payload),
            event @ (Gossip::Banned(_)
            | Gossip::Unbanned(_)
            | Gossip::Bans(_)
            | Gossip::Accused) => self.on_ban_event(event),
            _ => {}
        }
    }

    fn on_stage(&mut self, stage: Stage) {
        self.view.send_modify(|view| {
            view.stage = stage;
            view.stage_since = Instant::now();
        });
        let reason = self.view.borrow().stage_reason(self.seeds);
        tracing::info!(%stage, "{reason}");
        self.tell(Event::StageChanged {
            stage: stage_view(stage),
            reason,
        });
    }

    fn remember(&self, neighbours: &[Remembered]) {
        let neighbours: Vec<_> = neighbours.iter().map(to_stored).collect();
        let memory = self.memory.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = memory.remember(|state| state.neighbours = neighbours) {
                tracing::warn!(%error, "past neighbours could not be stored");
            }
        });
    }

    /// Tells of a problem that others should know of. One that is known already, as of a node that
    /// is asked again and again, is no news in the log.
    pub(crate) fn problem(&self, what: String) {
        if self.view.borrow().knows_problem(&what) {
            tracing::debug!("again: {what}");
        } else {
            tracing::warn!("{what}");
        }
        self.tell(Event::JoinProblem { what: what.clone() });
        self.view
            .send_modify(|view| view.add_problem(what, Instant::now()));
    }

    pub(crate) fn tell(&self, event: Event) {
        // Nobody may be listening.
        let _ = self.events.send(event);
    }
}

/// The version must be on disk before a record carries it, so this one write is waited for.
/// It happens a few times an hour, and takes as long as a small file takes.
pub(crate) fn persist_version(memory: &Memory, version: u64) {
    let stored =
        tokio::task::block_in_place(|| memory.remember(|state| state.record_version = version));
    if let Err(error) = stored {
        tracing::warn!(%error, "the record version could not be stored");
    }
}

fn to_stored(past: &Remembered) -> RememberedNeighbour {
    RememberedNeighbour {
        node: past.node.to_string(),
        addresses: past.addresses.iter().map(ToString::to_string).collect(),
        last_seen_unix: past.last_seen,
    }
}

/// What was stored, as gossip wants it; entries that make no sense are left out.
pub(crate) fn from_stored(stored: &[RememberedNeighbour]) -> Vec<Remembered> {
    let read = |past: &RememberedNeighbour| {
        Some(Remembered {
            node: past.node.parse::<NodeKey>().ok()?,
            addresses: past
                .addresses
                .iter()
                .filter_map(|text| address(text))
                .collect(),
            last_seen: past.last_seen_unix,
        })
    };
    stored.iter().filter_map(read).collect()
}

/// Reads `host:port`, with IPv6 addresses in brackets.
fn address(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    Some(Address {
        host: Host::parse(host)?,
        port: port.parse().ok()?,
    })
}

fn link_use(entry: EntryFor) -> LinkUse {
    LinkUse {
        theirs_entry: entry.theirs(),
        ours_entry: entry.ours(),
    }
}

/// As the control API says it.
pub(crate) fn entry_link(entry: EntryFor) -> EntryLink {
    match entry {
        EntryFor::None => EntryLink::No,
        EntryFor::Us => EntryLink::Ours,
        EntryFor::Them => EntryLink::Theirs,
        EntryFor::Both => EntryLink::Both,
    }
}

/// As the control API says it.
pub(crate) fn stage_view(stage: Stage) -> StageView {
    match stage {
        Stage::NotConnected => StageView::NotConnected,
        Stage::ConnectedToNeighbour => StageView::ConnectedToNeighbour,
        Stage::RouteFound => StageView::RouteFound,
    }
}

pub(crate) fn socket_addr(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// `/ip4|ip6/…/tcp/…`.
pub(crate) fn multiaddr(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Tcp(address.port()))
}
