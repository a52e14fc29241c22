//! The built-in web server as a destination, fetched directly.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use masq_testnet::fetch::{Via, get, post};
use masq_testnet::web::{WebServer, content};

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn every_path_does_what_the_index_says() {
    let web = WebServer::on_loopback().await.unwrap();
    let base = format!("http://127.0.0.1:{}", web.port());
    let fetch = |path: &str| {
        let url = format!("{base}{path}");
        async move { get(&Via::Direct, &url, LIMIT).await.unwrap() }
    };

    let index = fetch("/").await;
    assert_eq!(index.status, 200);
    assert!(String::from_utf8(index.body).unwrap().contains("It works"));

    let chunked = fetch("/chunked/300000").await;
    assert_eq!(chunked.headers.get("transfer-encoding").unwrap(), "chunked");
    assert_eq!(chunked.sha256, content::sha256(300_000));

    let slow = fetch("/slow/3").await;
    assert_eq!(slow.body, b"line 1 of 3\nline 2 of 3\nline 3 of 3\n");
    assert!(slow.total >= Duration::from_millis(200));
    assert!(slow.first_byte < slow.total);

    assert_eq!(fetch("/whoami").await.body, b"127.0.0.1\n");
    assert_eq!(fetch("/status/503").await.status, 503);
    assert_eq!(fetch("/nowhere").await.status, 404);
    assert_eq!(fetch("/bytes/99999999999999").await.status, 400);
    assert!(
        String::from_utf8(fetch("/headers").await.body)
            .unwrap()
            .contains("host")
    );
    assert_eq!(web.requests(), 8);
}

#[tokio::test]
async fn uploads_are_hashed_and_echoed() {
    let web = WebServer::on_loopback().await.unwrap();
    let body = Bytes::from(vec![7; 3_000_000]);
    let hash = post(
        &Via::Direct,
        &format!("http://127.0.0.1:{}/sha256", web.port()),
        body.clone(),
        LIMIT,
    )
    .await
    .unwrap();
    let said: serde_json::Value = serde_json::from_slice(&hash.body).unwrap();
    assert_eq!(said["bytes"], 3_000_000);

    let echo = post(
        &Via::Direct,
        &format!("http://127.0.0.1:{}/echo", web.port()),
        body,
        LIMIT,
    )
    .await
    .unwrap();
    assert_eq!(said["sha256"], hex::encode(echo.sha256));
    assert_eq!(echo.len, 3_000_000);
}
