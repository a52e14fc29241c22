//! How the programs can be typed in a shell on this machine, for lines to copy: what was not
//! built or is not in the PATH is called by the file that runs, which is all of them.

use std::path::{Path, PathBuf};

/// The words with which a command begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// `masq-testnet`.
    pub testnet: String,
    /// `masq`.
    pub masq: String,
    /// `masqd`.
    pub masqd: String,
}

impl Programs {
    /// As they can be typed here and now.
    #[must_use]
    pub fn here() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let exe = std::env::current_exe().unwrap_or_else(|_| "masq-testnet".into());
        Self::of(&exe, &folders)
    }

    fn of(exe: &Path, folders: &[PathBuf]) -> Self {
        let found = |name: &str| folders.iter().any(|folder| folder.join(name).is_file());
        let testnet = if found("masq-testnet") {
            "masq-testnet".to_owned()
        } else {
            quoted(exe)
        };
        let other = |name: &str| {
            if found(name) {
                return name.to_owned();
            }
            let beside = exe.with_file_name(name);
            if beside.is_file() {
                quoted(&beside)
            } else {
                // The same file is those programs too.
                format!("{testnet} {name}")
            }
        };
        Self {
            masq: other("masq"),
            masqd: other("masqd"),
            testnet,
        }
    }
}

/// A path as one word of a shell.
#[must_use]
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_path_is_called_by_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let exe = folder.path().join("masq-testnet");
        std::fs::write(&exe, "").unwrap();
        let own = exe.display().to_string();
        let none = Programs::of(&exe, &[]);
        assert_eq!(none.testnet, own);
        assert_eq!(none.masqd, format!("{own} masqd"));
        let masq = folder.path().join("masq");
        std::fs::write(&masq, "").unwrap();
        assert_eq!(Programs::of(&exe, &[]).masq, masq.display().to_string());
        let all = Programs::of(&exe, &[folder.path().to_owned()]);
        assert_eq!(
            (all.testnet.as_str(), all.masq.as_str()),
            ("masq-testnet", "masq")
        );
        assert_eq!(all.masqd, "masq-testnet masqd");
    }

    #[test]
    fn paths_are_one_word() {
        assert_eq!(quoted(Path::new("/tmp/a-b_1.x")), "/tmp/a-b_1.x");
        assert_eq!(quoted(Path::new("/my mesh")), "'/my mesh'");
        assert_eq!(quoted(Path::new("it's")), r"'it'\''s'");
    }
}
