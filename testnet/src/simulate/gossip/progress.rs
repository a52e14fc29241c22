//! How far the runs are: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Time between two lines where there is no terminal; nothing is said before the first has passed.
const PLAIN_EVERY: Duration = Duration::from_secs(30);

/// Counts virtual time over all runs. Shared by the threads that do them.
#[derive(Debug)]
pub struct Meter {
    total: Duration,
    runs: usize,
    millis: AtomicU64,
    done: AtomicU64,
    bar: Option<ProgressBar>,
    start: Instant,
    said: Mutex<Instant>,
}

impl Meter {
    /// For so many runs that take so much virtual time together.
    #[must_use]
    pub fn new(runs: usize, total: Duration) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total.as_secs());
            let template = "{wide_bar} {percent} % of the virtual time, {msg}, {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_message(format!("0 of {runs} runs"));
            bar
        });
        Self::with(runs, total, bar)
    }

    /// One that nobody sees.
    #[must_use]
    pub fn silent() -> Self {
        Self::with(0, Duration::ZERO, None)
    }

    fn with(runs: usize, total: Duration, bar: Option<ProgressBar>) -> Self {
        let now = Instant::now();
        Self {
            total,
            runs,
            millis: AtomicU64::new(0),
            done: AtomicU64::new(0),
            bar,
            start: now,
            said: Mutex::new(now),
        }
    }

    /// A run came on so far in virtual time.
    pub fn advance(&self, time: Duration) {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let millis = self.millis.fetch_add(time, Ordering::Relaxed) + time;
        if let Some(bar) = &self.bar {
            bar.set_position((millis / 1000).min(self.total.as_secs()));
            return;
        }
        if let Ok(mut said) = self.said.try_lock()
            && said.elapsed() >= PLAIN_EVERY
            && !self.total.is_zero()
        {
            *said = Instant::now();
            #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
            let percent = millis as f64 / self.total.as_millis() as f64 * 100.0;
            eprintln!(
                "{percent:.1} % of the virtual time, {} of {} runs ({:.0} s)",
                self.done.load(Ordering::Relaxed),
                self.runs,
                self.start.elapsed().as_secs_f64()
            );
        }
    }

    /// A run is over.
    pub fn run_done(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{done} of {} runs", self.runs));
        }
    }

    /// Takes the bar away, so that other text does not run into it.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
