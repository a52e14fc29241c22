//! What somebody finds who has the data folder of a node and not what opens it: no node key, no
//! address, no wallet, no host name, in whatever form it may be written.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use masq::config::{Chain, Config, Descriptor};
use masq::control::NodeApi;
use masq::control::types::BanRequest;
use masq::daemon::{RunningNode, Start, StartError, Stop};
use masq::datadir::DataDir;
use masq::safe::Safe;
use masq::store::{Unlock, vault::KEY_FILE};
use masq::wallet::{ConsumingWallet, Keeper};

/// Real time, for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the node is asked whether it has come to remember its neighbour.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A name that the node was told of; nobody is asked for it.
const HOST: &str = "a-rather-long-name.example.org";
/// The key of the secret key of 32 bytes 0x01.
const BANNED: &str = "iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w";
const REASON: &str = "a reason that nobody else should read";
const EARNING: [u8; 20] = *b"an earning wallet...";

fn address(number: u8) -> SocketAddr {
    let net = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, net[2] | 128, net[3], 64 + number);
    SocketAddr::new(IpAddr::V4(ip), 0)
}

fn config(folder: PathBuf, number: u8) -> Config {
    let mut config = Config::new(folder);
    config.chain = Chain::Dev;
    config.payments = false;
    config.listen = vec![address(number)];
    (config.socks, config.http) = (None, None);
    config
}

async fn start(config: &Config, stop: &Stop) -> RunningNode {
    let data = DataDir::open(&config.data_dir).unwrap();
    let start = Start::open(config.clone(), data, stop.clone()).unwrap();
    masq::node::start(start).await.unwrap()
}

async fn descriptor(api: &Arc<dyn NodeApi>) -> Descriptor {
    let view = api.descriptor().await.unwrap();
    view.descriptor.unwrap().parse().unwrap()
}

/// Base 58 as in peer ids and old addresses.
fn base58(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut digits: Vec<u8> = Vec::new();
    for &byte in bytes {
        let mut carry = u32::from(byte);
        for digit in &mut digits {
            carry += u32::from(*digit) << 8;
            *digit = (carry % 58) as u8;
            carry /= 58;
        }
        while carry > 0 {
            digits.push((carry % 58) as u8);
            carry /= 58;
        }
    }
    let letters = digits
        .iter()
        .rev()
        .map(|digit| LETTERS[usize::from(*digit)]);
    letters.map(char::from).collect()
}

/// A secret in every form: as it is, hexadecimal, base64 at each alignment, base58, and decimal
/// numbers between commas as JSON has them.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![
        secret.to_vec(),
        hex::encode(secret).into_bytes(),
        hex::encode_upper(secret).into_bytes(),
        base58(secret).into_bytes(),
    ];
    let numbers: Vec<String> = secret.iter().map(u8::to_string).collect();
    forms.push(numbers.join(",").into_bytes());
    for before in 0..3 {
        let padded = [&vec![0; before], secret].concat();
        for engine in [URL_SAFE_NO_PAD, STANDARD_NO_PAD] {
            let text = engine.encode(&padded).into_bytes();
            // Letters that also hold bits of what is before or after are left out.
            let inner = (before * 8).div_ceil(6)..padded.len() * 8 / 6;
            forms.push(text[inner].to_vec());
        }
    }
    forms
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap();
    let file = |entry: Result<fs::DirEntry, _>| {
        let path = entry.unwrap().path();
        assert!(path.is_file(), "{}", path.display());
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read(&path).unwrap())
    };
    entries.map(file).collect()
}

/// Names of the files in which it stands.
fn found(folder: &Path, secret: &[u8]) -> Vec<String> {
    let forms = forms(secret);
    let has = |bytes: &[u8], form: &[u8]| bytes.windows(form.len()).any(|part| part == form);
    let files = files(folder).into_iter();
    files
        .filter(|(_, bytes)| forms.iter().any(|form| has(bytes, form)))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn the_search_finds_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let secret = b"a secret of some length";
    let written: [&[u8]; 5] = [
        secret,
        &hex::encode(secret).into_bytes(),
        &STANDARD_NO_PAD
            .encode([b"ab", &secret[..], b"c"].concat())
            .into_bytes(),
        &base58(secret).into_bytes(),
        &serde_json::to_vec(&secret.to_vec()).unwrap(),
    ];
    for (number, text) in written.iter().enumerate() {
        let text = [b"before ", *text, b" after"].concat();
        fs::write(folder.path().join(number.to_string()), text).unwrap();
        assert_eq!(found(folder.path(), secret).len(), number + 1);
    }
    assert_eq!(base58(b"Hello World!"), "2NEpo7TZRRrLZSi2U");
}

#[tokio::test(flavor = "multi_thread")]
async fn s29_the_data_folder_shows_no_node_address_wallet_or_name() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("node");

    // An older version's files, which are taken over.
    let seed = *b"the seed of this node's own key.";
    fs::create_dir(&folder).unwrap();
    for (name, bytes) in [
        ("node.key", seed.to_vec()),
        (
            "state.json",
            format!(
                "{{\"record_version\": 7, \"neighbours\": [{{\"node\": \"{BANNED}\", \
                 \"addresses\": [\"{HOST}:6277\"], \"last_seen_unix\": 1}}]}}"
            )
            .into_bytes(),
        ),
    ] {
        use std::os::unix::fs::PermissionsExt as _;
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let wallet = ConsumingWallet::from_hex(&"5a".repeat(32)).unwrap();
    let unlock = Unlock::KeyFile(folder.join(KEY_FILE));
    let keeper = Keeper::open_or_create(DataDir::open(&folder).unwrap(), unlock).unwrap();
    let earning = Some(Address::new(EARNING));
    keeper.keep(&wallet, earning, false).unwrap();
    drop(keeper);

    let (other_stop, stop) = (Stop::new(), Stop::new());
    let other = start(&config(temp.path().join("other"), 1), &other_stop).await;
    let other_api = other.api;
    let other_task = tokio::spawn(other.finished);
    let seed_node = descriptor(&other_api).await;

    let mut config = config(folder.clone(), 2);
    config.neighbours = vec![seed_node.clone()];
    config.advertise = Some(format!("{HOST}:6277").parse().unwrap());
    let node = start(&config, &stop).await;
    let api = node.api;
    let task = tokio::spawn(node.finished);
    let banned = BanRequest {
        node: BANNED.into(),
        reason: Some(REASON.into()),
        life_seconds: None,
    };
    api.ban(banned).await.unwrap();
    let neighbour = seed_node.node.to_string();
    let remembers = async {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let remembered = api.connection_status().await.unwrap().remembered;
            if remembered.contains(&neighbour) {
                break;
            }
            look.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, remembers)
        .await
        .expect("the neighbour is remembered");
    let own = descriptor(&api).await;
    assert_eq!(
        api.wallets().await.unwrap().earning,
        earning.map(|w| w.to_checksum(None))
    );

    // While it runs, and when it has stopped.
    let other_address = seed_node.to_string();
    let (_, other_address) = other_address.split_once('@').unwrap();
    let other_address = other_address.split('?').next().unwrap();
    let peer = |key: &[u8; 32]| {
        let key = libp2p::identity::ed25519::PublicKey::try_from_bytes(key).unwrap();
        let key = libp2p::identity::PublicKey::from(key);
        key.to_peer_id().to_string().into_bytes()
    };
    let (own_key, other_key) = (*own.node.as_bytes(), *seed_node.node.as_bytes());
    let banned_key: [u8; 32] = URL_SAFE_NO_PAD.decode(BANNED).unwrap().try_into().unwrap();
    let secrets: Vec<(&str, Vec<u8>)> = vec![
        ("the seed of the own key", seed.to_vec()),
        ("the own key", own_key.to_vec()),
        ("the own peer id", peer(&own_key)),
        ("a neighbour's key", other_key.to_vec()),
        ("a neighbour's peer id", peer(&other_key)),
        (
            "a neighbour's descriptor",
            seed_node.to_string().into_bytes(),
        ),
        ("a neighbour's address", other_address.as_bytes().to_vec()),
        ("a banned node's key", banned_key.to_vec()),
        ("why it is banned", REASON.as_bytes().to_vec()),
        ("a host name", HOST.as_bytes().to_vec()),
        ("the consuming wallet", wallet.address().to_vec()),
        (
            "the consuming wallet, as shown",
            wallet.address().to_checksum(None).as_bytes()[2..].to_vec(),
        ),
        ("the consuming wallet's key", vec![0x5a; 32]),
        ("the earning wallet", EARNING.to_vec()),
        (
            "the earning wallet, as shown",
            Address::new(EARNING).to_checksum(None).as_bytes()[2..].to_vec(),
        ),
    ];
    let nothing_shows = || {
        for (what, secret) in &secrets {
            let found = found(&folder, secret);
            assert!(found.is_empty(), "{what} is in {found:?}");
        }
    };
    nothing_shows();
    drop(api);
    stop.ask_at_once();
    let ended: Result<(), StartError> = task.await.unwrap();
    ended.unwrap();
    nothing_shows();
    let names: Vec<String> = files(&folder).into_iter().map(|(name, _)| name).collect();
    assert!(
        !names
            .iter()
            .any(|name| name == "node.key" || name == "state.json")
    );
    other_stop.ask_at_once();
    drop(other_api);
    other_task.await.unwrap().unwrap();

    // What was searched for was there: it comes back with the key.
    let mut look = tokio::time::interval(LOOK_EVERY);
    let released = async {
        loop {
            // What the node had going on in the background may hold the folder for a moment.
            if let Ok(data) = DataDir::open(&folder) {
                break data;
            }
            look.tick().await;
        }
    };
    let data = tokio::time::timeout(PATIENCE, released)
        .await
        .expect("the folder is free again");
    let safe = Safe::open(&config, &data).unwrap();
    assert_eq!(*safe.memory.node_seed().unwrap(), seed);
    let remembered = safe.memory.remembered();
    assert!(
        remembered
            .neighbours
            .iter()
            .any(|past| past.node == neighbour)
    );
    assert_eq!(remembered.bans[0].node, BANNED);
    assert_eq!(remembered.bans[0].reason.as_deref(), Some(REASON));
    assert_eq!(safe.wallets.earning, earning);
}
