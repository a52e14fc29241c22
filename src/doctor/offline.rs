//! What can be said of a node that does not run: whether it could. The
//! configuration is read as `masqd` would read it with that data folder.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::look::{self, Busy, Files, Folder};
use super::{Check, Finding, Report, judge};
use crate::config::{self, Config, ConfigError, Environment};
use crate::exit::{HickoryResolver, Resolve, ResolveError};
use crate::safe::Kept;
use crate::wallet::WalletError;

/// A name that exists for ever (RFC 2606), to see whether names can be resolved at all.
const NAME: &str = "example.com.";
/// How long that may take (guess: half of what a flow would wait).
const RESOLVE_TIME: Duration = Duration::from_secs(4);

/// Why nobody can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Silence {
    /// No daemon has announced itself.
    NotRunning,
    /// One has, and does not answer.
    Dead,
}

/// Looks at this machine with the eyes of a daemon that would be started now.
pub async fn report(folder: &Path, environment: &Environment, silence: &Silence) -> Report {
    let mut findings = vec![
        daemon(folder, silence),
        judge::folder(&Folder::look(folder)),
    ];
    findings.extend(Files::of_a_daemon().map(judge::files));
    let arguments = ["masqd".into(), "--data-dir".into(), OsString::from(folder)];
    match config::load(arguments, environment) {
        Ok(loaded) => {
            let warnings = loaded.warnings.iter().map(|problem| {
                let what = format!("{}: {}", problem.setting, problem.what);
                Finding::warning(Check::Configuration, what, problem.remedy.clone())
            });
            findings.extend(warnings);
            findings.push(Finding::ok(
                Check::Configuration,
                "The configuration in file and environment can be used. Arguments of `masqd` are \
                 not known here.",
            ));
            match crate::safe::look(&loaded.config, folder) {
                Ok(kept) => {
                    findings.extend(wallets(&loaded.config, kept));
                    findings.push(neighbours(&loaded.config, folder));
                }
                Err(error) => findings.push(closed(&error)),
            }
            findings.extend(ports(&look::busy(&loaded.config)));
            findings.extend(names(&loaded.config).await);
        }
        Err(ConfigError::Invalid(problems)) => {
            findings.extend(problems.iter().map(|problem| {
                let setting = match problem.setting.as_str() {
                    "" => String::new(),
                    setting => format!("{setting}, "),
                };
                let what = format!("{setting}{}: {}", problem.origin, problem.what);
                Finding::fault(Check::Configuration, what, problem.remedy.clone())
            }));
        }
        Err(error) => findings.push(Finding::fault(
            Check::Configuration,
            format!("The configuration can't be read: {error}"),
            "Try `masqd --check-config`.",
        )),
    }
    Report::new(false, findings)
}

pub(super) fn daemon(folder: &Path, silence: &Silence) -> Finding {
    let folder = folder.display();
    match silence {
        Silence::NotRunning => Finding::fault(
            Check::Daemon,
            format!("No daemon runs with the data folder {folder}."),
            "Start it with `masqd`, or name the folder of the one you mean with --data-dir.",
        ),
        Silence::Dead => Finding::fault(
            Check::Daemon,
            format!("The daemon of {folder} does not answer: it has crashed, or is stopping."),
            "Look at its log, and start it again.",
        ),
    }
}

/// Wallets that a daemon would ask for and not find.
pub(super) fn wallets(config: &Config, kept: Option<Kept>) -> Vec<Finding> {
    let Some(kept) = kept else { return Vec::new() };
    let mut findings = Vec::new();
    if config.pays() && !kept.consuming {
        findings.push(Finding::fault(
            Check::ConsumingWallet,
            "There is no wallet to pay with, and payments are on: `masqd` does not start.",
            "Make one with `masq wallet generate`, bring one back with `masq wallet recover`, or \
             set payments = false.",
        ));
    }
    if config.earns() && !kept.earning {
        findings.push(Finding::fault(
            Check::EarningWallet,
            "There is no wallet to be paid at, and payments are on: `masqd` does not start.",
            "Set `earning_wallet`, or type: masq wallet set-earning ADDRESS",
        ));
    }
    findings
}

/// What a daemon could not open either.
fn closed(error: &WalletError) -> Finding {
    let text = error.to_string();
    Finding::fault(
        Check::DataFolder,
        format!(
            "What is kept in the data folder can't be opened: {}.",
            text.trim_end_matches('.')
        ),
        "Until that is done, `masqd` does not start.",
    )
}

fn neighbours(config: &Config, folder: &Path) -> Finding {
    let remembered = match crate::safe::peek(config, folder) {
        Ok(remembered) => remembered,
        Err(error) => return closed(&error),
    };
    let known = config.neighbours.len() + remembered.map_or(0, |state| state.neighbours.len());
    if !config.mode.joins() {
        return Finding::ok(Check::Neighbours, "In mode zero-hop none are needed.");
    }
    let remedy = "Get a descriptor from somebody who runs a node (they type: masq descriptor), and \
                  put it into the setting `neighbours`.";
    match known {
        0 if config.mode.accepts_connections() => Finding::warning(
            Check::Neighbours,
            "No descriptor is configured and no past neighbour remembered: the node would have \
             nobody to ask, and could only wait for others to come.",
            remedy,
        ),
        0 => Finding::fault(
            Check::Neighbours,
            format!(
                "No descriptor is configured and no past neighbour remembered: a node in mode {} \
                 does not start without.",
                config.mode
            ),
            remedy,
        ),
        1 => Finding::ok(Check::Neighbours, "1 node is known to join by."),
        known => Finding::ok(
            Check::Neighbours,
            format!("{known} nodes are known to join by."),
        ),
    }
}

pub(super) fn ports(busy: &[Busy]) -> Vec<Finding> {
    if busy.is_empty() {
        return vec![Finding::ok(
            Check::Ports,
            "All addresses to listen on are free.",
        )];
    }
    let finding = |busy: &Busy| {
        let Busy {
            setting,
            address,
            error,
        } = busy;
        let (what, remedy) = match error.kind() {
            ErrorKind::AddrInUse => (
                format!("Another program listens on {address} ({setting})."),
                format!("Stop it, maybe another masqd; or set `{setting}` to another port."),
            ),
            ErrorKind::AddrNotAvailable => (
                format!("This machine does not have the address {address} ({setting})."),
                format!("Correct `{setting}`."),
            ),
            ErrorKind::PermissionDenied => (
                format!("{address} ({setting}) needs privileges: its port is below 1024."),
                format!("Set `{setting}` to a port from 1024 on."),
            ),
            _ => (
                format!("{address} ({setting}) can't be listened on: {error}."),
                format!("Set `{setting}` to another address."),
            ),
        };
        Finding::fault(Check::Ports, what, remedy)
    };
    busy.iter().map(finding).collect()
}

async fn names(config: &Config) -> Option<Finding> {
    if !config.exit && config.mode.joins() {
        return None;
    }
    let outcome = match HickoryResolver::new(&config.dns_servers) {
        Ok(resolver) => resolve(Arc::new(resolver)).await,
        Err(error) => Err(error.to_string()),
    };
    Some(judge::resolver(&outcome))
}

/// Whether names can be resolved: how long it took, or why not. A name that does not exist is an
/// answer too.
pub(crate) async fn resolve(resolver: Arc<dyn Resolve>) -> Result<Duration, String> {
    let begin = Instant::now();
    let answer = tokio::time::timeout(RESOLVE_TIME, resolver.lookup(NAME)).await;
    match answer {
        Ok(Ok(_) | Err(ResolveError::NotFound)) => Ok(begin.elapsed()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(ResolveError::TimedOut.to_string()),
    }
}
