//! The program: command line in, exit status out.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    p2p_coordinator::cli::run(&p2p_coordinator::cli::Cli::parse())
}
