//! A process that is killed while it commits: everything it acknowledged is
//! there afterwards.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::*;

/// The test binary, run again as the process to be killed, finds the file here.
const FILE: &str = "MASQ_TEST_STORE_FILE";
const PHASES: &str = "MASQ_TEST_STORE_TWO_PHASE";

/// Not a test: the child. Commits one number after the other, each with a
/// balance that is always the sum of all numbers so far, and says which are in.
#[test]
#[ignore = "it is run by the test below"]
fn child() {
    let Some(path) = std::env::var_os(FILE) else {
        return;
    };
    let durability = if std::env::var_os(PHASES).is_some() {
        Durability::TwoPhase
    } else {
        Durability::OnePhase
    };
    let store = Store::open(path, Purpose::Money, &key(1), durability).unwrap();
    let mut out = std::io::stdout().lock();
    loop {
        let number = store
            .write(|tx| {
                let number = tx.last(&SEQUENCE)?.map_or(1, |(last, _)| last + 1);
                let sum = tx.get(&BALANCES, &ALICE)?.unwrap_or(0) + u128::from(number);
                tx.put(&SEQUENCE, &number, &sum)?;
                tx.put(&BALANCES, &ALICE, &sum)?;
                Ok::<_, StoreError>(number)
            })
            .unwrap();
        // A leading line break: the test runner writes to the same line.
        writeln!(out, "\ncommitted {number}").unwrap();
        out.flush().unwrap();
    }
}

fn spawn(folder: &Folder, durability: Durability) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "--ignored",
            "--nocapture",
            "store::tests::crash::child",
        ])
        .env(FILE, &folder.path)
        .stdout(Stdio::piped());
    if durability == Durability::TwoPhase {
        command.env(PHASES, "1");
    }
    command.spawn().unwrap()
}

/// Kills a committing process after `commits` acknowledgements and a moment
/// that differs each time, so that every part of a commit is hit. Returns the
/// last acknowledged number.
fn kill_after(folder: &Folder, durability: Durability, commits: usize, moment: Duration) -> u64 {
    let mut child = spawn(folder, durability);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = 0;
    let mut see = |line: std::io::Result<String>| {
        let line = line.unwrap();
        if let Some(number) = line.strip_prefix("committed ") {
            acknowledged = number.parse().unwrap();
            return true;
        }
        false
    };
    let mut seen = 0;
    while seen < commits {
        seen += usize::from(see(lines.next().expect("the child goes on")));
    }
    std::thread::sleep(moment);
    child.kill().unwrap();
    child.wait().unwrap();
    // What it said before it died counts as well; the last line may be torn.
    lines.map_while(Result::ok).for_each(|line| {
        if line
            .strip_prefix("committed ")
            .is_some_and(|number| number.parse::<u64>().is_ok())
        {
            see(Ok(line));
        }
    });
    acknowledged
}

fn survives(durability: Durability, rounds: u32) {
    let folder = Folder::new();
    for round in 0..rounds {
        // Moments spread over the few milliseconds that a commit takes.
        let moment = Duration::from_micros(u64::from(round) * 1237 % 7000);
        let acknowledged = kill_after(&folder, durability, 3, moment);
        let store = folder.open().unwrap();
        let (last, sum) = store.read(|tx| tx.last(&SEQUENCE)).unwrap().unwrap();
        // The last commit may have been in without being acknowledged. A torn
        // last line may hide one more.
        assert!(
            (acknowledged..=acknowledged + 2).contains(&last),
            "{acknowledged} {last}"
        );
        assert_eq!(sum, u128::from(last) * u128::from(last + 1) / 2);
        assert_eq!(get(&store, &BALANCES, &ALICE), Some(sum));
        assert_eq!(store.read(|tx| tx.len(&SEQUENCE)).unwrap(), last);
    }
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    survives(Durability::TwoPhase, 12);
    survives(Durability::OnePhase, 6);
}

#[test]
fn another_process_can_not_open_it_meanwhile() {
    let folder = Folder::new();
    let mut child = spawn(&folder, Durability::TwoPhase);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().starts_with("committed") {}
    assert!(matches!(folder.open(), Err(StoreError::InUse { .. })));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(folder.open().is_ok());
}
