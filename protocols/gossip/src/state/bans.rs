//! The list of bans: who is banned, why, until when, and by what evidence.
//! Bounded, and every automatic ban has an end. How somebody comes to be banned, and
//! what a ban does, is in `judging`; who keeps the list across restarts is the host.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::ConnId;
use crate::bucket::TokenBucket;
use crate::key::NodeKey;
use crate::proof::{Lie, MAX_EVIDENCE_LEN, Proof};

/// Most bans at a time, 1.7 KiB each. Guess: many times the liars that one view should hold.
pub const MAX_BANS: usize = 128;
/// Most bans by hand: so that there is always room for automatic ones. Guess.
pub const MAX_BANS_BY_HAND: usize = 96;
/// How long a proven lie is held against a node. Guess: a day, as the lie may be a mistake in
/// handling a key, such as a copied data folder.
pub const BAN_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Longest reason given by hand, in bytes. Guess.
pub const MAX_BAN_REASON: usize = 200;

/// Most liars whose proofs are remembered for as long as those count. Twice what may come
/// within half an hour.
const MAX_JUDGED: usize = 128;
/// Bans for proven lies: at once, and per second (60 an hour). So whoever invents liars has
/// little written to disk. Guess.
const CONVICTIONS: (u32, f64) = (32, 60.0 / 3600.0);

/// Why a node is banned.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BanReason {
    /// It was proven to lie.
    Lied(Lie),
    /// By this node's operator, who may have given a reason (else it is empty).
    ByHand(String),
}

impl fmt::Display for BanReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lied(lie) => lie.fmt(f),
            Self::ByHand(reason) if reason.is_empty() => f.write_str("banned by hand"),
            Self::ByHand(reason) => f.write_str(reason),
        }
    }
}

/// One ban.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// Who is banned.
    pub node: NodeKey,
    /// Why.
    pub reason: BanReason,
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// Until when, in seconds since 1970; `None` until it is lifted.
    pub until: Option<u64>,
    /// What anybody can check, see [`Proof::from_evidence`]; empty for a ban by hand.
    pub evidence: Vec<u8>,
}

impl Ban {
    fn by_hand(&self) -> bool {
        matches!(self.reason, BanReason::ByHand(_))
    }

    fn over(&self, unix: u64) -> bool {
        self.until.is_some_and(|until| until <= unix)
    }
}

/// Why a ban was not imposed or lifted. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BanError {
    /// A node cannot ban itself.
    #[error("this is the node itself")]
    Oneself,
    /// It is banned already; here is the ban.
    #[error("the node is banned already: {}", .0.reason)]
    Already(Box<Ban>),
    /// There are [`MAX_BANS_BY_HAND`] bans by hand.
    #[error("there are {MAX_BANS_BY_HAND} bans by hand, and no room for more")]
    Full,
    /// There is no ban to lift.
    #[error("the node is not banned")]
    NotBanned,
}

/// A proof that was acted on.
#[derive(Debug)]
struct Judged {
    /// Until when it counts, in seconds since 1970.
    until: u64,
    records: Vec<Vec<u8>>,
    /// Connections on which it was said or heard, while they live.
    told: Vec<ConnId>,
}

/// Who is banned.
#[derive(Debug)]
pub(super) struct Bans {
    list: BTreeMap<NodeKey, Ban>,
    /// Liars whose proof still counts, banned or not any more: one lie makes one ban.
    judged: BTreeMap<NodeKey, Judged>,
    convictions: TokenBucket,
}

impl Bans {
    /// With the bans from before the restart; those that are over, and what is above the bounds,
    /// are left out.
    pub(super) fn new(kept: Vec<Ban>, me: NodeKey, now: Duration, unix: u64) -> Self {
        let mut bans = Self {
            list: BTreeMap::new(),
            judged: BTreeMap::new(),
            convictions: TokenBucket::new(CONVICTIONS.0, CONVICTIONS.1, now),
        };
        for mut ban in kept {
            let room =
                bans.list.len() < MAX_BANS && (!ban.by_hand() || bans.by_hand() < MAX_BANS_BY_HAND);
            let fits = room && ban.evidence.len() <= MAX_EVIDENCE_LEN;
            if fits && ban.node != me && !ban.over(unix) {
                if let BanReason::ByHand(reason) = &mut ban.reason {
                    *reason = shortened(reason);
                }
                bans.list.insert(ban.node, ban);
            }
        }
        bans
    }

    fn by_hand(&self) -> usize {
        self.list.values().filter(|ban| ban.by_hand()).count()
    }

    pub(super) fn holds(&self, node: &NodeKey) -> bool {
        self.list.contains_key(node)
    }

    /// The oldest first.
    pub(super) fn all(&self) -> Vec<Ban> {
        let mut all: Vec<Ban> = self.list.values().cloned().collect();
        all.sort_by_key(|ban| (ban.since, ban.node));
        all
    }

    /// Notes a ban by hand.
    pub(super) fn add_by_hand(
        &mut self,
        node: NodeKey,
        reason: &str,
        life: Option<Duration>,
        unix: u64,
    ) -> Result<&Ban, BanError> {
        if let Some(ban) = self.list.get(&node) {
            return Err(BanError::Already(Box::new(ban.clone())));
        }
        if self.by_hand() >= MAX_BANS_BY_HAND {
            return Err(BanError::Full);
        }
        self.make_room();
        let ban = Ban {
            node,
            reason: BanReason::ByHand(shortened(reason)),
            since: unix,
            until: life.map(|life| unix.saturating_add(life.as_secs().max(1))),
            evidence: Vec::new(),
        };
        Ok(self.list.entry(node).or_insert(ban))
    }

    /// Whether a proof about this node is news: it is not banned, and was not for a proof that
    /// still counts.
    pub(super) fn is_news(&self, node: &NodeKey) -> bool {
        !self.holds(node) && !self.judged.contains_key(node)
    }

    /// Notes the ban that a proof brings. `None` when it is no news, or when there are too many.
    pub(super) fn convict(&mut self, proof: &Proof, now: Duration, unix: u64) -> Option<&Ban> {
        let node = proof.node();
        if !self.is_news(&node) || !self.convictions.take(now) {
            return None;
        }
        self.make_room();
        if self.judged.len() >= MAX_JUDGED {
            let first = self.judged.iter().min_by_key(|(_, judged)| judged.until);
            let first = first.map(|(node, _)| *node);
            first.and_then(|first| self.judged.remove(&first));
        }
        let judged = Judged {
            until: proof.expires(),
            records: proof.records().to_vec(),
            told: Vec::new(),
        };
        self.judged.insert(node, judged);
        let ban = Ban {
            node,
            reason: BanReason::Lied(proof.lie()),
            since: unix,
            until: Some(unix.saturating_add(BAN_LIFE.as_secs())),
            evidence: proof.evidence(),
        };
        Some(self.list.entry(node).or_insert(ban))
    }

    /// The proof against a banned node, for a connection on which it was neither said nor heard, if
    /// it still counts. From now on it was.
    pub(super) fn tell(&mut self, node: &NodeKey, on: ConnId, unix: u64) -> Option<Vec<Vec<u8>>> {
        let banned = self.holds(node);
        let judged = self.judged.get_mut(node)?;
        if !banned || judged.until <= unix || judged.told.contains(&on) {
            return None;
        }
        judged.told.push(on);
        Some(judged.records.clone())
    }

    /// Forgets a connection that is gone.
    pub(super) fn forget_connection(&mut self, conn: ConnId) {
        for judged in self.judged.values_mut() {
            judged.told.retain(|told| *told != conn);
        }
    }

    pub(super) fn get(&self, node: &NodeKey) -> Option<&Ban> {
        self.list.get(node)
    }

    /// The oldest automatic ban makes room when there is none.
    fn make_room(&mut self) {
        if self.list.len() >= MAX_BANS {
            let automatic = self.list.values().filter(|ban| !ban.by_hand());
            let oldest = automatic.min_by_key(|ban| ban.since).map(|ban| ban.node);
            oldest.and_then(|oldest| self.list.remove(&oldest));
        }
    }

    /// Lifts a ban. A proof that was acted on is not acted on again.
    pub(super) fn lift(&mut self, node: &NodeKey) -> Result<Ban, BanError> {
        self.list.remove(node).ok_or(BanError::NotBanned)
    }

    /// Takes out the bans that are over.
    pub(super) fn expire(&mut self, unix: u64) -> Vec<Ban> {
        self.judged.retain(|_, judged| judged.until > unix);
        let over = self.list.extract_if(.., |_, ban| ban.over(unix));
        over.map(|(_, ban)| ban).collect()
    }
}

/// A reason goes to a person's terminal: no control characters, bounded.
fn shortened(reason: &str) -> String {
    let mut reason: String = reason.chars().filter(|c| !c.is_control()).collect();
    reason.truncate(reason.floor_char_boundary(MAX_BAN_REASON));
    reason
}

#[cfg(test)]
mod tests {
    use libp2p::identity::ed25519;

    use super::*;
    use crate::chain::Chain;
    use crate::record::{RatePack, Record, Roles};

    const ME: NodeKey = NodeKey([255; 32]);

    fn key(n: u8) -> NodeKey {
        NodeKey([n; 32])
    }

    fn bans() -> Bans {
        Bans::new(Vec::new(), ME, Duration::ZERO, 1000)
    }

    /// A proof that node `n` lied at `unix`.
    fn proof(n: u8, unix: u64) -> Proof {
        let keys: ed25519::Keypair = ed25519::SecretKey::try_from_bytes([n; 32]).unwrap().into();
        let record = |policy: &str| {
            let record = Record {
                chain: Chain::Dev,
                node: NodeKey::from(&keys.public()),
                onion: [1; 32],
                previous_onion: None,
                version: 1,
                earning_wallet: [0; 20],
                rates: RatePack::default(),
                roles: Roles::default(),
                policy: policy.into(),
                country: None,
                neighbours: Vec::new(),
                issued: unix,
                expires: unix + 1800,
            };
            record.sign(&keys).unwrap()
        };
        Proof::equivocation(&record("a"), &record("b")).unwrap()
    }

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn bans_by_hand_stay_and_the_oldest_other_makes_room() {
        let mut bans = bans();
        for n in 0..MAX_BANS_BY_HAND as u8 {
            bans.add_by_hand(key(n), "", None, 1000).unwrap();
        }
        let full = bans.add_by_hand(key(200), "", None, 1000);
        assert_eq!(full.unwrap_err(), BanError::Full);
        let liars = MAX_BANS - MAX_BANS_BY_HAND + 5;
        for n in 0..liars as u8 {
            // Slowly enough for all to be heard.
            let now = 60 * u64::from(n);
            let proof = proof(n + 1, 1000 + now);
            assert!(bans.convict(&proof, at(now), 1000 + now).is_some());
            assert!(bans.list.len() <= MAX_BANS);
        }
        assert_eq!(bans.list.len(), MAX_BANS);
        assert_eq!(bans.by_hand(), MAX_BANS_BY_HAND);
        let gone = |n: u8| !bans.holds(&proof(n, 0).node());
        assert!((1..=5).all(gone) && !(6..=liars as u8).any(gone));
    }

    #[test]
    fn automatic_bans_are_bounded_in_number_per_hour() {
        let mut bans = bans();
        let convicted =
            |bans: &mut Bans, n, now| bans.convict(&proof(n, 1000), at(now), 1000).is_some();
        let at_once = (1..=100).filter(|n| convicted(&mut bans, *n, 0)).count();
        assert_eq!(at_once, CONVICTIONS.0 as usize);
        assert!(!convicted(&mut bans, 101, 30) && convicted(&mut bans, 101, 60));
    }

    #[test]
    fn one_lie_makes_one_ban_and_it_ends() {
        let mut bans = bans();
        let lie = proof(1, 1000);
        let ban = bans.convict(&lie, at(0), 1000).unwrap().clone();
        assert_eq!(ban.until, Some(1000 + BAN_LIFE.as_secs()));
        assert_eq!(Proof::from_evidence(&ban.evidence).as_ref(), Ok(&lie));
        assert!(bans.convict(&lie, at(1), 1001).is_none());
        bans.lift(&ban.node).unwrap();
        assert_eq!(bans.lift(&ban.node), Err(BanError::NotBanned));
        // The same lie, and others from before, are not held against it again.
        assert!(bans.convict(&lie, at(2), 1002).is_none());
        assert_eq!(bans.expire(2799), []);
        assert!(!bans.is_news(&ban.node));
        bans.expire(2800);
        assert!(bans.is_news(&ban.node));
        let again = bans.convict(&proof(1, 3000), at(3), 3000).cloned().unwrap();
        let end = 3000 + BAN_LIFE.as_secs();
        assert_eq!(bans.expire(end - 1), []);
        assert_eq!(bans.expire(end), [again]);
    }

    #[test]
    fn a_proof_is_told_once_per_connection_while_it_counts() {
        let mut bans = bans();
        let lie = proof(1, 1000);
        let node = lie.node();
        bans.convict(&lie, at(0), 1000).unwrap();
        let told = |bans: &mut Bans, conn, unix| bans.tell(&node, ConnId(conn), unix);
        assert_eq!(told(&mut bans, 1, 1001).as_deref(), Some(lie.records()));
        assert_eq!(told(&mut bans, 1, 1002), None);
        assert_eq!(told(&mut bans, 2, 1002).as_deref(), Some(lie.records()));
        bans.forget_connection(ConnId(1));
        assert!(told(&mut bans, 1, 1003).is_some());
        assert_eq!(told(&mut bans, 3, 2800), None);
        bans.lift(&node).unwrap();
        assert_eq!(told(&mut bans, 3, 1003), None);
        assert_eq!(bans.tell(&key(9), ConnId(1), 1003), None);
    }

    #[test]
    fn what_is_kept_from_before_is_checked() {
        let ban = |node, until, evidence| Ban {
            node,
            reason: BanReason::ByHand("\u{1b}[2J".repeat(300)),
            since: 1,
            until,
            evidence,
        };
        let kept = vec![
            ban(ME, None, vec![]),
            ban(key(1), Some(1000), vec![]),
            ban(key(2), Some(1001), vec![]),
            ban(key(3), None, vec![0; MAX_EVIDENCE_LEN + 1]),
        ];
        let bans = Bans::new(kept, ME, Duration::ZERO, 1000);
        let all = bans.all();
        assert_eq!(all.len(), 1);
        let reason = all[0].reason.to_string();
        assert!(
            all[0].node == key(2) && reason.len() == MAX_BAN_REASON && !reason.contains('\u{1b}')
        );
        let many = (0..200).map(|n| ban(key(n), None, vec![])).collect();
        assert_eq!(
            Bans::new(many, ME, Duration::ZERO, 0).by_hand(),
            MAX_BANS_BY_HAND
        );
    }
}
