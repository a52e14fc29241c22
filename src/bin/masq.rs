//! The command line. Everything is in [`masq::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    masq::cli::main(std::env::args_os())
}
