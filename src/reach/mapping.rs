//! One mapping at one router by one protocol: asked for, renewed, removed. The
//! protocols themselves are `crab_nat`'s (PCP, NAT-PMP) and `igd-next`'s
//! (UPnP); here their answers are judged. When and how often is the keeper's.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU16;
use std::time::Duration;

use crab_nat::{
    InternetProtocol, PortMapping, PortMappingOptions, PortMappingType, TimeoutConfig, natpmp, pcp,
};
use igd_next::aio::Gateway;
use igd_next::aio::tokio::{Tokio, search_gateway};
use igd_next::{
    AddAnyPortError, AddPortError, GetExternalIpError, PortMappingProtocol, RequestError,
    SearchOptions,
};
use tokio::time::timeout;

use super::Mapped;
use super::home::{Home, is_private};

/// How long a mapping lasts that is not renewed, in seconds: an hour, so that one that a crash
/// left behind is soon gone (guess; the RFCs recommend two).
const LIFETIME: u32 = 3600;
/// How long the router may take by PCP or NAT-PMP, and how often it is asked (from RFC 6886, cut
/// short: the whole is four seconds).
const PATIENCE: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(250),
    max_retries: 3,
    max_retry_timeout: None,
};
/// How long devices may take to answer a search (from UPnP: they spread over three seconds).
const SEARCH: Duration = Duration::from_secs(4);
/// How long a whole exchange by UPnP may take, the search included (guess: old routers are slow).
const UPNP: Duration = Duration::from_secs(12);
/// Longest reason of a router's that is passed on, in characters (guess).
const MAX_REASON: usize = 80;
/// What a router's list of mappings says that this one is for.
const DESCRIPTION: &str = "masqd";

/// By what a router is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Port Control Protocol.
    Pcp,
    /// NAT Port Mapping Protocol.
    NatPmp,
    /// UPnP Internet Gateway Device.
    Upnp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP",
        })
    }
}

/// Why there is no mapping.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// It is not known which router to ask.
    #[error("this machine's router is not known")]
    NoRouter,
    /// Nobody answered: the protocol is not spoken there, or switched off.
    #[error("no answer")]
    NoAnswer,
    /// The router said no, in its words.
    #[error("refused ({0})")]
    Refused(String),
    /// The answer makes no sense.
    #[error("an answer that makes no sense ({0})")]
    Nonsense(String),
    /// The router's own address outside is a private one: another router stands behind it.
    #[error("the router is itself behind another one (its address outside is {0})")]
    BehindAnother(Ipv4Addr),
    /// This machine could not ask.
    #[error("the question could not be sent ({0})")]
    Unsent(String),
}

// The addresses of a home do not belong in logs.
impl fmt::Debug for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BehindAnother(_) => f.write_str("BehindAnother"),
            other => write!(f, "{other}"),
        }
    }
}

/// What a router gave.
pub(super) struct Lease {
    holder: Holder,
    mapped: Mapped,
}

enum Holder {
    Port(Box<PortMapping>),
    Upnp(Box<Gateway<Tokio>>),
}

impl Lease {
    /// Asks the router to send connections to `port` outside on to this machine.
    pub(super) async fn obtain(
        protocol: Protocol,
        home: &Home,
        port: NonZeroU16,
    ) -> Result<Self, MapError> {
        match protocol {
            Protocol::Pcp => by_pcp(home, port).await,
            Protocol::NatPmp => by_nat_pmp(home, port).await,
            Protocol::Upnp => timeout(UPNP, by_upnp(home, port))
                .await
                .unwrap_or(Err(MapError::NoAnswer)),
        }
    }

    /// The mapping as it is now.
    pub(super) fn mapped(&self) -> Mapped {
        self.mapped
    }

    /// Has it last anew. The address and port outside may be others afterwards. On an error the
    /// mapping is as it was.
    pub(super) async fn renew(&mut self) -> Result<(), MapError> {
        match &mut self.holder {
            Holder::Port(mapping) => {
                let mut renewed = mapping.clone();
                match renewed.renew().await {
                    Ok(()) => {}
                    Err(crab_nat::MappingFailure::Pcp(failure)) => return Err(pcp_error(&failure)),
                    Err(crab_nat::MappingFailure::NatPmp(failure)) => {
                        return Err(pmp_error(&failure));
                    }
                }
                let outside = match renewed.mapping_type() {
                    PortMappingType::Pcp { external_ip, .. } => outside(external_ip)?,
                    PortMappingType::NatPmp => pmp_outside(renewed.gateway()).await?,
                };
                self.mapped = described(self.mapped, &renewed, outside)?;
                *mapping = renewed;
                Ok(())
            }
            Holder::Upnp(gateway) => {
                let again = renew_upnp(gateway, &self.mapped);
                let outside = timeout(UPNP, again)
                    .await
                    .unwrap_or(Err(MapError::NoAnswer))?;
                self.mapped.external.set_ip(outside);
                Ok(())
            }
        }
    }

    /// Asks the router to forget it; whether it does is not known when it does not answer.
    pub(super) async fn release(self) {
        let removed = match self.holder {
            Holder::Port(mapping) => mapping.try_drop().await.is_ok(),
            Holder::Upnp(gateway) => {
                let port = self.mapped.external.port();
                gateway
                    .remove_port(PortMappingProtocol::TCP, port)
                    .await
                    .is_ok()
            }
        };
        if !removed {
            let protocol = self.mapped.protocol;
            tracing::debug!(%protocol, "the router did not confirm that the mapping is gone");
        }
    }
}

/// The address outside, if others can reach it.
fn outside(ip: IpAddr) -> Result<Ipv4Addr, MapError> {
    let IpAddr::V4(ip) = ip.to_canonical() else {
        return Err(MapError::Nonsense("an IPv6 address outside".into()));
    };
    if is_private(ip) {
        return Err(MapError::BehindAnother(ip));
    }
    let [first, ..] = ip.octets();
    if first == 0 || first >= 224 || ip.is_loopback() || ip.is_link_local() {
        return Err(MapError::Nonsense(
            "its address outside is none that others could dial; is it connected?".into(),
        ));
    }
    Ok(ip)
}

/// What a mapping of `crab_nat` amounts to.
fn described(before: Mapped, lease: &PortMapping, ip: Ipv4Addr) -> Result<Mapped, MapError> {
    if lease.lifetime() == 0 {
        return Err(MapError::Nonsense("a mapping that lasts no time".into()));
    }
    Ok(Mapped {
        external: SocketAddrV4::new(ip, lease.external_port().get()),
        lifetime: lease.lifetime(),
        ..before
    })
}

fn blank(protocol: Protocol, home: &Home, port: NonZeroU16) -> Mapped {
    Mapped {
        protocol,
        internal: SocketAddrV4::new(home.local, port.get()),
        external: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
        lifetime: LIFETIME,
    }
}

fn options(port: NonZeroU16) -> PortMappingOptions {
    PortMappingOptions {
        external_port: Some(port),
        lifetime_seconds: Some(LIFETIME),
        timeout_config: Some(PATIENCE),
    }
}

async fn by_pcp(home: &Home, port: NonZeroU16) -> Result<Lease, MapError> {
    let gateway = home.gateway.ok_or(MapError::NoRouter)?;
    let client = home.local.into();
    let request = pcp::BaseMapRequest::new(gateway.into(), client, InternetProtocol::Tcp, port);
    let mapping = pcp::port_mapping(request, None, None, options(port))
        .await
        .map_err(|failure| pcp_error(&failure))?;
    let outside = match mapping.mapping_type() {
        PortMappingType::Pcp { external_ip, .. } => outside(external_ip),
        PortMappingType::NatPmp => Err(MapError::Nonsense("another protocol".into())),
    };
    judged(blank(Protocol::Pcp, home, port), mapping, outside).await
}

async fn by_nat_pmp(home: &Home, port: NonZeroU16) -> Result<Lease, MapError> {
    let gateway = home.gateway.ok_or(MapError::NoRouter)?.into();
    // The address first: a router that has none outside need not be asked for a port.
    let outside = pmp_outside(gateway).await?;
    let mapping = natpmp::port_mapping(gateway, InternetProtocol::Tcp, port, options(port))
        .await
        .map_err(|failure| pmp_error(&failure))?;
    judged(blank(Protocol::NatPmp, home, port), mapping, Ok(outside)).await
}

/// Keeps a mapping that is of use, and gives others back.
async fn judged(
    blank: Mapped,
    mapping: PortMapping,
    outside: Result<Ipv4Addr, MapError>,
) -> Result<Lease, MapError> {
    match outside.and_then(|ip| described(blank, &mapping, ip)) {
        Ok(mapped) => Ok(Lease {
            holder: Holder::Port(Box::new(mapping)),
            mapped,
        }),
        Err(error) => {
            let _ = mapping.try_drop().await;
            Err(error)
        }
    }
}

async fn pmp_outside(gateway: crab_nat::GatewayAddress) -> Result<Ipv4Addr, MapError> {
    let ip = natpmp::external_address(gateway, Some(PATIENCE))
        .await
        .map_err(|failure| pmp_error(&failure))?;
    outside(ip.into())
}

fn unsent(error: &std::io::Error) -> MapError {
    match error.kind() {
        // Nothing listens there.
        std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::ConnectionReset => {
            MapError::NoAnswer
        }
        kind => MapError::Unsent(kind.to_string()),
    }
}

fn pcp_error(failure: &pcp::Failure) -> MapError {
    use pcp::Failure;
    match failure {
        Failure::Socket(error) => unsent(error),
        Failure::Timeout => MapError::NoAnswer,
        // A router that speaks NAT-PMP only says so.
        Failure::UnsupportedVersion(_) => MapError::Refused("it speaks another version".into()),
        Failure::Nonce | Failure::InvalidResponse(_) => {
            MapError::Nonsense(short(&failure.to_string()))
        }
        failure => MapError::Refused(code_of(&failure.to_string())),
    }
}

fn pmp_error(failure: &natpmp::Failure) -> MapError {
    use natpmp::Failure;
    match failure {
        Failure::Socket(error) => unsent(error),
        Failure::Timeout => MapError::NoAnswer,
        Failure::UnsupportedVersion(_) => MapError::Refused("it speaks another version".into()),
        Failure::InvalidResponse(_) => MapError::Nonsense(short(&failure.to_string())),
        failure => MapError::Refused(code_of(&failure.to_string())),
    }
}

/// The name of a result code, from the sentence it comes in.
fn code_of(sentence: &str) -> String {
    let name = sentence.rsplit(": ").next().unwrap_or(sentence);
    short(name).to_lowercase()
}

/// A stranger's words, bounded and safe to show.
fn short(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(MAX_REASON).collect()
}

async fn by_upnp(home: &Home, port: NonZeroU16) -> Result<Lease, MapError> {
    let mut options = SearchOptions::default();
    options.bind_addr = SocketAddr::new(home.local.into(), 0);
    options.broadcast_address = home.ssdp;
    if !home.ssdp.ip().is_multicast() {
        // Who is asked by address may answer from there, whatever address it is.
        options.allowed_gateway_ips.push(home.ssdp.ip());
    }
    options.timeout = Some(SEARCH);
    options.single_search_timeout = Some(SEARCH);
    let gateway = search_gateway(options).await.map_err(|error| match error {
        igd_next::SearchError::NoResponseWithinTimeout => MapError::NoAnswer,
        igd_next::SearchError::IoError(error) => unsent(&error),
        _ => MapError::Nonsense("its description can't be read".into()),
    })?;
    let outside = upnp_outside(&gateway).await?;
    let mut mapped = blank(Protocol::Upnp, home, port);
    let given = add_upnp(&gateway, &mapped, port.get()).await?;
    mapped.external = SocketAddrV4::new(outside, given);
    Ok(Lease {
        holder: Holder::Upnp(Box::new(gateway)),
        mapped,
    })
}

async fn upnp_outside(gateway: &Gateway<Tokio>) -> Result<Ipv4Addr, MapError> {
    match gateway.get_external_ip().await {
        Ok(ip) => outside(ip),
        Err(GetExternalIpError::ActionNotAuthorized) => {
            Err(MapError::Refused("not authorised".into()))
        }
        Err(GetExternalIpError::RequestError(error)) => Err(request_error(&error)),
    }
}

/// The same port as inside, or another one where that is taken.
async fn add_upnp(gateway: &Gateway<Tokio>, mapped: &Mapped, wish: u16) -> Result<u16, MapError> {
    match add_upnp_port(gateway, mapped, wish).await {
        Ok(()) => Ok(wish),
        Err(AddPortError::PortInUse) => {
            let (tcp, local) = (PortMappingProtocol::TCP, mapped.internal.into());
            let given = gateway.add_any_port(tcp, local, LIFETIME, DESCRIPTION);
            given.await.map_err(|error| match error {
                AddAnyPortError::RequestError(error) => request_error(&error),
                error => MapError::Refused(short(&error.to_string()).trim_end_matches('.').into()),
            })
        }
        Err(AddPortError::RequestError(error)) => Err(request_error(&error)),
        Err(error) => Err(MapError::Refused(
            short(&error.to_string()).trim_end_matches('.').into(),
        )),
    }
}

/// Some routers know no mappings that end; such a one is removed when the node stops.
async fn add_upnp_port(
    gateway: &Gateway<Tokio>,
    mapped: &Mapped,
    port: u16,
) -> Result<(), AddPortError> {
    let (tcp, local) = (PortMappingProtocol::TCP, mapped.internal.into());
    let added = gateway.add_port(tcp, port, local, LIFETIME, DESCRIPTION);
    match added.await {
        Err(AddPortError::OnlyPermanentLeasesSupported) => {
            gateway.add_port(tcp, port, local, 0, DESCRIPTION).await
        }
        added => added,
    }
}

async fn renew_upnp(gateway: &Gateway<Tokio>, mapped: &Mapped) -> Result<Ipv4Addr, MapError> {
    let outside = upnp_outside(gateway).await?;
    match add_upnp_port(gateway, mapped, mapped.external.port()).await {
        Ok(()) => Ok(outside),
        Err(AddPortError::RequestError(error)) => Err(request_error(&error)),
        Err(error) => Err(MapError::Refused(
            short(&error.to_string()).trim_end_matches('.').into(),
        )),
    }
}

fn request_error(error: &RequestError) -> MapError {
    match error {
        RequestError::ErrorCode(code, what) => {
            MapError::Refused(format!("error {code}: {}", short(what)))
        }
        RequestError::UnsupportedAction(_) => MapError::Refused("it has no such function".into()),
        RequestError::InvalidResponse(_) | RequestError::Utf8Error(_) => {
            MapError::Nonsense("not what UPnP says".into())
        }
        _ => MapError::NoAnswer,
    }
}
