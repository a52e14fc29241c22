//! The next nonce, kept outside the database: that is how a restored backup is noticed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Keeps one number on something that survives and is not the database.
pub trait NonceNote: Send {
    /// What was written last.
    ///
    /// # Errors
    /// When it can't be read, or is no number.
    fn read(&self) -> io::Result<Option<u64>>;

    /// Writes durably.
    ///
    /// # Errors
    /// When it can't be written; what was there before is there still.
    fn write(&mut self, next: u64) -> io::Result<()>;
}

/// A file with the number in it, and nothing else. Leave it out of backups of the database.
#[derive(Debug)]
pub struct FileNote {
    path: PathBuf,
}

/// More than twenty digits and a newline are no number.
const MAX_LEN: u64 = 32;

impl FileNote {
    /// The note at `path`; it comes to be with the first number.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn folder(&self) -> &Path {
        let folder = self.path.parent();
        folder
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."))
    }
}

impl NonceNote for FileNote {
    fn read(&self) -> io::Result<Option<u64>> {
        let length = match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?.len(),
        };
        let text = if length <= MAX_LEN {
            fs::read_to_string(&self.path)?
        } else {
            String::new()
        };
        let number = text.trim().parse().map_err(|_| {
            let what = format!("{} holds no number", self.path.display());
            io::Error::new(io::ErrorKind::InvalidData, what)
        });
        number.map(Some)
    }

    fn write(&mut self, next: u64) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(format!("{next}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        // The new name is durable with its folder.
        File::open(self.folder())?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_last_number_is_read_and_garbage_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("next-nonce");
        let mut note = FileNote::new(&path);
        assert_eq!(note.read().unwrap(), None);
        note.write(7).unwrap();
        note.write(8).unwrap();
        assert_eq!(FileNote::new(&path).read().unwrap(), Some(8));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(
            mode & 0o077,
            0,
            "how much this node pays is nobody's business"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        for garbage in ["", "x", "-1", &"9".repeat(1_000)] {
            fs::write(&path, garbage).unwrap();
            assert!(note.read().is_err());
        }
    }
}
