//! A stream that stays broken once it is. libp2p's lazily negotiated streams panic
//! when they are written to, flushed or closed after their negotiation failed, and
//! here reading and writing are tasks that do not know of each other's errors.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{AsyncRead, AsyncWrite};

/// Gives the first error for ever after, without asking the stream again.
pub(crate) struct Fused<S> {
    stream: S,
    broken: Option<io::ErrorKind>,
}

impl<S: Unpin> Fused<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            broken: None,
        }
    }

    fn ask<T>(
        &mut self,
        question: impl FnOnce(Pin<&mut S>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Some(kind) = self.broken {
            return Poll::Ready(Err(kind.into()));
        }
        let answer = ready!(question(Pin::new(&mut self.stream)));
        if let Err(error) = &answer {
            self.broken = Some(error.kind());
        }
        Poll::Ready(answer)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Fused<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.ask(|stream| stream.poll_read(cx, buf))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Fused<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.ask(|stream| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.ask(|stream| stream.poll_write_vectored(cx, bufs))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ask(|stream| stream.poll_flush(cx))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ask(|stream| stream.poll_close(cx))
    }
}

#[cfg(test)]
mod tests {
    use futures::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Breaks when it is read, and must not be touched after that.
    struct Touchy(bool);

    impl Touchy {
        fn touch<T>(&mut self) -> Poll<io::Result<T>> {
            assert!(!self.0, "touched after it broke");
            self.0 = true;
            Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
        }
    }

    impl AsyncRead for Touchy {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            self.touch()
        }
    }

    impl AsyncWrite for Touchy {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.touch()
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.touch()
        }

        fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.touch()
        }
    }

    #[tokio::test]
    async fn a_broken_stream_is_not_asked_again() {
        let (mut read, mut write) = Fused::new(Touchy(false)).split();
        let broken = io::ErrorKind::UnexpectedEof;
        assert_eq!(read.read(&mut [0]).await.unwrap_err().kind(), broken);
        assert_eq!(write.write(&[0]).await.unwrap_err().kind(), broken);
        assert_eq!(write.flush().await.unwrap_err().kind(), broken);
        assert_eq!(write.close().await.unwrap_err().kind(), broken);
    }
}
