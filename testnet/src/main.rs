//! `masq-testnet`: a whole mesh on this machine.
//!
//! The same file is also `masqd` when it is started under that name, and
//! `masqd` or `masq` by a hidden command: so a clean clone needs no other
//! binary built to run a mesh. What the commands do is in the library.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use masq_testnet::args::{Cli, Command};
use masq_testnet::{TestnetError, commands, container, simulate};

/// Exit code for arguments that are not understood (sysexits).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    if Path::new(&name).file_name() == Some(OsStr::new("masqd")) {
        return be_masqd(args);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; whoever closed the pipe does not want them.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match cli.command {
        Command::Masqd { args } => be_masqd(args),
        Command::Masq { args } => masq::cli::main(named("masq", args)),
        Command::Container(args) => match container::prepare(&args) {
            Ok(args) => be_masqd(args.into_iter().map(OsString::from)),
            Err(error) => fail(&error),
        },
        Command::Simulate { what } => match simulate::run(&what, &mut std::io::stdout()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        },
        command => run(command),
    }
}

fn be_masqd(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    masq::daemon::main(named("masqd", args))
}

fn named(name: &str, args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    std::iter::once(OsString::from(name)).chain(args).collect()
}

fn run(command: Command) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return fail(&TestnetError::Options(format!(
                "cannot start the runtime: {error}"
            )));
        }
    };
    let mut out = std::io::stdout();
    let result = runtime.block_on(async {
        match command {
            Command::Up(args) => commands::up(args, &mut out).await,
            Command::Status(args) => commands::status(args, &mut out).await,
            Command::Down(args) => commands::down(args, &mut out).await,
            Command::Fund(args) => commands::fund(args, &mut out).await,
            Command::Demo(args) => commands::demo(args, &mut out).await,
            Command::Bench(args) => commands::bench(args, &mut out).await,
            Command::Stress(args) => commands::stress(args, &mut out).await,
            Command::Attack(args) => commands::attack(args, &mut out).await,
            Command::Soak(args) => commands::soak(args, &mut out).await,
            Command::Chain(args) => commands::chain(args, &mut out).await,
            Command::ServeWeb(args) => commands::serve_web(args, &mut out).await,
            Command::ContainerHealth => match container::healthy().await {
                Ok(true) => Ok(()),
                Ok(false) => Err(TestnetError::NotUp),
                Err(error) => Err(error),
            },
            Command::Masqd { .. }
            | Command::Masq { .. }
            | Command::Container(_)
            | Command::Simulate { .. } => {
                unreachable!("handled before the runtime was made")
            }
        }
    });
    let _ = out.flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &TestnetError) -> ExitCode {
    if error.is_closed_pipe() {
        return ExitCode::SUCCESS;
    }
    eprintln!("masq-testnet: {error}");
    ExitCode::from(error.exit_code())
}
