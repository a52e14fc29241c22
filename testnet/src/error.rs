//! Everything that can go wrong when a testnet is brought up, used or taken
//! down. Errors of one fetch through a proxy live in [`crate::fetch`].

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use masq::wallet::WalletError;

use crate::devchain::DevChainError;
use crate::fetch::FetchError;

/// What went wrong, and where to look next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestnetError {
    /// The options contradict each other; nothing was started.
    #[error("{0}")]
    Options(String),

    /// A testnet that was started before is still up; nothing was started.
    #[error(
        "a testnet is already up in {} (process {pid}); end it with `masq-testnet down`, or give this one a folder and ports of its own with --dir, --socks and --http",
        dir.display()
    )]
    AlreadyUp {
        /// Folder of the running testnet.
        dir: PathBuf,
        /// Process that supervises it.
        pid: u32,
    },

    /// No testnet is recorded, or the recorded one is gone.
    #[error("no testnet is up; start one with `masq-testnet up`")]
    NotUp,

    /// The testnet in a folder has ended.
    #[error(
        "the testnet in {} is down; start one with `masq-testnet up`",
        dir.display()
    )]
    Down {
        /// Its folder.
        dir: PathBuf,
    },

    /// What the background process said before it ended.
    #[error("{reason}")]
    Background {
        /// Its words.
        reason: String,
        /// Its exit code.
        code: u8,
    },

    /// A file or folder could not be read or written.
    #[error("{action} {}: {source}", path.display())]
    File {
        /// What was attempted, as a phrase: "cannot write".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },

    /// No free range of loopback addresses was found.
    #[error(
        "no free loopback addresses for the nodes: {0} (the testnet needs Linux, where all of 127.0.0.0/8 is loopback)"
    )]
    NoAddresses(io::Error),

    /// A listening address is taken.
    #[error("cannot listen on {addr} for {what}: {source}; choose another with {option}")]
    Listen {
        /// What the address was for.
        what: &'static str,
        /// The address.
        addr: SocketAddr,
        /// The option that changes it.
        option: &'static str,
        /// The system's reason.
        source: io::Error,
    },

    /// A process could not be started.
    #[error("cannot start {}: {source}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// The system's reason.
        source: io::Error,
    },

    /// A node's process ended although nobody asked it to.
    #[error("{node} ended by itself ({status}) while {stage}; its log is {}\n{tail}", log.display())]
    NodeEnded {
        /// Name of the node, such as `n04-relay`.
        node: String,
        /// How it ended.
        status: String,
        /// What the testnet was doing.
        stage: &'static str,
        /// The node's log.
        log: PathBuf,
        /// Last lines of that log.
        tail: String,
    },

    /// A stage took longer than it may.
    #[error("{stage} within {limit_s} s: {waiting_for}; logs are in {}", dir.display())]
    TooSlow {
        /// What did not come about: "the mesh did not form".
        stage: &'static str,
        /// The limit, in seconds.
        limit_s: u64,
        /// Who is late, and the reason it gives, without a full stop.
        waiting_for: String,
        /// Folder with a log per node.
        dir: PathBuf,
    },

    /// A node's control API did not answer, or not as expected.
    #[error("control API of {node}: {reason}")]
    Control {
        /// Name of the node.
        node: String,
        /// What happened.
        reason: String,
    },

    /// A fetch that should have worked did not.
    #[error("{what}: {source}")]
    Fetch {
        /// The fetch, in words.
        what: String,
        /// Why it failed.
        source: FetchError,
    },

    /// Something worked but was not right; the whole list is in the report
    /// printed before.
    #[error("{failed} of {checks} checks failed: {first}")]
    Checks {
        /// How many failed.
        failed: usize,
        /// How many there were.
        checks: usize,
        /// The first of them.
        first: String,
    },

    /// The chain to pay on did not start, or did not do what it was asked to.
    #[error(transparent)]
    Chain(#[from] DevChainError),

    /// The chain to pay on has ended although nobody asked it to.
    #[error("anvil ended by itself ({status})")]
    ChainEnded {
        /// How it ended.
        status: String,
    },

    /// A node's wallets could not be made.
    #[error("{node}: {source}")]
    Wallet {
        /// Name of the node.
        node: String,
        /// What is wrong.
        source: WalletError,
    },

    /// The books of a node that does not run cannot be read.
    #[error("the books of {node}: {reason}")]
    Books {
        /// Name of the node.
        node: String,
        /// What is wrong.
        reason: String,
    },

    /// The user asked to stop before the work was done.
    #[error("stopped by request")]
    Interrupted,
}

impl TestnetError {
    /// Maps an I/O error on `path`; for `map_err`.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    /// Whether only the reader of the output has gone, as `head` does: no fault of anybody.
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Exit code of `masq-testnet` for this error: 64 for wrong usage, 69 when
    /// there is no testnet or no such thing in this build, 73 when files cannot be made, 130 when interrupted,
    /// otherwise 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Options(_) | Self::Chain(DevChainError::Config(_)) => 64,
            Self::AlreadyUp { .. } | Self::NotUp | Self::Down { .. } => 69,
            Self::Background { code, .. } => *code,
            Self::File { .. } => 73,
            Self::Interrupted => 130,
            _ => 1,
        }
    }
}
