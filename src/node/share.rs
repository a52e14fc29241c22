//! This node's share in the circuits of others: whether it serves, and what it
//! has carried. Counters only; what it is worth is the ledger's business.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use masq_cores::host::{Asked, CircuitSummary, Gate, Meter, Refused, Served};
use masq_cores::{CircuitId, FailureCode, Role};
use masq_settlement::KIND_NONE;

use crate::billing::Billing;
use crate::control::types::CircuitCounts;

/// What this node does for others, from its mode and settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    /// It relays.
    pub(crate) routes: bool,
    /// It is an exit.
    pub(crate) exits: bool,
}

#[derive(Default)]
struct Counts {
    own: AtomicU64,
    relayed: AtomicU64,
    exits: AtomicU64,
    relayed_bytes: AtomicU64,
}

/// The gate and the meter of a node. Cloning gives another handle.
#[derive(Clone)]
pub(crate) struct Share {
    service: Service,
    counts: Arc<Counts>,
    /// Where circuits are paid for.
    billing: Option<Billing>,
}

impl Share {
    pub(crate) fn new(service: Service, billing: Option<Billing>) -> Self {
        Self {
            service,
            counts: Arc::default(),
            billing,
        }
    }

    /// Circuits that are open now.
    pub(crate) fn circuits(&self) -> CircuitCounts {
        CircuitCounts {
            own: self.counts.own.load(Relaxed),
            relayed: self.counts.relayed.load(Relaxed),
            exits: self.counts.exits.load(Relaxed),
        }
    }

    /// Bytes relayed on circuits that have ended.
    pub(crate) fn relayed_bytes(&self) -> u64 {
        self.counts.relayed_bytes.load(Relaxed)
    }

    fn open(&self, role: Role) -> &AtomicU64 {
        match role {
            Role::Origin => &self.counts.own,
            Role::Exit => &self.counts.exits,
            Role::OverRelay | Role::BackRelay => &self.counts.relayed,
        }
    }
}

impl Gate for Share {
    fn admit(&self, asked: &Asked<'_>) -> Result<Arc<dyn Served>, Refused> {
        let serves = match asked.role {
            Role::OverRelay | Role::BackRelay => self.service.routes,
            // A node that is no exit answers its own services only: see `ask`.
            Role::Exit => self.service.exits || self.service.routes,
            Role::Origin => true,
        };
        if !serves {
            return Err(FailureCode::Refused.into());
        }
        if let Some(billing) = &self.billing {
            return billing.admit(asked);
        }
        // Nobody is asked to pay here, so who would pay takes this node for another one.
        if asked.auth.kind != KIND_NONE {
            return Err(FailureCode::BadAuthorisation.into());
        }
        Ok(Arc::new(()))
    }
}

impl Meter for Share {
    fn opened(&self, _: CircuitId, role: Role) {
        self.open(role).fetch_add(1, Relaxed);
    }

    fn closed(&self, summary: CircuitSummary) {
        self.open(summary.role).fetch_sub(1, Relaxed);
        if matches!(summary.role, Role::OverRelay | Role::BackRelay) {
            let bytes = summary.over.bytes + summary.back.bytes;
            self.counts.relayed_bytes.fetch_add(bytes, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use masq_cores::host::Carried;
    use masq_cores::{Authorisation, NodeKey};

    use super::*;

    fn admit(share: &Share, role: Role, kind: u8) -> Result<(), FailureCode> {
        let auth = Authorisation {
            kind,
            ..Authorisation::none()
        };
        let asked = Asked {
            from: &NodeKey([1; 32]),
            next: None,
            role,
            auth: &auth,
            ephemeral: &[2; 32],
        };
        let admitted = share.admit(&asked).map(drop);
        admitted.map_err(|refused| {
            assert!(refused.detail.is_empty());
            refused.code
        })
    }

    #[test]
    fn a_node_serves_only_in_the_roles_it_offers() {
        let relay = Share::new(
            Service {
                routes: true,
                exits: false,
            },
            None,
        );
        assert_eq!(admit(&relay, Role::OverRelay, 0), Ok(()));
        assert_eq!(admit(&relay, Role::BackRelay, 0), Ok(()));
        assert_eq!(admit(&relay, Role::Exit, 0), Ok(()));
        let consumer = Share::new(
            Service {
                routes: false,
                exits: false,
            },
            None,
        );
        assert_eq!(
            admit(&consumer, Role::OverRelay, 0),
            Err(FailureCode::Refused)
        );
        assert_eq!(admit(&consumer, Role::Exit, 0), Err(FailureCode::Refused));
    }

    #[test]
    fn unknown_kinds_of_authorisation_are_refused() {
        let exit = Share::new(
            Service {
                routes: true,
                exits: true,
            },
            None,
        );
        assert_eq!(
            admit(&exit, Role::Exit, 1),
            Err(FailureCode::BadAuthorisation)
        );
    }

    #[test]
    fn counts_return_to_zero() {
        let share = Share::new(
            Service {
                routes: true,
                exits: true,
            },
            None,
        );
        share.opened(CircuitId(1), Role::BackRelay);
        assert_eq!(share.circuits().relayed, 1);
        share.closed(CircuitSummary {
            id: CircuitId(1),
            role: Role::BackRelay,
            auth: Authorisation::none(),
            over: Carried::default(),
            back: Carried {
                cells: 2,
                bytes: 2048,
            },
            clean: true,
        });
        assert_eq!(share.circuits(), CircuitCounts::default());
        assert_eq!(share.relayed_bytes(), 2048);
    }
}
