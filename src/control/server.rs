//! Serves the control API: binds, answers, and stops when told.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{api::NodeApi, connections::Places, routes};

/// How long answers that have begun may take once the server stops (guess).
const CLOSING_TIME: Duration = Duration::from_secs(2);

/// What every route has at hand.
pub(super) struct Shared {
    pub(super) node: Arc<dyn NodeApi>,
    pub(super) token: Zeroizing<String>,
    /// Cancelled when the server stops: event streams end.
    pub(super) closing: CancellationToken,
}

/// Why the control API can't be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address can't be listened on.
    #[error("the control API can't listen on {address}: {source}")]
    Bind {
        /// The address, from the setting `control`.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// The control API, bound and not serving yet: so that a port that is taken is
/// noticed before the node starts.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Binds. Port 0 takes any free port.
    ///
    /// # Errors
    ///
    /// [`ServerError::Bind`] when the address is taken or not this machine's.
    pub async fn bind(address: SocketAddr) -> Result<Self, ServerError> {
        let bind = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        match bind.await {
            Ok((listener, address)) => Ok(Self { listener, address }),
            Err(source) => Err(ServerError::Bind { address, source }),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is cancelled; answers that have begun then get two
    /// seconds. Memory: a few kilobytes for each of at most 64 connections.
    pub async fn serve(
        self,
        token: Zeroizing<String>,
        node: Arc<dyn NodeApi>,
        stop: CancellationToken,
    ) {
        let shared = Arc::new(Shared {
            node,
            token,
            closing: stop.clone(),
        });
        let serving = axum::serve(Places::new(self.listener), routes::router(shared))
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::select! {
            _ = serving.into_future() => {}
            () = async {
                stop.cancelled().await;
                tokio::time::sleep(CLOSING_TIME).await;
            } => {}
        }
    }
}
