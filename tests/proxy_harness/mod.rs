//! A whole way without a mesh: an entry, a session in memory, an exit, and
//! small servers on loopback. What is tested are the two ends and what is
//! between them, with real sockets at both; circuits are tested elsewhere.

#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use masq::config::Plaintext;
use masq::entry::{Entry, EntryConfig, EntryHandle, Isolation, Mesh, OpenError, Tunnel};
use masq::exit::{Exit, ExitConfig, ExitPolicy, Resolve, ResolveError, Services};
use masq_cores::CircuitEnd;
use masq_cores::flow::{ClientSession, FlowError, FlowRequest, Want, accept};
use masq_cores::session::SessionId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longest time anything here may take; a test that needs it has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Knows four names.
pub struct Names;

impl Resolve for Names {
    fn lookup(&self, name: &str) -> BoxFuture<'static, Result<Vec<IpAddr>, ResolveError>> {
        let found = match name {
            "site.example" => Ok(vec![IpAddr::from([127, 0, 0, 1])]),
            "rebind.example" => Ok(vec![IpAddr::from([10, 0, 0, 1])]),
            "public.example" => Ok(vec!["2606::7".parse().unwrap(), IpAddr::from([1, 1, 1, 7])]),
            "broken.example" => Err(ResolveError::Failed),
            _ => Err(ResolveError::NotFound),
        };
        async move { found }.boxed()
    }

    fn reverse(&self, _: IpAddr) -> BoxFuture<'static, Result<Vec<String>, ResolveError>> {
        async { Ok(vec!["public.example".to_owned()]) }.boxed()
    }
}

/// Opens flows in one session, whatever the isolation, and notes it.
pub struct OneSession {
    pub session: ClientSession,
    pub isolations: Mutex<Vec<Isolation>>,
}

fn open_error(error: FlowError) -> OpenError {
    match error {
        FlowError::Refused(reply) => OpenError::Status {
            status: reply.status,
            detail: reply.detail,
        },
        _ => OpenError::CircuitLost,
    }
}

impl Mesh for OneSession {
    fn open(
        &self,
        request: FlowRequest,
        isolation: Isolation,
    ) -> BoxFuture<'static, Result<Tunnel, OpenError>> {
        self.isolations.lock().unwrap().push(isolation);
        let session = self.session.clone();
        async move {
            let (_, stream) = session.connect(request).await.map_err(open_error)?;
            Ok(Box::new(stream) as Tunnel)
        }
        .boxed()
    }

    fn resolve(
        &self,
        name: String,
        _: Isolation,
    ) -> BoxFuture<'static, Result<Vec<IpAddr>, OpenError>> {
        let session = self.session.clone();
        async move {
            let request = FlowRequest::Resolve {
                name,
                want: Want::Any,
            };
            let (reply, _) = session.connect(request).await.map_err(open_error)?;
            Ok(reply.addresses)
        }
        .boxed()
    }

    fn resolve_ptr(
        &self,
        address: IpAddr,
        _: Isolation,
    ) -> BoxFuture<'static, Result<Vec<String>, OpenError>> {
        let session = self.session.clone();
        async move {
            let request = FlowRequest::ResolvePtr { address };
            let (reply, _) = session.connect(request).await.map_err(open_error)?;
            Ok(reply.names)
        }
        .boxed()
    }
}

/// A mesh that opens nothing.
pub struct NoMesh(pub OpenError);

impl Mesh for NoMesh {
    fn open(&self, _: FlowRequest, _: Isolation) -> BoxFuture<'static, Result<Tunnel, OpenError>> {
        let error = self.0.clone();
        async move { Err(error) }.boxed()
    }

    fn resolve(
        &self,
        _: String,
        _: Isolation,
    ) -> BoxFuture<'static, Result<Vec<IpAddr>, OpenError>> {
        let error = self.0.clone();
        async move { Err(error) }.boxed()
    }

    fn resolve_ptr(
        &self,
        _: IpAddr,
        _: Isolation,
    ) -> BoxFuture<'static, Result<Vec<String>, OpenError>> {
        let error = self.0.clone();
        async move { Err(error) }.boxed()
    }
}

/// A running entry.
pub struct Proxy {
    pub entry: EntryHandle,
    pub shutdown: CancellationToken,
    pub serving: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(mesh: Arc<dyn Mesh>, plaintext: Plaintext, drain: Duration) -> Self {
        let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let mut config = EntryConfig::default();
        config.socks = any;
        config.http = any;
        config.plaintext = plaintext;
        config.drain = drain;
        let bound = Entry::bind(config).await.unwrap();
        let entry = bound.handle();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(bound.serve(mesh, shutdown.clone()));
        Self {
            entry,
            shutdown,
            serving,
        }
    }

    pub async fn socks(&self) -> TcpStream {
        TcpStream::connect(self.entry.socks_addr().unwrap())
            .await
            .unwrap()
    }

    pub async fn http(&self) -> TcpStream {
        TcpStream::connect(self.entry.http_addr().unwrap())
            .await
            .unwrap()
    }
}

/// Entry, session and exit.
pub struct Way {
    pub proxy: Proxy,
    pub mesh: Arc<OneSession>,
    pub exit: Exit,
    /// The exit's end of the session; aborting it breaks the circuit.
    pub session_at_exit: JoinHandle<()>,
}

impl Way {
    pub async fn open() -> Self {
        Self::with(Plaintext::Flag, Duration::from_secs(5)).await
    }

    pub async fn with(plaintext: Plaintext, drain: Duration) -> Self {
        let mut config = ExitConfig::default();
        let rules = ["accept 127.0.0.0/8:*", "accept [::1]:*"];
        config.policy = ExitPolicy::parse(&rules, false).unwrap();
        let exit = Exit::new(config, Arc::new(Names), Services::default());
        let (origin_end, exit_end, close) = CircuitEnd::pair();
        let accepting = accept(exit_end, Arc::new(exit.clone()));
        let session_at_exit = tokio::spawn(async move {
            accepting.await;
        });
        let (session, driver) = ClientSession::start(origin_end, session_id());
        tokio::spawn(async move {
            let _open = close;
            driver.await
        });
        let mesh = Arc::new(OneSession {
            session,
            isolations: Mutex::default(),
        });
        let proxy = Proxy::start(Arc::clone(&mesh) as Arc<dyn Mesh>, plaintext, drain).await;
        Self {
            proxy,
            mesh,
            exit,
            session_at_exit,
        }
    }

    /// Waits until nothing is open anywhere, or fails.
    pub async fn until_idle(&self) {
        patient(async {
            loop {
                let entry = self.proxy.entry.status();
                let open = entry.flows + entry.connections + self.exit.status().flows;
                if open == 0 && self.mesh.session.open_flows() == 0 {
                    return;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

fn session_id() -> SessionId {
    SessionId([9; 16])
}

/// The result of `work`, or a panic when it hangs.
pub async fn patient<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("nothing may hang")
}

/// Runs `serve` on each connection to a new address.
pub async fn server<F, Fut>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket));
        }
    });
    address
}

/// Sends back what it gets, and ends when the client does.
pub async fn echo_server() -> SocketAddr {
    server(|mut socket| async move {
        let (mut read, mut write) = socket.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    })
    .await
}

/// An address where nothing listens.
pub async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

pub fn reset(socket: TcpStream) {
    socket.set_zero_linger().unwrap();
    drop(socket);
}

pub async fn read_all(socket: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    patient(socket.read_to_end(&mut all)).await.unwrap();
    all
}

pub async fn read_exact(socket: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut all = vec![0; len];
    patient(socket.read_exact(&mut all)).await.unwrap();
    all
}

/// Reads up to and with the first `end`.
pub async fn read_until(socket: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    patient(async {
        let mut all = Vec::new();
        while !all.ends_with(end) {
            all.push(socket.read_u8().await.unwrap());
        }
        all
    })
    .await
}

/// A SOCKS5 request without authentication for `address`, as it is on the
/// wire from the address type to the port.
pub async fn socks5(proxy: &Proxy, command: u8, address: &[u8]) -> (TcpStream, u8) {
    let mut socket = proxy.socks().await;
    socket.write_all(&[5, 1, 0]).await.unwrap();
    assert_eq!(read_exact(&mut socket, 2).await, [5, 0]);
    let mut request = vec![5, command, 0];
    request.extend(address);
    socket.write_all(&request).await.unwrap();
    let reply = read_exact(&mut socket, 4).await;
    assert_eq!((reply[0], reply[2]), (5, 0));
    let rest = match reply[3] {
        1 => 6,
        4 => 18,
        other => panic!("address type {other}"),
    };
    read_exact(&mut socket, rest).await;
    (socket, reply[1])
}

pub fn name(text: &str, port: u16) -> Vec<u8> {
    let mut wire = vec![3, text.len() as u8];
    wire.extend(text.as_bytes());
    wire.extend(port.to_be_bytes());
    wire
}

pub fn ip(address: SocketAddr) -> Vec<u8> {
    let mut wire = Vec::new();
    match address.ip() {
        IpAddr::V4(v4) => {
            wire.push(1);
            wire.extend(v4.octets());
        }
        IpAddr::V6(v6) => {
            wire.push(4);
            wire.extend(v6.octets());
        }
    }
    wire.extend(address.port().to_be_bytes());
    wire
}
