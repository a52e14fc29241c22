//! Names to addresses, and back, for the exit: hickory, cached, with the
//! servers that the operator set or the system's. `/etc/hosts` is never read:
//! it says what names mean on this machine, not on the Internet.
//!
//! What a name may lead to is the policy's business, not this file's.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData};
use hickory_resolver::system_conf::read_system_conf;
use tokio::time::timeout;

/// How long one question to one server may take (guess: recursive resolvers
/// answer within a second or not at all).
const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);

/// Questions asked again when there is no answer (guess).
const ATTEMPTS: usize = 2;

/// How long a lookup may take in all (guess: a client's retry through other
/// exits has to fit into what people wait).
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(6);

/// Answers kept, a few hundred bytes each (guess: a few megabytes).
const CACHED_ANSWERS: u64 = 8_192;

/// How long an answer is kept at most, whatever its owner says (guess: long
/// enough to save questions, short enough for moves).
const LONGEST_TTL: Duration = Duration::from_secs(3_600);

/// How long "there is no such name" is kept at most (guess).
const LONGEST_NEGATIVE_TTL: Duration = Duration::from_secs(60);

/// Looks names up. Implemented by [`HickoryResolver`], and by tests.
pub trait Resolve: Send + Sync + 'static {
    /// Addresses of `name`, in the order of preference; never empty.
    ///
    /// # Errors
    ///
    /// [`ResolveError`].
    fn lookup(&self, name: &str) -> BoxFuture<'static, Result<Vec<IpAddr>, ResolveError>>;

    /// Names of `address`; never empty.
    ///
    /// # Errors
    ///
    /// [`ResolveError`].
    fn reverse(&self, address: IpAddr) -> BoxFuture<'static, Result<Vec<String>, ResolveError>>;
}

/// Why a lookup gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The name does not exist, or has no address.
    #[error("the name does not exist or has no address")]
    NotFound,
    /// The servers failed, or refused.
    #[error("the name servers failed")]
    Failed,
    /// The servers did not answer in time.
    #[error("the name servers did not answer in time")]
    TimedOut,
}

/// There is nobody to ask. The operator's to put right.
#[derive(Debug, thiserror::Error)]
#[error("no name servers are known ({reason}); set `dns_servers`, such as [\"9.9.9.9\"]")]
pub struct NoServers {
    reason: String,
}

/// The resolver of a real exit.
#[derive(Clone)]
pub struct HickoryResolver {
    inner: TokioResolver,
}

impl HickoryResolver {
    /// A resolver that asks `servers`, or, when there are none, those of the
    /// system. Costs a few megabytes once its cache is full.
    ///
    /// # Errors
    ///
    /// [`NoServers`] when neither names any.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, NoServers> {
        let servers = if servers.is_empty() {
            let (config, _) = read_system_conf().map_err(|error| NoServers {
                reason: error.to_string(),
            })?;
            config.name_servers().to_vec()
        } else {
            servers.iter().copied().map(name_server).collect()
        };
        if servers.is_empty() {
            return Err(NoServers {
                reason: "the system names none".to_owned(),
            });
        }
        // Only the servers: search domains of this machine's network would
        // give names a meaning they have nowhere else.
        let config = ResolverConfig::from_name_servers(servers);
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.timeout = QUESTION_TIMEOUT;
        options.attempts = ATTEMPTS;
        options.cache_size = CACHED_ANSWERS;
        options.use_hosts_file = ResolveHosts::Never;
        options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
        options.positive_max_ttl = Some(LONGEST_TTL);
        options.negative_max_ttl = Some(LONGEST_NEGATIVE_TTL);
        let inner = builder.build().map_err(|error| NoServers {
            reason: error.to_string(),
        })?;
        Ok(Self { inner })
    }
}

impl HickoryResolver {
    /// The resolver underneath, for names that are not a server's: those of other nodes.
    #[must_use]
    pub fn names(&self) -> TokioResolver {
        self.inner.clone()
    }
}

/// The resolver of a node that connects to no server: it finds nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoResolver;

impl Resolve for NoResolver {
    fn lookup(&self, _: &str) -> BoxFuture<'static, Result<Vec<IpAddr>, ResolveError>> {
        Box::pin(std::future::ready(Err(ResolveError::Failed)))
    }

    fn reverse(&self, _: IpAddr) -> BoxFuture<'static, Result<Vec<String>, ResolveError>> {
        Box::pin(std::future::ready(Err(ResolveError::Failed)))
    }
}

impl std::fmt::Debug for HickoryResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HickoryResolver").finish_non_exhaustive()
    }
}

impl Resolve for HickoryResolver {
    fn lookup(&self, name: &str) -> BoxFuture<'static, Result<Vec<IpAddr>, ResolveError>> {
        let resolver = self.inner.clone();
        // With a dot at its end nothing is ever appended to it.
        let name = Name::from_utf8(format!("{}.", name.trim_end_matches('.')));
        async move {
            let name = name.map_err(|_| ResolveError::NotFound)?;
            let answer = timeout(LOOKUP_TIMEOUT, resolver.lookup_ip(name)).await;
            let found = answer
                .map_err(|_| ResolveError::TimedOut)?
                .map_err(|e| reason(&e))?;
            some(found.iter().collect())
        }
        .boxed()
    }

    fn reverse(&self, address: IpAddr) -> BoxFuture<'static, Result<Vec<String>, ResolveError>> {
        let resolver = self.inner.clone();
        async move {
            let answer = timeout(LOOKUP_TIMEOUT, resolver.reverse_lookup(address)).await;
            let found = answer
                .map_err(|_| ResolveError::TimedOut)?
                .map_err(|e| reason(&e))?;
            let names = found
                .answers()
                .iter()
                .filter_map(|record| match &record.data {
                    RData::PTR(name) => Some(name.0.to_utf8().trim_end_matches('.').to_owned()),
                    _ => None,
                });
            some(names.collect())
        }
        .boxed()
    }
}

fn some<T>(found: Vec<T>) -> Result<Vec<T>, ResolveError> {
    if found.is_empty() {
        Err(ResolveError::NotFound)
    } else {
        Ok(found)
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    NameServerConfig::new(address.ip(), true, connections)
}

fn reason(error: &NetError) -> ResolveError {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain | ResponseCode::NoError => ResolveError::NotFound,
            _ => ResolveError::Failed,
        },
        NetError::Dns(DnsError::ResponseCode(ResponseCode::NXDomain)) => ResolveError::NotFound,
        NetError::Timeout => ResolveError::TimedOut,
        _ => ResolveError::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UdpSocket;

    /// A name server that knows one name, and answers everything else with
    /// `code`.
    async fn server(code: u8) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buf = [0; 1500];
            while let Ok((len, from)) = socket.recv_from(&mut buf).await {
                let end = question_end(&buf[..len]);
                let qtype = buf[end - 3];
                let known = buf[12..].starts_with(b"\x04host\x07example\x00") && qtype == 1;
                let known_name = buf[12..].starts_with(b"\x04host\x07example\x00");
                let mut answer = buf[..end].to_vec();
                answer[2] = 0x84;
                answer[3] = if known_name { 0x80 } else { 0x80 | code };
                answer[4..12].copy_from_slice(&[0, 1, 0, u8::from(known), 0, 0, 0, 0]);
                if known {
                    answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
                }
                let _ = socket.send_to(&answer, from).await;
            }
        });
        address
    }

    fn question_end(packet: &[u8]) -> usize {
        let mut at = 12;
        while packet[at] != 0 {
            at += 1 + usize::from(packet[at]);
        }
        at + 5
    }

    #[tokio::test]
    async fn configured_servers_are_asked_and_answers_told_apart() {
        let resolver = HickoryResolver::new(&[server(3).await]).unwrap();
        assert_eq!(
            resolver.lookup("host.example").await.unwrap(),
            ["192.0.2.7".parse::<IpAddr>().unwrap()]
        );
        assert_eq!(
            resolver.lookup("none.example").await,
            Err(ResolveError::NotFound)
        );
        assert_eq!(resolver.lookup("a..b").await, Err(ResolveError::NotFound));
        let broken = HickoryResolver::new(&[server(2).await]).unwrap();
        assert_eq!(
            broken.lookup("none.example").await,
            Err(ResolveError::Failed)
        );
    }
}
