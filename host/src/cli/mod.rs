//! The command line: what can be asked of the program, and how answers are printed. One file per group of commands. No
//! service logic.
//!
//! Exit status: 0 it is done, or the answer is yes; 1 it failed, or the answer is no; and the constants below.

mod plugin;
mod settings;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Source;
use crate::http;

/// Exit status when the command failed, or its answer is no: a policy is refused, a golden vector does not hold.
pub const FAILED: u8 = 1;
/// Exit status when settings or the command line are wrong.
pub const BAD_SETTINGS: u8 = 2;
/// Exit status when a policy does not build: its sources do not compile, or a compiler is missing.
pub const NOT_BUILT: u8 = 3;
/// Exit status when the server was not reached, or does not let the caller in.
pub const NO_SERVER: u8 = 4;

/// Coordinator for hybrid peer-to-peer games.
///
/// Without a command it serves. Settings come from the environment and from `.env` in the working folder.
#[derive(Debug, Parser)]
#[command(name = "p2p-coordinator", version)]
pub struct Cli {
    /// File of settings to read in place of `.env`.
    #[arg(long, global = true, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service (the default).
    Serve,
    /// Validate the settings and show what holds and where it comes from. Exit status 0 when a start would accept them.
    CheckConfig {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Write, build, try and release policies.
    #[command(subcommand)]
    Plugin(Box<plugin::Plugin>),
    /// Print the OpenAPI document.
    Openapi,
}

/// Does what the command line says.
#[must_use]
pub fn run(cli: &Cli) -> ExitCode {
    match &cli.command {
        None | Some(Command::Serve) => with_settings(cli, settings::serve),
        Some(Command::CheckConfig { json }) => with_settings(cli, |source| settings::check_config(source, *json)),
        Some(Command::Plugin(plugin)) => with_settings(cli, |source| plugin.run(source)),
        Some(Command::Openapi) => match http::openapi_document(env!("CARGO_PKG_VERSION")) {
            Ok(text) => print(&text),
            Err(error) => fail(FAILED, &format!("{error:#}")),
        },
    }
}

fn with_settings(cli: &Cli, work: impl FnOnce(&Source) -> ExitCode) -> ExitCode {
    match Source::read(cli.env_file.as_deref()) {
        Ok(source) => work(&source),
        Err(error) => fail(BAD_SETTINGS, &format!("{error:#}")),
    }
}

fn print(text: &str) -> ExitCode {
    use std::io::Write as _;
    // A reader that has seen enough closes the pipe: that is no failure of ours.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
    ExitCode::SUCCESS
}

fn fail(status: u8, message: &str) -> ExitCode {
    eprintln!("p2p-coordinator: {message}");
    ExitCode::from(status)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
