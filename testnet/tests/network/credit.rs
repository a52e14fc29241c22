//! Scenarios S27 and S31 with real processes, on terms as small as those of production: what a hop
//! gives on trust runs out, prepaying opens the account again, by hand and within a budget, who can't
//! pay is told so, and a price ceiling holds.

use std::collections::BTreeSet;
use std::time::Duration;

use masq::ledger::limits::{FIRST_BYTES, Limits};
use masq::ledger::price::DEFAULT_RATES;
use masq::ledger::{TOKEN, Wei};
use masq_testnet::Testnet;
use masq_testnet::money::judge::in_flight;
use toml::Table;

use crate::payer::{Doorman, Funded, PAID_WITHIN, Payer, fund_well, hop_books, trusting};
use crate::support::{alone, down, eventually};

/// What hops give on trust, in bytes through the exit: enough for some circuits, each of which holds
/// the price of 256 kB.
const CREDIT: u64 = 4_000_000;
/// A download that is several times as much.
const LARGE: &str = "/bytes/12000000";
const LARGE_LEN: u64 = 12_000_000;
/// Nodes of the mesh. Each can have four links to the others, so each has room for a payer.
const NODES: usize = 5;
/// What the client's node asks for: twice the default rates.
const DEAR: &str = "rates = \"550000|550000000|1100000|1100000000\"";
/// Times that a user tries a download again before he gives up: each may stop at another hop.
const PATIENCE: usize = 12;

fn settings(text: &str) -> Table {
    text.parse().unwrap()
}

fn first() -> Wei {
    let usual = Limits::from_rates(&DEFAULT_RATES).unwrap();
    usual.first * Wei::from(CREDIT) / Wei::from(FIRST_BYTES)
}

/// The hops that have refused a payer, by its own status.
async fn refusers(payer: &Payer) -> BTreeSet<String> {
    let status = payer.masq(&["payments", "status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let notices = status["notices"].as_array().unwrap().iter();
    let said = notices.filter_map(|notice| notice["what"].as_str());
    let name = |said: &str| {
        let (name, why) = said
            .strip_prefix("Node ")?
            .split_once(" refused to serve: ")?;
        assert!(
            why.contains("its credit for this node is used up; prepaying 0.0"),
            "{why}"
        );
        Some(name.to_owned())
    };
    said.filter_map(name).collect()
}

/// What a payer has left at a hop of what it paid in advance.
async fn prepaid(net: &Testnet, hop: &str, payer: &Payer) -> Option<Wei> {
    let books = hop_books(net, hop).await;
    let mut accounts = books.accounts.iter();
    let account = accounts.find(|account| account.wallet == payer.wallets.consuming)?;
    Some(account.prepaid)
}

/// A download stops in the middle, its user is told why, prepays who refused, and then it works.
async fn by_hand(net: &Testnet) {
    let payer = Payer::ready(net, 1, Funded::Well, settings("prepay_budget = \"0\"")).await;
    payer.get(net, "/").await.unwrap();
    let broken = payer.get(net, LARGE).await.unwrap_err();
    assert!(!refusers(&payer).await.is_empty(), "{broken}");
    let log = payer.log();
    assert!(log.contains("a hop refuses to serve"), "{log}");
    // Nobody got more than the trust and what was on its way.
    for node in net.nodes() {
        let books = hop_books(net, node.name()).await;
        let mut accounts = books.accounts.iter();
        let account = accounts.find(|account| account.wallet == payer.wallets.consuming);
        let unpaid = account.map_or(0, |account| account.unpaid);
        let most = first() + in_flight();
        assert!(unpaid <= most, "{}: {unpaid} of {most}", node.name());
    }

    let amount = TOKEN / 10_000;
    let mut done = BTreeSet::new();
    let mut words = BTreeSet::new();
    for _ in 0..PATIENCE {
        for hop in refusers(&payer).await {
            if !done.insert(hop.clone()) {
                continue;
            }
            payer.masq(&["prepay", &hop, "0.0001", "--yes"]).await;
            let node = net.nodes().iter().find(|node| node.key().starts_with(&hop));
            let name = node.unwrap().name().to_owned();
            eventually("credit at the hop", PAID_WITHIN, || async {
                let left = prepaid(net, &name, &payer).await?;
                (left > amount / 2).then_some(())
            })
            .await;
        }
        match payer.get(net, LARGE).await {
            Ok(len) => {
                assert_eq!(len, LARGE_LEN);
                break;
            }
            Err(why) => words.insert(why),
        };
    }
    assert_eq!(payer.get(net, LARGE).await, Ok(LARGE_LEN), "{words:#?}");
    let paid = payer.paid(net).await;
    assert_eq!(paid.len(), done.len(), "one payment for each order");
    assert!(paid.iter().all(|transfer| transfer.amount >= amount));
    payer.settled_well(net, LARGE).await;
}

/// Who can't pay gets what is given on trust at most, and is told; once he can, he is served.
async fn unfunded(net: &Testnet, number: u8, funded: Funded, words: &str) {
    let payer = Payer::ready(net, number, funded, Table::new()).await;
    let told = payer
        .get_until(net, "/", PAID_WITHIN, |got| {
            got.clone().err().filter(|said| said.contains(words))
        })
        .await;
    assert!(told.contains("refuses to serve"), "{told}");
    assert!(payer.paid(net).await.is_empty());
    fund_well(net, payer.wallets.consuming).await;
    payer
        .get_until(net, "/", PAID_WITHIN, |got| got.clone().ok())
        .await;
}

async fn gets_large(payer: &Payer, net: &Testnet) {
    let len = payer
        .get_until(net, LARGE, PAID_WITHIN, |got| got.clone().ok())
        .await;
    assert_eq!(len, LARGE_LEN);
}

/// A download larger than the trust goes through, because the node prepays by itself.
async fn by_itself(net: &Testnet) {
    let budget = TOKEN / 1_000;
    let more = settings("prepay_budget = \"0.001\"");
    let payer = Payer::ready(net, 6, Funded::Well, more).await;
    gets_large(&payer, net).await;
    gets_large(&payer, net).await;
    let paid = payer.paid(net).await;
    let sum: Wei = paid.iter().map(|transfer| transfer.amount).sum();
    assert!(sum > 0 && sum <= budget, "{sum} of {budget}");
    payer.settled_well(net, LARGE).await;
}

/// A budget that is used up is never exceeded, and the user is told.
async fn used_up(net: &Testnet) {
    // 16 MB through the exit, in eight advances at most.
    let budget = first() * 4;
    let more = format!("prepay_budget = \"0.{budget:018}\"");
    let payer = Payer::ready(net, 7, Funded::Well, settings(&more)).await;
    let told = payer
        .get_until(net, LARGE, Duration::from_secs(90), |got| {
            let words = "prepay_budget of today is used up";
            got.clone().err().filter(|said| said.contains(words))
        })
        .await;
    assert!(told.contains("masq prepay"), "{told}");
    let status = payer.masq(&["payments", "status"]).await;
    assert!(status.contains("prepay_budget of today"), "{status}");
    let paid = payer.paid(net).await;
    let sum: Wei = paid.iter().map(|transfer| transfer.amount).sum();
    assert!(sum > 0 && sum <= budget, "{sum} of {budget}");
}

/// Its chain is asked by exits only, whose addresses are not its own, and payments are made.
async fn through_the_mesh(net: &Testnet) {
    let exits: BTreeSet<_> = net
        .nodes()
        .iter()
        .filter(|node| node.role() == masq_testnet::Role::Exit)
        .map(|node| node.process().pid)
        .collect();
    let rpc = net.bank().unwrap().state().rpc;
    let door = Doorman::before(&rpc, exits.iter().copied().collect()).await;
    let more = format!(
        "prepay_budget = \"0.001\"\nrpc_via_mesh = true\nrpc = [\"{}\"]",
        door.url
    );
    let payer = Payer::start(net, 8, Funded::Well, settings(&more)).await;
    // Without a route nothing is known yet, and that is no fault that ends anything.
    let status = payer.masq(&["payments", "status"]).await;
    assert!(!status.contains("halted"), "{status}");
    payer.routed().await;
    gets_large(&payer, net).await;
    assert!(!payer.paid(net).await.is_empty());
    payer.settled_well(net, LARGE).await;
    let seen = door.seen();
    assert!(!seen.is_empty(), "nobody asked");
    let only_exits = seen
        .iter()
        .all(|who| who.is_some_and(|pid| exits.contains(&pid)));
    assert!(only_exits, "{seen:?} of {exits:?}");
}

/// Hops above the ceiling are not used, and where all are, the user is told.
async fn under_a_ceiling(net: &Testnet) {
    let ceiling = |rates: [u64; 4]| {
        let rates = rates.map(|rate| rate.to_string()).join("|");
        settings(&format!("price_ceiling = \"{rates}\""))
    };
    let usual = ceiling([
        DEFAULT_RATES.routing_byte,
        DEFAULT_RATES.routing_package,
        DEFAULT_RATES.exit_byte,
        DEFAULT_RATES.exit_package,
    ]);
    let payer = Payer::start(net, 4, Funded::Well, usual).await;
    // A node whose one entry is the dear one has no route at all, and is told as well.
    let served = payer
        .get_until(net, "/", PAID_WITHIN, |got| match got {
            Ok(_) => Some(true),
            Err(said) => said.contains("ceiling").then_some(false),
        })
        .await;
    for _ in 0..20 {
        if served {
            // Whatever comes of it: other payers take what is given on trust as well.
            let _ = payer.get(net, "/bytes/20000").await;
        }
    }
    let debts = eventually("what was used in the books", PAID_WITHIN, || async {
        let debts = payer.books().await.debts;
        (debts.is_empty() != served).then_some(debts)
    })
    .await;
    let dear = net.client().key();
    assert!(debts.iter().all(|debt| debt.node != dear));
}

async fn under_a_ceiling_below_all(net: &Testnet) {
    let mean = settings("price_ceiling = \"1|1|1|1\"");
    let payer = Payer::start(net, 5, Funded::Well, mean).await;
    let told = payer
        .get_until(net, "/", PAID_WITHIN, |got| {
            got.clone().err().filter(|said| said.contains("ceiling"))
        })
        .await;
    assert!(told.contains("no route"), "{told}");
    assert!(payer.books().await.debts.is_empty());
}

/// Who pays nobody asks nobody who wants to be paid, and tells its programs why.
async fn pays_nobody(net: &Testnet) {
    let payer = Payer::start(net, 9, Funded::Not, settings("payments = false")).await;
    let told = payer
        .get_until(net, "/", PAID_WITHIN, |got| {
            assert!(got.is_err(), "served for nothing");
            let words = "payments are off here";
            got.clone().err().filter(|said| said.contains(words))
        })
        .await;
    assert!(told.contains("no known exit serves unpaid"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s27_s31_small_credit_prepaying_and_price_ceilings() {
    let _alone = alone();
    let mut wanted = trusting(CREDIT, NODES);
    wanted.client_settings = settings(DEAR);
    let net = Testnet::up(wanted).await.unwrap();
    // Three at a time: more would find no neighbour with room.
    let (tokens, coin) = (
        "the wallet's balance is below",
        "too little of the chain's own coin",
    );
    tokio::join!(
        by_hand(&net),
        unfunded(&net, 2, Funded::Not, tokens),
        unfunded(&net, 3, Funded::WithoutCoin, coin),
    );
    tokio::join!(
        under_a_ceiling(&net),
        under_a_ceiling_below_all(&net),
        pays_nobody(&net)
    );
    tokio::join!(by_itself(&net), used_up(&net), through_the_mesh(&net));
    down(net).await;
}
