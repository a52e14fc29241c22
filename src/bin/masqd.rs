//! The daemon. Everything is in [`masq::daemon`].

use std::process::ExitCode;

fn main() -> ExitCode {
    masq::daemon::main(std::env::args_os())
}
