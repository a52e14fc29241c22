//! [`Sensitive`]: a value that log lines show at level TRACE only.

use std::{cell::Cell, fmt};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// What is shown instead.
const SCRUBBED: &str = "[scrubbed]";

thread_local! {
    /// True while the formatter of [`super::init`] writes an event of level
    /// TRACE. Values are formatted in that very call, on that very thread.
    static REVEAL: Cell<bool> = const { Cell::new(false) };
}

/// A destination, address, wallet or key on its way into a log line.
///
/// `Display` and `Debug` show `[scrubbed]`, except inside an event of level
/// TRACE that [`super::init`]'s logger writes. Fields of spans are never shown:
/// spans outlive the event.
///
/// ```
/// use masq::telemetry::Sensitive;
///
/// let target = Sensitive("example.org:443");
/// assert_eq!(format!("could not reach {target}"), "could not reach [scrubbed]");
/// tracing::trace!(%target, "opening a flow"); // shown, if TRACE is logged at all
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sensitive<T>(pub T);

impl<T: fmt::Display> fmt::Display for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if REVEAL.get() {
            self.0.fmt(f)
        } else {
            f.write_str(SCRUBBED)
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if REVEAL.get() {
            self.0.fmt(f)
        } else {
            f.write_str(SCRUBBED)
        }
    }
}

/// Sets [`REVEAL`] for as long as it lives, and puts it back.
struct Reveal(bool);

impl Reveal {
    fn during(reveal: bool) -> Self {
        Self(REVEAL.replace(reveal))
    }
}

impl Drop for Reveal {
    fn drop(&mut self) {
        REVEAL.set(self.0);
    }
}

/// An event formatter that lets [`Sensitive`] values show in TRACE events.
pub(super) struct Revealing<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for Revealing<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let _reveal = Reveal::during(*event.metadata().level() == Level::TRACE);
        self.0.format_event(context, writer, event)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn logged(json: bool) -> String {
        let lines = Lines::default();
        let builder = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_writer(lines.clone());
        let work = || {
            let target = Sensitive("secret.example");
            let _span = tracing::info_span!("flow", place = %target).entered();
            tracing::info!(%target, "at info");
            tracing::debug!("at debug {target:?}");
            tracing::trace!(%target, "at trace");
            tracing::warn!("again {target}");
        };
        if json {
            let format = tracing_subscriber::fmt::format().json();
            let builder = builder.json().event_format(Revealing(format));
            tracing::subscriber::with_default(builder.finish(), work);
        } else {
            let format = tracing_subscriber::fmt::format();
            let builder = builder.with_ansi(false).event_format(Revealing(format));
            tracing::subscriber::with_default(builder.finish(), work);
        }
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn shown_at_trace_and_nowhere_else() {
        for json in [false, true] {
            let text = logged(json);
            let lines: Vec<_> = text.lines().collect();
            assert_eq!(lines.len(), 4, "{text}");
            for line in lines {
                assert_eq!(line.contains("secret"), line.contains("at trace"), "{line}");
                assert!(line.contains(SCRUBBED), "{line}");
            }
        }
    }

    #[test]
    fn scrubbed_outside_of_logs() {
        assert_eq!(
            format!("{} {:?}", Sensitive(1), Sensitive("x")),
            "[scrubbed] [scrubbed]"
        );
    }
}
