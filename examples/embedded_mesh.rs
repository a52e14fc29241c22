//! A mesh inside one program: five nodes with the library `masq`, no daemon,
//! and a page fetched through the SOCKS proxy of the first.
//!
//! Each node has a loopback address of its own, as each has a public one in
//! the world: a node takes one neighbour per address.

#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use masq::config::{Chain, Config, Descriptor};
use masq::control::NodeApi;
use masq::control::types::Stage;
use masq::daemon::{Start, Stop};
use masq::datadir::DataDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const NODES: u8 = 5;
const PAGE: &str = "a page from the far side of the mesh";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let server = serve_page().await?;
    let stop = Stop::new();
    let net = std::process::id().to_be_bytes();

    let mut nodes: Vec<Arc<dyn NodeApi>> = Vec::new();
    let mut seed: Option<Descriptor> = None;
    for number in 1..=NODES {
        let mut config = Config::new(folder.path().join(number.to_string()));
        let address = IpAddr::V4(Ipv4Addr::new(127, net[2] | 1, net[3], number));
        config.chain = Chain::Dev;
        config.payments = false;
        config.listen = vec![SocketAddr::new(address, 0)];
        config.neighbours = seed.iter().cloned().collect();
        config.socks = (number == 1).then(|| SocketAddr::from(([127, 0, 0, 1], 0)));
        config.http = None;
        config.exit = number > 2;
        config.allow_private = true;

        let data = DataDir::open(&config.data_dir)?;
        let node = masq::node::start(Start::open(config, data, stop.clone())?).await?;
        if seed.is_none() {
            let descriptor = node.api.descriptor().await?.descriptor;
            seed = Some(
                descriptor
                    .ok_or("the first node can't be dialled")?
                    .parse()?,
            );
        }
        nodes.push(Arc::clone(&node.api));
        tokio::spawn(node.finished);
    }

    let client = &nodes[0];
    tokio::time::timeout(Duration::from_secs(30), route_found(client)).await??;
    let socks = client.status().await?.socks.ok_or("no SOCKS proxy")?;
    let answer = fetch(socks, server).await?;
    assert!(
        answer.ends_with(PAGE),
        "the page came back whole: {answer:?}"
    );

    for circuit in client
        .circuits()
        .await?
        .iter()
        .filter(|c| c.flows_carried > 0)
    {
        let hops: Vec<_> = circuit.hops.iter().map(|hop| &hop.node[..8]).collect();
        println!("fetched over {}", hops.join(" -> "));
    }
    stop.ask_at_once();
    Ok(())
}

/// Waits until the node has a route, asking it now and then.
async fn route_found(node: &Arc<dyn NodeApi>) -> Result<(), Box<dyn Error>> {
    while node.connection_status().await?.stage != Stage::RouteFound {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// One GET by SOCKS5, spoken by hand: greeting, request for an IPv4 address, HTTP.
async fn fetch(socks: SocketAddr, server: SocketAddr) -> Result<String, Box<dyn Error>> {
    let IpAddr::V4(ip) = server.ip() else {
        return Err("the server has an IPv4 address".into());
    };
    let mut proxy = TcpStream::connect(socks).await?;
    proxy.write_all(&[5, 1, 0]).await?;
    let mut greeting = [0; 2];
    proxy.read_exact(&mut greeting).await?;
    let mut request = vec![5, 1, 0, 1];
    request.extend(ip.octets());
    request.extend(server.port().to_be_bytes());
    proxy.write_all(&request).await?;
    let mut reply = [0; 10];
    proxy.read_exact(&mut reply).await?;
    assert_eq!(reply[1], 0, "the proxy has connected");
    proxy.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    proxy.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// A web server with one page, on a free port.
async fn serve_page() -> Result<SocketAddr, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 1024];
                let _ = client.read(&mut request).await;
                let answer = format!("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n{PAGE}");
                let _ = client.write_all(answer.as_bytes()).await;
            });
        }
    });
    Ok(address)
}
