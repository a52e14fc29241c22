//! Bans, between gossip that holds them, the disk that keeps them and the
//! control API that shows and changes them. What a ban does is in gossip.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use masq_cores::pool::Pool;
use masq_gossip::{Ban, BanError, BanReason, Lie, NODE_KEY_TEXT_LEN, NodeKey, Proof};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{mpsc, oneshot};

use super::disputes::{DROPPED_FOR, OVERCHARGED};
use super::swarm::{Command, Loop};
use crate::control::NodeApiError;
use crate::control::types::{BanKind, BanRequest, BanView, Event, SHORT_KEY};
use crate::safe::StoredBan;

type Answer = oneshot::Sender<Result<BanView, NodeApiError>>;

/// What the control API may ask about bans.
pub(crate) enum BanCommand {
    /// All of them.
    List(oneshot::Sender<Vec<BanView>>),
    /// One more, by hand.
    Add(BanRequest, Answer),
    /// One more: a hop went on claiming more than it carried.
    Overcharged(NodeKey),
    /// One less: the node, or how its key begins.
    Lift(String, Answer),
}

/// Asks the loop; it answers from memory.
pub(crate) async fn ask<T>(
    commands: &mpsc::Sender<Command>,
    command: impl FnOnce(oneshot::Sender<T>) -> BanCommand,
) -> Result<T, NodeApiError> {
    let (answer, answered) = oneshot::channel();
    let command = Command::Bans(command(answer));
    let sent = commands.send(command).await;
    sent.map_err(|_| NodeApiError::Stopping)?;
    answered.await.map_err(|_| NodeApiError::Stopping)
}

impl Loop {
    pub(crate) fn on_ban_command(&mut self, command: BanCommand) {
        // Whoever asked may have gone.
        match command {
            BanCommand::List(answer) => {
                let bans = self.swarm.behaviour().gossip.bans();
                let _ = answer.send(bans.iter().map(view).collect());
            }
            BanCommand::Add(request, answer) => {
                let _ = answer.send(self.ban(&request));
            }
            BanCommand::Overcharged(node) => self.drop_overcharging(node),
            BanCommand::Lift(node, answer) => {
                let _ = answer.send(self.unban(&node));
            }
        }
    }

    fn ban(&mut self, request: &BanRequest) -> Result<BanView, NodeApiError> {
        let node = find(&request.node, &self.known_nodes(), "known node", TO_BAN)?;
        let reason = request.reason.as_deref().unwrap_or_default();
        let life = request.life_seconds.map(Duration::from_secs);
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        let ban = gossip.ban(node, reason, life);
        let ban = ban.map_err(|error| refusal(&node, &error))?;
        // It is on disk before anybody is told that it holds.
        self.store_bans(&self.swarm.behaviour().gossip.bans());
        Ok(view(&ban))
    }

    fn drop_overcharging(&mut self, node: NodeKey) {
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        match gossip.ban(node, OVERCHARGED, Some(DROPPED_FOR)) {
            Ok(_) => self.store_bans(&self.swarm.behaviour().gossip.bans()),
            Err(BanError::Already(_)) => {}
            // It is still avoided.
            Err(error) => tracing::warn!(%error, "a hop that claims too much was not banned"),
        }
    }

    fn unban(&mut self, text: &str) -> Result<BanView, NodeApiError> {
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        let banned = gossip.bans().iter().map(|ban| ban.node).collect();
        let node = find(
            text,
            &banned,
            "banned node",
            "`masq bans list` shows who is banned.",
        )?;
        let ban = gossip.unban(&node);
        let ban = ban.map_err(|error| refusal(&node, &error))?;
        self.store_bans(&self.swarm.behaviour().gossip.bans());
        Ok(view(&ban))
    }

    /// Whose keys may be cut short: whoever this node sees, or has as a neighbour, or had as one.
    fn known_nodes(&self) -> BTreeSet<NodeKey> {
        let gossip = &self.swarm.behaviour().gossip;
        let picture = gossip.neighbourhood();
        let past = self.memory.remembered().neighbours;
        let seen = picture.records().map(|record| record.node());
        let links = picture.links().iter().map(|link| link.node);
        let banned = gossip.bans().into_iter().map(|ban| ban.node);
        seen.chain(links)
            .chain(banned)
            .chain([gossip.me()])
            .chain(past.iter().filter_map(|past| past.node.parse().ok()))
            .collect()
    }

    /// What gossip says of bans.
    pub(crate) fn on_ban_event(&mut self, event: masq_gossip::Event) {
        match event {
            masq_gossip::Event::Banned(ban) => {
                let kind = view(&ban).kind;
                tracing::info!(node = %ban.node.short(), ?kind, "banned");
                self.tell(Event::Banned {
                    node: ban.node.to_string(),
                    reason: ban.reason.to_string(),
                    left_seconds: ban.until.map(|until| until.saturating_sub(ban.since)),
                });
            }
            masq_gossip::Event::Unbanned(node) => {
                tracing::info!(node = %node.short(), "not banned any more");
                let node = node.to_string();
                self.tell(Event::Unbanned { node });
            }
            masq_gossip::Event::Bans(bans) => self.store_bans(&bans),
            masq_gossip::Event::Accused => self.problem(
                "Another node signs records with this node's key, and the others will ban that \
                 key for a day. Stop whatever else runs with a copy of this data folder; if the \
                 key was stolen, start as a new node, with a data folder of its own."
                    .into(),
            ),
            _ => {}
        }
    }

    /// Waited for, so that lists are stored in the order in which they came. It happens seldom, and
    /// takes as long as a small file takes.
    fn store_bans(&self, bans: &[Ban]) {
        let bans: Vec<StoredBan> = bans.iter().map(to_stored).collect();
        let stored =
            tokio::task::block_in_place(|| self.memory.remember(|state| state.bans = bans));
        if let Err(error) = stored {
            tracing::warn!(%error, "bans could not be stored; they hold until the daemon stops");
        }
    }
}

/// Has circuits built anew when one of them crosses a node that has just been banned, until the
/// node ends.
pub(crate) async fn renew_circuits(pool: Pool, mut events: broadcast::Receiver<Event>) {
    loop {
        let renew = match events.recv().await {
            Ok(Event::Banned { node, .. }) => pool.circuits().iter().any(|info| {
                let route = info.circuit.route();
                let hops = route.over.iter().chain(route.back.iter());
                hops.map(|hop| NodeKey(hop.node.0).to_string())
                    .any(|hop| hop == node)
            }),
            // Some of what was missed may have been a ban.
            Err(RecvError::Lagged(_)) => true,
            Ok(_) => false,
            Err(RecvError::Closed) => return,
        };
        if renew {
            pool.renew();
        }
    }
}

/// Where the keys of nodes that may be banned are found.
const TO_BAN: &str = "`masq neighborhood-graph` shows whom this node sees; a node that it does not see \
                      is banned by its whole key.";

/// The node that somebody means. `who` says among whom it was looked for.
pub(crate) fn find(
    text: &str,
    among: &BTreeSet<NodeKey>,
    who: &str,
    hint: &str,
) -> Result<NodeKey, NodeApiError> {
    let refused = |what: String, hint: &str| {
        Err(NodeApiError::Refused {
            what,
            hint: hint.into(),
        })
    };
    let length = text.chars().count();
    if length == NODE_KEY_TEXT_LEN {
        return text.parse().or_else(|error: masq_gossip::KeyError| {
            let hint = "`masq neighborhood-graph` and `masq bans list` show keys of nodes.";
            refused(format!("The text {text} names no node: {error}."), hint)
        });
    }
    if !(SHORT_KEY..NODE_KEY_TEXT_LEN).contains(&length) {
        return refused(
            format!("A node is named by its key of {NODE_KEY_TEXT_LEN} characters, not {length}."),
            "The first 8 characters do where one known key begins with them.",
        );
    }
    let mut matching = among.iter().filter(|key| key.to_string().starts_with(text));
    match (matching.next(), matching.count()) {
        (Some(node), 0) => Ok(*node),
        (Some(_), more) => refused(
            format!("The keys of {} {who}s begin with {text}.", more + 1),
            "Give more characters, or the whole key.",
        ),
        (None, _) => refused(format!("The key of no {who} begins with {text}."), hint),
    }
}

fn refusal(node: &NodeKey, error: &BanError) -> NodeApiError {
    let short = node.short();
    let (what, hint) = match error {
        BanError::Oneself => (
            format!("Node {short} is this one itself, and it can't ban itself."),
            "`masq shutdown` stops it.".to_owned(),
        ),
        BanError::Already(ban) => (
            format!("Node {short} is banned already: {}.", ban.reason),
            format!("To change the ban, lift it first: masq bans remove {short}"),
        ),
        BanError::Full => (
            format!(
                "There are {} bans by hand, and no room for more.",
                masq_gossip::MAX_BANS_BY_HAND
            ),
            "Lift some that are not needed any more; `masq bans list` shows them.".into(),
        ),
        BanError::NotBanned => (
            format!("Node {short} is not banned."),
            "`masq bans list` shows who is.".into(),
        ),
        other => (format!("{other}."), String::new()),
    };
    NodeApiError::Refused { what, hint }
}

fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn kind(reason: &BanReason) -> BanKind {
    match reason {
        BanReason::Lied(Lie::OverCap) => BanKind::OverCap,
        BanReason::Lied(_) => BanKind::Equivocation,
        BanReason::ByHand(reason) if reason == OVERCHARGED => BanKind::Overcharged,
        _ => BanKind::ByHand,
    }
}

/// As the control API shows it.
fn view(ban: &Ban) -> BanView {
    let now = unix_time();
    BanView {
        node: ban.node.to_string(),
        kind: kind(&ban.reason),
        reason: ban.reason.to_string(),
        since_seconds: now.saturating_sub(ban.since),
        left_seconds: ban.until.map(|until| until.saturating_sub(now)),
        evidence: (!ban.evidence.is_empty()).then(|| hex::encode(&ban.evidence)),
    }
}

fn to_stored(ban: &Ban) -> StoredBan {
    StoredBan {
        node: ban.node.to_string(),
        reason: match &ban.reason {
            BanReason::ByHand(reason) => Some(reason.clone()),
            _ => None,
        },
        since_unix: ban.since,
        until_unix: ban.until,
        evidence: hex::encode(&ban.evidence),
    }
}

/// What was stored, as gossip wants it; entries that make no sense are left out. What somebody
/// lied about is in the evidence, which is checked again.
pub(crate) fn from_stored(stored: &[StoredBan]) -> Vec<Ban> {
    let read = |ban: &StoredBan| {
        let node: NodeKey = ban.node.parse().ok()?;
        let evidence = hex::decode(&ban.evidence).ok()?;
        let reason = match &ban.reason {
            Some(reason) => BanReason::ByHand(reason.clone()),
            None => {
                let proof = Proof::from_evidence(&evidence).ok()?;
                (proof.node() == node).then(|| BanReason::Lied(proof.lie()))?
            }
        };
        Some(Ban {
            node,
            reason,
            since: ban.since_unix,
            until: ban.until_unix,
            evidence,
        })
    };
    stored.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Vec<NodeKey> {
        let pair = |n| libp2p::identity::Keypair::ed25519_from_bytes([n; 32]).unwrap();
        (1..4)
            .map(|n| NodeKey::try_from(&pair(n).public()).unwrap())
            .collect()
    }

    fn said(found: Result<NodeKey, NodeApiError>) -> String {
        match found.unwrap_err() {
            NodeApiError::Refused { what, hint } => format!("{what} {hint}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nodes_are_named_by_key_or_by_how_it_begins() {
        let keys = keys();
        let (known, stranger) = (BTreeSet::from([keys[0], keys[1]]), keys[2]);
        let find = |text: &str| find(text, &known, "known node", TO_BAN);
        assert_eq!(find(&keys[0].to_string()), Ok(keys[0]));
        assert_eq!(find(&keys[1].short()), Ok(keys[1]));
        // A whole key may be anybody's.
        assert_eq!(find(&stranger.to_string()), Ok(stranger));
        assert!(said(find(&stranger.short())).contains("The key of no known node begins"));
        assert!(said(find("abc")).contains("not 3"));
        assert!(said(find("")).contains("not 0"));
        assert!(said(find(&"!".repeat(43))).contains("names no node"));
        assert!(said(find(&"ř".repeat(43))).contains("names no node"));
    }

    #[test]
    fn a_beginning_that_fits_two_is_not_guessed() {
        // Not points of the curve, but keys all the same.
        let two = BTreeSet::from([1, 2].map(|last| {
            let mut key = [7; 32];
            key[31] = last;
            NodeKey(key)
        }));
        let short = two.first().unwrap().short();
        let said = said(find(
            &short,
            &two,
            "banned node",
            "`masq bans list` shows who is banned.",
        ));
        assert!(
            said.contains("The keys of 2 banned nodes begin with"),
            "{said}"
        );
    }

    #[test]
    fn bans_are_stored_and_read_alike() {
        let ban = Ban {
            node: keys()[0],
            reason: BanReason::ByHand("spam".into()),
            since: 5,
            until: Some(9),
            evidence: Vec::new(),
        };
        let endless = Ban {
            node: keys()[1],
            until: None,
            ..ban.clone()
        };
        let bans = [ban, endless];
        let mut stored: Vec<StoredBan> = bans.iter().map(to_stored).collect();
        assert_eq!(from_stored(&stored), bans);
        // A hop that claimed too much is told from what the operator wanted, after a start too.
        let claims = Ban {
            reason: BanReason::ByHand(OVERCHARGED.into()),
            ..bans[0].clone()
        };
        let again = from_stored(&[to_stored(&claims)]);
        assert_eq!(kind(&again[0].reason), BanKind::Overcharged);
        assert_eq!(kind(&bans[0].reason), BanKind::ByHand);
        // What says that it is for a lie must prove it.
        stored[0].reason = None;
        stored[1].node.push('x');
        assert_eq!(from_stored(&stored), []);
    }
}
