//! The one table of settings: key, default, how it is read and shown, and what
//! it means. `masqd --help`, `--print-config`, the file reader, the environment
//! reader and `docs/operator/configuration.md` all come from here.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::LazyLock,
};

mod circuits;
mod daemon;
mod exit;
mod money;
mod node;
mod proxies;

use super::{
    Config,
    values::{self, BadValue},
};

/// Neighbours a node may have (from the specification); limits per place can't
/// usefully be larger.
const MAX_NEIGHBOURS: u64 = 5;
/// Worker threads; more than this brings nothing (guess).
const MAX_THREADS: u64 = 64;
/// Longest wait for open flows at a stop: an hour (guess).
const MAX_DRAIN_SECONDS: u64 = 3600;
/// Warm circuits cost others memory and keep no use beyond this (guess).
const MAX_WARM_CIRCUITS: u64 = 8;
/// Most connections of either kind: what a process may open on usual systems.
const MAX_CONNECTIONS: u64 = 65_536;
/// Most items in a setting that is a list (guess; a policy of Tor's has about
/// a hundred lines).
pub(super) const MAX_ITEMS: usize = 512;

/// Groups of settings, in the order of `masqd --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heading {
    /// Who the node is and whom it knows.
    Node,
    /// What clients talk to.
    Proxies,
    /// How circuits are chosen.
    Circuits,
    /// What an exit does.
    Exit,
    /// Running the daemon.
    Daemon,
    /// Paying and being paid.
    Money,
}

impl Heading {
    /// Every group.
    pub const ALL: &[Self] = &[
        Self::Node,
        Self::Proxies,
        Self::Circuits,
        Self::Exit,
        Self::Daemon,
        Self::Money,
    ];

    /// As a title.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Node => "The node and its neighbours",
            Self::Proxies => "Proxies for your programs",
            Self::Circuits => "Circuits",
            Self::Exit => "Being an exit",
            Self::Daemon => "The daemon",
            Self::Money => "Payments",
        }
    }
}

/// How a setting is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One value.
    One,
    /// `true` or `false`; as an argument, its bare name means `true`.
    Switch,
    /// A number; in a file it may stand without quotes.
    Number,
    /// Several values. In a file: an array. As an argument: repeated, or
    /// several in one, parted by the given characters. In the environment: the
    /// same in one variable.
    List(&'static [char]),
}

/// Parts lists of addresses.
const COMMA_OR_SPACE: Shape = Shape::List(&[',', ' ', '\n', '\t']);
/// Parts descriptors, which may contain commas.
const SPACE: Shape = Shape::List(&[' ', '\n', '\t']);
/// Parts policy rules, which contain spaces.
const COMMA_OR_LINE: Shape = Shape::List(&[',', '\n']);

/// What a setting is when nobody sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// This text, read like any other value.
    Text(&'static str),
    /// An empty list.
    Empty,
    /// Nothing; the words say what that means.
    Unset(&'static str),
    /// Found out at start; the words say how.
    Found(&'static str),
}

/// A value as someone wrote it, before it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// A single text.
    One(String),
    /// A list, already parted.
    Many(Vec<String>),
}

impl Given {
    fn one(&self) -> Result<&str, BadValue> {
        match self {
            Self::One(text) => Ok(text),
            Self::Many(_) => Err(BadValue::new(
                "This is a list, and one value is needed.",
                "Write the value without brackets.",
            )),
        }
    }

    fn each<T>(&self, read: impl Fn(&str) -> Result<T, BadValue>) -> Result<Vec<T>, BadValue> {
        let items: &[String] = match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(items) => items,
        };
        if items.len() > MAX_ITEMS {
            return Err(BadValue::new(
                format!("This list has {} items.", items.len()),
                format!("Give at most {MAX_ITEMS}."),
            ));
        }
        items.iter().map(|item| read(item)).collect()
    }
}

/// How a value is shown: the inverse of reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Not set.
    Nothing,
    /// In quotes.
    Text(String),
    /// Without quotes.
    Bare(String),
    /// An array of quoted texts.
    List(Vec<String>),
}

impl Shown {
    fn text(value: impl ToString) -> Self {
        Self::Text(value.to_string())
    }

    fn bare(value: impl ToString) -> Self {
        Self::Bare(value.to_string())
    }

    fn option(value: Option<&impl ToString>) -> Self {
        value.map_or(Self::Nothing, |value| Self::Text(value.to_string()))
    }

    fn path(value: Option<&Path>) -> Self {
        value.map_or(Self::Nothing, |path| Self::text(path.display()))
    }

    fn off(value: Option<impl ToString>) -> Self {
        Self::Text(value.map_or_else(|| "off".to_owned(), |value| value.to_string()))
    }

    fn list<T: ToString>(values: &[T]) -> Self {
        Self::List(values.iter().map(ToString::to_string).collect())
    }
}

/// One setting.
#[derive(Clone, Copy)]
pub struct Setting {
    /// Its name in the file, in words joined by underscores. With dashes it is
    /// the argument, in capitals and with `MASQ_` in front the environment
    /// variable.
    pub key: &'static str,
    /// The group it belongs to.
    pub heading: Heading,
    /// What stands for the value in help.
    pub placeholder: &'static str,
    /// How it is written.
    pub shape: Shape,
    /// What it is when nobody sets it.
    pub default: Default,
    /// One line.
    pub help: &'static str,
    /// What else there is to know: units, bounds, consequences.
    pub more: &'static str,
    pub(super) set: fn(&mut Config, &Given) -> Result<(), BadValue>,
    pub(super) show: fn(&Config) -> Shown,
}

impl Setting {
    /// The argument, without the two dashes.
    #[must_use]
    pub fn argument(&self) -> &'static str {
        static NAMES: LazyLock<BTreeMap<&str, String>> = LazyLock::new(|| {
            SETTINGS
                .iter()
                .map(|row| (row.key, row.key.replace('_', "-")))
                .collect()
        });
        NAMES.get(self.key).map_or(self.key, String::as_str)
    }

    /// The environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("MASQ_{}", self.key.to_ascii_uppercase())
    }

    /// The default as a person reads it.
    #[must_use]
    pub fn default_text(&self) -> &'static str {
        match self.default {
            Default::Text(text) | Default::Unset(text) | Default::Found(text) => text,
            Default::Empty => "none",
        }
    }
}

/// The setting of that key.
#[must_use]
pub fn setting(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// Every setting, by group.
pub static SETTINGS: &[Setting] = &{
    const GROUPS: [&[Setting]; 6] = [
        &node::SETTINGS,
        &proxies::SETTINGS,
        &circuits::SETTINGS,
        &exit::SETTINGS,
        &daemon::SETTINGS,
        &money::SETTINGS,
    ];
    const COUNT: usize =
        node::COUNT + proxies::COUNT + circuits::COUNT + exit::COUNT + daemon::COUNT + money::COUNT;
    let mut all = [node::SETTINGS[0]; COUNT];
    let (mut group, mut at, mut of_group) = (0, 0, 0);
    while at < COUNT {
        if of_group == GROUPS[group].len() {
            (group, of_group) = (group + 1, 0);
            continue;
        }
        all[at] = GROUPS[group][of_group];
        (at, of_group) = (at + 1, of_group + 1);
    }
    all
};

/// A path that is not empty.
fn path(text: &str, of: &str) -> Result<PathBuf, BadValue> {
    if text.trim().is_empty() {
        let what = format!("An empty path is not that of {of}.");
        return Err(BadValue::new(what, "Write a path."));
    }
    Ok(PathBuf::from(text))
}

/// A number whose bounds fit a byte.
fn small(text: &str, least: u64, most: u64) -> Result<u8, BadValue> {
    let n = values::number(text, least, most)?;
    Ok(u8::try_from(n).expect("the bounds in the table fit a byte"))
}

/// A number whose bounds fit a `usize`.
fn large(text: &str, least: u64, most: u64) -> Result<usize, BadValue> {
    let n = values::number(text, least, most)?;
    Ok(usize::try_from(n).expect("the bounds in the table fit a usize"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_by_group_unique_and_well_formed() {
        let mut seen = std::collections::HashSet::new();
        for setting in SETTINGS {
            assert!(seen.insert(setting.key), "{} twice", setting.key);
            assert!(
                setting
                    .key
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{}",
                setting.key
            );
            assert!(
                !setting.help.ends_with('.'),
                "{}: help is a phrase",
                setting.key
            );
            assert!(
                setting.more.is_empty() || setting.more.ends_with('.'),
                "{}: more is sentences",
                setting.key
            );
        }
        let groups: Vec<_> = SETTINGS.iter().map(|s| s.heading as u8).collect();
        assert!(groups.is_sorted());
    }
}
