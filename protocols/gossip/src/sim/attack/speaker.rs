//! What every attacker needs to speak the protocol: its keys, records and cards
//! that say what it likes, and orders for the simulator. What is said when is
//! each attack's own matter.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use libp2p::identity::ed25519;
use rand::RngExt as _;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use crate::address::Address;
use crate::card::{Card, MAX_CARD_LIFE, SealSecret, WalkId, seal};
use crate::chain::Chain;
use crate::key::NodeKey;
use crate::knock::Knock;
use crate::record::{RatePack, Record, Roles};
use crate::sim::PORT;
use crate::state::{ConnId, Now, Output};
use crate::wire::Message;

/// Life of attackers' records, in seconds; the longest allowed.
const RECORD_LIFE: u64 = 1800;

/// Somebody who can sign and be understood.
pub(super) struct Speaker {
    pub(super) chain: Chain,
    pub(super) keys: ed25519::Keypair,
    pub(super) key: NodeKey,
    pub(super) ip: IpAddr,
    pub(super) rng: ChaCha20Rng,
    pub(super) out: VecDeque<Output>,
    version: u64,
}

/// What to say in a debut.
#[derive(Default)]
pub(super) struct Opening {
    /// The knock, where it is known.
    pub(super) knock: Option<Knock>,
    /// The walk by which the two met.
    pub(super) invited: Option<WalkId>,
    /// The card to be introduced with.
    pub(super) card: Option<(WalkId, Vec<u8>)>,
    /// Whether it can be dialled.
    pub(super) dialable: bool,
    /// Whether to ask for the entry link at once.
    pub(super) wants_entry: bool,
}

impl Speaker {
    pub(super) fn new(chain: Chain, keys: ed25519::Keypair, ip: IpAddr) -> Self {
        let key = NodeKey::from(&keys.public());
        Self {
            chain,
            key,
            ip,
            rng: ChaCha20Rng::from_seed(key.0),
            out: VecDeque::new(),
            version: 0,
            keys,
        }
    }

    /// Where it can be dialled.
    pub(super) fn address(&self) -> Address {
        at(self.ip)
    }

    pub(super) fn walk_id(&mut self) -> WalkId {
        self.rng.random()
    }

    /// A record that lists these, whether they are neighbours or not.
    pub(super) fn record(&mut self, now: Now, mut neighbours: Vec<NodeKey>) -> Vec<u8> {
        neighbours.sort_unstable();
        neighbours.dedup();
        self.version = (self.version + 1).max(now.unix);
        let record = Record {
            chain: self.chain,
            node: self.key,
            onion: self.key.0,
            previous_onion: None,
            version: self.version,
            earning_wallet: [0; 20],
            rates: RatePack::default(),
            roles: Roles {
                routes: true,
                exits: true,
                accepts_connections: true,
            },
            policy: String::new(),
            country: None,
            neighbours,
            issued: now.unix,
            expires: now.unix + RECORD_LIFE,
        };
        let signed = record.sign(&self.keys);
        signed.map_or_else(|_| Vec::new(), |record| record.bytes().to_vec())
    }

    /// A card that says there are so many links.
    pub(super) fn card(
        &self,
        now: Now,
        id: &WalkId,
        secret: &SealSecret,
        dialable: bool,
        links: u8,
    ) -> Vec<u8> {
        let card = Card {
            chain: self.chain,
            node: self.key,
            seal_key: secret.public(),
            dialable,
            entry_only: false,
            links,
            expires: now.unix + MAX_CARD_LIFE / 2,
        };
        card.sign(id, &self.keys)
    }

    /// Its address, sealed to a card.
    pub(super) fn sealed(&mut self, card: &Card, id: &WalkId) -> Option<Vec<u8>> {
        seal(&[self.address()], card, id, &mut self.rng)
    }

    pub(super) fn send(&mut self, conn: ConnId, message: Message) {
        self.out.push_back(Output::Send(conn, message));
    }

    pub(super) fn close(&mut self, conn: ConnId) {
        self.out.push_back(Output::Close(conn));
    }

    pub(super) fn dial(&mut self, peer: NodeKey, ip: IpAddr) {
        let addresses = vec![at(ip)];
        self.out.push_back(Output::Dial { peer, addresses });
    }

    pub(super) fn debut(&mut self, conn: ConnId, record: Vec<u8>, opening: Opening) {
        let message = Message::Debut {
            chain: self.chain.name().to_owned(),
            record,
            wants_entry: opening.wants_entry,
            ports: if opening.dialable { vec![PORT] } else { vec![] },
            invited: opening.invited,
            card: opening.card,
            knock: opening.knock,
        };
        self.send(conn, message);
    }

    /// About this long, so that many do not act at the same moment.
    pub(super) fn about(&mut self, time: Duration) -> Duration {
        time.mul_f64(self.rng.random_range(0.5..1.5))
    }
}

/// The address of a simulated node.
pub(super) fn at(ip: IpAddr) -> Address {
    SocketAddr::new(ip, PORT).into()
}

/// Reads a card without asking whether it is signed: attackers trust whom they meet.
pub(super) fn read_card(bytes: &[u8], id: &WalkId, chain: Chain, now: Now) -> Option<Card> {
    Card::parse_with(bytes, id, chain, now.unix, |_, _, _| true)
}
