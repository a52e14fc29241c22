//! What nodes ask for, by their records.

use std::collections::BTreeSet;

use alloy_primitives::Address;
use masq_gossip::{NodeKey, RatePack};
use tokio::sync::watch;

use super::view::View;
use crate::billing::Prices;

/// The prices of whatever records are known at the time.
pub(crate) struct RecordPrices(pub(crate) watch::Receiver<View>);

impl Prices for RecordPrices {
    fn of(&self, node: &masq_cores::NodeKey) -> Option<(RatePack, Option<Address>)> {
        let neighbourhood = self.0.borrow().neighbourhood.clone();
        let record = neighbourhood.record(&NodeKey::from(node.0))?;
        let wallet = Address::from(record.earning_wallet);
        // Whoever names no wallet asks for nothing.
        Some((record.rates, record.asks_money().then_some(wallet)))
    }

    fn known(&self) -> BTreeSet<NodeKey> {
        let neighbourhood = self.0.borrow().neighbourhood.clone();
        neighbourhood
            .records()
            .map(|record| record.node())
            .collect()
    }
}
