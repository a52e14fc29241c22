//! Handshakes of those who come to us, bounded so that the ones that stall make
//! room: when all places are taken, the oldest of the address that has most of
//! them is given up. So whoever stalls gives up its own, and somebody new always
//! gets a place, however many connections are held open without a word.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::future::{AbortHandle, Abortable};
use futures::{FutureExt, TryFutureExt};
use libp2p::Multiaddr;
use libp2p::core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};

use super::super::swarm::socket_addr;

/// Handshakes under way at a time. One costs a socket and a few kilobytes, and takes three round
/// trips: sixteen places would do for honest nodes, and more of them make it dearer to push
/// somebody out before it is done. Guess.
const MAX_HANDSHAKES: usize = 64;

/// One customer: an IPv4 address, or an IPv6 /64.
fn source(address: &Multiaddr) -> Option<IpAddr> {
    Some(match socket_addr(address)?.ip().to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & !0 << 64).into(),
    })
}

/// The handshakes that are under way, in the order in which they came.
#[derive(Default)]
struct Table {
    next: u64,
    under_way: BTreeMap<u64, (Option<IpAddr>, AbortHandle)>,
}

impl Table {
    /// Takes one more in; at the bound somebody else's, or an older one of the same source, ends.
    fn admit(&mut self, source: Option<IpAddr>, handle: AbortHandle) -> u64 {
        self.next += 1;
        self.under_way.insert(self.next, (source, handle));
        if self.under_way.len() > MAX_HANDSHAKES
            && let Some(victim) = self.victim()
            && let Some((_, handle)) = self.under_way.remove(&victim)
        {
            handle.abort();
        }
        self.next
    }

    /// The oldest of the source that has most; of several such sources, the oldest of all.
    fn victim(&self) -> Option<u64> {
        let mut of_source: BTreeMap<Option<IpAddr>, (usize, u64)> = BTreeMap::new();
        for (id, (source, _)) in &self.under_way {
            let entry = of_source.entry(*source).or_insert((0, *id));
            entry.0 += 1;
        }
        let most = of_source
            .into_values()
            .max_by_key(|(count, oldest)| (*count, std::cmp::Reverse(*oldest)));
        most.map(|(_, oldest)| oldest)
    }
}

type Shared = Arc<Mutex<Table>>;

fn lock(table: &Shared) -> MutexGuard<'_, Table> {
    // Held for map operations only; none leaves the map half changed.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a handshake out of the table when it ends, in whatever way.
struct Place(Shared, u64);

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.0).under_way.remove(&self.1);
    }
}

/// A transport whose incoming handshakes are bounded.
pub(super) struct Handshakes<T> {
    inner: T,
    table: Shared,
}

impl<T> Handshakes<T> {
    pub(super) fn new(inner: T) -> Self {
        Self {
            inner,
            table: Shared::default(),
        }
    }
}

/// Why a handshake came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError<E> {
    /// It was given up for another one.
    #[error("gave way to another handshake")]
    GaveWay,
    /// It failed by itself.
    #[error(transparent)]
    Failed(#[from] E),
}

type Upgrade<O, E> = Pin<Box<dyn Future<Output = Result<O, HandshakeError<E>>> + Send>>;

impl<T> Transport for Handshakes<T>
where
    T: Transport + Unpin,
    T::Output: 'static,
    T::Error: 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
{
    type Output = T::Output;
    type Error = HandshakeError<T::Error>;
    type ListenerUpgrade = Upgrade<T::Output, T::Error>;
    type Dial = Upgrade<T::Output, T::Error>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<Self::Error>> {
        self.inner
            .listen_on(id, address)
            .map_err(|error| error.map(HandshakeError::Failed))
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<Self::Error>> {
        let dial = self
            .inner
            .dial(address, opts)
            .map_err(|error| error.map(HandshakeError::Failed))?;
        Ok(dial.map_err(HandshakeError::Failed).boxed())
    }

    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        let this = self.get_mut();
        let table = &this.table;
        Pin::new(&mut this.inner).poll(cx).map(|event| match event {
            TransportEvent::Incoming {
                listener_id,
                upgrade,
                local_addr,
                send_back_addr,
            } => {
                let (handle, registration) = AbortHandle::new_pair();
                let id = lock(table).admit(source(&send_back_addr), handle);
                let place = Place(Arc::clone(table), id);
                let upgrade = Abortable::new(upgrade, registration).map(move |done| {
                    drop(place);
                    match done {
                        Ok(done) => done.map_err(HandshakeError::Failed),
                        Err(_) => Err(HandshakeError::GaveWay),
                    }
                });
                TransportEvent::Incoming {
                    listener_id,
                    upgrade: upgrade.boxed(),
                    local_addr,
                    send_back_addr,
                }
            }
            other => other
                .map_upgrade(|_| unreachable!("the only event with an upgrade is matched above"))
                .map_err(HandshakeError::Failed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> Option<IpAddr> {
        source(&format!("/ip4/198.51.100.{last}/tcp/9").parse().unwrap())
    }

    fn admit(table: &mut Table, from: Option<IpAddr>) -> (u64, AbortHandle) {
        let (handle, _) = AbortHandle::new_pair();
        (table.admit(from, handle.clone()), handle)
    }

    #[test]
    fn who_stalls_most_gives_way() {
        let mut table = Table::default();
        let stalled: Vec<_> = (0..MAX_HANDSHAKES)
            .map(|_| admit(&mut table, ip(1)).1)
            .collect();
        let (_, newcomer) = admit(&mut table, ip(2));
        assert!(stalled[0].is_aborted() && !stalled[1].is_aborted());
        // More of the same push out their own.
        for _ in 0..2 * MAX_HANDSHAKES {
            admit(&mut table, ip(1));
        }
        assert!(!newcomer.is_aborted());
        assert_eq!(table.under_way.len(), MAX_HANDSHAKES);
    }

    #[test]
    fn among_equals_the_oldest_gives_way() {
        let mut table = Table::default();
        let places = u8::try_from(MAX_HANDSHAKES).unwrap();
        let stalled: Vec<_> = (0..places).map(|n| admit(&mut table, ip(n)).1).collect();
        let (_, newcomer) = admit(&mut table, ip(200));
        assert!(stalled[0].is_aborted() && !stalled[1].is_aborted());
        assert!(!newcomer.is_aborted());
    }

    #[test]
    fn an_ipv6_customer_is_one_source() {
        let of = |text: &str| source(&text.parse().unwrap());
        assert_eq!(
            of("/ip6/2001:db8:1:2::1/tcp/9"),
            of("/ip6/2001:db8:1:2::ffff/tcp/7")
        );
        assert_ne!(
            of("/ip6/2001:db8:1:2::1/tcp/9"),
            of("/ip6/2001:db8:1:3::1/tcp/9")
        );
        assert_eq!(of("/ip6/::ffff:198.51.100.7/tcp/1"), ip(7));
    }

    #[test]
    fn a_place_is_free_again_when_its_handshake_ends() {
        let table = Shared::default();
        let (handle, _) = AbortHandle::new_pair();
        let id = lock(&table).admit(ip(1), handle);
        drop(Place(Arc::clone(&table), id));
        assert!(lock(&table).under_way.is_empty());
    }
}
