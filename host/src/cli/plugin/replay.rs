//! `plugin replay`: what a component would have decided where others did.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::ask::{self, Settings};
use super::{Subject, answer};
use crate::cli::progress::Progress;
use crate::cli::{FAILED, fail};
use crate::plugins::replay::{self, ReplayOptions};

/// Arguments of `plugin replay`.
#[derive(Debug, Args)]
pub struct Replay {
    #[command(flatten)]
    subject: Subject,
    /// The decision log: a file as `DECISION_LOG_FILE` gets it, one decision a line.
    log: PathBuf,
    #[command(flatten)]
    settings: Settings,
    /// Share of the decisions, 0 to 1, that may differ or get no answer. Without it, all of them may.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    max_difference_rate: Option<f64>,
    /// Fewer decisions than this do not pass.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    min_decisions: u64,
    /// Decisions that are replayed at most.
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    /// Seconds after which it ends with what it has.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    time: u32,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a number from 0 to 1 is needed".to_owned())
}

impl Replay {
    pub(super) fn run(&self, environment: &[(String, String)]) -> ExitCode {
        self.replayed(environment).unwrap_or_else(|status| status)
    }

    fn replayed(&self, environment: &[(String, String)]) -> Result<ExitCode, ExitCode> {
        let mut progress = Progress::new(!self.json);
        let file = self.subject.component(&mut progress)?;
        let settings = self.settings.over(environment);
        let mut tried = ask::opened(&self.subject, &file, &settings, &mut progress)?;
        let options = ReplayOptions {
            max_difference_rate: self.max_difference_rate,
            min_decisions: self.min_decisions,
            limit: self.limit,
            time: Duration::from_secs(u64::from(self.time)),
        };
        let mut watch = |bytes, of| progress.bytes("asking the decisions again", bytes, of);
        let report = replay::run(&mut *tried, &self.log, options, &mut watch);
        drop(progress);
        let report = report.map_err(|error| fail(FAILED, &format!("{error:#}")))?;
        Ok(answer(
            self.json.then(|| json!(report)),
            || report.to_string(),
            report.passed,
        ))
    }
}
