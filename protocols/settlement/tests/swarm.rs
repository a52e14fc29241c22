//! Two swarms on a direct link: accounts are settled, and spoken of with nobody else.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256};
use futures::StreamExt as _;
use libp2p::PeerId;
use libp2p::swarm::{Swarm, SwarmEvent};
use libp2p_swarm_test::SwarmExt as _;
use masq_settlement::shared::system_clock;
use masq_settlement::state::{Found, Payment};
use masq_settlement::{
    Behaviour, Carried, CircuitRef, Config, Domain, Event, Input, Machine, NodeKey, Output, Party,
    PaymentState, RatePack, SIGNATURE_LEN, Service, Settlement, SignError, Signer, Terms, Usage,
};
use tokio::sync::mpsc;

#[expect(
    unreachable_pub,
    reason = "it is a module of the crate's own tests too"
)]
mod wallet;

/// Real time; exchanges take milliseconds, the first statement comes after thirty seconds.
const PATIENCE: Duration = Duration::from_secs(20);

const TERMS: Terms = Terms {
    rates: RatePack {
        routing_byte: 1,
        routing_package: 100,
        exit_byte: 1,
        exit_package: 100,
    },
    service: Service::Exit,
    max_spend: u128::MAX,
};
const USAGE: Usage = Usage {
    over: Carried {
        cells: 10,
        bytes: 10_000,
    },
    back: Carried {
        cells: 100,
        bytes: 100_000,
    },
};
const CIRCUIT: CircuitRef = CircuitRef([7; 8]);

fn payer() -> Address {
    wallet::Wallet::new(1).address()
}

/// A node whose name in the books is the name of its swarm.
fn swarm(pays: bool) -> Swarm<Behaviour> {
    Swarm::new_ephemeral_tokio(|keys| {
        let node = NodeKey::from_peer_id(&keys.public().to_peer_id()).unwrap();
        let domain = Domain::new(31337, Address::repeat_byte(1));
        let signer = || Arc::new(wallet::Wallet::new(1)) as Arc<dyn Signer>;
        let signer = pays.then(signer);
        let wallet = signer.as_ref().map(|signer| signer.address());
        let machine = Machine::new(Config::new(domain, node, 1 << 60, TERMS.rates), signer);
        Behaviour::new(Settlement::new(machine, system_clock()), wallet)
    })
}

struct Running {
    settlement: Settlement,
    peer: PeerId,
    outputs: mpsc::Receiver<Output>,
}

impl Running {
    fn node(&self) -> NodeKey {
        NodeKey::from_peer_id(&self.peer).unwrap()
    }

    /// Waits for an event.
    async fn until(&mut self, what: impl Fn(&Output) -> bool) -> Output {
        let wait = async {
            loop {
                let output = self.outputs.recv().await.unwrap();
                if what(&output) {
                    return output;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap()
    }
}

fn run(mut swarm: Swarm<Behaviour>) -> Running {
    let (tx, outputs) = mpsc::channel(1000);
    let settlement = swarm.behaviour().settlement().clone();
    let peer = *swarm.local_peer_id();
    tokio::spawn(async move {
        loop {
            if let SwarmEvent::Behaviour(output) = swarm.select_next_some().await {
                let _ = tx.send(output).await;
            }
        }
    });
    Running {
        settlement,
        peer,
        outputs,
    }
}

/// A hop and a payer, connected; they know each other if `allowed`.
async fn pair(allowed: bool) -> (Running, Running) {
    let (mut hop, mut origin) = (swarm(false), swarm(true));
    if allowed {
        let (of_hop, of_origin) = (*hop.local_peer_id(), *origin.local_peer_id());
        assert!(hop.behaviour_mut().allow_payer(of_origin, payer()));
        assert!(origin.behaviour_mut().allow_hop(of_hop));
    }
    hop.listen().with_memory_addr_external().await;
    origin.connect(&mut hop).await;
    let (hop, origin) = (run(hop), run(origin));
    let to_hop = hop.node();
    hop.settlement
        .with(|m, now| m.admit(now, payer(), CIRCUIT, TERMS))
        .unwrap();
    origin
        .settlement
        .with(|m, now| m.open(now, to_hop, CIRCUIT, TERMS))
        .unwrap();
    for (settlement, who) in [
        (&hop.settlement, Party::Payer(payer())),
        (&origin.settlement, Party::Hop(to_hop)),
    ] {
        settlement.handle(Input::Ended {
            who,
            circuit: CIRCUIT,
            usage: USAGE,
            clean: true,
        });
    }
    (hop, origin)
}

fn pay(origin: &Running, hop: NodeKey) {
    origin.settlement.handle(Input::Paid {
        hop,
        transaction: B256::repeat_byte(5),
        amount: 1000,
        payment: Payment::Included,
    });
}

#[tokio::test]
async fn a_payment_is_announced_looked_up_and_confirmed_and_a_statement_is_receipted() {
    let (mut hop, mut origin) = pair(true).await;
    let to_hop = hop.node();
    pay(&origin, to_hop);
    let look_up = |output: &Output| matches!(output, Output::LookUp { .. });
    hop.until(look_up).await;
    hop.settlement.handle(Input::Chain {
        payer: payer(),
        transaction: B256::repeat_byte(5),
        found: Found::Final(1000),
    });
    let seen = |output: &Output| {
        let is = |event: &Event| matches!(event, Event::PaymentSeen { state, .. } if *state == PaymentState::Final);
        matches!(output, Output::Event(event) if is(event))
    };
    origin.until(seen).await;

    origin.settlement.handle(Input::Ask { hop: to_hop });
    let price = TERMS.price(USAGE);
    let acknowledged = |output: &Output| matches!(output, Output::Event(Event::Acknowledged { total, .. }) if *total == price);
    hop.until(acknowledged).await;
    let books = hop.settlement.with(|m, _| m.payer(&payer())).unwrap();
    assert_eq!((books.booked, books.credited()), (price, 1000));

    // Each statement gets one receipt, and no receipt another statement.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut more = 0;
    while let Ok(output) = hop.outputs.try_recv() {
        more += usize::from(acknowledged(&output));
    }
    assert!(more <= 2, "{more} more receipts");
}

#[tokio::test]
async fn strangers_are_refused() {
    let (mut hop, mut origin) = pair(false).await;
    let to_hop = hop.node();
    pay(&origin, to_hop);
    // Without a link the message is left to circuits.
    let speak = |output: &Output| *output == Output::Speak(Party::Hop(to_hop));
    origin.until(speak).await;
    let quiet = hop.until(|output| matches!(output, Output::LookUp { .. }));
    let quiet = tokio::time::timeout(Duration::from_millis(300), quiet).await;
    assert!(quiet.is_err());
}
