//! The listener of the control API: a bounded number of connections, and a
//! deadline for those that say nothing.
//!
//! Anybody on this machine can connect, token or not, so a connection costs
//! one of [`MAX_CONNECTIONS`] places and is closed when it has not sent a
//! whole request head in time.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep_until},
};

/// Connections at a time (guess: a dashboard and a few command lines).
pub(super) const MAX_CONNECTIONS: usize = 64;
/// How long a connection may take until its first answer begins. Requests come
/// from this machine, and each is answered in milliseconds (guess).
pub(super) const FIRST_ANSWER: Duration = Duration::from_secs(30);
/// How long a connection may then go without another answer. Event streams send a sign of life
/// every fifteen seconds, so they never come near it.
pub(super) const NEXT_ANSWER: Duration = Duration::from_secs(60);
/// Pause after an error of `accept`, such as too many open files: long enough
/// not to spin, short enough not to be noticed (guess).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A TCP listener with places.
pub(super) struct Places {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Places {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        }
    }
}

impl axum::serve::Listener for Places {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    // Answers are small and waited for.
                    let _ = stream.set_nodelay(true);
                    return (Connection::new(stream, place), peer);
                }
                Err(error) => {
                    tracing::debug!(%error, "control API: accepting failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that holds its place.
pub(super) struct Connection {
    stream: TcpStream,
    /// By when the next answer has to begin. Only answers move it: whoever asks for nothing, or
    /// for something he is not given, in ever so small pieces, loses his place.
    deadline: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit) -> Self {
        Self {
            stream,
            deadline: Box::pin(sleep_until(Instant::now() + FIRST_ANSWER)),
            _place: place,
        }
    }

    fn answering(&mut self) {
        self.deadline.as_mut().reset(Instant::now() + NEXT_ANSWER);
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.answering();
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.answering();
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
