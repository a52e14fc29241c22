//! Tests of the data folder on a real file system.

use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_belongs_to_another_user_is_said_to() {
    let said = not_ones_own(0, 1000).unwrap();
    assert!(said.ends_with("sudo -u root"), "{said}");
    let said = not_ones_own(4_000_000_000, 1000).unwrap();
    assert!(said.ends_with("sudo -u '#4000000000'"), "{said}");
    assert_eq!(not_ones_own(1000, 1000), None);
    assert_eq!(not_ones_own(1000, 0), None);
    let gone = io::Error::from(io::ErrorKind::NotFound);
    assert_eq!(advice(Path::new("/"), &gone, "as usual"), "as usual");
}

#[test]
fn the_folder_is_made_for_its_owner_alone() {
    let temp = folder();
    let path = temp.path().join("deep/inside");
    let _data = DataDir::open(&path).unwrap();
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join(LOCK)), 0o600);
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
fn what_a_crash_left_beside_a_file_is_no_obstacle() {
    let temp = folder();
    fs::write(temp.path().join("some.new"), b"half a fi").unwrap();
    write(&temp.path().join("some.file"), b"whole").unwrap();
    assert!(!temp.path().join("some.new").exists());
    assert_eq!(fs::read(temp.path().join("some.file")).unwrap(), b"whole");
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
