//! The command line: what can be asked of the program, and how answers are printed. One file per group of commands. No
//! service logic.
//!
//! Exit status: 0 it is done, or the answer is yes; 1 it failed, or the answer is no; and the constants below.

mod database;
mod doctor;
mod plugin;
mod progress;
mod settings;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

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
    /// Look at everything the settings name (database, Redis, AI service, collector, policies, port), and say what is wrong and how to mend it.
    Doctor(doctor::Doctor),
    /// Bring the schema of the database up to date, as the next start would.
    Migrate(database::Migrate),
    /// Copy the embedded database to a file, while the service runs.
    Backup(database::Backup),
    /// Put a backup in the place of the embedded database, while the service does not run.
    Restore(database::Restore),
    /// Print an access token for a player, signed with JWT_SECRET_KEY and good for an hour.
    Token(token::Token),
    /// Print what a shell needs to complete this command line.
    Completions {
        /// Which shell.
        #[arg(value_enum)]
        shell: Shell,
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
        None | Some(Command::Serve) => with_settings(cli, |source| settings::serve(source, cli.env_file.as_deref())),
        Some(Command::CheckConfig { json }) => with_settings(cli, |source| settings::check_config(source, *json)),
        Some(Command::Doctor(doctor)) => with_settings(cli, |source| doctor.run(source)),
        Some(Command::Migrate(migrate)) => with_settings(cli, |source| migrate.run(source)),
        Some(Command::Backup(backup)) => with_settings(cli, |source| backup.run(source)),
        Some(Command::Restore(restore)) => with_settings(cli, |source| restore.run(source)),
        Some(Command::Token(token)) => with_settings(cli, |source| token.run(source)),
        Some(Command::Completions { shell }) => completions(*shell),
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

/// Prints text; colours in it reach a terminal alone.
fn print(text: &str) -> ExitCode {
    use std::io::Write as _;
    // A reader that has seen enough closes the pipe: that is no failure of ours.
    let _ = writeln!(anstream::stdout().lock(), "{text}");
    ExitCode::SUCCESS
}

/// Prints a report, as JSON or as text; the exit status says whether it is good.
fn answer(json: Option<serde_json::Value>, text: impl FnOnce() -> String, good: bool) -> ExitCode {
    answer_with(json, text, if good { 0 } else { FAILED })
}

fn answer_with(json: Option<serde_json::Value>, text: impl FnOnce() -> String, status: u8) -> ExitCode {
    print(&json.map_or_else(text, |json| format!("{json:#}")));
    ExitCode::from(status)
}

fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "p2p-coordinator", &mut script);
    print(String::from_utf8_lossy(&script).trim_end())
}

/// Runs one command's work to its end.
fn wait<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}

fn fail(status: u8, message: &str) -> ExitCode {
    eprintln!("p2p-coordinator: {message}");
    ExitCode::from(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_is_in_the_document() {
        let document = include_str!("../../../docs/operate.md");
        let commands = document.split("\n## Commands\n").nth(1).unwrap();
        let commands = commands.split("\n## ").next().unwrap();
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(
                commands.contains(&format!("… {name}")),
                "{name} is missing in docs/operate.md"
            );
        }
    }
}
