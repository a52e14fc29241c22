//! The three places settings come from, each read into the same raw form:
//! values with their origin, not yet checked.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use toml::de::{DeTable, DeValue};

use super::{
    error::{Origin, Problem},
    table::{Given, MAX_ITEMS, SETTINGS, Setting, Shape, setting},
};

/// Largest configuration file: a thousand times a long one (guess). It keeps a
/// wrong path, such as a disk image, from being read whole.
const MAX_FILE: u64 = 1 << 20;

/// Names of settings elsewhere, for people who come from there.
const FORMER_NAMES: &[(&str, &str)] = &[
    ("blockchain_service_url", "rpc"),
    ("clandestine_port", "listen"),
    ("config_file", "config"),
    ("data_directory", "data_dir"),
    ("db_password", "password_file"),
    ("gas_price", "gas_cap"),
    ("ip", "advertise"),
    ("log_level", "log"),
    ("min_hops", "hops"),
    ("neighborhood_mode", "mode"),
    ("neighbors", "neighbours"),
    ("payment_thresholds", "thresholds"),
    ("rate_pack", "rates"),
    ("scan_intervals", "pay_every"),
    ("ui_port", "control"),
];

/// Variables that begin with `MASQ_` and are no settings: of this program's
/// own, and of tools around it.
const OTHER_VARIABLES: &[&str] = &["MASQ_CONFIG"];
const OTHER_PREFIXES: &[&str] = &["MASQ_TESTNET_"];

/// Raw values by key.
pub(super) type Layer = BTreeMap<&'static str, (Given, Origin)>;

/// The environment, handed in so that tests and embedding programs can use
/// another than the process's.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The environment of this process. Variables that are not Unicode are
    /// left out.
    #[must_use]
    pub fn of_process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
                .collect(),
        )
    }

    /// The value, unless it is unset or empty: compose files can't leave a
    /// variable out.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(k, v)| (k.into(), v.into()))
                .collect(),
        )
    }
}

/// The data folder when no setting names one: `$XDG_DATA_HOME/masq` or
/// `~/.local/share/masq`. `None` without a home.
#[must_use]
pub fn default_data_dir(environment: &Environment) -> Option<PathBuf> {
    let absolute = |name| {
        environment
            .get(name)
            .map(Path::new)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_DATA_HOME")
        .map(|base| base.join("masq"))
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share/masq")))
}

/// Reads `MASQ_*` variables.
pub(super) fn from_environment(
    environment: &Environment,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> Layer {
    let mut layer = Layer::new();
    for (name, value) in &environment.0 {
        let Some(rest) = name.strip_prefix("MASQ_") else {
            continue;
        };
        if value.is_empty()
            || OTHER_VARIABLES.contains(&name.as_str())
            || OTHER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        {
            continue;
        }
        let origin = Origin::Environment { name: name.clone() };
        let key = rest.to_ascii_lowercase();
        match setting(&key) {
            Some(setting) if setting.variable() == *name => {
                layer.insert(setting.key, (part(setting, [value.as_str()]), origin));
            }
            _ => {
                let similar = nearest(&key);
                // A slip of the pen must not switch a setting off silently. A
                // name that resembles none is most likely somebody else's.
                let list = if similar.is_some() {
                    &mut *problems
                } else {
                    &mut *warnings
                };
                list.push(Problem {
                    setting: name.clone(),
                    origin: Origin::Environment { name: name.clone() },
                    what: "There is no such setting.".into(),
                    remedy: similar.map_or_else(
                        || "Unset it if it was meant for masqd.".into(),
                        |s| format!("Did you mean {}?", s.variable()),
                    ),
                });
            }
        }
    }
    layer
}

/// Reads arguments that clap has split.
pub(super) fn from_arguments(matches: &clap::ArgMatches) -> Layer {
    let mut layer = Layer::new();
    for setting in SETTINGS {
        let Some(values) = matches.get_many::<String>(setting.key) else {
            continue;
        };
        let origin = Origin::Argument {
            name: format!("--{}", setting.argument()),
        };
        layer.insert(
            setting.key,
            (part(setting, values.map(String::as_str)), origin),
        );
    }
    layer
}

/// Parts the texts of a list; single values stay as they are.
fn part<'a>(setting: &Setting, texts: impl IntoIterator<Item = &'a str>) -> Given {
    let mut texts = texts.into_iter();
    match setting.shape {
        Shape::List(separators) => Given::Many(
            texts
                .flat_map(|text| text.split(separators))
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
                // One more than allowed, so that the check can say so.
                .take(MAX_ITEMS + 1)
                .collect(),
        ),
        _ => Given::One(texts.next().unwrap_or_default().to_owned()),
    }
}

/// Reads a file. A file that is missing is a problem only if it was asked for.
pub(super) fn from_file(path: &Path, required: bool, problems: &mut Vec<Problem>) -> Layer {
    let shared = Arc::new(path.to_owned());
    let whole = |what: String, remedy: &str| Problem {
        setting: String::new(),
        origin: Origin::File {
            path: Arc::clone(&shared),
            line: 0,
        },
        what,
        remedy: remedy.to_owned(),
    };
    let text = match read_bounded(path) {
        Ok(text) => text,
        // A folder that is none is for whoever opens it to complain about.
        Err(error)
            if !required
                && (matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
                    || is_closed(path)) =>
        {
            return Layer::new();
        }
        Err(error) => {
            problems.push(whole(
                format!("The configuration file can't be read: {error}."),
                "Check the path and its permissions.",
            ));
            return Layer::new();
        }
    };
    let (table, errors) = DeTable::parse_recoverable(&text);
    if !errors.is_empty() {
        problems.extend(errors.iter().map(|error| Problem {
            setting: String::new(),
            origin: Origin::File {
                path: Arc::clone(&shared),
                line: error.span().map_or(0, |span| line_of(&text, span.start)),
            },
            what: format!("This is not TOML: {}.", error.message().replace('\n', ", ")),
            remedy: "A line looks like: hops = 3. Text goes in quotes, lists in brackets.".into(),
        }));
        return Layer::new();
    }
    let mut layer = Layer::new();
    // In the order of the file, so that a person can go through it.
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let origin = Origin::File {
            path: Arc::clone(&shared),
            line: line_of(&text, key.span().start),
        };
        let name = key.get_ref().as_ref();
        match setting(name) {
            None => problems.push(unknown_key(name, value.get_ref(), origin)),
            Some(setting) => match given(setting, value.get_ref()) {
                Ok(given) => {
                    layer.insert(setting.key, (given, origin));
                }
                Err(what) => problems.push(Problem {
                    setting: setting.key.into(),
                    origin,
                    what,
                    remedy: format!("Write it like this: {}.", meant(setting, value.get_ref())),
                }),
            },
        }
    }
    layer
}

fn unknown_key(name: &str, value: &DeValue<'_>, origin: Origin) -> Problem {
    let (what, remedy) = if matches!(value, DeValue::Table(_)) && setting(name).is_none() {
        (
            "There are no sections.".to_owned(),
            "Write every setting on a line of its own, without [section] lines.".to_owned(),
        )
    } else {
        (
            "There is no such setting.".to_owned(),
            nearest(name).map_or_else(
                || "`masqd --help` lists the settings.".to_owned(),
                |setting| format!("Did you mean `{}`?", setting.key),
            ),
        )
    };
    Problem {
        setting: name.to_owned(),
        origin,
        what,
        remedy,
    }
}

/// A TOML value in the common raw form.
fn given(setting: &Setting, value: &DeValue<'_>) -> Result<Given, String> {
    let scalar = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Boolean(switch) => Some(switch.to_string()),
        _ => None,
    };
    match (setting.shape, value) {
        (Shape::List(_), DeValue::Array(items)) => items
            .iter()
            .map(|item| {
                scalar(item.get_ref()).ok_or_else(|| "The list must hold texts only.".to_owned())
            })
            .collect::<Result<_, _>>()
            .map(Given::Many),
        (_, DeValue::Array(_)) => Err("This is a list, and one value is needed.".into()),
        (_, DeValue::Table(_)) => Err("This is a section, and one value is needed.".into()),
        (Shape::List(_), value) => scalar(value)
            .map(|text| part(setting, [text.as_str()]))
            .ok_or_else(|| "This is neither a list nor a text.".into()),
        (Shape::Switch, DeValue::Boolean(switch)) => Ok(Given::One(switch.to_string())),
        (Shape::Switch, _) => Err("This is neither true nor false.".into()),
        (Shape::One, DeValue::String(text)) => Ok(Given::One(text.to_string())),
        (Shape::One, _) => Err("This is not a text in quotes.".into()),
        (Shape::Number, value) => scalar(value)
            .map(Given::One)
            .ok_or_else(|| "This is not a number.".into()),
    }
}

/// A line that would be right, and says the same where that can be seen.
fn meant(setting: &Setting, value: &DeValue<'_>) -> String {
    let word = match value {
        DeValue::String(text) => text.trim().to_ascii_lowercase(),
        DeValue::Integer(number) => number.to_string(),
        _ => String::new(),
    };
    match (setting.shape, word.as_str()) {
        (Shape::Switch, "off" | "no" | "false" | "0") => format!("{} = false", setting.key),
        (Shape::Switch, "on" | "yes" | "true" | "1") => format!("{} = true", setting.key),
        _ => example(setting),
    }
}

/// A line that would be right.
fn example(setting: &Setting) -> String {
    let value = setting.default_text();
    match (setting.shape, setting.default) {
        (Shape::List(_), super::Default::Text(_)) => format!("{} = [\"{value}\"]", setting.key),
        (Shape::List(_), _) => format!("{} = [\"{}\"]", setting.key, setting.placeholder),
        (Shape::Switch | Shape::Number, _) => format!("{} = {value}", setting.key),
        (Shape::One, super::Default::Text(_)) => format!("{} = \"{value}\"", setting.key),
        (Shape::One, _) => format!("{} = \"{}\"", setting.key, setting.placeholder),
    }
}

/// Whether the folder of the file lets nobody like us look into it.
fn is_closed(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    use std::io::{Error, Read};
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(Error::new(
            ErrorKind::FileTooLarge,
            format!("it is larger than {MAX_FILE} bytes"),
        ));
    }
    Ok(text)
}

/// The line of a byte position, counted from 1.
fn line_of(text: &str, position: usize) -> usize {
    text.as_bytes()
        .iter()
        .take(position)
        .filter(|&&byte| byte == b'\n')
        .count()
        + 1
}

/// The setting that an unknown name most likely means.
pub(super) fn nearest(name: &str) -> Option<&'static Setting> {
    /// Names longer than this are no slips of the pen; it bounds the work.
    const LONGEST: usize = 64;
    if name.len() > LONGEST {
        return None;
    }
    let name = name.to_ascii_lowercase().replace('-', "_");
    if let Some((_, key)) = FORMER_NAMES.iter().find(|(former, _)| *former == name) {
        return setting(key);
    }
    SETTINGS
        .iter()
        .map(|setting| (distance(&name, setting.key), setting))
        .min_by_key(|(distance, _)| *distance)
        // A third of the letters wrong still reads as the same word (guess).
        .filter(|(distance, setting)| *distance <= setting.key.len().div_ceil(3))
        .map(|(_, setting)| setting)
}

/// Levenshtein's distance, and two neighbours that changed places: letters to add, drop, change or
/// swap.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = vec![0; b.len() + 1];
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut next = vec![i + 1; b.len() + 1];
        for j in 0..b.len() {
            let changed = row[j] + usize::from(a[i] != b[j]);
            next[j + 1] = changed.min(next[j] + 1).min(row[j + 1] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                next[j + 1] = next[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names() {
        for (name, key) in [
            ("hop", "hops"),
            ("hosp", "hops"),
            ("data-dir", "data_dir"),
            ("datadir", "data_dir"),
            ("neighbors", "neighbours"),
            ("payment_thresholds", "thresholds"),
            ("rate_pack", "rates"),
            ("scan_intervals", "pay_every"),
            ("neighbour", "neighbours"),
            ("min-hops", "hops"),
            ("clandestine-port", "listen"),
            ("exit_polcy", "exit_policy"),
            ("plain_text", "plaintext"),
        ] {
            assert_eq!(nearest(name).map(|s| s.key), Some(key), "{name}");
        }
        assert!(nearest("favourite_colour").is_none());
        assert!(nearest(&"x".repeat(10_000)).is_none());
    }

    #[test]
    fn distances() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn default_folder_follows_xdg() {
        let of = |pairs: &[(&str, &str)]| {
            default_data_dir(&pairs.iter().copied().collect::<Environment>())
        };
        assert_eq!(
            of(&[("XDG_DATA_HOME", "/x"), ("HOME", "/h")]),
            Some("/x/masq".into())
        );
        // The XDG specification: relative paths are to be ignored.
        assert_eq!(
            of(&[("XDG_DATA_HOME", "x"), ("HOME", "/h")]),
            Some("/h/.local/share/masq".into())
        );
        assert_eq!(of(&[]), None);
    }
}
