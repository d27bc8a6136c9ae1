//! `serve` and `check-config`: reads the settings, and either starts the service with them or shows them.

use std::path::Path;
use std::process::ExitCode;

use super::{BAD_SETTINGS, FAILED, fail, print};
use crate::boot;
use crate::config::{self, Config, Mode, Origin, Report, Source};

pub(super) fn serve(source: &Source, env_file: Option<&Path>) -> ExitCode {
    match config::load(source, Mode::Start) {
        (Some(config), report) => match boot::run(config, &report, source, env_file) {
            Ok(status) => status,
            Err(error) => fail(FAILED, &format!("{error:#}")),
        },
        (None, report) => fail(BAD_SETTINGS, &problems(&report)),
    }
}

/// The settings for a command; a refusal is said here.
///
/// # Errors
/// The exit status of settings that a start would refuse.
pub(super) fn load(source: &Source, mode: Mode) -> Result<Config, ExitCode> {
    let (config, report) = config::load(source, mode);
    config.ok_or_else(|| fail(BAD_SETTINGS, &problems(&report)))
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

pub(super) fn check_config(source: &Source, json: bool) -> ExitCode {
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
        ExitCode::from(FAILED)
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
