//! What opens a vault: a password, or a key file.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{Lock, VaultError};
use crate::datadir;

/// Fewest characters of a new password (guess: what Argon2id makes a guesser of
/// eight random letters pay is still years of a machine).
pub const MIN_PASSWORD: usize = 8;
/// Longest password that is read from a file, in bytes.
pub(super) const MAX_PASSWORD: usize = 1024;

/// A password. Wiped when dropped; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// This text, as it is.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The first line of a file.
    ///
    /// # Errors
    ///
    /// When the file can't be read, is readable by others, or does not begin
    /// with a line of text.
    pub fn from_file(path: &Path) -> Result<Self, VaultError> {
        let unusable = |what| VaultError::PasswordFile {
            path: path.to_owned(),
            what,
        };
        let bytes = datadir::read_secret(path)?.ok_or_else(|| unusable("it does not exist"))?;
        let line = bytes
            .split(|&byte| byte == b'\n')
            .next()
            .unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Err(unusable("its first line is empty"));
        }
        if line.len() > MAX_PASSWORD {
            return Err(unusable("its first line is too long for a password"));
        }
        let text = std::str::from_utf8(line).map_err(|_| unusable("it holds no text"))?;
        Ok(Self::new(text))
    }

    /// Its bytes (UTF-8).
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Whether it is good enough to protect something new.
    ///
    /// # Errors
    ///
    /// When it is too short.
    pub fn check(&self) -> Result<(), VaultError> {
        if self.0.chars().count() < MIN_PASSWORD {
            Err(VaultError::Short)
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password([scrubbed])")
    }
}

/// What opens a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unlock {
    /// A password.
    Password(Password),
    /// A file with 32 random bytes, mode 0600; made when a vault is made for it
    /// and it is missing.
    KeyFile(PathBuf),
}

impl Unlock {
    /// Which of the two it is.
    #[must_use]
    pub const fn lock(&self) -> Lock {
        match self {
            Self::Password(_) => Lock::Password,
            Self::KeyFile(_) => Lock::KeyFile,
        }
    }
}
