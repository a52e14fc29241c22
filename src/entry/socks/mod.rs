//! The SOCKS proxy: SOCKS5 with user/password, SOCKS4 and SOCKS4a; CONNECT,
//! and Tor's RESOLVE and RESOLVE_PTR.
//!
//! The conversation up to the request is in `handshake`; here the request is
//! carried out and answered. Specification: RFC 1928, RFC 1929, and Tor's
//! `socks-extensions`.

mod handshake;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tor_socksproto::{SocksAddr, SocksAuth, SocksCmd, SocksRequest, SocksStatus};

use super::failure::Failure;
use super::listener::Shared;
use super::target::{Target, host_from_ip, parse_host};
use super::{Isolation, OpenError};
use crate::pipe::{Early, pipe};
use masq_cores::flow::{FlowStatus, Host};

/// How long a client may take from connecting to the end of its request
/// (guess: a person typing into `nc` does not need to succeed).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// What is read and thrown away after a refusal, so that closing does not
/// turn into a reset that overtakes the answer.
const LINGER_BYTES: u64 = 64 * 1024;

/// For how long (guess).
const LINGER_TIME: Duration = Duration::from_secs(1);

/// Speaks SOCKS on a client's connection until it has ended.
pub(super) async fn serve(mut socket: TcpStream, shared: Arc<Shared>) {
    let negotiated = handshake::negotiate(&mut socket, HANDSHAKE_TIMEOUT).await;
    let (request, early) = match negotiated {
        Ok(negotiated) => negotiated,
        Err(rejected) => {
            tracing::debug!(reason = rejected.reason, "SOCKS client rejected");
            refuse(socket, &rejected.answer).await;
            return;
        }
    };
    let isolation = isolation(request.auth());
    match request.command() {
        SocksCmd::CONNECT => connect(socket, &shared, &request, isolation, early).await,
        SocksCmd::RESOLVE | SocksCmd::RESOLVE_PTR => {
            let answer = lookup(&shared, &request, isolation).await;
            refuse(socket, &answer).await;
        }
        _ => {
            refuse(
                socket,
                &reply(&request, SocksStatus::COMMAND_NOT_SUPPORTED, None),
            )
            .await
        }
    }
}

async fn connect(
    mut socket: TcpStream,
    shared: &Arc<Shared>,
    request: &SocksRequest,
    isolation: Isolation,
    early: Vec<u8>,
) {
    let Some(host) = host_of(request.addr()) else {
        let answer = reply(request, SocksStatus::ADDRTYPE_NOT_SUPPORTED, None);
        return refuse(socket, &answer).await;
    };
    let opening = shared.open(
        Target {
            host,
            port: request.port(),
        },
        isolation,
    );
    let opened = tokio::select! {
        opened = opening => opened,
        // The client is gone; nobody waits for the flow any more.
        _ = socket.ready(Interest::ERROR) => return,
    };
    let (tunnel, _counted) = match opened {
        Ok(opened) => opened,
        Err(failure) => {
            let answer = reply(request, failure.wording().socks, None);
            return refuse(socket, &answer).await;
        }
    };
    if socket
        .write_all(&reply(request, SocksStatus::SUCCEEDED, None))
        .await
        .is_err()
    {
        return;
    }
    let early = Early {
        to_flow: Bytes::from(early),
        to_socket: Bytes::new(),
    };
    let end = pipe(
        socket,
        tunnel,
        early,
        shared.pipe_limits,
        &shared.stats.traffic,
    )
    .await;
    tracing::trace!(?end, "flow ended");
}

/// Carries out RESOLVE or RESOLVE_PTR and returns the answer.
async fn lookup(shared: &Shared, request: &SocksRequest, isolation: Isolation) -> Vec<u8> {
    let result = if request.command() == SocksCmd::RESOLVE {
        resolve(shared, request.addr(), isolation).await
    } else {
        resolve_ptr(shared, request.addr(), isolation).await
    };
    match result {
        Ok(address) => reply(request, SocksStatus::SUCCEEDED, Some(&address)),
        Err(status) => reply(request, status, None),
    }
}

async fn resolve(
    shared: &Shared,
    address: &SocksAddr,
    isolation: Isolation,
) -> Result<SocksAddr, SocksStatus> {
    let name = match host_of(address).ok_or(SocksStatus::ADDRTYPE_NOT_SUPPORTED)? {
        Host::V4(v4) => return Ok(SocksAddr::Ip(v4.into())),
        Host::V6(v6) => return Ok(SocksAddr::Ip(v6.into())),
        Host::Name(name) => name,
    };
    let addresses = shared
        .mesh
        .resolve(name, isolation)
        .await
        .map_err(open_status)?;
    // As Tor does: IPv4 where there is one, for clients that know no other.
    let best = addresses
        .iter()
        .find(|ip| ip.is_ipv4())
        .or(addresses.first());
    best.map(|ip| SocksAddr::Ip(*ip))
        .ok_or(SocksStatus::HOST_UNREACHABLE)
}

async fn resolve_ptr(
    shared: &Shared,
    address: &SocksAddr,
    isolation: Isolation,
) -> Result<SocksAddr, SocksStatus> {
    let address: IpAddr = match host_of(address) {
        Some(Host::V4(v4)) => v4.into(),
        Some(Host::V6(v6)) => v6.into(),
        _ => return Err(SocksStatus::ADDRTYPE_NOT_SUPPORTED),
    };
    let names = shared
        .mesh
        .resolve_ptr(address, isolation)
        .await
        .map_err(open_status)?;
    names
        .into_iter()
        .find_map(|name| name.try_into().ok())
        .map(SocksAddr::Hostname)
        .ok_or(SocksStatus::HOST_UNREACHABLE)
}

fn open_status(error: OpenError) -> SocksStatus {
    match error {
        // A lookup that an exit does not offer is not the client's command
        // being wrong.
        OpenError::Status {
            status: FlowStatus::Unsupported,
            ..
        } => SocksStatus::GENERAL_FAILURE,
        error => Failure::from(error).wording().socks,
    }
}

fn host_of(address: &SocksAddr) -> Option<Host> {
    match address {
        SocksAddr::Ip(ip) => Some(host_from_ip(*ip)),
        SocksAddr::Hostname(name) => parse_host(name.as_ref()).ok(),
    }
}

fn isolation(auth: &SocksAuth) -> Isolation {
    match auth {
        SocksAuth::Username(user, password) => Isolation::from_credentials("socks", user, password),
        SocksAuth::Socks4(user) => Isolation::from_credentials("socks4", user, b""),
        _ => Isolation::SHARED,
    }
}

fn reply(request: &SocksRequest, status: SocksStatus, address: Option<&SocksAddr>) -> Vec<u8> {
    request.reply(status, address).unwrap_or_else(|_| {
        // Only an address can fail to encode; say that there is none.
        request
            .reply(SocksStatus::GENERAL_FAILURE, None)
            .expect("a reply without an address always encodes")
    })
}

/// Sends a last answer and closes so that it arrives.
async fn refuse(mut socket: TcpStream, answer: &[u8]) {
    if socket.write_all(answer).await.is_err() || socket.shutdown().await.is_err() {
        return;
    }
    let mut rest = socket.take(LINGER_BYTES);
    let mut sink = tokio::io::sink();
    let _ = timeout(LINGER_TIME, tokio::io::copy(&mut rest, &mut sink)).await;
}
