//! A payer and a hop without a network between them: what is promised, taken, refused, kept.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use masq_cores::host::{Asked, Gate, PaidHop, Payer, Paying, Refused, Running, Served};
use masq_cores::{Authorisation, CellSize, CircuitId, FailureCode, Leg, NodeKey, Role};
use masq_gossip::{Chain, RatePack};
use masq_settlement::{Message, Reason};
use tempfile::TempDir;

use super::{Billing, Disputed, Prices, StartMoney, TermsOf, start};
use crate::chain::driver::FileNote;
use crate::chain::engine::EngineConfig;
use crate::chain::facts;
use crate::ledger::price::DEFAULT_RATES;
use crate::ledger::{Journal, Limits, MemoryJournal, PrepayBudget};
use crate::routing::Dispute;
use crate::wallet::ConsumingWallet;

const HOP: NodeKey = NodeKey([2; 32]);
const EPHEMERAL: [u8; 32] = [7; 32];

struct Fixed(RatePack);

impl Prices for Fixed {
    fn of(&self, _: &NodeKey) -> Option<(RatePack, Option<Address>)> {
        Some((self.0, Some(Address::repeat_byte(0xea))))
    }

    fn known(&self) -> BTreeSet<masq_gossip::NodeKey> {
        [masq_gossip::NodeKey::from(HOP.0)].into()
    }
}

struct Side {
    billing: Billing,
    _folder: TempDir,
}

impl std::ops::Deref for Side {
    type Target = Billing;

    fn deref(&self) -> &Billing {
        &self.billing
    }
}

/// A node whose one endpoint does not answer: nothing here needs the chain.
async fn side(node: NodeKey, pays: bool, earns: bool, journal: impl Journal + 'static) -> Side {
    let folder = tempfile::tempdir().unwrap();
    let token = Address::repeat_byte(0x70);
    let facts = facts(Chain::Dev);
    let mut engine = EngineConfig::new(facts.id, token, Address::ZERO, Duration::from_secs(1));
    engine.token_price = 0;
    let (billing, _) = start(StartMoney {
        node: node.0,
        facts,
        token,
        urls: vec!["http://127.0.0.1:1".into()],
        proxy: Some("http://127.0.0.1:1".into()),
        consuming: pays.then(|| ConsumingWallet::from_bytes(&[9; 32]).unwrap()),
        earning: earns.then(|| Address::repeat_byte(0xea)),
        rpc_isolation: None,
        budget: PrepayBudget::default(),
        funds_every: Duration::from_secs(600),
        terms: TermsOf {
            chain: "dev".into(),
            coin: "ETH",
            rates: DEFAULT_RATES,
            ceiling: crate::config::Config::new("/d").price_ceiling,
            thresholds: engine.thresholds,
            limits: Limits::from_rates(&DEFAULT_RATES).unwrap(),
            gas_cap: engine.gas_cap,
            day_cap: None,
            pay_every: engine.scan_every,
            settle_on_stop: false,
        },
        engine,
        journal: Box::new(journal),
        note: FileNote::new(folder.path().join("next")),
    })
    .await
    .unwrap();
    billing.set_prices(Arc::new(Fixed(DEFAULT_RATES)));
    Side {
        billing,
        _folder: folder,
    }
}

async fn payer() -> Side {
    side(NodeKey([1; 32]), true, false, MemoryJournal::new()).await
}

async fn hop() -> Side {
    side(HOP, false, true, MemoryJournal::new()).await
}

fn promise(payer: &Billing, role: Role) -> (Arc<dyn Paying>, Authorisation) {
    let paying = payer.open(&[PaidHop { node: HOP, role }]).unwrap();
    let auth = paying.authorise(0, &EPHEMERAL);
    (paying, auth)
}

fn ask(
    hop: &Billing,
    auth: &Authorisation,
    ephemeral: &[u8; 32],
) -> Result<Arc<dyn Served>, Refused> {
    hop.admit(&Asked {
        from: &NodeKey([5; 32]),
        next: None,
        role: Role::OverRelay,
        auth,
        ephemeral,
    })
}

fn reason(refused: &Refused) -> Reason {
    assert_eq!(refused.code, FailureCode::BadAuthorisation);
    match Message::decode(&refused.detail) {
        Ok(Message::Refusal(refusal)) => refusal.reason,
        other => panic!("{other:?}"),
    }
}

fn why(answer: Result<Arc<dyn Served>, Refused>) -> Reason {
    reason(&answer.err().expect("refused"))
}

#[tokio::test]
async fn s26_a_promise_holds_for_its_circuit_and_no_other() {
    let (payer, hop) = (payer().await, hop().await);
    let (_paying, auth) = promise(&payer, Role::OverRelay);
    let served = ask(&hop, &auth, &EPHEMERAL);
    assert!(served.is_ok());
    assert_eq!(why(ask(&hop, &auth, &[8; 32])), Reason::BadSignature);
    let mut torn = auth.clone();
    torn.body[30] ^= 1;
    assert_ne!(why(ask(&hop, &torn, &EPHEMERAL)), Reason::OverLimit);
    assert_eq!(
        why(ask(&hop, &Authorisation::none(), &EPHEMERAL)),
        Reason::NoAuthorisation
    );
}

#[tokio::test]
async fn s31_a_rate_below_the_hops_is_refused() {
    let (payer, hop) = (payer().await, hop().await);
    let low = RatePack {
        routing_byte: DEFAULT_RATES.routing_byte - 1,
        ..DEFAULT_RATES
    };
    let role = Role::OverRelay;
    let hops = [PaidHop { node: HOP, role }];
    let paying = payer.billing.0.promise(&Fixed(low), &hops).unwrap();
    let auth = paying.authorise(0, &EPHEMERAL);
    assert_eq!(why(ask(&hop, &auth, &EPHEMERAL)), Reason::RateTooLow);
}

#[tokio::test]
async fn s31_what_asks_for_more_than_the_ceiling_is_promised_nothing() {
    // The route was chosen by a record that has been replaced since.
    let payer = payer().await;
    let at = |times: u64| RatePack {
        routing_byte: DEFAULT_RATES.routing_byte,
        routing_package: DEFAULT_RATES.routing_package,
        exit_byte: DEFAULT_RATES.exit_byte * times,
        exit_package: DEFAULT_RATES.exit_package,
    };
    for (times, role, allowed) in [
        (10, Role::Exit, true),
        (11, Role::Exit, false),
        // What it asks for as an exit does not matter of a relay.
        (11, Role::OverRelay, true),
    ] {
        let hops = [PaidHop { node: HOP, role }];
        let promised = payer.0.promise(&Fixed(at(times)), &hops);
        assert_eq!(promised.is_ok(), allowed, "{times} {role:?}");
    }
}

#[tokio::test]
async fn what_never_came_about_costs_nothing() {
    let (payer, hop) = (payer().await, hop().await);
    let wallet = payer.wallet().unwrap();
    let now = hop.0.unix();
    let all = hop.0.money.receivables().remaining(now, &wallet);
    let (paying, auth) = promise(&payer, Role::OverRelay);
    let served = ask(&hop, &auth, &EPHEMERAL).ok().unwrap();
    assert!(hop.0.money.receivables().remaining(now, &wallet) < all);
    drop((served, paying));
    assert_eq!(hop.0.money.receivables().remaining(now, &wallet), all);
    let owed = payer
        .0
        .settlement
        .with(|machine, _| machine.hop(&masq_settlement::NodeKey(HOP.0)));
    assert!(owed.is_none_or(|books| books.owed() == 0));
}

#[tokio::test]
async fn of_a_circuit_that_did_not_come_home_only_hops_that_served_are_owed() {
    let payer = payer().await;
    let roles = [
        Role::OverRelay,
        Role::OverRelay,
        Role::Exit,
        Role::BackRelay,
        Role::BackRelay,
    ];
    let rates = super::map::rates(&DEFAULT_RATES);
    let size = |leg: Leg, size| masq_settlement::Carried {
        cells: 1,
        bytes: leg.capacity(size) as u64,
    };
    let sent = size(Leg::Over, CellSize::Medium);
    let share = size(Leg::Back, CellSize::Medium);
    for reached in 0..=roles.len() {
        let node = |at: usize| NodeKey([10 * (reached as u8 + 1) + at as u8; 32]);
        let hops = roles.iter().enumerate();
        let hops: Vec<_> = hops
            .map(|(at, role)| PaidHop {
                node: node(at),
                role: *role,
            })
            .collect();
        let paying = payer.open(&hops).unwrap();
        for at in 0..roles.len() {
            paying.authorise(at, &[reached as u8 * 16 + at as u8; 32]);
        }
        let running = Running::detached(CircuitId(reached as u64));
        paying.begun(running.clone());
        running.count(Leg::Over, CellSize::Medium);
        let owed = |at: usize| {
            let hop = masq_settlement::NodeKey(node(at).0);
            let books = payer.0.settlement.with(|machine, _| machine.hop(&hop));
            books.map_or(0, |books| books.owed())
        };
        payer.0.book_all();
        assert!((0..roles.len()).all(|at| owed(at) == 0), "not home yet");
        paying.half_built(reached);
        let none = masq_cores::host::Carried::default();
        paying.ended(running.carried(Leg::Over), none, false);
        for (at, role) in roles.into_iter().enumerate() {
            let service = super::map::service(role);
            let expected = match role {
                _ if at >= reached => 0,
                Role::BackRelay => rates.price_of(service, share),
                Role::Exit => {
                    let both = masq_settlement::Usage {
                        over: sent,
                        back: share,
                    };
                    rates.price(service, both)
                }
                _ => rates.price_of(service, sent),
            };
            assert_eq!(owed(at), expected, "{reached} {at}");
        }
    }
}

#[tokio::test]
async fn s27_a_stranger_gets_so_many_circuits_and_then_is_told_what_to_pay() {
    let (payer, hop) = (payer().await, hop().await);
    let mut served = Vec::new();
    let refused = loop {
        let paying = payer.open(&[PaidHop {
            node: HOP,
            role: Role::OverRelay,
        }]);
        let paying = paying.unwrap();
        let ephemeral = [served.len() as u8; 32];
        let auth = paying.authorise(0, &ephemeral);
        match ask(&hop, &auth, &ephemeral) {
            Ok(circuit) => served.push((circuit, paying)),
            Err(refused) => break refused,
        }
        assert!(served.len() < 200, "there is a limit");
    };
    assert!(served.len() >= 20, "{}", served.len());
    let Ok(Message::Refusal(refusal)) = Message::decode(&refused.detail) else {
        panic!("a refusal says why");
    };
    assert_eq!(refusal.reason, Reason::OverLimit);
    assert!(refusal.figure > 0);
    // The payer's user is told, and nobody's wallet is.
    let (_, paying) = served.pop().unwrap();
    paying.refused(0, refused.code, &refused.detail);
    let refusals = payer.refusals();
    assert_eq!(refusals[0].node, HOP.0);
    assert!(refusals[0].why.contains("prepaying"), "{}", refusals[0].why);
}

#[tokio::test]
async fn accounts_outlive_a_start() {
    let journal = MemoryJournal::new();
    let payer = payer().await;
    let wallet = payer.wallet().unwrap();
    {
        let hop = side(HOP, false, true, journal.clone()).await;
        let (_paying, auth) = promise(&payer, Role::OverRelay);
        let served = ask(&hop, &auth, &EPHEMERAL).ok().unwrap();
        served.begun(Running::detached(CircuitId(1)));
        let carried = masq_cores::host::Carried {
            cells: 10,
            bytes: 160_000,
        };
        served.ended(carried, masq_cores::host::Carried::default(), true);
        hop.shut_down(false).await;
        // The task that writes ends by itself once it has; the next start waits for nothing else.
        while journal
            .rows(crate::ledger::Table::PayerAccounts)
            .unwrap()
            .is_empty()
        {
            tokio::task::yield_now().await;
        }
    }
    let hop = side(HOP, false, true, journal).await;
    let price = 160_000 * u128::from(DEFAULT_RATES.routing_byte)
        + 10 * u128::from(DEFAULT_RATES.routing_package);
    let owed = hop.0.money.receivables().get(&wallet).map(|row| row.owed());
    assert_eq!(owed, Some(price));
    let account = hop.0.settlement.with(|machine, _| machine.payer(&wallet));
    assert_eq!(account.map(|books| books.owed()), Some(price));
}

#[tokio::test]
async fn a_hop_is_named_by_key_or_descriptor_and_a_stranger_is_not_prepaid() {
    use crate::control::types::{Amount, PrepayRequest};
    use crate::control::{MoneyApi, NodeApiError};

    let payer = payer().await;
    let quote = async |node: String| {
        let request = PrepayRequest {
            node,
            amount: Amount(5),
            quote: true,
        };
        payer.billing.prepay(request).await
    };
    let key = masq_gossip::NodeKey::from(HOP.0).to_string();
    let known = quote(key[..8].to_owned()).await.unwrap();
    assert_eq!((known.node, known.advance), (key, Amount(5)));
    assert!(!known.ordered && known.relay_gb.is_some());

    let stranger = libp2p::identity::ed25519::Keypair::generate().public();
    let stranger = masq_gossip::NodeKey::from(stranger.to_bytes()).to_string();
    for (name, says) in [
        (stranger.clone(), "not one that this node knows"),
        (
            format!("masq://dev:{stranger}@192.0.2.1:6277"),
            "not one that this node knows",
        ),
        ("masq://dev:x".to_owned(), "no descriptor"),
    ] {
        match quote(name).await {
            Err(NodeApiError::Refused { what, .. }) => assert!(what.contains(says), "{what}"),
            other => panic!("{other:?}"),
        }
    }
}

/// The hops that this node was told of.
#[derive(Default)]
struct Told(std::sync::Mutex<Vec<NodeKey>>);

impl Disputed for Told {
    fn disputed(&self, hop: NodeKey) -> Dispute {
        self.0.lock().unwrap().push(hop);
        Dispute::Avoided(Duration::from_secs(60))
    }
}

/// One report round, and what comes of it at the payer.
fn round(payer: &Billing, paying: &dyn Paying, served: &dyn Served) {
    let said = paying.say(0);
    if !said.is_empty() {
        served.heard(&said);
    }
    paying.heard(0, &served.say());
    while let Some(output) = payer.0.settlement.poll_output() {
        payer.on_output(output);
    }
}

#[tokio::test]
async fn s28_an_inflated_statement_is_noticed_and_not_paid_and_the_hop_avoided() {
    let journal = MemoryJournal::new();
    let payer = side(NodeKey([1; 32]), true, false, journal.clone()).await;
    let hop = hop().await;
    let told = Arc::<Told>::default();
    payer.set_disputed(told.clone());
    let (paying, auth) = promise(&payer, Role::OverRelay);
    let served = ask(&hop, &auth, &EPHEMERAL).ok().unwrap();
    let (sent, claimed) = (
        Running::detached(CircuitId(1)),
        Running::detached(CircuitId(2)),
    );
    paying.begun(sent.clone());
    served.begun(claimed.clone());
    let count = |running: &Running, cells: u32| {
        (0..cells).for_each(|_| running.count(Leg::Over, CellSize::Large));
    };
    // It is home; a relay of the over leg is not paid for that.
    sent.count(Leg::Back, CellSize::Medium);
    // Both the same, then beyond all that may be on its way.
    count(&sent, 100);
    count(&claimed, 100);
    for _ in 0..3 {
        round(&payer, &*paying, &*served);
    }
    assert!(told.0.lock().unwrap().is_empty());
    count(&claimed, 600);
    for _ in 0..3 {
        round(&payer, &*paying, &*served);
    }
    assert_eq!(*told.0.lock().unwrap(), [HOP; 3]);
    let books = |side: &Billing| {
        let hop = masq_settlement::NodeKey(HOP.0);
        side.0.settlement.with(|machine, _| machine.hop(&hop))
    };
    let carried = masq_settlement::Carried {
        cells: 100,
        bytes: 100 * Leg::Over.capacity(CellSize::Large) as u64,
    };
    let rates = super::map::rates(&DEFAULT_RATES);
    let price = rates.price_of(masq_settlement::Service::Routing, carried);
    let known = books(&payer).unwrap();
    assert_eq!((known.owed(), known.signed), (price, price));
    let note = payer.0.happened.lock().unwrap()[0].what.clone();
    assert!(note.contains("claims to have carried more"), "{note}");

    // A start tells of it again.
    payer.shut_down(false).await;
    while journal
        .rows(crate::ledger::Table::HopAccounts)
        .unwrap()
        .is_empty()
    {
        tokio::task::yield_now().await;
    }
    let payer = side(NodeKey([1; 32]), true, false, journal).await;
    let told = Arc::<Told>::default();
    payer.set_disputed(told.clone());
    assert_eq!(*told.0.lock().unwrap(), [HOP]);
}

/// A thousand wallets that never pay take what circuits give until they are ended, through as many
/// neighbours as a node has.
#[tokio::test]
async fn s27_any_number_of_wallets_that_never_pay_gets_the_stated_credit_together() {
    let hop = hop().await;
    let limits = Limits::from_rates(&DEFAULT_RATES).unwrap();
    let token = Address::repeat_byte(0x70);
    let domain = masq_settlement::Domain::new(facts(Chain::Dev).id, token);
    let rates = super::map::rates(&DEFAULT_RATES);
    let now = hop.0.unix();
    let (mut taken, mut refused, mut tried) = (0_u128, 0_u32, 0_u32);
    for n in 1..=1_000_u16 {
        let mut secret = [0; 32];
        secret[30..].copy_from_slice(&n.to_be_bytes());
        let wallet = super::starting::Wallet(ConsumingWallet::from_bytes(&secret).unwrap());
        let ephemeral = secret;
        let auth = masq_settlement::RouteAuth {
            payer: masq_settlement::Signer::address(&wallet),
            rates,
            max_spend: u128::MAX,
            not_before: now - 1,
            expiry: now + 600,
        };
        let hop_key = masq_settlement::NodeKey(HOP.0);
        let signed = auth.sign(&domain, &hop_key, &ephemeral, &wallet).unwrap();
        let auth = Authorisation {
            kind: masq_settlement::KIND_ROUTE_AUTH,
            body: signed.encode(),
        };
        let neighbour = NodeKey([100 + (n % 5) as u8; 32]);
        tried += 1;
        let served = hop.admit(&Asked {
            from: &neighbour,
            next: None,
            role: Role::Exit,
            auth: &auth,
            ephemeral: &ephemeral,
        });
        let Ok(served) = served else {
            refused += 1;
            continue;
        };
        let running = Running::detached(CircuitId(n.into()));
        served.begun(running.clone());
        while running.given_up().is_none() {
            running.count(Leg::Back, CellSize::Large);
            assert!(running.carried(Leg::Back).cells < 100_000, "it is ended");
        }
        let back = running.carried(Leg::Back);
        served.ended(running.carried(Leg::Over), back, false);
        let carried = masq_settlement::Carried {
            cells: back.cells,
            bytes: back.bytes,
        };
        taken += rates.price_of(masq_settlement::Service::Exit, carried);
    }
    assert_eq!(tried, 1_000);
    assert!(refused > 500, "the pool is empty before: {refused}");
    // Beyond the limit each circuit carried the cell with which it was noticed.
    let cell = masq_settlement::Carried {
        cells: 1,
        bytes: Leg::Back.capacity(CellSize::Large) as u64,
    };
    let cell = rates.price_of(masq_settlement::Service::Exit, cell);
    let most = limits.pool + u128::from(tried - refused) * cell;
    assert!(taken <= most, "{taken} of {most}");
    assert!(taken > limits.pool / 2, "and newcomers do get it: {taken}");
}
