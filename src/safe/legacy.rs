//! The clear files of an older version: taken over into the store, once, and removed only when
//! the store has everything on the disk.
//!
//! What a file system keeps of a removed file is not in this program's hands.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::memory::{ONLY, Remembered, SEED, SEED_LENGTH, Seed, VERSION};
use crate::datadir::{self, DataDirError};
use crate::store::{Read as _, Store};
use crate::wallet::WalletError;

const NODE_KEY: &str = "node.key";
const STATE: &str = "state.json";
/// All of them; the last two are what a crash may have left beside the first two.
pub(crate) const CLEAR_FILES: [&str; 4] = [NODE_KEY, STATE, "node.new", "state.new"];

/// What the node remembered, by the clear file.
pub(super) fn remembered(folder: &Path) -> Result<Option<Remembered>, DataDirError> {
    datadir::read_json(&folder.join(STATE))
}

fn seed(path: &Path) -> Result<Option<Seed>, DataDirError> {
    let Some(bytes) = datadir::read_secret(path)? else {
        return Ok(None);
    };
    let seed: [u8; SEED_LENGTH] =
        bytes
            .as_slice()
            .try_into()
            .map_err(|_| DataDirError::Damaged {
                path: path.to_owned(),
                what: format!("it has {} bytes and should have {SEED_LENGTH}", bytes.len()),
                remedy: "Restore it from a backup; without it this node is another node. To start \
                         afresh, move it away",
            })?;
    Ok(Some(Seed(Zeroizing::new(seed))))
}

fn another_key(path: PathBuf) -> DataDirError {
    DataDirError::Damaged {
        path,
        what: "it holds another node key than node.redb, which keeps this node's key now".into(),
        remedy: "Move it away; to go on as the node whose key it is, put it into a new data folder",
    }
}

/// Takes the clear files over, where there are any.
///
/// # Errors
/// When one can't be read or is damaged, holds another node key than the store, or the store
/// can't be written. The files are there then as they were.
pub(super) fn take_over(folder: &Path, store: &Store) -> Result<(), WalletError> {
    let path = folder.join(NODE_KEY);
    let seed = seed(&path)?;
    let remembered = remembered(folder)?;
    if seed.is_some() || remembered.is_some() {
        store.write(|tx| {
            if let Some(seed) = &seed {
                match tx.get(&SEED, &ONLY)? {
                    None => tx.put(&SEED, &ONLY, seed)?,
                    Some(kept) if kept.0 == seed.0 => {}
                    Some(_) => return Err(another_key(path.clone()).into()),
                }
            }
            if let Some(mut state) = remembered {
                match tx.get(&VERSION, &ONLY)? {
                    None => {
                        state.cut();
                        state.store(tx, &Remembered::default())?;
                    }
                    // The store went on from here; a version must never be used again all the same.
                    Some(kept) if kept < state.record_version => {
                        tx.put(&VERSION, &ONLY, &state.record_version)?;
                    }
                    Some(_) => {}
                }
            }
            Ok::<_, WalletError>(())
        })?;
        tracing::info!("the node key and what the node remembers are sealed from now on");
    }
    remove(folder)
}

fn remove(folder: &Path) -> Result<(), WalletError> {
    let mut removed = false;
    for name in CLEAR_FILES {
        let path = folder.join(name);
        match fs::remove_file(&path) {
            Ok(()) => removed = true,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(WalletError::file(&path, "removed")(error)),
        }
    }
    if removed {
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(WalletError::file(folder, "synced"))?;
    }
    Ok(())
}
