//! Checks across settings: what each value allows, but the whole does not.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use super::{Chain, Config, MappingProtocol, Mode, Origin, Problem, modes};

/// Collects problems and warnings with the origin of the setting at fault.
pub(super) struct Findings<'a> {
    origins: &'a BTreeMap<&'static str, Origin>,
    problems: &'a mut Vec<Problem>,
    warnings: &'a mut Vec<Problem>,
}

impl Findings<'_> {
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.origins.contains_key(key)
    }

    fn about(&self, key: &str, what: &str, remedy: &str) -> Problem {
        Problem {
            setting: key.into(),
            origin: self.origins.get(key).cloned().unwrap_or(Origin::Default),
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// Not where the setting's own value could not be read: what follows from that is no second
    /// fault.
    pub(super) fn problem(&mut self, key: &str, what: &str, remedy: &str) {
        if self.problems.iter().any(|known| known.setting == key) {
            return;
        }
        let problem = self.about(key, what, remedy);
        self.problems.push(problem);
    }

    pub(super) fn warning(&mut self, key: &str, what: &str, remedy: &str) {
        let warning = self.about(key, what, remedy);
        self.warnings.push(warning);
    }
}

/// Checks the whole, and brings settings that a mode rules out into line.
pub(super) fn across(
    config: &mut Config,
    origins: &BTreeMap<&'static str, Origin>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) {
    let mut findings = Findings {
        origins,
        problems,
        warnings,
    };
    mode(config, &mut findings);
    modes::check(config, &mut findings);
    mesh(config, &mut findings);
    listeners(config, &mut findings);
    exit(config, &mut findings);
    if config.password_file.is_some() && config.key_file.is_some() {
        findings.problem(
            "key_file",
            "The data folder has a password (password_file) or a key file, not both.",
            "Leave one of the two out.",
        );
    }
    if config.debug_trace && config.chain != Chain::Dev {
        findings.problem(
            "debug_trace",
            "It works on chain dev only: it would record traffic of others.",
            "Leave it out, or set chain to \"dev\".",
        );
    }
}

fn mode(config: &mut Config, findings: &mut Findings<'_>) {
    if config.exit && matches!(config.mode, Mode::ConsumeOnly | Mode::ZeroHop) {
        let what = format!("A node in mode {} carries nothing for others.", config.mode);
        findings.problem(
            "exit",
            &what,
            "Leave exit out, or set mode to \"standard\" or \"serve-only\".",
        );
    }
    if !config.mode.originates() {
        for (key, listener) in [("socks", &mut config.socks), ("http", &mut config.http)] {
            if findings.is_set(key) && listener.is_some() {
                findings.problem(
                    key,
                    "A serve-only node has no proxies of its own.",
                    "Leave it out, or set mode to \"standard\".",
                );
            }
            *listener = None;
        }
    }
    if !config.mode.accepts_connections() {
        if findings.is_set("listen") && !config.listen.is_empty() {
            let what = format!("A node in mode {} accepts no connections.", config.mode);
            findings.warning("listen", &what, "It has no effect; leave it out.");
        }
        config.listen.clear();
    } else if config.listen.is_empty() {
        findings.problem(
            "listen",
            "There is no address to accept connections on.",
            if config.mode == Mode::ServeOnly {
                "Give one: others come to a serve-only node by it."
            } else {
                "Give one, or set mode to \"originate-only\"."
            },
        );
    }
    if config.mode == Mode::ZeroHop {
        findings.warning(
            "mode",
            "In mode zero-hop nothing is private: servers see this machine's address.",
            "It is for trying things only.",
        );
    }
}

fn mesh(config: &Config, findings: &mut Findings<'_>) {
    for (index, descriptor) in config.neighbours.iter().enumerate() {
        let chain = descriptor.chain;
        if chain != config.chain {
            let what = format!(
                "Descriptor {} is of chain {chain}, and this node is on {}.",
                index + 1,
                config.chain
            );
            let remedy = format!(
                "Get a descriptor of {}, or set chain to \"{chain}\".",
                config.chain
            );
            findings.problem("neighbours", &what, &remedy);
        }
    }
    if config.mode.accepts_connections() && config.chain != Chain::Dev {
        let public = |address: &SocketAddr| !address.ip().is_loopback();
        if !config.listen.iter().any(public) && !config.listen.is_empty() {
            findings.warning(
                "listen",
                "Only loopback addresses: no other machine can connect.",
                if config.mode == Mode::ServeOnly {
                    "Listen on 0.0.0.0:6277."
                } else {
                    "Listen on 0.0.0.0:6277, or set mode to \"originate-only\"."
                },
            );
        } else if config.advertise.is_none()
            && config.mapping_protocol == MappingProtocol::Off
            && config
                .listen
                .iter()
                .all(|address| address.ip().is_unspecified())
        {
            findings.warning(
                "advertise",
                "This node has no descriptor unless this machine's own address is a public one.",
                "Set advertise if you want to tell others of this node, or mapping_protocol to \
                 \"auto\" if a router at home can be asked.",
            );
        }
    }
}

fn listeners(config: &Config, findings: &mut Findings<'_>) {
    for (key, listener) in [("socks", config.socks), ("http", config.http)] {
        if let Some(address) = listener
            && !address.ip().is_loopback()
            && !config.allow_remote_clients
        {
            let what =
                format!("Everybody who can reach {address} could use the mesh in your name.");
            findings.problem(
                key,
                &what,
                "Use 127.0.0.1, or set allow_remote_clients = true if that is what you want.",
            );
        }
    }
    if !config.control.ip().is_loopback() && !config.allow_remote_control {
        let what = format!(
            "The control API would be reachable from outside on {}.",
            config.control
        );
        findings.problem(
            "control",
            &what,
            "Use 127.0.0.1, or set allow_remote_control = true if that is what you want.",
        );
    }
    let mut taken = BTreeSet::new();
    let uses = config
        .listen
        .iter()
        .map(|address| ("listen", *address))
        .chain(config.socks.map(|address| ("socks", address)))
        .chain(config.http.map(|address| ("http", address)))
        .chain([("control", config.control)]);
    for (key, address) in uses {
        if address.port() != 0 && !taken.insert(address) {
            let what = format!("{address} is used twice.");
            findings.problem(key, &what, "Give each listener a port of its own.");
        }
    }
}

fn exit(config: &Config, findings: &mut Findings<'_>) {
    // In mode zero-hop the proxies go straight out under the same rules.
    if config.exit || config.mode == Mode::ZeroHop {
        return;
    }
    for key in ["exit_policy", "allow_private", "dns_servers"] {
        if findings.is_set(key) {
            findings.warning(
                key,
                "This node is not an exit.",
                "It has no effect; set exit = true if it should be one.",
            );
        }
    }
}
