//! The protocol as a pure machine. Nothing is awaited; time and randomness are
//! handed in. How to drive it:
//!
//! 1. [`Machine::handle`] whenever something happened;
//! 2. then [`Machine::poll_output`] until it gives `None`;
//! 3. then [`Machine::poll_timeout`]: when that time comes, [`Machine::on_timeout`], and again from 2.
//!
//! The parts: `admission` (guests, debuts, who becomes a neighbour), `entry` (entry links),
//! `intro` (walks and introductions), `splice`, `spread` (records), `heal` (liveness, seeking,
//! the address book), `wake` (after a sleep), `judging` (proofs and bans), `stage` (whether there
//! is a route), `reach` (whether this node can be dialled), `clock`. Each is an `impl Machine`; what a part owns alone is a type of its own (`store`,
//! `book`, `bans`, `conn`, `sources`, `walk`).

mod admission;
mod ask;
mod bans;
mod book;
mod clock;
mod conn;
mod distance;
mod entry;
mod graph;
mod guard;
mod heal;
mod intro;
mod judging;
mod keymap;
mod reach;
mod sources;
mod splice;
mod spread;
mod stage;
mod store;
#[cfg(test)]
mod tests;
mod trim;
mod wake;
mod walk;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use libp2p::identity::ed25519;
use rand::RngExt as _;
use rand_chacha::ChaCha20Rng;

use crate::address::Address;
use crate::card::{Card, WalkId};
use crate::config::Config;
use crate::descriptor::{Descriptor, DescriptorError};
use crate::event::{DownReason, Event, SeedFailure, Stage, Start};
use crate::key::NodeKey;
use crate::knock::Knock;
use crate::neighbourhood::{EntryFor, Link as LinkView, LinkInfo, Neighbourhood};
use crate::record::SignedRecord;
use crate::wire::{Farewell, Message};

pub use bans::{BAN_LIFE, Ban, BanError, BanReason, MAX_BAN_REASON, MAX_BANS, MAX_BANS_BY_HAND};
pub use clock::ClockView;
pub use reach::PROBE_TIMEOUT;

use ask::Asks;
use bans::Bans;
use book::Book;
use clock::Clocks;
use conn::{Conn, Debut, Link, Phase};
use guard::Guarding;
use intro::Introductions;
use reach::Reach;
use sources::Sources;
use spread::Spread;

/// Names a connection, for as long as it lives. Chosen by the host, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// A moment: monotonic time since any fixed beginning, and seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Never goes back.
    pub mono: Duration,
    /// The clock on the wall; used for record stamps only.
    pub unix: u64,
}

/// Something that happened to a node.
#[derive(Debug)]
pub enum Input {
    /// A connection was established and authenticated.
    Connected {
        /// Its name from now on.
        conn: ConnId,
        /// Whose key the other end proved.
        peer: NodeKey,
        /// Whether this node dialled.
        dialled: bool,
        /// Address and port of the other end, as seen here.
        remote: Option<Address>,
    },
    /// A connection ended. May be reported for one that the machine closed itself.
    Disconnected(ConnId),
    /// An [`Output::Dial`] came to nothing.
    DialFailed {
        /// Who was dialled.
        peer: NodeKey,
        /// Why.
        why: SeedFailure,
    },
    /// A message arrived.
    Message(ConnId, Message),
    /// Bytes of another protocol arrived: the link is alive.
    Activity {
        /// From whom.
        node: NodeKey,
        /// Whether it was so many that somebody would miss the link.
        in_use: bool,
    },
    /// The stream is of no more use; the machine closes the connection.
    Broken(ConnId, DownReason),
    /// Somebody asks by a circuit that ends here, whoever it is; the host numbers such calls. The
    /// machine answers at once, by [`Output::Reply`].
    Asked {
        /// The host's name for the call.
        call: u64,
        /// What is asked.
        payload: Vec<u8>,
    },
    /// What came of an [`Output::Ask`].
    Answered {
        /// The machine's name for the call.
        call: u64,
        /// The answer; `None` when no circuit came up, or nobody answered in time.
        payload: Option<Vec<u8>>,
    },
    /// What came of an [`Output::Probe`].
    Probed {
        /// The machine's name for the call.
        call: u64,
        /// The port at which the node proved its key; `None` when it did at none.
        port: Option<u16>,
    },
}

/// Something the host must do, in order.
#[derive(Debug)]
pub enum Output {
    /// Dial; answer with [`Input::Connected`] or [`Input::DialFailed`].
    Dial {
        /// Who must be at the other end.
        peer: NodeKey,
        /// Where, best first; never empty.
        addresses: Vec<Address>,
    },
    /// Send a message.
    Send(ConnId, Message),
    /// Send what was given, for a bounded time, then close the connection.
    Close(ConnId),
    /// Ask a node of the neighbourhood by a circuit of its own that ends there; answer with
    /// [`Input::Answered`] within [`crate::ASK_TIMEOUT`].
    Ask {
        /// The machine's name for the call.
        call: u64,
        /// Who is asked.
        to: NodeKey,
        /// What is asked; at most [`crate::MAX_ASK_LEN`] bytes.
        payload: Vec<u8>,
    },
    /// Answer an [`Input::Asked`].
    Reply {
        /// The host's name for the call.
        call: u64,
        /// The answer; at most [`crate::MAX_ASK_LEN`] bytes. `None` to close without one.
        payload: Option<Vec<u8>>,
    },
    /// Dial for a neighbour that wants to know whether it can be dialled, beside the link that
    /// there is and without disturbing it; drop the connection as soon as the other end has proved
    /// its key, and answer with [`Input::Probed`] within [`PROBE_TIMEOUT`].
    Probe {
        /// The machine's name for the call.
        call: u64,
        /// Who must be at the other end.
        peer: NodeKey,
        /// Where; never empty.
        addresses: Vec<Address>,
    },
    /// Tell the application.
    Event(Event),
}

/// Verifies records and cards. The default remembers nothing beyond what the machine holds; a
/// simulator of many nodes hands in one that checks each signature once for all of them, and none
/// that one of its machines has just made.
pub trait Verifier: Send {
    /// Whether a node signed a message (that is no record).
    fn is_signed(&mut self, node: &NodeKey, message: &[u8], signature: &[u8]) -> bool {
        crate::key::is_signed(node, message, signature)
    }

    /// As [`SignedRecord::parse`].
    ///
    /// # Errors
    /// Those of [`SignedRecord::parse`].
    fn verify(&mut self, bytes: &[u8]) -> Result<Arc<SignedRecord>, crate::record::RecordError>;

    /// The machine itself has just signed this message with the key of `node`, its own.
    fn signed(&mut self, node: &NodeKey, message: &[u8], signature: &[u8]) {
        let _ = (node, message, signature);
    }

    /// The machine itself has just signed this record.
    fn signed_record(&mut self, record: &Arc<SignedRecord>) {
        let _ = record;
    }
}

/// Checks every signature itself.
#[derive(Debug, Default)]
pub struct Direct;

impl Verifier for Direct {
    fn verify(&mut self, bytes: &[u8]) -> Result<Arc<SignedRecord>, crate::record::RecordError> {
        SignedRecord::parse(bytes).map(Arc::new)
    }
}

/// An order to dial that has not been answered yet.
#[derive(Debug)]
struct Dial {
    until: Duration,
    debut: Debut,
}

/// When the machine next does something by itself.
#[derive(Debug)]
struct Timers {
    seek: Duration,
    seek_pause: Duration,
    entry: Option<Duration>,
    publish: Option<Duration>,
    renew: Duration,
    probe: Duration,
    /// When to give up a link, if there still is no route by then; and the pause before the next time.
    rewire: Option<Duration>,
    rewire_pause: Duration,
    /// When to offer a neighbour to part, while there are some to spare.
    trim: Option<Duration>,
    /// When to look whether links should be given up for such as close short cycles.
    reweave: Duration,
}

/// Nodes that kept a link out of their record, until when they are not taken again.
type Shunned = std::collections::BTreeMap<NodeKey, Duration>;

/// Whether there was a route, and what that depended on.
#[derive(Debug)]
struct KnownRoute {
    changes: u64,
    hops: u8,
    start: Vec<NodeKey>,
    exists: bool,
}

/// One node of the mesh.
pub struct Machine {
    config: Config,
    keys: ed25519::Keypair,
    knock: Knock,
    shunned: Shunned,
    me: NodeKey,
    rng: ChaCha20Rng,
    verifier: Box<dyn Verifier>,
    now: Now,
    onion: ([u8; 32], Option<[u8; 32]>),
    conns: BTreeMap<ConnId, Conn>,
    links: BTreeMap<NodeKey, ConnId>,
    dials: BTreeMap<NodeKey, Dial>,
    sources: Sources,
    intro: Introductions,
    asks: Asks,
    book: Book,
    guarding: Guarding,
    reach: Reach,
    clocks: Clocks,
    bans: Bans,
    /// Whether the host knows that somebody else signs with our key.
    accused: bool,
    spread: Spread,
    timers: Timers,
    /// What the last search for a route found.
    route: Option<KnownRoute>,
    stage: Stage,
    stopping: bool,
    outputs: VecDeque<Output>,
}

impl Machine {
    /// A node that has not done anything yet. Its first outputs are there at once.
    pub fn new(
        config: Config,
        keys: ed25519::Keypair,
        start: Start,
        rng: ChaCha20Rng,
        now: Now,
    ) -> Self {
        Self::with_verifier(config, keys, start, rng, now, Box::new(Direct))
    }

    /// The same with another way to verify records.
    pub fn with_verifier(
        config: Config,
        keys: ed25519::Keypair,
        start: Start,
        rng: ChaCha20Rng,
        now: Now,
        verifier: Box<dyn Verifier>,
    ) -> Self {
        let config = config.clamped();
        let me = NodeKey::from(&keys.public());
        let seeds = start
            .seeds
            .into_iter()
            .filter(|seed| seed.chain == config.chain)
            .collect();
        let timing = config.timing;
        let mut machine = Self {
            me,
            rng,
            verifier,
            now,
            onion: start.onion_keys,
            conns: BTreeMap::new(),
            links: BTreeMap::new(),
            dials: BTreeMap::new(),
            sources: Sources::default(),
            intro: Introductions::new(now.mono),
            asks: Asks::new(now.mono),
            book: Book::new(seeds, start.remembered, me),
            guarding: Guarding::default(),
            reach: Reach::new(now.mono),
            clocks: Clocks::default(),
            bans: Bans::new(start.bans, me, now.mono, now.unix),
            accused: false,
            spread: Spread::new(me, config.radius, start.last_version),
            timers: Timers {
                seek: now.mono,
                seek_pause: timing.seek_first,
                entry: None,
                publish: None,
                renew: now.mono,
                probe: now.mono + timing.probe,
                rewire: None,
                rewire_pause: heal::REWIRE_FIRST,
                trim: None,
                reweave: now.mono + trim::REWEAVE_PAUSE,
            },
            shunned: Shunned::new(),
            route: None,
            stage: Stage::NotConnected,
            stopping: false,
            outputs: VecDeque::new(),
            config,
            knock: Knock::of(&keys),
            keys,
        };
        machine.timers.probe = now.mono + machine.jitter(timing.probe);
        machine.publish();
        machine.flush();
        machine.seek();
        machine
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.now = now;
        match input {
            Input::Connected {
                conn,
                peer,
                dialled,
                remote,
            } => {
                self.on_connected(conn, peer, dialled, remote);
            }
            Input::Disconnected(conn) => self.drop_conn(conn, DownReason::Lost),
            Input::DialFailed { peer, why } => self.on_dial_failed(peer, why),
            Input::Message(conn, message) => self.on_message(conn, message),
            Input::Activity { node, in_use } => {
                if let Some(conn) = self.links.get(&node).and_then(|id| self.conns.get_mut(id)) {
                    conn.last_heard = now.mono;
                    if in_use {
                        conn.in_use = Some(now.mono);
                    }
                }
            }
            Input::Broken(conn, reason) => self.close(conn, reason),
            Input::Asked { call, payload } => self.on_asked(call, &payload),
            Input::Answered { call, payload } => self.on_answered(call, payload.as_deref()),
            Input::Probed { call, port } => self.on_probed(call, port),
        }
    }

    /// What to do next. Call until `None` after every other call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Machine::on_timeout`], in monotonic time. Never far: links are watched.
    pub fn poll_timeout(&self) -> Duration {
        let conns = self.conns.values().map(|conn| self.conn_deadline(conn));
        let running = |at: Option<Duration>| at.filter(|_| !self.stopping);
        let timers = [
            running(Some(self.timers.renew)),
            running(self.timers.entry),
            running(self.timers.publish),
            running(self.timers.rewire),
            running(self.timers.trim),
            running(Some(self.timers.reweave)),
            self.spread.due(),
            self.intro.next_deadline(),
            self.reach.next_deadline(),
            self.asks.next_deadline(),
            self.dials.values().map(|dial| dial.until).min(),
            self.next_seek(),
        ];
        timers
            .into_iter()
            .flatten()
            .chain(conns)
            .min()
            .unwrap_or(self.timers.renew)
    }

    /// Does what is due by itself. Too early is harmless.
    pub fn on_timeout(&mut self, now: Now) {
        self.now = now;
        self.expire_conns();
        self.expire_dials();
        self.expire_introductions();
        self.expire_asks();
        self.expire_reach();
        self.expire_bans();
        self.watch_links();
        if !self.stopping {
            if self.timers.renew <= now.mono || self.timers.publish.is_some_and(|at| at <= now.mono)
            {
                self.publish();
            }
            if self.timers.entry.is_some_and(|at| at <= now.mono) {
                self.choose_entry();
            }
            if self.timers.rewire.is_some_and(|at| at <= now.mono) {
                self.rewire();
            }
            if self.timers.trim.is_some_and(|at| at <= now.mono) {
                self.trim();
            }
            if self.timers.reweave <= now.mono {
                self.reweave();
            }
            self.seek();
        }
        if self.spread.due().is_some_and(|at| at <= now.mono) {
            self.flush();
        }
    }

    /// This node.
    pub fn me(&self) -> NodeKey {
        self.me
    }

    /// What this node's descriptor says besides where it is.
    pub fn knock(&self) -> Knock {
        self.knock
    }

    /// The settings, brought into their bounds.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How far the node has come.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The picture as of the last [`Event::NeighbourhoodChanged`]. Made when it is first asked for.
    pub fn neighbourhood(&self) -> Arc<Neighbourhood> {
        self.picture()
    }

    /// How many records are held, this node's own among them.
    pub fn records_held(&self) -> usize {
        self.spread.store.len()
    }

    /// Whether a record of a node is held.
    pub fn holds(&self, node: &NodeKey) -> bool {
        self.spread.store.get(node).is_some()
    }

    /// How many neighbours there are.
    pub fn degree(&self) -> usize {
        self.links.len()
    }

    /// The node's links, for its operator.
    pub fn links(&self) -> Vec<LinkInfo> {
        let info = |(node, id): (&NodeKey, &ConnId)| {
            let conn = self.conns.get(id)?;
            let link = conn.link()?;
            Some(LinkInfo {
                node: *node,
                entry: link.entry(),
                age: self.now.mono.saturating_sub(link.since),
                rtt: conn.rtt,
                remote: conn.remote,
                dialled: conn.dialled,
            })
        };
        self.links.iter().filter_map(info).collect()
    }

    /// How this node's clock compares with those of its neighbours, present and recent.
    pub fn clocks(&self) -> Vec<ClockView> {
        self.clocks.views(self.now.mono)
    }

    /// Changes the onion keys in the record, now.
    pub fn set_onion_keys(&mut self, now: Now, current: [u8; 32], previous: Option<[u8; 32]>) {
        self.now = now;
        self.onion = (current, previous);
        self.publish();
    }

    /// Changes the exit policy summary in the record.
    pub fn set_policy_summary(&mut self, now: Now, policy: String) {
        self.now = now;
        self.config.policy = policy;
        self.config = self.config.clone().clamped();
        self.publish_soon();
    }

    /// Changes where others can dial this node.
    pub fn set_advertised(&mut self, addresses: Vec<Address>) {
        self.config.advertise = addresses;
        self.config = self.config.clone().clamped();
    }

    /// Changes the number of hops for which the stage says whether there is a route.
    pub fn set_min_hops(&mut self, hops: u8) {
        self.config.min_hops = hops.clamp(1, crate::config::MAX_HOPS);
        self.update_stage();
    }

    /// One more node to join through.
    ///
    /// # Errors
    /// [`DescriptorError::WrongChain`].
    pub fn add_seed(&mut self, now: Now, seed: Descriptor) -> Result<(), DescriptorError> {
        seed.check_chain(self.config.chain)?;
        self.now = now;
        self.book.add_seed(seed, self.me);
        self.timers.seek = self.timers.seek.min(now.mono);
        Ok(())
    }

    /// Says goodbye to everyone. Nobody is dialled or accepted any more.
    pub fn shutdown(&mut self, now: Now) {
        self.now = now;
        self.stopping = true;
        self.dials.clear();
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            self.send(conn, Message::Goodbye(Farewell::Leaving));
            self.close(conn, DownReason::Closed);
        }
        self.flush();
    }

    fn on_message(&mut self, id: ConnId, message: Message) {
        let now = self.now.mono;
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        conn.last_heard = now;
        if !conn.buckets.messages.take(now) {
            tracing::debug!("a peer sends more messages than allowed");
            return self.close(id, DownReason::Misbehaved);
        }
        match message {
            Message::Ping(nonce) => self.send(id, Message::Pong(nonce)),
            Message::Pong(nonce) => self.on_pong(id, nonce),
            Message::Goodbye(farewell) => self.on_goodbye(id, farewell),
            Message::Debut {
                chain,
                record,
                wants_entry,
                ports,
                invited,
                card,
                knock,
            } => {
                let debut = admission::Arriving {
                    chain,
                    record,
                    wants_entry,
                    ports,
                    invited,
                    card,
                    knock,
                };
                self.on_debut(id, debut);
            }
            Message::Accept { record, entry } => self.on_accept(id, &record, entry),
            Message::Refuse {
                reason,
                introducing,
                retry_ms,
                text,
            } => {
                self.on_refuse(id, reason, introducing, retry_ms, text);
            }
            introduction @ (Message::Walk { .. }
            | Message::Taken { .. }
            | Message::Sealed { .. }
            | Message::WalkEnd { .. }) => self.on_introduction(id, introduction),
            // What follows is between neighbours only. A link may just have ended on this
            // side while the other still thinks it is up: so this is no misbehaviour.
            _ if conn.link().is_none() => {}
            Message::EntryAsk { insist } => self.on_entry_ask(id, insist),
            Message::EntryReply { granted } => self.on_entry_reply(id, granted),
            Message::EntryRelease => self.on_entry_release(id),
            Message::Spare => self.on_spare(id),
            Message::SpliceAsk { id: walk, card } => self.on_splice_ask(id, walk, &card),
            Message::SpliceReply {
                id: walk,
                agreed,
                card,
                sealed,
            } => {
                self.on_splice_reply(id, walk, agreed, card, sealed);
            }
            Message::SpliceGo { id: walk } => self.on_splice_go(id, walk),
            Message::Digest(buckets) => self.on_digest(id, &buckets),
            Message::DigestList { mask, entries } => self.on_digest_list(id, mask, &entries),
            Message::Want(keys) => self.on_want(id, &keys),
            Message::Records(records) => self.on_records(id, &records),
            Message::ReachAsk { ports } => self.on_reach_ask(id, &ports),
            Message::ReachReply {
                outcome,
                ports,
                seen,
            } => self.on_reach_reply(id, outcome, ports, seen),
            Message::Proof(records) => self.on_proof(id, &records),
        }
    }

    fn send(&mut self, conn: ConnId, message: Message) {
        self.outputs.push_back(Output::Send(conn, message));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// The duration, a quarter more or less.
    fn jitter(&mut self, duration: Duration) -> Duration {
        duration.mul_f64(self.spread_factor())
    }

    fn spread_factor(&mut self) -> f64 {
        self.rng.random_range(0.75..1.25)
    }

    fn link(&self, node: &NodeKey) -> Option<&Link> {
        self.conns.get(self.links.get(node)?)?.link()
    }

    /// Every link with its connection.
    fn each_link(&self) -> impl Iterator<Item = (ConnId, &Conn, &Link)> {
        self.links.values().filter_map(|id| {
            let conn = self.conns.get(id)?;
            Some((*id, conn, conn.link()?))
        })
    }

    /// Whether a known node carries circuits of others.
    fn routes(&self, node: &NodeKey) -> bool {
        let store = &self.spread.store;
        let vertex = store.slot(node).and_then(|slot| store.vertex(slot));
        vertex.is_some_and(|vertex| vertex.routes)
    }

    /// Neighbours, and everyone for whom a slot is reserved. What comes of a splice is not
    /// counted: it takes the slot of the link that it replaces.
    fn occupied(&self) -> usize {
        let dials = self
            .dials
            .iter()
            .filter(|(_, dial)| dial.debut.swap.is_none());
        let debuts = self.conns.values().filter(
            |conn| matches!(&conn.phase, Phase::Debuting { debut, .. } if debut.swap.is_none()),
        );
        let nodes: BTreeSet<NodeKey> = (self.links.keys().copied())
            .chain(dials.map(|(node, _)| *node))
            .chain(debuts.map(|conn| conn.peer))
            .chain(self.intro.reserved())
            .collect();
        nodes.len()
    }

    /// Whether the node is a neighbour, or about to be.
    fn engaged(&self, node: &NodeKey) -> bool {
        *node == self.me
            || self.links.contains_key(node)
            || self.dials.contains_key(node)
            || self.intro.expects(node)
            || self.debuting(node)
    }

    fn debuting(&self, node: &NodeKey) -> bool {
        self.conns
            .values()
            .any(|c| c.peer == *node && matches!(c.phase, Phase::Debuting { .. }))
    }

    /// Ends a connection from this side.
    fn close(&mut self, conn: ConnId, reason: DownReason) {
        if self.conns.contains_key(&conn) {
            self.outputs.push_back(Output::Close(conn));
            self.drop_conn(conn, reason);
        }
    }

    /// Forgets a connection that ended or is ending.
    fn drop_conn(&mut self, id: ConnId, reason: DownReason) {
        if self
            .conns
            .get(&id)
            .is_some_and(|conn| conn.link().is_some())
        {
            self.unlink(id, reason, Duration::ZERO);
        }
        let Some(conn) = self.conns.remove(&id) else {
            return;
        };
        self.spread.store.forget_connection(id);
        self.intro.forget_connection(id);
        self.forget_reach(id);
        self.bans.forget_connection(id);
        if let Phase::Debuting { debut, .. } = conn.phase {
            self.attempt_failed(&conn.peer, debut.origin, SeedFailure::NotANode);
        }
        self.seek_soon();
    }

    /// A link ends; the connection stays as a guest's for `linger`.
    fn unlink(&mut self, id: ConnId, reason: DownReason, linger: Duration) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let until = self.now.mono + linger;
        let before = std::mem::replace(
            &mut conn.phase,
            Phase::Guest {
                until,
                debuted: true,
            },
        );
        let Phase::Link(link) = before else {
            conn.phase = before;
            return;
        };
        let node = conn.peer;
        self.links.remove(&node);
        self.book.seen(&node, self.now.unix);
        self.event(Event::NeighbourDown {
            node,
            peer: node.peer_id(),
            reason,
        });
        if link.ours {
            // An entry link is replaced at once, by one of our own choosing.
            self.entry_lost();
            self.timers.entry = Some(self.now.mono);
        }
        self.timers.seek_pause = self.config.timing.seek_first;
        self.seek_soon();
        self.links_changed();
    }

    /// A link came, went, or became or ceased to be an entry link.
    fn links_changed(&mut self) {
        self.publish_soon();
        self.spread.topology_changed(self.now.mono);
        self.update_stage();
        self.plan_trim();
    }

    fn link_views(&self) -> Vec<LinkView> {
        let view = |(_, conn, link): (ConnId, &Conn, &Link)| LinkView {
            node: conn.peer,
            entry: link.entry(),
        };
        self.each_link().map(view).collect()
    }

    fn update_stage(&mut self) {
        let stage = if self.links.is_empty() {
            Stage::NotConnected
        } else if self.has_route() {
            Stage::RouteFound
        } else {
            Stage::ConnectedToNeighbour
        };
        if stage != self.stage {
            self.stage = stage;
            self.note_way(stage == Stage::RouteFound);
            if stage == Stage::RouteFound {
                self.timers.rewire = None;
            }
            self.event(Event::StageChanged(stage));
        }
    }

    /// Neighbours on whose links our circuits begin; where there are none of our own, those on
    /// which they could.
    fn starts(&self) -> Vec<NodeKey> {
        let wanted = if self.config.originates {
            EntryFor::ours
        } else {
            EntryFor::listed
        };
        let links = self.each_link();
        let wanted = links.filter(|(_, _, link)| wanted(link.entry()));
        wanted.map(|(_, conn, _)| conn.peer).collect()
    }

    fn has_route(&mut self) -> bool {
        let store = &self.spread.store;
        let start = self.starts();
        let hops = self.config.min_hops;
        let known = self.route.take();
        let route = known.filter(|known| {
            (known.changes, known.hops) == (store.changes(), hops) && known.start == start
        });
        let usable = |slot| {
            let record = store.at(slot).map(|stored| stored.record.record());
            record.is_some_and(|record| self.config.pays || !record.asks_money())
        };
        let route = route.unwrap_or_else(|| KnownRoute {
            exists: stage::route_over(store, self.me, &start, hops, |_, to| usable(to)),
            changes: store.changes(),
            hops,
            start,
        });
        let exists = route.exists;
        self.route = Some(route);
        exists
    }

    /// Whether there is a route over those of the known edges for which `holds` says that they are
    /// there. For simulations, which know.
    pub fn has_route_over(&self, holds: impl Fn(&NodeKey, &NodeKey) -> bool) -> bool {
        let start = self.starts();
        let store = &self.spread.store;
        let key = |slot| store.at(slot).map(|stored| stored.record.node());
        let holds = |a, b| key(a).zip(key(b)).is_some_and(|(a, b)| holds(&a, &b));
        stage::route_over(store, self.me, &start, self.config.min_hops, holds)
    }

    /// The way that a circuit of this node to another one could take, the other one last. For
    /// simulations: real circuits are routed elsewhere.
    pub(crate) fn path_to(&self, node: &NodeKey) -> Option<Vec<NodeKey>> {
        let most = usize::from(crate::config::MAX_HOPS);
        stage::path_to(&self.spread.store, self.me, &self.starts(), node, most)
    }

    /// Reads a card that came for a walk.
    fn read_card(&mut self, bytes: &[u8], id: &WalkId) -> Option<Card> {
        let verifier = &mut self.verifier;
        let signed = |node: &NodeKey, message: &[u8], signature: &[u8]| {
            verifier.is_signed(node, message, signature)
        };
        Card::parse_with(bytes, id, self.config.chain, self.now.unix, signed)
    }

    fn new_walk_id(&mut self) -> WalkId {
        self.rng.random()
    }
}
