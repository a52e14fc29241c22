//! Starting, watching and ending processes, exactly those and no others.
//!
//! A child hangs on a *leash*: it holds the reading end of a pipe whose writing
//! end only its parent has. When the parent closes the pipe, or dies in
//! whatever way, a child that was started with [`LEASH`] stops by itself. Processes that are not children
//! are ended by process id together with their start time, through a handle
//! that cannot come to mean another process in between.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, ChildStdin, Command};

use crate::error::TestnetError;
use crate::plan::Program;

/// The switch of `masqd` that makes its standard input a leash.
pub const LEASH: &str = "--exit-with-stdin";
/// Pause between two looks at a process that is not a child.
const WATCH_EVERY: Duration = Duration::from_millis(50);
/// How much of the end of a log is shown with an error, in bytes.
const TAIL: u64 = 2_000;

/// A process, named so that a later process with the same number is not
/// mistaken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot, from `/proc/<pid>/stat`.
    pub started: u64,
}

impl ProcessId {
    /// The process that now has this number.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let started =
            start_time(&stat).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(Self { pid, started })
    }

    /// This process.
    ///
    /// # Errors
    /// When `/proc` is not mounted.
    pub fn own() -> io::Result<Self> {
        Self::of(std::process::id())
    }

    /// True while exactly this process runs; a zombie does not run.
    #[must_use]
    pub fn is_alive(self) -> bool {
        let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", self.pid)) else {
            return false;
        };
        start_time(&stat) == Some(self.started) && !matches!(state(&stat), Some('Z' | 'X'))
    }

    /// A handle that stays with this process, or nothing when it is gone.
    fn handle(self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(i32::try_from(self.pid).ok()?)?;
        let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // The handle is open, so the number cannot be reused from here on.
        self.is_alive().then_some(handle)
    }

    /// Asks the process to stop (SIGTERM), waits up to `grace`, then ends it
    /// (SIGKILL). True when it stopped by itself or was gone already.
    pub async fn end(self, grace: Duration) -> bool {
        let Some(handle) = self.handle() else {
            return true;
        };
        if pidfd_send_signal(&handle, Signal::TERM).is_err() {
            return true;
        }
        if self.gone_within(grace).await {
            return true;
        }
        let _ = pidfd_send_signal(&handle, Signal::KILL);
        self.gone_within(Duration::from_secs(5)).await;
        false
    }

    fn signal(self, signal: Signal) -> bool {
        self.handle()
            .is_some_and(|handle| pidfd_send_signal(handle, signal).is_ok())
    }

    /// Ends the process at once (SIGKILL), as a crash would. False when it was gone already.
    pub fn kill(self) -> bool {
        self.signal(Signal::KILL)
    }

    /// Makes the process stand still (SIGSTOP): its connections stay open and are silent.
    pub fn pause(self) -> bool {
        self.signal(Signal::STOP)
    }

    /// Lets a process that stands still go on (SIGCONT).
    pub fn resume(self) -> bool {
        self.signal(Signal::CONT)
    }

    /// Waits until the process is gone, at most `limit`.
    pub async fn gone_within(self, limit: Duration) -> bool {
        let start = Instant::now();
        while self.is_alive() {
            if start.elapsed() > limit {
                return false;
            }
            tokio::time::sleep(WATCH_EVERY).await;
        }
        true
    }

    /// Resident memory in bytes, and the most it ever was.
    #[must_use]
    pub fn memory(self) -> Option<Memory> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        Memory::parse(&text)
    }
}

/// Resident memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Now.
    pub now: u64,
    /// At its highest.
    pub peak: u64,
}

impl Memory {
    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name))?;
            let kib: u64 = line
                .trim_start_matches(':')
                .split_whitespace()
                .next()?
                .parse()
                .ok()?;
            Some(kib * 1024)
        };
        Some(Self {
            now: field("VmRSS")?,
            peak: field("VmHWM")?,
        })
    }
}

/// Field 22 of `/proc/<pid>/stat`. The name in field 2 may contain anything,
/// closing brackets too, so fields are counted from the last one.
fn start_time(stat: &str) -> Option<u64> {
    after_name(stat)?.split_whitespace().nth(19)?.parse().ok()
}

fn state(stat: &str) -> Option<char> {
    after_name(stat)?.trim_start().chars().next()
}

fn after_name(stat: &str) -> Option<&str> {
    stat.rsplit_once(')').map(|(_, rest)| rest)
}

/// A node's process.
#[derive(Debug)]
pub struct NodeProcess {
    child: Child,
    leash: Option<ChildStdin>,
    id: ProcessId,
    log: PathBuf,
}

impl NodeProcess {
    /// Starts `program` as a `masqd` with `args`, its output going to `log`.
    /// Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When the log cannot be made or the program not be started.
    pub fn spawn(program: &Program, args: &[&str], log: &Path) -> Result<Self, TestnetError> {
        let output = File::create(log).map_err(TestnetError::file("cannot write", log))?;
        let errors = output
            .try_clone()
            .map_err(TestnetError::file("cannot write", log))?;
        let (path, mut command) = match program {
            Program::Multicall(path) => {
                let mut command = Command::new(path);
                command.arg0("masqd");
                (path, command)
            }
            Program::Masqd(path) => (path, Command::new(path)),
        };
        // Settings from the caller's environment are for the caller's own node.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MASQ_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            // Ctrl-C at the terminal is for the testnet, which ends its nodes
            // in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| TestnetError::Spawn {
                program: path.clone(),
                source,
            })?;
        let leash = child.stdin.take();
        let id = child
            .id()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
            .and_then(ProcessId::of)
            .map_err(|source| TestnetError::Spawn {
                program: path.clone(),
                source,
            })?;
        Ok(Self {
            child,
            leash,
            id,
            log: log.to_owned(),
        })
    }

    /// The process.
    #[must_use]
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// How it ended, when it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        // `Child::wait` would close a standard input it still had; the leash
        // was taken out before, so it stays held.
        self.child.wait().await
    }

    /// The last lines it wrote.
    #[must_use]
    pub fn log_tail(&self) -> String {
        log_tail(&self.log)
    }

    /// Stops it: SIGTERM and the end of the leash, up to `grace` to stop by
    /// itself, then SIGKILL. `None` when it had to be killed.
    pub async fn stop(mut self, grace: Duration) -> Option<ExitStatus> {
        if let Some(handle) = self.id.handle() {
            let _ = pidfd_send_signal(handle, Signal::TERM);
        }
        self.leash = None;
        if let Ok(status) = tokio::time::timeout(grace, self.child.wait()).await {
            return status.ok();
        }
        let _ = self.child.kill().await;
        None
    }
}

/// The last lines of a log, at most 2,000 bytes; empty when unreadable.
#[must_use]
pub fn log_tail(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    // A line cut in two says less than none.
    match text.split_once('\n') {
        Some((_, rest)) if text.len() as u64 >= TAIL => rest.to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_times_survive_odd_names() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 99887 1 2 3";
        assert_eq!(start_time(stat), Some(99_887));
        assert_eq!(state(stat), Some('S'));
        assert_eq!(start_time("nonsense"), None);
        assert!(ProcessId::own().unwrap().is_alive());
        let mut other = ProcessId::own().unwrap();
        other.started += 1;
        assert!(!other.is_alive(), "same number, another process");
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let text = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(
            Memory::parse(text),
            Some(Memory {
                now: 1 << 20,
                peak: 2 << 20
            })
        );
        assert!(ProcessId::own().unwrap().memory().unwrap().now > 0);
    }

    #[test]
    fn a_tail_is_short_and_begins_with_a_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let lines: String = (0..500).map(|n| format!("line {n}\n")).collect();
        fs::write(&log, lines).unwrap();
        let tail = log_tail(&log);
        assert!(
            tail.starts_with("line ") && tail.ends_with("line 499\n"),
            "{tail}"
        );
        assert!(tail.len() as u64 <= TAIL);
        assert_eq!(log_tail(&dir.path().join("none")), "");
    }

    fn shell(script: &str) -> (tempfile::TempDir, NodeProcess) {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let program = Program::Masqd("/bin/sh".into());
        let process = NodeProcess::spawn(&program, &["-c", script], &log).unwrap();
        (dir, process)
    }

    #[tokio::test]
    async fn a_willing_process_stops_and_a_stubborn_one_is_killed() {
        let (_dir, willing) = shell("cat");
        let id = willing.id();
        assert!(willing.stop(Duration::from_secs(20)).await.is_some());
        assert!(!id.is_alive());

        let (dir, mut stubborn) =
            shell("trap '' TERM; echo ready; while :; do read x || sleep 1; done");
        let log = dir.path().join("log");
        let start = Instant::now();
        while fs::read_to_string(&log).unwrap() != "ready\n" {
            assert!(start.elapsed() < Duration::from_secs(20));
            tokio::task::yield_now().await;
        }
        assert!(stubborn.ended().is_none());
        let id = stubborn.id();
        assert!(stubborn.stop(Duration::from_millis(100)).await.is_none());
        assert!(!id.is_alive());
    }

    #[tokio::test]
    async fn the_leash_alone_ends_a_child() {
        let (_dir, mut process) = shell("cat; exit 7");
        process.leash = None;
        assert_eq!(process.wait().await.unwrap().code(), Some(7));
    }

    #[tokio::test]
    async fn others_are_ended_by_number_and_start_time() {
        let (_dir, mut process) = shell("cat");
        let id = process.id();
        let mut wrong = id;
        wrong.started += 1;
        assert!(wrong.end(Duration::from_millis(1)).await, "counts as gone");
        assert!(process.ended().is_none(), "and was not touched");
        assert!(id.end(Duration::from_secs(20)).await);
        process.wait().await.unwrap();
    }
}
