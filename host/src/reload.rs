//! SIGHUP: reads the settings again, takes over what can change while the service runs, and says what it did and what needs a
//! restart. Settings that a start would refuse change nothing at all.

use std::path::PathBuf;

use crate::config::{self, Mode, Source};
use crate::http::state::HttpState;
use crate::http::trust::Trust;
use crate::serve::Tls;
use crate::telemetry::logs::Logs;

/// What changes without a restart. The rest is built into the parts of the service when it starts.
const TAKEN: [&str; 8] = [
    "JWT_SECRET_KEY",
    "JWT_SECRET_KEY_PREVIOUS",
    "COORDINATOR_API_KEY",
    "COORDINATOR_API_KEY_PREVIOUS",
    "CORS_ORIGINS",
    "TRUSTED_PROXIES",
    "LOG_LEVEL",
    "DEBUG",
];
/// The same, while the service speaks TLS and is to go on with it.
const TAKEN_WITH_TLS: [&str; 2] = [CERTIFICATE, "TLS_KEY_FILE"];
const CERTIFICATE: &str = "TLS_CERT_FILE";

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

    /// Reads the settings again, and the files of the certificate when there is one in use. The log says what came of it.
    pub fn run(&mut self, state: &HttpState, tls: Option<&Tls>) {
        let source = match Source::read(self.env_file.as_deref()) {
            Ok(source) => source,
            Err(error) => return tracing::error!("settings are not read again, all stays as it is: {error:#}"),
        };
        let (config, report) = config::load(&source, Mode::Start);
        let Some(config) = config else {
            let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
            return tracing::error!("settings are not taken, all stays as it is: {}", problems.join("; "));
        };
        let prepared = Trust::new(&config).and_then(|trust| self.logs.reload(&config.log).map(|()| trust));
        match prepared {
            Ok(trust) => state.trust.replace(trust),
            Err(error) => return tracing::error!("settings are not taken, all stays as it is: {error:#}"),
        }
        state.auth.replace(&config.security);
        state.console.sessions.replace(&config.security);
        for warning in &report.warnings {
            tracing::warn!("{warning}");
        }
        let mut changes = self.source.changes(&source);
        let mut taken = TAKEN.to_vec();
        if let (Some(tls), Some(config)) = (tls, &config.server.tls) {
            taken.extend(TAKEN_WITH_TLS);
            // A certificate is renewed in its place more often than it moves.
            if tls.replace(config) && !changes.iter().any(|name| TAKEN_WITH_TLS.contains(&&**name)) {
                changes.push(CERTIFICATE.to_owned());
            }
        }
        // What needs a restart is named each time until there was one.
        let (changed, needs_restart): (Vec<String>, Vec<String>) =
            changes.into_iter().partition(|name| taken.contains(&&**name));
        self.source.take(&source, &taken);
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
