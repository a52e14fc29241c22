//! What happens when its time has come: births, wakes, dials, messages, ends,
//! and questions in circuits. What a user of the simulator calls is in the parent.

use super::*;

impl Sim {
    pub(super) fn happen(&mut self, what: What) {
        match what {
            What::Birth(index) => self.birth(index),
            What::Wake(index) => {
                if self.nodes[index].wake <= self.now {
                    self.nodes[index].wake = Duration::MAX;
                    let now = self.clock();
                    if let Some(body) = self.nodes[index].body.as_mut() {
                        body.on_timeout(now);
                    }
                    self.drain(index);
                }
            }
            What::Connect {
                from,
                peer,
                addresses,
            } => self.connect(from, peer, &addresses),
            What::Probed { at, call, port } => self.input(at, Input::Probed { call, port }),
            What::DialFailed { at, peer, why } => self.input(at, Input::DialFailed { peer, why }),
            What::Deliver { conn, to, parcel } => self.deliver(conn, to, parcel),
            What::Ended { conn, at } => {
                self.conns[conn.0 as usize] = None;
                self.nodes[at].conns.remove(&conn);
                self.input(at, Input::Disconnected(conn));
            }
            What::Asked {
                host_call,
                to,
                payload,
            } => self.input(
                to,
                Input::Asked {
                    call: host_call,
                    payload,
                },
            ),
            What::Answered { at, call, payload } => {
                self.input(at, Input::Answered { call, payload });
            }
        }
    }

    pub(super) fn deliver(&mut self, conn: ConnId, to: usize, parcel: Parcel) {
        let open = self.conns[conn.0 as usize]
            .as_ref()
            .is_some_and(|c| self.joined(c.ends[0], c.ends[1]));
        if !open {
            return;
        }
        let message = match parcel {
            Parcel::Message(message) => Ok(*message),
            Parcel::Bytes(bytes) => Message::decode(&bytes),
        };
        match message {
            Ok(message) => self.input(to, Input::Message(conn, message)),
            Err(_) => self.input(to, Input::Broken(conn, DownReason::Misbehaved)),
        }
    }

    pub(super) fn birth(&mut self, index: usize) {
        let now = self.clock();
        let seeds = self.nodes[index].spec.seeds.clone();
        let seeds = seeds
            .into_iter()
            .map(|seed| self.descriptor(seed))
            .collect();
        let node = &mut self.nodes[index];
        node.births += 1;
        self.born += usize::from(node.births == 1);
        node.count.born.get_or_insert(now.mono);
        if let Some(actor) = node.actor.take() {
            node.body = Some(Body::Actor(actor));
            return self.drain(index);
        }
        let mut config = node.spec.config.clone();
        if node.spec.dialable {
            config.advertise = vec![std::net::SocketAddr::new(node.ip, PORT).into()];
        } else {
            config.roles.accepts_connections = false;
        }
        let mut onion = [0u8; 32];
        onion[..8].copy_from_slice(&(index as u64 + 1).to_be_bytes());
        let start = Start {
            seeds,
            remembered: node.remembered.clone(),
            last_version: node.version,
            bans: Vec::new(),
            onion_keys: (onion, None),
        };
        let rng =
            ChaCha20Rng::seed_from_u64(self.seed ^ ((index as u64) << 20) ^ (node.births << 50));
        let verifier = Box::new(self.verifier.clone());
        let keys = node.keys.clone();
        let machine = Machine::with_verifier(config, keys, start, rng, now, verifier);
        node.body = Some(Body::Machine(Box::new(machine)));
        self.drain(index);
    }

    /// How a person would tell of a node.
    pub fn descriptor(&self, index: usize) -> Descriptor {
        let node = &self.nodes[index];
        Descriptor {
            chain: node.spec.config.chain,
            node: node.key,
            host: crate::address::Host::Ip(node.ip),
            ports: vec![PORT],
            mask: None,
            knock: Some(Knock::of(&node.keys)),
        }
    }

    pub(super) fn joined(&self, a: usize, b: usize) -> bool {
        self.part.get(a) == self.part.get(b)
    }

    pub(super) fn latency(&self, a: usize, b: usize) -> Duration {
        let (low, high) = (a.min(b) as u64, a.max(b) as u64);
        let mut rng = ChaCha20Rng::seed_from_u64(self.seed ^ (low << 32 | high));
        rng.random_range(self.network.latency_min..=self.network.latency_max)
    }

    pub(super) fn connect(&mut self, from: usize, peer: NodeKey, addresses: &[Address]) {
        let listening = addresses
            .iter()
            .filter(|a| a.port == PORT)
            .find_map(|address| {
                let index = *self.by_ip.get(&address.ip()?)?;
                let node = &self.nodes[index];
                (node.body.is_some() && node.spec.dialable && self.joined(from, index))
                    .then_some(index)
            });
        // Several nodes may share an address; the one that is meant answers, as by its own port.
        let meant = self.by_key.get(&peer).copied().filter(|index| {
            let node = &self.nodes[*index];
            node.body.is_some()
                && node.spec.dialable
                && self.joined(from, *index)
                && addresses
                    .iter()
                    .any(|address| address.ip() == Some(node.ip))
        });
        let Some(to) = meant.or(listening) else {
            let at = self.now + self.network.dial_failure;
            return self.clockwork.at(
                at,
                What::DialFailed {
                    at: from,
                    peer,
                    why: SeedFailure::Unreachable,
                },
            );
        };
        if self.nodes[to].key != peer {
            return self.input(
                from,
                Input::DialFailed {
                    peer,
                    why: SeedFailure::WrongKey,
                },
            );
        }
        let conn = ConnId(self.conns.len() as u64);
        self.conns.push(Some(Connection {
            ends: [from, to],
            latency: self.latency(from, to),
            last: [self.now; 2],
        }));
        for end in [from, to] {
            self.nodes[end].conns.insert(conn);
        }
        self.nodes[from].count.known_to.insert(to as u32);
        let address = |index: usize, port: u16| {
            Some(std::net::SocketAddr::new(self.nodes[index].ip, port).into())
        };
        let (near, far) = (address(to, PORT), address(from, 50_000));
        let key = self.nodes[from].key;
        self.input(
            to,
            Input::Connected {
                conn,
                peer: key,
                dialled: false,
                remote: far,
            },
        );
        self.input(
            from,
            Input::Connected {
                conn,
                peer,
                dialled: true,
                remote: near,
            },
        );
    }

    /// Whether a node answers at one of the addresses, as a connection would show.
    pub(super) fn probe(&mut self, from: usize, call: u64, peer: &NodeKey, addresses: &[Address]) {
        let answers = self.by_key.get(peer).copied().filter(|index| {
            let node = &self.nodes[*index];
            let here = |a: &Address| a.ip() == Some(node.ip) && a.port == PORT;
            node.body.is_some()
                && node.spec.dialable
                && self.joined(from, *index)
                && addresses.iter().any(here)
        });
        let took = match answers {
            Some(to) => self.latency(from, to) * 3,
            None => self.network.dial_failure,
        };
        let port = answers.map(|_| PORT);
        let at = from;
        self.clockwork
            .at(self.now + took, What::Probed { at, call, port });
    }

    pub(super) fn input(&mut self, index: usize, input: Input) {
        let now = self.clock();
        if let Some(body) = self.nodes[index].body.as_mut() {
            body.handle(now, input);
            self.drain(index);
        }
    }

    pub(super) fn drain(&mut self, index: usize) {
        while let Some(output) = self.nodes[index].body.as_mut().and_then(Body::poll_output) {
            self.output(index, output);
        }
        let node = &mut self.nodes[index];
        if let Some(Body::Machine(machine)) = &node.body {
            let degree = machine.degree();
            self.worst_degree = self.worst_degree.max(degree);
            node.count.degree(self.now, degree, self.born >= 3);
        }
        let Some(wake) = node.body.as_ref().map(Body::poll_timeout) else {
            return;
        };
        let wake = wake.max(self.now);
        if wake < node.wake {
            node.wake = wake;
            self.clockwork.at(wake, What::Wake(index));
        }
    }

    pub(super) fn output(&mut self, index: usize, output: Output) {
        match output {
            Output::Dial { peer, addresses } => self.dial(index, peer, addresses),
            Output::Send(conn, message) => self.send(index, conn, message),
            Output::Close(conn) => self.end(conn, index),
            Output::Probe {
                call,
                peer,
                addresses,
            } => self.probe(index, call, &peer, &addresses),
            Output::Event(event) => self.event(index, event),
            Output::Ask { call, to, payload } => self.ask(index, call, &to, payload),
            Output::Reply { call, payload } => self.reply(call, payload),
        }
    }

    pub(super) fn dial(&mut self, index: usize, peer: NodeKey, addresses: Vec<Address>) {
        let other = self.by_key.get(&peer).copied();
        if let Some(told) = other
            && addresses
                .iter()
                .any(|address| address.ip() == Some(self.nodes[told].ip))
        {
            let new = self.nodes[told].count.known_to.insert(index as u32);
            let from = &self.nodes[index];
            if new && !from.attacker && !from.spec.seeds.contains(&told) {
                self.watch.dialled(index, told);
            }
        }
        // TCP and noise: three one-way trips before either side may speak.
        let at = self.now + self.latency(index, other.unwrap_or(index)) * 3;
        self.clockwork.at(
            at,
            What::Connect {
                from: index,
                peer,
                addresses,
            },
        );
    }

    pub(super) fn event(&mut self, index: usize, event: Event) {
        let now = self.now;
        if let Event::NeighbourUp { node, .. } = &event
            && let Some(other) = self.index(node)
        {
            self.watch.neighbour(index, other);
        }
        let node = &mut self.nodes[index];
        match &event {
            Event::PersistVersion(version) => node.version = *version,
            Event::Remember(list) => node.remembered = list.clone(),
            Event::StageChanged(stage) => node.count.stage(now, *stage),
            _ => {}
        }
        if !self.lean {
            if node.events.len() >= MAX_EVENTS {
                node.events.pop_front();
            }
            node.events.push_back((now, event));
        }
    }

    pub(super) fn send(&mut self, index: usize, conn: ConnId, message: Message) {
        let Some(connection) = self.conns[conn.0 as usize].as_mut() else {
            return;
        };
        let side = usize::from(connection.ends[0] != index);
        let to = connection.ends[1 - side];
        let at = (self.now + connection.latency).max(connection.last[side]);
        connection.last[side] = at;
        let len = message.encoded_len();
        let by_key = &self.by_key;
        let index_of = |key: &NodeKey| by_key.get(key).copied();
        self.watch.sent(self.now, &message, len + 2, index_of);
        let parcel = if self.lean && self.capture.is_none() {
            Parcel::Message(Box::new(message))
        } else {
            Parcel::Bytes(message.encode())
        };
        assert!(
            len <= crate::wire::MAX_MESSAGE_LEN,
            "a machine sent an oversize message"
        );
        self.bytes += len as u64 + 2;
        self.messages += 1;
        let count = &mut self.nodes[index].count;
        count.bytes_sent += len as u64 + 2;
        count.messages_sent += 1;
        if let (Some(captured), Parcel::Bytes(bytes)) = (&mut self.capture, &parcel) {
            captured.push(Captured {
                from: index,
                to,
                bytes: bytes.clone(),
            });
        }
        self.clockwork.at(at, What::Deliver { conn, to, parcel });
    }

    /// One end closes: the other learns of it behind what was sent.
    pub(super) fn end(&mut self, conn: ConnId, index: usize) {
        self.nodes[index].conns.remove(&conn);
        let Some(connection) = &self.conns[conn.0 as usize] else {
            return;
        };
        let side = usize::from(connection.ends[0] != index);
        let other = connection.ends[1 - side];
        let at = (self.now + connection.latency).max(connection.last[side]);
        if self.joined(index, other) {
            self.clockwork.at(at, What::Ended { conn, at: other });
        }
    }

    /// A circuit to a node, and a question in it. It takes the latencies of its links, out for the
    /// question and back for the answer; dead nodes on the way swallow it, and attackers do unless it
    /// is for one of them.
    pub(super) fn ask(&mut self, from: usize, call: u64, to: &NodeKey, payload: Vec<u8>) {
        if !self.network.circuits {
            return;
        }
        let path = self.nodes[from].machine().and_then(|m| m.path_to(to));
        let path: Option<Vec<usize>> =
            path.map(|path| path.iter().filter_map(|key| self.index(key)).collect());
        let Some(path) = path else {
            let at = self.now;
            let payload = None;
            let what = What::Answered {
                at: from,
                call,
                payload,
            };
            return self.clockwork.at(at, what);
        };
        if let Some(to) = path.last() {
            self.watch.asked(from, *to);
        }
        let mut way = Duration::ZERO;
        let mut before = from;
        let mut whole = true;
        let colluding = path.last().is_some_and(|to| self.nodes[*to].attacker);
        for (step, node) in path.iter().copied().enumerate() {
            way += self.latency(before, node);
            let relay = step + 1 < path.len();
            whole &= self.nodes[node].body.is_some()
                && self.joined(before, node)
                && !(relay && self.nodes[node].attacker && !colluding);
            before = node;
        }
        if !whole {
            let at = self.now + ASK_TIMEOUT;
            let payload = None;
            let what = What::Answered {
                at: from,
                call,
                payload,
            };
            return self.clockwork.at(at, what);
        }
        self.asked += 1;
        let host_call = self.asked;
        self.asking.insert(host_call, Asking { from, call, way });
        self.clockwork.at(
            self.now + way,
            What::Asked {
                host_call,
                to: before,
                payload,
            },
        );
    }

    pub(super) fn reply(&mut self, host_call: u64, payload: Option<Vec<u8>>) {
        if let Some(Asking { from, call, way }) = self.asking.remove(&host_call) {
            let what = What::Answered {
                at: from,
                call,
                payload,
            };
            self.clockwork.at(self.now + way, what);
        }
    }
}
