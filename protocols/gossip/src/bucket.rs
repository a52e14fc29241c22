//! Token buckets: how often something may happen. Time is handed in.

use std::time::Duration;

/// A bucket that refills steadily up to its size.
#[derive(Debug, Clone)]
pub(crate) struct TokenBucket {
    tokens: f64,
    size: f64,
    per_second: f64,
    last: Duration,
}

impl TokenBucket {
    /// A full bucket.
    pub(crate) fn new(size: u32, per_second: f64, now: Duration) -> Self {
        Self {
            tokens: size.into(),
            size: size.into(),
            per_second,
            last: now,
        }
    }

    /// Takes one token when there is one.
    pub(crate) fn take(&mut self, now: Duration) -> bool {
        self.refill(now);
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }

    /// Whether there is a token; takes none.
    pub(crate) fn has(&mut self, now: Duration) -> bool {
        self.refill(now);
        self.tokens >= 1.0
    }

    /// Takes tokens whether they are there or not: nothing is to be had until as many have come
    /// again.
    pub(crate) fn charge(&mut self, tokens: u32, now: Duration) {
        self.refill(now);
        let tokens = f64::from(tokens);
        self.tokens = (self.tokens - tokens).max(-tokens);
    }

    fn refill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.last).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.size);
        self.last = self.last.max(now);
    }

    /// When it was last used: the oldest buckets are forgotten first.
    pub(crate) fn last_used(&self) -> Duration {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empties_and_refills() {
        let mut bucket = TokenBucket::new(2, 0.5, Duration::ZERO);
        assert!(bucket.take(Duration::ZERO));
        assert!(bucket.take(Duration::ZERO));
        assert!(!bucket.take(Duration::from_secs(1)));
        assert!(bucket.take(Duration::from_secs(2)));
        assert!(!bucket.take(Duration::from_secs(2)));
    }

    #[test]
    fn what_is_charged_must_come_again_first() {
        let mut bucket = TokenBucket::new(4, 0.5, Duration::ZERO);
        bucket.charge(3, Duration::ZERO);
        assert!(bucket.take(Duration::ZERO));
        bucket.charge(3, Duration::ZERO);
        bucket.charge(3, Duration::ZERO);
        assert!(!bucket.take(Duration::from_secs(7)));
        assert!(bucket.take(Duration::from_secs(8)), "the debt has a bound");
    }
}
