//! The books: what this node owes to hops and what payers owe to it.
//!
//! Pure: no I/O, no clock, no generator. Time comes in as seconds since 1970, and state changes in
//! *batches* ([`Batch`]) that whoever drives the ledger writes durably ([`Journal`]) **in the order
//! in which they were made, before anything that depends on them happens**. A crash loses the
//! batches that were not written and nothing else.
//!
//! * [`price`]: counters × rate pack → wei, the default rates, and the published figure in GB per
//!   token;
//! * [`Payables`]: per payee accrued, advanced, reserved and paid, with the age of what is due;
//! * [`Receivables`]: per payer the same from the other side, with bans, credit limits and leases;
//! * [`Thresholds`]: when a debt is paid, when it is a reason for a ban, and when the ban ends;
//! * [`PrepayPolicy`]: when a payer pays in advance by itself;
//! * [`fit`]: whether limits, thresholds, rates and the chain's present fees fit together.
//!
//! Not here: how payments are made and found on the chain (`chain`), how the two sides compare
//! their books (crate `masq-settlement`), and the file that batches end up in (`books`).
//!
//! All amounts are in wei of the token. Nothing here shows a wallet in `Debug` or in an error.

use std::fmt;

use alloy_primitives::Address;

mod age;
pub mod fit;
mod free;
mod journal;
pub mod limits;
mod money;
mod payables;
mod prepay;
pub mod price;
mod receivables;
mod refusal;
mod rows;
mod thresholds;

pub use free::{FreePool, MAX_SOURCES};
pub(crate) use journal::load;
pub use journal::{Batch, Change, Journal, JournalError, MemoryJournal, Table};
pub use limits::Limits;
pub use money::{GWEI, Round, TOKEN, Tokens, mul_div};
pub use payables::{MAX_PAYEES, PayableError, Payables};
pub use prepay::{Advice, PrepayBudget, PrepayPolicy, Standing};
pub use receivables::{
    CreditChange, Funds, Lease, LeaseId, MAX_LEASES, MAX_PAYERS, Receivables, Verdict,
};
pub use refusal::Refusal;
pub use rows::{Account, Payable, Row};
pub use thresholds::{Thresholds, ThresholdsError};

// Rows are laid out as everything that is stored.
pub use crate::store::{DecodeError, Reader, Writer};

/// An amount in the token's smallest unit: 10^18 are one token.
pub type Wei = u128;

/// Whom this node pays: a hop, and where it wants its money. One wallet may belong to many hops,
/// and a hop that changes its wallet is a new payee, so that no debt moves to an address that it
/// was not made for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Payee {
    /// The hop's earning wallet.
    pub wallet: Address,
    /// The hop's node key.
    pub hop: [u8; 32],
}

/// Shows the first bytes of the hop's key, and no wallet.
impl fmt::Debug for Payee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.hop;
        write!(f, "Payee({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// Implements `Debug` as the type's name alone, for what holds wallets or balances.
macro_rules! opaque_debug {
    ($($type:ty),* $(,)?) => {$(
        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($type)).finish_non_exhaustive()
            }
        }
    )*};
}
pub(crate) use opaque_debug;
