//! Judging: proofs of lies as they are found and as they arrive, and what a ban
//! does. A ban is local; what travels is the proof, which everybody checks alone.
//! The list of bans is in `bans`, what a proof is in `crate::proof`.

use std::sync::Arc;
use std::time::Duration;

use super::bans::{Ban, BanError, BanReason};
use super::conn::Phase;
use super::{ConnId, Machine, Now};
use crate::event::{DownReason, Event};
use crate::key::NodeKey;
use crate::proof::{Proof, ProofError};
use crate::record::{RecordError, SignedRecord};
use crate::wire::{Farewell, Message};

impl Machine {
    /// Bans a node by hand: its link ends, it is neither dialled nor accepted, and its records and
    /// cards are neither kept nor passed on. `life` is how long; `None` is until it is lifted.
    /// Nobody else is told.
    ///
    /// # Errors
    /// [`BanError`]; nothing has changed then.
    pub fn ban(
        &mut self,
        now: Now,
        node: NodeKey,
        reason: &str,
        life: Option<Duration>,
    ) -> Result<Ban, BanError> {
        self.now = now;
        if node == self.me {
            return Err(BanError::Oneself);
        }
        let ban = self.bans.add_by_hand(node, reason, life, now.unix)?.clone();
        self.impose(ban.clone());
        Ok(ban)
    }

    /// Lifts a ban. The node may come back by itself, or be dialled if it is in the book.
    ///
    /// # Errors
    /// [`BanError::NotBanned`].
    pub fn unban(&mut self, now: Now, node: &NodeKey) -> Result<Ban, BanError> {
        self.now = now;
        let ban = self.bans.lift(node)?;
        self.event(Event::Unbanned(*node));
        self.event(Event::Bans(self.bans.all()));
        self.timers.seek = self.timers.seek.min(now.mono);
        Ok(ban)
    }

    /// The bans, the oldest first.
    pub fn bans(&self) -> Vec<Ban> {
        self.bans.all()
    }

    pub(super) fn banned(&self, node: &NodeKey) -> bool {
        self.bans.holds(node)
    }

    /// Ends the bans whose time is over.
    pub(super) fn expire_bans(&mut self) {
        let over = self.bans.expire(self.now.unix);
        if over.is_empty() {
            return;
        }
        for ban in over {
            self.event(Event::Unbanned(ban.node));
        }
        self.event(Event::Bans(self.bans.all()));
    }

    /// Whether a lie of this node is held against it here. Keys cost nothing to invent, so the lies
    /// of nodes that nobody ever had to do with are nothing to write down.
    fn known(&self, node: &NodeKey) -> bool {
        self.engaged(node) || self.book.knows(node) || self.spread.store.saw(node)
    }

    /// A neighbour passes on a proof.
    pub(super) fn on_proof(&mut self, id: ConnId, records: &[Vec<u8>]) {
        let Some(node) = records.first().and_then(|r| SignedRecord::peek_node(r)) else {
            return self.close(id, DownReason::Misbehaved);
        };
        let about_me = node == self.me;
        let counts = about_me || (self.bans.is_news(&node) && self.known(&node));
        if !counts || !self.may_prove(id) {
            return;
        }
        match self.verify_proof(records) {
            Ok(_) if about_me => self.accused(),
            Ok(proof) => {
                self.convict(&proof, Some(id));
            }
            // Clocks differ, and proofs grow old on their way; this is nobody's fault.
            Err(ProofError::Time) => {}
            Err(error) => {
                tracing::debug!(%error, "a neighbour passed on what is no proof");
                self.close(id, DownReason::Misbehaved);
            }
        }
    }

    /// Takes from the bucket for proofs that one connection brings.
    fn may_prove(&mut self, id: ConnId) -> bool {
        let now = self.now.mono;
        let conn = self.conns.get_mut(&id);
        conn.is_some_and(|conn| conn.buckets.proofs.take(now))
    }

    fn verify_proof(&mut self, records: &[Vec<u8>]) -> Result<Proof, ProofError> {
        let proof = match records {
            [one, other] => {
                let one = self.verifier.verify(one)?;
                let other = self.verifier.verify(other)?;
                Proof::equivocation(&one, &other)?
            }
            _ => Proof::parse(records)?,
        };
        self.check_proof(&proof)?;
        Ok(proof)
    }

    fn check_proof(&self, proof: &Proof) -> Result<(), ProofError> {
        if proof.chain() != self.config.chain {
            return Err(RecordError::Chain.into());
        }
        proof.check_time(self.now.unix)
    }

    /// A connection brings a record that has the version of a held one and says something else.
    pub(super) fn on_conflict(
        &mut self,
        held: &SignedRecord,
        record: &SignedRecord,
        from: Option<ConnId>,
    ) {
        if self.known(&record.node()) && from.is_some_and(|from| self.may_prove(from)) {
            self.catch(Proof::equivocation(held, record));
        }
    }

    /// Whether the record that a node shows of itself gives it away as a liar.
    pub(super) fn caught_by(&mut self, record: &SignedRecord) -> bool {
        let held = self.spread.store.get(&record.node()).map(Arc::clone);
        let conflict = held.filter(|held| held.version == record.version);
        conflict.is_some_and(|held| self.catch(Proof::equivocation(&held, record)))
    }

    /// Bytes that were refused as a record for listing too many neighbours: it is a lie if they
    /// are signed.
    pub(super) fn suspect(&mut self, bytes: &[u8]) {
        let node = SignedRecord::peek_node(bytes);
        if node.is_some_and(|node| self.bans.is_news(&node) && self.known(&node)) {
            self.catch(Proof::over_cap(bytes));
        }
    }

    /// Acts on a proof that was found here; says whether it was one that counts.
    fn catch(&mut self, proof: Result<Proof, ProofError>) -> bool {
        proof.is_ok_and(|proof| self.check_proof(&proof).is_ok() && self.convict(&proof, None))
    }

    /// Bans the liar and passes the proof on: to all neighbours, when the liar is within the part
    /// that we tell of, else to those that told us of it. As with records, what we say of others
    /// shows nobody our entry links.
    fn convict(&mut self, proof: &Proof, from: Option<ConnId>) -> bool {
        let node = proof.node();
        let store = &self.spread.store;
        let slot = store.slot(&node);
        let tell_all = slot.is_some_and(|slot| store.told(slot).is_some());
        let told_us = slot.and_then(|slot| store.at(slot));
        let told_us = told_us.map(|stored| stored.heard.clone());
        let told_us = told_us.unwrap_or_default();
        let Some(ban) = self.bans.convict(proof, self.now.mono, self.now.unix) else {
            return false;
        };
        let ban = ban.clone();
        if let Some(from) = from {
            self.bans.tell(&node, from, self.now.unix);
        }
        let others = self.links.iter().filter(|(peer, _)| **peer != node);
        let others: Vec<ConnId> = others.map(|(_, id)| *id).collect();
        for id in others {
            if tell_all || told_us.contains(&id) {
                self.tell_proof(&node, id);
            }
        }
        self.impose(ban);
        true
    }

    /// Tells a neighbour why a node is banned, once, if that is for a lie that still counts. Whoever
    /// speaks of it holds its record, and was not there when the proof went round.
    pub(super) fn tell_proof(&mut self, node: &NodeKey, id: ConnId) {
        if let Some(records) = self.bans.tell(node, id, self.now.unix) {
            self.send(id, Message::Proof(records));
        }
    }

    /// What a banned node is told besides the reason of the refusal. What an operator noted is for
    /// that operator.
    pub(super) fn ban_text(&self, node: &NodeKey) -> Option<String> {
        let ban = self.bans.get(node)?;
        matches!(ban.reason, BanReason::Lied(_)).then(|| ban.reason.to_string())
    }

    /// Somebody shows two records of our own with one version. Nobody but the holder of our key can
    /// have signed them.
    pub(super) fn accused(&mut self) {
        if !std::mem::replace(&mut self.accused, true) {
            self.event(Event::Accused);
        }
    }

    fn impose(&mut self, ban: Ban) {
        self.cut_off(&ban.node);
        self.event(Event::Banned(ban));
        self.event(Event::Bans(self.bans.all()));
    }

    /// Has nothing more to do with a node. Guests may stay to be told why they are refused.
    fn cut_off(&mut self, node: &NodeKey) {
        self.dials.remove(node);
        self.intro.dismiss(node);
        let conns = self.conns.iter().filter(|(_, conn)| conn.peer == *node);
        let conns: Vec<ConnId> = conns.map(|(id, _)| *id).collect();
        for id in conns {
            let Some(conn) = self.conns.get_mut(&id) else {
                continue;
            };
            match &mut conn.phase {
                Phase::Guest { .. } => continue,
                Phase::Link(_) => self.send(id, Message::Goodbye(Farewell::Leaving)),
                // Not a failed attempt: we don't want it any more.
                phase => {
                    *phase = Phase::Waiting {
                        until: self.now.mono,
                    }
                }
            }
            self.close(id, DownReason::Banned);
        }
        self.spread.store.remove(node);
        self.spread.topology_changed(self.now.mono);
        self.seek_soon();
    }
}

#[cfg(test)]
mod tests;
