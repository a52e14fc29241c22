//! Two machines against each other, over circuits that get lost.

use std::{collections::VecDeque, sync::Arc};

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::{super::CREDIT_WINDOW, *};

const SESSION: SessionId = SessionId([5; 16]);

fn secret() -> ResumeSecret {
    Arc::new(Zeroizing::new([7; 32]))
}

/// One side, what it has to say and what it has heard.
struct Peer {
    machine: Machine,
    written: Vec<u8>,
    cut: usize,
    heard: Vec<u8>,
    held: usize,
    out: VecDeque<Vec<u8>>,
}

impl Peer {
    fn new(mut machine: Machine) -> Self {
        machine.set_secret(secret());
        Self {
            machine,
            written: Vec::new(),
            cut: 0,
            heard: Vec::new(),
            held: 0,
            out: VecDeque::new(),
        }
    }

    /// Cuts cells as long as there is something to say and it may be said.
    fn send(&mut self, chunk: usize) {
        let m = &mut self.machine;
        while (m.control_due() || m.resend_due()) && m.may_send() {
            let mut cell = vec![0; 1000];
            let len = if m.control_due() {
                m.cut_control(&mut cell)
            } else {
                m.cut_resend(&mut cell)
            };
            cell.truncate(len);
            self.out.push_back(cell);
        }
        while !m.is_blocked() && self.cut < self.written.len() {
            let n = chunk.min(self.written.len() - self.cut);
            if m.room() < n {
                break;
            }
            let mut cell = vec![0; HEADER_LEN];
            cell.extend_from_slice(&self.written[self.cut..self.cut + n]);
            m.cut_data(&mut cell).unwrap();
            self.cut += n;
            self.out.push_back(cell);
        }
    }

    fn hear(&mut self, cell: &[u8]) {
        let taken = self.machine.on_cell(cell).unwrap();
        self.held += usize::from(!taken.data.is_empty());
        self.heard.extend_from_slice(&cell[taken.data]);
    }

    fn release(&mut self, n: usize) {
        for _ in 0..n.min(self.held) {
            self.machine.release();
            self.held -= 1;
        }
    }
}

struct Pair {
    origin: Peer,
    exit: Peer,
    circuits: u8,
}

impl Pair {
    fn new() -> Self {
        let mut pair = Self {
            origin: Peer::new(Machine::origin(SESSION)),
            exit: Peer::new(Machine::exit()),
            circuits: 0,
        };
        pair.origin.send(1);
        let hello = pair.origin.out.pop_front().unwrap();
        pair.exit.hear(&hello);
        pair
    }

    fn deliver(&mut self, cells: usize) {
        for _ in 0..cells {
            if let Some(cell) = self.origin.out.pop_front() {
                self.exit.hear(&cell);
            }
            if let Some(cell) = self.exit.out.pop_front() {
                self.origin.hear(&cell);
            }
        }
    }

    /// The circuit is lost with all that is on its way; another one takes its place.
    fn lose(&mut self) {
        self.circuits += 1;
        let binding = [self.circuits; 32];
        self.origin.out.clear();
        self.exit.out.clear();
        self.origin.machine.reattach(&binding).unwrap();
        self.origin.send(100);
        let hello = self.origin.out.pop_front().unwrap();
        self.exit.machine.resume(&hello, &binding).unwrap();
        let again = self.exit.machine.resume(&hello, &binding);
        assert_eq!(again, Err(SessionViolation::Proof), "good for one use");
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.origin.send(700);
            self.exit.send(700);
            if self.origin.out.is_empty() && self.exit.out.is_empty() {
                return;
            }
            self.deliver(1);
            self.origin.release(usize::MAX);
            self.exit.release(usize::MAX);
        }
        panic!("the two never fall silent");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write { origin: bool, len: usize },
    Send { chunk: usize },
    Deliver(usize),
    Release(usize),
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (any::<bool>(), 0usize..5000).prop_map(|(origin, len)| Step::Write { origin, len }),
        3 => (1usize..2000).prop_map(|chunk| Step::Send { chunk }),
        3 => (0usize..8).prop_map(Step::Deliver),
        2 => (0usize..8).prop_map(Step::Release),
        1 => Just(Step::Lose),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn streams_are_exact_whatever_circuits_get_lost(steps in prop::collection::vec(step(), 0..60)) {
        let mut pair = Pair::new();
        let mut next = 0u8;
        for step in steps {
            match step {
                Step::Write { origin, len } => {
                    let peer = if origin { &mut pair.origin } else { &mut pair.exit };
                    peer.written.extend((0..len).map(|_| { next = next.wrapping_add(7); next }));
                }
                Step::Send { chunk } => { pair.origin.send(chunk); pair.exit.send(chunk); }
                Step::Deliver(n) => pair.deliver(n),
                Step::Release(n) => { pair.origin.release(n); pair.exit.release(n); }
                Step::Lose => pair.lose(),
            }
            prop_assert!(pair.origin.held <= CREDIT_WINDOW as usize);
            prop_assert!(pair.exit.written.starts_with(&pair.origin.heard));
            prop_assert!(pair.origin.written.starts_with(&pair.exit.heard));
        }
        pair.settle();
        prop_assert_eq!(&pair.exit.heard, &pair.origin.written);
        prop_assert_eq!(&pair.origin.heard, &pair.exit.written);
    }

    #[test]
    fn a_machine_takes_any_bytes_without_panic(
        cells in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..20),
        kinds in prop::collection::vec(0u8..4, 20),
        small in any::<bool>(),
    ) {
        for mut machine in [Machine::origin(SESSION), Machine::exit()] {
            let mut head = vec![0; 1000];
            if machine.control_due() && machine.may_send() {
                machine.cut_control(&mut head);
            }
            for (mut cell, kind) in cells.clone().into_iter().zip(&kinds) {
                if let Some(first) = cell.first_mut() { *first = *kind; }
                // Figures that are small enough to be taken for real.
                if small && cell.len() >= HEADER_LEN { cell[1..17].fill(0); }
                if machine.on_cell(&cell).is_err() { break; }
                let _ = machine.resume(&cell, &[0; 32]);
            }
        }
    }
}

#[test]
fn the_exit_never_sends_more_cells_than_credit() {
    let mut pair = Pair::new();
    pair.exit.written = vec![1; 100_000];
    pair.exit.send(10);
    assert_eq!(pair.exit.out.len(), CREDIT_WINDOW as usize);
    pair.deliver(CREDIT_WINDOW as usize);
    assert!(
        !pair.origin.machine.control_due(),
        "nothing was used up yet"
    );
    pair.origin.release(CREDIT_WINDOW as usize / 4);
    pair.origin.send(1);
    assert_eq!(pair.origin.out.len(), 1, "credit goes out by itself");
    pair.deliver(1);
    pair.exit.send(10);
    assert_eq!(pair.exit.out.len(), CREDIT_WINDOW as usize / 4);
}

#[test]
fn more_cells_than_credit_are_a_violation() {
    let mut pair = Pair::new();
    let mut cell = [0; HEADER_LEN];
    let header = Header {
        kind: Kind::Data,
        seq: 0,
        ack: 0,
        credit: 0,
    };
    header.encode(&mut cell);
    for _ in 0..CREDIT_WINDOW {
        // Cells without data are used up at once.
        pair.origin.machine.on_cell(&cell).unwrap();
    }
    assert_eq!(
        pair.origin.machine.on_cell(&cell),
        Err(SessionViolation::Credit)
    );
}

#[test]
fn what_is_not_acknowledged_is_bounded() {
    let mut pair = Pair::new();
    pair.origin.written = vec![3; SEND_BUFFER + 50_000];
    pair.origin.send(16_000);
    assert!(pair.origin.cut <= SEND_BUFFER);
    assert!(pair.origin.cut > SEND_BUFFER - 16_000);
    // The exit acknowledges by itself, long before all of it has come.
    let cells = pair.origin.out.len();
    pair.deliver(cells / 2);
    pair.exit.send(1);
    pair.deliver(1);
    assert!(pair.origin.machine.room() > 16_000);
    pair.settle();
    assert_eq!(pair.exit.heard.len(), SEND_BUFFER + 50_000);
    assert!(pair.origin.machine.room() >= SEND_BUFFER - ACK_EVERY as usize);
}

#[test]
fn cells_out_of_place_are_violations() {
    let cell = |kind, seq, ack| {
        let mut cell = vec![0; HEADER_LEN];
        Header {
            kind,
            seq,
            ack,
            credit: 0,
        }
        .encode(&mut cell);
        cell.extend_from_slice(b"data");
        cell
    };
    let mut exit = Machine::exit();
    let early = exit.on_cell(&cell(Kind::Data, 0, 0));
    assert_eq!(early, Err(SessionViolation::Unexpected));

    let cases = [
        (cell(Kind::Data, 1, 0), SessionViolation::Gap),
        (cell(Kind::Data, 0, 1), SessionViolation::Ack),
        (cell(Kind::Data, u64::MAX, 0), SessionViolation::Overflow),
        (cell(Kind::Close, 7, 0), SessionViolation::Gap),
        (cell(Kind::Open, 0, 0), SessionViolation::Unexpected),
        (cell(Kind::Resume, 0, 0), SessionViolation::Unexpected),
        (vec![9; HEADER_LEN], SessionViolation::UnknownKind),
        (vec![0; HEADER_LEN - 1], SessionViolation::Short),
    ];
    for (bytes, violation) in cases {
        let mut pair = Pair::new();
        assert_eq!(pair.exit.machine.on_cell(&bytes), Err(violation));
        assert_eq!(pair.origin.machine.on_cell(&bytes), Err(violation));
    }
}

#[test]
fn a_close_comes_after_the_data_and_nothing_after_it() {
    let mut pair = Pair::new();
    pair.origin.written = b"last words".to_vec();
    pair.origin.send(100);
    pair.origin.machine.close();
    pair.origin.send(100);
    assert!(pair.origin.machine.is_close_sent());
    pair.deliver(2);
    assert_eq!(pair.exit.heard, b"last words");
    assert!(pair.exit.machine.is_closed_by_peer());
    let mut cell = [0; HEADER_LEN];
    Header {
        kind: Kind::Data,
        seq: 10,
        ack: 0,
        credit: 0,
    }
    .encode(&mut cell);
    let late = pair.exit.machine.on_cell(&cell);
    assert_eq!(late, Err(SessionViolation::AfterClose));
}

#[test]
fn nobody_else_can_resume_a_session() {
    let mut pair = Pair::new();
    let mut cell = [0; 200];
    pair.origin.machine.reattach(&[1; 32]).unwrap();
    let n = pair.origin.machine.cut_control(&mut cell);
    let wrong = pair.exit.machine.resume(&cell[..n], &[2; 32]);
    assert_eq!(wrong, Err(SessionViolation::Proof), "bound to its circuit");
    assert_eq!(pair.exit.machine.resume(&cell[..n], &[1; 32]), Ok(()));
    let mut stranger = Machine::origin(SESSION);
    assert_eq!(
        stranger.reattach(&[3; 32]),
        Err(SessionViolation::Proof),
        "without the secret"
    );
    stranger.set_secret(Arc::new(Zeroizing::new([8; 32])));
    stranger.reattach(&[3; 32]).unwrap();
    stranger.reattach(&[3; 32]).unwrap();
    let n = stranger.cut_control(&mut cell);
    let wrong = pair.exit.machine.resume(&cell[..n], &[3; 32]);
    assert_eq!(wrong, Err(SessionViolation::Proof), "with another secret");
}
