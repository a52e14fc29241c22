//! How two nodes are linked: TCP from this node's own address, noise, yamux.
//!
//! This is the seam for masks (how a link looks to someone watching it). The
//! default mask is plain noise over TCP; another one is another function that
//! returns a [`LinkTransport`]. What travels on a link is not known here.

mod activity;
mod handshakes;
mod muxer;
mod tcp;

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, Transport, upgrade};
use libp2p::identity::Keypair;
use libp2p::{PeerId, noise};

pub use activity::Activity;
pub use muxer::MAX_SUBSTREAMS;

/// Time for TCP, noise and yamux together before an attempt is given up (guess: three round trips
/// of a slow satellite link, and a loaded machine at the other end).
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// A transport that yields authenticated, encrypted, multiplexed links.
pub type LinkTransport = Boxed<(PeerId, StreamMuxerBox)>;

/// The default mask: noise over plain TCP.
///
/// Outgoing connections leave from `source` when it is given, each from a port of its own, so that
/// a node is known by one address and never shows its listening port by dialling. Host names of
/// seeds are looked up with `names`. What links receive shows in
/// `activity`.
///
/// # Errors
/// Fails when noise cannot make its static key.
pub fn plain(
    key: &Keypair,
    source: Option<IpAddr>,
    names: Option<TokioResolver>,
    activity: Activity,
) -> Result<LinkTransport, noise::Error> {
    let links = tcp::BoundTcp::new(source, names)
        .upgrade(upgrade::Version::V1Lazy)
        .authenticate(noise::Config::new(key)?)
        .multiplex(muxer::Config)
        .timeout(UPGRADE_TIMEOUT);
    Ok(handshakes::Handshakes::new(links)
        .map(move |(peer, mut muxer), _| {
            let standing = activity.add(peer, muxer.received());
            muxer.set_standing(standing);
            (peer, StreamMuxerBox::new(muxer))
        })
        .boxed())
}
