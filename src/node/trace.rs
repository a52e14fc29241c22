//! What this node saw as a hop, for the development chain: the testnet's demo
//! shows from it that no hop knows both ends. Never kept anywhere else.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use masq_cores::flow::{FlowHandler, FlowRequest, Host, InboundFlow};
use masq_cores::{Leg, NodeKey as CoresKey, Observer, Role, Seen, Sight};
use masq_gossip::NodeKey;
use sha2::{Digest, Sha256};

use crate::control::types::{TraceEntry, TraceKind, TraceRole, TraceView};

/// Entries kept; the oldest go first (guess: a demo of a few circuits takes a few hundred).
const MAX_ENTRIES: usize = 4096;

/// Hexadecimal digits of a digest that are shown.
const DIGEST_DIGITS: usize = 16;

#[derive(Default)]
struct Log {
    entries: VecDeque<TraceEntry>,
    written: u64,
}

/// A bounded memory of what passed through this node. Cloning gives another handle to it.
#[derive(Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Log>>);

impl Trace {
    fn push(&self, mut entry: TraceEntry) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entry.sequence = log.written;
        log.written += 1;
        if log.entries.len() == MAX_ENTRIES {
            log.entries.pop_front();
        }
        log.entries.push_back(entry);
    }

    /// What is remembered, oldest first.
    pub(crate) fn view(&self, me: NodeKey) -> TraceView {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        TraceView {
            node: me.to_string(),
            entries: log.entries.iter().cloned().collect(),
            dropped: log.written - log.entries.len() as u64,
        }
    }
}

fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

fn role(role: Role) -> TraceRole {
    match role {
        Role::OverRelay => TraceRole::OverRelay,
        Role::Exit => TraceRole::Exit,
        Role::BackRelay => TraceRole::BackRelay,
        Role::Origin => TraceRole::Origin,
    }
}

fn name(key: CoresKey) -> String {
    NodeKey(key.0).to_string()
}

impl Observer for Trace {
    fn seen(&self, sight: &Sight<'_>) {
        let (kind, inbound) = match sight.what {
            Seen::SetupIn => (TraceKind::Setup, true),
            Seen::SetupOut => (TraceKind::Setup, false),
            Seen::CellIn(Leg::Over | Leg::Back) => (TraceKind::Cell, true),
            Seen::CellOut(Leg::Over | Leg::Back) => (TraceKind::Cell, false),
        };
        let mut digest = hex::encode(Sha256::digest(sight.bytes));
        digest.truncate(DIGEST_DIGITS);
        self.push(TraceEntry {
            sequence: 0,
            at_unix_ms: now_unix_ms(),
            circuit: sight.id.0,
            role: role(sight.role),
            kind,
            inbound,
            previous: Some(name(sight.previous)),
            next: Some(name(sight.next)),
            size: u32::try_from(sight.bytes.len()).unwrap_or(u32::MAX),
            digest,
            target: None,
        });
    }
}

/// An exit's handler of flows, with a note in the trace for each.
pub(crate) struct TracedFlows {
    pub(crate) trace: Trace,
    pub(crate) inner: Arc<dyn FlowHandler>,
}

impl FlowHandler for TracedFlows {
    fn handle(&self, flow: InboundFlow) -> BoxFuture<'static, ()> {
        // A service of this node's own is no server.
        if matches!(flow.request(), FlowRequest::Service { .. }) {
            return self.inner.handle(flow);
        }
        self.trace.push(TraceEntry {
            sequence: 0,
            at_unix_ms: now_unix_ms(),
            circuit: flow.session().circuit.0,
            role: TraceRole::Exit,
            kind: TraceKind::Flow,
            inbound: true,
            previous: None,
            next: None,
            size: 0,
            digest: String::new(),
            target: Some(target(flow.request())),
        });
        self.inner.handle(flow)
    }
}

fn target(request: &FlowRequest) -> String {
    match request {
        FlowRequest::Tcp { host, port } => match host {
            Host::Name(name) => format!("{name}:{port}"),
            Host::V4(ip) => format!("{ip}:{port}"),
            Host::V6(ip) => format!("[{ip}]:{port}"),
        },
        FlowRequest::Resolve { name, .. } => format!("resolve {name}"),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use masq_cores::CircuitId;

    use super::*;

    #[test]
    fn the_memory_is_bounded_and_says_what_it_dropped() {
        let trace = Trace::default();
        for byte in 0..MAX_ENTRIES + 3 {
            trace.seen(&Sight {
                id: CircuitId(1),
                role: Role::OverRelay,
                previous: CoresKey([1; 32]),
                next: CoresKey([2; 32]),
                what: Seen::CellIn(Leg::Over),
                bytes: &byte.to_be_bytes(),
            });
        }
        let view = trace.view(NodeKey([3; 32]));
        assert_eq!(view.entries.len(), MAX_ENTRIES);
        assert_eq!(view.dropped, 3);
        assert_eq!(view.entries[0].sequence, 3);
        assert_ne!(view.entries[0].digest, view.entries[1].digest);
    }
}
