//! Dials a neighbour that wants to know whether it can be dialled: by the same
//! kind of link as any other, outside the Swarm, so that the link that the two
//! have is left alone. Whom, where and how often is gossip's to decide.

use std::net::IpAddr;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use libp2p::PeerId;
use libp2p::core::Endpoint;
use libp2p::core::transport::{DialOpts, PortUse, Transport};
use libp2p::identity::Keypair;
use masq_gossip::{Address, PROBE_TIMEOUT};
use tokio::time::timeout;

use crate::node::transport::{self, Activity};

/// Dials for neighbours.
#[derive(Clone)]
pub struct Prober {
    key: Keypair,
    source: Option<IpAddr>,
}

impl Prober {
    /// One that dials as the node of this key, from this address of the machine where it is given.
    #[must_use]
    pub fn new(key: Keypair, source: Option<IpAddr>) -> Self {
        Self { key, source }
    }

    /// The first of these ports at which that node proves its key, within [`PROBE_TIMEOUT`]. The
    /// connections are dropped at once. Cancel-safe.
    pub async fn probe(&self, peer: PeerId, addresses: Vec<Address>) -> Option<u16> {
        let Ok(mut links) = transport::plain(&self.key, self.source, None, Activity::default())
        else {
            return None;
        };
        let opts = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let mut dials = FuturesUnordered::new();
        for address in addresses {
            if let Ok(dial) = links.dial(address.multiaddr(), opts) {
                dials.push(async move { (address.port, dial.await) });
            }
        }
        let first = async {
            while let Some((port, dialled)) = dials.next().await {
                if matches!(dialled, Ok((proved, _)) if proved == peer) {
                    return Some(port);
                }
            }
            None
        };
        timeout(PROBE_TIMEOUT, first).await.ok().flatten()
    }
}
