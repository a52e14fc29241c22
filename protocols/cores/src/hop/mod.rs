//! What a node does for circuits of others: it admits a set-up, opens the stream to the
//! next node, and then relays ([`relay`]) or is the exit ([`exit`]).

mod exit;
mod pump;
mod relay;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use masq_onion::{HopKeys, NodeKey, Peeled, ReverseHop, Role, SetupPackage};
use tokio::time::timeout;

use crate::cell::{CircuitId, Leg};
use crate::failure::{self, FailureCode};
use crate::frame::{
    FrameError, KIND_FAILURE, KIND_REFUSED, ReverseWriter, read_setup, setup_frame,
};
use crate::host::{CircuitSummary, Seen, Wire};
use crate::keys::Unseen;
use crate::limits::{LAST_WORD, SETUP_TIMEOUT};
use crate::link::Place;
use crate::meter::{Counters, Tap};
use crate::node::Inner;
use crate::origin::Home;

/// What a hop's tasks share: who they work for, and what they count.
pub(crate) struct Hop {
    pub(crate) inner: Arc<Inner>,
    pub(crate) id: CircuitId,
    pub(crate) counters: Counters,
    pub(crate) tap: Tap,
    /// Places on the link before and the link after.
    places: [Place; 2],
}

impl Hop {
    /// Returns when the node stops or one of the two neighbours is one no more.
    pub(crate) async fn stopped(&self) {
        tokio::select! {
            () = self.inner.stop.cancelled() => {}
            () = self.places[0].gone.cancelled() => {}
            () = self.places[1].gone.cancelled() => {}
        }
    }
}

/// How an inbound set-up is answered.
enum Verdict {
    /// It is one of this node's own, come home.
    Home(Home),
    /// This node serves in it.
    Serve(Box<Peeled>),
    /// Refused, to be said in plain to the node before.
    Refuse(FailureCode),
    /// Refused, to be said to the origin.
    Tell(FailureCode, Box<ReverseHop>),
}

/// Serves one inbound substream from its first byte to its end.
pub(crate) async fn serve(inner: Arc<Inner>, from: NodeKey, place: Place, mut wire: Wire) {
    let package = tokio::select! {
        package = timeout(SETUP_TIMEOUT, read_setup(&mut wire)) => package,
        () = inner.stop.cancelled() => return,
        () = place.gone.cancelled() => return,
    };
    let package = match package {
        Ok(Ok(package)) => package,
        Ok(Err(FrameError::Kind(kind))) => {
            tracing::debug!(kind, "inbound stream does not begin with a set-up");
            return;
        }
        Ok(Err(_)) | Err(_) => return,
    };
    match judge(&inner, &from, &place, &package) {
        Verdict::Home(home) => home.arrive(wire, place),
        Verdict::Serve(peeled) => run(inner, from, place, wire, &package, *peeled).await,
        Verdict::Refuse(code) => {
            tracing::debug!(%code, "set-up refused");
            say(wire, KIND_REFUSED, &[code.to_byte()]).await;
        }
        Verdict::Tell(code, reverse) => {
            tracing::debug!(%code, "set-up refused");
            tell(wire, code, *reverse).await;
        }
    }
}

/// Writes one last frame to the node before and ends the stream.
async fn say(wire: Wire, kind: u8, body: &[u8]) {
    let mut writer = ReverseWriter::new(wire);
    writer.push_last(kind, body);
    let _ = timeout(LAST_WORD, writer.close()).await;
}

async fn tell(wire: Wire, code: FailureCode, mut reverse: ReverseHop) {
    if let Ok(frame) = reverse.fail(&failure::encode(code)) {
        say(wire, KIND_FAILURE, &frame).await;
    }
}

/// Order matters here: the id is stored only after everything else has passed.
fn judge(inner: &Inner, from: &NodeKey, place: &Place, package: &SetupPackage) -> Verdict {
    let keys = inner.valid_keys();
    let Ok(peeled) = keys.peel(package) else {
        return Verdict::Refuse(FailureCode::BadPackage);
    };
    if peeled.role == Role::Origin {
        return match inner.homes().take(&peeled.cookie, from) {
            Some(home) => Verdict::Home(home),
            // Says the same as for one that cannot be read: nobody learns from a replay
            // whose circuit it was.
            None => Verdict::Refuse(FailureCode::BadPackage),
        };
    }
    if inner.keys().was_seen(&peeled.package_id) {
        return Verdict::Refuse(FailureCode::Replay);
    }
    let leave = if !place.link.carries_others() {
        Err(FailureCode::EntryLink)
    } else if peeled.role == Role::Exit && inner.exit.is_none() {
        Err(FailureCode::Refused)
    } else {
        inner
            .gate
            .admit(from, peeled.role, &peeled.auth, peeled.next.as_ref())
    };
    if let Err(code) = leave {
        // A refusal is sealed with the circuit's keys, so each package may cause one only.
        if !inner.keys().may_seal_refusal(peeled.package_id, keys.generation()) {
            return Verdict::Refuse(code);
        }
        return Verdict::Tell(code, Box::new(reverse_of(peeled.role, peeled.keys)));
    }
    match inner.keys().remember(peeled.package_id, keys.generation()) {
        Ok(()) => Verdict::Serve(Box::new(peeled)),
        Err(Unseen::Replay) => Verdict::Refuse(FailureCode::Replay),
        Err(Unseen::Full) => Verdict::Refuse(FailureCode::Overloaded),
        Err(Unseen::Stale) => Verdict::Refuse(FailureCode::BadPackage),
    }
}

fn reverse_of(role: Role, keys: HopKeys) -> ReverseHop {
    match role {
        Role::OverRelay => keys.into_over_relay().reverse,
        Role::BackRelay => keys.into_back_relay().reverse,
        Role::Exit | Role::Origin => keys.into_exit().reverse,
    }
}

/// Opens the stream to the next node, passes the set-up on and serves until the end.
async fn run(
    inner: Arc<Inner>,
    from: NodeKey,
    place: Place,
    wire: Wire,
    package: &SetupPackage,
    peeled: Peeled,
) {
    let role = peeled.role;
    let (Some(next), Some(next_package)) = (peeled.next, peeled.next_package) else {
        return tell(wire, FailureCode::BadPackage, reverse_of(role, peeled.keys)).await;
    };
    let (onward, next_place) = match open_next(&inner, &next).await {
        Ok(opened) => opened,
        Err(code) => return tell(wire, code, reverse_of(role, peeled.keys)).await,
    };
    let id = inner.next_id();
    let hop = Hop {
        counters: Counters::default(),
        tap: Tap {
            observer: inner.observer.clone(),
            id,
            role,
            previous: from,
            next,
            shown: [AtomicU32::new(0), AtomicU32::new(0)],
        },
        places: [place, next_place],
        id,
        inner,
    };
    let frame = setup_frame(&next_package);
    hop.tap.show(Seen::SetupIn, package.as_bytes());
    hop.tap.show(Seen::SetupOut, next_package.as_bytes());
    tracing::debug!(circuit = %id, ?role, "circuit begins");
    if let Some(meter) = &hop.inner.meter {
        meter.opened(id, role);
    }
    let clean = match role {
        Role::OverRelay => {
            let keys = peeled.keys.into_over_relay();
            relay::run(
                &hop,
                wire,
                onward,
                &frame,
                relay::Layer::Over(keys.over),
                keys.reverse,
            )
            .await
        }
        Role::BackRelay => {
            let keys = peeled.keys.into_back_relay();
            relay::run(
                &hop,
                wire,
                onward,
                &frame,
                relay::Layer::Back(keys.back),
                keys.reverse,
            )
            .await
        }
        Role::Exit | Role::Origin => {
            exit::run(&hop, wire, onward, &frame, peeled.keys.into_exit()).await
        }
    };
    tracing::debug!(circuit = %id, clean, "circuit ends");
    if let Some(meter) = &hop.inner.meter {
        meter.closed(CircuitSummary {
            id,
            role,
            auth: peeled.auth,
            over: hop.counters.carried(Leg::Over),
            back: hop.counters.carried(Leg::Back),
            clean,
        });
    }
}

async fn open_next(inner: &Inner, next: &NodeKey) -> Result<(Wire, Place), FailureCode> {
    let place = inner.links().onward(next).map_err(|code| match code {
        FailureCode::Overloaded => FailureCode::NextOverloaded,
        FailureCode::EntryLink => FailureCode::NextEntryLink,
        other => other,
    })?;
    let wire = tokio::select! {
        opened = timeout(SETUP_TIMEOUT, inner.opener.open(next)) => opened,
        () = inner.stop.cancelled() => return Err(FailureCode::Shutdown),
    };
    match wire {
        Ok(Ok(wire)) => Ok((wire, place)),
        Ok(Err(_)) | Err(_) => Err(FailureCode::NextUnreachable),
    }
}
