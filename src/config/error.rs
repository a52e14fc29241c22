//! What is said about a configuration that can't be used: every problem with
//! its setting, the place it came from, what is wrong and what to do.

use std::{fmt, path::PathBuf, sync::Arc};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The table of settings.
    Default,
    /// A line of a file.
    File {
        /// The file.
        path: Arc<PathBuf>,
        /// The line, counted from 1; 0 for the file as a whole.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        name: String,
    },
    /// An argument.
    Argument {
        /// Its name, with dashes.
        name: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: 0 } => write!(f, "{}", path.display()),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment { name } => write!(f, "environment {name}"),
            Self::Argument { name } => write!(f, "argument {name}"),
        }
    }
}

/// One thing that is wrong, or worth a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting, or the name that is none; empty where it is about a file.
    pub setting: String,
    /// Where it came from.
    pub origin: Origin,
    /// What is wrong: a sentence.
    pub what: String,
    /// What to do: a sentence.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.setting.is_empty() {
            writeln!(f, "{}", self.origin)?;
        } else {
            writeln!(f, "{} ({})", self.setting, self.origin)?;
        }
        write!(f, "    {}", self.what)?;
        if !self.remedy.is_empty() {
            write!(f, "\n    {}", self.remedy)?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration, at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// `None` when there are none.
    pub(super) fn of(problems: Vec<Problem>) -> Option<Self> {
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// The problems, in the order in which they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => writeln!(f, "the configuration has a problem:")?,
            n => writeln!(f, "the configuration has {n} problems:")?,
        }
        for problem in &self.0 {
            write!(f, "\n  {problem}\n")?;
        }
        Ok(())
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The arguments don't parse, or asked for help or the version: clap's own
    /// text, ready to print. [`clap::Error::use_stderr`] tells the two apart.
    #[error("{0}")]
    Arguments(clap::Error),
    /// Values that can't be used. Nothing was started or written.
    #[error("{0}")]
    Invalid(Problems),
}
