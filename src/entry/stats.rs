//! What the entry counts for `status`. No destination, client or credential
//! is ever in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use crate::pipe::Traffic;

/// A moment's view of what the entry is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EntryStatus {
    /// Client connections open now, idle ones included.
    pub connections: usize,
    /// Flows open now on behalf of clients.
    pub flows: usize,
    /// Flows opened since start.
    pub flows_opened: u64,
    /// Flows that could not be opened, since start.
    pub flows_failed: u64,
    /// Destinations on plaintext ports, since start (refused ones included).
    pub plaintext: u64,
    /// Bytes sent on behalf of clients, since start (headers of plain HTTP are not
    /// counted).
    pub bytes_sent: u64,
    /// Bytes received for clients, since start (headers of plain HTTP are not
    /// counted).
    pub bytes_received: u64,
}

/// The counters behind [`EntryStatus`].
#[derive(Debug, Default)]
pub(super) struct Stats {
    connections: AtomicUsize,
    flows: AtomicUsize,
    flows_opened: AtomicU64,
    flows_failed: AtomicU64,
    plaintext: AtomicU64,
    plaintext_logged: AtomicBool,
    pub(super) traffic: Traffic,
}

impl Stats {
    pub(super) fn snapshot(&self) -> EntryStatus {
        EntryStatus {
            connections: self.connections.load(Ordering::Relaxed),
            flows: self.flows.load(Ordering::Relaxed),
            flows_opened: self.flows_opened.load(Ordering::Relaxed),
            flows_failed: self.flows_failed.load(Ordering::Relaxed),
            plaintext: self.plaintext.load(Ordering::Relaxed),
            bytes_sent: self.traffic.to_flow(),
            bytes_received: self.traffic.to_socket(),
        }
    }

    /// Counts a connection for as long as the guard lives.
    pub(super) fn connection(self: &Arc<Self>) -> Counted {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Counted {
            stats: Arc::clone(self),
            what: What::Connection,
        }
    }

    /// Counts an open flow for as long as the guard lives.
    pub(super) fn flow(self: &Arc<Self>) -> Counted {
        self.flows.fetch_add(1, Ordering::Relaxed);
        self.flows_opened.fetch_add(1, Ordering::Relaxed);
        Counted {
            stats: Arc::clone(self),
            what: What::Flow,
        }
    }

    pub(super) fn flow_failed(&self) {
        self.flows_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a plaintext destination; true the first time.
    pub(super) fn plaintext(&self) -> bool {
        self.plaintext.fetch_add(1, Ordering::Relaxed);
        !self.plaintext_logged.swap(true, Ordering::Relaxed)
    }
}

#[derive(Debug, Clone, Copy)]
enum What {
    Connection,
    Flow,
}

/// Counts one thing while it lives.
#[derive(Debug)]
pub(super) struct Counted {
    stats: Arc<Stats>,
    what: What,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let counter = match self.what {
            What::Connection => &self.stats.connections,
            What::Flow => &self.stats.flows,
        };
        counter.fetch_sub(1, Ordering::Relaxed);
    }
}
