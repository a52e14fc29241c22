//! `masqd --print-config`: the configuration as a file that gives the same
//! configuration again, with the origin of every value beside it.

use std::fmt::Write;

use super::{
    Loaded,
    table::{Heading, SETTINGS, Shown},
};

impl Loaded {
    /// The configuration as TOML, with a comment on where each value is from.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = format!(
            "# masqd {}: the configuration as it would be used.\n",
            env!("CARGO_PKG_VERSION")
        );
        for heading in Heading::ALL {
            let rows: Vec<(String, String)> = SETTINGS
                .iter()
                .filter(|setting| setting.heading == *heading)
                .map(|setting| {
                    let line = match (setting.show)(&self.config) {
                        Shown::Nothing => format!("# {} = \"\"", setting.key),
                        Shown::Bare(text) => format!("{} = {text}", setting.key),
                        Shown::Text(text) => format!("{} = {}", setting.key, quoted(&text)),
                        Shown::List(items) => {
                            let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
                            format!("{} = [{}]", setting.key, items.join(", "))
                        }
                    };
                    (line, self.origin(setting.key).to_string())
                })
                .collect();
            /// Lines longer than this don't push the comments of others aside.
            const COLUMN: usize = 40;
            let width = rows
                .iter()
                .map(|(line, _)| line.chars().count())
                .filter(|&width| width <= COLUMN)
                .max()
                .unwrap_or(0);
            let _ = writeln!(out, "\n# {}", heading.title());
            for (line, origin) in rows {
                let _ = writeln!(out, "{line:width$}  # {origin}");
            }
        }
        out
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
