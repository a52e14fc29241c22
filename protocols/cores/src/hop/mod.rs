//! What a node does for circuits of others: it admits a set-up, opens the stream to the
//! next node, and then relays ([`relay`]) or is the exit ([`exit`]).

mod exit;
mod pump;
mod relay;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use futures::{AsyncReadExt, AsyncWriteExt};
use masq_onion::{HopKeys, NodeKey, Peeled, ReverseHop, Role, SetupPackage};
use rand::RngExt;
use tokio::time::{Instant, sleep_until, timeout};

use crate::account::{Account, Party};
use crate::cell::CircuitId;
use crate::failure::{self, FailureCode};
use crate::frame::{
    FrameError, KIND_FAILURE, KIND_REFUSED, KIND_TAKEN, ReverseWriter, SetupKind, read_setup,
    setup_frame,
};
use crate::host::{Seen, Wire};
use crate::keys::Unseen;
use crate::limits::{LAST_WORD, NOT_NEIGHBOUR_MAX, NOT_NEIGHBOUR_MIN, SETUP_TIMEOUT};
use crate::link::{ExitPlace, Place};
use crate::meter::{Counters, Tap};
use crate::node::Inner;
use crate::origin::Home;
use crate::paid::{Asked, Refused, Running, Served};

/// What a hop's tasks share: who they work for, and what they count.
pub(crate) struct Hop {
    pub(crate) inner: Arc<Inner>,
    pub(crate) id: CircuitId,
    pub(crate) counters: Arc<Counters>,
    pub(crate) running: Running,
    pub(crate) served: Arc<dyn Served>,
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
    /// The stream is dropped without a word.
    Drop,
    /// This node serves in it.
    Serve(Box<Peeled>, Leave),
    /// Refused, to be said in plain to the node before.
    Refuse(FailureCode),
    /// Refused, to be said to the origin.
    Tell(Refused, Box<ReverseHop>),
}

/// Leave to serve in a circuit.
struct Leave {
    /// The place for it, where this node is the exit.
    exit: Option<ExitPlace>,
    served: Arc<dyn Served>,
}

/// Serves one inbound substream from its first byte to its end.
pub(crate) async fn serve(inner: Arc<Inner>, from: NodeKey, place: Place, mut wire: Wire) {
    let package = tokio::select! {
        package = timeout(SETUP_TIMEOUT, read_setup(&mut wire)) => package,
        () = inner.stop.cancelled() => return,
        () = place.gone.cancelled() => return,
    };
    let (kind, package) = match package {
        Ok(Ok(read)) => read,
        Ok(Err(FrameError::Kind(kind))) => {
            tracing::debug!(kind, "inbound stream does not begin with a set-up");
            return;
        }
        Ok(Err(_)) | Err(_) => return,
    };
    match judge(&inner, &from, &place, kind, &package) {
        Verdict::Home(home) => {
            // A stream that takes not even this is broken, and its reader will see it.
            let _ = timeout(LAST_WORD, say_taken(&mut wire)).await;
            home.arrive(wire, place);
        }
        Verdict::Drop => tracing::debug!("set-up dropped"),
        Verdict::Serve(peeled, leave) => {
            run(inner, from, place, wire, &package, *peeled, leave.served).await;
            drop(leave.exit);
        }
        Verdict::Refuse(code) => {
            tracing::debug!(%code, "set-up refused");
            say(wire, KIND_REFUSED, &[code.to_byte()]).await;
        }
        Verdict::Tell(refused, reverse) => {
            tracing::debug!(code = %refused.code, "set-up refused");
            tell(wire, refused, *reverse).await;
        }
    }
}

async fn say_taken(wire: &mut Wire) -> std::io::Result<()> {
    wire.write_all(&[KIND_TAKEN]).await?;
    wire.flush().await
}

/// Writes one last frame to the node before and ends the stream.
async fn say(wire: Wire, kind: u8, body: &[u8]) {
    let mut writer = ReverseWriter::new(wire);
    writer.push_last(kind, body);
    let _ = timeout(LAST_WORD, writer.close()).await;
}

async fn tell(wire: Wire, refused: Refused, mut reverse: ReverseHop) {
    let payload = failure::encode(refused.code.of_hop(), refused.detail);
    if let Ok(frame) = reverse.fail(&payload) {
        say(wire, KIND_FAILURE, &frame).await;
    }
}

/// Order matters here: the id is stored only after everything else has passed.
fn judge(
    inner: &Inner,
    from: &NodeKey,
    place: &Place,
    kind: SetupKind,
    package: &SetupPackage,
) -> Verdict {
    if kind == SetupKind::Home {
        return judge_home(inner, from, package);
    }
    if !place.link.takes_set_ups() {
        return Verdict::Drop;
    }
    let keys = inner.valid_keys();
    // One that is for this node as its origin, and came as if it were a stranger's, is no
    // better than one that cannot be read: nobody learns from it whose circuit it was.
    let peeled = match keys.peel(package) {
        Ok(peeled) if peeled.role != Role::Origin => peeled,
        Ok(_) | Err(_) => return Verdict::Refuse(FailureCode::BadPackage),
    };
    if inner.keys().was_seen(&peeled.package_id) {
        return Verdict::Refuse(FailureCode::Replay);
    }
    let leave = match leave(inner, from, package, &peeled) {
        Ok(leave) => leave,
        // A refusal is sealed with the circuit's keys, so each package may cause one only.
        Err(refused)
            if inner
                .keys()
                .may_seal_refusal(peeled.package_id, keys.generation()) =>
        {
            return Verdict::Tell(refused, Box::new(reverse_of(peeled.role, peeled.keys)));
        }
        // In plain, where the node before reads along: the code and nothing more.
        Err(refused) => return Verdict::Refuse(refused.code.of_hop()),
    };
    match inner.keys().remember(peeled.package_id, keys.generation()) {
        Ok(()) => Verdict::Serve(Box::new(peeled), leave),
        Err(Unseen::Replay) => Verdict::Refuse(FailureCode::Replay),
        Err(Unseen::Full) => Verdict::Refuse(FailureCode::Overloaded),
        Err(Unseen::Stale) => Verdict::Refuse(FailureCode::BadPackage),
    }
}

/// Whether this node serves in a circuit.
fn leave(
    inner: &Inner,
    from: &NodeKey,
    package: &SetupPackage,
    peeled: &Peeled,
) -> Result<Leave, Refused> {
    let exit = if peeled.role != Role::Exit {
        None
    } else if inner.exit.is_none() {
        return Err(FailureCode::Refused.into());
    } else {
        Some(inner.links().exit(from)?)
    };
    let served = inner.gate.admit(&Asked {
        from,
        next: peeled.next.as_ref(),
        role: peeled.role,
        auth: &peeled.auth,
        ephemeral: package.ephemeral(),
    })?;
    Ok(Leave { exit, served })
}

/// A set-up over this node's entry link is one that it waits for, or nothing at all: whether
/// there is such a link is nobody's business but that of its two ends.
fn judge_home(inner: &Inner, from: &NodeKey, package: &SetupPackage) -> Verdict {
    match inner.valid_keys().peel(package) {
        Ok(peeled) if peeled.role == Role::Origin => inner
            .homes()
            .take(&peeled.cookie, from)
            .map_or(Verdict::Drop, Verdict::Home),
        Ok(_) | Err(_) => Verdict::Drop,
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
    served: Arc<dyn Served>,
) {
    let role = peeled.role;
    let (Some(next), Some(next_package)) = (peeled.next, peeled.next_package) else {
        let refused = FailureCode::BadPackage.into();
        return tell(wire, refused, reverse_of(role, peeled.keys)).await;
    };
    let begun = Instant::now();
    let onward = match open_next(&inner, &place, role, &next, &next_package).await {
        Ok(onward) => onward,
        Err(code) => {
            if code == FailureCode::NotNeighbour {
                blur(&inner, begun).await;
            }
            return tell(wire, code.into(), reverse_of(role, peeled.keys)).await;
        }
    };
    let id = inner.next_id();
    let meter = inner.meter.clone();
    let party = Party::Hop(served.clone());
    let mut account = Account::open(id, role, peeled.auth, meter, party);
    let hop = Hop {
        counters: account.counters.clone(),
        running: account.running.clone(),
        served,
        tap: Tap {
            observer: inner.observer.clone(),
            id,
            role,
            previous: from,
            next,
            shown: [AtomicU32::new(0), AtomicU32::new(0)],
        },
        places: [place, onward.place],
        id,
        inner,
    };
    hop.tap.show(Seen::SetupIn, package.as_bytes());
    hop.tap.show(Seen::SetupOut, next_package.as_bytes());
    tracing::debug!(circuit = %id, ?role, "circuit begins");
    account.clean = match role {
        Role::OverRelay => {
            let keys = peeled.keys.into_over_relay();
            relay::run(
                &hop,
                &mut account,
                wire,
                onward.wire,
                &onward.frame,
                relay::Layer::Over(keys.over),
                keys.reverse,
            )
            .await
        }
        Role::BackRelay => {
            let keys = peeled.keys.into_back_relay();
            relay::run(
                &hop,
                &mut account,
                wire,
                onward.wire,
                &onward.frame,
                relay::Layer::Back(keys.back),
                keys.reverse,
            )
            .await
        }
        Role::Exit | Role::Origin => {
            let keys = peeled.keys.into_exit();
            exit::run(&hop, &mut account, wire, onward.wire, &onward.frame, keys).await
        }
    };
    tracing::debug!(circuit = %id, clean = account.clean, "circuit ends");
}

/// The way on to the next node.
struct Onward {
    wire: Wire,
    place: Place,
    /// The set-up, where it is still to be written.
    frame: Vec<u8>,
}

/// Opens the stream to the next node. Over an entry link of the next node's it also sends the
/// set-up and waits until it is taken; whatever happens there instead, the answer is that
/// the node is no neighbour, as it is where it really is none.
async fn open_next(
    inner: &Inner,
    before: &Place,
    role: Role,
    next: &NodeKey,
    package: &SetupPackage,
) -> Result<Onward, FailureCode> {
    let place = inner.links().onward(next).map_err(|code| match code {
        FailureCode::Overloaded => FailureCode::NextOverloaded,
        other => other,
    })?;
    let home = place.link.theirs_entry;
    if home && role == Role::OverRelay {
        // After this role comes no origin, so it cannot be one of the neighbour's own.
        return Err(FailureCode::NotNeighbour);
    }
    let open = async {
        let mut wire = inner.opener.open(next).await.ok()?;
        if home {
            wire.write_all(&setup_frame(SetupKind::Home, package))
                .await
                .ok()?;
            wire.flush().await.ok()?;
            let mut answer = [0];
            wire.read_exact(&mut answer).await.ok()?;
            (answer == [KIND_TAKEN]).then_some(wire)
        } else {
            Some(wire)
        }
    };
    let opened = tokio::select! {
        opened = timeout(SETUP_TIMEOUT, open) => opened.ok().flatten(),
        () = inner.stop.cancelled() => return Err(FailureCode::Shutdown),
        () = before.gone.cancelled() => None,
        () = place.gone.cancelled() => None,
    };
    match opened {
        Some(wire) if home => Ok(Onward {
            wire,
            place,
            frame: Vec::new(),
        }),
        Some(wire) => Ok(Onward {
            wire,
            place,
            frame: setup_frame(SetupKind::Plain, package),
        }),
        None if home => Err(FailureCode::NotNeighbour),
        None => Err(FailureCode::NextUnreachable),
    }
}

/// Waits until a time after `begun` that says nothing about whether anybody was asked.
async fn blur(inner: &Inner, begun: Instant) {
    let after = inner
        .rng
        .make()
        .random_range(NOT_NEIGHBOUR_MIN..NOT_NEIGHBOUR_MAX);
    tokio::select! {
        () = sleep_until(begun + after) => {}
        () = inner.stop.cancelled() => {}
    }
}
