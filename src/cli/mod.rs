//! The command line `masq`: asks the daemon over the control API, shows the
//! answer.
//!
//! Everything it can do goes through [`crate::control::Client`], but for
//! `wallet`, which works on the data folder. What it shows is in `view`, the
//! exit codes are in [`code`]. Answers go to standard output, everything else to
//! standard error.

pub mod code;

mod bans;
mod doctor;
mod money;
mod text;
mod view;
mod wallet;

use std::{ffi::OsString, io::Write, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::{
    config::{Environment, default_data_dir},
    control::{Client, ClientError, types::ShutdownView},
    datadir::DataDirError,
};

/// How often `shutdown` looks whether the daemon is gone (guess).
const GONE_INTERVAL: Duration = Duration::from_millis(100);
/// What a daemon may take beyond its drain time until it is gone (guess).
const GONE_GRACE: Duration = Duration::from_secs(10);

/// Looks at the MASQ daemon on this machine, and steers it.
#[derive(Debug, Parser)]
#[command(
    name = "masq",
    version,
    max_term_width = 100,
    after_help = "Start the daemon with `masqd`; `masqd --help` tells how.",
    after_long_help = "\
Examples:
  masq status
  masq doctor                              what is wrong, and what to do
  masq descriptor                          the line to give to a friend
  masq wallet generate                     make a wallet to pay with, and one to be paid
  masq financials --top 10                 what you owe and are owed
  masq route example.org                   what a gigabyte from there costs
  masq neighborhood-graph --dot | dot -Tsvg > graph.svg
  masq --data-dir /var/lib/masq status     a daemon with another data folder

Exit codes:
   0  done                                 73  a file in the data folder can't be used
   1  refused; a fault (doctor)            75  the daemon is busy, stopping or in the way
  64  arguments not understood             76  something else answers there
  66  there is no wallet                   77  the token or password is not accepted
  69  no daemon answers
"
)]
struct Line {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Common {
    /// Data folder of the daemon [default: $MASQ_DATA_DIR, or ~/.local/share/masq]
    #[arg(long, value_name = "FOLDER", global = true)]
    data_dir: Option<PathBuf>,
    /// Answer in JSON, for programs
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Is it working, and if not, why
    Status {
        /// Show the addresses of neighbours too
        #[arg(long)]
        addresses: bool,
    },
    /// The line by which others can join by this node
    Descriptor,
    /// What is wrong, and what to do about it; works without a daemon too
    Doctor,
    /// How joining the network goes, and what went wrong lately
    ConnectionStatus,
    /// The nodes around, what they do, and how they are linked
    #[command(visible_alias = "neighbourhood-graph")]
    NeighborhoodGraph {
        /// As a graph for Graphviz
        #[arg(long, conflicts_with = "json")]
        dot: bool,
    },
    /// Your circuits, hop by hop
    Circuits,
    /// What happens, as it happens; Ctrl-C ends it
    Events,
    /// What this node saw as a hop (chain dev with debug_trace only)
    Trace,
    /// Change a setting until the daemon stops
    Set {
        #[command(subcommand)]
        setting: SetCommand,
    },
    /// Nodes that yours has nothing to do with: who, why, and changing it
    Bans {
        #[command(subcommand)]
        command: bans::BansCommand,
    },
    /// What this node owes and is owed, hop by hop and payer by payer
    Financials(money::FinancialsArgs),
    /// Payments: how they stand, pausing them, paying now, answering a halt
    #[command(visible_alias = "pay")]
    Payments {
        #[command(subcommand)]
        command: money::PaymentsCommand,
    },
    /// Look at debts, or at the chain, now and not when it is time
    Scan {
        /// What to look at
        #[arg(value_enum, default_value = "all")]
        what: money::ScanArg,
    },
    /// Pay a hop in advance
    Prepay(money::PrepayArgs),
    /// Routes that a circuit to a host could take now, with what a gigabyte costs on each
    Route(money::RouteArgs),
    /// The settings that matter while it runs: hops, prices, thresholds, credit
    Settings,
    /// Wallets: make, bring back, show; no daemon may run meanwhile, but for show
    Wallet(wallet::WalletArgs),
    /// Stop the daemon, letting open flows finish for a while
    Shutdown {
        /// Don't wait for open flows
        #[arg(long)]
        now: bool,
        /// Return at once, without waiting until the daemon is gone
        #[arg(long)]
        no_wait: bool,
    },
}

#[derive(Debug, Subcommand)]
enum SetCommand {
    /// Hops of circuits built from now on
    Hops {
        /// 1 to 6, or a range such as 3-4
        #[arg(value_name = "NUMBER")]
        hops: String,
    },
}

/// What ends a command that did not work out.
#[derive(Debug)]
struct Failure {
    code: u8,
    what: String,
    hint: Option<String>,
}

impl Failure {
    fn new(code: u8, what: impl ToString, hint: impl Into<Option<String>>) -> Self {
        Self {
            code,
            what: what.to_string(),
            hint: hint.into(),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let (code, hint) = match &error {
            ClientError::NotRunning { .. } => (
                code::UNAVAILABLE,
                "Start it with `masqd`, or name its data folder with --data-dir.".to_owned(),
            ),
            ClientError::Unreachable { .. } => (
                code::UNAVAILABLE,
                "It may have crashed, or be stopping. Look at its log, and start it again."
                    .to_owned(),
            ),
            ClientError::WrongToken { .. } => (
                code::NO_PERMISSION,
                "Another daemon may have taken its port; restart the one of this folder."
                    .to_owned(),
            ),
            ClientError::Folder(error) => return Self::from_folder(error),
            ClientError::Refused {
                status: 503 | 504,
                body,
            } => {
                return Self::new(code::TEMPORARY, &body.error, body.hint.clone());
            }
            ClientError::Refused { body, .. } => {
                return Self::new(code::REFUSED, &body.error, body.hint.clone());
            }
            ClientError::Timeout { .. } => (
                code::TEMPORARY,
                "Look at its log; if it stays like this, restart it.".to_owned(),
            ),
            _ => (
                code::PROTOCOL,
                "Something else may listen there; restart the daemon.".to_owned(),
            ),
        };
        Self::new(code, error, hint)
    }
}

impl Failure {
    fn from_folder(error: &DataDirError) -> Self {
        let denied = match error {
            DataDirError::Exposed { .. } => true,
            DataDirError::File { source, .. } => {
                source.kind() == std::io::ErrorKind::PermissionDenied
            }
            _ => false,
        };
        let code = if denied {
            code::NO_PERMISSION
        } else {
            code::CANT_CREATE
        };
        Self::new(code, error, None)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        // `masq … | head` closes the pipe early, and that is fine.
        let code = if error.kind() == std::io::ErrorKind::BrokenPipe {
            code::OK
        } else {
            code::IO
        };
        Self::new(code, format!("the answer can't be written: {error}"), None)
    }
}

/// Runs `masq` with these arguments (the first is the program's name) and the
/// environment of the process, to its standard streams.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let code = run(
        arguments,
        &Environment::of_process(),
        &mut std::io::stdout(),
        &mut std::io::stderr(),
    );
    ExitCode::from(code)
}

/// As [`main`], with everything handed in. Returns the exit code.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let parsed = Line::command()
        .try_get_matches_from(arguments)
        .and_then(|matches| Line::from_arg_matches(&matches));
    let line = match parsed {
        Ok(line) => line,
        Err(error) if error.use_stderr() => {
            let _ = write!(err, "{}", error.render());
            return code::USAGE;
        }
        Err(help) => {
            let _ = write!(out, "{}", help.render());
            return code::OK;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(perform(&line, environment, out)),
        Err(error) => Err(Failure::new(code::SOFTWARE, error, None)),
    };
    match outcome.and_then(|code| Ok((code, out.flush()?))) {
        Ok((code, ())) => code,
        Err(failure) => {
            if failure.code != code::OK {
                let _ = writeln!(err, "masq: {}", text::clean(&failure.what));
                if let Some(hint) = &failure.hint {
                    let _ = writeln!(err, "      {}", text::clean(hint));
                }
            }
            failure.code
        }
    }
}

fn data_dir(line: &Line, environment: &Environment) -> Result<PathBuf, Failure> {
    line.common
        .data_dir
        .clone()
        .or_else(|| environment.get("MASQ_DATA_DIR").map(PathBuf::from))
        .or_else(|| default_data_dir(environment))
        .ok_or_else(|| {
            Failure::new(
                code::USAGE,
                "there is no home folder (HOME is not set) in which to look for the daemon",
                "Name its data folder with --data-dir.".to_owned(),
            )
        })
}

async fn perform(
    line: &Line,
    environment: &Environment,
    out: &mut dyn Write,
) -> Result<u8, Failure> {
    let mut answer = Answer {
        json: line.common.json,
        out,
    };
    if let Command::Bans { command } = &line.command
        && let Some(done) = bans::offline(command, &mut answer)
    {
        return done.map(|()| code::OK);
    }
    let folder = data_dir(line, environment)?;
    if matches!(line.command, Command::Doctor) {
        return doctor::perform(&folder, environment, &mut answer).await;
    }
    if let Command::Wallet(arguments) = &line.command {
        if wallet::ask_daemon(arguments, &folder, &mut answer).await? {
            return Ok(code::OK);
        }
        return wallet::perform(arguments, &folder, &mut answer).map(|()| code::OK);
    }
    let client = Client::of_folder(&folder)?;
    ask(&client, line, &mut answer).await?;
    Ok(code::OK)
}

async fn ask(client: &Client, line: &Line, answer: &mut Answer<'_>) -> Result<(), Failure> {
    match &line.command {
        // Handled before: they need no daemon.
        Command::Doctor | Command::Wallet(_) => Ok(()),
        Command::Status { addresses } => {
            answer.show(&client.status(*addresses).await?, view::status)
        }
        Command::Descriptor => {
            let view = client.descriptor().await?;
            if line.common.json {
                return answer.show(&view, |_| String::new());
            }
            let text = view::descriptor(&view).map_err(|reason| {
                Failure::new(code::REFUSED, "this node has no descriptor", reason)
            })?;
            answer.show(&view, |_| text)
        }
        Command::ConnectionStatus => {
            answer.show(&client.connection_status().await?, view::connection)
        }
        Command::NeighborhoodGraph { dot } => {
            let shown = if *dot { view::dot } else { view::graph };
            answer.show(&client.neighborhood_graph().await?, shown)
        }
        Command::Circuits => {
            let circuits = client.circuits().await?;
            let mode = match circuits.is_empty() {
                true => client.status(false).await?.mode,
                false => String::new(),
            };
            answer.show(&circuits, |all| view::circuits(all, &mode))
        }
        Command::Trace => answer.show(&client.trace().await?, view::trace),
        Command::Events => {
            let mut events = client.events().await?;
            while let Some(event) = events.next().await? {
                answer.line(&event, view::event)?;
            }
            Ok(())
        }
        Command::Set {
            setting: SetCommand::Hops { hops },
        } => {
            let settings = client.set_hops(hops).await?;
            answer.show(&settings, |settings| {
                let hops = text::clean(&settings.hops);
                let unit = if hops == "1" { "hop" } else { "hops" };
                let mut out = format!("Circuits built from now on have {hops} {unit}.\n");
                if let Some(why) = &settings.no_route {
                    out.push_str(&format!("None can be built now: {}.\n", text::clean(why)));
                }
                out
            })
        }
        Command::Bans { command } => bans::perform(command, client, answer).await,
        Command::Financials(arguments) => money::financials(arguments, client, answer).await,
        Command::Payments { command } => money::payments(command, client, answer).await,
        Command::Scan { what } => money::scan(*what, client, answer).await,
        Command::Prepay(arguments) => money::prepay(arguments, client, answer).await,
        Command::Route(arguments) => money::route(arguments, client, answer).await,
        Command::Settings => money::settings(client, answer).await,
        Command::Shutdown { now, no_wait } => {
            let reply = client.shutdown(*now).await?;
            if !no_wait {
                until_gone(client, &reply).await?;
            }
            answer.show(&reply, |_| {
                if *no_wait {
                    "The daemon is stopping.\n"
                } else {
                    "The daemon has stopped.\n"
                }
                .to_owned()
            })
        }
    }
}

/// Waits until nobody answers any more.
async fn until_gone(client: &Client, reply: &ShutdownView) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(reply.drain_seconds) + GONE_GRACE;
    while client.health().await.is_ok() {
        if Instant::now() >= deadline {
            return Err(Failure::new(
                code::TEMPORARY,
                "the daemon still answers",
                "Its log says what it waits for; `masq shutdown --now` does not wait.".to_owned(),
            ));
        }
        sleep(GONE_INTERVAL).await;
    }
    Ok(())
}

/// Where answers go, and in which form.
struct Answer<'a> {
    json: bool,
    out: &'a mut dyn Write,
}

impl Answer<'_> {
    fn show<T: Serialize>(
        &mut self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            let json = serde_json::to_string_pretty(value).expect("plain data becomes JSON");
            Ok(writeln!(self.out, "{json}")?)
        } else {
            Ok(self.out.write_all(text(value).as_bytes())?)
        }
    }

    /// One line of a stream, shown at once.
    fn line<T: Serialize>(
        &mut self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            let json = serde_json::to_string(value).expect("plain data becomes JSON");
            writeln!(self.out, "{json}")?;
        } else {
            self.out.write_all(text(value).as_bytes())?;
        }
        Ok(self.out.flush()?)
    }
}

#[cfg(test)]
mod tests;
