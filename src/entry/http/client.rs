//! The client's socket, wrapped so that what happens to it can be seen while
//! hyper has it, and so that an answer that broke off ends in a reset.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What can be seen of a [`ClientIo`].
#[derive(Debug, Default)]
pub(super) struct Watch {
    half_closed: AtomicBool,
    written: AtomicU64,
    answering: AtomicBool,
}

impl Watch {
    /// Whether the client has ended its half of the connection.
    pub(super) fn half_closed(&self) -> bool {
        self.half_closed.load(Ordering::Relaxed)
    }

    /// Bytes written to the client so far.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Says whether an answer is under way. While one is, closing the socket
    /// resets it: an end of stream could be taken for the end of the answer.
    pub(super) fn answering(&self, under_way: bool) {
        self.answering.store(under_way, Ordering::Relaxed);
    }
}

/// The client's socket.
#[derive(Debug)]
pub(super) struct ClientIo {
    /// `None` only after [`ClientIo::into_socket`].
    socket: Option<TcpStream>,
    watch: Arc<Watch>,
}

impl ClientIo {
    pub(super) fn new(socket: TcpStream) -> (Self, Arc<Watch>) {
        let watch = Arc::<Watch>::default();
        (
            Self {
                socket: Some(socket),
                watch: Arc::clone(&watch),
            },
            watch,
        )
    }

    /// The socket itself; nothing is watched any more.
    pub(super) fn into_socket(mut self) -> TcpStream {
        self.socket
            .take()
            .expect("the socket is taken only here, by value")
    }

    fn socket(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(
            self.socket
                .as_mut()
                .expect("the socket is taken only by value"),
        )
    }

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(n)) = result {
            self.watch.written.fetch_add(*n as u64, Ordering::Relaxed);
        }
    }
}

impl Drop for ClientIo {
    fn drop(&mut self) {
        if let Some(socket) = &self.socket
            && self.watch.answering.load(Ordering::Relaxed)
        {
            // Fails only on a socket that is gone already.
            let _ = socket.set_zero_linger();
        }
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, room) = (buf.filled().len(), buf.remaining());
        let result = self.socket().poll_read(cx, buf);
        if room > 0 && matches!(result, Poll::Ready(Ok(()))) && buf.filled().len() == before {
            self.watch.half_closed.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = self.socket().poll_write(cx, buf);
        self.wrote(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = self.socket().poll_write_vectored(cx, bufs);
        self.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_shutdown(cx)
    }
}
