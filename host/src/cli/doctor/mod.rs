//! `doctor`: looks at everything the settings name, and says what is wrong and how to mend it. Changes nothing.

mod checks;
mod disk;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use parking_lot::Mutex;
use serde::Serialize;

use super::progress::Progress;
use super::{BAD_SETTINGS, FAILED, answer_with, fail, wait};
use crate::config::{self, Config, Mode, Source};

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// How many things are looked at, beside the settings.
const CHECKS: usize = 9;

/// How one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Good,
    /// The service would start, but something is missing or odd.
    Warning,
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    /// What was found; for what is not good, also how to mend it.
    detail: String,
    took_ms: u64,
}

/// The state and its words, before it is known which check they belong to.
type Found = (State, String);

impl Doctor {
    pub(super) fn run(&self, source: &Source) -> ExitCode {
        let (config, report) = config::load(source, Mode::Check);
        let mut findings = Vec::new();
        let mut note = |state, detail| {
            findings.push(Finding {
                check: "settings",
                state,
                detail,
                took_ms: 0,
            });
        };
        for problem in &report.problems {
            note(State::Bad, problem.to_string());
        }
        for warning in &report.warnings {
            note(State::Warning, warning.clone());
        }
        if report.problems.is_empty() && report.warnings.is_empty() {
            note(State::Good, "every setting is good".to_owned());
        }
        let status = if config.is_none() { BAD_SETTINGS } else { FAILED };
        if let Some(config) = config {
            let looked = {
                let waiting = Waiting::new(Progress::new(!self.json));
                wait(async { anyhow::Ok(Box::pin(look(&config, &waiting)).await) })
            };
            match looked {
                Ok(looked) => findings.extend(looked),
                Err(error) => return fail(FAILED, &format!("{error:#}")),
            }
        }
        let good = findings.iter().all(|finding| finding.state != State::Bad);
        let json = serde_json::json!({ "good": good, "checks": findings });
        answer_with(
            self.json.then_some(json),
            || text(&findings),
            if good { 0 } else { status },
        )
    }
}

/// All checks at the same time: the slowest one is waited for.
async fn look(config: &Config, waiting: &Waiting) -> [Finding; CHECKS] {
    let (folder, disk, files, database, redis, ai, collector, policies, port) = tokio::join!(
        waiting.timed("data folder", async { checks::folder(&config.service.data_dir) }),
        waiting.timed("disk space", async { disk::space(config) }),
        waiting.timed("open files", async { checks::open_files(config) }),
        waiting.timed("database", checks::database(config)),
        waiting.timed("redis", checks::redis(config)),
        waiting.timed("ai service", checks::ai_service(config)),
        waiting.timed("collector", checks::collector(config)),
        waiting.timed("policies", checks::policies(config)),
        waiting.timed("port", checks::port(config)),
    );
    [folder, disk, files, database, redis, ai, collector, policies, port]
}

/// The checks that are not done yet, as they are shown.
struct Waiting(Mutex<Waited>);

struct Waited {
    progress: Progress,
    checks: Vec<&'static str>,
    done: u64,
}

impl Waiting {
    fn new(progress: Progress) -> Self {
        Self(Mutex::new(Waited {
            progress,
            checks: Vec::new(),
            done: 0,
        }))
    }

    async fn timed(&self, check: &'static str, work: impl Future<Output = Found>) -> Finding {
        self.0.lock().begin(check);
        let begin = Instant::now();
        let (state, detail) = work.await;
        self.0.lock().end(check);
        Finding {
            check,
            state,
            detail,
            took_ms: millis(begin.elapsed()),
        }
    }
}

impl Waited {
    fn begin(&mut self, check: &'static str) {
        self.checks.push(check);
        self.show();
    }

    fn end(&mut self, check: &'static str) {
        self.checks.retain(|other| *other != check);
        self.done += 1;
        self.show();
    }

    fn show(&mut self) {
        let what = format!("looking at {}", self.checks.join(", "));
        self.progress.count(&what, self.done, CHECKS as u64);
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let mark = match finding.state {
            State::Good => "\x1b[32mgood\x1b[0m   ",
            State::Warning => "\x1b[33mwarning\x1b[0m",
            State::Bad => "\x1b[31mbad\x1b[0m    ",
        };
        text.push_str(&format!("{mark}  {:<12} {}\n", finding.check, finding.detail));
    }
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    text.push_str(&match (count(State::Bad), count(State::Warning)) {
        (0, 0) => "Everything is good.".to_owned(),
        (0, warnings) => format!("A start would work; warnings: {warnings}."),
        (bad, warnings) => format!("Bad: {bad}; warnings: {warnings}."),
    });
    text
}
