//! Real swarms over TCP on loopback: joining, refusals with their reasons, a small mesh.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures::StreamExt as _;
use libp2p::identity::Keypair;
use libp2p::swarm::{NetworkBehaviour, Swarm, SwarmEvent};
use libp2p::{SwarmBuilder, noise, tcp, yamux};
use masq_gossip::{
    Address, Behaviour, Chain, Config, Descriptor, Event, Host, IpLimits, NodeKey, RefuseReason,
    SeedFailure, Stage, Start,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use tokio::sync::mpsc;

/// Real time: loopback meshes form in a second or two; the rest is for a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Spec {
    seed: u8,
    ip: Ipv4Addr,
    config: Config,
    seeds: Vec<Descriptor>,
}

fn spec(seed: u8, chain: Chain) -> Spec {
    let mut config = Config::new(chain);
    config.roles.exits = true;
    // This transport binds outgoing connections to no address: all come from 127.0.0.1.
    config.ip_limits = IpLimits::NONE;
    Spec {
        seed,
        ip: Ipv4Addr::new(127, 0, 1, seed),
        config,
        seeds: Vec::new(),
    }
}

fn key(seed: u8) -> NodeKey {
    NodeKey::try_from(&Keypair::ed25519_from_bytes([seed; 32]).unwrap().public()).unwrap()
}

fn free_port(ip: Ipv4Addr) -> u16 {
    std::net::TcpListener::bind((ip, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Starts a node; gives its descriptor and its events.
fn start(mut spec: Spec) -> (Descriptor, mpsc::Receiver<Event>) {
    let port = free_port(spec.ip);
    spec.config.advertise = vec![SocketAddr::new(spec.ip.into(), port).into()];
    let chain = spec.config.chain;
    let descriptor = Descriptor {
        chain,
        node: key(spec.seed),
        host: Host::Ip(IpAddr::V4(spec.ip)),
        ports: vec![port],
        mask: None,
        knock: None,
    };
    let (events, receiver) = mpsc::channel(1000);
    tokio::spawn(run(spec, port, events));
    (descriptor, receiver)
}

fn swarm<B: NetworkBehaviour>(keys: Keypair, behaviour: B) -> Swarm<B> {
    SwarmBuilder::with_existing_identity(keys)
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )
        .unwrap()
        .with_behaviour(|_| behaviour)
        .unwrap()
        .build()
}

async fn run(spec: Spec, port: u16, events: mpsc::Sender<Event>) {
    let keys = Keypair::ed25519_from_bytes([spec.seed; 32]).unwrap();
    let start = Start {
        seeds: spec.seeds,
        ..Start::default()
    };
    let rng = ChaCha20Rng::seed_from_u64(spec.seed.into());
    let behaviour = Behaviour::new(spec.config, &keys, start, rng).unwrap();
    let mut swarm = swarm(keys, behaviour);
    let address = Address {
        host: Host::Ip(spec.ip.into()),
        port,
    };
    swarm.listen_on(address.multiaddr()).unwrap();
    loop {
        if let SwarmEvent::Behaviour(event) = swarm.select_next_some().await
            && events.send(event).await.is_err()
        {
            return;
        }
    }
}

/// Waits for an event that is looked for.
async fn wait<T>(
    events: &mut mpsc::Receiver<Event>,
    mut pick: impl FnMut(Event) -> Option<T>,
) -> T {
    let found = async {
        loop {
            if let Some(found) = pick(events.recv().await.expect("the node runs")) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, found)
        .await
        .expect("the event comes in time")
}

fn refusal(event: Event) -> Option<(RefuseReason, String)> {
    match event {
        Event::Refused { reason, text, .. } => Some((reason, text)),
        _ => None,
    }
}

#[tokio::test]
async fn s1_joins_with_nothing_but_a_descriptor() {
    let (descriptor, mut a) = start(spec(1, Chain::Dev));
    let mut b = spec(2, Chain::Dev);
    b.seeds = vec![descriptor.to_string().parse().unwrap()];
    let (_, mut b) = start(b);
    let up = |event| match event {
        Event::NeighbourUp { node, .. } => Some(node),
        _ => None,
    };
    assert_eq!(wait(&mut a, up).await, key(2));
    assert_eq!(wait(&mut b, up).await, key(1));
}

#[tokio::test]
async fn s1_wrong_key_is_told_apart_from_silence() {
    let (descriptor, _a) = start(spec(11, Chain::Dev));
    let mut b = spec(12, Chain::Dev);
    b.seeds = vec![Descriptor {
        node: key(99),
        ..descriptor.clone()
    }];
    let (_, mut b) = start(b);
    let failed = |event| match event {
        Event::SeedFailed { why, .. } => Some(why),
        _ => None,
    };
    // The other may not be listening yet when it is first tried.
    wait(&mut b, |event| {
        failed(event).filter(|why| *why == SeedFailure::WrongKey)
    })
    .await;
    let mut c = spec(13, Chain::Dev);
    c.seeds = vec![Descriptor {
        ports: vec![free_port(Ipv4Addr::new(127, 0, 1, 14))],
        ..descriptor
    }];
    let (_, mut c) = start(c);
    assert_eq!(wait(&mut c, failed).await, SeedFailure::Unreachable);
}

#[tokio::test]
async fn s1_wrong_chain_is_refused_with_both_names() {
    let (descriptor, _a) = start(spec(21, Chain::BaseSepolia));
    let mut b = spec(22, Chain::Dev);
    // The descriptor claims another chain than the node is on.
    b.seeds = vec![Descriptor {
        chain: Chain::Dev,
        ..descriptor
    }];
    let (_, mut b) = start(b);
    let (reason, text) = wait(&mut b, refusal).await;
    assert_eq!(reason, RefuseReason::WrongChain);
    assert!(
        text.contains("base-sepolia") && text.contains("dev"),
        "{text}"
    );
}

#[tokio::test]
async fn s33_second_node_on_one_address_is_told_why() {
    let mut a = spec(31, Chain::Dev);
    a.config.ip_limits = IpLimits::default();
    let (descriptor, mut a) = start(a);
    let mut b = spec(32, Chain::Dev);
    b.seeds = vec![descriptor.clone()];
    start_and_join(b, &mut a).await;
    let mut c = spec(33, Chain::Dev);
    c.seeds = vec![descriptor];
    let (_, mut c) = start(c);
    let (reason, text) = wait(&mut c, refusal).await;
    assert_eq!(reason, RefuseReason::SameAddress);
    assert!(text.contains("public IP address"), "{text}");
}

async fn start_and_join(spec: Spec, at: &mut mpsc::Receiver<Event>) {
    let (_, mut events) = start(spec);
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    wait(at, |event| {
        matches!(event, Event::NeighbourUp { .. }).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_six_fresh_nodes_and_one_seed_all_find_routes() {
    let (descriptor, first) = start(spec(41, Chain::Dev));
    let mut nodes = vec![first];
    for seed in 42..47 {
        let mut node = spec(seed, Chain::Dev);
        node.seeds = vec![descriptor.clone()];
        nodes.push(start(node).1);
    }
    for events in &mut nodes {
        wait(events, |event| {
            (event == Event::StageChanged(Stage::RouteFound)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_thirty_real_nodes_find_routes_within_the_cap() {
    let (descriptor, first) = start(spec(101, Chain::Dev));
    let mut nodes = vec![first];
    for seed in 102..131 {
        let mut node = spec(seed, Chain::Dev);
        node.config.roles.exits = seed % 3 == 0;
        node.seeds = vec![descriptor.clone()];
        nodes.push(start(node).1);
    }
    for events in &mut nodes {
        let mut links = 0i32;
        wait(events, |event| {
            match event {
                Event::NeighbourUp { .. } => links += 1,
                Event::NeighbourDown { .. } => links -= 1,
                _ => {}
            }
            assert!(links <= 5, "the cap was passed");
            (event == Event::StageChanged(Stage::RouteFound)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn garbage_on_the_stream_ends_the_connection() {
    use libp2p::futures::AsyncWriteExt as _;
    let (descriptor, _a) = start(spec(51, Chain::Dev));
    // A swarm that speaks the protocol's name and then rubbish.
    let keys = Keypair::ed25519_from_bytes([52; 32]).unwrap();
    let mut swarm = swarm(keys, rubbish::Behaviour::default());
    let address = descriptor.addresses()[0].multiaddr();
    let opts =
        libp2p::swarm::dial_opts::DialOpts::peer_id(key(51).peer_id()).addresses(vec![address]);
    swarm.dial(opts.build()).unwrap();
    let closed = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::Behaviour(mut stream) => {
                    // Length 4, then bytes that are no protobuf.
                    stream
                        .write_all(&[0, 4, 0xff, 0xff, 0xff, 0xff])
                        .await
                        .unwrap();
                    stream.flush().await.unwrap();
                    swarm.behaviour_mut().held = Some(stream);
                }
                SwarmEvent::ConnectionClosed { .. } => return,
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(6), closed)
        .await
        .expect("closed before the guest's time is over");
}

/// A behaviour that opens the gossip stream and hands it out.
mod rubbish {
    use std::collections::VecDeque;
    use std::task::{Context, Poll};

    use libp2p::core::transport::PortUse;
    use libp2p::core::upgrade::ReadyUpgrade;
    use libp2p::core::{Endpoint, Multiaddr};
    use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedOutbound};
    use libp2p::swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, Stream, StreamProtocol, SubstreamProtocol, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
    };
    use libp2p::{PeerId, core::upgrade::DeniedUpgrade};

    #[derive(Default)]
    pub(crate) struct Behaviour {
        pub(crate) held: Option<Stream>,
        out: VecDeque<Stream>,
    }

    pub(crate) struct Handler {
        asked: bool,
        stream: Option<Stream>,
    }

    impl ConnectionHandler for Handler {
        type FromBehaviour = ();
        type ToBehaviour = Stream;
        type InboundProtocol = DeniedUpgrade;
        type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
        type InboundOpenInfo = ();
        type OutboundOpenInfo = ();

        fn listen_protocol(&self) -> SubstreamProtocol<DeniedUpgrade> {
            SubstreamProtocol::new(DeniedUpgrade, ())
        }

        fn poll(
            &mut self,
            _: &mut Context<'_>,
        ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Stream>> {
            if !std::mem::replace(&mut self.asked, true) {
                let protocol = ReadyUpgrade::new(StreamProtocol::new("/masq/gossip/1"));
                let protocol = SubstreamProtocol::new(protocol, ());
                return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
            }
            match self.stream.take() {
                Some(stream) => Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(stream)),
                None => Poll::Pending,
            }
        }

        fn on_behaviour_event(&mut self, (): ()) {}

        fn on_connection_event(
            &mut self,
            event: ConnectionEvent<'_, DeniedUpgrade, Self::OutboundProtocol>,
        ) {
            if let ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol,
                ..
            }) = event
            {
                self.stream = Some(protocol);
            }
        }
    }

    impl NetworkBehaviour for Behaviour {
        type ConnectionHandler = Handler;
        type ToSwarm = Stream;

        fn handle_established_inbound_connection(
            &mut self,
            _: ConnectionId,
            _: PeerId,
            _: &Multiaddr,
            _: &Multiaddr,
        ) -> Result<THandler<Self>, ConnectionDenied> {
            Ok(Handler {
                asked: false,
                stream: None,
            })
        }

        fn handle_established_outbound_connection(
            &mut self,
            _: ConnectionId,
            _: PeerId,
            _: &Multiaddr,
            _: Endpoint,
            _: PortUse,
        ) -> Result<THandler<Self>, ConnectionDenied> {
            Ok(Handler {
                asked: false,
                stream: None,
            })
        }

        fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

        fn on_connection_handler_event(
            &mut self,
            _: PeerId,
            _: ConnectionId,
            stream: THandlerOutEvent<Self>,
        ) {
            self.out.push_back(stream);
        }

        fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Stream, THandlerInEvent<Self>>> {
            match self.out.pop_front() {
                Some(stream) => Poll::Ready(ToSwarm::GenerateEvent(stream)),
                None => Poll::Pending,
            }
        }
    }
}

#[tokio::test]
async fn links_at_an_address_that_is_gone_are_dropped_at_once() {
    let a = spec(91, Chain::Dev);
    let ip = IpAddr::V4(a.ip);
    let keys = Keypair::ed25519_from_bytes([a.seed; 32]).unwrap();
    let rng = ChaCha20Rng::seed_from_u64(91);
    let behaviour = Behaviour::new(a.config, &keys, Start::default(), rng).unwrap();
    let mut swarm = swarm(keys, behaviour);
    let port = free_port(a.ip);
    let address = Address::from(SocketAddr::new(ip, port));
    swarm.listen_on(address.multiaddr()).unwrap();
    let mut b = spec(92, Chain::Dev);
    b.seeds = vec![swarm.behaviour().descriptor(address.host, vec![port])];
    let (_, _b) = start(b);

    let next = async |what: fn(&Event) -> bool, swarm: &mut Swarm<Behaviour>| {
        let found = async {
            loop {
                if let SwarmEvent::Behaviour(event) = swarm.select_next_some().await
                    && what(&event)
                {
                    return event;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap()
    };
    next(
        |event| matches!(event, Event::NeighbourUp { .. }),
        &mut swarm,
    )
    .await;
    // Neither another address, nor the one that dialled links leave from, has to do with it.
    let other = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 200));
    swarm.behaviour_mut().on_addresses_lost(&[other], true);
    swarm.behaviour_mut().wake_up();
    assert_eq!(swarm.behaviour().links().len(), 1);
    swarm.behaviour_mut().on_addresses_lost(&[ip], false);
    assert!(swarm.behaviour().links().is_empty());
    let down = next(
        |event| matches!(event, Event::NeighbourDown { .. }),
        &mut swarm,
    )
    .await;
    let Event::NeighbourDown { reason, .. } = down else {
        unreachable!("the event that was waited for")
    };
    assert_eq!(reason, masq_gossip::DownReason::Lost);
}
