//! From the neighbourhood as gossip knows it to the graph as routing wants it.

use masq_gossip::{Neighbourhood, RatePack, Record};

use crate::routing::{Graph, NodeInfo, Rates};

/// The graph in which this node's routes are looked for.
pub(crate) fn of(neighbourhood: &Neighbourhood) -> Graph {
    let mut builder = Graph::builder(neighbourhood.me().0);
    for signed in neighbourhood.records() {
        builder = builder.node(signed.node().0, info(signed.record()));
    }
    builder = builder.node(neighbourhood.me().0, info(neighbourhood.own().record()));
    for (a, b) in neighbourhood.all_edges() {
        builder = builder.edge(a.0, b.0);
    }
    for link in neighbourhood.links() {
        builder = if link.entry.ours() {
            builder.entry(link.node.0)
        } else {
            builder.listed(link.node.0)
        };
    }
    builder.build()
}

impl From<&Neighbourhood> for Graph {
    /// The graph in which the node whose neighbourhood this is looks for its routes.
    fn from(neighbourhood: &Neighbourhood) -> Self {
        of(neighbourhood)
    }
}

impl From<&RatePack> for Rates {
    fn from(pack: &RatePack) -> Self {
        Self {
            routing_byte: pack.routing_byte,
            routing_package: pack.routing_package,
            exit_byte: pack.exit_byte,
            exit_package: pack.exit_package,
        }
    }
}

fn info(record: &Record) -> NodeInfo {
    NodeInfo {
        onion: record.onion,
        routes: record.roles.routes,
        exits: record.roles.exits,
        listed_links: u8::try_from(record.neighbours.len()).unwrap_or(u8::MAX),
        country: record.country,
        rates: Rates::from(&record.rates),
        paid: record.asks_money(),
        // A summary that can't be read says nothing: the exit itself still applies its policy.
        ports: record.policy.parse().unwrap_or_default(),
    }
}
