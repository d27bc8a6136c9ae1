//! The program: command line in, exit status out.

use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;

/// Most of what a request takes beside the system's own work is small allocations; see `docs/performance.md`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    p2p_coordinator::cli::run(&p2p_coordinator::cli::Cli::parse())
}
