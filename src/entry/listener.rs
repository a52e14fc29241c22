//! The listening sockets of the entry: binding them, taking connections within
//! bounds, and letting go of them when the node stops.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::failure::Failure;
use super::plaintext::is_plaintext_port;
use super::stats::{Counted, EntryStatus, Stats};
use super::target::Target;
use super::{Isolation, Mesh, Tunnel, http, socks};
use crate::config::Plaintext;
use crate::pipe::PipeLimits;

/// Client connections carried at once by default; more wait in the kernel's
/// queue (guess: a thousand parallel fetches, twice).
pub const DEFAULT_MAX_CONNECTIONS: usize = 2_048;

/// How long flows may go on by default after the node was told to stop
/// (guess: what service managers wait, less a margin).
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(10);

/// Pause after a failed accept, such as when file descriptors run out
/// (guess).
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// How long forced closing may take after draining (guess: aborted tasks only
/// have to be dropped).
const ABORT_TIME: Duration = Duration::from_secs(2);

/// What to listen on, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EntryConfig {
    /// Address of the SOCKS proxy; `None` turns it off.
    pub socks: Option<SocketAddr>,
    /// Address of the HTTP proxy; `None` turns it off.
    pub http: Option<SocketAddr>,
    /// What to do about plaintext destinations.
    pub plaintext: Plaintext,
    /// Connections carried at once, both listeners together; at least one.
    /// A stalled one holds up to about 128 KiB.
    pub max_connections: usize,
    /// How long flows may go on after the node was told to stop.
    pub drain: Duration,
}

impl Default for EntryConfig {
    fn default() -> Self {
        Self {
            socks: Some(SocketAddr::from(([127, 0, 0, 1], 1080))),
            http: Some(SocketAddr::from(([127, 0, 0, 1], 8118))),
            plaintext: Plaintext::Flag,
            max_connections: DEFAULT_MAX_CONNECTIONS,
            drain: DEFAULT_DRAIN,
        }
    }
}

/// A listener that could not be opened. The operator's to put right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Another program listens there.
    #[error(
        "{address} is in use by another program; stop that, or choose another address with the \
         setting `{setting}` (\"off\" turns it off)"
    )]
    InUse {
        /// Name of the setting that has the address.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// The system does not let this user listen there.
    #[error(
        "not allowed to listen on {address}; choose a port of 1024 or above with the setting \
         `{setting}`"
    )]
    NotAllowed {
        /// Name of the setting that has the address.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("cannot listen on {address} (setting `{setting}`): {source}")]
    Bind {
        /// Name of the setting that has the address.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// The bound listeners, not yet serving.
#[derive(Debug)]
pub struct Entry {
    config: EntryConfig,
    socks: Option<TcpListener>,
    http: Option<TcpListener>,
    handle: EntryHandle,
}

/// What others may know of a running entry. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EntryHandle {
    stats: Arc<Stats>,
    socks: Option<SocketAddr>,
    http: Option<SocketAddr>,
}

impl EntryHandle {
    /// A moment's view of what the entry is doing.
    #[must_use]
    pub fn status(&self) -> EntryStatus {
        self.stats.snapshot()
    }

    /// Where the SOCKS proxy listens, with the port the system chose where 0
    /// was asked for.
    #[must_use]
    pub fn socks_addr(&self) -> Option<SocketAddr> {
        self.socks
    }

    /// Where the HTTP proxy listens.
    #[must_use]
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http
    }
}

impl Entry {
    /// Opens the listeners that `config` asks for.
    ///
    /// # Errors
    ///
    /// [`EntryError`], a sentence that names the setting to change.
    pub async fn bind(config: EntryConfig) -> Result<Self, EntryError> {
        let socks = bind("socks", config.socks).await?;
        let http = bind("http", config.http).await?;
        let local = |listener: &Option<TcpListener>| listener.as_ref()?.local_addr().ok();
        let handle = EntryHandle {
            stats: Arc::default(),
            socks: local(&socks),
            http: local(&http),
        };
        Ok(Self {
            config,
            socks,
            http,
            handle,
        })
    }

    /// A handle to ask for addresses and counters.
    #[must_use]
    pub fn handle(&self) -> EntryHandle {
        self.handle.clone()
    }

    /// Serves clients until `shutdown`, then lets open flows go on for
    /// [`EntryConfig::drain`], resets what is left, and returns.
    ///
    /// Dropping the future stops listening; connections already taken go on.
    pub async fn serve(self, mesh: Arc<dyn Mesh>, shutdown: CancellationToken) {
        let Self {
            config,
            socks,
            http,
            handle,
        } = self;
        let abort = CancellationToken::new();
        let shared = Arc::new(Shared {
            mesh,
            plaintext: config.plaintext,
            stats: handle.stats,
            pipe_limits: PipeLimits::default(),
            tasks: TaskTracker::new(),
            draining: shutdown,
            abort: abort.clone(),
            slots: Arc::new(Semaphore::new(
                config.max_connections.clamp(1, Semaphore::MAX_PERMITS),
            )),
        });
        tokio::join!(
            accept_all(socks, Protocol::Socks, &shared),
            accept_all(http, Protocol::Http, &shared),
        );
        shared.tasks.close();
        if timeout(config.drain, shared.tasks.wait()).await.is_err() {
            tracing::info!(
                left = shared.tasks.len(),
                "resetting connections that are still open"
            );
            abort.cancel();
            let _ = timeout(ABORT_TIME, shared.tasks.wait()).await;
        }
    }
}

async fn bind(
    setting: &'static str,
    address: Option<SocketAddr>,
) -> Result<Option<TcpListener>, EntryError> {
    let Some(address) = address else {
        return Ok(None);
    };
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(source) => Err(match source.kind() {
            io::ErrorKind::AddrInUse => EntryError::InUse { setting, address },
            io::ErrorKind::PermissionDenied => EntryError::NotAllowed { setting, address },
            _ => EntryError::Bind {
                setting,
                address,
                source,
            },
        }),
    }
}

#[derive(Debug, Clone, Copy)]
enum Protocol {
    Socks,
    Http,
}

async fn accept_all(listener: Option<TcpListener>, protocol: Protocol, shared: &Arc<Shared>) {
    let Some(listener) = listener else { return };
    loop {
        let next = async {
            // First the place, then the connection: who finds no place waits
            // in the kernel's queue instead of being turned away.
            let slot = Arc::clone(&shared.slots).acquire_owned().await;
            (listener.accept().await, slot)
        };
        let (accepted, slot) = tokio::select! {
            () = shared.draining.cancelled() => return,
            next = next => next,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "cannot take a client's connection");
                sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        // Small writes must not wait for acknowledgements; a socket that
        // cannot do this is dead, and reading it will say so.
        let _ = socket.set_nodelay(true);
        let shared_here = Arc::clone(shared);
        shared.spawn(async move {
            let _slot = slot;
            let _counted = shared_here.stats.connection();
            serve_one(socket, protocol, shared_here).await;
        });
    }
}

async fn serve_one(socket: TcpStream, protocol: Protocol, shared: Arc<Shared>) {
    match protocol {
        Protocol::Socks => socks::serve(socket, shared).await,
        Protocol::Http => http::serve(socket, shared).await,
    }
}

/// What every connection of the entry shares.
pub(super) struct Shared {
    pub(super) mesh: Arc<dyn Mesh>,
    plaintext: Plaintext,
    pub(super) stats: Arc<Stats>,
    pub(super) pipe_limits: PipeLimits,
    tasks: TaskTracker,
    /// The node is stopping: finish what is going on, begin nothing new.
    pub(super) draining: CancellationToken,
    abort: CancellationToken,
    slots: Arc<Semaphore>,
}

impl Shared {
    /// Runs `work` for as long as the entry lives; bounded by the connections
    /// on whose behalf it runs.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let abort = self.abort.clone();
        self.tasks.spawn(async move {
            // Dropping the work resets what it holds.
            let _ = abort.run_until_cancelled(work).await;
        });
    }

    /// Opens a flow to `target`, if the settings allow it, and counts it for
    /// as long as the guard lives. Whether it is plaintext is told by its port.
    pub(super) async fn open(
        &self,
        target: Target,
        isolation: Isolation,
    ) -> Result<(Tunnel, Counted), Failure> {
        if is_plaintext_port(target.port) {
            self.check_plaintext(target.port)?;
        }
        self.open_checked(target, isolation).await
    }

    /// As [`Shared::open`], for traffic that is known to be plaintext whatever
    /// its port.
    pub(super) async fn open_plaintext(
        &self,
        target: Target,
        isolation: Isolation,
    ) -> Result<(Tunnel, Counted), Failure> {
        self.check_plaintext(target.port)?;
        self.open_checked(target, isolation).await
    }

    async fn open_checked(
        &self,
        target: Target,
        isolation: Isolation,
    ) -> Result<(Tunnel, Counted), Failure> {
        match self.mesh.open(target.into_request(), isolation).await {
            Ok(tunnel) => Ok((tunnel, self.stats.flow())),
            Err(error) => {
                self.stats.flow_failed();
                let failure = Failure::from(error);
                tracing::debug!(why = failure.wording().sentence, "flow not opened");
                Err(failure)
            }
        }
    }

    fn check_plaintext(&self, port: u16) -> Result<(), Failure> {
        let first = self.stats.plaintext();
        match self.plaintext {
            Plaintext::Allow => Ok(()),
            Plaintext::Flag => {
                if first {
                    tracing::warn!(
                        "a program uses a destination without encryption; the exit can read what \
                         is sent there (setting `plaintext`; said once, counted in the status)"
                    );
                }
                Ok(())
            }
            Plaintext::Refuse => Err(Failure::Plaintext { port }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_names_the_setting() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = EntryConfig {
            socks: None,
            http: Some(taken.local_addr().unwrap()),
            ..EntryConfig::default()
        };
        let sentence = Entry::bind(config).await.unwrap_err().to_string();
        assert!(
            sentence.contains("in use") && sentence.contains("setting `http`"),
            "{sentence}"
        );
    }

    #[tokio::test]
    async fn listeners_can_be_off() {
        let config = EntryConfig {
            socks: None,
            http: None,
            ..EntryConfig::default()
        };
        let entry = Entry::bind(config).await.unwrap();
        assert_eq!(entry.handle().socks_addr(), None);
        assert_eq!(entry.handle().status(), EntryStatus::default());
    }
}
