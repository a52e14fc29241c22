//! Token buckets: how often something may happen. Time is handed in.

use std::time::Duration;

/// A bucket that refills one token per interval, up to its size. It starts full.
#[derive(Debug, Clone)]
pub(crate) struct TokenBucket {
    /// When it will be full.
    full_at: Duration,
    size: u32,
    interval: Duration,
}

impl TokenBucket {
    pub(crate) fn new(size: u32, interval: Duration, now: Duration) -> Self {
        Self {
            full_at: now,
            size,
            interval,
        }
    }

    /// Takes one token when there is one.
    pub(crate) fn take(&mut self, now: Duration) -> bool {
        let full_at = self.full_at.max(now).saturating_add(self.interval);
        let fits = full_at.saturating_sub(now) <= self.interval.saturating_mul(self.size);
        if fits {
            self.full_at = full_at;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empties_and_refills() {
        let second = Duration::from_secs(1);
        let mut bucket = TokenBucket::new(2, 2 * second, second);
        assert!(bucket.take(second));
        assert!(bucket.take(second));
        assert!(!bucket.take(2 * second));
        assert!(bucket.take(3 * second));
        assert!(!bucket.take(3 * second));
        assert!(bucket.take(100 * second));
    }
}
