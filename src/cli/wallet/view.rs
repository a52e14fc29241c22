//! What `masq wallet` answers, in words and as JSON.

use std::path::{Path, PathBuf};

use alloy_primitives::Address;
use serde::Serialize;
use zeroize::Zeroizing;

use super::super::text::{Facts, clean};
use crate::{
    control::WalletsView,
    store::vault::{KEY_FILE, Lock},
    wallet::{KEYSTORE, Kept, Written},
};

fn shown(address: Address) -> String {
    address.to_checksum(None)
}

/// A wallet that was made or brought.
#[derive(Serialize)]
pub(super) struct Made {
    consuming: String,
    earning: Option<String>,
    /// Whether the earning wallet was set by this, and not before.
    earning_is_new: bool,
    keystore: PathBuf,
    /// Where the file of the wallet went that was there before.
    #[serde(skip_serializing_if = "Option::is_none")]
    moved: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<String>,
}

impl Drop for Made {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.words);
    }
}

impl Made {
    pub(super) fn new(kept: &Kept, folder: &Path, words: Option<Zeroizing<String>>) -> Self {
        Self {
            consuming: shown(kept.consuming),
            earning: kept.earning.map(shown),
            earning_is_new: kept.earning_is_new,
            keystore: folder.join(KEYSTORE),
            moved: kept.moved.clone(),
            words: words.map(|words| words.to_string()),
        }
    }

    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        if let Some(words) = &self.words {
            out.push_str(&format!("{words}\n\n"));
        }
        let mut facts = Facts::default();
        facts.add("consuming wallet", self.consuming.as_str());
        match &self.earning {
            Some(earning) if self.earning_is_new => facts.add("earning wallet", earning.as_str()),
            Some(earning) => facts.add("earning wallet", format!("{earning} (as before)")),
            None => facts.add(
                "earning wallet",
                "none: set one with `masq wallet set-earning`",
            ),
        }
        facts.add("its key is in", self.keystore.display().to_string());
        if let Some(moved) = &self.moved {
            facts.add("the one before", moved.display().to_string());
        }
        facts.write(&mut out);
        out.push_str(
            "\nSend tokens to pay with, and a little of the chain's coin for fees, to the consuming \
             wallet.\n",
        );
        out
    }
}

/// Which wallets a folder has.
#[derive(Serialize)]
pub(super) struct Shown {
    data_dir: PathBuf,
    /// `password` or `key-file`; nothing where nothing was made yet.
    lock: Option<String>,
    consuming: Option<String>,
    earning: Option<String>,
    /// Whether the key was opened and belongs to the address.
    verified: bool,
}

impl Shown {
    pub(super) fn nothing(folder: &Path) -> Self {
        Self {
            data_dir: folder.to_owned(),
            lock: None,
            consuming: None,
            earning: None,
            verified: false,
        }
    }

    pub(super) fn new(
        folder: &Path,
        lock: Lock,
        consuming: Option<Address>,
        earning: Option<Address>,
        verified: bool,
    ) -> Self {
        Self {
            data_dir: folder.to_owned(),
            lock: Some(lock.as_str().to_owned()),
            consuming: consuming.map(shown),
            earning: earning.map(shown),
            verified: verified && consuming.is_some(),
        }
    }

    /// What the daemon of that folder says, which has it open.
    pub(super) fn of_daemon(folder: &Path, view: WalletsView, verified: bool) -> Self {
        Self {
            data_dir: folder.to_owned(),
            lock: Some(view.lock),
            consuming: view.consuming,
            earning: view.earning,
            verified,
        }
    }

    pub(super) fn text(&self) -> String {
        let mut facts = Facts::default();
        let or = |wallet: &Option<String>, none: &str| {
            (wallet.as_deref()).map_or_else(|| none.to_owned(), clean)
        };
        facts.add(
            "consuming wallet",
            or(
                &self.consuming,
                "none: make one with `masq wallet generate`",
            ),
        );
        facts.add(
            "earning wallet",
            or(
                &self.earning,
                "none: set one with `masq wallet set-earning`",
            ),
        );
        if self.verified {
            facts.add("key", "there, and it belongs to the consuming wallet");
        }
        let folder = self.data_dir.display();
        facts.add(
            "data folder",
            match self.data_dir.is_dir() {
                true => folder.to_string(),
                false => format!("{folder}, which is not there (option --data-dir)"),
            },
        );
        if let Some(lock) = &self.lock {
            facts.add(
                "protected by",
                if lock == "password" {
                    "a password"
                } else {
                    "a key file"
                },
            );
        }
        let mut out = String::new();
        facts.write(&mut out);
        out
    }
}

/// A key that was exported.
#[derive(Serialize)]
pub(super) struct Exported {
    consuming: String,
    file: PathBuf,
}

impl Exported {
    pub(super) fn new(address: Address, file: &Path) -> Self {
        Self {
            consuming: shown(address),
            file: file.to_owned(),
        }
    }

    pub(super) fn text(&self) -> String {
        format!(
            "The key of {} is in {}, under the password that you gave for it.\n\
             While two programs pay from one wallet they get in each other's way: let only one.\n",
            self.consuming,
            clean(&self.file.display().to_string())
        )
    }
}

/// An earning wallet that was set.
#[derive(Serialize)]
pub(super) struct EarningSet {
    earning: String,
    /// Whether the address was written with its checksum.
    checked: bool,
}

impl EarningSet {
    pub(super) fn new(written: &Written) -> Self {
        Self {
            earning: shown(written.address),
            checked: written.checked,
        }
    }

    pub(super) fn text(&self) -> String {
        let mut out = format!("The earning wallet is {}.\n", self.earning);
        if !self.checked {
            out.push_str(
                "It was written without capital letters, so without a checksum:\n\
                 compare every digit with your wallet's.\n",
            );
        }
        out
    }
}

/// A lock that was changed.
#[derive(Serialize)]
pub(super) struct LockChanged {
    lock: &'static str,
}

impl LockChanged {
    pub(super) fn new(lock: Lock) -> Self {
        Self {
            lock: lock.as_str(),
        }
    }

    pub(super) fn text(&self) -> String {
        let now = if self.lock == "password" {
            format!(
                "The new password opens the data folder from now on. If a key file did before \
                 ({KEY_FILE}), delete it."
            )
        } else {
            format!("{KEY_FILE}, in the data folder, opens it from now on, without a password.")
        };
        format!("{now}\nBackups from before still open with what opened them then; replace them.\n")
    }
}
