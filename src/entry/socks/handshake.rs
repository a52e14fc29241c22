//! The conversation up to a SOCKS request. The parser is Arti's
//! `tor-socksproto`; what is added here are answers to what it rejects, since
//! a client that is told nothing can only guess.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tor_socksproto::{Buffer, Error, Handshake, NextStep, SocksProxyHandshake, SocksRequest};

const VERSION_4: u8 = 4;
const VERSION_5: u8 = 5;

/// "No acceptable methods", RFC 1928 section 3.
const NO_METHOD: [u8; 2] = [VERSION_5, 0xFF];

/// "Request rejected or failed" of SOCKS4.
const SOCKS4_REJECTED: [u8; 8] = [0, 0x5B, 0, 0, 0, 0, 0, 0];

/// What a browser sees that takes the SOCKS port for an HTTP proxy.
const THIS_IS_SOCKS: &str = "This port is a SOCKS proxy, not an HTTP proxy.\n\
    Set it as SOCKS5 proxy in your program (curl: --proxy socks5h://HOST:PORT),\n\
    or use the HTTP proxy of this node (setting `http`, by default port 8118).\n";

/// Why there is no request, and what to send before closing.
#[derive(Debug)]
pub(super) struct Rejected {
    /// For the log.
    pub(super) reason: &'static str,
    /// Empty when nothing useful can be said.
    pub(super) answer: Vec<u8>,
}

impl Rejected {
    fn new(reason: &'static str, answer: &[u8]) -> Self {
        Self {
            reason,
            answer: answer.to_vec(),
        }
    }
}

/// Reads a request; also returns the bytes the client sent after it.
///
/// # Errors
///
/// [`Rejected`] when the client speaks something else, asks for something
/// that is not offered, leaves, or takes longer than `limit`.
pub(super) async fn negotiate<S>(
    socket: &mut S,
    limit: Duration,
) -> Result<(SocksRequest, Vec<u8>), Rejected>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    timeout(limit, converse(socket))
        .await
        .unwrap_or_else(|_| Err(Rejected::new("took too long", &[])))
}

async fn converse<S>(socket: &mut S) -> Result<(SocksRequest, Vec<u8>), Rejected>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let gone = |_| Rejected::new("left during the handshake", &[]);
    let mut handshake = SocksProxyHandshake::new();
    let mut buffer = Buffer::new();
    let mut answered = false;
    loop {
        match handshake.step(&mut buffer) {
            Ok(NextStep::Send(answer)) => {
                socket.write_all(&answer).await.map_err(gone)?;
                answered = true;
            }
            Ok(NextStep::Recv(mut step)) => {
                let n = socket.read(step.buf()).await.map_err(gone)?;
                step.note_received(n)
                    .map_err(|_| Rejected::new("left during the handshake", &[]))?;
            }
            Ok(NextStep::Finished(finished)) => return Ok(finished.into_output_and_vec()),
            Err(error) => return Err(reject(&error, buffer.filled_slice(), answered)),
        }
    }
}

/// What to answer to `input`, which the parser did not take. `answered` tells
/// the SOCKS5 request from the greeting before it.
fn reject(error: &Error, input: &[u8], answered: bool) -> Rejected {
    let first = input.first().copied();
    match (error, first, answered) {
        (Error::BadProtocol(_), Some(byte), false) if byte.is_ascii_uppercase() => {
            Rejected::new("speaks HTTP", http_answer().as_bytes())
        }
        (Error::BadProtocol(_), _, false) => Rejected::new("does not speak SOCKS", &[]),
        (_, Some(VERSION_4), false) => Rejected::new("SOCKS4 request refused", &SOCKS4_REJECTED),
        (Error::NotImplemented(_), Some(VERSION_5), false) => {
            Rejected::new("no authentication method in common", &NO_METHOD)
        }
        (Error::NotImplemented(_), Some(VERSION_5), true) => {
            Rejected::new("command not supported", &failure(0x07))
        }
        (_, Some(VERSION_5), true) if !matches!(input.get(3), None | Some(1 | 3 | 4)) => {
            Rejected::new("address type not supported", &failure(0x08))
        }
        (_, Some(VERSION_5), true) => Rejected::new("malformed request", &failure(0x01)),
        _ => Rejected::new("malformed handshake", &[]),
    }
}

/// A SOCKS5 reply with code `status` and no address.
fn failure(status: u8) -> [u8; 10] {
    [VERSION_5, status, 0, 1, 0, 0, 0, 0, 0, 0]
}

fn http_answer() -> String {
    format!(
        "HTTP/1.1 501 Not an HTTP proxy\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{THIS_IS_SOCKS}",
        THIS_IS_SOCKS.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::{DuplexStream, duplex};
    use tor_socksproto::{SocksAuth, SocksCmd};

    const LIMIT: Duration = Duration::from_secs(30);

    /// Sends `input` in pieces of `step` bytes, ends the stream, and returns
    /// the outcome with everything that was answered.
    async fn run(
        input: &[u8],
        step: usize,
    ) -> (Result<(SocksRequest, Vec<u8>), Rejected>, Vec<u8>) {
        let (mut client, mut server) = duplex(4096);
        let input = input.to_vec();
        let client = tokio::spawn(async move {
            for piece in input.chunks(step) {
                // The other side stops reading once it has decided.
                if client.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            let _ = client.shutdown().await;
            let mut answers = Vec::new();
            client.read_to_end(&mut answers).await.unwrap();
            answers
        });
        let outcome = negotiate(&mut server, LIMIT).await;
        drop(server);
        (outcome, client.await.unwrap())
    }

    #[tokio::test]
    async fn socks5_byte_by_byte_as_curl_sends_it() {
        let mut input = vec![5, 2, 0, 2, 1, 4];
        input.extend(b"user");
        input.extend([4]);
        input.extend(b"pass");
        input.extend([5, 1, 0, 3, 11]);
        input.extend(b"example.org");
        input.extend([0x01, 0xBB]);
        for step in [1, 2, 3, 64] {
            let (outcome, answers) = run(&input, step).await;
            let (request, early) = outcome.unwrap();
            assert_eq!(answers, [5, 2, 1, 0]);
            assert_eq!(request.command(), SocksCmd::CONNECT);
            assert_eq!(request.addr().to_string(), "example.org");
            assert_eq!(request.port(), 443);
            assert_eq!(
                *request.auth(),
                SocksAuth::Username(b"user".into(), b"pass".into())
            );
            assert!(early.is_empty());
        }
    }

    #[tokio::test]
    async fn bytes_after_the_request_are_kept() {
        let input = b"\x05\x01\x00\x05\x01\x00\x01\xC0\x00\x02\x01\x00\x50GET / HTTP/1.0\r\n";
        let (outcome, _) = run(input, 512).await;
        let (request, early) = outcome.unwrap();
        assert_eq!(request.addr().to_string(), "192.0.2.1");
        assert_eq!(early, b"GET / HTTP/1.0\r\n");
    }

    #[tokio::test]
    async fn socks4a_is_understood() {
        let (outcome, answers) = run(b"\x04\x01\x01\xBB\x00\x00\x00\x01me\0example.org\0", 1).await;
        let (request, _) = outcome.unwrap();
        assert!(answers.is_empty());
        assert_eq!(request.addr().to_string(), "example.org");
        assert_eq!(*request.auth(), SocksAuth::Socks4(b"me".into()));
    }

    #[tokio::test]
    async fn what_is_refused_is_told_why() {
        let cases: [(&[u8], &[u8]); 8] = [
            // GSSAPI only.
            (&[5, 1, 1], &NO_METHOD),
            // BIND, UDP ASSOCIATE, an unknown command.
            (
                &[5, 1, 0, 5, 2, 0, 1, 1, 2, 3, 4, 0, 80],
                &[5, 0, 5, 7, 0, 1, 0, 0, 0, 0, 0, 0],
            ),
            (
                &[5, 1, 0, 5, 3, 0, 1, 1, 2, 3, 4, 0, 80],
                &[5, 0, 5, 7, 0, 1, 0, 0, 0, 0, 0, 0],
            ),
            (
                &[5, 1, 0, 5, 9, 0, 1, 1, 2, 3, 4, 0, 80],
                &[5, 0, 5, 7, 0, 1, 0, 0, 0, 0, 0, 0],
            ),
            // Address type 9.
            (
                &[5, 1, 0, 5, 1, 0, 9, 1, 2, 3, 4, 0, 80],
                &[5, 0, 5, 8, 0, 1, 0, 0, 0, 0, 0, 0],
            ),
            // Port 0.
            (
                &[5, 1, 0, 5, 1, 0, 1, 1, 2, 3, 4, 0, 0],
                &[5, 0, 5, 1, 0, 1, 0, 0, 0, 0, 0, 0],
            ),
            // SOCKS4 BIND.
            (&[4, 2, 0, 80, 1, 2, 3, 4, 0], &SOCKS4_REJECTED),
            // A TLS client hello.
            (&[0x16, 3, 1, 2, 0], &[]),
        ];
        for (input, expected) in cases {
            let (outcome, mut answers) = run(input, 512).await;
            answers.extend(outcome.unwrap_err().answer);
            assert_eq!(answers, expected, "{input:?}");
        }
    }

    #[tokio::test]
    async fn http_gets_an_answer_that_names_the_mistake() {
        for line in [
            "GET http://example.org/ HTTP/1.1\r\n",
            "CONNECT example.org:443 HTTP/1.1\r\n",
        ] {
            let (outcome, _) = run(line.as_bytes(), 7).await;
            let answer = String::from_utf8(outcome.unwrap_err().answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 501 ") && answer.contains("SOCKS proxy"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_given_up_after_the_limit() {
        let (client, mut server): (DuplexStream, DuplexStream) = duplex(64);
        let started = tokio::time::Instant::now();
        let rejected = negotiate(&mut server, LIMIT).await.unwrap_err();
        assert_eq!(rejected.reason, "took too long");
        assert_eq!(started.elapsed(), LIMIT);
        drop(client);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn garbage_never_panics_or_hangs(
            start in prop::sample::select(vec![&b""[..], b"\x05\x01\x00", b"\x05\x01\x02\x01", b"\x04\x01", b"\x05\x01\x00\x05\x01\x00\x03"]),
            rest in prop::collection::vec(any::<u8>(), 0..1200),
            step in 1usize..600,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            let mut input = start.to_vec();
            input.extend(rest);
            let _ = runtime.block_on(run(&input, step));
        }
    }
}
