//! Routers on loopback that speak the real protocols, for tests: PCP and
//! NAT-PMP on UDP port 5351 of a loopback address of their own, UPnP as a
//! search responder with a small web server beside it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;

/// The port of PCP and NAT-PMP.
const PORT: u16 = 5351;

/// What a router does, and what it was asked.
#[derive(Clone, Debug)]
pub(super) struct Manners {
    /// Whether PCP is spoken.
    pub(super) pcp: bool,
    /// Whether NAT-PMP is spoken.
    pub(super) nat_pmp: bool,
    /// Its address outside.
    pub(super) outside: Ipv4Addr,
    /// What it gives, whatever is wished for.
    pub(super) port: Option<u16>,
    /// How long its mappings last, in seconds.
    pub(super) lifetime: u32,
    /// A result code instead of a mapping.
    pub(super) code: u8,
    /// Bytes instead of any answer.
    pub(super) garbage: Option<Vec<u8>>,
    /// UPnP: a mapping that ends is refused with 725.
    pub(super) permanent_only: bool,
    /// UPnP: this port is somebody else's.
    pub(super) taken: Option<u16>,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            pcp: true,
            nat_pmp: true,
            outside: Ipv4Addr::new(203, 0, 113, 9),
            port: None,
            lifetime: 3600,
            code: 0,
            garbage: None,
            permanent_only: false,
            taken: None,
        }
    }
}

/// One router. It lives as long as this does.
pub(super) struct Router {
    pub(super) ip: Ipv4Addr,
    pub(super) ssdp: SocketAddr,
    pub(super) manners: Arc<Mutex<Manners>>,
    /// Internal port to external port and lifetime; changes are seen.
    pub(super) held: watch::Sender<BTreeMap<u16, (u16, u32)>>,
    /// How many requests for a mapping were granted.
    pub(super) granted: watch::Sender<u32>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Router {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

#[derive(Clone)]
struct Inside {
    manners: Arc<Mutex<Manners>>,
    held: watch::Sender<BTreeMap<u16, (u16, u32)>>,
    granted: watch::Sender<u32>,
}

impl Router {
    pub(super) async fn start(manners: Manners) -> Self {
        let (ip, udp) = own_address().await;
        let inside = Inside {
            manners: Arc::new(Mutex::new(manners)),
            held: watch::Sender::default(),
            granted: watch::Sender::default(),
        };
        let http = TcpListener::bind((ip, 0)).await.unwrap();
        let search = UdpSocket::bind((ip, 0)).await.unwrap();
        let ssdp = search.local_addr().unwrap();
        let web = http.local_addr().unwrap();
        let tasks = vec![
            tokio::spawn(inside.clone().mappings(udp)),
            tokio::spawn(answer_searches(search, web)),
            tokio::spawn(inside.clone().serve(http)),
        ];
        Self {
            ip,
            ssdp,
            manners: inside.manners,
            held: inside.held,
            granted: inside.granted,
            tasks,
        }
    }

    /// Waits until the mapping of that port is as wished.
    pub(super) async fn until(
        &self,
        mut done: impl FnMut(&BTreeMap<u16, (u16, u32)>) -> bool,
    ) -> BTreeMap<u16, (u16, u32)> {
        let mut held = self.held.subscribe();
        let wait = held.wait_for(|held| done(held));
        let found = tokio::time::timeout(Duration::from_secs(30), wait).await;
        found.expect("in time").unwrap().clone()
    }
}

/// A loopback address on which nobody else has the port of PCP.
async fn own_address() -> (Ipv4Addr, UdpSocket) {
    loop {
        let [a, b]: [u8; 2] = rand::random();
        let ip = Ipv4Addr::new(127, 91, a, b.clamp(1, 254));
        if let Ok(socket) = UdpSocket::bind((ip, PORT)).await {
            return (ip, socket);
        }
    }
}

impl Inside {
    /// Whether a mapping is given, and which external port. Lifetime zero removes it.
    fn grant(&self, internal: u16, wish: u16, lifetime: u32) -> (u16, u32) {
        let manners = self.manners.lock().unwrap().clone();
        if lifetime == 0 {
            self.held.send_modify(|held| {
                held.remove(&internal);
            });
            return (0, 0);
        }
        let given = (manners.port.unwrap_or(wish), manners.lifetime);
        self.held.send_modify(|held| {
            held.insert(internal, given);
        });
        self.granted.send_modify(|granted| *granted += 1);
        given
    }

    async fn mappings(self, udp: UdpSocket) {
        let mut request = [0u8; 1100];
        while let Ok((len, from)) = udp.recv_from(&mut request).await {
            let manners = self.manners.lock().unwrap().clone();
            let answer = match (manners.garbage.clone(), request[0]) {
                (Some(garbage), _) => Some(garbage),
                (None, 0) if manners.nat_pmp => self.nat_pmp(&manners, &request[..len]),
                (None, 2) if manners.pcp => Some(self.pcp(&manners, &request[..len])),
                // RFC 6886, 3.5: a version that is not spoken.
                (None, 2) if manners.nat_pmp => Some(vec![0, 0x80, 0, 1, 0, 0, 0, 5]),
                _ => None,
            };
            if let Some(answer) = answer {
                udp.send_to(&answer, from).await.unwrap();
            }
        }
    }

    /// RFC 6886, 3.2 and 3.3.
    fn nat_pmp(&self, manners: &Manners, request: &[u8]) -> Option<Vec<u8>> {
        let mut answer = vec![0, 0x80 | request[1], 0, manners.code];
        answer.extend(7u32.to_be_bytes());
        match request[1] {
            0 => answer.extend(manners.outside.octets()),
            2 => {
                assert_eq!(request.len(), 12);
                let internal = u16::from_be_bytes([request[4], request[5]]);
                let wish = u16::from_be_bytes([request[6], request[7]]);
                let lifetime = u32::from_be_bytes(request[8..12].try_into().unwrap());
                let (external, lifetime) = if manners.code == 0 {
                    self.grant(internal, wish, lifetime)
                } else {
                    (0, 0)
                };
                answer.extend(internal.to_be_bytes());
                answer.extend(external.to_be_bytes());
                answer.extend(lifetime.to_be_bytes());
            }
            _ => return None,
        }
        Some(answer)
    }

    /// RFC 6887, 7.2 and 11.1.
    fn pcp(&self, manners: &Manners, request: &[u8]) -> Vec<u8> {
        assert_eq!((request.len(), request[1]), (60, 1), "MAP");
        let (nonce, protocol) = (&request[24..36], request[36]);
        assert_eq!(protocol, 6, "TCP");
        let port = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
        let lifetime = u32::from_be_bytes(request[4..8].try_into().unwrap());
        let (external, lifetime) = if manners.code == 0 {
            self.grant(port(40), port(42), lifetime)
        } else {
            (0, 30)
        };
        let mut answer = vec![2, 0x81, 0, manners.code];
        answer.extend(lifetime.to_be_bytes());
        answer.extend(7u32.to_be_bytes());
        answer.extend([0; 12]);
        answer.extend(nonce);
        answer.extend([protocol, 0, 0, 0]);
        answer.extend(port(40).to_be_bytes());
        answer.extend(external.to_be_bytes());
        answer.extend(manners.outside.to_ipv6_mapped().octets());
        answer
    }

    async fn serve(self, http: TcpListener) {
        while let Ok((stream, _)) = http.accept().await {
            tokio::spawn(self.clone().request(stream));
        }
    }

    /// One request of HTTP/1.1, then the connection closes.
    async fn request(self, mut stream: TcpStream) {
        let mut request = Vec::new();
        let body = loop {
            let mut chunk = [0; 4096];
            let n = stream.read(&mut chunk).await.unwrap_or(0);
            request.extend_from_slice(&chunk[..n]);
            let text = String::from_utf8_lossy(&request).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    let length = name.eq_ignore_ascii_case("content-length");
                    length.then(|| value.trim().parse::<usize>().unwrap())
                });
                if body.len() >= length.unwrap_or(0) {
                    break body.to_owned();
                }
            }
            if n == 0 {
                return;
            }
        };
        let line = String::from_utf8_lossy(&request).into_owned();
        let (status, answer) = match line.split(' ').nth(1) {
            Some("/rootDesc.xml") => (200, DEVICE.to_owned()),
            Some("/WANIPCn.xml") => (200, SERVICE.to_owned()),
            Some("/ctl/IPConn") => self.soap(&body),
            _ => (404, String::new()),
        };
        let head = format!(
            "HTTP/1.1 {status} x\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            answer.len()
        );
        let _ = stream.write_all((head + &answer).as_bytes()).await;
    }

    fn soap(&self, body: &str) -> (u16, String) {
        let manners = self.manners.lock().unwrap().clone();
        if body.contains("GetExternalIPAddress") {
            let ip = manners.outside;
            let inner = format!("<NewExternalIPAddress>{ip}</NewExternalIPAddress>");
            return (200, envelope("GetExternalIPAddressResponse", &inner));
        }
        let field = |name: &str| -> u32 {
            let (_, rest) = body.split_once(&format!("<{name}>")).unwrap();
            rest.split('<').next().unwrap().parse().unwrap()
        };
        let port = |name: &str| u16::try_from(field(name)).unwrap();
        if body.contains("DeletePortMapping") {
            let gone = port("NewExternalPort");
            self.held
                .send_modify(|held| held.retain(|_, (external, _)| *external != gone));
            return (200, envelope("DeletePortMappingResponse", ""));
        }
        let (internal, external) = (port("NewInternalPort"), port("NewExternalPort"));
        let lease = field("NewLeaseDuration");
        if manners.code != 0 {
            return (500, fault(u16::from(manners.code) + 600, "Go away"));
        }
        if manners.taken == Some(external) {
            return (500, fault(718, "ConflictInMappingEntry"));
        }
        if manners.permanent_only && lease != 0 {
            return (500, fault(725, "OnlyPermanentLeasesSupported"));
        }
        self.held.send_modify(|held| {
            held.insert(internal, (external, lease));
        });
        self.granted.send_modify(|granted| *granted += 1);
        (200, envelope("AddPortMappingResponse", ""))
    }
}

async fn answer_searches(search: UdpSocket, web: SocketAddr) {
    let mut request = [0u8; 1500];
    while let Ok((len, from)) = search.recv_from(&mut request).await {
        let text = String::from_utf8_lossy(&request[..len]).into_owned();
        assert!(text.starts_with("M-SEARCH * HTTP/1.1\r\n"), "{text}");
        let answer = format!(
            "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\n\
             ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\
             USN: uuid:x::urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nEXT:\r\n\
             LOCATION: http://{web}/rootDesc.xml\r\n\r\n"
        );
        search.send_to(answer.as_bytes(), from).await.unwrap();
    }
}

fn envelope(name: &str, inner: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body>\
         <u:{name} xmlns:u=\"urn:schemas-upnp-org:service:WANIPConnection:1\">{inner}</u:{name}>\
         </s:Body></s:Envelope>"
    )
}

fn fault(code: u16, what: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\">\
         <s:Body><s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring>\
         <detail><UPnPError xmlns=\"urn:schemas-upnp-org:control-1-0\"><errorCode>{code}</errorCode>\
         <errorDescription>{what}</errorDescription></UPnPError></detail></s:Fault></s:Body>\
         </s:Envelope>"
    )
}

const DEVICE: &str = "<?xml version=\"1.0\"?>\
<root xmlns=\"urn:schemas-upnp-org:device-1-0\"><specVersion><major>1</major><minor>0</minor>\
</specVersion><device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType>\
<friendlyName>Router</friendlyName><UDN>uuid:1</UDN><deviceList><device>\
<deviceType>urn:schemas-upnp-org:device:WANDevice:1</deviceType><UDN>uuid:2</UDN><deviceList>\
<device><deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:1</deviceType><UDN>uuid:3</UDN>\
<serviceList><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>\
<serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId><SCPDURL>/WANIPCn.xml</SCPDURL>\
<controlURL>/ctl/IPConn</controlURL><eventSubURL>/evt/IPConn</eventSubURL></service></serviceList>\
</device></deviceList></device></deviceList></device></root>";

const SERVICE: &str = "<?xml version=\"1.0\"?>\
<scpd xmlns=\"urn:schemas-upnp-org:service-1-0\"><actionList>\
<action><name>AddPortMapping</name><argumentList>\
<argument><name>NewRemoteHost</name><direction>in</direction></argument>\
<argument><name>NewExternalPort</name><direction>in</direction></argument>\
<argument><name>NewProtocol</name><direction>in</direction></argument>\
<argument><name>NewInternalPort</name><direction>in</direction></argument>\
<argument><name>NewInternalClient</name><direction>in</direction></argument>\
<argument><name>NewEnabled</name><direction>in</direction></argument>\
<argument><name>NewPortMappingDescription</name><direction>in</direction></argument>\
<argument><name>NewLeaseDuration</name><direction>in</direction></argument>\
</argumentList></action>\
<action><name>GetExternalIPAddress</name><argumentList>\
<argument><name>NewExternalIPAddress</name><direction>out</direction></argument>\
</argumentList></action>\
<action><name>DeletePortMapping</name><argumentList>\
<argument><name>NewRemoteHost</name><direction>in</direction></argument>\
<argument><name>NewExternalPort</name><direction>in</direction></argument>\
<argument><name>NewProtocol</name><direction>in</direction></argument>\
</argumentList></action></actionList></scpd>";
