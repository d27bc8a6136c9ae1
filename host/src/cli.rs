//! The command line: what can be asked of the program, and how answers are printed. No service logic.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Mode, Origin, PluginsConfig, Report, Source};
use crate::plugins::slot_name::SlotName;
use crate::{boot, http, plugins};

/// Exit status when settings are wrong.
pub const BAD_SETTINGS: u8 = 2;

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
    /// Build and check policies.
    #[command(subcommand)]
    Plugin(Plugin),
    /// Print the OpenAPI document.
    Openapi,
}

/// Work on policies.
#[derive(Debug, Subcommand)]
pub enum Plugin {
    /// Compile a policy written in Rust into a component.
    Build(Build),
    /// Try a component as the service would before it serves. Exit status 0 when it would be taken.
    Check(Check),
}

/// Arguments of `plugin build`.
#[derive(Debug, Args)]
pub struct Build {
    /// The folder with the policy's Cargo.toml.
    pub dir: PathBuf,
    /// Where the component goes.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Arguments of `plugin check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The component.
    pub file: PathBuf,
    /// The slot it is for: host-selection, rate-limit or npc-transform. Without it, the one whose world it exports.
    #[arg(long, value_parser = slot)]
    pub slot: Option<SlotName>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

fn slot(text: &str) -> Result<SlotName, String> {
    SlotName::parse(text).ok_or_else(|| "no such slot".to_owned())
}

/// Does what the command line says.
#[must_use]
pub fn run(cli: &Cli) -> ExitCode {
    match &cli.command {
        None | Some(Command::Serve) => with_settings(cli, serve),
        Some(Command::CheckConfig { json }) => with_settings(cli, |source| check_config(source, *json)),
        Some(Command::Plugin(Plugin::Build(build))) => build_policy(build),
        Some(Command::Plugin(Plugin::Check(check))) => with_settings(cli, |source| check_policy(source, check)),
        Some(Command::Openapi) => match http::openapi_document(env!("CARGO_PKG_VERSION")) {
            Ok(text) => print(&text),
            Err(error) => fail(1, &format!("{error:#}")),
        },
    }
}

fn with_settings(cli: &Cli, work: impl FnOnce(&Source) -> ExitCode) -> ExitCode {
    match Source::read(cli.env_file.as_deref()) {
        Ok(source) => work(&source),
        Err(error) => fail(BAD_SETTINGS, &format!("{error:#}")),
    }
}

fn serve(source: &Source) -> ExitCode {
    match config::load(source, Mode::Start) {
        (Some(config), report) => match boot::run(config, &report) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(1, &format!("{error:#}")),
        },
        (None, report) => fail(BAD_SETTINGS, &problems(&report)),
    }
}

fn problems(report: &Report) -> String {
    let mut text = format!("{} to change before a start:", count(report.problems.len(), "setting"));
    for problem in &report.problems {
        text.push_str(&format!("\n  {problem}"));
    }
    text
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn check_config(source: &Source, json: bool) -> ExitCode {
    let (config, report) = config::load(source, Mode::Check);
    if json {
        let document = serde_json::json!({
            "valid": config.is_some(),
            "problems": report.problems,
            "warnings": report.warnings,
            "settings": report.effective,
        });
        print(&format!("{document:#}"));
    } else {
        print(&table(&report));
    }
    if config.is_some() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}

fn table(report: &Report) -> String {
    let mut text = String::new();
    let mut section = "";
    for setting in &report.effective {
        if setting.section != section {
            section = setting.section;
            text.push_str(&format!("{}{section}\n", if text.is_empty() { "" } else { "\n" }));
        }
        let origin = if setting.origin == Origin::Default {
            ""
        } else {
            setting.origin.as_str()
        };
        let value = if setting.value.is_empty() { "-" } else { &setting.value };
        text.push_str(format!("  {:<32} {value:<32} {origin}", setting.name).trim_end());
        text.push('\n');
    }
    for warning in &report.warnings {
        text.push_str(&format!("\nwarning: {warning}"));
    }
    if report.problems.is_empty() {
        text.push_str("\nThe settings are good.");
    } else {
        text.push_str(&format!("\n{}", problems(report)));
    }
    text
}

fn build_policy(build: &Build) -> ExitCode {
    match plugins::build::build(&build.dir, build.out.as_deref()) {
        Ok(built) => print(&format!(
            "{} {} for slot {}: {} bytes, sources {}",
            built.path.display(),
            built.package,
            built.slot,
            built.size,
            built.source_digest
        )),
        Err(error) => fail(1, &format!("{:#}", anyhow::Error::new(error))),
    }
}

fn check_policy(source: &Source, check: &Check) -> ExitCode {
    let settings = PluginsConfig::from_source(source).settings;
    match plugins::check::check(&check.file, check.slot, &settings) {
        Ok(report) => {
            print(&if check.json {
                format!("{:#}", serde_json::json!(report))
            } else {
                report.to_string()
            });
            if report.accepted {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(1)
            }
        }
        Err(error) => fail(1, &format!("{error:#}")),
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
