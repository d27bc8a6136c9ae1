//! SIGHUP: reads the settings again, takes over what can change while the service runs, and says what it did and what needs a
//! restart. Settings that a start would refuse change nothing at all.

use std::path::PathBuf;

use crate::app::auth::Authenticator;
use crate::config::{self, Mode, Source};
use crate::http::console::Console;
use crate::telemetry::logs::Logs;

/// What changes without a restart. The rest is built into the parts of the service when it starts.
const TAKEN: [&str; 6] = [
    "JWT_SECRET_KEY",
    "JWT_SECRET_KEY_PREVIOUS",
    "COORDINATOR_API_KEY",
    "COORDINATOR_API_KEY_PREVIOUS",
    "LOG_LEVEL",
    "DEBUG",
];

/// The settings that hold now, and where they are read from again.
pub struct Reload {
    env_file: Option<PathBuf>,
    source: Source,
    logs: Logs,
}

impl Reload {
    /// `source` is what the service was started with.
    #[must_use]
    pub const fn new(env_file: Option<PathBuf>, source: Source, logs: Logs) -> Self {
        Self { env_file, source, logs }
    }

    /// Reads the settings again. The log says what came of it.
    pub fn run(&mut self, auth: &Authenticator, console: &Console) {
        let source = match Source::read(self.env_file.as_deref()) {
            Ok(source) => source,
            Err(error) => return tracing::error!("settings are not read again, all stays as it is: {error:#}"),
        };
        let (config, report) = config::load(&source, Mode::Start);
        let Some(config) = config else {
            let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
            return tracing::error!("settings are not taken, all stays as it is: {}", problems.join("; "));
        };
        if let Err(error) = self.logs.reload(&config.log) {
            return tracing::error!("settings are not taken, all stays as it is: {error:#}");
        }
        auth.replace(&config.security);
        console.sessions.replace(&config.security);
        for warning in &report.warnings {
            tracing::warn!("{warning}");
        }
        // What needs a restart is named each time until there was one.
        let (changed, needs_restart): (Vec<String>, Vec<String>) = self
            .source
            .changes(&source)
            .into_iter()
            .partition(|name| TAKEN.contains(&&**name));
        self.source.take(&source, &TAKEN);
        tracing::info!(
            changed = list(&changed),
            needs_restart = list(&needs_restart),
            "settings are read again"
        );
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}
