//! Puts the layers on top of each other and makes one [`Config`] of them.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{
    Config, check,
    command::{self, Action, command},
    error::{ConfigError, Origin, Problem, Problems},
    sources::{self, Environment, Layer, default_data_dir},
    table::{Default, Given, SETTINGS, Shape},
};

/// Name of the configuration file in the data folder.
const FILE_NAME: &str = "config.toml";

/// A checked configuration and how it came about.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What the daemon was asked to do.
    pub action: Action,
    /// Whether to stop when standard input closes.
    pub exit_with_stdin: bool,
    /// Things that are allowed and probably not meant.
    pub warnings: Vec<Problem>,
    /// Where each setting came from.
    pub(super) origins: BTreeMap<&'static str, Origin>,
}

impl Loaded {
    /// Where the setting of that key came from.
    #[must_use]
    pub fn origin(&self, key: &str) -> &Origin {
        self.origins.get(key).unwrap_or(&Origin::Default)
    }
}

/// Reads arguments (the first is the program's name), environment and file.
///
/// Reads at most one file and writes nothing.
///
/// # Errors
///
/// [`ConfigError::Arguments`] when the arguments don't parse, and when they ask
/// for help or the version; [`ConfigError::Invalid`] with every problem found.
pub fn load(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
) -> Result<Loaded, ConfigError> {
    let matches = command()
        .try_get_matches_from(arguments)
        .map_err(ConfigError::Arguments)?;
    let action = if matches.get_flag(command::CHECK) {
        Action::Check
    } else if matches.get_flag(command::PRINT) {
        Action::Print
    } else {
        Action::Run
    };
    let mut problems = Vec::new();
    let mut warnings = Vec::new();

    let mut layer = sources::from_environment(environment, &mut problems, &mut warnings);
    layer.extend(sources::from_arguments(&matches));
    let named = matches
        .get_one::<String>(command::CONFIG)
        .map(String::as_str)
        .or_else(|| environment.get("MASQ_CONFIG"));
    let mut all = read_file(named, &layer, environment, &mut problems);
    all.extend(layer);

    let (mut config, origins) = apply(all, environment, &mut problems);
    // What settings mean together is not known where some of them could not be read.
    let unread = |problem: &Problem| DECIDE.contains(&problem.setting.as_str());
    if !problems.iter().any(unread) {
        check::across(&mut config, &origins, &mut problems, &mut warnings);
    }
    match Problems::of(problems) {
        Some(problems) => Err(ConfigError::Invalid(problems)),
        None => Ok(Loaded {
            config,
            action,
            exit_with_stdin: matches.get_flag(command::STDIN),
            warnings,
            origins,
        }),
    }
}

/// Settings on which it depends what others have to be; nothing stands for the whole file.
const DECIDE: [&str; 4] = ["", "mode", "chain", "payments"];

/// The file's layer: the named file, or the one in the data folder.
fn read_file(
    named: Option<&str>,
    layer: &Layer,
    environment: &Environment,
    problems: &mut Vec<Problem>,
) -> Layer {
    if let Some(path) = named {
        return sources::from_file(Path::new(path), true, problems);
    }
    let folder = match layer.get("data_dir") {
        Some((Given::One(folder), _)) => Some(PathBuf::from(folder)),
        _ => default_data_dir(environment),
    };
    let Some(folder) = folder else {
        return Layer::new();
    };
    let mut file = sources::from_file(&folder.join(FILE_NAME), false, problems);
    // A file found by the data folder can't name another one: `masq`, which
    // looks in the same place, would not find the daemon.
    if let Some((given, origin)) = file.remove("data_dir")
        && given != Given::One(folder.display().to_string())
    {
        problems.push(Problem {
            setting: "data_dir".into(),
            origin,
            what: "This file was found by the data folder and can't move it elsewhere.".into(),
            remedy: "Say --config with this file, or --data-dir, or MASQ_DATA_DIR.".into(),
        });
    }
    file
}

/// Sets what was given on top of the defaults.
fn apply(
    all: Layer,
    environment: &Environment,
    problems: &mut Vec<Problem>,
) -> (Config, BTreeMap<&'static str, Origin>) {
    let mut config = Config::blank();
    apply_defaults(&mut config);
    if let Some(folder) = default_data_dir(environment) {
        config.data_dir = folder;
    } else if !all.contains_key("data_dir") {
        problems.push(Problem {
            setting: "data_dir".into(),
            origin: Origin::Default,
            what: "There is no home folder (HOME is not set), so there is no default.".into(),
            remedy: "Say --data-dir FOLDER, or set MASQ_DATA_DIR.".into(),
        });
    }
    let mut origins = BTreeMap::new();
    for setting in SETTINGS {
        let Some((given, origin)) = all.get(setting.key) else {
            continue;
        };
        if let Err(bad) = (setting.set)(&mut config, given) {
            problems.push(Problem {
                setting: setting.key.into(),
                origin: origin.clone(),
                what: bad.what,
                remedy: bad.remedy,
            });
        }
        origins.insert(setting.key, origin.clone());
    }
    if let Ok(absolute) = std::path::absolute(&config.data_dir) {
        config.data_dir = absolute;
    }
    (config, origins)
}

/// Reads every default of the table.
pub(super) fn apply_defaults(config: &mut Config) {
    for row in SETTINGS {
        let given = match (row.default, row.shape) {
            (Default::Text(text), Shape::List(_)) => Given::Many(vec![text.to_owned()]),
            (Default::Text(text), _) => Given::One(text.to_owned()),
            (Default::Empty, _) => Given::Many(Vec::new()),
            (Default::Unset(_) | Default::Found(_), _) => continue,
        };
        (row.set)(config, &given).expect("defaults are right: a test sets each of them");
    }
}
