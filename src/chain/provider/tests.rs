//! The provider against small JSON-RPC servers that do what they are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use alloy_primitives::{B256, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

use super::super::engine::{Question, SendError};
use super::super::scanner::{LogAnswer, LogQuestion, TRANSFER};
use super::*;

enum Reply {
    Result(Value),
    Error(&'static str),
    Status(u16),
    Garbage,
}

type Answers = Arc<dyn Fn(&str, &Value) -> Reply + Send + Sync>;

/// A server; its address.
async fn serve(answers: impl Fn(&str, &Value) -> Reply + Send + Sync + 'static) -> String {
    async fn answer(State(answers): State<Answers>, body: String) -> Response {
        let call: Value = serde_json::from_str(&body).unwrap();
        let method = call["method"].as_str().unwrap();
        match answers(method, &call["params"]) {
            Reply::Result(result) => json!({ "jsonrpc": "2.0", "id": 1, "result": result })
                .to_string()
                .into_response(),
            Reply::Error(message) => {
                let error = json!({ "code": -32_000, "message": message });
                json!({ "jsonrpc": "2.0", "id": 1, "error": error })
                    .to_string()
                    .into_response()
            }
            Reply::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
            Reply::Garbage => "<html>".into_response(),
        }
    }
    let answers: Answers = Arc::new(answers);
    let app = axum::Router::new()
        .route("/", post(answer))
        .with_state(answers);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}/")
}

fn token() -> Address {
    Address::repeat_byte(0x70)
}

fn wallet() -> Address {
    Address::repeat_byte(0xaa)
}

fn hash(n: u64) -> B256 {
    B256::left_padding_from(&n.to_be_bytes())
}

fn word(n: u64) -> Value {
    json!(hash(n))
}

/// A good endpoint at height 100, of which 90 are final.
fn good(method: &str, params: &Value) -> Reply {
    Reply::Result(match method {
        "eth_chainId" => json!("0x7a69"),
        "eth_getCode" => json!("0x60"),
        "eth_call" => match params[0]["data"].as_str().unwrap() {
            data if data.starts_with("0x313ce567") => word(18),
            data if data.starts_with("0x95d89b41") => json!("0x4d415351"),
            _ => word(5_000),
        },
        "eth_getBlockByNumber" => {
            let number = match params[0].as_str().unwrap() {
                "latest" => 100,
                "finalized" => 90,
                hex => u64::from_str_radix(&hex[2..], 16).unwrap(),
            };
            if number > 100 {
                Value::Null
            } else {
                let number_hex = format!("{number:#x}");
                json!({ "number": number_hex, "hash": hash(number), "baseFeePerGas": "0x64",
                        "transactions": ["0x7e is of no interest"] })
            }
        }
        "eth_getTransactionCount" => match params[1].as_str().unwrap() {
            "latest" => json!("0x5"),
            "pending" => json!("0x6"),
            _ => json!("0x4"),
        },
        "eth_getBalance" => json!("0x3e8"),
        "eth_maxPriorityFeePerGas" => json!("0x2"),
        "eth_getTransactionReceipt" => {
            let of = params[0].as_str().unwrap();
            // The second is of a block that is no longer there, the third not there at all.
            let block_hash = if of == hash(1).to_string() {
                hash(95)
            } else {
                hash(1_000)
            };
            let log = |address: Address, from: Address| {
                json!({ "address": address, "topics": [TRANSFER, from.into_word(), wallet().into_word()],
                        "data": hash(7), "blockNumber": "0x5f", "blockHash": block_hash,
                        "transactionHash": of, "logIndex": "0x0" })
            };
            if of == hash(3).to_string() {
                Value::Null
            } else {
                json!({ "transactionHash": of, "blockNumber": "0x5f", "blockHash": block_hash,
                        "status": "0x1", "l1Fee": "0x1",
                        "logs": [log(token(), wallet()), log(token(), token()), log(wallet(), wallet())] })
            }
        }
        "eth_getLogs" => json!([{
            "address": token(), "topics": [TRANSFER, token().into_word(), wallet().into_word()],
            "data": hash(9), "blockNumber": "0x5a", "blockHash": hash(90),
            "transactionHash": hash(77), "logIndex": "0x3", "removed": false
        }]),
        "eth_sendRawTransaction" => json!(hash(1)),
        _ => return Reply::Error("the method does not exist"),
    })
}

fn config(urls: Vec<String>) -> ProviderConfig {
    ProviderConfig {
        facts: crate::chain::facts(masq_gossip::Chain::Dev),
        token: token(),
        urls,
        proxy: None,
        disperse: None,
    }
}

fn provider(urls: Vec<String>) -> Provider {
    Provider::new(config(urls)).unwrap()
}

fn question(hashes: Vec<B256>, avoid: Option<Endpoint>) -> Question {
    Question {
        id: 1,
        avoid,
        hashes,
    }
}

#[tokio::test]
async fn a_view_has_what_the_endpoint_says_and_receipts_of_blocks_that_are_there() {
    let provider = provider(vec![serve(good).await]);
    let asked = question(vec![hash(1), hash(2), hash(3)], None);
    let view = provider.look(wallet(), &asked).await.unwrap();
    assert_eq!(
        (view.chain_id, view.head, view.finalized),
        (31_337, 100, 90)
    );
    let nonces = view.nonces;
    assert_eq!(
        (nonces.finalized, nonces.latest, nonces.pending),
        (Some(4), 5, 6)
    );
    assert_eq!((view.token, view.native), (5_000, 1_000));
    assert_eq!((view.fees.base, view.fees.tip), (100, 2));
    let [receipt] = view.receipts.as_slice() else {
        panic!("one receipt");
    };
    assert_eq!(
        (receipt.hash, receipt.block, receipt.success),
        (hash(1), 95, true)
    );
    assert_eq!(receipt.transfers, [(wallet(), 7)]);
}

#[tokio::test]
async fn endpoints_without_old_state_or_an_opinion_on_tips_do() {
    let provider = provider(vec![
        serve(|method, params| match method {
            "eth_maxPriorityFeePerGas" => Reply::Error("the method does not exist"),
            "eth_getTransactionCount" if params[1] == "0x5a" => Reply::Error("missing trie node"),
            _ => good(method, params),
        })
        .await,
    ]);
    let view = provider
        .look(wallet(), &question(vec![], None))
        .await
        .unwrap();
    assert_eq!((view.nonces.finalized, view.fees.tip), (None, 0));
}

#[tokio::test]
async fn a_wrong_chain_a_missing_token_and_wrong_decimals_are_named() {
    let wrong_chain = serve(|method, params| match method {
        "eth_chainId" => Reply::Result(json!("0x1")),
        _ => good(method, params),
    });
    let no_token = serve(|method, params| match method {
        "eth_getCode" => Reply::Result(json!("0x")),
        _ => good(method, params),
    });
    let decimals = serve(|method, params| match method {
        "eth_call" => Reply::Result(word(6)),
        _ => good(method, params),
    });
    let urls = vec![
        wrong_chain.await,
        no_token.await,
        decimals.await,
        serve(good).await,
    ];
    let provider = provider(urls);
    let found = provider.check_all().await;
    let said = |at: usize| found[at].clone().unwrap_err().to_string();
    assert!(
        said(0).contains("on chain 1, the node is on chain 31337"),
        "{}",
        said(0)
    );
    assert!(
        said(1).contains("no contract at the token's address"),
        "{}",
        said(1)
    );
    assert!(said(2).contains("6 decimals"), "{}", said(2));
    assert_eq!(found[3], Ok(TokenInfo { symbol: None }));
    assert!(
        found[..3]
            .iter()
            .all(|fault| !fault.clone().unwrap_err().is_passing())
    );
    // Only the good one is asked, even when another is preferred.
    for _ in 0..5 {
        let view = provider
            .look(wallet(), &question(vec![], Some(3)))
            .await
            .unwrap();
        assert_eq!(view.endpoint, 3);
    }
}

#[tokio::test]
async fn a_question_begins_again_at_another_endpoint_and_opinions_take_turns() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let breaks = serve(move |method, params| match method {
        "eth_getBalance" => {
            counted.fetch_add(1, Ordering::Relaxed);
            Reply::Garbage
        }
        _ => good(method, params),
    });
    let down = serve(|_, _| Reply::Status(502));
    let urls = vec![
        breaks.await,
        down.await,
        serve(good).await,
        serve(good).await,
    ];
    let provider = provider(urls);
    let mut seen = [0; 4];
    let mut avoid = None;
    for _ in 0..8 {
        let view = provider
            .look(wallet(), &question(vec![], avoid))
            .await
            .unwrap();
        assert_ne!(avoid, Some(view.endpoint));
        avoid = Some(view.endpoint);
        seen[usize::from(view.endpoint)] += 1;
    }
    assert_eq!((seen[0], seen[1]), (0, 0));
    assert!(seen[2] >= 3 && seen[3] >= 3, "{seen:?}");
    assert_eq!(calls.load(Ordering::Relaxed), 1, "it rests after a failure");
    assert!(provider.faults()[0].is_some() && provider.faults()[2].is_none());
}

#[test]
fn endpoints_given_twice_or_not_at_all_are_refused() {
    let of = |urls: &[&str]| {
        let urls = urls.iter().map(|url| (*url).to_owned()).collect();
        Provider::new(config(urls)).unwrap_err()
    };
    assert_eq!(
        of(&["http://a", "http://b/", "http://a/"]),
        EndpointError::Twice
    );
    assert_eq!(of(&[]), EndpointError::Number);
    assert_eq!(of(&["http://a", "a"]), EndpointError::Url);
}

#[tokio::test]
async fn without_any_endpoint_there_is_no_answer() {
    let provider = provider(vec!["http://127.0.0.1:1/".to_owned()]);
    assert!(
        provider
            .look(wallet(), &question(vec![], None))
            .await
            .is_none()
    );
    assert!(provider.fees().await.is_none());
    assert_eq!(
        provider.faults()[0],
        Some(Fault::Call(RpcError::Unreachable))
    );
    let raw = Bytes::from_static(&[1]);
    assert_eq!(provider.send(hash(1), &raw).await, Err(SendError::Unknown));
}

#[tokio::test]
async fn what_is_known_already_counts_as_sent() {
    let says = |message: &'static str| {
        serve(move |method, params| match method {
            "eth_sendRawTransaction" => Reply::Error(message),
            _ => good(method, params),
        })
    };
    let raw = Bytes::from_static(&[1]);
    for (message, result) in [
        ("already known", Ok(())),
        ("nonce too low", Err(SendError::NonceTooLow)),
        (
            "replacement transaction underpriced",
            Err(SendError::Underpriced),
        ),
        ("whatever", Err(SendError::Unknown)),
    ] {
        let provider = provider(vec![says(message).await]);
        assert_eq!(provider.send(hash(1), &raw).await, result, "{message}");
    }
    let provider = provider(vec![says("whatever").await, serve(good).await]);
    assert_eq!(provider.send(hash(1), &raw).await, Ok(()));
}

fn logs_of(from: u64, to: u64) -> LogQuestion {
    LogQuestion {
        id: 1,
        from,
        to,
        anchor: Some(89),
        avoid: None,
    }
}

#[tokio::test]
async fn a_page_of_logs_ends_at_the_head_and_says_which_blocks_it_rests_on() {
    let provider = provider(vec![serve(good).await]);
    let LogAnswer::Page(page) = provider.logs(wallet(), &logs_of(90, 2_000)).await else {
        panic!("a page");
    };
    assert_eq!((page.to, page.head, page.finalized), (100, 100, 90));
    assert_eq!(page.anchor, Some(hash(89)));
    assert_eq!(
        (page.hash_before, page.hash_after),
        (Some(hash(100)), Some(hash(100)))
    );
    assert_eq!(page.final_hash, Some(hash(90)));
    assert_eq!(
        (page.logs.len(), page.logs[0].block, page.logs[0].index),
        (1, 90, 3)
    );
    let LogAnswer::Page(page) = provider.logs(wallet(), &logs_of(101, 2_000)).await else {
        panic!("a page");
    };
    assert!(page.logs.is_empty() && page.hash_after.is_none());
}

#[tokio::test]
async fn a_range_that_is_too_large_is_told_from_a_failure() {
    let says = |reply: fn() -> Reply| {
        serve(move |method, params| match method {
            "eth_getLogs" => reply(),
            _ => good(method, params),
        })
    };
    let large = says(|| Reply::Error("query returned more than 10000 results"));
    let provider_of = |url| provider(vec![url]);
    let answer = provider_of(large.await)
        .logs(wallet(), &logs_of(90, 99))
        .await;
    assert!(matches!(answer, LogAnswer::TooLarge));
    let busy = says(|| Reply::Error("rate limit exceeded"));
    let answer = provider_of(busy.await)
        .logs(wallet(), &logs_of(90, 99))
        .await;
    assert!(matches!(answer, LogAnswer::Failed));
}

#[tokio::test]
async fn balances_are_read_for_all_payers_a_few_at_a_time() {
    let provider = provider(vec![serve(good).await]);
    let payers: Vec<Address> = (1..20).map(Address::repeat_byte).collect();
    let funds = provider.funds(&payers).await;
    assert_eq!(funds.len(), payers.len());
    assert!(
        funds
            .iter()
            .all(|(_, funds)| (funds.token, funds.native) == (5_000, 1_000))
    );
}

#[tokio::test]
async fn with_a_proxy_everything_goes_through_it() {
    // An HTTP proxy gets the whole address in the request line; this one answers by itself.
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = seen.clone();
    let app = axum::Router::new().fallback(move |uri: axum::http::Uri, body: String| {
        let counted = counted.clone();
        async move {
            assert_eq!(uri.host(), Some("service.example"));
            counted.fetch_add(1, Ordering::Relaxed);
            let call: Value = serde_json::from_str(&body).unwrap();
            let Reply::Result(result) = good(call["method"].as_str().unwrap(), &call["params"])
            else {
                panic!("a good answer");
            };
            json!({ "jsonrpc": "2.0", "id": 1, "result": result }).to_string()
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let provider = Provider::new(ProviderConfig {
        proxy: Some(proxy),
        ..config(vec!["http://service.example/key".to_owned()])
    })
    .unwrap();
    assert!(
        provider
            .look(wallet(), &question(vec![], None))
            .await
            .is_some()
    );
    assert!(seen.load(Ordering::Relaxed) > 5);
}
