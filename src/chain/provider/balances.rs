//! Balances of payers, for all of them at once and now and then.
//!
//! Never called because somebody set a circuit up: the provider would see who uses this node when.

use alloy_primitives::Address;
use futures::StreamExt as _;

use super::rpc::{Rpc, RpcError};
use super::{Provider, calls};
use crate::ledger::Funds;

/// Balances read at the same time. A guess that no service minds.
const AT_ONCE: usize = 4;
/// Most payers in one round: the rest has to wait for the next.
pub(super) const MAX_ROUND: usize = 2_000;

impl Provider {
    /// Reads the balances of `payers`, at most 2,000 of them, from one endpoint. Those that
    /// can't be read are missing. May be dropped at any time: it only reads.
    pub async fn funds(&self, payers: &[Address]) -> Vec<(Address, Funds)> {
        for at in self.in_turn(None) {
            let Some(rpc) = self.ready(at).await else {
                continue;
            };
            let token = self.config.token;
            let payers: Vec<Address> = payers.iter().take(MAX_ROUND).copied().collect();
            let reads = payers.into_iter().map(|payer| async move {
                let funds = funds(rpc, token, payer).await;
                funds.map(|funds| (payer, funds))
            });
            let mut reads = futures::stream::iter(reads).buffer_unordered(AT_ONCE);
            let (mut found, mut error) = (Vec::new(), None);
            while let Some(read) = reads.next().await {
                match read {
                    Ok(read) => found.push(read),
                    Err(why) => {
                        error = Some(why);
                        break;
                    }
                }
            }
            match error {
                Some(why) if found.is_empty() => self.failed(at, Some(why.into())),
                _ => return found,
            }
        }
        Vec::new()
    }
}

async fn funds(rpc: &Rpc, token: Address, payer: Address) -> Result<Funds, RpcError> {
    Ok(Funds {
        token: rpc.view_number(token, calls::balance_of(payer)).await?,
        native: rpc.coins(payer).await?,
    })
}
