//! Scenarios S21, S22 and S29 with real processes on a development chain: books are equal on both
//! sides, debts are paid once, and nothing on disk says whom it is about.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::{alone, down, eventually, get, options};
use alloy::primitives::Address;
use masq::ledger::Wei;
use masq_testnet::fetch::Via;
use masq_testnet::money::bill::Bill;
use masq_testnet::money::judge::{Evidence, judge};
use masq_testnet::money::{Chain, NodeBooks, Transfer, transfers};
use masq_testnet::network::RunningNode;
use masq_testnet::{Options, Testnet};

/// Payments have this long to be made and final: some blocks of a second, on a busy machine.
const PAID_WITHIN: Duration = Duration::from_secs(90);

fn paying(nodes: usize) -> Options {
    let mut wanted = options(nodes);
    wanted.chain = Chain::Dev;
    wanted.ready_within = Duration::from_secs(120);
    wanted
}

/// Pages, an upload, a server that refuses, and a name that does not exist.
async fn mixed_traffic(net: &Testnet) {
    for via in net.ways() {
        for path in ["/", "/bytes/300000", "/status/404"] {
            get(net, &via, path).await.unwrap();
        }
    }
    let socks = Via::socks5(net.socks().unwrap());
    let limit = Duration::from_secs(20);
    let body = vec![7; 200_000].into();
    let url = net.url("/sha256");
    masq_testnet::fetch::post(&socks, &url, body, limit)
        .await
        .unwrap();
    for nowhere in ["http://127.0.0.1:1/", "http://nowhere.invalid/"] {
        let answer = masq_testnet::fetch::get(&socks, nowhere, limit).await;
        assert!(answer.is_err(), "{nowhere}");
    }
}

async fn ask(node: &RunningNode) -> NodeBooks {
    NodeBooks::ask(node.control(), node.key(), node.wallets().unwrap())
        .await
        .unwrap()
}

/// Waits until the client has paid somebody, owes nobody more than is paid by itself, and nothing
/// is under way or provisional anywhere.
async fn settled(net: &Testnet) {
    eventually("payments that are final", PAID_WITHIN, || async {
        let client = ask(net.client()).await;
        let paid = client.debts.iter().any(|debt| debt.paid > 0);
        (paid && client.is_settled()).then_some(())
    })
    .await;
    for node in net.nodes() {
        node.control().pause_payments().await.unwrap();
    }
    eventually("nothing provisional", PAID_WITHIN, || async {
        for node in net.nodes() {
            if !ask(node).await.is_settled() {
                return None;
            }
        }
        Some(())
    })
    .await;
}

/// Stops one node in order and reads its books from its folder; says how many of its circuits broke.
async fn stopped(net: &mut Testnet, name: &str) -> (NodeBooks, u32) {
    let node = net.stop(name).await.unwrap();
    assert!(!node.was_killed(), "{name} had to be killed");
    let (wallets, data) = (node.wallets().unwrap(), node.data_dir());
    let books = NodeBooks::of_folder(name, node.key(), wallets, &data).await;
    (books.unwrap(), node.broken_circuits())
}

fn judged(books: &[NodeBooks], transfers: &[Transfer]) -> Vec<String> {
    let judgement = judge(&Evidence {
        books,
        transfers,
        kills: &BTreeMap::new(),
        second: 0,
        in_flight: 0,
    });
    assert!(judgement.payments > 0);
    judgement.findings.iter().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s21_s22_debts_are_paid_once_and_both_books_say_the_same() {
    let _alone = alone();
    pays_once(Chain::Dev).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s21_s22_the_same_on_anvil() {
    if std::env::var_os("MASQ_ANVIL").is_none() {
        eprintln!("SKIPPED: MASQ_ANVIL does not name anvil");
        return;
    }
    let _alone = alone();
    pays_once(Chain::anvil()).await;
}

async fn pays_once(chain: Chain) {
    let mut wanted = paying(5);
    wanted.chain = chain;
    let mut net = Testnet::up(wanted).await.unwrap();
    let money = net.bank().unwrap().state();
    // For a node of one's own; it changes nothing for the others.
    money.fund(Address::repeat_byte(9)).await.unwrap();
    mixed_traffic(&net).await;
    settled(&net).await;

    // With the client its circuits end, in order: from then on both sides have all of them.
    let client = net.client().name().to_owned();
    let (own, broken) = stopped(&mut net, &client).await;
    let bill = eventually("equal books", Duration::from_secs(20), || async {
        let mut books = vec![own.clone()];
        for node in net.nodes() {
            books.push(ask(node).await);
        }
        let on_chain = transfers(&money).await.unwrap();
        let bill = Bill::new(&client, Vec::new(), &books, &on_chain, broken);
        bill.is_well().then_some(bill)
    })
    .await;
    let used: Wei = bill.pairs.iter().map(|pair| pair.payable).sum();
    let paid: Wei = bill.paid.iter().map(|row| row.amount).sum();
    assert!(used > 0 && paid > 0 && paid <= used, "{bill:?}");

    let mut books = vec![own];
    let others: Vec<_> = net.nodes().iter().map(|n| n.name().to_owned()).collect();
    for name in &others {
        books.push(stopped(&mut net, name).await.0);
    }
    let on_chain = transfers(&money).await.unwrap();
    // Circuits between the others broke while they stopped one after the other: what they say of
    // each other may differ, what they paid may not.
    let findings = judged(&books, &on_chain);
    let wrong: Vec<_> = findings
        .iter()
        .filter(|finding| !finding.contains("by its own books"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    down(net).await;
}

/// Every file below a folder.
fn files(below: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(below).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Everything that a wallet could be found by.
fn spellings(wallet: Address) -> Vec<Vec<u8>> {
    let checksummed = wallet.to_checksum(None);
    let digits = checksummed.trim_start_matches("0x");
    vec![
        wallet.to_vec(),
        digits.into(),
        digits.to_lowercase().into(),
        digits.to_uppercase().into(),
    ]
}

/// Everything that an amount of some size could be found by.
fn amounts(wei: Wei) -> Vec<Vec<u8>> {
    let mut short = wei.to_be_bytes().to_vec();
    short.drain(..8);
    let mut backwards = short.clone();
    backwards.reverse();
    vec![wei.to_string().into(), short, backwards]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s29_no_wallet_amount_descriptor_or_host_is_found_in_the_data_folders() {
    let _alone = alone();
    let mut net = Testnet::up(paying(5)).await.unwrap();
    mixed_traffic(&net).await;
    settled(&net).await;
    let (mut wanted, mut folders) = (Vec::new(), Vec::new());
    for node in net.nodes() {
        let books = ask(node).await;
        let mut add = |what: String, spelled: Vec<Vec<u8>>| {
            wanted.extend(spelled.into_iter().map(|bytes| (what.clone(), bytes)));
        };
        let name = node.name();
        add(
            format!("the consuming wallet of {name}"),
            spellings(books.wallets.consuming),
        );
        add(
            format!("the earning wallet of {name}"),
            spellings(books.wallets.earning.unwrap()),
        );
        add(
            format!("the descriptor of {name}"),
            vec![node.descriptor().into()],
        );
        for debt in &books.debts {
            // Small ones would be found in any file.
            for wei in [debt.accrued(), debt.paid]
                .into_iter()
                .filter(|wei| *wei > 1 << 32)
            {
                add(format!("a debt of {name}"), amounts(wei));
            }
        }
        for payment in &books.payments {
            let hash = payment.transaction.unwrap();
            add(
                format!("a payment of {name}"),
                vec![hash.to_vec(), hex::encode(hash).into()],
            );
        }
        folders.push(node.data_dir());
    }
    let hosts = ["nowhere.invalid", "localhost:"];
    wanted.extend(hosts.map(|host| (format!("the host {host}"), host.into())));
    let names: Vec<_> = net.nodes().iter().map(|n| n.name().to_owned()).collect();
    for name in &names {
        stopped(&mut net, name).await;
    }
    let mut all = Vec::new();
    for folder in &folders {
        files(folder, &mut all);
    }
    assert!(
        all.iter().any(|file| file.ends_with("money.redb")),
        "{all:?}"
    );
    let mut found = Vec::new();
    for file in &all {
        let bytes = std::fs::read(file).unwrap();
        let hits = wanted.iter().filter(|(_, wanted)| contains(&bytes, wanted));
        found.extend(hits.map(|(what, _)| format!("{what} is in {}", file.display())));
    }
    assert!(found.is_empty(), "{found:#?}");
    down(net).await;
}
