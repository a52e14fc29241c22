//! What a process uses of the machine: memory, processor time, open files, read
//! from `/proc`.

use std::fs;
use std::time::Duration;

use serde::Serialize;

use crate::process::ProcessId;

/// Clock ticks per second in `/proc/<pid>/stat`: 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: u64 = 100;

/// One look at a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Resident memory in bytes.
    pub memory: u64,
    /// Processor time since it started, of all its threads.
    #[serde(serialize_with = "seconds")]
    pub cpu: Duration,
    /// Open files, sockets among them.
    pub files: usize,
}

fn seconds<S: serde::Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(time.as_secs_f64())
}

impl Usage {
    /// Looks; `None` when the process is gone.
    #[must_use]
    pub fn of(process: ProcessId) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid)).ok()?;
        let files = fs::read_dir(format!("/proc/{}/fd", process.pid)).ok()?;
        Some(Self {
            memory: process.memory()?.now,
            cpu: cpu_time(&stat)?,
            files: files.count(),
        })
    }
}

/// Fields 14 and 15 of `/proc/<pid>/stat`, counted from after the name.
fn cpu_time(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis(
        (user + system) * 1000 / TICKS_PER_SECOND,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_user_and_system() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 1 0 99887 1 2 3";
        assert_eq!(cpu_time(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu_time("nonsense"), None);
        let own = Usage::of(ProcessId::own().unwrap()).unwrap();
        assert!(own.memory > 0 && own.files > 2);
    }
}
