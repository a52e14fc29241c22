//! Connecting to one of several addresses: happy eyeballs (RFC 8305), and what
//! the system's errors mean. Which addresses are allowed was decided before.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use masq_cores::flow::FlowStatus;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

/// Between the starts of two attempts (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How long connecting may take in all (guess: three exits have to fit into
/// what people wait, and a SYN is sent four times in that time).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Addresses of one name that are tried (guess: happy eyeballs seldom gets
/// beyond the second).
const MAX_ADDRESSES: usize = 8;

/// Addresses that outgoing connections are bound to; `None` leaves the choice
/// to the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SourceAddresses {
    /// For connections to IPv4 addresses.
    pub v4: Option<Ipv4Addr>,
    /// For connections to IPv6 addresses.
    pub v6: Option<Ipv6Addr>,
}

/// Connects to the first of `addresses` that answers.
pub(super) async fn connect(
    addresses: &[IpAddr],
    port: u16,
    source: SourceAddresses,
) -> Result<TcpStream, FlowStatus> {
    let targets = interleave(addresses, port);
    let socket = race(targets, |target| connect_one(target, source)).await?;
    // A socket that cannot do this is dead, and reading it will say so.
    let _ = socket.set_nodelay(true);
    Ok(socket)
}

async fn connect_one(target: SocketAddr, source: SourceAddresses) -> io::Result<TcpStream> {
    let (socket, from) = match target {
        SocketAddr::V4(_) => (TcpSocket::new_v4()?, source.v4.map(IpAddr::V4)),
        SocketAddr::V6(_) => (TcpSocket::new_v6()?, source.v6.map(IpAddr::V6)),
    };
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    socket.connect(target).await
}

/// Families in turn, beginning with that of the first address.
fn interleave(addresses: &[IpAddr], port: u16) -> VecDeque<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (mut first, mut second): (VecDeque<IpAddr>, VecDeque<IpAddr>) = addresses
        .iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut order = VecDeque::new();
    while order.len() < MAX_ADDRESSES && !(first.is_empty() && second.is_empty()) {
        order.extend(first.pop_front());
        order.extend(second.pop_front());
    }
    order.truncate(MAX_ADDRESSES);
    order
        .into_iter()
        .map(|address| SocketAddr::new(address, port))
        .collect()
}

/// Starts `connect` for one target after the other, [`ATTEMPT_DELAY`] apart or
/// as soon as one failed, and returns the first success; the other attempts
/// are dropped.
async fn race<T, F, Fut>(targets: VecDeque<SocketAddr>, connect: F) -> Result<T, FlowStatus>
where
    F: Fn(SocketAddr) -> Fut,
    Fut: Future<Output = io::Result<T>>,
{
    match timeout(CONNECT_TIMEOUT, race_without_end(targets, connect)).await {
        Ok(result) => result,
        Err(_) => Err(FlowStatus::TimedOut),
    }
}

async fn race_without_end<T, F, Fut>(
    mut targets: VecDeque<SocketAddr>,
    connect: F,
) -> Result<T, FlowStatus>
where
    F: Fn(SocketAddr) -> Fut,
    Fut: Future<Output = io::Result<T>>,
{
    let mut running = FuturesUnordered::new();
    let mut worst = None;
    loop {
        if let Some(target) = targets.pop_front() {
            running.push(connect(target));
        }
        if running.is_empty() {
            return Err(worst.unwrap_or(FlowStatus::HostUnreachable));
        }
        tokio::select! {
            Some(result) = running.next() => match result {
                Ok(connected) => return Ok(connected),
                Err(error) => {
                    let status = status_of(&error);
                    worst = Some(worst.map_or(status, |known| more_telling(known, status)));
                }
            },
            () = sleep(ATTEMPT_DELAY), if !targets.is_empty() => {}
        }
    }
}

/// Of two reasons, the one that says more about the server.
fn more_telling(a: FlowStatus, b: FlowStatus) -> FlowStatus {
    let rank = |status| match status {
        FlowStatus::ConnectionRefused => 0,
        FlowStatus::TimedOut => 1,
        FlowStatus::HostUnreachable => 2,
        FlowStatus::Overloaded => 3,
        FlowStatus::NetworkUnreachable => 4,
        _ => 5,
    };
    if rank(b) < rank(a) { b } else { a }
}

/// What the system's error means to a client.
fn status_of(error: &io::Error) -> FlowStatus {
    /// EMFILE and ENFILE, which have no kind of their own.
    const TOO_MANY_FILES: [i32; 2] = [24, 23];
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {
            FlowStatus::ConnectionRefused
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::PermissionDenied => {
            FlowStatus::HostUnreachable
        }
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => {
            FlowStatus::NetworkUnreachable
        }
        io::ErrorKind::TimedOut => FlowStatus::TimedOut,
        // No source port or address left.
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => FlowStatus::Overloaded,
        _ if error
            .raw_os_error()
            .is_some_and(|code| TOO_MANY_FILES.contains(&code)) =>
        {
            FlowStatus::Overloaded
        }
        _ => FlowStatus::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tokio::time::Instant;

    const V6: &str = "2606:4700::1";
    const V4: &str = "192.0.2.1";

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    enum Fate {
        Answers(u64),
        Fails(io::ErrorKind),
        Silent,
    }

    /// Runs the race on virtual time: what won or why none did, and when each
    /// attempt began, in milliseconds.
    async fn run(fates: &[(&str, Fate)]) -> (Result<IpAddr, FlowStatus>, Vec<u128>) {
        let order: Vec<IpAddr> = fates
            .iter()
            .map(|(text, _)| text.parse().unwrap())
            .collect();
        let start = Instant::now();
        let began = Mutex::new(Vec::new());
        let result = race(interleave(&order, 443), |target| {
            began.lock().unwrap().push(start.elapsed().as_millis());
            let fate = fates
                .iter()
                .find(|(text, _)| *text == target.ip().to_string());
            async move {
                match &fate.unwrap().1 {
                    Fate::Answers(ms) => {
                        sleep(Duration::from_millis(*ms)).await;
                        Ok(target.ip())
                    }
                    Fate::Fails(kind) => Err(io::Error::from(*kind)),
                    Fate::Silent => futures::future::pending().await,
                }
            }
        })
        .await;
        (result, began.into_inner().unwrap())
    }

    #[test]
    fn families_take_turns() {
        let order = interleave(&addresses(&["::1", "::2", "1.0.0.1", "1.0.0.2", "::3"]), 80);
        let order: Vec<String> = order.iter().map(|a| a.ip().to_string()).collect();
        assert_eq!(order, ["::1", "1.0.0.1", "::2", "1.0.0.2", "::3"]);
        let many: Vec<IpAddr> = (0..100).map(|n| Ipv4Addr::new(1, 0, 0, n).into()).collect();
        assert_eq!(interleave(&many, 80).len(), MAX_ADDRESSES);
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_family_starts_a_quarter_second_later() {
        let (won, began) = run(&[(V6, Fate::Silent), (V4, Fate::Answers(10))]).await;
        assert_eq!(won, Ok(V4.parse().unwrap()));
        assert_eq!(began, [0, 250]);
        // Whoever answers first wins, not whoever began last.
        let (won, _) = run(&[(V6, Fate::Answers(300)), (V4, Fate::Answers(100))]).await;
        assert_eq!(won, Ok(V6.parse().unwrap()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_starts_the_next_at_once() {
        let fates = [
            (V6, Fate::Fails(io::ErrorKind::NetworkUnreachable)),
            (V4, Fate::Answers(10)),
        ];
        let (won, began) = run(&fates).await;
        assert_eq!((won, began), (Ok(V4.parse().unwrap()), vec![0, 0]));
    }

    #[tokio::test(start_paused = true)]
    async fn s16_the_most_telling_failure_is_reported() {
        let refused = Fate::Fails(io::ErrorKind::ConnectionRefused);
        let fates = [
            (V6, refused),
            (V4, Fate::Fails(io::ErrorKind::NetworkUnreachable)),
        ];
        assert_eq!(run(&fates).await.0, Err(FlowStatus::ConnectionRefused));
        assert_eq!(run(&[]).await.0, Err(FlowStatus::HostUnreachable));
        let started = Instant::now();
        assert_eq!(
            run(&[(V4, Fate::Silent)]).await.0,
            Err(FlowStatus::TimedOut)
        );
        assert_eq!(started.elapsed(), CONNECT_TIMEOUT);
        assert_eq!(
            status_of(&io::Error::from_raw_os_error(24)),
            FlowStatus::Overloaded
        );
    }
}
