//! The end of a soak: no payment begins any more, those under way become final, all nodes stop in
//! order, and their books are read.

use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::error::TestnetError;
use crate::money::NodeBooks;
use crate::network::Testnet;

/// Debts over the line are paid in this time after the last traffic, where nothing is wrong.
const PAYING: Duration = Duration::from_secs(30);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks in a row at which everything is settled.
const STEADY: u32 = 3;

/// Lets debts be paid for a while, then begins no more payments, and waits until those under way
/// are final. Says how long that took; nothing when it was not done within `limit`.
pub(super) async fn settle(
    net: &mut Testnet,
    limit: Duration,
) -> Result<Option<Duration>, TestnetError> {
    let start = Instant::now();
    tokio::time::sleep(PAYING.min(limit / 2)).await;
    net.check_running()?;
    let pause = |node: &crate::network::RunningNode| node.control().clone();
    let controls: Vec<_> = net.nodes().iter().map(pause).collect();
    for answer in join_all(controls.iter().map(|control| control.pause_payments())).await {
        answer?;
    }
    let mut steady = 0;
    loop {
        net.check_running()?;
        let settled = all(net).await?.iter().all(NodeBooks::is_settled);
        steady = if settled { steady + 1 } else { 0 };
        if steady == STEADY {
            return Ok(Some(start.elapsed()));
        }
        if start.elapsed() > limit {
            return Ok(None);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The books of all nodes, as they tell them.
async fn all(net: &Testnet) -> Result<Vec<NodeBooks>, TestnetError> {
    let ask = net.nodes().iter().filter_map(|node| {
        let wallets = node.wallets()?;
        Some(NodeBooks::ask(node.control(), node.key(), wallets))
    });
    join_all(ask).await.into_iter().collect()
}

/// Stops all nodes in order, one after the other, and reads the books of each from its folder.
pub(super) async fn close(net: &mut Testnet) -> Result<Vec<NodeBooks>, TestnetError> {
    let names: Vec<_> = net.nodes().iter().map(|n| n.name().to_owned()).collect();
    let mut books = Vec::new();
    for name in names {
        let Some(node) = net.stop(&name).await else {
            continue;
        };
        if node.was_killed() {
            return Err(TestnetError::Checks {
                failed: 1,
                checks: 1,
                first: format!("{name} did not stop when asked and was killed"),
            });
        }
        if let Some(wallets) = node.wallets() {
            books.push(NodeBooks::of_folder(&name, node.key(), wallets, &node.data_dir()).await?);
        }
    }
    Ok(books)
}
