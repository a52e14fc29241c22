//! A long download, as `curl -C -` in a loop would do it: at the pace of the server,
//! checked byte by byte, and reopened with `Range` where it broke. When bytes came
//! is written down, so that a silence has a beginning and an end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::task::JoinHandle;

use crate::fetch::{self, Via};
use crate::web::content;

/// A download without a byte for so long is given up and opened again, as a careful client
/// does (`curl --speed-time 10`).
const STALLED: Duration = Duration::from_secs(10);
/// How long opening may take.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// Pause before it is tried again (`curl --retry-delay 1`, halved).
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Where, how much, how fast.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) via: Via,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Bytes a second.
    pub(crate) rate: u64,
    /// Bytes in all.
    pub(crate) len: u64,
}

/// What is known of a download so far.
#[derive(Debug)]
struct Course {
    got: u64,
    last: Instant,
    /// Longest time without a byte since `mark`, and whether it was bridged by opening anew.
    longest: Duration,
    mark: Instant,
    reopened: u32,
    failed: u32,
    first_failure: Option<String>,
    wrong: bool,
}

/// How a download went.
#[derive(Debug, Clone, Serialize)]
pub struct DownloadReport {
    /// Bytes that arrived, each where it belongs.
    pub bytes: u64,
    /// Longest time without a byte since the nodes were killed, in seconds.
    pub silence_s: f64,
    /// How often it was opened again since then.
    pub reopened: u32,
    /// Attempts to open it that came to nothing.
    pub failed: u32,
    /// Why the first broke or failed.
    pub first_failure: Option<String>,
    /// Whether a byte was not the right one.
    pub wrong: bool,
    /// Whether it runs now.
    pub runs: bool,
}

/// A download in the background. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Download {
    course: Arc<Mutex<Course>>,
    task: JoinHandle<()>,
}

impl Drop for Download {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Download {
    pub(crate) fn start(source: Source) -> Self {
        let now = Instant::now();
        let course = Arc::new(Mutex::new(Course {
            got: 0,
            last: now,
            longest: Duration::ZERO,
            mark: now,
            reopened: 0,
            failed: 0,
            first_failure: None,
            wrong: false,
        }));
        let task = tokio::spawn(keep_on(source, Arc::clone(&course)));
        Self { course, task }
    }

    /// Bytes so far.
    pub(crate) fn got(&self) -> u64 {
        lock(&self.course).got
    }

    /// Silences count from now on.
    pub(crate) fn mark(&self) {
        let mut course = lock(&self.course);
        course.mark = Instant::now();
        course.longest = Duration::ZERO;
        (course.reopened, course.failed) = (0, 0);
        course.first_failure = None;
    }

    pub(crate) fn report(&self) -> DownloadReport {
        let course = lock(&self.course);
        let silent = course.last.max(course.mark).elapsed();
        DownloadReport {
            bytes: course.got,
            silence_s: course.longest.max(silent).as_secs_f64(),
            reopened: course.reopened,
            failed: course.failed,
            first_failure: course.first_failure.clone(),
            wrong: course.wrong,
            runs: silent < Duration::from_secs(2) && !course.wrong,
        }
    }
}

fn lock(course: &Mutex<Course>) -> MutexGuard<'_, Course> {
    // Held for a few assignments only.
    course.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn keep_on(source: Source, course: Arc<Mutex<Course>>) {
    loop {
        let from = lock(&course).got;
        if from >= source.len {
            return;
        }
        let why = match once(&source, from, &course).await {
            Ok(()) => continue,
            Err(why) => why,
        };
        {
            let mut course = lock(&course);
            if course.wrong {
                return;
            }
            course.first_failure.get_or_insert(why);
            // A try that brought nothing is a failed one.
            if course.got == from {
                course.failed += 1;
            } else {
                course.reopened += 1;
            }
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

/// Opens the download at an offset and reads until it ends or breaks.
async fn once(source: &Source, from: u64, course: &Mutex<Course>) -> Result<(), String> {
    let broke = |error: &dyn std::fmt::Display| error.to_string();
    let opening = fetch::tunnel(&source.via, &source.host, source.port, OPEN_LIMIT).await;
    let stream = opening.map_err(|e| broke(&e))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| broke(&e))?;
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .uri(format!("/paced/{}/{}", source.rate, source.len))
        .header(header::HOST, format!("{}:{}", source.host, source.port))
        .header(header::RANGE, format!("bytes={from}-"))
        .body(Empty::<Bytes>::new())
        .map_err(|e| broke(&e))?;
    let read = async {
        let answer = tokio::time::timeout(OPEN_LIMIT, sender.send_request(request))
            .await
            .map_err(|_| "no answer in time".to_owned())?
            .map_err(|e| broke(&e))?;
        if answer.status() != 206 {
            return Err(format!("status {}", answer.status()));
        }
        let mut body = answer.into_body();
        loop {
            let frame = tokio::time::timeout(STALLED, body.frame())
                .await
                .map_err(|_| format!("no byte for {} s", STALLED.as_secs()))?;
            match frame {
                None => return Ok(()),
                Some(Err(error)) => return Err(broke(&error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        take(&mut lock(course), &data, source.len)?;
                    }
                }
            }
        }
    };
    let result = read.await;
    driver.abort();
    result
}

/// Takes bytes in, if they are the ones that belong there.
fn take(course: &mut Course, data: &[u8], len: u64) -> Result<(), String> {
    let mut rest = data;
    while !rest.is_empty() {
        let right = content::range(course.got, rest.len(), len);
        let (now, later) = rest.split_at(right.len().min(rest.len()));
        if now.is_empty() || *now != right[..] {
            course.wrong = true;
            return Err(format!("a wrong byte after {}", course.got));
        }
        course.got += now.len() as u64;
        rest = later;
    }
    let now = Instant::now();
    let silent = now.saturating_duration_since(course.last.max(course.mark));
    course.longest = course.longest.max(silent);
    course.last = now;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::WebServer;

    fn source(web: &WebServer, rate: u64, len: u64) -> Source {
        Source {
            via: Via::Direct,
            host: "127.0.0.1".to_owned(),
            port: web.port(),
            rate,
            len,
        }
    }

    #[tokio::test]
    async fn comes_to_its_end_with_the_right_bytes() {
        let web = WebServer::on_loopback().await.unwrap();
        let download = Download::start(source(&web, 10_000_000, 300_001));
        let start = Instant::now();
        while download.got() < 300_001 {
            assert!(start.elapsed() < Duration::from_secs(20));
            tokio::task::yield_now().await;
        }
        let report = download.report();
        assert!(!report.wrong);
        assert_eq!((report.reopened, report.failed), (0, 0));
    }

    #[tokio::test]
    async fn goes_on_where_it_broke() {
        let web = WebServer::on_loopback().await.unwrap();
        let mut broken = source(&web, 1_000_000, 1_000_000);
        // A server that is gone, then there.
        let port = std::mem::replace(&mut broken.port, 1);
        let course = Arc::new(Mutex::new(Course {
            got: 123_457,
            last: Instant::now(),
            longest: Duration::ZERO,
            mark: Instant::now(),
            reopened: 0,
            failed: 0,
            first_failure: None,
            wrong: false,
        }));
        once(&broken, 123_457, &course).await.unwrap_err();
        broken.port = port;
        once(&broken, 123_457, &course).await.unwrap();
        assert_eq!(lock(&course).got, 1_000_000);
    }
}
