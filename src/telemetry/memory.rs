//! How much memory the process has resident.

/// Bytes of resident memory. `None` where the system doesn't say.
///
/// Reads a file of the kernel's that is made up in memory: it takes
/// microseconds.
#[must_use]
pub fn resident_memory() -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Finds `VmRSS:   12345 kB`.
fn parse(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_words() {
        assert_eq!(
            parse("Name:\tx\nVmRSS:\t    2048 kB\nVmData:\t1 kB\n"),
            Some(2 << 20)
        );
        assert_eq!(parse("Name:\tx\n"), None);
        assert_eq!(parse("VmRSS:\t99999999999999999999 kB\n"), None);
        if cfg!(target_os = "linux") {
            assert!(resident_memory().is_some_and(|bytes| bytes > 100_000));
        }
    }
}
