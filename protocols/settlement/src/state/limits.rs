//! Every bound and time limit of the books in one place, with where the number comes from.

use std::time::Duration;

use crate::rates::Carried;

/// What one circuit may have in flight: cells that one side has counted and the other has not.
///
/// The back leg can hold no more than the cell credit that an exit may use before it hears of its
/// origin again: 512 cells, of 16 KiB at most. The over leg holds less than that.
pub const IN_FLIGHT: Carried = Carried {
    cells: 512,
    bytes: 512 * 16 * 1024,
};

/// Part of what was carried since both sides last agreed by which they may differ beyond that:
/// one in so many. Guess: covers what is booked while a statement is on its way.
pub const TOLERATED_PART: u128 = 100;

/// Circuits that may be taken to have broken when a node starts again from its store: those that
/// were open then broke, and up to a second of usage was not stored. Guess.
pub const RESTART_SLACK: u32 = 4;

/// Accounts of payers in use at a hop by default. About 1 KiB each.
pub const MAX_PAYERS: usize = 4096;

/// … and those that are put by: as many as the ledger has room for. About 400 bytes each.
pub const SHELVED_PAYERS: usize = 100_000;

/// Accounts of hops in use at a payer by default. About 1 KiB each.
pub const MAX_HOPS: usize = 4096;

/// … and those that are put by: as many as the ledger has room for. About 400 bytes each.
pub const SHELVED_HOPS: usize = 65_536;

/// Open circuits of one account; as many as one link carries.
pub const MAX_CIRCUITS: usize = 256;

/// Payments of one account that are under way. Guess: a payer sends one at a time.
pub const MAX_NOTICES: usize = 8;

/// Transfers of one payer that are credited and not final. Guess: as above, and room for more.
pub const MAX_PROVISIONAL: usize = 16;

/// Transactions remembered after they were counted for good, per account.
pub const RECENT: usize = 64;

/// Statements that a receipt may still answer, per account. Guess: one a round and circuit.
pub const MAX_OFFERS: usize = 32;

/// When a hop looks for an announced payment again; twice as long after each look. The chain tells
/// of payments without being asked: looking makes it sooner.
pub const LOOKUP_EVERY: Duration = Duration::from_secs(5);

/// … and no longer than that. Guess: some thirty looks in the life of a notice.
pub const LOOKUP_MOST: Duration = Duration::from_secs(5 * 60);

/// Looks at once for payments of payers that have never paid, all together. Guess: newcomers that
/// prepay at the same moment are few.
pub const STRANGERS_LOOKUPS: u32 = 16;

/// … and one more in this time.
pub const STRANGERS_LOOKUP_EVERY: Duration = Duration::from_millis(500);

/// How long a hop goes on looking: several times the time to finality of the slowest chain.
pub const NOTICE_LIFE: Duration = Duration::from_secs(2 * 60 * 60);

/// How long a payer waits before it announces a payment again of which nothing is known yet.
pub const NOTICE_RETRY: Duration = Duration::from_secs(30);

/// … and one that is credited for now.
pub const PROVISIONAL_RETRY: Duration = Duration::from_secs(10 * 60);

/// How often a hop states an account over a direct link when there is something new.
pub const STATEMENT_EVERY: Duration = Duration::from_secs(30);

/// How often a hop opens a new epoch for one payer at most.
pub const REOPEN_EVERY: Duration = Duration::from_secs(60);

/// Longest time that a statement may be on its way: twice the 30 s after which a circuit is given
/// up whose report frame is not home. Exchanges on direct links end after 10 s.
pub const MESSAGE_LIFE: Duration = Duration::from_secs(60);
