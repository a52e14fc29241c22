//! The control API over real sockets on loopback, against a node with fixed
//! figures.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{
    connections::MAX_CONNECTIONS,
    routes::ROUTES,
    testing::{FakeNode, ban, books, circuit, graph, key, payments, wallet},
    types::{
        Amount, BanRequest, Event, PaymentOrder, PrepayRequest, RouteRequest, ScanKind, Selection,
        Stage,
    },
    *,
};
use crate::doctor::Check;

const TOKEN: &str = "a token of this test";

struct Served {
    address: SocketAddr,
    node: Arc<FakeNode>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Served {
    async fn by(node: FakeNode) -> Self {
        let node = Arc::new(node);
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = server.address();
        let stop = CancellationToken::new();
        let token = Zeroizing::new(TOKEN.to_owned());
        let api: Arc<dyn NodeApi> = node.clone();
        let task = tokio::spawn(server.serve(token, api, stop.clone()));
        Self {
            address,
            node,
            stop,
            task,
        }
    }

    fn client(&self) -> Client {
        Client::new(self.address, TOKEN)
    }

    /// Sends a request as text, reads until the server closes.
    async fn raw(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    async fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, Value) {
        let (status, answer) = self
            .raw(&format!(
                "{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
                body.len()
            ))
            .await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    async fn authorised(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let headers = format!(
            "Host: {}\r\nAuthorization: Bearer {TOKEN}\r\n",
            self.address
        );
        self.request(method, path, &headers, body).await
    }
}

#[tokio::test]
async fn the_client_reads_what_the_node_says() {
    let served = Served::by(FakeNode::new()).await;
    let client = served.client();
    assert!(client.health().await.unwrap().ok);
    let status = client.status(false).await.unwrap();
    assert_eq!((status.stage, status.node), (Stage::RouteFound, key('A')));
    assert_eq!(
        status.neighbours[0].address, None,
        "addresses only when asked for"
    );
    let status = client.status(true).await.unwrap();
    assert_eq!(
        status.neighbours[0].address.as_deref(),
        Some("192.0.2.9:6277")
    );
    assert!(
        client
            .descriptor()
            .await
            .unwrap()
            .descriptor
            .unwrap()
            .starts_with("masq://dev:")
    );
    assert_eq!(client.connection_status().await.unwrap().exits_known, 1);
    assert_eq!(client.neighborhood_graph().await.unwrap(), graph());
    assert_eq!(client.circuits().await.unwrap(), [circuit()]);
    assert_eq!(client.trace().await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn settings_change_and_mistakes_are_explained() {
    let served = Served::by(FakeNode::new()).await;
    let client = served.client();
    assert_eq!(client.set_hops("4-5").await.unwrap().hops, "4-5");
    assert_eq!(client.settings().await.unwrap().hops, "4-5");
    for (hops, say) in [
        ("9", "more than the 6"),
        ("x", "not a number"),
        ("6", "too small"),
    ] {
        match client.set_hops(hops).await.unwrap_err() {
            ClientError::Refused { status: 400, body } => {
                assert!(body.error.contains(say) && body.hint.is_some(), "{body:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(client.settings().await.unwrap().hops, "4-5");
    for body in ["{}", "{\"hop\": \"3\"}", "not json", "[]", "{\"hops\": 3}"] {
        let (status, answer) = served.authorised("PATCH", "/v1/settings", body).await;
        assert_eq!(status, 400, "{body}");
        assert!(
            answer["error"].is_string() && answer["hint"].is_string(),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn bans_are_listed_added_and_lifted() {
    let served = Served::by(FakeNode::new()).await;
    let client = served.client();
    assert_eq!(client.bans(true).await.unwrap()[0], ban());
    let bans = client.bans(false).await.unwrap();
    assert!(bans.len() == 2 && bans.iter().all(|ban| ban.evidence.is_none()));
    let request = BanRequest {
        node: key('B'),
        reason: Some("spam".into()),
        life_seconds: Some(60),
    };
    let added = client.ban(&request).await.unwrap();
    assert_eq!(
        (added.reason.as_str(), added.left_seconds),
        ("spam", Some(60))
    );
    // Whatever is typed as a node reaches the daemon as it is.
    let odd = "a/b c?ř%2e";
    assert_eq!(client.unban(odd).await.unwrap().node, odd);
    let of_self = BanRequest {
        node: key('A'),
        ..BanRequest::default()
    };
    for refused in [client.ban(&of_self).await, client.unban(&key('A')).await] {
        assert!(matches!(
            refused,
            Err(ClientError::Refused { status: 400, .. })
        ));
    }
    for (method, path, body, expected) in [
        ("POST", "/v1/bans", "", 400),
        ("POST", "/v1/bans", "{\"node\": 3}", 400),
        ("POST", "/v1/bans", "{\"node\": \"x\", \"for\": 3}", 400),
        (
            "POST",
            "/v1/bans",
            "{\"node\": \"x\", \"life_seconds\": -3}",
            400,
        ),
        ("GET", "/v1/bans?evidence=yes", "", 400),
        ("DELETE", "/v1/bans", "", 405),
        ("DELETE", "/v1/bans/%ff", "", 400),
        ("GET", "/v1/bans/x", "", 405),
    ] {
        let (status, answer) = served.authorised(method, path, body).await;
        assert_eq!(status, expected, "{method} {path}");
        assert!(answer["error"].is_string(), "{method} {path}: {answer}");
    }
}

#[tokio::test]
async fn money_is_told_and_orders_reach_the_node() {
    let served = Served::by(FakeNode::new()).await;
    let client = served.client();
    let money = client.money().await.unwrap();
    assert_eq!(money.paying.unwrap().wallet, wallet('7'));
    assert_eq!(client.payments(20).await.unwrap(), payments());
    assert!(client.payments(0).await.unwrap().done.is_empty());
    let selection = Selection {
        payables: true,
        top: Some(1),
        ..Selection::default()
    };
    let financials = client.financials(&selection).await.unwrap();
    assert_eq!(financials, selection.of(books()));
    assert_eq!(financials.payables[0].node, key('D'));
    let orders = [
        PaymentOrder::Pause {},
        PaymentOrder::DryRun { on: true },
        PaymentOrder::Cancel { nonce: 8 },
        PaymentOrder::Decide {
            nonce: 8,
            paid: true,
        },
    ];
    for order in &orders {
        client.order_payments(order).await.unwrap();
    }
    let asked = served.node.money.as_ref().unwrap();
    assert_eq!(*asked.orders.lock().unwrap(), orders);
    let scan = client.scan(ScanKind::Pending).await.unwrap();
    assert!(scan.begun[0].starts_with("Pending"));

    let request = PrepayRequest {
        node: "DDDDDDDD".into(),
        amount: Amount(5),
        quote: true,
    };
    assert!(!client.prepay(&request).await.unwrap().ordered);
    assert!(asked.prepaid.lock().unwrap().is_empty());
    let request = PrepayRequest {
        quote: false,
        ..request
    };
    assert!(client.prepay(&request).await.unwrap().ordered);
    assert_eq!(*asked.prepaid.lock().unwrap(), [(key('D'), Amount(5))]);

    let request = RouteRequest {
        host: "example.org:443".into(),
        hops: None,
        count: Some(1),
    };
    assert_eq!(client.routes(&request).await.unwrap().routes.len(), 1);
    let status = client.status(false).await.unwrap().money.unwrap();
    assert_eq!(status.totals, books().totals());
    let report = client.doctor().await.unwrap();
    assert!(
        report
            .findings
            .iter()
            .any(|found| found.check == Check::Payments)
    );
}

#[tokio::test]
async fn mistakes_about_money_are_explained() {
    let served = Served::by(FakeNode::new()).await;
    for (method, path, body, expected) in [
        ("GET", "/v1/financials?top=x", "", 400),
        ("GET", "/v1/financials?min_balance=0.5", "", 400),
        ("GET", "/v1/payments?done=1001", "", 400),
        ("GET", "/v1/payments?all=true", "", 400),
        ("POST", "/v1/payments", "", 400),
        ("POST", "/v1/payments", "{\"order\": \"steal\"}", 400),
        (
            "POST",
            "/v1/payments",
            "{\"order\": \"cancel\", \"nonce\": 99}",
            400,
        ),
        ("POST", "/v1/scan", "{\"what\": \"everything\"}", 400),
        ("POST", "/v1/prepay", "", 400),
        ("POST", "/v1/prepay", "{\"node\": \"DDDDDDDD\"}", 400),
        (
            "POST",
            "/v1/prepay",
            "{\"node\": \"DDDDDDDD\", \"amount\": 5}",
            400,
        ),
        (
            "POST",
            "/v1/prepay",
            "{\"node\": \"XXXXXXXX\", \"amount\": \"5\"}",
            400,
        ),
        ("POST", "/v1/routes", "{}", 400),
        (
            "POST",
            "/v1/routes",
            "{\"host\": \"x\", \"hops\": \"9\"}",
            400,
        ),
        ("DELETE", "/v1/payments", "", 405),
        ("GET", "/v1/prepay", "", 405),
    ] {
        let (status, answer) = served.authorised(method, path, body).await;
        assert_eq!(status, expected, "{method} {path} {body}");
        assert!(
            answer["error"].is_string() && answer["hint"].is_string(),
            "{path}: {answer}"
        );
    }
    assert!(
        served
            .node
            .money
            .as_ref()
            .unwrap()
            .orders
            .lock()
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_node_without_payments_says_how_to_switch_them_on() {
    let mut node = FakeNode::new();
    node.money = None;
    let served = Served::by(node).await;
    match served.client().money().await.unwrap_err() {
        ClientError::Refused { status: 404, body } => {
            assert!(body.error.contains("Payments are off"));
            assert!(body.hint.unwrap().contains("`payments = true`"));
        }
        other => panic!("{other:?}"),
    }
    let routes = [
        ("GET", "/v1/financials"),
        ("GET", "/v1/payments"),
        ("POST", "/v1/payments"),
        ("POST", "/v1/scan"),
        ("POST", "/v1/prepay"),
    ];
    for (method, path) in routes {
        assert_eq!(
            served.authorised(method, path, "").await.0,
            404,
            "{method} {path}"
        );
    }
    // What is not about money goes on.
    let client = served.client();
    assert_eq!(client.status(false).await.unwrap().money, None);
    assert!(client.doctor().await.is_ok());
    let body = "{\"host\": \"example.org\"}";
    assert_eq!(served.authorised("POST", "/v1/routes", body).await.0, 200);
}

#[tokio::test]
async fn shutdown_reaches_the_node() {
    let served = Served::by(FakeNode::new()).await;
    let view = served.client().shutdown(false).await.unwrap();
    assert_eq!((view.open_flows, view.drain_seconds), (3, 10));
    served.client().shutdown(true).await.unwrap();
    assert_eq!(served.authorised("POST", "/v1/shutdown", "").await.0, 200);
    assert_eq!(*served.node.shutdowns.lock().unwrap(), [false, true, false]);
}

#[tokio::test]
async fn what_is_off_says_how_to_switch_it_on() {
    let mut node = FakeNode::new();
    node.tracing = false;
    let served = Served::by(node).await;
    let (status, answer) = served.authorised("GET", "/v1/trace", "").await;
    assert_eq!(status, 404);
    assert_eq!(answer["error"], "This node keeps no trace.");
    assert_eq!(answer["hint"], "Set debug_trace on chain dev.");
}

#[tokio::test]
async fn nothing_but_health_goes_without_the_token() {
    let served = Served::by(FakeNode::new()).await;
    let host = format!("Host: {}\r\n", served.address);
    for (method, path) in ROUTES.iter().filter(|(_, path)| *path != "/healthz") {
        for extra in [
            "",
            "Authorization: Bearer wrong\r\n",
            "Authorization: Basic YTpi\r\n",
        ] {
            let headers = format!("{host}{extra}");
            let (status, answer) = served
                .request(&method.to_uppercase(), path, &headers, "")
                .await;
            assert_eq!(status, 401, "{method} {path}");
            assert!(answer["hint"].as_str().unwrap().contains("control.token"));
        }
    }
    assert_eq!(served.request("GET", "/healthz", &host, "").await.0, 200);
    // Unknown paths tell nothing either.
    assert_eq!(served.request("GET", "/v1/secret", &host, "").await.0, 401);
    assert!(served.node.shutdowns.lock().unwrap().is_empty());
    assert!(matches!(
        Client::new(served.address, "wrong").status(false).await,
        Err(ClientError::WrongToken { .. })
    ));
}

#[tokio::test]
async fn names_in_the_host_header_are_refused() {
    let served = Served::by(FakeNode::new()).await;
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    for host in ["Host: evil.example\r\n", "Host: evil.example:80\r\n", ""] {
        let (status, _) = served
            .request("GET", "/v1/status", &format!("{host}{token}"), "")
            .await;
        assert!(matches!(status, 400 | 403), "{host}: {status}");
    }
    let (status, _) = served
        .request("GET", "/healthz", "Host: evil.example\r\n", "")
        .await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn wrong_paths_methods_and_bodies_get_json_errors() {
    let served = Served::by(FakeNode::new()).await;
    for (method, path, body, expected) in [
        ("GET", "/", "", 404),
        ("GET", "/v1/nothing", "", 404),
        ("POST", "/v1/status", "", 405),
        ("DELETE", "/healthz", "", 405),
        ("GET", "/v1/shutdown", "", 405),
        ("GET", "/v1/status?addresses=maybe", "", 400),
        ("POST", "/v1/shutdown", "{\"later\": true}", 400),
    ] {
        let (status, answer) = served.authorised(method, path, body).await;
        assert_eq!(status, expected, "{method} {path}");
        assert!(answer["error"].is_string(), "{method} {path}: {answer}");
    }
    let huge = "x".repeat(20 * 1024);
    assert_eq!(
        served.authorised("PATCH", "/v1/settings", &huge).await.0,
        413
    );
    // No page in a browser is ever told that it may.
    let (_, text) = served
        .raw(&format!(
            "OPTIONS /v1/status HTTP/1.1\r\nHost: {}\r\nOrigin: http://evil.example\r\nConnection: close\r\n\r\n",
            served.address
        ))
        .await;
    assert!(
        !text.to_ascii_lowercase().contains("access-control"),
        "{text}"
    );
}

#[tokio::test]
async fn events_arrive_losses_are_told_and_the_end_is_clean() {
    let served = Served::by(FakeNode::new()).await;
    let mut events = served.client().events().await.unwrap();
    let opened = |id| Event::CircuitOpened { id, hops: 3 };
    served.node.events.send(opened(1)).unwrap();
    assert_eq!(events.next().await.unwrap(), Some(opened(1)));
    served.client().set_hops("2").await.unwrap();
    assert_eq!(
        events.next().await.unwrap(),
        Some(Event::SettingsChanged { hops: "2".into() })
    );
    for id in 0..20 {
        let _ = served.node.events.send(opened(id));
    }
    let mut told = 0;
    while told < 20 {
        match events.next().await.unwrap().unwrap() {
            Event::Lost { count } => told += count,
            _ => told += 1,
        }
    }
    served.stop.cancel();
    assert_eq!(events.next().await.unwrap(), None);
    served.task.await.unwrap();
}

#[tokio::test]
async fn a_stopped_server_is_gone() {
    let served = Served::by(FakeNode::new()).await;
    let client = served.client();
    client.health().await.unwrap();
    served.stop.cancel();
    served.task.await.unwrap();
    assert!(matches!(
        client.health().await,
        Err(ClientError::Unreachable { .. })
    ));
}

#[tokio::test]
async fn connections_are_bounded_and_places_come_back() {
    let served = Served::by(FakeNode::new()).await;
    let mut idle = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        idle.push(TcpStream::connect(served.address).await.unwrap());
    }
    let client = served.client();
    let waiting = tokio::spawn(async move { client.health().await });
    tokio::task::yield_now().await;
    drop(idle);
    assert!(waiting.await.unwrap().unwrap().ok);
}

#[tokio::test]
async fn a_port_in_use_is_an_error() {
    let taken = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = Server::bind(taken.address()).await.unwrap_err();
    assert!(matches!(error, ServerError::Bind { address, .. } if address == taken.address()));
}

#[test]
fn the_description_has_every_route_and_nothing_else() {
    let description: Value = serde_json::from_str(OPENAPI).unwrap();
    let described: BTreeSet<(String, String)> = description["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods
                .as_object()
                .unwrap()
                .keys()
                .map(move |method| (method.clone(), path.clone()))
        })
        .collect();
    let served = ROUTES
        .iter()
        .map(|(method, path)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    assert_eq!(described, served);
}

/// Checks a value against the little of JSON Schema that the description uses.
fn conforms(value: &Value, schema: &Value, schemas: &Value, at: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap();
        assert!(schemas[name].is_object(), "{at}: no schema {name}");
        return conforms(value, &schemas[name], schemas, at);
    }
    if let Some(either) = schema["oneOf"].as_array() {
        let either = if value.is_null() {
            &either[1]
        } else {
            &either[0]
        };
        return conforms(value, either, schemas, at);
    }
    match schema["type"].as_str() {
        Some("object") => {
            let object = value.as_object().unwrap_or_else(|| panic!("{at}: {value}"));
            for required in schema["required"].as_array().into_iter().flatten() {
                assert!(
                    object.contains_key(required.as_str().unwrap()),
                    "{at}: no {required}"
                );
            }
            for (name, value) in object {
                let property = &schema["properties"][name];
                assert!(property.is_object(), "{at}: {name} is not described");
                conforms(value, property, schemas, &format!("{at}.{name}"));
            }
        }
        Some("array") => {
            for value in value.as_array().unwrap() {
                conforms(value, &schema["items"], schemas, at);
            }
        }
        Some("string") => {
            let text = value.as_str().unwrap_or_else(|| panic!("{at}: {value}"));
            if let Some(words) = schema["enum"].as_array() {
                assert!(words.iter().any(|word| word == text), "{at}: {text}");
            }
        }
        Some("integer") => assert!(value.is_u64(), "{at}: {value}"),
        Some("boolean") => assert!(value.is_boolean(), "{at}: {value}"),
        Some("null") => assert!(value.is_null(), "{at}"),
        other => panic!("{at}: type {other:?}"),
    }
}

#[tokio::test]
async fn answers_conform_to_the_description() {
    let mut node = FakeNode::new();
    node.money.as_mut().unwrap().halted = true;
    let served = Served::by(node).await;
    let description: Value = serde_json::from_str(OPENAPI).unwrap();
    let schemas = &description["components"]["schemas"];
    for (method, path) in ROUTES {
        if path.ends_with("/events") || path.ends_with("openapi.json") {
            continue;
        }
        let body = match (*method, *path) {
            ("patch", _) => "{\"hops\": \"4\"}",
            ("post", "/v1/payments") => "{\"order\": \"pause\"}",
            ("post", "/v1/prepay") => "{\"node\": \"DDDDDDDD\", \"amount\": \"1\"}",
            ("post", "/v1/routes") => "{\"host\": \"example.org\"}",
            ("post", "/v1/bans") => "{\"node\": \"BBBBBBBB\", \"life_seconds\": 60}",
            _ => "",
        };
        let (status, answer) = served.authorised(&method.to_uppercase(), path, body).await;
        assert_eq!(status, 200, "{method} {path}");
        let schema = &description["paths"][*path][*method]["responses"]["200"]["content"]["application/json"]
            ["schema"];
        conforms(&answer, schema, schemas, path);
    }
    let (_, error) = served.authorised("GET", "/v1/nothing", "").await;
    conforms(&error, &schemas["Error"], schemas, "error");
}
