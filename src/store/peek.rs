//! Looking into a database without changing its file.
//!
//! Opening a database writes: a check is a commit, and after a crash there is
//! something to repair. A file that turns out to be another program's, another
//! key's or damaged should stay as it is, to the byte. So it is opened once with
//! what is written held in memory and thrown away, and only then in earnest.

use std::{
    io,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use redb::{BackendError, StorageBackend, backends::FileBackend};

/// The first part of the error type in `redb`'s signatures.
type Result<T> = std::result::Result<T, io::Error>;

/// A file that is read and locked, and never written.
#[derive(Debug)]
pub(super) struct Peek {
    file: FileBackend,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    /// How long the file seems to be.
    length: u64,
    /// From here on nothing of the file shows: it was cut off here once.
    shown: u64,
    /// What was written, in order.
    writes: Vec<(u64, Vec<u8>)>,
}

impl Peek {
    pub(super) fn new(file: FileBackend) -> Result<Self> {
        let length = file.len()?;
        Ok(Self {
            file,
            held: Mutex::new(Held {
                length,
                shown: length,
                writes: Vec::new(),
            }),
        })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Every change of it is complete when it is made.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a span of that length ends, if it can.
fn end(offset: u64, length: usize) -> Result<u64> {
    u64::try_from(length)
        .ok()
        .and_then(|length| offset.checked_add(length))
        .ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// How much of a span from `offset` lies before `limit`, at most `length`.
fn before(limit: u64, offset: u64, length: usize) -> usize {
    usize::try_from(limit.saturating_sub(offset)).map_or(length, |count| count.min(length))
}

impl StorageBackend for Peek {
    fn len(&self) -> Result<u64> {
        Ok(self.held().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let held = self.held();
        let until = end(offset, out.len())?;
        if until > held.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (of_file, rest) = out.split_at_mut(before(held.shown, offset, out.len()));
        rest.fill(0);
        if !of_file.is_empty() {
            self.file.read(offset, of_file)?;
        }
        for (start, written) in &held.writes {
            let from = offset.max(*start);
            let to = until.min(end(*start, written.len())?);
            if from < to {
                // Both lie within spans that are in memory.
                let count = before(to, from, written.len());
                let target = before(from, offset, out.len());
                let source = before(from, *start, written.len());
                out[target..target + count].copy_from_slice(&written[source..source + count]);
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        let mut held = self.held();
        held.length = length;
        held.shown = held.shown.min(length);
        for (start, written) in &mut held.writes {
            let kept = before(length, *start, written.len());
            written.truncate(kept);
        }
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut held = self.held();
        held.length = held.length.max(end(offset, data.len())?);
        held.writes.push((offset, data.to_vec()));
        Ok(())
    }

    fn close(&self) -> Result<()> {
        self.file.close()
    }

    fn try_lock_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> std::result::Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> std::result::Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> std::result::Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> std::result::Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> std::result::Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> std::result::Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, Vec<u8>),
        SetLength(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let write = (0..40_u64, prop::collection::vec(any::<u8>(), 0..12))
            .prop_map(|(offset, data)| Step::Write(offset, data));
        let length = (0..50_u64).prop_map(Step::SetLength);
        prop::collection::vec(prop_oneof![write, length], 0..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// It looks like a file that was written, and is a file that was not.
        #[test]
        fn it_reads_as_if_it_had_been_written(steps in steps(), begin in 0..30_usize) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("file");
            let mut model: Vec<u8> = (1..=begin as u8).collect();
            std::fs::write(&path, &model).unwrap();
            let file = std::fs::File::open(&path).unwrap();
            let peek = Peek::new(FileBackend::new(file).unwrap()).unwrap();
            for step in steps {
                match step {
                    Step::Write(offset, data) => {
                        let offset = offset as usize;
                        model.resize(model.len().max(offset + data.len()), 0);
                        model[offset..offset + data.len()].copy_from_slice(&data);
                        peek.write(offset as u64, &data).unwrap();
                    }
                    Step::SetLength(length) => {
                        model.resize(length as usize, 0);
                        peek.set_len(length).unwrap();
                    }
                }
                prop_assert_eq!(peek.len().unwrap(), model.len() as u64);
                for start in 0..model.len() {
                    let mut out = vec![0xee; model.len() - start];
                    peek.read(start as u64, &mut out).unwrap();
                    prop_assert_eq!(&out[..], &model[start..]);
                }
                let mut beyond = vec![0; model.len() + 1];
                prop_assert!(peek.read(0, &mut beyond).is_err());
            }
            prop_assert_eq!(std::fs::read(&path).unwrap().len(), begin);
        }
    }
}
