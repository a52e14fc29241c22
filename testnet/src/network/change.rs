//! Changing a running testnet: nodes that crash, stop and come back. Starting and
//! ending the whole of it is in the parent module.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::{RunningNode, STOP_GRACE, Testnet};
use crate::error::TestnetError;
use crate::money::NodeWallets;
use crate::plan::{NodePlan, Role};

/// How long the system may take to clear a killed process away.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// A node of the testnet that does not run now. Its folder is still there.
#[derive(Debug)]
pub struct DownNode {
    plan: NodePlan,
    killed: bool,
}

impl DownNode {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// Its role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.plan.role
    }

    /// Its node key, as the control API writes it.
    #[must_use]
    pub fn key(&self) -> String {
        self.plan.identity.name()
    }

    /// Whether it was killed, or had to be because it did not stop when asked.
    #[must_use]
    pub fn was_killed(&self) -> bool {
        self.killed
    }

    /// How many of its own circuits did not end in good order while it last ran: both sides of such
    /// a circuit may have counted differently. Where there is money, the client's log says so; of
    /// other nodes this is 0.
    #[must_use]
    pub fn broken_circuits(&self) -> u32 {
        let log = fs::read(self.plan.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let broken = |line: &&str| line.contains("own circuit is over") && line.contains("=false");
        u32::try_from(log.lines().filter(broken).count()).unwrap_or(u32::MAX)
    }

    /// Its data folder.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.plan.data_dir()
    }

    /// Its wallets, where there is money.
    #[must_use]
    pub fn wallets(&self) -> Option<NodeWallets> {
        self.plan.wallets
    }

    /// Takes the nodes to join by out of its configuration: it has to find back by what
    /// it remembers.
    ///
    /// # Errors
    /// When the configuration cannot be written.
    pub fn forget_seeds(&mut self) -> Result<(), TestnetError> {
        self.plan.settings.remove("neighbours");
        let config = self.plan.config();
        let text = toml::to_string(&self.plan.settings).expect("a table of plain values");
        fs::write(&config, text).map_err(TestnetError::file("cannot write", config))
    }
}

impl Testnet {
    /// The node of that name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&RunningNode> {
        self.nodes.iter().find(|n| n.name() == name)
    }

    /// Nodes that run and in which something panicked, as their logs say.
    #[must_use]
    pub fn panicked(&self) -> Vec<String> {
        let nodes = self.nodes.iter().filter(|node| node.has_panicked());
        nodes.map(|node| node.name().to_owned()).collect()
    }

    fn take_out(&mut self, names: &[String]) -> Vec<RunningNode> {
        let (out, stay) = std::mem::take(&mut self.nodes)
            .into_iter()
            .partition(|n| names.iter().any(|name| name == n.name()));
        self.nodes = stay;
        out
    }

    /// Kills these nodes at once (SIGKILL): they can say no goodbye. Names that are not
    /// there are passed over.
    pub async fn kill(&mut self, names: &[String]) -> Vec<DownNode> {
        let killed = self.take_out(names);
        for node in &killed {
            node.process().kill();
        }
        let mut down = Vec::new();
        for mut node in killed {
            // Reaped, and not only a zombie: its threads hold the data folder a little longer.
            let _ = tokio::time::timeout(GONE_WITHIN, node.process.wait()).await;
            down.push(DownNode {
                plan: node.plan,
                killed: true,
            });
        }
        down
    }

    /// Stops one node in order; `None` when there is none of that name.
    pub async fn stop(&mut self, name: &str) -> Option<DownNode> {
        let node = self.take_out(&[name.to_owned()]).pop()?;
        let RunningNode { plan, process, .. } = node;
        let killed = process.stop(STOP_GRACE).await.is_none();
        Some(DownNode { plan, killed })
    }

    /// Starts one more node, a relay that joins by the node of this descriptor. Its address
    /// has this last byte, which should be above the number of nodes.
    ///
    /// # Errors
    /// When its files cannot be made or the process not be started.
    pub fn add(&mut self, name: &str, last_byte: u8, join: &str) -> Result<(), TestnetError> {
        let [a, b, c, _] = self.client().ip().octets();
        let ip = Ipv4Addr::new(a, b, c, last_byte);
        let plan = NodePlan::extra(&self.options, name, ip, &self.dir, join);
        plan.write()?;
        let node = self.spawn(plan)?;
        self.nodes.push(node);
        Ok(())
    }

    /// Starts a node again, with what its folder holds. Its log so far is kept beside
    /// the new one.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start_again(&mut self, node: DownNode) -> Result<(), TestnetError> {
        let log = node.plan.log();
        // Nothing to keep when it never wrote one.
        let _ = fs::rename(&log, log.with_extension("log.before"));
        // What a killed node left there must not be taken for the new one's.
        let _ = fs::remove_file(node.plan.data_dir().join("control.json"));
        let node = self.spawn(node.plan)?;
        self.nodes.push(node);
        self.nodes.sort_by(|a, b| a.plan.name.cmp(&b.plan.name));
        Ok(())
    }
}
