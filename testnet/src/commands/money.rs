//! The money of a mesh that is up, for `masq-testnet status`.

use std::io::{self, Write};

use futures::future::join_all;
use serde::Serialize;

use crate::client::NodeClient;
use crate::error::TestnetError;
use crate::money::show::{self, OwedRow, PaidRow};
use crate::money::{MoneyState, NodeBooks, transfers};
use crate::state::{NetworkState, NodeState};

/// Most rows of a table for people.
const ROWS: usize = 20;

/// Who owes whom and who paid.
#[derive(Debug, Serialize)]
pub(super) struct MoneyReport {
    #[serde(flatten)]
    state: MoneyState,
    owed: Vec<OwedRow>,
    paid: Vec<PaidRow>,
    /// Nodes that did not tell, each with the reason.
    silent: Vec<String>,
}

/// Asks all nodes and the chain; nothing where the mesh has no money.
pub(super) async fn look(state: &NetworkState) -> Result<Option<MoneyReport>, TestnetError> {
    let Some(money) = &state.money else {
        return Ok(None);
    };
    let ask = |node: &NodeState| {
        let client = NodeClient::new(&node.name, &node.data_dir);
        let (key, wallets) = (node.key.clone(), node.wallets);
        async move { Some(NodeBooks::ask(&client, key, wallets?).await) }
    };
    let (mut books, mut silent) = (Vec::new(), Vec::new());
    for answer in join_all(state.nodes.iter().map(ask)).await {
        match answer {
            Some(Ok(told)) => books.push(told),
            Some(Err(error)) => silent.push(error.to_string()),
            None => {}
        }
    }
    let transfers = transfers(money).await?;
    Ok(Some(MoneyReport {
        state: money.clone(),
        owed: show::owed(&books),
        paid: show::paid(&books, &transfers),
        silent,
    }))
}

impl MoneyReport {
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        show::summary(out, &self.state, &self.owed, &self.paid)?;
        show::owed_table(out, &self.owed, ROWS)?;
        writeln!(out)?;
        show::paid_table(out, &self.paid, ROWS)?;
        for reason in &self.silent {
            writeln!(out, "{reason}")?;
        }
        writeln!(out)
    }
}
