//! The file by which `status` and `down` find the testnet that `up` started,
//! and what it says. Each testnet has one in its own folder; one more file, in
//! the user's runtime folder, points at the current testnet.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::TestnetError;
use crate::money::{MoneyState, NodeWallets};
use crate::plan::Role;
use crate::process::ProcessId;

/// Name of the file in a testnet's folder.
const FILE: &str = "testnet.json";
/// Name of the pointer in the user's runtime folder.
const POINTER: &str = "current.json";
/// Longest state file read, in bytes: 200 nodes are about 80 kB.
const MAX_FILE: u64 = 1 << 20;

/// One running node, as written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// Name, such as `n03-relay`.
    pub name: String,
    /// Role.
    pub role: Role,
    /// Address on which it accepts others.
    pub addr: SocketAddr,
    /// Node key, 43 characters.
    pub key: String,
    /// Its process.
    pub process: ProcessId,
    /// Its data folder, where address and token of its control API are.
    pub data_dir: PathBuf,
    /// Its log.
    pub log: PathBuf,
    /// Its wallets, where there is money.
    #[serde(default)]
    pub wallets: Option<NodeWallets>,
}

/// A testnet, as written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkState {
    /// The process that holds the nodes' leashes.
    pub supervisor: ProcessId,
    /// The testnet's folder.
    pub dir: PathBuf,
    /// Whether the folder goes when the testnet ends.
    pub temporary: bool,
    /// SOCKS5 proxy of the client node, once it is up.
    pub socks: Option<SocketAddr>,
    /// HTTP proxy of the client node, once it is up.
    pub http: Option<SocketAddr>,
    /// Port of the built-in web server on 127.0.0.1 (and ::1 where there is
    /// IPv6).
    pub web_port: u16,
    /// Whether the web server listens on ::1 too.
    pub web_v6: bool,
    /// The seed's descriptor, for nodes of one's own.
    pub seed: String,
    /// The money, where there is any.
    #[serde(default)]
    pub money: Option<MoneyState>,
    /// The nodes.
    pub nodes: Vec<NodeState>,
}

impl NetworkState {
    /// Writes the state into the testnet's folder, in one step.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self) -> Result<(), TestnetError> {
        replace(&self.dir.join(FILE), self)
    }

    /// Reads the state of the testnet in `dir`.
    ///
    /// # Errors
    /// [`TestnetError::NotUp`] when there is none.
    pub fn load(dir: &Path) -> Result<Self, TestnetError> {
        read(&dir.join(FILE))?.ok_or(TestnetError::NotUp)
    }

    /// True while its supervisor or any of its nodes runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.supervisor.is_alive() || self.nodes.iter().any(|n| n.process.is_alive())
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Pointer {
    dir: PathBuf,
}

/// The user's note of the current testnet.
#[derive(Debug, Clone)]
pub struct Registry {
    folder: PathBuf,
}

impl Registry {
    /// The registry of this user: in `$XDG_RUNTIME_DIR`, `$XDG_STATE_HOME` or
    /// `~/.local/state`, else in the temporary folder under the user's number.
    ///
    /// # Errors
    /// When the folder cannot be made or belongs to somebody else.
    pub fn of_user() -> Result<Self, TestnetError> {
        let from_env = |name: &str| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        let folder = from_env("XDG_RUNTIME_DIR")
            .or_else(|| from_env("XDG_STATE_HOME"))
            .or_else(|| from_env("HOME").map(|home| home.join(".local/state")))
            .map_or_else(
                || {
                    let uid = rustix::process::getuid().as_raw();
                    std::env::temp_dir().join(format!("masq-testnet-{uid}"))
                },
                |base| base.join("masq-testnet"),
            );
        Self::in_folder(folder)
    }

    /// A registry in a given folder.
    ///
    /// # Errors
    /// When the folder cannot be made or belongs to somebody else.
    pub fn in_folder(folder: PathBuf) -> Result<Self, TestnetError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(TestnetError::file("cannot make the folder", &folder))?;
        let owner = fs::symlink_metadata(&folder)
            .map_err(TestnetError::file("cannot look at", &folder))?
            .uid();
        if owner != rustix::process::getuid().as_raw() {
            let denied = io::Error::new(io::ErrorKind::PermissionDenied, "belongs to another user");
            return Err(TestnetError::file("cannot use the folder", &folder)(denied));
        }
        Ok(Self { folder })
    }

    /// The current testnet, if one is up.
    ///
    /// # Errors
    /// When the registry is unreadable.
    pub fn current(&self) -> Result<Option<NetworkState>, TestnetError> {
        let Some(Pointer { dir }) = read(&self.folder.join(POINTER))? else {
            return Ok(None);
        };
        match NetworkState::load(&dir) {
            Ok(state) if state.is_alive() => Ok(Some(state)),
            Ok(_) | Err(TestnetError::NotUp) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the testnet in `dir` the current one.
    ///
    /// # Errors
    /// When the registry cannot be written.
    pub fn remember(&self, dir: &Path) -> Result<(), TestnetError> {
        replace(
            &self.folder.join(POINTER),
            &Pointer {
                dir: dir.to_owned(),
            },
        )
    }

    /// Forgets the testnet in `dir`, if it is the current one.
    pub fn forget(&self, dir: &Path) {
        let path = self.folder.join(POINTER);
        if let Ok(Some(Pointer { dir: current })) = read::<Pointer>(&path)
            && current == dir
        {
            let _ = fs::remove_file(path);
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, TestnetError> {
    let bytes = match fs::metadata(path) {
        Ok(meta) if meta.len() > MAX_FILE => Err(io::Error::from(io::ErrorKind::FileTooLarge)),
        Ok(_) => fs::read(path),
        Err(error) => Err(error),
    };
    match bytes {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| TestnetError::file("cannot understand", path)(e.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(TestnetError::file("cannot read", path)(error)),
    }
}

/// Writes beside and renames, so that a reader sees the old or the new file.
fn replace<T: Serialize>(path: &Path, value: &T) -> Result<(), TestnetError> {
    let fresh = path.with_extension("json.new");
    let write = || -> io::Result<()> {
        let mut file = fs::File::create(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(value)?)?;
        file.write_all(b"\n")?;
        fs::rename(&fresh, path)
    };
    write().map_err(TestnetError::file("cannot write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(dir: &Path, supervisor: ProcessId) -> NetworkState {
        NetworkState {
            supervisor,
            dir: dir.to_owned(),
            temporary: true,
            socks: Some("127.0.0.1:1080".parse().unwrap()),
            http: None,
            web_port: 8,
            web_v6: true,
            seed: "masq://dev:x@127.0.0.1:1".into(),
            money: None,
            nodes: vec![],
        }
    }

    #[test]
    fn a_running_testnet_is_found_again_and_a_dead_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::in_folder(dir.path().join("registry")).unwrap();
        assert_eq!(registry.current().unwrap(), None);

        let own = ProcessId::own().unwrap();
        let alive = state(dir.path(), own);
        alive.save().unwrap();
        registry.remember(dir.path()).unwrap();
        assert_eq!(registry.current().unwrap(), Some(alive.clone()));

        registry.forget(Path::new("/elsewhere"));
        assert!(registry.current().unwrap().is_some());
        registry.forget(dir.path());
        assert_eq!(registry.current().unwrap(), None);

        registry.remember(dir.path()).unwrap();
        let dead = ProcessId {
            started: own.started + 1,
            ..own
        };
        state(dir.path(), dead).save().unwrap();
        assert_eq!(registry.current().unwrap(), None);
        assert!(matches!(
            NetworkState::load(Path::new("/nowhere")),
            Err(TestnetError::NotUp)
        ));
    }

    #[test]
    fn a_broken_file_is_an_error_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{").unwrap();
        let error = NetworkState::load(dir.path()).unwrap_err();
        assert!(error.to_string().contains(FILE), "{error}");
    }
}
