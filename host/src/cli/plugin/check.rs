//! `plugin check` and `plugin doctor`: how a component would fare in the service.

use std::process::ExitCode;

use clap::Args;

use super::{Subject, answer};
use crate::cli::progress::Progress;
use crate::cli::{FAILED, fail};
use crate::plugins::check;

/// Arguments of `plugin check` and `plugin doctor`.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    subject: Subject,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Check {
    /// `whole`: also says what is needed and offered.
    pub(super) fn run(&self, settings: &[(String, String)], whole: bool) -> ExitCode {
        let mut progress = Progress::new(!self.json);
        let file = match self.subject.component(&mut progress) {
            Ok(file) => file,
            Err(status) => return status,
        };
        progress.step("taking the component through every step of loading");
        let checked = check::check(&file, self.subject.slot, settings);
        drop(progress);
        match checked {
            Ok(report) => {
                let json = self.json.then(|| serde_json::json!(report));
                answer(
                    json,
                    || {
                        if whole {
                            format!("{}\n{report}", report.contract)
                        } else {
                            report.to_string()
                        }
                    },
                    report.accepted,
                )
            }
            Err(error) => fail(FAILED, &format!("{error:#}")),
        }
    }
}
