//! Logs: what is written, how it looks, and what must not be in it.
//!
//! **The rule**: destinations, addresses, wallets and keys appear in events of
//! level TRACE and nowhere else. Code that mentions one wraps it in
//! [`Sensitive`], which shows `[scrubbed]` in every other event, so that a
//! mistake in a level does not give anybody away. Dependencies are cut to
//! errors unless a filter names them, because they don't keep the rule.
//!
//! Metrics are not here yet.

mod filter;
mod memory;
mod sensitive;

pub use filter::LogFilter;
pub use memory::resident_memory;
pub use sensitive::Sensitive;

use tracing_subscriber::{EnvFilter, fmt::format};

use crate::config::LogFormat;

/// Starts logging to standard error, for the whole process.
///
/// When logging was started before (a program that embeds a node has its own),
/// that stays as it is, and `false` comes back.
pub fn init(filter: &LogFilter, log_format: LogFormat) -> bool {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter.directives()))
        .with_writer(std::io::stderr);
    let started = match log_format {
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .event_format(sensitive::Revealing(format().json().flatten_event(true)))
            .try_init(),
        _ => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .event_format(sensitive::Revealing(format()))
            .try_init(),
    };
    started.is_ok()
}
