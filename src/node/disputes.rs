//! Hops that claim more than they carried: what routing and the operator's bans make of it.

use std::time::Duration;

use masq_gossip::NodeKey;
use tokio::sync::mpsc;

use super::bans::BanCommand;
use super::routes::Routes;
use super::swarm::Command;
use crate::billing::Disputed;
use crate::routing::Dispute;

/// How long a hop that goes on claiming too much is banned: as one that lied to gossip.
pub(crate) const DROPPED_FOR: Duration = masq_gossip::BAN_LIFE;

/// The reason of such a ban. It is in the store, and tells these bans from those by hand.
pub(crate) const OVERCHARGED: &str =
    "claimed, time and again, to have carried more than this node counted";

/// Has disputed hops avoided, and in the end banned.
pub(crate) struct Avoid {
    pub(crate) routes: Routes,
    /// Weak, because the loop has billing and so this.
    pub(crate) commands: mpsc::WeakSender<Command>,
}

impl Avoid {
    fn act(&self, hop: masq_cores::NodeKey, dispute: Dispute) {
        if dispute == Dispute::Dropped
            && let Some(commands) = self.commands.upgrade()
        {
            let drop = BanCommand::Overcharged(NodeKey::from(hop.0));
            // Where the loop is too busy to hear of it, the hop's next claim is told again.
            let _ = commands.try_send(Command::Bans(drop));
        }
    }
}

impl Disputed for Avoid {
    fn disputed(&self, hop: masq_cores::NodeKey) -> Dispute {
        let dispute = self.routes.disputed(hop);
        self.act(hop, dispute);
        dispute
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::routes::testing::routes;

    #[test]
    fn s28_a_disputed_hop_is_avoided_and_banned_only_when_it_goes_on() {
        let (commands, mut queue) = mpsc::channel(4);
        let routes = routes();
        let avoid = Avoid {
            routes: routes.clone(),
            commands: commands.downgrade(),
        };
        let hop = masq_cores::NodeKey([3; 32]);
        assert!(matches!(avoid.disputed(hop), Dispute::Avoided(_)));
        let score = routes.score(&hop.0).unwrap();
        assert!(score.avoided && score.disputed.is_some());
        assert!(queue.try_recv().is_err());
        avoid.act(hop, Dispute::Dropped);
        let told = queue.try_recv();
        assert!(matches!(
            told,
            Ok(Command::Bans(BanCommand::Overcharged(node))) if node.0 == hop.0
        ));
        drop(commands);
        avoid.act(hop, Dispute::Dropped);
    }
}
