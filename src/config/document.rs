//! The settings as a page of documentation. `docs/operator/configuration.md`
//! holds what this gives; a test compares them.

use std::fmt::Write;

use super::table::{Default, Heading, SETTINGS, Shape};

/// The tables of all settings in Markdown, one section per group.
#[must_use]
pub fn document() -> String {
    let mut out = String::new();
    for heading in Heading::ALL {
        let _ = writeln!(out, "### {}\n", heading.title());
        for setting in SETTINGS.iter().filter(|s| s.heading == *heading) {
            let written = match setting.shape {
                Shape::One => "text",
                Shape::Switch => "true or false",
                Shape::Number => "number",
                Shape::List(_) => "list",
            };
            let default = match setting.default {
                Default::Text(text) => format!("`{text}`"),
                Default::Empty => "empty".to_owned(),
                Default::Unset(text) | Default::Found(text) => text.to_owned(),
            };
            let _ = writeln!(out, "#### `{}`\n", setting.key);
            let _ = writeln!(
                out,
                "{}\n",
                format!("{}. {}", setting.help, setting.more).trim_end()
            );
            let _ = writeln!(
                out,
                "| written as | default | argument | environment |\n|---|---|---|---|\n\
                 | {written} | {default} | `--{} {}` | `{}` |\n",
                setting.argument(),
                setting.placeholder,
                setting.variable(),
            );
        }
    }
    out
}
