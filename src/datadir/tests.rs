//! Tests of the data folder on a real file system.

use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_key_is_made_once_and_kept() {
    let temp = folder();
    let path = temp.path().join("deep/inside");
    let seed = {
        let data = DataDir::open(&path).unwrap();
        let seed = data.node_seed().unwrap();
        assert_eq!(*seed, *data.node_seed().unwrap());
        seed
    };
    assert_ne!(*seed, [0; SEED_LENGTH]);
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join(NODE_KEY)), 0o600);
    assert_eq!(*DataDir::open(&path).unwrap().node_seed().unwrap(), *seed);
}

#[test]
fn two_daemons_do_not_share_a_folder() {
    let temp = folder();
    let first = DataDir::open(temp.path()).unwrap();
    let error = DataDir::open(temp.path()).unwrap_err();
    assert!(matches!(error, DataDirError::InUse { .. }));
    assert!(error.to_string().contains("masq shutdown"), "{error}");
    drop(first);
    DataDir::open(temp.path()).unwrap();
}

#[test]
fn a_damaged_or_exposed_key_is_refused_and_left_alone() {
    let temp = folder();
    let data = DataDir::open(temp.path()).unwrap();
    let path = temp.path().join(NODE_KEY);
    write(&path, b"too short").unwrap();
    let error = data.node_seed().unwrap_err().to_string();
    assert!(error.contains("9 bytes and should have 32"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"too short");

    write(&path, &[7; 32]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let error = data.node_seed().unwrap_err().to_string();
    assert!(
        error.contains("mode 644") && error.contains("chmod 600"),
        "{error}"
    );
}

#[test]
fn an_unwritable_folder_is_named_with_a_remedy() {
    let temp = folder();
    let file = temp.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = DataDir::open(file.join("folder")).unwrap_err();
    assert!(matches!(error, DataDirError::Folder { .. }));
    let text = error.to_string();
    assert!(
        text.contains("file/folder") && text.contains("--data-dir"),
        "{text}"
    );
}

#[test]
fn the_token_is_readable_by_masq_and_nobody_else() {
    let temp = folder();
    assert!(read_token(temp.path()).unwrap().is_none());
    let data = DataDir::open(temp.path()).unwrap();
    let token = data.control_token().unwrap();
    assert_eq!(token.len(), 43);
    assert_eq!(mode(&temp.path().join(TOKEN)), 0o600);
    assert_eq!(*read_token(temp.path()).unwrap().unwrap(), *token);
    assert_eq!(*data.control_token().unwrap(), *token);

    write(&temp.path().join(TOKEN), b"guess me").unwrap();
    let error = data.control_token().unwrap_err().to_string();
    assert!(error.contains("holds no token"), "{error}");
}

#[test]
fn the_announcement_comes_and_goes() {
    let temp = folder();
    let data = DataDir::open(temp.path()).unwrap();
    let control = ControlFile {
        address: "127.0.0.1:7777".parse().unwrap(),
        pid: 1,
        version: "0".into(),
    };
    data.announce_control(&control).unwrap();
    assert_eq!(read_control(temp.path()).unwrap(), Some(control));
    data.withdraw_control();
    data.withdraw_control();
    assert_eq!(read_control(temp.path()).unwrap(), None);
}

#[test]
fn memory_survives_a_restart_and_versions_only_grow() {
    let temp = folder();
    let neighbour = |n: u64| RememberedNeighbour {
        node: format!("{n:043}"),
        addresses: vec![format!("192.0.2.1:{n}")],
        last_seen_unix: n,
    };
    // As large as one can be.
    let ban = |n: u64| StoredBan {
        node: format!("{n:043}"),
        reason: Some("x".repeat(masq_gossip::MAX_BAN_REASON)),
        since_unix: n,
        until_unix: n.is_multiple_of(2).then_some(u64::MAX),
        evidence: "ab".repeat(masq_gossip::MAX_EVIDENCE_LEN),
    };
    {
        let data = DataDir::open(temp.path()).unwrap();
        assert_eq!(data.remembered(), Remembered::default());
        data.remember(|r| {
            r.record_version = 7;
            r.neighbours = (0..100).map(neighbour).collect();
            r.bans = (0..200).map(ban).collect();
        })
        .unwrap();
        data.remember(|r| r.record_version = 3).unwrap();
    }
    assert_eq!(mode(&temp.path().join(STATE)), 0o600);
    let remembered = DataDir::open(temp.path()).unwrap().remembered();
    assert_eq!(remembered.record_version, 7);
    assert_eq!(remembered.neighbours.len(), MAX_REMEMBERED);
    assert_eq!(remembered.neighbours[1], neighbour(1));
    assert_eq!(remembered.bans, (0..128).map(ban).collect::<Vec<_>>());
}

#[test]
fn what_a_crash_left_beside_a_file_is_no_obstacle() {
    let temp = folder();
    fs::write(temp.path().join("state.new"), b"half a fi").unwrap();
    let data = DataDir::open(temp.path()).unwrap();
    data.remember(|r| r.record_version = 1).unwrap();
    assert!(!temp.path().join("state.new").exists());
}

#[test]
fn a_damaged_memory_is_an_error_with_a_remedy() {
    let temp = folder();
    fs::write(temp.path().join(STATE), b"{").unwrap();
    let error = DataDir::open(temp.path()).unwrap_err().to_string();
    assert!(
        error.contains("state.json is damaged") && error.contains("Move it away"),
        "{error}"
    );
}
