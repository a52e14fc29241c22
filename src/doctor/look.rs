//! Facts about this machine: who can read the data folder, how many files may
//! be open, which addresses are free. Everything here blocks for a moment.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::safe::CLEAR_FILES;

/// Files in the data folder that nobody else may read.
const SECRETS: &[&str] = &[
    "control.token",
    "control.json",
    "vault.json",
    "store.key",
    "node.redb",
    "money.redb",
    "consuming.json",
];

/// What was found of the data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Folder {
    /// It is there, for its owner alone.
    Private,
    /// There is none: it is made at the first start.
    Missing(PathBuf),
    /// It can't be looked into or written to.
    Unusable(PathBuf, String),
    /// Others can look into it.
    Open(PathBuf, u32),
    /// Others can read a file that holds a secret.
    Exposed(PathBuf, u32),
}

impl Folder {
    /// Looks at a data folder.
    #[must_use]
    pub fn look(path: &Path) -> Self {
        let unusable = |error: &io::Error| Self::Unusable(path.to_owned(), error.to_string());
        let mode = match fs::metadata(path) {
            Ok(found) if found.is_dir() => found.permissions().mode() & 0o777,
            Ok(_) => return Self::Unusable(path.to_owned(), "it is a file".into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Self::Missing(path.to_owned());
            }
            Err(error) => return unusable(&error),
        };
        if let Err(error) = rustix::fs::access(
            path,
            rustix::fs::Access::READ_OK
                | rustix::fs::Access::WRITE_OK
                | rustix::fs::Access::EXEC_OK,
        ) {
            return unusable(&error.into());
        }
        for name in SECRETS.iter().chain(&CLEAR_FILES) {
            let file = path.join(name);
            let Ok(found) = fs::metadata(&file) else {
                continue;
            };
            let mode = found.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Self::Exposed(file, mode);
            }
        }
        if mode & 0o077 == 0 {
            Self::Private
        } else {
            Self::Open(path.to_owned(), mode)
        }
    }
}

/// Open files of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Files {
    /// How many are open, where the system tells.
    pub open: Option<u64>,
    /// How many may be.
    pub limit: u64,
}

impl Files {
    /// Of this process, as it is.
    #[must_use]
    pub fn here() -> Option<Self> {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
        let open = fs::read_dir("/proc/self/fd").ok();
        Some(Self {
            open: open.and_then(|found| u64::try_from(found.count()).ok()),
            limit,
        })
    }

    /// As a daemon started from here would have: it takes all that it may.
    #[must_use]
    pub fn of_a_daemon() -> Option<Self> {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum?;
        Some(Self { open: None, limit })
    }
}

/// An address that a daemon would listen on, and what stands in the way.
#[derive(Debug)]
pub struct Busy {
    /// The setting.
    pub setting: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// What the system says.
    pub error: io::Error,
}

/// The addresses that a daemon with this configuration could not listen on now.
#[must_use]
pub fn busy(config: &Config) -> Vec<Busy> {
    let listen = config.listen.iter().map(|address| ("listen", *address));
    let all = listen
        .chain(config.socks.map(|address| ("socks", address)))
        .chain(config.http.map(|address| ("http", address)))
        .chain([("control", config.control)]);
    let taken = |(setting, address): (&'static str, SocketAddr)| {
        let error = TcpListener::bind(address).err()?;
        Some(Busy {
            setting,
            address,
            error,
        })
    };
    all.filter_map(taken).collect()
}
