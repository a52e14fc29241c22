//! The setting `log`: a level for this program, or filters by module.

use std::fmt;

use tracing_subscriber::EnvFilter;

use crate::config::BadValue;

/// The crates that are this program. The plain levels apply to them.
const OWN: &[&str] = &[
    "masq",
    "masq_gossip",
    "masq_cores",
    "masq_onion",
    "masq_testnet",
];

/// The plain levels.
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// What is logged: a level, or a list of filters by module as in
/// `info,masq::node=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter {
    written: String,
    directives: String,
}

impl std::default::Default for LogFilter {
    /// Level `info`.
    fn default() -> Self {
        Self::level("info")
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl LogFilter {
    /// Reads the setting.
    ///
    /// # Errors
    ///
    /// When it is neither a level nor a list of filters.
    pub fn parse(text: &str) -> Result<Self, BadValue> {
        let text = text.trim();
        let lower = text.to_ascii_lowercase();
        if LEVELS.contains(&lower.as_str()) {
            return Ok(Self::level(&lower));
        }
        let remedy = "Write off, error, warn, info, debug or trace, or filters such as \
                      \"info,masq::node=debug\".";
        if !text.contains(['=', ',']) {
            return Err(BadValue::new(
                format!("There is no log level \"{text}\"."),
                remedy,
            ));
        }
        // A level at the front stands for this program, as it does alone.
        let directives = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(|part| {
                let lower = part.to_ascii_lowercase();
                if LEVELS.contains(&lower.as_str()) {
                    Self::level(&lower).directives
                } else {
                    part.to_owned()
                }
            })
            .collect::<Vec<_>>()
            .join(",");
        EnvFilter::builder().parse(&directives).map_err(|error| {
            BadValue::new(format!("\"{text}\" is not a log filter: {error}."), remedy)
        })?;
        Ok(Self {
            written: text.to_owned(),
            directives,
        })
    }

    fn level(level: &str) -> Self {
        let mut directives = if level == "off" { "off" } else { "error" }.to_owned();
        for own in OWN {
            directives.push_str(&format!(",{own}={level}"));
        }
        Self {
            written: level.to_owned(),
            directives,
        }
    }

    /// As `tracing-subscriber` wants it.
    pub(super) fn directives(&self) -> &str {
        &self.directives
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_for_this_program_only() {
        let filter = LogFilter::parse("Debug").unwrap();
        assert_eq!(filter.to_string(), "debug");
        assert!(filter.directives().starts_with("error,masq=debug,"));
        assert!(
            LogFilter::parse("off")
                .unwrap()
                .directives()
                .starts_with("off,")
        );
    }

    #[test]
    fn filters_by_module() {
        let filter = LogFilter::parse("warn,masq::node=trace,libp2p=info").unwrap();
        assert_eq!(filter.to_string(), "warn,masq::node=trace,libp2p=info");
        assert!(filter.directives().contains("masq=warn"));
        assert!(
            filter
                .directives()
                .ends_with("masq::node=trace,libp2p=info")
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["loud", "masq=loud", "a=b=c"] {
            assert!(LogFilter::parse(text).is_err(), "{text}");
        }
    }
}
