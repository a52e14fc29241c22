//! The daemon `masqd` from its arguments to its exit code: configuration, log,
//! data folder and what is sealed in it, runtime, signals, control API, and the node in the middle.
//!
//! The node itself is `crate::node`; this file starts it, stops it, and turns
//! what goes wrong into a sentence and a code.

use std::{
    ffi::OsString,
    io::{ErrorKind, Write},
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

pub use stop::Stop;

use crate::{
    cli::code,
    config::{self, Action, Config, ConfigError, Environment, Loaded},
    control::{self, NodeApi, ServerError, types::ControlFile},
    datadir::{DataDir, DataDirError},
    entry::EntryError,
    safe::Safe,
    telemetry,
    wallet::WalletError,
};

mod stop;

/// What a stop may take beyond the drain time before the daemon gives up
/// waiting and ends anyway (guess).
const STOP_GRACE: Duration = Duration::from_secs(5);
/// What tasks get to end once everything is said and done (guess).
const RUNTIME_GRACE: Duration = Duration::from_millis(500);

/// What a node is started with.
#[derive(Debug)]
#[non_exhaustive]
pub struct Start {
    /// The checked configuration.
    pub config: Arc<Config>,
    /// The data folder, open and locked.
    pub data: Arc<DataDir>,
    /// What is sealed in it: the node's memory, wallets, stores.
    pub safe: Safe,
    /// When to stop. [`NodeApi::shutdown`] should set it off as well.
    pub stop: Stop,
}

impl Start {
    /// A start with this configuration and data folder, which ends with `stop`. Opens what is
    /// sealed in the folder, and makes it in a new one; blocks as [`Safe::open`] does.
    ///
    /// # Errors
    /// [`StartError::Safe`].
    pub fn open(config: Config, data: DataDir, stop: Stop) -> Result<Self, StartError> {
        Ok(Self {
            safe: Safe::open(&config, &data)?,
            config: Arc::new(config),
            data: Arc::new(data),
            stop,
        })
    }
}

/// A node that runs: the proxies are bound, joining has begun.
#[non_exhaustive]
pub struct RunningNode {
    /// What answers the control API.
    pub api: Arc<dyn NodeApi>,
    /// Ready when the node has stopped: after [`Stop`] was set off, or because
    /// it can't go on.
    pub finished: BoxFuture<'static, Result<(), StartError>>,
}

impl RunningNode {
    /// A node that runs.
    pub fn new(
        api: Arc<dyn NodeApi>,
        finished: impl Future<Output = Result<(), StartError>> + Send + 'static,
    ) -> Self {
        Self {
            api,
            finished: Box::pin(finished),
        }
    }
}

/// Why a daemon can't start, or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address can't be listened on.
    #[error(
        "{setting} can't listen on {address}: {source}. {}",
        remedy(source, setting)
    )]
    Listen {
        /// The setting that names the address: `listen`, `socks`, `http`,
        /// `control`.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Settings that turn out to be unusable only now.
    #[error("{setting}: {what} {remedy}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// What is wrong: a sentence.
        what: String,
        /// What to do: a sentence.
        remedy: String,
    },
    /// The data folder.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The books can't be read or written.
    #[error("{0}. Nothing more is served or used until they can")]
    Books(String),
    /// What is sealed in the data folder: the password, a store, or a wallet.
    #[error(transparent)]
    Safe(#[from] WalletError),
    /// Something that should not happen.
    #[error("{0}. This is a bug; please report it")]
    Internal(String),
}

impl StartError {
    /// The exit code for it; see [`code`].
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Listen { .. } => code::UNAVAILABLE,
            Self::Setting { .. } => code::CONFIG,
            Self::DataDir(DataDirError::InUse { .. }) => code::TEMPORARY,
            Self::DataDir(DataDirError::Exposed { .. }) => code::NO_PERMISSION,
            Self::DataDir(_) => code::CANT_CREATE,
            Self::Books(_) => code::CANT_CREATE,
            // What `masq wallet` refuses comes from a setting here.
            Self::Safe(error) => match error.exit_code() {
                code::REFUSED => code::CONFIG,
                other => other,
            },
            Self::Internal(_) => code::SOFTWARE,
        }
    }
}

impl From<ServerError> for StartError {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Bind { address, source } => Self::Listen {
                setting: "control",
                address,
                source,
            },
        }
    }
}

impl From<EntryError> for StartError {
    fn from(error: EntryError) -> Self {
        let (setting, address, source) = match error {
            EntryError::InUse { setting, address } => {
                (setting, address, ErrorKind::AddrInUse.into())
            }
            EntryError::NotAllowed { setting, address } => {
                (setting, address, ErrorKind::PermissionDenied.into())
            }
            EntryError::Bind {
                setting,
                address,
                source,
            } => (setting, address, source),
        };
        Self::Listen {
            setting,
            address,
            source,
        }
    }
}

/// What to do when an address can't be listened on.
fn remedy(error: &std::io::Error, setting: &str) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => format!(
            "Another program uses that port, maybe another masqd. Stop it, or set {setting} to \
             another port"
        ),
        ErrorKind::AddrNotAvailable => {
            format!("This machine does not have that address. Correct {setting}")
        }
        ErrorKind::PermissionDenied => {
            format!("Ports below 1024 need privileges. Set {setting} to a higher one")
        }
        _ => format!("Set {setting} to another address"),
    }
}

/// Runs `masqd` with these arguments (the first is the program's name), the
/// environment of the process and its standard streams. Returns when the node
/// has stopped.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    ExitCode::from(main_with(
        arguments,
        &Environment::of_process(),
        crate::node::start,
        &mut std::io::stdout(),
        &mut std::io::stderr(),
    ))
}

/// As [`main`], with the surroundings and the node handed in.
fn main_with<F, Fut>(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
    start: F,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8
where
    F: FnOnce(Start) -> Fut,
    Fut: Future<Output = Result<RunningNode, StartError>>,
{
    let loaded = match config::load(arguments, environment) {
        Ok(loaded) => loaded,
        Err(ConfigError::Arguments(error)) if error.use_stderr() => {
            let _ = write!(err, "{}", error.render());
            return code::USAGE;
        }
        Err(ConfigError::Arguments(help)) => {
            let _ = write!(out, "{}", help.render());
            return code::OK;
        }
        Err(ConfigError::Invalid(problems)) => {
            let _ = writeln!(err, "masqd: {problems}");
            return code::CONFIG;
        }
    };
    match loaded.action {
        Action::Print => {
            let _ = write!(out, "{}", loaded.to_toml());
            warn(&loaded, err);
            code::OK
        }
        Action::Check => {
            warn(&loaded, err);
            let config = &loaded.config;
            let kept = crate::safe::look(config, &config.data_dir);
            if let Err(error) = kept.and_then(|kept| kept.map_or(Ok(()), |kept| kept.check(config)))
            {
                let text = error.to_string();
                let text = text.trim_end_matches('.');
                let _ = writeln!(
                    err,
                    "masqd: the configuration can be used, and masqd would not start: {text}."
                );
                return error.exit_code();
            }
            let _ = writeln!(out, "The configuration can be used.");
            code::OK
        }
        Action::Run => match run(&loaded, start) {
            Ok(()) => code::OK,
            Err(error) => {
                let text = error.to_string();
                let _ = writeln!(err, "masqd: {}.", text.trim_end_matches('.'));
                error.exit_code()
            }
        },
    }
}

/// Writes warnings about the configuration; a running daemon logs them.
fn warn(loaded: &Loaded, err: &mut dyn Write) {
    for warning in &loaded.warnings {
        let _ = writeln!(err, "masqd: warning: {warning}\n");
    }
}

fn run<F, Fut>(loaded: &Loaded, start: F) -> Result<(), StartError>
where
    F: FnOnce(Start) -> Fut,
    Fut: Future<Output = Result<RunningNode, StartError>>,
{
    let config = Arc::new(loaded.config.clone());
    telemetry::init(&config.log, config.log_format);
    for warning in &loaded.warnings {
        let (setting, origin) = (&warning.setting, &warning.origin);
        tracing::warn!(%setting, %origin, "{} {}", warning.what, warning.remedy);
    }
    raise_file_limit();
    let data = Arc::new(DataDir::open(&config.data_dir)?);
    let safe = Safe::open(&config, &data)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.threads.into())
        .thread_name("masqd")
        .enable_all()
        .build()
        .map_err(|error| StartError::Internal(format!("the runtime does not start: {error}")))?;
    let stop = Stop::new();
    let outcome = runtime.block_on(async {
        stop::on_signals(&stop)
            .map_err(|error| StartError::Internal(format!("signals can't be caught: {error}")))?;
        if loaded.exit_with_stdin {
            stop::on_closed_stdin(&stop);
        }
        let node = Start {
            config,
            data: Arc::clone(&data),
            safe,
            stop,
        };
        live(node, start).await
    });
    data.withdraw_control();
    runtime.shutdown_timeout(RUNTIME_GRACE);
    outcome
}

/// Takes as many open files as the system allows: each flow is one, and the usual soft limit of
/// 1,024 is less than a busy proxy needs.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files can't be raised; many flows at once may fail");
    }
}

/// The node's life: starts it, serves the control API, waits for the end.
async fn live<F, Fut>(node: Start, start: F) -> Result<(), StartError>
where
    F: FnOnce(Start) -> Fut,
    Fut: Future<Output = Result<RunningNode, StartError>>,
{
    let (config, data, stop) = (
        Arc::clone(&node.config),
        Arc::clone(&node.data),
        node.stop.clone(),
    );
    let server = control::Server::bind(config.control).await?;
    let announcement = ControlFile {
        address: server.address(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let token = data.control_token()?;
    let node = start(node).await?;
    data.announce_control(&announcement)?;
    let closing = CancellationToken::new();
    let serving = tokio::spawn(server.serve(token, Arc::clone(&node.api), closing.clone()));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), chain = %config.chain, mode = %config.mode, "running");

    let outcome = tokio::select! {
        finished = node.finished => finished,
        () = overdue(&stop, config.drain) => {
            tracing::warn!("the node did not stop in time; ending without it");
            Ok(())
        }
    };
    // No new commands find the daemon from here on; the last answers go out.
    data.withdraw_control();
    closing.cancel();
    let _ = serving.await;
    tracing::info!("stopped");
    outcome
}

/// Ready when a stop was asked for and has taken longer than it may.
async fn overdue(stop: &Stop, drain: Duration) {
    stop.draining().await;
    tokio::select! {
        () = tokio::time::sleep(drain) => {}
        () = stop.at_once() => {}
    }
    tokio::time::sleep(STOP_GRACE).await;
}

#[cfg(test)]
mod tests;
