//! One node of a mesh of containers: finds its own address and the seed's,
//! writes key and configuration, and then is `masqd`. The seed's key is derived
//! from a fixed name, so that every container knows its descriptor; that is
//! good for chain `dev` only.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hickory_resolver::Resolver;
use masq::control::types::Stage;
use toml::{Table, Value};

use crate::args::{ContainerArgs, ContainerRole};
use crate::client::NodeClient;
use crate::error::TestnetError;
use crate::keys::NodeIdentity;
use crate::plan::{NODE_PORT, common_settings, write_home};

/// Name from which the seed's key is derived.
const SEED_NAME: &str = "seed";
/// Ports of the consumer's proxies inside its container.
const SOCKS_PORT: u16 = 1080;
const HTTP_PORT: u16 = 8118;
/// How long the seed's name may take to appear: containers start in any order.
const SEED_WITHIN: Duration = Duration::from_secs(30);
/// Pause between two tries.
const TRY_EVERY: Duration = Duration::from_millis(500);
/// An address that is never reached (RFC 5737); asking for the way there shows
/// the own address and sends nothing.
const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);
/// Where the health check finds the data folder.
const DATA_DIR_ENV: &str = "TESTNET_DATA_DIR";

/// Prepares the container's node and returns the arguments for `masqd`.
///
/// # Errors
/// When the addresses cannot be found or the files not be written.
pub fn prepare(args: &ContainerArgs) -> Result<Vec<String>, TestnetError> {
    let own =
        own_address().map_err(|e| TestnetError::Options(format!("no address of its own: {e}")))?;
    let seed = match args.role {
        ContainerRole::Seed => None,
        _ => Some(find(&args.seed)?),
    };
    let identity = match args.role {
        ContainerRole::Seed => NodeIdentity::derived(SEED_NAME),
        _ => NodeIdentity::random(),
    };
    let config = args.data_dir.join("masqd.toml");
    let settings = settings(args, own, seed);
    write_home(&args.data_dir, &config, &settings, &identity)?;
    Ok(vec!["--config".to_owned(), config.display().to_string()])
}

fn settings(args: &ContainerArgs, own: IpAddr, seed: Option<IpAddr>) -> Table {
    let mut all = common_settings(&args.data_dir, &args.log);
    let mut set = |key: &str, value: Value| {
        all.insert(key.to_owned(), value);
    };
    set(
        "listen",
        Value::Array(vec![SocketAddr::new(own, NODE_PORT).to_string().into()]),
    );
    set("advertise", own.to_string().into());
    if let Some(seed) = seed {
        let descriptor = NodeIdentity::derived(SEED_NAME).descriptor(seed, NODE_PORT);
        set("neighbours", Value::Array(vec![descriptor.into()]));
    }
    if args.role == ContainerRole::Exit {
        set("exit", true.into());
        // Servers of a mesh of containers live beside it, on private addresses.
        set("allow_private", true.into());
        set("exit_policy", Value::Array(vec!["accept *:*".into()]));
    }
    if args.role == ContainerRole::Consumer {
        let any = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).to_string();
        set("socks", any(SOCKS_PORT).into());
        set("http", any(HTTP_PORT).into());
        // Published on the host's loopback only, by the compose file.
        set("allow_remote_clients", true.into());
    } else {
        set("socks", "off".into());
        set("http", "off".into());
    }
    if let Some(hops) = &args.hops {
        set("hops", hops.as_str().into());
    }
    all
}

/// The container's own address on its network.
fn own_address() -> std::io::Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(ELSEWHERE)?;
    Ok(socket.local_addr()?.ip())
}

/// The address of `host`, asked of the DNS server that the container was
/// given: there is no libc resolver in a static binary.
fn find(host: &str) -> Result<IpAddr, TestnetError> {
    if let Ok(ip) = host.parse() {
        return Ok(ip);
    }
    let failed = |e: &dyn std::fmt::Display| {
        TestnetError::Options(format!("cannot find the seed at {host}: {e}"))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| failed(&e))?;
    runtime.block_on(async {
        let resolver = Resolver::builder_tokio()
            .and_then(hickory_resolver::ResolverBuilder::build)
            .map_err(|e| failed(&e))?;
        let start = Instant::now();
        loop {
            let error = match resolver.lookup_ip(host).await {
                Ok(found) => match found.iter().find(IpAddr::is_ipv4) {
                    Some(ip) => return Ok(ip),
                    None => "no IPv4 address".to_owned(),
                },
                Err(error) => error.to_string(),
            };
            if start.elapsed() > SEED_WITHIN {
                return Err(failed(&error));
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
    })
}

/// True when the container's node has a neighbour, or a route where it has
/// proxies.
///
/// # Errors
/// When it does not answer.
pub async fn healthy() -> Result<bool, TestnetError> {
    let dir =
        std::env::var_os(DATA_DIR_ENV).map_or_else(|| Path::new("/data").into(), PathBuf::from);
    let status = NodeClient::new("this node", &dir).status().await?;
    Ok(match status.stage {
        Stage::NotConnected => false,
        stage => status.socks.is_none() || stage == Stage::RouteFound,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(role: ContainerRole) -> ContainerArgs {
        ContainerArgs {
            role,
            seed: "10.1.1.2".into(),
            data_dir: "/data".into(),
            hops: None,
            log: "info".into(),
        }
    }

    #[test]
    fn every_role_gets_what_it_needs_and_no_more() {
        let own = IpAddr::from([10, 1, 1, 3]);
        let seed = Some(IpAddr::from([10, 1, 1, 2]));
        let relay = settings(&args(ContainerRole::Relay), own, seed);
        assert_eq!(relay["socks"].as_str(), Some("off"));
        assert!(!relay.contains_key("exit"));
        let descriptor = relay["neighbours"][0].as_str().unwrap();
        assert!(descriptor.ends_with("@10.1.1.2:4711"), "{descriptor}");

        let exit = settings(&args(ContainerRole::Exit), own, seed);
        assert_eq!(exit["exit"].as_bool(), Some(true));
        let consumer = settings(&args(ContainerRole::Consumer), own, seed);
        assert_eq!(consumer["socks"].as_str(), Some("0.0.0.0:1080"));
        let seed = settings(&args(ContainerRole::Seed), own, None);
        assert!(!seed.contains_key("neighbours"));
        assert_eq!(seed["chain"].as_str(), Some("dev"));
    }
}
