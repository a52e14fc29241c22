//! The folder that a mesh lives in: made, or taken over from a mesh that was there before.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::TestnetError;
use crate::plan::Role;
use crate::state::NetworkState;

/// Files by which the data folder of a `masqd` is known.
const OF_MASQD: [&str; 4] = ["node.redb", "node.key", "vault.json", "control.token"];
/// How often removing a temporary folder is tried: a wallet may be being written into it.
const REMOVALS: usize = 3;
const ROLES: [Role; 5] = [
    Role::Client,
    Role::Seed,
    Role::Relay,
    Role::Exit,
    Role::Consumer,
];

/// The folder of a mesh that is being started. A temporary one goes when this is dropped: no log
/// was written yet that anybody could want.
#[derive(Debug)]
pub(super) struct MeshFolder {
    path: PathBuf,
    temporary: bool,
}

impl MeshFolder {
    /// Makes the folder: `wanted`, or else a temporary one. What an earlier mesh left in `wanted`
    /// is removed; whatever else is there stays.
    ///
    /// # Errors
    /// When a mesh runs in `wanted`, when it is the data folder of a node, or when something
    /// cannot be made or removed.
    pub(super) fn make(wanted: Option<&Path>, prefix: [u8; 3]) -> Result<Self, TestnetError> {
        let failed = |path: &Path| TestnetError::file("cannot make the folder", path.to_owned());
        if let Some(dir) = wanted {
            if OF_MASQD.iter().any(|name| dir.join(name).exists()) {
                return Err(TestnetError::Options(format!(
                    "{} is the data folder of a node; name another folder with --dir",
                    dir.display()
                )));
            }
            fs::create_dir_all(dir).map_err(failed(dir))?;
            let path = fs::canonicalize(dir).map_err(failed(dir))?;
            clear(&path)?;
            return Ok(Self {
                path,
                temporary: false,
            });
        }
        let name = format!(
            "masq-testnet-{}-{}.{}",
            std::process::id(),
            prefix[1],
            prefix[2]
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).map_err(failed(&path))?;
        Ok(Self {
            path,
            temporary: true,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder stays: its path, and whether it is a temporary one.
    pub(super) fn keep(mut self) -> (PathBuf, bool) {
        let temporary = std::mem::take(&mut self.temporary);
        (std::mem::take(&mut self.path), temporary)
    }
}

impl Drop for MeshFolder {
    fn drop(&mut self) {
        if self.temporary {
            let gone = || fs::remove_dir_all(&self.path).is_ok() || !self.path.exists();
            let _ = (0..REMOVALS).any(|_| gone());
        }
    }
}

/// Removes the homes of the nodes of an earlier mesh.
fn clear(dir: &Path) -> Result<(), TestnetError> {
    if let Ok(state) = NetworkState::load(dir)
        && state.is_alive()
    {
        return Err(TestnetError::AlreadyUp {
            dir: state.dir,
            pid: state.supervisor.pid,
        });
    }
    let entries = fs::read_dir(dir).map_err(TestnetError::file("cannot read", dir))?;
    for entry in entries.flatten() {
        let home = entry.path();
        let named = entry.file_name().to_str().is_some_and(is_home);
        if named && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            fs::remove_dir_all(&home).map_err(TestnetError::file("cannot remove", home))?;
        }
    }
    Ok(())
}

/// Whether a testnet calls a node's home so: `n03-relay`.
fn is_home(name: &str) -> bool {
    let Some((number, role)) = name.strip_prefix('n').and_then(|rest| rest.split_once('-')) else {
        return false;
    };
    number.len() >= 2
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && ROLES.iter().any(|known| known.to_string() == role)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: [u8; 3] = [127, 9, 9];

    #[test]
    fn a_folder_serves_again_and_what_is_not_the_meshs_stays() {
        let dir = tempfile::tempdir().unwrap();
        let net = dir.path().join("net");
        MeshFolder::make(Some(&net), PREFIX).unwrap().keep();
        for home in ["n01-client", "n102-relay", "n1-relay", "notes-relay"] {
            fs::create_dir_all(net.join(home).join("data")).unwrap();
        }
        fs::write(net.join("n03-exit"), "a file").unwrap();
        let (path, temporary) = MeshFolder::make(Some(&net), PREFIX).unwrap().keep();
        assert!(!temporary);
        let mut left: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["n03-exit", "n1-relay", "notes-relay"]);
    }

    #[test]
    fn the_data_folder_of_a_node_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        for name in OF_MASQD {
            let data = dir.path().join(name.replace('.', "-"));
            fs::create_dir(&data).unwrap();
            fs::write(data.join(name), "").unwrap();
            let error = MeshFolder::make(Some(&data), PREFIX).unwrap_err();
            assert_eq!(error.exit_code(), 64);
            assert!(
                error.to_string().contains("data folder of a node"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_temporary_folder_goes_unless_it_is_kept() {
        let folder = MeshFolder::make(None, PREFIX).unwrap();
        let path = folder.path().to_owned();
        assert!(path.is_dir());
        drop(folder);
        assert!(!path.exists());
        let (path, temporary) = MeshFolder::make(None, PREFIX).unwrap().keep();
        assert!(temporary && path.is_dir());
        fs::remove_dir(path).unwrap();
    }
}
