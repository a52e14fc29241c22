//! The end of the demonstration: the client's node stops, and its bill is drawn up from its books,
//! the hops' books and the chain.

use std::io::Write;
use std::time::{Duration, Instant};

use futures::future::join_all;
use masq::control::types::CircuitView;
use masq::ledger::price::DEFAULT_RATES;

use super::follow::Check;
use crate::error::TestnetError;
use crate::money::bill::{Bill, hops, nameless};
use crate::money::{Bank, NodeBooks, transfers};
use crate::network::{DownNode, Testnet};

/// How long the first payments may take.
const PAID_WITHIN: Duration = Duration::from_secs(60);
/// How long the hops may take to have in their books what is in the client's.
const EQUAL_WITHIN: Duration = Duration::from_secs(15);
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Waits for payments, stops the client's node, and draws up its bill for `circuit`. Returns what
/// was checked.
pub(super) async fn settle(
    net: &mut Testnet,
    circuit: &CircuitView,
    out: &mut (dyn Write + Send),
) -> Result<Vec<Check>, TestnetError> {
    let Some(money) = net.bank().map(Bank::state) else {
        return Ok(Vec::new());
    };
    let (client, key) = (net.client().name().to_owned(), net.client().key());
    let names: Vec<_> = net
        .nodes()
        .iter()
        .map(|node| (node.key(), node.name().to_owned()))
        .collect();
    let name = |key: &str| {
        let known = names.iter().find(|(known, _)| known == key);
        known.map_or_else(|| nameless(key), |(_, name)| name.clone())
    };
    let circuit = latest(net, circuit).await?;
    paid(net).await?;
    let wallets = net.client().wallets();
    let data_dir = net.client().data_dir();
    let stopped = net.stop(&client).await;
    let broken = stopped.as_ref().map_or(0, DownNode::broken_circuits);
    let mut checks = vec![Check {
        what: "the client's node stopped when asked".to_owned(),
        failed: stopped
            .is_none_or(|node| node.was_killed())
            .then(|| "it was killed".to_owned()),
    }];
    let Some(wallets) = wallets else {
        return Ok(checks);
    };
    let own = NodeBooks::of_folder(&client, key, wallets, &data_dir).await?;
    let start = Instant::now();
    let bill = loop {
        let mut books = all(net).await?;
        books.push(own.clone());
        let lines = hops(&circuit, &DEFAULT_RATES, name);
        let bill = Bill::new(&client, lines, &books, &transfers(&money).await?, broken);
        let limit = if broken == 0 {
            EQUAL_WITHIN
        } else {
            EQUAL_WITHIN / 3
        };
        if bill.is_equal() || start.elapsed() > limit {
            break bill;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    // A reader who went away does not stop the checks.
    let _ = bill.write(out);
    checks.extend(bill.checks());
    Ok(checks)
}

/// The circuit as it is now; as it was when it has ended since.
async fn latest(net: &Testnet, circuit: &CircuitView) -> Result<CircuitView, TestnetError> {
    let now = net.client().control().circuits().await?;
    let same = now.into_iter().find(|now| now.id == circuit.id);
    Ok(same.unwrap_or_else(|| circuit.clone()))
}

/// The books of all nodes that run and have wallets.
async fn all(net: &Testnet) -> Result<Vec<NodeBooks>, TestnetError> {
    let ask = net.nodes().iter().filter_map(|node| {
        let wallets = node.wallets()?;
        Some(NodeBooks::ask(node.control(), node.key(), wallets))
    });
    join_all(ask).await.into_iter().collect()
}

/// Waits until the client has paid somebody and has no payment under way, or the time is up; what
/// is missing then is told by the bill.
async fn paid(net: &Testnet) -> Result<(), TestnetError> {
    let client = net.client();
    let Some(wallets) = client.wallets() else {
        return Ok(());
    };
    let start = Instant::now();
    while start.elapsed() < PAID_WITHIN {
        let books = NodeBooks::ask(client.control(), client.key(), wallets).await?;
        let paid = books.debts.iter().any(|debt| debt.paid > 0);
        if paid && books.is_settled() {
            break;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}
