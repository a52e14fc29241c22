//! Zero-hop mode: this machine's clients go straight out, under the same
//! policy as an exit's. For trying things; servers see this machine's address.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::{AsyncRead, AsyncWrite, FutureExt};
use masq_cores::flow::{FlowRequest, FlowStatus, Want};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use super::dial::SourceAddresses;
use super::outbound::{Outbound, Refused};
use super::policy::ExitPolicy;
use super::resolver::Resolve;
use crate::entry::{Isolation, Mesh, OpenError, Tunnel};

/// A [`Mesh`] without a mesh.
#[derive(Clone)]
pub struct Direct {
    outbound: Arc<Outbound>,
}

impl Direct {
    /// Connects within `policy`, with names resolved by `resolver`.
    #[must_use]
    pub fn new(policy: ExitPolicy, resolver: Arc<dyn Resolve>) -> Self {
        let outbound = Outbound::new(policy, resolver, SourceAddresses::default());
        Self {
            outbound: Arc::new(outbound),
        }
    }
}

impl std::fmt::Debug for Direct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Direct").finish_non_exhaustive()
    }
}

impl From<Refused> for OpenError {
    fn from(refused: Refused) -> Self {
        Self::Status {
            status: refused.status,
            detail: refused.detail,
        }
    }
}

impl Mesh for Direct {
    fn open(
        &self,
        request: FlowRequest,
        _: Isolation,
    ) -> BoxFuture<'static, Result<Tunnel, OpenError>> {
        let outbound = Arc::clone(&self.outbound);
        async move {
            let FlowRequest::Tcp { host, port } = request else {
                return Err(Refused::from(FlowStatus::Unsupported).into());
            };
            let socket = outbound.connect(host, port).await?;
            Ok(straight(socket))
        }
        .boxed()
    }

    fn resolve(
        &self,
        name: String,
        _: Isolation,
    ) -> BoxFuture<'static, Result<Vec<IpAddr>, OpenError>> {
        let outbound = Arc::clone(&self.outbound);
        async move { Ok(outbound.resolve(&name, Want::Any).await?) }.boxed()
    }

    fn resolve_ptr(
        &self,
        address: IpAddr,
        _: Isolation,
    ) -> BoxFuture<'static, Result<Vec<String>, OpenError>> {
        let outbound = Arc::clone(&self.outbound);
        async move { Ok(outbound.reverse(address).await?) }.boxed()
    }
}

/// A socket to a server as a flow.
pub(crate) fn straight(socket: TcpStream) -> Tunnel {
    Box::new(Straight {
        socket,
        ended: Ended::default(),
    })
}

/// Which directions have ended.
#[derive(Default)]
struct Ended {
    reading: bool,
    writing: bool,
}

/// A socket that behaves as flows do: dropped before both directions have
/// ended, it is reset.
struct Straight {
    socket: TcpStream,
    ended: Ended,
}

impl Drop for Straight {
    fn drop(&mut self) {
        if !(self.ended.reading && self.ended.writing) {
            // Fails only on a socket that is gone already.
            let _ = self.socket.set_zero_linger();
        }
    }
}

impl AsyncRead for Straight {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let mut buf = ReadBuf::new(buf);
        let read = Pin::new(&mut self.socket).poll_read(cx, &mut buf);
        read.map_ok(|()| {
            let n = buf.filled().len();
            self.ended.reading |= n == 0;
            n
        })
    }
}

impl AsyncWrite for Straight {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.socket).poll_shutdown(cx);
        if matches!(closed, Poll::Ready(Ok(()))) {
            self.ended.writing = true;
        }
        closed
    }
}
