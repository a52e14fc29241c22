//! When to stop: asked once, open flows may finish; asked twice, at once.

use std::io::{self, Read};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The wish to stop, in two degrees. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    drain: CancellationToken,
    at_once: CancellationToken,
}

impl Stop {
    /// Nobody wants to stop.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop: no new flows, and those that are open may finish within
    /// the configured time. Asked again, it means at once.
    pub fn ask(&self) {
        if self.drain.is_cancelled() {
            self.at_once.cancel();
        }
        self.drain.cancel();
    }

    /// Asks to stop, letting flows finish; asking again changes nothing.
    pub fn ask_to_drain(&self) {
        self.drain.cancel();
    }

    /// Asks to stop at once.
    pub fn ask_at_once(&self) {
        self.drain.cancel();
        self.at_once.cancel();
    }

    /// Whether a stop was asked for, in either degree.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Ready once a stop was asked for, in either degree.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Ready once a stop was asked for without waiting.
    pub async fn at_once(&self) {
        self.at_once.cancelled().await;
    }

    /// A token that is cancelled once a stop was asked for, in either degree.
    #[must_use]
    pub fn drain_token(&self) -> CancellationToken {
        self.drain.clone()
    }

    /// A token that is cancelled once a stop without waiting was asked for.
    #[must_use]
    pub fn at_once_token(&self) -> CancellationToken {
        self.at_once.clone()
    }
}

/// SIGTERM, SIGINT and SIGHUP (the terminal is gone) ask to stop.
pub(super) fn on_signals(stop: &Stop) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let stop = stop.clone();
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                _ = hang_up.recv() => "SIGHUP",
            };
            tracing::info!(signal = name, again = stop.is_draining(), "asked to stop");
            stop.ask();
        }
    });
    Ok(())
}

/// The end of standard input asks to stop: so a program that started the
/// daemon takes it along, however it ends.
pub(super) fn on_closed_stdin(stop: &Stop) {
    let stop = stop.clone();
    // A thread of its own: a blocking read can't be cancelled, and must not
    // hold up the runtime's end.
    let watching = std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || {
            let mut buffer = [0; 64];
            loop {
                match io::stdin().lock().read(&mut buffer) {
                    Ok(0) => break,
                    Err(error) if error.kind() != io::ErrorKind::Interrupted => break,
                    _ => {}
                }
            }
            tracing::info!("standard input closed, stopping");
            stop.ask_to_drain();
        });
    if let Err(error) = watching {
        tracing::warn!(%error, "standard input can't be watched");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asked_twice_means_at_once() {
        let stop = Stop::new();
        let seen = stop.clone();
        assert!(!seen.is_draining());
        stop.ask();
        assert!(seen.is_draining() && !seen.at_once_token().is_cancelled());
        stop.ask_to_drain();
        assert!(!seen.at_once_token().is_cancelled());
        stop.ask();
        assert!(seen.at_once_token().is_cancelled());
    }
}
