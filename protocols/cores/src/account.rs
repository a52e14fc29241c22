//! One circuit's account at one node: opened with the circuit, and closed exactly once,
//! whatever becomes of its task.

use std::sync::Arc;

use masq_onion::{Authorisation, Role};

use crate::cell::{CircuitId, Leg};
use crate::host::{CircuitSummary, Meter};
use crate::meter::Counters;
use crate::paid::{Paying, Running, Served};

/// Who bills or pays for a circuit.
pub(crate) enum Party {
    /// This node serves.
    Hop(Arc<dyn Served>),
    /// It is this node's own.
    Origin(Arc<dyn Paying>),
    /// It is this node's own, and nobody is paid.
    Free,
}

/// Tells the meter and the party that a circuit has ended, when it is dropped.
pub(crate) struct Account {
    pub(crate) running: Running,
    pub(crate) counters: Arc<Counters>,
    /// Whether it ended in good order, as far as this node can know.
    pub(crate) clean: bool,
    role: Role,
    auth: Authorisation,
    meter: Option<Arc<dyn Meter>>,
    party: Party,
    begun: bool,
}

impl Account {
    /// Tells the meter that a circuit has begun.
    pub(crate) fn open(
        id: CircuitId,
        role: Role,
        auth: Authorisation,
        meter: Option<Arc<dyn Meter>>,
        party: Party,
    ) -> Self {
        if let Some(meter) = &meter {
            meter.opened(id, role);
        }
        let counters = Arc::<Counters>::default();
        Self {
            running: Running::new(id, counters.clone()),
            counters,
            clean: false,
            role,
            auth,
            meter,
            party,
            begun: false,
        }
    }

    /// Tells the party that the set-up is on its way.
    pub(crate) fn begin(&mut self) {
        self.begun = true;
        match &self.party {
            Party::Hop(served) => served.begun(self.running.clone()),
            Party::Origin(paying) => paying.begun(self.running.clone()),
            Party::Free => {}
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.running.set_over();
        let (over, back) = (
            self.counters.carried(Leg::Over),
            self.counters.carried(Leg::Back),
        );
        if self.begun {
            match &self.party {
                Party::Hop(served) => served.ended(over, back, self.clean),
                Party::Origin(paying) => paying.ended(over, back, self.clean),
                Party::Free => {}
            }
        }
        if let Some(meter) = &self.meter {
            meter.closed(CircuitSummary {
                id: self.running.id(),
                role: self.role,
                auth: std::mem::replace(&mut self.auth, Authorisation::none()),
                over,
                back,
                clean: self.clean,
            });
        }
    }
}
