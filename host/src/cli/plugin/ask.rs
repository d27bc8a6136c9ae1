//! `plugin run`, `plugin test` and `plugin bench`: a component on its author's machine, with the engine and the limits of the
//! service.

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::{Subject, answer};
use crate::cli::progress::Progress;
use crate::cli::{FAILED, fail, print};
use crate::plugins::bench::{self, BenchStep};
use crate::plugins::cache::Cache;
use crate::plugins::engine::PolicyEngine;
use crate::plugins::failure::Refusal;
use crate::plugins::limits;
use crate::plugins::loader::Loader;
use crate::plugins::tryout::{self, Tried};
use crate::plugins::vectors::{self, Vectors, Verdict};

/// Arguments of `plugin run`.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    subject: Subject,
    /// The question as JSON, or `-` for standard input.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    #[command(flatten)]
    settings: Settings,
}

/// Settings beside those of the environment.
#[derive(Debug, Args)]
pub struct Settings {
    /// A setting for the policy, over those of the environment. May be given more than once.
    #[arg(long = "setting", value_name = "NAME=VALUE", value_parser = pair)]
    pairs: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE is needed")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Settings {
    /// These over those of the environment.
    pub(super) fn over(&self, environment: &[(String, String)]) -> Vec<(String, String)> {
        let kept = environment
            .iter()
            .filter(|(name, _)| !self.pairs.iter().any(|(own, _)| own == name));
        kept.chain(&self.pairs).cloned().collect()
    }

    /// These alone.
    pub(super) fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }
}

/// A loader as in service. Compiled code is kept beside the compilers. `trial`: also asks what the service would ask.
fn loader(subject: &Subject, settings: &[(String, String)]) -> anyhow::Result<Loader> {
    let cache = subject.tools.tools().folder().ok();
    Ok(Loader {
        engine: PolicyEngine::start()?,
        cache: cache.and_then(|folder| Cache::open(&folder).ok()),
        settings: settings.to_vec().into(),
        trial: false,
    })
}

/// Loads a component so that it can be asked.
pub(super) fn opened(
    subject: &Subject,
    file: &Path,
    settings: &[(String, String)],
    progress: &mut Progress,
) -> Result<Box<dyn Tried>, ExitCode> {
    let loader = loader(subject, settings).map_err(|error| fail(FAILED, &format!("{error:#}")))?;
    progress.step("compiling the component");
    let opened = tryout::open(&loader, file, subject.slot);
    progress.rest();
    opened.map_err(refused)
}

fn refused(refusal: Refusal) -> ExitCode {
    fail(FAILED, &format!("{refusal}; {}", refusal.step.mend()))
}

impl Run {
    pub(super) fn run(&self, environment: &[(String, String)]) -> ExitCode {
        self.asked(environment).unwrap_or_else(|status| status)
    }

    fn asked(&self, environment: &[(String, String)]) -> Result<ExitCode, ExitCode> {
        show_log();
        let question = question(&self.input).map_err(|error| fail(FAILED, &format!("{error:#}")))?;
        let mut progress = Progress::new(true);
        let file = self.subject.component(&mut progress)?;
        let settings = self.settings.over(environment);
        let mut tried = opened(&self.subject, &file, &settings, &mut progress)?;
        let answered = tried.ask(&question).map_err(|error| fail(FAILED, &error.to_string()))?;
        eprintln!("{} in {:.3} ms", tried.name(), answered.took.as_secs_f64() * 1000.0);
        Ok(print(&format!("{:#}", answered.answer)))
    }
}

/// What the policy logs goes to standard error.
fn show_log() {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    let filter = tracing_subscriber::EnvFilter::new("off,policy=debug");
    let layer = tracing_subscriber::fmt::layer()
        .without_time()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // A second installation, as in tests, changes nothing.
    let _ = tracing_subscriber::registry().with(filter).with(layer).try_init();
}

/// Reads a question, however long it may be in service.
fn question(input: &Path) -> anyhow::Result<Value> {
    let most = u64::try_from(limits::LARGE_ANSWER_BYTES).unwrap_or(u64::MAX);
    let mut text = String::new();
    if input == Path::new("-") {
        std::io::stdin().lock().take(most).read_to_string(&mut text)
    } else {
        std::fs::File::open(input).and_then(|file| file.take(most).read_to_string(&mut text))
    }
    .with_context(|| format!("cannot read {}", input.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", input.display()))
}

/// Arguments of `plugin test`.
#[derive(Debug, Args)]
pub struct Test {
    #[command(flatten)]
    subject: Subject,
    /// The vectors. Without it, `vectors.json` of the project, or those in the component.
    #[arg(long, value_name = "FILE")]
    vectors: Option<PathBuf>,
    /// Write the answers that do not hold into `vectors.json`, for a change that is meant.
    #[arg(long)]
    update: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Test {
    pub(super) fn run(&self) -> ExitCode {
        self.tested().unwrap_or_else(|status| status)
    }

    fn tested(&self) -> Result<ExitCode, ExitCode> {
        let failed = |error: anyhow::Error| fail(FAILED, &format!("{error:#}"));
        let mut progress = Progress::new(!self.json);
        let file = self.subject.component(&mut progress)?;
        let path = self.path();
        let vectors = read(path.as_deref(), &file).map_err(failed)?;
        let tried = opened(&self.subject, &file, &[], &mut progress)?;
        vectors.check(tried.slot()).map_err(|error| failed(error.into()))?;
        progress.step(&format!("asking {} golden vectors", vectors.vectors.len()));
        let verdicts = tried.test(&vectors);
        drop(progress);
        if self.update {
            let path = path.context("--update needs a project, or --vectors").map_err(failed)?;
            return update(&path, vectors, &verdicts).map_err(failed);
        }
        let passed = verdicts.iter().filter(|verdict| verdict.passed).count();
        let good = passed == verdicts.len() && passed > 0;
        let report = json!({
            "component": file,
            "slot": tried.slot(),
            "policy": tried.name(),
            "passed": passed,
            "failed": verdicts.len() - passed,
            "vectors": verdicts,
        });
        Ok(answer(
            self.json.then_some(report),
            || text(&tried.name(), &verdicts),
            good,
        ))
    }

    fn path(&self) -> Option<PathBuf> {
        self.vectors
            .clone()
            .or_else(|| Some(self.subject.project()?.join(vectors::FILE)).filter(|path| path.is_file()))
    }
}

/// The vectors of a file, else those in the component.
fn read(path: Option<&Path>, component: &Path) -> anyhow::Result<Vectors> {
    match path {
        Some(path) => {
            let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            Vectors::parse(&text).with_context(|| path.display().to_string())
        }
        None => {
            let bytes = std::fs::read(component).with_context(|| format!("cannot read {}", component.display()))?;
            vectors::embedded(&bytes)?.context(
                "there are no golden vectors: write a vectors.json beside the policy's manifest, or give one with --vectors",
            )
        }
    }
}

fn update(path: &Path, mut vectors: Vectors, verdicts: &[Verdict]) -> anyhow::Result<ExitCode> {
    let mut changed = Vec::new();
    for (vector, verdict) in vectors.vectors.iter_mut().zip(verdicts) {
        if verdict.passed {
            continue;
        }
        let given = verdict.given.clone().with_context(|| {
            let reason = verdict.reason.as_deref().unwrap_or("no answer");
            format!("\"{}\": {reason}; nothing is written", vector.name)
        })?;
        vector.answer = given;
        changed.push(vector.name.clone());
    }
    let shown = path.display();
    if changed.is_empty() {
        return Ok(print(&format!("{shown}: every vector holds; nothing is written")));
    }
    std::fs::write(path, format!("{:#}\n", json!(vectors))).with_context(|| format!("cannot write {shown}"))?;
    Ok(print(&format!("{shown}: new answers of {}", changed.join(", "))))
}

fn text(name: &str, verdicts: &[Verdict]) -> String {
    let color = std::io::stdout().is_terminal();
    let mark = |passed| match (passed, color) {
        (true, true) => "\x1b[32mok\x1b[0m  ",
        (false, true) => "\x1b[31mFAIL\x1b[0m",
        (true, false) => "ok  ",
        (false, false) => "FAIL",
    };
    let mut text = format!("{name}\n");
    for verdict in verdicts {
        text.push_str(&format!("  {} {}\n", mark(verdict.passed), verdict.name));
        if let Some(reason) = &verdict.reason {
            text.push_str(&format!("         {reason}\n"));
        }
    }
    let passed = verdicts.iter().filter(|verdict| verdict.passed).count();
    text.push_str(&format!("{passed} of {} golden vectors hold", verdicts.len()));
    text
}

/// Arguments of `plugin bench`.
#[derive(Debug, Args)]
pub struct Bench {
    #[command(flatten)]
    subject: Subject,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub(super) fn run(&self, settings: &[(String, String)]) -> ExitCode {
        self.measured(settings).unwrap_or_else(|status| status)
    }

    fn measured(&self, settings: &[(String, String)]) -> Result<ExitCode, ExitCode> {
        let mut progress = Progress::new(!self.json);
        let file = self.subject.component(&mut progress)?;
        let mut loader = loader(&self.subject, settings).map_err(|error| fail(FAILED, &format!("{error:#}")))?;
        // Compiling is part of what is measured.
        loader.cache = None;
        progress.step("compiling the component");
        let mut watch = |step: BenchStep<'_>| progress.count(&format!("measuring {}", step.what), step.done, step.of);
        let report = bench::run(&loader, &file, self.subject.slot, &mut watch);
        drop(progress);
        let report = report.map_err(refused)?;
        let good = report.failed_calls == 0;
        Ok(answer(self.json.then(|| json!(report)), || report.to_string(), good))
    }
}
