//! The way from a request to a server: name check, lookup, policy on every
//! address, and connecting to an address that passed, never to a name.
//!
//! Exits and zero-hop mode share it. Where requests come from is in
//! [`super::Exit`] and [`super::Direct`].

use std::net::IpAddr;
use std::sync::Arc;

use masq_cores::flow::{FlowStatus, Host, Want};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::dial::{self, SourceAddresses};
use super::policy::{ExitPolicy, NameCheck, Refusal, check_name};
use super::resolver::{Resolve, ResolveError};

/// Connections being opened at once; more are refused, not queued (guess: at
/// ten seconds each this is still a hundred a second in the worst case).
const MAX_DIALS: usize = 1_024;

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: FlowStatus,
    pub(super) detail: String,
}

impl Refused {
    pub(super) fn new(status: FlowStatus, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
        }
    }
}

impl From<FlowStatus> for Refused {
    fn from(status: FlowStatus) -> Self {
        // The status says it all.
        Self {
            status,
            detail: String::new(),
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::new(FlowStatus::PolicyRefused, refusal.to_string())
    }
}

impl From<ResolveError> for Refused {
    fn from(error: ResolveError) -> Self {
        let status = match error {
            ResolveError::NotFound => FlowStatus::NameNotFound,
            ResolveError::Failed | ResolveError::TimedOut => FlowStatus::NameServerFailed,
        };
        Self::new(status, error.to_string())
    }
}

/// Opens connections within a policy.
pub(super) struct Outbound {
    policy: ExitPolicy,
    resolver: Arc<dyn Resolve>,
    source: SourceAddresses,
    dials: Semaphore,
}

impl Outbound {
    pub(super) fn new(
        policy: ExitPolicy,
        resolver: Arc<dyn Resolve>,
        source: SourceAddresses,
    ) -> Self {
        Self {
            policy,
            resolver,
            source,
            dials: Semaphore::new(MAX_DIALS),
        }
    }

    /// Connects to `port` of `host`.
    pub(super) async fn connect(&self, host: Host, port: u16) -> Result<TcpStream, Refused> {
        let Ok(_permit) = self.dials.try_acquire() else {
            return Err(Refused::new(
                FlowStatus::Overloaded,
                "too many connections are being opened",
            ));
        };
        if self.policy.refuses_port(port) {
            return Err(Refusal::Rule.into());
        }
        let addresses = match host {
            Host::V4(v4) => vec![v4.into()],
            Host::V6(v6) => vec![IpAddr::V6(v6).to_canonical()],
            Host::Name(name) => self.lookup(&name).await?,
        };
        let allowed = keep(addresses, |address| self.policy.check(address, port))?;
        Ok(dial::connect(&allowed, port, self.source).await?)
    }

    /// Addresses of `name` that may be told.
    pub(super) async fn resolve(&self, name: &str, want: Want) -> Result<Vec<IpAddr>, Refused> {
        let addresses = self.lookup(name).await?;
        let mut told = keep(addresses, |address| self.policy.may_tell(address))?;
        told.retain(|address| match want {
            Want::Any => true,
            Want::V4 => address.is_ipv4(),
            Want::V6 => address.is_ipv6(),
        });
        if told.is_empty() {
            Err(ResolveError::NotFound.into())
        } else {
            Ok(told)
        }
    }

    /// Names of `address`, if it is one that may be told about.
    pub(super) async fn reverse(&self, address: IpAddr) -> Result<Vec<String>, Refused> {
        self.policy.may_tell(address)?;
        Ok(self.resolver.reverse(address.to_canonical()).await?)
    }

    /// Addresses of `name`, not yet checked.
    async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, Refused> {
        match check_name(name) {
            NameCheck::Addresses(addresses) => Ok(addresses),
            NameCheck::NotFound => Err(ResolveError::NotFound.into()),
            NameCheck::Resolve(name) => {
                let found = self.resolver.lookup(&name).await?;
                Ok(found
                    .into_iter()
                    .map(|address| address.to_canonical())
                    .collect())
            }
        }
    }
}

/// The addresses that pass `check`, or why the first did not when none does.
fn keep(
    addresses: Vec<IpAddr>,
    check: impl Fn(IpAddr) -> Result<(), Refusal>,
) -> Result<Vec<IpAddr>, Refused> {
    let mut first_refusal = None;
    let mut kept = Vec::with_capacity(addresses.len());
    for address in addresses {
        match check(address) {
            Ok(()) => kept.push(address),
            Err(refusal) => {
                first_refusal.get_or_insert(refusal);
            }
        }
    }
    match first_refusal {
        Some(refusal) if kept.is_empty() => Err(refusal.into()),
        _ if kept.is_empty() => Err(ResolveError::NotFound.into()),
        _ => Ok(kept),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use futures::future::BoxFuture;
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::net::TcpListener;

    /// Answers with the same addresses whatever is asked, and counts.
    #[derive(Default)]
    struct Answers {
        addresses: Vec<IpAddr>,
        asked: AtomicUsize,
    }

    impl Resolve for Answers {
        fn lookup(&self, _: &str) -> BoxFuture<'static, Result<Vec<IpAddr>, ResolveError>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let addresses = self.addresses.clone();
            async move {
                if addresses.is_empty() {
                    Err(ResolveError::NotFound)
                } else {
                    Ok(addresses)
                }
            }
            .boxed()
        }

        fn reverse(&self, _: IpAddr) -> BoxFuture<'static, Result<Vec<String>, ResolveError>> {
            async { Ok(vec!["host.example".to_owned()]) }.boxed()
        }
    }

    fn outbound(rules: &[&str], addresses: &[&str]) -> (Outbound, Arc<Answers>) {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let answers = Arc::new(Answers {
            addresses,
            asked: AtomicUsize::new(0),
        });
        let policy = ExitPolicy::parse(rules, false).unwrap();
        let outbound = Outbound::new(
            policy,
            Arc::clone(&answers) as Arc<dyn Resolve>,
            SourceAddresses::default(),
        );
        (outbound, answers)
    }

    async fn status(outbound: &Outbound, host: Host, port: u16) -> FlowStatus {
        outbound.connect(host, port).await.unwrap_err().status
    }

    fn name(text: &str) -> Host {
        Host::Name(text.to_owned())
    }

    #[tokio::test]
    async fn s34_refused_before_and_after_resolution() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // A public name that leads home (rebinding), in several clothes.
        for address in [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "169.254.169.254",
        ] {
            let (outbound, _) = outbound(&["accept *:*"], &[address]);
            let got = status(&outbound, name("rebind.example"), port).await;
            assert_eq!(got, FlowStatus::PolicyRefused, "{address}");
        }
        let (outbound, answers) = outbound(&["accept *:*"], &["1.1.1.1"]);
        let loopback = [
            Host::V4(Ipv4Addr::LOCALHOST),
            name("localhost"),
            name("127.0.0.1"),
        ];
        for host in loopback {
            assert_eq!(
                status(&outbound, host, port).await,
                FlowStatus::PolicyRefused
            );
        }
        assert_eq!(
            status(&outbound, name("127.1"), port).await,
            FlowStatus::NameNotFound
        );
        assert_eq!(answers.asked.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn s34_what_the_operator_names_is_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let rule = format!("accept 127.0.0.1:{port}");
        // The refused address of a mixed answer is never tried.
        let (outbound, _) = outbound(&[&rule], &["10.0.0.1", "127.0.0.1"]);
        let socket = outbound.connect(name("site.example"), port).await.unwrap();
        assert_eq!(socket.peer_addr().unwrap().port(), port);
        assert!(outbound.connect(name("localhost"), port).await.is_ok());
    }

    #[tokio::test]
    async fn s16_failures_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let (open, _) = outbound(&["accept 127.0.0.0/8:*"], &[]);
        let refused = status(&open, Host::V4(Ipv4Addr::LOCALHOST), port).await;
        assert_eq!(refused, FlowStatus::ConnectionRefused);
        assert_eq!(
            status(&open, name("none.example"), port).await,
            FlowStatus::NameNotFound
        );
        let (closed, answers) = outbound(&["reject *:*"], &["1.1.1.1"]);
        assert_eq!(
            status(&closed, name("a.example"), 80).await,
            FlowStatus::PolicyRefused
        );
        assert_eq!(answers.asked.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn s34_lookups_do_not_tell_of_the_exits_own_network() {
        let (all, _) = outbound(&[], &["1.1.1.1", "10.0.0.1", "2606::1"]);
        let told = all.resolve("a.example", Want::Any).await.unwrap();
        assert_eq!(
            told,
            [
                "1.1.1.1".parse::<IpAddr>().unwrap(),
                "2606::1".parse().unwrap()
            ]
        );
        assert_eq!(all.resolve("a.example", Want::V6).await.unwrap().len(), 1);
        let private = all.reverse("10.0.0.1".parse().unwrap()).await.unwrap_err();
        assert_eq!(private.status, FlowStatus::PolicyRefused);
        assert_eq!(
            all.reverse("1.1.1.1".parse().unwrap()).await.unwrap(),
            ["host.example"]
        );
        let (inner, _) = outbound(&["accept *:*"], &["10.0.0.1"]);
        let refused = inner.resolve("a.example", Want::Any).await.unwrap_err();
        assert_eq!(refused.status, FlowStatus::PolicyRefused);
    }
}
